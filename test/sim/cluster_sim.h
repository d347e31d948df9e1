/* Simulated cluster: many cores in one process, virtual time, a network that fails; invariants after each step. */
#ifndef SIM_CLUSTER_SIM_H
#define SIM_CLUSTER_SIM_H

#include <stdbool.h>
#include <stdint.h>
#include <talloc.h>

#include "core/cluster.h"

#define SIM_NODES 256
#define MS        MONO_NS_PER_MS

enum sim_event_kind {
	SIM_TICK,
	SIM_MESSAGE,
	SIM_LINK,
	SIM_PERSISTED,
	SIM_START,
	SIM_RESUME,
	SIM_CHAOS,
	SIM_NODES_WRITTEN,
	SIM_ARBITER
};

/* What can go wrong; the names are those of ctdb-sim's --profile. */
enum sim_trouble {
	SIM_LOSS,      /* packets are lost, or come twice */
	SIM_DELAY,     /* packets are slow, some very slow: they overtake each other */
	SIM_DISK,      /* writing takes long or fails */
	SIM_PARTITION, /* sides, single links cut */
	SIM_PAUSE,     /* a process stands still, its clock does not */
	SIM_CRASH,     /* killed, or the power is cut; comes back */
	SIM_LEAVE,     /* planned stop and start */
	SIM_FLAGS,     /* stopped, banned, and back */
	SIM_CLOCK,     /* a machine's clock leaps ahead, or stands still together with the machine */
	SIM_LOCK,      /* arbitration from outside */
	SIM_ONE_WAY,   /* packets in one direction are lost, and no link is told to be down */
	SIM_CULPRIT,   /* daemons report nodes that fail, rightly or not */
	SIM_TROUBLES
};
#define SIM_TROUBLE_BIT(t) (1U << (t))
const char *sim_trouble_name(enum sim_trouble trouble);

struct sim_event {
	uint64_t at, order; /* true time, ns; ties in the order of making */
	enum sim_event_kind kind;
	uint32_t node, peer;
	uint64_t tag; /* PERSISTED: incarnation */
	enum cluster_msg_kind msg_kind;
	struct ctdb_blob msg; /* MESSAGE, encoded; talloc'ed */
	uint64_t value;       /* ARBITER; peer: what, tag: helper */
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

/* The nodes file and what lies beside it, if a test uses them (sim_nodes.c): a list is "a b -c", addresses, '-' for a
 * deleted node. */
struct sim_file {
	char *text;     /* NULL: all nodes, for ever */
	char *prepared; /* NULL: none */
	uint64_t term, from;
	uint32_t number;
	/* Being written. */
	enum cluster_nodes_write what;
	char *writing;
	uint64_t writing_term, writing_from;
	uint32_t writing_number;
	bool read_only;
	/* What was said at the end of a change. */
	bool ended, done;
	char said[1000];
};

struct sim_node {
	struct sim *sim;
	uint32_t pnn;
	struct sim_file file;
	struct cluster *c; /* NULL: not running */
	bool machine_up;
	bool paused;
	uint64_t suspended_at; /* paused together with its clock since; 0: it is not */
	bool deferred_tick;
	struct sim_event *deferred; /* what came while paused, in order */
	uint32_t n_deferred;
	uint64_t tick_due, tick_queued; /* when the core wants to wake up; of the event in the queue, 0: none */
	uint64_t offset;                /* local clock = offset + time * (1 + ppm / 1e6) */
	int64_t ppm;
	uint64_t incarnation;
	struct cluster_durable durable;
	struct cluster_promise promise;
	struct cluster_durable writing;
	uint32_t flags;
	uint32_t core_flags;  /* that the core was told */
	struct sim_view seen; /* newest of this process */
	struct sim_act act;
	uint64_t excused_term, excused_number; /* view under which it acts because a clock was wrong */
	uint64_t start_due;                    /* of a planned start */
	uint64_t machine_back;
	bool other_nodes_file, cannot_lead;
	bool leaving; /* as soon as cluster_left() */
	struct {
		uint64_t helper, releasing; /* 0: none */
		uint64_t until;
		uint64_t lied; /* helper that holds the lock as far as it knows */
		bool held, unreachable, paused;
		uint64_t slow_ns; /* more than the others' */
	} lock;                   /* sim_lock.c */
};

struct sim_options {
	uint64_t seed;
	uint32_t nodes;
	enum cluster_quorum quorum;
	bool bounded; /* EXTERNAL: the lock is a lease (etcd) */
	uint32_t dead_ms, heartbeat_ms;
	unsigned faults;
	unsigned profile; /* SIM_TROUBLE_BIT()s */
	bool trace;
};

struct sim_leader {
	uint64_t term, incarnation;
	uint32_t pnn;
};

/* From the moment that nobody leads any more to the first grant of another leader. */
struct sim_election {
	uint32_t lead; /* who leads, or led last */
	bool open, calm;
	uint64_t term; /* that lead led */
	uint64_t since;
	uint64_t messages; /* hellos, requests, replies, handovers sent since */
	/* All that ended; calm: nothing else was wrong. */
	uint64_t n, most, sum;
	uint64_t calm_n, calm_most, calm_sum;
	uint64_t longest, time; /* ns, of the calm ones */
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
	bool mute[SIM_NODES][SIM_NODES]; /* from, to; see sim_mute() */
	int n_mute;
	uint32_t n_bans, banned_by, ban_pnn; /* the last one */
	uint64_t banned_at, banned_incarnation; /* by the clock of banned_by */
	uint32_t loss_permille, slow_permille; /* packets lost; packets delayed a lot (so reordered) */
	uint32_t write_fail_permille;
	uint64_t delay_ns, slow_ns, write_ns;
	bool chaos;
	uint64_t chaos_until, disturbed;
	uint64_t step_limit; /* sim_run() stops there; 0: none */
	uint64_t troubles[SIM_TROUBLES];
	struct {
		uint64_t ids, owner, expires;
		uint32_t owner_node;
		uint64_t latency_ns, ttl_ns;
		uint64_t free_ns; /* a dead helper's lock is free after that; 0: some time */
		uint32_t hang_permille;
		bool lie; /* gives it once more to the next */
		uint64_t asked;
	} lock; /* sim_lock.c */
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
	uint64_t excused_until; /* a clock leapt: leases and promises say nothing for a dead interval */
	bool check_all;
	struct sim_election election;
};

/* ---- cluster_queue.c ---- */
void sim_push(struct sim *s, struct sim_event e);
struct sim_event sim_pop(struct sim *s); /* the earliest; there is one */
void sim_schedule(struct sim *s, uint64_t at, enum sim_event_kind kind, uint32_t node, uint32_t peer);

/* ---- cluster_net.c: time, network, processes ---- */
struct sim *sim_new(const struct sim_options *opt);
uint64_t sim_random(struct sim *s, uint64_t below);
uint64_t sim_local(const struct sim_node *n, uint64_t t);
void sim_trace(struct sim *s, const struct sim_node *n, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
bool sim_connected(const struct sim *s, uint32_t a, uint32_t b);
void sim_links_changed(struct sim *s, uint32_t a, uint32_t b);
void sim_cut(struct sim *s, uint32_t a, uint32_t b, bool cut);
void sim_start(struct sim *s, uint32_t pnn);
void sim_crash(struct sim *s, uint32_t pnn, bool machine);
void sim_leave(struct sim *s, uint32_t pnn);
int sim_resign(struct sim *s, uint32_t pnn, uint32_t to); /* as cluster_resign(); -1: not running */
void sim_pause(struct sim *s, uint32_t pnn, uint64_t ns);
void sim_suspend(struct sim *s, uint32_t pnn, uint64_t ns); /* the machine as a whole, its clock too */
void sim_resume(struct sim *s, uint32_t pnn);
void sim_after_input(struct sim *s, struct sim_node *n);
void sim_clock_jump(struct sim *s, uint32_t pnn, uint64_t ns); /* ahead */
void sim_set_flags(struct sim *s, uint32_t pnn, uint32_t flags);
/* Runs until the time, or until a check failed. */
void sim_run(struct sim *s, uint64_t until);
bool sim_failed(const struct sim *s);
bool sim_on_its_way(const struct sim *s, uint32_t from, enum cluster_msg_kind kind);

/* ---- sim_nodes.c: the nodes list ---- */
int sim_nodes_parse(void *priv, TALLOC_CTX *mem, const char *text, struct cluster_list *list, char **err);
void sim_nodes_write(void *priv, enum cluster_nodes_write what, const struct cluster_nodes_prepared *prepared);
void sim_nodes_changed(void *priv);
void sim_nodes_done(void *priv, bool done, const char *text);
#define SIM_NODES_OPS                                                                                                  \
	{                                                                                                              \
		.parse = sim_nodes_parse, .write = sim_nodes_write, .changed = sim_nodes_changed,                      \
		.done = sim_nodes_done                                                                                 \
	}
/* What the node starts with, if it has a file. */
void sim_nodes_config(struct sim_node *n, struct cluster_config *config);
/* On disk, whether or not the process lives to hear of it. */
void sim_nodes_on_disk(struct sim_node *n);
void sim_nodes_heard(struct sim_node *n);
void sim_nodes_set(struct sim *s, uint32_t pnn, const char *text);

/* ---- sim_lock.c: the lock of quorum EXTERNAL ---- */
void sim_lock_op(struct sim_node *n, bool want);
bool sim_lock_holds(const struct sim_node *n);
bool sim_lock_is_input(const struct sim_event *e); /* else it is an event of the lock itself */
void sim_lock_input(struct sim_node *n, const struct sim_event *e);
void sim_lock_event(struct sim *s, const struct sim_event *e);
void sim_lock_crash(struct sim_node *n, bool machine);
void sim_lock_lose(struct sim *s);
void sim_lock_reach(struct sim *s, uint32_t pnn, bool reaches);
void sim_lock_trouble(struct sim *s);
void sim_lock_calm(struct sim *s);
void sim_lock_config(struct sim *s, struct cluster_config *config);

/* ---- cluster_check.c ---- */
void sim_fail(struct sim *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
bool sim_acts(const struct sim *s, const struct sim_node *n);
void sim_check_view(struct sim *s, struct sim_node *n);
void sim_check_step(struct sim *s, struct sim_node *n); /* n: had the input; NULL: any */
/* All alive nodes agree on one leader that leads, all are members and act (none: in each connected component at most
 * one leader). */
bool sim_converged(const struct sim *s, const char **why);
uint32_t sim_leader(const struct sim *s); /* pnn, or CLUSTER_NODE_NONE if not exactly one leads */
unsigned sim_leaders_in_component(const struct sim *s);

/* ---- cluster_count.c: elections ---- */
void sim_election_sent(struct sim *s, const struct sim_node *n, enum cluster_msg_kind kind);
void sim_election_step(struct sim *s, const struct sim_node *n);

/* ---- cluster_links.c ---- */
void sim_mute(struct sim *s, uint32_t a, uint32_t b,
	      bool mute); /* packets from a to b get lost, unnoticed by the links */
void sim_culprit(struct sim *s, uint32_t by, uint32_t pnn, uint32_t credits);
void sim_culprit_trouble(struct sim *s);
void sim_one_way_trouble(struct sim *s);
void sim_one_way_calm(struct sim *s);
void sim_banned(struct sim *s, uint32_t by, uint32_t pnn);
bool sim_mesh_complete(const struct sim *s, uint32_t *a, uint32_t *b);

/* ---- cluster_chaos.c ---- */
void sim_chaos_step(struct sim *s);
void sim_chaos_end(struct sim *s, bool full);

#endif
