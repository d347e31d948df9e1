/* Links: the frames of their own: hello, refused, ping, pong. */
#include "shared/link_private.h"

#include <ctype.h>
#include <stdio.h>
#include <sys/socket.h>

#include "shared/log.h"

int link_hello_queue(struct link_conn *conn)
{
	const struct link_config *config = &conn->mesh->config;
	char mesh[32];
	struct link_hello hello = {
		.magic = LINK_MAGIC,
		.version = LINK_VERSION,
		.mesh = mesh,
		.from_pnn = config->own_pnn,
		.to_pnn = conn->path->peer->pnn,
		.incarnation = config->incarnation,
		.interface_version = config->interface_version,
		.interface_oldest = config->interface_oldest,
		.path = conn->path->index,
		.link_class = conn->link_class,
		.n_classes = config->n_classes,
		.bundle = conn->bundle,
	};
	struct ctdb_blob blob;
	int ret;

	snprintf(mesh, sizeof(mesh), "%s", config->name);
	ret = link_hello_encode(conn, &hello, &blob);
	if (ret == 0) {
		struct iovec part = {.iov_base = blob.data, .iov_len = blob.len};

		ret = link_out_append(conn, LINK_FRAME_HELLO, &part, 1, blob.len);
		talloc_free(blob.data);
	}
	return ret;
}

static void link_printable(char *s)
{
	for (; *s != '\0'; s++) {
		if (!isprint((unsigned char)*s)) {
			*s = '?';
		}
	}
}

/* One run of a daemon speaks one version: with version 1 there is one path, so none beside it. */
static bool link_hello_breaks_version(const struct link_conn *conn, const struct link_hello *h)
{
	const struct link_peer *peer = conn->path->peer;
	uint32_t own = conn->mesh->config.interface_version, i;

	if (h->interface_version >= LINK_INTERFACE_PATHS && own >= LINK_INTERFACE_PATHS) {
		return false;
	}
	for (i = 0; h->incarnation == peer->incarnation && i < peer->n_paths; i++) {
		if (peer->path[i] != conn->path && peer->path[i]->conn[0] != NULL) {
			return true;
		}
	}
	return conn->path->index > 0;
}

/* What is wrong with its place among the connections: false and why. A version 1 hello says path 0, class 0. */
static bool link_hello_check_path(const struct link_conn *conn, const struct link_hello *h, char *why, size_t room)
{
	const struct link_path *path = conn->path;

	if (h->path != path->index) {
		snprintf(why, room, "it says path %u, the addresses are those of path %u", h->path, path->index);
	} else if (link_hello_breaks_version(conn, h)) {
		snprintf(why, room, "it speaks interface version 1, which has no path but the first");
	} else if (conn->outgoing && h->interface_version >= LINK_INTERFACE_PATHS &&
		   (h->link_class != conn->link_class || h->bundle != conn->bundle)) {
		snprintf(why, room, "it answers for another connection");
	} else if (!conn->outgoing && h->link_class != LINK_CLASS_CONTROL &&
		   (h->link_class >= path->n_classes || path->conn[0] == NULL || path->bundle != h->bundle)) {
		snprintf(why, room, "there is no control connection that class %u belongs to", h->link_class);
	} else if (!conn->outgoing && h->link_class != LINK_CLASS_CONTROL && path->conn[h->link_class] != NULL) {
		snprintf(why, room, "there is a connection of class %u already", h->link_class);
	} else {
		return true;
	}
	return false;
}

/* What is wrong with it: false and why. */
static bool link_hello_check(const struct link_conn *conn, struct link_hello *h, char *why, size_t room)
{
	const struct link_config *config = &conn->mesh->config;
	const struct link_peer *peer = conn->path->peer;

	link_printable(h->mesh);
	if (h->magic != LINK_MAGIC) {
		snprintf(why, room, "it does not speak this protocol (magic number 0x%x)", h->magic);
	} else if (h->version != LINK_VERSION) {
		snprintf(why, room, "it speaks link version %u, we speak %u", h->version, LINK_VERSION);
	} else if (strcmp(h->mesh, config->name) != 0) {
		snprintf(why, room, "it belongs to mesh '%s', this is '%s'", h->mesh, config->name);
	} else if (h->from_pnn != peer->pnn) {
		snprintf(why, room, "it says it is node %u, but its address is that of node %u", h->from_pnn,
			 peer->pnn);
	} else if (h->to_pnn != config->own_pnn) {
		snprintf(why, room, "it takes us for node %u, we are node %u", h->to_pnn, config->own_pnn);
	} else if (!conn->outgoing && h->from_pnn < config->own_pnn) {
		snprintf(why, room, "node %u must wait for node %u to connect", h->from_pnn, config->own_pnn);
	} else if (h->incarnation == 0) {
		snprintf(why, room, "its incarnation is 0");
	} else if (h->interface_oldest > config->interface_version || h->interface_version < config->interface_oldest) {
		snprintf(why, room, "it speaks interface versions %u to %u, we speak %u to %u", h->interface_oldest,
			 h->interface_version, config->interface_oldest, config->interface_version);
	} else {
		return link_hello_check_path(conn, h, why, room);
	}
	return false;
}

/* The frame with why; its length, or 0. */
static size_t link_refused_frame(const char *why, uint8_t *frame, size_t room)
{
	char reason[160];
	struct link_refused refused = {.reason = reason};
	struct xdr_out out = {.p = frame, .end = frame + room};

	snprintf(reason, sizeof(reason), "%s", why);
	xdr_put_u32(&out, (uint32_t)(4 + link_refused_size(&refused)));
	xdr_put_u32(&out, LINK_FRAME_REFUSED);
	link_refused_put(&out, &refused);
	return out.err == 0 ? (size_t)(out.p - frame) : 0;
}

void link_refuse(struct link_conn *conn, const char *why)
{
	uint8_t frame[LINK_HEADER + 256];
	size_t len = link_refused_frame(why, frame, sizeof(frame));

	(void)send(conn->fd, frame, len, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* One attempt, encrypted if the connection is; the other side can do without. */
static void link_hello_refuse(struct link_conn *conn, const char *why)
{
	uint8_t frame[LINK_HEADER + 256];
	size_t len = link_refused_frame(why, frame, sizeof(frame)), taken;
	const uint8_t *data;

	if (conn->tls == NULL) {
		link_refuse(conn, why);
	} else if (link_tls_write(conn->tls, frame, len, &taken) == 0) {
		len = link_tls_out(conn->tls, &data);
		(void)send(conn->fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT);
	}
}

static void link_hello_refused(struct link_conn *conn, const uint8_t *data, size_t len)
{
	struct link_refused refused;
	char room[LINK_REFUSED_VIEW_ROOM], why[256];

	if (link_refused_view_at(data, len, &refused, room) != 0) {
		link_conn_end(conn, true, EBADMSG, "malformed refusal");
		return;
	}
	link_printable(refused.reason);
	snprintf(why, sizeof(why), "refused by it: %.200s", refused.reason);
	link_conn_end(conn, true, ECONNREFUSED, why);
}

/*
 * While we were stalled the other side may have tried several times, each time with a good hello, and given up: those
 * connections must not come up only to go down at once.
 */
static bool link_given_up(const struct link_conn *conn)
{
	char byte;
	ssize_t n = recv(conn->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);

	return n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR);
}

void link_hello_frame(struct link_conn *conn, uint32_t type, const uint8_t *data, size_t len)
{
	struct link_hello hello;
	char room[LINK_HELLO_VIEW_ROOM], why[160];

	if (type == LINK_FRAME_REFUSED && conn->outgoing) {
		link_hello_refused(conn, data, len);
		return;
	}
	if (conn->asked != LINK_ASKED_NOTHING) {
		link_conn_end(conn, true, EBADMSG, "it sent more than one frame MOVED");
		return;
	}
	if (type == LINK_FRAME_MOVED && !conn->outgoing) {
		link_moved_frame(conn, data, len);
		return;
	}
	if (conn->stranger != NULL) {
		link_hello_refuse(conn, "your address is not in the nodes list here");
		link_conn_end(conn, true, EBADMSG, "it does not say that it has moved");
		return;
	}
	if (type != LINK_FRAME_HELLO || link_hello_view_at(data, len, &hello, room) != 0) {
		link_conn_end(conn, true, EBADMSG, "its first frame is not a valid hello");
		return;
	}
	if (!link_hello_check(conn, &hello, why, sizeof(why))) {
		link_hello_refuse(conn, why);
		link_conn_end(conn, true, EPROTO, why);
		return;
	}
	if (link_given_up(conn)) {
		link_conn_end(conn, true, ECONNRESET, "closed by the other side before its hello was answered");
		return;
	}
	if (!conn->outgoing) {
		conn->link_class = hello.link_class;
		conn->bundle = hello.bundle;
		if (link_hello_queue(conn) != 0) {
			link_conn_end(conn, true, ENOMEM, "out of memory");
			return;
		}
	}
	link_path_join(conn, &hello);
}

/* Both are one number. */
static int link_number_queue(struct link_conn *conn, uint32_t type, uint64_t number)
{
	uint8_t data[8];
	struct xdr_out out = {.p = data, .end = data + sizeof(data)};
	struct iovec part = {.iov_base = data, .iov_len = sizeof(data)};

	if (type == LINK_FRAME_USE) {
		link_use_put(&out, &(const struct link_use){.generation = number});
	} else {
		link_ping_put(&out, &(const struct link_ping){.stamp = number});
	}
	return out.err != 0 ? out.err : link_out_append(conn, type, &part, 1, sizeof(data));
}

void link_ping_queue(struct link_conn *conn, uint32_t type, uint64_t stamp)
{
	/* If there is no memory for it, it is as if it was lost; the other side notices if that goes on. */
	(void)link_number_queue(conn, type, stamp);
}

int link_use_queue(struct link_conn *conn, uint64_t generation)
{
	return link_number_queue(conn, LINK_FRAME_USE, generation);
}

static void link_pong(struct link_conn *conn, uint64_t stamp)
{
	struct link_stats *stats = &conn->path->peer->stats;
	uint64_t now = mono_now().ns;

	/* Only what we may have sent on this connection. */
	if (stamp < conn->up_since.ns || stamp > now) {
		return;
	}
	conn->rtt_us = (now - stamp) / MONO_NS_PER_US;
	if (conn->used && conn->link_class == LINK_CLASS_CONTROL) {
		stats->rtt_us = conn->rtt_us;
		stats->rtt_max_us = conn->rtt_us > stats->rtt_max_us ? conn->rtt_us : stats->rtt_max_us;
	}
}

void link_own_frame(struct link_conn *conn, uint32_t type, const uint8_t *data, size_t len)
{
	struct xdr_in in = {.p = data, .end = data + len};
	struct link_ping ping;
	struct link_use use;

	if (type == LINK_FRAME_USE) {
		link_use_get(&in, conn, &use);
	} else if (type == LINK_FRAME_PING || type == LINK_FRAME_PONG) {
		link_ping_get(&in, conn, &ping);
	} else {
		link_conn_end(conn, true, EBADMSG, "unexpected type of frame");
		return;
	}
	if (in.err != 0) {
		link_conn_end(conn, true, EBADMSG, type == LINK_FRAME_USE ? "malformed frame USE" : "malformed ping");
	} else if (type == LINK_FRAME_USE) {
		link_use_frame(conn, use.generation);
	} else if (type == LINK_FRAME_PONG) {
		link_pong(conn, ping.stamp);
	} else if (conn->queued <= conn->mesh->config.queue_bytes) {
		/* Who asks and does not read the answers gets no more of them: the queue stays bounded. */
		link_ping_queue(conn, LINK_FRAME_PONG, ping.stamp);
	}
}
