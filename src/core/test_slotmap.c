/* Tests of the slot map: fair shares, little movement. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "core/slotmap.h"

#define SLOTS 1000

static void count(const uint32_t *slots, uint32_t n_slots, const uint32_t *members, uint32_t n, uint32_t *have)
{
	memset(have, 0, n * sizeof(*have));
	for (uint32_t s = 0; s < n_slots; s++) {
		uint32_t i = 0;

		while (i < n && members[i] != slots[s]) {
			i++;
		}
		assert_true(i < n);
		have[i]++;
	}
}

static void check_fair(const uint32_t *slots, uint32_t n_slots, const uint32_t *members, uint32_t n)
{
	uint32_t have[256];

	count(slots, n_slots, members, n, have);
	for (uint32_t i = 0; i < n; i++) {
		assert_in_range(have[i], n_slots / n, (n_slots + n - 1) / n);
	}
}

static void test_fair(void **state)
{
	uint32_t slots[SLOTS], members[256];

	(void)state;
	for (uint32_t n = 1; n <= 256; n++) {
		for (uint32_t i = 0; i < n; i++) {
			members[i] = i * 3;
		}
		slotmap_compute(slots, SLOTS, NULL, members, n);
		check_fair(slots, SLOTS, members, n);
		slotmap_compute(slots, 7, NULL, members, n); /* fewer slots than members */
		check_fair(slots, 7, members, n);
	}
}

/* A node that leaves or comes moves its own share only. */
static void test_little_movement(void **state)
{
	uint32_t old[SLOTS], slots[SLOTS];
	const uint32_t four[] = {0, 1, 2, 3}, three[] = {0, 1, 3}, five[] = {0, 1, 2, 3, 9};
	uint32_t moved = 0;

	(void)state;
	slotmap_compute(old, SLOTS, NULL, four, 4);
	slotmap_compute(slots, SLOTS, old, three, 3);
	check_fair(slots, SLOTS, three, 3);
	for (uint32_t s = 0; s < SLOTS; s++) {
		moved += slots[s] != old[s];
	}
	assert_int_equal(moved, 250);
	slotmap_compute(slots, SLOTS, old, five, 5);
	check_fair(slots, SLOTS, five, 5);
	moved = 0;
	for (uint32_t s = 0; s < SLOTS; s++) {
		moved += slots[s] != old[s];
	}
	assert_int_equal(moved, 200);
	slotmap_compute(slots, SLOTS, old, four, 4);
	assert_memory_equal(slots, old, sizeof(old));
}

/* What an old map says need not make sense. */
static void test_odd_input(void **state)
{
	uint32_t old[SLOTS], slots[SLOTS], again[SLOTS];
	const uint32_t members[] = {5, 6, 7};

	(void)state;
	for (uint32_t s = 0; s < SLOTS; s++) {
		old[s] = s % 2 == 0 ? UINT32_MAX : 5;
	}
	slotmap_compute(slots, SLOTS, old, members, 3);
	check_fair(slots, SLOTS, members, 3);
	slotmap_compute(again, SLOTS, old, members, 3);
	assert_memory_equal(slots, again, sizeof(slots));
	slotmap_compute(again, SLOTS, old, members, 0);
	assert_memory_equal(slots, again, sizeof(slots));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fair),
		cmocka_unit_test(test_little_movement),
		cmocka_unit_test(test_odd_input),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
