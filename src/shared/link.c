/* Links: the mesh, its timer and its nodes. Promises: shared/link.h. */
#include "shared/link_private.h"

#include <assert.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "shared/log.h"

#define LINK_BACKLOG 128

/* ---- peers ---- */

static bool link_same_address(const struct sockaddr_storage *a, const struct sockaddr_storage *b)
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

static struct link_peer *link_peer(const struct link_mesh *mesh, uint32_t pnn)
{
	return pnn < mesh->n_peers ? mesh->peers[pnn] : NULL;
}

struct link_peer *link_peer_by_addr(const struct link_mesh *mesh, const struct sockaddr_storage *addr)
{
	uint32_t pnn;

	for (pnn = 0; pnn < mesh->n_peers; pnn++) {
		if (mesh->peers[pnn] != NULL && link_same_address(&mesh->peers[pnn]->addr, addr)) {
			return mesh->peers[pnn];
		}
	}
	return NULL;
}

static int link_peer_add(struct link_mesh *mesh, uint32_t pnn, const struct conf_node *node)
{
	struct link_peer *peer = talloc_zero(mesh->peers, struct link_peer);

	if (peer == NULL) {
		return ENOMEM;
	}
	peer->text = talloc_strdup(peer, node->text);
	if (peer->text == NULL) {
		talloc_free(peer);
		return ENOMEM;
	}
	peer->mesh = mesh;
	peer->pnn = pnn;
	peer->addr = node->addr;
	peer->wait_ms = mesh->config.reconnect_ms;
	peer->connect_at = mono_now();
	mesh->peers[pnn] = peer;
	link_wake_at(mesh, peer->connect_at);
	return 0;
}

/* Its connections end first, those without hello included; nothing finds it any more when down() is called. */
static void link_peer_remove(struct link_mesh *mesh, uint32_t pnn)
{
	struct link_peer *peer = mesh->peers[pnn];
	bool was_up = peer->conn != NULL;

	mesh->peers[pnn] = NULL;
	dlist_for_each_safe(pos, &mesh->new)
	{
		struct link_conn *conn = dlist_entry(pos, struct link_conn, entry);

		if (conn->peer == peer) {
			link_conn_end(conn, false, EHOSTDOWN, "the nodes list was changed");
		}
	}
	if (was_up) {
		link_conn_end(peer->conn, false, EHOSTDOWN, "the nodes list was changed");
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

int link_mesh_set_nodes(struct link_mesh *mesh, const struct conf_nodes *nodes)
{
	uint32_t own = mesh->config.own_pnn;
	uint32_t pnn;
	int ret;

	if (own >= nodes->n || nodes->v[own].deleted || !link_same_address(&nodes->v[own].addr, &mesh->addr)) {
		return EINVAL; /* the own address cannot change under us */
	}
	ret = link_peers_grow(mesh, nodes->n);
	for (pnn = 0; ret == 0 && pnn < mesh->n_peers; pnn++) {
		bool wanted = link_node_wanted(mesh, nodes, pnn);
		struct link_peer *peer = mesh->peers[pnn];

		if (peer != NULL && (!wanted || !link_same_address(&peer->addr, &nodes->v[pnn].addr))) {
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
	if (!mono_is_set(mesh->wake) || mono_before(when, mesh->wake)) {
		mesh->wake = when;
		mono_timer_set(mesh->timer, when);
	}
}

/* Something has arrived that was not read yet: it was we who were slow. */
static bool link_has_unread(const struct link_conn *conn)
{
	char byte;

	return recv(conn->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

static void link_check_dead(struct link_conn *conn, struct mono now)
{
	struct link_mesh *mesh = conn->mesh;
	char why[64];

	if (mono_before(now, mono_add_ms(conn->received, mesh->config.dead_ms))) {
		return;
	}
	if (link_has_unread(conn)) {
		conn->received = now;
		return;
	}
	snprintf(why, sizeof(why), "nothing was heard for %u ms", mesh->config.dead_ms);
	link_conn_end(conn, true, ETIMEDOUT, why);
}

static void link_tick_peer(struct link_mesh *mesh, struct link_peer *peer, struct mono now, bool stalled,
			   bool heartbeat)
{
	struct link_conn *conn = peer->conn;

	if (conn == NULL) {
		if (mesh->config.own_pnn > peer->pnn && peer->out == NULL && !mono_before(now, peer->connect_at)) {
			link_connect(peer);
		}
		return;
	}
	if (stalled) {
		conn->received = now;
	}
	if (heartbeat && conn->queued <= mesh->config.queue_bytes) {
		link_ping_queue(conn, LINK_FRAME_PING, now.ns);
	}
	link_check_dead(conn, now);
}

static void link_tick_new(struct link_mesh *mesh, struct mono now)
{
	dlist_for_each_safe(pos, &mesh->new)
	{
		struct link_conn *conn = dlist_entry(pos, struct link_conn, entry);

		if (!mono_before(now, conn->deadline)) {
			link_conn_end(conn, true, ETIMEDOUT,
				      conn->outgoing ? "no answer in time" : "no hello was sent in time");
		}
	}
}

static void link_tick_arm(struct link_mesh *mesh)
{
	uint32_t pnn;

	link_wake_at(mesh, mesh->next_heartbeat);
	if (mono_is_set(mesh->accept_again)) {
		link_wake_at(mesh, mesh->accept_again);
	}
	dlist_for_each(pos, &mesh->new)
	{
		link_wake_at(mesh, dlist_entry(pos, struct link_conn, entry)->deadline);
	}
	for (pnn = 0; pnn < mesh->n_peers; pnn++) {
		const struct link_peer *peer = mesh->peers[pnn];

		if (peer != NULL && peer->conn != NULL) {
			link_wake_at(mesh, mono_add_ms(peer->conn->received, mesh->config.dead_ms));
		} else if (peer != NULL && peer->out == NULL && mesh->config.own_pnn > pnn) {
			link_wake_at(mesh, peer->connect_at);
		}
	}
}

static void link_tick(void *priv)
{
	struct link_mesh *mesh = priv;
	struct mono now = mono_now();
	uint64_t late = mono_ms_between(mesh->wake, now);
	bool stalled = late > mesh->config.dead_ms / 2;
	bool heartbeat = !mono_before(now, mesh->next_heartbeat);
	uint32_t pnn;

	mesh->wake = MONO_NEVER;
	if (stalled) {
		log_ratelimited(LOG_LVL_WARNING, 1000,
				"%s: this process stalled for %llu ms; giving other nodes time to be heard",
				mesh->config.name, (unsigned long long)late);
	}
	if (heartbeat) {
		mesh->next_heartbeat = mono_add_ms(now, mesh->config.heartbeat_ms);
	}
	if (mono_is_set(mesh->accept_again) && !mono_before(now, mesh->accept_again)) {
		mesh->accept_again = MONO_NEVER;
		TEVENT_FD_READABLE(mesh->listen_fde);
	}
	mesh->busy++;
	link_tick_new(mesh, now);
	for (pnn = 0; pnn < mesh->n_peers; pnn++) {
		if (mesh->peers[pnn] != NULL) {
			link_tick_peer(mesh, mesh->peers[pnn], now, stalled, heartbeat);
		}
	}
	mesh->busy--;
	link_tick_arm(mesh);
}

/* ---- making and freeing ---- */

static void link_listen_event(struct tevent_context *ev, struct tevent_fd *fde, uint16_t flags, void *priv)
{
	link_accept(priv);
}

static int link_listen(struct link_mesh *mesh)
{
	socklen_t len = mesh->addr.ss_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
	int on = 1;
	int fd = socket(mesh->addr.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0) {
		return errno;
	}
	mesh->listen_fd = fd;
	((struct sockaddr_in *)&mesh->addr)->sin_port = htons(mesh->config.port); /* the same place in sockaddr_in6 */
	/* Only over connections of a former run that linger; another listener is still an error. */
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
	    bind(fd, (struct sockaddr *)&mesh->addr, len) != 0 || listen(fd, LINK_BACKLOG) != 0) {
		int err = errno;

		close(fd);
		return err;
	}
	mesh->listen_fde = tevent_add_fd(mesh->ev, mesh, fd, TEVENT_FD_READ, link_listen_event, mesh);
	if (mesh->listen_fde == NULL) {
		close(fd);
		return ENOMEM;
	}
	tevent_fd_set_auto_close(mesh->listen_fde);
	return 0;
}

static int link_mesh_destructor(struct link_mesh *mesh)
{
	assert(mesh->busy == 0); /* not from within one of its own callbacks */
	return 0;
}

static struct link_mesh *link_mesh_alloc(TALLOC_CTX *mem, struct tevent_context *ev, const struct link_config *config,
					 const struct link_ops *ops, void *priv)
{
	struct link_mesh *mesh = talloc_zero(mem, struct link_mesh);

	if (mesh == NULL) {
		return NULL;
	}
	mesh->ev = ev;
	mesh->config = *config;
	mesh->ops = ops;
	mesh->priv = priv;
	mesh->listen_fd = -1;
	dlist_init(&mesh->new);
	dlist_init(&mesh->dirty);
	if (mesh->config.reconnect_ms == 0) {
		mesh->config.reconnect_ms = 1; /* doubling must get somewhere */
	}
	/* A daemon that is restarted must be linked again before anybody takes its node for dead. */
	mesh->reconnect_max_ms =
		config->dead_ms / 4 < LINK_RECONNECT_MAX_MS ? config->dead_ms / 4 : LINK_RECONNECT_MAX_MS;
	if (mesh->reconnect_max_ms < mesh->config.reconnect_ms) {
		mesh->reconnect_max_ms = mesh->config.reconnect_ms;
	}
	mesh->config.name = talloc_strdup(mesh, config->name);
	mesh->peers = talloc_array(mesh, struct link_peer *, 0);
	mesh->flush = tevent_create_immediate(mesh);
	mesh->timer = mono_timer_new(mesh, ev, link_tick, mesh);
	if (mesh->config.name == NULL || mesh->peers == NULL || mesh->flush == NULL || mesh->timer == NULL) {
		talloc_free(mesh);
		return NULL;
	}
	talloc_set_destructor(mesh, link_mesh_destructor);
	return mesh;
}

static char *link_listen_error(TALLOC_CTX *mem, const struct link_config *config, const char *address, int ret)
{
	const char *hint =
		ret == EADDRINUSE ? "; is another instance running, or another program using this port?"
		: ret == EADDRNOTAVAIL
			? "; no interface of this host has this address: check the nodes file and the network"
			: "";

	return talloc_asprintf(mem, "cannot listen on %s:%u for mesh %s: %s%s", address, config->port, config->name,
			       strerror(ret), hint);
}

int link_mesh_new(TALLOC_CTX *mem, struct tevent_context *ev, const struct link_config *config,
		  const struct conf_nodes *nodes, const struct link_ops *ops, void *priv, struct link_mesh **result,
		  char **err)
{
	struct link_mesh *mesh;
	int ret;

	if (config->keys != NULL) {
		*err = talloc_asprintf(mem, "mesh %s: TLS is not there yet", config->name);
		return ENOTSUP;
	}
	if (config->own_pnn >= nodes->n || nodes->v[config->own_pnn].deleted || strlen(config->name) > 31 ||
	    config->max_frame < 4 || config->heartbeat_ms == 0 || config->dead_ms == 0 || config->incarnation == 0) {
		*err = talloc_asprintf(mem, "mesh %s: node %u is not in the nodes list, or a parameter is out of range",
				       config->name, config->own_pnn);
		return EINVAL;
	}
	mesh = link_mesh_alloc(mem, ev, config, ops, priv);
	if (mesh == NULL) {
		*err = talloc_asprintf(mem, "mesh %s: %s", config->name, strerror(ENOMEM));
		return ENOMEM;
	}
	mesh->addr = nodes->v[config->own_pnn].addr;
	ret = link_listen(mesh);
	if (ret != 0) {
		*err = link_listen_error(mem, config, nodes->v[config->own_pnn].text, ret);
		talloc_free(mesh);
		return ret;
	}
	mesh->next_heartbeat = mono_add_ms(mono_now(), config->heartbeat_ms);
	link_wake_at(mesh, mesh->next_heartbeat);
	ret = link_mesh_set_nodes(mesh, nodes);
	if (ret != 0) {
		*err = talloc_asprintf(mem, "mesh %s: %s", config->name, strerror(ret));
		talloc_free(mesh);
		return ret;
	}
	*result = mesh;
	return 0;
}

/* ---- use ---- */

int link_send(struct link_mesh *mesh, uint32_t pnn, uint32_t type, const struct iovec *parts, int n_parts)
{
	struct link_peer *peer = link_peer(mesh, pnn);
	size_t len = 0;
	int ret, i;

	for (i = 0; i < n_parts; i++) {
		len += parts[i].iov_len;
	}
	if (peer == NULL || peer->conn == NULL) {
		return EHOSTUNREACH;
	}
	if (type < LINK_USER_TYPE) {
		return EINVAL;
	}
	if (len > mesh->config.max_frame - 4) {
		return EMSGSIZE;
	}
	/* One frame is always taken, or one that is larger than the whole queue could never be sent. */
	if (peer->conn->queued > 0 && peer->conn->queued + LINK_HEADER + len > mesh->config.queue_bytes) {
		peer->congested = true;
		return ENOBUFS;
	}
	ret = link_out_append(peer->conn, type, parts, n_parts, len);
	if (ret == 0) {
		peer->stats.frames_out++;
		peer->congested |= peer->conn->queued > mesh->config.queue_bytes / 2;
	}
	return ret;
}

bool link_is_up(const struct link_mesh *mesh, uint32_t pnn)
{
	const struct link_peer *peer = link_peer(mesh, pnn);

	return peer != NULL && peer->conn != NULL;
}

size_t link_queued(const struct link_mesh *mesh, uint32_t pnn)
{
	const struct link_peer *peer = link_peer(mesh, pnn);

	return peer != NULL && peer->conn != NULL ? peer->conn->queued : 0;
}

uint64_t link_incarnation(const struct link_mesh *mesh, uint32_t pnn)
{
	const struct link_peer *peer = link_peer(mesh, pnn);

	return peer != NULL ? peer->incarnation : 0;
}

void link_drop(struct link_mesh *mesh, uint32_t pnn)
{
	struct link_peer *peer = link_peer(mesh, pnn);

	if (peer != NULL && peer->conn != NULL) {
		link_conn_end(peer->conn, false, ECONNABORTED, "dropped by this node");
	}
}

void link_stats(const struct link_mesh *mesh, uint32_t pnn, struct link_stats *stats)
{
	const struct link_peer *peer = link_peer(mesh, pnn);

	*stats = peer != NULL ? peer->stats : (struct link_stats){.up = false};
	if (peer != NULL) {
		stats->n_paths = 1;
		snprintf(stats->path[0].address, sizeof(stats->path[0].address), "%s", peer->text);
		stats->path[0].up = stats->path[0].active = stats->up;
		stats->path[0].rtt_us = stats->rtt_us;
		stats->path[0].security = stats->up ? "none" : "";
	}
}

int link_send_class(struct link_mesh *mesh, uint32_t pnn, enum link_class link_class, uint32_t type,
		    const struct iovec *parts, int n_parts)
{
	return link_send(mesh, pnn, type, parts, n_parts);
}

size_t link_queued_class(const struct link_mesh *mesh, uint32_t pnn, enum link_class link_class)
{
	return link_class == LINK_CLASS_CONTROL ? link_queued(mesh, pnn) : 0;
}

int link_mesh_set_keys(struct link_mesh *mesh, const struct cluster_keys *keys)
{
	return EINVAL; /* no mesh has keys yet */
}

uint32_t link_peer_version(const struct link_mesh *mesh, uint32_t pnn)
{
	return link_is_up(mesh, pnn) ? 1 : 0;
}
