/* Locked records of volatile databases: the chain lock of the file, after the daemon brought the record here. */
#include "local.h"

#include <errno.h>

#include "protocol/classic_native.h"

struct ctdb_record {
	struct local_lock_held held;
	struct ctdb_db *db;
	struct local_record rec;
	struct ctdb_data key;
	size_t room;     /* bytes behind the key, for data; 0: data have a block of their own */
	uint8_t bytes[]; /* the key and room, if it was all made in one */
};

/* A record may grow by this much before its data need a block of their own. */
#define ROOM_MORE 32U

static int record_destructor(struct ctdb_record *r)
{
	dlist_remove(&r->held.link);
	local_unlock(r->db->file, r->key);
	return 0;
}

/* ---- locking ---- */

struct record_lock_state {
	struct ctdb_db *db;
	struct ctdb_record *r;
	struct retry retry;
	unsigned int migrations;
};

static void record_lock_try(struct tevent_req *req);
static void record_lock_migrated(struct tevent_req *subreq);

struct tevent_req *ctdb_record_lock_send(TALLOC_CTX *mem, struct ctdb_db *db, struct ctdb_data key)
{
	struct record_lock_state *s;
	struct tevent_req *req;

	if (db->c == NULL) {
		return NULL;
	}
	req = tevent_req_create(mem, &s, struct record_lock_state);
	if (req == NULL) {
		return NULL;
	}
	*s = (struct record_lock_state){.db = db, .retry = {.req = req, .fn = record_lock_try}};
	s->r = talloc_zero(s, struct ctdb_record);
	if (tevent_req_nomem(s->r, req) || !tevent_req_set_endtime(req, db->c->ev, client_endtime(db->c))) {
		return tevent_req_post(req, db->c->ev);
	}
	s->r->db = db;
	s->r->key = data_of(talloc_memdup(s->r, key.data, key.len), key.len);
	s->r->held.key = s->r->key;
	if (s->r->key.data == NULL && key.len > 0) {
		tevent_req_oom(req);
	} else if (db->file->model != CTDB_DB_VOLATILE) {
		tevent_req_error(req, client_fail(db->c, EPERM,
						  "database \"%s\" is %s: its records are changed by transactions",
						  db->file->name, ctdb_db_model_name(db->file->model)));
	} else {
		record_lock_try(req);
	}
	return tevent_req_is_in_progress(req) ? req : tevent_req_post(req, db->c->ev);
}

static bool usable_for_writing(const struct local_record *rec, uint32_t pnn)
{
	return rec->found && rec->header.dmaster == pnn && (rec->header.flags & CTDB_RECORD_RO_HAVE_DELEGATIONS) == 0;
}

static void record_lock_try(struct tevent_req *req)
{
	struct record_lock_state *s = tevent_req_data(req, struct record_lock_state);
	struct ctdb_record *r = s->r;
	struct tevent_req *subreq;
	int err;

	if (s->db->c == NULL || s->db->c->fd == -1) {
		tevent_req_error(req, ENOTCONN);
		return;
	}
	if (local_lock(s->db->file, r->key) != 0) {
		retry_later(&s->retry, s, s->db->c->ev, LOCAL_RETRY_MIN_MS, LOCAL_RETRY_MAX_MS);
		return;
	}
	err = local_read(s->db->file, r->key, true, r, &r->rec);
	if (err == 0 && usable_for_writing(&r->rec, s->db->c->pnn)) {
		dlist_add_tail(&s->db->file->locked, &r->held.link);
		talloc_set_destructor(r, record_destructor);
		tevent_req_done(req);
		return;
	}
	local_unlock(s->db->file, r->key);
	if (tevent_req_error(req, err)) {
		return;
	}
	data_free(&r->rec.data);
	s->migrations++;
	subreq = call_send(s, s->db->c, s->db->file->id, CLASSIC_CALLID_NULL, CLASSIC_CALL_IMMEDIATE_MIGRATION, r->key);
	if (!tevent_req_nomem(subreq, req)) {
		tevent_req_set_callback(subreq, record_lock_migrated, req);
	}
}

/* The record was here; it may be gone again. */
static void record_lock_migrated(struct tevent_req *subreq)
{
	struct tevent_req *req = tevent_req_callback_data(subreq, struct tevent_req);
	struct record_lock_state *s = tevent_req_data(req, struct record_lock_state);
	int err = call_recv(subreq, s, NULL);

	talloc_free(subreq);
	if (!tevent_req_error(req, err)) {
		s->retry.pause_ms = 0;
		record_lock_try(req);
	}
}

int ctdb_record_lock_recv(struct tevent_req *req, TALLOC_CTX *mem, struct ctdb_record **rec)
{
	struct record_lock_state *s = tevent_req_data(req, struct record_lock_state);
	int err;

	if (req_failed(req, &err)) {
		if (err == ETIMEDOUT) {
			client_fail(
				s->db->c, err,
				"database \"%s\": record not locked in time (asked the CTDB daemon for it %u times)",
				s->db->file->name, s->migrations);
		}
		return err;
	}
	*rec = talloc_steal(mem, s->r);
	return 0;
}

struct lock_now {
	TALLOC_CTX *mem;
	struct ctdb_db *db;
	struct ctdb_data key;
	struct ctdb_record *r;
};

static uint8_t *room_of(struct ctdb_record *r)
{
	return r->bytes + r->key.len;
}

/* In one block: nothing else is allocated for a record that is here. */
static void lock_now_found(const struct classic_ltdb_header *header, struct ctdb_data data, void *priv)
{
	struct lock_now *n = priv;
	struct local_record rec = {.found = true, .header = *header};
	size_t room = data.len + ROOM_MORE;
	struct ctdb_record *r;

	if (!usable_for_writing(&rec, n->db->c->pnn)) {
		return;
	}
	n->r = r = talloc_named_const(n->mem, sizeof(*r) + n->key.len + room, "struct ctdb_record");
	if (r == NULL) {
		return;
	}
	*r = (struct ctdb_record){.db = n->db, .rec = rec, .key = data_of(r->bytes, n->key.len), .room = room};
	r->held.key = r->key;
	if (n->key.len > 0) {
		memcpy(r->bytes, n->key.data, n->key.len);
	}
	if (data.len > 0) {
		r->rec.data = data_of(memcpy(room_of(r), data.data, data.len), data.len);
	}
}

struct ctdb_record *record_lock_now(TALLOC_CTX *mem, struct ctdb_db *db, struct ctdb_data key)
{
	struct lock_now n = {.mem = mem, .db = db, .key = key};

	if (db->c == NULL || local_lock(db->file, key) != 0) {
		return NULL;
	}
	if (local_look(db->file, key, lock_now_found, &n) != 0 || n.r == NULL) {
		local_unlock(db->file, key);
		return NULL;
	}
	dlist_add_tail(&db->file->locked, &n.r->held.link);
	talloc_set_destructor(n.r, record_destructor);
	return n.r;
}

/* A record that is here and free needs no request: that is the usual case. */
static struct ctdb_record *record_lock_at_once(TALLOC_CTX *mem, struct ctdb_db *db, struct ctdb_data key)
{
	bool possible = sync_check(db->c) == 0 && db->c->fd != -1 && db->file->model == CTDB_DB_VOLATILE;

	return possible ? record_lock_now(mem, db, key) : NULL;
}

int ctdb_record_lock(struct ctdb_db *db, struct ctdb_data key, TALLOC_CTX *mem, struct ctdb_record **rec)
{
	struct ctdb_record *now = record_lock_at_once(mem, db, key);
	struct tevent_req *req;
	int err;

	if (now != NULL) {
		*rec = now;
		return 0;
	}
	req = SYNC_SEND(db->c, ctdb_record_lock_send(mem, db, key));
	err = sync_run(db->c, req);

	if (err == 0) {
		err = ctdb_record_lock_recv(req, mem, rec);
		talloc_free(req);
	}
	return err;
}

/* ---- using it ---- */

struct ctdb_data ctdb_record_key(const struct ctdb_record *r)
{
	return r->key;
}

struct ctdb_data ctdb_record_data(const struct ctdb_record *r)
{
	return r->rec.data;
}

struct ctdb_record_header ctdb_record_header(const struct ctdb_record *r)
{
	return (struct ctdb_record_header){
		.rsn = r->rec.header.rsn, .dmaster = r->rec.header.dmaster, .flags = r->rec.header.flags};
}

/* Where the handle keeps what is about to be written; NULL: out of memory. */
static uint8_t *keep_place(struct ctdb_record *r, size_t len)
{
	return len <= r->room ? room_of(r) : talloc_size(r, len);
}

/* data may be what is kept so far. */
static void keep(struct ctdb_record *r, uint8_t *place, struct ctdb_data data)
{
	struct ctdb_data old = r->rec.data;

	if (data.len > 0) {
		memmove(place, data.data, data.len);
	}
	r->rec.data = data_of(data.len > 0 ? place : NULL, data.len);
	if (old.data != NULL && (r->room == 0 || old.data != room_of(r))) {
		data_free(&old);
	}
}

/* The header is written back as it was: the rsn orders copies of different nodes, not changes on one. */
static int record_write(struct ctdb_record *r, struct ctdb_data data)
{
	struct ctdb_client *c = r->db->c;
	uint8_t *place;
	int err;

	if (c == NULL || c->fd == -1) { /* perhaps fenced: others may own the record by now */
		return client_fail(c, ENOTCONN, "database \"%s\": record not written: not connected to the CTDB daemon",
				   r->db->file->name);
	}
	place = keep_place(r, data.len);
	if (place == NULL) {
		return client_fail(c, ENOMEM, "out of memory");
	}
	err = local_write(r->db->file, r->key, &r->rec.header, data);
	if (err != 0) {
		if (data.len > r->room) {
			talloc_free(place);
		}
		return client_fail(c, err, "database \"%s\": record not written: %s", r->db->file->name, strerror(err));
	}
	keep(r, place, data);
	return 0;
}

int ctdb_record_store(struct ctdb_record *r, struct ctdb_data data)
{
	if (data.len == 0) {
		return client_fail(r->db->c, EINVAL, "an empty record does not exist: delete it");
	}
	return record_write(r, data);
}

int ctdb_record_delete(struct ctdb_record *r)
{
	struct classic_schedule_for_deletion p = {
		.db_id = r->db->file->id, .header = r->rec.header, .key = blob_of(r->key)};
	struct ctdb_blob payload;
	int err = record_write(r, (struct ctdb_data){0});

	if (err != 0) {
		return err;
	}
	err = classic_schedule_for_deletion_nencode(r, &p, &payload);
	if (err == 0) {
		err = control_post(r->db->c, CLASSIC_CONTROL_SCHEDULE_FOR_DELETION, r->db->file->id,
				   data_of_blob(payload));
		talloc_free(payload.data);
	}
	return err;
}
