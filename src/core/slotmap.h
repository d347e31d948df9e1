/* Slots: which node is location master of which part of the keys. */
#ifndef CORE_SLOTMAP_H
#define CORE_SLOTMAP_H

#include <stddef.h>
#include <stdint.h>

/*
 * Fills slots[0..n_slots) with members so that each gets n_slots/n_members, rounded up or down, and as few slots as possible differ from old (n_slots
 * entries, or NULL). members: ascending, at least one. Deterministic: every node that computes it gets the same map.
 */
void slotmap_compute(uint32_t *slots, uint32_t n_slots, const uint32_t *old, const uint32_t *members, uint32_t n_members);

/* The classic rule: map[hash(key) mod size]. */
uint32_t slotmap_lmaster(const uint32_t *slots, uint32_t n_slots, const uint8_t *key, size_t keylen);

#endif
