/* transportd: writes keys by a thread, because syncing takes as long as the disk wants and heartbeats must go on. */
#include "transport.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* Shared with the thread: malloc'ed, freed by the last of the two that lets go. */
struct write_job {
	atomic_int users;
	int done_fd;
	int result;
	struct cluster_keys keys;
	char path[PATH_MAX], pending_path[PATH_MAX];
	char pending[17];
	bool with_pending;
};

static void job_release(struct write_job *job)
{
	if (atomic_fetch_sub(&job->users, 1) == 1) {
		if (job->done_fd >= 0) {
			close(job->done_fd);
		}
		explicit_bzero(job, sizeof(*job));
		free(job);
	}
}

/* Lost with the machine's power it does no harm: a rotation that is run again then makes a new key. So it is not
 * synced. */
static int pending_write(const struct write_job *job)
{
	char temp[PATH_MAX + 8];
	int fd, ret = 0;

	if (job->pending[0] == '\0') {
		return unlink(job->pending_path) == 0 || errno == ENOENT ? 0 : errno;
	}
	snprintf(temp, sizeof(temp), "%s.new", job->pending_path);
	fd = open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0) {
		return errno;
	}
	if (write(fd, job->pending, strlen(job->pending)) != (ssize_t)strlen(job->pending)) {
		ret = ENOSPC;
	}
	close(fd);
	if (ret == 0 && rename(temp, job->pending_path) != 0) {
		ret = errno;
	}
	if (ret != 0) {
		unlink(temp);
	}
	return ret;
}

static void *job_run(void *arg)
{
	struct write_job *job = arg;
	uint64_t one = 1;

	job->result = cluster_keys_store(&job->keys, job->path, NULL);
	if (job->result == 0 && job->with_pending) {
		job->result = pending_write(job);
	}
	if (write(job->done_fd, &one, sizeof(one)) != (ssize_t)sizeof(one)) {
		job->result = EIO; /* cannot happen with an eventfd that nobody else counts up */
	}
	job_release(job);
	return NULL;
}

static int job_start(struct write_job *job)
{
	pthread_attr_t attr;
	pthread_t thread;
	sigset_t all, old;
	int ret;

	/* Signals belong to the event loop's thread. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	atomic_fetch_add(&job->users, 1);
	ret = pthread_create(&thread, &attr, job_run, job);
	if (ret != 0) {
		atomic_fetch_sub(&job->users, 1);
	}
	pthread_attr_destroy(&attr);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return ret;
}

struct key_file_write_state {
	struct write_job *job;
	struct tevent_fd *fde;
};

static int state_destructor(struct key_file_write_state *state)
{
	TALLOC_FREE(state->fde);
	job_release(state->job);
	return 0;
}

static void write_done(struct tevent_context *ev, struct tevent_fd *fde, uint16_t flags, void *priv)
{
	struct tevent_req *req = talloc_get_type_abort(priv, struct tevent_req);
	struct key_file_write_state *state = tevent_req_data(req, struct key_file_write_state);

	if (state->job->result != 0) {
		tevent_req_error(req, (uint64_t)state->job->result);
	} else {
		tevent_req_done(req);
	}
}

static struct write_job *job_new(const struct cluster_keys *keys, const char *path, const char *pending,
				 const char *pending_path)
{
	struct write_job *job = calloc(1, sizeof(*job));

	if (job == NULL) {
		return NULL;
	}
	atomic_init(&job->users, 1);
	job->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (job->done_fd < 0 || strlen(path) >= sizeof(job->path) ||
	    strlen(pending_path) >= sizeof(job->pending_path)) {
		job_release(job);
		return NULL;
	}
	job->keys = *keys;
	strcpy(job->path, path);
	strcpy(job->pending_path, pending_path);
	job->with_pending = pending != NULL;
	snprintf(job->pending, sizeof(job->pending), "%s", pending != NULL ? pending : "");
	return job;
}

struct tevent_req *key_file_write_send(TALLOC_CTX *mem, struct tevent_context *ev, const struct cluster_keys *keys,
				       const char *path, const char *pending, const char *pending_path)
{
	struct key_file_write_state *state;
	struct tevent_req *req = tevent_req_create(mem, &state, struct key_file_write_state);
	int ret;

	if (req == NULL) {
		return NULL;
	}
	state->job = job_new(keys, path, pending, pending_path);
	if (tevent_req_nomem(state->job, req)) {
		return tevent_req_post(req, ev);
	}
	talloc_set_destructor(state, state_destructor);
	state->fde = tevent_add_fd(ev, state, state->job->done_fd, TEVENT_FD_READ, write_done, req);
	if (tevent_req_nomem(state->fde, req)) {
		return tevent_req_post(req, ev);
	}
	ret = job_start(state->job);
	if (ret != 0) {
		tevent_req_error(req, (uint64_t)ret);
		return tevent_req_post(req, ev);
	}
	return req;
}

int key_file_write_recv(struct tevent_req *req)
{
	enum tevent_req_state state;
	uint64_t error;

	if (tevent_req_is_error(req, &state, &error)) {
		return state == TEVENT_REQ_USER_ERROR ? (int)error : ENOMEM;
	}
	return 0;
}

void key_file_pending(const char *path, char pending[17])
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd >= 0 ? read(fd, pending, 16) : 0;

	pending[n == 16 ? 16 : 0] = '\0';
	if (fd >= 0) {
		close(fd);
	}
}
