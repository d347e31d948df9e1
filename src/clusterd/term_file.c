/* The term file and the promise file of clusterd: written so that neither a kill nor a power cut makes a node vote
 * twice. */
#include "clusterd.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/hash.h"
#include "shared/file_replace.h"
#include "shared/log.h"
#include "shared/thread_job.h"

#define BOOT_SIZE     64
#define TEXT_SIZE     256
#define MAGIC         "ctdb-ng-term 1"
#define PROMISE_MAGIC 0x63746e6770726f31ULL

struct term_file {
	char *path, *promise_path;
	char boot[BOOT_SIZE]; /* of this boot of the machine; "" unknown */
	uint64_t incarnation;
	int promise_fd;
};

/* Native layout: never leaves the machine. */
struct promise_record {
	uint64_t magic;
	uint64_t until_ns;
	char boot[BOOT_SIZE];
	uint32_t to;
	uint32_t check; /* hash of all before it */
};

static void boot_read(char boot[BOOT_SIZE])
{
	FILE *f = fopen("/proc/sys/kernel/random/boot_id", "re");

	boot[0] = '\0';
	if (f == NULL) {
		return;
	}
	if (fscanf(f, "%63[0-9a-f-]", boot) != 1) {
		boot[0] = '\0';
	}
	fclose(f);
}

/* ---- the text of the term file ---- */

/* What the file holds. */
struct content {
	struct cluster_durable durable;
	uint64_t incarnation;
	char boot[BOOT_SIZE];
};

static void text_make(const struct content *k, char text[TEXT_SIZE])
{
	const struct cluster_durable *d = &k->durable;
	int n = snprintf(text, TEXT_SIZE,
			 MAGIC "\nterm=%" PRIu64 " vote=%" PRIu32 " led=%d incarnation=%" PRIu64 " boot=%s\n", d->term,
			 d->vote, d->led ? 1 : 0, k->incarnation, k->boot[0] == '\0' ? "-" : k->boot);

	snprintf(text + n, TEXT_SIZE - (size_t)n, "check=%08" PRIx32 "\n",
		 hash_lookup3((const uint8_t *)text, (size_t)n));
}

static int text_parse(const char *text, struct content *k)
{
	char again[TEXT_SIZE];
	int led;

	if (sscanf(text, MAGIC "\nterm=%" SCNu64 " vote=%" SCNu32 " led=%d incarnation=%" SCNu64 " boot=%63[0-9a-f-]\n",
		   &k->durable.term, &k->durable.vote, &led, &k->incarnation, k->boot) != 5) {
		return EBADMSG;
	}
	k->durable.led = led != 0;
	if (strcmp(k->boot, "-") == 0) {
		k->boot[0] = '\0';
	}
	text_make(k, again);
	return strcmp(text, again) == 0 ? 0 : EBADMSG;
}

/* ENOENT: there is none yet. */
static int term_read(const char *path, struct content *k)
{
	char text[TEXT_SIZE];
	int ret = file_read_text(path, text, sizeof(text));

	return ret != 0 ? ret : text_parse(text, k);
}

static int text_write(const char *path, const char *text)
{
	return file_replace(path, text, strlen(text), 0600, FILE_REPLACE_DURABLE);
}

/* ---- writing by a thread: syncing takes as long as the disk wants ---- */

struct write_job {
	char *path;
	char text[TEXT_SIZE];
};

static void job_free(void *arg)
{
	struct write_job *job = arg;

	free(job->path);
	free(job);
}

static int job_run(void *arg)
{
	const struct write_job *job = arg;

	return text_write(job->path, job->text);
}

static struct write_job *job_new(const char *path, const struct content *content)
{
	struct write_job *job = calloc(1, sizeof(*job));

	if (job == NULL) {
		return NULL;
	}
	job->path = strdup(path);
	if (job->path == NULL) {
		free(job);
		return NULL;
	}
	text_make(content, job->text);
	return job;
}

static void content_make(const struct term_file *f, const struct cluster_durable *durable, struct content *k)
{
	*k = (struct content){.durable = *durable, .incarnation = f->incarnation};
	memcpy(k->boot, f->boot, sizeof(k->boot));
}

struct tevent_req *term_file_write_send(TALLOC_CTX *mem, struct tevent_context *ev, struct term_file *f,
					const struct cluster_durable *durable)
{
	struct content content;

	content_make(f, durable, &content);
	return thread_job_send(mem, ev, job_run, job_new(f->path, &content), job_free);
}

int term_file_write_recv(struct tevent_req *req)
{
	return thread_job_recv(req);
}

/* ---- the promise file ---- */

static uint32_t promise_check(const struct promise_record *r)
{
	return hash_lookup3((const uint8_t *)r, offsetof(struct promise_record, check));
}

int term_file_promise(struct term_file *f, const struct cluster_promise *promise)
{
	struct promise_record r = {.magic = PROMISE_MAGIC, .until_ns = promise->until.ns, .to = promise->to};

	memcpy(r.boot, f->boot, sizeof(r.boot));
	r.check = promise_check(&r);
	if (pwrite(f->promise_fd, &r, sizeof(r), 0) != (ssize_t)sizeof(r)) {
		return errno != 0 ? errno : EIO;
	}
	return 0;
}

/* false: none, or not of this boot */
static bool promise_read(const struct term_file *f, struct cluster_promise *promise)
{
	struct promise_record r;

	if (pread(f->promise_fd, &r, sizeof(r), 0) != (ssize_t)sizeof(r) || r.magic != PROMISE_MAGIC ||
	    r.check != promise_check(&r) || memcmp(r.boot, f->boot, sizeof(r.boot)) != 0) {
		return false;
	}
	promise->until.ns = r.until_ns;
	promise->to = r.to;
	return true;
}

/*
 * What may have been promised before: as the promise file says; if it is gone, anything that was promised has ended one
 * dead interval after the machine started (its monotonic clock then: zero), or, if it was not started again since, one
 * from now.
 */
static void promise_restore(const struct term_file *f, const struct daemon *d, const char *old_boot, uint64_t term,
			    struct cluster_promise *promise)
{
	uint64_t dead_ms = d->conf->cluster.dead_interval;

	if (promise_read(f, promise) || term == 0) {
		return;
	}
	promise->to = CLUSTER_NODE_NONE;
	promise->until = strcmp(old_boot, f->boot) != 0 ? mono_add_ms(MONO_NEVER, dead_ms + dead_ms / 16)
							: mono_add_ms(mono_now(), dead_ms);
}

static int term_file_destructor(struct term_file *f)
{
	close(f->promise_fd);
	return 0;
}

static int paths_make(TALLOC_CTX *mem, const struct daemon *d, struct term_file *f, char **err)
{
	const struct conf_paths *p = &d->conf->path;

	f->path = talloc_asprintf(f, "%s/cluster-term.%u", p->db_state, (unsigned)d->pnn);
	f->promise_path = talloc_asprintf(f, "%s/cluster-promise.%u", p->run, (unsigned)d->pnn);
	if (f->path == NULL || f->promise_path == NULL) {
		return ENOMEM;
	}
	if (mkdir(p->db_state, 0700) != 0 && errno != EEXIST) {
		int ret = errno;

		*err = talloc_asprintf(mem, "%s: cannot be made: %s: check the directory above it", p->db_state,
				       strerror(ret));
		return ret;
	}
	f->promise_fd = open(f->promise_path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (f->promise_fd < 0) {
		int ret = errno;

		*err = talloc_asprintf(mem, "%s: cannot be opened: %s: check the directory and its owner",
				       f->promise_path, strerror(ret));
		return ret;
	}
	talloc_set_destructor(f, term_file_destructor);
	return 0;
}

/* Higher than any before: by the file; by the clock if the file was lost. */
static uint64_t next_incarnation(uint64_t last)
{
	struct timespec now;
	uint64_t by_clock;

	clock_gettime(CLOCK_REALTIME, &now);
	by_clock = ((uint64_t)now.tv_sec << 20) + ((uint64_t)now.tv_nsec >> 10);
	return by_clock > last ? by_clock : last + 1;
}

static int content_restore(struct term_file *f, const struct daemon *d, struct cluster_durable *durable,
			   struct cluster_promise *promise)
{
	struct content old = {.durable = {.vote = CLUSTER_NODE_NONE}}, now;
	char text[TEXT_SIZE];
	int ret = term_read(f->path, &old);

	if (ret != 0 && ret != ENOENT) {
		return ret;
	}
	*durable = old.durable;
	*promise = (struct cluster_promise){.to = CLUSTER_NODE_NONE};
	if (ret == 0) {
		promise_restore(f, d, old.boot, old.durable.term, promise);
	}
	/* Names this boot and this start; and shows now, not in the first election, whether it can be written. */
	f->incarnation = next_incarnation(old.incarnation);
	content_make(f, durable, &now);
	text_make(&now, text);
	return text_write(f->path, text);
}

int term_file_open(TALLOC_CTX *mem, const struct daemon *d, struct term_file **file, struct cluster_durable *durable,
		   struct cluster_promise *promise, uint64_t *incarnation, char **err)
{
	struct term_file *f = talloc_zero(mem, struct term_file);
	int ret;

	if (f == NULL) {
		return ENOMEM;
	}
	boot_read(f->boot);
	ret = paths_make(mem, d, f, err);
	if (ret != 0) {
		talloc_free(f);
		return ret;
	}
	ret = content_restore(f, d, durable, promise);
	if (ret != 0) {
		*err = talloc_asprintf(mem, "%s: %s: %s", f->path, ret == EBADMSG ? "damaged" : strerror(ret),
				       ret == EBADMSG ? "remove it when ctdbd of this node has been stopped for longer "
							"than the dead interval"
						      : "make it a file that can be read and written");
		talloc_free(f);
		return ret;
	}
	*incarnation = f->incarnation;
	*file = f;
	return 0;
}
