/* Monotonic time: a type of its own so that wall-clock values cannot be passed by mistake. */
#ifndef BASE_MONO_H
#define BASE_MONO_H

#include <stdbool.h>
#include <stdint.h>

/* Nanoseconds of CLOCK_MONOTONIC. The zero value means "never" or "not set". */
struct mono {
	uint64_t ns;
};

#define MONO_NEVER ((struct mono){0})
#define MONO_NS_PER_US 1000ULL
#define MONO_NS_PER_MS 1000000ULL
#define MONO_NS_PER_S 1000000000ULL

static inline struct mono mono_add_ms(struct mono t, uint64_t ms)
{
	return (struct mono){t.ns + ms * MONO_NS_PER_MS};
}

static inline struct mono mono_add_us(struct mono t, uint64_t us)
{
	return (struct mono){t.ns + us * MONO_NS_PER_US};
}

static inline bool mono_before(struct mono a, struct mono b)
{
	return a.ns < b.ns;
}

static inline bool mono_is_set(struct mono t)
{
	return t.ns != 0;
}

/* Microseconds from a to b; 0 if b is not after a. */
static inline uint64_t mono_us_between(struct mono a, struct mono b)
{
	return b.ns > a.ns ? (b.ns - a.ns) / MONO_NS_PER_US : 0;
}

static inline uint64_t mono_ms_between(struct mono a, struct mono b)
{
	return mono_us_between(a, b) / 1000;
}

static inline struct mono mono_min(struct mono a, struct mono b)
{
	if (!mono_is_set(a)) {
		return b;
	}
	if (!mono_is_set(b)) {
		return a;
	}
	return a.ns < b.ns ? a : b;
}

/* The next of the times that are a multiple of step: what may wait a little comes due together. */
static inline struct mono mono_grid(struct mono t, uint64_t step_ns)
{
	return (struct mono){(t.ns + step_ns - 1) / step_ns * step_ns};
}

/* The present time. Not for src/core: there, time comes in as an argument. */
struct mono mono_now(void);

#endif
