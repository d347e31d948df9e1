/* The connection of libctdbapi against a daemon that answers well, wrongly, late or not at all. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <ctdb/ctdb.h>

#include "internal.h"
#include "test_fake.h"

/* Generous, for slow machines; SHORT is for what must time out. */
#define PATIENCE_MS 20000U
#define SHORT_MS    100U

static struct ctdb_client *open_client(struct fake *f)
{
	struct ctdb_client *c = NULL;

	assert_int_equal(ctdb_open(NULL, fake_path(f), PATIENCE_MS, &c), 0);
	return c;
}

/* ---- connecting ---- */

static void test_connect(void **state)
{
	struct fake *f = fake_start(NULL, NULL);
	struct ctdb_client *c = open_client(f);

	assert_int_equal(ctdb_client_pnn(c), FAKE_PNN);
	assert_true(ctdb_client_is_connected(c));
	assert_string_equal(ctdb_client_error(c), "");
	talloc_free(c);
	fake_stop(f);
}

static void test_connect_errors(void **state)
{
	struct fake *f = fake_start(NULL, NULL);
	struct ctdb_client *c = NULL;
	char nowhere[128], longer[300];

	snprintf(nowhere, sizeof(nowhere), "%s/nowhere", fake_dir(f));
	memset(longer, 'x', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	assert_int_equal(ctdb_open(NULL, nowhere, PATIENCE_MS, &c), ENOENT);
	assert_int_equal(ctdb_open(NULL, longer, PATIENCE_MS, &c), ENAMETOOLONG);
	assert_null(c);
	fake_stop(f);
}

static void test_default_socket(void **state)
{
	char *path;

	unsetenv("CTDB_SOCKET");
	unsetenv("CTDB_BASE");
	path = ctdb_default_socket(NULL);
	assert_string_equal(path, "/run/ctdb/ctdbd.socket");
	talloc_free(path);
	setenv("CTDB_BASE", "/b", 1);
	path = ctdb_default_socket(NULL);
	assert_string_equal(path, "/b/run/ctdbd.socket");
	talloc_free(path);
	setenv("CTDB_SOCKET", "/s", 1);
	path = ctdb_default_socket(NULL);
	assert_string_equal(path, "/s");
	talloc_free(path);
	unsetenv("CTDB_SOCKET");
	unsetenv("CTDB_BASE");
}

static bool silent(struct fake *f, const struct fake_request *r, void *priv)
{
	return true;
}

static void test_connect_silent(void **state)
{
	struct fake *f = fake_start(silent, NULL);
	struct ctdb_client *c = NULL;

	assert_int_equal(ctdb_open(NULL, fake_path(f), SHORT_MS, &c), ETIMEDOUT);
	assert_null(c);
	fake_stop(f);
}

/* ---- answers ---- */

static bool is_control(const struct fake_request *r, uint32_t opcode)
{
	return r->hdr.operation == CLASSIC_REQ_CONTROL && r->control.opcode == opcode;
}

static bool node_state(struct fake *f, const struct fake_request *r, void *priv)
{
	static const uint32_t map[] = {4711, 3, 0, 1, 2};
	static const uint32_t running = CTDB_RUNSTATE_RUNNING;

	if (is_control(r, CLASSIC_CONTROL_GETVNNMAP)) {
		fake_reply_control(f, r, 0, map, sizeof(map), NULL);
	} else if (is_control(r, CLASSIC_CONTROL_GET_RECMODE)) {
		fake_reply_control(f, r, 1, NULL, 0, NULL);
	} else if (is_control(r, CLASSIC_CONTROL_GET_RUNSTATE)) {
		fake_reply_control(f, r, 0, &running, sizeof(running), NULL);
	} else if (is_control(r, CLASSIC_CONTROL_GET_PID)) {
		fake_reply_control(f, r, 99, NULL, 0, NULL);
	} else {
		return false;
	}
	return true;
}

static void test_questions(void **state)
{
	struct fake *f = fake_start(node_state, NULL);
	struct ctdb_client *c = open_client(f);
	struct ctdb_vnnmap *map = NULL;
	enum ctdb_recmode mode = CTDB_RECMODE_NORMAL;
	enum ctdb_runstate run = CTDB_RUNSTATE_UNKNOWN;
	pid_t pid = 0;

	assert_int_equal(ctdb_get_vnnmap(c, CTDB_NODE_CURRENT, c, &map), 0);
	assert_int_equal(map->generation, 4711);
	assert_int_equal(map->size, 3);
	assert_int_equal(map->map[2], 2);
	assert_int_equal(ctdb_get_recmode(c, CTDB_NODE_CURRENT, &mode), 0);
	assert_int_equal(mode, CTDB_RECMODE_ACTIVE);
	assert_int_equal(ctdb_get_runstate(c, CTDB_NODE_CURRENT, &run), 0);
	assert_int_equal(run, CTDB_RUNSTATE_RUNNING);
	assert_string_equal(ctdb_runstate_name(run), "RUNNING");
	assert_int_equal(ctdb_get_pid(c, CTDB_NODE_CURRENT, &pid), 0);
	assert_int_equal(pid, 99);
	talloc_free(c);
	fake_stop(f);
}

static bool refuse(struct fake *f, const struct fake_request *r, void *priv)
{
	if (is_control(r, CLASSIC_CONTROL_GET_PID)) {
		fake_reply_control(f, r, -1, NULL, 0, priv);
		return true;
	}
	return false;
}

static void check_refusal(const char *text, int expected)
{
	struct fake *f = fake_start(refuse, (void *)(uintptr_t)text);
	struct ctdb_client *c = open_client(f);
	pid_t pid = 42;

	assert_int_equal(ctdb_get_pid(c, 1, &pid), expected);
	assert_int_equal(pid, 42);
	assert_non_null(strstr(ctdb_client_error(c), "GET_PID"));
	if (text != NULL) {
		assert_non_null(strstr(ctdb_client_error(c), text));
	}
	assert_true(ctdb_client_is_connected(c));
	talloc_free(c);
	fake_stop(f);
}

static void test_refusals(void **state)
{
	check_refusal(NULL, EREMOTEIO);
	check_refusal("something else", EREMOTEIO);
	check_refusal("ctdb_control to disconnected node", EHOSTUNREACH);
	check_refusal("node is disconnected", EHOSTUNREACH);
	check_refusal("ctdb_control timed out", ETIMEDOUT);
}

/* ---- malformed answers: each way to be wrong, always GET_PID ---- */

enum wrong {
	WRONG_LENGTH_0,
	WRONG_LENGTH_31,
	WRONG_LENGTH_HUGE,
	WRONG_MAGIC,
	WRONG_VERSION,
	WRONG_DATALEN,
	WRONG_DATALEN_MAX,
	WRONG_ERRORLEN,
	WRONG_BODY_SHORT,
	WRONG_OPERATION,
	WRONG_MESSAGE,
	WRONG_ERROR_REPLY,
	WRONG_N,
};

static void send_header(struct fake *f, uint32_t length, uint32_t magic, uint32_t version, uint32_t reqid)
{
	uint32_t h[8] = {length, magic, version, 1, CLASSIC_REPLY_CONTROL, 0, FAKE_PNN, reqid};

	fake_bytes(f, h, sizeof(h));
	fake_bytes(f, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 16);
}

static void send_wrong(struct fake *f, enum wrong w, uint32_t reqid)
{
	static const uint32_t datalen[] = {0, 100, 0, 0}, datalen_max[] = {0, 0xFFFFFFFF, 0, 0},
			      errorlen[] = {0, 4, 0xFFFFFFF0, 0};
	static const uint32_t message[] = {1, 2, 0x7FFFFFFF, 0};

	switch (w) {
	case WRONG_LENGTH_0:
		send_header(f, 0, CLASSIC_MAGIC, 1, reqid);
		break;
	case WRONG_LENGTH_31:
		send_header(f, 31, CLASSIC_MAGIC, 1, reqid);
		break;
	case WRONG_LENGTH_HUGE:
		send_header(f, 0xFFFFFFFF, CLASSIC_MAGIC, 1, reqid);
		break;
	case WRONG_MAGIC:
		send_header(f, 48, CLASSIC_MAGIC + 1, 1, reqid);
		break;
	case WRONG_VERSION:
		send_header(f, 48, CLASSIC_MAGIC, 2, reqid);
		break;
	case WRONG_DATALEN:
		fake_packet(f, CLASSIC_REPLY_CONTROL, reqid, 0, datalen, sizeof(datalen));
		break;
	case WRONG_DATALEN_MAX:
		fake_packet(f, CLASSIC_REPLY_CONTROL, reqid, 0, datalen_max, sizeof(datalen_max));
		break;
	case WRONG_ERRORLEN:
		fake_packet(f, CLASSIC_REPLY_CONTROL, reqid, 0, errorlen, sizeof(errorlen));
		break;
	case WRONG_BODY_SHORT:
		fake_packet(f, CLASSIC_REPLY_CONTROL, reqid, 0, datalen, 8);
		break;
	case WRONG_OPERATION:
		fake_packet(f, CLASSIC_REPLY_CALL, reqid, 0, "\0\0\0\0\0\0\0\0", 8);
		break;
	case WRONG_MESSAGE:
		fake_packet(f, CLASSIC_REQ_MESSAGE, 0, 0, message, sizeof(message));
		break;
	case WRONG_ERROR_REPLY:
		fake_packet(f, CLASSIC_REPLY_ERROR, reqid, 0, "\0\0", 2);
		break;
	case WRONG_N:
	default:
		break;
	}
}

static bool wrong_answer(struct fake *f, const struct fake_request *r, void *priv)
{
	if (!is_control(r, CLASSIC_CONTROL_GET_PID)) {
		return false;
	}
	send_wrong(f, *(const enum wrong *)priv, r->hdr.reqid);
	return true;
}

/* Never a crash, never a wait for the time-out, never a value made up. */
static void test_malformed(void **state)
{
	enum wrong *w = fake_shared(sizeof(*w));

	for (*w = 0; *w < WRONG_N; (*w)++) {
		struct fake *f = fake_start(wrong_answer, w);
		struct ctdb_client *c = open_client(f);
		pid_t pid = 42;
		int err = ctdb_get_pid(c, CTDB_NODE_CURRENT, &pid);

		assert_int_equal(err, EPROTO);
		assert_int_equal(pid, 42);
		assert_string_not_equal(ctdb_client_error(c), "");
		talloc_free(c);
		fake_stop(f);
	}
}

/* A stream that cannot be trusted any more is given up. */
static void test_malformed_ends_connection(void **state)
{
	enum wrong *w = fake_shared(sizeof(*w));
	struct fake *f;
	struct ctdb_client *c;
	pid_t pid;

	*w = WRONG_LENGTH_HUGE;
	f = fake_start(wrong_answer, w);
	c = open_client(f);
	assert_int_equal(ctdb_get_pid(c, CTDB_NODE_CURRENT, &pid), EPROTO);
	assert_false(ctdb_client_is_connected(c));
	assert_int_equal(ctdb_get_pid(c, CTDB_NODE_CURRENT, &pid), ENOTCONN);
	talloc_free(c);
	fake_stop(f);
}

/* Replies whose payload is not what the control promises. */
static bool short_payload(struct fake *f, const struct fake_request *r, void *priv)
{
	static const uint32_t vnnmap[] = {5, 1000000, 1}, nodemap[] = {0xFFFFFFFF, 0};

	if (is_control(r, CLASSIC_CONTROL_GETVNNMAP)) {
		fake_reply_control(f, r, 0, vnnmap, sizeof(vnnmap), NULL);
	} else if (is_control(r, CLASSIC_CONTROL_GET_NODEMAP)) {
		fake_reply_control(f, r, 0, nodemap, sizeof(nodemap), NULL);
	} else if (is_control(r, CLASSIC_CONTROL_UPTIME)) {
		fake_reply_control(f, r, 0, nodemap, sizeof(nodemap), NULL);
	} else if (is_control(r, CLASSIC_CONTROL_GET_DBMAP)) {
		fake_reply_control(f, r, 0, vnnmap + 1, 8, NULL);
	} else if (is_control(r, CLASSIC_CONTROL_GET_RUNSTATE)) {
		fake_reply_control(f, r, 0, vnnmap, 3, NULL);
	} else {
		return false;
	}
	return true;
}

static void test_short_payloads(void **state)
{
	struct fake *f = fake_start(short_payload, NULL);
	struct ctdb_client *c = open_client(f);
	struct ctdb_vnnmap *map = NULL;
	struct ctdb_nodemap *nodes = NULL;
	struct ctdb_db_list *dbs = NULL;
	struct ctdb_uptime uptime;
	enum ctdb_runstate run;

	assert_int_equal(ctdb_get_vnnmap(c, CTDB_NODE_CURRENT, c, &map), EPROTO);
	assert_int_equal(ctdb_get_nodemap(c, CTDB_NODE_CURRENT, c, &nodes), EPROTO);
	assert_int_equal(ctdb_list_dbs(c, CTDB_NODE_CURRENT, c, &dbs), EPROTO);
	assert_int_equal(ctdb_get_uptime(c, CTDB_NODE_CURRENT, &uptime), EPROTO);
	assert_int_equal(ctdb_get_runstate(c, CTDB_NODE_CURRENT, &run), EPROTO);
	assert_null(map);
	assert_null(nodes);
	assert_null(dbs);
	assert_true(ctdb_client_is_connected(c)); /* the packets themselves were right */
	talloc_free(c);
	fake_stop(f);
}

/* ---- silence, unknown numbers, loss ---- */

static bool silent_pid(struct fake *f, const struct fake_request *r, void *priv)
{
	uint32_t *late = priv;

	if (is_control(r, CLASSIC_CONTROL_GET_PID)) {
		*late = r->hdr.reqid;
		return true;
	}
	if (is_control(r, CLASSIC_CONTROL_GET_RECMODE)) { /* now the late answer, and one that nobody asked for */
		struct fake_request old = *r, unknown = *r;

		old.hdr.reqid = *late;
		unknown.hdr.reqid = 0xABCDEF01;
		fake_reply_control(f, &old, 1, NULL, 0, NULL);
		fake_reply_control(f, &unknown, 1, NULL, 0, NULL);
		fake_reply_control(f, r, 0, NULL, 0, NULL);
		return true;
	}
	return false;
}

static void test_timeout_then_late_answer(void **state)
{
	uint32_t *late = fake_shared(sizeof(*late));
	struct fake *f = fake_start(silent_pid, late);
	struct ctdb_client *c = open_client(f);
	enum ctdb_recmode mode = CTDB_RECMODE_ACTIVE;
	pid_t pid;

	ctdb_client_set_timeout(c, SHORT_MS);
	assert_int_equal(ctdb_get_pid(c, CTDB_NODE_CURRENT, &pid), ETIMEDOUT);
	assert_non_null(strstr(ctdb_client_error(c), "100 ms"));
	ctdb_client_set_timeout(c, PATIENCE_MS);
	assert_int_equal(ctdb_get_recmode(c, CTDB_NODE_CURRENT, &mode), 0);
	assert_int_equal(mode, CTDB_RECMODE_NORMAL);
	assert_int_equal(c->n_pending, 0);
	talloc_free(c);
	fake_stop(f);
}

static bool hang_up(struct fake *f, const struct fake_request *r, void *priv)
{
	if (is_control(r, CLASSIC_CONTROL_GET_RECMODE)) {
		fake_hang_up(f);
		return true;
	}
	return is_control(r, CLASSIC_CONTROL_GET_PID); /* silent */
}

struct lost {
	unsigned int failed, lost;
	int err;
};

static void on_failed(struct tevent_req *req)
{
	struct lost *l = tevent_req_callback_data_void(req);
	pid_t pid;

	l->err = ctdb_get_pid_recv(req, &pid);
	l->failed++;
	talloc_free(req);
}

static void on_lost(void *priv, struct ctdb_client *c)
{
	struct lost *l = priv;

	l->lost++;
}

static struct ctdb_client *connect_async(struct fake *f, struct tevent_context *ev)
{
	struct ctdb_client *c = NULL;
	struct tevent_req *req = ctdb_connect_send(ev, ev, fake_path(f), PATIENCE_MS);

	assert_non_null(req);
	assert_true(tevent_req_poll(req, ev));
	assert_int_equal(ctdb_connect_recv(req, ev, &c), 0);
	talloc_free(req);
	return c;
}

/* All that waits fails at once, each with its callback; what comes later fails, too. */
static void test_loss(void **state)
{
	struct tevent_context *ev = tevent_context_init(NULL);
	struct fake *f = fake_start(hang_up, NULL);
	struct ctdb_client *c = connect_async(f, ev);
	struct lost l = {.failed = 0};
	struct tevent_req *req;
	int i;

	ctdb_client_on_lost(c, on_lost, &l);
	for (i = 0; i < 5; i++) {
		req = ctdb_get_pid_send(c, c, CTDB_NODE_CURRENT);
		assert_non_null(req);
		tevent_req_set_callback(req, on_failed, &l);
	}
	req = ctdb_get_recmode_send(c, c, CTDB_NODE_CURRENT);
	tevent_req_set_callback(req, on_failed, &l);
	while (l.failed < 6) {
		assert_int_equal(tevent_loop_once(ev), 0);
		assert_int_equal(l.failed > 0 ? l.err : ENOTCONN, ENOTCONN);
	}
	assert_int_equal(l.lost, 1);
	assert_false(ctdb_client_is_connected(c));
	assert_int_equal(ctdb_post_message(c, 0, 1, (struct ctdb_data){0}), ENOTCONN);
	talloc_free(ev);
	fake_stop(f);
}

/* Requests that outlive the client fail and can still be freed. */
static void test_client_freed_first(void **state)
{
	struct tevent_context *ev = tevent_context_init(NULL);
	struct fake *f = fake_start(hang_up, NULL);
	struct ctdb_client *c = connect_async(f, ev);
	struct lost l = {.failed = 0};
	struct tevent_req *req = ctdb_get_pid_send(ev, c, CTDB_NODE_CURRENT);

	tevent_req_set_callback(req, on_failed, &l);
	talloc_free(c);
	while (l.failed == 0) {
		assert_int_equal(tevent_loop_once(ev), 0);
	}
	assert_int_equal(l.err, ENOTCONN);
	talloc_free(ev);
	fake_stop(f);
}

/* A request that is freed leaves nothing behind; its answer finds nobody. */
static void test_cancel(void **state)
{
	uint32_t *late = fake_shared(sizeof(*late));
	struct fake *f = fake_start(silent_pid, late);
	struct ctdb_client *c = open_client(f);
	struct tevent_req *req = ctdb_get_pid_send(c, c, CTDB_NODE_CURRENT);
	enum ctdb_recmode mode;

	assert_int_equal(c->n_pending, 1);
	talloc_free(req);
	assert_int_equal(c->n_pending, 0);
	assert_int_equal(ctdb_get_recmode(c, CTDB_NODE_CURRENT, &mode), 0);
	talloc_free(c);
	fake_stop(f);
}

/* ---- the two kinds of client ---- */

static void test_wrong_kind(void **state)
{
	struct tevent_context *ev = tevent_context_init(NULL);
	struct fake *f = fake_start(node_state, NULL);
	struct ctdb_client *c = connect_async(f, ev);
	pid_t pid;

	assert_int_equal(ctdb_get_pid(c, CTDB_NODE_CURRENT, &pid), EINVAL);
	assert_int_equal(ctdb_client_wait(c, 0, NULL), EINVAL);
	assert_int_equal(c->n_pending, 0); /* nothing was sent */
	talloc_free(ev);
	fake_stop(f);
}

/* ---- bounds ---- */

static void test_queue_bound(void **state)
{
	struct fake *f = fake_start(silent, NULL);
	struct tevent_context *ev = tevent_context_init(NULL);
	struct ctdb_client *c;
	size_t len = 32 * 1024 * 1024;
	uint8_t *data = calloc(1, len);
	int fds[2], err = 0, n;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0); /* nobody reads */
	c = client_new(ev, ev, fds[0], PATIENCE_MS);
	assert_non_null(data);
	for (n = 0; err == 0; n++) {
		assert_true(n < 6);
		err = ctdb_post_message(c, CTDB_NODES_ALL, 1, (struct ctdb_data){.data = data, .len = len});
	}
	assert_int_equal(err, ENOBUFS);
	assert_true(ctdb_client_is_connected(c));
	assert_int_equal(ctdb_post_message(c, 0, 1, (struct ctdb_data){.data = data, .len = CLASSIC_DATA_MAX + 1ULL}),
			 EMSGSIZE);
	talloc_free(ev);
	close(fds[1]);
	free(data);
	fake_stop(f);
}

static bool large_answer(struct fake *f, const struct fake_request *r, void *priv)
{
	static uint8_t data[3000000];

	if (!is_control(r, 9999)) {
		return false;
	}
	memset(data, 0x5A, sizeof(data));
	fake_reply_control(f, r, 7, data, sizeof(data), "words");
	return true;
}

/* Larger than every buffer, in pieces; and the library goes on with small packets. */
static void test_large_answer(void **state)
{
	struct fake *f = fake_start(large_answer, NULL);
	struct ctdb_client *c = open_client(f);
	struct ctdb_control k = {.node = CTDB_NODE_CURRENT, .opcode = 9999};
	struct ctdb_control_reply *reply = NULL;
	int i;

	for (i = 0; i < 3; i++) {
		assert_int_equal(ctdb_control(c, &k, c, &reply), 0);
		assert_int_equal(reply->status, 7);
		assert_int_equal(reply->data.len, 3000000);
		assert_int_equal(reply->data.data[2999999], 0x5A);
		assert_string_equal(reply->error, "words");
		talloc_free(reply);
	}
	talloc_free(c);
	fake_stop(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_connect),        cmocka_unit_test(test_connect_errors),
		cmocka_unit_test(test_default_socket), cmocka_unit_test(test_connect_silent),
		cmocka_unit_test(test_questions),      cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_malformed),      cmocka_unit_test(test_malformed_ends_connection),
		cmocka_unit_test(test_short_payloads), cmocka_unit_test(test_timeout_then_late_answer),
		cmocka_unit_test(test_loss),           cmocka_unit_test(test_client_freed_first),
		cmocka_unit_test(test_cancel),         cmocka_unit_test(test_wrong_kind),
		cmocka_unit_test(test_queue_bound),    cmocka_unit_test(test_large_answer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
