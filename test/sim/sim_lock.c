/* Simulated cluster: the lock of arbitration lock and etcd, the helpers that take it, and what goes wrong with both. */
#include "cluster_sim.h"

/*
 * One lock. A helper is a number; it asks (TRY), holds, is told to end (RELEASE), or dies with its daemon or machine.
 *
 * lock (not bounded): the service never gives it to another before the holder's helper could have told of the loss:
 * from that moment arbiter_holds() says no; LOST may come much later. etcd (bounded): the lock ends TTL after the
 * newest renewal came there; the helper tells a time that is certainly earlier. Nothing else is told in time, and a
 * paused daemon or helper notices nothing.
 */

enum what { TRY, RENEW, RENEWED, RELEASE, HELD, CONTENDED, FAILED, LOST, RELEASED };

static uint64_t dead_ns(const struct sim *s)
{
	return (uint64_t)s->opt.dead_ms * MS;
}

static uint64_t latency(struct sim *s)
{
	return 1000 + s->lock.latency_ns / 4 + sim_random(s, s->lock.latency_ns);
}

static void later(struct sim_node *n, enum what what, uint64_t id, uint64_t ns, uint64_t value)
{
	struct sim_event e = {.kind = SIM_ARBITER, .node = n->pnn, .peer = what, .tag = id, .value = value};

	e.at = n->sim->now + ns;
	sim_push(n->sim, e);
}

/* ---- what the core asks for ---- */

void sim_lock_op(struct sim_node *n, bool want)
{
	struct sim *s = n->sim;
	uint64_t id = n->lock.helper;

	if (want) {
		if (id != 0) {
			sim_fail(s, "node %u asks for the lock that it asked for already", (unsigned)n->pnn);
		}
		n->lock.helper = ++s->lock.ids;
		n->lock.held = false;
		s->lock.asked++;
		later(n, TRY, n->lock.helper, latency(s) + n->lock.slow_ns, sim_local(n, s->now));
		return;
	}
	sim_trace(s, n, "lets go of the lock");
	if (n->lock.releasing != 0) {
		sim_fail(s, "node %u lets go of the lock twice", (unsigned)n->pnn);
	}
	n->lock.helper = 0;
	n->lock.releasing = id != 0 ? id : ++s->lock.ids;
	later(n, RELEASE, n->lock.releasing, latency(s), 0);
}

bool sim_lock_holds(const struct sim_node *n)
{
	uint64_t id = n->lock.helper;

	return id != 0 && (n->sim->lock.owner == id || n->lock.lied == id);
}

/* ---- the service ---- */

static void expire(struct sim *s)
{
	if (s->opt.bounded && s->lock.owner != 0 && s->now >= s->lock.expires) {
		s->lock.owner = 0;
	}
}

static void give(struct sim *s, struct sim_node *n, uint64_t id, uint64_t sent)
{
	s->lock.owner = id;
	s->lock.owner_node = n->pnn;
	s->lock.expires = s->now + s->lock.ttl_ns;
	sim_trace(s, n, "has the lock (helper %llu)", (unsigned long long)id);
	if (n->lock.helper == id) {
		later(n, HELD, id, latency(s), s->opt.bounded ? sent + s->lock.ttl_ns / 100 * 99 : 0);
		later(n, RENEW, id, s->lock.ttl_ns / 3, 0);
	}
}

static void try(struct sim *s, struct sim_node *n, uint64_t id, uint64_t sent)
{
	bool dead = n->lock.helper != id;

	expire(s);
	if (dead && (!s->opt.bounded || n->lock.unreachable || s->lock.owner != 0 || sim_random(s, 4) != 0)) {
		return; /* else: its request was under way when it died; nobody will renew or release that */
	}
	if (!dead && (n->lock.unreachable || sim_random(s, 1000) < s->lock.hang_permille)) {
		later(n, FAILED, id, sim_random(s, 2) == 0 ? latency(s) : 3 * dead_ns(s), 0);
	} else if (s->lock.owner == 0) {
		give(s, n, id, sent);
	} else if (s->lock.lie) {
		s->lock.lie = false;
		s->nodes[s->lock.owner_node].lock.lied = s->lock.owner;
		give(s, n, id, sent);
	} else {
		later(n, CONTENDED, id, latency(s), 0);
	}
}

static void renew(struct sim *s, struct sim_node *n, uint64_t id)
{
	if (!s->opt.bounded || n->lock.helper != id || !n->machine_up) {
		return;
	}
	if (n->paused && n->lock.paused) {
		later(n, RENEW, id, s->lock.ttl_ns / 10, 0);
	} else if (n->lock.unreachable) {
		if (sim_local(n, s->now) >= n->lock.until) {
			later(n, LOST, id, latency(s), 0);
		}
		later(n, RENEW, id, s->lock.ttl_ns / 6, 0);
	} else {
		later(n, RENEWED, id, latency(s), sim_local(n, s->now));
	}
}

static void renewed(struct sim *s, struct sim_node *n, uint64_t id, uint64_t sent)
{
	expire(s);
	if (n->lock.helper != id) {
		return;
	}
	if (s->lock.owner != id) {
		later(n, LOST, id, latency(s), 0);
		return;
	}
	s->lock.expires = s->now + s->lock.ttl_ns;
	later(n, HELD, id, latency(s), sent + s->lock.ttl_ns / 100 * 99);
	later(n, RENEW, id, s->lock.ttl_ns / 3, 0);
}

static void release(struct sim *s, struct sim_node *n, uint64_t id)
{
	if (s->lock.owner == id && !(s->opt.bounded && n->lock.unreachable)) {
		sim_trace(s, n, "the lock is free (helper %llu)", (unsigned long long)id);
		s->lock.owner = 0;
	}
	if (n->lock.releasing == id) {
		later(n, RELEASED, id, latency(s) / 8, 0);
	}
}

/* ---- what the core hears ---- */

static void answer(struct sim_node *n, enum cluster_arbiter_answer what, uint64_t until)
{
	static const char *const names[] = {"held", "held by another", "failed", "lost", "released"};

	sim_trace(n->sim, n, "lock: %s", names[what]);
	cluster_arbiter(n->c, (struct mono){sim_local(n, n->sim->now)}, what, (struct mono){until}, names[what]);
}

static void hear(struct sim *s, struct sim_node *n, const struct sim_event *e)
{
	enum what what = (enum what)e->peer;

	if (what == RELEASED) {
		if (n->lock.releasing == e->tag) {
			n->lock.releasing = 0;
			answer(n, CLUSTER_ARBITER_RELEASED, 0);
		}
		return;
	}
	if (n->lock.helper != e->tag) {
		return;
	}
	if (what == HELD) {
		n->lock.held = true;
		n->lock.until = e->value;
		answer(n, CLUSTER_ARBITER_HELD, e->value);
	} else if (what == LOST && !n->lock.held) {
		later(n, LOST, e->tag, MS, 0); /* after HELD */
	} else {
		n->lock.helper = 0;
		answer(n,
		       what == LOST        ? CLUSTER_ARBITER_LOST
		       : what == CONTENDED ? CLUSTER_ARBITER_CONTENDED
					   : CLUSTER_ARBITER_FAILED,
		       0);
	}
}

bool sim_lock_is_input(const struct sim_event *e)
{
	return e->kind == SIM_ARBITER && e->peer >= HELD;
}

void sim_lock_input(struct sim_node *n, const struct sim_event *e)
{
	hear(n->sim, n, e);
}

void sim_lock_event(struct sim *s, const struct sim_event *e)
{
	struct sim_node *n = &s->nodes[e->node];

	switch ((enum what)e->peer) {
	case TRY:
		try(s, n, e->tag, e->value);
		break;
	case RENEW:
		renew(s, n, e->tag);
		break;
	case RENEWED:
		renewed(s, n, e->tag, e->value);
		break;
	case RELEASE:
		release(s, n, e->tag);
		break;
	case HELD:
	case CONTENDED:
	case FAILED:
	case LOST:
	case RELEASED:
		break;
	}
}

/* ---- what goes wrong ---- */

/* Its daemon has ended, or its machine lost power: the helper too, sooner or later. */
void sim_lock_crash(struct sim_node *n, bool machine)
{
	struct sim *s = n->sim;
	uint64_t id = n->lock.helper, most = machine ? 3 * dead_ns(s) : dead_ns(s) / 8, ns = s->lock.free_ns;

	n->lock.helper = n->lock.releasing = 0;
	if (id == 0 || s->opt.quorum != CLUSTER_QUORUM_EXTERNAL) {
		return;
	}
	if (ns == 0) {
		/* One in eight looks only now and then whether its daemon is there. */
		ns = 1 + sim_random(s, sim_random(s, 8) == 0 ? 3 * dead_ns(s) : most);
		if (s->opt.bounded && (machine || sim_random(s, 4) == 0)) {
			return;
		}
	} else if (s->opt.bounded && machine) {
		return; /* its lease has to end by itself */
	}
	later(n, RELEASE, id, ns, 0);
}

/* The file was removed, the helper killed, the lease revoked: told, but not yet heard of. */
void sim_lock_lose(struct sim *s)
{
	struct sim_node *n = &s->nodes[s->lock.owner_node];
	uint64_t id = s->lock.owner;

	if (id == 0 || n->lock.helper != id) {
		return;
	}
	sim_trace(s, n, "its helper loses the lock");
	if (!s->opt.bounded) {
		s->lock.owner = 0; /* bounded: killed, the lease goes on to exist */
	}
	later(n, LOST, id, latency(s), 0);
}

void sim_lock_reach(struct sim *s, uint32_t pnn, bool reaches)
{
	sim_trace(s, &s->nodes[pnn], "%s the lock", reaches ? "reaches" : "cannot reach");
	s->nodes[pnn].lock.unreachable = !reaches;
}

void sim_lock_trouble(struct sim *s)
{
	uint32_t p = (uint32_t)sim_random(s, s->opt.nodes);

	s->disturbed = s->now;
	if (s->lock.owner != 0 && sim_random(s, 2) == 0) {
		p = s->lock.owner_node;
	}
	switch (sim_random(s, 4)) {
	case 0:
		sim_lock_lose(s);
		break;
	case 1:
		sim_lock_reach(s, p, sim_random(s, 2) == 0);
		break;
	case 2:
		s->lock.latency_ns = 10000 + sim_random(s, sim_random(s, 3) == 0 ? 2 * dead_ns(s) : dead_ns(s) / 20);
		break;
	default:
		s->lock.hang_permille = sim_random(s, 2) == 0 ? 0 : (uint32_t)sim_random(s, 500);
		break;
	}
}

void sim_lock_calm(struct sim *s)
{
	s->lock.latency_ns = dead_ns(s) / 500;
	s->lock.hang_permille = 0;
	for (uint32_t p = 0; p < s->opt.nodes; p++) {
		s->nodes[p].lock.unreachable = false;
	}
}

void sim_lock_config(struct sim *s, struct cluster_config *config)
{
	config->arbiter_bounded = s->opt.bounded;
	config->arbiter_ms = s->opt.dead_ms * 4;
}
