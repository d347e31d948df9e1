/* Contents summed up by parts of the hash of the key. See content_parts.h. */
#include "core/content_parts.h"

#include <string.h>

#include "base/hash.h"

#define RECORDS_A_PART 16U

uint64_t content_hash(const uint8_t *key, size_t keylen)
{
	return hash_mix64(hash_fnv1a64(HASH_FNV1A64, key, keylen));
}

uint32_t content_parts_count(uint64_t records)
{
	uint32_t n = 2;

	if (records < CONTENT_PARTS_RECORDS_MIN) {
		return 0;
	}
	while (n < LANE_PARTS && (uint64_t)n * RECORDS_A_PART < records) {
		n *= 2;
	}
	return n;
}

void content_parts_fold(uint64_t *sums, uint32_t n, uint32_t fewer)
{
	for (uint32_t p = fewer; p < n; p++) {
		sums[p % fewer] += sums[p];
	}
}

/* The sum of part p of m, from those of n. */
static uint64_t part_of(const uint64_t *sums, uint32_t n, uint32_t p, uint32_t m)
{
	uint64_t sum = 0;

	for (; p < n; p += m) {
		sum += sums[p];
	}
	return sum;
}

void content_map_add(struct content_map *map, const uint64_t *own, uint32_t n_own, const uint64_t *theirs,
		     uint32_t n_theirs)
{
	uint32_t m = n_own < n_theirs ? n_own : n_theirs;

	for (uint32_t p = 0; p < m; p++) {
		if (part_of(own, n_own, p, m) == part_of(theirs, n_theirs, p, m)) {
			continue;
		}
		for (uint32_t q = p; q < n_own; q += m) {
			map->bits[q / 8] |= (uint8_t)(1U << (q % 8));
		}
	}
}

static bool has_part(const struct content_map *map, uint32_t p)
{
	return (map->bits[p / 8] & (1U << (p % 8))) != 0;
}

bool content_map_is_large(const struct content_map *map)
{
	uint32_t has = 0;

	for (uint32_t p = 0; p < map->n; p++) {
		has += has_part(map, p);
	}
	return has > map->n / 2;
}

bool content_map_has(const struct content_map *map, const uint8_t *key, size_t keylen)
{
	return map->n == 0 || has_part(map, (uint32_t)(content_hash(key, keylen) % map->n));
}

size_t content_map_size(uint32_t n)
{
	return (n + 7) / 8;
}

bool content_map_set(struct content_map *map, uint32_t n, const uint8_t *bits, size_t len)
{
	if (!content_parts_valid(n) || len != content_map_size(n)) {
		return false;
	}
	*map = (struct content_map){.n = n};
	if (len > 0) {
		memcpy(map->bits, bits, len);
	}
	for (uint32_t p = n; p < 8 && n > 0; p++) {
		if (has_part(map, p)) {
			return false;
		}
	}
	return true;
}
