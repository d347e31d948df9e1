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
 * A pool of long-lived processes (program ctdb-db-worker, spoken to over a socket pair; XDR, protocol/worker.x). A worker opens the TDB itself (flags
 * of db_open_flags(), no create), keeps recently used ones open, and blocks as long as it must. n is how many run side by side; since those may all wait for
 * locks that clients hold (who may themselves wait for another database), a job that has waited 50 ms gets a process of its own beyond n, up to
 * WORKER_PROCESSES_MAX; those end after 10 s without work.
 *
 * Ordered jobs (table below) of one database run one after another in the order they were sent; others run in parallel, with each other and with ordered ones. A
 * worker that dies: its job fails with EPIPE, another is started. Freeing a job's request cancels it (a running one: the worker is killed and replaced; TDB's own
 * transaction recovery and robust mutexes clean up). Jobs wait for clients' locks without limit: the caller frees the request when it has waited enough (deadline_add()).
 * Callbacks of requests run from the event loop, never from within a call into the pool. Descriptors of the daemon are not inherited.
 */
#define WORKER_PROCESSES_MAX 512U
#define WORKER_JOBS_MAX 65536U /* waiting; beyond: ENOBUFS */
struct worker_pool;
int worker_pool_new(TALLOC_CTX *mem, struct tevent_context *ev, const char *program, unsigned n, struct worker_pool **pool, char **err);

/*
 * WORKER_SCAN	     every record: key, rsn, flags, dmaster, whether empty; no data. Streamed in batches.		       not ordered
 *		     Chain by chain: no lock is held while the consumer is slow.
 * WORKER_READ	     every record, data with header, as classic rec_data. Streamed. only_owned: dmaster = own pnn;
 *		     with_empty: also records with header only. Volatile: as SCAN. Persistent, replicated: a snapshot, collected under the lock:
 *		     64 MiB in memory, the rest in a file without a name beside the database, so that a slow consumer holds up no
 *		     transaction (but if that file cannot be written). To make another member's copy
 *		     equal (REPLACE) use with_empty: the digest covers empty records. parts: only records in the parts that input names
 *		     (core/content_parts.h; as many bytes as content_map_size() says). with_state: state tells seqnum and digest of all records there
 *		     are, whatever was sent, and how many were sent as records.						       not ordered
 * WORKER_SEQNUM     sequence number, digest and sums of parts (see worker_state).					       ordered
 *		     Records shorter than a header count as absent everywhere.
 * WORKER_UPDATE     input: a classic rec_buffer of TRANS3_COMMIT; one TDB transaction; for each record: existing rsn >= new rsn with
 *		     different content fails all (EEXIST). Synced when persistent.						       ordered
 * WORKER_REPLACE    input streamed: rec_data batches; one TDB transaction that removes what is there, only in the parts that input names if there are parts, and
 *		     stores them all. By parts, in place: what is equal is not written; EPROTO: one is in another part, or came before; EIO: the file
 *		     is damaged. A whole one repairs it. check: EILSEQ, and nothing is changed, if state of the result, which is
 *		     told, is not seqnum and digest.									       ordered
 * WORKER_WIPE	     removes every record.										       ordered
 * WORKER_PAGE	     a part of SCAN: keys whose hash is part modulo parts, from chain on, until there are some 100 KB; state.next_chain: where to go
 *		     on, 0 at the end.											       not ordered
 * WORKER_SETTLE     ends the journal of a persistent database (journal_file.h), if it has one: the file is synced then.	       ordered
 * WORKER_CHECK	     tdb_check, which locks the file against writing; EIO if damaged.					       not ordered
 * WORKER_FREEZE     keeps everybody else from writing (waits for those who hold records), says so with one batch, and holds on until input comes: one feed
 *		     with last set; with a byte in it, all records are removed before it lets go.				       not ordered
 * WORKER_EDIT	     as FREEZE, then changes the file by order, all in one TDB transaction: each feed is one of the WORKER_EDIT_ bytes, STORE with
 *		     rec_data behind it (their read-only flags are cleared). last set: COMMIT, or everything is taken back.	       not ordered
 * WORKER_HOLDERS    one batch, if there is anything to tell: struct holder_entry (holders.h) of every process but our own that
 *		     holds a lock of the file just now. Takes no lock.						       not ordered
 * WORKER_LOCK	     waits for the chain lock of the key in input, says so with one batch, and holds on until input comes: one feed with last set. not ordered
 */
enum worker_op { WORKER_SCAN, WORKER_READ, WORKER_SEQNUM, WORKER_UPDATE, WORKER_REPLACE, WORKER_WIPE, WORKER_CHECK, WORKER_FREEZE, WORKER_EDIT, WORKER_PAGE, WORKER_SETTLE, WORKER_HOLDERS, WORKER_LOCK };

#define WORKER_EDIT_WIPE   'W'
#define WORKER_EDIT_STORE  'S'
#define WORKER_EDIT_UNDO   'U' /* back to what was there at first */
#define WORKER_EDIT_COMMIT 'C' /* with last */

/* Ends all idle processes; others are started when there is work. For when one stood still: whatever stopped it may have stopped those as well. */
void worker_pool_renew(struct worker_pool *pool);

struct worker_args {
	enum worker_op op;
	bool only_owned, with_empty, with_state; /* READ */
	uint32_t part, parts, chain;		 /* PAGE; READ, REPLACE: parts */
	bool check;				 /* REPLACE */
	uint64_t seqnum, digest;
	struct ctdb_blob input; /* UPDATE; SCAN: which records, of scan_filter_encode(), or empty: all; READ, REPLACE: which parts */
};

/*
 * Starts a job: refused (the request fails) with EMSGSIZE, ENOBUFS or, if no process can be started, that errno. batch (SCAN, READ): called for each batch of at most about 64 KiB in order; it must take it (copy or process); return true to
 * go on, false to pause: then worker_job_continue() asks for the next one. At most 2 batches are under way, so a paused job stops the worker.
 */
struct worker_job;
typedef bool (*worker_batch_fn)(void *priv, struct worker_job *job, const uint8_t *batch, size_t len);

/* The job is the tevent_req's state; free the request to cancel. */
struct tevent_req *worker_job_send(TALLOC_CTX *mem, struct tevent_context *ev, struct worker_pool *pool, struct db *db, const struct worker_args *args,
				   worker_batch_fn batch, void *priv, struct worker_job **job);
void worker_job_continue(struct worker_job *job);
/* REPLACE, FREEZE and EDIT: feeds records (copied); last ends the input. ENOBUFS never: returns bytes queued, so that the caller can hold back credits. */
size_t worker_job_feed(struct worker_job *job, const uint8_t *rec_data, size_t len, bool last);
/* fn is called each time the bytes queued have fallen below WORKER_FEED_LOW after they were above. May be set at any time before the job ends. */
#define WORKER_FEED_LOW (256U * 1024U)
void worker_job_set_drain(struct worker_job *job, void (*fn)(void *priv, struct worker_job *job), void *priv);

/*
 * Since when jobs of a database have been at work without a word: the longest of them; MONO_NEVER: none is. Not those that wait for the daemon (paused, holding a file on its
 * behalf).
 */
struct mono worker_pool_silent_since(const struct worker_pool *pool, uint32_t db_id);

struct worker_state {
	uint64_t seqnum; /* content of __db_sequence_number__, 0 if absent */
	/*
	 * Sum modulo 2^64 over all records of a hash of (key, rsn, data): independent of order. Empty records count and so does the rsn, because
	 * the rule of UPDATE looks at both: copies with equal digests accept the same transactions. The hash is FNV-1a (64 bits) with a final mix, so
	 * that changes in two records cannot cancel in the sum.
	 */
	uint64_t digest;
	uint64_t records; /* non-empty ones */
	uint64_t *sums; /* the same by parts, n_sums of them (core/content_parts.h), NULL: there are none; a child of the request */
	uint32_t n_sums;
	uint32_t next_chain; /* of PAGE */
	bool journal, no_journal; /* of UPDATE, for journal.c: there is one now; there could be none */
};
/* 0 or errno. state: SEQNUM, PAGE, READ, REPLACE (also with EILSEQ); may be NULL. */
int worker_job_recv(struct tevent_req *req, struct worker_state *state);

/* A batch of WORKER_SCAN is a sequence of these, each padded to 8 bytes: header then key. The batch is aligned to 8 bytes. */
struct worker_scan_entry {
	uint64_t rsn;
	uint32_t flags;
	uint32_t dmaster;
	uint32_t keylen;
	uint32_t empty; /* 1: header only */
};
/* Takes the next one out of a batch; key points into it. false: nothing complete is left (*left != 0: the batch is malformed). */
bool worker_scan_next(const uint8_t **p, size_t *left, struct worker_scan_entry *e, const uint8_t **key);

#endif
