/* RESIGN: the leader stands down for another one, and answers when that one leads. */
#include "clusterd.h"

#include <errno.h>

#include "shared/log.h"
#include "shared/msg.h"

/* As long as an election may take when the lock is held by a slow helper. */
#define TIMEOUT_MS  30000
#define WAITING_MAX 16

struct resigning {
	struct dlist waiting;
	unsigned n;
	uint64_t term; /* that it has given up */
	struct mono_timer *timer;
};

/* Below its call: gone with it. */
struct waiter {
	struct dlist entry;
	struct resigning *r;
	struct rpc_call *call;
};

static int waiter_destructor(struct waiter *w)
{
	dlist_remove(&w->entry);
	w->r->n--;
	return 0;
}

static void answer_all(struct resigning *r, int ret)
{
	dlist_for_each_safe(pos, &r->waiting)
	{
		struct waiter *w = dlist_entry(pos, struct waiter, entry);
		struct rpc_call *call = w->call;

		talloc_free(w);
		if (ret != 0) {
			rpc_call_fail(call, ret);
		} else {
			cluster_resign_reply(call);
		}
	}
	mono_timer_set(r->timer, MONO_NEVER);
}

static void time_over(void *priv)
{
	struct clusterd *cd = priv;

	answer_all(cd->resigning, ETIMEDOUT);
}

void leader_look(struct clusterd *cd)
{
	struct resigning *r = cd->resigning;
	struct mono now = mono_now();
	uint32_t leader;

	if (r->n == 0) {
		return;
	}
	leader = cluster_leader(cd->core, now);
	if (leader != CLUSTER_NODE_NONE && leader != cd->d->pnn) {
		answer_all(r, 0);
	} else if (cluster_is_leading(cd->core, now) && cluster_term(cd->core) > r->term) {
		log_warning("nobody took the leadership over: this node leads on");
		answer_all(r, EAGAIN);
	}
}

static int wait_for_another(struct clusterd *cd, struct rpc_call *call)
{
	struct resigning *r = cd->resigning;
	struct waiter *w = r->n < WAITING_MAX ? talloc_zero(call, struct waiter) : NULL;

	if (w == NULL) {
		return r->n < WAITING_MAX ? ENOMEM : EAGAIN;
	}
	w->r = r;
	w->call = call;
	dlist_add_tail(&r->waiting, &w->entry);
	r->n++;
	talloc_set_destructor(w, waiter_destructor);
	mono_timer_set(r->timer, mono_add_ms(mono_now(), TIMEOUT_MS));
	return 0;
}

static void on_resign(void *priv, struct rpc_call *call, const struct cluster_resign_args *arg)
{
	struct clusterd *cd = priv;
	struct resigning *r = cd->resigning;
	uint64_t term = cluster_term(cd->core);
	int ret = cluster_resign(cd->core, mono_now(), arg->to);

	if (ret == 0) {
		r->term = term;
		log_notice("%s@%u asks this node to stand down", call->source_endpoint, call->source_node);
		ret = wait_for_another(cd, call);
	}
	if (ret != 0) {
		rpc_call_fail(call, ret);
	}
	clusterd_after(cd);
}

void leader_fill(struct cluster_server *server)
{
	server->resign = on_resign;
}

int leader_start(struct clusterd *cd)
{
	struct resigning *r = talloc_zero(cd, struct resigning);

	if (r == NULL) {
		return ENOMEM;
	}
	dlist_init(&r->waiting);
	r->timer = mono_timer_new(r, cd->d->ev, time_over, cd);
	cd->resigning = r;
	return r->timer == NULL ? ENOMEM : 0;
}
