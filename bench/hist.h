/* A histogram of times: 32 steps for each power of two, so a value is known to 3 %. Has no pointers, so it may be in
 * shared memory. */
#ifndef BENCH_HIST_H
#define BENCH_HIST_H

#include <jansson.h>
#include <stdint.h>

#define HIST_STEPS   32U
#define HIST_BUCKETS (44U * HIST_STEPS) /* up to 2^48 ns, three days */

/* All zeros: empty. */
struct hist {
	uint64_t n, max, total; /* ns */
	uint32_t bucket[HIST_BUCKETS];
};

void hist_add(struct hist *h, uint64_t ns);
void hist_merge(struct hist *h, const struct hist *other);
/* p of 0..100, ns, the upper edge of its step; p = 100: max. 0 if empty. */
uint64_t hist_percentile(const struct hist *h, double p);
/* {"n", "mean", "p50", "p99", "p99.9", "max"}, microseconds, and "steps": [[upper edge, n], ...] */
json_t *hist_json(const struct hist *h);

#endif
