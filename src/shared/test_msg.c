/* Tests of messages: requests, replies, notifications, restarts, bounds, large payloads, routing. */
#include "test_msg_util.h"

static void test_names(void **state)
{
	static const char *good[] = {"db",
				     "cli.4711",
				     "a",
				     "db-keep",
				     "x9.y-9",
				     "abcdefghijklmnopqrstuvwxyzabcde",
				     "abcdefghijklmnopqrstuvwxyzabcde.123456789012345678901234567890a"};
	static const char *bad[] = {"",     ".",   "db.",    ".1",   "DB",   "d b",
				    "../x", "a/b", "db.1.2", "db.A", "db@1", "abcdefghijklmnopqrstuvwxyzabcdef"};
	struct world *w = world_new();
	struct msg *m = NULL;
	char *err = NULL;

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_true(msg_endpoint_valid(good[i]));
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_false(msg_endpoint_valid(bad[i]));
		assert_int_equal(msg_open(w, w->ev, w->dir, bad[i], 0, NULL, &m, &err), EINVAL);
		TALLOC_FREE(err);
	}
	world_free(w);
}

static void test_request(void **state)
{
	struct world *w = world_new();
	struct server s = {0};
	struct msg *m = world_open(w, "cli.1", NULL);
	struct rpc_client *c = client_to(m, m, "db", NODE_SELF);
	struct stat st;
	char path[128];

	server_start(w, &s, "db", NULL);
	snprintf(path, sizeof(path), "%s/db", w->dir);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	expect_echo(w, c);
	assert_string_equal(s.source_endpoint, "cli.1");
	assert_int_equal(s.source_node, 0);
	assert_int_equal(s.source_uid, geteuid());
	assert_false(s.oneway);
	assert_int_equal(call(w, c, PROC_ECHO, NULL, 0, NULL), 0);
	assert_int_equal(count_number(c, 0, 0), 0);
	WAIT_FOR(w, s.counted == 1);
	assert_true(s.oneway);
	assert_int_equal(msg_stats(m)->sent, 3);
	assert_int_equal(msg_stats(m)->received, 2);
	assert_int_equal(msg_stats(s.m)->received, 3);
	assert_int_equal(msg_serve(s.m, TEST_INTERFACE, 1, server_dispatch, &s), EEXIST);
	world_free(w);
}

static void test_failures(void **state)
{
	struct world *w = world_new();
	struct server s = {0};
	struct msg *m = world_open(w, "cli.1", NULL);
	struct rpc_client *c = client_to(m, m, "db", 0), *nobody = client_to(m, m, "nobody", 0),
			  *remote = client_to(m, m, "db", 3), *wrong = client_to(m, m, "No Name", 0);
	struct tevent_req *req;

	server_start(w, &s, "db", NULL);
	assert_int_equal(call(w, c, PROC_FORGET, NULL, 0, NULL), ECANCELED);
	assert_int_equal(call(w, c, PROC_STATUS, NULL, 0, NULL), EXDEV);
	assert_int_equal(call(w, c, PROC_BAD, NULL, 0, NULL), EBADMSG);
	assert_int_equal(call(w, c, 99, NULL, 0, NULL), ENOSYS);
	/* at once, not by time-out */
	assert_int_equal(answer(w, nobody, ask(w, nobody, PROC_ECHO, NULL, 0, UINT32_MAX), NULL), ENOENT);
	assert_int_equal(answer(w, remote, ask(w, remote, PROC_ECHO, NULL, 0, UINT32_MAX), NULL), EHOSTUNREACH);
	assert_int_equal(call(w, wrong, PROC_ECHO, NULL, 0, NULL), EINVAL);
	assert_int_equal(count_number(nobody, 0, 0), ENOENT);
	assert_int_equal(count_number(remote, 0, 0), EHOSTUNREACH);
	assert_int_equal(msg_stats(m)->no_endpoint, 4);
	/* an interface that is not served */
	req = c->request_send(w, w->ev, c, 0x7001, 1, PROC_ECHO, NULL, 0, 30000);
	assert_int_equal(answer(w, c, req, NULL), ENOSYS);
	expect_echo(w, c);
	world_free(w);
}

static void test_timeouts(void **state)
{
	struct world *w = world_new();
	struct server s = {0};
	struct msg *m = world_open(w, "cli.1", NULL);
	struct rpc_client *c = client_to(m, m, "db", 0);
	struct tevent_req *slow, *slower, *quick;

	server_start(w, &s, "db", NULL);
	slow = ask(w, c, PROC_HOLD, NULL, 0, 60000);
	quick = ask(w, c, PROC_HOLD, NULL, 0, 50);
	slower = ask(w, c, PROC_HOLD, NULL, 0, 120);
	assert_int_equal(answer(w, c, quick, NULL), ETIMEDOUT);
	assert_int_equal(answer(w, c, slower, NULL), ETIMEDOUT);
	assert_true(tevent_req_is_in_progress(slow));
	assert_int_equal(s.n_held, 3);
	assert_int_equal(msg_stats(m)->timeouts, 2);
	/* what comes too late is nobody's answer */
	rpc_call_reply(s.held[1], (const uint8_t *)"late", 4);
	rpc_call_reply(s.held[2], (const uint8_t *)"late", 4);
	expect_echo(w, c);
	rpc_call_reply(s.held[0], NULL, 0);
	assert_int_equal(answer(w, c, slow, NULL), 0);
	/* freeing a request is forgetting it */
	talloc_free(ask(w, c, PROC_ECHO, NULL, 0, 50));
	expect_echo(w, c);
	world_free(w);
}

/* Answers in any order find their requests. */
static void test_many_requests(void **state)
{
	struct world *w = world_new();
	struct server s = {0};
	struct msg *m = world_open(w, "cli.1", NULL);
	struct rpc_client *c = client_to(m, m, "db", 0);
	static struct tevent_req *reqs[1000];

	server_start(w, &s, "db", NULL);
	for (uint32_t i = 0; i < 1000; i++) {
		reqs[i] = ask(w, c, PROC_HOLD, &i, 4, 60000);
	}
	WAIT_FOR(w, s.n_held == 1000);
	for (uint32_t i = 0; i < 1000; i++) {
		uint32_t j = (i * 7 + 3) % 1000;

		rpc_call_reply(s.held[j], (const uint8_t *)&j, 4);
	}
	for (uint32_t i = 0; i < 1000; i++) {
		struct ctdb_blob result;

		assert_int_equal(answer(w, c, reqs[i], &result), 0);
		assert_int_equal(result.len, 4);
		assert_memory_equal(result.data, &i, 4);
		talloc_free(result.data);
	}
	world_free(w);
}

static void test_own_endpoint(void **state)
{
	struct world *w = world_new();
	struct server s = {0};
	struct rpc_client *c;

	server_start(w, &s, "db", NULL);
	c = client_to(s.m, s.m, "db", NODE_SELF);
	expect_echo(w, c);
	for (unsigned i = 0; i < 500; i++) {
		assert_int_equal(count_number(c, i, 0), 0);
	}
	WAIT_FOR(w, s.counted == 500);
	world_free(w);
}

/* ---- restarts ---- */

static void test_server_restart(void **state)
{
	struct world *w = world_new();
	struct server s = {0};
	struct msg *m = world_open(w, "cli.1", NULL);
	struct rpc_client *c = client_to(m, m, "db", 0);
	struct tevent_req *req;

	server_start(w, &s, "db", NULL);
	expect_echo(w, c);
	/* what it holds when it stops is answered */
	req = ask(w, c, PROC_HOLD, NULL, 0, 60000);
	WAIT_FOR(w, s.n_held == 1);
	talloc_free(s.m);
	assert_int_equal(answer(w, c, req, NULL), ECANCELED);
	assert_int_equal(call(w, c, PROC_ECHO, NULL, 0, NULL), ENOENT);
	assert_int_equal(count_number(c, 0, 0), ENOENT);
	server_start(w, &s, "db", NULL);
	expect_echo(w, c);
	/* replaced between two requests, without one that failed */
	talloc_free(s.m);
	server_start(w, &s, "db", NULL);
	assert_int_equal(count_number(c, 0, 0), 0);
	WAIT_FOR(w, s.counted == 1);
	expect_echo(w, c);
	world_free(w);
}

/* The receiver dies while requests wait for room: all of them fail, none waits for its time-out. */
static void test_server_dies_with_queue(void **state)
{
	struct world *w = world_new();
	struct msg *m = world_open(w, "cli.1", NULL);
	struct rpc_client *c = client_to(m, m, "db", 0);
	struct tevent_req *reqs[200];
	int fd = raw_bind(w, "db");
	unsigned failed = 0, lost = 0;

	for (unsigned i = 0; i < 200; i++) {
		reqs[i] = ask(w, c, PROC_ECHO, "x", 1, 600000);
	}
	util_turn(w->ev);
	raw_unbind(w, "db", fd);
	WAIT_FOR(w, msg_stats(m)->sent + msg_stats(m)->no_endpoint == 200);
	for (unsigned i = 0; i < 200; i++) {
		int ret = answer(w, c, reqs[i], NULL);

		/* Taken by the kernel and lost with the receiver, or never taken. */
		lost += ret == ECONNRESET;
		failed += ret == ENOENT;
	}
	assert_int_equal(lost, msg_stats(m)->sent);
	assert_int_equal(lost, msg_stats(m)->peer_lost);
	assert_int_equal(failed, msg_stats(m)->no_endpoint);
	assert_int_equal(lost + failed, 200);
	assert_true(lost > 0 && failed > 0);
	world_free(w);
}

static void test_client_gone(void **state)
{
	struct world *w = world_new();
	struct server s = {0};
	struct rpc_client *c;

	server_start(w, &s, "db", NULL);
	for (unsigned i = 0; i < 200; i++) {
		char name[32];
		struct msg *m;

		snprintf(name, sizeof(name), "cli.%u", i);
		m = world_open(w, name, NULL);
		c = client_to(m, m, "db", 0);
		expect_echo(w, c);
		ask(w, c, PROC_HOLD, NULL, 0, 60000);
		WAIT_FOR(w, s.n_held == i + 1);
		talloc_free(m); /* its request ends with it */
	}
	for (unsigned i = 0; i < 200; i++) {
		rpc_call_reply(s.held[i], NULL, 0); /* nobody is there any more */
	}
	s.n_held = 0;
	assert_int_equal(world_files(w), 1);
	world_free(w);
}

static void test_shutdown(void **state)
{
	struct world *w = world_new();
	struct server s = {0};
	struct msg *m = world_open(w, "cli.1", NULL);
	struct rpc_client *c = client_to(w, m, "db", 0);
	struct tevent_req *req;

	server_start(w, &s, "db", NULL);
	req = ask(w, c, PROC_HOLD, NULL, 0, 60000);
	talloc_free(m);
	assert_int_equal(answer(w, c, req, NULL), ESHUTDOWN);
	world_free(w);
}

static int dispatch_free(void *priv, struct rpc_call *call, uint32_t proc, const uint8_t *buf, size_t len)
{
	struct server *s = priv;

	TALLOC_FREE(s->m);
	return 0;
}

static void test_freed_in_handler(void **state)
{
	struct world *w = world_new();
	struct server s = {0};
	struct msg *m = world_open(w, "cli.1", NULL);
	struct rpc_client *c = client_to(w, m, "db", 0);

	s.m = world_open(w, "db", NULL);
	assert_int_equal(msg_serve(s.m, TEST_INTERFACE, 1, dispatch_free, &s), 0);
	assert_int_equal(count_number(c, 0, 0), 0);
	/* in the kernel's queue behind what made the server end: told that nobody will work on it */
	assert_int_equal(call(w, c, PROC_ECHO, NULL, 0, NULL), ECANCELED);
	assert_null(s.m);
	assert_int_equal(call(w, c, PROC_ECHO, NULL, 0, NULL), ENOENT);
	s.m = world_open(w, "db", NULL);
	assert_int_equal(msg_serve(s.m, TEST_INTERFACE, 1, dispatch_free, &s), 0);
	assert_int_equal(call(w, c, PROC_ECHO, NULL, 0, NULL), ECANCELED);
	assert_null(s.m);
	world_free(w);
}

static void test_address_in_use(void **state)
{
	struct world *w = world_new();
	struct server s = {0};
	struct msg *m = NULL;
	char *err = NULL, path[128];
	int fd;

	server_start(w, &s, "db", NULL);
	snprintf(path, sizeof(path), "%s/db", w->dir);
	assert_int_equal(msg_open(w, w->ev, w->dir, "db", 0, NULL, &m, &err), EADDRINUSE);
	assert_non_null(strstr(err, path));
	assert_null(m);
	expect_echo(w, client_to(w, s.m, "db", 0)); /* unharmed */
	talloc_free(s.m);
	assert_int_equal(world_files(w), 0);

	/* a socket that a dead process left */
	fd = raw_bind(w, "db");
	close(fd);
	assert_int_equal(world_files(w), 1);
	server_start(w, &s, "db", NULL);
	expect_echo(w, client_to(w, s.m, "db", 0));
	talloc_free(s.m);

	/* something else of that name is not removed */
	fd = open(path, O_CREAT | O_RDWR, 0600);
	close(fd);
	assert_int_equal(msg_open(w, w->ev, w->dir, "db", 0, NULL, &m, &err), EEXIST);
	assert_non_null(strstr(err, path));
	unlink(path);
	world_free(w);
}

/* Whoever comes second removes neither the socket of the successor nor, in a child, that of the parent. */
static void test_only_own_socket_is_removed(void **state)
{
	struct world *w = world_new();
	struct server s = {0};
	struct msg *old = world_open(w, "db", NULL);
	struct sockaddr_un addr = raw_addr(w, "db");
	int status = 0;
	pid_t pid;

	unlink(addr.sun_path);
	server_start(w, &s, "db", NULL);
	talloc_free(old);
	assert_int_equal(world_files(w), 1);
	expect_echo(w, client_to(w, s.m, "db", 0));
	pid = fork();
	if (pid == 0) {
		talloc_free(s.m);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(world_files(w), 1);
	world_free(w);
}

/* A directory whose path does not fit a socket address. */
static void test_long_directory(void **state)
{
	struct world *w = world_new();
	char *dir = talloc_strdup(w, w->dir), *err = NULL;
	struct msg *a = NULL, *b = NULL;
	struct server s = {0};

	dir = talloc_asprintf_append(dir, "/%0150d", 7);
	assert_int_equal(msg_open(w, w->ev, dir, "db", 0, NULL, &a, &err), 0);
	assert_int_equal(msg_open(w, w->ev, dir, "cli", 0, NULL, &b, &err), 0);
	assert_int_equal(msg_serve(a, TEST_INTERFACE, 1, server_dispatch, &s), 0);
	expect_echo(w, client_to(b, b, "db", 0));
	talloc_free(a);
	talloc_free(b);
	assert_int_equal(rmdir(dir), 0);
	world_free(w);
}

/* ---- bounds ---- */

static void test_overflow(void **state)
{
	const struct msg_limits limits = {.queue_bytes = 100000};
	struct world *w = world_new();
	struct msg *m = world_open(w, "cli.1", &limits);
	struct rpc_client *c = client_to(m, m, "db", 0);
	int fd = raw_bind(w, "db");
	uint8_t buf[2000];
	uint64_t sent = 0, got = 0, dropped = 0;
	int ret;

	while ((ret = count_number(c, sent, 1000)) == 0) {
		sent++;
	}
	assert_int_equal(ret, ENOBUFS);
	assert_int_equal(msg_stats(m)->dropped_full, 1);
	/* the kernel's queue and ours, which holds less than a hundred of these */
	assert_true(sent > 80 && sent < 1000);
	assert_int_equal(call(w, c, PROC_ECHO, buf, 1000, NULL), ENOBUFS);
	dropped = msg_stats(m)->dropped_full;
	assert_int_equal(dropped, 2);
	/* all of it comes, in order, once somebody reads */
	while (got < sent) {
		uint64_t number;
		ssize_t n = -1;

		WAIT_FOR(w, (n = recv(fd, buf, sizeof(buf), 0)) >= 0);
		memcpy(&number, buf + n - 1008, 8);
		assert_int_equal(number, got);
		got++;
	}
	assert_int_equal(msg_stats(m)->sent, sent);
	assert_int_equal(count_number(c, sent, 1000), 0);
	WAIT_FOR(w, recv(fd, buf, sizeof(buf), 0) > 0);
	raw_unbind(w, "db", fd);
	world_free(w);
}

/* One that does not read holds up nobody else. */
static void test_stuck_receiver(void **state)
{
	struct world *w = world_new();
	struct server s = {0};
	struct msg *m = world_open(w, "cli.1", NULL);
	struct rpc_client *stuck = client_to(m, m, "stuck", 0), *c = client_to(m, m, "db", 0);
	int fd = raw_bind(w, "stuck");

	server_start(w, &s, "db", NULL);
	for (unsigned i = 0; i < 100; i++) {
		assert_int_equal(count_number(stuck, i, 100), 0);
	}
	for (unsigned i = 0; i < 5000; i++) {
		assert_int_equal(count_number(c, i, 100), 0);
	}
	WAIT_FOR(w, s.counted == 5000);
	expect_echo(w, c);
	raw_unbind(w, "stuck", fd);
	world_free(w);
}

static void test_large(void **state)
{
	const struct msg_limits limits = {.payload_bytes = 11U << 20, .queue_bytes = 64U << 20};
	struct world *w = world_new();
	struct server s = {0};
	struct msg *m = world_open(w, "cli.1", NULL);
	struct rpc_client *c = client_to(m, m, "db", 0);
	uint32_t sizes[] = {65535, 65536, 65537, 10U << 20}, too_large = 12U << 20;
	struct ctdb_blob result;
	uint8_t *data = talloc_size(w, 66U << 20);

	server_start(w, &s, "db", &limits);
	for (size_t i = 0; i < (66U << 20); i++) {
		data[i] = (uint8_t)(i * 31 + (i >> 12));
	}
	for (size_t i = 0; i < 4; i++) {
		assert_int_equal(call(w, c, PROC_ECHO, data, sizes[i], &result), 0);
		assert_int_equal(result.len, sizes[i]);
		assert_int_equal(memcmp(result.data, data, sizes[i]), 0);
		talloc_free(result.data);
	}
	assert_int_equal(call(w, c, PROC_ECHO, data, (64U << 20) + 1, NULL), EMSGSIZE);
	assert_int_equal(call(w, c, PROC_BIG, &too_large, 4, NULL), EMSGSIZE); /* a reply that may not be sent */
	expect_echo(w, c);
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_request),
		cmocka_unit_test(test_failures),
		cmocka_unit_test(test_timeouts),
		cmocka_unit_test(test_many_requests),
		cmocka_unit_test(test_own_endpoint),
		cmocka_unit_test(test_server_restart),
		cmocka_unit_test(test_server_dies_with_queue),
		cmocka_unit_test(test_client_gone),
		cmocka_unit_test(test_shutdown),
		cmocka_unit_test(test_freed_in_handler),
		cmocka_unit_test(test_address_in_use),
		cmocka_unit_test(test_only_own_socket_is_removed),
		cmocka_unit_test(test_long_directory),
		cmocka_unit_test(test_overflow),
		cmocka_unit_test(test_stuck_receiver),
		cmocka_unit_test(test_large),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
