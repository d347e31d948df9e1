/* The connection to the existing ctdbd of this node. States: old.h. */
#include "old.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/dlist.h"
#include "base/mono.h"
#include "protocol/classic_native.h"
#include "shared/log.h"
#include "shared/mono_timer.h"

#define HEADER             32U /* of every packet */
#define ID                 CLASSIC_SRVID_TUNNEL_NEW_PROTOCOL
#define OLD_RETRY_FIRST_MS 50U
#define OLD_BUFFER         (256U << 10)

enum old_state { OLD_WAIT, OLD_ASKED, OLD_READY };
enum old_question { ASK_PNN = 1, ASK_SRVID, ASK_TUNNEL }; /* also the request's number */

struct old_packet {
	struct dlist entry;
	size_t len, sent;
	uint8_t data[];
};

struct old_daemon {
	struct tevent_context *ev;
	const char *path;
	uint32_t pnn;
	const struct old_ops *ops;
	void *priv;
	enum old_state state;
	int fd;
	struct tevent_fd *fde;
	struct mono_timer *timer; /* WAIT: the next attempt; ASKED: the end of patience */
	uint32_t retry_ms;
	unsigned answers; /* bits of enum old_question */
	bool tunnel;
	struct dlist out;
	size_t out_bytes;
	uint8_t *in;
	size_t in_len;
	uint64_t skip;     /* bytes of a packet that is too long */
	char failure[160]; /* as logged last */
};

static void old_timer(void *priv);

/* ---- the connection's end ---- */

static void old_close(struct old_daemon *o)
{
	TALLOC_FREE(o->fde); /* before the descriptor: the loop must not watch a closed one */
	if (o->fd >= 0) {
		close(o->fd);
		o->fd = -1;
	}
	dlist_for_each_safe(pos, &o->out)
	{
		struct old_packet *p = dlist_entry(pos, struct old_packet, entry);

		dlist_remove(pos);
		talloc_free(p);
	}
	o->out_bytes = 0;
	o->in_len = 0;
	o->skip = 0;
	o->answers = 0;
	o->tunnel = false;
}

static void old_fail(struct old_daemon *o, int reason, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

static void old_fail(struct old_daemon *o, int reason, const char *fmt, ...)
{
	bool was_ready = o->state == OLD_READY;
	char text[sizeof(o->failure)];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (was_ready || strcmp(text, o->failure) != 0) {
		log_warning("the existing ctdbd at %s: %s; trying again until it is there", o->path, text);
		memcpy(o->failure, text, sizeof(text));
	}
	old_close(o);
	o->state = OLD_WAIT;
	mono_timer_set(o->timer, mono_add_ms(mono_now(), o->retry_ms));
	o->retry_ms = o->retry_ms * 2 > OLD_RETRY_MAX_MS ? OLD_RETRY_MAX_MS : o->retry_ms * 2;
	if (was_ready) {
		o->ops->lost(o->priv, reason);
	}
}

/* ---- out ---- */

/* 0 or the errno of a broken connection. */
static int out_write(struct old_daemon *o)
{
	struct dlist *e;

	while ((e = dlist_first(&o->out)) != NULL) {
		struct old_packet *p = dlist_entry(e, struct old_packet, entry);
		ssize_t n = send(o->fd, p->data + p->sent, p->len - p->sent, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0) {
			TEVENT_FD_WRITEABLE(o->fde);
			return errno == EAGAIN || errno == EINTR ? 0 : errno;
		}
		p->sent += (size_t)n;
		o->out_bytes -= (size_t)n;
		if (p->sent == p->len) {
			dlist_remove(e);
			talloc_free(p);
		}
	}
	TEVENT_FD_NOT_WRITEABLE(o->fde);
	return 0;
}

/* body: what follows the header; extra: behind it. */
static int out_packet(struct old_daemon *o, uint32_t operation, uint32_t destnode, uint32_t reqid,
		      const struct ctdb_blob *body)
{
	/* a multiple of 8, as links between classic daemons demand */
	size_t len = (HEADER + (size_t)body->len + 7) & ~(size_t)7;
	const struct classic_header header = {
		.length = (uint32_t)len,
		.magic = CLASSIC_MAGIC,
		.version = CLASSIC_VERSION,
		.operation = operation,
		.destnode = destnode,
		.srcnode = o->pnn,
		.reqid = reqid,
	};
	struct ctdb_blob head = {0};
	struct old_packet *p;

	if (o->out_bytes + len > OLD_QUEUE_MAX) {
		return ENOBUFS;
	}
	p = talloc_size(o, sizeof(*p) + len);
	if (p == NULL || classic_header_nencode(p, &header, &head) != 0) {
		talloc_free(p);
		return ENOMEM;
	}
	*p = (struct old_packet){.len = len};
	memcpy(p->data, head.data, HEADER);
	memcpy(p->data + HEADER, body->data, body->len);
	memset(p->data + HEADER + body->len, 0, len - HEADER - body->len);
	talloc_free(head.data);
	dlist_add_tail(&o->out, &p->entry);
	o->out_bytes += len;
	/* A broken connection is found again, and told, by the loop: not in the middle of a caller's function. */
	(void)out_write(o);
	return 0;
}

int old_send(struct old_daemon *o, uint32_t pnn, bool by_tunnel, const uint8_t *data, size_t len)
{
	/* generated structures have blobs without const; they are only read when encoded */
	const struct ctdb_blob blob = {.len = (uint32_t)len, .data = (uint8_t *)(uintptr_t)data};
	const struct classic_req_tunnel tunnel = {.tunnel_id = ID, .flags = CLASSIC_TUNNEL_FLAG_NOREPLY, .data = blob};
	const struct classic_req_message message = {.srvid = ID, .data = blob};
	struct ctdb_blob body = {0};
	int ret;

	if (o->state != OLD_READY) {
		return ENOTCONN;
	}
	ret = by_tunnel ? classic_req_tunnel_nencode(o, &tunnel, &body)
			: classic_req_message_nencode(o, &message, &body);
	if (ret == 0) {
		ret = out_packet(o, by_tunnel ? CLASSIC_REQ_TUNNEL : CLASSIC_REQ_MESSAGE, pnn, 0, &body);
	}
	talloc_free(body.data);
	return ret;
}

static int old_ask(struct old_daemon *o, enum old_question question, uint32_t opcode, uint64_t srvid)
{
	const struct classic_req_control control = {.opcode = opcode, .srvid = srvid};
	struct ctdb_blob body = {0};
	int ret = classic_req_control_nencode(o, &control, &body);

	if (ret == 0) {
		ret = out_packet(o, CLASSIC_REQ_CONTROL, CLASSIC_NODE_CURRENT, question, &body);
	}
	talloc_free(body.data);
	return ret;
}

size_t old_queued(const struct old_daemon *o)
{
	return o->out_bytes;
}

/* ---- in ---- */

bool old_unread(const struct old_daemon *o)
{
	char byte;

	return o->fd >= 0 && recv(o->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

/* All three questions are answered. */
static void old_answered(struct old_daemon *o)
{
	o->state = OLD_READY;
	o->retry_ms = OLD_RETRY_FIRST_MS;
	o->failure[0] = '\0';
	mono_timer_set(o->timer, MONO_NEVER);
	log_notice("connected to the existing ctdbd at %s as node %u, by %s", o->path, o->pnn,
		   o->tunnel ? "tunnel" : "messages (it refuses tunnels, or another process has ours)");
	o->ops->ready(o->priv, o->tunnel);
}

/* False: the connection was given up. */
static bool old_reply(struct old_daemon *o, uint32_t reqid, const uint8_t *body, size_t len)
{
	const unsigned all = 1U << ASK_PNN | 1U << ASK_SRVID | 1U << ASK_TUNNEL;
	struct classic_reply_control reply;

	if (reqid < ASK_PNN || reqid > ASK_TUNNEL || o->state != OLD_ASKED) {
		return true;
	}
	if (classic_reply_control_nview(body, len, &reply, NULL) != 0) {
		old_fail(o, EPROTO, "it sent a malformed answer");
		return false;
	}
	if (reqid == ASK_PNN && reply.status != (int32_t)o->pnn) {
		old_fail(o, EPROTO, "it is node %d, this one is %u: both need the same nodes file", reply.status,
			 o->pnn);
		return false;
	}
	if (reqid == ASK_SRVID && reply.status != 0) {
		old_fail(o, EPROTO, "it refuses to deliver messages (status %d)", reply.status);
		return false;
	}
	o->tunnel |= reqid == ASK_TUNNEL && reply.status == 0;
	o->answers |= 1U << reqid;
	if (o->answers == all) {
		old_answered(o);
	}
	return true;
}

/* One complete packet. False: the connection was given up. */
static bool old_packet_in(struct old_daemon *o, const uint8_t *packet, size_t len)
{
	struct classic_header header;
	struct classic_req_message message;
	struct classic_req_tunnel tunnel;

	if (classic_header_nview(packet, len, &header, NULL) != 0 || header.magic != CLASSIC_MAGIC ||
	    header.version != CLASSIC_VERSION) {
		old_fail(o, EPROTO, "it sent something that is no packet");
		return false;
	}
	packet += HEADER;
	len -= HEADER;
	if (header.operation == CLASSIC_REPLY_CONTROL) {
		return old_reply(o, header.reqid, packet, len);
	}
	if (o->state != OLD_READY) {
		return true;
	}
	if (header.operation == CLASSIC_REQ_MESSAGE && classic_req_message_nview(packet, len, &message, NULL) == 0 &&
	    message.srvid == ID) {
		o->ops->packet(o->priv, message.data.data, message.data.len);
	} else if (header.operation == CLASSIC_REQ_TUNNEL &&
		   classic_req_tunnel_nview(packet, len, &tunnel, NULL) == 0 && tunnel.tunnel_id == ID) {
		o->ops->packet(o->priv, tunnel.data.data, tunnel.data.len);
	}
	return true;
}

/* Handles what is complete in the buffer. False: the connection was given up. */
static bool old_packets_in(struct old_daemon *o)
{
	size_t used = 0;

	while (o->in_len - used >= 4) {
		uint32_t len;

		memcpy(&len, o->in + used, 4);
		if (len < HEADER) {
			old_fail(o, EPROTO, "it sent a packet of %u bytes", len);
			return false;
		}
		if (len > OLD_PACKET_MAX) {
			log_ratelimited(LOG_LVL_WARNING, 1000,
					"skipping a packet of %u bytes: somebody else sends to our address", len);
			o->skip = len;
			break;
		}
		if (o->in_len - used < len) {
			break;
		}
		if (!old_packet_in(o, o->in + used, len)) {
			return false;
		}
		used += len;
	}
	memmove(o->in, o->in + used, o->in_len - used);
	o->in_len -= used;
	return true;
}

/* What is left of a packet that is too long is thrown away as it comes. */
static void old_skip(struct old_daemon *o)
{
	size_t n = o->skip < o->in_len ? (size_t)o->skip : o->in_len;

	memmove(o->in, o->in + n, o->in_len - n);
	o->in_len -= n;
	o->skip -= n;
}

/* Bytes handled; 0: nothing there; -1: the connection was given up. */
static ssize_t old_read_once(struct old_daemon *o)
{
	ssize_t n = recv(o->fd, o->in + o->in_len, OLD_BUFFER - o->in_len, MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
		return 0;
	}
	if (n <= 0) {
		old_fail(o, ECONNRESET, "the connection ended%s%s", n < 0 ? ": " : "", n < 0 ? strerror(errno) : "");
		return -1;
	}
	o->in_len += (size_t)n;
	do {
		old_skip(o);
		if (!old_packets_in(o)) {
			return -1;
		}
	} while (o->skip > 0 && o->in_len > 0);
	return n;
}

static void old_event(struct tevent_context *ev, struct tevent_fd *fde, uint16_t flags, void *priv)
{
	struct old_daemon *o = priv;
	size_t done = 0;
	ssize_t n = 1;
	int ret = (flags & TEVENT_FD_WRITE) != 0 ? out_write(o) : 0;

	if (ret != 0) {
		old_fail(o, ECONNRESET, "the connection ended: %s", strerror(ret));
		return;
	}
	while ((flags & TEVENT_FD_READ) != 0 && n > 0 && done < OLD_READ_MAX) {
		n = old_read_once(o);
		done += n > 0 ? (size_t)n : 0;
	}
	if (n >= 0) {
		o->ops->turn(o->priv);
	}
}

/* ---- connecting ---- */

static void old_connect(struct old_daemon *o)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int ret;

	strncpy(addr.sun_path, o->path, sizeof(addr.sun_path) - 1);
	/* an AF_UNIX connection is made at once, or refused: EAGAIN is a full queue there */
	if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof(addr)) != 0) {
		ret = errno;
		if (fd >= 0) {
			close(fd);
		}
		old_fail(o, ret, "cannot connect: %s", strerror(ret));
		return;
	}
	o->fd = fd;
	o->fde = tevent_add_fd(o->ev, o, fd, TEVENT_FD_READ, old_event, o);
	if (o->fde == NULL) {
		old_fail(o, ENOMEM, "out of memory");
		return;
	}
	o->state = OLD_ASKED;
	mono_timer_set(o->timer, mono_add_ms(mono_now(), OLD_ANSWER_MS));
	ret = old_ask(o, ASK_PNN, CLASSIC_CONTROL_GET_PNN, 0);
	if (ret == 0) {
		ret = old_ask(o, ASK_SRVID, CLASSIC_CONTROL_REGISTER_SRVID, ID);
	}
	if (ret == 0) {
		ret = old_ask(o, ASK_TUNNEL, CLASSIC_CONTROL_TUNNEL_REGISTER, ID);
	}
	if (ret != 0) {
		old_fail(o, ret, "%s", strerror(ret));
	}
}

static void old_timer(void *priv)
{
	struct old_daemon *o = priv;

	if (o->state == OLD_WAIT) {
		old_connect(o);
	} else if (o->state == OLD_ASKED) {
		old_fail(o, ETIMEDOUT, "no answer within %u ms", OLD_ANSWER_MS);
	}
}

static int old_destructor(struct old_daemon *o)
{
	old_close(o);
	return 0;
}

struct old_daemon *old_new(TALLOC_CTX *mem, struct tevent_context *ev, const char *path, uint32_t pnn,
			   const struct old_ops *ops, void *priv)
{
	struct old_daemon *o = talloc_zero(mem, struct old_daemon);

	if (o == NULL || strlen(path) >= sizeof(((struct sockaddr_un *)NULL)->sun_path)) {
		talloc_free(o);
		errno = o == NULL ? ENOMEM : ENAMETOOLONG;
		return NULL;
	}
	o->ev = ev;
	o->pnn = pnn;
	o->ops = ops;
	o->priv = priv;
	o->fd = -1;
	o->retry_ms = OLD_RETRY_FIRST_MS;
	dlist_init(&o->out);
	o->path = talloc_strdup(o, path);
	o->in = talloc_array(o, uint8_t, OLD_BUFFER);
	o->timer = mono_timer_new(o, ev, old_timer, o);
	if (o->path == NULL || o->in == NULL || o->timer == NULL) {
		talloc_free(o);
		errno = ENOMEM;
		return NULL;
	}
	talloc_set_destructor(o, old_destructor);
	mono_timer_set(o->timer, mono_now());
	return o;
}
