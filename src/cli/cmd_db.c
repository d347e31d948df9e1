/* ctdb db ...: databases of a node. */
#include <stdlib.h>
#include <string.h>

#include "copies.h"
#include "db_call.h"

static json_t *hex_id(uint32_t id)
{
	return json_sprintf("0x%08x", id);
}

static json_t *flag_words(uint32_t flags)
{
	json_t *words = output_check(json_array());

	if ((flags & CTDB_DB_FLAG_READONLY) != 0) {
		json_array_append_new(words, json_string("readonly"));
	}
	if ((flags & CTDB_DB_FLAG_STICKY) != 0) {
		json_array_append_new(words, json_string("sticky"));
	}
	return words;
}

static int add_row(struct cli *cli, const struct ctdb_db_entry *e, json_t *rows)
{
	char *name = NULL, *health = NULL;
	int err = ctdb_get_db_name(cli->c, cli->opt.node, e->id, cli->c, &name);

	if (err == 0) {
		err = ctdb_get_db_health(cli->c, cli->opt.node, e->id, cli->c, &health);
	}
	if (err != 0) {
		return cli_fail_api(cli, err, "database 0x%08x", e->id);
	}
	json_array_append_new(rows, output_check(json_pack("{s:o, s:o, s:s, s:o, s:b, s:o}", "id", hex_id(e->id),
							   "name", output_string(name), "model",
							   ctdb_db_model_name(ctdb_db_flags_model(e->flags)), "flags",
							   flag_words(e->flags), "healthy", health[0] == '\0', "health",
							   output_string(health[0] == '\0' ? "ok" : health))));
	return 0;
}

int cmd_db_list(struct cli *cli, char **argv, int argc)
{
	static const struct output_column columns[] = {
		{"id", "ID"}, {"name", "NAME"}, {"model", "MODEL"}, {"flags", "FLAGS"}, {"health", "HEALTH"}};
	struct ctdb_db_list *list = NULL;
	json_t *rows;
	uint32_t i;
	int code, err = ctdb_list_dbs(cli->c, cli->opt.node, cli->c, &list);

	if (err != 0) {
		return cli_fail_api(cli, err, "cannot list databases");
	}
	rows = output_check(json_array());
	for (i = 0; i < list->n; i++) {
		code = add_row(cli, &list->dbs[i], rows);
		if (code != 0) {
			json_decref(rows);
			return code;
		}
	}
	output_rows(&cli->out, "databases", columns, 5, rows);
	return EXIT_OK;
}

int cmd_db_attach(struct cli *cli, char **argv, int argc)
{
	struct ctdb_db *db = NULL;
	char *path = NULL;
	int err = ctdb_db_attach(cli->c, argv[0], cli->opt.model, cli->c, &db);

	if (err == 0) {
		err = ctdb_get_db_path(cli->c, CTDB_NODE_CURRENT, ctdb_db_id(db), cli->c, &path);
	}
	if (err != 0) {
		return cli_fail_api(cli, err, "cannot attach \"%s\" as %s database", argv[0],
				    ctdb_db_model_name(cli->opt.model));
	}
	output_field(&cli->out, "name", "Name", output_string(ctdb_db_name(db)));
	output_field(&cli->out, "id", "Id", hex_id(ctdb_db_id(db)));
	output_field(&cli->out, "model", "Model", json_string(ctdb_db_model_name(ctdb_db_get_model(db))));
	output_field(&cli->out, "path", "File", output_string(path));
	return EXIT_OK;
}

int cmd_db_status(struct cli *cli, char **argv, int argc)
{
	struct db_info db;
	enum ctdb_db_model model;
	char *path = NULL, *health = NULL;
	uint64_t seqnum = 0;
	int tdb_flags = 0, err, code = db_find(cli, cli->opt.node, argv[0], &db);

	if (code != 0) {
		return code;
	}
	model = ctdb_db_flags_model(db.flags);
	err = ctdb_get_db_path(cli->c, cli->opt.node, db.id, cli->c, &path);
	err = err != 0 ? err : ctdb_get_db_health(cli->c, cli->opt.node, db.id, cli->c, &health);
	err = err != 0 ? err : ctdb_get_db_open_flags(cli->c, cli->opt.node, db.id, &tdb_flags);
	if (err == 0 && model != CTDB_DB_VOLATILE) {
		err = ctdb_get_db_seqnum(cli->c, cli->opt.node, db.id, &seqnum);
	}
	if (err != 0) {
		return cli_fail_api(cli, err, "database \"%s\"", db.name);
	}
	output_field(&cli->out, "name", "Name", output_string(db.name));
	output_field(&cli->out, "id", "Id", hex_id(db.id));
	output_field(&cli->out, "model", "Model", json_string(ctdb_db_model_name(model)));
	output_field(&cli->out, "flags", "Flags", flag_words(db.flags));
	output_field(&cli->out, "healthy", "Healthy", json_boolean(health[0] == '\0'));
	output_field(&cli->out, "health", "Health", output_string(health[0] == '\0' ? "ok" : health));
	output_field(&cli->out, "path", "File", output_string(path));
	output_field(&cli->out, "tdb_flags", "TDB flags", json_sprintf("0x%04x", (unsigned int)tdb_flags));
	if (model != CTDB_DB_VOLATILE) {
		output_field(&cli->out, "seqnum", "Sequence number", json_integer((json_int_t)seqnum));
	}
	db_freeze_show(cli, db.id);
	db_locks_show(cli, db.id);
	return recovery_put(cli, cli->opt.node);
}

int cmd_db_seqnum(struct cli *cli, char **argv, int argc)
{
	uint64_t seqnum = 0;
	struct db_info db;
	int err, code = db_find(cli, cli->opt.node, argv[0], &db);

	if (code != 0) {
		return code;
	}
	if (ctdb_db_flags_model(db.flags) == CTDB_DB_VOLATILE) {
		return cli_fail(cli, EXIT_ERROR, "database \"%s\" is volatile: it has no sequence number", db.name);
	}
	err = ctdb_get_db_seqnum(cli->c, cli->opt.node, db.id, &seqnum);
	if (err != 0) {
		return cli_fail_api(cli, err, "database \"%s\"", db.name);
	}
	output_field(&cli->out, "seqnum", cli->opt.format == &output_text ? "" : "Sequence number",
		     json_integer((json_int_t)seqnum));
	return EXIT_OK;
}
