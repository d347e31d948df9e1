/* The record engine: migration of records between nodes as a distributed queue. See record.h and ARCHITECTURE.md. */
#include "core/vacuum_private.h"

#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "base/hash.h"

#define HASH_BUCKETS_MIN 64
/* ---- calls ---- */

void rec_answer(struct record_call *call, int status, const struct record_copy *copy)
{
	struct record_db *db = call->db;
	void *priv = call->priv;

	dlist_remove(&call->link);
	db->n_calls--;
	if (call->vacuum != NULL) {
		vacuum_pulled(call->vacuum, status, copy);
	} else {
		db->e->ops.answer(priv, status, copy);
	}
	talloc_free(call);
}

static int call_park(struct record_call *call, struct record_key key)
{
	call->key = bytes_dup(call, key.p, key.len);
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

static struct record_call *new_call(struct record_db *db, struct record_key key, const struct record_call *like,
				    struct mono now)
{
	struct record_call *call = talloc_zero(db, struct record_call);

	if (call == NULL) {
		return NULL;
	}
	*call = *like;
	if ((db->serving ? call_queue(call, key) : call_park(call, key)) != 0) {
		dlist_remove(&call->link);
		talloc_free(call);
		return NULL;
	}
	db->n_calls++;
	db->e->stats.calls++;
	if (call->rec != NULL) {
		hold_learn(db, call->rec->hash, call->who, now);
		rec_due(call->rec, now);
	}
	return call;
}

struct record_call *record_call_new(struct record_db *db, struct record_key key, uint64_t who, bool use,
				    void *call_priv, struct mono now)
{
	struct record_call like = {.db = db, .who = who, .use = use, .priv = call_priv};

	return new_call(db, key, &like, now);
}

struct record_call *record_call_new_readonly(struct record_db *db, struct record_key key, uint64_t who, bool use,
					     void *call_priv, struct mono now)
{
	struct record_call like = {.db = db, .who = who, .use = use, .priv = call_priv};

	like.read_only = db->readonly && db->e->config.max_readonly > 0;
	return new_call(db, key, &like, now);
}

void record_call_cancel(struct record_call *call)
{
	/* A record that was asked for is taken and passed on all the same (R3). */
	dlist_remove(&call->link);
	call->db->n_calls--;
	talloc_free(call);
}

/* ---- packets ---- */

bool rec_generation_fits(const struct record_db *db, uint32_t generation)
{
	return db->open && db->generation == generation;
}

void rec_inconsistent(struct record_db *db, struct record_key key, const char *what)
{
	db->e->stats.inconsistent++;
	db->e->ops.inconsistent(db->priv, db->generation, key, what);
}

/* A node asks once until it has the record: what waits for the chain lock is bounded by that. */
static bool asked_already(const struct rec *r, uint32_t node, bool read_only)
{
	dlist_for_each(e, &r->inbox)
	{
		const struct node_request *n = dlist_entry(e, struct node_request, link);

		if (n->node == node && n->read_only == read_only) {
			return true;
		}
	}
	return false;
}

void record_on_call(struct record_db *db, uint32_t from, uint32_t generation, struct record_key key, struct mono now)
{
	if (rec_generation_fits(db, generation)) {
		rec_call_in(db, from, key, false, now);
	}
}

void rec_call_in(struct record_db *db, uint32_t from, struct record_key key, bool read_only, struct mono now)
{
	struct node_request *n;
	struct rec *r;

	if (!rec_is_lmaster(db, hash_lookup3(key.p, key.len))) {
		rec_inconsistent(db, key, "CALL to a node that is not the location master");
		return;
	}
	r = rec_get(db, key);
	if (r != NULL && asked_already(r, from, read_only)) {
		rec_inconsistent(db, key, "second CALL of a node that waits already");
		return;
	}
	n = r != NULL ? talloc(r, struct node_request) : NULL;
	if (n == NULL) {
		rec_inconsistent(db, key, "out of memory");
		rec_drop(r);
		return;
	}
	*n = (struct node_request){.node = from, .read_only = read_only};
	dlist_add_tail(&r->inbox, &n->link);
	rec_run(r, now);
}

void record_on_forward(struct record_db *db, uint32_t from, uint32_t generation, uint32_t requester,
		       struct record_key key, struct mono now)
{
	struct rec *r;

	if (!rec_generation_fits(db, generation)) {
		return;
	}
	if (rec_lmaster_of(db, hash_lookup3(key.p, key.len)) != from) {
		rec_inconsistent(db, key, "FORWARD from a node that is not the location master");
		return;
	}
	if (requester == db->e->config.own_pnn || requester == RECORD_NODE_NONE) {
		rec_inconsistent(db, key, "FORWARD to the node that has the record");
		return;
	}
	r = rec_get(db, key);
	if (r == NULL) {
		rec_inconsistent(db, key, "out of memory");
		return;
	}
	if (r->forwarded != RECORD_NODE_NONE || r->next != RECORD_NODE_NONE) {
		rec_inconsistent(db, key, "second FORWARD for one ownership");
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
	if (!rec_generation_fits(db, generation)) {
		return;
	}
	r = rec_find(db, key, hash_lookup3(key.p, key.len));
	if (r == NULL || !r->asked || r->have_grant) {
		rec_inconsistent(db, key, "GRANT of a record that was not asked for");
		return;
	}
	db->e->stats.grants_in++;
	r->grant_buf = talloc_size(r, copy->len > 0 ? copy->len : 1);
	if (r->grant_buf == NULL) {
		rec_inconsistent(db, key, "out of memory");
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
		dlist_init(&e->late);
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
	db->hot = hot_keys_new(db);
	if (db->buckets == NULL || db->hot == NULL || vacuum_db_new(db) != 0) {
		talloc_free(db);
		return NULL;
	}
	dlist_init(&db->parked);
	dlist_init(&db->hints);
	dlist_init(&db->copies);
	dlist_init(&db->lenders);
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
	db->release = 0;
	dlist_for_each(l, &db->lenders)
	{
		db->release++;
	}
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
			rec_answer(call, ENOMEM, NULL);
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
			rec_answer(call, ENOMEM, NULL);
		}
	}
	if (!r->is_copy && !r->is_lender) {
		rec_free(r);
	} else {
		ro_reset(r);
	}
}

void record_db_close(struct record_db *db)
{
	vacuum_close(db);
	hold_forget(db);
	db->open = db->serving = false;
	db->release = 0;
	for (uint32_t i = 0; i < db->n_buckets; i++) {
		struct rec *r, *next;

		for (r = db->buckets[i]; r != NULL; r = next) {
			next = r->hash_next;
			rec_close(r);
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
		rec_answer(dlist_entry(dlist_first(&db->parked), struct record_call, link), EIDRM, NULL);
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
	if (!dlist_empty(&e->late)) {
		next = mono_min(next, dlist_entry(dlist_first(&e->late), struct rec, timer)->due);
	}
	dlist_for_each(l, &e->dbs)
	{
		const struct record_db *db = dlist_entry(l, struct record_db, link);

		next = mono_min(next, hints_next(db));
		if (db->release > 0) {
			next = mono_min(next, (struct mono){1});
		}
		next = mono_min(next, vacuum_next(db));
	}
	return next;
}

static void take_due(struct dlist *from, bool ordered, struct dlist *due, struct mono now)
{
	dlist_for_each_safe(l, from)
	{
		if (!mono_before(now, dlist_entry(l, struct rec, timer)->due)) {
			dlist_remove(l);
			dlist_add_tail(due, l);
		} else if (ordered) {
			return;
		}
	}
}

struct mono record_engine_timers(struct record_engine *e, struct mono now)
{
	struct dlist due;

	/* Runs change the lists: first move what is due, then run each from the front. */
	dlist_init(&due);
	take_due(&e->timers, false, &due, now);
	take_due(&e->late, true, &due, now);
	while (!dlist_empty(&due)) {
		struct rec *r = dlist_entry(dlist_first(&due), struct rec, timer);

		dlist_remove(&r->timer);
		rec_run(r, now);
	}
	dlist_for_each(l, &e->dbs)
	{
		struct record_db *db = dlist_entry(l, struct record_db, link);

		if (db->serving) {
			ro_release(db, now);
			hints_run(db, now);
		}
		vacuum_slice(db, now);
	}
	return record_engine_next(e);
}

static struct rec *waiting_for_lock(const struct record_db *db, struct record_key key)
{
	struct rec *r = db->open ? rec_find(db, key, hash_lookup3(key.p, key.len)) : NULL;

	return r != NULL && r->retry_us > 0 ? r : NULL;
}

bool record_db_waits(const struct record_db *db, struct record_key key)
{
	return waiting_for_lock(db, key) != NULL;
}

void record_db_retry(struct record_db *db, struct record_key key, struct mono now)
{
	struct rec *r = waiting_for_lock(db, key);

	if (r != NULL) {
		rec_not_due(r);
		rec_run(r, now);
	}
}

void *record_db_engine_priv(const struct record_db *db)
{
	return db->e->priv;
}

const struct record_stats *record_engine_stats(const struct record_engine *e)
{
	return &e->stats;
}

void record_db_set_readonly(struct record_db *db)
{
	db->readonly = true;
}

uint32_t record_db_pending(const struct record_db *db)
{
	return db->n_calls;
}
