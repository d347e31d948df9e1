/* Inside of the program ctdb-db-worker: worker_main.c (frames), worker_tdb.c (open files), worker_scan.c,
 * worker_write.c (jobs). */
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
void wjob_send_batch(struct wjob *job, uint8_t *batch,
		     size_t len); /* takes one credit; waits for one if there is none */

/* ---- worker_tdb.c ---- */
int wtdb_open(const struct worker_start *start,
	      struct tdb_context **tdb);   /* kept open; at most 64, the least recently used goes */
void wtdb_forget(struct tdb_context *tdb); /* closes it: something is wrong with it */
int wtdb_errno(struct tdb_context *tdb);   /* of the last failed call; never 0 */
void wtdb_set_log(void (*fn)(unsigned level, const char *text));

/* ---- jobs: 0 or errno; result in job->result ---- */
int wjob_scan(struct wjob *job); /* SCAN and READ */
int wjob_page(struct wjob *job);
int wjob_seqnum(struct wjob *job);
int wjob_update(struct wjob *job);
int wjob_replace(struct wjob *job);
int wjob_wipe(struct wjob *job);
int wjob_check(struct wjob *job);
int wjob_freeze(struct wjob *job);
int wjob_edit(struct wjob *job);

#endif
