/* Messages: to everybody who registered a 64-bit address (srvid) on the nodes they are sent to. */
#ifndef CTDB_MESSAGE_H
#define CTDB_MESSAGE_H

#include <ctdb/client.h>

#define CTDB_SRVID_ALL         0xFFFFFFFFFFFFFFFFULL /* as registration: every message of this node */
#define CTDB_SRVID_LEADER      0xF101000000000000ULL /* u32 pnn of the leader, each second */
#define CTDB_SRVID_RECONFIGURE 0xF200000000000000ULL /* after each recovery */
#define CTDB_SRVID_RELEASE_IP  0xF300000000000000ULL /* this node released a public address: text with NUL */
#define CTDB_SRVID_TAKE_IP     0xF301000000000000ULL /* this node took one: text with NUL */
#define CTDB_SRVID_TEST        0xAE00000000000000ULL /* range for tests: | your number */

/*
 * Sends: no acknowledgement, no answer; lost if nobody listens. Order between one sender and one receiver is kept. 0:
 * queued in this process (the event loop sends it; ctdb_client_flush() waits for that); ENOTCONN; ENOBUFS; EMSGSIZE:
 * over 64 MiB. The receiver cannot see who sent: put that into the data.
 */
int ctdb_post_message(struct ctdb_client *c, uint32_t node, uint64_t srvid, struct ctdb_data data);

/*
 * A registration. talloc_free() ends it. Several for the same srvid get a copy each. A client with one for
 * CTDB_SRVID_ALL and others besides gets two copies of what is for the others: use a client of its own for that.
 */
struct ctdb_listener;
/*
 * Called for each message. data is valid until it returns. It may free the listener or the client, and call everything
 * but synchronous functions (they give EDEADLK). srvid: where it was sent to.
 */
typedef void (*ctdb_message_fn)(void *priv, uint64_t srvid, struct ctdb_data data);

/* Messages that come after this has finished are given to fn, in their order; the listener belongs to mem. */
struct tevent_req *ctdb_listen_send(TALLOC_CTX *mem, struct ctdb_client *c, uint64_t srvid, ctdb_message_fn fn,
				    void *priv);
int ctdb_listen_recv(struct tevent_req *req, TALLOC_CTX *mem, struct ctdb_listener **listener);
/* Messages are then handled in ctdb_client_wait() and while other synchronous functions wait. */
int ctdb_listen(struct ctdb_client *c, uint64_t srvid, ctdb_message_fn fn, void *priv, TALLOC_CTX *mem,
		struct ctdb_listener **listener);

#endif
