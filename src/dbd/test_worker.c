/* Tests of the worker pool: what the jobs do. */
#include "dbd/test_worker_util.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- scan ---- */

struct collected {
	struct test_dir *t;
	struct worker_job *job;
	unsigned batches, records, empty;
	uint64_t rsn_sum;
	bool *seen;          /* by the number in the key */
	unsigned pause_each; /* 0: never */
	bool paused;
	bool end_here;
};

static bool collect_scan(void *priv, struct worker_job *job, const uint8_t *batch, size_t len)
{
	struct collected *c = priv;
	struct worker_scan_entry e;
	const uint8_t *key;

	assert_false(c->paused);
	assert_int_equal((uintptr_t)batch % 8, 0);
	assert_true(len <= 64 * 1024);
	c->batches++;
	while (worker_scan_next(&batch, &len, &e, &key)) {
		char text[32] = "";
		int number;

		assert_true(e.keylen < sizeof(text));
		memcpy(text, key, e.keylen);
		assert_int_equal(sscanf(text, "key%d", &number), 1);
		assert_false(c->seen[number]);
		c->seen[number] = true;
		assert_int_equal(e.rsn, number);
		assert_int_equal(e.dmaster, number % 3);
		assert_int_equal(e.empty, number % 7 == 0);
		c->records++;
	}
	assert_int_equal(len, 0);
	c->paused = c->pause_each != 0 && c->batches % c->pause_each == 0;
	return !c->paused;
}

static TDB_DATA text_key(const char *text)
{
	union {
		const char *in;
		unsigned char *out;
	} u = {.in = text};

	return (TDB_DATA){.dptr = u.out, .dsize = strlen(text)};
}

static void fill(struct db *db, int n)
{
	char key[32], data[64];
	int i;

	for (i = 0; i < n; i++) {
		snprintf(key, sizeof(key), "key%d", i);
		snprintf(data, sizeof(data), "data of %d", i);
		test_store(db->tdb, key, (uint64_t)i, (uint32_t)i % 3, i % 7 == 0 ? "" : data);
	}
	/* Shorter than a header: counts as absent. */
	assert_int_equal(tdb_store(db->tdb, (TDB_DATA){.dptr = (unsigned char *)key, .dsize = 3},
				   (TDB_DATA){.dptr = (unsigned char *)data, .dsize = 5}, 0),
			 0);
}

static void scan_with_pauses(struct test_dir *t, uint32_t flags)
{
	struct collected c = {.t = t, .pause_each = 1, .seen = talloc_zero_array(t, bool, 10000)};
	struct worker_args args = {.op = WORKER_SCAN};
	struct worker_pool *pool = test_pool(t, 2);
	struct tevent_req *req;
	struct db *db;

	test_dbs_open(t);
	db = test_attach(t, "scan.tdb", flags);
	fill(db, 10000);
	req = worker_job_send(t, t->d->ev, pool, db, &args, collect_scan, &c, &c.job);
	while (tevent_req_is_in_progress(req)) {
		if (c.paused && c.batches < 3) {
			test_loop_ms(t, 100); /* collect_scan() fails if anything comes while paused */
		}
		if (c.paused) {
			c.paused = false;
			worker_job_continue(c.job);
		}
		tevent_loop_once(t->d->ev);
	}
	assert_int_equal(test_wait(t, req, NULL), 0);
	assert_int_equal(c.records, 10000);
	assert_true(c.batches >= 5);
}

static void test_scan_volatile(void **state)
{
	scan_with_pauses(*state, 0);
}

static void test_scan_persistent(void **state)
{
	scan_with_pauses(*state, DB_PERSISTENT);
}

/* A consumer that says "go on" from within the call that returns false. */
static bool collect_and_continue(void *priv, struct worker_job *job, const uint8_t *batch, size_t len)
{
	struct collected *c = priv;

	c->batches++;
	worker_job_continue(job);
	return false;
}

static void test_continue_from_within(void **state)
{
	struct test_dir *t = *state;
	struct worker_args args = {.op = WORKER_SCAN};
	struct worker_pool *pool = test_pool(t, 1);
	struct collected c = {.t = t};
	struct db *db;

	test_dbs_open(t);
	db = test_attach(t, "scan.tdb", 0);
	fill(db, 10000);
	assert_int_equal(
		test_wait(t, worker_job_send(t, t->d->ev, pool, db, &args, collect_and_continue, &c, NULL), NULL), 0);
	assert_true(c.batches >= 5);
}

/* ---- read ---- */

static bool collect_read(void *priv, struct worker_job *job, const uint8_t *batch, size_t len)
{
	struct collected *c = priv;
	struct recdata r;
	int error;

	while ((error = recdata_next(&batch, &len, &r)) == 0) {
		struct rec_header h;

		assert_true(rec_header_get(r.data, r.datalen, &h));
		c->records++;
		c->empty += r.datalen == REC_HEADER_SIZE;
		c->rsn_sum += h.rsn;
	}
	assert_int_equal(error, ENOENT);
	c->batches++;
	return true;
}

static struct collected read_all(struct test_dir *t, struct worker_pool *pool, struct db *db, bool owned, bool empty)
{
	struct worker_args args = {.op = WORKER_READ, .only_owned = owned, .with_empty = empty};
	struct collected c = {.t = t};

	assert_int_equal(test_wait(t, worker_job_send(t, t->d->ev, pool, db, &args, collect_read, &c, NULL), NULL), 0);
	return c;
}

static void test_read(void **state)
{
	struct test_dir *t = *state;
	struct worker_pool *pool = test_pool(t, 2);
	struct collected c;
	struct db *db;

	t->d->pnn = 1;
	test_dbs_open(t);
	db = test_attach(t, "read.tdb", 0);
	fill(db, 2100);
	c = read_all(t, pool, db, false, true);
	assert_int_equal(c.records, 2100);
	assert_int_equal(c.empty, 300);
	assert_int_equal(c.rsn_sum, 2100 * 2099 / 2);
	c = read_all(t, pool, db, false, false);
	assert_int_equal(c.records, 1800);
	assert_int_equal(c.empty, 0);
	c = read_all(t, pool, db, true, true);
	assert_int_equal(c.records, 700);
	c = read_all(t, pool, db, true, false);
	assert_int_equal(c.records, 600);
}

static void test_read_large_record(void **state)
{
	struct test_dir *t = *state;
	struct worker_pool *pool = test_pool(t, 1);
	char *large = talloc_zero_array(t, char, 5000000);
	struct collected c;
	struct db *db;

	test_dbs_open(t);
	db = test_attach(t, "large.tdb", 0);
	memset(large, 'x', 4999999);
	test_store(db->tdb, "a", 1, 3, large);
	test_store(db->tdb, "b", 2, 3, "small");
	test_store(db->tdb, "c", 4, 3, large);
	c = read_all(t, pool, db, false, false);
	assert_int_equal(c.rsn_sum, 7);
	c = read_all(t, pool, db, false, false);
	assert_int_equal(c.rsn_sum, 7);
}

/* ---- sequence number and digest ---- */

static uint64_t digest_of(struct test_dir *t, struct worker_pool *pool, struct db *db)
{
	struct worker_state s;

	assert_int_equal(test_run(t, pool, db, WORKER_SEQNUM, &s), 0);
	return s.digest;
}

static void test_digest(void **state)
{
	struct test_dir *t = *state;
	struct worker_pool *pool = test_pool(t, 1);
	struct db *a, *b;

	test_dbs_open(t);
	a = test_attach(t, "a.tdb", DB_PERSISTENT);
	b = test_attach(t, "b.tdb", DB_REPLICATED);
	assert_int_equal(digest_of(t, pool, a), 0);
	test_store(a->tdb, "k1", 1, 3, "v1");
	test_store(a->tdb, "k2", 2, 3, "v2");
	test_store(a->tdb, "gone", 9, 3, "");
	test_store(b->tdb, "gone", 9, 1, "");
	test_store(b->tdb, "k2", 2, 1, "v2");
	test_store(b->tdb, "k1", 1, 1, "v1");
	assert_true(digest_of(t, pool, a) == digest_of(t, pool, b));
	/* Two changes that a plain sum of simple hashes would not see. */
	test_store(b->tdb, "k2", 2, 1, "v1");
	test_store(b->tdb, "k1", 1, 1, "v2");
	assert_false(digest_of(t, pool, a) == digest_of(t, pool, b));
	test_store(b->tdb, "k2", 2, 1, "v2");
	test_store(b->tdb, "k1", 1, 1, "v1");
	/* What the rule of UPDATE looks at: an rsn, a deleted record. */
	test_store(b->tdb, "gone", 8, 1, "");
	assert_false(digest_of(t, pool, a) == digest_of(t, pool, b));
	assert_int_equal(tdb_delete(b->tdb, (TDB_DATA){.dptr = (unsigned char *)"gone", .dsize = 4}), 0);
	assert_false(digest_of(t, pool, a) == digest_of(t, pool, b));
	test_store(b->tdb, "gone", 9, 1, "");
	assert_true(digest_of(t, pool, a) == digest_of(t, pool, b));
}

static struct ctdb_blob seqnum_update(struct test_dir *t, struct db *db, uint64_t rsn, uint64_t seqnum)
{
	struct rec_header h = {.rsn = rsn, .dmaster = 3};
	uint32_t head[2] = {db->id, 1};
	uint8_t value[REC_HEADER_SIZE + 8];
	struct ctdb_blob b = {.len = RECBUF_HEAD + RECDATA_HEAD + 23 + sizeof(value)};

	rec_header_put(value, &h);
	memcpy(value + REC_HEADER_SIZE, &seqnum, 8);
	b.data = talloc_size(t, b.len);
	memcpy(b.data, head, sizeof(head));
	recdata_put(b.data + RECBUF_HEAD, 0, "__db_sequence_number__", 23, value, sizeof(value));
	return b;
}

static void test_seqnum(void **state)
{
	struct test_dir *t = *state;
	struct worker_pool *pool = test_pool(t, 1);
	struct worker_state s;
	struct db *db;

	test_dbs_open(t);
	db = test_attach(t, "s.tdb", DB_PERSISTENT);
	assert_int_equal(test_run(t, pool, db, WORKER_SEQNUM, &s), 0);
	assert_int_equal(s.seqnum, 0);
	assert_int_equal(s.records, 0);
	assert_int_equal(test_update(t, pool, db, seqnum_update(t, db, 1, 0x123456789aULL)), 0);
	test_store(db->tdb, "gone", 9, 3, "");
	assert_int_equal(test_run(t, pool, db, WORKER_SEQNUM, &s), 0);
	assert_true(s.seqnum == 0x123456789aULL);
	assert_int_equal(s.records, 1);
}

/* Jobs that are sent together take effect in that order, whatever the number of workers. */
struct in_order {
	unsigned *counter;
	unsigned at;
	struct worker_state state;
	int error;
	bool *all;
};

static void in_order_done(struct tevent_req *req)
{
	struct in_order *o = tevent_req_callback_data_void(req);

	o->error = worker_job_recv(req, &o->state);
	o->at = (*o->counter)++;
	*o->all = *o->counter == 20;
	talloc_free(req);
}

static void test_order(void **state)
{
	struct test_dir *t = *state;
	struct worker_pool *pool = test_pool(t, 4);
	struct in_order o[20];
	unsigned counter = 0, i;
	bool all = false;
	struct db *db;

	test_dbs_open(t);
	db = test_attach(t, "o.tdb", DB_PERSISTENT);
	for (i = 0; i < 20; i++) {
		struct worker_args args = {.op = i % 2 == 0 ? WORKER_UPDATE : WORKER_SEQNUM};
		struct tevent_req *req;

		o[i] = (struct in_order){.counter = &counter, .all = &all};
		if (i % 2 == 0) {
			args.input = seqnum_update(t, db, i + 1, i + 100);
		}
		req = worker_job_send(t, t->d->ev, pool, db, &args, NULL, NULL, NULL);
		tevent_req_set_callback(req, in_order_done, &o[i]);
	}
	test_loop_until(t, &all);
	for (i = 0; i < 20; i++) {
		assert_int_equal(o[i].error, 0);
		assert_int_equal(o[i].at, i);
		if (i % 2 == 1) {
			assert_int_equal(o[i].state.seqnum, i - 1 + 100);
		}
	}
}

/* ---- update ---- */

static void check_value(struct test_dir *t, struct db *db, const char *key, const char *value, uint64_t rsn)
{
	uint64_t found_rsn = 0;
	char *found = test_fetch(t, db->tdb, key, &found_rsn);

	if (value == NULL) {
		assert_null(found);
		return;
	}
	assert_non_null(found);
	assert_string_equal(found, value);
	assert_int_equal(found_rsn, rsn);
}

static void test_update_rule(void **state)
{
	struct test_dir *t = *state;
	struct worker_pool *pool = test_pool(t, 2);
	struct db *db;
	struct ctdb_blob b;

	test_dbs_open(t);
	db = test_attach(t, "u.tdb", DB_PERSISTENT);
	assert_int_equal(test_update(t, pool, db, test_recbuf(t, db->id, "a 1 one", "b 1 one", NULL)), 0);
	check_value(t, db, "a", "one", 1);
	check_value(t, db, "b", "one", 1);
	/* The same again, as after an interrupted commit. */
	assert_int_equal(test_update(t, pool, db, test_recbuf(t, db->id, "a 1 one", "b 1 one", NULL)), 0);
	/* b is not newer and says something else: nothing of it is stored. */
	assert_int_equal(test_update(t, pool, db, test_recbuf(t, db->id, "a 2 two", "b 1 two", "c 1 new", NULL)),
			 EEXIST);
	check_value(t, db, "a", "one", 1);
	check_value(t, db, "b", "one", 1);
	check_value(t, db, "c", NULL, 0);
	assert_int_equal(test_update(t, pool, db, test_recbuf(t, db->id, "a 0 old", NULL)), EEXIST);
	/* Same length, and a deletion. */
	assert_int_equal(test_update(t, pool, db, test_recbuf(t, db->id, "a 1 onf", NULL)), EEXIST);
	assert_int_equal(test_update(t, pool, db, test_recbuf(t, db->id, "a 1 -", NULL)), EEXIST);
	assert_int_equal(test_update(t, pool, db, test_recbuf(t, db->id, "a 2 -", NULL)), 0);
	check_value(t, db, "a", "", 2);
	/* One key several times, each one higher: the last counts. */
	assert_int_equal(test_update(t, pool, db, test_recbuf(t, db->id, "b 2 x", "b 3 y", "b 4 z", NULL)), 0);
	check_value(t, db, "b", "z", 4);
	assert_int_equal(test_update(t, pool, db, test_recbuf(t, db->id, "b 5 x", "b 5 y", NULL)), EEXIST);
	check_value(t, db, "b", "z", 4);
	assert_int_equal(test_update(t, pool, db, test_recbuf(t, db->id, NULL)), 0);
	/* Not for this database; cut; a record without a header. */
	assert_int_equal(test_update(t, pool, db, test_recbuf(t, db->id + 1, "b 9 x", NULL)), EINVAL);
	b = test_recbuf(t, db->id, "b 9 x", "c 9 x", NULL);
	b.len--;
	assert_int_equal(test_update(t, pool, db, b), EBADMSG);
	b.len = 3;
	assert_int_equal(test_update(t, pool, db, b), EBADMSG);
	check_value(t, db, "b", "z", 4);
	assert_int_equal(test_run(t, pool, db, WORKER_CHECK, NULL), 0);
}

static void test_update_without_header(void **state)
{
	struct test_dir *t = *state;
	struct worker_pool *pool = test_pool(t, 1);
	struct ctdb_blob b = {.len = RECBUF_HEAD + 2 * RECDATA_HEAD + REC_HEADER_SIZE + 1 + 1 + 23};
	static const uint8_t zero[REC_HEADER_SIZE];
	uint32_t head[2] = {0, 2};
	struct db *db;

	test_dbs_open(t);
	db = test_attach(t, "u.tdb", DB_REPLICATED);
	head[0] = db->id;
	b.data = talloc_size(t, b.len);
	memcpy(b.data, head, sizeof(head));
	recdata_put(recdata_put(b.data + RECBUF_HEAD, 0, "a", 1, zero, 24), 0, "b", 1, zero, 23);
	assert_int_equal(test_update(t, pool, db, b), EBADMSG);
	check_value(t, db, "a", NULL, 0);
}

/* Refused at once; the job is there until its request is freed, and harmless. */
static void test_update_too_large(void **state)
{
	struct test_dir *t = *state;
	struct worker_pool *pool = test_pool(t, 1);
	struct worker_args args = {.op = WORKER_UPDATE, .input = {.len = 64 * 1024 * 1024 + 1}};
	struct worker_job *job = NULL;
	struct tevent_req *req;
	struct db *db;

	test_dbs_open(t);
	db = test_attach(t, "u.tdb", DB_PERSISTENT);
	req = worker_job_send(t, t->d->ev, pool, db, &args, NULL, NULL, &job);
	assert_non_null(job);
	assert_int_equal(worker_job_feed(job, (const uint8_t *)"x", 1, true), 0);
	worker_job_continue(job);
	assert_int_equal(test_wait(t, req, NULL), EMSGSIZE);
	assert_int_equal(test_run(t, pool, db, WORKER_SEQNUM, NULL), 0);
}

/* ---- replace ---- */

static void test_replace(void **state)
{
	struct test_dir *t = *state;
	struct worker_pool *pool = test_pool(t, 1);
	struct ctdb_blob one = test_records(t, "a 5 new", "b 6 new", NULL);
	struct ctdb_blob two = test_records(t, "c 7 -", NULL);
	struct worker_job *job;
	struct tevent_req *req;
	struct db *db;

	test_dbs_open(t);
	db = test_attach(t, "r.tdb", DB_PERSISTENT);
	test_store(db->tdb, "a", 9, 3, "old");
	test_store(db->tdb, "x", 9, 3, "old");
	req = test_send(t, pool, db, WORKER_REPLACE, &job);
	assert_true(worker_job_feed(job, one.data, one.len, false) >= one.len);
	assert_true(worker_job_feed(job, two.data, two.len, false) >= one.len + two.len);
	worker_job_feed(job, NULL, 0, true);
	assert_int_equal(test_wait(t, req, NULL), 0);
	check_value(t, db, "a", "new", 5);
	check_value(t, db, "b", "new", 6);
	check_value(t, db, "c", "", 7);
	check_value(t, db, "x", NULL, 0);
	/* With nothing it is a wipe. */
	req = test_send(t, pool, db, WORKER_REPLACE, &job);
	worker_job_feed(job, NULL, 0, true);
	assert_int_equal(test_wait(t, req, NULL), 0);
	check_value(t, db, "a", NULL, 0);
	assert_int_equal(test_run(t, pool, db, WORKER_CHECK, NULL), 0);
}

static void test_replace_all_or_nothing(void **state)
{
	struct test_dir *t = *state;
	struct worker_pool *pool = test_pool(t, 2);
	struct ctdb_blob good = test_records(t, "a 5 new", "b 6 new", NULL);
	struct worker_job *job;
	struct tevent_req *req;
	struct worker_state s;
	struct db *db;

	test_dbs_open(t);
	db = test_attach(t, "r.tdb", DB_REPLICATED);
	test_store(db->tdb, "a", 9, 3, "old");
	/* Malformed in the middle; more is fed before that is known, and none of it disturbs the next job. */
	req = test_send(t, pool, db, WORKER_REPLACE, &job);
	worker_job_feed(job, good.data, good.len, false);
	worker_job_feed(job, good.data, good.len - 1, false);
	worker_job_feed(job, good.data, good.len, false);
	worker_job_feed(job, good.data, good.len, true);
	assert_int_equal(test_wait(t, req, NULL), EBADMSG);
	check_value(t, db, "a", "old", 9);
	assert_int_equal(test_run(t, pool, db, WORKER_SEQNUM, &s), 0);
	assert_int_equal(s.records, 1);
	/* Cancelled in the middle, when it has surely begun: the transaction's lock is held. */
	req = test_send(t, pool, db, WORKER_REPLACE, &job);
	worker_job_feed(job, good.data, good.len, false);
	test_loop_ms(t, 200);
	talloc_free(req);
	assert_int_equal(test_run(t, pool, db, WORKER_SEQNUM, &s), 0);
	assert_int_equal(s.records, 1);
	check_value(t, db, "a", "old", 9);
	check_value(t, db, "b", NULL, 0);
	assert_int_equal(test_run(t, pool, db, WORKER_CHECK, NULL), 0);
}

static void count_drain(void *priv, struct worker_job *job)
{
	*(bool *)priv = true;
}

/* A feeder learns when the worker has caught up. */
static void test_replace_drain(void **state)
{
	struct test_dir *t = *state;
	struct worker_pool *pool = test_pool(t, 1);
	char *text = talloc_size(t, 100100);
	struct ctdb_blob b;
	bool drained = false;
	struct worker_job *job;
	struct tevent_req *req;
	size_t queued = 0;
	struct db *db;
	int i;

	test_dbs_open(t);
	db = test_attach(t, "r.tdb", DB_REPLICATED);
	req = test_send(t, pool, db, WORKER_REPLACE, &job);
	worker_job_set_drain(job, count_drain, &drained);
	for (i = 0; i < 20; i++) {
		snprintf(text, 100, "k%d 1 ", i);
		memset(text + strlen(text), 'x', 100000);
		text[100000] = '\0';
		b = test_records(t, text, NULL);
		queued = worker_job_feed(job, b.data, b.len, false);
	}
	assert_true(queued > 20 * 99000);
	test_loop_until(t, &drained);
	assert_true(worker_job_feed(job, NULL, 0, false) < WORKER_FEED_LOW);
	worker_job_feed(job, NULL, 0, true);
	assert_int_equal(test_wait(t, req, NULL), 0);
	assert_int_equal(tdb_traverse_read(db->tdb, NULL, NULL), 20);
}

/* ---- wipe, check, flags ---- */

static void test_wipe(void **state)
{
	struct test_dir *t = *state;
	struct worker_pool *pool = test_pool(t, 1);
	static const uint32_t models[] = {0, DB_PERSISTENT, DB_REPLICATED};
	size_t i;

	test_dbs_open(t);
	for (i = 0; i < 3; i++) {
		struct db *db = test_attach(t, talloc_asprintf(t, "w%zu.tdb", i), models[i]);

		fill(db, 100);
		assert_int_equal(test_run(t, pool, db, WORKER_WIPE, NULL), 0);
		assert_int_equal(tdb_traverse_read(db->tdb, NULL, NULL), 0);
		test_store(db->tdb, "k", 1, 3, "v");
		assert_int_equal(test_run(t, pool, db, WORKER_CHECK, NULL), 0);
	}
}

/* A client holds a record of a volatile database (a mutex): the wipe waits for it. */
static void test_wipe_waits_for_client(void **state)
{
	struct test_dir *t = *state;
	struct worker_pool *pool = test_pool(t, 1);
	struct holder *client;
	struct tevent_req *req;
	struct db *db;

	test_dbs_open(t);
	db = test_attach(t, "w.tdb", 0);
	test_store(db->tdb, "k", 1, 3, "v");
	client = test_holder(t, db->path, db_open_flags(db), "lock", "k");
	req = test_send(t, pool, db, WORKER_WIPE, NULL);
	test_loop_ms(t, 300);
	assert_true(tevent_req_is_in_progress(req));
	test_holder_end(client);
	assert_int_equal(test_wait(t, req, NULL), 0);
	assert_null(test_fetch(t, db->tdb, "k", NULL));
}

static bool take_batch(void *priv, struct worker_job *job, const uint8_t *batch, size_t len)
{
	(void)job;
	(void)batch;
	*(bool *)priv = len > 0;
	return true;
}

static struct tevent_req *freeze_send(struct test_dir *t, struct worker_pool *pool, struct db *db, bool *frozen,
				      struct worker_job **job)
{
	struct worker_args args = {.op = WORKER_FREEZE};
	struct tevent_req *req = worker_job_send(t, t->d->ev, pool, db, &args, take_batch, frozen, job);

	*frozen = false;
	assert_non_null(req);
	return req;
}

/* A worker knows a file since it was empty. It grew since then, and its end is free again. */
static void wipe_grown(struct test_dir *t, struct worker_pool *pool, struct db *db, bool frozen)
{
	struct worker_job *job;
	struct tevent_req *req;
	const uint8_t byte = 1;
	char key[32];
	bool seen;
	int i;

	assert_int_equal(test_run(t, pool, db, WORKER_SEQNUM, NULL), 0);
	fill(db, 3000);
	for (i = 0; i < 100; i++) {
		snprintf(key, sizeof(key), "extra%d", i);
		test_store(db->tdb, key, 1, 3, "something that is deleted again");
	}
	for (i = 99; i >= 0; i--) {
		snprintf(key, sizeof(key), "extra%d", i);
		assert_int_equal(tdb_delete(db->tdb, text_key(key)), 0);
	}
	req = frozen ? freeze_send(t, pool, db, &seen, &job) : test_send(t, pool, db, WORKER_WIPE, &job);
	if (frozen) {
		(void)worker_job_feed(job, &byte, sizeof(byte), true);
	}
	assert_int_equal(test_wait(t, req, NULL), 0);
	assert_int_equal(tdb_traverse_read(db->tdb, NULL, NULL), 0);
	fill(db, 3000);
	assert_int_equal(test_run(t, pool, db, WORKER_CHECK, NULL), 0);
	assert_true(tdb_map_size(db->tdb) < 16U * 1024 * 1024);
}

static void test_wipe_of_a_grown_file(void **state)
{
	struct test_dir *t = *state;
	struct worker_pool *pool = test_pool(t, 1);

	test_dbs_open(t);
	wipe_grown(t, pool, test_attach(t, "g.tdb", 0), false);
	wipe_grown(t, pool, test_attach(t, "f.tdb", 0), true);
	wipe_grown(t, pool, test_attach(t, "r.tdb", DB_REPLICATED), false);
}

/* Frozen: a client that wants to write waits; let go: it goes on, and nothing has changed. */
static void test_freeze(void **state)
{
	struct test_dir *t = *state;
	struct worker_pool *pool = test_pool(t, 1);
	struct worker_job *job;
	struct tevent_req *req;
	struct db *db;
	bool frozen;
	TDB_DATA key = text_key("k");

	test_dbs_open(t);
	db = test_attach(t, "z.tdb", 0);
	test_store(db->tdb, "k", 1, 3, "v");
	req = freeze_send(t, pool, db, &frozen, &job);
	test_loop_until(t, &frozen);
	assert_true(tevent_req_is_in_progress(req));
	assert_int_not_equal(tdb_chainlock_nonblock(db->tdb, key), 0);
	(void)worker_job_feed(job, NULL, 0, true);
	assert_int_equal(test_wait(t, req, NULL), 0);
	assert_int_equal(tdb_chainlock_nonblock(db->tdb, key), 0);
	tdb_chainunlock(db->tdb, key);
	assert_int_equal(tdb_traverse_read(db->tdb, NULL, NULL), 1);
}

/* A job that only reads waits for a client's lock: what is ordered need not wait behind it. */
static void test_examinations_are_not_ordered(void **state)
{
	const struct worker_args page = {.op = WORKER_PAGE, .parts = 1};
	struct test_dir *t = *state;
	struct worker_pool *pool = test_pool(t, 4);
	struct tevent_req *checking, *paging;
	struct holder *h;
	struct db *db;

	test_dbs_open(t);
	db = test_attach(t, "x.tdb", 0);
	h = test_holder(t, db->path, db->tdb_flags, "lock", "k");
	checking = test_send(t, pool, db, WORKER_CHECK, NULL);
	paging = worker_job_send(t, t->d->ev, pool, db, &page, NULL, NULL, NULL);
	assert_int_equal(test_run(t, pool, db, WORKER_SETTLE, NULL), 0);
	assert_true(tevent_req_is_in_progress(checking));
	assert_true(tevent_req_is_in_progress(paging));
	test_holder_end(h);
	assert_int_equal(test_wait(t, checking, NULL), 0);
	assert_int_equal(test_wait(t, paging, NULL), 0);
}

static void test_check_finds_damage(void **state)
{
	struct test_dir *t = *state;
	struct worker_pool *pool = test_pool(t, 1);
	uint8_t junk[64];
	struct db *db;

	test_dbs_open(t);
	db = test_attach(t, "c.tdb", DB_PERSISTENT);
	fill(db, 100);
	assert_int_equal(test_run(t, pool, db, WORKER_CHECK, NULL), 0);
	memset(junk, 0x5a, sizeof(junk));
	assert_int_equal(pwrite(tdb_fd(db->tdb), junk, sizeof(junk), 168 + 4 * 500), sizeof(junk));
	assert_int_equal(test_run(t, pool, db, WORKER_CHECK, NULL), EIO);
	assert_int_equal(test_run(t, pool, db, WORKER_SEQNUM, NULL), EIO);
}

static void test_missing_file(void **state)
{
	struct test_dir *t = *state;
	struct worker_pool *pool = test_pool(t, 1);
	struct db *db;

	test_dbs_open(t);
	db = test_attach(t, "m.tdb", DB_PERSISTENT);
	assert_int_equal(unlink(db->path), 0);
	assert_int_equal(test_run(t, pool, db, WORKER_SEQNUM, NULL), ENOENT);
}

/* TDB's own sequence number counts what workers write, also when it was enabled after they had opened the file. */
static void test_tdb_seqnum_is_maintained(void **state)
{
	struct test_dir *t = *state;
	struct worker_pool *pool = test_pool(t, 1);
	struct db *db;
	int before;

	test_dbs_open(t);
	db = test_attach(t, "q.tdb", DB_PERSISTENT);
	assert_int_equal(test_update(t, pool, db, test_recbuf(t, db->id, "a 1 x", NULL)), 0);
	db_enable_seqnum(db);
	before = tdb_get_seqnum(db->tdb);
	assert_int_equal(test_update(t, pool, db, test_recbuf(t, db->id, "a 2 y", NULL)), 0);
	assert_int_not_equal(tdb_get_seqnum(db->tdb), before);
}

/* More databases than a worker keeps open. */
static void test_many_databases(void **state)
{
	struct test_dir *t = *state;
	struct worker_pool *pool = test_pool(t, 1);
	struct db *db[70];
	int i, round;

	t->d->conf->database.hash_size = 7;
	test_dbs_open(t);
	for (i = 0; i < 70; i++) {
		db[i] = test_attach(t, talloc_asprintf(t, "db%d.tdb", i), i % 2 == 0 ? 0 : DB_REPLICATED);
		test_store(db[i]->tdb, "k", 1, 3, "v");
	}
	for (round = 0; round < 2; round++) {
		for (i = 0; i < 70; i++) {
			struct worker_state s;

			assert_int_equal(test_run(t, pool, db[i], WORKER_SEQNUM, &s), 0);
			assert_int_equal(s.records, 1);
		}
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, test_dir_setup, test_dir_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_scan_volatile),
		TEST(test_scan_persistent),
		TEST(test_continue_from_within),
		TEST(test_read),
		TEST(test_read_large_record),
		TEST(test_digest),
		TEST(test_seqnum),
		TEST(test_order),
		TEST(test_update_rule),
		TEST(test_update_without_header),
		TEST(test_update_too_large),
		TEST(test_replace),
		TEST(test_replace_all_or_nothing),
		TEST(test_replace_drain),
		TEST(test_wipe),
		TEST(test_wipe_waits_for_client),
		TEST(test_wipe_of_a_grown_file),
		TEST(test_freeze),
		TEST(test_examinations_are_not_ordered),
		TEST(test_check_finds_damage),
		TEST(test_missing_file),
		TEST(test_tdb_seqnum_is_maintained),
		TEST(test_many_databases),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
