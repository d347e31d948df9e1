/* ctdb-bench: measures parts of ctdb-ng by themselves, and daemons that run. Each subcommand has a file of its own. */
#include "bench.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const struct bench_command commands[] = {
	{"codec", "cost of encoding and decoding the messages of the hot paths", bench_codec},
	{"stream", "bulk data between two nodes, against GnuTLS alone", bench_stream},
	{"message-ring", "messages that go round the nodes", bench_message_ring},
	{"fetch-ring", "a record that goes round the nodes", bench_fetch_ring},
	{"fetch-hot", "a record that all clients want", bench_fetch_hot},
	{"local", "records that are here already, against a bare TDB", bench_local},
	{"glock", "locks of g_lock.tdb, as Samba takes them", bench_glock},
	{"transaction", "transactions on a persistent or replicated database", bench_transaction},
	{"recovery", "how long clients wait for a recovery, and what it moves", bench_recovery},
	{"vacuum", "how long deleted records stay, and what their removal costs", bench_vacuum},
	{"connections", "many clients at one daemon, served in order or not", bench_connections},
};

#define N_COMMANDS (sizeof(commands) / sizeof(commands[0]))

static void usage(FILE *f)
{
	fprintf(f, "usage: ctdb-bench COMMAND [OPTION...]\n\n");
	for (size_t i = 0; i < N_COMMANDS; i++) {
		fprintf(f, "  %-13s %s\n", commands[i].name, commands[i].what);
	}
	fprintf(f, "\nctdb-bench COMMAND --help lists the options of a command. See ctdb-bench(1).\n");
}

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * 1000000000U + (uint64_t)t.tv_nsec;
}

uint64_t bench_now(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

uint64_t bench_cpu_now(void)
{
	return clock_ns(CLOCK_THREAD_CPUTIME_ID);
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

double bench_percentile(double *v, size_t n, double p)
{
	size_t rank;

	qsort(v, n, sizeof(*v), compare);
	rank = (size_t)(p / 100 * (double)n + 0.999999);
	return v[rank == 0 ? 0 : rank > n ? n - 1 : rank - 1];
}

double bench_median(double *v, size_t n)
{
	return bench_percentile(v, n, 50);
}

uint64_t bench_number(const char *option, const char *text, uint64_t low, uint64_t high)
{
	char *end;
	uint64_t n;

	errno = 0;
	n = strtoull(text, &end, 10);
	if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || n < low || n > high) {
		fprintf(stderr, "ctdb-bench: %s %s: must be a whole number from %" PRIu64 " to %" PRIu64 "\n", option,
			text, low, high);
		exit(2);
	}
	return n;
}

/* A result that did not get out is none. */
static int end_of_output(int code)
{
	errno = 0;
	if (fflush(stdout) != 0 || ferror(stdout)) {
		fprintf(stderr, "ctdb-bench: standard output: %s\n", strerror(errno != 0 ? errno : EIO));
		return 1;
	}
	return code;
}

static void options_help(const struct bench_option *options, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (options[i].value != NULL) {
			printf("  %s N (%" PRIu64 " to %" PRIu64 ", default %" PRIu64 ")\n", options[i].name,
			       options[i].low, options[i].high, *options[i].value);
		} else {
			printf("  %s\n", options[i].name);
		}
	}
}

void bench_options(int argc, char **argv, const struct bench_option *options, size_t n)
{
	for (int i = 1; i < argc; i++) {
		size_t k = 0;

		if (strcmp(argv[i], "--help") == 0) {
			printf("usage: ctdb-bench %s [OPTION...]\n\n", argv[0]);
			options_help(options, n);
			exit(end_of_output(0));
		}
		while (k < n && strcmp(options[k].name, argv[i]) != 0) {
			k++;
		}
		if (k == n || (options[k].value != NULL && i + 1 == argc)) {
			fprintf(stderr, "ctdb-bench %s: %s %s; --help lists the options\n", argv[0], argv[i],
				k == n ? "is not an option of it" : "needs a number behind it");
			exit(2);
		}
		if (options[k].value != NULL) {
			*options[k].value = bench_number(argv[i], argv[i + 1], options[k].low, options[k].high);
			i++;
		} else {
			*options[k].flag = true;
		}
	}
}

int main(int argc, char **argv)
{
	if (argc < 2) {
		usage(stderr);
		return 2;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "help") == 0) {
		usage(stdout);
		return end_of_output(0);
	}
	for (size_t i = 0; i < N_COMMANDS; i++) {
		if (strcmp(argv[1], commands[i].name) == 0) {
			return end_of_output(commands[i].run(argc - 1, argv + 1));
		}
	}
	fprintf(stderr, "ctdb-bench: there is no command '%s'\n\n", argv[1]);
	usage(stderr);
	return 2;
}
