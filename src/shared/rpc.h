/* Remote procedure calls, independent of what carries them: what generated stubs and dispatch tables use. */
#ifndef SHARED_RPC_H
#define SHARED_RPC_H

#include <stdbool.h>
#include <stdint.h>
#include <talloc.h>
#include <tevent.h>

#include "base/xdr.h"

/* Node numbers with a meaning, in endpoint addresses. */
#define NODE_SELF 0xFFFFFFFEU
#define NODE_UNKNOWN 0xFFFFFFFFU
/* Groups: destinations of notifications. The own node is among them if it qualifies. */
#define NODE_GROUP_ALL	     0xFFFFFFF0U /* the nodes list */
#define NODE_GROUP_CONNECTED 0xFFFFFFF1U /* linked */
#define NODE_GROUP_ACTIVE    0xFFFFFFF2U /* of the current view */

/*
 * One request that a server works on. Made by the carrier (msg.c), a talloc object. A two-way call is answered exactly once, by
 * rpc_call_reply() or rpc_call_fail(), which free it; freeing it unanswered sends status ECANCELED. A one-way call is freed by
 * the carrier when the handler returns.
 */
struct rpc_call {
	uint32_t source_node;	     /* pnn the request came from */
	const char *source_endpoint; /* "db", "cli.4711": for logs and for subscriptions */
	uint32_t source_uid;	     /* uid of the sender if on this node, else UINT32_MAX */
	int32_t source_pid;	     /* pid of the sender if on this node, else 0 */
	bool oneway;		     /* it came as a notification: nobody waits for an answer */
	void (*answer)(struct rpc_call *call, int32_t status, const uint8_t *buf, size_t len); /* carrier's */
	void *carrier;
};

/* status: 0 or a positive errno value; result bytes only with status 0. Both free call. */
void rpc_call_reply(struct rpc_call *call, const uint8_t *buf, size_t len);
void rpc_call_fail(struct rpc_call *call, int32_t status);

/* How a client stub sends. Made by the carrier (msg_client()). timeout_ms 0: the carrier's default, 30 s. */
struct rpc_client {
	struct tevent_req *(*request_send)(TALLOC_CTX *mem, struct tevent_context *ev, struct rpc_client *c, uint32_t interface,
					   uint32_t version, uint32_t proc, const uint8_t *buf, size_t len, uint32_t timeout_ms);
	/* 0 and the result bytes (talloc'ed below mem), or errno as listed in protocol/gen/README.md */
	int (*request_recv)(struct tevent_req *req, TALLOC_CTX *mem, struct ctdb_blob *result);
	int (*notify)(struct rpc_client *c, uint32_t interface, uint32_t version, uint32_t proc, const uint8_t *buf, size_t len);
	void *carrier;
};

/* A dispatch function as registered with a carrier; the generated foo_dispatch() wrapped by the daemon. */
typedef int (*rpc_dispatch_fn)(void *priv, struct rpc_call *call, uint32_t proc, const uint8_t *buf, size_t len);

#endif
