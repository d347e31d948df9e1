/*
 * Vacuuming: removal of deleted (empty) records of volatile databases from the files of all members. Pure, part of the record engine (core/record.h): network and
 * scans are behind struct vacuum_ops, files behind struct record_ops. ARCHITECTURE.md, "Vacuuming", has the overview.
 *
 * O owner, L location master, r the rsn of L's copy. A copy may only go when none can be left anywhere that a recovery would choose instead of "deleted":
 *
 *   CANDIDATE  a key that was seen empty at its owner: hints of clients, empty copies that were taken or given to clients, full scans. Only the key is kept; every
 *              condition is looked at anew, under the chain lock, whenever something is done. So candidates outlive generations, runs do not.
 *   FETCH      O != L: O tells L the key, L pulls the record by an ordinary call (if nobody waits for it) and makes it a candidate of its own.
 *   AT ONCE    L owns it, r is that of a record it has just made, never left with data: no other node has a copy but, at most, a pointer (rsn 0).
 *   TOMBSTONE  else L asks all other members: no copy: ok. Owned, asked for, newer, delegated, about to be pushed, or chain busy: no. Else the copy becomes
 *              (empty, r, dmaster L): ok.
 *   DROP       keys that all said ok to: a member removes what is (empty, r, dmaster L) and not asked for. Nothing there: ok. Anything else: no.
 *   REMOVE     keys that all said ok to again: L, under the lock: still owned, empty, r, not delegated, nothing going on: removed.
 *   ORPHAN     a pointer (empty, rsn 0, not owned, at a node that is not L) which a full scan finds: told to L as FETCH with rsn 0. If L has nothing, nobody
 *              has: L makes an empty record with rsn 2, which then goes by TOMBSTONE, DROP, REMOVE.
 *
 * Invariants (simulated in test/sim, with crashes between all steps):
 *   W1  What a client can read does not change: only empty copies are written and removed, by or for their owner.
 *   W2  Until REMOVE, L's copy is the newest; other copies are older, or (empty, r). From the first TOMBSTONE to the end, whatever set of members survives finds as
 *       newest copy either an empty one, or the same that it would have found without vacuuming.
 *   W3  When L removes, no member of the generation has a copy, except for pointers (AT ONCE). Who is no member is wiped before its copies count again: L serves
 *       only after COMMIT, then all members are PREPARED and have moved their lineage to this recovery (V4, V5 in core/recovery.h).
 *   W4  So a key may begin again at rsn 1: no copy of its former life can outrank it.
 *   W5  Nothing is written or removed between BEGIN and COMMIT at L, BEGIN and PREPARED at others: a close ends all runs at once and empties all queues but the
 *       candidates'. Packets of another generation are dropped.
 *   W6  A late or repeated TOMBSTONE or DROP of the same generation does no harm: a node through which the record went since has a higher rsn; a copy of
 *       exactly (empty, r, dmaster L) is a tombstone and nothing else. Packets of one sender are worked on in order.
 *   W7  Locks are only tried. Work is done in slices; one batch is under way per database, one run per node. Every queue is bounded, every wait ends.
 *   W8  A copy that another node spread (PUSH_RECORD) may still be on its way when its record is deleted: pinned() says no to such keys until it can have
 *       come, at its sender and its receivers.
 */
#ifndef CORE_VACUUM_H
#define CORE_VACUUM_H

#include "core/record.h"
#include "protocol/lane.h"

struct vacuum_result {
	int status; /* 0; ECANCELED: a recovery began; ETIMEDOUT: a member did not answer, or the run took too long; else of the scan */
	uint64_t ticket; /* of vacuum_db_run(); 0: the run began by itself */
	bool full;
	uint64_t removed; /* here, as location master */
	uint64_t fetched; /* told to their location masters, which remove them in their next run */
	uint64_t kept;	  /* empty, but busy here or at a member: tried again later */
	uint64_t scanned; /* records that the full scan saw */
	uint64_t ms;
};

/* db_priv: as given to record_db_new(). Messages: db_id is left to the glue. */
struct vacuum_ops {
	void (*send_keys)(void *db_priv, uint32_t node, struct lane_vacuum *m);
	void (*send_answer)(void *db_priv, uint32_t node, struct lane_vacuum_answer *m);
	/* W8. NULL: never. */
	bool (*pinned)(void *db_priv, struct record_key key);
	/* A job that shows every record to vacuum_scan_entry() and ends with vacuum_scan_done(); not after scan_stop(). 0 or errno. */
	int (*scan_start)(void *db_priv);
	void (*scan_continue)(void *db_priv);
	void (*scan_stop)(void *db_priv);
	/* A run is over. May be NULL. */
	void (*ended)(void *db_priv, const struct vacuum_result *result);
};

struct vacuum_config {
	uint32_t max_candidates; /* kept a database: 10000. More: a full scan is due */
	uint32_t slice_keys;	 /* looked at in one go: 64 */
	uint32_t slice_pause_us; /* between two: 1000 */
	uint32_t max_pulls;	 /* calls for records of other owners under way: 64 */
	uint32_t answer_ms;	 /* a member that has not answered for so long ends the run: 10000 */
};

/* Before any database is made. ENOMEM. */
int vacuum_enable(struct record_engine *e, const struct vacuum_config *config, const struct vacuum_ops *ops);
/* Between runs by themselves (0: none); after how many of those one is full (0: never, but if candidates were lost); longest run (0: no limit). */
void vacuum_set_times(struct record_engine *e, uint32_t interval_ms, uint32_t fast_runs, uint32_t max_run_ms);

/* The recovery has ended: members of the generation, own node included. Runs begin from now on, until record_db_close(). ENOMEM. */
int vacuum_db_start(struct record_db *db, const uint32_t *members, uint32_t n, struct mono now);
/*
 * A run on request, after the one that is running, one for all who ask until it begins: ended() tells, with the ticket. EAGAIN: no generation. full: all records are
 * looked at. Does not move the next run by itself.
 */
int vacuum_db_run(struct record_db *db, bool full, uint64_t *ticket);

/* A key that may be deleted, empty here or elsewhere. Full: dropped, a full scan is due. */
void vacuum_candidate(struct record_db *db, struct record_key key);
/* Candidates were lost elsewhere: the next run is full. false: that was known. */
bool vacuum_full_due(struct record_db *db);
/* This node is location master and shall pull the record and remove it if it is empty. false: is not, or too many wait. */
bool vacuum_fetch(struct record_db *db, struct record_key key);

void vacuum_on_keys(struct record_db *db, uint32_t from, const struct lane_vacuum *m);
void vacuum_on_answer(struct record_db *db, uint32_t from, const struct lane_vacuum_answer *m, struct mono now);

/* false: enough for now, scan_continue() follows. */
bool vacuum_scan_entry(struct record_db *db, struct record_key key, uint64_t rsn, uint32_t dmaster, bool empty);
void vacuum_scan_done(struct record_db *db, int status);

struct vacuum_stats {
	uint64_t runs, full_runs, failed_runs;
	uint64_t removed_at_once, removed; /* as location master */
	uint64_t tombstones, dropped;	   /* for other location masters */
	uint64_t refused;		   /* said no to one */
	uint64_t pulled, orphans, lost;	   /* lost: candidates that did not fit */
	uint64_t ms, ms_min, ms_max;	   /* of runs, in all; shortest, longest */
};
/* NULL: not vacuumed. */
const struct vacuum_stats *vacuum_db_stats(const struct record_db *db);
uint32_t vacuum_db_candidates(const struct record_db *db);
bool vacuum_db_running(const struct record_db *db);

#endif
