/* Simulated cluster: how many packets and how much time an election takes. */
#include "cluster_sim.h"

static bool leads(const struct sim *s, uint32_t p)
{
	const struct sim_node *n = &s->nodes[p];

	return n->c != NULL && cluster_is_leading(n->c, (struct mono){sim_local(n, s->now)});
}

static void begin(struct sim *s)
{
	struct sim_election *e = &s->election;

	e->open = true;
	e->since = s->now;
	e->messages = 0;
	sim_trace(s, NULL, "nobody leads any more");
}

static void end(struct sim *s, const struct sim_node *n)
{
	struct sim_election *e = &s->election;
	uint64_t took = s->now - e->since;

	sim_trace(s, n, "leads: elected with %llu packets in %.3f ms", (unsigned long long)e->messages,
		  (double)took / 1e6);
	e->open = false;
	e->lead = CLUSTER_NODE_NONE;
	e->n++;
	e->sum += e->messages;
	e->most = e->messages > e->most ? e->messages : e->most;
	if (!e->calm) {
		return;
	}
	e->calm_n++;
	e->calm_sum += e->messages;
	e->calm_most = e->messages > e->calm_most ? e->messages : e->calm_most;
	e->time += took;
	e->longest = took > e->longest ? took : e->longest;
	if (e->messages > 4ULL * s->opt.nodes) {
		sim_fail(s, "the election of node %u took %llu packets, more than 4 for each of %u nodes",
			 (unsigned)n->pnn, (unsigned long long)e->messages, (unsigned)s->opt.nodes);
	}
}

void sim_election_sent(struct sim *s, const struct sim_node *n, enum cluster_msg_kind kind)
{
	struct sim_election *e = &s->election;

	if (kind == CLUSTER_MSG_LEASE_ACK) {
		return;
	}
	if (kind == CLUSTER_MSG_LEASE_GRANT) {
		if (e->open && cluster_term(n->c) > e->term) {
			end(s, n);
		}
		return;
	}
	/* A leader that stands still has no step of its own in which its mandate ends. */
	if (!e->open && kind != CLUSTER_MSG_HELLO && e->lead != CLUSTER_NODE_NONE && !leads(s, e->lead)) {
		begin(s);
	}
	if (e->open) {
		e->messages++;
	}
}

/* After a step of n: whether it began or ceased to lead. */
void sim_election_step(struct sim *s, const struct sim_node *n)
{
	struct sim_election *e = &s->election;
	bool is_leader = n->c != NULL && cluster_role(n->c) == CLUSTER_ROLE_LEADER;

	if (e->lead == CLUSTER_NODE_NONE ? !is_leader : e->lead != n->pnn) {
		return;
	}
	if (!is_leader || !leads(s, n->pnn)) {
		if (e->lead == n->pnn && !e->open) {
			begin(s);
		}
		return;
	}
	e->lead = n->pnn;
	e->term = cluster_term(n->c);
	e->open = false; /* it was the same leader again */
}
