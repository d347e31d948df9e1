/* Forms about nodes that scripts know: nodestatus, listnodes, ping, getpid, capabilities. */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "membership.h"

static uint32_t asked_node(const struct cli *cli)
{
	return cli->opt.node == CTDB_NODE_CURRENT ? ctdb_client_pnn(cli->c) : cli->opt.node;
}

int cmd_old_listnodes(struct cli *cli, char **argv, int argc)
{
	const char *sep = cli->opt.separator;
	struct ctdb_nodemap *map = NULL;
	int err = ctdb_get_nodemap(cli->c, CTDB_NODE_CURRENT, cli->c, &map);

	cli->printed = true;
	if (err != 0) {
		return cli_fail_api(cli, err, "cannot list nodes");
	}
	for (uint32_t i = 0; i < map->n; i++) {
		const struct ctdb_node *n = &map->nodes[i];

		if ((n->flags & CTDB_NODE_DELETED) != 0) {
			continue;
		}
		if (cli->opt.machine) {
			printf("%s%u%s%s%s\n", sep, n->pnn, sep, node_address(n), sep);
		} else {
			puts(node_address(n));
		}
	}
	return EXIT_OK;
}

int cmd_old_ping(struct cli *cli, char **argv, int argc)
{
	uint32_t clients, pnn = asked_node(cli);
	struct timespec a, b;
	int err;

	clock_gettime(CLOCK_MONOTONIC, &a);
	err = ctdb_ping(cli->c, pnn, &clients);
	clock_gettime(CLOCK_MONOTONIC, &b);
	cli->printed = true;
	if (err != 0) {
		cli_fail_api(cli, err, "Unable to get ping response from node %u", pnn);
		return EXIT_ERROR;
	}
	printf("response from %u time=%.6f sec  (%u clients)\n", pnn,
	       (double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) / 1e9, clients);
	return EXIT_OK;
}

int cmd_old_getpid(struct cli *cli, char **argv, int argc)
{
	pid_t pid;
	int err = ctdb_get_pid(cli->c, cli->opt.node, &pid);

	cli->printed = true;
	if (err != 0) {
		return cli_fail_api(cli, err, "cannot get the process id");
	}
	printf("%d\n", (int)pid);
	return EXIT_OK;
}

int cmd_old_getcapabilities(struct cli *cli, char **argv, int argc)
{
	const char *sep = cli->opt.separator;
	uint32_t caps;
	int err = ctdb_get_capabilities(cli->c, cli->opt.node, &caps);
	bool leader, lmaster;

	cli->printed = true;
	if (err != 0) {
		return cli_fail_api(cli, err, "cannot get the capabilities");
	}
	leader = (caps & CTDB_CAP_LEADER) != 0;
	lmaster = (caps & CTDB_CAP_LMASTER) != 0;
	if (cli->opt.machine) {
		printf("%sLEADER%sLMASTER%s\n%s%d%s%d%s\n", sep, sep, sep, sep, leader, sep, lmaster, sep);
	} else {
		printf("LEADER: %s\nLMASTER: %s\n", leader ? "YES" : "NO", lmaster ? "YES" : "NO");
	}
	return EXIT_OK;
}

static int set_role(struct cli *cli, uint32_t opcode, const char *word)
{
	uint32_t on = strcmp(word, "on") == 0;
	struct ctdb_control control = {
		.node = cli->opt.node, .opcode = opcode, .data = {.data = (const uint8_t *)&on, .len = sizeof(on)}};
	struct ctdb_control_reply *reply = NULL;
	int err;

	cli->printed = true;
	if (!on && strcmp(word, "off") != 0) {
		return cli_fail(cli, EXIT_ERROR, "\"%s\" is neither on nor off", word);
	}
	err = ctdb_control(cli->c, &control, cli->c, &reply);
	if (err != 0) {
		return cli_fail_api(cli, err, "cannot set the role");
	}
	return reply->status == 0 ? EXIT_OK : cli_fail(cli, EXIT_ERROR, "cannot set the role: %s", reply->error);
}

int cmd_old_setleaderrole(struct cli *cli, char **argv, int argc)
{
	return set_role(cli, CTDB_CONTROL_SET_RECMASTERROLE, argv[0]);
}

int cmd_old_setlmasterrole(struct cli *cli, char **argv, int argc)
{
	return set_role(cli, CTDB_CONTROL_SET_LMASTERROLE, argv[0]);
}
