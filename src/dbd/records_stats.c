/* What the record engine counts, as the classic protocol tells it; hot keys in the log. */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/hot_keys.h"
#include "core/record.h"
#include "dbd/records.h"
#include "protocol/classic.h"
#include "shared/log.h"

#define HOT_LOG_MS   1000
#define KEY_LOG_MAX  48U /* bytes of a key in the log */
#define LOCK_BUCKETS 11U

static uint32_t u32(uint64_t v)
{
	return v < UINT32_MAX ? (uint32_t)v : UINT32_MAX;
}

/* ---- one database ---- */

static struct classic_lock_stats locks_of(const struct record_db_stats *s)
{
	struct classic_lock_stats l = {.num_calls = u32(s->locks),
				       .num_current = s->locks_waiting,
				       .num_failed = u32(s->locks_failed),
				       .latency = {.num = (int32_t)(u32(s->locks) & 0x7FFFFFFFU),
						   .min = (double)s->lock_us_min / 1e6,
						   .max = (double)s->lock_us_max / 1e6,
						   .total = (double)s->lock_us / 1e6}};

	for (unsigned int i = 0; i < LOCK_BUCKETS; i++) {
		l.buckets[i] = u32(s->lock_buckets[i]);
	}
	return l;
}

static int put_hot_keys(TALLOC_CTX *mem, const struct hot_keys *hot, struct classic_db_statistics *s)
{
	size_t len = 0;

	s->num_hot_keys = HOT_KEYS;
	for (unsigned int i = 0; i < HOT_KEYS; i++) {
		len += hot->list[i].keylen;
	}
	s->keys.data = talloc_size(mem, len > 0 ? len : 1);
	if (s->keys.data == NULL) {
		return ENOMEM;
	}
	for (unsigned int i = 0; i < HOT_KEYS; i++) {
		const struct hot_key *k = &hot->list[i];

		if (k->count > 0) {
			s->hot_keys[i] = (struct classic_hot_key){.count = k->count, .keylen = k->keylen};
			memcpy(s->keys.data + s->keys.len, k->key, k->keylen);
			s->keys.len += (uint32_t)k->keylen;
		}
	}
	return 0;
}

int records_statistics(TALLOC_CTX *mem, const struct db *db, struct classic_db_statistics *s)
{
	const struct record_db_stats *n;

	s->num_hot_keys = CLASSIC_HOT_KEYS;
	if (db->records == NULL) {
		return 0;
	}
	n = record_db_stats(db->records);
	s->locks = locks_of(n);
	s->ro_delegations = u32(n->ro_lent);
	s->ro_revokes = u32(n->ro_revokes);
	s->hop_count_buckets[0] = u32(n->hops[0]);
	s->hop_count_buckets[1] = u32(n->hops[1]);
	return put_hot_keys(mem, record_db_hot_keys(db->records), s);
}

/* ---- all databases ---- */

static void latency_add(struct classic_latency *sum, const struct classic_latency *l)
{
	if (l->num == 0) {
		return;
	}
	sum->min = sum->num == 0 || l->min < sum->min ? l->min : sum->min;
	sum->max = l->max > sum->max ? l->max : sum->max;
	sum->num += l->num;
	sum->total += l->total;
}

static void add(struct classic_statistics *sum, const struct record_db_stats *n)
{
	struct classic_lock_stats l = locks_of(n);

	sum->locks.num_calls += l.num_calls;
	sum->locks.num_current += l.num_current;
	sum->locks.num_failed += l.num_failed;
	for (unsigned int i = 0; i < LOCK_BUCKETS; i++) {
		sum->locks.buckets[i] += l.buckets[i];
	}
	latency_add(&sum->locks.latency, &l.latency);
	sum->hop_count_buckets[0] += u32(n->hops[0]);
	sum->hop_count_buckets[1] += u32(n->hops[1]);
	sum->max_hop_count = n->hops[1] > 0 ? 1 : sum->max_hop_count;
	sum->total_ro_delegations += u32(n->ro_lent);
	sum->total_ro_revokes += u32(n->ro_revokes);
}

void records_statistics_all(struct records *r, struct classic_statistics *sum)
{
	dlist_for_each(e, dbs_list(records_owner(r)->dbs))
	{
		const struct db *db = dlist_entry(e, struct db, link);

		if (db->records != NULL) {
			add(sum, record_db_stats(db->records));
		}
	}
}

void records_statistics_reset(struct records *r)
{
	dlist_for_each(e, dbs_list(records_owner(r)->dbs))
	{
		struct db *db = dlist_entry(e, struct db, link);

		if (db->records != NULL) {
			record_db_reset_stats(db->records);
		}
	}
}

/* ---- the log ---- */

/* As the tools print keys. */
static const char *key_text(struct record_key key)
{
	static char text[4 * KEY_LOG_MAX + 4];
	size_t n = 0;

	for (size_t i = 0; i < key.len && i < KEY_LOG_MAX; i++) {
		if (isprint(key.p[i]) && key.p[i] != '\\' && key.p[i] != '"') {
			text[n++] = (char)key.p[i];
		} else {
			n += (size_t)snprintf(text + n, 5, "\\x%02x", key.p[i]);
		}
	}
	snprintf(text + n, 4, "%s", key.len > KEY_LOG_MAX ? "..." : "");
	return text;
}

void records_hot(void *priv, struct record_key key, uint32_t count)
{
	const struct db *db = priv;

	log_ratelimited(LOG_LVL_NOTICE, HOT_LOG_MS,
			"database %s: hot key \"%s\": its record came to this node %u times within a second", db->name,
			key_text(key), count);
}
