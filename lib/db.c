/* Databases: questions about them, and attaching. */
#include "internal.h"

#include <errno.h>
#include <fcntl.h>

#include <ctdb/wire.h>
#include <tdb.h>

#include "protocol/classic_native.h"

const char *ctdb_db_model_name(enum ctdb_db_model model)
{
	static const char *const names[] = {"volatile", "persistent", "replicated"};

	return (unsigned int)model < 3 ? names[model] : "unknown";
}

enum ctdb_db_model ctdb_db_flags_model(uint32_t flags)
{
	if ((flags & CTDB_DB_FLAG_PERSISTENT) != 0) {
		return CTDB_DB_PERSISTENT;
	}
	return (flags & CTDB_DB_FLAG_REPLICATED) != 0 ? CTDB_DB_REPLICATED : CTDB_DB_VOLATILE;
}

/* ---- list ---- */

struct tevent_req *ctdb_list_dbs_send(TALLOC_CTX *mem, struct ctdb_client *c, uint32_t node)
{
	return control_send(mem, c, node, CLASSIC_CONTROL_GET_DBMAP, 0, (struct ctdb_data){0});
}

int ctdb_list_dbs_recv(struct tevent_req *req, TALLOC_CTX *mem, struct ctdb_db_list **list)
{
	struct ctdb_blob data = {.len = 0};
	int err = control_recv(req, &data);

	return err != 0 ? err : control_decoded(req, ctdb_wire_get_db_list(mem, data_of_blob(data), list));
}

int ctdb_list_dbs(struct ctdb_client *c, uint32_t node, TALLOC_CTX *mem, struct ctdb_db_list **list)
{
	SYNC_RETURN(c, ctdb_list_dbs_send(mem, c, node), ctdb_list_dbs_recv(req, mem, list));
}

/* ---- one database: texts ---- */

struct tevent_req *ctdb_get_db_name_send(TALLOC_CTX *mem, struct ctdb_client *c, uint32_t node, uint32_t id)
{
	return control_db_send(mem, c, node, CLASSIC_CONTROL_GET_DBNAME, id);
}

int ctdb_get_db_name_recv(struct tevent_req *req, TALLOC_CTX *mem, char **name)
{
	return control_text_recv(req, mem, name);
}

struct tevent_req *ctdb_get_db_path_send(TALLOC_CTX *mem, struct ctdb_client *c, uint32_t node, uint32_t id)
{
	return control_db_send(mem, c, node, CLASSIC_CONTROL_GETDBPATH, id);
}

int ctdb_get_db_path_recv(struct tevent_req *req, TALLOC_CTX *mem, char **path)
{
	return control_text_recv(req, mem, path);
}

struct tevent_req *ctdb_get_db_health_send(TALLOC_CTX *mem, struct ctdb_client *c, uint32_t node, uint32_t id)
{
	return control_db_send(mem, c, node, CLASSIC_CONTROL_DB_GET_HEALTH, id);
}

int ctdb_get_db_health_recv(struct tevent_req *req, TALLOC_CTX *mem, char **reason)
{
	return control_text_recv(req, mem, reason);
}

static int sync_text(struct ctdb_client *c, struct tevent_req *req, TALLOC_CTX *mem, char **text)
{
	int err = sync_run(c, req);

	if (err == 0) {
		err = control_text_recv(req, mem, text);
		talloc_free(req);
	}
	return err;
}

int ctdb_get_db_name(struct ctdb_client *c, uint32_t node, uint32_t id, TALLOC_CTX *mem, char **name)
{
	return sync_text(c, SYNC_SEND(c, ctdb_get_db_name_send(mem, c, node, id)), mem, name);
}

int ctdb_get_db_path(struct ctdb_client *c, uint32_t node, uint32_t id, TALLOC_CTX *mem, char **path)
{
	return sync_text(c, SYNC_SEND(c, ctdb_get_db_path_send(mem, c, node, id)), mem, path);
}

int ctdb_get_db_health(struct ctdb_client *c, uint32_t node, uint32_t id, TALLOC_CTX *mem, char **reason)
{
	return sync_text(c, SYNC_SEND(c, ctdb_get_db_health_send(mem, c, node, id)), mem, reason);
}

/* ---- one database: numbers ---- */

struct tevent_req *ctdb_get_db_open_flags_send(TALLOC_CTX *mem, struct ctdb_client *c, uint32_t node, uint32_t id)
{
	return control_db_send(mem, c, node, CLASSIC_CONTROL_DB_OPEN_FLAGS, id);
}

int ctdb_get_db_open_flags_recv(struct tevent_req *req, int *tdb_flags)
{
	uint32_t v;
	int err = control_u32_recv(req, &v);

	if (err == 0) {
		*tdb_flags = (int)v;
	}
	return err;
}

int ctdb_get_db_open_flags(struct ctdb_client *c, uint32_t node, uint32_t id, int *tdb_flags)
{
	SYNC_RETURN(c, ctdb_get_db_open_flags_send(c, c, node, id), ctdb_get_db_open_flags_recv(req, tdb_flags));
}

struct tevent_req *ctdb_get_db_seqnum_send(TALLOC_CTX *mem, struct ctdb_client *c, uint32_t node, uint32_t id)
{
	uint32_t args[2] = {id, 0}; /* 8 bytes, of which the daemon reads 4 */

	return control_send(mem, c, node, CLASSIC_CONTROL_GET_DB_SEQNUM, 0, data_of(args, sizeof(args)));
}

int ctdb_get_db_seqnum_recv(struct tevent_req *req, uint64_t *seqnum)
{
	struct ctdb_blob data = {.len = 0};
	struct classic_u64 v;
	int err = control_recv(req, &data);

	if (err != 0) {
		return err;
	}
	if (classic_u64_nview(data.data, data.len, &v, NULL) != 0) {
		return control_malformed(req);
	}
	*seqnum = v.value;
	return 0;
}

int ctdb_get_db_seqnum(struct ctdb_client *c, uint32_t node, uint32_t id, uint64_t *seqnum)
{
	SYNC_RETURN(c, ctdb_get_db_seqnum_send(c, c, node, id), ctdb_get_db_seqnum_recv(req, seqnum));
}

/* ---- handles ---- */

const char *ctdb_db_name(const struct ctdb_db *db)
{
	return db->file->name;
}

uint32_t ctdb_db_id(const struct ctdb_db *db)
{
	return db->file->id;
}

enum ctdb_db_model ctdb_db_get_model(const struct ctdb_db *db)
{
	return db->file->model;
}

struct ctdb_client *ctdb_db_client(const struct ctdb_db *db)
{
	return db->c;
}

static int file_destructor(struct db_file *f)
{
	dlist_remove(&f->link);
	if (f->tdb != NULL) {
		tdb_close(f->tdb);
	}
	return 0;
}

static int db_destructor(struct ctdb_db *db)
{
	dlist_remove(&db->link);
	if (--db->file->n_users == 0) {
		talloc_free(db->file);
	}
	return 0;
}

struct db_file *db_file_find(struct ctdb_client *c, uint32_t id)
{
	dlist_for_each(e, &c->files)
	{
		struct db_file *f = dlist_entry(e, struct db_file, link);

		if (f->id == id) {
			return f;
		}
	}
	return NULL;
}

int db_file_open(struct ctdb_client *c, uint32_t id, const char *name, enum ctdb_db_model model, const char *path,
		 int tdb_flags, struct db_file **file)
{
	struct db_file *f =
		talloc_zero(NULL, struct db_file); /* lives as long as its handles, which belong to different owners */
	int err;

	if (f != NULL) {
		f->name = talloc_strdup(f, name);
	}
	if (f == NULL || f->name == NULL) {
		talloc_free(f);
		return client_fail(c, ENOMEM, "out of memory");
	}
	f->id = id;
	f->model = model;
	f->tdb_flags = tdb_flags;
	dlist_init(&f->locked);
	f->tdb = tdb_open(path, 0, tdb_flags, O_RDWR, 0);
	if (f->tdb == NULL) {
		err = errno != 0 ? errno : EIO;
		talloc_free(f);
		return client_fail(c, err, "cannot open %s, file of database \"%s\": %s", path, name, strerror(err));
	}
	dlist_add_tail(&c->files, &f->link);
	talloc_set_destructor(f, file_destructor);
	*file = f;
	return 0;
}

struct ctdb_db *db_handle_new(TALLOC_CTX *mem, struct ctdb_client *c, struct db_file *f)
{
	struct ctdb_db *db = talloc_zero(mem, struct ctdb_db);

	if (db == NULL) {
		if (f->n_users == 0) {
			talloc_free(f);
		}
		return NULL;
	}
	db->c = c;
	db->file = f;
	f->n_users++;
	dlist_add_tail(&c->dbs, &db->link);
	talloc_set_destructor(db, db_destructor);
	return db;
}
