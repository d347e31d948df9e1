/* The rules that the copies of a volatile record keep. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "copies.h"

/* ---- of the program, not used by the rules ---- */

int cli_fail(struct cli *cli, int code, const char *fmt, ...)
{
	return code;
}

int cli_fail_api(struct cli *cli, int err, const char *fmt, ...)
{
	return err;
}

/* ---- */

static const struct copies_map map = {.n = 3, .pnn = {0, 4, 7}};

/* Copies in the order of the nodes: rsn, dmaster; rsn -1: none. */
static const char *problem(const int64_t c[3][2], uint32_t lmaster)
{
	static char buf[300];
	struct copy copies[3] = {{.found = false}};

	for (int i = 0; i < 3; i++) {
		if (c[i][0] >= 0) {
			copies[i] =
				(struct copy){.found = true, .rsn = (uint64_t)c[i][0], .dmaster = (uint32_t)c[i][1]};
		}
	}
	return copies_problem(&map, copies, lmaster, buf, sizeof(buf));
}

static void test_right(void **state)
{
	/* Gone; owned by its location master; owned elsewhere, old copies here and there. */
	assert_null(problem((const int64_t[3][2]){{-1, 0}, {-1, 0}, {-1, 0}}, 0));
	assert_null(problem((const int64_t[3][2]){{5, 0}, {-1, 0}, {-1, 0}}, 0));
	assert_null(problem((const int64_t[3][2]){{0, 7}, {3, 0}, {5, 7}}, 0));
	assert_null(problem((const int64_t[3][2]){{5, 7}, {5, 7}, {5, 7}}, 4));
	/* A pointer of a former location master, left over; that of the present one would be wrong. */
	assert_null(problem((const int64_t[3][2]){{-1, 0}, {0, 7}, {-1, 0}}, 0));
	assert_non_null(problem((const int64_t[3][2]){{0, 7}, {-1, 0}, {-1, 0}}, 0));
	/* The location master is no active node any more: nothing can be said of it. */
	assert_null(problem((const int64_t[3][2]){{5, 0}, {-1, 0}, {-1, 0}}, 9));
}

static void test_wrong(void **state)
{
	assert_string_equal(problem((const int64_t[3][2]){{5, 7}, {3, 0}, {-1, 0}}, 0), "no node owns it");
	assert_string_equal(problem((const int64_t[3][2]){{5, 0}, {5, 4}, {-1, 0}}, 0), "nodes 0 and 4 both own it");
	assert_string_equal(problem((const int64_t[3][2]){{5, 0}, {6, 0}, {-1, 0}}, 0),
			    "node 0 owns it with rsn 5, node 4 has rsn 6");
	assert_string_equal(problem((const int64_t[3][2]){{-1, 0}, {6, 4}, {-1, 0}}, 7),
			    "node 4 owns it, its location master 7 does not know it");
	assert_string_equal(problem((const int64_t[3][2]){{-1, 0}, {6, 4}, {2, 0}}, 7),
			    "node 4 owns it, its location master 7 says node 0");
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_right), cmocka_unit_test(test_wrong)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
