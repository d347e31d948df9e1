/* ctdb-sim: its command line. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctdb_sim.h"

#define MOST_JOBS 256

static const char *const arbitrations[SIM_ARBITRATIONS] = {"majority", "none", "lock", "etcd"};

static const struct {
	const char *name;
	unsigned fault;
	const char *text;
} plants[] = {
	{"vote-twice", CLUSTER_FAULT_VOTE_TWICE, "a node votes for every candidate of a term"},
	{"old-view", CLUSTER_FAULT_OLD_VIEW, "a node takes views that are not newer than its own"},
	{"no-promise", CLUSTER_FAULT_NO_PROMISE, "a node votes although it has promised not to"},
	{"hasty-drop", CLUSTER_FAULT_HASTY_DROP, "a leader leaves nodes out before their leases have ended"},
	{"forget-vote", CLUSTER_FAULT_FORGET_VOTE, "a vote counts before it is on disk"},
	{"banned-acts", CLUSTER_FAULT_BANNED_ACTS, "a banned or stopped node goes on"},
	{"lone-leader", CLUSTER_FAULT_LONE_LEADER, "a leader goes on without a majority's answers"},
	{"deaf-leader", CLUSTER_FAULT_DEAF_LEADER, "a leader goes on when it hears of a higher term"},
	{"all-stand", CLUSTER_FAULT_ALL_STAND, "all nodes stand for election at once"},
	{"lease-is-all", CLUSTER_FAULT_LEASE_IS_ALL, "a node that was without lease acts under an old view"},
	{"lock-blind", CLUSTER_FAULT_LOCK_BLIND, "a leader believes to have the lock until it is told otherwise"},
	{"lock-hasty", CLUSTER_FAULT_LOCK_HASTY, "a new holder of the lock does not wait for the former one's leases"},
	{"lock-forever", CLUSTER_FAULT_LOCK_FOREVER, "leases outlast the lock's own lease in etcd"},
	{"mesh-blind", CLUSTER_FAULT_MESH_BLIND, "a leader does not look at the links of others"},
	{"mesh-hasty", CLUSTER_FAULT_MESH_HASTY, "who is left out for its links still has its lease"},
	{"claim-mute", CLUSTER_FAULT_CLAIM_MUTE, "who is left out for its links does not tell others who leads"},
};
#define N_PLANTS (sizeof(plants) / sizeof(plants[0]))

const char *sim_arbitration_name(enum sim_arbitration arbitration)
{
	return arbitrations[arbitration];
}

const char *sim_plant_name(unsigned fault)
{
	for (size_t i = 0; i < N_PLANTS; i++) {
		if (plants[i].fault == fault) {
			return plants[i].name;
		}
	}
	return NULL;
}

static const char *const help_text =
	"usage: ctdb-sim [OPTION]...\n"
	"Simulates clusters: the code that decides about membership, leadership and views runs for each node, in\n"
	"virtual time, while network, clocks, disks and machines fail. Invariants are checked after each step.\n"
	"\n"
	"  --nodes N | A-B       size of the clusters, 1 to 256; a range is drawn from, small ones more often [3-64]\n"
	"  --seed S              of the first run; each further one has the next. Same seed, same run [1]\n"
	"  --runs R              how many [100; with --trace 1]\n"
	"  --steps K             a run is disturbed for K steps (packets, timers, ...), then left in peace\n"
	"                        [for 10 dead intervals]\n"
	"  --arbitration KIND    majority, none, lock, etcd, or any [any]\n"
	"  --profile LIST        what goes wrong, separated by commas: all, nothing, or some of\n"
	"                        ";

static void help(void)
{
	fputs(help_text, stdout);
	for (int t = 0; t < SIM_TROUBLES; t++) {
		printf("%s%s", t == 0 ? "" : ", ", sim_trouble_name(t));
	}
	printf(" [all]\n"
	       "  --jobs J              processes [as many as there are processors]\n"
	       "  --trace               tells the story of one run\n"
	       "  --plant BUG           runs a core with a bug, to see whether it is found:\n");
	for (size_t i = 0; i < N_PLANTS; i++) {
		printf("                        %-14s%s\n", plants[i].name, plants[i].text);
	}
	printf("\nExit status: 0 all invariants held, 1 one was violated (the last line repeats that run), 2 usage.\n");
}

/* ---- values ---- */

static bool number(const char *text, uint64_t least, uint64_t most, uint64_t *out)
{
	char *end;

	errno = 0;
	if (*text < '0' || *text > '9') {
		return false;
	}
	*out = strtoull(text, &end, 10);
	return errno == 0 && *end == '\0' && *out >= least && *out <= most;
}

static int bad(const char *option, const char *value, const char *expected)
{
	fprintf(stderr, "ctdb-sim: --%s %s: expected %s\n", option, value, expected);
	return EINVAL;
}

static int parse_number(const char *option, const char *value, uint64_t least, uint64_t most, uint64_t *out)
{
	char expected[80];

	if (number(value, least, most, out)) {
		return 0;
	}
	snprintf(expected, sizeof(expected), "a number from %llu to %llu", (unsigned long long)least,
		 (unsigned long long)most);
	return bad(option, value, expected);
}

static int parse_nodes(const char *value, struct sim_args *args)
{
	char first[16] = "";
	const char *dash = strchr(value, '-');
	uint64_t a, b;
	size_t len = dash == NULL ? strlen(value) : (size_t)(dash - value);

	snprintf(first, sizeof(first), "%.*s", (int)(len < sizeof(first) ? len : 0), value);
	if (!number(first, 1, NODES_MAX, &a) || !number(dash == NULL ? first : dash + 1, a, NODES_MAX, &b)) {
		return bad("nodes", value, "a number of nodes from 1 to 256, or a range like 3-64");
	}
	args->nodes_min = (uint32_t)a;
	args->nodes_max = (uint32_t)b;
	return 0;
}

static int parse_arbitration(const char *value, struct sim_args *args)
{
	args->arbitration = -1;
	for (int a = 0; a < SIM_ARBITRATIONS; a++) {
		if (strcmp(value, arbitrations[a]) == 0) {
			args->arbitration = a;
		}
	}
	return args->arbitration >= 0 || strcmp(value, "any") == 0
		       ? 0
		       : bad("arbitration", value, "majority, none, lock, etcd or any");
}

static int profile_add(const char *name, size_t len, unsigned *profile)
{
	if (len == 3 && strncmp(name, "all", len) == 0) {
		*profile = (1U << SIM_TROUBLES) - 1;
		return 0;
	}
	for (int t = 0; t < SIM_TROUBLES; t++) {
		if (strlen(sim_trouble_name(t)) == len && strncmp(name, sim_trouble_name(t), len) == 0) {
			*profile |= SIM_TROUBLE_BIT(t);
			return 0;
		}
	}
	return EINVAL;
}

static int parse_profile(const char *value, struct sim_args *args)
{
	args->profile = 0;
	if (strcmp(value, "nothing") == 0) {
		return 0;
	}
	for (const char *p = value;; p++) {
		size_t len = strcspn(p, ",");

		if (profile_add(p, len, &args->profile) != 0) {
			fprintf(stderr,
				"ctdb-sim: --profile: \"%.*s\" is nothing that can go wrong here; there are:", (int)len,
				p);
			for (int t = 0; t < SIM_TROUBLES; t++) {
				fprintf(stderr, " %s", sim_trouble_name(t));
			}
			fprintf(stderr, ", or all, or nothing\n");
			return EINVAL;
		}
		p += len;
		if (*p == '\0') {
			return 0;
		}
	}
}

static int parse_plant(const char *value, struct sim_args *args)
{
	for (size_t i = 0; i < N_PLANTS; i++) {
		if (strcmp(value, plants[i].name) == 0) {
			args->plant = plants[i].fault;
			return 0;
		}
	}
	return bad("plant", value, "one of the bugs that --help names");
}

/* ---- the line ---- */

static int parse_option(int o, const char *value, struct sim_args *args)
{
	uint64_t jobs;
	int ret;

	switch (o) {
	case 's':
		return parse_number("seed", value, 0, UINT64_MAX / 32, &args->seed);
	case 'r':
		return parse_number("runs", value, 1, 1000000000, &args->runs);
	case 'k':
		return parse_number("steps", value, 1, 1000000000, &args->steps);
	case 'n':
		return parse_nodes(value, args);
	case 'a':
		return parse_arbitration(value, args);
	case 'p':
		return parse_profile(value, args);
	case 'b':
		return parse_plant(value, args);
	case 'j':
		ret = parse_number("jobs", value, 1, MOST_JOBS, &jobs);
		args->jobs = ret == 0 ? (unsigned)jobs : 0;
		return ret;
	case 't':
		args->trace = true;
		return 0;
	default:
		return EINVAL; /* getopt has said why */
	}
}

static unsigned processors(void)
{
	long n = sysconf(_SC_NPROCESSORS_ONLN);

	return n < 1 ? 1 : (n > MOST_JOBS ? MOST_JOBS : (unsigned)n);
}

static int parse_all(int argc, char **argv, struct sim_args *args)
{
	static const struct option options[] = {{"seed", 1, NULL, 's'},
						{"runs", 1, NULL, 'r'},
						{"steps", 1, NULL, 'k'},
						{"nodes", 1, NULL, 'n'},
						{"arbitration", 1, NULL, 'a'},
						{"profile", 1, NULL, 'p'},
						{"plant", 1, NULL, 'b'},
						{"jobs", 1, NULL, 'j'},
						{"trace", 0, NULL, 't'},
						{"help", 0, NULL, 'h'},
						{NULL, 0, NULL, 0}};
	int o;

	while ((o = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (o == 'h') {
			help();
			return -1;
		}
		if (parse_option(o, optarg, args) != 0) {
			return EINVAL;
		}
	}
	if (optind < argc) {
		fprintf(stderr, "ctdb-sim: \"%s\": there are only options\n", argv[optind]);
		return EINVAL;
	}
	if (args->trace && args->runs > 1) {
		fprintf(stderr, "ctdb-sim: --trace tells one run: leave out --runs %llu\n",
			(unsigned long long)args->runs);
		return EINVAL;
	}
	return 0;
}

int sim_args_parse(int argc, char **argv, struct sim_args *args)
{
	int ret;

	*args = (struct sim_args){.seed = 1, .nodes_min = 3, .nodes_max = 64, .arbitration = -1, .jobs = processors()};
	args->profile = (1U << SIM_TROUBLES) - 1;
	ret = parse_all(argc, argv, args);
	if (ret == EINVAL) {
		fprintf(stderr, "Try: ctdb-sim --help\n");
		return 3;
	}
	if (args->runs == 0) {
		args->runs = args->trace ? 1 : 100;
	}
	return ret == 0 ? 0 : 1;
}

static size_t add(char *buf, size_t len, size_t at, const char *text)
{
	int n = at < len ? snprintf(buf + at, len - at, "%s", text) : 0;

	return at + (n > 0 ? (size_t)n : 0);
}

static void add_profile(char *buf, size_t len, size_t at, unsigned profile)
{
	const char *sep = " --profile ";

	if (profile == (1U << SIM_TROUBLES) - 1) {
		return;
	}
	at = add(buf, len, at, profile == 0 ? " --profile nothing" : "");
	for (int t = 0; t < SIM_TROUBLES; t++) {
		if ((profile & SIM_TROUBLE_BIT(t)) != 0) {
			at = add(buf, len, at, sep);
			at = add(buf, len, at, sim_trouble_name(t));
			sep = ",";
		}
	}
}

void sim_replay(char *buf, size_t len, const char *program, const struct sim_args *args, uint64_t seed)
{
	enum sim_arbitration arbitration;
	struct sim_options opt = sim_options_of(args, seed, &arbitration);
	char text[200];
	size_t at = 0;

	snprintf(text, sizeof(text), " --nodes %u --seed %llu --arbitration %s", (unsigned)opt.nodes,
		 (unsigned long long)seed, sim_arbitration_name(arbitration));
	at = add(buf, len, at, program);
	at = add(buf, len, at, text);
	if (args->steps != 0) {
		snprintf(text, sizeof(text), " --steps %llu", (unsigned long long)args->steps);
		at = add(buf, len, at, text);
	}
	if (args->plant != 0) {
		at = add(buf, len, at, " --plant ");
		at = add(buf, len, at, sim_plant_name(args->plant));
	}
	at = add(buf, len, at, " --trace");
	add_profile(buf, len, at, args->profile);
}
