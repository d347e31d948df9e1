/* Worker program: a set of keys. They lie in blocks, because there may be millions of them, and more than talloc gives
 * in one piece. */
#include "dbd/worker_keys.h"

#include <stdalign.h>
#include <string.h>

#include "core/content_parts.h"

#define BLOCK       ((size_t)256 * 1024)
#define BUCKETS_MAX ((size_t)1 << 22)

struct keyset {
	struct keyset_key **buckets;
	size_t n_buckets; /* a power of two */
	uint8_t *block;   /* what is left of the newest one */
	size_t left;
};

struct keyset *keyset_new(TALLOC_CTX *mem, size_t about)
{
	struct keyset *set = talloc_zero(mem, struct keyset);
	size_t n = 16;

	if (set == NULL) {
		return NULL;
	}
	while (n < about && n < BUCKETS_MAX) {
		n *= 2;
	}
	set->n_buckets = n;
	set->buckets = talloc_zero_array(set, struct keyset_key *, n);
	if (set->buckets == NULL) {
		TALLOC_FREE(set);
	}
	return set;
}

static struct keyset_key **bucket_of(struct keyset *set, const uint8_t *key, size_t len)
{
	/* Not the low bits: keys of few parts have few values of these. */
	return &set->buckets[(content_hash(key, len) >> 32) & (set->n_buckets - 1)];
}

struct keyset_key *keyset_find(struct keyset *set, const uint8_t *key, size_t len)
{
	struct keyset_key *k = *bucket_of(set, key, len);

	while (k != NULL && (k->len != len || memcmp(k->bytes, key, len) != 0)) {
		k = k->next;
	}
	return k;
}

static void *take(struct keyset *set, size_t size)
{
	void *p;

	size = (size + alignof(struct keyset_key) - 1) / alignof(struct keyset_key) * alignof(struct keyset_key);
	if (size > set->left) {
		size_t n = size > BLOCK ? size : BLOCK;
		uint8_t *block = talloc_array(set, uint8_t, n);

		if (block == NULL) {
			return NULL;
		}
		set->block = block;
		set->left = n;
	}
	p = set->block;
	set->block += size;
	set->left -= size;
	return p;
}

struct keyset_key *keyset_add(struct keyset *set, const uint8_t *key, size_t len)
{
	struct keyset_key **bucket = bucket_of(set, key, len);
	struct keyset_key *k = take(set, sizeof(*k) + len);

	if (k == NULL) {
		return NULL;
	}
	k->next = *bucket;
	k->len = (uint32_t)len;
	k->marked = false;
	memcpy(k->bytes, key, len);
	*bucket = k;
	return k;
}

int keyset_each(struct keyset *set, int (*fn)(struct keyset_key *key, void *priv), void *priv)
{
	int result = 0;

	for (size_t i = 0; i < set->n_buckets; i++) {
		for (struct keyset_key *k = set->buckets[i]; k != NULL && result == 0; k = k->next) {
			result = fn(k, priv);
		}
	}
	return result;
}
