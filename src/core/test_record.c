/* Tests of the record engine: packets that nobody should have sent, deletion hints. */
#include "test_record_world.h"

#include <errno.h>
#include <string.h>

/* ---- packets ---- */

static void test_second_call_of_a_node(void **state)
{
	struct world *w = *state;

	opened(w, ME, true);
	w->busy = true;
	for (int i = 0; i < 100; i++) {
		record_on_call(w->db, 2, GEN, key_of(0), w->now);
		record_on_call(w->db, 3, GEN, key_of(0), w->now);
	}
	assert_int_equal(w->inconsistent, 198);
	w->busy = false;
	w->now = mono_add_ms(w->now, 10);
	(void)record_engine_timers(w->engine, w->now);
	assert_int_equal(w->grants, 1);
	assert_int_equal(w->forwards, 1);
	assert_int_equal(w->file[0].dmaster, 3);
}

static void test_forward_to_the_owner_itself(void **state)
{
	struct world *w = *state;

	opened(w, 0, true);
	w->file[2] = (struct cell){.exists = true, .rsn = 5, .dmaster = ME};
	record_on_forward(w->db, 0, GEN, ME, key_of(2), w->now);
	record_on_forward(w->db, 0, GEN, RECORD_NODE_NONE, key_of(2), w->now);
	assert_int_equal(w->inconsistent, 2);
	assert_int_equal(w->grants, 0);
	assert_int_equal(w->file[2].dmaster, ME);
	record_on_forward(w->db, 0, GEN, 2, key_of(2), w->now);
	assert_int_equal(w->grants, 1);
}

/* Who waits for a chain lock is known; told that it can be had, the engine does not wait for its own next try. */
static void test_retry_at_once(void **state)
{
	struct world *w = *state;

	opened(w, ME, true);
	assert_false(record_db_waits(w->db, key_of(0)));
	w->busy = true;
	record_on_call(w->db, 2, GEN, key_of(0), w->now);
	assert_true(record_db_waits(w->db, key_of(0)));
	assert_false(record_db_waits(w->db, key_of(1)));
	record_db_retry(w->db, key_of(0), w->now); /* busy again */
	assert_int_equal(w->grants, 0);
	assert_true(record_db_waits(w->db, key_of(0)));
	w->busy = false;
	record_db_retry(w->db, key_of(1), w->now);
	assert_int_equal(w->grants, 0);
	record_db_retry(w->db, key_of(0), w->now);
	assert_int_equal(w->grants, 1);
	assert_int_equal(w->file[0].dmaster, 2);
	record_db_retry(w->db, key_of(0), w->now);
	assert_int_equal(w->grants, 1);
	assert_false(record_db_waits(w->db, key_of(0)));
	w->busy = true;
	record_on_call(w->db, 3, GEN, key_of(0), w->now);
	record_db_close(w->db);
	assert_false(record_db_waits(w->db, key_of(0)));
	record_db_retry(w->db, key_of(0), w->now);
}

/* ---- deletion hints ---- */

static void own_empty(struct world *w, uint32_t key, uint64_t rsn, uint32_t flags)
{
	w->file[key] = (struct cell){.exists = true, .rsn = rsn, .dmaster = ME, .flags = flags};
	record_deletion_hint(w->db, key_of(key), rsn, w->now);
}

static void test_hint_removes(void **state)
{
	struct world *w = *state;

	opened(w, ME, true);
	own_empty(w, 0, 1, 0);
	later(w, 10);
	assert_int_equal(w->removed, 0);
	later(w, 200);
	assert_int_equal(w->removed, 1);
	assert_false(mono_is_set(record_engine_next(w->engine)));
}

/* The header that another node kept would outrank the copies of the key's next life. */
static void test_hint_spares_what_was_elsewhere(void **state)
{
	struct world *w = *state;

	opened(w, ME, true);
	own_empty(w, 0, 3, 0);
	own_empty(w, 1, 1, RECORD_FLAG_MIGRATED_WITH_DATA);
	later(w, 200);
	assert_int_equal(w->removed, 0);
	opened(w, 0, true); /* not the location master */
	own_empty(w, 0, 1, 0);
	later(w, 200);
	assert_int_equal(w->removed, 0);
}

/* Between PREPARED and COMMIT nothing is removed, and no timer waits for it: it would fire without end. */
static void test_hint_before_commit(void **state)
{
	struct world *w = *state;

	opened(w, ME, false);
	own_empty(w, 0, 1, 0);
	w->now = mono_add_ms(w->now, 500);
	assert_false(mono_is_set(record_engine_timers(w->engine, w->now)));
	assert_int_equal(w->removed, 0);
	record_db_serve(w->db, w->now);
	assert_true(mono_is_set(record_engine_next(w->engine)));
	later(w, 0);
	assert_int_equal(w->removed, 1);
}

/* A lock that is given back ten thousand times a second is looked at once. */
static void test_hint_of_a_key_is_one(void **state)
{
	struct world *w = *state;
	struct mono due;

	opened(w, ME, true);
	own_empty(w, 0, 2, 0);
	due = record_engine_next(w->engine);
	w->now = mono_add_ms(w->now, 50);
	own_empty(w, 0, 1, 0); /* a new life of the key: what was said last counts */
	assert_int_equal(record_engine_stats(w->engine)->hints, 1);
	assert_true(record_engine_next(w->engine).ns == due.ns);
	later(w, 70);
	assert_int_equal(w->removed, 1);
	assert_false(mono_is_set(record_engine_next(w->engine)));
}

/* Nobody is woken for the end of a hold that nobody waits for, and who wants the record later is not kept waiting. */
static void test_hold_ends_unseen(void **state)
{
	struct world *w = *state;

	opened(w, 0, true);
	w->file[2] = (struct cell){.exists = true, .rsn = 5, .dmaster = ME, .len = 1};
	call(w, 0, 2);
	(void)record_engine_timers(w->engine, w->now);
	assert_int_equal(w->answered, 1);
	assert_true(mono_ms_between(w->now, record_engine_next(w->engine)) >= 20);
	w->now = mono_add_ms(w->now, 1);
	record_on_forward(w->db, 0, GEN, 2, key_of(2), w->now);
	assert_int_equal(w->grants, 1);
	call(w, 0, 2); /* it had its time: that is no client that missed the record */
	assert_int_equal(record_engine_stats(w->engine)->misses, 0);
}

static void owned(struct world *w, uint32_t k)
{
	w->file[k] = (struct cell){.exists = true, .rsn = 5, .dmaster = ME, .len = 1};
}

/* A client that has looked at the record and left it as it was: that it does something else says that it had it. */
static void test_client_acts(void **state)
{
	struct world *w = *state;

	opened(w, 0, true);
	owned(w, 2);
	assert_false(record_client_acts(w->engine, 1, true, w->now)); /* who has asked for nothing */
	call(w, 0, 2);
	later(w, 0);
	assert_int_equal(w->answered, 1);
	record_on_forward(w->db, 0, GEN, 2, key_of(2), w->now);
	later(w, 0);
	assert_int_equal(w->grants, 0);
	assert_false(record_client_acts(w->engine, 1, false, w->now)); /* a message on its way to it says nothing */
	assert_false(record_client_acts(w->engine, 7, true, w->now));  /* nor do others */
	later(w, 0);
	assert_int_equal(w->grants, 0);
	assert_true(record_client_acts(w->engine, 1, true, w->now));
	later(w, 0);
	assert_int_equal(w->grants, 1);
	assert_false(record_client_acts(w->engine, 1, true, w->now));
	/* Its lock may still be there: the record waits for that. */
	owned(w, 3);
	call(w, 0, 3);
	later(w, 0);
	w->busy = true;
	record_on_forward(w->db, 0, GEN, 2, key_of(3), w->now);
	(void)record_client_acts(w->engine, 1, true, w->now);
	later(w, 0);
	assert_int_equal(w->grants, 1);
	w->busy = false;
	later(w, 10);
	assert_int_equal(w->grants, 2);
}

/* One of several that were answered: the others may not have had it yet. */
static void test_one_of_several_acts(void **state)
{
	struct world *w = *state;

	opened(w, 0, true);
	owned(w, 2);
	call(w, 0, 2);
	call(w, 4, 2);
	later(w, 0);
	assert_int_equal(w->answered, 2);
	record_on_forward(w->db, 0, GEN, 2, key_of(2), w->now);
	assert_false(record_client_acts(w->engine, 5, true, w->now));
	assert_false(record_client_acts(w->engine, 1, true, w->now));
	later(w, 0);
	assert_int_equal(w->grants, 0);
	later(w, 100);
	assert_int_equal(w->grants, 1);
}

/* The record was held for one client, then for another, and is gone: what the first does then touches nothing
 * (valgrind, sanitizer). */
static void test_former_holder_acts(void **state)
{
	struct world *w = *state;

	opened(w, 0, true);
	owned(w, 2);
	call(w, 0, 2);
	later(w, 0);
	call(w, 4, 2);
	later(w, 0);
	assert_int_equal(w->answered, 2);
	later(w, 200); /* all holds are over, nothing is kept of the key */
	record_on_forward(w->db, 0, GEN, 2, key_of(2), w->now);
	later(w, 0);
	assert_int_equal(w->grants, 1);
	assert_false(record_client_acts(w->engine, 1, true, w->now));
	assert_false(record_client_acts(w->engine, 5, true, w->now));
}

/* Who was told something after the record had gone, and then asks again, did not miss it: holds must not grow of that.
 */
static void test_told_and_asks_again(void **state)
{
	struct world *w = *state;

	opened(w, 0, true);
	for (uint32_t told = 0; told < 2; told++) {
		uint32_t key = 2 + told;
		int i = told == 0 ? 4 : 0;

		owned(w, key);
		call(w, i, key);
		later(w, 0);
		record_on_forward(w->db, 0, GEN, 2, key_of(key), w->now);
		later(w, 1); /* the hold is over, the record unchanged */
		assert_int_equal(w->grants, told + 1);
		if (told == 1) {
			assert_false(record_client_acts(w->engine, (uint64_t)i + 1, false, w->now));
		}
		call(w, i, key);
		assert_int_equal(record_engine_stats(w->engine)->misses, 1);
	}
}

static void test_hints_are_bounded(void **state)
{
	struct world *w = *state;

	opened(w, ME, true);
	w->busy = true;
	for (uint32_t k = 0; k < KEYS; k++) {
		own_empty(w, k, 1, 0);
	}
	assert_int_equal(record_engine_stats(w->engine)->hints, 3);
	for (int i = 0; i < 20; i++) { /* a chain that stays locked is given up */
		later(w, 200);
	}
	assert_false(mono_is_set(record_engine_next(w->engine)));
	assert_int_equal(w->removed, 0);
}

/* A lock that was taken and given back: the record is as empty as it was when it came, but need not be held any more.
 */
static void test_hint_ends_hold(void **state)
{
	struct world *w = *state;

	opened(w, 0, true);
	w->file[2] = (struct cell){.exists = true, .rsn = 5, .dmaster = ME};
	call(w, 0, 2);
	later(w, 0);
	assert_int_equal(w->answered, 1);
	record_on_forward(w->db, 0, GEN, 2, key_of(2), w->now);
	later(w, 0);
	assert_int_equal(w->grants, 0);
	record_deletion_hint(w->db, key_of(2), 5, w->now);
	later(w, 0);
	assert_int_equal(w->grants, 1);
	assert_int_equal(w->file[2].dmaster, 2);
}

/* ---- nonsense ---- */

static uint64_t rnd_state;

static uint32_t rnd(uint32_t n)
{
	rnd_state ^= rnd_state << 13;
	rnd_state ^= rnd_state >> 7;
	rnd_state ^= rnd_state << 17;
	return (uint32_t)(rnd_state % n);
}

static uint32_t node(void)
{
	static const uint32_t nodes[] = {0, 2, 2, 0, 255, 256, 70000, ME, RECORD_NODE_NONE};

	return nodes[rnd(sizeof(nodes) / sizeof(nodes[0]))];
}

static void packet(struct world *w)
{
	uint8_t data[8] = {1};
	struct record_copy copy = {
		.exists = true, .rsn = rnd(5), .dmaster = node(), .flags = rnd(4) << 16, .data = data, .len = rnd(9)};
	uint32_t from = rnd(3) * 2 % 3, generation = rnd(9) == 0 ? 1 + rnd(100) : GEN;

	copy.rsn = rnd(20) == 0 ? UINT64_MAX : copy.rsn;
	switch (rnd(5)) {
	case 3:
	case 4:
		record_on_readonly(w->db, from == ME ? 2 : from, generation, (enum record_ro)rnd(7), node(),
				   key_of(rnd(KEYS)), &copy, w->now);
		break;
	case 0:
		record_on_call(w->db, from == ME ? 2 : from, generation, key_of(rnd(KEYS)), w->now);
		break;
	case 1:
		record_on_forward(w->db, from, generation, node(), key_of(rnd(KEYS)), w->now);
		break;
	default:
		record_on_grant(w->db, from, generation, key_of(rnd(KEYS)), &copy, w->now);
		break;
	}
}

static void client(struct world *w)
{
	int i = (int)rnd(CALLS);

	if (w->calls[i] == NULL) {
		call(w, i, rnd(KEYS));
	} else if (rnd(3) == 0) {
		record_call_cancel(w->calls[i]);
		w->calls[i] = NULL;
	}
}

static void change(struct world *w)
{
	w->file[rnd(KEYS)].len = rnd(TOO_MUCH); /* what was too large will not be for ever */
	switch (rnd(6)) {
	case 0:
		record_db_close(w->db);
		break;
	case 1:
		opened(w, rnd(3), rnd(4) != 0);
		break;
	case 2:
		w->busy = !w->busy;
		break;
	case 3:
		w->broken = rnd(3) == 0 ? EIO : 0;
		break;
	default:
		record_deletion_hint(w->db, key_of(rnd(KEYS)), rnd(3), w->now);
		break;
	}
}

/* Whatever comes: nobody is answered twice, no call is forgotten, no lock is kept, and the engine comes to rest. */
static void test_nonsense(void **state)
{
	struct world *w = *state;

	record_db_set_readonly(w->db);
	assert_int_equal(record_db_set_sticky(w->db), 0);
	record_engine_set_sticky(w->engine, &(struct record_sticky){.given = 1, .pin_ms = 5, .duration_ms = 1000});
	for (uint32_t i = 0; i < 200000; i++) {
		rnd_state = rnd_state == 0 ? 88172645463325252ULL : rnd_state;
		if (rnd(20) == 0) {
			change(w);
		} else if (rnd(3) == 0) {
			client(w);
		} else {
			packet(w);
		}
		if (rnd(3) == 0) {
			later(w, rnd(8) == 0 ? 300 : 1);
		}
		assert_int_equal(w->locks, 0);
		assert_true(record_db_pending(w->db) <= CALLS);
		assert_true(record_db_readonly(w->db) <= KEYS);
		assert_true(talloc_total_blocks(w->db) < 200); /* six keys, however much comes */
	}
	for (int i = 0; i <= RECORD_TOO_LARGE; i++) {
		assert_true(w->readonly[i] > 10);
	}
	assert_true(w->grants > 100 && w->answered > 100 && w->inconsistent > 100);
	w->busy = false;
	w->broken = 0;
	record_db_close(w->db);
	assert_int_equal(record_db_strip(w->db), 0);
	opened(w, ME, true);
	for (uint32_t k = 0; k < KEYS; k++) { /* as after a recovery that gave us everything */
		w->file[k] = (struct cell){.exists = true, .rsn = 9, .dmaster = ME};
	}
	for (int i = 0; i < 200; i++) {
		later(w, 10);
	}
	assert_int_equal(record_db_pending(w->db), 0);
	assert_false(mono_is_set(record_engine_next(w->engine)));
}

/* Packets about records that nobody knows, each another one: they are refused or answered, and nothing of them is kept.
 */
static void unknown_key(struct world *w, uint32_t i, uint8_t *bytes, size_t size)
{
	struct record_key key = {bytes, i % 100 == 0 ? 65536 : 2 + i % 60};
	struct record_copy copy = {.exists = true, .rsn = i, .dmaster = 2, .data = bytes, .len = i % 9};

	memcpy(bytes, &i, sizeof(i));
	record_on_call(w->db, 2, GEN, key, w->now);
	record_on_forward(w->db, 0, GEN, 2, key, w->now);
	record_on_forward(w->db, 2, GEN, 2, key, w->now);
	record_on_grant(w->db, 2, GEN, key, &copy, w->now);
	assert_int_equal(talloc_total_size(w->db), size);
	for (enum record_ro what = RECORD_RO_CALL; what <= RECORD_TOO_LARGE; what++) {
		record_on_readonly(w->db, 2, GEN, what, i, key, &copy, w->now); /* 2 is no location master */
		record_on_readonly(w->db, 0, GEN + 1, what, 2, key, &copy, w->now);
		if (what != RECORD_RO_CALL) {
			record_on_readonly(w->db, 0, GEN, what, i % 300, key, &copy, w->now);
			record_on_readonly(w->db, 0, GEN, what, i % 300, key, &copy, w->now);
		}
		assert_int_equal(talloc_total_size(w->db), size);
	}
}

static void test_unknown_keys(void **state)
{
	static uint8_t bytes[65536];
	struct world *w = *state;
	size_t before;

	record_db_set_readonly(w->db);
	opened(w, 0, true);
	before = talloc_total_size(w->db);
	for (uint32_t i = 1; i <= 3000; i++) {
		unknown_key(w, i, bytes, before);
	}
	later(w, 100);
	assert_false(mono_is_set(record_engine_next(w->engine)));
	assert_true(w->grants == 0 && w->forwards == 0 && w->inconsistent >= 3000);
	/* Who asks about a record that is not here is told to ask for it; who calls back what is not here is told that
	 * it is gone. */
	assert_true(w->readonly[RECORD_RO_RETRY] > 0 && w->readonly[RECORD_RO_REVOKED] > 0);
	assert_true(w->readonly[RECORD_RO_COPY] == 0 && w->readonly[RECORD_RO_REVOKE] == 0);
}

/* A key of no bytes is a key; where they would be may be NULL. */
static void test_empty_key(void **state)
{
	const struct record_key key = {NULL, 0};
	struct world *w = *state;

	record_db_set_readonly(w->db);
	record_deletion_hint(w->db, key, 1, w->now);
	call_key(w, 0, key); /* parked */
	opened(w, ME, true);
	later(w, 1);
	assert_int_equal(w->answered, 1);
	later(w, 100);
	record_on_readonly(w->db, 2, GEN, RECORD_RO_CALL, RECORD_NODE_NONE, key, NULL, w->now);
	record_on_call(w->db, 3, GEN, key, w->now);
	record_on_readonly(w->db, 2, GEN, RECORD_RO_REVOKED, RECORD_NODE_NONE, key, NULL, w->now);
	later(w, 1);
	assert_true(w->readonly[RECORD_RO_COPY] == 1 && w->grants == 1 && w->inconsistent == 0);
	record_deletion_hint(w->db, key, 1, w->now);
	record_deletion_hint(w->db, key, 1, w->now);
}

/* A location master lends records that it makes for readers, up to its bound (D7). */
static void test_lending_is_bounded(void **state)
{
	struct world *w = *state;

	record_db_set_readonly(w->db);
	opened(w, ME, true);
	for (uint32_t k = 0; k < KEYS; k++) {
		record_on_readonly(w->db, 2, GEN, RECORD_RO_CALL, RECORD_NODE_NONE, key_of(k), NULL, w->now);
	}
	assert_int_equal(record_db_readonly(w->db), 4);
	assert_int_equal(w->readonly[RECORD_RO_COPY], 4);
	assert_int_equal(w->readonly[RECORD_RO_RETRY], KEYS - 4);
}

/* Doubled, out of order, from the wrong node: the copy goes once, the writer waits for who has a copy and nobody else.
 */
static void test_answers_of_holders(void **state)
{
	struct world *w = *state;

	record_db_set_readonly(w->db);
	opened(w, ME, true);
	record_on_readonly(w->db, 2, GEN, RECORD_RO_REVOKED, 0, key_of(0), NULL, w->now); /* of nothing */
	assert_int_equal(w->inconsistent, 1);
	record_on_readonly(w->db, 2, GEN, RECORD_RO_CALL, RECORD_NODE_NONE, key_of(0), NULL, w->now);
	record_on_readonly(w->db, 2, GEN, RECORD_RO_REVOKED, 0, key_of(0), NULL, w->now); /* not asked to */
	assert_int_equal(w->inconsistent, 2);
	call(w, 0, 0);
	later(w, 0);
	assert_true(w->readonly[RECORD_RO_REVOKE] == 1 && w->answered == 0);
	record_on_readonly(w->db, 0, GEN, RECORD_RO_REVOKED, 0, key_of(0), NULL, w->now);   /* has none */
	record_on_readonly(w->db, 300, GEN, RECORD_RO_REVOKED, 0, key_of(0), NULL, w->now); /* is none */
	record_on_readonly(w->db, 2, GEN + 1, RECORD_RO_REVOKED, 0, key_of(0), NULL, w->now);
	assert_int_equal(w->inconsistent, 4);
	assert_true((w->file[0].flags & RECORD_FLAG_HAVE_DELEGATIONS) != 0);
	record_on_readonly(w->db, 2, GEN, RECORD_RO_REVOKED, 0, key_of(0), NULL, w->now);
	assert_true(w->inconsistent == 4 && w->answered == 1);
	assert_false((w->file[0].flags & RECORD_FLAG_HAVE_DELEGATIONS) != 0);
	record_on_readonly(w->db, 2, GEN, RECORD_RO_REVOKED, 0, key_of(0), NULL, w->now);
	assert_int_equal(w->inconsistent, 5);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, record_world_setup, record_world_teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_second_call_of_a_node),
		TEST(test_forward_to_the_owner_itself),
		TEST(test_retry_at_once),
		TEST(test_hint_removes),
		TEST(test_hint_spares_what_was_elsewhere),
		TEST(test_hint_before_commit),
		TEST(test_hint_of_a_key_is_one),
		TEST(test_hold_ends_unseen),
		TEST(test_client_acts),
		TEST(test_one_of_several_acts),
		TEST(test_told_and_asks_again),
		TEST(test_former_holder_acts),
		TEST(test_hints_are_bounded),
		TEST(test_hint_ends_hold),
		TEST(test_nonsense),
		TEST(test_unknown_keys),
		TEST(test_empty_key),
		TEST(test_lending_is_bounded),
		TEST(test_answers_of_holders),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
