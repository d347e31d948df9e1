/* Tunnels: packets between two programs on different nodes, at most one program a node and tunnel. */
#ifndef CTDB_TUNNEL_H
#define CTDB_TUNNEL_H

#include <ctdb/client.h>

#define CTDB_TUNNEL_TEST 0xFFFFFFFF00000000ULL /* for tests */

/* Flags of a packet: for the two ends, no daemon looks at them. */
#define CTDB_TUNNEL_FLAG_REQUEST 0x01U
#define CTDB_TUNNEL_FLAG_REPLY   0x02U
#define CTDB_TUNNEL_FLAG_NOREPLY 0x10U

/* This node's end of a tunnel; talloc_free() ends it. */
struct ctdb_tunnel;
/*
 * Called for each packet. data is valid until it returns. Who sent it, and which request an answer belongs to, must be
 * in the data. May free the tunnel or the client, and call everything but synchronous functions.
 */
typedef void (*ctdb_tunnel_fn)(void *priv, uint32_t flags, struct ctdb_data data);

/* id: what both ends agreed on. EEXIST: another program of this node has it. */
struct tevent_req *ctdb_tunnel_open_send(TALLOC_CTX *mem, struct ctdb_client *c, uint64_t id, ctdb_tunnel_fn fn,
					 void *priv);
int ctdb_tunnel_open_recv(struct tevent_req *req, TALLOC_CTX *mem, struct ctdb_tunnel **tunnel);
/* Packets are then handled in ctdb_client_wait() and while other synchronous functions wait. */
int ctdb_tunnel_open(struct ctdb_client *c, uint64_t id, ctdb_tunnel_fn fn, void *priv, TALLOC_CTX *mem,
		     struct ctdb_tunnel **tunnel);

/*
 * Sends to the end on one node (its number; CTDB_NODE_CURRENT is taken as the own one, several at once are EINVAL). No
 * acknowledgement; lost if nobody is there. Order between two ends is kept. 0: queued in this process
 * (ctdb_client_flush() waits for it to be sent); ENOTCONN; ENOBUFS; EMSGSIZE: over 64 MiB.
 */
int ctdb_tunnel_post(struct ctdb_tunnel *tunnel, uint32_t node, uint32_t flags, struct ctdb_data data);

#endif
