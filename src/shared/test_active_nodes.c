/* Tests of the followed view: what a clusterd says late, not at all, or again. */
#include "test_msg_util.h"

#include "protocol/cluster_rpc.h"
#include "shared/active_nodes.h"
#include "shared/daemon.h"

#define HOUR_MS  3600000
#define QUICK_MS 250 /* until then the follower neither gives up a question nor tries again */

/* A daemon that follows the view, and a clusterd that does what the test says. */
struct follower {
	struct world *w;
	struct conf conf;
	struct daemon d;
	struct active_nodes *nodes;
	struct msg *clusterd;
	struct rpc_client *daemon; /* as clusterd sees it */
	unsigned asked;
	struct mono began; /* before all that makes the follower ask */
	bool silent;
	bool active;
	uint64_t number;
	uint64_t lease_ms;
};

static void state_fill(const struct follower *f, struct view_member members[2], struct cluster_state *s)
{
	static char address[] = "10.0.0.1", reason[] = "";

	for (uint32_t i = 0; i < 2; i++) {
		members[i] = (struct view_member){.pnn = i, .address = address};
	}
	*s = (struct cluster_state){.view = {.term = 1, .number = f->number, .members = {.n = 2, .v = members}},
				    .active = f->active,
				    .reason = reason,
				    .lease_until = f->active ? mono_add_ms(mono_now(), f->lease_ms).ns : 0};
}

static void subscribe(void *priv, struct rpc_call *call, const struct subscribe_args *arg)
{
	struct follower *f = priv;
	struct view_member members[2];
	struct cluster_state s;

	assert_string_equal(arg->endpoint, "transport");
	f->asked++;
	if (f->silent) {
		talloc_steal(f->w, call);
		return;
	}
	state_fill(f, members, &s);
	cluster_subscribe_reply(call, &s);
}

static int clusterd_dispatch(void *priv, struct rpc_call *call, uint32_t proc, const uint8_t *buf, size_t len)
{
	static const struct cluster_server server = {.subscribe = subscribe};

	return cluster_dispatch(&server, priv, call, proc, buf, len);
}

static void clusterd_start(struct follower *f)
{
	f->clusterd = world_open(f->w, "cluster", NULL);
	assert_int_equal(msg_serve(f->clusterd, CLUSTER_INTERFACE, CLUSTER_VERSION, clusterd_dispatch, f), 0);
	f->daemon = client_to(f->clusterd, f->clusterd, "transport", 0);
}

/* The heartbeat interval is long: only what the test does makes the follower ask. */
static struct follower *follower_new(void)
{
	struct world *w = world_new();
	struct follower *f = talloc_zero(w, struct follower);

	f->w = w;
	f->conf.cluster.heartbeat_interval = HOUR_MS;
	f->d = (struct daemon){.name = "test", .ev = w->ev, .conf = &f->conf, .pnn = 0};
	f->d.msg = world_open(w, "transport", NULL);
	f->lease_ms = HOUR_MS;
	f->number = 1;
	f->active = true;
	return f;
}

static void follow(struct follower *f)
{
	f->began = mono_now();
	assert_int_equal(active_nodes_new(f->d.msg, &f->d, "transport", &f->nodes), 0);
}

static void follower_free(struct follower *f)
{
	world_free(f->w);
}

static void tell_lease(const struct follower *f)
{
	struct cluster_lease lease = {.until = mono_add_ms(mono_now(), HOUR_MS).ns};

	assert_int_equal(cluster_lease(f->daemon, &lease), 0);
}

static bool both(const struct follower *f)
{
	return active_nodes_has(f->nodes, 0) && active_nodes_has(f->nodes, 1);
}

static bool none(const struct follower *f)
{
	return !active_nodes_has(f->nodes, 0) && !active_nodes_has(f->nodes, 1);
}

/* The follower has read all that clusterd sent, and clusterd all that the follower sent then: it refuses an unknown
 * interface. */
static void expect_all_read(struct follower *f)
{
	assert_int_equal(call(f->w, f->daemon, PROC_ECHO, NULL, 0, NULL), ENOSYS);
}

/* Unless so much time has gone by that a question was put again. */
static void expect_asked(const struct follower *f, unsigned n)
{
	if (mono_ms_between(f->began, mono_now()) < QUICK_MS) {
		assert_int_equal(f->asked, n);
	}
}

static void test_told_at_once(void **state)
{
	struct follower *f = follower_new();

	clusterd_start(f);
	follow(f);
	WAIT_FOR(f->w, both(f));
	assert_false(active_nodes_has(f->nodes, 2));
	assert_false(active_nodes_has(f->nodes, NODES_MAX));
	expect_asked(f, 1);
	follower_free(f);
}

/* Started before clusterd, as on each node: asks when clusterd is there, not when the next try is due. */
static void test_clusterd_comes_later(void **state)
{
	struct follower *f = follower_new();
	unsigned before;

	follow(f);
	for (int i = 0; i < 3; i++) {
		util_turn(f->w->ev);
	}
	clusterd_start(f);
	assert_int_equal(f->asked, 0);
	active_nodes_clusterd_there(f->nodes);
	expect_all_read(f);
	expect_asked(f, 1);
	WAIT_FOR(f->w, both(f));
	before = f->asked;
	active_nodes_clusterd_there(f->nodes); /* once more: known */
	expect_all_read(f);
	assert_int_equal(f->asked, before);
	follower_free(f);
}

/* A clusterd that is busy answers nothing, but extends the lease: that does not put off the next question. */
static void test_lease_without_a_view(void **state)
{
	struct follower *f = follower_new();

	clusterd_start(f);
	f->silent = true;
	follow(f);
	WAIT_FOR(f->w, f->asked >= 1);
	/* Until the question is over leases change nothing; the first one after it makes the follower ask again. */
	WAIT_FOR(f->w, (tell_lease(f), f->asked >= 2));
	assert_true(none(f));
	f->silent = false;
	WAIT_FOR(f->w, (tell_lease(f), both(f)));
	follower_free(f);
}

/* clusterd stood still until the lease was over, and goes on as if nothing had been: it tells no state, since none has
 * changed. */
static void test_clusterd_stood_still(void **state)
{
	struct follower *f = follower_new();

	clusterd_start(f);
	f->conf.cluster.heartbeat_interval = 50;
	f->lease_ms = 100;
	follow(f);
	WAIT_FOR(f->w, active_nodes_has(f->nodes, 1));
	f->silent = true;
	WAIT_FOR(f->w, none(f) || (f->began = mono_now(), false));
	f->conf.cluster.heartbeat_interval = HOUR_MS;
	f->lease_ms = HOUR_MS;
	expect_all_read(f);
	f->silent = false;
	f->asked = 0;
	tell_lease(f); /* no question is under way now: the last one was over when the view was forgotten */
	expect_all_read(f);
	expect_asked(f, 1);
	WAIT_FOR(f->w, both(f));
	follower_free(f);
}

/* Told that the node is not active, in the moment when its lease was over; clusterd itself saw the lease extended
 * before it looked. */
static void test_lease_while_not_active(void **state)
{
	struct follower *f = follower_new();
	unsigned before;

	clusterd_start(f);
	f->active = false;
	follow(f);
	WAIT_FOR(f->w, active_nodes_has(f->nodes, 1));
	assert_false(active_nodes_has(f->nodes, 0));
	expect_asked(f, 1);
	before = f->asked;
	f->active = true;
	f->began = mono_now();
	tell_lease(f);
	expect_all_read(f);
	expect_asked(f, before + 1);
	WAIT_FOR(f->w, both(f));
	/* now it is believed */
	before = f->asked;
	tell_lease(f);
	expect_all_read(f);
	assert_int_equal(f->asked, before);
	follower_free(f);
}

static void test_changes(void **state)
{
	struct follower *f = follower_new();
	struct view_member members[2];
	struct cluster_state s;

	clusterd_start(f);
	follow(f);
	WAIT_FOR(f->w, both(f));
	f->number = 2;
	state_fill(f, members, &s);
	members[1].flags = NODE_FLAG_BANNED;
	assert_int_equal(cluster_state_changed(f->daemon, &s), 0);
	expect_all_read(f);
	assert_true(active_nodes_has(f->nodes, 0) && !active_nodes_has(f->nodes, 1));
	/* an older one is not taken */
	f->number = 1;
	state_fill(f, members, &s);
	assert_int_equal(cluster_state_changed(f->daemon, &s), 0);
	expect_all_read(f);
	assert_false(active_nodes_has(f->nodes, 1));
	follower_free(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_told_at_once),           cmocka_unit_test(test_clusterd_comes_later),
		cmocka_unit_test(test_lease_without_a_view),   cmocka_unit_test(test_clusterd_stood_still),
		cmocka_unit_test(test_lease_while_not_active), cmocka_unit_test(test_changes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
