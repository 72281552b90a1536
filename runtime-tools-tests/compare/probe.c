/* What a container's program sees, one `field<TAB>value` a line on standard output (or in a file):
 *   probe [-o FILE] [-p PATH]...  the whole view, in FILE if given, and of these paths what they are and hold; ends with 0
 *   probe pause          waits until it is killed (any signal ends it, also as process 1)
 *   probe exit N         ends with N
 *   probe echo WORD...   prints its arguments, one in each line
 *   probe then PROGRAM ARGUMENT...  executes it
 *   probe fill-keys UID  makes keys as this user until its quota is used up, then waits until it is killed
 *   probe hook FILE      the view of a hook: directory, environment, descriptors, the state on standard input
 * Linked statically; needs nothing of the root filesystem, not even /proc. Values that differ from run to run (pids, inode
 * numbers) are not printed, or are marked by the judge (normalise.py). */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

static FILE *out;
extern char **environ;

/* One line; tabs, newlines and other control characters of the value as \xNN. */
static void field(const char *name, const char *format, ...)
{
	static char value[1 << 17];
	va_list list;
	va_start(list, format);
	vsnprintf(value, sizeof(value), format, list);
	va_end(list);
	fprintf(out, "%s\t", name);
	for (const unsigned char *c = (void *)value; *c; c++)
		fprintf(out, *c < ' ' || *c == 127 ? "\\x%02x" : "%c", *c);
	fputc('\n', out);
}

static void named(const char *group, const char *name, const char *format, ...)
{
	char whole[4500], value[4200];
	va_list list;
	va_start(list, format);
	vsnprintf(value, sizeof(value), format, list);
	va_end(list);
	snprintf(whole, sizeof(whole), "%s.%s", group, name);
	field(whole, "%s", value);
}

/* Whether a kernel call is refused: its errno as a name, or "ok". */
static const char *outcome(long result)
{
	return result < 0 ? strerrorname_np(errno) : "ok";
}

/* The lines of a file of the kernel, as GROUP.FIRSTWORD, or all of them under one name. */
static void lines_of(const char *path, const char *group, int whole)
{
	char line[65536];
	FILE *file = fopen(path, "re");
	if (!file) {
		field(group, "%s", outcome(-1));
		return;
	}
	while (fgets(line, sizeof(line), file)) {
		line[strcspn(line, "\n")] = 0;
		if (whole)
			field(group, "%s", line);
		else {
			char *value = strpbrk(line, ":");
			if (value) {
				*value++ = 0;
				named(group, line, "%s", value + strspn(value, " \t"));
			}
		}
	}
	fclose(file);
}

static void word_of(const char *path)
{
	char text[4096];
	int file = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t length = file < 0 ? -1 : read(file, text, sizeof(text) - 1);
	if (length < 0)
		named("file", path, "%s", outcome(-1));
	else {
		text[length] = 0;
		while (length && text[length - 1] == '\n')
			text[--length] = 0;
		named("file", path, "%s", text);
	}
	if (file >= 0)
		close(file);
}

static const char *kind(mode_t mode)
{
	return S_ISREG(mode) ? "file" : S_ISDIR(mode) ? "directory" : S_ISCHR(mode) ? "char" : S_ISBLK(mode) ? "block"
		: S_ISFIFO(mode) ? "fifo" : S_ISLNK(mode) ? "link" : S_ISSOCK(mode) ? "socket" : "other";
}

static void node(const char *group, const char *name, const struct stat *s)
{
	char link[4096] = "", shown[4200] = "";
	ssize_t length = S_ISLNK(s->st_mode) ? readlink(name, link, sizeof(link) - 1) : 0;
	if (length > 0)
		snprintf(shown, sizeof(shown), " -> %s", link);
	if (S_ISCHR(s->st_mode) || S_ISBLK(s->st_mode))
		snprintf(shown, sizeof(shown), " %u:%u", major(s->st_rdev), minor(s->st_rdev));
	named(group, name, "%s %04o %u:%u%s", kind(s->st_mode), s->st_mode & 07777, s->st_uid, s->st_gid, shown);
}

static void path(const char *name)
{
	struct stat s;
	if (lstat(name, &s))
		named("path", name, "%s", outcome(-1));
	else
		node("path", name, &s);
}

static int by_name(const struct dirent **a, const struct dirent **b) { return strcmp((*a)->d_name, (*b)->d_name); }

static void directory(const char *dir)
{
	struct dirent **entries;
	char name[4500];
	int count = scandir(dir, &entries, 0, by_name);
	path(dir);
	for (int i = 0; i < count; i++) {
		if (!strcmp(entries[i]->d_name, ".") || !strcmp(entries[i]->d_name, ".."))
			continue;
		snprintf(name, sizeof(name), "%s/%s", dir, entries[i]->d_name);
		path(name);
	}
}

static void descriptors(int first)
{
	for (int fd = first; fd < 1024; fd++) {
		struct stat s;
		char name[16], link[4096] = "", proc[64];
		if (fcntl(fd, F_GETFD) < 0 || (fd > 2 && fd == fileno(out))) {
			if (fd < 3)
				named("fd", (snprintf(name, sizeof(name), "%d", fd), name), "closed");
			continue;
		}
		snprintf(name, sizeof(name), "%d", fd);
		snprintf(proc, sizeof(proc), "/proc/self/fd/%d", fd);
		if (readlink(proc, link, sizeof(link) - 1) < 0)
			strcpy(link, "?");
		if (fstat(fd, &s))
			continue;
		/* A regular file that is written to has no access mode worth a line beside O_APPEND. */
		named("fd", name, "%s %04o %u:%u flags %#x %s", kind(s.st_mode), s.st_mode & 07777, s.st_uid, s.st_gid,
			fcntl(fd, F_GETFL) & ~O_LARGEFILE & ~0100000, S_ISFIFO(s.st_mode) || S_ISSOCK(s.st_mode) ? "" : link);
	}
}

static void terminal(void)
{
	struct termios t;
	struct winsize size;
	if (tcgetattr(0, &t)) {
		field("terminal", "%s", outcome(-1));
		return;
	}
	field("terminal", "%s", ttyname(0) ? ttyname(0) : "no name");
	named("terminal", "modes", "iflag %#o oflag %#o cflag %#o lflag %#o", t.c_iflag, t.c_oflag, t.c_cflag, t.c_lflag);
	if (!ioctl(0, TIOCGWINSZ, &size))
		named("terminal", "size", "%ux%u", size.ws_col, size.ws_row);
	named("terminal", "controlling", "%s", tcgetpgrp(0) == getpgrp() ? "yes, in the foreground" : "no");
	named("terminal", "session", "%s", tcgetsid(0) == getsid(0) ? "own" : "other");
}

static void limits(void)
{
	static const char *const names[] = { "CPU", "FSIZE", "DATA", "STACK", "CORE", "RSS", "NPROC", "NOFILE", "MEMLOCK", "AS",
		"LOCKS", "SIGPENDING", "MSGQUEUE", "NICE", "RTPRIO", "RTTIME" };
	struct rlimit r;
	for (unsigned i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (!getrlimit(i, &r))
			named("rlimit", names[i], "%lld %lld", (long long)r.rlim_cur, (long long)r.rlim_max);
}

static void scheduling(void)
{
	struct sched_param p;
	cpu_set_t cpus;
	struct { unsigned size, policy; unsigned long long flags; int nice; unsigned priority; unsigned long long rest[6]; } a;
	memset(&a, 0, sizeof(a));
	field("scheduler", "%d", sched_getscheduler(0));
	if (!sched_getparam(0, &p))
		named("scheduler", "priority", "%d", p.sched_priority);
	if (!syscall(SYS_sched_getattr, 0, &a, sizeof(a), 0))
		named("scheduler", "attributes", "flags %#llx nice %d times %llu %llu %llu", a.flags, a.nice, a.rest[0], a.rest[1],
			a.rest[2]);
	named("scheduler", "nice", "%d", getpriority(PRIO_PROCESS, 0));
	named("scheduler", "io", "%ld", syscall(SYS_ioprio_get, 1, 0));
	CPU_ZERO(&cpus);
	if (!sched_getaffinity(0, sizeof(cpus), &cpus)) {
		char list[5000] = "";
		for (int i = 0; i < CPU_SETSIZE; i++)
			if (CPU_ISSET(i, &cpus))
				snprintf(list + strlen(list), 8, "%d ", i);
		named("scheduler", "affinity", "%s", list);
	}
}

static void signals(void)
{
	char ignored[600] = "", blocked[600] = "", handled[600] = "";
	sigset_t mask;
	sigprocmask(SIG_SETMASK, 0, &mask);
	for (int i = 1; i < 65; i++) {
		struct sigaction a;
		if (sigismember(&mask, i) == 1)
			snprintf(blocked + strlen(blocked), 8, "%d ", i);
		if (sigaction(i, 0, &a))
			continue;
		if (a.sa_handler == SIG_IGN)
			snprintf(ignored + strlen(ignored), 8, "%d ", i);
		else if (a.sa_handler != SIG_DFL)
			snprintf(handled + strlen(handled), 8, "%d ", i);
	}
	named("signals", "ignored", "%s", ignored);
	named("signals", "blocked", "%s", blocked);
	int death = 0;
	prctl(PR_GET_PDEATHSIG, &death);
	named("signals", "parent-death", "%d", death);
}

static void identity(void)
{
	gid_t groups[1024];
	char list[12000] = "", cwd[4096];
	struct utsname u;
	uid_t r, e, s;
	int count = getgroups(1024, groups);
	for (int i = 0; i < count; i++)
		snprintf(list + strlen(list), 12, "%u ", groups[i]);
	getresuid(&r, &e, &s);
	field("uid", "%u %u %u %u", r, e, s, (unsigned)syscall(SYS_setfsuid, -1));
	getresgid(&r, &e, &s);
	field("gid", "%u %u %u %u", r, e, s, (unsigned)syscall(SYS_setfsgid, -1));
	field("groups", "%s", list);
	mode_t mask = umask(0);
	umask(mask);
	field("umask", "%04o", mask);
	field("cwd", "%s", getcwd(cwd, sizeof(cwd)) ? cwd : outcome(-1));
	field("personality", "%#x", personality(0xffffffff));
	field("dumpable", "%d", prctl(PR_GET_DUMPABLE, 0, 0, 0, 0));
	field("no_new_privs", "%d", prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
	field("seccomp", "%d", prctl(PR_GET_SECCOMP, 0, 0, 0, 0));
	field("securebits", "%#x", prctl(PR_GET_SECUREBITS, 0, 0, 0, 0));
	field("subreaper", "%d", (prctl(PR_GET_CHILD_SUBREAPER, &count, 0, 0, 0), count));
	field("thp-disabled", "%d", prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0));
	field("pid", "%d", getpid() == 1 ? 1 : 2);
	field("leader", "session %s group %s", getsid(0) == getpid() ? "yes" : "no", getpgrp() == getpid() ? "yes" : "no");
	if (!uname(&u)) {
		named("uts", "hostname", "%s", u.nodename);
		named("uts", "domainname", "%s", u.domainname);
		named("uts", "machine", "%s", u.machine);
	}
}

/* Calls that rules of a profile tell apart by their arguments. They come last, as some change the process. */
static void calls_with_arguments(void)
{
	named("call", "getpriority 0", "%s", outcome(syscall(SYS_getpriority, 0, 0)));
	named("call", "getpriority 1", "%s", outcome(syscall(SYS_getpriority, 1, 0)));
	named("call", "getpriority 1<<32", "%s", outcome(syscall(SYS_getpriority, 1L << 32, 0)));
	named("call", "dup3 77 78", "%s", outcome(syscall(SYS_dup3, 77, 78, 0)));
	named("call", "dup3 77 79", "%s", outcome(syscall(SYS_dup3, 77, 79, 0)));
	named("call", "dup3 70 78", "%s", outcome(syscall(SYS_dup3, 70, 78, 0)));
	for (int i = 605; i < 608; i++)
		named("call", (char[]){ 'f', 'l', 'o', 'c', 'k', ' ', '0' + i % 10, 0 }, "%s", outcome(syscall(SYS_flock, i, 0)));
	named("call", "umask 0x12", "%s", outcome(syscall(SYS_umask, 0x12)));
	named("call", "umask 0x22", "%s", outcome(syscall(SYS_umask, 0x22)));
	named("call", "umask 0x30", "%s", outcome(syscall(SYS_umask, 0x30)));
}

/* System calls that say what is permitted; each by its errno. Those that need nothing change nothing. */
static void calls(void)
{
	named("call", "unshare(user)", "%s", outcome(0));
	named("call", "getcwd", "%s", outcome(syscall(SYS_getcwd, (char[4096]){ 0 }, 4096)));
	named("call", "openat2", "%s", outcome(syscall(SYS_openat2, -1, "x", 0, 0)));
	named("call", "clone3", "%s", outcome(syscall(SYS_clone3, 0, 0)));
	named("call", "close_range", "%s", outcome(syscall(SYS_close_range, 5000, 4999, 0)));
	named("call", "faccessat2", "%s", outcome(syscall(439, AT_FDCWD, "/", 0, 0)));
	named("call", "futex_waitv", "%s", outcome(syscall(449, 0, 0, 0, 0, 0)));
	named("call", "cachestat", "%s", outcome(syscall(451, -1, 0, 0, 0)));
	named("call", "fchmodat2", "%s", outcome(syscall(452, -1, "x", 0, 0)));
	named("call", "call 1000", "%s", outcome(syscall(1000)));
	named("call", "keyctl", "%s", outcome(syscall(SYS_keyctl, 0, -3, 0)));
	named("call", "personality", "%s", outcome(syscall(SYS_personality, 0xffffffff)));
	named("call", "mknod", "%s", (mknod("/dev/probe-node", S_IFCHR | 0600, makedev(1, 3)) ? outcome(-1)
		: (unlink("/dev/probe-node"), "ok")));
	named("call", "sethostname", "%s", outcome(syscall(SYS_sethostname, "", -1L)));
	named("call", "mount", "%s", outcome(syscall(SYS_mount, "x", "/nowhere", "tmpfs", 0, 0)));
	named("call", "open device zero", "%s", outcome(open("/dev/zero", O_RDWR | O_CLOEXEC)));
	named("call", "open device fuse", "%s", outcome(open("/dev/fuse", O_RDWR | O_CLOEXEC)));
	named("call", "write /", "%s", (mkdir("/probe-dir", 0700) ? outcome(-1) : (rmdir("/probe-dir"), "ok")));
	named("call", "write /dev/stderr", "%s", outcome(open("/dev/stderr", O_WRONLY | O_CLOEXEC)));
	calls_with_arguments();
}

static void namespaces(void)
{
	static const char *const names[] = { "cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts" };
	char path[64], link[64];
	for (unsigned i = 0; i < sizeof(names) / sizeof(*names); i++) {
		snprintf(path, sizeof(path), "/proc/self/ns/%s", names[i]);
		ssize_t length = readlink(path, link, sizeof(link) - 1);
		named("namespace", names[i], "%.*s", length < 0 ? 1 : (int)length, length < 0 ? "?" : link);
	}
}

static void times(void)
{
	struct timespec boot, monotonic, real;
	clock_gettime(CLOCK_BOOTTIME, &boot);
	clock_gettime(CLOCK_MONOTONIC, &monotonic);
	clock_gettime(CLOCK_REALTIME, &real);
	/* Whole weeks, so that the seconds between two runs do not show. */
	field("time", "boot %lld monotonic %lld", (long long)boot.tv_sec / 604800, (long long)monotonic.tv_sec / 604800);
}

static void proc(void)
{
	static const char *const status[] = { "/proc/self/status" };
	static const char *const files[] = { "/proc/self/oom_score_adj", "/proc/self/attr/current", "/proc/self/setgroups",
		"/proc/self/timens_offsets", "/proc/self/loginuid", "/proc/sys/kernel/msgmax", "/proc/sys/kernel/shm_rmid_forced",
		"/proc/sys/net/ipv4/ip_unprivileged_port_start", "/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/ipv4/ping_group_range",
		"/proc/sys/fs/mqueue/msg_max", "/proc/sys/kernel/domainname", "/proc/sys/kernel/hostname", "/sys/class/net/lo/flags",
		"/proc/acpi/x", "/proc/keys/x", "/probe.txt", "/masked.txt", "/data/inside.txt", "/data/sub/inside.txt" };
	lines_of(status[0], "status", 0);
	lines_of("/proc/self/uid_map", "uid_map", 1);
	lines_of("/proc/self/gid_map", "gid_map", 1);
	lines_of("/proc/self/cgroup", "cgroup", 1);
	lines_of("/proc/self/mountinfo", "mountinfo", 1);
	for (unsigned i = 0; i < sizeof(files) / sizeof(*files); i++)
		word_of(files[i]);
}

static void paths(void)
{
	static const char *const names[] = { "/", "/proc", "/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/acpi",
		"/proc/scsi", "/proc/sys", "/proc/bus", "/proc/irq", "/proc/sysrq-trigger", "/proc/self/fd", "/sys", "/sys/firmware",
		"/sys/fs/cgroup", "/dev/pts/ptmx", "/dev/pts/0", "/dev/net/tun", "/tmp", "/etc/passwd", "/root", "/work", "/masked",
		"/masked.txt", "/new", "/new/deep", "/link", "/made", "/made/by", "/data/inside.txt" };
	directory("/dev");
	directory("/data");
	directory("/tmpfs");
	directory("/sys/fs/cgroup");
	for (unsigned i = 0; i < sizeof(names) / sizeof(*names); i++)
		path(names[i]);
}

static void environment(const char *group)
{
	char list[1 << 15] = "";
	for (char **e = environ; *e; e++) {
		char *value = strchr(*e, '=');
		char name[256];
		snprintf(name, sizeof(name), "%.*s", value ? (int)(value - *e) : 200, *e);
		named(group, name, "%.4000s", value ? value + 1 : "(no =)");
		if (strlen(list) + strlen(name) + 2 < sizeof(list))
			strcat(strcat(list, name), " ");
	}
	named(group, "(order)", "%.4000s", list);
}

/* The paths that a situation asks for: what is there, and its first bytes. */
static void asked(int argc, char **argv)
{
	for (int i = 1; i + 1 < argc; i++)
		if (!strcmp(argv[i], "-p")) {
			struct stat s;
			path(argv[++i]);
			if (!stat(argv[i], &s) && S_ISREG(s.st_mode))
				word_of(argv[i]);
		}
}

static void view(int argc, char **argv)
{
	/* Standard streams first: what follows opens more. */
	descriptors(0);
	terminal();
	signals();
	identity();
	limits();
	scheduling();
	environment("env");
	for (int i = 0; i < argc; i++)
		named("argv", (char[]){ '0' + i, 0 }, "%s", argv[i]);
	times();
	namespaces();
	proc();
	paths();
	asked(argc, argv);
	calls();
}

static void hook(const char *name, int argc, char **argv)
{
	char text[65536], cwd[4096];
	ssize_t length = 0, more;
	while (length < (ssize_t)sizeof(text) - 1 && (more = read(0, text + length, sizeof(text) - 1 - length)) > 0)
		length += more;
	text[length] = 0;
	named(name, "state", "%s", text);
	named(name, "cwd", "%s", getcwd(cwd, sizeof(cwd)) ? cwd : outcome(-1));
	char group[256];
	snprintf(group, sizeof(group), "%s.env", name);
	environment(group);
	for (int i = 3; i < argc; i++)
		named(name, "argument", "%s", argv[i]);
	mode_t mask = umask(0);
	named(name, "umask", "%04o", mask);
	named(name, "uid", "%u %u", getuid(), getgid());
	signals();
	/* The first three are each runtime's own choice of pipes and files. */
	descriptors(3);
}

/* For a test of what happens when the kernel can make no keyring any more. */
static int fill_keys(const char *user)
{
	char name[32];
	int count = 0, id = atoi(user);
	if (setresuid(id, id, id))
		return 1;
	syscall(SYS_keyctl, 1, 0);
	do
		snprintf(name, sizeof(name), "key-%d", count++);
	while (syscall(SYS_add_key, "user", name, "value", 5, -3) >= 0);
	printf("%d keys\n", count - 1);
	fflush(stdout);
	for (;;)
		pause();
}

static void end(int signal) { _exit(128 + signal); }

int main(int argc, char **argv)
{
	out = stdout;
	if (argc == 3 && !strcmp(argv[1], "exit"))
		return atoi(argv[2]);
	if (argc > 1 && !strcmp(argv[1], "echo")) {
		for (int i = 2; i < argc; i++)
			puts(argv[i]);
		return 0;
	}
	if (argc == 2 && !strcmp(argv[1], "pause")) {
		for (int i = 1; i < 32; i++)
			signal(i, end);
		for (;;)
			pause();
	}
	if (argc > 3 && !strcmp(argv[1], "hook")) {
		char file[4096];
		snprintf(file, sizeof(file), "%s/%s", argv[2], argv[3]);
		out = fopen(file, "ae");
		if (!out)
			return 99;
		hook(argv[3], argc - 1, argv + 1);
		return fclose(out) ? 98 : argc > 4 && !strcmp(argv[4], "fail") ? 7 : 0;
	}
	if (argc > 2 && !strcmp(argv[1], "then"))
		return execv(argv[2], argv + 2), 97;
	if (argc == 3 && !strcmp(argv[1], "fill-keys"))
		return fill_keys(argv[2]);
	if (argc > 2 && !strcmp(argv[1], "-o") && !(out = fopen(argv[2], "we")))
		return 99;
	view(argc, argv);
	return fclose(out) ? 98 : 0;
}
