/* What the JSON and text functions write, to the letter. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "protocol/constructs_json.h"

static void check_json(json_t *j, const char *expected)
{
	char *text = json_dumps(j, JSON_COMPACT);

	assert_non_null(text);
	assert_string_equal(text, expected);
	free(text);
	json_decref(j);
}

static void test_json_numbers(void **state)
{
	struct prims p = {.a = 4294967295U, .b = -1, .c = UINT64_MAX, .d = INT64_MIN, .e = true, .f = 0.5, .g = BLUE, .h = 7, .i = (enum colour)77};

	check_json(prims_to_json(&p), "{\"a\":4294967295,\"b\":-1,\"c\":\"18446744073709551615\",\"d\":-9223372036854775808,\"e\":true,\"f\":0.5,"
				      "\"g\":\"BLUE\",\"h\":7,\"i\":77}");
}

static void test_json_parts(void **state)
{
	struct chain second = {.value = 2, .label = (char *)(uintptr_t)"\xff\"x"};
	struct chain first = {.value = 1, .next = &second};
	struct by_int by = {.kind = 7, .u.o = {1, 0xab, 3}};
	struct by_int none = {.kind = 8};
	struct tree kids[2] = {{.value = 2}, {.value = 3}};
	struct tree t = {.value = 1, .kids = {2, kids}};

	check_json(chain_to_json(&first), "{\"value\":1,\"label\":\"\",\"next\":{\"value\":2,\"label\":\"?\\\"x\",\"next\":null}}");
	check_json(by_int_to_json(&by), "{\"kind\":7,\"o\":\"01ab03\"}");
	check_json(by_int_to_json(&none), "{\"kind\":8}");
	check_json(tree_to_json(&t), "{\"value\":1,\"kids\":[{\"value\":2,\"kids\":[]},{\"value\":3,\"kids\":[]}]}");
}

static void test_print(void **state)
{
	struct chain second = {.value = 2, .label = (char *)(uintptr_t)"a\n\"b"};
	struct chain first = {.value = 1, .next = &second};
	struct tree kid = {.value = -2};
	struct tree t = {.value = 1, .kids = {1, &kid}};
	char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);

	assert_non_null(f);
	chain_print(f, &first);
	tree_print(f, &t);
	fclose(f);
	assert_string_equal(text, "value: 1\nlabel: \"\"\nnext:\n  value: 2\n  label: \"a\\x0a\\\"b\"\n  next: none\n"
				  "value: 1\nkids: (1)\n  [0]:\n    value: -2\n    kids: (0)\n");
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_json_numbers),
		cmocka_unit_test(test_json_parts),
		cmocka_unit_test(test_print),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
