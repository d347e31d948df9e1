/* State shared by the files of the cluster core; see cluster.h for what it means. */
#ifndef CORE_CLUSTER_INTERNAL_H
#define CORE_CLUSTER_INTERNAL_H

#include "core/cluster.h"

#define CLUSTER_REASON_SIZE 201

/*
 * Terms count elections: one more each, up to 256 more without votes (invariant 1). With a lock they follow the wall clock
 * as well (cluster_arbiter_term()), up to TERM_WALL. Who is new or was away has to follow the others, but believed
 * blindly one packet of a broken node could leave no room for the next term: so none is taken that is more than
 * TERM_AHEAD above both the own one and TERM_WALL. That is an election each second for a hundred years, and leaves room
 * for some million of such packets.
 */
#define CLUSTER_TERM_MAX   (UINT64_MAX >> 2)
#define CLUSTER_TERM_WALL  (1ULL << 56)
#define CLUSTER_TERM_AHEAD (1ULL << 40)

enum cluster_lock_state { CLUSTER_LOCK_IDLE, CLUSTER_LOCK_ASKED, CLUSTER_LOCK_HELD, CLUSTER_LOCK_RELEASING };

/* What this node knows of another (and, for flags and capabilities, of itself). */
struct cluster_peer {
	char *address;
	bool deleted;
	bool link;
	struct mono link_since;
	/* From its packets; all zero until the first. */
	struct mono heard;
	uint64_t incarnation;
	uint64_t stamp;       /* its newest */
	struct mono stamp_at; /* when that came */
	uint64_t nodes_hash;
	struct cluster_nodes_mark prepared;
	char *difference; /* what its list was found to differ in; NULL: not known */
	uint32_t flags, capabilities;
	uint64_t view_term, view_number;
	uint8_t reachable[32];
	bool leaving;
	struct mono gossiped; /* hello sent to tell it of our leader */
	/* Used while this node leads. */
	struct mono acked_sent; /* sending time of its newest accepted grant of this term */
	struct mono acked_at;   /* when that was told */
	struct mono lost_after; /* no lease of it lasts longer */
	/* Used while this node leads: cluster_mesh.c, cluster_credit.c. */
	bool barred;	     /* left out: it and barred_by cannot reach each other */
	uint32_t barred_by;
	struct mono good_since, unbarred; /* all its links to members; when it was taken back */
	uint64_t bar_hold;   /* ns for which they have to be good */
	struct mono waits_since; /* to become a member, for its links */
	struct mono vouched; /* a member has heard it, this node has not */
	uint32_t credits;
	struct mono credited;
	/* Used by a follower that is asked by the leader whether it hears this one. */
	struct mono vouch_asked, vouch_heard;
	/* Used while this node stands. */
	bool asked, answered, granted;
	bool silent;           /* link up, but nobody answers: not counted in a quorum of all */
	struct mono out_since; /* not in the view since; for the status */
};

struct cluster {
	struct cluster_config cfg;
	const struct cluster_ops *ops;
	void *priv;
	struct cluster_peer *peers; /* cfg.n */
	uint64_t random;

	enum cluster_role role;
	uint64_t term;
	uint32_t vote;
	bool led;
	uint32_t leader; /* of term, as far as known */

	struct cluster_durable written; /* what is known to be durable */
	struct cluster_durable writing;
	bool is_writing;
	struct mono write_again; /* after a failure */
	uint32_t owed_to;        /* candidate that gets its vote once it is durable */
	struct vote_reply owed;

	struct cluster_promise promise;
	bool fresh; /* has promised nothing yet */

	struct mono lease_until;
	uint64_t lease_term;
	bool lapsed; /* there was a time without lease: acts only under a view of the lease's own term */

	struct cluster_view view;
	struct mono view_since;

	/* Arbitration none: the best leader heard of from others (leader: CLUSTER_NODE_NONE: none); see
	 * cluster_claim.c. */
	struct {
		uint64_t term;
		uint32_t leader;
		struct mono at, relayed;
	} claim;
	struct mono granted_at; /* last grant accepted */

	/* cluster_mesh.c */
	struct {
		struct cluster_edge *edges; /* links that are or lately were bad; as leader */
		uint32_t n_edges;
		struct mono next, asked, poked;
		uint8_t quiet[32]; /* members that were not heard lately */
		bool any_quiet;	   /* enough of them to ask others */
		bool poking;	   /* somebody waits for its links */
		bool moving;	   /* only those in move_to may succeed */
		uint8_t move_to[32];
		struct mono retreated; /* handed over because of links or credits */
		uint64_t retreat_hold;
		uint32_t barred_by, bars, bars_by; /* as told by the leader; or CLUSTER_NODE_NONE */
		uint64_t vouch_echo;
	} mesh;
	struct {
		struct mono banned, complained;
	} credit;

	/* Standing for election. */
	struct mono stand_base; /* never: nothing to stand for */
	uint64_t stand_jitter;  /* ns */
	struct mono round_end;
	bool handover;
	bool complete;       /* cold start: all nodes have been seen */
	uint64_t leases_end; /* ns from now: longest remaining promise told by voters */
	bool all_fresh;

	/* Leading. */
	struct mono elected;
	bool view_pending; /* no view under this term yet */
	struct mono next_grant;
	struct mono joined; /* first node that waits to be added */
	bool had_mandate;

	struct mono started, leader_since;
	struct mono wakeup;
	struct mono grace; /* own stall: nobody is declared lost before */
	bool left;
	bool settled;
	uint32_t odd_leader; /* a leader with another nodes list sent a grant */
	struct mono odd_at;
	struct mono complain_again; /* log lines about packets */

	/* EXTERNAL; see cluster_arbiter.c. */
	struct {
		enum cluster_lock_state state;
		struct mono held;        /* since */
		struct mono sure, until; /* while held */
		struct mono again;       /* asks again; while IDLE and not FOLLOWER */
		struct mono patience;    /* CONTENDED is no answer before */
		bool led;                /* PROBING: led until it lost the lock */
		unsigned refusals;       /* in a row */
		uint64_t term_seen;      /* the highest that anybody told */
		uint64_t term_over;      /* its leader has handed over to this node */
		unsigned deposed;        /* times since */
		struct mono deposed_since;
		struct {
			struct mono by; /* at the latest; never: none is to be sent */
			uint32_t to;
			bool leaving;
			uint64_t term;
		} hand; /* handover that waits until the lock is free */
		enum cluster_arbiter_answer answer;
		char text[CLUSTER_REASON_SIZE]; /* what was said last */
	} arbiter;

	struct cluster_nodes *nodes; /* cluster_nodes.c */

	/* What was told last. */
	bool told_active;
	char *told_reason; /* of CLUSTER_REASON_SIZE bytes */
	uint64_t told_term, told_number;
	struct mono told_lease;
};

/* Times derived from the dead interval, in nanoseconds. */
static inline uint64_t cluster_dead_ns(const struct cluster *c)
{
	return (uint64_t)c->cfg.dead_ms * MONO_NS_PER_MS;
}

static inline uint64_t cluster_mandate_ns(const struct cluster *c)
{
	return cluster_dead_ns(c) * 9 / 16;
}

static inline uint64_t cluster_promise_ns(const struct cluster *c)
{
	return cluster_dead_ns(c) * 19 / 32;
}

static inline uint64_t cluster_margin_ns(const struct cluster *c)
{
	return cluster_dead_ns(c) / 32;
}

static inline struct mono mono_plus(struct mono t, uint64_t ns)
{
	return (struct mono){t.ns + ns};
}

/* a set and not after now */
static inline bool mono_reached(struct mono a, struct mono now)
{
	return mono_is_set(a) && a.ns <= now.ns;
}

#ifdef CLUSTER_FAULTS
#define CLUSTER_PLANTED(c, fault) (((c)->cfg.faults & CLUSTER_FAULT_##fault) != 0)
#else
#define CLUSTER_PLANTED(c, fault) false
#endif

/* ---- cluster.c ---- */
void cluster_event(struct cluster *c, bool important, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
uint64_t cluster_random(struct cluster *c, uint64_t below);
bool cluster_flags_inactive(uint32_t flags);
bool cluster_configured(const struct cluster *c, uint32_t pnn);
unsigned cluster_quorum_size(const struct cluster *c); /* of a majority */
bool cluster_reachable(const struct cluster *c, struct mono now, uint32_t pnn);
bool cluster_has_lease(const struct cluster *c, struct mono now);
uint32_t cluster_lease_leader(const struct cluster *c, struct mono now); /* of a current lease, else none */
bool cluster_view_newer(const struct cluster_view *v, uint64_t term, uint64_t number);
bool cluster_in_view(const struct cluster *c, uint32_t pnn);
int cluster_view_take(struct cluster *c, struct mono now, const struct cluster_view *view);
const char *cluster_why_inactive(const struct cluster *c, struct mono now, char *buf, size_t len);

/* What is wrong with each packet is said once a minute. */
bool cluster_complains(struct cluster *c, struct mono now);

/* ---- cluster_election.c ---- */
void cluster_role_set(struct cluster *c, struct mono now, enum cluster_role role, const char *why);
void cluster_term_set(struct cluster *c, struct mono now, uint64_t term, uint32_t vote);
void cluster_follow(struct cluster *c, struct mono now, uint32_t leader, uint64_t term);
void cluster_promise_to(struct cluster *c, struct mono now, uint32_t pnn, uint64_t ns);
uint32_t cluster_successor(const struct cluster *c, struct mono now); /* who leads when this node hands over */
void cluster_hand_over(struct cluster *c, struct mono now, bool leaving, const char *why);
/* The live node that should lead instead of this one, which leads; or CLUSTER_NODE_NONE. */
uint32_t cluster_successor(const struct cluster *c, struct mono now);
void cluster_handover_send(struct cluster *c, uint32_t to, bool leaving);
uint64_t cluster_next_term(const struct cluster *c);
bool cluster_durable_is_current(const struct cluster *c);
void cluster_write(struct cluster *c, struct mono now);
bool cluster_may_lead(const struct cluster *c);
/* Other nodes that can be reached, without those that do not answer if answering. */
unsigned cluster_others(const struct cluster *c, struct mono now);
void cluster_probe(struct cluster *c, struct mono now, const char *why);
void cluster_election_tick(struct cluster *c, struct mono now);
void cluster_election_start(struct cluster *c, struct mono now);
struct mono cluster_election_wakeup(const struct cluster *c, struct mono now);
void cluster_on_hello(struct cluster *c, struct mono now, uint32_t from, const struct cluster_hello *m);
void cluster_on_vote_request(struct cluster *c, struct mono now, uint32_t from, const struct vote_request *m);
void cluster_on_vote_reply(struct cluster *c, struct mono now, uint32_t from, const struct vote_reply *m);
void cluster_on_handover(struct cluster *c, struct mono now, uint32_t from, const struct cluster_handover *m);
/* Can be talked to, and belongs to the same cluster. */
bool cluster_askable(const struct cluster *c, struct mono now, uint32_t p);
void cluster_hello_send(struct cluster *c, struct mono now, uint32_t pnn, bool answer);
void cluster_stand_later(struct cluster *c, struct mono now, uint64_t ns);

/* Errors as cluster_resign(). */
int cluster_resign_to(struct cluster *c, struct mono now, uint32_t to);

/* ---- cluster_arbiter.c ---- */
void cluster_arbiter_answered(struct cluster *c, struct mono now, enum cluster_arbiter_answer answer, struct mono until,
			      const char *text);
bool cluster_arbiter_busy(const struct cluster *c); /* a handover is to be sent */
void cluster_arbiter_let_go(struct cluster *c);
uint64_t cluster_arbiter_term(const struct cluster *c, uint64_t least); /* for the next one that leads */
void cluster_arbiter_look(struct cluster *c, struct mono now);
bool cluster_arbiter_has(const struct cluster *c);
struct mono cluster_arbiter_sure(const struct cluster *c, struct mono now);
struct mono cluster_arbiter_leases_end(const struct cluster *c, struct mono now);
bool cluster_arbiter_is_leading(const struct cluster *c, struct mono now);
bool cluster_arbiter_may_issue(const struct cluster *c, struct mono now); /* views; always, with another quorum */
struct mono cluster_arbiter_former_leases(const struct cluster *c);       /* over by then */
/* patience: until then the lock may be held by one who is about to let go. */
void cluster_arbiter_stand(struct cluster *c, struct mono now, struct mono patience, const char *why);
void cluster_arbiter_check(struct cluster *c, struct mono now); /* a candidate: whether it may lead */
void cluster_arbiter_tick(struct cluster *c, struct mono now);  /* probing, candidate */
void cluster_arbiter_leader_tick(struct cluster *c, struct mono now);
void cluster_arbiter_hand_tick(struct cluster *c, struct mono now);
struct mono cluster_arbiter_wakeup(const struct cluster *c, struct mono now);
void cluster_arbiter_outbid(struct cluster *c, struct mono now, bool other);
bool cluster_arbiter_is_old_news(const struct cluster *c, const struct lease_grant *m);
/* True: the handover is sent when the lock is free. */
bool cluster_arbiter_hand_over(struct cluster *c, struct mono now, uint32_t to, bool leaving);

/* ---- cluster_claim.c ---- */
/* Until when somebody else's claim keeps this node from standing and from voting for pnn; MONO_NEVER: it does not. */
struct mono cluster_claim_bars(const struct cluster *c, struct mono now, uint32_t pnn);
void cluster_claim_fill(const struct cluster *c, struct mono now, struct cluster_hello *m);
void cluster_claim_heard(struct cluster *c, struct mono now, uint32_t from, const struct cluster_hello *m);
void cluster_claim_tell(struct cluster *c, struct mono now, uint32_t pnn);
void cluster_claim_tick(struct cluster *c, struct mono now);
struct mono cluster_claim_wakeup(const struct cluster *c, struct mono now);

/* ---- cluster_nodes.c: lists and majorities ---- */
int cluster_nodes_init(struct cluster *c, const struct cluster_config *config);
/* list: 0 the one in use, 1 the one that this node is prepared for. */
bool cluster_list_counts(const struct cluster *c, unsigned list, uint32_t pnn);
unsigned cluster_list_quorum(const struct cluster *c, unsigned list);
/* Whether this node and those that have() are a majority of the list in use. */
bool cluster_is_quorum(const struct cluster *c, struct mono now,
		       bool (*have)(const struct cluster *c, struct mono now, uint32_t pnn));
/* And of the next one; only while prepared. */
bool cluster_is_quorum_of_both(const struct cluster *c, struct mono now,
			       bool (*have)(const struct cluster *c, struct mono now, uint32_t pnn));
/* Who has this list and may be prepared for next (0: none) belongs to the same cluster. */
bool cluster_list_shared(const struct cluster *c, uint64_t hash, uint64_t next);
bool cluster_peer_agrees(const struct cluster *c, uint32_t pnn);
/* Knows at least what this node is prepared for. */
bool cluster_nodes_fresh(const struct cluster *c, uint64_t hash, const struct cluster_nodes_mark *mark);
/* Gets no lease and is in no view: about to be removed or moved. */
bool cluster_nodes_bars(const struct cluster *c, uint32_t pnn);
struct cluster_nodes_mark cluster_nodes_mark(const struct cluster *c);
void cluster_nodes_heard(struct cluster *c, uint32_t from, uint64_t hash, const struct cluster_nodes_mark *mark);
/* Uses the list that this node is prepared for if from does. Moves c->peers. */
void cluster_nodes_follow(struct cluster *c, struct mono now, uint32_t from);
/* Tells of the change that this node is prepared for, if the other side does not know of it. */
void cluster_nodes_tell(struct cluster *c, struct mono now, uint32_t to, uint64_t hash, const struct cluster_nodes_mark *mark);
void cluster_on_nodes_step(struct cluster *c, struct mono now, uint32_t from, const struct cluster_nodes_step *m);

/* ---- cluster_change.c: the leader's part ---- */
void cluster_nodes_tick(struct cluster *c, struct mono now);
struct mono cluster_nodes_wakeup(const struct cluster *c, struct mono now);
void cluster_on_nodes_answer(struct cluster *c, struct mono now, uint32_t from, const struct cluster_nodes_answer *m);

/* ---- cluster_mesh.c ---- */
void cluster_mesh_begin(struct cluster *c, struct mono now);
void cluster_mesh_tick(struct cluster *c, struct mono now); /* may end leadership */
struct mono cluster_mesh_wakeup(const struct cluster *c, struct mono now);
/* Gets no lease and is not taken into the view. */
bool cluster_mesh_refuses(const struct cluster *c, struct mono now, uint32_t p);
bool cluster_mesh_may_succeed(const struct cluster *c, uint32_t p);
void cluster_mesh_fill(const struct cluster *c, uint32_t to, struct lease_grant *m);
void cluster_mesh_asked(struct cluster *c, struct mono now, uint32_t from, const struct lease_grant *m);
void cluster_mesh_heard(struct cluster *c, struct mono now, uint32_t from);
void cluster_mesh_ack_fill(const struct cluster *c, struct mono now, uint8_t alive[32], struct lease_ack *m);
void cluster_mesh_vouched(struct cluster *c, struct mono now, const struct lease_ack *m);
uint32_t cluster_mesh_barred_by(const struct cluster *c, struct mono now); /* this node, as told by the leader; or CLUSTER_NODE_NONE */
/* Who cannot reach p, which is left out for that, as far as this node knows; or CLUSTER_NODE_NONE. */
uint32_t cluster_mesh_bars(const struct cluster *c, struct mono now, uint32_t p);
/* Handing over for reasons that may be wrong: not all the time (invariant 10). */
bool cluster_may_retreat(const struct cluster *c, struct mono now);
void cluster_retreat(struct cluster *c, struct mono now, const char *why);

/* ---- cluster_credit.c ---- */
void cluster_credit_begin(struct cluster *c);
uint32_t cluster_credits(const struct cluster *c, struct mono now, uint32_t p);

/* ---- cluster_lease.c ---- */
struct mono cluster_majority_acked(const struct cluster *c, struct mono now);
void cluster_leader_begin(struct cluster *c, struct mono now);
void cluster_leader_tick(struct cluster *c, struct mono now);
struct mono cluster_leader_wakeup(const struct cluster *c, struct mono now);
void cluster_grant_send(struct cluster *c, struct mono now, uint32_t pnn);
void cluster_grants_send(struct cluster *c, struct mono now); /* to all; a leader */
void cluster_ack_send(struct cluster *c, struct mono now, uint32_t to, uint64_t echo, bool accepted);
void cluster_leave_send(struct cluster *c, struct mono now);
void cluster_on_grant(struct cluster *c, struct mono now, uint32_t from, const struct lease_grant *m);
void cluster_on_ack(struct cluster *c, struct mono now, uint32_t from, const struct lease_ack *m);

#endif
