/* The connection: framing, bounded queue of what goes out, dispatch of what comes in. */
#include "internal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "ctdb_ng_version.h"
#include "protocol/classic_native.h"

#define IN_MIN 65536U

struct out_packet {
	struct dlist link;
	size_t len, sent;
	uint8_t *data;
};

static void client_event(struct tevent_context *ev, struct tevent_fd *fde, uint16_t flags, void *priv);

const char *ctdb_api_version(void)
{
	return CTDB_NG_VERSION;
}

char *ctdb_default_socket(TALLOC_CTX *mem)
{
	const char *socket = getenv("CTDB_SOCKET"), *base = getenv("CTDB_BASE");

	if (socket != NULL && socket[0] != '\0') {
		return talloc_strdup(mem, socket);
	}
	if (base != NULL && base[0] != '\0') {
		return talloc_asprintf(mem, "%s/run/ctdbd.socket", base);
	}
	return talloc_strdup(mem, "/run/ctdb/ctdbd.socket");
}

uint32_t ctdb_client_pnn(const struct ctdb_client *c)
{
	return c->pnn;
}

void ctdb_client_set_timeout(struct ctdb_client *c, uint32_t timeout_ms)
{
	c->timeout_ms = timeout_ms != 0 ? timeout_ms : CTDB_TIMEOUT_DEFAULT;
}

const char *ctdb_client_error(const struct ctdb_client *c)
{
	return c->error;
}

bool ctdb_client_is_connected(const struct ctdb_client *c)
{
	return c->fd != -1;
}

void ctdb_client_on_lost(struct ctdb_client *c, void (*fn)(void *priv, struct ctdb_client *c), void *priv)
{
	c->on_lost = fn;
	c->on_lost_priv = priv;
}

static void set_error(struct ctdb_client *c, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));

static void set_error(struct ctdb_client *c, const char *fmt, va_list ap)
{
	vsnprintf(c->error, sizeof(c->error), fmt, ap);
}

int client_fail(struct ctdb_client *c, int err, const char *fmt, ...)
{
	va_list ap;

	if (c != NULL) {
		va_start(ap, fmt);
		set_error(c, fmt, ap);
		va_end(ap);
	}
	return err;
}

uint32_t client_random(void)
{
	uint32_t v;
	struct timespec now;

	if (getrandom(&v, sizeof(v), GRND_NONBLOCK) != sizeof(v)) {
		clock_gettime(CLOCK_MONOTONIC, &now);
		v = (uint32_t)now.tv_nsec ^ (uint32_t)getpid() << 16;
	}
	return v;
}

struct timeval timeout_endtime(uint32_t timeout_ms)
{
	return tevent_timeval_current_ofs(timeout_ms / 1000, (timeout_ms % 1000) * 1000);
}

struct timeval client_endtime(const struct ctdb_client *c)
{
	return timeout_endtime(c->timeout_ms);
}

/* ---- life ---- */

static void client_close(struct ctdb_client *c)
{
	struct dlist *e;

	TALLOC_FREE(c->fde); /* before the descriptor: the event loop must not watch a closed one */
	if (c->fd != -1) {
		close(c->fd);
		c->fd = -1;
	}
	while ((e = dlist_first(&c->out)) != NULL) {
		dlist_remove(e);
		talloc_free(dlist_entry(e, struct out_packet, link));
	}
	c->out_bytes = 0;
	TALLOC_FREE(c->in);
	c->in_len = c->in_size = 0;
}

static int client_destructor(struct ctdb_client *c)
{
	if (c->freed != NULL) {
		*c->freed = true;
	}
	client_close(c);
	c->lost = ENOTCONN;
	ops_fail(c, ENOTCONN);
	ops_orphan(c);
	listeners_orphan(c);
	tunnels_orphan(c);
	dlist_for_each_safe(e, &c->dbs)
	{
		dlist_entry(e, struct ctdb_db, link)->c = NULL;
		dlist_remove(e);
	}
	dlist_for_each_safe(e, &c->files)
	{
		dlist_remove(e);
	}
	return 0;
}

struct ctdb_client *client_new(TALLOC_CTX *mem, struct tevent_context *ev, int fd, uint32_t timeout_ms)
{
	struct ctdb_client *c = talloc_zero(mem, struct ctdb_client);
	unsigned int i;

	if (c == NULL) {
		return NULL;
	}
	c->ev = ev;
	c->fd = -1;
	c->pnn = CTDB_NODE_UNKNOWN;
	ctdb_client_set_timeout(c, timeout_ms);
	for (i = 0; i < PENDING_BUCKETS; i++) {
		dlist_init(&c->pending[i]);
	}
	dlist_init(&c->ops);
	dlist_init(&c->listeners);
	dlist_init(&c->tunnels);
	dlist_init(&c->dbs);
	dlist_init(&c->files);
	dlist_init(&c->out);
	c->fde = tevent_add_fd(ev, c, fd, TEVENT_FD_READ, client_event, c);
	if (c->fde == NULL) {
		talloc_free(c);
		return NULL;
	}
	c->fd = fd;
	talloc_set_destructor(c, client_destructor);
	return c;
}

void client_lost(struct ctdb_client *c, int err, const char *fmt, ...)
{
	bool freed = false, *outer = c->freed;
	va_list ap;

	if (c->fd == -1) {
		return;
	}
	client_close(c);
	va_start(ap, fmt);
	set_error(c, fmt, ap);
	va_end(ap);
	c->lost = err;
	ops_fail(c, err); /* runs no callback by itself: they are deferred */
	if (c->on_lost != NULL) {
		c->freed = &freed;
		c->on_lost(c->on_lost_priv, c);
		if (freed) {
			if (outer != NULL) {
				*outer = true;
			}
			return;
		}
		c->freed = outer;
	}
}

/* ---- out ---- */

/* Sends what the socket takes. 0 or the errno of a broken connection. */
static int out_send(struct ctdb_client *c)
{
	struct dlist *e;

	while ((e = dlist_first(&c->out)) != NULL) {
		struct out_packet *p = dlist_entry(e, struct out_packet, link);
		ssize_t n = send(c->fd, p->data + p->sent, p->len - p->sent, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0) {
			TEVENT_FD_WRITEABLE(c->fde);
			return errno == EAGAIN || errno == EINTR ? 0 : errno;
		}
		p->sent += (size_t)n;
		c->out_bytes -= (size_t)n;
		if (p->sent == p->len) {
			dlist_remove(&p->link);
			talloc_free(p);
		}
	}
	TEVENT_FD_NOT_WRITEABLE(c->fde);
	return 0;
}

int client_queue(struct ctdb_client *c, uint32_t operation, uint32_t destnode, uint32_t reqid,
		 const struct ctdb_blob *body)
{
	struct classic_header hdr = {.operation = operation, .destnode = destnode, .srcnode = c->pnn, .reqid = reqid};
	struct out_packet *p;
	struct ctdb_blob whole;

	if (c->fd == -1) {
		return client_fail(c, ENOTCONN, "not connected to the CTDB daemon");
	}
	if (c->out_bytes + CLASSIC_HEADER_SIZE + body->len > QUEUE_MAX_BYTES) {
		return client_fail(c, ENOBUFS, "%zu bytes are waiting for the CTDB daemon already", c->out_bytes);
	}
	p = talloc_zero(c, struct out_packet);
	if (p == NULL || wire_frame(p, &hdr, body, &whole) != 0) {
		talloc_free(p);
		return client_fail(c, ENOMEM, "out of memory");
	}
	p->data = whole.data;
	p->len = whole.len;
	dlist_add_tail(&c->out, &p->link);
	c->out_bytes += p->len;
	/* A broken connection is found again, and told, by the event loop: not in the middle of a caller's function. */
	(void)out_send(c);
	return 0;
}

/* ---- in ---- */

static int message_in(struct ctdb_client *c, const uint8_t *body, size_t len)
{
	struct classic_req_message msg;

	if (classic_req_message_nview(body, len, &msg, NULL) != 0) {
		return EPROTO;
	}
	listeners_dispatch(c, msg.srvid, data_of_blob(msg.data));
	return 0;
}

static int tunnel_in(struct ctdb_client *c, const uint8_t *body, size_t len)
{
	struct classic_req_tunnel packet;

	if (classic_req_tunnel_nview(body, len, &packet, NULL) != 0) {
		return EPROTO;
	}
	tunnels_dispatch(c, &packet);
	return 0;
}

/* One complete packet. 0 or EPROTO. The client may be gone afterwards. */
static int packet_in(struct ctdb_client *c, const uint8_t *packet, size_t len)
{
	struct classic_header hdr;

	if (classic_header_nview(packet, len, &hdr, NULL) != 0 || hdr.magic != CLASSIC_MAGIC ||
	    hdr.version != CLASSIC_VERSION) {
		return EPROTO;
	}
	packet += CLASSIC_HEADER_SIZE;
	len -= CLASSIC_HEADER_SIZE;
	switch (hdr.operation) {
	case CLASSIC_REQ_MESSAGE:
		return message_in(c, packet, len);
	case CLASSIC_REQ_TUNNEL:
		return tunnel_in(c, packet, len);
	case CLASSIC_REPLY_CALL:
	case CLASSIC_REPLY_CONTROL:
	case CLASSIC_REPLY_ERROR:
		return request_reply(c, &hdr, packet, len);
	default:
		return 0; /* what later daemons may send */
	}
}

/* Handles the complete packets in the buffer. False: the connection is lost or the client gone. */
static bool packets_in(struct ctdb_client *c)
{
	bool freed = false, *outer = c->freed;
	size_t used = 0;
	int err = 0;

	c->freed = &freed;
	while (c->in_len - used >= 4) {
		uint32_t len;

		memcpy(&len, c->in + used, 4);
		if (len < CLASSIC_HEADER_SIZE || len > PACKET_MAX) {
			err = EPROTO;
			break;
		}
		if (c->in_len - used < len) {
			break;
		}
		err = packet_in(c, c->in + used, len);
		if (freed) {
			if (outer != NULL) {
				*outer = true;
			}
			return false;
		}
		if (err != 0 || c->fd == -1) {
			break;
		}
		used += len;
	}
	c->freed = outer;
	if (err != 0) {
		client_lost(c, EPROTO, "the CTDB daemon sent a malformed packet; connection closed");
		return false;
	}
	if (c->fd == -1) {
		return false;
	}
	memmove(c->in, c->in + used, c->in_len - used);
	c->in_len -= used;
	return true;
}

/* Room for the packet that has begun, at least IN_MIN. A buffer grown for a large packet is given back. */
static bool in_reserve(struct ctdb_client *c)
{
	size_t want = IN_MIN;
	uint32_t len;
	uint8_t *in;

	if (c->in_len >= 4) {
		memcpy(&len, c->in, 4); /* was checked by packets_in() */
		want = len > want ? len : want;
	}
	if (c->in_size >= want && c->in_size <= 16 * want) {
		return true;
	}
	in = talloc_realloc(c, c->in, uint8_t, want);
	if (in == NULL) {
		return false;
	}
	c->in = in;
	c->in_size = want;
	return true;
}

static void client_read(struct ctdb_client *c)
{
	ssize_t n;

	if (!in_reserve(c)) {
		client_lost(c, ENOMEM, "out of memory for a packet of the CTDB daemon");
		return;
	}
	n = recv(c->fd, c->in + c->in_len, c->in_size - c->in_len, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
		return;
	}
	if (n <= 0) {
		client_lost(c, ENOTCONN, "the CTDB daemon closed the connection%s%s", n < 0 ? ": " : "",
			    n < 0 ? strerror(errno) : "");
		return;
	}
	c->in_len += (size_t)n;
	(void)packets_in(c);
}

static void client_event(struct tevent_context *ev, struct tevent_fd *fde, uint16_t flags, void *priv)
{
	struct ctdb_client *c = priv;
	int err = (flags & TEVENT_FD_WRITE) != 0 ? out_send(c) : 0;

	if (err != 0) {
		client_lost(c, ENOTCONN, "connection to the CTDB daemon lost while sending: %s", strerror(err));
		return;
	}
	if ((flags & TEVENT_FD_READ) != 0) {
		client_read(c);
	}
}
