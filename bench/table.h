/* A database as Samba's processes use it: the node's file, chain locks that are waited for, and a call to the daemon
 * for records that are elsewhere. What fails ends the process with a message. */
#ifndef BENCH_TABLE_H
#define BENCH_TABLE_H

#include <sys/types.h>

#include <tdb.h>

#include "session.h"

struct table {
	struct session *s;
	uint32_t id;
	char *path;
	int tdb_flags;
	struct tdb_context *tdb;
};

/* Attaches and opens the file. The handle lives as long as the process, unless table_close() is called. */
struct table *table_open(struct session *s, const char *name, enum ctdb_db_model model);
void table_close(struct table *t);

/* A record; may be used again and again, for one key after the other. */
struct entry {
	struct table *t;
	struct ctdb_data key; /* the caller's */
	bool found;
	struct ctdb_record_header header;
	uint8_t *data; /* without header */
	size_t len, alloc;
};

/* Locks it, after the daemon brought it here if need be. How often the daemon was asked. */
unsigned int entry_lock(struct table *t, struct ctdb_data key, struct entry *e);
/* Locks it if it is here (true), asks nobody. Waits for the chain lock. */
bool entry_lock_here(struct table *t, struct ctdb_data key, struct entry *e);
/* The same without waiting for the chain lock; *busy: somebody else has it. */
bool entry_try_here(struct table *t, struct ctdb_data key, struct entry *e, bool *busy);
/* As it is in the file. */
void entry_read(struct table *t, struct ctdb_data key, struct entry *e);
/* With the lock held. Deleting tells the daemon. */
void entry_store(struct entry *e, struct ctdb_data data);
void entry_delete(struct entry *e);
void entry_unlock(struct entry *e);
void entry_free(struct entry *e);

/* SCHEDULE_FOR_DELETION for a record that is empty and here. */
void table_schedule_deletion(struct table *t, struct ctdb_data key, const struct ctdb_record_header *header);

static inline struct ctdb_data data_from(const void *p, size_t len)
{
	return (struct ctdb_data){.data = p, .len = len};
}

static inline TDB_DATA tdb_from(struct ctdb_data d)
{
	return (TDB_DATA){.dptr = (unsigned char *)(uintptr_t)d.data, .dsize = d.len};
}

#endif
