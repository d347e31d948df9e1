/* ctdb node ...: the nodes as a table. */
#include "cli.h"

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
