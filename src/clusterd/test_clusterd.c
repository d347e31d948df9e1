/* ctdb-clusterd as one process: start, status, subscription over a kill, planned stop, files it refuses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "clusterd.h"
#include "protocol/reload_rpc.h"
#include "shared/msg.h"

#define LIMIT_S 30

/* One node in a directory of its own, and an endpoint to talk to its daemon. */
struct fixture {
	char *base;
	char *log;
	pid_t pid;
	struct tevent_context *ev;
	struct msg *msg;
	struct rpc_client *client;
	unsigned told; /* STATE_CHANGED */
	bool told_active;
	uint64_t lease_until;
	uint32_t ban_seconds; /* that culprit() gives */
};

static void write_file(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

static char *path_of(const struct fixture *f, const char *name)
{
	return talloc_asprintf(f, "%s/%s", f->base, name);
}

static void on_state_changed(void *priv, struct rpc_call *call, const struct cluster_state *state)
{
	struct fixture *f = priv;

	f->told++;
	f->told_active = state->active;
	f->lease_until = state->lease_until;
}

static void on_lease(void *priv, struct rpc_call *call, const struct cluster_lease *lease)
{
	struct fixture *f = priv;

	f->lease_until = lease->until;
}

static int dispatch(void *priv, struct rpc_call *call, uint32_t proc, const uint8_t *buf, size_t len)
{
	static const struct cluster_server server = {.state_changed = on_state_changed, .lease = on_lease};

	return cluster_dispatch(&server, priv, call, proc, buf, len);
}

static int setup(void **state)
{
	char dir[] = "/tmp/test_clusterd.XXXXXX";
	struct fixture *f = talloc_zero(NULL, struct fixture);
	struct msg_addr addr = {.endpoint = "cluster", .node = 0};
	char *err = NULL;

	assert_non_null(mkdtemp(dir));
	f->base = talloc_strdup(f, dir);
	f->log = path_of(f, "log");
	assert_int_equal(mkdir(path_of(f, "run"), 0700), 0);
	assert_int_equal(mkdir(path_of(f, "run/msg"), 0700), 0);
	assert_int_equal(mkdir(path_of(f, "var"), 0700), 0);
	write_file(path_of(f, "nodes"), "127.0.0.1\n");
	/* A lease lasts longer than a process may stand still. */
	write_file(path_of(f, "ctdb.conf"), "[cluster]\nnode address = 127.0.0.1\ndead interval = 5s\n");
	f->ev = tevent_context_init(f);
	assert_int_equal(msg_open(f, f->ev, path_of(f, "run/msg"), "cli.1", 0, NULL, &f->msg, &err), 0);
	assert_int_equal(msg_serve(f->msg, CLUSTER_INTERFACE, CLUSTER_VERSION, dispatch, f), 0);
	f->client = msg_client(f, f->msg, &addr);
	*state = f;
	return 0;
}

static int stop(struct fixture *f, int sig)
{
	int status = 0;

	if (f->pid <= 0) {
		return 0;
	}
	kill(f->pid, sig);
	assert_int_equal(waitpid(f->pid, &status, 0), f->pid);
	f->pid = 0;
	return status;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	char *command = talloc_asprintf(f, "rm -rf '%s'", f->base);
	int ret;

	stop(f, SIGKILL);
	ret = system(command);
	talloc_free(f);
	return ret;
}

static void start(struct fixture *f)
{
	char *log = talloc_asprintf(f, "file:%s", f->log);

	f->pid = fork();
	assert_true(f->pid >= 0);
	if (f->pid == 0) {
		int fd = open(path_of(f, "stderr"), O_WRONLY | O_CREAT | O_TRUNC, 0600);

		dup2(fd, 2);
		setenv("CTDB_BASE", f->base, 1);
		execl(CLUSTERD, CLUSTERD, "--log", log, NULL);
		_exit(127);
	}
}

static struct mono limit(void)
{
	return mono_add_ms(mono_now(), LIMIT_S * 1000);
}

static int status_of(struct fixture *f, struct cluster_status *status)
{
	struct tevent_req *req = cluster_get_status_send(f, f->ev, f->client, 1000);
	int ret;

	assert_non_null(req);
	assert_true(tevent_req_poll(req, f->ev));
	ret = cluster_get_status_recv(req, f, status);
	talloc_free(req);
	return ret;
}

/* Waits until the daemon says that it is active. */
static void wait_active(struct fixture *f, struct cluster_status *status)
{
	struct mono end = limit();

	for (;;) {
		int ret = status_of(f, status);

		if (ret == 0 && status->state.active) {
			return;
		}
		if (!mono_before(mono_now(), end)) {
			fail_msg("not active: %d %s", ret, ret == 0 ? status->verdict : "");
		}
		usleep(10000);
	}
}

static void tick_ignored(struct tevent_context *ev, struct tevent_timer *te, struct timeval now, void *priv)
{
}

static void turn(struct fixture *f)
{
	tevent_add_timer(f->ev, f, tevent_timeval_current_ofs(0, 20000), tick_ignored, NULL);
	assert_int_equal(tevent_loop_once(f->ev), 0);
}

static void test_single_node_is_up(void **state)
{
	struct fixture *f = *state;
	struct cluster_status status;

	start(f);
	wait_active(f, &status);
	assert_int_equal(status.state.view.leader, 0);
	assert_int_equal(status.state.view.term, 1);
	assert_int_equal(status.arbitration, CLUSTER_ARBITRATION_HELD);
	assert_string_equal(status.arbitration_method, "majority");
	assert_true(strncmp(status.verdict, "healthy: 1 of 1 nodes active, leader node 0 since ", 50) == 0);
	assert_true(status.state.lease_until > mono_now().ns);
	assert_int_equal(stop(f, SIGTERM), 0);
}

static void on_reload_nodes(void *priv, struct rpc_call *call)
{
	struct reload_nodes_result result = {.nodes = 1};

	++*(unsigned *)priv;
	reload_nodes_reply(call, &result);
}

static int reload_serve(void *priv, struct rpc_call *call, uint32_t proc, const uint8_t *buf, size_t len)
{
	static const struct reload_server server = {.nodes = on_reload_nodes};

	return reload_dispatch(&server, priv, call, proc, buf, len);
}

/* One that was killed after it wrote the nodes file had not told the others to read it. */
static void test_others_read_the_nodes_file_again(void **state)
{
	struct fixture *f = *state;
	struct cluster_status status;
	struct mono end = limit();
	unsigned told = 0;
	struct msg *db;
	char *err = NULL;

	assert_int_equal(msg_open(f, f->ev, path_of(f, "run/msg"), "db", 0, NULL, &db, &err), 0);
	assert_int_equal(msg_serve(db, RELOAD_INTERFACE, RELOAD_VERSION, reload_serve, &told), 0);
	for (unsigned starts = 1; starts <= 2; starts++) {
		start(f);
		wait_active(f, &status);
		while (told < starts && mono_before(mono_now(), end)) {
			turn(f);
		}
		assert_true(told >= starts); /* an answer that takes too long is asked for again */
		stop(f, SIGKILL);
	}
	talloc_free(db);
}

/* The subscriber does nothing: a restarted daemon tells it of itself, and never that the node is not active. */
static void test_subscription_survives_a_kill(void **state)
{
	struct fixture *f = *state;
	struct cluster_status status;
	char endpoint[] = "cli.1";
	struct subscribe_args args = {.endpoint = endpoint};
	struct cluster_state answer;
	struct mono end = limit();
	struct tevent_req *req;
	uint64_t term;

	start(f);
	wait_active(f, &status);
	term = status.state.view.term;
	req = cluster_subscribe_send(f, f->ev, f->client, &args, 5000);
	assert_true(tevent_req_poll(req, f->ev));
	assert_int_equal(cluster_subscribe_recv(req, f, &answer), 0);
	assert_true(answer.active);
	stop(f, SIGKILL);
	f->told = 0;
	f->lease_until = 0;
	start(f);
	while (f->told == 0 && mono_before(mono_now(), end)) {
		turn(f);
		assert_true(f->told == 0 || f->told_active);
	}
	assert_true(f->told_active);
	wait_active(f, &status);
	assert_int_equal(status.state.view.term, term + 1);
	/* And it is told that the lease goes on. */
	while (f->lease_until <= status.state.lease_until && mono_before(mono_now(), end)) {
		turn(f);
	}
	assert_true(f->lease_until > status.state.lease_until);
	/* A planned stop is told at once. */
	f->told_active = true;
	kill(f->pid, SIGTERM);
	while (f->told_active && mono_before(mono_now(), end)) {
		turn(f);
	}
	assert_false(f->told_active);
	assert_int_equal(stop(f, SIGTERM), 0);
}

static void read_file(const char *path, char *buf, size_t size)
{
	FILE *file = fopen(path, "r");

	assert_non_null(file);
	buf[fread(buf, 1, size - 1, file)] = '\0';
	fclose(file);
}

static void expect_refusal(struct fixture *f, const char *what)
{
	char text[4096];
	int status;

	start(f);
	assert_int_equal(waitpid(f->pid, &status, 0), f->pid);
	f->pid = 0;
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 1);
	read_file(path_of(f, "stderr"), text, sizeof(text));
	if (strstr(text, what) == NULL && access(f->log, R_OK) == 0) {
		read_file(f->log, text, sizeof(text));
	}
	if (strstr(text, what) == NULL) {
		fail_msg("\"%s\" is not in: %s", what, text);
	}
}

static void test_damaged_term_file(void **state)
{
	struct fixture *f = *state;
	struct cluster_status status;
	struct mono end = limit();
	char text[512];

	start(f);
	wait_active(f, &status);
	do { /* that it leads is written while it is active already */
		assert_true(mono_before(mono_now(), end));
		usleep(10000);
		read_file(path_of(f, "var/state/cluster-term.0"), text, sizeof(text));
	} while (strstr(text, "term=1 vote=0 led=1") == NULL);
	assert_int_equal(stop(f, SIGTERM), 0);
	strstr(text, "term=1")[5] = '2';
	write_file(path_of(f, "var/state/cluster-term.0"), text);
	expect_refusal(f, "cluster-term.0: damaged: ");
}

static void test_unknown_arbitration(void **state)
{
	struct fixture *f = *state;

	write_file(path_of(f, "ctdb.conf"), "[cluster]\nnode address = 127.0.0.1\narbitration = etcd\n");
	expect_refusal(f, "arbitration");
}

static struct cluster_own own_of(struct fixture *f, const struct cluster_flags_args *arg, int expected)
{
	struct tevent_req *req = cluster_set_own_flags_send(f, f->ev, f->client, arg, 5000);
	struct cluster_own own = {0};

	assert_true(tevent_req_poll(req, f->ev));
	assert_int_equal(cluster_set_own_flags_recv(req, f, &own), expected);
	talloc_free(req);
	return own;
}

static void wait_not_active(struct fixture *f, const char *why)
{
	struct cluster_status status = {0};
	struct mono end = limit();

	while (status_of(f, &status) != 0 || status.state.active || strstr(status.state.reason, why) == NULL) {
		if (!mono_before(mono_now(), end)) {
			fail_msg("active, or another reason than %s: %s", why, status.verdict);
		}
		usleep(10000);
	}
}

/* Stopped by request: over a restart of the daemon, too. */
static void test_stopped(void **state)
{
	struct fixture *f = *state;
	struct cluster_status status;

	start(f);
	wait_active(f, &status);
	assert_int_equal(own_of(f, &(struct cluster_flags_args){.set = NODE_FLAG_STOPPED}, 0).flags, NODE_FLAG_STOPPED);
	wait_not_active(f, "stopped");
	stop(f, SIGKILL);
	start(f);
	wait_not_active(f, "stopped");
	assert_int_equal(own_of(f, &(struct cluster_flags_args){.clear = NODE_FLAG_STOPPED}, 0).flags, 0);
	wait_active(f, &status);
	/* What another ctdbd left does not count. */
	assert_int_equal(stop(f, SIGTERM), 0);
	write_file(path_of(f, "run/cluster-own.0"), "1 32 3 0\n");
	start(f);
	wait_active(f, &status);
}

static void test_ban(void **state)
{
	struct fixture *f = *state;
	struct cluster_status status;
	struct cluster_own own;

	start(f);
	wait_active(f, &status);
	(void)own_of(f, &(struct cluster_flags_args){.set = NODE_FLAG_BANNED}, EINVAL); /* for how long? */
	(void)own_of(f, &(struct cluster_flags_args){.set = NODE_FLAG_DISCONNECTED}, EINVAL);
	(void)own_of(f, &(struct cluster_flags_args){.set = NODE_FLAG_STOPPED, .clear = NODE_FLAG_STOPPED}, EINVAL);
	own = own_of(f, &(struct cluster_flags_args){.set = NODE_FLAG_BANNED, .ban_seconds = 1000}, 0);
	assert_int_equal(own.flags, NODE_FLAG_BANNED);
	assert_in_range(own.ban_seconds, 990, 1000);
	wait_not_active(f, "banned");
	/* A new time counts instead of the former one, and ends by itself: also if the daemon does not run at its end.
	 */
	(void)own_of(f, &(struct cluster_flags_args){.set = NODE_FLAG_BANNED, .ban_seconds = 1}, 0);
	stop(f, SIGKILL);
	start(f);
	wait_active(f, &status);
	assert_int_equal(status.state.view.members.v[0].flags, 0);
}

/* What services and interfaces are like is in the view, and does not keep the node from acting. */
static void test_unhealthy(void **state)
{
	const uint32_t flags = NODE_FLAG_UNHEALTHY | NODE_FLAG_PARTIAL;
	struct fixture *f = *state;
	struct cluster_status status;
	struct mono end = limit();

	start(f);
	wait_active(f, &status);
	assert_int_equal(own_of(f, &(struct cluster_flags_args){.set = flags}, 0).flags, flags);
	do {
		assert_true(mono_before(mono_now(), end));
		wait_active(f, &status);
	} while (status.state.view.members.v[0].flags != flags);
	assert_non_null(strstr(status.verdict, "node 0 is unhealthy"));
	assert_int_equal(own_of(f, &(struct cluster_flags_args){.clear = flags}, 0).flags, 0);
}

static int culprit(struct fixture *f, uint32_t pnn, uint32_t credits)
{
	char reason[] = "test";
	struct cluster_culprit_args arg = {
		.pnn = pnn, .credits = credits, .ban_seconds = f->ban_seconds, .reason = reason};
	struct tevent_req *req = cluster_culprit_send(f, f->ev, f->client, &arg, 5000);
	int ret;

	assert_true(tevent_req_poll(req, f->ev));
	ret = cluster_culprit_recv(req);
	talloc_free(req);
	return ret;
}

/* The only node: it has nobody to hand over to, and does not ban itself. */
static void test_culprit(void **state)
{
	struct fixture *f = *state;
	struct cluster_status status;
	struct mono end = limit();

	start(f);
	wait_active(f, &status);
	assert_int_equal(culprit(f, 7, 1), EINVAL);
	assert_int_equal(culprit(f, 0, 0), EINVAL);
	assert_int_equal(culprit(f, 0, 101), EINVAL);
	f->ban_seconds = 30 * 24 * 3600 + 1;
	assert_int_equal(culprit(f, 0, 1), EINVAL);
	f->ban_seconds = 30 * 24 * 3600;
	/* Not before it has led for a while. */
	do {
		assert_true(mono_before(mono_now(), end));
		assert_int_equal(culprit(f, 0, 3), 0);
		wait_active(f, &status);
	} while (status.nodes.v[0].credits < 6);
	assert_int_equal(culprit(f, 0, 100), 0);
	wait_active(f, &status);
	assert_int_equal(status.state.view.members.v[0].flags, 0);
	assert_int_equal(status.nodes.v[0].credits, 6);
}

/* A node that may not lead does not; it is told by view and state. */
static void test_capabilities(void **state)
{
	struct fixture *f = *state;
	struct cluster_capabilities_args arg = {.clear = NODE_CAP_LMASTER};
	struct cluster_status status;
	struct cluster_own own;
	struct mono end = limit();
	struct tevent_req *req;

	start(f);
	wait_active(f, &status);
	assert_int_equal(status.state.view.members.v[0].capabilities, NODE_CAP_LEADER | NODE_CAP_LMASTER);
	req = cluster_set_own_capabilities_send(f, f->ev, f->client, &arg, 5000);
	assert_true(tevent_req_poll(req, f->ev));
	assert_int_equal(cluster_set_own_capabilities_recv(req, f, &own), 0);
	assert_int_equal(own.capabilities, NODE_CAP_LEADER);
	do {
		assert_true(mono_before(mono_now(), end));
		wait_active(f, &status);
	} while (status.state.view.members.v[0].capabilities != NODE_CAP_LEADER);
}

static void wait_served(struct fixture *f)
{
	struct mono end = limit();
	struct cluster_status status;

	while (status_of(f, &status) != 0) {
		assert_true(mono_before(mono_now(), end));
		turn(f);
	}
}

static int moved(struct fixture *f, struct rpc_client *client, uint32_t pnn, const char *address,
		 struct cluster_moved_answer *answer)
{
	struct cluster_moved_args args = {.pnn = pnn, .id = {1}, .address = (char *)(uintptr_t)address};
	struct tevent_req *req = cluster_moved_send(f, f->ev, client, &args, 5000);

	assert_true(tevent_req_poll(req, f->ev));
	return cluster_moved_recv(req, f, answer);
}

/* Nodes that say they have moved: only by transportd, and only who is known. */
static void test_moved(void **state)
{
	struct fixture *f = *state;
	const struct msg_addr addr = {.endpoint = "cluster", .node = 0};
	struct cluster_moved_answer answer;
	struct rpc_client *client;
	struct msg *transport;
	char *err = NULL;

	write_file(path_of(f, "nodes"), "127.0.0.1\n127.0.0.9\n#127.0.0.8\n");
	assert_int_equal(mkdir(path_of(f, "var/state"), 0700), 0);
	write_file(path_of(f, "var/state/node-ids"), "1 01000000000000000000000000000000 127.0.0.7\n");
	start(f);
	wait_served(f);
	assert_int_equal(moved(f, f->client, 1, "127.0.0.9", &answer), EPERM);
	assert_int_equal(msg_open(f, f->ev, path_of(f, "run/msg"), "transport", 0, NULL, &transport, &err), 0);
	client = msg_client(f, transport, &addr);
	assert_int_equal(moved(f, client, 7, "127.0.0.9", &answer), 0);
	assert_int_equal(answer.result, CLUSTER_MOVED_REFUSED);
	assert_int_equal(moved(f, client, 2, "127.0.0.10", &answer), 0);
	assert_int_equal(answer.result, CLUSTER_MOVED_REFUSED);
	assert_int_equal(moved(f, client, 0, "127.0.0.1", &answer), 0);
	assert_int_equal(answer.result, CLUSTER_MOVED_REFUSED);
	/* it is known, but by the address that it had before it was replaced */
	assert_int_equal(moved(f, client, 1, "127.0.0.10", &answer), 0);
	assert_int_equal(answer.result, CLUSTER_MOVED_REFUSED);
	assert_non_null(strstr(answer.text, "node 0 does not know who node 1 was"));
	/* what was changed already; but nobody leads, and the list of who is not active may be a former one */
	assert_int_equal(moved(f, client, 1, "127.0.0.9", &answer), 0);
	assert_int_equal(answer.result, CLUSTER_MOVED_LATER);
	assert_non_null(strstr(answer.text, "node 0 is not active, so its nodes list may be a former one"));
	assert_string_equal(answer.nodes, "");
	/* its second one is here no more or was never given: the list decides about that */
	assert_int_equal(moved(f, client, 1, "127.0.0.9,127.0.0.77", &answer), 0);
	assert_non_null(strstr(answer.text, "node 0 is not active"));
	assert_int_equal(moved(f, client, 1, "127.0.0.90", &answer), 0);
	assert_int_equal(answer.result, CLUSTER_MOVED_REFUSED);
	/* with the address of the list it is known, but nobody leads: later */
	stop(f, SIGKILL);
	write_file(path_of(f, "var/state/node-ids"), "1 01000000000000000000000000000000 127.0.0.9\n");
	start(f);
	wait_served(f);
	assert_int_equal(moved(f, client, 1, "127.0.0.10", &answer), 0);
	assert_int_equal(answer.result, CLUSTER_MOVED_LATER);
	assert_non_null(strstr(answer.text, "there is no leader"));
	talloc_free(transport);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_single_node_is_up, setup, teardown),
		cmocka_unit_test_setup_teardown(test_others_read_the_nodes_file_again, setup, teardown),
		cmocka_unit_test_setup_teardown(test_subscription_survives_a_kill, setup, teardown),
		cmocka_unit_test_setup_teardown(test_stopped, setup, teardown),
		cmocka_unit_test_setup_teardown(test_ban, setup, teardown),
		cmocka_unit_test_setup_teardown(test_unhealthy, setup, teardown),
		cmocka_unit_test_setup_teardown(test_culprit, setup, teardown),
		cmocka_unit_test_setup_teardown(test_capabilities, setup, teardown),
		cmocka_unit_test_setup_teardown(test_moved, setup, teardown),
		cmocka_unit_test_setup_teardown(test_damaged_term_file, setup, teardown),
		cmocka_unit_test_setup_teardown(test_unknown_arbitration, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
