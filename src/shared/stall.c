/*
 * Stall meter: run time of each event handler.
 *
 * tevent tells before each handler, and after each turn of the loop and before each wait, but not after a handler. A
 * handler therefore ends at the next of these points. Names: tevent passes a handler's name to the back end when the
 * event is made, and shows it nowhere later. The back end here is the epoll one with four functions that note the
 * name in the event's tag.
 */
#include "shared/daemon.h"
#include "shared/stall.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "shared/log.h"

#define BACKEND             "ctdb-stall"
#define WARNING_INTERVAL_MS 100

static const struct tevent_ops *epoll;

static struct {
	struct stall_stats stats;
	uint32_t warning_ms;
	struct mono begin; /* not set: no handler runs */
	uint64_t name;     /* tag of the event, 0: unknown */
	const char *kind;
} meter;

static struct tevent_fd *add_fd(struct tevent_context *ev, TALLOC_CTX *mem, int fd, uint16_t flags,
				tevent_fd_handler_t handler, void *priv, const char *handler_name, const char *location)
{
	struct tevent_fd *fde = epoll->add_fd(ev, mem, fd, flags, handler, priv, handler_name, location);

	if (fde != NULL) {
		tevent_fd_set_tag(fde, (uintptr_t)handler_name);
	}
	return fde;
}

static struct tevent_timer *add_timer(struct tevent_context *ev, TALLOC_CTX *mem, struct timeval when,
				      tevent_timer_handler_t handler, void *priv, const char *handler_name,
				      const char *location)
{
	struct tevent_timer *te = epoll->add_timer(ev, mem, when, handler, priv, handler_name, location);

	if (te != NULL) {
		tevent_timer_set_tag(te, (uintptr_t)handler_name);
	}
	return te;
}

static void schedule_immediate(struct tevent_immediate *im, struct tevent_context *ev,
			       tevent_immediate_handler_t handler, void *priv, const char *handler_name,
			       const char *location)
{
	epoll->schedule_immediate(im, ev, handler, priv, handler_name, location);
	tevent_immediate_set_tag(im, (uintptr_t)handler_name);
}

static struct tevent_signal *add_signal(struct tevent_context *ev, TALLOC_CTX *mem, int signum, int flags,
					tevent_signal_handler_t handler, void *priv, const char *handler_name,
					const char *location)
{
	struct tevent_signal *se = epoll->add_signal(ev, mem, signum, flags, handler, priv, handler_name, location);

	if (se != NULL) {
		tevent_signal_set_tag(se, (uintptr_t)handler_name);
	}
	return se;
}

static bool backend_register(void)
{
	static struct tevent_ops ops;

	if (epoll != NULL) {
		return true;
	}
	/* not the default back end "standard": it puts epoll's functions in its own place when a context is made */
	epoll = tevent_find_ops_byname("epoll");
	if (epoll == NULL) {
		return false;
	}
	ops = *epoll;
	ops.add_fd = add_fd;
	ops.add_timer = add_timer;
	ops.schedule_immediate = schedule_immediate;
	ops.add_signal = add_signal;
	return tevent_register_backend(BACKEND, &ops);
}

struct tevent_context *stall_context_new(TALLOC_CTX *mem)
{
	return backend_register() ? tevent_context_init_byname(mem, BACKEND) : tevent_context_init(mem);
}

static unsigned bucket_of(uint64_t us)
{
	unsigned i = us == 0 ? 0 : 63 - (unsigned)__builtin_clzll(us);

	return i < 32 ? i : 31;
}

static const char *handler_name(uint64_t tag, const char *kind)
{
	return tag != 0 ? (const char *)(uintptr_t)tag : kind;
}

static void handler_end(void)
{
	uint64_t us;
	const char *where;

	if (!mono_is_set(meter.begin)) {
		return;
	}
	us = mono_us_between(meter.begin, mono_now());
	meter.begin = MONO_NEVER;
	where = handler_name(meter.name, meter.kind);
	meter.stats.handlers++;
	meter.stats.bucket[bucket_of(us)]++;
	if (us > meter.stats.max_us) {
		meter.stats.max_us = us;
		snprintf(meter.stats.max_where, sizeof(meter.stats.max_where), "%s", where);
	}
	if (us > (uint64_t)meter.warning_ms * 1000) {
		log_ratelimited(LOG_LVL_WARNING, WARNING_INTERVAL_MS,
				"event handler %s (%s) ran for %" PRIu64 " ms: nothing else was served meanwhile",
				where, meter.kind, us / 1000);
	}
}

static void handler_begin(const char *kind, uint64_t tag, enum tevent_event_trace_point point)
{
	if (point != TEVENT_EVENT_TRACE_BEFORE_HANDLER) {
		return;
	}
	handler_end();
	meter.kind = kind;
	meter.name = tag;
	meter.begin = mono_now();
}

static void trace_fd(struct tevent_fd *fde, enum tevent_event_trace_point point, void *priv)
{
	handler_begin("fd", tevent_fd_get_tag(fde), point);
}

static void trace_timer(struct tevent_timer *te, enum tevent_event_trace_point point, void *priv)
{
	handler_begin("timer", tevent_timer_get_tag(te), point);
}

static void trace_immediate(struct tevent_immediate *im, enum tevent_event_trace_point point, void *priv)
{
	handler_begin("immediate", tevent_immediate_get_tag(im), point);
}

static void trace_signal(struct tevent_signal *se, enum tevent_event_trace_point point, void *priv)
{
	handler_begin("signal", tevent_signal_get_tag(se), point);
}

static void trace_loop(enum tevent_trace_point point, void *priv)
{
	handler_end();
}

void stall_meter_start(struct tevent_context *ev, uint32_t warning_ms)
{
	memset(&meter, 0, sizeof(meter));
	meter.warning_ms = warning_ms;
	tevent_set_trace_callback(ev, trace_loop, NULL);
	tevent_set_trace_fd_callback(ev, trace_fd, NULL);
	tevent_set_trace_timer_callback(ev, trace_timer, NULL);
	tevent_set_trace_immediate_callback(ev, trace_immediate, NULL);
	tevent_set_trace_signal_callback(ev, trace_signal, NULL);
}

void stall_meter_set_warning(uint32_t warning_ms)
{
	meter.warning_ms = warning_ms;
}

const struct stall_stats *stall_meter_stats(void)
{
	return &meter.stats;
}
