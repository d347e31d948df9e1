/* Asking a node's dbd: interface "db" of protocol/db.x. */
#ifndef CLI_DB_CALL_H
#define CLI_DB_CALL_H

#include "cli.h"
#include "protocol/db.h"

/*
 * arg NULL: the procedure has none. 0; an errno of the other side (ENOSYS: a daemon that does not have the procedure,
 * or is not one of ours); or an exit code below 0, with a text.
 */
int db_call(struct cli *cli, TALLOC_CTX *mem, uint32_t pnn, enum db_proc proc, const struct ctdb_blob *arg,
	    uint32_t timeout_ms, struct ctdb_data *result);
/* An exit code below 0, with a text. */
int db_call_malformed(struct cli *cli, uint32_t pnn);

/* ---- cmd_db_recover.c ---- */
/* What recoveries cost a node, as fields of db status. 0 or exit code. */
int recovery_put(struct cli *cli, uint32_t pnn);
/* ---- cmd_db_vacuum.c ---- */
/* What a node has vacuumed of a volatile database, as fields of db statistics. 0 or exit code. */
int vacuum_put(struct cli *cli, uint32_t pnn, const struct db_info *db);

#endif
