/* One node with a record engine for the tests of it; the other nodes are made up. */
#ifndef CORE_TEST_RECORD_WORLD_H
#define CORE_TEST_RECORD_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/record.h"

#define ME    1U
#define GEN   50U
#define KEYS  6
#define TOO_MUCH 8U /* bytes of a record that cannot be sent */
#define CALLS 8

struct cell {
	bool exists;
	uint64_t rsn;
	uint32_t dmaster, flags;
	uint8_t data[8];
	size_t len;
};

struct world {
	struct record_engine *engine;
	struct record_db *db;
	struct mono now;
	struct cell file[KEYS];
	struct record_call *calls[CALLS];
	int locks;
	bool busy;
	int broken; /* errno of reads and writes */
	int status; /* of the last answer */
	uint32_t inconsistent, grants, forwards, removed, answered, asked;
	uint32_t readonly[7]; /* by enum record_ro */
	uint32_t readonly_to;
	uint32_t hot;
};

/* *state becomes a struct world. */
int record_world_setup(void **state);
int record_world_teardown(void **state);

struct record_key key_of(uint32_t i);
/* All keys have the location master given. */
void opened(struct world *w, uint32_t lmaster, bool serve);
/* A client asks, as number i; two of four are content with a read-only copy, every other one does not look into the file. */
void call(struct world *w, int i, uint32_t key);
void call_key(struct world *w, int i, struct record_key key);
/* What is due then is done. */
void later(struct world *w, int64_t ms);

#endif
