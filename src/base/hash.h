/* The hash that names databases and places keys. */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

/*
 * Bob Jenkins' lookup3 "hashlittle" with initial value 0, defined on bytes (public domain, http://burtleburtle.net/bob/c/lookup3.c); independent of
 * the host's byte order. It is TDB's hash for files with TDB_INCOMPATIBLE_HASH. A database's id is the hash of its name with the NUL.
 */
uint32_t hash_lookup3(const uint8_t *key, size_t len);

/*
 * Tells damaged bytes (torn writes, blocks that read as zeros) from whole ones; no protection against anybody who means it. For each 8 bytes, taken as a little
 * endian word w (the rest with zeros behind): h = (h ^ w) * 0x9E3779B97F4A7C15, h ^= h >> 32; at last the same with the length. Every step is a bijection of h and of
 * w: a change within one word is always seen, others are missed once in 2^64. In parts: each but the last a multiple of 8 bytes, the sum so far as seed; then the
 * lengths of the parts are in it.
 */
uint64_t hash_check64(uint64_t seed, const void *data, size_t len);

/*
 * FNV-1a (64 bits, http://www.isthe.com/chongo/tech/comp/fnv): over len more bytes; h at first HASH_FNV1A64. Not for
 * what somebody could gain by forging.
 */
#define HASH_FNV1A64 0xcbf29ce484222325ULL
uint64_t hash_fnv1a64(uint64_t h, const void *data, size_t len);
/*
 * The end of MurmurHash3 (64 bits; public domain): each bit of h decides about half of the bits of the result, so sums
 * of such values do not cancel by chance.
 */
uint64_t hash_mix64(uint64_t h);

#endif
