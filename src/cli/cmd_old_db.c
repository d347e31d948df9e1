/* Old forms about one database: attach, getdbstatus, getdbseqnum; raw access to TDB files: tfetch, tstore. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <tdb.h>

#include "old_key.h"

int cmd_old_attach(struct cli *cli, char **argv, int argc)
{
	enum ctdb_db_model model = CTDB_DB_VOLATILE;
	const char *kind = argc > 1 ? argv[1] : "";
	struct ctdb_db *db = NULL;
	int err;

	if (strcmp(kind, "persistent") == 0) {
		model = CTDB_DB_PERSISTENT;
	} else if (strcmp(kind, "replicated") == 0) {
		model = CTDB_DB_REPLICATED;
	} else if (argc > 1 && strcmp(kind, "readonly") != 0 && strcmp(kind, "sticky") != 0) {
		return cli_fail(cli, EXIT_ERROR, "\"%s\": persistent, replicated, readonly or sticky can stand here",
				kind);
	}
	err = ctdb_db_attach(cli->c, argv[0], model, cli->c, &db);
	if (err == 0 && strcmp(kind, "readonly") == 0) {
		err = ctdb_db_set_readonly(db);
	} else if (err == 0 && strcmp(kind, "sticky") == 0) {
		err = ctdb_db_set_sticky(db);
	}
	cli->printed = true;
	return err == 0 ? EXIT_OK : cli_fail_api(cli, err, "cannot attach \"%s\"", argv[0]);
}

static const char *yes(uint32_t flags, uint32_t flag)
{
	return (flags & flag) != 0 ? "yes" : "no";
}

int cmd_old_getdbstatus(struct cli *cli, char **argv, int argc)
{
	char *path = NULL, *health = NULL;
	struct db_info db;
	int err, code = db_find(cli, cli->opt.node, argv[0], &db);

	if (code != 0) {
		return code;
	}
	err = ctdb_get_db_path(cli->c, cli->opt.node, db.id, cli->c, &path);
	err = err != 0 ? err : ctdb_get_db_health(cli->c, cli->opt.node, db.id, cli->c, &health);
	if (err != 0) {
		return cli_fail_api(cli, err, "database \"%s\"", db.name);
	}
	cli->printed = true;
	printf("dbid: 0x%08x\nname: %s\npath: %s\nPERSISTENT: %s\nREPLICATED: %s\nSTICKY: %s\nREADONLY: %s\nHEALTH: "
	       "%s\n",
	       db.id, db.name, path, yes(db.flags, CTDB_DB_FLAG_PERSISTENT), yes(db.flags, CTDB_DB_FLAG_REPLICATED),
	       yes(db.flags, CTDB_DB_FLAG_STICKY), yes(db.flags, CTDB_DB_FLAG_READONLY),
	       health[0] != '\0' ? health : "OK");
	return EXIT_OK;
}

int cmd_old_getdbseqnum(struct cli *cli, char **argv, int argc)
{
	uint64_t seqnum = 0;
	struct db_info db;
	int err, code = db_find(cli, cli->opt.node, argv[0], &db);

	if (code != 0) {
		return code;
	}
	err = ctdb_get_db_seqnum(cli->c, cli->opt.node, db.id, &seqnum);
	if (err != 0) {
		return cli_fail_api(cli, err, "database \"%s\"", db.name);
	}
	cli->printed = true;
	printf("0x%llx\n", (unsigned long long)seqnum);
	return EXIT_OK;
}

/* ---- TDB files ---- */

static int open_tdb(struct cli *cli, const char *path, int flags, struct tdb_context **tdb)
{
	*tdb = tdb_open(path, 0, 0, flags, 0600);
	cli->printed = true;
	return *tdb != NULL ? 0 : cli_fail(cli, EXIT_ERROR, "Failed to open TDB file %s: %s", path, strerror(errno));
}

static int write_to(const char *path, const uint8_t *data, size_t len)
{
	FILE *f = fopen(path, "we");
	int err = f == NULL || (len > 0 && fwrite(data, len, 1, f) != 1) ? errno : 0;

	if (f != NULL && fclose(f) != 0 && err == 0) {
		err = errno;
	}
	return err;
}

/* As a whole or not at all; straight into what is no regular file. */
static int write_file(struct cli *cli, const char *path, const uint8_t *data, size_t len)
{
	struct stat st;
	bool direct = lstat(path, &st) == 0 && !S_ISREG(st.st_mode);
	char *temporary = NULL;
	int err;

	if (direct) {
		err = write_to(path, data, len);
	} else if (asprintf(&temporary, "%s.new.%d", path, (int)getpid()) == -1) {
		temporary = NULL;
		err = ENOMEM;
	} else {
		err = write_to(temporary, data, len);
		err = err == 0 && rename(temporary, path) != 0 ? errno : err;
		if (err != 0) {
			unlink(temporary);
		}
	}
	free(temporary);
	return err == 0 ? EXIT_OK : cli_fail(cli, EXIT_ERROR, "%s: cannot be written: %s", path, strerror(err));
}

/* Without the header of the record. */
int cmd_old_tfetch(struct cli *cli, char **argv, int argc)
{
	struct tdb_context *tdb;
	struct bytes key;
	TDB_DATA value;
	int code = old_key(cli, "key", argv[1], &key);

	code = code == 0 ? open_tdb(cli, argv[0], O_RDONLY, &tdb) : code;
	if (code != 0) {
		return code;
	}
	value = tdb_fetch(tdb, (TDB_DATA){.dptr = key.data, .dsize = key.len});
	tdb_close(tdb);
	if (value.dptr == NULL || value.dsize < CTDB_WIRE_RECORD_HEADER_SIZE) {
		free(value.dptr);
		return cli_fail(cli, EXIT_ERROR, "no record \"%s\" in %s", argv[1], argv[0]);
	}
	cli_own(cli, value.dptr);
	value.dptr += CTDB_WIRE_RECORD_HEADER_SIZE;
	value.dsize -= CTDB_WIRE_RECORD_HEADER_SIZE;
	if (argc > 2) {
		return write_file(cli, argv[2], value.dptr, value.dsize);
	}
	printf("Data: size:%zu ptr:[%.*s]\n", value.dsize, (int)value.dsize, (const char *)value.dptr);
	return EXIT_OK;
}

static int header_of(struct cli *cli, char **argv, int argc, struct ctdb_record_header *h)
{
	uint64_t v[3] = {0};

	for (int i = 3; i < argc; i++) {
		if (!text_number(argv[i], i == 3 ? UINT64_MAX : UINT32_MAX, &v[i - 3])) {
			return cli_fail(cli, EXIT_ERROR, "\"%s\" is not a number for the header of a record", argv[i]);
		}
	}
	*h = (struct ctdb_record_header){.rsn = v[0], .dmaster = (uint32_t)v[1], .flags = (uint32_t)v[2]};
	return 0;
}

int cmd_old_tstore(struct cli *cli, char **argv, int argc)
{
	struct ctdb_record_header h;
	struct bytes key, data;
	struct tdb_context *tdb;
	uint8_t *value;
	int ret, code = header_of(cli, argv, argc, &h);

	code = code == 0 ? old_key(cli, "key", argv[1], &key) : code;
	code = code == 0 ? old_key(cli, "data", argv[2], &data) : code;
	code = code == 0 ? open_tdb(cli, argv[0], O_RDWR, &tdb) : code;
	if (code != 0) {
		return code;
	}
	value = talloc_size(cli->c, CTDB_WIRE_RECORD_HEADER_SIZE + data.len);
	if (value == NULL) {
		tdb_close(tdb);
		return cli_fail(cli, EXIT_ERROR, "out of memory");
	}
	ctdb_wire_put_record_header(&h, value);
	memcpy(value + CTDB_WIRE_RECORD_HEADER_SIZE, data.data, data.len);
	ret = tdb_store(tdb, (TDB_DATA){.dptr = key.data, .dsize = key.len},
			(TDB_DATA){.dptr = value, .dsize = CTDB_WIRE_RECORD_HEADER_SIZE + data.len}, TDB_REPLACE);
	code = ret == 0 ? EXIT_OK : cli_fail(cli, EXIT_ERROR, "%s: cannot be written: %s", argv[0], tdb_errorstr(tdb));
	tdb_close(tdb);
	talloc_free(value);
	return code;
}
