/* Tests of the worker pool: whoever reads a large database slowly holds up no transaction. */
#include "dbd/test_worker_util.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define RECORDS      90
#define RECORD_BYTES (1024 * 1024)

struct reader {
	struct worker_job *job;
	bool hold, held;
	unsigned records, batches;
	bool seen[RECORDS];
	const char *text;
};

static bool take(void *priv, struct worker_job *job, const uint8_t *batch, size_t len)
{
	struct reader *rd = priv;
	struct recdata r;

	while (recdata_next(&batch, &len, &r) == 0) {
		char key[32] = "";
		int i;

		memcpy(key, r.key, r.keylen < sizeof(key) ? r.keylen : 0);
		assert_int_equal(sscanf(key, "k%d", &i), 1);
		assert_false(rd->seen[i]);
		rd->seen[i] = true;
		assert_int_equal(r.datalen, REC_HEADER_SIZE + RECORD_BYTES);
		assert_memory_equal((const char *)r.data + REC_HEADER_SIZE, rd->text, RECORD_BYTES);
		rd->records++;
	}
	assert_int_equal(len, 0);
	rd->batches++;
	rd->held = rd->hold;
	return !rd->hold;
}

static struct db *large(struct test_dir *t, struct reader *rd)
{
	char *text = talloc_size(t, RECORD_BYTES + 1), key[32];
	struct db *db;

	memset(text, 'x', RECORD_BYTES);
	text[RECORD_BYTES] = '\0';
	rd->text = text;
	test_dbs_open(t);
	db = test_attach(t, "large.tdb", DB_PERSISTENT);
	for (int i = 0; i < RECORDS; i++) {
		snprintf(key, sizeof(key), "k%d", i);
		test_store(db->tdb, key, 1, 3, text);
	}
	return db;
}

static struct tevent_req *read_send(struct test_dir *t, struct worker_pool *pool, struct db *db, struct reader *rd)
{
	struct worker_args args = {.op = WORKER_READ, .with_empty = true};

	return worker_job_send(t, t->d->ev, pool, db, &args, take, rd, &rd->job);
}

static void go_on(struct test_dir *t, struct tevent_req *req, struct reader *rd)
{
	rd->hold = false;
	worker_job_continue(rd->job);
	assert_int_equal(test_wait(t, req, NULL), 0);
	assert_int_equal(rd->records, RECORDS);
}

static void test_slow_reader(void **state)
{
	struct test_dir *t = *state;
	struct worker_pool *pool = test_pool(t, 2);
	struct reader rd = {.hold = true};
	struct db *db = large(t, &rd);
	struct tevent_req *req = read_send(t, pool, db, &rd);

	test_loop_until(t, &rd.held);
	/* It takes nothing any more, and a transaction is done; it gets what was there before. */
	assert_int_equal(test_update(t, pool, db, test_recbuf(t, db->id, "k0 2 new", "other 1 new", NULL)), 0);
	assert_true(tevent_req_is_in_progress(req));
	assert_true(rd.batches < 5);
	go_on(t, req, &rd);
}

static void test_quick_reader(void **state)
{
	struct test_dir *t = *state;
	struct worker_pool *pool = test_pool(t, 1);
	struct reader rd = {.hold = false};
	struct db *db = large(t, &rd);

	assert_int_equal(test_wait(t, read_send(t, pool, db, &rd), NULL), 0);
	assert_int_equal(rd.records, RECORDS);
}

static void limit_workers(int what, rlim_t max)
{
	struct rlimit l = {max, max};
	pid_t pids[8];
	int n = test_worker_pids(pids, 8);

	assert_true(n > 0 && n <= 8);
	for (int i = 0; i < n; i++) {
		assert_int_equal(prlimit(pids[i], (enum __rlimit_resource)what, &l, NULL), 0);
	}
}

/* There can be no file: the reader gets everything all the same. */
static void test_no_file(void **state)
{
	struct test_dir *t = *state;
	struct worker_pool *pool = test_pool(t, 1);
	struct reader rd = {.hold = true};
	struct db *db = large(t, &rd);
	struct tevent_req *req;

	assert_int_equal(test_run(t, pool, db, WORKER_SETTLE, NULL), 0); /* the file is open */
	limit_workers(RLIMIT_NOFILE, 1);
	req = read_send(t, pool, db, &rd);
	test_loop_until(t, &rd.held);
	go_on(t, req, &rd);
}

/* The file gets full in the middle. */
static void test_file_full(void **state)
{
	struct test_dir *t = *state;
	struct worker_pool *pool = test_pool(t, 1);
	struct reader rd = {.hold = true};
	struct db *db = large(t, &rd);
	struct tevent_req *req;

	assert_int_equal(test_run(t, pool, db, WORKER_SETTLE, NULL), 0);
	limit_workers(RLIMIT_FSIZE, 5 * 1024 * 1024 + 4711);
	req = read_send(t, pool, db, &rd);
	test_loop_until(t, &rd.held);
	go_on(t, req, &rd);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, test_dir_setup, test_dir_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {TEST(test_slow_reader), TEST(test_quick_reader), TEST(test_no_file),
					   TEST(test_file_full)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
