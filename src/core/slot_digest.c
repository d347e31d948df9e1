/* Sums over a node's copies by slot and data master. See slot_digest.h. */
#include "core/slot_digest.h"

#include <errno.h>
#include <string.h>

#include "base/hash.h"

#define COLUMNS 257 /* nodes; the last: whatever is none */

struct slot_digest {
	bool known;
	uint32_t n_slots; /* 0: none yet, nothing is in the file */
	uint64_t *columns[COLUMNS];
	uint32_t used[COLUMNS], n_used; /* columns that there are */
	bool *kept;
	uint32_t n_kept; /* slots of that map */
};

struct slot_digest *slot_digest_new(TALLOC_CTX *mem)
{
	return talloc_zero(mem, struct slot_digest);
}

static void drop_columns(struct slot_digest *d)
{
	for (uint32_t k = 0; k < d->n_used; k++) {
		TALLOC_FREE(d->columns[d->used[k]]);
	}
	d->n_used = 0;
	d->known = false;
	d->n_slots = 0;
}

void slot_digest_forget(struct slot_digest *d)
{
	drop_columns(d);
	TALLOC_FREE(d->kept);
	d->n_kept = 0;
}

int slot_digest_reset(struct slot_digest *d, uint32_t n_slots)
{
	drop_columns(d);
	d->n_slots = n_slots;
	d->known = true;
	return 0;
}

bool slot_digest_known(struct slot_digest *d, uint32_t n_slots)
{
	if (d->known && d->n_slots == 0) {
		d->n_slots = n_slots;
	}
	return d->known && d->n_slots == n_slots;
}

static uint64_t key_hash(const uint8_t *key, size_t keylen)
{
	return hash_mix64(hash_fnv1a64(HASH_FNV1A64 ^ keylen, key, keylen));
}

static uint32_t column_of(uint32_t dmaster)
{
	return dmaster < COLUMNS - 1 ? dmaster : COLUMNS - 1;
}

static void add(struct slot_digest *d, uint32_t slot, uint32_t dmaster, uint64_t value)
{
	uint64_t **c = &d->columns[column_of(dmaster)];

	if (dmaster == SLOT_DIGEST_NONE || !d->known) {
		return;
	}
	if (*c == NULL) {
		*c = talloc_zero_array(d, uint64_t, d->n_slots);
		d->used[d->n_used] = column_of(dmaster);
		d->n_used += *c != NULL;
	}
	if (*c == NULL) {
		drop_columns(d);
		return;
	}
	(*c)[slot] += value;
}

void slot_digest_change(struct slot_digest *d, const uint8_t *key, size_t keylen, uint32_t before, uint32_t after)
{
	uint64_t h;
	uint32_t slot;

	if (!d->known || before == after) {
		return;
	}
	if (d->n_slots == 0) {
		drop_columns(d);
		return;
	}
	h = key_hash(key, keylen);
	slot = hash_lookup3(key, keylen) % d->n_slots;
	add(d, slot, before, 0 - h);
	add(d, slot, after, h);
}

uint64_t slot_digest_sum(const struct slot_digest *d, uint32_t slot, uint32_t dmaster)
{
	const uint64_t *c = d->columns[column_of(dmaster)];

	return c != NULL && slot < d->n_slots ? c[slot] : 0;
}

bool slot_digest_others(const struct slot_digest *d, uint32_t slot, const uint32_t *members, uint32_t n_members)
{
	for (uint32_t k = 0; k < d->n_used && slot < d->n_slots; k++) {
		uint32_t c = d->used[k], i;

		if (d->columns[c][slot] == 0) {
			continue;
		}
		for (i = 0; i < n_members && members[i] != c; i++) {
		}
		if (i == n_members) {
			return true;
		}
	}
	return false;
}

void slot_digest_prepared(struct slot_digest *d, const uint32_t *slots, uint32_t n_slots, uint32_t own_pnn)
{
	TALLOC_FREE(d->kept);
	d->n_kept = 0;
	d->kept = talloc_zero_array(d, bool, n_slots);
	if (d->kept == NULL) {
		return; /* costs a scan */
	}
	d->n_kept = n_slots;
	for (uint32_t s = 0; s < n_slots; s++) {
		d->kept[s] = slots[s] == own_pnn;
	}
}

bool slot_digest_kept(const struct slot_digest *d, uint32_t slot)
{
	return slot < d->n_kept && d->kept[slot];
}
