/* A worker that is stopped while it is being started costs neither its job nor those behind it. */
#include "test_worker_util.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "shared/proc.h"

/* The linker puts this in the place of execvpe(); it runs in the child. */
int __real_execvpe(const char *file, char *const argv[], char *const envp[]);
int __wrap_execvpe(const char *file, char *const argv[], char *const envp[]);

/* How many starts are yet to be stopped; below 0: one came after them. Shared with children, however they are made. */
static int *to_stop;

int __wrap_execvpe(const char *file, char *const argv[], char *const envp[])
{
	if (--*to_stop >= 0) {
		kill(getpid(), SIGSTOP);
	}
	return __real_execvpe(file, argv, envp);
}

/* Starts that are merely slow, and given up for that, do not matter here; but not all can be given up. */
static void test_job_gets_the_next_one(void **state)
{
	struct test_dir *t = *state;
	struct worker_pool *pool;
	struct worker_state s = {0};
	struct db *db;
	struct tevent_req *req;
	struct mono end = mono_add_ms(mono_now(), TEST_SECONDS * 1000);

	to_stop = mmap(NULL, sizeof(*to_stop), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(to_stop, MAP_FAILED);
	test_dbs_open(t);
	db = test_attach(t, "stopped.tdb", 0);
	test_store(db->tdb, "key", 1, 0, "data");
	pool = test_pool(t, 1);
	*to_stop = 3;
	proc_start_set_patience(200);
	req = test_send(t, pool, db, WORKER_SEQNUM, NULL);
	while (*to_stop >= 0) {
		assert_true(mono_before(mono_now(), end));
		test_loop_ms(t, 10);
	}
	proc_start_set_patience(PROC_START_PATIENCE_MS);
	assert_int_equal(test_wait(t, req, &s), 0);
	assert_int_equal(s.records, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_job_gets_the_next_one, test_dir_setup, test_dir_teardown)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
