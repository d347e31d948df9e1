/* Bad links and nodes that fail, in stories with a known end: who is left out, who leads, who is fenced, who is banned.
 */
#include <stdio.h>
#include <string.h>
#include <errno.h>

#include "story.h"

static struct sim *cluster_up(uint32_t nodes, enum cluster_quorum quorum, uint64_t seed)
{
	struct sim *s = story_new(nodes, quorum, false, seed);

	story_up(s);
	return s;
}

static uint64_t term_of(const struct sim *s, uint32_t p)
{
	return cluster_newest_view(s->nodes[p].c)->term;
}

/* Who acts, as a mask. */
static unsigned acting(const struct sim *s)
{
	unsigned mask = 0;

	for (uint32_t p = 0; p < s->opt.nodes; p++) {
		mask |= sim_acts(s, &s->nodes[p]) ? 1U << p : 0;
	}
	return mask;
}

/* For so long; those in mask have to act all the time. */
static void go_on(struct sim *s, uint64_t ms, unsigned mask)
{
	uint64_t begin = s->now;

	while (s->now < begin + ms * MS) {
		sim_run(s, s->now + MS);
		assert_string_equal(s->failure, "");
		if ((acting(s) & mask) != mask) {
			fail_msg("%.1f ms after: only 0x%x act of 0x%x", (double)(s->now - begin) / 1e6, acting(s),
				 mask);
		}
	}
}

static void views_stay(struct sim *s)
{
	uint32_t views = s->n_views;

	go_on(s, 20 * DEAD, 0);
	if (views != s->n_views) {
		fail_msg("%u more views in a network that does not change", (unsigned)(s->n_views - views));
	}
}

static const char *verdict(struct sim *s, uint32_t p)
{
	struct cluster_status status;

	cluster_tell_status(s->nodes[p].c, story_local(s, p), s, &status);
	return status.verdict;
}

static void status_of(struct sim *s, uint32_t p, struct cluster_status *status)
{
	cluster_tell_status(s->nodes[p].c, story_local(s, p), s, status);
}

/* ---- one bad link ---- */

/* Between two followers: the higher one goes, nobody else notices, both ends say why, and it comes back. */
static void follower_link(uint32_t nodes, uint32_t a, uint32_t b, enum cluster_quorum quorum)
{
	struct sim *s = cluster_up(nodes, quorum, nodes);
	unsigned all = (1U << nodes) - 1, rest = all & ~(1U << b);
	struct cluster_status status;
	char text[64];

	sim_cut(s, a, b, true);
	go_on(s, 5 * DEAD, rest);
	assert_int_equal(acting(s), rest);
	assert_int_equal(term_of(s, 0), term_of(s, a));
	assert_int_equal(sim_leader(s), 0);
	status_of(s, 0, &status);
	assert_int_equal(status.nodes.v[b].barred_by, a);
	snprintf(text, sizeof(text), "it and node %u cannot reach each other", (unsigned)a);
	assert_non_null(strstr(status.verdict, text));
	assert_non_null(strstr(verdict(s, a), text));
	snprintf(text, sizeof(text), "node %u cannot reach node %u: left out by the leader", (unsigned)b, (unsigned)a);
	assert_non_null(strstr(verdict(s, b), text));
	views_stay(s);
	sim_cut(s, a, b, false);
	go_on(s, 3 * DEAD, rest);
	assert_int_equal(acting(s), all);
	status_of(s, 0, &status);
	assert_int_equal(status.nodes.v[b].barred_by, NOBODY);
	story_down(s);
}

static void test_link_between_followers(void **state)
{
	follower_link(3, 1, 2, CLUSTER_QUORUM_MAJORITY);
	follower_link(4, 1, 2, CLUSTER_QUORUM_MAJORITY);
	follower_link(5, 2, 4, CLUSTER_QUORUM_MAJORITY);
	follower_link(5, 1, 3, CLUSTER_QUORUM_NONE);
}

/* The leader's own link, one: the other end goes, the leader stays. */
static void test_one_link_of_the_leader(void **state)
{
	for (uint32_t nodes = 3; nodes <= 5; nodes++) {
		for (enum cluster_quorum q = CLUSTER_QUORUM_MAJORITY; q <= CLUSTER_QUORUM_NONE; q++) {
			struct sim *s = cluster_up(nodes, q, nodes);
			unsigned rest = ((1U << nodes) - 1) & ~2U;
			struct cluster_status status;
			uint64_t term = term_of(s, 0);

			sim_cut(s, 0, 1, true);
			go_on(s, 6 * DEAD, rest);
			assert_int_equal(acting(s), rest);
			assert_int_equal(term_of(s, 0), term);
			status_of(s, 0, &status);
			assert_int_equal(status.nodes.v[1].barred_by, 0);
			views_stay(s);
			sim_cut(s, 0, 1, false);
			go_on(s, 4 * DEAD, rest);
			assert_int_equal(acting(s), rest | 2U);
			story_down(s);
		}
	}
}

/* The leader loses several: it hands over, and nobody but it is fenced, not even for a moment. */
static void leader_loses(uint32_t nodes, uint32_t lost, enum cluster_quorum quorum, uint64_t seed)
{
	struct sim *s = cluster_up(nodes, quorum, seed);
	unsigned others = ((1U << nodes) - 1) & ~1U;

	go_on(s, sim_random(s, 500), others);
	for (uint32_t p = 1; p <= lost; p++) {
		sim_cut(s, 0, p, true);
	}
	go_on(s, 6 * DEAD, others);
	assert_int_equal(acting(s), others);
	assert_int_equal(sim_leader(s), lost + 1);
	assert_non_null(strstr(verdict(s, 0), "node 0 cannot reach node"));
	views_stay(s);
	for (uint32_t p = 1; p <= lost; p++) {
		sim_cut(s, 0, p, false);
	}
	go_on(s, 3 * DEAD, others);
	assert_int_equal(acting(s), others | 1U);
	assert_int_equal(sim_leader(s), lost + 1);
	story_down(s);
}

static void test_leader_reaches_fewer_than_others(void **state)
{
	for (uint64_t seed = 1; seed <= 20; seed++) {
		enum cluster_quorum q = seed % 2 == 0 ? CLUSTER_QUORUM_NONE : CLUSTER_QUORUM_MAJORITY;

		leader_loses(4, 2, q, seed);
		leader_loses(5, 2, q, seed);
		leader_loses(5, 3, q, seed);
		leader_loses(8, 2, q, seed);
	}
}

/* ---- what must leave no trace ---- */

/* All links of a node are away for less than the dead interval: no view without it, no other leader. */
static void away(uint32_t nodes, uint32_t p, uint64_t ms, uint64_t seed)
{
	struct sim *s = cluster_up(nodes, CLUSTER_QUORUM_MAJORITY, seed);
	uint64_t term = term_of(s, 0);

	go_on(s, sim_random(s, 500), 0);
	for (uint32_t q = 0; q < nodes; q++) {
		sim_cut(s, p, q, true);
	}
	go_on(s, ms, 0);
	for (uint32_t q = 0; q < nodes; q++) {
		sim_cut(s, p, q, false);
	}
	go_on(s, 5 * DEAD, 0);
	assert_int_equal(acting(s), (1U << nodes) - 1);
	for (uint32_t i = 0; i < s->n_views; i++) {
		assert_true(s->views[i].in[p]);
	}
	/* The leader: with the heartbeat before and the time until links are up it is no longer than a promise. */
	if (p != 0 || ms < DEAD * 3 / 10) {
		assert_int_equal(sim_leader(s), 0);
		assert_int_equal(term_of(s, 0), term);
	}
	story_down(s);
}

static void test_restart_of_transportd_leaves_no_trace(void **state)
{
	for (uint64_t seed = 1; seed <= 20; seed++) {
		away(3, (uint32_t)(seed % 3), 100 + 17 * seed, seed);
		away(5, (uint32_t)(seed % 5), 100 + 17 * seed, seed);
		away(5, 1 + (uint32_t)(seed % 4), 700, seed);
	}
}

/* One link goes and comes for less than the dead interval, once in a while. */
static void test_short_interruptions_of_one_link(void **state)
{
	struct sim *s = cluster_up(4, CLUSTER_QUORUM_MAJORITY, 3);
	uint32_t views = s->n_views;

	for (unsigned i = 0; i < 10; i++) {
		sim_cut(s, 1, 3, true);
		go_on(s, 800, 15);
		sim_cut(s, 1, 3, false);
		go_on(s, 5 * DEAD, 15);
	}
	assert_int_equal(s->n_views, views);
	story_down(s);
}

/* ---- flapping ---- */

/* Less than the dead interval each time, but again and again: it does count. And coming back takes longer each time. */
static void test_flapping_link(void **state)
{
	struct sim *s = cluster_up(4, CLUSTER_QUORUM_MAJORITY, 4);
	uint32_t views = s->n_views;

	for (unsigned i = 0; i < 200; i++) {
		sim_cut(s, 1, 3, true);
		go_on(s, 800, 7);
		sim_cut(s, 1, 3, false);
		go_on(s, 300, 7);
	}
	/* Out, and after 1 s, 2 s, 4 s without a fault back, which gets rarer. */
	assert_int_equal(acting(s), 7);
	assert_in_range(s->n_views - views, 1, 7);
	go_on(s, 20 * DEAD, 7);
	assert_int_equal(acting(s), 15);
	story_down(s);
}

static void test_slowly_flapping_link(void **state)
{
	struct sim *s = cluster_up(4, CLUSTER_QUORUM_MAJORITY, 5);
	uint32_t views = s->n_views;
	unsigned rounds = 60; /* 10 s each */

	for (unsigned i = 0; i < rounds; i++) {
		sim_cut(s, 1, 3, true);
		go_on(s, 3 * DEAD, 7);
		sim_cut(s, 1, 3, false);
		go_on(s, 7 * DEAD, 7);
	}
	/* 1, 2, 4 s are over before it goes again, 8 s are not. */
	assert_in_range(s->n_views - views, 2, 8);
	assert_int_equal(acting(s), 7);
	go_on(s, 70 * DEAD, 7);
	assert_int_equal(acting(s), 15);
	story_down(s);
}

/* ---- odd reports ---- */

/* A node that says it reaches nobody, though all is well: it goes, nobody else. */
static void test_node_that_says_it_is_alone(void **state)
{
	struct sim *s = cluster_up(4, CLUSTER_QUORUM_MAJORITY, 6);

	for (uint32_t q = 1; q < 4; q++) {
		if (q != 2) {
			cluster_link(s->nodes[2].c, story_local(s, 2), q, false);
		}
	}
	go_on(s, 4 * DEAD, 11);
	assert_int_equal(acting(s), 11);
	assert_int_equal(sim_leader(s), 0);
	views_stay(s);
	story_down(s);
}

/* Packets in one direction get lost, and no link goes down. */
static void test_one_way(void **state)
{
	for (uint64_t seed = 1; seed <= 10; seed++) {
		struct sim *s = cluster_up(5, CLUSTER_QUORUM_MAJORITY, seed);

		sim_mute(s, 0, 1, true);
		go_on(s, 5 * DEAD, 29);
		assert_int_equal(acting(s), 29);
		assert_int_equal(sim_leader(s), 0);
		/* A second one: now the leader is to go, before that one is fenced. */
		sim_mute(s, 0, 2, true);
		go_on(s, 10 * DEAD, 28);
		sim_mute(s, 0, 1, false);
		sim_mute(s, 0, 2, false);
		go_on(s, 5 * DEAD, 28);
		assert_int_equal(acting(s), 31);
		story_down(s);
	}
}

/* Two at once, one way: others hear them, so the leader hands over while their leases last. */
static void test_two_one_way(void **state)
{
	for (uint64_t seed = 1; seed <= 20; seed++) {
		struct sim *s = cluster_up(5, seed % 2 == 0 ? CLUSTER_QUORUM_NONE : CLUSTER_QUORUM_MAJORITY, seed);

		go_on(s, sim_random(s, 500), 31);
		sim_mute(s, 0, 1, true);
		sim_mute(s, 0, 2, true);
		go_on(s, 5 * DEAD, 31);
		assert_int_equal(sim_leader(s), 3);
		views_stay(s);
		story_down(s);
	}
}

/* Two machines lose power together: nobody else hears them, the leader stays. */
static void test_two_power_cuts_are_no_fault_of_the_leader(void **state)
{
	for (uint64_t seed = 1; seed <= 20; seed++) {
		struct sim *s = cluster_up(5, CLUSTER_QUORUM_MAJORITY, seed);
		uint64_t term = term_of(s, 0);

		go_on(s, sim_random(s, 500), 31);
		sim_crash(s, 1, true);
		sim_crash(s, 2, true);
		go_on(s, 5 * DEAD, 25);
		assert_int_equal(sim_leader(s), 0);
		assert_int_equal(term_of(s, 0), term);
		story_down(s);
	}
}

/* The leader stands still: when it goes on it has heard nobody, and must not conclude anything from that. */
static void test_stalled_leader_accuses_nobody(void **state)
{
	for (uint64_t seed = 1; seed <= 20; seed++) {
		struct sim *s = cluster_up(5, CLUSTER_QUORUM_NONE, seed);
		uint32_t views = s->n_views;

		sim_pause(s, 0, 450 * MS);
		go_on(s, 5 * DEAD, 0);
		assert_int_equal(acting(s), 31);
		for (uint32_t i = views; i < s->n_views; i++) {
			for (uint32_t p = 0; p < 5; p++) {
				assert_true(s->views[i].in[p]);
			}
		}
		story_down(s);
	}
}

/* ---- several bad links ---- */

/* Two halves that meet in one node: it leads, and one half goes. */
static void test_bow_tie(void **state)
{
	struct sim *s = cluster_up(5, CLUSTER_QUORUM_MAJORITY, 9);
	uint32_t a, b;

	for (a = 0; a < 2; a++) {
		for (b = 3; b < 5; b++) {
			sim_cut(s, a, b, true);
		}
	}
	go_on(s, 8 * DEAD, 4);
	assert_int_equal(__builtin_popcount(acting(s)), 3);
	assert_true((acting(s) & 4) != 0);
	assert_true(sim_mesh_complete(s, &a, &b));
	views_stay(s);
	story_down(s);
}

static uint32_t largest_complete(const struct sim *s)
{
	unsigned best = 0;

	for (unsigned mask = 1; mask < 1U << s->opt.nodes; mask++) {
		bool ok = true;

		for (uint32_t a = 0; a < s->opt.nodes && ok; a++) {
			for (uint32_t b = a + 1; b < s->opt.nodes && ok; b++) {
				ok = (mask >> a & 1) == 0 || (mask >> b & 1) == 0 || !s->cut[a][b];
			}
		}
		best = ok && (unsigned)__builtin_popcount(mask) > best ? (unsigned)__builtin_popcount(mask) : best;
	}
	return best;
}

/* Any links are bad, among 5 and 8 nodes: in the end those that act reach each other, and nothing moves any more. */
static void partial(uint32_t nodes, enum cluster_quorum quorum, uint64_t seed, unsigned *sum, unsigned *possible)
{
	struct sim *s = cluster_up(nodes, quorum, seed);
	unsigned cuts = 1 + (unsigned)sim_random(s, nodes);
	uint32_t a, b;

	for (unsigned i = 0; i < cuts; i++) {
		a = (uint32_t)sim_random(s, nodes);
		b = (uint32_t)sim_random(s, nodes);
		sim_cut(s, a, b, true);
	}
	go_on(s, 20 * DEAD, 0);
	if (!sim_mesh_complete(s, &a, &b)) {
		fail_msg("seed %u: nodes %u and %u act but do not reach each other", (unsigned)seed, (unsigned)a,
			 (unsigned)b);
	}
	views_stay(s);
	*sum += (unsigned)__builtin_popcount(acting(s));
	*possible += largest_complete(s);
	for (a = 0; a < nodes; a++) {
		for (b = a + 1; b < nodes; b++) {
			sim_cut(s, a, b, false);
		}
	}
	go_on(s, 70 * DEAD, 0);
	assert_int_equal(acting(s), (1U << nodes) - 1);
	story_down(s);
}

static void test_any_bad_links(void **state)
{
	unsigned sum = 0, possible = 0;

	for (uint64_t seed = 1; seed <= 60; seed++) {
		partial(5, CLUSTER_QUORUM_MAJORITY, seed, &sum, &possible);
		partial(8, CLUSTER_QUORUM_MAJORITY, seed, &sum, &possible);
		partial(5, CLUSTER_QUORUM_NONE, seed, &sum, &possible);
		partial(8, CLUSTER_QUORUM_NONE, seed, &sum, &possible);
	}
	/* It does not look for the best solution, but must come near to it. */
	if (sum * 100 < possible * 95) {
		fail_msg("%u nodes act where %u could", sum, possible);
	}
}

/* A node that starts, or comes back, with a bad link to a member never becomes one. */
static void test_newcomer_with_a_bad_link(void **state)
{
	struct sim *s = cluster_up(4, CLUSTER_QUORUM_MAJORITY, 12);
	uint32_t views;

	sim_crash(s, 3, true);
	go_on(s, 3 * DEAD, 7);
	sim_cut(s, 1, 3, true);
	views = s->n_views;
	sim_start(s, 3);
	go_on(s, 5 * DEAD, 7);
	assert_int_equal(acting(s), 7);
	assert_int_equal(s->n_views, views);
	assert_non_null(strstr(verdict(s, 3), "node 3 cannot reach node 1: left out by the leader"));
	sim_cut(s, 1, 3, false);
	go_on(s, 4 * DEAD, 7);
	assert_int_equal(acting(s), 15);
	story_down(s);
}

/* A stopped node takes no part in the databases: its links do not matter until it goes on. */
static void test_stopped_node_needs_no_links(void **state)
{
	struct sim *s = cluster_up(4, CLUSTER_QUORUM_MAJORITY, 13);
	uint32_t views;

	sim_set_flags(s, 2, NODE_FLAG_STOPPED);
	go_on(s, 2 * DEAD, 11);
	views = s->n_views;
	sim_cut(s, 1, 2, true);
	go_on(s, 5 * DEAD, 11);
	assert_int_equal(s->n_views, views);
	sim_set_flags(s, 2, 0);
	go_on(s, 4 * DEAD, 11);
	assert_int_equal(acting(s), 11);
	story_down(s);
}

/* The leader dies while a node is barred: the new leader does not take it in first. */
static void test_barred_node_and_new_leader(void **state)
{
	struct sim *s = cluster_up(5, CLUSTER_QUORUM_MAJORITY, 14);

	sim_cut(s, 2, 4, true);
	go_on(s, 5 * DEAD, 15);
	assert_int_equal(acting(s), 15);
	sim_crash(s, 0, true);
	go_on(s, 8 * DEAD, 14);
	assert_int_equal(acting(s), 14);
	for (uint32_t i = 0; i < s->n_views; i++) {
		assert_true(s->views[i].term == 1 || !s->views[i].in[4]);
	}
	story_down(s);
}

/* ---- credits ---- */

static int report(struct sim *s, uint32_t by, uint32_t pnn, uint32_t credits)
{
	return cluster_culprit(s->nodes[by].c, story_local(s, by), pnn, credits, "recovery failed there");
}

static uint32_t credits_of(struct sim *s, uint32_t by, uint32_t pnn)
{
	struct cluster_status status;

	status_of(s, by, &status);
	return status.nodes.v[pnn].credits;
}

static void test_credits_make_a_ban(void **state)
{
	struct sim *s = cluster_up(4, CLUSTER_QUORUM_MAJORITY, 21);

	go_on(s, 2 * DEAD, 15);
	for (unsigned i = 0; i < 7; i++) {
		assert_int_equal(report(s, 0, 2, 1), 0);
		go_on(s, 100, 15);
	}
	assert_int_equal(s->n_bans, 0);
	assert_int_equal(credits_of(s, 0, 2), 7);
	assert_int_equal(report(s, 0, 2, 1), 0);
	assert_int_equal(s->n_bans, 1);
	assert_int_equal(s->ban_pnn, 2);
	assert_int_equal(credits_of(s, 0, 2), 0);
	assert_int_equal(report(s, 0, 9, 1), EINVAL);
	assert_int_equal(report(s, 0, 1, 0), EINVAL);
	assert_int_equal(report(s, 0, 1, 101), EINVAL);
	story_down(s);
}

static void test_credits_are_forgotten(void **state)
{
	struct sim *s = cluster_up(4, CLUSTER_QUORUM_MAJORITY, 22);

	go_on(s, 2 * DEAD, 15);
	for (unsigned i = 0; i < 10; i++) {
		report(s, 0, 2, 7);
		sim_run(s, s->now + 121 * DEAD * MS);
		assert_int_equal(credits_of(s, 0, 2), 0);
	}
	assert_int_equal(s->n_bans, 0);
	story_down(s);
}

/* Only the leader's daemons are asked, and not when it has only just become leader, or is itself banned. */
static void test_who_may_judge(void **state)
{
	struct sim *s = cluster_up(4, CLUSTER_QUORUM_MAJORITY, 23);

	go_on(s, 2 * DEAD, 15);
	report(s, 1, 2, 100);
	assert_int_equal(s->n_bans, 0);
	sim_crash(s, 0, true);
	while (sim_leader(s) == NOBODY || sim_leader(s) == 0) {
		go_on(s, 1, 14);
	}
	report(s, sim_leader(s), 2, 100);
	assert_int_equal(s->n_bans, 0);
	go_on(s, 2 * DEAD, 14);
	report(s, sim_leader(s), 2, 100);
	/* Three of four are active: one less would be no majority. */
	assert_int_equal(s->n_bans, 0);
	sim_start(s, 0);
	go_on(s, 4 * DEAD, 14);
	report(s, sim_leader(s), 2, 100);
	assert_int_equal(s->n_bans, 1);
	story_down(s);
}

/* A leader that nobody answers any more still believes to lead for a while, and is in its own view: it judges nobody.
 * One that was banned does not either (H-074). */
static void test_inactive_judges_nobody(void **state)
{
	struct sim *s = cluster_up(7, CLUSTER_QUORUM_MAJORITY, 28);

	go_on(s, 2 * DEAD, 127);
	for (uint32_t p = 1; p < 7; p++) {
		sim_cut(s, 0, p, true);
	}
	sim_run(s, s->now + DEAD * MS * 3 / 4);
	assert_int_equal(cluster_role(s->nodes[0].c), CLUSTER_ROLE_LEADER);
	report(s, 0, 2, 100);
	assert_int_equal(s->n_bans, 0);
	for (uint32_t p = 1; p < 7; p++) {
		sim_cut(s, 0, p, false);
	}
	go_on(s, 5 * DEAD, 0);
	assert_int_equal(acting(s), 127);
	sim_set_flags(s, sim_leader(s), NODE_FLAG_BANNED);
	for (uint32_t p = 0; p < 7; p++) {
		report(s, p, (p + 1) % 7, 100);
	}
	assert_int_equal(s->n_bans, 0);
	story_down(s);
}

/* Both others of three fail: whose fault is it? Nobody is banned; another leads, not more often than now and then. */
static void test_no_storm_in_three_nodes(void **state)
{
	struct sim *s = cluster_up(3, CLUSTER_QUORUM_MAJORITY, 24);
	uint64_t first = term_of(s, 0), term;

	go_on(s, 2 * DEAD, 7);
	for (unsigned i = 0; i < 600; i++) {
		uint32_t leader = sim_leader(s);

		for (uint32_t p = 1; p <= 2 && leader != NOBODY; p++) {
			report(s, leader, p, 1);
		}
		go_on(s, 100, 7);
	}
	term = term_of(s, 0);
	assert_int_equal(s->n_bans, 0);
	assert_in_range(term - first, 1, 18);
	story_down(s);
}

/* Two of seven fail: one after the other is banned, ten dead intervals apart. */
static void test_bans_one_after_the_other(void **state)
{
	struct sim *s = cluster_up(7, CLUSTER_QUORUM_MAJORITY, 25);
	uint64_t first;

	go_on(s, 2 * DEAD, 127);
	report(s, 0, 2, 100);
	assert_int_equal(s->n_bans, 1);
	sim_set_flags(s, 2, NODE_FLAG_BANNED);
	first = s->now;
	while (s->n_bans == 1 && s->now < first + 20 * DEAD * MS) {
		report(s, 0, 3, 5);
		go_on(s, 100, 123 & ~8U);
	}
	assert_int_equal(s->n_bans, 2);
	assert_int_equal(s->ban_pnn, 3);
	assert_in_range((s->now - first) / MS, 9 * DEAD, 11 * DEAD);
	/* A banned node gets no credits. */
	report(s, 0, 2, 100);
	assert_int_equal(credits_of(s, 0, 2), 0);
	story_down(s);
}

/* The leader's own node fails: it does not ban itself, another leads and judges. */
static void test_leader_that_fails_itself(void **state)
{
	struct sim *s = cluster_up(4, CLUSTER_QUORUM_MAJORITY, 26);

	go_on(s, 2 * DEAD, 15);
	report(s, 0, 0, 100);
	assert_int_equal(s->n_bans, 0);
	go_on(s, 2 * DEAD, 15);
	assert_int_equal(sim_leader(s), 1);
	report(s, 1, 0, 100);
	assert_int_equal(s->n_bans, 1);
	assert_int_equal(s->ban_pnn, 0);
	story_down(s);
}

static void test_last_node_is_never_banned(void **state)
{
	struct sim *s = cluster_up(2, CLUSTER_QUORUM_NONE, 27);

	go_on(s, 2 * DEAD, 3);
	report(s, 0, 1, 100);
	assert_int_equal(s->n_bans, 1); /* one of two goes on alone */
	sim_set_flags(s, 1, NODE_FLAG_BANNED);
	go_on(s, 12 * DEAD, 1);
	report(s, 0, 0, 100);
	go_on(s, 2 * DEAD, 1);
	assert_int_equal(s->n_bans, 1);
	story_down(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_link_between_followers),
		cmocka_unit_test(test_one_link_of_the_leader),
		cmocka_unit_test(test_leader_reaches_fewer_than_others),
		cmocka_unit_test(test_restart_of_transportd_leaves_no_trace),
		cmocka_unit_test(test_short_interruptions_of_one_link),
		cmocka_unit_test(test_flapping_link),
		cmocka_unit_test(test_slowly_flapping_link),
		cmocka_unit_test(test_node_that_says_it_is_alone),
		cmocka_unit_test(test_one_way),
		cmocka_unit_test(test_two_one_way),
		cmocka_unit_test(test_two_power_cuts_are_no_fault_of_the_leader),
		cmocka_unit_test(test_stalled_leader_accuses_nobody),
		cmocka_unit_test(test_bow_tie),
		cmocka_unit_test(test_any_bad_links),
		cmocka_unit_test(test_newcomer_with_a_bad_link),
		cmocka_unit_test(test_stopped_node_needs_no_links),
		cmocka_unit_test(test_barred_node_and_new_leader),
		cmocka_unit_test(test_credits_make_a_ban),
		cmocka_unit_test(test_credits_are_forgotten),
		cmocka_unit_test(test_who_may_judge),
		cmocka_unit_test(test_inactive_judges_nobody),
		cmocka_unit_test(test_no_storm_in_three_nodes),
		cmocka_unit_test(test_bans_one_after_the_other),
		cmocka_unit_test(test_leader_that_fails_itself),
		cmocka_unit_test(test_last_node_is_never_banned),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
