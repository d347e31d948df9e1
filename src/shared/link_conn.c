/* Links: a connection from its beginning to its end, and reading from it. */
#include "shared/link_private.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "shared/log.h"

static void link_conn_event(struct tevent_context *ev, struct tevent_fd *fde, uint16_t flags, void *priv);

void link_address_text(const struct sockaddr_storage *addr, char text[64])
{
	const void *raw = &((const struct sockaddr_in *)(const void *)addr)->sin_addr;

	if (addr->ss_family == AF_INET6) {
		raw = &((const struct sockaddr_in6 *)(const void *)addr)->sin6_addr;
	}
	if (inet_ntop(addr->ss_family, raw, text, 64) == NULL) {
		snprintf(text, 64, "(address family %u)", addr->ss_family);
	}
}

static socklen_t link_address_len(const struct sockaddr_storage *addr)
{
	return addr->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
}

/* ---- beginning ---- */

/* Takes fd over, also on failure. */
static struct link_conn *link_conn_new(struct link_path *path, int fd, bool outgoing, uint32_t timeout_ms)
{
	struct link_mesh *mesh = path->peer->mesh;
	struct link_conn *conn = talloc_zero(mesh, struct link_conn);
	uint16_t flags = outgoing ? TEVENT_FD_READ | TEVENT_FD_WRITE : TEVENT_FD_READ;

	if (conn != NULL) {
		conn->fde = tevent_add_fd(mesh->ev, conn, fd, flags, link_conn_event, conn);
		conn->buffer = talloc_array(conn, uint8_t, LINK_NEW_BUFFER);
	}
	if (conn == NULL || conn->fde == NULL || conn->buffer == NULL) {
		talloc_free(conn);
		close(fd);
		return NULL;
	}
	tevent_fd_set_auto_close(conn->fde);
	conn->mesh = mesh;
	conn->path = path;
	conn->state = outgoing ? LINK_CONN_CONNECTING : mesh->tls != NULL ? LINK_CONN_TLS : LINK_CONN_HELLO;
	conn->outgoing = outgoing;
	conn->fd = fd;
	conn->capacity = LINK_NEW_BUFFER;
	dlist_init(&conn->chunks);
	dlist_add_tail(&mesh->new, &conn->entry);
	conn->deadline = mono_add_ms(mono_now(), timeout_ms);
	link_wake_at(mesh, conn->deadline);
	return conn;
}

static void link_no_delay(int fd)
{
	int on = 1;

	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

/* Keeps connections without hello within their bounds: the oldest, first of the same address, gives way to a newcomer.
 */
static void link_new_trim(struct link_mesh *mesh, const struct link_path *path)
{
	struct link_conn *oldest = NULL, *oldest_same = NULL;
	unsigned same = 0;

	dlist_for_each(pos, &mesh->new)
	{
		struct link_conn *conn = dlist_entry(pos, struct link_conn, entry);

		if (conn->outgoing) {
			continue;
		}
		oldest = oldest != NULL ? oldest : conn;
		if (conn->path == path) {
			oldest_same = oldest_same != NULL ? oldest_same : conn;
			same++;
		}
	}
	if (same >= LINK_NEW_PER_PEER) {
		link_conn_end(oldest_same, true, EMFILE, "too many connections from this address without a hello");
	} else if (mesh->n_new >= LINK_NEW_MAX) {
		link_conn_end(oldest, true, EMFILE, "too many connections without a hello");
	}
}

static void link_accepted(struct link_mesh *mesh, uint32_t own, int fd, const struct sockaddr_storage *addr)
{
	struct link_path *path = link_path_by_addr(mesh, own, addr);
	struct link_path *stranger = path != NULL ? NULL : link_stranger_path(mesh, own, addr);
	struct link_conn *conn;
	char text[64];

	if (path == NULL && stranger == NULL) {
		link_address_text(addr, text);
		log_ratelimited(LOG_LVL_WARNING, 10000,
				"%s: connection from %s refused: not the address of another node%s", mesh->config.name,
				text, mesh->n_addrs > 1 ? " on this path" : "");
		close(fd);
		return;
	}
	if (path != NULL) {
		link_new_trim(mesh, path);
	}
	link_no_delay(fd);
	conn = link_conn_new(path != NULL ? path : stranger, fd, false, LINK_NEW_MS);
	if (conn != NULL) {
		mesh->n_new++;
		conn->stranger = stranger != NULL ? talloc_steal(conn, stranger->peer) : NULL;
	} else if (stranger != NULL) {
		talloc_free(stranger->peer);
	}
}

static bool link_out_of_resources(int err)
{
	return err == EMFILE || err == ENFILE || err == ENOBUFS || err == ENOMEM;
}

/* Listening stays readable: asking again at once would spin. */
static void link_accept_later(struct link_mesh *mesh, int err)
{
	uint32_t i;

	log_ratelimited(LOG_LVL_ERROR, 1000, "%s: cannot accept connections for now: %s", mesh->config.name,
			strerror(err));
	for (i = 0; i < mesh->n_addrs; i++) {
		TEVENT_FD_NOT_READABLE(mesh->listen_fde[i]);
	}
	mesh->accept_again = mono_add_ms(mono_now(), 1000);
	link_wake_at(mesh, mesh->accept_again);
}

void link_accept(struct link_mesh *mesh, uint32_t own)
{
	int i;

	for (i = 0; i < LINK_ACCEPT_BATCH; i++) {
		struct sockaddr_storage addr;
		socklen_t len = sizeof(addr);
		int fd = accept4(mesh->listen_fd[own], (struct sockaddr *)&addr, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd >= 0) {
			link_accepted(mesh, own, fd, &addr);
			continue;
		}
		if (link_out_of_resources(errno)) {
			link_accept_later(mesh, errno);
			return;
		}
		if (errno != ECONNABORTED && errno != EINTR) {
			return;
		}
	}
}

/* From the own address of the path, so that the other side knows who it is. */
static int link_connect_socket(const struct link_path *path, int *result)
{
	const struct link_mesh *mesh = path->peer->mesh;
	struct sockaddr_storage own = mesh->addrs[path->own], to = path->addr;
	int fd = socket(own.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int on = 1;

	if (fd < 0) {
		return errno;
	}
	((struct sockaddr_in *)&own)->sin_port = 0; /* the same place in sockaddr_in6 */
	((struct sockaddr_in *)&to)->sin_port = htons(mesh->config.port);
	(void)setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on));
	link_no_delay(fd);
	if (bind(fd, (struct sockaddr *)&own, link_address_len(&own)) != 0 ||
	    (connect(fd, (struct sockaddr *)&to, link_address_len(&to)) != 0 && errno != EINPROGRESS)) {
		int err = errno;

		close(fd);
		return err;
	}
	*result = fd;
	return 0;
}

/* Logged when it is something else than the last time: it may go on for days. */
static void link_connect_failed(struct link_path *path, const char *why)
{
	const struct link_peer *peer = path->peer;
	char text[sizeof(path->last_failure)];

	snprintf(text, sizeof(text), "%s", why);
	if (strcmp(path->last_failure, text) != 0) {
		log_notice("%s: cannot connect to node %u (%s): %s", peer->mesh->config.name, peer->pnn, path->text,
			   text);
		memcpy(path->last_failure, text, sizeof(text));
	}
}

/* The next attempt after the present wait, less up to a quarter of it, and twice the wait for the one after that. */
void link_connect_later(struct link_path *path)
{
	struct link_mesh *mesh = path->peer->mesh;
	struct mono now = mono_now();
	uint32_t wait = path->wait_ms;

	wait -= (uint32_t)((now.ns / 1000) % (wait / 4 + 1));
	path->connect_at = mono_add_ms(now, wait);
	path->wait_ms = path->wait_ms * 2 > mesh->reconnect_max_ms ? mesh->reconnect_max_ms : path->wait_ms * 2;
	if (link_connects(path->peer)) {
		link_wake_at(mesh, path->connect_at);
	}
}

static void link_connect_begun(struct link_path *path, int fd)
{
	struct link_mesh *mesh = path->peer->mesh;
	uint32_t timeout = mesh->config.dead_ms;
	uint32_t i;

	timeout = timeout < 1000 ? 1000 : timeout > LINK_NEW_MS ? LINK_NEW_MS : timeout;
	path->out = link_conn_new(path, fd, true, timeout);
	if (path->out == NULL) {
		return;
	}
	for (i = 0; i < LINK_CLASSES - 1 && path->conn[i] != NULL; i++) {
		path->out->link_class = i + 1;
	}
	path->out->bundle = path->conn[0] != NULL ? path->bundle : ++mesh->bundles;
}

/* The first class that has no connection. What fails here takes the path along. */
void link_connect(struct link_path *path)
{
	int fd = -1;
	int ret = link_connect_socket(path, &fd);

	if (ret == 0) {
		link_connect_begun(path, fd);
		ret = path->out == NULL ? ENOMEM : 0;
	}
	if (ret != 0) {
		link_connect_failed(path, strerror(ret));
		link_path_end(path, false, ret);
	}
}

static int link_conn_begin_tls(struct link_conn *conn)
{
	conn->state = LINK_CONN_TLS;
	conn->tls = link_tls_new(conn, conn->mesh->tls, true);
	return conn->tls == NULL ? ENOMEM : 0;
}

static void link_conn_connected(struct link_conn *conn)
{
	int err = 0;
	socklen_t len = sizeof(err);

	if (getsockopt(conn->fd, SOL_SOCKET, SO_ERROR, &err, &len) != 0) {
		err = errno;
	}
	if (err == 0) {
		TEVENT_FD_NOT_WRITEABLE(conn->fde);
		if (conn->mesh->tls != NULL) {
			err = link_conn_begin_tls(conn);
		} else {
			conn->state = LINK_CONN_HELLO;
			err = link_hello_queue(conn);
		}
	}
	if (err != 0) {
		link_conn_end(conn, true, err, strerror(err));
	} else if (conn->tls != NULL) {
		link_tls_begin(conn);
	}
}

/* ---- end ---- */

static void link_conn_log_end(const struct link_conn *conn, const char *why)
{
	struct link_path *path = conn->path;
	const struct link_peer *peer = path->peer;
	const char *mesh = conn->mesh->config.name;

	if (conn->state == LINK_CONN_UP && peer->active == path) {
		log_notice("%s: link to node %u (%s) is down: %s", mesh, peer->pnn, path->text, why);
	} else if (conn->state == LINK_CONN_UP) {
		log_info("%s: path %u to node %u (%s) is down: %s", mesh, path->index, peer->pnn, path->text, why);
	} else if (conn->outgoing) {
		link_connect_failed(path, why);
	} else if (conn->asked == LINK_ASKED_ANSWERED) {
		log_debug("%s: connection from %s closed: %s", mesh, path->text, why);
	} else if (conn->stranger != NULL) {
		log_ratelimited(LOG_LVL_WARNING, 10000,
				"%s: connection from %s closed: not the address of another node, and %s", mesh,
				path->text, why);
	} else {
		log_ratelimited(LOG_LVL_WARNING, 10000, "%s: connection from %s (node %u) closed: %s", mesh, path->text,
				peer->pnn, why);
	}
}

void link_conn_close(struct link_conn *conn)
{
	struct link_path *path = conn->path;

	if (conn->state == LINK_CONN_CLOSED) {
		return;
	}
	if (conn->state != LINK_CONN_UP && !conn->outgoing) {
		conn->mesh->n_new--;
	}
	if (path->out == conn) {
		path->out = NULL;
	}
	conn->state = LINK_CONN_CLOSED;
	TALLOC_FREE(conn->fde);
	dlist_remove(&conn->entry);
	dlist_remove(&conn->dirty);
	link_out_release(conn);
	if (!conn->serving) {
		talloc_free(conn);
	}
}

void link_conn_end(struct link_conn *conn, bool told, int reason, const char *why)
{
	struct link_path *path = conn->path;
	bool alone = conn->state != LINK_CONN_UP && !conn->outgoing;

	if (conn->state == LINK_CONN_CLOSED) {
		return;
	}
	link_conn_log_end(conn, why);
	if (alone) {
		link_conn_close(conn);
		return;
	}
	if (conn->state != LINK_CONN_UP) {
		link_conn_close(conn);
	}
	link_path_end(path, told, reason);
}

bool link_hung_up(const struct link_conn *conn)
{
	struct pollfd p = {.fd = conn->fd, .events = POLLRDHUP};

	return poll(&p, 1, 0) > 0 && (p.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
}

bool link_has_unread(const struct link_conn *conn)
{
	char byte;

	return recv(conn->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

/* ---- events ---- */

/* What is read or written may end the connection; both directions are served in one event nevertheless. */
static void link_conn_event(struct tevent_context *ev, struct tevent_fd *fde, uint16_t flags, void *priv)
{
	struct link_conn *conn = priv;
	struct link_mesh *mesh = conn->mesh;

	conn->serving = true;
	mesh->busy++;
	if (conn->state == LINK_CONN_CONNECTING) {
		link_conn_connected(conn);
	} else {
		if ((flags & TEVENT_FD_WRITE) != 0) {
			link_out_flush(conn);
		}
		if ((flags & TEVENT_FD_READ) != 0 && conn->state != LINK_CONN_CLOSED) {
			link_conn_read(conn);
		}
	}
	mesh->busy--;
	conn->serving = false;
	if (conn->state == LINK_CONN_CLOSED) {
		talloc_free(conn);
	}
}
