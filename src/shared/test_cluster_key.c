/* Key files: what is accepted, what is refused and how it is said; steps of a rotation. */
#include "shared/cluster_key.h"

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

#define K1 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define K2 "FFFFFFFFffffffff000000000000000011111111111111112222222222222222"
/* printf 'ctdb-ng key id' and the bytes, sha256sum */
#define ID1 "5e998b9b899a91bc"

struct world {
	char dir[32];
	char *path;
};

static int world_setup(void **state)
{
	struct world *w = talloc_zero(NULL, struct world);

	strcpy(w->dir, "/tmp/ctkeyXXXXXX");
	assert_non_null(mkdtemp(w->dir));
	w->path = talloc_asprintf(w, "%s/cluster.key", w->dir);
	*state = w;
	return 0;
}

static int world_teardown(void **state)
{
	struct world *w = *state;

	unlink(w->path);
	assert_int_equal(rmdir(w->dir), 0); /* no temporary file stays */
	talloc_free(w);
	return 0;
}

static void put(struct world *w, const char *text, size_t len, mode_t mode)
{
	int fd = open(w->path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, len), (ssize_t)len);
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
}

static struct cluster_keys *load_good(struct world *w)
{
	struct cluster_keys *keys = NULL;
	char *err = NULL;

	if (cluster_keys_load(w, w->path, &keys, &err) != 0) {
		fail_msg("cluster_keys_load: %s", err);
	}
	return keys;
}

static void load_bad(struct world *w, int ret, const char *text)
{
	struct cluster_keys *keys = NULL;
	char *err = NULL;

	assert_int_equal(cluster_keys_load(w, w->path, &keys, &err), ret);
	assert_null(keys);
	assert_non_null(err);
	assert_memory_equal(err, w->path, strlen(w->path));
	if (strstr(err, text) == NULL) {
		fail_msg("\"%s\" does not say \"%s\"", err, text);
	}
	assert_null(strstr(err, "0123456789abcdef"));
}

static void test_good_file(void **state)
{
	static const char text[] = "# ours\n\n  " K1 "\t# of spring\r\n" K2;
	struct world *w = *state;
	struct cluster_keys *keys;

	put(w, text, sizeof(text) - 1, 0600);
	keys = load_good(w);
	assert_int_equal(keys->n, 2);
	assert_int_equal(keys->v[0].secret[0], 0x01);
	assert_int_equal(keys->v[0].secret[31], 0xef);
	assert_int_equal(keys->v[1].secret[0], 0xff);
	assert_int_equal(keys->v[1].secret[31], 0x22);
	assert_int_equal(strlen(keys->v[0].id), 16);
	assert_string_equal(keys->v[0].id, ID1);
	assert_ptr_equal(cluster_keys_find(keys, keys->v[1].id), &keys->v[1]);
	assert_null(cluster_keys_find(keys, "0000000000000000"));
	put(w, text, sizeof(text) - 1, 0400);
	assert_int_equal(load_good(w)->n, 2);
}

static void test_bad_lines(void **state)
{
	static const struct {
		const char *text, *err;
	} bad[] = {
		{"", ": holds no key"},
		{"# nothing\n\n", ": holds no key"},
		{K1 "\n\n12ab\n", ":3: is no key: a key is 64 hexadecimal digits, this has 4 characters"},
		{K1 "0\n", ":1: is no key: a key is 64 hexadecimal digits, this has 65 characters"},
		{"#\ng123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde0", ":2: is no key"},
		{"\n" K2 "\n" K1 "\n" K2 "\n", ":4: the key is already in line 2: remove one"},
	};
	struct world *w = *state;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		put(w, bad[i].text, strlen(bad[i].text), 0600);
		load_bad(w, EINVAL, bad[i].err);
	}
	put(w, K1 "\0\n", 66, 0600);
	load_bad(w, EINVAL, ":1: is no key");
}

static void test_too_many(void **state)
{
	struct world *w = *state;
	char *text = talloc_strdup(w, "");

	for (int i = 0; i < CLUSTER_KEYS_MAX; i++) {
		text = talloc_asprintf_append(text, "%062d%02d\n", 0, i);
	}
	put(w, text, strlen(text), 0600);
	assert_int_equal(load_good(w)->n, CLUSTER_KEYS_MAX);
	text = talloc_asprintf_append(text, "\n%s\n", K1);
	put(w, text, strlen(text), 0600);
	load_bad(w, EINVAL, ":10: more than 8 keys are not possible");
}

static void test_bad_files(void **state)
{
	static const mode_t open_modes[] = {0640, 0604, 0610, 0620, 0602, 0601, 04600};
	struct world *w = *state;
	char *big = talloc_zero_array(w, char, 16385);

	load_bad(
		w, ENOENT,
		"does not exist: make it on one node by \"ctdb cluster key create\" and copy it to all nodes, or write "
		"\"security = none\" in [transport]");
	for (size_t i = 0; i < sizeof(open_modes) / sizeof(open_modes[0]); i++) {
		put(w, K1, 64, open_modes[i]);
		load_bad(w, EACCES, "chmod 600 ");
	}
	memset(big, '\n', 16385);
	memcpy(big, K1, 64);
	put(w, big, 16384, 0600);
	assert_int_equal(load_good(w)->n, 1);
	put(w, big, 16385, 0600);
	load_bad(w, EINVAL, "too large");
	unlink(w->path);
	assert_int_equal(mkfifo(w->path, 0600), 0);
	load_bad(w, EINVAL, "no regular file");
	unlink(w->path);
	if (geteuid() == 0) {
		put(w, K1, 64, 0600);
		assert_int_equal(chown(w->path, 12345, 0), 0);
		load_bad(w, EACCES, "belongs to user 12345");
	}
}

static void test_store(void **state)
{
	struct world *w = *state;
	struct cluster_keys *keys = talloc_zero(w, struct cluster_keys), *back;
	char *err = NULL, *temp = talloc_asprintf(w, "%s.new", w->path);
	struct stat st;
	int fd;

	for (keys->n = 0; keys->n < 3; keys->n++) {
		assert_int_equal(cluster_key_random(&keys->v[keys->n]), 0);
	}
	assert_string_not_equal(keys->v[0].id, keys->v[1].id);
	/* over an existing file that was too open, beside what a crash has left */
	put(w, K1, 64, 0644);
	fd = open(temp, O_WRONLY | O_CREAT, 0666);
	assert_true(fd >= 0);
	close(fd);
	umask(0);
	assert_int_equal(cluster_keys_store(keys, w->path, &err), 0);
	umask(022);
	assert_int_equal(stat(w->path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(access(temp, F_OK), -1);
	back = load_good(w);
	assert_int_equal(back->n, 3);
	assert_memory_equal(back->v, keys->v, 3 * sizeof(keys->v[0]));
}

/* What cannot be written leaves the former file as it was. */
static void test_store_fails(void **state)
{
	struct world *w = *state;
	struct cluster_keys *keys = talloc_zero(w, struct cluster_keys);
	char *err = NULL, *temp = talloc_asprintf(w, "%s.new", w->path), *below = talloc_asprintf(w, "%s/x", temp);
	int ret;

	keys->n = 1;
	assert_int_equal(cluster_key_random(&keys->v[0]), 0);
	put(w, K1, 64, 0600);
	assert_int_equal(mkdir(temp, 0700), 0);
	assert_int_equal(mkdir(below, 0700), 0);
	ret = cluster_keys_store(keys, w->path, &err);
	assert_int_not_equal(ret, 0);
	assert_non_null(strstr(err, "cannot be written"));
	talloc_free(err);
	assert_string_equal(load_good(w)->v[0].id, ID1);
	rmdir(below);
	rmdir(temp);
}

static void test_rotation(void **state)
{
	struct world *w = *state;
	struct cluster_keys *keys = talloc_zero(w, struct cluster_keys);
	struct cluster_key key[CLUSTER_KEYS_MAX + 1];

	for (int i = 0; i <= CLUSTER_KEYS_MAX; i++) {
		assert_int_equal(cluster_key_random(&key[i]), 0);
	}
	for (int i = 0; i < 3; i++) {
		assert_int_equal(cluster_keys_add(keys, &key[i]), 0);
		assert_int_equal(cluster_keys_add(keys, &key[i]), 0);
	}
	assert_int_equal(keys->n, 3);
	assert_string_equal(keys->v[0].id, key[0].id);
	assert_int_equal(cluster_keys_use(keys, "0000000000000000"), ENOENT);
	for (int i = 0; i < 2; i++) { /* twice does no harm */
		assert_int_equal(cluster_keys_use(keys, key[2].id), 0);
		assert_string_equal(keys->v[0].id, key[2].id);
		assert_string_equal(keys->v[1].id, key[0].id);
		assert_string_equal(keys->v[2].id, key[1].id);
		assert_memory_equal(keys->v[0].secret, key[2].secret, CLUSTER_KEY_BYTES);
	}
	assert_int_equal(cluster_keys_drop(keys, key[2].id), EBUSY);
	assert_int_equal(cluster_keys_drop(keys, key[0].id), 0);
	assert_int_equal(cluster_keys_drop(keys, key[0].id), ENOENT);
	assert_int_equal(keys->n, 2);
	assert_string_equal(keys->v[1].id, key[1].id);
	for (int i = 3; i < CLUSTER_KEYS_MAX; i++) {
		assert_int_equal(cluster_keys_add(keys, &key[i]), 0);
	}
	assert_int_equal(cluster_keys_add(keys, &key[0]), 0);
	assert_int_equal(keys->n, CLUSTER_KEYS_MAX);
	assert_int_equal(cluster_keys_add(keys, &key[CLUSTER_KEYS_MAX]), ENOSPC);
	assert_int_equal(cluster_keys_add(keys, &key[0]), 0);
}

static void test_parse(void **state)
{
	struct cluster_key key;

	(void)state;
	assert_int_equal(cluster_key_parse(K1, &key), 0);
	assert_string_equal(key.id, ID1);
	assert_int_equal(cluster_key_parse("", &key), EINVAL);
	assert_int_equal(cluster_key_parse(K1 "\n", &key), EINVAL);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, world_setup, world_teardown)
	const struct CMUnitTest tests[] = {T(test_good_file), T(test_bad_lines),   T(test_too_many), T(test_bad_files),
					   T(test_store),     T(test_store_fails), T(test_rotation), T(test_parse)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
