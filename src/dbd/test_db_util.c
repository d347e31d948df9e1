/* For the tests of databases and workers. */
#include "dbd/test_db_util.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <signal.h>
#include <unistd.h>

#define HASH_SIZE 1009

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

int test_dir_setup(void **state)
{
	char template[] = "/tmp/ctdb-test-XXXXXX";
	struct test_dir *t = talloc_zero(NULL, struct test_dir);
	struct conf *conf = talloc_zero(t, struct conf);

	assert_non_null(mkdtemp(template));
	t->path = talloc_strdup(t, template);
	t->d = talloc_zero(t, struct daemon);
	t->d->ev = tevent_context_init(t->d);
	t->d->conf = conf;
	t->d->pnn = 3;
	conf->database.hash_size = conf->database.transaction_hash_size = HASH_SIZE;
	conf->database.tdb_mutexes = true;
	conf->path.db_volatile = talloc_asprintf(conf, "%s/volatile", t->path);
	conf->path.db_persistent = talloc_asprintf(conf, "%s/deep/persistent", t->path);
	conf->path.db_state = talloc_asprintf(conf, "%s/state", t->path);
	*state = t;
	return 0;
}

int test_dir_teardown(void **state)
{
	struct test_dir *t = *state;

	test_dbs_close(t);
	nftw(t->path, remove_one, 20, FTW_DEPTH | FTW_PHYS);
	talloc_free(t);
	/* Workers were told to die; no test may begin with those of the one before. */
	while (waitpid(-1, NULL, 0) > 0) {
	}
	return 0;
}

void test_dbs_open(struct test_dir *t)
{
	char *err = NULL;

	if (dbs_open(t, t->d, &t->dbs, &err) != 0) {
		fail_msg("dbs_open: %s", err);
	}
}

void test_dbs_close(struct test_dir *t)
{
	TALLOC_FREE(t->dbs);
}

struct db *test_attach(struct test_dir *t, const char *name, uint32_t flags)
{
	struct db *db = NULL;
	bool created = false;
	char *err = NULL;

	if (db_attach(t->dbs, name, flags, &db, &created, &err) != 0) {
		fail_msg("db_attach: %s", err);
	}
	assert_true(created);
	return db;
}

/* ---- another process ---- */

static struct holder *holder_start(TALLOC_CTX *mem, const char *path, int tdb_flags, const char *verb, const char *key)
{
	struct holder *h = talloc_zero(mem, struct holder);
	const char *program = getenv("TEST_HOLDER");
	int in[2], out[2];
	char flags[16];

	assert_non_null(program);
	assert_int_equal(pipe2(in, O_CLOEXEC), 0);
	assert_int_equal(pipe2(out, O_CLOEXEC), 0);
	snprintf(flags, sizeof(flags), "%d", tdb_flags);
	h->pid = fork();
	assert_int_not_equal(h->pid, -1);
	if (h->pid == 0) {
		dup2(in[0], 0);
		dup2(out[1], 1);
		close(in[1]);
		close(out[0]);
		execl(program, program, path, flags, verb, key, NULL);
		_exit(127);
	}
	close(in[0]);
	close(out[1]);
	h->in = fdopen(in[1], "w");
	h->out = fdopen(out[0], "r");
	return h;
}

struct holder *test_holder(TALLOC_CTX *mem, const char *path, int tdb_flags, const char *verb, const char *key)
{
	struct holder *h = holder_start(mem, path, tdb_flags, verb, key);
	char line[64] = "";

	assert_non_null(fgets(line, sizeof(line), h->out));
	assert_string_equal(line, "ready\n");
	return h;
}

static void holder_reap(struct holder *h)
{
	int status;

	waitpid(h->pid, &status, 0);
	fclose(h->out);
	talloc_free(h);
}

void test_holder_end(struct holder *h)
{
	fclose(h->in);
	holder_reap(h);
}

void test_holder_kill(struct holder *h)
{
	kill(h->pid, SIGKILL);
	fclose(h->in);
	holder_reap(h);
}

long test_count(const char *path, int tdb_flags)
{
	struct holder *h = holder_start(NULL, path, tdb_flags, "count", NULL);
	long n = -1;

	if (fscanf(h->out, "%ld", &n) != 1) {
		n = -1;
	}
	test_holder_end(h);
	return n;
}

/* ---- records ---- */

static TDB_DATA key_of(const char *key)
{
	union {
		const char *in;
		unsigned char *out;
	} u = {.in = key};

	return (TDB_DATA){.dptr = u.out, .dsize = strlen(key)};
}

void test_store(struct tdb_context *tdb, const char *key, uint64_t rsn, uint32_t dmaster, const char *data)
{
	struct rec_header h = {.rsn = rsn, .dmaster = dmaster};
	size_t n = REC_HEADER_SIZE + strlen(data);
	uint8_t *buf = talloc_size(NULL, n);

	rec_header_put(buf, &h);
	memcpy(buf + REC_HEADER_SIZE, data, n - REC_HEADER_SIZE);
	assert_int_equal(tdb_store(tdb, key_of(key), (TDB_DATA){.dptr = buf, .dsize = n}, 0), 0);
	talloc_free(buf);
}

char *test_fetch(TALLOC_CTX *mem, struct tdb_context *tdb, const char *key, uint64_t *rsn)
{
	TDB_DATA d = tdb_fetch(tdb, key_of(key));
	struct rec_header h;
	char *data;

	if (d.dptr == NULL) {
		return NULL;
	}
	assert_true(rec_header_get(d.dptr, d.dsize, &h));
	data = talloc_strndup(mem, (char *)d.dptr + REC_HEADER_SIZE, d.dsize - REC_HEADER_SIZE);
	free(d.dptr);
	if (rsn != NULL) {
		*rsn = h.rsn;
	}
	return data;
}
