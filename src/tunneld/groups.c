/* tunneld: notifications to groups of nodes, and the view that tells who is active. */
#include <errno.h>
#include <string.h>

#include "protocol/cluster_rpc.h"
#include "protocol/msg.h"
#include "shared/log.h"
#include "shared/msg.h"
#include "tunneld.h"

#define RENEW_MS   5000
#define RETRY_MS   500  /* no clusterd yet */
#define TIMEOUT_MS 5000 /* of a request: clusterd answers when there is something to say */

#define NOT_ACTIVE (NODE_FLAG_DISCONNECTED | NODE_FLAG_BANNED | NODE_FLAG_DELETED | NODE_FLAG_STOPPED)

struct groups {
	struct tunneld *t;
	struct rpc_client *cluster;
	struct mono_timer *timer;
	bool known; /* there is a view */
	uint64_t term, number;
	bool own_active;
	struct mono lease_until;
	uint8_t active[NODES_MAX / 8]; /* of the view, by pnn */
};

static void view_take(struct groups *g, const struct cluster_state *state)
{
	const struct cluster_view *view = &state->view;

	/* A clusterd that was just started may know less than its predecessor. */
	if (g->known && (view->term < g->term || (view->term == g->term && view->number < g->number))) {
		return;
	}
	memset(g->active, 0, sizeof(g->active));
	for (uint32_t i = 0; i < view->members.n; i++) {
		const struct view_member *m = &view->members.v[i];

		if (m->pnn < NODES_MAX && (m->flags & NOT_ACTIVE) == 0) {
			g->active[m->pnn / 8] |= (uint8_t)(1U << (m->pnn % 8));
		}
	}
	g->known = true;
	g->term = view->term;
	g->number = view->number;
	g->own_active = state->active;
	g->lease_until = (struct mono){state->lease_until};
}

static bool is_active(const struct groups *g, uint32_t pnn)
{
	if (pnn == g->t->d->pnn) {
		return g->own_active && mono_before(mono_now(), g->lease_until);
	}
	return pnn < NODES_MAX && (g->active[pnn / 8] & 1U << (pnn % 8)) != 0;
}

/* Without clusterd nobody is known to be active, once the lease that it told last has ended. */
static void view_forget(struct groups *g)
{
	if (!mono_before(mono_now(), g->lease_until)) {
		memset(g->active, 0, sizeof(g->active));
		g->known = g->own_active = false;
	}
}

/* ---- what clusterd tells ---- */

static bool from_clusterd(const struct groups *g, const struct rpc_call *call)
{
	return call->source_node == g->t->d->pnn && strcmp(call->source_endpoint, "cluster") == 0;
}

static void on_state_changed(void *priv, struct rpc_call *call, const struct cluster_state *arg)
{
	if (from_clusterd(priv, call)) {
		view_take(priv, arg);
	}
}

static void on_lease(void *priv, struct rpc_call *call, const struct cluster_lease *arg)
{
	struct groups *g = priv;

	if (from_clusterd(g, call)) {
		g->lease_until = (struct mono){arg->until};
	}
}

static int groups_dispatch(void *priv, struct rpc_call *call, uint32_t proc, const uint8_t *buf, size_t len)
{
	static const struct cluster_server server = {.state_changed = on_state_changed, .lease = on_lease};

	return cluster_dispatch(&server, priv, call, proc, buf, len);
}

static void subscribe_done(struct tevent_req *req)
{
	struct groups *g = tevent_req_callback_data(req, struct groups);
	struct cluster_state state = {0};
	TALLOC_CTX *tmp = talloc_new(g);
	int ret = cluster_subscribe_recv(req, tmp, &state);

	TALLOC_FREE(req);
	if (ret == 0) {
		view_take(g, &state);
	} else {
		view_forget(g);
	}
	talloc_free(tmp);
	mono_timer_set(g->timer, mono_add_ms(mono_now(), ret == 0 ? RENEW_MS : RETRY_MS));
}

static void subscribe(void *priv)
{
	struct groups *g = priv;
	char endpoint[] = "transport";
	const struct subscribe_args args = {.endpoint = endpoint};
	struct tevent_req *req = cluster_subscribe_send(g, g->t->d->ev, g->cluster, &args, TIMEOUT_MS);

	if (req == NULL) {
		mono_timer_set(g->timer, mono_add_ms(mono_now(), RETRY_MS));
		return;
	}
	tevent_req_set_callback(req, subscribe_done, g);
}

/* ---- sending ---- */

static bool in_group(const struct tunneld *t, uint32_t group, uint32_t pnn)
{
	const struct tunnel_peer *peer = route_peer(t, pnn);
	bool own = pnn == t->d->pnn;

	if (!own && peer == NULL) {
		return false;
	}
	switch (group) {
	case NODE_GROUP_ALL:
		return true;
	case NODE_GROUP_CONNECTED:
		return own || session_state(peer->session) == SESSION_UP;
	case NODE_GROUP_ACTIVE:
		return is_active(t->groups, pnn);
	default:
		return false;
	}
}

/* The own node's copy, addressed to it as the others' copies are to them. */
static void send_own(struct tunneld *t, const uint8_t *packet, size_t len)
{
	struct msg_packet_plan plan;
	uint8_t *copy;

	if (msg_packet_plan(packet, len, MSG_VERSION, t->d->pnn, &plan) != 0) {
		return;
	}
	copy = talloc_size(t, plan.header_len + plan.payload_len);
	if (copy == NULL) {
		log_error("out of memory: a packet for a group of nodes is not delivered here");
		return;
	}
	memcpy(copy, plan.header, plan.header_len);
	memcpy(copy + plan.header_len, plan.payload, plan.payload_len);
	(void)msg_deliver(t->d->msg, t->d->pnn, copy, plan.header_len + plan.payload_len);
	talloc_free(copy);
}

void groups_send(struct tunneld *t, uint32_t group, const uint8_t *packet, size_t len)
{
	bool empty = true;

	for (uint32_t pnn = 0; pnn < t->n_peers; pnn++) {
		if (!in_group(t, group, pnn)) {
			continue;
		}
		empty = false;
		if (pnn == t->d->pnn) {
			send_own(t, packet, len);
		} else {
			route_to_node(t, pnn, packet, len);
		}
	}
	if (empty) {
		msg_group_empty(t->d->msg, packet, len);
	}
}

int groups_start(struct tunneld *t)
{
	struct groups *g = talloc_zero(t, struct groups);
	const struct msg_addr addr = {.endpoint = "cluster", .node = NODE_SELF};

	if (g == NULL) {
		return ENOMEM;
	}
	g->t = t;
	t->groups = g;
	g->cluster = msg_client(g, t->d->msg, &addr);
	g->timer = mono_timer_new(g, t->d->ev, subscribe, g);
	if (g->cluster == NULL || g->timer == NULL) {
		return ENOMEM;
	}
	mono_timer_set(g->timer, mono_now());
	return msg_serve(t->d->msg, CLUSTER_INTERFACE, CLUSTER_VERSION, groups_dispatch, g);
}
