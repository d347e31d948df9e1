/* Tests: examinations of files for tools stand back for a recovery. */
#include "dbd/test_fake.h"

#include <errno.h>

#include "dbd/examine.h"

struct asked {
	uint32_t answers;
	int32_t status;
};

static void on_answer(struct rpc_call *call, int32_t status, const uint8_t *buf, size_t len)
{
	struct asked *a = call->carrier;

	a->answers++;
	a->status = status;
}

static struct rpc_call *call_of(struct asked *a)
{
	struct rpc_call *call = talloc_zero(fake, struct rpc_call);

	call->answer = on_answer;
	call->carrier = a;
	return call;
}

static void ask_file(struct asked *a, const struct db *db)
{
	const struct db_copy_id arg = {.db_id = db->id};

	examine_file(fake->dbd, call_of(a), &arg);
}

static void ask_page(struct asked *a, const struct db *db)
{
	const struct db_scan_args arg = {.db_id = db->id, .parts = 1};

	examine_scan(fake->dbd, call_of(a), &arg);
}

/* Both parts of an examination are a worker's, which is freed from it when a recovery begins. */
static void test_ended_by_recovery(void **state)
{
	const struct db *db = fake_db("x.tdb", 0);
	struct asked check = {0}, read = {0}, page = {0};

	examinations_recovery_began(fake->dbd); /* there is none */
	ask_file(&read, db);
	fake_job_end(fake->jobs[0], 0);
	fake_turns(2);
	ask_file(&check, db);
	ask_page(&page, db);
	assert_int_equal(fake->n_jobs, 4);
	assert_int_equal(fake->jobs[1]->op, WORKER_SEQNUM);
	assert_int_equal(fake->jobs[2]->op, WORKER_CHECK);
	assert_int_equal(fake->jobs[3]->op, WORKER_PAGE);
	examinations_recovery_began(fake->dbd);
	for (uint32_t i = 0; i < 4; i++) {
		assert_null(fake->jobs[i]);
	}
	assert_int_equal(read.status, EAGAIN);
	assert_int_equal(check.status, EAGAIN);
	assert_int_equal(page.status, EAGAIN);
	assert_int_equal(read.answers + check.answers + page.answers, 3);
	examinations_recovery_began(fake->dbd);
	assert_int_equal(read.answers + check.answers + page.answers, 3);
}

static void test_not_during_recovery(void **state)
{
	const struct db *db = fake_db("x.tdb", 0);
	struct asked a = {0};

	fake->normal = false;
	ask_file(&a, db);
	assert_int_equal(a.answers, 1);
	assert_int_equal(a.status, EAGAIN);
	assert_int_equal(fake->n_jobs, 0);
	fake->fenced = true; /* no recovery waits for it */
	ask_page(&a, db);
	assert_int_equal(fake->n_jobs, 1);
	assert_int_equal(a.answers, 1);
	fake_job_end(fake->jobs[0], 0);
	fake_turns(2);
	assert_int_equal(a.answers, 2);
	assert_int_equal(a.status, 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, fake_setup, fake_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {TEST(test_ended_by_recovery), TEST(test_not_during_recovery)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
