/* Tests of the record engine: sticky records, and what is counted. */
#include "test_record_world.h"

/* ---- sticky records ---- */

#define PIN_MS 200

static void sticky(struct world *w)
{
	record_engine_set_sticky(w->engine,
				 &(struct record_sticky){.given = 2, .pin_ms = PIN_MS, .duration_ms = 60000});
	assert_int_equal(record_db_set_sticky(w->db), 0);
}

/* Node 0 is location master; node 2 wants it, gets it, and it comes back for a client here. */
static void there_and_back(struct world *w, uint64_t rsn)
{
	struct record_copy copy = {.exists = true, .rsn = rsn, .dmaster = 2};
	uint32_t grants = w->grants;

	record_on_forward(w->db, 0, GEN, 2, key_of(2), w->now);
	for (int i = 0; i < 100 && w->grants == grants; i++) {
		later(w, 1);
	}
	assert_int_equal(w->grants, grants + 1);
	call(w, 0, 2);
	later(w, 0);
	record_on_grant(w->db, 2, GEN, key_of(2), &copy, w->now);
	assert_int_equal(w->file[2].dmaster, ME);
}

static void make_sticky(struct world *w)
{
	opened(w, 0, true);
	sticky(w);
	w->file[2] = (struct cell){.exists = true, .rsn = 5, .dmaster = ME};
	for (uint64_t i = 0; i < 3; i++) {
		there_and_back(w, 10 + i);
	}
	assert_int_equal(record_db_stats(w->db)->became_sticky, 1);
	assert_int_equal(record_db_stats(w->db)->pins, 1);
}

/* P2, P3: it stays as long as it is used, but not longer than that; who waits gets it then. */
static void test_sticky_stays(void **state)
{
	struct world *w = *state;
	uint32_t grants, ms;

	make_sticky(w);
	grants = w->grants;
	record_on_forward(w->db, 0, GEN, 2, key_of(2), w->now);
	for (ms = 0; ms < 1000 && w->grants == grants; ms += 10) {
		w->busy = ms / 20 % 2 == 0; /* somebody has it */
		later(w, 10);
		w->busy = false;
	}
	assert_in_range(ms, PIN_MS - 20, PIN_MS + 40);
	assert_int_equal(w->grants, grants + 1);
	assert_int_equal(w->inconsistent, 0);
}

/* P3: seen in use by what is written, too; unused it goes. */
static void test_sticky_unused_goes(void **state)
{
	struct world *w = *state;
	uint32_t grants, ms;

	make_sticky(w);
	grants = w->grants;
	record_on_forward(w->db, 0, GEN, 2, key_of(2), w->now);
	for (ms = 0; ms < 1000 && w->grants == grants; ms += 5) {
		if (ms <= 60) {
			w->file[2].data[0]++;
			w->file[2].len = 1;
		}
		later(w, 5);
	}
	assert_in_range(ms, 100, 140);
}

/* P1: not below the number; not for ever. Tunables count at once. */
static void test_sticky_begins_and_ends(void **state)
{
	struct world *w = *state;

	opened(w, 0, true);
	sticky(w);
	w->file[2] = (struct cell){.exists = true, .rsn = 5, .dmaster = ME};
	for (uint64_t i = 0; i < 6; i++) { /* two in a second */
		there_and_back(w, 10 + i);
		later(w, 600);
	}
	assert_int_equal(record_db_stats(w->db)->pins, 0);
	for (uint64_t i = 0; i < 6; i++) {
		there_and_back(w, 20 + i);
	}
	assert_true(record_db_stats(w->db)->pins > 0);
	later(w, 100000);
	record_db_reset_stats(w->db);
	there_and_back(w, 30);
	assert_int_equal(record_db_stats(w->db)->pins, 0);
	record_engine_set_sticky(w->engine, &(struct record_sticky){.given = 0, .pin_ms = PIN_MS, .duration_ms = 1});
	for (uint64_t i = 0; i < 6; i++) {
		there_and_back(w, 40 + i);
	}
	assert_int_equal(record_db_stats(w->db)->pins, 0);
}

/* P4; and nothing is left of a pin when nobody wants the record. */
static void test_sticky_and_recovery(void **state)
{
	struct world *w = *state;
	uint32_t grants;

	make_sticky(w);
	grants = w->grants;
	record_on_forward(w->db, 0, GEN, 2, key_of(2), w->now);
	later(w, 1);
	assert_int_equal(w->grants, grants);
	opened(w, 0, true);
	later(w, 0);
	record_on_forward(w->db, 0, GEN, 2, key_of(2), w->now);
	assert_int_equal(w->grants, grants + 1);
}

static void test_sticky_comes_to_rest(void **state)
{
	struct world *w = *state;

	make_sticky(w);
	for (int i = 0; i < 30; i++) {
		later(w, 10);
	}
	assert_false(mono_is_set(record_engine_next(w->engine)));
	record_on_forward(w->db, 0, GEN, 2, key_of(2), w->now);
	later(w, 0);
	assert_int_equal(w->file[2].dmaster, 2);
}

/* ---- what is counted ---- */

static void test_counts(void **state)
{
	struct world *w = *state;
	const struct record_db_stats *s = record_db_stats(w->db);
	struct record_copy copy = {.exists = true, .rsn = 3, .dmaster = 2};

	opened(w, 0, true);
	w->file[2] = (struct cell){.exists = true, .rsn = 5, .dmaster = ME};
	record_on_forward(w->db, 0, GEN, 2, key_of(2), w->now);
	w->file[3] = (struct cell){.exists = true, .rsn = 5, .dmaster = ME};
	record_on_forward(w->db, 0, GEN, 0, key_of(3), w->now);
	assert_true(s->hops[0] == 1 && s->hops[1] == 1 && s->locks == 0);
	w->busy = true;
	call(w, 0, 4);
	later(w, 0);
	assert_int_equal(s->locks_waiting, 1);
	later(w, 20);
	assert_int_equal(s->locks, 0);
	w->busy = false;
	later(w, 5);
	assert_true(s->locks == 1 && s->locks_waiting == 0 && s->lock_buckets[2] == 1 && s->lock_us_min == 25000 &&
		    s->lock_us_max == 25000 && s->lock_us == 25000);
	record_on_grant(w->db, 2, GEN, key_of(4), &copy, w->now);
	assert_int_equal(s->locks, 1);
	/* One that is not waited for any more does not count for ever. */
	w->busy = true;
	call(w, 1, 5);
	later(w, 0);
	assert_int_equal(s->locks_waiting, 1);
	record_call_cancel(w->calls[1]);
	w->calls[1] = NULL;
	later(w, 10);
	assert_true(s->locks == 1 && s->locks_waiting == 0);
	call(w, 1, 5);
	later(w, 0);
	assert_int_equal(s->locks_waiting, 1);
	record_db_reset_stats(w->db);
	assert_true(s->locks == 0 && s->hops[0] == 0 && s->locks_waiting == 1);
	record_db_close(w->db);
	assert_int_equal(s->locks_waiting, 0);
}

static void test_hot_key_is_told(void **state)
{
	struct world *w = *state;
	uint64_t n;

	opened(w, 0, true);
	w->file[2] = (struct cell){.exists = true, .rsn = 5, .dmaster = ME};
	for (n = 0; n < 100 && w->hot == 0; n++) {
		there_and_back(w, 10 + n);
	}
	assert_int_equal(w->hot, n);
	assert_int_equal(n, 32);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, record_world_setup, record_world_teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_sticky_stays),        TEST(test_sticky_unused_goes),   TEST(test_sticky_begins_and_ends),
		TEST(test_sticky_and_recovery), TEST(test_sticky_comes_to_rest), TEST(test_counts),
		TEST(test_hot_key_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
