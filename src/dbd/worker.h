/* Worker processes: everything on a TDB that would block the event loop. */
#ifndef DBD_WORKER_H
#define DBD_WORKER_H

#include <stdbool.h>
#include <stdint.h>
#include <talloc.h>
#include <tevent.h>

#include "base/xdr.h"
#include "dbd/db.h"

/*
 * A pool of at most n long-lived processes (program ctdb-db-worker, spoken to over a socket pair; XDR, protocol/worker.x). A worker opens the TDB itself (flags
 * of db_open_flags(), no create), keeps recently used ones open, and blocks as long as it must. Jobs that write to one database run one after another in
 * the order they were sent (also behind earlier reads of the pool on the same database where the table says "ordered"); others run in parallel. A worker that dies: its job fails with EPIPE, another is
 * started. Freeing a job's request cancels it (a running one: the worker is killed and replaced; TDB's own transaction recovery and robust mutexes clean up).
 * Descriptors of the daemon are not inherited.
 */
struct worker_pool;
int worker_pool_new(TALLOC_CTX *mem, struct tevent_context *ev, const char *program, unsigned n, struct worker_pool **pool, char **err);

/*
 * WORKER_SCAN	     every record: key, rsn, flags, dmaster, whether empty; no data. Streamed in batches.		       not ordered
 * WORKER_READ	     every record, data with header, as classic rec_data. Streamed. only_owned: dmaster = own pnn;
 *		     with_empty: also records with header only.								       not ordered
 * WORKER_SEQNUM     sequence number and digest (see worker_state).							       ordered
 * WORKER_UPDATE     input: a classic rec_buffer of TRANS3_COMMIT; one TDB transaction; for each record: existing rsn >= new rsn with
 *		     different content fails all (EEXIST). Synced when persistent.						       ordered
 * WORKER_REPLACE    input streamed: rec_data batches; one TDB transaction that wipes and stores them all.			       ordered
 * WORKER_WIPE	     removes every record.										       ordered
 * WORKER_CHECK	     tdb_check; EIO if damaged.										       ordered
 */
enum worker_op { WORKER_SCAN, WORKER_READ, WORKER_SEQNUM, WORKER_UPDATE, WORKER_REPLACE, WORKER_WIPE, WORKER_CHECK };

struct worker_args {
	enum worker_op op;
	bool only_owned, with_empty; /* READ */
	struct ctdb_blob input;	     /* UPDATE */
};

/*
 * Starts a job. batch (SCAN, READ): called for each batch of at most about 64 KiB in order; it must take it (copy or process); return true to
 * go on, false to pause: then worker_job_continue() asks for the next one. At most 2 batches are under way, so a paused job stops the worker.
 */
struct worker_job;
typedef bool (*worker_batch_fn)(void *priv, struct worker_job *job, const uint8_t *batch, size_t len);

/* The job is the tevent_req's state; free the request to cancel. */
struct tevent_req *worker_job_send(TALLOC_CTX *mem, struct tevent_context *ev, struct worker_pool *pool, struct db *db, const struct worker_args *args,
				   worker_batch_fn batch, void *priv, struct worker_job **job);
void worker_job_continue(struct worker_job *job);
/* REPLACE: feeds records (copied); last ends the input. ENOBUFS never: returns bytes queued, so that the caller can hold back credits. */
size_t worker_job_feed(struct worker_job *job, const uint8_t *rec_data, size_t len, bool last);

struct worker_state {
	uint64_t seqnum; /* content of __db_sequence_number__, 0 if absent */
	uint64_t digest; /* sum modulo 2^64 of a 64-bit hash of (key, data without header) over all non-empty records: independent of order */
	uint64_t records;
};
/* 0 or errno. state: SEQNUM (may be NULL). */
int worker_job_recv(struct tevent_req *req, struct worker_state *state);

/* A batch of WORKER_SCAN is a sequence of these, each padded to 8 bytes: header then key. */
struct worker_scan_entry {
	uint64_t rsn;
	uint32_t flags;
	uint32_t dmaster;
	uint32_t keylen;
	uint32_t empty; /* 1: header only */
};

#endif
