/* What the files of the recovery member share. Not for others. */
#ifndef CORE_RECOVERY_PRIVATE_H
#define CORE_RECOVERY_PRIVATE_H

#include "base/dlist.h"
#include "core/recovery.h"
#include "core/recovery_claims.h"
#include "core/slot_digest.h"

/* Batches under way to one node: then the source pauses. */
#define STREAM_WINDOW 8
#define BATCH_RECORDS 512
#define BATCH_BYTES 49152
/*
 * Steps of a slice of work (rec_member_run), over all databases: a record is one. What happens once a database costs more, since it looks at all slots. Less if the
 * glue says that it was enough.
 */
#define SLICE_STEPS  1000
#define STEPS_BEGIN  50
#define STEPS_DIGEST 100
#define STEPS_LOOK   32 /* so many records between two looks at the time */
#define MDB_BUCKETS  256U
#define APPLY_RETRY_MS 1
/* Databases that are fetched whole, V14; beyond: all are. */
#define WHOLE_MAX 64
/* Of one transfer: no TDB file can be larger. */
#define CONTENT_MAX UINT32_MAX
/* Digests of one member that are kept until the PLAN comes. */
#define EARLY_MAX LANE_DBS

enum mdb_state { MDB_IDLE, MDB_NEW, MDB_WIPE, MDB_COUNT, MDB_STRIP, MDB_COMPARE, MDB_WANT, MDB_SCAN, MDB_RESOLVE, MDB_APPLY, MDB_STATE, MDB_WAIT, MDB_PARTS, MDB_SEND, MDB_ASK, MDB_REPLACE, MDB_PREPARED, MDB_COMMITTED };

/* Numbered batches to one member. sent - acked is what is under way. */
struct stream {
	uint32_t sent, acked;
	bool ended; /* the batch with "last" was sent */
	struct rec_claims claims; /* being filled; v allocated below the database */
	struct rec_orders orders;
	size_t bytes;
};

/* A change to the local file that waits for its turn or for a chain lock. batch: order batch it came with. */
struct todo {
	struct dlist link;
	enum rec_apply what;
	uint64_t rsn;
	uint32_t owner;
	uint32_t from;	   /* member index of who ordered; n_members: ourselves */
	uint32_t sequence; /* of the batch */
	size_t keylen;
	uint8_t key[];
};

/* A database in one recovery at one member. */
struct mdb {
	struct dlist link;
	struct dlist due; /* in ready or retry of the member */
	struct mdb *same_id, *same_handle; /* in its buckets */
	struct rec_member *m;
	void *handle; /* ops'; NULL until it begins */
	uint32_t id, flags;
	char *name;
	struct recovery_id base;
	enum mdb_state state;
	bool valid, told, changed;
	bool late; /* the leader was told that a client keeps it from going on */
	/* volatile */
	struct slot_digest *digest;		 /* the glue's */
	bool recount;				 /* sums are not trusted: everything is claimed, and counted anew */
	bool counting;				 /* the digest is half done */
	struct rec_digests *digests;		 /* by member index */
	bool *digests_in, *wants_in;		 /* by member index */
	uint8_t *dirty;				 /* own slots of which all copies are claimed */
	uint8_t *ask_all, *ask_unowned, *ask_gone; /* what our scan has to find; gone: own slots */
	bool asked;
	struct rec_scan_filter filter;
	struct claims *claims;
	bool scan_paused, scan_done;
	bool claims_told;			 /* the last batches were sent */
	struct stream *claims_out, *orders_out;	 /* by member index */
	uint32_t *claims_in, *orders_in;	 /* next sequence expected, by member index */
	bool *claims_ended, *orders_ended;	 /* last batch seen */
	bool resolved;				 /* all verdicts given, last orders sent */
	struct dlist todo;
	uint32_t n_todo;
	struct mono stuck; /* nothing but locked records since */
	uint32_t *todo_left;	/* by member index and batch: orders not applied yet */
	uint32_t *orders_acked; /* by member index: batches acknowledged; in order, so that the sender's window is ours */
	/* persistent, replicated */
	uint64_t seqnum, digest_told; /* to the leader */
	bool healthy;
	struct part_sums *parts_in;   /* by member index, also before the plan */
	uint32_t *targets, n_targets; /* member indices */
	bool read_paused;
	uint32_t source;
	bool by_parts; /* we have told sums */
	uint32_t content_in;
	uint64_t content_len;
	bool content_ended;
	struct mono heard; /* of others, since we wait for them; never: we do not */
};

/* What a target has told. */
struct part_sums {
	bool in;
	uint32_t n;
	uint64_t *v;
};

/* A message that overtook the one of another sender that it follows; encoded. */
struct early {
	struct dlist link;
	uint32_t from;
	struct ctdb_blob buf;
};

struct rec_member {
	uint32_t own_pnn;
	struct rec_member_ops ops;
	void *priv;
	struct recovery_id id;
	bool normal, begun, planned;
	uint32_t leader, generation;
	TALLOC_CTX *run;
	uint32_t *members, n_members, own_index;
	uint32_t *slots, n_slots;
	struct dlist dbs;
	struct mdb *by_id[MDB_BUCKETS], *by_handle[MDB_BUCKETS];
	struct dlist ready;   /* databases of which something may be due */
	struct dlist waiting; /* those that met a lock: from retry on */
	uint32_t steps;	      /* of the present slice */
	struct dlist early; /* digests before PLAN */
	uint32_t *n_early;  /* by member index */
	struct mono retry; /* todo of some database met a lock */
	struct mono look;  /* no earlier does one have waited for others' contents for too long */
	uint32_t patience_ms;
	bool full; /* of the plan */
	uint32_t whole[WHOLE_MAX], n_whole; /* databases, V14 */
	bool whole_all;
	bool ended; /* a recovery, and no PLAN has come since */
	struct rec_stats stats;
};

/* recovery_member.c */
uint32_t rec_member_index(const struct rec_member *m, uint32_t pnn); /* n_members if none */
struct mdb *rec_member_find(const struct rec_member *m, uint32_t db_id);
struct mdb *rec_member_find_handle(const struct rec_member *m, const void *handle);
void mdb_ready(struct mdb *db); /* something has come, or there is more to do */
void mdb_retry(struct mdb *db, struct mono now); /* a little later: it met a lock */
bool rec_member_slice_over(const struct rec_member *m);
bool rec_member_current(const struct rec_member *m, const struct recovery_id *id); /* of the recovery in work, and planned */
void mdb_failed(struct mdb *db, int status, const char *what);
void mdb_prepared(struct mdb *db);
void mdb_tell(struct mdb *db);	 /* the copy's claims, or its state, go into this recovery */
void mdb_change(struct mdb *db); /* before anything is changed: the copy's lineage is now this recovery */
void rec_member_ack(struct mdb *db, uint32_t to, enum lane_proc what, uint32_t sequence);

/* recovery_volatile.c */
int volatile_begin(struct mdb *db);
void volatile_job_done(struct mdb *db);
void volatile_acked(struct mdb *db, uint32_t member, enum lane_proc what, uint32_t sequence);
bool volatile_run(struct mdb *db, struct mono now); /* true: more to do at once */
void volatile_scanned(struct mdb *db); /* nothing (more) is found in the own file */

/* recovery_digest.c */
int digest_alloc(struct mdb *db);
int digest_begin(struct mdb *db);
void digest_tell(struct mdb *db); /* no read-only copy is usable here any more */
void digest_count_begin(struct mdb *db);
int digest_counted(struct mdb *db);
void digest_stop(struct mdb *db); /* what was being counted stays unknown */
bool digest_is_clean(const struct mdb *db, const uint8_t *key, size_t keylen); /* only claims of keys with a claim of our own count */
void digest_run(struct mdb *db);
void digests_early(struct rec_member *m, uint32_t from, const struct rec_digests *msg);
void digests_take_early(struct rec_member *m, struct mono now); /* as many as fit into the slice */

/* recovery_content.c */
int content_begin(struct mdb *db);
void content_job_done(struct mdb *db);
void content_job_failed(struct mdb *db, int status);
void content_run(struct mdb *db, struct mono now); /* gives up waiting for others */
void content_acked(struct mdb *db, uint32_t member, uint32_t sequence, struct mono now);

static inline bool mdb_is_volatile(const struct mdb *db)
{
	return (db->flags & (DB_PERSISTENT | DB_REPLICATED)) == 0;
}

#endif
