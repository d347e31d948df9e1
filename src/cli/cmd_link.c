/* ctdb node links: the links to the other nodes, and their paths. */
#include <errno.h>
#include <string.h>

#include "membership.h"
#include "protocol/transport.h"

#define TRANSPORT_INTERFACE 0x20c70002U
#define TRANSPORT_VERSION   2U
#define SECURITY_TIMEOUT_MS 2000U /* a status does not wait longer for this */
#define NOT_SECURED                                                                                                    \
	"Links are neither encrypted nor authenticated (security = none): whoever reaches the network can read and "   \
	"change everything."

/* 0 or exit code. */
static int ask(struct cli *cli, uint32_t node, struct links_status *links)
{
	const struct ctdb_interface_call call = {
		.node = node,
		.endpoint = "transport",
		.interface = TRANSPORT_INTERFACE,
		.version = TRANSPORT_VERSION,
		.procedure = TRANSPORT_PROC_GET_STATUS,
	};
	struct ctdb_data result;
	int32_t status;
	int err = ctdb_interface_call(cli->c, &call, cli->c, &status, &result);

	if (err != 0) {
		return cli_fail_api(cli, err, "cannot ask for the links");
	}
	if (status == ENOSYS) {
		return cli_fail(cli, EXIT_ERROR,
				"packets of this node do not travel over links of its own: nothing to show");
	}
	if (status != 0) {
		return cli_fail_api(cli, status, "cannot ask for the links");
	}
	if (links_status_decode(cli->c, result.data, result.len, links) != 0) {
		return cli_fail(cli, EXIT_ERROR, "an answer about links that this program does not understand");
	}
	return 0;
}

static json_t *number(uint64_t v)
{
	return output_check(json_integer((json_int_t)v));
}

/* null unless known */
static json_t *if_known(bool known, json_t *value)
{
	if (!known) {
		json_decref(value);
		return output_check(json_null());
	}
	return value;
}

static json_t *row_of(const struct link_status *l, uint32_t path)
{
	const struct link_path_status *p = &l->paths.v[path];
	json_t *row = output_check(json_object());

	json_object_set_new(row, "pnn", number(l->pnn));
	json_object_set_new(row, "path", number(path));
	json_object_set_new(row, "address", output_string(p->address));
	json_object_set_new(row, "state", output_string(p->active ? "active" : p->up ? "ready" : "down"));
	json_object_set_new(row, "connections", number(p->connections));
	json_object_set_new(row, "rtt_us", if_known(p->up, number(p->rtt_us)));
	json_object_set_new(row, "security", if_known(p->security[0] != '\0', output_string(p->security)));
	json_object_set_new(row, "key_id", if_known(p->key_id[0] != '\0', output_string(p->key_id)));
	return row;
}

static json_t *link_of(const struct link_status *l)
{
	json_t *row = output_check(json_object());

	json_object_set_new(row, "pnn", number(l->pnn));
	json_object_set_new(row, "up", output_check(json_boolean(l->up)));
	json_object_set_new(row, "since_s", number(l->since_ms / 1000));
	json_object_set_new(row, "version", if_known(l->up, number(l->interface_version)));
	json_object_set_new(row, "ups", number(l->ups));
	json_object_set_new(row, "switches", number(l->switches));
	json_object_set_new(row, "rtt_max_us", number(l->rtt_max_us));
	json_object_set_new(row, "frames_in", number(l->frames_in));
	json_object_set_new(row, "frames_out", number(l->frames_out));
	json_object_set_new(row, "bytes_in", number(l->bytes_in));
	json_object_set_new(row, "bytes_out", number(l->bytes_out));
	json_object_set_new(row, "queued", number(l->queued));
	return row;
}

static void print_links(struct cli *cli, const struct links_status *links)
{
	static const struct output_column columns[] = {{"pnn", "NODE"},          {"up", "UP"},
						       {"since_s", "SINCE (s)"}, {"version", "VERSION"},
						       {"ups", "UPS"},           {"switches", "SWITCHES"},
						       {"bytes_in", "BYTES IN"}, {"bytes_out", "BYTES OUT"},
						       {"queued", "QUEUED"}};
	json_t *rows = output_check(json_array());

	for (uint32_t i = 0; i < links->links.n; i++) {
		json_array_append_new(rows, link_of(&links->links.v[i]));
	}
	output_rows(&cli->out, "links", columns, 9, rows);
}

static void print_paths(struct cli *cli, const struct links_status *links)
{
	static const struct output_column columns[] = {{"pnn", "NODE"},
						       {"path", "PATH"},
						       {"address", "ADDRESS"},
						       {"state", "STATE"},
						       {"connections", "CONNECTIONS"},
						       {"rtt_us", "RTT (us)"},
						       {"security", "SECURITY"},
						       {"key_id", "KEY"}};
	json_t *rows = output_check(json_array());

	for (uint32_t i = 0; i < links->links.n; i++) {
		for (uint32_t k = 0; k < links->links.v[i].paths.n; k++) {
			json_array_append_new(rows, row_of(&links->links.v[i], k));
		}
	}
	output_rows(&cli->out, "paths", columns, 8, rows);
}

/* What cannot be asked is not said: earlier daemons have no links to tell of. */
void links_print_security(struct cli *cli)
{
	const struct ctdb_interface_call call = {
		.node = CTDB_NODE_CURRENT,
		.endpoint = "transport",
		.interface = TRANSPORT_INTERFACE,
		.version = TRANSPORT_VERSION,
		.procedure = TRANSPORT_PROC_GET_STATUS,
		.timeout_ms = cli->opt.timeout_ms < SECURITY_TIMEOUT_MS ? cli->opt.timeout_ms : SECURITY_TIMEOUT_MS,
	};
	struct links_status links = {.security = NULL};
	struct ctdb_data result;
	int32_t status;

	if (ctdb_interface_call(cli->c, &call, cli->c, &status, &result) != 0 || status != 0 ||
	    links_status_decode(cli->c, result.data, result.len, &links) != 0) {
		links.security = NULL;
	}
	if (links.security != NULL && strcmp(links.security, "none") == 0) {
		output_line(&cli->out, "warning", NOT_SECURED);
	}
	if (cli->opt.format == &output_json) {
		output_field(&cli->out, "security", "",
			     links.security != NULL ? output_string(links.security) : output_check(json_null()));
	}
}

int cmd_node_links(struct cli *cli, char **argv, int argc)
{
	struct links_status links;
	uint32_t node;
	int code = node_arg(cli, argc > 0 ? argv[0] : NULL, &node);

	code = code != 0 ? code : ask(cli, node, &links);
	if (code != 0) {
		return code;
	}
	if (strcmp(links.security, "none") == 0) {
		output_line(&cli->out, "warning", NOT_SECURED);
	}
	print_links(cli, &links);
	print_paths(cli, &links);
	output_field(&cli->out, "carrier", "Carrier", output_string(links.carrier));
	output_field(&cli->out, "security", "Security", output_string(links.security));
	output_field(&cli->out, "interface_version", "Newest version spoken", number(links.interface_version));
	output_field(&cli->out, "keepalive_ms", "Keepalive interval (ms)", number(links.heartbeat_ms));
	output_field(&cli->out, "dead_ms", "Dead interval (ms)", number(links.dead_ms));
	return EXIT_OK;
}
