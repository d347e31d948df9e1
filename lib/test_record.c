/* Records of volatile databases against a daemon that migrates them, or does not. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <fcntl.h>
#include <tdb.h>

#include "internal.h"
#include "test_fake_db.h"

#define PATIENCE_MS 20000U
#define SHORT_MS    150U

struct setup {
	struct fake_dbs *d;
	struct fake *f;
	struct ctdb_client *c;
	struct ctdb_db *db;
};

static struct ctdb_data S(const char *s) {
	return data_of(s, strlen(s));
}

static void
begin(struct setup *s)
{
	s->d = fake_dbs_new();
	s->f = fake_dbs_start(s->d);
	assert_int_equal(ctdb_open(NULL, fake_path(s->f), PATIENCE_MS, &s->c), 0);
	assert_int_equal(ctdb_db_attach(s->c, FAKE_VOLATILE_NAME, CTDB_DB_VOLATILE, s->c, &s->db), 0);
}

static void end(struct setup *s)
{
	talloc_free(s->c);
	fake_dbs_stop(s->f, s->d);
}

static void assert_data(struct ctdb_data d, const char *expected)
{
	assert_int_equal(d.len, strlen(expected));
	assert_memory_equal(d.data, expected, d.len);
}

static void test_lock_store_fetch(void **state)
{
	struct setup s;
	struct ctdb_record *r = NULL;
	struct ctdb_data data;
	struct ctdb_record_header h;

	begin(&s);
	assert_int_equal(ctdb_record_lock(s.db, S("k"), s.c, &r), 0);
	assert_int_equal(s.d->n_null, 1); /* it was not here */
	assert_int_equal(ctdb_record_data(r).len, 0);
	assert_int_equal(ctdb_record_header(r).dmaster, FAKE_PNN);
	h = ctdb_record_header(r);
	assert_int_equal(ctdb_record_store(r, S("")), EINVAL);
	assert_int_equal(ctdb_record_store(r, S("value")), 0);
	assert_data(ctdb_record_data(r), "value");
	talloc_free(r);
	assert_int_equal(ctdb_record_lock(s.db, S("k"), s.c, &r), 0);
	assert_int_equal(s.d->n_null, 1); /* now it is: no daemon involved */
	assert_data(ctdb_record_data(r), "value");
	assert_int_equal(ctdb_record_header(r).rsn, h.rsn); /* clients do not count */
	talloc_free(r);
	assert_int_equal(ctdb_record_fetch(s.db, S("k"), s.c, &data), 0);
	assert_data(data, "value");
	assert_int_equal(s.d->n_fetch, 0);
	end(&s);
}

/* A record whose copy here is old is asked for; one that never was here does not exist after that. */
/* The handle shows what was written last, however long it is, also if that was part of what it showed before. */
static void test_store_again_and_again(void **state)
{
	static const size_t lengths[] = {5, 30, 37, 38, 4000, 12, 4001, 1};
	uint8_t bytes[5000];
	struct setup s;
	struct ctdb_record *r = NULL;
	struct ctdb_data data;

	begin(&s);
	for (size_t i = 0; i < sizeof(bytes); i++) {
		bytes[i] = (uint8_t)(i % 251);
	}
	for (int round = 0; round < 2; round++) { /* fetched from the daemon; here already */
		assert_int_equal(ctdb_record_lock(s.db, S("k"), s.c, &r), 0);
		for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
			data = (struct ctdb_data){bytes + i, lengths[i]};
			assert_int_equal(ctdb_record_store(r, data), 0);
			assert_int_equal(ctdb_record_data(r).len, lengths[i]);
			assert_memory_equal(ctdb_record_data(r).data, bytes + i, lengths[i]);
			data = ctdb_record_data(r);
			data = (struct ctdb_data){data.data + data.len / 2, data.len - data.len / 2};
			assert_int_equal(ctdb_record_store(r, data), 0);
			assert_memory_equal(ctdb_record_data(r).data, bytes + i + lengths[i] / 2, data.len);
		}
		talloc_free(r);
		assert_int_equal(ctdb_record_fetch(s.db, S("k"), s.c, &data), 0);
		assert_int_equal(data.len, 1);
	}
	end(&s);
}

static void test_fetch_remote(void **state)
{
	struct setup s;
	struct ctdb_data data;
	struct ctdb_record_header h;

	begin(&s);
	fake_dbs_put(s.c, FAKE_VOLATILE, "r", 1, 9, "elsewhere", 9);
	assert_int_equal(ctdb_record_peek(s.db, S("r"), s.c, &h, &data), 0);
	assert_int_equal(h.dmaster, 9);
	assert_data(data, "elsewhere");
	assert_int_equal(s.d->n_fetch, 0);
	assert_int_equal(ctdb_record_fetch(s.db, S("r"), s.c, &data), 0);
	assert_data(data, "elsewhere");
	assert_int_equal(s.d->n_fetch, 1);
	assert_int_equal(ctdb_record_fetch(s.db, S("none"), s.c, &data), ENOENT);
	assert_int_equal(s.d->n_fetch, 2);
	assert_int_equal(ctdb_record_peek(s.db, S("other"), s.c, &h, &data), ENOENT);
	end(&s);
}

/* A read-only copy is good for reading, not for writing. */
static void test_header_rules(void **state)
{
	struct setup s;
	struct ctdb_record *r = NULL;

	begin(&s);
	fake_dbs_put(s.c, FAKE_VOLATILE, "mine", 4, FAKE_PNN, "x", 1);
	assert_int_equal(ctdb_record_lock(s.db, S("mine"), s.c, &r), 0);
	assert_int_equal(s.d->n_null, 0);
	talloc_free(r);
	fake_dbs_put(s.c, FAKE_VOLATILE, "theirs", 6, FAKE_PNN + 1, "x", 1);
	assert_int_equal(ctdb_record_lock(s.db, S("theirs"), s.c, &r), 0);
	assert_int_equal(s.d->n_null, 1);
	assert_data(ctdb_record_data(r), "x");
	talloc_free(r);
	end(&s);
}

/* The daemon says that it came, but it never stays: bounded. */
static void test_lock_gives_up(void **state)
{
	struct setup s;
	struct ctdb_record *r = NULL;

	begin(&s);
	s.d->never_migrate = true;
	ctdb_client_set_timeout(s.c, SHORT_MS);
	do { /* the fake daemon may not have got to it in that time */
		assert_int_equal(ctdb_record_lock(s.db, S("k"), s.c, &r), ETIMEDOUT);
		assert_null(r);
		assert_non_null(strstr(ctdb_client_error(s.c), FAKE_VOLATILE_NAME));
	} while (s.d->n_null == 0);
	s.d->silent_calls = true; /* first: a call may still be on its way */
	s.d->never_migrate = false;
	assert_int_equal(ctdb_record_lock(s.db, S("k"), s.c, &r), ETIMEDOUT);
	assert_true(dlist_empty(&s.db->file->locked));
	s.d->silent_calls = false;
	ctdb_client_set_timeout(s.c, PATIENCE_MS);
	assert_int_equal(ctdb_record_lock(s.db, S("k"), s.c, &r), 0);
	end(&s);
}

/* Another process has the chain lock. */
static void test_busy_chain(void **state)
{
	struct setup s;
	struct ctdb_record *r = NULL;
	struct ctdb_data data;
	char path[160], byte;
	int ready[2];
	pid_t pid;

	begin(&s);
	snprintf(path, sizeof(path), "%s/%s.%u", s.d->dir, FAKE_VOLATILE_NAME, FAKE_PNN);
	assert_int_equal(pipe(ready), 0);
	pid = fork();
	if (pid == 0) {
		TDB_DATA key = {.dptr = (uint8_t *)(uintptr_t) "k", .dsize = 1};
		struct tdb_context *tdb;

		tdb_close(s.db->file->tdb); /* the copy of the parent's handle; libtdb has a file open only once in a
					       process */
		tdb = tdb_open(path, 0, TDB_NOSYNC | TDB_INCOMPATIBLE_HASH | TDB_DISALLOW_NESTING, O_RDWR, 0);
		if (tdb == NULL || tdb_chainlock(tdb, key) != 0 || write(ready[1], "", 1) != 1) {
			_exit(1);
		}
		pause();
		_exit(0);
	}
	assert_int_equal(read(ready[0], &byte, 1), 1);
	ctdb_client_set_timeout(s.c, SHORT_MS);
	assert_int_equal(ctdb_record_lock(s.db, S("k"), s.c, &r), ETIMEDOUT);
	assert_int_equal(ctdb_record_fetch(s.db, S("k"), s.c, &data), ETIMEDOUT);
	assert_int_equal(s.d->n_null + s.d->n_fetch, 0);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	ctdb_client_set_timeout(s.c, PATIENCE_MS);
	assert_int_equal(ctdb_record_lock(s.db, S("k"), s.c, &r), 0);
	close(ready[0]);
	close(ready[1]);
	end(&s);
}

/* libtdb would let the same process lock twice; this library does not. */
static void test_lock_twice(void **state)
{
	struct setup s;
	struct ctdb_record *r = NULL, *again = NULL;
	struct ctdb_data data;

	begin(&s);
	assert_int_equal(ctdb_record_lock(s.db, S("k"), s.c, &r), 0);
	assert_int_equal(ctdb_record_store(r, S("v")), 0);
	ctdb_client_set_timeout(s.c, SHORT_MS);
	assert_int_equal(ctdb_record_lock(s.db, S("k"), s.c, &again), ETIMEDOUT);
	ctdb_client_set_timeout(s.c, PATIENCE_MS);
	assert_int_equal(ctdb_record_fetch(s.db, S("k"), s.c, &data), 0); /* reading what one has locked works */
	assert_data(data, "v");
	talloc_free(r);
	assert_int_equal(ctdb_record_lock(s.db, S("k"), s.c, &again), 0);
	end(&s);
}

static void wait_for(unsigned int *n, unsigned int at_least)
{
	int i;

	for (i = 0; i < 2000 && __atomic_load_n(n, __ATOMIC_SEQ_CST) < at_least; i++) {
		usleep(10000);
	}
	assert_true(__atomic_load_n(n, __ATOMIC_SEQ_CST) >= at_least);
}

static void test_delete(void **state)
{
	struct setup s;
	struct ctdb_record *r = NULL;
	struct ctdb_data data;

	begin(&s);
	assert_int_equal(ctdb_record_lock(s.db, S("k"), s.c, &r), 0);
	assert_int_equal(ctdb_record_store(r, S("v")), 0);
	assert_int_equal(ctdb_record_delete(r), 0);
	talloc_free(r);
	assert_int_equal(ctdb_client_flush(s.c), 0);
	wait_for(&s.d->n_deletions, 1);
	assert_int_equal(s.d->deleted_db, ctdb_db_id(s.db));
	assert_int_equal(s.d->deleted_keylen, 1);
	assert_int_equal(ctdb_record_fetch(s.db, S("k"), s.c, &data), ENOENT);
	assert_int_equal(s.d->n_fetch, 0); /* the empty record says so */
	end(&s);
}

static void test_models(void **state)
{
	struct setup s;
	struct ctdb_db *db = NULL, *again = NULL, *p = NULL;
	struct ctdb_record *r = NULL;

	begin(&s);
	assert_int_equal(ctdb_db_attach(s.c, FAKE_PERSISTENT_NAME, CTDB_DB_VOLATILE, s.c, &db), EEXIST);
	assert_int_equal(ctdb_db_attach(s.c, "a/b", CTDB_DB_VOLATILE, s.c, &db), EINVAL);
	assert_int_equal(ctdb_db_attach(s.c, "", CTDB_DB_VOLATILE, s.c, &db), EINVAL);
	assert_int_equal(ctdb_db_attach(s.c, FAKE_PERSISTENT_NAME, CTDB_DB_PERSISTENT, s.c, &p), 0);
	assert_int_equal(ctdb_record_lock(p, S("k"), s.c, &r), EPERM);
	assert_int_equal(ctdb_db_attach(s.c, FAKE_VOLATILE_NAME, CTDB_DB_VOLATILE, s.c, &again), 0);
	assert_ptr_equal(again->file, s.db->file);
	talloc_free(s.db);
	assert_int_equal(ctdb_record_lock(again, S("k"), s.c, &r), 0); /* the file is open while one handle is */
	end(&s);
}

/* Whoever lost the daemon may be fenced: nothing is written any more. */
static void test_store_after_loss(void **state)
{
	struct setup s;
	struct ctdb_record *r = NULL;

	begin(&s);
	assert_int_equal(ctdb_record_lock(s.db, S("k"), s.c, &r), 0);
	client_lost(s.c, ENOTCONN, "test");
	assert_int_equal(ctdb_record_store(r, S("v")), ENOTCONN);
	assert_int_equal(ctdb_record_delete(r), ENOTCONN);
	talloc_free(r);
	assert_int_equal(ctdb_record_lock(s.db, S("k"), s.c, &r), ENOTCONN);
	end(&s);
}

/* ---- read-only copies ---- */

static void test_readonly_copy(void **state)
{
	struct setup s;
	struct ctdb_data data;
	struct ctdb_record_header h;
	struct ctdb_record *r = NULL;

	begin(&s);
	s.d->readonly_copies = true;
	assert_int_equal(ctdb_record_fetch_readonly(s.db, S("k"), s.c, &h, &data), 0);
	assert_data(data, "copy");
	assert_int_equal(h.dmaster, 9);
	assert_true(h.rsn == 9 && (h.flags & CTDB_RECORD_RO_HAVE_READONLY) != 0);
	assert_int_equal(s.d->n_readonly, 1);
	assert_int_equal(ctdb_record_fetch_readonly(s.db, S("k"), s.c, &h, &data), 0); /* the copy is here now */
	assert_data(data, "copy");
	assert_true((h.flags & CTDB_RECORD_RO_HAVE_READONLY) != 0);
	assert_int_equal(ctdb_record_fetch_readonly(s.db, S("k"), s.c, NULL, &data), 0);
	assert_int_equal(ctdb_record_fetch(s.db, S("k"), s.c, &data), 0);
	assert_int_equal(s.d->n_readonly + s.d->n_fetch, 1);
	assert_int_equal(ctdb_record_lock(s.db, S("k"), s.c, &r), 0); /* not for writing */
	assert_int_equal(s.d->n_null, 1);
	end(&s);
}

/* Without copies the record comes here; an empty one does not exist; what is too short for a header is an error. */
static void test_readonly_without_copies(void **state)
{
	struct setup s;
	struct ctdb_data data;
	struct ctdb_record_header h;

	begin(&s);
	fake_dbs_put(s.c, FAKE_VOLATILE, "r", 1, 8, "elsewhere", 9);
	assert_int_equal(ctdb_record_fetch_readonly(s.db, S("r"), s.c, &h, &data), 0);
	assert_data(data, "elsewhere");
	assert_int_equal(h.dmaster, FAKE_PNN);
	assert_int_equal(h.rsn, 12);
	assert_int_equal(ctdb_record_fetch_readonly(s.db, S("none"), s.c, &h, &data), ENOENT);
	s.d->short_header = true;
	assert_int_equal(ctdb_record_fetch_readonly(s.db, S("short"), s.c, &h, &data), EPROTO);
	end(&s);
}

static void test_set_readonly(void **state)
{
	struct setup s;
	struct ctdb_db *persistent = NULL;

	begin(&s);
	assert_int_equal(ctdb_db_set_readonly(s.db), 0);
	assert_int_equal(s.d->n_set_readonly, 2); /* only the connected ones */
	assert_int_equal(s.d->set_readonly_nodes[0] + s.d->set_readonly_nodes[1], 3);
	s.d->refusing_node = 3;
	assert_int_equal(ctdb_db_set_sticky(s.db), EREMOTEIO);
	assert_int_equal(s.d->n_set_readonly, 4); /* all were asked */
	assert_int_equal(ctdb_db_attach(s.c, FAKE_PERSISTENT_NAME, CTDB_DB_PERSISTENT, s.c, &persistent), 0);
	assert_int_equal(ctdb_db_set_readonly(persistent), EPERM);
	end(&s);
}

/* ---- the file as it is ---- */

struct walk {
	unsigned int n, stop_at, seen[30];
};

static bool walk_one(void *priv, struct ctdb_data key, struct ctdb_record_header header, struct ctdb_data data)
{
	struct walk *w = priv;
	unsigned int i = (unsigned int)atoi((const char *)key.data);

	assert_true(i < 30);
	w->seen[i]++;
	assert_int_equal(header.dmaster, i);
	assert_int_equal(header.rsn, 10);
	assert_int_equal(data.len, i % 3);
	w->n++;
	return w->n != w->stop_at;
}

static void test_traverse_local(void **state)
{
	struct setup s;
	struct walk w = {.n = 0};
	char key[8];
	unsigned int i;
	uint64_t n = 99;

	begin(&s);
	assert_int_equal(ctdb_traverse_local(s.db, walk_one, &w, &n), 0);
	assert_int_equal(n, 0);
	for (i = 0; i < 30; i++) { /* of any data master, also empty ones */
		snprintf(key, sizeof(key), "%u", i);
		fake_dbs_put(s.c, FAKE_VOLATILE, key, strlen(key) + 1, i, "xx", i % 3);
	}
	assert_int_equal(ctdb_traverse_local(s.db, walk_one, &w, &n), 0);
	assert_int_equal(n, 30);
	for (i = 0; i < 30; i++) {
		assert_int_equal(w.seen[i], 1);
	}
	w = (struct walk){.stop_at = 7};
	assert_int_equal(ctdb_traverse_local(s.db, walk_one, &w, &n), 0);
	assert_int_equal(n, 7);
	assert_int_equal(w.n, 7);
	client_lost(s.c, ENOTCONN, "test");
	end(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lock_store_fetch), cmocka_unit_test(test_store_again_and_again),
		cmocka_unit_test(test_fetch_remote),     cmocka_unit_test(test_header_rules),
		cmocka_unit_test(test_lock_gives_up),    cmocka_unit_test(test_busy_chain),
		cmocka_unit_test(test_lock_twice),       cmocka_unit_test(test_delete),
		cmocka_unit_test(test_models),           cmocka_unit_test(test_store_after_loss),
		cmocka_unit_test(test_readonly_copy),    cmocka_unit_test(test_readonly_without_copies),
		cmocka_unit_test(test_set_readonly),     cmocka_unit_test(test_traverse_local),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
