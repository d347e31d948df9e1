/* Old forms of single records of volatile databases: readkey, writekey, deletekey. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "old_key.h"

int old_key(struct cli *cli, const char *what, const char *text, struct bytes *out)
{
	int err;

	if (strncmp(text, "0x", 2) == 0) {
		err = text_unhex(text + 2, out);
		if (err == EINVAL) {
			return cli_fail(cli, EXIT_ERROR, "%s \"%s\" is not hexadecimal", what, text);
		}
	} else {
		*out = (struct bytes){.data = (uint8_t *)strdup(text), .len = strlen(text)};
		err = out->data == NULL ? ENOMEM : 0;
	}
	if (err != 0) {
		return cli_fail(cli, EXIT_ERROR, "%s: %s", what, strerror(err));
	}
	cli_own(cli, out->data);
	return 0;
}

static struct ctdb_data data_of(const struct bytes *b)
{
	return (struct ctdb_data){.data = b->data, .len = b->len};
}

static int begin(struct cli *cli, char **argv, struct ctdb_db **db, struct bytes *key)
{
	int code = old_key(cli, "key", argv[1], key);

	code = code == 0 ? db_open(cli, argv[0], db) : code;
	if (code == 0 && key->len == 0) {
		code = cli_fail(cli, EXIT_ERROR, "the key is empty");
	}
	if (code == 0 && ctdb_db_get_model(*db) != CTDB_DB_VOLATILE) {
		code = cli_fail(cli, EXIT_ERROR, "DB %s is not a volatile database", ctdb_db_name(*db));
	}
	cli->printed = true;
	return code;
}

static void print_data(struct ctdb_data data)
{
	printf("Data: size:%zu ptr:[%.*s]\n", data.len, (int)data.len,
	       data.data != NULL ? (const char *)data.data : "");
}

static int read_copy(struct cli *cli, struct ctdb_db *db, const struct bytes *key, const char *name)
{
	struct ctdb_data data = {.len = 0};
	int err = ctdb_record_fetch_readonly(db, data_of(key), cli->c, NULL, &data);

	if (err != 0 && err != ENOENT) {
		return cli_fail_api(cli, err, "cannot read record \"%s\"", name);
	}
	print_data(data);
	return EXIT_OK;
}

int cmd_old_readkey(struct cli *cli, char **argv, int argc)
{
	struct ctdb_record *rec = NULL;
	struct ctdb_db *db = NULL;
	struct bytes key;
	int err, code = begin(cli, argv, &db, &key);

	if (code != 0) {
		return code;
	}
	if (argc > 2) {
		return strcmp(argv[2], "readonly") == 0
			       ? read_copy(cli, db, &key, argv[1])
			       : cli_fail(cli, EXIT_ERROR, "\"%s\": only readonly can stand here", argv[2]);
	}
	err = ctdb_record_lock(db, data_of(&key), cli->c, &rec);
	if (err != 0) {
		return cli_fail_api(cli, err, "cannot read record \"%s\"", argv[1]);
	}
	print_data(ctdb_record_data(rec));
	talloc_free(rec);
	return EXIT_OK;
}

/* value NULL: deletes. */
static int change(struct cli *cli, struct ctdb_db *db, const struct bytes *key, const struct bytes *value,
		  const char *name)
{
	struct ctdb_record *rec = NULL;
	int err = ctdb_record_lock(db, data_of(key), cli->c, &rec);

	if (err == 0) {
		err = value != NULL && value->len > 0 ? ctdb_record_store(rec, data_of(value))
						      : ctdb_record_delete(rec);
		talloc_free(rec);
	}
	err = err != 0 ? err : ctdb_client_flush(cli->c);
	return err != 0 ? cli_fail_api(cli, err, "cannot write record \"%s\"", name) : EXIT_OK;
}

int cmd_old_writekey(struct cli *cli, char **argv, int argc)
{
	struct ctdb_db *db = NULL;
	struct bytes key, value;
	int code = old_key(cli, "value", argv[2], &value);

	code = code == 0 ? begin(cli, argv, &db, &key) : code;
	return code != 0 ? code : change(cli, db, &key, &value, argv[1]);
}

int cmd_old_deletekey(struct cli *cli, char **argv, int argc)
{
	struct ctdb_db *db = NULL;
	struct bytes key;
	int code = begin(cli, argv, &db, &key);

	return code != 0 ? code : change(cli, db, &key, NULL, argv[1]);
}
