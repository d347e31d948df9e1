/* The leader's part of a change of the nodes list: begins it, decides it, carries on one that it finds. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/cluster_nodes_internal.h"

#define ANSWER_MS 10000 /* for the members to write it down; twice as long for the files afterwards */

static uint64_t answer_ns(const struct cluster *c)
{
	uint64_t ns = ANSWER_MS * MONO_NS_PER_MS;

	return ns > 4 * cluster_dead_ns(c) ? ns : 4 * cluster_dead_ns(c);
}

static uint32_t next_number(struct cluster *c)
{
	struct cluster_nodes *n = c->nodes;

	if (n->number_term != c->term) {
		n->number_term = c->term;
		n->number = 0;
	}
	return ++n->number;
}

/* Up to the last one that was given up in this term: never the one that is being prepared. */
void cluster_nodes_abort_send(struct cluster *c, struct mono now, uint32_t to)
{
	const struct cluster_nodes *n = c->nodes;
	struct cluster_nodes_mark all = {.next = 1, .term = c->term};

	if (n->number_term == c->term) {
		all.number = n->change.phase == CLUSTER_CHANGE_NONE ? n->number : n->number - 1;
	}
	cluster_nodes_step_send(c, now, to, CLUSTER_NODES_ABORT, &all, c->cfg.nodes_hash, "");
}

static void change_end(struct cluster *c, bool done, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

static void change_end(struct cluster *c, bool done, const char *fmt, ...)
{
	struct cluster_nodes *n = c->nodes;
	bool asked = n->change.asked;
	char text[1000];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	n->change.phase = CLUSTER_CHANGE_NONE;
	n->change.asked = false;
	cluster_event(c, true, "change of the nodes list: %s", text);
	if (asked) {
		c->ops->nodes.done(c->priv, done, text);
	}
}

static void change_begin(struct cluster *c, struct mono now, enum cluster_change_phase phase, uint32_t target,
			 bool asked)
{
	struct cluster_nodes *n = c->nodes;

	n->change.phase = phase;
	n->change.asked = asked;
	n->change.target = target;
	n->change.since = now;
	n->change.next_send = now;
	n->change.text[0] = '\0';
	memset(n->change.answered, 0, sizeof(n->change.answered));
	memset(n->change.told, 0, sizeof(n->change.told));
}

/* ---- asked for ---- */

/* Its clusterd is heard; a link alone says nothing. */
static bool member_ready(const struct cluster *c, struct mono now, uint32_t p)
{
	const struct cluster_peer *peer = &c->peers[p];

	return cluster_configured(c, p) && mono_is_set(peer->heard) && now.ns < peer->heard.ns + cluster_dead_ns(c) &&
	       cluster_peer_agrees(c, p);
}

/* "1, 4": configured others that (not) are ready */
static unsigned nodes_text(const struct cluster *c, struct mono now, bool in_view, char *buf, size_t len)
{
	unsigned n = 0;
	size_t used = 0;

	buf[0] = '\0';
	for (uint32_t p = 0; p < c->cfg.n; p++) {
		if (p == c->cfg.pnn || !cluster_configured(c, p) || member_ready(c, now, p) ||
		    cluster_in_view(c, p) != in_view) {
			continue;
		}
		if (used + 8 < len) {
			used += (size_t)snprintf(buf + used, len - used, "%s%u", n == 0 ? "" : ", ", (unsigned)p);
		}
		n++;
	}
	return n;
}

static char *refuse_target(const struct cluster *c, struct mono now, TALLOC_CTX *mem, uint32_t target)
{
	if (target == c->cfg.pnn) {
		return talloc_asprintf(mem, "node %u is the leader itself: stop its ctdbd first", (unsigned)target);
	}
	if (cluster_configured(c, target) && (cluster_reachable(c, now, target) || cluster_in_view(c, target))) {
		return talloc_asprintf(mem, "node %u is still connected: stop its ctdbd first", (unsigned)target);
	}
	return NULL;
}

/* Live nodes of the new list that can be expected to go on with it. */
static char *refuse_minority(const struct cluster *c, struct mono now, TALLOC_CTX *mem, const struct cluster_list *to)
{
	unsigned live = 0, ready = 1;

	for (uint32_t p = 0; p < to->n; p++) {
		live += to->nodes[p].deleted ? 0 : 1;
		ready += p < c->cfg.n && p != c->cfg.pnn && !to->nodes[p].deleted && member_ready(c, now, p) ? 1 : 0;
	}
	if (c->cfg.quorum != CLUSTER_QUORUM_MAJORITY || ready >= live / 2 + 1 || cluster_list_quorum(c, 0) == 1) {
		return NULL;
	}
	return talloc_asprintf(
		mem,
		"only %u of then %u nodes would be reachable, no majority: start nodes that are down, or "
		"remove those that do not come back",
		ready, live);
}

static int refuse(const struct cluster *c, struct mono now, TALLOC_CTX *mem, const struct cluster_list *to,
		  uint32_t target, char **why)
{
	char names[100];

	for (uint32_t p = 0; p < c->cfg.n; p++) {
		if (p != c->cfg.pnn && member_ready(c, now, p) && c->peers[p].prepared.next != 0) {
			*why = talloc_asprintf(mem,
					       "node %u has not yet finished a former change: try again in a moment",
					       (unsigned)p);
			return EBUSY;
		}
	}
	*why = refuse_target(c, now, mem, target);
	if (*why != NULL) {
		return EBUSY;
	}
	if (nodes_text(c, now, true, names, sizeof(names)) > 0) {
		*why = talloc_asprintf(
			mem, "members of the cluster do not answer (node %s): try again when they do or are out",
			names);
		return EHOSTUNREACH;
	}
	*why = refuse_minority(c, now, mem, to);
	return *why == NULL ? 0 : EHOSTUNREACH;
}

static char *what_is_done(const struct cluster *c, struct mono now, TALLOC_CTX *mem, const struct cluster_list *to,
			  uint32_t target)
{
	const struct cluster_node_config *node = &to->nodes[target];
	bool live = cluster_configured(c, target);
	const char *what = target >= c->cfg.n ? "is added"
			   : node->deleted    ? "is removed"
			   : live             ? "has the address"
					      : "is used again";
	char names[100];
	char *text = talloc_asprintf(mem, "node %u %s%s%s", (unsigned)target, what, node->deleted ? "" : ": ",
				     node->deleted ? "" : node->address);

	if (text != NULL && nodes_text(c, now, false, names, sizeof(names)) > (live ? 1U : 0U)) {
		char *more = talloc_asprintf(mem,
					     "%s\nnode %s is not reachable or kept out and does not get the list: when "
					     "it is back, run 'ctdb node "
					     "reload' on a member",
					     text, names);

		talloc_free(text);
		text = more;
	}
	if (text != NULL && target >= c->cfg.n && cluster_list_quorum(c, 0) == 1 &&
	    c->cfg.quorum == CLUSTER_QUORUM_MAJORITY) {
		char *more = talloc_asprintf(
			mem, "%s\ntwo nodes are a majority only together: this node is not active until node %u is",
			text, (unsigned)target);

		talloc_free(text);
		text = more;
	}
	return text;
}

static int may_begin(const struct cluster *c, struct mono now, TALLOC_CTX *mem, char **why)
{
	const struct cluster_nodes *n = c->nodes;

	if (c->ops->nodes.parse == NULL || n->list.text == NULL) {
		*why = talloc_strdup(mem, "the nodes list cannot be changed here");
		return ENOTSUP;
	}
	if (!cluster_is_leading(c, now)) {
		*why = talloc_strdup(mem, "this node does not lead: ask again in a moment");
		return ESTALE;
	}
	if (n->change.text[0] != '\0' && n->change.phase == CLUSTER_CHANGE_PREPARING) {
		*why = talloc_asprintf(mem, "a former change of the nodes list is not finished: %s", n->change.text);
		return EBUSY;
	}
	if (n->change.phase != CLUSTER_CHANGE_NONE || n->next != NULL || n->pending != NULL || n->writing ||
	    n->file_hash != n->list.hash) {
		*why = talloc_strdup(mem, "another change of the nodes list is under way: try again in a moment");
		return EBUSY;
	}
	return 0;
}

int cluster_nodes_change(struct cluster *c, struct mono now, TALLOC_CTX *mem, const char *text, bool dry_run,
			 char **why)
{
	struct cluster_nodes_prepared *p;
	uint32_t target;
	int ret = may_begin(c, now, mem, why);

	if (ret != 0) {
		return ret;
	}
	p = cluster_prepared_make(c, text, why, mem);
	if (p == NULL) {
		return EINVAL;
	}
	ret = cluster_list_difference(&c->nodes->list, &p->to, &target);
	if (ret != 0) {
		*why = talloc_strdup(mem, ret == EALREADY ? "the list is already the one in use"
							  : "the lists differ in more than one node");
	}
	ret = ret != 0 ? ret : refuse(c, now, mem, &p->to, target, why);
	if (ret == 0) {
		*why = what_is_done(c, now, mem, &p->to, target);
	}
	if (ret != 0 || dry_run) {
		talloc_free(p);
		return ret;
	}
	p->term = c->term;
	p->number = next_number(c);
	change_begin(c, now, CLUSTER_CHANGE_PREPARING, target, true);
	cluster_event(c, true, "change of the nodes list begins: %s", *why != NULL ? *why : "...");
	(void)cluster_nodes_prepare(c, p, c->cfg.pnn, CLUSTER_NODES_PREPARE);
	return 0;
}

int cluster_nodes_adopt(struct cluster *c, struct mono now, TALLOC_CTX *mem, uint32_t pnn, char **why)
{
	int ret = may_begin(c, now, mem, why);

	if (ret == 0 && !cluster_nodes_differs(c, now, pnn)) {
		*why = talloc_asprintf(mem, "node %u has the same list or is not reachable", (unsigned)pnn);
		ret = EINVAL;
	}
	if (ret == 0) {
		change_begin(c, now, CLUSTER_CHANGE_ADOPTING, pnn, true);
	}
	return ret;
}

/* ---- under way ---- */

static bool prepared_here(const struct cluster *c)
{
	const struct cluster_nodes *n = c->nodes;

	return n->next != NULL && n->next->term == c->term && n->next->number == n->number && n->number_term == c->term;
}

static bool has_answered(const struct cluster *c, struct mono now, uint32_t p)
{
	return c->nodes->change.answered[p];
}

/* The node that the change is about may have a lease of a former leader that did not know of the change. */
static bool target_gone(const struct cluster *c, struct mono now)
{
	uint32_t target = c->nodes->change.target;

	return target >= c->cfg.n ||
	       (!cluster_in_view(c, target) && now.ns >= c->peers[target].lost_after.ns + cluster_margin_ns(c));
}

static bool decidable(const struct cluster *c, struct mono now)
{
	if (!prepared_here(c) || !cluster_is_leading(c, now) || !target_gone(c, now)) {
		return false;
	}
	for (uint32_t p = 0; p < c->cfg.n; p++) {
		if (p != c->cfg.pnn && cluster_in_view(c, p) && !c->nodes->change.answered[p]) {
			return false;
		}
	}
	return c->cfg.quorum != CLUSTER_QUORUM_MAJORITY || cluster_is_quorum_of_both(c, now, has_answered);
}

static void prepare_send(struct cluster *c, struct mono now)
{
	struct cluster_nodes *n = c->nodes;
	struct cluster_nodes_mark mark = {.next = n->next->to.hash, .term = n->next->term, .number = n->next->number};

	for (uint32_t p = 0; p < c->cfg.n; p++) {
		if (p != c->cfg.pnn && p != n->change.target && !n->change.answered[p] && member_ready(c, now, p)) {
			n->change.told[p] = true;
			cluster_nodes_step_send(c, now, p, CLUSTER_NODES_PREPARE, &mark, n->next->from,
						n->next->to.text);
		}
	}
}

/* Those that may have written it down and cannot be told that it is given up. */
static unsigned out_of_reach(const struct cluster *c, struct mono now, char *buf, size_t len)
{
	unsigned n = 0;
	size_t used = 0;

	buf[0] = '\0';
	for (uint32_t p = 0; p < c->cfg.n; p++) {
		if (!c->nodes->change.told[p] || member_ready(c, now, p)) {
			continue;
		}
		if (used + 8 < len) {
			used += (size_t)snprintf(buf + used, len - used, "%s%u", n == 0 ? "" : ", ", (unsigned)p);
		}
		n++;
	}
	return n;
}

static void change_abort(struct cluster *c, struct mono now, const char *why)
{
	char names[100];

	cluster_nodes_give_up(c);
	if (out_of_reach(c, now, names, sizeof(names)) == 0) {
		change_end(c, false, "%s: nothing was changed", why);
	} else {
		change_end(
			c, false,
			"%s: given up, the former list stays in use; but node %s was told of the change, is not heard "
			"any more, and would carry on with it if it led: look with 'ctdb node list' when it is back",
			why, names);
	}
	for (uint32_t p = 0; p < c->cfg.n; p++) {
		if (p != c->cfg.pnn && member_ready(c, now, p)) {
			cluster_nodes_abort_send(c, now, p);
		}
	}
}

static void late(struct cluster *c, struct mono now)
{
	char names[100] = "";
	size_t used = 0;

	for (uint32_t p = 0; p < c->cfg.n && used + 8 < sizeof(names); p++) {
		if (cluster_in_view(c, p) && p != c->cfg.pnn && !c->nodes->change.answered[p]) {
			used += (size_t)snprintf(names + used, sizeof(names) - used, "%s%u", used == 0 ? "" : ", ",
						 (unsigned)p);
		}
	}
	if (used > 0) {
		char why[200];

		snprintf(why, sizeof(why), "node %s did not answer in time", names);
		change_abort(c, now, why);
	} else {
		change_abort(c, now, "not enough nodes answered in time");
	}
}

static void preparing(struct cluster *c, struct mono now)
{
	struct cluster_nodes *n = c->nodes;

	if (decidable(c, now)) {
		n->change.phase = CLUSTER_CHANGE_DECIDED;
		n->change.since = now;
		n->change.next_send = mono_add_ms(now, 1); /* to issue a view */
		cluster_nodes_switch(c, now);
		return;
	}
	if (n->change.asked && now.ns >= n->change.since.ns + answer_ns(c)) {
		late(c, now);
		return;
	}
	if (prepared_here(c) && now.ns >= n->change.next_send.ns) {
		/* Nobody waits for what is carried on: who refuses is not asked that often. */
		n->change.next_send =
			n->change.asked ? mono_add_ms(now, c->cfg.heartbeat_ms) : mono_plus(now, cluster_dead_ns(c));
		prepare_send(c, now);
	}
}

/* What the members tell: the new list, and no more than it. */
static unsigned not_written(const struct cluster *c, char *buf, size_t len)
{
	unsigned n = 0;
	size_t used = 0;

	buf[0] = '\0';
	for (uint32_t p = 0; p < c->cfg.n; p++) {
		const struct cluster_peer *peer = &c->peers[p];
		bool written = p == c->cfg.pnn ? c->nodes->file_hash == c->nodes->list.hash
					       : peer->nodes_hash == c->cfg.nodes_hash && peer->prepared.next == 0;

		if (!cluster_in_view(c, p) || written) {
			continue;
		}
		if (used + 8 < len) {
			used += (size_t)snprintf(buf + used, len - used, "%s%u", n == 0 ? "" : ", ", (unsigned)p);
		}
		n++;
	}
	return n;
}

static void decided(struct cluster *c, struct mono now)
{
	char names[100];
	unsigned missing = not_written(c, names, sizeof(names));

	if (missing == 0) {
		change_end(c, true, "done");
	} else if (now.ns >= c->nodes->change.since.ns + 2 * answer_ns(c)) {
		change_end(c, true, "done, but node %s has not written its nodes file yet: see its log", names);
	}
}

static void adopting(struct cluster *c, struct mono now)
{
	struct cluster_nodes *n = c->nodes;
	uint32_t p = n->change.target;
	struct cluster_nodes_mark mark = {.next = n->list.hash, .term = c->term};

	if (c->peers[p].nodes_hash == c->cfg.nodes_hash && c->peers[p].prepared.next == 0) {
		change_end(c, true, "node %u has the list now", (unsigned)p);
	} else if (now.ns >= n->change.since.ns + answer_ns(c)) {
		change_end(c, false, "node %u did not take the list in time: see its log", (unsigned)p);
	} else if (now.ns >= n->change.next_send.ns && !cluster_peer_agrees(c, p)) {
		n->change.next_send = mono_add_ms(now, c->cfg.heartbeat_ms);
		cluster_nodes_step_send(c, now, p, CLUSTER_NODES_ADOPT, &mark, 0, n->list.text);
	}
}

/* Prepared under another leader, or before a restart: see invariant 2. */
static void carry_on(struct cluster *c, struct mono now)
{
	struct cluster_nodes *n = c->nodes;
	struct cluster_nodes_prepared *p;
	uint32_t target;
	char *err = NULL;

	if (n->next == NULL || n->writing || n->pending != NULL || mono_before(now, n->carry_on_at) ||
	    !cluster_is_leading(c, now) || cluster_list_difference(&n->list, &n->next->to, &target) != 0) {
		return;
	}
	if (target == c->cfg.pnn) {
		cluster_nodes_forget(c); /* it would not lead if anybody else could */
		return;
	}
	p = cluster_prepared_make(c, n->next->to.text, &err, n);
	talloc_free(err);
	if (p == NULL) {
		return;
	}
	p->term = c->term;
	p->number = next_number(c);
	change_begin(c, now, CLUSTER_CHANGE_PREPARING, target, false);
	cluster_event(c, true, "carries on with a change of the nodes list that another leader began: node %u",
		      (unsigned)target);
	(void)cluster_nodes_prepare(c, p, c->cfg.pnn, CLUSTER_NODES_PREPARE);
}

static void leading(struct cluster *c, struct mono now)
{
	switch (c->nodes->change.phase) {
	case CLUSTER_CHANGE_NONE:
		carry_on(c, now);
		break;
	case CLUSTER_CHANGE_PREPARING:
		preparing(c, now);
		break;
	case CLUSTER_CHANGE_DECIDED:
		decided(c, now);
		break;
	case CLUSTER_CHANGE_ADOPTING:
		adopting(c, now);
		break;
	}
}

static void lead_lost(struct cluster *c)
{
	if (c->nodes->change.phase == CLUSTER_CHANGE_DECIDED) {
		change_end(c, true, "done; but this node leads no more and does not see whether all have written it");
	} else if (c->nodes->change.phase != CLUSTER_CHANGE_NONE) {
		change_end(c, false,
			   "this node leads no more: the next leader gives it up or carries on with it: look with "
			   "'ctdb node list' before trying again");
	}
}

void cluster_nodes_tick(struct cluster *c, struct mono now)
{
	struct cluster_nodes *n = c->nodes;

	if (mono_reached(n->write_again, now)) {
		n->write_again = MONO_NEVER;
		cluster_nodes_sync(c, now);
	}
	if (c->role == CLUSTER_ROLE_LEADER) {
		leading(c, now);
	} else {
		lead_lost(c);
	}
}

struct mono cluster_nodes_wakeup(const struct cluster *c, struct mono now)
{
	const struct cluster_nodes *n = c->nodes;
	struct mono next = n->write_again;

	if (n->change.phase != CLUSTER_CHANGE_NONE) {
		next = mono_min(next, n->change.next_send.ns > now.ns ? n->change.next_send
								      : mono_add_ms(now, c->cfg.heartbeat_ms));
	}
	return next;
}

void cluster_on_nodes_answer(struct cluster *c, struct mono now, uint32_t from, const struct cluster_nodes_answer *m)
{
	struct cluster_nodes *n = c->nodes;
	char why[sizeof(n->change.text)];

	if (c->role != CLUSTER_ROLE_LEADER) {
		return;
	}
	snprintf(why, sizeof(why), "node %u refuses: %s", (unsigned)from, m->reason);
	if (m->phase == CLUSTER_NODES_ADOPT && n->change.phase == CLUSTER_CHANGE_ADOPTING && from == n->change.target &&
	    !m->accepted) {
		change_end(c, false, "%s", why);
		return;
	}
	if (m->phase != CLUSTER_NODES_PREPARE || n->change.phase != CLUSTER_CHANGE_PREPARING ||
	    m->change.term != c->term || m->change.number != n->number) {
		return;
	}
	if (m->accepted) {
		n->change.answered[from] = true;
	} else if (n->change.asked) {
		change_abort(c, now, why);
	} else if (from != c->cfg.pnn) {
		/* It may have been decided, so it is not given up: whoever waits for the end of it has to know why. */
		if (strcmp(n->change.text, why) != 0) {
			cluster_event(c, true, "change of the nodes list: cannot be finished: %s", why);
		}
		snprintf(n->change.text, sizeof(n->change.text), "%s", why);
	} else {
		n->change.phase = CLUSTER_CHANGE_NONE;
		n->carry_on_at = mono_plus(now, cluster_dead_ns(c));
	}
}
