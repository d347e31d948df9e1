/* Recovery of a volatile database at a member: what need not be looked at, because sums over the copies agree. See
 * recovery.h. */
#include <errno.h>
#include <string.h>

#include "base/hash.h"
#include "core/recovery_private.h"

static size_t map_bytes(const struct rec_member *m)
{
	return (m->n_slots + 7) / 8;
}

static bool bit(const uint8_t *map, uint32_t s)
{
	return (map[s / 8] >> (s % 8) & 1) != 0;
}

static void set_bit(uint8_t *map, uint32_t s)
{
	map[s / 8] |= (uint8_t)(1U << (s % 8));
}

bool rec_filter_passes(const struct rec_scan_filter *f, const uint8_t *key, size_t keylen, uint32_t dmaster)
{
	uint32_t s = hash_lookup3(key, keylen) % f->n_slots;

	if (bit(f->all, s)) {
		return true;
	}
	if (bit(f->unowned, s)) {
		return dmaster != f->own_pnn;
	}
	if (!bit(f->gone, s)) {
		return false;
	}
	for (uint32_t i = 0; i < f->n_members; i++) {
		if (f->members[i] == dmaster) {
			return false;
		}
	}
	return true;
}

/* All or nothing: others' digests may come, and be kept, before the database begins here. */
int digest_alloc(struct mdb *db)
{
	struct rec_member *m = db->m;

	if (db->ask_gone != NULL) { /* the last one */
		return 0;
	}
	db->digests = talloc_zero_array(db, struct rec_digests, m->n_members);
	db->digests_in = talloc_zero_array(db, bool, m->n_members);
	db->wants_in = talloc_zero_array(db, bool, m->n_members);
	db->ask_all = talloc_zero_array(db, uint8_t, map_bytes(m));
	db->ask_unowned = talloc_zero_array(db, uint8_t, map_bytes(m));
	db->ask_gone = talloc_zero_array(db, uint8_t, map_bytes(m));
	return db->digests == NULL || db->digests_in == NULL || db->wants_in == NULL || db->ask_all == NULL ||
			       db->ask_unowned == NULL || db->ask_gone == NULL
		       ? ENOMEM
		       : 0;
}

/* ---- telling ---- */

static int digests_fill(struct mdb *db, uint32_t to, struct rec_digests *msg)
{
	struct rec_member *m = db->m;

	*msg = (struct rec_digests){.id = m->id, .db_id = db->id, .all = db->recount};
	if (db->recount) {
		return 0;
	}
	msg->sums.v = talloc_array(db, struct rec_slot_sum, m->n_slots);
	if (msg->sums.v == NULL) {
		return ENOMEM;
	}
	for (uint32_t s = 0; s < m->n_slots; s++) {
		uint64_t sum = slot_digest_sum(db->digest, s, m->own_pnn);

		if (m->slots[s] == m->members[to] && sum != 0) {
			msg->sums.v[msg->sums.n++] = (struct rec_slot_sum){s, sum};
		}
	}
	return 0;
}

/* The sums are known, or will not be used. */
static int tell_all(struct mdb *db)
{
	struct rec_member *m = db->m;

	mdb_tell(db);
	for (uint32_t i = 0; i < m->n_members; i++) {
		struct rec_digests msg;

		if (i == m->own_index) {
			continue;
		}
		if (digests_fill(db, i, &msg) != 0) {
			return ENOMEM;
		}
		m->stats.bytes += rec_digests_size(&msg);
		m->ops.send(m->priv, m->members[i], LANE_PROC_REC_DIGESTS, &msg);
		talloc_free(msg.sums.v);
	}
	db->digests_in[m->own_index] = true;
	db->digests[m->own_index].all = db->recount;
	db->state = MDB_COMPARE;
	return 0;
}

void digest_tell(struct mdb *db)
{
	int ret = tell_all(db);

	if (ret != 0) {
		mdb_failed(db, ret, "cannot tell digests");
	}
}

/* After it they are told: who has all of them names owners. */
static int strip_begin(struct mdb *db)
{
	if (db->m->ops.strip == NULL || db->m->ops.strip(db->m->priv, db->handle) == 0) {
		return tell_all(db);
	}
	db->state = MDB_STRIP; /* volatile_run tries again */
	return 0;
}

int digest_begin(struct mdb *db)
{
	struct rec_member *m = db->m;

	if (db->recount) {
		slot_digest_forget(db->digest);
		return strip_begin(db);
	}
	if (slot_digest_known(db->digest, m->n_slots)) {
		return strip_begin(db);
	}
	digest_count_begin(db);
	db->state = MDB_COUNT;
	return m->ops.start_scan(m->priv, db->handle, NULL);
}

void digest_count_begin(struct mdb *db)
{
	slot_digest_forget(db->digest);
	db->counting = true;
	(void)slot_digest_reset(db->digest, db->m->n_slots);
}

/* The file was read to its end. */
int digest_counted(struct mdb *db)
{
	db->counting = false;
	return db->state == MDB_COUNT ? strip_begin(db) : 0;
}

void digest_stop(struct mdb *db)
{
	if (db->counting) {
		db->counting = false;
		slot_digest_forget(db->digest);
	}
}

/* ---- comparing ---- */

static int digests_check(const struct mdb *db, const struct rec_digests *msg)
{
	const struct rec_member *m = db->m;

	for (uint32_t i = 0; i < msg->sums.n; i++) {
		uint32_t s = msg->sums.v[i].slot;

		if (s >= m->n_slots || m->slots[s] != m->own_pnn || (i > 0 && s <= msg->sums.v[i - 1].slot)) {
			return EPROTO;
		}
	}
	return 0;
}

void rec_member_on_digests(struct rec_member *m, uint32_t from, const struct rec_digests *msg, struct mono now)
{
	struct mdb *db = rec_member_current(m, &msg->id) ? rec_member_find(m, msg->db_id) : NULL;
	uint32_t i = rec_member_index(m, from);
	int ret;

	(void)now;
	if (m->begun && !m->planned && recovery_id_cmp(&msg->id, &m->id) == 0) {
		digests_early(m, from, msg);
		return;
	}
	if (db == NULL || i == m->n_members || i == m->own_index || !mdb_is_volatile(db) || db->state == MDB_IDLE) {
		return;
	}
	ret = digest_alloc(db);
	if (ret == 0) {
		ret = db->digests_in[i] ? EPROTO : digests_check(db, msg);
	}
	if (ret == 0) {
		db->digests[i] = (struct rec_digests){.all = msg->all};
		db->digests[i].sums.n = msg->sums.n;
		db->digests[i].sums.v = talloc_memdup(db, msg->sums.v, msg->sums.n * sizeof(msg->sums.v[0]));
		ret = msg->sums.n > 0 && db->digests[i].sums.v == NULL ? ENOMEM : 0;
	}
	if (ret != 0) {
		mdb_failed(db, ret, "cannot use a node's digests");
		return;
	}
	db->digests_in[i] = true;
	mdb_ready(db);
}

/* A member that got the PLAN before us is quick: kept until our PLAN comes. */
void digests_early(struct rec_member *m, uint32_t from, const struct rec_digests *msg)
{
	struct ctdb_blob buf = {0};
	struct early *e;
	uint32_t i = rec_member_index(m, from);

	if (i == m->n_members || m->n_early[i]++ >= EARLY_MAX) {
		return;
	}
	e = talloc_zero(m->run, struct early);
	if (e == NULL || rec_digests_encode(e, msg, &buf) != 0) {
		talloc_free(e);
		m->ops.note(m->priv, "cannot keep digests that came early");
		return;
	}
	e->from = from;
	e->buf = buf;
	dlist_add_tail(&m->early, &e->link);
}

void digests_take_early(struct rec_member *m, struct mono now)
{
	while (!dlist_empty(&m->early) && !rec_member_slice_over(m)) {
		struct early *e = dlist_entry(dlist_first(&m->early), struct early, link);
		struct rec_digests msg;

		dlist_remove(&e->link);
		m->steps++;
		if (rec_digests_decode(e, e->buf.data, e->buf.len, &msg) == 0) {
			rec_member_on_digests(m, e->from, &msg, now);
		}
		talloc_free(e);
	}
}

static bool all_of(const struct mdb *db, const bool *in)
{
	for (uint32_t i = 0; i < db->m->n_members; i++) {
		if (!in[i]) {
			return false;
		}
	}
	return true;
}

/* at: by member, how far its sums were looked at. Slots are asked for in ascending order. */
static bool sums_agree(const struct mdb *db, uint32_t *at, uint32_t s)
{
	const struct rec_member *m = db->m;

	for (uint32_t i = 0; i < m->n_members; i++) {
		const struct rec_digests *d = &db->digests[i];
		uint64_t told = 0;

		if (i == m->own_index) {
			continue;
		}
		while (at[i] < d->sums.n && d->sums.v[at[i]].slot < s) {
			at[i]++;
		}
		if (at[i] < d->sums.n && d->sums.v[at[i]].slot == s) {
			told = d->sums.v[at[i]].sum;
		}
		if (told != slot_digest_sum(db->digest, s, m->members[i])) {
			return false;
		}
	}
	return true;
}

static bool all_claimed(const struct mdb *db)
{
	bool all = false;

	for (uint32_t i = 0; i < db->m->n_members; i++) {
		all = all || db->digests[i].all;
	}
	return all;
}

static void want_send(struct mdb *db, bool all, bool unowned)
{
	struct rec_member *m = db->m;
	struct rec_want msg = {.id = m->id, .db_id = db->id};

	if (all) {
		msg.all = (struct ctdb_blob){(uint32_t)map_bytes(m), db->dirty};
	}
	if (unowned) {
		msg.unowned = (struct ctdb_blob){(uint32_t)map_bytes(m), db->ask_gone};
	}
	for (uint32_t i = 0; i < m->n_members; i++) {
		if (i != m->own_index) {
			m->stats.bytes += rec_want_size(&msg);
			m->ops.send(m->priv, m->members[i], LANE_PROC_REC_WANT, &msg);
		}
	}
	db->wants_in[m->own_index] = true;
	db->asked = db->asked || all || unowned;
}

/*
 * A slot that was kept and whose sums agree with all members is as it has to be, but for records of nodes that are no
 * members: those are chosen among the copies that nobody owns.
 */
static int compare(struct mdb *db)
{
	struct rec_member *m = db->m;
	uint32_t *at = talloc_zero_array(db, uint32_t, m->n_members);
	bool everything = all_claimed(db), all = false, unowned = false;
	uint8_t *dirty = talloc_zero_array(db, uint8_t, map_bytes(m));

	if (at == NULL || dirty == NULL) {
		return ENOMEM;
	}
	for (uint32_t s = 0; s < m->n_slots; s++) {
		if (m->slots[s] != m->own_pnn) {
			continue;
		}
		m->stats.slots++;
		if (everything || !slot_digest_kept(db->digest, s) || !sums_agree(db, at, s)) {
			set_bit(dirty, s);
			all = true;
			m->stats.dirty++;
		} else if (slot_digest_others(db->digest, s, m->members, m->n_members)) {
			set_bit(db->ask_gone, s);
			unowned = true;
		}
	}
	talloc_free(at);
	db->dirty = dirty;
	db->state = MDB_WANT;
	want_send(db, all, unowned);
	for (size_t i = 0; i < map_bytes(m); i++) {
		db->ask_all[i] |= dirty[i];
	}
	return 0;
}

bool digest_is_clean(const struct mdb *db, const uint8_t *key, size_t keylen)
{
	return !bit(db->dirty, hash_lookup3(key, keylen) % db->m->n_slots);
}

/* ---- what is wanted ---- */

/* Bits of slots of which the sender is location master, added to own. */
static int take_map(struct mdb *db, uint32_t from, const struct ctdb_blob *map, uint8_t *own)
{
	const struct rec_member *m = db->m;

	if (map->len == 0) {
		return 0;
	}
	if (map->len != map_bytes(m)) {
		return EPROTO;
	}
	for (uint32_t s = 0; s < m->n_slots; s++) {
		if (bit(map->data, s)) {
			if (m->slots[s] != from) {
				return EPROTO;
			}
			set_bit(own, s);
			db->asked = true;
		}
	}
	return 0;
}

void rec_member_on_want(struct rec_member *m, uint32_t from, const struct rec_want *msg, struct mono now)
{
	struct mdb *db = rec_member_current(m, &msg->id) ? rec_member_find(m, msg->db_id) : NULL;
	uint32_t i = rec_member_index(m, from);
	int ret;

	(void)now;
	if (db == NULL || i == m->n_members || i == m->own_index || !mdb_is_volatile(db) || db->wants_in == NULL ||
	    db->state == MDB_IDLE) {
		return;
	}
	ret = db->wants_in[i] ? EPROTO : take_map(db, from, &msg->all, db->ask_all);
	ret = ret == 0 ? take_map(db, from, &msg->unowned, db->ask_unowned) : ret;
	if (ret != 0) {
		mdb_failed(db, ret, "malformed wish for claims");
		return;
	}
	db->wants_in[i] = true;
	mdb_ready(db);
}

static int want_done(struct mdb *db)
{
	struct rec_member *m = db->m;

	db->state = MDB_SCAN;
	if (!db->asked && !db->recount) {
		volatile_scanned(db);
		return 0;
	}
	db->filter = (struct rec_scan_filter){.n_slots = m->n_slots,
					      .map_bytes = (uint32_t)map_bytes(m),
					      .all = db->ask_all,
					      .unowned = db->ask_unowned,
					      .gone = db->ask_gone,
					      .own_pnn = m->own_pnn,
					      .members = m->members,
					      .n_members = m->n_members};
	m->stats.scans++;
	if (db->recount) {
		digest_count_begin(db);
	}
	return m->ops.start_scan(m->priv, db->handle, db->recount ? NULL : &db->filter);
}

void digest_run(struct mdb *db)
{
	int ret = 0;

	if (db->state == MDB_COMPARE && all_of(db, db->digests_in)) {
		db->m->steps += STEPS_DIGEST;
		ret = compare(db);
	}
	if (ret == 0 && db->state == MDB_WANT && all_of(db, db->wants_in)) {
		ret = want_done(db);
	}
	if (ret != 0) {
		mdb_failed(db, ret, "cannot compare digests");
	}
}
