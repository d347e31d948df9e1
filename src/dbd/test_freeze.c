/* Tests: jobs of recovery and fence end with their database. Workers and the recovery's rules are played. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "dbd/locks.h"
#include "dbd/recovery_int.h"
#include "dbd/scan_filter.h"

static struct world {
	struct recovery *r;
	struct dlist dbs;
	uint32_t jobs; /* that run */
	struct tevent_req *last;
	uint32_t forgotten, done;
} world, *const w = &world;

/* ---- the surroundings ---- */

static int job_destructor(int *job)
{
	w->jobs--;
	return 0;
}

struct tevent_req *worker_job_send(TALLOC_CTX *mem, struct tevent_context *ev, struct worker_pool *pool, struct db *db,
				   const struct worker_args *args, worker_batch_fn batch, void *priv,
				   struct worker_job **job)
{
	int *state;
	struct tevent_req *req = tevent_req_create(mem, &state, int);

	talloc_set_destructor(state, job_destructor);
	w->jobs++;
	w->last = req;
	return req;
}

int worker_job_recv(struct tevent_req *req, struct worker_state *state)
{
	return 0;
}

void worker_job_continue(struct worker_job *job)
{
}

void worker_pool_renew(struct worker_pool *pool)
{
}

size_t worker_job_feed(struct worker_job *job, const uint8_t *rec_data, size_t len, bool last)
{
	return 0;
}

bool worker_scan_next(const uint8_t **p, size_t *left, struct worker_scan_entry *e, const uint8_t **key)
{
	return false;
}

int scan_filter_encode(TALLOC_CTX *mem, const struct rec_scan_filter *f, struct ctdb_blob *out)
{
	return 0;
}

struct dlist *dbs_list(struct dbs *dbs)
{
	return &w->dbs;
}

int db_set_health(struct db *db, const char *reason)
{
	return 0;
}

int records_found(struct db *db, const uint8_t *key, size_t keylen, uint32_t flags)
{
	return 0;
}

int records_strip(struct db *db)
{
	return 0;
}

void rec_member_state_done(struct rec_member *m, void *db, int status, uint64_t seqnum, uint64_t digest, bool healthy)
{
}

void rec_member_read_done(struct rec_member *m, void *db, uint64_t seqnum, uint64_t digest, uint64_t records,
			  struct mono now)
{
}

void rec_member_job_done(struct rec_member *m, void *db, int status, struct mono now)
{
	w->done++;
}

bool rec_member_scan_entry(struct rec_member *m, void *db, const struct rec_scan_entry *entry)
{
	return true;
}

bool rec_member_read_batch(struct rec_member *m, void *db, const uint8_t *records, size_t len)
{
	return true;
}

void rec_member_late(struct rec_member *m, void *db)
{
}

void rec_member_forget(struct rec_member *m, uint32_t db_id, void *db)
{
	w->forgotten++;
}

struct mono lineage_patience(struct recovery *r, struct mono now)
{
	return MONO_NEVER;
}

bool locks_held(const struct db *db)
{
	return false;
}

uint32_t recovery_patience_ms(const struct recovery *r)
{
	return 20000;
}

void recovery_kick(struct recovery *r)
{
}

static void never(void *priv)
{
}

static int setup(void **state)
{
	struct recovery *r = talloc_zero(NULL, struct recovery);

	world = (struct world){.r = r};
	dlist_init(&w->dbs);
	r->dbd = talloc_zero(r, struct dbd);
	r->dbd->d = talloc_zero(r, struct daemon);
	r->dbd->d->ev = tevent_context_init(r);
	r->patience_timer = mono_timer_new(r, r->dbd->d->ev, never, r);
	dlist_init(&r->jobs);
	dlist_init(&r->freezes);
	return 0;
}

static int teardown(void **state)
{
	talloc_free(w->r);
	assert_int_equal(w->jobs, 0);
	return 0;
}

static struct db *database(uint32_t id)
{
	struct db *db = talloc_zero(w->r, struct db);

	db->id = id;
	db->name = talloc_strdup(db, "gone.tdb");
	db->writes = talloc_zero(db, struct db_writes);
	dlist_add_tail(&w->dbs, &db->link);
	return db;
}

/* ---- tests ---- */

/* The node acts again, but a worker of the fence still waits for a client's lock when its database goes. */
static void test_fence_ends_with_its_database(void **state)
{
	struct db *gone = database(1), *other = database(2);

	freeze_all(w->r);
	assert_int_equal(w->jobs, 2);
	freeze_end(w->r, gone);
	recovery_db_gone(w->r, gone);
	assert_int_equal(w->jobs, 1);
	assert_int_equal(w->forgotten, 1);
	dlist_remove(&gone->link);
	talloc_free(gone);
	tevent_req_done(w->last); /* the other's goes on to its end */
	assert_int_equal(w->jobs, 0);
	(void)other;
}

/* A recovery has ended without a database whose file a client keeps locked; then that is detached. */
static void test_job_ends_with_its_database(void **state)
{
	struct db *gone = database(1);

	assert_int_equal(recovery_start_wipe(w->r, gone), 0);
	assert_int_equal(w->jobs, 1);
	recovery_db_gone(w->r, gone);
	assert_int_equal(w->jobs, 0);
	assert_int_equal(w->forgotten, 1);
	assert_int_equal(w->done, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {TEST(test_fence_ends_with_its_database),
					   TEST(test_job_ends_with_its_database)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
