/* Preloaded into daemons: makes each fsync, fdatasync and msync take as long as a real disk would. The milliseconds are
 * in a file, CTDB_BENCH_SYNC_FILE, which is looked at each time, so they can be changed while the daemons run. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

static long delay_ms(void)
{
	const char *path = getenv("CTDB_BENCH_SYNC_FILE");
	char text[16] = "";
	int fd = path == NULL ? -1 : open(path, O_RDONLY | O_CLOEXEC);

	if (fd != -1) {
		(void)!read(fd, text, sizeof(text) - 1);
		close(fd);
	}
	return strtol(text, NULL, 10);
}

static void delay(void)
{
	int saved = errno;
	long ms = delay_ms();
	struct timespec left = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

	while (ms > 0 && nanosleep(&left, &left) != 0 && errno == EINTR) {
	}
	errno = saved;
}

static void *next(const char *name)
{
	void *fn = dlsym(RTLD_NEXT, name);

	if (fn == NULL) {
		abort();
	}
	return fn;
}

EXPORT int fsync(int fd)
{
	int (*real)(int);

	*(void **)&real = next("fsync");
	delay();
	return real(fd);
}

EXPORT int fdatasync(int fd)
{
	int (*real)(int);

	*(void **)&real = next("fdatasync");
	delay();
	return real(fd);
}

EXPORT int msync(void *start, size_t length, int flags)
{
	int (*real)(void *, size_t, int);

	*(void **)&real = next("msync");
	if ((flags & MS_SYNC) != 0) {
		delay();
	}
	return real(start, length, flags);
}
