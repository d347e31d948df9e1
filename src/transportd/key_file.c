/* transportd: writes keys by a thread, because syncing takes as long as the disk wants and heartbeats must go on. */
#include "transport.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shared/file_replace.h"
#include "shared/thread_job.h"

/* What the thread needs. */
struct write_job {
	struct cluster_keys keys;
	char path[PATH_MAX], pending_path[PATH_MAX];
	char pending[17];
	bool with_pending;
};

static void job_free(void *arg)
{
	explicit_bzero(arg, sizeof(struct write_job));
	free(arg);
}

/* Lost with the machine's power it does no harm: a rotation that is run again then makes a new key. So it is not
 * synced. */
static int pending_write(const struct write_job *job)
{
	if (job->pending[0] == '\0') {
		return unlink(job->pending_path) == 0 || errno == ENOENT ? 0 : errno;
	}
	return file_replace(job->pending_path, job->pending, strlen(job->pending), 0600, 0);
}

static int job_run(void *arg)
{
	const struct write_job *job = arg;
	int ret = cluster_keys_store(&job->keys, job->path, NULL);

	return ret == 0 && job->with_pending ? pending_write(job) : ret;
}

static struct write_job *job_new(const struct cluster_keys *keys, const char *path, const char *pending,
				 const char *pending_path)
{
	struct write_job *job = calloc(1, sizeof(*job));

	if (job == NULL || strlen(path) >= sizeof(job->path) || strlen(pending_path) >= sizeof(job->pending_path)) {
		free(job);
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
	return thread_job_send(mem, ev, job_run, job_new(keys, path, pending, pending_path), job_free);
}

int key_file_write_recv(struct tevent_req *req)
{
	return thread_job_recv(req);
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
