/* Simulated cluster: links that fail in one direction, and what the core makes of bad links and of those who fail. */
#include "cluster_sim.h"

/* Packets from a to b are lost; nobody is told that a link is down. */
void sim_mute(struct sim *s, uint32_t a, uint32_t b, bool mute)
{
	if (a == b || s->mute[a][b] == mute) {
		return;
	}
	sim_trace(s, NULL, "packets from %u to %u are %s", (unsigned)a, (unsigned)b, mute ? "lost" : "delivered again");
	s->mute[a][b] = mute;
	s->n_mute += mute ? 1 : -1;
	s->disturbed = s->now;
}

void sim_one_way_trouble(struct sim *s)
{
	uint32_t leader = sim_leader(s);

	for (uint32_t i = 0; i <= s->opt.nodes / 3; i++) {
		uint32_t a = (uint32_t)sim_random(s, s->opt.nodes), b = (uint32_t)sim_random(s, s->opt.nodes);

		/* Mostly from the leader: that is where it hurts. */
		if (leader != CLUSTER_NODE_NONE && sim_random(s, 2) == 0) {
			a = leader;
		}
		sim_mute(s, a, b, sim_random(s, 3) != 0);
	}
}

void sim_one_way_calm(struct sim *s)
{
	for (uint32_t a = 0; a < s->opt.nodes && s->n_mute > 0; a++) {
		for (uint32_t b = 0; b < s->opt.nodes; b++) {
			sim_mute(s, a, b, false);
		}
	}
}

void sim_culprit_trouble(struct sim *s)
{
	for (uint32_t i = 0; i <= sim_random(s, 3); i++) {
		uint32_t leader = sim_leader(s), by = (uint32_t)sim_random(s, s->opt.nodes), pnn, credits;

		if (leader != CLUSTER_NODE_NONE && sim_random(s, 4) != 0) {
			by = leader;
		}
		credits = 1 + (uint32_t)sim_random(s, 100);
		pnn = (uint32_t)sim_random(s, s->opt.nodes);
		sim_culprit(s, by, pnn, credits);
	}
}

/* Invariant 11. Carried out at once: the order is a packet like others, which the stories of the daemons are about. */
void sim_banned(struct sim *s, uint32_t by, uint32_t pnn)
{
	/* By its own clock: others may leap. Who was started again does not know of it. */
	uint64_t dead = (uint64_t)s->opt.dead_ms * MS, now = sim_local(&s->nodes[by], s->now);

	if (s->n_bans > 0 && s->banned_by == by && s->banned_incarnation == s->nodes[by].incarnation &&
	    s->banned_at + 9 * dead > now) {
		sim_fail(s, "node %u bans node %u %.1f ms after another one", (unsigned)by, (unsigned)pnn,
			 (double)(now - s->banned_at) / 1e6);
	}
	if (by == pnn) {
		sim_fail(s, "node %u bans itself", (unsigned)by);
	}
	if (!sim_acts(s, &s->nodes[by])) {
		sim_fail(s, "node %u bans node %u but does not act itself", (unsigned)by, (unsigned)pnn);
	}
	s->n_bans++;
	s->banned_by = by;
	s->banned_incarnation = s->nodes[by].incarnation;
	s->banned_at = now;
	s->ban_pnn = pnn;
	if (s->chaos) {
		sim_set_flags(s, pnn, NODE_FLAG_BANNED);
	}
}

/* Whether all that act under one leader reach each other (invariant 8); for a network that has been as it is for long.
 */
bool sim_mesh_complete(const struct sim *s, uint32_t *a, uint32_t *b)
{
	for (*a = 0; *a < s->opt.nodes; (*a)++) {
		for (*b = *a + 1; *b < s->opt.nodes; (*b)++) {
			const struct sim_node *x = &s->nodes[*a], *y = &s->nodes[*b];

			if (sim_acts(s, x) && sim_acts(s, y) && !sim_connected(s, *a, *b) &&
			    x->act.view.term == y->act.view.term && x->flags == 0 && y->flags == 0) {
				return false;
			}
		}
	}
	return true;
}
