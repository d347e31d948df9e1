/*
 * Recovery: how the members of a view agree on generation, slot map, owners and contents. Pure: a leader and a member state machine; messages,
 * files and time are behind ops. ARCHITECTURE.md, "Generations and recovery", explains the steps; protocol/lane.x the messages.
 *
 * Leader:  IDLE -> BEGIN (wait for all replies) -> RUN (each database: wait for PREPARED of all, COMMIT) -> IDLE after END
 *          any state -> BEGIN with attempt + 1 when a member answers EAGAIN or an error; -> IDLE by rec_leader_stop()
 * Member:  NORMAL -> BEGUN (BEGIN) -> PLANNED (PLAN) -> NORMAL (END); any state -> BEGUN by a newer BEGIN
 * Database at a member: NEW (of the plan, its turn has not come) -> volatile:
 *          WIPE (only if not valid) -> COUNT (only if the digest is unknown) -> COMPARE (digests go out, others' come in) -> WANT (what each location
 *          master needs) -> SCAN (only if something is wanted; own claims go out, others' come in) -> RESOLVE (all claims are in) -> APPLY (orders) ->
 *          PREPARED -> COMMITTED
 * Database at a member (persistent, replicated):
 *          STATE (tell seqnum and digest) -> WAIT (for the plan) -> PREPARED -> COMMITTED; in between
 *          source: PARTS (until all targets have told the sums of their parts) -> SEND (says which parts it replaces, then all its records in these)
 *          target: ASK (tells the sums of its parts, or that it wants everything) -> REPLACE (takes what comes)
 *
 * Invariants:
 *   V1  A member acts on messages of the newest id it has seen, and only on those; ids of one leader's term come from that leader alone.
 *   V2  From BEGIN to PREPARED no record of the database changes its data master at this node but by orders of this recovery.
 *   V3  No member serves record packets of a generation before it is PREPARED for it, no client call before COMMIT.
 *   V4  COMMIT of a database is sent only when all members are PREPARED: who sees one committed copy sees all prepared.
 *   V5  A copy counts only if its claims went into the base: the newest recovery that changed any member's copy. (Not the newest that was committed: an
 *       owner named by a recovery that was then abandoned may have used the record at once, clients need nobody's leave for that.)
 *   V6  After COMMIT every key with a copy has exactly one owner, its location master points to it, and its rsn is the highest (volatile).
 *   V7  After COMMIT all members' copies have equal sequence number and digest (persistent, replicated).
 *   V9  What is not claimed needs no verdict (core/slot_digest.h). Each member tells each location master L, per slot, the sum over the keys it owns there. A
 *       slot is clean if L kept it (S2) and each member's sum is that of L's copies naming it: then each key with a copy has one owner, to whom L points, or L
 *       names a node that is no member. Of clean slots with such copies L claims just those, and the others the copies that they do not own: among these the new
 *       owner is chosen as always; claims of other keys are dropped. All copies in other slots are claimed.
 *   V10 Digests are told after the lineage (mdb_tell): an order is given only after all members' digests, so who did not tell this recovery cannot have been
 *       counted in it. kept moves with PREPARED, sums with each write. So both are true of the file whenever a recovery is abandoned, and a slot that moves away
 *       and back, or whose owner was chosen in a recovery that failed, is dirty by its map or its sums.
 *   V11 A file that was wiped, or that dbd finds when it starts, keeps nothing; counting it makes its sums known again. A file that others changed, or an
 *       inconsistency that was seen, makes all members claim everything and count anew (REC_DIGESTS.all, REC_PLAN.full), until that is committed.
 *   V12 END does not wait for a volatile database that a client's lock keeps from going on at some member, who has said so (PREPARED with EINPROGRESS). It goes on as
 *       before, under the same id, served by nobody (V3), and is committed after END when all members are prepared (V4). The next BEGIN takes it up with all others.
 *   V13 A target replaces its contents in one transaction: what it has in the parts that the source names goes, what comes is stored, and all of that is kept only if sequence
 *       number and digest of the result are those that the source told. A source sends the end only if what it read is what it told the leader. So sums decide what
 *       travels, never what comes of it: old ones, wrong ones or ones that agree by chance cost another recovery.
 *   V14 A member that could not replace its contents in parts, for whatever reason, asks for everything (no sums) until that database was PREPARED, or a recovery has ended.
 *       So that costs one recovery more, and then is as if there were no parts. If the whole contents are not what their source told, the source is to blame.
 *   V8  Every step can be abandoned at any point; a later recovery starts from what the files say.
 */
#ifndef CORE_RECOVERY_H
#define CORE_RECOVERY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <talloc.h>

#include "base/mono.h"
#include "core/content_parts.h"
#include "core/slot_digest.h"
#include "protocol/lane.h"

static inline int recovery_id_cmp(const struct recovery_id *a, const struct recovery_id *b)
{
	if (a->term != b->term) {
		return a->term < b->term ? -1 : 1;
	}
	if (a->number != b->number) {
		return a->number < b->number ? -1 : 1;
	}
	return a->attempt == b->attempt ? 0 : (a->attempt < b->attempt ? -1 : 1);
}

static inline bool recovery_id_is_zero(const struct recovery_id *a)
{
	return a->term == 0 && a->number == 0 && a->attempt == 0;
}

/*
 * The lineage of a copy: what V5 is decided by. Survives a restart of dbd together with the copy, never without it. told is oldest first; when it is full the
 * oldest is dropped that is neither the base of the recovery told of nor "changed" (should it count after all, the copy counts as foreign: safe).
 */
struct rec_lineage {
	struct recovery_id changed;
	struct recovery_id told[LANE_LINEAGE];
	uint32_t n_told;
};

void rec_lineage_tell(struct rec_lineage *l, const struct recovery_id *id, const struct recovery_id *base);
void rec_lineage_end(struct rec_lineage *l, const struct recovery_id *id); /* the recovery ended, or the database is new in it */

/* How messages leave: msg is the generated struct of proc; node may be the own one (then delivered later, not from within the call). */
typedef void (*rec_send_fn)(void *priv, uint32_t node, enum lane_proc proc, const void *msg);

/* ---------------- leader ---------------- */

struct rec_leader;

struct rec_leader_ops {
	rec_send_fn send;
	/* Everything is committed: the recovery is over. */
	void (*done)(void *priv, const struct recovery_id *id, uint32_t generation);
	/* Worth a line in the log. */
	void (*note)(void *priv, const char *text);
	/*
	 * This node kept the recovery from going on: it reported status for a step (EAGAIN, ESTALE: not yet, which may be nobody's fault; ECANCELED: nobody's), or, ETIMEDOUT, did
	 * not answer BEGIN. May be NULL.
	 */
	void (*culprit)(void *priv, uint32_t node, int status, const char *text);
};

struct rec_leader *rec_leader_new(TALLOC_CTX *mem, uint32_t own_pnn, const struct rec_leader_ops *ops, void *priv);

/*
 * Begins a recovery, whatever was going on before. id.attempt is chosen by the leader (higher than any it used with this term and number). members: ascending, own node
 * included. slots: the new map. generation: random, fresh.
 */
int rec_leader_start(struct rec_leader *l, uint64_t term, uint64_t number, uint32_t generation, const uint32_t *members, uint32_t n_members,
		     const uint32_t *slots, uint32_t n_slots, struct mono now);
void rec_leader_stop(struct rec_leader *l);
bool rec_leader_running(const struct rec_leader *l);
/* The recoveries from the next PLAN on trust no digests, until one of them has ended. true: so will the one in work; else it is for the next. */
bool rec_leader_set_full(struct rec_leader *l);
/* A member could not go on: the caller starts again, not before *when (30 ms, doubled up to a second while it does not get better). Cleared by rec_leader_start(). */
bool rec_leader_wants_restart(const struct rec_leader *l, struct mono *when);
/* What is waited for, for status and logs: "database locking.tdb: nodes 1, 2". */
uint32_t rec_leader_generation(const struct rec_leader *l); /* that is being made; 0: no recovery runs */
const char *rec_leader_waiting_for(TALLOC_CTX *mem, const struct rec_leader *l);

void rec_leader_on_begin_reply(struct rec_leader *l, uint32_t from, const struct rec_begin_reply *m, struct mono now);
void rec_leader_on_content_state(struct rec_leader *l, uint32_t from, const struct rec_content_state *m, struct mono now);
void rec_leader_on_prepared(struct rec_leader *l, uint32_t from, const struct rec_db *m, struct mono now);

/* ---------------- member ---------------- */

struct rec_member;

/*
 * Of all copies in a file those that a scan shall find: in slots of the map all (bit s%8 of byte s/8) all; of unowned those that do not name this node as data
 * master; of gone those that name none of members.
 */
struct rec_scan_filter {
	uint32_t n_slots, map_bytes, own_pnn, n_members;
	const uint8_t *all, *unowned, *gone;
	const uint32_t *members;
};
bool rec_filter_passes(const struct rec_scan_filter *f, const uint8_t *key, size_t keylen, uint32_t dmaster);

/* What a REPLACE is about: the records of source in the parts of map take the place of the own ones, and these have to come of it. */
struct rec_replace {
	uint32_t source;
	struct content_map map;
	uint64_t seqnum, digest;
};

enum rec_apply { REC_APPLY_ADOPT, REC_APPLY_DEMOTE, REC_APPLY_POINT };

/* db: handle given by find_db. Jobs answer later by the rec_member_ functions named; a job that was stopped does not answer. */
struct rec_member_ops {
	rec_send_fn send;
	/* The node's databases with their lineage, below mem. */
	int (*list_dbs)(void *priv, TALLOC_CTX *mem, struct rec_db_state **dbs, uint32_t *n);
	/* May this BEGIN be followed: is its sender the leader of our view, are the links to all members up? 0, EAGAIN, ESTALE. */
	int (*may_begin)(void *priv, const struct rec_begin *m);
	/* BEGIN was accepted: all databases stop serving the former generation. */
	void (*begun)(void *priv, const struct rec_begin *m);
	/* The database of a plan (without "valid"), attached if it was missing; NULL if that fails. */
	void *(*find_db)(void *priv, const struct rec_db_plan *plan);
	/*
	 * Volatile: what is known about the copy, kept exact by whoever writes to the file (S1). *changed becomes true if others than this daemon wrote to it; until
	 * the database is committed it is asked again.
	 */
	struct slot_digest *(*digest)(void *priv, void *db, bool *changed);
	/* The volatile copy is no longer valid: whoever uses it must go (called before wipe). */
	void (*invalidated)(void *priv, void *db);
	int (*start_wipe)(void *priv, void *db);	  /* rec_member_job_done */
	/* filter NULL: all; else valid until the job has ended. rec_member_scan_entry ..., rec_member_job_done */
	int (*start_scan)(void *priv, void *db, const struct rec_scan_filter *filter);
	void (*scan_continue)(void *priv, void *db);
	/*
	 * Read-only copies of a volatile database cease to be usable (record_db_strip): called until it is 0, at once while EINPROGRESS, a little later while EAGAIN,
	 * before digests, and the last of the claims, are told: a new owner may write at once. NULL: there are none.
	 */
	int (*strip)(void *priv, void *db);
	int (*start_state)(void *priv, void *db);	  /* rec_member_state_done */
	/* Sums of the parts of the contents as of the last rec_member_state_done(), *n of them, valid until the next call; NULL: they are not known (any more). */
	const uint64_t *(*parts)(void *priv, void *db, uint32_t *n);
	void (*contents_forget)(void *priv, void *db); /* the next start_state has to read the file */
	/* The records in the parts of map: rec_member_read_batch ..., rec_member_read_done. map is copied. */
	int (*start_read)(void *priv, void *db, const struct content_map *map);
	void (*read_continue)(void *priv, void *db);
	/* Fed by replace_feed; rec_member_job_done: EILSEQ: not what had to come of it, nothing was changed; EPROTO: a record outside of the parts. what is copied. */
	int (*start_replace)(void *priv, void *db, const struct rec_replace *what);
	int (*replace_feed)(void *priv, void *db, const uint8_t *records, size_t len, bool last);
	void (*stop_jobs)(void *priv, void *db);
	/*
	 * One change to the local file under the record's chain lock: 0, EAGAIN (locked: tried again later), ESTALE (ADOPT, DEMOTE: rsn is not the one given).
	 * ADOPT: dmaster = self, rsn + 1. DEMOTE: dmaster = owner. POINT: dmaster = owner; a missing record is made, header only, rsn 0.
	 */
	int (*apply)(void *priv, void *db, enum rec_apply what, const uint8_t *key, size_t keylen, uint64_t rsn, uint32_t owner);
	/*
	 * The lineage moves; must be kept (as durable as the copy) on return, or, of persistent databases, before any message leaves that is sent from now on. tell: before the claims are complete, or for contents that did not count when
	 * they are replaced; change: before the first change, for contents when they are replaced. base: of the plan, for rec_lineage_tell().
	 */
	void (*lineage_tell)(void *priv, void *db, const struct recovery_id *id, const struct recovery_id *base);
	void (*lineage_change)(void *priv, void *db, const struct recovery_id *id);
	void (*prepared)(void *priv, void *db, const struct recovery_id *id, uint32_t generation, const uint32_t *slots, uint32_t n_slots);
	void (*committed)(void *priv, void *db, const struct recovery_id *id, uint32_t generation);
	void (*ended)(void *priv, const struct recovery_id *id, uint32_t generation, const uint32_t *members, uint32_t n_members);
	void (*note)(void *priv, const char *text);
	/* Has rec_member_run() taken so long that others should have their turn? NULL: it counts its steps. */
	bool (*enough)(void *priv);
};

struct rec_member *rec_member_new(TALLOC_CTX *mem, uint32_t own_pnn, const struct rec_member_ops *ops, void *priv);

/*
 * An order that meets nothing but locked records for so long fails with ETIMEDOUT; 0 (at first): is tried for ever. Shorter than what the caller of the
 * recovery is willing to wait, so that the node that has the lock is named. Who hears nothing about contents from others for twice as long begins again (EAGAIN).
 */
void rec_member_set_patience(struct rec_member *m, uint32_t ms);

/*
 * V12: a client keeps a lock of the database's file, which this node cannot do anything about. Others need not wait for it. Once a recovery; nothing happens if
 * the node's part of it is done, or has failed.
 */
void rec_member_late(struct rec_member *m, void *db);
/* The database is being detached, in whatever step it is: its handle, which may not have been asked for yet, is not used any more. */
void rec_member_forget(struct rec_member *m, uint32_t db_id, void *db);
/* It is part of the recovery in work, or late (V12), and not committed: nobody but the recovery makes it usable. */
bool rec_member_works_on(const struct rec_member *m, uint32_t db_id);

void rec_member_on_begin(struct rec_member *m, uint32_t from, const struct rec_begin *msg, struct mono now);
void rec_member_on_plan(struct rec_member *m, uint32_t from, const struct rec_plan *msg, struct mono now);
void rec_member_on_digests(struct rec_member *m, uint32_t from, const struct rec_digests *msg, struct mono now);
void rec_member_on_want(struct rec_member *m, uint32_t from, const struct rec_want *msg, struct mono now);
void rec_member_on_claims(struct rec_member *m, uint32_t from, const struct rec_claims *msg, struct mono now);
void rec_member_on_orders(struct rec_member *m, uint32_t from, const struct rec_orders *msg, struct mono now);
void rec_member_on_ack(struct rec_member *m, uint32_t from, const struct rec_ack *msg, struct mono now);
void rec_member_on_content_plan(struct rec_member *m, uint32_t from, const struct rec_content_plan *msg, struct mono now);
void rec_member_on_content_parts(struct rec_member *m, uint32_t from, const struct rec_content_parts *msg, struct mono now);
void rec_member_on_content_begin(struct rec_member *m, uint32_t from, const struct rec_content_begin *msg, struct mono now);
void rec_member_on_content(struct rec_member *m, uint32_t from, const struct rec_content *msg, struct mono now);
void rec_member_on_commit(struct rec_member *m, uint32_t from, const struct rec_db *msg, struct mono now);
void rec_member_on_end(struct rec_member *m, uint32_t from, const struct rec_end *msg, struct mono now);

/* Answers of jobs. */
struct rec_scan_entry {
	const uint8_t *key;
	size_t keylen;
	uint64_t rsn;
	uint32_t flags, dmaster;
	bool empty;
};
/* One record of the scan. The caller may go on with the entries of its batch whatever is returned; false: pause after the batch, scan_continue comes later. */
bool rec_member_scan_entry(struct rec_member *m, void *db, const struct rec_scan_entry *entry);
bool rec_member_read_batch(struct rec_member *m, void *db, const uint8_t *records, size_t len); /* false: pause */
void rec_member_state_done(struct rec_member *m, void *db, int status, uint64_t seqnum, uint64_t digest, bool healthy);
/* Sequence number and digest of all that was seen when it was read, records: how many of them were sent. */
void rec_member_read_done(struct rec_member *m, void *db, uint64_t seqnum, uint64_t digest, uint64_t records, struct mono now);
void rec_member_job_done(struct rec_member *m, void *db, int status, struct mono now); /* wipe, scan, replace, or a read that failed, whichever runs */

/*
 * Works in slices: call when due; returns when to call again (MONO_NEVER: nothing to do). Also due after every call above. What is done at once is bounded, however many
 * databases there are: a slice ends after a number of steps, or earlier when enough() says so, and the next one goes on with other databases.
 */
struct mono rec_member_run(struct rec_member *m, struct mono now);

/* The newest id seen; zero: none. */
const struct recovery_id *rec_member_id(const struct rec_member *m);
const uint32_t *rec_member_slots(const struct rec_member *m, uint32_t *n); /* of the recovery in work */
bool rec_member_is_normal(const struct rec_member *m); /* END of the newest id was seen */
/* Of the newest BEGIN that was followed, ended or not; 0: none, or abandoned. Whether a node is in it: what it sends and is sent must not be lost. */
uint32_t rec_member_generation(const struct rec_member *m);
bool rec_member_has(const struct rec_member *m, uint32_t pnn);
/* The PLAN of that recovery has come, and trusts no digests. */
bool rec_member_is_full(const struct rec_member *m);
/* What this member did since the newest PLAN. bytes: of what it sent about volatile databases. */
struct rec_stats {
	uint32_t dbs, scans;	/* volatile databases; files that were read */
	uint32_t slots, dirty;	/* own ones, over all databases; of those the ones that were claimed */
	uint64_t scanned, claims, orders, bytes;
	uint64_t content_records, content_bytes; /* sent about other databases, sums of parts too; by recoveries that were abandoned as well, as what has arrived is not sent again */
	bool full; /* no digests were trusted */
};
const struct rec_stats *rec_member_stats(const struct rec_member *m);
/* This node may no longer act: everything stops, the next BEGIN starts over. Lineages stay as they are. */
void rec_member_abandon(struct rec_member *m);

#endif
