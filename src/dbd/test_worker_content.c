/* Tests of workers: contents by parts, as a recovery moves them from one copy to another. */
#include "dbd/test_worker_util.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/content_parts.h"

#define RECORDS 600

static const char seqnum_key[] = "__db_sequence_number__";

struct copy {
	struct db *db;
	struct worker_state state; /* sums: below */
	uint64_t sums[LANE_PARTS];
};

/* What travels from one copy to the other. */
struct transfer {
	struct test_dir *t;
	struct worker_pool *pool;
	struct copy from, to;
	struct content_map map;
	struct ctdb_blob records;
	struct worker_state read; /* of from, when it was read */
};

static void set_seqnum(struct db *db, uint64_t n)
{
	uint8_t value[REC_HEADER_SIZE + sizeof(n)];
	union {
		const char *c;
		unsigned char *p;
	} key = {seqnum_key};

	rec_header_put(value, &(struct rec_header){.rsn = n});
	memcpy(value + REC_HEADER_SIZE, &n, sizeof(n));
	assert_int_equal(tdb_store(db->tdb, (TDB_DATA){.dptr = key.p, .dsize = sizeof(seqnum_key)},
				   (TDB_DATA){.dptr = value, .dsize = sizeof(value)}, 0),
			 0);
}

static void set(struct db *db, int i, uint64_t rsn, const char *value)
{
	char key[32];

	snprintf(key, sizeof(key), "key %d", i);
	test_store(db->tdb, key, rsn, 3, value);
}

static void drop(struct db *db, int i)
{
	char key[32];

	snprintf(key, sizeof(key), "key %d", i);
	assert_int_equal(tdb_delete(db->tdb, (TDB_DATA){.dptr = (unsigned char *)key, .dsize = strlen(key)}), 0);
}

static void fill(struct db *db)
{
	char value[64];

	assert_int_equal(tdb_transaction_start(db->tdb), 0);
	for (int i = 0; i < RECORDS; i++) {
		snprintf(value, sizeof(value), "value %d, and %.*s", i, i % 30, "something more of some length");
		set(db, i, 1, i % 10 == 0 ? "" : value);
	}
	set_seqnum(db, 5);
	assert_int_equal(tdb_transaction_commit(db->tdb), 0);
}

/* The request's sums do not outlive it. */
static void look(struct transfer *x, struct copy *c)
{
	struct tevent_req *req = test_send(x->t, x->pool, c->db, WORKER_SEQNUM, NULL);

	assert_true(tevent_req_set_endtime(req, x->t->d->ev, tevent_timeval_current_ofs(TEST_SECONDS, 0)));
	assert_true(tevent_req_poll(req, x->t->d->ev));
	assert_int_equal(worker_job_recv(req, &c->state), 0);
	assert_true(content_parts_valid(c->state.n_sums));
	if (c->state.n_sums > 0) {
		memcpy(c->sums, c->state.sums, c->state.n_sums * sizeof(uint64_t));
	}
	c->state.sums = c->sums;
	talloc_free(req);
}

static bool collect(void *priv, struct worker_job *job, const uint8_t *batch, size_t len)
{
	struct transfer *x = priv;

	x->records.data = talloc_realloc(x->t, x->records.data, uint8_t, x->records.len + len);
	memcpy(x->records.data + x->records.len, batch, len);
	x->records.len += (uint32_t)len;
	return true;
}

static struct ctdb_blob bytes_of(struct content_map *map)
{
	return (struct ctdb_blob){(uint32_t)content_map_size(map->n), map->bits};
}

static void read_map(struct transfer *x)
{
	struct worker_args args = {.op = WORKER_READ,
				   .with_empty = true,
				   .with_state = true,
				   .parts = x->map.n,
				   .input = bytes_of(&x->map)};

	x->records.len = 0;
	assert_int_equal(test_wait(x->t,
				   worker_job_send(x->t, x->t->d->ev, x->pool, x->from.db, &args, collect, x, NULL),
				   &x->read),
			 0);
}

static int replace(struct transfer *x, struct worker_pool *pool, uint64_t seqnum, uint64_t digest,
		   struct worker_state *result)
{
	struct worker_args args = {.op = WORKER_REPLACE,
				   .parts = x->map.n,
				   .input = bytes_of(&x->map),
				   .check = true,
				   .seqnum = seqnum,
				   .digest = digest};
	struct worker_job *job;
	struct tevent_req *req = worker_job_send(x->t, x->t->d->ev, pool, x->to.db, &args, NULL, NULL, &job);

	worker_job_feed(job, x->records.data, x->records.len, true);
	return test_wait(x->t, req, result);
}

/* Two copies that differ: 3 records were changed at the source, one is empty now, one was removed, one is new. */
static void scene(struct transfer *x, struct test_dir *t, uint32_t flags)
{
	*x = (struct transfer){.t = t, .pool = test_pool(t, 1)};
	test_dbs_open(t);
	x->from.db = test_attach(t, "from.tdb", flags);
	x->to.db = test_attach(t, "to.tdb", flags);
	fill(x->from.db);
	fill(x->to.db);
	look(x, &x->from);
	look(x, &x->to);
	assert_int_equal(x->from.state.digest, x->to.state.digest);
	assert_memory_equal(x->from.sums, x->to.sums, x->to.state.n_sums * sizeof(uint64_t));
	set(x->from.db, 1, 2, "other");
	set(x->from.db, 2, 2, "other value, longer than the one before, so that it needs another place");
	set(x->from.db, 3, 1, "same rsn");
	set(x->from.db, 4, 2, "");
	drop(x->from.db, 5);
	set(x->from.db, 9999, 1, "new");
	set_seqnum(x->from.db, 6);
	look(x, &x->from);
}

static void compare(struct transfer *x)
{
	x->map = (struct content_map){.n = x->from.state.n_sums};
	content_map_add(&x->map, x->from.sums, x->from.state.n_sums, x->to.sums, x->to.state.n_sums);
}

static void assert_equal(struct transfer *x)
{
	look(x, &x->to);
	assert_int_equal(x->to.state.seqnum, x->from.state.seqnum);
	assert_int_equal(x->to.state.digest, x->from.state.digest);
	assert_int_equal(x->to.state.records, x->from.state.records);
	assert_int_equal(test_run(x->t, x->pool, x->to.db, WORKER_CHECK, NULL), 0);
}

static void test_sums(void **state)
{
	struct test_dir *t = *state;
	struct transfer x = {.t = t, .pool = test_pool(t, 1)};
	uint64_t sum = 0;

	test_dbs_open(t);
	x.from.db = test_attach(t, "from.tdb", DB_PERSISTENT);
	for (int i = 0; i < 63; i++) {
		set(x.from.db, i, 1, i % 2 == 0 ? "value" : "");
	}
	look(&x, &x.from);
	assert_int_equal(x.from.state.n_sums, 0);
	set(x.from.db, 63, 1, ""); /* empty ones count, too */
	look(&x, &x.from);
	assert_int_equal(x.from.state.n_sums, 4);
	assert_int_equal(x.from.state.records, 32);
	for (int i = 0; i < 4; i++) {
		sum += x.from.sums[i];
	}
	assert_int_equal(sum, x.from.state.digest);
	fill(x.from.db);
	look(&x, &x.from);
	assert_int_equal(x.from.state.n_sums, 64);
}

static void moves_what_differs(struct test_dir *t, uint32_t flags)
{
	struct transfer x;
	uint8_t garbage[10] = {0};
	char key[32] = "key 5"; /* in a part that is replaced */

	scene(&x, t, flags);
	assert_int_equal(tdb_store(x.to.db->tdb, (TDB_DATA){.dptr = (unsigned char *)key, .dsize = 5},
				   (TDB_DATA){.dptr = garbage, .dsize = sizeof(garbage)}, 0),
			 0);
	compare(&x);
	read_map(&x);
	assert_int_equal(x.read.seqnum, 6);
	assert_int_equal(x.read.digest, x.from.state.digest);
	assert_true(x.read.records >= 6 && x.read.records < RECORDS / 4);
	assert_int_equal(replace(&x, x.pool, 6, x.from.state.digest, NULL), 0);
	assert_equal(&x);
	assert_null(test_fetch(t, x.to.db->tdb, "key 5", NULL));
	assert_string_equal(test_fetch(t, x.to.db->tdb, "key 4", NULL), "");
	assert_string_equal(test_fetch(t, x.to.db->tdb, "key 9999", NULL), "new");
	/* Nothing differs: nothing travels. */
	compare(&x);
	read_map(&x);
	assert_int_equal(x.records.len, 0);
	assert_int_equal(x.read.digest, x.from.state.digest);
	assert_int_equal(replace(&x, x.pool, 6, x.from.state.digest, NULL), 0);
	assert_equal(&x);
}

static void test_moves_what_differs(void **state)
{
	moves_what_differs(*state, DB_PERSISTENT);
}

static void test_moves_what_differs_replicated(void **state)
{
	moves_what_differs(*state, DB_REPLICATED);
}

static void test_whole_and_empty(void **state)
{
	struct transfer x;

	scene(&x, *state, DB_PERSISTENT);
	read_map(&x);
	assert_int_equal(x.read.records, RECORDS + 1);
	assert_int_equal(replace(&x, x.pool, 6, x.from.state.digest, NULL), 0);
	assert_equal(&x);
	assert_int_equal(test_run(x.t, x.pool, x.from.db, WORKER_WIPE, NULL), 0);
	look(&x, &x.from);
	read_map(&x);
	assert_int_equal(x.records.len, 0);
	assert_int_equal(replace(&x, x.pool, 0, 0, NULL), 0);
	assert_equal(&x);
}

static void assert_unchanged(struct transfer *x, const struct worker_state *before)
{
	look(x, &x->to);
	assert_int_equal(x->to.state.seqnum, before->seqnum);
	assert_int_equal(x->to.state.digest, before->digest);
	assert_int_equal(test_run(x->t, x->pool, x->to.db, WORKER_CHECK, NULL), 0);
}

/* Size of the last one that was read. */
static uint32_t last_record(struct transfer *x)
{
	const uint8_t *p = x->records.data, *start = p;
	size_t left = x->records.len, n = left;
	struct recdata r;

	while (left > 0) {
		start = p;
		n = left;
		assert_int_equal(recdata_next(&p, &left, &r), 0);
	}
	assert_true(start != x->records.data);
	return (uint32_t)n;
}

static void assert_refused_twice(struct transfer *x, const char *key, const struct worker_state *before)
{
	const uint8_t *p = x->records.data;
	size_t left = x->records.len;
	uint32_t len = x->records.len;
	struct recdata r = {0};
	uint8_t *again;

	while (r.keylen != strlen(key) || memcmp(r.key, key, r.keylen) != 0) {
		assert_int_equal(recdata_next(&p, &left, &r), 0);
	}
	again = talloc_memdup(x->t, r.key - RECDATA_HEAD, recdata_size(r.keylen, r.datalen)); /* collect() moves all */
	collect(x, NULL, again, recdata_size(r.keylen, r.datalen));
	talloc_free(again);
	assert_int_equal(replace(x, x->pool, 6, x->from.state.digest, NULL), EPROTO);
	assert_unchanged(x, before);
	x->records.len = len;
}

/* Whatever comes, only what the source has is kept. */
static void test_refused(void **state)
{
	uint32_t last;
	struct worker_state before, got = {0};
	struct content_map map;
	struct transfer x;

	scene(&x, *state, DB_PERSISTENT);
	before = x.to.state;
	compare(&x);
	read_map(&x);
	/* Another sequence number or digest than is told. */
	assert_int_equal(replace(&x, x.pool, 7, x.from.state.digest, &got), EILSEQ);
	assert_int_equal(got.seqnum, 6);
	assert_int_equal(got.digest, x.from.state.digest);
	assert_int_equal(replace(&x, x.pool, 6, x.from.state.digest + 1, &got), EILSEQ);
	assert_unchanged(&x, &before);
	/* Not all of it came. */
	map = x.map;
	last = last_record(&x);
	x.records.len -= last;
	assert_int_equal(replace(&x, x.pool, 6, x.from.state.digest, NULL), EILSEQ);
	assert_unchanged(&x, &before);
	/* A part of a record. */
	x.records.len += last - 1;
	assert_int_equal(replace(&x, x.pool, 6, x.from.state.digest, NULL), EBADMSG);
	assert_unchanged(&x, &before);
	/* One twice: that is new, and that is there. */
	x.records.len += 1;
	assert_refused_twice(&x, "key 9999", &before);
	assert_refused_twice(&x, "key 3", &before);
	/* A record in a part that is not replaced. */
	x.map = (struct content_map){0};
	read_map(&x);
	x.map = map;
	assert_int_equal(replace(&x, x.pool, 6, x.from.state.digest, NULL), EPROTO);
	assert_unchanged(&x, &before);
	/* The whole is checked as well. */
	x.map = (struct content_map){0};
	assert_int_equal(replace(&x, x.pool, 6, x.from.state.digest ^ 1, NULL), EILSEQ);
	assert_unchanged(&x, &before);
	x.map.n = 3;
	assert_int_equal(replace(&x, x.pool, 6, x.from.state.digest, NULL), EBADMSG);
	assert_unchanged(&x, &before);
}

static void assert_same_records(struct db *a, struct db *b)
{
	TDB_DATA key = tdb_firstkey(a->tdb);
	int n = 0;

	while (key.dptr != NULL) {
		TDB_DATA next = tdb_nextkey(a->tdb, key), in_a = tdb_fetch(a->tdb, key), in_b = tdb_fetch(b->tdb, key);

		assert_non_null(in_b.dptr);
		assert_int_equal(in_a.dsize, in_b.dsize);
		assert_memory_equal(in_a.dptr, in_b.dptr, in_a.dsize);
		free(in_a.dptr);
		free(in_b.dptr);
		free(key.dptr);
		key = next;
		n++;
	}
	assert_int_equal(tdb_traverse_read(b->tdb, NULL, NULL), n);
}

#define MANY 20000

/* Of what some of the parts have: longer, shorter, emptied, filled, removed, only the rsn; and some new ones. */
static void change_parts(struct db *db, uint32_t parts)
{
	char key[32], value[400];

	memset(value, 'v', sizeof(value));
	assert_int_equal(tdb_transaction_start(db->tdb), 0);
	for (int i = 0; i < MANY + MANY / 20; i++) {
		int n = snprintf(key, sizeof(key), "key %d", i);

		if (content_hash((uint8_t *)key, (size_t)n) % parts % 10 >= 3) {
			continue;
		}
		if (i < MANY && i % 11 == 0) {
			drop(db, i);
			continue;
		}
		n = i % 7 == 0 ? 0 : i % 5 == 0 ? 50 : i * 37 % 390;
		value[n] = '\0';
		set(db, i, 2, value);
		value[n] = 'v';
	}
	set_seqnum(db, 6);
	assert_int_equal(tdb_transaction_commit(db->tdb), 0);
}

static void fill_many(struct db *db)
{
	char value[400];

	memset(value, 'v', sizeof(value));
	assert_int_equal(tdb_transaction_start(db->tdb), 0);
	for (int i = 0; i < MANY; i++) {
		int n = i % 13 == 0 ? 0 : i % 5 == 0 ? 50 : i * 53 % 300;

		value[n] = '\0';
		set(db, i, 1, value);
		value[n] = 'v';
	}
	set_seqnum(db, 5);
	assert_int_equal(tdb_transaction_commit(db->tdb), 0);
}

static void test_many_changed(void **state)
{
	struct test_dir *t = *state;
	struct transfer x = {.t = t, .pool = test_pool(t, 1)};
	struct db *in_parts;

	test_dbs_open(t);
	x.from.db = test_attach(t, "from.tdb", DB_PERSISTENT);
	x.to.db = in_parts = test_attach(t, "to.tdb", DB_PERSISTENT);
	fill_many(x.from.db);
	fill_many(x.to.db);
	look(&x, &x.to);
	change_parts(x.from.db, x.to.state.n_sums);
	look(&x, &x.from);
	compare(&x);
	read_map(&x);
	assert_true(x.read.records > MANY / 5 && x.read.records < MANY * 2 / 5);
	assert_int_equal(replace(&x, x.pool, 6, x.from.state.digest, NULL), 0);
	assert_equal(&x);
	assert_same_records(x.from.db, in_parts);
	/* As if all of it had come. */
	x.to.db = test_attach(t, "whole.tdb", DB_PERSISTENT);
	x.map = (struct content_map){0};
	read_map(&x);
	assert_int_equal(replace(&x, x.pool, 6, x.from.state.digest, NULL), 0);
	assert_equal(&x);
	assert_same_records(x.to.db, in_parts);
}

/* ---- damaged files ---- */

static uint8_t *read_file(struct transfer *x, size_t *len)
{
	FILE *f = fopen(x->to.db->path, "r");
	uint8_t *bytes;

	assert_non_null(f);
	assert_int_equal(fseek(f, 0, SEEK_END), 0);
	*len = (size_t)ftell(f);
	rewind(f);
	bytes = talloc_array(x->t, uint8_t, *len);
	assert_int_equal(fread(bytes, 1, *len, f), *len);
	fclose(f);
	return bytes;
}

static void overwrite(struct transfer *x, size_t at, const void *bytes, size_t len)
{
	FILE *f = fopen(x->to.db->path, "r+");

	assert_non_null(f);
	assert_int_equal(fseek(f, (long)at, SEEK_SET), 0);
	assert_int_equal(fwrite(bytes, 1, len, f), len);
	assert_int_equal(fclose(f), 0);
}

/* By parts it fails, again and again, and changes nothing. As a whole it repairs. */
static void assert_needs_whole(struct transfer *x)
{
	uint8_t *before, *after;
	size_t n_before, n_after;

	look(x, &x->to);
	compare(x);
	read_map(x);
	for (int i = 0; i < 2; i++) {
		before = read_file(x, &n_before);
		assert_int_equal(replace(x, x->pool, 6, x->from.state.digest, NULL), EIO);
		after = read_file(x, &n_after);
		assert_int_equal(n_after, n_before);
		assert_memory_equal(after, before, n_before);
	}
	x->map = (struct content_map){0};
	read_map(x);
	assert_int_equal(replace(x, x->pool, 6, x->from.state.digest, NULL), 0);
	assert_equal(x);
	assert_same_records(x->from.db, x->to.db);
}

/* A walk through the file shows a key that cannot be found. */
static void test_rotten_key(void **state)
{
	uint8_t record[6 + sizeof(uint64_t)] = "key 77";
	uint64_t rsn = 1;
	struct transfer x;
	uint8_t *file, *at;
	size_t len;

	scene(&x, *state, DB_PERSISTENT);
	memcpy(record + 6, &rsn, sizeof(rsn));
	file = read_file(&x, &len);
	at = memmem(file, len, record, sizeof(record));
	assert_non_null(at);
	overwrite(&x, (size_t)(at - file) + 2, "z", 1); /* kez 77 */
	assert_needs_whole(&x);
}

/* Only who needs a place for a record sees it. */
static void test_rotten_list_of_free_space(void **state)
{
	uint32_t nonsense = 12345;
	struct transfer x;

	scene(&x, *state, DB_PERSISTENT);
	overwrite(&x, 168, &nonsense, sizeof(nonsense));
	assert_needs_whole(&x);
}

/* The worker is killed at each of its writes: before or after, nothing in between. */
static void killed_at_each_step(struct test_dir *t, uint32_t flags, unsigned least)
{
	unsigned n = 0, befores = 0, afters = 0;
	struct worker_state before;
	char *at, *program;
	struct transfer x;
	int error = EPIPE;

	scene(&x, t, flags);
	before = x.to.state;
	at = talloc_asprintf(t, "%s/crash-at", t->path);
	program = test_crash_program(t, at);
	compare(&x);
	read_map(&x);
	while (error != 0) {
		struct worker_pool *pool = test_pool_of(t, program, 1);

		assert_true(n < 1000);
		test_arm(at, ++n);
		error = replace(&x, pool, 6, x.from.state.digest, NULL);
		talloc_free(pool);
		assert_true(error == 0 || error == EPIPE);
		look(&x, &x.to);
		if (x.to.state.digest == before.digest) {
			assert_unchanged(&x, &before);
			befores++;
			continue;
		}
		assert_equal(&x);
		afters++;
		if (error != 0) { /* once more from the beginning */
			assert_int_equal(tdb_transaction_start(x.to.db->tdb), 0);
			assert_int_equal(tdb_wipe_all(x.to.db->tdb), 0);
			assert_int_equal(tdb_transaction_commit(x.to.db->tdb), 0);
			fill(x.to.db);
		}
	}
	print_message("%u writes: %u times as before, %u as after\n", n, befores, afters);
	assert_true(befores >= least && afters >= 1);
}

static void test_killed_at_each_step(void **state)
{
	killed_at_each_step(*state, DB_PERSISTENT, 8);
}

static void test_killed_at_each_step_replicated(void **state)
{
	killed_at_each_step(*state, DB_REPLICATED, 5);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, test_dir_setup, test_dir_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_sums),
		TEST(test_moves_what_differs),
		TEST(test_moves_what_differs_replicated),
		TEST(test_whole_and_empty),
		TEST(test_refused),
		TEST(test_many_changed),
		TEST(test_rotten_key),
		TEST(test_rotten_list_of_free_space),
		TEST(test_killed_at_each_step),
		TEST(test_killed_at_each_step_replicated),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
