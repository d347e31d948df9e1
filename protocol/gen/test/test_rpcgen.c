/* The bytes of the XDR codec are those of rpcgen and libtirpc, in both directions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "protocol/constructs.h"
#include "protocol/constructs_table.h"
#include "rpcgen_side.h"

#define ROUNDS 200
#define ROOM   (4 * 1024 * 1024)

static void test_random(void **state)
{
	uint8_t *out = malloc(ROOM);
	uint64_t rnd = 4711;
	unsigned seen = 0;

	assert_non_null(out);
	for (const struct gen_type *t = constructs_types; t->name != NULL; t++, seen++) {
		for (int i = 0; i < ROUNDS; i++) {
			TALLOC_CTX *mem = talloc_new(NULL);
			void *v = talloc_size(mem, t->size), *w = talloc_size(mem, t->size);
			struct ctdb_blob buf;
			size_t len = 0;

			t->random(&rnd, mem, v);
			assert_int_equal(t->encode(mem, v, &buf), 0);
			if (!rpcgen_again(t->name, buf.data, buf.len, out, ROOM, &len)) {
				fail_msg("libtirpc does not take our %s", t->name);
			}
			assert_int_equal(len, buf.len);
			assert_memory_equal(out, buf.data, len);
			assert_int_equal(t->decode(mem, out, len, w), 0);
			assert_true(t->equal(v, w));
			talloc_free(mem);
		}
	}
	assert_int_equal(seen, 14);
	free(out);
}

static void put_sample(struct xdr_out *out)
{
	struct prims p = {.a = 1,
			  .b = -2,
			  .c = 0x0102030405060708,
			  .d = -3,
			  .e = true,
			  .f = 1.5,
			  .g = BLUE,
			  .h = 0xFFFFFFFF,
			  .i = NONE};
	struct blobs b = {.a = {3, (uint8_t *)(uintptr_t) "abc"}, .p = p, .c = {4, (uint8_t *)(uintptr_t) "\0\1\2\3"}};
	struct by_int i = {.kind = 7, .u.o = {1, 2, 3}};
	struct chain second = {.value = 2, .label = (char *)(uintptr_t) "two"};
	struct chain first = {.value = 1, .next = &second};
	struct by_unsigned un = {.kind = 5, .u.rest = &first};
	char *names[] = {(char *)(uintptr_t) "x", (char *)(uintptr_t) "yz"};
	uint32_t u[] = {7, 8, 9};
	struct lists l = {.ns = {2, names}, .nn = {3, u}};
	struct xdr_out rest;

	prims_put(out, &p);
	blobs_put(out, &b);
	by_int_put(out, &i);
	by_unsigned_put(out, &un);
	/* The typedefs have no function of their own: cut them out of a struct that has nothing before and behind but
	 * counts. */
	uint8_t buf[256];

	rest = (struct xdr_out){.p = buf, .end = buf + sizeof(buf)};
	lists_put(&rest, &l);
	assert_int_equal(rest.err, 0);
	memcpy(out->p, buf + 9 * 4, 4 + 8 + 8);
	out->p += 20;
	memcpy(out->p, buf + 9 * 4 + 20 + 4, 16);
	out->p += 16;
}

static void test_sample(void **state)
{
	uint8_t theirs[1024], ours[1024];
	struct xdr_out out = {.p = ours, .end = ours + sizeof(ours)};
	size_t len;

	assert_true(rpcgen_encode_sample(theirs, sizeof(theirs), &len));
	put_sample(&out);
	assert_int_equal(out.err, 0);
	assert_int_equal(out.p - ours, len);
	assert_memory_equal(ours, theirs, len);
	assert_true(rpcgen_is_sample(ours, len));
	ours[3] ^= 1;
	assert_false(rpcgen_is_sample(ours, len));
}

static void test_read_sample(void **state)
{
	TALLOC_CTX *mem = talloc_new(NULL);
	uint8_t buf[1024];
	struct xdr_in in;
	struct prims p;
	struct blobs b;
	struct by_int i;
	struct by_unsigned u;
	size_t len;

	assert_true(rpcgen_encode_sample(buf, sizeof(buf), &len));
	in = (struct xdr_in){.p = buf, .end = buf + len};
	prims_get(&in, mem, &p);
	blobs_get(&in, mem, &b);
	by_int_get(&in, mem, &i);
	by_unsigned_get(&in, mem, &u);
	assert_int_equal(in.err, 0);
	assert_true(p.a == 1 && p.b == -2 && p.c == 0x0102030405060708 && p.d == -3 && p.e && p.f == 1.5);
	assert_true(p.g == BLUE && p.h == 0xFFFFFFFF && p.i == NONE);
	assert_int_equal(b.a.len, 3);
	assert_memory_equal(b.a.data, "abc", 3);
	assert_int_equal(b.b.len, 0);
	assert_memory_equal(b.c.data, "\0\1\2\3", 4);
	assert_memory_equal(i.u.o, "\1\2\3", 3);
	assert_int_equal(u.u.rest->value, 1);
	assert_string_equal(u.u.rest->label, "");
	assert_string_equal(u.u.rest->next->label, "two");
	assert_null(u.u.rest->next->next);
	talloc_free(mem);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_sample),
		cmocka_unit_test(test_read_sample),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
