/* Files for targets that read files: a directory in memory, gone at the end. */
#ifndef TEST_FUZZ_FILE_H
#define TEST_FUZZ_FILE_H

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fuzz.h"

static char fuzz_dir_path[64];

static inline void fuzz_dir_remove(void)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf '%s'", fuzz_dir_path);
	MUST(system(command) == 0);
}

/* The directory, with an empty conf.d in it. */
static inline const char *fuzz_dir(void)
{
	char path[128];

	if (fuzz_dir_path[0] == '\0') {
		snprintf(fuzz_dir_path, sizeof(fuzz_dir_path), "%s/ctdb-fuzz-XXXXXX",
			 access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
		MUST(mkdtemp(fuzz_dir_path) != NULL);
		snprintf(path, sizeof(path), "%s/conf.d", fuzz_dir_path);
		MUST(mkdir(path, 0755) == 0);
		atexit(fuzz_dir_remove);
	}
	return fuzz_dir_path;
}

static inline const char *fuzz_path(const char *name)
{
	static char path[160];

	snprintf(path, sizeof(path), "%s/%s", fuzz_dir(), name);
	return path;
}

static inline void fuzz_write(const char *name, const uint8_t *data, size_t len)
{
	int fd = open(fuzz_path(name), O_WRONLY | O_CREAT | O_TRUNC, 0600);

	MUST(fd >= 0 && write(fd, data, len) == (ssize_t)len);
	close(fd);
}

static inline void fuzz_remove(const char *name)
{
	(void)unlink(fuzz_path(name));
}

#endif
