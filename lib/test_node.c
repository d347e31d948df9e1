/* Questions and orders to nodes: what goes out, and what each kind of answer becomes. */
#include "test_world.h"

#include "protocol/classic_native.h"

static struct world *setup(void)
{
	struct ctdb_server_handlers h = world_handlers();

	return world_new(&h);
}

static void assert_sent(const struct world *w, uint32_t opcode, uint32_t node, const void *data, size_t len)
{
	assert_int_equal(w->control.opcode, opcode);
	assert_int_equal(w->destnode, node);
	assert_int_equal(w->len, len);
	assert_memory_equal(w->data, data, len);
}

/* ---- liveness ---- */

static void test_exists(void **state)
{
	struct world *w = setup();
	struct {
		int32_t pid;
		uint64_t srvid;
	} __attribute__((packed)) pid_srvid = {4711, 1ULL << 50};
	bool yes = false;

	assert_int_equal(RUN(w, ctdb_process_exists_send(w, w->c, 1, 4711), ctdb_process_exists_recv(req, &yes)), 0);
	assert_true(yes);
	assert_sent(w, CLASSIC_CONTROL_PROCESS_EXISTS, 1, &pid_srvid.pid, 4);
	assert_int_equal(
		RUN(w, ctdb_pid_srvid_exists_send(w, w->c, 2, 4711, 1ULL << 50), ctdb_pid_srvid_exists_recv(req, &yes)),
		0);
	assert_true(yes);
	assert_sent(w, CLASSIC_CONTROL_CHECK_PID_SRVID, 2, &pid_srvid, 12);
	w->status = -1;
	assert_int_equal(RUN(w, ctdb_process_exists_send(w, w->c, 1, 4711), ctdb_process_exists_recv(req, &yes)), 0);
	assert_false(yes);
	w->error = "ctdb_control to disconnected node"; /* nobody knows */
	assert_int_equal(RUN(w, ctdb_process_exists_send(w, w->c, 1, 4711), ctdb_process_exists_recv(req, &yes)),
			 EHOSTUNREACH);
	world_free(w);
}

static void test_numbers(void **state)
{
	struct world *w = setup();
	uint32_t v, caps = CTDB_CAP_LEADER | CTDB_CAP_LMASTER;
	int32_t level = 0, wanted = -3;

	w->answer = data_of(&caps, 4);
	assert_int_equal(RUN(w, ctdb_get_capabilities_send(w, w->c, 0), ctdb_get_capabilities_recv(req, &v)), 0);
	assert_int_equal(v, caps);
	w->answer = data_of(&wanted, 4);
	assert_int_equal(RUN(w, ctdb_get_debug_level_send(w, w->c, 0), ctdb_get_debug_level_recv(req, &level)), 0);
	assert_int_equal(level, -3);
	w->answer = (struct ctdb_data){0};
	assert_int_equal(RUN(w, ctdb_set_debug_level_send(w, w->c, 0, -3), ctdb_set_debug_level_recv(req)), 0);
	assert_sent(w, CLASSIC_CONTROL_SET_DEBUG, 0, &wanted, 4);
	assert_int_equal(RUN(w, ctdb_get_capabilities_send(w, w->c, 0), ctdb_get_capabilities_recv(req, &v)), EPROTO);
	world_free(w);
}

/* ---- orders ---- */

static void test_flags(void **state)
{
	struct world *w = setup();
	uint32_t ban[2] = {WORLD_PNN, 60}, seconds = 0;

	assert_int_equal(RUN(w, ctdb_stop_node_send(w, w->c, 1), ctdb_stop_node_recv(req)), 0);
	assert_sent(w, CLASSIC_CONTROL_STOP_NODE, 1, NULL, 0);
	assert_int_equal(RUN(w, ctdb_continue_node_send(w, w->c, 1), ctdb_continue_node_recv(req)), 0);
	assert_sent(w, CLASSIC_CONTROL_CONTINUE_NODE, 1, NULL, 0);
	assert_int_equal(RUN(w, ctdb_disable_node_send(w, w->c, 1), ctdb_disable_node_recv(req)), 0);
	assert_sent(w, CLASSIC_CONTROL_DISABLE_NODE, 1, NULL, 0);
	assert_int_equal(RUN(w, ctdb_enable_node_send(w, w->c, 1), ctdb_enable_node_recv(req)), 0);
	assert_sent(w, CLASSIC_CONTROL_ENABLE_NODE, 1, NULL, 0);
	assert_int_equal(RUN(w, ctdb_ban_node_send(w, w->c, CTDB_NODE_CURRENT, 60), ctdb_ban_node_recv(req)), 0);
	assert_sent(w, CLASSIC_CONTROL_SET_BAN_STATE, CTDB_NODE_CURRENT, ban, 8);
	w->answer = data_of(ban, 8);
	assert_int_equal(RUN(w, ctdb_get_ban_state_send(w, w->c, 0), ctdb_get_ban_state_recv(req, &seconds)), 0);
	assert_int_equal(seconds, 60);
	w->status = -1;
	assert_int_equal(RUN(w, ctdb_stop_node_send(w, w->c, 1), ctdb_stop_node_recv(req)), EREMOTEIO);
	assert_non_null(strstr(ctdb_client_error(w->c), "STOP_NODE"));
	world_free(w);
}

static void hang_up(struct world *w, struct ctdb_server_request *req, const struct ctdb_wire_req_control *k)
{
	ctdb_server_conn_close(ctdb_server_request_conn(req));
}

static void test_shutdown(void **state)
{
	struct world *w = setup();

	w->status = -1;
	w->error = "ctdb_control to disconnected node";
	assert_int_equal(RUN(w, ctdb_shutdown_node_send(w, w->c, 1), ctdb_shutdown_node_recv(req)), EHOSTUNREACH);
	w->error = "node is disconnected";
	assert_int_equal(RUN(w, ctdb_shutdown_node_send(w, w->c, 1), ctdb_shutdown_node_recv(req)), 0);
	w->error = NULL;
	assert_int_equal(RUN(w, ctdb_shutdown_node_send(w, w->c, 1), ctdb_shutdown_node_recv(req)), EREMOTEIO);
	w->extra = hang_up; /* as daemons do */
	assert_int_equal(RUN(w, ctdb_shutdown_node_send(w, w->c, CTDB_NODE_CURRENT), ctdb_shutdown_node_recv(req)), 0);
	assert_false(ctdb_client_is_connected(w->c));
	assert_int_equal(RUN(w, ctdb_shutdown_node_send(w, w->c, CTDB_NODE_CURRENT), ctdb_shutdown_node_recv(req)),
			 ENOTCONN);
	world_free(w);
}

/* ---- tunables ---- */

static void test_tunables(void **state)
{
	static const struct {
		uint32_t value, len;
		char name[7];
	} __attribute__((packed)) set = {5, 7, "Enable"};
	static const struct {
		uint32_t len;
		char text[8];
	} list = {8, ":One:Tw"};
	struct world *w = setup();
	struct ctdb_tunable_list *names = NULL;
	uint32_t v = 9;
	bool obsolete = true;

	assert_int_equal(RUN(w, ctdb_set_tunable_send(w, w->c, 0, "Enable", 5), ctdb_set_tunable_recv(req, &obsolete)),
			 0);
	assert_false(obsolete);
	assert_sent(w, CLASSIC_CONTROL_SET_TUNABLE, 0, &set, 15);
	w->status = 1;
	assert_int_equal(RUN(w, ctdb_set_tunable_send(w, w->c, 0, "Enable", 5), ctdb_set_tunable_recv(req, &obsolete)),
			 0);
	assert_true(obsolete);
	w->status = -1;
	assert_int_equal(RUN(w, ctdb_set_tunable_send(w, w->c, 0, "x", 5), ctdb_set_tunable_recv(req, NULL)), ENOENT);
	w->status = -22;
	assert_int_equal(RUN(w, ctdb_get_tunable_send(w, w->c, 0, "x"), ctdb_get_tunable_recv(req, &v)), ENOENT);
	w->status = 0;
	w->answer = data_of(&v, 4);
	assert_int_equal(RUN(w, ctdb_get_tunable_send(w, w->c, 0, "Enable"), ctdb_get_tunable_recv(req, &v)), 0);
	assert_sent(w, CLASSIC_CONTROL_GET_TUNABLE, 0, &set.len, 11);
	w->answer = data_of(&list, 12);
	assert_int_equal(RUN(w, ctdb_list_tunables_send(w, w->c, 0), ctdb_list_tunables_recv(req, w, &names)), 0);
	assert_int_equal(names->n, 2);
	assert_string_equal(names->names[0], "One");
	assert_string_equal(names->names[1], "Tw");
	w->answer = data_of(&list, 9);
	assert_int_equal(RUN(w, ctdb_list_tunables_send(w, w->c, 0), ctdb_list_tunables_recv(req, w, &names)), EPROTO);
	world_free(w);
}

/* ---- addresses, statistics ---- */

static void test_addresses(void **state)
{
	struct world *w = setup();
	struct ctdb_public_ip ip = {.pnn = 2};
	struct ctdb_public_ip_list list = {.n = 1, .ips = &ip}, *out = NULL;
	struct ctdb_iface eth = {.name = "eth0", .up = true};
	struct ctdb_public_ip_info info = {.n_ifaces = 1, .ifaces = &eth, .active = &eth}, *info_out = NULL;
	struct ctdb_data addr;

	assert_int_equal(ctdb_addr_parse("10.0.0.9", &ip.addr), 0);
	assert_int_equal(ctdb_wire_put_public_ips(w, &list, &w->answer), 0);
	assert_int_equal(RUN(w, ctdb_get_public_ips_send(w, w->c, 1, true), ctdb_get_public_ips_recv(req, w, &out)), 0);
	assert_int_equal(w->control.flags, CLASSIC_PUBLIC_IP_FLAGS_ONLY_AVAILABLE);
	assert_int_equal(out->ips[0].pnn, 2);
	assert_int_equal(RUN(w, ctdb_get_public_ips_send(w, w->c, 1, false), ctdb_get_public_ips_recv(req, w, &out)),
			 0);
	assert_int_equal(w->control.flags, 0);
	info.ip = ip;
	assert_int_equal(ctdb_wire_put_public_ip_info(w, &info, &w->answer), 0);
	assert_int_equal(ctdb_wire_put_addr(w, &ip.addr, &addr), 0);
	assert_int_equal(RUN(w, ctdb_get_public_ip_info_send(w, w->c, 1, &ip.addr),
			     ctdb_get_public_ip_info_recv(req, w, &info_out)),
			 0);
	assert_sent(w, CLASSIC_CONTROL_GET_PUBLIC_IP_INFO, 1, addr.data, addr.len);
	assert_string_equal(info_out->active->name, "eth0");
	w->status = -1;
	assert_int_equal(RUN(w, ctdb_get_public_ip_info_send(w, w->c, 1, &ip.addr),
			     ctdb_get_public_ip_info_recv(req, w, &info_out)),
			 ENOENT);
	world_free(w);
}

static void test_statistics(void **state)
{
	struct world *w = setup();
	struct ctdb_statistics in = {.clients = 3}, *out = NULL;
	struct ctdb_db_statistics *db = NULL;
	uint32_t id = 0xABCD;
	uint8_t zeros[464] = {0};

	assert_int_equal(ctdb_wire_put_statistics(w, &in, &w->answer), 0);
	assert_int_equal(RUN(w, ctdb_get_statistics_send(w, w->c, 1), ctdb_get_statistics_recv(req, w, &out)), 0);
	assert_int_equal(out->clients, 3);
	assert_int_equal(RUN(w, ctdb_reset_statistics_send(w, w->c, 1), ctdb_reset_statistics_recv(req)), 0);
	assert_int_equal(w->control.opcode, CLASSIC_CONTROL_STATISTICS_RESET);
	w->answer = data_of(zeros, sizeof(zeros));
	assert_int_equal(RUN(w, ctdb_get_db_statistics_send(w, w->c, 1, id), ctdb_get_db_statistics_recv(req, w, &db)),
			 0);
	assert_sent(w, CLASSIC_CONTROL_GET_DB_STATISTICS, 1, &id, 4);
	assert_int_equal(db->n_hot_keys, 0);
	assert_int_equal(RUN(w, ctdb_set_db_readonly_send(w, w->c, 1, id), ctdb_set_db_readonly_recv(req)), 0);
	assert_sent(w, CLASSIC_CONTROL_SET_DB_READONLY, 1, &id, 4);
	assert_int_equal(RUN(w, ctdb_set_db_sticky_send(w, w->c, 1, id), ctdb_set_db_sticky_recv(req)), 0);
	assert_sent(w, CLASSIC_CONTROL_SET_DB_STICKY, 1, &id, 4);
	assert_int_equal(RUN(w, ctdb_detach_db_send(w, w->c, 1, id), ctdb_detach_db_recv(req)), 0);
	assert_sent(w, CLASSIC_CONTROL_DB_DETACH, 1, &id, 4);
	world_free(w);
}

/* ---- the gateway ---- */

static void gateway(struct world *w, struct ctdb_server_request *req, const struct ctdb_wire_req_control *k)
{
	struct classic_interface_call call;
	struct classic_interface_reply reply = {.status = w->status};
	struct ctdb_blob bytes;

	assert_int_equal(k->opcode, 513);
	assert_int_equal(classic_interface_call_ndecode(req, k->data.data, k->data.len, &call, NULL), 0);
	assert_int_equal(call.interface, 0x1234);
	assert_int_equal(call.version, 2);
	assert_int_equal(call.procedure, 3);
	assert_int_equal(call.timeout_ms, 60000);
	assert_int_equal(call.node, 2);
	assert_string_equal(call.endpoint, "transport");
	if (w->status == 0) {
		reply.result = call.payload; /* an echo */
	}
	assert_int_equal(classic_interface_reply_nencode(req, &reply, &bytes), 0);
	ctdb_server_reply_control(req, 0, data_of_blob(bytes), NULL);
}

static void test_interface(void **state)
{
	struct world *w = setup();
	struct ctdb_interface_call call = {.node = 2,
					   .endpoint = "transport",
					   .interface = 0x1234,
					   .version = 2,
					   .procedure = 3,
					   .payload = data_of("question", 8),
					   .timeout_ms = 60000};
	struct ctdb_data result = {0};
	int32_t status = -1;

#define CALL(w) RUN(w, ctdb_interface_call_send(w, (w)->c, &call), ctdb_interface_call_recv(req, w, &status, &result))
	w->extra = gateway;
	assert_int_equal(CALL(w), 0);
	assert_int_equal(status, 0);
	assert_int_equal(result.len, 8);
	assert_memory_equal(result.data, "question", 8);
	assert_int_equal(w->destnode, CTDB_NODE_CURRENT);
	w->status = EHOSTUNREACH;
	assert_int_equal(CALL(w), 0);
	assert_int_equal(status, EHOSTUNREACH);
	assert_int_equal(result.len, 0);
	assert_non_null(strstr(ctdb_client_error(w->c), "transport@2"));
	w->extra = NULL; /* a daemon that knows no such control */
	w->status = -1;
	assert_int_equal(CALL(w), ENOSYS);
	w->error = "too many interface calls of this client"; /* one that does */
	assert_int_equal(CALL(w), EREMOTEIO);
	assert_non_null(strstr(ctdb_client_error(w->c), "too many"));
	w->error = NULL;
	w->status = 0;
	w->answer = data_of("x", 1);
	assert_int_equal(CALL(w), EPROTO);
	call.endpoint = "";
	assert_int_equal(CALL(w), EINVAL);
	call.endpoint = "a-name-that-is-too-long-to-be-the-name-of-an-endpoint-of-any-daemon";
	assert_int_equal(CALL(w), EINVAL);
	world_free(w);
}

/* The client waits longer than the endpoint has; it does not wait for ever. */
static void test_interface_silent(void **state)
{
	struct world *w = setup();
	struct ctdb_interface_call call = {.endpoint = "db", .timeout_ms = 1};
	struct ctdb_data result = {0};
	int32_t status = -1;

	w->silent = true;
	assert_int_equal(CALL(w), ETIMEDOUT);
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_exists),
		cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_flags),
		cmocka_unit_test(test_shutdown),
		cmocka_unit_test(test_tunables),
		cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_statistics),
		cmocka_unit_test(test_interface),
		cmocka_unit_test(test_interface_silent),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
