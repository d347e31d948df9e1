/* The record engine: what is counted about a database. See record.h. */
#include "core/record_private.h"

/* Upper limits of the buckets, as the classic protocol has them: 1 ms, 10 ms, 100 ms, 1 s, 2 s, 4 s ... 64 s, longer.
 */
static unsigned int time_bucket(uint64_t us)
{
	static const uint64_t limits_ms[] = {1, 10, 100, 1000, 2000, 4000, 8000, 16000, 32000, 64000};
	unsigned int i = 0;

	while (i < sizeof(limits_ms) / sizeof(limits_ms[0]) && us >= limits_ms[i] * 1000) {
		i++;
	}
	return i;
}

void count_lock_busy(struct rec *r, struct mono now)
{
	if (!mono_is_set(r->lock_wanted)) {
		r->lock_wanted = now;
		r->db->stats.locks_waiting++;
	}
}

void count_lock_over(struct rec *r)
{
	if (mono_is_set(r->lock_wanted)) {
		r->lock_wanted = MONO_NEVER;
		r->db->stats.locks_waiting--;
	}
}

void count_lock_got(struct rec *r, bool failed, struct mono now)
{
	struct record_db_stats *s = &r->db->stats;
	uint64_t us;

	if (!mono_is_set(r->lock_wanted)) {
		s->locks_failed += failed;
		return;
	}
	us = mono_us_between(r->lock_wanted, now);
	count_lock_over(r);
	s->locks++;
	s->locks_failed += failed;
	s->lock_us += us;
	s->lock_us_min = s->locks == 1 || us < s->lock_us_min ? us : s->lock_us_min;
	s->lock_us_max = us > s->lock_us_max ? us : s->lock_us_max;
	s->lock_buckets[time_bucket(us)]++;
}

void count_hops(struct record_db *db, unsigned int hops)
{
	db->stats.hops[hops]++;
}

void count_arrival(struct rec *r, struct mono now)
{
	struct record_db *db = r->db;
	uint32_t told = hot_keys_add(db->hot, r->key, r->keylen, r->hash, now);

	if (told > 0 && db->e->ops.hot != NULL) {
		db->e->ops.hot(db->priv, rec_key(r), told);
	}
}

const struct record_db_stats *record_db_stats(const struct record_db *db)
{
	return &db->stats;
}

const struct hot_keys *record_db_hot_keys(const struct record_db *db)
{
	return db->hot;
}

void record_db_reset_stats(struct record_db *db)
{
	db->stats = (struct record_db_stats){.locks_waiting = db->stats.locks_waiting};
	hot_keys_reset(db->hot);
}
