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
	expect(&f, "INACTIVE", false, "disconnected", "majority");
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ok),
		cmocka_unit_test(test_degraded),
		cmocka_unit_test(test_this_node),
		cmocka_unit_test(test_start_and_recovery),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
