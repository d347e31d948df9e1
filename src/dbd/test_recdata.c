/* Tests of record streams. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "dbd/recdata.h"

static void test_put_and_next(void **state)
{
	uint8_t buf[128];
	const uint8_t *p = buf;
	uint8_t *end = recdata_put(buf, 7, "abc", 3, "hello", 5);
	struct recdata r;
	size_t left;

	end = recdata_put(end, 8, NULL, 0, NULL, 0);
	left = (size_t)(end - buf);
	assert_int_equal(left, recdata_size(3, 5) + recdata_size(0, 0));
	assert_int_equal(recdata_next(&p, &left, &r), 0);
	assert_int_equal(r.reqid, 7);
	assert_int_equal(r.keylen, 3);
	assert_memory_equal(r.key, "abc", 3);
	assert_int_equal(r.datalen, 5);
	assert_memory_equal(r.data, "hello", 5);
	assert_int_equal(recdata_next(&p, &left, &r), 0);
	assert_int_equal(r.keylen + r.datalen, 0);
	assert_int_equal(recdata_next(&p, &left, &r), ENOENT);
}

static void check_bad(const uint32_t *head, size_t size)
{
	uint8_t *buf = malloc(size); /* exactly as large: a read beyond it is seen by valgrind and the sanitizer */
	const uint8_t *p = buf;
	struct recdata r;
	size_t left = size;

	memset(buf, 0, size);
	memcpy(buf, head, size < 16 ? size : 16);
	assert_int_equal(recdata_next(&p, &left, &r), EBADMSG);
	assert_ptr_equal(p, buf);
	assert_int_equal(left, size);
	free(buf);
}

static void test_bad_lengths(void **state)
{
	check_bad((const uint32_t[]){20, 0, 2, 2}, 19);          /* cut short */
	check_bad((const uint32_t[]){15, 0, 0, 0}, 16);          /* shorter than its head */
	check_bad((const uint32_t[]){20, 0, 2, 3}, 32);          /* parts do not add up */
	check_bad((const uint32_t[]){20, 0, UINT32_MAX, 5}, 32); /* sum wraps to 20 in 32 bits */
	check_bad((const uint32_t[]){20, 0, UINT32_MAX - 7, UINT32_MAX}, 32);
	check_bad((const uint32_t[]){0, 0, 0, 0}, 16);
	check_bad((const uint32_t[]){UINT32_MAX, 0, 0, UINT32_MAX - 16}, 64);
	check_bad((const uint32_t[]){16, 0, 0, 0}, 3);
}

static void test_recbuf(void **state)
{
	uint8_t buf[128] = {0};
	uint32_t head[2] = {0x1234, 2}, id, count;
	uint8_t *end;

	memcpy(buf, head, sizeof(head));
	end = recdata_put(buf + 8, 0, "a", 1, "x", 1);
	end = recdata_put(end, 0, "b", 1, "y", 1);
	assert_int_equal(recbuf_check(buf, (size_t)(end - buf), &id, &count), 0);
	assert_int_equal(id, 0x1234);
	assert_int_equal(count, 2);
	assert_int_equal(recbuf_check(buf, (size_t)(end - buf) + 3, &id, &count), 0);
	assert_int_equal(recbuf_check(buf, (size_t)(end - buf) - 1, &id, &count), EBADMSG);
	assert_int_equal(recbuf_check(buf, 7, &id, &count), EBADMSG);
	head[1] = 3;
	memcpy(buf, head, sizeof(head));
	assert_int_equal(recbuf_check(buf, (size_t)(end - buf), &id, &count), EBADMSG);
}

static void test_header(void **state)
{
	struct rec_header h = {.rsn = 0x1122334455667788ULL, .dmaster = 5, .flags = 0x10000}, g;
	uint8_t buf[REC_HEADER_SIZE];

	memset(buf, 0xff, sizeof(buf));
	rec_header_put(buf, &h);
	assert_memory_equal(buf, "\x88\x77\x66\x55\x44\x33\x22\x11\x05\0\0\0\0\0\0\0\0\0\x01\0\0\0\0\0", 24);
	assert_true(rec_header_get(buf, sizeof(buf), &g));
	assert_int_equal(g.rsn, h.rsn);
	assert_int_equal(g.dmaster, 5);
	assert_int_equal(g.flags, 0x10000);
	assert_false(rec_header_get(buf, sizeof(buf) - 1, &g));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_put_and_next),
		cmocka_unit_test(test_bad_lengths),
		cmocka_unit_test(test_recbuf),
		cmocka_unit_test(test_header),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
