/* Links: the mesh, and what its user calls. Promises: shared/link.h. */
#include "shared/link_private.h"

#include <assert.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "shared/log.h"

#define LINK_BACKLOG 128

struct link_peer *link_peer(const struct link_mesh *mesh, uint32_t pnn)
{
	return pnn < mesh->n_peers ? mesh->peers[pnn] : NULL;
}

/* ---- making and freeing ---- */

static void link_listen_event(struct tevent_context *ev, struct tevent_fd *fde, uint16_t flags, void *priv)
{
	struct link_mesh *mesh = priv;
	uint32_t i;

	for (i = 0; i < mesh->n_addrs; i++) {
		if (mesh->listen_fde[i] == fde) {
			link_accept(mesh, i);
		}
	}
}

/* A back-up address may come later, with its interface: the node must start without it. */
static void link_listen_early(int fd, uint32_t i)
{
	int on = 1;

	if (i > 0) {
		(void)setsockopt(fd, IPPROTO_IP, IP_FREEBIND, &on, sizeof(on));
		(void)setsockopt(fd, IPPROTO_IPV6, IPV6_FREEBIND, &on, sizeof(on));
	}
}

static int link_listen(struct link_mesh *mesh, uint32_t i)
{
	struct sockaddr_storage *addr = &mesh->addrs[i];
	socklen_t len = addr->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
	int on = 1;
	int fd = socket(addr->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0) {
		return errno;
	}
	mesh->listen_fd[i] = fd;
	((struct sockaddr_in *)addr)->sin_port = htons(mesh->config.port); /* the same place in sockaddr_in6 */
	link_listen_early(fd, i);
	/* Only over connections of a former run that linger; another listener is still an error. */
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
	    bind(fd, (struct sockaddr *)addr, len) != 0 || listen(fd, LINK_BACKLOG) != 0) {
		int err = errno;

		close(fd);
		return err;
	}
	mesh->listen_fde[i] = tevent_add_fd(mesh->ev, mesh, fd, TEVENT_FD_READ, link_listen_event, mesh);
	if (mesh->listen_fde[i] == NULL) {
		close(fd);
		return ENOMEM;
	}
	tevent_fd_set_auto_close(mesh->listen_fde[i]);
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
	mesh->bundles = mono_now().ns; /* no number of a former run */
	dlist_init(&mesh->spare);
	dlist_init(&mesh->new);
	dlist_init(&mesh->dirty);
	mesh->config.keys = NULL;
	if (mesh->config.reconnect_ms == 0) {
		mesh->config.reconnect_ms = 1; /* doubling must get somewhere */
	}
	if (mesh->config.interface_oldest == 0) {
		mesh->config.interface_oldest = 1;
	}
	if (mesh->config.n_classes == 0 || config->interface_version < LINK_INTERFACE_PATHS) {
		mesh->config.n_classes = 1;
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

static bool link_config_valid(const struct link_config *config, const struct conf_nodes *nodes)
{
	return config->own_pnn < nodes->n && !nodes->v[config->own_pnn].deleted && strlen(config->name) <= 31 &&
	       config->max_frame >= 4 && config->heartbeat_ms > 0 && config->dead_ms > 0 && config->incarnation != 0 &&
	       config->interface_version > 0 && config->interface_oldest <= config->interface_version &&
	       config->n_classes <= LINK_CLASSES;
}

static int link_mesh_tls(struct link_mesh *mesh, const struct cluster_keys *keys)
{
	if (keys == NULL) {
		return 0;
	}
	mesh->scratch = talloc_array(mesh, uint8_t, LINK_READ_MAX);
	return mesh->scratch == NULL ? ENOMEM : link_tls_mesh_new(mesh, keys, &mesh->tls);
}

/* A version 1 node listens on its first address only: its peers expect no other. */
static uint32_t link_own_addrs(const struct link_config *config, const struct conf_node *own)
{
	uint32_t n = own->n_addrs < LINK_PATHS ? own->n_addrs : LINK_PATHS;

	return n == 0 || config->interface_version < LINK_INTERFACE_PATHS ? 1 : n;
}

/* All but the other nodes. */
static int link_mesh_begin(TALLOC_CTX *mem, struct link_mesh *mesh, const struct link_config *config,
			   const struct conf_node *own, char **err)
{
	int ret = link_mesh_tls(mesh, config->keys);

	if (ret != 0) {
		*err = talloc_asprintf(mem, "mesh %s: TLS: %s", config->name, strerror(ret));
		return ret;
	}
	for (; mesh->n_addrs < link_own_addrs(config, own); mesh->n_addrs++) {
		mesh->addrs[mesh->n_addrs] = own->n_addrs == 0 ? own->addr : own->addrs[mesh->n_addrs];
		ret = link_listen(mesh, mesh->n_addrs);
		if (ret != 0) {
			*err = link_listen_error(mem, config,
						 mesh->n_addrs == 0 ? own->text : own->texts[mesh->n_addrs], ret);
			return ret;
		}
	}
	return 0;
}

int link_mesh_new(TALLOC_CTX *mem, struct tevent_context *ev, const struct link_config *config,
		  const struct conf_nodes *nodes, const struct link_ops *ops, void *priv, struct link_mesh **result,
		  char **err)
{
	struct link_mesh *mesh;
	int ret;

	if (!link_config_valid(config, nodes)) {
		*err = talloc_asprintf(mem, "mesh %s: node %u is not in the nodes list, or a parameter is out of range",
				       config->name, config->own_pnn);
		return EINVAL;
	}
	mesh = link_mesh_alloc(mem, ev, config, ops, priv);
	if (mesh == NULL) {
		*err = talloc_asprintf(mem, "mesh %s: %s", config->name, strerror(ENOMEM));
		return ENOMEM;
	}
	ret = link_mesh_begin(mem, mesh, config, &nodes->v[config->own_pnn], err);
	if (ret != 0) {
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

int link_mesh_set_keys(struct link_mesh *mesh, const struct cluster_keys *keys)
{
	return mesh->tls == NULL ? EINVAL : link_tls_mesh_set_keys(mesh->tls, keys);
}

/* ---- use ---- */

/* Of a class that the other side has no connection for: the control connection. NULL: down. */
static struct link_conn *link_conn_of(const struct link_mesh *mesh, uint32_t pnn, enum link_class link_class)
{
	const struct link_peer *peer = link_peer(mesh, pnn);

	if (peer == NULL || peer->active == NULL) {
		return NULL;
	}
	return peer->active->conn[link_class < peer->active->n_classes ? link_class : LINK_CLASS_CONTROL];
}

int link_send_class(struct link_mesh *mesh, uint32_t pnn, enum link_class link_class, uint32_t type,
		    const struct iovec *parts, int n_parts)
{
	struct link_conn *conn = link_conn_of(mesh, pnn, link_class);
	size_t len = 0;
	int ret, i;

	for (i = 0; i < n_parts; i++) {
		len += parts[i].iov_len;
	}
	if (conn == NULL) {
		return EHOSTUNREACH;
	}
	if (type < LINK_USER_TYPE) {
		return EINVAL;
	}
	if (len > mesh->config.max_frame - 4) {
		return EMSGSIZE;
	}
	/* One frame is always taken, or one that is larger than the whole queue could never be sent. */
	if (conn->queued > 0 && conn->queued + LINK_HEADER + len > mesh->config.queue_bytes) {
		conn->congested = true;
		return ENOBUFS;
	}
	ret = link_out_append(conn, type, parts, n_parts, len);
	if (ret == 0) {
		conn->path->peer->stats.frames_out++;
		conn->congested |= conn->queued > mesh->config.queue_bytes / 2;
	}
	return ret;
}

int link_send(struct link_mesh *mesh, uint32_t pnn, uint32_t type, const struct iovec *parts, int n_parts)
{
	return link_send_class(mesh, pnn, LINK_CLASS_CONTROL, type, parts, n_parts);
}

bool link_is_up(const struct link_mesh *mesh, uint32_t pnn)
{
	return link_conn_of(mesh, pnn, LINK_CLASS_CONTROL) != NULL;
}

size_t link_queued_class(const struct link_mesh *mesh, uint32_t pnn, enum link_class link_class)
{
	const struct link_conn *conn = link_conn_of(mesh, pnn, link_class);

	return conn != NULL ? conn->queued : 0;
}

size_t link_queued(const struct link_mesh *mesh, uint32_t pnn)
{
	const struct link_peer *peer = link_peer(mesh, pnn);
	size_t queued = 0;
	uint32_t i;

	for (i = 0; peer != NULL && peer->active != NULL && i < peer->active->n_classes; i++) {
		queued += peer->active->conn[i]->queued;
	}
	return queued;
}

uint64_t link_incarnation(const struct link_mesh *mesh, uint32_t pnn)
{
	return link_is_up(mesh, pnn) ? link_peer(mesh, pnn)->incarnation : 0;
}

uint32_t link_peer_version(const struct link_mesh *mesh, uint32_t pnn)
{
	return link_is_up(mesh, pnn) ? link_peer(mesh, pnn)->active->version : 0;
}

void link_drop(struct link_mesh *mesh, uint32_t pnn)
{
	struct link_peer *peer = link_peer(mesh, pnn);
	uint32_t i;

	if (peer == NULL || peer->active == NULL) {
		return;
	}
	log_notice("%s: link to node %u (%s) is down: dropped by this node", mesh->config.name, pnn,
		   peer->active->text);
	for (i = 0; i < peer->n_paths; i++) {
		link_path_end(peer->path[i], false, ECONNABORTED);
	}
}

static void link_path_stats(const struct link_path *path, struct link_path_stats *stats)
{
	const struct link_conn *conn = path->conn[0];

	*stats = (struct link_path_stats){
		.up = link_path_ready(path), .active = path->peer->active == path, .security = ""};
	snprintf(stats->address, sizeof(stats->address), "%s", path->text);
	if (stats->up) {
		stats->rtt_us = conn->rtt_us;
		stats->security = conn->tls != NULL ? "tls" : "none";
		snprintf(stats->key_id, sizeof(stats->key_id), "%s",
			 conn->tls != NULL ? link_tls_key_id(conn->tls) : "");
	}
}

void link_stats(const struct link_mesh *mesh, uint32_t pnn, struct link_stats *stats)
{
	const struct link_peer *peer = link_peer(mesh, pnn);

	*stats = peer != NULL ? peer->stats : (struct link_stats){.up = false};
	for (; peer != NULL && stats->n_paths < peer->n_paths; stats->n_paths++) {
		link_path_stats(peer->path[stats->n_paths], &stats->path[stats->n_paths]);
	}
}
