/* Tests of the node identity's file. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "shared/node_id.h"

static char dir[64], path[80];

static int setup(void **state)
{
	snprintf(dir, sizeof(dir), "/tmp/test_node_id.XXXXXX");
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/node-id", dir);
	*state = talloc_new(NULL);
	return 0;
}

static int teardown(void **state)
{
	unlink(path);
	assert_int_equal(rmdir(dir), 0); /* nothing else was left there */
	talloc_free(*state);
	return 0;
}

static void put(const char *text)
{
	FILE *f = fopen(path, "we");

	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

static void test_made_once(void **state)
{
	struct node_id first, id;
	uint32_t was;
	struct stat st;
	char *err = NULL;

	assert_int_equal(node_id_load(*state, dir, &id, &err), ENOENT);
	assert_null(err);
	assert_int_equal(node_id_keep(*state, dir, 2, &was, &err), 0);
	assert_int_equal(was, UINT32_MAX);
	assert_int_equal(node_id_load(*state, dir, &first, &err), 0);
	assert_int_equal(first.pnn, 2);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(node_id_keep(*state, dir, 2, &was, &err), 0);
	assert_int_equal(was, 2);
	assert_int_equal(node_id_load(*state, dir, &id, &err), 0);
	assert_memory_equal(id.id, first.id, NODE_ID_BYTES);
	assert_int_equal(id.pnn, 2);
}

/* A disk that was copied to another node is not that node. */
static void test_other_pnn(void **state)
{
	struct node_id first, id;
	uint32_t was;
	char *err = NULL;

	assert_int_equal(node_id_keep(*state, dir, 2, &was, &err), 0);
	assert_int_equal(node_id_load(*state, dir, &first, &err), 0);
	assert_int_equal(node_id_keep(*state, dir, 3, &was, &err), 0);
	assert_int_equal(was, 2);
	assert_int_equal(node_id_load(*state, dir, &id, &err), 0);
	assert_memory_not_equal(id.id, first.id, NODE_ID_BYTES);
	assert_int_equal(id.pnn, 3);
}

static void test_damaged(void **state)
{
	static const char *const bad[] = {
		"",
		"00112233445566778899aabbccddeeff",
		"00112233445566778899aabbccddeeff \n",
		"00112233445566778899aabbccddeeff 1",
		"00112233445566778899aabbccddeeff 1\n\n",
		"00112233445566778899aabbccddeeff 01\n",
		"00112233445566778899aabbccddeeff -1\n",
		"00112233445566778899aabbccddeeff 4294967296\n",
		"00112233445566778899AABBCCDDEEFF 1\n",
		"00112233445566778899aabbccddee 1\n",
		"00112233445566778899aabbccddeeff00 1\n",
		"0011223344556677889 aabbccddeeff00 1\n",
		"00112233445566778899aabbccddeeff 1 and what does not belong there, a lot of it\n",
	};
	struct node_id id;
	uint32_t was;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		char *err = NULL;

		put(bad[i]);
		assert_int_equal(node_id_load(*state, dir, &id, &err), EBADMSG);
		assert_non_null(strstr(err, path));
		assert_non_null(strstr(err, "remove it"));
		assert_int_equal(node_id_keep(*state, dir, 1, &was, &err), EBADMSG);
	}
	put("00112233445566778899aabbccddeeff 17\n");
	assert_int_equal(node_id_load(*state, dir, &id, NULL), 0);
	assert_int_equal(id.pnn, 17);
	assert_int_equal(id.id[0], 0);
	assert_int_equal(id.id[15], 0xff);
}

static void test_no_directory(void **state)
{
	uint32_t was;
	char *err = NULL;

	assert_int_equal(node_id_keep(*state, "/does/not/exist", 1, &was, &err), ENOENT);
	assert_non_null(strstr(err, "/does/not/exist/node-id"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_made_once, setup, teardown),
		cmocka_unit_test_setup_teardown(test_other_pnn, setup, teardown),
		cmocka_unit_test_setup_teardown(test_damaged, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_directory, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
