/* The simulated cluster with a lock: who holds it leads. By hand: test_cluster_lock --seed S --runs K [--etcd|--lock]
 * [--nodes N] [--fault NAME] [--trace]. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "cluster_sim.h"

/* ---- random runs ---- */

struct runs {
	uint64_t seed, n;
	uint32_t nodes; /* 0: 2 to 7, sometimes 16 */
	int bounded;    /* -1: both */
	unsigned faults;
	bool trace;
};

static struct sim_options options_of(const struct runs *r, uint64_t seed)
{
	uint64_t x = seed * 0x9E3779B97F4A7C15ULL >> 32;
	struct sim_options opt = {.seed = seed,
				  .quorum = CLUSTER_QUORUM_EXTERNAL,
				  .faults = r->faults,
				  .trace = r->trace,
				  .profile = UINT_MAX};

	opt.nodes = r->nodes != 0 ? r->nodes : (x % 97 == 0 ? 16 : 2 + (uint32_t)(x % 6));
	opt.bounded = r->bounded >= 0 ? r->bounded == 1 : x / 97 % 2 == 0;
	opt.dead_ms = x / 388 % 2 == 0 ? 1000 : 100;
	opt.heartbeat_ms = opt.dead_ms / (x / 776 % 2 == 0 ? 4 : 3);
	return opt;
}

static void settle(struct sim *s)
{
	uint64_t dead = (uint64_t)s->opt.dead_ms * MS;
	const char *why = "";

	sim_chaos_end(s, true);
	/* A crashed holder's lock is free after 3, a lease after its time; who was refused asks again after up to 5. */
	sim_run(s, s->now + 24 * dead);
	if (!sim_failed(s) && !sim_converged(s, &why)) {
		sim_fail(s, "no agreement in 24 dead intervals after everything was well: %s", why);
	}
}

/* true: all well */
static bool run(const struct runs *r, uint64_t seed, char failure[256])
{
	struct sim_options opt = options_of(r, seed);
	struct sim *s = sim_new(&opt);
	uint64_t dead = (uint64_t)opt.dead_ms * MS;
	bool ok;

	s->lock.ttl_ns = dead + sim_random(s, 4 * dead);
	for (uint32_t p = 0; p < opt.nodes; p++) {
		s->nodes[p].start_due = sim_random(s, dead / 2);
		sim_schedule(s, s->nodes[p].start_due, SIM_START, p, 0);
		s->nodes[p].cannot_lead = p > 0 && sim_random(s, 6) == 0;
	}
	s->chaos = true;
	s->chaos_until = dead * 15;
	sim_schedule(s, sim_random(s, 2 * dead), SIM_CHAOS, 0, 0);
	sim_run(s, s->chaos_until);
	if (!sim_failed(s)) {
		settle(s);
	}
	ok = !sim_failed(s);
	snprintf(failure, 256, "%s", s->failure);
	talloc_free(s);
	return ok;
}

static bool run_all(const char *program, const struct runs *r)
{
	char failure[256];

	for (uint64_t i = 0; i < r->n; i++) {
		if (!run(r, r->seed + i, failure)) {
			printf("seed %llu FAILED: %s\nreplay: %s --seed %llu --runs 1 --nodes %u --trace%s\n",
			       (unsigned long long)(r->seed + i), failure, program, (unsigned long long)(r->seed + i),
			       (unsigned)options_of(r, r->seed + i).nodes,
			       r->bounded < 0 ? "" : (r->bounded == 1 ? " --etcd" : " --lock"));
			return false;
		}
	}
	return true;
}

static int by_hand(int argc, char **argv)
{
	static const struct option options[] = {
		{"seed", 1, NULL, 's'}, {"runs", 1, NULL, 'r'},  {"nodes", 1, NULL, 'n'}, {"etcd", 0, NULL, 'e'},
		{"lock", 0, NULL, 'l'}, {"fault", 1, NULL, 'f'}, {"trace", 0, NULL, 't'}, {NULL, 0, NULL, 0}};
	static const struct {
		const char *name;
		unsigned fault;
	} faults[] = {{"lock-blind", CLUSTER_FAULT_LOCK_BLIND},
		      {"lock-hasty", CLUSTER_FAULT_LOCK_HASTY},
		      {"lock-forever", CLUSTER_FAULT_LOCK_FOREVER}};
	struct runs r = {.seed = 1, .n = 100, .bounded = -1};
	int o;

	while ((o = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (o == 's') {
			r.seed = strtoull(optarg, NULL, 0);
		} else if (o == 'r') {
			r.n = strtoull(optarg, NULL, 0);
		} else if (o == 'n') {
			r.nodes = (uint32_t)strtoul(optarg, NULL, 0);
		} else if (o == 'e' || o == 'l') {
			r.bounded = o == 'e';
		} else if (o == 't') {
			r.trace = true;
		} else if (o == 'f') {
			for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
				r.faults |= strcmp(optarg, faults[i].name) == 0 ? faults[i].fault : 0;
			}
		} else {
			return 2;
		}
	}
	return run_all(argv[0], &r) ? 0 : 1;
}

static void test_random(void **state)
{
	struct runs r = {.seed = 1, .n = 1200, .bounded = -1};

	assert_true(run_all("test_cluster_lock", &r));
}

static void test_random_16(void **state)
{
	struct runs r = {.seed = 1, .n = 30, .nodes = 16, .bounded = -1};

	assert_true(run_all("test_cluster_lock", &r));
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_random_16),
	};

	return argc > 1 ? by_hand(argc, argv) : cmocka_run_group_tests(tests, NULL, NULL);
}
