/* Stories: clusters in the simulator that the tests bring up, disturb and watch. Failures end the test. */
#ifndef SIM_STORY_H
#define SIM_STORY_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "cluster_sim.h"

#define DEAD   1000ULL /* ms */
#define NOBODY CLUSTER_NODE_NONE

typedef bool (*story_cond_fn)(const struct sim *s, uint32_t p);

/* Heartbeat DEAD / 4. With TRACE in the environment it tells what happens. */
struct sim *story_new(uint32_t nodes, enum cluster_quorum quorum, bool bounded, uint64_t seed);
/* All nodes start within 50 ms; runs for DEAD, at the end of which they have to agree. */
void story_up(struct sim *s);
/* No invariant was violated; frees it. */
void story_down(struct sim *s);

struct mono story_local(const struct sim *s, uint32_t p); /* node p's clock */
const struct cluster_view *story_view(const struct sim *s, uint32_t p);
bool story_all_act(const struct sim *s, uint32_t but);
/* Runs in steps of a millisecond as long as cond(s, p) does not hold; ms it took, at most limit_ms. others_act: all but p have to all the time. */
uint64_t story_run_until(struct sim *s, uint64_t limit_ms, story_cond_fn cond, uint32_t p, bool others_act);

/* ---- conditions ---- */
bool story_left_out(const struct sim *s, uint32_t p); /* by the view of every other node */
bool story_agreed(const struct sim *s, uint32_t p);   /* all, and p (or NOBODY) runs */
bool story_never(const struct sim *s, uint32_t p);

/* ---- nodes lists ---- */
/* nodes: how many there can be; those of the list in text start. Runs until one leads. */
struct sim *story_up_list(uint32_t nodes, const char *text, enum cluster_quorum quorum, uint64_t seed);
/* Asks the leader for this list. 0: begun; else errno, *why as cluster_nodes_change() tells it. */
int story_change(struct sim *s, const char *text, char **why);

#endif
