/* For the tests of journals: transactions that can be told apart, and what is there of them. */
#include "dbd/test_journal_util.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/hash.h"
#include "dbd/journal_file.h"

#define KEYS  7U
#define LARGE 6000U

static unsigned char seqnum_key[] = "__db_sequence_number__";

/* ---- transactions: the n-th writes key n % KEYS and the sequence number ---- */

static void append(TALLOC_CTX *mem, struct ctdb_blob *b, const void *key, size_t keylen, uint64_t rsn, const void *data,
		   size_t len)
{
	struct rec_header h = {.rsn = rsn, .dmaster = 3};
	uint8_t *value = talloc_size(mem, REC_HEADER_SIZE + len);
	size_t n = recdata_size(keylen, REC_HEADER_SIZE + len);

	rec_header_put(value, &h);
	memcpy(value + REC_HEADER_SIZE, data, len);
	b->data = talloc_realloc(mem, b->data, uint8_t, b->len + n);
	recdata_put(b->data + b->len, 0, key, (uint32_t)keylen, value, (uint32_t)(REC_HEADER_SIZE + len));
	b->len += (uint32_t)n;
}

/* Some are several pages long, so that files grow and shrink within. */
static size_t value_of(uint64_t n, char *value)
{
	size_t len = 20 + (size_t)(n * 577) % LARGE;

	memset(value, 'a' + (int)(n % 26), len);
	memcpy(value, &n, sizeof(n));
	return len;
}

struct ctdb_blob test_transaction(TALLOC_CTX *mem, uint32_t db_id, uint64_t n)
{
	struct ctdb_blob b = {.len = RECBUF_HEAD, .data = talloc_size(mem, RECBUF_HEAD)};
	char key[16], value[LARGE + 20];
	uint32_t count = 2;

	snprintf(key, sizeof(key), "key %u", (unsigned)(n % KEYS));
	memcpy(b.data, &db_id, 4);
	memcpy(b.data + 4, &count, 4);
	append(mem, &b, key, strlen(key), n, value, value_of(n, value));
	append(mem, &b, seqnum_key, sizeof(seqnum_key), n, &n, sizeof(n));
	return b;
}

static int get_seqnum(TDB_DATA key, TDB_DATA data, void *priv)
{
	assert_int_equal(data.dsize, REC_HEADER_SIZE + sizeof(uint64_t));
	memcpy(priv, data.dptr + REC_HEADER_SIZE, sizeof(uint64_t));
	return 0;
}

/* How many transactions it has; fails the test unless it has exactly these. */
uint64_t test_journal_state(struct tdb_context *tdb)
{
	TDB_DATA k = {.dptr = seqnum_key, .dsize = sizeof(seqnum_key)};
	uint64_t n = 0, i;

	assert_int_equal(tdb_check(tdb, NULL, NULL), 0);
	(void)tdb_parse_record(tdb, k, get_seqnum, &n);
	for (i = 0; i < KEYS; i++) {
		uint64_t last = n >= i ? n - (n - i) % KEYS : 0, rsn = 0;
		char key[16], value[LARGE + 20];
		TDB_DATA have;

		snprintf(key, sizeof(key), "key %u", (unsigned)i);
		have = tdb_fetch(tdb, (TDB_DATA){.dptr = (unsigned char *)key, .dsize = strlen(key)});
		if (last == 0) {
			assert_null(have.dptr);
			continue;
		}
		assert_non_null(have.dptr);
		memcpy(&rsn, have.dptr, sizeof(rsn));
		assert_int_equal(rsn, last);
		assert_int_equal(have.dsize, REC_HEADER_SIZE + value_of(last, value));
		assert_memory_equal(have.dptr + REC_HEADER_SIZE, value, have.dsize - REC_HEADER_SIZE);
		free(have.dptr);
	}
	return n;
}

/* ---- a database ---- */

/* often: as if many had been done in the last seconds; else as if this was the first. */
int test_journal_commit(struct test_dir *t, struct worker_pool *pool, struct db *db, uint64_t n, bool often)
{
	struct ctdb_blob b = test_transaction(t, db->id, n);
	int error;

	db->writes->window = mono_now();
	db->writes->updates = often ? 1000 : 0;
	error = test_update(t, pool, db, b);
	talloc_free(b.data);
	return error;
}

static bool exists(TALLOC_CTX *mem, const struct db *db, const char *what)
{
	char *path = talloc_asprintf(mem, "%s.%s", db->path, what);
	bool there = access(path, F_OK) == 0;

	talloc_free(path);
	return there;
}

void test_assert_journal(struct test_dir *t, const struct db *db, bool there)
{
	assert_int_equal(exists(t, db, "journal"), there);
	assert_int_equal(exists(t, db, "base"), there);
	assert_false(exists(t, db, "journal.new"));
	assert_false(exists(t, db, "base.new"));
}

/* Another boot of the machine. */
void test_reboot(struct test_dir *t, unsigned n)
{
	char *path = talloc_asprintf(t, "%s/boot-id", t->path);
	FILE *f = fopen(path, "w");

	fprintf(f, "%08x-aaaa-bbbb-cccc-0123456789ab\n", n);
	fclose(f);
	journal_set_boot_id_file(path);
}

void test_same_boot(void)
{
	journal_set_boot_id_file("/proc/sys/kernel/random/boot_id");
}

uint32_t test_journal_id(void)
{
	return hash_lookup3((const uint8_t *)TEST_JOURNAL_NAME, sizeof(TEST_JOURNAL_NAME));
}
