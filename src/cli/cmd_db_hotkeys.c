/* ctdb db hotkeys: the records that nodes fight for. */
#include <stdlib.h>

#include "cli.h"
#include "text.h"

static void add_rows(struct cli *cli, uint32_t pnn, const struct ctdb_db_statistics *s, json_t *rows)
{
	/* The hottest first. */
	for (uint32_t i = s->n_hot_keys; i-- > 0;) {
		struct ctdb_data k = s->hot_keys[i].key;
		char *text = cli->opt.hex ? text_hex(k.data, k.len) : text_escape(k.data, k.len);

		json_array_append_new(rows, output_check(json_pack("{s:I, s:I, s:s}", "node", (json_int_t)pnn, "count",
								   (json_int_t)s->hot_keys[i].count, "key",
								   text != NULL ? text : "")));
		free(text);
	}
}

/* 0 or exit code */
static int ask(struct cli *cli, uint32_t pnn, const struct db_info *db, json_t *rows)
{
	struct ctdb_db_statistics *s = NULL;
	int err = ctdb_get_db_statistics(cli->c, pnn, db->id, cli->c, &s);

	if (err != 0) {
		return cli_fail_api(cli, err, "database \"%s\", node %u", db->name, pnn);
	}
	add_rows(cli, pnn, s, rows);
	talloc_free(s);
	return 0;
}

static int ask_all(struct cli *cli, const struct db_info *db, json_t *rows)
{
	struct ctdb_nodemap *map = NULL;
	int code = 0, err = ctdb_get_nodemap(cli->c, CTDB_NODE_CURRENT, cli->c, &map);

	if (err != 0) {
		return cli_fail_api(cli, err, "cannot list nodes");
	}
	for (uint32_t i = 0; i < map->n && code == 0; i++) {
		if ((map->nodes[i].flags & CTDB_NODE_INACTIVE) == 0) {
			code = ask(cli, map->nodes[i].pnn, db, rows);
		}
	}
	return code;
}

int cmd_db_hotkeys(struct cli *cli, char **argv, int argc)
{
	static const struct output_column columns[] = {{"node", "NODE"}, {"count", "COUNT"}, {"key", "KEY"}};
	json_t *rows = output_check(json_array());
	struct db_info db;
	int code = db_find(cli, cli->opt.node, argv[0], &db);

	if (code == 0) {
		code = cli->opt.node != CTDB_NODE_CURRENT ? ask(cli, cli->opt.node, &db, rows)
							  : ask_all(cli, &db, rows);
	}
	if (code != 0) {
		json_decref(rows);
		return code;
	}
	if (json_array_size(rows) == 0 && cli->opt.format == &output_text) {
		output_line(&cli->out, "", "no record has come to a node yet");
		json_decref(rows);
		return EXIT_OK;
	}
	output_rows(&cli->out, "hot_keys", columns, 3, rows);
	return EXIT_OK;
}
