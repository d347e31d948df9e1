/* Inside of the program ctdb-db-worker: worker_main.c (frames), worker_tdb.c (open files), worker_scan.c,
 * worker_state.c, worker_write.c (jobs), worker_keys.c, worker_journal.c. */
#ifndef DBD_WORKER_PROG_H
#define DBD_WORKER_PROG_H

#include <stdbool.h>
#include <stdint.h>
#include <talloc.h>
#include <tdb.h>

#include "protocol/worker.h"

/* ---- worker_main.c: blocking I/O with the daemon. All of these end the process when the daemon is gone or breaks the
 * protocol. ---- */
struct wjob {
	struct worker_start start; /* children of the job */
	struct tdb_context *tdb;
	unsigned credits; /* batches that may be sent now */
	struct worker_done result;
};

/* Waits for a frame of this job. WORKER_FRAME_FEED: *feed points into memory below mem. WORKER_FRAME_CREDIT: counted.
 * Returns the type. */
enum worker_frame wjob_wait(struct wjob *job, TALLOC_CTX *mem, struct worker_feed *feed);
void wjob_log(unsigned level, const char *text);
void wjob_send_batch(struct wjob *job, uint8_t *batch,
		     size_t len); /* takes one credit; waits for one if there is none */
/* The daemon has taken all batches and asked for more: the next one is read at once, however large. Does not wait. */
bool wjob_is_asked(struct wjob *job);

/* ---- worker_tdb.c ---- */
int wtdb_open(const struct worker_start *start,
	      struct tdb_context **tdb);   /* kept open; at most 64, the least recently used goes */
void wtdb_forget(struct tdb_context *tdb); /* closes it: something is wrong with it */
int wtdb_errno(struct tdb_context *tdb);   /* of the last failed call; never 0 */
struct journal **wtdb_journal(struct tdb_context *tdb); /* its journal, if one is open; freed with it */
void wtdb_set_log(void (*fn)(unsigned level, const char *text));

/* ---- jobs: 0 or errno; result in job->result ---- */
int wjob_scan(struct wjob *job); /* SCAN and READ */
/* Each record of each chain; between may be NULL. */
int wjob_each_chain(struct wjob *job, tdb_traverse_func fn, void *priv, void (*between)(void *priv));
int wjob_page(struct wjob *job);
int wjob_seqnum(struct wjob *job);
int wjob_update(struct wjob *job);
int wjob_replace(struct wjob *job);
int wjob_wipe(struct wjob *job);
int wjob_check(struct wjob *job);
int wjob_settle(struct wjob *job);
int wjob_freeze(struct wjob *job);
int wjob_edit(struct wjob *job);
int wjob_lock(struct wjob *job);
int wjob_holders(struct wjob *job); /* worker_holders.c */

/* ---- worker_journal.c. Under the transaction lock, but for wjournal_settle(). 0 or errno. ---- */
/* Before anything else than UPDATE changes the file. */
int wjournal_end(struct wjob *job);
/* Ends the journal, or only one of which it is not sure that all of it is in the file: before somebody asks for the
 * sequence number. */
int wjournal_settle(struct wjob *job, bool end);
/* Before an UPDATE: ends the journal if it has to end, begins one if that is worth it. */
int wjournal_ready(struct wjob *job);
bool wjournal_is_ready(const struct wjob *job);
/* Instead of the commit of TDB. EAGAIN: nothing is done, again without the journal. */
int wjournal_commit(struct wjob *job);

#endif
