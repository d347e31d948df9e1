/* Hot keys. See hot_keys.h. */
#include "core/hot_keys.h"

#include <string.h>

#include "base/bytes.h"

struct hot_keys *hot_keys_new(TALLOC_CTX *mem)
{
	struct hot_keys *h = talloc_zero(mem, struct hot_keys);

	if (h != NULL) {
		hot_keys_reset(h);
	}
	return h;
}

static struct hot_key *list_find(struct hot_keys *h, const uint8_t *key, size_t keylen, uint32_t hash)
{
	for (unsigned int i = 0; i < HOT_KEYS; i++) {
		struct hot_key *k = &h->list[i];

		if (k->count > 0 && k->hash == hash && k->keylen == keylen && bytes_same(k->key, key, keylen)) {
			return k;
		}
	}
	return NULL;
}

/* In the place of the lowest. */
static struct hot_key *list_enter(struct hot_keys *h, const uint8_t *key, size_t keylen, uint32_t hash)
{
	struct hot_key *k = &h->list[0];

	*k = (struct hot_key){.hash = hash, .keylen = keylen, .key = k->key};
	bytes_copy(k->key, key, keylen);
	return k;
}

/* Its count went up: it moves to its place. */
static struct hot_key *list_sort(struct hot_keys *h, struct hot_key *k)
{
	while (k < &h->list[HOT_KEYS - 1] && k[1].count < k->count) {
		struct hot_key t = k[1];

		k[1] = *k;
		*k++ = t;
	}
	return k;
}

uint32_t hot_keys_add(struct hot_keys *h, const uint8_t *key, size_t keylen, uint32_t hash, struct mono now)
{
	const struct key_count *c = key_count_add(&h->counts, hash, keylen, now);
	struct hot_key *k;

	/* What is not above the lowest is in the list with at least that count, or not at all. */
	if (c == NULL || keylen > HOT_KEY_MAX || c->n <= h->list[0].count) {
		return 0;
	}
	k = list_find(h, key, keylen, hash);
	if (k != NULL && c->n <= k->count) {
		return 0;
	}
	k = k != NULL ? k : list_enter(h, key, keylen, hash);
	k->count = c->n;
	k = list_sort(h, k);
	if (k->count < HOT_KEY_TELL || (k->told > 0 && k->count / 2 < k->told)) {
		return 0;
	}
	k->told = k->count;
	return k->count;
}

void hot_keys_reset(struct hot_keys *h)
{
	memset(h, 0, sizeof(*h));
	for (unsigned int i = 0; i < HOT_KEYS; i++) {
		h->list[i].key = h->store[i];
	}
}
