/* Byte order of native structures: every type there and back, and the bytes of every feature of the native encoding as
 * machines of either order write them. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <cmocka.h>

#include "protocol/classic_table.h"
#include "protocol/gen_test.h"
#include "protocol/natives_native.h"
#include "protocol/natives_table.h"
#include "protocol/natives_turn.h"

#define ROUNDS  40
#define CUTS    200
#define DAMAGES 60

#define BIG_HOST (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__)

/* ---- every type ---- */

/* Whatever the bytes: turned there and back nothing has changed, and both ways say the same. */
static int there_and_back(const struct gen_type *t, const uint8_t *buf, size_t len, size_t *used)
{
	uint8_t *copy = gen_exact_copy(buf, len);
	size_t back;
	int err = t->turn(copy, len, TURN_FROM_HOST, used);

	assert_true(err == 0 || err == EBADMSG);
	assert_true(*used <= len);
	assert_int_equal(t->turn(copy, len, TURN_TO_HOST, &back), err);
	assert_int_equal(back, *used);
	if (len > 0) {
		assert_memory_equal(copy, buf, len);
	}
	free(copy);
	return err;
}

/* Cut off: refused, unless the structure may end there. */
static void check_cuts(const struct gen_type *t, const struct ctdb_blob *buf)
{
	size_t step = buf->len / CUTS + 1, used;

	for (size_t len = 0; len < buf->len; len += step) {
		int err = there_and_back(t, buf->data, len, &used);

		assert_true(err != 0 || t->native_open);
	}
}

static void check_damage(const struct gen_type *t, uint64_t *rnd, const struct ctdb_blob *buf)
{
	for (int i = 0; i < DAMAGES && buf->len > 0; i++) {
		uint8_t *copy = gen_exact_copy(buf->data, buf->len);
		size_t used;

		for (uint32_t n = gen_random_below(rnd, 3) + 1; n > 0; n--) {
			copy[gen_random_below(rnd, buf->len)] = (uint8_t)gen_random_number(rnd, 8);
		}
		(void)there_and_back(t, copy, buf->len, &used);
		free(copy);
	}
}

static void check_type(const struct gen_type *t, uint64_t *rnd)
{
	unsigned changed = 0, numbers = 0;

	for (int i = 0; i < ROUNDS; i++) {
		TALLOC_CTX *mem = talloc_new(NULL);
		void *v = talloc_zero_size(mem, t->size);
		struct ctdb_blob buf;
		uint8_t *copy;
		size_t used;

		t->random(rnd, mem, v);
		assert_int_equal(t->nencode(mem, v, &buf), 0);
		assert_int_equal(there_and_back(t, buf.data, buf.len, &used), 0);
		assert_int_equal(used, buf.len);
		copy = gen_exact_copy(buf.data, buf.len);
		assert_int_equal(t->turn(copy, buf.len, TURN_FROM_HOST, NULL), 0);
		changed += buf.len > 0 && memcmp(copy, buf.data, buf.len) != 0;
		numbers += strcmp(t->name, "classic_text") != 0 && strcmp(t->name, "rest_text") != 0;
		free(copy);
		check_cuts(t, &buf);
		check_damage(t, rnd, &buf);
		talloc_free(mem);
	}
	assert_int_equal(changed > 0, numbers > 0); /* all but texts have something to turn */
}

static void test_table(void **state)
{
	const struct gen_type *t = *state;
	uint64_t rnd = 20260802;

	assert_non_null(t->name);
	for (; t->name != NULL; t++) {
		assert_non_null(t->turn);
		check_type(t, &rnd);
	}
}

/* ---- the bytes ---- */

static const uint8_t *own(const struct gen_sample *s)
{
	return BIG_HOST ? s->big : s->little;
}

static void check_sample(const struct gen_sample *s, turn_fn turn)
{
	const uint8_t *other = BIG_HOST ? s->little : s->big;
	uint8_t *p = gen_exact_copy(other, s->len);
	size_t used;

	assert_int_equal(turn(p, s->len, TURN_TO_HOST, &used), 0);
	assert_int_equal(used, s->len);
	assert_memory_equal(p, own(s), s->len);
	assert_int_equal(turn(p, s->len, TURN_FROM_HOST, &used), 0);
	assert_memory_equal(p, other, s->len);
	free(p);
}

#define HYPER          UINT64_C(0x1122334455667788)
#define ONE_AND_A_HALF UINT64_C(0x3FF8000000000000)

static void put_inner(struct gen_sample *s, uint8_t a, uint64_t b, uint16_t c)
{
	gen_sample_put(s, a, 1);
	gen_sample_bytes(s, "1234567", 7); /* padding stays as it is, here and below */
	gen_sample_put(s, b, 8);
	gen_sample_put(s, c, 2);
	gen_sample_bytes(s, "123456", 6);
}

static void put_tight(struct gen_sample *s)
{
	gen_sample_put(s, 0xff, 1);
	gen_sample_put(s, HYPER, 8);
	gen_sample_put(s, 1, 1);
	gen_sample_put(s, ONE_AND_A_HALF, 8);
}

static void test_fixed(void **state)
{
	TALLOC_CTX *mem = talloc_new(NULL);
	struct gen_sample s = {0};
	struct fixed_parts v;

	gen_sample_put(&s, 1, 1);
	gen_sample_bytes(&s, "abc", 3);
	gen_sample_put(&s, LIGHT, 4);
	gen_sample_put(&s, DARK, 1);
	gen_sample_bytes(&s, "xyz", 3);
	gen_sample_bytes(&s, "pppp", 4);
	put_inner(&s, 1, 2, 3);
	put_inner(&s, 4, HYPER, 0x1234);
	put_inner(&s, 7, 8, 9);
	put_tight(&s);
	gen_sample_bytes(&s, "pp", 2);
	for (uint32_t i = 0; i < FEW; i++) {
		gen_sample_put(&s, 0x01020300 + i, 4);
	}
	gen_sample_bytes(&s, "pppp", 4);
	gen_sample_put(&s, ONE_AND_A_HALF, 8);
	gen_sample_put(&s, HYPER, 8);
	gen_sample_put(&s, (uint32_t)-5, 4);
	gen_sample_bytes(&s, "label\0\0\0\0", 10);
	gen_sample_put(&s, 0x0102, 2);
	gen_sample_put(&s, 0x0304, 2);
	gen_sample_put(&s, 0x0506, 2);
	gen_sample_bytes(&s, "pppp", 4);
	assert_int_equal(s.len, FIXED_PARTS_NSIZE);
	check_sample(&s, fixed_parts_turn);
	assert_int_equal(fixed_parts_ndecode(mem, own(&s), s.len, &v, NULL), 0);
	assert_true(v.d == 1.5 && v.h == (int64_t)HYPER && v.i == -5 && v.t.d == 1.5 && v.two[0].c == 0x1234);
	talloc_free(mem);
}

static void test_tails(void **state)
{
	TALLOC_CTX *mem = talloc_new(NULL);
	struct gen_sample s = {0};
	struct tails v;

	gen_sample_put(&s, 131, 4);
	gen_sample_put(&s, 5, 4);
	gen_sample_put(&s, 2, 4);
	gen_sample_put(&s, 3, 4);
	gen_sample_put(&s, 2, 4);
	gen_sample_put(&s, 1, 4);
	gen_sample_put(&s, 1, 4);
	gen_sample_put(&s, 2, 4);
	gen_sample_bytes(&s, "bytes", 5);
	gen_sample_bytes(&s, "b", 2);
	gen_sample_bytes(&s, "ccc", 3);
	gen_sample_put(&s, HYPER, 8);
	gen_sample_put(&s, 2, 8);
	gen_sample_bytes(&s, "pppppp", 6); /* from 58 to 64 */
	gen_sample_put(&s, HYPER, 8);
	put_inner(&s, 1, 2, 3);
	gen_sample_put(&s, DARK, 4);
	gen_sample_put(&s, LIGHT, 4);
	gen_sample_put(&s, 4, 4);
	gen_sample_bytes(&s, "dddd", 4);
	gen_sample_put(&s, 2, 4);
	gen_sample_bytes(&s, "e", 2);
	gen_sample_put(&s, 1, 4);
	gen_sample_bytes(&s, "f", 1);
	gen_sample_put(&s, HYPER + 1, 8);
	assert_int_equal(s.len, 131);
	check_sample(&s, tails_turn);
	assert_int_equal(tails_ndecode(mem, own(&s), s.len, &v, NULL), 0);
	assert_string_equal(v.f, "f");
	assert_true(v.last == HYPER + 1);
	talloc_free(mem);
}

/* With lengths that do not fit it is refused, and nothing outside is touched. */
static void test_hostile(void **state)
{
	uint8_t buf[200];

	for (size_t len = 0; len <= sizeof(buf); len++) {
		for (const struct gen_type *t = natives_types; t->name != NULL; t++) {
			size_t used;

			memset(buf, 0xff, sizeof(buf));
			(void)there_and_back(t, buf, len, &used);
			memset(buf, 0x01, sizeof(buf));
			(void)there_and_back(t, buf, len, &used);
		}
	}
	memset(buf, 0xff, sizeof(buf));
	assert_int_equal(tails_turn(buf, sizeof(buf), TURN_TO_HOST, NULL), EBADMSG);
	assert_int_equal(counted_turn(buf, sizeof(buf), TURN_TO_HOST, NULL), EBADMSG);
	assert_int_equal(inner_turn(NULL, 0, TURN_TO_HOST, NULL), EBADMSG);
	assert_int_equal(rest_structs_turn(NULL, 0, TURN_TO_HOST, NULL), 0);
}

/* A length that says another size than the structure has. */
static void test_size(void **state)
{
	struct gen_sample s = {0};
	uint8_t *p;

	gen_sample_put(&s, 12 + 3, 4);
	gen_sample_put(&s, 1, 4);
	gen_sample_put(&s, 2, 4);
	gen_sample_bytes(&s, "xt", 3);
	check_sample(&s, element_turn);
	s.len = 0;
	gen_sample_put(&s, 12 + 4, 4);
	s.len = 15;
	p = gen_exact_copy(own(&s), s.len);
	assert_int_equal(element_turn(p, s.len, TURN_FROM_HOST, NULL), EBADMSG);
	free(p);
}

static void test_lists(void **state)
{
	struct gen_sample counted = {0}, uncounted = {0};

	gen_sample_put(&counted, HYPER, 8);
	gen_sample_put(&counted, 2, 4);
	gen_sample_put(&uncounted, 0x01020304, 4);
	for (int i = 0; i < 2; i++) {
		struct gen_sample *s = &counted;

		for (int j = 0; j < 2; j++, s = &uncounted) {
			gen_sample_put(s, 12 + 3, 4);
			gen_sample_put(s, 1, 4);
			gen_sample_put(s, 2, 4);
			gen_sample_bytes(s, "xt", 3);
		}
	}
	check_sample(&counted, counted_turn);
	check_sample(&uncounted, uncounted_turn);
}

static void test_sockaddr(void **state)
{
	struct gen_sample s = {0};

	gen_sample_put(&s, 0x01020304, 4);
	gen_sample_put(&s, AF_INET, 2);
	gen_sample_bytes(&s, "--------------------------", 26);
	gen_sample_put(&s, 0x05060708, 4);
	gen_sample_put(&s, AF_INET6, 2);
	gen_sample_bytes(&s, "pofflosixteen of address", 22);
	gen_sample_put(&s, 0x0a0b0c0d, 4);
	assert_int_equal(s.len, ADDRESSES_NSIZE);
	check_sample(&s, addresses_turn);
}

/* Bytes that begin with a structure, and bytes that are too short for it. */
static void test_starts(void **state)
{
	struct gen_sample s = {0}, none = {0};

	gen_sample_put(&s, 0x01020304, 4);
	gen_sample_put(&s, 24 + 4, 4);
	put_inner(&s, 1, HYPER, 0x1234);
	gen_sample_bytes(&s, "rest", 4);
	gen_sample_put(&s, 18, 4);
	put_tight(&s);
	put_inner(&s, 2, HYPER, 0x5678);
	gen_sample_bytes(&s, "end", 3);
	check_sample(&s, started_turn);

	gen_sample_put(&none, 0x01020304, 4);
	gen_sample_put(&none, 23, 4);
	gen_sample_bytes(&none, "twenty-three bytes long", 23);
	gen_sample_put(&none, 17, 4);
	gen_sample_bytes(&none, "seventeen bytes..", 17);
	gen_sample_bytes(&none, "twenty-three bytes long", 23);
	check_sample(&none, started_turn);
}

#define TABLE(x)                                                                                                       \
	{                                                                                                              \
		.name = #x, .test_func = test_table, .initial_state = (void *)(uintptr_t)x##_types                     \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TABLE(classic),
		TABLE(natives),
		cmocka_unit_test(test_fixed),
		cmocka_unit_test(test_tails),
		cmocka_unit_test(test_hostile),
		cmocka_unit_test(test_size),
		cmocka_unit_test(test_lists),
		cmocka_unit_test(test_sockaddr),
		cmocka_unit_test(test_starts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
