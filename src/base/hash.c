/* lookup3 over bytes. */
#include "base/hash.h"

#include <endian.h>
#include <string.h>

static inline uint32_t rotl(uint32_t x, unsigned r)
{
	return (x << r) | (x >> (32 - r));
}

/* Up to four bytes, missing ones taken as zero. */
static inline uint32_t le32(const uint8_t *p, size_t n)
{
	uint32_t v = 0;

	for (size_t i = 0; i < n && i < 4; i++) {
		v |= (uint32_t)p[i] << (8 * i);
	}
	return v;
}

#define MIX(x, z, y, r)                                                                                                \
	do {                                                                                                           \
		x -= z;                                                                                                \
		x ^= rotl(z, r);                                                                                       \
		z += y;                                                                                                \
	} while (0)

#define FINAL(x, y, r)                                                                                                 \
	do {                                                                                                           \
		x ^= y;                                                                                                \
		x -= rotl(y, r);                                                                                       \
	} while (0)

uint32_t hash_lookup3(const uint8_t *key, size_t len)
{
	uint32_t a = 0xDEADBEEFU + (uint32_t)len, b = a, c = a;

	while (len > 12) {
		a += le32(key, 4);
		b += le32(key + 4, 4);
		c += le32(key + 8, 4);
		MIX(a, c, b, 4);
		MIX(b, a, c, 6);
		MIX(c, b, a, 8);
		MIX(a, c, b, 16);
		MIX(b, a, c, 19);
		MIX(c, b, a, 4);
		key += 12;
		len -= 12;
	}
	if (len == 0) {
		return c;
	}
	a += le32(key, len);
	b += len > 4 ? le32(key + 4, len - 4) : 0;
	c += len > 8 ? le32(key + 8, len - 8) : 0;
	FINAL(c, b, 14);
	FINAL(a, c, 11);
	FINAL(b, a, 25);
	FINAL(c, b, 16);
	FINAL(a, c, 4);
	FINAL(b, a, 14);
	FINAL(c, b, 24);
	return c;
}

static uint64_t check_step(uint64_t h, uint64_t w)
{
	h = (h ^ w) * 0x9E3779B97F4A7C15ULL;
	return h ^ (h >> 32);
}

uint64_t hash_check64(uint64_t seed, const void *data, size_t len)
{
	const uint8_t *p = data;
	uint64_t h = seed, w;
	size_t left = len;

	for (; left >= sizeof(w); left -= sizeof(w), p += sizeof(w)) {
		memcpy(&w, p, sizeof(w));
		h = check_step(h, le64toh(w));
	}
	if (left > 0) {
		w = 0;
		memcpy(&w, p, left);
		h = check_step(h, le64toh(w));
	}
	return check_step(h, len);
}

uint64_t hash_fnv1a64(uint64_t h, const void *data, size_t len)
{
	const uint8_t *p = data;

	for (size_t i = 0; i < len; i++) {
		h = (h ^ p[i]) * 0x100000001b3ULL;
	}
	return h;
}

uint64_t hash_mix64(uint64_t h)
{
	h ^= h >> 33;
	h *= 0xff51afd7ed558ccdULL;
	h ^= h >> 33;
	h *= 0xc4ceb9fe1a85ec53ULL;
	return h ^ (h >> 33);
}
