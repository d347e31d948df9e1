/* Scripts of transactions: what is understood, what is refused and where. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "script.h"

static void assert_bytes(const struct bytes *b, const char *want, size_t len)
{
	assert_int_equal(b->len, len);
	if (len > 0) {
		assert_memory_equal(b->data, want, len);
	}
}

static void test_steps(void **state)
{
	static const char text[] =
		"# a comment\n\n  set bare value\nset \"two words\" \"a\\x00\\\\\\\"b\"\t\r\nset 0x6b00 0x\n";
	static const char good[] = "get k\nset 0x6b00 0xFFee\ndelete \"#\"\nexpect k 1\nabsent zz";
	TALLOC_CTX *mem = talloc_new(NULL);
	struct script s;
	char error[256] = "";

	assert_int_equal(script_parse(mem, text, strlen(text), &s, error, sizeof(error)), EINVAL);
	assert_non_null(strstr(error, "line 5: the value is empty"));
	assert_int_equal(script_parse(mem, text, strlen(text) - strlen("set 0x6b00 0x\n"), &s, error, sizeof(error)),
			 0);
	assert_int_equal(s.n, 2);
	assert_int_equal(s.steps[0].line, 3);
	assert_bytes(&s.steps[0].key, "bare", 4);
	assert_bytes(&s.steps[1].key, "two words", 9);
	assert_bytes(&s.steps[1].value, "a\0\\\"b", 5);
	assert_int_equal(script_parse(mem, good, strlen(good), &s, error, sizeof(error)), 0);
	assert_int_equal(s.n, 5);
	assert_int_equal(s.steps[0].verb, SCRIPT_GET);
	assert_bytes(&s.steps[1].key, "k\0", 2);
	assert_bytes(&s.steps[1].value, "\xff\xee", 2);
	assert_bytes(&s.steps[2].key, "#", 1);
	assert_int_equal(s.steps[3].verb, SCRIPT_EXPECT);
	assert_int_equal(s.steps[4].verb, SCRIPT_ABSENT);
	assert_int_equal(s.steps[4].line, 5);
	talloc_free(mem);
}

static void test_refused(void **state)
{
	static const struct {
		const char *text, *error;
	} bad[] = {
		{"frob k v", "line 1: it begins with none of get, set, delete, expect, absent"},
		{"get a\nset k\n", "line 2: set KEY VALUE"},
		{"get", "line 1: get KEY"},
		{"get a b", "line 1: get KEY"},
		{"set a b c d", "line 1: too many words"},
		{"set \"a b", "line 1: a quote is missing at its end"},
		{"set \"a\\q\" b", "line 1: after a backslash only xNN, a quote or another backslash"},
		{"set \"a\\x1\" b", "line 1: after a backslash"},
		{"set \"a\"b c", "line 1: white space is missing between two words"},
		{"set a\"b c", "line 1: quotes and backslashes only in quoted words"},
		{"set 0x123 v", "line 1: after 0x only pairs of hexadecimal digits"},
		{"set 0xzz v", "line 1: after 0x only pairs"},
		{"set \"\" v", "line 1: the key is empty"},
		{"set k \"\"", "line 1: the value is empty"},
		{"expect k \"\"", "line 1: the value is empty"},
		{"set \"k\\", "line 1: after a backslash"},
	};
	TALLOC_CTX *mem = talloc_new(NULL);
	struct script s;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		char error[256] = "";

		assert_int_equal(script_parse(mem, bad[i].text, strlen(bad[i].text), &s, error, sizeof(error)), EINVAL);
		if (strncmp(error, bad[i].error, strlen(bad[i].error)) != 0) {
			fail_msg("%s: %s", bad[i].text, error);
		}
	}
	talloc_free(mem);
}

/* No byte behind the end is looked at, whatever the text is cut to. */
static void test_cut(void **state)
{
	static const char text[] = "set \"a\\x41\\\\\" 0x4142\nexpect \"q\\\"\" v\n";
	TALLOC_CTX *mem = talloc_new(NULL);

	for (size_t n = 0; n <= strlen(text); n++) {
		char *copy = talloc_memdup(mem, text, n == 0 ? 1 : n), error[256];
		struct script s;
		int err = script_parse(mem, copy, n, &s, error, sizeof(error));

		assert_true(err == 0 || err == EINVAL);
		talloc_free(copy);
	}
	talloc_free(mem);
}

static unsigned int n_bad, last_bad;

static void on_bad(unsigned int line, const char *text)
{
	n_bad++;
	last_bad = line;
}

static void test_pairs(void **state)
{
	char text[2000] = "\"a\" \"b\"\n\n \"k\\00\"  \"\"\nnothing\n\"x\" \"y\\4\"\n\"\" \"v\"\n";
	TALLOC_CTX *mem = talloc_new(NULL);
	struct script s;

	memset(text + strlen(text), 'x', 1100);
	n_bad = 0;
	assert_int_equal(script_parse_pairs(mem, text, &s, on_bad), 0);
	assert_int_equal(s.n, 2);
	assert_int_equal(s.steps[0].verb, SCRIPT_SET);
	assert_bytes(&s.steps[0].value, "b", 1);
	assert_int_equal(s.steps[1].verb, SCRIPT_DELETE);
	assert_bytes(&s.steps[1].key, "k\0", 2);
	assert_int_equal(n_bad, 4);
	assert_int_equal(last_bad, 7);
	talloc_free(mem);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_steps),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_cut),
		cmocka_unit_test(test_pairs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
