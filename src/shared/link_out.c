/*
 * Links: the way out. Frames are copied back to back into chunks; all that was sent during a turn of the event loop
 * goes out at its end: with one system call, or as TLS records as large as can be, many with one system call. What the
 * kernel does not take waits for writability.
 */
#include "shared/link_private.h"

#include <sys/socket.h>

#define LINK_IOV 16

struct link_chunk {
	struct dlist entry;
	size_t start, end;
	uint8_t data[LINK_CHUNK];
};

/* ---- chunks ---- */

/* All have one size, so that what was used once is used again: no allocation for each frame. */
static struct link_chunk *link_chunk_get(struct link_mesh *mesh)
{
	struct link_chunk *chunk;

	if (!dlist_empty(&mesh->spare)) {
		chunk = dlist_entry(dlist_first(&mesh->spare), struct link_chunk, entry);
		dlist_remove(&chunk->entry);
		mesh->n_spare--;
	} else {
		chunk = talloc(mesh, struct link_chunk);
		if (chunk == NULL) {
			return NULL;
		}
		chunk->entry = (struct dlist){NULL, NULL};
	}
	chunk->start = chunk->end = 0;
	return chunk;
}

static void link_chunk_put(struct link_mesh *mesh, struct link_chunk *chunk)
{
	dlist_remove(&chunk->entry);
	if (mesh->n_spare < LINK_SPARE_MAX) {
		dlist_add_head(&mesh->spare, &chunk->entry);
		mesh->n_spare++;
	} else {
		talloc_free(chunk);
	}
}

static struct link_chunk *link_chunk_last(const struct link_conn *conn)
{
	return dlist_empty(&conn->chunks) ? NULL : dlist_entry(conn->chunks.prev, struct link_chunk, entry);
}

/* Has len bytes of room behind what is queued, in as many chunks as it takes: *first is where it begins. On failure
 * nothing has changed. */
static int link_chunks_reserve(struct link_conn *conn, size_t len, struct link_chunk **first)
{
	struct link_chunk *last = link_chunk_last(conn), *chunk;
	size_t room = last != NULL ? LINK_CHUNK - last->end : 0;

	*first = room > 0 ? last : NULL;
	while (room < len) {
		chunk = link_chunk_get(conn->mesh);
		if (chunk == NULL) {
			while ((chunk = link_chunk_last(conn)) != last) {
				link_chunk_put(conn->mesh, chunk);
			}
			return ENOMEM;
		}
		dlist_add_tail(&conn->chunks, &chunk->entry);
		*first = *first != NULL ? *first : chunk;
		room += LINK_CHUNK;
	}
	return 0;
}

static struct link_chunk *link_chunks_fill(struct link_chunk *chunk, const void *data, size_t len)
{
	const uint8_t *p = data;

	while (len > 0) {
		size_t part = LINK_CHUNK - chunk->end;

		if (part == 0) {
			chunk = dlist_entry(chunk->entry.next, struct link_chunk, entry);
			continue;
		}
		part = part < len ? part : len;
		memcpy(chunk->data + chunk->end, p, part);
		chunk->end += part;
		p += part;
		len -= part;
	}
	return chunk;
}

static void link_put_u32(uint8_t *p, uint32_t v)
{
	v = htobe32(v);
	memcpy(p, &v, sizeof(v));
}

void link_out_schedule(struct link_conn *conn)
{
	struct link_mesh *mesh = conn->mesh;

	if (dlist_linked(&conn->dirty) || (tevent_fd_get_flags(conn->fde) & TEVENT_FD_WRITE) != 0) {
		return;
	}
	dlist_add_tail(&mesh->dirty, &conn->dirty);
	if (!mesh->flush_scheduled) {
		mesh->flush_scheduled = true;
		tevent_schedule_immediate(mesh->flush, mesh->ev, link_out_flush_all, mesh);
	}
}

int link_out_append(struct link_conn *conn, uint32_t type, const struct iovec *parts, int n_parts, size_t len)
{
	size_t total = LINK_HEADER + len;
	uint8_t header[LINK_HEADER];
	struct link_chunk *chunk;
	int ret = link_chunks_reserve(conn, total, &chunk);
	int i;

	if (ret != 0) {
		return ret;
	}
	link_put_u32(header, (uint32_t)(len + 4));
	link_put_u32(header + 4, type);
	chunk = link_chunks_fill(chunk, header, sizeof(header));
	for (i = 0; i < n_parts; i++) {
		chunk = link_chunks_fill(chunk, parts[i].iov_base, parts[i].iov_len);
	}
	conn->queued += total;
	link_out_schedule(conn);
	return 0;
}

void link_out_release(struct link_conn *conn)
{
	while (!dlist_empty(&conn->chunks)) {
		link_chunk_put(conn->mesh, dlist_entry(dlist_first(&conn->chunks), struct link_chunk, entry));
	}
	conn->queued = 0;
}

/* ---- writing ---- */

static int link_out_gather(const struct link_conn *conn, struct iovec iov[LINK_IOV])
{
	int n = 0;

	dlist_for_each(pos, &conn->chunks)
	{
		struct link_chunk *chunk = dlist_entry(pos, struct link_chunk, entry);

		if (n == LINK_IOV) {
			break;
		}
		iov[n++] = (struct iovec){.iov_base = chunk->data + chunk->start, .iov_len = chunk->end - chunk->start};
	}
	return n;
}

/* n bytes of the queue are on their way, or encrypted. */
static void link_out_taken(struct link_conn *conn, size_t n)
{
	conn->queued -= n;
	while (n > 0) {
		struct link_chunk *chunk = dlist_entry(dlist_first(&conn->chunks), struct link_chunk, entry);
		size_t part = chunk->end - chunk->start;

		if (n < part) {
			chunk->start += n;
			return;
		}
		n -= part;
		link_chunk_put(conn->mesh, chunk);
	}
}

/* 0 and *n > 0, or errno. */
static int link_out_send(const struct link_conn *conn, struct iovec *iov, int n_iov, size_t *n)
{
	struct msghdr mh = {.msg_iov = iov, .msg_iovlen = (size_t)n_iov};
	ssize_t ret;

	do {
		ret = sendmsg(conn->fd, &mh, MSG_NOSIGNAL | MSG_DONTWAIT);
	} while (ret < 0 && errno == EINTR);
	if (ret < 0) {
		return errno;
	}
	conn->path->peer->stats.bytes_out += (size_t)ret;
	*n = (size_t)ret;
	return 0;
}

/* One system call for what is queued. As link_out_send(); *left: something still waits. */
static int link_out_plain(struct link_conn *conn, size_t *n, bool *left)
{
	struct iovec iov[LINK_IOV];
	int ret = link_out_send(conn, iov, link_out_gather(conn, iov), n);

	if (ret == 0) {
		link_out_taken(conn, *n);
	}
	*left = conn->queued > 0;
	return ret;
}

/* Fills the output of TLS with records as large as can be: a chunk holds a whole number of them. */
static int link_out_encrypt(struct link_conn *conn)
{
	while (conn->queued > 0 && conn->state >= LINK_CONN_HELLO) {
		struct link_chunk *chunk = dlist_entry(dlist_first(&conn->chunks), struct link_chunk, entry);
		size_t taken = 0;
		int ret = link_tls_write(conn->tls, chunk->data + chunk->start, chunk->end - chunk->start, &taken);

		if (ret != 0) {
			return ret == ENOBUFS ? 0 : ret;
		}
		link_out_taken(conn, taken);
	}
	return 0;
}

static int link_out_tls(struct link_conn *conn, size_t *n, bool *left)
{
	const uint8_t *data;
	struct iovec iov;
	int ret = link_out_encrypt(conn);

	if (ret != 0) {
		return ret;
	}
	iov.iov_len = link_tls_out(conn->tls, &data);
	iov.iov_base = (void *)(uintptr_t)data;
	ret = iov.iov_len > 0 ? link_out_send(conn, &iov, 1, n) : 0;
	if (ret == 0) {
		link_tls_out_done(conn->tls, *n);
	}
	*left = conn->queued > 0 || *n < iov.iov_len;
	return ret;
}

/* 0: all written. EAGAIN: the kernel is full, or it was enough for one turn. Else errno. */
static int link_out_write(struct link_conn *conn)
{
	size_t total = 0;
	bool left = true;

	while (left) {
		size_t n = 0;
		int ret;

		if (conn->tls == NULL && conn->queued == 0) {
			return 0;
		}
		ret = conn->tls != NULL ? link_out_tls(conn, &n, &left) : link_out_plain(conn, &n, &left);
		if (ret != 0) {
			return ret;
		}
		total += n;
		if (total >= LINK_WRITE_MAX && left) {
			return EAGAIN;
		}
	}
	return 0;
}

void link_out_flush(struct link_conn *conn)
{
	struct link_mesh *mesh = conn->mesh;
	int ret = link_out_write(conn);

	dlist_remove(&conn->dirty);
	if (ret == 0) {
		TEVENT_FD_NOT_WRITEABLE(conn->fde);
	} else if (ret == EAGAIN) {
		TEVENT_FD_WRITEABLE(conn->fde);
	} else {
		link_conn_end(conn, true, ret == EPIPE ? ECONNRESET : ret, strerror(ret));
		return;
	}
	if (conn->congested && conn->used && conn->queued < mesh->config.queue_bytes / 4) {
		conn->congested = false;
		if (mesh->ops->drained != NULL) {
			mesh->ops->drained(mesh->priv, conn->path->peer->pnn);
		}
	}
}

void link_out_flush_all(struct tevent_context *ev, struct tevent_immediate *im, void *priv)
{
	struct link_mesh *mesh = priv;
	struct dlist now;

	/* What becomes dirty meanwhile is for the next turn. */
	dlist_init(&now);
	while (!dlist_empty(&mesh->dirty)) {
		struct dlist *e = dlist_first(&mesh->dirty);

		dlist_remove(e);
		dlist_add_tail(&now, e);
	}
	mesh->flush_scheduled = false;
	mesh->busy++;
	while (!dlist_empty(&now)) {
		link_out_flush(dlist_entry(dlist_first(&now), struct link_conn, dirty));
	}
	mesh->busy--;
}
