/* The server side: life of connections, requests answered late, never or wrongly, messages, bounds. */
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "test_world.h"

static int raw_connect(const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	assert_int_equal(connect(fd, (const struct sockaddr *)&addr, sizeof(addr)), 0);
	return fd;
}

static void test_listen_errors(void **state)
{
	struct ctdb_server_handlers h = world_handlers();
	struct world *w = world_new(&h);
	struct ctdb_server *other = NULL;
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	char longer[300], path[100];
	struct stat st;
	int fd;

	memset(longer, 'x', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	assert_int_equal(ctdb_server_listen(w, w->ev, longer, &h, w, &other), ENAMETOOLONG);
	assert_int_equal(ctdb_server_listen(w, w->ev, w->path, &h, w, &other), EADDRINUSE);
	assert_int_equal(stat(w->path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
	/* One that a dead server left is replaced. */
	snprintf(path, sizeof(path), "%s/old", w->dir);
	memcpy(addr.sun_path, path, sizeof(path));
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(bind(fd, (const struct sockaddr *)&addr, sizeof(addr)), 0);
	close(fd);
	assert_int_equal(ctdb_server_listen(w, w->ev, path, &h, w, &other), 0);
	talloc_free(other);
	assert_int_equal(access(path, F_OK), -1);
	world_free(w);
}

static void test_conn(void **state)
{
	struct ctdb_server_handlers h = world_handlers();
	struct world *w = world_new(&h);
	struct ctdb_client *second;

	assert_int_equal(ctdb_client_pnn(w->c), WORLD_PNN);
	assert_int_equal(w->connected, 1);
	assert_int_equal(ctdb_server_conn_pid(w->conn), getpid());
	assert_int_equal(ctdb_server_conn_uid(w->conn), getuid());
	ctdb_server_conn_set_private(w->conn, w);
	assert_ptr_equal(ctdb_server_conn_private(w->conn), w);
	second = world_connect(w, PATIENCE_MS);
	assert_int_equal(ctdb_server_n_conns(w->server), 2);
	talloc_free(second);
	LOOP_UNTIL(w, w->closed == 1);
	assert_int_equal(ctdb_server_n_conns(w->server), 1);
	world_free(w);
}

static void on_lost(void *priv, struct ctdb_client *c)
{
	*(bool *)priv = true;
}

static void test_close(void **state)
{
	struct ctdb_server_handlers h = world_handlers();
	struct world *w = world_new(&h);
	bool lost = false;

	ctdb_client_on_lost(w->c, on_lost, &lost);
	ctdb_server_conn_close(w->conn);
	assert_int_equal(ctdb_server_send_message(w->conn, 1, (struct ctdb_data){0}), ENOTCONN);
	LOOP_UNTIL(w, lost);
	assert_int_equal(w->closed, 1);
	world_free(w);
}

/* An answer may come much later, others before it. */
static void test_late_answer(void **state)
{
	struct ctdb_server_handlers h = world_handlers();
	struct world *w = world_new(&h);
	struct tevent_req *first, *second;
	enum ctdb_runstate runstate;
	uint32_t running = CTDB_RUNSTATE_RUNNING;
	uint32_t n;

	w->silent = true;
	first = ctdb_ping_send(w, w->c, CTDB_NODE_CURRENT);
	LOOP_UNTIL(w, w->held != NULL);
	w->silent = false;
	w->answer = data_of(&running, sizeof(running));
	second = run(w, ctdb_get_runstate_send(w, w->c, 1));
	assert_int_equal(ctdb_get_runstate_recv(second, &runstate), 0);
	assert_int_equal(runstate, CTDB_RUNSTATE_RUNNING);
	assert_int_equal(w->destnode, 1);
	ctdb_server_reply_control(w->held, 12, (struct ctdb_data){0}, NULL);
	assert_int_equal(ctdb_ping_recv(run(w, first), &n), 0);
	assert_int_equal(n, 12);
	talloc_free(first);
	talloc_free(second);
	world_free(w);
}

/* A request that is freed without an answer has failed; one whose client went is freed. */
static int count_free(unsigned int **n)
{
	(**n)++;
	return 0;
}

static void test_no_answer(void **state)
{
	struct ctdb_server_handlers h = world_handlers();
	struct world *w = world_new(&h);
	struct tevent_req *req;
	unsigned int freed = 0, **below;
	uint32_t n;

	w->silent = true;
	req = ctdb_ping_send(w, w->c, CTDB_NODE_CURRENT);
	LOOP_UNTIL(w, w->held != NULL);
	talloc_free(w->held);
	assert_int_equal(ctdb_ping_recv(run(w, req), &n), EREMOTEIO);
	talloc_free(req);
	w->held = NULL;
	req = ctdb_ping_send(w, w->c, CTDB_NODE_CURRENT);
	LOOP_UNTIL(w, w->held != NULL);
	below = talloc(w->held, unsigned int *);
	*below = &freed;
	talloc_set_destructor(below, count_free);
	talloc_free(w->c);
	w->c = NULL;
	LOOP_UNTIL(w, w->closed == 1);
	assert_int_equal(freed, 1);
	talloc_free(req);
	world_free(w);
}

static void no_pnn(void *priv, struct ctdb_server_request *req, const struct ctdb_wire_req_control *k)
{
	ctdb_server_reply_error(req, -1, "starting");
}

static void test_error_reply(void **state)
{
	static const struct ctdb_server_control controls[] = {{CLASSIC_CONTROL_GET_PNN, world_get_pnn},
							      {CLASSIC_CONTROL_PING, no_pnn}};
	struct ctdb_server_handlers h = world_handlers();
	struct world *w;
	uint32_t n;

	h.controls = controls;
	h.n_controls = 2;
	w = world_new(&h);
	assert_int_equal(RUN(w, ctdb_ping_send(w, w->c, 0), ctdb_ping_recv(req, &n)), EREMOTEIO);
	assert_non_null(strstr(ctdb_client_error(w->c), "starting"));
	world_free(w);
}

/* Without a handler for calls and other controls these fail, they do not hang. */
static void test_no_handlers(void **state)
{
	struct ctdb_server_handlers h = world_handlers();
	struct world *w;
	struct ctdb_data data;
	uint32_t n;

	h.control = NULL;
	w = world_new(&h);
	assert_int_equal(RUN(w, ctdb_ping_send(w, w->c, 0), ctdb_ping_recv(req, &n)), EREMOTEIO);
	assert_int_equal(
		RUN(w, call_send(w, w->c, 1, CTDB_WIRE_CALL_FETCH, 0, data_of("k", 1)), call_recv(req, w, &data)),
		EREMOTEIO);
	assert_int_equal(ctdb_post_message(w->c, 0, 5, data_of("m", 1)), 0);
	world_free(w);
}

static void count_message(void *priv, uint64_t srvid, struct ctdb_data data)
{
	unsigned int *n = priv;

	assert_int_equal(data.len, 5);
	assert_memory_equal(data.data, "hello", 5);
	(*n)++;
}

static void test_publish(void **state)
{
	struct ctdb_server_handlers h = world_handlers();
	struct ctdb_listener *l = NULL;
	struct world *w;
	unsigned int n = 0;

	h.control = NULL; /* registrations are kept all the same */
	w = world_new(&h);
	assert_int_equal(RUN(w, ctdb_listen_send(w, w->c, 77, count_message, &n), ctdb_listen_recv(req, w, &l)), 0);
	assert_int_equal(ctdb_server_publish(w->server, 78, data_of("hello", 5)), 0);
	assert_int_equal(ctdb_server_publish(w->server, 77, data_of("hello", 5)), 1);
	LOOP_UNTIL(w, n == 1);
	assert_int_equal(ctdb_server_conn_register(w->conn, CTDB_SRVID_ALL), 0);
	assert_int_equal(ctdb_server_publish(w->server, 77, data_of("hello", 5)), 2);
	LOOP_UNTIL(w, n == 3);
	assert_int_equal(ctdb_server_conn_deregister(w->conn, CTDB_SRVID_ALL), 0);
	assert_int_equal(ctdb_server_conn_deregister(w->conn, CTDB_SRVID_ALL), ENOENT);
	talloc_free(l);
	while (ctdb_server_publish(w->server, 77, data_of("hello", 5)) != 0) { /* until the deregistration has come */
		assert_int_equal(tevent_loop_once(w->ev), 0);
	}
	world_free(w);
}

/* Malformed bytes end that connection, and only that. */
static void test_malformed(void **state)
{
	struct ctdb_server_handlers h = world_handlers();
	struct world *w = world_new(&h);
	uint8_t byte;
	uint32_t unknown[8] = {32, 0x43544442, 1, 0, 42, 0, 0, 0}, bad[8] = {32, 1234}, n;
	int fd = raw_connect(w->path);

	assert_int_equal(send(fd, unknown, sizeof(unknown), MSG_NOSIGNAL), sizeof(unknown)); /* skipped */
	assert_int_equal(send(fd, bad, 16, MSG_NOSIGNAL), 16);
	LOOP_UNTIL(w, w->connected == 2);
	assert_int_equal(w->closed, 0);
	assert_int_equal(send(fd, bad + 4, 16, MSG_NOSIGNAL), 16);
	LOOP_UNTIL(w, w->closed == 1);
	assert_int_equal(recv(fd, &byte, 1, 0), 0);
	close(fd);
	w->status = 5;
	assert_int_equal(RUN(w, ctdb_ping_send(w, w->c, 0), ctdb_ping_recv(req, &n)), 0);
	assert_int_equal(n, 5);
	world_free(w);
}

/* A client of the library gives up a server that sends nonsense. */
static void test_send_bytes(void **state)
{
	struct ctdb_server_handlers h = world_handlers();
	struct world *w = world_new(&h);
	uint32_t nonsense[3] = {1, 2, 3};
	bool lost = false;

	ctdb_client_on_lost(w->c, on_lost, &lost);
	assert_int_equal(ctdb_server_send_bytes(w->conn, data_of(nonsense, sizeof(nonsense))), 0);
	LOOP_UNTIL(w, lost);
	assert_non_null(strstr(ctdb_client_error(w->c), "malformed"));
	world_free(w);
}

/* Who does not read is given up before much memory is spent; others are not concerned. */
static void test_slow_reader(void **state)
{
	struct ctdb_server_handlers h = world_handlers();
	struct world *w = world_new(&h);
	size_t len = 48U * 1024 * 1024;
	uint8_t *bytes = talloc_zero_size(w, len);
	int fd = raw_connect(w->path), i;
	uint32_t n;

	LOOP_UNTIL(w, w->connected == 2);
	assert_non_null(bytes);
	for (i = 0; i < 2; i++) {
		assert_int_equal(ctdb_server_send_bytes(w->conn, data_of(bytes, len)), 0);
	}
	assert_int_equal(ctdb_server_send_bytes(w->conn, data_of(bytes, len)), ENOTCONN);
	LOOP_UNTIL(w, w->closed == 1);
	close(fd);
	w->status = 5;
	assert_int_equal(RUN(w, ctdb_ping_send(w, w->c, 0), ctdb_ping_recv(req, &n)), 0);
	world_free(w);
}

/* More requests than may wait: the rest is read when some are answered; all are answered in the end. */
#define MANY 5000U
static void keep(struct world *w, struct ctdb_server_request *req, const struct ctdb_wire_req_control *k)
{
	w->held = req;
}

static void count_done(struct tevent_req *req)
{
	unsigned int *n = tevent_req_callback_data_void(req);

	(*n)++;
}

static void test_many(void **state)
{
	struct ctdb_server_handlers h = world_handlers();
	struct world *w = world_new(&h);
	struct tevent_req *reqs[MANY];
	unsigned int done = 0, i;

	w->extra = keep;
	for (i = 0; i < MANY; i++) {
		reqs[i] = ctdb_ping_send(w, w->c, 0);
		assert_non_null(reqs[i]);
		tevent_req_set_callback(reqs[i], count_done, &done);
	}
	LOOP_UNTIL(w, w->n_controls == 4096);
	w->extra = NULL;
	ctdb_server_reply_control(w->held, 0, (struct ctdb_data){0}, NULL);
	/* Now one place is free: what comes in there is answered at once, and frees it again. */
	LOOP_UNTIL(w, done == MANY - 4095);
	assert_int_equal(w->n_controls, MANY);
	for (i = 0; i < MANY; i++) {
		talloc_free(reqs[i]);
	}
	world_free(w);
}

/* Freeing the server from a handler. */
static void end_of_server(struct world *w, struct ctdb_server_request *req, const struct ctdb_wire_req_control *k)
{
	TALLOC_FREE(w->server);
}

static void test_free_in_handler(void **state)
{
	struct ctdb_server_handlers h = world_handlers();
	struct world *w = world_new(&h);
	uint32_t n;

	w->extra = end_of_server;
	assert_int_equal(RUN(w, ctdb_ping_send(w, w->c, 0), ctdb_ping_recv(req, &n)), ENOTCONN);
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_listen_errors),
		cmocka_unit_test(test_conn),
		cmocka_unit_test(test_close),
		cmocka_unit_test(test_late_answer),
		cmocka_unit_test(test_no_answer),
		cmocka_unit_test(test_error_reply),
		cmocka_unit_test(test_no_handlers),
		cmocka_unit_test(test_publish),
		cmocka_unit_test(test_malformed),
		cmocka_unit_test(test_send_bytes),
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_slow_reader),
		cmocka_unit_test(test_free_in_handler),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
