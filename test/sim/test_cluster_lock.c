/* The simulated cluster with a lock: who holds it leads. By hand: test_cluster_lock --times. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "story.h"

enum kind { LOCK, ETCD, MAJORITY, NONE };

static struct sim *sim_of(uint32_t nodes, enum kind kind, uint64_t seed)
{
	static const enum cluster_quorum quorum[] = {CLUSTER_QUORUM_EXTERNAL, CLUSTER_QUORUM_EXTERNAL,
						     CLUSTER_QUORUM_MAJORITY, CLUSTER_QUORUM_NONE};
	struct sim *s = story_new(nodes, quorum[kind], kind == ETCD, seed);

	s->lock.ttl_ns = 5000 * MS;
	s->lock.free_ns = 50 * MS;
	return s;
}

static struct sim *cluster_up(uint32_t nodes, enum kind kind, uint64_t seed)
{
	struct sim *s = sim_of(nodes, kind, seed);

	story_up(s);
	return s;
}

static bool leads(const struct cluster *c)
{
	return c != NULL && cluster_role(c) == CLUSTER_ROLE_LEADER;
}

static bool another_leads(const struct sim *s, uint32_t p)
{
	for (uint32_t q = 0; q < s->opt.nodes; q++) {
		if (q != p && leads(s->nodes[q].c)) {
			return true;
		}
	}
	return false;
}

static void cut_off(struct sim *s, uint32_t n_first, bool cut)
{
	for (uint32_t a = 0; a < n_first; a++) {
		for (uint32_t b = n_first; b < s->opt.nodes; b++) {
			sim_cut(s, a, b, cut);
		}
	}
}

static void test_start(void **state)
{
	for (uint64_t seed = 1; seed <= 20; seed++) {
		struct sim *s = cluster_up(3, seed % 2 == 0 ? ETCD : LOCK, seed);

		assert_int_equal(sim_leader(s), 0);
		assert_int_equal(s->lock.asked, 1);
		assert_int_equal(cluster_newest_view(s->nodes[2].c)->number, 1);
		story_down(s);
	}
	story_down(cluster_up(1, LOCK, 1));
	story_down(cluster_up(128, ETCD, 1));
}

/* One is down: the others wait for it a dead interval, and another until whatever it may have had of a lease is over.
 */
static void test_start_with_one_missing(void **state)
{
	for (enum kind kind = LOCK; kind <= ETCD; kind++) {
		struct sim *s = sim_of(3, kind, 1);

		sim_crash(s, 0, true);
		sim_start(s, 1);
		sim_start(s, 2);
		sim_run(s, DEAD * MS * 9 / 10);
		assert_int_equal(s->lock.asked, 0);
		assert_in_range(story_run_until(s, 3 * DEAD, story_agreed, 1, false), DEAD, DEAD * 13 / 10);
		assert_int_equal(sim_leader(s), 1);
		assert_int_equal(cluster_newest_view(s->nodes[2].c)->number, 1);
		story_down(s);
	}
}

static void test_undisturbed_nothing_happens(void **state)
{
	for (enum kind kind = LOCK; kind <= ETCD; kind++) {
		struct sim *s = cluster_up(5, kind, 1);
		uint64_t messages = s->messages, term = cluster_newest_view(s->nodes[1].c)->term;

		sim_run(s, s->now + 60 * DEAD * MS);
		assert_int_equal(s->lock.asked, 1);
		assert_int_equal(cluster_newest_view(s->nodes[1].c)->term, term);
		assert_int_equal(cluster_newest_view(s->nodes[1].c)->number, 1);
		assert_in_range(s->messages - messages, 60 * 4 * 8 - 16, 60 * 4 * 8 + 16);
		story_down(s);
	}
}

/* The leader's machine loses power, its lock is free at once: nobody else is fenced. */
static void test_leader_lost(void **state)
{
	for (uint64_t seed = 1; seed <= 30; seed++) {
		struct sim *s = cluster_up(3 + (uint32_t)(seed % 6), LOCK, seed);

		sim_run(s, s->now + sim_random(s, 500 * MS));
		sim_crash(s, 0, true);
		assert_in_range(story_run_until(s, 5 * DEAD, another_leads, 0, true), 0, DEAD * 3 / 4);
		assert_in_range(story_run_until(s, 5 * DEAD, story_left_out, 0, true), DEAD, DEAD * 11 / 10);
		assert_int_equal(sim_leader(s), 1);
		story_down(s);
	}
}

/* It stays locked for a while: without leader no leases; as soon as it is free, somebody has it. */
static void test_leader_lost_lock_stays(void **state)
{
	for (enum kind kind = LOCK; kind <= ETCD; kind++) {
		struct sim *s = cluster_up(4, kind, 3);

		s->lock.free_ns = 6 * DEAD * MS;
		sim_crash(s, 0, true);
		sim_run(s, s->now + 2 * DEAD * MS);
		for (uint32_t p = 0; p < 4; p++) {
			assert_false(sim_acts(s, &s->nodes[p]));
		}
		assert_in_range(story_run_until(s, 12 * DEAD, another_leads, 0, false), DEAD, 6 * DEAD);
		assert_in_range(story_run_until(s, 5 * DEAD, story_left_out, 0, false), DEAD, DEAD * 11 / 10);
		assert_true(story_all_act(s, 0));
		assert_true(s->lock.asked <= 40);
		story_down(s);
	}
}

static void test_follower_lost(void **state)
{
	struct sim *s = cluster_up(4, ETCD, 7);
	uint64_t term = cluster_newest_view(s->nodes[0].c)->term;

	sim_crash(s, 2, true);
	assert_in_range(story_run_until(s, 5 * DEAD, story_left_out, 2, true), DEAD / 2, DEAD * 3 / 2);
	assert_int_equal(cluster_newest_view(s->nodes[0].c)->term, term);
	sim_start(s, 2);
	assert_true(story_run_until(s, 5 * DEAD, story_agreed, 2, false) <= 2 * DEAD);
	assert_int_equal(s->lock.asked, 1);
	story_down(s);
}

/* kill -9 of the leader's clusterd, back after 200 ms; its helper holds on for 50 ms or for 400 ms: nobody is fenced,
 * nobody left out. */
static void test_restart_of_leader(void **state)
{
	for (uint64_t seed = 1; seed <= 40; seed++) {
		struct sim *s = cluster_up(3, seed % 4 == 0 ? ETCD : LOCK, seed);

		s->lock.free_ns = (seed % 2 == 0 ? 50 : 400) * MS;
		sim_run(s, s->now + sim_random(s, 500 * MS));
		sim_crash(s, 0, false);
		story_run_until(s, 200, story_never, 9, true);
		sim_start(s, 0);
		story_run_until(s, 3 * DEAD, story_never, 9, true);
		assert_true(story_agreed(s, 0));
		/* Later another may be the first to find the lock free. */
		assert_true(sim_leader(s) == 0 || seed % 2 != 0);
		for (uint32_t i = 0; i < s->n_views; i++) {
			assert_true(s->views[i].in[0]);
		}
		story_down(s);
	}
}

static void test_planned_leave(void **state)
{
	for (enum kind kind = LOCK; kind <= ETCD; kind++) {
		struct sim *s = cluster_up(4, kind, 5);

		sim_leave(s, 0);
		assert_in_range(story_run_until(s, DEAD, another_leads, 0, true), 0, 60);
		assert_in_range(story_run_until(s, DEAD, story_left_out, 0, true), 0, 60);
		assert_int_equal(sim_leader(s), 1);
		assert_null(s->nodes[0].c);
		sim_leave(s, 3);
		assert_in_range(story_run_until(s, DEAD, story_left_out, 3, false), 0, 60);
		story_down(s);
	}
}

/* A new leader in a few milliseconds, nobody's lease ends, nobody is left out; whoever may not lead is refused. */
static void test_resign(void **state)
{
	for (enum kind kind = LOCK; kind <= NONE; kind++) {
		struct sim *s = cluster_up(4, kind, 5);

		s->lock.latency_ns = MS;
		assert_int_equal(sim_resign(s, 1, NOBODY), ESTALE);
		assert_int_equal(sim_resign(s, 0, 0), EINVAL);
		assert_int_equal(sim_resign(s, 0, 4), EINVAL);
		sim_set_flags(s, 1, NODE_FLAG_STOPPED);
		story_run_until(s, DEAD, story_agreed, 1, false);
		assert_int_equal(sim_resign(s, 0, 1), EINVAL);
		sim_set_flags(s, 1, 0);
		story_run_until(s, 3 * DEAD, story_agreed, 1, false);
		story_run_until(s, DEAD, story_never, 9, true);
		assert_int_equal(sim_resign(s, 0, 2), 0);
		assert_in_range(story_run_until(s, DEAD, another_leads, 0, false), 0, 20);
		assert_in_range(story_run_until(s, DEAD, story_agreed, 0, false), 0, 20);
		assert_int_equal(sim_leader(s), 2);
		story_run_until(s, 3 * DEAD, story_never, 9, true);
		assert_int_equal(sim_leader(s), 2);
		assert_int_equal(sim_resign(s, 2, NOBODY), 0);
		story_run_until(s, 3 * DEAD, story_never, 9, true);
		assert_int_equal(sim_leader(s), 0);
		for (uint32_t i = 0; i < s->n_views; i++) {
			assert_true(s->views[i].in[0] && s->views[i].in[2]);
		}
		story_down(s);
	}
}

static void test_resign_nobody_else(void **state)
{
	struct sim *s = cluster_up(1, MAJORITY, 1);

	assert_int_equal(sim_resign(s, 0, NOBODY), EHOSTUNREACH);
	assert_int_equal(sim_leader(s), 0);
	story_down(s);
	s = sim_of(2, LOCK, 1);
	s->nodes[1].cannot_lead = true;
	sim_start(s, 0);
	sim_start(s, 1);
	sim_run(s, DEAD * MS);
	assert_int_equal(sim_resign(s, 0, NOBODY), EHOSTUNREACH);
	assert_int_equal(sim_resign(s, 0, 1), EINVAL);
	assert_int_equal(sim_leader(s), 0);
	story_down(s);
}

/* To one that cannot get the lock: the former leader has it again before any lease ends. */
static void test_resign_to_one_without_lock(void **state)
{
	for (uint64_t seed = 1; seed <= 20; seed++) {
		struct sim *s = cluster_up(3, seed % 2 == 0 ? LOCK : ETCD, seed);

		sim_lock_reach(s, 1, false);
		assert_int_equal(sim_resign(s, 0, 1), 0);
		story_run_until(s, 3 * DEAD, story_never, 9, true);
		assert_true(story_agreed(s, 0));
		assert_int_not_equal(sim_leader(s), 1);
		story_down(s);
	}
}

/* The handover is lost on its way. */
static void test_resign_unheard(void **state)
{
	for (enum kind kind = LOCK; kind <= NONE; kind++) {
		struct sim *s = cluster_up(3, kind, 4);

		sim_run(s, s->now + 50 * MS);
		s->loss_permille = 1000;
		assert_int_equal(sim_resign(s, 0, 1), 0);
		sim_run(s, s->now + 20 * MS);
		s->loss_permille = 0;
		story_run_until(s, 3 * DEAD, story_never, 9, kind != NONE);
		assert_true(story_agreed(s, 0));
		story_down(s);
	}
}

static void test_stopped_leader(void **state)
{
	struct sim *s = cluster_up(3, LOCK, 6);

	sim_set_flags(s, 0, NODE_FLAG_STOPPED);
	assert_true(story_run_until(s, DEAD, another_leads, 0, true) <= 60);
	assert_false(sim_acts(s, &s->nodes[0]));
	assert_true(story_run_until(s, 3 * DEAD, story_agreed, 0, false) < DEAD);
	story_down(s);
}

/* Stopped or banned, or asked to leave, while it asks for the lock, and while it writes its term. */
static void test_stopped_on_the_way(void **state)
{
	for (unsigned i = 0; i < 8; i++) {
		struct sim *s = cluster_up(3, i % 2 == 0 ? LOCK : ETCD, 20 + i);
		enum cluster_role role = i < 4 ? CLUSTER_ROLE_PROBING : CLUSTER_ROLE_CANDIDATE;
		uint32_t p;

		s->write_ns = 200 * MS;
		s->lock.latency_ns = 100 * MS;
		s->lock.ttl_ns = 2 * DEAD * MS;
		sim_crash(s, 0, true);
		while (cluster_role(s->nodes[1].c) != role && cluster_role(s->nodes[2].c) != role &&
		       s->now < 20 * DEAD * MS) {
			sim_run(s, s->now + MS);
		}
		p = cluster_role(s->nodes[1].c) == role ? 1 : 2;
		assert_int_equal(cluster_role(s->nodes[p].c), role);
		if (i % 4 < 2) {
			sim_set_flags(s, p, NODE_FLAG_BANNED);
			assert_int_equal(cluster_role(s->nodes[p].c), CLUSTER_ROLE_FOLLOWER);
			assert_int_equal(s->nodes[p].lock.helper, 0);
		} else {
			sim_leave(s, p);
			assert_null(s->nodes[p].c);
		}
		story_run_until(s, 20 * DEAD, another_leads, p, false);
		story_run_until(s, 5 * DEAD, story_agreed, 3 - p, false);
		assert_int_equal(sim_leader(s), 3 - p);
		assert_true(sim_acts(s, &s->nodes[3 - p]));
		story_down(s);
	}
}

/* Its helper is killed, the file goes away: it has the lock again before anybody notices. */
static void test_lock_lost_and_held_again(void **state)
{
	struct sim *s = cluster_up(3, LOCK, 2);
	uint64_t term = cluster_newest_view(s->nodes[0].c)->term;

	sim_lock_lose(s);
	story_run_until(s, 3 * DEAD, story_never, 9, true);
	assert_true(story_agreed(s, 0));
	assert_int_equal(sim_leader(s), 0);
	assert_true(cluster_newest_view(s->nodes[0].c)->term > term);
	story_down(s);
}

/* It cannot have it again: another one has, and nobody is fenced. */
static void test_lock_lost_for_good(void **state)
{
	struct sim *s = cluster_up(3, LOCK, 2);

	sim_lock_reach(s, 0, false);
	sim_lock_lose(s);
	assert_true(story_run_until(s, 3 * DEAD, another_leads, 0, false) < DEAD);
	story_run_until(s, 3 * DEAD, story_never, 9, true);
	assert_true(story_agreed(s, 0));
	assert_int_equal(sim_leader(s), 1);
	story_down(s);
}

/* Nobody reaches it: nobody acts, nobody is banned, and all is well as soon as one does. */
static void test_lock_out_of_reach(void **state)
{
	for (enum kind kind = LOCK; kind <= ETCD; kind++) {
		struct sim *s = cluster_up(3, kind, 2);

		for (uint32_t p = 0; p < 3; p++) {
			sim_lock_reach(s, p, false);
		}
		sim_lock_lose(s);
		sim_run(s, s->now + 10 * DEAD * MS);
		for (uint32_t p = 0; p < 3; p++) {
			assert_false(sim_acts(s, &s->nodes[p]));
		}
		assert_int_equal(s->n_bans, 0);
		sim_lock_reach(s, 2, true);
		assert_true(story_run_until(s, 8 * DEAD, story_agreed, 0, false) < 8 * DEAD);
		assert_int_equal(sim_leader(s), 2);
		story_down(s);
	}
}

/* The leader stands still for 8 s and does not see that the lock is gone: what it does first is nothing. */
static void test_leader_stands_still(void **state)
{
	for (uint64_t seed = 1; seed <= 40; seed++) {
		enum kind kind = seed % 2 == 0 ? LOCK : ETCD;
		struct sim *s = cluster_up(3, kind, seed);

		s->lock.ttl_ns = 2 * DEAD * MS;
		sim_run(s, s->now + 3 * DEAD * MS);
		sim_pause(s, 0, 8000 * MS);
		s->nodes[0].lock.paused = true;
		sim_run(s, s->now + 200 * MS);
		if (kind == LOCK) {
			sim_lock_lose(s);
		}
		sim_run(s, s->now + 7700 * MS);
		assert_true(another_leads(s, 0));
		assert_true(story_all_act(s, 0));
		story_run_until(s, 3 * DEAD, story_never, 0, true);
		assert_true(story_agreed(s, 0));
		assert_int_not_equal(sim_leader(s), 0);
		story_down(s);
	}
}

/* A helper that takes 3 s: nobody waits for it, and what it brings too late is let go of. */
static void test_slow_helper(void **state)
{
	struct sim *s = sim_of(3, LOCK, 1);

	s->nodes[0].lock.slow_ns = 3 * DEAD * MS;
	for (uint32_t p = 0; p < 3; p++) {
		sim_start(s, p);
	}
	sim_run(s, DEAD * MS);
	assert_true(story_agreed(s, 0));
	assert_int_equal(sim_leader(s), 1);
	sim_run(s, 10 * DEAD * MS);
	assert_true(story_agreed(s, 0));
	assert_int_equal(sim_leader(s), 1);
	assert_int_equal(s->nodes[1].lock.helper, s->lock.owner);
	story_down(s);
}

/* Who has the lock goes on, also alone; the others are fenced first, use up no terms, and come back without a new
 * leader. */
static void test_partition(void **state)
{
	for (enum kind kind = LOCK; kind <= ETCD; kind++) {
		struct sim *s = cluster_up(5, kind, 8);
		uint64_t term = cluster_term(s->nodes[0].c), asked;

		cut_off(s, 1, true);
		sim_run(s, s->now + 3 * DEAD * MS);
		asked = s->lock.asked;
		for (uint32_t p = 0; p < 5; p++) {
			assert_int_equal(sim_acts(s, &s->nodes[p]), p == 0);
			assert_int_equal(cluster_term(s->nodes[p].c), term);
		}
		sim_run(s, s->now + 40 * DEAD * MS);
		assert_in_range(s->lock.asked - asked, 4 * 6, 4 * 20);
		cut_off(s, 1, false);
		assert_true(story_run_until(s, 5 * DEAD, story_agreed, 0, false) < 2 * DEAD);
		assert_int_equal(cluster_term(s->nodes[0].c), term);
		story_down(s);
	}
}

static void test_verdicts(void **state)
{
	struct sim *s = cluster_up(3, LOCK, 8);
	struct cluster_status status;

	sim_run(s, 12500 * MS);
	cluster_tell_status(s->nodes[1].c, story_local(s, 1), s, &status);
	assert_string_equal(status.verdict, "healthy: 3 of 3 nodes active, leader node 0 since 12 s");
	assert_string_equal(status.arbitration_method, "lock");
	assert_int_equal(status.arbitration, CLUSTER_ARBITRATION_HELD);
	cut_off(s, 1, true);
	sim_run(s, s->now + 3 * DEAD * MS);
	cluster_tell_status(s->nodes[1].c, story_local(s, 1), s, &status);
	assert_string_equal(status.verdict,
			    "no leader: another node holds the cluster lock, but is not heard: check the "
			    "network between the nodes");
	assert_int_equal(status.arbitration, CLUSTER_ARBITRATION_LOST);
	sim_lock_reach(s, 1, false);
	sim_run(s, s->now + 10 * DEAD * MS);
	cluster_tell_status(s->nodes[1].c, story_local(s, 1), s, &status);
	assert_string_equal(status.verdict,
			    "no leader: the cluster lock cannot be taken: failed: check what holds the lock");
	assert_string_equal(status.arbitration_detail, "failed");
	story_down(s);
}

/* ---- a lock that two hold at once: nothing can be safe; but it ends ---- */

/* They hear each other again: within two heartbeats one leader. */
static void test_two_holders_meet(void **state)
{
	for (uint64_t seed = 1; seed <= 20; seed++) {
		struct sim *s = cluster_up(3, LOCK, seed);

		s->excused_until = UINT64_MAX;
		s->lock.lie = true;
		cut_off(s, 1, true);
		story_run_until(s, 5 * DEAD, another_leads, 0, false);
		sim_run(s, s->now + 2 * DEAD * MS);
		assert_true(leads(s->nodes[0].c) && another_leads(s, 0));
		cut_off(s, 1, false);
		assert_true(story_run_until(s, 5 * DEAD, story_agreed, 0, false) < 2 * DEAD);
		assert_int_equal(sim_leaders_in_component(s), 1);
		talloc_free(s);
	}
}

static unsigned holders(const struct sim *s)
{
	unsigned n = 0;

	for (uint32_t p = 0; p < s->opt.nodes; p++) {
		n += s->nodes[p].lock.helper != 0 && s->nodes[p].lock.held ? 1 : 0;
	}
	return n;
}

/* Only a follower is between them: terms go up a few times, then one lets go. */
static void test_two_holders_apart(void **state)
{
	for (uint64_t seed = 1; seed <= 20; seed++) {
		struct sim *s = cluster_up(3, LOCK, seed);
		uint64_t begin, leaders;

		s->excused_until = UINT64_MAX;
		s->lock.lie = true;
		cut_off(s, 1, true);
		story_run_until(s, 5 * DEAD, another_leads, 0, false);
		sim_run(s, s->now + 2 * DEAD * MS);
		leaders = s->n_leaders;
		sim_cut(s, 0, 2, false);
		begin = s->now;
		while (holders(s) != 1 && s->now < begin + 10 * DEAD * MS) {
			sim_run(s, s->now + MS);
		}
		assert_true(s->now < begin + 4 * DEAD * MS);
		assert_in_range(s->n_leaders - leaders, 1, 10);
		talloc_free(s);
	}
}

/* ---- the process dies at each step ---- */

/* false: all steps were done before */
static bool dies_at(enum kind kind, uint64_t steps, uint32_t who, bool machine, uint64_t seed)
{
	struct sim *s = cluster_up(3, kind, seed);
	uint64_t end = s->now + 8 * DEAD * MS, until = 0;

	s->lock.ttl_ns = 2 * DEAD * MS;
	sim_crash(s, 0, true);
	until = s->steps + steps;
	while (s->steps < until && s->now < end && !sim_failed(s)) {
		s->step_limit = s->steps + 1;
		sim_run(s, end);
	}
	s->step_limit = 0;
	if (s->now < end) {
		sim_crash(s, who, machine);
		sim_run(s, s->now + 500 * MS);
		sim_start(s, who);
		sim_run(s, s->now + 20 * DEAD * MS);
		if (!story_agreed(s, 1) || !story_all_act(s, 0)) {
			fail_msg("no agreement after node %u died at step %llu", (unsigned)who,
				 (unsigned long long)steps);
		}
	}
	if (s->failure[0] != '\0') {
		fail_msg("node %u died at step %llu: %s", (unsigned)who, (unsigned long long)steps, s->failure);
	}
	until = s->now < end + 8 * DEAD * MS ? 0 : 1;
	talloc_free(s);
	return until != 0;
}

static void test_dies_at_each_step(void **state)
{
	for (enum kind kind = LOCK; kind <= ETCD; kind++) {
		for (uint64_t steps = 1; steps < 160; steps++) {
			(void)dies_at(kind, steps, 1 + (uint32_t)(steps % 2), steps % 3 == 0, 40 + kind);
			(void)dies_at(kind, steps, 1, false, 50 + kind);
		}
	}
}

/* ---- how long it takes ---- */

/* From the power cut of the leader of 5 nodes until another leads, and until all have a view without it; ms of virtual
 * time. */
static void tell_times(const char *name, enum kind kind, uint64_t free_ms, uint64_t ttl_ms)
{
	uint64_t leads_sum = 0, leads_most = 0, view_sum = 0, view_most = 0;
	const uint64_t n = 200;

	for (uint64_t seed = 1; seed <= n; seed++) {
		struct sim *s = cluster_up(5, kind, seed);
		uint64_t ms;

		s->lock.free_ns = free_ms * MS;
		s->lock.ttl_ns = ttl_ms * MS;
		sim_run(s, s->now + 6000 * MS + sim_random(s, 2000 * MS));
		sim_crash(s, 0, true);
		ms = story_run_until(s, 60 * DEAD, another_leads, 0, false);
		leads_sum += ms;
		leads_most = ms > leads_most ? ms : leads_most;
		ms += story_run_until(s, 60 * DEAD, story_left_out, 0, false);
		view_sum += ms;
		view_most = ms > view_most ? ms : view_most;
		story_down(s);
	}
	printf("%-32s another leads after %llu ms (at most %llu), a view without it after %llu ms (%llu)\n", name,
	       (unsigned long long)(leads_sum / n), (unsigned long long)leads_most, (unsigned long long)(view_sum / n),
	       (unsigned long long)view_most);
}

static void test_times(void **state)
{
	tell_times("majority", MAJORITY, 0, 0);
	tell_times("lock, free at once", LOCK, 1, 0);
	tell_times("lock, free after 0.5 s", LOCK, 500, 0);
	tell_times("lock, free after 10 s", LOCK, 10000, 0);
	tell_times("etcd, ttl 2 s", ETCD, 1, 2000);
	tell_times("etcd, ttl 5 s", ETCD, 1, 5000);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest times[] = {cmocka_unit_test(test_times)};
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_start),
		cmocka_unit_test(test_start_with_one_missing),
		cmocka_unit_test(test_undisturbed_nothing_happens),
		cmocka_unit_test(test_leader_lost),
		cmocka_unit_test(test_leader_lost_lock_stays),
		cmocka_unit_test(test_follower_lost),
		cmocka_unit_test(test_restart_of_leader),
		cmocka_unit_test(test_planned_leave),
		cmocka_unit_test(test_resign),
		cmocka_unit_test(test_resign_nobody_else),
		cmocka_unit_test(test_resign_to_one_without_lock),
		cmocka_unit_test(test_resign_unheard),
		cmocka_unit_test(test_stopped_leader),
		cmocka_unit_test(test_stopped_on_the_way),
		cmocka_unit_test(test_lock_lost_and_held_again),
		cmocka_unit_test(test_lock_lost_for_good),
		cmocka_unit_test(test_lock_out_of_reach),
		cmocka_unit_test(test_leader_stands_still),
		cmocka_unit_test(test_slow_helper),
		cmocka_unit_test(test_partition),
		cmocka_unit_test(test_verdicts),
		cmocka_unit_test(test_two_holders_meet),
		cmocka_unit_test(test_two_holders_apart),
		cmocka_unit_test(test_dies_at_each_step),
	};

	if (argc == 2 && strcmp(argv[1], "--times") == 0) {
		return cmocka_run_group_tests(times, NULL, NULL);
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
