/* The databases of this node: attach, identity, flags, the open TDB. */
#ifndef DBD_DB_H
#define DBD_DB_H

#include <stdbool.h>
#include <stdint.h>
#include <talloc.h>
#include <tdb.h>

#include "base/dlist.h"
#include "protocol/lane.h" /* DB_PERSISTENT ..., struct recovery_id */
#include "shared/daemon.h"

struct rec_lineage; /* core/recovery.h */

#define GENERATION_NONE 1U

/*
 * One attached database. Owned by struct dbs; freed by db_detach() alone. The tdb handle belongs to the event loop: only tdb_chainlock_nonblock
 * and what is done under it, tdb_fetch/tdb_store/tdb_delete then; nothing that waits for a lock. Long work is done by workers (worker.h).
 */
/* Worker jobs that may change a database; kept by worker.c. What was read counts as long as changes is the same and nobody wrote meanwhile. */
struct db_writes {
	uint64_t changes; /* that have begun or ended */
	uint32_t running;
	/* journal.c's: */
	struct mono window, updated; /* transactions are counted since; the last one began */
	uint32_t updates;	     /* in the window */
	bool journal;		     /* there may be one */
	struct mono no_journal_until;
};

struct db {
	struct dlist link;
	struct db *same_bucket; /* db.c's: databases by id */
	struct dbs *dbs;
	uint32_t id;	/* hash of the name with its NUL */
	char *name;	/* "locking.tdb", without node suffix */
	uint32_t flags; /* DB_PERSISTENT, DB_REPLICATED, DB_READONLY, DB_STICKY */
	char *path;
	struct tdb_context *tdb;
	int tdb_flags; /* as clients must open it */
	char *health;  /* NULL healthy, else the reason */
	bool kept;     /* volatile or replicated: contents are those of before dbd was started again (dbkeep held the file) */
	/* Recovery (set by recovery.c): */
	uint32_t generation; /* GENERATION_NONE while not usable */
	struct rec_lineage *lineage; /* below the database; NULL until recovery.c knows it */
	struct slot_digest *digest; /* volatile: of its copies, kept exact by records_copy_changed(); as lineage */
	struct db_writes *writes; /* below the database, and every job that writes: jobs may outlive it */
	struct db_contents *contents; /* persistent, replicated: recovery_jobs.c's, what was read last */
	bool rewritten; /* volatile: a tool changed the file; until a recovery that knows is committed */
	/* Every member of the present generation is known to have it attached: set after an attach round or a recovery. */
	bool everywhere;
	/* Owned by control_edit.c: locked by order of a classic tool. Its generation is GENERATION_NONE until the next recovery. */
	bool needs_recovery; /* was frozen: its copies may differ, nothing is served before the next recovery */
	uint32_t freezes;    /* how often it was frozen */
	bool frozen;
	/* Owned by records.c: the record engine's part; NULL for persistent and replicated. */
	struct record_db *records;
	/* Owned by locks.c; NULL: nothing has ever waited. */
	struct lock_watch *locks;
	/* Owned by commit.c and seqnum.c. */
	void *commit;
	bool seqnum_enabled;
};

struct dbs;

/*
 * To be called by setup() alone, first of all parts: it waits (for dbkeep at most 5 s, for checks of files) while nobody is served.
 *
 * Opens the directory set and attaches every persistent database found (files NAME.<pnn>, NAME ending in .tdb). A file that fails its check is moved
 * aside (NAME.<pnn>.corrupted.<UTC time>Z), an empty one made in its place and db->health set. A directory that is missing and cannot be made, or a file that
 * cannot be read, is an error naming it. Opens volatile databases again that dbkeep still holds (kept = true for them). *err below mem.
 */
int dbs_open(TALLOC_CTX *mem, struct daemon *d, struct dbs **dbs, char **err);

/*
 * Attaches or finds. name: 1..200 bytes, no '/', not starting with '.', printable. flags: 0, DB_PERSISTENT or DB_REPLICATED. An existing database serves a request
 * whose model flag it has (a volatile request is served by any). EINVAL bad name or flags mismatch, EEXIST another name with the same id, errno of
 * the open. On success the TDB is open and dbkeep is being told (told again until it knows). *created: it was not attached before; a volatile or replicated one is
 * then empty, whatever file was there: an old file is unlinked, never emptied or read, so that processes which still have it open do no harm. *err is a
 * talloc child of dbs, the caller frees it.
 */
int db_attach(struct dbs *dbs, const char *name, uint32_t flags, struct db **db, bool *created, char **err);

/* Closes the file of a volatile database and forgets it; dbkeep is told. Nothing may refer to it any more. The file stays until the next attach of that name. */
/* DB_READONLY, DB_STICKY of a volatile database, on this node; kept as long as its contents are. */
void db_set_flag(struct db *db, uint32_t flag);
void db_detach(struct db *db);

struct db *db_find(struct dbs *dbs, uint32_t id);
struct db *db_find_name(struct dbs *dbs, const char *name);
struct dlist *dbs_list(struct dbs *dbs); /* newest first; entries: struct db, member link */
uint32_t dbs_count(const struct dbs *dbs);
#define DBS_MAX 4096U /* attaching more: ENOSPC; what a recovery can name (LANE_DBS) */

static inline bool db_is_volatile(const struct db *db)
{
	return (db->flags & (DB_PERSISTENT | DB_REPLICATED)) == 0;
}

/* TDB flags that clients get from DB_OPEN_FLAGS: the one place that computes them. */
int db_open_flags(const struct db *db);
/* Adds TDB_SEQNUM to the open handle. */
void db_enable_seqnum(struct db *db);
/* Records health in persistent_health.tdb.<pnn>; reason NULL: healthy. 0; EAGAIN the file is locked just now; EINVAL not persistent; EIO. */
int db_set_health(struct db *db, const char *reason);

#endif
