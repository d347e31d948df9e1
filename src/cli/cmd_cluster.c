/* ctdb cluster ...: the state of the cluster as this node sees it. */
#include <errno.h>
#include <string.h>

#include "cli.h"
#include "verdict.h"

/* The leader says so each second. */
#define LEADER_WAIT_MS 2000U

/* 0 or exit code. What a daemon may not answer is left empty. */
static int ask(struct cli *cli, struct facts *f)
{
	struct ctdb_nodemap *nodes = NULL;
	struct ctdb_vnnmap *map = NULL;
	char *membership = NULL;
	int err;

	*f = (struct facts){
		.pnn = ctdb_client_pnn(cli->c), .generation = CTDB_GENERATION_INVALID, .leader = CTDB_NODE_UNKNOWN};
	err = ctdb_get_nodemap(cli->c, CTDB_NODE_CURRENT, cli->c, &nodes);
	err = err != 0 ? err : ctdb_get_runstate(cli->c, CTDB_NODE_CURRENT, &f->runstate);
	err = err != 0 ? err : ctdb_get_recmode(cli->c, CTDB_NODE_CURRENT, &f->recmode);
	err = err != 0 ? err : ctdb_get_vnnmap(cli->c, CTDB_NODE_CURRENT, cli->c, &map);
	err = err != 0 ? err : ctdb_get_uptime(cli->c, CTDB_NODE_CURRENT, &f->uptime);
	if (err != 0) {
		return cli_fail_api(cli, err, "cannot get the status");
	}
	err = ctdb_get_verdict(cli->c, CTDB_NODE_CURRENT, cli->c, &membership);
	if (err != 0 && err != EREMOTEIO && err != ETIMEDOUT) {
		return cli_fail_api(cli, err, "cannot get the membership");
	}
	f->membership = err == 0 ? membership : NULL;
	f->nodes = nodes;
	f->generation = map->generation;
	ctdb_client_set_timeout(cli->c, cli->opt.timeout_ms < LEADER_WAIT_MS ? cli->opt.timeout_ms : LEADER_WAIT_MS);
	err = ctdb_get_leader(cli->c, &f->leader);
	ctdb_client_set_timeout(cli->c, cli->opt.timeout_ms);
	if (err != 0 && err != ETIMEDOUT) {
		return cli_fail_api(cli, err, "cannot learn who leads");
	}
	f->has_leader = err == 0;
	return 0;
}

static void print_nodes(struct cli *cli, const struct facts *f)
{
	static const struct output_column columns[] = {
		{"pnn", "NODE"}, {"address", "ADDRESS"}, {"status", "STATUS"}, {"role", "ROLE"}};
	json_t *rows = output_check(json_array());
	uint32_t i;

	for (i = 0; i < f->nodes->n; i++) {
		const struct ctdb_node *n = &f->nodes->nodes[i];
		bool leads = f->has_leader && n->pnn == f->leader, this = n->pnn == f->pnn;

		if ((n->flags & CTDB_NODE_DELETED) != 0) {
			continue;
		}
		json_array_append_new(
			rows, output_check(json_pack("{s:i, s:s, s:s, s:o, s:b, s:b, s:s}", "pnn", (int)n->pnn,
						     "address", node_address(n), "status",
						     node_flags_text(n->flags, false, false), "flags",
						     node_flags_json(n->flags), "leader", leads, "this", this, "role",
						     leads && this ? "leader, this node"
						     : leads       ? "leader"
						     : this        ? "this node"
								   : "")));
	}
	output_rows(&cli->out, "nodes", columns, 4, rows);
}

static void print_verdict(struct cli *cli, const struct verdict *v)
{
	char line[640];

	snprintf(line, sizeof(line), "%s: %s%s%s", v->state, v->reason, v->since[0] != '\0' ? ", " : "", v->since);
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

int cmd_cluster_status(struct cli *cli, char **argv, int argc)
{
	struct facts f;
	struct verdict v;
	int code = ask(cli, &f);

	if (code != 0) {
		return code;
	}
	verdict_make(&f, &v);
	print_verdict(cli, &v);
	print_nodes(cli, &f);
	if (f.membership != NULL || cli->opt.format == &output_json) {
		output_field(&cli->out, "membership", "Membership",
			     f.membership != NULL ? json_string(f.membership) : json_null());
	}
	links_print_security(cli);
	output_field(&cli->out, "leader", "Leader", f.has_leader ? json_integer(f.leader) : json_null());
	output_field(&cli->out, "generation", "Generation",
		     f.generation == CTDB_GENERATION_INVALID ? json_null() : json_integer((json_int_t)f.generation));
	output_field(&cli->out, "recovery", "Recovery going on", json_boolean(f.recmode != CTDB_RECMODE_NORMAL));
	output_field(&cli->out, "runstate", "Run state", json_string(ctdb_runstate_name(f.runstate)));
	return EXIT_OK;
}
