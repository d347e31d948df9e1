/* ctdb cluster key ...: the keys that secure the links between nodes. */
#include <errno.h>
#include <string.h>

#include "cli.h"
#include "protocol/transport.h"

#define TRANSPORT_INTERFACE 0x20c70002U
#define TRANSPORT_VERSION   2U
#define NODE_TIMEOUT_MS     5000U  /* for one node to list its keys */
#define CHANGE_TIMEOUT_MS   60000U /* for all steps on all nodes */

int cmd_key_create(struct cli *cli, char **argv, int argc)
{
	char *def = ctdb_cluster_key_path(NULL), note[512];
	const char *path = argc > 0 ? argv[0] : def;
	int err = path == NULL ? ENOMEM : ctdb_cluster_key_create(path);

	if (err == EEXIST) {
		cli_fail(cli, EXIT_ERROR,
			 "%s exists and is not replaced: a running cluster gets a new key by ctdb cluster key rotate",
			 path);
	} else if (err != 0) {
		cli_fail(cli, EXIT_ERROR, "cannot make %s: %s", path != NULL ? path : "the key file", strerror(err));
	} else {
		snprintf(note, sizeof(note),
			 "%s was made: copy it to all nodes, mode 0600, by a way that nobody can listen to.", path);
		output_line(&cli->out, "message", note);
		if (cli->opt.format == &output_json) {
			output_field(&cli->out, "file", "", output_string(path));
		}
	}
	talloc_free(def);
	return err == 0 ? EXIT_OK : EXIT_ERROR;
}

/* ---- asking transportd ---- */

static int ask(struct cli *cli, TALLOC_CTX *mem, uint32_t node, enum transport_proc proc,
	       const struct ctdb_blob *payload, uint32_t timeout_ms, int32_t *status, struct ctdb_data *result)
{
	const struct ctdb_interface_call call = {
		.node = node,
		.endpoint = "transport",
		.interface = TRANSPORT_INTERFACE,
		.version = TRANSPORT_VERSION,
		.procedure = (uint32_t)proc,
		.payload = {.data = payload->data, .len = payload->len},
		.timeout_ms = timeout_ms,
	};
	int err = ctdb_interface_call(cli->c, &call, mem, status, result);

	return err == 0 ? 0 : cli_fail_api(cli, err, "cannot ask for the keys");
}

static const char *status_text(int32_t status)
{
	switch (status) {
	case EOPNOTSUPP:
		return "it has security = none";
	case EHOSTUNREACH:
		return "no link to it";
	case ETIMEDOUT:
		return "no answer";
	case ENOSYS:
		return "it has no keys";
	default:
		return strerror(status);
	}
}

/* ---- show-id ---- */

static json_t *accepted_ids(const struct key_list *list)
{
	json_t *ids = output_check(json_array());

	for (uint32_t i = 0; i < list->keys.n; i++) {
		json_array_append_new(ids, output_string(list->keys.v[i].id));
	}
	return ids;
}

static bool same_keys(const struct key_list *a, const struct key_list *b)
{
	if (a->keys.n != b->keys.n || strcmp(a->keys.v[0].id, b->keys.v[0].id) != 0) {
		return false;
	}
	for (uint32_t i = 0; i < a->keys.n; i++) {
		bool found = false;

		for (uint32_t k = 0; k < b->keys.n; k++) {
			found = found || strcmp(a->keys.v[i].id, b->keys.v[k].id) == 0;
		}
		if (!found) {
			return false;
		}
	}
	return true;
}

/* *list is left empty if the node could not say. 0 or exit code. */
static int list_of(struct cli *cli, TALLOC_CTX *mem, uint32_t node, struct key_list *list, const char **trouble)
{
	const struct ctdb_blob nothing = {.len = 0};
	uint32_t timeout = cli->opt.timeout_ms < NODE_TIMEOUT_MS ? cli->opt.timeout_ms : NODE_TIMEOUT_MS;
	struct ctdb_data result;
	int32_t status;
	int code = ask(cli, mem, node, TRANSPORT_PROC_KEY_LIST, &nothing, timeout, &status, &result);

	*list = (struct key_list){.pending = NULL};
	*trouble = NULL;
	if (code != 0) {
		return code;
	}
	if (status != 0) {
		*trouble = status_text(status);
	} else if (key_list_decode(mem, result.data, result.len, list) != 0 || list->keys.n == 0) {
		list->keys.n = 0;
		*trouble = "an answer that is not understood";
	}
	return 0;
}

static json_t *row_of(const struct ctdb_node *n, const struct key_list *list, const char *trouble,
		      const struct key_list *own)
{
	bool known = list->keys.n > 0;
	json_t *row = output_check(json_pack("{s:i}", "pnn", (int)n->pnn));

	json_object_set_new(row, "offered", known ? output_string(list->keys.v[0].id) : output_check(json_null()));
	json_object_set_new(row, "accepted", known ? accepted_ids(list) : output_check(json_null()));
	json_object_set_new(row, "pending",
			    known && list->pending[0] != '\0' ? output_string(list->pending)
							      : output_check(json_null()));
	json_object_set_new(row, "state",
			    output_string(!known                 ? trouble
					  : same_keys(own, list) ? "agrees"
								 : "differs"));
	return row;
}

/* *good: all nodes agree. 0 or exit code. */
static int rows_of(struct cli *cli, const struct ctdb_nodemap *map, const struct key_list *own, json_t *rows,
		   bool *good)
{
	*good = true;
	for (uint32_t i = 0; i < map->n; i++) {
		struct key_list list;
		const char *trouble;
		int code;

		if ((map->nodes[i].flags & CTDB_NODE_DELETED) != 0) {
			continue;
		}
		code = list_of(cli, cli->c, map->nodes[i].pnn, &list, &trouble);
		if (code != 0) {
			return code;
		}
		*good = *good && list.keys.n > 0 && same_keys(own, &list);
		json_array_append_new(rows, row_of(&map->nodes[i], &list, trouble, own));
	}
	return 0;
}

int cmd_key_show(struct cli *cli, char **argv, int argc)
{
	static const struct output_column columns[] = {{"pnn", "NODE"},
						       {"offered", "OFFERED"},
						       {"accepted", "ACCEPTED"},
						       {"pending", "PENDING"},
						       {"state", "STATE"}};
	struct ctdb_nodemap *map = NULL;
	struct key_list own;
	const char *trouble;
	json_t *rows;
	bool good;
	int code, err = ctdb_get_nodemap(cli->c, CTDB_NODE_CURRENT, cli->c, &map);

	if (err != 0) {
		return cli_fail_api(cli, err, "cannot list nodes");
	}
	code = list_of(cli, cli->c, CTDB_NODE_CURRENT, &own, &trouble);
	if (code != 0) {
		return code;
	}
	if (own.keys.n == 0) {
		return cli_fail(cli, EXIT_ERROR, "this node cannot tell its keys: %s", trouble);
	}
	rows = output_check(json_array());
	code = rows_of(cli, map, &own, rows, &good);
	if (code != 0) {
		json_decref(rows);
		return code;
	}
	output_field(&cli->out, "offered", "Offered", output_string(own.keys.v[0].id));
	output_field(&cli->out, "agree", "All nodes agree", output_check(json_boolean(good)));
	output_rows(&cli->out, "nodes", columns, 5, rows);
	return good ? EXIT_OK : EXIT_ERROR;
}

/* ---- rotate, retire ---- */

static int change_failed(struct cli *cli, int32_t status)
{
	switch (status) {
	case EOPNOTSUPP:
		return cli_fail(cli, EXIT_ERROR,
				"this node has security = none in [transport]: there are no keys to change");
	case EBUSY:
		return cli_fail(cli, EXIT_ERROR, "another change of keys is in work: wait for its end");
	case ENOSYS:
		return cli_fail(cli, EXIT_ERROR, "the carrier of this node's packets has no keys");
	case ENOENT:
		return cli_fail(cli, EXIT_ERROR, "the daemon that keeps the links does not run: see the log");
	case ETIMEDOUT:
		return cli_fail(cli, EXIT_TIMEOUT,
				"no answer in time; what was begun goes on: see ctdb cluster key show-id");
	default:
		return cli_fail(cli, EXIT_ERROR, "the keys cannot be changed: %s: see the log", strerror(status));
	}
}

static int change(struct cli *cli, enum transport_proc proc, const struct ctdb_blob *payload)
{
	struct key_result res;
	struct ctdb_data result;
	int32_t status;
	int code = ask(cli, cli->c, CTDB_NODE_CURRENT, proc, payload,
		       cli->opt.timeout_given ? cli->opt.timeout_ms : CHANGE_TIMEOUT_MS, &status, &result);

	if (code != 0) {
		return code;
	}
	if (status != 0) {
		return change_failed(cli, status);
	}
	if (key_result_decode(cli->c, result.data, result.len, &res) != 0) {
		return cli_fail(cli, EXIT_ERROR, "an answer that this program does not understand");
	}
	if (!res.complete) {
		return cli_fail(cli, EXIT_ERROR, "%s", res.text);
	}
	output_line(&cli->out, "message", res.text);
	if (cli->opt.format == &output_json) {
		output_field(&cli->out, "id", "", output_string(res.id));
	}
	return EXIT_OK;
}

int cmd_key_rotate(struct cli *cli, char **argv, int argc)
{
	const struct key_rotate_args args = {.retire = cli->opt.retire};
	struct ctdb_blob payload;

	if (key_rotate_args_encode(cli->c, &args, &payload) != 0) {
		return cli_fail(cli, EXIT_ERROR, "out of memory");
	}
	return change(cli, TRANSPORT_PROC_KEY_ROTATE, &payload);
}

int cmd_key_retire(struct cli *cli, char **argv, int argc)
{
	const struct key_id args = {.id = argv[0]};
	struct ctdb_blob payload;

	if (strlen(argv[0]) != 16 || strspn(argv[0], "0123456789abcdef") != 16) {
		return cli_fail(cli, EXIT_USAGE, "\"%s\" is no id of a key: ctdb cluster key show-id lists them",
				argv[0]);
	}
	if (key_id_encode(cli->c, &args, &payload) != 0) {
		return cli_fail(cli, EXIT_ERROR, "out of memory");
	}
	return change(cli, TRANSPORT_PROC_KEY_RETIRE, &payload);
}
