/* A histogram of times. */
#include "hist.h"

static uint32_t bucket_of(uint64_t ns)
{
	uint32_t shift, b;

	if (ns < HIST_STEPS) {
		return (uint32_t)ns;
	}
	shift = 63U - (uint32_t)__builtin_clzll(ns) - 5U; /* leaves the value between HIST_STEPS and 2 * HIST_STEPS */
	b = shift * HIST_STEPS + (uint32_t)(ns >> shift);
	return b < HIST_BUCKETS ? b : HIST_BUCKETS - 1;
}

static uint64_t upper_edge(uint32_t b)
{
	uint32_t shift = b < 2 * HIST_STEPS ? 0 : b / HIST_STEPS - 1;

	return (((uint64_t)(b - shift * HIST_STEPS) + 1) << shift) - 1;
}

void hist_add(struct hist *h, uint64_t ns)
{
	h->n++;
	h->total += ns;
	h->max = ns > h->max ? ns : h->max;
	h->bucket[bucket_of(ns)]++;
}

void hist_merge(struct hist *h, const struct hist *other)
{
	h->n += other->n;
	h->total += other->total;
	h->max = other->max > h->max ? other->max : h->max;
	for (uint32_t i = 0; i < HIST_BUCKETS; i++) {
		h->bucket[i] += other->bucket[i];
	}
}

uint64_t hist_percentile(const struct hist *h, double p)
{
	uint64_t want = (uint64_t)(p / 100 * (double)h->n + 0.999999), seen = 0;

	for (uint32_t i = 0; i < HIST_BUCKETS && p < 100; i++) {
		seen += h->bucket[i];
		if (seen >= want && seen > 0) {
			return upper_edge(i) < h->max ? upper_edge(i) : h->max;
		}
	}
	return h->max;
}

json_t *hist_json(const struct hist *h)
{
	json_t *steps = json_array();

	for (uint32_t i = 0; i < HIST_BUCKETS; i++) {
		if (h->bucket[i] != 0) {
			json_array_append_new(steps, json_pack("[f,i]", (double)upper_edge(i) / 1e3, h->bucket[i]));
		}
	}
	return json_pack("{s:I,s:f,s:f,s:f,s:f,s:f,s:o}", "n", (json_int_t)h->n, "mean",
			 h->n > 0 ? (double)h->total / 1e3 / (double)h->n : 0.0, "p50",
			 (double)hist_percentile(h, 50) / 1e3, "p99", (double)hist_percentile(h, 99) / 1e3, "p99.9",
			 (double)hist_percentile(h, 99.9) / 1e3, "max", (double)h->max / 1e3, "steps", steps);
}
