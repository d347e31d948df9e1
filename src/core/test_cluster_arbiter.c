/* The cluster lock in the core, one node by itself: answers at the wrong time, old news, terms. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "core/cluster.h"

#define DEAD 1000ULL
#define MS   MONO_NS_PER_MS
#define PEER 1

/* Node 0 of three, what it asked for, and the answers of a lock and a disk that do as they are told. */
struct bench {
	struct cluster *c;
	struct mono now;
	unsigned asked, let_go;
	bool out; /* asked for, and no answer yet; or held */
	bool holds;
	unsigned persists, grants;
	bool writing;
	uint64_t wall;
	struct cluster_msg last; /* to PEER; without what pointers point to */
	char event[256];
};

static void on_send(void *priv, uint32_t pnn, const struct cluster_msg *msg)
{
	struct bench *b = priv;

	if (pnn == PEER) {
		b->last = *msg;
		b->grants += msg->kind == CLUSTER_MSG_LEASE_GRANT ? 1 : 0;
	}
}

static void on_persist(void *priv, const struct cluster_durable *durable)
{
	struct bench *b = priv;

	assert_false(b->writing);
	b->writing = true;
	b->persists++;
}

static void on_arbiter(void *priv, bool want)
{
	struct bench *b = priv;

	/* The contract: never twice, never let go of nothing. */
	assert_true(want != b->out);
	b->out = want;
	b->asked += want ? 1 : 0;
	b->let_go += want ? 0 : 1;
}

static bool on_arbiter_holds(void *priv)
{
	const struct bench *b = priv;

	return b->holds;
}

static uint64_t on_wall_ms(void *priv)
{
	const struct bench *b = priv;

	return b->wall;
}

static void on_promise(void *priv, const struct cluster_promise *promise)
{
}

static void on_changed(void *priv)
{
}

static void on_lease(void *priv, struct mono until)
{
}

static void on_event(void *priv, bool important, const char *text)
{
	struct bench *b = priv;

	assert_null(strstr(text, "bug:"));
	if (important) {
		strncpy(b->event, text, sizeof(b->event) - 1);
	}
}

static const struct cluster_ops ops = {
	.send = on_send,
	.persist = on_persist,
	.promise = on_promise,
	.changed = on_changed,
	.lease = on_lease,
	.event = on_event,
	.arbiter = on_arbiter,
	.arbiter_holds = on_arbiter_holds,
	.wall_ms = on_wall_ms,
};

static struct bench *bench_new(bool bounded, uint64_t term)
{
	static const struct cluster_node_config nodes[] = {{.address = "a"}, {.address = "b"}, {.address = "c"}};
	struct cluster_config config = {
		.pnn = 0,
		.n = 3,
		.nodes = nodes,
		.nodes_hash = 1,
		.quorum = CLUSTER_QUORUM_EXTERNAL,
		.arbiter_bounded = bounded,
		.arbiter_ms = 5000,
		.heartbeat_ms = DEAD / 4,
		.dead_ms = DEAD,
		.capabilities = NODE_CAP_LEADER,
		.incarnation = 7,
		.durable = {.term = term, .vote = CLUSTER_NODE_NONE},
	};
	struct bench *b = talloc_zero(NULL, struct bench);

	assert_non_null(b);
	b->now.ns = 100000 * MS;
	b->c = cluster_new(b, &config, &ops, b, b->now);
	assert_non_null(b->c);
	return b;
}

static void tick(struct bench *b, uint64_t ms)
{
	struct mono end = mono_add_ms(b->now, ms);

	for (;;) {
		if (b->writing) {
			b->writing = false;
			cluster_persisted(b->c, b->now, true);
			continue;
		}
		if (end.ns < cluster_wakeup(b->c).ns) {
			break;
		}
		b->now = cluster_wakeup(b->c);
		cluster_tick(b->c, b->now);
	}
	b->now = end;
}

static void tell(struct bench *b, enum cluster_arbiter_answer answer)
{
	b->holds = answer == CLUSTER_ARBITER_HELD;
	if (answer == CLUSTER_ARBITER_CONTENDED || answer == CLUSTER_ARBITER_FAILED || answer == CLUSTER_ARBITER_LOST) {
		b->out = false;
	}
	cluster_arbiter(b->c, b->now, answer, b->holds ? mono_add_ms(b->now, 3000) : MONO_NEVER, "as told");
}

static void until_it_asks(struct bench *b)
{
	unsigned asked = b->asked;

	for (unsigned i = 0; i < 20000 && b->asked == asked; i++) {
		tick(b, 1);
	}
	assert_int_equal(b->asked, asked + 1);
	assert_int_equal(cluster_role(b->c), CLUSTER_ROLE_PROBING);
}

static void until_it_leads(struct bench *b)
{
	until_it_asks(b);
	tell(b, CLUSTER_ARBITER_HELD);
	assert_int_equal(cluster_role(b->c), CLUSTER_ROLE_CANDIDATE);
	tick(b, 1);
	assert_int_equal(cluster_role(b->c), CLUSTER_ROLE_LEADER);
}

/* Of PEER, led by leader. echo: a stamp of node 0 that it returns. */
static void grant(struct bench *b, uint64_t term, uint64_t echo)
{
	struct cluster_msg m = {.kind = CLUSTER_MSG_LEASE_GRANT,
				.u.lease_grant = {.term = term,
						  .stamp = b->now.ns,
						  .incarnation = 1,
						  .nodes_hash = 1,
						  .echo = echo,
						  .echo_incarnation = 7,
						  .valid_us = DEAD * 1000,
						  .barred_by = CLUSTER_NODE_NONE}};

	b->now.ns += MS;
	cluster_message(b->c, b->now, PEER, &m);
}

static void test_contended_changes_nothing(void **state)
{
	struct bench *b = bench_new(false, 77);
	struct mono begin;

	for (unsigned i = 0; i < 100; i++) {
		until_it_asks(b);
		tell(b, i % 2 == 0 ? CLUSTER_ARBITER_CONTENDED : CLUSTER_ARBITER_FAILED);
		assert_int_equal(cluster_role(b->c), CLUSTER_ROLE_FOLLOWER);
	}
	assert_int_equal(cluster_term(b->c), 77);
	assert_int_equal(b->persists, 0);
	assert_int_equal(b->let_go, 0);
	/* Backed off: a round takes 2.5 to 5 D by now. */
	begin = b->now;
	until_it_asks(b);
	assert_in_range(mono_ms_between(begin, b->now), DEAD * 5 / 2, DEAD * 51 / 10);
	talloc_free(b);
}

static void test_held_too_late(void **state)
{
	struct bench *b = bench_new(false, 0);

	until_it_asks(b);
	grant(b, 511, 0);
	assert_int_equal(cluster_role(b->c), CLUSTER_ROLE_FOLLOWER);
	assert_int_equal(b->let_go, 1);
	tell(b, CLUSTER_ARBITER_HELD);
	tell(b, CLUSTER_ARBITER_LOST);
	tick(b, 10);
	assert_int_equal(cluster_role(b->c), CLUSTER_ROLE_FOLLOWER);
	assert_int_equal(cluster_term(b->c), 511);
	/* Its time to stand comes, but nothing is asked before the answer. */
	tick(b, 3 * DEAD);
	assert_int_equal(b->asked, 1);
	assert_int_equal(cluster_role(b->c), CLUSTER_ROLE_PROBING);
	tell(b, CLUSTER_ARBITER_RELEASED);
	assert_int_equal(b->asked, 2);
	tell(b, CLUSTER_ARBITER_HELD);
	tick(b, 1);
	assert_int_equal(cluster_role(b->c), CLUSTER_ROLE_LEADER);
	assert_true(cluster_term(b->c) > 511);
	talloc_free(b);
}

static void test_held_without_being_asked(void **state)
{
	struct bench *b = bench_new(false, 0);

	b->out = true;
	tell(b, CLUSTER_ARBITER_HELD);
	assert_int_equal(b->let_go, 1);
	assert_string_equal(b->event, "the cluster lock is held, but was not asked for: letting go of it");
	tell(b, CLUSTER_ARBITER_RELEASED);
	tell(b, CLUSTER_ARBITER_RELEASED);
	until_it_leads(b);
	talloc_free(b);
}

static void test_no_answer(void **state)
{
	struct bench *b = bench_new(false, 0);

	until_it_asks(b);
	tick(b, 5000 + DEAD + 1);
	assert_int_equal(cluster_role(b->c), CLUSTER_ROLE_FOLLOWER);
	assert_int_equal(b->let_go, 1);
	/* It does not even say that it let go: tried again and again, but nothing is asked of it. */
	tick(b, 60 * DEAD);
	assert_int_equal(b->asked, 1);
	tell(b, CLUSTER_ARBITER_RELEASED);
	tick(b, 12 * DEAD);
	assert_int_equal(b->asked, 2);
	talloc_free(b);
}

static void test_bounded_needs_a_time(void **state)
{
	struct bench *b = bench_new(true, 0);

	until_it_asks(b);
	b->holds = true;
	cluster_arbiter(b->c, b->now, CLUSTER_ARBITER_HELD, MONO_NEVER, NULL);
	assert_int_equal(cluster_role(b->c), CLUSTER_ROLE_FOLLOWER);
	assert_int_equal(b->let_go, 1);
	tell(b, CLUSTER_ARBITER_RELEASED);
	until_it_leads(b);
	assert_true(cluster_is_active(b->c, b->now) || cluster_wakeup(b->c).ns > b->now.ns);
	/* Its time has passed, and nothing else was heard. */
	tick(b, 2900);
	assert_int_equal(cluster_role(b->c), CLUSTER_ROLE_LEADER);
	assert_true(cluster_is_active(b->c, b->now));
	tick(b, 101);
	assert_false(cluster_is_active(b->c, b->now));
	assert_int_equal(cluster_role(b->c), CLUSTER_ROLE_FOLLOWER);
	assert_int_equal(b->let_go, 2);
	talloc_free(b);
}

/* The first thing that a leader does after it stood still is nothing, if the lock is gone, though it was not told. */
static void test_lock_is_looked_at(void **state)
{
	struct bench *b = bench_new(false, 0);
	unsigned grants;

	until_it_leads(b);
	cluster_link(b->c, b->now, PEER, true);
	tick(b, 2 * DEAD);
	assert_true(cluster_is_active(b->c, b->now));
	assert_true(b->grants > 3);
	b->holds = false;
	b->now = mono_add_ms(b->now, 8 * DEAD);
	grants = b->grants;
	cluster_tick(b->c, b->now);
	assert_int_equal(b->grants, grants);
	assert_false(cluster_is_active(b->c, b->now));
	assert_int_equal(cluster_role(b->c), CLUSTER_ROLE_FOLLOWER);
	assert_int_equal(b->let_go, 1);
	talloc_free(b);
}

/* Stood still for a moment: the lease goes on to the end it had, and is not extended. */
static void test_lock_is_looked_at_each_time(void **state)
{
	struct bench *b = bench_new(false, 0);

	until_it_leads(b);
	tick(b, 2 * DEAD);
	b->holds = false;
	tick(b, DEAD - 10);
	assert_int_equal(cluster_role(b->c), CLUSTER_ROLE_LEADER);
	assert_false(cluster_is_leading(b->c, b->now));
	tick(b, 11);
	assert_int_equal(cluster_role(b->c), CLUSTER_ROLE_FOLLOWER);
	talloc_free(b);
}

/* A grant that its sender's handover has overtaken does not end the candidacy. */
static void test_handover_overtakes(void **state)
{
	struct bench *b = bench_new(false, 0);
	struct cluster_msg m = {.kind = CLUSTER_MSG_HANDOVER,
				.u.handover = {.term = 254, .incarnation = 1, .nodes_hash = 1}};

	grant(b, 254, 0);
	cluster_message(b->c, b->now, PEER, &m);
	assert_int_equal(b->asked, 1);
	grant(b, 254, 0);
	assert_int_equal(cluster_role(b->c), CLUSTER_ROLE_PROBING);
	tell(b, CLUSTER_ARBITER_CONTENDED);
	tick(b, 40);
	assert_int_equal(b->asked, 2);
	grant(b, 254, 0);
	tell(b, CLUSTER_ARBITER_HELD);
	tick(b, 1);
	assert_int_equal(cluster_role(b->c), CLUSTER_ROLE_LEADER);
	assert_int_equal(b->let_go, 0);
	talloc_free(b);
}

/* A grant of a former leader with a higher term, on its way for long: not followed. One that answers what this node
 * said since it has the lock: followed. */
static void test_old_news(void **state)
{
	struct bench *b = bench_new(false, 0);
	struct mono before;
	uint64_t term;

	before = b->now;
	until_it_leads(b);
	term = cluster_term(b->c) + 5 * 256;
	grant(b, term, before.ns);
	assert_true(cluster_term(b->c) > term);
	assert_int_equal(b->last.kind, CLUSTER_MSG_LEASE_ACK);
	assert_false(b->last.u.lease_ack.accepted);
	assert_true(b->last.u.lease_ack.term > term);
	assert_int_equal(b->let_go, 0);
	tick(b, 1);
	assert_int_equal(cluster_role(b->c), CLUSTER_ROLE_LEADER);
	term = cluster_term(b->c) + 5 * 256;
	grant(b, term, b->now.ns);
	assert_int_equal(cluster_term(b->c), term);
	assert_int_equal(cluster_role(b->c), CLUSTER_ROLE_FOLLOWER);
	assert_int_equal(b->let_go, 1);
	talloc_free(b);
}

static void test_terms_are_used_up(void **state)
{
	struct bench *b = bench_new(false, UINT64_MAX >> 2);

	until_it_asks(b);
	tell(b, CLUSTER_ARBITER_HELD);
	assert_int_equal(cluster_role(b->c), CLUSTER_ROLE_FOLLOWER);
	assert_int_equal(b->let_go, 1);
	assert_string_equal(b->event, "the terms are used up: stop all nodes and remove their cluster-term files");
	assert_int_equal(cluster_term(b->c), UINT64_MAX >> 2);
	talloc_free(b);
}

/* Terms follow the wall clock, but never go back with it, and one that is far off is not believed. */
static void test_terms_and_the_wall_clock(void **state)
{
	static const struct {
		uint64_t wall, before, term;
	} cases[] = {
		{0, 0, 255},
		{1000, 0, 1000 * 256 + 255},
		{1000, 2000 * 256 + 17, 2000 * 256 + 255},
		{1000, 2000 * 256 + 255, 2001 * 256 + 255},
		{UINT64_MAX, 0, 255},
		{1ULL << 48, 0, 255},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct bench *b = bench_new(false, cases[i].before);

		b->wall = cases[i].wall;
		until_it_leads(b);
		assert_int_equal(cluster_term(b->c), cases[i].term);
		talloc_free(b);
	}
}

static void test_leaves_in_any_state(void **state)
{
	for (unsigned i = 0; i < 4; i++) {
		struct bench *b = bench_new(false, 0);

		if (i > 0) {
			until_it_asks(b);
		}
		if (i > 1) {
			tell(b, CLUSTER_ARBITER_HELD);
		}
		if (i > 2) {
			tick(b, 1);
		}
		cluster_leave(b->c, b->now);
		assert_int_equal(b->let_go, i > 0 ? 1 : 0);
		assert_true(cluster_left(b->c));
		if (i > 0) {
			tell(b, CLUSTER_ARBITER_HELD);
		}
		tell(b, CLUSTER_ARBITER_RELEASED);
		tick(b, 10 * DEAD);
		assert_int_equal(b->asked, i > 0 ? 1 : 0);
		talloc_free(b);
	}
}

/* Answers at any time, in any order: what is asked of the arbiter stays in order (on_arbiter()), and it leads at the
 * end. */
static void test_nonsense(void **state)
{
	for (uint64_t seed = 1; seed <= 50; seed++) {
		struct bench *b = bench_new(seed % 2 == 0, 0);
		uint64_t rnd = seed * 0x9E3779B97F4A7C15ULL;

		for (unsigned i = 0; i < 400; i++) {
			enum cluster_arbiter_answer answer;

			rnd = rnd * 6364136223846793005ULL + 1442695040888963407ULL;
			answer = (enum cluster_arbiter_answer)(rnd >> 60 & 3);
			b->holds = (rnd >> 50 & 1) != 0;
			/* From one that was let go of only RELEASED comes. */
			if (!b->out) {
				cluster_arbiter(b->c, b->now, CLUSTER_ARBITER_RELEASED, MONO_NEVER, NULL);
			} else if (answer == CLUSTER_ARBITER_HELD) {
				cluster_arbiter(b->c, b->now, answer, mono_add_ms(b->now, rnd >> 40 & 4095), NULL);
			} else {
				b->out = false;
				cluster_arbiter(b->c, b->now, answer, MONO_NEVER, "nonsense");
			}
			tick(b, rnd >> 33 & 511);
		}
		if (!b->out) {
			cluster_arbiter(b->c, b->now, CLUSTER_ARBITER_RELEASED, MONO_NEVER, NULL);
		} else {
			tell(b, CLUSTER_ARBITER_LOST);
		}
		for (unsigned i = 0; i < 40 && !(b->out && cluster_role(b->c) == CLUSTER_ROLE_LEADER); i++) {
			if (b->out) {
				tell(b, CLUSTER_ARBITER_HELD);
			}
			tick(b, DEAD / 2);
		}
		assert_int_equal(cluster_role(b->c), CLUSTER_ROLE_LEADER);
		talloc_free(b);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_contended_changes_nothing),
		cmocka_unit_test(test_held_too_late),
		cmocka_unit_test(test_held_without_being_asked),
		cmocka_unit_test(test_no_answer),
		cmocka_unit_test(test_bounded_needs_a_time),
		cmocka_unit_test(test_lock_is_looked_at),
		cmocka_unit_test(test_lock_is_looked_at_each_time),
		cmocka_unit_test(test_handover_overtakes),
		cmocka_unit_test(test_old_news),
		cmocka_unit_test(test_terms_are_used_up),
		cmocka_unit_test(test_terms_and_the_wall_clock),
		cmocka_unit_test(test_leaves_in_any_state),
		cmocka_unit_test(test_nonsense),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
