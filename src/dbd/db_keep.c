/* Client of dbkeep: which volatile files are held open for us while we are not there. */
#include "dbd/db_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "protocol/dbkeep_rpc.h"
#include "shared/log.h"
#include "shared/mono_timer.h"
#include "shared/msg.h"

#define LIST_TIMEOUT_MS   5000
#define KEEP_TIMEOUT_MS   5000
#define CHECK_INTERVAL_MS 2000

struct keeper {
	struct dbs *dbs;
	struct rpc_client *client;
	struct mono_timer *timer;
};

static void keeper_check(void *priv);

int keeper_new(struct dbs *dbs, struct keeper **keeper)
{
	struct msg_addr addr = {.endpoint = "dbkeep", .node = NODE_SELF};
	struct keeper *k = talloc_zero(dbs, struct keeper);

	if (k == NULL) {
		return ENOMEM;
	}
	k->dbs = dbs;
	k->client = msg_client(k, dbs->d->msg, &addr);
	k->timer = mono_timer_new(k, dbs->d->ev, keeper_check, k);
	if (k->client == NULL || k->timer == NULL) {
		talloc_free(k);
		return ENOMEM;
	}
	*keeper = k;
	return 0;
}

static int keeper_list_wait(struct keeper *k, TALLOC_CTX *mem, struct dbkeep_files *files)
{
	struct tevent_req *req = dbkeep_list_send(k, k->dbs->d->ev, k->client, LIST_TIMEOUT_MS);
	int error;

	if (req == NULL) {
		return ENOMEM;
	}
	/* Not a nested loop: setup runs before the daemon's loop. */
	if (!tevent_req_poll(req, k->dbs->d->ev)) {
		talloc_free(req);
		return EIO;
	}
	error = dbkeep_list_recv(req, mem, files);
	talloc_free(req);
	return error;
}

static bool same_file(const struct dbkeep_file *f, const struct stat *st)
{
	return f->device == st->st_dev && f->inode == st->st_ino;
}

/* Is it what this node's dbd would have told: path that follows from name and flags, file still there under that name?
 */
static bool file_is_ours(struct keeper *k, const struct dbkeep_file *f)
{
	char *path = db_path(k, k->dbs, f->name, f->db_flags);
	struct stat st;
	bool ours = path != NULL && db_name_problem(f->name) == NULL && (f->db_flags & DB_PERSISTENT) == 0 &&
		    strcmp(path, f->path) == 0 && lstat(f->path, &st) == 0 && S_ISREG(st.st_mode) && same_file(f, &st);

	talloc_free(path);
	return ours;
}

static int compare_paths(const void *a, const void *b)
{
	const struct dbkeep_file *x = a, *y = b;

	return strcmp(x->path, y->path);
}

static void sort_files(struct dbkeep_files *files)
{
	if (files->files.n > 1) {
		qsort(files->files.v, files->files.n, sizeof(files->files.v[0]), compare_paths);
	}
}

/* files are sorted. */
static struct dbkeep_file *find_file(const struct dbkeep_files *files, char *path)
{
	struct dbkeep_file key = {.path = path};

	if (files->files.n == 0) {
		return NULL;
	}
	return bsearch(&key, files->files.v, files->files.n, sizeof(key), compare_paths);
}

static void attach_file(struct keeper *k, const struct dbkeep_file *f)
{
	struct db *db;
	char *err = NULL;
	int error;

	if (!file_is_ours(k, f)) {
		log_warning("%s: dbkeep holds it, but it is not a file of this node's databases any more; ignoring it",
			    f->path);
		return;
	}
	/* With other locking or hash than before, the file must not be used. */
	if (((uint32_t)db_model_tdb_flags(k->dbs, f->db_flags) ^ f->tdb_flags) & ~(uint32_t)TDB_SEQNUM) {
		log_notice("database %s: configured to be opened in another way than before, its contents are dropped",
			   f->name);
		return;
	}
	error = db_attach_new(k->dbs, f->name, f->db_flags, true, &db, &err);
	if (error != 0) {
		log_warning("database %s: cannot be taken over as dbkeep held it, its contents are lost: %s", f->name,
			    err != NULL ? err : strerror(error));
		talloc_free(err);
		return;
	}
}

/* Nobody held it between the two questions, so TDB may have emptied the file when we opened it: then it is not what it
 * says it is. */
static int drop_unsure(struct keeper *k, const struct dbkeep_files *files, char **err)
{
	dlist_for_each_safe(e, &k->dbs->list)
	{
		struct db *db = dlist_entry(e, struct db, link);
		const struct dbkeep_file *f = find_file(files, db->path);
		struct stat st;
		struct db *fresh;
		char *name;
		uint32_t flags = db->flags;
		int error;

		if (!db->kept || (f != NULL && fstat(tdb_fd(db->tdb), &st) == 0 && same_file(f, &st))) {
			continue;
		}
		log_warning("database %s: dbkeep let go of it, its contents are dropped", db->name);
		name = talloc_steal(k, db->name);
		talloc_free(db);
		error = db_attach_new(k->dbs, name, flags, false, &fresh, err);
		talloc_free(name);
		if (error != 0) {
			return error;
		}
	}
	return 0;
}

int keeper_attach_kept(struct keeper *k, TALLOC_CTX *mem, char **err)
{
	struct dbkeep_files files;
	TALLOC_CTX *tmp = talloc_new(mem);
	uint32_t i;
	int error;

	if (tmp == NULL) {
		return ENOMEM;
	}
	error = keeper_list_wait(k, tmp, &files);
	if (error != 0) {
		log_warning("dbkeep does not answer (%s): volatile databases start empty", strerror(error));
		talloc_free(tmp);
		return 0;
	}
	for (i = 0; i < files.files.n; i++) {
		attach_file(k, &files.files.v[i]);
	}
	if (files.files.n > 0 && keeper_list_wait(k, tmp, &files) != 0) {
		files.files.n = 0;
	}
	sort_files(&files);
	error = drop_unsure(k, &files, err);
	talloc_free(tmp);
	return error;
}

/* ---- telling ---- */

struct keeper_tell_state {
	struct keeper *k;
	struct dbkeep_file file;
};

static void keeper_told(struct tevent_req *req);

static bool tell(struct keeper_tell_state *state)
{
	struct tevent_req *req =
		dbkeep_keep_send(state, state->k->dbs->d->ev, state->k->client, &state->file, KEEP_TIMEOUT_MS);

	if (req == NULL) {
		return false;
	}
	tevent_req_set_callback(req, keeper_told, state);
	return true;
}

void keeper_tell(struct keeper *k, struct db *db)
{
	struct keeper_tell_state *state = talloc_zero(k, struct keeper_tell_state);
	struct stat st;

	if (state == NULL || fstat(tdb_fd(db->tdb), &st) != 0) {
		talloc_free(state);
		return;
	}
	state->k = k;
	state->file = (struct dbkeep_file){
		.path = talloc_strdup(state, db->path),
		.name = talloc_strdup(state, db->name),
		.db_flags = db->flags,
		.tdb_flags = (uint32_t)db_open_flags(db),
		.device = st.st_dev,
		.inode = st.st_ino,
	};
	if (state->file.path == NULL || state->file.name == NULL || !tell(state)) {
		talloc_free(state);
	}
}

/* After the first answer both hold the file, and we never let go of it: dbkeep may vouch for it. A failure is made good
 * by the next check. */
static void keeper_told(struct tevent_req *req)
{
	struct keeper_tell_state *state = tevent_req_callback_data(req, struct keeper_tell_state);
	int error = dbkeep_keep_recv(req);

	talloc_free(req);
	if (error != 0) {
		log_ratelimited(LOG_LVL_WARNING, 60000, "%s: dbkeep does not hold it (%s): a restart would empty it",
				state->file.path, strerror(error));
	} else if (!state->file.confirmed) {
		state->file.confirmed = true;
		if (tell(state)) {
			return;
		}
	}
	talloc_free(state);
}

static void keeper_dropped(struct tevent_req *req)
{
	dbkeep_drop_recv(req);
	talloc_free(req);
}

void keeper_drop(struct keeper *k, const char *path)
{
	struct dbkeep_path arg = {.path = talloc_strdup(k, path)};
	struct tevent_req *req =
		arg.path == NULL ? NULL : dbkeep_drop_send(k, k->dbs->d->ev, k->client, &arg, KEEP_TIMEOUT_MS);

	talloc_free(arg.path);
	if (req != NULL) {
		tevent_req_set_callback(req, keeper_dropped, k);
	}
}

/* ---- does it still know: it may have been started again ---- */

static void keeper_compare(struct keeper *k, struct dbkeep_files *files)
{
	uint32_t i;

	sort_files(files);
	dlist_for_each(e, &k->dbs->list)
	{
		struct db *db = dlist_entry(e, struct db, link);
		const struct dbkeep_file *f = find_file(files, db->path);
		struct stat st;

		if ((db->flags & DB_PERSISTENT) != 0) {
			continue;
		}
		if (f == NULL || fstat(tdb_fd(db->tdb), &st) != 0 || !same_file(f, &st) || f->db_flags != db->flags) {
			keeper_tell(k, db);
		}
	}
	for (i = 0; i < files->files.n; i++) {
		if (db_find_name(k->dbs, files->files.v[i].name) == NULL) {
			keeper_drop(k, files->files.v[i].path);
		}
	}
}

static void keeper_check_done(struct tevent_req *req);

static void keeper_check(void *priv)
{
	struct keeper *k = talloc_get_type_abort(priv, struct keeper);
	struct tevent_req *req = dbkeep_list_send(k, k->dbs->d->ev, k->client, LIST_TIMEOUT_MS);

	if (req == NULL) {
		keeper_start(k);
		return;
	}
	tevent_req_set_callback(req, keeper_check_done, k);
}

static void keeper_check_done(struct tevent_req *req)
{
	struct keeper *k = tevent_req_callback_data(req, struct keeper);
	struct dbkeep_files files = {.files = {.n = 0}};
	TALLOC_CTX *tmp = talloc_new(k);
	int error = dbkeep_list_recv(req, tmp, &files);

	talloc_free(req);
	if (error != 0) {
		log_ratelimited(LOG_LVL_WARNING, 60000, "dbkeep does not answer: %s", strerror(error));
	} else {
		keeper_compare(k, &files);
	}
	talloc_free(tmp);
	keeper_start(k);
}

void keeper_start(struct keeper *k)
{
	mono_timer_set(k->timer, mono_add_ms(mono_now(), CHECK_INTERVAL_MS));
}
