/* Record traffic of volatile databases: the record engine (core/record.h) on real files, links and clients. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/record.h"
#include "dbd/control.h"
#include "dbd/lane.h"
#include "dbd/locks.h"
#include "dbd/records.h"
#include "dbd/vacuum.h"
#include "shared/log.h"
#include "shared/mono_timer.h"

#define HEADER_SIZE 24U
#define HOLD_MIN_US 500U
#define HOLD_MAX_US 20000U
/* A client that says that it has deleted a record is about to unlock it. */
#define RETRY_MIN_US 100U
#define RETRY_MAX_US 5000U
#define HINTS_MAX    10000U
#define READONLY_MAX 100000U

struct records {
	struct dbd *dbd;
	struct record_engine *engine;
	struct mono_timer *timer;
	struct tevent_immediate *soon;
	bool soon_set;
	TDB_DATA open;     /* value read under the lock that is held, freed with the lock */
	bool marked;       /* the lock that is held is a lock process's (locks_gate.c) */
	bool have_dmaster; /* as the file has it, under the lock that is held */
	uint32_t dmaster;
};

/* What a client's call needs for its answer; child of the engine's call. */
struct waiting {
	record_reply_fn reply;
	void *priv;
};

struct header {
	uint64_t rsn;
	uint32_t dmaster;
	uint32_t reserved;
	uint32_t flags;
	uint32_t padding;
};

/* ---- files ---- */

static TDB_DATA tdb_key(struct record_key key)
{
	union {
		const uint8_t *c;
		uint8_t *p;
	} u = {key.p};

	return (TDB_DATA){.dptr = u.p, .dsize = key.len};
}

static struct records *records_of(const struct db *db)
{
	return record_db_engine_priv(db->records);
}

static int op_trylock(void *priv, struct record_key key)
{
	struct db *db = priv;

	if (gates_open(records_of(db)->dbd->locks, db, key.p, key.len)) {
		locks_got(db, key.p, key.len);
		records_of(db)->marked = tdb_chainlock_mark(db->tdb, tdb_key(key)) == 0;
		return records_of(db)->marked ? 0 : EIO;
	}
	if (tdb_chainlock_nonblock(db->tdb, tdb_key(key)) == 0) {
		locks_got(db, key.p, key.len);
		return 0;
	}
	if (tdb_error(db->tdb) != TDB_ERR_LOCK && tdb_error(db->tdb) != TDB_SUCCESS) {
		return EIO;
	}
	locks_busy(records_of(db)->dbd->locks, db, key.p, key.len, mono_now());
	return EAGAIN;
}

static void op_unlock(void *priv, struct record_key key)
{
	struct db *db = priv;
	struct records *r = records_of(db);

	if (r->marked) {
		tdb_chainlock_unmark(db->tdb, tdb_key(key));
		r->marked = false;
	} else {
		tdb_chainunlock(db->tdb, tdb_key(key));
	}
	free(r->open.dptr);
	r->open = tdb_null;
	r->have_dmaster = false;
}

static void copy_of_value(struct record_copy *copy, TDB_DATA value)
{
	struct header h;

	*copy = (struct record_copy){0};
	if (value.dptr == NULL || value.dsize < HEADER_SIZE) {
		return;
	}
	memcpy(&h, value.dptr, sizeof(h));
	*copy = (struct record_copy){
		.exists = true, .rsn = h.rsn, .dmaster = h.dmaster, .flags = h.flags, .len = value.dsize - HEADER_SIZE};
	copy->data = copy->len > 0 ? value.dptr + HEADER_SIZE : NULL;
}

static int op_read(void *priv, struct record_key key, struct record_copy *copy)
{
	struct db *db = priv;
	struct records *r = records_of(db);

	free(r->open.dptr);
	r->open = tdb_fetch(db->tdb, tdb_key(key));
	if (r->open.dptr == NULL && tdb_error(db->tdb) != TDB_ERR_NOEXIST) {
		log_error("database %s: cannot read a record: %s", db->name, tdb_errorstr(db->tdb));
		return EIO;
	}
	copy_of_value(copy, r->open);
	r->have_dmaster = true;
	r->dmaster = copy->exists ? copy->dmaster : COPY_NONE;
	return 0;
}

void records_copy_changed(struct db *db, const uint8_t *key, size_t keylen, uint32_t before, uint32_t after)
{
	if (db->digest != NULL) {
		slot_digest_change(db->digest, key, keylen, before, after);
	}
}

/* What the file has now, before it is changed. */
static int dmaster_before(struct db *db, struct record_key key, uint32_t *before)
{
	struct records *r = records_of(db);
	struct record_copy copy;
	int ret = r->have_dmaster ? 0 : op_read(db, key, &copy);

	*before = r->dmaster;
	return ret;
}

static void changed_to(struct db *db, struct record_key key, uint32_t before, uint32_t after)
{
	struct records *r = records_of(db);

	records_copy_changed(db, key.p, key.len, before, after);
	r->dmaster = after;
}

static int op_write(void *priv, struct record_key key, const struct record_copy *copy)
{
	struct db *db = priv;
	struct header h = {.rsn = copy->rsn,
			   .dmaster = copy->dmaster,
			   .flags = copy->flags & ~(RECORD_FLAG_VACUUM_MIGRATED | RECORD_FLAG_AUTOMATIC)};
	TDB_DATA parts[2] = {{.dptr = (uint8_t *)&h, .dsize = sizeof(h)}, {.dptr = NULL, .dsize = 0}};
	union {
		const uint8_t *c;
		uint8_t *p;
	} u = {copy->data};
	uint32_t before;

	if (dmaster_before(db, key, &before) != 0) {
		return EIO;
	}
	parts[1] = (TDB_DATA){.dptr = u.p, .dsize = copy->len};
	if (tdb_storev(db->tdb, tdb_key(key), parts, copy->len > 0 ? 2 : 1, TDB_REPLACE) != 0) {
		log_error("database %s: cannot write a record of %zu bytes: %s", db->name, copy->len,
			  tdb_errorstr(db->tdb));
		return EIO;
	}
	changed_to(db, key, before, copy->dmaster);
	return 0;
}

static int op_remove(void *priv, struct record_key key)
{
	struct db *db = priv;
	uint32_t before;

	if (dmaster_before(db, key, &before) != 0 ||
	    (tdb_delete(db->tdb, tdb_key(key)) != 0 && tdb_error(db->tdb) != TDB_ERR_NOEXIST)) {
		return EIO;
	}
	changed_to(db, key, before, COPY_NONE);
	return 0;
}

/* ---- network ---- */

/* A link that is down has been told already; anything else would leave somebody waiting for ever. */
static void not_sent(struct db *db, uint32_t node, uint32_t generation, int err)
{
	if (err != 0) {
		recovery_want(records_of(db)->dbd->recovery, generation,
			      "database %s: a request for a record could not be sent to node %u: %s", db->name, node,
			      strerror(err));
	}
}

static void op_send_call(void *priv, uint32_t node, uint32_t generation, struct record_key key)
{
	struct db *db = priv;
	struct dbd *dbd = records_of(db)->dbd;
	struct lane_call m = {
		.db_id = db->id, .generation = generation, .requester = dbd->d->pnn, .key = blob_of(key.p, key.len)};

	not_sent(db, node, generation, lane_post(dbd->lane, node, LANE_PROC_CALL, &m));
}

static void op_send_forward(void *priv, uint32_t node, uint32_t generation, uint32_t requester, struct record_key key)
{
	struct db *db = priv;
	struct lane_call m = {
		.db_id = db->id, .generation = generation, .requester = requester, .key = blob_of(key.p, key.len)};

	not_sent(db, node, generation, lane_post(records_of(db)->dbd->lane, node, LANE_PROC_FORWARD, &m));
}

static void op_send_grant(void *priv, uint32_t node, uint32_t generation, struct record_key key,
			  const struct record_copy *copy)
{
	struct db *db = priv;
	struct lane_grant m = {.db_id = db->id,
			       .generation = generation,
			       .rsn = copy->rsn,
			       .flags = copy->flags,
			       .key = blob_of(key.p, key.len),
			       .data = blob_of(copy->data, copy->len)};
	int ret = lane_post(records_of(db)->dbd->lane, node, LANE_PROC_GRANT, &m);

	/* The copy stays here, unowned: the next recovery finds it. */
	if (ret != 0) {
		recovery_want(records_of(db)->dbd->recovery, generation,
			      "database %s: a record for node %u could not be sent: %s", db->name, node, strerror(ret));
	}
}

static void op_inconsistent(void *priv, uint32_t generation, struct record_key key, const char *what)
{
	struct db *db = priv;

	log_ratelimited(LOG_LVL_ERROR, 1000, "database %s: %s (key of %zu bytes, generation %u): asking for a recovery",
			db->name, what, key.len, generation);
	recovery_want_full(records_of(db)->dbd->recovery, generation, "database %s: %s", db->name, what);
}

/* ---- clients ---- */

static void op_answer(void *priv, int status, const struct record_copy *copy)
{
	struct waiting *w = priv;
	struct header h;

	if (status != 0) {
		w->reply(w->priv, status, NULL, NULL, 0);
		return;
	}
	h = (struct header){.rsn = copy->rsn, .dmaster = copy->dmaster, .flags = copy->flags};
	w->reply(w->priv, 0, (const uint8_t *)&h, copy->data, copy->len);
}

struct record_call *records_call(struct records *r, struct db *db, const uint8_t *key, size_t keylen,
				 const struct record_want *want, record_reply_fn reply, void *priv)
{
	struct waiting *w = talloc(r, struct waiting);
	struct record_call *call = NULL;

	if (w != NULL) {
		*w = (struct waiting){reply, priv};
		call = (want->read_only ? record_call_new_readonly : record_call_new)(
			db->records, (struct record_key){key, keylen}, want->client, want->use, w, mono_now());
	}
	if (call == NULL) {
		talloc_free(w);
		reply(priv, ENOMEM, NULL, NULL, 0);
		return NULL;
	}
	talloc_steal(call, w);
	records_kick(r);
	return call;
}

void records_client_acts(struct records *r, uint32_t client, bool sends)
{
	if (record_client_acts(r->engine, client, sends, mono_now())) {
		records_kick(r);
	}
}

bool records_waits(const struct db *db, const uint8_t *key, size_t keylen)
{
	return db->records != NULL && record_db_waits(db->records, (struct record_key){key, keylen});
}

void records_retry(struct records *r, struct db *db, const uint8_t *key, size_t keylen)
{
	if (db->records != NULL) {
		record_db_retry(db->records, (struct record_key){key, keylen}, mono_now());
		records_kick(r);
	}
}

void records_cancel(struct record_call *call)
{
	record_call_cancel(call);
}

void records_schedule_deletion(struct records *r, struct db *db, const uint8_t *key, size_t keylen,
			       const uint8_t *header)
{
	struct header h;

	memcpy(&h, header, sizeof(h));
	if (db_is_volatile(db) && db->records != NULL &&
	    record_deletion_hint(db->records, (struct record_key){key, keylen}, h.rsn, mono_now())) {
		records_kick(r); /* not for each: many come at once */
	}
}

uint32_t records_pending(const struct records *r, const struct db *db)
{
	(void)r;
	return db->records != NULL ? record_db_pending(db->records) : 0;
}

/* ---- packets ---- */

static struct db *db_for(struct records *r, uint32_t from, uint32_t db_id, uint32_t generation)
{
	struct db *db = db_find(r->dbd->dbs, db_id);

	if (db == NULL) {
		/* Detached here and not there: whoever asks would wait for ever. A recovery makes all have the same. */
		recovery_want(r->dbd->recovery, generation, "node %u has a database 0x%08x that is not attached here",
			      from, db_id);
	}
	return db != NULL && db->records != NULL ? db : NULL;
}

void records_on_call(struct records *r, uint32_t from, const struct lane_call *m)
{
	struct db *db = db_for(r, from, m->db_id, m->generation);

	if (db != NULL) {
		record_on_call(db->records, from, m->generation, (struct record_key){m->key.data, m->key.len},
			       mono_now());
		records_kick(r);
	}
}

void records_on_forward(struct records *r, uint32_t from, const struct lane_call *m)
{
	struct db *db = db_for(r, from, m->db_id, m->generation);

	if (db != NULL) {
		record_on_forward(db->records, from, m->generation, m->requester,
				  (struct record_key){m->key.data, m->key.len}, mono_now());
		records_kick(r);
	}
}

void records_on_grant(struct records *r, uint32_t from, const struct lane_grant *m)
{
	struct db *db = db_for(r, from, m->db_id, m->generation);
	struct record_copy copy = {
		.exists = true, .rsn = m->rsn, .flags = m->flags, .data = m->data.data, .len = m->data.len};

	if (db != NULL) {
		record_on_grant(db->records, from, m->generation, (struct record_key){m->key.data, m->key.len}, &copy,
				mono_now());
		records_kick(r);
	}
}

/* ---- what recovery does with records ---- */

static int apply_locked(struct db *db, enum rec_apply what, struct record_key key, uint64_t rsn, uint32_t owner)
{
	struct record_copy copy;
	int ret = op_read(db, key, &copy);

	if (ret != 0) {
		return ret;
	}
	if (what == REC_APPLY_POINT) {
		if (copy.exists && copy.dmaster == owner) {
			return 0;
		}
		copy.exists = true;
	} else if (!copy.exists || copy.rsn != rsn) {
		return ESTALE;
	} else {
		copy.rsn += what == REC_APPLY_ADOPT;
		copy.flags &= ~RECORD_FLAGS_READONLY; /* no copy is usable any more, anywhere (D5) */
	}
	copy.dmaster = owner;
	return op_write(db, key, &copy);
}

int records_apply(struct records *r, struct db *db, enum rec_apply what, const uint8_t *key, size_t keylen,
		  uint64_t rsn, uint32_t owner)
{
	struct record_key k = {key, keylen};
	int ret = op_trylock(db, k);

	if (ret != 0) {
		return ret;
	}
	ret = apply_locked(db, what, k, rsn, what == REC_APPLY_ADOPT ? r->dbd->d->pnn : owner);
	op_unlock(db, k);
	return ret;
}

int records_open(struct records *r, struct db *db, uint32_t generation, const uint32_t *slots, uint32_t n_slots)
{
	(void)r;
	return db->records != NULL ? record_db_open(db->records, generation, slots, n_slots) : 0;
}

void records_serve(struct records *r, struct db *db)
{
	if (db->records != NULL) {
		record_db_serve(db->records, mono_now());
		records_kick(r);
	}
}

void records_settled(struct records *r, struct db *db)
{
	if (db->records != NULL) {
		vacuums_start(r->dbd->vacuums, db);
		records_kick(r);
	}
}

void records_close(struct records *r, struct db *db)
{
	(void)r;
	if (db->records != NULL) {
		record_db_close(db->records);
	}
}

void records_db_remove(struct records *r, struct db *db)
{
	(void)r;
	if (db->records != NULL) {
		record_db_free(db->records);
		db->records = NULL;
	}
}

/* A file that is not that of before was made empty. */
static int digest_add(struct db *db)
{
	db->digest = slot_digest_new(db);
	return db->digest == NULL ? ENOMEM : db->kept ? 0 : slot_digest_reset(db->digest, 0);
}

int records_db_add(struct records *r, struct db *db)
{
	if (!db_is_volatile(db) || db->records != NULL) {
		return 0;
	}
	if (db->digest == NULL && digest_add(db) != 0) {
		return ENOMEM;
	}
	db->records = record_db_new(r->engine, db);
	if (db->records != NULL && (db->flags & DB_READONLY) != 0) {
		records_set_readonly(db);
	}
	return db->records == NULL ? ENOMEM : (db->flags & DB_STICKY) != 0 ? records_set_sticky(db) : 0;
}

int records_set_sticky(struct db *db)
{
	return db->records != NULL ? record_db_set_sticky(db->records) : 0;
}

struct dbd *records_owner(struct records *r)
{
	return r->dbd;
}

/* ---- time ---- */

/* Tunables may change at any time. */
static void sticky_settings(struct records *r)
{
	const struct clients *cs = r->dbd->clients;
	uint32_t seconds = cs != NULL ? tunable(cs, CLASSIC_TUNABLE_STICKY_DURATION) : 0;

	record_engine_set_sticky(
		r->engine,
		&(struct record_sticky){.given = cs != NULL ? tunable(cs, CLASSIC_TUNABLE_HOPCOUNT_MAKE_STICKY) : 0,
					.pin_ms = cs != NULL ? tunable(cs, CLASSIC_TUNABLE_STICKY_PINDOWN) : 0,
					.duration_ms = seconds < UINT32_MAX / 1000 ? seconds * 1000 : UINT32_MAX});
}

static void run(struct records *r)
{
	sticky_settings(r);
	vacuums_times(r->dbd->vacuums);
	mono_timer_set(r->timer, record_engine_timers(r->engine, mono_now()));
}

static void timer_fired(void *priv)
{
	run(priv);
}

static void soon_fired(struct tevent_context *ev, struct tevent_immediate *im, void *priv)
{
	struct records *r = priv;

	(void)ev;
	(void)im;
	r->soon_set = false;
	run(r);
}

/* Something may be due: after what the present event still brings. */
void records_kick(struct records *r)
{
	struct mono next = record_engine_next(r->engine);
	struct mono now = mono_now();

	if (!mono_is_set(next)) {
		return;
	}
	if (mono_before(now, next)) {
		mono_timer_set_earlier(r->timer, next);
	} else if (!r->soon_set) {
		r->soon_set = true;
		tevent_schedule_immediate(r->soon, r->dbd->d->ev, soon_fired, r);
	}
}

int records_new(TALLOC_CTX *mem, struct dbd *dbd, struct records **out)
{
	static const struct record_ops ops = {op_trylock,
					      op_unlock,
					      op_read,
					      op_write,
					      op_remove,
					      op_send_call,
					      op_send_forward,
					      op_send_grant,
					      op_answer,
					      op_inconsistent,
					      records_send_readonly,
					      records_hot};
	struct record_config config = {.own_pnn = dbd->d->pnn,
				       .hold_min_us = HOLD_MIN_US,
				       .hold_max_us = HOLD_MAX_US,
				       .retry_min_us = RETRY_MIN_US,
				       .retry_max_us = RETRY_MAX_US,
				       .max_hints = HINTS_MAX,
				       .max_readonly = READONLY_MAX,
				       .max_data = LANE_DATA_MAX};
	struct records *r = talloc_zero(mem, struct records);

	if (r == NULL) {
		return ENOMEM;
	}
	r->dbd = dbd;
	r->engine = record_engine_new(r, &config, &ops, r);
	r->timer = mono_timer_new(r, dbd->d->ev, timer_fired, r);
	r->soon = tevent_create_immediate(r);
	if (r->engine == NULL || r->timer == NULL || r->soon == NULL ||
	    vacuums_new(r, dbd, r->engine, &dbd->vacuums) != 0) {
		talloc_free(r);
		return ENOMEM;
	}
	*out = r;
	return 0;
}
