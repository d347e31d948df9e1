/* The world of the tests of the record engine. */
#include "test_record_world.h"

#include <errno.h>
#include <string.h>

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
	assert_true(copy->len < TOO_MUCH);
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
	assert_int_equal(copy != NULL, what == RECORD_RO_COPY || what == RECORD_RO_REVOKE ||
					       (what == RECORD_TOO_LARGE && c->dmaster == ME));
	assert_true(what != RECORD_RO_COPY || copy->len < TOO_MUCH);
	if (what == RECORD_TOO_LARGE) {
		assert_true(copy == NULL || (c->len == TOO_MUCH && copy->len == TOO_MUCH));
	} else if (copy != NULL && key.len == 1) {
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
	a->w->status = status;
}

static const struct record_ops ops = {w_lock,    w_unlock, w_read,   w_write,        w_remove,   w_call,
				      w_forward, w_grant,  w_answer, w_inconsistent, w_readonly, w_hot};

int record_world_setup(void **state)
{
	static const struct record_config config = {.own_pnn = ME,
						    .hold_min_us = 500,
						    .hold_max_us = 20000,
						    .retry_min_us = 200,
						    .retry_max_us = 5000,
						    .max_hints = 3,
						    .max_readonly = 4,
						    .max_data = TOO_MUCH - 1};
	struct world *w = talloc_zero(NULL, struct world);

	w->now = (struct mono){1000000000};
	w->engine = record_engine_new(w, &config, &ops, w);
	w->db = record_db_new(w->engine, w);
	*state = w;
	return 0;
}

int record_world_teardown(void **state)
{
	talloc_free(*state);
	return 0;
}

struct record_key key_of(uint32_t i)
{
	static const uint8_t bytes[] = {0, 1, 2, 3, 4, 5};

	return (struct record_key){&bytes[i % KEYS], 1};
}

void opened(struct world *w, uint32_t lmaster, bool serve)
{
	assert_int_equal(record_db_open(w->db, GEN, &lmaster, 1), 0);
	if (serve) {
		record_db_serve(w->db, w->now);
	}
}

void call_key(struct world *w, int i, struct record_key key)
{
	struct waiter *a = talloc(w, struct waiter);

	*a = (struct waiter){w, i};
	assert_null(w->calls[i]);
	w->calls[i] = (i % 4 < 2 ? record_call_new : record_call_new_readonly)(w->db, key, (uint64_t)i + 1, i % 2 == 0,
									       a, w->now);
	assert_non_null(w->calls[i]);
}

void call(struct world *w, int i, uint32_t key)
{
	call_key(w, i, key_of(key));
}

void later(struct world *w, int64_t ms)
{
	w->now = mono_add_ms(w->now, (uint64_t)ms);
	(void)record_engine_timers(w->engine, w->now);
}
