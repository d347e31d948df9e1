/* Simulated cluster: the invariants of src/core/cluster.h. */
#include "cluster_sim.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void sim_fail(struct sim *s, const char *fmt, ...)
{
	va_list ap;
	int n;

	if (sim_failed(s)) {
		return;
	}
	n = snprintf(s->failure, sizeof(s->failure), "at %.3f ms: ", (double)s->now / 1e6);
	va_start(ap, fmt);
	vsnprintf(s->failure + n, sizeof(s->failure) - (size_t)n, fmt, ap);
	va_end(ap);
	sim_trace(s, NULL, "FAILED %s", s->failure);
}

static int order(uint64_t at, uint64_t an, uint64_t bt, uint64_t bn)
{
	if (at != bt) {
		return at < bt ? -1 : 1;
	}
	return an == bn ? 0 : (an < bn ? -1 : 1);
}

static void view_known(struct sim *s, const struct sim_node *n, const struct sim_view *v)
{
	for (uint32_t i = s->n_views; i-- > 0;) {
		if (s->views[i].term == v->term && s->views[i].number == v->number) {
			if (memcmp(&s->views[i], v, sizeof(*v)) != 0) {
				sim_fail(s, "view %llu/%llu of node %u differs from the one issued",
					 (unsigned long long)v->term, (unsigned long long)v->number, (unsigned)n->pnn);
			}
			return;
		}
	}
	if (v->leader != n->pnn) {
		sim_fail(s, "node %u has a view of leader %u that was never issued", (unsigned)n->pnn,
			 (unsigned)v->leader);
	}
	s->views = talloc_realloc(s, s->views, struct sim_view, s->n_views + 1);
	if (s->views == NULL) {
		abort();
	}
	s->views[s->n_views++] = *v;
	s->check_all = true;
	for (uint32_t p = 0; p < v->n; p++) {
		if (!v->in[p] && order(s->left_out[p].term, s->left_out[p].number, v->term, v->number) < 0) {
			s->left_out[p].term = v->term;
			s->left_out[p].number = v->number;
		}
	}
}

/* Invariant 4. */
void sim_check_view(struct sim *s, struct sim_node *n)
{
	const struct cluster_view *v = cluster_newest_view(n->c);
	struct sim_view now;

	if (v->term == n->seen.term && v->number == n->seen.number) {
		return;
	}
	memset(&now, 0, sizeof(now));
	now.term = v->term;
	now.number = v->number;
	now.n = v->members.n;
	now.leader = v->leader;
	for (uint32_t p = 0; p < v->members.n; p++) {
		now.in[p] = (v->members.v[p].flags & NODE_FLAG_DISCONNECTED) == 0;
	}
	if (order(v->term, v->number, n->seen.term, n->seen.number) < 0) {
		sim_fail(s, "node %u goes back from view %llu/%llu to %llu/%llu", (unsigned)n->pnn,
			 (unsigned long long)n->seen.term, (unsigned long long)n->seen.number,
			 (unsigned long long)v->term, (unsigned long long)v->number);
	}
	n->seen = now;
	view_known(s, n, &now);
}

/* Invariant 1. */
static void check_leader(struct sim *s, const struct sim_node *n)
{
	uint64_t term = cluster_term(n->c);

	if (cluster_role(n->c) != CLUSTER_ROLE_LEADER) {
		return;
	}
	for (uint32_t i = s->n_leaders; i-- > 0;) {
		if (s->leaders[i].term != term) {
			continue;
		}
		if (s->leaders[i].pnn != n->pnn || s->leaders[i].incarnation != n->incarnation) {
			sim_fail(s, "nodes %u and %u both led term %llu", (unsigned)s->leaders[i].pnn, (unsigned)n->pnn,
				 (unsigned long long)term);
		}
		return;
	}
	s->leaders = talloc_realloc(s, s->leaders, struct sim_leader, s->n_leaders + 1);
	if (s->leaders == NULL) {
		abort();
	}
	s->leaders[s->n_leaders++] = (struct sim_leader){.term = term, .incarnation = n->incarnation, .pnn = n->pnn};
}

bool sim_acts(const struct sim *s, const struct sim_node *n)
{
	return n->act.active && n->suspended_at == 0 && sim_local(n, s->now) < n->act.lease_until;
}

/* Until what other nodes know of it is told in its own time again: see sim_clock_jump(). */
static bool clocks_excused(const struct sim *s)
{
	return s->now < s->excused_until;
}

static bool arbitrated(const struct sim *s)
{
	return s->opt.quorum != CLUSTER_QUORUM_NONE;
}

/* Invariant 3, and that nobody acts who is banned or stopped. */
static void check_acting(struct sim *s, struct sim_node *n)
{
	if (!sim_acts(s, n)) {
		return;
	}
	if (n->c != NULL && (n->core_flags & (NODE_FLAG_BANNED | NODE_FLAG_STOPPED)) != 0) {
		sim_fail(s, "node %u acts although it is %s", (unsigned)n->pnn,
			 (n->core_flags & NODE_FLAG_BANNED) != 0 ? "banned" : "stopped");
	}
	if (!n->act.view.in[n->pnn]) {
		sim_fail(s, "node %u acts under a view without it", (unsigned)n->pnn);
	}
	if (!arbitrated(s) ||
	    order(s->left_out[n->pnn].term, s->left_out[n->pnn].number, n->act.view.term, n->act.view.number) <= 0) {
		return;
	}
	/* It does not know that its lease was over for a while: goes on under that view. */
	if (clocks_excused(s)) {
		n->excused_term = n->act.view.term;
		n->excused_number = n->act.view.number;
	}
	if (order(n->excused_term, n->excused_number, n->act.view.term, n->act.view.number) != 0) {
		sim_fail(s, "node %u acts under view %llu/%llu, but view %llu/%llu leaves it out", (unsigned)n->pnn,
			 (unsigned long long)n->act.view.term, (unsigned long long)n->act.view.number,
			 (unsigned long long)s->left_out[n->pnn].term, (unsigned long long)s->left_out[n->pnn].number);
	}
}

static bool leads_now(const struct sim *s, const struct sim_node *n)
{
	return n->c != NULL && n->suspended_at == 0 && cluster_role(n->c) == CLUSTER_ROLE_LEADER &&
	       cluster_is_leading(n->c, (struct mono){sim_local(n, s->now)});
}

uint32_t sim_leader(const struct sim *s)
{
	uint32_t leader = CLUSTER_NODE_NONE;

	for (uint32_t p = 0; p < s->opt.nodes; p++) {
		const struct sim_node *n = &s->nodes[p];

		if (leads_now(s, n)) {
			if (leader != CLUSTER_NODE_NONE) {
				return CLUSTER_NODE_NONE;
			}
			leader = p;
		}
	}
	return leader;
}

/* Invariant 2, after a step of n: a mandate that another node had before can only have ended. */
static void check_one_leads(struct sim *s, const struct sim_node *n)
{
	if (!arbitrated(s) || clocks_excused(s) || !leads_now(s, n)) {
		return;
	}
	for (uint32_t p = 0; p < s->opt.nodes; p++) {
		if (p != n->pnn && leads_now(s, &s->nodes[p])) {
			sim_fail(s, "nodes %u and %u lead at the same time", (unsigned)(p < n->pnn ? p : n->pnn),
				 (unsigned)(p < n->pnn ? n->pnn : p));
		}
	}
}

static void mark(const struct sim *s, uint32_t from, bool *seen)
{
	seen[from] = true;
	for (uint32_t p = 0; p < s->opt.nodes; p++) {
		if (!seen[p] && s->nodes[p].c != NULL && sim_connected(s, from, p)) {
			mark(s, p, seen);
		}
	}
}

/* The largest number of leaders in one connected component. */
unsigned sim_leaders_in_component(const struct sim *s)
{
	bool done[SIM_NODES] = {false};
	unsigned most = 0;

	for (uint32_t p = 0; p < s->opt.nodes; p++) {
		bool seen[SIM_NODES] = {false};
		unsigned n = 0;

		if (done[p] || s->nodes[p].c == NULL) {
			continue;
		}
		mark(s, p, seen);
		for (uint32_t q = 0; q < s->opt.nodes; q++) {
			done[q] = done[q] || seen[q];
			n += seen[q] && cluster_role(s->nodes[q].c) == CLUSTER_ROLE_LEADER ? 1 : 0;
		}
		most = n > most ? n : most;
	}
	return most;
}

static bool several_leaders(const struct sim *s)
{
	unsigned n = 0;

	for (uint32_t p = 0; p < s->opt.nodes; p++) {
		n += s->nodes[p].c != NULL && cluster_role(s->nodes[p].c) == CLUSTER_ROLE_LEADER ? 1 : 0;
	}
	return n > 1;
}

/* Invariant 6: only where nothing was disturbed for a while, and no packet is lost. */
static void check_components(struct sim *s)
{
	uint64_t dead = (uint64_t)s->opt.dead_ms * MS;

	if (s->opt.quorum != CLUSTER_QUORUM_NONE || s->loss_permille > 0 || s->n_mute > 0 ||
	    s->now < s->disturbed + 8 * dead) {
		return;
	}
	if (!several_leaders(s) || sim_leaders_in_component(s) <= 1) {
		s->two_leaders_since = 0;
	} else if (s->two_leaders_since == 0) {
		s->two_leaders_since = s->now;
	} else if (s->now > s->two_leaders_since + dead) {
		sim_fail(s, "two leaders in one connected component for longer than the dead interval");
	}
}

/*
 * After a step of n only n can have begun to lead or to act; what others may do ends by itself. A new view can forbid
 * it to anybody, and a clock that is right again can show what was excused.
 */
void sim_check_step(struct sim *s, struct sim_node *n)
{
	bool all = n == NULL || s->check_all;

	if (s->excused_until != 0 && !clocks_excused(s)) {
		s->excused_until = 0;
		all = true;
	}
	s->check_all = false;
	for (uint32_t p = all ? 0 : n->pnn; p <= (all ? s->opt.nodes - 1 : n->pnn); p++) {
		struct sim_node *m = &s->nodes[p];

		if (m->c != NULL) {
			check_leader(s, m);
			check_one_leads(s, m);
		}
		check_acting(s, m);
		sim_election_step(s, m);
	}
	check_components(s);
}

static bool agrees(const struct sim *s, const struct sim_node *n, uint32_t leader, const char **why)
{
	const struct cluster_view *v = cluster_newest_view(n->c);
	const struct cluster_view *newest = cluster_newest_view(s->nodes[leader].c);

	if (v->term != newest->term || v->number != newest->number) {
		*why = "the nodes have different views";
	} else if (v->leader != leader) {
		*why = "the view is of another leader";
	} else if ((v->members.v[n->pnn].flags & ~(uint32_t)NODE_FLAG_DISCONNECTED) != n->flags) {
		*why = "the view does not show a node's own flags";
	} else if ((v->members.v[n->pnn].flags & NODE_FLAG_DISCONNECTED) != 0) {
		*why = "a node is not a member";
	} else if (sim_acts(s, n) != (n->flags == 0)) {
		*why = n->flags == 0 ? "a node does not act" : "a stopped node acts";
	} else {
		return true;
	}
	return false;
}

bool sim_converged(const struct sim *s, const char **why)
{
	uint32_t leader = sim_leader(s);

	if (leader == CLUSTER_NODE_NONE || sim_leaders_in_component(s) != 1) {
		*why = "there is not exactly one leader";
		return false;
	}
	for (uint32_t p = 0; p < s->opt.nodes; p++) {
		if (s->nodes[p].c != NULL && !agrees(s, &s->nodes[p], leader, why)) {
			return false;
		}
	}
	return true;
}
