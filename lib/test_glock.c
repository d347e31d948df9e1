/* Lock records: Samba's bytes are understood and written, damaged ones are not believed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "glock.h"

static const struct server_id alice = {.pid = 4711, .task = 1, .vnn = 2, .unique = 0x1122334455667788ULL};
static const struct server_id bob = {.pid = 42, .task = 0, .vnn = 0, .unique = GLOCK_UNIQUE_NOT_SAMBA};

static void check_id(const struct server_id *a, const struct server_id *b)
{
	assert_true(server_id_equal(a, b));
}

static void test_server_id_bytes(void **state)
{
	static const uint8_t expected[GLOCK_SERVER_ID_SIZE] = {
		0x67, 0x12, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11};
	uint8_t out[GLOCK_SERVER_ID_SIZE];
	struct server_id id;

	server_id_put(out, &alice);
	assert_memory_equal(out, expected, sizeof(out));
	server_id_get(out, &id);
	check_id(&id, &alice);
}

static void test_empty_is_unlocked(void **state)
{
	struct glock g;
	struct server_id id;
	struct ctdb_data data = {.data = (const uint8_t *)"x", .len = 1};

	glock_parse((struct ctdb_data){0}, &g);
	assert_false(glock_holder(&g, 0, &id));
	assert_int_equal(glock_build(NULL, &g, &data), 0);
	assert_int_equal(data.len, 0);
}

/* Layout: no watchers; holder; epochs; no shared holders. */
static void test_exclusive(void **state)
{
	struct glock g = {.holder = alice, .lock_epoch = 5, .data_epoch = 6}, back;
	struct server_id id;
	struct ctdb_data data;

	assert_int_equal(glock_build(NULL, &g, &data), 0);
	assert_int_equal(data.len, 4 + GLOCK_STATE_SIZE);
	assert_int_equal(data.data[0], 0);
	assert_int_equal(data.data[4], 0x67);
	assert_int_equal(data.data[4 + 24], 5);
	assert_int_equal(data.data[4 + 32], 6);
	glock_parse(data, &back);
	assert_true(glock_holder(&back, 0, &id));
	check_id(&id, &alice);
	assert_false(glock_holder(&back, 1, &id));
	data_free(&data);
}

static void test_everything_survives(void **state)
{
	uint8_t watchers[2 * GLOCK_WATCHER_SIZE] = {0}, shared[2 * GLOCK_SERVER_ID_SIZE];
	struct glock g = {.n_watchers = 2,
			  .n_shared = 2,
			  .watchers = watchers,
			  .shared = shared,
			  .lock_epoch = 1,
			  .data_epoch = 2},
		     back;
	struct server_id id;
	struct ctdb_data data;

	server_id_put(watchers, &alice);
	watchers[GLOCK_SERVER_ID_SIZE] = 9;
	server_id_put(watchers + GLOCK_WATCHER_SIZE, &bob);
	server_id_put(shared, &bob);
	server_id_put(shared + GLOCK_SERVER_ID_SIZE, &alice);
	g.user = data_of("version", 8);
	assert_int_equal(glock_build(NULL, &g, &data), 0);
	assert_int_equal(data.len, 4 + sizeof(watchers) + GLOCK_STATE_SIZE + sizeof(shared) + 8);
	glock_parse(data, &back);
	assert_int_equal(back.n_watchers, 2);
	assert_memory_equal(back.watchers, watchers, sizeof(watchers));
	assert_true(glock_holder(&back, 0, &id));
	check_id(&id, &bob);
	assert_true(glock_holder(&back, 1, &id));
	check_id(&id, &alice);
	assert_int_equal(back.user.len, 8);
	assert_memory_equal(back.user.data, "version", 8);
	data_free(&data);
}

/* Whoever waits is kept when the lock is given back. */
static void test_watchers_alone(void **state)
{
	uint8_t watchers[GLOCK_WATCHER_SIZE] = {7};
	struct glock g = {.n_watchers = 1, .watchers = watchers}, back;
	struct server_id id;
	struct ctdb_data data;

	assert_int_equal(glock_build(NULL, &g, &data), 0);
	assert_int_equal(data.len, 4 + GLOCK_WATCHER_SIZE);
	glock_parse(data, &back);
	assert_int_equal(back.n_watchers, 1);
	assert_false(glock_holder(&back, 0, &id));
	data_free(&data);
}

/* Counts that do not fit the bytes: not Samba's. */
static void test_damaged(void **state)
{
	struct glock g = {.holder = alice, .n_shared = 0}, back;
	struct server_id id;
	struct ctdb_data data;
	uint8_t copy[4 + GLOCK_STATE_SIZE];
	size_t len;

	assert_int_equal(glock_build(NULL, &g, &data), 0);
	for (len = 0; len < data.len; len++) { /* cut anywhere: unlocked, and nothing is read behind the end */
		glock_parse(data_of(data.data, len), &back);
		assert_false(glock_holder(&back, 0, &id));
	}
	memcpy(copy, data.data, data.len);
	memset(copy, 0xFF, 4); /* watchers */
	glock_parse(data_of(copy, sizeof(copy)), &back);
	assert_int_equal(back.n_watchers, 0);
	assert_false(glock_holder(&back, 0, &id));
	memcpy(copy, data.data, data.len);
	memset(copy + sizeof(copy) - 4, 0xFF, 4); /* shared holders */
	glock_parse(data_of(copy, sizeof(copy)), &back);
	assert_int_equal(back.n_shared, 0);
	assert_false(glock_holder(&back, 0, &id));
	data_free(&data);
}

/* The classic tool's record: one entry of type 1 (write). Its holder counts. */
static void test_foreign(void **state)
{
	uint8_t entry[32] = {1};
	struct glock g;
	struct server_id id;

	server_id_put(entry + 8, &alice);
	glock_parse(data_of(entry, sizeof(entry)), &g);
	assert_true(g.foreign);
	assert_true(glock_holder(&g, 0, &id));
	assert_int_equal(id.pid, alice.pid);
	assert_int_equal(id.vnn, alice.vnn);
	assert_true(id.unique == GLOCK_UNIQUE_NOT_SAMBA);
	assert_false(glock_holder(&g, 1, &id));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_server_id_bytes), cmocka_unit_test(test_empty_is_unlocked),
		cmocka_unit_test(test_exclusive),       cmocka_unit_test(test_everything_survives),
		cmocka_unit_test(test_watchers_alone),  cmocka_unit_test(test_damaged),
		cmocka_unit_test(test_foreign),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
