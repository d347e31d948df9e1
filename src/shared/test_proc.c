/* Child processes: output, exit status, time-outs that end the whole group, descriptors. */
#include "shared/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mono.h"

struct result {
	int ret, status;
	char *out;
	size_t len;
};

static struct tevent_context *ev;

static int setup(void **state)
{
	ev = tevent_context_init(NULL);
	return ev == NULL ? -1 : 0;
}

/* Nothing may be left: neither children nor zombies. What was killed is reaped by the loop. */
static int teardown(void **state)
{
	siginfo_t info;

	while (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0) {
		tevent_loop_once(ev);
	}
	assert_int_equal(errno, ECHILD);
	talloc_free(ev);
	return 0;
}

static struct result run(const char *script, uint32_t timeout_ms, size_t max_output)
{
	char *argv[] = {(char *)(uintptr_t) "sh", (char *)(uintptr_t) "-c", (char *)(uintptr_t)script, NULL};
	struct tevent_req *req = proc_run_send(ev, ev, argv, NULL, timeout_ms, max_output);
	struct ctdb_blob out = {0};
	struct result r = {0};

	assert_non_null(req);
	assert_true(tevent_req_poll(req, ev));
	r.ret = proc_run_recv(req, ev, &r.status, &out);
	talloc_free(req);
	r.out = talloc_strndup(ev, out.data == NULL ? "" : (const char *)out.data, out.len);
	r.len = out.len;
	return r;
}

static void test_output(void **state)
{
	struct result r = run("echo one; echo two >&2; cat; exit 3", 20000, 1000);

	assert_int_equal(r.ret, 0);
	assert_true(WIFEXITED(r.status));
	assert_int_equal(WEXITSTATUS(r.status), 3);
	assert_string_equal(r.out, "one\ntwo\n");
}

static void test_signalled(void **state)
{
	struct result r = run("kill -9 $$", 20000, 1000);

	assert_int_equal(r.ret, 0);
	assert_true(WIFSIGNALED(r.status));
	assert_int_equal(WTERMSIG(r.status), SIGKILL);
	assert_int_equal(r.len, 0);
}

/* A daemon handles or blocks signals for its own purposes; what it starts must not (lesson H-109). */
static void test_default_signals(void **state)
{
	struct sigaction ignore = {.sa_handler = SIG_IGN}, old;
	sigset_t term, before;
	struct result r;

	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	sigaction(SIGTERM, &ignore, &old);
	sigprocmask(SIG_BLOCK, &term, &before);
	r = run("kill -TERM $$; exit 3", 20000, 1000);
	sigprocmask(SIG_SETMASK, &before, NULL);
	sigaction(SIGTERM, &old, NULL);
	assert_int_equal(r.ret, 0);
	assert_true(WIFSIGNALED(r.status));
	assert_int_equal(WTERMSIG(r.status), SIGTERM);
}

static bool runs(pid_t pid)
{
	char path[64], letter = 'Z';
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	f = fopen(path, "r");
	if (f == NULL) {
		return false;
	}
	(void)!fscanf(f, "%*d (%*[^)]) %c", &letter);
	fclose(f);
	return letter != 'Z';
}

static void group_exited(void *priv, struct proc *p, int wait_status)
{
	int *status = priv;

	*status = wait_status;
}

static char *read_pipe(TALLOC_CTX *mem, int fd)
{
	char *text = talloc_zero_array(mem, char, 100);

	assert_true(read(fd, text, 99) >= 0);
	close(fd);
	return text;
}

/* Output and errors apart; what a program leaves behind can be signalled, and dies with its handle. */
static void test_group(void **state)
{
	char *argv[] = {(char *)(uintptr_t) "/bin/sh", (char *)(uintptr_t) "-c",
			(char *)(uintptr_t) "sleep 1000 & echo $!; echo error >&2; exit 3", NULL};
	int out[2], err[2], status = -1;
	struct proc *p = NULL;
	pid_t pid, child;

	assert_int_equal(pipe(out), 0);
	assert_int_equal(pipe(err), 0);
	assert_int_equal(proc_spawn_group(ev, ev, argv, out[1], err[1], SIGTERM, group_exited, &status, &p), 0);
	close(out[1]);
	close(err[1]);
	pid = proc_pid(p);
	while (status == -1) {
		assert_int_equal(tevent_loop_once(ev), 0);
	}
	assert_int_equal(WEXITSTATUS(status), 3);
	assert_int_equal(proc_pid(p), -1);
	child = atoi(read_pipe(ev, out[0]));
	assert_string_equal(read_pipe(ev, err[0]), "error\n");
	assert_true(runs(child));
	assert_int_equal(getpgid(child), pid);
	assert_int_equal(proc_kill_group(p, 0), 0);
	talloc_free(p);
	for (int i = 0; i < 6000 && runs(child); i++) {
		usleep(10000);
	}
	assert_false(runs(child));
}

static void test_output_cut(void **state)
{
	struct result r = run("head -c 3000000 /dev/zero | tr '\\0' x; exit 0", 60000, 100000);

	assert_int_equal(r.ret, 0);
	assert_int_equal(r.status, 0);
	assert_int_equal(r.len, 100000);
	assert_int_equal(strspn(r.out, "x"), 100000);
	r = run("echo much", 20000, 0);
	assert_int_equal(r.ret, 0);
	assert_int_equal(r.len, 0);
}

/* What was printed just before the end is not lost, however the exit and the pipe are noticed. */
static void test_output_complete(void **state)
{
	for (int i = 0; i < 20; i++) {
		struct result r = run("head -c 60000 /dev/zero | tr '\\0' y", 20000, 1000000);

		assert_int_equal(r.ret, 0);
		assert_int_equal(r.len, 60000);
	}
}

static void test_not_found(void **state)
{
	char *argv[] = {(char *)(uintptr_t) "/does/not/exist", NULL};
	struct tevent_req *req = proc_run_send(ev, ev, argv, NULL, 1000, 10);
	int status;

	assert_true(tevent_req_poll(req, ev));
	assert_int_equal(proc_run_recv(req, ev, &status, NULL), ENOENT);
	talloc_free(req);
	argv[0] = (char *)(uintptr_t) "/etc/passwd";
	req = proc_run_send(ev, ev, argv, NULL, 1000, 10);
	assert_true(tevent_req_poll(req, ev));
	assert_int_equal(proc_run_recv(req, ev, &status, NULL), EACCES);
	talloc_free(req);
}

static void test_environment(void **state)
{
	char *argv[] = {(char *)(uintptr_t) "/bin/sh", (char *)(uintptr_t) "-c",
			(char *)(uintptr_t) "echo $FOO; ls /proc/$$/fd", NULL};
	char *envp[] = {(char *)(uintptr_t) "FOO=bar", (char *)(uintptr_t) "PATH=/bin:/usr/bin", NULL};
	int leak = open("/dev/null", O_RDONLY); /* not close-on-exec */
	struct tevent_req *req = proc_run_send(ev, ev, argv, envp, 20000, 1000);
	struct ctdb_blob out;
	int status;

	assert_true(leak > 2);
	assert_true(tevent_req_poll(req, ev));
	assert_int_equal(proc_run_recv(req, ev, &status, &out), 0);
	assert_string_equal(talloc_strndup(ev, (char *)out.data, out.len), "bar\n0\n1\n2\n");
	talloc_free(req);
	close(leak);
}

/* Dead, whether somebody reaped it yet or not. */
static bool gone(pid_t pid)
{
	char path[32], stat[256] = "", *end;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	f = fopen(path, "r");
	if (f == NULL) {
		return true;
	}
	(void)!fread(stat, 1, sizeof(stat) - 1, f);
	fclose(f);
	end = strrchr(stat, ')');
	return end == NULL || end[2] == 'Z' || end[2] == 'X';
}

static void wait_gone(pid_t pid)
{
	struct mono end = mono_add_ms(mono_now(), 20000);

	while (!gone(pid)) {
		assert_true(mono_before(mono_now(), end));
		usleep(10000);
	}
}

static pid_t read_pid(const char *path)
{
	FILE *f = fopen(path, "r");
	int pid = 0;

	if (f != NULL) {
		if (fscanf(f, "%d\n", &pid) != 1) {
			pid = 0;
		}
		fclose(f);
	}
	return pid;
}

/* The program ignores SIGTERM and so does what it started: both are gone when the result is there. */
static void test_timeout_kills_group(void **state)
{
	char path[] = "/tmp/test_proc.XXXXXX", *script;
	struct result r;
	pid_t pid = 0;

	close(mkstemp(path));
	script = talloc_asprintf(
		ev,
		"trap '' TERM; sh -c 'trap \"\" TERM; sleep 1000 & echo $! > %s; wait; sleep 1000' & wait; sleep 1000",
		path);
	for (uint32_t ms = 500; pid == 0 && ms < 60000; ms *= 3) { /* until it gets so far in that time */
		r = run(script, ms, 100);
		assert_int_equal(r.ret, ETIMEDOUT);
		pid = read_pid(path);
	}
	unlink(path);
	assert_true(pid > 0);
	wait_gone(pid);
}

/* The leader goes at once, another one of the group would stay. */
static void test_timeout_leader_first(void **state)
{
	char path[] = "/tmp/test_proc.XXXXXX", *script;
	pid_t pid = 0;

	close(mkstemp(path));
	script = talloc_asprintf(ev, "(trap '' TERM; sh -c 'echo $$ > %s; sleep 1000; sleep 1000') & wait", path);
	for (uint32_t ms = 500; pid == 0 && ms < 60000; ms *= 3) {
		assert_int_equal(run(script, ms, 100).ret, ETIMEDOUT);
		pid = read_pid(path);
	}
	unlink(path);
	assert_true(pid > 0);
	wait_gone(pid);
}

/* A program in the background that keeps the pipe open does not keep the result back, and is left alone. */
static void test_background(void **state)
{
	struct result r = run("sleep 1000 & echo $!", 20000, 100);
	pid_t pid = atoi(r.out);

	assert_int_equal(r.ret, 0);
	assert_true(pid > 0);
	assert_int_equal(kill(pid, SIGKILL), 0);
	wait_gone(pid);
}

static void test_cancel(void **state)
{
	char path[] = "/tmp/test_proc.XXXXXX";
	char *argv[] = {(char *)(uintptr_t) "sh", (char *)(uintptr_t) "-c", NULL, NULL};
	struct mono end = mono_add_ms(mono_now(), 20000);
	struct tevent_req *req;
	pid_t pid;

	close(mkstemp(path));
	argv[2] = talloc_asprintf(ev, "echo $$ > %s; sleep 1000; sleep 1000", path);
	req = proc_run_send(ev, ev, argv, NULL, 60000, 100);
	while ((pid = read_pid(path)) == 0) {
		assert_true(mono_before(mono_now(), end));
		usleep(10000);
	}
	talloc_free(req);
	unlink(path);
	while (!gone(pid)) {
		assert_int_equal(tevent_loop_once(ev), 0); /* reaps it */
	}
}

struct spawned {
	unsigned exits;
	int status;
};

static void on_exit_(void *priv, struct proc *p, int status)
{
	struct spawned *s = priv;

	s->exits++;
	s->status = status;
	assert_int_equal(proc_pid(p), -1);
	assert_int_equal(proc_kill(p, SIGTERM), ESRCH);
}

static void test_spawn(void **state)
{
	char *argv[] = {(char *)(uintptr_t) "sh", (char *)(uintptr_t) "-c", NULL, NULL};
	struct spawned s = {0};
	struct proc *p = NULL;
	int fds[2];
	char c;
	int keep[2] = {-1, -1};

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	keep[0] = fds[1];
	argv[2] = talloc_asprintf(ev, "printf x >&%d; exec sleep 1000", fds[1]);
	assert_int_equal(proc_spawn(ev, ev, argv, keep, true, on_exit_, &s, &p), 0);
	close(fds[1]);
	assert_true(proc_pid(p) > 0);
	assert_int_equal(getpgid(proc_pid(p)), proc_pid(p));
	assert_int_equal(read(fds[0], &c, 1), 1);
	close(fds[0]);
	assert_int_equal(proc_kill(p, SIGTERM), 0);
	while (s.exits == 0) {
		assert_int_equal(tevent_loop_once(ev), 0);
	}
	assert_true(WIFSIGNALED(s.status));
	assert_int_equal(WTERMSIG(s.status), SIGTERM);
	talloc_free(p);
	assert_int_equal(s.exits, 1);
}

static void test_spawn_fails(void **state)
{
	char *argv[] = {(char *)(uintptr_t) "/does/not/exist", NULL};
	struct proc *p = NULL;

	assert_int_equal(proc_spawn(ev, ev, argv, NULL, true, on_exit_, NULL, &p), ENOENT);
	assert_null(p);
}

static void test_free_kills(void **state)
{
	char *argv[] = {(char *)(uintptr_t) "sleep", (char *)(uintptr_t) "1000", NULL};
	struct spawned s = {0};
	struct proc *p = NULL;
	pid_t pid;

	assert_int_equal(proc_spawn(ev, ev, argv, NULL, false, on_exit_, &s, &p), 0);
	pid = proc_pid(p);
	talloc_free(p);
	while (!gone(pid)) {
		assert_int_equal(tevent_loop_once(ev), 0);
	}
	assert_int_equal(s.exits, 0);
}

/* Also when the event context goes first. */
static void test_free_context(void **state)
{
	char *argv[] = {(char *)(uintptr_t) "sleep", (char *)(uintptr_t) "1000", NULL};
	struct tevent_context *other = tevent_context_init(NULL);
	struct proc *p = NULL;
	pid_t pid;

	assert_int_equal(proc_spawn(ev, other, argv, NULL, false, on_exit_, NULL, &p), 0);
	pid = proc_pid(p);
	talloc_free(other);
	assert_int_equal(proc_pid(p), -1);
	talloc_free(p);
	(void)waitpid(pid, NULL, 0);
	assert_true(gone(pid));
}

static struct proc *spawn_any(struct tevent_context *own, bool by_thread)
{
	char *argv[] = {(char *)(uintptr_t) "sleep", (char *)(uintptr_t) "1000", NULL};
	struct proc *p = NULL;
	struct tevent_req *req;
	int ret;

	if (!by_thread) {
		return proc_spawn(own, own, argv, NULL, true, on_exit_, NULL, &p) == 0 ? p : NULL;
	}
	req = proc_spawn_send(own, own, argv, dup(0), true);
	ret = tevent_req_poll(req, own) ? proc_spawn_recv(req, own, on_exit_, NULL, &p) : EIO;
	talloc_free(req);
	return ret == 0 ? p : NULL;
}

static void dies_with_parent(bool by_thread)
{
	int fds[2], status;
	pid_t parent, child = 0;

	assert_int_equal(pipe(fds), 0);
	parent = fork();
	if (parent == 0) {
		struct proc *p = spawn_any(tevent_context_init(NULL), by_thread);

		if (p == NULL) {
			_exit(1);
		}
		child = proc_pid(p);
		(void)!write(fds[1], &child, sizeof(child));
		raise(SIGKILL);
	}
	assert_int_equal(read(fds[0], &child, sizeof(child)), sizeof(child));
	assert_int_equal(waitpid(parent, &status, 0), parent);
	assert_true(WIFSIGNALED(status));
	/* it is ours now or init's */
	while (!gone(child)) {
		if (waitpid(child, NULL, WNOHANG) < 0) {
			usleep(10000);
		}
	}
	close(fds[0]);
	close(fds[1]);
}

static void test_dies_with_parent(void **state)
{
	/* the thread first: it must not have been started here, a fork does not take it along */
	dies_with_parent(true);
	dies_with_parent(false);
}

/* ---- started by a thread ---- */

static void set_flag(struct tevent_req *req)
{
	*(bool *)tevent_req_callback_data_void(req) = true;
}

static int await_spawned(struct tevent_req *req, struct spawned *s, struct proc **p)
{
	bool done = false;
	int ret;

	assert_non_null(req);
	tevent_req_set_callback(req, set_flag, &done);
	while (!done) {
		assert_int_equal(tevent_loop_once(ev), 0);
	}
	ret = proc_spawn_recv(req, ev, on_exit_, s, p);
	talloc_free(req);
	return ret;
}

static int open_count(void)
{
	int n = 0;

	for (int fd = 0; fd < 1024; fd++) {
		n += fcntl(fd, F_GETFD) >= 0;
	}
	return n;
}

/* The child has the descriptor, this process has not; it can die before anybody has heard of it. */
static void test_spawn_by_thread(void **state)
{
	char *argv[] = {(char *)(uintptr_t) "sh", (char *)(uintptr_t) "-c", NULL, NULL};
	struct spawned s = {0};
	struct proc *p = NULL;
	int fds[2], before = open_count();
	char buf[8] = "";
	struct tevent_req *req;

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	argv[2] = talloc_asprintf(ev, "printf abc >&%d; exit 3", fds[1]);
	req = proc_spawn_send(ev, ev, argv, fds[1], true);
	argv[2][0] = '!'; /* was copied */
	assert_int_equal(read(fds[0], buf, 3), 3);
	assert_int_equal(read(fds[0], buf + 3, 1), 0);
	assert_string_equal(buf, "abc");
	close(fds[0]);
	assert_int_equal(await_spawned(req, &s, &p), 0);
	while (s.exits == 0) {
		assert_int_equal(tevent_loop_once(ev), 0);
	}
	assert_int_equal(WEXITSTATUS(s.status), 3);
	talloc_free(p);
	assert_int_equal(s.exits, 1);
	assert_true(open_count() <= before + 2); /* the loop's for signals */
}

static void test_spawn_by_thread_fails(void **state)
{
	char *argv[] = {(char *)(uintptr_t) "/does/not/exist", NULL};
	struct proc *p = NULL;
	int fds[2];
	char c;

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	assert_int_equal(await_spawned(proc_spawn_send(ev, ev, argv, fds[1], true), NULL, &p), ENOENT);
	assert_null(p);
	assert_int_equal(read(fds[0], &c, 1), 0);
	close(fds[0]);
}

/* Freed at once, when the child runs, and when it was taken: it ends each time. */
static void test_spawn_by_thread_freed(void **state)
{
	for (int i = 0; i < 4; i++) {
		char *argv[] = {(char *)(uintptr_t) "sh", (char *)(uintptr_t) "-c", NULL, NULL};
		struct spawned s = {0};
		struct proc *p = NULL;
		int fds[2];
		char c;
		struct tevent_req *req;

		assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
		argv[2] = talloc_asprintf(ev, "printf x >&%d; exec sleep 1000", fds[1]);
		req = proc_spawn_send(ev, ev, argv, fds[1], true);
		if (i > 0) {
			assert_int_equal(read(fds[0], &c, 1), 1);
		}
		if (i == 3) {
			assert_int_equal(await_spawned(req, &s, &p), 0);
			assert_int_equal(getpgid(proc_pid(p)), proc_pid(p));
			talloc_free(p);
		} else {
			talloc_free(req);
		}
		while (read(fds[0], &c, 1) == 1) {
		}
		close(fds[0]);
		assert_int_equal(s.exits, 0);
	}
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_output),
		T(test_signalled),
		T(test_default_signals),
		T(test_group),
		T(test_output_cut),
		T(test_output_complete),
		T(test_not_found),
		T(test_environment),
		T(test_background),
		T(test_cancel),
		T(test_timeout_kills_group),
		T(test_timeout_leader_first),
		T(test_spawn),
		T(test_spawn_fails),
		T(test_free_kills),
		T(test_free_context),
		T(test_dies_with_parent),
		T(test_spawn_by_thread),
		T(test_spawn_by_thread_fails),
		T(test_spawn_by_thread_freed),
	};

	alarm(300);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
