/* Counts of keys in a second. See key_count.h. */
#include "core/key_count.h"

struct key_count *key_count_find(struct key_counts *c, uint32_t hash, size_t keylen)
{
	struct key_count *set = c->of[hash % KEY_COUNT_SETS];

	for (unsigned int i = 0; i < KEY_COUNT_WAYS; i++) {
		if (set[i].n > 0 && set[i].hash == hash && set[i].keylen == keylen) {
			return &set[i];
		}
	}
	return NULL;
}

static bool is_over(const struct key_count *k, struct mono now)
{
	return k->n == 0 || mono_ms_between(k->since, now) >= KEY_COUNT_WINDOW_MS;
}

/* Whose place a new key takes: one whose second is over, else the one with the lowest count, which is lowered so that a
 * key that comes often gets in. */
static struct key_count *take_place(struct key_count *set, struct mono now)
{
	struct key_count *low = NULL;

	for (unsigned int i = 0; i < KEY_COUNT_WAYS; i++) {
		if (mono_before(now, set[i].keep)) {
			continue;
		}
		if (is_over(&set[i], now)) {
			return &set[i];
		}
		if (low == NULL || set[i].n < low->n) {
			low = &set[i];
		}
	}
	if (low == NULL || --low->n > 0) {
		return NULL;
	}
	return low;
}

struct key_count *key_count_add(struct key_counts *c, uint32_t hash, size_t keylen, struct mono now)
{
	struct key_count *k = key_count_find(c, hash, keylen);

	if (k == NULL) {
		k = take_place(c->of[hash % KEY_COUNT_SETS], now);
		if (k == NULL) {
			return NULL;
		}
		*k = (struct key_count){.hash = hash, .keylen = keylen, .since = now};
	} else if (is_over(k, now)) {
		k->n = 0;
		k->since = now;
	}
	if (k->n < UINT32_MAX) {
		k->n++;
	}
	return k;
}
