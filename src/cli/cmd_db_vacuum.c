/* ctdb db vacuum: deleted records go from the files now. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "copies.h"

#define DB_INTERFACE 0x20c70005U
#define DB_VERSION   1U
#define RUN_MS       600000U
/* What nodes tell each other in the first round is removed in the second. */
#define ROUNDS 2U

struct vacuuming {
	struct cli *cli;
	TALLOC_CTX *mem;
	struct copies_map map;
	json_t *rows;
	uint64_t removed, kept;
};

/* 0 or exit code. *known false: this node does not have the database. */
static int run_on(struct vacuuming *v, uint32_t pnn, const struct db_info *db, bool full, struct db_vacuum_run *run,
		  bool *known)
{
	const struct db_vacuum_args args = {.db_id = db->id, .full = full};
	struct ctdb_interface_call c = {.node = pnn,
					.endpoint = "db",
					.interface = DB_INTERFACE,
					.version = DB_VERSION,
					.procedure = DB_PROC_VACUUM,
					.timeout_ms = RUN_MS};
	struct ctdb_data result = {.len = 0};
	struct ctdb_blob blob = {.len = 0};
	int32_t status = 0;
	int err = db_vacuum_args_encode(v->mem, &args, &blob);

	c.payload = (struct ctdb_data){.data = blob.data, .len = blob.len};
	err = err != 0 ? err : ctdb_interface_call(v->cli->c, &c, v->mem, &status, &result);
	if (err != 0) {
		return cli_fail_api(v->cli, err, "node %u cannot be asked", pnn);
	}
	*known = status != ENOENT;
	if (status == ENOENT) {
		return 0;
	}
	if (status == EAGAIN) {
		return cli_fail(v->cli, EXIT_ERROR,
				"database \"%s\", node %u: a recovery runs, try again when it is over", db->name, pnn);
	}
	if (status != 0) {
		return cli_fail(v->cli, status == ETIMEDOUT ? EXIT_TIMEOUT : EXIT_ERROR,
				"database \"%s\", node %u: vacuuming has not come to its end: %s", db->name, pnn,
				strerror(status));
	}
	return db_vacuum_run_decode(v->mem, result.data, result.len, run) == 0
		       ? 0
		       : cli_fail(v->cli, EXIT_ERROR, "node %u gave an answer that this program does not understand",
				  pnn);
}

static void add_row(struct vacuuming *v, const struct db_info *db, uint32_t pnn, const struct db_vacuum_run *run)
{
	v->removed += run->removed;
	json_array_append_new(
		v->rows, output_check(json_pack("{s:o, s:I, s:I, s:I, s:I, s:I, s:I}", "name", output_string(db->name),
						"node", (json_int_t)pnn, "removed", (json_int_t)run->removed, "told",
						(json_int_t)run->told, "kept", (json_int_t)run->kept, "scanned",
						(json_int_t)run->scanned, "ms", (json_int_t)run->ms)));
}

/* The second round counts to the first. */
static void add_run(struct db_vacuum_run *sum, const struct db_vacuum_run *run)
{
	sum->removed += run->removed;
	sum->told += run->told;
	sum->scanned += run->scanned;
	sum->ms += run->ms;
	sum->kept = run->kept;
}

static int vacuum_one(struct vacuuming *v, const struct db_info *db)
{
	struct db_vacuum_run sums[COPIES_NODES_MAX] = {{.removed = 0}};
	bool known[COPIES_NODES_MAX] = {false};
	uint64_t told = 1;

	for (uint32_t round = 0; round < ROUNDS && told > 0; round++) {
		told = 0;
		for (uint32_t i = 0; i < v->map.n; i++) {
			struct db_vacuum_run run = {.removed = 0};
			int code = run_on(v, v->map.pnn[i], db, v->cli->opt.full && round == 0, &run, &known[i]);

			if (code != 0) {
				return code;
			}
			add_run(&sums[i], &run);
			told += run.told;
		}
	}
	for (uint32_t i = 0; i < v->map.n; i++) {
		if (known[i]) {
			add_row(v, db, v->map.pnn[i], &sums[i]);
			v->kept += sums[i].kept;
		}
	}
	return 0;
}

static int vacuum_all(struct vacuuming *v)
{
	struct ctdb_db_list *list = NULL;
	int err = ctdb_list_dbs(v->cli->c, CTDB_NODE_CURRENT, v->mem, &list), code = 0;

	if (err != 0) {
		return cli_fail_api(v->cli, err, "cannot list databases");
	}
	for (uint32_t i = 0; i < list->n && code == 0; i++) {
		struct db_info db = {.id = list->dbs[i].id, .flags = list->dbs[i].flags};

		if (ctdb_db_flags_model(db.flags) != CTDB_DB_VOLATILE) {
			continue;
		}
		err = ctdb_get_db_name(v->cli->c, CTDB_NODE_CURRENT, db.id, v->mem, &db.name);
		code = err != 0 ? cli_fail_api(v->cli, err, "database 0x%08x", db.id) : vacuum_one(v, &db);
	}
	return code;
}

static int vacuum_named(struct vacuuming *v, const char *name)
{
	struct db_info db;
	int code = db_find(v->cli, CTDB_NODE_CURRENT, name, &db);

	if (code == 0 && ctdb_db_flags_model(db.flags) != CTDB_DB_VOLATILE) {
		return cli_fail(v->cli, EXIT_ERROR,
				"database \"%s\" is not volatile: its deleted records are gone at once", name);
	}
	return code != 0 ? code : vacuum_one(v, &db);
}

int cmd_db_vacuum(struct cli *cli, char **argv, int argc)
{
	static const struct output_column columns[] = {{"name", "NAME"}, {"node", "NODE"}, {"removed", "REMOVED"},
						       {"told", "TOLD"}, {"kept", "KEPT"}, {"scanned", "SCANNED"},
						       {"ms", "MS"}};
	struct vacuuming v = {.cli = cli, .mem = talloc_new(cli->c), .rows = output_check(json_array())};
	int code = copies_map_get(cli, v.mem, &v.map);

	if (code == 0 && cli->opt.node != CTDB_NODE_CURRENT) {
		v.map.pnn[0] = cli->opt.node;
		v.map.n = 1;
	}
	if (code == 0) {
		code = argc > 0 ? vacuum_named(&v, argv[0]) : vacuum_all(&v);
	}
	if (code == 0) {
		output_rows(&cli->out, "databases", columns, 7, v.rows);
	} else {
		json_decref(v.rows);
	}
	talloc_free(v.mem);
	return code;
}
