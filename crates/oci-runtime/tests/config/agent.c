/* Answers for SCMP_ACT_NOTIFY: `agent SOCKET DOCUMENT` takes one listener, writes the document that came with it, and
 * lets every call go on but those that make directories: these fail with ENOSPC. */
#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

static int receive(int from, const char *document)
{
	char text[65536], control[CMSG_SPACE(sizeof(int))];
	struct iovec part = { text, sizeof(text) };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };
	ssize_t length = recvmsg(from, &message, 0);
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);
	if (length <= 0 || !header || header->cmsg_type != SCM_RIGHTS)
		return -1;
	int listener, out = open(document, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	memcpy(&listener, CMSG_DATA(header), sizeof(listener));
	do {
		if (write(out, text, length) != length)
			return -1;
	} while ((length = read(from, text, sizeof(text))) > 0);
	close(out);
	return listener;
}

int main(int argc, char **argv)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int server = socket(AF_UNIX, SOCK_STREAM, 0);
	if (argc != 3 || strlen(argv[1]) >= sizeof(address.sun_path))
		return 2;
	strcpy(address.sun_path, argv[1]);
	if (bind(server, (void *)&address, sizeof(address)) || listen(server, 1))
		return 3;
	int listener = receive(accept(server, 0, 0), argv[2]);
	if (listener < 0)
		return 4;
	for (;;) {
		struct seccomp_notif asked;
		struct seccomp_notif_resp answer;
		memset(&asked, 0, sizeof(asked));
		if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &asked)) {
			if (errno == EINTR || errno == ENOENT)
				continue;
			return 0;
		}
		memset(&answer, 0, sizeof(answer));
		answer.id = asked.id;
		if (asked.data.nr == SYS_mkdirat
#ifdef SYS_mkdir
		    || asked.data.nr == SYS_mkdir
#endif
		)
			answer.error = -ENOSPC;
		else
			answer.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
		ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer);
	}
}
