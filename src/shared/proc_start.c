/*
 * Programs that are started by a thread. vfork() keeps its caller until the child has replaced itself by the program;
 * the child has no raised priority any more by then, so on a busy machine that is as long as others want. The thread
 * lasts as long as the process: a child that dies with its parent dies with the thread that made it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shared/proc.h"
#include "shared/proc_child.h"
#include "shared/thread_job.h"

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
	pid_t pid = 0;
	int ret = child_launch(&config, &pid);

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

struct proc_spawn_state {
	struct tevent_context *ev;
	struct start *start;
	struct tevent_req *job;
};

static void spawned(struct tevent_req *job)
{
	struct tevent_req *req = tevent_req_callback_data(job, struct tevent_req);
	int ret = thread_job_recv(job);

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
	*state = (struct proc_spawn_state){ev, start, NULL};
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
