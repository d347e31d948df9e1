/* Links: a connection from its beginning to its end, and reading from it. */
#include "shared/link_private.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
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
static struct link_conn *link_conn_new(struct link_peer *peer, int fd, bool outgoing, uint32_t timeout_ms)
{
	struct link_mesh *mesh = peer->mesh;
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
	conn->peer = peer;
	conn->state = outgoing ? LINK_CONN_CONNECTING : LINK_CONN_HELLO;
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
static void link_new_trim(struct link_mesh *mesh, const struct link_peer *peer)
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
		if (conn->peer == peer) {
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

static void link_accepted(struct link_mesh *mesh, int fd, const struct sockaddr_storage *addr)
{
	struct link_peer *peer = link_peer_by_addr(mesh, addr);
	char text[64];

	if (peer == NULL) {
		link_address_text(addr, text);
		log_ratelimited(LOG_LVL_WARNING, 10000,
				"%s: connection from %s refused: not the address of another node", mesh->config.name,
				text);
		close(fd);
		return;
	}
	link_new_trim(mesh, peer);
	link_no_delay(fd);
	if (link_conn_new(peer, fd, false, LINK_NEW_MS) != NULL) {
		mesh->n_new++;
	}
}

static bool link_out_of_resources(int err)
{
	return err == EMFILE || err == ENFILE || err == ENOBUFS || err == ENOMEM;
}

void link_accept(struct link_mesh *mesh)
{
	int i;

	for (i = 0; i < LINK_ACCEPT_BATCH; i++) {
		struct sockaddr_storage addr;
		socklen_t len = sizeof(addr);
		int fd = accept4(mesh->listen_fd, (struct sockaddr *)&addr, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd >= 0) {
			link_accepted(mesh, fd, &addr);
			continue;
		}
		if (link_out_of_resources(errno)) {
			/* It stays readable: asking again at once would spin. */
			log_ratelimited(LOG_LVL_ERROR, 1000, "%s: cannot accept connections for now: %s",
					mesh->config.name, strerror(errno));
			TEVENT_FD_NOT_READABLE(mesh->listen_fde);
			mesh->accept_again = mono_add_ms(mono_now(), 1000);
			link_wake_at(mesh, mesh->accept_again);
		}
		if (errno != ECONNABORTED && errno != EINTR) {
			return;
		}
	}
}

/* From the own node address, so that the other side knows who it is. */
static int link_connect_socket(const struct link_peer *peer, int *result)
{
	const struct link_mesh *mesh = peer->mesh;
	struct sockaddr_storage own = mesh->addr, to = peer->addr;
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
static void link_connect_failed(struct link_peer *peer, const char *why)
{
	char text[sizeof(peer->last_failure)];

	snprintf(text, sizeof(text), "%s", why);
	if (strcmp(peer->last_failure, text) != 0) {
		log_notice("%s: cannot connect to node %u (%s): %s", peer->mesh->config.name, peer->pnn, peer->text,
			   text);
		memcpy(peer->last_failure, text, sizeof(text));
	}
}

/* The next attempt after the present wait, less up to a quarter of it, and twice the wait for the one after that. */
static void link_connect_later(struct link_peer *peer)
{
	struct link_mesh *mesh = peer->mesh;
	struct mono now = mono_now();
	uint32_t wait = peer->wait_ms;

	wait -= (uint32_t)((now.ns / 1000) % (wait / 4 + 1));
	peer->connect_at = mono_add_ms(now, wait);
	peer->wait_ms = peer->wait_ms * 2 > mesh->reconnect_max_ms ? mesh->reconnect_max_ms : peer->wait_ms * 2;
	if (mesh->config.own_pnn > peer->pnn) {
		link_wake_at(mesh, peer->connect_at);
	}
}

void link_connect(struct link_peer *peer)
{
	uint32_t timeout = peer->mesh->config.dead_ms;
	int fd = -1;
	int ret = link_connect_socket(peer, &fd);

	if (ret == 0) {
		timeout = timeout < 1000 ? 1000 : timeout > LINK_NEW_MS ? LINK_NEW_MS : timeout;
		peer->out = link_conn_new(peer, fd, true, timeout);
		ret = peer->out == NULL ? ENOMEM : 0;
	}
	if (ret != 0) {
		link_connect_failed(peer, strerror(ret));
		link_connect_later(peer);
	}
}

static void link_conn_connected(struct link_conn *conn)
{
	int err = 0;
	socklen_t len = sizeof(err);

	if (getsockopt(conn->fd, SOL_SOCKET, SO_ERROR, &err, &len) != 0) {
		err = errno;
	}
	if (err == 0) {
		conn->state = LINK_CONN_HELLO;
		TEVENT_FD_NOT_WRITEABLE(conn->fde);
		err = link_hello_queue(conn);
	}
	if (err != 0) {
		link_conn_end(conn, true, err, strerror(err));
	}
}

void link_conn_up(struct link_conn *conn, uint64_t incarnation)
{
	struct link_mesh *mesh = conn->mesh;
	struct link_peer *peer = conn->peer;

	if (peer->conn != NULL) {
		/* Only now: anybody can make a connection, but this one is the node's. The old one is dead or will be.
		 */
		link_conn_end(peer->conn, true, ECONNRESET, "replaced by a new connection");
		if (conn->state == LINK_CONN_CLOSED) {
			return; /* down() changed the nodes list */
		}
	}
	dlist_remove(&conn->entry);
	if (conn->outgoing) {
		peer->out = NULL;
	} else {
		mesh->n_new--;
	}
	conn->state = LINK_CONN_UP;
	conn->received = conn->up_since = mono_now();
	peer->conn = conn;
	peer->wait_ms = mesh->config.reconnect_ms;
	peer->incarnation = incarnation;
	peer->congested = false;
	peer->last_failure[0] = '\0';
	peer->stats.up = true;
	peer->stats.ups++;
	link_wake_at(mesh, mono_add_ms(conn->received, mesh->config.dead_ms));
	log_notice("%s: link to node %u (%s) is up", mesh->config.name, peer->pnn, peer->text);
	mesh->ops->up(mesh->priv, peer->pnn, incarnation);
}

/* ---- end ---- */

static void link_conn_log_end(const struct link_conn *conn, enum link_conn_state was, int reason, const char *why)
{
	const struct link_mesh *mesh = conn->mesh;
	const struct link_peer *peer = conn->peer;

	if (was == LINK_CONN_UP) {
		log_notice("%s: link to node %u (%s) is down: %s", mesh->config.name, peer->pnn, peer->text, why);
	} else if (conn->outgoing) {
		link_connect_failed(conn->peer, why);
	} else {
		log_ratelimited(LOG_LVL_WARNING, 10000, "%s: connection from %s (node %u) closed: %s",
				mesh->config.name, peer->text, peer->pnn, why);
	}
}

void link_conn_end(struct link_conn *conn, bool told, int reason, const char *why)
{
	struct link_mesh *mesh = conn->mesh;
	struct link_peer *peer = conn->peer;
	enum link_conn_state was = conn->state;
	uint32_t pnn = peer->pnn;

	if (was == LINK_CONN_CLOSED) {
		return;
	}
	link_conn_log_end(conn, was, reason, why);
	conn->state = LINK_CONN_CLOSED;
	TALLOC_FREE(conn->fde);
	dlist_remove(&conn->entry);
	dlist_remove(&conn->dirty);
	if (was == LINK_CONN_UP) {
		peer->conn = NULL;
		peer->incarnation = 0;
		peer->congested = false;
		peer->stats.up = false;
	} else if (conn->outgoing) {
		peer->out = NULL;
	} else {
		mesh->n_new--;
	}
	if (was == LINK_CONN_UP || conn->outgoing) {
		link_connect_later(peer);
	}
	if (!conn->reading) {
		talloc_free(conn);
	}
	if (was == LINK_CONN_UP && told) {
		mesh->ops->down(mesh->priv, pnn, reason);
	}
}

/* ---- reading ---- */

static uint32_t link_get_u32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return be32toh(v);
}

static size_t link_frame_limit(const struct link_conn *conn)
{
	return conn->state == LINK_CONN_UP ? conn->mesh->config.max_frame : LINK_NEW_BUFFER - 4;
}

static void link_frame(struct link_conn *conn, uint32_t type, const uint8_t *data, size_t len)
{
	struct link_mesh *mesh = conn->mesh;

	if (conn->state != LINK_CONN_UP) {
		link_hello_frame(conn, type, data, len);
	} else if (type < LINK_USER_TYPE) {
		link_own_frame(conn, type, data, len);
	} else {
		conn->peer->stats.frames_in++;
		mesh->ops->frame(mesh->priv, conn->peer->pnn, type, data, len);
	}
}

/* Handles all complete frames. False: conn was closed meanwhile. *missing: bytes that the first incomplete frame takes
 * as a whole. */
static bool link_frames(struct link_conn *conn, size_t *need)
{
	*need = 4;
	while (conn->state != LINK_CONN_CLOSED && conn->end - conn->start >= 4) {
		const uint8_t *p = conn->buffer + conn->start;
		size_t len = link_get_u32(p);

		if (len < 4 || len > link_frame_limit(conn)) {
			link_conn_end(conn, true, EBADMSG,
				      len < 4 ? "malformed frame: too short" : "malformed frame: too long");
			break;
		}
		*need = 4 + len;
		if (conn->end - conn->start < *need) {
			break;
		}
		conn->start += *need;
		*need = 4;
		link_frame(conn, link_get_u32(p + 4), p + LINK_HEADER, len - 4);
	}
	return conn->state != LINK_CONN_CLOSED;
}

/* Makes room for a frame of need bytes at the front. Each partial frame is moved once, and its buffer grows once. */
static int link_buffer_arrange(struct link_conn *conn, size_t need)
{
	size_t left = conn->end - conn->start;
	size_t want = conn->state == LINK_CONN_UP ? LINK_BUFFER : LINK_NEW_BUFFER;
	uint8_t *buffer;

	want = need > want ? need : want;
	if (want > conn->capacity || (conn->capacity > LINK_BUFFER_KEEP && want < conn->capacity)) {
		buffer = talloc_array(conn, uint8_t, want);
		if (buffer == NULL) {
			return ENOMEM;
		}
		memcpy(buffer, conn->buffer + conn->start, left);
		talloc_free(conn->buffer);
		conn->buffer = buffer;
		conn->capacity = want;
	} else if (left > 0 && conn->start > 0) {
		memmove(conn->buffer, conn->buffer + conn->start, left);
	}
	conn->start = 0;
	conn->end = left;
	return 0;
}

static void link_conn_parse(struct link_conn *conn)
{
	struct link_mesh *mesh = conn->mesh;
	size_t need = 4;
	bool open;

	conn->reading = true;
	mesh->busy++;
	open = link_frames(conn, &need);
	mesh->busy--;
	conn->reading = false;
	if (!open) {
		talloc_free(conn);
	} else if (link_buffer_arrange(conn, need) != 0) {
		link_conn_end(conn, true, ENOMEM, "out of memory for a frame");
	}
}

/* One read per event, whatever is there: the loop serves the others before it comes back. */
static void link_conn_read(struct link_conn *conn)
{
	size_t room = conn->capacity - conn->end;
	ssize_t n = read(conn->fd, conn->buffer + conn->end, room < LINK_READ_MAX ? room : LINK_READ_MAX);

	if (n > 0) {
		conn->end += (size_t)n;
		conn->received = mono_now();
		conn->peer->stats.bytes_in += (size_t)n;
		link_conn_parse(conn);
	} else if (n == 0) {
		link_conn_end(conn, true, ECONNRESET, "closed by the other side");
	} else if (errno != EAGAIN && errno != EINTR) {
		int err = errno;

		link_conn_end(conn, true, err, strerror(err));
	}
}

static void link_conn_event(struct tevent_context *ev, struct tevent_fd *fde, uint16_t flags, void *priv)
{
	struct link_conn *conn = priv;

	if (conn->state == LINK_CONN_CONNECTING) {
		link_conn_connected(conn);
		return;
	}
	if ((flags & TEVENT_FD_WRITE) != 0) {
		/* What is written may end the connection; both directions are served in one event nevertheless. */
		conn->reading = true;
		conn->mesh->busy++;
		link_out_flush(conn);
		conn->mesh->busy--;
		conn->reading = false;
		if (conn->state == LINK_CONN_CLOSED) {
			talloc_free(conn);
			return;
		}
	}
	if ((flags & TEVENT_FD_READ) != 0) {
		link_conn_read(conn);
	}
}
