/* The claims that a location master gathers for its keys in a recovery, and what follows from them. Pure. */
#ifndef CORE_RECOVERY_CLAIMS_H
#define CORE_RECOVERY_CLAIMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <talloc.h>

#define CLAIM_NODE_NONE 0xFFFFFFFFU

/* One copy of a record, as its node told. */
struct claim {
	uint64_t rsn;
	uint32_t node;
	bool owned, empty;
};

/* What shall become of a key. */
struct verdict {
	const uint8_t *key;
	size_t keylen;
	uint32_t owner;	    /* who has it from now on */
	uint64_t rsn;	    /* of the owner's copy as claimed */
	bool adopt;	    /* nobody owned it: the owner must be told */
	uint32_t *losers;   /* nodes that also claimed ownership: told to give in */
	uint64_t *loser_rsn;
	uint32_t n_losers;
	uint32_t local_dmaster; /* as given to claims_add_local(), CLAIM_NODE_NONE: no local copy was told */
};

struct claims;

struct claims *claims_new(TALLOC_CTX *mem);
/* 0, ENOMEM. A node tells each key once; twice: the later one counts in addition (harmless). */
int claims_add(struct claims *c, const uint8_t *key, size_t keylen, const struct claim *claim);
/* The same for the own node's copy, with its header's data master. */
int claims_add_local(struct claims *c, const uint8_t *key, size_t keylen, const struct claim *claim, uint32_t dmaster);
size_t claims_count(const struct claims *c);

/*
 * Verdicts one after the other, each key once; false at the end. v's pointers are valid until the next call.
 * Owners: highest rsn, then lowest pnn. No owner: highest rsn, then non-empty before empty, then lowest pnn.
 */
bool claims_next(struct claims *c, struct verdict *v);

#endif
