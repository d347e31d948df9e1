/* The verdict on a cluster for each thing that can be wrong with it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "verdict.h"

static struct ctdb_node nodes[3];
static struct ctdb_nodemap map = {.n = 3, .nodes = nodes};
static struct verdict v;

/* A cluster of three that is well; seen from node 1. */
static struct facts well(void)
{
	uint32_t i;

	for (i = 0; i < 3; i++) {
		nodes[i] = (struct ctdb_node){.pnn = i};
	}
	map.n = 3;
	return (struct facts){.nodes = &map,
			      .pnn = 1,
			      .runstate = CTDB_RUNSTATE_RUNNING,
			      .recmode = CTDB_RECMODE_NORMAL,
			      .generation = 99,
			      .has_leader = true,
			      .leader = 2,
			      .uptime = {.now = {.tv_sec = 1000000}, .recovery_finished = {.tv_sec = 999940}}};
}

static void expect(const struct facts *f, const char *state, bool ready, const char *reason, const char *next)
{
	verdict_make(f, &v);
	assert_string_equal(v.state, state);
	assert_int_equal(v.ready, ready);
	assert_non_null(strstr(v.reason, reason));
	if (next == NULL) {
		assert_string_equal(v.next, "");
	} else {
		assert_non_null(strstr(v.next, next));
	}
}

static void test_ok(void **state)
{
	struct facts f = well();

	expect(&f, "OK", true, "all 3 nodes", NULL);
	assert_non_null(strstr(v.since, "(60 s)"));
	nodes[0].flags = CTDB_NODE_DELETED | CTDB_NODE_DISCONNECTED;
	expect(&f, "OK", true, "all 2 nodes", NULL);
	f.uptime = (struct ctdb_uptime){.now = {0}};
	expect(&f, "OK", true, "", NULL);
	assert_string_equal(v.since, "");
}

static void test_degraded(void **state)
{
	struct facts f = well();

	nodes[2].flags = CTDB_NODE_DISCONNECTED | CTDB_NODE_UNHEALTHY;
	expect(&f, "DEGRADED", true, "node 2 is disconnected", "node 2 is up");
	nodes[2].flags = CTDB_NODE_BANNED;
	expect(&f, "DEGRADED", true, "2 of 3 nodes are well; node 2 is banned", "log of node 2");
	nodes[2].flags = CTDB_NODE_STOPPED;
	expect(&f, "DEGRADED", true, "stopped", "continue");
	nodes[2].flags = CTDB_NODE_DISABLED;
	expect(&f, "DEGRADED", true, "disabled", "enable");
	nodes[2].flags = 0;
	nodes[1].flags = CTDB_NODE_UNHEALTHY; /* this node itself: it still serves databases */
	expect(&f, "DEGRADED", true, "node 1 is unhealthy", "its log");
}

static void test_this_node(void **state)
{
	struct facts f = well();

	nodes[1].flags = CTDB_NODE_BANNED;
	expect(&f, "INACTIVE", false, "this node (1) is banned", "ban ends");
	nodes[1].flags = CTDB_NODE_DISCONNECTED;
	expect(&f, "INACTIVE", false, "disconnected", "other nodes run");
	f.pnn = 7;
	expect(&f, "INACTIVE", false, "not in the list", "nodes file");
}

static void test_start_and_recovery(void **state)
{
	struct facts f = well();

	f.runstate = CTDB_RUNSTATE_STARTUP;
	expect(&f, "STARTING", false, "STARTUP", "wait");
	f.runstate = CTDB_RUNSTATE_SHUTDOWN;
	expect(&f, "INACTIVE", false, "SHUTDOWN", NULL);
	f = well();
	f.recmode = CTDB_RECMODE_ACTIVE;
	expect(&f, "RECOVERING", false, "recovery", "node 2");
	f = well();
	f.generation = CTDB_GENERATION_INVALID;
	expect(&f, "RECOVERING", false, "recovery", "node 2");
	f = well();
	f.has_leader = false;
	expect(&f, "NO LEADER", false, "no node", "again");
}

/* What clusterd says of the same cluster: well, node 2 leads. */
static struct cluster_node_status node_status[3];
static struct view_member members[3];
static struct cluster_status cluster;
static uint64_t since_us[3];
static uint32_t ban_s[3];

static struct facts with_clusterd(void)
{
	struct facts f = well();

	for (uint32_t i = 0; i < 3; i++) {
		node_status[i] =
			(struct cluster_node_status){.pnn = i, .reachable = true, .barred_by = CLUSTER_NODE_NONE};
		members[i] = (struct view_member){.pnn = i};
		since_us[i] = ban_s[i] = 0;
	}
	cluster = (struct cluster_status){.state.active = true,
					  .state.reason = (char *)(uintptr_t) "",
					  .arbitration_method = (char *)(uintptr_t) "majority"};
	cluster.state.view.members.n = cluster.nodes.n = 3;
	cluster.state.view.members.v = members;
	cluster.nodes.v = node_status;
	f.cluster = &cluster;
	f.since_us = since_us;
	f.ban_s = ban_s;
	return f;
}

static void test_why_a_node_is_out(void **state)
{
	struct facts f = with_clusterd();

	expect(&f, "OK", true, "all 3 nodes", NULL);
	nodes[0].flags = CTDB_NODE_DISCONNECTED;
	node_status[0].out_ms = 30500;
	node_status[0].reachable = false;
	expect(&f, "DEGRADED", true, "2 of 3 nodes are well; node 0 is disconnected: no link to it", "node 0 is up");
	assert_non_null(strstr(v.since, "(30 s)"));
	node_status[0].reachable = true;
	expect(&f, "DEGRADED", true, "its link is up, but it is not in the cluster", "wait");
	node_status[0].barred_by = 2;
	expect(&f, "DEGRADED", true, "it and node 2 cannot reach each other", "between nodes 0 and 2");
	node_status[0].differs = true;
	expect(&f, "DEGRADED", true, "is another one", "nodes file");
	nodes[1].flags = CTDB_NODE_UNHEALTHY;
	expect(&f, "DEGRADED", true,
	       "1 of 3 nodes is well; node 0 is disconnected: its nodes list, arbitration or dead interval is another "
	       "one (and 1 more)",
	       "nodes file");
}

static void test_since_when(void **state)
{
	struct facts f = with_clusterd();

	nodes[2].flags = CTDB_NODE_BANNED;
	expect(&f, "DEGRADED", true, "node 2 is banned", "unban 2");
	assert_string_equal(v.since, ""); /* not that of the last recovery */
	assert_int_equal(facts_since_s(&f, 2), -1);
	since_us[2] = 999955 * 1000000ULL;
	ban_s[2] = 17;
	expect(&f, "DEGRADED", true, "node 2 is banned: 17 s left of its ban", "unban 2");
	assert_non_null(strstr(v.since, "(45 s)"));
	assert_int_equal(facts_since_s(&f, 2), 45);
	assert_int_equal(facts_since_s(&f, 0), -1);
}

static void test_partially_online(void **state)
{
	struct facts f = with_clusterd();

	members[0].flags = NODE_FLAG_PARTIAL;
	expect(&f, "DEGRADED", true, "node 0 is partially online: some of its interfaces are down",
	       "interfaces of node 0");
	assert_true(facts_partially(&f, 0));
	nodes[0].flags = CTDB_NODE_DISABLED; /* says more */
	assert_false(facts_partially(&f, 0));
	expect(&f, "DEGRADED", true, "node 0 is disabled", "enable 0");
}

static void test_no_lease(void **state)
{
	static const struct {
		char name[10], next[60];
	} methods[] = {{"majority", "a node without a majority stays inactive"},
		       {"lock", "the cluster lock can be taken"},
		       {"etcd", "etcd"},
		       {"none", "can be reached"}};
	struct facts f = with_clusterd();
	char reason[] = "no leader: 1 of 3 configured nodes reachable, majority needs 2", why[FACTS_WHY_SIZE];

	/* In its last view it is well; so is node 0, which is off by now. */
	cluster.state.active = false;
	cluster.state.reason = reason;
	f.has_leader = false;
	f.recmode = CTDB_RECMODE_ACTIVE;
	f.inactive_us = 999700 * 1000000ULL;
	node_status[0].reachable = false;
	for (unsigned i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
		cluster.arbitration_method = (char *)(uintptr_t)methods[i].name;
		expect(&f, "INACTIVE", false, "this node (1) takes no part in the cluster: no leader: 1 of 3",
		       methods[i].next);
		assert_int_equal(strstr(v.next, "majority") != NULL, i == 0);
	}
	assert_non_null(strstr(v.since, "(5 min)"));
	assert_true(facts_unreachable(&f, 0));
	assert_false(facts_unreachable(&f, 2));
	assert_string_equal(facts_why(&f, 0, why), "no link to it");
	assert_string_equal(facts_why(&f, 1, why), "");
	node_status[1].barred_by = 2;
	expect(&f, "INACTIVE", false, "takes no part", "between this node and node 2");
	f.runstate = CTDB_RUNSTATE_STARTUP;
	expect(&f, "STARTING", false, "STARTUP: no leader: 1 of 3", "wait");
	f.runstate = CTDB_RUNSTATE_RUNNING;
	nodes[1].flags = CTDB_NODE_BANNED;
	ban_s[1] = 5;
	expect(&f, "INACTIVE", false, "this node (1) is banned, 5 s left of its ban", "unban 1");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ok),
		cmocka_unit_test(test_degraded),
		cmocka_unit_test(test_this_node),
		cmocka_unit_test(test_start_and_recovery),
		cmocka_unit_test(test_why_a_node_is_out),
		cmocka_unit_test(test_since_when),
		cmocka_unit_test(test_partially_online),
		cmocka_unit_test(test_no_lease),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
