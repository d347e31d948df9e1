/* Bytes as text and back. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "text.h"

static void check(int (*fn)(const char *, struct bytes *), const char *text, int expected, const char *bytes,
		  size_t len)
{
	struct bytes b = {.data = NULL};

	assert_int_equal(fn(text, &b), expected);
	if (expected == 0) {
		assert_int_equal(b.len, len);
		assert_memory_equal(b.data, bytes, len);
	} else {
		assert_null(b.data);
	}
	free(b.data);
}

static void test_unescape(void **state)
{
	check(text_unescape, "", 0, "", 0);
	check(text_unescape, "plain", 0, "plain", 5);
	check(text_unescape, "a\\x00b\\xFf", 0, "a\0b\xFF", 4);
	check(text_unescape, "\\\\x41", 0, "\\x41", 4);
	check(text_unescape, "gr\xC3\xBC\xC3\x9F", 0, "gr\xC3\xBC\xC3\x9F", 6);
	check(text_unescape, "\\", EINVAL, NULL, 0);
	check(text_unescape, "\\x", EINVAL, NULL, 0);
	check(text_unescape, "\\x4", EINVAL, NULL, 0);
	check(text_unescape, "\\xg0", EINVAL, NULL, 0);
	check(text_unescape, "\\n", EINVAL, NULL, 0);
}

static void test_unhex(void **state)
{
	check(text_unhex, "", 0, "", 0);
	check(text_unhex, "00fF 10\n", 0, "\0\xFF\x10", 3);
	check(text_unhex, "0", EINVAL, NULL, 0);
	check(text_unhex, "0 0", EINVAL, NULL, 0);
	check(text_unhex, "zz", EINVAL, NULL, 0);
	check(text_unhex, "0x00", EINVAL, NULL, 0);
}

static void test_make_printable(void **state)
{
	char text[] = "node \xC3\xA4 2\x1B[2J\x07:\n\tline\x7F\r";

	text_make_printable(text);
	assert_string_equal(text, "node \xC3\xA4 2?[2J?:\n\tline??");
}

/* Whatever is printed can be typed again. */
static void test_round_trip(void **state)
{
	uint8_t all[256];
	struct bytes b;
	char *text;
	size_t i;

	for (i = 0; i < sizeof(all); i++) {
		all[i] = (uint8_t)i;
	}
	text = text_escape(all, sizeof(all));
	for (i = 0; text[i] != '\0'; i++) {
		assert_in_range((unsigned char)text[i], 0x20, 0x7E); /* nothing that a terminal would act on */
	}
	assert_int_equal(text_unescape(text, &b), 0);
	assert_int_equal(b.len, sizeof(all));
	assert_memory_equal(b.data, all, sizeof(all));
	free(b.data);
	free(text);
	text = text_hex(all, sizeof(all));
	assert_int_equal(text_unhex(text, &b), 0);
	assert_memory_equal(b.data, all, sizeof(all));
	free(b.data);
	free(text);
}

static void test_read(void **state)
{
	FILE *f = tmpfile();
	struct bytes b;

	assert_non_null(f);
	fwrite("a\0b\n", 1, 4, f);
	rewind(f);
	assert_int_equal(text_read(f, 3, &b), EFBIG);
	rewind(f);
	assert_int_equal(text_read(f, 4, &b), 0);
	assert_int_equal(b.len, 4);
	assert_memory_equal(b.data, "a\0b\n", 5);
	free(b.data);
	fclose(f);
}

static void test_number(void **state)
{
	uint64_t v = 7;

	assert_true(text_number("0", 10, &v) && v == 0);
	assert_true(text_number("10", 10, &v) && v == 10);
	assert_true(text_number("0xAE00000000000001", UINT64_MAX, &v) && v == 0xAE00000000000001ULL);
	assert_true(text_number("18446744073709551615", UINT64_MAX, &v) && v == UINT64_MAX);
	assert_true(text_number("010", 10, &v) && v == 10); /* not octal */
	v = 7;
	assert_false(text_number("11", 10, &v));
	assert_false(text_number("", 10, &v));
	assert_false(text_number("-1", 10, &v));
	assert_false(text_number(" 1", 10, &v));
	assert_false(text_number("1x", 10, &v));
	assert_false(text_number("0x", 10, &v));
	assert_false(text_number("18446744073709551616", UINT64_MAX, &v));
	assert_int_equal(v, 7);
}

static void test_seconds(void **state)
{
	uint32_t ms = 0;

	assert_true(text_seconds("1.5", &ms) && ms == 1500);
	assert_true(text_seconds(".25", &ms) && ms == 250);
	assert_true(text_seconds("2592000", &ms) && ms == 2592000000U);
	assert_false(text_seconds("0", &ms));
	assert_false(text_seconds("-1", &ms));
	assert_false(text_seconds("nan", &ms));
	assert_false(text_seconds("1e99", &ms));
	assert_false(text_seconds("1s", &ms));
	assert_false(text_seconds("", &ms));
}

/* What a file says may be any number. */
static void test_time(void **state)
{
	char buf[TEXT_TIME_MAX];

	setenv("TZ", "UTC", 1);
	assert_string_equal(text_time(0, '/', buf), "1970/01/01 00:00:00");
	assert_string_equal(text_time(1700000000, '-', buf), "2023-11-14 22:13:20");
	assert_string_equal(text_time(UINT64_MAX, '-', buf), "?");
	assert_string_equal(text_time(INT64_MAX, '-', buf), "?");
	if (sizeof(time_t) > 4) { /* the last year that an int can hold */
		assert_true(strlen(text_time(67768036191000000ULL, '-', buf)) > 10);
	} else {
		assert_string_equal(text_time(1ULL << 32, '-', buf), "?");
	}
	assert_string_equal(text_time(67768036191676799ULL + 86400, '-', buf), "?");
}

static void test_distance(void **state)
{
	char longer[200];

	assert_int_equal(text_distance("status", "status"), 0);
	assert_int_equal(text_distance("statsu", "status"), 2);
	assert_int_equal(text_distance("", "abc"), 3);
	assert_int_equal(text_distance("kitten", "sitting"), 3);
	memset(longer, 'x', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	assert_true(text_distance(longer, "x") == SIZE_MAX);
	assert_true(text_distance("x", longer) == SIZE_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_unescape), cmocka_unit_test(test_unhex),    cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_read),     cmocka_unit_test(test_number),   cmocka_unit_test(test_seconds),
		cmocka_unit_test(test_time),     cmocka_unit_test(test_distance), cmocka_unit_test(test_make_printable),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
