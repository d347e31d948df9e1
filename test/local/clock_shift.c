/*
 * Preloaded into the programs of a node: its wall clock is off by the seconds in the file that CTDB_TEST_CLOCK names (8
 * bytes, native; a file that is written at any time has effect at once). Nothing else changes: monotonic clocks and
 * what the kernel does by itself stay as they are.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define PUBLIC __attribute__((visibility("default")))

static const volatile int64_t *shift;

__attribute__((constructor)) static void map_file(void)
{
	const char *path = getenv("CTDB_TEST_CLOCK");
	int fd = path == NULL ? -1 : open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	void *p;

	if (fd < 0) {
		return;
	}
	if (fstat(fd, &st) == 0 && st.st_size >= (off_t)sizeof(*shift)) {
		p = mmap(NULL, sizeof(*shift), PROT_READ, MAP_SHARED, fd, 0);
		shift = p == MAP_FAILED ? NULL : p;
	}
	close(fd);
}

/* The kernel's own, so that no other layer is asked twice. */
PUBLIC int clock_gettime(clockid_t clock, struct timespec *ts)
{
	int ret = (int)syscall(SYS_clock_gettime, clock, ts);

	if (ret == 0 && shift != NULL && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
		ts->tv_sec += *shift;
	}
	return ret;
}

PUBLIC int gettimeofday(struct timeval *restrict tv, void *restrict zone)
{
	struct timespec ts;

	if (clock_gettime(CLOCK_REALTIME, &ts) == 0) {
		tv->tv_sec = ts.tv_sec;
		tv->tv_usec = ts.tv_nsec / 1000;
	}
	return 0;
}

PUBLIC time_t time(time_t *t)
{
	struct timespec ts = {0};

	(void)clock_gettime(CLOCK_REALTIME, &ts);
	if (t != NULL) {
		*t = ts.tv_sec;
	}
	return ts.tv_sec;
}

PUBLIC int timespec_get(struct timespec *ts, int base)
{
	return base == TIME_UTC && clock_gettime(CLOCK_REALTIME, ts) == 0 ? base : 0;
}
