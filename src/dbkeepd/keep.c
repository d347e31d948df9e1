/* The files that dbkeep holds open. */
#include "keep.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <tdb.h>

#include "base/dlist.h"
#include "shared/log.h"

struct kept {
	struct dlist link;
	struct keep *keep;
	struct dbkeep_file file; /* strings are children */
	struct tdb_context *tdb;
};

struct keep {
	char *directory;
	struct dlist files;
	uint32_t n;
};

int keep_new(TALLOC_CTX *mem, const char *directory, struct keep **keep)
{
	struct keep *k = talloc_zero(mem, struct keep);

	if (k == NULL) {
		return ENOMEM;
	}
	dlist_init(&k->files);
	k->directory = talloc_strdup(k, directory);
	if (k->directory == NULL) {
		talloc_free(k);
		return ENOMEM;
	}
	*keep = k;
	return 0;
}

static int kept_destructor(struct kept *f)
{
	if (dlist_linked(&f->link)) {
		dlist_remove(&f->link);
		f->keep->n--;
	}
	if (f->tdb != NULL) {
		tdb_close(f->tdb);
	}
	return 0;
}

static struct kept *find_path(struct keep *keep, const char *path)
{
	dlist_for_each(e, &keep->files)
	{
		struct kept *f = dlist_entry(e, struct kept, link);

		if (strcmp(f->file.path, path) == 0) {
			return f;
		}
	}
	return NULL;
}

static struct kept *find_inode(struct keep *keep, uint64_t device, uint64_t inode)
{
	dlist_for_each(e, &keep->files)
	{
		struct kept *f = dlist_entry(e, struct kept, link);

		if (f->file.device == device && f->file.inode == inode) {
			return f;
		}
	}
	return NULL;
}

static bool path_is_allowed(const struct keep *keep, const char *path)
{
	size_t n = strlen(keep->directory);

	return strncmp(path, keep->directory, n) == 0 && path[n] == '/' && path[n + 1] != '\0' && path[n + 1] != '.' &&
	       strchr(path + n + 1, '/') == NULL;
}

/* Without CLEAR_IF_FIRST there would be no lock to hold, without locking neither. */
static bool flags_are_allowed(uint32_t tdb_flags)
{
	return (tdb_flags & TDB_CLEAR_IF_FIRST) != 0 && (tdb_flags & (TDB_INTERNAL | TDB_NOLOCK | TDB_CONVERT)) == 0;
}

static bool same_file(const struct dbkeep_file *file, const struct stat *st)
{
	return S_ISREG(st->st_mode) && st->st_dev == file->device && st->st_ino == file->inode;
}

static int kept_open(struct kept *f)
{
	struct stat st;

	if (lstat(f->file.path, &st) != 0) {
		return errno;
	}
	if (!same_file(&f->file, &st)) {
		return ESTALE;
	}
	errno = 0;
	f->tdb = tdb_open(f->file.path, 0, (int)f->file.tdb_flags, O_RDWR | O_NOFOLLOW, 0);
	if (f->tdb == NULL) {
		return errno != 0 ? errno : EIO;
	}
	if (fstat(tdb_fd(f->tdb), &st) != 0 || !same_file(&f->file, &st)) {
		return ESTALE;
	}
	return 0;
}

static int keep_new_file(struct keep *keep, const struct dbkeep_file *file)
{
	struct kept *f = talloc_zero(keep, struct kept);
	int error;

	if (f == NULL) {
		return ENOMEM;
	}
	f->keep = keep;
	f->file = *file;
	f->file.confirmed = false;
	f->file.path = talloc_strdup(f, file->path);
	f->file.name = talloc_strdup(f, file->name);
	talloc_set_destructor(f, kept_destructor);
	error = f->file.path == NULL || f->file.name == NULL ? ENOMEM : kept_open(f);
	if (error != 0) {
		talloc_free(f);
		return error;
	}
	dlist_add_tail(&keep->files, &f->link);
	keep->n++;
	log_info("%s: kept open", f->file.path);
	return 0;
}

int keep_file(struct keep *keep, const struct dbkeep_file *file)
{
	struct kept *f = find_path(keep, file->path);
	struct kept *other = find_inode(keep, file->device, file->inode);
	int error;

	if (!path_is_allowed(keep, file->path) || !flags_are_allowed(file->tdb_flags)) {
		return EINVAL;
	}
	if (f != NULL && f == other) {
		f->file.db_flags = file->db_flags;
		f->file.tdb_flags = file->tdb_flags;
		f->file.confirmed = f->file.confirmed || file->confirmed;
		return 0;
	}
	/* Who says that we hold it already, and we do not: we were started again in between, and it must not count as
	 * confirmed. */
	if (file->confirmed) {
		return ENOENT;
	}
	if (other != NULL) {
		return EBUSY;
	}
	if (f == NULL && keep->n >= DBKEEP_FILES_MAX) {
		return ENOSPC;
	}
	error = keep_new_file(keep, file);
	if (error == 0) {
		talloc_free(f);
	}
	return error;
}

int keep_drop(struct keep *keep, const char *path)
{
	struct kept *f = find_path(keep, path);

	if (f == NULL) {
		return ENOENT;
	}
	log_info("%s: let go", path);
	talloc_free(f);
	return 0;
}

int keep_list(struct keep *keep, TALLOC_CTX *mem, struct dbkeep_files *files)
{
	*files = (struct dbkeep_files){.files = {.n = 0}};
	files->files.v = talloc_array(mem, struct dbkeep_file, keep->n);
	if (files->files.v == NULL) {
		return ENOMEM;
	}
	dlist_for_each(e, &keep->files)
	{
		struct kept *f = dlist_entry(e, struct kept, link);

		if (f->file.confirmed) {
			files->files.v[files->files.n++] = f->file;
		}
	}
	return 0;
}
