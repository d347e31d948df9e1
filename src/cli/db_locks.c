/* What keeps a node from going on with a database: processes with locks of its file, a tool that has frozen it. */
#include <inttypes.h>
#include <stdio.h>
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

/* A question about one database. A daemon that cannot tell: false, nothing is said of it. */
static bool ask(struct cli *cli, TALLOC_CTX *mem, uint32_t id, uint32_t procedure, struct ctdb_data *result)
{
	struct ctdb_interface_call c = {.node = cli->opt.node,
					.endpoint = "db",
					.interface = DB_INTERFACE,
					.version = DB_VERSION,
					.procedure = procedure,
					.timeout_ms = LOOK_MS};
	const struct db_copy_id arg = {.db_id = id};
	struct ctdb_blob blob = {.len = 0};
	int32_t status = 0;
	int err = db_copy_id_encode(mem, &arg, &blob);

	c.payload = (struct ctdb_data){.data = blob.data, .len = blob.len};
	err = err != 0 ? err : ctdb_interface_call(cli->c, &c, mem, &status, result);
	return err == 0 && status == 0;
}

void db_locks_show(struct cli *cli, uint32_t id)
{
	static const struct output_column columns[] = {{"pid", "HELD BY"},     {"program", "PROGRAM"},
						       {"state", "STATE"},     {"seconds", "SECONDS"},
						       {"waiting", "WAITING"}, {"lock", "LOCK"}};
	TALLOC_CTX *mem = talloc_new(cli->c);
	struct ctdb_data result = {.len = 0};
	struct db_locks locks;
	json_t *rows;

	if (ask(cli, mem, id, DB_PROC_GET_LOCKS, &result) &&
	    db_locks_decode(mem, result.data, result.len, &locks) == 0) {
		rows = output_check(json_array());
		for (uint32_t i = 0; i < locks.locks.n; i++) {
			json_array_append_new(rows, row_of(&locks.locks.v[i]));
		}
		output_rows(&cli->out, "locks", columns, 6, rows);
	}
	talloc_free(mem);
}

/* ---- frozen by a tool ---- */

static const char *freeze_words(enum db_freeze_state state)
{
	static const char *const words[] = {
		[DB_FREEZE_NONE] = "no",
		[DB_FREEZE_WAITING] = "waits for locks",
		[DB_FREEZE_FROZEN] = "frozen",
		[DB_FREEZE_OPEN] = "being changed",
		[DB_FREEZE_COMMITTING] = "changes are being stored",
		[DB_FREEZE_COMMITTED] = "changed",
		[DB_FREEZE_OVER] = "waits for a recovery",
	};

	return words[state];
}

static json_t *freeze_json(const struct db_freeze *f)
{
	bool known = f->state != DB_FREEZE_OVER, pid = known && f->pid != 0;

	return output_check(json_pack("{s:s, s:o, s:o, s:o, s:o}", "state", freeze_words(f->state), "node",
				      known ? json_integer(f->node) : json_null(), "pid",
				      pid ? json_integer(f->pid) : json_null(), "program",
				      pid && f->name[0] != '\0' ? output_string(f->name) : json_null(), "seconds",
				      known ? json_integer((json_int_t)(f->frozen_ms / 1000)) : json_null()));
}

static json_t *freeze_text(const struct db_freeze *f)
{
	char who[80] = "";

	if (f->state == DB_FREEZE_OVER) {
		return output_check(json_string(freeze_words(f->state)));
	}
	if (f->pid != 0) {
		snprintf(who, sizeof(who), "process %u%s%s%s of ", f->pid, f->name[0] != '\0' ? " (" : "", f->name,
			 f->name[0] != '\0' ? ")" : "");
	}
	return output_check(json_sprintf("%s, by %snode %u, for %" PRIu64 " s", freeze_words(f->state), who, f->node,
					 f->frozen_ms / 1000));
}

void db_freeze_show(struct cli *cli, uint32_t id)
{
	TALLOC_CTX *mem = talloc_new(cli->c);
	struct ctdb_data result = {.len = 0};
	struct db_freeze f;

	if (ask(cli, mem, id, DB_PROC_GET_FREEZE, &result) && db_freeze_decode(mem, result.data, result.len, &f) == 0) {
		if (cli->opt.format == &output_json) {
			output_field(&cli->out, "frozen", "",
				     f.state == DB_FREEZE_NONE ? json_null() : freeze_json(&f));
		} else if (f.state != DB_FREEZE_NONE) {
			output_field(&cli->out, "", "Frozen", freeze_text(&f));
		}
	}
	talloc_free(mem);
}
