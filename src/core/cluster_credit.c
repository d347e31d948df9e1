/* Ban credits: who keeps actions of the whole cluster from succeeding, again and again, is banned for a while. */
#include <errno.h>
#include <stdio.h>

#include "core/cluster_internal.h"

/*
 * Kept by the leader, as reported by daemons of its own node. A storm of bans would be worse than what it cures: see
 * invariants 10 to 12 in cluster.h.
 */

#define WINDOW_NS     (120 * MONO_NS_PER_S) /* without a report for so long: forgotten */
#define CREDITS_LEAST 6
#define BAN_S         300
#define COMPLAIN_NS   (60 * MONO_NS_PER_S)
#define CREDITS_MAX   100

static unsigned threshold(const struct cluster *c)
{
	unsigned configured = 0;

	for (uint32_t p = 0; p < c->cfg.n; p++) {
		configured += cluster_configured(c, p) ? 1 : 0;
	}
	return 2 * configured > CREDITS_LEAST ? 2 * configured : CREDITS_LEAST;
}

static bool reported(const struct cluster *c, struct mono now, uint32_t p)
{
	return c->peers[p].credits > 0 && now.ns < c->peers[p].credited.ns + WINDOW_NS;
}

uint32_t cluster_credits(const struct cluster *c, struct mono now, uint32_t p)
{
	return c->role == CLUSTER_ROLE_LEADER && reported(c, now, p) ? c->peers[p].credits : 0;
}

void cluster_credit_begin(struct cluster *c)
{
	for (uint32_t p = 0; p < c->cfg.n; p++) {
		c->peers[p].credits = 0;
	}
}

static bool active_member(const struct cluster *c, uint32_t p)
{
	return cluster_in_view(c, p) && !cluster_flags_inactive(c->peers[p].flags) &&
	       !cluster_flags_inactive(c->view.members.v[p].flags) && !c->peers[p].barred;
}

struct tally {
	unsigned members, active, others, others_reported;
};

static struct tally tally(const struct cluster *c, struct mono now)
{
	struct tally t = {0};

	for (uint32_t p = 0; p < c->cfg.n; p++) {
		bool other = active_member(c, p) && p != c->cfg.pnn;

		t.members += cluster_in_view(c, p) ? 1 : 0;
		t.active += active_member(c, p) ? 1 : 0;
		t.others += other ? 1 : 0;
		t.others_reported += other && reported(c, now, p) ? 1 : 0;
	}
	return t;
}

static bool enough_left(const struct cluster *c, const struct tally *t)
{
	unsigned left = t->active - 1;

	if (c->cfg.quorum == CLUSTER_QUORUM_MAJORITY) {
		return left >= cluster_quorum_size(c);
	}
	return left > 0 && 2 * left >= t->members;
}

/* Said now and then, not with each report. */
static void complain(struct cluster *c, struct mono now, uint32_t pnn, const char *why)
{
	if (mono_is_set(c->credit.complained) && now.ns < c->credit.complained.ns + COMPLAIN_NS) {
		return;
	}
	c->credit.complained = now;
	cluster_event(c, true, "node %u fails again and again, but is not banned: %s", (unsigned)pnn, why);
}

static void ban(struct cluster *c, struct mono now, uint32_t pnn, const char *reason)
{
	uint32_t seconds = c->cfg.ban_s != 0 ? c->cfg.ban_s : BAN_S;

	c->credit.banned = now;
	c->peers[pnn].credits = 0;
	cluster_event(c, true, "node %u is banned for %u s: %s", (unsigned)pnn, (unsigned)seconds, reason);
	c->ops->ban(c->priv, pnn, seconds, reason);
}

/* A node that finds fault with itself, or with most of the others. */
static void let_another_lead(struct cluster *c, struct mono now, uint32_t pnn)
{
	if (!cluster_may_retreat(c, now) || cluster_successor(c, now) == CLUSTER_NODE_NONE) {
		complain(c, now, pnn, "this node may be at fault itself, but there is no other to lead");
		return;
	}
	cluster_retreat(c, now,
			pnn == c->cfg.pnn ? "this node keeps the cluster from going on"
					  : "most other nodes fail for this one, so it may be at fault itself");
}

static void too_many(struct cluster *c, struct mono now, uint32_t pnn, const char *reason)
{
	struct tally t = tally(c, now);

	if (pnn == c->cfg.pnn || (t.others_reported >= 2 && 2 * t.others_reported > t.others)) {
		let_another_lead(c, now, pnn);
	} else if (!enough_left(c, &t)) {
		complain(c, now, pnn, "too few nodes would be left");
	} else if (mono_is_set(c->credit.banned) && now.ns < c->credit.banned.ns + 10 * cluster_dead_ns(c)) {
		complain(c, now, pnn, "another one has just been");
	} else {
		ban(c, now, pnn, reason);
	}
}

/* What a node says that is not well itself, or new in office, proves nothing. */
static bool may_judge(const struct cluster *c, struct mono now)
{
	return cluster_is_leading(c, now) && cluster_is_active(c, now) && !mono_before(now, c->grace) &&
	       now.ns >= c->elected.ns + cluster_dead_ns(c);
}

void cluster_set_ban(struct cluster *c, uint32_t seconds)
{
	c->cfg.ban_s = seconds;
}

int cluster_culprit(struct cluster *c, struct mono now, uint32_t pnn, uint32_t credits, const char *reason)
{
	struct cluster_peer *peer;

	if (!cluster_configured(c, pnn) || credits == 0 || credits > CREDITS_MAX) {
		return EINVAL;
	}
	if (!may_judge(c, now) || !active_member(c, pnn)) {
		return 0;
	}
	peer = &c->peers[pnn];
	if (!reported(c, now, pnn)) {
		peer->credits = 0;
	}
	peer->credits = peer->credits + credits < threshold(c) ? peer->credits + credits : threshold(c);
	peer->credited = now;
	cluster_event(c, false, "node %u has %u of %u ban credits: %s", (unsigned)pnn, (unsigned)peer->credits,
		      threshold(c), reason);
	if (peer->credits >= threshold(c)) {
		too_many(c, now, pnn, reason);
	}
	cluster_tick(c, now);
	return 0;
}
