/* ctdb db recover: a recovery now, and what recoveries cost. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "copies.h"
#include "db_call.h"

#define WAIT_MS       60000U
#define LOOK_AGAIN_MS 50U
#define TELL_MS       10000U

static json_t *number(uint64_t v)
{
	return output_check(json_integer((json_int_t)v));
}

static json_t *cost_json(const struct db_recovery_cost *c)
{
	return output_check(json_pack(
		"{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "ms", (json_int_t)c->ms, "databases",
		(json_int_t)c->dbs, "slots", (json_int_t)c->slots, "claimed", (json_int_t)c->dirty, "files",
		(json_int_t)c->scans, "records", (json_int_t)c->scanned, "claims", (json_int_t)c->claims, "orders",
		(json_int_t)c->orders, "bytes", (json_int_t)c->bytes, "other_files", (json_int_t)c->contents,
		"content_records", (json_int_t)c->content_records, "content_bytes", (json_int_t)c->content_bytes));
}

/* 0, an errno of the other side, or an exit code below 0. */
static int get_recovery(struct cli *cli, TALLOC_CTX *mem, uint32_t pnn, struct db_recovery *out)
{
	struct ctdb_data result = {.len = 0};
	int ret = db_call(cli, mem, pnn, DB_PROC_GET_RECOVERY, NULL, TELL_MS, &result);

	if (ret == 0 && db_recovery_decode(mem, result.data, result.len, out) != 0) {
		return db_call_malformed(cli, pnn);
	}
	return ret;
}

/* ---- db status ---- */

static void put_text(struct cli *cli, const struct db_recovery *r)
{
	const struct db_recovery_cost *c = &r->last;

	output_field(&cli->out, "", "Recoveries of this node",
		     output_check(json_sprintf("%" PRIu64 ", of these full: %" PRIu64, r->count, r->full_count)));
	output_field(&cli->out, "", "Last recovery",
		     output_check(json_sprintf(
			     "%" PRIu64 " ms%s, %" PRIu64 " of %" PRIu64 " slots claimed, %" PRIu64
			     " files and %" PRIu64 " records read, %" PRIu64 " claims and %" PRIu64 " orders, %" PRIu64
			     " bytes sent; of contents %" PRIu64 " records, %" PRIu64 " bytes",
			     c->ms, r->full ? " (full)" : "", c->dirty, c->slots, c->scans + c->contents, c->scanned,
			     c->claims, c->orders, c->bytes, c->content_records, c->content_bytes)));
	if (r->wanted) {
		output_field(&cli->out, "", "Wanted", output_check(json_sprintf("a full recovery: %s", r->reason)));
	}
}

int recovery_put(struct cli *cli, uint32_t pnn)
{
	TALLOC_CTX *mem = talloc_new(cli->c);
	struct db_recovery r;
	int ret = get_recovery(cli, mem, pnn, &r);

	if (ret == 0 && cli->opt.format == &output_json) {
		output_field(
			&cli->out, "recovery", "",
			output_check(json_pack("{s:I, s:I, s:b, s:b, s:o, s:o}", "count", (json_int_t)r.count,
					       "full_count", (json_int_t)r.full_count, "full", r.full, "wanted",
					       r.wanted, "last", cost_json(&r.last), "total", cost_json(&r.total))));
	} else if (ret == 0) {
		put_text(cli, &r);
	}
	talloc_free(mem);
	return ret < 0 ? -ret : 0; /* others' daemons do not tell */
}

/* ---- db recover ---- */

static int ask(struct cli *cli, TALLOC_CTX *mem, uint32_t timeout_ms, struct db_recovery *out)
{
	const struct db_recover_args args = {.full = cli->opt.full};
	struct ctdb_data result = {.len = 0};
	struct ctdb_blob blob;
	uint32_t waited = 0;
	int ret;

	if (db_recover_args_encode(mem, &args, &blob) != 0) {
		return -cli_fail(cli, EXIT_ERROR, "out of memory");
	}
	/* EAGAIN: one that runs already is over in a moment as a rule. */
	while ((ret = db_call(cli, mem, cli->opt.node, DB_PROC_RECOVER, &blob, timeout_ms, &result)) == EAGAIN &&
	       waited < timeout_ms) {
		usleep(LOOK_AGAIN_MS * 1000);
		waited += LOOK_AGAIN_MS;
	}
	if (ret == 0 && db_recovery_decode(mem, result.data, result.len, out) != 0) {
		return db_call_malformed(cli, cli->opt.node);
	}
	return ret;
}

/* 0 or exit code */
static int ask_problem(struct cli *cli, int ret)
{
	switch (ret) {
	case 0:
		return 0;
	case ENOSYS:
		return cli_fail(cli, EXIT_ERROR, "the daemon does not know this request");
	case EAGAIN:
		return cli_fail(cli, EXIT_TIMEOUT,
				"a recovery runs already and does not come to its end, or the node is not active: see "
				"ctdb cluster status");
	case ETIMEDOUT:
		return cli_fail(cli, EXIT_TIMEOUT,
				"no recovery has ended in that time; it goes on: see ctdb cluster status");
	default:
		return ret < 0 ? -ret : cli_fail(cli, EXIT_ERROR, "no recovery: %s", strerror(ret));
	}
}

/* A member may hear of the end a little later. One that does not, or has had another one since, is left out. */
static int add_row(struct cli *cli, TALLOC_CTX *mem, uint32_t pnn, uint32_t generation, json_t *rows)
{
	struct db_recovery r = {.generation = 0};
	json_t *row;
	int ret = 0;

	for (uint32_t waited = 0; waited < TELL_MS; waited += LOOK_AGAIN_MS) {
		ret = get_recovery(cli, mem, pnn, &r);
		if (ret != 0 || r.generation == generation) {
			break;
		}
		usleep(LOOK_AGAIN_MS * 1000);
	}
	if (ret == 0 && r.generation == generation) {
		row = cost_json(&r.last);
		json_object_set_new(row, "node", number(pnn));
		json_array_append_new(rows, row);
	}
	return ret < 0 ? -ret : 0;
}

static int put_costs(struct cli *cli, TALLOC_CTX *mem, const struct db_recovery *r)
{
	static const struct output_column columns[] = {{"node", "NODE"},     {"ms", "MS"},
						       {"slots", "SLOTS"},   {"claimed", "CLAIMED"},
						       {"files", "FILES"},   {"records", "RECORDS"},
						       {"claims", "CLAIMS"}, {"orders", "ORDERS"},
						       {"bytes", "BYTES"},   {"content_bytes", "CONTENTS"}};
	json_t *rows = output_check(json_array());
	struct copies_map map;
	int code = copies_map_get(cli, mem, &map);

	for (uint32_t i = 0; i < map.n && code == 0; i++) {
		code = add_row(cli, mem, map.pnn[i], r->generation, rows);
	}
	if (code != 0) {
		json_decref(rows);
		return code;
	}
	output_field(&cli->out, "generation", "Generation", number(r->generation));
	output_field(&cli->out, "full", "Full", json_boolean(r->full));
	output_field(&cli->out, "ms", "Milliseconds", number(r->last.ms));
	output_rows(&cli->out, "nodes", columns, sizeof(columns) / sizeof(columns[0]), rows);
	return 0;
}

static int recover(struct cli *cli, bool tell)
{
	TALLOC_CTX *mem = talloc_new(cli->c);
	struct db_recovery r;
	int code = ask_problem(cli, ask(cli, mem, cli->opt.timeout_given ? cli->opt.timeout_ms : WAIT_MS, &r));

	if (code == 0 && tell) {
		code = put_costs(cli, mem, &r);
	}
	talloc_free(mem);
	return code;
}

int cmd_db_recover(struct cli *cli, char **argv, int argc)
{
	return recover(cli, true);
}

int cmd_old_recover(struct cli *cli, char **argv, int argc)
{
	cli->printed = true;
	return recover(cli, false);
}
