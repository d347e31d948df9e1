/* The last events of the cluster as this node saw them, for who asks or waits for them. */
#include "clusterd.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "shared/log.h"
#include "shared/msg.h"

#define KEPT        256
#define ANSWER_MAX  64
#define WAITING_MAX 64
#define WAIT_MAX_MS 30000

struct events {
	struct clusterd *cd;
	uint64_t newest; /* seq */
	struct {
		struct cluster_event_record record;
		char text[201];
	} ring[KEPT]; /* of seq s: s % KEPT */
	struct dlist waiting;
	unsigned n_waiting;
	struct mono_timer *timer;
};

struct waiting {
	struct dlist entry;
	struct events *ev;
	struct rpc_call *call;
	uint64_t after;
	struct mono until;
};

static int waiting_destructor(struct waiting *w)
{
	dlist_remove(&w->entry);
	w->ev->n_waiting--;
	return 0;
}

static uint64_t oldest(const struct events *ev)
{
	return ev->newest > KEPT ? ev->newest - KEPT + 1 : 1;
}

/* Answers with what came after; at most ANSWER_MAX of them, the caller asks again. */
static void answer(struct events *ev, struct rpc_call *call, uint64_t after)
{
	struct cluster_event_record list[ANSWER_MAX];
	struct cluster_events reply = {.incarnation = ev->cd->d->incarnation, .gap = after + 1 < oldest(ev)};
	uint64_t seq = reply.gap ? oldest(ev) : after + 1;

	reply.events.v = list;
	for (; seq <= ev->newest && reply.events.n < ANSWER_MAX; seq++) {
		list[reply.events.n++] = ev->ring[seq % KEPT].record;
	}
	reply.newest = seq - 1;
	cluster_events_reply(call, &reply);
}

static void answer_waiting(struct events *ev, bool all, struct mono now)
{
	struct mono next = MONO_NEVER;

	dlist_for_each_safe(pos, &ev->waiting)
	{
		struct waiting *w = dlist_entry(pos, struct waiting, entry);

		if (all || !mono_before(now, w->until)) {
			struct rpc_call *call = w->call;
			uint64_t after = w->after;

			talloc_free(w);
			answer(ev, call, after);
		} else {
			next = mono_min(next, w->until);
		}
	}
	mono_timer_set(ev->timer, next);
}

static void time_over(void *priv)
{
	answer_waiting(priv, false, mono_now());
}

void events_add(struct clusterd *cd, enum cluster_event_kind kind, uint32_t node, uint32_t flags, const char *fmt, ...)
{
	struct events *ev = cd->events;
	uint64_t seq = ++ev->newest;
	struct timespec ts;
	va_list ap;

	clock_gettime(CLOCK_REALTIME, &ts);
	va_start(ap, fmt);
	vsnprintf(ev->ring[seq % KEPT].text, sizeof(ev->ring[0].text), fmt, ap);
	va_end(ap);
	ev->ring[seq % KEPT].record = (struct cluster_event_record){
		.seq = seq,
		.realtime_us = (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000,
		.kind = kind,
		.node = node,
		.flags = flags,
		.text = ev->ring[seq % KEPT].text,
	};
	answer_waiting(ev, true, mono_now());
}

static int wait_for_event(struct events *ev, struct rpc_call *call, uint64_t after, uint32_t timeout_ms)
{
	struct waiting *w;

	if (ev->n_waiting >= WAITING_MAX) {
		return EAGAIN;
	}
	/* Below the call: gone with it. */
	w = talloc_zero(call, struct waiting);
	if (w == NULL) {
		return ENOMEM;
	}
	w->ev = ev;
	w->call = call;
	w->after = after;
	w->until = mono_add_ms(mono_now(), timeout_ms);
	dlist_add_tail(&ev->waiting, &w->entry);
	ev->n_waiting++;
	talloc_set_destructor(w, waiting_destructor);
	mono_timer_set_earlier(ev->timer, w->until);
	return 0;
}

static void on_events(void *priv, struct rpc_call *call, const struct cluster_events_args *arg)
{
	struct clusterd *cd = priv;
	struct events *ev = cd->events;
	bool known = arg->incarnation == cd->d->incarnation;
	uint64_t after = known ? arg->after : 0;
	int ret = arg->timeout_ms > WAIT_MAX_MS || (known && after > ev->newest) ? EINVAL : 0;

	if (arg->incarnation == 0) {
		after = ev->newest;
	} else if (ret == 0 && after == ev->newest && arg->timeout_ms > 0) {
		ret = wait_for_event(ev, call, after, arg->timeout_ms);
		if (ret == 0) {
			return;
		}
	}
	if (ret != 0) {
		rpc_call_fail(call, ret);
		return;
	}
	answer(ev, call, after);
}

void events_fill(struct cluster_server *server)
{
	server->events = on_events;
}

int events_start(struct clusterd *cd)
{
	struct events *ev = talloc_zero(cd, struct events);

	if (ev == NULL) {
		return ENOMEM;
	}
	ev->cd = cd;
	dlist_init(&ev->waiting);
	ev->timer = mono_timer_new(ev, cd->d->ev, time_over, ev);
	cd->events = ev;
	return ev->timer == NULL ? ENOMEM : 0;
}
