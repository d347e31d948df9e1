/* ctdb cluster wait, cluster events: until something is reached, and what changes. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "membership.h"

#define WAIT_DEFAULT_MS  60000U
#define LOOK_MS          5000U /* for one look at the cluster */
#define CONNECT_AGAIN_MS 250U
#define EVENTS_MS        20000U /* one question */
#define RECONNECT_MS     60000U /* how long a daemon may be away */
#define RECOVERY_LOOK_MS 300U   /* no event tells of the end of a recovery */
#define CHANGE_LOOK_MS   2000U

/* ---- wait ---- */

enum goal { GOAL_STARTED, GOAL_MEMBER, GOAL_LEADER, GOAL_RECOVERED, GOAL_SERVING, N_GOALS };

static const struct {
	const char *name, *done, *waits;
} goals[] = {
	[GOAL_STARTED] = {"started", "the daemon of this node answers", "the daemon of this node to answer"},
	[GOAL_MEMBER] = {"member", "this node is a member of the cluster", "this node to become a member"},
	[GOAL_LEADER] = {"leader", "the cluster has a leader", "a leader"},
	[GOAL_RECOVERED] = {"recovered", "the databases are recovered", "the recovery of the databases"},
	[GOAL_SERVING] = {"serving", "this node serves", "this node to serve"},
};

static bool is_member(const struct facts *f)
{
	for (uint32_t i = 0; i < f->nodes->n; i++) {
		if (f->nodes->nodes[i].pnn == f->pnn) {
			return (f->nodes->nodes[i].flags & (CTDB_NODE_DISCONNECTED | CTDB_NODE_DELETED)) == 0;
		}
	}
	return false;
}

static bool is_reached(enum goal goal, const struct facts *f, const struct verdict *v)
{
	switch (goal) {
	case GOAL_MEMBER:
		return is_member(f);
	case GOAL_LEADER:
		return f->has_leader;
	case GOAL_RECOVERED:
		return f->recmode == CTDB_RECMODE_NORMAL && f->generation != CTDB_GENERATION_INVALID;
	case GOAL_SERVING:
		return v->ready;
	case GOAL_STARTED:
	case N_GOALS:
	default:
		return true;
	}
}

/* One look; why: if it is not reached. Below 0: not yet; else the exit code. */
static int look(struct cli *cli, enum goal goal, char *why, size_t size)
{
	struct facts f;
	struct verdict v;
	int err = membership_connect(cli, cli->opt.timeout_ms);

	if (err == EACCES || err == EPERM || err == EPROTO || err == ENAMETOOLONG) {
		return cli_fail(cli, EXIT_NO_DAEMON, "cannot connect to the daemon of this node: %s%s", strerror(err),
				err == EACCES || err == EPERM ? ": run ctdb as root" : "");
	}
	if (err != 0) {
		snprintf(why, size, "%s", membership_connect_text(err));
		return -1;
	}
	if (goal == GOAL_STARTED) {
		return EXIT_OK;
	}
	if (facts_ask(cli, &f) != 0) {
		snprintf(why, size, "%.700s", cli->error);
		cli->error[0] = '\0';
		return -1;
	}
	verdict_make(&f, &v);
	snprintf(why, size, "%s: %s%s%s", v.state, v.reason, v.next[0] != '\0' ? "; " : "", v.next);
	return is_reached(goal, &f, &v) ? EXIT_OK : -1;
}

static void pause_until_change(struct cli *cli, enum goal goal, struct cluster_events_args *at, uint32_t left)
{
	uint32_t most = goal == GOAL_RECOVERED || goal == GOAL_SERVING ? RECOVERY_LOOK_MS : CHANGE_LOOK_MS;

	if (cli->c == NULL || !ctdb_client_is_connected(cli->c) ||
	    membership_pause(cli, at, left < most ? left : most) != 0) {
		clock_pause(left < CONNECT_AGAIN_MS ? left : CONNECT_AGAIN_MS);
	}
}

int cmd_cluster_wait(struct cli *cli, char **argv, int argc)
{
	uint32_t limit = cli_limit_ms(cli, WAIT_DEFAULT_MS), left;
	uint64_t began = clock_ms(), until = began + limit;
	struct cluster_events_args at = {.incarnation = 0};
	char why[800] = "";
	enum goal goal;
	int code;

	for (goal = GOAL_STARTED;
	     goal < N_GOALS && cli->opt.goal != NULL && strcmp(goals[goal].name, cli->opt.goal) != 0; goal++) {
	}
	if (goal == N_GOALS || cli->opt.goal == NULL) {
		return cli_fail(cli, EXIT_USAGE,
				"what to wait for? --for started, member, leader, recovered or serving");
	}
	for (left = limit;; left = clock_left(until)) {
		cli->opt.timeout_ms = left < 100 ? 100 : left < LOOK_MS ? left : LOOK_MS;
		code = look(cli, goal, why, sizeof(why));
		left = clock_left(until);
		if (code >= 0 || left == 0) {
			break;
		}
		pause_until_change(cli, goal, &at, left);
	}
	if (code < 0) {
		return cli_fail(cli, EXIT_TIMEOUT, "waited %.1f s in vain for %s: %s", limit / 1000.0,
				goals[goal].waits, why);
	}
	if (code == EXIT_OK) {
		output_line(&cli->out, "message", goals[goal].done);
		if (cli->opt.format == &output_json) {
			output_field(&cli->out, "reached", "", output_string(goals[goal].name));
			output_field(&cli->out, "waited_ms", "", json_integer((json_int_t)(clock_ms() - began)));
		}
	}
	return code;
}

/* ---- events ---- */

static const char *const kinds[] = {"leader",   "node-in", "node-out",    "flags",   "active",
				    "inactive", "nodes",   "arbitration", "callback"};

struct stream {
	struct cli *cli;
	struct cluster_events_args at;
	uint64_t printed;
	uint64_t quiet_until; /* with -t: exit status 4 then */
	uint64_t away_since;  /* ms; 0: daemons answer */
};

static void print_time(uint64_t us, char *buf, size_t size)
{
	time_t s = (time_t)(us / 1000000);
	struct tm tm;
	size_t n = localtime_r(&s, &tm) != NULL ? strftime(buf, size, "%Y-%m-%d %H:%M:%S", &tm) : 0;

	snprintf(buf + n, size - n, ".%03u", (unsigned)(us / 1000 % 1000));
}

/* One line, at once. e->seq 0: not from clusterd. */
static void print_event(struct stream *s, const char *kind, const struct cluster_event_record *e)
{
	char when[64];
	json_t *doc, *text;

	print_time(e->realtime_us, when, sizeof(when));
	text = output_string(e->text);
	if (s->cli->opt.format == &output_json) {
		doc = output_check(json_pack("{s:i, s:s, s:I, s:s, s:O}", "schema", 1, "time", when, "time_us",
					     (json_int_t)e->realtime_us, "event", kind, "text", text));
		json_object_set_new(doc, "seq", e->seq != 0 ? json_integer((json_int_t)e->seq) : json_null());
		json_object_set_new(doc, "node",
				    e->node != CLUSTER_NODE_NONE ? json_integer((json_int_t)e->node) : json_null());
		json_object_set_new(doc, "flags",
				    strcmp(kind, "flags") == 0 ? node_flags_json(e->flags) : output_check(json_null()));
		json_dumpf(doc, stdout, JSON_COMPACT);
		putchar('\n');
		json_decref(doc);
	} else {
		printf("%s  %-11s  %s\n", when, kind, json_string_value(text));
	}
	json_decref(text);
	fflush(stdout);
}

/* Something about the stream itself. */
static void print_note(struct stream *s, const char *kind, const char *text)
{
	struct timespec ts;
	struct cluster_event_record e = {.node = CLUSTER_NODE_NONE, .text = (char *)(uintptr_t)text};

	clock_gettime(CLOCK_REALTIME, &ts);
	e.realtime_us = (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
	print_event(s, kind, &e);
}

static bool stream_full(const struct stream *s)
{
	return s->cli->opt.count != 0 && s->printed >= s->cli->opt.count;
}

static void stream_take(struct stream *s, const struct cluster_events *events)
{
	if (s->away_since != 0) {
		print_note(s, "back", "the daemons of this node answer again");
		s->away_since = 0;
	}
	if (s->at.incarnation != 0 && s->at.incarnation != events->incarnation) {
		print_note(s, "restarted", "ctdb-clusterd was started again: changes while it was away are not listed");
	} else if (s->at.incarnation != 0 && events->gap) {
		print_note(s, "gap", "more happened than is kept: some changes are not listed");
	}
	for (uint32_t i = 0; i < events->events.n && !stream_full(s); i++) {
		const struct cluster_event_record *e = &events->events.v[i];

		print_event(s, (size_t)e->kind < sizeof(kinds) / sizeof(kinds[0]) ? kinds[e->kind] : "other", e);
		s->printed++;
		s->quiet_until = clock_ms() + s->cli->opt.timeout_ms;
	}
	s->at.incarnation = events->incarnation;
	s->at.after = events->newest;
}

/* 0 or errno */
static int stream_ask(struct stream *s)
{
	struct cli *cli = s->cli;
	uint32_t left = cli->opt.timeout_given ? clock_left(s->quiet_until) : EVENTS_MS;
	struct cluster_events events;
	struct ctdb_data result = {.len = 0};
	struct ctdb_blob blob = {.len = 0};
	int err = membership_connect(cli, 2000);

	/* After a time without answers: at once, to say that they are back. */
	s->at.timeout_ms = s->away_since != 0 ? 0 : left < EVENTS_MS ? left : EVENTS_MS;
	err = err != 0 ? err : cluster_events_args_encode(cli->c, &s->at, &blob);
	err = err != 0 ? err
		       : membership_call(cli, CTDB_NODE_CURRENT, CLUSTER_PROC_EVENTS, &blob, s->at.timeout_ms + 5000,
					 &result);
	err = err != 0 ? err : cluster_events_decode(cli->c, result.data, result.len, &events);
	if (err == 0) {
		stream_take(s, &events);
		talloc_free(events.events.v);
		talloc_free((void *)(uintptr_t)result.data);
	}
	talloc_free(blob.data);
	return err;
}

/* Daemons that are being started again are waited for. 0, or exit code. */
static int stream_away(struct stream *s, int err)
{
	uint64_t now = clock_ms();

	if (err == ENOSYS) {
		return cli_fail(s->cli, EXIT_ERROR, "an earlier CTDB tells no events: see ctdb cluster status");
	}
	if (err == EACCES || err == EPERM) {
		return cli_fail(s->cli, EXIT_NO_DAEMON, "not permitted to connect to the daemon: run ctdb as root");
	}
	if (s->away_since == 0) {
		s->away_since = now;
		print_note(s, "away", "the daemons of this node do not answer: waiting for them");
	} else if (now - s->away_since > RECONNECT_MS) {
		return cli_fail(s->cli, EXIT_NO_DAEMON,
				"the daemons of this node do not answer for %u s (%s): see their log",
				RECONNECT_MS / 1000, strerror(err));
	}
	clock_pause(CONNECT_AGAIN_MS);
	return 0;
}

int cmd_cluster_events(struct cli *cli, char **argv, int argc)
{
	struct stream s = {.cli = cli, .quiet_until = clock_ms() + cli->opt.timeout_ms};
	int code = 0;

	while (code == 0 && !stream_full(&s)) {
		int err = stream_ask(&s);

		if (err != 0) {
			code = stream_away(&s, err);
		}
		if (code == 0 && cli->opt.timeout_given && !stream_full(&s) && clock_left(s.quiet_until) == 0) {
			code = cli_fail(cli, EXIT_TIMEOUT, "no event for %.1f s", cli->opt.timeout_ms / 1000.0);
		}
	}
	cli->printed = true;
	return code;
}
