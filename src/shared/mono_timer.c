/* One-shot timer on the monotonic clock, a timerfd. */
#include "shared/mono_timer.h"

#include <errno.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

struct mono_timer {
	int fd;
	struct mono when;
	mono_timer_fn fn;
	void *priv;
};

static void mono_timer_fired(struct tevent_context *ev, struct tevent_fd *fde, uint16_t flags, void *priv)
{
	struct mono_timer *t = priv;
	uint64_t count;

	/* EAGAIN: it was set anew between the event and this handler. */
	if (read(t->fd, &count, sizeof(count)) != (ssize_t)sizeof(count)) {
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
	struct itimerspec spec = {
		.it_value = {.tv_sec = (time_t)(when.ns / MONO_NS_PER_S), .tv_nsec = (long)(when.ns % MONO_NS_PER_S)},
	};

	if (t->when.ns == when.ns) {
		return; /* hot paths set it for each event, and most often to what it is */
	}
	/* Cannot fail: the descriptor is a timer and the value is in range. */
	(void)timerfd_settime(t->fd, TFD_TIMER_ABSTIME, &spec, NULL);
	t->when = when;
}

void mono_timer_set_earlier(struct mono_timer *t, struct mono when)
{
	if (!mono_is_set(t->when) || mono_before(when, t->when)) {
		mono_timer_set(t, when);
	}
}
