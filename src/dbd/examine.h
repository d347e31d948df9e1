/* Procedures of the interface "db" that look into this node's files, for tools that compare the copies of nodes. */
#ifndef DBD_EXAMINE_H
#define DBD_EXAMINE_H

#include "protocol/db.h"
#include "shared/rpc.h"

/* Handlers as of struct db_server; priv: struct dbd. They change nothing. A database that is not attached here: ENOENT.
 * A recovery runs, or begins: EAGAIN. */
void examine_file(void *priv, struct rpc_call *call, const struct db_copy_id *arg);
void examine_scan(void *priv, struct rpc_call *call, const struct db_scan_args *arg);
void examine_locate(void *priv, struct rpc_call *call, const struct db_locate_args *arg);

#endif
