/*
 * The record engine: who owns a record of a volatile database, and how it gets to who wants it. Pure: storage, network and clients are
 * behind struct record_ops, time comes in as an argument. ARCHITECTURE.md, "Records", explains the protocol; rules R1 to R8 are cited below.
 *
 * Per key, on one node (H = header in the local file; L = location master of the key):
 *
 *   state      condition                                     leaves by
 *   IDLE       no struct rec; H may name anybody             a client call, CALL, FORWARD
 *   ASKED      waits for a GRANT; local callers queue        GRANT -> OWNED
 *   OWNED      H.dmaster = me; callers were answered         give to next -> IDLE
 *   HELD       OWNED, next is known, hold time runs (R6)     hold over, or record seen in use and free again -> give
 *
 * In every state the chain lock may be busy (R7): then what came in stays queued in struct rec, and record_engine_timers() tries again.
 *
 * Read-only copies (delegations), for databases that have them switched on. To clients they look as ever: a record lent has HAVE_DELEGATIONS at its data master, whose
 * clients then ask before they write; a copy has HAVE_READONLY and may be read from the file. N: rsn before; lent: N + 3; copies: N + 1; revoked copies: N + 2.
 *
 *   D1  Requester -CALL-> location master -FORWARD-> tail, which stays the tail. Links are in order, so a FORWARD (RO) always meets a node that owns the record, or
 *       waits for it and has not been told yet whom to give it to: it is never too late. Asked once a node and key until answered by COPY or RETRY.
 *   D2  The data master lends after its own clients had their turn (R6), and before it gives the record away: what waits there is bounded by the number of nodes.
 *       It cannot lend (switched off here, D7): RETRY, and the requester wants to write. So a requester is always answered.
 *   D3  A writer (local call for more than reading, or the next data master) is served when REVOKED came from every holder, and the data master then has cleared its
 *       own flag in the file. While it revokes, nothing is lent. First local writers, who are held for (R6), then readers again (lesson H-044).
 *   D4  A holder gives up its copy under the chain lock; a client that was just told of it has its hold (R6) before. Only what is there is changed (lesson H-041).
 *       The location master's copy keeps naming the tail, whatever COPY says (R4).
 *   D5  A recovery ends all: every member strips its copies before the last of its claims is told, that is before any location master can name a new owner, who may
 *       write at once. Data masters clear HAVE_DELEGATIONS only when the database is committed: all are prepared then, so no copy is left anywhere. Until then their
 *       clients cannot write what they read elsewhere. A member that does not count is wiped, and its clients are gone.
 *   D6  What has read-only flags in the file is remembered here, from before the write that sets them until after the one that clears them; a dbd that has just been
 *       started is told by the scan (record_db_found). A flag that nobody remembers is cleared by who meets it.
 *   D7  Bounded: max_readonly a database, lent and copies together; full: the record migrates instead.
 *
 * Sticky records, for databases that have them switched on. What many nodes fight for has moved on before the processes of one node have had their turn.
 *
 *   P1  A key is sticky at a node for duration_ms from when it was given away more than a number of times (given) within a second. Each node finds out for itself;
 *       forgotten with dbd. (CTDB counts how often a request was sent on before it found the record. Here that is never more than once, so this is counted.)
 *   P2  When the record of a sticky key comes here for a client, it stays for pin_ms: who waits for it, for reading or writing, waits in the queue as ever.
 *   P3  It goes earlier if nobody here was seen to use it (locked, changed or asked for) for 50 ms. It is not prolonged: who waits is served after pin_ms at the latest
 *       (and R6, R7).
 *   P4  A recovery ends it.
 *
 * A record that is larger than what can be sent (max_data) stays where it is.
 *
 *   L1  Its data master tells the next in the queue (TOO_LARGE), which stays the next. What waits there, or asks there later, is answered with EFBIG. It tells whoever
 *       is behind it, now or when a FORWARD names it, and so on.
 *   L2  The data master looks again every two seconds, and whenever its own clients ask. When the record has become smaller it goes the way of the queue, as ever, and
 *       with the GRANT all this is over. A recovery forgets it.
 *   L3  Who asks for a copy to read gets RETRY, and comes as a writer (D2).
 *
 * Invariants (checked by the simulation, test/sim):
 *   I1  In one generation at most one node's header names itself for a key, and none while a GRANT is on the way.
 *   I2  Each ownership of a node gets at most one FORWARD; it gives away only in answer to it.
 *   I3  L's tail is the node whose CALL it handled last; following "next" from the owner leads to the tail.
 *   I4  Every client call is answered, or asked again after the next recovery; exactly one answer.
 *   I5  The owner's rsn is higher than that of every other copy of this lineage.
 *   B1  A copy's rsn is lower than that of its data master, always.
 *   B2  The data master remembers every node that has HAVE_READONLY in this generation, or has a recovery to end first.
 *   B3  A client gets a record for writing only when no copy anywhere has HAVE_READONLY; a usable copy has the value that was written last.
 *   B4  When a database has been committed everywhere and is at rest, no read-only flag is left of an earlier generation.
 *   B5  A copy with read-only flags is not removed.
 *   I6  No call blocks; no lock is held when a function of this file returns.
 */
#ifndef CORE_RECORD_H
#define CORE_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <talloc.h>

#include "base/mono.h"

#define RECORD_FLAG_MIGRATED_WITH_DATA 0x00010000U
#define RECORD_FLAG_VACUUM_MIGRATED 0x00020000U
#define RECORD_FLAG_AUTOMATIC 0x00040000U
#define RECORD_FLAG_HAVE_DELEGATIONS 0x01000000U
#define RECORD_FLAG_HAVE_READONLY 0x02000000U
#define RECORD_FLAGS_READONLY 0x0F000000U
#define RECORD_NODE_NONE 0xFFFFFFFFU

/* A key is bytes; the engine copies what it keeps. */
struct record_key {
	const uint8_t *p;
	size_t len;
};

/* A local copy as it stands in the file. data without header; valid until unlock. */
struct record_copy {
	bool exists;
	uint64_t rsn;
	uint32_t dmaster;
	uint32_t flags;
	const uint8_t *data;
	size_t len;
};

struct record_engine;
struct record_db;
struct record_call;

/* Messages about read-only copies (D1 to D7), and about what cannot be sent. */
enum record_ro {
	RECORD_RO_CALL,	   /* who wants a copy, to the location master */
	RECORD_RO_FORWARD, /* location master to the tail; requester: who wants it */
	RECORD_RO_COPY,	   /* data master to requester: rsn, flags and data to store */
	RECORD_RO_REVOKE,  /* data master to holder; rsn: what the copy gets */
	RECORD_RO_REVOKED, /* holder to data master: there is no copy any more */
	RECORD_RO_RETRY,   /* data master to requester: come as one who wants to write */
	RECORD_TOO_LARGE,  /* data master to the next in the queue, and on from there: L1 */
};

/* db_priv: as given to record_db_new(). */
struct record_ops {
	/* The chain lock of the key, only tried: 0, EAGAIN, or errno: callers get it and a recovery is asked for. */
	int (*trylock)(void *db_priv, struct record_key key);
	void (*unlock)(void *db_priv, struct record_key key);
	/* Under the lock. A value too short for a header counts as not existing. */
	int (*read)(void *db_priv, struct record_key key, struct record_copy *copy);
	int (*write)(void *db_priv, struct record_key key, const struct record_copy *copy);
	int (*remove)(void *db_priv, struct record_key key);
	/* Never to the own node. Loss is reported by the end of the generation only. */
	void (*send_call)(void *db_priv, uint32_t node, uint32_t generation, struct record_key key);
	void (*send_forward)(void *db_priv, uint32_t node, uint32_t generation, uint32_t requester, struct record_key key);
	void (*send_grant)(void *db_priv, uint32_t node, uint32_t generation, struct record_key key, const struct record_copy *copy);
	/* The one answer of a call, after which it is freed. copy: of the record as owned here, NULL with status != 0. */
	void (*answer)(void *call_priv, int status, const struct record_copy *copy);
	/* Something that the protocol excludes was seen: log it and ask for a recovery. Never fatal (lesson H-005). */
	void (*inconsistent)(void *db_priv, uint32_t generation, struct record_key key, const char *what);
	/*
	 * copy: with COPY all of it, with REVOKE the rsn, with TOO_LARGE of the data master the length, else NULL. requester: with FORWARD. NULL: no copies are given
	 * or asked for, and nothing is too large.
	 */
	void (*send_readonly)(void *db_priv, uint32_t node, uint32_t generation, enum record_ro what, uint32_t requester, struct record_key key,
			      const struct record_copy *copy);
	/* The record came here so many times within a second; see hot_keys_add(). NULL: nobody wants to know. The chain lock is held. */
	void (*hot)(void *db_priv, struct record_key key, uint32_t count);
};

struct record_config {
	uint32_t own_pnn;
	uint32_t hold_min_us, hold_max_us;     /* R6: 500, 20000 */
	uint32_t retry_min_us, retry_max_us;   /* R7: 100, 5000 */
	uint32_t max_hints;		       /* deletion hints kept a database; more are dropped (a later full scan finds them): 10000 */
	uint32_t max_readonly;		       /* D7: records a database that are lent, or are copies: 100000; 0: no read-only copies */
	uint32_t max_data;		       /* L1: bytes that a GRANT can carry; 0: no limit */
};

struct record_engine *record_engine_new(TALLOC_CTX *mem, const struct record_config *config, const struct record_ops *ops, void *engine_priv);
void *record_db_engine_priv(const struct record_db *db);

/* A volatile database. Closed at first. */
struct record_db *record_db_new(struct record_engine *e, void *db_priv);

/*
 * Opens it with a generation and slot map (copied) at the end of its part of a recovery: from now on packets of that generation are served. Client calls wait until
 * record_db_serve(). Closing drops what other nodes asked for and everything known in memory; local calls are kept (R8).
 */
int record_db_open(struct record_db *db, uint32_t generation, const uint32_t *slots, uint32_t n_slots);
void record_db_serve(struct record_db *db, struct mono now);
void record_db_close(struct record_db *db);
/* The database is detached: local calls are answered with EIDRM, nothing is left of it. */
void record_db_free(struct record_db *db);

/*
 * A local client wants the record here. who: identity of the client, for R6. use: it will lock the record itself afterwards (callid NULL); false: it is content with
 * the data of the answer, no hold. NULL if out of memory. The call belongs to the engine until answered or cancelled.
 */
struct record_call *record_call_new(struct record_db *db, struct record_key key, uint64_t who, bool use, void *call_priv, struct mono now);
/* A read-only copy is enough, if the database has them: the answer's copy is owned, or has HAVE_READONLY. use: the client will look into the file. */
struct record_call *record_call_new_readonly(struct record_db *db, struct record_key key, uint64_t who, bool use, void *call_priv, struct mono now);
void record_call_cancel(struct record_call *call);
/*
 * That client (who of its calls) has sent something else than a call (sends), or was sent a message. R6: a client works step by step. If it sends, it has had the record that
 * it was answered last, or holds its chain now; so the hold is over when the chain is free. If it asks again afterwards, it has not missed the record before.
 * true: something is due now (record_engine_timers()).
 */
bool record_client_acts(struct record_engine *e, uint64_t who, bool sends, struct mono now);

/* Packets. from: sending node. A generation that is not the database's: dropped. */
void record_on_call(struct record_db *db, uint32_t from, uint32_t generation, struct record_key key, struct mono now);
void record_on_forward(struct record_db *db, uint32_t from, uint32_t generation, uint32_t requester, struct record_key key, struct mono now);
void record_on_grant(struct record_db *db, uint32_t from, uint32_t generation, struct record_key key, const struct record_copy *copy, struct mono now);
void record_on_readonly(struct record_db *db, uint32_t from, uint32_t generation, enum record_ro what, uint32_t requester, struct record_key key,
			const struct record_copy *copy, struct mono now);

/* ---- read-only copies ---- */

/* This node lends records of the database, and asks for copies. Cannot be taken back. */
void record_db_set_readonly(struct record_db *db);
/*
 * D5, while closed, before the last claims of a recovery are told: read-only copies cease to be usable. 0: none is left; EAGAIN: all that are left are locked;
 * EINPROGRESS: more to do, call again; other: errno. A bounded number a call.
 */
int record_db_strip(struct record_db *db);
/* A scan met a record with read-only flags; known already, or left by a dbd that was here before. 0 or ENOMEM: the copy would stay usable. */
int record_db_found(struct record_db *db, struct record_key key, uint32_t flags);
/* Known records with read-only flags. */
uint32_t record_db_readonly(const struct record_db *db);

/* ---- sticky records ---- */

struct record_sticky {
	uint32_t given; /* P1; 0: never */
	uint32_t pin_ms, duration_ms;
};
void record_engine_set_sticky(struct record_engine *e, const struct record_sticky *s); /* from now on, for all databases that have it */
int record_db_set_sticky(struct record_db *db); /* cannot be taken back. 0 or ENOMEM */

/*
 * A client deleted the record (stored it empty): if this node is its location master and it never left the node, it is removed from the file once the client's lock is
 * gone. All others become candidates of vacuuming (vacuum.h). rsn: of the client's copy. true: something is due earlier than before.
 */
bool record_deletion_hint(struct record_db *db, struct record_key key, uint64_t rsn, struct mono now);

/* Does something of the engine wait for the chain lock of this key? */
bool record_db_waits(const struct record_db *db, struct record_key key);
/* It can be had now: tried at once. */
void record_db_retry(struct record_db *db, struct record_key key, struct mono now);

/* Runs what is due; returns when to call again (MONO_NEVER: nothing waits). The answer is also needed after every call above. */
struct mono record_engine_timers(struct record_engine *e, struct mono now);
struct mono record_engine_next(const struct record_engine *e);

struct record_stats {
	uint64_t calls, calls_local, grants_in, grants_out, forwards, lock_busy, holds, misses, hints, hints_deleted, inconsistent;
	uint64_t ro_lent, ro_revokes, ro_copies, ro_retries;
};
const struct record_stats *record_engine_stats(const struct record_engine *e);
uint32_t record_db_pending(const struct record_db *db); /* client calls that wait */

/* Of one database since it was made, or the last reset. */
struct record_db_stats {
	uint64_t ro_lent, ro_revokes;
	uint64_t locks; /* how often a chain lock was busy and was got later, and how long that took */
	uint64_t locks_failed;
	uint32_t locks_waiting; /* now */
	uint64_t lock_us, lock_us_min, lock_us_max;
	uint64_t lock_buckets[11]; /* < 1 ms, 10 ms, 100 ms, 1 s, 2 s, 4 s, 8 s, 16 s, 32 s, 64 s, longer */
	uint64_t hops[2];	   /* requests of other nodes for records here: that came straight, that the location master sent on */
	uint64_t became_sticky, pins;
};
const struct record_db_stats *record_db_stats(const struct record_db *db);
struct hot_keys; /* core/hot_keys.h */
const struct hot_keys *record_db_hot_keys(const struct record_db *db);
void record_db_reset_stats(struct record_db *db);

#endif
