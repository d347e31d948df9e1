/* The record engine: sticky records, which stay for a while after each arrival. See P1 to P4 in record.h. */
#include "core/record_private.h"

#include <errno.h>

#include "base/hash.h"

/* Nobody here was seen to use it for that long: it may go (P3). */
#define UNUSED_US 50000U
/* How often somebody is looked for while others wait. */
#define LOOKS       16U
#define LOOK_MIN_US 1000U

void record_engine_set_sticky(struct record_engine *e, const struct record_sticky *s)
{
	e->sticky = *s;
}

int record_db_set_sticky(struct record_db *db)
{
	if (db->sticky == NULL) {
		db->sticky = talloc_zero(db, struct key_counts);
	}
	return db->sticky != NULL ? 0 : ENOMEM;
}

/* P1 */
void sticky_given(struct rec *r, struct mono now)
{
	struct record_db *db = r->db;
	struct key_count *k;

	r->pinned = false;
	if (db->sticky == NULL || db->e->sticky.given == 0) {
		return;
	}
	k = key_count_add(db->sticky, r->hash, r->keylen, now);
	if (k != NULL && k->n > db->e->sticky.given) {
		db->stats.became_sticky += !mono_before(now, k->keep);
		k->keep = mono_add_ms(now, db->e->sticky.duration_ms);
	}
}

/* P2: it came, and clients here were told so. */
void sticky_arrived(struct rec *r, const struct record_copy *copy, struct mono now)
{
	struct record_db *db = r->db;
	const struct key_count *k =
		db->sticky != NULL && db->e->sticky.pin_ms > 0 ? key_count_find(db->sticky, r->hash, r->keylen) : NULL;

	if (k == NULL || !mono_before(now, k->keep)) {
		return;
	}
	r->pinned = true;
	r->pin_until = mono_add_ms(now, db->e->sticky.pin_ms);
	r->pin_used = now;
	r->pin_hash = hash_lookup3(copy->data, copy->len);
	db->stats.pins++;
}

void sticky_seen_used(struct rec *r, struct mono now)
{
	if (r->pinned) {
		r->pin_used = now;
	}
}

/* P3; the chain lock is held. */
bool sticky_over(struct rec *r, const struct record_copy *copy, struct mono now)
{
	uint32_t hash;

	if (!r->pinned) {
		return true;
	}
	hash = hash_lookup3(copy->data, copy->len);
	if (hash != r->pin_hash) {
		r->pin_hash = hash;
		r->pin_used = now;
	}
	r->pinned = mono_before(now, r->pin_until) && mono_us_between(r->pin_used, now) < UNUSED_US;
	return !r->pinned;
}

/* Nobody waits for it. */
void sticky_expire(struct rec *r, struct mono now)
{
	if (r->pinned && !mono_before(now, r->pin_until)) {
		r->pinned = false;
	}
}

struct mono sticky_next(const struct rec *r, bool wanted, struct mono now)
{
	uint64_t us = r->db->e->sticky.pin_ms * 1000ULL / LOOKS;

	if (!wanted) {
		return r->pin_until;
	}
	us = us < LOOK_MIN_US ? LOOK_MIN_US : us > UNUSED_US / 4 ? UNUSED_US / 4 : us;
	return mono_min(r->pin_until, mono_add_us(now, us));
}
