/* Worker program: a set of keys of records, each with a mark. */
#ifndef DBD_WORKER_KEYS_H
#define DBD_WORKER_KEYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <talloc.h>

struct keyset;

struct keyset_key {
	struct keyset_key *next; /* private */
	uint32_t len;
	bool marked; /* the caller's; false at first */
	uint8_t bytes[];
};

/* For about that many keys: with more of them it gets slower. NULL: no memory. */
struct keyset *keyset_new(TALLOC_CTX *mem, size_t about);
/* NULL: not there. */
struct keyset_key *keyset_find(struct keyset *set, const uint8_t *key, size_t len);
/* A key that is not there; copied. It stays where it is as long as the set. NULL: no memory. */
struct keyset_key *keyset_add(struct keyset *set, const uint8_t *key, size_t len);
/* All, in no order, until fn returns something else than 0: that is the result. */
int keyset_each(struct keyset *set, int (*fn)(struct keyset_key *key, void *priv), void *priv);

#endif
