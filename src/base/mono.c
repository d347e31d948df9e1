/* Monotonic time. */
#include "base/mono.h"

#include <time.h>

struct mono mono_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (struct mono){(uint64_t)ts.tv_sec * MONO_NS_PER_S + (uint64_t)ts.tv_nsec};
}
