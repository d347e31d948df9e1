/* The lock helpers' side towards the daemon that started them. */
#include "helper.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A reader that has gone is noticed by poll(), not here. */
static void put(const char *text, size_t len)
{
	while (len > 0) {
		ssize_t n = write(STDOUT_FILENO, text, len);

		if (n < 0 && errno != EINTR) {
			return;
		}
		if (n > 0) {
			text += n;
			len -= (size_t)n;
		}
	}
}

void helper_report(enum helper_report report, struct mono until)
{
	char text[64];
	int len;

	if (mono_is_set(until)) {
		len = snprintf(text, sizeof(text), "%c\nuntil %" PRIu64 "\n", (char)report, until.ns);
	} else {
		len = snprintf(text, sizeof(text), "%c\n", (char)report);
	}
	put(text, (size_t)len);
}

void helper_report_until(struct mono until)
{
	struct pollfd fd = {.fd = STDOUT_FILENO, .events = POLLOUT};
	char text[64];

	if (poll(&fd, 1, 0) == 1 && fd.revents == POLLOUT) {
		put(text, (size_t)snprintf(text, sizeof(text), "until %" PRIu64 "\n", until.ns));
	}
}

void helper_say(const char *fmt, ...)
{
	char text[1000];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	fprintf(stderr, "%s: %s\n", program_invocation_short_name, text);
}

bool helper_parent_open(struct helper_parent *p)
{
	signal(SIGPIPE, SIG_IGN);
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	p->pid = getppid();
	p->fd = p->pid > 1 ? (int)syscall(SYS_pidfd_open, p->pid, 0) : -1;
	if (p->pid <= 1) {
		helper_say("nobody waits for the lock: start this program from the daemon, or from a shell");
	}
	return p->pid > 1;
}

void helper_parent_poll(const struct helper_parent *p, struct pollfd *fds)
{
	fds[0] = (struct pollfd){.fd = p->fd, .events = POLLIN};
	/* no events: only that its reader has gone */
	fds[1] = (struct pollfd){.fd = STDOUT_FILENO};
}

bool helper_parent_gone(const struct helper_parent *p, const struct pollfd *fds)
{
	return fds[0].revents != 0 || (fds[1].revents & POLLERR) != 0 || getppid() != p->pid;
}
