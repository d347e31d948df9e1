/* One TDB file: opening, making, checking, moving aside. */
#include "dbd/db_int.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include "shared/log.h"

#define MAX_DEAD               5 /* dead records of a chain that are kept for reuse: spares the free list's lock */
#define LOCK_TRIES             100
#define LOCK_PAUSE_US          100000
#define CHECK_SECONDS          60
#define CHECK_BYTES_PER_SECOND (4U * 1024U * 1024U)
/* Exit status of the checking child beside errno values. */
#define EXIT_DAMAGED 255
#define EXIT_LOCKED  254

static void tdb_log(struct tdb_context *tdb, enum tdb_debug_level level, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static enum log_level tdb_log_level(enum tdb_debug_level level)
{
	switch (level) {
	case TDB_DEBUG_FATAL:
	case TDB_DEBUG_ERROR:
		return LOG_LVL_ERROR;
	case TDB_DEBUG_WARNING:
		return LOG_LVL_WARNING;
	case TDB_DEBUG_TRACE:
		break;
	}
	return LOG_LVL_DEBUG;
}

static void tdb_log(struct tdb_context *tdb, enum tdb_debug_level level, const char *fmt, ...)
{
	enum log_level l = tdb_log_level(level);
	char text[1024];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (n <= 0 || l > log_get_level()) {
		return;
	}
	text[strcspn(text, "\n")] = '\0';
	if (l == LOG_LVL_DEBUG) {
		log_debug("tdb: %s", text);
	} else {
		log_ratelimited(l, 1000, "tdb: %s", text);
	}
}

static struct tdb_context *tdb_open_logged(const struct db_file *f, int open_flags)
{
	struct tdb_logging_context log = {.log_fn = tdb_log};
	struct tdb_context *tdb;

	errno = 0;
	tdb = tdb_open_ex(f->path, (int)f->hash_size, f->tdb_flags, open_flags, 0600, &log, NULL);
	if (tdb == NULL) {
		errno = errno == 0 ? EIO : errno;
		return NULL;
	}
	tdb_set_max_dead(tdb, MAX_DEAD);
	return tdb;
}

int db_file_open(TALLOC_CTX *mem, const struct db_file *f, struct tdb_context **tdb, char **err)
{
	*tdb = tdb_open_logged(f, O_RDWR);
	if (*tdb == NULL) {
		int error = errno;

		*err = talloc_asprintf(mem, "%s: cannot be opened as a TDB file: %s", f->path, strerror(error));
		return error;
	}
	return 0;
}

/* Not open()ed to look at it: closing a descriptor of a file that this process has open as a TDB would drop all its
 * locks. */
static int remove_old(TALLOC_CTX *mem, const char *path, char **err)
{
	struct stat st;
	int error;

	if (lstat(path, &st) != 0 && errno == ENOENT) {
		return 0;
	}
	if (S_ISDIR(st.st_mode)) {
		*err = talloc_asprintf(mem, "%s: is a directory where a database file should be; remove it", path);
		return EISDIR;
	}
	if (unlink(path) != 0 && errno != ENOENT) {
		error = errno;
		*err = talloc_asprintf(mem, "%s: the old file cannot be removed: %s", path, strerror(error));
		return error;
	}
	return 0;
}

int db_file_replace(TALLOC_CTX *mem, const struct db_file *f, struct tdb_context **tdb, char **err)
{
	int error = remove_old(mem, f->path, err);

	if (error != 0) {
		return error;
	}
	*tdb = tdb_open_logged(f, O_RDWR | O_CREAT | O_EXCL);
	if (*tdb == NULL) {
		error = errno;
		*err = talloc_asprintf(mem, "%s: cannot be made: %s", f->path, strerror(error));
		return error;
	}
	return 0;
}

int db_file_make(TALLOC_CTX *mem, const struct db_file *f, struct tdb_context **tdb, char **err)
{
	struct db_file new_file = *f;
	char *path = talloc_asprintf(mem, "%s.new", f->path);
	int error;

	if (path == NULL) {
		return ENOMEM;
	}
	new_file.path = path;
	error = db_file_replace(mem, &new_file, tdb, err);
	if (error == 0) {
		tdb_close(*tdb);
		if (rename(path, f->path) != 0) {
			error = errno;
			*err = talloc_asprintf(mem, "%s: cannot be renamed from %s: %s", f->path, path,
					       strerror(error));
			unlink(path);
		}
	}
	talloc_free(path);
	return error != 0 ? error : db_file_open(mem, f, tdb, err);
}

/* Errors that say nothing about what is in the file. */
static bool error_is_of_access(int error)
{
	switch (error) {
	case EACCES:
	case EPERM:
	case ENOENT:
	case ENOTDIR:
	case EISDIR:
	case ELOOP:
	case EMFILE:
	case ENFILE:
	case ENOMEM:
	case EROFS:
	case EBUSY:
		return true;
	default:
		return false;
	}
}

/* In the child: a lock that another process holds must not stop the start for ever. */
static int child_check(const void *arg)
{
	const struct db_file *f = arg;
	struct tdb_context *tdb = tdb_open_logged(f, O_RDWR);
	int i;

	if (tdb == NULL) {
		return error_is_of_access(errno) ? errno : EXIT_DAMAGED;
	}
	for (i = 0; tdb_lockall_read_nonblock(tdb) != 0; i++) {
		if (i == LOCK_TRIES) {
			return EXIT_LOCKED;
		}
		usleep(LOCK_PAUSE_US);
	}
	return tdb_check(tdb, NULL, NULL) == 0 ? 0 : EXIT_DAMAGED;
}

/* Waits until pid has ended or ms are over, then it is killed. true: it ended by itself. */
static bool child_wait(pid_t pid, uint64_t ms, int *wait_status)
{
	struct mono until = mono_add_ms(mono_now(), ms);
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);
	bool in_time = true;

	while (waitpid(pid, wait_status, WNOHANG) == 0) {
		struct pollfd p = {.fd = fd, .events = POLLIN};

		if (!mono_before(mono_now(), until)) {
			in_time = false;
			kill(pid, SIGKILL);
			waitpid(pid, wait_status, 0);
			break;
		}
		poll(&p, fd >= 0 ? 1 : 0, 50);
	}
	if (fd >= 0) {
		close(fd);
	}
	return in_time;
}

int db_file_in_child(int (*fn)(const void *arg), const void *arg, uint64_t ms, int *status)
{
	int wait_status = 0;
	pid_t pid = fork();

	if (pid == -1) {
		return errno;
	}
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		_exit(fn(arg));
	}
	if (!child_wait(pid, ms, &wait_status)) {
		return ETIMEDOUT;
	}
	if (!WIFEXITED(wait_status)) {
		return EFAULT;
	}
	*status = WEXITSTATUS(wait_status);
	return 0;
}

uint64_t db_file_patience_ms(const char *path)
{
	struct stat st;
	uint64_t size = stat(path, &st) == 0 ? (uint64_t)st.st_size : 0;

	return (CHECK_SECONDS + size / CHECK_BYTES_PER_SECOND) * 1000;
}

static int verdict_of(TALLOC_CTX *mem, const char *path, int status, enum db_verdict *verdict, char **err)
{
	switch (status) {
	case 0:
		*verdict = DB_VERDICT_GOOD;
		return 0;
	case EXIT_DAMAGED:
		*verdict = DB_VERDICT_DAMAGED;
		return 0;
	case EXIT_LOCKED:
		*verdict = DB_VERDICT_UNCHECKED;
		return 0;
	default:
		*err = talloc_asprintf(mem, "%s: cannot be read: %s; check its permissions", path, strerror(status));
		return status;
	}
}

int db_file_check(TALLOC_CTX *mem, const struct db_file *f, enum db_verdict *verdict, char **err)
{
	struct stat st;
	int status, error;

	if (stat(f->path, &st) != 0) {
		error = errno;
		*err = talloc_asprintf(mem, "%s: %s", f->path, strerror(error));
		return error;
	}
	if (!S_ISREG(st.st_mode)) {
		*err = talloc_asprintf(mem, "%s: is not a regular file; remove it", f->path);
		return S_ISDIR(st.st_mode) ? EISDIR : EINVAL;
	}
	error = db_file_in_child(child_check, f, db_file_patience_ms(f->path), &status);
	if (error == ETIMEDOUT) {
		*verdict = DB_VERDICT_UNCHECKED;
		return 0;
	}
	if (error == EFAULT) {
		*verdict = DB_VERDICT_DAMAGED;
		return 0;
	}
	if (error != 0) {
		*err = talloc_asprintf(mem, "%s: no process to check it: %s", f->path, strerror(error));
		return error;
	}
	return verdict_of(mem, f->path, status, verdict, err);
}

char *db_file_aside_name(TALLOC_CTX *mem, const char *path)
{
	time_t now = time(NULL);
	struct tm tm;
	char stamp[32];

	gmtime_r(&now, &tm);
	strftime(stamp, sizeof(stamp), "%Y%m%d%H%M%S", &tm);
	return talloc_asprintf(mem, "%s.corrupted.%sZ", path, stamp);
}

int db_file_move_aside(TALLOC_CTX *mem, const char *path, const char *aside, char **err)
{
	int error;

	/* RENAME_NOREPLACE: what was moved aside before is evidence as well. */
	if (renameat2(AT_FDCWD, path, AT_FDCWD, aside, RENAME_NOREPLACE) != 0) {
		error = errno;
		*err = talloc_asprintf(mem, "%s: damaged, and cannot be renamed to %s: %s", path, aside,
				       strerror(error));
		return error;
	}
	return 0;
}
