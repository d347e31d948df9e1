/* The record engine: migration of records between nodes as a distributed queue. See record.h and ARCHITECTURE.md. */
#include "core/record_private.h"

#include <errno.h>
#include <string.h>

#include "base/hash.h"

#define HASH_BUCKETS_MIN 64

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

struct record_call *record_call_new(struct record_db *db, struct record_key key, uint64_t who, bool use,
				    void *call_priv, struct mono now)
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
	if (!rec_is_lmaster(db, hash_lookup3(key.p, key.len))) {
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

void record_on_forward(struct record_db *db, uint32_t from, uint32_t generation, uint32_t requester,
		       struct record_key key, struct mono now)
{
	struct rec *r;

	if (!generation_fits(db, generation)) {
		return;
	}
	if (rec_lmaster_of(db, hash_lookup3(key.p, key.len)) != from) {
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

void record_on_grant(struct record_db *db, uint32_t from, uint32_t generation, struct record_key key,
		     const struct record_copy *copy, struct mono now)
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
	if (run->copy.exists || r->asked || !rec_is_lmaster(r->db, r->hash)) {
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
	if (rec_is_lmaster(r->db, r->hash)) {
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
		db->e->ops.send_call(db->priv, rec_lmaster_of(db, r->hash), db->generation, rec_key(r));
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
	return dlist_empty(&r->waiters) && dlist_empty(&r->inbox) && r->forwarded == RECORD_NODE_NONE &&
	       !r->have_grant && r->next == RECORD_NODE_NONE;
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

/* ---- opening and closing ---- */

struct record_engine *record_engine_new(TALLOC_CTX *mem, const struct record_config *config,
					const struct record_ops *ops, void *engine_priv)
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

void record_db_free(struct record_db *db)
{
	record_db_close(db);
	while (!dlist_empty(&db->parked)) {
		call_answer(dlist_entry(dlist_first(&db->parked), struct record_call, link), EIDRM, NULL);
	}
	dlist_remove(&db->link);
	talloc_free(db);
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
