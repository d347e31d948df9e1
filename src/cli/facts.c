/* Asking for the facts that verdicts are made of. */
#include <errno.h>
#include <string.h>

#include "membership.h"

/* The leader says so each second. */
#define LEADER_WAIT_MS 2000U
#define HISTORY_MS     2000U
#define EVENTS_ROUNDS  6U /* all that clusterd keeps */

/* What every daemon can tell. 0 or errno. */
static int ask_classic(struct cli *cli, struct facts *f)
{
	struct ctdb_nodemap *nodes = NULL;
	struct ctdb_vnnmap *map = NULL;
	char *membership = NULL;
	int err = ctdb_get_nodemap(cli->c, CTDB_NODE_CURRENT, cli->c, &nodes);

	err = err != 0 ? err : ctdb_get_runstate(cli->c, CTDB_NODE_CURRENT, &f->runstate);
	err = err != 0 ? err : ctdb_get_recmode(cli->c, CTDB_NODE_CURRENT, &f->recmode);
	err = err != 0 ? err : ctdb_get_vnnmap(cli->c, CTDB_NODE_CURRENT, cli->c, &map);
	err = err != 0 ? err : ctdb_get_uptime(cli->c, CTDB_NODE_CURRENT, &f->uptime);
	if (err != 0) {
		return err;
	}
	err = ctdb_get_verdict(cli->c, CTDB_NODE_CURRENT, cli->c, &membership);
	f->membership = err == 0 ? membership : NULL;
	f->nodes = nodes;
	f->generation = map->generation;
	return err == EREMOTEIO || err == ETIMEDOUT ? 0 : err;
}

/* What clusterd tells in addition; a daemon without one has nothing to add. 0 or ENOTCONN. */
static int ask_clusterd(struct cli *cli, struct facts *f)
{
	struct cluster_status *status = NULL;
	uint32_t *ban_s = talloc_zero_array(cli->c, uint32_t, f->nodes->n + 1);
	int err = membership_status(cli, CTDB_NODE_CURRENT, &status);

	if (err != 0 || ban_s == NULL) {
		return err == ENOTCONN ? err : 0;
	}
	for (uint32_t i = 0; i < f->nodes->n; i++) {
		if (f->nodes->nodes[i].pnn == f->pnn) {
			(void)membership_own_flags(cli, CTDB_NODE_CURRENT, &f->nodes->nodes[i].flags);
		}
	}
	f->cluster = status;
	f->ban_s = ban_s;
	f->leader = membership_leader(status);
	f->has_leader = f->leader != CTDB_NODE_UNKNOWN;
	for (uint32_t i = 0; i < f->nodes->n; i++) {
		const struct ctdb_node *n = &f->nodes->nodes[i];
		struct cluster_own own;

		if ((n->flags & (CTDB_NODE_BANNED | CTDB_NODE_DISCONNECTED)) != CTDB_NODE_BANNED) {
			continue;
		}
		err = membership_own(cli, n->pnn, &own);
		ban_s[i] = err == 0 ? own.ban_seconds : 0;
		if (err == ENOTCONN) {
			return err;
		}
	}
	return 0;
}

/* The newest change of each node's flags. */
static void note_event(struct facts *f, uint64_t *since_us, const struct cluster_event_record *e)
{
	bool inactive = e->kind == CLUSTER_EVENT_INACTIVE, flags = e->kind == CLUSTER_EVENT_FLAGS;

	/* A node that nobody leads hears of its own flags by ceasing to be active. */
	for (uint32_t i = 0; i < f->nodes->n; i++) {
		uint32_t pnn = f->nodes->nodes[i].pnn;

		if ((flags && pnn == e->node) || (inactive && pnn == f->pnn)) {
			since_us[i] = e->realtime_us;
		}
	}
	if (inactive || e->kind == CLUSTER_EVENT_ACTIVE) {
		f->inactive_us = inactive ? e->realtime_us : 0;
	}
}

/* Since when nodes are not well, from the events that clusterd keeps. 0 or ENOTCONN. */
static int ask_history(struct cli *cli, struct facts *f)
{
	/* One that never was: all events are told. */
	struct cluster_events_args at = {.incarnation = 1};
	uint64_t *since_us = talloc_zero_array(cli->c, uint64_t, f->nodes->n + 1);
	struct cluster_events events = {.events = {.n = 1}};

	for (unsigned i = 0; since_us != NULL && i < EVENTS_ROUNDS && events.events.n > 0; i++) {
		struct ctdb_data result = {.len = 0};
		struct ctdb_blob blob = {.len = 0};
		int err = cluster_events_args_encode(cli->c, &at, &blob);

		err = err != 0 ? err
			       : membership_call(cli, CTDB_NODE_CURRENT, CLUSTER_PROC_EVENTS, &blob, HISTORY_MS,
						 &result);
		err = err != 0 ? err : cluster_events_decode(cli->c, result.data, result.len, &events);
		if (err != 0) {
			return err == ENOTCONN ? err : 0;
		}
		for (uint32_t k = 0; k < events.events.n; k++) {
			note_event(f, since_us, &events.events.v[k]);
		}
		at.incarnation = events.incarnation;
		at.after = events.newest;
	}
	f->since_us = since_us;
	return 0;
}

static bool all_well(const struct facts *f)
{
	bool well = f->cluster->state.active;

	for (uint32_t i = 0; i < f->nodes->n; i++) {
		well = well && (f->nodes->nodes[i].flags & ~(uint32_t)CTDB_NODE_DELETED) == 0;
	}
	return well;
}

static int ask_leader(struct cli *cli, struct facts *f)
{
	uint32_t own = cli->opt.timeout_ms;
	int err;

	ctdb_client_set_timeout(cli->c, own < LEADER_WAIT_MS ? own : LEADER_WAIT_MS);
	err = ctdb_get_leader(cli->c, &f->leader);
	ctdb_client_set_timeout(cli->c, own);
	f->has_leader = err == 0;
	return err == ETIMEDOUT ? 0 : err;
}

static int ask(struct cli *cli, struct facts *f)
{
	int err;

	*f = (struct facts){
		.pnn = ctdb_client_pnn(cli->c), .generation = CTDB_GENERATION_INVALID, .leader = CTDB_NODE_UNKNOWN};
	err = ask_classic(cli, f);
	err = err != 0 ? err : ask_clusterd(cli, f);
	if (err == 0 && f->cluster != NULL && !all_well(f)) {
		err = ask_history(cli, f);
	}
	if (err != 0 || f->has_leader || (f->cluster != NULL && f->cluster->arbitration == CLUSTER_ARBITRATION_LOST)) {
		return err;
	}
	return ask_leader(cli, f);
}

int facts_ask(struct cli *cli, struct facts *f)
{
	int err = ask(cli, f);

	/* A node that is fenced or whose daemon is started again drops its clients: what is true then is asked once
	 * more. */
	if (err == ENOTCONN) {
		err = membership_connect(cli, cli->opt.timeout_ms);
		if (err != 0) {
			return cli_fail(cli, EXIT_NO_DAEMON,
					"the daemon of this node went away, and cannot be reached again: %s",
					strerror(err));
		}
		err = ask(cli, f);
	}
	return err == 0 ? 0 : cli_fail_api(cli, err, "cannot get the status");
}
