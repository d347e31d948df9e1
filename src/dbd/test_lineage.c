/* Tests: lineages of persistent databases are told only as far as their file says them. Threads and time are played. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "dbd/recovery_int.h"
#include "shared/thread_job.h"

#define PATIENCE_MS 20000

/* ---- the surroundings ---- */

struct world {
	struct recovery *r;
	struct db db;
	struct dlist dbs;
	char dir[64];
	struct recovery_id id; /* of the recovery in work */
	thread_job_fn fn;      /* of the thread that runs */
	void *arg;
	struct tevent_req *thread;
	int thread_status; /* the function does not run, and this comes of it */
	uint32_t posted, posted_status, failed;
	enum lane_proc posted_proc;
	int failed_status;
	unsigned fail_append; /* which one from now on; 0: none */
};
static struct world *w;

/* In place of talloc's: some fail, the others move the text. */
static char *append(char *s, char *more)
{
	char *longer = w->fail_append > 0 && --w->fail_append == 0
			       ? NULL
			       : talloc_asprintf(talloc_parent(s), "%s%s", s != NULL ? s : "", more);

	if (longer != NULL) {
		talloc_free(s);
	}
	talloc_free(more);
	return longer;
}

char *talloc_asprintf_append_buffer(char *s, const char *fmt, ...)
{
	va_list ap;
	char *more;

	va_start(ap, fmt);
	more = talloc_vasprintf(NULL, fmt, ap);
	va_end(ap);
	return append(s, more);
}

char *talloc_strdup_append_buffer(char *s, const char *a)
{
	return append(s, talloc_strdup(NULL, a));
}

struct tevent_req *thread_job_send(TALLOC_CTX *mem, struct tevent_context *ev, thread_job_fn fn, void *arg,
				   thread_job_free_fn free_arg)
{
	int *state;

	assert_null(w->thread);
	assert_non_null(arg);
	w->fn = fn;
	w->arg = arg;
	w->thread = tevent_req_create(mem, &state, int);
	return w->thread;
}

int thread_job_recv(struct tevent_req *req)
{
	return w->thread_status;
}

/* The thread comes to its end, with this error before it has done anything. */
static void thread_ends(int status)
{
	struct lineage_args {
		char *path, *text;
	} *f = w->arg;
	struct tevent_req *req = w->thread;

	assert_non_null(req);
	w->thread_status = status != 0 ? status : w->fn(w->arg);
	w->thread = NULL;
	free(f->path);
	free(f->text);
	free(f);
	tevent_req_done(req); /* frees it */
}

struct db *db_find(struct dbs *dbs, uint32_t id)
{
	return id == w->db.id ? &w->db : NULL;
}

struct dlist *dbs_list(struct dbs *dbs)
{
	return &w->dbs;
}

int records_db_add(struct records *records, struct db *db)
{
	return 0;
}

int lane_post(struct lane *l, uint32_t node, enum lane_proc proc, const void *msg)
{
	w->posted++;
	w->posted_proc = proc;
	w->posted_status = proc == LANE_PROC_REC_BEGIN_REPLY ? ((const struct rec_begin_reply *)msg)->status : 0;
	return 0;
}

const struct recovery_id *rec_member_id(const struct rec_member *m)
{
	return &w->id;
}

void rec_member_job_done(struct rec_member *m, void *db, int status, struct mono now)
{
	assert_ptr_equal(db, &w->db);
	w->failed++;
	w->failed_status = status;
}

void recovery_kick(struct recovery *r)
{
}

uint32_t recovery_patience_ms(const struct recovery *r)
{
	return PATIENCE_MS;
}

static void never(void *priv)
{
}

static int setup(void **state)
{
	struct recovery *r = talloc_zero(NULL, struct recovery);
	struct daemon *d = talloc_zero(r, struct daemon);
	struct conf *conf = talloc_zero(r, struct conf);

	w = talloc_zero(NULL, struct world);
	strcpy(w->dir, "/tmp/test_lineage.XXXXXX");
	assert_non_null(mkdtemp(w->dir));
	conf->path.db_persistent = w->dir;
	conf->path.run = w->dir;
	d->conf = conf;
	d->ev = tevent_context_init(r);
	r->dbd = talloc_zero(r, struct dbd);
	r->dbd->d = d;
	r->patience_timer = mono_timer_new(r, d->ev, never, r);
	dlist_init(&r->lineage_held);
	dlist_init(&w->dbs);
	w->r = r;
	w->db = (struct db){.id = 7, .flags = DB_PERSISTENT, .lineage = talloc_zero(r, struct rec_lineage)};
	w->id = (struct recovery_id){1, 1, 1};
	dlist_add_tail(&w->dbs, &w->db.link);
	return 0;
}

static int teardown(void **state)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/lineage.0", w->dir);
	(void)unlink(path);
	snprintf(path, sizeof(path), "%s/dbd.lineage", w->dir);
	(void)unlink(path);
	assert_int_equal(rmdir(w->dir), 0);
	talloc_free(w->r);
	talloc_free(w);
	return 0;
}

/* What is due begins. */
static void turn(void)
{
	if (w->r->lineage_soon) {
		assert_int_equal(tevent_loop_once(w->r->dbd->d->ev), 0);
	}
}

static void move(uint64_t number)
{
	rec_lineage_end(w->db.lineage, &(struct recovery_id){1, number, 1});
	lineage_save(w->r, &w->db);
}

void rec_lineage_end(struct rec_lineage *l, const struct recovery_id *id)
{
	*l = (struct rec_lineage){.changed = *id, .told = {*id}, .n_told = 1};
}

static int prepared(uint32_t status)
{
	struct rec_db m = {.id = w->id, .db_id = w->db.id, .status = status};

	return lineage_hold(w->r, 0, LANE_PROC_REC_DB_PREPARED, &m);
}

static int begin_reply(uint32_t status)
{
	struct rec_begin_reply m = {.id = w->id, .status = status};

	return lineage_hold(w->r, 0, LANE_PROC_REC_BEGIN_REPLY, &m);
}

/* The number that the file's last line says, 0: there is no file. */
static unsigned number_in_file(bool persistent)
{
	char path[128];
	unsigned number = 0;
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", w->dir, persistent ? "lineage.0" : "dbd.lineage");
	f = fopen(path, "r");
	if (f != NULL) {
		while (fscanf(f, "%*x %*u 1.%u.1%*[^\n] ", &number) == 1) {
		}
		assert_true(feof(f));
		fclose(f);
	}
	return number;
}

static void written(uint64_t number)
{
	move(number);
	turn();
	thread_ends(0);
	assert_int_equal(number_in_file(true), number);
}

/* ---- tests ---- */

static void test_leaves_when_written(void **state)
{
	move(1);
	assert_int_equal(prepared(0), 0);
	turn();
	assert_int_equal(w->posted, 0);
	thread_ends(0);
	assert_int_equal(w->posted, 1);
	assert_int_equal(w->posted_proc, LANE_PROC_REC_DB_PREPARED);
	assert_int_equal(number_in_file(true), 1);
	assert_int_equal(prepared(0), ENOENT);
}

static void test_failure_is_not_held(void **state)
{
	move(1);
	assert_int_equal(prepared(EIO), ENOENT);
	assert_int_equal(begin_reply(EAGAIN), ENOENT);
	assert_int_equal(prepared(0), 0);
	turn();
	thread_ends(0);
}

static void test_hung_disk(void **state)
{
	move(1);
	assert_int_equal(prepared(0), 0);
	turn();
	assert_true(mono_is_set(lineage_patience(w->r, w->r->lineage_since)));
	assert_true(mono_is_set(lineage_patience(w->r, mono_add_ms(w->r->lineage_since, PATIENCE_MS - 1))));
	assert_int_equal(w->failed, 0);
	(void)lineage_patience(w->r, mono_add_ms(w->r->lineage_since, PATIENCE_MS));
	assert_int_equal(w->failed, 1);
	assert_int_equal(w->failed_status, ETIMEDOUT);

	/* The next recovery hears of it at once, whatever number of times it begins. */
	assert_int_equal(begin_reply(0), 0);
	assert_int_equal(begin_reply(0), 0);
	(void)lineage_patience(w->r, mono_add_ms(w->r->lineage_since, PATIENCE_MS));
	assert_int_equal(w->posted, 1);
	assert_int_equal(w->posted_status, ETIMEDOUT);

	/* It answers again. */
	thread_ends(0);
	assert_int_equal(begin_reply(0), ENOENT);
	assert_int_equal(w->failed, 1);
}

/* It was answered for another recovery: what that had in work is no longer. */
static void test_former_recovery(void **state)
{
	move(1);
	assert_int_equal(prepared(0), 0);
	turn();
	w->id.attempt++;
	thread_ends(EIO);
	assert_int_equal(w->failed, 0);
	assert_int_equal(w->posted, 0);
}

static void check_failure(int thread_status, int expected)
{
	written(1);
	move(2);
	assert_int_equal(prepared(0), 0);
	turn();
	thread_ends(thread_status);
	assert_int_equal(w->posted, 0);
	assert_int_equal(w->failed, 1);
	assert_int_equal(w->failed_status, expected);
	assert_int_equal(number_in_file(true), 1); /* true as long as nobody was told more */

	/* Tried again when somebody waits for it, and only then. */
	assert_false(w->r->lineage_soon);
	assert_int_equal(begin_reply(0), 0);
	turn();
	thread_ends(0);
	assert_int_equal(number_in_file(true), 2);
	assert_int_equal(w->posted, 1);
	assert_int_equal(w->posted_status, 0);
}

static void test_no_thread(void **state)
{
	check_failure(EMFILE, EMFILE);
}

static void test_thread_limit(void **state)
{
	check_failure(EAGAIN, ENOMEM);
}

/* The function itself fails: the directory takes no file. */
static void test_disk_fails(void **state)
{
	char path[128], *dir = w->dir;

	written(1);
	snprintf(path, sizeof(path), "%s/none", dir);
	((struct conf *)(uintptr_t)w->r->dbd->d->conf)->path.db_persistent = path;
	move(2);
	assert_int_equal(begin_reply(0), 0);
	turn();
	thread_ends(0);
	assert_int_equal(w->posted, 1);
	assert_int_equal(w->posted_status, ENOENT);
	assert_int_equal(number_in_file(true), 1);
}

/* No memory anywhere in the text: nothing is written, nothing is told. */
static void test_no_memory(void **state)
{
	unsigned n = 1;

	written(1);
	move(2);
	for (w->fail_append = n; prepared(0) == 0; w->fail_append = ++n) {
		turn();
		if (w->thread != NULL) {
			break; /* that many are not needed */
		}
		assert_int_equal(w->posted, 0);
		assert_int_equal(w->failed, n);
		assert_int_equal(w->failed_status, ENOMEM);
		assert_int_equal(number_in_file(true), 1);
	}
	assert_int_equal(n, 5); /* head, changed, told, end of line */
	thread_ends(0);
	assert_int_equal(w->posted, 1);
	assert_int_equal(number_in_file(true), 2);
}

/* Volatile: an old file would outlive a newer copy. */
static void test_no_memory_volatile(void **state)
{
	w->db.flags = 0;
	move(1);
	assert_int_equal(number_in_file(false), 1);
	w->fail_append = 3;
	w->r->lineage_log_len = SIZE_MAX; /* so that all of it is written */
	move(2);
	assert_int_equal(number_in_file(false), 0);
	move(3);
	assert_int_equal(number_in_file(false), 3);
}

/* Lines are added, and the last one counts; all of it is written when that fails, is long, or many have changed. */
static void test_appended(void **state)
{
	struct rec_lineage none = {0};

	w->db.flags = 0;
	for (unsigned n = 1; n <= 5; n++) {
		move(n);
		assert_int_equal(number_in_file(false), n);
	}
	assert_true(w->r->lineage_log > 0 && w->r->lineage_log_len > 0);
	w->fail_append = 3; /* of the line */
	move(6);
	assert_int_equal(number_in_file(false), 6);
	assert_int_equal(w->r->lineage_log_len, 0);
	move(7);
	assert_int_equal(number_in_file(false), 7);
	assert_true(w->r->lineage_log_len > 0);
	lineage_save(w->r, NULL);
	assert_int_equal(number_in_file(false), 7);
	assert_int_equal(w->r->lineage_log_len, 0);
	*w->db.lineage = none;
	lineage_save(w->r, &w->db); /* it counts as no lineage */
	*w->db.lineage = (struct rec_lineage){.n_told = 1};
	w->db.kept = true;
	(void)lineage_load(w->r);
	assert_int_equal(w->db.lineage->n_told, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_leaves_when_written), TEST(test_failure_is_not_held),
		TEST(test_hung_disk),           TEST(test_former_recovery),
		TEST(test_no_thread),           TEST(test_thread_limit),
		TEST(test_disk_fails),          TEST(test_no_memory),
		TEST(test_no_memory_volatile),  TEST(test_appended),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
