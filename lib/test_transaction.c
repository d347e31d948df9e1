/* Transactions: the lock in Samba's format, and every answer that a commit can get. */
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

#include "base/mono.h"
#include "glock.h"
#include "test_fake_db.h"

#define PATIENCE_MS 20000U
#define SHORT_MS    300U
#define TRIES_MS    5000U /* must time out, and long enough for more than one try */
#define GRACE_MS    250U  /* so long, at least, others who came first are waited for */
#define OTHER_NODE  9U

struct setup {
	struct fake_dbs *d;
	struct fake *f;
	struct ctdb_client *c;
	struct ctdb_db *db, *locks;
	char lock[32];
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
	assert_int_equal(ctdb_db_attach(s->c, FAKE_PERSISTENT_NAME, CTDB_DB_PERSISTENT, s->c, &s->db), 0);
	assert_int_equal(ctdb_db_attach(s->c, "g_lock.tdb", CTDB_DB_VOLATILE, s->c, &s->locks), 0);
	snprintf(s->lock, sizeof(s->lock), "transaction_db_0x%08x", ctdb_db_id(s->db));
}

static void end(struct setup *s)
{
	talloc_free(s->c);
	fake_dbs_stop(s->f, s->d);
}

static void start(struct setup *s, struct ctdb_transaction **t)
{
	*t = NULL;
	assert_int_equal(ctdb_transaction_start(s->db, s->c, t), 0);
}

static void assert_value(struct setup *s, const char *key, const char *expected)
{
	struct ctdb_data data;
	int err = ctdb_record_fetch(s->db, S(key), s->c, &data);

	if (expected == NULL) {
		assert_int_equal(err, ENOENT);
	} else {
		assert_int_equal(err, 0);
		assert_int_equal(data.len, strlen(expected));
		assert_memory_equal(data.data, expected, data.len);
	}
}

/* Whether somebody holds the lock, as the file says. */
static bool is_locked(struct setup *s)
{
	struct ctdb_record_header h;
	struct ctdb_data data = {0};
	struct server_id id;
	struct glock g;
	int err = ctdb_record_peek(s->locks, data_of(s->lock, strlen(s->lock) + 1), s->c, &h, &data);

	assert_true(err == 0 || err == ENOENT);
	glock_parse(data, &g);
	return glock_holder(&g, 0, &id);
}

static void hold_lock(struct setup *s, const struct server_id *holder, const uint8_t *watcher)
{
	struct glock g = {.holder = *holder,
			  .lock_epoch = 1,
			  .data_epoch = 2,
			  .n_watchers = watcher != NULL,
			  .watchers = watcher};
	struct ctdb_data data;

	assert_int_equal(glock_build(s->c, &g, &data), 0);
	fake_dbs_put(s->c, FAKE_GLOCK, s->lock, strlen(s->lock) + 1, FAKE_PNN, data.data, data.len);
}

static void test_commit(void **state)
{
	struct setup s;
	struct ctdb_transaction *t;
	struct ctdb_data data;

	begin(&s);
	start(&s, &t);
	assert_true(is_locked(&s));
	assert_int_equal(ctdb_transaction_store(t, S("a"), S("1")), 0);
	assert_int_equal(ctdb_transaction_store(t, S("b"), S("2")), 0);
	assert_int_equal(ctdb_transaction_store(t, S("a"), S("3")), 0);
	assert_int_equal(ctdb_transaction_store(t, S("c"), S("")), EINVAL);
	assert_int_equal(ctdb_transaction_fetch(t, S("a"), s.c, &data), 0);
	assert_memory_equal(data.data, "3", 1);
	assert_value(&s, "a", NULL); /* nothing is written before the commit */
	assert_int_equal(ctdb_transaction_commit(t), 0);
	assert_int_equal(s.d->n_commits, 1);
	assert_value(&s, "a", "3");
	assert_value(&s, "b", "2");
	assert_false(is_locked(&s));
	assert_int_equal(ctdb_transaction_commit(t), EINVAL);
	assert_int_equal(ctdb_transaction_store(t, S("a"), S("4")), EINVAL);
	talloc_free(t);
	start(&s, &t);
	assert_int_equal(ctdb_transaction_delete(t, S("a")), 0);
	assert_int_equal(ctdb_transaction_fetch(t, S("a"), s.c, &data), ENOENT);
	assert_int_equal(ctdb_transaction_fetch(t, S("b"), s.c, &data), 0);
	assert_int_equal(ctdb_transaction_commit(t), 0);
	assert_value(&s, "a", NULL);
	assert_value(&s, "b", "2");
	end(&s);
}

/* Nothing was sent: it is certain that nothing was stored, and the lock goes back. */
static void test_too_large(void **state)
{
	const size_t len = 40U * 1024 * 1024;
	struct setup s;
	struct ctdb_transaction *t;
	uint8_t *big;

	begin(&s);
	big = talloc_zero_array(s.c, uint8_t, len);
	assert_non_null(big);
	start(&s, &t);
	assert_int_equal(ctdb_transaction_store(t, S("a"), data_of(big, len)), 0);
	assert_int_equal(ctdb_transaction_store(t, S("b"), data_of(big, len)), 0);
	assert_int_equal(ctdb_transaction_commit(t), EMSGSIZE);
	assert_false(ctdb_transaction_uncertain(t));
	assert_int_equal(s.d->n_commits, 0);
	assert_false(is_locked(&s));
	talloc_free(t);
	start(&s, &t);
	assert_int_equal(ctdb_transaction_store(t, S("a"), S("1")), 0);
	assert_int_equal(ctdb_transaction_commit(t), 0);
	assert_value(&s, "a", "1");
	end(&s);
}

/* As many as a script may have, while the cluster waits: with a linear search this test takes a quarter of an hour. */
static void test_many_changes(void **state)
{
	enum { N = 200000 };
	struct setup s;
	struct ctdb_transaction *t;
	struct ctdb_data data;
	char key[16];

	begin(&s);
	start(&s, &t);
	for (unsigned int i = 0; i < 2 * N; i++) {
		snprintf(key, sizeof(key), "%u", i % N);
		assert_int_equal(ctdb_transaction_store(t, S(key), i < N ? S("old") : S(key)), 0);
	}
	for (unsigned int i = 0; i < N; i += 997) {
		snprintf(key, sizeof(key), "%u", i);
		assert_int_equal(ctdb_transaction_fetch(t, S(key), s.c, &data), 0);
		assert_int_equal(data.len, strlen(key));
		assert_memory_equal(data.data, key, data.len);
	}
	assert_int_equal(ctdb_transaction_fetch(t, S("other"), s.c, &data), ENOENT);
	assert_int_equal(ctdb_transaction_cancel(t), 0);
	end(&s);
}

/* What makes no difference is not sent. */
static void test_no_change(void **state)
{
	struct setup s;
	struct ctdb_transaction *t;

	begin(&s);
	start(&s, &t);
	assert_int_equal(ctdb_transaction_commit(t), 0);
	talloc_free(t);
	fake_dbs_put(s.c, FAKE_PERSISTENT, "a", 1, 0, "same", 4);
	start(&s, &t);
	assert_int_equal(ctdb_transaction_store(t, S("a"), S("same")), 0);
	assert_int_equal(ctdb_transaction_delete(t, S("none")), 0);
	assert_int_equal(ctdb_transaction_commit(t), 0);
	assert_int_equal(s.d->n_commits, 0);
	assert_false(is_locked(&s));
	end(&s);
}

/* Refused without effect: again until it is done. */
static void test_commit_again(void **state)
{
	struct setup s;
	struct ctdb_transaction *t;

	begin(&s);
	s.d->commit_status = 1;
	s.d->commit_failures = 2;
	start(&s, &t);
	assert_int_equal(ctdb_transaction_store(t, S("a"), S("1")), 0);
	assert_int_equal(ctdb_transaction_commit(t), 0);
	assert_int_equal(s.d->n_commits, 3);
	assert_value(&s, "a", "1");
	end(&s);
}

/* Ended by a recovery that completed it: not again. */
static void test_commit_completed_by_recovery(void **state)
{
	struct setup s;
	struct ctdb_transaction *t;

	begin(&s);
	s.d->commit_status = 2;
	s.d->commit_failures = 1;
	s.d->commit_stores = true;
	start(&s, &t);
	assert_int_equal(ctdb_transaction_store(t, S("a"), S("1")), 0);
	assert_int_equal(ctdb_transaction_commit(t), 0);
	assert_int_equal(s.d->n_commits, 1);
	assert_value(&s, "a", "1");
	assert_false(is_locked(&s));
	end(&s);
}

static void test_commit_overtaken(void **state)
{
	struct setup s;
	struct ctdb_transaction *t;

	begin(&s);
	s.d->commit_status = -1;
	s.d->commit_failures = 1;
	s.d->other_commits = true;
	start(&s, &t);
	assert_int_equal(ctdb_transaction_store(t, S("a"), S("1")), 0);
	assert_int_equal(ctdb_transaction_commit(t), ECANCELED);
	assert_int_equal(s.d->n_commits, 1);
	assert_false(is_locked(&s));
	end(&s);
}

/* Never accepted: a time-out, and the lock is kept since nobody knows what the daemon still does. */
static void test_commit_uncertain(void **state)
{
	struct setup s;
	struct ctdb_transaction *t;

	begin(&s);
	s.d->commit_status = -1;
	s.d->commit_failures = 1000000;
	start(&s, &t);
	assert_int_equal(ctdb_transaction_store(t, S("a"), S("1")), 0);
	ctdb_client_set_timeout(s.c, TRIES_MS);
	assert_int_equal(ctdb_transaction_commit(t), ETIMEDOUT);
	ctdb_client_set_timeout(s.c, PATIENCE_MS);
	assert_true(s.d->n_commits > 1);
	assert_true(ctdb_transaction_uncertain(t));
	assert_int_equal(ctdb_transaction_cancel(t), EINVAL);
	talloc_free(t);
	assert_true(is_locked(&s));
	end(&s);
}

static void test_cancel_and_free(void **state)
{
	struct setup s;
	struct ctdb_transaction *t;

	begin(&s);
	start(&s, &t);
	assert_int_equal(ctdb_transaction_store(t, S("a"), S("1")), 0);
	assert_int_equal(ctdb_transaction_cancel(t), 0);
	assert_false(is_locked(&s));
	talloc_free(t);
	start(&s, &t);
	assert_true(is_locked(&s));
	talloc_free(t);
	assert_false(is_locked(&s));
	assert_int_equal(s.d->n_commits, 0);
	assert_value(&s, "a", NULL);
	end(&s);
}

static void test_volatile(void **state)
{
	struct setup s;
	struct ctdb_transaction *t = NULL;

	begin(&s);
	assert_int_equal(ctdb_transaction_start(s.locks, s.c, &t), EPERM);
	assert_null(t);
	end(&s);
}

/* ---- somebody else has the lock ---- */

static void test_holder_on_other_node(void **state)
{
	struct server_id samba = {.pid = 100, .vnn = OTHER_NODE, .unique = 77};
	struct setup s;
	struct ctdb_transaction *t = NULL;

	begin(&s);
	hold_lock(&s, &samba, NULL);
	s.d->exists = true;
	ctdb_client_set_timeout(s.c, TRIES_MS);
	assert_int_equal(ctdb_transaction_start(s.db, s.c, &t), ETIMEDOUT);
	assert_non_null(strstr(ctdb_client_error(s.c), "process 100 of node 9"));
	assert_true(s.d->n_exists > 0);
	s.d->exists = false; /* it died */
	ctdb_client_set_timeout(s.c, PATIENCE_MS);
	start(&s, &t);
	talloc_free(t);
	assert_false(is_locked(&s));
	end(&s);
}

/* holder gets the pid of a new process. */
static void hold_by_child(struct setup *s, struct server_id *holder)
{
	pid_t pid = fork();

	if (pid == 0) {
		pause();
		_exit(0);
	}
	assert_true(pid > 0);
	holder->pid = (uint64_t)pid;
	hold_lock(s, holder, NULL);
}

static void child_ends(const struct server_id *holder)
{
	kill((pid_t)holder->pid, SIGKILL);
	waitpid((pid_t)holder->pid, NULL, 0);
}

/* A process that has no number: the kernel is asked, not the daemon. */
static void test_holder_on_this_node(void **state)
{
	struct server_id holder = {.vnn = FAKE_PNN, .unique = GLOCK_UNIQUE_NOT_SAMBA};
	struct setup s;
	struct ctdb_transaction *t = NULL;
	int err;

	begin(&s);
	hold_by_child(&s, &holder);
	ctdb_client_set_timeout(s.c, SHORT_MS);
	err = ctdb_transaction_start(s.db, s.c, &t);
	child_ends(&holder);
	assert_int_equal(err, ETIMEDOUT);
	ctdb_client_set_timeout(s.c, PATIENCE_MS);
	start(&s, &t);
	assert_int_equal(s.d->n_exists, 0);
	end(&s);
}

/* The process id lives, and perhaps it is another process by now: the daemon knows, by the number that only one had. */
static void check_process_id_used_again(struct server_id holder, uint64_t srvid)
{
	struct setup s;
	struct ctdb_transaction *t = NULL;
	int err;

	begin(&s);
	hold_by_child(&s, &holder);
	s.d->exists = true;
	ctdb_client_set_timeout(s.c, TRIES_MS);
	err = ctdb_transaction_start(s.db, s.c, &t);
	s.d->exists = false;
	ctdb_client_set_timeout(s.c, PATIENCE_MS);
	if (err == ETIMEDOUT) {
		start(&s, &t);
	}
	child_ends(&holder);
	assert_int_equal(err, ETIMEDOUT);
	assert_true(s.d->n_exists > 0);
	assert_true(s.d->asked_srvid == srvid);
	end(&s);
}

static void test_process_id_used_again(void **state)
{
	struct server_id samba = {.vnn = FAKE_PNN, .unique = 5}, ours = {.task = 0x1234, .vnn = FAKE_PNN};

	check_process_id_used_again(samba, 5);
	ours.unique = GLOCK_UNIQUE_NOT_SAMBA;
	check_process_id_used_again(ours, GLOCK_SRVID | 0x1234);
}

/* Whoever holds a lock is in it under a number that the daemon was told before. */
static void test_holder_is_named(void **state)
{
	struct ctdb_record_header h;
	struct ctdb_data data = {0};
	struct setup s;
	struct ctdb_transaction *t = NULL;
	struct glock g;
	uint64_t srvid = 0;

	begin(&s);
	start(&s, &t);
	assert_int_equal(ctdb_record_peek(s.locks, data_of(s.lock, strlen(s.lock) + 1), s.c, &h, &data), 0);
	glock_parse(data, &g);
	assert_int_equal(g.holder.pid, getpid());
	assert_int_equal(g.holder.task, s.c->lock_id);
	assert_true(glock_holder_srvid(&g.holder, &srvid));
	assert_true(srvid == s.d->registered);
	end(&s);
}

/* Two of one process exclude each other, too. */
static void test_own_transaction(void **state)
{
	struct setup s;
	struct ctdb_transaction *t, *second = NULL;

	begin(&s);
	start(&s, &t);
	ctdb_client_set_timeout(s.c, SHORT_MS);
	assert_int_equal(ctdb_transaction_start(s.db, s.c, &second), ETIMEDOUT);
	ctdb_client_set_timeout(s.c, PATIENCE_MS);
	assert_int_equal(ctdb_transaction_cancel(t), 0);
	assert_int_equal(ctdb_transaction_start(s.db, s.c, &second), 0);
	end(&s);
}

/* A process of Samba that waits is kept in the record and told when the lock is free. */
static void test_watcher(void **state)
{
	struct server_id self = {.pid = (uint64_t)getpid(), .vnn = FAKE_PNN, .unique = GLOCK_UNIQUE_NOT_SAMBA},
			 waiter = {.pid = 4242, .vnn = 2, .unique = 8}, id;
	uint8_t watcher[GLOCK_WATCHER_SIZE] = {0};
	uint32_t type;
	struct setup s;
	struct ctdb_transaction *t = NULL;
	int i;

	server_id_put(watcher, &waiter);
	watcher[GLOCK_SERVER_ID_SIZE] = 0x2A;
	begin(&s);
	start(&s, &t);
	self.task = s.c->lock_id;
	hold_lock(&s, &self, watcher); /* it came while the transaction was going on */
	assert_int_equal(ctdb_transaction_cancel(t), 0);
	assert_int_equal(ctdb_client_flush(s.c), 0);
	for (i = 0; i < 2000 && __atomic_load_n(&s.d->n_messages, __ATOMIC_SEQ_CST) == 0; i++) {
		usleep(10000);
	}
	assert_int_equal(s.d->n_messages, 1);
	assert_false(s.d->message_early);
	assert_int_equal(s.d->message_srvid, 4242);
	assert_int_equal(s.d->message_node, 2);
	assert_int_equal(s.d->message_len, 60);
	server_id_get(s.d->message, &id);
	assert_true(server_id_equal(&id, &waiter));
	memcpy(&type, s.d->message + 48, 4);
	assert_int_equal(type, 4003);
	assert_int_equal(s.d->message[52], 0x2A);
	assert_false(is_locked(&s));
	assert_int_equal(s.d->n_deletions, 0); /* the record stays: the waiter is in it */
	end(&s);
}

/* How many wait in the record, and the first of them. */
static uint32_t queue(struct setup *s, struct server_id *first)
{
	struct ctdb_record_header h;
	struct ctdb_data data = {0};
	struct glock g;

	assert_int_equal(ctdb_record_peek(s->locks, data_of(s->lock, strlen(s->lock) + 1), s->c, &h, &data), 0);
	glock_parse(data, &g);
	if (g.n_watchers > 0) {
		server_id_get(g.watchers, first);
	}
	return g.n_watchers;
}

/* Whoever waits is in the record, once; and is gone from it when it has got the lock. */
static void test_queue_self(void **state)
{
	struct server_id samba = {.pid = 100, .vnn = OTHER_NODE, .unique = 77}, first;
	struct setup s;
	struct ctdb_transaction *t = NULL;
	struct tevent_req *req;
	bool never = false;

	begin(&s);
	hold_lock(&s, &samba, NULL);
	s.d->exists = true;
	req = ctdb_transaction_start_send(s.c, s.db);
	do {
		assert_int_equal(ctdb_client_wait(s.c, TRIES_MS, &never), ETIMEDOUT);
		assert_true(tevent_req_is_in_progress(req));
	} while (s.d->n_exists <= 1); /* it looks again and again */
	assert_int_equal(queue(&s, &first), 1);
	assert_int_equal(first.pid, getpid());
	s.d->exists = false;
	assert_int_equal(sync_run(s.c, req), 0);
	assert_int_equal(ctdb_transaction_start_recv(req, s.c, &t), 0);
	assert_int_equal(queue(&s, &first), 0);
	end(&s);
}

/* The lock is free, but others came first: they are waited for, though not for ever. */
static void test_queue_others(void **state)
{
	struct server_id nobody = {.pid = 0}, waiter = {.pid = 4242, .vnn = 2, .unique = 8}, first;
	uint8_t watcher[GLOCK_WATCHER_SIZE] = {0};
	struct setup s;
	struct ctdb_transaction *t = NULL;
	struct tevent_req *req;
	struct mono before;
	bool never = false;

	server_id_put(watcher, &waiter);
	begin(&s);
	hold_lock(&s, &nobody, watcher);
	before = mono_now();
	req = ctdb_transaction_start_send(s.c, s.db);
	assert_int_equal(ctdb_client_wait(s.c, 30, &never), ETIMEDOUT);
	if (mono_ms_between(before, mono_now()) < GRACE_MS) {
		assert_true(tevent_req_is_in_progress(req));
	}
	assert_int_equal(sync_run(s.c, req), 0);
	assert_int_equal(ctdb_transaction_start_recv(req, s.c, &t), 0);
	assert_true(is_locked(&s));
	assert_int_equal(queue(&s, &first), 0); /* it did not come: its place is gone */
	end(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_commit),
		cmocka_unit_test(test_no_change),
		cmocka_unit_test(test_too_large),
		cmocka_unit_test(test_many_changes),
		cmocka_unit_test(test_commit_again),
		cmocka_unit_test(test_commit_completed_by_recovery),
		cmocka_unit_test(test_commit_overtaken),
		cmocka_unit_test(test_commit_uncertain),
		cmocka_unit_test(test_cancel_and_free),
		cmocka_unit_test(test_volatile),
		cmocka_unit_test(test_holder_on_other_node),
		cmocka_unit_test(test_holder_on_this_node),
		cmocka_unit_test(test_process_id_used_again),
		cmocka_unit_test(test_holder_is_named),
		cmocka_unit_test(test_own_transaction),
		cmocka_unit_test(test_watcher),
		cmocka_unit_test(test_queue_self),
		cmocka_unit_test(test_queue_others),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
