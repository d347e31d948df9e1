/* Links: a mesh of framed TCP connections to the same daemon on the other nodes. transportd has one, dbd has one. */
#ifndef SHARED_LINK_H
#define SHARED_LINK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>
#include <talloc.h>
#include <tevent.h>

#include "shared/conf.h"

/*
 * One duplex connection per pair of nodes: the node with the higher pnn connects, the other listens. A connection is up after both
 * sides exchanged a hello frame (protocol/link.x): magic, protocol version, mesh name, both pnns, both incarnations, interface
 * version. Checks: source address is that of the claimed pnn in the nodes list; the hello names us. What fails is closed with one
 * rate-limited log line naming address and reason; an unauthenticated connection costs at most 4 KiB and 5 s; at most 64 of them.
 *
 * Frames: u32 length of what follows (big endian, 4..max_frame), u32 type (big endian), payload. Types below 16 are the link's own (hello,
 * ping, pong); others belong to the user. A malformed frame closes the connection with one log line, callback down, then reconnect.
 *
 * Heartbeats: ping each heartbeat_ms whatever else is sent; pong echoes its time stamp (RTT). Nothing received for dead_ms: connection closed, down
 * with reason ETIMEDOUT. If the own loop stalled (timer late by more than dead_ms / 2), peers get a full dead_ms from then on.
 *
 * Order: frames to one node arrive in the order sent, on one connection; a frame is lost only with its connection. Frames sent while the
 * link is down are refused (EHOSTUNREACH), never queued. Partially sent frames are never continued on the next connection.
 *
 * Reading: at most a bounded batch per event, so that no peer starves another. Writing: gathered (writev) at the end of the event loop turn.
 */
struct link_mesh;

struct link_config {
	const char *name;	 /* mesh name, must agree: "transport", "db" */
	uint16_t port;		 /* TCP port, bound on the own node address */
	uint32_t own_pnn;
	uint64_t incarnation;
	uint32_t interface_version; /* told to the peer */
	uint32_t heartbeat_ms, dead_ms;
	uint32_t reconnect_ms;	 /* first wait, doubling up to a quarter of dead_ms, 1 s at most, with jitter */
	uint32_t max_frame;	 /* bytes */
	size_t queue_bytes;	 /* per peer; beyond: link_send() returns ENOBUFS */
};

/* Called from the event loop (down() also by link_mesh_set_nodes()). They may call everything here, but not free the mesh. */
struct link_ops {
	void (*up)(void *priv, uint32_t pnn, uint64_t peer_incarnation);
	/* reason: errno: ECONNRESET closed by peer, ETIMEDOUT silent, EBADMSG malformed, EHOSTDOWN off the nodes list, or the socket's */
	void (*down)(void *priv, uint32_t pnn, int reason);
	void (*frame)(void *priv, uint32_t pnn, uint32_t type, const uint8_t *data, size_t len); /* data valid until return */
	/* queue of a peer fell below a quarter of queue_bytes after link_send() said ENOBUFS or link_queued() was above half; may be NULL */
	void (*drained)(void *priv, uint32_t pnn);
};

/* Binds and listens at once (EADDRINUSE, EADDRNOTAVAIL with *err naming address and port), then connects to nodes. */
int link_mesh_new(TALLOC_CTX *mem, struct tevent_context *ev, const struct link_config *config, const struct conf_nodes *nodes,
		  const struct link_ops *ops, void *priv, struct link_mesh **mesh, char **err);

/* The parts are copied. 0; EHOSTUNREACH link not up (also for own pnn); ENOBUFS; EMSGSIZE; EINVAL type below 16. */
int link_send(struct link_mesh *mesh, uint32_t pnn, uint32_t type, const struct iovec *parts, int n_parts);

bool link_is_up(const struct link_mesh *mesh, uint32_t pnn);
size_t link_queued(const struct link_mesh *mesh, uint32_t pnn); /* bytes */
uint64_t link_incarnation(const struct link_mesh *mesh, uint32_t pnn); /* of the peer, 0 if down */
/* Closes the connection (callback down is not called); it reconnects. */
void link_drop(struct link_mesh *mesh, uint32_t pnn);
/* A changed nodes list: touches only what differs. EINVAL, and nothing is changed, if the own address is another one now. down() is called
 * for linked nodes that are gone or have moved. */
int link_mesh_set_nodes(struct link_mesh *mesh, const struct conf_nodes *nodes);

struct link_stats {
	bool up;
	uint64_t rtt_us, rtt_max_us, frames_in, frames_out, bytes_in, bytes_out, ups;
};
void link_stats(const struct link_mesh *mesh, uint32_t pnn, struct link_stats *stats);

#endif
