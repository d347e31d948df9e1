/* Sets of nodes, for the cluster core. */
#ifndef CORE_CLUSTER_SET_H
#define CORE_CLUSTER_SET_H

#include <stdbool.h>
#include <stdint.h>

#include "protocol/cluster.h"

struct set {
	uint64_t w[NODES_MAX / 64];
};

static inline bool set_has(const struct set *s, uint32_t p)
{
	return (s->w[p / 64] >> (p % 64) & 1) != 0;
}

static inline void set_add(struct set *s, uint32_t p)
{
	s->w[p / 64] |= 1ULL << (p % 64);
}

static inline void set_del(struct set *s, uint32_t p)
{
	s->w[p / 64] &= ~(1ULL << (p % 64));
}

static inline unsigned set_count(const struct set *s)
{
	unsigned n = 0;

	for (unsigned i = 0; i < NODES_MAX / 64; i++) {
		n += (unsigned)__builtin_popcountll(s->w[i]);
	}
	return n;
}

static inline struct set set_and(const struct set *a, const struct set *b)
{
	struct set s;

	for (unsigned i = 0; i < NODES_MAX / 64; i++) {
		s.w[i] = a->w[i] & b->w[i];
	}
	return s;
}

static inline struct set set_or(const struct set *a, const struct set *b)
{
	struct set s;

	for (unsigned i = 0; i < NODES_MAX / 64; i++) {
		s.w[i] = a->w[i] | b->w[i];
	}
	return s;
}

static inline struct set set_without(const struct set *a, const struct set *b)
{
	struct set s;

	for (unsigned i = 0; i < NODES_MAX / 64; i++) {
		s.w[i] = a->w[i] & ~b->w[i];
	}
	return s;
}

/* Lowest member; NODES_MAX: none. */
static inline uint32_t set_first(const struct set *s)
{
	for (unsigned i = 0; i < NODES_MAX / 64; i++) {
		if (s->w[i] != 0) {
			return i * 64 + (uint32_t)__builtin_ctzll(s->w[i]);
		}
	}
	return NODES_MAX;
}

static inline struct set set_of(const uint8_t bits[32])
{
	struct set s = {{0}};

	for (unsigned i = 0; i < NODES_MAX / 8; i++) {
		s.w[i / 8] |= (uint64_t)bits[i] << (8 * (i % 8));
	}
	return s;
}

#endif
