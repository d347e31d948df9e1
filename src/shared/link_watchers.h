/* The endpoints of this node that are told when a link goes up or down. For who serves the transport interface. */
#ifndef SHARED_LINK_WATCHERS_H
#define SHARED_LINK_WATCHERS_H

#include <stdint.h>
#include <talloc.h>

#include "protocol/transport.h"

struct msg;
struct rpc_call;

/* At most 64. A subscription is forgotten after 20 s unless it is renewed (every 5 s by who still wants it), and when its endpoint is gone. */
struct link_watchers;

/* m must outlive it. NULL: no memory. */
struct link_watchers *link_watchers_new(TALLOC_CTX *mem, struct msg *m, uint32_t own_pnn);
/* Who misses one of these learns it with the next renewal: its answer holds all links. */
void link_watchers_tell(struct link_watchers *w, const struct link_change *change);
/* Adds or renews what SUBSCRIBE asks for. 0: call is to be answered with all links; else it was refused and is gone. */
int link_watchers_subscribe(struct link_watchers *w, struct rpc_call *call, const struct link_subscribe_args *arg);

#endif
