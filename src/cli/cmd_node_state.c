/* ctdb node stop, continue, disable, enable, ban, unban: what an administrator says of a node, and the forms that
 * scripts know. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "membership.h"
#include "text.h"

#define LIMIT_MS  60000U
#define LOOK_MS   3000U /* for one question */
#define AGAIN_MS  100U
#define BAN_MAX_S (30U * 24 * 3600)

/* One order. */
struct order {
	const char *verb;
	uint32_t flag;
	bool set;
	const char *done, *already; /* "node 2 is ..." */
	const char *old_already;
};

static const struct order stop = {"stop", CTDB_NODE_STOPPED, true, "stopped", "stopped already", "already stopped"};
static const struct order cont = {"continue",    CTDB_NODE_STOPPED, false, "not stopped any more",
				  "not stopped", "not stopped"};
static const struct order ban = {"ban", CTDB_NODE_BANNED, true, "banned", "banned already", "already banned"};
static const struct order unban = {"unban", CTDB_NODE_BANNED, false, "not banned any more", "not banned", "not banned"};
static const struct order disable = {"disable",  CTDB_NODE_DISABLED, true,
				     "disabled", "disabled already", "already disabled"};
static const struct order enable = {"enable",       CTDB_NODE_DISABLED, false, "not disabled any more",
				    "not disabled", "not disabled"};

static int send_order(struct cli *cli, const struct order *o, uint32_t pnn, uint32_t seconds)
{
	struct ctdb_client *c = cli->c;

	switch (o->flag) {
	case CTDB_NODE_STOPPED:
		return o->set ? ctdb_stop_node(c, pnn) : ctdb_continue_node(c, pnn);
	case CTDB_NODE_BANNED:
		return ctdb_ban_node(c, pnn, o->set ? seconds : 0);
	default:
		return o->set ? ctdb_disable_node(c, pnn) : ctdb_enable_node(c, pnn);
	}
}

/* ---- whether it is carried out ---- */

/* What is known of the node during the wait. */
struct look {
	uint32_t flags;       /* as this node sees it */
	uint32_t own_flags;   /* as it says itself */
	bool is_told;         /* somebody is there to tell the others */
	bool active;          /* it may act, as its clusterd says; an earlier daemon: as its flags say */
	bool recovered, here; /* its databases; those of this node */
	bool member_here;     /* this node takes part */
	uint32_t generation, generation_here;
};

static int look_databases(struct cli *cli, uint32_t pnn, bool *recovered, uint32_t *generation)
{
	struct ctdb_vnnmap *slots = NULL;
	enum ctdb_recmode mode;
	enum ctdb_runstate runstate;
	int err = ctdb_get_recmode(cli->c, pnn, &mode);

	err = err != 0 ? err : ctdb_get_runstate(cli->c, pnn, &runstate);
	err = err != 0 ? err : ctdb_get_vnnmap(cli->c, pnn, cli->c, &slots);
	if (err != 0) {
		return err;
	}
	*generation = slots->generation;
	*recovered = mode == CTDB_RECMODE_NORMAL && slots->generation != CTDB_GENERATION_INVALID &&
		     runstate == CTDB_RUNSTATE_RUNNING;
	return 0;
}

/* False: the last active node has stopped, or this one is cut off; the views here do not change then. */
static bool is_told(struct cli *cli, const struct ctdb_nodemap *here, uint32_t pnn)
{
	struct cluster_status *s = NULL;

	for (uint32_t i = 0; i < here->n; i++) {
		if (here->nodes[i].pnn != pnn && (here->nodes[i].flags & CTDB_NODE_INACTIVE) == 0) {
			return membership_status(cli, CTDB_NODE_CURRENT, &s) != 0 ||
			       s->arbitration != CLUSTER_ARBITRATION_LOST;
		}
	}
	return false;
}

static int look_at(struct cli *cli, uint32_t pnn, struct look *l)
{
	struct ctdb_nodemap *here = NULL, *there = NULL;
	const struct ctdb_node *n, *own, *self;
	struct cluster_status *s = NULL;
	int err = ctdb_get_nodemap(cli->c, CTDB_NODE_CURRENT, cli->c, &here);

	err = err != 0 ? err : ctdb_get_nodemap(cli->c, pnn, cli->c, &there);
	err = err != 0 ? err : look_databases(cli, pnn, &l->recovered, &l->generation);
	err = err != 0 ? err : look_databases(cli, CTDB_NODE_CURRENT, &l->here, &l->generation_here);
	if (err != 0) {
		return err;
	}
	n = node_find(here, pnn);
	own = node_find(there, pnn);
	self = node_find(here, ctdb_client_pnn(cli->c));
	if (n == NULL || own == NULL || self == NULL) {
		return ENOENT;
	}
	l->flags = n->flags;
	l->is_told = is_told(cli, here, pnn);
	l->own_flags = own->flags;
	(void)membership_own_flags(cli, pnn, &l->own_flags);
	l->member_here = (self->flags & CTDB_NODE_INACTIVE) == 0;
	l->active = membership_status(cli, pnn, &s) == 0 ? s->state.active : (own->flags & CTDB_NODE_INACTIVE) == 0;
	return 0;
}

/* NULL: it is carried out, and its consequences; else what is waited for. */
static const char *missing(const struct order *o, const struct look *l)
{
	bool other = (l->own_flags & ~o->flag & CTDB_NODE_INACTIVE) != 0; /* inactive for another reason */

	if (((l->own_flags & o->flag) != 0) != o->set) {
		return "it has not taken the order";
	}
	if (((l->flags & o->flag) != 0) != o->set && (l->is_told || !o->set)) {
		return "the others do not know it yet";
	}
	if (o->flag == CTDB_NODE_DISABLED) {
		return NULL;
	}
	if (o->set) {
		return l->active                    ? "it is still active"
		       : l->member_here && !l->here ? "the databases of the others are being recovered"
						    : NULL;
	}
	if (other) {
		return NULL;
	}
	return !l->active      ? "it is not active yet"
	       : !l->recovered ? "its databases are being recovered"
	       : l->member_here && (!l->here || l->generation != l->generation_here)
		       ? "the databases are being recovered"
		       : NULL;
}

/* 0 or exit code. */
static int wait_until_done(struct cli *cli, const struct order *o, uint32_t pnn, uint64_t until, struct look *l)
{
	const char *what = "it does not answer";

	for (;;) {
		int err = membership_connect(cli, LOOK_MS);

		if (err == 0) {
			ctdb_client_set_timeout(cli->c, LOOK_MS);
			err = look_at(cli, pnn, l);
		}
		what = err == 0          ? missing(o, l)
		       : err == ENOTCONN ? "the daemon of this node is away"
					 : "it does not answer";
		if (what == NULL) {
			return 0;
		}
		if (clock_left(until) == 0) {
			return cli_fail(cli, EXIT_TIMEOUT,
					"node %u was told to %s, but in the time given that was not completed: %s; see "
					"ctdb node "
					"status %u",
					pnn, o->verb, what, pnn);
		}
		clock_pause(AGAIN_MS);
	}
}

/* ---- orders that would harm ---- */

static int count_nodes(const struct ctdb_nodemap *map, uint32_t but, uint32_t *total, uint32_t *banned)
{
	int active = 0;

	*total = *banned = 0;
	for (uint32_t i = 0; i < map->n; i++) {
		const struct ctdb_node *n = &map->nodes[i];

		if ((n->flags & CTDB_NODE_DELETED) != 0) {
			continue;
		}
		(*total)++;
		*banned += n->pnn == but || (n->flags & CTDB_NODE_BANNED) != 0;
		active += n->pnn != but && (n->flags & CTDB_NODE_INACTIVE) == 0;
	}
	return active;
}

/* 0, or exit code: --force is needed. */
static int check_harm(struct cli *cli, const struct order *o, const struct ctdb_nodemap *map, uint32_t pnn)
{
	uint32_t total, banned;
	int others = count_nodes(map, pnn, &total, &banned);

	if (cli->opt.force || !o->set || o->flag == CTDB_NODE_DISABLED) {
		return 0;
	}
	if (others == 0) {
		return cli_fail(cli, EXIT_ERROR, "node %u is the last active one: then nobody serves. --force does it",
				pnn);
	}
	if (o->flag == CTDB_NODE_BANNED && 2 * banned > total) {
		return cli_fail(cli, EXIT_ERROR,
				"then %u of %u nodes are banned, more than half of the cluster. --force does it",
				banned, total);
	}
	return 0;
}

/* ---- the commands ---- */

static void print_done(struct cli *cli, const struct order *o, uint32_t pnn, bool already, const struct look *l)
{
	char line[160];
	bool inactive = !o->set && (l->own_flags & CTDB_NODE_INACTIVE) != 0;

	snprintf(line, sizeof(line), "node %u is %s%s%s", pnn, already ? o->already : o->done,
		 inactive ? ", but it takes no part: " : "",
		 inactive ? node_flags_text(l->own_flags, false, false) : "");
	output_line(&cli->out, "message", line);
	if (cli->opt.format == &output_json) {
		output_field(&cli->out, "pnn", "", json_integer((json_int_t)pnn));
		output_field(&cli->out, "changed", "", json_boolean(!already));
		output_field(&cli->out, "flags", "", node_flags_json(l->own_flags));
		output_field(&cli->out, "active", "", json_boolean(l->active));
	}
}

/* old: says only what scripts know. */
static int carry_out(struct cli *cli, const struct order *o, uint32_t pnn, uint32_t seconds, bool old)
{
	uint64_t until = clock_ms() + cli_limit_ms(cli, LIMIT_MS);
	struct ctdb_nodemap *map = NULL;
	const struct ctdb_node *n;
	struct look l = {.flags = 0};
	uint32_t flags;
	int code, err = ctdb_get_nodemap(cli->c, CTDB_NODE_CURRENT, cli->c, &map);
	bool already;

	cli->printed = old;
	if (err != 0) {
		return cli_fail_api(cli, err, "cannot list nodes");
	}
	n = node_find(map, pnn);
	if (n == NULL) {
		return cli_fail(cli, old ? EXIT_ERROR : EXIT_NOT_FOUND, "there is no node %u", pnn);
	}
	if ((n->flags & CTDB_NODE_DISCONNECTED) != 0 && pnn != ctdb_client_pnn(cli->c)) {
		return cli_fail(cli, EXIT_ERROR,
				"node %u is disconnected: it cannot be told to %s. Do it there, or when it is back",
				pnn, o->verb);
	}
	flags = n->flags;
	(void)membership_own_flags(cli, pnn, &flags);
	already = ((flags & o->flag) != 0) == o->set;
	if (already && old) {
		fprintf(stderr, "Node %u is %s\n", pnn, o->old_already);
		return EXIT_OK;
	}
	code = old || already ? 0 : check_harm(cli, o, map, pnn);
	if (code != 0) {
		return code;
	}
	/* A ban has a new end. */
	err = already && seconds == 0 ? 0 : send_order(cli, o, pnn, seconds);
	if (err != 0) {
		return cli_fail_api(cli, err, "node %u cannot be told to %s", pnn, o->verb);
	}
	code = wait_until_done(cli, o, pnn, until, &l);
	if (code == 0 && !old) {
		print_done(cli, o, pnn, already, &l);
	}
	return code;
}

/* The node has to be named: nobody stops the node that he happens to be on by forgetting a word. */
static int order(struct cli *cli, const struct order *o, const char *word)
{
	uint32_t pnn;
	int code;

	if (word == NULL && (cli->opt.given & OPT_NODE) == 0) {
		return cli_fail(cli, EXIT_USAGE, "which node? ctdb node %s NODE (this one is %u, or \"local\")",
				o->verb, ctdb_client_pnn(cli->c));
	}
	code = node_arg(cli, word, &pnn);
	return code != 0 ? code : carry_out(cli, o, pnn, 0, false);
}

int cmd_node_stop(struct cli *cli, char **argv, int argc)
{
	return order(cli, &stop, argc > 0 ? argv[0] : NULL);
}

int cmd_node_continue(struct cli *cli, char **argv, int argc)
{
	return order(cli, &cont, argc > 0 ? argv[0] : NULL);
}

int cmd_node_disable(struct cli *cli, char **argv, int argc)
{
	return order(cli, &disable, argc > 0 ? argv[0] : NULL);
}

int cmd_node_enable(struct cli *cli, char **argv, int argc)
{
	return order(cli, &enable, argc > 0 ? argv[0] : NULL);
}

int cmd_node_unban(struct cli *cli, char **argv, int argc)
{
	return order(cli, &unban, argc > 0 ? argv[0] : NULL);
}

int cmd_node_ban(struct cli *cli, char **argv, int argc)
{
	const char *node = argc > 1 ? argv[0] : NULL, *seconds = argv[argc - 1];
	uint64_t s;
	uint32_t pnn;
	int code;

	if (node == NULL && (cli->opt.given & OPT_NODE) == 0) {
		return cli_fail(cli, EXIT_USAGE, "which node, and how long? ctdb node ban NODE SECONDS");
	}
	if (!text_number(seconds, BAN_MAX_S, &s) || s == 0) {
		return cli_fail(cli, EXIT_USAGE, "\"%s\" is no time for a ban: seconds, 1 to %u (30 days)", seconds,
				BAN_MAX_S);
	}
	code = node_arg(cli, node, &pnn);
	return code != 0 ? code : carry_out(cli, &ban, pnn, (uint32_t)s, false);
}

/* ---- forms that scripts know ---- */

static int old_order(struct cli *cli, const struct order *o, uint32_t seconds)
{
	uint32_t pnn;
	int code = node_arg(cli, NULL, &pnn);

	return code != 0 ? code : carry_out(cli, o, pnn, seconds, true);
}

int cmd_old_stop(struct cli *cli, char **argv, int argc)
{
	return old_order(cli, &stop, 0);
}

int cmd_old_continue(struct cli *cli, char **argv, int argc)
{
	return old_order(cli, &cont, 0);
}

int cmd_old_disable(struct cli *cli, char **argv, int argc)
{
	return old_order(cli, &disable, 0);
}

int cmd_old_enable(struct cli *cli, char **argv, int argc)
{
	return old_order(cli, &enable, 0);
}

int cmd_old_unban(struct cli *cli, char **argv, int argc)
{
	return old_order(cli, &unban, 0);
}

int cmd_old_ban(struct cli *cli, char **argv, int argc)
{
	uint64_t s;

	if (!text_number(argv[0], BAN_MAX_S, &s) || s == 0) {
		cli->printed = true;
		return cli_fail(cli, EINVAL, "Ban time cannot be %s: seconds, 1 to %u", argv[0], BAN_MAX_S);
	}
	return old_order(cli, &ban, (uint32_t)s);
}
