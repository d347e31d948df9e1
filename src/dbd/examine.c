/*
 * Looking into this node's files for a tool that compares them with those of other nodes: whole, page by page, or one
 * record. All of it reads only. The two that read much are jobs of a worker, children of the call: they end with it.
 * They lock what they read: a recovery ends them, and while one is in work none begins (EAGAIN).
 */
#include "dbd/examine.h"
#include "dbd/control.h"
#include "dbd/recdata.h"
#include "dbd/worker.h"
#include "protocol/db_rpc.h"

#include <errno.h>
#include <stdlib.h>

#define JOB_MS         600000U
#define LOOK_MS        2000U
#define SCAN_BYTES_MAX (32U * 1024 * 1024)

struct examination {
	struct dlist link;
	struct dbd *dbd;
	struct rpc_call *call;
	uint32_t db_id;
	struct db_examination result;
	struct db_scan_page page;
	size_t bytes;
	int error;
	struct deadline *deadline;
};

static void too_late(void *priv)
{
	struct examination *x = priv;

	rpc_call_fail(x->call, ETIMEDOUT);
}

static int examination_destructor(struct examination *x)
{
	dlist_remove(&x->link);
	return 0;
}

void examinations_recovery_began(struct dbd *dbd)
{
	while (dlist_linked(&dbd->examinations) && !dlist_empty(&dbd->examinations)) {
		struct examination *x = dlist_entry(dlist_first(&dbd->examinations), struct examination, link);

		dlist_remove(&x->link);
		rpc_call_fail(x->call, EAGAIN);
	}
}

/* NULL: answered. */
static struct examination *begin(struct dbd *dbd, struct rpc_call *call, uint32_t db_id, uint32_t ms)
{
	struct examination *x = NULL;

	if (db_find(dbd->dbs, db_id) == NULL) {
		rpc_call_fail(call, ENOENT);
		return NULL;
	}
	if (!recovery_is_normal(dbd->recovery) && !recovery_is_fenced(dbd->recovery)) {
		rpc_call_fail(call, EAGAIN);
		return NULL;
	}
	x = talloc_zero(call, struct examination);
	if (x != NULL) {
		*x = (struct examination){.dbd = dbd, .call = call, .db_id = db_id};
		x->deadline = deadline_add(x, dbd, ms, too_late, x);
	}
	if (x == NULL || x->deadline == NULL) {
		rpc_call_fail(call, ENOMEM);
		return NULL;
	}
	if (!dlist_linked(&dbd->examinations)) {
		dlist_init(&dbd->examinations); /* the first */
	}
	dlist_add_tail(&dbd->examinations, &x->link);
	talloc_set_destructor(x, examination_destructor);
	return x;
}

/* Of the database that may have been detached meanwhile. False: answered. */
static bool job(struct examination *x, const struct worker_args *args, worker_batch_fn batch,
		void (*done)(struct tevent_req *req))
{
	struct db *db = db_find(x->dbd->dbs, x->db_id);
	struct worker_job *j;
	struct tevent_req *req = NULL;

	if (db == NULL) {
		rpc_call_fail(x->call, ENOENT);
		return false;
	}
	req = worker_job_send(x, x->dbd->d->ev, x->dbd->workers, db, args, batch, x, &j);
	if (req == NULL) {
		rpc_call_fail(x->call, ENOMEM);
		return false;
	}
	tevent_req_set_callback(req, done, x);
	return true;
}

/* ---- EXAMINE: tdb_check, then sequence number and digest ---- */

static void read_all_done(struct tevent_req *req)
{
	struct examination *x = tevent_req_callback_data(req, struct examination);
	struct worker_state state = {.seqnum = 0};
	int rc = worker_job_recv(req, &state);

	talloc_free(req);
	if (rc != 0) {
		rpc_call_fail(x->call, rc);
		return;
	}
	x->result.seqnum = state.seqnum;
	x->result.digest = state.digest;
	x->result.records = state.records;
	db_examine_reply(x->call, &x->result);
}

static void check_done(struct tevent_req *req)
{
	static const struct worker_args args = {.op = WORKER_SEQNUM};
	struct examination *x = tevent_req_callback_data(req, struct examination);
	int rc = worker_job_recv(req, NULL);

	talloc_free(req);
	if (rc == 0) {
		(void)job(x, &args, NULL, read_all_done);
	} else if (rc == EIO) {
		x->result.damaged = true;
		db_examine_reply(x->call, &x->result);
	} else {
		rpc_call_fail(x->call, rc);
	}
}

void examine_file(void *priv, struct rpc_call *call, const struct db_copy_id *arg)
{
	static const struct worker_args args = {.op = WORKER_CHECK};
	struct dbd *dbd = priv;
	struct examination *x = begin(dbd, call, arg->db_id, JOB_MS);
	const struct db *db = db_find(dbd->dbs, arg->db_id);

	if (x == NULL) {
		return;
	}
	x->result.flags = db->flags;
	x->result.generation = db->generation;
	x->result.health = talloc_strdup(x, db->health != NULL ? db->health : "");
	(void)job(x, &args, NULL, check_done);
}

/* ---- SCAN ---- */

static int page_add(struct examination *x, const struct worker_scan_entry *e, const uint8_t *key)
{
	struct db_copy *copies = x->page.copies.v;
	uint32_t n = x->page.copies.n;

	x->bytes += e->keylen;
	if (n == DB_SCAN_MAX || x->bytes > SCAN_BYTES_MAX) {
		return EMSGSIZE;
	}
	if ((n & (n - 1)) == 0) {
		copies = talloc_realloc(x, copies, struct db_copy, n == 0 ? 1 : 2 * n);
		if (copies == NULL) {
			return ENOMEM;
		}
		x->page.copies.v = copies;
	}
	copies[n] = (struct db_copy){
		.rsn = e->rsn, .dmaster = e->dmaster, .flags = e->flags, .empty = e->empty != 0, .key.len = e->keylen};
	copies[n].key.data = talloc_memdup(copies, key, e->keylen);
	x->page.copies.n = n + 1;
	return copies[n].key.data == NULL && e->keylen > 0 ? ENOMEM : 0;
}

static bool scan_batch(void *priv, struct worker_job *j, const uint8_t *batch, size_t len)
{
	struct examination *x = priv;
	struct worker_scan_entry e;
	const uint8_t *key;

	while (x->error == 0 && worker_scan_next(&batch, &len, &e, &key)) {
		x->error = page_add(x, &e, key);
	}
	return true;
}

static void scan_done(struct tevent_req *req)
{
	struct examination *x = tevent_req_callback_data(req, struct examination);
	struct worker_state state = {.next_chain = 0};
	int rc = worker_job_recv(req, &state);

	talloc_free(req);
	rc = rc != 0 ? rc : x->error;
	if (rc != 0) {
		rpc_call_fail(x->call, rc);
		return;
	}
	x->page.next_chain = state.next_chain;
	db_scan_reply(x->call, &x->page);
}

void examine_scan(void *priv, struct rpc_call *call, const struct db_scan_args *arg)
{
	const struct worker_args args = {
		.op = WORKER_PAGE, .part = arg->part, .parts = arg->parts, .chain = arg->chain};
	struct examination *x = begin(priv, call, arg->db_id, JOB_MS);

	if (x != NULL) {
		(void)job(x, &args, scan_batch, scan_done);
	}
}

/* ---- LOCATE ---- */

struct look {
	struct examination *x;
	const struct db_locate_args *arg; /* lives as long as the call */
};

static TDB_DATA tdb_key(const struct ctdb_blob *key)
{
	return (TDB_DATA){.dptr = key->data, .dsize = key->len};
}

static int parse(TDB_DATA key, TDB_DATA value, void *priv)
{
	struct db_location *at = priv;
	struct rec_header h;

	if (rec_header_get(value.dptr, value.dsize, &h)) {
		at->found = true;
		at->size = (uint32_t)(value.dsize - REC_HEADER_SIZE);
		at->copy = (struct db_copy){
			.rsn = h.rsn, .dmaster = h.dmaster, .flags = h.flags, .empty = value.dsize == REC_HEADER_SIZE};
	}
	return 0;
}

/* False: somebody has the chain locked. */
static bool look(void *priv)
{
	struct look *l = priv;
	struct db *db = db_find(l->x->dbd->dbs, l->x->db_id);
	struct db_location at = {.found = false};
	TDB_DATA key = tdb_key(&l->arg->key);
	int rc = 0;

	if (db == NULL) {
		rpc_call_fail(l->x->call, ENOENT);
		return true;
	}
	if (tdb_chainlock_nonblock(db->tdb, key) != 0) {
		return false;
	}
	if (tdb_parse_record(db->tdb, key, parse, &at) != 0 && tdb_error(db->tdb) != TDB_ERR_NOEXIST) {
		rc = EIO;
	}
	tdb_chainunlock(db->tdb, key);
	at.generation = db->generation;
	if (rc != 0) {
		rpc_call_fail(l->x->call, rc);
	} else {
		db_locate_reply(l->x->call, &at);
	}
	return true;
}

static void look_expired(void *priv)
{
	struct look *l = priv;

	rpc_call_fail(l->x->call, EAGAIN);
}

void examine_locate(void *priv, struct rpc_call *call, const struct db_locate_args *arg)
{
	struct dbd *dbd = priv;
	struct examination *x = begin(dbd, call, arg->db_id, 2 * LOOK_MS);
	struct look *l = x != NULL ? talloc(x, struct look) : NULL;

	if (x == NULL) {
		return;
	}
	if (l != NULL) {
		*l = (struct look){.x = x, .arg = arg};
	}
	if (l == NULL || retry_start(l, dbd, LOOK_MS, look, look_expired, l) != 0) {
		rpc_call_fail(call, ENOMEM);
	}
}
