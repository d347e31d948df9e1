/* Tests of the files that dbkeep holds: run again with arguments it is the other process that has a TDB open. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <tdb.h>
#include <unistd.h>
#include <cmocka.h>

#include "keep.h"

#define FLAGS (TDB_DISALLOW_NESTING | TDB_NOSYNC | TDB_CLEAR_IF_FIRST | TDB_INCOMPATIBLE_HASH)

/* ---- the other process: "make PATH" makes a file with 3 records and stays, "count PATH" prints how many there are
 * ---- */

static int other_process(const char *what, const char *path)
{
	bool make = strcmp(what, "make") == 0;
	struct tdb_context *tdb = tdb_open(path, 0, FLAGS, O_RDWR | (make ? O_CREAT : 0), 0600);
	int i;

	if (tdb == NULL) {
		return 1;
	}
	for (i = 0; make && i < 3; i++) {
		unsigned char c = (unsigned char)i;

		if (tdb_store(tdb, (TDB_DATA){.dptr = &c, .dsize = 1}, (TDB_DATA){.dptr = &c, .dsize = 1}, 0) != 0) {
			return 1;
		}
	}
	printf("%d\n", tdb_traverse_read(tdb, NULL, NULL));
	fflush(stdout);
	while (make) {
		pause();
	}
	return 0;
}

struct other {
	pid_t pid;
	int answer;
};

static struct other other_start(const char *what, const char *path)
{
	struct other o = {.answer = -1};
	char text[32] = "";
	int fd[2];

	assert_int_equal(pipe2(fd, O_CLOEXEC), 0);
	o.pid = fork();
	assert_int_not_equal(o.pid, -1);
	if (o.pid == 0) {
		dup2(fd[1], 1);
		execl("/proc/self/exe", "test_keep", what, path, NULL);
		_exit(127);
	}
	close(fd[1]);
	if (read(fd[0], text, sizeof(text) - 1) > 0) {
		o.answer = atoi(text);
	}
	close(fd[0]);
	return o;
}

static void other_kill(struct other *o)
{
	kill(o->pid, SIGKILL);
	waitpid(o->pid, NULL, 0);
}

static int count(const char *path)
{
	struct other o = other_start("count", path);

	waitpid(o.pid, NULL, 0);
	return o.answer;
}

/* ---- surroundings ---- */

struct place {
	char *dir;
	struct keep *keep;
};

static int setup(void **state)
{
	char template[] = "/tmp/ctdb-keep-XXXXXX";
	struct place *p = talloc_zero(NULL, struct place);

	assert_non_null(mkdtemp(template));
	p->dir = talloc_strdup(p, template);
	assert_int_equal(keep_new(p, p->dir, &p->keep), 0);
	*state = p;
	return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

static int teardown(void **state)
{
	struct place *p = *state;

	nftw(p->dir, remove_one, 10, FTW_DEPTH | FTW_PHYS);
	talloc_free(p);
	return 0;
}

static struct dbkeep_file file_of(struct place *p, const char *name)
{
	struct dbkeep_file f = {
		.path = talloc_asprintf(p, "%s/%s", p->dir, name),
		.name = talloc_strdup(p, name),
		.db_flags = 8,
		.tdb_flags = FLAGS,
	};
	struct stat st;

	if (lstat(f.path, &st) == 0) {
		f.device = st.st_dev;
		f.inode = st.st_ino;
	}
	return f;
}

static uint32_t listed(struct place *p)
{
	struct dbkeep_files files;

	assert_int_equal(keep_list(p->keep, p, &files), 0);
	return files.files.n;
}

static void keep_confirmed(struct place *p, struct dbkeep_file f)
{
	f.confirmed = false;
	assert_int_equal(keep_file(p->keep, &f), 0);
	f.confirmed = true;
	assert_int_equal(keep_file(p->keep, &f), 0);
}

/* ---- tests ---- */

static void test_contents_survive(void **state)
{
	struct place *p = *state;
	char *path = talloc_asprintf(p, "%s/a.tdb.0", p->dir);
	struct other dbd = other_start("make", path);
	struct dbkeep_file f = file_of(p, "a.tdb.0");

	assert_int_equal(dbd.answer, 3);
	assert_int_equal(keep_file(p->keep, &f), 0);
	assert_int_equal(listed(p), 0);
	f.confirmed = true;
	assert_int_equal(keep_file(p->keep, &f), 0);
	other_kill(&dbd);
	assert_int_equal(count(path), 3);
	/* Asked again and again, refused things in between: still held. */
	keep_confirmed(p, f);
	f.inode++;
	f.confirmed = false;
	assert_int_equal(keep_file(p->keep, &f), ESTALE);
	assert_int_equal(count(path), 3);
	assert_int_equal(listed(p), 1);
}

static void test_asking_again_keeps(void **state)
{
	struct place *p = *state;
	char *path = talloc_asprintf(p, "%s/a.tdb.0", p->dir);
	struct other dbd = other_start("make", path);
	struct dbkeep_file f = file_of(p, "a.tdb.0");
	struct dbkeep_files files;
	int i;

	keep_confirmed(p, f);
	other_kill(&dbd);
	for (i = 0; i < 3; i++) {
		f.db_flags = (uint32_t)i;
		keep_confirmed(p, f);
		assert_int_equal(count(path), 3);
	}
	assert_int_equal(keep_list(p->keep, p, &files), 0);
	assert_int_equal(files.files.n, 1);
	assert_string_equal(files.files.v[0].path, path);
	assert_int_equal(files.files.v[0].db_flags, 2);
	assert_int_equal(files.files.v[0].inode, f.inode);
	assert_true(files.files.v[0].confirmed);
}

static void test_drop(void **state)
{
	struct place *p = *state;
	char *path = talloc_asprintf(p, "%s/a.tdb.0", p->dir);
	struct other dbd = other_start("make", path);

	keep_confirmed(p, file_of(p, "a.tdb.0"));
	other_kill(&dbd);
	assert_int_equal(keep_drop(p->keep, path), 0);
	assert_int_equal(keep_drop(p->keep, path), ENOENT);
	assert_int_equal(listed(p), 0);
	assert_int_equal(count(path), 0);
}

/* dbd made a new file under the name: the old one is let go, the new one held. */
static void test_replaced_file(void **state)
{
	struct place *p = *state;
	char *path = talloc_asprintf(p, "%s/a.tdb.0", p->dir);
	struct other first = other_start("make", path), second;

	keep_confirmed(p, file_of(p, "a.tdb.0"));
	other_kill(&first);
	assert_int_equal(unlink(path), 0);
	second = other_start("make", path);
	keep_confirmed(p, file_of(p, "a.tdb.0"));
	other_kill(&second);
	assert_int_equal(listed(p), 1);
	assert_int_equal(count(path), 3);
}

static void test_refused(void **state)
{
	struct place *p = *state;
	char *path = talloc_asprintf(p, "%s/a.tdb.0", p->dir);
	struct other dbd = other_start("make", path);
	struct dbkeep_file good = file_of(p, "a.tdb.0"), f;

	f = good;
	f.confirmed = true;
	assert_int_equal(keep_file(p->keep, &f), ENOENT);
	f = good;
	f.tdb_flags = TDB_DISALLOW_NESTING;
	assert_int_equal(keep_file(p->keep, &f), EINVAL);
	f.tdb_flags = FLAGS | TDB_NOLOCK;
	assert_int_equal(keep_file(p->keep, &f), EINVAL);
	f.tdb_flags = FLAGS | TDB_INTERNAL;
	assert_int_equal(keep_file(p->keep, &f), EINVAL);
	f = file_of(p, "../ctdb-keep-elsewhere");
	assert_int_equal(keep_file(p->keep, &f), EINVAL);
	f = file_of(p, "sub/a.tdb.0");
	assert_int_equal(keep_file(p->keep, &f), EINVAL);
	f = good;
	f.path = talloc_asprintf(p, "%s-other/a.tdb.0", p->dir);
	assert_int_equal(keep_file(p->keep, &f), EINVAL);
	f = file_of(p, "missing.tdb.0");
	assert_int_equal(keep_file(p->keep, &f), ENOENT);
	/* A second name of a file that is held: opening it would drop the lock. */
	keep_confirmed(p, good);
	assert_int_equal(link(path, talloc_asprintf(p, "%s/b.tdb.0", p->dir)), 0);
	f = file_of(p, "b.tdb.0");
	assert_int_equal(keep_file(p->keep, &f), EBUSY);
	/* A symbolic link is not followed. */
	assert_int_equal(symlink(path, talloc_asprintf(p, "%s/c.tdb.0", p->dir)), 0);
	f = file_of(p, "c.tdb.0");
	assert_int_not_equal(keep_file(p->keep, &f), 0);
	other_kill(&dbd);
	assert_int_equal(count(path), 3);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(test_contents_survive), TEST(test_asking_again_keeps), TEST(test_drop), TEST(test_replaced_file),
		TEST(test_refused),
	};

	if (argc == 3) {
		return other_process(argv[1], argv[2]);
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
