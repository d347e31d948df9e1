/*
 * Links: the way out. Frames are copied back to back into chunks; all that was sent during a turn of the event loop
 * goes out with one system call at its end, and what the kernel does not take waits for writability.
 */
#include "shared/link_private.h"

#include <sys/socket.h>

#define LINK_IOV 16

struct link_chunk {
	struct dlist entry;
	size_t capacity, start, end;
	uint8_t data[];
};

static struct link_chunk *link_chunk_new(struct link_conn *conn, size_t total)
{
	size_t capacity = total > LINK_CHUNK / 2 ? total : LINK_CHUNK;
	struct link_chunk *chunk = conn->spare;

	if (chunk != NULL && capacity == LINK_CHUNK) {
		conn->spare = NULL;
	} else {
		chunk = talloc_size(conn, sizeof(*chunk) + capacity);
		if (chunk == NULL) {
			return NULL;
		}
		talloc_set_name_const(chunk, "struct link_chunk");
		chunk->capacity = capacity;
	}
	chunk->start = chunk->end = 0;
	dlist_add_tail(&conn->chunks, &chunk->entry);
	return chunk;
}

static void link_chunk_done(struct link_conn *conn, struct link_chunk *chunk)
{
	dlist_remove(&chunk->entry);
	if (conn->spare == NULL && chunk->capacity == LINK_CHUNK) {
		conn->spare = chunk;
	} else {
		talloc_free(chunk);
	}
}

static void link_put_u32(uint8_t *p, uint32_t v)
{
	v = htobe32(v);
	memcpy(p, &v, sizeof(v));
}

static void link_out_schedule(struct link_conn *conn)
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
	struct link_chunk *chunk = NULL;
	uint8_t *p;
	int i;

	if (!dlist_empty(&conn->chunks)) {
		chunk = dlist_entry(conn->chunks.prev, struct link_chunk, entry);
	}
	if (chunk == NULL || chunk->capacity - chunk->end < total) {
		chunk = link_chunk_new(conn, total);
		if (chunk == NULL) {
			return ENOMEM;
		}
	}
	p = chunk->data + chunk->end;
	link_put_u32(p, (uint32_t)(len + 4));
	link_put_u32(p + 4, type);
	p += LINK_HEADER;
	for (i = 0; i < n_parts; i++) {
		if (parts[i].iov_len > 0) {
			memcpy(p, parts[i].iov_base, parts[i].iov_len);
			p += parts[i].iov_len;
		}
	}
	chunk->end += total;
	conn->queued += total;
	link_out_schedule(conn);
	return 0;
}

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

static void link_out_written(struct link_conn *conn, size_t n)
{
	conn->queued -= n;
	conn->peer->stats.bytes_out += n;
	while (n > 0) {
		struct link_chunk *chunk = dlist_entry(dlist_first(&conn->chunks), struct link_chunk, entry);
		size_t part = chunk->end - chunk->start;

		if (n < part) {
			chunk->start += n;
			return;
		}
		n -= part;
		link_chunk_done(conn, chunk);
	}
}

/* 0: all written. EAGAIN: the kernel is full, or it was enough for one turn. Else errno. */
static int link_out_write(struct link_conn *conn)
{
	size_t total = 0;

	while (conn->queued > 0) {
		struct iovec iov[LINK_IOV];
		struct msghdr mh = {.msg_iov = iov, .msg_iovlen = (size_t)link_out_gather(conn, iov)};
		ssize_t n = sendmsg(conn->fd, &mh, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR) {
			continue;
		}
		if (n < 0) {
			return errno;
		}
		link_out_written(conn, (size_t)n);
		total += (size_t)n;
		if (total >= LINK_WRITE_MAX && conn->queued > 0) {
			return EAGAIN;
		}
	}
	return 0;
}

void link_out_flush(struct link_conn *conn)
{
	struct link_mesh *mesh = conn->mesh;
	struct link_peer *peer = conn->peer;
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
	if (peer->congested && conn->state == LINK_CONN_UP && conn->queued < mesh->config.queue_bytes / 4) {
		peer->congested = false;
		if (mesh->ops->drained != NULL) {
			mesh->ops->drained(mesh->priv, peer->pnn);
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
