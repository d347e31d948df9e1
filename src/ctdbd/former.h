/* A node that by its address is another one than it was when it ran last. */
#ifndef CTDBD_FORMER_H
#define CTDBD_FORMER_H

#include <talloc.h>

#include "shared/conf.h"

/*
 * Files of databases have the number of the node in their names, so a node with another number begins without any. If all nodes of a cluster exchanged
 * their addresses (containers that are started in another order), all of them would, and what the cluster has kept would seem to be lost.
 *
 * 0: it is the same, it was none, or there is nothing that could be missed. ENOTUNIQ and *err: the persistent directory has databases of the former number. Else
 * errno and *err.
 */
int former_check(TALLOC_CTX *mem, const struct conf *conf, const struct conf_nodes *nodes, uint32_t pnn, char **err);

#endif
