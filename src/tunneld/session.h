/* A link to one node through the existing daemons, as pure code: handshake, heartbeats, pieces, windows. */
#ifndef TUNNELD_SESSION_H
#define TUNNELD_SESSION_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>
#include <talloc.h>

#include "base/mono.h"
#include "protocol/tunnel.h"

/*
 * The medium: what is handed to ops->emit() arrives at the other side in order, or not at all; it may be read and forged by every process that
 * may connect to an existing daemon of the cluster, which shows no receiver who the sender was. So each packet names its nodes, and
 * everything but the first HELLO names the sessions of both sides, 64 random bits each: who did not hear them can forge nothing. Who can (root on a node
 * of the existing cluster) can do anything; this is the security of that cluster, not more.
 *
 *            attached()                HELLO that names our session
 *      OFF ------------> HELLO --------------------------------------> UP
 *       ^                  ^  \________ HELLO each hello_ms.. ________/ |
 *       |  detached()      |                                            | BYE; silence for dead_ms; loss; no acknowledgement for stall_ms
 *       +----- any         +--------------------------------------------+ (down(), new own session)
 *
 * UP -> UP with other sessions (down(), up()): a HELLO with a session that is not the peer's may be a restarted peer or a forgery. It is answered
 * with a session that would be ours then (next); only who names that one in its HELLO has heard us.
 *
 * HELLO that does not name our session: answered by one that names the sender's. Two that look for each other so agree after three packets, and
 * a HELLO that names the right one is answered only by who was not up. No chain of answers is endless.
 *
 * Invariants:
 *  S1 deliver() only between up() and down(), only whole packets, per class in the order of session_send(), none twice: a piece that is not the
 *     next byte of its class is either old (dropped) or proves a loss (the session ends).
 *  S2 of each class at most its window is sent and not acknowledged; both windows together: SESSION_WINDOW. The pieces of the control class
 *     go first.
 *  S3 a packet of other sessions than the present pair changes nothing, whatever it contains.
 *  S4 memory for a packet that arrives in pieces grows with what has arrived, not with what was announced.
 *  S5 a loss is noticed by the next PING: it says how much was sent before it.
 */
#define SESSION_WINDOW_CONTROL (256U << 10)
#define SESSION_WINDOW_BULK    (768U << 10)
#define SESSION_WINDOW	       (SESSION_WINDOW_CONTROL + SESSION_WINDOW_BULK)
#define SESSION_PACKET_MAX     ((64U << 20) + 1024) /* the largest payload of a packet between endpoints, and its header */
#define SESSION_HELLO_MAX_MS   1000U

enum session_state { SESSION_OFF, SESSION_HELLO, SESSION_UP };

struct session;

struct session_config {
	uint32_t own, peer; /* pnn */
	uint64_t incarnation;
	uint32_t interface_version, interface_oldest;
	uint32_t heartbeat_ms, dead_ms, stall_ms;
	uint32_t hello_ms;  /* first pause between two HELLOs, doubling up to SESSION_HELLO_MAX_MS */
	size_t queue_bytes; /* that wait for their window, each class */
};

struct session_ops {
	/* One encoded tunnel_packet. by_tunnel: as REQ_TUNNEL, else as REQ_MESSAGE. Must not call the session. */
	void (*emit)(void *priv, uint32_t pnn, bool by_tunnel, const uint8_t *data, size_t len);
	/* These three may call session_send(). */
	void (*deliver)(void *priv, uint32_t pnn, const uint8_t *data, size_t len);
	void (*up)(void *priv, uint32_t pnn, uint64_t incarnation);
	void (*down)(void *priv, uint32_t pnn, int reason);
	/* Something to tell a human about this peer. */
	void (*complain)(void *priv, uint32_t pnn, const char *text);
	uint64_t (*random)(void *priv);
};

struct session_stats {
	uint64_t rtt_us, rtt_max_us, bytes_in, bytes_out, ups;
	uint64_t dropped; /* packets of other sessions, malformed, doubled */
};

/* State OFF. NULL: out of memory. ops must live on. */
struct session *session_new(TALLOC_CTX *mem, const struct session_config *config, const struct session_ops *ops, void *priv);

/* The existing daemon can be used from now on. tunnel: REQ_TUNNEL reaches us. */
void session_attached(struct session *s, struct mono now, bool tunnel);
/* ... and not any more. down() if it was up. */
void session_detached(struct session *s, int reason);

/* A packet whose from_pnn is the peer and whose to_pnn is us. */
void session_receive(struct session *s, struct mono now, const struct tunnel_packet *p);
/* One packet; the parts are copied. 0; EHOSTUNREACH not up; ENOBUFS; EMSGSIZE; ENOMEM; EINVAL unknown class or
 * nothing. */
int session_send(struct session *s, struct mono now, unsigned class, const struct iovec *parts, int n_parts);
/* Sends the acknowledgements that are owed: once in a turn of the event loop. */
void session_flush(struct session *s);
/* Tells the peer that we stop. down() is not called. */
void session_bye(struct session *s, int reason);

/* What time brings. late: we were slow, or have something unread: silence says nothing now. */
void session_tick(struct session *s, struct mono now, bool late);
/* When session_tick() is due. MONO_NEVER in state OFF. */
struct mono session_due(const struct session *s);

enum session_state session_state(const struct session *s);
uint32_t session_peer_version(const struct session *s); /* negotiated; 0 if not up */
size_t session_queued(const struct session *s);		/* bytes that wait for their window */
size_t session_in_flight(const struct session *s);	/* bytes sent and not acknowledged */
const struct session_stats *session_stats(const struct session *s);

#endif
