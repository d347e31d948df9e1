/* ctdb db dump, and the old forms catdb and cattdb: all records of a database. */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "dump.h"
#include "text.h"

static const struct {
	uint32_t mask;
	const char *name;
} flag_names[] = {
	{CTDB_RECORD_MIGRATED_WITH_DATA, "MIGRATED_WITH_DATA"},
	{0x00020000, "VACUUM_MIGRATED"},
	{0x00040000, "AUTOMATIC"},
	{CTDB_RECORD_RO_HAVE_DELEGATIONS, "RO_HAVE_DELEGATIONS"},
	{CTDB_RECORD_RO_HAVE_READONLY, "RO_HAVE_READONLY"},
	{CTDB_RECORD_RO_REVOKING, "RO_REVOKING_READONLY"},
	{CTDB_RECORD_RO_REVOKE_COMPLETE, "RO_REVOKE_COMPLETE"},
};

/* ---- the old form ---- */

static void print_old_bytes(const char *what, struct ctdb_data d)
{
	printf("%s(%zu) = \"", what, d.len);
	for (size_t i = 0; i < d.len; i++) {
		if (d.data[i] < 0x80 && isprint(d.data[i]) && d.data[i] != '"' && d.data[i] != '\\') {
			putchar(d.data[i]);
		} else {
			printf("\\%02X", d.data[i]);
		}
	}
	puts("\"");
}

int dump_print_old(struct cli *cli, const struct walk_record *r)
{
	print_old_bytes("key", r->key);
	printf("dmaster: %u\nrsn: %llu\nflags: 0x%08x", r->header.dmaster, (unsigned long long)r->header.rsn,
	       r->header.flags);
	for (size_t i = 0; i < sizeof(flag_names) / sizeof(flag_names[0]); i++) {
		if ((r->header.flags & flag_names[i].mask) != 0) {
			printf(" %s", flag_names[i].name);
		}
	}
	putchar('\n');
	print_old_bytes("data", r->data);
	return putchar('\n') == EOF ? cli_fail(cli, EXIT_ERROR, "cannot write to standard output: %s", strerror(errno))
				    : 0;
}

static int old_record(void *priv, const struct walk_record *r)
{
	return dump_print_old(priv, r);
}

static int dump_old(struct cli *cli, const char *name, bool local)
{
	struct walk w = {.with_internal = true, .with_empty = local, .fn = old_record, .priv = cli};
	struct db_info db;
	int code = db_find(cli, CTDB_NODE_CURRENT, name, &db);

	if (code != 0) {
		return code;
	}
	cli->printed = true;
	walk_catch_signals();
	code = local ? walk_local(cli, &db, &w) : walk_cluster(cli, &db, &w);
	if (code == 0) {
		printf("Dumped %llu record%s\n", (unsigned long long)w.n, local ? "(s)" : "s");
	}
	return code;
}

int cmd_old_catdb(struct cli *cli, char **argv, int argc)
{
	return dump_old(cli, argv[0], false);
}

int cmd_old_cattdb(struct cli *cli, char **argv, int argc)
{
	return dump_old(cli, argv[0], true);
}

/* ---- ctdb db dump ---- */

static json_t *bytes_json(const struct cli *cli, struct ctdb_data d)
{
	char *text = cli->opt.hex ? text_hex(d.data, d.len) : text_escape(d.data, d.len);
	json_t *v = text != NULL ? json_string(text) : NULL;

	free(text);
	return output_check(v);
}

static int print_json(struct cli *cli, json_t *doc)
{
	bool ok = json_dumpf(doc, stdout, JSON_COMPACT) == 0 && putchar('\n') != EOF;

	json_decref(doc);
	return ok ? 0 : cli_fail(cli, EXIT_ERROR, "cannot write to standard output: %s", strerror(errno));
}

static int print_record_json(struct cli *cli, const struct walk_record *r)
{
	return print_json(
		cli, output_check(json_pack("{s:o, s:o, s:I, s:I, s:I, s:s}", "key", bytes_json(cli, r->key), "value",
					    bytes_json(cli, r->data), "rsn", (json_int_t)r->header.rsn, "dmaster",
					    (json_int_t)r->header.dmaster, "flags", (json_int_t)r->header.flags,
					    "encoding", cli->opt.hex ? "hex" : "text")));
}

/* As ctdb transaction run reads it. */
static int print_word(struct cli *cli, struct ctdb_data d)
{
	char *text = cli->opt.hex ? text_hex(d.data, d.len) : text_quote(d.data, d.len);
	int ret = -1;

	if (text != NULL) {
		ret = printf("%s%s", cli->opt.hex ? "0x" : "", text);
	}
	free(text);
	return ret;
}

int dump_print(struct cli *cli, const struct walk_record *r)
{
	bool ok;

	if (cli->opt.format == &output_json) {
		return print_record_json(cli, r);
	}
	ok = fputs("set ", stdout) >= 0 && print_word(cli, r->key) >= 0 && putchar(' ') != EOF &&
	     print_word(cli, r->data) >= 0 && putchar('\n') != EOF;
	return ok ? 0 : cli_fail(cli, EXIT_ERROR, "cannot write to standard output: %s", strerror(errno));
}

static int dump_copy_text(struct cli *cli, const struct walk_record *r)
{
	int code = dump_print(cli, r);

	if (code == 0 && cli->opt.format != &output_json) {
		printf("# rsn %llu dmaster %u flags 0x%08x\n", (unsigned long long)r->header.rsn, r->header.dmaster,
		       r->header.flags);
	}
	return code;
}

static int local_record(void *priv, const struct walk_record *r)
{
	return dump_copy_text(priv, r);
}

static int cluster_record(void *priv, const struct walk_record *r)
{
	return dump_print(priv, r);
}

int dump_end(struct cli *cli, uint64_t n, int code, bool checked)
{
	if (cli->opt.format == &output_json) {
		int ret = print_json(cli, output_check(json_pack("{s:i, s:I, s:o}", "schema", 1, "records",
								 (json_int_t)n, "complete",
								 code != 0 ? json_false()
								 : checked ? json_true()
									   : json_null())));

		return code != 0 ? code : ret;
	}
	if (code == 0) {
		printf("# %llu record%s%s\n", (unsigned long long)n, n == 1 ? "" : "s",
		       checked ? "" : "; this daemon does not say whether all nodes answered");
	}
	return code;
}

int cmd_db_dump(struct cli *cli, char **argv, int argc)
{
	struct walk w = {.with_empty = cli->opt.local,
			 .with_internal = cli->opt.local,
			 .fn = cli->opt.local ? local_record : cluster_record,
			 .priv = cli};
	struct db_info db;
	int code = db_find(cli, CTDB_NODE_CURRENT, argv[0], &db);

	if (code != 0) {
		return code;
	}
	cli->printed = true;
	walk_catch_signals();
	code = cli->opt.local ? walk_local(cli, &db, &w) : walk_cluster(cli, &db, &w);
	return dump_end(cli, w.n, code, !w.unchecked);
}
