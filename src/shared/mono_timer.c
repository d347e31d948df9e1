/* One-shot timer on the monotonic clock, a timerfd. */
#include "shared/mono_timer.h"

#include <errno.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

/*
 * Most timers of hot paths are put off long before they fire, again and again. So the descriptor is only ever set
 * earlier: when it fires too early it is set once more, to the time that is wanted by then.
 */
#define SOON_US 1000 /* nearer than that: it would fire, which costs more than to set it */

struct mono_timer {
	int fd;
	struct mono when;  /* wanted */
	struct mono armed; /* of the descriptor: not later than when */
	mono_timer_fn fn;
	void *priv;
};

static void arm(struct mono_timer *t, struct mono when)
{
	struct itimerspec spec = {
		.it_value = {.tv_sec = (time_t)(when.ns / MONO_NS_PER_S), .tv_nsec = (long)(when.ns % MONO_NS_PER_S)},
	};

	/* Cannot fail: the descriptor is a timer and the value is in range. */
	(void)timerfd_settime(t->fd, TFD_TIMER_ABSTIME, &spec, NULL);
	t->armed = when;
}

static void mono_timer_fired(struct tevent_context *ev, struct tevent_fd *fde, uint16_t flags, void *priv)
{
	struct mono_timer *t = priv;
	uint64_t count;

	/* EAGAIN: it was set anew between the event and this handler. */
	if (read(t->fd, &count, sizeof(count)) != (ssize_t)sizeof(count)) {
		return;
	}
	t->armed = MONO_NEVER;
	if (!mono_is_set(t->when)) {
		return;
	}
	if (mono_before(mono_now(), t->when)) {
		arm(t, t->when);
		return;
	}
	t->when = MONO_NEVER;
	t->fn(t->priv);
}

struct mono_timer *mono_timer_new_named(TALLOC_CTX *mem, struct tevent_context *ev, mono_timer_fn fn, void *priv,
					const char *name)
{
	struct mono_timer *t = talloc(mem, struct mono_timer);
	struct tevent_fd *fde;

	if (t == NULL) {
		errno = ENOMEM;
		return NULL;
	}
	*t = (struct mono_timer){.fn = fn, .priv = priv};
	t->fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	if (t->fd < 0) {
		int err = errno;

		talloc_free(t);
		errno = err;
		return NULL;
	}
	fde = tevent_add_fd(ev, t, t->fd, TEVENT_FD_READ, mono_timer_fired, t);
	if (fde == NULL) {
		close(t->fd);
		talloc_free(t);
		errno = ENOMEM;
		return NULL;
	}
	tevent_fd_set_auto_close(fde);
	tevent_fd_set_tag(fde, (uintptr_t)name);
	return t;
}

void mono_timer_set(struct mono_timer *t, struct mono when)
{
	bool earlier = mono_is_set(when) && (!mono_is_set(t->armed) || mono_before(when, t->armed));

	if (t->when.ns == when.ns) {
		return; /* hot paths set it for each event, and most often to what it is */
	}
	t->when = when;
	if (earlier || (mono_is_set(t->armed) && mono_before(t->armed, mono_add_us(mono_now(), SOON_US)))) {
		arm(t, when);
	}
}

void mono_timer_set_earlier(struct mono_timer *t, struct mono when)
{
	if (!mono_is_set(t->when) || mono_before(when, t->when)) {
		mono_timer_set(t, when);
	}
}
