/* Inside of db*.c: what the databases of a node share. */
#ifndef DBD_DB_INT_H
#define DBD_DB_INT_H

#include "dbd/db.h"
#include "protocol/dbkeep.h"

#define DB_BUCKETS 256U

struct keeper;

struct dbs {
	struct daemon *d;
	struct dlist list; /* struct db, newest first */
	struct db *by_id[DB_BUCKETS];
	uint32_t count;
	bool mutexes;               /* configured, and the system can do it */
	struct tdb_context *health; /* persistent_health.tdb.<pnn> */
	bool no_journals;           /* the daemon stops */
	struct keeper *keeper;      /* NULL: this daemon has no endpoint (tests) */
};

/* ---- db.c ---- */
/* Attaches a database that is not attached. kept: takes its file as it is. */
int db_attach_new(struct dbs *dbs, const char *name, uint32_t flags, bool kept, struct db **db, char **err);
char *db_path(TALLOC_CTX *mem, const struct dbs *dbs, const char *name, uint32_t flags);
/* TDB flags of a database with these flags, without TDB_SEQNUM. */
int db_model_tdb_flags(const struct dbs *dbs, uint32_t flags);
uint32_t db_id_of(const char *name);
/* NULL, or what is wrong with the name. */
const char *db_name_problem(const char *name);

/* ---- db_open.c: the directories and what is in them when the daemon starts ---- */
int dbs_open_directories(struct dbs *dbs, TALLOC_CTX *mem, char **err);
int dbs_attach_persistent(struct dbs *dbs, TALLOC_CTX *mem, char **err);
/* Base and journal of this file get names of damaged ones, if they are there. */
int db_journal_aside(TALLOC_CTX *mem, const char *path, char **err);

/* ---- db_file.c: one file. Errors: errno and *err (below mem) naming the path. ---- */
struct db_file {
	const char *path;
	int tdb_flags;
	uint32_t hash_size; /* when made */
};
/* Opens what is there; ENOENT. */
int db_file_open(TALLOC_CTX *mem, const struct db_file *f, struct tdb_context **tdb, char **err);
/* Makes an empty file; what was there under that name is unlinked, not touched. A directory there: EISDIR. */
int db_file_replace(TALLOC_CTX *mem, const struct db_file *f, struct tdb_context **tdb, char **err);
/* Makes an empty file that appears under its name only when it is complete. EEXIST never: the name is replaced. */
int db_file_make(TALLOC_CTX *mem, const struct db_file *f, struct tdb_context **tdb, char **err);

enum db_verdict { DB_VERDICT_GOOD, DB_VERDICT_DAMAGED, DB_VERDICT_UNCHECKED };
/*
 * Opens and checks a file in a child process (a damaged file may crash who reads it), waits for it, for a time that
 * depends on the size of the file. UNCHECKED: locked by another process or not done in that time. 0, or the errno for
 * which the file cannot be read at all.
 */
int db_file_check(TALLOC_CTX *mem, const struct db_file *f, enum db_verdict *verdict, char **err);
/* fn in a child process, for at most ms: 0 and what it returned (0 to 255), or EFAULT: it was killed by a signal, ETIMEDOUT, errno: there is no process. */
int db_file_in_child(int (*fn)(const void *arg), const void *arg, uint64_t ms, int *status);
uint64_t db_file_patience_ms(const char *path); /* for all work on a file of this size */
char *db_file_aside_name(TALLOC_CTX *mem, const char *path); /* PATH.corrupted.<YYYYMMDDHHMMSS>Z */
/* EEXIST: something was moved there before. */
int db_file_move_aside(TALLOC_CTX *mem, const char *path, const char *aside, char **err);

/* ---- db_health.c ---- */
int db_health_open(struct dbs *dbs, TALLOC_CTX *mem, bool *lost, char **err); /* *lost: a damaged one was replaced */
/* NULL: good, or not to be had without waiting. */
char *db_health_get(TALLOC_CTX *mem, struct dbs *dbs, const char *name);
/* For dbs_open() alone: reaches the disk before it returns. reason NULL: good. */
int db_health_put(struct dbs *dbs, const char *name, const char *reason);

/* ---- db_keep.c: what dbkeep holds for us ---- */
int keeper_new(struct dbs *dbs, struct keeper **keeper);
/* For dbs_open() alone, waits up to 5 s for each answer: asks what is kept (for a former dbd of this node), attaches
 * that, then asks again: what was let go in between is made anew, empty. No answer: nothing is kept. */
int keeper_attach_kept(struct keeper *k, TALLOC_CTX *mem, char **err);
void keeper_start(struct keeper *k); /* from now on it is told what to keep, and asked every 2 s whether it does */
void keeper_tell(struct keeper *k, struct db *db);
void keeper_drop(struct keeper *k, const char *path);

#endif
