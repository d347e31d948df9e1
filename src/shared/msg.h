/* Messages between daemons and processes: Unix datagrams on a node, transportd between nodes. */
#ifndef SHARED_MSG_H
#define SHARED_MSG_H

#include <stdbool.h>
#include <stdint.h>
#include <talloc.h>
#include <tevent.h>

#include "shared/rpc.h"

/*
 * An endpoint is service[.instance]@node. Its socket is MSG_DIR/service[.instance], mode 0600. service: 1..31 of [a-z0-9-];
 * instance: the same and digits. node: a pnn, NODE_SELF or a group (NODE_GROUP_*): notifications to it go to that endpoint of each of its nodes;
 * where there is no such endpoint the packet is dropped and counted. A group in which nobody is: counted at the sender (group_empty).
 */
struct msg_addr {
	char endpoint[64]; /* "db", "cli.4711" */
	uint32_t node;
};

struct msg;

/* Whether it is a well-formed name of an endpoint, without node. */
bool msg_endpoint_valid(const char *endpoint);
bool msg_node_is_group(uint32_t node);
/* "db@2", "db@self", "db@all", "db@connected", "db@active". 0 or EINVAL; no spaces, signs or leading zeros. */
int msg_addr_parse(const char *text, struct msg_addr *addr);
char *msg_addr_text(TALLOC_CTX *mem, const struct msg_addr *addr);

/*
 * What happens when somebody does not read. Nothing ever blocks: the kernel keeps 10 datagrams for a receiver, the sender up to queue_bytes for each
 * destination of its node, transportd as much again for an endpoint of its node and 64 MiB for each other node. Beyond it the packet is dropped and counted:
 *   a request ends with ENOBUFS (at once if the queue is here, by an error reply if it is transportd's), a reply is lost (its request times out),
 *   a notification returns ENOBUFS if the queue is here and is lost if it is transportd's. Bulk data does not get there: streams (msg_stream.h) wait for credit.
 * Requests to an endpoint of this node whose process ends, or is started again, before it answered: ECONNRESET, at the latest half a second
 * later; what was not yet handed to the kernel goes to the new one. On another node: the time-out.
 */
struct msg_limits {
	size_t queue_bytes;    /* per destination socket, default 8 MiB; beyond it: ENOBUFS to the sender, counted, logged once a second */
	size_t inline_bytes;   /* default 64 KiB: a larger payload travels as a sealed memfd */
	size_t payload_bytes;  /* default 64 MiB: larger is EMSGSIZE */
};

/*
 * Freeing the endpoint is allowed at any time, also in a handler: calls and requests that wait in the kernel are answered ECANCELED, own requests
 * end with ESHUTDOWN, the socket file is removed.
 */
/* Opens the endpoint; makes msg_dir (0700) if it is missing. EADDRINUSE if a living process has it; a socket left by a dead one is replaced. own_node: this node's pnn. */
int msg_open(TALLOC_CTX *mem, struct tevent_context *ev, const char *msg_dir, const char *endpoint, uint32_t own_node,
	     const struct msg_limits *limits /* NULL: defaults */, struct msg **m, char **err);

/* Serves an interface: requests and notifications for it go to dispatch. One registration an interface; EEXIST otherwise. Clients of any version are
 * served: what they know and we do not is an unknown procedure (ENOSYS) or a trailing field. */
int msg_serve(struct msg *m, uint32_t interface, uint32_t version, rpc_dispatch_fn dispatch, void *priv);

/* A client of one endpoint, for generated stubs. Talloc child of mem; dst is copied. dst.node may be a remote node, or a group: then requests are
 * refused (EINVAL). */
struct rpc_client *msg_client(TALLOC_CTX *mem, struct msg *m, const struct msg_addr *dst);
/* The same, its packets and their replies are of the bulk class: between nodes they do not delay others. Order is kept within a class only. */
struct rpc_client *msg_client_bulk(TALLOC_CTX *mem, struct msg *m, const struct msg_addr *dst);

/*
 * For transportd alone: takes every datagram whose destination is another node. The handler gets the complete encoded packet (header
 * and payload; dest_node may be a group), and hands packets that came in over a link, and the own node's copy of what went to a group, to
 * msg_deliver(). Undeliverable (no such endpoint here, queue full,
 * header malformed): errno; a request among them was then answered with an error to its source by msg itself where possible.
 */
typedef void (*msg_route_fn)(void *priv, uint32_t dest_node, const uint8_t *packet, size_t len);
void msg_set_router(struct msg *m, msg_route_fn route, void *priv);
int msg_deliver(struct msg *m, uint32_t from_node, const uint8_t *packet, size_t len);
/*
 * For transportd alone: what a packet to a group becomes. has() says which of the nodes below n_nodes are in it: this node's copy is delivered, for the
 * others send() is called with the packet as it came. Each copy is addressed to one node: nobody on the way has to know about groups, or
 * expands them again. In nobody's case the source is told.
 */
struct msg_group_ops {
	bool (*has)(void *priv, uint32_t group, uint32_t pnn);
	void (*send)(void *priv, uint32_t pnn, const uint8_t *packet, size_t len);
};
void msg_to_group(struct msg *m, uint32_t group, uint32_t n_nodes, const struct msg_group_ops *ops, void *priv, const uint8_t *packet, size_t len);
/* transportd tells that packet could not be sent to its node: the source, if it waits for a reply, gets EHOSTUNREACH. */
void msg_undeliverable(struct msg *m, const uint8_t *packet, size_t len, int error);

/* A packet for a group that nobody is in: its sender counts it. */
void msg_group_empty(struct msg *m, const uint8_t *packet, size_t len);

/* How transportd puts a packet on a link: the header as the peer reads it, addressed to one node, and the payload as it is. */
struct msg_packet_plan {
	uint8_t header[512];
	size_t header_len;
	const uint8_t *payload; /* in the packet */
	size_t payload_len;
	uint32_t flags;		/* MSG_FLAG_*, also if version has no place for them */
};
/* version: interface version of the link (1: header without flags). 0 or EBADMSG. */
int msg_packet_plan(const uint8_t *packet, size_t len, uint32_t version, uint32_t node, struct msg_packet_plan *plan);

/* Every endpoint answers interface MSGSTAT (protocol/msgstat.x) with these. Meaning of each: there. */
struct msg_stats {
	uint64_t sent, received, sent_bytes, received_bytes, dropped_full, dropped_malformed, no_endpoint, timeouts;
	uint64_t unreachable, group_empty, peer_lost;
};
const struct msg_stats *msg_stats(const struct msg *m);

#endif
