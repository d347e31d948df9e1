/* Tests of what clusterd remembers of who the other nodes are: its text. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "identity.h"

#define ID_A "00112233445566778899aabbccddeeff"
#define ID_B "ffeeddccbbaa99887766554433221100"

static void test_round_trip(void **state)
{
	static const char text[] = "0 " ID_A " 10.0.0.1\n2 " ID_B " 10.0.0.3,fd00::3\n255 " ID_A " 10.0.0.4\n";
	TALLOC_CTX *mem = talloc_new(NULL);
	struct identity_node *v = talloc_zero_array(mem, struct identity_node, NODES_MAX);

	assert_int_equal(identity_parse(mem, text, v), 0);
	assert_true(v[0].known && !v[1].known && v[2].known && v[255].known);
	assert_int_equal(v[2].id[0], 0xff);
	assert_string_equal(v[2].address, "10.0.0.3,fd00::3");
	assert_string_equal(identity_text(mem, v), text);
	assert_int_equal(identity_parse(mem, "", v), 0);
	assert_false(v[0].known);
	assert_string_equal(identity_text(mem, v), "");
	talloc_free(mem);
}

/* Nothing of a damaged file counts. */
static void test_damaged(void **state)
{
	static const char *const bad[] = {
		"1 " ID_B " 10.0.0.2",
		"1 " ID_B " \n",
		"1 " ID_B "\n",
		"1 " ID_B "0 10.0.0.2\n",
		"1 00112233 10.0.0.2\n",
		"256 " ID_B " 10.0.0.2\n",
		"-1 " ID_B " 10.0.0.2\n",
		"x " ID_B " 10.0.0.2\n",
		"1 " ID_B " 10.0.0.2 more\n",
		"\n",
		"0 " ID_B " 10.0.0.2\n", /* twice */
	};
	TALLOC_CTX *mem = talloc_new(NULL);
	struct identity_node *v = talloc_zero_array(mem, struct identity_node, NODES_MAX);

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		char *text = talloc_asprintf(mem, "0 " ID_A " 10.0.0.1\n%s", bad[i]);

		assert_int_equal(identity_parse(mem, text, v), EBADMSG);
		for (unsigned p = 0; p < NODES_MAX; p++) {
			assert_false(v[p].known);
		}
	}
	talloc_free(mem);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_round_trip), cmocka_unit_test(test_damaged)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
