/* Tests of journals of persistent databases: kills and power cuts at every step, and what is found at the next start.
 */
#include "dbd/test_journal_util.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "dbd/journal.h"
#include "dbd/journal_file.h"

static struct db *scene(struct test_dir *t)
{
	t->d->conf->database.journal = true;
	test_dbs_open(t);
	return test_attach(t, TEST_JOURNAL_NAME, DB_PERSISTENT);
}

static char *beside(TALLOC_CTX *mem, const struct db *db, const char *what)
{
	return talloc_asprintf(mem, "%s.%s", db->path, what);
}

/* The daemon starts again. */
static struct db *again(struct test_dir *t)
{
	struct db *db;

	test_dbs_close(t);
	test_dbs_open(t);
	db = db_find_name(t->dbs, TEST_JOURNAL_NAME);
	assert_non_null(db);
	return db;
}

/* ---- begin and end ---- */

static void test_begins_and_ends(void **state)
{
	struct test_dir *t = *state;
	struct worker_pool *pool = test_pool(t, 1);
	struct db *db = scene(t);
	struct worker_state s;
	uint64_t n;

	for (n = 1; n <= 8; n++) {
		test_assert_journal(t, db, false);
		assert_false(db->writes->journal && n > 1);
		db->writes->window = mono_now();
		assert_int_equal(test_update(t, pool, db, test_transaction(t, db->id, n)), 0);
	}
	test_assert_journal(t, db, true);
	assert_true(db->writes->journal);
	for (; n <= 40; n++) {
		assert_int_equal(test_journal_commit(t, pool, db, n, n % 2), 0);
	}
	assert_int_equal(test_run(t, pool, db, WORKER_SEQNUM, &s), 0);
	assert_int_equal(s.seqnum, 40);
	test_assert_journal(t, db, true);
	assert_int_equal(test_journal_state(db->tdb), 40);
	/* A transaction that is refused leaves no trace. */
	assert_int_equal(test_journal_commit(t, pool, db, 33, true), EEXIST);
	assert_int_equal(test_journal_state(db->tdb), 40);
	assert_int_equal(test_run(t, pool, db, WORKER_SETTLE, NULL), 0);
	test_assert_journal(t, db, false);
	assert_int_equal(test_journal_commit(t, pool, db, 41, false), 0);
	test_assert_journal(t, db, false);
	assert_int_equal(test_journal_state(db->tdb), 41);
}

static void test_switched_off(void **state)
{
	struct test_dir *t = *state;
	struct worker_pool *pool = test_pool(t, 1);
	struct db *db = scene(t);

	assert_int_equal(test_journal_commit(t, pool, db, 1, true), 0);
	test_assert_journal(t, db, true);
	t->d->conf->database.journal = false;
	assert_int_equal(test_journal_commit(t, pool, db, 2, true), 0);
	test_assert_journal(t, db, false);
	assert_int_equal(test_journal_state(db->tdb), 2);
}

/* What changes the file in another way ends it before. */
static void test_other_changes(void **state)
{
	struct test_dir *t = *state;
	struct worker_pool *pool = test_pool(t, 1);
	struct db *db = scene(t);
	struct worker_job *job;
	struct tevent_req *req;
	struct ctdb_blob r;

	assert_int_equal(test_journal_commit(t, pool, db, 1, true), 0);
	test_assert_journal(t, db, true);
	assert_int_equal(test_run(t, pool, db, WORKER_WIPE, NULL), 0);
	test_assert_journal(t, db, false);
	assert_int_equal(test_journal_commit(t, pool, db, 1, true), 0);
	req = test_send(t, pool, db, WORKER_REPLACE, &job);
	r = test_records(t, "x 1 y", NULL);
	worker_job_feed(job, r.data, r.len, true);
	assert_int_equal(test_wait(t, req, NULL), 0);
	test_assert_journal(t, db, false);
	test_reboot(t, 1);
	db = again(t);
	assert_string_equal(test_fetch(t, db->tdb, "x", NULL), "y");
	test_same_boot();
}

/* Workers take turns, as they do when several databases are written. */
static void test_workers_take_turns(void **state)
{
	struct test_dir *t = *state;
	struct worker_pool *pool[3] = {test_pool(t, 1), test_pool(t, 1), test_pool(t, 1)};
	struct db *db = scene(t);
	struct stat first, last;
	uint64_t n;

	assert_int_equal(test_journal_commit(t, pool[0], db, 1, true), 0);
	assert_int_equal(stat(beside(t, db, "journal"), &first), 0);
	for (n = 2; n <= 60; n++) {
		assert_int_equal(test_journal_commit(t, pool[n * n % 3], db, n, true), 0);
		if (n % 20 == 0) {
			TALLOC_FREE(pool[1]);
			pool[1] = test_pool(t, 1);
		}
	}
	assert_int_equal(stat(beside(t, db, "journal"), &last), 0);
	assert_int_equal(first.st_ino, last.st_ino);
	assert_int_equal(test_journal_state(db->tdb), 60);
	test_reboot(t, 1);
	db = again(t);
	test_assert_journal(t, db, false);
	assert_int_equal(test_journal_state(db->tdb), 60);
	test_same_boot();
}

/* Larger than a journal may be: it ends, and another begins. A transaction that is too large is done without. */
static void test_full(void **state)
{
	struct test_dir *t = *state;
	struct worker_pool *pool = test_pool(t, 1);
	char *big = talloc_size(t, JOURNAL_ENTRY_MAX);
	struct db *db = scene(t);
	struct stat before, after;
	struct ctdb_blob b;
	unsigned i, renewed = 0;
	size_t n;

	memset(&before, 0, sizeof(before));
	for (i = 1; i <= 12; i++) {
		snprintf(big, 32, "big %u ", i);
		n = strlen(big);
		memset(big + n, 'a' + (int)i, JOURNAL_ENTRY_MAX * 3 / 4);
		big[n + JOURNAL_ENTRY_MAX * 3 / 4] = '\0';
		b = test_recbuf(t, db->id, big, NULL);
		db->writes->window = mono_now();
		db->writes->updates = 1000;
		assert_int_equal(test_update(t, pool, db, b), 0);
		assert_int_equal(stat(beside(t, db, "journal"), &after), 0);
		assert_true(after.st_size <= JOURNAL_BYTES_MIN + JOURNAL_ENTRY_MAX);
		renewed += after.st_ino != before.st_ino || after.st_size < before.st_size;
		before = after;
	}
	assert_true(renewed >= 3);
	snprintf(big, 32, "big %u ", i);
	n = strlen(big);
	memset(big + n, 'x', JOURNAL_ENTRY_MAX - 1 - n);
	big[JOURNAL_ENTRY_MAX - 1] = '\0';
	b = test_recbuf(t, db->id, big, big, NULL);
	assert_true(b.len > JOURNAL_ENTRY_MAX);
	assert_int_equal(test_update(t, pool, db, b), 0);
	test_assert_journal(t, db, false);
	test_reboot(t, 1);
	db = again(t);
	assert_int_equal(test_fetch(t, db->tdb, "big", NULL)[5], 'x');
	test_same_boot();
}

static void settled(void *priv)
{
	*(bool *)priv = true;
}

/* The daemon ends all of them when it stops. */
static void test_stop(void **state)
{
	struct test_dir *t = *state;
	struct worker_pool *pool = test_pool(t, 2);
	struct db *db = scene(t), *other = test_attach(t, "other.tdb", DB_PERSISTENT);
	struct journals *js;
	bool done = false;

	assert_int_equal(journals_new(t, t->dbs, pool, &js), 0);
	assert_int_equal(test_journal_commit(t, pool, db, 1, true), 0);
	assert_int_equal(test_journal_commit(t, pool, other, 1, true), 0);
	test_assert_journal(t, db, true);
	journals_stop(js, settled, &done);
	test_loop_until(t, &done);
	test_assert_journal(t, db, false);
	test_assert_journal(t, other, false);
	assert_int_equal(test_journal_commit(t, pool, db, 2, true), 0);
	test_assert_journal(t, db, false);
	done = false;
	journals_stop(js, settled, &done);
	test_loop_until(t, &done);
}

/* One that is not used any more is ended. */
static void test_idle(void **state)
{
	struct test_dir *t = *state;
	struct worker_pool *pool = test_pool(t, 2);
	struct db *db = scene(t);
	struct journals *js;

	assert_int_equal(journals_new(t, t->dbs, pool, &js), 0);
	assert_int_equal(test_journal_commit(t, pool, db, 1, true), 0);
	test_assert_journal(t, db, true);
	db->writes->updated = (struct mono){mono_now().ns - 9 * MONO_NS_PER_MS * 1000};
	while (db->writes->journal) {
		tevent_loop_once(t->d->ev);
	}
	test_assert_journal(t, db, false);
	talloc_free(js);
}

/* ---- what is found at a start ---- */

static void put_bytes(const char *path, off_t at, const void *p, size_t n)
{
	int fd = open(path, O_WRONLY);

	assert_int_not_equal(fd, -1);
	assert_int_equal(pwrite(fd, p, n, at), n);
	close(fd);
}

/* A database with a journal of n transactions; then the daemon is gone. */
static char *stopped_with(struct test_dir *t, uint64_t n)
{
	struct worker_pool *pool = test_pool(t, 1);
	struct db *db = scene(t);
	char *path = talloc_strdup(t, db->path);
	uint64_t i;

	assert_int_equal(test_journal_commit(t, pool, db, 1, false), 0);
	for (i = 2; i <= n; i++) {
		assert_int_equal(test_journal_commit(t, pool, db, i, true), 0);
	}
	test_assert_journal(t, db, true);
	talloc_free(pool);
	test_dbs_close(t);
	return path;
}

static struct db *started(struct test_dir *t)
{
	struct db *db;

	test_dbs_open(t);
	db = db_find_name(t->dbs, TEST_JOURNAL_NAME);
	assert_non_null(db);
	test_assert_journal(t, db, false);
	return db;
}

static void test_killed(void **state)
{
	struct test_dir *t = *state;

	stopped_with(t, 20);
	assert_int_equal(test_journal_state(started(t)->tdb), 20);
}

/* Whatever is in the file: it is built again. */
static void test_power_cut(void **state)
{
	struct test_dir *t = *state;
	char *path = stopped_with(t, 20);
	char junk[3000];
	struct db *db;

	memset(junk, 0x5a, sizeof(junk));
	put_bytes(path, 2000, junk, sizeof(junk));
	test_reboot(t, 1);
	db = started(t);
	assert_null(db->health);
	assert_int_equal(test_journal_state(db->tdb), 20);
	test_same_boot();
}

/* The same kernel, but the file does not pass its check. */
static void test_file_damaged(void **state)
{
	struct test_dir *t = *state;
	char *path = stopped_with(t, 20);
	char junk[3000];
	struct db *db;

	memset(junk, 0x5a, sizeof(junk));
	put_bytes(path, 2000, junk, sizeof(junk));
	db = started(t);
	assert_null(db->health);
	assert_int_equal(test_journal_state(db->tdb), 20);
}

static void test_sync_had_failed(void **state)
{
	struct test_dir *t = *state;
	struct worker_pool *pool = test_pool(t, 1), *second = test_pool(t, 1);
	struct db *db = scene(t);

	assert_int_equal(test_journal_commit(t, pool, db, 1, true), 0);
	assert_int_equal(journal_distrust(db->path), 0);
	/* Who does not know it yet may go on; it cannot be ended. */
	assert_int_equal(test_run(t, pool, db, WORKER_SETTLE, NULL), EIO);
	assert_int_equal(test_journal_commit(t, second, db, 2, true), EIO);
	assert_int_equal(test_run(t, second, db, WORKER_WIPE, NULL), EIO);
	assert_int_equal(test_run(t, second, db, WORKER_SEQNUM, NULL), EIO);
	test_assert_journal(t, db, true);
	db = again(t);
	test_assert_journal(t, db, false);
	assert_int_equal(test_journal_state(db->tdb), 1);
}

/* Where its entries begin, by their magic number; behind them the mark. */
static unsigned find_entries(const char *path, off_t *at, unsigned max)
{
	FILE *f = fopen(path, "r");
	uint64_t word;
	unsigned n = 0;
	off_t here = 0;

	while (fread(&word, sizeof(word), 1, f) == 1) {
		if ((memcmp(&word, "CTDBENT1", 8) == 0 || memcmp(&word, "CTDBDONE", 8) == 0) && n < max) {
			at[n++] = here;
		}
		here += (off_t)sizeof(word);
	}
	fclose(f);
	return n;
}

/* The beginning of an entry that never became whole: nobody was told of it, and the file does not have it. */
static void test_torn_end(void **state)
{
	struct test_dir *t = *state;
	char *path = stopped_with(t, 19);
	char *journal = journal_path(t, path);
	uint64_t number = 19;
	char entry[600];
	off_t at[64];
	FILE *f = fopen(journal, "r");

	assert_int_equal(find_entries(journal, at, 64), 19);
	assert_true(at[17] - at[16] > (off_t)sizeof(entry));
	assert_int_equal(fseek(f, at[16], SEEK_SET), 0);
	assert_int_equal(fread(entry, sizeof(entry), 1, f), 1);
	fclose(f);
	memcpy(entry + 8, &number, sizeof(number));
	put_bytes(journal, at[18], entry, sizeof(entry)); /* over the mark */
	test_reboot(t, 1);
	assert_int_equal(test_journal_state(started(t)->tdb), 19);
	test_same_boot();
}

static void check_damaged(struct test_dir *t, const char *path)
{
	struct db *db;
	DIR *dir;
	struct dirent *e;
	unsigned aside = 0;

	test_reboot(t, 1);
	db = started(t);
	assert_non_null(db->health);
	assert_non_null(strstr(db->health, "journal"));
	assert_int_equal(test_journal_state(db->tdb), 0);
	dir = opendir(t->d->conf->path.db_persistent);
	while ((e = readdir(dir)) != NULL) {
		aside += strstr(e->d_name, "corrupted") != NULL;
	}
	closedir(dir);
	assert_true(aside >= 2);
	assert_int_equal(access(path, F_OK), 0);
	test_same_boot();
}

static void test_damaged_middle(void **state)
{
	struct test_dir *t = *state;
	char *path = stopped_with(t, 20);
	char *journal = journal_path(t, path);
	off_t at[64];

	assert_int_equal(find_entries(journal, at, 64), 20);
	put_bytes(journal, at[7] + 60, "????", 4);
	check_damaged(t, path);
}

static void test_damaged_head(void **state)
{
	struct test_dir *t = *state;
	char *path = stopped_with(t, 20);

	put_bytes(journal_path(t, path), 40, "????", 4);
	check_damaged(t, path);
}

static void test_damaged_base(void **state)
{
	struct test_dir *t = *state;
	char *path = stopped_with(t, 20);

	put_bytes(journal_base_path(t, path), 5000, "????", 4);
	check_damaged(t, path);
}

static void test_missing_base(void **state)
{
	struct test_dir *t = *state;
	char *path = stopped_with(t, 20);

	assert_int_equal(unlink(journal_base_path(t, path)), 0);
	check_damaged(t, path);
}

/* Another kernel, a journal from before, and the old CTDB has gone on with the file. */
static void test_changed_by_others(void **state)
{
	struct test_dir *t = *state;
	char *path = stopped_with(t, 20);
	struct worker_pool *pool = test_pool(t, 1);
	char *journal = journal_path(t, path), *base = journal_base_path(t, path);
	char *hidden[2] = {talloc_asprintf(t, "%s/journal", t->path), talloc_asprintf(t, "%s/base", t->path)};
	struct db *db;

	t->d->conf->database.journal = false;
	assert_int_equal(rename(journal, hidden[0]), 0);
	assert_int_equal(rename(base, hidden[1]), 0);
	test_dbs_open(t);
	db = db_find_name(t->dbs, TEST_JOURNAL_NAME);
	assert_int_equal(test_journal_commit(t, pool, db, 21, false), 0);
	assert_int_equal(test_journal_commit(t, pool, db, 22, false), 0);
	test_dbs_close(t);
	assert_int_equal(rename(hidden[0], journal), 0);
	assert_int_equal(rename(hidden[1], base), 0);
	test_reboot(t, 1);
	db = started(t);
	assert_null(db->health);
	assert_int_equal(test_journal_state(db->tdb), 22);
	test_same_boot();
}

/* The file was removed: what is left of its journal does not belong to the new one. */
static void test_file_removed(void **state)
{
	struct test_dir *t = *state;
	char *path = stopped_with(t, 20);
	struct worker_pool *pool = test_pool(t, 1);
	struct db *db;

	assert_int_equal(unlink(path), 0);
	test_dbs_open(t);
	assert_null(db_find_name(t->dbs, TEST_JOURNAL_NAME));
	db = test_attach(t, TEST_JOURNAL_NAME, DB_PERSISTENT);
	test_assert_journal(t, db, false);
	assert_int_equal(test_journal_commit(t, pool, db, 1, true), 0);
	assert_int_equal(test_journal_state(db->tdb), 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, test_dir_setup, test_dir_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_begins_and_ends),
		TEST(test_switched_off),
		TEST(test_other_changes),
		TEST(test_workers_take_turns),
		TEST(test_full),
		TEST(test_stop),
		TEST(test_idle),
		TEST(test_killed),
		TEST(test_power_cut),
		TEST(test_file_damaged),
		TEST(test_sync_had_failed),
		TEST(test_torn_end),
		TEST(test_damaged_middle),
		TEST(test_damaged_head),
		TEST(test_damaged_base),
		TEST(test_missing_base),
		TEST(test_changed_by_others),
		TEST(test_file_removed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
