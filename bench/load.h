/* Many records, written straight into the file of this node as a cluster leaves them that has used them: each owned by
 * one node, known to its location master. */
#ifndef BENCH_LOAD_H
#define BENCH_LOAD_H

#include "group.h"
#include "table.h"

#define LOAD_KEY_MAX 32U

enum load_kind {
	LOAD_DATA,    /* the owner has data, the location master knows the owner */
	LOAD_OWNERS,  /* the same, but the location master knows nothing: a recovery has to find out */
	LOAD_DELETED, /* the owner's copy is empty, and all others have old copies with data */
};

struct load {
	struct table *table;
	const struct group *group;
	uint64_t n, size;
	enum load_kind kind;
	struct ctdb_vnnmap *map;
};

/* Asks for the slot map. */
void load_init(struct load *l, struct table *table, const struct group *group, uint64_t n, uint64_t size,
	       enum load_kind kind);
/* Frees the map, and closes the table. */
void load_end(struct load *l);
/* Key number i; text is of LOAD_KEY_MAX bytes. */
struct ctdb_data load_key(const struct load *l, uint64_t i, char *text);
uint32_t load_owner(const struct load *l, uint64_t i);
/* Writes this node's part. */
void load_write(const struct load *l);
/* How many records this node owns that are not empty and were made by load_write(). */
uint64_t load_count_owned(const struct load *l);

#endif
