/* Locks in g_lock.tdb as Samba's processes take them: its record format, its order of steps. */
#ifndef BENCH_LOCK_H
#define BENCH_LOCK_H

#include "table.h"

#define LOCK_DB "g_lock.tdb"

/* A client's part in all locks of one database. */
struct locker {
	struct table *table;
	uint64_t instance; /* of the newest wait */
	bool woken;        /* a message for it came */
	uint64_t waits;    /* how often it had to wait for somebody */
	uint64_t looks;    /* how often it looked without need: no message came in time */
};

/* Takes the session's on_message. */
void locker_open(struct locker *l, struct session *s);
void locker_lock(struct locker *l, struct ctdb_data key);
void locker_unlock(struct locker *l, struct ctdb_data key);

#endif
