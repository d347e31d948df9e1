/* transportd: which nodes are in a group of nodes. */
#include "transport.h"

#include <errno.h>
#include <string.h>

#include "protocol/cluster_rpc.h"
#include "shared/log.h"
#include "shared/mono_timer.h"
#include "shared/msg.h"

/*
 * Active nodes are those of clusterd's view. It is followed as other daemons do: clusterd tells changes, and each
 * heartbeat that it is there. Without a clusterd nobody is known to be active, once the lease that it told last has
 * ended.
 */
#define ASK_MS        300
#define RENEW_MS      5000
#define NOT_ACTIVE    (NODE_FLAG_DISCONNECTED | NODE_FLAG_BANNED | NODE_FLAG_DELETED | NODE_FLAG_STOPPED)
#define ACTIVE_BYTES  (NODES_MAX / 8)
#define OWN_ENDPOINT  "transport"
#define VIEW_ENDPOINT "cluster"

struct groups {
	struct transport *t;
	struct rpc_client *clusterd;
	struct mono_timer *timer;
	struct tevent_req *req;
	struct mono renew_at;

	bool known; /* there is a view */
	uint64_t term, number;
	struct mono lease_until;
	uint8_t active[ACTIVE_BYTES]; /* bit p: node p */
};

static void view_forget(struct groups *g)
{
	g->known = false;
	memset(g->active, 0, sizeof(g->active));
}

static void view_take(struct groups *g, const struct cluster_state *s)
{
	/* A clusterd that was just started may know less than its predecessor. */
	if (g->known && (s->view.term < g->term || (s->view.term == g->term && s->view.number < g->number))) {
		return;
	}
	view_forget(g);
	g->known = true;
	g->term = s->view.term;
	g->number = s->view.number;
	g->lease_until = (struct mono){s->active ? s->lease_until : 0};
	for (uint32_t i = 0; i < s->view.members.n; i++) {
		const struct view_member *v = &s->view.members.v[i];
		bool own = v->pnn == g->t->d->pnn;

		if (v->pnn < NODES_MAX && (own ? s->active : (v->flags & NOT_ACTIVE) == 0)) {
			g->active[v->pnn / 8] |= (uint8_t)(1U << (v->pnn % 8));
		}
	}
}

/* Two heartbeats without a word: clusterd may have been restarted and not know us. */
static void ask_later(struct groups *g)
{
	struct mono soon = mono_add_ms(mono_now(), 2 * g->t->d->conf->cluster.heartbeat_interval);

	if (g->req == NULL) {
		mono_timer_set(g->timer, mono_min(g->renew_at, soon));
	}
}

static bool from_clusterd(const struct groups *g, const struct rpc_call *call)
{
	return strcmp(call->source_endpoint, VIEW_ENDPOINT) == 0 && call->source_node == g->t->d->pnn;
}

static void state_changed(void *priv, struct rpc_call *call, const struct cluster_state *s)
{
	struct groups *g = priv;

	if (from_clusterd(g, call)) {
		view_take(g, s);
		ask_later(g);
	}
}

static void lease_extended(void *priv, struct rpc_call *call, const struct cluster_lease *lease)
{
	struct groups *g = priv;

	if (from_clusterd(g, call) && lease->until > g->lease_until.ns) {
		g->lease_until.ns = lease->until;
		ask_later(g);
	}
}

static int groups_dispatch(void *priv, struct rpc_call *call, uint32_t proc, const uint8_t *buf, size_t len)
{
	static const struct cluster_server server = {.state_changed = state_changed, .lease = lease_extended};

	return cluster_dispatch(&server, priv, call, proc, buf, len);
}

static void asked(struct tevent_req *req)
{
	struct groups *g = tevent_req_callback_data(req, struct groups);
	TALLOC_CTX *tmp = talloc_new(g);
	struct cluster_state s;
	int ret = cluster_subscribe_recv(req, tmp, &s);

	TALLOC_FREE(g->req);
	if (ret == 0) {
		view_take(g, &s);
		g->renew_at = mono_add_ms(mono_now(), RENEW_MS);
		ask_later(g);
	} else {
		if (g->known && !mono_before(mono_now(), g->lease_until)) {
			log_notice("ctdb-clusterd does not answer (%s): no node is known to be active", strerror(ret));
			view_forget(g);
		}
		mono_timer_set(g->timer, mono_add_ms(mono_now(), ASK_MS));
	}
	talloc_free(tmp);
}

static void ask(void *priv)
{
	struct groups *g = priv;
	char endpoint[] = OWN_ENDPOINT;
	struct subscribe_args args = {.endpoint = endpoint};

	if (g->req != NULL) {
		return;
	}
	g->req = cluster_subscribe_send(g, g->t->d->ev, g->clusterd, &args, ASK_MS);
	if (g->req == NULL) {
		mono_timer_set(g->timer, mono_add_ms(mono_now(), ASK_MS));
		return;
	}
	tevent_req_set_callback(g->req, asked, g);
}

static bool is_active(const struct groups *g, uint32_t pnn)
{
	return pnn < NODES_MAX && (g->active[pnn / 8] & (1U << (pnn % 8))) != 0;
}

bool groups_has(const struct transport *t, uint32_t group, uint32_t pnn)
{
	if (pnn >= t->d->nodes->n || t->d->nodes->v[pnn].deleted) {
		return false;
	}
	switch (group) {
	case NODE_GROUP_ALL:
		return true;
	case NODE_GROUP_CONNECTED:
		return pnn == t->d->pnn || link_is_up(t->mesh, pnn);
	case NODE_GROUP_ACTIVE:
		return is_active(t->groups, pnn);
	default:
		return false;
	}
}

int groups_start(struct transport *t)
{
	struct msg_addr addr = {.endpoint = VIEW_ENDPOINT, .node = NODE_SELF};
	struct groups *g = talloc_zero(t, struct groups);

	if (g == NULL) {
		return ENOMEM;
	}
	g->t = t;
	g->clusterd = msg_client(g, t->d->msg, &addr);
	g->timer = mono_timer_new(g, t->d->ev, ask, g);
	if (g->clusterd == NULL || g->timer == NULL) {
		talloc_free(g);
		return ENOMEM;
	}
	t->groups = g;
	ask(g);
	return msg_serve(t->d->msg, CLUSTER_INTERFACE, CLUSTER_VERSION, groups_dispatch, g);
}
