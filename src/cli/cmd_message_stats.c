/* ctdb message stats: what the endpoints of a node tell about their messages. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "protocol/msgstat.h"

#define MSGSTAT_INTERFACE 0x20c70010U
#define MSGSTAT_VERSION   1U
#define LISTING_ENDPOINT  "transport"

/* A procedure without argument. 0 with the answer's status, or exit code. */
static int ask(struct cli *cli, TALLOC_CTX *mem, const char *endpoint, enum msgstat_proc proc, int32_t *status,
	       struct ctdb_data *result)
{
	const struct ctdb_interface_call call = {
		.node = cli->opt.node,
		.endpoint = endpoint,
		.interface = MSGSTAT_INTERFACE,
		.version = MSGSTAT_VERSION,
		.procedure = (uint32_t)proc,
	};
	int err = ctdb_interface_call(cli->c, &call, mem, status, result);

	return err == 0 ? 0 : cli_fail_api(cli, err, "cannot ask for the messages of endpoint \"%s\"", endpoint);
}

static int bad_answer(struct cli *cli, const char *endpoint)
{
	return cli_fail(cli, EXIT_ERROR, "endpoint \"%s\" gave an answer that this program does not understand",
			endpoint);
}

static json_t *number(uint64_t v)
{
	return output_check(json_integer((json_int_t)v));
}

static const struct {
	const char *key, *title;
	size_t offset;
} counters[] = {
	{"sent", "Packets sent", offsetof(struct msgstat_info, sent)},
	{"received", "Packets received", offsetof(struct msgstat_info, received)},
	{"sent_bytes", "Bytes sent", offsetof(struct msgstat_info, sent_bytes)},
	{"received_bytes", "Bytes received", offsetof(struct msgstat_info, received_bytes)},
	{"dropped_full", "Dropped, queue full", offsetof(struct msgstat_info, dropped_full)},
	{"dropped_malformed", "Dropped, malformed", offsetof(struct msgstat_info, dropped_malformed)},
	{"no_endpoint", "Nobody was there", offsetof(struct msgstat_info, no_endpoint)},
	{"unreachable", "Node was not linked", offsetof(struct msgstat_info, unreachable)},
	{"group_empty", "Nobody was in the group", offsetof(struct msgstat_info, group_empty)},
	{"timeouts", "Requests timed out", offsetof(struct msgstat_info, timeouts)},
	{"peer_lost", "Requests lost with their receiver", offsetof(struct msgstat_info, peer_lost)},
};

#define N_COUNTERS (sizeof(counters) / sizeof(counters[0]))

static uint64_t counter(const struct msgstat_info *info, size_t i)
{
	uint64_t v;

	memcpy(&v, (const char *)info + counters[i].offset, sizeof(v));
	return v;
}

static uint64_t queued(const struct msgstat_info *info)
{
	uint64_t n = 0;
	uint32_t i;

	for (i = 0; i < info->queues.n; i++) {
		n += info->queues.v[i].packets;
	}
	return n;
}

static json_t *row_of(const struct msgstat_info *info)
{
	json_t *row = output_check(json_object());
	size_t i;

	json_object_set_new(row, "endpoint", output_string(info->endpoint));
	json_object_set_new(row, "pid", number(info->pid));
	for (i = 0; i < N_COUNTERS; i++) {
		json_object_set_new(row, counters[i].key, number(counter(info, i)));
	}
	json_object_set_new(row, "queued", number(queued(info)));
	json_object_set_new(row, "requests", number(info->requests));
	json_object_set_new(row, "calls", number(info->calls));
	json_object_set_new(row, "streams", number(info->streams));
	return row;
}

static void print_queues(struct cli *cli, const struct msgstat_info *info)
{
	static const struct output_column columns[] = {
		{"endpoint", "QUEUE FOR"}, {"packets", "PACKETS"}, {"bytes", "BYTES"}};
	json_t *rows = output_check(json_array());
	uint32_t i;

	for (i = 0; i < info->queues.n; i++) {
		const struct msgstat_queue *q = &info->queues.v[i];
		json_t *row = output_check(json_object());

		json_object_set_new(row, "endpoint", output_string(q->endpoint));
		json_object_set_new(row, "packets", number(q->packets));
		json_object_set_new(row, "bytes", number(q->bytes));
		json_array_append_new(rows, row);
	}
	output_rows(&cli->out, "queues", columns, 3, rows);
}

static int print_one(struct cli *cli, const char *endpoint)
{
	struct ctdb_data result = {0};
	struct msgstat_info info;
	int32_t status = 0;
	size_t i;
	int code = ask(cli, cli->c, endpoint, MSGSTAT_PROC_GET, &status, &result);

	if (code != 0) {
		return code;
	}
	if (status == ENOENT) {
		return cli_fail(cli, EXIT_NOT_FOUND,
				"there is no endpoint \"%s\"; ctdb message stats lists those that are", endpoint);
	}
	if (status != 0) {
		return cli_fail_api(cli, status, "cannot ask for the messages of endpoint \"%s\"", endpoint);
	}
	if (msgstat_info_decode(cli->c, result.data, result.len, &info) != 0) {
		return bad_answer(cli, endpoint);
	}
	output_field(&cli->out, "endpoint", "Endpoint", output_string(info.endpoint));
	output_field(&cli->out, "node", "Node", number(info.pnn));
	output_field(&cli->out, "pid", "Process", number(info.pid));
	output_field(&cli->out, "open_ms", "Open since, ms ago", number(info.open_ms));
	for (i = 0; i < N_COUNTERS; i++) {
		output_field(&cli->out, counters[i].key, counters[i].title, number(counter(&info, i)));
	}
	output_field(&cli->out, "requests", "Own requests in work", number(info.requests));
	output_field(&cli->out, "calls", "Requests of others in work", number(info.calls));
	output_field(&cli->out, "streams", "Open streams", number(info.streams));
	output_field(&cli->out, "queue_limit", "Limit of each queue, bytes", number(info.queue_limit));
	print_queues(cli, &info);
	return EXIT_OK;
}

/* One row. An endpoint that does not answer has one, too: it says why. */
static int add_row(struct cli *cli, TALLOC_CTX *mem, const char *endpoint, json_t *rows)
{
	struct ctdb_data result = {0};
	struct msgstat_info info;
	int32_t status = 0;
	json_t *row;
	int code = ask(cli, mem, endpoint, MSGSTAT_PROC_GET, &status, &result);

	if (code != 0) {
		return code;
	}
	if (status == 0 && msgstat_info_decode(mem, result.data, result.len, &info) != 0) {
		return bad_answer(cli, endpoint);
	}
	if (status == 0) {
		row = row_of(&info);
	} else {
		row = output_check(json_object());
		json_object_set_new(row, "endpoint", output_string(endpoint));
		json_object_set_new(row, "error",
				    output_string(status == ENOENT ? "its process is gone" : strerror(status)));
	}
	json_array_append_new(rows, row);
	return 0;
}

static int print_all(struct cli *cli)
{
	static const struct output_column columns[] = {
		{"endpoint", "ENDPOINT"},  {"pid", "PID"},           {"sent", "SENT"},
		{"received", "RECEIVED"},  {"queued", "QUEUED"},     {"dropped_full", "FULL"},
		{"no_endpoint", "NOBODY"}, {"timeouts", "TIMEOUTS"}, {"dropped_malformed", "MALFORMED"},
		{"error", "NO ANSWER"},
	};
	struct ctdb_data result = {0};
	struct msgstat_names names;
	int32_t status = 0;
	json_t *rows;
	uint32_t i;
	int code = ask(cli, cli->c, LISTING_ENDPOINT, MSGSTAT_PROC_ENDPOINTS, &status, &result);

	if (code != 0) {
		return code;
	}
	if (status != 0) {
		return cli_fail_api(cli, status, "cannot list the endpoints of the node");
	}
	if (msgstat_names_decode(cli->c, result.data, result.len, &names) != 0) {
		return bad_answer(cli, LISTING_ENDPOINT);
	}
	rows = output_check(json_array());
	for (i = 0; i < names.names.n && code == 0; i++) {
		code = add_row(cli, cli->c, names.names.v[i].endpoint, rows);
	}
	if (code != 0) {
		json_decref(rows);
		return code;
	}
	output_rows(&cli->out, "endpoints", columns, sizeof(columns) / sizeof(columns[0]), rows);
	return EXIT_OK;
}

int cmd_message_stats(struct cli *cli, char **argv, int argc)
{
	if (argc == 0) {
		return print_all(cli);
	}
	if (argv[0][0] == '\0' || strlen(argv[0]) > 63 ||
	    strspn(argv[0], "abcdefghijklmnopqrstuvwxyz0123456789-.") != strlen(argv[0])) {
		return cli_fail(cli, EXIT_USAGE,
				"\"%s\" is not the name of an endpoint, such as db or transport; its node goes with -n",
				argv[0]);
	}
	return print_one(cli, argv[0]);
}
