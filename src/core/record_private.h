/* What the files of the record engine share: record.c (calls and packets), record_run.c (the protocol), record_readonly.c, record_table.c (keys, holding), record_large.c, record_hint.c. Not for others. */
#ifndef CORE_RECORD_PRIVATE_H
#define CORE_RECORD_PRIVATE_H

#include "base/dlist.h"
#include "core/hot_keys.h"
#include "core/record.h"

#define HOLD_SLOTS   256
#define HOLDER_SLOTS 256
#define HINT_SLOTS 256
#define LENT_NODES 256
/* Of a record that its location master has just made; each move to another node raises it. */
#define RSN_CREATED 1

struct record_call {
	struct dlist link; /* rec.waiters, or db.parked while the database is closed */
	struct rec *rec;
	struct record_db *db;
	uint8_t *key; /* only while parked */
	size_t keylen;
	uint64_t who;
	bool use, read_only;
	void *priv;
	struct cand *vacuum; /* the engine's own call, for vacuuming */
};

struct node_request {
	struct dlist link;
	uint32_t node;
	bool read_only;
};

/* Who has copies of a record that is lent. */
struct lent {
	uint32_t n;
	bool revoking;
	uint8_t nodes[LENT_NODES / 8];
};

/* A key with something going on. */
struct rec {
	struct rec *hash_next;
	struct dlist timer; /* engine.timers or engine.late while due is set */
	bool late;	    /* in engine.late */
	struct record_db *db;
	uint32_t hash;
	size_t keylen;
	uint8_t *key;
	struct dlist waiters;	/* local calls */
	struct dlist inbox;	/* location master: CALLs that wait for the chain lock, in order */
	uint32_t forwarded;	/* FORWARD that waits for the chain lock: its requester */
	bool asked;		/* our CALL or FORWARD is out */
	bool have_grant;	/* a GRANT waits for the chain lock */
	struct record_copy grant; /* data: grant_buf */
	uint8_t *grant_buf;
	uint32_t next;		/* whom we give it to */
	bool next_told;		/* that the record is too large (L1) */
	bool stays;		/* it is */
	bool refused;		/* asked for, and too large to come (L1) */
	uint32_t tail;		/* location master while it owns or waits: last of the queue behind it */
	bool holding;		/* R6 */
	bool held_many;		/* for more than one client */
	bool seen_used;
	uint64_t held_for;	/* client */
	uint32_t held_hash;	/* of the data when it was answered */
	struct mono hold_until, hold_limit;
	uint32_t retry_us;
	struct mono due;
	struct mono lock_wanted; /* the chain lock has been busy since */
	bool pinned;		 /* sticky (P2) */
	struct mono pin_until, pin_used;
	uint32_t pin_hash; /* of the data when it was looked at last */
	/* read-only copies */
	struct dlist ro_link;	/* db.copies or db.lenders: the file may say so (D6) */
	bool is_copy, is_lender;
	bool ro_asked;		/* our RO_CALL is out */
	bool recall;		/* lent and perhaps deleted: the copies are to be revoked */
	bool as_writer;		/* answered by RETRY: readers here want the record itself */
	struct dlist readers;	/* data master: struct node_request */
	struct lent *lent;
	bool have_copy;		/* a COPY waits for the chain lock */
	struct record_copy ro_copy; /* data: ro_buf */
	uint8_t *ro_buf;
	uint32_t ro_from;
	bool revoke;		/* a REVOKE waits for the chain lock, or for a client here */
	uint64_t revoke_rsn;
	uint32_t revoke_from;
};

/* What one run over a key decided; carried out after the file says the same (R1). */
struct run {
	struct record_copy copy;
	uint32_t flags_before; /* in the file */
	bool dirty;
	bool owned;
	bool arrived; /* by a GRANT */
	uint32_t grant_to;
	struct dlist messages; /* struct message */
};

/* What is remembered about how long clients need to come for a record (R6); direct mapped by key hash. */
struct hold_memory {
	uint32_t hash;
	uint32_t hold_us;
	uint64_t who;
	struct mono given;
	bool unused; /* given away without having been seen in use */
};

struct hint {
	struct dlist link;
	uint64_t rsn;
	struct mono due;
	unsigned tries;
	uint32_t hash;
	size_t keylen;
	uint8_t key[];
};

struct record_db {
	struct dlist link;
	struct record_engine *e;
	void *priv;
	bool open, serving;
	uint32_t generation;
	uint32_t *slots;
	uint32_t n_slots;
	struct rec **buckets;
	uint32_t n_buckets, n_recs;
	struct dlist parked; /* client calls of a closed database */
	uint32_t n_calls;
	struct dlist hints;
	uint32_t n_hints;
	struct hint *hint_slots[HINT_SLOTS]; /* newest by hash of the key */
	struct mono hints_not_before;
	struct vacuum *vacuum; /* NULL: not enabled */
	struct hold_memory memory[HOLD_SLOTS];
	struct record_db_stats stats;
	struct hot_keys *hot;
	struct key_counts *sticky; /* how often keys are given away; NULL: not switched on */
	bool readonly;
	struct dlist copies, lenders; /* rec.ro_link */
	uint32_t n_readonly;
	uint32_t release; /* lenders of before the recovery that are still to be looked at */
};

/* The record that a client was answered last: who acts is done with it. Direct mapped by who; a lost one costs time, no more. */
struct holder {
	uint64_t who;
	struct record_db *db; /* NULL: none */
	struct rec *rec;      /* held for it now, or NULL: that is over */
	uint32_t hash;
};

struct record_engine {
	struct record_config config;
	struct record_ops ops;
	void *priv;
	struct dlist dbs;
	struct dlist timers;
	struct dlist late; /* held, but nobody else wants them: in order of due */
	struct record_stats stats;
	struct record_sticky sticky;
	struct vacuum_engine *vacuum;
	struct holder holders[HOLDER_SLOTS];
};

/* ---- record.c ---- */
void rec_answer(struct record_call *call, int status, const struct record_copy *copy);
void rec_inconsistent(struct record_db *db, struct record_key key, const char *what);
bool rec_generation_fits(const struct record_db *db, uint32_t generation);
/* Location master: a CALL of either kind. */
void rec_call_in(struct record_db *db, uint32_t from, struct record_key key, bool read_only, struct mono now);

/* ---- record_run.c: does what can be done about a key now; may free r ---- */
void rec_run(struct rec *r, struct mono now);
bool rec_wanted(const struct rec *r); /* by other nodes */

/* ---- record_readonly.c ---- */
void ro_role_off(struct rec *r);
void ro_reset(struct rec *r);  /* the database is closed: only what the file may say is remembered */
void ro_suspect(struct rec *r, const struct run *run); /* the file could not be written */
bool ro_is_usable(const struct rec *r, const struct run *run);
bool ro_writer_waits(const struct rec *r);
void ro_take_copy(struct rec *r, struct run *run);
void ro_clean(struct rec *r, struct run *run);
void ro_lend(struct rec *r, struct run *run, struct mono now);
void ro_revoke(struct rec *r, struct run *run);
void ro_give_up(struct rec *r, struct run *run, struct mono now);
bool ro_ask(struct rec *r, struct run *run); /* true: done, or not needed; false: ask for the record itself */
/* Vacuuming: a record that was deleted is not lent any longer than that is known. */
void ro_recall(struct rec *r);
struct mono ro_release(struct record_db *db, struct mono now);

/* ---- messages of a run ---- */
enum message_kind { MESSAGE_FORWARD, MESSAGE_RO };
struct message {
	struct dlist link;
	enum message_kind kind;
	enum record_ro what;
	uint32_t to, requester;
	struct record_copy copy; /* COPY: flags and rsn, data of the run's; REVOKE: rsn */
};
void run_message(struct rec *r, struct run *run, const struct message *m);
void run_forward(struct rec *r, struct run *run, uint32_t to, uint32_t requester);
void run_readonly(struct rec *r, struct run *run, enum record_ro what, uint32_t to, uint32_t requester);

/* ---- record_table.c: keys with something going on ---- */
struct record_key rec_key(const struct rec *r);
uint32_t rec_lmaster_of(const struct record_db *db, uint32_t hash);
bool rec_is_lmaster(const struct record_db *db, uint32_t hash);
struct rec *rec_find(const struct record_db *db, struct record_key key, uint32_t hash);
struct rec *rec_get(struct record_db *db, struct record_key key);
void rec_free(struct rec *r);
bool rec_idle(const struct rec *r);
void rec_drop(struct rec *r); /* a packet was refused: nothing is left of it. r may be NULL */
void rec_due(struct rec *r, struct mono due);
void rec_not_due(struct rec *r);
/* Some time after its hold is over: nobody waits for that. */
void rec_due_late(struct rec *r, struct mono now);

/* ---- record_table.c: R6, holding a record for the clients that were just answered ---- */
void hold_learn(struct record_db *db, uint32_t hash, uint64_t who, struct mono now);
void hold_begin(struct rec *r, const struct record_copy *copy, uint64_t who, bool many, struct mono now);
/* Nothing points to the database any more. */
void hold_forget(struct record_db *db);
bool hold_over(struct rec *r, const struct record_copy *copy, struct mono now);
void hold_end(struct rec *r, bool given, struct mono now);
/* Ends one that was over before anybody wanted the record. */
void hold_expire(struct rec *r, struct mono now);

/* ---- record_count.c ---- */
void count_lock_busy(struct rec *r, struct mono now);
void count_lock_got(struct rec *r, bool failed, struct mono now);
void count_lock_over(struct rec *r); /* not waited for any more */
void count_hops(struct record_db *db, unsigned int hops);
void count_arrival(struct rec *r, struct mono now);

/* ---- record_sticky.c ---- */
void sticky_given(struct rec *r, struct mono now);
void sticky_arrived(struct rec *r, const struct record_copy *copy, struct mono now);
void sticky_seen_used(struct rec *r, struct mono now);
bool sticky_over(struct rec *r, const struct record_copy *copy, struct mono now);
void sticky_expire(struct rec *r, struct mono now);
struct mono sticky_next(const struct rec *r, bool wanted, struct mono now); /* of a pinned one: when to look again */

/* ---- record_large.c (L1 to L3) ---- */
bool large_stays(struct rec *r, struct run *run); /* owned and wanted: true: it cannot go, which the next is told */
bool large_reader(const struct rec *r, const struct run *run); /* who wants to read has to come as a writer, who is refused */
void large_refuse(struct rec *r, struct run *run); /* who waits here for what cannot come */
void large_in(struct record_db *db, struct record_key key, uint32_t hash, struct mono now);
struct mono large_next(struct mono now); /* when to look whether it has become smaller */

/* ---- record_hint.c ---- */
/* Looked at in a while; may be called with the chain lock held. true: something is due earlier than before. */
bool hint_add(struct record_db *db, struct record_key key, uint64_t rsn, struct mono now);
void hint_free(struct record_db *db, struct hint *h);
void hints_run(struct record_db *db, struct mono now);
struct mono hints_next(const struct record_db *db);

#endif
