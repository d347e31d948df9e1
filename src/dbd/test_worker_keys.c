/* Tests of the worker's set of keys. */
#include "dbd/worker_keys.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#define KEYS 30000

static size_t name_of(uint8_t *key, size_t size, int i)
{
	return (size_t)snprintf((char *)key, size, "key %d", i) + 1;
}

static int count(struct keyset_key *key, void *priv)
{
	unsigned *n = priv;

	n[key->marked]++;
	return 0;
}

static int stop_at_marked(struct keyset_key *key, void *priv)
{
	unsigned *n = priv;

	++*n;
	return key->marked ? EIO : 0;
}

/* Also far more than it was made for. */
static void fill(size_t about)
{
	struct keyset *set = keyset_new(NULL, about);
	unsigned n[2] = {0, 0}, seen = 0;
	uint8_t key[32];

	assert_non_null(set);
	for (int i = 0; i < KEYS; i++) {
		size_t len = name_of(key, sizeof(key), i);

		assert_null(keyset_find(set, key, len));
		assert_non_null(keyset_add(set, key, len));
	}
	for (int i = 0; i < KEYS; i++) {
		size_t len = name_of(key, sizeof(key), i);
		struct keyset_key *k = keyset_find(set, key, len);

		assert_non_null(k);
		assert_false(k->marked);
		assert_int_equal(k->len, len);
		assert_memory_equal(k->bytes, key, len);
		k->marked = i % 3 == 0;
	}
	assert_null(keyset_find(set, key, name_of(key, sizeof(key), KEYS)));
	assert_null(keyset_find(set, key, 3));
	assert_int_equal(keyset_each(set, count, n), 0);
	assert_int_equal(n[true], KEYS / 3);
	assert_int_equal(n[false], KEYS - KEYS / 3);
	assert_int_equal(keyset_each(set, stop_at_marked, &seen), EIO);
	assert_true(seen < KEYS);
	talloc_free(set);
}

static void test_many(void **state)
{
	fill(KEYS);
	fill(500);
	fill(10000000);
}

/* Keys of any length, also longer than the blocks that they lie in. */
static void test_lengths(void **state)
{
	static const size_t lengths[] = {0, 1, 7, 8, 9, 300000, 100000, 100000, 100000, 262144 - 16, 262144, 5};
	struct keyset *set = keyset_new(NULL, 0);
	uint8_t *key = talloc_size(set, 300000);

	for (unsigned i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		memset(key, (int)i, lengths[i]);
		assert_null(keyset_find(set, key, lengths[i]));
		assert_non_null(keyset_add(set, key, lengths[i]));
	}
	for (unsigned i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		struct keyset_key *k;

		memset(key, (int)i, lengths[i]);
		k = keyset_find(set, key, lengths[i]);
		assert_non_null(k);
		assert_int_equal((uintptr_t)k % _Alignof(struct keyset_key), 0);
		assert_memory_equal(k->bytes, key, lengths[i]);
	}
	talloc_free(set);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_lengths),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
