/*
 * Programs that are started by a thread. vfork() keeps its caller until the child has replaced itself by the program;
 * the child has no raised priority any more by then, so on a busy machine that is as long as others want. The thread
 * lasts as long as the process: a child that dies with its parent dies with the thread that made it.
 *
 * A child that is stopped before it is the program would keep the thread, and all starts behind it, until somebody lets
 * it go on. So who waits for a start looks after a while which child of the thread still runs this very program, and
 * kills it: the start fails with ETIMEDOUT, the next one begins.
 */
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shared/log.h"
#include "shared/mono_timer.h"
#include "shared/proc.h"
#include "shared/proc_child.h"
#include "shared/thread_job.h"

#define AGAIN_MS 1000

static uint32_t patience_ms = PROC_START_PATIENCE_MS;

/* What the thread is at. */
static struct {
	_Atomic pid_t thread;
	_Atomic uint64_t began;    /* 0: no start */
	_Atomic uint64_t given_up; /* that which began then */
} at_work;

/* What the thread works on; its own memory. */
struct start {
	char **argv;
	int keep_fds[2];
	bool die_with_parent;
	pid_t pid; /* 0: none, or it has an owner */
};

static void start_close(struct start *s)
{
	if (s->keep_fds[0] >= 0) {
		close(s->keep_fds[0]);
		s->keep_fds[0] = -1;
	}
}

static void start_free(void *arg)
{
	struct start *s = arg;

	if (s->pid != 0) {
		child_disown(s->pid);
	}
	start_close(s);
	for (char **a = s->argv; a != NULL && *a != NULL; a++) {
		free(*a);
	}
	free(s->argv);
	free(s);
}

static int start_run(void *arg)
{
	struct start *s = arg;
	struct child_config config = {
		.argv = s->argv, .keep_fds = s->keep_fds, .output_fd = -1, .die_with_parent = s->die_with_parent};
	uint64_t began = mono_now().ns;
	pid_t pid = 0;
	int ret;

	atomic_store(&at_work.thread, gettid());
	atomic_store(&at_work.began, began);
	ret = child_launch(&config, &pid);
	atomic_store(&at_work.began, 0);
	if (ret == 0 && atomic_load(&at_work.given_up) == began) {
		child_disown(pid);
		ret = ETIMEDOUT;
	}
	s->pid = ret == 0 ? pid : 0;
	start_close(s); /* now, so that the child's end of a socket is the child's alone */
	return ret;
}

static char **argv_copy(char *const argv[])
{
	char **copy;
	size_t n = 0;

	while (argv[n] != NULL) {
		n++;
	}
	copy = calloc(n + 1, sizeof(*copy));
	for (size_t i = 0; copy != NULL && i < n; i++) {
		copy[i] = strdup(argv[i]);
		if (copy[i] == NULL) {
			while (i > 0) {
				free(copy[--i]);
			}
			free(copy);
			return NULL;
		}
	}
	return copy;
}

static struct start *start_new(char *const argv[], int keep_fd, bool die_with_parent)
{
	struct start *s = calloc(1, sizeof(*s));

	if (s != NULL) {
		*s = (struct start){argv_copy(argv), {keep_fd, -1}, die_with_parent, 0};
	}
	if (s == NULL || s->argv == NULL) {
		free(s);
		close(keep_fd);
		return NULL;
	}
	return s;
}

/* ---- a child that does not become the program ---- */

/* Does it still run what we run? */
static bool is_unborn(const char *pid)
{
	char path[64];
	struct stat own, its;

	snprintf(path, sizeof(path), "/proc/%s/exe", pid);
	return stat("/proc/self/exe", &own) == 0 && stat(path, &its) == 0 && own.st_dev == its.st_dev &&
	       own.st_ino == its.st_ino;
}

static void give_up(uint64_t began)
{
	char path[64], pid[16];
	bool found = false;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)atomic_load(&at_work.thread));
	f = fopen(path, "re");
	while (f != NULL && fscanf(f, "%15s", pid) == 1) {
		if (is_unborn(pid) && atomic_load(&at_work.began) == began) {
			atomic_store(&at_work.given_up, began);
			log_error("process %s has not become the program that it should in %u ms: killed (is it "
				  "stopped?)",
				  pid, patience_ms);
			(void)kill((pid_t)atoi(pid), SIGKILL);
			found = true;
		}
	}
	if (!found) {
		log_ratelimited(LOG_LVL_WARNING, 10000, "the start of a process takes more than %u ms", patience_ms);
	}
	if (f != NULL) {
		fclose(f);
	}
}

struct proc_spawn_state {
	struct tevent_context *ev;
	struct start *start;
	struct tevent_req *job;
	struct mono_timer *watch;
};

/* All who wait look after the one start that is going on. */
static void start_slow(void *priv)
{
	struct proc_spawn_state *state = priv;
	struct mono began = {atomic_load(&at_work.began)}, now = mono_now();
	struct mono end = mono_is_set(began) ? mono_add_ms(began, patience_ms) : mono_add_ms(now, AGAIN_MS);

	if (mono_is_set(began) && !mono_before(now, end)) {
		give_up(began.ns);
		end = mono_add_ms(now, AGAIN_MS);
	}
	mono_timer_set(state->watch, end);
}

void proc_start_set_patience(uint32_t ms)
{
	patience_ms = ms;
}

static void spawned(struct tevent_req *job)
{
	struct tevent_req *req = tevent_req_callback_data(job, struct tevent_req);
	struct proc_spawn_state *state = tevent_req_data(req, struct proc_spawn_state);
	int ret = thread_job_recv(job);

	TALLOC_FREE(state->watch);

	/* The job stays: what it has started is in its argument until it is taken. */
	if (!tevent_req_error(req, (uint64_t)ret)) {
		tevent_req_done(req);
	}
}

static struct thread_line *starter(void)
{
	static struct thread_line *line;

	if (line == NULL) {
		line = thread_line_new(NULL);
	}
	return line;
}

struct tevent_req *proc_spawn_send(TALLOC_CTX *mem, struct tevent_context *ev, char *const argv[], int keep_fd,
				   bool die_with_parent)
{
	struct start *start = start_new(argv, keep_fd, die_with_parent);
	struct thread_line *line = starter();
	struct proc_spawn_state *state;
	struct tevent_req *req = tevent_req_create(mem, &state, struct proc_spawn_state);

	if (req == NULL || line == NULL) {
		if (start != NULL) {
			start_free(start);
		}
		if (tevent_req_nomem(line, req)) {
			return tevent_req_post(req, ev);
		}
		return NULL;
	}
	*state = (struct proc_spawn_state){.ev = ev, .start = start};
	state->watch = mono_timer_new(state, ev, start_slow, state);
	if (state->watch != NULL) {
		mono_timer_set(state->watch, mono_add_ms(mono_now(), patience_ms));
	}
	state->job = thread_line_job_send(state, ev, line, start_run, start, start_free);
	if (tevent_req_nomem(state->job, req)) {
		return tevent_req_post(req, ev);
	}
	tevent_req_set_callback(state->job, spawned, req);
	return req;
}

int proc_spawn_recv(struct tevent_req *req, TALLOC_CTX *mem,
		    void (*exited)(void *priv, struct proc *p, int wait_status), void *priv, struct proc **p)
{
	struct proc_spawn_state *state = tevent_req_data(req, struct proc_spawn_state);
	enum tevent_req_state s;
	uint64_t error;
	pid_t pid;

	if (tevent_req_is_error(req, &s, &error)) {
		return s == TEVENT_REQ_USER_ERROR ? (int)error : ENOMEM;
	}
	pid = state->start->pid;
	state->start->pid = 0;
	return proc_adopt(mem, state->ev, pid, exited, priv, p);
}
