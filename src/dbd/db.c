/* The databases of this node: identity, flags, attach. */
#include "dbd/db_int.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/hash.h"
#include "shared/log.h"

#define NAME_MAX_BYTES 200

struct dlist *dbs_list(struct dbs *dbs)
{
	return &dbs->list;
}

uint32_t dbs_count(const struct dbs *dbs)
{
	return dbs->count;
}

struct db *db_find(struct dbs *dbs, uint32_t id)
{
	struct db *db = dbs->by_id[id % DB_BUCKETS];

	while (db != NULL && db->id != id) {
		db = db->same_bucket;
	}
	return db;
}

uint32_t db_id_of(const char *name)
{
	return hash_lookup3((const uint8_t *)name, strlen(name) + 1);
}

struct db *db_find_name(struct dbs *dbs, const char *name)
{
	struct db *db = db_find(dbs, db_id_of(name));

	return db != NULL && strcmp(db->name, name) == 0 ? db : NULL;
}

/* Clients, workers and dbkeep ask; nobody else may compute these: a difference in hash or locking destroys files. */
int db_model_tdb_flags(const struct dbs *dbs, uint32_t flags)
{
	int tdb_flags = TDB_DISALLOW_NESTING;

	if ((flags & DB_PERSISTENT) != 0) {
		return tdb_flags;
	}
	tdb_flags |= TDB_NOSYNC | TDB_CLEAR_IF_FIRST | TDB_INCOMPATIBLE_HASH;
	if ((flags & DB_REPLICATED) == 0 && dbs->mutexes) {
		tdb_flags |= TDB_MUTEX_LOCKING;
	}
	return tdb_flags;
}

int db_open_flags(const struct db *db)
{
	return db_model_tdb_flags(db->dbs, db->flags) | (db->seqnum_enabled ? TDB_SEQNUM : 0);
}

void db_enable_seqnum(struct db *db)
{
	db->seqnum_enabled = true;
	db->tdb_flags = db_open_flags(db);
	tdb_add_flags(db->tdb, TDB_SEQNUM);
}

char *db_path(TALLOC_CTX *mem, const struct dbs *dbs, const char *name, uint32_t flags)
{
	const struct conf_paths *p = &dbs->d->conf->path;

	return talloc_asprintf(mem, "%s/%s.%u", (flags & DB_PERSISTENT) != 0 ? p->db_persistent : p->db_volatile, name,
			       dbs->d->pnn);
}

const char *db_name_problem(const char *name)
{
	size_t len = strlen(name);
	size_t i;

	if (len == 0) {
		return "is empty";
	}
	if (len > NAME_MAX_BYTES) {
		return "is longer than 200 bytes";
	}
	if (name[0] == '.') {
		return "begins with a dot";
	}
	for (i = 0; i < len; i++) {
		if (name[i] == '/') {
			return "contains a slash";
		}
		if (name[i] < 0x20 || name[i] > 0x7e) {
			return "contains a byte that is not printable ASCII";
		}
	}
	return NULL;
}

static int db_destructor(struct db *db)
{
	struct db **p = &db->dbs->by_id[db->id % DB_BUCKETS];

	while (*p != db) {
		p = &(*p)->same_bucket;
	}
	*p = db->same_bucket;
	dlist_remove(&db->link);
	db->dbs->count--;
	if (db->tdb != NULL) {
		tdb_close(db->tdb);
	}
	return 0;
}

static struct db *db_new(struct dbs *dbs, const char *name, uint32_t flags, uint32_t id)
{
	struct db *db = talloc_zero(dbs, struct db);

	if (db == NULL) {
		return NULL;
	}
	db->dbs = dbs;
	db->id = id;
	db->flags = flags;
	db->generation = GENERATION_NONE;
	db->name = talloc_strdup(db, name);
	db->path = db_path(db, dbs, name, flags);
	db->writes = talloc_zero(db, struct db_writes);
	if (db->name == NULL || db->path == NULL || db->writes == NULL) {
		talloc_free(db);
		return NULL;
	}
	db->tdb_flags = db_open_flags(db);
	db->same_bucket = dbs->by_id[id % DB_BUCKETS];
	dbs->by_id[id % DB_BUCKETS] = db;
	dlist_add_head(&dbs->list, &db->link);
	dbs->count++;
	talloc_set_destructor(db, db_destructor);
	return db;
}

/* What is left of the journal of a file that is gone does not belong to the new one. */
static int db_make(struct db *db, const struct db_file *f, char **err)
{
	int error = db_journal_aside(db->dbs, db->path, err);

	return error != 0 ? error : db_file_make(db->dbs, f, &db->tdb, err);
}

static int open_file(struct db *db, char **err)
{
	struct db_file f = {
		.path = db->path,
		.tdb_flags = db->tdb_flags,
		.hash_size = db_is_volatile(db) ? db->dbs->d->conf->database.hash_size
						: db->dbs->d->conf->database.transaction_hash_size,
	};

	if ((db->flags & DB_PERSISTENT) == 0) {
		return db->kept ? db_file_open(db->dbs, &f, &db->tdb, err)
				: db_file_replace(db->dbs, &f, &db->tdb, err);
	}
	if (access(db->path, F_OK) != 0 && errno == ENOENT) {
		return db_make(db, &f, err);
	}
	return db_file_open(db->dbs, &f, &db->tdb, err);
}

int db_attach_new(struct dbs *dbs, const char *name, uint32_t flags, bool kept, struct db **result, char **err)
{
	uint32_t id = db_id_of(name);
	struct db *db = db_find(dbs, id);
	int error;

	if (db != NULL) {
		*err = talloc_asprintf(dbs, "database name \"%s\" has the id 0x%08x of the attached \"%s\"; rename it",
				       name, id, db->name);
		return EEXIST;
	}
	if (dbs_count(dbs) >= DBS_MAX) {
		*err = talloc_asprintf(dbs, "database \"%s\": there are %u databases already, more are not possible",
				       name, DBS_MAX);
		return ENOSPC;
	}
	db = db_new(dbs, name, flags, id);
	if (db == NULL) {
		return ENOMEM;
	}
	db->kept = kept;
	error = open_file(db, err);
	if (error != 0) {
		talloc_free(db);
		return error;
	}
	if ((flags & DB_PERSISTENT) != 0) {
		db->health = db_health_get(db, dbs, name);
	}
	log_info("database %s (0x%08x) attached: %s%s", name, id, db->path, kept ? ", contents kept" : "");
	*result = db;
	return 0;
}

/* A request without a model flag is served by any: that is how clients open a persistent database for reading. */
static int attach_existing(struct db *db, uint32_t flags, char **err)
{
	if ((db->flags & flags) == flags) {
		return 0;
	}
	*err = talloc_asprintf(db->dbs, "database \"%s\" is attached already, as a %s one", db->name,
			       (db->flags & DB_PERSISTENT) != 0   ? "persistent"
			       : (db->flags & DB_REPLICATED) != 0 ? "replicated"
								  : "volatile");
	return EINVAL;
}

int db_attach(struct dbs *dbs, const char *name, uint32_t flags, struct db **db, bool *created, char **err)
{
	const char *problem = db_name_problem(name);
	struct db *found;
	int error;

	*err = NULL;
	if (problem != NULL) {
		*err = talloc_asprintf(dbs, "database name %s", problem);
		return EINVAL;
	}
	if (flags != 0 && flags != DB_PERSISTENT && flags != DB_REPLICATED) {
		*err = talloc_asprintf(dbs, "database \"%s\": flags 0x%x name no database model", name, flags);
		return EINVAL;
	}
	found = db_find_name(dbs, name);
	if (found != NULL) {
		error = attach_existing(found, flags, err);
		if (error == 0) {
			*db = found;
			*created = false;
		}
		return error;
	}
	error = db_attach_new(dbs, name, flags, false, db, err);
	if (error != 0) {
		return error;
	}
	*created = true;
	if (dbs->keeper != NULL && (flags & DB_PERSISTENT) == 0) {
		keeper_tell(dbs->keeper, *db);
	}
	return 0;
}

void db_set_flag(struct db *db, uint32_t flag)
{
	if ((db->flags & flag) == flag) {
		return;
	}
	db->flags |= flag;
	if (db->dbs->keeper != NULL) {
		keeper_tell(db->dbs->keeper, db);
	}
}

void db_detach(struct db *db)
{
	struct dbs *dbs = db->dbs;
	char *path = talloc_steal(dbs, db->path);

	log_info("database %s (0x%08x) detached", db->name, db->id);
	talloc_free(db);
	if (dbs->keeper != NULL) {
		keeper_drop(dbs->keeper, path);
	}
	talloc_free(path);
}

static int dbs_destructor(struct dbs *dbs)
{
	if (dbs->health != NULL) {
		tdb_close(dbs->health);
	}
	return 0;
}

static int open_all(struct dbs *dbs, TALLOC_CTX *mem, char **err)
{
	int error = dbs_open_directories(dbs, mem, err);

	if (error == 0) {
		error = dbs_attach_persistent(dbs, mem, err);
	}
	if (error != 0 || dbs->d->msg == NULL) {
		return error;
	}
	error = keeper_new(dbs, &dbs->keeper);
	if (error == 0) {
		error = keeper_attach_kept(dbs->keeper, mem, err);
	}
	if (error == 0) {
		keeper_start(dbs->keeper);
	}
	return error;
}

int dbs_open(TALLOC_CTX *mem, struct daemon *d, struct dbs **dbs, char **err)
{
	struct dbs *s = talloc_zero(mem, struct dbs);
	int error;

	*err = NULL;
	if (s == NULL) {
		return ENOMEM;
	}
	talloc_set_destructor(s, dbs_destructor);
	dlist_init(&s->list);
	s->d = d;
	s->mutexes = d->conf->database.tdb_mutexes && tdb_runtime_check_for_robust_mutexes();
	if (d->conf->database.tdb_mutexes && !s->mutexes) {
		log_warning("this system has no robust mutexes: databases use file locks, which are slower");
	}
	error = open_all(s, mem, err);
	if (error != 0) {
		*err = *err != NULL ? talloc_steal(mem, *err) : talloc_strdup(mem, strerror(error));
		talloc_free(s);
		return error;
	}
	*dbs = s;
	return 0;
}
