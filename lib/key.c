/* The file with the cluster's key: made here, used by the daemons. */
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define KEY_BYTES 32

char *ctdb_cluster_key_path(TALLOC_CTX *mem)
{
	const char *base = getenv("CTDB_BASE");

	return talloc_asprintf(mem, "%s/cluster.key", base != NULL && base[0] != '\0' ? base : "/etc/ctdb");
}

static int key_write(int fd)
{
	char text[2 * KEY_BYTES + 2];
	unsigned char key[KEY_BYTES];
	int i, err = 0;

	/* So few bytes are never cut short. */
	if (getrandom(key, sizeof(key), 0) != (ssize_t)sizeof(key)) {
		return errno;
	}
	for (i = 0; i < KEY_BYTES; i++) {
		snprintf(text + 2 * i, 3, "%02x", key[i]);
	}
	text[2 * KEY_BYTES] = '\n';
	if (fchmod(fd, 0600) != 0) {
		err = errno;
	} else if (write(fd, text, 2 * KEY_BYTES + 1) != 2 * KEY_BYTES + 1) {
		err = ENOSPC;
	} else if (fsync(fd) != 0) {
		err = errno;
	}
	explicit_bzero(key, sizeof(key));
	explicit_bzero(text, sizeof(text));
	return err;
}

static int directory_sync(const char *path)
{
	const char *slash = strrchr(path, '/');
	char dir[PATH_MAX];
	int fd, err;

	snprintf(dir, sizeof(dir), "%.*s", slash == NULL ? 1 : (int)(slash - path) + 1, slash == NULL ? "." : path);
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd == -1) {
		return errno;
	}
	err = fsync(fd) == 0 ? 0 : errno;
	close(fd);
	return err;
}

/* A link is made only where nothing is: an existing key is never replaced, and no half-written file has the name. */
int ctdb_cluster_key_create(const char *path)
{
	char temp[PATH_MAX];
	int fd, err;

	if (snprintf(temp, sizeof(temp), "%s.XXXXXX", path) >= (int)sizeof(temp)) {
		return ENAMETOOLONG;
	}
	fd = mkostemp(temp, O_CLOEXEC);
	if (fd == -1) {
		return errno;
	}
	err = key_write(fd);
	close(fd);
	if (err == 0 && link(temp, path) != 0) {
		err = errno;
	}
	unlink(temp);
	return err == 0 ? directory_sync(path) : err;
}
