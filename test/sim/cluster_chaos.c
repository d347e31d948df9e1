/* Simulated cluster: what goes wrong. */
#include "cluster_sim.h"

static uint64_t dead_ns(const struct sim *s)
{
	return (uint64_t)s->opt.dead_ms * MS;
}

static void start_later(struct sim *s, uint32_t pnn, uint64_t ns)
{
	s->nodes[pnn].start_due = s->now + ns;
	sim_schedule(s, s->now + ns, SIM_START, pnn, 0);
}

static void partition(struct sim *s)
{
	uint64_t side = sim_random(s, UINT64_MAX);

	for (uint32_t a = 0; a < s->opt.nodes; a++) {
		for (uint32_t b = a + 1; b < s->opt.nodes; b++) {
			sim_cut(s, a, b, ((side >> a) & 1) != ((side >> b) & 1));
		}
	}
}

static void heal(struct sim *s)
{
	for (uint32_t a = 0; a < s->opt.nodes; a++) {
		for (uint32_t b = a + 1; b < s->opt.nodes; b++) {
			sim_cut(s, a, b, false);
		}
	}
}

static void cut_some(struct sim *s)
{
	for (uint32_t i = 0; i <= s->opt.nodes / 2; i++) {
		uint32_t a = (uint32_t)sim_random(s, s->opt.nodes), b = (uint32_t)sim_random(s, s->opt.nodes);

		sim_cut(s, a, b, sim_random(s, 3) != 0);
	}
}

/* Mostly the leader: that is where it hurts. */
static uint32_t victim(struct sim *s)
{
	uint32_t leader = sim_leader(s);

	if (leader != CLUSTER_NODE_NONE && sim_random(s, 2) == 0) {
		return leader;
	}
	return (uint32_t)sim_random(s, s->opt.nodes);
}

static void restart(struct sim *s, bool machine)
{
	uint32_t p = victim(s);
	uint64_t away = sim_random(s, dead_ns(s) * (machine ? 3 : 1));

	if (s->nodes[p].c == NULL && !machine) {
		return;
	}
	sim_crash(s, p, machine);
	start_later(s, p, away);
}

static void leave_and_return(struct sim *s)
{
	uint32_t p = victim(s);

	if (s->nodes[p].c != NULL && !s->nodes[p].paused) {
		sim_leave(s, p);
		start_later(s, p, sim_random(s, 2 * dead_ns(s)));
	}
}

static void network_weather(struct sim *s)
{
	s->loss_permille = sim_random(s, 2) == 0 ? 0 : (uint32_t)sim_random(s, 150);
	s->slow_permille = sim_random(s, 2) == 0 ? 0 : (uint32_t)sim_random(s, 100);
	s->slow_ns = 1 + sim_random(s, dead_ns(s) * 3 / 2);
	s->delay_ns = 10000 + sim_random(s, dead_ns(s) / 50);
	s->write_ns = 10000 + sim_random(s, sim_random(s, 4) == 0 ? dead_ns(s) / 2 : dead_ns(s) / 50);
	s->disturbed = s->now;
	sim_trace(s, NULL, "network: loss %u, slow %u of 1000, delay %.3f ms", (unsigned)s->loss_permille,
		  (unsigned)s->slow_permille, (double)s->delay_ns / 1e6);
}

void sim_chaos_step(struct sim *s)
{
	uint64_t next = sim_random(s, 5) == 0 ? 4 * dead_ns(s) : dead_ns(s);

	if (!s->chaos || s->now > s->chaos_until) {
		return;
	}
	switch (sim_random(s, 12)) {
	case 0:
	case 1:
		partition(s);
		break;
	case 2:
		heal(s);
		break;
	case 3:
		cut_some(s);
		break;
	case 4:
	case 5:
		sim_pause(s, victim(s), sim_random(s, 3 * dead_ns(s)));
		break;
	case 6:
	case 7:
		restart(s, false);
		break;
	case 8:
		restart(s, true);
		break;
	case 9:
		leave_and_return(s);
		break;
	case 10:
		sim_set_flags(s, victim(s), sim_random(s, 2) == 0 ? 0 : NODE_FLAG_STOPPED);
		break;
	default:
		network_weather(s);
		break;
	}
	sim_schedule(s, s->now + sim_random(s, next), SIM_CHAOS, 0, 0);
}

/* Some connected network that is not complete: a tree and some links more. */
static void thin_network(struct sim *s)
{
	bool keep[SIM_NODES][SIM_NODES] = {{false}};

	for (uint32_t a = 1; a < s->opt.nodes; a++) {
		uint32_t b = (uint32_t)sim_random(s, a);

		keep[a][b] = keep[b][a] = true;
	}
	for (uint32_t a = 0; a < s->opt.nodes; a++) {
		for (uint32_t b = a + 1; b < s->opt.nodes; b++) {
			sim_cut(s, a, b, !keep[a][b] && sim_random(s, 4) != 0);
		}
	}
}

/* Everybody is up, and nothing goes wrong any more. Not full: links are missing, but the network is connected. */
void sim_chaos_end(struct sim *s, bool full)
{
	sim_trace(s, NULL, "calm");
	s->chaos = false;
	s->loss_permille = s->slow_permille = 0;
	s->delay_ns = 200000;
	s->write_ns = MS;
	s->disturbed = s->now;
	if (full) {
		heal(s);
	} else {
		thin_network(s);
	}
	for (uint32_t p = 0; p < s->opt.nodes; p++) {
		if (s->nodes[p].c == NULL) {
			start_later(s, p, sim_random(s, 100 * MS));
		}
		if (s->nodes[p].paused) {
			sim_schedule(s, s->now + 1, SIM_RESUME, p, 0);
		}
		if (p == 0 || !full) {
			sim_set_flags(s, p, 0); /* one at least can lead */
		}
	}
}
