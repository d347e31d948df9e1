/* Nodes lists as text, and the file beside the nodes file. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "nodes.h"

struct fixture {
	TALLOC_CTX *mem;
	struct tevent_context *ev;
	char dir[64];
	struct nodes_file file;
};

static void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0640);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	assert_int_equal(fchmod(fd, 0640), 0);
	close(fd);
}

static char *read_file(TALLOC_CTX *mem, const char *path)
{
	char *text = talloc_zero_array(mem, char, 4096);
	int fd = open(path, O_RDONLY);

	assert_true(fd >= 0);
	assert_true(read(fd, text, 4095) >= 0);
	close(fd);
	return text;
}

static int setup(void **state)
{
	struct fixture *f = talloc_zero(NULL, struct fixture);
	char *err = NULL;

	f->mem = f;
	f->ev = tevent_context_init(f);
	snprintf(f->dir, sizeof(f->dir), "/tmp/nodesXXXXXX");
	assert_non_null(mkdtemp(f->dir));
	write_file(talloc_asprintf(f, "%s/real", f->dir), "10.0.0.1\n");
	assert_int_equal(symlink("real", talloc_asprintf(f, "%s/nodes", f->dir)), 0);
	assert_int_equal(nodes_file_init(f, talloc_asprintf(f, "%s/nodes", f->dir), &f->file, &err), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	unlink(f->file.path);
	unlink(f->file.next_path);
	rmdir(f->file.next_path);
	unlink(talloc_asprintf(f, "%s/nodes", f->dir));
	assert_int_equal(rmdir(f->dir), 0);
	talloc_free(f);
	return 0;
}

static int do_write(struct fixture *f, enum cluster_nodes_write what, const char *text, char **err)
{
	struct tevent_req *req = nodes_write_send(f, f->ev, &f->file, what, text);
	int ret;

	assert_non_null(req);
	while (tevent_req_is_in_progress(req)) {
		assert_int_equal(tevent_loop_once(f->ev), 0);
	}
	ret = nodes_write_recv(req, f, err);
	talloc_free(req);
	return ret;
}

static void test_lines(void **state)
{
	struct fixture *f = *state;

	assert_string_equal(nodes_text_set(f, "a\n\n b \nc\n", 1, "x"), "a\n\nx\nc\n");
	assert_string_equal(nodes_text_set(f, "a\n\n b \nc\n", 0, "#a"), "#a\n\n b \nc\n");
	assert_string_equal(nodes_text_set(f, "a\n# words\nc", 3, "d"), "a\n# words\nc\nd\n");
	assert_string_equal(nodes_text_set(f, "", 0, "a"), "a\n");
	assert_string_equal(nodes_text_set(f, "a\r\nb", 1, "x"), "a\r\nx\n");
}

static char *difference(struct fixture *f, const char *here, const char *there)
{
	struct conf_nodes *a, *b;
	char *err;

	assert_int_equal(conf_nodes_parse(f, "a", here, &a, &err), 0);
	assert_int_equal(conf_nodes_parse(f, "b", there, &b, &err), 0);
	return nodes_text_difference(f, a, b);
}

static void test_difference(void **state)
{
	struct fixture *f = *state;

	assert_null(difference(f, "10.0.0.1\n10.0.0.2", " 10.0.0.1\n\n10.0.0.2\n"));
	assert_null(difference(f, "10.0.0.1\n#10.0.0.2", "10.0.0.1\n# gone\n"));
	assert_string_equal(difference(f, "10.0.0.1\n10.0.0.2", "10.0.0.1\n10.0.0.3"),
			    "node 1 is \"10.0.0.3\" in its nodes file, \"10.0.0.2\" here");
	assert_string_equal(difference(f, "10.0.0.1\n10.0.0.2", "10.0.0.1\n#10.0.0.2"),
			    "node 1 is \"#10.0.0.2\" in its nodes file, \"10.0.0.2\" here");
	assert_string_equal(difference(f, "10.0.0.1\n10.0.0.2", "10.0.0.1"),
			    "node 1 (\"10.0.0.2\") is missing in its nodes file");
	assert_string_equal(difference(f, "10.0.0.1", "10.0.0.1\n10.0.0.2,10.1.0.2"),
			    "node 1 (\"10.0.0.2,10.1.0.2\") is only in its nodes file");
}

static void test_next_there_and_back(void **state)
{
	struct fixture *f = *state;
	struct nodes_next next = {.term = UINT64_MAX >> 2,
				  .from = 0x123456789abcdef0ULL,
				  .to = UINT64_MAX,
				  .number = 7},
			  back;
	char text[] = "10.0.0.1\n# words of somebody\n\n10.0.0.2,10.1.0.2\n", *all;

	next.text = text;
	all = nodes_next_make(f, &next);
	assert_int_equal(nodes_next_parse(f, all, &back), 0);
	assert_true(back.term == next.term && back.from == next.from && back.to == next.to &&
		    back.number == next.number);
	assert_string_equal(back.text, text);
	/* Any cut, any byte that is another one. */
	for (size_t i = 0; i < strlen(all); i++) {
		char *bad = talloc_strndup(f, all, i);

		assert_int_equal(nodes_next_parse(f, bad, &back), EBADMSG);
		bad = talloc_strdup(f, all);
		bad[i] = bad[i] == 'x' ? 'y' : 'x';
		assert_int_equal(nodes_next_parse(f, bad, &back), EBADMSG);
	}
}

static void test_files(void **state)
{
	struct fixture *f = *state;
	struct nodes_next next = {.term = 3, .from = 1, .to = 2, .number = 1}, back;
	char text[] = "10.0.0.1\n10.0.0.2\n", *err = NULL;
	struct stat st;

	next.text = text;
	assert_int_equal(nodes_next_read(f, &f->file, &back, &err), ENOENT);
	assert_int_equal(do_write(f, CLUSTER_NODES_WRITE_PREPARED, nodes_next_make(f, &next), &err), 0);
	assert_string_equal(read_file(f, f->file.path), "10.0.0.1\n");
	assert_int_equal(nodes_next_read(f, &f->file, &back, &err), 0);
	assert_string_equal(back.text, text);
	assert_int_equal(do_write(f, CLUSTER_NODES_WRITE_LIST, text, &err), 0);
	assert_string_equal(read_file(f, f->file.path), text);
	assert_int_equal(nodes_next_read(f, &f->file, &back, &err), ENOENT);
	/* Where the link leads; it is still one. */
	assert_int_equal(lstat(talloc_asprintf(f, "%s/nodes", f->dir), &st), 0);
	assert_true(S_ISLNK(st.st_mode));
	assert_int_equal(stat(f->file.path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0640);
	assert_int_equal(do_write(f, CLUSTER_NODES_WRITE_FORGET, NULL, &err), 0);
}

/* Whoever waits for a write can say for what. */
static void test_file_that_is_written(void **state)
{
	struct fixture *f = *state;
	struct tevent_req *next = nodes_write_send(f, f->ev, &f->file, CLUSTER_NODES_WRITE_PREPARED, "x");
	struct tevent_req *list;
	char *err = NULL;

	assert_non_null(next);
	assert_string_equal(nodes_write_path(next), f->file.next_path);
	while (tevent_req_is_in_progress(next)) {
		assert_int_equal(tevent_loop_once(f->ev), 0);
	}
	assert_string_equal(nodes_write_path(next), f->file.next_path);
	assert_int_equal(nodes_write_recv(next, f, &err), 0);
	list = nodes_write_send(f, f->ev, &f->file, CLUSTER_NODES_WRITE_LIST, "10.0.0.1\n");
	assert_non_null(list);
	assert_string_equal(nodes_write_path(list), f->file.path);
	while (tevent_req_is_in_progress(list)) {
		assert_int_equal(tevent_loop_once(f->ev), 0);
	}
	talloc_free(next);
	talloc_free(list);
}

static void test_damaged_and_in_the_way(void **state)
{
	struct fixture *f = *state;
	struct nodes_next back;
	char *err = NULL;

	write_file(f->file.next_path, "10.0.0.1\n");
	assert_int_equal(nodes_next_read(f, &f->file, &back, &err), EBADMSG);
	assert_non_null(strstr(err, ".next: damaged: it belongs to a change of the nodes list: compare"));
	unlink(f->file.next_path);
	assert_int_equal(mkdir(f->file.next_path, 0700), 0);
	assert_int_not_equal(do_write(f, CLUSTER_NODES_WRITE_PREPARED, "x", &err), 0);
	assert_non_null(strstr(err, "real.next cannot be written: "));
	assert_string_equal(read_file(f, f->file.path), "10.0.0.1\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_lines, setup, teardown),
		cmocka_unit_test_setup_teardown(test_difference, setup, teardown),
		cmocka_unit_test_setup_teardown(test_next_there_and_back, setup, teardown),
		cmocka_unit_test_setup_teardown(test_files, setup, teardown),
		cmocka_unit_test_setup_teardown(test_file_that_is_written, setup, teardown),
		cmocka_unit_test_setup_teardown(test_damaged_and_in_the_way, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
