/* What commands cost: cost ROUNDS NAME PROGRAM [ARG...] [-- NAME PROGRAM [ARG...]]... runs them in turn, each ROUNDS times and once
 * before that, and prints for each a line of medians:
 *   NAME ELAPSED CPU FAULTS KILOBYTES
 * nanoseconds from the fork until the end; nanoseconds of processor time, page faults, and the largest resident set of the
 * command and those of its descendants that it has waited for. A command that fails is the end, with status 1. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { COMMANDS = 64, ROUNDS = 1000, ELAPSED = 0, CPU, FAULTS, KILOBYTES, FIGURES };

static long samples[COMMANDS][FIGURES][ROUNDS];

static long now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000L + t.tv_nsec;
}

static long nanoseconds(struct timeval t)
{
	return t.tv_sec * 1000000000L + t.tv_usec * 1000L;
}

static void run(char **command, long (*figures)[ROUNDS], int round)
{
	struct rusage used;
	int status;
	long start = now();
	pid_t pid = vfork();

	if (pid == 0) {
		execv(command[0], command);
		_exit(127);
	}
	if (wait4(pid, &status, 0, &used) != pid || status != 0) {
		fprintf(stderr, "cost: %s %s: status %#x\n", command[0], command[1] ? command[1] : "", status);
		exit(1);
	}
	figures[ELAPSED][round] = now() - start;
	figures[CPU][round] = nanoseconds(used.ru_utime) + nanoseconds(used.ru_stime);
	figures[FAULTS][round] = used.ru_minflt;
	figures[KILOBYTES][round] = used.ru_maxrss;
}

static int ascending(const void *a, const void *b)
{
	long x = *(const long *)a, y = *(const long *)b;

	return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
	char **commands[COMMANDS];
	int count = 0, rounds = argc > 1 ? atoi(argv[1]) : 0;

	if (argc < 4 || rounds < 1 || rounds > ROUNDS)
		return 2;
	for (int i = 2; i < argc && count < COMMANDS; i++) {
		commands[count++] = &argv[i];
		while (i < argc && strcmp(argv[i], "--") != 0)
			i++;
		if (i < argc)
			argv[i] = NULL;
	}
	for (int i = 0; i < count; i++)
		run(commands[i] + 1, samples[i], 0);
	for (int round = 0; round < rounds; round++)
		for (int i = 0; i < count; i++)
			run(commands[i] + 1, samples[i], round);
	for (int i = 0; i < count; i++) {
		printf("%s", commands[i][0]);
		for (int f = 0; f < FIGURES; f++) {
			qsort(samples[i][f], rounds, sizeof(long), ascending);
			printf(" %ld", samples[i][f][rounds / 2]);
		}
		printf("\n");
	}
	return 0;
}
