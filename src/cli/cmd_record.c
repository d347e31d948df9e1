/* ctdb record ...: single records. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "copies.h"
#include "text.h"

#define VALUE_MAX (64U * 1024 * 1024)

static int parse_bytes(struct cli *cli, const char *what, const char *text, struct bytes *out)
{
	int err = cli->opt.hex ? text_unhex(text, out) : text_unescape(text, out);

	if (err == EINVAL) {
		return cli_fail(cli, EXIT_USAGE,
				cli->opt.hex ? "%s \"%s\" is not hexadecimal"
					     : "%s \"%s\": after a backslash only xNN or another backslash",
				what, text);
	}
	if (err != 0) {
		return cli_fail(cli, EXIT_ERROR, "%s: %s", what, strerror(err));
	}
	cli_own(cli, out->data);
	return 0;
}

static int parse_value(struct cli *cli, const char *text, struct bytes *out)
{
	struct bytes in;
	int err;

	if (strcmp(text, "-") != 0) {
		return parse_bytes(cli, "value", text, out);
	}
	err = text_read(stdin, VALUE_MAX, &in);
	if (err != 0) {
		return cli_fail(cli, EXIT_ERROR, "standard input: %s",
				err == EFBIG ? "a value has at most 64 MiB" : strerror(err));
	}
	cli_own(cli, in.data);
	if (cli->opt.hex) {
		return memchr(in.data, '\0', in.len) == NULL
			       ? parse_bytes(cli, "value", (const char *)in.data, out)
			       : cli_fail(cli, EXIT_USAGE, "standard input is not hexadecimal: there is a NUL byte");
	}
	*out = in;
	return 0;
}

static struct ctdb_data data_of(const struct bytes *b)
{
	return (struct ctdb_data){.data = b->data, .len = b->len};
}

/* Opens the database and reads the key. */
static int begin(struct cli *cli, char **argv, struct ctdb_db **db, struct bytes *key)
{
	int code = parse_bytes(cli, "key", argv[1], key);

	if (code == 0 && key->len == 0) {
		code = cli_fail(cli, EXIT_USAGE, "the key is empty");
	}
	if (code == 0) {
		code = db_open(cli, argv[0], db);
	}
	return code;
}

static int not_found(struct cli *cli, const struct ctdb_db *db, const char *key)
{
	return cli_fail(cli, EXIT_NOT_FOUND, "no record \"%s\" in database \"%s\"", key, ctdb_db_name(db));
}

static json_t *bytes_value(const struct cli *cli, struct ctdb_data d)
{
	char *text = cli->opt.hex ? text_hex(d.data, d.len) : text_escape(d.data, d.len);
	json_t *v = text != NULL ? json_string(text) : NULL;

	free(text);
	return output_check(v);
}

/* Members that all record commands give to programs. */
static void put_identity(struct cli *cli, const struct ctdb_db *db, const struct bytes *key)
{
	if (cli->opt.format != &output_text) {
		output_field(&cli->out, "database", "Database", output_string(ctdb_db_name(db)));
		output_field(&cli->out, "key", "Key", bytes_value(cli, data_of(key)));
	}
}

int cmd_record_get(struct cli *cli, char **argv, int argc)
{
	struct ctdb_db *db = NULL;
	struct ctdb_data data;
	struct bytes key;
	int err, code = begin(cli, argv, &db, &key);

	if (code != 0) {
		return code;
	}
	err = ctdb_record_fetch(db, data_of(&key), cli->c, &data);
	if (err == ENOENT) {
		return not_found(cli, db, argv[1]);
	}
	if (err != 0) {
		return cli_fail_api(cli, err, "cannot read record \"%s\"", argv[1]);
	}
	put_identity(cli, db, &key);
	output_field(&cli->out, "value", cli->opt.format == &output_text ? "" : "Value", bytes_value(cli, data));
	if (cli->opt.format != &output_text) {
		output_field(&cli->out, "size", "Size", json_integer((json_int_t)data.len));
	}
	return EXIT_OK;
}

/* ---- changing: under the record's lock, or in a transaction ---- */

static int change_volatile(struct cli *cli, struct ctdb_db *db, struct ctdb_data key, const struct ctdb_data *value)
{
	struct ctdb_record *rec = NULL;
	int err = ctdb_record_lock(db, key, cli->c, &rec);

	if (err != 0) {
		return err;
	}
	if (value != NULL) {
		err = ctdb_record_store(rec, *value);
	} else {
		err = ctdb_record_data(rec).len == 0 ? ENOENT : ctdb_record_delete(rec);
	}
	talloc_free(rec);
	return err != 0 ? err : ctdb_client_flush(cli->c);
}

/* *uncertain: whether it was done is not known. */
static int change_replicated(struct cli *cli, struct ctdb_db *db, struct ctdb_data key, const struct ctdb_data *value,
			     bool *uncertain)
{
	struct ctdb_transaction *t = NULL;
	struct ctdb_data old;
	int err = ctdb_transaction_start(db, cli->c, &t);

	if (err != 0) {
		return err;
	}
	if (value != NULL) {
		err = ctdb_transaction_store(t, key, *value);
	} else {
		err = ctdb_transaction_fetch(t, key, cli->c, &old);
		err = err != 0 ? err : ctdb_transaction_delete(t, key);
	}
	if (err == 0) {
		err = ctdb_transaction_commit(t);
		*uncertain = err != 0 && ctdb_transaction_uncertain(t);
	} else {
		(void)ctdb_transaction_cancel(t);
	}
	talloc_free(t);
	(void)ctdb_client_flush(cli->c);
	return err;
}

/* 0, EXIT_NOT_FOUND without a text, or an exit code with one. */
static int change(struct cli *cli, struct ctdb_db *db, const struct bytes *key, const struct ctdb_data *value,
		  const char *name)
{
	bool uncertain = false;
	const char *what = value != NULL ? "cannot write record" : "cannot delete record";
	int err = ctdb_db_get_model(db) == CTDB_DB_VOLATILE
			  ? change_volatile(cli, db, data_of(key), value)
			  : change_replicated(cli, db, data_of(key), value, &uncertain);

	if (err == 0 || (err == ENOENT && value == NULL)) {
		return err == 0 ? 0 : EXIT_NOT_FOUND;
	}
	return cli_fail_api(cli, err, "%s \"%s\"", uncertain ? "it is not known whether this was stored: record" : what,
			    name);
}

int cmd_record_set(struct cli *cli, char **argv, int argc)
{
	struct ctdb_db *db = NULL;
	struct bytes key, value;
	struct ctdb_data data;
	int code = parse_value(cli, argv[2], &value);

	if (code == 0 && value.len == 0) {
		code = cli_fail(
			cli, EXIT_USAGE,
			"the value is empty, which means that the record does not exist: use ctdb record delete");
	}
	if (code == 0) {
		code = begin(cli, argv, &db, &key);
	}
	if (code != 0) {
		return code;
	}
	data = data_of(&value);
	code = change(cli, db, &key, &data, argv[1]);
	if (code != 0) {
		return code;
	}
	put_identity(cli, db, &key);
	return EXIT_OK;
}

int cmd_record_delete(struct cli *cli, char **argv, int argc)
{
	struct ctdb_db *db = NULL;
	struct bytes key;
	int code = begin(cli, argv, &db, &key);

	code = code != 0 ? code : change(cli, db, &key, NULL, argv[1]);
	if (code != 0) {
		return code == EXIT_NOT_FOUND && cli->error[0] == '\0' ? not_found(cli, db, argv[1]) : code;
	}
	put_identity(cli, db, &key);
	return EXIT_OK;
}

/* ---- info ---- */

static void put_copy(struct cli *cli, const struct ctdb_db *db, const struct ctdb_record_header *h,
		     struct ctdb_data data)
{
	bool current = ctdb_db_get_model(db) != CTDB_DB_VOLATILE || h->dmaster == ctdb_client_pnn(cli->c);

	output_field(&cli->out, "local", "Copy on this node", json_true());
	output_field(&cli->out, "current", "Copy is current", json_boolean(current));
	output_field(&cli->out, "rsn", "Record sequence number", json_integer((json_int_t)h->rsn));
	output_field(&cli->out, "dmaster", "Data master", json_integer(h->dmaster));
	output_field(&cli->out, "flags", "Flags", json_sprintf("0x%08x", h->flags));
	output_field(&cli->out, "size", "Size", json_integer((json_int_t)data.len));
}

static int put_place(struct cli *cli, const struct bytes *key)
{
	struct ctdb_vnnmap *map = NULL;
	uint32_t hash = ctdb_key_hash(key->data, key->len);
	int err = ctdb_get_vnnmap(cli->c, CTDB_NODE_CURRENT, cli->c, &map);

	if (err != 0) {
		return cli_fail_api(cli, err, "cannot get the vnn map");
	}
	output_field(&cli->out, "hash", "Hash", json_sprintf("0x%08x", hash));
	output_field(&cli->out, "slot", "Slot", map->size == 0 ? json_null() : json_integer(hash % map->size));
	output_field(&cli->out, "slots", "Slots", json_integer(map->size));
	output_field(&cli->out, "lmaster", "Location master",
		     map->size == 0 ? json_null() : json_integer(map->map[hash % map->size]));
	return 0;
}

int cmd_record_info(struct cli *cli, char **argv, int argc)
{
	struct ctdb_db *db = NULL;
	struct ctdb_record_header h;
	struct ctdb_data data;
	struct bytes key;
	int err, code = begin(cli, argv, &db, &key);

	if (code != 0) {
		return code;
	}
	err = ctdb_record_peek(db, data_of(&key), cli->c, &h, &data);
	if (err != 0 && err != ENOENT) {
		return cli_fail_api(cli, err, "cannot look at record \"%s\"", argv[1]);
	}
	output_field(&cli->out, "database", "Database", output_string(ctdb_db_name(db)));
	output_field(&cli->out, "model", "Model", json_string(ctdb_db_model_name(ctdb_db_get_model(db))));
	output_field(&cli->out, "key", "Key", bytes_value(cli, data_of(&key)));
	if (err == 0) {
		put_copy(cli, db, &h, data);
	} else {
		output_field(&cli->out, "local", "Copy on this node", json_false());
	}
	return put_place(cli, &key);
}

/* ---- locate ---- */

static json_t *role_of(const struct copies_map *map, uint32_t i, const struct copy *c, bool is_volatile,
		       uint32_t lmaster)
{
	json_t *words = output_check(json_array());

	if (c->found && is_volatile && c->dmaster == map->pnn[i]) {
		json_array_append_new(words, json_string("owner"));
	}
	if (is_volatile && lmaster == map->pnn[i]) {
		json_array_append_new(words, json_string("lmaster"));
	}
	return words;
}

static json_t *locate_row(const struct copies_map *map, uint32_t i, const struct copy *c, bool is_volatile,
			  uint32_t lmaster)
{
	json_t *row = output_check(json_pack("{s:I, s:o, s:b}", "node", (json_int_t)map->pnn[i], "role",
					     role_of(map, i, c, is_volatile, lmaster), "found", c->found));

	if (c->found) {
		json_object_set_new(row, "rsn", json_integer((json_int_t)c->rsn));
		json_object_set_new(row, "dmaster", json_integer(c->dmaster));
		json_object_set_new(row, "flags", json_sprintf("0x%08x", c->flags));
		json_object_set_new(row, "size", json_integer(c->size));
	}
	return row;
}

/* Rows of all nodes. 0 or exit code. */
static int locate(struct cli *cli, const struct db_info *db, const struct bytes *key, json_t *rows, bool *found)
{
	bool is_volatile = ctdb_db_flags_model(db->flags) == CTDB_DB_VOLATILE;
	struct copies_map map = {.n = 0};
	int code = copies_map_get(cli, cli->c, &map);

	for (uint32_t i = 0; i < map.n && code == 0; i++) {
		struct copy c = {.found = false};
		uint32_t generation, lmaster = copies_lmaster(&map, data_of(key));
		int ret = copies_locate(cli, map.pnn[i], db->id, data_of(key), &c, &generation);

		if (ret < 0) {
			return -ret;
		}
		if (ret == EAGAIN) {
			return cli_fail(cli, EXIT_TIMEOUT, "node %u: a process has the record locked", map.pnn[i]);
		}
		*found = *found || c.found;
		json_array_append_new(rows, locate_row(&map, i, &c, is_volatile, lmaster));
	}
	return code;
}

int cmd_record_locate(struct cli *cli, char **argv, int argc)
{
	static const struct output_column columns[] = {{"node", "NODE"},       {"role", "ROLE"},   {"rsn", "RSN"},
						       {"dmaster", "DMASTER"}, {"flags", "FLAGS"}, {"size", "SIZE"}};
	json_t *rows = output_check(json_array());
	struct db_info db;
	struct bytes key;
	bool found = false;
	int code = parse_bytes(cli, "key", argv[1], &key);

	code = code == 0 ? db_find(cli, CTDB_NODE_CURRENT, argv[0], &db) : code;
	code = code == 0 ? locate(cli, &db, &key, rows, &found) : code;
	if (code == 0 && !found) {
		code = cli_fail(cli, EXIT_NOT_FOUND, "no node has a record \"%s\" in database \"%s\"", argv[1],
				db.name);
	}
	if (code != 0) {
		json_decref(rows);
		return code;
	}
	output_field(&cli->out, "database", "Database", output_string(db.name));
	output_field(&cli->out, "key", "Key", bytes_value(cli, data_of(&key)));
	output_rows(&cli->out, "copies", columns, 6, rows);
	return EXIT_OK;
}
