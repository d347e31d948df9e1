/* Which nodes are active: the view of this node's clusterd, followed. */
#ifndef SHARED_ACTIVE_NODES_H
#define SHARED_ACTIVE_NODES_H

#include <stdbool.h>
#include <stdint.h>
#include <talloc.h>

struct daemon;

/*
 * clusterd tells the daemon's endpoint of changes and, each heartbeat, that it is there. Without a clusterd nobody is known to be active, once
 * the lease that it told last has ended. Serves the callbacks of the cluster interface at the daemon's endpoint: one of these per daemon.
 */
struct active_nodes;

/* endpoint: the daemon's own. Talloc child of mem; lives as long as the endpoint. 0, ENOMEM, EEXIST: the daemon serves the cluster interface already. */
int active_nodes_new(TALLOC_CTX *mem, struct daemon *d, const char *endpoint, struct active_nodes **result);

/* clusterd has said something: it is asked at once if it was not there before. */
void active_nodes_clusterd_there(struct active_nodes *a);

bool active_nodes_has(const struct active_nodes *a, uint32_t pnn);

#endif
