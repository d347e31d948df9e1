/* Tests of what a restarted dbd finds: a real ctdb-dbkeep beside it, dbd's part played by opening and closing the
 * databases. */
#include "dbd/test_db_util.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "protocol/dbkeep_rpc.h"
#include "shared/msg.h"

#define SECONDS 60

struct place {
	struct test_dir *t;
	pid_t keeper;
};

static void keeper_start(struct place *p)
{
	const char *program = getenv("TEST_DBKEEP");
	char number[16], c;
	int ready[2];

	assert_non_null(program);
	assert_int_equal(pipe(ready), 0);
	snprintf(number, sizeof(number), "%d", ready[1]);
	p->keeper = fork();
	assert_int_not_equal(p->keeper, -1);
	if (p->keeper == 0) {
		close(ready[0]);
		setenv("CTDB_BASE", p->t->path, 1);
		execl(program, program, "--log", "stderr", "--ready-fd", number, NULL);
		_exit(127);
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &c, 1), 1);
	close(ready[0]);
}

static void keeper_kill(struct place *p)
{
	assert_true(p->keeper > 0);
	kill(p->keeper, SIGKILL);
	while (waitpid(p->keeper, NULL, 0) == -1) {
		assert_int_equal(errno, EINTR); /* it must be gone: its socket is */
	}
	p->keeper = 0;
}

static void dbd_start(struct place *p)
{
	struct daemon *d = p->t->d;
	char *err = NULL;

	if (msg_open(d, d->ev, d->conf->path.msg_dir, "db", d->pnn, NULL, &d->msg, &err) != 0) {
		fail_msg("msg_open: %s", err);
	}
	test_dbs_open(p->t);
}

/* As after kill -9: every file is closed, nothing is told to anybody. */
static void dbd_end(struct place *p)
{
	test_dbs_close(p->t);
	TALLOC_FREE(p->t->d->msg);
}

static int setup(void **state)
{
	struct place *p = talloc_zero(NULL, struct place);
	struct conf_paths *path;
	FILE *f;

	test_dir_setup((void **)&p->t);
	path = &p->t->d->conf->path;
	p->t->d->pnn = 0;
	path->db_volatile = talloc_asprintf(p, "%s/var/volatile", p->t->path);
	path->msg_dir = talloc_asprintf(p, "%s/run/msg", p->t->path);
	assert_int_equal(mkdir(talloc_asprintf(p, "%s/run", p->t->path), 0700), 0);
	f = fopen(talloc_asprintf(p, "%s/nodes", p->t->path), "w");
	fputs("127.0.0.1\n", f);
	fclose(f);
	keeper_start(p);
	dbd_start(p);
	*state = p;
	return 0;
}

static int teardown(void **state)
{
	struct place *p = *state;

	if (p->keeper != 0) {
		keeper_kill(p);
	}
	test_dir_teardown((void **)&p->t);
	talloc_free(p);
	return 0;
}

/* ---- asking dbkeep beside dbd's own part ---- */

static uint32_t listed(struct place *p, uint32_t *flags)
{
	struct msg_addr addr = {.endpoint = "dbkeep", .node = NODE_SELF};
	struct daemon *d = p->t->d;
	TALLOC_CTX *tmp = talloc_new(d);
	struct tevent_req *req = dbkeep_list_send(tmp, d->ev, msg_client(tmp, d->msg, &addr), 10000);
	struct dbkeep_files files = {.files = {.n = 0}};
	uint32_t n;

	assert_true(tevent_req_poll(req, d->ev));
	if (dbkeep_list_recv(req, tmp, &files) != 0) {
		files.files.n = 0;
	}
	n = files.files.n;
	if (n > 0 && flags != NULL) {
		*flags = files.files.v[0].db_flags;
	}
	talloc_free(tmp);
	return n;
}

static void wait_listed(struct place *p, uint32_t n)
{
	struct mono until = mono_add_ms(mono_now(), SECONDS * 1000);

	while (listed(p, NULL) != n) {
		assert_true(mono_before(mono_now(), until));
		usleep(10000);
	}
}

/* ---- tests ---- */

static void test_kept_over_restart(void **state)
{
	struct place *p = *state;
	struct db *v, *r;

	v = test_attach(p->t, "locking.tdb", 0);
	r = test_attach(p->t, "repl.tdb", DB_REPLICATED);
	test_attach(p->t, "pers.tdb", DB_PERSISTENT);
	test_store(v->tdb, "k", 7, 0, "volatile");
	test_store(r->tdb, "k", 8, 0, "replicated");
	wait_listed(p, 2);
	dbd_end(p);
	dbd_start(p);
	assert_int_equal(dbs_count(p->t->dbs), 3);
	v = db_find_name(p->t->dbs, "locking.tdb");
	r = db_find_name(p->t->dbs, "repl.tdb");
	assert_true(v->kept);
	assert_true(r->kept);
	assert_int_equal(v->flags, 0);
	assert_int_equal(r->flags, DB_REPLICATED);
	assert_false(db_find_name(p->t->dbs, "pers.tdb")->kept);
	assert_string_equal(test_fetch(p, v->tdb, "k", NULL), "volatile");
	assert_string_equal(test_fetch(p, r->tdb, "k", NULL), "replicated");
	/* And once more: it is still held, without being told again. */
	dbd_end(p);
	dbd_start(p);
	v = db_find_name(p->t->dbs, "locking.tdb");
	assert_string_equal(test_fetch(p, v->tdb, "k", NULL), "volatile");
}

static void test_both_gone(void **state)
{
	struct place *p = *state;
	struct db *v = test_attach(p->t, "locking.tdb", 0);

	test_store(v->tdb, "k", 7, 0, "old");
	wait_listed(p, 1);
	dbd_end(p);
	keeper_kill(p);
	dbd_start(p); /* no endpoint */
	assert_int_equal(dbs_count(p->t->dbs), 0);
	v = test_attach(p->t, "locking.tdb", 0);
	assert_false(v->kept);
	assert_null(test_fetch(p, v->tdb, "k", NULL));
}

/* dbkeep dies and is started again while dbd goes on: it is told again. */
static void test_keeper_restarted(void **state)
{
	struct place *p = *state;
	struct db *v = test_attach(p->t, "locking.tdb", 0);

	test_store(v->tdb, "k", 7, 0, "v");
	wait_listed(p, 1);
	keeper_kill(p);
	keeper_start(p);
	assert_int_equal(listed(p, NULL), 0);
	wait_listed(p, 1);
	dbd_end(p);
	dbd_start(p);
	v = db_find_name(p->t->dbs, "locking.tdb");
	assert_non_null(v);
	assert_true(v->kept);
	assert_string_equal(test_fetch(p, v->tdb, "k", NULL), "v");
}

static void test_flags_are_kept(void **state)
{
	struct place *p = *state;
	struct db *v = test_attach(p->t, "locking.tdb", 0);
	struct mono until = mono_add_ms(mono_now(), SECONDS * 1000);
	uint32_t flags = 0;

	wait_listed(p, 1);
	v->flags |= DB_READONLY | DB_STICKY;
	while (flags != (DB_READONLY | DB_STICKY)) {
		assert_true(mono_before(mono_now(), until));
		listed(p, &flags);
	}
	dbd_end(p);
	dbd_start(p);
	assert_int_equal(db_find_name(p->t->dbs, "locking.tdb")->flags, DB_READONLY | DB_STICKY);
}

/* With other locking than the file was made with it is useless; dbkeep lets go of it then. */
static void test_configuration_changed(void **state)
{
	struct place *p = *state;
	struct db *v = test_attach(p->t, "locking.tdb", 0);

	if ((db_open_flags(v) & TDB_MUTEX_LOCKING) == 0) {
		skip(); /* a system without robust mutexes */
	}
	wait_listed(p, 1);
	dbd_end(p);
	p->t->d->conf->database.tdb_mutexes = false;
	dbd_start(p);
	assert_int_equal(dbs_count(p->t->dbs), 0);
	wait_listed(p, 0);
	v = test_attach(p->t, "locking.tdb", 0);
	assert_false(v->kept);
	wait_listed(p, 1);
}

/* Somebody removed the file while dbd was away. */
static void test_file_removed(void **state)
{
	struct place *p = *state;
	struct db *v = test_attach(p->t, "locking.tdb", 0);
	char *path = talloc_strdup(p, v->path);

	test_store(v->tdb, "k", 7, 0, "old");
	wait_listed(p, 1);
	dbd_end(p);
	assert_int_equal(unlink(path), 0);
	dbd_start(p);
	assert_int_equal(dbs_count(p->t->dbs), 0);
	v = test_attach(p->t, "locking.tdb", 0);
	assert_null(test_fetch(p, v->tdb, "k", NULL));
	test_store(v->tdb, "k", 1, 0, "new");
	wait_listed(p, 1);
	dbd_end(p);
	dbd_start(p);
	v = db_find_name(p->t->dbs, "locking.tdb");
	assert_string_equal(test_fetch(p, v->tdb, "k", NULL), "new");
}

/* ---- a dbkeep that answers what the test wants, within this process ---- */

struct fake {
	struct dbkeep_files answer[2];
	unsigned asked;
};

static void fake_list(void *priv, struct rpc_call *call)
{
	struct fake *f = priv;

	dbkeep_list_reply(call, &f->answer[f->asked < 1 ? 0 : 1]);
	f->asked++;
}

static int fake_dispatch(void *priv, struct rpc_call *call, uint32_t proc, const uint8_t *buf, size_t len)
{
	static const struct dbkeep_server server = {.list = fake_list};

	return dbkeep_dispatch(&server, priv, call, proc, buf, len);
}

static void fake_start(struct place *p, struct fake *f)
{
	struct daemon *d = p->t->d;
	struct msg *m = NULL;
	char *err = NULL;

	keeper_kill(p);
	if (msg_open(p, d->ev, d->conf->path.msg_dir, "dbkeep", d->pnn, NULL, &m, &err) != 0) {
		fail_msg("msg_open: %s", err);
	}
	assert_int_equal(msg_serve(m, DBKEEP_INTERFACE, DBKEEP_VERSION, fake_dispatch, f), 0);
}

static struct dbkeep_file file_of(struct place *p, struct db *db)
{
	struct dbkeep_file f = {
		.path = talloc_strdup(p, db->path),
		.name = talloc_strdup(p, db->name),
		.db_flags = db->flags,
		.tdb_flags = (uint32_t)db_open_flags(db),
		.confirmed = true,
	};
	struct stat st;

	assert_int_equal(stat(db->path, &st), 0);
	f.device = st.st_dev;
	f.inode = st.st_ino;
	return f;
}

/* Let go of between the two questions: it may have been emptied, so it counts as lost (here it was not, thanks to a
 * client). */
static void test_let_go_meanwhile(void **state)
{
	struct place *p = *state;
	struct db *v = test_attach(p->t, "locking.tdb", 0);
	struct dbkeep_file file = file_of(p, v);
	struct fake fake = {.answer = {{.files = {.n = 1, .v = &file}}}};
	struct holder *client = test_holder(p->t, v->path, db_open_flags(v), "open", NULL);

	test_store(v->tdb, "k", 7, 0, "old");
	dbd_end(p);
	fake_start(p, &fake);
	dbd_start(p);
	assert_int_equal(fake.asked, 2);
	v = db_find_name(p->t->dbs, "locking.tdb");
	assert_non_null(v);
	assert_false(v->kept);
	assert_null(test_fetch(p, v->tdb, "k", NULL));
	test_holder_end(client);
}

/* What does not fit to this node is left alone. */
static void test_strange_answers(void **state)
{
	struct place *p = *state;
	struct db *v = test_attach(p->t, "locking.tdb", 0);
	struct dbkeep_file good = file_of(p, v), file[6];
	struct fake fake = {.answer = {{.files = {.n = 6, .v = file}}, {.files = {.n = 6, .v = file}}}};
	struct holder *client = test_holder(p->t, v->path, db_open_flags(v), "open", NULL);
	char secret[] = "../../secret", other[] = "other.tdb", passwd[] = "/etc/passwd", empty[] = "";
	size_t i;

	test_store(v->tdb, "k", 7, 0, "old");
	for (i = 0; i < 6; i++) {
		file[i] = good;
	}
	file[0].name = secret;
	file[1].name = other;
	file[2].path = passwd;
	file[3].name = empty;
	file[4].db_flags = DB_PERSISTENT;
	file[5].inode++;
	dbd_end(p);
	fake_start(p, &fake);
	dbd_start(p);
	assert_int_equal(dbs_count(p->t->dbs), 0);
	assert_int_equal(test_count(good.path, (int)good.tdb_flags), 1);
	test_holder_end(client);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_kept_over_restart),     TEST(test_both_gone),
		TEST(test_keeper_restarted),      TEST(test_flags_are_kept),
		TEST(test_configuration_changed), TEST(test_file_removed),
		TEST(test_let_go_meanwhile),      TEST(test_strange_answers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
