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

/* Arguments are evaluated in any order: no two of a call are drawn, or a seed is another run on another machine. */
static void pause_one(struct sim *s)
{
	uint64_t ns = sim_random(s, 3 * dead_ns(s));

	sim_pause(s, victim(s), ns);
}

static void kill_one(struct sim *s)
{
	restart(s, false);
}

static void power_cut(struct sim *s)
{
	restart(s, true);
}

static void flags_of_one(struct sim *s)
{
	static const uint32_t flags[] = {0, 0, NODE_FLAG_STOPPED, NODE_FLAG_BANNED};
	uint32_t of_it = flags[sim_random(s, 4)];

	sim_set_flags(s, victim(s), of_it);
}

static void loss(struct sim *s)
{
	s->loss_permille = sim_random(s, 2) == 0 ? 0 : (uint32_t)sim_random(s, 150);
	s->disturbed = s->now;
	sim_trace(s, NULL, "network: loses %u of 1000 packets", (unsigned)s->loss_permille);
}

static void delay(struct sim *s)
{
	s->slow_permille = sim_random(s, 2) == 0 ? 0 : (uint32_t)sim_random(s, 100);
	s->slow_ns = 1 + sim_random(s, dead_ns(s) * 3 / 2);
	s->delay_ns = 10000 + sim_random(s, dead_ns(s) / 50);
	s->disturbed = s->now;
	sim_trace(s, NULL, "network: delay %.3f ms, %u of 1000 packets up to %.3f ms", (double)s->delay_ns / 1e6,
		  (unsigned)s->slow_permille, (double)s->slow_ns / 1e6);
}

static void disk(struct sim *s)
{
	s->write_ns = 10000 + sim_random(s, sim_random(s, 4) == 0 ? dead_ns(s) / 2 : dead_ns(s) / 50);
	s->write_fail_permille = sim_random(s, 2) == 0 ? 0 : (uint32_t)sim_random(s, 50);
	s->disturbed = s->now;
	sim_trace(s, NULL, "disks: a write takes %.3f ms, %u of 1000 fail", (double)s->write_ns / 1e6,
		  (unsigned)s->write_fail_permille);
}

static void resign(struct sim *s)
{
	uint32_t leader = sim_leader(s);

	if (leader != CLUSTER_NODE_NONE && !s->nodes[leader].paused) {
		(void)sim_resign(s, leader, sim_random(s, 2) == 0 ? CLUSTER_NODE_NONE : victim(s));
	}
}

static void clock_of_one(struct sim *s)
{
	if (sim_random(s, 2) == 0) {
		uint64_t ns = sim_random(s, 3 * dead_ns(s));

		sim_suspend(s, victim(s), ns);
	} else {
		uint64_t ns = sim_random(s, 5 * dead_ns(s));

		sim_clock_jump(s, victim(s), ns);
	}
}

static const struct {
	enum sim_trouble trouble;
	unsigned weight;
	void (*make)(struct sim *s);
} actions[] = {
	{SIM_LOSS, 1, loss},
	{SIM_DELAY, 1, delay},
	{SIM_DISK, 1, disk},
	{SIM_PARTITION, 2, partition},
	{SIM_PARTITION, 1, heal},
	{SIM_PARTITION, 1, cut_some},
	{SIM_PAUSE, 2, pause_one},
	{SIM_CRASH, 2, kill_one},
	{SIM_CRASH, 1, power_cut},
	{SIM_LEAVE, 1, leave_and_return},
	{SIM_FLAGS, 1, flags_of_one},
	{SIM_CLOCK, 1, clock_of_one},
	{SIM_LOCK, 2, sim_lock_trouble},
	{SIM_ONE_WAY, 1, sim_one_way_trouble},
	{SIM_CULPRIT, 1, sim_culprit_trouble},
	{SIM_LEAVE, 1, resign},
};
#define N_ACTIONS (sizeof(actions) / sizeof(actions[0]))

const char *sim_trouble_name(enum sim_trouble trouble)
{
	static const char *const names[] = {"loss",  "delay", "disk",       "partition", "pause",   "crash",
					    "leave", "flags", "clock-jump", "lock",      "one-way", "culprit"};

	return (unsigned)trouble < sizeof(names) / sizeof(names[0]) ? names[trouble] : NULL;
}

static unsigned weight(const struct sim *s, size_t i)
{
	if (actions[i].trouble == SIM_LOCK && s->opt.quorum != CLUSTER_QUORUM_EXTERNAL) {
		return 0;
	}
	return (s->opt.profile & SIM_TROUBLE_BIT(actions[i].trouble)) != 0 ? actions[i].weight : 0;
}

static void trouble(struct sim *s)
{
	unsigned all = 0;
	uint64_t pick;

	for (size_t i = 0; i < N_ACTIONS; i++) {
		all += weight(s, i);
	}
	pick = sim_random(s, all);
	for (size_t i = 0; i < N_ACTIONS; i++) {
		if (pick < weight(s, i)) {
			s->troubles[actions[i].trouble]++;
			actions[i].make(s);
			return;
		}
		pick -= weight(s, i);
	}
}

void sim_chaos_step(struct sim *s)
{
	uint64_t next = sim_random(s, 5) == 0 ? 4 * dead_ns(s) : dead_ns(s);

	if (!s->chaos || s->now > s->chaos_until) {
		return;
	}
	trouble(s);
	sim_schedule(s, s->now + sim_random(s, next), SIM_CHAOS, 0, 0);
}

static void shuffle(struct sim *s, uint32_t *order)
{
	for (uint32_t i = 0; i < s->opt.nodes; i++) {
		uint32_t j = (uint32_t)sim_random(s, i + 1);

		order[i] = order[j];
		order[j] = i;
	}
}

/* Some connected network that is not complete: a tree and some links more, or a chain and few more. Not longer than
 * claims reach (invariant 6). */
static void thin_network(struct sim *s)
{
	bool keep[SIM_NODES][SIM_NODES] = {{false}}, chain = s->opt.seed % 2 == 1 && s->opt.nodes <= 32;
	uint32_t order[SIM_NODES];

	if (chain) {
		shuffle(s, order);
	}
	for (uint32_t i = 1; i < s->opt.nodes; i++) {
		uint32_t a = chain ? order[i] : i, b = chain ? order[i - 1] : (uint32_t)sim_random(s, i);

		keep[a][b] = keep[b][a] = true;
	}
	for (uint32_t a = 0; a < s->opt.nodes; a++) {
		for (uint32_t b = a + 1; b < s->opt.nodes; b++) {
			sim_cut(s, a, b, !keep[a][b] && sim_random(s, chain ? 4ULL * s->opt.nodes : 4) != 0);
		}
	}
}

/* Everybody is up, and nothing goes wrong any more. Not full: links are missing, but the network is connected. */
void sim_chaos_end(struct sim *s, bool full)
{
	sim_trace(s, NULL, "calm");
	s->chaos = false;
	s->loss_permille = s->slow_permille = s->write_fail_permille = 0;
	s->delay_ns = 200000;
	s->write_ns = MS;
	s->disturbed = s->now;
	sim_lock_calm(s);
	sim_one_way_calm(s);
	if (full) {
		heal(s);
	} else {
		thin_network(s);
	}
	for (uint32_t p = 0; p < s->opt.nodes; p++) {
		if (s->nodes[p].c == NULL || s->nodes[p].leaving) {
			s->nodes[p].flags = 0;
			start_later(s, p, sim_random(s, 100 * MS));
		}
		sim_resume(s, p);
		if (p == 0 || !full) {
			sim_set_flags(s, p, 0); /* one at least can lead */
		}
	}
}
