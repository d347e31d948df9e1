/* Tests of the worker pool: processes that die, break the protocol, are cancelled or wait for ever. */
#include "dbd/test_worker_util.h"
#include "protocol/worker.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- death ---- */

struct paused_scan {
	unsigned batches;
	bool called;
	struct tevent_req **end; /* freed at the first batch */
	struct worker_pool **pool;
};

static bool take_and_pause(void *priv, struct worker_job *job, const uint8_t *batch, size_t len)
{
	struct paused_scan *p = priv;

	p->batches++;
	p->called = true;
	return false;
}

static void fill(struct db *db, int n)
{
	char key[32];
	int i;

	for (i = 0; i < n; i++) {
		snprintf(key, sizeof(key), "a rather long key, number %d", i);
		test_store(db->tdb, key, 1, 3, "v");
	}
}

static struct tevent_req *start_paused_scan(struct test_dir *t, struct worker_pool *pool, struct db *db,
					    struct paused_scan *p, struct worker_job **job)
{
	struct worker_args args = {.op = WORKER_SCAN};
	struct tevent_req *req = worker_job_send(t, t->d->ev, pool, db, &args, take_and_pause, p, job);

	test_loop_until(t, &p->called);
	return req;
}

static void test_killed_in_scan(void **state)
{
	struct test_dir *t = *state;
	struct worker_pool *pool = test_pool(t, 1);
	struct paused_scan p = {.batches = 0};
	struct worker_job *job;
	struct tevent_req *req;
	struct db *db;
	pid_t pid;

	test_dbs_open(t);
	db = test_attach(t, "k.tdb", 0);
	fill(db, 10000);
	req = start_paused_scan(t, pool, db, &p, &job);
	assert_int_equal(test_worker_pids(&pid, 1), 1);
	assert_int_equal(kill(pid, SIGKILL), 0);
	while (tevent_req_is_in_progress(req)) {
		worker_job_continue(job);
		tevent_loop_once(t->d->ev);
	}
	assert_int_equal(test_wait(t, req, NULL), EPIPE);
	assert_true(p.batches <= 4);
	assert_int_equal(test_run(t, pool, db, WORKER_SEQNUM, NULL), 0);
	assert_int_equal(test_worker_pids(&pid, 1), 1);
}

static void test_killed_while_waiting_for_lock(void **state)
{
	struct test_dir *t = *state;
	struct worker_pool *pool = test_pool(t, 1);
	struct holder *client;
	struct tevent_req *req;
	struct db *db;
	pid_t pid;

	test_dbs_open(t);
	db = test_attach(t, "k.tdb", 0);
	test_store(db->tdb, "k", 1, 3, "v");
	client = test_holder(t, db->path, db_open_flags(db), "lock", "k");
	req = test_send(t, pool, db, WORKER_WIPE, NULL);
	while (test_worker_pids(&pid, 1) != 1) {
		test_loop_ms(t, 10);
	}
	test_loop_ms(t, 300);
	assert_int_equal(test_worker_pids(&pid, 1), 1);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(test_wait(t, req, NULL), EPIPE);
	test_holder_end(client);
	assert_int_equal(test_run(t, pool, db, WORKER_WIPE, NULL), 0);
	assert_null(test_fetch(t, db->tdb, "k", NULL));
}

/* A client dies with a chain lock held: its mutex is robust. */
static void test_client_killed_with_lock(void **state)
{
	struct test_dir *t = *state;
	struct worker_pool *pool = test_pool(t, 1);
	struct holder *client;
	struct tevent_req *req;
	struct db *db;

	test_dbs_open(t);
	db = test_attach(t, "k.tdb", 0);
	client = test_holder(t, db->path, db_open_flags(db), "lock", "k");
	req = test_send(t, pool, db, WORKER_WIPE, NULL);
	test_loop_ms(t, 100);
	test_holder_kill(client);
	assert_int_equal(test_wait(t, req, NULL), 0);
}

static void test_idle_worker_killed(void **state)
{
	struct test_dir *t = *state;
	struct worker_pool *pool = test_pool(t, 1);
	struct db *db;
	pid_t pid;

	test_dbs_open(t);
	db = test_attach(t, "k.tdb", 0);
	assert_int_equal(test_run(t, pool, db, WORKER_SEQNUM, NULL), 0);
	assert_int_equal(test_worker_pids(&pid, 1), 1);
	assert_int_equal(kill(pid, SIGKILL), 0);
	while (test_worker_pids(&pid, 1) != 0) {
		test_loop_ms(t, 10);
	}
	test_loop_ms(t, 50);
	assert_int_equal(test_run(t, pool, db, WORKER_SEQNUM, NULL), 0);
}

/* ---- cancelling ---- */

static void test_cancel_running(void **state)
{
	struct test_dir *t = *state;
	struct worker_pool *pool = test_pool(t, 1);
	struct paused_scan p = {.batches = 0};
	struct tevent_req *req;
	struct db *db;

	test_dbs_open(t);
	db = test_attach(t, "c.tdb", 0);
	fill(db, 10000);
	req = start_paused_scan(t, pool, db, &p, NULL);
	talloc_free(req);
	assert_int_equal(test_run(t, pool, db, WORKER_SEQNUM, NULL), 0);
	assert_int_equal(p.batches, 1);
}

static void test_cancel_queued(void **state)
{
	struct test_dir *t = *state;
	struct worker_pool *pool = test_pool(t, 1);
	struct tevent_req *wipe, *last;
	struct worker_state s;
	struct db *db;

	test_dbs_open(t);
	db = test_attach(t, "c.tdb", DB_PERSISTENT);
	test_store(db->tdb, "k", 1, 3, "v");
	talloc_free(test_send(t, pool, db, WORKER_WIPE, NULL));
	wipe = test_send(t, pool, db, WORKER_CHECK, NULL);
	talloc_free(test_send(t, pool, db, WORKER_WIPE, NULL));
	last = test_send(t, pool, db, WORKER_SEQNUM, NULL);
	talloc_free(wipe);
	assert_int_equal(test_wait(t, last, &s), 0);
	assert_int_equal(s.records, 1);
}

static bool free_request(void *priv, struct worker_job *job, const uint8_t *batch, size_t len)
{
	struct paused_scan *p = priv;

	p->called = true;
	if (p->end != NULL) {
		TALLOC_FREE(*p->end);
	}
	if (p->pool != NULL) {
		TALLOC_FREE(*p->pool);
	}
	return true;
}

static void test_cancel_from_batch(void **state)
{
	struct test_dir *t = *state;
	struct worker_args args = {.op = WORKER_SCAN};
	struct worker_pool *pool = test_pool(t, 1);
	struct tevent_req *req;
	struct paused_scan p = {.end = &req};
	struct db *db;

	test_dbs_open(t);
	db = test_attach(t, "c.tdb", 0);
	fill(db, 10000);
	req = worker_job_send(t, t->d->ev, pool, db, &args, free_request, &p, NULL);
	test_loop_until(t, &p.called);
	assert_null(req);
	assert_int_equal(test_run(t, pool, db, WORKER_SEQNUM, NULL), 0);
	/* And the pool itself. */
	p = (struct paused_scan){.pool = &pool};
	req = worker_job_send(t, t->d->ev, pool, db, &args, free_request, &p, NULL);
	assert_int_equal(test_wait(t, req, NULL), ECANCELED);
	assert_null(pool);
}

static void test_pool_freed(void **state)
{
	struct test_dir *t = *state;
	struct worker_pool *pool = test_pool(t, 1);
	struct tevent_req *a, *b, *c;
	struct db *db;
	pid_t pid;

	test_dbs_open(t);
	db = test_attach(t, "c.tdb", 0);
	a = test_send(t, pool, db, WORKER_REPLACE, NULL);
	b = test_send(t, pool, db, WORKER_SEQNUM, NULL);
	c = test_send(t, pool, db, WORKER_CHECK, NULL);
	test_loop_ms(t, 100);
	talloc_free(c);
	talloc_free(pool);
	assert_int_equal(test_wait(t, a, NULL), ECANCELED);
	assert_int_equal(test_wait(t, b, NULL), ECANCELED);
	while (test_worker_pids(&pid, 1) != 0) {
		test_loop_ms(t, 10);
	}
}

static void test_endtime(void **state)
{
	struct test_dir *t = *state;
	struct worker_pool *pool = test_pool(t, 1);
	struct tevent_req *req;
	struct db *db;

	test_dbs_open(t);
	db = test_attach(t, "c.tdb", 0);
	req = test_send(t, pool, db, WORKER_REPLACE, NULL);
	assert_true(tevent_req_set_endtime(req, t->d->ev, tevent_timeval_current_ofs(0, 200000)));
	assert_true(tevent_req_poll(req, t->d->ev));
	assert_int_equal(worker_job_recv(req, NULL), ETIMEDOUT);
	talloc_free(req);
	assert_int_equal(test_run(t, pool, db, WORKER_SEQNUM, NULL), 0);
}

/* ---- waiting ---- */

/* Jobs that wait for clients' locks do not keep those of other databases from running, however many they are. */
static void test_blocked_jobs_do_not_block_others(void **state)
{
	struct test_dir *t = *state;
	struct worker_pool *pool = test_pool(t, 2);
	struct tevent_req *blocked[5];
	struct holder *client[5];
	struct mono until = mono_add_ms(mono_now(), 120000);
	struct db *db[5];
	pid_t pid;
	int i;

	test_dbs_open(t);
	for (i = 0; i < 5; i++) {
		db[i] = test_attach(t, talloc_asprintf(t, "b%d.tdb", i), 0);
		client[i] = test_holder(t, db[i]->path, db_open_flags(db[i]), "lock", "k");
		blocked[i] = test_send(t, pool, db[i], WORKER_WIPE, NULL);
	}
	assert_int_equal(test_run(t, pool, test_attach(t, "free.tdb", 0), WORKER_SEQNUM, NULL), 0);
	for (i = 0; i < 5; i++) {
		assert_true(tevent_req_is_in_progress(blocked[i]));
		test_holder_end(client[i]);
		assert_int_equal(test_wait(t, blocked[i], NULL), 0);
	}
	/* The additional processes go when they have had nothing to do for a while; the pool goes on with the others.
	 */
	assert_true(test_worker_pids(&pid, 1) > 2);
	while (test_worker_pids(&pid, 1) != 2) {
		assert_true(mono_before(mono_now(), until));
		test_loop_ms(t, 200);
	}
	assert_int_equal(test_run(t, pool, db[0], WORKER_SEQNUM, NULL), 0);
}

/* All that have nothing to do stand still (stopped as well, by what stopped the one that was found out): renewed, jobs
 * go on. */
static void test_idle_workers_stand_still(void **state)
{
	struct test_dir *t = *state;
	struct worker_pool *pool = test_pool(t, 2);
	struct paused_scan p = {.batches = 0};
	struct worker_job *job;
	struct tevent_req *req;
	pid_t pids[8];
	struct db *db;

	test_dbs_open(t);
	db = test_attach(t, "k.tdb", 0);
	fill(db, 10000);
	/* Two jobs at the same time: the pool knows both of its workers, and none is being started. */
	req = start_paused_scan(t, pool, db, &p, &job);
	assert_int_equal(test_run(t, pool, test_attach(t, "other.tdb", 0), WORKER_SEQNUM, NULL), 0);
	while (tevent_req_is_in_progress(req)) {
		worker_job_continue(job);
		tevent_loop_once(t->d->ev);
	}
	assert_int_equal(test_wait(t, req, NULL), 0);
	assert_int_equal(test_worker_pids(pids, 8), 2);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(kill(pids[i], SIGSTOP), 0);
	}
	worker_pool_renew(pool);
	assert_int_equal(test_run(t, pool, db, WORKER_SEQNUM, NULL), 0);
	worker_pool_renew(pool);
	worker_pool_renew(pool);
	assert_int_equal(test_run(t, pool, db, WORKER_SEQNUM, NULL), 0);
}

/* ---- a worker that says nonsense ---- */

static void test_bad_worker(void **state)
{
	struct test_dir *t = *state;
	static const char *const how[] = {"short",     "long",     "unknown", "other job", "other batch",
					  "cut batch", "cut done", "cut log", "exit",      "half a frame"};
	struct db *db;
	size_t i;

	test_dbs_open(t);
	db = test_attach(t, "n.tdb", 0);
	for (i = 0; i < sizeof(how) / sizeof(how[0]); i++) {
		struct worker_pool *pool;

		setenv("TEST_BAD_WORKER", how[i], 1);
		pool = test_pool_of(t, getenv("TEST_BAD_WORKER_PROGRAM"), 1);
		assert_int_equal(test_run(t, pool, db, WORKER_SEQNUM, NULL), EPIPE);
		assert_int_equal(test_run(t, pool, db, WORKER_SEQNUM, NULL), EPIPE);
		talloc_free(pool);
	}
}

static void test_no_program(void **state)
{
	struct test_dir *t = *state;
	struct worker_pool *pool = NULL;
	char *err = NULL;

	assert_int_equal(worker_pool_new(t, t->d->ev, "/nonexistent/worker", 1, &pool, &err), ENOENT);
	assert_null(pool);
	assert_non_null(strstr(err, "/nonexistent/worker"));
}

static int ended(struct test_dir *t, struct worker_pool *pool, struct db *db)
{
	return test_wait(t, test_send(t, pool, db, WORKER_SEQNUM, NULL), NULL);
}

/* The program is gone, as in the middle of an upgrade: jobs fail with that, and run again when it is there. */
static void test_program_goes(void **state)
{
	struct test_dir *t = *state;
	char *path = talloc_asprintf(t, "%s/worker", t->path);
	struct worker_pool *pool;
	struct tevent_req *a, *b;
	struct db *db[2];

	test_dbs_open(t);
	db[0] = test_attach(t, "n.tdb", 0);
	db[1] = test_attach(t, "m.tdb", 0);
	assert_int_equal(symlink(getenv("TEST_WORKER"), path), 0);
	pool = test_pool_of(t, path, 2);
	assert_int_equal(unlink(path), 0);
	a = test_send(t, pool, db[0], WORKER_SEQNUM, NULL);
	b = test_send(t, pool, db[1], WORKER_SEQNUM, NULL);
	assert_int_equal(test_wait(t, a, NULL), ENOENT);
	assert_int_equal(test_wait(t, b, NULL), ENOENT);
	assert_int_equal(symlink(getenv("TEST_WORKER"), path), 0);
	assert_int_equal(ended(t, pool, db[0]), 0);
}

/* Freed while processes are being started, with and without jobs. */
static void test_pool_freed_early(void **state)
{
	struct test_dir *t = *state;
	struct db *db;
	pid_t pid;
	int i;

	test_dbs_open(t);
	db = test_attach(t, "n.tdb", 0);
	for (i = 0; i < 4; i++) {
		struct worker_pool *pool = test_pool(t, 2);
		struct tevent_req *req = test_send(t, pool, db, WORKER_SEQNUM, NULL);

		if (i % 2 == 0) {
			tevent_loop_once(t->d->ev);
		}
		if (i < 2) {
			TALLOC_FREE(req);
		}
		talloc_free(pool);
		if (req != NULL) {
			assert_int_equal(test_wait(t, req, NULL), ECANCELED);
		}
	}
	while (test_worker_pids(&pid, 1) != 0) {
		test_loop_ms(t, 10);
	}
}

/* One more than has work, up to the size of the pool. */
static void test_spare_process(void **state)
{
	struct test_dir *t = *state;
	struct worker_pool *pool = test_pool(t, 3);
	struct paused_scan p = {.batches = 0};
	struct tevent_req *req;
	struct db *db;
	pid_t pid;

	test_dbs_open(t);
	db = test_attach(t, "n.tdb", 0);
	fill(db, 10000);
	req = start_paused_scan(t, pool, db, &p, NULL);
	while (test_worker_pids(&pid, 1) != 2) {
		test_loop_ms(t, 10);
	}
	test_loop_ms(t, 100);
	assert_int_equal(test_worker_pids(&pid, 1), 2);
	talloc_free(req);
}

/* ---- a transaction interrupted at each of its writes ---- */

/* "before", "after", or the test fails. */
static bool is_after(struct test_dir *t, struct db *db)
{
	static const char *const keys[] = {"a", "b", "c", "large"};
	unsigned after = 0, i;

	for (i = 0; i < 4; i++) {
		uint64_t rsn = 0;
		char *v = test_fetch(t, db->tdb, keys[i], &rsn);

		if (v != NULL && v[0] == 'n') {
			assert_int_equal(rsn, 2);
			after++;
		} else if (i == 2) {
			assert_null(v); /* c is made by the transaction */
		} else {
			assert_non_null(v);
			assert_int_equal(v[0], 'o');
			assert_int_equal(rsn, 1);
		}
	}
	assert_true(after == 0 || after == 4);
	return after == 4;
}

struct sweep {
	struct test_dir *t;
	struct db *db;
	struct worker_pool *good;
	char *at, *program;
	struct ctdb_blob before, after;
};

/* One run: interrupted at the n-th write. false: there were fewer. */
static bool sweep_step(struct sweep *s, int n, unsigned *befores, unsigned *afters)
{
	struct worker_pool *pool;
	struct worker_job *job;
	struct tevent_req *req;
	int error;

	/* REPLACE sets the scene: the file grows and shrinks as it does in real life. */
	req = test_send(s->t, s->good, s->db, WORKER_REPLACE, &job);
	worker_job_feed(job, s->before.data, s->before.len, true);
	assert_int_equal(test_wait(s->t, req, NULL), 0);
	assert_false(is_after(s->t, s->db));
	test_arm(s->at, (unsigned)n);
	pool = test_pool_of(s->t, s->program, 1);
	error = test_update(s->t, pool, s->db, s->after);
	talloc_free(pool);
	assert_int_not_equal(access(s->at, F_OK), 0);
	if (error != 0) {
		assert_int_equal(error, EPIPE);
	}
	assert_int_equal(test_run(s->t, s->good, s->db, WORKER_CHECK, NULL), 0);
	if (is_after(s->t, s->db)) {
		(*afters)++;
	} else {
		assert_int_not_equal(error, 0);
		(*befores)++;
	}
	return error != 0;
}

static void sweep(struct test_dir *t, uint32_t flags, unsigned least_befores, unsigned least_afters)
{
	struct sweep s = {.t = t};
	unsigned befores = 0, afters = 0;
	char *large = talloc_zero_array(t, char, 60000);
	int n = 1;

	test_dbs_open(t);
	s.db = test_attach(t, "sweep.tdb", flags);
	s.good = test_pool(t, 1);
	s.at = talloc_asprintf(t, "%s/crash-at", t->path);
	s.program = test_crash_program(t, s.at);
	s.before = test_records(t, "a 1 old", "b 1 old value", "large 1 o", NULL);
	snprintf(large, 100, "large 2 ");
	memset(large + strlen(large), 'n', 50000);
	s.after = test_recbuf(t, s.db->id, "a 2 new", "b 2 n", "c 2 new record", large, NULL);
	while (sweep_step(&s, n, &befores, &afters)) {
		n++;
		assert_true(n < 1000);
	}
	print_message("%d writes: %u times as before, %u as after\n", n - 1, befores, afters);
	assert_true(befores >= least_befores);
	assert_true(afters >= least_afters);
}

static bool is_frozen(void *priv, struct worker_job *job, const uint8_t *batch, size_t len)
{
	*(bool *)priv = true;
	return true;
}

/* What is fed to it cannot be handed on: the process that waits for that lets go of the file, whoever keeps the
 * request. */
static void test_feed_fails(void **state)
{
	struct worker_args args = {.op = WORKER_FREEZE};
	struct test_dir *t = *state;
	struct worker_pool *pool = test_pool(t, 1);
	struct worker_job *job;
	struct tevent_req *req;
	bool frozen = false;
	uint8_t byte = 0;
	struct db *db;

	test_dbs_open(t);
	db = test_attach(t, "z.tdb", 0);
	test_store(db->tdb, "k", 1, 3, "v");
	req = worker_job_send(t, t->d->ev, pool, db, &args, is_frozen, &frozen, &job);
	test_loop_until(t, &frozen);
	assert_int_equal(worker_job_feed(job, &byte, WORKER_DATA_MAX + 1, true), 0);
	assert_int_equal(test_run(t, pool, db, WORKER_WIPE, NULL), 0);
	assert_int_equal(test_wait(t, req, NULL), EMSGSIZE);
	assert_int_equal(tdb_traverse_read(db->tdb, NULL, NULL), 0);
}

static void test_update_sweep_persistent(void **state)
{
	/* The run to its end, and some that were interrupted when the commit had taken effect. */
	sweep(*state, DB_PERSISTENT, 10, 2);
}

static void test_update_sweep_replicated(void **state)
{
	sweep(*state, DB_REPLICATED, 10, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, test_dir_setup, test_dir_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_killed_in_scan),
		TEST(test_killed_while_waiting_for_lock),
		TEST(test_client_killed_with_lock),
		TEST(test_idle_worker_killed),
		TEST(test_idle_workers_stand_still),
		TEST(test_cancel_running),
		TEST(test_cancel_queued),
		TEST(test_cancel_from_batch),
		TEST(test_pool_freed),
		TEST(test_endtime),
		TEST(test_blocked_jobs_do_not_block_others),
		TEST(test_bad_worker),
		TEST(test_no_program),
		TEST(test_program_goes),
		TEST(test_pool_freed_early),
		TEST(test_spare_process),
		TEST(test_feed_fails),
		TEST(test_update_sweep_persistent),
		TEST(test_update_sweep_replicated),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
