/* Simulated cluster: virtual time, network, processes. */
#include "cluster_sim.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

uint64_t sim_random(struct sim *s, uint64_t below)
{
	uint64_t z = (s->random += 0x9E3779B97F4A7C15ULL);

	z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
	z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
	z ^= z >> 31;
	return below == 0 ? 0 : z % below;
}

static void *checked(void *p)
{
	if (p == NULL) {
		fprintf(stderr, "out of memory\n");
		abort();
	}
	return p;
}

/* ---- time ---- */

uint64_t sim_local(const struct sim_node *n, uint64_t t)
{
	/* Exact, so that it never goes back. */
	int64_t seconds = (int64_t)(t / 1000000000), rest = (int64_t)(t % 1000000000);

	return n->offset + t + (uint64_t)(seconds * n->ppm * 1000 + rest * n->ppm / 1000000);
}

static uint64_t true_time(const struct sim_node *n, uint64_t local)
{
	uint64_t t = local <= n->offset ? 0 : (uint64_t)((double)(local - n->offset) / (1.0 + (double)n->ppm / 1e6));

	/* Rounded up, so that the core finds its time reached. */
	while (sim_local(n, t) < local) {
		t += 1000;
	}
	return t;
}

void sim_trace(struct sim *s, const struct sim_node *n, const char *fmt, ...)
{
	va_list ap;

	if (!s->opt.trace) {
		return;
	}
	printf("%10.3f ms ", (double)s->now / 1e6);
	if (n != NULL) {
		printf("node %u: ", (unsigned)n->pnn);
	}
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\n");
}

/* ---- what the core calls ---- */

static int encode(TALLOC_CTX *mem, const struct cluster_msg *m, struct ctdb_blob *out)
{
	switch (m->kind) {
	case CLUSTER_MSG_HELLO:
		return cluster_hello_encode(mem, &m->u.hello, out);
	case CLUSTER_MSG_VOTE_REQUEST:
		return vote_request_encode(mem, &m->u.vote_request, out);
	case CLUSTER_MSG_VOTE_REPLY:
		return vote_reply_encode(mem, &m->u.vote_reply, out);
	case CLUSTER_MSG_LEASE_GRANT:
		return lease_grant_encode(mem, &m->u.lease_grant, out);
	case CLUSTER_MSG_LEASE_ACK:
		return lease_ack_encode(mem, &m->u.lease_ack, out);
	case CLUSTER_MSG_HANDOVER:
		return cluster_handover_encode(mem, &m->u.handover, out);
	case CLUSTER_MSG_NODES_STEP:
		return cluster_nodes_step_encode(mem, &m->u.nodes_step, out);
	case CLUSTER_MSG_NODES_ANSWER:
		return cluster_nodes_answer_encode(mem, &m->u.nodes_answer, out);
	}
	return -1;
}

static int decode(TALLOC_CTX *mem, const struct sim_event *e, struct cluster_msg *m)
{
	m->kind = e->msg_kind;
	switch (e->msg_kind) {
	case CLUSTER_MSG_HELLO:
		return cluster_hello_decode(mem, e->msg.data, e->msg.len, &m->u.hello);
	case CLUSTER_MSG_VOTE_REQUEST:
		return vote_request_decode(mem, e->msg.data, e->msg.len, &m->u.vote_request);
	case CLUSTER_MSG_VOTE_REPLY:
		return vote_reply_decode(mem, e->msg.data, e->msg.len, &m->u.vote_reply);
	case CLUSTER_MSG_LEASE_GRANT:
		return lease_grant_decode(mem, e->msg.data, e->msg.len, &m->u.lease_grant);
	case CLUSTER_MSG_LEASE_ACK:
		return lease_ack_decode(mem, e->msg.data, e->msg.len, &m->u.lease_ack);
	case CLUSTER_MSG_HANDOVER:
		return cluster_handover_decode(mem, e->msg.data, e->msg.len, &m->u.handover);
	case CLUSTER_MSG_NODES_STEP:
		return cluster_nodes_step_decode(mem, e->msg.data, e->msg.len, &m->u.nodes_step);
	case CLUSTER_MSG_NODES_ANSWER:
		return cluster_nodes_answer_decode(mem, e->msg.data, e->msg.len, &m->u.nodes_answer);
	}
	return -1;
}

static const char *msg_name(enum cluster_msg_kind kind)
{
	static const char *const names[] = {"hello", "vote request", "vote reply", "grant",
					    "ack",   "handover",     "nodes step", "nodes answer"};

	return names[kind];
}

/* So many packets on their way for each node are not sent without a loop. */
#define STORM 2000U

static void deliver_later(struct sim *s, uint32_t from, uint32_t to, const struct cluster_msg *msg)
{
	struct sim_event e = {.kind = SIM_MESSAGE, .node = to, .peer = from, .msg_kind = msg->kind};
	uint64_t delay = s->delay_ns / 2 + sim_random(s, s->delay_ns);

	if (sim_random(s, 1000) < s->slow_permille) {
		delay += sim_random(s, s->slow_ns);
	}
	if (encode(s, msg, &e.msg) != 0) {
		sim_fail(s, "message %s of node %u cannot be encoded", msg_name(msg->kind), (unsigned)from);
		return;
	}
	e.at = s->now + delay;
	if (s->n_heap > STORM * s->opt.nodes) {
		sim_fail(s,
			 "a storm: more than %u packets for each node are on their way, the last one %s of node %u to "
			 "%u",
			 STORM, msg_name(msg->kind), (unsigned)from, (unsigned)to);
	}
	sim_push(s, e);
}

static void on_send(void *priv, uint32_t pnn, const struct cluster_msg *msg)
{
	struct sim_node *n = priv;
	struct sim *s = n->sim;

	s->messages++;
	sim_election_sent(s, n, msg->kind);
	if (msg->kind == CLUSTER_MSG_VOTE_REQUEST || msg->kind == CLUSTER_MSG_VOTE_REPLY) {
		s->vote_messages++;
	}
	if (!sim_connected(s, n->pnn, pnn) || s->mute[n->pnn][pnn] || sim_random(s, 1000) < s->loss_permille) {
		return;
	}
	deliver_later(s, n->pnn, pnn, msg);
	if (sim_random(s, 1000) < s->loss_permille) {
		deliver_later(s, n->pnn, pnn, msg); /* a packet that comes twice must not matter */
	}
}

static void on_persist(void *priv, const struct cluster_durable *durable)
{
	struct sim_node *n = priv;
	struct sim_event e = {.kind = SIM_PERSISTED, .node = n->pnn, .tag = n->incarnation};

	n->writing = *durable;
	e.at = n->sim->now + n->sim->write_ns / 4 + sim_random(n->sim, n->sim->write_ns);
	sim_push(n->sim, e);
}

static void on_promise(void *priv, const struct cluster_promise *promise)
{
	struct sim_node *n = priv;

	n->promise = *promise;
}

static void on_lease(void *priv, struct mono until)
{
	struct sim_node *n = priv;

	n->act.lease_until = until.ns;
}

static void on_ban(void *priv, uint32_t pnn, uint32_t seconds, const char *reason)
{
	struct sim_node *n = priv;

	sim_trace(n->sim, n, "bans node %u for %u s: %s", (unsigned)pnn, (unsigned)seconds, reason);
	sim_banned(n->sim, n->pnn, pnn);
}

static void on_event(void *priv, bool important, const char *text)
{
	struct sim_node *n = priv;

	sim_trace(n->sim, n, "%s%s", important ? "* " : "  ", text);
	if (strncmp(text, "bug:", 4) == 0) {
		sim_fail(n->sim, "node %u says %s", (unsigned)n->pnn, text);
	}
}

static void view_summary(const struct cluster_view *v, struct sim_view *out)
{
	*out = (struct sim_view){.term = v->term, .number = v->number, .n = v->members.n, .leader = v->leader};
	for (uint32_t p = 0; p < v->members.n; p++) {
		out->in[p] = (v->members.v[p].flags & NODE_FLAG_DISCONNECTED) == 0;
	}
}

/* Other daemons subscribe again after a restart of clusterd, and are answered once it has something to say. */
static void act_update(struct sim_node *n)
{
	struct cluster_state state;

	if (!cluster_settled(n->c)) {
		return;
	}
	cluster_tell_state(n->c, (struct mono){sim_local(n, n->sim->now)}, &state);
	n->act.active = state.active;
	n->act.lease_until = state.lease_until;
	if (state.view.term < n->act.view.term ||
	    (state.view.term == n->act.view.term && state.view.number < n->act.view.number)) {
		return; /* a restarted clusterd that has not heard of it yet: older views are refused */
	}
	if (state.view.term != n->act.view.term || state.view.number != n->act.view.number) {
		view_summary(&state.view, &n->act.view);
	}
}

static void on_changed(void *priv)
{
	/* Looked at after the step: act_update(). */
}

static void on_arbiter(void *priv, bool want)
{
	sim_lock_op(priv, want);
}

static bool on_arbiter_holds(void *priv)
{
	return sim_lock_holds(priv);
}

/* Clocks agree to a quarter of a dead interval. */
static uint64_t on_wall_ms(void *priv)
{
	struct sim_node *n = priv;

	return 1000000000 + n->sim->now / MS + n->pnn * 7919ULL % (n->sim->opt.dead_ms / 4);
}

static const struct cluster_ops ops = {
	.send = on_send,
	.persist = on_persist,
	.promise = on_promise,
	.changed = on_changed,
	.lease = on_lease,
	.ban = on_ban,
	.arbiter = on_arbiter,
	.arbiter_holds = on_arbiter_holds,
	.wall_ms = on_wall_ms,
	.event = on_event,
	.nodes = SIM_NODES_OPS,
};

/* ---- links ---- */

bool sim_connected(const struct sim *s, uint32_t a, uint32_t b)
{
	return !s->cut[a][b] && s->nodes[a].machine_up && s->nodes[b].machine_up;
}

void sim_links_changed(struct sim *s, uint32_t a, uint32_t b)
{
	uint64_t most = sim_connected(s, a, b) ? 30 * MS : (uint64_t)s->opt.dead_ms * MS;

	s->disturbed = s->now;
	sim_schedule(s, s->now + sim_random(s, most), SIM_LINK, a, b);
	sim_schedule(s, s->now + sim_random(s, most), SIM_LINK, b, a);
}

void sim_cut(struct sim *s, uint32_t a, uint32_t b, bool cut)
{
	if (a == b || s->cut[a][b] == cut) {
		return;
	}
	sim_trace(s, NULL, "link %u-%u %s", (unsigned)a, (unsigned)b, cut ? "cut" : "healed");
	s->cut[a][b] = s->cut[b][a] = cut;
	sim_links_changed(s, a, b);
}

/* ---- processes ---- */

/* One event at a time: most wake-ups are put off by the next input, so the queue has the earliest only. */
static void tick_at(struct sim *s, struct sim_node *n, uint64_t at)
{
	n->tick_due = at <= s->now ? s->now + 1 : at;
	if (n->tick_queued == 0 || n->tick_due < n->tick_queued) {
		n->tick_queued = n->tick_due;
		sim_schedule(s, n->tick_due, SIM_TICK, n->pnn, 0);
	}
}

static bool tick_is_due(struct sim *s, struct sim_node *n, const struct sim_event *e)
{
	if (e->at != n->tick_queued) {
		return false;
	}
	n->tick_queued = 0;
	if (n->c != NULL && s->now < n->tick_due) {
		tick_at(s, n, n->tick_due);
		return false;
	}
	return true;
}

void sim_after_input(struct sim *s, struct sim_node *n)
{
	act_update(n);
	sim_check_view(s, n);
	tick_at(s, n, true_time(n, cluster_wakeup(n->c).ns) + sim_random(s, MS));
	if (n->leaving && cluster_left(n->c)) {
		sim_crash(s, n->pnn, false);
	}
}

void sim_start(struct sim *s, uint32_t pnn)
{
	struct sim_node *n = &s->nodes[pnn];
	struct cluster_node_config nodes[SIM_NODES];
	struct cluster_config config = {
		.pnn = pnn,
		.n = s->opt.nodes,
		.nodes = nodes,
		.nodes_hash = n->other_nodes_file ? 2 : 1,
		.quorum = s->opt.quorum,
		.heartbeat_ms = s->opt.heartbeat_ms,
		.dead_ms = s->opt.dead_ms,
		.capabilities = (n->cannot_lead ? 0U : NODE_CAP_LEADER) | NODE_CAP_LMASTER,
		.flags = n->flags,
		.incarnation = n->incarnation + 1 + sim_random(s, 1000),
		.seed = sim_random(s, UINT64_MAX),
		.durable = n->durable,
		.promise = n->promise,
		.faults = s->opt.faults,
	};

	if (n->leaving) {
		n->start_due = s->now + 10 * MS;
		sim_schedule(s, n->start_due, SIM_START, pnn, 0);
		return;
	}
	if (n->c != NULL) {
		return;
	}
	if (!n->machine_up && s->now < n->machine_back) {
		n->start_due = n->machine_back;
		sim_schedule(s, n->machine_back, SIM_START, pnn, 0);
		return;
	}
	for (uint32_t p = 0; p < s->opt.nodes; p++) {
		nodes[p] = (struct cluster_node_config){.address = "10.0.0.1"};
	}
	sim_nodes_config(n, &config);
	sim_lock_config(s, &config);
	sim_trace(s, n, "starts");
	s->disturbed = s->now;
	n->incarnation = config.incarnation;
	n->seen = (struct sim_view){0};
	n->core_flags = n->flags;
	n->c = checked(cluster_new(s, &config, &ops, n, (struct mono){sim_local(n, s->now)}));
	if (!n->machine_up) {
		n->machine_up = true;
		for (uint32_t p = 0; p < s->opt.nodes; p++) {
			if (p != pnn) {
				sim_links_changed(s, pnn, p);
			}
		}
	}
	for (uint32_t p = 0; p < s->opt.nodes; p++) {
		if (p != pnn && sim_connected(s, pnn, p)) {
			sim_schedule(s, s->now + sim_random(s, 5 * MS), SIM_LINK, pnn, p);
		}
	}
	sim_after_input(s, n);
}

static void deferred_drop(struct sim_node *n)
{
	for (uint32_t i = 0; i < n->n_deferred; i++) {
		talloc_free(n->deferred[i].msg.data);
	}
	n->n_deferred = 0;
	n->deferred_tick = false;
}

void sim_crash(struct sim *s, uint32_t pnn, bool machine)
{
	struct sim_node *n = &s->nodes[pnn];

	if (n->suspended_at != 0 && !machine) {
		return; /* nothing happens in there */
	}
	sim_trace(s, n, machine ? "power cut" : "killed");
	s->disturbed = s->now;
	TALLOC_FREE(n->c);
	sim_lock_crash(n, machine);
	n->paused = n->leaving = false;
	n->suspended_at = 0;
	deferred_drop(n);
	if (machine && n->machine_up) {
		n->machine_up = false;
		/* A machine takes longer to come up than any lease lasts. */
		n->machine_back = s->now + (uint64_t)s->opt.dead_ms * MS * 5 / 4;
		n->promise = (struct cluster_promise){.until = MONO_NEVER};
		n->act = (struct sim_act){0};
		for (uint32_t p = 0; p < s->opt.nodes; p++) {
			if (p != pnn) {
				sim_links_changed(s, pnn, p);
			}
		}
	}
	sim_election_step(s, n);
}

void sim_leave(struct sim *s, uint32_t pnn)
{
	struct sim_node *n = &s->nodes[pnn];

	if (n->c == NULL || n->paused) {
		return;
	}
	sim_trace(s, n, "leaves");
	cluster_leave(n->c, (struct mono){sim_local(n, s->now)});
	n->act.active = false;
	n->leaving = true;
	sim_after_input(s, n);
}

int sim_resign(struct sim *s, uint32_t pnn, uint32_t to)
{
	struct sim_node *n = &s->nodes[pnn];
	int ret;

	if (n->c == NULL || n->paused) {
		return -1;
	}
	sim_trace(s, n, "is asked to resign");
	ret = cluster_resign(n->c, (struct mono){sim_local(n, s->now)}, to);
	sim_after_input(s, n);
	return ret;
}

void sim_pause(struct sim *s, uint32_t pnn, uint64_t ns)
{
	struct sim_node *n = &s->nodes[pnn];

	if (n->c == NULL || n->paused) {
		return;
	}
	sim_trace(s, n, "stands still for %.1f ms", (double)ns / 1e6);
	s->disturbed = s->now;
	n->paused = true;
	n->lock.paused = n->suspended_at != 0 || (s->opt.bounded && sim_random(s, 2) == 0);
	sim_schedule(s, s->now + ns, SIM_RESUME, pnn, 0);
}

void sim_suspend(struct sim *s, uint32_t pnn, uint64_t ns)
{
	struct sim_node *n = &s->nodes[pnn];

	if (n->c != NULL && !n->paused) {
		sim_trace(s, n, "its machine is suspended");
		n->suspended_at = s->now;
		sim_pause(s, pnn, ns);
	}
}

/* What other nodes rely on is in the time of this clock: for a dead interval from now nothing can be said. */
static void clock_was_wrong(struct sim *s)
{
	uint64_t dead = (uint64_t)s->opt.dead_ms * MS;

	/* A lease of the lock, too. */
	s->excused_until = s->now + (s->opt.bounded ? 5 * dead / 2 + s->lock.ttl_ns : dead) * 102 / 100;
}

void sim_clock_jump(struct sim *s, uint32_t pnn, uint64_t ns)
{
	struct sim_node *n = &s->nodes[pnn];

	sim_trace(s, n, "its clock leaps %.1f ms ahead", (double)ns / 1e6);
	n->offset += ns;
	s->disturbed = s->now;
	clock_was_wrong(s);
	if (n->c != NULL && !n->paused) {
		sim_after_input(s, n); /* timers are due earlier now */
	}
}

/* Only clusterd can change them, so only while it runs. */
void sim_set_flags(struct sim *s, uint32_t pnn, uint32_t flags)
{
	struct sim_node *n = &s->nodes[pnn];

	if (n->c != NULL && !n->paused) {
		n->flags = n->core_flags = flags;
		sim_trace(s, n, "own flags 0x%x", (unsigned)flags);
		cluster_set_flags(n->c, (struct mono){sim_local(n, s->now)}, flags);
		sim_after_input(s, n);
	}
}

void sim_culprit(struct sim *s, uint32_t by, uint32_t pnn, uint32_t credits)
{
	struct sim_node *n = &s->nodes[by];

	if (n->c != NULL && !n->paused) {
		sim_trace(s, n, "is told that node %u failed, %u credits", (unsigned)pnn, (unsigned)credits);
		(void)cluster_culprit(n->c, (struct mono){sim_local(n, s->now)}, pnn, credits, "failed");
		sim_after_input(s, n);
	}
}

/* ---- steps ---- */

static void defer(struct sim *s, struct sim_node *n, const struct sim_event *e)
{
	if (e->kind == SIM_TICK) {
		n->deferred_tick = true;
		return;
	}
	if (talloc_array_length(n->deferred) < n->n_deferred + 1) {
		n->deferred = checked(talloc_realloc(s, n->deferred, struct sim_event, n->n_deferred * 2 + 16));
	}
	n->deferred[n->n_deferred++] = *e;
}

static void input(struct sim *s, struct sim_node *n, struct sim_event *e)
{
	struct mono local = {sim_local(n, s->now)};
	struct cluster_msg msg;
	void *mem;

	switch (e->kind) {
	case SIM_TICK:
		cluster_tick(n->c, local);
		break;
	case SIM_MESSAGE:
		mem = checked(talloc_new(s));
		if (decode(mem, e, &msg) != 0) {
			sim_fail(s, "message %s cannot be decoded", msg_name(e->msg_kind));
		} else {
			cluster_message(n->c, local, e->peer, &msg);
		}
		talloc_free(mem);
		break;
	case SIM_LINK:
		cluster_link(n->c, local, e->peer, sim_connected(s, n->pnn, e->peer));
		break;
	case SIM_PERSISTED:
		cluster_persisted(n->c, local, sim_random(s, 1000) >= s->write_fail_permille);
		break;
	case SIM_NODES_WRITTEN:
		sim_nodes_heard(n);
		break;
	case SIM_ARBITER:
		sim_lock_input(n, e);
		break;
	case SIM_START:
	case SIM_RESUME:
	case SIM_CHAOS:
		break;
	}
	sim_after_input(s, n);
}

void sim_resume(struct sim *s, uint32_t pnn)
{
	struct sim_node *n = &s->nodes[pnn];
	bool tick_first = sim_random(s, 2) == 0;
	struct sim_event tick = {.kind = SIM_TICK};

	if (n->c == NULL || !n->paused) {
		return;
	}
	n->paused = false;
	sim_trace(s, n, "goes on");
	s->disturbed = s->now;
	if (n->suspended_at != 0) {
		n->offset -= s->now - n->suspended_at;
		n->suspended_at = 0;
		clock_was_wrong(s);
	}
	if (n->deferred_tick && tick_first) {
		input(s, n, &tick);
	}
	for (uint32_t i = 0; i < n->n_deferred && n->c != NULL; i++) {
		input(s, n, &n->deferred[i]);
	}
	if (n->deferred_tick && !tick_first && n->c != NULL) {
		input(s, n, &tick);
	}
	deferred_drop(n);
}

static void step(struct sim *s, struct sim_event *e)
{
	struct sim_node *n = &s->nodes[e->node];

	if (e->kind == SIM_START) {
		if (n->start_due == e->at) {
			sim_start(s, e->node);
		}
	} else if (e->kind == SIM_CHAOS) {
		sim_chaos_step(s);
	} else if (e->kind == SIM_ARBITER && !sim_lock_is_input(e)) {
		sim_lock_event(s, e);
	} else if (n->c == NULL) {
		return;
	} else if (e->kind == SIM_RESUME) {
		sim_resume(s, e->node);
	} else if ((e->kind == SIM_PERSISTED || e->kind == SIM_NODES_WRITTEN) && e->tag != n->incarnation) {
		return;
	} else if (n->paused) {
		defer(s, n, e);
		e->msg.data = NULL;
	} else if (e->kind != SIM_MESSAGE || sim_connected(s, e->node, e->peer)) {
		input(s, n, e);
	}
}

void sim_run(struct sim *s, uint64_t until)
{
	while (s->n_heap > 0 && s->heap[0].at <= until && !sim_failed(s)) {
		if (s->step_limit != 0 && s->steps >= s->step_limit) {
			return;
		}
		struct sim_event e = sim_pop(s);

		s->now = e.at;
		if (e.kind == SIM_TICK && !tick_is_due(s, &s->nodes[e.node], &e)) {
			continue;
		}
		/* On disk counts from the moment it is there, whether or not the process hears of it. */
		if (e.kind == SIM_PERSISTED && e.tag == s->nodes[e.node].incarnation && s->nodes[e.node].c != NULL) {
			s->nodes[e.node].durable = s->nodes[e.node].writing;
		}
		if (e.kind == SIM_NODES_WRITTEN && e.tag == s->nodes[e.node].incarnation) {
			sim_nodes_on_disk(&s->nodes[e.node]);
		}
		step(s, &e);
		talloc_free(e.msg.data);
		s->steps++;
		sim_check_step(s, e.kind == SIM_CHAOS ? NULL : &s->nodes[e.node]);
	}
	s->now = s->now > until ? s->now : until;
}

bool sim_on_its_way(const struct sim *s, uint32_t from, enum cluster_msg_kind kind)
{
	for (uint32_t i = 0; i < s->n_heap; i++) {
		if (s->heap[i].kind == SIM_MESSAGE && s->heap[i].msg_kind == kind && s->heap[i].peer == from) {
			return true;
		}
	}
	return false;
}

bool sim_failed(const struct sim *s)
{
	return s->failure[0] != '\0';
}

struct sim *sim_new(const struct sim_options *opt)
{
	struct sim *s = checked(talloc_zero(NULL, struct sim));

	s->opt = *opt;
	s->random = opt->seed;
	s->delay_ns = 200000;
	s->write_ns = MS;
	s->election.lead = CLUSTER_NODE_NONE;
	s->lock.latency_ns = 2 * MS;
	s->lock.ttl_ns = 2 * (uint64_t)opt->dead_ms * MS;
	s->nodes = checked(talloc_zero_array(s, struct sim_node, opt->nodes));
	for (uint32_t p = 0; p < opt->nodes; p++) {
		struct sim_node *n = &s->nodes[p];

		n->sim = s;
		n->pnn = p;
		n->machine_up = true;
		n->offset = (10000 + sim_random(s, 100000)) * 1000000000ULL;
		n->ppm = (int64_t)sim_random(s, 10001) - 5000;
		n->durable.vote = CLUSTER_NODE_NONE;
	}
	return s;
}
