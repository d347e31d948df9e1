/* Health of persistent databases, kept across restarts. */
#include "dbd/db_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shared/log.h"

static TDB_DATA key_of(const char *name)
{
	union {
		const char *in;
		unsigned char *out;
	} u = {.in = name};

	return (TDB_DATA){.dptr = u.out, .dsize = strlen(name)};
}

static int replace_damaged(const struct db_file *f, struct dbs *dbs, TALLOC_CTX *mem, char **err)
{
	char *aside = db_file_aside_name(mem, f->path);
	int error = aside == NULL ? ENOMEM : db_file_move_aside(mem, f->path, aside, err);

	if (error != 0) {
		return error;
	}
	log_error("%s: damaged, moved to %s; the health of all persistent databases is unknown now", f->path, aside);
	return db_file_make(mem, f, &dbs->health, err);
}

int db_health_open(struct dbs *dbs, TALLOC_CTX *mem, bool *lost, char **err)
{
	struct db_file f = {.tdb_flags = TDB_DISALLOW_NESTING};
	enum db_verdict verdict;
	int error;

	*lost = false;
	f.path = talloc_asprintf(dbs, "%s/persistent_health.tdb.%u", dbs->d->conf->path.db_state, dbs->d->pnn);
	if (f.path == NULL) {
		return ENOMEM;
	}
	if (access(f.path, F_OK) != 0 && errno == ENOENT) {
		return db_file_make(mem, &f, &dbs->health, err);
	}
	error = db_file_check(mem, &f, &verdict, err);
	if (error != 0) {
		return error;
	}
	if (verdict == DB_VERDICT_DAMAGED) {
		*lost = true;
		return replace_damaged(&f, dbs, mem, err);
	}
	return db_file_open(mem, &f, &dbs->health, err);
}

char *db_health_get(TALLOC_CTX *mem, struct dbs *dbs, const char *name)
{
	TDB_DATA key = key_of(name);
	TDB_DATA value;
	char *reason;

	if (tdb_chainlock_nonblock(dbs->health, key) != 0) {
		return NULL;
	}
	value = tdb_fetch(dbs->health, key);
	tdb_chainunlock(dbs->health, key);
	if (value.dptr == NULL) {
		return NULL;
	}
	reason = talloc_strndup(mem, (char *)value.dptr, value.dsize);
	free(value.dptr);
	return reason;
}

static int store(struct dbs *dbs, const char *name, const char *reason)
{
	TDB_DATA key = key_of(name);
	int rc;

	if (tdb_chainlock_nonblock(dbs->health, key) != 0) {
		return EAGAIN;
	}
	if (reason != NULL) {
		rc = tdb_store(dbs->health, key, key_of(reason), 0);
	} else {
		rc = tdb_delete(dbs->health, key);
		rc = rc != 0 && tdb_error(dbs->health) == TDB_ERR_NOEXIST ? 0 : rc;
	}
	tdb_chainunlock(dbs->health, key);
	if (rc != 0) {
		log_error("database %s: its health cannot be recorded: %s", name, tdb_errorstr(dbs->health));
		return EIO;
	}
	return 0;
}

int db_health_put(struct dbs *dbs, const char *name, const char *reason)
{
	int error = store(dbs, name, reason);

	if (error == 0 && fsync(tdb_fd(dbs->health)) != 0) {
		error = errno;
	}
	return error;
}

int db_set_health(struct db *db, const char *reason)
{
	int error;

	if ((db->flags & DB_PERSISTENT) == 0) {
		return EINVAL;
	}
	if ((reason == NULL) == (db->health == NULL) && (reason == NULL || strcmp(reason, db->health) == 0)) {
		return 0;
	}
	error = store(db->dbs, db->name, reason);
	if (error != 0) {
		return error;
	}
	log_notice("database %s: health \"%s\" -> \"%s\"", db->name, db->health != NULL ? db->health : "good",
		   reason != NULL ? reason : "good");
	talloc_free(db->health);
	db->health = reason != NULL ? talloc_strdup(db, reason) : NULL;
	return 0;
}
