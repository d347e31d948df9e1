/* The copies that nodes have of records and databases: asking for them, and what is wrong with those of a record. */
#ifndef CLI_COPIES_H
#define CLI_COPIES_H

#include "cli.h"
#include "protocol/db.h"

#define COPIES_NODES_MAX 256U

/* The nodes that have to agree, and where records belong. */
struct copies_map {
	uint32_t n;
	uint32_t pnn[COPIES_NODES_MAX]; /* active nodes, ascending */
	uint32_t generation;
	const struct ctdb_vnnmap *vnnmap;
};

/* A node's copy of a record. */
struct copy {
	bool found, empty;
	uint64_t rsn;
	uint32_t dmaster, flags, size;
};

/* 0 or exit code. */
int copies_map_get(struct cli *cli, TALLOC_CTX *mem, struct copies_map *map);

/* Procedures of the interface "db" of a node. 0; an errno of the other side (ENOENT: it does not have the database,
 * EAGAIN: locked); or an exit code below 0, with a text. */
int copies_examine(struct cli *cli, TALLOC_CTX *mem, uint32_t pnn, uint32_t db_id, struct db_examination *out);
int copies_scan(struct cli *cli, TALLOC_CTX *mem, uint32_t pnn, const struct db_scan_args *args,
		struct db_scan_page *out);
int copies_locate(struct cli *cli, uint32_t pnn, uint32_t db_id, struct ctdb_data key, struct copy *out,
		  uint32_t *generation);

/* db_locks.c: a table (JSON: "locks") of the processes that keep the node of --node from going on with a database. */
void db_locks_show(struct cli *cli, uint32_t id);
/* Has a tool frozen it, who, for how long; nothing in texts if none has. */
void db_freeze_show(struct cli *cli, uint32_t id);

uint32_t copies_lmaster(const struct copies_map *map, struct ctdb_data key); /* pnn */

/*
 * The rules of a volatile record when nothing is under way: one node owns it (its copy names itself as data master), no
 * copy has a higher rsn than the owner's, and its location master's copy names the owner. copies: as map->pnn. NULL, or
 * what is wrong, in buf.
 */
const char *copies_problem(const struct copies_map *map, const struct copy *copies, uint32_t lmaster, char *buf,
			   size_t len);

#endif
