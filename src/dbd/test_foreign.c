/* Tests of byte order between nodes: what a machine of the other byte order would send and read. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <cmocka.h>

#include "dbd/control.h"
#include "dbd/foreign.h"
#include "dbd/recdata.h"
#include "protocol/classic_native.h"
#include "protocol/gen_test.h"

/* ---- whatever the bytes ---- */

static void there_and_back(const uint8_t *before, size_t len, uint32_t opcode)
{
	uint8_t *p = gen_exact_copy(before, len);

	for (int reply = 0; reply <= 1; reply++) {
		size_t used = foreign_turn_control(p, len, FOREIGN_OUT, opcode, reply);

		assert_true(used <= len);
		assert_int_equal(foreign_turn_control(p, len, FOREIGN_IN, opcode, reply), used);
		assert_memory_equal(p, before, len);
	}
	free(p);
}

static void test_there_and_back(void **state)
{
	uint8_t before[1200];
	uint64_t rnd = 7;
	uint32_t opcode;
	size_t i, len;

	for (opcode = 0; opcode < 600; opcode++) {
		for (i = 0; i < sizeof(before); i++) {
			before[i] = gen_random_below(&rnd, 4) == 0 ? (uint8_t)gen_random_number(&rnd, 8) : 0;
		}
		for (len = 0; len < sizeof(before); len += len < 80 ? 1 : 37) {
			there_and_back(before, len, opcode);
		}
	}
}

/* Lengths and numbers as large as they can be. */
static void test_hostile(void **state)
{
	uint8_t before[300];
	uint32_t opcode;
	size_t len;

	memset(before, 0xff, sizeof(before));
	for (opcode = 0; opcode < 600; opcode++) {
		for (len = 0; len < sizeof(before); len += len < 80 ? 1 : 11) {
			there_and_back(before, len, opcode);
		}
	}
}

/* ---- forms and sizes ---- */

/* The table of controls knows the size of many requests: the form has the same. */
static void test_sizes_of_requests(void **state)
{
	uint8_t zero[1200] = {0};
	uint32_t opcode, n = 0;

	for (opcode = 0; opcode < 600; opcode++) {
		const struct control_entry *e = control_lookup(opcode);
		size_t used = foreign_turn_control(zero, sizeof(zero), FOREIGN_IN, opcode, false);

		if (e == NULL) {
			assert_int_equal(used, 0);
		} else if (e->size != CONTROL_ANY_SIZE) {
			assert_int_equal(used, e->size);
			n += e->size > 0;
		}
	}
	assert_true(n > 40);
}

static void check_reply_size(uint32_t opcode, size_t size)
{
	uint8_t zero[1200] = {0};

	assert_int_equal(foreign_turn_control(zero, sizeof(zero), FOREIGN_IN, opcode, true), size);
}

static void test_sizes_of_replies(void **state)
{
	check_reply_size(CLASSIC_CONTROL_PING, 0);
	check_reply_size(CLASSIC_CONTROL_GETDBPATH, 0);
	check_reply_size(CLASSIC_CONTROL_STATISTICS, CLASSIC_STATISTICS_NSIZE);
	check_reply_size(CLASSIC_CONTROL_GET_ALL_TUNABLES, CLASSIC_TUNABLE_LIST_NSIZE);
	check_reply_size(CLASSIC_CONTROL_UPTIME, CLASSIC_UPTIME_NSIZE);
	check_reply_size(CLASSIC_CONTROL_GET_BAN_STATE, CLASSIC_BAN_STATE_NSIZE);
	check_reply_size(CLASSIC_CONTROL_GET_DB_SEQNUM, 8);
	check_reply_size(CLASSIC_CONTROL_DB_ATTACH, 4);
	check_reply_size(CLASSIC_CONTROL_DB_OPEN_FLAGS, 4);
}

/* ---- the bytes themselves ---- */

/* Ours to the wire and back is right whatever the order of this machine: it turns what is not its own. */
static const uint8_t *check_sample(const struct gen_sample *s, uint32_t opcode, bool reply)
{
	const uint8_t *own = FOREIGN_HOST ? s->big : s->little, *other = FOREIGN_HOST ? s->little : s->big;
	uint8_t *p = gen_exact_copy(other, s->len);

	foreign_turn_control(p, s->len, FOREIGN_IN, opcode, reply);
	assert_memory_equal(p, own, s->len);
	foreign_turn_control(p, s->len, FOREIGN_OUT, opcode, reply);
	assert_memory_equal(p, other, s->len);
	free(p);
	return own;
}

static void test_node_map(void **state)
{
	TALLOC_CTX *mem = talloc_new(NULL);
	struct gen_sample s = {0};
	struct classic_node_map map;

	gen_sample_put(&s, 2, 4);
	gen_sample_put(&s, 7, 4);
	gen_sample_put(&s, 0x20, 4);
	gen_sample_put(&s, AF_INET, 2);
	gen_sample_bytes(&s, "\x11\x1b\x7f\0\0\1........++++........", 26);
	gen_sample_put(&s, 8, 4);
	gen_sample_put(&s, 0, 4);
	gen_sample_put(&s, AF_INET6, 2);
	gen_sample_bytes(&s, "\x11\x1b\1\2\3\4sixteen bytes...", 22);
	gen_sample_put(&s, 0x01020304, 4); /* scope */
	assert_int_equal(
		classic_node_map_ndecode(mem, check_sample(&s, CLASSIC_CONTROL_GET_NODEMAP, true), s.len, &map, NULL),
		0);
	assert_int_equal(map.nodes.n, 2);
	assert_int_equal(map.nodes.v[0].pnn, 7);
	assert_int_equal(map.nodes.v[0].flags, 0x20);
	assert_int_equal(map.nodes.v[1].pnn, 8);
	talloc_free(mem);
}

static void put_record(struct gen_sample *s, const char *key, uint32_t keylen, const char *value, uint32_t len)
{
	gen_sample_put(s, 16 + keylen + 24 + len, 4);
	gen_sample_put(s, 0x0a0b0c0d, 4); /* reqid */
	gen_sample_put(s, keylen, 4);
	gen_sample_put(s, 24 + len, 4);
	gen_sample_bytes(s, key, keylen);
	gen_sample_put(s, 0x1122334455667788, 8);
	gen_sample_put(s, 5, 4);
	gen_sample_put(s, 0, 4);
	gen_sample_put(s, 0x10000, 4);
	gen_sample_bytes(s, "\1\2\3\4", 4);
	gen_sample_bytes(s, value, len);
}

static void test_record_buffer(void **state)
{
	TALLOC_CTX *mem = talloc_new(NULL);
	struct gen_sample s = {0};
	struct classic_rec_buffer b;

	gen_sample_put(&s, 0x4D2A432B, 4);
	gen_sample_put(&s, 4, 4);
	put_record(&s, "odd", 3, "value", 5);
	put_record(&s, "__db_sequence_number__", 23, "", 0);
	put_record(&s, "sequence number no", 18, "12345678", 8);
	gen_sample_put(&s, 16 + 2 + 1, 4); /* too short for a header */
	gen_sample_put(&s, 0, 4);
	gen_sample_put(&s, 2, 4);
	gen_sample_put(&s, 1, 4);
	gen_sample_bytes(&s, "k1x", 3);
	assert_int_equal(classic_rec_buffer_ndecode(mem, check_sample(&s, CLASSIC_CONTROL_UPDATE_RECORD, false), s.len,
						    &b, NULL),
			 0);
	assert_int_equal(b.records.n, 4);
	assert_int_equal(b.records.v[0].reqid, 0x0a0b0c0d);
	check_sample(&s, CLASSIC_CONTROL_TRY_DELETE_RECORDS, true);
	check_sample(&s, CLASSIC_CONTROL_TRANS3_COMMIT, false);
	talloc_free(mem);
}

/* Its value stands behind the key, after a length of its own. */
static void test_push_record(void **state)
{
	TALLOC_CTX *mem = talloc_new(NULL);
	struct gen_sample s = {0};
	struct classic_push_record r;

	gen_sample_put(&s, 0x01020304, 4);
	gen_sample_put(&s, 0x4D2A432B, 4);
	gen_sample_put(&s, 17, 8);
	gen_sample_put(&s, 1, 4);
	gen_sample_put(&s, 0, 4);
	gen_sample_put(&s, 0x20000, 4);
	gen_sample_put(&s, 0, 4);
	gen_sample_put(&s, 5, 4);
	gen_sample_bytes(&s, "a key", 5);
	gen_sample_put(&s, 7, 4);
	gen_sample_bytes(&s, "a value", 7);
	assert_int_equal(
		classic_push_record_ndecode(mem, check_sample(&s, CLASSIC_CONTROL_PUSH_RECORD, false), s.len, &r, NULL),
		0);
	assert_int_equal(r.header.rsn, 17);
	assert_int_equal(r.header.flags, 0x20000);
	assert_int_equal(r.value.len, 7);
	assert_memory_equal(r.value.data, "a value", 7);
	talloc_free(mem);
}

static void test_interfaces(void **state)
{
	TALLOC_CTX *mem = talloc_new(NULL);
	struct gen_sample s = {0};
	struct classic_public_ip_info info;

	gen_sample_put(&s, 3, 4);
	gen_sample_put(&s, AF_INET, 2);
	gen_sample_bytes(&s, "\0\0\x7f\0\0\1....................", 26);
	gen_sample_put(&s, 0, 4);
	gen_sample_put(&s, 1, 4);
	gen_sample_bytes(&s, "eth0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 18);
	gen_sample_put(&s, 1, 2);
	gen_sample_put(&s, 0x01020304, 4);
	assert_int_equal(classic_public_ip_info_ndecode(mem, check_sample(&s, CLASSIC_CONTROL_GET_PUBLIC_IP_INFO, true),
							s.len, &info, NULL),
			 0);
	assert_int_equal(info.ifaces.n, 1);
	assert_string_equal(info.ifaces.v[0].name, "eth0");
	assert_int_equal(info.ifaces.v[0].link_state, 1);
	assert_int_equal(info.ifaces.v[0].references, 0x01020304);
	talloc_free(mem);
}

/* Structures without padding, and a double. */
static void test_packed(void **state)
{
	struct gen_sample pid = {0}, vacuum = {0}, latency = {0};
	struct classic_pid_srvid p;
	struct classic_db_vacuum v;
	struct classic_double d;

	gen_sample_put(&pid, 4711, 4);
	gen_sample_put(&pid, 0x1122334455667788, 8);
	assert_int_equal(classic_pid_srvid_ndecode(NULL, check_sample(&pid, CLASSIC_CONTROL_CHECK_PID_SRVID, false),
						   pid.len, &p, NULL),
			 0);
	assert_int_equal(p.pid, 4711);
	assert_true(p.srvid == 0x1122334455667788);
	gen_sample_put(&vacuum, 0x01020304, 4);
	gen_sample_put(&vacuum, 1, 1);
	assert_int_equal(classic_db_vacuum_ndecode(NULL, check_sample(&vacuum, CLASSIC_CONTROL_DB_VACUUM, false),
						   vacuum.len, &v, NULL),
			 0);
	assert_int_equal(v.db_id, 0x01020304);
	assert_true(v.full);
	gen_sample_put(&latency, 0x3FF8000000000000, 8);
	assert_int_equal(classic_double_ndecode(NULL,
						check_sample(&latency, CLASSIC_CONTROL_RECD_RECLOCK_LATENCY, false),
						latency.len, &d, NULL),
			 0);
	assert_true(d.value == 1.5);
}

/* ---- records ---- */

static void test_records(void **state)
{
	const struct rec_header h = {.rsn = 0x1122334455667788ULL, .dmaster = 5, .flags = 0x10000};
	uint8_t buf[256], before[256], value[REC_HEADER_SIZE + 8] = {0}, *end;
	struct recdata r;
	const uint8_t *p = buf;
	size_t len, left;

	rec_header_put(value, &h);
	memset(value + REC_HEADER_SIZE, 0, 8);
	value[REC_HEADER_SIZE] = 1;
	end = recdata_put(buf, 7, "key", 3, value, sizeof(value));
	end = recdata_put(end, 8, "__db_sequence_number__", 23, value, sizeof(value));
	end = recdata_put(end, 9, "short", 5, "x", 1);
	len = (size_t)(end - buf);
	memcpy(before, buf, len);
	assert_int_equal(foreign_turn_recdata(buf, len, FOREIGN_OUT), 0);
	assert_memory_not_equal(buf, before, len);
	/* Contents stay, but for the sequence number. */
	assert_int_equal(buf[16 + 3 + REC_HEADER_SIZE], 1);
	assert_int_equal(buf[16 + 3 + 32 + 16 + 23 + REC_HEADER_SIZE], 0);
	assert_int_equal(buf[16 + 3 + 32 + 16 + 23 + REC_HEADER_SIZE + 7], 1);
	assert_int_equal(foreign_turn_recdata(buf, len, FOREIGN_IN), 0);
	assert_memory_equal(buf, before, len);
	left = len;
	assert_int_equal(recdata_next(&p, &left, &r), 0);
}

static void test_bad_records(void **state)
{
	uint8_t buf[64], *end = recdata_put(buf, 7, "key", 3, "data", 4);
	size_t len = (size_t)(end - buf), cut;

	for (cut = 1; cut < len; cut++) {
		uint8_t copy[64];

		memcpy(copy, buf, len);
		assert_int_equal(foreign_turn_recdata(copy, cut, FOREIGN_OUT), EBADMSG);
	}
	buf[8] ^= 0xff;
	assert_int_equal(foreign_turn_recdata(buf, len, FOREIGN_OUT), EBADMSG);
	memset(buf, 0xff, sizeof(buf));
	assert_int_equal(foreign_turn_recdata(buf, sizeof(buf), FOREIGN_IN), EBADMSG);
	assert_int_equal(foreign_turn_recbuf(buf, 7, FOREIGN_IN), EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_there_and_back),
		cmocka_unit_test(test_hostile),
		cmocka_unit_test(test_sizes_of_requests),
		cmocka_unit_test(test_sizes_of_replies),
		cmocka_unit_test(test_node_map),
		cmocka_unit_test(test_record_buffer),
		cmocka_unit_test(test_push_record),
		cmocka_unit_test(test_interfaces),
		cmocka_unit_test(test_packed),
		cmocka_unit_test(test_records),
		cmocka_unit_test(test_bad_records),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
