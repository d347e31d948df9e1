/* What the generated random and compare functions share. Not for production code: out of memory ends the program. */
#ifndef PROTOCOL_GEN_TEST_H
#define PROTOCOL_GEN_TEST_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "base/xdr.h"

/* Nothing nests deeper than this in random values. */
#define GEN_RANDOM_DEPTH 4
/* The bound itself is tried only when it is not larger: tests shall stay fast. */
#define GEN_RANDOM_BYTES    8192
#define GEN_RANDOM_ELEMENTS 64

static inline uint64_t gen_random(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

static inline uint32_t gen_random_below(uint64_t *state, uint32_t n)
{
	return (uint32_t)(gen_random(state) % n);
}

/* Often 0, 1, the largest: where encoders break. */
static inline uint64_t gen_random_number(uint64_t *state, unsigned bits)
{
	uint64_t mask = bits == 64 ? UINT64_MAX : (UINT64_C(1) << bits) - 1;

	switch (gen_random_below(state, 8)) {
	case 0:
		return 0;
	case 1:
		return mask;
	case 2:
		return gen_random_below(state, 300) & mask;
	case 3:
		return UINT64_C(1) << (bits - 1);
	default:
		return gen_random(state) & mask;
	}
}

/* Small mostly; 0 and the bound now and then. */
static inline uint32_t gen_random_count(uint64_t *state, uint32_t max, uint32_t small, uint32_t limit)
{
	uint32_t pick = gen_random_below(state, 16), n;

	if (pick == 0) {
		return 0;
	}
	if (pick == 1 && max <= limit) {
		return max;
	}
	n = gen_random_below(state, pick == 2 ? limit : small) + 1;
	return n < max ? n : max;
}

static inline void *gen_random_alloc(TALLOC_CTX *mem, size_t size)
{
	void *p = talloc_zero_size(mem, size);

	if (p == NULL) {
		abort();
	}
	return p;
}

static inline void gen_random_fill(uint64_t *state, uint8_t *data, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		data[i] = (uint8_t)gen_random(state);
	}
}

static inline struct ctdb_blob gen_random_blob(uint64_t *state, TALLOC_CTX *mem, uint32_t max)
{
	struct ctdb_blob blob = {.len = gen_random_count(state, max, 12, GEN_RANDOM_BYTES)};

	if (blob.len > 0) {
		blob.data = gen_random_alloc(mem, blob.len);
		gen_random_fill(state, blob.data, blob.len);
	}
	return blob;
}

/* Any bytes but NUL; text mostly. */
static inline char *gen_random_string(uint64_t *state, TALLOC_CTX *mem, uint32_t max)
{
	uint32_t len = gen_random_count(state, max, 12, GEN_RANDOM_BYTES);
	bool text = gen_random_below(state, 8) != 0;
	char *s = gen_random_alloc(mem, (size_t)len + 1);

	for (uint32_t i = 0; i < len; i++) {
		s[i] = (char)(text ? 32 + gen_random_below(state, 95) : 1 + gen_random_below(state, 255));
	}
	return s;
}

static inline double gen_random_double(uint64_t *state)
{
	return (double)(int64_t)gen_random(state) / (double)(1 + gen_random_below(state, 1000000));
}

static inline bool gen_equal_blob(const struct ctdb_blob *a, const struct ctdb_blob *b)
{
	return a->len == b->len && (a->len == 0 || memcmp(a->data, b->data, a->len) == 0);
}

static inline bool gen_equal_string(const char *a, const char *b)
{
	return strcmp(a != NULL ? a : "", b != NULL ? b : "") == 0;
}

/* Bit by bit: a NaN equals itself. */
static inline bool gen_equal_double(double a, double b)
{
	return memcmp(&a, &b, sizeof(a)) == 0;
}

/* A heap block of exactly that size: what is read behind it, a sanitizer sees. free() it. */
static inline uint8_t *gen_exact_copy(const uint8_t *buf, size_t len)
{
	uint8_t *copy = malloc(len > 0 ? len : 1);

	if (copy == NULL) {
		abort();
	}
	if (len > 0) {
		memcpy(copy, buf, len);
	}
	return copy;
}

/* An encoded structure, written byte by byte, as machines of either order have it. */
struct gen_sample {
	uint8_t little[512], big[512];
	size_t len;
};

static inline void gen_sample_put(struct gen_sample *s, uint64_t value, size_t n)
{
	if (n > sizeof(s->little) - s->len) {
		abort();
	}
	for (size_t i = 0; i < n; i++) {
		s->little[s->len + i] = (uint8_t)(value >> (8 * i));
		s->big[s->len + i] = (uint8_t)(value >> (8 * (n - 1 - i)));
	}
	s->len += n;
}

static inline void gen_sample_bytes(struct gen_sample *s, const void *bytes, size_t n)
{
	if (n > sizeof(s->little) - s->len) {
		abort();
	}
	memcpy(s->little + s->len, bytes, n);
	memcpy(s->big + s->len, bytes, n);
	s->len += n;
}

#endif
