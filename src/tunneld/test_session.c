/* Tests of sessions: two of them with a medium between that loses, repeats and forges. Pure: the clock is a number. */
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

/* ---- tests ---- */

static void test_up(void **state)
{
	struct world *w = world_up();

	assert_int_equal(w->end[0].ups, 1);
	assert_int_equal(w->end[1].ups, 1);
	assert_int_equal(session_peer_version(w->end[0].s), 2);
	pass(w, 20000);
	assert_int_equal(w->end[0].ups, 1);
	assert_int_equal(w->end[0].downs + w->end[1].downs, 0);
	assert_true(session_stats(w->end[0].s)->rtt_us < 1000);
	talloc_free(w);
}

/* The one that comes late finds the other one, whatever was said before. */
static void test_late_start(void **state)
{
	struct world *w = world_new();

	attach(w, 0);
	for (int i = 0; i < 100; i++) {
		tick(w, 50);
		lose(&w->end[0]);
	}
	assert_false(w->end[0].up);
	attach(w, 1);
	pass(w, SESSION_HELLO_MAX_MS);
	assert_true(w->end[0].up && w->end[1].up);
	talloc_free(w);
}

static void test_ways(void **state)
{
	for (int mask = 0; mask < 4; mask++) {
		struct world *w = world_new();
		int before;

		w->end[0].tunnel = (mask & 1) != 0;
		w->end[1].tunnel = (mask & 2) != 0;
		attach(w, 0);
		attach(w, 1);
		pass(w, 500);
		assert_true(w->end[0].up && w->end[1].up);
		before = w->end[0].by_message;
		assert_int_equal(post(&w->end[0], 0, 0, 1000), 0);
		pass(w, 1000);
		assert_int_equal(w->end[1].delivered, 1);
		if (mask == 3) {
			assert_int_equal(w->end[0].by_message, before);
		} else {
			assert_int_equal(w->end[0].by_tunnel, 0);
		}
		talloc_free(w);
	}
}

static void test_versions(void **state)
{
	struct world *w = world_new();

	talloc_free(w->end[1].s);
	end_start(w, 1, 1, 1);
	attach(w, 0);
	attach(w, 1);
	pass(w, 300);
	assert_int_equal(session_peer_version(w->end[0].s), 1);
	assert_int_equal(session_peer_version(w->end[1].s), 1);
	talloc_free(w);

	w = world_new();
	talloc_free(w->end[1].s);
	end_start(w, 1, 4, 3);
	attach(w, 0);
	attach(w, 1);
	pass(w, 3000);
	assert_false(w->end[0].up || w->end[1].up);
	assert_non_null(strstr(w->end[0].complaint, "versions 3 to 4"));
	talloc_free(w);
}

static void test_sizes(void **state)
{
	static const size_t sizes[] = {12,     13,     1000,   65535,          65536,    65537,
				       131072, 262144, 262145, (1U << 20) + 1, 3U << 20, SESSION_PACKET_MAX};
	struct world *w = world_up();
	struct end *e = &w->end[1];

	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		for (uint32_t class = 0; class < 2; class ++) {
			assert_int_equal(post(e, class, i, sizes[i]), 0);
			pass(w, 50);
		}
	}
	assert_int_equal(w->end[0].next[0], sizeof(sizes) / sizeof(sizes[0]));
	assert_int_equal(w->end[0].next[1], sizeof(sizes) / sizeof(sizes[0]));
	assert_int_equal(session_queued(e->s) + session_in_flight(e->s), 0);
	assert_int_equal(post(e, 0, 0, SESSION_PACKET_MAX + 1), EMSGSIZE);
	assert_int_equal(post(e, 2, 0, 100), EINVAL);
	assert_int_equal(session_send(e->s, at(w), 0, NULL, 0), EINVAL);
	assert_true(e->data_most <= SESSION_WINDOW);
	talloc_free(w);
}

/* S2: nobody answers; only a window's worth leaves, and the queue has an end. */
static void test_window(void **state)
{
	struct world *w = world_up();
	struct end *e = &w->end[0];
	uint64_t n = 0;
	int ret;

	while ((ret = post(e, 1, n, 50000)) == 0) {
		n++;
		assert_true(session_in_flight(e->s) <= SESSION_WINDOW_BULK);
		assert_true(session_queued(e->s) <= QUEUE);
	}
	assert_int_equal(ret, ENOBUFS);
	assert_true(session_in_flight(e->s) > SESSION_WINDOW_BULK - TUNNEL_PIECE_MAX);
	/* the other class has a window and a queue of its own */
	assert_int_equal(post(e, 0, 0, 1000), 0);
	while (w->end[1].next[0] == 0) {
		assert_true(carry_one(e));
	}
	assert_true(w->end[1].next[1] < n);
	pass(w, 200);
	assert_int_equal(w->end[1].next[1], n);
	assert_int_equal(e->downs, 0);
	talloc_free(w);
}

/* Control that waits for its window goes before bulk that waits too. */
static void test_control_first(void **state)
{
	struct world *w = world_up();
	struct end *e = &w->end[0];

	for (uint64_t n = 0; n < 40; n++) {
		assert_int_equal(post(e, 1, n, 60000), 0);
	}
	assert_int_equal(post(e, 0, 0, 2U << 20), 0);
	assert_int_equal(post(e, 0, 1, 1000), 0);
	carry(w);
	assert_int_equal(w->end[1].next[0], 2);
	assert_int_equal(w->end[1].next[1], 40);
	assert_true(e->data_most <= SESSION_WINDOW);
	talloc_free(w);
}

/* S1, S5: one lost piece, found by the next one or by the next ping; both sides are told and start anew. */
static void test_loss(void **state)
{
	for (int last = 0; last < 2; last++) {
		struct world *w = world_up();
		struct end *e = &w->end[0];
		struct flying *f;

		for (uint64_t n = 0; n < 3; n++) {
			assert_int_equal(post(e, 0, n, 1000), 0);
		}
		assert_true(carry_one(e));
		if (last) {
			assert_true(carry_one(e));
		}
		f = next_flying(e);
		talloc_free(f);
		pass(w, 1000);
		assert_int_equal(w->end[0].downs, 1);
		assert_int_equal(w->end[1].downs, 1);
		assert_int_equal(w->end[1].reason, EIO);
		assert_true(w->end[0].up && w->end[1].up);
		assert_int_equal(w->end[1].delivered, last ? 2 : 1);
		assert_int_equal(post(e, 0, 0, 200000), 0);
		carry(w);
		assert_int_equal(w->end[1].next[0], 1);
		talloc_free(w);
	}
}

static void test_repeated(void **state)
{
	struct world *w = world_up();
	struct end *e = &w->end[0];
	struct flying *f;

	assert_int_equal(post(e, 0, 0, 1000), 0);
	f = next_flying(e);
	for (int i = 0; i < 3; i++) {
		arrive(&w->end[1], f->data, f->len);
	}
	assert_int_equal(w->end[1].delivered, 1);
	assert_int_equal(session_stats(w->end[1].s)->dropped, 2);
	assert_true(w->end[1].up);
	/* and in a later session it is nothing at all */
	session_detached(e->s, ECONNRESET);
	lose(e);
	attach(w, 0);
	pass(w, 3000);
	assert_true(w->end[0].up && w->end[1].up);
	arrive(&w->end[1], f->data, f->len);
	assert_int_equal(w->end[1].delivered, 1);
	assert_true(w->end[1].up);
	talloc_free(w);
}

static void test_silence(void **state)
{
	struct world *w = world_up();

	for (uint32_t ms = 0; ms <= DEAD + 100; ms += 50) {
		tick(w, 50);
		lose(&w->end[0]); /* one direction is enough: both must notice */
		while (carry_one(&w->end[1])) {
		}
	}
	lose(&w->end[1]);
	pass(w, 2 * DEAD);
	assert_int_equal(w->end[1].reason == ETIMEDOUT || w->end[0].reason == ETIMEDOUT, 1);
	assert_true(w->end[0].downs >= 1 && w->end[1].downs >= 1);
	assert_true(w->end[0].up && w->end[1].up);
	talloc_free(w);
}

/* We were slow, not the others. */
static void test_late_is_no_silence(void **state)
{
	struct world *w = world_up();

	w->now = mono_add_ms(w->now, 10 * DEAD);
	session_tick(w->end[0].s, w->now, true);
	session_tick(w->end[1].s, w->now, true);
	pass(w, 500);
	assert_int_equal(w->end[0].downs + w->end[1].downs, 0);
	talloc_free(w);
}

/* Pings go to and fro, but what was sent is never acknowledged. */
static void test_stall(void **state)
{
	struct world *w = world_up();
	struct end *e = &w->end[0];

	assert_int_equal(post(e, 0, 0, 1000), 0);
	for (uint32_t ms = 0; ms < STALL + DEAD && e->downs == 0; ms += 50) {
		struct flying *f;

		tick(w, 50);
		while ((f = next_flying(e)) != NULL) {
			struct tunnel_packet p;

			assert_int_equal(tunnel_packet_view(f->data, f->len, &p), 0);
			talloc_free(f);
		}
		while ((f = next_flying(&w->end[1])) != NULL) {
			arrive(e, f->data, f->len);
			talloc_free(f);
		}
		/* end 1 hears nothing, but is told that it did */
		session_tick(w->end[1].s, w->now, true);
	}
	assert_int_equal(e->downs, 1);
	assert_int_equal(e->reason, ETIMEDOUT);
	assert_non_null(strstr(e->complaint, "acknowledged nothing"));
	talloc_free(w);
}

/* A daemon that was started again: the other side, still up, learns it and starts anew. */
static void test_restart(void **state)
{
	struct world *w = world_up();
	uint64_t before = w->end[0].peer_incarnation;

	talloc_free(w->end[1].s);
	w->end[1].up = false;
	lose(&w->end[1]);
	end_start(w, 1, 2, 1);
	attach(w, 1);
	pass(w, 200);
	assert_int_equal(w->end[0].downs, 1);
	assert_int_equal(w->end[0].reason, ECONNRESET);
	assert_int_equal(w->end[0].ups, 2);
	assert_true(w->end[0].up && w->end[1].up);
	assert_true(w->end[0].peer_incarnation != before);
	assert_int_equal(post(&w->end[0], 1, 0, 300000), 0);
	assert_int_equal(post(&w->end[1], 0, 0, 300000), 0);
	carry(w);
	assert_int_equal(w->end[0].next[0], 1);
	assert_int_equal(w->end[1].next[1], 1);
	talloc_free(w);
}

static void test_bye(void **state)
{
	struct world *w = world_up();

	session_bye(w->end[1].s, ESHUTDOWN);
	session_detached(w->end[1].s, ESHUTDOWN);
	carry(w);
	assert_int_equal(w->end[0].downs, 1);
	assert_int_equal(w->end[0].reason, ECONNRESET);
	assert_int_equal(post(&w->end[0], 0, 0, 100), EHOSTUNREACH);
	talloc_free(w);
}

/* S3: who does not know the sessions changes nothing, whatever it sends. */
static void test_forged(void **state)
{
	struct world *w = world_up();
	struct tunnel_hello hello = {.incarnation = 666, .interface_version = 2, .interface_oldest = 1, .tunnel = true};
	uint8_t junk[200];
	struct ctdb_blob body = {0};

	assert_int_equal(tunnel_hello_encode(w, &hello, &body), 0);
	memset(junk, 0xa5, sizeof(junk));
	for (uint64_t i = 0; i < 500; i++) {
		struct end *to = &w->end[i % 2];

		inject(to, (enum tunnel_kind)(1 + i % 6), on_random(w), i % 3 == 0 ? 0 : on_random(w),
		       (struct ctdb_blob){(uint32_t)(i % sizeof(junk)), junk});
		inject(to, TUNNEL_KIND_HELLO, on_random(w), i % 3 == 0 ? 0 : on_random(w), body);
		inject(to, TUNNEL_KIND_BYE, on_random(w), on_random(w), (struct ctdb_blob){4, junk});
		if (i % 10 == 0) {
			assert_int_equal(post(to, 0, i / 10, 5000), 0);
		}
		pass(w, 50);
	}
	assert_int_equal(w->end[0].downs + w->end[1].downs, 0);
	assert_int_equal(w->end[0].delivered + w->end[1].delivered, 50);
	talloc_free(w);
}

/* ... and keeps nobody from getting up. */
static void test_forged_while_looking(void **state)
{
	struct world *w = world_new();
	struct tunnel_hello hello = {.incarnation = 666, .interface_version = 2, .interface_oldest = 1, .tunnel = true};
	struct ctdb_blob body = {0};

	assert_int_equal(tunnel_hello_encode(w, &hello, &body), 0);
	attach(w, 0);
	attach(w, 1);
	for (uint64_t i = 0; i < 100; i++) {
		inject(&w->end[i % 2], TUNNEL_KIND_HELLO, on_random(w), i % 3 == 0 ? 0 : on_random(w), body);
		pass(w, 50);
	}
	assert_true(w->end[0].up && w->end[1].up);
	assert_int_equal(w->end[0].ups, 1);
	talloc_free(w);
}

/* Pieces that lie, from a peer that knows the sessions: the session ends, nothing else does. */
static void test_bad_pieces(void **state)
{
	static const struct tunnel_data bad[] = {
		{.class = 0, .total = 100, .offset = 0, .piece = {101, NULL}},
		{.class = 1, .total = SESSION_PACKET_MAX + 1, .offset = 0, .piece = {100, NULL}},
		{.class = 0, .total = 200, .offset = 100, .piece = {100, NULL}},
		{.class = 0, .total = 0, .offset = 0, .piece = {0, NULL}},
		{.class = 0, .total = UINT32_MAX, .offset = UINT32_MAX, .piece = {1, NULL}},
		{.class = 1, .total = 100, .offset = 0, .position = 1, .piece = {10, NULL}},
		{.class = 1, .total = 100, .offset = 0, .position = UINT64_MAX, .piece = {10, NULL}},
	};
	static uint8_t bytes[TUNNEL_PIECE_MAX];

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct world *w = world_up();
		struct tunnel_data d = bad[i];
		struct tunnel_packet p;
		struct ctdb_blob body = {0};
		struct flying *f;

		/* the header of a packet that is good */
		assert_int_equal(post(&w->end[0], 0, 0, 100), 0);
		f = next_flying(&w->end[0]);
		assert_int_equal(tunnel_packet_view(f->data, f->len, &p), 0);
		d.piece.data = bytes;
		assert_int_equal(tunnel_data_encode(w, &d, &body), 0);
		p.body = body;
		session_receive(w->end[1].s, w->now, &p);
		assert_int_equal(w->end[1].downs, 1);
		assert_int_equal(w->end[1].delivered, 0);
		pass(w, 500);
		assert_true(w->end[0].up && w->end[1].up);
		talloc_free(w);
	}
}

static void test_false_ack(void **state)
{
	struct world *w = world_up();
	struct tunnel_ack ack = {.received = {UINT64_MAX, 0}};
	struct tunnel_packet p;
	struct ctdb_blob body = {0};
	struct flying *f;

	assert_int_equal(post(&w->end[0], 0, 0, 100), 0);
	f = next_flying(&w->end[0]);
	assert_int_equal(tunnel_packet_view(f->data, f->len, &p), 0);
	assert_int_equal(tunnel_ack_encode(w, &ack, &body), 0);
	p.kind = TUNNEL_KIND_ACK;
	p.body = body;
	session_receive(w->end[1].s, w->now, &p);
	assert_int_equal(w->end[1].reason, EPROTO);
	talloc_free(w);
}

/* Whatever a peer sends that knows the sessions: it may end them, no more. */
static void test_random_bodies(void **state)
{
	struct world *w = world_up();
	uint8_t bytes[96];

	for (int i = 0; i < 5000; i++) {
		struct end *to = &w->end[i % 2];
		struct tunnel_packet p;
		struct flying *f;

		if (!w->end[0].up || !w->end[1].up) {
			pass(w, 3000);
		}
		assert_true(w->end[0].up && w->end[1].up);
		tick(w, HEARTBEAT);
		f = next_flying(&w->end[1 - to->pnn]);
		assert_non_null(f);
		assert_int_equal(tunnel_packet_view(f->data, f->len, &p), 0);
		for (unsigned k = 0; k < sizeof(bytes); k++) {
			uint64_t r = on_random(w) >> 24;

			bytes[k] = r % 3 == 0 ? (uint8_t)(r >> 8) : 0;
		}
		p.kind = (enum tunnel_kind)(1 + i % 6);
		p.body = (struct ctdb_blob){(uint32_t)(on_random(w) >> 30) % sizeof(bytes), bytes};
		session_receive(to->s, w->now, &p);
		talloc_free(f);
		/* one was lost on the way: that one does not matter */
		carry(w);
	}
	pass(w, 5000);
	assert_true(w->end[0].up && w->end[1].up);
	assert_int_equal(w->end[0].delivered + w->end[1].delivered, 0);
	talloc_free(w);
}

/* A medium that loses at random, restarts included: what is delivered between up and down is right (on_deliver()
 * looks), and at the end all is well. */
static void test_chaos(void **state)
{
	struct world *w = world_up();
	uint64_t n[2][2] = {{0}};
	int ups[2] = {w->end[0].ups, w->end[1].ups};
	int delivered;

	for (int step = 0; step < 20000; step++) {
		uint64_t r = on_random(w) >> 20;
		struct end *e = &w->end[r % 2];
		uint32_t class = r / 2 % 2;

		if (e->ups != ups[e->pnn]) {
			ups[e->pnn] = e->ups;
			n[e->pnn][0] = n[e->pnn][1] = 0;
		}
		if (e->up && post(e, class, n[e->pnn][class], 12 + r / 4 % (r % 50 == 0 ? 500000 : 5000)) == 0) {
			n[e->pnn][class]++;
		}
		if (r % 1000 == 7) {
			talloc_free(next_flying(e));
		} else if (r % 5000 == 11) {
			session_detached(e->s, ECONNRESET);
			lose(e);
			attach(w, e->pnn);
		}
		for (uint64_t i = r / 8 % 5; i > 0; i--) {
			carry_one(&w->end[i % 2]);
		}
		if (r % 4 == 0) {
			session_flush(e->s);
		}
		if (r % 7 == 0) {
			tick(w, 20);
		}
		assert_true(session_in_flight(e->s) <= SESSION_WINDOW);
	}
	pass(w, 4000);
	assert_true(w->end[0].up && w->end[1].up);
	assert_true(w->end[0].downs > 5);
	assert_true(w->end[0].delivered > 1000 && w->end[1].delivered > 1000);
	delivered = (int)w->end[1].next[0];
	if (w->end[0].ups != ups[0]) {
		n[0][0] = 0;
	}
	assert_int_equal(post(&w->end[0], 0, n[0][0], 100), 0);
	carry(w);
	assert_int_equal(w->end[1].next[0], delivered + 1);
	talloc_free(w);
}

static void test_due(void **state)
{
	struct world *w = world_new();

	assert_false(mono_is_set(session_due(w->end[0].s)));
	attach(w, 0);
	assert_true(mono_is_set(session_due(w->end[0].s)));
	attach(w, 1);
	pass(w, 500);
	assert_true(mono_ms_between(w->now, session_due(w->end[0].s)) <= HEARTBEAT);
	session_detached(w->end[0].s, EIO);
	assert_int_equal(w->end[0].reason, EIO);
	assert_false(mono_is_set(session_due(w->end[0].s)));
	talloc_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_up),
		cmocka_unit_test(test_late_start),
		cmocka_unit_test(test_ways),
		cmocka_unit_test(test_versions),
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_window),
		cmocka_unit_test(test_control_first),
		cmocka_unit_test(test_loss),
		cmocka_unit_test(test_repeated),
		cmocka_unit_test(test_silence),
		cmocka_unit_test(test_late_is_no_silence),
		cmocka_unit_test(test_stall),
		cmocka_unit_test(test_restart),
		cmocka_unit_test(test_bye),
		cmocka_unit_test(test_forged),
		cmocka_unit_test(test_forged_while_looking),
		cmocka_unit_test(test_bad_pieces),
		cmocka_unit_test(test_false_ack),
		cmocka_unit_test(test_random_bodies),
		cmocka_unit_test(test_chaos),
		cmocka_unit_test(test_due),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
