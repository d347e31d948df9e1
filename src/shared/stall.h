/* Event contexts whose events know the names of their handlers, for the stall meter. Private to src/shared. */
#ifndef SHARED_STALL_H
#define SHARED_STALL_H

#include <talloc.h>
#include <tevent.h>

/*
 * A tevent context as any other. Each event's tag holds the name of its handler, so tags are not for other uses. In a
 * context made in another way the stall meter knows only the kind of event. NULL: no memory, or no descriptors.
 */
struct tevent_context *stall_context_new(TALLOC_CTX *mem);

/* The limit for warnings changes; statistics go on. */
void stall_meter_set_warning(uint32_t warning_ms);

#endif
