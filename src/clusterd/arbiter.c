/*
 * The arbiter of the core with arbitration lock and etcd: runs the helper program that holds the lock.
 *
 * A helper prints '0' and holds the lock until it ends; '1': another has it; '2': it took too long; '3', anything else,
 * or its end: it failed. Ours may print lines "until NS" afterwards: the lock is certainly held until then
 * (CLOCK_MONOTONIC). Whatever a helper does, it can cost the lock and nothing else: it has a time limit for each answer
 * and for its end, at most one exists at a time, little of what it prints is read, and its process group dies with it.
 *
 *   IDLE       the core wants nothing, or was told that it failed or lost
 *   ASKED      to be started: at once, or when the former helper has ended
 *   TRYING     it runs, and has not answered yet
 *   HELD
 *   RELEASING  the core is told when the helper has ended
 *
 * A helper that is to end gets SIGTERM, and SIGKILL TERM_MS later. It may go on to exist in any state but TRYING and
 * HELD.
 */
#include "clusterd.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shared/lock_command.h"
#include "shared/log.h"
#include "shared/proc.h"

#define TERM_MS       2000
#define FLOOD_BYTES   (64 * 1024) /* more than this in FLOOD_MS: it is faulty */
#define FLOOD_MS      10000
#define UNTIL_MAX_MS  (3600 * 1000) /* what lies further ahead is no time of this clock */
#define SAME_LINE_MS  60000         /* the same line is logged again after this time */
#define LOG_WINDOW_MS 60000
#define LOG_LINES     10 /* of a helper, in LOG_WINDOW_MS */
#define LOG_KNOWN     4  /* different lines that are recognized */
#define LINE_MAX_LEN  200
#define LAST_READS    4
#define CLOSED_MS     50

enum arbiter_state { ARBITER_IDLE, ARBITER_ASKED, ARBITER_TRYING, ARBITER_HELD, ARBITER_RELEASING };

/* A line as it comes in. What is too long for it is left out. */
struct line {
	char text[LINE_MAX_LEN + 1];
	size_t len;
};

struct stream {
	struct tevent_fd *fde; /* NULL: at its end */
	int fd;
	struct line line;
};

struct helper {
	struct proc *proc;
	struct stream out, err;
	bool answered;       /* its first character has come */
	bool ending;         /* got SIGTERM */
	struct mono closed;  /* when its standard output ended; why is known when it has exited */
	struct mono kill_at; /* MONO_NEVER: not ending, or killed */
	char answer;
	struct mono until; /* newest that it said */
	char said[LINE_MAX_LEN + 1];
	struct mono window; /* flood: since when bytes are counted */
	size_t bytes;
};

struct arbiter {
	struct clusterd *cd;
	char **argv;
	const char *name; /* of the program */
	uint32_t timeout_ms;
	bool bounded; /* the lock is held only while it says until when */
	enum arbiter_state state;
	struct mono deadline; /* ASKED, TRYING, RELEASING */
	struct helper *helper;
	struct mono_timer *timer;
	const char *event; /* the newest that was told */
	struct {
		struct {
			char text[LINE_MAX_LEN + 1];
			struct mono at;
		} known[LOG_KNOWN]; /* lines logged last */
		unsigned next, lines, left_out;
		struct mono since; /* lines are counted */
	} log;
};

static void arbiter_arm(struct arbiter *a);
static void helper_end(struct arbiter *a);

/* ---- answers ---- */

/* For who watches: each kind of answer once, until another one comes. */
static void tell_event(struct arbiter *a, enum cluster_arbiter_answer what, const char *text)
{
	static const char *const kinds[] = {
		[CLUSTER_ARBITER_HELD] = "this node holds the cluster lock",
		[CLUSTER_ARBITER_CONTENDED] = "this node does not get the cluster lock: ",
		[CLUSTER_ARBITER_FAILED] = "the cluster lock cannot be taken: ",
		[CLUSTER_ARBITER_LOST] = "the cluster lock was lost: ",
		[CLUSTER_ARBITER_RELEASED] = "this node does not hold the cluster lock any more",
	};

	if (a->event != kinds[what]) {
		a->event = kinds[what];
		events_add(a->cd, CLUSTER_EVENT_ARBITRATION, a->cd->d->pnn, 0, "%s%s", a->event,
			   what == CLUSTER_ARBITER_HELD || what == CLUSTER_ARBITER_RELEASED ? "" : text);
	}
}

/* The state is left first: the core may ask for the next thing from inside. */
static void answer(struct arbiter *a, enum arbiter_state state, enum cluster_arbiter_answer what, struct mono until,
		   const char *fmt, ...) __attribute__((format(printf, 5, 6)));

static void answer(struct arbiter *a, enum arbiter_state state, enum cluster_arbiter_answer what, struct mono until,
		   const char *fmt, ...)
{
	struct clusterd *cd = a->cd;
	char text[2 * LINE_MAX_LEN];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	a->state = state;
	if (a->helper != NULL && state == ARBITER_IDLE) {
		helper_end(a);
	}
	tell_event(a, what, text);
	cluster_arbiter(cd->core, mono_now(), what, until, text);
	clusterd_after(cd);
	arbiter_arm(a);
}

/* Why it ended or failed, if it said so, else what was seen of it. */
static const char *reason(const struct arbiter *a, const char *seen)
{
	return a->helper != NULL && a->helper->said[0] != '\0' ? a->helper->said : seen;
}

/* The helper is of no use any more. */
static void failed(struct arbiter *a, const char *seen)
{
	const char *why = reason(a, seen);

	if (a->state == ARBITER_TRYING) {
		answer(a, ARBITER_IDLE, CLUSTER_ARBITER_FAILED, MONO_NEVER, "%s", why);
	} else if (a->state == ARBITER_HELD) {
		answer(a, ARBITER_IDLE, CLUSTER_ARBITER_LOST, MONO_NEVER, "%s", why);
	}
}

static void __attribute__((format(printf, 2, 3))) failed_by(struct arbiter *a, const char *fmt, ...)
{
	char seen[LINE_MAX_LEN];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(seen, sizeof(seen), fmt, ap);
	va_end(ap);
	failed(a, seen);
}

/* ---- what the helper prints ---- */

static bool logged_lately(const struct arbiter *a, struct mono now, const char *text)
{
	for (unsigned i = 0; i < LOG_KNOWN; i++) {
		if (strcmp(a->log.known[i].text, text) == 0 &&
		    mono_before(now, mono_add_ms(a->log.known[i].at, SAME_LINE_MS))) {
			return true;
		}
	}
	return false;
}

static void log_line(struct arbiter *a, const char *text)
{
	struct mono now = mono_now();

	if (logged_lately(a, now, text)) {
		return;
	}
	if (!mono_is_set(a->log.since) || !mono_before(now, mono_add_ms(a->log.since, LOG_WINDOW_MS))) {
		if (a->log.left_out > 0) {
			log_notice("cluster lock: %u lines of %s were left out", a->log.left_out, a->name);
		}
		a->log.since = now;
		a->log.lines = a->log.left_out = 0;
	}
	if (a->log.lines == LOG_LINES) {
		a->log.left_out++;
		return;
	}
	a->log.lines++;
	snprintf(a->log.known[a->log.next].text, sizeof(a->log.known[0].text), "%s", text);
	a->log.known[a->log.next].at = now;
	a->log.next = (a->log.next + 1) % LOG_KNOWN;
	log_notice("cluster lock: %s", text);
}

static void error_line(struct arbiter *a, struct helper *h, const char *text)
{
	size_t prefix = strlen(a->name);

	if (text[0] == '\0') {
		return;
	}
	/* "PROGRAM: text" is how programs write; the log says where it is from */
	if (strncmp(text, a->name, prefix) == 0 && strncmp(text + prefix, ": ", 2) == 0) {
		text += prefix + 2;
	}
	snprintf(h->said, sizeof(h->said), "%s", text);
	log_line(a, text);
}

static void output_line(struct arbiter *a, struct helper *h, const char *text)
{
	struct mono now = mono_now(), until = MONO_NEVER;
	char *end;

	if (strncmp(text, "until ", 6) != 0) {
		return;
	}
	errno = 0;
	until.ns = strtoull(text + 6, &end, 10);
	if (errno != 0 || *end != '\0' || !mono_before(until, mono_add_ms(now, UNTIL_MAX_MS))) {
		log_ratelimited(LOG_LVL_WARNING, 60000, "%s says that the lock lasts until %s: ignored", a->name,
				text + 6);
		return;
	}
	if (mono_before(h->until, until)) {
		h->until = until;
	}
}

static void take_byte(struct arbiter *a, struct helper *h, struct stream *s, char c)
{
	struct line *l = &s->line;

	if (s == &h->out && !h->answered) {
		h->answered = true;
		h->answer = c;
		return;
	}
	if (c != '\n') {
		if (l->len < LINE_MAX_LEN) {
			l->text[l->len++] = c < ' ' || c > '~' ? '?' : c;
		}
		return;
	}
	l->text[l->len] = '\0';
	l->len = 0;
	if (s == &h->out) {
		output_line(a, h, l->text);
	} else {
		error_line(a, h, l->text);
	}
}

static bool floods(struct helper *h, size_t n)
{
	struct mono now = mono_now();

	if (!mono_is_set(h->window) || !mono_before(now, mono_add_ms(h->window, FLOOD_MS))) {
		h->window = now;
		h->bytes = 0;
	}
	h->bytes += n;
	return h->bytes > FLOOD_BYTES;
}

/* One read of a bounded size. False: the end of the file, or too much. */
static bool stream_read(struct arbiter *a, struct helper *h, struct stream *s)
{
	char buf[4096];
	ssize_t n = read(s->fd, buf, sizeof(buf));

	if (n < 0) {
		return errno == EAGAIN || errno == EINTR;
	}
	for (ssize_t i = 0; i < n; i++) {
		take_byte(a, h, s, buf[i]);
	}
	return n > 0 && !floods(h, (size_t)n);
}

/* What its first character means. Nothing is known yet if a bounded lock's time has not come. */
static void helper_answered(struct arbiter *a, struct helper *h)
{
	switch (h->answer) {
	case '0':
		if (mono_is_set(h->until) || !a->bounded) {
			answer(a, ARBITER_HELD, CLUSTER_ARBITER_HELD, h->until, "held by this node");
		}
		break;
	case '1':
		answer(a, ARBITER_IDLE, CLUSTER_ARBITER_CONTENDED, MONO_NEVER, "%s",
		       reason(a, "it is held by another node"));
		break;
	case '2':
		failed_by(a, "%s could not take the lock in time", a->name);
		break;
	case '3':
		failed_by(a, "%s failed and did not say why", a->name);
		break;
	default:
		failed_by(a, "%s printed something else than 0, 1, 2 or 3", a->name);
		break;
	}
}

/* After reading: what has changed by it? */
static void helper_heard(struct arbiter *a, struct helper *h, struct mono until_before)
{
	if (a->state == ARBITER_TRYING && h->answered) {
		helper_answered(a, h);
	} else if (a->state == ARBITER_HELD && h->until.ns != until_before.ns) {
		answer(a, ARBITER_HELD, CLUSTER_ARBITER_HELD, h->until, "held by this node");
	}
}

static void output_readable(struct tevent_context *ev, struct tevent_fd *fde, uint16_t flags, void *priv)
{
	struct arbiter *a = priv;
	struct helper *h = a->helper;
	struct mono until = h->until;
	bool more = stream_read(a, h, &h->out), flood = h->bytes > FLOOD_BYTES;

	if (!more) {
		TALLOC_FREE(h->out.fde);
	}
	/* what it says on standard error explains what it says here, and may still be unread */
	if (h->err.fde != NULL && !stream_read(a, h, &h->err)) {
		TALLOC_FREE(h->err.fde);
	}
	if (!flood) {
		helper_heard(a, h, until);
	}
	if (flood && !h->ending) {
		failed_by(a, "%s printed too much", a->name);
	} else if (!more) {
		h->closed = mono_now();
		arbiter_arm(a);
	}
}

static void error_readable(struct tevent_context *ev, struct tevent_fd *fde, uint16_t flags, void *priv)
{
	struct arbiter *a = priv;
	struct helper *h = a->helper;

	if (stream_read(a, h, &h->err)) {
		return;
	}
	TALLOC_FREE(h->err.fde);
	if (h->bytes > FLOOD_BYTES && !h->ending) {
		h->said[0] = '\0';
		failed_by(a, "%s printed too much", a->name);
	}
}

/* ---- its life ---- */

static void helper_signal(struct helper *h, int signal)
{
	(void)proc_kill_group(h->proc, signal);
}

static void helper_end(struct arbiter *a)
{
	struct helper *h = a->helper;

	if (h->ending) {
		return;
	}
	h->ending = true;
	h->kill_at = mono_add_ms(mono_now(), TERM_MS);
	helper_signal(h, SIGTERM);
}

static void describe_exit(char *text, size_t size, const char *name, int status)
{
	if (WIFSIGNALED(status)) {
		snprintf(text, size, "%s was killed by signal %d", name, WTERMSIG(status));
	} else {
		snprintf(text, size, "%s ended with status %d", name, WEXITSTATUS(status));
	}
}

/* Its last words can still be in the pipes. */
static void helper_exited(void *priv, struct proc *p, int wait_status)
{
	struct arbiter *a = priv;
	struct helper *h = a->helper;
	struct mono until = h->until;
	char text[LINE_MAX_LEN];

	for (unsigned i = 0; i < LAST_READS && h->err.fde != NULL && stream_read(a, h, &h->err); i++) {
		continue;
	}
	if (h->err.line.len > 0) {
		take_byte(a, h, &h->err, '\n');
	}
	if (h->out.fde != NULL && !h->answered) {
		(void)stream_read(a, h, &h->out);
	}
	h->ending = true; /* nothing to be ended */
	h->kill_at = MONO_NEVER;
	describe_exit(text, sizeof(text), a->name, wait_status);
	if (a->state == ARBITER_TRYING && h->answered && h->answer != '0') {
		helper_heard(a, h, until);
	}
	failed(a, text);
	TALLOC_FREE(a->helper); /* what is left of its group dies */
	arbiter_arm(a);
}

static int open_stream(struct arbiter *a, struct helper *h, struct stream *s, tevent_fd_handler_t handler,
		       int *write_fd)
{
	int fds[2];

	if (pipe2(fds, O_CLOEXEC) != 0) {
		return errno;
	}
	*write_fd = fds[1];
	s->fd = fds[0];
	(void)fcntl(fds[0], F_SETFL, O_NONBLOCK);
	s->fde = tevent_add_fd(a->cd->d->ev, h, fds[0], TEVENT_FD_READ, handler, a);
	if (s->fde == NULL) {
		close(fds[0]);
		close(fds[1]);
		*write_fd = -1;
		return ENOMEM;
	}
	tevent_fd_set_auto_close(s->fde);
	return 0;
}

static int helper_start(struct arbiter *a)
{
	struct helper *h = talloc_zero(a, struct helper);
	int out = -1, err = -1, ret;

	if (h == NULL) {
		return ENOMEM;
	}
	ret = open_stream(a, h, &h->out, output_readable, &out);
	if (ret == 0) {
		ret = open_stream(a, h, &h->err, error_readable, &err);
	}
	if (ret == 0) {
		ret = proc_spawn_group(h, a->cd->d->ev, a->argv, out, err, SIGTERM, helper_exited, a, &h->proc);
	}
	if (out >= 0) {
		close(out);
	}
	if (err >= 0) {
		close(err);
	}
	if (ret != 0) {
		talloc_free(h);
		return ret;
	}
	a->helper = h;
	return 0;
}

static void try(struct arbiter *a)
{
	int ret = helper_start(a);

	a->state = ARBITER_TRYING;
	if (ret != 0) {
		failed_by(a, "%s cannot be started: %s", a->argv[0], strerror(ret));
	}
}

/* ---- time ---- */

static void overdue(struct arbiter *a)
{
	switch (a->state) {
	case ARBITER_ASKED:
		answer(a, ARBITER_IDLE, CLUSTER_ARBITER_FAILED, MONO_NEVER,
		       "the former %s (pid %d) does not end: does the file system of the lock hang?", a->name,
		       (int)proc_pid(a->helper->proc));
		break;
	case ARBITER_TRYING:
		failed_by(a, "%s gave no answer within %u ms", a->name, a->timeout_ms);
		break;
	case ARBITER_RELEASING:
		answer(a, ARBITER_IDLE, CLUSTER_ARBITER_RELEASED, MONO_NEVER, "%s does not end", a->name);
		break;
	case ARBITER_IDLE:
	case ARBITER_HELD:
		break;
	}
}

static void arbiter_due(void *priv)
{
	struct arbiter *a = priv;
	struct helper *h = a->helper;
	struct mono now = mono_now();

	if (h != NULL && mono_is_set(h->kill_at) && !mono_before(now, h->kill_at)) {
		log_warning("%s did not end within %d ms: killed", a->name, TERM_MS);
		h->kill_at = MONO_NEVER;
		helper_signal(h, SIGKILL);
	}
	if (h == NULL && a->state == ARBITER_ASKED) {
		try(a);
	} else if (h == NULL && a->state == ARBITER_RELEASING) {
		answer(a, ARBITER_IDLE, CLUSTER_ARBITER_RELEASED, MONO_NEVER, "%s", "");
	} else if (a->state == ARBITER_HELD && mono_is_set(h->until) && !mono_before(now, h->until)) {
		failed_by(a, "%s did not renew the lock in time", a->name);
	} else if (h != NULL && mono_is_set(h->closed) && !mono_before(now, mono_add_ms(h->closed, CLOSED_MS)) &&
		   !h->ending) {
		failed_by(a, "%s closed its standard output", a->name);
	} else if (mono_is_set(a->deadline) && !mono_before(now, a->deadline)) {
		overdue(a);
	}
	arbiter_arm(a);
}

static void arbiter_arm(struct arbiter *a)
{
	const struct helper *h = a->helper;
	struct mono when = h != NULL ? h->kill_at : MONO_NEVER;

	if (h != NULL && mono_is_set(h->closed) && !h->ending) {
		when = mono_min(when, mono_add_ms(h->closed, CLOSED_MS));
	}
	switch (a->state) {
	case ARBITER_ASKED:
	case ARBITER_RELEASING:
		when = mono_min(when, h == NULL ? mono_now() : a->deadline);
		break;
	case ARBITER_TRYING:
		when = mono_min(when, a->deadline);
		break;
	case ARBITER_HELD:
		when = mono_min(when, h->until);
		break;
	case ARBITER_IDLE:
		break;
	}
	mono_timer_set(a->timer, when);
}

/* ---- the core's side ---- */

/* Called from inside the core: everything happens later. */
void arbiter_want(struct arbiter *a, bool want)
{
	if (want && (a->state == ARBITER_TRYING || a->state == ARBITER_HELD)) {
		log_error("the lock was asked for twice");
		return;
	}
	a->state = want ? ARBITER_ASKED : ARBITER_RELEASING;
	a->deadline = mono_add_ms(mono_now(), a->timeout_ms);
	if (!want && a->helper != NULL) {
		helper_end(a);
	}
	arbiter_arm(a);
}

bool arbiter_holds(const struct arbiter *a)
{
	const struct helper *h = a->helper;
	struct pollfd fd = {.fd = h != NULL ? h->out.fd : -1, .events = POLLIN};
	siginfo_t info = {0};

	if (a->state != ARBITER_HELD || proc_pid(h->proc) < 0 || h->out.fde == NULL) {
		return false;
	}
	if (waitid(P_PID, (id_t)proc_pid(h->proc), &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid != 0) {
		return false;
	}
	if (poll(&fd, 1, 0) == 1 && (fd.revents & (POLLHUP | POLLERR)) != 0) {
		return false;
	}
	return !mono_is_set(h->until) || mono_before(mono_now(), h->until);
}

bool arbiter_idle(const struct arbiter *a)
{
	return a == NULL || a->helper == NULL;
}

void arbiter_end(struct arbiter *a)
{
	if (a != NULL && a->helper != NULL) {
		helper_end(a);
		arbiter_arm(a);
	}
}

int arbiter_start(struct clusterd *cd, struct cluster_config *config, char **err)
{
	const struct daemon *d = cd->d;
	struct arbiter *a = talloc_zero(cd, struct arbiter);
	const char *slash;
	char *holder;
	int ret;

	if (a == NULL) {
		return ENOMEM;
	}
	holder = talloc_asprintf(a, "node %u (%s)", (unsigned)d->pnn, d->nodes->v[d->pnn].text);
	a->timer = mono_timer_new(a, d->ev, arbiter_due, a);
	ret = holder == NULL || a->timer == NULL ? ENOMEM : lock_command(cd, d->conf, holder, &a->argv, err);
	if (ret != 0 || a->argv == NULL) {
		talloc_free(a);
		return ret;
	}
	talloc_steal(a, a->argv);
	slash = strrchr(a->argv[0], '/');
	a->name = slash != NULL ? slash + 1 : a->argv[0];
	a->cd = cd;
	a->timeout_ms = d->conf->cluster.lock_timeout;
	a->bounded = d->conf->cluster.arbitration == CONF_ARBITRATION_ETCD;
	config->quorum = CLUSTER_QUORUM_EXTERNAL;
	config->arbiter_bounded = a->bounded;
	config->arbiter_ms = a->timeout_ms;
	cd->arbiter = a;
	return 0;
}
