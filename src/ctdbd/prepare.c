/* Before anything is started: directories, locks, programs, ports. */
#include "prepare.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "base/mono.h"
#include "shared/cluster_key.h"
#include "shared/lock_command.h"

static int make_directory(const char *path, mode_t mode, TALLOC_CTX *mem, char **err)
{
	struct stat st;
	int ret;

	if (mkdir(path, mode) == 0) {
		/* the umask is strict, the mode is meant */
		if (chmod(path, mode) == 0) {
			return 0;
		}
	} else if (errno == EEXIST) {
		if (stat(path, &st) == 0 && S_ISDIR(st.st_mode)) {
			return 0;
		}
		errno = ENOTDIR;
	}
	ret = errno;
	*err = talloc_asprintf(mem, "cannot make the directory %s: %s", path, strerror(ret));
	return ret;
}

/* Of the log file: only the last component, and nothing if it goes elsewhere. */
static int make_log_directory(const char *location, TALLOC_CTX *mem, char **err)
{
	char *path, *slash;

	if (strncmp(location, "file:/", 6) != 0) {
		return 0;
	}
	path = talloc_strdup(mem, location + 5);
	if (path == NULL) {
		return ENOMEM;
	}
	slash = strrchr(path, '/');
	*slash = '\0';
	return path[0] == '\0' ? 0 : make_directory(path, 0755, mem, err);
}

/* In memory is what the administrator relies on: not almost. */
static int check_in_memory(const char *path, TALLOC_CTX *mem, char **err)
{
	struct statfs fs;
	int ret;

	if (statfs(path, &fs) != 0) {
		ret = errno;
		*err = talloc_asprintf(mem, "%s: cannot be looked at: %s", path, strerror(ret));
		return ret;
	}
	if (fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC) {
		return 0;
	}
	*err = talloc_asprintf(mem,
			       "%s is not in memory, as [database] volatile in memory demands: mount a tmpfs there, or give a "
			       "volatile database directory that is on one",
			       path);
	return EINVAL;
}

int prepare_directories(const struct conf *conf, const char *log_location, TALLOC_CTX *mem, char **err)
{
	const struct conf_paths *p = &conf->path;
	int ret;

	ret = make_directory(p->run, 0755, mem, err);
	if (ret == 0) {
		ret = make_directory(p->msg_dir, 0700, mem, err);
	}
	if (ret == 0 && chmod(p->msg_dir, 0700) != 0) {
		ret = errno;
		*err = talloc_asprintf(mem, "cannot make the directory %s private: %s", p->msg_dir, strerror(ret));
	}
	if (ret == 0) {
		ret = make_directory(p->var, 0755, mem, err);
	}
	if (ret == 0) {
		ret = make_directory(p->db_volatile, 0700, mem, err);
	}
	if (ret == 0 && conf->database.volatile_in_memory) {
		ret = check_in_memory(p->db_volatile, mem, err);
	}
	if (ret == 0) {
		ret = make_directory(p->db_persistent, 0700, mem, err);
	}
	if (ret == 0) {
		ret = make_directory(p->db_state, 0700, mem, err);
	}
	return ret == 0 ? make_log_directory(log_location, mem, err) : ret;
}

static int locks_destructor(struct node_locks *locks)
{
	if (locks->pid_fd >= 0) {
		/* only the holder of the lock comes here */
		(void)unlink(locks->pid_path);
		close(locks->pid_fd);
	}
	if (locks->daemons_fd >= 0) {
		close(locks->daemons_fd);
	}
	return 0;
}

/* The file may have been removed by its former holder between open and lock. */
static bool is_still_there(int fd, const char *path)
{
	struct stat a, b;

	return fstat(fd, &a) == 0 && stat(path, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

static pid_t lock_holder(int fd)
{
	struct flock fl = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

	return fcntl(fd, F_GETLK, &fl) == 0 && fl.l_type != F_UNLCK ? fl.l_pid : 0;
}

static int lock_pid_file(const char *path, int *result, TALLOC_CTX *mem, char **err)
{
	struct flock fl = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	int fd, ret;

	for (;;) {
		fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
		if (fd < 0) {
			ret = errno;
			*err = talloc_asprintf(mem, "cannot open %s: %s", path, strerror(ret));
			return ret;
		}
		if (fcntl(fd, F_SETLK, &fl) != 0) {
			ret = errno == EACCES || errno == EAGAIN ? EBUSY : errno;
			*err = ret == EBUSY ? talloc_asprintf(mem, "already running (pid %d)", (int)lock_holder(fd))
					    : talloc_asprintf(mem, "cannot lock %s: %s", path, strerror(ret));
			close(fd);
			return ret;
		}
		if (is_still_there(fd, path)) {
			*result = fd;
			return 0;
		}
		close(fd);
	}
}

static int write_pid(int fd, const char *path, TALLOC_CTX *mem, char **err)
{
	char text[32];
	int len = snprintf(text, sizeof(text), "%d\n", (int)getpid());

	if (ftruncate(fd, 0) != 0 || pwrite(fd, text, (size_t)len, 0) != len || fchmod(fd, 0644) != 0) {
		int ret = errno;

		*err = talloc_asprintf(mem, "cannot write %s: %s", path, strerror(ret));
		return ret;
	}
	return 0;
}

static int lock_daemons(const char *path, unsigned wait_ms, int *result, TALLOC_CTX *mem, char **err)
{
	struct mono end = mono_add_ms(mono_now(), wait_ms);
	const struct timespec pause = {.tv_nsec = 50 * 1000 * 1000};
	bool told = false;
	int ret;
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

	while (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK && mono_before(mono_now(), end)) {
		if (!told) {
			fprintf(stderr, "ctdbd: waiting for the daemons of an earlier ctdbd to end\n");
			told = true;
		}
		nanosleep(&pause, NULL);
		errno = EWOULDBLOCK;
	}
	if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0) {
		*result = fd;
		return 0;
	}
	ret = errno == EWOULDBLOCK ? EBUSY : errno;
	*err = ret == EBUSY
		       ? talloc_asprintf(mem,
					 "daemons of an earlier ctdbd still run and hold %s: end them (see fuser(1))",
					 path)
		       : talloc_asprintf(mem, "cannot lock %s: %s", path, strerror(ret));
	if (fd >= 0) {
		close(fd);
	}
	return ret;
}

int prepare_locks(const struct conf *conf, TALLOC_CTX *mem, unsigned wait_ms, struct node_locks **locks, char **err)
{
	struct node_locks *l = talloc_zero(mem, struct node_locks);
	char *path;
	int ret;

	if (l == NULL) {
		return ENOMEM;
	}
	l->pid_fd = l->daemons_fd = -1;
	talloc_set_destructor(l, locks_destructor);
	l->pid_path = talloc_asprintf(l, "%s/ctdbd.pid", conf->path.run);
	path = talloc_asprintf(l, "%s/ctdbd.lock", conf->path.run);
	ret = l->pid_path == NULL || path == NULL ? ENOMEM : lock_pid_file(l->pid_path, &l->pid_fd, mem, err);
	if (ret == 0) {
		ret = write_pid(l->pid_fd, l->pid_path, mem, err);
	}
	if (ret == 0) {
		ret = lock_daemons(path, wait_ms, &l->daemons_fd, mem, err);
	}
	if (ret != 0) {
		talloc_free(l);
		return ret;
	}
	*locks = l;
	return 0;
}

int prepare_programs(const struct conf *conf, const char *const *names, TALLOC_CTX *mem, char **err)
{
	for (; *names != NULL; names++) {
		char *path = talloc_asprintf(mem, "%s/%s", conf->path.libexec, *names);

		if (path == NULL) {
			return ENOMEM;
		}
		if (access(path, X_OK) != 0) {
			int ret = errno;

			*err = talloc_asprintf(
				mem,
				"cannot run %s: %s: install it, or name the directory of the daemons by CTDB_LIBEXEC",
				path, strerror(ret));
			return ret;
		}
		talloc_free(path);
	}
	return 0;
}

int prepare_keys(const struct conf *conf, TALLOC_CTX *mem, char **err)
{
	struct cluster_keys *keys;
	int ret;

	if (conf->transport.security == CONF_SECURITY_NONE) {
		return 0;
	}
	ret = cluster_keys_load(mem, conf->transport.key_file, &keys, err);
	if (ret == 0) {
		talloc_free(keys);
	}
	return ret;
}

int prepare_lock(const struct conf *conf, TALLOC_CTX *mem, char **err)
{
	char **argv = NULL;
	int ret = lock_command(mem, conf, "", &argv, err);

	talloc_free(argv);
	return ret;
}

static int try_bind(const struct sockaddr_storage *address, uint16_t port)
{
	struct sockaddr_storage addr = *address;
	socklen_t len = addr.ss_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
	int ret = 0, one = 1;
	int fd = socket(addr.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0) {
		return errno;
	}
	if (addr.ss_family == AF_INET) {
		((struct sockaddr_in *)&addr)->sin_port = htons(port);
	} else {
		((struct sockaddr_in6 *)&addr)->sin6_port = htons(port);
	}
	/* as the daemons do: connections of a former run that are not quite closed do not matter, a listener does */
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&addr, len) != 0 || listen(fd, 1) != 0) {
		ret = errno;
	}
	close(fd);
	return ret;
}

static int check_port(const struct conf *conf, const struct conf_node *self, uint32_t k, uint16_t port,
		      const char *option, TALLOC_CTX *mem, char **err)
{
	int ret = try_bind(&self->addrs[k], port);

	if (ret == EADDRNOTAVAIL) {
		*err = talloc_asprintf(
			mem,
			"the address %s of this node is on no interface: configure it, or correct node address or %s",
			self->texts[k], conf->path.nodes);
	} else if (ret == EADDRINUSE) {
		*err = talloc_asprintf(
			mem,
			"port %u of %s is used by another program: stop that, or set %s in [transport] on all nodes",
			port, self->texts[k], option);
	} else if (ret != 0) {
		*err = talloc_asprintf(mem, "cannot listen on port %u of %s: %s", port, self->texts[k], strerror(ret));
	}
	return ret;
}

int prepare_ports(const struct conf *conf, const struct conf_node *self, TALLOC_CTX *mem, char **err)
{
	int ret = 0;

	for (uint32_t k = 0; ret == 0 && k < self->n_addrs; k++) {
		if (conf->transport.carrier == CONF_CARRIER_LINKS) {
			ret = check_port(conf, self, k, conf->transport.port, "port", mem, err);
		}
		if (ret == 0) {
			ret = check_port(conf, self, k, conf->transport.db_port, "db port", mem, err);
		}
	}
	return ret;
}
