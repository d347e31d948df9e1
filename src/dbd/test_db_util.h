/* For the tests of databases and workers: a daemon's surroundings in a directory of their own, and processes beside us.
 */
#ifndef DBD_TEST_DB_UTIL_H
#define DBD_TEST_DB_UTIL_H

#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>
#include <cmocka.h>

#include "dbd/db.h"
#include "dbd/recdata.h"

struct test_dir {
	char *path; /* removed with all in it by test_dir_done() */
	struct daemon *d;
	struct dbs *dbs; /* NULL until test_dbs_open() */
};

/* volatile, persistent, state below the directory; pnn 3. */
int test_dir_setup(void **state);
int test_dir_teardown(void **state);
void test_dbs_open(struct test_dir *t);
void test_dbs_close(struct test_dir *t);
struct db *test_attach(struct test_dir *t, const char *name, uint32_t flags);

/* A process of its own with a TDB open (test_holder.c): POSIX locks and the list of open TDBs belong to a process. */
struct holder {
	pid_t pid;
	FILE *in, *out;
};
/* verb: "open", "lock KEY"; returns when it is done. "count" is test_count(). */
struct holder *test_holder(TALLOC_CTX *mem, const char *path, int tdb_flags, const char *verb, const char *key);
void test_holder_end(struct holder *h);  /* lets go in order */
void test_holder_kill(struct holder *h); /* kill -9 */
/* Number of records as a process that opens the file now sees it; -1: it cannot open it. */
long test_count(const char *path, int tdb_flags);

/* Stores header and data with a handle of ours. */
void test_store(struct tdb_context *tdb, const char *key, uint64_t rsn, uint32_t dmaster, const char *data);
/* Record data below mem, or NULL if there is no record. "": header only. */
char *test_fetch(TALLOC_CTX *mem, struct tdb_context *tdb, const char *key, uint64_t *rsn);

#endif
