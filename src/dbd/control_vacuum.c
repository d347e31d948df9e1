/* Controls by which classic daemons vacuum: empty copies that others need no more, records that shall come to their
 * location master. */
#include "dbd/control.h"
#include "base/hash.h"
#include "protocol/classic_native.h"
#include "protocol/db_rpc.h"

#include <errno.h>
#include <stdlib.h>

#define RECORDS_MAX 1000 /* of one request; what is beyond is told as not deleted, or not fetched */
#define TOOL_MS     600000U

/* ---- TRY_DELETE_RECORDS ---- */

static bool own_location(const struct dbd *dbd, const struct recdata *r)
{
	uint32_t n;
	const uint32_t *slots = recovery_slots(dbd->recovery, &n);

	return n == 0 || slots[hash_lookup3(r->key, r->keylen) % n] == dbd->d->pnn;
}

/* Under the chain lock. Only an empty copy that is neither owned nor newer than the sender knows. */
static bool delete_locked(struct control *ctl, struct db *db, const struct recdata *r, const struct rec_header *told)
{
	TDB_DATA key = tdb_data_of(r->key, r->keylen), old = tdb_fetch(db->tdb, key);
	struct rec_header have;
	bool gone = old.dptr == NULL;

	if (!gone && rec_header_get(old.dptr, old.dsize, &have)) {
		gone = old.dsize == REC_HEADER_SIZE && have.dmaster != ctl->dbd->d->pnn && have.rsn <= told->rsn &&
		       ((have.flags | told->flags) & CLASSIC_REC_RO_FLAGS) == 0 && tdb_delete(db->tdb, key) == 0;
		if (gone) {
			records_copy_changed(db, r->key, r->keylen, have.dmaster, COPY_NONE);
		}
	}
	free(old.dptr);
	return gone;
}

static bool try_delete(struct control *ctl, struct db *db, const struct recdata *r)
{
	TDB_DATA key = tdb_data_of(r->key, r->keylen);
	struct rec_header told;
	bool gone;

	if (r->datalen != REC_HEADER_SIZE || !rec_header_get(r->data, r->datalen, &told) || own_location(ctl->dbd, r) ||
	    tdb_chainlock_nonblock(db->tdb, key) != 0) {
		return false;
	}
	gone = delete_locked(ctl, db, r, &told);
	tdb_chainunlock(db->tdb, key);
	return gone;
}

/* The records of the request, checked. NULL: answered. */
static struct db *records_of(struct control *ctl, const uint8_t **p, size_t *left, uint32_t *count)
{
	const struct recovery *r = ctl->dbd->recovery;
	uint32_t db_id;
	struct db *db;

	*p = ctl->data;
	*left = ctl->len;
	if (recbuf_check(ctl->data, ctl->len, &db_id, count) != 0) {
		control_reply(ctl, -1, NULL, 0, "malformed records");
		return NULL;
	}
	recbuf_begin(p, left, &db_id, count);
	db = control_db(ctl);
	if (db != NULL && (!db_is_volatile(db) || !recovery_is_normal(r) || db->generation != recovery_generation(r))) {
		control_reply(ctl, -1, NULL, 0, "the database is not volatile, or not usable now");
		return NULL;
	}
	return db;
}

void control_try_delete_records(struct control *ctl)
{
	uint32_t count, kept = 0;
	size_t left, len = RECBUF_HEAD;
	const uint8_t *p;
	struct db *db = records_of(ctl, &p, &left, &count);
	uint8_t *reply;

	if (db == NULL) {
		return;
	}
	reply = talloc_size(ctl, ctl->len);
	if (reply == NULL) {
		control_reply(ctl, -1, NULL, 0, "no memory");
		return;
	}
	for (uint32_t i = 0; i < count; i++) {
		const uint8_t *start = p;
		struct recdata r;

		recdata_next(&p, &left, &r);
		if (i < RECORDS_MAX && try_delete(ctl, db, &r)) {
			continue;
		}
		memcpy(reply + len, start, (size_t)(p - start));
		len += (size_t)(p - start);
		kept++;
	}
	poke_u32(reply, db->id);
	poke_u32(reply + 4, kept);
	control_reply(ctl, 0, reply, len, NULL);
}

/* ---- VACUUM_FETCH ---- */

/* They come here; when they are found empty, they are removed. */
void control_vacuum_fetch(struct control *ctl)
{
	const uint8_t *p;
	uint32_t count;
	size_t left;
	struct db *db = records_of(ctl, &p, &left, &count);

	if (db == NULL) {
		return;
	}
	for (uint32_t i = 0; i < count && i < RECORDS_MAX; i++) {
		struct recdata r;

		recdata_next(&p, &left, &r);
		(void)vacuum_fetch_key(ctl->dbd->vacuums, db, r.key, r.keylen);
	}
	control_reply(ctl, 0, NULL, 0, NULL);
}

/* ---- a run on request ---- */

static const char *run_problem(int rc)
{
	switch (rc) {
	case EAGAIN:
	case ECANCELED:
		return "the database is not usable now: a recovery runs or has begun";
	case ETIMEDOUT:
		return "the run took too long, or a member did not answer; what is left comes with the next one";
	default:
		return strerror(rc);
	}
}

static void control_vacuumed(void *priv, int status, const struct db_vacuum_run *run)
{
	(void)run;
	control_reply(priv, status == 0 ? 0 : -1, NULL, 0, status == 0 ? NULL : run_problem(status));
}

void control_db_vacuum(struct control *ctl)
{
	struct vacuum_request *request;
	struct classic_db_vacuum arg;
	struct db *db = control_db(ctl);
	int rc;

	if (db == NULL) {
		return;
	}
	if (classic_db_vacuum_nview(ctl->data, ctl->len, &arg, NULL) != 0 || !db_is_volatile(db)) {
		control_reply(ctl, -1, NULL, 0, "only volatile databases are vacuumed");
		return;
	}
	rc = vacuum_request_new(ctl, ctl->dbd->vacuums, db, arg.full != 0, control_vacuumed, ctl, &request);
	if (rc != 0) {
		control_reply(ctl, -1, NULL, 0, run_problem(rc));
	}
}

/* The same for tools, with figures. */
static void tool_vacuumed(void *priv, int status, const struct db_vacuum_run *run)
{
	if (status != 0) {
		rpc_call_fail(priv, status == ECANCELED ? EAGAIN : status);
		return;
	}
	db_vacuum_reply(priv, run);
}

static void tool_late(void *priv)
{
	rpc_call_fail(priv, ETIMEDOUT);
}

void vacuum_tool_run(void *priv, struct rpc_call *call, const struct db_vacuum_args *arg)
{
	struct dbd *dbd = priv;
	struct db *db = db_find(dbd->dbs, arg->db_id);
	struct vacuum_request *request;
	int rc;

	if (db == NULL || !db_is_volatile(db)) {
		rpc_call_fail(call, db == NULL ? ENOENT : EINVAL);
		return;
	}
	if (deadline_add(call, dbd, TOOL_MS, tool_late, call) == NULL) {
		rpc_call_fail(call, ENOMEM);
		return;
	}
	rc = vacuum_request_new(call, dbd->vacuums, db, arg->full, tool_vacuumed, call, &request);
	if (rc != 0) {
		rpc_call_fail(call, rc);
	}
}

void vacuum_tool_counts(void *priv, struct rpc_call *call, const struct db_copy_id *arg)
{
	struct dbd *dbd = priv;
	struct db *db = db_find(dbd->dbs, arg->db_id);
	struct db_vacuum_counts counts = {.runs = 0};

	if (db == NULL || !db_is_volatile(db)) {
		rpc_call_fail(call, db == NULL ? ENOENT : EINVAL);
		return;
	}
	vacuum_counts(dbd->vacuums, db, &counts);
	db_get_vacuum_reply(call, &counts);
}
