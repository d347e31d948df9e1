/* Which nodes are active: the view of this node's clusterd, followed as other daemons do. */
#include "shared/active_nodes.h"

#include <errno.h>
#include <string.h>

#include "base/mono.h"
#include "protocol/cluster_rpc.h"
#include "shared/daemon.h"
#include "shared/log.h"
#include "shared/mono_timer.h"
#include "shared/msg.h"

#define ASK_MS        300
#define RENEW_MS      5000
#define NOT_ACTIVE    (NODE_FLAG_DISCONNECTED | NODE_FLAG_BANNED | NODE_FLAG_DELETED | NODE_FLAG_STOPPED)
#define ACTIVE_BYTES  (NODES_MAX / 8)
#define VIEW_ENDPOINT "cluster"

struct active_nodes {
	struct daemon *d;
	char *endpoint;
	struct rpc_client *clusterd;
	struct mono_timer *timer;
	struct tevent_req *req;
	struct mono renew_at;

	bool known;       /* there is a view */
	bool told_active; /* as clusterd told last: this node is */
	uint64_t term, number;
	struct mono lease_until;
	uint8_t active[ACTIVE_BYTES]; /* bit p: node p */
};

static void ask(void *priv);

static void view_forget(struct active_nodes *a)
{
	a->known = false;
	a->told_active = false;
	memset(a->active, 0, sizeof(a->active));
}

static void view_take(struct active_nodes *a, const struct cluster_state *s)
{
	/* A clusterd that was just started may know less than its predecessor. */
	if (a->known && (s->view.term < a->term || (s->view.term == a->term && s->view.number < a->number))) {
		return;
	}
	view_forget(a);
	a->known = true;
	a->told_active = s->active;
	a->term = s->view.term;
	a->number = s->view.number;
	a->lease_until = (struct mono){s->active ? s->lease_until : 0};
	for (uint32_t i = 0; i < s->view.members.n; i++) {
		const struct view_member *v = &s->view.members.v[i];
		bool own = v->pnn == a->d->pnn;

		if (v->pnn < NODES_MAX && (own ? s->active : (v->flags & NOT_ACTIVE) == 0)) {
			a->active[v->pnn / 8] |= (uint8_t)(1U << (v->pnn % 8));
		}
	}
}

/* Two heartbeats without a word: clusterd may have been restarted and not know us. */
static void ask_later(struct active_nodes *a)
{
	struct mono soon = mono_add_ms(mono_now(), 2 * a->d->conf->cluster.heartbeat_interval);

	if (a->req == NULL) {
		mono_timer_set(a->timer, mono_min(a->renew_at, soon));
	}
}

static bool from_clusterd(const struct active_nodes *a, const struct rpc_call *call)
{
	return strcmp(call->source_endpoint, VIEW_ENDPOINT) == 0 && call->source_node == a->d->pnn;
}

static void state_changed(void *priv, struct rpc_call *call, const struct cluster_state *s)
{
	struct active_nodes *a = priv;

	if (from_clusterd(a, call)) {
		view_take(a, s);
		ask_later(a);
	}
}

static void lease_extended(void *priv, struct rpc_call *call, const struct cluster_lease *lease)
{
	struct active_nodes *a = priv;

	if (!from_clusterd(a, call)) {
		return;
	}
	/* Only who is active has a lease: we missed it, or forgot the view while clusterd was silent. This must not put
	 * off that we ask. */
	if (!a->told_active) {
		ask(a);
	} else if (lease->until > a->lease_until.ns) {
		a->lease_until.ns = lease->until;
		ask_later(a);
	}
}

static int active_dispatch(void *priv, struct rpc_call *call, uint32_t proc, const uint8_t *buf, size_t len)
{
	static const struct cluster_server server = {.state_changed = state_changed, .lease = lease_extended};

	return cluster_dispatch(&server, priv, call, proc, buf, len);
}

static void asked(struct tevent_req *req)
{
	struct active_nodes *a = tevent_req_callback_data(req, struct active_nodes);
	TALLOC_CTX *tmp = talloc_new(a);
	struct cluster_state s;
	int ret = cluster_subscribe_recv(req, tmp, &s);

	TALLOC_FREE(a->req);
	if (ret == 0) {
		view_take(a, &s);
		a->renew_at = mono_add_ms(mono_now(), RENEW_MS);
		ask_later(a);
	} else {
		if (a->known && !mono_before(mono_now(), a->lease_until)) {
			log_notice("ctdb-clusterd does not answer (%s): no node is known to be active", strerror(ret));
			view_forget(a);
		}
		mono_timer_set(a->timer, mono_add_ms(mono_now(), ASK_MS));
	}
	talloc_free(tmp);
}

static void ask(void *priv)
{
	struct active_nodes *a = priv;
	struct subscribe_args args = {.endpoint = a->endpoint};

	if (a->req != NULL) {
		return;
	}
	a->req = cluster_subscribe_send(a, a->d->ev, a->clusterd, &args, ASK_MS);
	if (a->req == NULL) {
		mono_timer_set(a->timer, mono_add_ms(mono_now(), ASK_MS));
		return;
	}
	tevent_req_set_callback(a->req, asked, a);
}

void active_nodes_clusterd_there(struct active_nodes *a)
{
	if (!a->known) {
		ask(a);
	}
}

bool active_nodes_has(const struct active_nodes *a, uint32_t pnn)
{
	if (pnn == a->d->pnn && !mono_before(mono_now(), a->lease_until)) {
		return false;
	}
	return pnn < NODES_MAX && (a->active[pnn / 8] & (1U << (pnn % 8))) != 0;
}

int active_nodes_new(TALLOC_CTX *mem, struct daemon *d, const char *endpoint, struct active_nodes **result)
{
	struct msg_addr addr = {.endpoint = VIEW_ENDPOINT, .node = NODE_SELF};
	struct active_nodes *a = talloc_zero(mem, struct active_nodes);
	int ret;

	if (a == NULL) {
		return ENOMEM;
	}
	a->d = d;
	a->endpoint = talloc_strdup(a, endpoint);
	a->clusterd = msg_client(a, d->msg, &addr);
	a->timer = mono_timer_new(a, d->ev, ask, a);
	ret = a->endpoint == NULL || a->clusterd == NULL || a->timer == NULL ? ENOMEM : 0;
	if (ret == 0) {
		ret = msg_serve(d->msg, CLUSTER_INTERFACE, CLUSTER_VERSION, active_dispatch, a);
	}
	if (ret != 0) {
		talloc_free(a);
		return ret;
	}
	ask(a);
	*result = a;
	return 0;
}
