/* Slots: assignment with little movement. */
#include "core/slotmap.h"

#include <stdbool.h>

#include "base/hash.h"

static uint32_t member_index(const uint32_t *members, uint32_t n_members, uint32_t pnn)
{
	for (uint32_t i = 0; i < n_members; i++) {
		if (members[i] == pnn) {
			return i;
		}
	}
	return n_members;
}

/* Quota of member i: the first (n_slots mod n_members) members that need it get one more; "need" = hold more already.
 */
static uint32_t quota_extra(const uint32_t *have, uint32_t n_members, uint32_t share, uint32_t extra, uint32_t *quota)
{
	for (uint32_t i = 0; i < n_members; i++) {
		quota[i] = share;
		if (extra > 0 && have[i] > share) {
			quota[i]++;
			extra--;
		}
	}
	return extra;
}

void slotmap_compute(uint32_t *slots, uint32_t n_slots, const uint32_t *old, const uint32_t *members,
		     uint32_t n_members)
{
	uint32_t have[256], quota[256], kept[256];
	uint32_t extra, next = 0;

	if (n_members == 0 || n_members > 256) {
		return;
	}
	for (uint32_t i = 0; i < n_members; i++) {
		have[i] = kept[i] = 0;
	}
	for (uint32_t s = 0; old != NULL && s < n_slots; s++) {
		uint32_t i = member_index(members, n_members, old[s]);

		if (i < n_members) {
			have[i]++;
		}
	}
	extra = quota_extra(have, n_members, n_slots / n_members, n_slots % n_members, quota);
	for (uint32_t i = 0; i < n_members && extra > 0; i++) {
		if (quota[i] == n_slots / n_members) {
			quota[i]++;
			extra--;
		}
	}
	for (uint32_t s = 0; s < n_slots; s++) {
		uint32_t i = old != NULL ? member_index(members, n_members, old[s]) : n_members;

		if (i < n_members && kept[i] < quota[i]) {
			kept[i]++;
			slots[s] = members[i];
		} else {
			slots[s] = UINT32_MAX;
		}
	}
	for (uint32_t s = 0; s < n_slots; s++) {
		if (slots[s] != UINT32_MAX) {
			continue;
		}
		while (kept[next] >= quota[next]) {
			next = (next + 1) % n_members;
		}
		kept[next]++;
		slots[s] = members[next];
		next = (next + 1) % n_members;
	}
}

uint32_t slotmap_lmaster(const uint32_t *slots, uint32_t n_slots, const uint8_t *key, size_t keylen)
{
	return slots[hash_lookup3(key, keylen) % n_slots];
}
