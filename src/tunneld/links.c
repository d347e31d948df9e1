/* tunneld: tells others how the links are, as transportd does. */
#include "tunneld.h"

#include <errno.h>
#include <string.h>

#include "protocol/transport_rpc.h"
#include "shared/active_nodes.h"
#include "shared/link_watchers.h"
#include "shared/log.h"
#include "shared/msg.h"

void links_changed(struct tunneld *t, uint32_t pnn, bool up, uint64_t incarnation, int reason)
{
	const struct link_change change = {
		.pnn = pnn, .up = up, .incarnation = incarnation, .reason = (uint32_t)reason};

	link_watchers_tell(t->watchers, &change);
}

static uint64_t since_ms(const struct tunnel_peer *peer, struct mono now)
{
	return mono_is_set(peer->changed) ? mono_ms_between(peer->changed, now) : 0;
}

static void link_info_fill(const struct tunnel_peer *peer, uint32_t pnn, struct mono now, struct link_info *info)
{
	const struct session_stats *stats = session_stats(peer->session);

	*info = (struct link_info){
		.pnn = pnn,
		.address = peer->address,
		.up = session_state(peer->session) == SESSION_UP,
		.since_ms = since_ms(peer, now),
		.rtt_us = stats->rtt_us,
		.rtt_max_us = stats->rtt_max_us,
		.bytes_in = stats->bytes_in,
		.bytes_out = stats->bytes_out,
		.ups = stats->ups,
	};
}

/* All nodes of the list but this one and the deleted ones. Below mem. */
static int links_list(TALLOC_CTX *mem, const struct tunneld *t, struct links_info *list)
{
	struct mono now = mono_now();

	list->links.n = 0;
	list->links.v = talloc_array(mem, struct link_info, t->n_peers);
	if (list->links.v == NULL) {
		return ENOMEM;
	}
	for (uint32_t pnn = 0; pnn < t->n_peers; pnn++) {
		if (t->peers[pnn] != NULL) {
			link_info_fill(t->peers[pnn], pnn, now, &list->links.v[list->links.n++]);
		}
	}
	return 0;
}

static void links_get(void *priv, struct rpc_call *call)
{
	struct links_info list;
	int ret = links_list(call, priv, &list);

	if (ret != 0) {
		rpc_call_fail(call, ret);
		return;
	}
	transport_get_links_reply(call, &list);
}

static struct link_status link_status_of(const struct tunnel_peer *peer, uint32_t pnn, struct mono now,
					 struct link_path_status *path, char *security)
{
	const struct session_stats *stats = session_stats(peer->session);
	bool up = session_state(peer->session) == SESSION_UP;

	*path = (struct link_path_status){
		.address = peer->address,
		.up = up,
		.active = up,
		.connections = up ? 1 : 0,
		.rtt_us = stats->rtt_us,
		.security = up ? security : NULL,
	};
	return (struct link_status){
		.pnn = pnn,
		.up = up,
		.since_ms = since_ms(peer, now),
		.interface_version = session_peer_version(peer->session),
		.ups = stats->ups,
		.frames_in = peer->packets_in,
		.frames_out = peer->packets_out,
		.bytes_in = stats->bytes_in,
		.bytes_out = stats->bytes_out,
		.rtt_max_us = stats->rtt_max_us,
		.queued = session_queued(peer->session) + session_in_flight(peer->session),
		.paths = {.n = 1, .v = path},
	};
}

static void status_get(void *priv, struct rpc_call *call)
{
	const struct tunneld *t = priv;
	const struct conf *conf = t->d->conf;
	char carrier[] = "tunnel", security[] = "none";
	struct links_status status = {
		.carrier = carrier,
		.security = security, /* whatever the links of the existing daemons have, which is nothing */
		.interface_version = conf->transport.interface_version,
		.heartbeat_ms = conf->cluster.heartbeat_interval,
		.dead_ms = conf->cluster.dead_interval,
	};
	struct link_path_status *paths = talloc_array(call, struct link_path_status, t->n_peers);
	struct mono now = mono_now();

	status.links.v = talloc_array(call, struct link_status, t->n_peers);
	if (paths == NULL || status.links.v == NULL) {
		rpc_call_fail(call, ENOMEM);
		return;
	}
	for (uint32_t pnn = 0; pnn < t->n_peers; pnn++) {
		uint32_t n = status.links.n;

		if (t->peers[pnn] != NULL) {
			status.links.v[n] = link_status_of(t->peers[pnn], pnn, now, &paths[n], security);
			status.links.n = n + 1;
		}
	}
	transport_get_status_reply(call, &status);
}

static void links_subscribe(void *priv, struct rpc_call *call, const struct link_subscribe_args *arg)
{
	struct tunneld *t = priv;

	if (call->source_node == t->d->pnn && strcmp(call->source_endpoint, "cluster") == 0) {
		active_nodes_clusterd_there(t->active);
	}
	if (link_watchers_subscribe(t->watchers, call, arg) == 0) {
		links_get(t, call);
	}
}

static int links_dispatch(void *priv, struct rpc_call *call, uint32_t proc, const uint8_t *buf, size_t len)
{
	static const struct transport_server server = {
		.get_links = links_get, .subscribe = links_subscribe, .get_status = status_get};

	/* There are no keys here. */
	if (proc >= TRANSPORT_PROC_KEY_LIST && proc <= TRANSPORT_PROC_KEY_RETIRE) {
		rpc_call_fail(call, EOPNOTSUPP);
		return 0;
	}
	return transport_dispatch(&server, priv, call, proc, buf, len);
}

int links_start(struct tunneld *t)
{
	t->watchers = link_watchers_new(t, t->d->msg, t->d->pnn);
	if (t->watchers == NULL) {
		return ENOMEM;
	}
	return msg_serve(t->d->msg, TRANSPORT_INTERFACE, TRANSPORT_VERSION, links_dispatch, t);
}
