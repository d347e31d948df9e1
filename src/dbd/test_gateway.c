/* INTERFACE_CALL: a client of the classic socket reaches a daemon's interface; bounds, time-outs, clients that go. */
#include "test_fake.h"
#include "dbd/control.h"
#include "protocol/classic_native.h"
#include "shared/msg.h"

#include <errno.h>
#include <unistd.h>

#define INTERFACE 0x20c7ff01U
#define PROC_ECHO 1U
#define PROC_KEEP 2U /* answered when the test says so */
#define PROC_BUSY 3U

static struct {
	struct msg *msg;
	struct rpc_call *kept[2 * GATEWAY_PENDING_MAX];
	uint32_t n_kept;
} server;

static int serve(void *priv, struct rpc_call *call, uint32_t proc, const uint8_t *buf, size_t len)
{
	switch (proc) {
	case PROC_ECHO:
		rpc_call_reply(call, buf, len);
		return 0;
	case PROC_KEEP:
		server.kept[server.n_kept++] = call;
		return 0;
	case PROC_BUSY:
		rpc_call_fail(call, EBUSY);
		return 0;
	default:
		return ENOSYS;
	}
}

static int setup(void **state)
{
	struct daemon *d;
	char *err = NULL, *dir;

	assert_int_equal(fake_setup(state), 0);
	d = fake->dbd->d;
	dir = talloc_asprintf(fake, "%s/msg", fake->dir);
	memset(&server, 0, sizeof(server));
	assert_int_equal(msg_open(d, d->ev, dir, "db", d->pnn, NULL, &d->msg, &err), 0);
	assert_int_equal(msg_open(d, d->ev, dir, "echo.1", d->pnn, NULL, &server.msg, &err), 0);
	assert_int_equal(msg_serve(server.msg, INTERFACE, 1, serve, NULL), 0);
	return 0;
}

static int teardown(void **state)
{
	struct daemon *d = fake->dbd->d;
	struct msg *msg = d->msg;
	void *keep = talloc_new(NULL);

	talloc_steal(keep, msg);
	talloc_free(server.msg);
	clients_disconnect_all(fake->dbd->clients, "end of test");
	fake_turns(3);
	talloc_free(keep);
	return fake_teardown(state);
}

static struct ctdb_blob call_of(const char *endpoint, uint32_t node, uint32_t proc, uint32_t timeout_ms,
				const char *text)
{
	struct classic_interface_call arg = {
		.interface = INTERFACE,
		.version = 1,
		.procedure = proc,
		.timeout_ms = timeout_ms,
		.node = node,
		.payload = blob_of(text, strlen(text)),
	};
	struct ctdb_blob blob;

	arg.endpoint = talloc_strdup(fake, endpoint);
	assert_int_equal(classic_interface_call_nencode(fake, &arg, &blob), 0);
	return blob;
}

static void send_call(int fd, uint32_t reqid, const char *endpoint, uint32_t node, uint32_t proc, uint32_t timeout_ms)
{
	struct ctdb_blob b = call_of(endpoint, node, proc, timeout_ms, "hello");

	fake_control(fd, CLASSIC_CONTROL_INTERFACE_CALL, CLASSIC_NODE_CURRENT, 0, 0, reqid, b.data, b.len);
}

static struct classic_interface_reply answer(int fd, uint32_t reqid)
{
	struct fake_reply r = fake_reply(fd, reqid);
	struct classic_interface_reply reply;

	assert_int_equal(r.status, 0);
	assert_int_equal(classic_interface_reply_nview(r.data.data, r.data.len, &reply, NULL), 0);
	return reply;
}

static int32_t status_of(int fd, const char *endpoint, uint32_t node, uint32_t proc, uint32_t timeout_ms)
{
	static uint32_t reqid = 5000;

	send_call(fd, ++reqid, endpoint, node, proc, timeout_ms);
	return answer(fd, reqid).status;
}

static void test_echo(void **state)
{
	int fd = fake_connect();
	struct classic_interface_reply r;

	send_call(fd, 1, "echo.1", CLASSIC_NODE_CURRENT, PROC_ECHO, 0);
	r = answer(fd, 1);
	assert_int_equal(r.status, 0);
	assert_int_equal(r.result.len, 5);
	assert_memory_equal(r.result.data, "hello", 5);
	send_call(fd, 2, "echo.1", fake->dbd->d->pnn, PROC_ECHO, 60000);
	assert_int_equal(answer(fd, 2).result.len, 5);
	assert_true(fake_silent(fd));
	close(fd);
}

static void test_failures(void **state)
{
	int fd = fake_connect();
	struct fake_reply r;

	assert_int_equal(status_of(fd, "echo.1", CLASSIC_NODE_CURRENT, PROC_BUSY, 0), EBUSY);
	assert_int_equal(status_of(fd, "echo.1", CLASSIC_NODE_CURRENT, 99, 0), ENOSYS);
	assert_int_equal(status_of(fd, "nobody", CLASSIC_NODE_CURRENT, PROC_ECHO, 0), ENOENT);
	assert_int_equal(status_of(fd, "../db", CLASSIC_NODE_CURRENT, PROC_ECHO, 0), EINVAL);
	assert_int_equal(status_of(fd, "", CLASSIC_NODE_CURRENT, PROC_ECHO, 0), EINVAL);
	assert_int_equal(status_of(fd, "echo.1", 2, PROC_ECHO, 0), EHOSTUNREACH); /* there is no transport here */
	assert_int_equal(status_of(fd, "echo.1", CLASSIC_NODE_CURRENT, PROC_KEEP, 30), ETIMEDOUT);
	r = fake_ask(fd, CLASSIC_CONTROL_INTERFACE_CALL, "short", 5);
	assert_int_equal(r.status, -1);
	assert_true(fake_silent(fd));
	close(fd);
}

static bool all_kept(void *priv)
{
	return server.n_kept == *(uint32_t *)priv;
}

/* The 65th is refused at once; the others are answered, each once, and then there is room again. */
static void test_bound(void **state)
{
	uint32_t n = GATEWAY_PENDING_MAX;
	int fd = fake_connect();
	struct fake_reply r;

	for (uint32_t i = 0; i < n; i++) {
		send_call(fd, 100 + i, "echo.1", CLASSIC_NODE_CURRENT, PROC_KEEP, 0);
	}
	fake_until(all_kept, &n);
	send_call(fd, 99, "echo.1", CLASSIC_NODE_CURRENT, PROC_ECHO, 0);
	r = fake_reply(fd, 99);
	assert_int_equal(r.status, -1);
	assert_non_null(strstr(r.error, "too many"));
	for (uint32_t i = 0; i < n; i++) {
		rpc_call_reply(server.kept[i], NULL, 0);
		assert_int_equal(answer(fd, 100 + i).status, 0);
	}
	assert_int_equal(status_of(fd, "echo.1", CLASSIC_NODE_CURRENT, PROC_ECHO, 0), 0);
	assert_true(fake_silent(fd));
	close(fd);
}

static bool nobody_connected(void *priv)
{
	return fake->dbd->clients->n == 0 && dlist_empty(&fake->dbd->clients->dying);
}

/* The client goes while the daemon works for it: nothing is left, the late answer goes nowhere. */
static void test_client_gone(void **state)
{
	uint32_t one = 1;
	int fd = fake_connect();

	send_call(fd, 1, "echo.1", CLASSIC_NODE_CURRENT, PROC_KEEP, 0);
	fake_until(all_kept, &one);
	close(fd);
	fake_until(nobody_connected, NULL);
	rpc_call_reply(server.kept[0], NULL, 0);
	fake_turns(5);
}

/* The cluster loses the node that was asked: who waits for it learns so, who asked another one waits on. */
static void test_node_lost(void **state)
{
	struct daemon *d = fake->dbd->d;
	struct msg *transport; /* takes all, brings nothing */
	char *err = NULL, *dir = talloc_asprintf(fake, "%s/msg", fake->dir);
	uint32_t one = 1;
	int fd = fake_connect();

	fake->flags[1] = fake->flags[2] = 0;
	assert_int_equal(msg_open(d, d->ev, dir, "transport", d->pnn, NULL, &transport, &err), 0);
	send_call(fd, 1, "echo.1", 2, PROC_ECHO, 60000);
	send_call(fd, 2, "echo.1", 1, PROC_ECHO, 60000);
	send_call(fd, 3, "echo.1", CLASSIC_NODE_CURRENT, PROC_KEEP, 60000);
	fake_until(all_kept, &one);
	gateway_view_changed(fake->dbd);
	assert_true(fake_silent(fd));
	fake->flags[2] = CLASSIC_NODE_FLAG_DISCONNECTED;
	gateway_view_changed(fake->dbd);
	assert_int_equal(answer(fd, 1).status, EHOSTUNREACH);
	assert_true(fake_silent(fd));
	rpc_call_reply(server.kept[0], NULL, 0);
	assert_int_equal(answer(fd, 3).status, 0);
	close(fd);
	fake_until(nobody_connected, NULL);
	talloc_free(transport);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_echo, setup, teardown),
		cmocka_unit_test_setup_teardown(test_failures, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bound, setup, teardown),
		cmocka_unit_test_setup_teardown(test_client_gone, setup, teardown),
		cmocka_unit_test_setup_teardown(test_node_lost, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
