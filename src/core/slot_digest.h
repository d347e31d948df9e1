/*
 * What a node's copies of a volatile database say about who owns what, summed up so that a recovery need not read the file: for each slot s and data master d the
 * sum modulo 2^64 of a 64-bit hash of the key over the copies in s whose header names d. And which slots this node kept as location master. Pure memory.
 *
 *   S1  Exact: whoever writes, changes the data master of, or removes a copy says so here, in the same turn. Clients never do either. What else changed the file
 *       (a wipe, a tool) is followed by slot_digest_forget().
 *   S2  kept(s): this node was location master of s in the last map for which its copy was PREPARED, and nothing was forgotten since. Then it has a copy of every
 *       key in s of which a node that counts has one, but for pointers (empty, rsn 0) of former location masters.
 *       (A committed generation has all its members PREPARED. Who was not in it does not count afterwards and is wiped. New keys are made by their location
 *       master first, and it is the last to remove them.)
 */
#ifndef CORE_SLOT_DIGEST_H
#define CORE_SLOT_DIGEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <talloc.h>

#define SLOT_DIGEST_NONE 0xFFFFFFFFU /* no copy */

struct slot_digest;

struct slot_digest *slot_digest_new(TALLOC_CTX *mem); /* unknown, nothing kept */

/* The contents of the file are not known any more: nothing is kept, sums are unknown. */
void slot_digest_forget(struct slot_digest *d);
/* The file is empty, or about to be counted from its beginning with slot_digest_change(); then it is known. n_slots 0: as the first map says. ENOMEM. */
int slot_digest_reset(struct slot_digest *d, uint32_t n_slots);
/* Are the sums known, for a map of so many slots? */
bool slot_digest_known(struct slot_digest *d, uint32_t n_slots);
/* A copy changes from naming before to naming after, each may be SLOT_DIGEST_NONE. Out of memory: unknown. */
void slot_digest_change(struct slot_digest *d, const uint8_t *key, size_t keylen, uint32_t before, uint32_t after);
uint64_t slot_digest_sum(const struct slot_digest *d, uint32_t slot, uint32_t dmaster);
/* Does a copy in the slot name a node that is not one of members? */
bool slot_digest_others(const struct slot_digest *d, uint32_t slot, const uint32_t *members, uint32_t n_members);

/* The copy is PREPARED for this map. */
void slot_digest_prepared(struct slot_digest *d, const uint32_t *slots, uint32_t n_slots, uint32_t own_pnn);
bool slot_digest_kept(const struct slot_digest *d, uint32_t slot);

#endif
