/* Controls by which classic daemons vacuum: empty copies that others need no more, records that shall come to their
 * location master. */
#include "dbd/control.h"
#include "base/hash.h"
#include "protocol/classic_native.h"

#include <errno.h>
#include <stdlib.h>

#define RECORDS_MAX 1000 /* of one request; what is beyond is told as not deleted, or not fetched */

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

static void fetched(void *priv, int32_t status, const uint8_t *header, const uint8_t *data, size_t len)
{
}

/* They come here; when they are found empty, the engine removes them. */
void control_vacuum_fetch(struct control *ctl)
{
	struct record_want want = {0};
	const uint8_t *p;
	uint32_t count;
	size_t left;
	struct db *db = records_of(ctl, &p, &left, &count);

	if (db == NULL) {
		return;
	}
	for (uint32_t i = 0; i < count && i < RECORDS_MAX && records_pending(ctl->dbd->records, db) < CLIENT_CALLS_MAX;
	     i++) {
		struct recdata r;

		recdata_next(&p, &left, &r);
		if (own_location(ctl->dbd, &r)) {
			(void)records_call(ctl->dbd->records, db, r.key, r.keylen, &want, fetched, NULL);
		}
	}
	control_reply(ctl, 0, NULL, 0, NULL);
}
