/* Tests of routing: two nodes whose transport endpoints hand packets to each other as links would. */
#include "test_msg_util.h"

struct route_node {
	struct world *w;
	struct msg *transport;
	struct server s; /* endpoint db */
	struct route_node *other;
	uint32_t pnn;
	bool cut; /* the link is down */
	uint64_t packets;
	int last; /* what msg_deliver() on the other side said */
};

static void route(void *priv, uint32_t dest_node, const uint8_t *packet, size_t len)
{
	struct route_node *n = priv;

	n->packets++;
	if (n->cut || dest_node != n->other->pnn) {
		msg_undeliverable(n->transport, packet, len, EHOSTUNREACH);
		return;
	}
	n->last = msg_deliver(n->other->transport, n->pnn, packet, len);
}

static struct msg *open_on(struct route_node *n, const char *endpoint)
{
	struct msg *m = NULL;
	char *err = NULL;

	if (msg_open(n->w, n->w->ev, n->w->dir, endpoint, n->pnn, NULL, &m, &err) != 0) {
		fail_msg("%s", err);
	}
	return m;
}

static void nodes_start(struct route_node n[2])
{
	memset(n, 0, 2 * sizeof(n[0]));
	n[0].w = world_new();
	n[1].w = talloc_zero(n[0].w, struct world);
	n[1].w->ev = n[0].w->ev;
	strcpy(n[1].w->dir, "/tmp/test_msg.XXXXXX");
	assert_non_null(mkdtemp(n[1].w->dir));
	for (uint32_t i = 0; i < 2; i++) {
		n[i].pnn = i;
		n[i].other = &n[1 - i];
		n[i].transport = open_on(&n[i], "transport");
		msg_set_router(n[i].transport, route, &n[i]);
		n[i].s.m = open_on(&n[i], "db");
		assert_int_equal(msg_serve(n[i].s.m, TEST_INTERFACE, 1, server_dispatch, &n[i].s), 0);
	}
}

static void nodes_stop(struct route_node n[2])
{
	char dir[64];

	memcpy(dir, n[1].w->dir, sizeof(dir));
	world_free(n[0].w);
	assert_int_equal(rmdir(dir), 0);
}

static void test_there_and_back(void **state)
{
	struct route_node n[2];
	struct msg *m;
	struct rpc_client *c, *nobody, *nowhere;

	nodes_start(n);
	m = open_on(&n[0], "cli.1");
	c = client_to(m, m, "db", 1);
	nobody = client_to(m, m, "nobody", 1);
	nowhere = client_to(m, m, "db", 7);
	expect_echo(n[0].w, c);
	assert_int_equal(n[1].s.source_node, 0);
	assert_string_equal(n[1].s.source_endpoint, "cli.1");
	assert_int_equal(n[1].s.source_uid, UINT32_MAX); /* not known from there */
	assert_int_equal(n[0].packets, 1);
	assert_int_equal(n[1].packets, 1);
	assert_int_equal(call(n[0].w, c, PROC_STATUS, NULL, 0, NULL), EXDEV);
	assert_int_equal(call(n[0].w, nobody, PROC_ECHO, NULL, 0, NULL), ENOENT);
	assert_int_equal(call(n[0].w, nowhere, PROC_ECHO, NULL, 0, NULL), EHOSTUNREACH);
	n[0].cut = true;
	assert_int_equal(call(n[0].w, c, PROC_ECHO, NULL, 0, NULL), EHOSTUNREACH);
	n[0].cut = false;
	for (unsigned i = 0; i < 3000; i++) {
		assert_int_equal(count_number(c, i, 50), 0);
	}
	WAIT_FOR(n[0].w, n[1].s.counted == 3000);
	nodes_stop(n);
}

static void test_large(void **state)
{
	struct route_node n[2];
	struct msg *m;
	struct rpc_client *c;
	struct ctdb_blob result;
	size_t size = 10U << 20;
	uint8_t *data;

	nodes_start(n);
	m = open_on(&n[0], "cli.1");
	c = client_to(m, m, "db", 1);
	data = talloc_size(n[0].w, size);
	for (size_t i = 0; i < size; i++) {
		data[i] = (uint8_t)(i * 31 + (i >> 12));
	}
	assert_int_equal(call(n[0].w, c, PROC_ECHO, data, size, &result), 0);
	assert_int_equal(result.len, size);
	assert_int_equal(memcmp(result.data, data, size), 0);
	nodes_stop(n);
}

/* transport is an endpoint like others: it asks and is asked, here and there. */
static void test_transport_itself(void **state)
{
	struct route_node n[2];
	struct rpc_client *there, *here;

	nodes_start(n);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(msg_serve(n[i].transport, TEST_INTERFACE, 1, server_dispatch, &n[i].s), 0);
	}
	there = client_to(n[0].transport, n[0].transport, "transport", 1);
	here = client_to(n[0].transport, n[0].transport, "transport", NODE_SELF);
	expect_echo(n[0].w, there);
	expect_echo(n[0].w, here);
	n[0].cut = true;
	assert_int_equal(call(n[0].w, there, PROC_ECHO, NULL, 0, NULL), EHOSTUNREACH);
	expect_echo(n[0].w, here);
	nodes_stop(n);
}

/* The receiver's queue overflows on the other node: its requests are answered, not lost. */
static void test_overflow_there(void **state)
{
	struct route_node n[2];
	struct msg *m;
	struct rpc_client *c;
	uint8_t *data;
	int fd, ret = 0;

	nodes_start(n);
	m = open_on(&n[0], "cli.1");
	c = client_to(m, m, "stuck", 1);
	data = talloc_zero_size(n[0].w, 1U << 20);
	fd = raw_bind(n[1].w, "stuck");
	for (unsigned i = 0; i < 100 && ret == 0; i++) {
		struct tevent_req *req = ask(n[0].w, c, PROC_ECHO, data, 1U << 20, 600000);
		uint64_t packets = n[0].packets;

		WAIT_FOR(n[0].w, n[0].packets == packets + 1);
		ret = n[0].last;
		if (ret != 0) {
			assert_int_equal(answer(n[0].w, c, req, NULL), ENOBUFS);
		}
	}
	assert_int_equal(ret, ENOBUFS);
	raw_unbind(n[1].w, "stuck", fd);
	nodes_stop(n);
}

static void test_bad_packets(void **state)
{
	struct route_node n[2];
	struct msg_header good = raw_header("cli.1", "db"), h;
	uint8_t packet[600];
	size_t len;
	uint64_t bad = 0;
	struct msg *t;

	good.destination_node = 1;
	nodes_start(n);
	t = n[1].transport;
	len = raw_packet(packet, &good, "0123456789", 10);
	for (size_t cut = 0; cut < len; cut++) {
		assert_int_equal(msg_deliver(t, 0, packet, cut), EBADMSG);
		bad++;
	}
	assert_int_equal(msg_deliver(t, 3, packet, len), EBADMSG); /* it is not node 3's */
	h = good;
	h.destination_node = 0;
	assert_int_equal(msg_deliver(t, 0, packet, raw_packet(packet, &h, "x", 1)), EBADMSG);
	h = good;
	h.in_memfd = true;
	h.payload_len = 100000;
	assert_int_equal(msg_deliver(t, 0, packet, raw_packet(packet, &h, NULL, 0)), EBADMSG);
	h = good;
	h.destination = (char[]){"nobody"};
	h.kind = MSG_KIND_NOTIFY;
	assert_int_equal(msg_deliver(t, 0, packet, raw_packet(packet, &h, NULL, 0)), ENOENT);
	assert_int_equal(msg_stats(t)->dropped_malformed, bad + 3);
	/* garbage handed back does no harm either */
	msg_undeliverable(t, packet, 7, EHOSTUNREACH);
	nodes_stop(n);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_there_and_back),   cmocka_unit_test(test_large),
		cmocka_unit_test(test_transport_itself), cmocka_unit_test(test_overflow_there),
		cmocka_unit_test(test_bad_packets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
