/* Tests of vacuuming at one node; the others are made up. What whole clusters do is simulated: test/sim. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "core/vacuum.h"

#define ME   1U
#define GEN  50U
#define KEYS 300
#define SENT 64

struct cell {
	bool exists, busy;
	uint64_t rsn;
	uint32_t dmaster, flags;
	bool full;
};

struct sent {
	uint32_t node, step, n;
	uint64_t id;
	uint32_t keys[VACUUM_BATCH_KEYS];
	uint64_t rsn[VACUUM_BATCH_KEYS];
};

static struct world {
	struct record_engine *engine;
	struct record_db *db;
	struct mono now;
	struct cell file[KEYS];
	struct sent sent[SENT];
	uint32_t n_sent, answers, ended, scans;
	uint8_t ok[VACUUM_BATCH_KEYS];
	uint32_t n_ok;
	struct vacuum_result result;
	uint32_t tries, asked; /* locks that were busy; records that other nodes were asked for */
	bool pinned;
} w;

static uint32_t number(struct record_key key)
{
	uint16_t n;

	assert_int_equal(key.len, sizeof(n));
	memcpy(&n, key.p, sizeof(n));
	return n;
}

static struct record_key key_of(uint32_t i)
{
	static uint16_t bytes[KEYS];

	bytes[i] = (uint16_t)i;
	return (struct record_key){(const uint8_t *)&bytes[i], sizeof(bytes[i])};
}

static int w_lock(void *priv, struct record_key key)
{
	w.tries += w.file[number(key)].busy;
	return w.file[number(key)].busy ? EAGAIN : 0;
}

static void w_unlock(void *priv, struct record_key key)
{
}

static int w_read(void *priv, struct record_key key, struct record_copy *copy)
{
	const struct cell *c = &w.file[number(key)];

	*copy = (struct record_copy){.exists = c->exists, .rsn = c->rsn, .dmaster = c->dmaster, .flags = c->flags};
	if (c->full) {
		copy->data = (const uint8_t *)"data";
		copy->len = 4;
	}
	return 0;
}

static int w_write(void *priv, struct record_key key, const struct record_copy *copy)
{
	w.file[number(key)] = (struct cell){.exists = true,
					    .rsn = copy->rsn,
					    .dmaster = copy->dmaster,
					    .flags = copy->flags,
					    .full = copy->len > 0};
	return 0;
}

static int w_remove(void *priv, struct record_key key)
{
	w.file[number(key)] = (struct cell){.exists = false};
	return 0;
}

static void w_call(void *priv, uint32_t node, uint32_t generation, struct record_key key)
{
}

static void w_forward(void *priv, uint32_t node, uint32_t generation, uint32_t requester, struct record_key key)
{
	w.asked++;
}

static void w_grant(void *priv, uint32_t node, uint32_t generation, struct record_key key,
		    const struct record_copy *copy)
{
}

static void w_answer(void *priv, int status, const struct record_copy *copy)
{
	fail();
}

static void w_inconsistent(void *priv, uint32_t generation, struct record_key key, const char *what)
{
	fail_msg("%s", what);
}

static void w_keys(void *priv, uint32_t node, struct lane_vacuum *m)
{
	struct sent *s = &w.sent[w.n_sent++];

	assert_true(w.n_sent < SENT);
	*s = (struct sent){.node = node, .step = m->step, .n = m->keys.n, .id = m->id};
	for (uint32_t i = 0; i < s->n; i++) {
		s->keys[i] = number((struct record_key){m->keys.v[i].key.data, m->keys.v[i].key.len});
		s->rsn[i] = m->keys.v[i].rsn;
	}
}

static void w_told(void *priv, uint32_t node, struct lane_vacuum_answer *m)
{
	w.answers++;
	w.n_ok = m->ok.len;
	memcpy(w.ok, m->ok.data, m->ok.len);
}

static bool w_pinned(void *priv, struct record_key key)
{
	return w.pinned;
}

static int w_scan(void *priv)
{
	w.scans++;
	return 0;
}

static void w_nothing(void *priv)
{
}

static void w_ended(void *priv, const struct vacuum_result *result)
{
	w.ended++;
	w.result = *result;
}

static const struct record_ops ops = {w_lock,    w_unlock, w_read,   w_write,        w_remove, w_call,
				      w_forward, w_grant,  w_answer, w_inconsistent, NULL,     NULL};
static const struct vacuum_ops vacuum_ops = {w_keys, w_told, w_pinned, w_scan, w_nothing, w_nothing, w_ended};

static void serve(uint32_t generation, uint32_t lmaster)
{
	static const uint32_t members[] = {0, ME, 2};

	assert_int_equal(record_db_open(w.db, generation, &lmaster, 1), 0);
	record_db_serve(w.db, w.now);
	assert_int_equal(vacuum_db_start(w.db, members, 3, w.now), 0);
}

static int setup(void **state)
{
	static const struct record_config config = {.own_pnn = ME, .max_hints = 10};
	static const struct vacuum_config vconfig = {
		.max_candidates = KEYS, .slice_keys = 16, .slice_pause_us = 1000, .max_pulls = 2, .answer_ms = 1000};

	memset(&w, 0, sizeof(w));
	w.now = (struct mono){1000000000};
	w.engine = record_engine_new(NULL, &config, &ops, NULL);
	assert_int_equal(vacuum_enable(w.engine, &vconfig, &vacuum_ops), 0);
	w.db = record_db_new(w.engine, NULL);
	return 0;
}

static int teardown(void **state)
{
	talloc_free(w.engine);
	return 0;
}

static void pass_ms(uint64_t ms)
{
	for (uint64_t i = 0; i < ms; i++) {
		w.now = mono_add_ms(w.now, 1);
		(void)record_engine_timers(w.engine, w.now);
	}
}

static void deleted(uint32_t from, uint32_t n, uint64_t rsn)
{
	for (uint32_t i = from; i < from + n; i++) {
		w.file[i] = (struct cell){.exists = true, .rsn = rsn, .dmaster = ME};
		vacuum_candidate(w.db, key_of(i));
	}
}

static void run(void)
{
	uint64_t ticket;

	assert_int_equal(vacuum_db_run(w.db, false, &ticket), 0);
	pass_ms(100);
}

/* All members' answer to the newest batch: bad is the index of the key that node 2 says no to. */
static void answered(uint32_t bad, size_t len)
{
	const struct sent *s = &w.sent[w.n_sent - 1];
	uint8_t yes[VACUUM_BATCH_KEYS], some[VACUUM_BATCH_KEYS];
	struct lane_vacuum_answer m = {.generation = GEN, .id = s->id, .ok = {s->n, yes}};

	memset(yes, 1, sizeof(yes));
	memset(some, 1, sizeof(some));
	if (bad < s->n) {
		some[bad] = 0;
	}
	vacuum_on_answer(w.db, 0, &m, w.now);
	vacuum_on_answer(w.db, 0, &m, w.now); /* once more: counts once */
	m.ok = (struct ctdb_blob){(uint32_t)len, some};
	vacuum_on_answer(w.db, 2, &m, w.now);
	pass_ms(100);
}

static uint32_t left(uint32_t n)
{
	uint32_t found = 0;

	for (uint32_t i = 0; i < n; i++) {
		found += w.file[i].exists;
	}
	return found;
}

/* ---- the location master ---- */

static void test_two_rounds(void **state)
{
	serve(GEN, ME);
	deleted(0, 3, 7);
	run();
	assert_int_equal(w.n_sent, 2);
	assert_true(w.sent[0].step == VACUUM_TOMBSTONE && w.sent[0].n == 3 && w.sent[0].rsn[2] == 7);
	assert_true(w.sent[0].node == 0 && w.sent[1].node == 2);
	assert_int_equal(left(3), 3);
	answered(UINT32_MAX, 3);
	assert_true(w.n_sent == 4 && w.sent[2].step == VACUUM_DROP && w.sent[2].id != w.sent[0].id);
	assert_int_equal(left(3), 3);
	answered(UINT32_MAX, 3);
	assert_int_equal(left(3), 0);
	assert_true(w.ended == 1 && w.result.status == 0 && w.result.removed == 3 && w.result.ticket != 0);
}

/* A record that its location master made and that never left needs nobody; with the mark of having left it does. */
static void test_at_once(void **state)
{
	serve(GEN, ME);
	deleted(0, 2, 1);
	w.file[1].flags = RECORD_FLAG_MIGRATED_WITH_DATA;
	run();
	assert_false(w.file[0].exists);
	assert_true(w.file[1].exists && w.sent[0].n == 1 && w.sent[0].keys[0] == 1);
}

/* H-029: answers with 0, 1 and n keys; the last one counts as the first. */
static void test_h029_every_answer_counts(void **state)
{
	static const struct {
		uint32_t n, bad;
		size_t len;
		uint32_t kept;
	} cases[] = {{1, 0, 1, 1}, {1, 9, 1, 0}, {1, 9, 0, 1}, {5, 4, 5, 1}, {5, 0, 5, 1}, {5, 9, 4, 1}, {5, 9, 0, 5}};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		for (int round = 0; round < 2; round++) {
			teardown(NULL);
			setup(NULL);
			serve(GEN, ME);
			deleted(0, cases[i].n, 7);
			run();
			answered(round == 0 ? cases[i].bad : UINT32_MAX, round == 0 ? cases[i].len : cases[i].n);
			if (w.sent[w.n_sent - 1].step == VACUUM_DROP) {
				bool now = round == 1;

				answered(now ? cases[i].bad : UINT32_MAX, now ? cases[i].len : KEYS);
			}
			assert_int_equal(left(cases[i].n), cases[i].kept);
			assert_int_equal(w.ended, 1);
		}
	}
}

/* H-026: filled, moved, delegated, locked or in use since: it stays. */
static void test_h026_last_look(void **state)
{
	serve(GEN, ME);
	deleted(0, 6, 7);
	run();
	answered(UINT32_MAX, 6);
	w.file[0].full = true;
	w.file[1].rsn = 9;
	w.file[2].dmaster = 2;
	w.file[3].flags = 0x01000000;
	w.file[4].busy = true;
	answered(UINT32_MAX, 6);
	assert_int_equal(left(5), 5);
	assert_false(w.file[5].exists);
	/* The locked one is still to be removed, and what was away and is back, as the record that it is now. */
	w.file[4].busy = false;
	w.n_sent = 0;
	run();
	assert_true(w.sent[0].n == 2 && w.sent[0].keys[0] == 1 && w.sent[0].rsn[0] == 9 && w.sent[0].keys[1] == 4);
}

/* H-040, B-5, and pushed records. */
static void test_h040_not_even_begun(void **state)
{
	serve(GEN, ME);
	deleted(0, 2, 7);
	w.file[0].flags = 0x02000000;
	w.file[1].full = true; /* H-030: filled again */
	run();
	assert_true(w.n_sent == 0 && left(2) == 2 && w.ended == 1);
	deleted(2, 1, 1);
	w.pinned = true;
	run();
	assert_true(w.n_sent == 0 && w.file[2].exists);
}

/* H-037, V2: a recovery ends it at any moment; what comes late is not heard. H-031: what was queued is only looked at.
 */
static void test_h037_recovery_ends_runs(void **state)
{
	serve(GEN, ME);
	deleted(0, 2, 7);
	run();
	answered(UINT32_MAX, 2);
	record_db_close(w.db);
	assert_true(w.ended == 1 && w.result.status == ECANCELED);
	answered(UINT32_MAX, 2);
	assert_int_equal(left(2), 2);
	w.file[1] = (struct cell){.exists = false}; /* wiped meanwhile */
	serve(GEN + 1, ME);
	w.n_sent = 0;
	run();
	assert_true(w.n_sent == 2 && w.sent[0].n == 1 && w.sent[0].keys[0] == 0);
	answered(UINT32_MAX, 1); /* of the former generation */
	assert_int_equal(w.n_sent, 2);
}

/* H-039: a member that says nothing ends the run, not the schedule; the keys are tried again. */
static void test_h039_no_answer(void **state)
{
	serve(GEN, ME);
	deleted(0, 2, 7);
	run();
	pass_ms(1100);
	assert_true(w.ended == 1 && w.result.status == ETIMEDOUT && left(2) == 2);
	w.n_sent = 0;
	run();
	assert_int_equal(w.sent[0].n, 2);
}

/* H-039: runs by themselves come in time, full ones after so many, not at first; one by hand moves nothing. */
static void test_h039_schedule(void **state)
{
	vacuum_set_times(w.engine, 1000, 3, 0);
	serve(GEN, ME);
	pass_ms(500);
	assert_int_equal(w.ended, 0);
	run();
	assert_true(w.ended == 1 && w.scans == 0);
	pass_ms(410);
	assert_int_equal(w.ended, 2);
	pass_ms(2000);
	assert_true(w.ended == 4 && w.scans == 0);
	pass_ms(1000);
	assert_int_equal(w.scans, 1);
	vacuum_scan_done(w.db, 0);
	pass_ms(10);
	assert_true(w.ended == 5 && w.result.full);
}

/* What does not fit is found by a full run. */
static void test_overflow(void **state)
{
	vacuum_set_times(w.engine, 1000, 0, 0);
	serve(GEN, 2);
	for (uint32_t i = 0; i < KEYS; i++) {
		vacuum_candidate(w.db, key_of(i));
	}
	vacuum_candidate(w.db, (struct record_key){(const uint8_t *)"one more", 8});
	assert_int_equal(vacuum_db_stats(w.db)->lost, 1);
	pass_ms(400);
	assert_int_equal(w.scans, 1);
}

/* ---- others ---- */

static void told(enum vacuum_step step, uint32_t generation, uint32_t from, uint32_t key, uint64_t rsn)
{
	struct record_key k = key_of(key);
	struct ctdb_blob blob = {(uint32_t)k.len, (uint8_t *)(uintptr_t)k.p};
	struct lane_vacuum_key keys[] = {{.rsn = rsn, .key = blob}};
	struct lane_vacuum m = {.generation = generation, .id = 9, .step = step, .keys = {1, keys}};

	w.answers = 0;
	w.ok[0] = 99;
	vacuum_on_keys(w.db, from, &m);
	pass_ms(10);
}

static void test_tombstones(void **state)
{
	serve(GEN, 2);
	w.file[0] = (struct cell){.exists = true, .rsn = 5, .dmaster = 0, .full = true};
	w.file[1] = (struct cell){.exists = true, .rsn = 5, .dmaster = ME};
	w.file[2] = (struct cell){.exists = true, .rsn = 8, .dmaster = 0};
	w.file[3] = (struct cell){.exists = true, .rsn = 5, .dmaster = 0, .flags = 0x02000000};
	w.file[4] = (struct cell){.exists = true, .rsn = 5, .dmaster = 0, .busy = true};
	for (uint32_t i = 1; i < 5; i++) {
		told(VACUUM_TOMBSTONE, GEN, 2, i, 7);
		assert_true(w.answers == 1 && w.ok[0] == 0);
	}
	told(VACUUM_TOMBSTONE, GEN, 2, 6, 7); /* not there */
	assert_int_equal(w.ok[0], 1);
	told(VACUUM_TOMBSTONE, GEN, 0, 0, 7); /* not from its location master */
	assert_true(w.ok[0] == 0 && w.file[0].full);
	told(VACUUM_TOMBSTONE, GEN - 1, 2, 0, 7); /* late, of a former generation */
	assert_true(w.answers == 0 && w.file[0].full);
	w.pinned = true;
	told(VACUUM_TOMBSTONE, GEN, 2, 0, 7);
	assert_true(w.ok[0] == 0 && w.file[0].full);
	w.pinned = false;
	told(VACUUM_TOMBSTONE, GEN, 2, 0, 7);
	assert_true(w.ok[0] == 1 && w.file[0].exists && !w.file[0].full && w.file[0].rsn == 7 &&
		    w.file[0].dmaster == 2);
}

static void test_drop(void **state)
{
	static const struct cell tomb = {.exists = true, .rsn = 7, .dmaster = 2};

	serve(GEN, 2);
	w.file[0] = w.file[1] = w.file[2] = w.file[3] = w.file[4] = tomb;
	w.file[1].rsn = 8;
	w.file[2].full = true;
	w.file[3].dmaster = 0;
	w.file[4].dmaster = ME;
	for (uint32_t i = 0; i < 5; i++) {
		told(VACUUM_DROP, GEN, 2, i, 7);
		assert_true(w.ok[0] == (i == 0) && w.file[i].exists == (i != 0));
	}
	told(VACUUM_DROP, GEN, 2, 5, 7);
	assert_int_equal(w.ok[0], 1);
}

/* Owned here, its place elsewhere: told there, once. */
static void test_fetch_is_told(void **state)
{
	struct lane_vacuum_answer m = {.generation = GEN, .ok = {1, (uint8_t[]){1}}};

	serve(GEN, 2);
	deleted(0, 1, 7);
	run();
	assert_true(w.n_sent == 1 && w.sent[0].step == VACUUM_FETCH && w.sent[0].node == 2 && w.sent[0].rsn[0] == 7);
	m.id = w.sent[0].id;
	vacuum_on_answer(w.db, 2, &m, w.now);
	pass_ms(10);
	assert_true(w.ended == 1 && w.result.fetched == 1 && w.file[0].exists);
	assert_int_equal(vacuum_db_candidates(w.db), 0);
}

/* A pointer that nobody needs: the location master has nothing, so it makes a record and removes all of it. */
static void test_orphan(void **state)
{
	serve(GEN, ME);
	told(VACUUM_FETCH, GEN, 2, 0, 0);
	assert_true(w.ok[0] == 1 && w.file[0].exists && w.file[0].rsn == 2 && w.file[0].dmaster == ME);
	told(VACUUM_FETCH, GEN, 2, 1, 5); /* of somebody who owns it: nothing is made up */
	assert_false(w.file[1].exists);
	run();
	assert_true(w.sent[0].step == VACUUM_TOMBSTONE && w.sent[0].rsn[0] == 2);
}

/* A chain that is busy is tried once a run, and not for ever. */
static void test_fetch_of_a_busy_chain(void **state)
{
	serve(GEN, ME);
	for (uint32_t i = 0; i < 3; i++) {
		w.file[i] = (struct cell){.exists = true, .busy = true, .rsn = 5, .dmaster = 2};
		told(VACUUM_FETCH, GEN, 2, i, 5);
	}
	pass_ms(500);
	assert_int_equal(w.tries, 3);
	w.file[0].busy = false;
	run();
	assert_true(w.tries == 5 && w.asked == 1);
	for (int i = 0; i < 6; i++) {
		run();
	}
	assert_true(w.tries == 2 * 5 + 1 && vacuum_db_candidates(w.db) == 1); /* the one that was asked for */
	told(VACUUM_FETCH, GEN, 2, 1, 5);
	w.file[1].busy = false;
	serve(GEN + 1, ME); /* told in another generation: forgotten */
	run();
	assert_true(w.asked == 1 && vacuum_db_candidates(w.db) == 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(test_two_rounds),
		TEST(test_at_once),
		TEST(test_h029_every_answer_counts),
		TEST(test_h026_last_look),
		TEST(test_h040_not_even_begun),
		TEST(test_h037_recovery_ends_runs),
		TEST(test_h039_no_answer),
		TEST(test_h039_schedule),
		TEST(test_overflow),
		TEST(test_tombstones),
		TEST(test_drop),
		TEST(test_fetch_is_told),
		TEST(test_orphan),
		TEST(test_fetch_of_a_busy_chain),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
