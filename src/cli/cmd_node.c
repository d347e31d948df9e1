/* ctdb node list, status, ping, capabilities: the nodes as tables. */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "membership.h"

int cmd_node_list(struct cli *cli, char **argv, int argc)
{
	static const struct output_column columns[] = {
		{"pnn", "NODE"}, {"address", "ADDRESS"}, {"flags", "FLAGS"}, {"this", "THIS NODE"}};
	struct ctdb_nodemap *map = NULL;
	json_t *rows;
	uint32_t i;
	int err = ctdb_get_nodemap(cli->c, cli->opt.node, cli->c, &map);

	if (err != 0) {
		return cli_fail_api(cli, err, "cannot list nodes");
	}
	rows = output_check(json_array());
	for (i = 0; i < map->n; i++) {
		const struct ctdb_node *n = &map->nodes[i];

		json_array_append_new(rows,
				      output_check(json_pack("{s:i, s:s, s:o, s:b}", "pnn", (int)n->pnn, "address",
							     node_address(n), "flags", node_flags_json(n->flags),
							     "this", n->pnn == ctdb_client_pnn(cli->c))));
	}
	output_rows(&cli->out, "nodes", columns, 4, rows);
	return EXIT_OK;
}

/* ---- several nodes, each asked itself ---- */

#define ASK_MS 3000U

typedef int (*ask_fn)(struct cli *cli, uint32_t pnn, json_t *row);

static json_t *number(uint64_t v)
{
	return output_check(json_integer((json_int_t)v));
}

static json_t *error_of(const struct cli *cli, const struct ctdb_node *node)
{
	const char *text = ctdb_client_error(cli->c);
	bool away = (node != NULL && (node->flags & CTDB_NODE_DISCONNECTED) != 0) ||
		    strstr(text, "disconnected node") != NULL;

	return output_string(away ? "it is disconnected" : text);
}

/* A row for each node; exit status 1 if one could not be asked. */
static int ask_nodes(struct cli *cli, const char *word, ask_fn ask, const struct output_column *columns,
		     size_t n_columns)
{
	uint32_t *pnns, n, limit = cli->opt.timeout_ms;
	struct ctdb_nodemap *map = NULL;
	json_t *rows = output_check(json_array());
	int err = ctdb_get_nodemap(cli->c, CTDB_NODE_CURRENT, cli->c, &map), code;
	bool good = true;

	code = err != 0 ? cli_fail_api(cli, err, "cannot list nodes") : node_list_arg(cli, word, map, &pnns, &n);
	ctdb_client_set_timeout(cli->c, limit < ASK_MS ? limit : ASK_MS);
	for (uint32_t i = 0; code == 0 && i < n; i++) {
		const struct ctdb_node *node = node_find(map, pnns[i]);
		json_t *row = output_check(json_object());

		json_object_set_new(row, "pnn", number(pnns[i]));
		json_object_set_new(row, "address", output_string(node != NULL ? node_address(node) : "?"));
		err = ask(cli, pnns[i], row);
		json_object_set_new(row, "error", err != 0 ? error_of(cli, node) : output_check(json_null()));
		good = good && err == 0;
		json_array_append_new(rows, row);
		code = err == ENOTCONN ? cli_fail_api(cli, err, "node %u", pnns[i]) : 0;
	}
	if (code != 0) {
		json_decref(rows);
		return code;
	}
	output_rows(&cli->out, "nodes", columns, good ? n_columns - 1 : n_columns, rows);
	return good ? EXIT_OK : EXIT_ERROR;
}

static int ask_ping(struct cli *cli, uint32_t pnn, json_t *row)
{
	struct timespec a, b;
	uint32_t clients;
	int err;

	clock_gettime(CLOCK_MONOTONIC, &a);
	err = ctdb_ping(cli->c, pnn, &clients);
	clock_gettime(CLOCK_MONOTONIC, &b);
	if (err == 0) {
		int64_t us = (int64_t)(b.tv_sec - a.tv_sec) * 1000000 + (b.tv_nsec - a.tv_nsec) / 1000;

		json_object_set_new(row, "time_us", number((uint64_t)us));
		json_object_set_new(row, "clients", number(clients));
	}
	return err;
}

int cmd_node_ping(struct cli *cli, char **argv, int argc)
{
	static const struct output_column columns[] = {{"pnn", "NODE"},
						       {"address", "ADDRESS"},
						       {"time_us", "TIME (us)"},
						       {"clients", "CLIENTS"},
						       {"error", "ERROR"}};

	return ask_nodes(cli, argc > 0 ? argv[0] : NULL, ask_ping, columns, 5);
}

static int ask_capabilities(struct cli *cli, uint32_t pnn, json_t *row)
{
	uint32_t capabilities;
	int err = ctdb_get_capabilities(cli->c, pnn, &capabilities);

	if (err == 0) {
		json_object_set_new(row, "leader", output_check(json_boolean((capabilities & CTDB_CAP_LEADER) != 0)));
		json_object_set_new(row, "lmaster", output_check(json_boolean((capabilities & CTDB_CAP_LMASTER) != 0)));
	}
	return err;
}

int cmd_node_capabilities(struct cli *cli, char **argv, int argc)
{
	static const struct output_column columns[] = {{"pnn", "NODE"},
						       {"address", "ADDRESS"},
						       {"leader", "MAY LEAD"},
						       {"lmaster", "MAY BE LMASTER"},
						       {"error", "ERROR"}};

	return ask_nodes(cli, argc > 0 ? argv[0] : NULL, ask_capabilities, columns, 5);
}

static void row_from_clusterd(struct cli *cli, uint32_t pnn, json_t *row)
{
	struct cluster_status *s = NULL;
	uint32_t leader;

	if (membership_status(cli, pnn, &s) != 0) {
		return; /* an earlier daemon */
	}
	leader = membership_leader(s);
	json_object_set_new(row, "active", output_check(json_boolean(s->state.active)));
	json_object_set_new(row, "reason",
			    s->state.reason[0] != '\0' ? output_string(s->state.reason) : output_check(json_null()));
	json_object_set_new(row, "leader", leader != CTDB_NODE_UNKNOWN ? number(leader) : output_check(json_null()));
}

static uint32_t flags_of(const struct ctdb_nodemap *map, uint32_t pnn)
{
	const struct ctdb_node *n = node_find(map, pnn);

	return n != NULL ? n->flags : CTDB_NODE_DELETED;
}

static int ask_status(struct cli *cli, uint32_t pnn, json_t *row)
{
	struct ctdb_nodemap *map = NULL;
	struct ctdb_vnnmap *slots = NULL;
	enum ctdb_runstate runstate;
	enum ctdb_recmode recmode;
	uint32_t ban_s = 0, flags;
	int err = ctdb_get_nodemap(cli->c, pnn, cli->c, &map);

	err = err != 0 ? err : ctdb_get_runstate(cli->c, pnn, &runstate);
	err = err != 0 ? err : ctdb_get_recmode(cli->c, pnn, &recmode);
	err = err != 0 ? err : ctdb_get_vnnmap(cli->c, pnn, cli->c, &slots);
	err = err != 0 ? err : ctdb_get_ban_state(cli->c, pnn, &ban_s);
	if (err != 0) {
		return err;
	}
	flags = flags_of(map, pnn);
	(void)membership_own_flags(cli, pnn, &flags);
	json_object_set_new(row, "flags", node_flags_json(flags));
	json_object_set_new(row, "runstate", output_string(ctdb_runstate_name(runstate)));
	json_object_set_new(row, "recovery", output_check(json_boolean(recmode != CTDB_RECMODE_NORMAL)));
	json_object_set_new(row, "generation",
			    slots->generation != CTDB_GENERATION_INVALID ? number(slots->generation)
									 : output_check(json_null()));
	json_object_set_new(row, "ban_s", ban_s > 0 ? number(ban_s) : output_check(json_null()));
	json_object_set_new(row, "active", output_check(json_boolean((flags & CTDB_NODE_INACTIVE) == 0)));
	row_from_clusterd(cli, pnn, row);
	return 0;
}

int cmd_node_status(struct cli *cli, char **argv, int argc)
{
	static const struct output_column columns[] = {
		{"pnn", "NODE"},      {"address", "ADDRESS"}, {"runstate", "RUN STATE"}, {"active", "ACTIVE"},
		{"flags", "FLAGS"},   {"leader", "LEADER"},   {"recovery", "RECOVERY"},  {"generation", "GENERATION"},
		{"ban_s", "BAN (s)"}, {"reason", "WHY"},      {"error", "ERROR"}};

	return ask_nodes(cli, argc > 0 ? argv[0] : NULL, ask_status, columns, 11);
}
