/* ctdb cluster status, view, health: the state of the cluster as this node sees it. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "membership.h"

static json_t *number(uint64_t v)
{
	return output_check(json_integer((json_int_t)v));
}

static json_t *text_or_null(const char *text)
{
	return text != NULL && text[0] != '\0' ? output_string(text) : output_check(json_null());
}

/* ---- status ---- */

static const char *status_word(const struct facts *f, uint32_t i)
{
	const struct ctdb_node *n = &f->nodes->nodes[i];

	if (facts_unreachable(f, i)) {
		return "UNREACHABLE";
	}
	if (n->flags == 0 && n->pnn == f->pnn && f->cluster != NULL && !f->cluster->state.active) {
		return "INACTIVE";
	}
	return node_flags_text(n->flags, false, facts_partially(f, i));
}

static json_t *node_row(struct cli *cli, const struct facts *f, uint32_t i)
{
	const struct ctdb_node *n = &f->nodes->nodes[i];
	const struct cluster_node_status *s = facts_node(f, i);
	bool leads = f->has_leader && n->pnn == f->leader, this = n->pnn == f->pnn;
	int64_t since_s = facts_since_s(f, i);
	bool banned = f->ban_s != NULL && f->ban_s[i] > 0;
	json_t *row = output_check(json_pack("{s:i, s:s, s:s, s:o, s:b, s:b, s:s}", "pnn", (int)n->pnn, "address",
					     node_address(n), "status", status_word(f, i), "flags",
					     node_flags_json(n->flags), "leader", leads, "this", this, "role",
					     leads && this ? "leader, this node"
					     : leads       ? "leader"
					     : this        ? "this node"
							   : ""));
	char why[FACTS_WHY_SIZE], age[32];

	json_object_set_new(row, "why", text_or_null(facts_why(f, i, why)));
	if (cli->opt.format != &output_json) {
		json_object_set_new(row, "for",
				    since_s >= 0 ? output_string(age_text((uint64_t)since_s * 1000, age))
						 : output_check(json_null()));
		return row;
	}
	json_object_set_new(row, "partially_online", output_check(json_boolean(facts_partially(f, i))));
	json_object_set_new(row, "since_s", since_s >= 0 ? number((uint64_t)since_s) : output_check(json_null()));
	json_object_set_new(row, "ban_s", banned ? number(f->ban_s[i]) : output_check(json_null()));
	json_object_set_new(row, "reachable",
			    s != NULL ? output_check(json_boolean(s->reachable)) : output_check(json_null()));
	json_object_set_new(row, "differs",
			    s != NULL ? output_check(json_boolean(s->differs)) : output_check(json_null()));
	json_object_set_new(row, "barred_by",
			    s != NULL && s->barred_by != CLUSTER_NODE_NONE ? number(s->barred_by)
									   : output_check(json_null()));
	json_object_set_new(row, "credits", s != NULL ? number(s->credits) : output_check(json_null()));
	return row;
}

/* Columns that have nothing to say are left out. */
static void print_nodes(struct cli *cli, const struct facts *f)
{
	static const struct output_column columns[] = {{"pnn", "NODE"},  {"address", "ADDRESS"}, {"status", "STATUS"},
						       {"role", "ROLE"}, {"for", "FOR"},         {"why", "WHY"}};
	json_t *rows = output_check(json_array());
	bool more = false;

	for (uint32_t i = 0; i < f->nodes->n; i++) {
		json_t *row;

		if ((f->nodes->nodes[i].flags & CTDB_NODE_DELETED) != 0) {
			continue;
		}
		row = node_row(cli, f, i);
		more = more || json_is_string(json_object_get(row, "why")) ||
		       json_is_string(json_object_get(row, "for"));
		json_array_append_new(rows, row);
	}
	output_rows(&cli->out, "nodes", columns, more ? 6 : 4, rows);
}

static void verdict_line(const struct verdict *v, char *line, size_t size)
{
	snprintf(line, size, "%s: %s%s%s", v->state, v->reason, v->since[0] != '\0' ? ", " : "", v->since);
}

static void print_verdict(struct cli *cli, const struct verdict *v)
{
	char line[640];

	verdict_line(v, line, sizeof(line));
	output_line(&cli->out, "verdict", line);
	if (cli->opt.format == &output_json) {
		output_field(&cli->out, "state", "", json_string(v->state));
		output_field(&cli->out, "ready", "", json_boolean(v->ready));
	}
	if (v->next[0] != '\0') {
		snprintf(line, sizeof(line), "Next: %s.", v->next);
		output_line(&cli->out, NULL, line);
	}
	if (cli->opt.format == &output_json) {
		output_field(&cli->out, "next", "", v->next[0] != '\0' ? json_string(v->next) : json_null());
	}
}

static json_t *callback_row(const struct cluster_callback *cb)
{
	char age[32];
	json_t *row = output_check(json_pack("{s:o, s:o, s:o, s:i, s:s, s:i}", "event", output_string(cb->event),
					     "script", output_string(cb->script), "text", output_string(cb->text),
					     "age_s", (int)(cb->age_ms / 1000), "age", age_text(cb->age_ms, age),
					     "pending", (int)cb->pending));

	return row;
}

/* Only those that failed. A daemon that cannot say: nothing. */
static void print_callbacks(struct cli *cli)
{
	static const struct output_column columns[] = {
		{"event", "FAILED CALLBACK"}, {"script", "PROGRAM"}, {"age", "AGO"}, {"text", "WHAT HAPPENED"}};
	struct cluster_callbacks callbacks = {.list = {.n = 0}};
	struct ctdb_data result = {.len = 0};
	int err =
		membership_call(cli, CTDB_NODE_CURRENT, CLUSTER_PROC_GET_CALLBACKS, NULL, cli->opt.timeout_ms, &result);
	json_t *rows = output_check(json_array());

	if (err == 0 && cluster_callbacks_decode(cli->c, result.data, result.len, &callbacks) != 0) {
		callbacks.list.n = 0;
	}
	for (uint32_t i = 0; i < callbacks.list.n; i++) {
		if (callbacks.list.v[i].failed) {
			json_array_append_new(rows, callback_row(&callbacks.list.v[i]));
		}
	}
	if (json_array_size(rows) > 0 || cli->opt.format == &output_json) {
		output_rows(&cli->out, "failed_callbacks", columns, 4, rows);
	} else {
		json_decref(rows);
	}
}

static void print_clusterd(struct cli *cli, const struct facts *f)
{
	const struct cluster_status *s = f->cluster;
	char line[400];

	if (f->membership != NULL || cli->opt.format == &output_json) {
		output_field(&cli->out, "membership", "Membership", text_or_null(f->membership));
	}
	if (s == NULL) {
		return;
	}
	if (cli->opt.format == &output_json) {
		static const char *const states[] = {"held", "lost", "unchecked"};

		output_field(&cli->out, "arbitration", "",
			     output_check(json_pack("{s:o, s:s, s:o}", "method", output_string(s->arbitration_method),
						    "state", states[(unsigned)s->arbitration < 3 ? s->arbitration : 1],
						    "detail", text_or_null(s->arbitration_detail))));
		output_field(&cli->out, "leader_since_s", "",
			     f->has_leader ? number(s->leader_since_ms / 1000) : output_check(json_null()));
		output_field(&cli->out, "view_since_s", "", number(s->since_ms / 1000));
		output_field(&cli->out, "active", "", output_check(json_boolean(s->state.active)));
		return;
	}
	snprintf(line, sizeof(line), "%s%s%s%s", s->arbitration_method,
		 s->arbitration == CLUSTER_ARBITRATION_HELD        ? ", held"
		 : s->arbitration == CLUSTER_ARBITRATION_UNCHECKED ? ": if the network splits, each side goes on alone"
								   : ", not held by this side",
		 s->arbitration_detail[0] != '\0' ? ": " : "", s->arbitration_detail);
	output_field(&cli->out, "arbitration", "Arbitration", output_string(line));
}

int cmd_cluster_status(struct cli *cli, char **argv, int argc)
{
	struct facts f;
	struct verdict v;
	int code = facts_ask(cli, &f);

	if (code != 0) {
		return code;
	}
	verdict_make(&f, &v);
	print_verdict(cli, &v);
	print_nodes(cli, &f);
	print_callbacks(cli);
	print_clusterd(cli, &f);
	links_print_security(cli);
	output_field(&cli->out, "leader", "Leader", f.has_leader ? json_integer(f.leader) : json_null());
	output_field(&cli->out, "generation", "Generation",
		     f.generation == CTDB_GENERATION_INVALID ? json_null() : json_integer((json_int_t)f.generation));
	output_field(&cli->out, "recovery", "Recovery going on", json_boolean(f.recmode != CTDB_RECMODE_NORMAL));
	output_field(&cli->out, "runstate", "Run state", json_string(ctdb_runstate_name(f.runstate)));
	return EXIT_OK;
}

/* ---- health ---- */

/* As programs for monitoring have them. */
enum health { HEALTHY = 0, HEALTH_DEGRADED = 1, HEALTH_BAD = 2, HEALTH_UNKNOWN = 3 };

static int print_health(struct cli *cli, const char *state, const char *line, int health)
{
	output_line(&cli->out, "health", line);
	if (cli->opt.format == &output_json) {
		output_field(&cli->out, "state", "", output_string(state));
		output_field(&cli->out, "status", "", number((uint64_t)health));
	}
	return health;
}

int cmd_cluster_health(struct cli *cli, char **argv, int argc)
{
	struct facts f;
	struct verdict v;
	char line[700];
	int err = membership_connect(cli, cli->opt.timeout_ms);

	if (err == 0 && facts_ask(cli, &f) == 0) {
		verdict_make(&f, &v);
		verdict_line(&v, line, sizeof(line));
		return print_health(cli, v.state, line,
				    !v.ready                     ? HEALTH_BAD
				    : strcmp(v.state, "OK") == 0 ? HEALTHY
								 : HEALTH_DEGRADED);
	}
	if (err != 0) {
		snprintf(line, sizeof(line), "UNKNOWN: %s", membership_connect_text(err));
	} else {
		snprintf(line, sizeof(line), "UNKNOWN: %.600s", cli->error);
		cli->error[0] = '\0'; /* it is the answer */
	}
	return print_health(cli, "UNKNOWN", line, HEALTH_UNKNOWN);
}

/* ---- view ---- */

static json_t *capability_words(uint32_t capabilities)
{
	json_t *words = output_check(json_array());

	if ((capabilities & NODE_CAP_LEADER) != 0) {
		json_array_append_new(words, output_string("leader"));
	}
	if ((capabilities & NODE_CAP_LMASTER) != 0) {
		json_array_append_new(words, output_string("lmaster"));
	}
	return words;
}

static json_t *member_row(const struct view_member *m)
{
	json_t *flags = node_flags_json(m->flags & ~(uint32_t)NODE_FLAG_PARTIAL);

	if ((m->flags & NODE_FLAG_PARTIAL) != 0) {
		json_array_append_new(flags, output_string("PARTIALLYONLINE"));
	}
	return output_check(json_pack("{s:i, s:o, s:o, s:o, s:o}", "pnn", (int)m->pnn, "address",
				      output_string(m->address), "flags", flags, "capabilities",
				      capability_words(m->capabilities), "incarnation",
				      m->incarnation != 0 ? number(m->incarnation) : output_check(json_null())));
}

int cmd_cluster_view(struct cli *cli, char **argv, int argc)
{
	static const struct output_column columns[] = {{"pnn", "NODE"},
						       {"address", "ADDRESS"},
						       {"flags", "FLAGS"},
						       {"capabilities", "CAPABILITIES"},
						       {"incarnation", "INCARNATION"}};
	struct cluster_status *s;
	json_t *rows;
	int err = membership_status(cli, cli->opt.node, &s);

	if (err == ENOSYS) {
		return cli_fail(cli, EXIT_ERROR, "an earlier CTDB has no views: see ctdb cluster status");
	}
	if (err != 0) {
		return cli_fail_api(cli, err, "cannot get the view");
	}
	rows = output_check(json_array());
	output_field(&cli->out, "term", "Term", number(s->state.view.term));
	output_field(&cli->out, "number", "Number", number(s->state.view.number));
	output_field(&cli->out, "leader", "Leader",
		     s->state.view.leader != CLUSTER_NODE_NONE ? number(s->state.view.leader)
							       : output_check(json_null()));
	output_field(&cli->out, "since_s", "Unchanged for (s)", number(s->since_ms / 1000));
	output_field(&cli->out, "active", "That node acts on it", output_check(json_boolean(s->state.active)));
	if (!s->state.active || cli->opt.format == &output_json) {
		output_field(&cli->out, "reason", "Why not", text_or_null(s->state.active ? NULL : s->state.reason));
	}
	for (uint32_t i = 0; i < s->state.view.members.n; i++) {
		json_array_append_new(rows, member_row(&s->state.view.members.v[i]));
	}
	output_rows(&cli->out, "members", columns, 5, rows);
	return EXIT_OK;
}
