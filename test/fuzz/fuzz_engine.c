/* A record engine on files in memory. After each packet: no lock is held, what is told to others is in the file. */
#include "fuzz_engine.h"

#include <errno.h>

#include "base/bytes.h"

#define ME       0U
#define GEN      7U
#define FILE_MAX 48 /* records; a file that is full can't be written */
#define CLIENTS  16
#define MAX_DATA 24 /* more can't be sent */

struct cell {
	uint8_t *key, *data;
	size_t keylen, len;
	struct record_copy copy; /* without data */
};

struct client {
	struct record_call *call;
	bool asked;
};

struct fuzz_engine {
	struct record_engine *engine;
	struct record_db *db;
	struct mono now;
	struct cell file[FILE_MAX];
	int n, locks;
	bool busy;
	struct client clients[CLIENTS];
	uint32_t next;
};

/* ---- its file ---- */

static struct cell *find(struct fuzz_engine *e, struct record_key key)
{
	for (int i = 0; i < e->n; i++) {
		if (e->file[i].keylen == key.len && bytes_same(e->file[i].key, key.p, key.len)) {
			return &e->file[i];
		}
	}
	return NULL;
}

static int op_trylock(void *priv, struct record_key key)
{
	struct fuzz_engine *e = priv;

	(void)key;
	if (e->busy) {
		return EAGAIN;
	}
	MUST(e->locks++ == 0);
	return 0;
}

static void op_unlock(void *priv, struct record_key key)
{
	(void)key;
	MUST(--((struct fuzz_engine *)priv)->locks == 0);
}

static int op_read(void *priv, struct record_key key, struct record_copy *copy)
{
	const struct cell *c = find(priv, key);

	*copy = (struct record_copy){.exists = false};
	if (c != NULL && c->copy.exists) {
		*copy = c->copy;
		copy->len = c->len;
		copy->data = c->len > 0 ? c->data : NULL;
	}
	return 0;
}

static int op_write(void *priv, struct record_key key, const struct record_copy *copy)
{
	struct fuzz_engine *e = priv;
	struct cell *c = find(e, key);
	uint8_t *data;

	MUST(e->locks == 1);
	if (c == NULL && e->n == FILE_MAX) {
		return ENOSPC;
	}
	if (c == NULL) {
		c = &e->file[e->n++];
		*c = (struct cell){.key = bytes_dup(e, key.p, key.len), .keylen = key.len};
		MUST(c->key != NULL);
	}
	data = bytes_dup(e, copy->data, copy->len);
	MUST(data != NULL);
	talloc_free(c->data);
	c->data = data;
	c->len = copy->len;
	c->copy = *copy;
	c->copy.exists = true;
	return 0;
}

static int op_remove(void *priv, struct record_key key)
{
	struct cell *c = find(priv, key);

	if (c != NULL) {
		MUST((c->copy.flags & RECORD_FLAGS_READONLY) == 0); /* B5 */
		c->copy.exists = false;
	}
	return 0;
}

/* ---- what it sends ---- */

static void op_send_call(void *priv, uint32_t node, uint32_t generation, struct record_key key)
{
	(void)priv;
	(void)key;
	MUST(node != ME && generation == GEN);
}

static void op_send_forward(void *priv, uint32_t node, uint32_t generation, uint32_t requester, struct record_key key)
{
	(void)requester;
	op_send_call(priv, node, generation, key);
}

static void op_send_grant(void *priv, uint32_t node, uint32_t generation, struct record_key key,
			  const struct record_copy *copy)
{
	const struct cell *c = find(priv, key);

	op_send_call(priv, node, generation, key);
	MUST(copy->len <= MAX_DATA);
	MUST(c != NULL && c->copy.dmaster != ME); /* R1 */
	MUST((c->copy.flags & RECORD_FLAGS_READONLY) == 0);
}

static void op_send_readonly(void *priv, uint32_t node, uint32_t generation, enum record_ro what, uint32_t requester,
			     struct record_key key, const struct record_copy *copy)
{
	const struct cell *c = find(priv, key);

	(void)requester;
	op_send_call(priv, node, generation, key);
	if (what == RECORD_TOO_LARGE) {
		MUST(copy == NULL || (copy->len > MAX_DATA && c != NULL && c->copy.dmaster == ME));
		return;
	}
	MUST((copy != NULL) == (what == RECORD_RO_COPY || what == RECORD_RO_REVOKE));
	if (copy != NULL) {
		MUST(c != NULL && c->copy.dmaster == ME && (c->copy.flags & RECORD_FLAG_HAVE_DELEGATIONS) != 0);
		MUST(copy->len <= MAX_DATA);
	} else if (what == RECORD_RO_REVOKED) {
		MUST(c == NULL || (c->copy.flags & RECORD_FLAG_HAVE_READONLY) == 0);
	}
}

static void op_answer(void *priv, int status, const struct record_copy *copy)
{
	struct client *c = priv;

	MUST(c->asked && (status == 0) == (copy != NULL));
	MUST(copy == NULL || copy->dmaster == ME || (copy->flags & RECORD_FLAG_HAVE_READONLY) != 0);
	*c = (struct client){.asked = false};
}

static void op_inconsistent(void *priv, uint32_t generation, struct record_key key, const char *what)
{
	(void)priv;
	(void)generation;
	(void)key;
	MUST(what != NULL);
}

static void op_hot(void *priv, struct record_key key, uint32_t count)
{
	(void)priv;
	(void)key;
	MUST(count > 0);
}

/* ---- packets ---- */

static void run(struct fuzz_engine *e, uint32_t ms)
{
	e->now = mono_add_ms(e->now, ms);
	(void)record_engine_timers(e->engine, e->now);
	MUST(e->locks == 0);
}

static void client(struct fuzz_engine *e, struct record_key key, bool readonly, bool use)
{
	struct client *c = &e->clients[e->next++ % CLIENTS];

	if (c->call != NULL) {
		record_call_cancel(c->call);
	}
	c->asked = true;
	c->call = (readonly ? record_call_new_readonly : record_call_new)(e->db, key, e->next, use, c, e->now);
	MUST(c->call != NULL);
}

/* Most packets are of the right generation; its other bits say what happens beside. */
static uint32_t before(struct fuzz_engine *e, uint32_t generation, struct record_key key)
{
	if ((generation & 0x10) != 0) {
		client(e, key, (generation & 0x20) != 0, (generation & 0x40) != 0);
		run(e, 0);
	}
	e->busy = (generation & 0x180) == 0x180;
	return (generation & 0xe00) == 0xe00 ? generation : GEN;
}

static void after(struct fuzz_engine *e, uint32_t generation)
{
	MUST(e->locks == 0);
	run(e, generation >> 12 & 0x3f);
}

struct fuzz_engine *fuzz_engine_new(uint8_t how)
{
	static const struct record_ops ops = {op_trylock, op_unlock,       op_read,          op_write,
					      op_remove,  op_send_call,    op_send_forward,  op_send_grant,
					      op_answer,  op_inconsistent, op_send_readonly, op_hot};
	const struct record_config config = {.own_pnn = ME,
					     .hold_min_us = 500,
					     .hold_max_us = 20000,
					     .retry_min_us = 30,
					     .retry_max_us = 5000,
					     .max_hints = 10,
					     .max_readonly = 8,
					     .max_data = MAX_DATA};
	const uint32_t slots[] = {ME, (how & 0x10) != 0 ? ME : 1, (how & 0x20) != 0 ? ME : 2, 1};
	struct fuzz_engine *e = talloc_zero(NULL, struct fuzz_engine);

	MUST(e != NULL);
	e->now = (struct mono){MONO_NS_PER_S};
	e->engine = record_engine_new(e, &config, &ops, e);
	MUST(e->engine != NULL);
	e->db = record_db_new(e->engine, e);
	MUST(e->db != NULL && record_db_open(e->db, GEN, slots, 4) == 0);
	if ((how & 0x40) != 0) {
		record_db_set_readonly(e->db);
	}
	if ((how & 0x80) != 0) {
		record_engine_set_sticky(e->engine,
					 &(struct record_sticky){.given = 1, .pin_ms = 20, .duration_ms = 1000});
		MUST(record_db_set_sticky(e->db) == 0);
	}
	record_db_serve(e->db, e->now);
	return e;
}

static enum record_ro ro_of(enum lane_proc proc)
{
	switch ((int)proc) {
	case LANE_PROC_RO_CALL:
		return RECORD_RO_CALL;
	case LANE_PROC_RO_FORWARD:
		return RECORD_RO_FORWARD;
	case LANE_PROC_RO_COPY:
		return RECORD_RO_COPY;
	case LANE_PROC_RO_REVOKE:
		return RECORD_RO_REVOKE;
	case LANE_PROC_RO_REVOKED:
		return RECORD_RO_REVOKED;
	case LANE_PROC_TOO_LARGE:
		return RECORD_TOO_LARGE;
	default:
		return RECORD_RO_RETRY;
	}
}

void fuzz_engine_call(struct fuzz_engine *e, uint32_t from, enum lane_proc proc, const struct lane_call *m)
{
	struct record_key key = {m->key.data, m->key.len};
	uint32_t generation = before(e, m->generation, key);

	if (proc == LANE_PROC_CALL) {
		record_on_call(e->db, from, generation, key, e->now);
	} else if (proc == LANE_PROC_FORWARD) {
		record_on_forward(e->db, from, generation, m->requester, key, e->now);
	} else {
		record_on_readonly(e->db, from, generation, ro_of(proc), m->requester, key, NULL, e->now);
	}
	after(e, m->generation);
}

void fuzz_engine_copy(struct fuzz_engine *e, uint32_t from, enum lane_proc proc, const struct lane_grant *m)
{
	struct record_key key = {m->key.data, m->key.len};
	uint32_t generation = before(e, m->generation, key);
	struct record_copy copy = {
		.exists = true, .rsn = m->rsn, .flags = m->flags, .data = m->data.data, .len = m->data.len};

	if (proc == LANE_PROC_GRANT) {
		record_on_grant(e->db, from, generation, key, &copy, e->now);
	} else {
		record_on_readonly(e->db, from, generation, ro_of(proc), RECORD_NODE_NONE, key, &copy, e->now);
	}
	if ((m->generation & 0x40000) != 0) {
		record_deletion_hint(e->db, key, m->rsn, e->now);
	}
	after(e, m->generation);
}

void fuzz_engine_end(struct fuzz_engine *e)
{
	e->busy = false;
	for (int i = 0; i < 40; i++) {
		run(e, 200);
	}
	MUST(!mono_is_set(record_engine_next(e->engine)));
	record_db_close(e->db);
	MUST(record_db_strip(e->db) == 0);
	for (int i = 0; i < e->n; i++) {
		MUST(!e->file[i].copy.exists || (e->file[i].copy.flags & RECORD_FLAG_HAVE_READONLY) == 0);
	}
	record_db_free(e->db); /* answers who waits */
	for (int i = 0; i < CLIENTS; i++) {
		MUST(!e->clients[i].asked && e->clients[i].call == NULL);
	}
	talloc_free(e);
}
