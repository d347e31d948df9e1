/* The forms of earlier versions that scripts parse: their output is what it always was. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "membership.h"

/* Above that many slots one line for each location master. */
#define SLOT_LINES_MAX 64U

static const char *const status_columns[] = {"Node",     "IP",        "Disconnected", "Unknown",  "Banned",
					     "Disabled", "Unhealthy", "Stopped",      "Inactive", "PartiallyOnline",
					     "ThisNode"};

struct status {
	struct ctdb_nodemap *nodes;
	enum ctdb_runstate runstate;
	uint32_t pnn; /* the node asked */
};

/* While a node starts it does not know what the others are. */
static bool is_unknown(const struct status *s, const struct ctdb_node *n)
{
	return n->pnn != s->pnn && (n->flags & CTDB_NODE_DISCONNECTED) == 0 &&
	       s->runstate <= CTDB_RUNSTATE_FIRST_RECOVERY;
}

static void machine_row(struct cli *cli, const struct status *s, const struct ctdb_node *n)
{
	const char *sep = cli->opt.separator;
	bool unknown = is_unknown(s, n);
	int columns[] = {(n->flags & CTDB_NODE_DISCONNECTED) != 0, unknown,
			 (n->flags & CTDB_NODE_BANNED) != 0,       (n->flags & CTDB_NODE_DISABLED) != 0,
			 (n->flags & CTDB_NODE_UNHEALTHY) != 0,    (n->flags & CTDB_NODE_STOPPED) != 0,
			 (n->flags & CTDB_NODE_INACTIVE) != 0,     !unknown && node_is_partially_online(cli, n)};
	size_t i;

	printf("%s%u%s%s%s", sep, n->pnn, sep, node_address(n), sep);
	for (i = 0; i < sizeof(columns) / sizeof(columns[0]); i++) {
		printf("%d%s", columns[i], sep);
	}
	printf("%s%s\n", n->pnn == s->pnn ? "Y" : "N", sep);
}

static void print_machine_header(const struct cli *cli)
{
	size_t j;

	for (j = 0; j < sizeof(status_columns) / sizeof(status_columns[0]); j++) {
		printf("%s%s", cli->opt.separator, status_columns[j]);
	}
	printf("%s\n", cli->opt.separator);
}

static void print_machine(struct cli *cli, const struct status *s)
{
	uint32_t i;

	print_machine_header(cli);
	for (i = 0; i < s->nodes->n; i++) {
		if ((s->nodes->nodes[i].flags & CTDB_NODE_DELETED) == 0) {
			machine_row(cli, s, &s->nodes->nodes[i]);
		}
	}
}

static void print_count(const struct ctdb_nodemap *nodes)
{
	uint32_t i, deleted = 0;

	for (i = 0; i < nodes->n; i++) {
		deleted += (nodes->nodes[i].flags & CTDB_NODE_DELETED) != 0;
	}
	printf("Number of nodes:%u", nodes->n);
	if (deleted != 0) {
		printf(" (including %u deleted nodes)", deleted);
	}
	putchar('\n');
}

static void print_node(struct cli *cli, const struct status *s, const struct ctdb_node *n)
{
	bool unknown = is_unknown(s, n);

	printf("pnn:%u %-16s %s%s\n", n->pnn, node_address(n),
	       node_flags_text(n->flags, unknown, !unknown && node_is_partially_online(cli, n)),
	       n->pnn == s->pnn ? " (THIS NODE)" : "");
}

static void print_nodes(struct cli *cli, const struct status *s)
{
	print_count(s->nodes);
	for (uint32_t i = 0; i < s->nodes->n; i++) {
		if ((s->nodes->nodes[i].flags & CTDB_NODE_DELETED) == 0) {
			print_node(cli, s, &s->nodes->nodes[i]);
		}
	}
}

static void print_slots(const struct ctdb_nodemap *nodes, const struct ctdb_vnnmap *map)
{
	uint32_t i, j, n;

	if (map->generation == CTDB_GENERATION_INVALID) {
		puts("Generation:INVALID");
	} else {
		printf("Generation:%u\n", map->generation);
	}
	printf("Size:%u\n", map->size);
	if (map->size <= SLOT_LINES_MAX) {
		for (i = 0; i < map->size; i++) {
			printf("hash:%u lmaster:%u\n", i, map->map[i]);
		}
		return;
	}
	for (i = 0; i < nodes->n; i++) {
		for (j = n = 0; j < map->size; j++) {
			n += map->map[j] == nodes->nodes[i].pnn;
		}
		if (n != 0) {
			printf("lmaster:%u slots:%u\n", nodes->nodes[i].pnn, n);
		}
	}
}

static uint32_t asked_node(const struct cli *cli)
{
	return cli->opt.node == CTDB_NODE_CURRENT ? ctdb_client_pnn(cli->c) : cli->opt.node;
}

int cmd_old_status(struct cli *cli, char **argv, int argc)
{
	struct status s = {.pnn = asked_node(cli)};
	struct ctdb_vnnmap *map = NULL;
	enum ctdb_recmode recmode = CTDB_RECMODE_ACTIVE;
	uint32_t leader;
	int err;

	err = ctdb_get_nodemap(cli->c, s.pnn, cli->c, &s.nodes);
	err = err != 0 ? err : ctdb_get_runstate(cli->c, s.pnn, &s.runstate);
	err = err != 0 ? err : ctdb_get_vnnmap(cli->c, s.pnn, cli->c, &map);
	err = err != 0 ? err : ctdb_get_recmode(cli->c, s.pnn, &recmode);
	if (err != 0) {
		return cli_fail_api(cli, err, "cannot get the status of node %u", s.pnn);
	}
	cli->printed = true;
	if (cli->opt.machine) {
		print_machine(cli, &s);
		return EXIT_OK;
	}
	print_nodes(cli, &s);
	print_slots(s.nodes, map);
	printf("Recovery mode:%s\n", recmode == CTDB_RECMODE_NORMAL ? "NORMAL (0)" : "RECOVERY (1)");
	if (ctdb_get_leader(cli->c, &leader) == 0) {
		printf("Leader:%u\n", leader);
	} else {
		puts("Leader:UNKNOWN");
	}
	return EXIT_OK;
}

/* What nodestatus has as its exit status. */
#define UNKNOWN_BIT 0x40U

int cmd_old_nodestatus(struct cli *cli, char **argv, int argc)
{
	struct status s = {.pnn = asked_node(cli)};
	const char *word = argc > 0 ? argv[0] : NULL;
	uint32_t *pnns, n, code = 0;
	int err = ctdb_get_nodemap(cli->c, s.pnn, cli->c, &s.nodes), ret;

	err = err != 0 ? err : ctdb_get_runstate(cli->c, s.pnn, &s.runstate);
	cli->printed = true;
	if (err != 0) {
		cli_fail_api(cli, err, "cannot get the status of node %u", s.pnn);
		return EXIT_ERROR;
	}
	ret = node_list_arg(cli, word, s.nodes, &pnns, &n);
	if (ret != 0) {
		return EXIT_ERROR;
	}
	if (cli->opt.machine) {
		print_machine_header(cli);
	} else if (word != NULL && strcmp(word, "all") == 0) {
		print_count(s.nodes);
	}
	for (uint32_t i = 0; i < n; i++) {
		const struct ctdb_node *node = node_find(s.nodes, pnns[i]);

		if (node == NULL) {
			continue; /* deleted */
		}
		code |= is_unknown(&s, node) ? UNKNOWN_BIT : node->flags;
		if (cli->opt.machine) {
			machine_row(cli, &s, node);
		} else {
			print_node(cli, &s, node);
		}
	}
	return (int)code;
}

int cmd_old_pnn(struct cli *cli, char **argv, int argc)
{
	cli->printed = true;
	printf("%u\n", ctdb_client_pnn(cli->c));
	return EXIT_OK;
}

int cmd_old_leader(struct cli *cli, char **argv, int argc)
{
	uint32_t leader;
	int err = ctdb_get_leader(cli->c, &leader);

	if (err != 0 && err != ETIMEDOUT) {
		return cli_fail_api(cli, err, "cannot learn who leads");
	}
	cli->printed = true;
	if (err == 0) {
		printf("%u\n", leader);
	} else {
		puts("UNKNOWN");
	}
	return EXIT_OK;
}

int cmd_old_runstate(struct cli *cli, char **argv, int argc)
{
	enum ctdb_runstate state, s;
	bool required = argc == 0;
	int i, err;

	for (i = 0; i < argc; i++) {
		for (s = CTDB_RUNSTATE_UNKNOWN;
		     s <= CTDB_RUNSTATE_SHUTDOWN && strcasecmp(argv[i], ctdb_runstate_name(s)) != 0; s++) {
		}
		if (s > CTDB_RUNSTATE_SHUTDOWN) {
			printf("Invalid run state (%s)\n", argv[i]);
			cli->printed = true;
			return EXIT_ERROR;
		}
	}
	err = ctdb_get_runstate(cli->c, cli->opt.node, &state);
	if (err != 0) {
		return cli_fail_api(cli, err, "cannot get the run state");
	}
	for (i = 0; i < argc; i++) {
		required = required || strcasecmp(argv[i], ctdb_runstate_name(state)) == 0;
	}
	cli->printed = true;
	if (!required) {
		printf("CTDB not in required run state (got %s)\n", ctdb_runstate_name(state));
		return EXIT_ERROR;
	}
	puts(ctdb_runstate_name(state));
	return EXIT_OK;
}

/* "(000 16:54:28) Wed Oct 28 17:44:26 2026": how long ago, and when. */
static void print_ago(const char *title, struct timeval t, struct timeval now)
{
	long long s = (long long)now.tv_sec - (long long)t.tv_sec;
	char date[64];

	printf("%s(%03lld %02lld:%02lld:%02lld) %s", title, s / 86400, s / 3600 % 24, s / 60 % 60, s % 60,
	       ctime_r(&t.tv_sec, date));
}

int cmd_old_uptime(struct cli *cli, char **argv, int argc)
{
	struct ctdb_uptime u;
	char date[64];
	int err = ctdb_get_uptime(cli->c, cli->opt.node, &u);

	if (err != 0) {
		return cli_fail_api(cli, err, "cannot get the times");
	}
	cli->printed = true;
	printf("Current time of node %-4u     :                %s", asked_node(cli), ctime_r(&u.now.tv_sec, date));
	print_ago("Ctdbd start time              : ", u.started, u.now);
	print_ago("Time of last recovery/failover: ", u.recovery_finished, u.now);
	printf("Duration of last recovery/failover: %lf seconds\n",
	       (double)(u.recovery_finished.tv_sec - u.recovery_started.tv_sec) +
		       (double)(u.recovery_finished.tv_usec - u.recovery_started.tv_usec) / 1e6);
	return EXIT_OK;
}

static int print_db(struct cli *cli, const struct ctdb_db_entry *e)
{
	const char *sep = cli->opt.separator;
	char *name = NULL, *path = NULL, *health = NULL;
	int err = ctdb_get_db_name(cli->c, cli->opt.node, e->id, cli->c, &name);

	err = err != 0 ? err : ctdb_get_db_path(cli->c, cli->opt.node, e->id, cli->c, &path);
	err = err != 0 ? err : ctdb_get_db_health(cli->c, cli->opt.node, e->id, cli->c, &health);
	if (err != 0) {
		return cli_fail_api(cli, err, "database 0x%08x", e->id);
	}
	if (cli->opt.machine) {
		printf("%s0x%08X%s%s%s%s%s%d%s%d%s%d%s%d%s%d%s\n", sep, e->id, sep, name, sep, path, sep,
		       (e->flags & CTDB_DB_FLAG_PERSISTENT) != 0, sep, (e->flags & CTDB_DB_FLAG_STICKY) != 0, sep,
		       health[0] != '\0', sep, (e->flags & CTDB_DB_FLAG_READONLY) != 0, sep,
		       (e->flags & CTDB_DB_FLAG_REPLICATED) != 0, sep);
		return 0;
	}
	printf("dbid:0x%08x name:%s path:%s%s%s%s%s%s\n", e->id, name, path,
	       (e->flags & CTDB_DB_FLAG_PERSISTENT) != 0 ? " PERSISTENT" : "",
	       (e->flags & CTDB_DB_FLAG_STICKY) != 0 ? " STICKY" : "",
	       (e->flags & CTDB_DB_FLAG_READONLY) != 0 ? " READONLY" : "",
	       (e->flags & CTDB_DB_FLAG_REPLICATED) != 0 ? " REPLICATED" : "", health[0] != '\0' ? " UNHEALTHY" : "");
	return 0;
}

int cmd_old_getdbmap(struct cli *cli, char **argv, int argc)
{
	const char *sep = cli->opt.separator;
	struct ctdb_db_list *list = NULL;
	uint32_t i;
	int code = 0, err = ctdb_list_dbs(cli->c, cli->opt.node, cli->c, &list);

	if (err != 0) {
		return cli_fail_api(cli, err, "cannot list databases");
	}
	cli->printed = true;
	if (cli->opt.machine) {
		printf("%sID%sName%sPath%sPersistent%sSticky%sUnhealthy%sReadonly%sReplicated%s\n", sep, sep, sep, sep,
		       sep, sep, sep, sep, sep);
	} else {
		printf("Number of databases:%u\n", list->n);
	}
	for (i = 0; i < list->n && code == 0; i++) {
		code = print_db(cli, &list->dbs[i]);
	}
	return code;
}
