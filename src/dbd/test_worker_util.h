/* For the tests of workers: a pool, jobs run to their end, records collected. */
#ifndef DBD_TEST_WORKER_UTIL_H
#define DBD_TEST_WORKER_UTIL_H

#include "dbd/test_db_util.h"
#include "dbd/worker.h"

#define TEST_SECONDS 60 /* longest wait for anything */

struct worker_pool *test_pool(struct test_dir *t, unsigned n);
/* With what environment variable TEST_BAD_WORKER or TEST_CRASH_AT asks for. */
struct worker_pool *test_pool_of(struct test_dir *t, const char *program, unsigned n);

struct tevent_req *test_send(struct test_dir *t, struct worker_pool *pool, struct db *db, enum worker_op op,
			     struct worker_job **job);
/* Waits for it, frees it; 0 or errno. */
int test_wait(struct test_dir *t, struct tevent_req *req, struct worker_state *state);
int test_run(struct test_dir *t, struct worker_pool *pool, struct db *db, enum worker_op op,
	     struct worker_state *state);
int test_update(struct test_dir *t, struct worker_pool *pool, struct db *db, struct ctdb_blob input);
/* Runs the loop until *flag, fails the test when it takes too long. */
void test_loop_until(struct test_dir *t, const bool *flag);
void test_loop_ms(struct test_dir *t, unsigned ms);

/* rec_buffers: text "key rsn data" for each record, data "-" for a header alone; NULL ends. */
struct ctdb_blob test_recbuf(TALLOC_CTX *mem, uint32_t db_id, const char *first, ...);
/* The same without the head of a rec_buffer, for REPLACE. */
struct ctdb_blob test_records(TALLOC_CTX *mem, const char *first, ...);

/* A worker program that is killed at its n-th write after test_arm(at, n); removes the file at then. */
char *test_crash_program(struct test_dir *t, const char *at);
void test_arm(const char *at, unsigned n);

/* Processes of pools, as /proc knows them. Returns how many, at most max are put into pids. */
int test_worker_pids(pid_t *pids, int max);

#endif
