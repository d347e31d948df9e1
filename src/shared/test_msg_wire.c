/* Tests of what messages say on the wire and about themselves: addresses, versions of the header, groups, credentials,
 * counters, receivers that are started again. */
#include "test_msg_util.h"

#include "protocol/msgstat_rpc.h"

static void test_addresses(void **state)
{
	static const struct {
		const char *text;
		const char *endpoint;
		uint32_t node;
	} good[] = {
		{"db@0", "db", 0},
		{"cli.4711@255", "cli.4711", 255},
		{"a-b.c-d@self", "a-b.c-d", NODE_SELF},
		{"db@all", "db", NODE_GROUP_ALL},
		{"db@connected", "db", NODE_GROUP_CONNECTED},
		{"db@active", "db", NODE_GROUP_ACTIVE},
	};
	static const char *const bad[] = {
		"",
		"db",
		"@1",
		"db@",
		"db@01",
		"db@+1",
		"db@-1",
		"db@ 1",
		"db@1 ",
		"db@all ",
		"db@ALL",
		"db@0x1",
		"Db@1",
		"db.@1",
		".x@1",
		"db@1@2",
		"d b@1",
		"db@1.5",
		"db@any",
		"db@4294967280",
		"db@99999999999999999999",
		"../db@1",
		"db@16777216",
		"db@self1",
		"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa@1",
		"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa@1",
	};
	struct msg_addr addr;
	char *text;

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_int_equal(msg_addr_parse(good[i].text, &addr), 0);
		assert_string_equal(addr.endpoint, good[i].endpoint);
		assert_int_equal(addr.node, good[i].node);
		text = msg_addr_text(NULL, &addr);
		assert_string_equal(text, good[i].text);
		talloc_free(text);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		addr.node = 77;
		if (msg_addr_parse(bad[i], &addr) != EINVAL || addr.node != 77) {
			fail_msg("taken: '%s'", bad[i]);
		}
	}
}

/* What a router got last. */
struct routed {
	struct world *w;
	struct msg *transport;
	uint8_t *packet;
	size_t len;
	uint32_t node;
	unsigned n;
};

static void routed_take(void *priv, uint32_t node, const uint8_t *packet, size_t len)
{
	struct routed *r = priv;

	talloc_free(r->packet);
	r->packet = talloc_memdup(r->w, packet, len);
	r->len = len;
	r->node = node;
	r->n++;
}

static void routed_start(struct routed *r)
{
	*r = (struct routed){.w = world_new()};
	r->transport = world_open(r->w, "transport", NULL);
	msg_set_router(r->transport, routed_take, r);
}

/* A bulk packet has a header of version 2, others one of version 1, and a peer of version 1 gets only those. */
static void test_versions(void **state)
{
	struct routed r;
	struct msg *m;
	struct msg_addr dst = {.endpoint = "db", .node = 1};
	struct msg_packet_plan old, new;
	struct msg_header h;

	routed_start(&r);
	m = world_open(r.w, "cli.1", NULL);
	assert_int_equal(count_number(msg_client(m, m, &dst), 7, 3), 0);
	WAIT_FOR(r.w, r.n == 1);
	assert_int_equal(r.packet[7], 1);
	assert_int_equal(msg_packet_plan(r.packet, r.len, 2, 1, &new), 0);
	assert_int_equal(new.flags, 0);
	assert_int_equal(new.header_len + new.payload_len, r.len);
	assert_memory_equal(new.header, r.packet, new.header_len);
	assert_int_equal(new.payload_len, 11);

	assert_int_equal(count_number(msg_client_bulk(m, m, &dst), 7, 3), 0);
	WAIT_FOR(r.w, r.n == 2);
	assert_int_equal(r.packet[7], 2);
	assert_int_equal(msg_packet_plan(r.packet, r.len, 2, 1, &new), 0);
	assert_int_equal(msg_packet_plan(r.packet, r.len, 1, 1, &old), 0);
	assert_int_equal(new.flags, MSG_FLAG_BULK);
	assert_int_equal(old.flags, MSG_FLAG_BULK);
	assert_int_equal(old.header_len, new.header_len - 4);
	assert_int_equal(old.header[7], 1);
	assert_int_equal(old.payload_len, 11);
	assert_ptr_equal(old.payload, new.payload);
	/* both read as the same, by a decoder that knows the header alone */
	assert_int_equal(msg_header_decode(r.w, old.header, old.header_len, &h), 0);
	assert_int_equal(h.flags, 0);
	assert_int_equal(h.payload_len, 11);
	assert_int_equal(msg_header_decode(r.w, new.header, new.header_len, &h), 0);
	assert_int_equal(h.flags, MSG_FLAG_BULK);
	assert_int_equal(h.procedure, PROC_COUNT);
	for (size_t cut = 0; cut < new.header_len; cut++) {
		assert_int_equal(msg_packet_plan(r.packet, cut, 1, 1, &old), EBADMSG);
	}
	world_free(r.w);
}

/* Reply in the class of its request. */
static void test_bulk_reply(void **state)
{
	struct routed r;
	struct server s = {0};
	struct msg_header h = raw_header("cli.1", "db");
	struct msg_packet_plan plan;
	uint8_t packet[600];

	routed_start(&r);
	server_start(r.w, &s, "db", NULL);
	for (uint32_t flags = 0; flags <= MSG_FLAG_BULK; flags++) {
		h.source_node = 5;
		h.flags = flags;
		h.version = flags != 0 ? 2 : 1;
		assert_int_equal(msg_deliver(r.transport, 5, packet, raw_packet(packet, &h, "x", 1)), 0);
		WAIT_FOR(r.w, r.n == flags + 1);
		assert_int_equal(r.node, 5);
		assert_int_equal(msg_packet_plan(r.packet, r.len, 2, 5, &plan), 0);
		assert_int_equal(plan.flags, flags);
		assert_int_equal(s.source_uid, UINT32_MAX);
		assert_int_equal(s.source_pid, 0);
	}
	world_free(r.w);
}

static void test_groups(void **state)
{
	struct routed r;
	struct server s = {0};
	struct msg *m;
	struct msg_addr dst = {.endpoint = "db", .node = NODE_GROUP_CONNECTED};
	struct msg_packet_plan plan;
	struct rpc_client *c;
	uint8_t copy[600];

	routed_start(&r);
	server_start(r.w, &s, "db", NULL);
	m = world_open(r.w, "cli.1", NULL);
	c = msg_client(m, m, &dst);
	assert_int_equal(call(r.w, c, PROC_ECHO, "x", 1, NULL), EINVAL); /* only notifications */
	assert_int_equal(count_number(c, 0, 0), 0);
	WAIT_FOR(r.w, r.n == 1);
	assert_int_equal(r.node, NODE_GROUP_CONNECTED);
	/* The own node's copy: from here, but nobody saw the sender. */
	assert_int_equal(msg_packet_plan(r.packet, r.len, 2, 0, &plan), 0);
	memcpy(copy, plan.header, plan.header_len);
	memcpy(copy + plan.header_len, plan.payload, plan.payload_len);
	assert_int_equal(msg_deliver(r.transport, 0, copy, r.len), 0);
	WAIT_FOR(r.w, s.counted == 1);
	assert_int_equal(s.source_node, 0);
	assert_string_equal(s.source_endpoint, "cli.1");
	assert_int_equal(s.source_uid, UINT32_MAX);
	/* A group is never delivered as such: whoever gets it from a link does not expand it. */
	assert_int_equal(msg_deliver(r.transport, 0, r.packet, r.len), EBADMSG);
	assert_int_equal(msg_stats(m)->group_empty, 0);
	msg_group_empty(r.transport, r.packet, r.len);
	WAIT_FOR(r.w, msg_stats(m)->group_empty == 1);
	/* transport itself sends to a group in which nobody is */
	assert_int_equal(count_number(msg_client(r.w, r.transport, &dst), 0, 0), 0);
	assert_int_equal(r.n, 2);
	msg_group_empty(r.transport, r.packet, r.len);
	assert_int_equal(msg_stats(r.transport)->group_empty, 1);
	world_free(r.w);
	/* no transport: said at once */
	r.w = world_new();
	m = world_open(r.w, "cli.1", NULL);
	assert_int_equal(count_number(msg_client(m, m, &dst), 0, 0), EHOSTUNREACH);
	world_free(r.w);
}

static void test_credentials(void **state)
{
	struct world *w = world_new();
	struct server s = {0};
	struct rpc_client *c;
	int status = 0;
	pid_t pid;

	server_start(w, &s, "db", NULL);
	c = client_to(w, world_open(w, "cli.1", NULL), "db", NODE_SELF);
	expect_echo(w, c);
	assert_int_equal(s.source_uid, geteuid());
	assert_int_equal(s.source_pid, getpid());
	/* another process, with its own endpoint */
	pid = fork();
	if (pid == 0) {
		struct world other = *w;
		struct msg *m = NULL;
		char *err = NULL;

		other.ev = tevent_context_init(NULL);
		_exit(msg_open(NULL, other.ev, other.dir, "cli.2", 0, NULL, &m, &err) == 0 &&
				      count_number(client_to(m, m, "db", NODE_SELF), 0, 0) == 0
			      ? 0
			      : 1);
	}
	WAIT_FOR(w, s.counted == 1);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(s.source_pid, pid);
	assert_string_equal(s.source_endpoint, "cli.2");
	unlink(raw_addr(w, "cli.2").sun_path);
	world_free(w);
}

/* The process that has a request is killed and started again: the request ends, later ones and what was queued go to
 * the new one. */
static void test_restarted(void **state)
{
	struct world *w = world_new();
	struct server s = {0};
	struct msg *m = world_open(w, "cli.1", NULL);
	struct rpc_client *c = client_to(m, m, "db", NODE_SELF);
	struct tevent_req *taken, *queued[30];
	int fd = raw_bind(w, "db");
	unsigned lost = 0, answered = 0;

	taken = ask(w, c, PROC_ECHO, "x", 1, 600000);
	util_turn(w->ev);
	/* Its successor binds the name anew while the old socket still exists, as after a crash whose descriptors
	 * others hold. */
	unlink(raw_addr(w, "db").sun_path);
	server_start(w, &s, "db", NULL);
	assert_int_equal(answer(w, c, taken, NULL), ECONNRESET);
	assert_int_equal(msg_stats(m)->peer_lost, 1);
	expect_echo(w, c);
	close(fd);
	talloc_free(s.m);

	fd = raw_bind(w, "db");
	for (unsigned i = 0; i < 30; i++) {
		queued[i] = ask(w, c, PROC_ECHO, "x", 1, 600000);
	}
	util_turn(w->ev);
	unlink(raw_addr(w, "db").sun_path);
	server_start(w, &s, "db", NULL);
	close(fd);
	for (unsigned i = 0; i < 30; i++) {
		int ret = answer(w, c, queued[i], NULL);

		lost += ret == ECONNRESET;
		answered += ret == 0;
	}
	assert_int_equal(lost + answered, 30);
	assert_true(lost > 0 && answered > 0); /* the kernel had some; the queue lost none */
	world_free(w);
}

/* It ends for good. */
static void test_killed(void **state)
{
	struct world *w = world_new();
	struct msg *m = world_open(w, "cli.1", NULL);
	struct rpc_client *c = client_to(m, m, "db", NODE_SELF);
	int fd = raw_bind(w, "db");
	struct tevent_req *req = ask(w, c, PROC_ECHO, "x", 1, 600000);

	util_turn(w->ev);
	close(fd); /* the file stays, as after SIGKILL */
	assert_int_equal(answer(w, c, req, NULL), ECONNRESET);
	assert_int_equal(call(w, c, PROC_ECHO, "x", 1, NULL), ENOENT);
	unlink(raw_addr(w, "db").sun_path);
	world_free(w);
}

static void get_stats(struct world *w, struct rpc_client *c, struct msgstat_info *info)
{
	struct tevent_req *req = msgstat_get_send(w, w->ev, c, 30000);

	WAIT_FOR(w, !tevent_req_is_in_progress(req));
	assert_int_equal(msgstat_get_recv(req, w, info), 0);
	talloc_free(req);
}

static void test_counters(void **state)
{
	struct world *w = world_new();
	const struct msg_limits limits = {.queue_bytes = 1U << 16};
	struct server s = {0};
	struct msg *m;
	struct rpc_client *c, *self, *stuck;
	struct msgstat_info info;
	struct msgstat_names names;
	struct tevent_req *req;
	int fd, ret = 0;

	server_start(w, &s, "db", NULL);
	m = world_open(w, "cli.1", &limits);
	c = client_to(m, m, "db", NODE_SELF);
	self = client_to(m, m, "cli.1", NODE_SELF);
	for (unsigned i = 0; i < 5; i++) {
		expect_echo(w, c);
	}
	assert_int_equal(call(w, client_to(m, m, "nobody", NODE_SELF), PROC_ECHO, NULL, 0, NULL), ENOENT);
	req = ask(w, c, PROC_HOLD, NULL, 0, 1);
	assert_int_equal(answer(w, c, req, NULL), ETIMEDOUT);
	WAIT_FOR(w, s.n_held == 1);
	fd = raw_bind(w, "stuck");
	stuck = client_to(m, m, "stuck", NODE_SELF);
	for (unsigned i = 0; i < 1000 && ret == 0; i++) {
		ret = count_number(stuck, i, 1000);
	}
	assert_int_equal(ret, ENOBUFS);
	get_stats(w, self, &info);
	assert_string_equal(info.endpoint, "cli.1");
	assert_int_equal(info.pid, getpid());
	assert_int_equal(info.no_endpoint, 1);
	assert_int_equal(info.timeouts, 1);
	assert_int_equal(info.dropped_full, 1);
	assert_int_equal(info.requests, 1); /* this one */
	assert_int_equal(info.calls, 0);
	assert_int_equal(info.queue_limit, 1U << 16);
	assert_int_equal(info.queues.n, 1);
	assert_string_equal(info.queues.v[0].endpoint, "stuck");
	assert_true(info.queues.v[0].bytes > 60000 && info.queues.v[0].bytes <= 1U << 16);
	assert_true(info.queues.v[0].packets > 50);
	get_stats(w, c, &info);
	assert_string_equal(info.endpoint, "db");
	assert_int_equal(info.calls, 1); /* the one that is held */
	assert_int_equal(info.received, 7);
	assert_int_equal(info.sent, 5);
	assert_int_equal(info.queues.n, 0);
	req = msgstat_endpoints_send(w, w->ev, c, 30000);
	WAIT_FOR(w, !tevent_req_is_in_progress(req));
	assert_int_equal(msgstat_endpoints_recv(req, w, &names), 0);
	assert_int_equal(names.names.n, 3);
	assert_string_equal(names.names.v[0].endpoint, "cli.1");
	assert_string_equal(names.names.v[1].endpoint, "db");
	assert_string_equal(names.names.v[2].endpoint, "stuck");
	raw_unbind(w, "stuck", fd);
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_addresses), cmocka_unit_test(test_versions),    cmocka_unit_test(test_bulk_reply),
		cmocka_unit_test(test_groups),    cmocka_unit_test(test_credentials), cmocka_unit_test(test_restarted),
		cmocka_unit_test(test_killed),    cmocka_unit_test(test_counters),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
