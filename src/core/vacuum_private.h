/* What the files of vacuuming share: vacuum.c (runs), vacuum_queue.c (candidates, batches), vacuum_member.c (for other location masters). */
#ifndef CORE_VACUUM_PRIVATE_H
#define CORE_VACUUM_PRIVATE_H

#include "core/record_private.h"
#include "core/vacuum.h"

#define VACUUM_BATCH_BYTES (48U * 1024U)
/* A key that is busy is tried in this many runs, then left to the next full one. */
#define VACUUM_TRIES 5U

enum cand_state {
	CAND_READY, /* to be looked at by a run */
	CAND_LATER, /* by the next run */
	CAND_BATCH, /* in a batch */
	CAND_FETCH, /* to be pulled */
	CAND_PULL   /* call under way */
};

struct cand {
	struct cand *hash_next;
	struct dlist link; /* in the list of its state; not in a batch */
	struct vacuum *v;
	enum cand_state state;
	uint32_t hash;
	bool again;  /* deleted once more since: not forgotten with the batch */
	bool orphan; /* FETCH: nobody may have the record */
	bool busy;   /* LATER: FETCH again, not READY */
	uint8_t tries;
	uint64_t rsn;
	struct record_call *call;
	size_t keylen;
	uint8_t key[];
};

/* Keys on their way to one node (FETCH) or all others (TOMBSTONE, then DROP). */
struct vbatch {
	struct dlist link;
	uint64_t id;
	enum vacuum_step step;
	uint32_t dest; /* FETCH */
	uint32_t n, at, bytes;
	struct cand *v[VACUUM_BATCH_KEYS];
	bool no[VACUUM_BATCH_KEYS];
	bool waits[LANE_NODES]; /* by index of members */
	uint32_t n_waits;
	struct mono deadline;
};

/* Keys of another node, being worked on. */
struct vinbound {
	struct dlist link;
	uint32_t from, at;
	struct lane_vacuum m; /* contents below */
	uint8_t ok[VACUUM_BATCH_KEYS];
};

struct vacuum {
	struct record_db *db;
	struct cand **buckets;
	uint32_t n_buckets, n_cands, n_ready, n_pulls;
	struct dlist ready, later, fetch, pulls;
	struct dlist filling, filled; /* struct vbatch */
	struct vbatch *out;	      /* sent, not all have answered */
	struct vbatch *removing;      /* all have: step REMOVE */
	struct dlist inbound;
	uint32_t n_inbound;
	uint64_t last_id;
	uint32_t members[LANE_NODES], n_members;
	/* runs */
	bool running, scanning, scan_paused, full_due, asked, asked_full;
	uint32_t fast_runs;
	uint64_t ticket; /* of the last request */
	struct mono started, ended, next_run, not_before;
	struct vacuum_result result;
	struct vacuum_stats stats;
};

struct vacuum_engine {
	struct vacuum_config config;
	struct vacuum_ops ops;
	uint32_t interval_ms, fast_runs, max_run_ms;
	struct vacuum *running;
};

static inline const struct vacuum_engine *vacuum_engine_of(const struct vacuum *v)
{
	return v->db->e->vacuum;
}

/* ---- vacuum_queue.c ---- */
struct record_key cand_key(const struct cand *c);
/* Finds or makes; a new one is in no list. NULL: out of memory, or max are there. */
struct cand *cand_get(struct vacuum *v, struct record_key key, bool *made);
void cand_move(struct cand *c, enum cand_state state);
void cand_free(struct cand *c);
/* Out of a batch: with ok it is forgotten (unless it was deleted once more), else tried again in another run. */
void cand_leave(struct cand *c, bool ok);
/* Into the batch for dest that is being filled; a full one becomes ready to be sent. ENOMEM. */
int batch_add(struct vacuum *v, struct cand *c, enum vacuum_step step, uint32_t dest);
void batches_filled(struct vacuum *v); /* all that are being filled */
void batch_free(struct vbatch *b, bool ok);
struct vbatch *batch_first(struct vacuum *v); /* filled; NULL */

/* ---- vacuum_member.c: work that others asked for. Returns what is left of budget ---- */
uint32_t inbound_slice(struct vacuum *v, uint32_t budget);
uint32_t fetch_slice(struct vacuum *v, uint32_t budget, struct mono now);
bool fetch_possible(const struct vacuum *v);
void inbound_close(struct vacuum *v);
bool vacuum_is_pinned(const struct vacuum *v, struct record_key key);

/* ---- hooks of the engine (record.c): vacuum.c, but pulled: vacuum_member.c ---- */
int vacuum_db_new(struct record_db *db);
void vacuum_close(struct record_db *db);
struct mono vacuum_next(const struct record_db *db); /* in the past: at once */
void vacuum_slice(struct record_db *db, struct mono now);
void vacuum_pulled(struct cand *c, int status, const struct record_copy *copy);

#endif
