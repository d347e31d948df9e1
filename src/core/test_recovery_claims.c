/* Tests of claims: who becomes the owner of a key. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "core/recovery_claims.h"

static const uint8_t key[] = "key";

struct expect {
	uint32_t owner;
	uint64_t rsn;
	bool adopt;
	uint32_t n_losers;
};

static void check(const struct claim *list, size_t n, struct expect e)
{
	/* The order in which claims come must not matter. */
	for (size_t first = 0; first < n; first++) {
		struct claims *c = claims_new(NULL);
		struct verdict v;

		for (size_t i = 0; i < n; i++) {
			assert_int_equal(claims_add(c, key, sizeof(key), &list[(first + i) % n]), 0);
		}
		assert_int_equal(claims_count(c), 1);
		assert_true(claims_next(c, &v));
		assert_int_equal(v.keylen, sizeof(key));
		assert_memory_equal(v.key, key, sizeof(key));
		assert_int_equal(v.owner, e.owner);
		assert_int_equal(v.rsn, e.rsn);
		assert_int_equal(v.adopt, e.adopt);
		assert_int_equal(v.n_losers, e.n_losers);
		assert_int_equal(v.local_dmaster, CLAIM_NODE_NONE);
		for (uint32_t i = 0; i < v.n_losers; i++) {
			assert_int_not_equal(v.losers[i], v.owner);
		}
		assert_false(claims_next(c, &v));
		assert_false(claims_next(c, &v));
		talloc_free(c);
	}
}

static void test_one_owner(void **state)
{
	const struct claim owner_is_older[] = {{5, 1, false, false}, {3, 2, true, true}, {5, 0, false, false}};

	(void)state;
	check(owner_is_older, 3, (struct expect){2, 3, false, 0});
}

static void test_two_owners(void **state)
{
	const struct claim rsn[] = {{4, 1, true, false}, {7, 3, true, false}, {9, 0, false, false}};
	const struct claim pnn[] = {{7, 4, true, false}, {7, 3, true, true}, {7, 6, true, false}};

	(void)state;
	check(rsn, 3, (struct expect){3, 7, false, 1});
	check(pnn, 3, (struct expect){3, 7, false, 2});
}

static void test_no_owner(void **state)
{
	const struct claim rsn[] = {{4, 1, false, false}, {5, 3, false, true}, {2, 0, false, false}};
	const struct claim data[] = {{4, 1, false, true}, {4, 3, false, false}, {4, 2, false, true}};
	const struct claim pnn[] = {{4, 8, false, false}, {4, 3, false, false}, {4, 5, false, false}};

	(void)state;
	check(rsn, 3, (struct expect){3, 5, true, 0});
	check(data, 3, (struct expect){3, 4, true, 0});
	check(pnn, 3, (struct expect){3, 4, true, 0});
}

static void test_local(void **state)
{
	struct claims *c = claims_new(NULL);
	const struct claim mine = {4, 0, false, false}, other = {5, 1, true, false};
	struct verdict v;

	(void)state;
	assert_int_equal(claims_add_local(c, key, sizeof(key), &mine, 7), 0);
	assert_int_equal(claims_add(c, key, sizeof(key), &other), 0);
	assert_true(claims_next(c, &v));
	assert_int_equal(v.local_dmaster, 7);
	assert_int_equal(v.owner, 1);
	talloc_free(c);
}

/* A node that tells a key again and again, also with an empty key, costs memory and nothing else. */
static void test_many(void **state)
{
	struct claims *c = claims_new(NULL);
	struct verdict v;
	uint32_t n = 0, losers = 0;

	(void)state;
	for (uint32_t i = 0; i < 20000; i++) {
		struct claim claim = {.rsn = i, .node = i % 3, .owned = i % 2 == 0};
		uint32_t name = i % 5000;

		assert_int_equal(claims_add(c, (const uint8_t *)&name, i % 4 == 0 ? 0 : sizeof(name), &claim), 0);
	}
	assert_int_equal(claims_count(c), 3751);
	while (claims_next(c, &v)) {
		n++;
		losers += v.n_losers;
		assert_true(n <= 3751);
	}
	assert_int_equal(n, 3751);
	assert_true(losers > 0);
	talloc_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_owner), cmocka_unit_test(test_two_owners), cmocka_unit_test(test_no_owner),
		cmocka_unit_test(test_local),     cmocka_unit_test(test_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
