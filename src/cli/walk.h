/* All records of a database, one after the other: from the whole cluster, or of this node's file. */
#ifndef CLI_WALK_H
#define CLI_WALK_H

#include "cli.h"

struct walk_record {
	struct ctdb_data key;
	struct ctdb_record_header header;
	struct ctdb_data data;
};

/* 0: go on. Another value (an exit code, with a text of cli_fail()) ends the walk. No synchronous functions in it. */
typedef int (*walk_fn)(void *priv, const struct walk_record *r);

struct walk {
	bool with_empty;    /* also records that are a header only */
	bool with_internal; /* also the record that holds the sequence number */
	walk_fn fn;
	void *priv;
	uint64_t n;     /* out: records given to fn, also after an error */
	bool unchecked; /* out: this daemon does not say whether records are missing */
};

/*
 * Streamed, and no faster than fn. 0: fn had all records that were in the database from begin to end and did not move
 * meanwhile. Else an exit code: what is missing and why, fn's, or that a signal (see below) came. Waits for a recovery
 * to end. The handlers of these signals stay.
 */
int walk_cluster(struct cli *cli, const struct db_info *db, struct walk *w);
/* The file of this node as it is: also copies that are not current; the database is not attached. With -t: that is how
 * long it may take. */
int walk_local(struct cli *cli, const struct db_info *db, struct walk *w);

/* Has a signal (INT, TERM, QUIT; HUP unless it is ignored) come since walk_catch_signals()? The second one of the same
 * number ends the program. */
void walk_catch_signals(void);
bool walk_interrupted(void);

/* Key of the record of persistent and replicated databases that holds the sequence number (8 bytes, host order). */
bool walk_is_seqnum(struct ctdb_data key);
struct ctdb_data walk_seqnum_key(void);

#endif
