/* Generated stubs and dispatch over a carrier that is a function call: requests, one-way calls, errors, who owns what.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <tevent.h>

#include "protocol/constructs.h"
#include "protocol/constructs_rpc.h"

/* ---- a carrier ---- */

struct loop {
	struct rpc_client client;
	struct demo_server server;
	/* What the server saw and how it shall behave. */
	unsigned handled, requests;
	int dispatched; /* last result of demo_dispatch() */
	int32_t fail;   /* status that handlers answer, if not 0 */
	int carrier_error;
	uint32_t proc, timeout_ms;
	bool spoil_argument, spoil_result;
	const uint8_t *buf;
	size_t len;
	struct ctdb_blob seen;
	uint32_t sum;
	/* The answer. */
	bool answered;
	int32_t status;
	struct ctdb_blob result;
};

static void loop_answer(struct rpc_call *call, int32_t status, const uint8_t *buf, size_t len)
{
	struct loop *l = call->carrier;

	assert_false(l->answered);
	l->answered = true;
	l->status = status;
	l->result = (struct ctdb_blob){(uint32_t)len, len > 0 ? talloc_memdup(l, buf, len) : NULL};
}

/* The carrier's, in the daemons from shared/msg.c. */
void rpc_call_reply(struct rpc_call *call, const uint8_t *buf, size_t len)
{
	call->answer(call, 0, buf, len);
	talloc_free(call);
}

void rpc_call_fail(struct rpc_call *call, int32_t status)
{
	call->answer(call, status, NULL, 0);
	talloc_free(call);
}

struct loop_state {
	struct loop *l;
};

static struct tevent_req *loop_request_send(TALLOC_CTX *mem, struct tevent_context *ev, struct rpc_client *c,
					    uint32_t interface, uint32_t version, uint32_t proc, const uint8_t *buf,
					    size_t len, uint32_t timeout_ms)
{
	struct loop *l = c->carrier;
	struct loop_state *state;
	struct tevent_req *req = tevent_req_create(mem, &state, struct loop_state);
	struct rpc_call *call = talloc_zero(l, struct rpc_call);

	assert_true(req != NULL && call != NULL);
	assert_int_equal(interface, 0x20000099);
	assert_int_equal(version, 7);
	state->l = l;
	l->requests++;
	l->proc = proc;
	l->timeout_ms = timeout_ms;
	l->answered = false;
	call->answer = loop_answer;
	call->carrier = l;
	l->buf = buf;
	l->len = l->spoil_argument ? len - 1 : len;
	l->dispatched = demo_dispatch(&l->server, l, call, proc, buf, l->len);
	if (l->dispatched != 0) {
		assert_int_equal(talloc_total_blocks(call), 1);
		rpc_call_fail(call, l->dispatched);
	}
	assert_true(l->answered);
	tevent_req_done(req);
	return tevent_req_post(req, ev);
}

static int loop_request_recv(struct tevent_req *req, TALLOC_CTX *mem, struct ctdb_blob *result)
{
	struct loop_state *state = tevent_req_data(req, struct loop_state);
	struct loop *l = state->l;

	if (l->carrier_error != 0) {
		return l->carrier_error;
	}
	if (l->status != 0) {
		return l->status;
	}
	*result = l->result;
	talloc_steal(mem, l->result.data);
	l->result = (struct ctdb_blob){0};
	if (l->spoil_result) {
		result->len--;
	}
	return 0;
}

/* A one-way call need not be a talloc object. */
static int loop_notify(struct rpc_client *c, uint32_t interface, uint32_t version, uint32_t proc, const uint8_t *buf,
		       size_t len)
{
	struct loop *l = c->carrier;
	struct rpc_call call = {.source_node = 3, .oneway = true};

	assert_int_equal(interface, DEMO_INTERFACE);
	assert_int_equal(version, DEMO_VERSION);
	l->buf = buf;
	l->len = l->spoil_argument ? len - 1 : len;
	l->dispatched = demo_dispatch(&l->server, l, &call, proc, buf, l->len);
	return 0;
}

/* ---- a server ---- */

static void on_add(void *priv, struct rpc_call *call, const struct lists *arg)
{
	struct loop *l = priv;
	uint8_t byte = 0;
	struct blobs res = {.a = {1, &byte}};

	l->handled++;
	assert_ptr_equal(talloc_parent(arg), call);
	for (uint32_t i = 0; i < arg->u.n; i++) {
		byte = (uint8_t)(byte + arg->u.v[i]);
	}
	res.a.len = l->fail == -1 ? 8 : 1; /* -1: a result over its bound */
	if (l->fail > 0) {
		rpc_call_fail(call, l->fail);
	} else {
		demo_add_reply(call, &res);
	}
}

static void on_nothing(void *priv, struct rpc_call *call)
{
	struct loop *l = priv;

	l->handled++;
	demo_nothing_reply(call);
}

static void on_fetch(void *priv, struct rpc_call *call)
{
	struct loop *l = priv;
	struct versioned res = {.a = 1, .b = (char *)(uintptr_t) "b", .c = 3, .d = (char *)(uintptr_t) "d", .e = BLUE};

	l->handled++;
	demo_fetch_reply(call, &res);
}

static void on_tick(void *priv, struct rpc_call *call, const struct blobs *arg)
{
	struct loop *l = priv;

	l->handled++;
	assert_int_equal(call->source_node, 3);
	l->seen = arg->a;
}

static void on_tock(void *priv, struct rpc_call *call, const struct lists *arg)
{
	struct loop *l = priv;

	l->handled++;
	l->sum = arg->u.n;
}

static void on_ping(void *priv, struct rpc_call *call)
{
	struct loop *l = priv;

	l->handled++;
}

/* ---- fixture ---- */

static struct tevent_context *ev;
static size_t blocks_before;

static int setup(void **state)
{
	struct loop *l;

	blocks_before = talloc_total_blocks(NULL);
	ev = tevent_context_init(NULL);
	l = talloc_zero(NULL, struct loop);
	assert_true(ev != NULL && l != NULL);
	l->client = (struct rpc_client){.request_send = loop_request_send,
					.request_recv = loop_request_recv,
					.notify = loop_notify,
					.carrier = l};
	l->server = (struct demo_server){.add = on_add,
					 .nothing = on_nothing,
					 .fetch = on_fetch,
					 .tick = on_tick,
					 .tock = on_tock,
					 .ping = on_ping};
	*state = l;
	return 0;
}

static int teardown(void **state)
{
	talloc_free(*state);
	talloc_free(ev);
	return talloc_total_blocks(NULL) == blocks_before ? 0 : -1;
}

static struct lists numbers_arg(uint32_t *v, uint32_t n)
{
	return (struct lists){.u = {n, v}};
}

static int add(struct loop *l, TALLOC_CTX *mem, uint32_t n, struct blobs *res)
{
	uint32_t v[6] = {1, 2, 3, 4, 5, 6};
	struct lists arg = numbers_arg(v, n);
	struct tevent_req *req = demo_add_send(l, ev, &l->client, &arg, 1234);
	int err;

	assert_non_null(req);
	assert_true(tevent_req_poll(req, ev));
	err = demo_add_recv(req, mem, res);
	talloc_free(req);
	return err;
}

/* ---- tests ---- */

static void test_request(void **state)
{
	struct loop *l = *state;
	TALLOC_CTX *mem = talloc_new(l);
	struct blobs res;

	assert_int_equal(add(l, mem, 4, &res), 0);
	assert_int_equal(l->handled, 1);
	assert_int_equal(l->proc, DEMO_PROC_ADD);
	assert_int_equal(l->timeout_ms, 1234);
	assert_int_equal(res.a.len, 1);
	assert_int_equal(res.a.data[0], 10);
	talloc_free(mem);
	/* all of the request is gone */
	assert_int_equal(talloc_total_blocks(l), 1);
}

static void test_void(void **state)
{
	struct loop *l = *state;
	struct tevent_req *req = demo_nothing_send(l, ev, &l->client, 10);

	assert_true(tevent_req_poll(req, ev));
	assert_int_equal(demo_nothing_recv(req), 0);
	assert_int_equal(l->handled, 1);
	assert_int_equal(l->proc, 2);
	talloc_free(req);
}

static void test_errors(void **state)
{
	struct loop *l = *state;
	TALLOC_CTX *mem = talloc_new(l);
	struct blobs res;

	l->fail = EBUSY;
	assert_int_equal(add(l, mem, 1, &res), EBUSY);
	l->fail = -1;
	assert_int_equal(add(l, mem, 1, &res), EMSGSIZE);
	l->fail = 0;
	l->carrier_error = ETIMEDOUT;
	assert_int_equal(add(l, mem, 1, &res), ETIMEDOUT);
	l->carrier_error = 0;
	l->spoil_result = true;
	assert_int_equal(add(l, mem, 1, &res), EBADMSG);
	l->spoil_result = false;
	/* an argument over its bound is not sent */
	l->requests = 0;
	assert_int_equal(add(l, mem, 6, &res), EMSGSIZE);
	assert_int_equal(l->requests, 0);
	assert_int_equal(add(l, mem, 5, &res), 0);
	assert_int_equal(l->requests, 1);
	talloc_free(mem);
}

static void test_bad_argument(void **state)
{
	struct loop *l = *state;
	struct blobs res;

	l->spoil_argument = true;
	assert_int_equal(add(l, l, 2, &res), EBADMSG);
	assert_int_equal(l->dispatched, EBADMSG);
	assert_int_equal(l->handled, 0);
	assert_int_equal(talloc_total_blocks(l), 1);
}

static void test_not_served(void **state)
{
	struct loop *l = *state;
	struct tevent_req *req = demo_unserved_send(l, ev, &l->client, 10);
	struct rpc_call call = {0};

	assert_true(tevent_req_poll(req, ev));
	assert_int_equal(demo_unserved_recv(req), ENOSYS);
	talloc_free(req);
	assert_int_equal(demo_dispatch(&l->server, l, &call, 0, NULL, 0), ENOSYS);
	assert_int_equal(demo_dispatch(&l->server, l, &call, 99, NULL, 0), ENOSYS);
	l->server.tick = NULL;
	call.oneway = true;
	assert_int_equal(demo_dispatch(&l->server, l, &call, DEMO_PROC_TICK, NULL, 0), ENOSYS);
	assert_int_equal(l->handled, 0);
}

/* A call that a handler keeps but the carrier frees, and one that is never answered. */
static void test_wrong_kind(void **state)
{
	struct loop *l = *state;
	struct rpc_call request = {0}, notification = {.oneway = true};
	uint8_t empty[64] = {0};

	assert_int_equal(demo_dispatch(&l->server, l, &request, DEMO_PROC_TICK, empty, sizeof(empty)), EPROTO);
	assert_int_equal(demo_dispatch(&l->server, l, &request, DEMO_PROC_PING, empty, 0), EPROTO);
	assert_int_equal(demo_dispatch(&l->server, l, &notification, DEMO_PROC_ADD, empty, sizeof(empty)), EPROTO);
	assert_int_equal(l->handled, 0);
}

static void test_oneway(void **state)
{
	struct loop *l = *state;
	struct blobs arg = {.a = {3, (uint8_t *)(uintptr_t) "abc"}};
	uint32_t v[] = {1, 2};
	struct lists more = numbers_arg(v, 2);

	assert_int_equal(demo_tick(&l->client, &arg), 0);
	assert_int_equal(l->dispatched, 0);
	assert_int_equal(l->handled, 1);
	/* flat: not copied */
	assert_int_equal(l->seen.len, 3);
	assert_true(l->seen.data == l->buf + 4);
	assert_int_equal(demo_tock(&l->client, &more), 0);
	assert_int_equal(l->sum, 2);
	assert_int_equal(demo_ping(&l->client), 0);
	assert_int_equal(l->handled, 3);
	l->spoil_argument = true;
	assert_int_equal(demo_tick(&l->client, &arg), 0);
	assert_int_equal(l->dispatched, EBADMSG);
	assert_int_equal(demo_tock(&l->client, &more), 0);
	assert_int_equal(l->dispatched, EBADMSG);
	assert_int_equal(l->handled, 3);
	arg.a.len = 8;
	assert_int_equal(demo_tick(&l->client, &arg), EMSGSIZE);
}

/* An older server sends less, a newer one more. */
static void test_versions(void **state)
{
	struct loop *l = *state;
	TALLOC_CTX *mem = talloc_new(l);
	struct tevent_req *req = demo_fetch_send(l, ev, &l->client, 10);
	struct versioned v;
	struct ctdb_blob b;
	uint8_t longer[256] = {0};

	assert_true(tevent_req_poll(req, ev));
	assert_int_equal(demo_fetch_recv(req, mem, &v), 0);
	assert_true(v.c == 3 && v.e == BLUE && v.f.n == 0);
	assert_string_equal(v.d, "d");
	assert_int_equal(versioned_encode(mem, &v, &b), 0);
	/* a, b: version 1; c, d: version 2 */
	assert_int_equal(versioned_decode(mem, b.data, 12, &v), 0);
	assert_true(v.a == 1 && v.c == 0 && v.e == RED && v.f.n == 0);
	assert_string_equal(v.b, "b");
	assert_string_equal(v.d, "");
	assert_string_equal(v.version, "");
	assert_int_equal(versioned_decode(mem, b.data, 28, &v), 0);
	assert_true(v.c == 3 && v.e == RED);
	assert_string_equal(v.d, "d");
	assert_int_equal(versioned_decode(mem, b.data, 20, &v), EBADMSG);
	memcpy(longer, b.data, b.len);
	assert_int_equal(versioned_decode(mem, longer, sizeof(longer), &v), 0);
	assert_int_equal(v.e, BLUE);
	talloc_free(req);
	talloc_free(mem);
}

static void test_cancel(void **state)
{
	struct loop *l = *state;
	uint32_t v[] = {1};
	struct lists arg = numbers_arg(v, 1);
	struct tevent_req *req = demo_add_send(l, ev, &l->client, &arg, 10);

	talloc_free(req);
	talloc_free(l->result.data);
	assert_int_equal(tevent_loop_wait(ev), 0);
	assert_int_equal(talloc_total_blocks(l), 1);
}

static void test_names(void **state)
{
	enum colour c = RED;

	assert_string_equal(demo_proc_name(DEMO_PROC_ADD), "ADD");
	assert_string_equal(demo_proc_name(16), "STORE");
	assert_string_equal(demo_proc_name(0), "unknown");
	assert_string_equal(colour_name(NONE), "NONE");
	assert_string_equal(colour_name((enum colour)4), "unknown");
	assert_true(colour_parse("BLUE", &c));
	assert_int_equal(c, 6);
	assert_false(colour_parse("blue", &c));
	assert_int_equal(c, BLUE);
}

/* Input decides how deep a recursive type is: bounded. */
static void test_depth(void **state)
{
	TALLOC_CTX *mem = talloc_new(NULL);
	struct chain *links = talloc_zero_array(mem, struct chain, 300), out;
	struct ctdb_blob b;
	uint8_t *in = talloc_zero_size(mem, 12 * 300);

	for (int i = 0; i < 255; i++) {
		links[i].next = i < 254 ? &links[i + 1] : NULL;
	}
	assert_int_equal(chain_encode(mem, links, &b), 0);
	assert_int_equal(chain_decode(mem, b.data, b.len, &out), 0);
	for (int i = 0; i < 299; i++) {
		links[i].next = &links[i + 1];
		in[12 * i + 11] = 1;
	}
	assert_int_equal(chain_encode(mem, links, &b), EMSGSIZE);
	assert_int_equal(chain_decode(mem, in, 12 * 300, &out), EBADMSG);
	talloc_free(mem);
}

/* struct prims: all zero, 48 bytes */
#define ZEROS_16     "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
#define SAMPLE_PRIMS ZEROS_16 ZEROS_16 ZEROS_16

static void test_bounds(void **state)
{
	TALLOC_CTX *mem = talloc_new(NULL);
	struct blobs b = {.a = {8, (uint8_t *)(uintptr_t) "12345678"}};
	struct by_enum u = {.kind = GREEN, .u.text = (char *)(uintptr_t) "123456789012345678901"};
	struct ctdb_blob out = {77, NULL};
	struct by_enum v;

	assert_int_equal(blobs_validate(&b), EINVAL);
	assert_int_equal(blobs_encode(mem, &b, &out), EMSGSIZE);
	assert_int_equal(out.len, 77);
	b.a.len = 7;
	assert_int_equal(blobs_validate(&b), 0);
	b.a.data = NULL;
	assert_int_equal(blobs_validate(&b), EINVAL);
	assert_int_equal(blobs_encode(mem, &b, &out), EINVAL);
	assert_int_equal(by_enum_validate(&u), EINVAL);
	assert_int_equal(by_enum_encode(mem, &u, &out), EMSGSIZE);
	u.kind = (enum colour)3;
	assert_int_equal(by_enum_validate(&u), EINVAL);
	assert_int_equal(by_enum_encode(mem, &u, &out), EINVAL);
	u = (struct by_enum){.kind = GREEN};
	assert_int_equal(by_enum_encode(mem, &u, &out), 0);
	assert_int_equal(by_enum_decode(mem, out.data, out.len, &v), 0);
	assert_string_equal(v.u.text, "");
	out.data[3] = 4;
	assert_int_equal(by_enum_decode(mem, out.data, out.len, &v), EBADMSG);
	/* 8 bytes where 7 are allowed */
	assert_int_equal(blobs_decode(mem, (const uint8_t *)"\0\0\0\10abcdefgh\0\0\0\0" SAMPLE_PRIMS "\0\0\0", 68, &b),
			 EBADMSG);
	assert_int_equal(blobs_decode(mem, (const uint8_t *)"\0\0\0\7abcdefg\0\0\0\0\0" SAMPLE_PRIMS "\0\0\0", 68, &b),
			 0);
	/* a string with a NUL inside, a bool of 2, padding that is not zero */
	assert_int_equal(by_enum_decode(mem, (const uint8_t *)"\0\0\0\5\0\0\0\3a\0c", 12, &v), EBADMSG);
	assert_int_equal(by_enum_decode(mem, (const uint8_t *)"\0\0\0\5\0\0\0\3abc", 12, &v), 0);
	assert_int_equal(by_enum_decode(mem, (const uint8_t *)"\0\0\0\5\0\0\0\3abcd", 12, &v), EBADMSG);
	talloc_free(mem);
}

int main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_request),    TEST(test_void),   TEST(test_errors),   TEST(test_bad_argument),
		TEST(test_not_served), TEST(test_wrong_kind), TEST(test_oneway), TEST(test_versions), TEST(test_cancel),
		TEST(test_names),      TEST(test_depth),  TEST(test_bounds),
	};
	int failed;

	talloc_enable_null_tracking();
	/* tevent keeps some memory from its first use on */
	talloc_free(tevent_context_init(NULL));
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	talloc_disable_null_tracking();
	return failed;
}
