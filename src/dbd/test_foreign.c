/* Tests of byte order between nodes: what a machine of the other byte order would send and read. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <string.h>
#include <cmocka.h>

#include "dbd/foreign.h"
#include "dbd/recdata.h"
#include "protocol/classic_native.h"

static void turn_both(uint8_t *p, size_t len, uint32_t opcode, bool reply)
{
	assert_int_equal(foreign_turn_control(p, len, FOREIGN_OUT, opcode, reply), 0);
	assert_int_equal(foreign_turn_control(p, len, FOREIGN_IN, opcode, reply), 0);
}

/* There and back nothing changes, whatever the length. */
static void test_there_and_back(void **state)
{
	uint8_t buf[1200], before[sizeof(buf)];
	uint32_t opcode;
	size_t i, len;

	for (i = 0; i < sizeof(buf); i++) {
		before[i] = (uint8_t)(i * 7 + 1);
	}
	for (opcode = 0; opcode < 600; opcode++) {
		if (opcode == CLASSIC_CONTROL_UPDATE_RECORD || opcode == CLASSIC_CONTROL_TRY_DELETE_RECORDS ||
		    opcode == CLASSIC_CONTROL_VACUUM_FETCH) {
			continue; /* those need lengths that fit */
		}
		for (len = 0; len < sizeof(buf); len += len < 80 ? 1 : 37) {
			memcpy(buf, before, sizeof(buf));
			turn_both(buf, len, opcode, false);
			turn_both(buf, len, opcode, true);
			assert_memory_equal(buf, before, sizeof(buf));
		}
	}
}

/* Each byte of a structure of integers alone is turned, to its very end: the form is as long as the structure. */
static size_t turned_until(uint32_t opcode, bool reply, size_t len)
{
	uint8_t buf[1200], before[sizeof(buf)];
	size_t i;

	for (i = 0; i < sizeof(buf); i++) {
		before[i] = (uint8_t)(i * 5 + 3);
	}
	memcpy(buf, before, sizeof(buf));
	assert_true(len <= sizeof(buf));
	assert_int_equal(foreign_turn_control(buf, len, FOREIGN_OUT, opcode, reply), 0);
	for (i = len; i > 0 && buf[i - 1] == before[i - 1]; i--) {
	}
	return i;
}

static void test_forms_are_as_long_as_the_structures(void **state)
{
	assert_int_equal(turned_until(CLASSIC_CONTROL_STATISTICS, true, 1200), CLASSIC_STATISTICS_NSIZE);
	assert_int_equal(turned_until(CLASSIC_CONTROL_GET_DB_STATISTICS, true, 1200), CLASSIC_DB_STATISTICS_NFIXED);
	assert_int_equal(turned_until(CLASSIC_CONTROL_SET_BAN_STATE, false, 1200), CLASSIC_BAN_STATE_NSIZE);
	assert_int_equal(turned_until(CLASSIC_CONTROL_WIPE_DATABASE, false, 1200), CLASSIC_TRANSDB_NSIZE);
	assert_int_equal(turned_until(CLASSIC_CONTROL_DB_PULL, false, 1200), CLASSIC_PULLDB_EXT_NSIZE);
	assert_int_equal(turned_until(CLASSIC_CONTROL_SET_IFACE_LINK_STATE, false, 1200), CLASSIC_IFACE_NSIZE);
	assert_int_equal(turned_until(CLASSIC_CONTROL_SCHEDULE_FOR_DELETION, false, 1200), 36);
	assert_int_equal(turned_until(CLASSIC_CONTROL_MODIFY_FLAGS, false, 1200), CLASSIC_NODE_FLAG_CHANGE_NSIZE);
}

/* Turning integers of the other order gives what our own codec reads. */
static void test_node_map(void **state)
{
	static const uint8_t big[] = "\0\0\0\1"
				     "\0\0\0\2"
				     "\0\0\0\x20"
				     "\0\2\x11\x1b\x7f\0\0\1"
				     "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
	uint8_t buf[4 + 36];
	struct classic_node_map map;
	TALLOC_CTX *mem;

	if (FOREIGN_HOST) {
		skip(); /* there it is the other way round */
	}
	mem = talloc_new(NULL);
	assert_int_equal(sizeof(big) - 1, sizeof(buf));
	memcpy(buf, big, sizeof(buf));
	assert_int_equal(foreign_turn_control(buf, sizeof(buf), FOREIGN_IN, CLASSIC_CONTROL_GET_NODEMAP, true), 0);
	assert_int_equal(classic_node_map_ndecode(mem, buf, sizeof(buf), &map, NULL), 0);
	assert_int_equal(map.nodes.n, 1);
	assert_int_equal(map.nodes.v[0].pnn, 2);
	assert_int_equal(map.nodes.v[0].flags, 0x20);
	assert_memory_equal(map.nodes.v[0].addr.addr, "\2\0\x11\x1b\x7f\0\0\1", 8);
	talloc_free(mem);
}

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
	assert_int_equal(foreign_turn_control(buf, 3, FOREIGN_IN, CLASSIC_CONTROL_UPDATE_RECORD, false), EBADMSG);
	(void)foreign_turn_control(buf, sizeof(buf), FOREIGN_IN, CLASSIC_CONTROL_PUSH_RECORD, false);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_there_and_back), cmocka_unit_test(test_forms_are_as_long_as_the_structures),
		cmocka_unit_test(test_node_map),       cmocka_unit_test(test_records),
		cmocka_unit_test(test_bad_records),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
