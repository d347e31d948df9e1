/* The commit of a transaction: one request with all changes, again until it is certain what became of it. */
#include <errno.h>

#include "glock.h"
#include "local.h"
#include "protocol/classic_native.h"
#include "transaction_internal.h"

#define COMMIT_PAUSE_MIN_MS 10U
#define COMMIT_PAUSE_MAX_MS 1000U

static const char seqnum_key[] = "__db_sequence_number__";

struct commit_state {
	struct ctdb_transaction *t;
	struct dlist *next; /* change whose present record is read */
	struct classic_rec_buffer buf;
	uint32_t n_alloc;
	uint64_t seqnum; /* before */
	struct ctdb_blob payload;
	struct retry retry;
	int outcome; /* known before the lock is given back */
	bool sent;   /* a daemon may have it */
};

static void commit_read_next(struct tevent_req *req);
static void commit_read_done(struct tevent_req *subreq);
static void commit_seqnum_done(struct tevent_req *subreq);
static void commit_try(struct tevent_req *req);
static void commit_not_sent(struct tevent_req *req, int err);
static void commit_tried(struct tevent_req *subreq);
static void commit_check_done(struct tevent_req *subreq);
static void commit_finish(struct tevent_req *req, int outcome);
static void commit_unlocked(struct tevent_req *subreq);

struct tevent_req *ctdb_transaction_commit_send(TALLOC_CTX *mem, struct ctdb_transaction *t)
{
	struct commit_state *s;
	struct tevent_req *req;

	if (t->db->c == NULL) {
		return NULL;
	}
	req = tevent_req_create(mem, &s, struct commit_state);
	if (req == NULL) {
		return NULL;
	}
	*s = (struct commit_state){.t = t, .next = t->changes.next, .retry = {.req = req, .fn = commit_try}};
	s->buf.db_id = t->db->file->id;
	if (!t->locked || t->committed) {
		tevent_req_error(req, client_fail(t->db->c, EINVAL, "the transaction is over"));
		return tevent_req_post(req, t->db->c->ev);
	}
	t->committed = true;
	if (tevent_req_set_endtime(req, t->db->c->ev, client_endtime(t->db->c))) {
		commit_read_next(req);
	}
	return tevent_req_is_in_progress(req) ? req : tevent_req_post(req, t->db->c->ev);
}

/* ---- what is to be written ---- */

static void commit_read(struct tevent_req *req, struct ctdb_data key, tevent_req_fn done)
{
	struct commit_state *s = tevent_req_data(req, struct commit_state);
	struct tevent_req *subreq = local_read_send(s, s->t->db, key);

	if (!tevent_req_nomem(subreq, req)) {
		tevent_req_set_callback(subreq, done, req);
	}
}

static void commit_read_next(struct tevent_req *req)
{
	struct commit_state *s = tevent_req_data(req, struct commit_state);

	if (s->next != &s->t->changes) {
		commit_read(req, dlist_entry(s->next, struct change, link)->key, commit_read_done);
	} else if (s->buf.records.n == 0) {
		commit_finish(req, 0); /* nothing changed */
	} else {
		commit_read(req, data_of(seqnum_key, sizeof(seqnum_key)), commit_seqnum_done);
	}
}

/* One record more: the next rsn, this node as the one that wrote it. */
static bool commit_add(struct commit_state *s, struct ctdb_data key, const struct classic_ltdb_header *old,
		       struct ctdb_data data)
{
	struct classic_ltdb_header header = *old;
	struct classic_rec_data *r;
	uint8_t *bytes;

	if (s->buf.records.n == s->n_alloc) {
		uint32_t want = s->n_alloc == 0 ? 16 : 2 * s->n_alloc;
		struct classic_rec_data *v = talloc_realloc(s, s->buf.records.v, struct classic_rec_data, want);

		if (v == NULL) {
			return false;
		}
		s->buf.records.v = v;
		s->n_alloc = want;
	}
	bytes = talloc_array(s, uint8_t, RECORD_HEADER_SIZE + data.len);
	if (bytes == NULL) {
		return false;
	}
	header.rsn++;
	header.dmaster = s->t->db->c->pnn;
	local_header_put(&header, bytes);
	if (data.len > 0) {
		memcpy(bytes + RECORD_HEADER_SIZE, data.data, data.len);
	}
	r = &s->buf.records.v[s->buf.records.n++];
	*r = (struct classic_rec_data){.key = blob_of(key),
				       .data = {.len = (uint32_t)(RECORD_HEADER_SIZE + data.len), .data = bytes}};
	return true;
}

static void commit_read_done(struct tevent_req *subreq)
{
	struct tevent_req *req = tevent_req_callback_data(subreq, struct tevent_req);
	struct commit_state *s = tevent_req_data(req, struct commit_state);
	struct change *ch = dlist_entry(s->next, struct change, link);
	struct local_record rec;
	int err = local_read_recv(subreq, s, &rec);

	talloc_free(subreq);
	if (err == 0 && s->t->db->c == NULL) {
		err = ENOTCONN;
	}
	if (err != 0) {
		commit_finish(req, err);
		return;
	}
	if (!data_equal(rec.data, ch->data) && !commit_add(s, ch->key, &rec.header, ch->data)) {
		commit_finish(req, ENOMEM);
		return;
	}
	s->next = s->next->next;
	commit_read_next(req);
}

static uint64_t seqnum_of(const struct local_record *rec)
{
	uint64_t v = 0;

	if (rec->data.len == sizeof(v)) {
		memcpy(&v, rec->data.data, sizeof(v));
	}
	return v;
}

static void commit_seqnum_done(struct tevent_req *subreq)
{
	struct tevent_req *req = tevent_req_callback_data(subreq, struct tevent_req);
	struct commit_state *s = tevent_req_data(req, struct commit_state);
	struct local_record rec;
	uint64_t next;
	int err = local_read_recv(subreq, s, &rec);

	talloc_free(subreq);
	if (err == 0 && s->t->db->c == NULL) {
		err = ENOTCONN;
	}
	if (err == 0) {
		s->seqnum = seqnum_of(&rec);
		next = s->seqnum + 1;
		err = commit_add(s, data_of(seqnum_key, sizeof(seqnum_key)), &rec.header, data_of(&next, sizeof(next)))
			      ? 0
			      : ENOMEM;
	}
	if (err == 0) {
		err = classic_rec_buffer_nencode(s, &s->buf, &s->payload);
	}
	if (err != 0) {
		commit_finish(req, client_fail(s->t->db->c, err, "transaction on \"%s\": %s", s->t->db->file->name,
					       strerror(err)));
		return;
	}
	commit_try(req);
}

/* ---- writing ---- */

static void commit_try(struct tevent_req *req)
{
	struct commit_state *s = tevent_req_data(req, struct commit_state);
	struct tevent_req *subreq;

	if (s->t->db->c == NULL) {
		tevent_req_error(req, ENOTCONN);
		return;
	}
	subreq = control_send(s, s->t->db->c, CTDB_NODE_CURRENT, CLASSIC_CONTROL_TRANS3_COMMIT, s->t->db->file->id,
			      data_of_blob(s->payload));
	if (subreq == NULL) {
		commit_not_sent(req, ENOMEM);
		return;
	}
	s->sent = s->sent || request_was_sent(subreq);
	s->t->uncertain = s->sent;
	tevent_req_set_callback(subreq, commit_tried, req);
}

/* Nothing has left this process: it was not stored, unless an attempt before this one was. */
static void commit_not_sent(struct tevent_req *req, int err)
{
	struct commit_state *s = tevent_req_data(req, struct commit_state);

	if (s->sent) {
		tevent_req_error(req, err);
	} else {
		commit_finish(req, err);
	}
}

/* A time-out or a lost connection leaves it open; the lock stays until this process ends, so that nobody builds on what
 * may change yet. */
static void commit_tried(struct tevent_req *subreq)
{
	struct tevent_req *req = tevent_req_callback_data(subreq, struct tevent_req);
	struct commit_state *s = tevent_req_data(req, struct commit_state);
	struct ctdb_control_reply *reply = NULL;
	int err = ctdb_control_recv(subreq, s, &reply);

	talloc_free(subreq);
	if (err != 0) {
		commit_not_sent(req, err);
		return;
	}
	if (reply->status == 0) {
		commit_finish(req, 0);
		return;
	}
	client_fail(s->t->db->c, ETIMEDOUT, "transaction on \"%s\": the CTDB daemon answers %d%s%s",
		    s->t->db->file->name, reply->status, reply->error[0] != '\0' ? ": " : "", reply->error);
	commit_read(req, data_of(seqnum_key, sizeof(seqnum_key)), commit_check_done);
}

/* The sequence number tells whether a recovery has completed what the daemon did not. */
static void commit_check_done(struct tevent_req *subreq)
{
	struct tevent_req *req = tevent_req_callback_data(subreq, struct tevent_req);
	struct commit_state *s = tevent_req_data(req, struct commit_state);
	struct local_record rec;
	uint64_t now;
	int err = local_read_recv(subreq, s, &rec);

	talloc_free(subreq);
	if (tevent_req_error(req, err)) {
		return;
	}
	if (s->t->db->c == NULL) {
		tevent_req_error(req, ENOTCONN);
		return;
	}
	now = seqnum_of(&rec);
	if (now == s->seqnum + 1) {
		commit_finish(req, 0);
	} else if (now == s->seqnum) {
		retry_later(&s->retry, s, s->t->db->c->ev, COMMIT_PAUSE_MIN_MS, COMMIT_PAUSE_MAX_MS);
	} else {
		commit_finish(req, client_fail(s->t->db->c, ECANCELED,
					       "transaction on \"%s\": somebody else changed it meanwhile (sequence "
					       "number %llu, was %llu)",
					       s->t->db->file->name, (unsigned long long)now,
					       (unsigned long long)s->seqnum));
	}
}

/* ---- end ---- */

/* The outcome is certain: the lock goes back whatever it is. */
static void commit_finish(struct tevent_req *req, int outcome)
{
	struct commit_state *s = tevent_req_data(req, struct commit_state);
	struct tevent_req *subreq;

	s->outcome = outcome;
	s->t->uncertain = false;
	/* The lock must not make a success a time-out; giving it back has a limit of its own. */
	tevent_req_reset_endtime(req);
	if (s->t->db->c == NULL) {
		tevent_req_error(req, outcome != 0 ? outcome : ENOTCONN);
		return;
	}
	subreq = glock_unlock_send(s, s->t->locks, data_of(s->t->lock_name, sizeof(s->t->lock_name)));
	if (!tevent_req_nomem(subreq, req)) {
		tevent_req_set_callback(subreq, commit_unlocked, req);
	}
}

static void commit_unlocked(struct tevent_req *subreq)
{
	struct tevent_req *req = tevent_req_callback_data(subreq, struct tevent_req);
	struct commit_state *s = tevent_req_data(req, struct commit_state);

	if (glock_unlock_recv(subreq) == 0) {
		s->t->locked = false;
	}
	talloc_free(subreq);
	if (!tevent_req_error(req, s->outcome)) {
		tevent_req_done(req);
	}
}

bool ctdb_transaction_uncertain(const struct ctdb_transaction *t)
{
	return t->uncertain;
}

int ctdb_transaction_commit_recv(struct tevent_req *req)
{
	return req_simple_recv(req);
}

int ctdb_transaction_commit(struct ctdb_transaction *t)
{
	struct tevent_req *req = SYNC_SEND(t->db->c, ctdb_transaction_commit_send(t, t));
	int err = sync_run(t->db->c, req);

	if (err == 0) {
		err = ctdb_transaction_commit_recv(req);
		talloc_free(req);
	}
	return err;
}
