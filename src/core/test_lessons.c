/* Lessons about records (docs/lessons.md) that the record engine must not forget: one node with a stand-in for file,
 * network and clients. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <string.h>
#include <cmocka.h>

#include "core/record.h"

#define OWN        0U
#define PEER       1U
#define THIRD      2U
#define GENERATION 1000U
#define KEYS       4

/* ---- the world of node OWN: a file of KEYS records; key i is the one byte 'a' + i ---- */

struct file_record {
	struct record_copy copy;
	char data[32];
};

static struct {
	TALLOC_CTX *mem;
	struct record_engine *engine;
	struct record_db *db;
	struct file_record file[KEYS];
	bool client_has_lock; /* of all chains */
	int write_error;
	uint32_t locked; /* by the engine: depth */
	uint32_t n_call, n_forward, n_grant, n_answer, n_inconsistent;
	uint32_t call_to, call_generation, forward_to, forward_requester, grant_to, grant_generation;
	int answer_status;
	char answer_data[32], grant_data[32];
	uint32_t grant_flags;
	struct mono now;
} w;

static struct record_key key_of(int i)
{
	static const uint8_t bytes[] = "abcdefgh";

	return (struct record_key){bytes + i, 1};
}

static struct file_record *record_of(struct record_key key)
{
	return &w.file[key.p[0] - 'a'];
}

static int op_trylock(void *priv, struct record_key key)
{
	(void)priv;
	(void)key;
	if (w.client_has_lock) {
		return EAGAIN;
	}
	w.locked++;
	return 0;
}

static void op_unlock(void *priv, struct record_key key)
{
	(void)priv;
	(void)key;
	assert_true(w.locked > 0);
	w.locked--;
}

static int op_read(void *priv, struct record_key key, struct record_copy *copy)
{
	(void)priv;
	*copy = record_of(key)->copy;
	copy->data = (const uint8_t *)record_of(key)->data;
	return 0;
}

static int op_write(void *priv, struct record_key key, const struct record_copy *copy)
{
	struct file_record *f = record_of(key);

	(void)priv;
	if (w.write_error != 0) {
		return w.write_error;
	}
	assert_true(copy->len < sizeof(f->data));
	if (copy->len > 0) {
		memmove(f->data, copy->data, copy->len);
	}
	f->copy = *copy;
	f->copy.exists = true;
	return 0;
}

static int op_remove(void *priv, struct record_key key)
{
	(void)priv;
	*record_of(key) = (struct file_record){0};
	return 0;
}

static void op_send_call(void *priv, uint32_t node, uint32_t generation, struct record_key key)
{
	(void)priv;
	(void)key;
	w.n_call++;
	w.call_to = node;
	w.call_generation = generation;
}

static void op_send_forward(void *priv, uint32_t node, uint32_t generation, uint32_t requester, struct record_key key)
{
	(void)priv;
	(void)generation;
	(void)key;
	w.n_forward++;
	w.forward_to = node;
	w.forward_requester = requester;
}

static void text_of(char *text, size_t size, const struct record_copy *copy)
{
	assert_true(copy->len < size);
	memset(text, 0, size);
	if (copy->len > 0) {
		memcpy(text, copy->data, copy->len);
	}
}

static void op_send_grant(void *priv, uint32_t node, uint32_t generation, struct record_key key,
			  const struct record_copy *copy)
{
	(void)priv;
	/* What is sent away is no longer owned in the file (R1). */
	assert_int_not_equal(record_of(key)->copy.dmaster, OWN);
	w.n_grant++;
	w.grant_to = node;
	w.grant_generation = generation;
	w.grant_flags = copy->flags;
	text_of(w.grant_data, sizeof(w.grant_data), copy);
}

static void op_answer(void *priv, int status, const struct record_copy *copy)
{
	(void)priv;
	w.n_answer++;
	w.answer_status = status;
	if (copy != NULL) {
		text_of(w.answer_data, sizeof(w.answer_data), copy);
	}
}

static void op_inconsistent(void *priv, uint32_t generation, struct record_key key, const char *what)
{
	(void)priv;
	(void)generation;
	(void)key;
	(void)what;
	w.n_inconsistent++;
}

static int setup(void **state)
{
	static const struct record_ops ops = {op_trylock,   op_unlock,       op_read,       op_write,  op_remove,
					      op_send_call, op_send_forward, op_send_grant, op_answer, op_inconsistent, NULL, NULL};
	static const struct record_config config = {.own_pnn = OWN,
						    .hold_min_us = 500,
						    .hold_max_us = 20000,
						    .retry_min_us = 200,
						    .retry_max_us = 5000,
						    .max_hints = 10};

	(void)state;
	memset(&w, 0, sizeof(w));
	w.now = (struct mono){MONO_NS_PER_S};
	w.mem = talloc_new(NULL);
	w.engine = record_engine_new(w.mem, &config, &ops, NULL);
	w.db = record_db_new(w.engine, NULL);
	assert_non_null(w.db);
	return 0;
}

/* Whatever a test did: no lock is left behind. */
static int teardown(void **state)
{
	(void)state;
	assert_int_equal(w.locked, 0);
	talloc_free(w.mem);
	return 0;
}

/* Location master of all keys. */
static void serve(uint32_t generation, uint32_t lmaster)
{
	assert_int_equal(record_db_open(w.db, generation, &lmaster, 1), 0);
	record_db_serve(w.db, w.now);
	record_engine_timers(w.engine, w.now);
}

static void put(int key, uint32_t dmaster, uint64_t rsn, const char *data)
{
	struct file_record *f = &w.file[key];

	strcpy(f->data, data);
	f->copy = (struct record_copy){.exists = true, .rsn = rsn, .dmaster = dmaster, .len = strlen(data)};
}

static struct record_call *call(int key, uint64_t who, bool use)
{
	struct record_call *c = record_call_new(w.db, key_of(key), who, use, NULL, w.now);

	assert_non_null(c);
	record_engine_timers(w.engine, w.now);
	return c;
}

static void grant(int key, uint32_t generation, uint64_t rsn, const char *data)
{
	struct record_copy copy = {.exists = true, .rsn = rsn, .data = (const uint8_t *)data, .len = strlen(data)};

	record_on_grant(w.db, PEER, generation, key_of(key), &copy, w.now);
	record_engine_timers(w.engine, w.now);
}

static void pass_ms(uint64_t ms)
{
	while (ms-- > 0) {
		w.now = mono_add_ms(w.now, 1);
		record_engine_timers(w.engine, w.now);
	}
}

/* ---- migration ---- */

/* H-002, H-017: the client has gone when the record comes; it is taken all the same, and passed on to who waits behind.
 */
static void test_h002_record_is_taken_though_nobody_waits(void **state)
{
	struct record_call *c;

	(void)state;
	serve(GENERATION, PEER);
	c = call(0, 1, true);
	assert_int_equal(w.n_call, 1);
	record_call_cancel(c);
	grant(0, GENERATION, 7, "value");
	assert_int_equal(w.n_answer, 0);
	assert_true(w.file[0].copy.exists);
	assert_int_equal(w.file[0].copy.dmaster, OWN);
	assert_int_equal(w.file[0].copy.rsn, 8);
	assert_memory_equal(w.file[0].data, "value", 5);
	record_on_forward(w.db, PEER, GENERATION, THIRD, key_of(0), w.now);
	pass_ms(100);
	assert_int_equal(w.n_grant, 1);
	assert_int_equal(w.grant_to, THIRD);
	assert_string_equal(w.grant_data, "value");
	assert_int_equal(w.n_inconsistent, 0);
}

/* H-003, H-004: a grant counts for its own key only, once, and in its generation; nothing else is answered or unlocked
 * by it. */
static void test_h003_stale_grants_touch_nothing(void **state)
{
	(void)state;
	put(1, PEER, 3, "other");
	serve(GENERATION, PEER);
	call(0, 1, true);
	grant(1, GENERATION, 9, "late");
	assert_int_equal(w.n_inconsistent, 1);
	assert_int_equal(w.file[1].copy.dmaster, PEER);
	assert_memory_equal(w.file[1].data, "other", 5);
	assert_int_equal(w.n_answer, 0);
	grant(0, GENERATION - 1, 9, "old");
	assert_int_equal(w.n_answer, 0);
	assert_false(w.file[0].copy.exists);
	grant(0, GENERATION, 5, "right");
	assert_int_equal(w.n_answer, 1);
	assert_string_equal(w.answer_data, "right");
	/* The same once more, late. */
	grant(0, GENERATION, 5, "twice");
	assert_int_equal(w.n_inconsistent, 2);
	assert_int_equal(w.file[0].copy.rsn, 6);
	assert_memory_equal(w.file[0].data, "right", 5);
}

/* H-005, H-006: packets that must not be: dropped, reported, no lock kept; the next client is served. */
static void test_h005_impossible_packets_are_survived(void **state)
{
	(void)state;
	put(0, OWN, 3, "mine");
	serve(GENERATION, PEER);
	record_on_call(w.db, PEER, GENERATION, key_of(0), w.now); /* not the location master */
	assert_int_equal(w.n_inconsistent, 1);
	record_on_forward(w.db, THIRD, GENERATION, PEER, key_of(0), w.now); /* from one that is not */
	assert_int_equal(w.n_inconsistent, 2);
	record_on_forward(w.db, PEER, GENERATION, THIRD, key_of(1), w.now); /* of what is not here */
	assert_int_equal(w.n_inconsistent, 3);
	grant(2, GENERATION, 1, "gift");
	assert_int_equal(w.n_inconsistent, 4);
	pass_ms(50);
	assert_int_equal(w.locked, 0);
	assert_int_equal(w.n_grant + w.n_forward, 0);
	assert_int_equal(w.file[0].copy.dmaster, OWN);
	assert_false(w.file[1].copy.exists || w.file[2].copy.exists);
	call(0, 1, true);
	assert_int_equal(w.n_answer, 1);
	assert_string_equal(w.answer_data, "mine");
}

/* H-006, H-015: the file cannot be written: the lock is released, the record stays owned here, nothing is sent, callers
 * hear the error. */
static void test_h006_failed_write_gives_nothing_away(void **state)
{
	(void)state;
	put(0, OWN, 3, "mine");
	serve(GENERATION, PEER);
	w.write_error = EIO;
	record_on_forward(w.db, PEER, GENERATION, THIRD, key_of(0), w.now);
	assert_int_equal(w.locked, 0);
	assert_int_equal(w.n_grant, 0);
	assert_true(w.n_inconsistent > 0);
	assert_int_equal(w.file[0].copy.dmaster, OWN);
	call(1, 1, true);
	assert_int_equal(w.n_call, 1);
	grant(1, GENERATION, 4, "comes");
	assert_int_equal(w.locked, 0);
	assert_int_equal(w.n_answer, 1);
	assert_int_equal(w.answer_status, EIO);
}

/* H-007: the location master is asked for what it has never seen: it makes the record, and gives it away at once. */
static void test_h007_unknown_record_is_made_and_given(void **state)
{
	(void)state;
	serve(GENERATION, OWN);
	record_on_call(w.db, THIRD, GENERATION, key_of(0), w.now);
	assert_int_equal(w.n_grant, 1);
	assert_int_equal(w.grant_to, THIRD);
	assert_string_equal(w.grant_data, "");
	assert_int_equal(w.file[0].copy.dmaster, THIRD);
	assert_int_equal(w.n_inconsistent + w.n_forward, 0);
}

/* H-008: while a record that came waits for the chain lock, nobody is answered from the header that it replaces. */
static void test_h008_nobody_is_answered_past_a_waiting_record(void **state)
{
	(void)state;
	put(0, PEER, 3, "old");
	serve(GENERATION, PEER);
	call(0, 1, false);
	w.client_has_lock = true;
	grant(0, GENERATION, 8, "new");
	call(0, 2, false);
	record_on_forward(w.db, PEER, GENERATION, THIRD, key_of(0), w.now);
	pass_ms(20);
	assert_int_equal(w.n_answer + w.n_grant + w.n_inconsistent, 0);
	assert_int_equal(w.n_call, 1);
	w.client_has_lock = false;
	pass_ms(20);
	assert_int_equal(w.n_answer, 2);
	assert_string_equal(w.answer_data, "new");
	assert_int_equal(w.n_grant, 1);
	assert_string_equal(w.grant_data, "new");
}

/* H-009, H-010, H-013: a new generation forgets what other nodes asked for, and asks again for what clients here wait
 * for. */
static void test_h009_a_new_generation_starts_clean(void **state)
{
	(void)state;
	put(0, PEER, 3, "far");
	put(1, OWN, 3, "mine");
	serve(GENERATION, OWN);
	call(0, 1, true);
	assert_int_equal(w.n_forward, 1);
	w.client_has_lock = true;
	record_on_call(w.db, THIRD, GENERATION, key_of(1), w.now);
	record_on_call(w.db, THIRD, GENERATION, key_of(2), w.now);
	record_db_close(w.db);
	w.client_has_lock = false;
	pass_ms(20);
	assert_int_equal(w.n_answer, 0);
	assert_int_equal(record_db_pending(w.db), 1);
	serve(GENERATION + 1, PEER);
	pass_ms(20);
	assert_int_equal(w.n_grant, 0);
	assert_int_equal(w.file[1].copy.dmaster, OWN);
	assert_false(w.file[2].copy.exists);
	assert_int_equal(w.n_call, 1);
	assert_int_equal(w.call_to, PEER);
	assert_int_equal(w.call_generation, GENERATION + 1);
	grant(0, GENERATION + 1, 4, "here");
	assert_int_equal(w.n_answer, 1);
}

/* H-011, H-012: what is on its way from an earlier generation is not looked at, also where the slot map made another
 * node location master. */
static void test_h011_packets_of_another_generation_are_dropped(void **state)
{
	(void)state;
	put(0, OWN, 3, "mine");
	serve(GENERATION, OWN);
	serve(GENERATION + 1, PEER);
	record_on_call(w.db, THIRD, GENERATION, key_of(0), w.now);
	record_on_forward(w.db, OWN, GENERATION, THIRD, key_of(0), w.now);
	record_on_forward(w.db, PEER, GENERATION + 2, THIRD, key_of(0), w.now);
	grant(0, GENERATION, 99, "old");
	pass_ms(50);
	assert_int_equal(w.n_inconsistent + w.n_grant + w.n_forward, 0);
	assert_int_equal(w.file[0].copy.dmaster, OWN);
	assert_int_equal(w.file[0].copy.rsn, 3);
}

static size_t one_of_each(uint32_t turn)
{
	uint64_t rsn = w.file[0].copy.rsn;

	w.client_has_lock = turn % 2 == 0;
	call(0, turn, true);
	record_call_cancel(call(1, turn, true));
	record_on_call(w.db, THIRD, GENERATION, key_of(2), w.now);
	w.client_has_lock = false;
	pass_ms(20);
	grant(0, GENERATION, rsn, "x");
	record_on_call(w.db, PEER, GENERATION, key_of(0), w.now);
	grant(1, GENERATION, 1, "y");
	record_on_call(w.db, PEER, GENERATION, key_of(1), w.now);
	pass_ms(20);
	grant(2, GENERATION, 1, "");
	record_on_call(w.db, PEER, GENERATION, key_of(2), w.now);
	pass_ms(200);
	return talloc_total_blocks(w.mem);
}

/* H-018: contention leaves nothing in memory, whatever way requests took. */
static void test_h018_contention_leaves_nothing_behind(void **state)
{
	size_t before;

	(void)state;
	for (int i = 0; i < KEYS; i++) {
		put(i, PEER, 1, "far");
	}
	serve(GENERATION, OWN);
	before = talloc_total_blocks(w.mem);
	for (uint32_t turn = 0; turn < 20; turn++) {
		assert_int_equal(one_of_each(turn), before);
	}
	assert_int_equal(record_db_pending(w.db), 0);
	assert_true(w.n_answer >= 20 && w.n_grant >= 20);
}

/* H-019: many clients, all kinds of fetches, one record elsewhere: one request, one migration, every client answered.
 */
static void test_h019_one_request_for_many_clients(void **state)
{
	const struct record_stats *stats;

	(void)state;
	serve(GENERATION, PEER);
	for (uint64_t who = 1; who <= 50; who++) {
		call(0, who, who % 2 == 0);
		pass_ms(1);
	}
	assert_int_equal(w.n_call, 1);
	assert_int_equal(w.n_answer, 0);
	grant(0, GENERATION, 3, "value");
	stats = record_engine_stats(w.engine);
	assert_int_equal(w.n_call, 1);
	assert_int_equal(w.n_answer, 50);
	assert_int_equal(stats->calls, 50);
	assert_int_equal(stats->grants_in, 1);
	/* And the location master forwards once for them. */
	serve(GENERATION + 1, OWN);
	put(1, THIRD, 3, "far");
	for (uint64_t who = 1; who <= 50; who++) {
		call(1, who, true);
	}
	assert_int_equal(w.n_forward, 1);
	assert_int_equal(w.forward_to, THIRD);
	assert_int_equal(w.forward_requester, OWN);
}

/* H-056: taking ownership raises the rsn above the copy that was given, and above what lies here. */
static void test_h056_ownership_raises_the_rsn(void **state)
{
	(void)state;
	put(0, PEER, 3, "");
	serve(GENERATION, PEER);
	call(0, 1, false);
	grant(0, GENERATION, 8, "new");
	assert_int_equal(w.file[0].copy.rsn, 9);
	/* An empty stub of the key's earlier life. */
	put(1, PEER, 20, "");
	call(1, 1, false);
	grant(1, GENERATION, 2, "new");
	assert_int_equal(w.file[1].copy.rsn, 21);
	/* But never over newer data. */
	put(2, PEER, 20, "newer");
	call(2, 1, false);
	grant(2, GENERATION, 2, "older");
	assert_int_equal(w.n_inconsistent, 1);
	assert_memory_equal(w.file[2].data, "newer", 5);
}

/* H-085: who was told that the record is here gets time to lock it, though another node waits; but not for ever. */
static void test_h085_local_client_comes_first_but_not_for_ever(void **state)
{
	(void)state;
	serve(GENERATION, PEER);
	call(0, 1, true);
	grant(0, GENERATION, 3, "value");
	assert_int_equal(w.n_answer, 1);
	record_on_forward(w.db, PEER, GENERATION, THIRD, key_of(0), w.now);
	assert_int_equal(w.n_grant, 0);
	w.now = mono_add_us(w.now, 400);
	record_engine_timers(w.engine, w.now);
	assert_int_equal(w.n_grant, 0);
	/* It has the lock: nothing is taken away. It is free again: given at once. */
	w.client_has_lock = true;
	pass_ms(100);
	assert_int_equal(w.n_grant, 0);
	strcpy(w.file[0].data, "VALUE");
	w.client_has_lock = false;
	pass_ms(10);
	assert_int_equal(w.n_grant, 1);
	assert_string_equal(w.grant_data, "VALUE");
	/* It never comes. */
	call(1, 1, true);
	grant(1, GENERATION, 3, "value");
	record_on_forward(w.db, PEER, GENERATION, THIRD, key_of(1), w.now);
	pass_ms(100);
	assert_int_equal(w.n_grant, 2);
}

/* ---- deletion ---- */

/* H-026, H-030: between the client's deletion and the removal the record was filled, emptied again, or given away: it
 * stays. */
static void test_h026_used_again_is_not_removed(void **state)
{
	(void)state;
	put(0, OWN, 1, "");
	put(1, OWN, 1, "");
	put(2, OWN, 1, "");
	put(3, OWN, 1, "");
	serve(GENERATION, OWN);
	for (int i = 0; i < KEYS; i++) {
		record_deletion_hint(w.db, key_of(i), 1, w.now);
	}
	put(1, OWN, 1, "filled");
	w.file[2].copy.rsn = 5;
	w.file[3].copy.dmaster = PEER;
	pass_ms(2000);
	assert_false(w.file[0].copy.exists);
	assert_true(w.file[1].copy.exists && w.file[2].copy.exists && w.file[3].copy.exists);
	assert_int_equal(record_engine_stats(w.engine)->hints_deleted, 1);
}

/* H-031: hints are of one generation: a wipe, which is part of a recovery, leaves none. */
static void test_h031_hints_end_with_the_generation(void **state)
{
	(void)state;
	put(0, OWN, 1, "");
	serve(GENERATION, OWN);
	record_deletion_hint(w.db, key_of(0), 1, w.now);
	serve(GENERATION + 1, OWN);
	pass_ms(2000);
	assert_true(w.file[0].copy.exists);
}

/* H-034: a hint never waits for a lock, and gives up if it is never free. */
static void test_h034_removal_does_not_wait_for_locks(void **state)
{
	(void)state;
	put(0, OWN, 1, "");
	serve(GENERATION, OWN);
	record_deletion_hint(w.db, key_of(0), 1, w.now);
	w.client_has_lock = true;
	pass_ms(10000);
	assert_false(mono_is_set(record_engine_next(w.engine)));
	w.client_has_lock = false;
	pass_ms(2000);
	assert_true(w.file[0].copy.exists);
}

/* H-038: a record that leaves with data is marked; once marked, its removal is no longer this node's own business. */
static void test_h038_left_with_data_is_marked(void **state)
{
	(void)state;
	put(0, OWN, 3, "data");
	put(1, OWN, 1, "");
	serve(GENERATION, PEER);
	record_on_forward(w.db, PEER, GENERATION, THIRD, key_of(0), w.now);
	assert_int_equal(w.n_grant, 1);
	assert_true((w.grant_flags & RECORD_FLAG_MIGRATED_WITH_DATA) != 0);
	assert_true((w.file[0].copy.flags & RECORD_FLAG_MIGRATED_WITH_DATA) != 0);
	record_on_forward(w.db, PEER, GENERATION, THIRD, key_of(1), w.now);
	assert_int_equal(w.n_grant, 2);
	assert_int_equal(w.grant_flags & RECORD_FLAG_MIGRATED_WITH_DATA, 0);
	serve(GENERATION + 1, OWN);
	put(0, OWN, 1, "");
	w.file[0].copy.flags = RECORD_FLAG_MIGRATED_WITH_DATA;
	record_deletion_hint(w.db, key_of(0), 1, w.now);
	pass_ms(2000);
	assert_true(w.file[0].copy.exists);
}

/* H-040: a record of which other nodes have read-only copies is in use. */
static void test_h040_delegated_is_not_removed(void **state)
{
	(void)state;
	serve(GENERATION, OWN);
	for (int i = 0; i < KEYS; i++) {
		put(i, OWN, 1, "");
		w.file[i].copy.flags = 0x01000000U << i; /* each of the four flags of such copies */
		record_deletion_hint(w.db, key_of(i), 1, w.now);
	}
	pass_ms(2000);
	for (int i = 0; i < KEYS; i++) {
		assert_true(w.file[i].copy.exists);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(test_h002_record_is_taken_though_nobody_waits),
		TEST(test_h003_stale_grants_touch_nothing),
		TEST(test_h005_impossible_packets_are_survived),
		TEST(test_h006_failed_write_gives_nothing_away),
		TEST(test_h007_unknown_record_is_made_and_given),
		TEST(test_h008_nobody_is_answered_past_a_waiting_record),
		TEST(test_h009_a_new_generation_starts_clean),
		TEST(test_h011_packets_of_another_generation_are_dropped),
		TEST(test_h018_contention_leaves_nothing_behind),
		TEST(test_h019_one_request_for_many_clients),
		TEST(test_h026_used_again_is_not_removed),
		TEST(test_h031_hints_end_with_the_generation),
		TEST(test_h034_removal_does_not_wait_for_locks),
		TEST(test_h038_left_with_data_is_marked),
		TEST(test_h040_delegated_is_not_removed),
		TEST(test_h056_ownership_raises_the_rsn),
		TEST(test_h085_local_client_comes_first_but_not_for_ever),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
