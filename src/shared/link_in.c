/* Links: the way in. Bytes, decrypted if there is TLS, go to the connection's buffer and from there as frames to who
 * handles them. */
#include "shared/link_private.h"

#include <stdio.h>
#include <sys/socket.h>

/* ---- frames ---- */

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
	struct link_peer *peer = conn->path->peer;

	if (conn->state != LINK_CONN_UP) {
		link_hello_frame(conn, type, data, len);
	} else if (type < LINK_USER_TYPE) {
		link_own_frame(conn, type, data, len);
	} else if (!conn->used) {
		link_conn_end(conn, true, EBADMSG, "frame on a path that is not in use");
	} else {
		peer->stats.frames_in++;
		mesh->ops->frame(mesh->priv, peer->pnn, type, data, len);
	}
}

/* A record of TLS begins where a frame has its length, and nothing of that length is a hello. */
static bool link_is_tls(const struct link_conn *conn)
{
	const uint8_t *p = conn->buffer + conn->start;

	return conn->state == LINK_CONN_HELLO && conn->tls == NULL && p[0] == 0x16 && p[1] == 3;
}

static void link_frame_length_bad(struct link_conn *conn, size_t len)
{
	const char *why = len < 4 ? "malformed frame: too short" : "malformed frame: too long";

	if (link_is_tls(conn)) {
		why = "it speaks TLS, this node does not: is security = none here only?";
		link_refuse(conn, "this node does not speak TLS");
	}
	link_conn_end(conn, true, EBADMSG, why);
}

/* Handles all complete frames. False: conn was closed meanwhile. *need: bytes that the first incomplete frame takes as
 * a whole. */
static bool link_frames(struct link_conn *conn, size_t *need)
{
	*need = 4;
	while (conn->state != LINK_CONN_CLOSED && conn->end - conn->start >= 4) {
		const uint8_t *p = conn->buffer + conn->start;
		size_t len = link_get_u32(p);

		if (len < 4 || len > link_frame_limit(conn)) {
			link_frame_length_bad(conn, len);
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

/* n bytes have come to the buffer's end. False: conn is closed. */
static bool link_conn_parse(struct link_conn *conn, size_t n)
{
	size_t need = 4;

	conn->end += n;
	if (!link_frames(conn, &need)) {
		return false;
	}
	if (link_buffer_arrange(conn, need) != 0) {
		link_conn_end(conn, true, ENOMEM, "out of memory for a frame");
		return false;
	}
	return true;
}

/* ---- TLS ---- */

/* What the handshake has to say goes at once, also when it says that it has failed: then nobody waits for it. */
static void link_tls_say(struct link_conn *conn)
{
	const uint8_t *data;
	size_t len = link_tls_out(conn->tls, &data);
	ssize_t n = len > 0 ? send(conn->fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT) : 0;

	if (n > 0) {
		link_tls_out_done(conn->tls, (size_t)n);
	}
	if (n < (ssize_t)len) {
		link_out_schedule(conn);
	}
}

/* False: more is needed, or conn is closed. */
static bool link_tls_shake(struct link_conn *conn)
{
	char why[224];
	int ret = link_tls_handshake(conn->tls, why, sizeof(why));

	link_tls_say(conn);
	if (ret == EPROTO) {
		link_conn_end(conn, true, EPROTO, why);
	}
	if (ret != 0) {
		return false;
	}
	conn->state = LINK_CONN_HELLO;
	if (conn->outgoing && link_hello_queue(conn) != 0) {
		link_conn_end(conn, true, ENOMEM, "out of memory");
		return false;
	}
	return true;
}

void link_tls_begin(struct link_conn *conn)
{
	link_tls_feed(conn->tls, NULL, 0);
	(void)link_tls_shake(conn);
}

/* The first bytes of the other side: a session costs something, so they must look like one. */
static bool link_tls_first(struct link_conn *conn, const uint8_t *data, size_t len)
{
	if (!link_tls_looks_like(data, len)) {
		if (!conn->outgoing) {
			link_refuse(conn, "TLS is needed here: set security = tls in [transport]");
		}
		link_conn_end(conn, true, EPROTO, "it does not speak TLS: is security = none there?");
		return false;
	}
	if (conn->tls == NULL) {
		conn->tls = link_tls_new(conn, conn->mesh->tls, false);
	}
	if (conn->tls == NULL) {
		link_conn_end(conn, true, ENOMEM, "out of memory");
	}
	return conn->tls != NULL;
}

/* Decrypts straight into the buffer, as much as it has room for, and handles what is complete. */
static void link_tls_records(struct link_conn *conn)
{
	for (;;) {
		char why[128] = "closed by the other side";
		size_t n = 0, got = 0;
		int ret = 0;

		while (ret == 0 && conn->end + got < conn->capacity) {
			ret = link_tls_read(conn->tls, conn->buffer + conn->end + got, conn->capacity - conn->end - got,
					    &n, why, sizeof(why));
			got += ret == 0 ? n : 0;
		}
		if (got > 0 && !link_conn_parse(conn, got)) {
			return;
		}
		if (ret == EAGAIN) {
			return;
		}
		if (ret != 0) {
			link_conn_end(conn, true, ret, why);
			return;
		}
	}
}

static void link_conn_read_tls(struct link_conn *conn, size_t n)
{
	const uint8_t *data = conn->mesh->scratch;

	if (conn->state == LINK_CONN_TLS && conn->new_bytes == n && !link_tls_first(conn, data, n)) {
		return;
	}
	link_tls_feed(conn->tls, data, n);
	if (conn->state != LINK_CONN_TLS || link_tls_shake(conn)) {
		link_tls_records(conn);
	}
	if (conn->state != LINK_CONN_CLOSED) {
		const uint8_t *out;

		link_tls_feed(conn->tls, NULL, 0);
		if (link_tls_out(conn->tls, &out) > 0) {
			link_out_schedule(conn); /* an answer of TLS itself */
		}
	}
}

/* ---- reading ---- */

/* Before the hello little is read, at once and in all. False: it was too much, conn is closed. */
static bool link_conn_count(struct link_conn *conn, size_t n)
{
	if (conn->state == LINK_CONN_UP) {
		conn->received = mono_now();
	} else {
		conn->new_bytes += n;
	}
	if (conn->new_bytes > LINK_NEW_BYTES) {
		link_conn_end(conn, true, EMSGSIZE, "it sent too much before its hello");
		return false;
	}
	conn->path->peer->stats.bytes_in += n;
	return true;
}

/* One read per event, whatever is there: the loop serves the others before it comes back. */
void link_conn_read(struct link_conn *conn)
{
	bool tls = conn->mesh->tls != NULL;
	uint8_t *to = tls ? conn->mesh->scratch : conn->buffer + conn->end;
	size_t room = tls ? LINK_READ_MAX : conn->capacity - conn->end;
	size_t most = conn->state == LINK_CONN_UP ? LINK_READ_MAX : LINK_NEW_READ;
	ssize_t n = recv(conn->fd, to, room < most ? room : most, 0);

	if (n > 0) {
		if (!link_conn_count(conn, (size_t)n)) {
			return;
		}
		if (tls) {
			link_conn_read_tls(conn, (size_t)n);
		} else {
			(void)link_conn_parse(conn, (size_t)n);
		}
	} else if (n == 0) {
		link_conn_end(conn, true, ECONNRESET, "closed by the other side");
	} else if (errno != EAGAIN && errno != EINTR) {
		int err = errno;

		link_conn_end(conn, true, err, strerror(err));
	}
}
