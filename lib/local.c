/* Records in this node's file. */
#include "local.h"

#include <errno.h>
#include <stdlib.h>

#include <tdb.h>

#include "base/hash.h"
#include "protocol/classic_native.h"

static TDB_DATA tdb_data_of(struct ctdb_data d)
{
	struct ctdb_blob b = blob_of(d);

	return (TDB_DATA){.dptr = b.data, .dsize = d.len};
}

/* Which chain; without the cluster's hash function inside the file all count as one. */
static uint32_t chain_of(const struct db_file *f, struct ctdb_data key)
{
	return (f->tdb_flags & TDB_INCOMPATIBLE_HASH) == 0
		       ? 0
		       : hash_lookup3(key.data, key.len) % (uint32_t)tdb_hash_size(f->tdb);
}

bool local_is_held(const struct db_file *f, struct ctdb_data key)
{
	dlist_for_each(e, &f->locked)
	{
		if (chain_of(f, dlist_entry(e, struct local_lock_held, link)->key) == chain_of(f, key)) {
			return true;
		}
	}
	return false;
}

int local_lock(struct db_file *f, struct ctdb_data key)
{
	if (local_is_held(f, key)) {
		return EAGAIN;
	}
	return tdb_chainlock_nonblock(f->tdb, tdb_data_of(key)) == 0 ? 0 : EAGAIN;
}

void local_unlock(struct db_file *f, struct ctdb_data key)
{
	tdb_chainunlock(f->tdb, tdb_data_of(key));
}

void local_header_put(const struct classic_ltdb_header *header, uint8_t out[RECORD_HEADER_SIZE])
{
	memset(out, 0, RECORD_HEADER_SIZE);
	memcpy(out, &header->rsn, 8);
	memcpy(out + 8, &header->dmaster, 4);
	memcpy(out + 12, &header->reserved1, 4);
	memcpy(out + 16, &header->flags, 4);
}

void local_header_get(const uint8_t *in, struct classic_ltdb_header *header)
{
	*header = (struct classic_ltdb_header){0};
	memcpy(&header->rsn, in, 8);
	memcpy(&header->dmaster, in + 8, 4);
	memcpy(&header->reserved1, in + 12, 4);
	memcpy(&header->flags, in + 16, 4);
}

struct look_state {
	void (*fn)(const struct classic_ltdb_header *header, struct ctdb_data data, void *priv);
	void *priv;
};

static int look(TDB_DATA key, TDB_DATA value, void *priv)
{
	const struct look_state *s = priv;
	struct classic_ltdb_header header;

	if (value.dsize >= RECORD_HEADER_SIZE) {
		local_header_get(value.dptr, &header);
		s->fn(&header, data_of(value.dptr + RECORD_HEADER_SIZE, value.dsize - RECORD_HEADER_SIZE), s->priv);
	}
	return 0;
}

int local_look(struct db_file *f, struct ctdb_data key,
	       void (*fn)(const struct classic_ltdb_header *header, struct ctdb_data data, void *priv), void *priv)
{
	struct look_state s = {fn, priv};

	return tdb_parse_record(f->tdb, tdb_data_of(key), look, &s) == 0 || tdb_error(f->tdb) == TDB_ERR_NOEXIST ? 0
														 : EIO;
}

/* What tdb_parse_record() shows: bytes in the file. Too short for a header counts as no record. */
struct parse_state {
	TALLOC_CTX *mem;
	struct local_record *rec;
};

static int parse(TDB_DATA key, TDB_DATA value, void *priv)
{
	struct parse_state *s = priv;
	uint8_t *copy;

	if (value.dsize < RECORD_HEADER_SIZE) {
		return 0;
	}
	s->rec->found = true;
	local_header_get(value.dptr, &s->rec->header);
	if (value.dsize == RECORD_HEADER_SIZE) {
		return 0;
	}
	copy = talloc_memdup(s->mem, value.dptr + RECORD_HEADER_SIZE, value.dsize - RECORD_HEADER_SIZE);
	if (copy == NULL) {
		return -1;
	}
	s->rec->data = data_of(copy, value.dsize - RECORD_HEADER_SIZE);
	return 0;
}

int local_read(struct db_file *f, struct ctdb_data key, bool locked, TALLOC_CTX *mem, struct local_record *rec)
{
	struct local_record out = {.found = false};
	struct parse_state s = {.mem = mem, .rec = &out};
	bool held = locked || local_is_held(f, key);
	int ret;

	if (!held && tdb_chainlock_nonblock(f->tdb, tdb_data_of(key)) != 0) {
		return EAGAIN;
	}
	ret = tdb_parse_record(f->tdb, tdb_data_of(key), parse, &s);
	if (ret != 0 && tdb_error(f->tdb) == TDB_ERR_NOEXIST) {
		ret = 0;
	} else if (ret != 0) {
		ret = tdb_error(f->tdb) == TDB_SUCCESS ? ENOMEM : EIO;
	}
	if (!held) {
		local_unlock(f, key);
	}
	if (ret == 0) {
		*rec = out;
	}
	return ret;
}

int local_write(struct db_file *f, struct ctdb_data key, const struct classic_ltdb_header *header,
		struct ctdb_data data)
{
	uint8_t head[RECORD_HEADER_SIZE];
	TDB_DATA parts[2] = {{.dptr = head, .dsize = sizeof(head)}, tdb_data_of(data)};

	local_header_put(header, head);
	if (tdb_storev(f->tdb, tdb_data_of(key), parts, 2, TDB_REPLACE) == 0) {
		return 0;
	}
	return tdb_error(f->tdb) == TDB_ERR_OOM ? ENOSPC : EIO;
}

/* ---- again, later ---- */

static void retry_timer(struct tevent_context *ev, struct tevent_timer *te, struct timeval now, void *priv)
{
	struct retry *r = priv;

	r->timer = NULL;
	r->fn(r->req);
}

void retry_cancel(struct retry *r)
{
	TALLOC_FREE(r->timer);
}

/* Random within the interval, so that those who wait for the same thing do not come together again. */
void retry_later(struct retry *r, TALLOC_CTX *mem, struct tevent_context *ev, unsigned int min_ms, unsigned int max_ms)
{
	unsigned int us;

	r->pause_ms = r->pause_ms == 0 ? min_ms : 2 * r->pause_ms;
	if (r->pause_ms > max_ms) {
		r->pause_ms = max_ms;
	}
	us = r->pause_ms * 500 + client_random() % (r->pause_ms * 500 + 1);
	r->timer = tevent_add_timer(ev, mem, tevent_timeval_current_ofs(us / 1000000, us % 1000000), retry_timer, r);
	if (r->timer == NULL) {
		tevent_req_oom(r->req);
	}
}

/* ---- reading with retries ---- */

struct local_read_state {
	struct ctdb_db *db;
	struct ctdb_data key;
	struct local_record rec;
	struct retry retry;
};

static void local_read_try(struct tevent_req *req);

struct tevent_req *local_read_send(TALLOC_CTX *mem, struct ctdb_db *db, struct ctdb_data key)
{
	struct local_read_state *s;
	struct tevent_req *req;

	if (db->c == NULL) {
		return NULL;
	}
	req = tevent_req_create(mem, &s, struct local_read_state);
	if (req == NULL) {
		return NULL;
	}
	*s = (struct local_read_state){.db = db, .retry = {.req = req, .fn = local_read_try}};
	s->key = data_of(talloc_memdup(s, key.data, key.len), key.len);
	if ((s->key.data == NULL && key.len > 0) || !tevent_req_set_endtime(req, db->c->ev, client_endtime(db->c))) {
		tevent_req_oom(req);
		return tevent_req_post(req, db->c->ev);
	}
	local_read_try(req);
	return tevent_req_is_in_progress(req) ? req : tevent_req_post(req, db->c->ev);
}

static void local_read_try(struct tevent_req *req)
{
	struct local_read_state *s = tevent_req_data(req, struct local_read_state);
	int err;

	if (s->db->c == NULL || s->db->c->fd == -1) {
		tevent_req_error(req, ENOTCONN);
		return;
	}
	err = local_read(s->db->file, s->key, false, s, &s->rec);
	if (err == EAGAIN) {
		retry_later(&s->retry, s, s->db->c->ev, LOCAL_RETRY_MIN_MS, LOCAL_RETRY_MAX_MS);
	} else if (!tevent_req_error(req, err)) {
		tevent_req_done(req);
	}
}

int local_read_recv(struct tevent_req *req, TALLOC_CTX *mem, struct local_record *rec)
{
	struct local_read_state *s = tevent_req_data(req, struct local_read_state);
	int err;

	if (req_failed(req, &err)) {
		return err == ETIMEDOUT
			       ? client_fail(s->db->c, err, "database \"%s\": another process keeps the record locked",
					     s->db->file->name)
			       : err;
	}
	*rec = s->rec;
	rec->data = data_of(talloc_steal(mem, s->rec.data.data), s->rec.data.len);
	return 0;
}
