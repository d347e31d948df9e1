/* The record engine: read-only copies of records (delegations). See D1 to D7 in record.h. */
#include "core/record_private.h"

#include <errno.h>
#include <string.h>

#include "base/hash.h"

#define RSN_LENT    3U /* added when a record is lent that was not */
#define RSN_COPY    2U /* by how much copies are below */
#define RSN_REVOKED 1U
/* Records that are looked at in one go. */
#define STEPS 256

/* ---- what the file may say (D6) ---- */

static void role_on(struct rec *r, bool copy)
{
	ro_role_off(r);
	r->is_copy = copy;
	r->is_lender = !copy;
	dlist_add_tail(copy ? &r->db->copies : &r->db->lenders, &r->ro_link);
	r->db->n_readonly++;
}

void ro_role_off(struct rec *r)
{
	if (r->is_copy || r->is_lender) {
		r->is_copy = r->is_lender = false;
		r->db->n_readonly--;
		dlist_remove(&r->ro_link);
	}
	TALLOC_FREE(r->lent);
}

static bool is_full(const struct record_db *db)
{
	return db->n_readonly >= db->e->config.max_readonly;
}

static bool is_lent(const struct rec *r)
{
	return r->lent != NULL && r->lent->n > 0;
}

void ro_suspect(struct rec *r, const struct run *run)
{
	if ((run->flags_before & RECORD_FLAGS_READONLY) != 0 && !r->is_copy && !r->is_lender) {
		role_on(r, (run->flags_before & RECORD_FLAG_HAVE_READONLY) != 0);
	}
}

static void requests_free(struct dlist *list)
{
	while (!dlist_empty(list)) {
		struct node_request *n = dlist_entry(dlist_first(list), struct node_request, link);

		dlist_remove(&n->link);
		talloc_free(n);
	}
}

void ro_reset(struct rec *r)
{
	requests_free(&r->inbox);
	requests_free(&r->readers);
	rec_not_due(r);
	TALLOC_FREE(r->grant_buf);
	TALLOC_FREE(r->ro_buf);
	TALLOC_FREE(r->lent);
	r->forwarded = r->next = r->tail = RECORD_NODE_NONE;
	r->asked = r->have_grant = r->holding = r->next_told = r->stays = r->refused = false;
	r->ro_asked = r->as_writer = r->have_copy = r->revoke = r->recall = false;
	r->pinned = false;
	r->retry_us = 0;
	count_lock_over(r);
}

/* ---- recovery (D5) ---- */

int record_db_found(struct record_db *db, struct record_key key, uint32_t flags)
{
	struct rec *r = (flags & RECORD_FLAGS_READONLY) != 0 && !db->open ? rec_get(db, key) : NULL;

	if (r == NULL) {
		return (flags & RECORD_FLAGS_READONLY) != 0 && !db->open ? ENOMEM : 0;
	}
	if (!r->is_copy && !r->is_lender) {
		role_on(r, (flags & RECORD_FLAG_HAVE_READONLY) != 0);
	}
	return 0;
}

uint32_t record_db_readonly(const struct record_db *db)
{
	return db->n_readonly;
}

/* Under the chain lock. */
static int strip_locked(struct record_db *db, struct rec *r)
{
	struct record_copy copy;
	int ret = db->e->ops.read(db->priv, rec_key(r), &copy);

	if (ret != 0 || !copy.exists || (copy.flags & RECORD_FLAGS_READONLY) == 0) {
		return ret;
	}
	if (copy.dmaster == db->e->config.own_pnn) {
		role_on(r, false); /* ours: when all are prepared */
		return 0;
	}
	copy.flags &= ~RECORD_FLAGS_READONLY;
	return db->e->ops.write(db->priv, rec_key(r), &copy);
}

static int strip(struct record_db *db, struct rec *r)
{
	int ret = db->e->ops.trylock(db->priv, rec_key(r));

	if (ret != 0) {
		return ret;
	}
	ret = strip_locked(db, r);
	db->e->ops.unlock(db->priv, rec_key(r));
	if (ret != 0 || r->is_lender) {
		return ret;
	}
	ro_role_off(r);
	if (rec_idle(r)) {
		rec_free(r);
	}
	return 0;
}

int record_db_strip(struct record_db *db)
{
	bool progress = false;

	for (unsigned steps = 0; steps < STEPS && !dlist_empty(&db->copies); steps++) {
		struct rec *r = dlist_entry(dlist_first(&db->copies), struct rec, ro_link);
		int ret = strip(db, r);

		if (ret == EAGAIN) {
			dlist_remove(&r->ro_link);
			dlist_add_tail(&db->copies, &r->ro_link);
		} else if (ret != 0) {
			return ret;
		} else {
			progress = true;
		}
	}
	if (dlist_empty(&db->copies)) {
		return 0;
	}
	return progress ? EINPROGRESS : EAGAIN;
}

/* After COMMIT: what was lent before is nobody's any more. New ones are behind in the list. */
struct mono ro_release(struct record_db *db, struct mono now)
{
	for (unsigned steps = 0; steps < STEPS && db->release > 0; steps++) {
		struct rec *r =
			dlist_empty(&db->lenders) ? NULL : dlist_entry(dlist_first(&db->lenders), struct rec, ro_link);

		if (r == NULL) {
			db->release = 0;
			break;
		}
		db->release--;
		dlist_remove(&r->ro_link);
		dlist_add_tail(&db->lenders, &r->ro_link);
		rec_run(r, now);
	}
	return db->release > 0 ? now : MONO_NEVER;
}

/* ---- packets ---- */

static bool is_among(const struct dlist *list, uint32_t node)
{
	dlist_for_each(e, list)
	{
		if (dlist_entry(e, struct node_request, link)->node == node) {
			return true;
		}
	}
	return false;
}

static void on_forward(struct record_db *db, struct record_key key, uint32_t requester, struct mono now)
{
	struct rec *r = rec_get(db, key);
	struct node_request *n;

	if (requester == db->e->config.own_pnn || requester >= LENT_NODES ||
	    (r != NULL && is_among(&r->readers, requester))) {
		rec_inconsistent(db, key, "FORWARD (read-only) of a node that cannot have asked");
		rec_drop(r);
		return;
	}
	n = r != NULL ? talloc(r, struct node_request) : NULL;
	if (n == NULL) {
		rec_inconsistent(db, key, "out of memory");
		rec_drop(r);
		return;
	}
	*n = (struct node_request){.node = requester, .read_only = true};
	count_hops(db, requester != rec_lmaster_of(db, r->hash));
	dlist_add_tail(&r->readers, &n->link);
	rec_run(r, now);
}

static void on_copy(struct rec *r, uint32_t from, const struct record_copy *copy, struct mono now)
{
	r->ro_buf = talloc_size(r, copy->len > 0 ? copy->len : 1);
	if (r->ro_buf == NULL) {
		rec_inconsistent(r->db, rec_key(r), "out of memory");
		return;
	}
	if (copy->len > 0) {
		memcpy(r->ro_buf, copy->data, copy->len);
	}
	r->ro_copy = *copy;
	r->ro_copy.data = r->ro_buf;
	r->ro_from = from;
	r->have_copy = true;
	rec_run(r, now);
}

static void on_revoke(struct record_db *db, struct record_key key, uint32_t from, uint64_t rsn, struct mono now)
{
	struct rec *r = rec_get(db, key);

	if (r == NULL || r->revoke) {
		rec_inconsistent(db, key, "second REVOKE of one copy");
		return;
	}
	r->revoke = true;
	r->revoke_rsn = rsn;
	r->revoke_from = from;
	rec_run(r, now);
}

static void on_revoked(struct rec *r, uint32_t from, struct mono now)
{
	struct lent *l = r->lent;
	uint8_t bit = (uint8_t)(1U << (from % 8));

	if (l == NULL || !l->revoking || from >= LENT_NODES || (l->nodes[from / 8] & bit) == 0) {
		rec_inconsistent(r->db, rec_key(r), "REVOKED by a node that was not asked to");
		return;
	}
	l->nodes[from / 8] &= (uint8_t)~bit;
	if (--l->n == 0) {
		TALLOC_FREE(r->lent);
		rec_run(r, now);
	}
}

/* Answers to what this node asked. */
static void on_answer(struct record_db *db, uint32_t from, enum record_ro what, struct record_key key,
		      const struct record_copy *copy, struct mono now)
{
	struct rec *r = rec_find(db, key, hash_lookup3(key.p, key.len));

	if (r != NULL && what == RECORD_RO_REVOKED) {
		on_revoked(r, from, now);
	} else if (r == NULL || !r->ro_asked || r->have_copy) {
		rec_inconsistent(db, key, "answer about a read-only copy that was not asked for");
	} else if (what == RECORD_RO_COPY) {
		on_copy(r, from, copy, now);
	} else {
		r->ro_asked = false;
		r->as_writer = true;
		rec_run(r, now);
	}
}

void record_on_readonly(struct record_db *db, uint32_t from, uint32_t generation, enum record_ro what,
			uint32_t requester, struct record_key key, const struct record_copy *copy, struct mono now)
{
	if (!rec_generation_fits(db, generation)) {
		return;
	}
	switch (what) {
	case RECORD_RO_CALL:
		rec_call_in(db, from, key, true, now);
		break;
	case RECORD_RO_FORWARD:
		if (rec_lmaster_of(db, hash_lookup3(key.p, key.len)) != from) {
			rec_inconsistent(db, key, "FORWARD (read-only) from a node that is not the location master");
			break;
		}
		on_forward(db, key, requester, now);
		break;
	case RECORD_RO_REVOKE:
		on_revoke(db, key, from, copy->rsn, now);
		break;
	case RECORD_TOO_LARGE:
		large_in(db, key, hash_lookup3(key.p, key.len), now);
		break;
	case RECORD_RO_COPY:
	case RECORD_RO_REVOKED:
	case RECORD_RO_RETRY:
		on_answer(db, from, what, key, copy, now);
		break;
	}
}

/* ---- requester and holder: steps of a run ---- */

bool ro_is_usable(const struct rec *r, const struct run *run)
{
	return r->is_copy && !r->revoke && !run->owned && run->copy.exists &&
	       (run->copy.flags & RECORD_FLAG_HAVE_READONLY) != 0;
}

bool ro_writer_waits(const struct rec *r)
{
	dlist_for_each(e, &r->waiters)
	{
		if (!dlist_entry(e, struct record_call, link)->read_only) {
			return true;
		}
	}
	return r->as_writer && !dlist_empty(&r->waiters);
}

/* A COPY that came becomes the local one. */
void ro_take_copy(struct rec *r, struct run *run)
{
	uint32_t dmaster = r->ro_from;

	if (!r->have_copy) {
		return;
	}
	r->have_copy = r->ro_asked = false;
	if (run->owned) {
		rec_inconsistent(r->db, rec_key(r), "read-only copy of a record that is owned here");
		return;
	}
	if ((run->copy.exists && run->copy.rsn >= r->ro_copy.rsn) || (is_full(r->db) && !r->is_copy)) {
		/* A header of the key's earlier life may outrank it: it could not be below its data master (B1). */
		r->as_writer = true;
		return;
	}
	if (run->copy.exists && rec_is_lmaster(r->db, r->hash)) {
		dmaster = run->copy.dmaster;
	}
	run->copy = r->ro_copy;
	run->copy.exists = true;
	run->copy.dmaster = dmaster;
	run->copy.flags = (run->copy.flags & ~RECORD_FLAGS_READONLY) | RECORD_FLAG_HAVE_READONLY;
	run->dirty = true;
	role_on(r, true);
	r->db->e->stats.ro_copies++;
}

/* REVOKE, when the client that was told of the copy had its turn (D4). */
void ro_give_up(struct rec *r, struct run *run, struct mono now)
{
	if (!r->revoke || (r->is_copy && !hold_over(r, &run->copy, now))) {
		return;
	}
	r->revoke = false;
	if (run->owned) {
		rec_inconsistent(r->db, rec_key(r), "REVOKE of a record that is owned here");
		return;
	}
	hold_end(r, true, now);
	ro_role_off(r);
	if (run->copy.exists && (run->copy.flags & RECORD_FLAGS_READONLY) != 0) {
		run->copy.flags &= ~RECORD_FLAGS_READONLY;
		run->copy.flags |= run->copy.len > 0 ? RECORD_FLAG_MIGRATED_WITH_DATA : 0;
		run->copy.rsn = run->copy.rsn < r->revoke_rsn ? r->revoke_rsn : run->copy.rsn;
		run->dirty = true;
	}
	run_readonly(r, run, RECORD_RO_REVOKED, r->revoke_from, RECORD_NODE_NONE);
}

bool ro_ask(struct rec *r, struct run *run)
{
	if (ro_writer_waits(r)) {
		return false;
	}
	if (run->owned || r->asked || r->ro_asked || r->revoke || dlist_empty(&r->waiters) || ro_is_usable(r, run)) {
		return true;
	}
	if (is_full(r->db)) {
		r->as_writer = true;
		return false;
	}
	r->ro_asked = true;
	if (rec_is_lmaster(r->db, r->hash)) {
		run_readonly(r, run, RECORD_RO_FORWARD, run->copy.dmaster, r->db->e->config.own_pnn);
	} else {
		run_readonly(r, run, RECORD_RO_CALL, rec_lmaster_of(r->db, r->hash), RECORD_NODE_NONE);
	}
	return true;
}

/* ---- data master: steps of a run ---- */

/* Nobody has a copy: then the file does not say so (D3, D6). */
void ro_clean(struct rec *r, struct run *run)
{
	if (run->owned ? is_lent(r) : r->is_copy) {
		return;
	}
	if (run->copy.exists && (run->copy.flags & RECORD_FLAGS_READONLY) != 0) {
		run->copy.flags &= ~RECORD_FLAGS_READONLY;
		run->dirty = true;
	}
	ro_role_off(r);
}

void ro_recall(struct rec *r)
{
	if (is_lent(r) && !r->lent->revoking) {
		r->recall = true;
		rec_due(r, (struct mono){1}); /* at once */
	}
}

static bool lend(struct rec *r, struct run *run, uint32_t node)
{
	uint8_t bit = (uint8_t)(1U << (node % 8));

	if (node >= LENT_NODES || !r->db->readonly || (!r->is_lender && is_full(r->db))) {
		return false;
	}
	if (r->lent == NULL) {
		r->lent = talloc_zero(r, struct lent);
		if (r->lent == NULL) {
			return false;
		}
	}
	if (!r->is_lender) {
		struct lent *l = r->lent;

		r->lent = NULL;
		role_on(r, false);
		r->lent = l;
	}
	r->lent->n += (r->lent->nodes[node / 8] & bit) == 0;
	r->lent->nodes[node / 8] |= bit;
	if ((run->copy.flags & RECORD_FLAG_HAVE_DELEGATIONS) == 0) {
		run->copy.rsn += RSN_LENT;
		run->copy.flags |= RECORD_FLAG_HAVE_DELEGATIONS;
		run->copy.flags |= run->copy.len > 0 ? RECORD_FLAG_MIGRATED_WITH_DATA : 0;
		run->dirty = true;
	}
	r->db->e->stats.ro_lent++;
	r->db->stats.ro_lent++;
	return true;
}

/* Readers elsewhere, after the clients here (D2). */
void ro_lend(struct rec *r, struct run *run, struct mono now)
{
	bool lost = !run->owned && !r->asked, large = large_reader(r, run);

	if (dlist_empty(&r->readers)) {
		return;
	}
	if (lost) {
		rec_inconsistent(r->db, rec_key(r), "reader of a record that is neither here nor on its way");
	} else if (!large && (!run->owned || (r->lent != NULL && r->lent->revoking) || ro_writer_waits(r) ||
			      !sticky_over(r, &run->copy, now) || !hold_over(r, &run->copy, now))) {
		return;
	}
	if (!large) {
		hold_end(r, true, now);
	}
	while (!dlist_empty(&r->readers)) {
		struct node_request *n = dlist_entry(dlist_first(&r->readers), struct node_request, link);
		bool lent = !lost && !large && lend(r, run, n->node);

		dlist_remove(&n->link);
		r->db->e->stats.ro_retries += !lent;
		run_readonly(r, run, lent ? RECORD_RO_COPY : RECORD_RO_RETRY, n->node, RECORD_NODE_NONE);
		talloc_free(n);
	}
}

/* Somebody is to write: the copies go first (D3). */
void ro_revoke(struct rec *r, struct run *run)
{
	bool recall = r->recall && run->copy.len == 0;

	r->recall = false;
	if (!run->owned || !is_lent(r) || r->lent->revoking ||
	    (!ro_writer_waits(r) && r->next == RECORD_NODE_NONE && !recall)) {
		return;
	}
	r->lent->revoking = true;
	r->db->e->stats.ro_revokes++;
	r->db->stats.ro_revokes++;
	for (uint32_t node = 0; node < LENT_NODES; node++) {
		if ((r->lent->nodes[node / 8] & (1U << (node % 8))) != 0) {
			run_readonly(r, run, RECORD_RO_REVOKE, node, RECORD_NODE_NONE);
		}
	}
}

void run_readonly(struct rec *r, struct run *run, enum record_ro what, uint32_t to, uint32_t requester)
{
	struct message m = {.kind = MESSAGE_RO, .what = what, .to = to, .requester = requester};

	if (what == RECORD_RO_COPY) {
		m.copy = (struct record_copy){.exists = true, .rsn = run->copy.rsn - RSN_COPY};
		m.copy.flags = (run->copy.flags & ~RECORD_FLAGS_READONLY) | RECORD_FLAG_HAVE_READONLY;
	} else if (what == RECORD_RO_REVOKE) {
		m.copy = (struct record_copy){.exists = true, .rsn = run->copy.rsn - RSN_REVOKED};
	}
	run_message(r, run, &m);
}
