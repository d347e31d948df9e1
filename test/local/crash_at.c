/*
 * Preloaded into the programs of a node: ends one at its n-th change of a file in the directory of persistent
 * databases, and writes down what a power cut at that moment could take back. CTDB_TEST_CRASH names the control file
 * (struct control; test/local/crash.py writes it), shared by all programs of the node.
 *
 * Files there are not mapped, so that every write passes here (a store through a mapping could not be counted).
 * CTDB_TEST_BOOT_ID names a file that takes the place of the kernel's boot id.
 */
#undef _FILE_OFFSET_BITS /* names as programs call them, with and without 64 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#pragma GCC visibility push(default) /* all of these take the place of libc's */

#define PIDS 128

enum how { CRASH_KILL, CRASH_POWER };

struct control {
	int64_t left; /* crash when it becomes 0; 0 or less: not armed */
	int64_t seen; /* changes since it was armed */
	int64_t crashes;
	int64_t then; /* left for another crash, after a KILL */
	int32_t how;  /* enum how; POWER: everything stands still, the test ends it */
	int32_t n_pids;
	int32_t pids[PIDS]; /* of the node, for POWER */
	char program[32];   /* whose changes count; empty: all programs' */
};

enum kind { UNDO_WRITE = 1, UNDO_SYNC, UNDO_CREATE, UNDO_UNLINK, UNDO_RENAME };

/* In the file beside the control file. WRITE: what was there follows, off and len of it, size of the file before. SYNC:
 * off: of the undo file when it began. Others: the name follows, for RENAME the new one behind a 0. saved: number of
 * the link to what was unlinked or replaced, 0: there was none. */
struct undo {
	uint32_t kind, bytes;
	uint64_t ino, off, len, size;
	uint64_t saved;
};

static struct control *control;
static int undo_fd = -1;

static void __attribute__((constructor)) begin(void)
{
	const char *path = getenv("CTDB_TEST_CRASH");
	int fd = path != NULL ? (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC) : -1;
	char undo[PATH_MAX];
	void *p;

	if (fd < 0) {
		return;
	}
	p = (void *)syscall(SYS_mmap, NULL, sizeof(*control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	snprintf(undo, sizeof(undo), "%s.undo", path);
	undo_fd = (int)syscall(SYS_openat, AT_FDCWD, undo, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
	control = p == MAP_FAILED ? NULL : p;
}

static void *next(const char *name)
{
	void *fn = dlsym(RTLD_NEXT, name);

	if (fn == NULL) {
		abort();
	}
	return fn;
}

/* ---- which files ---- */

static int is_ours(void)
{
	return control != NULL && strncmp(program_invocation_short_name, "ctdb-db", 7) == 0;
}

static int path_counts(const char *path)
{
	return is_ours() && strstr(path, "/persistent/") != NULL;
}

/* The directory itself, too, and what is not linked any more. */
static int counts(int fd)
{
	char link[64], path[PATH_MAX];
	ssize_t n;
	int saved = errno;

	if (!is_ours() || fd < 0) {
		return 0;
	}
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof(path) - 2);
	errno = saved;
	if (n <= 0) {
		return 0;
	}
	memcpy(path + n, "/", 2);
	return strstr(path, "/persistent/") != NULL;
}

/* ---- the crash ---- */

static int now(void)
{
	if (control->program[0] != '\0' && strcmp(control->program, program_invocation_short_name) != 0) {
		return 0;
	}
	if (__atomic_load_n(&control->left, __ATOMIC_SEQ_CST) <= 0) {
		return 0;
	}
	__atomic_add_fetch(&control->seen, 1, __ATOMIC_SEQ_CST);
	return __atomic_sub_fetch(&control->left, 1, __ATOMIC_SEQ_CST) == 0;
}

static void end(void)
{
	if (control->how == CRASH_KILL) {
		int64_t then = control->then;

		control->then = 0;
		__atomic_store_n(&control->left, then, __ATOMIC_SEQ_CST);
		control->crashes++;
		raise(SIGKILL);
	}
	for (int i = 0; i < control->n_pids && i < PIDS; i++) {
		if (control->pids[i] > 1 && control->pids[i] != getpid()) {
			kill(control->pids[i], SIGSTOP);
		}
	}
	control->crashes++;
	while (1) {
		raise(SIGSTOP);
	}
}

/* ---- what a power cut takes back ---- */

static void note(struct undo *u, const void *bytes, size_t len)
{
	struct iovec iov[2] = {{.iov_base = u, .iov_len = sizeof(*u)}, {.iov_base = NULL, .iov_len = len}};
	int saved = errno;

	memcpy(&iov[1].iov_base, &bytes, sizeof(bytes));
	u->bytes = (uint32_t)len;
	if (undo_fd >= 0 && syscall(SYS_writev, undo_fd, iov, 2) != (long)(sizeof(*u) + len)) {
		abort();
	}
	errno = saved;
}

static int recording(void)
{
	return control->how == CRASH_POWER && undo_fd >= 0;
}

/* Read by the same descriptor: closing another one of the same file would drop TDB's locks. */
static void note_change(int fd, uint64_t off, uint64_t len)
{
	struct undo u = {.kind = UNDO_WRITE, .off = off};
	struct stat st;
	uint8_t *old;

	if (!recording() || fstat(fd, &st) != 0) {
		return;
	}
	u.ino = st.st_ino;
	u.size = (uint64_t)st.st_size;
	u.len = off >= u.size ? 0 : len < u.size - off ? len : u.size - off;
	old = malloc(u.len + 1);
	if (old == NULL || (u.len > 0 && syscall(SYS_pread64, fd, old, u.len, off) != (long)u.len)) {
		abort();
	}
	note(&u, old, u.len);
	free(old);
}

static void note_name(enum kind kind, const char *path, const char *new, uint64_t saved)
{
	struct undo u = {.kind = kind, .saved = saved};
	char names[2 * PATH_MAX];
	int n = snprintf(names, sizeof(names), "%s%c%s", path, 0, new != NULL ? new : "");

	if (recording()) {
		note(&u, names, (size_t)n);
	}
}

/* Keeps a file that is about to lose its name, in the directory above. 0: there is none. */
static uint64_t save(const char *path)
{
	static uint64_t number;
	const char *slash = strrchr(path, '/');
	uint64_t saved = (uint64_t)getpid() << 32 | ++number;
	char link_path[PATH_MAX];

	if (!recording() || slash == NULL) {
		return 0;
	}
	snprintf(link_path, sizeof(link_path), "%.*s/../saved.%llu", (int)(slash - path), path,
		 (unsigned long long)saved);
	return syscall(SYS_linkat, AT_FDCWD, path, AT_FDCWD, link_path, 0) == 0 ? saved : 0;
}

/* ---- changes of contents ---- */

static void before_change(int fd, const void *buf, size_t len, uint64_t off)
{
	if (!counts(fd)) {
		return;
	}
	if (now()) {
		/* Half of it may be there; the few bytes of a magic number cannot be torn. */
		if (control->how == CRASH_KILL && buf != NULL && len >= 1024) {
			(void)syscall(SYS_pwrite64, fd, buf, len / 2 & ~(size_t)511, off);
		}
		end();
	}
	note_change(fd, off, len);
}

static uint64_t position(int fd)
{
	struct stat st;
	int append = (fcntl(fd, F_GETFL) & O_APPEND) != 0;

	return append && fstat(fd, &st) == 0 ? (uint64_t)st.st_size : (uint64_t)syscall(SYS_lseek, fd, 0, SEEK_CUR);
}

static size_t iov_len(const struct iovec *iov, int n)
{
	size_t len = 0;

	for (int i = 0; i < n; i++) {
		len += iov[i].iov_len;
	}
	return len;
}

ssize_t pwrite64(int fd, const void *buf, size_t n, off64_t at)
{
	before_change(fd, buf, n, (uint64_t)at);
	return ((ssize_t(*)(int, const void *, size_t, off64_t))next("pwrite64"))(fd, buf, n, at);
}

ssize_t pwrite(int fd, const void *buf, size_t n, off_t at)
{
	return pwrite64(fd, buf, n, at);
}

ssize_t write(int fd, const void *buf, size_t n)
{
	if (is_ours() && counts(fd)) {
		before_change(fd, buf, n, position(fd));
	}
	return ((ssize_t(*)(int, const void *, size_t))next("write"))(fd, buf, n);
}

ssize_t writev(int fd, const struct iovec *iov, int n)
{
	if (is_ours() && counts(fd)) {
		before_change(fd, NULL, iov_len(iov, n), position(fd));
	}
	return ((ssize_t(*)(int, const struct iovec *, int))next("writev"))(fd, iov, n);
}

ssize_t pwritev64(int fd, const struct iovec *iov, int n, off64_t at)
{
	before_change(fd, NULL, iov_len(iov, n), (uint64_t)at);
	return ((ssize_t(*)(int, const struct iovec *, int, off64_t))next("pwritev64"))(fd, iov, n, at);
}

ssize_t pwritev(int fd, const struct iovec *iov, int n, off_t at)
{
	return pwritev64(fd, iov, n, at);
}

/* The end of the file is what changes. */
static void before_resize(int fd, uint64_t len)
{
	struct stat st;

	if (counts(fd) && fstat(fd, &st) == 0) {
		before_change(fd, NULL, len < (uint64_t)st.st_size ? (uint64_t)st.st_size - len : 0, len);
	}
}

int ftruncate64(int fd, off64_t len)
{
	before_resize(fd, (uint64_t)len);
	return ((int (*)(int, off64_t))next("ftruncate64"))(fd, len);
}

int ftruncate(int fd, off_t len)
{
	return ftruncate64(fd, len);
}

int posix_fallocate64(int fd, off64_t at, off64_t len)
{
	before_resize(fd, (uint64_t)(at + len));
	return ((int (*)(int, off64_t, off64_t))next("posix_fallocate64"))(fd, at, len);
}

int posix_fallocate(int fd, off_t at, off_t len)
{
	return posix_fallocate64(fd, at, len);
}

int fallocate64(int fd, int mode, off64_t at, off64_t len)
{
	before_resize(fd, (uint64_t)(at + len));
	return ((int (*)(int, int, off64_t, off64_t))next("fallocate64"))(fd, mode, at, len);
}

int fallocate(int fd, int mode, off_t at, off_t len)
{
	return fallocate64(fd, mode, at, len);
}

/* What would pass by: nobody may use it there. */
static int refuse(int fd)
{
	if (counts(fd)) {
		errno = EXDEV;
		return 1;
	}
	return 0;
}

ssize_t copy_file_range(int in, off64_t *in_at, int out, off64_t *out_at, size_t n, unsigned flags)
{
	return refuse(out) ? -1 : syscall(SYS_copy_file_range, in, in_at, out, out_at, n, flags);
}

/* ---- syncs ---- */

static int sync_call(const char *name, int fd)
{
	int (*real)(int) = (int (*)(int))next(name);
	struct undo u = {.kind = UNDO_SYNC};
	struct stat st, log;
	int ours = counts(fd), ret;

	if (ours && now()) {
		end();
	}
	if (!ours || !recording() || fstat(fd, &st) != 0 || fstat(undo_fd, &log) != 0) {
		return real(fd);
	}
	u.ino = st.st_ino;
	u.off = (uint64_t)log.st_size;
	u.len = S_ISDIR(st.st_mode);
	ret = real(fd);
	if (ret == 0) {
		note(&u, NULL, 0);
	}
	return ret;
}

int fsync(int fd)
{
	return sync_call("fsync", fd);
}

int fdatasync(int fd)
{
	return sync_call("fdatasync", fd);
}

/* ---- names ---- */

int rename(const char *from, const char *to)
{
	if (path_counts(from)) {
		if (now()) {
			end();
		}
		note_name(UNDO_RENAME, from, to, save(to));
	}
	return ((int (*)(const char *, const char *))next("rename"))(from, to);
}

int unlink(const char *path)
{
	if (path_counts(path)) {
		if (now()) {
			end();
		}
		note_name(UNDO_UNLINK, path, NULL, save(path));
	}
	return ((int (*)(const char *))next("unlink"))(path);
}

static const char *before_open(const char *path, int flags)
{
	const char *boot_id = getenv("CTDB_TEST_BOOT_ID");

	if (boot_id != NULL && strcmp(path, "/proc/sys/kernel/random/boot_id") == 0) {
		return boot_id;
	}
	if ((flags & O_CREAT) != 0 && path_counts(path) && syscall(SYS_faccessat, AT_FDCWD, path, F_OK) != 0) {
		if (now()) {
			end();
		}
		note_name(UNDO_CREATE, path, NULL, 0);
	}
	return path;
}

static mode_t mode_of(int flags, va_list ap)
{
	return (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(ap, mode_t) : 0;
}

int open64(const char *path, int flags, ...)
{
	va_list ap;
	mode_t mode;

	va_start(ap, flags);
	mode = mode_of(flags, ap);
	va_end(ap);
	path = before_open(path, flags);
	return ((int (*)(const char *, int, ...))next("open64"))(path, flags, mode);
}

int open(const char *path, int flags, ...)
{
	va_list ap;
	mode_t mode;

	va_start(ap, flags);
	mode = mode_of(flags, ap);
	va_end(ap);
	return open64(path, flags, mode);
}

/* ---- maps ---- */

void *mmap64(void *addr, size_t len, int prot, int flags, int fd, off64_t at)
{
	if (fd >= 0 && (flags & MAP_TYPE) == MAP_SHARED && counts(fd)) {
		errno = ENOMEM;
		return MAP_FAILED;
	}
	return ((void *(*)(void *, size_t, int, int, int, off64_t))next("mmap64"))(addr, len, prot, flags, fd, at);
}

void *mmap(void *addr, size_t len, int prot, int flags, int fd, off_t at)
{
	return mmap64(addr, len, prot, flags, fd, at);
}
