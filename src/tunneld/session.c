/* A link to one node through the existing daemons: states, handshake, heartbeats. Rules: session.h. */
#include "session.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "flow.h"

#define ACK_AT (64U << 10) /* received and not acknowledged: told at once, not at the end of the turn */

struct session {
	struct session_config config;
	const struct session_ops *ops;
	void *priv;
	enum session_state state;
	bool tunnel;        /* REQ_TUNNEL reaches us */
	bool by_tunnel;     /* UP: and the peer */
	uint64_t own, peer; /* sessions; peer 0 unless UP */
	uint64_t next;      /* UP: would be ours with a peer that seems to have started again */
	uint32_t version;
	struct mono hello_at, ping_at;
	uint32_t hello_wait;
	struct mono heard, progress; /* progress: something was acknowledged, or there was nothing to acknowledge */
	struct flow_out out[TUNNEL_CLASSES];
	struct flow_in in[TUNNEL_CLASSES];
	struct session_stats stats;
};

static uint64_t session_random(const struct session *s)
{
	uint64_t id;

	do {
		id = s->ops->random(s->priv);
	} while (id == 0);
	return id;
}

/* ---- sending ---- */

typedef void (*body_put_fn)(struct xdr_out *out, const void *body);

static void put_hello(struct xdr_out *out, const void *body)
{
	tunnel_hello_put(out, body);
}

static void put_ping(struct xdr_out *out, const void *body)
{
	tunnel_ping_put(out, body);
}

static void put_data(struct xdr_out *out, const void *body)
{
	tunnel_data_put(out, body);
}

static void put_ack(struct xdr_out *out, const void *body)
{
	tunnel_ack_put(out, body);
}

static void put_bye(struct xdr_out *out, const void *body)
{
	tunnel_bye_put(out, body);
}

struct address {
	uint64_t from, to;
	bool by_tunnel;
};

/* Cannot fail but for lack of memory: then it is as lost as it may be on its way. */
static void session_emit(struct session *s, enum tunnel_kind kind, struct address a, body_put_fn put, const void *body,
			 size_t size)
{
	struct tunnel_packet p = {
		.magic = TUNNEL_MAGIC,
		.version = TUNNEL_VERSION,
		.kind = kind,
		.from_pnn = s->config.own,
		.to_pnn = s->config.peer,
		.from_session = a.from,
		.to_session = a.to,
		.body = {.len = (uint32_t)size, .data = talloc_size(s, size)},
	};
	struct xdr_out out = {.p = p.body.data, .end = p.body.data + size};
	struct ctdb_blob packet = {0};

	if (p.body.data == NULL) {
		return;
	}
	put(&out, body);
	if (out.err == 0 && tunnel_packet_encode(p.body.data, &p, &packet) == 0) {
		s->ops->emit(s->priv, s->config.peer, a.by_tunnel, packet.data, packet.len);
	}
	talloc_free(p.body.data);
}

static struct address session_pair(const struct session *s)
{
	return (struct address){s->own, s->peer, s->by_tunnel};
}

/* to 0: to whom it may concern, over the way that every peer has. */
static void hello_emit(struct session *s, uint64_t from, uint64_t to, bool by_tunnel)
{
	const struct tunnel_hello hello = {
		.incarnation = s->config.incarnation,
		.interface_version = s->config.interface_version,
		.interface_oldest = s->config.interface_oldest,
		.tunnel = s->tunnel,
	};

	session_emit(s, TUNNEL_KIND_HELLO, (struct address){from, to, by_tunnel && to != 0}, put_hello, &hello,
		     tunnel_hello_size(&hello));
}

static void ping_emit(struct session *s, enum tunnel_kind kind, uint64_t stamp)
{
	struct tunnel_ping ping = {.stamp = stamp};

	for (unsigned i = 0; i < TUNNEL_CLASSES; i++) {
		ping.sent[i] = s->out[i].sent;
		ping.received[i] = s->in[i].told = s->in[i].received;
	}
	session_emit(s, kind, session_pair(s), put_ping, &ping, tunnel_ping_size(&ping));
}

static void ack_emit(struct session *s)
{
	struct tunnel_ack ack;

	for (unsigned i = 0; i < TUNNEL_CLASSES; i++) {
		ack.received[i] = s->in[i].told = s->in[i].received;
	}
	session_emit(s, TUNNEL_KIND_ACK, session_pair(s), put_ack, &ack, tunnel_ack_size(&ack));
}

/* What the windows permit, control first. */
static void session_pump(struct session *s)
{
	struct tunnel_data piece;
	unsigned class = 0;

	while (class < TUNNEL_CLASSES) {
		if (!flow_out_next(&s->out[class], &piece)) {
			class ++;
			continue;
		}
		piece.class = class;
		s->stats.bytes_out += piece.piece.len;
		session_emit(s, TUNNEL_KIND_DATA, session_pair(s), put_data, &piece, tunnel_data_size(&piece));
	}
}

int session_send(struct session *s, struct mono now, unsigned class, const struct iovec *parts, int n_parts)
{
	struct flow_out *out;
	size_t len = 0;
	int ret;

	for (int i = 0; i < n_parts; i++) {
		len += parts[i].iov_len;
	}
	if (class >= TUNNEL_CLASSES || len == 0) {
		return EINVAL;
	}
	if (s->state != SESSION_UP) {
		return EHOSTUNREACH;
	}
	if (len > SESSION_PACKET_MAX) {
		return EMSGSIZE;
	}
	out = &s->out[class];
	/* an empty queue takes every packet that is not too large as such */
	if (out->queued > 0 && out->queued + len > s->config.queue_bytes) {
		return ENOBUFS;
	}
	if (session_in_flight(s) == 0) {
		s->progress = now;
	}
	ret = flow_out_add(out, s, parts, n_parts);
	if (ret == 0) {
		session_pump(s);
	}
	return ret;
}

/* ---- states ---- */

static void session_forget(struct session *s)
{
	for (unsigned i = 0; i < TUNNEL_CLASSES; i++) {
		flow_out_reset(&s->out[i]);
		flow_in_reset(&s->in[i]);
	}
	s->peer = s->next = 0;
	s->version = 0;
}

/* UP ends; what comes next is up to the caller, and so is to call down(). */
static void session_look(struct session *s, struct mono now)
{
	session_forget(s);
	s->state = SESSION_HELLO;
	s->own = session_random(s);
	s->hello_wait = s->config.hello_ms;
	s->hello_at = now;
}

static void session_end(struct session *s, struct mono now, int reason)
{
	session_look(s, now);
	s->ops->down(s->priv, s->config.peer, reason);
}

static void session_broken(struct session *s, struct mono now, const char *why, int reason)
{
	s->ops->complain(s->priv, s->config.peer, why);
	session_bye(s, reason);
	session_end(s, now, reason);
}

static void session_begin(struct session *s, struct mono now, uint64_t own, uint64_t peer,
			  const struct tunnel_hello *hello)
{
	s->state = SESSION_UP;
	s->own = own;
	s->peer = peer;
	s->by_tunnel = s->tunnel && hello->tunnel;
	s->version = hello->interface_version < s->config.interface_version ? hello->interface_version
									    : s->config.interface_version;
	s->heard = s->progress = now;
	s->ping_at = now;
	s->stats.ups++;
	/* before anything that up() may cause to be sent: the other side is not up before it has this */
	hello_emit(s, s->own, s->peer, s->by_tunnel);
	s->ops->up(s->priv, s->config.peer, hello->incarnation);
}

void session_attached(struct session *s, struct mono now, bool tunnel)
{
	s->tunnel = tunnel;
	if (s->state == SESSION_OFF) {
		session_look(s, now);
	}
}

void session_detached(struct session *s, int reason)
{
	bool was_up = s->state == SESSION_UP;

	session_forget(s);
	s->state = SESSION_OFF;
	if (was_up) {
		s->ops->down(s->priv, s->config.peer, reason);
	}
}

void session_bye(struct session *s, int reason)
{
	const struct tunnel_bye bye = {.reason = (uint32_t)reason};

	if (s->state == SESSION_UP) {
		session_emit(s, TUNNEL_KIND_BYE, session_pair(s), put_bye, &bye, tunnel_bye_size(&bye));
	}
}

/* ---- receiving ---- */

/* False: the peer and we have no version in common. */
static bool hello_versions(struct session *s, const struct tunnel_hello *hello)
{
	char text[128];

	if (hello->interface_version >= s->config.interface_oldest &&
	    hello->interface_oldest <= s->config.interface_version) {
		return true;
	}
	snprintf(text, sizeof(text), "it speaks interface versions %u to %u, this node %u to %u: upgrade the older one",
		 hello->interface_oldest, hello->interface_version, s->config.interface_oldest,
		 s->config.interface_version);
	s->ops->complain(s->priv, s->config.peer, text);
	return false;
}

static void hello_while_up(struct session *s, struct mono now, const struct tunnel_packet *p,
			   const struct tunnel_hello *hello)
{
	if (p->from_session == s->peer) {
		if (p->to_session != s->own) {
			hello_emit(s, s->own, s->peer, s->by_tunnel);
		}
	} else if (p->to_session == 0) {
		if (s->next == 0) {
			s->next = session_random(s);
		}
		hello_emit(s, s->next, p->from_session, s->tunnel && hello->tunnel);
	} else if (s->next != 0 && p->to_session == s->next) {
		uint64_t own = s->next;

		session_look(s, now);
		s->ops->down(s->priv, s->config.peer, ECONNRESET);
		session_begin(s, now, own, p->from_session, hello);
	} else {
		s->stats.dropped++;
	}
}

static void hello_receive(struct session *s, struct mono now, const struct tunnel_packet *p)
{
	struct tunnel_hello hello;

	if (tunnel_hello_view(p->body.data, p->body.len, &hello) != 0 || p->from_session == 0 ||
	    hello.interface_oldest > hello.interface_version) {
		s->stats.dropped++;
		return;
	}
	if (!hello_versions(s, &hello)) {
		return;
	}
	if (s->state == SESSION_UP) {
		hello_while_up(s, now, p, &hello);
	} else if (p->to_session == s->own) {
		session_begin(s, now, s->own, p->from_session, &hello);
	} else {
		hello_emit(s, s->own, p->from_session, s->tunnel && hello.tunnel);
	}
}

static bool acked(struct session *s, struct mono now, const uint64_t *received)
{
	size_t before = session_in_flight(s);

	for (unsigned i = 0; i < TUNNEL_CLASSES; i++) {
		if (!flow_out_acked(&s->out[i], received[i])) {
			session_broken(s, now, "it acknowledges what was never sent", EPROTO);
			return false;
		}
	}
	if (session_in_flight(s) < before || before == 0) {
		s->progress = now;
	}
	session_pump(s);
	return true;
}

static void ping_receive(struct session *s, struct mono now, const struct tunnel_packet *p)
{
	struct tunnel_ping ping;

	if (tunnel_ping_view(p->body.data, p->body.len, &ping) != 0) {
		s->stats.dropped++;
		return;
	}
	for (unsigned i = 0; i < TUNNEL_CLASSES; i++) {
		if (ping.sent[i] != s->in[i].received) {
			session_broken(s, now, "something that it sent was lost on the way", EIO);
			return;
		}
	}
	if (!acked(s, now, ping.received)) {
		return;
	}
	if (p->kind == TUNNEL_KIND_PING) {
		ping_emit(s, TUNNEL_KIND_PONG, ping.stamp);
	} else if (ping.stamp <= now.ns) {
		s->stats.rtt_us = (now.ns - ping.stamp) / MONO_NS_PER_US;
		if (s->stats.rtt_us > s->stats.rtt_max_us) {
			s->stats.rtt_max_us = s->stats.rtt_us;
		}
	}
}

static void ack_receive(struct session *s, struct mono now, const struct tunnel_packet *p)
{
	struct tunnel_ack ack;

	if (tunnel_ack_view(p->body.data, p->body.len, &ack) != 0) {
		s->stats.dropped++;
		return;
	}
	(void)acked(s, now, ack.received);
}

static void data_receive(struct session *s, struct mono now, const struct tunnel_packet *p)
{
	struct tunnel_data d;
	struct flow_in *in;
	const uint8_t *data = NULL;
	size_t len = 0;
	uint64_t session = s->own;

	if (tunnel_data_view(p->body.data, p->body.len, &d) != 0 || d.class >= TUNNEL_CLASSES) {
		s->stats.dropped++;
		return;
	}
	in = &s->in[d.class];
	switch (flow_in_piece(in, s, SESSION_PACKET_MAX, &d, &data, &len)) {
	case FLOW_OLD:
		s->stats.dropped++;
		return;
	case FLOW_LOST:
		session_broken(s, now, "something that it sent was lost on the way", EIO);
		return;
	case FLOW_BAD:
		session_broken(s, now, "it sent a malformed piece of a packet", EBADMSG);
		return;
	case FLOW_NOMEM:
		session_broken(s, now, "there is no memory for its packet", ENOMEM);
		return;
	case FLOW_PIECE:
		s->stats.bytes_in += d.piece.len;
		break;
	case FLOW_PACKET:
		s->stats.bytes_in += d.piece.len;
		s->ops->deliver(s->priv, s->config.peer, data, len);
		flow_in_done(in);
		break;
	}
	if (s->own == session && in->received - in->told >= ACK_AT) {
		ack_emit(s);
	}
}

static void bye_receive(struct session *s, struct mono now, const struct tunnel_packet *p)
{
	struct tunnel_bye bye;

	if (tunnel_bye_view(p->body.data, p->body.len, &bye) != 0) {
		s->stats.dropped++;
		return;
	}
	session_end(s, now, ECONNRESET);
}

void session_receive(struct session *s, struct mono now, const struct tunnel_packet *p)
{
	if (s->state == SESSION_OFF) {
		return;
	}
	if (p->kind == TUNNEL_KIND_HELLO) {
		hello_receive(s, now, p);
		return;
	}
	if (s->state != SESSION_UP || p->from_session != s->peer || p->to_session != s->own) {
		s->stats.dropped++;
		return;
	}
	s->heard = now;
	switch (p->kind) {
	case TUNNEL_KIND_PING:
	case TUNNEL_KIND_PONG:
		ping_receive(s, now, p);
		break;
	case TUNNEL_KIND_DATA:
		data_receive(s, now, p);
		break;
	case TUNNEL_KIND_ACK:
		ack_receive(s, now, p);
		break;
	case TUNNEL_KIND_BYE:
		bye_receive(s, now, p);
		break;
	case TUNNEL_KIND_HELLO:
		break;
	}
}

void session_flush(struct session *s)
{
	if (s->state != SESSION_UP) {
		return;
	}
	for (unsigned i = 0; i < TUNNEL_CLASSES; i++) {
		if (s->in[i].received != s->in[i].told) {
			ack_emit(s);
			return;
		}
	}
}

/* ---- time ---- */

static void tick_hello(struct session *s, struct mono now)
{
	if (mono_before(now, s->hello_at)) {
		return;
	}
	hello_emit(s, s->own, 0, false);
	s->hello_at = mono_add_ms(now, s->hello_wait);
	s->hello_wait = s->hello_wait * 2 > SESSION_HELLO_MAX_MS ? SESSION_HELLO_MAX_MS : s->hello_wait * 2;
}

static void tick_up(struct session *s, struct mono now, bool late)
{
	char text[80];

	if (late) {
		s->heard = s->progress = now;
	}
	if (!mono_before(now, mono_add_ms(s->heard, s->config.dead_ms))) {
		snprintf(text, sizeof(text), "nothing was heard for %u ms", s->config.dead_ms);
		session_broken(s, now, text, ETIMEDOUT);
		return;
	}
	if (session_in_flight(s) > 0 && !mono_before(now, mono_add_ms(s->progress, s->config.stall_ms))) {
		snprintf(text, sizeof(text), "it acknowledged nothing for %u ms", s->config.stall_ms);
		session_broken(s, now, text, ETIMEDOUT);
		return;
	}
	if (!mono_before(now, s->ping_at)) {
		ping_emit(s, TUNNEL_KIND_PING, now.ns);
		s->ping_at = mono_add_ms(now, s->config.heartbeat_ms);
	}
}

void session_tick(struct session *s, struct mono now, bool late)
{
	if (s->state == SESSION_UP) {
		tick_up(s, now, late);
	}
	if (s->state == SESSION_HELLO) {
		tick_hello(s, now);
	}
}

struct mono session_due(const struct session *s)
{
	struct mono due;

	switch (s->state) {
	case SESSION_HELLO:
		return s->hello_at;
	case SESSION_UP:
		due = mono_min(s->ping_at, mono_add_ms(s->heard, s->config.dead_ms));
		return session_in_flight(s) > 0 ? mono_min(due, mono_add_ms(s->progress, s->config.stall_ms)) : due;
	case SESSION_OFF:
		break;
	}
	return MONO_NEVER;
}

/* ---- what others want to know ---- */

enum session_state session_state(const struct session *s)
{
	return s->state;
}

uint32_t session_peer_version(const struct session *s)
{
	return s->version;
}

size_t session_queued(const struct session *s)
{
	return s->out[0].queued + s->out[1].queued;
}

size_t session_in_flight(const struct session *s)
{
	return (size_t)(s->out[0].sent - s->out[0].acked + s->out[1].sent - s->out[1].acked);
}

const struct session_stats *session_stats(const struct session *s)
{
	return &s->stats;
}

struct session *session_new(TALLOC_CTX *mem, const struct session_config *config, const struct session_ops *ops,
			    void *priv)
{
	struct session *s = talloc_zero(mem, struct session);

	if (s == NULL) {
		return NULL;
	}
	s->config = *config;
	s->ops = ops;
	s->priv = priv;
	flow_out_init(&s->out[0], SESSION_WINDOW_CONTROL);
	flow_out_init(&s->out[1], SESSION_WINDOW_BULK);
	return s;
}
