/* ctdb node add, remove, replace, reload: changes of the nodes list, on all nodes at once. */
#include <errno.h>
#include <string.h>

#include "cli.h"
#include "protocol/cluster.h"
#include "text.h"

#define CLUSTER_INTERFACE 0x20c70001U
#define CLUSTER_VERSION   1U
#define CHANGE_TIMEOUT_MS 120000U /* for all steps on all nodes */

static int ask(struct cli *cli, const struct cluster_nodes_change_args *args, struct cluster_nodes_change *res)
{
	struct ctdb_interface_call call = {
		.node = cli->opt.node,
		.endpoint = "cluster",
		.interface = CLUSTER_INTERFACE,
		.version = CLUSTER_VERSION,
		.procedure = CLUSTER_PROC_CHANGE_NODES,
		.timeout_ms = cli->opt.timeout_given ? cli->opt.timeout_ms : CHANGE_TIMEOUT_MS,
	};
	struct ctdb_blob payload;
	struct ctdb_data result;
	int32_t status;
	int err = cluster_nodes_change_args_encode(cli->c, args, &payload);

	if (err != 0) {
		return cli_fail(cli, EXIT_USAGE, "\"%s\" is too long for an address", args->address);
	}
	call.payload = (struct ctdb_data){.data = payload.data, .len = payload.len};
	err = ctdb_interface_call(cli->c, &call, cli->c, &status, &result);
	if (err != 0) {
		return cli_fail_api(cli, err, "cannot change the nodes list");
	}
	switch (status) {
	case 0:
		break;
	case ENOENT:
		return cli_fail(cli, EXIT_ERROR, "ctdb-clusterd does not run: see the log");
	case ECONNRESET:
		return cli_fail(cli, EXIT_ERROR,
				"ctdb-clusterd ended meanwhile: see ctdb node list whether it was done");
	case ENOSYS:
		return cli_fail(cli, EXIT_ERROR, "that node's version cannot change the nodes list while it runs");
	case ETIMEDOUT:
		return cli_fail(cli, EXIT_TIMEOUT, "no answer in time; what was begun goes on: see ctdb node list");
	default:
		return cli_fail(cli, EXIT_ERROR, "the nodes list cannot be changed: %s", strerror(status));
	}
	if (cluster_nodes_change_decode(cli->c, result.data, result.len, res) != 0) {
		return cli_fail(cli, EXIT_ERROR, "an answer that this program does not understand");
	}
	return 0;
}

/* One line for each that was done or would be; refused: an error. */
static int change(struct cli *cli, struct cluster_nodes_change_args *args)
{
	struct cluster_nodes_change res;
	int code;

	args->dry_run = cli->opt.dry_run;
	code = ask(cli, args, &res);
	if (code != 0) {
		return code;
	}
	if (!res.done) {
		return cli_fail(cli, EXIT_ERROR, "%s", res.text);
	}
	if (cli->opt.format == &output_json) {
		output_field(&cli->out, "dry_run", "", json_boolean(args->dry_run));
		output_field(&cli->out, "node", "",
			     res.pnn == CLUSTER_NODE_NONE || args->op == CLUSTER_NODES_RELOAD ? json_null()
											      : json_integer(res.pnn));
	}
	if (args->dry_run) {
		output_line(&cli->out, NULL, "Would be done:");
	}
	output_line(&cli->out, "message", res.text);
	return EXIT_OK;
}

static int get_pnn(struct cli *cli, const char *text, uint32_t *pnn)
{
	uint64_t n;

	if (!text_number(text, NODES_MAX - 1, &n)) {
		return cli_fail(cli, EXIT_USAGE, "\"%s\" is not the number of a node: see ctdb node list", text);
	}
	*pnn = (uint32_t)n;
	return 0;
}

int cmd_node_add(struct cli *cli, char **argv, int argc)
{
	struct cluster_nodes_change_args args = {.op = CLUSTER_NODES_ADD, .pnn = CLUSTER_NODE_NONE, .address = argv[0]};

	return change(cli, &args);
}

int cmd_node_remove(struct cli *cli, char **argv, int argc)
{
	struct cluster_nodes_change_args args = {.op = CLUSTER_NODES_REMOVE};
	int code = get_pnn(cli, argv[0], &args.pnn);

	return code != 0 ? code : change(cli, &args);
}

int cmd_node_replace(struct cli *cli, char **argv, int argc)
{
	struct cluster_nodes_change_args args = {.op = CLUSTER_NODES_REPLACE, .address = argv[1]};
	int code = get_pnn(cli, argv[0], &args.pnn);

	return code != 0 ? code : change(cli, &args);
}

int cmd_node_reload(struct cli *cli, char **argv, int argc)
{
	struct cluster_nodes_change_args args = {.op = CLUSTER_NODES_RELOAD, .pnn = CLUSTER_NODE_NONE};

	return change(cli, &args);
}
