/* Links: the nodes of the nodes list, and the timer that serves them. */
#include "shared/link_private.h"

#include <netinet/in.h>
#include <stdio.h>

#include "shared/log.h"

/* ---- addresses ---- */

bool link_same_address(const struct sockaddr_storage *a, const struct sockaddr_storage *b)
{
	const struct sockaddr_in *a4 = (const void *)a, *b4 = (const void *)b;
	const struct sockaddr_in6 *a6 = (const void *)a, *b6 = (const void *)b;

	if (a->ss_family != b->ss_family) {
		return false;
	}
	if (a->ss_family == AF_INET) {
		return a4->sin_addr.s_addr == b4->sin_addr.s_addr;
	}
	return memcmp(&a6->sin6_addr, &b6->sin6_addr, sizeof(a6->sin6_addr)) == 0 &&
	       (a6->sin6_scope_id == b6->sin6_scope_id || a6->sin6_scope_id == 0 || b6->sin6_scope_id == 0);
}

/* Who made the list may have filled the first address only. */
static uint32_t link_node_addrs(const struct conf_node *node)
{
	return node->n_addrs == 0 ? 1 : node->n_addrs < LINK_PATHS ? node->n_addrs : LINK_PATHS;
}

static const struct sockaddr_storage *link_node_addr(const struct conf_node *node, uint32_t i)
{
	return node->n_addrs == 0 ? &node->addr : &node->addrs[i];
}

static const char *link_node_text(const struct conf_node *node, uint32_t i)
{
	return node->n_addrs == 0 ? node->text : node->texts[i];
}

struct link_path *link_path_by_addr(const struct link_mesh *mesh, uint32_t own, const struct sockaddr_storage *addr)
{
	uint32_t pnn, i;

	for (pnn = 0; pnn < mesh->n_peers; pnn++) {
		struct link_peer *peer = mesh->peers[pnn];

		for (i = 0; peer != NULL && i < peer->n_paths; i++) {
			if (peer->path[i]->own == own && link_same_address(&peer->path[i]->addr, addr)) {
				return peer->path[i];
			}
		}
	}
	return NULL;
}

/* ---- nodes ---- */

/* A version 1 node knows first addresses only. */
static uint32_t link_path_count(const struct link_mesh *mesh, const struct conf_node *node)
{
	uint32_t n = link_node_addrs(node);

	return mesh->config.interface_version < LINK_INTERFACE_PATHS ? 1 : n > mesh->n_addrs ? n : mesh->n_addrs;
}

static struct link_path *link_path_new(struct link_peer *peer, uint32_t index, const struct conf_node *node)
{
	const struct link_mesh *mesh = peer->mesh;
	struct link_path *path = talloc_zero(peer, struct link_path);
	uint32_t theirs = index < link_node_addrs(node) ? index : 0;

	if (path == NULL) {
		return NULL;
	}
	path->peer = peer;
	path->index = index;
	path->own = index < mesh->n_addrs ? index : 0;
	path->addr = *link_node_addr(node, theirs);
	path->text = talloc_strdup(path, link_node_text(node, theirs));
	path->wait_ms = mesh->config.reconnect_ms;
	/* The first path has a moment of advance: with it up, it is known whether the node has others. */
	path->connect_at = mono_add_ms(mono_now(), (uint64_t)index * mesh->config.heartbeat_ms);
	if (path->text == NULL) {
		talloc_free(path);
		return NULL;
	}
	return path;
}

static int link_peer_add(struct link_mesh *mesh, uint32_t pnn, const struct conf_node *node)
{
	struct link_peer *peer = talloc_zero(mesh->peers, struct link_peer);
	uint32_t n = link_path_count(mesh, node);

	if (peer == NULL) {
		return ENOMEM;
	}
	peer->mesh = mesh;
	peer->pnn = pnn;
	peer->last_active = LINK_PATHS;
	for (; peer->n_paths < n; peer->n_paths++) {
		peer->path[peer->n_paths] = link_path_new(peer, peer->n_paths, node);
		if (peer->path[peer->n_paths] == NULL) {
			talloc_free(peer);
			return ENOMEM;
		}
	}
	mesh->peers[pnn] = peer;
	link_wake_at(mesh, peer->path[0]->connect_at);
	return 0;
}

/* Its connections end first, those without hello included; nothing finds it any more when down() is called. */
static void link_peer_remove(struct link_mesh *mesh, uint32_t pnn)
{
	struct link_peer *peer = mesh->peers[pnn];
	bool was_up = peer->active != NULL;
	uint32_t i;

	mesh->peers[pnn] = NULL;
	dlist_for_each_safe(pos, &mesh->new)
	{
		struct link_conn *conn = dlist_entry(pos, struct link_conn, entry);

		if (conn->path->peer == peer) {
			link_conn_close(conn);
		}
	}
	if (was_up) {
		log_notice("%s: link to node %u (%s) is down: the nodes list was changed", mesh->config.name, pnn,
			   peer->active->text);
	}
	for (i = 0; i < peer->n_paths; i++) {
		link_path_end(peer->path[i], false, EHOSTDOWN);
	}
	talloc_free(peer);
	if (was_up) {
		mesh->ops->down(mesh->priv, pnn, EHOSTDOWN);
	}
}

static int link_peers_grow(struct link_mesh *mesh, uint32_t n)
{
	struct link_peer **peers;

	if (n <= mesh->n_peers) {
		return 0;
	}
	peers = talloc_realloc(mesh, mesh->peers, struct link_peer *, n);
	if (peers == NULL) {
		return ENOMEM;
	}
	memset(peers + mesh->n_peers, 0, (n - mesh->n_peers) * sizeof(*peers));
	mesh->peers = peers;
	mesh->n_peers = n;
	return 0;
}

static bool link_node_wanted(const struct link_mesh *mesh, const struct conf_nodes *nodes, uint32_t pnn)
{
	return pnn < nodes->n && pnn != mesh->config.own_pnn && !nodes->v[pnn].deleted;
}

/* All its addresses are what they were. */
static bool link_peer_same(const struct link_peer *peer, const struct conf_node *node)
{
	uint32_t i;

	if (peer->n_paths != link_path_count(peer->mesh, node)) {
		return false;
	}
	for (i = 0; i < peer->n_paths; i++) {
		if (!link_same_address(&peer->path[i]->addr, link_node_addr(node, i < link_node_addrs(node) ? i : 0))) {
			return false;
		}
	}
	return true;
}

static bool link_own_same(const struct link_mesh *mesh, const struct conf_node *node)
{
	uint32_t n = mesh->config.interface_version < LINK_INTERFACE_PATHS ? 1 : link_node_addrs(node);
	uint32_t i;

	for (i = 0; i < n && i < mesh->n_addrs; i++) {
		if (!link_same_address(&mesh->addrs[i], link_node_addr(node, i))) {
			return false;
		}
	}
	return n == mesh->n_addrs;
}

int link_mesh_set_nodes(struct link_mesh *mesh, const struct conf_nodes *nodes)
{
	uint32_t own = mesh->config.own_pnn;
	uint32_t pnn;
	int ret;

	if (own >= nodes->n || nodes->v[own].deleted || !link_own_same(mesh, &nodes->v[own])) {
		return EINVAL; /* the own addresses cannot change under us */
	}
	ret = link_peers_grow(mesh, nodes->n);
	for (pnn = 0; ret == 0 && pnn < mesh->n_peers; pnn++) {
		bool wanted = link_node_wanted(mesh, nodes, pnn);
		struct link_peer *peer = mesh->peers[pnn];

		if (peer != NULL && (!wanted || !link_peer_same(peer, &nodes->v[pnn]))) {
			link_peer_remove(mesh, pnn);
			peer = NULL;
		}
		if (wanted && peer == NULL) {
			ret = link_peer_add(mesh, pnn, &nodes->v[pnn]);
		}
	}
	return ret;
}

/* ---- timer ---- */

void link_wake_at(struct link_mesh *mesh, struct mono when)
{
	struct mono now;

	if (mono_is_set(when) && (!mono_is_set(mesh->wake) || mono_before(when, mesh->wake))) {
		now = mono_now();
		/* How late the timer is tells of stalls: a time that has passed must not look like one. */
		mesh->wake = mono_before(when, now) ? now : when;
		mono_timer_set(mesh->timer, mesh->wake);
	}
}

/* Ends at most one connection: another one that is over comes with the next turn. */
static void link_check_dead(struct link_peer *peer, struct mono now)
{
	uint32_t dead_ms = peer->mesh->config.dead_ms;
	uint32_t i, k;

	for (i = 0; i < peer->n_paths; i++) {
		for (k = 0; k < LINK_CLASSES; k++) {
			struct link_conn *conn = peer->path[i]->conn[k];
			char why[64];

			if (conn == NULL || mono_before(now, mono_add_ms(conn->received, dead_ms))) {
				continue;
			}
			if (link_has_unread(conn)) {
				conn->received = now; /* it was we who were slow */
				continue;
			}
			snprintf(why, sizeof(why), "nothing was heard for %u ms", dead_ms);
			link_conn_end(conn, true, ETIMEDOUT, why);
			return;
		}
	}
}

/* What calls nobody. */
static void link_tick_path(struct link_path *path, struct mono now, bool stalled, bool heartbeat)
{
	const struct link_mesh *mesh = path->peer->mesh;
	uint32_t k;

	if (link_path_wants_connection(path, now)) {
		link_connect(path);
	}
	for (k = 0; k < LINK_CLASSES; k++) {
		struct link_conn *conn = path->conn[k];

		if (conn != NULL && stalled) {
			conn->received = now;
		}
		if (conn != NULL && heartbeat && conn->queued <= mesh->config.queue_bytes) {
			link_ping_queue(conn, LINK_FRAME_PING, now.ns);
		}
	}
}

static void link_tick_new(struct link_mesh *mesh, struct mono now)
{
	for (;;) {
		struct link_conn *late = NULL;

		/* From the front each time: what ends one may end its neighbours. */
		dlist_for_each(pos, &mesh->new)
		{
			struct link_conn *conn = dlist_entry(pos, struct link_conn, entry);

			if (!mono_before(now, conn->deadline)) {
				late = conn;
				break;
			}
		}
		if (late == NULL) {
			return;
		}
		link_conn_end(late, true, ETIMEDOUT,
			      late->outgoing                      ? "no answer in time"
			      : late->asked != LINK_ASKED_NOTHING ? "it could not be answered in time"
								  : "no hello was sent in time");
	}
}

static void link_tick_arm_peer(struct link_peer *peer, struct mono now)
{
	struct link_mesh *mesh = peer->mesh;
	uint32_t i, k;

	for (i = 0; i < peer->n_paths; i++) {
		struct link_path *path = peer->path[i];

		if (link_path_wants_connection(path, path->connect_at)) {
			link_wake_at(mesh, path->connect_at);
		}
		for (k = 0; k < LINK_CLASSES; k++) {
			if (path->conn[k] != NULL) {
				link_wake_at(mesh, mono_add_ms(path->conn[k]->received, mesh->config.dead_ms));
			}
		}
	}
	link_wake_at(mesh, link_peer_silent_at(peer, now));
	link_wake_at(mesh, link_peer_choose_at(peer));
}

static void link_tick_arm(struct link_mesh *mesh, struct mono now)
{
	uint32_t pnn;

	link_wake_at(mesh, mesh->next_heartbeat);
	link_wake_at(mesh, mesh->accept_again);
	dlist_for_each(pos, &mesh->new)
	{
		link_wake_at(mesh, dlist_entry(pos, struct link_conn, entry)->deadline);
	}
	for (pnn = 0; pnn < mesh->n_peers; pnn++) {
		if (mesh->peers[pnn] != NULL) {
			link_tick_arm_peer(mesh->peers[pnn], now);
		}
	}
}

static void link_tick_accept(struct link_mesh *mesh, struct mono now)
{
	uint32_t i;

	if (mono_is_set(mesh->accept_again) && !mono_before(now, mesh->accept_again)) {
		mesh->accept_again = MONO_NEVER;
		for (i = 0; i < mesh->n_addrs; i++) {
			TEVENT_FD_READABLE(mesh->listen_fde[i]);
		}
	}
}

/* What may call the user, who may change the nodes list: the peer is looked up each time. */
static void link_tick_peers(struct link_mesh *mesh, struct mono now)
{
	static void (*const check[])(struct link_peer *, struct mono) = {link_check_dead, link_peer_check_silent,
									 link_peer_choose};
	uint32_t pnn;
	size_t i;

	for (i = 0; i < sizeof(check) / sizeof(check[0]); i++) {
		for (pnn = 0; pnn < mesh->n_peers; pnn++) {
			if (mesh->peers[pnn] != NULL) {
				check[i](mesh->peers[pnn], now);
			}
		}
	}
}

void link_tick(void *priv)
{
	struct link_mesh *mesh = priv;
	struct mono now = mono_now();
	uint64_t late = mono_ms_between(mesh->wake, now);
	bool stalled = late > mesh->config.dead_ms / 2;
	bool heartbeat = !mono_before(now, mesh->next_heartbeat);
	uint32_t pnn, i;

	mesh->wake = MONO_NEVER;
	if (stalled) {
		log_ratelimited(LOG_LVL_WARNING, 1000,
				"%s: this process stalled for %llu ms; giving other nodes time to be heard",
				mesh->config.name, (unsigned long long)late);
	}
	if (heartbeat) {
		mesh->next_heartbeat = mono_add_ms(now, mesh->config.heartbeat_ms);
	}
	link_tick_accept(mesh, now);
	mesh->busy++;
	link_tick_new(mesh, now);
	for (pnn = 0; pnn < mesh->n_peers; pnn++) {
		for (i = 0; mesh->peers[pnn] != NULL && i < mesh->peers[pnn]->n_paths; i++) {
			link_tick_path(mesh->peers[pnn]->path[i], now, stalled, heartbeat);
		}
	}
	link_tick_peers(mesh, now);
	mesh->busy--;
	link_tick_arm(mesh, now);
}
