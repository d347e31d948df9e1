/* WORKER_EDIT: a file that is locked and changed by order, all of it or nothing. */
#include "test_worker_util.h"

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "dbd/recdata.h"
#include "protocol/classic.h"

struct edit {
	struct test_dir *t;
	struct worker_pool *pool;
	struct db *db;
	struct worker_job *job;
	struct tevent_req *req;
	bool locked;
};

static bool locked(void *priv, struct worker_job *job, const uint8_t *batch, size_t len)
{
	(void)job;
	(void)batch;
	*(bool *)priv = len > 0;
	return true;
}

static void begin(struct edit *e, struct test_dir *t, struct db *db)
{
	struct worker_args args = {.op = WORKER_EDIT};

	*e = (struct edit){.t = t, .pool = test_pool(t, 1), .db = db};
	e->req = worker_job_send(t, t->d->ev, e->pool, db, &args, locked, &e->locked, &e->job);
	assert_non_null(e->req);
	test_loop_until(t, &e->locked);
}

static void order(const struct edit *e, uint8_t what, bool last)
{
	(void)worker_job_feed(e->job, &what, 1, last);
}

static void store(const struct edit *e, struct ctdb_blob records)
{
	uint8_t *p = talloc_size(e->t, records.len + 1);

	p[0] = WORKER_EDIT_STORE;
	memcpy(p + 1, records.data, records.len);
	(void)worker_job_feed(e->job, p, records.len + 1, false);
}

static int count(const struct db *db)
{
	return tdb_traverse_read(db->tdb, NULL, NULL);
}

static struct db *database(struct test_dir *t, uint32_t flags)
{
	struct db *db;

	test_dbs_open(t);
	db = test_attach(t, "edit.tdb", flags);
	test_store(db->tdb, "old", 1, 3, "v");
	return db;
}

/* Nobody sees anything before the commit, and nobody else writes. */
static void replace_all(struct test_dir *t, uint32_t flags)
{
	struct db *db = database(t, flags);
	struct worker_state state = {0};
	struct edit e;

	begin(&e, t, db);
	order(&e, WORKER_EDIT_WIPE, false);
	store(&e, test_records(t, "a 5 one", "b 6 two", NULL));
	store(&e, test_records(t, "c 7 -", NULL));
	test_loop_ms(t, 50);
	assert_true(tevent_req_is_in_progress(e.req));
	assert_true(tdb_exists(db->tdb, (TDB_DATA){.dptr = (unsigned char *)"old", .dsize = 3}));
	assert_int_not_equal(tdb_chainlock_nonblock(db->tdb, (TDB_DATA){.dptr = (unsigned char *)"old", .dsize = 3}),
			     0);
	order(&e, WORKER_EDIT_COMMIT, true);
	assert_int_equal(test_wait(t, e.req, &state), 0);
	assert_int_equal(state.records, 3);
	assert_int_equal(count(db), 3);
	assert_false(tdb_exists(db->tdb, (TDB_DATA){.dptr = (unsigned char *)"old", .dsize = 3}));
}

static void test_replace_volatile(void **state)
{
	replace_all(*state, 0);
}

static void test_replace_persistent(void **state)
{
	replace_all(*state, DB_PERSISTENT);
}

static void test_undo(void **state)
{
	struct db *db = database(*state, 0);
	struct edit e;

	begin(&e, *state, db);
	order(&e, WORKER_EDIT_WIPE, false);
	store(&e, test_records(*state, "a 5 one", NULL));
	order(&e, WORKER_EDIT_UNDO, false);
	store(&e, test_records(*state, "b 5 two", NULL));
	order(&e, WORKER_EDIT_COMMIT, true);
	assert_int_equal(test_wait(*state, e.req, NULL), 0);
	assert_int_equal(count(db), 2); /* old, b */
}

/* Let go, cancelled, malformed: as before. */
static void test_nothing_of_it(void **state)
{
	struct db *db = database(*state, 0);
	struct edit e;

	begin(&e, *state, db);
	order(&e, WORKER_EDIT_WIPE, false);
	(void)worker_job_feed(e.job, NULL, 0, true);
	assert_int_equal(test_wait(*state, e.req, NULL), ECANCELED);
	assert_int_equal(count(db), 1);
	begin(&e, *state, db);
	order(&e, WORKER_EDIT_WIPE, false);
	talloc_free(e.req);
	begin(&e, *state, db); /* the lock is free again */
	store(&e, (struct ctdb_blob){.len = 5, .data = (uint8_t *)"short"});
	assert_int_equal(test_wait(*state, e.req, NULL), EBADMSG);
	begin(&e, *state, db);
	order(&e, 'x', false);
	assert_int_equal(test_wait(*state, e.req, NULL), EBADMSG);
	assert_int_equal(count(db), 1);
}

static int flags_of(TDB_DATA key, TDB_DATA data, void *priv)
{
	struct rec_header h;

	(void)key;
	assert_true(rec_header_get(data.dptr, data.dsize, &h));
	*(uint32_t *)priv = h.flags;
	return 0;
}

/* Nobody remembers the delegations of a record that comes from a backup. */
static void test_delegations_end(void **state)
{
	struct db *db = database(*state, 0);
	struct ctdb_blob records = test_records(*state, "a 5 one", NULL);
	uint32_t flags = CLASSIC_REC_RO_HAVE_DELEGATIONS | CLASSIC_REC_MIGRATED_WITH_DATA;
	struct edit e;

	memcpy(records.data + RECDATA_HEAD + 1 + 16, &flags, sizeof(flags));
	begin(&e, *state, db);
	store(&e, records);
	order(&e, WORKER_EDIT_COMMIT, true);
	assert_int_equal(test_wait(*state, e.req, NULL), 0);
	assert_int_equal(
		tdb_parse_record(db->tdb, (TDB_DATA){.dptr = (unsigned char *)"a", .dsize = 1}, flags_of, &flags), 0);
	assert_int_equal(flags, CLASSIC_REC_MIGRATED_WITH_DATA);
}

/* A worker that knows the file of a detached database sees the new one of the same name. */
static void test_detached_and_attached(void **state)
{
	struct test_dir *t = *state;
	struct db *db = database(t, 0);
	struct worker_pool *pool = test_pool(t, 1);
	struct worker_state s = {0};

	assert_int_equal(test_run(t, pool, db, WORKER_SEQNUM, &s), 0);
	assert_int_equal(s.records, 1);
	db_detach(db);
	assert_null(db_find_name(t->dbs, "edit.tdb"));
	db = test_attach(t, "edit.tdb", 0);
	assert_int_equal(count(db), 0);
	assert_int_equal(test_run(t, pool, db, WORKER_SEQNUM, &s), 0);
	assert_int_equal(s.records, 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, test_dir_setup, test_dir_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_replace_volatile), TEST(test_replace_persistent), TEST(test_undo),
		TEST(test_nothing_of_it),    TEST(test_delegations_end),    TEST(test_detached_and_attached),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
