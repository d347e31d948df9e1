/* Roles, terms and votes of the cluster core; what is checked is in cluster.h. */
#include <errno.h>
#include <stdio.h>

#include "core/cluster_internal.h"

const char *cluster_role_name(enum cluster_role role)
{
	static const char *const names[] = {"follower", "probing", "candidate", "leader"};

	return (unsigned)role < sizeof(names) / sizeof(names[0]) ? names[role] : "unknown";
}

static bool role_transition_allowed(enum cluster_role from, enum cluster_role to)
{
	switch (from) {
	case CLUSTER_ROLE_FOLLOWER:
		return to == CLUSTER_ROLE_PROBING || to == CLUSTER_ROLE_CANDIDATE;
	case CLUSTER_ROLE_PROBING:
		return to == CLUSTER_ROLE_CANDIDATE || to == CLUSTER_ROLE_FOLLOWER;
	case CLUSTER_ROLE_CANDIDATE:
		return to == CLUSTER_ROLE_LEADER || to == CLUSTER_ROLE_FOLLOWER;
	case CLUSTER_ROLE_LEADER:
		return to == CLUSTER_ROLE_FOLLOWER || to == CLUSTER_ROLE_PROBING;
	}
	return false;
}

/* That a node gave up its lease is known to the leader it told, while it leads. */
static void leaving_forget(struct cluster *c)
{
	for (uint32_t p = 0; p < c->cfg.n; p++) {
		c->peers[p].leaving = false;
	}
}

/* The one place where the role changes: does what entering it means. */
void cluster_role_set(struct cluster *c, struct mono now, enum cluster_role role, const char *why)
{
	enum cluster_role old = c->role;

	if (old == role) {
		return;
	}
	if (!role_transition_allowed(old, role)) {
		cluster_event(c, true, "bug: role %s -> %s (%s) is not allowed", cluster_role_name(old),
			      cluster_role_name(role), why);
	}
	c->role = role;
	cluster_event(c, role == CLUSTER_ROLE_LEADER || old == CLUSTER_ROLE_LEADER, "%s -> %s, term %llu: %s",
		      cluster_role_name(old), cluster_role_name(role), (unsigned long long)c->term, why);
	if (old == CLUSTER_ROLE_LEADER) {
		c->leader = CLUSTER_NODE_NONE;
		leaving_forget(c);
	}
	if (role == CLUSTER_ROLE_FOLLOWER) {
		c->handover = false;
		cluster_arbiter_let_go(c);
		leaving_forget(c);
		cluster_election_start(c, now);
	} else if (role == CLUSTER_ROLE_LEADER) {
		c->leader = c->cfg.pnn;
		c->leader_since = now;
		c->stand_base = MONO_NEVER;
		c->led = true;
		cluster_write(c, now);
		cluster_leader_begin(c, now);
	}
}

/* ---- what is durable ---- */

bool cluster_durable_is_current(const struct cluster *c)
{
	return c->written.term == c->term && c->written.vote == c->vote && c->written.led == c->led;
}

static void round_check(struct cluster *c, struct mono now);

bool cluster_askable(const struct cluster *c, struct mono now, uint32_t p)
{
	return p != c->cfg.pnn && cluster_configured(c, p) && cluster_reachable(c, now, p) &&
	       cluster_peer_agrees(c, p) && !c->peers[p].leaving;
}

static void round_ask(struct cluster *c, struct mono now, uint64_t term, bool pre_vote)
{
	struct cluster_msg msg = {
		.kind = CLUSTER_MSG_VOTE_REQUEST,
		.u.vote_request = {.term = term,
				   .pre_vote = pre_vote,
				   .handover = c->handover,
				   .stamp = now.ns,
				   .incarnation = c->cfg.incarnation,
				   .nodes_hash = c->cfg.nodes_hash,
				   .prepared = cluster_nodes_mark(c)},
	};

	for (uint32_t p = 0; p < c->cfg.n; p++) {
		c->peers[p].answered = c->peers[p].granted = false;
		c->peers[p].asked = cluster_askable(c, now, p);
		if (c->peers[p].asked) {
			c->ops->send(c->priv, p, &msg);
		}
	}
	/* A vote takes as long as the voter's disk. */
	c->round_end = mono_plus(now, cluster_dead_ns(c) / (pre_vote ? 4 : 2));
	round_check(c, now);
}

/* All that had to wait until the vote is on disk. */
static void durable_reached(struct cluster *c, struct mono now)
{
	if (c->role == CLUSTER_ROLE_CANDIDATE) {
		round_check(c, now);
	}
	if (c->owed_to != CLUSTER_NODE_NONE) {
		struct cluster_msg msg = {.kind = CLUSTER_MSG_VOTE_REPLY, .u.vote_reply = c->owed};
		uint32_t to = c->owed_to;

		c->owed_to = CLUSTER_NODE_NONE;
		c->ops->send(c->priv, to, &msg);
	}
}

void cluster_write(struct cluster *c, struct mono now)
{
	if (c->is_writing || mono_is_set(c->write_again)) {
		return;
	}
	if (cluster_durable_is_current(c)) {
		durable_reached(c, now);
		return;
	}
	if (CLUSTER_PLANTED(c, FORGET_VOTE)) {
		durable_reached(c, now);
	}
	c->is_writing = true;
	c->writing = (struct cluster_durable){.term = c->term, .vote = c->vote, .led = c->led};
	c->ops->persist(c->priv, &c->writing);
}

void cluster_term_set(struct cluster *c, struct mono now, uint64_t term, uint32_t vote)
{
	c->term = term;
	c->vote = vote;
	c->led = false;
	c->leader = CLUSTER_NODE_NONE;
	c->owed_to = CLUSTER_NODE_NONE;
	cluster_write(c, now);
}

/* ---- when to stand ---- */

bool cluster_may_lead(const struct cluster *c)
{
	const struct cluster_peer *self = &c->peers[c->cfg.pnn];

	return (self->capabilities & NODE_CAP_LEADER) != 0 && !cluster_flags_inactive(self->flags) && !self->deleted &&
	       !c->left && !cluster_nodes_bars(c, c->cfg.pnn);
}

unsigned cluster_others(const struct cluster *c, struct mono now)
{
	unsigned n = 0;

	for (uint32_t p = 0; p < c->cfg.n; p++) {
		n += cluster_askable(c, now, p) ? 1 : 0;
	}
	return n;
}

static bool quorum_possible(const struct cluster *c, struct mono now)
{
	return c->cfg.quorum != CLUSTER_QUORUM_MAJORITY || cluster_is_quorum(c, now, cluster_askable);
}

static bool promised_to_other(const struct cluster *c, struct mono now, uint32_t pnn)
{
	return mono_before(now, c->promise.until) && c->promise.to != pnn;
}

/* Live nodes that should stand before this one; the lost leader is none of them. */
static unsigned rank(const struct cluster *c, struct mono now)
{
	/* Whose links are bad would have to hand over again. */
	unsigned n = cluster_mesh_barred_by(c, now) != CLUSTER_NODE_NONE ? cluster_others(c, now) : 0;

	for (uint32_t p = 0; p < c->cfg.pnn; p++) {
		if (cluster_askable(c, now, p) && p != c->promise.to &&
		    (c->peers[p].capabilities & NODE_CAP_LEADER) != 0 && !cluster_flags_inactive(c->peers[p].flags)) {
			n++;
		}
	}
	return n;
}

/* MONO_NEVER: not at all, as things are. */
static struct mono stand_time(const struct cluster *c, struct mono now)
{
	struct mono at = c->stand_base;

	if (!mono_is_set(at) || !cluster_may_lead(c)) {
		return MONO_NEVER;
	}
	/* Normally another grant puts it off long before: what else it depends on is looked at when it has come. */
	if (mono_before(now, at)) {
		return at;
	}
	if (!quorum_possible(c, now)) {
		return MONO_NEVER;
	}
	if (promised_to_other(c, now, c->cfg.pnn) && at.ns < c->promise.until.ns) {
		at = c->promise.until;
	}
	/* The others heard the lost leader a little later, by another clock. */
	if (c->promise.to != c->cfg.pnn && at.ns == c->promise.until.ns) {
		at = mono_plus(at, cluster_dead_ns(c) / 64);
	}
	if (at.ns < cluster_claim_bars(c, now, c->cfg.pnn).ns) {
		at = cluster_claim_bars(c, now, c->cfg.pnn);
	}
	/* A cluster with another nodes list is there: not a second one beside it. */
	if (c->cfg.quorum == CLUSTER_QUORUM_NONE && mono_is_set(c->odd_at) &&
	    at.ns < c->odd_at.ns + 2 * cluster_dead_ns(c)) {
		at = mono_plus(c->odd_at, 2 * cluster_dead_ns(c));
	}
	if (CLUSTER_PLANTED(c, ALL_STAND)) {
		return at;
	}
	return mono_plus(at, rank(c, now) * (cluster_dead_ns(c) / 8) + c->stand_jitter);
}

static void stand_at(struct cluster *c, struct mono base)
{
	c->stand_base = base;
	c->stand_jitter = cluster_random(c, cluster_dead_ns(c) / 32);
}

/* Somebody else is at it, or leads: not before then. */
static void stand_not_before(struct cluster *c, struct mono base)
{
	if (!mono_is_set(c->stand_base) || c->stand_base.ns < base.ns) {
		stand_at(c, base);
	}
}

/* Cold start: as soon as everybody is there. */
static void complete_check(struct cluster *c, struct mono now)
{
	if (c->complete) {
		return;
	}
	for (uint32_t p = 0; p < c->cfg.n; p++) {
		if (p != c->cfg.pnn && cluster_configured(c, p) && !mono_is_set(c->peers[p].heard)) {
			return;
		}
	}
	c->complete = true;
	if (c->role == CLUSTER_ROLE_FOLLOWER && mono_is_set(c->stand_base) && mono_before(now, c->stand_base)) {
		stand_at(c, now);
	}
}

/* At start, and when a role ended or what allows standing changed. */
void cluster_election_start(struct cluster *c, struct mono now)
{
	uint64_t dead = cluster_dead_ns(c);

	if (c->role != CLUSTER_ROLE_FOLLOWER || mono_is_set(c->stand_base)) {
		return;
	}
	if (c->started.ns == now.ns) {
		uint64_t wait = dead;

		/* It led when it died: the others wait for it. Without majority, first see who is there. */
		if (c->cfg.durable.led) {
			wait = c->cfg.quorum == CLUSTER_QUORUM_NONE ? dead / 4 : 0;
		}
		stand_at(c, mono_plus(now, wait));
		complete_check(c, now);
	} else {
		stand_at(c, mono_plus(now, dead / 8 + cluster_random(c, dead / 4)));
	}
}

/* ---- a round ---- */

static bool has_voted(const struct cluster *c, struct mono now, uint32_t p)
{
	return c->peers[p].granted && cluster_peer_agrees(c, p);
}

static bool quorum_reached(const struct cluster *c, struct mono now)
{
	bool all = true;

	for (uint32_t p = 0; p < c->cfg.n; p++) {
		const struct cluster_peer *peer = &c->peers[p];

		if (p == c->cfg.pnn || !cluster_configured(c, p) || !cluster_peer_agrees(c, p)) {
			continue;
		}
		all = all && (peer->granted || !peer->link || peer->silent || peer->leaving);
	}
	return c->cfg.quorum == CLUSTER_QUORUM_MAJORITY ? cluster_is_quorum(c, now, has_voted) : all;
}

/* Without votes the terms are distributed: see invariant 1. */
uint64_t cluster_next_term(const struct cluster *c)
{
	uint64_t mine = 255 - c->cfg.pnn;
	uint64_t term = c->term + 1;

	if (c->cfg.quorum == CLUSTER_QUORUM_EXTERNAL) {
		term = cluster_arbiter_term(c, term);
	}
	if (c->cfg.quorum != CLUSTER_QUORUM_MAJORITY) {
		term += (mine + 256 - term % 256) % 256;
	}
	return term;
}

static void stand(struct cluster *c, struct mono now, const char *why)
{
	bool promised = mono_before(now, c->promise.until);

	cluster_role_set(c, now, CLUSTER_ROLE_CANDIDATE, why);
	c->all_fresh = c->fresh;
	c->leases_end = promised ? c->promise.until.ns - now.ns : 0;
	cluster_term_set(c, now, cluster_next_term(c), c->cfg.pnn);
	/* While its own vote is being written: it counts when that is done. */
	round_ask(c, now, c->term, false);
}

static void round_check(struct cluster *c, struct mono now)
{
	if (c->cfg.quorum == CLUSTER_QUORUM_EXTERNAL) {
		cluster_arbiter_check(c, now);
		return;
	}
	if (!quorum_reached(c, now)) {
		return;
	}
	if (c->role == CLUSTER_ROLE_PROBING) {
		stand(c, now, "a quorum would vote for this node");
	} else if (c->role == CLUSTER_ROLE_CANDIDATE &&
		   (cluster_durable_is_current(c) || CLUSTER_PLANTED(c, FORGET_VOTE))) {
		cluster_role_set(c, now, CLUSTER_ROLE_LEADER, "elected");
	}
}

void cluster_probe(struct cluster *c, struct mono now, const char *why)
{
	uint32_t lost = c->promise.to;

	/* The leader that was not heard any more need not be waited for, even if its link has not yet gone down. */
	if (lost < c->cfg.n && lost != c->cfg.pnn && now.ns >= c->peers[lost].heard.ns + cluster_promise_ns(c)) {
		c->peers[lost].silent = true;
	}
	c->handover = false;
	cluster_role_set(c, now, CLUSTER_ROLE_PROBING, why);
	round_ask(c, now, cluster_next_term(c), true);
}

static void round_failed(struct cluster *c, struct mono now, const char *why, uint64_t wait_ns)
{
	c->stand_base = MONO_NEVER;
	cluster_role_set(c, now, CLUSTER_ROLE_FOLLOWER, why);
	stand_not_before(c, mono_plus(now, wait_ns));
}

static void round_over(struct cluster *c, struct mono now)
{
	/* Without majority all must agree that answer at all. */
	for (uint32_t p = 0; p < c->cfg.n; p++) {
		if (c->role == CLUSTER_ROLE_PROBING && c->peers[p].asked && !c->peers[p].answered) {
			c->peers[p].silent = true;
		}
	}
	round_check(c, now);
	if (mono_reached(c->round_end, now) && (c->role == CLUSTER_ROLE_PROBING || c->role == CLUSTER_ROLE_CANDIDATE)) {
		round_failed(c, now, "not enough votes in time", cluster_random(c, cluster_dead_ns(c) / 4));
	}
}

static void stand_begin(struct cluster *c, struct mono now)
{
	if (c->cfg.quorum == CLUSTER_QUORUM_EXTERNAL) {
		struct mono soon = mono_plus(c->started, cluster_dead_ns(c) / 2);

		/* If it led when it died, its own helper may not have noticed yet. */
		cluster_arbiter_stand(c, now, c->cfg.durable.led ? soon : MONO_NEVER, "no leader");
	} else {
		cluster_probe(c, now, "no leader");
	}
}

void cluster_election_tick(struct cluster *c, struct mono now)
{
	cluster_claim_tick(c, now);
	switch (c->role) {
	case CLUSTER_ROLE_FOLLOWER:
		if (mono_reached(stand_time(c, now), now)) {
			stand_begin(c, now);
		}
		break;
	case CLUSTER_ROLE_PROBING:
	case CLUSTER_ROLE_CANDIDATE:
		if (c->cfg.quorum == CLUSTER_QUORUM_EXTERNAL) {
			cluster_arbiter_tick(c, now);
		} else if (mono_reached(c->round_end, now)) {
			round_over(c, now);
		}
		break;
	case CLUSTER_ROLE_LEADER:
		break;
	}
}

struct mono cluster_election_wakeup(const struct cluster *c, struct mono now)
{
	switch (c->role) {
	case CLUSTER_ROLE_FOLLOWER:
		return stand_time(c, now);
	case CLUSTER_ROLE_PROBING:
	case CLUSTER_ROLE_CANDIDATE:
		return c->round_end;
	case CLUSTER_ROLE_LEADER:
		break;
	}
	return MONO_NEVER;
}

/* ---- promises and leaders ---- */

void cluster_promise_to(struct cluster *c, struct mono now, uint32_t pnn, uint64_t ns)
{
	struct mono until = mono_plus(now, ns);

	if (c->promise.to == pnn && until.ns < c->promise.until.ns) {
		until = c->promise.until;
	}
	c->promise = (struct cluster_promise){.until = until, .to = pnn};
	c->fresh = false;
	c->ops->promise(c->priv, &c->promise);
	if (pnn != c->cfg.pnn && c->role == CLUSTER_ROLE_FOLLOWER) {
		stand_at(c, until);
	}
}

void cluster_follow(struct cluster *c, struct mono now, uint32_t leader, uint64_t term)
{
	if (term > c->term) {
		cluster_term_set(c, now, term, CLUSTER_NODE_NONE);
	}
	cluster_role_set(c, now, CLUSTER_ROLE_FOLLOWER, "another node leads");
	c->arbiter.refusals = 0;
	if (c->leader != leader) {
		c->leader = leader;
		c->leader_since = now;
		cluster_event(c, true, "leader is node %u, term %llu", (unsigned)leader, (unsigned long long)term);
	}
}

/* As a follower: no candidacy in the next time. */
void cluster_stand_later(struct cluster *c, struct mono now, uint64_t ns)
{
	stand_not_before(c, mono_plus(now, ns));
}

/* As far as the leader knows. */
static bool may_succeed(const struct cluster *c, struct mono now, uint32_t p)
{
	const struct cluster_peer *peer = &c->peers[p];

	return cluster_askable(c, now, p) && cluster_in_view(c, p) && cluster_mesh_may_succeed(c, p) &&
	       mono_is_set(peer->acked_at) && now.ns < peer->acked_at.ns + cluster_dead_ns(c) &&
	       (peer->capabilities & NODE_CAP_LEADER) != 0 && !cluster_flags_inactive(peer->flags);
}

uint32_t cluster_successor(const struct cluster *c, struct mono now)
{
	for (uint32_t p = 0; p < c->cfg.n; p++) {
		if (may_succeed(c, now, p)) {
			return p;
		}
	}
	return CLUSTER_NODE_NONE;
}

void cluster_handover_send(struct cluster *c, uint32_t to, bool leaving)
{
	struct cluster_msg msg = {
		.kind = CLUSTER_MSG_HANDOVER,
		.u.handover = {.term = c->term,
			       .leaving = leaving,
			       .incarnation = c->cfg.incarnation,
			       .nodes_hash = c->cfg.nodes_hash,
			       .prepared = cluster_nodes_mark(c)},
	};

	c->ops->send(c->priv, to, &msg);
}

/* to: CLUSTER_NODE_NONE: to nobody. */
static void hand_over_to(struct cluster *c, struct mono now, uint32_t to, bool leaving, const char *why)
{
	/* Leases as long as they can be, for the case that the other one does not get it. */
	cluster_grants_send(c, now);
	/* Not a leader any more before another one can be. */
	cluster_role_set(c, now, CLUSTER_ROLE_FOLLOWER, why);
	if (to != CLUSTER_NODE_NONE) {
		cluster_event(c, true, "leadership is handed over to node %u", (unsigned)to);
		if (!cluster_arbiter_hand_over(c, now, to, leaving)) {
			cluster_handover_send(c, to, leaving);
		}
	}
}

void cluster_hand_over(struct cluster *c, struct mono now, bool leaving, const char *why)
{
	hand_over_to(c, now, cluster_successor(c, now), leaving, why);
}

int cluster_resign_to(struct cluster *c, struct mono now, uint32_t to)
{
	if (c->left || c->role != CLUSTER_ROLE_LEADER) {
		return ESTALE;
	}
	if (to == CLUSTER_NODE_NONE) {
		to = cluster_successor(c, now);
	} else if (to >= c->cfg.n || !may_succeed(c, now, to)) {
		return EINVAL;
	}
	if (to == CLUSTER_NODE_NONE) {
		return EHOSTUNREACH;
	}
	hand_over_to(c, now, to, false, "resigns");
	/* Should the other one not get it: this one again, before leases end. */
	cluster_stand_later(c, now, cluster_dead_ns(c) * 5 / 8);
	return 0;
}

void cluster_on_handover(struct cluster *c, struct mono now, uint32_t from, const struct cluster_handover *m)
{
	if (m->term != c->term || c->leader != from || c->role != CLUSTER_ROLE_FOLLOWER || !cluster_may_lead(c)) {
		return;
	}
	c->peers[from].leaving = m->leaving && c->peers[from].incarnation == m->incarnation;
	if (c->cfg.quorum == CLUSTER_QUORUM_EXTERNAL) {
		c->arbiter.term_over = m->term;
		cluster_arbiter_stand(c, now, mono_plus(now, cluster_dead_ns(c) / 2), "the leader handed over");
		return;
	}
	c->handover = true;
	stand(c, now, "the leader handed over");
}

/* ---- packets ---- */

void cluster_hello_send(struct cluster *c, struct mono now, uint32_t pnn, bool answer)
{
	struct cluster_msg msg = {
		.kind = CLUSTER_MSG_HELLO,
		.u.hello = {.term = c->term,
			    .leader = cluster_lease_leader(c, now),
			    .view_term = c->view.term,
			    .number = c->view.number,
			    .stamp = now.ns,
			    .incarnation = c->cfg.incarnation,
			    .nodes_hash = c->cfg.nodes_hash,
			    .prepared = cluster_nodes_mark(c),
			    .own_flags = c->peers[c->cfg.pnn].flags,
			    .capabilities = c->peers[c->cfg.pnn].capabilities,
			    .answer = answer},
	};

	cluster_claim_fill(c, now, &msg.u.hello);
	c->ops->send(c->priv, pnn, &msg);
}

static void hello_leader(struct cluster *c, struct mono now, const struct cluster_hello *m)
{
	if (m->leader >= c->cfg.n || m->leader == c->cfg.pnn || c->role != CLUSTER_ROLE_FOLLOWER ||
	    c->leader != CLUSTER_NODE_NONE || m->term < c->term) {
		return;
	}
	/* It will be heard. */
	c->complete = true;
	cluster_stand_later(c, now, cluster_promise_ns(c));
}

void cluster_on_hello(struct cluster *c, struct mono now, uint32_t from, const struct cluster_hello *m)
{
	struct cluster_peer *peer = &c->peers[from];

	if (m->stamp == peer->stamp) {
		peer->flags = m->own_flags;
		peer->capabilities = m->capabilities;
		peer->view_term = m->view_term;
		peer->view_number = m->number;
	}
	if (cluster_list_shared(c, m->nodes_hash, m->prepared.next)) {
		hello_leader(c, now, m);
		cluster_claim_heard(c, now, from, m);
		complete_check(c, now);
	}
	if (c->role == CLUSTER_ROLE_LEADER) {
		cluster_grant_send(c, now, from);
	} else if (!m->answer) {
		cluster_hello_send(c, now, from, true);
	}
	cluster_election_tick(c, now);
}

static bool vote_is_free(const struct cluster *c, uint32_t from, uint64_t term)
{
	if (term > c->term) {
		return true;
	}
	return term == c->term && (c->vote == CLUSTER_NODE_NONE || c->vote == from || CLUSTER_PLANTED(c, VOTE_TWICE));
}

static bool vote_granted(const struct cluster *c, struct mono now, uint32_t from, const struct vote_request *m)
{
	bool bound = promised_to_other(c, now, from) && !m->handover;

	if (CLUSTER_PLANTED(c, NO_PROMISE)) {
		bound = false;
	}
	return c->cfg.quorum != CLUSTER_QUORUM_EXTERNAL && cluster_list_shared(c, m->nodes_hash, m->prepared.next) &&
	       cluster_nodes_fresh(c, m->nodes_hash, &m->prepared) && vote_is_free(c, from, m->term) && !bound &&
	       (m->handover || !mono_is_set(cluster_claim_bars(c, now, from))) && !cluster_is_leading(c, now);
}

static void vote_cast(struct cluster *c, struct mono now, uint32_t from, const struct vote_request *m,
		      const struct vote_reply *reply)
{
	/* In this order: a role that ends must not plan a candidacy for this term. */
	cluster_role_set(c, now, CLUSTER_ROLE_FOLLOWER, "votes for another node");
	c->leader = CLUSTER_NODE_NONE;
	if (c->cfg.quorum == CLUSTER_QUORUM_NONE) {
		cluster_promise_to(c, now, from, cluster_dead_ns(c) / 2);
	}
	stand_not_before(c, mono_plus(now, cluster_dead_ns(c) / 2));
	if (m->term > c->term || c->vote != from) {
		cluster_term_set(c, now, m->term, from);
	}
	c->owed = *reply;
	c->owed.term = m->term;
	c->owed_to = from;
	cluster_write(c, now);
}

void cluster_on_vote_request(struct cluster *c, struct mono now, uint32_t from, const struct vote_request *m)
{
	bool granted = vote_granted(c, now, from, m);
	struct cluster_msg msg = {
		.kind = CLUSTER_MSG_VOTE_REPLY,
		.u.vote_reply = {.term = c->term,
				 .asked = m->term,
				 .pre_vote = m->pre_vote,
				 .granted = granted,
				 .leader = cluster_lease_leader(c, now),
				 .promise_us = mono_us_between(now, c->promise.until) + 1,
				 .fresh = c->fresh,
				 .stamp = now.ns,
				 .incarnation = c->cfg.incarnation,
				 .nodes_hash = c->cfg.nodes_hash,
				 .prepared = cluster_nodes_mark(c)},
	};

	if (granted && !m->pre_vote) {
		vote_cast(c, now, from, m, &msg.u.vote_reply);
		return;
	}
	if (granted && c->role == CLUSTER_ROLE_FOLLOWER) {
		stand_not_before(c, mono_plus(now, cluster_dead_ns(c) / 4));
	}
	c->ops->send(c->priv, from, &msg);
	cluster_nodes_tell(c, now, from, m->nodes_hash, &m->prepared);
	if (c->role == CLUSTER_ROLE_LEADER) {
		cluster_grant_send(c, now, from);
	} else if (!granted) {
		cluster_claim_tell(c, now, from);
	}
}

static void vote_refused(struct cluster *c, struct mono now, const struct vote_reply *m)
{
	uint64_t dead = cluster_dead_ns(c);
	uint64_t promised_ns = m->promise_us * MONO_NS_PER_US;

	if (c->cfg.quorum == CLUSTER_QUORUM_NONE) {
		round_failed(c, now, "refused",
			     promised_ns < dead && promised_ns > MONO_NS_PER_US ? promised_ns + dead / 64 : dead);
	}
	if (m->term > c->term) {
		cluster_term_set(c, now, m->term, CLUSTER_NODE_NONE);
		if (c->role != CLUSTER_ROLE_FOLLOWER) {
			round_failed(c, now, "a higher term is known", cluster_random(c, dead / 16));
		}
	}
}

void cluster_on_vote_reply(struct cluster *c, struct mono now, uint32_t from, const struct vote_reply *m)
{
	struct cluster_peer *peer = &c->peers[from];
	bool probing = c->role == CLUSTER_ROLE_PROBING && m->pre_vote && m->asked == cluster_next_term(c);
	bool standing = c->role == CLUSTER_ROLE_CANDIDATE && !m->pre_vote && m->asked == c->term;

	if ((!probing && !standing) || c->cfg.quorum == CLUSTER_QUORUM_EXTERNAL ||
	    !cluster_list_shared(c, m->nodes_hash, m->prepared.next)) {
		return;
	}
	peer->answered = true;
	if (!m->granted) {
		vote_refused(c, now, m);
		return;
	}
	peer->granted = true;
	if (standing) {
		uint64_t most_us = 2ULL * c->cfg.dead_ms * 1000;
		uint64_t promise_ns = (m->promise_us < most_us ? m->promise_us : most_us) * MONO_NS_PER_US;

		c->all_fresh = c->all_fresh && m->fresh;
		c->leases_end = promise_ns > c->leases_end ? promise_ns : c->leases_end;
	}
	round_check(c, now);
}

void cluster_persisted(struct cluster *c, struct mono now, bool ok)
{
	c->is_writing = false;
	if (ok) {
		c->written = c->writing;
	} else {
		cluster_event(c, true, "the term cannot be written: this node does not vote");
		c->write_again = mono_plus(now, cluster_dead_ns(c));
	}
	cluster_write(c, now);
	cluster_tick(c, now);
}
