/* What clusterd says: the view, and whether this node may act. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "dbd/lane.h"
#include "protocol/classic.h"
#include "protocol/cluster_rpc.h"
#include "shared/log.h"
#include "shared/mono_timer.h"
#include "shared/msg.h"

/*
 * clusterd tells changes at once, and each extension of the lease under which this node may act. A lease that ran out
 * ends the right to act, whether or not clusterd is there to say so: the others go on without us by then. A clusterd
 * that is gone is asked again and again, so that its successor knows us.
 */
#define ASK_MS   300
#define RENEW_MS 5000

#define CLASSIC_FLAGS                                                                                                  \
	(CLASSIC_NODE_FLAG_DISCONNECTED | CLASSIC_NODE_FLAG_UNHEALTHY | CLASSIC_NODE_FLAG_DISABLED |                   \
	 CLASSIC_NODE_FLAG_BANNED | CLASSIC_NODE_FLAG_DELETED | CLASSIC_NODE_FLAG_STOPPED)

struct view_watch {
	struct dbd *dbd;
	struct rpc_client *clusterd;
	struct mono_timer *timer;
	struct tevent_req *req;
	char endpoint[8];
	struct mono_timer *lease_timer;
	struct mono renew_at;
	struct mono lease_until; /* never: clusterd does not say, or not active */
};

uint32_t view_node_flags(const struct dbd *dbd, uint32_t pnn)
{
	const struct cluster_state *s = dbd->view;

	if (pnn < dbd->d->nodes->n && dbd->d->nodes->v[pnn].deleted) {
		return CLASSIC_NODE_FLAG_DELETED | CLASSIC_NODE_FLAG_DISCONNECTED;
	}
	for (uint32_t i = 0; s != NULL && i < s->view.members.n; i++) {
		if (s->view.members.v[i].pnn != pnn) {
			continue;
		}
		/* The classic map has only these. To itself a node is connected; clients ask for its flags before
		 * anything else. */
		return s->view.members.v[i].flags & CLASSIC_FLAGS &
		       ~(pnn == dbd->d->pnn ? (uint32_t)CLASSIC_NODE_FLAG_DISCONNECTED : 0);
	}
	return pnn == dbd->d->pnn ? 0 : CLASSIC_NODE_FLAG_DISCONNECTED;
}

uint32_t view_leader(const struct dbd *dbd)
{
	return dbd->view != NULL ? dbd->view->view.leader : NODE_UNKNOWN;
}

static bool older(const struct cluster_view *a, const struct cluster_view *b)
{
	return a->term != b->term ? a->term < b->term : a->number < b->number;
}

static struct cluster_state *state_copy(TALLOC_CTX *mem, const struct cluster_state *s)
{
	struct cluster_state *copy = talloc_zero(mem, struct cluster_state);
	struct ctdb_blob buf = {0};

	if (copy == NULL || cluster_state_encode(copy, s, &buf) != 0 ||
	    cluster_state_decode(copy, buf.data, buf.len, copy) != 0) {
		TALLOC_FREE(copy);
	}
	return copy;
}

static void lease_set(struct view_watch *w, uint64_t until_ns)
{
	w->lease_until = (struct mono){until_ns};
	mono_timer_set(w->lease_timer, w->lease_until);
}

static void lease_over(void *priv)
{
	struct view_watch *w = priv;
	struct cluster_state *s = w->dbd->view;

	if (s == NULL || !s->active || mono_before(mono_now(), w->lease_until)) {
		return;
	}
	s->active = false;
	s->reason = talloc_strdup(s, "ctdb-clusterd has not extended the lease of this node");
	recovery_view_changed(w->dbd->recovery);
}

/* Extensions come each heartbeat. Two that are missing: clusterd may have been restarted and not know us. */
static void ask_later(struct view_watch *w)
{
	struct mono soon = mono_add_ms(mono_now(), 2 * w->dbd->d->conf->cluster.heartbeat_interval);

	if (w->req == NULL) {
		mono_timer_set(w->timer, mono_min(w->renew_at, soon));
	}
}

static void take(struct view_watch *w, const struct cluster_state *s)
{
	struct dbd *dbd = w->dbd;
	struct cluster_state *copy;

	/* A clusterd that was just started knows less than we do: wait until it has caught up, or the time is over. */
	if (dbd->view != NULL && older(&s->view, &dbd->view->view)) {
		return;
	}
	copy = state_copy(dbd, s);
	if (copy == NULL) {
		log_error("out of memory: a view was not taken");
		return;
	}
	if (dbd->view == NULL || older(&dbd->view->view, &s->view) || dbd->view->active != s->active) {
		log_info("view %llu.%llu: leader %d, this node is %s%s%s", (unsigned long long)s->view.term,
			 (unsigned long long)s->view.number, (int)s->view.leader, s->active ? "active" : "not active",
			 s->active ? "" : ": ", s->active ? "" : s->reason);
	}
	talloc_free(dbd->view);
	dbd->view = copy;
	lease_set(w, s->active ? s->lease_until : 0);
	recovery_view_changed(dbd->recovery);
	gateway_view_changed(dbd);
	controls_view_changed(dbd->clients);
}

static void state_changed(void *priv, struct rpc_call *call, const struct cluster_state *s)
{
	struct view_watch *w = priv;

	if (strcmp(call->source_endpoint, "cluster") == 0 && call->source_node == w->dbd->d->pnn) {
		take(w, s);
	}
}

static void lease_extended(void *priv, struct rpc_call *call, const struct cluster_lease *lease)
{
	struct view_watch *w = priv;

	if (strcmp(call->source_endpoint, "cluster") != 0 || call->source_node != w->dbd->d->pnn ||
	    w->dbd->view == NULL || !w->dbd->view->active || lease->until <= w->lease_until.ns) {
		return;
	}
	lease_set(w, lease->until);
	ask_later(w);
}

static int dispatch(void *priv, struct rpc_call *call, uint32_t proc, const uint8_t *buf, size_t len)
{
	static const struct cluster_server server = {.state_changed = state_changed, .lease = lease_extended};

	return cluster_dispatch(&server, priv, call, proc, buf, len);
}

static void ask(void *priv);

static void asked(struct tevent_req *req)
{
	struct view_watch *w = tevent_req_callback_data(req, struct view_watch);
	TALLOC_CTX *tmp = talloc_new(w);
	struct cluster_state s;
	int ret = cluster_subscribe_recv(req, tmp, &s);

	w->req = NULL;
	talloc_free(req);
	if (ret == 0) {
		take(w, &s);
	} else {
		log_ratelimited(LOG_LVL_NOTICE, 5000, "no cluster state from ctdb-clusterd yet (%s): asking again",
				ret == ETIMEDOUT ? "it is still looking for the other nodes" : strerror(ret));
	}
	talloc_free(tmp);
	if (ret != 0) {
		mono_timer_set(w->timer, mono_add_ms(mono_now(), ASK_MS));
		return;
	}
	w->renew_at = mono_add_ms(mono_now(), RENEW_MS);
	ask_later(w);
}

static void ask(void *priv)
{
	struct view_watch *w = priv;
	struct subscribe_args args = {.endpoint = w->endpoint};

	if (w->req != NULL) {
		return;
	}
	w->req = cluster_subscribe_send(w, w->dbd->d->ev, w->clusterd, &args, ASK_MS);
	if (w->req == NULL) {
		mono_timer_set(w->timer, mono_add_ms(mono_now(), ASK_MS));
		return;
	}
	tevent_req_set_callback(w->req, asked, w);
}

int view_start(struct dbd *dbd)
{
	struct msg_addr addr = {.endpoint = "cluster", .node = NODE_SELF};
	struct view_watch *w = talloc_zero(dbd, struct view_watch);

	if (w == NULL) {
		return ENOMEM;
	}
	w->dbd = dbd;
	snprintf(w->endpoint, sizeof(w->endpoint), "db");
	w->clusterd = msg_client(w, dbd->d->msg, &addr);
	w->timer = mono_timer_new(w, dbd->d->ev, ask, w);
	w->lease_timer = mono_timer_new(w, dbd->d->ev, lease_over, w);
	if (w->clusterd == NULL || w->timer == NULL || w->lease_timer == NULL) {
		talloc_free(w);
		return ENOMEM;
	}
	ask(w);
	return msg_serve(dbd->d->msg, CLUSTER_INTERFACE, CLUSTER_VERSION, dispatch, w);
}
