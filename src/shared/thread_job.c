/* A function in a thread of its own, or of a line of such; its end is told to the event loop by an eventfd. */
#include "shared/thread_job.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* Shared by request and thread: freed by the last of the two that lets go. */
struct job {
	atomic_int users;
	atomic_int result; /* set before done_fd becomes readable */
	int done_fd;
	thread_job_fn fn;
	void *arg;
	thread_job_free_fn free_arg;
	struct job *next; /* in its line */
};

static void job_release(struct job *job)
{
	if (atomic_fetch_sub(&job->users, 1) == 1) {
		close(job->done_fd);
		job->free_arg(job->arg);
		free(job);
	}
}

static void *job_run(void *priv)
{
	struct job *job = priv;
	uint64_t one = 1;
	ssize_t n;

	atomic_store(&job->result, job->fn(job->arg));
	/* Cannot fail: it is counted up once. */
	n = write(job->done_fd, &one, sizeof(one));
	(void)n;
	job_release(job);
	return NULL;
}

/* On error the caller still has arg. */
static int job_new(thread_job_fn fn, void *arg, thread_job_free_fn free_arg, struct job **out)
{
	struct job *job = calloc(1, sizeof(*job));

	if (job == NULL) {
		return ENOMEM;
	}
	job->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (job->done_fd < 0) {
		int ret = errno;

		free(job);
		return ret;
	}
	atomic_init(&job->users, 1);
	atomic_init(&job->result, 0);
	job->fn = fn;
	job->arg = arg;
	job->free_arg = free_arg;
	*out = job;
	return 0;
}

static int thread_start(void *(*fn)(void *), void *arg)
{
	pthread_attr_t attr;
	pthread_t thread;
	sigset_t all, old;
	int ret = pthread_attr_init(&attr);

	if (ret != 0) {
		return ret;
	}
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	/* Signals belong to the event loop's thread. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	ret = pthread_create(&thread, &attr, fn, arg);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	return ret;
}

/* ---- lines ---- */

/* Shared by its owner and its thread; all of it under the mutex. */
struct line {
	pthread_mutex_t mutex;
	pthread_cond_t changed;
	struct job *first, **last; /* that wait */
	bool has_thread, ended;
};

struct thread_line {
	struct line *shared;
};

static void line_free(struct line *l)
{
	pthread_cond_destroy(&l->changed);
	pthread_mutex_destroy(&l->mutex);
	free(l);
}

/* NULL: the line has ended. */
static struct job *line_next(struct line *l)
{
	struct job *job;

	pthread_mutex_lock(&l->mutex);
	while (l->first == NULL && !l->ended) {
		pthread_cond_wait(&l->changed, &l->mutex);
	}
	job = l->first;
	if (job != NULL) {
		l->first = job->next;
		l->last = l->first == NULL ? &l->first : l->last;
	}
	pthread_mutex_unlock(&l->mutex);
	return job;
}

static void *line_run(void *priv)
{
	struct line *l = priv;
	struct job *job;

	while ((job = line_next(l)) != NULL) {
		(void)job_run(job);
	}
	line_free(l);
	return NULL;
}

static int line_destructor(struct thread_line *line)
{
	struct line *l = line->shared;
	bool has_thread;

	pthread_mutex_lock(&l->mutex);
	has_thread = l->has_thread;
	l->ended = true;
	pthread_cond_signal(&l->changed);
	pthread_mutex_unlock(&l->mutex);
	if (!has_thread) {
		line_free(l);
	}
	return 0;
}

struct thread_line *thread_line_new(TALLOC_CTX *mem)
{
	struct thread_line *line = talloc_zero(mem, struct thread_line);

	if (line == NULL) {
		return NULL;
	}
	line->shared = calloc(1, sizeof(*line->shared));
	if (line->shared == NULL) {
		talloc_free(line);
		return NULL;
	}
	pthread_mutex_init(&line->shared->mutex, NULL);
	pthread_cond_init(&line->shared->changed, NULL);
	line->shared->last = &line->shared->first;
	talloc_set_destructor(line, line_destructor);
	return line;
}

static int line_add(struct line *l, struct job *job)
{
	int ret = 0;

	pthread_mutex_lock(&l->mutex);
	if (!l->has_thread) {
		ret = thread_start(line_run, l);
		l->has_thread = ret == 0;
	}
	if (ret == 0) {
		*l->last = job;
		l->last = &job->next;
		pthread_cond_signal(&l->changed);
	}
	pthread_mutex_unlock(&l->mutex);
	return ret;
}

/* line NULL: in a thread of its own. */
static int job_start(struct job *job, struct thread_line *line)
{
	int ret;

	atomic_fetch_add(&job->users, 1);
	ret = line != NULL ? line_add(line->shared, job) : thread_start(job_run, job);
	if (ret != 0) {
		atomic_fetch_sub(&job->users, 1);
	}
	return ret;
}

/* ---- requests ---- */

struct thread_job_state {
	struct job *job;
	struct tevent_fd *fde;
};

static int state_destructor(struct thread_job_state *state)
{
	/* Before the descriptor is closed. */
	TALLOC_FREE(state->fde);
	job_release(state->job);
	return 0;
}

static void job_done(struct tevent_context *ev, struct tevent_fd *fde, uint16_t flags, void *priv)
{
	struct tevent_req *req = talloc_get_type_abort(priv, struct tevent_req);
	struct thread_job_state *state = tevent_req_data(req, struct thread_job_state);
	int result = atomic_load(&state->job->result);

	TALLOC_FREE(state->fde);
	if (result != 0) {
		tevent_req_error(req, (uint64_t)result);
	} else {
		tevent_req_done(req);
	}
}

/* Takes arg in any case. */
static int state_start(struct tevent_req *req, struct tevent_context *ev, struct thread_line *line, thread_job_fn fn,
		       void *arg, thread_job_free_fn free_arg)
{
	struct thread_job_state *state = tevent_req_data(req, struct thread_job_state);
	int ret = arg == NULL ? ENOMEM : job_new(fn, arg, free_arg, &state->job);

	if (ret != 0) {
		if (arg != NULL) {
			free_arg(arg);
		}
		return ret;
	}
	talloc_set_destructor(state, state_destructor);
	state->fde = tevent_add_fd(ev, state, state->job->done_fd, TEVENT_FD_READ, job_done, req);
	if (state->fde == NULL) {
		return ENOMEM;
	}
	return job_start(state->job, line);
}

struct tevent_req *thread_line_job_send(TALLOC_CTX *mem, struct tevent_context *ev, struct thread_line *line,
					thread_job_fn fn, void *arg, thread_job_free_fn free_arg)
{
	struct thread_job_state *state;
	struct tevent_req *req = tevent_req_create(mem, &state, struct thread_job_state);
	int ret;

	if (req == NULL) {
		if (arg != NULL) {
			free_arg(arg);
		}
		return NULL;
	}
	ret = state_start(req, ev, line, fn, arg, free_arg);
	if (ret != 0) {
		tevent_req_error(req, (uint64_t)ret);
		return tevent_req_post(req, ev);
	}
	return req;
}

struct tevent_req *thread_job_send(TALLOC_CTX *mem, struct tevent_context *ev, thread_job_fn fn, void *arg,
				   thread_job_free_fn free_arg)
{
	return thread_line_job_send(mem, ev, NULL, fn, arg, free_arg);
}

int thread_job_recv(struct tevent_req *req)
{
	enum tevent_req_state state;
	uint64_t error;

	if (tevent_req_is_error(req, &state, &error)) {
		return state == TEVENT_REQ_USER_ERROR ? (int)error : ENOMEM;
	}
	return 0;
}
