/* The native encoding against the facts of the classic protocol: sample packets, offsets, sizes, malformed input. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/native.h"
#include "protocol/classic.h"
#include "protocol/classic_native.h"
#include "protocol/natives.h"
#include "protocol/natives_native.h"

/* ---- sample packets: header and body at offset 32 ---- */

static size_t unhex(const char *s, uint8_t *out)
{
	size_t n = 0;

	for (; s[0] != '\0' && s[1] != '\0'; s += 2) {
		char byte[3] = {s[0], s[1], '\0'};

		out[n++] = (uint8_t)strtoul(byte, NULL, 16);
	}
	return n;
}

struct packet {
	/* At an odd address: what comes from a socket is not aligned. */
	uint8_t bytes[512];
	const uint8_t *p, *body;
	size_t len, body_len;
	struct classic_header h;
};

static void packet_read(struct packet *k, const char *hex)
{
	size_t used;

	k->p = k->bytes + 1;
	k->len = unhex(hex, k->bytes + 1);
	assert_int_equal(classic_header_nview(k->p, k->len, &k->h, &used), 0);
	assert_int_equal(used, CLASSIC_HEADER_SIZE);
	assert_int_equal(k->h.length, k->len);
	assert_int_equal(k->h.magic, CLASSIC_MAGIC);
	assert_int_equal(k->h.version, CLASSIC_VERSION);
	k->body = k->p + CLASSIC_HEADER_SIZE;
	k->body_len = k->len - CLASSIC_HEADER_SIZE;
}

/* The header encodes to the bytes it came from; so does the body, up to padding that the sender added. */
static void packet_same(const struct packet *k, TALLOC_CTX *mem, const struct ctdb_blob *body)
{
	struct ctdb_blob h;

	assert_int_equal(classic_header_nencode(mem, &k->h, &h), 0);
	assert_int_equal(h.len, CLASSIC_HEADER_SIZE);
	assert_memory_equal(h.data, k->p, h.len);
	assert_true(body->len <= k->body_len);
	assert_memory_equal(body->data, k->body, body->len);
	for (size_t i = body->len; i < k->body_len; i++) {
		assert_int_equal(k->body[i], 0);
	}
}

static void check_header(const struct classic_header *h, uint32_t generation, uint32_t operation, uint32_t dest,
			 uint32_t src, uint32_t reqid)
{
	assert_int_equal(h->generation, generation);
	assert_int_equal(h->operation, operation);
	assert_int_equal(h->destnode, dest);
	assert_int_equal(h->srcnode, src);
	assert_int_equal(h->reqid, reqid);
}

static void check_control(TALLOC_CTX *mem, const char *hex, uint32_t src, uint32_t reqid, uint32_t opcode,
			  const char *data, size_t len)
{
	struct packet k;
	struct classic_req_control c;
	struct ctdb_blob body;
	size_t used;

	packet_read(&k, hex);
	check_header(&k.h, 0, CLASSIC_REQ_CONTROL, CLASSIC_NODE_CURRENT, src, reqid);
	assert_int_equal(classic_req_control_nview(k.body, k.body_len, &c, &used), 0);
	assert_int_equal(used, 28 + len);
	assert_int_equal(c.opcode, opcode);
	assert_int_equal(c.srvid, 0);
	assert_int_equal(c.client_id, 0);
	assert_int_equal(c.flags, 0);
	assert_int_equal(c.data.len, len);
	if (len > 0) {
		assert_memory_equal(c.data.data, data, len);
	}
	assert_int_equal(classic_req_control_nencode(mem, &c, &body), 0);
	packet_same(&k, mem, &body);
}

static void test_req_control(void **state)
{
	TALLOC_CTX *mem = talloc_new(NULL);

	check_control(mem,
		      "3c00000042445443010000000000000007000000010000f0000000000100000023000000000000000000000000000000"
		      "000000000000000000000000",
		      0, 1, CLASSIC_CONTROL_GET_PNN, NULL, 0);
	check_control(mem,
		      "4700000042445443010000000000000007000000010000f0000000000400000012000000000000000000000000000000"
		      "00000000000000000b000000675f6c6f636b2e74646200",
		      0, 4, CLASSIC_CONTROL_DB_ATTACH, "g_lock.tdb", 11);
	check_control(mem,
		      "4000000042445443010000000000000007000000010000f0ffffffff38ffff7f23000000000000000000000000000000"
		      "00000000000000000000000000000000",
		      CLASSIC_NODE_UNKNOWN, 0x7fffff38, CLASSIC_CONTROL_GET_PNN, NULL, 0);
	talloc_free(mem);
}

static void read_reply(struct packet *k, TALLOC_CTX *mem, const char *hex, uint32_t reqid,
		       struct classic_reply_control *r)
{
	struct ctdb_blob body;

	packet_read(k, hex);
	check_header(&k->h, 0x03A847C0, CLASSIC_REPLY_CONTROL, 0, 0, reqid);
	assert_int_equal(classic_reply_control_nview(k->body, k->body_len, r, NULL), 0);
	assert_int_equal(classic_reply_control_nencode(mem, r, &body), 0);
	packet_same(k, mem, &body);
}

static void test_reply_control(void **state)
{
	TALLOC_CTX *mem = talloc_new(NULL);
	struct packet k;
	struct classic_reply_control r;
	struct classic_u32 id;

	read_reply(&k, mem,
		   "300000004244544301000000c047a8030800000000000000000000000100000000000000000000000000000000000000",
		   1, &r);
	assert_int_equal(r.status, 0);
	assert_int_equal(r.data.len, 0);
	assert_int_equal(r.error.len, 0);

	read_reply(&k, mem,
		   "300000004244544301000000c047a803080000000000000000000000040000000000000004000000000000002b432a4d",
		   4, &r);
	assert_int_equal(classic_u32_nview(r.data.data, r.data.len, &id, NULL), 0);
	assert_int_equal(id.value, 0x4D2A432B);

	read_reply(&k, mem,
		   "500000004244544301000000c047a80308000000000000000000000065000000ffffffff0000000021000000637464625f6"
		   "36f6e74726f6c"
		   "20746f20646973636f6e6e6563746564206e6f6465000000",
		   0x65, &r);
	assert_int_equal(r.status, -1);
	assert_int_equal(r.error.len, 33);
	assert_memory_equal(r.error.data, "ctdb_control to disconnected node", 33);
	talloc_free(mem);
}

static void test_node_map(void **state)
{
	static const uint8_t addr[] = {2, 0, 0x11, 0x1b, 0x7f, 0, 0x4d};
	TALLOC_CTX *mem = talloc_new(NULL);
	struct packet k;
	struct classic_reply_control r;
	struct classic_node_map map;
	struct ctdb_blob again;
	size_t used;

	read_reply(&k, mem,
		   "780000004244544301000000c047a80308000000000000000000000002000000000000004c0000000000000002000000000"
		   "000000000000002"
		   "00111b7f004d01000000000000000000000000000000000000000001000000000000000200111b7f004d020000000000000"
		   "0000000000000"
		   "00000000000000",
		   2, &r);
	assert_int_equal(r.data.len, 76);
	assert_int_equal(classic_node_map_ndecode(mem, r.data.data, r.data.len, &map, &used), 0);
	assert_int_equal(used, 76);
	assert_int_equal(map.nodes.n, 2);
	for (uint32_t i = 0; i < 2; i++) {
		assert_int_equal(map.nodes.v[i].pnn, i);
		assert_int_equal(map.nodes.v[i].flags, 0);
		assert_memory_equal(map.nodes.v[i].addr.addr, addr, sizeof(addr));
		assert_int_equal(map.nodes.v[i].addr.addr[7], i + 1);
	}
	assert_int_equal(classic_node_map_nencode(mem, &map, &again), 0);
	assert_int_equal(again.len, 76);
	assert_memory_equal(again.data, r.data.data, 76);
	talloc_free(mem);
}

static void test_call(void **state)
{
	TALLOC_CTX *mem = talloc_new(NULL);
	struct packet k;
	struct classic_req_call c;
	struct classic_reply_call r;
	struct classic_ltdb_header l;
	struct ctdb_blob body;
	size_t used;

	packet_read(&k, "5200000042445443010000000000000000000000000000000000000009000000010000002b432a4d010000ff000000"
			"001a000000000000007472616e"
			"73616374696f6e5f64625f3078373133326331383400");
	check_header(&k.h, 0, CLASSIC_REQ_CALL, 0, 0, 9);
	assert_int_equal(classic_req_call_nview(k.body, k.body_len, &c, &used), 0);
	assert_int_equal(used, k.body_len);
	assert_int_equal(c.flags, CLASSIC_CALL_IMMEDIATE_MIGRATION);
	assert_int_equal(c.db_id, 0x4D2A432B);
	assert_int_equal(c.callid, CLASSIC_CALLID_NULL);
	assert_int_equal(c.hopcount, 0);
	assert_int_equal(c.key.len, 26);
	assert_memory_equal(c.key.data, "transaction_db_0x7132c184", 26);
	assert_ptr_equal(c.key.data, k.body + 24);
	assert_int_equal(c.calldata.len, 0);
	assert_int_equal(classic_req_call_nencode(mem, &c, &body), 0);
	packet_same(&k, mem, &body);

	packet_read(&k,
		    "300000004244544301000000c047a8030100000000000000000000000900000000000000000000000000000000000000");
	assert_int_equal(classic_reply_call_nview(k.body, k.body_len, &r, &used), 0);
	assert_int_equal(used, 8);
	assert_int_equal(r.status, 0);
	assert_int_equal(r.data.len, 0);

	packet_read(&k, "400000004244544301000000c047a80301000000000000000000000069000000000000001800000003000000000000"
			"0000000000000000000000000000"
			"000000");
	assert_int_equal(classic_reply_call_nview(k.body, k.body_len, &r, &used), 0);
	assert_int_equal(r.data.len, CLASSIC_LTDB_HEADER_NSIZE);
	assert_int_equal(classic_ltdb_header_nview(r.data.data, r.data.len, &l, NULL), 0);
	assert_int_equal(l.rsn, 3);
	assert_int_equal(l.dmaster, 0);
	assert_int_equal(classic_reply_call_nencode(mem, &r, &body), 0);
	packet_same(&k, mem, &body);
	talloc_free(mem);
}

static void test_message(void **state)
{
	static const char *const hex[] = {
		"2e00000042445443010000000000000005000000010000f0000000000000000042000000000000ae020000006869",
		"300000004244544301000000c047a8030500000000000000000000000000000042000000000000ae0200000068690000",
	};
	TALLOC_CTX *mem = talloc_new(NULL);

	for (size_t i = 0; i < 2; i++) {
		struct packet k;
		struct classic_req_message m;
		struct ctdb_blob body;

		packet_read(&k, hex[i]);
		assert_int_equal(classic_req_message_nview(k.body, k.body_len, &m, NULL), 0);
		assert_true(m.srvid == (CLASSIC_SRVID_TEST_RANGE | 0x42));
		assert_int_equal(m.data.len, 2);
		assert_memory_equal(m.data.data, "hi", 2);
		assert_int_equal(classic_req_message_nencode(mem, &m, &body), 0);
		packet_same(&k, mem, &body);
	}
	talloc_free(mem);
}

static void test_rec_buffer(void **state)
{
	TALLOC_CTX *mem = talloc_new(NULL);
	struct classic_rec_buffer b;
	struct classic_ltdb_header l;
	struct ctdb_blob again;
	uint8_t in[200];
	size_t used, len;

	len = unhex("42f1df06020000002c00000000000000020000001a0000006b310100000000000000000000000000000000000000000000"
		    "007631470000000000000017000000"
		    "200000005f5f64625f73657175656e63655f6e756d6265725f5f0001000000000000000000000000000000000000000000"
		    "00000100000000000000",
		    in);
	assert_int_equal(len, 123);
	assert_int_equal(classic_rec_buffer_ndecode(mem, in, len, &b, &used), 0);
	assert_int_equal(used, len);
	assert_int_equal(b.db_id, 0x06DFF142);
	assert_int_equal(b.records.n, 2);
	assert_int_equal(b.records.v[0].length, 44);
	assert_memory_equal(b.records.v[0].key.data, "k1", 2);
	assert_int_equal(classic_ltdb_header_nview(b.records.v[0].data.data, b.records.v[0].data.len, &l, &used), 0);
	assert_int_equal(used, 24);
	assert_int_equal(l.rsn, 1);
	assert_memory_equal(b.records.v[0].data.data + 24, "v1", 2);
	assert_int_equal(b.records.v[1].key.len, 23);
	assert_memory_equal(b.records.v[1].key.data, "__db_sequence_number__", 23);
	assert_int_equal(b.records.v[1].data.len, 32);
	/* length is the encoder's to compute */
	b.records.v[0].length = 0;
	b.records.v[1].length = 99;
	assert_int_equal(classic_rec_buffer_nencode(mem, &b, &again), 0);
	assert_int_equal(again.len, len);
	assert_memory_equal(again.data, in, len);
	talloc_free(mem);
}

static void test_traverse(void **state)
{
	TALLOC_CTX *mem = talloc_new(NULL);
	struct classic_rec_data r;
	struct classic_rec_list list;
	struct ctdb_blob again;
	uint8_t in[80];
	size_t used, len, end;

	len = unhex("2c00000000000000020000001a0000006b310100000000000000000000000000000000000000000000007631", in);
	assert_int_equal(classic_rec_data_nview(in, len, &r, &used), 0);
	assert_int_equal(used, 44);
	assert_int_equal(r.key.len, 2);
	assert_int_equal(r.data.len, 26);
	end = unhex("10000000000000000000000000000000", in + len);
	assert_int_equal(classic_rec_data_nview(in + len, end, &r, &used), 0);
	assert_int_equal(used, 16);
	assert_int_equal(r.key.len + r.data.len, 0);
	/* without a count, as many as there are */
	assert_int_equal(classic_rec_list_ndecode(mem, in, len + end, &list, &used), 0);
	assert_int_equal(used, 60);
	assert_int_equal(list.records.n, 2);
	assert_memory_equal(list.records.v[0].key.data, "k1", 2);
	assert_int_equal(classic_rec_list_nencode(mem, &list, &again), 0);
	assert_int_equal(again.len, 60);
	assert_memory_equal(again.data, in, 60);
	assert_int_equal(classic_rec_list_ndecode(mem, in, len + end - 1, &list, &used), EBADMSG);
	assert_int_equal(classic_rec_list_ndecode(mem, NULL, 0, &list, &used), 0);
	assert_int_equal(list.records.n, 0);
	talloc_free(mem);
}

static void test_schedule_for_deletion(void **state)
{
	TALLOC_CTX *mem = talloc_new(NULL);
	struct classic_schedule_for_deletion s;
	struct ctdb_blob again;
	uint8_t in[80];
	size_t len, used;

	len = unhex("2b432a4d0000000003000000000000000000000000000000000000000000" /* padding of the header too */
		    "00001a0000007472616e73616374696f6e5f64625f3078303664666631343200",
		    in);
	assert_int_equal(len, 62);
	assert_int_equal(classic_schedule_for_deletion_nview(in, len, &s, &used), 0);
	assert_int_equal(used, 62);
	assert_int_equal(s.db_id, 0x4D2A432B);
	assert_int_equal(s.header.rsn, 3);
	assert_int_equal(s.key.len, 26);
	assert_memory_equal(s.key.data, "transaction_db_0x06dff142", 26);
	assert_int_equal(classic_schedule_for_deletion_nencode(mem, &s, &again), 0);
	assert_int_equal(again.len, len);
	assert_memory_equal(again.data, in, len);
	/* padding may hold anything */
	memset(in + 4, 0xee, 4);
	memset(in + 28, 0xee, 4);
	assert_int_equal(classic_schedule_for_deletion_nview(in, len, &s, &used), 0);
	assert_int_equal(s.header.rsn, 3);
	talloc_free(mem);
}

/* ---- offsets ---- */

/* A structure whose only non-zero field is member encodes to zeros but for value at offset. */
#define AT(type, member, bits, offset)                                                                                 \
	do {                                                                                                           \
		struct type v_;                                                                                        \
		struct ctdb_blob b_;                                                                                   \
		memset(&v_, 0, sizeof(v_));                                                                            \
		v_.member = (bits) == 64 ? 0x1122334455667788 : 0x11223344;                                            \
		assert_int_equal(type##_nencode(NULL, &v_, &b_), 0);                                                   \
		assert_true(b_.len >= (offset) + (bits) / 8);                                                          \
		assert_true((bits) == 64 ? native_load64(b_.data + (offset)) == 0x1122334455667788                     \
					 : native_load32(b_.data + (offset)) == 0x11223344);                           \
		memset(b_.data + (offset), 0, (bits) / 8);                                                             \
		check_zero(&b_);                                                                                       \
		talloc_free(b_.data);                                                                                  \
	} while (0)

static void check_zero(const struct ctdb_blob *b)
{
	for (uint32_t i = 0; i < b->len; i++) {
		assert_int_equal(b->data[i], 0);
	}
}

static void test_packet_offsets(void **state)
{
	AT(classic_req_call, flags, 32, 32 - 32);
	AT(classic_req_call, db_id, 32, 36 - 32);
	AT(classic_req_call, callid, 32, 40 - 32);
	AT(classic_req_call, hopcount, 32, 44 - 32);
	AT(classic_req_control, opcode, 32, 32 - 32);
	AT(classic_req_control, srvid, 64, 40 - 32);
	AT(classic_req_control, client_id, 32, 48 - 32);
	AT(classic_req_control, flags, 32, 52 - 32);
	AT(classic_req_dmaster, db_id, 32, 32 - 32);
	AT(classic_req_dmaster, rsn, 64, 40 - 32);
	AT(classic_req_dmaster, dmaster, 32, 48 - 32);
	AT(classic_req_dmaster, record_flags, 32, 60 - 32);
	AT(classic_reply_dmaster, rsn, 64, 40 - 32);
	AT(classic_reply_dmaster, record_flags, 32, 56 - 32);
	AT(classic_req_message, srvid, 64, 32 - 32);
	AT(classic_req_tunnel, tunnel_id, 64, 32 - 32);
	AT(classic_req_tunnel, flags, 32, 40 - 32);
	AT(classic_req_keepalive, version, 32, 32 - 32);
	AT(classic_req_keepalive, uptime, 32, 36 - 32);
	assert_int_equal(CLASSIC_REQ_CALL_NFIXED, 56 - 32);
	assert_int_equal(CLASSIC_REPLY_CALL_NFIXED, 40 - 32);
	assert_int_equal(CLASSIC_REQ_DMASTER_NFIXED, 60 - 32);
	assert_int_equal(CLASSIC_REPLY_DMASTER_NFIXED, 56 - 32);
	assert_int_equal(CLASSIC_REPLY_ERROR_NFIXED, 40 - 32);
	assert_int_equal(CLASSIC_REQ_MESSAGE_NFIXED, 44 - 32);
	assert_int_equal(CLASSIC_REQ_CONTROL_NFIXED, 60 - 32);
	assert_int_equal(CLASSIC_REPLY_CONTROL_NFIXED, 44 - 32);
	assert_int_equal(CLASSIC_REQ_TUNNEL_NFIXED, 48 - 32);
}

static void test_payload_offsets(void **state)
{
	AT(classic_uptime, current_time.sec, 64, 0);
	AT(classic_uptime, start_time.usec, 64, 24);
	AT(classic_uptime, last_recovery_started.sec, 64, 32);
	AT(classic_uptime, last_recovery_finished.sec, 64, 48);
	AT(classic_public_ip_info, active_idx, 32, 32);
	AT(classic_iface, references, 32, 20);
	AT(classic_traverse_start, srvid, 64, 8);
	AT(classic_traverse_all, client_reqid, 32, 12);
	AT(classic_traverse_all, srvid, 64, 16);
	AT(classic_pulldb_ext, srvid, 64, 8);
	AT(classic_pid_srvid, srvid, 64, 4);
	AT(classic_ltdb_header, dmaster, 32, 8);
	AT(classic_ltdb_header, flags, 32, 16);
	AT(classic_push_record, db_id, 32, 4);
	AT(classic_push_record, header.rsn, 64, 8);
	AT(classic_election, priority_time.sec, 64, 8);
	AT(classic_election, pnn, 32, 24);
	AT(classic_election, node_flags, 32, 28);
	AT(classic_srvid_message, srvid, 64, 8);
	AT(classic_disable_message, timeout, 32, 16);
	AT(classic_server_id, task_id, 32, 8);
	AT(classic_server_id, vnn, 32, 12);
	AT(classic_server_id, unique_id, 64, 16);
	AT(classic_g_lock, sid.pid, 64, 8);
	AT(classic_tunable_list, values[CLASSIC_TUNABLE_CONTROL_TIMEOUT], 32, 8);
	AT(classic_tunable_list, values[CLASSIC_TUNABLE_RECD_PING_TIMEOUT], 32, 104);
	AT(classic_tunable_list, values[CLASSIC_TUNABLE_VACUUM_INTERVAL], 32, 128);
	AT(classic_tunable_list, values[CLASSIC_TUNABLE_TDB_MUTEX_ENABLED], 32, 224);
	AT(classic_tunable_list, values[CLASSIC_TUNABLE_ALLOW_MIXED_VERSIONS], 32, 244);
}

static void test_statistics_offsets(void **state)
{
	AT(classic_statistics, keepalive_packets_recv, 32, 32);
	AT(classic_statistics, node_req_call, 32, 36);
	AT(classic_statistics, node_req_tunnel, 32, 68);
	AT(classic_statistics, client_req_call, 32, 72);
	AT(classic_statistics, timeouts_traverse, 32, 96);
	AT(classic_statistics, reclock_daemon.num, 32, 104);
	AT(classic_statistics, reclock_recd.num, 32, 136);
	AT(classic_statistics, locks.num_calls, 32, 168);
	AT(classic_statistics, locks.latency.num, 32, 184);
	AT(classic_statistics, locks.buckets[15], 32, 276);
	AT(classic_statistics, total_calls, 32, 280);
	AT(classic_statistics, memory_used, 32, 296);
	AT(classic_statistics, max_hop_count, 32, 304);
	AT(classic_statistics, hop_count_buckets[0], 32, 308);
	AT(classic_statistics, call_latency.num, 32, 376);
	AT(classic_statistics, childwrite_latency.num, 32, 408);
	AT(classic_statistics, num_recoveries, 32, 440);
	AT(classic_statistics, start_time.sec, 64, 448);
	AT(classic_statistics, current_time.usec, 64, 472);
	AT(classic_statistics, total_ro_delegations, 32, 480);
	AT(classic_statistics, total_ro_revokes, 32, 484);
	AT(classic_db_statistics, vacuum.num, 32, 112);
	AT(classic_db_statistics, ro_delegations, 32, 144);
	AT(classic_db_statistics, hop_count_buckets[0], 32, 152);
	AT(classic_db_statistics, num_hot_keys, 32, 216);
	AT(classic_db_statistics, hot_keys[0].count, 32, 224);
	AT(classic_db_statistics, hot_keys[9].keylen, 64, 224 + 9 * 24 + 16);
}

static void test_sizes(void **state)
{
	struct classic_statistics s[2] = {{.num_clients = 7}, {.num_clients = 8}};
	struct classic_statistics_list list = {.stats = {2, s}};
	struct ctdb_blob b;

	assert_int_equal(CLASSIC_HEADER_NSIZE, 32);
	assert_int_equal(CLASSIC_SOCK_ADDR_NSIZE, 28);
	assert_int_equal(CLASSIC_NODE_AND_FLAGS_NSIZE, 36);
	assert_int_equal(CLASSIC_NODE_FLAG_CHANGE_NSIZE, 12);
	assert_int_equal(CLASSIC_UPTIME_NSIZE, 64);
	assert_int_equal(CLASSIC_PUBLIC_IP_NSIZE, 32);
	assert_int_equal(CLASSIC_IFACE_NSIZE, 24);
	assert_int_equal(CLASSIC_CONNECTION_NSIZE, 56);
	assert_int_equal(CLASSIC_LTDB_HEADER_NSIZE, 24);
	assert_int_equal(CLASSIC_TRAVERSE_START_NSIZE, 16);
	assert_int_equal(CLASSIC_TRAVERSE_START_EXT_NSIZE, 24);
	assert_int_equal(CLASSIC_TRAVERSE_ALL_NSIZE, 24);
	assert_int_equal(CLASSIC_TRAVERSE_ALL_EXT_NSIZE, 32);
	assert_int_equal(CLASSIC_DB_VACUUM_NSIZE, 5);
	assert_int_equal(CLASSIC_PID_SRVID_NSIZE, 12);
	assert_int_equal(CLASSIC_TUNABLE_LIST_NSIZE, 248);
	assert_int_equal(CLASSIC_LATENCY_NSIZE, 32);
	assert_int_equal(CLASSIC_STATISTICS_NSIZE, 488);
	assert_int_equal(CLASSIC_DB_STATISTICS_NFIXED, 464);
	assert_int_equal(CLASSIC_NOTIFY_DATA_NFIXED, 12);
	/* elements of 8-byte alignment behind a count of 4 bytes */
	assert_int_equal(classic_statistics_list_nencode(NULL, &list, &b), 0);
	assert_int_equal(b.len, 8 + 2 * 488);
	assert_int_equal(native_load32(b.data), 2);
	assert_int_equal(native_load32(b.data + 8), 7);
	assert_int_equal(native_load32(b.data + 8 + 488), 8);
	talloc_free(b.data);
}

static void test_variable_layouts(void **state)
{
	TALLOC_CTX *mem = talloc_new(NULL);
	struct classic_push_record p = {.key = {3, (uint8_t *)(uintptr_t) "key"},
					.value = {2, (uint8_t *)(uintptr_t) "va"}};
	struct classic_db_id_flags ids[] = {{0x11111111, 1}, {0x22222222, 8}};
	struct classic_dbid_map map = {.dbs = {2, ids}};
	struct classic_iface iface = {.name = (char *)(uintptr_t) "eth0", .link_state = 1, .references = 5};
	struct classic_tunable t = {.value = 9, .name = (char *)(uintptr_t) "EnableBans"};
	struct classic_text text = {.text = (char *)(uintptr_t) "g_lock.tdb"};
	struct ctdb_blob b;

	assert_int_equal(classic_push_record_nencode(mem, &p, &b), 0);
	assert_int_equal(b.len, 45);
	assert_int_equal(native_load32(b.data + 32), 3);
	assert_memory_equal(b.data + 36, "key", 3);
	assert_int_equal(native_load32(b.data + 39), 2);
	assert_memory_equal(b.data + 43, "va", 2);

	assert_int_equal(classic_dbid_map_nencode(mem, &map, &b), 0);
	assert_int_equal(b.len, 20);
	assert_memory_equal(b.data, "\2\0\0\0\x11\x11\x11\x11\1\0\0\0\x22\x22\x22\x22\10\0\0\0", 20);

	assert_int_equal(classic_iface_nencode(mem, &iface, &b), 0);
	assert_int_equal(b.len, 24);
	assert_memory_equal(b.data, "eth0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1\0\5\0\0\0", 24);

	assert_int_equal(classic_tunable_nencode(mem, &t, &b), 0);
	assert_int_equal(b.len, 19);
	assert_memory_equal(b.data, "\11\0\0\0\13\0\0\0EnableBans", 19);

	assert_int_equal(classic_text_nencode(mem, &text, &b), 0);
	assert_int_equal(b.len, 11);
	assert_memory_equal(b.data, "g_lock.tdb", 11);
	talloc_free(mem);
}

/* ---- malformed input ---- */

/* A count is held against the bytes present before anything is allocated for it: beyond the limit talloc would say
 * ENOMEM. */
static void test_counts_before_memory(void **state)
{
	TALLOC_CTX *mem = talloc_new(NULL);
	uint8_t in[64] = {0};
	struct classic_rec_buffer b;

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
	assert_int_equal(talloc_set_memlimit(mem, 1024 * 1024), 0);
#pragma GCC diagnostic pop
	native_store32(in + 4, CLASSIC_RECORDS_MAX);
	assert_int_equal(classic_rec_buffer_ndecode(mem, in, 64, &b, NULL), EBADMSG);
	native_store32(in + 4, htobe32(CLASSIC_RECORDS_MAX));
	assert_int_equal(classic_rec_buffer_decode(mem, in, 64, &b), EBADMSG);
	talloc_free(mem);
}

/* The bytes are there, but more than the bound allows. */
static void test_over_bound(void **state)
{
	size_t len = 24 + CLASSIC_KEY_MAX + 1;
	uint8_t *in = talloc_zero_size(NULL, len);
	struct classic_req_call c;

	native_store32(in + 16, CLASSIC_KEY_MAX + 1);
	assert_int_equal(classic_req_call_nview(in, len, &c, NULL), EBADMSG);
	native_store32(in + 16, CLASSIC_KEY_MAX);
	assert_int_equal(classic_req_call_nview(in, len, &c, NULL), 0);
	talloc_free(in);
}

static void test_lengths(void **state)
{
	TALLOC_CTX *mem = talloc_new(NULL);
	uint8_t in[64] = {0};
	struct classic_req_call c;
	struct classic_rec_buffer b;
	struct classic_vnn_map map;
	struct classic_rec_data r;

	/* a key that is said to be longer than the packet, than its bound, than 32 bits allow to add */
	native_store32(in + 16, 41);
	assert_int_equal(classic_req_call_nview(in, 64, &c, NULL), EBADMSG);
	native_store32(in + 16, 40);
	assert_int_equal(classic_req_call_nview(in, 64, &c, NULL), 0);
	native_store32(in + 16, CLASSIC_KEY_MAX + 1);
	assert_int_equal(classic_req_call_nview(in, 64, &c, NULL), EBADMSG);
	native_store32(in + 16, 16);
	native_store32(in + 20, 0xFFFFFFF0);
	assert_int_equal(classic_req_call_nview(in, 64, &c, NULL), EBADMSG);
	/* counts that nobody has bytes for allocate nothing */
	memset(in, 0, sizeof(in));
	native_store32(in + 4, 0xFFFFFFFF);
	assert_int_equal(classic_rec_buffer_ndecode(mem, in, 64, &b, NULL), EBADMSG);
	assert_int_equal(classic_vnn_map_ndecode(mem, in, 64, &map, NULL), EBADMSG);
	native_store32(in + 4, 15);
	assert_int_equal(classic_vnn_map_ndecode(mem, in, 64, &map, NULL), EBADMSG);
	native_store32(in + 4, 14);
	assert_int_equal(classic_vnn_map_ndecode(mem, in, 64, &map, NULL), 0);
	assert_int_equal(talloc_total_blocks(mem), 3);
	/* rec_data.length does not agree with what is in it */
	memset(in, 0, sizeof(in));
	native_store32(in, 17);
	assert_int_equal(classic_rec_data_nview(in, 64, &r, NULL), EBADMSG);
	native_store32(in, 16);
	assert_int_equal(classic_rec_data_nview(in, 64, &r, NULL), 0);
	talloc_free(mem);
}

static void test_strings(void **state)
{
	TALLOC_CTX *mem = talloc_new(NULL);
	struct classic_text t;
	struct classic_iface i;
	struct classic_tunable_name n;
	uint8_t iface[24];

	assert_int_equal(classic_text_ndecode(mem, (const uint8_t *)"abc", 4, &t, NULL), 0);
	assert_string_equal(t.text, "abc");
	assert_int_equal(classic_text_ndecode(mem, (const uint8_t *)"abc", 3, &t, NULL), EBADMSG);
	assert_int_equal(classic_text_ndecode(mem, (const uint8_t *)"a\0c", 4, &t, NULL), EBADMSG);
	assert_int_equal(classic_text_ndecode(mem, NULL, 0, &t, NULL), 0);
	assert_string_equal(t.text, "");
	assert_int_equal(classic_tunable_name_ndecode(mem, (const uint8_t *)"\3\0\0\0ab", 7, &n, NULL), 0);
	assert_string_equal(n.name, "ab");
	assert_int_equal(classic_tunable_name_ndecode(mem, (const uint8_t *)"\2\0\0\0ab", 7, &n, NULL), EBADMSG);
	/* char[18] that has no NUL within the bound */
	memset(iface, 'x', sizeof(iface));
	assert_int_equal(classic_iface_ndecode(mem, iface, 24, &i, NULL), EBADMSG);
	iface[17] = 0;
	assert_int_equal(classic_iface_ndecode(mem, iface, 24, &i, NULL), EBADMSG);
	iface[16] = 0;
	assert_int_equal(classic_iface_ndecode(mem, iface, 24, &i, NULL), 0);
	assert_int_equal(strlen(i.name), 16);
	talloc_free(mem);
}

static void test_encode_bounds(void **state)
{
	TALLOC_CTX *mem = talloc_new(NULL);
	char name[18] = "12345678901234567";
	struct classic_iface i = {.name = name};
	struct classic_db_id_flags f = {.flags = 256};
	struct classic_req_call c = {.key = {CLASSIC_KEY_MAX + 1, NULL}};
	struct ctdb_blob b = {0};

	c.key.data = talloc_zero_size(mem, CLASSIC_KEY_MAX + 1);
	assert_int_equal(classic_req_call_nencode(mem, &c, &b), EMSGSIZE);
	c.key.len = CLASSIC_KEY_MAX;
	assert_int_equal(classic_req_call_nencode(mem, &c, &b), 0);
	c.key.data = NULL;
	assert_int_equal(classic_req_call_nencode(mem, &c, &b), EINVAL);
	assert_int_equal(classic_iface_nencode(mem, &i, &b), EMSGSIZE);
	name[16] = '\0';
	assert_int_equal(classic_iface_nencode(mem, &i, &b), 0);
	i.link_state = 0x10000;
	assert_int_equal(classic_iface_nencode(mem, &i, &b), EMSGSIZE);
	assert_int_equal(classic_db_id_flags_nencode(mem, &f, &b), EMSGSIZE);
	talloc_free(mem);
}

/* The optional value behind the data: there, absent, cut off. */
static void test_tail(void **state)
{
	struct classic_req_dmaster d;
	uint8_t in[40] = {0};
	size_t used;

	native_store32(in + 20, 3);
	native_store32(in + 31, 0x00010000);
	assert_int_equal(classic_req_dmaster_nview(in, 40, &d, &used), 0);
	assert_int_equal(used, 35);
	assert_int_equal(d.record_flags, CLASSIC_REC_MIGRATED_WITH_DATA);
	assert_int_equal(classic_req_dmaster_nview(in, 31, &d, &used), 0);
	assert_int_equal(used, 31);
	assert_int_equal(d.record_flags, 0);
	assert_int_equal(classic_req_dmaster_nview(in, 33, &d, &used), 0);
	assert_int_equal(d.record_flags, 0);
}

static void test_enums(void **state)
{
	struct fixed_parts f = {.s = LIGHT, .narrow = LIGHT}, g;
	struct ctdb_blob b;

	assert_int_equal(fixed_parts_nencode(NULL, &f, &b), 0);
	assert_int_equal(native_load32(b.data + 4), LIGHT);
	assert_int_equal(b.data[8], LIGHT);
	assert_int_equal(fixed_parts_ndecode(NULL, b.data, b.len, &g, NULL), 0);
	assert_int_equal(g.narrow, LIGHT);
	talloc_free(talloc_parent(g.label));
	b.data[8] = 7;
	assert_int_equal(fixed_parts_ndecode(NULL, b.data, b.len, &g, NULL), EBADMSG);
	talloc_free(b.data);
	f.s = (enum shade)3;
	assert_int_equal(fixed_parts_nencode(NULL, &f, &b), EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_req_control),
		cmocka_unit_test(test_reply_control),
		cmocka_unit_test(test_node_map),
		cmocka_unit_test(test_call),
		cmocka_unit_test(test_message),
		cmocka_unit_test(test_rec_buffer),
		cmocka_unit_test(test_traverse),
		cmocka_unit_test(test_schedule_for_deletion),
		cmocka_unit_test(test_packet_offsets),
		cmocka_unit_test(test_payload_offsets),
		cmocka_unit_test(test_statistics_offsets),
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_variable_layouts),
		cmocka_unit_test(test_lengths),
		cmocka_unit_test(test_strings),
		cmocka_unit_test(test_encode_bounds),
		cmocka_unit_test(test_tail),
		cmocka_unit_test(test_enums),
		cmocka_unit_test(test_counts_before_memory),
		cmocka_unit_test(test_over_bound),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
