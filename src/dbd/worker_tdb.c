/* Worker program: the TDB files that are open. */
#include "dbd/worker_prog.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "shared/log.h" /* levels only */

#define OPEN_MAX_FILES 64
#define MAX_DEAD       5

struct open_file {
	char *path;
	uint32_t tdb_flags;
	uint64_t used; /* when last, in jobs */
	struct tdb_context *tdb;
	struct journal *journal;
};

static struct open_file files[OPEN_MAX_FILES];
static uint64_t uses;
static void (*log_fn)(unsigned level, const char *text);

void wtdb_set_log(void (*fn)(unsigned level, const char *text))
{
	log_fn = fn;
}

static void tdb_log(struct tdb_context *tdb, enum tdb_debug_level level, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static void tdb_log(struct tdb_context *tdb, enum tdb_debug_level level, const char *fmt, ...)
{
	char text[1000];
	va_list ap;
	int n;

	if (level == TDB_DEBUG_TRACE || log_fn == NULL) {
		return;
	}
	va_start(ap, fmt);
	memcpy(text, "tdb: ", 5);
	n = vsnprintf(text + 5, sizeof(text) - 5, fmt, ap);
	va_end(ap);
	if (n > 0) {
		text[strcspn(text, "\n")] = '\0';
		log_fn(level == TDB_DEBUG_WARNING ? LOG_LVL_WARNING : LOG_LVL_ERROR, text);
	}
}

static void file_close(struct open_file *f)
{
	tdb_close(f->tdb);
	talloc_free(f->path);
	talloc_free(f->journal);
	*f = (struct open_file){.path = NULL};
}

void wtdb_forget(struct tdb_context *tdb)
{
	int i;

	for (i = 0; i < OPEN_MAX_FILES; i++) {
		if (files[i].tdb == tdb && tdb != NULL) {
			file_close(&files[i]);
		}
	}
}

struct journal **wtdb_journal(struct tdb_context *tdb)
{
	int i = 0;

	while (files[i].tdb != tdb) {
		i++;
	}
	return &files[i].journal;
}

/* A free place; the least recently used file makes room. */
static struct open_file *free_place(void)
{
	struct open_file *oldest = &files[0];
	int i;

	for (i = 0; i < OPEN_MAX_FILES; i++) {
		if (files[i].tdb == NULL) {
			return &files[i];
		}
		if (files[i].used < oldest->used) {
			oldest = &files[i];
		}
	}
	file_close(oldest);
	return oldest;
}

static struct open_file *find(const char *path)
{
	int i;

	for (i = 0; i < OPEN_MAX_FILES; i++) {
		if (files[i].tdb != NULL && strcmp(files[i].path, path) == 0) {
			return &files[i];
		}
	}
	return NULL;
}

static bool is_same_file(const struct open_file *f)
{
	struct stat have, want;

	return fstat(tdb_fd(f->tdb), &have) == 0 && stat(f->path, &want) == 0 && have.st_dev == want.st_dev &&
	       have.st_ino == want.st_ino;
}

int wtdb_open(const struct worker_start *start, struct tdb_context **tdb)
{
	struct tdb_logging_context log = {.log_fn = tdb_log};
	struct open_file *f = find(start->path);

	/* Other flags than before (TDB_SEQNUM was added): TDB refuses a second handle, so the first one goes. So it
	 * does if the database was detached and attached again: then another file has its name. */
	if (f != NULL && (f->tdb_flags != start->tdb_flags || !is_same_file(f))) {
		file_close(f);
		f = NULL;
	}
	if (f == NULL) {
		f = free_place();
		errno = 0;
		/* TDB_CLEAR_IF_FIRST does not clear: the daemon has the file open. */
		f->tdb = tdb_open_ex(start->path, 0, (int)start->tdb_flags, O_RDWR, 0, &log, NULL);
		if (f->tdb == NULL) {
			return errno != 0 ? errno : EIO;
		}
		tdb_set_max_dead(f->tdb, MAX_DEAD);
		f->path = talloc_strdup(NULL, start->path);
		f->tdb_flags = start->tdb_flags;
		if (f->path == NULL) {
			tdb_close(f->tdb);
			f->tdb = NULL;
			return ENOMEM;
		}
	}
	f->used = ++uses;
	*tdb = f->tdb;
	return 0;
}

int wtdb_errno(struct tdb_context *tdb)
{
	int error = errno;

	switch (tdb_error(tdb)) {
	case TDB_ERR_LOCK:
	case TDB_ERR_NOLOCK:
	case TDB_ERR_LOCK_TIMEOUT:
		return ENOLCK;
	case TDB_ERR_OOM:
		return ENOMEM;
	case TDB_ERR_EXISTS:
		return EEXIST;
	case TDB_ERR_NOEXIST:
		return ENOENT;
	case TDB_ERR_RDONLY:
		return EROFS;
	case TDB_ERR_EINVAL:
	case TDB_ERR_NESTING:
		return EINVAL;
	case TDB_SUCCESS:
	case TDB_ERR_CORRUPT:
	case TDB_ERR_IO:
		break;
	}
	return error == ENOSPC || error == EDQUOT || error == EFBIG ? error : EIO;
}
