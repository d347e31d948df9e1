/* ctdb message ...: sending and printing messages. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "text.h"

#define TEXT_MAX (64U * 1024 * 1024)

static int parse_destination(struct cli *cli, const char *text, uint32_t *node)
{
	static const struct {
		const char *name;
		uint32_t node;
	} names[] = {{"all", CTDB_NODES_ALL},
		     {"active", CTDB_NODES_ACTIVE},
		     {"connected", CTDB_NODES_CONNECTED},
		     {"local", CTDB_NODE_CURRENT}};
	uint64_t v;
	size_t i;

	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strcmp(names[i].name, text) == 0) {
			*node = names[i].node;
			return 0;
		}
	}
	if (!text_number(text, 0xFFFFFF, &v)) {
		return cli_fail(cli, EXIT_USAGE, "\"%s\" is not a node: a number, local, all, active or connected",
				text);
	}
	*node = (uint32_t)v;
	return 0;
}

/* A message to a node that does not exist would be lost without a word. */
static int check_node(struct cli *cli, uint32_t node)
{
	struct ctdb_nodemap *map = NULL;
	uint32_t i;
	int err;

	if (node >= CTDB_NODE_CURRENT) {
		return 0;
	}
	err = ctdb_get_nodemap(cli->c, CTDB_NODE_CURRENT, cli->c, &map);
	if (err != 0) {
		return cli_fail_api(cli, err, "cannot list nodes");
	}
	for (i = 0; i < map->n; i++) {
		if (map->nodes[i].pnn == node &&
		    (map->nodes[i].flags & (CTDB_NODE_DISCONNECTED | CTDB_NODE_DELETED)) == 0) {
			return 0;
		}
		if (map->nodes[i].pnn == node) {
			return cli_fail(cli, EXIT_ERROR, "node %u is %s: it would not get the message", node,
					node_flags_text(map->nodes[i].flags, false, false));
		}
	}
	return cli_fail(cli, EXIT_NOT_FOUND, "there is no node %u: ctdb node list shows which there are", node);
}

static int parse_srvid(struct cli *cli, const char *text, uint64_t *srvid)
{
	return text_number(text, UINT64_MAX, srvid)
		       ? 0
		       : cli_fail(cli, EXIT_USAGE, "\"%s\" is not a message address: a 64-bit number, decimal or 0x",
				  text);
}

static int parse_text(struct cli *cli, const char *text, struct bytes *out)
{
	bool from_stdin = strcmp(text, "-") == 0;
	int err = from_stdin     ? text_read(stdin, TEXT_MAX, out)
		  : cli->opt.hex ? text_unhex(text, out)
				 : text_unescape(text, out);

	if (err == 0) {
		cli_own(cli, out->data);
		return 0;
	}
	if (from_stdin) {
		return cli_fail(cli, EXIT_ERROR, "standard input: %s",
				err == EFBIG ? "a message has at most 64 MiB" : strerror(err));
	}
	return cli_fail(cli, EXIT_USAGE, "text \"%s\": %s", text,
			cli->opt.hex ? "not hexadecimal" : "after a backslash only xNN or another backslash");
}

int cmd_message_send(struct cli *cli, char **argv, int argc)
{
	uint32_t node = CTDB_NODE_UNKNOWN;
	uint64_t srvid = 0;
	struct bytes text;
	int err, code = parse_destination(cli, argv[0], &node);

	code = code != 0 ? code : parse_srvid(cli, argv[1], &srvid);
	code = code != 0 ? code : parse_text(cli, argv[2], &text);
	code = code != 0 ? code : check_node(cli, node);
	if (code != 0) {
		return code;
	}
	err = ctdb_post_message(cli->c, node, srvid, (struct ctdb_data){.data = text.data, .len = text.len});
	err = err != 0 ? err : ctdb_client_flush(cli->c);
	return err == 0 ? EXIT_OK : cli_fail_api(cli, err, "cannot send the message");
}

/* ---- listen ---- */

struct listen {
	struct cli *cli;
	uint64_t n;
	bool wake; /* a message came */
	int err;   /* of standard output */
};

static volatile sig_atomic_t interrupted;

static void on_signal(int sig)
{
	interrupted = 1;
}

static void print_message(struct listen *l, uint64_t srvid, const char *text)
{
	json_t *doc;
	char address[32];

	if (l->cli->opt.format != &output_json) {
		printf("%s\n", text);
		return;
	}
	snprintf(address, sizeof(address), "0x%016llx", (unsigned long long)srvid);
	doc = output_check(
		json_pack("{s:i, s:s, s:s}", "schema", 1, "srvid", address, l->cli->opt.hex ? "hex" : "text", text));
	json_dumpf(doc, stdout, JSON_COMPACT);
	putchar('\n');
	json_decref(doc);
}

static void on_message(void *priv, uint64_t srvid, struct ctdb_data data)
{
	struct listen *l = priv;
	char *text;

	if (l->cli->opt.count != 0 && l->n == l->cli->opt.count) {
		return;
	}
	text = l->cli->opt.hex ? text_hex(data.data, data.len) : text_escape(data.data, data.len);
	if (text == NULL) {
		l->err = ENOMEM;
	} else {
		print_message(l, srvid, text);
		l->err = fflush(stdout) != 0 ? errno : 0;
	}
	free(text);
	l->n++;
	l->wake = true;
}

/* Waits in pieces, since a signal does not end the wait. */
static int wait_one(struct cli *cli, struct listen *l)
{
	uint32_t waited = 0, piece = 200;
	int err = ETIMEDOUT;

	l->wake = false;
	while (err == ETIMEDOUT && !interrupted && !l->wake) {
		if (cli->opt.timeout_given && waited >= cli->opt.timeout_ms) {
			return cli_fail(cli, EXIT_TIMEOUT, "no message within the time-out");
		}
		if (cli->opt.timeout_given && cli->opt.timeout_ms - waited < piece) {
			piece = cli->opt.timeout_ms - waited;
		}
		err = ctdb_client_wait(cli->c, piece, &l->wake);
		waited += piece;
	}
	return err == 0 || err == ETIMEDOUT ? 0 : cli_fail_api(cli, err, "cannot go on listening");
}

int cmd_message_listen(struct cli *cli, char **argv, int argc)
{
	struct sigaction act = {.sa_handler = on_signal};
	struct listen l = {.cli = cli};
	struct ctdb_listener *listener = NULL;
	uint64_t srvid;
	int err, code = parse_srvid(cli, argv[0], &srvid);

	if (code != 0) {
		return code;
	}
	sigaction(SIGINT, &act, NULL);
	sigaction(SIGTERM, &act, NULL);
	err = ctdb_listen(cli->c, srvid, on_message, &l, cli->c, &listener);
	if (err != 0) {
		return cli_fail_api(cli, err, "cannot listen");
	}
	while (code == 0 && l.err == 0 && !interrupted && (cli->opt.count == 0 || l.n < cli->opt.count)) {
		code = wait_one(cli, &l);
	}
	if (code == 0 && l.err != 0) {
		code = cli_fail(cli, EXIT_ERROR, "cannot write to standard output: %s", strerror(l.err));
	}
	cli->printed = true;
	return code;
}
