/* ctdb-sim: simulates clusters that fail in many ways; see ctdb-sim(1). */
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "ctdb_sim.h"

/* What the processes share. Runs are taken in the order of their numbers, so all before a failed one are done as well.
 */
struct worker {
	struct sim_stats stats;
	uint64_t running; /* number of the run in work */
	uint64_t failed;  /* number of the first that failed; UINT64_MAX: none */
	char failure[256];
};

struct shared {
	_Atomic uint64_t next, failed;
	struct worker workers[];
};

static void work(const struct sim_args *args, struct shared *sh, struct worker *w)
{
	for (;;) {
		uint64_t i = atomic_fetch_add(&sh->next, 1), least;

		w->running = i;
		if (i >= args->runs || i > atomic_load(&sh->failed)) {
			return;
		}
		if (sim_one_run(args, args->seed + i, &w->stats, w->failure)) {
			continue;
		}
		w->failed = i;
		least = atomic_load(&sh->failed);
		while (i < least && !atomic_compare_exchange_weak(&sh->failed, &least, i)) {
		}
		return;
	}
}

/* ---- processes ---- */

static struct shared *shared_new(unsigned jobs)
{
	size_t size = sizeof(struct shared) + jobs * sizeof(struct worker);
	struct shared *sh = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (sh == MAP_FAILED) {
		perror("ctdb-sim: memory shared by the processes");
		exit(1);
	}
	atomic_store(&sh->failed, UINT64_MAX);
	for (unsigned j = 0; j < jobs; j++) {
		sh->workers[j].failed = UINT64_MAX;
	}
	return sh;
}

static void worker_ended(struct shared *sh, struct worker *w, int status)
{
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
		return;
	}
	snprintf(w->failure, sizeof(w->failure), "the process that simulated it died of %s",
		 WIFSIGNALED(status) ? strsignal(WTERMSIG(status)) : "an error");
	w->failed = w->running;
	if (w->failed < atomic_load(&sh->failed)) {
		atomic_store(&sh->failed, w->failed);
	}
}

static void progress(const struct sim_args *args, struct shared *sh)
{
	static time_t last;
	time_t now = time(NULL);
	uint64_t done = atomic_load(&sh->next);

	if (now != last && isatty(STDERR_FILENO)) {
		last = now;
		fprintf(stderr, "\r%llu of %llu runs ", (unsigned long long)(done < args->runs ? done : args->runs),
			(unsigned long long)args->runs);
	}
}

static void await(const struct sim_args *args, struct shared *sh, const pid_t *pids, unsigned jobs)
{
	const struct timespec nap = {.tv_nsec = 20000000};
	unsigned left = jobs;

	while (left > 0) {
		int status;
		pid_t pid = waitpid(-1, &status, WNOHANG);

		if (pid <= 0) {
			nanosleep(&nap, NULL);
			progress(args, sh);
			continue;
		}
		for (unsigned j = 0; j < jobs; j++) {
			if (pids[j] == pid) {
				worker_ended(sh, &sh->workers[j], status);
				left--;
			}
		}
	}
	if (isatty(STDERR_FILENO)) {
		fprintf(stderr, "\r%40s\r", "");
	}
}

static void run_all(const struct sim_args *args, struct shared *sh, unsigned jobs)
{
	pid_t pids[256];

	if (jobs == 1) {
		work(args, sh, &sh->workers[0]);
		return;
	}
	fflush(stdout);
	for (unsigned j = 0; j < jobs; j++) {
		pids[j] = fork();
		if (pids[j] < 0) {
			perror("ctdb-sim: fork");
			for (unsigned i = 0; i < j; i++) {
				kill(pids[i], SIGKILL);
			}
			exit(1);
		}
		if (pids[j] == 0) {
			work(args, sh, &sh->workers[j]);
			_exit(0);
		}
	}
	await(args, sh, pids, jobs);
}

/* ---- what is told ---- */

static void tell_figure(const char *what, const struct sim_figure *f, double scale, const char *unit)
{
	if (f->n == 0) {
		printf("  %s: none\n", what);
		return;
	}
	printf("  %s: mean %.2f %s, most %.2f (seed %llu)\n", what, (double)f->sum / (double)f->n / scale, unit,
	       (double)f->most / scale, (unsigned long long)f->seed);
}

static void tell_troubles(const struct sim_stats *st)
{
	const char *sep = "  disturbed by: ";

	for (int t = 0; t < SIM_TROUBLES; t++) {
		if (st->troubles[t] > 0) {
			printf("%s%llu %s", sep, (unsigned long long)st->troubles[t], sim_trouble_name(t));
			sep = ", ";
		}
	}
	printf("%s", strcmp(sep, ", ") == 0 ? "\n" : "");
}

static void tell_sum(const struct sim_args *args, const struct sim_stats *st)
{
	const char *sep = "";

	printf("%llu runs (seeds %llu to %llu) of clusters of %u", (unsigned long long)st->runs,
	       (unsigned long long)args->seed, (unsigned long long)(args->seed + args->runs - 1),
	       (unsigned)args->nodes_min);
	if (args->nodes_max > args->nodes_min) {
		printf(" to %u", (unsigned)args->nodes_max);
	}
	printf(" nodes: %llu steps, %llu packets, %llu s of simulated time\n  arbitration: ",
	       (unsigned long long)st->steps, (unsigned long long)st->packets,
	       (unsigned long long)(st->simulated_ms / 1000));
	for (int a = 0; a < SIM_ARBITRATIONS; a++) {
		if (st->by_arbitration[a] > 0) {
			printf("%s%llu %s", sep, (unsigned long long)st->by_arbitration[a], sim_arbitration_name(a));
			sep = ", ";
		}
	}
	printf("\n");
	tell_troubles(st);
	printf("  elections: %llu, with %llu packets", (unsigned long long)st->elections,
	       (unsigned long long)st->elections_packets);
	printf("; where only the leader was lost: %llu\n", (unsigned long long)st->packets_centi.n);
	tell_figure("packets of such an election, for each node (bound 4)", &st->packets_centi, 100, "packets");
	tell_figure("time without a leader", &st->leaderless_milli, 1000, "dead intervals");
	tell_figure("agreement after all was well (bound 12, with a lock 24)", &st->converge_milli, 1000,
		    "dead intervals");
}

static void tell_invariants(const struct sim_args *args)
{
	static const char *const list[] = {
		"at most one leader for each term; a vote is on disk before it counts",
		"at most one node leads with a mandate at any time (not with arbitration none)",
		"nobody acts whom a newer view leaves out: never two active sides (not with arbitration none)",
		"views are ordered, all that have one have the same, and no node goes back",
		"nobody acts who is banned or stopped, or who is not in its own view",
		"arbitration none: one leader in each connected part of the network",
		"in a network that stays incomplete, those that act reach each other, and views come to rest",
		"only a leader that acts bans, rarely, and never itself",
		"the loss of a leader costs at most 4 packets for each node, and nobody who is well stops acting "
		"(etcd and a crash apart)",
		"once all is well everybody agrees within 12 dead intervals (with a lock 24), and nothing changes "
		"afterwards",
	};

	printf("all invariants held%s:\n", args->plant != 0 ? ", so the planted bug was NOT found" : "");
	for (size_t i = 0; i < sizeof(list) / sizeof(list[0]); i++) {
		printf("  - %s\n", list[i]);
	}
}

static int tell_failure(const char *program, const struct sim_args *args, const struct shared *sh, unsigned jobs)
{
	uint64_t failed = atomic_load(&sh->failed);
	char replay[600];

	for (unsigned j = 0; j < jobs; j++) {
		if (sh->workers[j].failed == failed) {
			sim_replay(replay, sizeof(replay), program, args, args->seed + failed);
			printf("run of seed %llu FAILED %s\n", (unsigned long long)(args->seed + failed),
			       sh->workers[j].failure);
			printf("%sreplay: %s\n", args->plant != 0 ? "the planted bug was found; " : "", replay);
			break;
		}
	}
	return 1;
}

int main(int argc, char **argv)
{
	struct sim_args args;
	struct sim_stats all = {0};
	struct shared *sh;
	unsigned jobs;
	int ret = sim_args_parse(argc, argv, &args);

	if (ret != 0) {
		return ret - 1;
	}
	jobs = args.jobs < args.runs ? args.jobs : (unsigned)args.runs;
	sh = shared_new(jobs);
	run_all(&args, sh, jobs);
	for (unsigned j = 0; j < jobs; j++) {
		sim_stats_add(&all, &sh->workers[j].stats);
	}
	if (atomic_load(&sh->failed) != UINT64_MAX) {
		return tell_failure(argv[0], &args, sh, jobs);
	}
	tell_sum(&args, &all);
	tell_invariants(&args);
	return 0;
}
