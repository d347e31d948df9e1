/* ctdb-sim: one run. A cluster starts, is disturbed, is left in peace and has to agree, loses its leader and has to
 * elect another one. */
#include <stdio.h>

#include "ctdb_sim.h"

static uint64_t dead_ns(const struct sim *s)
{
	return (uint64_t)s->opt.dead_ms * MS;
}

static void figure_add(struct sim_figure *f, uint64_t value, uint64_t seed)
{
	f->n++;
	f->sum += value;
	if (f->n == 1 || value > f->most) {
		f->most = value;
		f->seed = seed;
	}
}

static void figure_join(struct sim_figure *to, const struct sim_figure *from)
{
	if (from->n > 0 && (to->n == 0 || from->most > to->most || (from->most == to->most && from->seed < to->seed))) {
		to->most = from->most;
		to->seed = from->seed;
	}
	to->n += from->n;
	to->sum += from->sum;
}

void sim_stats_add(struct sim_stats *to, const struct sim_stats *from)
{
	to->runs += from->runs;
	to->steps += from->steps;
	to->packets += from->packets;
	to->simulated_ms += from->simulated_ms;
	for (int a = 0; a < SIM_ARBITRATIONS; a++) {
		to->by_arbitration[a] += from->by_arbitration[a];
	}
	for (int t = 0; t < SIM_TROUBLES; t++) {
		to->troubles[t] += from->troubles[t];
	}
	to->elections += from->elections;
	to->elections_packets += from->elections_packets;
	figure_join(&to->packets_centi, &from->packets_centi);
	figure_join(&to->leaderless_milli, &from->leaderless_milli);
	figure_join(&to->converge_milli, &from->converge_milli);
}

/* ---- what a run is like ---- */

/* Each property has numbers of its own: giving one by hand leaves the others as they were. */
static uint64_t draw(uint64_t seed, uint64_t property, uint64_t below)
{
	struct sim s = {.random = seed * 16 + property};

	return sim_random(&s, below);
}

/* Small clusters more often than large ones, which cost more: it goes with the fifth power of an even draw. */
static uint32_t nodes_of(const struct sim_args *args, uint64_t seed)
{
	uint64_t range = args->nodes_max - args->nodes_min + 1, x = draw(seed, 1, 1000);

	return args->nodes_min + (uint32_t)(range * x * x * x * x * x / 1000000000000000ULL);
}

static enum sim_arbitration arbitration_of(const struct sim_args *args, uint64_t seed)
{
	static const enum sim_arbitration any[] = {SIM_MAJORITY, SIM_MAJORITY, SIM_MAJORITY,
						   SIM_NONE,     SIM_LOCKED,   SIM_ETCD};

	if ((args->plant & CLUSTER_FAULT_LOCK_FOREVER) != 0 && args->arbitration < 0) {
		return SIM_ETCD;
	}
	if ((args->plant & (CLUSTER_FAULT_LOCK_BLIND | CLUSTER_FAULT_LOCK_HASTY)) != 0 && args->arbitration < 0) {
		return SIM_LOCKED;
	}
	if ((args->plant & CLUSTER_FAULT_CLAIM_MUTE) != 0 && args->arbitration < 0) {
		return SIM_NONE;
	}
	return args->arbitration >= 0 ? (enum sim_arbitration)args->arbitration
				      : any[draw(seed, 2, sizeof(any) / sizeof(any[0]))];
}

static const enum cluster_quorum quorums[SIM_ARBITRATIONS] = {CLUSTER_QUORUM_MAJORITY, CLUSTER_QUORUM_NONE,
							      CLUSTER_QUORUM_EXTERNAL, CLUSTER_QUORUM_EXTERNAL};

struct sim_options sim_options_of(const struct sim_args *args, uint64_t seed, enum sim_arbitration *arbitration)
{
	struct sim_options opt = {
		.seed = seed,
		.nodes = nodes_of(args, seed),
		.faults = args->plant,
		.profile = args->profile,
		.trace = args->trace,
	};

	*arbitration = arbitration_of(args, seed);
	opt.quorum = quorums[*arbitration];
	opt.bounded = *arbitration == SIM_ETCD;
	opt.dead_ms = draw(seed, 3, 2) == 0 ? 1000 : 100;
	opt.heartbeat_ms = opt.dead_ms / (draw(seed, 4, 2) == 0 ? 4 : 3);
	return opt;
}

/* ---- the parts of a run ---- */

static void disturb(struct sim *s, uint64_t steps)
{
	for (uint32_t p = 0; p < s->opt.nodes; p++) {
		s->nodes[p].start_due = sim_random(s, dead_ns(s) / 2);
		sim_schedule(s, s->nodes[p].start_due, SIM_START, p, 0);
		s->nodes[p].cannot_lead = p > 0 && sim_random(s, 6) == 0;
	}
	s->chaos = true;
	s->chaos_until = steps == 0 ? dead_ns(s) * SIM_CHAOS_D : UINT64_MAX / 2;
	s->step_limit = steps;
	sim_schedule(s, sim_random(s, 2 * dead_ns(s)), SIM_CHAOS, 0, 0);
	sim_run(s, s->chaos_until);
	s->step_limit = 0;
}

/* Not every pair is linked, but the network is connected: those that act reach each other. */
static void thin_network(struct sim *s)
{
	uint64_t views;
	uint32_t a, b;

	sim_chaos_end(s, false);
	sim_run(s, s->now + SIM_THIN_D * dead_ns(s));
	views = s->n_views;
	sim_run(s, s->now + SIM_PEACE_D * dead_ns(s));
	if (sim_failed(s)) {
		return;
	}
	if (s->opt.quorum == CLUSTER_QUORUM_NONE && sim_leaders_in_component(s) > 1) {
		sim_fail(s, "more than one leader in a connected network");
	} else if (s->n_views != views) {
		sim_fail(s, "views still change after %d dead intervals in which the network did not", SIM_THIN_D);
	} else if (!sim_mesh_complete(s, &a, &b)) {
		sim_fail(s, "nodes %u and %u act under one leader, but do not reach each other", (unsigned)a,
			 (unsigned)b);
	}
}

static bool all_agree(const struct sim *s, const char **why)
{
	for (uint32_t p = 0; p < s->opt.nodes; p++) {
		if (s->nodes[p].c == NULL) {
			*why = "a node is not up";
			return false;
		}
	}
	return sim_converged(s, why);
}

/*
 * Nothing is wrong any more: everybody agrees soon, for good. What was on its way may still break an agreement for a
 * moment, so it counts from when it lasted.
 */
static void converge(struct sim *s, struct sim_stats *stats)
{
	unsigned most = s->opt.quorum == CLUSTER_QUORUM_EXTERNAL ? SIM_LOCK_D : SIM_CONVERGE_D;
	uint64_t begin = s->now, since = s->now, views = s->n_views;
	const char *why = "", *was = "";

	while (!sim_failed(s) && s->now < since + SIM_PEACE_D * dead_ns(s)) {
		if (since > begin + most * dead_ns(s)) {
			sim_fail(s, "no agreement in %u dead intervals after everything was well: %s", most, was);
			return;
		}
		sim_run(s, s->now + dead_ns(s) / 32);
		if (sim_failed(s)) {
			return;
		}
		if (!all_agree(s, &why) || s->n_views != views) {
			was = s->n_views != views ? "there are ever more views" : why;
			since = s->now;
			views = s->n_views;
		}
	}
	figure_add(&stats->converge_milli, (since - begin) * 1000 / dead_ns(s), s->opt.seed);
	sim_trace(s, NULL, "everybody has agreed since %.3f ms after it began", (double)(since - begin) / 1e6);
}

/* ---- the leader is lost, and nothing else is wrong ---- */

static bool other_can_lead(const struct sim *s, uint32_t leader)
{
	for (uint32_t p = 0; p < s->opt.nodes; p++) {
		if (p != leader && !s->nodes[p].cannot_lead && s->nodes[p].flags == 0) {
			return s->opt.quorum != CLUSTER_QUORUM_MAJORITY || s->opt.nodes >= 3;
		}
	}
	return false;
}

static bool others_act(const struct sim *s, uint32_t but)
{
	for (uint32_t p = 0; p < s->opt.nodes; p++) {
		if (p != but && s->nodes[p].flags == 0 && !sim_acts(s, &s->nodes[p])) {
			return false;
		}
	}
	return true;
}

/* True: planned, so it hands over. */
static bool lose(struct sim *s, uint32_t leader)
{
	uint64_t how = sim_random(s, 5);

	sim_trace(s, NULL, "the leader, node %u, is taken away", (unsigned)leader);
	s->lock.free_ns = dead_ns(s) / 32; /* how long it stays held is up to the troubles */
	switch (how) {
	case 0:
		sim_leave(s, leader);
		break;
	case 1:
		sim_set_flags(s, leader, NODE_FLAG_STOPPED);
		break;
	case 2:
		(void)sim_resign(s, leader, CLUSTER_NODE_NONE);
		break;
	case 3:
		sim_crash(s, leader, false);
		break;
	default:
		sim_crash(s, leader, true);
		break;
	}
	return how <= 2;
}

/*
 * Does nobody who is well have to stop? With three heartbeats in a dead interval instead of four there is hardly time
 * for the votes; a lease in etcd outlives its holder.
 */
static bool goes_on(const struct sim *s, bool planned)
{
	return planned || (4 * s->opt.heartbeat_ms <= s->opt.dead_ms && !s->opt.bounded);
}

static void await_leader(struct sim *s, uint32_t lost, bool planned)
{
	uint64_t begin = s->now;
	unsigned most = s->opt.quorum == CLUSTER_QUORUM_EXTERNAL ? SIM_LOCK_D : 2;

	while (!sim_failed(s) && (sim_leader(s) == CLUSTER_NODE_NONE || sim_leader(s) == lost)) {
		if (goes_on(s, planned) && !others_act(s, lost)) {
			sim_fail(s, "a node that is well does not act after the loss of leader node %u",
				 (unsigned)lost);
		}
		if (s->now > begin + most * dead_ns(s)) {
			sim_fail(s, "nobody leads %u dead intervals after the loss of leader node %u", most,
				 (unsigned)lost);
		}
		sim_run(s, s->now + dead_ns(s) / 64);
	}
}

static void lose_leader(struct sim *s, struct sim_stats *stats)
{
	uint32_t leader = sim_leader(s);

	if (sim_failed(s) || leader == CLUSTER_NODE_NONE || !other_can_lead(s, leader)) {
		return;
	}
	s->election.calm = true;
	sim_run(s, s->now + sim_random(s, dead_ns(s)));
	while (!sim_failed(s) && sim_on_its_way(s, leader, CLUSTER_MSG_LEASE_GRANT)) {
		sim_run(s, s->now + MS / 10); /* those who get the last one promise more than the others may rely on */
	}
	await_leader(s, leader, lose(s, leader));
	s->election.calm = false;
	if (sim_failed(s)) {
		return;
	}
	/* An election ends with a grant: one of two nodes, alone after the other's lock had to end, gives none. */
	if (s->election.calm_n == 0 && s->opt.nodes == 2 && s->opt.quorum == CLUSTER_QUORUM_EXTERNAL) {
		return;
	}
	if (s->election.calm_n == 0) {
		sim_fail(s, "node %u was lost as leader, and no election was seen", (unsigned)leader);
		return;
	}
	figure_add(&stats->packets_centi, s->election.calm_sum * 100 / s->opt.nodes, s->opt.seed);
	figure_add(&stats->leaderless_milli, s->election.time * 1000 / dead_ns(s), s->opt.seed);
	sim_chaos_end(s, true);
	sim_set_flags(s, leader, 0);
	converge(s, stats);
}

bool sim_one_run(const struct sim_args *args, uint64_t seed, struct sim_stats *stats, char failure[256])
{
	enum sim_arbitration arbitration;
	struct sim_options opt = sim_options_of(args, seed, &arbitration);
	struct sim *s = sim_new(&opt);
	bool ok;

	s->lock.ttl_ns = dead_ns(s) + draw(seed, 5, 4 * dead_ns(s));
	disturb(s, args->steps);
	if (!sim_failed(s) && sim_random(s, opt.quorum == CLUSTER_QUORUM_NONE ? 2 : 4) == 0) {
		thin_network(s);
	}
	if (!sim_failed(s)) {
		sim_chaos_end(s, true);
		converge(s, stats);
		lose_leader(s, stats);
	}
	stats->runs++;
	stats->steps += s->steps;
	stats->packets += s->messages;
	stats->simulated_ms += s->now / MS;
	stats->by_arbitration[arbitration]++;
	stats->elections += s->election.n;
	stats->elections_packets += s->election.sum;
	for (int t = 0; t < SIM_TROUBLES; t++) {
		stats->troubles[t] += s->troubles[t];
	}
	ok = !sim_failed(s);
	snprintf(failure, 256, "%s", s->failure);
	talloc_free(s);
	return ok;
}
