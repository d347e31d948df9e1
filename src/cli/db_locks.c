/* Processes that keep a node from going on with a database, by locks of its file. */
#include <stdlib.h>
#include <string.h>

#include "copies.h"

#define DB_INTERFACE 0x20c70005U
#define DB_VERSION   1U
#define LOOK_MS      5000U

static json_t *key_text(const struct ctdb_blob *key)
{
	char *text = malloc(key->len * 4 + 1), *p = text;
	json_t *value;

	for (uint32_t i = 0; text != NULL && i < key->len; i++) {
		bool plain = key->data[i] >= ' ' && key->data[i] < 0x7f && key->data[i] != '\\';

		p += sprintf(p, plain ? "%c" : "\\x%02x", key->data[i]);
	}
	value = key->len > 0 && text != NULL ? output_check(json_string(text)) : json_null();
	free(text);
	return value;
}

static json_t *row_of(const struct db_lock *l)
{
	return output_check(json_pack(
		"{s:o, s:o, s:s, s:o, s:o, s:o, s:o, s:I}", "pid", l->pid != 0 ? json_integer(l->pid) : json_null(),
		"program", l->pid != 0 ? output_string(l->name) : json_null(), "state",
		l->pid == 0  ? "not visible from here"
		: l->stopped ? "stopped"
			     : "alive",
		"lock", output_string(l->what), "chain", l->chain != UINT32_MAX ? json_integer(l->chain) : json_null(),
		"key", key_text(&l->key), "waiting", output_string(l->waiting), "seconds",
		(json_int_t)(l->held_ms / 1000)));
}

void db_locks_show(struct cli *cli, uint32_t id)
{
	static const struct output_column columns[] = {{"pid", "HELD BY"},     {"program", "PROGRAM"},
						       {"state", "STATE"},     {"seconds", "SECONDS"},
						       {"waiting", "WAITING"}, {"lock", "LOCK"}};
	struct ctdb_interface_call c = {.node = cli->opt.node,
					.endpoint = "db",
					.interface = DB_INTERFACE,
					.version = DB_VERSION,
					.procedure = DB_PROC_GET_LOCKS,
					.timeout_ms = LOOK_MS};
	TALLOC_CTX *mem = talloc_new(cli->c);
	const struct db_copy_id arg = {.db_id = id};
	struct ctdb_data result = {.len = 0};
	struct ctdb_blob blob = {.len = 0};
	struct db_locks locks;
	int32_t status = 0;
	json_t *rows;
	int err = db_copy_id_encode(mem, &arg, &blob);

	c.payload = (struct ctdb_data){.data = blob.data, .len = blob.len};
	err = err != 0 ? err : ctdb_interface_call(cli->c, &c, mem, &status, &result);
	/* A daemon that cannot tell: nothing is said of it. */
	if (err == 0 && status == 0 && db_locks_decode(mem, result.data, result.len, &locks) == 0) {
		rows = output_check(json_array());
		for (uint32_t i = 0; i < locks.locks.n; i++) {
			json_array_append_new(rows, row_of(&locks.locks.v[i]));
		}
		output_rows(&cli->out, "locks", columns, 6, rows);
	}
	talloc_free(mem);
}
