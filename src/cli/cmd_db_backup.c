/* ctdb db backup and show-backup; with the old forms backupdb and dumpdbbackup. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "backup.h"
#include "dump.h"
#include "text.h"

struct saving {
	struct cli *cli;
	struct backup_writer *w;
	bool replicated;
	uint64_t seqnum;
};

static const char unchecked_text[] = "this daemon does not say whether all nodes answered: records may be missing";

static struct ctdb_blob blob_of(struct ctdb_data d)
{
	return (struct ctdb_blob){.data = (uint8_t *)(uintptr_t)d.data, .len = (uint32_t)d.len};
}

static int save_record(void *priv, const struct walk_record *r)
{
	struct saving *s = priv;
	struct backup_record out = {.key = blob_of(r->key),
				    .rsn = r->header.rsn,
				    .dmaster = r->header.dmaster,
				    .flags = r->header.flags,
				    .data = blob_of(r->data)};

	if (s->replicated && walk_is_seqnum(r->key)) {
		if (r->data.len == sizeof(s->seqnum)) {
			memcpy(&s->seqnum, r->data.data, sizeof(s->seqnum));
		}
		return 0;
	}
	return backup_write(s->w, &out) == 0 ? 0 : cli_fail(s->cli, EXIT_ERROR, "%s", backup_writer_error(s->w));
}

/* A file that is not complete does not stay. */
static int save(struct cli *cli, const char *name, const char *path, struct db_info *db, uint64_t *n, bool *unchecked)
{
	static char error[BACKUP_ERROR_MAX];
	char maker[64];
	struct backup_header header = {.format = BACKUP_VERSION, .created = (uint64_t)time(NULL), .maker = maker};
	struct saving s = {.cli = cli};
	struct walk w = {.with_internal = true, .fn = save_record, .priv = &s};
	int code = db_find(cli, CTDB_NODE_CURRENT, name, db);

	if (code != 0) {
		return code;
	}
	snprintf(maker, sizeof(maker), "ctdb-ng %s", ctdb_api_version());
	header.name = db->name;
	header.db_id = db->id;
	header.flags = db->flags;
	snprintf(error, sizeof(error), "out of memory");
	if (backup_writer_new(cli->c, path, &header, &s.w, error) != 0) {
		return cli_fail(cli, EXIT_ERROR, "%s", error);
	}
	walk_catch_signals();
	s.replicated = ctdb_db_flags_model(db->flags) != CTDB_DB_VOLATILE;
	code = walk_cluster(cli, db, &w);
	if (code == 0 && backup_finish(s.w, s.seqnum) != 0) {
		code = cli_fail(cli, EXIT_ERROR, "%s", error);
	}
	*n = backup_written(s.w);
	*unchecked = w.unchecked;
	if (code == 0 && w.unchecked) {
		fprintf(stderr, "ctdb: warning: database \"%s\": %s\n", db->name, unchecked_text);
	}
	talloc_free(s.w);
	return code;
}

int cmd_db_backup(struct cli *cli, char **argv, int argc)
{
	struct db_info db;
	uint64_t n;
	bool unchecked;
	int code = save(cli, argv[0], argv[1], &db, &n, &unchecked);

	if (code != 0 || strcmp(argv[1], "-") == 0) {
		cli->printed = code == 0;
		return code;
	}
	output_field(&cli->out, "name", "Database", output_string(db.name));
	output_field(&cli->out, "file", "File", output_string(argv[1]));
	output_field(&cli->out, "records", "Records", json_integer((json_int_t)n));
	if (unchecked && cli->opt.format != &output_text) {
		output_field(&cli->out, "warning", "Warning", json_string(unchecked_text));
	}
	return EXIT_OK;
}

int cmd_old_backupdb(struct cli *cli, char **argv, int argc)
{
	struct db_info db;
	uint64_t n;
	bool unchecked;
	int code = save(cli, argv[0], argv[1], &db, &n, &unchecked);

	cli->printed = true;
	if (code == 0) {
		printf("Database backed up to %s\n", argv[1]);
	}
	return code;
}

/* ---- what is in a file ---- */

void backup_time_field(struct cli *cli, const struct backup_info *info)
{
	char when[TEXT_TIME_MAX];
	bool json = cli->opt.format == &output_json;

	output_field(&cli->out, "created", "Time of the backup",
		     json ? json_integer((json_int_t)info->header.created)
			  : json_string(text_time(info->header.created, '-', when)));
}

static int print_records(struct cli *cli, struct backup_reader *r,
			 int (*print)(struct cli *cli, const struct walk_record *r), uint64_t *n, char *error)
{
	struct backup_record b;
	int code = 0, err = 0;

	for (*n = 0; code == 0; ++*n) {
		struct walk_record out;

		err = backup_next(r, &b, error);
		if (err != 0) {
			break;
		}
		out = (struct walk_record){.key = {.data = b.key.data, .len = b.key.len},
					   .header = {.rsn = b.rsn, .dmaster = b.dmaster, .flags = b.flags},
					   .data = {.data = b.data.data, .len = b.data.len}};
		code = print(cli, &out);
	}
	return code != 0 || err == ENOENT ? code : cli_fail(cli, EXIT_ERROR, "%s", error);
}

int cmd_db_show_backup(struct cli *cli, char **argv, int argc)
{
	struct backup_reader *r = NULL;
	struct backup_info info;
	char error[BACKUP_ERROR_MAX], id[16];
	uint64_t n;
	int code;

	if (backup_open(NULL, argv[0], &r, &info, error) != 0) {
		return cli_fail(cli, EXIT_ERROR, "%s", error);
	}
	if (cli->opt.records) {
		cli->printed = true;
		code = print_records(cli, r, dump_print, &n, error);
		talloc_free(r);
		return dump_end(cli, n, code, true);
	}
	output_field(&cli->out, "name", "Database", output_string(info.header.name));
	if (!info.classic) {
		snprintf(id, sizeof(id), "0x%08x", info.header.db_id);
		output_field(&cli->out, "id", "Id", json_string(id));
	}
	output_field(&cli->out, "model", "Model",
		     json_string(ctdb_db_model_name(ctdb_db_flags_model(info.header.flags))));
	backup_time_field(cli, &info);
	output_field(&cli->out, "records", "Records", json_integer((json_int_t)info.records));
	output_field(&cli->out, "seqnum", "Sequence number", json_integer((json_int_t)info.seqnum));
	output_field(&cli->out, "maker", "Made by", output_string(info.header.maker));
	output_field(&cli->out, "format", "Format", json_string(info.classic ? "ctdb, without checksum" : "ctdb-ng 1"));
	talloc_free(r);
	return EXIT_OK;
}

int cmd_old_dumpdbbackup(struct cli *cli, char **argv, int argc)
{
	struct backup_reader *r = NULL;
	struct backup_info info;
	char error[BACKUP_ERROR_MAX], when[TEXT_TIME_MAX];
	uint64_t n;
	int code;

	cli->printed = true;
	if (backup_open(NULL, argv[0], &r, &info, error) != 0) {
		return cli_fail(cli, EXIT_ERROR, "%s", error);
	}
	text_make_printable(info.header.name);
	printf("Dumping database %s from backup @ %s\n", info.header.name, text_time(info.header.created, '/', when));
	code = print_records(cli, r, dump_print_old, &n, error);
	talloc_free(r);
	if (code == 0) {
		printf("Dumped %llu record(s)\n", (unsigned long long)n);
	}
	return code;
}
