/* Reading records without locking them. */
#include "local.h"

#include <errno.h>

#include <ctdb/wire.h>

#include "protocol/classic_native.h"

/* ---- the copy of this node ---- */

struct tevent_req *ctdb_record_peek_send(TALLOC_CTX *mem, struct ctdb_db *db, struct ctdb_data key)
{
	return local_read_send(mem, db, key);
}

int ctdb_record_peek_recv(struct tevent_req *req, TALLOC_CTX *mem, struct ctdb_record_header *header,
			  struct ctdb_data *data)
{
	struct local_record rec;
	int err = local_read_recv(req, mem, &rec);

	if (err != 0) {
		return err;
	}
	if (!rec.found) {
		return ENOENT;
	}
	*header = (struct ctdb_record_header){
		.rsn = rec.header.rsn, .dmaster = rec.header.dmaster, .flags = rec.header.flags};
	*data = rec.data;
	return 0;
}

int ctdb_record_peek(struct ctdb_db *db, struct ctdb_data key, TALLOC_CTX *mem, struct ctdb_record_header *header,
		     struct ctdb_data *data)
{
	struct tevent_req *req = SYNC_SEND(db->c, ctdb_record_peek_send(mem, db, key));
	int err = sync_run(db->c, req);

	if (err == 0) {
		err = ctdb_record_peek_recv(req, mem, header, data);
		talloc_free(req);
	}
	return err;
}

/* ---- the current contents ---- */

struct fetch_state {
	struct ctdb_db *db;
	struct ctdb_data key;
	bool readonly; /* a read-only copy is enough, and the header is wanted */
	struct ctdb_record_header header;
	struct ctdb_data data;
};

static void fetch_local_done(struct tevent_req *subreq);
static void fetch_call_done(struct tevent_req *subreq);

static struct tevent_req *fetch_begin(TALLOC_CTX *mem, struct ctdb_db *db, struct ctdb_data key, bool readonly)
{
	struct fetch_state *s;
	struct tevent_req *req, *subreq;

	if (db->c == NULL) {
		return NULL;
	}
	req = tevent_req_create(mem, &s, struct fetch_state);
	if (req == NULL) {
		return NULL;
	}
	*s = (struct fetch_state){.db = db, .readonly = readonly};
	s->key = data_of(talloc_memdup(s, key.data, key.len), key.len);
	subreq = local_read_send(s, db, key);
	if ((s->key.data == NULL && key.len > 0) || subreq == NULL) {
		tevent_req_oom(req);
		return tevent_req_post(req, db->c->ev);
	}
	tevent_req_set_callback(subreq, fetch_local_done, req);
	return req;
}

struct tevent_req *ctdb_record_fetch_send(TALLOC_CTX *mem, struct ctdb_db *db, struct ctdb_data key)
{
	return fetch_begin(mem, db, key, false);
}

struct tevent_req *ctdb_record_fetch_readonly_send(TALLOC_CTX *mem, struct ctdb_db *db, struct ctdb_data key)
{
	return fetch_begin(mem, db, key, true);
}

static bool usable_for_reading(const struct ctdb_db *db, const struct local_record *rec)
{
	if (db->file->model != CTDB_DB_VOLATILE) {
		return true;
	}
	return rec->found &&
	       (rec->header.dmaster == db->c->pnn || (rec->header.flags & CTDB_RECORD_RO_HAVE_READONLY) != 0);
}

static void fetch_finish(struct tevent_req *req, struct ctdb_data data)
{
	struct fetch_state *s = tevent_req_data(req, struct fetch_state);

	s->data = data;
	if (data.len == 0) {
		tevent_req_error(req,
				 client_fail(s->db->c, ENOENT, "database \"%s\": no such record", s->db->file->name));
	} else {
		tevent_req_done(req);
	}
}

static void fetch_local_done(struct tevent_req *subreq)
{
	struct tevent_req *req = tevent_req_callback_data(subreq, struct tevent_req);
	struct fetch_state *s = tevent_req_data(req, struct fetch_state);
	struct local_record rec;
	int err = local_read_recv(subreq, s, &rec);

	talloc_free(subreq);
	if (tevent_req_error(req, err)) {
		return;
	}
	if (s->db->c == NULL) {
		tevent_req_error(req, ENOTCONN);
		return;
	}
	if (usable_for_reading(s->db, &rec)) {
		s->header = (struct ctdb_record_header){
			.rsn = rec.header.rsn, .dmaster = rec.header.dmaster, .flags = rec.header.flags};
		fetch_finish(req, rec.data);
		return;
	}
	if (local_is_held(s->db->file, s->key)) { /* the daemon could not write it here before this process unlocks */
		err = client_fail(s->db->c, EDEADLK,
				  "database \"%s\": record asked for while another one that excludes it is locked",
				  s->db->file->name);
		tevent_req_error(req, err);
		return;
	}
	/* Unless the caller says so: only a record that was here before is contended, so that a read-only copy is
	 * better than to have it moved here. */
	subreq = call_send(s, s->db->c, s->db->file->id,
			   s->readonly ? CLASSIC_CALLID_FETCH_WITH_HEADER : CLASSIC_CALLID_FETCH,
			   s->readonly || rec.found ? CLASSIC_CALL_WANT_READONLY : 0, s->key);
	if (!tevent_req_nomem(subreq, req)) {
		tevent_req_set_callback(subreq, fetch_call_done, req);
	}
}

/* Takes the record header off the answer. */
static int header_split(struct fetch_state *s, struct ctdb_data *data)
{
	struct ctdb_data whole = *data;
	uint8_t *copy;

	if (whole.len < RECORD_HEADER_SIZE) {
		return client_fail(s->db->c, EPROTO, "call for a record: malformed answer of the CTDB daemon");
	}
	ctdb_wire_get_record_header(whole.data, &s->header);
	copy = talloc_memdup(s, whole.data + RECORD_HEADER_SIZE, whole.len - RECORD_HEADER_SIZE);
	if (copy == NULL) {
		return ENOMEM;
	}
	*data = data_of(copy, whole.len - RECORD_HEADER_SIZE);
	data_free(&whole);
	return 0;
}

static void fetch_call_done(struct tevent_req *subreq)
{
	struct tevent_req *req = tevent_req_callback_data(subreq, struct tevent_req);
	struct fetch_state *s = tevent_req_data(req, struct fetch_state);
	struct ctdb_data data;
	int err = call_recv(subreq, s, &data);

	talloc_free(subreq);
	if (err == 0 && s->readonly) {
		err = header_split(s, &data);
	}
	if (!tevent_req_error(req, err)) {
		fetch_finish(req, data);
	}
}

int ctdb_record_fetch_recv(struct tevent_req *req, TALLOC_CTX *mem, struct ctdb_data *data)
{
	struct fetch_state *s = tevent_req_data(req, struct fetch_state);
	int err;

	if (req_failed(req, &err)) {
		return err;
	}
	*data = data_of(talloc_steal(mem, s->data.data), s->data.len);
	return 0;
}

int ctdb_record_fetch(struct ctdb_db *db, struct ctdb_data key, TALLOC_CTX *mem, struct ctdb_data *data)
{
	struct tevent_req *req = SYNC_SEND(db->c, ctdb_record_fetch_send(mem, db, key));
	int err = sync_run(db->c, req);

	if (err == 0) {
		err = ctdb_record_fetch_recv(req, mem, data);
		talloc_free(req);
	}
	return err;
}

int ctdb_record_fetch_readonly_recv(struct tevent_req *req, TALLOC_CTX *mem, struct ctdb_record_header *header,
				    struct ctdb_data *data)
{
	struct fetch_state *s = tevent_req_data(req, struct fetch_state);
	int err = ctdb_record_fetch_recv(req, mem, data);

	if (err == 0 && header != NULL) {
		*header = s->header;
	}
	return err;
}

int ctdb_record_fetch_readonly(struct ctdb_db *db, struct ctdb_data key, TALLOC_CTX *mem,
			       struct ctdb_record_header *header, struct ctdb_data *data)
{
	SYNC_RETURN(db->c, ctdb_record_fetch_readonly_send(mem, db, key),
		    ctdb_record_fetch_readonly_recv(req, mem, header, data));
}
