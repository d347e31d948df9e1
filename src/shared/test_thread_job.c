/* Tests of functions in threads of their own. */
#include "shared/thread_job.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

/* The linker puts this in the place of pthread_create(). */
int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *), void *arg);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *), void *arg);

static int create_error;

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *), void *arg)
{
	return create_error != 0 ? create_error : __real_pthread_create(thread, attr, fn, arg);
}

static atomic_int called, freed;
static sem_t go, gone; /* gone: posted by each free */

struct work {
	int result;
	bool wait; /* for go */
	pthread_t ran_in;
	sigset_t blocked;
	int sum;
};

static int work_do(void *arg)
{
	struct work *w = arg;

	atomic_fetch_add(&called, 1);
	while (w->wait && sem_wait(&go) != 0) {
	}
	w->ran_in = pthread_self();
	pthread_sigmask(SIG_SETMASK, NULL, &w->blocked);
	w->sum = 42;
	return w->result;
}

static void work_free(void *arg)
{
	free(arg);
	atomic_fetch_add(&freed, 1);
	sem_post(&gone);
}

static struct work *work_new(int result, bool wait)
{
	struct work *w = calloc(1, sizeof(*w));

	assert_non_null(w);
	w->result = result;
	w->wait = wait;
	return w;
}

static void set_flag(struct tevent_req *req)
{
	*(bool *)tevent_req_callback_data_void(req) = true;
}

static int setup(void **state)
{
	struct tevent_context *ev = tevent_context_init(NULL);

	alarm(60); /* a test that hangs ends */
	create_error = 0;
	atomic_store(&called, 0);
	atomic_store(&freed, 0);
	sem_init(&go, 0, 0);
	sem_init(&gone, 0, 0);
	*state = ev;
	return ev != NULL ? 0 : -1;
}

static int teardown(void **state)
{
	talloc_free(*state);
	sem_destroy(&go);
	sem_destroy(&gone);
	alarm(0);
	return 0;
}

static void loop_until(struct tevent_context *ev, const bool *flag)
{
	while (!*flag) {
		assert_int_equal(tevent_loop_once(ev), 0);
	}
}

static void wait_gone(int n)
{
	while (n > 0) {
		n -= sem_wait(&gone) == 0 ? 1 : 0;
	}
}

static struct tevent_req *start(struct tevent_context *ev, struct work *w, bool *done)
{
	struct tevent_req *req = thread_job_send(ev, ev, work_do, w, work_free);

	assert_non_null(req);
	*done = false;
	tevent_req_set_callback(req, set_flag, done);
	return req;
}

static void test_result(void **state)
{
	static const int results[] = {0, ENOSPC, EIO};
	struct tevent_context *ev = *state;

	for (int i = 0; i < 3; i++) {
		struct work *w = work_new(results[i], false);
		bool done;
		struct tevent_req *req = start(ev, w, &done);

		assert_false(done);
		loop_until(ev, &done);
		assert_int_equal(thread_job_recv(req), results[i]);
		/* what it has left, until the request is freed */
		assert_int_equal(w->sum, 42);
		assert_false(pthread_equal(w->ran_in, pthread_self()));
		assert_int_equal(sigismember(&w->blocked, SIGTERM), 1);
		assert_int_equal(sigismember(&w->blocked, SIGCHLD), 1);
		assert_int_equal(atomic_load(&freed), i);
		talloc_free(req);
		wait_gone(1);
		assert_int_equal(atomic_load(&called), i + 1);
		assert_int_equal(atomic_load(&freed), i + 1);
	}
}

/* The signals of this thread are as they were. */
static void test_signals(void **state)
{
	sigset_t before, after;
	bool done;
	struct tevent_req *req;

	pthread_sigmask(SIG_SETMASK, NULL, &before);
	req = start(*state, work_new(0, false), &done);
	pthread_sigmask(SIG_SETMASK, NULL, &after);
	for (int sig = 1; sig < 32; sig++) {
		assert_int_equal(sigismember(&before, sig), sigismember(&after, sig));
	}
	loop_until(*state, &done);
	talloc_free(req);
	wait_gone(1);
}

/* The loop goes on while the function runs; two run side by side; an end that nobody frees is told once. */
static void test_beside(void **state)
{
	struct tevent_context *ev = *state;
	bool done_slow, done;
	struct tevent_req *slow = start(ev, work_new(EPERM, true), &done_slow);
	struct tevent_req *req = start(ev, work_new(0, false), &done), *last;

	loop_until(ev, &done);
	assert_false(done_slow);
	assert_int_equal(thread_job_recv(req), 0);
	done = false;
	last = start(ev, work_new(0, false), &done);
	loop_until(ev, &done);
	assert_false(done_slow);
	sem_post(&go);
	loop_until(ev, &done_slow);
	assert_int_equal(thread_job_recv(slow), EPERM);
	assert_int_equal(atomic_load(&freed), 0);
	talloc_free(slow);
	talloc_free(req);
	talloc_free(last);
	wait_gone(3);
}

/* Freed before the end: the function goes on with what it was given, nobody hears of it, and it is freed at its end. */
static void test_freed_early(void **state)
{
	struct tevent_context *ev = *state;
	bool done[4];
	struct tevent_req *last;

	for (int i = 0; i < 3; i++) {
		talloc_free(start(ev, work_new(0, true), &done[i]));
	}
	last = start(ev, work_new(0, true), &done[3]);
	assert_int_equal(atomic_load(&freed), 0);
	for (int i = 0; i < 4; i++) {
		sem_post(&go);
	}
	loop_until(ev, &done[3]);
	talloc_free(last);
	wait_gone(4);
	assert_int_equal(atomic_load(&called), 4);
	assert_false(done[0] || done[1] || done[2]);
}

/* The event context goes first, as when a daemon ends. */
static void test_context_freed(void **state)
{
	bool done;

	start(*state, work_new(0, true), &done);
	TALLOC_FREE(*state);
	assert_int_equal(atomic_load(&freed), 0);
	sem_post(&go);
	wait_gone(1);
	assert_false(done);
}

/* Freed at about the time of the end: whoever lets go last frees. */
static void test_freed_at_the_end(void **state)
{
	for (int i = 0; i < 200; i++) {
		bool done;
		struct tevent_req *req = start(*state, work_new(0, false), &done);

		while (atomic_load(&called) == i) {
			sched_yield();
		}
		talloc_free(req);
		wait_gone(1);
		assert_false(done);
	}
	assert_int_equal(atomic_load(&freed), 200);
}

static void expect_refused(struct tevent_context *ev, struct work *w, int error, int n_freed)
{
	bool done;
	struct tevent_req *req = start(ev, w, &done);

	loop_until(ev, &done);
	assert_int_equal(thread_job_recv(req), error);
	talloc_free(req);
	assert_int_equal(atomic_load(&called), 0);
	assert_int_equal(atomic_load(&freed), n_freed);
}

/* No thread, no descriptor, no argument: an error that comes as any other end; the argument is freed. */
static void test_refused(void **state)
{
	struct tevent_context *ev = *state;
	struct rlimit limit, none;

	create_error = EAGAIN;
	expect_refused(ev, work_new(0, false), EAGAIN, 1);
	create_error = 0;
	expect_refused(ev, NULL, ENOMEM, 1);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	none = limit;
	none.rlim_cur = 0;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	expect_refused(ev, work_new(0, false), EMFILE, 2);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

/* Each gives its descriptor back. */
static void test_descriptors(void **state)
{
	int before = dup(0), after;
	bool done;

	close(before);
	talloc_free(start(*state, work_new(0, false), &done));
	wait_gone(1);
	atomic_store(&called, 0);
	create_error = EAGAIN;
	expect_refused(*state, work_new(0, true), EAGAIN, 2);
	after = dup(0);
	close(after);
	assert_int_equal(after, before);
}

/* ---- lines ---- */

static struct tevent_req *start_in(struct tevent_context *ev, struct thread_line *line, struct work *w, bool *done)
{
	struct tevent_req *req = thread_line_job_send(ev, ev, line, work_do, w, work_free);

	assert_non_null(req);
	*done = false;
	tevent_req_set_callback(req, set_flag, done);
	return req;
}

/* One after another and in one thread; another line's job, or a thread of its own, does not wait for them. */
static void test_line_order(void **state)
{
	struct tevent_context *ev = *state;
	struct thread_line *line = thread_line_new(ev), *other = thread_line_new(ev);
	struct work *w[3] = {work_new(0, true), work_new(EIO, true), work_new(0, true)};
	struct tevent_req *req[3], *beside;
	bool done[3], done_beside;

	for (int i = 0; i < 3; i++) {
		req[i] = start_in(ev, line, w[i], &done[i]);
	}
	beside = start_in(ev, other, work_new(0, false), &done_beside);
	loop_until(ev, &done_beside);
	for (int i = 0; i < 3; i++) {
		while (atomic_load(&called) < i + 2) { /* with the one beside */
			sched_yield();
		}
		assert_int_equal(atomic_load(&called), i + 2);
		sem_post(&go);
		loop_until(ev, &done[i]);
		assert_int_equal(thread_job_recv(req[i]), i == 1 ? EIO : 0);
		assert_true(pthread_equal(w[i]->ran_in, w[0]->ran_in));
		assert_true(i == 2 || !done[i + 1]);
	}
	for (int i = 0; i < 3; i++) {
		talloc_free(req[i]);
	}
	talloc_free(beside);
	wait_gone(4);
}

/* What the line has when it is freed is done all the same; a request that was freed, too. */
static void test_line_freed(void **state)
{
	struct tevent_context *ev = *state;
	struct thread_line *line = thread_line_new(ev);
	bool done[3];

	for (int i = 0; i < 3; i++) {
		(void)start_in(ev, line, work_new(0, true), &done[i]);
	}
	talloc_free(line);
	TALLOC_FREE(*state);
	for (int i = 0; i < 3; i++) {
		sem_post(&go);
	}
	wait_gone(3);
	assert_int_equal(atomic_load(&called), 3);
	assert_false(done[0] || done[1] || done[2]);
}

/* No thread: the job is refused, and the next one tries again. */
static void test_line_refused(void **state)
{
	struct tevent_context *ev = *state;
	struct thread_line *line = thread_line_new(ev);
	struct tevent_req *req;
	bool done;

	create_error = EAGAIN;
	req = start_in(ev, line, work_new(0, false), &done);
	loop_until(ev, &done);
	assert_int_equal(thread_job_recv(req), EAGAIN);
	talloc_free(req);
	assert_int_equal(atomic_load(&freed), 1);
	create_error = 0;
	req = start_in(ev, line, work_new(0, false), &done);
	loop_until(ev, &done);
	assert_int_equal(thread_job_recv(req), 0);
	talloc_free(req);
	wait_gone(2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_line_order, setup, teardown),
		cmocka_unit_test_setup_teardown(test_line_freed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_line_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_result, setup, teardown),
		cmocka_unit_test_setup_teardown(test_signals, setup, teardown),
		cmocka_unit_test_setup_teardown(test_beside, setup, teardown),
		cmocka_unit_test_setup_teardown(test_freed_early, setup, teardown),
		cmocka_unit_test_setup_teardown(test_context_freed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_freed_at_the_end, setup, teardown),
		cmocka_unit_test_setup_teardown(test_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_descriptors, setup, teardown),
	};

	return cmocka_run_group_tests_name("thread jobs", tests, NULL, NULL);
}
