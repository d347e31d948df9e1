/*
 * Contents of a persistent or replicated database, summed up by parts, so that a recovery sends only what differs. A record is in part h % n of n parts, n a power
 * of two; h is a hash of its key alone: FNV-1a (64 bits, offset basis 0xcbf29ce484222325, prime 0x100000001b3) over the bytes of the key, then
 * hash_mix64(). All nodes must agree about it; it has nothing to do with TDB's own hash. The sum of a part is that of the digests of its records, modulo 2^64, and the sum of all
 * parts is the digest of the contents. Part p of n has the records of parts p and p + n of 2n: sums of more parts give those of fewer. Pure.
 */
#ifndef CORE_CONTENT_PARTS_H
#define CORE_CONTENT_PARTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/lane.h" /* LANE_PARTS */

#define CONTENT_PARTS_RECORDS_MIN 64U /* fewer: no parts, they travel whole */
#define CONTENT_PARTS_MAP	  (LANE_PARTS / 8)

/* Which parts of n: bit p % 8 of byte p / 8. n 0: all there is. */
struct content_map {
	uint32_t n;
	uint8_t bits[CONTENT_PARTS_MAP];
};

uint64_t content_hash(const uint8_t *key, size_t keylen);

/* How many parts, for so many records: 0, or such that there are 8 to 16 of them in each on average, LANE_PARTS at most. */
uint32_t content_parts_count(uint64_t records);
/* What sums may be told: none, or a power of two from 2 to LANE_PARTS. */
static inline bool content_parts_valid(uint32_t n)
{
	return n == 0 || (n >= 2 && n <= LANE_PARTS && (n & (n - 1)) == 0);
}
/* From sums of n parts to those of fewer, in place; both are powers of two. */
void content_parts_fold(uint64_t *sums, uint32_t n, uint32_t fewer);

/* Adds the parts of map->n = n_own in which the two differ, as far as the coarser of both can tell. */
void content_map_add(struct content_map *map, const uint64_t *own, uint32_t n_own, const uint64_t *theirs, uint32_t n_theirs);
/*
 * More than half of the parts: then everything is sent, for at most twice the bytes. Records that grow are moved in a TDB file one by one, which looks for room for each;
 * of very many that takes longer than writing all of them anew.
 */
bool content_map_is_large(const struct content_map *map);
bool content_map_has(const struct content_map *map, const uint8_t *key, size_t keylen);
size_t content_map_size(uint32_t n); /* bytes of bits that are used */
/* From a message: false if bytes and count do not fit, or there are bits that stand for nothing. */
bool content_map_set(struct content_map *map, uint32_t n, const uint8_t *bits, size_t len);

#endif
