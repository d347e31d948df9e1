/* Tests of the counts of keys in a second, and of the list of the hottest. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "base/hash.h"
#include "core/hot_keys.h"

static struct mono at_ms(uint64_t ms)
{
	return (struct mono){(1000 + ms) * MONO_NS_PER_MS};
}

static uint32_t add(struct hot_keys *h, const char *key, struct mono now)
{
	return hot_keys_add(h, (const uint8_t *)key, strlen(key), hash_lookup3((const uint8_t *)key, strlen(key)), now);
}

static const struct hot_key *find(const struct hot_keys *h, const char *key)
{
	for (int i = 0; i < HOT_KEYS; i++) {
		const struct hot_key *k = &h->list[i];

		if (k->count > 0 && k->keylen == strlen(key) && memcmp(k->key, key, k->keylen) == 0) {
			return k;
		}
	}
	return NULL;
}

static void check_order(const struct hot_keys *h)
{
	for (int i = 1; i < HOT_KEYS; i++) {
		assert_true(h->list[i - 1].count <= h->list[i].count);
	}
}

static void test_window(void **state)
{
	struct key_counts c = {{{{0}}}};
	struct key_count *k;

	(void)state;
	assert_null(key_count_find(&c, 7, 3));
	assert_int_equal(key_count_add(&c, 7, 3, at_ms(0))->n, 1);
	assert_int_equal(key_count_add(&c, 7, 3, at_ms(999))->n, 2);
	assert_int_equal(key_count_add(&c, 7, 4, at_ms(999))->n, 1);
	assert_int_equal(key_count_add(&c, 7, 3, at_ms(1000))->n, 1);
	assert_int_equal(key_count_add(&c, 7, 3, at_ms(1999))->n, 2);
	k = key_count_find(&c, 7, 3);
	assert_non_null(k);
	assert_int_equal(k->n, 2);
}

/* Keys that share a place: the frequent one stays, and gets in among others that are not. */
static void test_shared_place(void **state)
{
	struct key_counts c = {{{{0}}}};
	struct key_count *k;

	(void)state;
	for (uint32_t i = 0; i < 100; i++) {
		(void)key_count_add(&c, 5, 1, at_ms(1));
	}
	for (uint32_t i = 1; i < 50; i++) {
		(void)key_count_add(&c, 5 + i * KEY_COUNT_SETS, 1, at_ms(2));
	}
	k = key_count_find(&c, 5, 1);
	assert_non_null(k);
	assert_int_equal(k->n, 100);
	for (uint32_t i = 0; i < 300; i++) {
		k = key_count_add(&c, 5 + 100 * KEY_COUNT_SETS, 1, at_ms(3));
	}
	assert_non_null(k);
	assert_true(k->n > 100);
	/* What somebody keeps is not replaced. */
	for (uint32_t i = 0; i < 4; i++) {
		k = key_count_add(&c, 6 + i * KEY_COUNT_SETS, 1, at_ms(3));
		assert_non_null(k);
		k->keep = at_ms(60000);
	}
	assert_null(key_count_add(&c, 6 + 9 * KEY_COUNT_SETS, 1, at_ms(5000)));
	assert_non_null(key_count_add(&c, 6 + 9 * KEY_COUNT_SETS, 1, at_ms(60000)));
}

static void test_hottest(void **state)
{
	struct hot_keys *h = hot_keys_new(NULL);
	char key[16];

	(void)state;
	for (int k = 0; k < 20; k++) { /* key 19 comes 20 times, each in its own order */
		snprintf(key, sizeof(key), "key %d", k);
		for (int i = 0; i <= k; i++) {
			assert_int_equal(add(h, key, at_ms(0)), 0);
			check_order(h);
		}
	}
	for (int k = 0; k < 20; k++) {
		snprintf(key, sizeof(key), "key %d", k);
		assert_int_equal(find(h, key) != NULL, k >= 10);
		assert_int_equal(find(h, key) != NULL ? find(h, key)->count : 0, k >= 10 ? k + 1 : 0);
	}
	/* A quieter second later changes nothing, a busier one does. */
	for (int i = 0; i < 12; i++) {
		(void)add(h, "key 10", at_ms(5000));
	}
	assert_int_equal(find(h, "key 10")->count, 12);
	(void)add(h, "key 19", at_ms(5000));
	assert_int_equal(find(h, "key 19")->count, 20);
	hot_keys_reset(h);
	assert_null(find(h, "key 19"));
	assert_int_equal(h->list[HOT_KEYS - 1].count, 0);
	assert_int_equal(add(h, "", at_ms(0)), 0);
	assert_int_equal(find(h, "")->count, 1);
	talloc_free(h);
}

/* Told when it becomes hot, and each time that it has doubled since. */
static void test_told(void **state)
{
	struct hot_keys *h = hot_keys_new(NULL);
	uint32_t told[8], n = 0;

	(void)state;
	for (int i = 0; i < 300; i++) {
		uint32_t t = add(h, "hot", at_ms(0));

		if (t > 0) {
			told[n++] = t;
		}
	}
	assert_int_equal(n, 4);
	for (uint32_t i = 0; i < n; i++) {
		assert_int_equal(told[i], HOT_KEY_TELL << i);
	}
	for (int i = 0; i < 200; i++) {
		assert_int_equal(add(h, "hot", at_ms(2000)), 0);
	}
	talloc_free(h);
}

/* No memory is taken for keys that do not enter the list, nor for long ones. */
static void test_bounded(void **state)
{
	struct hot_keys *h = hot_keys_new(NULL);
	static uint8_t long_key[HOT_KEY_MAX + 1];
	char key[32];
	size_t blocks;

	(void)state;
	for (int i = 0; i < 40; i++) {
		snprintf(key, sizeof(key), "warm %d", i % 10);
		(void)add(h, key, at_ms(0));
	}
	blocks = talloc_total_blocks(h);
	for (int i = 0; i < 10000; i++) {
		snprintf(key, sizeof(key), "once %d", i);
		(void)add(h, key, at_ms(1));
	}
	assert_int_equal(talloc_total_blocks(h), blocks);
	for (int i = 0; i < 100; i++) {
		assert_int_equal(hot_keys_add(h, long_key, sizeof(long_key), 1, at_ms(2)), 0);
	}
	assert_int_equal(h->list[HOT_KEYS - 1].count, 4);
	for (int i = 0; i < 5; i++) {
		(void)hot_keys_add(h, long_key, HOT_KEY_MAX, 2, at_ms(2));
	}
	assert_int_equal(h->list[HOT_KEYS - 1].count, 5);
	talloc_free(h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_window), cmocka_unit_test(test_shared_place), cmocka_unit_test(test_hottest),
		cmocka_unit_test(test_told),   cmocka_unit_test(test_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
