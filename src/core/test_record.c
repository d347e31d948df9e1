/* Tests of the record engine: packets that nobody should have sent, deletion hints. One node; the others are made up.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "core/record.h"

#define ME    1U
#define GEN   50U
#define KEYS  6
#define CALLS 8

struct cell {
	bool exists;
	uint64_t rsn;
	uint32_t dmaster, flags;
	uint8_t data[8];
	size_t len;
};

struct world {
	struct record_engine *engine;
	struct record_db *db;
	struct mono now;
	struct cell file[KEYS];
	struct record_call *calls[CALLS];
	int locks;
	bool busy;
	int broken; /* errno of reads and writes */
	uint32_t inconsistent, grants, forwards, removed, answered, asked;
	uint32_t readonly[6]; /* by enum record_ro */
	uint32_t readonly_to;
	uint32_t hot;
};

static int w_lock(void *priv, struct record_key key)
{
	struct world *w = priv;

	(void)key;
	if (w->busy) {
		return EAGAIN;
	}
	assert_int_equal(w->locks++, 0);
	return 0;
}

static void w_unlock(void *priv, struct record_key key)
{
	(void)key;
	assert_int_equal(--((struct world *)priv)->locks, 0);
}

/* Keys that are no single byte are of no record. */
static struct cell *cell_of(struct world *w, struct record_key key)
{
	static struct cell nothing;

	if (key.len > 1) {
		nothing = (struct cell){.exists = false};
		return &nothing;
	}
	return &w->file[key.len > 0 ? key.p[0] % KEYS : 0];
}

static int w_read(void *priv, struct record_key key, struct record_copy *copy)
{
	struct world *w = priv;
	struct cell *c = cell_of(w, key);

	*copy = (struct record_copy){.exists = c->exists, .rsn = c->rsn, .dmaster = c->dmaster, .flags = c->flags};
	copy->len = c->len;
	copy->data = c->len > 0 ? c->data : NULL;
	return w->broken;
}

static int w_write(void *priv, struct record_key key, const struct record_copy *copy)
{
	struct world *w = priv;
	struct cell *c = cell_of(w, key);

	assert_int_equal(w->locks, 1);
	if (w->broken != 0) {
		return w->broken;
	}
	c->exists = true;
	c->rsn = copy->rsn;
	c->dmaster = copy->dmaster;
	c->flags = copy->flags;
	c->len = copy->len < sizeof(c->data) ? copy->len : sizeof(c->data);
	memmove(c->data, c->len > 0 ? copy->data : c->data, c->len);
	return 0;
}

static int w_remove(void *priv, struct record_key key)
{
	struct world *w = priv;

	*cell_of(w, key) = (struct cell){0};
	w->removed++;
	return 0;
}

static void w_call(void *priv, uint32_t node, uint32_t generation, struct record_key key)
{
	(void)key;
	assert_int_not_equal(node, ME);
	assert_int_equal(generation, GEN);
	((struct world *)priv)->asked++;
}

static void w_forward(void *priv, uint32_t node, uint32_t generation, uint32_t requester, struct record_key key)
{
	(void)key;
	(void)requester;
	assert_int_not_equal(node, ME);
	assert_int_equal(generation, GEN);
	((struct world *)priv)->forwards++;
}

static void w_grant(void *priv, uint32_t node, uint32_t generation, struct record_key key,
		    const struct record_copy *copy)
{
	(void)copy;
	assert_int_not_equal(node, ME);
	assert_int_equal(generation, GEN);
	/* R1: written down before it is sent. */
	assert_int_not_equal(cell_of(priv, key)->dmaster, ME);
	((struct world *)priv)->grants++;
}

/* Before anybody hears of it the file says so: of copies that others have (D6), that this one is none any more (D4). */
static void w_readonly(void *priv, uint32_t node, uint32_t generation, enum record_ro what, uint32_t requester,
		       struct record_key key, const struct record_copy *copy)
{
	struct world *w = priv;
	const struct cell *c = cell_of(w, key);

	(void)requester;
	assert_int_not_equal(node, ME);
	assert_int_equal(generation, GEN);
	assert_int_equal(copy != NULL, what == RECORD_RO_COPY || what == RECORD_RO_REVOKE);
	if (copy != NULL && key.len == 1) {
		assert_true(c->dmaster == ME && (c->flags & RECORD_FLAG_HAVE_DELEGATIONS) != 0);
		assert_true(copy->rsn < c->rsn || c->rsn < 3); /* B1; rsn near its end comes from nonsense */
	}
	if (what == RECORD_RO_REVOKED) {
		assert_true((c->flags & RECORD_FLAG_HAVE_READONLY) == 0);
	}
	w->readonly[what]++;
	w->readonly_to = node;
}

static void w_hot(void *priv, struct record_key key, uint32_t count)
{
	(void)key;
	assert_true(count > 0);
	((struct world *)priv)->hot = count;
}

static void w_inconsistent(void *priv, uint32_t generation, struct record_key key, const char *what)
{
	(void)generation;
	(void)key;
	assert_non_null(what);
	((struct world *)priv)->inconsistent++;
}

struct waiter {
	struct world *w;
	int i;
};

static void w_answer(void *priv, int status, const struct record_copy *copy)
{
	struct waiter *a = priv;

	assert_true((status == 0) == (copy != NULL));
	assert_non_null(a->w->calls[a->i]);
	a->w->calls[a->i] = NULL;
	a->w->answered++;
}

static const struct record_ops ops = {w_lock,    w_unlock, w_read,   w_write,        w_remove,   w_call,
				      w_forward, w_grant,  w_answer, w_inconsistent, w_readonly, w_hot};

static int setup(void **state)
{
	static const struct record_config config = {.own_pnn = ME,
						    .hold_min_us = 500,
						    .hold_max_us = 20000,
						    .retry_min_us = 200,
						    .retry_max_us = 5000,
						    .max_hints = 3,
						    .max_readonly = 4};
	struct world *w = talloc_zero(NULL, struct world);

	w->now = (struct mono){1000000000};
	w->engine = record_engine_new(w, &config, &ops, w);
	w->db = record_db_new(w->engine, w);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	talloc_free(*state);
	return 0;
}

static struct record_key key_of(uint32_t i)
{
	static const uint8_t bytes[] = {0, 1, 2, 3, 4, 5};

	return (struct record_key){&bytes[i % KEYS], 1};
}

/* All keys have the location master given. */
static void opened(struct world *w, uint32_t lmaster, bool serve)
{
	assert_int_equal(record_db_open(w->db, GEN, &lmaster, 1), 0);
	if (serve) {
		record_db_serve(w->db, w->now);
	}
}

static void call(struct world *w, int i, uint32_t key)
{
	struct waiter *a = talloc(w, struct waiter);

	*a = (struct waiter){w, i};
	assert_null(w->calls[i]);
	w->calls[i] = (i % 4 < 2 ? record_call_new : record_call_new_readonly)(w->db, key_of(key), (uint64_t)i + 1,
									       i % 2 == 0, a, w->now);
	assert_non_null(w->calls[i]);
}

/* ---- packets ---- */

static void test_second_call_of_a_node(void **state)
{
	struct world *w = *state;

	opened(w, ME, true);
	w->busy = true;
	for (int i = 0; i < 100; i++) {
		record_on_call(w->db, 2, GEN, key_of(0), w->now);
		record_on_call(w->db, 3, GEN, key_of(0), w->now);
	}
	assert_int_equal(w->inconsistent, 198);
	w->busy = false;
	w->now = mono_add_ms(w->now, 10);
	(void)record_engine_timers(w->engine, w->now);
	assert_int_equal(w->grants, 1);
	assert_int_equal(w->forwards, 1);
	assert_int_equal(w->file[0].dmaster, 3);
}

static void test_forward_to_the_owner_itself(void **state)
{
	struct world *w = *state;

	opened(w, 0, true);
	w->file[2] = (struct cell){.exists = true, .rsn = 5, .dmaster = ME};
	record_on_forward(w->db, 0, GEN, ME, key_of(2), w->now);
	record_on_forward(w->db, 0, GEN, RECORD_NODE_NONE, key_of(2), w->now);
	assert_int_equal(w->inconsistent, 2);
	assert_int_equal(w->grants, 0);
	assert_int_equal(w->file[2].dmaster, ME);
	record_on_forward(w->db, 0, GEN, 2, key_of(2), w->now);
	assert_int_equal(w->grants, 1);
}

/* ---- deletion hints ---- */

static void own_empty(struct world *w, uint32_t key, uint64_t rsn, uint32_t flags)
{
	w->file[key] = (struct cell){.exists = true, .rsn = rsn, .dmaster = ME, .flags = flags};
	record_deletion_hint(w->db, key_of(key), rsn, w->now);
}

static void later(struct world *w, int64_t ms)
{
	w->now = mono_add_ms(w->now, (uint64_t)ms);
	(void)record_engine_timers(w->engine, w->now);
}

static void test_hint_removes(void **state)
{
	struct world *w = *state;

	opened(w, ME, true);
	own_empty(w, 0, 1, 0);
	later(w, 10);
	assert_int_equal(w->removed, 0);
	later(w, 200);
	assert_int_equal(w->removed, 1);
	assert_false(mono_is_set(record_engine_next(w->engine)));
}

/* The header that another node kept would outrank the copies of the key's next life. */
static void test_hint_spares_what_was_elsewhere(void **state)
{
	struct world *w = *state;

	opened(w, ME, true);
	own_empty(w, 0, 3, 0);
	own_empty(w, 1, 1, RECORD_FLAG_MIGRATED_WITH_DATA);
	later(w, 200);
	assert_int_equal(w->removed, 0);
	opened(w, 0, true); /* not the location master */
	own_empty(w, 0, 1, 0);
	later(w, 200);
	assert_int_equal(w->removed, 0);
}

/* Between PREPARED and COMMIT nothing is removed, and no timer waits for it: it would fire without end. */
static void test_hint_before_commit(void **state)
{
	struct world *w = *state;

	opened(w, ME, false);
	own_empty(w, 0, 1, 0);
	w->now = mono_add_ms(w->now, 500);
	assert_false(mono_is_set(record_engine_timers(w->engine, w->now)));
	assert_int_equal(w->removed, 0);
	record_db_serve(w->db, w->now);
	assert_true(mono_is_set(record_engine_next(w->engine)));
	later(w, 0);
	assert_int_equal(w->removed, 1);
}

/* A lock that is given back ten thousand times a second is looked at once. */
static void test_hint_of_a_key_is_one(void **state)
{
	struct world *w = *state;
	struct mono due;

	opened(w, ME, true);
	own_empty(w, 0, 2, 0);
	due = record_engine_next(w->engine);
	w->now = mono_add_ms(w->now, 50);
	own_empty(w, 0, 1, 0); /* a new life of the key: what was said last counts */
	assert_int_equal(record_engine_stats(w->engine)->hints, 1);
	assert_true(record_engine_next(w->engine).ns == due.ns);
	later(w, 70);
	assert_int_equal(w->removed, 1);
	assert_false(mono_is_set(record_engine_next(w->engine)));
}

/* Nobody is woken for the end of a hold that nobody waits for, and who wants the record later is not kept waiting. */
static void test_hold_ends_unseen(void **state)
{
	struct world *w = *state;

	opened(w, 0, true);
	w->file[2] = (struct cell){.exists = true, .rsn = 5, .dmaster = ME, .len = 1};
	call(w, 0, 2);
	(void)record_engine_timers(w->engine, w->now);
	assert_int_equal(w->answered, 1);
	assert_true(mono_ms_between(w->now, record_engine_next(w->engine)) >= 20);
	w->now = mono_add_ms(w->now, 1);
	record_on_forward(w->db, 0, GEN, 2, key_of(2), w->now);
	assert_int_equal(w->grants, 1);
	call(w, 0, 2); /* it had its time: that is no client that missed the record */
	assert_int_equal(record_engine_stats(w->engine)->misses, 0);
}

static void test_hints_are_bounded(void **state)
{
	struct world *w = *state;

	opened(w, ME, true);
	w->busy = true;
	for (uint32_t k = 0; k < KEYS; k++) {
		own_empty(w, k, 1, 0);
	}
	assert_int_equal(record_engine_stats(w->engine)->hints, 3);
	for (int i = 0; i < 20; i++) { /* a chain that stays locked is given up */
		later(w, 200);
	}
	assert_false(mono_is_set(record_engine_next(w->engine)));
	assert_int_equal(w->removed, 0);
}

/* A lock that was taken and given back: the record is as empty as it was when it came, but need not be held any more.
 */
static void test_hint_ends_hold(void **state)
{
	struct world *w = *state;

	opened(w, 0, true);
	w->file[2] = (struct cell){.exists = true, .rsn = 5, .dmaster = ME};
	call(w, 0, 2);
	later(w, 0);
	assert_int_equal(w->answered, 1);
	record_on_forward(w->db, 0, GEN, 2, key_of(2), w->now);
	later(w, 0);
	assert_int_equal(w->grants, 0);
	record_deletion_hint(w->db, key_of(2), 5, w->now);
	later(w, 0);
	assert_int_equal(w->grants, 1);
	assert_int_equal(w->file[2].dmaster, 2);
}

/* ---- sticky records ---- */

#define PIN_MS 200

static void sticky(struct world *w)
{
	record_engine_set_sticky(w->engine,
				 &(struct record_sticky){.given = 2, .pin_ms = PIN_MS, .duration_ms = 60000});
	assert_int_equal(record_db_set_sticky(w->db), 0);
}

/* Node 0 is location master; node 2 wants it, gets it, and it comes back for a client here. */
static void there_and_back(struct world *w, uint64_t rsn)
{
	struct record_copy copy = {.exists = true, .rsn = rsn, .dmaster = 2};
	uint32_t grants = w->grants;

	record_on_forward(w->db, 0, GEN, 2, key_of(2), w->now);
	for (int i = 0; i < 100 && w->grants == grants; i++) {
		later(w, 1);
	}
	assert_int_equal(w->grants, grants + 1);
	call(w, 0, 2);
	later(w, 0);
	record_on_grant(w->db, 2, GEN, key_of(2), &copy, w->now);
	assert_int_equal(w->file[2].dmaster, ME);
}

static void make_sticky(struct world *w)
{
	opened(w, 0, true);
	sticky(w);
	w->file[2] = (struct cell){.exists = true, .rsn = 5, .dmaster = ME};
	for (uint64_t i = 0; i < 3; i++) {
		there_and_back(w, 10 + i);
	}
	assert_int_equal(record_db_stats(w->db)->became_sticky, 1);
	assert_int_equal(record_db_stats(w->db)->pins, 1);
}

/* P2, P3: it stays as long as it is used, but not longer than that; who waits gets it then. */
static void test_sticky_stays(void **state)
{
	struct world *w = *state;
	uint32_t grants, ms;

	make_sticky(w);
	grants = w->grants;
	record_on_forward(w->db, 0, GEN, 2, key_of(2), w->now);
	for (ms = 0; ms < 1000 && w->grants == grants; ms += 10) {
		w->busy = ms / 20 % 2 == 0; /* somebody has it */
		later(w, 10);
		w->busy = false;
	}
	assert_in_range(ms, PIN_MS - 20, PIN_MS + 40);
	assert_int_equal(w->grants, grants + 1);
	assert_int_equal(w->inconsistent, 0);
}

/* P3: seen in use by what is written, too; unused it goes. */
static void test_sticky_unused_goes(void **state)
{
	struct world *w = *state;
	uint32_t grants, ms;

	make_sticky(w);
	grants = w->grants;
	record_on_forward(w->db, 0, GEN, 2, key_of(2), w->now);
	for (ms = 0; ms < 1000 && w->grants == grants; ms += 5) {
		if (ms <= 60) {
			w->file[2].data[0]++;
			w->file[2].len = 1;
		}
		later(w, 5);
	}
	assert_in_range(ms, 100, 140);
}

/* P1: not below the number; not for ever. Tunables count at once. */
static void test_sticky_begins_and_ends(void **state)
{
	struct world *w = *state;

	opened(w, 0, true);
	sticky(w);
	w->file[2] = (struct cell){.exists = true, .rsn = 5, .dmaster = ME};
	for (uint64_t i = 0; i < 6; i++) { /* two in a second */
		there_and_back(w, 10 + i);
		later(w, 600);
	}
	assert_int_equal(record_db_stats(w->db)->pins, 0);
	for (uint64_t i = 0; i < 6; i++) {
		there_and_back(w, 20 + i);
	}
	assert_true(record_db_stats(w->db)->pins > 0);
	later(w, 100000);
	record_db_reset_stats(w->db);
	there_and_back(w, 30);
	assert_int_equal(record_db_stats(w->db)->pins, 0);
	record_engine_set_sticky(w->engine, &(struct record_sticky){.given = 0, .pin_ms = PIN_MS, .duration_ms = 1});
	for (uint64_t i = 0; i < 6; i++) {
		there_and_back(w, 40 + i);
	}
	assert_int_equal(record_db_stats(w->db)->pins, 0);
}

/* P4; and nothing is left of a pin when nobody wants the record. */
static void test_sticky_and_recovery(void **state)
{
	struct world *w = *state;
	uint32_t grants;

	make_sticky(w);
	grants = w->grants;
	record_on_forward(w->db, 0, GEN, 2, key_of(2), w->now);
	later(w, 1);
	assert_int_equal(w->grants, grants);
	opened(w, 0, true);
	later(w, 0);
	record_on_forward(w->db, 0, GEN, 2, key_of(2), w->now);
	assert_int_equal(w->grants, grants + 1);
}

static void test_sticky_comes_to_rest(void **state)
{
	struct world *w = *state;

	make_sticky(w);
	for (int i = 0; i < 30; i++) {
		later(w, 10);
	}
	assert_false(mono_is_set(record_engine_next(w->engine)));
	record_on_forward(w->db, 0, GEN, 2, key_of(2), w->now);
	later(w, 0);
	assert_int_equal(w->file[2].dmaster, 2);
}

/* ---- what is counted ---- */

static void test_counts(void **state)
{
	struct world *w = *state;
	const struct record_db_stats *s = record_db_stats(w->db);
	struct record_copy copy = {.exists = true, .rsn = 3, .dmaster = 2};

	opened(w, 0, true);
	w->file[2] = (struct cell){.exists = true, .rsn = 5, .dmaster = ME};
	record_on_forward(w->db, 0, GEN, 2, key_of(2), w->now);
	w->file[3] = (struct cell){.exists = true, .rsn = 5, .dmaster = ME};
	record_on_forward(w->db, 0, GEN, 0, key_of(3), w->now);
	assert_true(s->hops[0] == 1 && s->hops[1] == 1 && s->locks == 0);
	w->busy = true;
	call(w, 0, 4);
	later(w, 0);
	assert_int_equal(s->locks_waiting, 1);
	later(w, 20);
	assert_int_equal(s->locks, 0);
	w->busy = false;
	later(w, 5);
	assert_true(s->locks == 1 && s->locks_waiting == 0 && s->lock_buckets[2] == 1 && s->lock_us_min == 25000 &&
		    s->lock_us_max == 25000 && s->lock_us == 25000);
	record_on_grant(w->db, 2, GEN, key_of(4), &copy, w->now);
	assert_int_equal(s->locks, 1);
	/* One that is not waited for any more does not count for ever. */
	w->busy = true;
	call(w, 1, 5);
	later(w, 0);
	assert_int_equal(s->locks_waiting, 1);
	record_call_cancel(w->calls[1]);
	w->calls[1] = NULL;
	later(w, 10);
	assert_true(s->locks == 1 && s->locks_waiting == 0);
	call(w, 1, 5);
	later(w, 0);
	assert_int_equal(s->locks_waiting, 1);
	record_db_reset_stats(w->db);
	assert_true(s->locks == 0 && s->hops[0] == 0 && s->locks_waiting == 1);
	record_db_close(w->db);
	assert_int_equal(s->locks_waiting, 0);
}

static void test_hot_key_is_told(void **state)
{
	struct world *w = *state;
	uint64_t n;

	opened(w, 0, true);
	w->file[2] = (struct cell){.exists = true, .rsn = 5, .dmaster = ME};
	for (n = 0; n < 100 && w->hot == 0; n++) {
		there_and_back(w, 10 + n);
	}
	assert_int_equal(w->hot, n);
	assert_int_equal(n, 32);
}

/* ---- nonsense ---- */

static uint64_t rnd_state;

static uint32_t rnd(uint32_t n)
{
	rnd_state ^= rnd_state << 13;
	rnd_state ^= rnd_state >> 7;
	rnd_state ^= rnd_state << 17;
	return (uint32_t)(rnd_state % n);
}

static uint32_t node(void)
{
	static const uint32_t nodes[] = {0, 2, 2, 0, 255, 256, 70000, ME, RECORD_NODE_NONE};

	return nodes[rnd(sizeof(nodes) / sizeof(nodes[0]))];
}

static void packet(struct world *w)
{
	uint8_t data[8] = {1};
	struct record_copy copy = {
		.exists = true, .rsn = rnd(5), .dmaster = node(), .flags = rnd(4) << 16, .data = data, .len = rnd(9)};
	uint32_t from = rnd(3) * 2 % 3, generation = rnd(9) == 0 ? 1 + rnd(100) : GEN;

	copy.rsn = rnd(20) == 0 ? UINT64_MAX : copy.rsn;
	switch (rnd(5)) {
	case 3:
	case 4:
		record_on_readonly(w->db, from == ME ? 2 : from, generation, (enum record_ro)rnd(6), node(),
				   key_of(rnd(KEYS)), &copy, w->now);
		break;
	case 0:
		record_on_call(w->db, from == ME ? 2 : from, generation, key_of(rnd(KEYS)), w->now);
		break;
	case 1:
		record_on_forward(w->db, from, generation, node(), key_of(rnd(KEYS)), w->now);
		break;
	default:
		record_on_grant(w->db, from, generation, key_of(rnd(KEYS)), &copy, w->now);
		break;
	}
}

static void client(struct world *w)
{
	int i = (int)rnd(CALLS);

	if (w->calls[i] == NULL) {
		call(w, i, rnd(KEYS));
	} else if (rnd(3) == 0) {
		record_call_cancel(w->calls[i]);
		w->calls[i] = NULL;
	}
}

static void change(struct world *w)
{
	switch (rnd(6)) {
	case 0:
		record_db_close(w->db);
		break;
	case 1:
		opened(w, rnd(3), rnd(4) != 0);
		break;
	case 2:
		w->busy = !w->busy;
		break;
	case 3:
		w->broken = rnd(3) == 0 ? EIO : 0;
		break;
	default:
		record_deletion_hint(w->db, key_of(rnd(KEYS)), rnd(3), w->now);
		break;
	}
}

/* Whatever comes: nobody is answered twice, no call is forgotten, no lock is kept, and the engine comes to rest. */
static void test_nonsense(void **state)
{
	struct world *w = *state;

	record_db_set_readonly(w->db);
	assert_int_equal(record_db_set_sticky(w->db), 0);
	record_engine_set_sticky(w->engine, &(struct record_sticky){.given = 1, .pin_ms = 5, .duration_ms = 1000});
	for (uint32_t i = 0; i < 200000; i++) {
		rnd_state = rnd_state == 0 ? 88172645463325252ULL : rnd_state;
		if (rnd(20) == 0) {
			change(w);
		} else if (rnd(3) == 0) {
			client(w);
		} else {
			packet(w);
		}
		if (rnd(3) == 0) {
			later(w, rnd(8) == 0 ? 300 : 1);
		}
		assert_int_equal(w->locks, 0);
		assert_true(record_db_pending(w->db) <= CALLS);
		assert_true(record_db_readonly(w->db) <= KEYS);
		assert_true(talloc_total_blocks(w->db) < 200); /* six keys, however much comes */
	}
	for (int i = 0; i < 6; i++) {
		assert_true(w->readonly[i] > 10);
	}
	assert_true(w->grants > 100 && w->answered > 100 && w->inconsistent > 100);
	w->busy = false;
	w->broken = 0;
	record_db_close(w->db);
	assert_int_equal(record_db_strip(w->db), 0);
	opened(w, ME, true);
	for (uint32_t k = 0; k < KEYS; k++) { /* as after a recovery that gave us everything */
		w->file[k] = (struct cell){.exists = true, .rsn = 9, .dmaster = ME};
	}
	for (int i = 0; i < 200; i++) {
		later(w, 10);
	}
	assert_int_equal(record_db_pending(w->db), 0);
	assert_false(mono_is_set(record_engine_next(w->engine)));
}

/* Packets about records that nobody knows, each another one: they are refused or answered, and nothing of them is kept.
 */
static void unknown_key(struct world *w, uint32_t i, uint8_t *bytes)
{
	struct record_key key = {bytes, i % 100 == 0 ? 65536 : 2 + i % 60};
	struct record_copy copy = {.exists = true, .rsn = i, .dmaster = 2, .data = bytes, .len = i % 9};

	memcpy(bytes, &i, sizeof(i));
	for (enum record_ro what = RECORD_RO_CALL; what <= RECORD_RO_RETRY; what++) {
		record_on_readonly(w->db, 2, GEN, what, i, key, &copy, w->now); /* 2 is no location master */
		record_on_readonly(w->db, 0, GEN + 1, what, 2, key, &copy, w->now);
		if (what != RECORD_RO_CALL) {
			record_on_readonly(w->db, 0, GEN, what, i % 300, key, &copy, w->now);
			record_on_readonly(w->db, 0, GEN, what, i % 300, key, &copy, w->now);
		}
	}
	record_on_call(w->db, 2, GEN, key, w->now);
	record_on_forward(w->db, 0, GEN, 2, key, w->now);
	record_on_forward(w->db, 2, GEN, 2, key, w->now);
	record_on_grant(w->db, 2, GEN, key, &copy, w->now);
}

static void test_unknown_keys(void **state)
{
	static uint8_t bytes[65536];
	struct world *w = *state;
	size_t before;

	record_db_set_readonly(w->db);
	opened(w, 0, true);
	before = talloc_total_size(w->db);
	for (uint32_t i = 1; i <= 3000; i++) {
		unknown_key(w, i, bytes);
		assert_int_equal(talloc_total_size(w->db), before);
	}
	later(w, 100);
	assert_false(mono_is_set(record_engine_next(w->engine)));
	assert_true(w->grants == 0 && w->forwards == 0 && w->inconsistent >= 3000);
	/* Who asks about a record that is not here is told to ask for it; who calls back what is not here is told that
	 * it is gone. */
	assert_true(w->readonly[RECORD_RO_RETRY] > 0 && w->readonly[RECORD_RO_REVOKED] > 0);
	assert_true(w->readonly[RECORD_RO_COPY] == 0 && w->readonly[RECORD_RO_REVOKE] == 0);
}

/* A location master lends records that it makes for readers, up to its bound (D7). */
static void test_lending_is_bounded(void **state)
{
	struct world *w = *state;

	record_db_set_readonly(w->db);
	opened(w, ME, true);
	for (uint32_t k = 0; k < KEYS; k++) {
		record_on_readonly(w->db, 2, GEN, RECORD_RO_CALL, RECORD_NODE_NONE, key_of(k), NULL, w->now);
	}
	assert_int_equal(record_db_readonly(w->db), 4);
	assert_int_equal(w->readonly[RECORD_RO_COPY], 4);
	assert_int_equal(w->readonly[RECORD_RO_RETRY], KEYS - 4);
}

/* Doubled, out of order, from the wrong node: the copy goes once, the writer waits for who has a copy and nobody else.
 */
static void test_answers_of_holders(void **state)
{
	struct world *w = *state;

	record_db_set_readonly(w->db);
	opened(w, ME, true);
	record_on_readonly(w->db, 2, GEN, RECORD_RO_REVOKED, 0, key_of(0), NULL, w->now); /* of nothing */
	assert_int_equal(w->inconsistent, 1);
	record_on_readonly(w->db, 2, GEN, RECORD_RO_CALL, RECORD_NODE_NONE, key_of(0), NULL, w->now);
	record_on_readonly(w->db, 2, GEN, RECORD_RO_REVOKED, 0, key_of(0), NULL, w->now); /* not asked to */
	assert_int_equal(w->inconsistent, 2);
	call(w, 0, 0);
	later(w, 0);
	assert_true(w->readonly[RECORD_RO_REVOKE] == 1 && w->answered == 0);
	record_on_readonly(w->db, 0, GEN, RECORD_RO_REVOKED, 0, key_of(0), NULL, w->now);   /* has none */
	record_on_readonly(w->db, 300, GEN, RECORD_RO_REVOKED, 0, key_of(0), NULL, w->now); /* is none */
	record_on_readonly(w->db, 2, GEN + 1, RECORD_RO_REVOKED, 0, key_of(0), NULL, w->now);
	assert_int_equal(w->inconsistent, 4);
	assert_true((w->file[0].flags & RECORD_FLAG_HAVE_DELEGATIONS) != 0);
	record_on_readonly(w->db, 2, GEN, RECORD_RO_REVOKED, 0, key_of(0), NULL, w->now);
	assert_true(w->inconsistent == 4 && w->answered == 1);
	assert_false((w->file[0].flags & RECORD_FLAG_HAVE_DELEGATIONS) != 0);
	record_on_readonly(w->db, 2, GEN, RECORD_RO_REVOKED, 0, key_of(0), NULL, w->now);
	assert_int_equal(w->inconsistent, 5);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_second_call_of_a_node),
		TEST(test_forward_to_the_owner_itself),
		TEST(test_hint_removes),
		TEST(test_hint_spares_what_was_elsewhere),
		TEST(test_hint_before_commit),
		TEST(test_hints_are_bounded),
		TEST(test_hint_of_a_key_is_one),
		TEST(test_hold_ends_unseen),
		TEST(test_hint_ends_hold),
		TEST(test_nonsense),
		TEST(test_unknown_keys),
		TEST(test_lending_is_bounded),
		TEST(test_answers_of_holders),
		TEST(test_sticky_stays),
		TEST(test_sticky_unused_goes),
		TEST(test_sticky_begins_and_ends),
		TEST(test_sticky_and_recovery),
		TEST(test_sticky_comes_to_rest),
		TEST(test_counts),
		TEST(test_hot_key_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
