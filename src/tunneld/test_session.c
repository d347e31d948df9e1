/* Tests of sessions: two of them with a medium between that loses, repeats and forges. Pure: the clock is a number. */
#include "test_session_util.h"

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
