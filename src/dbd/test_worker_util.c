/* For the tests of workers. */
#include "dbd/test_worker_util.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct worker_pool *test_pool_of(struct test_dir *t, const char *program, unsigned n)
{
	struct worker_pool *pool = NULL;
	char *err = NULL;

	assert_non_null(program);
	if (worker_pool_new(t, t->d->ev, program, n, &pool, &err) != 0) {
		fail_msg("worker_pool_new: %s", err);
	}
	return pool;
}

struct worker_pool *test_pool(struct test_dir *t, unsigned n)
{
	return test_pool_of(t, getenv("TEST_WORKER"), n);
}

struct tevent_req *test_send(struct test_dir *t, struct worker_pool *pool, struct db *db, enum worker_op op,
			     struct worker_job **job)
{
	struct worker_args args = {.op = op};
	struct tevent_req *req = worker_job_send(t, t->d->ev, pool, db, &args, NULL, NULL, job);

	assert_non_null(req);
	return req;
}

int test_wait(struct test_dir *t, struct tevent_req *req, struct worker_state *state)
{
	int error;

	assert_non_null(req);
	assert_true(tevent_req_set_endtime(req, t->d->ev, tevent_timeval_current_ofs(TEST_SECONDS, 0)));
	assert_true(tevent_req_poll(req, t->d->ev));
	error = worker_job_recv(req, state);
	talloc_free(req);
	return error;
}

int test_run(struct test_dir *t, struct worker_pool *pool, struct db *db, enum worker_op op, struct worker_state *state)
{
	return test_wait(t, test_send(t, pool, db, op, NULL), state);
}

int test_update(struct test_dir *t, struct worker_pool *pool, struct db *db, struct ctdb_blob input)
{
	struct worker_args args = {.op = WORKER_UPDATE, .input = input};

	return test_wait(t, worker_job_send(t, t->d->ev, pool, db, &args, NULL, NULL, NULL), NULL);
}

static void set_flag(struct tevent_context *ev, struct tevent_timer *te, struct timeval now, void *priv)
{
	*(bool *)priv = true;
}

void test_loop_until(struct test_dir *t, const bool *flag)
{
	TALLOC_CTX *tmp = talloc_new(t);
	bool *late = talloc_zero(tmp, bool);

	tevent_add_timer(t->d->ev, tmp, tevent_timeval_current_ofs(TEST_SECONDS, 0), set_flag, late);
	while (!*flag && !*late) {
		assert_int_equal(tevent_loop_once(t->d->ev), 0);
	}
	assert_true(*flag);
	talloc_free(tmp);
}

void test_loop_ms(struct test_dir *t, unsigned ms)
{
	/* In parts: if this process was kept from running, a timer that is over comes before what else happened. */
	for (int i = 0; i < 10; i++) {
		bool over = false;

		tevent_add_timer(t->d->ev, t, tevent_timeval_current_ofs(0, ms * 100), set_flag, &over);
		test_loop_until(t, &over);
	}
}

/* ---- records ---- */

static void add_record(TALLOC_CTX *mem, struct ctdb_blob *b, const char *text)
{
	struct rec_header h = {.dmaster = 3};
	char key[64], *data;
	unsigned long long rsn;
	size_t n, datalen;
	uint8_t *value;
	int at = 0;

	assert_int_equal(sscanf(text, "%63s %llu %n", key, &rsn, &at), 2);
	data = talloc_strdup(mem, strcmp(text + at, "-") == 0 ? "" : text + at);
	h.rsn = rsn;
	datalen = REC_HEADER_SIZE + strlen(data);
	value = talloc_size(mem, datalen);
	rec_header_put(value, &h);
	memcpy(value + REC_HEADER_SIZE, data, strlen(data));
	n = recdata_size(strlen(key), datalen);
	b->data = talloc_realloc(mem, b->data, uint8_t, b->len + n);
	recdata_put(b->data + b->len, 0, key, (uint32_t)strlen(key), value, (uint32_t)datalen);
	b->len += (uint32_t)n;
}

static uint32_t add_records(TALLOC_CTX *mem, struct ctdb_blob *b, const char *first, va_list ap)
{
	const char *text;
	uint32_t n = 0;

	for (text = first; text != NULL; text = va_arg(ap, const char *)) {
		add_record(mem, b, text);
		n++;
	}
	return n;
}

struct ctdb_blob test_recbuf(TALLOC_CTX *mem, uint32_t db_id, const char *first, ...)
{
	struct ctdb_blob b = {.len = RECBUF_HEAD, .data = talloc_size(mem, RECBUF_HEAD)};
	uint32_t n;
	va_list ap;

	va_start(ap, first);
	n = add_records(mem, &b, first, ap);
	va_end(ap);
	memcpy(b.data, &db_id, 4);
	memcpy(b.data + 4, &n, 4);
	return b;
}

struct ctdb_blob test_records(TALLOC_CTX *mem, const char *first, ...)
{
	struct ctdb_blob b = {.len = 0};
	va_list ap;

	va_start(ap, first);
	add_records(mem, &b, first, ap);
	va_end(ap);
	return b;
}

/* ---- processes ---- */

char *test_crash_program(struct test_dir *t, const char *at)
{
	char *path = talloc_asprintf(t, "%s/crashing-worker", t->path);
	FILE *f = fopen(path, "w");

	fprintf(f, "#!/bin/sh\nASAN_OPTIONS=verify_asan_link_order=0 TEST_CRASH_AT=%s LD_PRELOAD=%s exec %s \"$@\"\n",
		at, getenv("TEST_CRASH_SHIM"), getenv("TEST_WORKER"));
	fclose(f);
	assert_int_equal(chmod(path, 0700), 0);
	return path;
}

void test_arm(const char *at, unsigned n)
{
	FILE *f = fopen(at, "w");

	fprintf(f, "%u\n", n);
	fclose(f);
}

static bool is_worker_of_ours(pid_t pid)
{
	char path[64], comm[64] = "", state = '?';
	int ppid = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	f = fopen(path, "r");
	if (f == NULL) {
		return false;
	}
	if (fscanf(f, "%*d (%63[^)]) %c %d", comm, &state, &ppid) != 3) {
		ppid = 0;
	}
	fclose(f);
	return ppid == getpid() && state != 'Z' && strcmp(comm, "ctdb-db-worker") == 0;
}

int test_worker_pids(pid_t *pids, int max)
{
	DIR *dir = opendir("/proc");
	struct dirent *e;
	int n = 0;

	while ((e = readdir(dir)) != NULL) {
		pid_t pid = atoi(e->d_name);

		if (pid > 0 && is_worker_of_ours(pid)) {
			if (n < max) {
				pids[n] = pid;
			}
			n++;
		}
	}
	closedir(dir);
	return n;
}
