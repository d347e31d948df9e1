/*
 * For tests, preloaded into a worker: ends it at its n-th write to a file or change of a name. n is read from the file
 * TEST_CRASH_AT, which is removed, so that only one worker is hit. Files are not mapped (a store through a mapping could not be counted), so
 * that every write passes here. Of the n-th, half of its sectors are still written; what fits into one or two is not
 * written at all, for the few bytes of a magic number cannot be torn.
 */
#undef _FILE_OFFSET_BITS /* names as libtdb calls them */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#pragma GCC visibility push(default) /* all of these take the place of libc's */

static long left = -1;

static void __attribute__((constructor)) begin(void)
{
	const char *path = getenv("TEST_CRASH_AT");
	FILE *f = path != NULL ? fopen(path, "r") : NULL;
	long n = -1;

	if (f != NULL) {
		if (fscanf(f, "%ld", &n) != 1) {
			n = -1;
		}
		fclose(f);
		unlink(path); /* not counted yet */
	}
	left = n;
}

static int now(void)
{
	return left > 0 && --left == 0;
}

static void end(void)
{
	raise(SIGKILL);
}

ssize_t pwrite64(int fd, const void *buf, size_t n, off64_t at)
{
	ssize_t (*real)(int, const void *, size_t, off64_t) =
		(ssize_t(*)(int, const void *, size_t, off64_t))dlsym(RTLD_NEXT, "pwrite64");

	if (now()) {
		if (n >= 1024) {
			(void)real(fd, buf, n / 2 & ~(size_t)511, at);
		}
		end();
	}
	return real(fd, buf, n, at);
}

ssize_t pwrite(int fd, const void *buf, size_t n, off_t at)
{
	return pwrite64(fd, buf, n, at);
}

static int sync_call(const char *name, int fd)
{
	int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);

	if (now()) {
		end();
	}
	return real(fd);
}

int fsync(int fd)
{
	return sync_call("fsync", fd);
}

int fdatasync(int fd)
{
	return sync_call("fdatasync", fd);
}

int ftruncate64(int fd, off64_t len)
{
	int (*real)(int, off64_t) = (int (*)(int, off64_t))dlsym(RTLD_NEXT, "ftruncate64");

	if (now()) {
		end();
	}
	return real(fd, len);
}

int ftruncate(int fd, off_t len)
{
	return ftruncate64(fd, len);
}

int posix_fallocate64(int fd, off64_t at, off64_t len)
{
	int (*real)(int, off64_t, off64_t) = (int (*)(int, off64_t, off64_t))dlsym(RTLD_NEXT, "posix_fallocate64");

	if (now()) {
		end();
	}
	return real(fd, at, len);
}

int posix_fallocate(int fd, off_t at, off_t len)
{
	return posix_fallocate64(fd, at, len);
}

int rename(const char *from, const char *to)
{
	int (*real)(const char *, const char *) = (int (*)(const char *, const char *))dlsym(RTLD_NEXT, "rename");

	if (now()) {
		end();
	}
	return real(from, to);
}

int unlink(const char *path)
{
	int (*real)(const char *) = (int (*)(const char *))dlsym(RTLD_NEXT, "unlink");

	if (now()) {
		end();
	}
	return real(path);
}

void *mmap64(void *addr, size_t len, int prot, int flags, int fd, off64_t at)
{
	void *(*real)(void *, size_t, int, int, int, off64_t) =
		(void *(*)(void *, size_t, int, int, int, off64_t))dlsym(RTLD_NEXT, "mmap64");

	if (fd >= 0 && (flags & MAP_TYPE) == MAP_SHARED) {
		errno = ENOMEM;
		return MAP_FAILED;
	}
	return real(addr, len, prot, flags, fd, at);
}

void *mmap(void *addr, size_t len, int prot, int flags, int fd, off_t at)
{
	return mmap64(addr, len, prot, flags, fd, at);
}
