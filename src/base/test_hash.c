/* Hashes against published and observed values. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/hash.h"

static void test_known_values(void **state)
{
	static const struct {
		const char *text;
		size_t len;
		uint32_t hash;
	} known[] = {
		{"", 0, 0xDEADBEEF},
		{"", 1, 0x8BA9414B},
		{"a", 2, 0x42B17671},
		{"0123456789ab", 12, 0x1065E50A},
		{"abcdefghijk", 12, 0xA6E64A17},
		{"abcdefghijkl", 13, 0xE5A71B42},
		{"secrets.tdb", 12, 0x7132C184},
		{"g_lock.tdb", 11, 0x4D2A432B},
		{"locking.tdb", 12, 0x7A19D84D},
		{"brlock.tdb", 11, 0x4E66C2B2},
		{"registry.tdb", 13, 0x6CF2837D},
		{"smbXsrv_version_global.tdb", 27, 0x521B7544},
	};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		assert_int_equal(hash_lookup3((const uint8_t *)known[i].text, known[i].len), known[i].hash);
	}
}

/* A flipped bit, a byte more or less, a block of zeros: all of it is seen. The values are part of a file format. */
static void test_check64(void **state)
{
	uint8_t buf[8192 + 5];
	uint64_t whole;

	assert_int_equal(hash_check64(0, "", 0), 0);
	assert_int_equal(hash_check64(1, "12345678abc", 11), 0xD1F3886107E9EA3CULL);
	for (size_t i = 0; i < sizeof(buf); i++) {
		buf[i] = (uint8_t)(i * 7 + i / 256);
	}
	whole = hash_check64(5, buf, sizeof(buf));
	assert_int_not_equal(whole, hash_check64(6, buf, sizeof(buf)));
	assert_int_not_equal(whole, hash_check64(5, buf, sizeof(buf) - 1));
	for (size_t i = 0; i < sizeof(buf) * 8; i += 13) {
		buf[i / 8] ^= (uint8_t)(1U << i % 8);
		assert_int_not_equal(whole, hash_check64(5, buf, sizeof(buf)));
		buf[i / 8] ^= (uint8_t)(1U << i % 8);
	}
	memset(buf + 4096, 0, 4096);
	assert_int_not_equal(whole, hash_check64(5, buf, sizeof(buf)));
	memset(buf, 0, sizeof(buf));
	assert_int_not_equal(hash_check64(0, buf, 8), hash_check64(0, buf, 16));
}

static void test_fnv1a64(void **state)
{
	assert_true(hash_fnv1a64(HASH_FNV1A64, "", 0) == 0xcbf29ce484222325ULL);
	assert_true(hash_fnv1a64(HASH_FNV1A64, "foobar", 6) == 0x85944171f73967e8ULL);
	assert_true(hash_fnv1a64(hash_fnv1a64(HASH_FNV1A64, "foo", 3), "bar", 3) == 0x85944171f73967e8ULL);
	assert_true(hash_mix64(1) == 0xb456bcfc34c2cb2cULL); /* as MurmurHash3's end has it */
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_known_values), cmocka_unit_test(test_check64),
					   cmocka_unit_test(test_fnv1a64)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
