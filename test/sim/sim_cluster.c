/* Runs the simulated cluster: sim_cluster --seed S --runs K --nodes N [--quorum majority|none] [--fault NAME] [--trace]
 */
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cluster_sim.h"

struct args {
	uint64_t seed, runs;
	uint32_t nodes; /* 0: 3..7, sometimes 16 */
	int quorum;     /* -1: both */
	unsigned faults;
	const char *fault_name;
	bool expect_failure, trace;
};

static const struct {
	const char *name;
	unsigned fault;
} faults[] = {
	{"vote-twice", CLUSTER_FAULT_VOTE_TWICE},
	{"old-view", CLUSTER_FAULT_OLD_VIEW},
	{"no-promise", CLUSTER_FAULT_NO_PROMISE},
	{"hasty-drop", CLUSTER_FAULT_HASTY_DROP},
};

static void settle(struct sim *s, bool full)
{
	uint64_t dead = (uint64_t)s->opt.dead_ms * MS;
	const char *why = "";

	sim_chaos_end(s, full);
	sim_run(s, s->now + 12 * dead);
	if (sim_failed(s)) {
		return;
	}
	if (full && !sim_converged(s, &why)) {
		sim_fail(s, "no agreement in 12 dead intervals after everything was well: %s", why);
	}
	if (!full && s->opt.quorum == CLUSTER_QUORUM_NONE && sim_leaders_in_component(s) > 1) {
		sim_fail(s, "more than one leader in a connected network");
	}
}

static struct sim_options options_of(const struct args *a, uint64_t seed)
{
	struct sim_options opt = {.seed = seed, .faults = a->faults, .trace = a->trace, .profile = UINT_MAX};
	uint64_t r = seed * 0x9E3779B97F4A7C15ULL >> 32;

	opt.nodes = a->nodes != 0 ? a->nodes : (r % 97 == 0 ? 16 : 3 + (uint32_t)(r % 5));
	opt.quorum = a->quorum >= 0 ? (enum cluster_quorum)a->quorum
				    : (r / 97 % 4 == 0 ? CLUSTER_QUORUM_NONE : CLUSTER_QUORUM_MAJORITY);
	opt.dead_ms = r / 388 % 2 == 0 ? 1000 : 100;
	opt.heartbeat_ms = opt.dead_ms / (r / 776 % 2 == 0 ? 4 : 3);
	return opt;
}

/* true: all well */
static bool run(const struct args *a, uint64_t seed, char failure[256])
{
	struct sim_options opt = options_of(a, seed);
	struct sim *s = sim_new(&opt);
	uint64_t dead = (uint64_t)opt.dead_ms * MS;
	bool ok;

	for (uint32_t p = 0; p < opt.nodes; p++) {
		s->nodes[p].start_due = sim_random(s, dead / 2);
		sim_schedule(s, s->nodes[p].start_due, SIM_START, p, 0);
		s->nodes[p].cannot_lead = p > 0 && sim_random(s, 6) == 0;
	}
	s->chaos = true;
	s->chaos_until = dead * 10;
	sim_schedule(s, sim_random(s, 2 * dead), SIM_CHAOS, 0, 0);
	sim_run(s, s->chaos_until);
	if (!sim_failed(s) && sim_random(s, 3) == 0) {
		settle(s, false);
	}
	if (!sim_failed(s)) {
		settle(s, true);
	}
	ok = !sim_failed(s);
	snprintf(failure, 256, "%s", s->failure);
	talloc_free(s);
	return ok;
}

static int usage(const char *program)
{
	fprintf(stderr, "usage: %s [--seed S] [--runs K] [--nodes 1..%d] [--quorum majority|none] [--trace]\n", program,
		SIM_NODES);
	return 2;
}

/* Hidden: --fault NAME plants a bug, --expect-failure succeeds if it is found. */
static int parse(int argc, char **argv, struct args *a)
{
	static const struct option options[] = {{"seed", 1, NULL, 's'},  {"runs", 1, NULL, 'r'},
						{"nodes", 1, NULL, 'n'}, {"quorum", 1, NULL, 'q'},
						{"fault", 1, NULL, 'f'}, {"expect-failure", 0, NULL, 'e'},
						{"trace", 0, NULL, 't'}, {NULL, 0, NULL, 0}};
	int o;

	while ((o = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (o == 's') {
			a->seed = strtoull(optarg, NULL, 0);
		} else if (o == 'r') {
			a->runs = strtoull(optarg, NULL, 0);
		} else if (o == 'n') {
			a->nodes = (uint32_t)strtoul(optarg, NULL, 0);
		} else if (o == 'q') {
			a->quorum = strcmp(optarg, "none") == 0 ? CLUSTER_QUORUM_NONE : CLUSTER_QUORUM_MAJORITY;
		} else if (o == 'f') {
			for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
				a->faults |= strcmp(optarg, faults[i].name) == 0 ? faults[i].fault : 0;
			}
			a->fault_name = optarg;
		} else if (o == 'e') {
			a->expect_failure = true;
		} else if (o == 't') {
			a->trace = true;
		} else {
			return 1;
		}
	}
	return optind < argc || a->nodes > SIM_NODES || (a->fault_name != NULL && a->faults == 0) ? 1 : 0;
}

static void tell_replay(const char *program, const struct args *a, uint64_t seed, const char *failure)
{
	struct sim_options opt = options_of(a, seed);

	printf("seed %llu FAILED: %s\nreplay: %s --seed %llu --runs 1 --trace", (unsigned long long)seed, failure,
	       program, (unsigned long long)seed);
	if (a->nodes != 0) {
		printf(" --nodes %u", (unsigned)opt.nodes);
	}
	if (a->quorum >= 0) {
		printf(" --quorum %s", opt.quorum == CLUSTER_QUORUM_NONE ? "none" : "majority");
	}
	if (a->fault_name != NULL) {
		printf(" --fault %s", a->fault_name);
	}
	printf("\n");
}

int main(int argc, char **argv)
{
	struct args a = {.seed = 1, .runs = 100, .quorum = -1};
	char failure[256];

	if (parse(argc, argv, &a) != 0) {
		return usage(argv[0]);
	}
	for (uint64_t i = 0; i < a.runs; i++) {
		if (!run(&a, a.seed + i, failure)) {
			tell_replay(argv[0], &a, a.seed + i, failure);
			return a.expect_failure ? 0 : 1;
		}
	}
	printf("%llu runs from seed %llu: %s\n", (unsigned long long)a.runs, (unsigned long long)a.seed,
	       a.expect_failure ? "the planted bug was NOT found" : "all invariants held");
	return a.expect_failure ? 1 : 0;
}
