/* The record engine: records that clients deleted and that may go from the file. */
#include "core/vacuum.h"
#include "core/record_private.h"

#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "base/hash.h"

#define HINT_DELAY_MS 100
/* Hints come due together: a timer for each would cost more than what it is for. */
#define HINT_GRID_NS  (8 * MONO_NS_PER_MS)
#define HINT_TRIES    5
#define HINT_SLICE    16U
#define HINT_PAUSE_US 1000

/* Used and emptied again the record may look as it did when it came: the hint is what tells (R6). */
static bool hint_tells_use(struct record_db *db, struct record_key key, struct mono now)
{
	struct rec *r = db->open ? rec_find(db, key, hash_lookup3(key.p, key.len)) : NULL;

	if (r == NULL || !r->holding) {
		return false;
	}
	r->seen_used = true;
	if (r->next != RECORD_NODE_NONE) {
		rec_due(r, now);
	}
	return r->next != RECORD_NODE_NONE;
}

static struct mono hint_due(struct mono now)
{
	return mono_grid(mono_add_ms(now, HINT_DELAY_MS), HINT_GRID_NS);
}

/* A lock that many take and give back is deleted again and again: of keys with the same place the newest hint is known.
 */
static bool hint_known(struct record_db *db, struct record_key key, uint32_t hash, uint64_t rsn)
{
	struct hint *h = db->hint_slots[hash % HINT_SLOTS];

	if (h == NULL || h->hash != hash || h->keylen != key.len || !bytes_same(h->key, key.p, key.len)) {
		return false;
	}
	h->rsn = rsn;
	return true;
}

bool hint_add(struct record_db *db, struct record_key key, uint64_t rsn, struct mono now)
{
	uint32_t hash = hash_lookup3(key.p, key.len);
	struct hint *h;

	if (!db->open || (db->vacuum == NULL && !rec_is_lmaster(db, hash)) || hint_known(db, key, hash, rsn)) {
		return false;
	}
	if (db->n_hints >= db->e->config.max_hints) {
		return vacuum_full_due(db);
	}
	h = talloc_size(db, sizeof(*h) + key.len);
	if (h == NULL) {
		return false;
	}
	*h = (struct hint){.rsn = rsn, .due = hint_due(now), .hash = hash, .keylen = key.len};
	bytes_copy(h->key, key.p, key.len);
	db->hint_slots[hash % HINT_SLOTS] = h;
	dlist_add_tail(&db->hints, &h->link);
	db->n_hints++;
	db->e->stats.hints++;
	return db->n_hints == 1;
}

bool record_deletion_hint(struct record_db *db, struct record_key key, uint64_t rsn, struct mono now)
{
	bool used = hint_tells_use(db, key, now), earlier = hint_add(db, key, rsn, now);

	return used || earlier;
}

void hint_free(struct record_db *db, struct hint *h)
{
	if (db->hint_slots[h->hash % HINT_SLOTS] == h) {
		db->hint_slots[h->hash % HINT_SLOTS] = NULL;
	}
	dlist_remove(&h->link);
	db->n_hints--;
	talloc_free(h);
}

/*
 * Empty and ours; untouched, and it never left this node: then its absence says the same (lesson H-026). Not even
 * empty: the header that another node kept would outrank the copies of the key's next life, which begins at rsn 1
 * again, and a recovery after the death of their owner would choose it.
 */
static bool hint_deletable(const struct record_db *db, const struct hint *h, const struct record_copy *c)
{
	return c->rsn == h->rsn && c->rsn == RSN_CREATED && rec_is_lmaster(db, h->hash) &&
	       (c->flags & (RECORD_FLAG_MIGRATED_WITH_DATA | RECORD_FLAGS_READONLY)) == 0;
}

/* Others may have copies: that takes a vacuum run. */
static void hint_look(struct record_db *db, struct hint *h)
{
	struct record_key key = {h->key, h->keylen};
	struct record_copy copy;

	if (db->e->ops.read(db->priv, key, &copy) != 0 || !copy.exists || copy.len > 0 ||
	    copy.dmaster != db->e->config.own_pnn) {
		return;
	}
	if (!hint_deletable(db, h, &copy)) {
		vacuum_candidate(db, key);
	} else if (db->e->ops.remove(db->priv, key) == 0) {
		db->e->stats.hints_deleted++;
	}
}

/* It does not become free. */
static bool hint_busy(struct record_db *db, struct hint *h)
{
	if (++h->tries < HINT_TRIES) {
		return false;
	}
	vacuum_candidate(db, (struct record_key){h->key, h->keylen});
	return true;
}

/* false: locked, try again later */
static bool hint_run(struct record_db *db, struct hint *h)
{
	struct record_key key = {h->key, h->keylen};
	int ret;

	if (rec_find(db, key, h->hash) != NULL) {
		return hint_busy(db, h);
	}
	ret = db->e->ops.trylock(db->priv, key);
	if (ret != 0) {
		return ret != EAGAIN || hint_busy(db, h);
	}
	hint_look(db, h);
	db->e->ops.unlock(db->priv, key);
	return true;
}

struct mono hints_next(const struct record_db *db)
{
	struct mono due;

	if (!db->serving || dlist_empty(&db->hints)) {
		return MONO_NEVER;
	}
	due = dlist_entry(dlist_first(&db->hints), struct hint, link)->due;
	return mono_before(due, db->hints_not_before) ? db->hints_not_before : due;
}

/* A bounded number in one go, then others' requests come first for a moment: many records may be deleted at once. */
void hints_run(struct record_db *db, struct mono now)
{
	unsigned budget = HINT_SLICE;

	while (!dlist_empty(&db->hints) && !mono_before(now, hints_next(db))) {
		struct hint *h = dlist_entry(dlist_first(&db->hints), struct hint, link);

		if (budget-- == 0) {
			db->hints_not_before = mono_add_us(now, HINT_PAUSE_US);
			return;
		}
		if (hint_run(db, h)) {
			hint_free(db, h);
			continue;
		}
		dlist_remove(&h->link);
		h->due = hint_due(now);
		dlist_add_tail(&db->hints, &h->link);
	}
}
