/* Membership, leadership and the view, as pure code: src/clusterd carries it out, test/sim simulates it. */
#ifndef CORE_CLUSTER_H
#define CORE_CLUSTER_H

#include <stdbool.h>
#include <stdint.h>
#include <talloc.h>

#include "base/mono.h"
#include "core/cluster_nodes.h"
#include "protocol/cluster.h"

/*
 * TIMES, as parts of the dead interval D (heartbeat interval H <= D/3; clocks of two nodes may drift apart by 1 %):
 *
 *   mandate  M = 9/16 D  a leader leads (issues views) until M after the sending of its newest grant that a majority accepted
 *   promise  P = 19/32 D who accepts a grant votes for nobody else until P after it came
 *   lease    D           a node may act until D after the sending of its newest stamp that the leader has seen, never longer
 *                        than D after the sending of the grant that a majority accepted
 *   margin   D/32        waited in addition before a node that may have held a lease is left out of a view
 *
 * P < D - H: after the loss of the leader the survivors have a new one before their leases end: nobody alive is fenced,
 *   if the votes take less than D/9 (with H = D/4), and if the leader did not die while its grants were on their way.
 *
 * ROLES (the one setter is cluster_role_set())
 *
 *   FOLLOWER  -> PROBING    its time to stand has come
 *   FOLLOWER  -> CANDIDATE  the leader handed over to it
 *   PROBING   -> CANDIDATE  a quorum would vote for it
 *   PROBING   -> FOLLOWER   refused, time over, or a leader was heard
 *   CANDIDATE -> LEADER     a quorum voted for it
 *   CANDIDATE -> FOLLOWER   refused, time over, or a leader was heard
 *   LEADER    -> PROBING    somebody knows a higher term but no leader of it: leads on under a higher one
 *   LEADER    -> FOLLOWER   another leader, handed over, may not lead any more, no majority for D
 *
 * External (a lock: cluster_arbiter.c) there are no votes. PROBING asks for the lock, CANDIDATE has it and writes its term, LEADER holds it;
 * who gets it or loses it goes from role to role, entering FOLLOWER lets go of it. The lock counts: a side without it is
 * not active however large it is. FOLLOWER -> PROBING also when the leader handed over, LEADER -> PROBING also when it lost the
 * lock and asks again.
 *
 * Who stands when: a node waits until its promise has ended (cold start: until all configured nodes are there, or D), then
 * rank * D/8 and a jitter; rank = live nodes with leader capability and lower pnn. Who was asked waits for the outcome. So
 * normally one node stands: 4 (N-1) messages.
 *
 * Quorum: majority: more than half of the configured (not deleted) nodes. none: every node with a link that answers at all.
 * A voter refuses: another nodes list; a term it voted in for another; while it leads with a mandate; while it has promised
 * its vote to another node than the candidate, unless that one handed over.
 *
 * INVARIANTS (checked by test/sim after each step)
 *
 * 1 One vote a node and term, durable before it is sent or, the candidate's own, counted. Hence one leader a term. Without votes (none, external) there is no majority
 *   that two leaders would have to share: there the terms themselves are distributed, term mod 256 = 255 - pnn of the one who
 *   may use it (of two that stand at once the lower pnn has the higher term).
 * 2 Majority: at most one node leads with a mandate at any time. (It ends M after the sending of a grant that a majority
 *   accepted; each of these votes for nobody else until P > M after receiving it; any later majority has one of them.)
 * 3 Majority: no node acts (is active) that a newer view of any leader leaves out. (A leader leaves a node out only after the
 *   end of every lease that it gave it, and a new leader only after the end of every lease that former leaders can have
 *   given: these end D after a grant accepted by a majority, one of which is among the voters; voters tell what is left of
 *   their promise, r: so r + D - P after the vote. A node that was without lease for a while acts only under a view of the
 *   term of its new lease.)
 *   2 and 3 hold as well for external, if nobody gets the lock before its former holder could know that it is lost; why: cluster_arbiter.c.
 * 4 Views are ordered by (term, number); a leader issues them only under its own term and mandate; a node never goes back.
 * 5 A node that is back within D (its clusterd or transportd was restarted) stays a member.
 * 6 None: of two leaders in one connected component the one of the lower term stands down. If they reach each other or have a
 *   common neighbour: with the first grant that is refused (heartbeat + delay). Else by claims (cluster_claim.c): nodes tell
 *   neighbours outside their view who leads, each D/2 and at once when it changes, those that the leader leaves out as well as
 *   its members; who hears of a higher leader than its own leaves its own, relays the claim, and neither stands nor votes while
 *   the claim is younger than 3 D. Claims age from the moment the leader itself was heard, so one of a dead leader ends
 *   everywhere at about the same time.
 * 7 In an undisturbed cluster nobody stands, no view is issued, and each heartbeat costs 2 (N-1) packets.
 * 8 Mesh (cluster_mesh.c): in a network that does not change, views stop changing after a while, and then all members that act
 *   reach each other. Who is left out for its links gets no further lease and leaves the view by the rules of 3. Of two nodes
 *   that do not reach each other one goes; the leader only if more nodes can be members without it, and then by handing over.
 *   It ends, since nobody stands with success while the leader lives. Majority: a majority has promised its votes to the
 *   leader. External: it holds the lock. None: who is left out follows the leader or has its claim, up to 40 hops away (6).
 *   So the leader changes only by handing over, and that ever more rarely (10).
 * 9 Links that are away for less than D, some or all of a node's, change neither the members nor the leader.
 * 10 A node hands over for its links or for credits (11) at most after 2 D, 4 D, ... 60 s: leadership does not bounce.
 * 11 Credits (cluster_credit.c): only a leader that acts and has led for D judges. At most one ban in 10 D, never of itself, never
 *   one that leaves fewer active nodes than a majority (none, external: half of the view) or none at all. If two or more and
 *   most of the others have been reported, or the leader itself, it hands over instead.
 *
 * Clocks: only differences of each node's own monotonic clock count. A machine that was suspended as a whole (its clock too)
 * may act for up to D after it goes on (external, bounded: until its lock seems to end) or, if it is elected in that time, until its first view.
 */

enum cluster_role { CLUSTER_ROLE_FOLLOWER, CLUSTER_ROLE_PROBING, CLUSTER_ROLE_CANDIDATE, CLUSTER_ROLE_LEADER };
const char *cluster_role_name(enum cluster_role role);


/* What must survive the process: written and synced. led: this node led the term. */
struct cluster_durable {
	uint64_t term;
	uint32_t vote; /* pnn voted for in term, CLUSTER_NODE_NONE */
	bool led;
};

/* What must survive the process, but not the machine: until when it votes for nobody but to. Written (not synced)
 * before the packet that tells it. */
struct cluster_promise {
	struct mono until;
	uint32_t to;
};

/* EXTERNAL: a cluster lock, held by a helper outside (arbitration lock, etcd). */
enum cluster_quorum { CLUSTER_QUORUM_MAJORITY, CLUSTER_QUORUM_NONE, CLUSTER_QUORUM_EXTERNAL };

/* Faults that the simulator plants to see whether it would find them: in the simulator's build of the core only. */
#ifdef CLUSTER_FAULTS
enum cluster_fault {
	CLUSTER_FAULT_VOTE_TWICE = 1,     /* votes for every candidate of a term */
	CLUSTER_FAULT_OLD_VIEW = 2,       /* takes views that are not newer */
	CLUSTER_FAULT_NO_PROMISE = 4,     /* votes although it has promised not to */
	CLUSTER_FAULT_HASTY_DROP = 8,     /* leaves nodes out before their leases have ended */
	CLUSTER_FAULT_FORGET_VOTE = 16,   /* a vote counts before it is on disk */
	CLUSTER_FAULT_BANNED_ACTS = 32,   /* a banned or stopped node goes on */
	CLUSTER_FAULT_LONE_LEADER = 64,   /* leads without a majority's answers */
	CLUSTER_FAULT_DEAF_LEADER = 128,  /* leads on when it hears of a higher term */
	CLUSTER_FAULT_ALL_STAND = 256,    /* neither rank order nor jitter: all stand at once */
	CLUSTER_FAULT_LEASE_IS_ALL = 512, /* after a time without lease acts at once under the view it has */
	CLUSTER_FAULT_LOCK_BLIND = 1024,  /* a leader believes to have the lock until it is told otherwise */
	CLUSTER_FAULT_LOCK_HASTY = 2048,  /* a new holder does not wait for leases of a former one */
	CLUSTER_FAULT_LOCK_FOREVER = 4096, /* leases outlast what the lock says how long it lasts */
	CLUSTER_FAULT_MESH_BLIND = 8192,  /* a leader does not look at the links of others */
	CLUSTER_FAULT_MESH_HASTY = 16384, /* who is left out for its links is so before its lease has ended */
	CLUSTER_FAULT_CLAIM_MUTE = 32768  /* who is left out for its links does not pass on who leads */
};
#endif

struct cluster_config {
	uint32_t pnn;
	uint32_t n; /* 1..NODES_MAX, index = pnn */
	const struct cluster_node_config *nodes;
	uint64_t nodes_hash;
	const char *nodes_text;				/* see struct cluster_list */
	const struct cluster_nodes_prepared *prepared;	/* NULL: none */
	enum cluster_quorum quorum;
	bool arbiter_bounded; /* EXTERNAL: each HELD says until when (etcd): no lease outlasts that */
	uint32_t arbiter_ms;  /* EXTERNAL: the arbiter answers within that; 0: 10 s */
	uint32_t heartbeat_ms, dead_ms;
	uint32_t capabilities; /* NODE_CAP_* */
	uint32_t flags;        /* own flags at start */
	uint32_t ban_s;        /* how long a ban lasts; 0: 300 s */
	uint64_t incarnation;  /* never 0; higher with each start of this node's daemon, over all reboots */
	uint64_t seed;         /* for the jitter */
	struct cluster_durable durable;
	struct cluster_promise promise; /* until may be MONO_NEVER */
#ifdef CLUSTER_FAULTS
	unsigned faults;
#endif
};

enum cluster_msg_kind {
	CLUSTER_MSG_HELLO,
	CLUSTER_MSG_VOTE_REQUEST,
	CLUSTER_MSG_VOTE_REPLY,
	CLUSTER_MSG_LEASE_GRANT,
	CLUSTER_MSG_LEASE_ACK,
	CLUSTER_MSG_HANDOVER,
	CLUSTER_MSG_NODES_STEP,
	CLUSTER_MSG_NODES_ANSWER
};

/* As sent and received; pointers inside are valid until the call returns. */
struct cluster_msg {
	enum cluster_msg_kind kind;
	union {
		struct cluster_hello hello;
		struct vote_request vote_request;
		struct vote_reply vote_reply;
		struct lease_grant lease_grant;
		struct lease_ack lease_ack;
		struct cluster_handover handover;
		struct cluster_nodes_step nodes_step;
		struct cluster_nodes_answer nodes_answer;
	} u;
};

/* Outputs, called from inside the inputs below; they must not call back into the core. */
struct cluster_ops {
	void (*send)(void *priv, uint32_t pnn, const struct cluster_msg *msg); /* may get lost */
	void (*persist)(void *priv,
			const struct cluster_durable *durable); /* then cluster_persisted(); one at a time */
	void (*promise)(void *priv, const struct cluster_promise *promise); /* synchronous */

	/* Both for EXTERNAL only, there needed; see cluster_arbiter(). */
	void (*arbiter)(void *priv, bool want);
	/* Looks now, without waiting, whether the lock that was told as HELD still is: its helper lives and has said nothing else
	 * (poll() of its pipe). False: LOST is about to be told. Not asked when bounded. */
	bool (*arbiter_holds)(void *priv);
	/* The wall clock, in milliseconds since 1970; may be NULL. So terms go up with time also from one holder of the lock to the next
	 * that never heard of it. */
	uint64_t (*wall_ms)(void *priv);
	void (*changed)(void *priv); /* cluster_tell_state() tells something new (the lease time alone: lease()) */
	void (*lease)(void *priv, struct mono until);
	/* As leader: node pnn is to be told that it is banned. */
	void (*ban)(void *priv, uint32_t pnn, uint32_t seconds, const char *reason);
	/* A line for the log: important ones are a NOTICE, others INFO. */
	void (*event)(void *priv, bool important, const char *text);
	struct cluster_nodes_ops nodes;
};

/* Inputs; now never goes back. */
struct cluster *cluster_new(TALLOC_CTX *mem, const struct cluster_config *config, const struct cluster_ops *ops,
			    void *priv, struct mono now);
void cluster_tick(struct cluster *c, struct mono now);
void cluster_link(struct cluster *c, struct mono now, uint32_t pnn, bool up);
void cluster_message(struct cluster *c, struct mono now, uint32_t from, const struct cluster_msg *msg);
void cluster_persisted(struct cluster *c, struct mono now, bool ok); /* not ok: nothing is voted, tried again after D */
void cluster_set_flags(struct cluster *c, struct mono now,
		       uint32_t flags); /* own; a leader that gets BANNED or STOPPED hands over */
void cluster_set_capabilities(struct cluster *c, struct mono now,
			      uint32_t capabilities); /* own; a leader that loses LEADER hands over */
/* Planned stop: gives up the lease, a leader hands over. Inputs go on to be given until cluster_left(). */
void cluster_leave(struct cluster *c, struct mono now);
bool cluster_left(const struct cluster *c); /* all is said, soon (EXTERNAL: when the lock is released, or D/4) */

/* A leader stands down for node to, or CLUSTER_NODE_NONE: whoever is next. 0; ESTALE: does not lead; EINVAL: that node may not
 * lead, or is this one; EHOSTUNREACH: there is no other that may. */
int cluster_resign(struct cluster *c, struct mono now, uint32_t to);

/* A daemon of this node: node pnn kept an action of the whole cluster from succeeding. Counts while this node leads. 0, EINVAL (no
 * such node, credits not 1 to 100). reason: for people. */
int cluster_culprit(struct cluster *c, struct mono now, uint32_t pnn, uint32_t credits, const char *reason);
void cluster_set_ban(struct cluster *c, uint32_t seconds); /* length of bans from now on; at least 1 */

/*
 * The arbiter (EXTERNAL): one who takes, holds and releases the lock for this node. Answers never come from inside the op.
 *
 *   op arbiter(true)   is answered by one of HELD, CONTENDED (another has it), FAILED (cannot be taken: error, time-out), within
 *                      arbiter_ms. After CONTENDED and FAILED nothing goes on; it is asked again by arbiter(true).
 *   after HELD         HELD again (a later until), as often as it likes; LOST once, then nothing more.
 *   op arbiter(false)  comes while asked or held: lets go; answered by RELEASED, and by nothing else from that moment on: as soon
 *                      as another can have the lock, at the latest after arbiter_ms.
 *
 * until: with HELD: nobody else can have the lock before, on this node's clock (bounded; taken before the request was sent). MONO_NEVER: no
 * such time is known. text: for log and status, or NULL; e.g. what the helper said last.
 */
enum cluster_arbiter_answer {
	CLUSTER_ARBITER_HELD,
	CLUSTER_ARBITER_CONTENDED,
	CLUSTER_ARBITER_FAILED,
	CLUSTER_ARBITER_LOST,
	CLUSTER_ARBITER_RELEASED
};
void cluster_arbiter(struct cluster *c, struct mono now, enum cluster_arbiter_answer answer, struct mono until,
		     const char *text);

/* When cluster_tick() is due. Changes with each input. */
struct mono cluster_wakeup(const struct cluster *c);

/* Answers. Strings and arrays inside belong to the core and are valid until the next input. */
void cluster_tell_state(const struct cluster *c, struct mono now, struct cluster_state *state);
/* The verdict is made below mem. */
void cluster_tell_status(const struct cluster *c, struct mono now, TALLOC_CTX *mem, struct cluster_status *status);
/* Whether the state says anything yet: false from start until a lease came, or D. */
bool cluster_settled(const struct cluster *c);
enum cluster_role cluster_role(const struct cluster *c);
uint64_t cluster_term(const struct cluster *c);
/* Of whom this node holds a current lease under the newest term it knows (itself, if it leads); else CLUSTER_NODE_NONE. */
uint32_t cluster_leader(const struct cluster *c, struct mono now);
bool cluster_is_leading(const struct cluster *c, struct mono now); /* LEADER with a mandate */
bool cluster_is_active(const struct cluster *c, struct mono now);
const struct cluster_view *cluster_newest_view(const struct cluster *c);

#endif
