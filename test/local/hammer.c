/* Clients that use one hash chain of a file all the time: hammer PATH FLAGS KEY PROCESSES. Until its standard input
 * ends. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include <tdb.h>

#define HOLD_NS 20000

static long long now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

static int hammer(char **argv)
{
	struct tdb_context *tdb = tdb_open(argv[1], 0, (int)strtol(argv[2], NULL, 0), O_RDWR, 0);
	TDB_DATA key = {.dptr = (unsigned char *)argv[3], .dsize = strlen(argv[3])};

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (tdb != NULL && tdb_chainlock(tdb, key) == 0) {
		for (long long end = now_ns() + HOLD_NS; now_ns() < end;) {
		}
		if (tdb_chainunlock(tdb, key) != 0) {
			break;
		}
	}
	return 1;
}

int main(int argc, char **argv)
{
	char c;

	if (argc != 5) {
		return 2;
	}
	for (int n = atoi(argv[4]); n > 0; n--) {
		if (fork() == 0) {
			_exit(hammer(argv));
		}
	}
	puts("ready");
	fflush(stdout);
	return read(0, &c, 1) == 0 ? 0 : 1;
}
