/* ctdb statistics (for people as it always was) and ctdb db statistics: what nodes count; with the old forms. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "db_call.h"
#include "statistics.h"
#include "text.h"

#define ENTRY_BYTES 488U /* of one in the history */

struct history {
	uint32_t n;
	struct ctdb_statistics **entries; /* newest first; those before the start are left out */
};

/* All intervals that the daemon keeps. */
static int get_history(struct cli *cli, struct history *h)
{
	const struct ctdb_control control = {.node = cli->opt.node, .opcode = CTDB_CONTROL_GET_STAT_HISTORY};
	struct ctdb_control_reply *reply = NULL;
	uint32_t n = 0;
	int err = ctdb_control(cli->c, &control, cli->c, &reply);

	*h = (struct history){.n = 0};
	if (err != 0 || reply->status != 0) {
		return cli_fail_api(cli, err != 0 ? err : EREMOTEIO, "cannot get the history of the statistics");
	}
	if (reply->data.len >= 8) {
		memcpy(&n, reply->data.data, sizeof(n));
	}
	if (n > (reply->data.len - 8) / ENTRY_BYTES || reply->data.len < 8) {
		return cli_fail(cli, EXIT_ERROR, "malformed history of the statistics from the daemon");
	}
	h->entries = talloc_zero_array(cli->c, struct ctdb_statistics *, n + 1);
	for (uint32_t i = 0; i < n && h->entries != NULL; i++) {
		struct ctdb_data d = {.data = reply->data.data + 8 + (size_t)i * ENTRY_BYTES, .len = ENTRY_BYTES};

		if (ctdb_wire_get_statistics(cli->c, d, &h->entries[h->n]) != 0) {
			return cli_fail(cli, EXIT_ERROR, "malformed history of the statistics from the daemon");
		}
		h->n += h->entries[h->n]->now.tv_sec != 0;
	}
	return h->entries != NULL ? 0 : cli_fail(cli, EXIT_ERROR, "out of memory");
}

/* ---- ctdb statistics ---- */

static json_t *number(uint64_t v)
{
	return output_check(json_integer((json_int_t)v));
}

/* Daemons may send bytes that JSON has no number for. */
static json_t *seconds_json(double v)
{
	return isfinite(v) ? output_check(json_real(v)) : json_null();
}

static json_t *latency_json(const struct ctdb_latency *l)
{
	return output_check(json_pack("{s:I, s:o, s:o, s:o}", "count", (json_int_t)l->n, "min", seconds_json(l->min),
				      "average", seconds_json(statistics_average(l)), "max", seconds_json(l->max)));
}

static uint64_t average_us(const struct ctdb_latency *l)
{
	double v = statistics_average(l) * 1e6;

	return v < 1e15 ? (uint64_t)v : 0;
}

static json_t *all_json(const struct ctdb_statistics *s)
{
	json_t *row = output_check(json_object());
	char name[64];

	for (const struct statistics_counter *c = statistics_counters; c->name != NULL; c++) {
		snprintf(name, sizeof(name), "%s%s%s", c->group != NULL ? c->group : "", c->group != NULL ? "." : "",
			 c->name);
		json_object_set_new(row, name, number(statistics_value(s, c)));
	}
	json_object_set_new(row, "since", number((uint64_t)s->started.tv_sec));
	json_object_set_new(row, "until", number((uint64_t)s->now.tv_sec));
	json_object_set_new(row, "call_latency", latency_json(&s->call_latency));
	json_object_set_new(row, "locks_latency", latency_json(&s->locks.latency));
	json_object_set_new(row, "lock_latency_daemon", latency_json(&s->cluster_lock_daemon));
	return row;
}

static void put_statistics(struct cli *cli, const struct ctdb_statistics *s)
{
	json_t *all = all_json(s), *value;
	const char *key;

	json_object_foreach(all, key, value)
	{
		output_field(&cli->out, key, key, json_incref(value));
	}
	json_decref(all);
}

static int put_history(struct cli *cli)
{
	static const struct output_column columns[] = {
		{"until", "UNTIL"},
		{"seconds", "SECONDS"},
		{"num_clients", "CLIENTS"},
		{"client.req_call", "CALLS"},
		{"client.req_control", "CONTROLS"},
		{"client.req_message", "MESSAGES"},
		{"num_recoveries", "RECOVERIES"},
		{"latency_us", "LATENCY US"},
	};
	struct history h;
	json_t *rows;
	int code = get_history(cli, &h);

	if (code != 0) {
		return code;
	}
	rows = output_check(json_array());
	for (uint32_t i = 0; i < h.n && (cli->opt.count == 0 || i < cli->opt.count); i++) {
		const struct ctdb_statistics *s = h.entries[i];
		json_t *row = all_json(s);

		json_object_set_new(row, "seconds", number((uint64_t)(s->now.tv_sec - s->started.tv_sec)));
		json_object_set_new(row, "latency_us", number(average_us(&s->call_latency)));
		json_array_append_new(rows, row);
	}
	output_rows(&cli->out, "history", columns, sizeof(columns) / sizeof(columns[0]), rows);
	return EXIT_OK;
}

int cmd_statistics(struct cli *cli, char **argv, int argc)
{
	struct ctdb_statistics *s = NULL;
	int err;

	if (cli->opt.history && cli->opt.reset) {
		return cli_fail(cli, EXIT_USAGE, "either --history or --reset");
	}
	if ((cli->opt.given & OPT_COUNT) != 0 && !cli->opt.history) {
		return cli_fail(cli, EXIT_USAGE, "--count goes with --history: that many intervals");
	}
	if (cli->opt.reset) {
		err = ctdb_reset_statistics(cli->c, cli->opt.node);
		return err == 0 ? EXIT_OK : cli_fail_api(cli, err, "cannot reset the statistics");
	}
	if (cli->opt.history) {
		return put_history(cli);
	}
	err = ctdb_get_statistics(cli->c, cli->opt.node, cli->c, &s);
	if (err != 0) {
		return cli_fail_api(cli, err, "cannot get the statistics");
	}
	if (cli->opt.format == &output_json) {
		put_statistics(cli, s);
		return EXIT_OK;
	}
	cli->printed = true;
	if (cli->opt.machine) {
		statistics_print_old_machine_header(cli->opt.separator);
		statistics_print_old_machine(s, cli->opt.separator);
	} else {
		statistics_print_old(s);
	}
	return EXIT_OK;
}

/* ---- ctdb db statistics ---- */

static json_t *buckets_json(const uint32_t *buckets)
{
	json_t *v = output_check(json_array());

	for (unsigned int i = 0; i < CTDB_STATS_BUCKETS; i++) {
		json_array_append_new(v, number(buckets[i]));
	}
	return v;
}

static void put_hot_keys(struct cli *cli, const struct ctdb_db_statistics *s)
{
	static const struct output_column columns[] = {{"count", "COUNT"}, {"key", "KEY"}};
	json_t *rows = output_check(json_array());

	for (uint32_t i = 0; i < s->n_hot_keys; i++) {
		struct ctdb_data k = s->hot_keys[i].key;
		char *text = cli->opt.hex ? text_hex(k.data, k.len) : text_escape(k.data, k.len);

		json_array_append_new(rows,
				      output_check(json_pack("{s:I, s:s}", "count", (json_int_t)s->hot_keys[i].count,
							     "key", text != NULL ? text : "")));
		free(text);
	}
	if (json_array_size(rows) > 0 || cli->opt.format == &output_json) {
		output_rows(&cli->out, "hot_keys", columns, 2, rows);
	} else {
		json_decref(rows);
	}
}

/* 0 or exit code. */
static int db_statistics_get(struct cli *cli, const char *name, struct db_info *db, struct ctdb_db_statistics **s)
{
	int err, code = db_find(cli, cli->opt.node, name, db);

	if (code != 0) {
		return code;
	}
	err = ctdb_get_db_statistics(cli->c, cli->opt.node, db->id, cli->c, s);
	return err == 0 ? 0 : cli_fail_api(cli, err, "database \"%s\"", db->name);
}

int cmd_db_statistics(struct cli *cli, char **argv, int argc)
{
	struct ctdb_db_statistics *s = NULL;
	struct db_info db;
	int code = db_statistics_get(cli, argv[0], &db, &s);

	if (code != 0) {
		return code;
	}
	output_field(&cli->out, "name", "Name", output_string(db.name));
	output_field(&cli->out, "readonly_delegations", "Read-only copies given out", number(s->readonly_delegations));
	output_field(&cli->out, "readonly_revokes", "Read-only copies called back", number(s->readonly_revokes));
	output_field(&cli->out, "locks", "Locks waited for", number(s->locks.calls));
	output_field(&cli->out, "locks_failed", "Locks not got", number(s->locks.failed));
	output_field(&cli->out, "locks_pending", "Locks waited for now", number(s->locks.pending));
	if (cli->opt.format == &output_json) {
		output_field(&cli->out, "locks_latency", "", latency_json(&s->locks.latency));
		output_field(&cli->out, "vacuum_latency", "", latency_json(&s->vacuum));
		output_field(&cli->out, "hop_count_buckets", "", buckets_json(s->hop_count_buckets));
		output_field(&cli->out, "lock_buckets", "", buckets_json(s->locks.buckets));
	}
	code = ctdb_db_flags_model(db.flags) == CTDB_DB_VOLATILE ? vacuum_put(cli, cli->opt.node, &db) : 0;
	if (code == 0) {
		put_hot_keys(cli, s);
	}
	return code;
}

/* ---- old forms ---- */

int cmd_old_statisticsreset(struct cli *cli, char **argv, int argc)
{
	int err = ctdb_reset_statistics(cli->c, cli->opt.node);

	cli->printed = true;
	return err == 0 ? EXIT_OK : cli_fail_api(cli, err, "cannot reset the statistics");
}

int cmd_old_stats(struct cli *cli, char **argv, int argc)
{
	struct history h;
	uint64_t count = UINT32_MAX;
	int code = 0;

	if (argc > 0 && !text_number(argv[0], UINT32_MAX, &count)) {
		return cli_fail(cli, EXIT_ERROR, "\"%s\" is not a number of intervals", argv[0]);
	}
	code = get_history(cli, &h);
	if (code != 0) {
		return code;
	}
	cli->printed = true;
	if (cli->opt.machine) {
		statistics_print_old_machine_header(cli->opt.separator);
	}
	for (uint32_t i = 0; i < h.n && i < count; i++) {
		if (cli->opt.machine) {
			statistics_print_old_machine(h.entries[i], cli->opt.separator);
		} else {
			statistics_print_old(h.entries[i]);
		}
	}
	return EXIT_OK;
}

int cmd_old_dbstatistics(struct cli *cli, char **argv, int argc)
{
	struct ctdb_db_statistics *s = NULL;
	struct db_info db;
	int code = db_statistics_get(cli, argv[0], &db, &s);

	if (code != 0) {
		return code;
	}
	cli->printed = true;
	statistics_print_old_db(db.name, s);
	return EXIT_OK;
}
