/* Links: a mesh of framed TCP connections to the same daemon on the other nodes. transportd has one, dbd has one. */
#ifndef SHARED_LINK_H
#define SHARED_LINK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>
#include <talloc.h>
#include <tevent.h>

#include "shared/cluster_key.h"
#include "shared/conf.h"

/*
 * A link to a node is a bundle of TCP connections over one path. Path i goes from our address i to the other node's address i (nodes list);
 * who has only one address uses it in every path. A path has one connection per class: control, and bulk for what may delay others. The node
 * with the higher pnn connects, the other listens, on all its addresses. All paths are kept connected; exactly one is active and carries frames.
 * Which one, and how another one takes over, is in link_path.c.
 *
 * A connection is TLS 1.3 with a pre-shared key of the cluster (link_tls.h) if the mesh has keys. It is up after both sides exchanged a hello
 * frame (protocol/link.x): magic, protocol version, mesh name, both pnns, both incarnations, interface versions, path and class. Checks: source
 * address is that of the claimed pnn in the nodes list; the hello names us. What fails is closed with one rate-limited log line naming address
 * and reason. A connection without valid hello costs at most a TLS handshake, 8 KiB read and 5 s; at most 64 of them, 8 of an address.
 *
 * Frames: u32 length of what follows (big endian, 4..max_frame), u32 type (big endian), payload. Types below 16 are the link's own (hello,
 * ping, pong, use); others belong to the user. A malformed frame closes the path with one log line, callback down, then reconnect.
 *
 * Strangers: who connects from an address that is in no line of the nodes list is refused at once, unless the mesh has TLS and its user takes such
 * (ops moved): then it may say in one frame MOVED, after the handshake and in place of a hello, that it is a node whose address has changed. At most
 * LINK_STRANGERS at a time (a further one is refused: nobody else gives way) and LINK_STRANGERS_PER_S in a second, with the bounds above. A node of the list may say
 * the same. The answer is one frame LIST, within LINK_MOVED_MS; nothing else is ever sent or taken on such a connection.
 *
 * Heartbeats: ping each heartbeat_ms on each connection whatever else is sent; pong echoes its time stamp (RTT). Nothing received for dead_ms:
 * path closed. If it was the active one: after dead_ms / 2 already if another path is alive, and that one takes over at once: down with reason
 * ETIMEDOUT, then up. If the own loop stalled (timer late by more than dead_ms / 2), peers get a full dead_ms from then on.
 *
 * Order: frames of one class to one node arrive in the order sent, never twice; between classes there is no order. A frame is lost only with
 * its path, and then both sides are told (down). Frames sent while the link is down are refused (EHOSTUNREACH), never queued. Nothing that
 * was sent over a path that was left is delivered later.
 *
 * Versions: what both sides speak is the lower one of their newest interface versions. A node that speaks 1 has one connection, on path 0.
 *
 * Reading: at most a bounded batch per event, so that no peer starves another. Writing: gathered at the end of the event loop turn.
 */
#define LINK_INTERFACE 2 /* newest interface version; since 2: paths and classes */
#define LINK_PATHS     CONF_NODE_ADDRS
#define LINK_CLASSES   2

#define LINK_STRANGERS	     4
#define LINK_STRANGERS_PER_S 8
#define LINK_MOVED_MS	     40000

enum link_class {
	LINK_CLASS_CONTROL = 0,
	LINK_CLASS_BULK = 1,
};

struct link_mesh;
struct link_moved; /* protocol/link.h */
struct link_list;

struct link_config {
	const char *name;	 /* mesh name, must agree: "transport", "db" */
	uint16_t port;		 /* TCP port, bound on all own addresses */
	uint32_t own_pnn;
	uint64_t incarnation;
	uint32_t interface_version; /* newest spoken; below LINK_INTERFACE to talk as an older version did */
	uint32_t interface_oldest;  /* 0: 1 */
	uint32_t n_classes;	    /* 1 (also 0) or 2; with one, bulk goes over the control connection, in order with it */
	const struct cluster_keys *keys; /* copied; NULL: no TLS */
	uint32_t heartbeat_ms, dead_ms;
	uint32_t reconnect_ms;	 /* first wait, doubling up to a quarter of dead_ms, 1 s at most, with jitter */
	uint32_t max_frame;	 /* bytes */
	size_t queue_bytes;	 /* per peer and class; beyond: link_send() returns ENOBUFS */
};

/*
 * Called from the event loop (down() also by link_mesh_set_nodes()). They may call everything here, but not free the mesh. up() and down()
 * alternate; a change of the path is down() and up().
 */
struct link_ops {
	void (*up)(void *priv, uint32_t pnn, uint64_t peer_incarnation);
	/* reason: errno: ECONNRESET closed by peer, ETIMEDOUT silent, EBADMSG malformed, EHOSTDOWN off the nodes list, or the socket's */
	void (*down)(void *priv, uint32_t pnn, int reason);
	void (*frame)(void *priv, uint32_t pnn, uint32_t type, const uint8_t *data, size_t len); /* data valid until return */
	/* queue of a peer fell below a quarter of queue_bytes after link_send() said ENOBUFS or link_queued() was above half; may be NULL */
	void (*drained)(void *priv, uint32_t pnn);
	/*
	 * A node says that its address has changed: it has a key of the cluster, and connects from one of the addresses that it names (which are valid as a line
	 * of the nodes file); all else is to be checked. Answered by link_moved_answer(token), also from within. moved: valid until return. NULL: refused.
	 */
	void (*moved)(void *priv, uint64_t token, const struct link_moved *moved);
};

/* Binds and listens at once (EADDRINUSE, EADDRNOTAVAIL with *err naming address and port), then connects to nodes. */
int link_mesh_new(TALLOC_CTX *mem, struct tevent_context *ev, const struct link_config *config, const struct conf_nodes *nodes,
		  const struct link_ops *ops, void *priv, struct link_mesh **mesh, char **err);

/* Replaces the keys (copied) for connections that begin from now on; those that are up stay. EINVAL: the mesh was made without keys, or none
 * are given. ENOMEM: nothing is changed. */
int link_mesh_set_keys(struct link_mesh *mesh, const struct cluster_keys *keys);

/* The parts are copied. 0; EHOSTUNREACH link not up (also for own pnn); ENOBUFS; EMSGSIZE; EINVAL type below 16. Class control. */
int link_send(struct link_mesh *mesh, uint32_t pnn, uint32_t type, const struct iovec *parts, int n_parts);

int link_send_class(struct link_mesh *mesh, uint32_t pnn, enum link_class link_class, uint32_t type, const struct iovec *parts, int n_parts);

bool link_is_up(const struct link_mesh *mesh, uint32_t pnn);
size_t link_queued(const struct link_mesh *mesh, uint32_t pnn); /* bytes, all classes */
size_t link_queued_class(const struct link_mesh *mesh, uint32_t pnn, enum link_class link_class);
uint64_t link_incarnation(const struct link_mesh *mesh, uint32_t pnn); /* of the peer, 0 if down */
uint32_t link_peer_version(const struct link_mesh *mesh, uint32_t pnn); /* interface version spoken with the peer, 0 if down */
/* Answers a node that has moved; if it is gone: nothing. */
void link_moved_answer(struct link_mesh *mesh, uint64_t token, const struct link_list *list);
/* Closes all paths (callback down is not called); they reconnect. up() comes in a later turn of the event loop. */
void link_drop(struct link_mesh *mesh, uint32_t pnn);
/* A changed nodes list: touches only what differs. EINVAL, and nothing is changed, if the own address is another one now. down() is called
 * for linked nodes that are gone or have moved. */
int link_mesh_set_nodes(struct link_mesh *mesh, const struct conf_nodes *nodes);

struct link_path_stats {
	char address[64];	/* of the other node */
	bool up;		/* all its connections are */
	bool active;
	uint64_t rtt_us;	/* of its control connection */
	const char *security;	/* "tls", "none"; "" if not up */
	char key_id[17];	/* "" without TLS */
};

struct link_stats {
	bool up;
	uint64_t rtt_us, rtt_max_us, frames_in, frames_out, bytes_in, bytes_out, ups;
	uint64_t switches; /* times that one path took over from another */
	uint32_t n_paths;
	struct link_path_stats path[LINK_PATHS];
};
void link_stats(const struct link_mesh *mesh, uint32_t pnn, struct link_stats *stats);

#endif
