/* Tests of contents summed up by parts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/hash.h"
#include "core/content_parts.h"

#define RECORDS 5000

static uint64_t sums_a[LANE_PARTS], sums_b[LANE_PARTS];

static size_t key_of(int i, uint8_t key[32])
{
	return (size_t)snprintf((char *)key, 32, "key %d", i);
}

static void add(uint64_t *sums, uint32_t n, int i, uint64_t digest)
{
	uint8_t key[32];
	size_t len = key_of(i, key);

	sums[content_hash(key, len) % n] += digest;
}

static void fill(uint64_t *sums, uint32_t n)
{
	memset(sums, 0, LANE_PARTS * sizeof(*sums));
	for (int i = 0; i < RECORDS; i++) {
		add(sums, n, i, hash_mix64((uint64_t)i + 1));
	}
}

/* All nodes have to agree about it. */
static void test_hash_is_fixed(void **state)
{
	assert_true(content_hash((const uint8_t *)"", 0) == hash_mix64(0xcbf29ce484222325ULL));
}

static void test_count(void **state)
{
	assert_int_equal(content_parts_count(0), 0);
	assert_int_equal(content_parts_count(63), 0);
	assert_int_equal(content_parts_count(64), 4);
	assert_int_equal(content_parts_count(65), 8);
	assert_int_equal(content_parts_count(20000), 2048);
	assert_int_equal(content_parts_count(UINT64_MAX), LANE_PARTS);
	for (uint64_t n = 64; n < 100000; n = n * 5 / 4) {
		assert_true(content_parts_valid(content_parts_count(n)));
	}
	assert_true(content_parts_valid(0));
	assert_false(content_parts_valid(1));
	assert_false(content_parts_valid(3));
	assert_false(content_parts_valid(2 * LANE_PARTS));
	assert_false(content_parts_valid(UINT32_MAX));
}

static void test_fold(void **state)
{
	for (uint32_t n = LANE_PARTS; n >= 2; n /= 2) {
		fill(sums_a, LANE_PARTS);
		fill(sums_b, n);
		content_parts_fold(sums_a, LANE_PARTS, n);
		assert_memory_equal(sums_a, sums_b, n * sizeof(uint64_t));
	}
}

/* What differs is in the map, whichever of both has more parts; and not much else. */
static void differs(uint32_t n_own, uint32_t n_theirs)
{
	struct content_map map = {.n = n_own};
	uint32_t coarser = n_own < n_theirs ? n_own : n_theirs;
	uint32_t in = 0, parts = 0;
	uint8_t key[32];

	fill(sums_a, n_own);
	fill(sums_b, n_theirs);
	content_map_add(&map, sums_a, n_own, sums_b, n_theirs);
	for (int i = 0; i < RECORDS; i++) {
		assert_false(content_map_has(&map, key, key_of(i, key)));
	}
	add(sums_a, n_own, 17, 5);
	add(sums_b, n_theirs, 99999, 6);
	content_map_add(&map, sums_a, n_own, sums_b, n_theirs);
	assert_true(content_map_has(&map, key, key_of(17, key)));
	assert_true(content_map_has(&map, key, key_of(99999, key)));
	for (int i = 0; i < RECORDS; i++) {
		in += content_map_has(&map, key, key_of(i, key));
	}
	assert_true(in < 4 * RECORDS / coarser + 50);
	for (uint32_t p = 0; p < map.n; p++) {
		parts += map.bits[p / 8] >> p % 8 & 1;
	}
	assert_true(parts >= 1);
	assert_int_equal(content_map_is_large(&map), 2 * parts > map.n);
}

static void test_map(void **state)
{
	differs(512, 512);
	differs(64, 4096);
	differs(4096, 64);
	differs(4, 8);
	differs(2, 2);
}

static void test_map_from_message(void **state)
{
	uint8_t bits[CONTENT_PARTS_MAP + 1] = {0x10};
	struct content_map map;

	assert_true(content_map_set(&map, 0, NULL, 0));
	assert_true(content_map_has(&map, bits, 1));
	assert_false(content_map_is_large(&map)); /* it stands for everything */
	assert_false(content_map_set(&map, 0, bits, 1));
	assert_false(content_map_set(&map, 4, bits, 1)); /* there is no part 4 */
	assert_true(content_map_set(&map, 8, bits, 1));
	assert_false(content_map_set(&map, 8, bits, 2));
	assert_false(content_map_set(&map, 16, bits, 1));
	assert_false(content_map_set(&map, 24, bits, 3));
	assert_false(content_map_set(&map, 1, bits, 1));
	assert_true(content_map_set(&map, LANE_PARTS, bits, CONTENT_PARTS_MAP));
	assert_false(content_map_set(&map, 2 * LANE_PARTS, bits, 2 * CONTENT_PARTS_MAP));
	assert_false(content_map_is_large(&map));
	memset(bits, 0xFF, sizeof(bits));
	assert_true(content_map_set(&map, 16, bits, 2));
	assert_true(content_map_is_large(&map));
	bits[1] = 0;
	assert_true(content_map_set(&map, 16, bits, 2));
	assert_false(content_map_is_large(&map)); /* half of them */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hash_is_fixed),
		cmocka_unit_test(test_count),
		cmocka_unit_test(test_fold),
		cmocka_unit_test(test_map),
		cmocka_unit_test(test_map_from_message),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
