/* Recovery of a volatile database at a member: claims to location masters, verdicts, orders to holders. See recovery.h.
 */
#include <errno.h>
#include <string.h>

#include "base/bytes.h"

#include "core/recovery_private.h"
#include "core/slotmap.h"

int volatile_begin(struct mdb *db)
{
	uint32_t n = db->m->n_members;

	db->claims = claims_new(db);
	db->claims_out = talloc_zero_array(db, struct stream, n);
	db->orders_out = talloc_zero_array(db, struct stream, n);
	db->claims_in = talloc_zero_array(db, uint32_t, n);
	db->orders_in = talloc_zero_array(db, uint32_t, n);
	db->todo_left = talloc_zero_array(db, uint32_t, n * STREAM_WINDOW);
	db->orders_acked = talloc_zero_array(db, uint32_t, n);
	db->claims_ended = talloc_zero_array(db, bool, n);
	db->orders_ended = talloc_zero_array(db, bool, n);
	if (db->claims == NULL || db->claims_out == NULL || db->orders_out == NULL || db->claims_in == NULL ||
	    db->orders_in == NULL || db->todo_left == NULL || db->orders_acked == NULL || db->claims_ended == NULL ||
	    db->orders_ended == NULL || digest_alloc(db) != 0) {
		return ENOMEM;
	}
	db->m->stats.dbs++;
	db->recount = db->m->full;
	db->digest = db->m->ops.digest(db->m->priv, db->handle, &db->recount);
	if (db->digest == NULL) {
		return ENOMEM;
	}
	if (db->valid) {
		return digest_begin(db);
	}
	db->state = MDB_WIPE;
	slot_digest_forget(db->digest);
	db->m->ops.invalidated(db->m->priv, db->handle);
	return db->m->ops.start_wipe(db->m->priv, db->handle);
}

/* ---- claims out ---- */

static void claims_flush(struct mdb *db, uint32_t to, bool last)
{
	struct stream *s = &db->claims_out[to];

	s->claims.id = db->m->id;
	db->m->stats.claims += s->claims.claims.n;
	s->claims.db_id = db->id;
	s->claims.sequence = s->sent++;
	s->claims.last = s->ended = last;
	db->m->stats.bytes += rec_claims_size(&s->claims);
	db->m->ops.send(db->m->priv, db->m->members[to], LANE_PROC_REC_CLAIMS, &s->claims);
	TALLOC_FREE(s->claims.claims.v);
	s->claims.claims.n = 0;
	s->bytes = 0;
}

static int claims_append(struct mdb *db, uint32_t to, const struct rec_scan_entry *entry)
{
	struct stream *s = &db->claims_out[to];
	struct rec_claim *c;

	if (s->claims.claims.v == NULL) {
		s->claims.claims.v = talloc_array(db, struct rec_claim, BATCH_RECORDS);
		if (s->claims.claims.v == NULL) {
			return ENOMEM;
		}
	}
	c = &s->claims.claims.v[s->claims.claims.n];
	*c = (struct rec_claim){.rsn = entry->rsn,
				.flags = entry->flags,
				.owned = entry->dmaster == db->m->own_pnn,
				.empty = entry->empty};
	c->key.data = bytes_dup(s->claims.claims.v, entry->key, entry->keylen);
	c->key.len = (uint32_t)entry->keylen;
	if (c->key.data == NULL) {
		return ENOMEM;
	}
	s->claims.claims.n++;
	s->bytes += entry->keylen + 32;
	if (s->claims.claims.n == BATCH_RECORDS || s->bytes >= BATCH_BYTES) {
		claims_flush(db, to, false);
	}
	return 0;
}

static bool streams_open(const struct mdb *db, const struct stream *streams)
{
	for (uint32_t i = 0; i < db->m->n_members; i++) {
		if (streams[i].sent - streams[i].acked >= STREAM_WINDOW) {
			return false;
		}
	}
	return true;
}

bool rec_member_scan_entry(struct rec_member *m, void *handle, const struct rec_scan_entry *entry)
{
	struct mdb *db = rec_member_find_handle(m, handle);
	uint32_t lmaster, to;
	int ret;

	if (db == NULL || (db->state != MDB_SCAN && db->state != MDB_COUNT)) {
		return true;
	}
	m->stats.scanned++;
	if (db->counting) {
		slot_digest_change(db->digest, entry->key, entry->keylen, SLOT_DIGEST_NONE, entry->dmaster);
	}
	if (db->state == MDB_COUNT ||
	    (db->counting && !rec_filter_passes(&db->filter, entry->key, entry->keylen, entry->dmaster))) {
		return true;
	}
	lmaster = slotmap_lmaster(m->slots, m->n_slots, entry->key, entry->keylen);
	to = rec_member_index(m, lmaster);
	if (to == m->own_index) {
		struct claim claim = {.rsn = entry->rsn,
				      .node = m->own_pnn,
				      .owned = entry->dmaster == m->own_pnn,
				      .empty = entry->empty};

		ret = claims_add_local(db->claims, entry->key, entry->keylen, &claim, entry->dmaster);
	} else {
		ret = claims_append(db, to, entry);
	}
	if (ret != 0) {
		mdb_failed(db, ret, "cannot keep a claim");
		return true;
	}
	db->scan_paused = !streams_open(db, db->claims_out);
	return !db->scan_paused;
}

void volatile_scanned(struct mdb *db)
{
	db->scan_done = true; /* volatile_run goes on */
}

static void claims_end(struct mdb *db)
{
	db->claims_told = true;
	for (uint32_t i = 0; i < db->m->n_members; i++) {
		if (i != db->m->own_index) {
			claims_flush(db, i, true);
		}
	}
	db->claims_ended[db->m->own_index] = true;
}

void volatile_job_done(struct mdb *db)
{
	int ret = 0;

	if (db->state == MDB_WIPE) {
		ret = slot_digest_reset(db->digest, db->m->n_slots);
		ret = ret == 0 ? digest_begin(db) : ret;
	} else if (db->state == MDB_COUNT) {
		ret = digest_counted(db);
	} else if (db->state == MDB_SCAN && !db->scan_done) {
		(void)digest_counted(db);
		volatile_scanned(db);
	}
	if (ret != 0) {
		mdb_failed(db, ret, "cannot compare");
	}
}

void volatile_acked(struct mdb *db, uint32_t member, enum lane_proc what, uint32_t sequence)
{
	struct stream *s = what == LANE_PROC_REC_CLAIMS ? &db->claims_out[member] : &db->orders_out[member];

	if (sequence == s->acked && s->acked != s->sent) {
		s->acked++;
	}
	if (db->scan_paused && db->state == MDB_SCAN && streams_open(db, db->claims_out)) {
		db->scan_paused = false;
		db->m->ops.scan_continue(db->m->priv, db->handle);
	}
}

/* ---- claims in ---- */

void rec_member_on_claims(struct rec_member *m, uint32_t from, const struct rec_claims *msg, struct mono now)
{
	struct mdb *db = rec_member_current(m, &msg->id) ? rec_member_find(m, msg->db_id) : NULL;
	uint32_t i = rec_member_index(m, from);
	int ret = 0;

	(void)now;
	if (db == NULL || i == m->n_members || !mdb_is_volatile(db) || db->claims == NULL || db->state == MDB_IDLE) {
		return;
	}
	if (db->claims_ended[i] || msg->sequence != db->claims_in[i]) {
		mdb_failed(db, EPROTO, "claims out of order");
		return;
	}
	db->claims_in[i]++;
	for (uint32_t k = 0; k < msg->claims.n && ret == 0; k++) {
		const struct rec_claim *c = &msg->claims.v[k];
		struct claim claim = {.rsn = c->rsn, .node = from, .owned = c->owned, .empty = c->empty};

		ret = claims_add(db->claims, c->key.data, c->key.len, &claim);
	}
	if (ret != 0) {
		mdb_failed(db, ret, "cannot keep a claim");
		return;
	}
	db->claims_ended[i] = msg->last;
	mdb_ready(db);
	rec_member_ack(db, from, LANE_PROC_REC_CLAIMS, msg->sequence);
}

/* ---- verdicts ---- */

static int todo_add(struct mdb *db, enum rec_apply what, const uint8_t *key, size_t keylen, uint64_t rsn,
		    uint32_t owner, uint32_t from, uint32_t sequence)
{
	struct todo *t = talloc_size(db, sizeof(*t) + keylen);

	if (t == NULL) {
		return ENOMEM;
	}
	*t = (struct todo){
		.what = what, .rsn = rsn, .owner = owner, .from = from, .sequence = sequence, .keylen = keylen};
	bytes_copy(t->key, key, keylen);
	dlist_add_tail(&db->todo, &t->link);
	db->n_todo++;
	return 0;
}

static void orders_flush(struct mdb *db, uint32_t to, bool last)
{
	struct stream *s = &db->orders_out[to];

	s->orders.id = db->m->id;
	s->orders.db_id = db->id;
	s->orders.sequence = s->sent++;
	s->orders.last = s->ended = last;
	db->m->stats.orders += s->orders.orders.n;
	db->m->stats.bytes += rec_orders_size(&s->orders);
	db->m->ops.send(db->m->priv, db->m->members[to], LANE_PROC_REC_ORDERS, &s->orders);
	TALLOC_FREE(s->orders.orders.v);
	s->orders.orders.n = 0;
	s->bytes = 0;
}

/* To node: become, or cease to be, the owner. To the own node: straight to the list. */
static int order(struct mdb *db, uint32_t node, const struct verdict *v, uint64_t rsn)
{
	uint32_t to = rec_member_index(db->m, node);
	struct stream *s = &db->orders_out[to];
	struct rec_order *o;

	if (to == db->m->own_index) {
		return todo_add(db, node == v->owner ? REC_APPLY_ADOPT : REC_APPLY_DEMOTE, v->key, v->keylen, rsn,
				v->owner, db->m->n_members, 0);
	}
	if (s->orders.orders.v == NULL) {
		s->orders.orders.v = talloc_array(db, struct rec_order, BATCH_RECORDS);
		if (s->orders.orders.v == NULL) {
			return ENOMEM;
		}
	}
	o = &s->orders.orders.v[s->orders.orders.n];
	*o = (struct rec_order){.rsn = rsn, .owner = v->owner};
	o->key.data = bytes_dup(s->orders.orders.v, v->key, v->keylen);
	o->key.len = (uint32_t)v->keylen;
	if (o->key.data == NULL) {
		return ENOMEM;
	}
	s->orders.orders.n++;
	s->bytes += v->keylen + 32;
	if (s->orders.orders.n == BATCH_RECORDS || s->bytes >= BATCH_BYTES) {
		orders_flush(db, to, false);
	}
	return 0;
}

static int verdict(struct mdb *db, const struct verdict *v)
{
	uint32_t me = db->m->own_pnn;
	bool told_me = v->owner == me;
	int ret = v->adopt ? order(db, v->owner, v, v->rsn) : 0;

	for (uint32_t i = 0; i < v->n_losers && ret == 0; i++) {
		told_me = told_me || v->losers[i] == me;
		ret = order(db, v->losers[i], v, v->loser_rsn[i]);
	}
	if (ret == 0 && !told_me && v->local_dmaster != v->owner) {
		ret = todo_add(db, REC_APPLY_POINT, v->key, v->keylen, 0, v->owner, db->m->n_members, 0);
	}
	return ret;
}

static bool all_claims_in(const struct mdb *db)
{
	for (uint32_t i = 0; i < db->m->n_members; i++) {
		if (!db->claims_ended[i]) {
			return false;
		}
	}
	return true;
}

/* Of records: the time is asked for now and then only. */
static bool slice_over(struct rec_member *m)
{
	m->steps++;
	return m->steps >= SLICE_STEPS || (m->steps % STEPS_LOOK == 0 && rec_member_slice_over(m));
}

/* true: more to do at once */
static bool resolve_slice(struct mdb *db)
{
	struct verdict v;
	int ret;

	while (!slice_over(db->m)) {
		if (!streams_open(db, db->orders_out)) {
			return false; /* goes on when orders are acknowledged */
		}
		if (!claims_next(db->claims, &v)) {
			for (uint32_t i = 0; i < db->m->n_members; i++) {
				if (i != db->m->own_index) {
					orders_flush(db, i, true);
				}
			}
			db->orders_ended[db->m->own_index] = true;
			db->state = MDB_APPLY;
			TALLOC_FREE(db->claims);
			return true;
		}
		/* In a clean slot others' copies are of interest only for keys whose owner is gone. */
		ret = v.local_dmaster == CLAIM_NODE_NONE && digest_is_clean(db, v.key, v.keylen) ? 0 : verdict(db, &v);
		if (ret != 0) {
			mdb_failed(db, ret, "cannot give an order");
			return false;
		}
	}
	return true;
}

/* ---- orders in ---- */

/* At most STREAM_WINDOW batches of a sender are under way. */
static uint32_t *batch_left(struct mdb *db, uint32_t from, uint32_t sequence)
{
	return &db->todo_left[from * STREAM_WINDOW + sequence % STREAM_WINDOW];
}

/* A batch is acknowledged when its last order is applied and so are all before it: one that waits for a lock holds back
 * the sender. */
static void orders_ack(struct mdb *db, uint32_t from)
{
	while (db->orders_acked[from] != db->orders_in[from] && *batch_left(db, from, db->orders_acked[from]) == 0) {
		rec_member_ack(db, db->m->members[from], LANE_PROC_REC_ORDERS, db->orders_acked[from]++);
	}
}

void rec_member_on_orders(struct rec_member *m, uint32_t from, const struct rec_orders *msg, struct mono now)
{
	struct mdb *db = rec_member_current(m, &msg->id) ? rec_member_find(m, msg->db_id) : NULL;
	uint32_t i = rec_member_index(m, from);

	(void)now;
	if (db == NULL || i == m->n_members || !mdb_is_volatile(db) || db->orders_in == NULL || db->state == MDB_IDLE) {
		return;
	}
	if (db->orders_ended[i] || msg->sequence != db->orders_in[i] ||
	    db->orders_in[i] - db->orders_acked[i] >= STREAM_WINDOW) {
		mdb_failed(db, EPROTO, "orders out of order");
		return;
	}
	db->orders_in[i]++;
	for (uint32_t k = 0; k < msg->orders.n; k++) {
		const struct rec_order *o = &msg->orders.v[k];
		enum rec_apply what = o->owner == m->own_pnn ? REC_APPLY_ADOPT : REC_APPLY_DEMOTE;

		if (todo_add(db, what, o->key.data, o->key.len, o->rsn, o->owner, i, msg->sequence) != 0) {
			mdb_failed(db, ENOMEM, "cannot keep an order");
			return;
		}
	}
	*batch_left(db, i, msg->sequence) = msg->orders.n;
	db->orders_ended[i] = msg->last;
	mdb_ready(db);
	orders_ack(db, i);
}

static void todo_done(struct mdb *db, struct todo *t)
{
	if (t->from < db->m->n_members && --*batch_left(db, t->from, t->sequence) == 0) {
		orders_ack(db, t->from);
	}
	dlist_remove(&t->link);
	db->n_todo--;
	talloc_free(t);
}

/* false: the database has failed */
static bool still_patient(struct mdb *db, struct mono now, bool progress)
{
	if (progress) {
		db->stuck = MONO_NEVER;
	} else if (!mono_is_set(db->stuck)) {
		db->stuck = now;
	} else if (db->m->patience_ms != 0 && !db->late &&
		   !mono_before(now, mono_add_ms(db->stuck, db->m->patience_ms))) {
		mdb_failed(db, ETIMEDOUT, "a process keeps records locked");
		return false;
	}
	return true;
}

/* true: more to do at once. What is locked is put last and tried again a little later. */
static bool todo_slice(struct mdb *db, struct mono now)
{
	uint32_t n = db->n_todo, before = db->n_todo;
	bool locked = false;

	mdb_change(db);
	while (n-- > 0 && !slice_over(db->m)) {
		struct todo *t = dlist_entry(dlist_first(&db->todo), struct todo, link);
		int ret = db->m->ops.apply(db->m->priv, db->handle, t->what, t->key, t->keylen, t->rsn, t->owner);

		if (ret == EAGAIN) {
			dlist_remove(&t->link);
			dlist_add_tail(&db->todo, &t->link);
			locked = true;
			continue;
		}
		if (ret != 0) {
			mdb_failed(db, ret, "cannot carry out an order");
			return false;
		}
		todo_done(db, t);
	}
	if (!still_patient(db, now, db->n_todo < before)) {
		return false;
	}
	if (db->n_todo > 0 && locked) {
		mdb_retry(db, now);
		return false;
	}
	return db->n_todo > 0;
}

static bool all_done(const struct mdb *db)
{
	for (uint32_t i = 0; i < db->m->n_members; i++) {
		if (!db->orders_ended[i]) {
			return false;
		}
		if (i != db->m->own_index && db->orders_out[i].acked != db->orders_out[i].sent) {
			return false;
		}
	}
	return db->n_todo == 0;
}

/* Before anybody can name a new owner, no read-only copy is usable here. true: more to do at once. */
static bool strip_slice(struct mdb *db, struct mono now)
{
	int ret = db->m->ops.strip != NULL ? db->m->ops.strip(db->m->priv, db->handle) : 0;

	if (ret == 0) {
		db->stuck = MONO_NEVER;
		if (db->state == MDB_STRIP) {
			digest_tell(db);
		} else {
			claims_end(db); /* the scan may have met copies that nobody remembered */
		}
		return false;
	}
	if (ret != EAGAIN && ret != EINPROGRESS) {
		mdb_failed(db, ret, "cannot strip read-only copies");
		return false;
	}
	if (!still_patient(db, now, ret == EINPROGRESS)) {
		return false;
	}
	if (ret == EAGAIN) {
		mdb_retry(db, now);
	}
	return ret == EINPROGRESS;
}

bool volatile_run(struct mdb *db, struct mono now)
{
	bool more = false;

	if (db->state < MDB_COUNT || db->state >= MDB_STATE) {
		return false;
	}
	digest_run(db);
	if (db->state == MDB_STRIP || (db->state == MDB_SCAN && db->scan_done && !db->claims_told)) {
		more = strip_slice(db, now);
	}
	if (db->state == MDB_IDLE || db->state == MDB_STRIP) {
		return more;
	}
	if (db->state == MDB_SCAN && db->claims_told && all_claims_in(db)) {
		db->state = MDB_RESOLVE;
	}
	if (db->state == MDB_RESOLVE) {
		more = resolve_slice(db) || more;
	}
	/*
	 * Orders of a quicker location master may come while the own scan still runs: the scan has to tell the world as
	 * it was at BEGIN (V2), so they wait until every location master has our claims, that is until the scan is
	 * over.
	 */
	if ((db->state == MDB_RESOLVE || db->state == MDB_APPLY || (db->state == MDB_SCAN && db->claims_told)) &&
	    db->n_todo > 0) {
		more = todo_slice(db, now) || more;
	}
	if (db->state == MDB_APPLY && all_done(db)) {
		mdb_prepared(db);
		return false;
	}
	return more;
}
