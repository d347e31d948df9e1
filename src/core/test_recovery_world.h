/* What the tests of recovery have in common: both sides with made-up surroundings, and what they did. */
#ifndef CORE_TEST_RECOVERY_WORLD_H
#define CORE_TEST_RECOVERY_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/recovery.h"

#define ME       1U
#define LEADER   0U
#define GEN      77U
#define SENT_MAX 4096

/* What one side did, as far as the tests look at it. */
struct world {
	struct rec_member *member;
	struct rec_leader *leader;
	struct mono now;
	int db; /* the one handle */
	bool no_db, locked, changed;
	struct slot_digest *digest;
	bool filtered; /* the last scan */
	struct rec_lineage lineage;
	uint32_t sent[64]; /* by procedure */
	uint32_t acks[SENT_MAX], n_acks;
	uint32_t status; /* of the last DB_PREPARED or BEGIN_REPLY */
	uint32_t applied, started, stopped, fed, prepared, committed, ended, done;
	uint32_t source, n_targets;
	uint64_t parts[LANE_PARTS]; /* of our contents */
	uint32_t n_parts;
	uint32_t n_sums, forgotten; /* of the last CONTENT_PARTS */
	struct content_map map;	    /* of the last CONTENT_BEGIN */
	bool last;		    /* of the last CONTENT */
	struct rec_replace replace; /* the last one that was started */
	bool full; /* of the last PLAN */
	uint32_t plan_dbs, plan_flags; /* databases; flags of the first one */
	uint32_t culprits, culprit; /* how many were named, the last one */
	int blame;                  /* for what */
};

extern const struct rec_member_ops world_member_ops;
extern const struct rec_leader_ops world_leader_ops;
extern const uint32_t world_three[3]; /* 0, 1, 2 */

/* *state becomes a struct world with both sides. */
int world_setup(void **state);
int world_teardown(void **state);

struct recovery_id world_id(uint32_t attempt);
uint32_t *world_list(const uint32_t *v); /* the generated structs hold pointers to what may be changed; nobody here does */
struct rec_begin world_begin(uint32_t attempt); /* of three members */
/* Digests and wishes of the other members: nothing is theirs; all: they want all of our copies. */
void world_digests(struct world *w, uint32_t attempt, bool all);
/* BEGIN and PLAN with one database, number 9. */
void world_plan(struct world *w, uint32_t attempt, uint32_t flags, bool valid, const struct recovery_id *base);

#endif
