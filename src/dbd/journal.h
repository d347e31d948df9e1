/* Journals of persistent databases, the daemon's part: when they begin and end. What they are: journal_file.h. */
#ifndef DBD_JOURNAL_H
#define DBD_JOURNAL_H

#include "dbd/worker.h"

/*
 * A journal begins with the 8th transaction within 10 s (of a large database: with a later one, a worker decides) and ends when there was none for 10 s, when the
 * daemon stops, or before the contents are changed in any other way. [database] journal = false: never.
 */
#define JOURNAL_UNSYNCED "the file cannot be synced" /* so begins the health of a database; when it was built again, that is over */

struct journals;
int journals_new(TALLOC_CTX *mem, struct dbs *dbs, struct worker_pool *pool, struct journals **js);
/* None begins any more; those that there are are ended. done is called once, at the latest after 5 s, from the event loop or, if there are none, at once. */
void journals_stop(struct journals *js, void (*done)(void *priv), void *priv);

/* ---- called by worker.c ---- */
/* An UPDATE is asked for: what its worker is told, see protocol/worker.x. */
uint32_t journal_count_update(const struct db *db);
void journal_update_ended(struct db_writes *w, const struct worker_state *state); /* not if nobody knows how */

#endif
