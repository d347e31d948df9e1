/* The record engine: migration of records between nodes as a distributed queue. See record.h and ARCHITECTURE.md. */
#include "core/record.h"

#include <errno.h>
#include <string.h>

#include "base/dlist.h"
#include "base/hash.h"

#define HASH_BUCKETS_MIN 64
#define HOLD_SLOTS 256
/* A client that comes again for a record that left this recently, unused, missed it. */
#define MISS_WINDOW_MS 100
#define HINT_DELAY_MS 100
#define HINT_TRIES 5
/* Of a record that its location master has just made; each move to another node raises it. */
#define RSN_CREATED 1

struct record_call {
	struct dlist link; /* rec.waiters, or db.parked while the database is closed */
	struct rec *rec;
	struct record_db *db;
	uint8_t *key; /* only while parked */
	size_t keylen;
	uint64_t who;
	bool use;
	void *priv;
};

struct node_request {
	struct dlist link;
	uint32_t node;
};

/* A key with something going on. */
struct rec {
	struct rec *hash_next;
	struct dlist timer; /* engine.timers while due is set */
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
	uint32_t tail;		/* location master while it owns or waits: last of the queue behind it */
	bool holding;		/* R6 */
	bool seen_used;
	uint64_t held_for;	/* client */
	uint32_t held_hash;	/* of the data when it was answered */
	struct mono hold_until, hold_limit;
	uint32_t retry_us;
	struct mono due;
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
	struct hold_memory memory[HOLD_SLOTS];
};

struct record_engine {
	struct record_config config;
	struct record_ops ops;
	void *priv;
	struct dlist dbs;
	struct dlist timers;
	struct record_stats stats;
};

/* What one run over a key decided; carried out after the file says the same (R1). */
struct run {
	struct record_copy copy;
	bool dirty;
	bool owned;
	uint32_t grant_to;
	struct dlist forwards; /* struct forward */
};

struct forward {
	struct dlist link;
	uint32_t to, requester;
};

static void rec_run(struct rec *r, struct mono now);

/* ---- table of keys ---- */

static struct record_key rec_key(const struct rec *r)
{
	return (struct record_key){r->key, r->keylen};
}

static uint32_t lmaster_of(const struct record_db *db, uint32_t hash)
{
	return db->slots[hash % db->n_slots];
}

static bool is_lmaster(const struct record_db *db, uint32_t hash)
{
	return lmaster_of(db, hash) == db->e->config.own_pnn;
}

static void grow(struct record_db *db)
{
	uint32_t n = db->n_buckets * 2;
	struct rec **b = talloc_zero_array(db, struct rec *, n);

	if (b == NULL) {
		return; /* longer chains, nothing worse */
	}
	for (uint32_t i = 0; i < db->n_buckets; i++) {
		while (db->buckets[i] != NULL) {
			struct rec *r = db->buckets[i];

			db->buckets[i] = r->hash_next;
			r->hash_next = b[r->hash & (n - 1)];
			b[r->hash & (n - 1)] = r;
		}
	}
	talloc_free(db->buckets);
	db->buckets = b;
	db->n_buckets = n;
}

static struct rec *rec_find(const struct record_db *db, struct record_key key, uint32_t hash)
{
	struct rec *r;

	for (r = db->buckets[hash & (db->n_buckets - 1)]; r != NULL; r = r->hash_next) {
		if (r->hash == hash && r->keylen == key.len && memcmp(r->key, key.p, key.len) == 0) {
			return r;
		}
	}
	return NULL;
}

static struct rec *rec_get(struct record_db *db, struct record_key key)
{
	uint32_t hash = hash_lookup3(key.p, key.len);
	struct rec *r = rec_find(db, key, hash);

	if (r != NULL) {
		return r;
	}
	r = talloc_zero(db, struct rec);
	if (r == NULL) {
		return NULL;
	}
	r->key = talloc_size(r, key.len > 0 ? key.len : 1);
	if (r->key == NULL) {
		talloc_free(r);
		return NULL;
	}
	memcpy(r->key, key.p, key.len);
	r->keylen = key.len;
	r->hash = hash;
	r->db = db;
	r->forwarded = r->next = r->tail = RECORD_NODE_NONE;
	dlist_init(&r->waiters);
	dlist_init(&r->inbox);
	if (db->n_recs >= db->n_buckets * 2) {
		grow(db);
	}
	r->hash_next = db->buckets[hash & (db->n_buckets - 1)];
	db->buckets[hash & (db->n_buckets - 1)] = r;
	db->n_recs++;
	return r;
}

static void rec_free(struct rec *r)
{
	struct rec **p = &r->db->buckets[r->hash & (r->db->n_buckets - 1)];

	while (*p != r) {
		p = &(*p)->hash_next;
	}
	*p = r->hash_next;
	r->db->n_recs--;
	dlist_remove(&r->timer);
	talloc_free(r);
}

static bool rec_idle(const struct rec *r)
{
	return dlist_empty(&r->waiters) && dlist_empty(&r->inbox) && r->forwarded == RECORD_NODE_NONE && !r->asked && !r->have_grant &&
	       r->next == RECORD_NODE_NONE && r->tail == RECORD_NODE_NONE && !r->holding;
}

static void rec_due(struct rec *r, struct mono due)
{
	r->due = due;
	if (!dlist_linked(&r->timer)) {
		dlist_add_tail(&r->db->e->timers, &r->timer);
	}
}

static void rec_not_due(struct rec *r)
{
	r->due = MONO_NEVER;
	dlist_remove(&r->timer);
}

/* ---- R6: holding a record for the clients that were just answered ---- */

static struct hold_memory *hold_memory_get(struct record_db *db, uint32_t hash)
{
	struct hold_memory *m = &db->memory[hash % HOLD_SLOTS];

	if (m->hash != hash || m->hold_us == 0) {
		*m = (struct hold_memory){.hash = hash, .hold_us = db->e->config.hold_min_us};
	}
	return m;
}

/* A client asks again. Did it miss the record last time? Then the next hold is longer. */
static void hold_learn(struct record_db *db, uint32_t hash, uint64_t who, struct mono now)
{
	struct hold_memory *m = hold_memory_get(db, hash);

	if (m->unused && m->who == who && mono_is_set(m->given) && mono_ms_between(m->given, now) < MISS_WINDOW_MS) {
		m->hold_us = m->hold_us * 2 < db->e->config.hold_max_us ? m->hold_us * 2 : db->e->config.hold_max_us;
		db->e->stats.misses++;
	}
	m->unused = false;
}

static void hold_begin(struct rec *r, const struct record_copy *copy, uint64_t who, struct mono now)
{
	struct hold_memory *m = hold_memory_get(r->db, r->hash);

	r->held_for = who;
	r->held_hash = hash_lookup3(copy->data, copy->len);
	r->seen_used = false;
	if (!r->holding || r->next == RECORD_NODE_NONE) {
		r->hold_limit = mono_add_us(now, 4ULL * m->hold_us);
	}
	r->hold_until = mono_min(mono_add_us(now, m->hold_us), r->hold_limit);
	r->holding = true;
	r->db->e->stats.holds++;
}

/* May the record go, as far as the clients here are concerned? Called with the chain lock held. */
static bool hold_over(struct rec *r, const struct record_copy *copy, struct mono now)
{
	if (!r->holding) {
		return true;
	}
	if (hash_lookup3(copy->data, copy->len) != r->held_hash) {
		r->seen_used = true;
	}
	return r->seen_used || !mono_before(now, r->hold_until);
}

static void hold_end(struct rec *r, bool given, struct mono now)
{
	struct hold_memory *m;

	if (!r->holding) {
		return;
	}
	m = hold_memory_get(r->db, r->hash);
	m->who = r->held_for;
	m->given = now;
	m->unused = given && !r->seen_used;
	if (r->seen_used && m->hold_us > r->db->e->config.hold_min_us) {
		m->hold_us -= m->hold_us / 8;
	}
	r->holding = false;
}

/* ---- calls ---- */

static void call_answer(struct record_call *call, int status, const struct record_copy *copy)
{
	struct record_db *db = call->db;
	void *priv = call->priv;

	dlist_remove(&call->link);
	db->n_calls--;
	db->e->ops.answer(priv, status, copy);
	talloc_free(call);
}

static int call_park(struct record_call *call, struct record_key key)
{
	call->key = talloc_memdup(call, key.p, key.len > 0 ? key.len : 1);
	call->keylen = key.len;
	call->rec = NULL;
	dlist_remove(&call->link);
	dlist_add_tail(&call->db->parked, &call->link);
	return call->key != NULL ? 0 : ENOMEM;
}

static int call_queue(struct record_call *call, struct record_key key)
{
	struct rec *r = rec_get(call->db, key);

	if (r == NULL) {
		return ENOMEM;
	}
	call->rec = r;
	dlist_remove(&call->link);
	dlist_add_tail(&r->waiters, &call->link);
	return 0;
}

struct record_call *record_call_new(struct record_db *db, struct record_key key, uint64_t who, bool use, void *call_priv, struct mono now)
{
	struct record_call *call = talloc_zero(db, struct record_call);

	if (call == NULL) {
		return NULL;
	}
	*call = (struct record_call){.db = db, .who = who, .use = use, .priv = call_priv};
	if ((db->serving ? call_queue(call, key) : call_park(call, key)) != 0) {
		dlist_remove(&call->link);
		talloc_free(call);
		return NULL;
	}
	db->n_calls++;
	db->e->stats.calls++;
	if (call->rec != NULL) {
		hold_learn(db, call->rec->hash, who, now);
		rec_due(call->rec, now);
	}
	return call;
}

void record_call_cancel(struct record_call *call)
{
	/* A record that was asked for is taken and passed on all the same (R3). */
	dlist_remove(&call->link);
	call->db->n_calls--;
	talloc_free(call);
}

/* ---- packets ---- */

static bool generation_fits(const struct record_db *db, uint32_t generation)
{
	return db->open && db->generation == generation;
}

static void inconsistent(struct record_db *db, struct record_key key, const char *what)
{
	db->e->stats.inconsistent++;
	db->e->ops.inconsistent(db->priv, db->generation, key, what);
}

/* A node asks once until it has the record: what waits for the chain lock is bounded by that. */
static bool asked_already(const struct rec *r, uint32_t node)
{
	dlist_for_each(e, &r->inbox)
	{
		if (dlist_entry(e, struct node_request, link)->node == node) {
			return true;
		}
	}
	return false;
}

void record_on_call(struct record_db *db, uint32_t from, uint32_t generation, struct record_key key, struct mono now)
{
	struct node_request *n;
	struct rec *r;

	if (!generation_fits(db, generation)) {
		return;
	}
	if (!is_lmaster(db, hash_lookup3(key.p, key.len))) {
		inconsistent(db, key, "CALL to a node that is not the location master");
		return;
	}
	r = rec_get(db, key);
	if (r != NULL && asked_already(r, from)) {
		inconsistent(db, key, "second CALL of a node that waits already");
		return;
	}
	n = r != NULL ? talloc(r, struct node_request) : NULL;
	if (n == NULL) {
		inconsistent(db, key, "out of memory");
		return;
	}
	*n = (struct node_request){.node = from};
	dlist_add_tail(&r->inbox, &n->link);
	rec_run(r, now);
}

void record_on_forward(struct record_db *db, uint32_t from, uint32_t generation, uint32_t requester, struct record_key key, struct mono now)
{
	struct rec *r;

	if (!generation_fits(db, generation)) {
		return;
	}
	if (lmaster_of(db, hash_lookup3(key.p, key.len)) != from) {
		inconsistent(db, key, "FORWARD from a node that is not the location master");
		return;
	}
	if (requester == db->e->config.own_pnn || requester == RECORD_NODE_NONE) {
		inconsistent(db, key, "FORWARD to the node that has the record");
		return;
	}
	r = rec_get(db, key);
	if (r == NULL) {
		inconsistent(db, key, "out of memory");
		return;
	}
	if (r->forwarded != RECORD_NODE_NONE || r->next != RECORD_NODE_NONE) {
		inconsistent(db, key, "second FORWARD for one ownership");
		return;
	}
	r->forwarded = requester;
	rec_run(r, now);
}

void record_on_grant(struct record_db *db, uint32_t from, uint32_t generation, struct record_key key, const struct record_copy *copy,
		     struct mono now)
{
	struct rec *r;

	(void)from;
	if (!generation_fits(db, generation)) {
		return;
	}
	r = rec_find(db, key, hash_lookup3(key.p, key.len));
	if (r == NULL || !r->asked || r->have_grant) {
		inconsistent(db, key, "GRANT of a record that was not asked for");
		return;
	}
	db->e->stats.grants_in++;
	r->grant_buf = talloc_size(r, copy->len > 0 ? copy->len : 1);
	if (r->grant_buf == NULL) {
		inconsistent(db, key, "out of memory");
		return;
	}
	if (copy->len > 0) {
		memcpy(r->grant_buf, copy->data, copy->len);
	}
	r->grant = *copy;
	r->grant.data = r->grant_buf;
	r->have_grant = true;
	rec_run(r, now);
}

/* ---- one run over a key, under its chain lock ---- */

static void run_forward(struct rec *r, struct run *run, uint32_t to, uint32_t requester)
{
	struct forward *f = talloc(r, struct forward);

	if (f == NULL) {
		inconsistent(r->db, rec_key(r), "out of memory");
		return;
	}
	*f = (struct forward){.to = to, .requester = requester};
	dlist_add_tail(&run->forwards, &f->link);
}

/* The lock is held: a GRANT that came becomes the local copy (R3). */
static void run_take_grant(struct rec *r, struct run *run)
{
	uint64_t rsn;

	if (!r->have_grant) {
		return;
	}
	r->have_grant = false;
	r->asked = false;
	if (run->owned || (run->copy.exists && run->copy.len > 0 && run->copy.rsn > r->grant.rsn)) {
		inconsistent(r->db, rec_key(r), "GRANT of an older copy than the local one");
		return;
	}
	/* An empty stub of the key's earlier life, removed at its location master, may have a higher rsn (I5). */
	rsn = run->copy.exists && run->copy.rsn > r->grant.rsn ? run->copy.rsn : r->grant.rsn;
	run->copy = r->grant;
	run->copy.exists = true;
	run->copy.rsn = rsn + 1;
	run->copy.dmaster = r->db->e->config.own_pnn;
	run->owned = run->dirty = true;
}

/* The location master makes a record that nobody has. */
static void run_create(struct rec *r, struct run *run)
{
	if (run->copy.exists || r->asked || !is_lmaster(r->db, r->hash)) {
		return;
	}
	run->copy = (struct record_copy){.exists = true, .rsn = RSN_CREATED, .dmaster = r->db->e->config.own_pnn};
	run->owned = run->dirty = true;
}

/* FORWARD: whom this ownership goes to (I2). */
static void run_take_forward(struct rec *r, struct run *run)
{
	if (r->forwarded == RECORD_NODE_NONE) {
		return;
	}
	if (run->owned || r->asked) {
		r->next = r->forwarded;
	} else {
		inconsistent(r->db, rec_key(r), "FORWARD of a record that is neither here nor on its way");
	}
	r->forwarded = RECORD_NODE_NONE;
}

/* Location master: appends node to the record's queue (I3). */
static void run_append(struct rec *r, struct run *run, uint32_t node)
{
	if (r->tail == node) {
		inconsistent(r->db, rec_key(r), "CALL from the node that is last in the queue");
	} else if (r->tail != RECORD_NODE_NONE) {
		run_forward(r, run, r->tail, node);
		r->tail = node;
	} else if (run->owned || r->asked) {
		r->next = r->tail = node;
	} else if (run->copy.dmaster == node) {
		inconsistent(r->db, rec_key(r), "CALL from the node that has the record");
	} else {
		run_forward(r, run, run->copy.dmaster, node);
		run->copy.dmaster = node;
		run->dirty = true;
	}
}

static void run_inbox(struct rec *r, struct run *run)
{
	while (!dlist_empty(&r->inbox)) {
		struct node_request *n = dlist_entry(dlist_first(&r->inbox), struct node_request, link);

		dlist_remove(&n->link);
		run_append(r, run, n->node);
		talloc_free(n);
	}
}

/* Local callers wait and the record is elsewhere: ask for it, once (I4, at most one request per key and node). */
static bool run_ask(struct rec *r, struct run *run)
{
	if (dlist_empty(&r->waiters) || run->owned || r->asked) {
		return false;
	}
	r->asked = true;
	if (is_lmaster(r->db, r->hash)) {
		run_forward(r, run, run->copy.dmaster, r->db->e->config.own_pnn);
		return false;
	}
	return true;
}

static void run_give(struct rec *r, struct run *run, struct mono now)
{
	if (!run->owned || r->next == RECORD_NODE_NONE || !hold_over(r, &run->copy, now)) {
		return;
	}
	hold_end(r, true, now);
	run->grant_to = r->next;
	run->copy.dmaster = r->tail != RECORD_NODE_NONE ? r->tail : r->next; /* R4 */
	if (run->copy.len > 0) {
		run->copy.flags |= RECORD_FLAG_MIGRATED_WITH_DATA;
	}
	run->owned = false;
	run->dirty = true;
	r->next = r->tail = RECORD_NODE_NONE;
}

/* The file is written: tell the others. Returns with run's lists empty. */
static void run_send(struct rec *r, struct run *run, bool call)
{
	struct record_db *db = r->db;

	if (run->grant_to != RECORD_NODE_NONE) {
		db->e->stats.grants_out++;
		db->e->ops.send_grant(db->priv, run->grant_to, db->generation, rec_key(r), &run->copy);
	}
	while (!dlist_empty(&run->forwards)) {
		struct forward *f = dlist_entry(dlist_first(&run->forwards), struct forward, link);

		dlist_remove(&f->link);
		db->e->stats.forwards++;
		db->e->ops.send_forward(db->priv, f->to, db->generation, f->requester, rec_key(r));
		talloc_free(f);
	}
	if (call) {
		db->e->ops.send_call(db->priv, lmaster_of(db, r->hash), db->generation, rec_key(r));
	}
}

static void run_answer(struct rec *r, struct run *run, struct mono now)
{
	bool use = false;
	uint64_t who = 0;

	while (!dlist_empty(&r->waiters)) {
		struct record_call *call = dlist_entry(dlist_first(&r->waiters), struct record_call, link);

		use = use || call->use;
		who = call->who;
		call_answer(call, 0, &run->copy);
	}
	if (use) {
		hold_begin(r, &run->copy, who, now);
	}
}

/* What the engine can't write it can't promise: callers get the error, the generation ends. */
static void run_failed(struct rec *r, struct run *run, int err)
{
	while (!dlist_empty(&run->forwards)) {
		struct forward *f = dlist_entry(dlist_first(&run->forwards), struct forward, link);

		dlist_remove(&f->link);
		talloc_free(f);
	}
	while (!dlist_empty(&r->waiters)) {
		call_answer(dlist_entry(dlist_first(&r->waiters), struct record_call, link), err, NULL);
	}
	inconsistent(r->db, rec_key(r), "cannot read or write the local copy");
}

static int run_decide(struct rec *r, struct run *run, bool *call, struct mono now)
{
	const struct record_ops *ops = &r->db->e->ops;
	int ret = ops->read(r->db->priv, rec_key(r), &run->copy);

	if (ret != 0) {
		return ret;
	}
	run->owned = run->copy.exists && run->copy.dmaster == r->db->e->config.own_pnn;
	run_take_grant(r, run);
	run_create(r, run);
	run_take_forward(r, run);
	if (run->owned && !dlist_empty(&r->waiters) && r->db->serving) {
		if (run->dirty) { /* the record must be in the file before clients look for it */
			ret = ops->write(r->db->priv, rec_key(r), &run->copy);
			run->dirty = false;
		}
		if (ret == 0) {
			run_answer(r, run, now);
		}
	}
	if (ret != 0) {
		return ret;
	}
	run_inbox(r, run);
	run_give(r, run, now);
	*call = run_ask(r, run);
	return run->dirty ? ops->write(r->db->priv, rec_key(r), &run->copy) : 0;
}

/* When to look again: hold over or client seen, 0 if there is nothing to wait for. */
static void rec_schedule(struct rec *r, struct mono now)
{
	if (r->next != RECORD_NODE_NONE && r->holding) {
		struct mono poll = mono_add_us(now, r->db->e->config.retry_min_us);

		rec_due(r, mono_min(r->hold_until, poll));
	} else if (r->holding) {
		rec_due(r, r->hold_until);
	} else {
		rec_not_due(r);
	}
}

static void rec_busy(struct rec *r, struct mono now)
{
	const struct record_config *c = &r->db->e->config;

	r->db->e->stats.lock_busy++;
	if (r->holding) {
		r->seen_used = true; /* somebody here has it */
	}
	r->retry_us = r->retry_us == 0 ? c->retry_min_us : r->retry_us * 2;
	if (r->retry_us > c->retry_max_us) {
		r->retry_us = c->retry_max_us;
	}
	rec_due(r, mono_add_us(now, r->retry_us));
}

static bool nothing_to_do(const struct rec *r)
{
	return dlist_empty(&r->waiters) && dlist_empty(&r->inbox) && r->forwarded == RECORD_NODE_NONE && !r->have_grant &&
	       r->next == RECORD_NODE_NONE;
}

static void rec_run(struct rec *r, struct mono now)
{
	const struct record_ops *ops = &r->db->e->ops;
	struct run run = {.grant_to = RECORD_NODE_NONE};
	bool call = false;
	int ret;

	if (nothing_to_do(r)) {
		if (r->holding && !mono_before(now, r->hold_until)) {
			hold_end(r, false, now);
		}
		goto done;
	}
	ret = ops->trylock(r->db->priv, rec_key(r));
	if (ret == EAGAIN) {
		rec_busy(r, now);
		return;
	}
	r->retry_us = 0;
	dlist_init(&run.forwards);
	if (ret == 0) {
		ret = run_decide(r, &run, &call, now);
		if (ret == 0) {
			run_send(r, &run, call);
		}
		ops->unlock(r->db->priv, rec_key(r));
	}
	if (ret != 0) {
		run_failed(r, &run, ret);
	}
	if (!r->have_grant) {
		TALLOC_FREE(r->grant_buf);
	}
done:
	if (rec_idle(r)) {
		rec_free(r);
		return;
	}
	rec_schedule(r, now);
}

/* ---- deletion hints ---- */

void record_deletion_hint(struct record_db *db, struct record_key key, uint64_t rsn, struct mono now)
{
	struct hint *h;

	if (!db->open || !is_lmaster(db, hash_lookup3(key.p, key.len)) || db->n_hints >= db->e->config.max_hints) {
		return;
	}
	h = talloc_size(db, sizeof(*h) + key.len);
	if (h == NULL) {
		return;
	}
	*h = (struct hint){.rsn = rsn, .due = mono_add_ms(now, HINT_DELAY_MS), .keylen = key.len};
	memcpy(h->key, key.p, key.len);
	dlist_add_tail(&db->hints, &h->link);
	db->n_hints++;
	db->e->stats.hints++;
}

static void hint_free(struct record_db *db, struct hint *h)
{
	dlist_remove(&h->link);
	db->n_hints--;
	talloc_free(h);
}

/*
 * Still empty, ours, untouched, and it never left this node: then its absence says the same (lesson H-026). Not even empty: the header that another node kept would
 * outrank the copies of the key's next life, which begins at rsn 1 again, and a recovery after the death of their owner would choose it.
 */
static bool hint_deletable(const struct record_db *db, const struct hint *h, const struct record_copy *c)
{
	return c->exists && c->len == 0 && c->dmaster == db->e->config.own_pnn && c->rsn == h->rsn && c->rsn == RSN_CREATED &&
	       (c->flags & (RECORD_FLAG_MIGRATED_WITH_DATA | RECORD_FLAGS_READONLY)) == 0;
}

/* false: locked, try again later */
static bool hint_run(struct record_db *db, struct hint *h)
{
	struct record_key key = {h->key, h->keylen};
	struct record_copy copy;
	int ret;

	if (rec_find(db, key, hash_lookup3(key.p, key.len)) != NULL) {
		return ++h->tries >= HINT_TRIES;
	}
	ret = db->e->ops.trylock(db->priv, key);
	if (ret != 0) {
		return ret != EAGAIN || ++h->tries >= HINT_TRIES;
	}
	if (db->e->ops.read(db->priv, key, &copy) == 0 && hint_deletable(db, h, &copy) && db->e->ops.remove(db->priv, key) == 0) {
		db->e->stats.hints_deleted++;
	}
	db->e->ops.unlock(db->priv, key);
	return true;
}

/* At most a bounded number a turn: the rest waits for the next. Returns when the first is due. */
static struct mono hints_run(struct record_db *db, struct mono now)
{
	unsigned budget = 256;

	while (!dlist_empty(&db->hints) && budget-- > 0) {
		struct hint *h = dlist_entry(dlist_first(&db->hints), struct hint, link);

		if (mono_before(now, h->due)) {
			return h->due;
		}
		if (hint_run(db, h)) {
			hint_free(db, h);
			continue;
		}
		dlist_remove(&h->link);
		h->due = mono_add_ms(now, HINT_DELAY_MS);
		dlist_add_tail(&db->hints, &h->link);
	}
	return dlist_empty(&db->hints) ? MONO_NEVER : mono_add_us(now, 1000);
}

/* ---- opening and closing ---- */

struct record_engine *record_engine_new(TALLOC_CTX *mem, const struct record_config *config, const struct record_ops *ops, void *engine_priv)
{
	struct record_engine *e = talloc_zero(mem, struct record_engine);

	if (e != NULL) {
		e->config = *config;
		e->ops = *ops;
		e->priv = engine_priv;
		dlist_init(&e->dbs);
		dlist_init(&e->timers);
	}
	return e;
}

struct record_db *record_db_new(struct record_engine *e, void *db_priv)
{
	struct record_db *db = talloc_zero(e, struct record_db);

	if (db == NULL) {
		return NULL;
	}
	db->e = e;
	db->priv = db_priv;
	db->n_buckets = HASH_BUCKETS_MIN;
	db->buckets = talloc_zero_array(db, struct rec *, db->n_buckets);
	if (db->buckets == NULL) {
		talloc_free(db);
		return NULL;
	}
	dlist_init(&db->parked);
	dlist_init(&db->hints);
	dlist_add_tail(&e->dbs, &db->link);
	return db;
}

int record_db_open(struct record_db *db, uint32_t generation, const uint32_t *slots, uint32_t n_slots)
{
	uint32_t *copy = talloc_memdup(db, slots, n_slots * sizeof(*slots));

	if (copy == NULL || n_slots == 0) {
		talloc_free(copy);
		return ENOMEM;
	}
	record_db_close(db);
	talloc_free(db->slots);
	db->slots = copy;
	db->n_slots = n_slots;
	db->generation = generation;
	db->open = true;
	return 0;
}

void record_db_serve(struct record_db *db, struct mono now)
{
	struct dlist parked;

	db->serving = true;
	dlist_init(&parked);
	while (!dlist_empty(&db->parked)) {
		struct dlist *l = dlist_first(&db->parked);

		dlist_remove(l);
		dlist_add_tail(&parked, l);
	}
	while (!dlist_empty(&parked)) {
		struct record_call *call = dlist_entry(dlist_first(&parked), struct record_call, link);
		uint8_t *key = call->key;

		if (call_queue(call, (struct record_key){key, call->keylen}) != 0) {
			call_answer(call, ENOMEM, NULL);
			continue;
		}
		call->key = NULL;
		talloc_free(key);
		rec_due(call->rec, now);
	}
}

/* Local calls of one key go back to the parking place (R8). */
static void rec_close(struct rec *r)
{
	while (!dlist_empty(&r->waiters)) {
		struct record_call *call = dlist_entry(dlist_first(&r->waiters), struct record_call, link);

		if (call_park(call, rec_key(r)) != 0) {
			call_answer(call, ENOMEM, NULL);
		}
	}
	rec_free(r);
}

void record_db_close(struct record_db *db)
{
	db->open = db->serving = false;
	for (uint32_t i = 0; i < db->n_buckets; i++) {
		while (db->buckets[i] != NULL) {
			rec_close(db->buckets[i]);
		}
	}
	while (!dlist_empty(&db->hints)) {
		hint_free(db, dlist_entry(dlist_first(&db->hints), struct hint, link));
	}
}

/* ---- time ---- */

struct mono record_engine_next(const struct record_engine *e)
{
	struct mono next = MONO_NEVER;

	dlist_for_each(l, &e->timers)
	{
		next = mono_min(next, dlist_entry(l, struct rec, timer)->due);
	}
	dlist_for_each(l, &e->dbs)
	{
		const struct record_db *db = dlist_entry(l, struct record_db, link);

		if (db->serving && !dlist_empty(&db->hints)) {
			next = mono_min(next, dlist_entry(dlist_first(&db->hints), struct hint, link)->due);
		}
	}
	return next;
}

struct mono record_engine_timers(struct record_engine *e, struct mono now)
{
	struct dlist due;

	/* Runs change the list: first move what is due, then run each from the front. */
	dlist_init(&due);
	dlist_for_each_safe(l, &e->timers)
	{
		if (!mono_before(now, dlist_entry(l, struct rec, timer)->due)) {
			dlist_remove(l);
			dlist_add_tail(&due, l);
		}
	}
	while (!dlist_empty(&due)) {
		struct rec *r = dlist_entry(dlist_first(&due), struct rec, timer);

		rec_not_due(r);
		rec_run(r, now);
	}
	dlist_for_each(l, &e->dbs)
	{
		struct record_db *db = dlist_entry(l, struct record_db, link);

		if (db->serving) {
			hints_run(db, now);
		}
	}
	return record_engine_next(e);
}

void *record_db_engine_priv(const struct record_db *db)
{
	return db->e->priv;
}

const struct record_stats *record_engine_stats(const struct record_engine *e)
{
	return &e->stats;
}

uint32_t record_db_pending(const struct record_db *db)
{
	return db->n_calls;
}
