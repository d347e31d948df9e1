/* Tests of the record engine: records that are too large to be sent (L1 to L3 in record.h). */
#include "test_record_world.h"

#include <errno.h>

static void own(struct world *w, uint32_t key, size_t len)
{
	w->file[key] = (struct cell){.exists = true, .rsn = 5, .dmaster = ME, .len = len};
}

/* It stays, the next is told once, and it goes when it has become smaller; nothing asks for a recovery. */
static void test_stays_with_its_owner(void **state)
{
	struct world *w = *state;

	opened(w, ME, true);
	own(w, 0, TOO_MUCH);
	record_on_call(w->db, 2, GEN, key_of(0), w->now);
	record_on_call(w->db, 3, GEN, key_of(0), w->now);
	assert_int_equal(w->readonly[RECORD_TOO_LARGE], 1);
	assert_int_equal(w->readonly_to, 2);
	assert_int_equal(w->forwards, 1); /* the second waits behind the first */
	for (int i = 0; i < 10; i++) {
		later(w, 1000);
	}
	assert_int_equal(w->readonly[RECORD_TOO_LARGE], 1);
	assert_int_equal(w->grants, 0);
	assert_int_equal(w->file[0].dmaster, ME);
	call(w, 0, 0); /* here it is used as ever */
	later(w, 0);
	assert_int_equal(w->status, 0);
	assert_int_equal(w->answered, 1);
	w->file[0].len = TOO_MUCH - 1;
	later(w, 3000);
	assert_int_equal(w->grants, 1);
	assert_int_equal(w->file[0].dmaster, 3);
	assert_int_equal(w->inconsistent, 0);
	assert_false(mono_is_set(record_engine_next(w->engine)));
}

/* Looking reads all of it. */
static void test_is_not_looked_at_all_the_time(void **state)
{
	struct world *w = *state;

	opened(w, ME, true);
	own(w, 0, TOO_MUCH);
	call(w, 0, 0); /* held for a client */
	later(w, 0);
	record_on_call(w->db, 2, GEN, key_of(0), w->now);
	assert_false(mono_before(record_engine_next(w->engine), mono_add_ms(w->now, 1000)));
}

/* Who waits for it is answered, who comes later as well, until it comes. */
static void test_callers_are_refused(void **state)
{
	struct world *w = *state;
	struct record_copy copy = {.exists = true, .rsn = 7};

	opened(w, 0, true);
	call(w, 0, 2);
	call(w, 2, 2);
	later(w, 0);
	assert_int_equal(w->asked, 1);
	assert_int_equal(w->answered, 0);
	record_on_readonly(w->db, 3, GEN, RECORD_TOO_LARGE, RECORD_NODE_NONE, key_of(2), NULL, w->now);
	assert_int_equal(w->answered, 2);
	assert_int_equal(w->status, EFBIG);
	call(w, 0, 2);
	later(w, 0);
	assert_int_equal(w->answered, 3);
	assert_int_equal(w->status, EFBIG);
	assert_int_equal(w->asked, 1); /* it still is the next: it does not ask again */
	record_on_grant(w->db, 3, GEN, key_of(2), &copy, w->now);
	assert_int_equal(w->file[2].dmaster, ME);
	call(w, 0, 2);
	later(w, 0);
	assert_int_equal(w->answered, 4);
	assert_int_equal(w->status, 0);
	assert_int_equal(w->inconsistent, 0);
}

/* Those behind it in the queue are told, whether they were there before or come later; readers come as writers. */
static void test_the_queue_is_told(void **state)
{
	struct world *w = *state;

	opened(w, 0, true);
	for (uint32_t key = 1; key < 3; key++) {
		call(w, ((int)key - 1) * 4, key);
		later(w, 0);
	}
	record_on_forward(w->db, 0, GEN, 4, key_of(1), w->now);
	record_on_readonly(w->db, 3, GEN, RECORD_TOO_LARGE, RECORD_NODE_NONE, key_of(1), NULL, w->now);
	assert_int_equal(w->readonly[RECORD_TOO_LARGE], 1);
	assert_int_equal(w->readonly_to, 4);
	record_on_readonly(w->db, 3, GEN, RECORD_TOO_LARGE, RECORD_NODE_NONE, key_of(2), NULL, w->now);
	assert_int_equal(w->readonly[RECORD_TOO_LARGE], 1);
	record_on_readonly(w->db, 0, GEN, RECORD_RO_FORWARD, 5, key_of(2), NULL, w->now);
	assert_int_equal(w->readonly[RECORD_RO_RETRY], 1);
	record_on_forward(w->db, 0, GEN, 5, key_of(2), w->now);
	assert_int_equal(w->readonly[RECORD_TOO_LARGE], 2);
	assert_int_equal(w->readonly_to, 5);
	assert_int_equal(w->inconsistent, 0);
}

static void test_is_not_lent(void **state)
{
	struct world *w = *state;

	record_db_set_readonly(w->db);
	opened(w, 0, true);
	own(w, 1, TOO_MUCH);
	own(w, 2, TOO_MUCH - 1);
	record_on_readonly(w->db, 0, GEN, RECORD_RO_FORWARD, 2, key_of(1), NULL, w->now);
	record_on_readonly(w->db, 0, GEN, RECORD_RO_FORWARD, 2, key_of(2), NULL, w->now);
	later(w, 100);
	assert_int_equal(w->readonly[RECORD_RO_RETRY], 1);
	assert_int_equal(w->readonly[RECORD_RO_COPY], 1);
	assert_int_equal(w->file[1].flags, 0);
}

/* A recovery forgets it: the next who asks asks again. */
static void test_after_a_recovery(void **state)
{
	struct world *w = *state;

	opened(w, 0, true);
	call(w, 0, 2);
	later(w, 0);
	record_on_readonly(w->db, 3, GEN, RECORD_TOO_LARGE, RECORD_NODE_NONE, key_of(2), NULL, w->now);
	opened(w, 0, true);
	call(w, 0, 2);
	later(w, 0);
	assert_int_equal(w->asked, 2);
	assert_int_equal(w->answered, 1);
	record_on_readonly(w->db, 3, GEN, RECORD_TOO_LARGE, RECORD_NODE_NONE, key_of(3), NULL, w->now);
	assert_int_equal(w->inconsistent, 1); /* nobody asked */
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, record_world_setup, record_world_teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_stays_with_its_owner), TEST(test_is_not_looked_at_all_the_time),
		TEST(test_callers_are_refused),  TEST(test_the_queue_is_told),
		TEST(test_is_not_lent),          TEST(test_after_a_recovery),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
