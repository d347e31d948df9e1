/* Claims of copies per key, and verdicts. */
#include "core/recovery_claims.h"

#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "base/hash.h"

struct entry {
	struct entry *next;
	uint32_t hash;
	uint32_t keylen;
	struct claim best; /* by better() */
	uint32_t local_dmaster;
	struct claim *losers; /* other owners; NULL as a rule */
	uint32_t n_losers;
	uint8_t key[];
};

struct claims {
	struct entry **buckets;
	size_t n_buckets, n;
	size_t at;          /* claims_next(): bucket */
	struct entry *next; /* claims_next(): entry to give */
};

struct claims *claims_new(TALLOC_CTX *mem)
{
	struct claims *c = talloc_zero(mem, struct claims);

	if (c == NULL) {
		return NULL;
	}
	c->n_buckets = 256;
	c->buckets = talloc_zero_array(c, struct entry *, c->n_buckets);
	if (c->buckets == NULL) {
		TALLOC_FREE(c);
	}
	return c;
}

static void grow(struct claims *c)
{
	size_t n = c->n_buckets * 4;
	struct entry **b = talloc_zero_array(c, struct entry *, n);

	if (b == NULL) {
		return;
	}
	for (size_t i = 0; i < c->n_buckets; i++) {
		while (c->buckets[i] != NULL) {
			struct entry *e = c->buckets[i];

			c->buckets[i] = e->next;
			e->next = b[e->hash & (n - 1)];
			b[e->hash & (n - 1)] = e;
		}
	}
	talloc_free(c->buckets);
	c->buckets = b;
	c->n_buckets = n;
}

static struct entry *entry_get(struct claims *c, const uint8_t *key, size_t keylen, bool *made)
{
	uint32_t hash = hash_lookup3(key, keylen);
	struct entry *e;

	*made = false;
	for (e = c->buckets[hash & (c->n_buckets - 1)]; e != NULL; e = e->next) {
		if (e->hash == hash && e->keylen == keylen && bytes_same(e->key, key, keylen)) {
			return e;
		}
	}
	if (c->n >= c->n_buckets) {
		grow(c);
	}
	e = talloc_size(c, sizeof(*e) + keylen);
	if (e == NULL) {
		return NULL;
	}
	*e = (struct entry){.hash = hash, .keylen = (uint32_t)keylen, .local_dmaster = CLAIM_NODE_NONE};
	bytes_copy(e->key, key, keylen);
	e->next = c->buckets[hash & (c->n_buckets - 1)];
	c->buckets[hash & (c->n_buckets - 1)] = e;
	c->n++;
	*made = true;
	return e;
}

static bool better(const struct claim *a, const struct claim *b)
{
	if (a->owned != b->owned) {
		return a->owned;
	}
	if (a->rsn != b->rsn) {
		return a->rsn > b->rsn;
	}
	if (!a->owned && a->empty != b->empty) {
		return b->empty;
	}
	return a->node < b->node;
}

static int add_loser(struct claims *c, struct entry *e, const struct claim *claim)
{
	struct claim *l = talloc_realloc(c, e->losers, struct claim, e->n_losers + 1);

	if (l == NULL) {
		return ENOMEM;
	}
	e->losers = l;
	e->losers[e->n_losers++] = *claim;
	return 0;
}

static int entry_claim(struct claims *c, struct entry *e, bool made, const struct claim *claim)
{
	struct claim loser = *claim;

	if (made) {
		e->best = *claim;
		return 0;
	}
	if (better(claim, &e->best)) {
		loser = e->best;
		e->best = *claim;
	}
	return loser.owned ? add_loser(c, e, &loser) : 0;
}

int claims_add(struct claims *c, const uint8_t *key, size_t keylen, const struct claim *claim)
{
	bool made;
	struct entry *e = entry_get(c, key, keylen, &made);

	return e == NULL ? ENOMEM : entry_claim(c, e, made, claim);
}

int claims_add_local(struct claims *c, const uint8_t *key, size_t keylen, const struct claim *claim, uint32_t dmaster)
{
	bool made;
	struct entry *e = entry_get(c, key, keylen, &made);

	if (e == NULL) {
		return ENOMEM;
	}
	e->local_dmaster = dmaster;
	return entry_claim(c, e, made, claim);
}

size_t claims_count(const struct claims *c)
{
	return c->n;
}

static int verdict_losers(struct claims *c, const struct entry *e, struct verdict *v)
{
	if (e->n_losers == 0) {
		return 0;
	}
	v->losers = talloc_array(c, uint32_t, e->n_losers);
	v->loser_rsn = talloc_array(c, uint64_t, e->n_losers);
	if (v->losers == NULL || v->loser_rsn == NULL) {
		return ENOMEM;
	}
	for (uint32_t i = 0; i < e->n_losers; i++) {
		v->losers[i] = e->losers[i].node;
		v->loser_rsn[i] = e->losers[i].rsn;
	}
	v->n_losers = e->n_losers;
	return 0;
}

bool claims_next(struct claims *c, struct verdict *v)
{
	struct entry *e;

	while (c->next == NULL && c->at < c->n_buckets) {
		c->next = c->buckets[c->at++];
	}
	if (c->next == NULL) {
		return false;
	}
	e = c->next;
	c->next = e->next;
	*v = (struct verdict){.key = e->key,
			      .keylen = e->keylen,
			      .owner = e->best.node,
			      .rsn = e->best.rsn,
			      .adopt = !e->best.owned,
			      .local_dmaster = e->local_dmaster};
	if (verdict_losers(c, e, v) != 0) {
		v->n_losers = 0; /* a loser that is not told is found inconsistent later */
	}
	return true;
}
