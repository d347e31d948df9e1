/* For tests: has a TDB open in a process of its own until its standard input ends. test_holder PATH FLAGS
 * open|lock|count [KEY] */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <tdb.h>

int main(int argc, char **argv)
{
	struct tdb_context *tdb;
	TDB_DATA key = {.dptr = NULL};
	char c;

	if (argc < 4) {
		return 2;
	}
	tdb = tdb_open(argv[1], 0, atoi(argv[2]), O_RDWR, 0);
	if (tdb == NULL) {
		perror(argv[1]);
		return 1;
	}
	if (strcmp(argv[3], "count") == 0) {
		printf("%d\n", tdb_traverse_read(tdb, NULL, NULL));
		return tdb_close(tdb);
	}
	if (strcmp(argv[3], "lock") == 0 && argc == 5) {
		key = (TDB_DATA){.dptr = (unsigned char *)argv[4], .dsize = strlen(argv[4])};
		if (tdb_chainlock(tdb, key) != 0) {
			return 1;
		}
	}
	puts("ready");
	fflush(stdout);
	while (read(0, &c, 1) > 0) {
	}
	if (key.dptr != NULL) {
		tdb_chainunlock(tdb, key);
	}
	return tdb_close(tdb);
}
