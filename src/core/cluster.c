/* The cluster core's inputs, its own state (lease, view, whether it may act) and what it tells the daemon. */
#include "core/cluster.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/cluster_internal.h"

void cluster_event(struct cluster *c, bool important, const char *fmt, ...)
{
	char text[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	c->ops->event(c->priv, important, text);
}

bool cluster_complains(struct cluster *c, struct mono now)
{
	if (mono_before(now, c->complain_again)) {
		return false;
	}
	c->complain_again = mono_add_ms(now, 60000);
	return true;
}

/* splitmix64: only spreads elections in time, nothing depends on its quality. */
uint64_t cluster_random(struct cluster *c, uint64_t below)
{
	uint64_t z = (c->random += 0x9E3779B97F4A7C15ULL);

	z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
	z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
	z ^= z >> 31;
	return below == 0 ? 0 : z % below;
}

bool cluster_flags_inactive(uint32_t flags)
{
	return (flags & (NODE_FLAG_BANNED | NODE_FLAG_STOPPED | NODE_FLAG_DELETED)) != 0;
}

bool cluster_configured(const struct cluster *c, uint32_t pnn)
{
	return pnn < c->cfg.n && !c->peers[pnn].deleted;
}

unsigned cluster_quorum_size(const struct cluster *c)
{
	unsigned configured = 0;

	for (uint32_t p = 0; p < c->cfg.n; p++) {
		configured += cluster_configured(c, p) ? 1 : 0;
	}
	return configured / 2 + 1;
}

/* By its link, or because a packet of it came: links are told with a delay. */
bool cluster_reachable(const struct cluster *c, struct mono now, uint32_t pnn)
{
	const struct cluster_peer *peer = &c->peers[pnn];

	return peer->link || (mono_is_set(peer->heard) && now.ns < peer->heard.ns + cluster_dead_ns(c));
}

/* ---- lease and view of this node ---- */

bool cluster_has_lease(const struct cluster *c, struct mono now)
{
	return mono_before(now, c->lease_until);
}

uint32_t cluster_lease_leader(const struct cluster *c, struct mono now)
{
	return cluster_has_lease(c, now) && c->lease_term == c->term ? c->leader : CLUSTER_NODE_NONE;
}

uint32_t cluster_leader(const struct cluster *c, struct mono now)
{
	return cluster_lease_leader(c, now);
}

bool cluster_view_newer(const struct cluster_view *v, uint64_t term, uint64_t number)
{
	return v->term > term || (v->term == term && v->number > number);
}

bool cluster_in_view(const struct cluster *c, uint32_t pnn)
{
	return pnn < c->view.members.n && (c->view.members.v[pnn].flags & NODE_FLAG_DISCONNECTED) == 0;
}

static int view_copy(TALLOC_CTX *mem, const struct cluster_view *from, struct cluster_view *to)
{
	struct cluster_view v = *from;

	v.members.v = talloc_array(mem, struct view_member, from->members.n);
	if (v.members.v == NULL) {
		return ENOMEM;
	}
	for (uint32_t p = 0; p < from->members.n; p++) {
		v.members.v[p] = from->members.v[p];
		v.members.v[p].address = talloc_strdup(v.members.v, from->members.v[p].address);
		if (v.members.v[p].address == NULL) {
			talloc_free(v.members.v);
			return ENOMEM;
		}
	}
	*to = v;
	return 0;
}

static void view_note_changes(struct cluster *c, struct mono now, const struct cluster_view *old)
{
	for (uint32_t p = 0; p < c->cfg.n; p++) {
		bool was = p < old->members.n && (old->members.v[p].flags & NODE_FLAG_DISCONNECTED) == 0;
		bool is = cluster_in_view(c, p);

		if (was != is || old->number == 0) {
			c->peers[p].out_since = is ? MONO_NEVER : now;
		}
		if (was != is) {
			cluster_event(c, true, "node %u is %s the view", (unsigned)p, is ? "in" : "out of");
		}
	}
}

/* Followers tell their flags to the leader only: whoever stands has to know who else will. */
static void view_teaches(struct cluster *c)
{
	for (uint32_t p = 0; p < c->view.members.n; p++) {
		const struct view_member *m = &c->view.members.v[p];

		if (p != c->cfg.pnn && c->view.leader != c->cfg.pnn && cluster_in_view(c, p)) {
			c->peers[p].flags = m->flags;
			c->peers[p].capabilities = m->capabilities;
		}
	}
}

/* The one place where the view changes. EINVAL: not a view of this nodes list; ESTALE: not newer (invariant 4). */
int cluster_view_take(struct cluster *c, struct mono now, const struct cluster_view *view)
{
	struct cluster_view old = c->view;
	int ret;

	/* One node less: of a leader that has not yet seen that a change of the nodes list is decided. */
	if (view->members.n > c->cfg.n || view->members.n + 1 < c->cfg.n || view->leader >= view->members.n ||
	    view->term > CLUSTER_TERM_MAX || view->number > CLUSTER_TERM_MAX) {
		return EINVAL;
	}
	for (uint32_t p = 0; p < view->members.n; p++) {
		if (view->members.v[p].pnn != p) {
			return EINVAL;
		}
	}
	if (!cluster_view_newer(view, old.term, old.number) && !CLUSTER_PLANTED(c, OLD_VIEW)) {
		return ESTALE;
	}
	ret = view_copy(c, view, &c->view);
	if (ret != 0) {
		return ret;
	}
	c->view_since = now;
	cluster_event(c, true, "view %llu.%llu of leader %u", (unsigned long long)view->term,
		      (unsigned long long)view->number, (unsigned)view->leader);
	view_teaches(c);
	view_note_changes(c, now, &old);
	talloc_free(old.members.v);
	return 0;
}

static const char *why_no_lease(const struct cluster *c, struct mono now, char *buf, size_t len)
{
	unsigned configured = 0;

	if (mono_is_set(c->odd_at) && now.ns < c->odd_at.ns + 2 * cluster_dead_ns(c)) {
		const char *difference = c->peers[c->odd_leader].difference;

		if (difference != NULL) {
			snprintf(buf, len, "kept out by leader node %u: %s; run 'ctdb node reload' there",
				 (unsigned)c->odd_leader, difference);
			return buf;
		}
		snprintf(buf, len,
			 "nodes file, arbitration or dead interval differs from that of leader node %u: make them "
			 "equal and restart",
			 (unsigned)c->odd_leader);
		return buf;
	}
	if (cluster_mesh_barred_by(c, now) != CLUSTER_NODE_NONE) {
		snprintf(buf, len,
			 "node %u cannot reach node %u: left out by the leader; check the network between them",
			 (unsigned)c->cfg.pnn, (unsigned)c->mesh.barred_by);
		return buf;
	}
	for (uint32_t p = 0; p < c->cfg.n; p++) {
		configured += cluster_configured(c, p) ? 1 : 0;
	}
	if (c->cfg.quorum == CLUSTER_QUORUM_MAJORITY && !cluster_is_quorum(c, now, cluster_askable)) {
		snprintf(buf, len, "no leader: %u of %u configured nodes reachable, majority needs %u",
			 cluster_others(c, now) + 1, configured, cluster_quorum_size(c));
		return buf;
	}
	if (c->cfg.quorum == CLUSTER_QUORUM_EXTERNAL && c->arbiter.refusals > 0) {
		bool contended = c->arbiter.answer == CLUSTER_ARBITER_CONTENDED;

		snprintf(buf, len, "no leader: %s%.120s%s",
			 contended ? "another node holds the cluster lock, but is not heard"
				   : "the cluster lock cannot be taken: ",
			 contended ? "" : c->arbiter.text,
			 contended ? ": check the network between the nodes" : ": check what holds the lock");
		return buf;
	}
	if (c->leader != CLUSTER_NODE_NONE) {
		snprintf(buf, len, "waiting for a lease from leader node %u", (unsigned)c->leader);
		return buf;
	}
	if (mono_is_set(cluster_claim_bars(c, now, c->cfg.pnn))) {
		snprintf(buf, len, "node %u leads, but this node cannot reach it: check the network between them",
			 (unsigned)c->claim.leader);
		return buf;
	}
	return "no leader: waiting for the election";
}

/* NULL: this node may act. */
const char *cluster_why_inactive(const struct cluster *c, struct mono now, char *buf, size_t len)
{
	uint32_t flags = c->peers[c->cfg.pnn].flags;

	if (c->left) {
		return "this node is leaving the cluster";
	}
	if ((flags & NODE_FLAG_BANNED) != 0 && !CLUSTER_PLANTED(c, BANNED_ACTS)) {
		return "this node is banned";
	}
	if ((flags & NODE_FLAG_STOPPED) != 0 && !CLUSTER_PLANTED(c, BANNED_ACTS)) {
		return "this node is stopped";
	}
	if (!cluster_has_lease(c, now)) {
		return why_no_lease(c, now, buf, len);
	}
	if (!cluster_in_view(c, c->cfg.pnn)) {
		return "the leader has not yet added this node to the view";
	}
	/* Without a lease for a while it may have been left out by a view that it has not seen; see invariant 3. */
	if (c->lapsed && c->view.term != c->lease_term && !CLUSTER_PLANTED(c, LEASE_IS_ALL)) {
		return "waiting for the new leader's first view";
	}
	return NULL;
}

bool cluster_is_active(const struct cluster *c, struct mono now)
{
	char buf[CLUSTER_REASON_SIZE];

	return cluster_why_inactive(c, now, buf, sizeof(buf)) == NULL;
}

/* ---- after each input ---- */

static void tell(struct cluster *c, struct mono now)
{
	char buf[CLUSTER_REASON_SIZE];
	const char *why = cluster_why_inactive(c, now, buf, sizeof(buf));
	bool active = why == NULL;
	bool changed;

	if (!cluster_has_lease(c, now)) {
		c->lapsed = true;
	} else if (active) {
		c->lapsed = false;
	}
	/* Banned or stopped is known at once, and must not wait: other daemons go by what a former process told. */
	if (active || cluster_flags_inactive(c->peers[c->cfg.pnn].flags) ||
	    !mono_before(now, mono_plus(c->started, cluster_dead_ns(c)))) {
		c->settled = true;
	}
	why = active ? "" : why;
	changed = active != c->told_active || strcmp(why, c->told_reason) != 0 || c->view.term != c->told_term ||
		  c->view.number != c->told_number;
	if (active != c->told_active) {
		cluster_event(c, true, active ? "this node is active" : "this node is not active: %s", why);
	}
	c->told_active = active;
	snprintf(c->told_reason, CLUSTER_REASON_SIZE, "%s", why);
	c->told_term = c->view.term;
	c->told_number = c->view.number;
	if (changed) {
		c->told_lease = c->lease_until;
		c->ops->changed(c->priv);
	} else if (active && c->lease_until.ns > c->told_lease.ns + cluster_dead_ns(c) / 16) {
		c->told_lease = c->lease_until;
		c->ops->lease(c->priv, c->lease_until);
	}
}

static void finish(struct cluster *c, struct mono now)
{
	struct mono next = mono_plus(now, cluster_dead_ns(c));

	cluster_nodes_tick(c, now);
	tell(c, now);
	if (cluster_has_lease(c, now)) {
		next = mono_min(next, c->lease_until);
	}
	if (!c->settled) {
		next = mono_min(next, mono_plus(c->started, cluster_dead_ns(c)));
	}
	next = mono_min(next, c->write_again);
	next = mono_min(next, cluster_election_wakeup(c, now));
	next = mono_min(next, cluster_leader_wakeup(c, now));
	next = mono_min(next, cluster_claim_wakeup(c, now));
	next = mono_min(next, cluster_nodes_wakeup(c, now));
	next = mono_min(next, cluster_arbiter_wakeup(c, now));
	/* Never at once again: whatever is due was done just now. */
	if (next.ns < now.ns + MONO_NS_PER_MS) {
		next = mono_add_ms(now, 1);
	}
	c->wakeup = next;
}

/* A late wake-up: this process stood still. Packets of the others wait unread, so nobody is accused before they had
 * time to be seen. */
static void clock_check(struct cluster *c, struct mono now)
{
	uint64_t dead = cluster_dead_ns(c);

	if (!mono_is_set(c->wakeup) || now.ns <= c->wakeup.ns + dead / 2) {
		return;
	}
	cluster_event(c, true, "stalled for %llu ms: other nodes get time to be heard",
		      (unsigned long long)mono_ms_between(c->wakeup, now));
	c->grace = mono_plus(now, dead);
	if (mono_is_set(c->stand_base) && c->stand_base.ns < now.ns + cluster_promise_ns(c)) {
		c->stand_base = mono_plus(now, cluster_promise_ns(c));
	}
}

/* ---- inputs ---- */

static int config_copy(struct cluster *c, const struct cluster_config *config)
{
	c->cfg = *config;
	c->cfg.nodes = NULL;
	c->peers = talloc_zero_array(c, struct cluster_peer, config->n);
	c->told_reason = talloc_zero_array(c, char, CLUSTER_REASON_SIZE);
	if (c->peers == NULL || c->told_reason == NULL || cluster_nodes_init(c, config) != 0) {
		return ENOMEM;
	}
	for (uint32_t p = 0; p < config->n; p++) {
		c->peers[p].address = talloc_strdup(c->peers, config->nodes[p].address);
		c->peers[p].deleted = config->nodes[p].deleted;
		c->peers[p].out_since = c->started;
		c->peers[p].nodes_hash = config->nodes_hash;
		if (c->peers[p].address == NULL) {
			return ENOMEM;
		}
	}
	return 0;
}

static void restore(struct cluster *c, struct mono now)
{
	uint64_t dead = cluster_dead_ns(c);

	c->written = c->cfg.durable;
	c->term = c->cfg.durable.term;
	c->vote = c->cfg.durable.term == 0 ? CLUSTER_NODE_NONE : c->cfg.durable.vote;
	c->promise = c->cfg.promise;
	/* What a former process promised is past when every lease of the leader it was given to is. */
	c->fresh = !mono_is_set(c->promise.until) || now.ns > c->promise.until.ns + dead;
	if (!mono_before(now, c->promise.until)) {
		c->promise = (struct cluster_promise){.until = MONO_NEVER, .to = CLUSTER_NODE_NONE};
	}
}

struct cluster *cluster_new(TALLOC_CTX *mem, const struct cluster_config *config, const struct cluster_ops *ops,
			    void *priv, struct mono now)
{
	struct cluster *c = talloc_zero(mem, struct cluster);

	if (c == NULL || config->n == 0 || config->n > NODES_MAX || config->pnn >= config->n ||
	    (config->quorum == CLUSTER_QUORUM_EXTERNAL && (ops->arbiter == NULL || ops->arbiter_holds == NULL))) {
		talloc_free(c);
		return NULL;
	}
	c->ops = ops;
	c->priv = priv;
	c->started = now;
	c->view_since = now;
	if (config_copy(c, config) != 0) {
		talloc_free(c);
		return NULL;
	}
	c->random = config->seed ^ config->incarnation;
	c->leader = CLUSTER_NODE_NONE;
	c->owed_to = CLUSTER_NODE_NONE;
	c->claim.leader = CLUSTER_NODE_NONE;
	c->mesh.barred_by = c->mesh.bars = CLUSTER_NODE_NONE;
	c->view.leader = CLUSTER_NODE_NONE;
	c->lapsed = true;
	c->peers[config->pnn].flags = config->flags;
	c->peers[config->pnn].capabilities = config->capabilities;
	c->peers[config->pnn].incarnation = config->incarnation;
	snprintf(c->told_reason, CLUSTER_REASON_SIZE, "starting");
	restore(c, now);
	cluster_election_start(c, now);
	finish(c, now);
	return c;
}

void cluster_tick(struct cluster *c, struct mono now)
{
	cluster_arbiter_hand_tick(c, now);
	if (c->left) {
		c->wakeup = mono_min(cluster_arbiter_wakeup(c, now), mono_plus(now, cluster_dead_ns(c)));
		return;
	}
	clock_check(c, now);
	if (mono_reached(c->write_again, now)) {
		c->write_again = MONO_NEVER;
		cluster_write(c, now);
	}
	cluster_leader_tick(c, now);
	cluster_election_tick(c, now);
	finish(c, now);
}

void cluster_link(struct cluster *c, struct mono now, uint32_t pnn, bool up)
{
	struct cluster_peer *peer;

	if (c->left || pnn == c->cfg.pnn || !cluster_configured(c, pnn) || c->peers[pnn].link == up) {
		return;
	}
	clock_check(c, now);
	peer = &c->peers[pnn];
	peer->link = up;
	peer->link_since = now;
	peer->silent = false;
	cluster_event(c, false, "link to node %u is %s", (unsigned)pnn, up ? "up" : "down");
	if (up) {
		cluster_hello_send(c, now, pnn, false);
		if (c->role == CLUSTER_ROLE_LEADER) {
			cluster_grant_send(c, now, pnn);
		}
	}
	cluster_leader_tick(c, now);
	cluster_election_tick(c, now);
	finish(c, now);
}

/* What every packet tells about its sender. */
struct origin {
	uint64_t incarnation, stamp, nodes_hash, term;
	struct cluster_nodes_mark prepared;
	uint64_t other_term; /* of somebody else, that it tells; 0: none */
};

static struct origin origin_of(const struct cluster *c, uint32_t from, const struct cluster_msg *msg)
{
	const struct cluster_peer *peer = &c->peers[from];
	struct origin o;

#define ORIGIN(m) ((struct origin){(m).incarnation, (m).stamp, (m).nodes_hash, (m).term, (m).prepared, 0})
	switch (msg->kind) {
	case CLUSTER_MSG_HELLO:
		o = ORIGIN(msg->u.hello);
		o.other_term = msg->u.hello.claim_leader == CLUSTER_NODE_NONE ? 0 : msg->u.hello.claim_term;
		return o;
	case CLUSTER_MSG_VOTE_REQUEST:
		return ORIGIN(msg->u.vote_request);
	case CLUSTER_MSG_VOTE_REPLY:
		return ORIGIN(msg->u.vote_reply);
	case CLUSTER_MSG_LEASE_GRANT:
		return ORIGIN(msg->u.lease_grant);
	case CLUSTER_MSG_LEASE_ACK:
		return ORIGIN(msg->u.lease_ack);
	case CLUSTER_MSG_NODES_STEP:
		o = ORIGIN(msg->u.nodes_step);
		o.other_term = msg->u.nodes_step.change.term;
		return o;
	case CLUSTER_MSG_NODES_ANSWER:
		return ORIGIN(msg->u.nodes_answer);
	case CLUSTER_MSG_HANDOVER:
		break;
	}
#undef ORIGIN
	return (struct origin){peer->incarnation, peer->stamp, peer->nodes_hash, 0, peer->prepared, 0};
}

/* False: of a process that is gone. A number that stays low belongs to a node that lost its files. */
static bool incarnation_check(const struct cluster *c, struct mono now, struct cluster_peer *peer, uint64_t incarnation)
{
	if (peer->incarnation == incarnation) {
		return true;
	}
	if (incarnation < peer->incarnation && now.ns < peer->heard.ns + 3 * cluster_dead_ns(c)) {
		return false;
	}
	peer->incarnation = incarnation;
	peer->stamp = 0;
	peer->view_term = peer->view_number = 0;
	peer->leaving = false;
	return true;
}

/* See CLUSTER_TERM_AHEAD. */
static bool term_possible(const struct cluster *c, uint64_t term)
{
	uint64_t least = c->term > CLUSTER_TERM_WALL ? c->term : CLUSTER_TERM_WALL;

	return term <= CLUSTER_TERM_MAX && term <= least + CLUSTER_TERM_AHEAD;
}

static bool terms_possible(const struct cluster *c, const struct origin *o)
{
	return term_possible(c, o->term) && term_possible(c, o->other_term) &&
	       (o->prepared.next == 0 || term_possible(c, o->prepared.term));
}

static bool peer_heard(struct cluster *c, struct mono now, uint32_t from, const struct cluster_msg *msg)
{
	struct cluster_peer *peer = &c->peers[from];
	struct origin o = origin_of(c, from, msg);

	if (!terms_possible(c, &o)) {
		if (cluster_complains(c, now)) {
			cluster_event(c, true,
				      "node %u tells an impossible term: its packets are dropped; stop it, remove its "
				      "cluster-term file, start it",
				      (unsigned)from);
		}
		return false;
	}
	if (!incarnation_check(c, now, peer, o.incarnation)) {
		return false;
	}
	if (o.term > c->arbiter.term_seen && cluster_list_shared(c, o.nodes_hash, o.prepared.next)) {
		c->arbiter.term_seen = o.term;
	}
	peer->heard = now;
	peer->silent = false;
	if (o.stamp > peer->stamp) {
		peer->stamp = o.stamp;
		peer->stamp_at = now;
	}
	if (o.stamp >= peer->stamp) {
		cluster_nodes_heard(c, from, o.nodes_hash, &o.prepared);
	}
	return true;
}

void cluster_message(struct cluster *c, struct mono now, uint32_t from, const struct cluster_msg *msg)
{
	if (c->left || from == c->cfg.pnn || !cluster_configured(c, from)) {
		return;
	}
	clock_check(c, now);
	if (!peer_heard(c, now, from, msg)) {
		return;
	}
	cluster_mesh_heard(c, now, from);
	/* Before anybody looks at the packet: it may be about the new list. */
	cluster_nodes_follow(c, now, from);
	switch (msg->kind) {
	case CLUSTER_MSG_HELLO:
		cluster_on_hello(c, now, from, &msg->u.hello);
		break;
	case CLUSTER_MSG_VOTE_REQUEST:
		cluster_on_vote_request(c, now, from, &msg->u.vote_request);
		break;
	case CLUSTER_MSG_VOTE_REPLY:
		cluster_on_vote_reply(c, now, from, &msg->u.vote_reply);
		break;
	case CLUSTER_MSG_LEASE_GRANT:
		cluster_on_grant(c, now, from, &msg->u.lease_grant);
		break;
	case CLUSTER_MSG_LEASE_ACK:
		cluster_on_ack(c, now, from, &msg->u.lease_ack);
		break;
	case CLUSTER_MSG_HANDOVER:
		cluster_on_handover(c, now, from, &msg->u.handover);
		break;
	case CLUSTER_MSG_NODES_STEP:
		cluster_on_nodes_step(c, now, from, &msg->u.nodes_step);
		break;
	case CLUSTER_MSG_NODES_ANSWER:
		cluster_on_nodes_answer(c, now, from, &msg->u.nodes_answer);
		break;
	}
	finish(c, now);
}

/* The node says something new of itself. */
static void own_changed(struct cluster *c, struct mono now, const char *why)
{
	if (c->role == CLUSTER_ROLE_LEADER && !cluster_may_lead(c)) {
		cluster_hand_over(c, now, false, why);
	} else if (!cluster_may_lead(c)) {
		cluster_role_set(c, now, CLUSTER_ROLE_FOLLOWER, why);
	}
	cluster_leader_tick(c, now);
	cluster_election_start(c, now);
	finish(c, now);
}

void cluster_set_flags(struct cluster *c, struct mono now, uint32_t flags)
{
	/* Connectivity and the nodes list are not a node's own to say. */
	flags &= ~(uint32_t)(NODE_FLAG_DISCONNECTED | NODE_FLAG_DELETED);
	if (c->left || c->peers[c->cfg.pnn].flags == flags) {
		return;
	}
	c->peers[c->cfg.pnn].flags = flags;
	own_changed(c, now, "no longer active");
}

void cluster_set_capabilities(struct cluster *c, struct mono now, uint32_t capabilities)
{
	capabilities &= NODE_CAP_LEADER | NODE_CAP_LMASTER;
	if (c->left || c->peers[c->cfg.pnn].capabilities == capabilities) {
		return;
	}
	c->peers[c->cfg.pnn].capabilities = capabilities;
	own_changed(c, now, "no longer to lead");
}

int cluster_resign(struct cluster *c, struct mono now, uint32_t to)
{
	int ret = cluster_resign_to(c, now, to);

	if (ret == 0) {
		finish(c, now);
	}
	return ret;
}

void cluster_arbiter(struct cluster *c, struct mono now, enum cluster_arbiter_answer answer, struct mono until,
		     const char *text)
{
	cluster_arbiter_answered(c, now, answer, until, text);
	if (!c->left) {
		finish(c, now);
	}
}

void cluster_leave(struct cluster *c, struct mono now)
{
	if (c->left) {
		return;
	}
	c->left = true;
	c->lease_until = MONO_NEVER;
	tell(c, now);
	if (c->role == CLUSTER_ROLE_LEADER) {
		cluster_hand_over(c, now, true, "this node leaves");
	} else {
		cluster_leave_send(c, now);
		cluster_role_set(c, now, CLUSTER_ROLE_FOLLOWER, "this node leaves");
	}
	c->wakeup = mono_min(cluster_arbiter_wakeup(c, now), mono_plus(now, cluster_dead_ns(c)));
}

/* ---- answers ---- */

struct mono cluster_wakeup(const struct cluster *c)
{
	return c->wakeup;
}

void cluster_tell_state(const struct cluster *c, struct mono now, struct cluster_state *state)
{
	state->view = c->view;
	state->active = c->told_active && cluster_has_lease(c, now);
	state->reason = c->told_reason;
	state->lease_until = state->active ? c->lease_until.ns : 0;
}

bool cluster_left(const struct cluster *c)
{
	return c->left && !cluster_arbiter_busy(c);
}

bool cluster_settled(const struct cluster *c)
{
	return c->settled;
}

enum cluster_role cluster_role(const struct cluster *c)
{
	return c->role;
}

uint64_t cluster_term(const struct cluster *c)
{
	return c->term;
}

const struct cluster_view *cluster_newest_view(const struct cluster *c)
{
	return &c->view;
}
