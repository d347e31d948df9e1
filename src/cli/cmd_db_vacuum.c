/* ctdb db vacuum: deleted records go from the files now. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "copies.h"
#include "db_call.h"

#define RUN_MS 600000U
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
	struct ctdb_data result = {.len = 0};
	struct ctdb_blob blob;
	int status = db_vacuum_args_encode(v->mem, &args, &blob) != 0
			     ? -cli_fail(v->cli, EXIT_ERROR, "out of memory")
			     : db_call(v->cli, v->mem, pnn, DB_PROC_VACUUM, &blob,
				       v->cli->opt.timeout_given ? v->cli->opt.timeout_ms : RUN_MS, &result);

	if (status < 0) {
		return -status;
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
	return db_vacuum_run_decode(v->mem, result.data, result.len, run) == 0 ? 0 : -db_call_malformed(v->cli, pnn);
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

/* ---- ctdb db statistics ---- */

static const struct {
	const char *key, *title;
	size_t at; /* of a uint64_t */
} counts[] = {
	{"runs", "Vacuuming runs", offsetof(struct db_vacuum_counts, runs)},
	{"full_runs", "Vacuuming runs over the whole file", offsetof(struct db_vacuum_counts, full_runs)},
	{"failed_runs", "Vacuuming runs that did not come to their end",
	 offsetof(struct db_vacuum_counts, failed_runs)},
	{"removed", "Records removed on all nodes", offsetof(struct db_vacuum_counts, removed)},
	{"removed_at_once", "Records removed that no other node had",
	 offsetof(struct db_vacuum_counts, removed_at_once)},
	{"tombstones", "Copies emptied for other nodes", offsetof(struct db_vacuum_counts, tombstones)},
	{"dropped", "Emptied copies removed for other nodes", offsetof(struct db_vacuum_counts, dropped)},
	{"refused", "Refused to other nodes, since in use", offsetof(struct db_vacuum_counts, refused)},
	{"pulled", "Records fetched in order to remove them", offsetof(struct db_vacuum_counts, pulled)},
	{"orphans", "Pointers found without a record", offsetof(struct db_vacuum_counts, orphans)},
	{"lost", "Hints that had no room", offsetof(struct db_vacuum_counts, lost)},
	{"ms", "Milliseconds of all vacuuming runs", offsetof(struct db_vacuum_counts, ms)},
};

static uint64_t count_of(const struct db_vacuum_counts *c, size_t i)
{
	uint64_t v;

	memcpy(&v, (const uint8_t *)c + counts[i].at, sizeof(v));
	return v;
}

static void put_counts(struct cli *cli, const struct db_vacuum_counts *c)
{
	bool json = cli->opt.format == &output_json;
	json_t *all = output_check(json_pack("{s:I}", "candidates", (json_int_t)c->candidates));

	if (!json) {
		output_field(&cli->out, "", "Deleted records that wait to be removed",
			     output_check(json_integer((json_int_t)c->candidates)));
	}
	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		json_t *v = output_check(json_integer((json_int_t)count_of(c, i)));

		if (json) {
			json_object_set_new(all, counts[i].key, v);
		} else {
			output_field(&cli->out, "", counts[i].title, v);
		}
	}
	if (json) {
		output_field(&cli->out, "vacuum", "", all);
	} else {
		json_decref(all);
	}
}

int vacuum_put(struct cli *cli, uint32_t pnn, const struct db_info *db)
{
	TALLOC_CTX *mem = talloc_new(cli->c);
	const struct db_copy_id arg = {.db_id = db->id};
	struct ctdb_data result = {.len = 0};
	struct db_vacuum_counts c;
	struct ctdb_blob blob;
	int ret = db_copy_id_encode(mem, &arg, &blob) != 0
			  ? -cli_fail(cli, EXIT_ERROR, "out of memory")
			  : db_call(cli, mem, pnn, DB_PROC_GET_VACUUM, &blob, cli->opt.timeout_ms, &result);

	if (ret == 0 && db_vacuum_counts_decode(mem, result.data, result.len, &c) != 0) {
		ret = db_call_malformed(cli, pnn);
	} else if (ret == 0) {
		put_counts(cli, &c);
	}
	talloc_free(mem);
	return ret < 0 ? -ret : 0; /* others' daemons do not tell */
}
