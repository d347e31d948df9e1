/* Traverse: the daemons of all active nodes walk, records come as messages. */
#include "internal.h"

#include <errno.h>
#include <unistd.h>

#include "local.h"
#include "protocol/classic_native.h"

static const char seqnum_key[] = "__db_sequence_number__";

struct traverse_state {
	struct op op;
	struct ctdb_db *db;
	struct ctdb_listener *l;
	uint64_t srvid;
	uint32_t reqid;
	ctdb_traverse_fn fn;
	void *priv;
	uint64_t n;
	uint64_t n_seen; /* when the idle timer looked last */
	uint64_t n_messages;
};

static void traverse_listening(struct tevent_req *subreq);
static void traverse_started(struct tevent_req *subreq);
static void traverse_message(void *priv, uint64_t srvid, struct ctdb_data data);
static void traverse_idle(struct tevent_context *ev, struct tevent_timer *te, struct timeval now, void *priv);

static int traverse_destructor(struct traverse_state *s)
{
	op_end(&s->op);
	return 0;
}

struct tevent_req *ctdb_traverse_send(TALLOC_CTX *mem, struct ctdb_db *db, ctdb_traverse_fn fn, void *priv)
{
	struct traverse_state *s;
	struct tevent_req *req, *subreq;

	if (db->c == NULL) {
		return NULL;
	}
	req = tevent_req_create(mem, &s, struct traverse_state);
	if (req == NULL) {
		return NULL;
	}
	*s = (struct traverse_state){.db = db, .fn = fn, .priv = priv, .reqid = ++db->c->next_reqid};
	s->srvid = CLASSIC_SRVID_CLIENT_RANGE | ((uint64_t)(client_random() & 0xFFFFFF) << 32) | (uint32_t)getpid();
	op_begin(&s->op, db->c, req);
	talloc_set_destructor(s, traverse_destructor);
	subreq = ctdb_listen_send(s, db->c, s->srvid, traverse_message, s);
	if (tevent_req_nomem(subreq, req)) {
		return tevent_req_post(req, db->c->ev);
	}
	tevent_req_set_callback(subreq, traverse_listening, req);
	return req;
}

static void traverse_listening(struct tevent_req *subreq)
{
	struct tevent_req *req = tevent_req_callback_data(subreq, struct tevent_req);
	struct traverse_state *s = tevent_req_data(req, struct traverse_state);
	struct classic_traverse_start_ext start = {.db_id = s->db->file->id, .reqid = s->reqid, .srvid = s->srvid};
	struct ctdb_blob payload;
	int err = ctdb_listen_recv(subreq, s, &s->l);

	talloc_free(subreq);
	if (tevent_req_error(req, err) ||
	    tevent_req_error(req, classic_traverse_start_ext_nencode(s, &start, &payload))) {
		return;
	}
	subreq = control_send(s, s->op.c, CTDB_NODE_CURRENT, CLASSIC_CONTROL_TRAVERSE_START_EXT, 0,
			      data_of_blob(payload));
	if (!tevent_req_nomem(subreq, req)) {
		tevent_req_set_callback(subreq, traverse_started, req);
	}
}

static void traverse_started(struct tevent_req *subreq)
{
	struct tevent_req *req = tevent_req_callback_data(subreq, struct tevent_req);
	struct traverse_state *s = tevent_req_data(req, struct traverse_state);
	struct ctdb_blob none;
	int err = control_recv(subreq, &none);

	talloc_free(subreq);
	if (tevent_req_error(req, err)) {
		return;
	}
	if (tevent_add_timer(s->op.c->ev, s, client_endtime(s->op.c), traverse_idle, req) == NULL) {
		tevent_req_oom(req);
	}
}

static void traverse_idle(struct tevent_context *ev, struct tevent_timer *te, struct timeval now, void *priv)
{
	struct tevent_req *req = priv;
	struct traverse_state *s = tevent_req_data(req, struct traverse_state);

	if (s->op.c == NULL) {
		return; /* fails anyway */
	}
	if (s->n_messages == s->n_seen) {
		tevent_req_error(req,
				 client_fail(s->op.c, ETIMEDOUT,
					     "database \"%s\": traverse: nothing came for %u ms after %llu records",
					     s->db->file->name, s->op.c->timeout_ms, (unsigned long long)s->n));
		return;
	}
	s->n_seen = s->n_messages;
	if (tevent_add_timer(ev, s, client_endtime(s->op.c), traverse_idle, req) == NULL) {
		tevent_req_oom(req);
	}
}

static bool is_internal(const struct traverse_state *s, struct ctdb_data key)
{
	return s->db->file->model != CTDB_DB_VOLATILE && data_equal(key, data_of(seqnum_key, sizeof(seqnum_key)));
}

static void traverse_message(void *priv, uint64_t srvid, struct ctdb_data data)
{
	struct traverse_state *s = priv;
	struct tevent_req *req = s->op.req;
	struct classic_rec_data rec;
	struct classic_ltdb_header h;
	struct ctdb_record_header header;

	if (!tevent_req_is_in_progress(req)) {
		return;
	}
	if (classic_rec_data_nview(data.data, data.len, &rec, NULL) != 0) {
		tevent_req_error(req, client_fail(s->op.c, EPROTO, "traverse: malformed record from the CTDB daemon"));
		return;
	}
	s->n_messages++;
	if (rec.reqid != s->reqid) {
		return;
	}
	if (rec.key.len == 0 && rec.data.len == 0) {
		tevent_req_done(req);
		return;
	}
	if (rec.data.len <= RECORD_HEADER_SIZE || is_internal(s, data_of_blob(rec.key))) {
		return;
	}
	local_header_get(rec.data.data, &h);
	header = (struct ctdb_record_header){.rsn = h.rsn, .dmaster = h.dmaster, .flags = h.flags};
	s->n++;
	if (!s->fn(s->priv, data_of_blob(rec.key), header,
		   data_of(rec.data.data + RECORD_HEADER_SIZE, rec.data.len - RECORD_HEADER_SIZE))) {
		tevent_req_done(req);
	}
}

int ctdb_traverse_recv(struct tevent_req *req, uint64_t *n_records)
{
	struct traverse_state *s = tevent_req_data(req, struct traverse_state);
	int err;

	if (req_failed(req, &err)) {
		return err;
	}
	*n_records = s->n;
	return 0;
}

int ctdb_traverse(struct ctdb_db *db, ctdb_traverse_fn fn, void *priv, uint64_t *n_records)
{
	struct tevent_req *req = SYNC_SEND(db->c, ctdb_traverse_send(db, db, fn, priv));
	int err = sync_run(db->c, req);

	if (err == 0) {
		err = ctdb_traverse_recv(req, n_records);
		talloc_free(req);
	}
	return err;
}
