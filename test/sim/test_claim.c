/* Arbitration none in networks that stay incomplete, in stories: one leader, that stays, until it dies or the network
 * changes. */
#include <stdio.h>

#include "story.h"

static void join(struct sim *s, const uint32_t (*links)[2], uint32_t n)
{
	for (uint32_t a = 0; a < s->opt.nodes; a++) {
		for (uint32_t b = a + 1; b < s->opt.nodes; b++) {
			bool linked = false;

			for (uint32_t i = 0; i < n; i++) {
				linked = linked || (links[i][0] == a && links[i][1] == b);
			}
			sim_cut(s, a, b, !linked);
		}
	}
}
#define JOIN(s, links) join(s, links, sizeof(links) / sizeof((links)[0]))

static struct sim *cluster_up(uint32_t nodes, uint64_t seed, unsigned faults)
{
	struct sim *s = story_new(nodes, CLUSTER_QUORUM_NONE, false, seed);

	s->opt.faults = faults;
	story_up(s);
	return s;
}

/* How many views there were in the last so many of limit dead intervals. */
static uint32_t unrest(struct sim *s, unsigned limit, unsigned last)
{
	uint32_t views;

	sim_run(s, s->now + (limit - last) * DEAD * MS);
	views = s->n_views;
	sim_run(s, s->now + last * DEAD * MS);
	return s->n_views - views;
}

/* Who leads among those that run; fails if it is not exactly one. */
static uint32_t the_leader(struct sim *s)
{
	uint32_t leader = NOBODY;

	for (uint32_t p = 0; p < s->opt.nodes; p++) {
		if (s->nodes[p].c != NULL && cluster_role(s->nodes[p].c) == CLUSTER_ROLE_LEADER) {
			assert_int_equal(leader, NOBODY);
			leader = p;
		}
	}
	assert_int_not_equal(leader, NOBODY);
	return leader;
}

static bool one_leads(const struct sim *s, uint32_t but)
{
	unsigned n = 0;

	for (uint32_t p = 0; p < s->opt.nodes; p++) {
		n += s->nodes[p].c != NULL && cluster_role(s->nodes[p].c) == CLUSTER_ROLE_LEADER ? 1 : 0;
	}
	return n == 1 && (s->nodes[but].c == NULL || cluster_role(s->nodes[but].c) != CLUSTER_ROLE_LEADER);
}

/* The leader, 0, has a member on one side, and on the other one that it leaves out; what is behind that one hears of
 * the leader from it only. */
static const uint32_t tail[][2] = {{0, 1}, {0, 2}, {2, 3}, {3, 4}, {4, 5}};

/* 3 to 5 come when 0 leads; the number of views after that. */
static uint32_t tail_comes(struct sim *s)
{
	for (uint32_t p = 3; p < 6; p++) {
		sim_crash(s, p, true);
	}
	JOIN(s, tail);
	sim_run(s, s->now + 20 * DEAD * MS);
	assert_string_equal(s->failure, "");
	assert_int_equal(the_leader(s), 0);
	for (uint32_t p = 3; p < 6; p++) {
		s->nodes[p].start_due = s->now + sim_random(s, 50 * MS);
		sim_schedule(s, s->nodes[p].start_due, SIM_START, p, 0);
	}
	return unrest(s, 80, 80);
}

static void test_nodes_behind_one_that_is_left_out(void **state)
{
	for (uint64_t seed = 1; seed <= 20; seed++) {
		struct sim *s = cluster_up(6, seed, 0);

		assert_int_equal(tail_comes(s), 0);
		assert_int_equal(the_leader(s), 0);
		assert_true(sim_acts(s, &s->nodes[0]) && sim_acts(s, &s->nodes[1]));
		story_down(s);
	}
}

/* The rule is needed. */
static void test_nobody_passes_it_on(void **state)
{
	struct sim *s = cluster_up(6, 1, CLUSTER_FAULT_CLAIM_MUTE);

	assert_int_not_equal(tail_comes(s), 0);
	talloc_free(s);
}

/* From a whole cluster, all at once: whoever comes out of it as leader remains it. */
static void test_tail_is_cut_off(void **state)
{
	for (uint64_t seed = 1; seed <= 20; seed++) {
		struct sim *s = cluster_up(6, seed, 0);

		JOIN(s, tail);
		assert_int_equal(unrest(s, 80, 60), 0);
		assert_true(sim_acts(s, &s->nodes[the_leader(s)]));
		story_down(s);
	}
}

/* Two members, two that are left out: when the leader dies one of the three that remain connected leads. */
static void test_leader_of_a_ring_dies(void **state)
{
	static const uint32_t ring[][2] = {{0, 1}, {1, 2}, {2, 3}, {0, 3}};

	for (uint64_t seed = 1; seed <= 20; seed++) {
		struct sim *s = cluster_up(4, seed, 0);
		uint32_t leader;

		JOIN(s, ring);
		assert_int_equal(unrest(s, 40, 20), 0);
		leader = the_leader(s);
		sim_crash(s, leader, true);
		assert_true(story_run_until(s, 10 * DEAD, one_leads, leader, false) < 5 * DEAD);
		assert_int_equal(unrest(s, 40, 20), 0);
		assert_true(sim_acts(s, &s->nodes[the_leader(s)]));
		story_down(s);
	}
}

/* The leader and its member die: those that were left out take over. */
static void test_all_members_die(void **state)
{
	for (uint64_t seed = 1; seed <= 20; seed++) {
		struct sim *s = cluster_up(6, seed, 0);

		assert_int_equal(tail_comes(s), 0);
		sim_crash(s, 0, true);
		sim_crash(s, 1, true);
		assert_true(story_run_until(s, 10 * DEAD, one_leads, 0, false) < 6 * DEAD);
		assert_int_equal(unrest(s, 40, 20), 0);
		assert_true(sim_acts(s, &s->nodes[the_leader(s)]));
		story_down(s);
	}
}

/* Two sides that do not see each other both act, one of them with nodes left out; together again they are one. */
static void test_sides_meet_again(void **state)
{
	static const uint32_t sides[][2] = {{0, 1}, {0, 2}, {2, 3}, {3, 4}, {4, 5}, {6, 7}};
	static const uint32_t bridge[][2] = {{0, 1}, {0, 2}, {2, 3}, {3, 4}, {4, 5}, {5, 6}, {6, 7}};

	for (uint64_t seed = 1; seed <= 20; seed++) {
		struct sim *s = cluster_up(8, seed, 0);

		JOIN(s, sides);
		assert_int_equal(unrest(s, 40, 20), 0);
		assert_int_equal(sim_leaders_in_component(s), 1);
		assert_true(sim_acts(s, &s->nodes[6]) && sim_acts(s, &s->nodes[7]));
		JOIN(s, bridge);
		(void)story_run_until(s, 5 * DEAD, one_leads, 0, false);
		assert_int_equal(unrest(s, 40, 20), 0);
		(void)the_leader(s);
		for (uint32_t a = 0; a < 8; a++) {
			for (uint32_t b = a + 1; b < 8; b++) {
				sim_cut(s, a, b, false);
			}
		}
		/* Who was left out waits before it comes back, longer each time (cluster_mesh.c). */
		assert_true(story_run_until(s, 30 * DEAD, story_agreed, NOBODY, false) < 20 * DEAD);
		story_down(s);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nodes_behind_one_that_is_left_out),
		cmocka_unit_test(test_nobody_passes_it_on),
		cmocka_unit_test(test_tail_is_cut_off),
		cmocka_unit_test(test_leader_of_a_ring_dies),
		cmocka_unit_test(test_all_members_die),
		cmocka_unit_test(test_sides_meet_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
