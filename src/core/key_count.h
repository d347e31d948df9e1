/*
 * How often something happens to keys in a second, in a fixed amount of memory: 256 keys at a time, those with the highest counts win. Keys are told apart by hash
 * and length: two that share both are counted as one, which does no harm to what uses it.
 */
#ifndef CORE_KEY_COUNT_H
#define CORE_KEY_COUNT_H

#include <stddef.h>
#include <stdint.h>

#include "base/mono.h"

#define KEY_COUNT_WINDOW_MS 1000

struct key_count {
	uint32_t hash; /* hash_lookup3() of the key */
	uint32_t n;    /* in the window, which began with the first; 0: unused */
	size_t keylen;
	struct mono since;
	struct mono keep; /* of the user: not replaced before that time */
};

#define KEY_COUNT_SETS 64
#define KEY_COUNT_WAYS 4

struct key_counts {
	struct key_count of[KEY_COUNT_SETS][KEY_COUNT_WAYS];
};

/* Once more for this key. NULL: others that share its place are counted higher just now. */
struct key_count *key_count_add(struct key_counts *c, uint32_t hash, size_t keylen, struct mono now);
/* NULL: not known. */
struct key_count *key_count_find(struct key_counts *c, uint32_t hash, size_t keylen);

#endif
