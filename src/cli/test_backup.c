/* Backup files: what is written is read again; cut, damaged and foreign ones are refused. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "backup.h"

#define N_RECORDS 3000U

struct world {
	TALLOC_CTX *mem;
	char dir[64], path[80];
	char error[BACKUP_ERROR_MAX];
};

static int setup(void **state)
{
	struct world *w = test_calloc(1, sizeof(*w));

	w->mem = talloc_new(NULL);
	snprintf(w->dir, sizeof(w->dir), "/tmp/ctbackupXXXXXX");
	if (mkdtemp(w->dir) == NULL) {
		return -1;
	}
	snprintf(w->path, sizeof(w->path), "%s/file", w->dir);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	unlink(w->path);
	assert_int_equal(rmdir(w->dir), 0); /* nothing else was left */
	talloc_free(w->mem);
	test_free(w);
	return 0;
}

static struct backup_record record(uint32_t i, char *key, char *data)
{
	snprintf(key, 32, "key %u", i);
	memset(data, 'a' + (int)(i % 26), 1000);
	return (struct backup_record){.key = {.data = (uint8_t *)key, .len = (uint32_t)strlen(key)},
				      .rsn = i,
				      .dmaster = i % 3,
				      .flags = 0x10000,
				      .data = {.data = (uint8_t *)data, .len = i % 1000}};
}

static void write_file(struct world *w, uint32_t n)
{
	const struct backup_header h = {.format = BACKUP_VERSION,
					.name = (char *)(uintptr_t) "test.tdb",
					.db_id = 7,
					.flags = 1,
					.created = 1000,
					.maker = (char *)(uintptr_t) "test"};
	struct backup_writer *out;
	char key[32], data[1000];

	assert_int_equal(backup_writer_new(w->mem, w->path, &h, &out, w->error), 0);
	for (uint32_t i = 0; i < n; i++) {
		struct backup_record r = record(i, key, data);

		assert_int_equal(backup_write(out, &r), 0);
	}
	assert_int_equal(backup_finish(out, 42), 0);
	talloc_free(out);
}

static uint8_t *load(struct world *w, size_t *len)
{
	FILE *f = fopen(w->path, "r");
	uint8_t *data = talloc_size(w->mem, 4 << 20);

	assert_non_null(f);
	*len = fread(data, 1, 4 << 20, f);
	fclose(f);
	return data;
}

static void store(struct world *w, const uint8_t *data, size_t len)
{
	FILE *f = fopen(w->path, "w");

	assert_non_null(f);
	assert_int_equal(fwrite(data, 1, len, f), len);
	fclose(f);
}

static int open_it(struct world *w, struct backup_info *info)
{
	struct backup_reader *r = NULL;
	int err = backup_open(w->mem, w->path, &r, info, w->error);

	talloc_free(r);
	return err;
}

static void test_there_and_back(void **state)
{
	struct world *w = *state;
	struct backup_reader *r;
	struct backup_record have;
	struct backup_info info;
	char key[32], data[1000];

	write_file(w, N_RECORDS);
	assert_int_equal(backup_open(w->mem, w->path, &r, &info, w->error), 0);
	assert_string_equal(info.header.name, "test.tdb");
	assert_int_equal(info.header.flags, 1);
	assert_int_equal(info.records, N_RECORDS);
	assert_int_equal(info.seqnum, 42);
	assert_false(info.classic);
	for (int round = 0; round < 2; round++) {
		for (uint32_t i = 0; i < N_RECORDS; i++) {
			struct backup_record want = record(i, key, data);

			assert_int_equal(backup_next(r, &have, w->error), 0);
			assert_int_equal(have.rsn, want.rsn);
			assert_int_equal(have.dmaster, want.dmaster);
			assert_int_equal(have.flags, want.flags);
			assert_int_equal(have.key.len, want.key.len);
			assert_memory_equal(have.key.data, want.key.data, want.key.len);
			assert_int_equal(have.data.len, want.data.len);
			assert_true(want.data.len == 0 || memcmp(have.data.data, want.data.data, want.data.len) == 0);
		}
		assert_int_equal(backup_next(r, &have, w->error), ENOENT);
		assert_int_equal(backup_rewind(r, w->error), 0);
	}
	talloc_free(r);
}

static void test_unfinished(void **state)
{
	struct world *w = *state;
	const struct backup_header h = {.format = BACKUP_VERSION, .name = (char *)(uintptr_t) "a", .maker = NULL};
	struct backup_writer *out;

	assert_int_equal(backup_writer_new(w->mem, w->path, &h, &out, w->error), 0);
	talloc_free(out);
	assert_int_equal(access(w->path, F_OK), -1);
	assert_int_equal(backup_writer_new(w->mem, "/nonexistent/x", &h, &out, w->error), ENOENT);
	assert_non_null(strstr(w->error, "/nonexistent/x: cannot be made"));
}

static void test_cut(void **state)
{
	struct world *w = *state;
	struct backup_info info;
	size_t len, n;
	uint8_t *data;

	write_file(w, 5);
	data = load(w, &len);
	for (n = 0; n < len; n++) {
		store(w, data, n);
		assert_int_equal(open_it(w, &info), EBADMSG);
		assert_non_null(strstr(w->error, n < 8 ? "is no backup" : "cut short"));
	}
	data[len] = 0;
	store(w, data, len + 1);
	assert_int_equal(open_it(w, &info), EBADMSG);
	assert_non_null(strstr(w->error, "behind the end"));
}

/* One bit anywhere. */
static void test_damaged(void **state)
{
	struct world *w = *state;
	struct backup_info info;
	size_t len, i;
	uint8_t *data;

	write_file(w, 5);
	data = load(w, &len);
	for (i = 0; i < len; i++) {
		data[i] ^= (uint8_t)(1U << (i % 8));
		store(w, data, len);
		w->error[0] = '\0';
		assert_int_equal(open_it(w, &info), EBADMSG);
		assert_string_not_equal(w->error, "");
		data[i] ^= (uint8_t)(1U << (i % 8));
	}
}

static void test_foreign(void **state)
{
	struct world *w = *state;
	struct backup_reader *r;
	struct backup_info info;
	uint8_t zeros[4096] = {0};

	store(w, zeros, sizeof(zeros));
	assert_int_equal(open_it(w, &info), EBADMSG);
	assert_non_null(strstr(w->error, "is no backup of a database"));
	memcpy(zeros, "TDB file\n", 9);
	store(w, zeros, sizeof(zeros));
	assert_int_equal(open_it(w, &info), EBADMSG);
	assert_int_equal(backup_open(w->mem, w->dir, &r, &info, w->error), EINVAL);
	assert_non_null(strstr(w->error, "not a regular file"));
	assert_int_equal(backup_open(w->mem, "/nonexistent", &r, &info, w->error), ENOENT);
	assert_int_equal(mkfifo(w->path, 0600) == 0 || unlink(w->path) + mkfifo(w->path, 0600) == 0, true);
	alarm(30); /* it does not wait for a writer */
	assert_int_equal(open_it(w, &info), EINVAL);
	alarm(0);
}

/* Numbers that could never go up again; records that no daemon would take. */
static void test_impossible(void **state)
{
	static const struct {
		uint64_t rsn, seqnum;
		uint32_t keylen, len;
		int want;
		const char *words;
	} cases[] = {
		{INT64_MAX, INT64_MAX, 3, 3, 0, ""},
		{UINT64_MAX, 1, 3, 3, EBADMSG, "record \"kkk\" has an impossible record sequence number"},
		{(uint64_t)INT64_MAX + 1, 1, 3, 3, EBADMSG, "impossible record sequence number"},
		{1, UINT64_MAX, 3, 3, EBADMSG, "impossible sequence number"},
		{1, 1, 65536, 3, 0, ""},
		{1, 1, 65537, 3, EBADMSG, "is too large"},
		{1, 1, 3, 67108864 - 100, EBADMSG, "is too large"},
		{1, 1, 0, 3, EBADMSG, "without key"},
	};
	const struct backup_header h = {.format = BACKUP_VERSION, .name = (char *)(uintptr_t) "a", .maker = NULL};
	struct world *w = *state;
	uint8_t *bytes = talloc_size(w->mem, 67108864);
	struct backup_writer *out;
	struct backup_info info;

	memset(bytes, 'k', 67108864);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct backup_record r = {.key = {.data = bytes, .len = cases[i].keylen},
					  .data = {.data = bytes, .len = cases[i].len},
					  .rsn = cases[i].rsn};

		assert_int_equal(backup_writer_new(w->mem, w->path, &h, &out, w->error), 0);
		assert_int_equal(backup_write(out, &r), 0);
		assert_int_equal(backup_finish(out, cases[i].seqnum), 0);
		talloc_free(out);
		assert_int_equal(open_it(w, &info), cases[i].want);
		assert_true(cases[i].want == 0 || strstr(w->error, cases[i].words) != NULL);
	}
}

/* Memory for one frame, however long the file is. */
static void test_memory(void **state)
{
	struct world *w = *state;
	struct backup_reader *r;
	struct backup_record have;
	struct backup_info info;

	write_file(w, N_RECORDS);
	assert_int_equal(backup_open(w->mem, w->path, &r, &info, w->error), 0);
	for (uint32_t i = 0; i < N_RECORDS; i++) {
		assert_int_equal(backup_next(r, &have, w->error), 0);
		assert_true(talloc_total_size(r) < 4 * BACKUP_BLOCK_BYTES);
	}
	talloc_free(r);
}

/* What was checked is what is read later. */
static void test_changed_since(void **state)
{
	struct world *w = *state;
	struct backup_reader *r;
	struct backup_record have;
	struct backup_info info;
	int err = 0;
	FILE *f;

	write_file(w, N_RECORDS);
	assert_int_equal(backup_open(w->mem, w->path, &r, &info, w->error), 0);
	f = fopen(w->path, "r+");
	assert_int_equal(fseek(f, 500000, SEEK_SET), 0);
	fputs("\001\002\003", f); /* over letters */
	fclose(f);
	while (err == 0) {
		err = backup_next(r, &have, w->error);
	}
	assert_int_equal(err, EBADMSG);
	assert_non_null(strstr(w->error, "has been changed since"));
	talloc_free(r);
}

/* Nothing but a regular file is replaced; of a symbolic link, what it leads to. */
static void test_not_replaced(void **state)
{
	static const char *const others[] = {"/dev/null", "/tmp"};
	const struct backup_header h = {.format = BACKUP_VERSION, .name = (char *)(uintptr_t) "a", .maker = NULL};
	struct world *w = *state;
	struct backup_writer *out;
	struct backup_info info;
	char link[100], temporary[120];
	struct stat st;

	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		assert_int_not_equal(backup_writer_new(w->mem, others[i], &h, &out, w->error), 0);
		assert_non_null(strstr(w->error, "is not a regular file"));
	}
	assert_true(stat("/dev/null", &st) == 0 && S_ISCHR(st.st_mode));
	assert_int_not_equal(backup_writer_new(w->mem, "/dev/stdout", &h, &out, w->error), 0);
	snprintf(link, sizeof(link), "%s/link", w->dir);
	assert_int_equal(symlink(w->path, link), 0);
	assert_int_equal(backup_writer_new(w->mem, link, &h, &out, w->error), ENOENT);
	store(w, (const uint8_t *)"x", 1);
	assert_int_equal(backup_writer_new(w->mem, link, &h, &out, w->error), 0);
	assert_int_equal(backup_finish(out, 0), 0);
	talloc_free(out);
	assert_true(lstat(link, &st) == 0 && S_ISLNK(st.st_mode));
	assert_int_equal(open_it(w, &info), 0);
	unlink(link);
	snprintf(temporary, sizeof(temporary), "%s.new.%d", w->path, (int)getpid());
	assert_int_equal(symlink("x", temporary), 0);
	assert_int_equal(backup_writer_new(w->mem, w->path, &h, &out, w->error), EEXIST);
	assert_non_null(strstr(w->error, temporary));
	assert_int_equal(unlink(temporary), 0);
}

/* ---- files of CTDB's own tool ---- */

static size_t put(uint8_t *p, uint64_t v, size_t size, bool big)
{
	for (size_t i = 0; i < size; i++) {
		p[big ? size - 1 - i : i] = (uint8_t)(v >> (8 * i));
	}
	return size;
}

static size_t put_record(uint8_t *p, const char *key, size_t keylen, const char *data, size_t len, bool big)
{
	uint8_t *q = p;

	q += put(q, 16 + keylen + 24 + len, 4, big);
	q += put(q, 0, 4, big);
	q += put(q, keylen, 4, big);
	q += put(q, 24 + len, 4, big);
	memcpy(q, key, keylen);
	q += keylen;
	q += put(q, 9, 8, big);
	q += put(q, 2, 4, big);
	q += put(q, 0, 4, big);
	q += put(q, 0x10000, 4, big);
	q += put(q, 0, 4, big);
	memcpy(q, data, len);
	return (size_t)(q + len - p);
}

static size_t put_classic(uint8_t *buf, bool big)
{
	char seqnum[8];
	uint8_t *p = buf, *length;
	size_t n;

	memset(buf, 0, 1000);
	put((uint8_t *)seqnum, 5, 8, big);
	p += put(p, 3, 8, big);
	p += put(p, 1700000000, 8, big);
	p += put(p, 1, 8, big);
	p += put(p, 1, 8, big);
	p += put(p, 2, 8, big);
	memcpy(p, "old.tdb", 7);
	p += 64;
	p += put(p, 0x1234, 4, big);
	p += put(p, 2, 4, big);
	length = p;
	p += 8;
	n = put_record(p, "__db_sequence_number__", 23, seqnum, 8, big);
	n += put_record(p + n, "k", 1, "value", 5, big);
	put(length, n, 8, big);
	return (size_t)(p + n - buf);
}

static void test_classic(void **state)
{
	struct world *w = *state;
	struct backup_reader *r;
	struct backup_record have;
	struct backup_info info;
	uint8_t buf[1000];

	for (int big = 0; big < 2; big++) {
		size_t len = put_classic(buf, big);

		store(w, buf, len);
		assert_int_equal(backup_open(w->mem, w->path, &r, &info, w->error), 0);
		assert_true(info.classic);
		assert_string_equal(info.header.name, "old.tdb");
		assert_int_equal(info.header.flags, 1);
		assert_int_equal(info.header.created, 1700000000);
		assert_int_equal(info.seqnum, 5);
		assert_int_equal(info.records, 1);
		assert_int_equal(backup_next(r, &have, w->error), 0);
		assert_int_equal(have.rsn, 9);
		assert_int_equal(have.dmaster, 2);
		assert_int_equal(have.flags, 0x10000);
		assert_int_equal(have.data.len, 5);
		assert_memory_equal(have.data.data, "value", 5);
		assert_int_equal(backup_next(r, &have, w->error), ENOENT);
		talloc_free(r);
		for (size_t n = 0; n < len; n++) {
			store(w, buf, n);
			assert_int_equal(open_it(w, &info), EBADMSG);
		}
	}
}

/* Lengths that lie: refused, nothing is read behind the end. */
static void test_classic_damaged(void **state)
{
	static const size_t lengths[] = {24, 32, 108, 112, 120, 128, 132};
	struct world *w = *state;
	struct backup_info info;
	uint8_t buf[1000];
	size_t len = put_classic(buf, false);

	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		uint8_t saved = buf[lengths[i]];

		for (unsigned int v = 0; v < 256; v++) {
			buf[lengths[i]] = (uint8_t)v;
			store(w, buf, len);
			assert_int_equal(open_it(w, &info), v == saved ? 0 : EBADMSG);
		}
		memset(buf + lengths[i], 0xFF, 4);
		store(w, buf, len);
		assert_int_equal(open_it(w, &info), EBADMSG);
		put_classic(buf, false);
	}
	buf[len - 5 - 24 + 7] = 0xFF; /* rsn of the last record */
	store(w, buf, len);
	assert_int_equal(open_it(w, &info), EBADMSG);
	assert_non_null(strstr(w->error, "record \"k\" has an impossible record sequence number"));
	put_classic(buf, false);
	buf[104 + 16 + 16 + 23 + 24 + 7] = 0x80;
	store(w, buf, len);
	assert_int_equal(open_it(w, &info), EBADMSG);
	assert_non_null(strstr(w->error, "impossible sequence number"));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_there_and_back),  TEST(test_unfinished),   TEST(test_cut),
		TEST(test_damaged),         TEST(test_foreign),      TEST(test_classic),
		TEST(test_classic_damaged), TEST(test_impossible),   TEST(test_memory),
		TEST(test_changed_since),   TEST(test_not_replaced),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
