/* Arbitration none: word of a leader travels to nodes that cannot reach it, so that a connected component keeps one
 * leader. */
#include "core/cluster_internal.h"

/*
 * A claim is "node L led term T, it was heard so long ago". With majority arbitration there are none.
 *
 * Whoever follows a leader passes its word on: the members, and as well those that it leaves out for their links
 * (cluster_mesh.c): they hear its grants, though there is no lease in them. In a network that stays incomplete the
 * members can be surrounded by such nodes. If these kept silent, the nodes behind them would take the leader for dead,
 * stand, and displace it by a higher term, which would leave out others, and so on for ever. As it is, each node of a
 * connected component that does not follow the leader itself has a claim that is renewed each D/2 (40 hops away at
 * last it would be too old), so while the leader lives nobody stands, and its term stays the highest until it hands
 * over. When it is dead, those that it left out have its word no longer than the members: D. Then all claims of it end,
 * 3 D after it was heard last.
 */

static bool claims_used(const struct cluster *c)
{
	return c->cfg.quorum == CLUSTER_QUORUM_NONE;
}

static struct mono claim_end(const struct cluster *c)
{
	return mono_plus(c->claim.at, 3 * cluster_dead_ns(c));
}

static bool claim_valid(const struct cluster *c, struct mono now)
{
	return c->claim.leader != CLUSTER_NODE_NONE && mono_before(now, claim_end(c));
}

/* By a lease, or without one; or CLUSTER_NODE_NONE. */
static uint32_t followed(const struct cluster *c, struct mono now)
{
	uint32_t leader = cluster_lease_leader(c, now);
	bool granted = c->leader != CLUSTER_NODE_NONE && now.ns < c->granted_at.ns + cluster_dead_ns(c);

	return leader == CLUSTER_NODE_NONE && granted ? c->leader : leader;
}

/* Of whom this node tells others. */
static uint32_t told(const struct cluster *c, struct mono now)
{
	return CLUSTER_PLANTED(c, CLAIM_MUTE) ? cluster_lease_leader(c, now) : followed(c, now);
}

struct mono cluster_claim_bars(const struct cluster *c, struct mono now, uint32_t pnn)
{
	bool bars = claims_used(c) && claim_valid(c, now) && c->claim.leader != pnn &&
		    cluster_lease_leader(c, now) == CLUSTER_NODE_NONE;

	return bars ? claim_end(c) : MONO_NEVER;
}

/*
 * Each hop adds more than a packet's way normally takes: a claim that is passed on from node to node must not stay
 * young by what it spends on the way, or a dead leader's would never end.
 */
static uint64_t hop_us(const struct cluster *c)
{
	return cluster_dead_ns(c) / 16 / MONO_NS_PER_US;
}

void cluster_claim_fill(const struct cluster *c, struct mono now, struct cluster_hello *m)
{
	uint32_t leader = told(c, now);
	struct mono at = leader == c->cfg.pnn ? now : c->granted_at;

	m->claim_leader = CLUSTER_NODE_NONE;
	if (!claims_used(c)) {
		return;
	}
	if (leader != CLUSTER_NODE_NONE) {
		m->claim_leader = leader;
		m->claim_term = c->term;
		m->claim_age_us = mono_us_between(at, now) + hop_us(c);
	} else if (claim_valid(c, now)) {
		m->claim_leader = c->claim.leader;
		m->claim_term = c->claim.term;
		m->claim_age_us = mono_us_between(c->claim.at, now) + hop_us(c);
	}
}

/* Own leader against the claim: the higher term wins. */
static void claim_apply(struct cluster *c, struct mono now)
{
	if (c->claim.term <= c->term) {
		return;
	}
	cluster_event(c, true, "node %u leads (term %llu) nodes that this node can reach: standing back",
		      (unsigned)c->claim.leader, (unsigned long long)c->claim.term);
	cluster_term_set(c, now, c->claim.term, CLUSTER_NODE_NONE);
	cluster_role_set(c, now, CLUSTER_ROLE_FOLLOWER, "a leader of a higher term exists");
}

static void claim_relay(struct cluster *c, struct mono now, uint32_t from)
{
	c->claim.relayed = c->claim.at;
	for (uint32_t p = 0; p < c->cfg.n; p++) {
		if (p != from && cluster_askable(c, now, p)) {
			c->peers[p].gossiped = now;
			cluster_hello_send(c, now, p, true);
		}
	}
}

void cluster_claim_heard(struct cluster *c, struct mono now, uint32_t from, const struct cluster_hello *m)
{
	uint64_t age_ns = m->claim_age_us * MONO_NS_PER_US;
	bool better = !claim_valid(c, now) || m->claim_term > c->claim.term;
	struct mono at;

	if (!claims_used(c) || m->claim_leader >= c->cfg.n || m->claim_leader == c->cfg.pnn ||
	    m->claim_age_us > 4ULL * c->cfg.dead_ms * 1000 || age_ns >= now.ns) {
		return;
	}
	at = (struct mono){now.ns - age_ns};
	/* The own leader, or one that is lower than it: no news. */
	if (followed(c, now) != CLUSTER_NODE_NONE && m->claim_term <= c->term) {
		return;
	}
	if (!better && (m->claim_term < c->claim.term || at.ns <= c->claim.at.ns)) {
		return;
	}
	c->claim.term = m->claim_term;
	c->claim.leader = m->claim_leader;
	c->claim.at = at;
	if (!claim_valid(c, now)) {
		return;
	}
	claim_apply(c, now);
	if (better || at.ns > c->claim.relayed.ns + cluster_dead_ns(c) / 4) {
		claim_relay(c, now, from);
	}
}

/* To one that asks for what this node cannot give because of the claim. */
void cluster_claim_tell(struct cluster *c, struct mono now, uint32_t pnn)
{
	if (mono_is_set(cluster_claim_bars(c, now, pnn))) {
		cluster_hello_send(c, now, pnn, true);
	}
}

/* Who leads or follows tells those outside its view. */
static bool gossip_wanted(const struct cluster *c, struct mono now, uint32_t p)
{
	return cluster_askable(c, now, p) && !cluster_in_view(c, p);
}

void cluster_claim_tick(struct cluster *c, struct mono now)
{
	if (!claims_used(c) || told(c, now) == CLUSTER_NODE_NONE) {
		return;
	}
	for (uint32_t p = 0; p < c->cfg.n; p++) {
		if (gossip_wanted(c, now, p) && now.ns >= c->peers[p].gossiped.ns + cluster_dead_ns(c) / 2) {
			c->peers[p].gossiped = now;
			cluster_hello_send(c, now, p, false);
		}
	}
}

struct mono cluster_claim_wakeup(const struct cluster *c, struct mono now)
{
	struct mono next = MONO_NEVER;

	if (!claims_used(c) || told(c, now) == CLUSTER_NODE_NONE) {
		return next;
	}
	for (uint32_t p = 0; p < c->cfg.n; p++) {
		if (gossip_wanted(c, now, p)) {
			next = mono_min(next, mono_plus(c->peers[p].gossiped, cluster_dead_ns(c) / 2));
		}
	}
	return next;
}
