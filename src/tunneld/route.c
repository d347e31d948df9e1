/* tunneld: packets from local endpoints to sessions, from sessions to the existing daemon, and back. */
#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "protocol/msg.h"
#include "shared/active_nodes.h"
#include "shared/log.h"
#include "shared/msg.h"
#include "tunneld.h"

#define ROUTE_SOCKET   "/run/ctdb/ctdbd.socket"
#define ROUTE_QUEUE    SESSION_PACKET_MAX /* bytes that wait for a node, each class */
#define ROUTE_HELLO_MS 50
#define ROUTE_STALL_MS 5000U /* at least: the existing daemon does other things too */
#define ROUTE_BACKLOG                                                                                                  \
	(2 * SESSION_WINDOW) /* for each node: more waits for the existing daemon only if it does not read */

struct tunnel_peer *route_peer(const struct tunneld *t, uint32_t pnn)
{
	return pnn < t->n_peers ? t->peers[pnn] : NULL;
}

/* ---- time ---- */

static void route_wake(struct tunneld *t, struct mono when)
{
	if (mono_is_set(when) && (!mono_is_set(t->wake) || mono_before(when, t->wake))) {
		t->wake = when;
		mono_timer_set(t->timer, when);
	}
}

static void route_wake_all(struct tunneld *t)
{
	for (uint32_t i = 0; i < t->n_peers; i++) {
		if (t->peers[i] != NULL) {
			route_wake(t, session_due(t->peers[i]->session));
		}
	}
}

static void route_tick(void *priv)
{
	struct tunneld *t = priv;
	struct mono now = mono_now();
	uint64_t slow = mono_ms_between(t->wake, now);
	bool late = slow > t->d->conf->cluster.dead_interval / 2;

	t->wake = MONO_NEVER;
	if (late) {
		log_ratelimited(LOG_LVL_WARNING, 1000,
				"this process stalled for %llu ms; giving other nodes time to be heard",
				(unsigned long long)slow);
	}
	late |= old_unread(t->old);
	for (uint32_t i = 0; i < t->n_peers; i++) {
		if (t->peers[i] != NULL) {
			session_tick(t->peers[i]->session, now, late);
		}
	}
	route_wake_all(t);
}

/* ---- what sessions want ---- */

static void route_emit(void *priv, uint32_t pnn, bool by_tunnel, const uint8_t *data, size_t len)
{
	struct tunneld *t = priv;
	int ret = old_queued(t->old) > (size_t)ROUTE_BACKLOG * t->n_peers ? ENOBUFS
									  : old_send(t->old, pnn, by_tunnel, data, len);

	/* the session will notice */
	if (ret != 0) {
		log_ratelimited(LOG_LVL_WARNING, 1000, "%zu bytes for node %u dropped: %s", len, pnn, strerror(ret));
	}
}

static void route_deliver(void *priv, uint32_t pnn, const uint8_t *data, size_t len)
{
	struct tunneld *t = priv;

	t->peers[pnn]->packets_in++;
	/* What cannot be delivered was logged, counted and answered there. */
	(void)msg_deliver(t->d->msg, pnn, data, len);
}

static void route_up(void *priv, uint32_t pnn, uint64_t incarnation)
{
	struct tunneld *t = priv;

	log_notice("node %u is linked through the existing ctdbd", pnn);
	t->peers[pnn]->changed = mono_now();
	links_changed(t, pnn, true, incarnation, 0);
}

static void route_down(void *priv, uint32_t pnn, int reason)
{
	struct tunneld *t = priv;

	log_notice("link to node %u is down: %s", pnn, strerror(reason));
	t->peers[pnn]->changed = mono_now();
	links_changed(t, pnn, false, 0, reason);
}

static void route_complain(void *priv, uint32_t pnn, const char *text)
{
	log_ratelimited(LOG_LVL_WARNING, 1000, "node %u: %s", pnn, text);
}

static uint64_t route_random(void *priv)
{
	uint64_t id = 0;

	/* Waits at most for the first entropy after the machine has started, as every endpoint does when it is opened;
	 * 0 is asked again, so without waiting the caller would spin until then. */
	return getrandom(&id, sizeof(id), 0) == sizeof(id) ? id : 0;
}

/* ---- what the existing daemon brings ---- */

static void route_ready(void *priv, bool tunnel)
{
	struct tunneld *t = priv;

	t->attached = true;
	t->tunnel = tunnel;
	for (uint32_t i = 0; i < t->n_peers; i++) {
		if (t->peers[i] != NULL) {
			session_attached(t->peers[i]->session, mono_now(), tunnel);
		}
	}
	route_wake_all(t);
}

static void route_lost(void *priv, int reason)
{
	struct tunneld *t = priv;

	t->attached = false;
	for (uint32_t i = 0; i < t->n_peers; i++) {
		if (t->peers[i] != NULL) {
			session_detached(t->peers[i]->session, reason);
		}
	}
}

static void route_in(void *priv, const uint8_t *data, size_t len)
{
	struct tunneld *t = priv;
	struct tunnel_peer *peer;
	struct tunnel_packet p;

	if (tunnel_packet_view(data, len, &p) != 0 || p.magic != TUNNEL_MAGIC || p.version != TUNNEL_VERSION) {
		log_ratelimited(LOG_LVL_WARNING, 1000,
				"ignoring %zu bytes that are no packet: somebody else sends to our address", len);
		return;
	}
	peer = route_peer(t, p.from_pnn);
	if (peer == NULL || p.to_pnn != t->d->pnn) {
		log_ratelimited(LOG_LVL_WARNING, 1000, "ignoring a packet from node %u to node %u", p.from_pnn,
				p.to_pnn);
		return;
	}
	session_receive(peer->session, mono_now(), &p);
}

static void route_turn(void *priv)
{
	struct tunneld *t = priv;

	for (uint32_t i = 0; i < t->n_peers; i++) {
		if (t->peers[i] != NULL) {
			session_flush(t->peers[i]->session);
		}
	}
	route_wake_all(t);
}

/* ---- what endpoints send ---- */

static int packet_send(struct tunneld *t, struct tunnel_peer *peer, uint32_t node, const uint8_t *packet, size_t len)
{
	struct msg_packet_plan plan;
	struct iovec parts[2];
	int ret;

	if (session_state(peer->session) != SESSION_UP) {
		return EHOSTUNREACH;
	}
	ret = msg_packet_plan(packet, len, session_peer_version(peer->session), node, &plan);
	if (ret != 0) {
		return ret;
	}
	parts[0] = (struct iovec){.iov_base = plan.header, .iov_len = plan.header_len};
	parts[1] = (struct iovec){.iov_base = (void *)(uintptr_t)plan.payload, .iov_len = plan.payload_len};
	return session_send(peer->session, mono_now(), (plan.flags & MSG_FLAG_BULK) != 0 ? 1 : 0, parts, 2);
}

static void route_to_node(void *priv, uint32_t node, const uint8_t *packet, size_t len)
{
	struct tunneld *t = priv;
	struct tunnel_peer *peer = route_peer(t, node);
	int ret = peer == NULL ? EHOSTUNREACH : packet_send(t, peer, node, packet, len);

	if (ret == 0) {
		peer->packets_out++;
		route_wake(t, session_due(peer->session));
		return;
	}
	if (ret == EHOSTUNREACH) {
		log_debug("packet for node %u dropped: its link is down", node);
	} else {
		log_ratelimited(LOG_LVL_WARNING, 1000, "packet of %zu bytes for node %u dropped: %s", len, node,
				strerror(ret));
	}
	msg_undeliverable(t->d->msg, packet, len, ret);
}

static bool route_group_has(void *priv, uint32_t group, uint32_t pnn)
{
	const struct tunneld *t = priv;
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
		return active_nodes_has(t->active, pnn);
	default:
		return false;
	}
}

static void route_out(void *priv, uint32_t node, const uint8_t *packet, size_t len)
{
	static const struct msg_group_ops ops = {.has = route_group_has, .send = route_to_node};
	struct tunneld *t = priv;

	if (msg_node_is_group(node)) {
		msg_to_group(t->d->msg, node, t->n_peers, &ops, t, packet, len);
	} else {
		route_to_node(t, node, packet, len);
	}
}

/* ---- nodes ---- */

static int peer_add(struct tunneld *t, uint32_t pnn, const char *address)
{
	static const struct session_ops ops = {
		.emit = route_emit,
		.deliver = route_deliver,
		.up = route_up,
		.down = route_down,
		.complain = route_complain,
		.random = route_random,
	};
	const struct conf *conf = t->d->conf;
	uint32_t dead_ms = conf->cluster.dead_interval;
	const struct session_config config = {
		.own = t->d->pnn,
		.peer = pnn,
		.incarnation = t->d->incarnation,
		.interface_version = conf->transport.interface_version,
		.interface_oldest = TUNNELD_OLDEST,
		.heartbeat_ms = conf->cluster.heartbeat_interval,
		.dead_ms = dead_ms,
		.stall_ms = 2 * dead_ms > ROUTE_STALL_MS ? 2 * dead_ms : ROUTE_STALL_MS,
		.hello_ms = ROUTE_HELLO_MS,
		.queue_bytes = ROUTE_QUEUE,
	};
	struct tunnel_peer *peer = talloc_zero(t->peers, struct tunnel_peer);

	if (peer == NULL) {
		return ENOMEM;
	}
	peer->address = talloc_strdup(peer, address);
	peer->session = session_new(peer, &config, &ops, t);
	if (peer->address == NULL || peer->session == NULL) {
		talloc_free(peer);
		return ENOMEM;
	}
	t->peers[pnn] = peer;
	if (t->attached) {
		session_attached(peer->session, mono_now(), t->tunnel);
		route_wake(t, session_due(peer->session));
	}
	return 0;
}

static void peer_remove(struct tunneld *t, uint32_t pnn)
{
	struct tunnel_peer *peer = t->peers[pnn];

	session_bye(peer->session, EHOSTDOWN);
	session_detached(peer->session, EHOSTDOWN);
	t->peers[pnn] = NULL;
	talloc_free(peer);
}

static int peers_grow(struct tunneld *t, uint32_t n)
{
	struct tunnel_peer **peers;

	if (n <= t->n_peers) {
		return 0;
	}
	peers = talloc_realloc(t, t->peers, struct tunnel_peer *, n);
	if (peers == NULL) {
		return ENOMEM;
	}
	memset(peers + t->n_peers, 0, (n - t->n_peers) * sizeof(*peers));
	t->peers = peers;
	t->n_peers = n;
	return 0;
}

int route_set_nodes(struct tunneld *t)
{
	const struct conf_nodes *nodes = t->d->nodes;
	int ret = peers_grow(t, nodes->n);

	for (uint32_t pnn = 0; ret == 0 && pnn < t->n_peers; pnn++) {
		bool wanted = pnn < nodes->n && pnn != t->d->pnn && !nodes->v[pnn].deleted;

		if (t->peers[pnn] != NULL && (!wanted || strcmp(t->peers[pnn]->address, nodes->v[pnn].text) != 0)) {
			peer_remove(t, pnn);
		}
		if (wanted && t->peers[pnn] == NULL) {
			ret = peer_add(t, pnn, nodes->v[pnn].text);
		}
	}
	return ret;
}

/* ---- start and stop ---- */

int route_start(struct tunneld *t, char **err)
{
	static const struct old_ops ops = {
		.ready = route_ready, .lost = route_lost, .packet = route_in, .turn = route_turn};
	const char *path = t->d->conf->transport.tunnel_socket;
	int ret;

	t->timer = mono_timer_new(t, t->d->ev, route_tick, t);
	if (t->timer == NULL) {
		return errno != 0 ? errno : ENOMEM;
	}
	ret = route_set_nodes(t);
	if (ret != 0) {
		return ret;
	}
	path = path != NULL ? path : ROUTE_SOCKET;
	t->old = old_new(t, t->d->ev, path, t->d->pnn, &ops, t);
	if (t->old == NULL) {
		ret = errno;
		*err = talloc_asprintf(
			t->d, "cannot use %s as socket of the existing ctdbd: %s: correct tunnel socket in [transport]",
			path, strerror(ret));
		return ret;
	}
	log_warning(
		"packets for other nodes travel through the existing ctdbd, which neither encrypts nor authenticates");
	msg_set_router(t->d->msg, route_out, t);
	return 0;
}

void route_stop(struct tunneld *t)
{
	for (uint32_t i = 0; i < t->n_peers; i++) {
		if (t->peers[i] != NULL) {
			session_bye(t->peers[i]->session, ESHUTDOWN);
		}
	}
}
