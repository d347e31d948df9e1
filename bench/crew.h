/* A workload that several client processes do on each node for some time: starting them together, counting, reporting.
 */
#ifndef BENCH_CREW_H
#define BENCH_CREW_H

#include "bench.h"
#include "group.h"
#include "hist.h"
#include "session.h"

struct crew;

/* What one client process has counted; in shared memory. */
struct crew_count {
	uint64_t operations; /* in the measured time */
	uint64_t all;        /* before and after it as well */
	struct hist latency;
	uint64_t extra[4]; /* the workload's own */
};

struct member {
	const struct crew *crew;
	struct session *s;
	uint32_t index; /* of the clients of this node */
	struct crew_count *count;
	void *priv; /* the workload's */
};

struct crew_work {
	const char *name;
	const char *operation; /* what is counted */
	const char *latency;   /* what its time is */
	/* In the client's process, before the start: attach. */
	void (*prepare)(struct member *m);
	/* Until crew_goes_on() is false. */
	void (*run)(struct member *m);
	/* In the first process, may be NULL: before the clients exist, and when those of all nodes have ended. Adds to
	 * the result. */
	void (*begin)(struct crew *crew);
	void (*end)(struct crew *crew, json_t *result);
};

struct crew {
	const struct crew_work *work;
	uint64_t nodes, clients, ms;
	uint64_t think_us; /* pause of a client after each operation */
	bool json;
	void *priv;
	/* Made by crew_run(). */
	struct session *s;
	struct group group;
	struct crew_count *counts; /* of the clients */
	uint64_t *times;           /* begin and end of what is counted, bench_now(); shared */
	uint64_t cpu;              /* of the daemons, ns */
	uint64_t sent;             /* bytes to the network */
};

/* Runs it and prints the result. Exit status. */
int crew_run(struct crew *crew);
/* One operation has ended, which began then. Pauses afterwards. */
void crew_count(struct member *m, uint64_t began);
bool crew_goes_on(const struct member *m);
uint64_t crew_end(const struct member *m);

/* Memory that processes forked later share; zeros. */
void *shared_memory(size_t size);
/* A process that runs fn and ends with status 0, or fails; it ends with its parent. */
pid_t process_start(void (*fn)(void *priv), void *priv);
/* Waits for it; ends this process if it failed. */
void process_wait(pid_t pid);
/* Ends this process if that one has ended. */
void process_alive(pid_t pid);
void sleep_until(uint64_t when);
/* Prints the object as JSON, or as lines of text. Frees it. */
void result_print(json_t *result, bool json);
/* The options that all have: --nodes, --clients, --ms, --json. */
#define CREW_OPTIONS(crew)                                                                                             \
	{.name = "--nodes", .value = &(crew).nodes, .low = 1, .high = GROUP_MAX},                                      \
		{.name = "--clients", .value = &(crew).clients, .low = 1, .high = 10000},                              \
		{.name = "--ms", .value = &(crew).ms, .low = 10, .high = 86400000},                                    \
	{                                                                                                              \
		.name = "--json", .flag = &(crew).json                                                                 \
	}

#endif
