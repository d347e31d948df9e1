/*
 * ctdb-lock-fcntl: holds a lock on a file of the cluster file system.
 *
 * Two processes. The holder locks byte 0 and then never touches the file again, so it cannot hang with the file system,
 * nor lose the lock by closing a descriptor. The checker looks at the file each time that it is asked: whether the name
 * still leads to the file that is locked, and whether locking still works, by a lock on byte 1 that it waits for. It
 * has none of the holder's descriptors, so the holder's end is seen by all even if the checker hangs.
 *
 * No signal handler: whatever ends the holder, the kernel releases the lock.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "helper.h"

#define RECHECK_S    5
#define SECONDS_MAX  86400
#define EXIT_TROUBLE 1
#define EXIT_USAGE   2

static const char usage[] =
	"usage: ctdb-lock-fcntl FILE [RECHECK-SECONDS [PING-TIMEOUT-SECONDS]]\n"
	"Locks FILE, prints 0 and holds the lock until SIGTERM or the end of the process that started it.\n"
	"Prints 1 if another process has the lock, 3 after an error.\n"
	"  RECHECK-SECONDS       between two looks whether the file is still there and can be locked (5; 0: never)\n"
	"  PING-TIMEOUT-SECONDS  a look that takes longer counts as loss of the lock (0: it may take any time)\n";

/* What the checker is to find. */
struct question {
	dev_t dev;
	ino_t ino;
};

enum finding { FINDING_GOOD, FINDING_REPLACED, FINDING_GONE, FINDING_NO_LOCK };

struct answer {
	enum finding finding;
	int err; /* errno of GONE and NO_LOCK */
};

struct holder {
	const char *path;
	uint64_t recheck_ms, ping_ms; /* 0: off */
	struct helper_parent parent;
	int fd; /* of the locked file */
	struct question question;
	int ask, told; /* pipes to and from the checker; -1: there is none */
	struct mono next_ask;
	struct mono asked; /* MONO_NEVER: no answer is missing */
};

static int set_lock(int fd, int command, off_t byte)
{
	struct flock fl = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
	int ret;

	do {
		ret = fcntl(fd, command, &fl);
	} while (ret != 0 && errno == EINTR);
	return ret == 0 ? 0 : errno;
}

/* ---- the checker ---- */

static struct answer look(const char *path, const struct question *q)
{
	struct answer a = {FINDING_GOOD, 0};
	struct stat st;
	int fd = open(path, O_RDWR | O_CLOEXEC | O_NOCTTY);

	if (fd < 0 || fstat(fd, &st) != 0) {
		a = (struct answer){FINDING_GONE, errno};
	} else if (st.st_dev != q->dev || st.st_ino != q->ino) {
		a.finding = FINDING_REPLACED;
	} else {
		a.err = set_lock(fd, F_SETLKW, 1);
		a.finding = a.err != 0 ? FINDING_NO_LOCK : FINDING_GOOD;
	}
	if (fd >= 0) {
		close(fd); /* releases byte 1; byte 0 belongs to another process */
	}
	return a;
}

static void __attribute__((noreturn)) checker(const char *path, int ask, int tell)
{
	struct question q;
	int null = open("/dev/null", O_RDWR);

	/* Nobody may wait for the end of these because of us. */
	if (null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 || dup2(null, 2) < 0) {
		_exit(EXIT_TROUBLE);
	}
	prctl(PR_SET_NAME, "lock-checker");
	while (read(ask, &q, sizeof(q)) == (ssize_t)sizeof(q)) {
		struct answer a = look(path, &q);

		if (write(tell, &a, sizeof(a)) != (ssize_t)sizeof(a)) {
			break;
		}
	}
	_exit(0);
}

/* Before the file is opened: the checker has nothing of it. */
static int start_checker(struct holder *h)
{
	pid_t holder = getpid(), pid;
	int ask[2], told[2];

	if (pipe2(ask, O_CLOEXEC) != 0 || pipe2(told, O_CLOEXEC) != 0) {
		return errno;
	}
	pid = fork();
	if (pid < 0) {
		return errno;
	}
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(ask[1]);
		close(told[0]);
		if (h->parent.fd >= 0) {
			close(h->parent.fd);
		}
		if (getppid() != holder) {
			_exit(EXIT_TROUBLE);
		}
		checker(h->path, ask[0], told[1]);
	}
	close(ask[0]);
	close(told[1]);
	h->ask = ask[1];
	h->told = told[0];
	return 0;
}

/* ---- the holder ---- */

static int take(struct holder *h)
{
	struct stat st;
	int ret;

	h->fd = open(h->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOCTTY, 0600);
	if (h->fd < 0 || fstat(h->fd, &st) != 0) {
		ret = errno;
		helper_say("cannot open %s: %s: is the cluster file system mounted, and its directory there?", h->path,
			   strerror(ret));
		return HELPER_ERROR;
	}
	ret = set_lock(h->fd, F_SETLK, 0);
	if (ret == EACCES || ret == EAGAIN) {
		return HELPER_CONTENDED;
	}
	if (ret != 0) {
		helper_say("cannot lock %s: %s: does its file system have locks that all nodes see?", h->path,
			   strerror(ret));
		return HELPER_ERROR;
	}
	h->question = (struct question){st.st_dev, st.st_ino};
	return HELPER_HELD;
}

/* True if the lock is still held for certain. */
static bool hear(struct holder *h)
{
	struct answer a;

	if (read(h->told, &a, sizeof(a)) != (ssize_t)sizeof(a)) {
		helper_say("the process that checks %s has ended: the lock is given up", h->path);
		return false;
	}
	h->asked = MONO_NEVER;
	switch (a.finding) {
	case FINDING_GOOD:
		return true;
	case FINDING_REPLACED:
		helper_say("%s is another file now: the lock is lost; nobody may replace or move it", h->path);
		break;
	case FINDING_GONE:
		helper_say("%s cannot be opened any more: %s: the lock is lost", h->path, strerror(a.err));
		break;
	case FINDING_NO_LOCK:
		helper_say("%s cannot be locked any more: %s: the lock is lost", h->path, strerror(a.err));
		break;
	}
	return false;
}

static bool ask(struct holder *h, struct mono now)
{
	if (write(h->ask, &h->question, sizeof(h->question)) != (ssize_t)sizeof(h->question)) {
		helper_say("the process that checks %s has ended: the lock is given up", h->path);
		return false;
	}
	h->asked = now;
	h->next_ask = mono_add_ms(now, h->recheck_ms);
	return true;
}

/* What is due by time. */
static bool check(struct holder *h, struct mono now)
{
	if (h->ask < 0) {
		return true;
	}
	if (!mono_is_set(h->asked)) {
		return mono_before(now, h->next_ask) || ask(h, now);
	}
	if (h->ping_ms != 0 && !mono_before(now, mono_add_ms(h->asked, h->ping_ms))) {
		helper_say("checking %s takes more than %llu s: does its file system hang? The lock is given up",
			   h->path, (unsigned long long)h->ping_ms / 1000);
		return false;
	}
	return true;
}

static int wait_ms(const struct holder *h, struct mono now)
{
	struct mono until = mono_add_ms(now, HELPER_PARENT_MS);

	if (h->ask >= 0 && !mono_is_set(h->asked)) {
		until = mono_min(until, h->next_ask);
	} else if (h->ask >= 0 && h->ping_ms != 0) {
		until = mono_min(until, mono_add_ms(h->asked, h->ping_ms));
	}
	return (int)mono_ms_between(now, until) + 1;
}

static int hold(struct holder *h)
{
	struct pollfd fds[HELPER_PARENT_FDS + 1];

	h->next_ask = mono_add_ms(mono_now(), h->recheck_ms);
	for (;;) {
		helper_parent_poll(&h->parent, fds);
		fds[HELPER_PARENT_FDS] = (struct pollfd){.fd = h->told, .events = POLLIN};
		if (poll(fds, HELPER_PARENT_FDS + 1, wait_ms(h, mono_now())) < 0 && errno != EINTR) {
			helper_say("poll: %s", strerror(errno));
			return EXIT_TROUBLE;
		}
		if (helper_parent_gone(&h->parent, fds)) {
			return 0;
		}
		if ((fds[HELPER_PARENT_FDS].revents != 0 && !hear(h)) || !check(h, mono_now())) {
			return EXIT_TROUBLE;
		}
	}
}

static bool parse_seconds(const char *text, const char *what, uint64_t *ms)
{
	char *end;
	unsigned long n;

	errno = 0;
	n = strtoul(text, &end, 10);
	if (errno != 0 || text[0] < '0' || text[0] > '9' || *end != '\0' || n > SECONDS_MAX) {
		helper_say("%s is \"%s\": give seconds from 0 to %d", what, text, SECONDS_MAX);
		return false;
	}
	*ms = (uint64_t)n * 1000;
	return true;
}

static bool parse(struct holder *h, int argc, char **argv)
{
	if (argc < 2 || argc > 4 || argv[1][0] == '\0' || argv[1][0] == '-') {
		fputs(usage, stderr);
		return false;
	}
	h->path = argv[1];
	return (argc < 3 || parse_seconds(argv[2], "RECHECK-SECONDS", &h->recheck_ms)) &&
	       (argc < 4 || parse_seconds(argv[3], "PING-TIMEOUT-SECONDS", &h->ping_ms));
}

int main(int argc, char **argv)
{
	struct holder h = {.recheck_ms = RECHECK_S * 1000, .fd = -1, .ask = -1, .told = -1};
	int ret, report;

	if (argc == 2 && strcmp(argv[1], "--help") == 0) {
		fputs(usage, stdout);
		return 0;
	}
	if (!parse(&h, argc, argv)) {
		helper_report(HELPER_ERROR, MONO_NEVER);
		return EXIT_USAGE;
	}
	if (!helper_parent_open(&h.parent)) {
		return EXIT_TROUBLE;
	}
	/* Nothing is to be given back by hand, and SIGKILL reaches a stopped process too: it would keep the lock from
	 * all. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	ret = h.recheck_ms != 0 ? start_checker(&h) : 0;
	if (ret != 0) {
		helper_say("cannot start the process that checks %s: %s", h.path, strerror(ret));
	}
	report = ret != 0 ? HELPER_ERROR : take(&h);
	helper_report((enum helper_report)report, MONO_NEVER);
	return report == HELPER_HELD ? hold(&h) : report == HELPER_CONTENDED ? 0 : EXIT_TROUBLE;
}
