/* For the tests of journals: transactions that can be told apart, and what is there of them. */
#ifndef DBD_TEST_JOURNAL_UTIL_H
#define DBD_TEST_JOURNAL_UTIL_H

#include "dbd/test_worker_util.h"

#define TEST_JOURNAL_NAME "j.tdb"
uint32_t test_journal_id(void);

/* The n-th writes one of seven keys and the sequence number n. data is below mem. */
struct ctdb_blob test_transaction(TALLOC_CTX *mem, uint32_t db_id, uint64_t n);
/* often: as if many had been done in the last seconds, so that there is a journal; else as if this was the first. 0 or errno. */
int test_journal_commit(struct test_dir *t, struct worker_pool *pool, struct db *db, uint64_t n, bool often);
/* How many transactions it has; fails the test unless it has exactly these and is whole. */
uint64_t test_journal_state(struct tdb_context *tdb);
void test_assert_journal(struct test_dir *t, const struct db *db, bool there);

/* This process believes to run after the n-th start of the machine. */
void test_reboot(struct test_dir *t, unsigned n);
void test_same_boot(void);

#endif
