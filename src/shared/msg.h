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
 * instance: the same and digits. node: a pnn or NODE_SELF.
 */
struct msg_addr {
	char endpoint[64]; /* "db", "cli.4711" */
	uint32_t node;
};

struct msg;

/* Whether it is a well-formed name of an endpoint, without node. */
bool msg_endpoint_valid(const char *endpoint);

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

/* A client of one endpoint, for generated stubs. Talloc child of mem; dst is copied. dst.node may be a remote node. */
struct rpc_client *msg_client(TALLOC_CTX *mem, struct msg *m, const struct msg_addr *dst);

/*
 * For transportd alone: takes every datagram whose destination is another node. The handler gets the complete encoded packet (header
 * and payload), and hands packets that came in over a link to msg_deliver(). Undeliverable (no such endpoint here, queue full,
 * header malformed): errno; a request among them was then answered with an error to its source by msg itself where possible.
 */
typedef void (*msg_route_fn)(void *priv, uint32_t dest_node, const uint8_t *packet, size_t len);
void msg_set_router(struct msg *m, msg_route_fn route, void *priv);
int msg_deliver(struct msg *m, uint32_t from_node, const uint8_t *packet, size_t len);
/* transportd tells that packet could not be sent to its node: the source, if it waits for a reply, gets EHOSTUNREACH. */
void msg_undeliverable(struct msg *m, const uint8_t *packet, size_t len, int error);

struct msg_stats {
	uint64_t sent, received, sent_bytes, received_bytes, dropped_full, dropped_malformed, no_endpoint, timeouts;
};
const struct msg_stats *msg_stats(const struct msg *m);

#endif
