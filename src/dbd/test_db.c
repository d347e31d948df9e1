/* Tests of the databases of a node: attach, flags, what the start makes of files that are there. */
#include "dbd/test_db_util.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "dbd/db_int.h"

static int attach(struct test_dir *t, const char *name, uint32_t flags, struct db **db, bool *created)
{
	char *err = NULL;
	int error = db_attach(t->dbs, name, flags, db, created, &err);

	if (error != 0) {
		assert_non_null(err);
	}
	talloc_free(err);
	return error;
}

static void test_attach_and_find(void **state)
{
	struct test_dir *t = *state;
	struct db *a, *b, *again;
	bool created = true;
	struct stat st;

	test_dbs_open(t);
	a = test_attach(t, "locking.tdb", 0);
	b = test_attach(t, "secrets.tdb", DB_PERSISTENT);
	assert_int_equal(a->id, 0x7A19D84D);
	assert_int_equal(b->id, 0x7132C184);
	assert_string_equal(a->path, talloc_asprintf(t, "%s/volatile/locking.tdb.3", t->path));
	assert_string_equal(b->path, talloc_asprintf(t, "%s/deep/persistent/secrets.tdb.3", t->path));
	assert_int_equal(stat(b->path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_ptr_equal(db_find(t->dbs, a->id), a);
	assert_null(db_find(t->dbs, a->id + 1));
	assert_ptr_equal(db_find_name(t->dbs, "secrets.tdb"), b);
	assert_null(db_find_name(t->dbs, "secret.tdb"));
	assert_int_equal(dbs_count(t->dbs), 2);
	assert_ptr_equal(dlist_first(dbs_list(t->dbs)), &b->link);
	assert_int_equal(a->generation, GENERATION_NONE);
	assert_false(a->kept);
	assert_int_equal(attach(t, "locking.tdb", 0, &again, &created), 0);
	assert_ptr_equal(again, a);
	assert_false(created);
}

static void test_flags(void **state)
{
	struct test_dir *t = *state;
	struct db *v, *p, *r, *db;
	bool created;

	test_dbs_open(t);
	v = test_attach(t, "v.tdb", 0);
	p = test_attach(t, "p.tdb", DB_PERSISTENT);
	r = test_attach(t, "r.tdb", DB_REPLICATED);
	assert_int_equal(db_open_flags(v), tdb_runtime_check_for_robust_mutexes() ? 0x1C41 : 0x0C41);
	assert_int_equal(db_open_flags(p), 0x0400);
	assert_int_equal(db_open_flags(r), 0x0C41);
	assert_int_equal(tdb_get_flags(v->tdb) & db_open_flags(v), db_open_flags(v));
	assert_int_equal(tdb_hash_size(v->tdb), t->d->conf->database.hash_size);
	db_enable_seqnum(v);
	db_enable_seqnum(p);
	assert_int_equal(db_open_flags(v) & TDB_SEQNUM, TDB_SEQNUM);
	assert_int_equal(db_open_flags(p), 0x0480);
	assert_int_equal(v->tdb_flags, db_open_flags(v));
	test_store(v->tdb, "k", 1, 3, "x");
	assert_int_not_equal(tdb_get_seqnum(v->tdb), 0);
	/* Which request is served by which model. */
	assert_int_equal(attach(t, "p.tdb", 0, &db, &created), 0);
	assert_ptr_equal(db, p);
	assert_int_equal(attach(t, "v.tdb", DB_PERSISTENT, &db, &created), EINVAL);
	assert_int_equal(attach(t, "v.tdb", DB_REPLICATED, &db, &created), EINVAL);
	assert_int_equal(attach(t, "r.tdb", DB_PERSISTENT, &db, &created), EINVAL);
	assert_int_equal(attach(t, "p.tdb", DB_REPLICATED, &db, &created), EINVAL);
	assert_int_equal(attach(t, "n.tdb", DB_READONLY, &db, &created), EINVAL);
	assert_int_equal(attach(t, "n.tdb", DB_PERSISTENT | DB_REPLICATED, &db, &created), EINVAL);
	assert_int_equal(dbs_count(t->dbs), 3);
}

static void test_no_mutexes(void **state)
{
	struct test_dir *t = *state;

	t->d->conf->database.tdb_mutexes = false;
	test_dbs_open(t);
	assert_int_equal(db_open_flags(test_attach(t, "v.tdb", 0)), 0x0C41);
}

static void test_bad_names(void **state)
{
	struct test_dir *t = *state;
	char *name = talloc_strndup(t, "", 0);
	struct db *db;
	bool created;
	size_t i;
	static const char *const bad[] = {"", "a/b", "/etc/passwd", "..", ".hidden", "a\nb", "a\x7f", "\xc3\xa4.tdb"};

	test_dbs_open(t);
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(attach(t, bad[i], 0, &db, &created), EINVAL);
	}
	for (i = 0; i < 200; i++) {
		name = talloc_strdup_append(name, "n");
	}
	assert_int_equal(attach(t, name, 0, &db, &created), 0);
	name = talloc_strdup_append(name, "n");
	assert_int_equal(attach(t, name, 0, &db, &created), EINVAL);
}

static void test_persistent_comes_back(void **state)
{
	struct test_dir *t = *state;
	struct db *db;

	test_dbs_open(t);
	test_store(test_attach(t, "registry.tdb", DB_PERSISTENT)->tdb, "k", 4, 3, "value");
	test_store(test_attach(t, "not.a.suffix", DB_PERSISTENT)->tdb, "k", 4, 3, "value");
	test_dbs_close(t);
	close(open(talloc_asprintf(t, "%s/deep/persistent/other.tdb.4", t->path), O_CREAT | O_WRONLY, 0600));
	test_dbs_open(t);
	assert_int_equal(dbs_count(t->dbs), 1);
	db = db_find_name(t->dbs, "registry.tdb");
	assert_non_null(db);
	assert_int_equal(db->flags, DB_PERSISTENT);
	assert_null(db->health);
	assert_string_equal(test_fetch(t, db->tdb, "k", NULL), "value");
	/* Not attached at start for its name, but it is there when asked for. */
	db = test_attach(t, "not.a.suffix", DB_PERSISTENT);
	assert_string_equal(test_fetch(t, db->tdb, "k", NULL), "value");
}

/* Stale contents of an earlier life are never used, and whoever has the old file open is not disturbed. */
static void test_volatile_starts_empty(void **state)
{
	struct test_dir *t = *state;
	struct holder *straggler;
	struct stat before, after;
	struct db *db;
	char *path;
	int flags;

	test_dbs_open(t);
	db = test_attach(t, "locking.tdb", 0);
	test_store(db->tdb, "k", 4, 3, "stale");
	path = talloc_strdup(t, db->path);
	flags = db_open_flags(db);
	straggler = test_holder(t, path, flags, "lock", "k");
	test_dbs_close(t);
	assert_int_equal(stat(path, &before), 0);
	test_dbs_open(t);
	assert_int_equal(dbs_count(t->dbs), 0);
	db = test_attach(t, "locking.tdb", 0);
	assert_int_equal(stat(path, &after), 0);
	assert_int_not_equal(before.st_ino, after.st_ino);
	assert_null(test_fetch(t, db->tdb, "k", NULL));
	assert_int_equal(tdb_chainlock_nonblock(db->tdb, (TDB_DATA){.dptr = (unsigned char *)path, .dsize = 1}), 0);
	tdb_chainunlock(db->tdb, (TDB_DATA){.dptr = (unsigned char *)path, .dsize = 1});
	test_store(db->tdb, "k", 1, 3, "new");
	/* A client that opens it now is not the first. */
	assert_int_equal(test_count(path, flags), 1);
	test_holder_end(straggler);
	assert_int_equal(test_count(path, flags), 1);
}

static char *find_aside(struct test_dir *t, const char *prefix)
{
	DIR *dir = opendir(t->d->conf->path.db_persistent);
	char *found = NULL;
	struct dirent *e;

	while ((e = readdir(dir)) != NULL) {
		if (strncmp(e->d_name, prefix, strlen(prefix)) == 0) {
			assert_null(found);
			found = talloc_strdup(t, e->d_name + strlen(prefix));
		}
	}
	closedir(dir);
	return found;
}

static void overwrite(const char *path, off_t at, size_t n)
{
	char junk[4096];
	int fd = open(path, O_WRONLY);

	assert_true(fd >= 0 && n <= sizeof(junk));
	memset(junk, 0x5a, sizeof(junk));
	assert_int_equal(pwrite(fd, junk, n, at), n);
	close(fd);
}

static void check_moved_aside(struct test_dir *t, const char *name)
{
	struct db *db;
	char *stamp;

	test_dbs_open(t);
	db = db_find_name(t->dbs, name);
	assert_non_null(db);
	assert_non_null(db->health);
	assert_non_null(strstr(db->health, "corrupted"));
	assert_null(test_fetch(t, db->tdb, "k", NULL));
	assert_int_equal(tdb_check(db->tdb, NULL, NULL), 0);
	stamp = find_aside(t, talloc_asprintf(t, "%s.3.corrupted.", name));
	assert_non_null(stamp);
	assert_int_equal(strspn(stamp, "0123456789"), 14);
	assert_string_equal(stamp + 14, "Z");
	/* Remembered until somebody says it is good. */
	test_dbs_close(t);
	test_dbs_open(t);
	db = db_find_name(t->dbs, name);
	assert_non_null(db->health);
	assert_int_equal(db_set_health(db, NULL), 0);
	assert_null(db->health);
	test_dbs_close(t);
	test_dbs_open(t);
	assert_null(db_find_name(t->dbs, name)->health);
}

static char *make_persistent(struct test_dir *t, const char *name)
{
	struct db *db;
	char *path;

	test_dbs_open(t);
	db = test_attach(t, name, DB_PERSISTENT);
	test_store(db->tdb, "k", 1, 3, "value");
	path = talloc_strdup(t, db->path);
	test_dbs_close(t);
	return path;
}

static void test_damaged_record(void **state)
{
	struct test_dir *t = *state;
	struct stat st;
	char *path = make_persistent(t, "a.tdb");

	assert_int_equal(stat(path, &st), 0);
	overwrite(path, 168 + 4 * (t->d->conf->database.hash_size / 2), 64); /* chains that lead nowhere */
	check_moved_aside(t, "a.tdb");
}

static void test_damaged_head(void **state)
{
	struct test_dir *t = *state;

	overwrite(make_persistent(t, "b.tdb"), 0, 4096);
	check_moved_aside(t, "b.tdb");
}

static void test_damaged_cut(void **state)
{
	struct test_dir *t = *state;

	assert_int_equal(truncate(make_persistent(t, "c.tdb"), 200), 0);
	check_moved_aside(t, "c.tdb");
}

static void test_damaged_empty(void **state)
{
	struct test_dir *t = *state;

	assert_int_equal(truncate(make_persistent(t, "d.tdb"), 0), 0);
	check_moved_aside(t, "d.tdb");
}

static void test_damaged_health(void **state)
{
	struct test_dir *t = *state;
	struct db *db;

	make_persistent(t, "e.tdb");
	overwrite(talloc_asprintf(t, "%s/state/persistent_health.tdb.3", t->path), 0, 1000);
	test_dbs_open(t);
	db = db_find_name(t->dbs, "e.tdb");
	assert_non_null(db->health);
	assert_string_equal(test_fetch(t, db->tdb, "k", NULL), "value");
	assert_int_equal(db_set_health(db, NULL), 0);
	test_dbs_close(t);
	test_dbs_open(t);
	assert_null(db_find_name(t->dbs, "e.tdb")->health);
}

static void check_start_fails(struct test_dir *t, const char *path)
{
	struct dbs *dbs = NULL;
	char *err = NULL;

	assert_int_not_equal(dbs_open(t, t->d, &dbs, &err), 0);
	assert_null(dbs);
	assert_non_null(err);
	if (strstr(err, path) == NULL) {
		fail_msg("\"%s\" does not name %s", err, path);
	}
}

static void test_unreadable(void **state)
{
	struct test_dir *t = *state;
	char *path = make_persistent(t, "f.tdb");

	if (geteuid() == 0) {
		skip(); /* root reads it all the same; test_bad_input.py has what root cannot read */
	}
	assert_int_equal(chmod(path, 0), 0);
	check_start_fails(t, path);
}

static void test_directory_instead_of_file(void **state)
{
	struct test_dir *t = *state;
	char *path = make_persistent(t, "g.tdb");

	assert_int_equal(unlink(path), 0);
	assert_int_equal(mkdir(path, 0700), 0);
	check_start_fails(t, path);
}

static void test_file_instead_of_directory(void **state)
{
	struct test_dir *t = *state;

	close(open(t->d->conf->path.db_volatile, O_CREAT | O_WRONLY, 0600));
	check_start_fails(t, t->d->conf->path.db_volatile);
}

static void test_one_directory_for_both(void **state)
{
	struct test_dir *t = *state;

	t->d->conf->path.db_volatile = t->d->conf->path.db_persistent;
	check_start_fails(t, t->d->conf->path.db_persistent);
}

static void test_volatile_path_is_directory(void **state)
{
	struct test_dir *t = *state;
	struct db *db;
	bool created;

	test_dbs_open(t);
	assert_int_equal(mkdir(talloc_asprintf(t, "%s/volatile/h.tdb.3", t->path), 0700), 0);
	assert_int_equal(attach(t, "h.tdb", 0, &db, &created), EISDIR);
	assert_int_equal(dbs_count(t->dbs), 0);
	assert_null(db_find_name(t->dbs, "h.tdb"));
}

/* A lock that somebody holds on a persistent file delays the start, it does not prevent it. */
static void test_locked_file_is_not_waited_for(void **state)
{
	struct test_dir *t = *state;
	char *path = make_persistent(t, "i.tdb");
	struct holder *h = test_holder(t, path, TDB_DISALLOW_NESTING, "lock", "k");

	test_dbs_open(t);
	assert_null(db_find_name(t->dbs, "i.tdb")->health);
	test_holder_end(h);
}

static void test_health(void **state)
{
	struct test_dir *t = *state;
	struct db *p, *v;

	test_dbs_open(t);
	p = test_attach(t, "p.tdb", DB_PERSISTENT);
	v = test_attach(t, "v.tdb", 0);
	assert_int_equal(db_set_health(v, "ill"), EINVAL);
	assert_int_equal(db_set_health(p, "ill"), 0);
	assert_int_equal(db_set_health(p, "worse"), 0);
	assert_string_equal(p->health, "worse");
	test_dbs_close(t);
	test_dbs_open(t);
	assert_string_equal(db_find_name(t->dbs, "p.tdb")->health, "worse");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, test_dir_setup, test_dir_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_attach_and_find),
		TEST(test_flags),
		TEST(test_no_mutexes),
		TEST(test_bad_names),
		TEST(test_persistent_comes_back),
		TEST(test_volatile_starts_empty),
		TEST(test_damaged_record),
		TEST(test_damaged_head),
		TEST(test_damaged_cut),
		TEST(test_damaged_empty),
		TEST(test_damaged_health),
		TEST(test_unreadable),
		TEST(test_directory_instead_of_file),
		TEST(test_file_instead_of_directory),
		TEST(test_one_directory_for_both),
		TEST(test_volatile_path_is_directory),
		TEST(test_locked_file_is_not_waited_for),
		TEST(test_health),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
