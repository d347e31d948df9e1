/* What the daemon finds on disk when it starts: directories, persistent databases, damage. */
#include "dbd/db_int.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#include "dbd/journal.h"
#include "dbd/journal_file.h"
#include "shared/log.h"

/* mkdir -p */
static int make_directories(char *path)
{
	char *p = path;

	while ((p = strchr(p + 1, '/')) != NULL) {
		*p = '\0';
		if (mkdir(path, 0755) != 0 && errno != EEXIST) {
			*p = '/';
			return errno;
		}
		*p = '/';
	}
	return mkdir(path, 0700) != 0 && errno != EEXIST ? errno : 0;
}

static int open_directory(TALLOC_CTX *mem, const char *what, const char *path, struct stat *st, char **err)
{
	char *copy = talloc_strdup(mem, path);
	int error;

	if (copy == NULL) {
		return ENOMEM;
	}
	error = make_directories(copy);
	talloc_free(copy);
	if (error == 0 && stat(path, st) != 0) {
		error = errno;
	}
	if (error == 0 && !S_ISDIR(st->st_mode)) {
		error = ENOTDIR;
	}
	if (error != 0) {
		*err = talloc_asprintf(mem, "%s: the directory of %s is missing and cannot be made: %s", path, what,
				       strerror(error));
	}
	return error;
}

int dbs_open_directories(struct dbs *dbs, TALLOC_CTX *mem, char **err)
{
	const struct conf_paths *p = &dbs->d->conf->path;
	struct stat vol, per, state;
	int error = open_directory(mem, "volatile databases", p->db_volatile, &vol, err);

	if (error == 0) {
		error = open_directory(mem, "persistent databases", p->db_persistent, &per, err);
	}
	if (error == 0) {
		error = open_directory(mem, "database state", p->db_state, &state, err);
	}
	if (error == 0 && vol.st_dev == per.st_dev && vol.st_ino == per.st_ino) {
		*err = talloc_asprintf(mem, "%s: volatile and persistent databases need different directories",
				       p->db_volatile);
		error = EINVAL;
	}
	return error;
}

/* "NAME.tdb.<pnn>" -> "NAME.tdb", or NULL: not one of ours. */
static char *name_of_file(TALLOC_CTX *mem, const char *file, uint32_t pnn)
{
	char suffix[32];
	size_t len = strlen(file);
	size_t n = (size_t)snprintf(suffix, sizeof(suffix), ".tdb.%u", pnn);

	if (len <= n || strcmp(file + len - n, suffix) != 0) {
		return NULL;
	}
	return talloc_strndup(mem, file, len - n + strlen(".tdb"));
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static int list_persistent(struct dbs *dbs, TALLOC_CTX *mem, char ***names, size_t *n, char **err)
{
	const char *path = dbs->d->conf->path.db_persistent;
	DIR *dir = opendir(path);
	struct dirent *e;
	int error;

	*names = NULL;
	*n = 0;
	if (dir == NULL) {
		error = errno;
		*err = talloc_asprintf(mem, "%s: cannot be read: %s", path, strerror(error));
		return error;
	}
	while ((e = readdir(dir)) != NULL) {
		char *name = name_of_file(mem, e->d_name, dbs->d->pnn);
		const char *problem = name != NULL ? db_name_problem(name) : NULL;

		if (problem != NULL) {
			log_warning("%s/%s: ignoring it: the name of the database %s", path, e->d_name, problem);
		}
		if (name == NULL || problem != NULL) {
			continue;
		}
		*names = talloc_realloc(mem, *names, char *, *n + 1);
		if (*names == NULL) {
			closedir(dir);
			return ENOMEM;
		}
		(*names)[(*n)++] = name;
	}
	closedir(dir);
	if (*n > 1) {
		qsort(*names, *n, sizeof(char *), compare_names);
	}
	return 0;
}

/* ---- journals ---- */

#define EXIT_VERDICT 200 /* of a child: this and the verdict; else errno */

struct journal_child {
	const struct db_file *f;
	uint32_t db_id;
	bool distrust_file;
};

static int child_journal_start(const void *arg)
{
	const struct journal_child *c = arg;
	enum journal_verdict verdict;
	int error = journal_start(NULL, c->f->path, c->db_id, c->distrust_file, &verdict);

	return error != 0 ? error : EXIT_VERDICT + (int)verdict;
}

static int child_journal_end(const void *arg)
{
	const struct journal_child *c = arg;

	return journal_start_end(c->f->path, c->f->tdb_flags);
}

/* In a child process: damaged files may crash who reads them. If it was FILE, the rest is enough. */
static int journal_deal(const struct journal_child *c, TALLOC_CTX *mem, enum journal_verdict *verdict, char **err)
{
	uint64_t ms = db_file_patience_ms(c->f->path);
	struct journal_child again = *c;
	int status = 0, error;

	if (!journal_left_overs(c->f->path)) {
		*verdict = JOURNAL_NONE;
		return 0;
	}
	error = db_file_in_child(child_journal_start, c, ms, &status);
	if (error == EFAULT && !c->distrust_file) {
		again.distrust_file = true;
		error = db_file_in_child(child_journal_start, &again, ms, &status);
	}
	if (error == EFAULT) {
		*verdict = JOURNAL_DAMAGED;
		return 0;
	}
	error = error == 0 && status < EXIT_VERDICT ? status : error;
	if (error != 0) {
		*err = talloc_asprintf(mem, "%s.journal: cannot be dealt with: %s", c->f->path, strerror(error));
		return error;
	}
	*verdict = (enum journal_verdict)(status - EXIT_VERDICT);
	return 0;
}

static int path_aside(TALLOC_CTX *mem, const char *path, char **err)
{
	char *aside;
	int error;

	if (path == NULL) {
		return ENOMEM;
	}
	if (access(path, F_OK) != 0) {
		return errno == ENOENT ? 0 : errno;
	}
	aside = db_file_aside_name(mem, path);
	error = aside == NULL ? ENOMEM : db_file_move_aside(mem, path, aside, err);
	if (error == 0) {
		log_warning("%s: does not belong to what is there, or is damaged: moved to %s", path, aside);
	}
	return error;
}

int db_journal_aside(TALLOC_CTX *mem, const char *path, char **err)
{
	TALLOC_CTX *tmp = talloc_new(mem);
	int error = path_aside(tmp, journal_path(tmp, path), err);

	error = error == 0 ? path_aside(tmp, journal_base_path(tmp, path), err) : error;
	if (error != 0 && *err != NULL) {
		*err = talloc_steal(mem, *err);
	}
	talloc_free(tmp);
	return error;
}

/* ---- one file ---- */

struct found {
	struct dbs *dbs;
	const char *name;
	struct db_file f;
	struct journal_child child;
	enum journal_verdict journal;
};

/*
 * The damaged file stays for whoever wants to save something from it; the node gets the contents from the others, or
 * starts empty. The reason is on disk before the empty file is: it must not pass for a healthy one, wherever we are
 * stopped.
 */
static int set_aside(const struct found *d, TALLOC_CTX *mem, const char *what, char **err)
{
	const struct db_file *f = &d->f;
	struct tdb_context *tdb;
	char *aside = db_file_aside_name(mem, f->path);
	char *reason = talloc_asprintf(mem, "the %s was damaged and is now %s", what, aside);
	int error = reason == NULL ? ENOMEM : db_health_put(d->dbs, d->name, reason);

	if (error == 0) {
		error = db_file_move_aside(mem, f->path, aside, err);
	}
	if (error == 0) {
		error = db_file_make(mem, f, &tdb, err);
	}
	if (error == 0) {
		tdb_close(tdb);
		log_error("%s: %s damaged, moved to %s; an empty one takes its place until a recovery brings the "
			  "contents",
			  f->path, what, aside);
		error = db_journal_aside(mem, f->path, err);
	}
	return error;
}

/* It passed its check, and its journal is of this kernel. */
static int end_journal(struct found *d, TALLOC_CTX *mem, char **err)
{
	int status = 0, error = db_file_in_child(child_journal_end, &d->child, db_file_patience_ms(d->f.path), &status);

	error = error == 0 ? status : error;
	if (error == EAGAIN) {
		log_warning("%s: its journal goes on, another process has locked the file", d->f.path);
		return 0;
	}
	if (error == 0) {
		log_notice("%s: was not closed in order; it is whole", d->f.path);
		return 0;
	}
	log_error("%s: cannot be synced: %s", d->f.path, strerror(error));
	d->child.distrust_file = true;
	return journal_deal(&d->child, mem, &d->journal, err);
}

static int after_check(struct found *d, TALLOC_CTX *mem, enum db_verdict verdict, char **err)
{
	int error = 0;

	if (verdict == DB_VERDICT_UNCHECKED) {
		log_warning("%s: not checked, another process has locked it or it takes too long; going on", d->f.path);
	}
	if (d->journal == JOURNAL_KERNEL && verdict == DB_VERDICT_GOOD) {
		error = end_journal(d, mem, err);
	} else if (d->journal == JOURNAL_KERNEL && verdict == DB_VERDICT_DAMAGED) {
		d->child.distrust_file = true;
		error = journal_deal(&d->child, mem, &d->journal, err);
	}
	if (error == 0 && verdict == DB_VERDICT_DAMAGED && d->journal != JOURNAL_REBUILT) {
		return set_aside(d, mem, "file", err);
	}
	return error;
}

static int check_one(struct found *d, TALLOC_CTX *mem, char **err)
{
	struct mono start = mono_now();
	enum db_verdict verdict;
	int error = journal_deal(&d->child, mem, &d->journal, err);
	uint64_t ms;

	if (error == 0 && d->journal != JOURNAL_DAMAGED) {
		error = db_file_check(mem, &d->f, &verdict, err);
		ms = mono_ms_between(start, mono_now());
		if (ms > 1000) {
			log_notice("%s: checking it took %llu ms", d->f.path, (unsigned long long)ms);
		}
		error = error == 0 ? after_check(d, mem, verdict, err) : error;
	}
	return error == 0 && d->journal == JOURNAL_DAMAGED ? set_aside(d, mem, "journal", err) : error;
}

/* The file that could not be synced is gone. */
static int healthy_again(struct found *d, TALLOC_CTX *mem)
{
	char *reason = d->journal == JOURNAL_REBUILT ? db_health_get(mem, d->dbs, d->name) : NULL;

	if (reason == NULL || strncmp(reason, JOURNAL_UNSYNCED, strlen(JOURNAL_UNSYNCED)) != 0) {
		return 0;
	}
	return db_health_put(d->dbs, d->name, NULL);
}

static int attach_one(struct dbs *dbs, TALLOC_CTX *mem, const char *name, bool health_lost, char **err)
{
	struct found d = {
		.dbs = dbs,
		.name = name,
		.f = {.path = db_path(mem, dbs, name, DB_PERSISTENT),
		      .tdb_flags = TDB_DISALLOW_NESTING,
		      .hash_size = dbs->d->conf->database.transaction_hash_size},
	};
	struct db *db;
	int error = d.f.path == NULL ? ENOMEM : 0;

	d.child = (struct journal_child){.f = &d.f, .db_id = db_id_of(name)};
	if (error == 0 && health_lost) {
		error = db_health_put(dbs, name, "unknown: the record of health was damaged");
	}
	if (error == 0) {
		error = check_one(&d, mem, err);
	}
	if (error == 0) {
		error = healthy_again(&d, mem);
	}
	return error != 0 ? error : db_attach_new(dbs, name, DB_PERSISTENT, false, &db, err);
}

int dbs_attach_persistent(struct dbs *dbs, TALLOC_CTX *mem, char **err)
{
	TALLOC_CTX *tmp = talloc_new(mem);
	char **names;
	size_t n, i;
	bool lost;
	int error = tmp == NULL ? ENOMEM : db_health_open(dbs, mem, &lost, err);

	if (error == 0) {
		error = list_persistent(dbs, tmp, &names, &n, err);
	}
	for (i = 0; error == 0 && i < n; i++) {
		error = attach_one(dbs, tmp, names[i], lost, err);
	}
	if (error != 0 && *err != NULL) {
		*err = talloc_steal(mem, *err);
	}
	talloc_free(tmp);
	return error;
}
