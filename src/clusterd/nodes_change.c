/* Requests to change the nodes list: handed to the leader, which makes of each a row of steps that the core can take.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "nodes.h"
#include "shared/log.h"
#include "shared/msg.h"

#define FORWARD_TIMEOUT_MS 300000
#define WAITING_MAX        16
#define REPORT_MAX         1000

/* One request in work, at the leader. */
struct op {
	struct dlist link;
	struct rpc_call *call;
	enum cluster_nodes_op what;
	bool dry_run;
	uint32_t pnn;
	char *target; /* the list that it leads to */
	char *report; /* what was done, for the answer */
	bool failed;
	uint32_t adopt;  /* RELOAD: nodes below have been looked at */
	char *step_text; /* what the step that runs does */
};

struct nodes_change {
	struct nodes *n;
	struct op *op;        /* the one that runs */
	struct dlist waiting; /* RELOADs */
	struct dlist forwards;
	unsigned n_waiting;
	struct tevent_immediate *im;
	bool step_done; /* what the core said last */
	char *step_said;
};

static void op_run(struct nodes_change *ch);

/* ---- answers ---- */

static void answer(struct rpc_call *call, bool done, uint32_t pnn, const char *text)
{
	char buf[REPORT_MAX + 1];
	struct cluster_nodes_change res = {.done = done, .pnn = pnn, .text = buf};

	snprintf(buf, sizeof(buf), "%s", text);
	cluster_change_nodes_reply(call, &res);
}

static void refuse(struct rpc_call *call, uint32_t pnn, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

static void refuse(struct rpc_call *call, uint32_t pnn, const char *fmt, ...)
{
	char buf[REPORT_MAX + 1];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(buf, sizeof(buf), fmt, ap);
	va_end(ap);
	answer(call, false, pnn, buf);
}

static void report_add(struct op *op, const char *text)
{
	char *more = op->report == NULL ? talloc_strdup(op, text) : talloc_asprintf(op, "%s\n%s", op->report, text);

	if (more != NULL) {
		talloc_free(op->report);
		op->report = more;
	}
}

static void later(struct tevent_context *ev, struct tevent_immediate *im, void *priv)
{
	op_run(priv);
}

static void op_end(struct nodes_change *ch)
{
	struct op *op = ch->op;

	answer(op->call, !op->failed, op->pnn,
	       op->report != NULL ? op->report : "there is nothing to do: all nodes have this list");
	ch->op = NULL;
	talloc_free(op);
	if (!dlist_empty(&ch->waiting)) {
		ch->op = dlist_entry(ch->waiting.next, struct op, link);
		dlist_remove(&ch->op->link);
		ch->n_waiting--;
		tevent_schedule_immediate(ch->im, ch->n->cd->d->ev, later, ch);
	}
}

static void op_fail(struct nodes_change *ch, const char *text)
{
	ch->op->failed = true;
	report_add(ch->op, text);
	op_end(ch);
}

/* ---- steps ---- */

static bool same_line(TALLOC_CTX *mem, const struct conf_node *a, const struct conf_node *b)
{
	char *x = nodes_line(mem, a), *y = nodes_line(mem, b);
	bool same = (a->deleted && b->deleted) || (x != NULL && y != NULL && strcmp(x, y) == 0);

	talloc_free(x);
	talloc_free(y);
	return same;
}

/* Nodes that go first: what is left has a majority sooner. from->n if one is to be added, to->n if they do not differ.
 */
static uint32_t next_difference(TALLOC_CTX *mem, const struct conf_nodes *from, const struct conf_nodes *to)
{
	uint32_t found = to->n;

	for (uint32_t p = 0; p < from->n && p < to->n; p++) {
		if (same_line(mem, &from->v[p], &to->v[p])) {
			continue;
		}
		if (to->v[p].deleted) {
			return p;
		}
		found = found == to->n ? p : found;
	}
	return found == to->n && from->n < to->n ? from->n : found;
}

/* The list after the next step. NULL with *why NULL: there is none. */
static char *next_text(struct nodes_change *ch, TALLOC_CTX *mem, const char *target, char **why)
{
	const struct clusterd *cd = ch->n->cd;
	const struct cluster_list *list = cluster_nodes_list(cd->core);
	struct conf_nodes *from, *to, *after;
	char *text, *line;
	uint32_t p;

	*why = NULL;
	if (conf_nodes_parse(mem, "nodes list", list->text, &from, why) != 0 ||
	    conf_nodes_parse(mem, "new nodes list", target, &to, why) != 0) {
		return NULL;
	}
	if (to->n < from->n) {
		*why = talloc_asprintf(
			mem,
			"the new list has %u lines, the one in use %u: a node that is removed keeps its line, with '#' "
			"before the address",
			(unsigned)to->n, (unsigned)from->n);
		return NULL;
	}
	p = next_difference(mem, from, to);
	if (p == to->n) {
		return NULL;
	}
	line = nodes_line(mem, &to->v[p]);
	text = line == NULL ? NULL : nodes_text_set(mem, list->text, p, line);
	if (text == NULL) {
		*why = talloc_strdup(mem, "out of memory");
		return NULL;
	}
	/* The last one leaves the text as its writer wants it. */
	if (conf_nodes_parse(mem, "new nodes list", text, &after, why) == 0 &&
	    nodes_digest(cd->d->conf, after) == nodes_digest(cd->d->conf, to)) {
		return talloc_strdup(mem, target);
	}
	return *why == NULL ? text : NULL;
}

/* Nodes that are kept out because of their list. False: none is left. */
static bool adopt_next(struct nodes_change *ch)
{
	struct clusterd *cd = ch->n->cd;
	struct op *op = ch->op;

	for (; op->what == CLUSTER_NODES_RELOAD && op->adopt < cd->d->nodes->n; op->adopt++) {
		char *why = NULL;
		int ret;

		if (!cluster_nodes_differs(cd->core, mono_now(), op->adopt)) {
			continue;
		}
		if (op->dry_run) {
			why = talloc_asprintf(op, "node %u gets the list", (unsigned)op->adopt);
			report_add(op, why != NULL ? why : "out of memory");
			continue;
		}
		ret = cluster_nodes_adopt(cd->core, mono_now(), op, op->adopt, &why);
		if (ret == 0) {
			TALLOC_FREE(op->step_text);
			op->adopt++;
			clusterd_after(cd);
			return true;
		}
		report_add(op, why != NULL ? why : strerror(ret));
		op->failed = true;
	}
	return false;
}

/* Each difference by itself, as far as that can be said before the others are done. */
static void dry_run(struct nodes_change *ch)
{
	struct clusterd *cd = ch->n->cd;
	struct op *op = ch->op;
	char *why, *text = next_text(ch, op, op->target, &why);
	struct conf_nodes *from, *to;

	if (text == NULL && why != NULL) {
		op_fail(ch, why);
		return;
	}
	if (text != NULL && (conf_nodes_parse(op, "", cluster_nodes_list(cd->core)->text, &from, &why) != 0 ||
			     conf_nodes_parse(op, "", op->target, &to, &why) != 0)) {
		op_fail(ch, why);
		return;
	}
	for (uint32_t p = 0; text != NULL && p < to->n; p++) {
		char *line = nodes_line(op, &to->v[p]), *one;
		int ret;

		if (line == NULL || (p < from->n && same_line(op, &from->v[p], &to->v[p]))) {
			continue;
		}
		if (p > from->n) {
			one = talloc_asprintf(op, "node %u is added: %s", (unsigned)p, line);
			report_add(op, one != NULL ? one : line);
			continue;
		}
		one = nodes_text_set(op, cluster_nodes_list(cd->core)->text, p, line);
		ret = one == NULL ? ENOMEM : cluster_nodes_change(cd->core, mono_now(), op, one, true, &why);
		report_add(op, ret == ENOMEM || why == NULL ? strerror(ret) : why);
		op->failed = op->failed || ret != 0;
	}
	(void)adopt_next(ch);
	op_end(ch);
}

static void op_run(struct nodes_change *ch)
{
	struct clusterd *cd = ch->n->cd;
	struct op *op = ch->op;
	char *why, *text;
	int ret;

	if (op->dry_run) {
		dry_run(ch);
		return;
	}
	text = next_text(ch, op, op->target, &why);
	if (text == NULL && why != NULL) {
		op_fail(ch, why);
		return;
	}
	if (text == NULL) {
		if (!adopt_next(ch)) {
			op_end(ch);
		}
		return;
	}
	ret = cluster_nodes_change(cd->core, mono_now(), op, text, false, &why);
	talloc_free(text);
	if (ret != 0) {
		op_fail(ch, why != NULL ? why : strerror(ret));
		return;
	}
	op->step_text = why;
	clusterd_after(cd);
}

/* The step ended: on with the next one. */
static void op_continue(struct tevent_context *ev, struct tevent_immediate *im, void *priv)
{
	struct nodes_change *ch = priv;
	struct op *op = ch->op;

	if (op == NULL) {
		return;
	}
	if (!ch->step_done) {
		op_fail(ch, ch->step_said);
		return;
	}
	if (op->step_text != NULL) {
		report_add(op, op->step_text);
	}
	if (op->step_text == NULL || strcmp(ch->step_said, "done") != 0) {
		report_add(op, ch->step_said);
	}
	TALLOC_FREE(op->step_text);
	op_run(ch);
}

void nodes_change_done(struct nodes *n, bool done, const char *text)
{
	struct nodes_change *ch = n->change;

	talloc_free(ch->step_said);
	ch->step_said = talloc_strdup(ch, text);
	ch->step_done = done && ch->step_said != NULL;
	if (ch->step_said == NULL) {
		ch->step_said = talloc_strdup(ch, "");
	}
	tevent_schedule_immediate(ch->im, n->cd->d->ev, op_continue, ch);
}

/* ---- requests ---- */

static bool address_plausible(const char *text)
{
	return text[0] != '\0' && strspn(text, "0123456789abcdefABCDEF:.,") == strlen(text);
}

/* NULL with *why, or the list that is asked for. */
static char *target_make(struct nodes_change *ch, TALLOC_CTX *mem, const struct cluster_nodes_change_args *arg,
			 uint32_t *pnn, char **why)
{
	const struct cluster_list *list = cluster_nodes_list(ch->n->cd->core);
	bool address = arg->op == CLUSTER_NODES_ADD || arg->op == CLUSTER_NODES_REPLACE;
	struct conf_nodes *check;
	char *text, *line;

	*pnn = arg->op == CLUSTER_NODES_ADD ? list->n : arg->pnn;
	if (arg->op == CLUSTER_NODES_RELOAD) {
		return talloc_strdup(mem, arg->list->text);
	}
	if (address && !address_plausible(arg->address)) {
		*why = talloc_asprintf(mem, "\"%s\" is not an address: give ADDR or ADDR1,ADDR2, IPv4 or IPv6",
				       arg->address);
		return NULL;
	}
	if (arg->op != CLUSTER_NODES_ADD && *pnn >= list->n) {
		*why = talloc_asprintf(mem, "there is no node %u: the nodes list has %u", (unsigned)*pnn,
				       (unsigned)list->n);
		return NULL;
	}
	if (arg->op == CLUSTER_NODES_REMOVE && list->nodes[*pnn].deleted) {
		*why = talloc_asprintf(mem, "node %u has been removed already", (unsigned)*pnn);
		return NULL;
	}
	line = address ? talloc_strdup(mem, arg->address)
		       : talloc_asprintf(mem, "#%s%s%s", list->nodes[*pnn].address,
					 list->nodes[*pnn].more != NULL ? "," : "",
					 list->nodes[*pnn].more != NULL ? list->nodes[*pnn].more : "");
	text = line == NULL ? NULL : nodes_text_set(mem, list->text, *pnn, line);
	if (text == NULL || conf_nodes_parse(mem, "new nodes list", text, &check, why) != 0) {
		return NULL;
	}
	if (arg->op == CLUSTER_NODES_REPLACE && arg->id.len > 0) {
		*why = identity_against(ch->n->cd, mem, *pnn, &arg->id, false);
		if (*why != NULL) {
			return NULL;
		}
	}
	if (nodes_digest(ch->n->cd->d->conf, check) == list->hash) {
		*why = talloc_asprintf(mem, "node %u has this address already", (unsigned)*pnn);
		return NULL;
	}
	return text;
}

static void lead(struct nodes_change *ch, struct rpc_call *call, const struct cluster_nodes_change_args *arg)
{
	struct op *op = talloc_zero(ch, struct op);
	char *why = NULL;

	if (op == NULL) {
		rpc_call_fail(call, ENOMEM);
		return;
	}
	op->call = call;
	op->what = arg->op;
	op->dry_run = arg->dry_run;
	op->target = target_make(ch, op, arg, &op->pnn, &why);
	if (op->target == NULL) {
		refuse(call, op->pnn, "%s", why != NULL ? why : "out of memory");
		talloc_free(op);
		return;
	}
	if (ch->op == NULL) {
		if (arg->id.len > 0) { /* a node that has moved asks as long as it takes */
			log_ratelimited(LOG_LVL_NOTICE, 10000, "%s of node %u asks for a change of the nodes list",
					call->source_endpoint, (unsigned)call->source_node);
		} else {
			log_notice("%s of node %u asks for a change of the nodes list%s", call->source_endpoint,
				   (unsigned)call->source_node, op->dry_run ? ", to see what it would do" : "");
		}
		ch->op = op;
		op_run(ch);
	} else if (op->what == CLUSTER_NODES_RELOAD && ch->n_waiting < WAITING_MAX) {
		dlist_add_tail(&ch->waiting, &op->link);
		ch->n_waiting++;
	} else {
		refuse(call, op->pnn, "another change of the nodes list is under way: try again in a moment");
		talloc_free(op);
	}
}

struct forward {
	struct dlist link;
	struct rpc_call *call;
	uint32_t leader;
	uint64_t term;
};

static int forward_destructor(struct forward *f)
{
	dlist_remove(&f->link);
	return 0;
}

static void forwarded(struct tevent_req *req)
{
	struct forward *f = tevent_req_callback_data(req, struct forward);
	struct rpc_call *call = f->call;
	struct cluster_nodes_change res;
	int ret = cluster_change_nodes_recv(req, f, &res);

	if (ret == 0) {
		cluster_change_nodes_reply(call, &res);
	} else {
		refuse(call, CLUSTER_NODE_NONE,
		       "leader node %u does not answer (%s): look with 'ctdb node list' whether it was done",
		       (unsigned)f->leader, strerror(ret));
	}
	talloc_free(f);
}

static void forward(struct nodes_change *ch, struct rpc_call *call, const struct cluster_nodes_change_args *arg,
		    uint32_t leader)
{
	struct clusterd *cd = ch->n->cd;
	struct forward *f = talloc(ch, struct forward);
	struct tevent_req *req = NULL;

	if (f != NULL && leader < cd->d->nodes->n && cd->peers[leader] != NULL) {
		*f = (struct forward){.call = call, .leader = leader, .term = cluster_term(cd->core)};
		dlist_add_tail(&ch->forwards, &f->link);
		talloc_set_destructor(f, forward_destructor);
		req = cluster_change_nodes_send(f, cd->d->ev, cd->peers[leader], arg, FORWARD_TIMEOUT_MS);
	}
	if (req == NULL) {
		talloc_free(f);
		rpc_call_fail(call, ENOMEM);
		return;
	}
	tevent_req_set_callback(req, forwarded, f);
}

/* A leader that is gone does not answer, and what it had begun the next one finishes or gives up. */
void nodes_change_look(struct nodes *n)
{
	struct nodes_change *ch = n->change;
	uint64_t term = cluster_term(n->cd->core);
	struct dlist *e, *next;

	for (e = ch->forwards.next; e != &ch->forwards; e = next) {
		struct forward *f = dlist_entry(e, struct forward, link);

		next = e->next;
		if (f->term != term) {
			refuse(f->call, CLUSTER_NODE_NONE,
			       "leader node %u was lost meanwhile: look with 'ctdb node list' whether it was done",
			       (unsigned)f->leader);
			talloc_free(f);
		}
	}
}

static void dispatch(struct nodes_change *ch, struct rpc_call *call, const struct cluster_nodes_change_args *arg)
{
	struct clusterd *cd = ch->n->cd;
	uint32_t leader = cluster_leader(cd->core, mono_now());
	struct cluster_status status;

	if (cluster_is_leading(cd->core, mono_now())) {
		lead(ch, call, arg);
	} else if (strcmp(call->source_endpoint, "cluster") == 0) {
		refuse(call, CLUSTER_NODE_NONE, "leadership is changing: try again in a moment");
	} else if (leader == CLUSTER_NODE_NONE || leader == cd->d->pnn) {
		cluster_tell_status(cd->core, mono_now(), call, &status);
		refuse(call, CLUSTER_NODE_NONE, "there is no leader that could do it: %s", status.verdict);
	} else {
		forward(ch, call, arg, leader);
	}
}

static void on_change(void *priv, struct rpc_call *call, const struct cluster_nodes_change_args *arg)
{
	struct nodes_change *ch = ((struct clusterd *)priv)->nodes->change;
	struct cluster_nodes_text text = {.digest = 0};
	struct cluster_nodes_change_args with_list = *arg;
	struct conf_nodes *nodes;
	char *err = NULL;

	if (arg->op == CLUSTER_NODES_RELOAD && (arg->list == NULL || strcmp(call->source_endpoint, "cluster") != 0)) {
		if (conf_nodes_text(call, ch->n->file.path, &text.text, &err) != 0 ||
		    conf_nodes_parse(call, ch->n->file.path, text.text, &nodes, &err) != 0) {
			refuse(call, CLUSTER_NODE_NONE, "%s", err);
			return;
		}
		with_list.list = &text;
	}
	dispatch(ch, call, &with_list);
}

void nodes_change_fill(struct cluster_server *server)
{
	server->change_nodes = on_change;
}

int nodes_change_start(struct nodes *n)
{
	struct nodes_change *ch = talloc_zero(n, struct nodes_change);

	if (ch == NULL) {
		return ENOMEM;
	}
	ch->n = n;
	ch->im = tevent_create_immediate(ch);
	dlist_init(&ch->waiting);
	dlist_init(&ch->forwards);
	n->change = ch;
	return ch->im == NULL ? ENOMEM : 0;
}
