/*
 * Links: the paths to a node, and which one carries the link.
 *
 * A path is
 *   closed   no connection is up; the connecting side tries, control first
 *   partial  the control connection is up, the others of its bundle are being made
 *   ready    all are up: standby, pings keep it known to work
 *   active   ready, and in use on both sides: peer->active
 *
 *   transition          by                     on the connecting side                   on the accepting side
 *   closed -> partial   link_path_join()       hello of the control connection          the same
 *   partial -> ready    link_path_join()       hello of the last connection             the same
 *   ready -> active     link_peer_choose()     no path is active, this is the lowest    -
 *                       link_use_frame()       -                                        the first USE
 *   any -> closed       link_path_end()        a connection ended; silence; USE of another path (accepting side)
 *
 * USE goes first on each connection of the path that was chosen, with a generation that rises. There is no way back
 * from active to ready: a path that is left is closed and made anew. No path is left for a better one as long as it
 * works.
 *
 * Invariants:
 *   P1  peer->active is NULL or a ready path; up() was called when it was set, down() is called when it is cleared.
 *   P2  Connections of a path have one bundle number and one incarnation, and end together.
 *   P3  Frames of the user pass only on used connections, and these belong to the active path. A connection is used for
 * one period of being active at most, so nothing that was sent in one period is delivered in another: never late, never
 * twice. P4  The accepting side follows a USE only if its generation is higher than all before: one that comes late on
 * a path that was left meanwhile closes that path. P5  A node that speaks interface version 1 has one path with one
 * connection, which is active from its hello on.
 */
#include "shared/link_private.h"

#include <assert.h>
#include <stdio.h>

#include "shared/log.h"

bool link_connects(const struct link_peer *peer)
{
	return peer->mesh->config.own_pnn > peer->pnn;
}

bool link_path_ready(const struct link_path *path)
{
	uint32_t i;

	for (i = 0; i < path->n_classes || i == 0; i++) {
		if (path->conn[i] == NULL) {
			return false;
		}
	}
	return true;
}

/* A node that speaks version 1 would take another connection for a new one in place of the first. */
static bool link_path_unknown_there(const struct link_path *path)
{
	const struct link_path *first = path->peer->path[0];

	return path->index > 0 && first->conn[0] != NULL && first->version < LINK_INTERFACE_PATHS;
}

bool link_path_wants_connection(const struct link_path *path, struct mono now)
{
	return link_connects(path->peer) && path->out == NULL && !link_path_ready(path) &&
	       !mono_before(now, path->connect_at) && !link_path_unknown_there(path);
}

/* ---- ready, active ---- */

static void link_path_activate(struct link_path *path)
{
	struct link_peer *peer = path->peer;
	struct link_mesh *mesh = peer->mesh;
	const struct link_tls *tls = path->conn[0]->tls;
	uint32_t i;

	assert(peer->active == NULL && link_path_ready(path));
	for (i = 0; i < path->n_classes; i++) {
		path->conn[i]->used = true;
	}
	peer->active = path;
	peer->choose_at = peer->settle_at = MONO_NEVER;
	peer->stats.switches += peer->last_active < LINK_PATHS && peer->last_active != path->index;
	peer->last_active = path->index;
	peer->stats.up = true;
	peer->stats.ups++;
	log_notice("%s: link to node %u (%s) is up: path %u, %s%s", mesh->config.name, peer->pnn, path->text,
		   path->index, tls != NULL ? "TLS with key " : "not encrypted",
		   tls != NULL ? link_tls_key_id(tls) : "");
	mesh->ops->up(mesh->priv, peer->pnn, peer->incarnation);
}

/* The lowest one. One that the other side has closed already is none, though we have not read that far. */
static struct link_path *link_path_choice(const struct link_peer *peer)
{
	uint32_t i, k;

	for (i = 0; i < peer->n_paths; i++) {
		struct link_path *path = peer->path[i];
		bool good = link_path_ready(path) && path->version >= LINK_INTERFACE_PATHS;

		for (k = 0; good && k < path->n_classes; k++) {
			good = !link_hung_up(path->conn[k]);
		}
		if (good) {
			return path;
		}
	}
	return NULL;
}

struct mono link_peer_choose_at(const struct link_peer *peer)
{
	const struct link_path *path;

	if (peer->active != NULL || !link_connects(peer) || (path = link_path_choice(peer)) == NULL) {
		return MONO_NEVER;
	}
	if (path->index > 0 && mono_before(peer->choose_at, peer->settle_at)) {
		return peer->settle_at;
	}
	return mono_is_set(peer->choose_at) ? peer->choose_at : (struct mono){1};
}

void link_peer_choose(struct link_peer *peer, struct mono now)
{
	struct mono at = link_peer_choose_at(peer);
	struct link_path *path;
	uint32_t i;

	if (!mono_is_set(at)) {
		return;
	}
	if (mono_before(now, at)) {
		link_wake_at(peer->mesh, at);
		return;
	}
	path = link_path_choice(peer);
	/* The clock rises, so it does also across a change of the nodes list that forgot the peer for a while. */
	peer->generation = now.ns > peer->generation ? now.ns : peer->generation + 1;
	for (i = 0; i < path->n_classes; i++) {
		if (link_use_queue(path->conn[i], peer->generation) != 0) {
			link_conn_end(path->conn[i], true, ENOMEM, "out of memory");
			return;
		}
	}
	link_path_activate(path);
}

/* May call up(): path may be gone afterwards. */
static void link_path_is_ready(struct link_path *path)
{
	struct link_peer *peer = path->peer;
	struct link_mesh *mesh = peer->mesh;
	struct mono now = mono_now();

	path->wait_ms = mesh->config.reconnect_ms;
	path->last_failure[0] = '\0';
	link_wake_at(mesh, mono_add_ms(now, mesh->config.dead_ms));
	if (path->version < LINK_INTERFACE_PATHS) {
		link_path_activate(path);
		return;
	}
	if (peer->n_paths > 1) {
		log_info("%s: path %u to node %u (%s) is ready", mesh->config.name, path->index, peer->pnn, path->text);
	}
	if (peer->active == NULL && path->index > 0 && !mono_is_set(peer->settle_at)) {
		peer->settle_at = mono_add_ms(now, mesh->config.heartbeat_ms);
	}
	link_peer_choose(peer, now);
}

/* ---- connections join ---- */

/* Ends what belongs to a former run of the other side's daemon. False: conn was ended too. */
static bool link_peer_new_incarnation(struct link_peer *peer, struct link_conn *conn, uint64_t incarnation)
{
	uint32_t i;

	for (i = 0; i < peer->n_paths; i++) {
		struct link_path *path = peer->path[i];

		if (path->conn[0] != NULL) {
			link_conn_end(path->conn[0], true, ECONNRESET, "its daemon was started anew");
			if (conn->state == LINK_CONN_CLOSED) {
				return false; /* down() changed the nodes list */
			}
		}
	}
	peer->incarnation = incarnation;
	peer->generation = link_connects(peer) ? peer->generation : 0;
	return true;
}

static void link_path_add(struct link_path *path, struct link_conn *conn, const struct link_hello *hello)
{
	const struct link_config *config = &path->peer->mesh->config;
	uint32_t version = hello->interface_version;

	dlist_remove(&conn->entry);
	if (!conn->outgoing) {
		conn->mesh->n_new--;
	}
	conn->state = LINK_CONN_UP;
	conn->received = conn->up_since = mono_now();
	path->conn[conn->link_class] = conn;
	if (conn->link_class == LINK_CLASS_CONTROL) {
		path->version = version < config->interface_version ? version : config->interface_version;
		path->n_classes = hello->n_classes < config->n_classes ? hello->n_classes : config->n_classes;
		if (path->version < LINK_INTERFACE_PATHS || path->n_classes == 0) {
			path->n_classes = 1;
		}
		path->bundle = conn->bundle;
	}
}

void link_path_join(struct link_conn *conn, const struct link_hello *hello)
{
	struct link_path *path = conn->path;
	struct link_peer *peer = path->peer;

	if (conn->outgoing) {
		path->out = NULL; /* what ends now must not take it along */
	}
	if (peer->incarnation != hello->incarnation && !link_peer_new_incarnation(peer, conn, hello->incarnation)) {
		return;
	}
	if (conn->link_class == LINK_CLASS_CONTROL && path->conn[0] != NULL) {
		/* Only now: anybody can make a connection, but this one is the node's. The old one is dead or will be.
		 */
		link_conn_end(path->conn[0], true, ECONNRESET, "replaced by a new connection");
		if (conn->state == LINK_CONN_CLOSED) {
			return;
		}
	}
	if (conn->link_class != LINK_CLASS_CONTROL && path->conn[0] == NULL) {
		link_conn_close(conn); /* it belongs to what has just ended */
		return;
	}
	link_path_add(path, conn, hello);
	if (link_path_ready(path)) {
		link_path_is_ready(path);
	} else if (conn->outgoing) {
		link_connect(path);
	}
}

/* ---- the end ---- */

/* When the daemon there ends, all its connections are closed, one after the other: another path may be just about to
 * end as well. And what has failed must not be back before another one could take over. */
static void link_path_leave(struct link_path *path, int reason, struct mono now)
{
	struct link_peer *peer = path->peer;
	struct mono back;

	peer->choose_at = reason == ETIMEDOUT ? now : mono_add_ms(now, LINK_SWITCH_PAUSE_MS);
	link_wake_at(peer->mesh, peer->choose_at);
	back = mono_add_ms(peer->choose_at, LINK_SWITCH_PAUSE_MS);
	path->connect_at = mono_before(path->connect_at, back) ? back : path->connect_at;
}

void link_path_end(struct link_path *path, bool told, int reason)
{
	struct link_peer *peer = path->peer;
	struct link_mesh *mesh = peer->mesh;
	bool was_active = peer->active == path;
	struct mono now = mono_now();
	uint32_t i;

	for (i = 0; i < LINK_CLASSES; i++) {
		if (path->conn[i] != NULL) {
			link_conn_close(path->conn[i]);
			path->conn[i] = NULL;
		}
	}
	if (path->out != NULL) {
		link_conn_close(path->out);
		path->out = NULL;
	}
	link_connect_later(path);
	if (!was_active) {
		return;
	}
	peer->active = NULL;
	peer->stats.up = false;
	peer->settle_at = MONO_NEVER;
	if (peer->n_paths > 1) {
		link_path_leave(path, reason, now);
	}
	if (told) {
		mesh->ops->down(mesh->priv, peer->pnn, reason);
	}
}

/* ---- the accepting side is told ---- */

void link_use_frame(struct link_conn *conn, uint64_t generation)
{
	struct link_path *path = conn->path, *old;
	struct link_peer *peer = path->peer;

	old = peer->active;
	if (link_connects(peer) || path->version < LINK_INTERFACE_PATHS || !link_path_ready(path)) {
		link_conn_end(conn, true, EBADMSG, "unexpected frame USE");
		return;
	}
	if (old == path && generation == peer->generation) {
		return; /* the first one came on another connection */
	}
	if (old == path || generation <= peer->generation) {
		link_conn_end(conn, true, EBADMSG,
			      old == path ? "frame USE with another generation" : "the node left this path meanwhile");
		return;
	}
	peer->generation = generation;
	if (old != NULL) {
		char why[64];

		snprintf(why, sizeof(why), "the node goes on with path %u", path->index);
		link_conn_end(old->conn[0], true, ETIMEDOUT, why);
		if (conn->state == LINK_CONN_CLOSED) {
			return;
		}
	}
	link_path_activate(path);
}

/* ---- silence ---- */

/* Another path that is ready and was heard of just now. */
static const struct link_path *link_peer_other_alive(const struct link_peer *peer, struct mono now)
{
	uint32_t i;

	for (i = 0; i < peer->n_paths; i++) {
		const struct link_path *path = peer->path[i];

		if (path != peer->active && link_path_ready(path) &&
		    mono_before(now, mono_add_ms(path->conn[0]->received, 2ULL * peer->mesh->config.heartbeat_ms))) {
			return path;
		}
	}
	return NULL;
}

struct mono link_peer_silent_at(const struct link_peer *peer, struct mono now)
{
	struct mono at;

	if (peer->active == NULL || peer->n_paths < 2) {
		return MONO_NEVER;
	}
	at = mono_add_ms(peer->active->conn[0]->received, peer->mesh->config.dead_ms / 2);
	return mono_before(now, at) ? at : MONO_NEVER; /* after it, heartbeats are often enough */
}

void link_peer_check_silent(struct link_peer *peer, struct mono now)
{
	struct link_conn *conn = peer->active != NULL ? peer->active->conn[0] : NULL;
	const struct link_path *other;
	char why[96];

	if (conn == NULL || mono_before(now, mono_add_ms(conn->received, peer->mesh->config.dead_ms / 2))) {
		return;
	}
	other = link_peer_other_alive(peer, now);
	if (other == NULL) {
		return;
	}
	if (link_has_unread(conn)) {
		conn->received = now;
		return;
	}
	snprintf(why, sizeof(why), "nothing was heard for %u ms, but path %u is alive", peer->mesh->config.dead_ms / 2,
		 other->index);
	link_conn_end(conn, true, ETIMEDOUT, why);
}
