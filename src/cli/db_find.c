/* Databases by the name or id that was typed. */
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "text.h"

bool db_is_id(const char *name)
{
	return strncmp(name, "0x", 2) == 0;
}

static bool parse_id(const char *name, uint32_t *id)
{
	uint64_t v;

	if (!db_is_id(name) || !text_number(name, UINT32_MAX, &v)) {
		return false;
	}
	*id = (uint32_t)v;
	return true;
}

int db_not_found(const struct cli *cli)
{
	return cli->cmd->object == NULL ? EXIT_ERROR : EXIT_NOT_FOUND; /* old forms: as ever */
}

int db_find(struct cli *cli, uint32_t node, const char *name, struct db_info *db)
{
	struct ctdb_db_list *list = NULL;
	uint32_t id, i;
	bool by_id = parse_id(name, &id);
	char *n = NULL;
	int err = ctdb_list_dbs(cli->c, node, cli->c, &list);

	if (err != 0) {
		return cli_fail_api(cli, err, "cannot list databases");
	}
	for (i = 0; i < list->n; i++) {
		if (by_id && list->dbs[i].id != id) {
			continue;
		}
		err = ctdb_get_db_name(cli->c, node, list->dbs[i].id, cli->c, &n);
		if (err != 0) {
			return cli_fail_api(cli, err, "cannot get the name of database 0x%08x", list->dbs[i].id);
		}
		if (by_id || strcmp(n, name) == 0) {
			*db = (struct db_info){.id = list->dbs[i].id, .flags = list->dbs[i].flags, .name = n};
			talloc_free(list);
			return 0;
		}
	}
	if (cli->cmd->object == NULL) {
		return cli_fail(cli, EXIT_ERROR, "No database matching '%s' found", name);
	}
	return cli_fail(cli, EXIT_NOT_FOUND,
			"no database \"%s\" here: ctdb db list shows which there are, ctdb db attach makes one", name);
}

int db_open(struct cli *cli, const char *name, struct ctdb_db **db)
{
	struct db_info info;
	int code = db_find(cli, CTDB_NODE_CURRENT, name, &info), err;

	if (code != 0) {
		return code;
	}
	err = ctdb_db_attach(cli->c, info.name, ctdb_db_flags_model(info.flags), cli->c, db);
	return err == 0 ? 0 : cli_fail_api(cli, err, "cannot open database \"%s\"", info.name);
}
