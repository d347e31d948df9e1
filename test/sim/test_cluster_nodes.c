/* Changes of the nodes list in the simulated cluster: what is refused, crashes at each step. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "story.h"

static bool ended(const struct sim *s)
{
	for (uint32_t p = 0; p < s->opt.nodes; p++) {
		if (s->nodes[p].file.ended) {
			return true;
		}
	}
	return false;
}

static void run_to_end(struct sim *s)
{
	for (unsigned i = 0; i < 600 && !ended(s); i++) {
		sim_run(s, s->now + 50 * MS);
		assert_string_equal(s->failure, "");
	}
	assert_true(ended(s));
}

static void assert_file(const struct sim *s, uint32_t p, const char *text)
{
	assert_string_equal(s->nodes[p].file.text, text);
	assert_null(s->nodes[p].file.prepared);
	assert_string_equal(cluster_nodes_list(s->nodes[p].c)->text, text);
	assert_null(cluster_nodes_prepared(s->nodes[p].c));
}

static void assert_acts(const struct sim *s, uint32_t p)
{
	if (!sim_acts(s, &s->nodes[p])) {
		fail_msg("node %u does not act", (unsigned)p);
	}
}

static void test_add(void **state)
{
	for (enum cluster_quorum q = CLUSTER_QUORUM_MAJORITY; q <= CLUSTER_QUORUM_NONE; q++) {
		struct sim *s = story_up_list(4, "a b c", q, 3);
		uint32_t leader = sim_leader(s);
		char *why = NULL;

		assert_int_equal(story_change(s, "a b c d", &why), 0);
		assert_string_equal(why, "node 3 is added: d");
		for (unsigned i = 0; i < 3 * DEAD; i++) {
			sim_run(s, s->now + MS);
			assert_acts(s, 0);
			assert_acts(s, 1);
			assert_acts(s, 2);
		}
		assert_true(s->nodes[leader].file.done);
		assert_string_equal(s->nodes[leader].file.said, "done");
		for (uint32_t p = 0; p < 3; p++) {
			assert_file(s, p, "a b c d");
		}
		assert_int_equal(sim_leader(s), leader);
		sim_nodes_set(s, 3, "a b c d");
		sim_start(s, 3);
		sim_run(s, s->now + 3 * DEAD * MS);
		assert_acts(s, 3);
		assert_int_equal(cluster_newest_view(s->nodes[0].c)->members.n, 4);
		story_down(s);
	}
}

static void test_one_becomes_two(void **state)
{
	struct sim *s = story_up_list(2, "a", CLUSTER_QUORUM_MAJORITY, 3);
	char *why = NULL;

	assert_int_equal(story_change(s, "a b", &why), 0);
	assert_non_null(strstr(why, "this node is not active until node 1 is"));
	run_to_end(s);
	assert_true(s->nodes[0].file.done);
	sim_nodes_set(s, 1, "a b");
	sim_start(s, 1);
	sim_run(s, s->now + 5 * DEAD * MS);
	assert_acts(s, 0);
	assert_acts(s, 1);
	story_down(s);
}

static void test_remove_and_come_back(void **state)
{
	struct sim *s = story_up_list(5, "a b c d e", CLUSTER_QUORUM_MAJORITY, 5);
	char *why = NULL;

	assert_int_equal(story_change(s, "a b c -d e", &why), EBUSY);
	assert_string_equal(why, "node 3 is still connected: stop its ctdbd first");
	sim_crash(s, 3, true);
	assert_int_equal(story_change(s, "a b c -d e", &why), EBUSY);
	sim_run(s, s->now + 3 * DEAD * MS);
	assert_int_equal(story_change(s, "a b c -d e", &why), 0);
	assert_string_equal(why, "node 3 is removed");
	run_to_end(s);
	assert_file(s, 4, "a b c -d e");
	/* With its former file it stays out, and disturbs nobody. */
	sim_start(s, 3);
	sim_run(s, s->now + 20 * DEAD * MS);
	assert_false(sim_acts(s, &s->nodes[3]));
	assert_acts(s, 0);
	assert_int_equal(cluster_newest_view(s->nodes[0].c)->members.v[3].flags,
			 NODE_FLAG_DELETED | NODE_FLAG_DISCONNECTED);
	/* Used again. */
	assert_int_equal(story_change(s, "a b c d2 e", &why), 0);
	assert_string_equal(why, "node 3 is used again: d2");
	run_to_end(s);
	sim_crash(s, 3, false);
	sim_nodes_set(s, 3, "a b c d2 e");
	sim_start(s, 3);
	sim_run(s, s->now + 5 * DEAD * MS);
	assert_acts(s, 3);
	assert_string_equal(cluster_newest_view(s->nodes[0].c)->members.v[3].address, "d2");
	story_down(s);
}

/* A node that gets its power back between the beginning and the decision gets no lease. */
static void test_removed_comes_back_meanwhile(void **state)
{
	for (uint64_t seed = 1; seed <= 30; seed++) {
		struct sim *s = story_up_list(5, "a b c d e", CLUSTER_QUORUM_MAJORITY, seed);
		char *why = NULL;

		sim_crash(s, 3, true);
		sim_run(s, s->now + 3 * DEAD * MS);
		s->write_ns = 400 * MS;
		assert_int_equal(story_change(s, "a b c -d e", &why), 0);
		sim_run(s, s->now + sim_random(s, 600 * MS));
		s->nodes[3].machine_back = 0;
		sim_start(s, 3);
		for (unsigned i = 0; i < 5000; i++) {
			sim_run(s, s->now + MS);
			assert_false(sim_acts(s, &s->nodes[3]));
		}
		assert_true(s->nodes[sim_leader(s)].file.done);
		story_down(s);
	}
}

static void test_refused(void **state)
{
	struct sim *s = story_up_list(4, "a b c", CLUSTER_QUORUM_MAJORITY, 5);
	uint32_t leader = sim_leader(s);
	char *why = NULL;

	assert_int_equal(story_change(s, "", &why), EINVAL);
	assert_string_equal(why, "no nodes");
	assert_int_equal(story_change(s, "a b c", &why), EALREADY);
	assert_int_equal(story_change(s, "a b", &why), EINVAL);
	assert_int_equal(story_change(s, "a b c d e", &why), EINVAL);
	assert_int_equal(story_change(s, "c b a", &why), EINVAL);
	assert_int_equal(story_change(s, "-a b c", &why), EBUSY);
	assert_int_equal(cluster_nodes_change(s->nodes[(leader + 1) % 3].c, story_local(s, (leader + 1) % 3), s,
					      "a b c d", false, &why),
			 ESTALE);
	/* One at a time. */
	assert_int_equal(story_change(s, "a b c d", &why), 0);
	assert_int_equal(story_change(s, "a b c e", &why), EBUSY);
	run_to_end(s);
	assert_true(s->nodes[leader].file.done);
	/* Four nodes, two up: nothing can be changed, not even that. */
	sim_crash(s, (leader + 1) % 3, true);
	sim_run(s, s->now + 5 * DEAD * MS);
	assert_int_equal(sim_leader(s), NOBODY);
	story_down(s);
}

static void test_no_majority_of_the_new_list(void **state)
{
	struct sim *s = story_up_list(6, "a b c d e", CLUSTER_QUORUM_MAJORITY, 5);
	char *why = NULL;

	sim_crash(s, 3, true);
	sim_crash(s, 4, true);
	sim_run(s, s->now + 5 * DEAD * MS);
	assert_int_equal(story_change(s, "a b c d e f", &why), EHOSTUNREACH);
	assert_string_equal(
		why, "only 3 of then 6 nodes would be reachable, no majority: start nodes that are down, or remove "
		     "those that do not come back");
	assert_int_equal(story_change(s, "a b c d -e", &why), 0);
	assert_string_equal(
		why, "node 4 is removed\nnode 3, 4 is not reachable or kept out and does not get the list: when it "
		     "is back, run 'ctdb node reload' on a member");
	run_to_end(s);
	story_down(s);
}

static void test_read_only_file(void **state)
{
	struct sim *s = story_up_list(4, "a b c", CLUSTER_QUORUM_MAJORITY, 5);
	uint32_t leader = sim_leader(s), other = (leader + 1) % 3;
	char *why = NULL, said[100];

	s->nodes[other].file.read_only = true;
	assert_int_equal(story_change(s, "a b c d", &why), 0);
	run_to_end(s);
	assert_false(s->nodes[leader].file.done);
	snprintf(said, sizeof(said), "node %u refuses: cannot be written: read-only file system: nothing was changed",
		 (unsigned)other);
	assert_string_equal(s->nodes[leader].file.said, said);
	sim_run(s, s->now + 3 * DEAD * MS);
	s->nodes[other].file.read_only = false;
	for (uint32_t p = 0; p < 3; p++) {
		assert_file(s, p, "a b c");
		assert_acts(s, p);
	}
	assert_int_equal(story_change(s, "a b c d", &why), 0);
	run_to_end(s);
	assert_true(s->nodes[leader].file.done);
	story_down(s);
}

static void run_until_prepared(struct sim *s, uint32_t p)
{
	uint64_t limit = s->now + DEAD * MS;

	while (s->nodes[p].file.prepared == NULL && s->now < limit) {
		sim_run(s, s->now + MS / 8);
	}
	assert_non_null(s->nodes[p].file.prepared);
}

/* One refuses when another one that has written it down is cut off: that one goes on with it by itself, so it is not
 * said that nothing was changed. */
static void test_refused_while_one_is_out_of_reach(void **state)
{
	struct sim *s = story_up_list(4, "a b c", CLUSTER_QUORUM_NONE, 5);
	uint32_t leader = sim_leader(s), refuses = (leader + 1) % 3, away = (leader + 2) % 3;
	char *why = NULL, names[80];

	s->nodes[refuses].file.read_only = true;
	assert_int_equal(story_change(s, "a b c d", &why), 0);
	run_until_prepared(s, leader);
	sim_pause(s, refuses, 50 * MS);
	run_until_prepared(s, away);
	s->write_ns = 3 * DEAD * MS;
	sim_cut(s, leader, away, true);
	sim_cut(s, refuses, away, true);
	run_to_end(s);
	assert_false(s->nodes[leader].file.done);
	assert_non_null(strstr(s->nodes[leader].file.said, "refuses"));
	snprintf(names, sizeof(names), "but node %u was told of the change, is not heard any more", (unsigned)away);
	assert_non_null(strstr(s->nodes[leader].file.said, names));
	assert_null(strstr(s->nodes[leader].file.said, "nothing was changed"));
	s->write_ns = MS;
	sim_run(s, s->now + 20 * DEAD * MS);
	assert_file(s, leader, "a b c");
	assert_file(s, away, "a b c d");
	story_down(s);
}

/* Does not write at all: given up in time, and what it writes later is taken back. */
static void test_slow_disk(void **state)
{
	struct sim *s = story_up_list(4, "a b c", CLUSTER_QUORUM_MAJORITY, 5);
	uint32_t leader = sim_leader(s), other = (leader + 1) % 3;
	char *why = NULL;

	assert_int_equal(story_change(s, "a b c d", &why), 0);
	sim_run(s, s->now + MS / 8);
	sim_pause(s, other, 500 * MS);
	s->write_ns = 20000 * MS;
	run_to_end(s);
	assert_false(s->nodes[leader].file.done);
	s->write_ns = MS;
	sim_run(s, s->now + 100 * DEAD * MS);
	for (uint32_t p = 0; p < 3; p++) {
		assert_file(s, p, "a b c");
		assert_acts(s, p);
	}
	story_down(s);
}

/* A change that has to be carried on, but cannot: said to who wants the next one. */
static void test_carried_on_and_refused(void **state)
{
	struct sim *s = story_up_list(4, "a b c", CLUSTER_QUORUM_MAJORITY, 5);
	uint32_t leader = sim_leader(s), odd = (leader + 1) % 3, other = (leader + 2) % 3;
	char *why = NULL, said[200];

	s->nodes[odd].file.read_only = true;
	assert_int_equal(story_change(s, "a b c d", &why), 0);
	sim_pause(s, odd, 300 * MS);
	for (unsigned i = 0; i < 3000 && s->nodes[other].file.prepared == NULL; i++) {
		sim_run(s, s->now + MS / 10);
	}
	assert_non_null(s->nodes[other].file.prepared);
	sim_crash(s, leader, false);
	sim_run(s, s->now + 10 * DEAD * MS);
	assert_int_equal(sim_leader(s), other);
	assert_int_equal(story_change(s, "a b c e", &why), EBUSY);
	snprintf(said, sizeof(said),
		 "a former change of the nodes list is not finished: node %u refuses: cannot be written: read-only "
		 "file system",
		 (unsigned)odd);
	assert_string_equal(why, said);
	s->nodes[odd].file.read_only = false;
	sim_start(s, leader);
	sim_run(s, s->now + 10 * DEAD * MS);
	for (uint32_t p = 0; p < 3; p++) {
		assert_file(s, p, "a b c d");
	}
	story_down(s);
}

/* The leader's own disk: what was given up is not done when it has been written at last. */
static void test_slow_disk_of_leader(void **state)
{
	for (enum cluster_quorum q = CLUSTER_QUORUM_MAJORITY; q <= CLUSTER_QUORUM_NONE; q++) {
		struct sim *s = story_up_list(4, "a b c", q, 5);
		uint32_t leader = sim_leader(s);
		char *why = NULL;

		s->write_ns = 60000 * MS;
		assert_int_equal(story_change(s, "a b c d", &why), 0);
		s->write_ns = MS;
		run_to_end(s);
		assert_false(s->nodes[leader].file.done);
		sim_run(s, s->now + 300 * DEAD * MS);
		for (uint32_t p = 0; p < 3; p++) {
			assert_file(s, p, "a b c");
			assert_acts(s, p);
		}
		assert_int_equal(story_change(s, "a b c d", &why), 0);
		run_to_end(s);
		assert_true(s->nodes[leader].file.done);
		story_down(s);
	}
}

static void test_differing_file_and_adopt(void **state)
{
	struct sim *s = story_up_list(4, "a b c d", CLUSTER_QUORUM_MAJORITY, 7);
	uint32_t leader = sim_leader(s), odd = leader == 3 ? 2 : 3;
	char *why = NULL;

	assert_int_equal(cluster_nodes_adopt(s->nodes[leader].c, story_local(s, leader), s, odd, &why), EINVAL);
	sim_crash(s, odd, false);
	sim_nodes_set(s, odd, "a b x d");
	sim_start(s, odd);
	sim_run(s, s->now + 5 * DEAD * MS);
	assert_false(sim_acts(s, &s->nodes[odd]));
	assert_true(cluster_nodes_differs(s->nodes[leader].c, story_local(s, leader), odd));
	s->nodes[leader].file.ended = false;
	assert_int_equal(cluster_nodes_adopt(s->nodes[leader].c, story_local(s, leader), s, odd, &why), 0);
	run_to_end(s);
	assert_true(s->nodes[leader].file.done);
	sim_run(s, s->now + 3 * DEAD * MS);
	assert_file(s, odd, "a b c d");
	assert_acts(s, odd);
	story_down(s);
}

/* Nobody it was in touch with has the same address in both lists: it does not lead before it has heard them. */
static void test_adopted_list_is_quite_another(void **state)
{
	for (enum cluster_quorum q = CLUSTER_QUORUM_MAJORITY; q <= CLUSTER_QUORUM_NONE; q++) {
		struct sim *s = story_up_list(3, "a b c", q, 7);
		uint32_t leader = sim_leader(s), odd = leader == 2 ? 1 : 2;
		char *why = NULL;

		sim_crash(s, odd, false);
		sim_nodes_set(s, odd, odd == 2 ? "x y c" : "x b y");
		sim_start(s, odd);
		sim_run(s, s->now + 5 * DEAD * MS);
		s->nodes[leader].file.ended = false;
		assert_int_equal(cluster_nodes_adopt(s->nodes[leader].c, story_local(s, leader), s, odd, &why), 0);
		for (unsigned i = 0; i < 4 * DEAD; i++) {
			sim_run(s, s->now + MS);
			assert_acts(s, leader);
			assert_int_equal(sim_leader(s), leader);
		}
		assert_true(s->nodes[leader].file.done);
		assert_file(s, odd, "a b c");
		assert_acts(s, odd);
		story_down(s);
	}
}

/* The new list is with all members or with none, and no node is left that is neither in the cluster nor differs openly.
 */
static const char *common_list(const struct sim *s)
{
	const char *text = NULL;

	for (uint32_t p = 0; p < s->opt.nodes; p++) {
		if (s->nodes[p].c == NULL) {
			continue;
		}
		if (text != NULL && strcmp(text, s->nodes[p].file.text) != 0) {
			return NULL;
		}
		text = s->nodes[p].file.text;
	}
	return text;
}

/* As 'ctdb node reload'. */
static void give(struct sim *s, uint32_t p)
{
	uint32_t leader = sim_leader(s);
	char *why = NULL;

	assert_int_not_equal(leader, NOBODY);
	assert_true(cluster_nodes_differs(s->nodes[leader].c, story_local(s, leader), p));
	s->nodes[leader].file.ended = false;
	assert_int_equal(cluster_nodes_adopt(s->nodes[leader].c, story_local(s, leader), s, p, &why), 0);
	sim_schedule(s, s->now + 1, SIM_LINK, leader, p);
	sim_run(s, s->now + 10 * DEAD * MS);
	assert_true(s->nodes[leader].file.done);
}

/* Kills the victim (or cuts its power) after each step of the simulation in turn, and starts it again later. */
static bool crash_at(uint64_t steps, bool leader, bool machine, uint64_t seed, enum cluster_quorum quorum)
{
	struct sim *s = story_up_list(5, "a b c d", quorum, seed);
	uint32_t victim = leader ? sim_leader(s) : (sim_leader(s) + 1) % 4;
	uint64_t begin = s->steps;
	char *why = NULL;
	const char *text;
	bool over;

	s->write_ns = 20 * MS;
	assert_int_equal(story_change(s, "a b c d e", &why), 0);
	s->step_limit = begin + steps;
	sim_run(s, s->now + 10 * DEAD * MS);
	s->step_limit = 0;
	over = ended(s);
	sim_crash(s, victim, machine);
	sim_run(s, s->now + 5 * DEAD * MS);
	s->nodes[victim].machine_back = 0;
	sim_start(s, victim);
	sim_run(s, s->now + 40 * DEAD * MS);
	assert_string_equal(s->failure, "");
	text = common_list(s);
	/* It was out of the view for so long that the others went on without it, or as leader is the only one that has
	 * not heard. */
	if (text == NULL) {
		give(s, victim);
		text = common_list(s);
	}
	if (text == NULL) {
		fail_msg("step %u: lists differ for good: %s | %s | %s | %s", (unsigned)steps, s->nodes[0].file.text,
			 s->nodes[1].file.text, s->nodes[2].file.text, s->nodes[3].file.text);
	}
	for (uint32_t p = 0; p < 4; p++) {
		if (!sim_acts(s, &s->nodes[p])) {
			fail_msg("step %u: node %u does not act", (unsigned)steps, (unsigned)p);
		}
		assert_null(s->nodes[p].file.prepared);
	}
	if (over) {
		assert_string_equal(text, "a b c d e");
	}
	story_down(s);
	return over;
}

static void test_crash_at_each_step(void **state)
{
	for (unsigned kind = 0; kind < 8; kind++) {
		uint64_t steps = 1;

		while (steps < 200 && !crash_at(steps, (kind & 1) != 0, (kind & 2) != 0, 11 + kind,
						(kind & 4) != 0 ? CLUSTER_QUORUM_NONE : CLUSTER_QUORUM_MAJORITY)) {
			steps++;
		}
		assert_in_range(steps, 10, 199);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_add),
		cmocka_unit_test(test_one_becomes_two),
		cmocka_unit_test(test_remove_and_come_back),
		cmocka_unit_test(test_removed_comes_back_meanwhile),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_no_majority_of_the_new_list),
		cmocka_unit_test(test_read_only_file),
		cmocka_unit_test(test_refused_while_one_is_out_of_reach),
		cmocka_unit_test(test_slow_disk),
		cmocka_unit_test(test_carried_on_and_refused),
		cmocka_unit_test(test_slow_disk_of_leader),
		cmocka_unit_test(test_differing_file_and_adopt),
		cmocka_unit_test(test_adopted_list_is_quite_another),
		cmocka_unit_test(test_crash_at_each_step),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
