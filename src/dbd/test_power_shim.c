/*
 * For tests, preloaded into a program: notes what is sure to outlive a power cut. Below the directory TEST_POWER_DIR,
 * each sync of a file copies it to a file named by its inode; a sync of a directory writes "names": inode and name of
 * each entry. Nothing is really synced.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#pragma GCC visibility push(default) /* all of these take the place of libc's */

static void copy(int fd, const char *to)
{
	char buf[65536];
	int out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	ssize_t n;
	off_t at = 0;

	while ((n = pread(fd, buf, sizeof(buf), at)) > 0) {
		if (write(out, buf, (size_t)n) != n) {
			abort();
		}
		at += n;
	}
	close(out);
}

static void list(int fd, const char *to)
{
	char path[64];
	DIR *dir;
	FILE *f = fopen(to, "w");
	struct dirent *e;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	dir = opendir(path);
	if (f == NULL || dir == NULL) {
		abort();
	}
	while ((e = readdir(dir)) != NULL) {
		if (e->d_name[0] != '.') {
			fprintf(f, "%lu %s\n", (unsigned long)e->d_ino, e->d_name);
		}
	}
	fclose(f);
	closedir(dir);
}

/* Syncs fail of files whose names end as the file "fail" says. */
static int fails(int fd, const char *dir)
{
	char path[4096], want[256] = "", name[4096] = "";
	size_t n, w;
	FILE *f;

	snprintf(path, sizeof(path), "%s/fail", dir);
	f = fopen(path, "r");
	if (f == NULL || fgets(want, sizeof(want), f) == NULL) {
		want[0] = '\0';
	}
	if (f != NULL) {
		fclose(f);
	}
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (want[0] == '\0' || readlink(path, name, sizeof(name) - 1) < 0) {
		return 0;
	}
	n = strlen(name);
	w = strlen(want);
	return n >= w && strcmp(name + n - w, want) == 0;
}

static int note(int fd)
{
	const char *dir = getenv("TEST_POWER_DIR");
	char path[4096];
	struct stat st;

	if (dir != NULL && fails(fd, dir)) {
		errno = EIO;
		return -1;
	}
	if (dir == NULL || fstat(fd, &st) != 0) {
		abort();
	}
	if (S_ISDIR(st.st_mode)) {
		snprintf(path, sizeof(path), "%s/names", dir);
		list(fd, path);
	} else {
		snprintf(path, sizeof(path), "%s/%lu", dir, (unsigned long)st.st_ino);
		copy(fd, path);
	}
	return 0;
}

int fsync(int fd)
{
	return note(fd);
}

int fdatasync(int fd)
{
	return note(fd);
}

/* TDB syncs the file as well, which knows of everything that was written by way of a mapping. */
int msync(void *addr, size_t len, int flags)
{
	return 0;
}
