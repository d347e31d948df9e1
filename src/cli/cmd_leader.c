/* ctdb leader ...: who leads, and having another one lead. */
#include <errno.h>
#include <string.h>

#include "membership.h"

#define LIMIT_MS 30000U
#define AGAIN_MS 250U

static json_t *number(uint64_t v)
{
	return output_check(json_integer((json_int_t)v));
}

/* An earlier daemon: all it says is who. */
static int show_classic(struct cli *cli)
{
	uint32_t leader;
	int err = ctdb_get_leader(cli->c, &leader);

	if (err == ETIMEDOUT) {
		return cli_fail(cli, EXIT_NOT_FOUND, "no leader is known on this node: see ctdb cluster status");
	}
	if (err != 0) {
		return cli_fail_api(cli, err, "cannot learn who leads");
	}
	output_field(&cli->out, "leader", "Leader", number(leader));
	output_field(&cli->out, "this", "This node", output_check(json_boolean(leader == ctdb_client_pnn(cli->c))));
	return EXIT_OK;
}

int cmd_leader_show(struct cli *cli, char **argv, int argc)
{
	struct cluster_status *s;
	uint32_t leader;
	char age[32];
	int err = membership_status(cli, cli->opt.node, &s);

	if (err == ENOSYS && (cli->opt.given & OPT_NODE) == 0) {
		return show_classic(cli);
	}
	if (err != 0) {
		return cli_fail_api(cli, err, "cannot learn who leads");
	}
	leader = membership_leader(s);
	if (leader == CTDB_NODE_UNKNOWN) {
		return cli_fail(cli, EXIT_NOT_FOUND, "no leader is known%s%s: see ctdb cluster status",
				s->state.reason[0] != '\0' ? ": " : "", s->state.reason);
	}
	output_field(&cli->out, "leader", "Leader", number(leader));
	output_field(&cli->out, "this", "This node", output_check(json_boolean(leader == ctdb_client_pnn(cli->c))));
	output_field(&cli->out, "since_s", "Leads for",
		     cli->opt.format == &output_json ? number(s->leader_since_ms / 1000)
						     : output_string(age_text(s->leader_since_ms, age)));
	output_field(&cli->out, "term", "Term", number(s->state.view.term));
	return EXIT_OK;
}

/* ---- resign, transfer ---- */

/* Waits until this node knows of another leader. 0 or exit code. */
static int wait_for_another(struct cli *cli, uint32_t former, uint64_t until, uint32_t *leader)
{
	struct cluster_events_args at = {.incarnation = 0};

	for (;;) {
		struct cluster_status *s = NULL;
		uint32_t left;
		int err = membership_status(cli, CTDB_NODE_CURRENT, &s);

		if (err == ENOTCONN) {
			return cli_fail_api(cli, err, "node %u has stood down; who leads now is not known", former);
		}
		*leader = err == 0 ? membership_leader(s) : CTDB_NODE_UNKNOWN;
		if (*leader != CTDB_NODE_UNKNOWN && *leader != former) {
			return 0;
		}
		left = clock_left(until);
		if (left == 0) {
			return cli_fail(
				cli, EXIT_TIMEOUT,
				"node %u has stood down, but no other leader is known yet: see ctdb cluster status",
				former);
		}
		(void)membership_pause(cli, &at, left < AGAIN_MS ? left : AGAIN_MS);
	}
}

static int resign_failed(struct cli *cli, int err, uint32_t leader, uint32_t to)
{
	switch (err) {
	case EHOSTUNREACH:
		return cli_fail(cli, EXIT_ERROR,
				"no other node may lead now: ctdb cluster view shows which are members and have the "
				"capability");
	case EINVAL:
		return cli_fail(
			cli, EXIT_ERROR,
			"node %u may not lead: it has to be an active member with the capability \"leader\" (ctdb "
			"cluster view)",
			to);
	case EAGAIN:
		return cli_fail(cli, EXIT_ERROR, "nobody took over: node %u leads on; see its log", leader);
	case ETIMEDOUT:
		return cli_fail(cli, EXIT_TIMEOUT,
				"node %u did not say in time that another one leads: see ctdb leader show", leader);
	case ENOSYS:
		return cli_fail(cli, EXIT_ERROR, "the leader (node %u) is of a version that cannot resign", leader);
	default:
		return cli_fail_api(cli, err, "node %u cannot resign", leader);
	}
}

/* Who leads; waits for one. 0 or exit code. */
static int find_leader(struct cli *cli, uint64_t until, uint32_t *leader)
{
	for (;;) {
		struct cluster_status *s = NULL;
		int err = membership_status(cli, CTDB_NODE_CURRENT, &s);

		if (err == ENOSYS) {
			return cli_fail(cli, EXIT_ERROR,
					"an earlier CTDB cannot do that: take the role from the leader by ctdb "
					"setleaderrole off");
		}
		*leader = err == 0 ? membership_leader(s) : CTDB_NODE_UNKNOWN;
		if (*leader != CTDB_NODE_UNKNOWN) {
			return 0;
		}
		if (err == ENOTCONN) {
			return cli_fail_api(cli, err, "cannot learn who leads");
		}
		if (clock_left(until) == 0) {
			return cli_fail(cli, EXIT_TIMEOUT, "no leader is known on this node: see ctdb cluster status");
		}
		clock_pause(AGAIN_MS);
	}
}

/* Asks the leader until one stands down. 0 or exit code; *former is CTDB_NODE_UNKNOWN if nothing had to be done. */
static int stand_down(struct cli *cli, uint32_t to, uint64_t until, uint32_t *former)
{
	const struct cluster_resign_args args = {.to = to};
	struct ctdb_blob blob = {.len = 0};
	int err = cluster_resign_args_encode(cli->c, &args, &blob);

	while (err == 0) {
		struct ctdb_data result = {.len = 0};
		uint32_t leader, left = clock_left(until);
		int code = find_leader(cli, until, &leader);

		*former = leader;
		if (code != 0) {
			return code;
		}
		if (leader == to) {
			*former = CTDB_NODE_UNKNOWN;
			return 0;
		}
		err = membership_call(cli, leader, CLUSTER_PROC_RESIGN, &blob, left < 1000 ? 1000 : left, &result);
		if (err == 0) {
			return 0;
		}
		/* It no longer leads, or its clusterd is being started again. */
		if ((err != ESTALE && err != ECONNRESET && err != ENOENT) || clock_left(until) == 0) {
			return resign_failed(cli, err, leader, to);
		}
		clock_pause(AGAIN_MS);
		err = 0;
	}
	return cli_fail(cli, EXIT_ERROR, "out of memory");
}

static int change(struct cli *cli, uint32_t to)
{
	uint64_t until = clock_ms() + cli_limit_ms(cli, LIMIT_MS);
	uint32_t former = CTDB_NODE_UNKNOWN, leader = to;
	char line[96];
	int code = stand_down(cli, to, until, &former);

	if (code == 0 && former != CTDB_NODE_UNKNOWN) {
		code = wait_for_another(cli, former, until, &leader);
	}
	if (code != 0) {
		return code;
	}
	if (to != CLUSTER_NODE_NONE && leader != to) {
		return cli_fail(cli, EXIT_ERROR, "node %u leads now, not node %u, which did not take over: see its log",
				leader, to);
	}
	if (former == CTDB_NODE_UNKNOWN) {
		snprintf(line, sizeof(line), "node %u leads already", leader);
	} else {
		snprintf(line, sizeof(line), "node %u leads now; it was node %u", leader, former);
	}
	output_line(&cli->out, "message", line);
	if (cli->opt.format == &output_json) {
		output_field(&cli->out, "leader", "", number(leader));
		output_field(&cli->out, "former", "",
			     former != CTDB_NODE_UNKNOWN ? number(former) : output_check(json_null()));
	}
	return EXIT_OK;
}

int cmd_leader_resign(struct cli *cli, char **argv, int argc)
{
	return change(cli, CLUSTER_NODE_NONE);
}

int cmd_leader_transfer(struct cli *cli, char **argv, int argc)
{
	uint32_t to;
	int code = node_arg(cli, argv[0], &to);

	return code != 0 ? code : change(cli, to);
}
