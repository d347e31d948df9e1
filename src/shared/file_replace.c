/* A small file whose contents change at once: temporary file, rename. */
#include "shared/file_replace.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define TRIES 32

/*
 * Who has the lock of a temporary file may write, rename and remove it, but only if it still has its name: before the
 * lock was there, another may have taken it for what a killed writer left. A kill ends the lock. Where a file system
 * has no locks, everybody gets them: then a parallel writer's file may be taken away, and its rename fails or moves the
 * other's.
 */
static bool lock(int fd)
{
	return flock(fd, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK;
}

static bool still_named(int fd, const char *name)
{
	struct stat is, named;

	return fstat(fd, &is) == 0 && lstat(name, &named) == 0 && is.st_dev == named.st_dev &&
	       is.st_ino == named.st_ino;
}

/* Removes what nobody writes. 0: gone, or was not there; EBUSY: somebody does. */
static int leftover_remove(const char *temp)
{
	int fd = open(temp, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
	int ret = 0;

	if (fd < 0 && errno == ENOENT) {
		return 0;
	}
	if (fd >= 0 && !lock(fd)) {
		ret = EBUSY;
	} else if ((fd < 0 || still_named(fd, temp)) && unlink(temp) != 0 && errno != ENOENT) {
		ret = errno;
	}
	if (fd >= 0) {
		close(fd);
	}
	return ret;
}

/* A new file, never one that is there: it could be open elsewhere. EBUSY: somebody writes it. */
static int temp_open(const char *temp, int *out)
{
	for (int i = 0; i < TRIES; i++) {
		int fd = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600), ret;

		if (fd >= 0) {
			if (lock(fd) && still_named(fd, temp)) {
				*out = fd;
				return 0;
			}
			close(fd);
			continue;
		}
		if (errno != EEXIST) {
			return errno;
		}
		ret = leftover_remove(temp);
		if (ret != 0) {
			return ret;
		}
	}
	return EBUSY;
}

static int temp_name(char temp[PATH_MAX], const char *path, unsigned slot)
{
	int n = slot == 0 ? snprintf(temp, PATH_MAX, "%s.new", path) : snprintf(temp, PATH_MAX, "%s.new%u", path, slot);

	return n < PATH_MAX ? 0 : ENAMETOOLONG;
}

/* The first that nobody has. What killed writers have left behind it is removed: it may hold secrets. */
static int temp_take(const char *path, char temp[PATH_MAX], int *fd)
{
	char behind[PATH_MAX];
	int ret = EBUSY;
	unsigned slot;

	for (slot = 0; slot < FILE_REPLACE_WRITERS && ret == EBUSY; slot++) {
		ret = temp_name(temp, path, slot);
		ret = ret == 0 ? temp_open(temp, fd) : ret;
	}
	for (; slot < FILE_REPLACE_WRITERS && ret == 0; slot++) {
		if (temp_name(behind, path, slot) == 0) {
			(void)leftover_remove(behind);
		}
	}
	return ret;
}

static int write_all(int fd, const uint8_t *data, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, data, len);

		if (n < 0 && errno != EINTR) {
			return errno;
		}
		if (n == 0) {
			return EIO;
		}
		data += n > 0 ? n : 0;
		len -= n > 0 ? (size_t)n : 0;
	}
	return 0;
}

static int sync_directory(const char *path)
{
	const char *slash = strrchr(path, '/');
	char dir[PATH_MAX];
	int ret, fd;

	/* The slash belongs to it: the directory may be the root. */
	snprintf(dir, sizeof(dir), "%.*s", slash == NULL ? 1 : (int)(slash - path) + 1, slash == NULL ? "." : path);
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0) {
		return errno;
	}
	ret = fsync(fd) == 0 ? 0 : errno;
	close(fd);
	return ret;
}

int file_replace(const char *path, const void *data, size_t len, mode_t mode, unsigned flags)
{
	bool durable = (flags & FILE_REPLACE_DURABLE) != 0;
	char temp[PATH_MAX];
	int fd = -1, ret = temp_take(path, temp, &fd);

	if (ret != 0) {
		return ret;
	}
	ret = fchmod(fd, mode) == 0 ? write_all(fd, data, len) : errno;
	if (ret == 0 && durable && fsync(fd) != 0) {
		ret = errno;
	}
	if (ret == 0 && rename(temp, path) != 0) {
		ret = errno;
	}
	if (ret != 0) {
		unlink(temp);
	}
	close(fd); /* only now: the lock is what makes the name ours */
	return ret == 0 && durable ? sync_directory(path) : ret;
}

int file_read_text(const char *path, char *text, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY), ret = 0;
	size_t len = 0;
	ssize_t n = 1;

	if (fd < 0) {
		return errno;
	}
	while (n > 0 && len < size - 1) {
		n = read(fd, text + len, size - 1 - len);
		len += n > 0 ? (size_t)n : 0;
	}
	ret = n < 0 ? errno : 0;
	close(fd);
	text[len] = '\0';
	return ret;
}
