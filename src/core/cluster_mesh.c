/* Which nodes reach each other: members have to form a complete graph. What is safe about it is in cluster.h. */
#include <stdio.h>
#include <string.h>

#include "core/cluster_internal.h"
#include "core/cluster_set.h"

/*
 * The leader knows links by what acknowledgements say (lease_ack.reachable), its own by itself. A link is BAD while one
 * of its ends says so, and LONG BAD when that lasts for 5/4 D, or when the times in which it was bad add up to 3 D (the
 * sum runs off at a quarter of the speed): a daemon's restart is shorter, a link that comes and goes all the time is
 * not.
 *
 * Each heartbeat the leader looks at the graph of long bad links between nodes that are neither banned nor stopped:
 *
 *   STAY   all that it reaches itself; of these the ones with most bad links are left out, one after the other
 *   MOVE   also those that only others reach; here the leader may be the one to be left out
 *
 * If MOVE is without the leader and keeps more nodes than STAY, it hands over to one of MOVE. Else who is not in STAY
 * is barred: gets no lease and is left out of the view when the one it has is over. So each hand-over makes the cluster
 * larger, and a node that hands over for this does not do it again before 2 D, 4 D, ... 60 s.
 *
 * If several members fall silent, their leases end before any link counts as bad. So when two or more have been silent
 * for 3/8 D the others are asked whether they hear them; if they do, MOVE against STAY is decided at D/2, while all
 * leases last.
 *
 * A barred node is taken back when all its links to members have been good for D, next time for 2 D, 4 D, ... 60 s;
 * after 10 min of peace for D again. A node that is not a member does not become one while it has a bad link to a
 * member.
 */

#define BACKOFF_MAX_NS (60 * MONO_NS_PER_S)
#define PEACE_NS       (600 * MONO_NS_PER_S)
#define EDGES_MAX      (NODES_MAX * (NODES_MAX - 1) / 2)

/* ---- what is known of links ---- */

/* A graph: its nodes, the links between them that are bad, and those that are now, if only for a short time. */
struct graph {
	struct set nodes;
	struct set bad[NODES_MAX];
	const struct graph *now; /* or NULL */
};

static bool bit(const uint8_t bits[32], uint32_t p)
{
	return (bits[p / 8] & (1U << (p % 8))) != 0;
}

/* Its newest acknowledgement counts. */
static bool reports(const struct cluster *c, struct mono now, uint32_t p)
{
	const struct cluster_peer *peer = &c->peers[p];

	return p == c->cfg.pnn ||
	       (cluster_configured(c, p) && mono_is_set(peer->acked_at) && !peer->leaving &&
		cluster_peer_agrees(c, p) && now.ns < peer->acked_at.ns + cluster_dead_ns(c) * 3 / 4);
}

static bool says_down(const struct cluster *c, struct mono now, uint32_t a, uint32_t b)
{
	if (a == c->cfg.pnn) {
		return !c->peers[b].link;
	}
	/* Whether it reaches the leader, its acknowledgements show. */
	return b != c->cfg.pnn && reports(c, now, a) && !bit(c->peers[a].reachable, b);
}

static bool pair_bad(const struct cluster *c, struct mono now, uint32_t a, uint32_t b)
{
	return says_down(c, now, a, b) || says_down(c, now, b, a);
}

/* Nodes that report, and those that they reach though the leader's link to them is down. */
static void seen_by_someone(const struct cluster *c, struct mono now, struct set *seen)
{
	struct set reached = {{0}};

	for (uint32_t p = 0; p < c->cfg.n; p++) {
		if (!reports(c, now, p)) {
			continue;
		}
		set_add(seen, p);
		if (p != c->cfg.pnn) {
			struct set by = set_of(c->peers[p].reachable);

			reached = set_or(&reached, &by);
		}
	}
	for (uint32_t q = 0; q < c->cfg.n; q++) {
		const struct cluster_peer *peer = &c->peers[q];

		if (set_has(&reached, q) && q != c->cfg.pnn && cluster_configured(c, q) && !peer->link &&
		    !peer->leaving && cluster_peer_agrees(c, q)) {
			set_add(seen, q);
		}
	}
}

/* Those of nodes to which a says that its link is down; as says_down(), for all at once. */
static struct set down_from(const struct cluster *c, struct mono now, uint32_t a, const struct set *nodes)
{
	struct set up = {{0}};

	if (a != c->cfg.pnn) {
		up = reports(c, now, a) ? set_of(c->peers[a].reachable) : *nodes;
		set_add(&up, c->cfg.pnn);
	}
	for (uint32_t q = 0; a == c->cfg.pnn && q < c->cfg.n; q++) {
		if (c->peers[q].link) {
			set_add(&up, q);
		}
	}
	set_add(&up, a);
	return set_without(nodes, &up);
}

/* All the time for each acknowledgement while something is wrong: with sets, since there can be 32640 links. */
static void look(const struct cluster *c, struct mono now, struct graph *g)
{
	memset(g, 0, sizeof(*g));
	seen_by_someone(c, now, &g->nodes);
	for (uint32_t a = 0; a < c->cfg.n; a++) {
		struct set down = {{0}};

		if (set_has(&g->nodes, a)) {
			down = down_from(c, now, a, &g->nodes);
		}
		g->bad[a] = set_or(&g->bad[a], &down);
		for (uint32_t b = set_first(&down); b < NODES_MAX; b = set_first(&down)) {
			set_add(&g->bad[b], a);
			set_del(&down, b);
		}
	}
}

/* ---- for how long links have been bad ---- */

struct cluster_edge {
	uint16_t a, b; /* a < b; the list is in order */
	struct mono bad_since, at;
	uint64_t level; /* sum of the times in which it was bad, less what ran off */
};

static bool long_bad(const struct cluster *c, struct mono now, const struct cluster_edge *e)
{
	uint64_t dead = cluster_dead_ns(c);

	return mono_is_set(e->bad_since) && (now.ns >= e->bad_since.ns + dead * 5 / 4 || e->level >= 3 * dead);
}

/* false: forgotten */
static bool edge_age(const struct cluster *c, struct mono now, struct cluster_edge *e, bool bad)
{
	uint64_t passed = now.ns - e->at.ns, most = 4 * cluster_dead_ns(c);

	if (mono_is_set(e->bad_since)) {
		e->level = e->level + passed < most ? e->level + passed : most;
	} else {
		e->level -= e->level < passed / 4 ? e->level : passed / 4;
	}
	e->at = now;
	if (!bad) {
		e->bad_since = MONO_NEVER;
	} else if (!mono_is_set(e->bad_since)) {
		e->bad_since = now;
	}
	return bad || e->level > 0;
}

static uint32_t count_bad(const struct graph *g)
{
	uint32_t n = 0;

	for (uint32_t a = 0; a < NODES_MAX; a++) {
		n += set_count(&g->bad[a]);
	}
	return n / 2;
}

/* Both lists are in the same order. */
static void edges_merge(struct cluster *c, struct mono now, const struct graph *g, struct cluster_edge *out)
{
	uint32_t n = 0, i = 0;

	for (uint32_t a = 0; a < c->cfg.n; a++) {
		for (uint32_t b = a + 1; b < c->cfg.n; b++) {
			bool bad = set_has(&g->bad[a], b);
			bool old = i < c->mesh.n_edges && c->mesh.edges[i].a == a && c->mesh.edges[i].b == b;
			struct cluster_edge e = {.a = (uint16_t)a, .b = (uint16_t)b, .at = now};

			if (old) {
				e = c->mesh.edges[i++];
			}
			if ((bad || old) && edge_age(c, now, &e, bad)) {
				out[n++] = e;
			}
		}
	}
	talloc_free(c->mesh.edges);
	c->mesh.edges = out;
	c->mesh.n_edges = n;
}

static void edges_update(struct cluster *c, struct mono now, const struct graph *g)
{
	uint32_t most = count_bad(g) + c->mesh.n_edges;
	struct cluster_edge *out;

	if (most == 0) {
		return;
	}
	out = talloc_array(c, struct cluster_edge, most < EDGES_MAX ? most : EDGES_MAX);
	if (out != NULL) {
		edges_merge(c, now, g, out);
	}
}

/* This process stood still: what was bad meanwhile is not known. */
static void edges_pause(struct cluster *c, struct mono now)
{
	for (uint32_t i = 0; i < c->mesh.n_edges; i++) {
		c->mesh.edges[i].at = now;
		c->mesh.edges[i].bad_since = MONO_NEVER;
	}
}

/* ---- the largest part that is complete, nearly ---- */

static unsigned bad_links(const struct graph *g, uint32_t p)
{
	struct set bad = set_and(&g->bad[p], &g->nodes);

	return set_count(&bad);
}

/* Once a link is long bad, others of the same node that will soon be count: of two ends the one with more of them goes.
 */
static unsigned weight(const struct graph *g, uint32_t p)
{
	struct set bad = g->bad[p];

	for (unsigned i = 0; i < NODES_MAX / 64; i++) {
		bad.w[i] = (bad.w[i] | (g->now != NULL ? g->now->bad[p].w[i] : 0)) & g->nodes.w[i];
	}
	return set_count(&bad);
}

/* p rather than q? */
static bool out_before(const struct cluster *c, uint32_t p, unsigned p_bad, uint32_t q, unsigned q_bad)
{
	if (p_bad != q_bad) {
		return p_bad > q_bad;
	}
	if (q == c->cfg.pnn || p == c->cfg.pnn) {
		return q == c->cfg.pnn;
	}
	if (cluster_in_view(c, p) != cluster_in_view(c, q)) {
		return cluster_in_view(c, q);
	}
	return p > q;
}

/* Leaves nodes out until no link is bad. keep: one that stays whatever its links. */
static void make_complete(const struct cluster *c, struct graph *g, uint32_t keep)
{
	for (;;) {
		uint32_t worst = NODES_MAX;
		unsigned worst_bad = 0;

		for (uint32_t p = 0; p < c->cfg.n; p++) {
			bool may = set_has(&g->nodes, p) && p != keep && bad_links(g, p) > 0;
			unsigned n = may ? weight(g, p) : 0;

			if (n > 0 && (worst == NODES_MAX || out_before(c, p, n, worst, worst_bad))) {
				worst = p;
				worst_bad = n;
			}
		}
		if (worst == NODES_MAX) {
			return;
		}
		set_del(&g->nodes, worst);
	}
}

static bool takes_part(const struct cluster *c, uint32_t p)
{
	return !c->peers[p].barred && !cluster_flags_inactive(c->peers[p].flags);
}

/* The graph of links that are long bad, and those of this node to the ones that others hear and it does not. */
static bool long_graph(const struct cluster *c, struct mono now, const struct graph *seen, const struct set *silent,
		       struct graph *g)
{
	bool any = false;

	memset(g, 0, sizeof(*g));
	g->now = seen;
	for (uint32_t p = 0; p < c->cfg.n; p++) {
		if (set_has(&seen->nodes, p) && takes_part(c, p)) {
			set_add(&g->nodes, p);
		}
		if (set_has(silent, p)) {
			set_add(&g->nodes, p);
			set_add(&g->bad[p], c->cfg.pnn);
			set_add(&g->bad[c->cfg.pnn], p);
			any = true;
		}
	}
	for (uint32_t i = 0; i < c->mesh.n_edges; i++) {
		const struct cluster_edge *e = &c->mesh.edges[i];

		if (long_bad(c, now, e) && set_has(&g->nodes, e->a) && set_has(&g->nodes, e->b)) {
			set_add(&g->bad[e->a], e->b);
			set_add(&g->bad[e->b], e->a);
			any = true;
		}
	}
	return any;
}

static void stay_graph(const struct cluster *c, const struct graph *g, struct graph *stay)
{
	*stay = *g;
	stay->nodes = set_without(&stay->nodes, &stay->bad[c->cfg.pnn]);
	make_complete(c, stay, c->cfg.pnn);
}

/* ---- handing over ---- */

/* A member whose newest answer is to a grant that is so old. */
static bool silent_for(const struct cluster *c, struct mono now, uint32_t p, uint64_t ns)
{
	const struct cluster_peer *peer = &c->peers[p];

	return p != c->cfg.pnn && cluster_in_view(c, p) && takes_part(c, p) && mono_is_set(peer->acked_sent) &&
	       !peer->leaving && now.ns >= peer->acked_sent.ns + ns;
}

static uint64_t doubled(const struct cluster *c, uint64_t hold, struct mono last, struct mono now)
{
	if (hold == 0 || !mono_is_set(last) || now.ns >= last.ns + PEACE_NS) {
		return cluster_dead_ns(c);
	}
	return hold * 2 < BACKOFF_MAX_NS ? hold * 2 : BACKOFF_MAX_NS;
}

bool cluster_may_retreat(const struct cluster *c, struct mono now)
{
	return !mono_is_set(c->mesh.retreated) || now.ns >= c->mesh.retreated.ns + c->mesh.retreat_hold;
}

/* Gives up leadership for good reasons, but not all the time. */
void cluster_retreat(struct cluster *c, struct mono now, const char *why)
{
	c->mesh.retreat_hold = doubled(c, c->mesh.retreat_hold, c->mesh.retreated, now);
	if (c->mesh.retreat_hold < 2 * cluster_dead_ns(c)) {
		c->mesh.retreat_hold = 2 * cluster_dead_ns(c);
	}
	c->mesh.retreated = now;
	cluster_hand_over(c, now, false, why);
}

bool cluster_mesh_may_succeed(const struct cluster *c, uint32_t p)
{
	return !c->peers[p].barred && (!c->mesh.moving || bit(c->mesh.move_to, p));
}

static bool move(struct cluster *c, struct mono now, const struct graph *g, const struct graph *stay)
{
	struct graph to = *g;

	if (!cluster_may_retreat(c, now) || now.ns < c->elected.ns + cluster_dead_ns(c)) {
		return false;
	}
	make_complete(c, &to, NODES_MAX);
	if (set_has(&to.nodes, c->cfg.pnn) || set_count(&to.nodes) <= set_count(&stay->nodes)) {
		return false;
	}
	memset(c->mesh.move_to, 0, sizeof(c->mesh.move_to));
	for (uint32_t p = 0; p < c->cfg.n; p++) {
		if (set_has(&to.nodes, p) && !set_has(&g->bad[p], c->cfg.pnn) &&
		    !silent_for(c, now, p, cluster_dead_ns(c) * 3 / 8)) {
			c->mesh.move_to[p / 8] |= (uint8_t)(1U << (p % 8));
		}
	}
	c->mesh.moving = true;
	if (cluster_successor(c, now) != CLUSTER_NODE_NONE) {
		cluster_event(c, true, "this node reaches fewer nodes than others do: check its network");
		cluster_retreat(c, now, "it reaches fewer nodes than others do");
	}
	c->mesh.moving = false;
	return c->role != CLUSTER_ROLE_LEADER;
}

/* ---- leaving out and taking back ---- */

static void bar(struct cluster *c, struct mono now, uint32_t p, uint32_t by)
{
	struct cluster_peer *peer = &c->peers[p];

	peer->bar_hold = doubled(c, peer->bar_hold, peer->unbarred, now);
	peer->barred = true;
	peer->barred_by = by;
	peer->good_since = MONO_NEVER;
	cluster_event(c, true, "node %u cannot reach node %u: left out; check the network between them", (unsigned)p,
		      (unsigned)by);
}

static void bar_who_is_out(struct cluster *c, struct mono now, const struct graph *g, const struct graph *stay)
{
	for (uint32_t p = 0; p < c->cfg.n; p++) {
		struct set by = set_and(&g->bad[p], &stay->nodes);

		if (!set_has(&g->nodes, p) || set_has(&stay->nodes, p)) {
			continue;
		}
		if (set_first(&by) == NODES_MAX) {
			by = g->bad[p];
		}
		bar(c, now, p, set_first(&by));
	}
}

/* Links to those that stay count. */
static bool all_good(const struct cluster *c, const struct graph *seen, uint32_t p)
{
	for (uint32_t q = 0; q < c->cfg.n; q++) {
		if (q != p && set_has(&seen->bad[p], q) && takes_part(c, q) &&
		    (q == c->cfg.pnn || cluster_in_view(c, q))) {
			return false;
		}
	}
	return true;
}

static void take_back(struct cluster *c, struct mono now, const struct graph *seen)
{
	for (uint32_t p = 0; p < c->cfg.n; p++) {
		struct cluster_peer *peer = &c->peers[p];

		if (!peer->barred) {
			continue;
		}
		if (!reports(c, now, p) || !all_good(c, seen, p)) {
			peer->good_since = MONO_NEVER;
		} else if (!mono_is_set(peer->good_since)) {
			peer->good_since = now;
		} else if (now.ns >= peer->good_since.ns + peer->bar_hold) {
			peer->barred = false;
			peer->unbarred = now;
			cluster_event(c, true, "node %u reaches all members again: taken back", (unsigned)p);
		}
	}
}

/* p has answered, but is not a member yet, and has a bad link to one. */
static bool join_waits(const struct cluster *c, struct mono now, uint32_t p)
{
	if (cluster_flags_inactive(c->peers[p].flags)) {
		return false;
	}
	for (uint32_t q = 0; q < c->cfg.n; q++) {
		/* Of two that come at once the higher one waits. */
		bool counts =
			q == c->cfg.pnn || (takes_part(c, q) && reports(c, now, q) && (q < p || cluster_in_view(c, q)));

		if (q != p && counts && pair_bad(c, now, p, q)) {
			return true;
		}
	}
	return false;
}

bool cluster_mesh_refuses(const struct cluster *c, struct mono now, uint32_t p)
{
	if (p == c->cfg.pnn) {
		return false;
	}
	return c->peers[p].barred || (!cluster_in_view(c, p) && (!reports(c, now, p) || join_waits(c, now, p)));
}

/* Those that wait for links that are just coming up need not wait for a heartbeat to tell it. */
static void poke(struct cluster *c, struct mono now)
{
	uint64_t dead = cluster_dead_ns(c);
	bool any = false;

	for (uint32_t p = 0; p < c->cfg.n; p++) {
		struct cluster_peer *peer = &c->peers[p];

		if (p == c->cfg.pnn || peer->barred || cluster_in_view(c, p) || !reports(c, now, p) ||
		    !join_waits(c, now, p)) {
			peer->waits_since = MONO_NEVER;
			continue;
		}
		peer->waits_since = mono_is_set(peer->waits_since) ? peer->waits_since : now;
		any = any || now.ns < peer->waits_since.ns + dead / 4;
	}
	if (any && mono_reached(mono_plus(c->mesh.poked, dead / 16), now)) {
		c->mesh.poked = now;
		for (uint32_t p = 0; p < c->cfg.n; p++) {
			if (p != c->cfg.pnn && reports(c, now, p)) {
				cluster_grant_send(c, now, p);
			}
		}
	}
	c->mesh.poking = any;
}

static void look_around(struct cluster *c, struct mono now)
{
	static const struct set none;
	struct graph seen, g, stay;

	if (CLUSTER_PLANTED(c, MESH_BLIND)) {
		return;
	}
	look(c, now, &seen);
	edges_update(c, now, &seen);
	take_back(c, now, &seen);
	if (!long_graph(c, now, &seen, &none, &g)) {
		return;
	}
	stay_graph(c, &g, &stay);
	if (!move(c, now, &g, &stay)) {
		bar_who_is_out(c, now, &g, &stay);
	}
}

/* ---- members that the leader does not hear ---- */

/* A link of this node came up a moment ago: others will. */
static bool link_is_new(const struct cluster *c, struct mono now)
{
	for (uint32_t p = 0; p < c->cfg.n; p++) {
		if (c->peers[p].link && now.ns < c->peers[p].link_since.ns + cluster_dead_ns(c) / 2) {
			return true;
		}
	}
	return false;
}

static void ask_others(struct cluster *c, struct mono now)
{
	uint64_t dead = cluster_dead_ns(c);

	if (now.ns < c->mesh.asked.ns + dead / 8) {
		return;
	}
	c->mesh.asked = now;
	for (uint32_t p = 0; p < c->cfg.n; p++) {
		if (p != c->cfg.pnn && cluster_in_view(c, p) && !silent_for(c, now, p, dead * 3 / 8) &&
		    reports(c, now, p)) {
			cluster_grant_send(c, now, p);
		}
	}
}

/* Not a member, but it would be if this node heard it. */
static bool mute_outsider(const struct cluster *c, struct mono now, uint32_t p)
{
	const struct cluster_peer *peer = &c->peers[p];

	return p != c->cfg.pnn && cluster_configured(c, p) && !cluster_in_view(c, p) && takes_part(c, p) &&
	       !peer->leaving && cluster_peer_agrees(c, p) && now.ns >= peer->acked_sent.ns + cluster_dead_ns(c) / 2;
}

/* Members that are silent, and outsiders, as bits for the others; the number of members. */
static unsigned note_quiet(struct cluster *c, struct mono now, struct set *quiet)
{
	unsigned members = 0;

	memset(quiet, 0, sizeof(*quiet));
	memset(c->mesh.quiet, 0, sizeof(c->mesh.quiet));
	for (uint32_t p = 0; p < c->cfg.n; p++) {
		bool member = silent_for(c, now, p, cluster_dead_ns(c) * 3 / 8);

		members += member ? 1 : 0;
		if (member || mute_outsider(c, now, p)) {
			set_add(quiet, p);
			c->mesh.quiet[p / 8] |= (uint8_t)(1U << (p % 8));
		}
	}
	return members;
}

static void look_for_silent(struct cluster *c, struct mono now)
{
	uint64_t dead = cluster_dead_ns(c);
	struct set quiet, heard_by_others = {{0}};
	unsigned members = note_quiet(c, now, &quiet);
	struct graph seen, g, stay;

	/* One alone: it is as likely to be at fault as this node. */
	c->mesh.any_quiet = members > 0 && set_count(&quiet) >= 2;
	if (!c->mesh.any_quiet || link_is_new(c, now)) {
		return;
	}
	ask_others(c, now);
	for (uint32_t p = 0; p < c->cfg.n; p++) {
		if (set_has(&quiet, p) && now.ns >= c->peers[p].acked_sent.ns + dead / 2 &&
		    mono_is_set(c->peers[p].vouched) && now.ns < c->peers[p].vouched.ns + dead / 4) {
			set_add(&heard_by_others, p);
		}
	}
	if (set_count(&heard_by_others) >= 2) {
		look(c, now, &seen);
		(void)long_graph(c, now, &seen, &heard_by_others, &g);
		stay_graph(c, &g, &stay);
		(void)move(c, now, &g, &stay);
	}
}

void cluster_mesh_fill(const struct cluster *c, uint32_t to, struct lease_grant *m)
{
	m->barred_by = c->peers[to].barred ? c->peers[to].barred_by : CLUSTER_NODE_NONE;
	m->bars = m->bars_by = CLUSTER_NODE_NONE;
	for (uint32_t p = 0; p < c->cfg.n; p++) {
		if (c->peers[p].barred && p != to && (m->bars == CLUSTER_NODE_NONE || c->peers[p].barred_by == to)) {
			m->bars = p;
			m->bars_by = c->peers[p].barred_by;
		}
	}
	if (c->mesh.any_quiet) {
		m->quiet.len = 32;
		m->quiet.data = (uint8_t *)(uintptr_t)c->mesh.quiet;
	}
}

/* ---- a follower ---- */

/* Are those alive that the leader does not hear? */
void cluster_mesh_asked(struct cluster *c, struct mono now, uint32_t from, const struct lease_grant *m)
{
	uint64_t dead = cluster_dead_ns(c);

	c->mesh.barred_by = m->barred_by < c->cfg.n ? m->barred_by : CLUSTER_NODE_NONE;
	c->mesh.bars = m->bars;
	c->mesh.bars_by = m->bars_by;
	c->mesh.vouch_echo = m->stamp;
	for (uint32_t p = 0; p < c->cfg.n && p / 8 < m->quiet.len; p++) {
		struct cluster_peer *peer = &c->peers[p];

		if (bit(m->quiet.data, p) && p != from && cluster_askable(c, now, p) &&
		    now.ns >= peer->vouch_asked.ns + dead / 16) {
			peer->vouch_asked = now;
			peer->vouch_heard = MONO_NEVER;
			cluster_hello_send(c, now, p, false);
		}
	}
}

/* Any packet of it will do. */
void cluster_mesh_heard(struct cluster *c, struct mono now, uint32_t from)
{
	struct cluster_peer *peer = &c->peers[from];

	if (!mono_is_set(peer->vouch_asked) || now.ns >= peer->vouch_asked.ns + cluster_dead_ns(c) / 4 ||
	    mono_is_set(peer->vouch_heard)) {
		return;
	}
	peer->vouch_heard = now;
	if (c->role == CLUSTER_ROLE_FOLLOWER && c->leader < c->cfg.n && c->leader != from && c->leader != c->cfg.pnn) {
		cluster_ack_send(c, now, c->leader, c->mesh.vouch_echo, true);
	}
}

void cluster_mesh_ack_fill(const struct cluster *c, struct mono now, uint8_t alive[32], struct lease_ack *m)
{
	memset(alive, 0, 32);
	for (uint32_t p = 0; p < c->cfg.n; p++) {
		const struct cluster_peer *peer = &c->peers[p];

		if (mono_is_set(peer->vouch_heard) && now.ns < peer->vouch_heard.ns + cluster_dead_ns(c) / 4) {
			alive[p / 8] |= (uint8_t)(1U << (p % 8));
			m->alive.len = 32;
		}
	}
	m->alive.data = alive;
}

/* Left out by the leader that is followed: by whom, or CLUSTER_NODE_NONE. */
uint32_t cluster_mesh_barred_by(const struct cluster *c, struct mono now)
{
	bool fresh = mono_is_set(c->granted_at) && now.ns < c->granted_at.ns + cluster_dead_ns(c);

	return c->role == CLUSTER_ROLE_FOLLOWER && fresh ? c->mesh.barred_by : CLUSTER_NODE_NONE;
}

uint32_t cluster_mesh_bars(const struct cluster *c, struct mono now, uint32_t p)
{
	bool fresh = mono_is_set(c->granted_at) && now.ns < c->granted_at.ns + cluster_dead_ns(c);

	if (c->role == CLUSTER_ROLE_LEADER) {
		return c->peers[p].barred ? c->peers[p].barred_by : CLUSTER_NODE_NONE;
	}
	if (p == c->cfg.pnn) {
		return cluster_mesh_barred_by(c, now);
	}
	return fresh && p == c->mesh.bars && c->mesh.bars_by < c->cfg.n ? c->mesh.bars_by : CLUSTER_NODE_NONE;
}

/* ---- the leader's time ---- */

void cluster_mesh_vouched(struct cluster *c, struct mono now, const struct lease_ack *m)
{
	for (uint32_t p = 0; p < c->cfg.n && p / 8 < m->alive.len; p++) {
		if (bit(m->alive.data, p)) {
			c->peers[p].vouched = now;
		}
	}
}

void cluster_mesh_begin(struct cluster *c, struct mono now)
{
	TALLOC_FREE(c->mesh.edges);
	c->mesh.n_edges = 0;
	c->mesh.any_quiet = false;
	c->mesh.barred_by = c->mesh.bars = CLUSTER_NODE_NONE;
	c->mesh.next = mono_add_ms(now, c->cfg.heartbeat_ms);
	for (uint32_t p = 0; p < c->cfg.n; p++) {
		c->peers[p].barred = false;
		c->peers[p].vouched = MONO_NEVER;
	}
}

void cluster_mesh_tick(struct cluster *c, struct mono now)
{
	if (mono_before(now, c->grace)) {
		edges_pause(c, now);
		return;
	}
	look_for_silent(c, now);
	poke(c, now);
	if (c->role == CLUSTER_ROLE_LEADER && mono_reached(c->mesh.next, now)) {
		c->mesh.next = mono_add_ms(now, c->cfg.heartbeat_ms);
		look_around(c, now);
	}
}

struct mono cluster_mesh_wakeup(const struct cluster *c, struct mono now)
{
	struct mono next = mono_before(now, c->grace) ? c->grace : c->mesh.next;
	uint64_t dead = cluster_dead_ns(c);

	if (c->mesh.poking) {
		next = mono_min(next, mono_plus(c->mesh.poked, dead / 16));
	}
	for (uint32_t p = 0; p < c->cfg.n; p++) {
		if (!silent_for(c, now, p, 0)) {
			continue;
		}
		if (!silent_for(c, now, p, dead * 3 / 8)) {
			next = mono_min(next, mono_plus(c->peers[p].acked_sent, dead * 3 / 8));
		} else if (!silent_for(c, now, p, dead / 2)) {
			next = mono_min(next, mono_plus(c->peers[p].acked_sent, dead / 2));
		}
	}
	return next;
}
