/* One-shot timer on the monotonic clock: tevent's own timers follow the wall clock and fire late when it is set back.
 */
#ifndef SHARED_MONO_TIMER_H
#define SHARED_MONO_TIMER_H

#include <talloc.h>
#include <tevent.h>

#include "base/mono.h"

struct mono_timer;

typedef void (*mono_timer_fn)(void *priv);

/* Not armed. Costs one descriptor. NULL with errno set if there is none or no memory. Freeing it disarms it. */
struct mono_timer *mono_timer_new_named(TALLOC_CTX *mem, struct tevent_context *ev, mono_timer_fn fn, void *priv, const char *name);
/* The stall meter knows it by the name of its function. */
#define mono_timer_new(mem, ev, fn, priv) mono_timer_new_named(mem, ev, fn, priv, #fn)

/*
 * Fires once, at or after when; a time that has passed fires in the next turn of the loop. MONO_NEVER disarms. A later time, or none, costs no system call unless
 * the earlier one is very near: the loop wakes up once for it.
 */
void mono_timer_set(struct mono_timer *t, struct mono when);

/* As mono_timer_set(), unless it is armed for an earlier time already. */
void mono_timer_set_earlier(struct mono_timer *t, struct mono when);

#endif
