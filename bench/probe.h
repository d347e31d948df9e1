/* A process that asks for records again and again, one in each of some databases, and notes how long it waits: what a
 * client feels of something else that goes on. All nodes ask for the same records, so the daemons are needed. */
#ifndef BENCH_PROBE_H
#define BENCH_PROBE_H

#include "hist.h"
#include "table.h"

#define PROBE_PHASES 16U

/* In shared memory. */
struct probe {
	char database[64]; /* with one %u, the number of the database; without it there is one */
	uint32_t n;        /* databases */
	uint32_t pause_us; /* between two requests for a record */
	/* Which histogram: set by the parent at any time. A wait counts where it began. */
	volatile uint32_t phase;
	volatile bool stop;
	volatile bool ready;
	volatile uint64_t began; /* when the oldest request that waits began, or now */
	struct hist delay[PROBE_PHASES];
};

/* Starts it, and waits until it has its databases. */
pid_t probe_start(struct probe *p);
/* Waits until each request that is under way has begun after that time. */
void probe_pass(const struct probe *p, uint64_t when);
/* Ends the process. */
void probe_end(struct probe *p, pid_t pid);

#endif
