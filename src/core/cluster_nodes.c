/* The nodes list of the cluster core: lists in use together, majorities of them, what a node writes down and follows.
 */
#include "core/cluster_nodes.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/cluster_nodes_internal.h"

#define COMPLAIN_NS (60 * MONO_NS_PER_S)

/* ---- lists ---- */

int cluster_list_copy(TALLOC_CTX *mem, const struct cluster_list *from, struct cluster_list *to)
{
	struct cluster_node_config *nodes = talloc_array(mem, struct cluster_node_config, from->n);

	*to = (struct cluster_list){.hash = from->hash, .n = from->n, .nodes = nodes};
	if (nodes == NULL) {
		return ENOMEM;
	}
	for (uint32_t p = 0; p < from->n; p++) {
		nodes[p].deleted = from->nodes[p].deleted;
		nodes[p].address = talloc_strdup(nodes, from->nodes[p].address);
		nodes[p].more = from->nodes[p].more == NULL ? NULL : talloc_strdup(nodes, from->nodes[p].more);
		if (nodes[p].address == NULL || (from->nodes[p].more != NULL && nodes[p].more == NULL)) {
			return ENOMEM;
		}
	}
	if (from->text != NULL) {
		to->text = talloc_strdup(mem, from->text);
		return to->text == NULL ? ENOMEM : 0;
	}
	return 0;
}

static bool same_text(const char *a, const char *b)
{
	return strcmp(a == NULL ? "" : a, b == NULL ? "" : b) == 0;
}

static bool same_node(const struct cluster_node_config *a, const struct cluster_node_config *b)
{
	return a->deleted == b->deleted &&
	       (a->deleted || (same_text(a->address, b->address) && same_text(a->more, b->more)));
}

int cluster_list_difference(const struct cluster_list *a, const struct cluster_list *b, uint32_t *pnn)
{
	unsigned n = b->n > a->n ? b->n - a->n : 0;

	if (b->n < a->n || n > 1) {
		return EINVAL;
	}
	*pnn = a->n; /* if added */
	for (uint32_t p = 0; p < a->n; p++) {
		if (!same_node(&a->nodes[p], &b->nodes[p])) {
			*pnn = p;
			n++;
		}
	}
	return n == 1 ? 0 : (n == 0 ? EALREADY : EINVAL);
}

/* ---- majorities ---- */

static unsigned live_nodes(const struct cluster_list *list)
{
	unsigned n = 0;

	for (uint32_t p = 0; p < list->n; p++) {
		n += list->nodes[p].deleted ? 0 : 1;
	}
	return n;
}

static const struct cluster_list *list_of(const struct cluster *c, unsigned list)
{
	return list == 0 ? &c->nodes->list : &c->nodes->next->to;
}

bool cluster_list_counts(const struct cluster *c, unsigned list, uint32_t pnn)
{
	const struct cluster_list *l = list_of(c, list);

	return pnn < l->n && !l->nodes[pnn].deleted;
}

unsigned cluster_list_quorum(const struct cluster *c, unsigned list)
{
	return live_nodes(list_of(c, list)) / 2 + 1;
}

static bool is_quorum_of(const struct cluster *c, struct mono now, unsigned list,
			 bool (*have)(const struct cluster *c, struct mono now, uint32_t pnn))
{
	unsigned n = 1;

	for (uint32_t p = 0; p < c->cfg.n; p++) {
		n += p != c->cfg.pnn && cluster_list_counts(c, list, p) && have(c, now, p) ? 1 : 0;
	}
	return n >= cluster_list_quorum(c, list);
}

bool cluster_is_quorum(const struct cluster *c, struct mono now,
		       bool (*have)(const struct cluster *c, struct mono now, uint32_t pnn))
{
	return is_quorum_of(c, now, 0, have);
}

/* The one node of a list of one decides alone that there are two: see cluster_nodes.h. */
bool cluster_is_quorum_of_both(const struct cluster *c, struct mono now,
			       bool (*have)(const struct cluster *c, struct mono now, uint32_t pnn))
{
	return is_quorum_of(c, now, 0, have) && (live_nodes(&c->nodes->list) == 1 || is_quorum_of(c, now, 1, have));
}

/* ---- who belongs to the same cluster ---- */

bool cluster_list_shared(const struct cluster *c, uint64_t hash, uint64_t next)
{
	return hash == c->cfg.nodes_hash || next == c->cfg.nodes_hash ||
	       (c->nodes->next != NULL && hash == c->nodes->next->to.hash);
}

bool cluster_peer_agrees(const struct cluster *c, uint32_t pnn)
{
	return pnn == c->cfg.pnn || cluster_list_shared(c, c->peers[pnn].nodes_hash, c->peers[pnn].prepared.next);
}

bool cluster_nodes_differs(const struct cluster *c, struct mono now, uint32_t pnn)
{
	return cluster_configured(c, pnn) && pnn != c->cfg.pnn && cluster_reachable(c, now, pnn) &&
	       !cluster_peer_agrees(c, pnn);
}

uint64_t cluster_nodes_digest_of(const struct cluster *c, uint32_t pnn)
{
	return c->peers[pnn].nodes_hash;
}

bool cluster_mark_above(const struct cluster_nodes_mark *a, uint64_t term, uint32_t number)
{
	return a->next != 0 && (a->term > term || (a->term == term && a->number > number));
}

static struct cluster_nodes_mark mark_of(const struct cluster_nodes_prepared *p)
{
	return (struct cluster_nodes_mark){.next = p->to.hash, .term = p->term, .number = p->number};
}

struct cluster_nodes_mark cluster_nodes_mark(const struct cluster *c)
{
	const struct cluster_nodes *n = c->nodes;

	if (n->file_hash != n->list.hash) {
		return (struct cluster_nodes_mark){.next = n->list.hash};
	}
	return n->next == NULL ? (struct cluster_nodes_mark){.next = 0} : mark_of(n->next);
}

bool cluster_nodes_fresh(const struct cluster *c, uint64_t hash, const struct cluster_nodes_mark *mark)
{
	const struct cluster_nodes_prepared *next = c->nodes->next;

	return next == NULL || hash == next->to.hash ||
	       (mark->next != 0 &&
		!cluster_mark_above(&(struct cluster_nodes_mark){.next = 1, .term = next->term, .number = next->number},
				    mark->term, mark->number));
}

bool cluster_nodes_bars(const struct cluster *c, uint32_t pnn)
{
	const struct cluster_nodes_prepared *next = c->nodes->next;

	if (c->role == CLUSTER_ROLE_LEADER && c->nodes->change.phase == CLUSTER_CHANGE_PREPARING &&
	    c->nodes->change.target == pnn) {
		return true;
	}
	return next != NULL && pnn < c->nodes->list.n && pnn < next->to.n &&
	       !same_node(&c->nodes->list.nodes[pnn], &next->to.nodes[pnn]);
}

void cluster_nodes_heard(struct cluster *c, uint32_t from, uint64_t hash, const struct cluster_nodes_mark *mark)
{
	struct cluster_peer *peer = &c->peers[from];
	bool agreed = cluster_peer_agrees(c, from), changed = peer->nodes_hash != hash;

	peer->nodes_hash = hash;
	peer->prepared = *mark;
	if (changed) {
		TALLOC_FREE(peer->difference);
	}
	if (agreed && !cluster_peer_agrees(c, from)) {
		cluster_event(c, true,
			      "nodes file, arbitration or dead interval of node %u differs from this node's: "
			      "it is kept out",
			      (unsigned)from);
	} else if (!agreed && cluster_peer_agrees(c, from)) {
		cluster_event(c, true, "node %u has the same nodes list as this node from now on", (unsigned)from);
	}
}

void cluster_nodes_explain(struct cluster *c, uint32_t pnn, const char *text)
{
	if (pnn < c->cfg.n && !cluster_peer_agrees(c, pnn)) {
		talloc_free(c->peers[pnn].difference);
		c->peers[pnn].difference = talloc_strdup(c->peers, text);
	}
}

/* ---- the list in use changes ---- */

/* One that is new, has moved or is back: nothing is known of it. */
static int peer_renew(struct cluster *c, struct mono now, uint32_t p, const struct cluster_node_config *node)
{
	struct cluster_peer *peer = &c->peers[p];
	char *address = talloc_strdup(c->peers, node->address);

	if (address == NULL) {
		return ENOMEM;
	}
	talloc_free(peer->address);
	talloc_free(peer->difference);
	*peer = (struct cluster_peer){
		.address = address, .deleted = node->deleted, .nodes_hash = c->cfg.nodes_hash, .out_since = now};
	return 0;
}

static int peers_resize(struct cluster *c, uint32_t n)
{
	struct cluster_peer *peers;

	if (n <= c->cfg.n) {
		return 0;
	}
	peers = talloc_realloc(c, c->peers, struct cluster_peer, n);
	if (peers == NULL) {
		return ENOMEM;
	}
	memset(peers + c->cfg.n, 0, (n - c->cfg.n) * sizeof(*peers));
	c->peers = peers;
	c->cfg.n = n;
	return 0;
}

static int list_use(struct cluster *c, struct mono now, const struct cluster_list *list)
{
	struct cluster_nodes *n = c->nodes;
	TALLOC_CTX *mem = talloc_new(n);
	struct cluster_list copy;
	uint32_t before = c->cfg.n;
	uint64_t before_hash = c->cfg.nodes_hash;

	if (mem == NULL || cluster_list_copy(mem, list, &copy) != 0 || peers_resize(c, copy.n) != 0) {
		talloc_free(mem);
		return ENOMEM;
	}
	c->cfg.nodes_hash = copy.hash;
	for (uint32_t p = 0; p < copy.n; p++) {
		bool other = p >= before || p >= n->list.n || !same_node(&n->list.nodes[p], &copy.nodes[p]);

		if (other && p != c->cfg.pnn && peer_renew(c, now, p, &copy.nodes[p]) != 0) {
			cluster_event(c, true, "out of memory: node %u keeps its former address here", (unsigned)p);
		}
		/* Followers do not hear each other: what was told long ago says nothing. Who really has the former list
		 * will say so. */
		if (!mono_is_set(c->peers[p].heard) || c->peers[p].nodes_hash == before_hash) {
			c->peers[p].nodes_hash = copy.hash;
		}
	}
	talloc_free(n->list_mem);
	n->list_mem = mem;
	n->list = copy;
	return 0;
}

void cluster_nodes_switch(struct cluster *c, struct mono now)
{
	struct cluster_nodes *n = c->nodes;
	struct cluster_nodes_prepared *next = n->next;

	if (list_use(c, now, &next->to) != 0) {
		cluster_event(c, true, "out of memory: the new nodes list is not used yet");
		return;
	}
	cluster_event(c, true, "the nodes list has changed: %u nodes", live_nodes(&n->list));
	n->next = NULL;
	talloc_free(next);
	c->odd_at = MONO_NEVER;
	c->ops->nodes.changed(c->priv);
	for (uint32_t p = 0; p < c->cfg.n; p++) {
		if (p != c->cfg.pnn && cluster_configured(c, p) && c->peers[p].link) {
			cluster_hello_send(c, now, p, true);
		}
	}
	cluster_nodes_sync(c, now);
}

void cluster_nodes_follow(struct cluster *c, struct mono now, uint32_t from)
{
	const struct cluster_nodes_prepared *next = c->nodes->next;

	if (next != NULL && c->peers[from].nodes_hash == next->to.hash) {
		cluster_nodes_switch(c, now);
	}
}

/* ---- the files ---- */

static void write_start(struct cluster *c, enum cluster_nodes_write what, const struct cluster_nodes_prepared *p)
{
	struct cluster_nodes *n = c->nodes;

	n->writing = true;
	n->what = what;
	n->writing_mark = p == NULL ? (struct cluster_nodes_mark){.next = 0} : mark_of(p);
	c->ops->nodes.write(c->priv, what, p);
}

/* Makes the files say what this node says. */
void cluster_nodes_sync(struct cluster *c, struct mono now)
{
	struct cluster_nodes *n = c->nodes;

	if (n->writing || mono_is_set(n->write_again) || c->ops->nodes.write == NULL) {
		return;
	}
	if (n->file_hash != n->list.hash) {
		write_start(c, CLUSTER_NODES_WRITE_LIST, &(struct cluster_nodes_prepared){.to = n->list});
	} else if (n->pending != NULL) {
		write_start(c, CLUSTER_NODES_WRITE_PREPARED, n->pending);
	} else if (n->next == NULL && n->file_prepared.next != 0) {
		write_start(c, CLUSTER_NODES_WRITE_FORGET, NULL);
	}
}

static void answer_send(struct cluster *c, struct mono now, uint32_t to, enum cluster_nodes_phase phase,
			const struct cluster_nodes_mark *change, bool accepted, const char *reason)
{
	char text[CLUSTER_REASON_SIZE];
	struct cluster_msg msg = {
		.kind = CLUSTER_MSG_NODES_ANSWER,
		.u.nodes_answer = {.phase = phase,
				   .term = c->term,
				   .stamp = now.ns,
				   .incarnation = c->cfg.incarnation,
				   .nodes_hash = c->cfg.nodes_hash,
				   .prepared = cluster_nodes_mark(c),
				   .change = *change,
				   .accepted = accepted,
				   .reason = text},
	};

	snprintf(text, sizeof(text), "%s", reason);
	if (to == c->cfg.pnn) {
		cluster_on_nodes_answer(c, now, to, &msg.u.nodes_answer);
	} else if (to != CLUSTER_NODE_NONE && to < c->cfg.n) {
		c->ops->send(c->priv, to, &msg);
	}
}

/* It is tried each dead interval. */
static void complain(struct cluster *c, struct mono now, const char *what, const char *why)
{
	struct cluster_nodes *n = c->nodes;
	bool again = mono_is_set(n->complained) && now.ns < n->complained.ns + COMPLAIN_NS;

	n->complained = again ? n->complained : now;
	cluster_event(c, !again, "%s: %s", what, why);
}

static void pending_written(struct cluster *c, struct mono now, int ret, const char *why)
{
	struct cluster_nodes *n = c->nodes;
	struct cluster_nodes_prepared *p = n->pending;
	struct cluster_nodes_mark mark = mark_of(p);

	n->pending = NULL;
	if (n->pending_given_up) {
		/* it is there all the same, and is to be removed */
		n->file_prepared = ret == 0 ? mark : n->file_prepared;
		talloc_free(p);
		return;
	}
	if (ret == 0) {
		talloc_free(n->next);
		n->next = p;
		n->file_prepared = mark;
		if (n->pending_phase == CLUSTER_NODES_ADOPT) {
			cluster_nodes_switch(c, now);
			/* There is a cluster that has this list: not a second one before it is heard. */
			cluster_role_set(c, now, CLUSTER_ROLE_FOLLOWER, "takes the nodes list of another node");
			cluster_stand_later(c, now, cluster_dead_ns(c));
		} else if (cluster_nodes_bars(c, c->cfg.pnn) && c->role != CLUSTER_ROLE_FOLLOWER) {
			cluster_role_set(c, now, CLUSTER_ROLE_FOLLOWER,
					 "a change of the nodes list is about this node");
		}
	} else {
		complain(c, now, "a change of the nodes list is refused", why);
		talloc_free(p);
	}
	answer_send(c, now, n->pending_to, n->pending_phase, &mark, ret == 0, why);
}

void cluster_nodes_written(struct cluster *c, struct mono now, int ret, const char *why)
{
	struct cluster_nodes *n = c->nodes;

	n->writing = false;
	if (n->what == CLUSTER_NODES_WRITE_PREPARED) {
		pending_written(c, now, ret, why);
	} else if (ret != 0) {
		complain(c, now, "the new nodes list is used, but not in the file yet: tried again", why);
		n->write_again = mono_plus(now, cluster_dead_ns(c));
	} else {
		n->file_prepared.next = 0;
		n->file_hash = n->what == CLUSTER_NODES_WRITE_LIST ? n->writing_mark.next : n->file_hash;
	}
	cluster_nodes_sync(c, now);
	cluster_tick(c, now);
}

bool cluster_nodes_prepare(struct cluster *c, struct cluster_nodes_prepared *p, uint32_t answer_to,
			   enum cluster_nodes_phase phase)
{
	struct cluster_nodes *n = c->nodes;

	if (n->writing || n->pending != NULL || n->file_hash != n->list.hash) {
		talloc_free(p);
		return false;
	}
	n->pending = talloc_steal(n, p);
	n->pending_given_up = false;
	n->pending_to = answer_to;
	n->pending_phase = phase;
	n->write_again = MONO_NEVER;
	cluster_nodes_sync(c, MONO_NEVER);
	return true;
}

void cluster_nodes_forget(struct cluster *c)
{
	TALLOC_FREE(c->nodes->next);
	cluster_nodes_sync(c, MONO_NEVER);
}

/* Who asked for it was told that nothing is changed. */
void cluster_nodes_give_up(struct cluster *c)
{
	c->nodes->pending_given_up = c->nodes->pending != NULL;
	cluster_nodes_forget(c);
}

/* ---- steps ---- */

struct cluster_nodes_prepared *cluster_prepared_make(struct cluster *c, const char *text, char **err, TALLOC_CTX *mem)
{
	struct cluster_nodes_prepared *p = talloc_zero(c->nodes, struct cluster_nodes_prepared);
	struct cluster_list list;
	char *why = NULL;

	if (p == NULL) {
		return NULL;
	}
	if (c->ops->nodes.parse(c->priv, p, text, &list, &why) != 0 || cluster_list_copy(p, &list, &p->to) != 0) {
		*err = talloc_strdup(mem, why != NULL ? why : "out of memory");
		talloc_free(p);
		return NULL;
	}
	p->from = c->nodes->list.hash;
	return p;
}

void cluster_nodes_step_send(struct cluster *c, struct mono now, uint32_t to, enum cluster_nodes_phase phase,
			     const struct cluster_nodes_mark *change, uint64_t from_digest, const char *text)
{
	struct cluster_msg msg = {
		.kind = CLUSTER_MSG_NODES_STEP,
		.u.nodes_step = {.phase = phase,
				 .term = c->term,
				 .stamp = now.ns,
				 .incarnation = c->cfg.incarnation,
				 .nodes_hash = c->cfg.nodes_hash,
				 .prepared = cluster_nodes_mark(c),
				 .change = *change,
				 .from_digest = from_digest,
				 .text = (char *)(uintptr_t)text},
	};

	c->ops->send(c->priv, to, &msg);
}

void cluster_nodes_tell(struct cluster *c, struct mono now, uint32_t to, uint64_t hash,
			const struct cluster_nodes_mark *mark)
{
	const struct cluster_nodes_prepared *next = c->nodes->next;
	struct cluster_nodes_mark own;

	if (hash != c->cfg.nodes_hash || cluster_nodes_fresh(c, hash, mark)) {
		return;
	}
	own = mark_of(next);
	cluster_nodes_step_send(c, now, to, CLUSTER_NODES_TELL, &own, next->from, next->to.text);
}

/* NULL: it is what was announced, and can be taken here. */
static const char *step_refused(const struct cluster *c, const struct cluster_nodes_step *m,
				const struct cluster_nodes_prepared *p)
{
	uint32_t pnn;

	if (p->to.hash != m->change.next) {
		return "arbitration or dead interval of this node differ: make ctdb.conf equal on all nodes";
	}
	if (m->phase == CLUSTER_NODES_ADOPT) {
		return c->cfg.pnn < p->to.n && !p->to.nodes[c->cfg.pnn].deleted ? NULL
										: "this node is not in that list";
	}
	return cluster_list_difference(&c->nodes->list, &p->to, &pnn) == 0 ? NULL
									   : "the lists differ in more than one node";
}

static void step_take(struct cluster *c, struct mono now, uint32_t from, const struct cluster_nodes_step *m)
{
	uint32_t answer_to = m->phase == CLUSTER_NODES_TELL ? CLUSTER_NODE_NONE : from;
	TALLOC_CTX *tmp = talloc_new(c);
	char *err = NULL;
	struct cluster_nodes_prepared *p = tmp == NULL ? NULL : cluster_prepared_make(c, m->text, &err, tmp);
	const char *why = p == NULL ? (err != NULL ? err : "out of memory") : step_refused(c, m, p);

	if (why != NULL) {
		answer_send(c, now, answer_to, m->phase, &m->change, false, why);
		talloc_free(p);
	} else {
		p->term = m->change.term;
		p->number = m->change.number;
		(void)cluster_nodes_prepare(c, p, answer_to, m->phase);
	}
	talloc_free(tmp);
}

/* The same step again: the answer was lost. */
static bool step_done(const struct cluster *c, const struct cluster_nodes_step *m)
{
	const struct cluster_nodes_prepared *next = c->nodes->next;

	return m->change.next == c->cfg.nodes_hash ||
	       (next != NULL && m->phase == CLUSTER_NODES_PREPARE && next->to.hash == m->change.next &&
		next->term == m->change.term && next->number == m->change.number);
}

static bool step_known(const struct cluster *c, const struct cluster_nodes_step *m)
{
	const struct cluster_nodes_prepared *next = c->nodes->next;

	return next != NULL && !cluster_mark_above(&m->change, next->term, next->number);
}

static void on_prepare(struct cluster *c, struct mono now, uint32_t from, const struct cluster_nodes_step *m)
{
	if (m->term != c->term || c->leader != from || c->role != CLUSTER_ROLE_FOLLOWER) {
		return;
	}
	if (step_done(c, m)) {
		answer_send(c, now, from, m->phase, &m->change, true, "");
	} else if (m->from_digest == c->cfg.nodes_hash && !step_known(c, m)) {
		step_take(c, now, from, m);
	}
}

static void on_abort(struct cluster *c, struct mono now, uint32_t from, const struct cluster_nodes_step *m)
{
	const struct cluster_nodes_prepared *next = c->nodes->next;

	if (m->term == c->term && c->leader == from && next != NULL &&
	    !cluster_mark_above(&(struct cluster_nodes_mark){.next = 1, .term = next->term, .number = next->number},
				m->change.term, m->change.number)) {
		cluster_event(c, true, "the change of the nodes list was given up by leader node %u", (unsigned)from);
		cluster_nodes_forget(c);
	}
}

static bool about_self(struct cluster *c, const char *text)
{
	TALLOC_CTX *tmp = talloc_new(c);
	char *err = NULL;
	struct cluster_nodes_prepared *p = tmp == NULL ? NULL : cluster_prepared_make(c, text, &err, tmp);
	uint32_t pnn;
	bool about = p != NULL && cluster_list_difference(&c->nodes->list, &p->to, &pnn) == 0 && pnn == c->cfg.pnn;

	talloc_free(p);
	talloc_free(tmp);
	return about;
}

/* A leader that was elected without it knows that it was not decided; see invariant 2. */
static void on_tell(struct cluster *c, struct mono now, uint32_t from, const struct cluster_nodes_step *m)
{
	bool undecided = c->role == CLUSTER_ROLE_LEADER && (c->cfg.quorum == CLUSTER_QUORUM_MAJORITY ||
							    m->change.term == c->term || about_self(c, m->text));

	if (m->from_digest != c->cfg.nodes_hash || m->change.next == c->cfg.nodes_hash || step_known(c, m)) {
		return;
	}
	if (undecided) {
		cluster_nodes_abort_send(c, now, from);
		return;
	}
	step_take(c, now, from, m);
}

static void on_adopt(struct cluster *c, struct mono now, uint32_t from, const struct cluster_nodes_step *m)
{
	if (step_done(c, m)) {
		answer_send(c, now, from, m->phase, &m->change, true, "");
	} else if (cluster_list_shared(c, m->nodes_hash, 0) || cluster_has_lease(c, now) ||
		   c->role == CLUSTER_ROLE_LEADER) {
		answer_send(c, now, from, m->phase, &m->change, false,
			    "this node is in a cluster of its own: stop its ctdbd, correct its nodes file, start it");
	} else {
		step_take(c, now, from, m);
	}
}

void cluster_on_nodes_step(struct cluster *c, struct mono now, uint32_t from, const struct cluster_nodes_step *m)
{
	if (c->ops->nodes.parse == NULL || c->nodes->list.text == NULL) {
		return;
	}
	switch (m->phase) {
	case CLUSTER_NODES_PREPARE:
		on_prepare(c, now, from, m);
		break;
	case CLUSTER_NODES_ABORT:
		on_abort(c, now, from, m);
		break;
	case CLUSTER_NODES_TELL:
		on_tell(c, now, from, m);
		break;
	case CLUSTER_NODES_ADOPT:
		on_adopt(c, now, from, m);
		break;
	}
}

/* ---- start, answers ---- */

static int prepared_restore(struct cluster *c, const struct cluster_nodes_prepared *from)
{
	struct cluster_nodes *n = c->nodes;

	n->next = talloc_zero(n, struct cluster_nodes_prepared);
	if (n->next == NULL) {
		return ENOMEM;
	}
	*n->next = *from;
	n->file_prepared = mark_of(from);
	return cluster_list_copy(n->next, &from->to, &n->next->to);
}

int cluster_nodes_init(struct cluster *c, const struct cluster_config *config)
{
	struct cluster_list list = {
		.hash = config->nodes_hash, .n = config->n, .nodes = config->nodes, .text = config->nodes_text};
	struct cluster_nodes *n = talloc_zero(c, struct cluster_nodes);
	int ret;

	c->nodes = n;
	c->cfg.nodes_text = NULL;
	c->cfg.prepared = NULL;
	if (n == NULL) {
		return ENOMEM;
	}
	n->pending_to = CLUSTER_NODE_NONE;
	n->list_mem = talloc_new(n);
	ret = n->list_mem == NULL ? ENOMEM : cluster_list_copy(n->list_mem, &list, &n->list);
	n->file_hash = list.hash;
	if (ret == 0 && config->prepared != NULL && config->prepared->from == list.hash) {
		ret = prepared_restore(c, config->prepared);
	}
	return ret;
}

const struct cluster_list *cluster_nodes_list(const struct cluster *c)
{
	return &c->nodes->list;
}

const struct cluster_nodes_prepared *cluster_nodes_prepared(const struct cluster *c)
{
	return c->nodes->next;
}
