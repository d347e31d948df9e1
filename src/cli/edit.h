/* Changing a whole database on all nodes at once: frozen, one transaction on each node, then a recovery. */
#ifndef CLI_EDIT_H
#define CLI_EDIT_H

#include "cli.h"

#define EDIT_NODES_MAX 256U

/*
 * begin -> [wipe, push ...] -> commit, or abort; always end. All nodes that are active at the begin take part; a
 * recovery that begins meanwhile (also since a node comes or goes) ends it, and nothing is changed. So does a signal
 * (walk_interrupted()) before the commit. 0 or exit code, with a text.
 */
struct edit;
int edit_begin(struct cli *cli, const struct db_info *db, struct edit **e);
/* Empties it; the sequence number as well. */
int edit_wipe(struct edit *e);
/* A record with data (header and data: value). node: index below edit_n_nodes(), or EDIT_ALL. Streamed. */
#define EDIT_ALL UINT32_MAX
int edit_push(struct edit *e, uint32_t node, struct ctdb_data key, struct ctdb_data value);
/*
 * 0: stored on all nodes. EXIT_PARTLY: some nodes have it, others failed, or it is not known. Else: nowhere. healthy:
 * also marks a persistent database healthy.
 */
#define EXIT_PARTLY 100
int edit_commit(struct edit *e, bool healthy);
/* The same mark, if the database is a persistent one, when EXIT_PARTLY has turned out to be all. */
int edit_set_healthy(struct cli *cli, const struct db_info *db);
/* Lets go, and waits for the recovery that opens the database again. What was not committed is taken back. code: of
 * what went before; returned unless it is 0 and this fails. */
int edit_end(struct edit *e, int code);

uint32_t edit_n_nodes(const struct edit *e);
uint32_t edit_node(const struct edit *e, uint32_t i);            /* pnn */
uint32_t edit_owner(const struct edit *e, struct ctdb_data key); /* index of the key's location master */
uint64_t edit_seqnum(const struct edit *e);                      /* the highest of all nodes at the begin */

/* ---- single steps, for ctdb db freeze and thaw ---- */
int edit_freeze(struct cli *cli, const struct db_info *db);
int edit_thaw(struct cli *cli, const struct db_info *db);

#endif
