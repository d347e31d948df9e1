/* Tests of starts by a thread: a child that is stopped before it is the program. */
#include "shared/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* The linker puts this in the place of execvpe(); it runs in the child. */
int __real_execvpe(const char *file, char *const argv[], char *const envp[]);
int __wrap_execvpe(const char *file, char *const argv[], char *const envp[]);

static volatile bool stop_next;

int __wrap_execvpe(const char *file, char *const argv[], char *const envp[])
{
	if (stop_next) {
		kill(getpid(), SIGSTOP);
	}
	return __real_execvpe(file, argv, envp);
}

static void done(struct tevent_req *req)
{
	*(bool *)tevent_req_callback_data_void(req) = true;
}

static int exit_status = -1;

static void exited(void *priv, struct proc *p, int wait_status)
{
	(void)priv;
	(void)p;
	exit_status = wait_status;
}

static struct tevent_req *start(struct tevent_context *ev, bool *ended)
{
	static char name[] = "true";
	char *argv[] = {name, NULL};
	struct tevent_req *req = proc_spawn_send(ev, ev, argv, open("/dev/null", O_RDONLY | O_CLOEXEC), true);

	*ended = false;
	assert_non_null(req);
	tevent_req_set_callback(req, done, ended);
	return req;
}

static void wait_for(struct tevent_context *ev, const bool *ended)
{
	while (!*ended) {
		assert_int_equal(tevent_loop_once(ev), 0);
	}
}

/* It is killed, its start fails; the one behind it, which is not stopped, is not touched. */
static void test_stopped(void **state)
{
	struct tevent_context *ev = tevent_context_init(NULL);
	struct proc *p = NULL;
	struct tevent_req *req;
	bool ended;

	(void)state;
	for (int round = 0; round < 2; round++) {
		stop_next = true;
		proc_start_set_patience(20);
		req = start(ev, &ended);
		wait_for(ev, &ended);
		assert_int_equal(proc_spawn_recv(req, ev, exited, NULL, &p), ETIMEDOUT);
		talloc_free(req);
		stop_next = false;
		proc_start_set_patience(PROC_START_PATIENCE_MS);
		exit_status = -1;
		req = start(ev, &ended);
		wait_for(ev, &ended);
		assert_int_equal(proc_spawn_recv(req, ev, exited, NULL, &p), 0);
		talloc_free(req);
		while (exit_status == -1) {
			assert_int_equal(tevent_loop_once(ev), 0);
		}
		assert_true(WIFEXITED(exit_status) && WEXITSTATUS(exit_status) == 0);
		talloc_free(p);
	}
	talloc_free(ev);
	/* Nothing is left of it. */
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	assert_int_equal(errno, ECHILD);
}

/* Who asked for it has gone: those that wait behind it are not held up. */
static void test_nobody_waits_for_it(void **state)
{
	struct tevent_context *ev = tevent_context_init(NULL);
	struct tevent_req *first, *second;
	bool ended, none;
	struct proc *p;

	(void)state;
	stop_next = true;
	proc_start_set_patience(20);
	first = start(ev, &none);
	talloc_free(first);
	second = start(ev, &ended);
	wait_for(ev, &ended); /* is stopped as well */
	assert_int_equal(proc_spawn_recv(second, ev, exited, NULL, &p), ETIMEDOUT);
	stop_next = false;
	talloc_free(ev);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_stopped), cmocka_unit_test(test_nobody_waits_for_it)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
