/* Two sessions in one world: what is between them is in the hands of the test. For test_session.c. */
#ifndef TUNNELD_TEST_SESSION_UTIL_H
#define TUNNELD_TEST_SESSION_UTIL_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/dlist.h"
#include "session.h"

#define HEARTBEAT 100U
#define DEAD      1000U
#define STALL     3000U
#define QUEUE     (4U << 20)

struct flying {
	struct dlist entry;
	bool by_tunnel;
	uint32_t len;
	uint8_t data[];
};

/* One end. */
struct end {
	struct world *w;
	struct session *s;
	uint32_t pnn;
	bool tunnel;
	bool up;
	int ups, downs, reason;
	uint64_t peer_incarnation;
	struct dlist sent; /* not arrived yet */
	unsigned n_sent;
	size_t data_in_flight, data_most;
	int by_message, by_tunnel;
	/* what was delivered */
	uint64_t delivered, bytes;
	uint64_t next[2]; /* number that the next packet of a class must have */
	char complaint[160];
};

struct world {
	struct mono now;
	uint64_t random;
	struct end end[2];
	bool hold_acks;
};

static struct mono at(struct world *w)
{
	return w->now;
}

/* ---- packets for tests: class, number, then bytes that depend on both ---- */

static void fill(uint8_t *data, size_t len, uint32_t class, uint64_t number)
{
	memcpy(data, &class, 4);
	memcpy(data + 4, &number, 8);
	for (size_t i = 12; i < len; i++) {
		data[i] = (uint8_t)(i * 7 + number * 13 + class);
	}
}

static int post(struct end *e, uint32_t class, uint64_t number, size_t len)
{
	uint8_t *data = talloc_size(NULL, len);
	struct iovec parts[2];
	int ret;

	fill(data, len, class, number);
	parts[0] = (struct iovec){data, 12};
	parts[1] = (struct iovec){data + 12, len - 12};
	ret = session_send(e->s, at(e->w), class, parts, 2);
	talloc_free(data);
	return ret;
}

/* ---- what a session wants ---- */

static struct end *end_of(void *priv, uint32_t peer)
{
	struct world *w = priv;

	assert_true(peer < 2);
	return &w->end[1 - peer];
}

static void on_emit(void *priv, uint32_t pnn, bool by_tunnel, const uint8_t *data, size_t len)
{
	struct end *e = end_of(priv, pnn);
	struct flying *f = talloc_size(e->w, sizeof(*f) + len);

	*f = (struct flying){.len = (uint32_t)len, .by_tunnel = by_tunnel};
	memcpy(f->data, data, len);
	dlist_add_tail(&e->sent, &f->entry);
	e->n_sent++;
	e->by_tunnel += by_tunnel ? 1 : 0;
	e->by_message += by_tunnel ? 0 : 1;
	if (session_in_flight(e->s) > e->data_most) {
		e->data_most = session_in_flight(e->s);
	}
}

static void on_deliver(void *priv, uint32_t pnn, const uint8_t *data, size_t len)
{
	struct end *e = end_of(priv, pnn);
	uint8_t *expected = talloc_size(NULL, len);
	uint32_t class;
	uint64_t number;

	assert_true(e->up);
	assert_true(len >= 12);
	memcpy(&class, data, 4);
	memcpy(&number, data + 4, 8);
	assert_true(class < 2);
	assert_int_equal(number, e->next[class]); /* in order, none missing, none twice */
	e->next[class]++;
	fill(expected, len, class, number);
	assert_memory_equal(expected, data, len);
	talloc_free(expected);
	e->delivered++;
	e->bytes += len;
}

static void on_up(void *priv, uint32_t pnn, uint64_t incarnation)
{
	struct end *e = end_of(priv, pnn);

	assert_false(e->up);
	e->up = true;
	e->ups++;
	e->peer_incarnation = incarnation;
	e->next[0] = e->next[1] = 0;
}

static void on_down(void *priv, uint32_t pnn, int reason)
{
	struct end *e = end_of(priv, pnn);

	assert_true(e->up);
	assert_int_not_equal(reason, 0);
	e->up = false;
	e->downs++;
	e->reason = reason;
}

static void on_complain(void *priv, uint32_t pnn, const char *text)
{
	struct end *e = end_of(priv, pnn);

	snprintf(e->complaint, sizeof(e->complaint), "%s", text);
}

static uint64_t on_random(void *priv)
{
	struct world *w = priv;

	w->random = w->random * 6364136223846793005ULL + 1442695040888963407ULL;
	return w->random;
}

static const struct session_ops ops = {
	.emit = on_emit,
	.deliver = on_deliver,
	.up = on_up,
	.down = on_down,
	.complain = on_complain,
	.random = on_random,
};

/* ---- the world ---- */

static void end_start(struct world *w, uint32_t i, uint32_t version, uint32_t oldest)
{
	struct end *e = &w->end[i];
	const struct session_config config = {
		.own = i,
		.peer = 1 - i,
		.incarnation = on_random(w),
		.interface_version = version,
		.interface_oldest = oldest,
		.heartbeat_ms = HEARTBEAT,
		.dead_ms = DEAD,
		.stall_ms = STALL,
		.hello_ms = 50,
		.queue_bytes = QUEUE,
	};

	e->w = w;
	e->pnn = i;
	e->s = session_new(w, &config, &ops, w);
	assert_non_null(e->s);
}

static struct world *world_new(void)
{
	struct world *w = talloc_zero(NULL, struct world);

	w->now = mono_add_ms(MONO_NEVER, 1000000);
	w->random = 42;
	for (uint32_t i = 0; i < 2; i++) {
		dlist_init(&w->end[i].sent);
		w->end[i].tunnel = true;
		end_start(w, i, 2, 1);
	}
	return w;
}

static void arrive(struct end *to, const uint8_t *data, size_t len)
{
	struct tunnel_packet p;

	assert_int_equal(tunnel_packet_view(data, len, &p), 0);
	if (p.from_pnn == 1 - to->pnn && p.to_pnn == to->pnn) {
		session_receive(to->s, at(to->w), &p);
	}
}

static struct flying *next_flying(struct end *from)
{
	struct dlist *d = dlist_first(&from->sent);

	if (d == NULL) {
		return NULL;
	}
	dlist_remove(d);
	return dlist_entry(d, struct flying, entry);
}

static bool carry_one(struct end *from)
{
	struct flying *f = next_flying(from);

	if (f == NULL) {
		return false;
	}
	arrive(&from->w->end[1 - from->pnn], f->data, f->len);
	talloc_free(f);
	return true;
}

static void lose(struct end *from)
{
	struct flying *f;

	while ((f = next_flying(from)) != NULL) {
		talloc_free(f);
	}
}

/* Until nothing is on its way. */
static void carry(struct world *w)
{
	bool more;

	do {
		more = carry_one(&w->end[0]);
		more |= carry_one(&w->end[1]);
		if (!more) {
			session_flush(w->end[0].s);
			session_flush(w->end[1].s);
			more = !dlist_empty(&w->end[0].sent) || !dlist_empty(&w->end[1].sent);
		}
	} while (more);
}

static void tick(struct world *w, uint32_t ms)
{
	w->now = mono_add_ms(w->now, ms);
	session_tick(w->end[0].s, w->now, false);
	session_tick(w->end[1].s, w->now, false);
}

static void attach(struct world *w, uint32_t i)
{
	session_attached(w->end[i].s, w->now, w->end[i].tunnel);
}

static void pass(struct world *w, uint32_t ms)
{
	for (uint32_t i = 0; i < ms; i += 50) {
		tick(w, 50);
		carry(w);
	}
}

static struct world *world_up(void)
{
	struct world *w = world_new();

	attach(w, 0);
	attach(w, 1);
	pass(w, 200);
	assert_true(w->end[0].up && w->end[1].up);
	return w;
}

/* A forged or late packet. */
static void inject(struct end *to, enum tunnel_kind kind, uint64_t from, uint64_t session, struct ctdb_blob body)
{
	struct tunnel_packet p = {
		.magic = TUNNEL_MAGIC,
		.version = TUNNEL_VERSION,
		.kind = kind,
		.from_pnn = 1 - to->pnn,
		.to_pnn = to->pnn,
		.from_session = from,
		.to_session = session,
		.body = body,
	};

	session_receive(to->s, at(to->w), &p);
}

#endif
