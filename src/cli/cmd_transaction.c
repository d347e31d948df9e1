/* ctdb transaction run, and the old forms of single changes of persistent databases: pfetch, pstore, pdelete, ptrans.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "old_key.h"
#include "script.h"
#include "text.h"

#define SCRIPT_MAX (64U * 1024 * 1024)

static struct ctdb_data data_of(struct bytes b)
{
	return (struct ctdb_data){.data = b.data, .len = b.len};
}

/* The whole of FILE, or of standard input. */
static int read_input(struct cli *cli, const char *name, struct bytes *out)
{
	bool is_stdin = name == NULL || strcmp(name, "-") == 0;
	FILE *f = is_stdin ? stdin : fopen(name, "re");
	int err = f == NULL ? errno : text_read(f, SCRIPT_MAX, out);

	if (f != NULL && !is_stdin) {
		fclose(f);
	}
	if (err != 0) {
		return cli_fail(cli, EXIT_ERROR, "%s: %s", is_stdin ? "standard input" : name,
				err == EFBIG ? "a script has at most 64 MiB" : strerror(err));
	}
	cli_own(cli, out->data);
	return 0;
}

/* ---- carrying out ---- */

struct run {
	struct cli *cli;
	struct ctdb_transaction *t;
	const char *db;
	json_t *results;
	bool delete_absent; /* deleting what is not there is all right */
};

static json_t *value_json(const struct cli *cli, struct ctdb_data d)
{
	char *text = cli->opt.hex ? text_hex(d.data, d.len) : text_escape(d.data, d.len);
	json_t *v = text != NULL ? json_string(text) : NULL;

	free(text);
	return output_check(v);
}

static int undone(struct run *r, const struct script_step *step, const char *what, struct ctdb_data have)
{
	char *key = text_quote(step->key.data, step->key.len), *is = text_quote(have.data, have.len);
	int code = cli_fail(r->cli, EXIT_ERROR, "line %u: %s %s is %.200s: nothing was changed", step->line, what,
			    key != NULL ? key : "",
			    have.data == NULL ? "absent"
			    : is != NULL      ? is
					      : "");

	free(key);
	free(is);
	return code;
}

static int step_error(struct run *r, const struct script_step *step, int err)
{
	return cli_fail_api(r->cli, err, "line %u: database \"%s\"; nothing was changed", step->line, r->db);
}

static int expect(struct run *r, const struct script_step *step, int err, struct ctdb_data have)
{
	if (step->verb == SCRIPT_GET) {
		json_array_append_new(
			r->results,
			output_check(json_pack("{s:o, s:o}", "key", value_json(r->cli, data_of(step->key)), "value",
					       err == ENOENT ? json_null() : value_json(r->cli, have))));
		return 0;
	}
	if (err == ENOENT) {
		bool fine = step->verb == SCRIPT_ABSENT || r->delete_absent;

		return fine ? 0
			    : undone(r, step, step->verb == SCRIPT_DELETE ? "delete:" : "expect:",
				     (struct ctdb_data){.data = NULL});
	}
	if (step->verb == SCRIPT_ABSENT) {
		return undone(r, step, "absent:", have);
	}
	if (step->verb == SCRIPT_EXPECT &&
	    (have.len != step->value.len || memcmp(have.data, step->value.data, have.len) != 0)) {
		return undone(r, step, "expect:", have);
	}
	return 0;
}

static int run_step(struct run *r, const struct script_step *step)
{
	struct ctdb_data have = {.data = NULL};
	int err, code;

	if (step->verb == SCRIPT_SET) {
		err = ctdb_transaction_store(r->t, data_of(step->key), data_of(step->value));
		return err != 0 ? step_error(r, step, err) : 0;
	}
	err = ctdb_transaction_fetch(r->t, data_of(step->key), r->cli->c, &have);
	if (err != 0 && err != ENOENT) {
		return step_error(r, step, err);
	}
	code = expect(r, step, err, have);
	if (code != 0 || step->verb != SCRIPT_DELETE || err == ENOENT) {
		return code;
	}
	err = ctdb_transaction_delete(r->t, data_of(step->key));
	return err != 0 ? step_error(r, step, err) : 0;
}

static int commit(struct run *r)
{
	int err = ctdb_transaction_commit(r->t);

	return err == 0 ? 0
			: cli_fail_api(r->cli, err, "database \"%s\": %s", r->db,
				       ctdb_transaction_uncertain(r->t)
					       ? "it is not known whether the transaction was stored"
					       : "the transaction was not stored");
}

/* All of it or nothing. The values that get asked for are in r->results. */
static int run_script(struct run *r, const struct script *script, struct ctdb_db *db)
{
	int err = ctdb_transaction_start(db, r->cli->c, &r->t), code = 0;

	r->db = ctdb_db_name(db);
	if (err == EPERM) {
		return cli_fail(r->cli, EXIT_ERROR,
				"database \"%s\" is volatile, it has no transactions: use ctdb record", r->db);
	}
	if (err != 0) {
		return cli_fail_api(r->cli, err, "database \"%s\": cannot begin a transaction", r->db);
	}
	for (size_t i = 0; i < script->n && code == 0; i++) {
		code = run_step(r, &script->steps[i]);
	}
	if (code == 0) {
		code = commit(r);
	} else {
		(void)ctdb_transaction_cancel(r->t);
	}
	talloc_free(r->t);
	(void)ctdb_client_flush(r->cli->c);
	return code;
}

/* ---- ctdb transaction run ---- */

static size_t count_changes(const struct script *s)
{
	size_t n = 0;

	for (size_t i = 0; i < s->n; i++) {
		n += s->steps[i].verb == SCRIPT_SET || s->steps[i].verb == SCRIPT_DELETE;
	}
	return n;
}

int cmd_transaction_run(struct cli *cli, char **argv, int argc)
{
	static const struct output_column columns[] = {{"key", "KEY"}, {"value", "VALUE"}};
	struct run r = {.cli = cli};
	struct script script;
	struct ctdb_db *db = NULL;
	struct bytes text;
	char problem[256] = "out of memory";
	int code = read_input(cli, argc > 1 ? argv[1] : NULL, &text), err;

	if (code != 0) {
		return code;
	}
	err = script_parse(cli->c, (const char *)text.data, text.len, &script, problem, sizeof(problem));
	if (err != 0) {
		return cli_fail(cli, err == EINVAL ? EXIT_USAGE : EXIT_ERROR, "%s: %s; nothing was done",
				argc > 1 && strcmp(argv[1], "-") != 0 ? argv[1] : "standard input", problem);
	}
	if (script.n == 0) {
		return cli_fail(cli, EXIT_USAGE,
				"the script is empty; ctdb transaction run --help says what stands in one");
	}
	code = db_open(cli, argv[0], &db);
	if (code != 0) {
		return code;
	}
	r.results = output_check(json_array());
	code = run_script(&r, &script, db);
	if (code != 0) {
		json_decref(r.results);
		return code;
	}
	if (json_array_size(r.results) > 0 || cli->opt.format == &output_json) {
		output_rows(&cli->out, "values", columns, 2, r.results);
	} else {
		json_decref(r.results);
	}
	if (cli->opt.format == &output_json) {
		output_field(&cli->out, "changes", "Changes", json_integer((json_int_t)count_changes(&script)));
	}
	return EXIT_OK;
}

/* ---- old forms ---- */

static void bad_line(unsigned int number, const char *text)
{
	fprintf(stderr, "Failed to parse line %u: %.100s\n", number, text);
}

static int run_old(struct cli *cli, const char *name, const struct script *script)
{
	struct run r = {.cli = cli, .delete_absent = true, .results = output_check(json_array())};
	struct ctdb_db *db = NULL;
	int code = db_open(cli, name, &db);

	code = code == 0 ? run_script(&r, script, db) : code;
	json_decref(r.results);
	cli->printed = true;
	return code;
}

int cmd_old_ptrans(struct cli *cli, char **argv, int argc)
{
	struct script script;
	struct bytes text;
	int code = read_input(cli, argc > 1 ? argv[1] : NULL, &text);

	if (code == 0 && memchr(text.data, '\0', text.len) != NULL) {
		code = cli_fail(cli, EXIT_ERROR, "a NUL byte stands in the input, write \\00: nothing was done");
	}
	if (code != 0) {
		return code;
	}
	if (script_parse_pairs(cli->c, (char *)text.data, &script, bad_line) != 0) {
		return cli_fail(cli, EXIT_ERROR, "out of memory");
	}
	return run_old(cli, argv[0], &script);
}

static int change_one(struct cli *cli, char **argv, enum script_verb verb)
{
	struct script_step step = {.verb = verb, .line = 1};
	const struct script script = {.n = 1, .steps = &step};
	int code = old_key(cli, "key", argv[1], &step.key);

	if (code == 0 && verb == SCRIPT_SET) {
		code = old_key(cli, "value", argv[2], &step.value);
		step.verb = step.value.len == 0 ? SCRIPT_DELETE : SCRIPT_SET;
	}
	return code != 0 ? code : run_old(cli, argv[0], &script);
}

int cmd_old_pstore(struct cli *cli, char **argv, int argc)
{
	return change_one(cli, argv, SCRIPT_SET);
}

int cmd_old_pdelete(struct cli *cli, char **argv, int argc)
{
	return change_one(cli, argv, SCRIPT_DELETE);
}

int cmd_old_pfetch(struct cli *cli, char **argv, int argc)
{
	struct ctdb_db *db = NULL;
	struct ctdb_data data = {.len = 0};
	struct bytes key;
	int err, code = old_key(cli, "key", argv[1], &key);

	code = code == 0 ? db_open(cli, argv[0], &db) : code;
	if (code != 0) {
		return code;
	}
	if (ctdb_db_get_model(db) == CTDB_DB_VOLATILE) {
		return cli_fail(cli, EXIT_ERROR, "database \"%s\" is volatile: use readkey", ctdb_db_name(db));
	}
	err = ctdb_record_fetch(db, data_of(key), cli->c, &data);
	if (err != 0 && err != ENOENT) {
		return cli_fail_api(cli, err, "cannot read record \"%s\"", argv[1]);
	}
	cli->printed = true;
	printf("%.*s\n", (int)data.len, data.data != NULL ? (const char *)data.data : "");
	return EXIT_OK;
}
