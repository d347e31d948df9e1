/* What both lock helpers share: what they report to the process that started them, and noticing that it has gone. */
#ifndef LOCK_HELPER_H
#define LOCK_HELPER_H

#include <poll.h>
#include <stdbool.h>
#include <sys/types.h>

#include "base/mono.h"

enum helper_report {
	HELPER_HELD = '0',
	HELPER_CONTENDED = '1',
	HELPER_TIMED_OUT = '2',
	HELPER_ERROR = '3',
};

/* Standard output, in one write; until (MONO_NEVER: not known): the lock certainly lasts so long. */
void helper_report(enum helper_report report, struct mono until);
/* The lock lasts longer now. Never waits: a line that has no room is left out. */
void helper_report_until(struct mono until);

/* To standard error: "PROGRAM: text". */
void helper_say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/*
 * The process that started this one. It is gone when the kernel says so (descriptor of the process, signal), when this process has another parent (looked
 * at every HELPER_PARENT_MS), or when nobody can read standard output any more, if that is a pipe.
 */
#define HELPER_PARENT_MS 5000
#define HELPER_PARENT_FDS 2
struct helper_parent {
	pid_t pid;
	int fd; /* -1: not to be had */
};

/* False: there is none (process 1). SIGTERM comes when it ends. */
bool helper_parent_open(struct helper_parent *p);
/* Fills HELPER_PARENT_FDS entries for poll(). */
void helper_parent_poll(const struct helper_parent *p, struct pollfd *fds);
/* After poll(): whether it is gone. */
bool helper_parent_gone(const struct helper_parent *p, const struct pollfd *fds);

#endif
