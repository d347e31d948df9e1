/* The nodes file and what is written beside it while it changes. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"
#include "nodes.h"
#include "shared/file_replace.h"
#include "shared/thread_job.h"

#define MAGIC     "ctdb-ng-nodes 1"
#define HEAD_SIZE 256
#define FILE_MAX  65536

int nodes_file_init(TALLOC_CTX *mem, const char *path, struct nodes_file *f, char **err)
{
	char resolved[PATH_MAX];

	if (realpath(path, resolved) == NULL) {
		int ret = errno;

		*err = talloc_asprintf(mem, "%s: %s", path, strerror(ret));
		return ret;
	}
	f->path = talloc_strdup(mem, resolved);
	f->next_path = talloc_asprintf(mem, "%s.next", resolved);
	return f->path == NULL || f->next_path == NULL ? ENOMEM : 0;
}

/* ---- contents of FILE.next ---- */

static void head_make(char head[HEAD_SIZE], const struct nodes_next *next)
{
	snprintf(head, HEAD_SIZE, "term=%" PRIu64 " number=%" PRIu32 " from=%016" PRIx64 " to=%016" PRIx64 "\n",
		 next->term, next->number, next->from, next->to);
}

char *nodes_next_make(TALLOC_CTX *mem, const struct nodes_next *next)
{
	char head[HEAD_SIZE];
	char *body;

	head_make(head, next);
	body = talloc_asprintf(mem, "%s%s", head, next->text);
	if (body != NULL) {
		char *all = talloc_asprintf(mem, MAGIC "\ncheck=%08" PRIx32 "\n%s",
					    hash_lookup3((const uint8_t *)body, strlen(body)), body);

		talloc_free(body);
		body = all;
	}
	return body;
}

int nodes_next_parse(TALLOC_CTX *mem, const char *text, struct nodes_next *next)
{
	const char *body, *list;
	uint32_t check;

	if (sscanf(text, MAGIC "\ncheck=%8" SCNx32 "\n", &check) != 1) {
		return EBADMSG;
	}
	body = strstr(text, "\nterm=");
	list = body == NULL ? NULL : strchr(body + 1, '\n');
	if (list == NULL || hash_lookup3((const uint8_t *)body + 1, strlen(body + 1)) != check ||
	    sscanf(body + 1, "term=%" SCNu64 " number=%" SCNu32 " from=%" SCNx64 " to=%" SCNx64, &next->term,
		   &next->number, &next->from, &next->to) != 4) {
		return EBADMSG;
	}
	next->text = talloc_strdup(mem, list + 1);
	return next->text == NULL ? ENOMEM : 0;
}

int nodes_next_read(TALLOC_CTX *mem, const struct nodes_file *f, struct nodes_next *next, char **err)
{
	int fd = open(f->next_path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK), ret = 0;
	char *text;
	ssize_t len;

	if (fd < 0) {
		ret = errno;
		*err = talloc_asprintf(mem, "%s: cannot be opened: %s", f->next_path, strerror(ret));
		return ret;
	}
	text = talloc_zero_array(mem, char, FILE_MAX + 1);
	len = text == NULL ? -1 : read(fd, text, FILE_MAX);
	if (len < 0) {
		ret = text == NULL ? ENOMEM : errno;
	}
	close(fd);
	ret = ret != 0 ? ret : nodes_next_parse(mem, text, next);
	talloc_free(text);
	if (ret != 0) {
		*err = talloc_asprintf(mem, "%s: %s: it belongs to a change of the nodes list: %s", f->next_path,
				       ret == EBADMSG ? "damaged" : strerror(ret),
				       ret == EBADMSG
					       ? "compare the nodes file with that of the other nodes, then remove it"
					       : "make it a file that can be read");
	}
	return ret;
}

void nodes_next_remove(const struct nodes_file *f)
{
	unlink(f->next_path);
}

/* ---- writing ---- */

/* Shared with the thread: malloc'ed. */
struct write_job {
	enum cluster_nodes_write what;
	char *path, *next_path, *text;
	bool mount; /* result: cannot be replaced */
};

static void job_free(void *arg)
{
	struct write_job *job = arg;

	if (job != NULL) {
		free(job->path);
		free(job->next_path);
		free(job->text);
		free(job);
	}
}

static struct write_job *job_new(const struct nodes_file *f, enum cluster_nodes_write what, const char *text)
{
	struct write_job *job = calloc(1, sizeof(*job));

	if (job == NULL) {
		return NULL;
	}
	job->what = what;
	job->path = strdup(f->path);
	job->next_path = strdup(f->next_path);
	job->text = strdup(text == NULL ? "" : text);
	if (job->path == NULL || job->next_path == NULL || job->text == NULL) {
		job_free(job);
		return NULL;
	}
	return job;
}

/* A file that was mounted by itself, as container managers do, can be written but not replaced. */
static bool is_mount(const char *path)
{
#ifdef STATX_ATTR_MOUNT_ROOT
	struct statx st;

	return statx(AT_FDCWD, path, 0, STATX_BASIC_STATS, &st) == 0 &&
	       (st.stx_attributes_mask & STATX_ATTR_MOUNT_ROOT) != 0 &&
	       (st.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
#else
	(void)path;
	return false;
#endif
}

static int job_run(void *arg)
{
	struct write_job *job = arg;
	struct stat st;
	int ret = 0;

	switch (job->what) {
	case CLUSTER_NODES_WRITE_PREPARED:
		job->mount = is_mount(job->path);
		ret = job->mount
			      ? EBUSY
			      : file_replace(job->next_path, job->text, strlen(job->text), 0600, FILE_REPLACE_DURABLE);
		break;
	case CLUSTER_NODES_WRITE_LIST:
		ret = file_replace(job->path, job->text, strlen(job->text),
				   stat(job->path, &st) == 0 ? st.st_mode & 0777 : 0644, FILE_REPLACE_DURABLE);
		if (ret != 0) {
			break;
		}
		/* fall through */
	case CLUSTER_NODES_WRITE_FORGET:
		ret = unlink(job->next_path) == 0 || errno == ENOENT ? 0 : errno;
		break;
	}
	return ret;
}

struct nodes_write_state {
	struct write_job *job; /* belongs to the request of the thread */
	struct tevent_req *sub;
};

static void write_done(struct tevent_req *sub)
{
	struct tevent_req *req = tevent_req_callback_data(sub, struct tevent_req);
	int ret = thread_job_recv(sub);

	/* sub keeps the job: its names are needed for the message. */
	if (ret != 0) {
		tevent_req_error(req, (uint64_t)ret);
	} else {
		tevent_req_done(req);
	}
}

struct tevent_req *nodes_write_send(TALLOC_CTX *mem, struct tevent_context *ev, const struct nodes_file *f,
				    enum cluster_nodes_write what, const char *text)
{
	struct nodes_write_state *state;
	struct tevent_req *req = tevent_req_create(mem, &state, struct nodes_write_state);

	if (req == NULL) {
		return NULL;
	}
	state->job = job_new(f, what, text);
	if (tevent_req_nomem(state->job, req)) {
		return tevent_req_post(req, ev);
	}
	state->sub = thread_job_send(state, ev, job_run, state->job, job_free);
	if (tevent_req_nomem(state->sub, req)) {
		state->job = NULL;
		return tevent_req_post(req, ev);
	}
	tevent_req_set_callback(state->sub, write_done, req);
	return req;
}

static const char *job_path(const struct write_job *job)
{
	return job->what == CLUSTER_NODES_WRITE_LIST ? job->path : job->next_path;
}

const char *nodes_write_path(struct tevent_req *req)
{
	struct nodes_write_state *state = tevent_req_data(req, struct nodes_write_state);

	return state->job == NULL ? "the nodes file" : job_path(state->job);
}

int nodes_write_recv(struct tevent_req *req, TALLOC_CTX *mem, char **err)
{
	struct nodes_write_state *state = tevent_req_data(req, struct nodes_write_state);
	enum tevent_req_state how;
	uint64_t error;
	int ret;

	if (!tevent_req_is_error(req, &how, &error)) {
		return 0;
	}
	ret = how == TEVENT_REQ_USER_ERROR ? (int)error : ENOMEM;
	if (state->job == NULL) {
		*err = talloc_strdup(mem, "out of memory");
	} else if (state->job->mount) {
		*err = talloc_asprintf(mem,
				       "%s is mounted by itself and cannot be replaced: mount its directory instead",
				       state->job->path);
	} else {
		*err = talloc_asprintf(mem, "%s cannot be written: %s", job_path(state->job), strerror(ret));
	}
	return ret;
}
