/*
 * Tests of journals: a worker is killed at each of its writes, syncs and changes of names; then it goes on in three
 * ways: with another worker, with a new daemon, and after a power cut, of which only what was synced before is sure.
 * And the same for the start after the power cut.
 */
#include "dbd/test_journal_util.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/content_parts.h"
#include "dbd/journal.h"
#include "dbd/journal_file.h"

#define PAGE      4096U
#define FILES_MAX 32U
#define CUTS      2U
#define BUDGET_MS 6000U

/* What the test itself writes need not reach the disk; with the shims, as --start, it goes through them. */
static int sync_call(const char *name, int fd)
{
	int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);

	return getenv("TEST_POWER_DIR") != NULL ? real(fd) : 0;
}

int fsync(int fd)
{
	return sync_call("fsync", fd);
}

int fdatasync(int fd)
{
	return sync_call("fdatasync", fd);
}

/* ---- directories ---- */

static void directory_clear(const char *path)
{
	struct dirent *e;
	DIR *dir;

	(void)mkdir(path, 0700);
	dir = opendir(path);
	assert_non_null(dir);
	while ((e = readdir(dir)) != NULL) {
		(void)unlinkat(dirfd(dir), e->d_name, 0);
	}
	closedir(dir);
}

struct name {
	unsigned long inode;
	char text[256];
};

struct names {
	struct name v[FILES_MAX];
	unsigned n;
};

static void names_now(const char *path, struct names *names)
{
	DIR *dir = opendir(path);
	struct dirent *e;

	names->n = 0;
	while ((e = readdir(dir)) != NULL) {
		if (e->d_name[0] != '.') {
			assert_true(names->n < FILES_MAX);
			names->v[names->n].inode = e->d_ino;
			snprintf(names->v[names->n++].text, sizeof(names->v[0].text), "%s", e->d_name);
		}
	}
	closedir(dir);
}

static void names_sure(const char *path, struct names *names)
{
	FILE *f = fopen(path, "r");

	assert_non_null(f);
	names->n = 0;
	while (fscanf(f, "%lu %255s", &names->v[names->n].inode, names->v[names->n].text) == 2) {
		names->n++;
		assert_true(names->n < FILES_MAX);
	}
	fclose(f);
}

static const struct name *names_find(const struct names *names, const char *text)
{
	unsigned i;

	for (i = 0; i < names->n; i++) {
		if (strcmp(names->v[i].text, text) == 0) {
			return &names->v[i];
		}
	}
	return NULL;
}

/* *data below mem; NULL and 0: there is no such file. */
static void file_read(TALLOC_CTX *mem, const char *path, uint8_t **data, size_t *len)
{
	int fd = open(path, O_RDONLY);
	struct stat st;

	*data = NULL;
	*len = 0;
	if (fd == -1) {
		return;
	}
	assert_int_equal(fstat(fd, &st), 0);
	*len = (size_t)st.st_size;
	*data = talloc_size(mem, *len + 1);
	assert_int_equal(read(fd, *data, *len), *len);
	close(fd);
}

static void file_write(const char *path, const void *data, size_t len)
{
	static const uint8_t zeros[PAGE];
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	const uint8_t *p = data;
	size_t at, n;

	assert_int_not_equal(fd, -1);
	assert_int_equal(ftruncate(fd, (off_t)len), 0);
	for (at = 0; at < len; at += n) {
		n = len - at < PAGE ? len - at : PAGE;
		assert_true(memcmp(p + at, zeros, n) == 0 || pwrite(fd, p + at, n, (off_t)at) == (ssize_t)n);
	}
	close(fd);
}

/* All that is there is sure. */
static void power_begin(TALLOC_CTX *mem, const char *dir, const char *power)
{
	char *text = talloc_strdup(mem, "");
	struct names names;
	uint8_t *data;
	size_t len;
	unsigned i;

	directory_clear(power);
	names_now(dir, &names);
	for (i = 0; i < names.n; i++) {
		file_read(mem, talloc_asprintf(mem, "%s/%s", dir, names.v[i].text), &data, &len);
		file_write(talloc_asprintf(mem, "%s/%lu", power, names.v[i].inode), data, len);
		text = talloc_asprintf_append(text, "%lu %s\n", names.v[i].inode, names.v[i].text);
	}
	file_write(talloc_asprintf(mem, "%s/names", power), text, strlen(text));
}

/* Of the file's pages, each as it was synced or as it was at last. luck: how likely the latter is, of 4. */
static void cut_file(TALLOC_CTX *mem, const char *sure_path, const char *now_path, const char *to, unsigned luck)
{
	uint8_t *sure, *now, *out;
	size_t sure_len, now_len, len, at;

	file_read(mem, sure_path, &sure, &sure_len);
	file_read(mem, now_path, &now, &now_len);
	len = now != NULL && (unsigned)rand() % 4 < luck ? now_len : sure_len;
	out = talloc_zero_size(mem, len + 1);
	for (at = 0; at < len; at += PAGE) {
		bool last = now != NULL && (unsigned)rand() % 4 < luck;
		const uint8_t *from = last ? now : sure;
		size_t from_len = last ? now_len : sure_len;
		size_t n = len - at < PAGE ? len - at : PAGE;

		if (at < from_len) {
			memcpy(out + at, from + at, from_len - at < n ? from_len - at : n);
		}
	}
	file_write(to, out, len);
}

static void cut_name(TALLOC_CTX *mem, const char *dir, const char *power, const struct name *name,
		     const struct names *now, const char *to, unsigned luck)
{
	const char *now_path = "/nonexistent";
	unsigned i;

	for (i = 0; i < now->n; i++) {
		if (now->v[i].inode == name->inode) {
			now_path = talloc_asprintf(mem, "%s/%s", dir, now->v[i].text);
		}
	}
	cut_file(mem, talloc_asprintf(mem, "%s/%lu", power, name->inode), now_path,
		 talloc_asprintf(mem, "%s/%s", to, name->text), luck);
}

/* What may be left in to of dir after the power was cut. luck 0: nothing but what is sure; 4: all of it. */
static void power_cut(TALLOC_CTX *mem, const char *dir, const char *power, const char *to, unsigned luck)
{
	TALLOC_CTX *tmp = talloc_new(mem);
	struct names now, sure;
	unsigned i;

	directory_clear(to);
	names_now(dir, &now);
	names_sure(talloc_asprintf(tmp, "%s/names", power), &sure);
	for (i = 0; i < now.n + sure.n; i++) {
		const char *text = i < now.n ? now.v[i].text : sure.v[i - now.n].text;
		const struct name *is = names_find(&now, text), *was = names_find(&sure, text);

		if (i >= now.n && is != NULL) {
			continue; /* had its turn */
		}
		is = (unsigned)rand() % 4 < luck ? is : was;
		if (is != NULL) {
			cut_name(tmp, dir, power, is, &now, to, luck);
		}
	}
	talloc_free(tmp);
}

static void directory_copy(TALLOC_CTX *mem, const char *from, const char *to)
{
	TALLOC_CTX *tmp = talloc_new(mem);
	struct names names;
	uint8_t *data;
	size_t len;
	unsigned i;

	directory_clear(to);
	names_now(from, &names);
	for (i = 0; i < names.n; i++) {
		file_read(tmp, talloc_asprintf(tmp, "%s/%s", from, names.v[i].text), &data, &len);
		file_write(talloc_asprintf(tmp, "%s/%s", to, names.v[i].text), data, len);
	}
	talloc_free(tmp);
}

/* ---- scene ---- */

struct sweep {
	struct test_dir *t;
	TALLOC_CTX *mem; /* of one step */
	char *live, *power, *at, *crashing, *careful;
	char *same, *cut[CUTS], *later;
	struct db *db;
};

/* A program with both shims. */
static char *program(struct sweep *s, const char *name, bool crashes, const char *what)
{
	char *path = talloc_asprintf(s->t, "%s/%s", s->t->path, name);
	FILE *f = fopen(path, "w");

	fprintf(f,
		"#!/bin/sh\nASAN_OPTIONS=verify_asan_link_order=0 TEST_CRASH_AT=%s TEST_POWER_DIR=%s LD_PRELOAD='%s "
		"%s' exec %s \"$@\"\n",
		crashes ? s->at : "/nonexistent", s->power, getenv("TEST_CRASH_SHIM"), getenv("TEST_POWER_SHIM"), what);
	fclose(f);
	assert_int_equal(chmod(path, 0700), 0);
	return path;
}

static void sweep_init(struct sweep *s, struct test_dir *t)
{
	unsigned i;

	*s = (struct sweep){.t = t};
	test_dbs_open(t); /* makes the directories */
	test_dbs_close(t);
	s->live = t->d->conf->path.db_persistent;
	s->power = talloc_asprintf(t, "%s/power", t->path);
	s->at = talloc_asprintf(t, "%s/crash-at", t->path);
	s->same = talloc_asprintf(t, "%s/same", t->path);
	s->later = talloc_asprintf(t, "%s/later", t->path);
	for (i = 0; i < CUTS; i++) {
		s->cut[i] = talloc_asprintf(t, "%s/cut%u", t->path, i);
	}
	(void)mkdir(s->power, 0700);
	s->crashing = program(s, "crashing-worker", true, getenv("TEST_WORKER"));
	s->careful = program(s, "careful-worker", false, getenv("TEST_WORKER"));
}

/* The database as a daemon finds it there. */
static uint64_t found_in(struct sweep *s, char *dir, bool other_boot)
{
	struct db *db;
	uint64_t n;

	s->t->d->conf->path.db_persistent = dir;
	if (other_boot) {
		test_reboot(s->t, 1);
	}
	test_dbs_open(s->t);
	db = db_find_name(s->t->dbs, TEST_JOURNAL_NAME);
	assert_non_null(db);
	assert_null(db->health);
	test_assert_journal(s->t, db, false);
	n = test_journal_state(db->tdb);
	test_dbs_close(s->t);
	test_same_boot();
	s->t->d->conf->path.db_persistent = s->live;
	return n;
}

/* What the n-th transaction does, as a recovery does it: by parts, which its two records have for themselves. */
static int replace(struct sweep *s, struct worker_pool *pool, uint64_t n)
{
	struct content_map map = {.n = LANE_PARTS};
	struct ctdb_blob b = test_transaction(s->mem, s->db->id, n);
	struct worker_args args = {.op = WORKER_REPLACE, .parts = map.n, .input = {sizeof(map.bits), map.bits}};
	const uint8_t *p = b.data + RECBUF_HEAD;
	size_t left = b.len - RECBUF_HEAD;
	struct worker_job *job;
	struct tevent_req *req;
	struct recdata r;

	while (recdata_next(&p, &left, &r) == 0) {
		uint64_t part = content_hash(r.key, r.keylen) % map.n;

		map.bits[part / 8] |= (uint8_t)(1U << part % 8);
	}
	req = worker_job_send(s->t, s->t->d->ev, pool, s->db, &args, NULL, NULL, &job);
	worker_job_feed(job, b.data + RECBUF_HEAD, b.len - RECBUF_HEAD, true);
	return test_wait(s->t, req, NULL);
}

/* Transactions until the worker ends: with and without a journal, beginning and ending one. The number of those that
 * were answered. */
static uint64_t transactions(struct sweep *s, struct worker_pool *pool, bool *killed)
{
	static const char script[] = "jjsjcjr"; /* j: with a journal, s: settle, c: as TDB does it, r: replace */
	uint64_t n = 0;
	unsigned i;
	int error = 0;

	for (i = 0; error == 0 && script[i] != '\0'; i++) {
		if (script[i] == 's') {
			error = test_run(s->t, pool, s->db, WORKER_SETTLE, NULL);
			continue;
		}
		s->t->d->conf->database.journal = script[i] == 'j';
		error = script[i] == 'r' ? replace(s, pool, n + 1)
					 : test_journal_commit(s->t, pool, s->db, n + 1, true);
		n += error == 0;
	}
	s->t->d->conf->database.journal = true;
	*killed = error != 0;
	assert_true(error == 0 || error == EPIPE);
	return n;
}

static void assert_state(uint64_t n, uint64_t answered, bool killed, const char *where, unsigned step)
{
	if (n != answered && (!killed || n != answered + 1)) {
		fail_msg("killed at %u, %s: %u transactions, %u were answered", step, where, (unsigned)n,
			 (unsigned)answered);
	}
}

/* Another worker of the same daemon goes on; then the power goes. */
static uint64_t go_on(struct sweep *s, uint64_t answered, bool killed, unsigned step)
{
	struct worker_pool *pool = test_pool_of(s->t, s->careful, 1);
	struct worker_state state;

	assert_int_equal(test_run(s->t, pool, s->db, WORKER_SEQNUM, &state), 0);
	assert_state(state.seqnum, answered, killed, "next worker", step);
	assert_int_equal(test_journal_state(s->db->tdb), state.seqnum);
	assert_int_equal(test_journal_commit(s->t, pool, s->db, state.seqnum + 1, true), 0);
	assert_int_equal(test_journal_state(s->db->tdb), state.seqnum + 1);
	talloc_free(pool);
	if (step % 4 == 0) {
		power_cut(s->mem, s->live, s->power, s->later, step / 4 % 5);
	}
	return state.seqnum + 1;
}

/*
 * TDB gets room for its own recovery, once. A kill while the file grows for that leaves a gap in it that tdb_check()
 * finds fault with (TDB 1.4.8); with a journal it is built again at the next start, but the worker that comes next
 * would not notice.
 */
static void make_room(struct tdb_context *tdb)
{
	char *large = talloc_zero_array(NULL, char, 20000);

	assert_int_equal(tdb_transaction_start(tdb), 0);
	test_store(tdb, "large", 1, 3, memset(large, 'x', 19999));
	assert_int_equal(tdb_transaction_commit(tdb), 0);
	assert_int_equal(tdb_transaction_start(tdb), 0);
	assert_int_equal(tdb_wipe_all(tdb), 0);
	assert_int_equal(tdb_transaction_commit(tdb), 0);
	talloc_free(large);
}

static void scene_begin(struct sweep *s)
{
	directory_clear(s->live);
	s->t->d->conf->database.journal = true;
	test_dbs_open(s->t);
	s->db = test_attach(s->t, TEST_JOURNAL_NAME, DB_PERSISTENT);
	make_room(s->db->tdb);
	power_begin(s->mem, s->live, s->power);
}

/* false: it came to its end. */
static bool step_worker(struct sweep *s, unsigned step)
{
	struct worker_pool *pool;
	uint64_t answered, next;
	bool killed;
	unsigned i;

	scene_begin(s);
	test_arm(s->at, step);
	pool = test_pool_of(s->t, s->crashing, 1);
	answered = transactions(s, pool, &killed);
	talloc_free(pool);
	directory_copy(s->mem, s->live, s->same);
	for (i = 0; i < CUTS; i++) {
		power_cut(s->mem, s->live, s->power, s->cut[i], i * (step % 4 + 1));
	}
	next = go_on(s, answered, killed, step);
	test_dbs_close(s->t);
	assert_state(found_in(s, s->same, false), answered, killed, "next daemon", step);
	for (i = 0; i < CUTS; i++) {
		assert_state(found_in(s, s->cut[i], true), answered, killed, "power cut", step);
	}
	if (step % 4 == 0) {
		assert_state(found_in(s, s->later, true), next, false, "power cut later", step);
	}
	return killed;
}

/* A machine with much to do sees some of the steps; all of them with CTDB_SWEEP_ALL. */
static unsigned next_step(unsigned step, struct mono start)
{
	return step + (mono_ms_between(start, mono_now()) > BUDGET_MS && getenv("CTDB_SWEEP_ALL") == NULL ? 7 : 1);
}

static void test_killed_at_each_step(void **state)
{
	struct mono start = mono_now();
	struct sweep s;
	unsigned step = 0;
	bool killed = true;

	sweep_init(&s, *state);
	while (killed) {
		s.mem = talloc_new(s.t);
		step = next_step(step, start);
		srand(step);
		killed = step_worker(&s, step);
		talloc_free(s.mem);
	}
	print_message("%u steps\n", step);
	assert_true(step > 30);
}

/* ---- the start after a power cut, cut again ---- */

static bool run_start(struct sweep *s, const char *starter, const char *dir)
{
	char *path = talloc_asprintf(s->mem, "%s/%s.3", dir, TEST_JOURNAL_NAME);
	char *boot = talloc_asprintf(s->mem, "%s/boot-id", s->t->path);
	int status = 0;
	pid_t pid = fork();

	if (pid == 0) {
		execl(starter, starter, "--start", path, boot, NULL);
		_exit(127);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status)) {
		assert_int_equal(WEXITSTATUS(status), JOURNAL_REBUILT);
	}
	return WIFSIGNALED(status);
}

static bool step_start(struct sweep *s, const char *starter, uint64_t want, unsigned step)
{
	bool killed;

	directory_copy(s->mem, s->cut[0], s->same);
	power_begin(s->mem, s->same, s->power);
	test_reboot(s->t, 1);
	test_arm(s->at, step);
	killed = run_start(s, starter, s->same);
	power_cut(s->mem, s->same, s->power, s->later, step % 4);
	assert_state(found_in(s, s->later, true), want, false, "start cut again", step);
	if (step % 4 == 0) {
		assert_state(found_in(s, s->same, true), want, false, "start killed", step);
	}
	return killed;
}

static void test_start_at_each_step(void **state)
{
	struct mono start = mono_now();
	char self[4096];
	struct worker_pool *pool;
	const char *starter;
	struct sweep s;
	unsigned step = 0, i;
	bool killed = true;

	sweep_init(&s, *state);
	s.mem = talloc_new(s.t);
	srand(1);
	scene_begin(&s);
	pool = test_pool_of(s.t, s.careful, 1);
	for (i = 1; i <= 4; i++) {
		assert_int_equal(test_journal_commit(s.t, pool, s.db, i, true), 0);
	}
	power_cut(s.mem, s.live, s.power, s.cut[0], 2);
	talloc_free(pool);
	test_dbs_close(s.t);
	self[readlink("/proc/self/exe", self, sizeof(self) - 1)] = '\0';
	starter = program(&s, "starter", true, self);
	while (killed) {
		step = next_step(step, start);
		killed = step_start(&s, starter, 4, step);
	}
	print_message("%u steps\n", step);
	assert_true(step > 5);
	talloc_free(s.mem);
}

/* ---- errors of the disk ---- */

static void syncs_fail(struct sweep *s, const char *of)
{
	char *path = talloc_asprintf(s->mem, "%s/fail", s->power);

	file_write(path, of, strlen(of));
}

/* Without a journal, or with one that cannot be written, transactions are slower, no more. */
static void test_no_journal(void **state)
{
	struct worker_pool *pool;
	struct sweep s;
	char *way;

	sweep_init(&s, *state);
	s.mem = talloc_new(s.t);
	scene_begin(&s);
	pool = test_pool_of(s.t, s.careful, 1);
	way = talloc_asprintf(s.mem, "%s.journal.new", s.db->path);
	assert_int_equal(mkdir(way, 0700), 0);
	assert_int_equal(test_journal_commit(s.t, pool, s.db, 1, true), 0);
	assert_int_equal(rmdir(way), 0);
	test_assert_journal(s.t, s.db, false);
	assert_true(mono_before(mono_now(), s.db->writes->no_journal_until));
	s.db->writes->no_journal_until = MONO_NEVER;
	assert_int_equal(test_journal_commit(s.t, pool, s.db, 2, true), 0);
	test_assert_journal(s.t, s.db, true);
	syncs_fail(&s, ".journal");
	assert_int_equal(test_journal_commit(s.t, pool, s.db, 3, true), 0);
	test_assert_journal(s.t, s.db, false);
	assert_int_equal(test_journal_state(s.db->tdb), 3);
	syncs_fail(&s, "");
	power_cut(s.mem, s.live, s.power, s.later, 0);
	talloc_free(pool);
	test_dbs_close(s.t);
	assert_int_equal(found_in(&s, s.later, true), 3);
	talloc_free(s.mem);
}

/* The file itself cannot be synced: it is used no more, and built again at the next start. */
static void test_file_not_synced(void **state)
{
	struct worker_pool *pool;
	struct sweep s;

	sweep_init(&s, *state);
	s.mem = talloc_new(s.t);
	scene_begin(&s);
	pool = test_pool_of(s.t, s.careful, 1);
	assert_int_equal(test_journal_commit(s.t, pool, s.db, 1, true), 0);
	assert_int_equal(test_journal_commit(s.t, pool, s.db, 2, true), 0);
	syncs_fail(&s, TEST_JOURNAL_NAME ".3");
	assert_int_equal(test_run(s.t, pool, s.db, WORKER_SETTLE, NULL), EIO);
	syncs_fail(&s, ""); /* the kernel says it only once */
	assert_int_equal(test_run(s.t, pool, s.db, WORKER_SETTLE, NULL), EIO);
	assert_int_equal(test_journal_commit(s.t, pool, s.db, 3, true), EIO);
	test_assert_journal(s.t, s.db, true);
	assert_int_equal(db_set_health(s.db, JOURNAL_UNSYNCED ": as its journal's end says"), 0);
	talloc_free(pool);
	test_dbs_close(s.t);
	assert_int_equal(found_in(&s, s.live, false), 2);
	talloc_free(s.mem);
}

/* --start FILE BOOT-ID-FILE: what a daemon does with a journal. */
static int start_only(char **argv)
{
	enum journal_verdict verdict;

	journal_set_boot_id_file(argv[3]);
	return journal_start(NULL, argv[2], test_journal_id(), false, &verdict) == 0 ? (int)verdict : 100;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, test_dir_setup, test_dir_teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(test_no_journal),
		TEST(test_file_not_synced),
		TEST(test_killed_at_each_step),
		TEST(test_start_at_each_step),
	};

	if (argc == 4 && strcmp(argv[1], "--start") == 0) {
		return start_only(argv);
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
