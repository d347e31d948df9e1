/*
 * The keys of a database whose records come to this node most often: the highest number of times within a second, since the last reset. A fixed number of keys,
 * in a fixed amount of memory.
 */
#ifndef CORE_HOT_KEYS_H
#define CORE_HOT_KEYS_H

#include <stdbool.h>
#include <talloc.h>

#include "core/key_count.h"

#define HOT_KEYS 10
/* Longer keys are counted, but do not enter the list. */
#define HOT_KEY_MAX 512
/* A key that comes less often in a second is nothing to be told about. */
#define HOT_KEY_TELL 32

struct hot_key {
	uint32_t count; /* 0: unused */
	uint32_t hash;
	uint32_t told; /* count when it was told last */
	size_t keylen;
	uint8_t *key; /* in the store below */
};

struct hot_keys {
	struct key_counts counts;
	struct hot_key list[HOT_KEYS]; /* lowest count first */
	uint8_t store[HOT_KEYS][HOT_KEY_MAX];
};

struct hot_keys *hot_keys_new(TALLOC_CTX *mem);
/*
 * The record with this key came. Returns its count if somebody should be told: it has entered the list, or is twice what was told last, and at least HOT_KEY_TELL;
 * else 0.
 */
uint32_t hot_keys_add(struct hot_keys *h, const uint8_t *key, size_t keylen, uint32_t hash, struct mono now);
void hot_keys_reset(struct hot_keys *h);

#endif
