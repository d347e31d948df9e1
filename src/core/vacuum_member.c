/* Vacuuming: what other nodes ask for: TOMBSTONE and DROP at a member, FETCH at the location master. */
#include "core/vacuum_private.h"

#include <errno.h>
#include <string.h>

#include "base/hash.h"

/* A location master has one batch under way; what it gave up may still lie here. */
#define INBOUND_PER_MEMBER 4U
/* Of the record that is made in order to find and remove what is left of it: not one that may go at once. */
#define RSN_ORPHAN (RSN_CREATED + 1)

bool vacuum_is_pinned(const struct vacuum *v, struct record_key key)
{
	const struct vacuum_ops *ops = &vacuum_engine_of(v)->ops;

	return ops->pinned != NULL && ops->pinned(v->db->priv, key);
}

/* ---- TOMBSTONE, DROP ---- */

static bool tombstone_locked(struct vacuum *v, struct record_key key, uint64_t rsn, uint32_t from)
{
	struct record_db *db = v->db;
	struct record_copy have, tomb = {.exists = true, .rsn = rsn, .dmaster = from};

	if (db->e->ops.read(db->priv, key, &have) != 0) {
		return false;
	}
	if (!have.exists) {
		return true;
	}
	if (have.dmaster == db->e->config.own_pnn || have.rsn > rsn || (have.flags & RECORD_FLAGS_READONLY) != 0) {
		return false;
	}
	if (have.rsn == rsn && have.len == 0 && have.dmaster == from) {
		return true;
	}
	v->stats.tombstones++;
	return db->e->ops.write(db->priv, key, &tomb) == 0;
}

static bool drop_locked(struct vacuum *v, struct record_key key, uint64_t rsn, uint32_t from)
{
	struct record_db *db = v->db;
	struct record_copy have;

	if (db->e->ops.read(db->priv, key, &have) != 0) {
		return false;
	}
	if (!have.exists) {
		return true;
	}
	if (have.dmaster != from || have.rsn != rsn || have.len != 0 || (have.flags & RECORD_FLAGS_READONLY) != 0) {
		return false;
	}
	v->stats.dropped++;
	return db->e->ops.remove(db->priv, key) == 0;
}

static bool obey(struct vacuum *v, const struct vinbound *in, struct record_key key, uint64_t rsn)
{
	struct record_db *db = v->db;
	uint32_t hash = hash_lookup3(key.p, key.len);
	bool ok;

	if (rec_lmaster_of(db, hash) != in->from || in->from == db->e->config.own_pnn ||
	    rec_find(db, key, hash) != NULL || vacuum_is_pinned(v, key) || db->e->ops.trylock(db->priv, key) != 0) {
		return false;
	}
	ok = in->m.step == VACUUM_TOMBSTONE ? tombstone_locked(v, key, rsn, in->from)
					    : drop_locked(v, key, rsn, in->from);
	db->e->ops.unlock(db->priv, key);
	return ok;
}

/* ---- FETCH ---- */

static bool fetch_add(struct vacuum *v, struct record_key key, bool orphan)
{
	bool made;
	struct cand *c;

	if (!rec_is_lmaster(v->db, hash_lookup3(key.p, key.len))) {
		return false;
	}
	c = cand_get(v, key, &made);
	if (c == NULL) {
		return false;
	}
	if (made) {
		c->orphan = orphan;
		cand_move(c, CAND_FETCH);
	}
	return true;
}

bool vacuum_fetch(struct record_db *db, struct record_key key)
{
	return db->vacuum != NULL && db->serving && fetch_add(db->vacuum, key, false);
}

bool fetch_possible(const struct vacuum *v)
{
	return v->db->serving && !dlist_empty(&v->fetch) && v->n_pulls < vacuum_engine_of(v)->config.max_pulls;
}

static int fetch_look(struct cand *c, struct record_copy *copy)
{
	struct record_db *db = c->v->db;
	struct record_key key = cand_key(c);
	int ret = db->e->ops.trylock(db->priv, key);

	if (ret != 0) {
		return ret;
	}
	ret = db->e->ops.read(db->priv, key, copy);
	if (ret == 0 && !copy->exists && c->orphan) {
		*copy = (struct record_copy){.exists = true, .rsn = RSN_ORPHAN, .dmaster = db->e->config.own_pnn};
		ret = db->e->ops.write(db->priv, key, copy);
		c->v->stats.orphans++;
	}
	db->e->ops.unlock(db->priv, key);
	copy->data = NULL;
	return ret;
}

static void fetch_one(struct cand *c, struct mono now)
{
	struct record_db *db = c->v->db;
	struct record_copy copy;
	int ret;

	if (rec_find(db, cand_key(c), c->hash) != NULL) {
		cand_free(c); /* it is in use */
		return;
	}
	ret = fetch_look(c, &copy);
	if (ret == EAGAIN && ++c->tries < VACUUM_TRIES) {
		c->busy = true;
		cand_move(c, CAND_LATER); /* until the next run, as what is busy there */
	} else if (ret != 0 || !copy.exists || (copy.dmaster != db->e->config.own_pnn && c->orphan)) {
		cand_free(c);
	} else if (copy.dmaster == db->e->config.own_pnn) {
		cand_move(c, CAND_READY);
	} else {
		c->call = record_call_new(db, cand_key(c), UINT64_MAX, false, NULL, now);
		if (c->call == NULL) {
			cand_free(c);
			return;
		}
		c->call->vacuum = c;
		cand_move(c, CAND_PULL);
	}
}

uint32_t fetch_slice(struct vacuum *v, uint32_t budget, struct mono now)
{
	while (budget > 0 && fetch_possible(v)) {
		fetch_one(dlist_entry(dlist_first(&v->fetch), struct cand, link), now);
		budget--;
	}
	return budget;
}

void vacuum_pulled(struct cand *c, int status, const struct record_copy *copy)
{
	c->call = NULL;
	if (status == 0 && copy->len == 0) {
		c->v->stats.pulled++;
		cand_move(c, CAND_READY);
	} else {
		cand_free(c);
	}
}

/* ---- what has come ---- */

void vacuum_on_keys(struct record_db *db, uint32_t from, const struct lane_vacuum *m)
{
	struct vacuum *v = db->vacuum;
	struct ctdb_blob buf = {0};
	struct vinbound *in;

	if (v == NULL || !db->open || m->generation != db->generation || m->keys.n > VACUUM_BATCH_KEYS ||
	    v->n_inbound >= INBOUND_PER_MEMBER * LANE_NODES) {
		return;
	}
	in = talloc_zero(v, struct vinbound);
	if (in == NULL || lane_vacuum_encode(in, m, &buf) != 0 ||
	    lane_vacuum_decode(in, buf.data, buf.len, &in->m) != 0) {
		talloc_free(in);
		return;
	}
	in->from = from;
	dlist_add_tail(&v->inbound, &in->link);
	v->n_inbound++;
}

static void inbound_answer(struct vacuum *v, struct vinbound *in)
{
	struct lane_vacuum_answer a = {.generation = v->db->generation, .id = in->m.id};

	a.ok = (struct ctdb_blob){in->m.keys.n, in->ok};
	vacuum_engine_of(v)->ops.send_answer(v->db->priv, in->from, &a);
	dlist_remove(&in->link);
	v->n_inbound--;
	talloc_free(in);
}

uint32_t inbound_slice(struct vacuum *v, uint32_t budget)
{
	while (budget > 0 && !dlist_empty(&v->inbound)) {
		struct vinbound *in = dlist_entry(dlist_first(&v->inbound), struct vinbound, link);

		if (in->at < in->m.keys.n) {
			const struct lane_vacuum_key *k = &in->m.keys.v[in->at];
			struct record_key key = {k->key.data, k->key.len};
			bool ok =
				in->m.step == VACUUM_FETCH ? fetch_add(v, key, k->rsn == 0) : obey(v, in, key, k->rsn);

			v->stats.refused += !ok;
			in->ok[in->at++] = ok;
			budget--;
		}
		if (in->at == in->m.keys.n) {
			inbound_answer(v, in);
		}
	}
	return budget;
}

void inbound_close(struct vacuum *v)
{
	while (!dlist_empty(&v->inbound)) {
		struct vinbound *in = dlist_entry(dlist_first(&v->inbound), struct vinbound, link);

		dlist_remove(&in->link);
		talloc_free(in);
	}
	v->n_inbound = 0;
	while (!dlist_empty(&v->fetch)) {
		cand_free(dlist_entry(dlist_first(&v->fetch), struct cand, link));
	}
	dlist_for_each_safe(l, &v->later)
	{
		if (dlist_entry(l, struct cand, link)->busy) {
			cand_free(dlist_entry(l, struct cand, link));
		}
	}
	while (!dlist_empty(&v->pulls)) {
		struct cand *c = dlist_entry(dlist_first(&v->pulls), struct cand, link);

		record_call_cancel(c->call);
		cand_free(c);
	}
}
