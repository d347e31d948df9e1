/* ctdb-bench: what its subcommands share. */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BENCH_RUNS 5

/* A subcommand: argv[0] is its name. Exit status of the program. */
struct bench_command {
	const char *name, *what;
	int (*run)(int argc, char **argv);
};

int bench_codec(int argc, char **argv);
int bench_connections(int argc, char **argv);
int bench_fetch_hot(int argc, char **argv);
int bench_fetch_ring(int argc, char **argv);
int bench_glock(int argc, char **argv);
int bench_local(int argc, char **argv);
int bench_message_ring(int argc, char **argv);
int bench_recovery(int argc, char **argv);
int bench_stream(int argc, char **argv);
int bench_transaction(int argc, char **argv);
int bench_vacuum(int argc, char **argv);

/* CLOCK_MONOTONIC, nanoseconds. */
uint64_t bench_now(void);
/* Time that this thread has computed, nanoseconds: does not count what others do on the machine. */
uint64_t bench_cpu_now(void);

/* Of n values, which are sorted by it. n > 0. */
double bench_median(double *v, size_t n);
/* p of 0..100, nearest rank. */
double bench_percentile(double *v, size_t n, double p);

/* A whole number from an option's argument, low to high; says what is wrong with it and ends the program otherwise. */
uint64_t bench_number(const char *option, const char *text, uint64_t low, uint64_t high);

/* The options after a subcommand: "name VALUE" pairs and flags. Ends the program with a message and status 2 for what
 * is not in the table. */
struct bench_option {
	const char *name; /* "--json" */
	uint64_t *value;  /* takes a number between low and high, or NULL: a flag */
	bool *flag;
	uint64_t low, high;
};
void bench_options(int argc, char **argv, const struct bench_option *options, size_t n);

#endif
