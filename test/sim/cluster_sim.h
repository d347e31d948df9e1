/* Simulated cluster: many cores in one process, virtual time, a network that fails; invariants after each step. */
#ifndef SIM_CLUSTER_SIM_H
#define SIM_CLUSTER_SIM_H

#include <stdbool.h>
#include <stdint.h>
#include <talloc.h>

#include "core/cluster.h"

#define SIM_NODES 256
#define MS        MONO_NS_PER_MS

enum sim_event_kind { SIM_TICK, SIM_MESSAGE, SIM_LINK, SIM_PERSISTED, SIM_START, SIM_RESUME, SIM_CHAOS };

struct sim_event {
	uint64_t at, order; /* true time, ns; ties in the order of making */
	enum sim_event_kind kind;
	uint32_t node, peer;
	uint64_t tag; /* TICK: which; PERSISTED: incarnation */
	enum cluster_msg_kind msg_kind;
	struct ctdb_blob msg; /* MESSAGE, encoded; talloc'ed */
};

/* A view as far as the checks need it: who is in. */
struct sim_view {
	uint64_t term, number;
	uint32_t n;
	uint32_t leader;
	bool in[SIM_NODES];
};

/* What the node's other daemons know: it outlives clusterd, not the machine. */
struct sim_act {
	bool active;
	uint64_t lease_until; /* local clock */
	struct sim_view view;
};

struct sim_node {
	struct sim *sim;
	uint32_t pnn;
	struct cluster *c; /* NULL: not running */
	bool machine_up;
	bool paused;
	bool deferred_tick;
	struct sim_event *deferred; /* what came while paused, in order */
	uint32_t n_deferred;
	uint64_t tick_tag;
	uint64_t offset; /* local clock = offset + time * (1 + ppm / 1e6) */
	int64_t ppm;
	uint64_t incarnation;
	struct cluster_durable durable;
	struct cluster_promise promise;
	struct cluster_durable writing;
	uint32_t flags;
	struct sim_view seen; /* newest of this process */
	struct sim_act act;
	uint64_t start_due; /* of a planned start */
	uint64_t machine_back;
	bool other_nodes_file, cannot_lead;
};

struct sim_options {
	uint64_t seed;
	uint32_t nodes;
	enum cluster_quorum quorum;
	uint32_t dead_ms, heartbeat_ms;
	unsigned faults;
	bool trace;
};

struct sim_leader {
	uint64_t term, incarnation;
	uint32_t pnn;
};

struct sim {
	struct sim_options opt;
	uint64_t now;
	uint64_t random;
	uint64_t order;
	struct sim_event *heap;
	uint32_t n_heap;
	struct sim_node *nodes;
	bool cut[SIM_NODES][SIM_NODES];
	uint32_t loss_permille, slow_permille; /* packets lost; packets delayed a lot (so reordered) */
	uint64_t delay_ns, slow_ns, write_ns;
	bool chaos;
	uint64_t chaos_until, disturbed;
	/* Checks. */
	struct sim_leader *leaders;
	uint32_t n_leaders;
	struct sim_view *views; /* all that were issued */
	uint32_t n_views;
	struct {
		uint64_t term, number;
	} left_out[SIM_NODES]; /* newest issued view without the node */
	char failure[256];     /* "" none */
	uint64_t steps, vote_messages, messages;
	uint64_t two_leaders_since;
};

/* ---- cluster_net.c: time, network, processes ---- */
struct sim *sim_new(const struct sim_options *opt);
uint64_t sim_random(struct sim *s, uint64_t below);
uint64_t sim_local(const struct sim_node *n, uint64_t t);
void sim_trace(struct sim *s, const struct sim_node *n, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void sim_schedule(struct sim *s, uint64_t at, enum sim_event_kind kind, uint32_t node, uint32_t peer);
bool sim_connected(const struct sim *s, uint32_t a, uint32_t b);
void sim_links_changed(struct sim *s, uint32_t a, uint32_t b);
void sim_cut(struct sim *s, uint32_t a, uint32_t b, bool cut);
void sim_start(struct sim *s, uint32_t pnn);
void sim_crash(struct sim *s, uint32_t pnn, bool machine);
void sim_leave(struct sim *s, uint32_t pnn);
void sim_pause(struct sim *s, uint32_t pnn, uint64_t ns);
void sim_set_flags(struct sim *s, uint32_t pnn, uint32_t flags);
/* Runs until the time, or until a check failed. */
void sim_run(struct sim *s, uint64_t until);
bool sim_failed(const struct sim *s);

/* ---- cluster_check.c ---- */
void sim_fail(struct sim *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
bool sim_acts(const struct sim *s, const struct sim_node *n);
void sim_check_view(struct sim *s, struct sim_node *n);
void sim_check_step(struct sim *s);
/* All alive nodes agree on one leader that leads, all are members and act (none: in each connected component at most one leader). */
bool sim_converged(const struct sim *s, const char **why);
uint32_t sim_leader(const struct sim *s); /* pnn, or CLUSTER_NODE_NONE if not exactly one leads */
unsigned sim_leaders_in_component(const struct sim *s);

/* ---- cluster_chaos.c ---- */
void sim_chaos_step(struct sim *s);
void sim_chaos_end(struct sim *s, bool full);

#endif
