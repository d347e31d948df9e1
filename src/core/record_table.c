/* The record engine: the table of keys with something going on, and how long a record is held for its clients. */
#include "core/record_private.h"

#include <string.h>

#include "base/bytes.h"
#include "base/hash.h"

/* A client that comes again for a record that left this recently, unused, missed it. */
#define MISS_WINDOW_MS 100

/* Most holds end unseen: they come due together. */
#define LATE_GRID_NS (8 * MONO_NS_PER_MS)

/* ---- table of keys ---- */

struct record_key rec_key(const struct rec *r)
{
	return (struct record_key){r->key, r->keylen};
}

uint32_t rec_lmaster_of(const struct record_db *db, uint32_t hash)
{
	return db->slots[hash % db->n_slots];
}

bool rec_is_lmaster(const struct record_db *db, uint32_t hash)
{
	return rec_lmaster_of(db, hash) == db->e->config.own_pnn;
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

struct rec *rec_find(const struct record_db *db, struct record_key key, uint32_t hash)
{
	struct rec *r;

	for (r = db->buckets[hash & (db->n_buckets - 1)]; r != NULL; r = r->hash_next) {
		if (r->hash == hash && r->keylen == key.len && bytes_same(r->key, key.p, key.len)) {
			return r;
		}
	}
	return NULL;
}

struct rec *rec_get(struct record_db *db, struct record_key key)
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
	r->key = bytes_dup(r, key.p, key.len);
	if (r->key == NULL) {
		talloc_free(r);
		return NULL;
	}
	r->keylen = key.len;
	r->hash = hash;
	r->db = db;
	r->forwarded = r->next = r->tail = RECORD_NODE_NONE;
	dlist_init(&r->waiters);
	dlist_init(&r->inbox);
	dlist_init(&r->readers);
	if (db->n_recs >= db->n_buckets * 2) {
		grow(db);
	}
	r->hash_next = db->buckets[hash & (db->n_buckets - 1)];
	db->buckets[hash & (db->n_buckets - 1)] = r;
	db->n_recs++;
	return r;
}

static void holder_end(struct rec *r)
{
	struct holder *h = &r->db->e->holders[r->held_for % HOLDER_SLOTS];

	if (h->rec == r) {
		h->rec = NULL;
	}
}

void rec_free(struct rec *r)
{
	struct rec **p = &r->db->buckets[r->hash & (r->db->n_buckets - 1)];

	while (*p != r) {
		p = &(*p)->hash_next;
	}
	*p = r->hash_next;
	r->db->n_recs--;
	count_lock_over(r);
	dlist_remove(&r->timer);
	ro_role_off(r);
	holder_end(r);
	talloc_free(r);
}

bool rec_idle(const struct rec *r)
{
	return dlist_empty(&r->waiters) && dlist_empty(&r->inbox) && r->forwarded == RECORD_NODE_NONE && !r->asked &&
	       !r->have_grant && r->next == RECORD_NODE_NONE && r->tail == RECORD_NODE_NONE && !r->holding &&
	       !r->pinned && !r->is_copy && !r->is_lender && !r->ro_asked && !r->have_copy && !r->revoke &&
	       dlist_empty(&r->readers);
}

void rec_drop(struct rec *r)
{
	if (r != NULL && rec_idle(r)) {
		rec_free(r);
	}
}

void rec_due(struct rec *r, struct mono due)
{
	r->due = due;
	r->late = false;
	dlist_remove(&r->timer);
	dlist_add_tail(&r->db->e->timers, &r->timer);
}

void rec_not_due(struct rec *r)
{
	r->due = MONO_NEVER;
	r->late = false;
	dlist_remove(&r->timer);
}

/* No hold is longer than hold_max_us: what is added later comes due later. */
void rec_due_late(struct rec *r, struct mono now)
{
	rec_due(r, mono_grid(mono_add_us(now, r->db->e->config.hold_max_us), LATE_GRID_NS));
	r->late = true;
	dlist_remove(&r->timer);
	dlist_add_tail(&r->db->e->late, &r->timer);
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
void hold_learn(struct record_db *db, uint32_t hash, uint64_t who, struct mono now)
{
	struct hold_memory *m = hold_memory_get(db, hash);

	if (m->unused && m->who == who && mono_is_set(m->given) && mono_ms_between(m->given, now) < MISS_WINDOW_MS) {
		m->hold_us = m->hold_us * 2 < db->e->config.hold_max_us ? m->hold_us * 2 : db->e->config.hold_max_us;
		db->e->stats.misses++;
	}
	m->unused = false;
}

void hold_begin(struct rec *r, const struct record_copy *copy, uint64_t who, bool many, struct mono now)
{
	struct hold_memory *m = hold_memory_get(r->db, r->hash);

	holder_end(r); /* of the client that it was held for before */
	r->held_many = many || (r->holding && !r->seen_used);
	r->db->e->holders[who % HOLDER_SLOTS] = (struct holder){.who = who, .db = r->db, .rec = r, .hash = r->hash};

	r->held_for = who;
	r->held_hash = hash_lookup3(copy->data, copy->len);
	r->seen_used = false;
	if (!r->holding || !rec_wanted(r)) {
		r->hold_limit = mono_add_us(now, 4ULL * m->hold_us);
	}
	r->hold_until = mono_min(mono_add_us(now, m->hold_us), r->hold_limit);
	r->holding = true;
	r->db->e->stats.holds++;
}

/* May the record go, as far as the clients here are concerned? Called with the chain lock held. */
bool hold_over(struct rec *r, const struct record_copy *copy, struct mono now)
{
	if (!r->holding) {
		return true;
	}
	if (hash_lookup3(copy->data, copy->len) != r->held_hash) {
		r->seen_used = true;
	}
	return r->seen_used || !mono_before(now, r->hold_until);
}

void hold_end(struct rec *r, bool given, struct mono now)
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
	holder_end(r);
}

void hold_forget(struct record_db *db)
{
	for (uint32_t i = 0; i < HOLDER_SLOTS; i++) {
		if (db->e->holders[i].db == db) {
			db->e->holders[i] = (struct holder){0};
		}
	}
}

bool record_client_acts(struct record_engine *e, uint64_t who, bool sends, struct mono now)
{
	struct holder *h = &e->holders[who % HOLDER_SLOTS];
	struct hold_memory *m;

	if (h->db == NULL || h->who != who) {
		return false;
	}
	if (h->rec != NULL) {
		if (!sends || h->rec->held_many) {
			return false;
		}
		h->rec->seen_used = true;
		if (rec_wanted(h->rec)) {
			rec_due(h->rec, now);
		}
		return rec_wanted(h->rec);
	}
	m = hold_memory_get(h->db, h->hash);
	if (m->who == who) {
		m->unused = false; /* it did not miss the record: it has done something else since */
	}
	h->db = NULL;
	return false;
}

void hold_expire(struct rec *r, struct mono now)
{
	if (r->late && !mono_before(now, r->hold_until)) {
		hold_end(r, false, r->hold_until);
	}
}
