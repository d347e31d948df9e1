/* The simulated cluster in stories with a known end: what is lost, who leads, how long it takes, how many packets. */
#include <stdio.h>
#include <string.h>

#include "story.h"
#include "protocol/cluster_test.h"

static struct sim *cluster_up(uint32_t nodes, enum cluster_quorum quorum, uint64_t seed)
{
	struct sim *s = story_new(nodes, quorum, false, seed);

	story_up(s);
	return s;
}

static bool another_leads(const struct sim *s, uint32_t p)
{
	return sim_leader(s) != NOBODY && sim_leader(s) != p;
}

static void test_start_is_quick_and_gives_one_view(void **state)
{
	for (uint64_t seed = 1; seed <= 20; seed++) {
		struct sim *s = cluster_up(3, CLUSTER_QUORUM_MAJORITY, seed);

		assert_int_equal(sim_leader(s), 0);
		assert_int_equal(story_view(s, 0)->term, 1);
		assert_int_equal(story_view(s, 2)->number, 1);
		story_down(s);
	}
}

static void test_single_node(void **state)
{
	for (enum cluster_quorum q = CLUSTER_QUORUM_MAJORITY; q <= CLUSTER_QUORUM_NONE; q++) {
		struct sim_options opt = {.seed = 1, .nodes = 1, .quorum = q, .dead_ms = DEAD, .heartbeat_ms = 250};
		struct sim *s = sim_new(&opt);

		sim_start(s, 0);
		assert_true(story_run_until(s, DEAD, story_agreed, 0, false) <= 100);
		story_down(s);
	}
}

/* One node missing: the others wait for it one dead interval, not longer. */
static void test_start_with_one_missing(void **state)
{
	struct sim_options opt = {.seed = 1, .nodes = 3, .dead_ms = DEAD, .heartbeat_ms = 250};
	struct sim *s = sim_new(&opt);

	sim_crash(s, 0, true);
	sim_start(s, 1);
	sim_start(s, 2);
	sim_run(s, DEAD * MS * 3 / 4);
	assert_int_equal(sim_leader(s), NOBODY);
	sim_run(s, DEAD * MS * 3 / 2);
	assert_int_equal(sim_leader(s), 1);
	assert_int_equal(story_view(s, 2)->number, 1);
	story_down(s);
}

static void test_undisturbed_nothing_happens(void **state)
{
	struct sim *s = cluster_up(5, CLUSTER_QUORUM_MAJORITY, 1);
	uint64_t votes = s->vote_messages, messages = s->messages, number = story_view(s, 0)->number;

	sim_run(s, s->now + 60 * DEAD * MS);
	assert_int_equal(s->vote_messages, votes);
	assert_int_equal(story_view(s, 0)->number, number);
	/* A grant and an ack a heartbeat and follower. */
	assert_in_range(s->messages - messages, 60 * 4 * 8 - 16, 60 * 4 * 8 + 16);
	story_down(s);
}

/* The leader's machine loses power: nobody else is fenced, one election of at most 4 N messages, then a view without
 * it. */
static void leader_lost(uint32_t nodes, enum cluster_quorum quorum, uint64_t seed)
{
	struct sim *s = cluster_up(nodes, quorum, seed);
	uint32_t leader = sim_leader(s);
	uint64_t votes = s->vote_messages, ms;

	sim_run(s, s->now + sim_random(s, 500 * MS));
	sim_crash(s, leader, true);
	ms = story_run_until(s, 5 * DEAD, another_leads, leader, true);
	assert_in_range(ms, 0, DEAD * 3 / 4);
	assert_in_range(s->vote_messages - votes, 1, 4 * nodes);
	ms += story_run_until(s, 5 * DEAD, story_left_out, leader, true);
	assert_in_range(ms, DEAD / 2, DEAD * 3 / 2);
	assert_int_equal(story_view(s, sim_leader(s))->number, 1);
	story_down(s);
}

static void test_leader_lost(void **state)
{
	for (uint64_t seed = 1; seed <= 40; seed++) {
		leader_lost(3 + (uint32_t)(seed % 6), seed % 4 == 0 ? CLUSTER_QUORUM_NONE : CLUSTER_QUORUM_MAJORITY,
			    seed);
	}
}

static void test_leader_of_128_lost(void **state)
{
	leader_lost(128, CLUSTER_QUORUM_MAJORITY, 1);
	leader_lost(128, CLUSTER_QUORUM_NONE, 2);
}

static void test_follower_lost(void **state)
{
	struct sim *s = cluster_up(4, CLUSTER_QUORUM_MAJORITY, 7);
	uint64_t term = story_view(s, 0)->term;

	sim_crash(s, 2, true);
	assert_in_range(story_run_until(s, 5 * DEAD, story_left_out, 2, true), DEAD / 2, DEAD * 3 / 2);
	assert_int_equal(story_view(s, 0)->term, term);
	sim_start(s, 2);
	assert_true(story_run_until(s, 5 * DEAD, story_agreed, 2, false) <= 2 * DEAD);
	story_down(s);
}

/* kill -9 of clusterd, back within half the dead interval: still a member in every view, and nobody was fenced. */
static void test_restart_of_clusterd(void **state)
{
	for (uint64_t seed = 1; seed <= 40; seed++) {
		struct sim *s = cluster_up(3, seed % 4 == 0 ? CLUSTER_QUORUM_NONE : CLUSTER_QUORUM_MAJORITY, seed);
		uint32_t p = (uint32_t)(seed % 3);

		sim_run(s, s->now + sim_random(s, 500 * MS));
		sim_crash(s, p, false);
		story_run_until(s, 200, story_never, 9, true);
		sim_start(s, p);
		story_run_until(s, 3 * DEAD, story_never, 9, true);
		assert_true(story_agreed(s, p));
		assert_int_equal(sim_leader(s), 0);
		for (uint32_t i = 0; i < s->n_views; i++) {
			assert_true(s->views[i].in[p]);
		}
		story_down(s);
	}
}

/* All links of a node go and come back: its transportd was restarted. */
static void test_restart_of_transportd(void **state)
{
	struct sim *s = cluster_up(3, CLUSTER_QUORUM_MAJORITY, 3);

	sim_cut(s, 0, 1, true);
	sim_cut(s, 0, 2, true);
	story_run_until(s, 250, story_never, 9, true);
	sim_cut(s, 0, 1, false);
	sim_cut(s, 0, 2, false);
	story_run_until(s, 3 * DEAD, story_never, 9, true);
	assert_int_equal(sim_leader(s), 0);
	for (uint32_t i = 0; i < s->n_views; i++) {
		assert_true(s->views[i].in[0]);
	}
	story_down(s);
}

static void test_planned_leave_of_leader(void **state)
{
	struct sim *s = cluster_up(4, CLUSTER_QUORUM_MAJORITY, 5);

	sim_leave(s, 0);
	assert_in_range(story_run_until(s, DEAD, another_leads, 0, true), 0, 50);
	assert_in_range(story_run_until(s, DEAD, story_left_out, 0, true), 0, 50);
	assert_int_equal(sim_leader(s), 1);
	story_down(s);
}

static void test_planned_leave_of_follower(void **state)
{
	struct sim *s = cluster_up(4, CLUSTER_QUORUM_MAJORITY, 5);

	sim_leave(s, 3);
	assert_in_range(story_run_until(s, DEAD, story_left_out, 3, true), 0, 50);
	assert_int_equal(story_view(s, 0)->term, 1);
	story_down(s);
}

/* The leader, and who is next, at the same moment: neither waits for the other, and nobody else notices (H-137).
 * Without a majority the others wait a little longer for the answer of one that has gone. */
static void test_planned_leave_of_two(void **state)
{
	for (uint64_t seed = 1; seed <= 20; seed++) {
		bool majority = seed % 4 != 0;
		struct sim *s = cluster_up(5, majority ? CLUSTER_QUORUM_MAJORITY : CLUSTER_QUORUM_NONE, seed);
		uint64_t end;

		sim_run(s, s->now + sim_random(s, 500 * MS));
		sim_leave(s, (uint32_t)(seed % 2));
		sim_run(s, s->now + sim_random(s, 3 * MS));
		sim_leave(s, (uint32_t)((seed + 1) % 2));
		for (end = s->now + 3 * DEAD * MS; s->now < end;) {
			sim_run(s, s->now + MS);
			assert_string_equal(s->failure, "");
			for (uint32_t p = 2; p < 5 && majority; p++) {
				assert_true(sim_acts(s, &s->nodes[p]));
			}
		}
		assert_null(s->nodes[0].c);
		assert_null(s->nodes[1].c);
		assert_in_range(sim_leader(s), 2, 4);
		assert_true(story_left_out(s, 0) && story_left_out(s, 1));
		for (uint32_t p = 2; p < 5; p++) {
			assert_true(sim_acts(s, &s->nodes[p]));
		}
		story_down(s);
	}
}

static void test_stopped_leader_hands_over(void **state)
{
	struct sim *s = cluster_up(3, CLUSTER_QUORUM_MAJORITY, 6);

	sim_set_flags(s, 0, NODE_FLAG_STOPPED);
	story_run_until(s, DEAD, another_leads, 0, true);
	assert_int_equal(sim_leader(s), 1);
	assert_false(sim_acts(s, &s->nodes[0]));
	assert_true(story_run_until(s, 3 * DEAD, story_agreed, 0, false) < DEAD);
	assert_int_equal(story_view(s, 2)->members.v[0].flags, NODE_FLAG_STOPPED);
	sim_set_flags(s, 0, 0);
	assert_true(story_run_until(s, 3 * DEAD, story_agreed, 0, false) < DEAD);
	assert_int_equal(sim_leader(s), 1);
	story_down(s);
}

/* The minority side is fenced before the majority side leaves it out (checked at each step), and comes back. */
static void test_partition(void **state)
{
	struct sim *s = cluster_up(5, CLUSTER_QUORUM_MAJORITY, 8);
	uint32_t leader;

	for (uint32_t a = 0; a < 2; a++) {
		for (uint32_t b = 2; b < 5; b++) {
			sim_cut(s, a, b, true);
		}
	}
	sim_run(s, s->now + 3 * DEAD * MS);
	leader = sim_leader(s);
	assert_in_range(leader, 2, 4);
	assert_false(sim_acts(s, &s->nodes[0]) || sim_acts(s, &s->nodes[1]));
	assert_true(sim_acts(s, &s->nodes[2]) && sim_acts(s, &s->nodes[4]));
	for (uint32_t a = 0; a < 2; a++) {
		for (uint32_t b = 2; b < 5; b++) {
			sim_cut(s, a, b, false);
		}
	}
	assert_true(story_run_until(s, 5 * DEAD, story_agreed, 0, false) < 2 * DEAD);
	assert_int_equal(sim_leader(s), leader);
	story_down(s);
}

static void test_no_majority_no_leader(void **state)
{
	struct sim *s = cluster_up(3, CLUSTER_QUORUM_MAJORITY, 9);
	struct cluster_status status;

	sim_crash(s, 1, true);
	sim_crash(s, 2, true);
	sim_run(s, s->now + 4 * DEAD * MS);
	assert_int_equal(sim_leader(s), NOBODY);
	assert_false(sim_acts(s, &s->nodes[0]));
	cluster_tell_status(s->nodes[0].c, (struct mono){sim_local(&s->nodes[0], s->now)}, s, &status);
	assert_string_equal(status.verdict, "no leader: 1 of 3 configured nodes reachable, majority needs 2");
	assert_int_equal(status.arbitration, CLUSTER_ARBITRATION_LOST);
	story_down(s);
}

static void test_none_goes_on_alone_and_merges(void **state)
{
	struct sim *s = cluster_up(3, CLUSTER_QUORUM_NONE, 10);

	sim_cut(s, 0, 1, true);
	sim_cut(s, 0, 2, true);
	sim_run(s, s->now + 4 * DEAD * MS);
	assert_true(story_all_act(s, NOBODY));
	assert_int_equal(story_view(s, 0)->leader, 0);
	assert_int_equal(story_view(s, 2)->leader, 1);
	sim_cut(s, 0, 1, false);
	sim_cut(s, 0, 2, false);
	assert_true(story_run_until(s, 5 * DEAD, story_agreed, 0, false) < 2 * DEAD);
	story_down(s);
}

static void test_verdict(void **state)
{
	struct sim *s = cluster_up(3, CLUSTER_QUORUM_MAJORITY, 11);
	struct cluster_status status;

	sim_run(s, 12500 * MS);
	cluster_tell_status(s->nodes[1].c, (struct mono){sim_local(&s->nodes[1], s->now)}, s, &status);
	assert_string_equal(status.verdict, "healthy: 3 of 3 nodes active, leader node 0 since 12 s");
	sim_crash(s, 2, true);
	sim_run(s, s->now + 9 * DEAD * MS / 2);
	cluster_tell_status(s->nodes[1].c, (struct mono){sim_local(&s->nodes[1], s->now)}, s, &status);
	assert_string_equal(status.verdict,
			    "degraded: 2 of 3 nodes active, leader node 0 since 16 s; node 2 is disconnected "
			    "since 3 s; check its power, network and log");
	assert_true(status.state.active);
	story_down(s);
}

/* A node with another nodes file: kept out, told why, and the others do not mind. */
static void test_other_nodes_file(void **state)
{
	struct sim_options opt = {.seed = 4, .nodes = 3, .dead_ms = DEAD, .heartbeat_ms = 250};
	struct sim *s = sim_new(&opt);
	struct cluster_status status;

	s->nodes[2].other_nodes_file = true;
	for (uint32_t p = 0; p < 3; p++) {
		sim_start(s, p);
	}
	sim_run(s, 5 * DEAD * MS);
	assert_int_equal(sim_leader(s), 0);
	assert_true(sim_acts(s, &s->nodes[1]));
	assert_false(sim_acts(s, &s->nodes[2]));
	cluster_tell_status(s->nodes[2].c, (struct mono){sim_local(&s->nodes[2], s->now)}, s, &status);
	assert_string_equal(status.verdict,
			    "nodes file, arbitration or dead interval differs from that of leader node 0: make them "
			    "equal and restart");
	cluster_tell_status(s->nodes[0].c, (struct mono){sim_local(&s->nodes[0], s->now)}, s, &status);
	assert_non_null(strstr(status.verdict, "degraded: 2 of 3 nodes active"));
	assert_non_null(strstr(status.verdict, "its nodes file, arbitration or dead interval differs"));
	story_down(s);
}

/* ---- terms ---- */

#define TERM_ENOUGH   ((1ULL << 56) + (1ULL << 41)) /* further ahead than any cluster can come */
#define TERM_TOO_HIGH (1ULL << 61)

/* What a node says that is broken in nothing but its terms; false: there is no more. */
static bool broken_message(const struct sim *s, uint32_t from, unsigned i, struct cluster_msg *m, uint64_t term)
{
	uint64_t stamp = story_local(s, from).ns, incarnation = s->nodes[from].incarnation;
	const struct cluster_view *v = story_view(s, from);
	static struct cluster_view view;

#define FROM(t) .term = t, .stamp = stamp, .incarnation = incarnation, .nodes_hash = 1
	view = *v;
	view.term = term;
	switch (i) {
	case 0:
		*m = (struct cluster_msg){CLUSTER_MSG_HELLO,
					  {.hello = {FROM(term), .leader = NOBODY, .claim_leader = NOBODY}}};
		return true;
	case 1:
		*m = (struct cluster_msg){
			CLUSTER_MSG_HELLO,
			{.hello = {FROM(v->term), .leader = NOBODY, .claim_leader = from, .claim_term = term}}};
		return true;
	case 2:
		*m = (struct cluster_msg){CLUSTER_MSG_VOTE_REQUEST, {.vote_request = {FROM(term)}}};
		return true;
	case 3:
		*m = (struct cluster_msg){CLUSTER_MSG_VOTE_REQUEST, {.vote_request = {FROM(term), .handover = true}}};
		return true;
	case 4:
		*m = (struct cluster_msg){CLUSTER_MSG_VOTE_REPLY, {.vote_reply = {FROM(term), .asked = term}}};
		return true;
	case 5:
		*m = (struct cluster_msg){CLUSTER_MSG_LEASE_GRANT, {.lease_grant = {FROM(term), .barred_by = NOBODY}}};
		return true;
	case 6:
		*m = (struct cluster_msg){CLUSTER_MSG_LEASE_GRANT,
					  {.lease_grant = {FROM(v->term), .barred_by = NOBODY, .view = &view}}};
		return true;
	case 7:
		*m = (struct cluster_msg){CLUSTER_MSG_LEASE_ACK, {.lease_ack = {FROM(term), .leader = NOBODY}}};
		return true;
	case 8:
		*m = (struct cluster_msg){
			CLUSTER_MSG_NODES_STEP,
			{.nodes_step = {FROM(v->term), .change = {2, term, 1}, .text = (char *)(uintptr_t) ""}}};
		return true;
	case 9:
		*m = (struct cluster_msg){
			CLUSTER_MSG_NODES_ANSWER,
			{.nodes_answer = {FROM(v->term), .prepared = {2, term, 1}, .reason = (char *)(uintptr_t) ""}}};
		return true;
	default:
		return false;
	}
#undef FROM
}

/* One broken packet does not use up the terms: everything goes on as before, and there is another leader when it is
 * needed. */
static void terms_too_high(enum cluster_quorum quorum, bool bounded, uint64_t term)
{
	struct sim *s = story_new(3, quorum, bounded, 6);
	struct cluster_msg m;
	uint64_t before;

	story_up(s);
	before = cluster_term(s->nodes[0].c);
	for (uint32_t to = 0; to < 3; to++) {
		for (unsigned i = 0; broken_message(s, (to + 1) % 3, i, &m, term); i++) {
			cluster_message(s->nodes[to].c, story_local(s, to), (to + 1) % 3, &m);
			assert_int_equal(cluster_term(s->nodes[to].c), before);
			assert_true(story_view(s, to)->term <= before);
		}
		sim_after_input(s, &s->nodes[to]);
	}
	sim_run(s, s->now + 3 * DEAD * MS);
	assert_true(story_agreed(s, NOBODY));
	assert_int_equal(cluster_term(s->nodes[0].c), before);
	sim_crash(s, sim_leader(s), true);
	sim_run(s, s->now + 10 * DEAD * MS);
	assert_string_equal(s->failure, "");
	assert_int_not_equal(sim_leader(s), NOBODY);
	story_down(s);
}

static void test_one_packet_does_not_use_up_the_terms(void **state)
{
	terms_too_high(CLUSTER_QUORUM_MAJORITY, false, TERM_ENOUGH);
	terms_too_high(CLUSTER_QUORUM_NONE, false, TERM_ENOUGH);
	terms_too_high(CLUSTER_QUORUM_EXTERNAL, false, TERM_ENOUGH);
	terms_too_high(CLUSTER_QUORUM_EXTERNAL, true, TERM_ENOUGH);
	for (enum cluster_quorum q = CLUSTER_QUORUM_MAJORITY; q <= CLUSTER_QUORUM_EXTERNAL; q++) {
		terms_too_high(q, false, TERM_TOO_HIGH);
		terms_too_high(q, false, UINT64_MAX >> 2);
		terms_too_high(q, false, UINT64_MAX);
	}
}

/* Whoever is new follows a cluster that is old, or that had a lock and so terms that follow the clock. */
static void test_new_node_among_high_terms(void **state)
{
	static const uint64_t terms[] = {1ULL << 32, 1790000000000ULL * 256, (1ULL << 56) + (1ULL << 39)};

	for (enum cluster_quorum q = CLUSTER_QUORUM_MAJORITY; q <= CLUSTER_QUORUM_EXTERNAL; q++) {
		for (unsigned i = 0; i < sizeof(terms) / sizeof(terms[0]); i++) {
			struct sim *s = story_new(3, q, false, 7 + i);

			s->nodes[1].durable.term = s->nodes[2].durable.term = terms[i];
			s->nodes[1].durable.vote = s->nodes[2].durable.vote = 1;
			for (uint32_t p = 0; p < 3; p++) {
				sim_start(s, p);
			}
			assert_true(story_run_until(s, 20 * DEAD, story_agreed, NOBODY, false) < 10 * DEAD);
			assert_true(cluster_term(s->nodes[0].c) > terms[i]);
			story_down(s);
		}
	}
}

static void random_message(uint64_t *rnd, TALLOC_CTX *mem, struct cluster_msg *m)
{
	m->kind = (enum cluster_msg_kind)(*rnd % 8);
	switch (m->kind) {
	case CLUSTER_MSG_HELLO:
		cluster_hello_random(rnd, mem, &m->u.hello);
		m->u.hello.nodes_hash = 1;
		break;
	case CLUSTER_MSG_VOTE_REQUEST:
		vote_request_random(rnd, mem, &m->u.vote_request);
		m->u.vote_request.nodes_hash = 1;
		break;
	case CLUSTER_MSG_VOTE_REPLY:
		vote_reply_random(rnd, mem, &m->u.vote_reply);
		m->u.vote_reply.nodes_hash = 1;
		break;
	case CLUSTER_MSG_LEASE_GRANT:
		lease_grant_random(rnd, mem, &m->u.lease_grant);
		m->u.lease_grant.nodes_hash = 1;
		break;
	case CLUSTER_MSG_LEASE_ACK:
		lease_ack_random(rnd, mem, &m->u.lease_ack);
		m->u.lease_ack.nodes_hash = 1;
		break;
	case CLUSTER_MSG_HANDOVER:
		cluster_handover_random(rnd, mem, &m->u.handover);
		m->u.handover.nodes_hash = 1;
		break;
	case CLUSTER_MSG_NODES_STEP:
		cluster_nodes_step_random(rnd, mem, &m->u.nodes_step);
		m->u.nodes_step.nodes_hash = 1;
		break;
	case CLUSTER_MSG_NODES_ANSWER:
		cluster_nodes_answer_random(rnd, mem, &m->u.nodes_answer);
		m->u.nodes_answer.nodes_hash = 1;
		break;
	}
}

/* Well-formed packets of any content: no crash, always a time to wake up, never active by them alone. */
static void test_nonsense(void **state)
{
	for (uint64_t seed = 1; seed <= 40; seed++) {
		struct sim_options opt = {
			.seed = seed, .nodes = 5, .quorum = seed % 2, .dead_ms = DEAD, .heartbeat_ms = 250};
		struct sim *s = sim_new(&opt);
		uint64_t rnd = seed;

		sim_start(s, 0);
		for (unsigned i = 0; i < 500; i++) {
			struct cluster_msg m;
			void *mem = talloc_new(s);
			struct mono now = {sim_local(&s->nodes[0], s->now)};
			struct cluster_status status;

			random_message(&rnd, mem, &m);
			cluster_message(s->nodes[0].c, now, (uint32_t)(rnd >> 20) % 7, &m);
			assert_true(mono_before(now, cluster_wakeup(s->nodes[0].c)));
			cluster_tell_status(s->nodes[0].c, now, mem, &status);
			assert_true(strlen(status.verdict) < 200);
			assert_true(strlen(status.state.reason) <= 200);
			talloc_free(mem);
			s->now += sim_random(s, 5 * MS);
			cluster_tick(s->nodes[0].c, (struct mono){sim_local(&s->nodes[0], s->now)});
		}
		talloc_free(s);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_start_is_quick_and_gives_one_view),
		cmocka_unit_test(test_single_node),
		cmocka_unit_test(test_start_with_one_missing),
		cmocka_unit_test(test_undisturbed_nothing_happens),
		cmocka_unit_test(test_leader_lost),
		cmocka_unit_test(test_leader_of_128_lost),
		cmocka_unit_test(test_follower_lost),
		cmocka_unit_test(test_restart_of_clusterd),
		cmocka_unit_test(test_restart_of_transportd),
		cmocka_unit_test(test_planned_leave_of_leader),
		cmocka_unit_test(test_planned_leave_of_follower),
		cmocka_unit_test(test_planned_leave_of_two),
		cmocka_unit_test(test_stopped_leader_hands_over),
		cmocka_unit_test(test_partition),
		cmocka_unit_test(test_no_majority_no_leader),
		cmocka_unit_test(test_none_goes_on_alone_and_merges),
		cmocka_unit_test(test_verdict),
		cmocka_unit_test(test_other_nodes_file),
		cmocka_unit_test(test_one_packet_does_not_use_up_the_terms),
		cmocka_unit_test(test_new_node_among_high_terms),
		cmocka_unit_test(test_nonsense),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
