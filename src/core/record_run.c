/* The record engine: one run over a key, under its chain lock: what comes in goes out, what the file says comes first.
 * See record.h. */
#include "core/record_private.h"

#include <errno.h>

/* What one run over a key decided; carried out after the file says the same (R1). */
struct run {
	struct record_copy copy;
	bool dirty;
	bool owned;
	uint32_t grant_to;
	struct dlist forwards; /* struct forward */
};

struct forward {
	struct dlist link;
	uint32_t to, requester;
};

static void run_forward(struct rec *r, struct run *run, uint32_t to, uint32_t requester)
{
	struct forward *f = talloc(r, struct forward);

	if (f == NULL) {
		rec_inconsistent(r->db, rec_key(r), "out of memory");
		return;
	}
	*f = (struct forward){.to = to, .requester = requester};
	dlist_add_tail(&run->forwards, &f->link);
}

/* The lock is held: a GRANT that came becomes the local copy (R3). */
static void run_take_grant(struct rec *r, struct run *run)
{
	uint64_t rsn;

	if (!r->have_grant) {
		return;
	}
	r->have_grant = false;
	r->asked = false;
	if (run->owned || (run->copy.exists && run->copy.len > 0 && run->copy.rsn > r->grant.rsn)) {
		rec_inconsistent(r->db, rec_key(r), "GRANT of an older copy than the local one");
		return;
	}
	/* An empty stub of the key's earlier life, removed at its location master, may have a higher rsn (I5). */
	rsn = run->copy.exists && run->copy.rsn > r->grant.rsn ? run->copy.rsn : r->grant.rsn;
	run->copy = r->grant;
	run->copy.exists = true;
	run->copy.rsn = rsn + 1;
	run->copy.dmaster = r->db->e->config.own_pnn;
	run->owned = run->dirty = true;
}

/* The location master makes a record that nobody has. */
static void run_create(struct rec *r, struct run *run)
{
	if (run->copy.exists || r->asked || !rec_is_lmaster(r->db, r->hash)) {
		return;
	}
	run->copy = (struct record_copy){.exists = true, .rsn = RSN_CREATED, .dmaster = r->db->e->config.own_pnn};
	run->owned = run->dirty = true;
}

/* FORWARD: whom this ownership goes to (I2). */
static void run_take_forward(struct rec *r, struct run *run)
{
	if (r->forwarded == RECORD_NODE_NONE) {
		return;
	}
	if (run->owned || r->asked) {
		r->next = r->forwarded;
	} else {
		rec_inconsistent(r->db, rec_key(r), "FORWARD of a record that is neither here nor on its way");
	}
	r->forwarded = RECORD_NODE_NONE;
}

/* Location master: appends node to the record's queue (I3). */
static void run_append(struct rec *r, struct run *run, uint32_t node)
{
	if (r->tail == node) {
		rec_inconsistent(r->db, rec_key(r), "CALL from the node that is last in the queue");
	} else if (r->tail != RECORD_NODE_NONE) {
		run_forward(r, run, r->tail, node);
		r->tail = node;
	} else if (run->owned || r->asked) {
		r->next = r->tail = node;
	} else if (run->copy.dmaster == node) {
		rec_inconsistent(r->db, rec_key(r), "CALL from the node that has the record");
	} else {
		run_forward(r, run, run->copy.dmaster, node);
		run->copy.dmaster = node;
		run->dirty = true;
	}
}

static void run_inbox(struct rec *r, struct run *run)
{
	while (!dlist_empty(&r->inbox)) {
		struct node_request *n = dlist_entry(dlist_first(&r->inbox), struct node_request, link);

		dlist_remove(&n->link);
		run_append(r, run, n->node);
		talloc_free(n);
	}
}

/* Local callers wait and the record is elsewhere: ask for it, once (I4, at most one request per key and node). */
static bool run_ask(struct rec *r, struct run *run)
{
	if (dlist_empty(&r->waiters) || run->owned || r->asked) {
		return false;
	}
	r->asked = true;
	if (rec_is_lmaster(r->db, r->hash)) {
		run_forward(r, run, run->copy.dmaster, r->db->e->config.own_pnn);
		return false;
	}
	return true;
}

static void run_give(struct rec *r, struct run *run, struct mono now)
{
	if (!run->owned || r->next == RECORD_NODE_NONE || !hold_over(r, &run->copy, now)) {
		return;
	}
	hold_end(r, true, now);
	run->grant_to = r->next;
	run->copy.dmaster = r->tail != RECORD_NODE_NONE ? r->tail : r->next; /* R4 */
	if (run->copy.len > 0) {
		run->copy.flags |= RECORD_FLAG_MIGRATED_WITH_DATA;
	}
	run->owned = false;
	run->dirty = true;
	r->next = r->tail = RECORD_NODE_NONE;
}

/* The file is written: tell the others. Returns with run's lists empty. */
static void run_send(struct rec *r, struct run *run, bool call)
{
	struct record_db *db = r->db;

	if (run->grant_to != RECORD_NODE_NONE) {
		db->e->stats.grants_out++;
		db->e->ops.send_grant(db->priv, run->grant_to, db->generation, rec_key(r), &run->copy);
	}
	while (!dlist_empty(&run->forwards)) {
		struct forward *f = dlist_entry(dlist_first(&run->forwards), struct forward, link);

		dlist_remove(&f->link);
		db->e->stats.forwards++;
		db->e->ops.send_forward(db->priv, f->to, db->generation, f->requester, rec_key(r));
		talloc_free(f);
	}
	if (call) {
		db->e->ops.send_call(db->priv, rec_lmaster_of(db, r->hash), db->generation, rec_key(r));
	}
}

static void run_answer(struct rec *r, struct run *run, struct mono now)
{
	bool use = false;
	uint64_t who = 0;

	while (!dlist_empty(&r->waiters)) {
		struct record_call *call = dlist_entry(dlist_first(&r->waiters), struct record_call, link);

		use = use || call->use;
		who = call->who;
		rec_answer(call, 0, &run->copy);
	}
	if (use) {
		hold_begin(r, &run->copy, who, now);
	}
	if (use && run->copy.len == 0 && r->db->vacuum != NULL) { /* nothing may come of it */
		hint_add(r->db, rec_key(r), run->copy.rsn, now);
	}
}

/* What the engine can't write it can't promise: callers get the error, the generation ends. */
static void run_failed(struct rec *r, struct run *run, int err)
{
	while (!dlist_empty(&run->forwards)) {
		struct forward *f = dlist_entry(dlist_first(&run->forwards), struct forward, link);

		dlist_remove(&f->link);
		talloc_free(f);
	}
	while (!dlist_empty(&r->waiters)) {
		rec_answer(dlist_entry(dlist_first(&r->waiters), struct record_call, link), err, NULL);
	}
	rec_inconsistent(r->db, rec_key(r), "cannot read or write the local copy");
}

static int run_decide(struct rec *r, struct run *run, bool *call, struct mono now)
{
	const struct record_ops *ops = &r->db->e->ops;
	int ret = ops->read(r->db->priv, rec_key(r), &run->copy);

	if (ret != 0) {
		return ret;
	}
	run->owned = run->copy.exists && run->copy.dmaster == r->db->e->config.own_pnn;
	run_take_grant(r, run);
	run_create(r, run);
	run_take_forward(r, run);
	if (run->owned && !dlist_empty(&r->waiters) && r->db->serving) {
		if (run->dirty) { /* the record must be in the file before clients look for it */
			ret = ops->write(r->db->priv, rec_key(r), &run->copy);
			run->dirty = false;
		}
		if (ret == 0) {
			run_answer(r, run, now);
		}
	}
	if (ret != 0) {
		return ret;
	}
	run_inbox(r, run);
	run_give(r, run, now);
	*call = run_ask(r, run);
	return run->dirty ? ops->write(r->db->priv, rec_key(r), &run->copy) : 0;
}

/* When to look again: hold over or client seen, 0 if there is nothing to wait for. */
static void rec_schedule(struct rec *r, struct mono now)
{
	if (r->next != RECORD_NODE_NONE && r->holding) {
		struct mono poll = mono_add_us(now, r->db->e->config.retry_min_us);

		rec_due(r, mono_min(r->hold_until, poll));
	} else if (r->holding) {
		rec_due(r, r->hold_until);
	} else {
		rec_not_due(r);
	}
}

static void rec_busy(struct rec *r, struct mono now)
{
	const struct record_config *c = &r->db->e->config;

	r->db->e->stats.lock_busy++;
	if (r->holding) {
		r->seen_used = true; /* somebody here has it */
	}
	r->retry_us = r->retry_us == 0 ? c->retry_min_us : r->retry_us * 2;
	if (r->retry_us > c->retry_max_us) {
		r->retry_us = c->retry_max_us;
	}
	rec_due(r, mono_add_us(now, r->retry_us));
}

static bool nothing_to_do(const struct rec *r)
{
	return dlist_empty(&r->waiters) && dlist_empty(&r->inbox) && r->forwarded == RECORD_NODE_NONE &&
	       !r->have_grant && r->next == RECORD_NODE_NONE;
}

void rec_run(struct rec *r, struct mono now)
{
	const struct record_ops *ops = &r->db->e->ops;
	struct run run = {.grant_to = RECORD_NODE_NONE};
	bool call = false;
	int ret;

	if (nothing_to_do(r)) {
		if (r->holding && !mono_before(now, r->hold_until)) {
			hold_end(r, false, now);
		}
		goto done;
	}
	ret = ops->trylock(r->db->priv, rec_key(r));
	if (ret == EAGAIN) {
		rec_busy(r, now);
		return;
	}
	r->retry_us = 0;
	dlist_init(&run.forwards);
	if (ret == 0) {
		ret = run_decide(r, &run, &call, now);
		if (ret == 0) {
			run_send(r, &run, call);
		}
		ops->unlock(r->db->priv, rec_key(r));
	}
	if (ret != 0) {
		run_failed(r, &run, ret);
	}
	if (!r->have_grant) {
		TALLOC_FREE(r->grant_buf);
	}
done:
	if (rec_idle(r)) {
		rec_free(r);
		return;
	}
	rec_schedule(r, now);
}
