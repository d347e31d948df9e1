/* Tests of the sums over a node's copies by slot and data master: against a recount after random changes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/hash.h"
#include "core/slot_digest.h"

#define NONE  SLOT_DIGEST_NONE
#define SLOTS 16U
#define KEYS  300U

/* What the file says: by key, NONE: no copy. */
static uint32_t file[KEYS];
static uint64_t rnd_state = 88172645463325252ULL;

static uint32_t rnd(uint32_t n)
{
	rnd_state ^= rnd_state << 13;
	rnd_state ^= rnd_state >> 7;
	rnd_state ^= rnd_state << 17;
	return (uint32_t)(rnd_state % n);
}

/* Of different lengths; the first has none. */
static size_t key_of(uint32_t k, uint8_t key[8])
{
	memset(key, 'k', 8);
	memcpy(key, &k, sizeof(k));
	return k == 0 ? 0 : 4 + k % 5;
}

static void change(struct slot_digest *d, uint32_t k, uint32_t to)
{
	uint8_t key[8];
	size_t len = key_of(k, key);

	slot_digest_change(d, key, len, file[k], to);
	file[k] = to;
}

static uint32_t slot_of(uint32_t k)
{
	uint8_t key[8];
	size_t len = key_of(k, key);

	return hash_lookup3(key, len) % SLOTS;
}

/* Nodes, one that is none, and no copy at all. */
static uint32_t some_dmaster(void)
{
	static const uint32_t odd[] = {255, 256, 70000, NONE, NONE, NONE};
	uint32_t i = rnd(16);

	return i < 6 ? odd[i] : i - 6;
}

static uint32_t column_of(uint32_t dmaster)
{
	return dmaster < 256 ? dmaster : 256;
}

static struct slot_digest *recount(void)
{
	struct slot_digest *d = slot_digest_new(NULL);

	assert_int_equal(slot_digest_reset(d, SLOTS), 0);
	for (uint32_t k = 0; k < KEYS; k++) {
		uint8_t key[8];
		size_t len = key_of(k, key);

		slot_digest_change(d, key, len, NONE, file[k]);
	}
	return d;
}

/* Is there a copy in the slot that names somebody of that column? members: none of these. */
static bool in_file(uint32_t slot, uint32_t column)
{
	for (uint32_t k = 0; k < KEYS; k++) {
		if (file[k] != NONE && slot_of(k) == slot && column_of(file[k]) == column) {
			return true;
		}
	}
	return false;
}

static bool others_in_file(uint32_t slot, const uint32_t *members, uint32_t n)
{
	for (uint32_t k = 0; k < KEYS; k++) {
		uint32_t i;

		if (file[k] == NONE || slot_of(k) != slot) {
			continue;
		}
		for (i = 0; i < n && members[i] != file[k]; i++) {
		}
		if (i == n) {
			return true;
		}
	}
	return false;
}

static void compare(const struct slot_digest *d, const struct slot_digest *counted)
{
	static const uint32_t members[] = {0, 1, 2, 7};

	for (uint32_t s = 0; s < SLOTS; s++) {
		for (uint32_t c = 0; c <= 256; c++) {
			assert_true(slot_digest_sum(d, s, c) == slot_digest_sum(counted, s, c));
			assert_int_equal(slot_digest_sum(d, s, c) != 0, in_file(s, c));
		}
		assert_int_equal(slot_digest_others(d, s, members, 4), others_in_file(s, members, 4));
		assert_int_equal(slot_digest_others(d, s, members, 0), others_in_file(s, members, 0));
	}
}

static int setup(void **state)
{
	struct slot_digest *d = slot_digest_new(NULL);

	for (uint32_t k = 0; k < KEYS; k++) {
		file[k] = NONE;
	}
	*state = d;
	return d != NULL ? 0 : -1;
}

static int teardown(void **state)
{
	talloc_free(*state);
	return 0;
}

/* ---- sums ---- */

static void test_one_key(void **state)
{
	struct slot_digest *d = *state;
	uint64_t one;
	uint32_t s = slot_of(5);

	assert_int_equal(slot_digest_reset(d, SLOTS), 0);
	assert_true(slot_digest_known(d, SLOTS));
	change(d, 5, 3);
	one = slot_digest_sum(d, s, 3);
	assert_int_not_equal(one, 0);
	assert_true(slot_digest_sum(d, (s + 1) % SLOTS, 3) == 0 && slot_digest_sum(d, s, 2) == 0);
	change(d, 5, 3); /* written again */
	assert_true(slot_digest_sum(d, s, 3) == one);
	change(d, 5, 2); /* given away */
	assert_true(slot_digest_sum(d, s, 3) == 0 && slot_digest_sum(d, s, 2) == one);
	change(d, 5, NONE);
	assert_true(slot_digest_sum(d, s, 2) == 0);
	assert_true(slot_digest_sum(d, SLOTS, 2) == 0 && slot_digest_sum(d, s, NONE) == 0);
}

/* Two that are none are one column: it tells that they are there, not which. */
static void test_no_nodes(void **state)
{
	struct slot_digest *d = *state;
	uint32_t s = slot_of(7), all[256];
	uint64_t sum;

	assert_int_equal(slot_digest_reset(d, SLOTS), 0);
	change(d, 7, 256);
	sum = slot_digest_sum(d, s, 256);
	assert_int_not_equal(sum, 0);
	change(d, 7, 70000);
	assert_true(slot_digest_sum(d, s, 256) == sum && slot_digest_sum(d, s, 70000) == sum);
	for (uint32_t i = 0; i < 256; i++) {
		all[i] = i;
	}
	assert_true(slot_digest_others(d, s, all, 256));
	change(d, 7, 255);
	assert_false(slot_digest_others(d, s, all, 256));
	assert_true(slot_digest_others(d, s, all, 255));
}

static void test_random(void **state)
{
	struct slot_digest *d = *state;

	assert_int_equal(slot_digest_reset(d, SLOTS), 0);
	for (uint32_t i = 0; i < 30000; i++) {
		change(d, rnd(KEYS), some_dmaster());
		if (i % 3000 == 0) {
			struct slot_digest *counted = recount();

			compare(d, counted);
			talloc_free(counted);
		}
	}
	for (uint32_t k = 0; k < KEYS; k++) {
		change(d, k, NONE);
	}
	for (uint32_t s = 0; s < SLOTS; s++) {
		assert_false(slot_digest_others(d, s, NULL, 0));
	}
}

/* A copy that was not told, or told twice, does not go unnoticed. */
static void test_mistakes_show(void **state)
{
	struct slot_digest *d = *state, *counted;

	assert_int_equal(slot_digest_reset(d, SLOTS), 0);
	for (uint32_t k = 0; k < KEYS; k++) {
		change(d, k, k % 3);
	}
	for (uint32_t k = 0; k < KEYS; k++) {
		uint32_t dmaster = file[k], other = (dmaster + 1) % 3, s = slot_of(k);

		file[k] = k % 2 == 0 ? other : NONE;
		counted = recount();
		assert_true(slot_digest_sum(d, s, dmaster) != slot_digest_sum(counted, s, dmaster));
		talloc_free(counted);
		file[k] = dmaster;
	}
	counted = recount();
	compare(d, counted);
	talloc_free(counted);
}

/* ---- what is known ---- */

static void test_unknown(void **state)
{
	struct slot_digest *d = *state;

	assert_false(slot_digest_known(d, SLOTS));
	change(d, 1, 1); /* not counted */
	assert_true(slot_digest_sum(d, slot_of(1), 1) == 0);
	/* An empty file: for any map, until something is in it. */
	assert_int_equal(slot_digest_reset(d, 0), 0);
	assert_true(slot_digest_known(d, SLOTS));
	assert_false(slot_digest_known(d, SLOTS + 1));
	change(d, 2, 1);
	assert_int_not_equal(slot_digest_sum(d, slot_of(2), 1), 0);
	assert_true(slot_digest_known(d, SLOTS));
	/* Before any map came it cannot be said in which slot a copy is. */
	assert_int_equal(slot_digest_reset(d, 0), 0);
	change(d, 3, 1);
	assert_false(slot_digest_known(d, SLOTS));
	/* Counted anew. */
	assert_int_equal(slot_digest_reset(d, SLOTS), 0);
	assert_true(slot_digest_known(d, SLOTS));
	assert_true(slot_digest_sum(d, slot_of(2), 1) == 0);
	change(d, 4, 1);
	slot_digest_forget(d);
	assert_false(slot_digest_known(d, SLOTS));
	assert_true(slot_digest_sum(d, slot_of(4), 1) == 0);
}

/* Deprecated, but there is no other way to let an allocation fail. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
static void limit_memory(struct slot_digest *d, size_t more)
{
	assert_int_equal(talloc_set_memlimit(d, talloc_total_size(d) + more), 0);
}
#pragma GCC diagnostic pop

static void test_out_of_memory(void **state)
{
	struct slot_digest *d = *state;

	assert_int_equal(slot_digest_reset(d, SLOTS), 0);
	change(d, 1, 1);
	limit_memory(d, 64);
	change(d, 2, 1); /* has its column */
	assert_true(slot_digest_known(d, SLOTS));
	change(d, 2, 2); /* has none */
	assert_false(slot_digest_known(d, SLOTS));
	assert_true(slot_digest_sum(d, slot_of(1), 1) == 0);
	change(d, 3, 1);
	assert_false(slot_digest_known(d, SLOTS));
}

static void test_kept(void **state)
{
	struct slot_digest *d = *state;
	const uint32_t slots[] = {0, 1, 0, 2}, others[] = {1, 1};

	assert_false(slot_digest_kept(d, 0));
	assert_int_equal(slot_digest_reset(d, 4), 0);
	slot_digest_prepared(d, slots, 4, 0);
	assert_true(slot_digest_kept(d, 0) && !slot_digest_kept(d, 1) && slot_digest_kept(d, 2));
	assert_true(!slot_digest_kept(d, 3) && !slot_digest_kept(d, 4) && !slot_digest_kept(d, NONE));
	/* To be counted anew says nothing about what was kept; a later map does, and to forget. */
	assert_int_equal(slot_digest_reset(d, 4), 0);
	assert_true(slot_digest_kept(d, 0));
	slot_digest_prepared(d, others, 2, 0);
	assert_false(slot_digest_kept(d, 0) || slot_digest_kept(d, 2));
	slot_digest_prepared(d, slots, 4, 0);
	slot_digest_forget(d);
	assert_false(slot_digest_kept(d, 0) || slot_digest_kept(d, 2));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_one_key), TEST(test_no_nodes),      TEST(test_random), TEST(test_mistakes_show),
		TEST(test_unknown), TEST(test_out_of_memory), TEST(test_kept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
