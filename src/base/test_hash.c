/* hash_lookup3 against published and observed values. */
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

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_known_values)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
