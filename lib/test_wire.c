/* Packets and payloads as bytes: both directions, every cut. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <ctdb/ctdb.h>

#include "internal.h"

static struct ctdb_data text(const char *s)
{
	return data_of(s, strlen(s));
}

static void assert_data(struct ctdb_data a, struct ctdb_data b)
{
	assert_int_equal(a.len, b.len);
	if (a.len > 0) {
		assert_memory_equal(a.data, b.data, a.len);
	}
}

/* ---- packets ---- */

static struct ctdb_wire_packet samples(unsigned int i)
{
	struct ctdb_wire_packet p = {.generation = 17, .destnode = 2, .srcnode = 1, .reqid = 99};

	switch (i) {
	case 0:
		p.operation = CTDB_WIRE_REQ_CALL;
		p.u.call = (struct ctdb_wire_req_call){.flags = CTDB_WIRE_CALL_WANT_READONLY,
						       .db_id = 7,
						       .callid = CTDB_WIRE_CALL_FETCH,
						       .hopcount = 3,
						       .key = text("key"),
						       .calldata = text("calldata")};
		break;
	case 1:
		p.operation = CTDB_WIRE_REPLY_CALL;
		p.u.reply_call = (struct ctdb_wire_reply_call){.status = -5, .data = text("data")};
		break;
	case 2:
		p.operation = CTDB_WIRE_REPLY_ERROR;
		p.u.error = (struct ctdb_wire_reply_error){.status = -1, .text = data_of("no", 3)};
		break;
	case 3:
		p.operation = CTDB_WIRE_REQ_MESSAGE;
		p.u.message = (struct ctdb_wire_req_message){.srvid = CTDB_SRVID_TEST | 1, .data = text("hello")};
		break;
	case 4:
		p.operation = CTDB_WIRE_REQ_CONTROL;
		p.u.control = (struct ctdb_wire_req_control){
			.opcode = 23, .srvid = 1ULL << 40, .client_id = 4, .flags = 1, .data = text("x")};
		break;
	case 5:
		p.operation = CTDB_WIRE_REPLY_CONTROL;
		p.u.reply_control =
			(struct ctdb_wire_reply_control){.status = 2, .data = text("payload"), .error = text("reason")};
		break;
	default:
		p.operation = CTDB_WIRE_REQ_TUNNEL;
		p.u.tunnel = (struct ctdb_wire_req_tunnel){
			.tunnel_id = CTDB_TUNNEL_TEST, .flags = CTDB_TUNNEL_FLAG_REPLY, .data = text("t")};
	}
	return p;
}
#define SAMPLES 7U

static void assert_contents(const struct ctdb_wire_packet *a, const struct ctdb_wire_packet *b)
{
	switch (a->operation) {
	case CTDB_WIRE_REQ_CALL:
		assert_int_equal(a->u.call.flags, b->u.call.flags);
		assert_int_equal(a->u.call.db_id, b->u.call.db_id);
		assert_int_equal(a->u.call.callid, b->u.call.callid);
		assert_int_equal(a->u.call.hopcount, b->u.call.hopcount);
		assert_data(a->u.call.key, b->u.call.key);
		assert_data(a->u.call.calldata, b->u.call.calldata);
		break;
	case CTDB_WIRE_REPLY_CALL:
		assert_int_equal(a->u.reply_call.status, b->u.reply_call.status);
		assert_data(a->u.reply_call.data, b->u.reply_call.data);
		break;
	case CTDB_WIRE_REPLY_ERROR:
		assert_int_equal(a->u.error.status, b->u.error.status);
		assert_data(a->u.error.text, b->u.error.text);
		break;
	case CTDB_WIRE_REQ_MESSAGE:
		assert_true(a->u.message.srvid == b->u.message.srvid);
		assert_data(a->u.message.data, b->u.message.data);
		break;
	case CTDB_WIRE_REQ_CONTROL:
		assert_int_equal(a->u.control.opcode, b->u.control.opcode);
		assert_true(a->u.control.srvid == b->u.control.srvid);
		assert_int_equal(a->u.control.client_id, b->u.control.client_id);
		assert_int_equal(a->u.control.flags, b->u.control.flags);
		assert_data(a->u.control.data, b->u.control.data);
		break;
	case CTDB_WIRE_REPLY_CONTROL:
		assert_int_equal(a->u.reply_control.status, b->u.reply_control.status);
		assert_data(a->u.reply_control.data, b->u.reply_control.data);
		assert_data(a->u.reply_control.error, b->u.reply_control.error);
		break;
	default:
		assert_true(a->u.tunnel.tunnel_id == b->u.tunnel.tunnel_id);
		assert_int_equal(a->u.tunnel.flags, b->u.tunnel.flags);
		assert_data(a->u.tunnel.data, b->u.tunnel.data);
	}
}

static void test_packets(void **state)
{
	TALLOC_CTX *mem = talloc_new(NULL);
	struct ctdb_wire_packet in, out;
	struct ctdb_data bytes;
	unsigned int i;
	size_t used, len;

	for (i = 0; i < SAMPLES; i++) {
		in = samples(i);
		assert_int_equal(ctdb_wire_build(mem, &in, &bytes), 0);
		assert_int_equal(bytes.len % 8, 0);
		assert_int_equal(ctdb_wire_parse(bytes.data, bytes.len, &out, &used), 0);
		assert_int_equal(used, bytes.len);
		assert_int_equal(out.operation, in.operation);
		assert_int_equal(out.generation, 17);
		assert_int_equal(out.destnode, 2);
		assert_int_equal(out.srcnode, 1);
		assert_int_equal(out.reqid, 99);
		assert_contents(&in, &out);
		for (len = 0; len < bytes.len; len++) { /* not complete yet */
			assert_int_equal(ctdb_wire_parse(bytes.data, len, &out, &used), EAGAIN);
			assert_int_equal(used, len < 4 ? CTDB_WIRE_HEADER_SIZE : bytes.len);
		}
	}
	talloc_free(mem);
}

/* Well known bytes: what a client of Samba sends first, unpadded. */
static void test_known_packet(void **state)
{
	uint32_t words[15] = {60, 0x43544442, 1, 0, 7, 0xF0000001, 0, 1, 35, 0, 0, 0, 0, 0, 0};
	struct ctdb_wire_packet p;
	size_t used;

	assert_int_equal(ctdb_wire_parse((const uint8_t *)words, sizeof(words), &p, &used), 0);
	assert_int_equal(used, 60);
	assert_int_equal(p.operation, CTDB_WIRE_REQ_CONTROL);
	assert_int_equal(p.destnode, CTDB_NODE_CURRENT);
	assert_int_equal(p.u.control.opcode, 35);
	assert_int_equal(p.u.control.data.len, 0);
}

static void test_bad_packets(void **state)
{
	struct ctdb_wire_packet p = samples(4), out;
	struct ctdb_data bytes;
	uint8_t *b;
	size_t used;
	uint32_t v;

	assert_int_equal(ctdb_wire_build(NULL, &p, &bytes), 0);
	b = talloc_memdup(NULL, bytes.data, bytes.len);
	for (v = 0; v < 3; v++) { /* length, magic, version */
		memcpy(b, bytes.data, bytes.len);
		b[4 * v] ^= v == 0 ? (uint8_t)bytes.len ^ 31 : 1;
		assert_int_equal(ctdb_wire_parse(b, bytes.len, &out, &used), EBADMSG);
	}
	memcpy(b, bytes.data, bytes.len);
	v = CTDB_WIRE_PACKET_MAX + 1;
	memcpy(b, &v, 4);
	assert_int_equal(ctdb_wire_parse(b, bytes.len, &out, &used), EBADMSG);
	memcpy(b, bytes.data, bytes.len);
	v = 100; /* more payload than there is */
	memcpy(b + 56, &v, 4);
	assert_int_equal(ctdb_wire_parse(b, bytes.len, &out, &used), EBADMSG);
	memcpy(b, bytes.data, bytes.len);
	v = 42; /* an operation that nobody knows can be skipped */
	memcpy(b + 16, &v, 4);
	assert_int_equal(ctdb_wire_parse(b, bytes.len, &out, &used), ENOTSUP);
	assert_int_equal(used, bytes.len);
	assert_int_equal(out.operation, 42);
	p.operation = 42;
	talloc_free(b);
	data_free(&bytes);
	assert_int_equal(ctdb_wire_build(NULL, &p, &bytes), EINVAL);
	p = samples(0);
	p.u.call.key.len = 65537;
	assert_int_equal(ctdb_wire_build(NULL, &p, &bytes), EMSGSIZE);
}

/* ---- payloads ---- */

static void test_nodemap(void **state)
{
	struct ctdb_node nodes[2] = {{.pnn = 0, .flags = 0}, {.pnn = 1, .flags = CTDB_NODE_BANNED}};
	struct ctdb_nodemap in = {.n = 2, .nodes = nodes}, *out;
	struct ctdb_data bytes;
	char buf[CTDB_ADDR_TEXT_MAX];
	size_t len;

	assert_int_equal(ctdb_addr_parse("10.0.0.1", &nodes[0].addr), 0);
	assert_int_equal(ctdb_addr_parse("fd00::7", &nodes[1].addr), 0);
	assert_int_equal(ctdb_wire_put_nodemap(NULL, &in, &bytes), 0);
	assert_int_equal(bytes.len, 76); /* what existing daemons send for two nodes */
	assert_int_equal(ctdb_wire_get_nodemap(NULL, bytes, &out), 0);
	assert_int_equal(out->n, 2);
	assert_int_equal(out->nodes[1].flags, CTDB_NODE_BANNED);
	assert_true(ctdb_addr_equal(&out->nodes[0].addr, &nodes[0].addr));
	assert_string_equal(ctdb_addr_format(&out->nodes[1].addr, buf), "fd00::7");
	talloc_free(out);
	for (len = 0; len < bytes.len; len++) {
		assert_int_equal(ctdb_wire_get_nodemap(NULL, data_of(bytes.data, len), &out), EBADMSG);
	}
	data_free(&bytes);
}

static void test_maps(void **state)
{
	uint32_t slots[3] = {0, 2, 0};
	struct ctdb_vnnmap in = {.generation = 5, .size = 3, .map = slots}, *out;
	struct ctdb_db_entry dbs[2] = {{.id = 9, .flags = CTDB_DB_FLAG_STICKY}, {.id = 10, .flags = 1}};
	struct ctdb_db_list list = {.n = 2, .dbs = dbs}, *list_out;
	struct ctdb_uptime up = {.now = {.tv_sec = 1, .tv_usec = 2}, .started = {.tv_sec = 3}}, up_out;
	struct ctdb_data bytes;

	assert_int_equal(ctdb_wire_put_vnnmap(NULL, &in, &bytes), 0);
	assert_int_equal(bytes.len, 20);
	assert_int_equal(ctdb_wire_get_vnnmap(NULL, bytes, &out), 0);
	assert_int_equal(out->generation, 5);
	assert_memory_equal(out->map, slots, sizeof(slots));
	talloc_free(out);
	data_free(&bytes);
	assert_int_equal(ctdb_wire_put_db_list(NULL, &list, &bytes), 0);
	assert_int_equal(bytes.len, 20);
	assert_int_equal(ctdb_wire_get_db_list(NULL, bytes, &list_out), 0);
	assert_int_equal(list_out->dbs[0].id, 9);
	assert_int_equal(list_out->dbs[0].flags, CTDB_DB_FLAG_STICKY);
	talloc_free(list_out);
	data_free(&bytes);
	assert_int_equal(ctdb_wire_put_uptime(NULL, &up, &bytes), 0);
	assert_int_equal(bytes.len, 64);
	assert_int_equal(ctdb_wire_get_uptime(bytes, &up_out), 0);
	assert_memory_equal(&up, &up_out, sizeof(up));
	data_free(&bytes);
}

static void test_addresses(void **state)
{
	struct ctdb_iface ifaces[2] = {{.name = "eth0", .up = true, .references = 3}, {.name = "sixteencharsname"}};
	struct ctdb_public_ip_info info = {.ip = {.pnn = 1}, .n_ifaces = 2, .ifaces = ifaces, .active = &ifaces[1]};
	struct ctdb_public_ip_info *info_out;
	struct ctdb_public_ip_list list = {.n = 1, .ips = &info.ip}, *list_out;
	struct ctdb_iface_list iface_list = {.n = 2, .ifaces = ifaces}, *iface_out;
	union ctdb_addr addr;
	struct ctdb_data bytes;

	assert_int_equal(ctdb_addr_parse("no address", &addr), EINVAL);
	assert_int_equal(ctdb_addr_parse("10.1.2.3", &info.ip.addr), 0);
	memset(&info.ip.addr.in.sin_zero, 0xAA, 8); /* as some senders leave it */
	assert_int_equal(ctdb_wire_put_public_ip_info(NULL, &info, &bytes), 0);
	assert_int_equal(bytes.len, 40 + 2 * 24);
	assert_int_equal(ctdb_wire_get_public_ip_info(NULL, bytes, &info_out), 0);
	assert_ptr_equal(info_out->active, &info_out->ifaces[1]);
	assert_string_equal(info_out->active->name, "sixteencharsname");
	assert_true(ctdb_addr_equal(&info_out->ip.addr, &info.ip.addr));
	assert_int_equal(info_out->ip.addr.in.sin_zero[0], 0);
	talloc_free(info_out);
	data_free(&bytes);
	info.active = NULL;
	assert_int_equal(ctdb_wire_put_public_ip_info(NULL, &info, &bytes), 0);
	assert_int_equal(ctdb_wire_get_public_ip_info(NULL, bytes, &info_out), 0);
	assert_null(info_out->active);
	talloc_free(info_out);
	data_free(&bytes);
	assert_int_equal(ctdb_wire_put_public_ips(NULL, &list, &bytes), 0);
	assert_int_equal(bytes.len, 36);
	assert_int_equal(ctdb_wire_get_public_ips(NULL, bytes, &list_out), 0);
	assert_int_equal(list_out->ips[0].pnn, 1);
	talloc_free(list_out);
	data_free(&bytes);
	assert_int_equal(ctdb_wire_put_ifaces(NULL, &iface_list, &bytes), 0);
	assert_int_equal(ctdb_wire_get_ifaces(NULL, bytes, &iface_out), 0);
	assert_true(iface_out->ifaces[0].up && !iface_out->ifaces[1].up);
	assert_int_equal(iface_out->ifaces[0].references, 3);
	talloc_free(iface_out);
	data_free(&bytes);
}

static void test_statistics(void **state)
{
	struct ctdb_statistics in = {.clients = 4,
				     .node = {.req_tunnel = 5},
				     .locks = {.calls = 6, .latency = {.n = 1, .max = 0.25}, .buckets = {[10] = 7}},
				     .hop_count_buckets = {[15] = 8},
				     .recoveries = 9,
				     .started = {.tv_sec = 10},
				     .readonly_revokes = 11};
	struct ctdb_statistics *out;
	struct ctdb_db_statistics *db_out;
	struct ctdb_data bytes;
	uint8_t db[464 + 5] = {0};
	uint32_t v = 10;
	uint64_t len = 5;

	assert_int_equal(ctdb_wire_put_statistics(NULL, &in, &bytes), 0);
	assert_int_equal(bytes.len, 488);
	assert_int_equal(ctdb_wire_get_statistics(NULL, bytes, &out), 0);
	assert_memory_equal(out, &in, sizeof(in));
	talloc_free(out);
	assert_int_equal(ctdb_wire_get_statistics(NULL, data_of(bytes.data, 487), &out), EBADMSG);
	data_free(&bytes);

	memcpy(db + 216, &v, 4); /* number of hot keys; the first has count 3 and 5 bytes */
	v = 3;
	memcpy(db + 224, &v, 4);
	memcpy(db + 240, &len, 8);
	memcpy(db + 464, "hello", 5);
	assert_int_equal(ctdb_wire_get_db_statistics(NULL, data_of(db, sizeof(db)), &db_out), 0);
	assert_int_equal(db_out->n_hot_keys, 1);
	assert_int_equal(db_out->hot_keys[0].count, 3);
	assert_data(db_out->hot_keys[0].key, text("hello"));
	talloc_free(db_out);
	len = 6; /* longer than what is there */
	memcpy(db + 240, &len, 8);
	assert_int_equal(ctdb_wire_get_db_statistics(NULL, data_of(db, sizeof(db)), &db_out), EBADMSG);
	len = UINT64_MAX;
	memcpy(db + 240, &len, 8);
	assert_int_equal(ctdb_wire_get_db_statistics(NULL, data_of(db, sizeof(db)), &db_out), EBADMSG);
}

static void test_records(void **state)
{
	struct ctdb_record_header header = {.rsn = 1ULL << 40, .dmaster = 3, .flags = 0x00010000}, header_out;
	uint8_t value[CTDB_WIRE_RECORD_HEADER_SIZE + 2] = {0};
	struct ctdb_wire_record records[2] = {{.key = text("a"), .value = data_of(value, sizeof(value))},
					      {.reqid = 8, .key = text("bb")}};
	struct ctdb_wire_records in = {.db_id = 77, .n = 2, .records = records}, *out;
	struct ctdb_wire_record one;
	struct ctdb_data bytes;
	size_t len;

	ctdb_wire_put_record_header(&header, value);
	ctdb_wire_get_record_header(value, &header_out);
	assert_true(header_out.rsn == header.rsn && header_out.dmaster == 3 && header_out.flags == 0x00010000);
	assert_int_equal(ctdb_wire_put_record(NULL, &records[1], &bytes), 0);
	assert_int_equal(bytes.len, 18);
	assert_int_equal(ctdb_wire_get_record(bytes, &one), 0);
	assert_int_equal(one.reqid, 8);
	assert_data(one.key, text("bb"));
	data_free(&bytes);
	assert_int_equal(ctdb_wire_put_records(NULL, &in, &bytes), 0);
	assert_int_equal(ctdb_wire_get_records(NULL, bytes, &out), 0);
	assert_int_equal(out->db_id, 77);
	assert_int_equal(out->n, 2);
	assert_data(out->records[0].value, records[0].value);
	talloc_free(out);
	for (len = 0; len < bytes.len; len++) {
		assert_int_equal(ctdb_wire_get_records(NULL, data_of(bytes.data, len), &out), EBADMSG);
	}
	data_free(&bytes);
}

/* The public numbers are those of the protocol, and have its names. */
#define SAME(name)                                                                                                     \
	{                                                                                                              \
		CTDB_CONTROL_##name, CLASSIC_CONTROL_##name, #name                                                     \
	}
static const struct {
	uint32_t ours, protocol;
	const char *name;
} control_numbers[] = {
	SAME(PROCESS_EXISTS),
	SAME(STATISTICS),
	SAME(PING),
	SAME(GETDBPATH),
	SAME(GETVNNMAP),
	SAME(SETVNNMAP),
	SAME(GET_DEBUG),
	SAME(SET_DEBUG),
	SAME(GET_DBMAP),
	SAME(GET_RECMODE),
	SAME(SET_RECMODE),
	SAME(STATISTICS_RESET),
	SAME(DB_ATTACH),
	SAME(TRAVERSE_START),
	SAME(TRAVERSE_ALL),
	SAME(TRAVERSE_DATA),
	SAME(REGISTER_SRVID),
	SAME(DEREGISTER_SRVID),
	SAME(GET_DBNAME),
	SAME(ENABLE_SEQNUM),
	SAME(UPDATE_SEQNUM),
	SAME(DUMP_MEMORY),
	SAME(GET_PID),
	SAME(FREEZE),
	SAME(GET_PNN),
	SAME(SHUTDOWN),
	SAME(TCP_CLIENT),
	SAME(TCP_ADD),
	SAME(TCP_REMOVE),
	SAME(STARTUP),
	SAME(SET_TUNABLE),
	SAME(GET_TUNABLE),
	SAME(LIST_TUNABLES),
	SAME(MODIFY_FLAGS),
	SAME(GET_ALL_TUNABLES),
	SAME(GET_TCP_TICKLE_LIST),
	SAME(SET_TCP_TICKLE_LIST),
	SAME(DB_ATTACH_PERSISTENT),
	SAME(UPDATE_RECORD),
	SAME(SEND_GRATUITOUS_ARP),
	SAME(WIPE_DATABASE),
	SAME(UPTIME),
	SAME(START_RECOVERY),
	SAME(END_RECOVERY),
	SAME(RELOAD_NODES_FILE),
	SAME(TRY_DELETE_RECORDS),
	SAME(ADD_PUBLIC_IP),
	SAME(DEL_PUBLIC_IP),
	SAME(GET_CAPABILITIES),
	SAME(START_PERSISTENT_UPDATE),
	SAME(CANCEL_PERSISTENT_UPDATE),
	SAME(RECD_PING),
	SAME(RELEASE_IP),
	SAME(TAKEOVER_IP),
	SAME(GET_PUBLIC_IPS),
	SAME(GET_NODEMAP),
	SAME(TRAVERSE_KILL),
	SAME(RECD_RECLOCK_LATENCY),
	SAME(GET_RECLOCK_FILE),
	SAME(STOP_NODE),
	SAME(CONTINUE_NODE),
	SAME(SET_LMASTERROLE),
	SAME(SET_RECMASTERROLE),
	SAME(SET_BAN_STATE),
	SAME(GET_BAN_STATE),
	SAME(REGISTER_NOTIFY),
	SAME(DEREGISTER_NOTIFY),
	SAME(TRANS3_COMMIT),
	SAME(GET_DB_SEQNUM),
	SAME(DB_SET_HEALTHY),
	SAME(DB_GET_HEALTH),
	SAME(GET_PUBLIC_IP_INFO),
	SAME(GET_IFACES),
	SAME(SET_IFACE_LINK_STATE),
	SAME(TCP_ADD_DELAYED_UPDATE),
	SAME(GET_STAT_HISTORY),
	SAME(SCHEDULE_FOR_DELETION),
	SAME(SET_DB_READONLY),
	SAME(TRAVERSE_START_EXT),
	SAME(GET_DB_STATISTICS),
	SAME(SET_DB_STICKY),
	SAME(RELOAD_PUBLIC_IPS),
	SAME(TRAVERSE_ALL_EXT),
	SAME(IPREALLOCATED),
	SAME(GET_RUNSTATE),
	SAME(DB_DETACH),
	SAME(GET_NODES_FILE),
	SAME(DB_FREEZE),
	SAME(DB_THAW),
	SAME(DB_TRANSACTION_START),
	SAME(DB_TRANSACTION_COMMIT),
	SAME(DB_TRANSACTION_CANCEL),
	SAME(DB_PULL),
	SAME(DB_PUSH_START),
	SAME(DB_PUSH_CONFIRM),
	SAME(DB_OPEN_FLAGS),
	SAME(DB_ATTACH_REPLICATED),
	SAME(CHECK_PID_SRVID),
	SAME(TUNNEL_REGISTER),
	SAME(TUNNEL_DEREGISTER),
	SAME(VACUUM_FETCH),
	SAME(DB_VACUUM),
	SAME(ECHO_DATA),
	SAME(DISABLE_NODE),
	SAME(ENABLE_NODE),
	SAME(TCP_CLIENT_DISCONNECTED),
	SAME(TCP_CLIENT_PASSED),
	SAME(START_IPREALLOCATE),
	SAME(PUSH_RECORD),
	SAME(CLUSTER_VERDICT),
	SAME(INTERFACE_CALL),
	SAME(TRAVERSE_START_TOLD),
};
#undef SAME

static void test_control_numbers(void **state)
{
	for (size_t i = 0; i < sizeof(control_numbers) / sizeof(control_numbers[0]); i++) {
		assert_int_equal(control_numbers[i].ours, control_numbers[i].protocol);
		assert_string_equal(ctdb_control_name(control_numbers[i].ours), control_numbers[i].name);
	}
	assert_string_equal(ctdb_control_name(9999), "unknown");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_packets),
		cmocka_unit_test(test_known_packet),
		cmocka_unit_test(test_bad_packets),
		cmocka_unit_test(test_nodemap),
		cmocka_unit_test(test_maps),
		cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_statistics),
		cmocka_unit_test(test_records),
		cmocka_unit_test(test_control_numbers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
