/* What the daemon finds on disk when it starts: directories, persistent databases, damage. */
#include "dbd/db_int.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>

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

/*
 * The damaged file stays for whoever wants to save something from it; the node gets the contents from the others, or
 * starts empty. The reason is on disk before the empty file is: it must not pass for a healthy one, wherever we are
 * stopped.
 */
static int set_aside(struct dbs *dbs, TALLOC_CTX *mem, const char *name, const struct db_file *f, char **err)
{
	struct tdb_context *tdb;
	char *aside = db_file_aside_name(mem, f->path);
	char *reason = talloc_asprintf(mem, "the file was damaged and is now %s", aside);
	int error = reason == NULL ? ENOMEM : db_health_put(dbs, name, reason);

	if (error == 0) {
		error = db_file_move_aside(mem, f->path, aside, err);
	}
	if (error == 0) {
		error = db_file_make(mem, f, &tdb, err);
	}
	if (error == 0) {
		tdb_close(tdb);
		log_error("%s: damaged, moved to %s; an empty one takes its place until a recovery brings the contents",
			  f->path, aside);
	}
	return error;
}

static int check_one(struct dbs *dbs, TALLOC_CTX *mem, const char *name, const struct db_file *f, char **err)
{
	struct mono start = mono_now();
	enum db_verdict verdict;
	int error = db_file_check(mem, f, &verdict, err);
	uint64_t ms = mono_ms_between(start, mono_now());

	if (error != 0) {
		return error;
	}
	if (ms > 1000) {
		log_notice("%s: checking it took %llu ms", f->path, (unsigned long long)ms);
	}
	if (verdict == DB_VERDICT_UNCHECKED) {
		log_warning("%s: not checked, another process has locked it or it takes too long; going on", f->path);
	}
	return verdict == DB_VERDICT_DAMAGED ? set_aside(dbs, mem, name, f, err) : 0;
}

static int attach_one(struct dbs *dbs, TALLOC_CTX *mem, const char *name, bool health_lost, char **err)
{
	struct db_file f = {
		.path = db_path(mem, dbs, name, DB_PERSISTENT),
		.tdb_flags = TDB_DISALLOW_NESTING,
		.hash_size = dbs->d->conf->database.hash_size,
	};
	struct db *db;
	int error = f.path == NULL ? ENOMEM : 0;

	if (error == 0 && health_lost) {
		error = db_health_put(dbs, name, "unknown: the record of health was damaged");
	}
	if (error == 0) {
		error = check_one(dbs, mem, name, &f, err);
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
