/* Leases, acknowledgements and the issue of views in the cluster core; the rules and why they are safe are in
 * cluster.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/cluster_internal.h"

/* ---- the leader's mandate ---- */

/* The nth newest of the times, n >= 1. Most are equal: grants go to all nodes at once. */
static uint64_t nth_newest(const uint64_t *times, unsigned count, unsigned n)
{
	uint64_t below = UINT64_MAX;

	for (;;) {
		uint64_t newest = 0;
		unsigned same = 0;

		for (unsigned i = 0; i < count; i++) {
			if (times[i] > newest && times[i] < below) {
				newest = times[i];
				same = 0;
			}
			same += times[i] == newest ? 1 : 0;
		}
		if (same >= n || newest == 0) {
			return newest;
		}
		n -= same;
		below = newest;
	}
}

static struct mono list_acked(const struct cluster *c, struct mono now)
{
	uint64_t sent[NODES_MAX];
	unsigned n = 0, others = cluster_quorum_size(c) - 1;

	if (others == 0) {
		return now;
	}
	for (uint32_t p = 0; p < c->cfg.n; p++) {
		if (p != c->cfg.pnn && cluster_configured(c, p) && cluster_peer_agrees(c, p)) {
			sent[n++] = c->peers[p].acked_sent.ns;
		}
	}
	if (n < others) {
		return MONO_NEVER;
	}
	return (struct mono){nth_newest(sent, n, others)};
}

/* The newest time T such that grants sent at or after T were accepted by a majority. The leader accepts its own at
 * once. */
struct mono cluster_majority_acked(const struct cluster *c, struct mono now)
{
	if (c->cfg.quorum == CLUSTER_QUORUM_EXTERNAL) {
		return cluster_arbiter_sure(c, now);
	}
	if (c->cfg.quorum == CLUSTER_QUORUM_NONE || CLUSTER_PLANTED(c, LONE_LEADER)) {
		return now;
	}
	return list_acked(c, now);
}

bool cluster_is_leading(const struct cluster *c, struct mono now)
{
	struct mono acked;

	if (c->role != CLUSTER_ROLE_LEADER) {
		return false;
	}
	if (c->cfg.quorum == CLUSTER_QUORUM_EXTERNAL) {
		return cluster_arbiter_is_leading(c, now);
	}
	acked = cluster_majority_acked(c, now);
	return mono_is_set(acked) && now.ns < acked.ns + cluster_mandate_ns(c);
}

/* No lease of this leader, its own included, lasts longer. MONO_NEVER: it may give none. */
static struct mono leases_end(const struct cluster *c, struct mono now)
{
	struct mono acked = cluster_majority_acked(c, now);

	if (c->cfg.quorum == CLUSTER_QUORUM_EXTERNAL) {
		return cluster_arbiter_leases_end(c, now);
	}
	return mono_is_set(acked) ? mono_plus(acked, cluster_dead_ns(c)) : MONO_NEVER;
}

static void own_lease_extend(struct cluster *c, struct mono now)
{
	struct mono end = leases_end(c, now);

	if (c->lease_until.ns < end.ns) {
		/* Without a lease for a while: say so before a new one hides it. */
		c->lapsed = c->lapsed || !cluster_has_lease(c, now);
		c->lease_until = end;
		c->lease_term = c->term;
	}
}

/* ---- grants ---- */

static uint64_t lease_of(struct cluster *c, struct mono now, struct cluster_peer *peer)
{
	struct mono end = leases_end(c, now);

	if (cluster_mesh_refuses(c, now, (uint32_t)(peer - c->peers))) {
		return 0;
	}
	if (peer->stamp == 0 || peer->leaving || !cluster_peer_agrees(c, (uint32_t)(peer - c->peers)) ||
	    cluster_nodes_bars(c, (uint32_t)(peer - c->peers))) {
		return 0;
	}
	end = mono_min(end, mono_plus(peer->stamp_at, cluster_dead_ns(c)));
	if (leases_end(c, now).ns <= peer->stamp_at.ns) {
		return 0;
	}
	if (peer->lost_after.ns < end.ns) {
		peer->lost_after = end;
	}
	return end.ns - peer->stamp_at.ns;
}

void cluster_grant_send(struct cluster *c, struct mono now, uint32_t pnn)
{
	struct cluster_peer *peer = &c->peers[pnn];
	struct cluster_msg msg = {
		.kind = CLUSTER_MSG_LEASE_GRANT,
		.u.lease_grant = {.term = c->term,
				  .stamp = now.ns,
				  .incarnation = c->cfg.incarnation,
				  .nodes_hash = c->cfg.nodes_hash,
				  .prepared = cluster_nodes_mark(c),
				  .echo = peer->stamp,
				  .echo_incarnation = peer->incarnation,
				  .valid_us = lease_of(c, now, peer) / MONO_NS_PER_US,
				  .barred_by = CLUSTER_NODE_NONE},
	};

	cluster_mesh_fill(c, pnn, &msg.u.lease_grant);
	if (c->view.members.n > 0 && cluster_view_newer(&c->view, peer->view_term, peer->view_number)) {
		msg.u.lease_grant.view = &c->view;
	}
	if (c->cfg.quorum != CLUSTER_QUORUM_EXTERNAL || cluster_arbiter_has(c)) {
		c->ops->send(c->priv, pnn, &msg);
	}
}

void cluster_grants_send(struct cluster *c, struct mono now)
{
	if (c->role != CLUSTER_ROLE_LEADER) {
		return;
	}
	/* The leader's own acceptance counts in the majority, so it is bound like the others. */
	cluster_promise_to(c, now, c->cfg.pnn, cluster_promise_ns(c));
	for (uint32_t p = 0; p < c->cfg.n; p++) {
		if (p != c->cfg.pnn && cluster_configured(c, p) && cluster_reachable(c, now, p)) {
			cluster_grant_send(c, now, p);
		}
	}
	c->next_grant = mono_add_ms(now, c->cfg.heartbeat_ms);
}

/* ---- views ---- */

static bool acked_lately(const struct cluster *c, struct mono now, uint32_t pnn)
{
	const struct cluster_peer *peer = &c->peers[pnn];

	if (pnn == c->cfg.pnn) {
		return true;
	}
	return mono_is_set(peer->acked_at) && !peer->leaving && cluster_peer_agrees(c, pnn) &&
	       !cluster_nodes_bars(c, pnn) && now.ns < peer->acked_at.ns + cluster_dead_ns(c);
}

/* From when on it may be left out: no lease that it may hold lasts that long, and it had time to be heard. */
static struct mono leave_out_time(const struct cluster *c, const struct cluster_peer *peer)
{
	struct mono t = peer->lost_after;

	if (mono_is_set(t) && !CLUSTER_PLANTED(c, HASTY_DROP) && !(peer->barred && CLUSTER_PLANTED(c, MESH_HASTY))) {
		t = mono_plus(t, cluster_margin_ns(c));
	} else {
		t = MONO_NEVER;
	}
	if (!peer->leaving && t.ns < c->grace.ns) {
		t = c->grace;
	}
	return t;
}

/* Why a new view is wanted. */
struct view_plan {
	bool wait;   /* somebody must neither be in nor out yet */
	bool join;   /* somebody comes in */
	bool change; /* somebody goes out, or is described differently */
	bool quiet;  /* nobody with a link is still to be heard */
	struct view_member members[NODES_MAX];
};

static void plan_member(const struct cluster *c, struct mono now, uint32_t p, struct view_plan *plan)
{
	const struct cluster_peer *peer = &c->peers[p];
	const struct view_member *old = p < c->view.members.n ? &c->view.members.v[p] : NULL;
	bool was = cluster_in_view(c, p);
	bool in = acked_lately(c, now, p) && !cluster_mesh_refuses(c, now, p);
	struct view_member *m = &plan->members[p];

	*m = (struct view_member){.pnn = p,
				  .capabilities = peer->capabilities,
				  .incarnation = peer->incarnation,
				  .flags = peer->flags,
				  .address = peer->address};
	if (peer->deleted) {
		m->flags = NODE_FLAG_DELETED | NODE_FLAG_DISCONNECTED;
	} else if (!in && now.ns < leave_out_time(c, peer).ns) {
		plan->wait = true;
		if (old != NULL) {
			*m = *old;
		} else {
			m->flags = NODE_FLAG_DISCONNECTED;
		}
	} else if (!in) {
		m->flags = NODE_FLAG_DISCONNECTED;
		if (old != NULL && !was) {
			/* What one says that does not take part is no news for others. */
			m->incarnation = old->incarnation;
			m->capabilities = old->capabilities;
		}
	}
	plan->join = plan->join || (in && !was);
	plan->change = plan->change || old == NULL ||
		       (in == was && (old->flags != m->flags || old->capabilities != m->capabilities ||
				      old->incarnation != m->incarnation)) ||
		       (was && (m->flags & NODE_FLAG_DISCONNECTED) != 0);
	plan->quiet = plan->quiet && (in || peer->barred || !peer->link || peer->silent || peer->deleted ||
				      peer->leaving || !cluster_peer_agrees(c, p));
}

/* Few views: who comes in waits for others that are about to. */
static bool view_due(struct cluster *c, struct mono now, const struct view_plan *plan)
{
	uint64_t dead = cluster_dead_ns(c);

	if (c->view_pending) {
		return !plan->wait && (plan->quiet || now.ns >= c->elected.ns + dead / 8);
	}
	if (!plan->join) {
		c->joined = MONO_NEVER;
	} else if (!mono_is_set(c->joined)) {
		c->joined = now;
	}
	return plan->change || (plan->join && (plan->quiet || now.ns >= c->joined.ns + dead / 16));
}

static void view_issue(struct cluster *c, struct mono now, struct view_plan *plan)
{
	struct cluster_view view = {
		.term = c->term,
		.number = c->view.term == c->term ? c->view.number + 1 : 1,
		.leader = c->cfg.pnn,
	};

	view.members.n = c->cfg.n;
	view.members.v = plan->members;
	if (cluster_view_take(c, now, &view) == 0) {
		c->view_pending = false;
		c->joined = MONO_NEVER;
	}
}

static void view_check(struct cluster *c, struct mono now)
{
	struct view_plan plan = {.quiet = true};

	if (!cluster_is_leading(c, now) || !cluster_arbiter_may_issue(c, now)) {
		return;
	}
	for (uint32_t p = 0; p < c->cfg.n; p++) {
		plan_member(c, now, p, &plan);
	}
	if (view_due(c, now, &plan)) {
		view_issue(c, now, &plan);
		cluster_grants_send(c, now);
	}
}

/* ---- the leader's time ---- */

/* Every lease that any leader before can have given is over by then; see invariant 3. */
static struct mono former_leases_end(const struct cluster *c, struct mono now)
{
	if (c->all_fresh || CLUSTER_PLANTED(c, HASTY_DROP)) {
		return MONO_NEVER;
	}
	if (c->cfg.quorum == CLUSTER_QUORUM_EXTERNAL) {
		return cluster_arbiter_former_leases(c);
	}
	return mono_plus(now, c->leases_end + cluster_dead_ns(c) - cluster_promise_ns(c));
}

void cluster_leader_begin(struct cluster *c, struct mono now)
{
	struct mono end = former_leases_end(c, now);

	c->elected = now;
	c->view_pending = true;
	c->joined = MONO_NEVER;
	c->had_mandate = cluster_is_leading(c, now);
	for (uint32_t p = 0; p < c->cfg.n; p++) {
		struct cluster_peer *peer = &c->peers[p];

		peer->acked_sent = MONO_NEVER;
		peer->acked_at = MONO_NEVER;
		if (p == c->cfg.pnn || peer->leaving) {
			peer->lost_after = MONO_NEVER;
		} else if (peer->lost_after.ns < end.ns) {
			peer->lost_after = end;
		}
	}
	c->had_mandate = cluster_is_leading(c, now);
	cluster_mesh_begin(c, now);
	cluster_credit_begin(c);
	own_lease_extend(c, now);
	cluster_grants_send(c, now);
	view_check(c, now);
}

static void mandate_check(struct cluster *c, struct mono now)
{
	bool leading = cluster_is_leading(c, now);
	struct mono acked = cluster_majority_acked(c, now);
	struct mono end = mono_plus(acked.ns > c->elected.ns ? acked : c->elected, cluster_dead_ns(c));

	if (leading && !c->had_mandate) {
		/* Now leases can be given: not a heartbeat later. */
		c->had_mandate = true;
		cluster_grants_send(c, now);
	} else if (!leading && c->had_mandate) {
		c->had_mandate = false;
		cluster_event(c, true, "leader without a majority: no lease is extended until it answers again");
	}
	if (!leading && now.ns >= end.ns) {
		cluster_role_set(c, now, CLUSTER_ROLE_FOLLOWER, "no majority answers");
	}
}

void cluster_leader_tick(struct cluster *c, struct mono now)
{
	if (c->role != CLUSTER_ROLE_LEADER) {
		return;
	}
	cluster_arbiter_look(c, now);
	own_lease_extend(c, now);
	if (c->cfg.quorum == CLUSTER_QUORUM_EXTERNAL) {
		cluster_arbiter_leader_tick(c, now);
	} else {
		mandate_check(c, now);
	}
	if (c->role == CLUSTER_ROLE_LEADER) {
		cluster_mesh_tick(c, now);
	}
	if (c->role != CLUSTER_ROLE_LEADER) {
		return;
	}
	view_check(c, now);
	if (mono_reached(c->next_grant, now)) {
		cluster_grants_send(c, now);
	}
}

/* a, if it is to come */
static struct mono min_future(struct mono next, struct mono a, struct mono now)
{
	return mono_before(now, a) ? mono_min(next, a) : next;
}

struct mono cluster_leader_wakeup(const struct cluster *c, struct mono now)
{
	uint64_t dead = cluster_dead_ns(c);
	struct mono next = c->next_grant;
	struct mono acked;

	if (c->role != CLUSTER_ROLE_LEADER) {
		return MONO_NEVER;
	}
	acked = cluster_majority_acked(c, now);
	next = min_future(next, mono_plus(acked, cluster_mandate_ns(c)), now);
	if (c->view_pending) {
		next = min_future(next, mono_plus(c->elected, dead / 8), now);
	}
	if (mono_is_set(c->joined)) {
		next = min_future(next, mono_plus(c->joined, dead / 16), now);
	}
	next = min_future(next, cluster_mesh_wakeup(c, now), now);
	for (uint32_t p = 0; p < c->cfg.n; p++) {
		if (!acked_lately(c, now, p) || cluster_mesh_refuses(c, now, p)) {
			next = min_future(next, leave_out_time(c, &c->peers[p]), now);
		} else if (p != c->cfg.pnn) {
			next = min_future(next, mono_plus(c->peers[p].acked_at, dead), now);
		}
	}
	return next;
}

/* ---- packets ---- */

static struct lease_ack ack_make(const struct cluster *c, struct mono now, uint8_t bits[32])
{
	const struct cluster_peer *self = &c->peers[c->cfg.pnn];
	struct lease_ack ack = {
		.term = c->term,
		.leader = cluster_lease_leader(c, now),
		.stamp = now.ns,
		.incarnation = c->cfg.incarnation,
		.nodes_hash = c->cfg.nodes_hash,
		.prepared = cluster_nodes_mark(c),
		.view_term = c->view.term,
		.number = c->view.number,
		.own_flags = self->flags,
		.capabilities = self->capabilities,
	};

	memset(bits, 0, 32);
	for (uint32_t p = 0; p < c->cfg.n; p++) {
		if (c->peers[p].link) {
			bits[p / 8] |= (uint8_t)(1U << (p % 8));
		}
	}
	ack.reachable.len = (c->cfg.n + 7) / 8;
	ack.reachable.data = bits;
	return ack;
}

void cluster_ack_send(struct cluster *c, struct mono now, uint32_t to, uint64_t echo, bool accepted)
{
	uint8_t bits[32], alive[32];
	struct cluster_msg msg = {.kind = CLUSTER_MSG_LEASE_ACK, .u.lease_ack = ack_make(c, now, bits)};

	msg.u.lease_ack.echo = echo;
	msg.u.lease_ack.accepted = accepted;
	cluster_mesh_ack_fill(c, now, alive, &msg.u.lease_ack);
	c->ops->send(c->priv, to, &msg);
}

/* A follower's farewell. */
void cluster_leave_send(struct cluster *c, struct mono now)
{
	uint8_t bits[32];
	struct cluster_msg msg = {.kind = CLUSTER_MSG_LEASE_ACK, .u.lease_ack = ack_make(c, now, bits)};

	msg.u.lease_ack.leaving = true;
	if (c->leader != CLUSTER_NODE_NONE && c->leader != c->cfg.pnn) {
		c->ops->send(c->priv, c->leader, &msg);
	}
}

static void lease_take(struct cluster *c, struct mono now, const struct lease_grant *m)
{
	struct mono until = {m->echo + m->valid_us * MONO_NS_PER_US};

	if (m->echo_incarnation != c->cfg.incarnation || m->echo == 0 || m->echo > now.ns ||
	    m->valid_us > cluster_dead_ns(c) / MONO_NS_PER_US) {
		return;
	}
	if (mono_before(c->lease_until, until) && mono_before(now, until)) {
		c->lease_until = until;
		c->lease_term = m->term;
	}
}

/* Of the leader or of one before it: a later one would keep this node from all that are to come. */
static int view_of_grant(struct cluster *c, struct mono now, const struct lease_grant *m)
{
	return m->view->term > m->term ? EINVAL : cluster_view_take(c, now, m->view);
}

void cluster_on_grant(struct cluster *c, struct mono now, uint32_t from, const struct lease_grant *m)
{
	bool other = m->term == c->term &&
		     (c->role == CLUSTER_ROLE_LEADER || (c->leader != CLUSTER_NODE_NONE && c->leader != from));

	if (!cluster_list_shared(c, m->nodes_hash, m->prepared.next)) {
		c->odd_leader = from;
		c->odd_at = now;
		cluster_ack_send(c, now, from, m->stamp, false);
		return;
	}
	if (other) {
		if (cluster_complains(c, now)) {
			cluster_event(c, true, "bug: node %u also leads term %llu: ignoring it", (unsigned)from,
				      (unsigned long long)m->term);
		}
		return;
	}
	if (m->term == c->arbiter.term_over && m->term == c->term && c->cfg.quorum == CLUSTER_QUORUM_EXTERNAL) {
		return; /* overtaken by the handover: nobody leads this term any more */
	}
	if (cluster_arbiter_is_old_news(c, m)) {
		cluster_arbiter_outbid(c, now, false);
	}
	if (m->term < c->term) {
		cluster_ack_send(c, now, from, m->stamp, false);
		cluster_claim_tell(c, now, from);
		return;
	}
	c->odd_at = MONO_NEVER;
	/* Without a lease for a while: say so before a new one hides it. */
	c->lapsed = c->lapsed || !cluster_has_lease(c, now);
	cluster_follow(c, now, from, m->term);
	c->granted_at = now;
	if (c->claim.term <= m->term) {
		c->claim.leader = CLUSTER_NODE_NONE;
	}
	cluster_promise_to(c, now, from, cluster_promise_ns(c));
	if (m->view != NULL && view_of_grant(c, now, m) == EINVAL && cluster_complains(c, now)) {
		cluster_event(c, true, "view of node %u does not fit the nodes file: ignoring it", (unsigned)from);
	}
	lease_take(c, now, m);
	cluster_mesh_asked(c, now, from, m);
	cluster_ack_send(c, now, from, m->stamp, true);
	cluster_nodes_tell(c, now, from, m->nodes_hash, &m->prepared);
}

static void leader_deposed(struct cluster *c, struct mono now, const struct lease_ack *m)
{
	bool other = m->leader < c->cfg.n && m->leader != c->cfg.pnn;

	if (CLUSTER_PLANTED(c, DEAF_LEADER)) {
		return;
	}
	if (c->cfg.quorum == CLUSTER_QUORUM_EXTERNAL && (cluster_arbiter_has(c) || !other)) {
		cluster_arbiter_outbid(c, now, other);
		return;
	}
	cluster_term_set(c, now, m->term, CLUSTER_NODE_NONE);
	if (other || !cluster_may_lead(c)) {
		cluster_role_set(c, now, CLUSTER_ROLE_FOLLOWER, "another leader was elected");
		cluster_stand_later(c, now, cluster_promise_ns(c));
	} else {
		cluster_probe(c, now, "leads on under a higher term");
	}
}

void cluster_on_ack(struct cluster *c, struct mono now, uint32_t from, const struct lease_ack *m)
{
	struct cluster_peer *peer = &c->peers[from];
	bool first = !mono_is_set(peer->acked_sent);

	if (m->stamp == peer->stamp) {
		peer->flags = m->own_flags;
		peer->capabilities = m->capabilities;
		peer->view_term = m->view_term;
		peer->view_number = m->number;
		memset(peer->reachable, 0, sizeof(peer->reachable));
		if (m->reachable.len > 0) {
			memcpy(peer->reachable, m->reachable.data, m->reachable.len < 32 ? m->reachable.len : 32);
		}
		if (m->leaving && c->role == CLUSTER_ROLE_LEADER) {
			peer->leaving = true;
			peer->lost_after = MONO_NEVER;
		}
	}
	if (c->role != CLUSTER_ROLE_LEADER || !cluster_list_shared(c, m->nodes_hash, m->prepared.next)) {
		return;
	}
	if (m->accepted && m->term == c->term && m->echo <= now.ns) {
		if (peer->acked_sent.ns < m->echo) {
			peer->acked_sent.ns = m->echo;
		}
		peer->acked_at = now;
	} else if (!m->accepted && !m->leaving && m->term > c->term) {
		leader_deposed(c, now, m);
		return;
	}
	cluster_mesh_vouched(c, now, m);
	cluster_leader_tick(c, now);
	/* There were no votes to bring its stamp: only now it can be given a lease. Not a heartbeat later. */
	if (first && mono_is_set(peer->acked_sent) && c->role == CLUSTER_ROLE_LEADER &&
	    c->cfg.quorum == CLUSTER_QUORUM_EXTERNAL) {
		cluster_grant_send(c, now, from);
	}
}
