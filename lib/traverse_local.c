/* Walking this node's file, a piece each turn of the event loop. */
#include "local.h"

#include <errno.h>

#include <ctdb/wire.h>
#include <tdb.h>

/* Of one turn. */
#define CHAINS_MAX  512U
#define RECORDS_MAX 1024U

struct local_walk_record {
	struct dlist link;
	struct ctdb_data key;
	struct ctdb_record_header header;
	struct ctdb_data data;
};

struct local_walk_state {
	struct op op;
	struct ctdb_db *db;
	struct tevent_immediate *im;
	ctdb_traverse_fn fn;
	void *priv;
	uint64_t n;
	uint32_t chain, n_chains;
	struct dlist found; /* struct local_walk_record: of one chain */
	uint32_t n_found;
};

static void local_walk_turn(struct tevent_context *ev, struct tevent_immediate *im, void *priv);

static int local_walk_destructor(struct local_walk_state *s)
{
	op_end(&s->op);
	return 0;
}

struct tevent_req *ctdb_traverse_local_send(TALLOC_CTX *mem, struct ctdb_db *db, ctdb_traverse_fn fn, void *priv)
{
	struct local_walk_state *s;
	struct tevent_req *req;

	if (db->c == NULL) {
		return NULL;
	}
	req = tevent_req_create(mem, &s, struct local_walk_state);
	if (req == NULL) {
		return NULL;
	}
	*s = (struct local_walk_state){
		.db = db, .fn = fn, .priv = priv, .n_chains = (uint32_t)tdb_hash_size(db->file->tdb)};
	dlist_init(&s->found);
	op_begin(&s->op, db->c, req);
	talloc_set_destructor(s, local_walk_destructor);
	s->im = tevent_create_immediate(s);
	if (tevent_req_nomem(s->im, req)) {
		return tevent_req_post(req, db->c->ev);
	}
	tevent_schedule_immediate(s->im, db->c->ev, local_walk_turn, req);
	return req;
}

/* Copies, so that the caller's function does not run while the chain is locked. */
static int local_walk_copy(struct tdb_context *tdb, TDB_DATA key, TDB_DATA value, void *priv)
{
	struct local_walk_state *s = priv;
	struct local_walk_record *r;

	if (value.dsize < RECORD_HEADER_SIZE) {
		return 0;
	}
	r = talloc_zero(s, struct local_walk_record);
	if (r == NULL) {
		return -1;
	}
	dlist_add_tail(&s->found, &r->link);
	ctdb_wire_get_record_header(value.dptr, &r->header);
	r->key = data_of(talloc_memdup(r, key.dptr, key.dsize), key.dsize);
	r->data = data_of(talloc_memdup(r, value.dptr + RECORD_HEADER_SIZE, value.dsize - RECORD_HEADER_SIZE),
			  value.dsize - RECORD_HEADER_SIZE);
	s->n_found++;
	return r->key.data == NULL || r->data.data == NULL ? -1 : 0;
}

/* False: the caller wants no more. */
static bool local_walk_tell(struct local_walk_state *s)
{
	struct dlist *e;
	bool more = true;

	while ((e = dlist_first(&s->found)) != NULL) {
		struct local_walk_record *r = dlist_entry(e, struct local_walk_record, link);

		dlist_remove(e);
		if (more) {
			s->n++;
			more = s->fn(s->priv, r->key, r->header, r->data);
		}
		talloc_free(r);
	}
	return more;
}

static void local_walk_turn(struct tevent_context *ev, struct tevent_immediate *im, void *priv)
{
	struct tevent_req *req = priv;
	struct local_walk_state *s = tevent_req_data(req, struct local_walk_state);
	uint32_t end = s->n_chains - s->chain < CHAINS_MAX ? s->n_chains : s->chain + CHAINS_MAX;

	if (!tevent_req_is_in_progress(req)) {
		return; /* the connection was lost: the callback is on its way */
	}
	for (s->n_found = 0; s->chain < end && s->n_found < RECORDS_MAX; s->chain++) {
		if (tdb_traverse_chain(s->db->file->tdb, s->chain, local_walk_copy, s) == -1) {
			tevent_req_error(req, client_fail(s->op.c, EIO, "database \"%s\": its file cannot be read: %s",
							  s->db->file->name, tdb_errorstr(s->db->file->tdb)));
			return;
		}
		if (!local_walk_tell(s)) {
			tevent_req_done(req);
			return;
		}
	}
	if (s->chain == s->n_chains) {
		tevent_req_done(req);
		return;
	}
	tevent_schedule_immediate(s->im, ev, local_walk_turn, req);
}

int ctdb_traverse_local_recv(struct tevent_req *req, uint64_t *n_records)
{
	struct local_walk_state *s = tevent_req_data(req, struct local_walk_state);
	int err;

	if (req_failed(req, &err)) {
		return err;
	}
	*n_records = s->n;
	return 0;
}

int ctdb_traverse_local(struct ctdb_db *db, ctdb_traverse_fn fn, void *priv, uint64_t *n_records)
{
	SYNC_RETURN(db->c, ctdb_traverse_local_send(db, db, fn, priv), ctdb_traverse_local_recv(req, n_records));
}
