/* ctdb db set-readonly, set-sticky, and their old forms. */
#include "cli.h"

typedef int set_fn(struct ctdb_db *db);
typedef int set_node_fn(struct ctdb_client *c, uint32_t node, uint32_t id);

/* 0 or exit code */
static int find_volatile(struct cli *cli, const char *name, const char *what, struct db_info *db)
{
	int code = db_find(cli, cli->opt.node, name, db);

	if (code != 0 || ctdb_db_flags_model(db->flags) == CTDB_DB_VOLATILE) {
		return code;
	}
	if (cli->cmd->object == NULL) {
		return cli_fail(cli, EXIT_ERROR, "%s can be set only on volatile DB", what);
	}
	return cli_fail(cli, EXIT_ERROR, "database \"%s\" is %s: only volatile databases can be made %s", db->name,
			ctdb_db_model_name(ctdb_db_flags_model(db->flags)), what);
}

/* On all connected nodes. A node that does not have the database gets it first: a handle attaches it everywhere. */
static int set_everywhere(struct cli *cli, const char *name, const char *what, set_fn *set)
{
	struct ctdb_db *db = NULL;
	struct db_info info;
	int err, code = find_volatile(cli, name, what, &info);

	code = code == 0 ? db_open(cli, info.name, &db) : code;
	if (code != 0) {
		return code;
	}
	err = set(db);
	if (err != 0) {
		return cli_fail_api(cli, err, "database \"%s\" cannot be made %s on all nodes", info.name, what);
	}
	output_field(&cli->out, "name", "Name", output_string(info.name));
	output_field(&cli->out, what, what[0] == 's' ? "Sticky" : "Read-only copies", json_true());
	return EXIT_OK;
}

int cmd_db_set_readonly(struct cli *cli, char **argv, int argc)
{
	return set_everywhere(cli, argv[0], "readonly", ctdb_db_set_readonly);
}

int cmd_db_set_sticky(struct cli *cli, char **argv, int argc)
{
	return set_everywhere(cli, argv[0], "sticky", ctdb_db_set_sticky);
}

/* ---- old forms: on one node ---- */

static int set_old(struct cli *cli, const char *name, const char *what, set_node_fn *set)
{
	struct db_info db;
	int err, code = find_volatile(cli, name, what, &db);

	if (code != 0) {
		return code;
	}
	cli->printed = true;
	err = set(cli->c, cli->opt.node, db.id);
	return err == 0 ? EXIT_OK : cli_fail_api(cli, err, "database \"%s\"", db.name);
}

int cmd_old_setdbreadonly(struct cli *cli, char **argv, int argc)
{
	return set_old(cli, argv[0], "READONLY", ctdb_set_db_readonly);
}

int cmd_old_setdbsticky(struct cli *cli, char **argv, int argc)
{
	return set_old(cli, argv[0], "STICKY", ctdb_set_db_sticky);
}
