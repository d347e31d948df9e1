/* The record engine: one run over a key, under its chain lock: what comes in goes out, what the file says comes first.
 * See record.h. */
#include "core/record_private.h"

#include <errno.h>

/* How often is looked whether a client has used what others wait for. */
#define HOLD_POLL_US 200

void run_message(struct rec *r, struct run *run, const struct message *m)
{
	struct message *copy = talloc_memdup(r, m, sizeof(*m));

	if (copy == NULL) {
		rec_inconsistent(r->db, rec_key(r), "out of memory");
		return;
	}
	dlist_add_tail(&run->messages, &copy->link);
}

void run_forward(struct rec *r, struct run *run, uint32_t to, uint32_t requester)
{
	run_message(r, run, &(struct message){.kind = MESSAGE_FORWARD, .to = to, .requester = requester});
}

/* The lock is held: a GRANT that came becomes the local copy (R3). */
static void run_take_grant(struct rec *r, struct run *run, struct mono now)
{
	uint64_t rsn;

	if (!r->have_grant) {
		return;
	}
	r->have_grant = false;
	r->asked = r->refused = false;
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
	run->copy.flags &= ~RECORD_FLAGS_READONLY;
	r->as_writer = false;
	run->owned = run->dirty = run->arrived = true;
	count_arrival(r, now);
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
		count_hops(r->db, r->forwarded != rec_lmaster_of(r->db, r->hash));
		r->next = r->forwarded;
	} else {
		rec_inconsistent(r->db, rec_key(r), "FORWARD of a record that is neither here nor on its way");
	}
	r->forwarded = RECORD_NODE_NONE;
}

/* Location master: a reader is sent to the tail, which it stays (D1). */
static void run_append_reader(struct rec *r, struct run *run, struct node_request *n)
{
	bool here = r->tail == RECORD_NODE_NONE && (run->owned || r->asked);
	uint32_t tail = r->tail != RECORD_NODE_NONE ? r->tail : run->copy.dmaster;

	if (here) {
		count_hops(r->db, 0);
		dlist_add_tail(&r->readers, &n->link);
		return;
	}
	if (tail == n->node) {
		rec_inconsistent(r->db, rec_key(r), "CALL (read-only) from the node that has the record");
	} else {
		run_readonly(r, run, RECORD_RO_FORWARD, tail, n->node);
	}
	talloc_free(n);
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
		count_hops(r->db, 0);
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
		if (n->read_only) {
			run_append_reader(r, run, n);
			continue;
		}
		run_append(r, run, n->node);
		talloc_free(n);
	}
}

/* Local callers wait and the record is elsewhere: ask for it, once (I4, at most one request per key and node). */
static bool run_ask(struct rec *r, struct run *run)
{
	if (dlist_empty(&r->waiters) || run->owned || r->asked || ro_ask(r, run)) {
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
	if (!run->owned || r->next == RECORD_NODE_NONE || large_stays(r, run) || !dlist_empty(&r->readers) ||
	    (run->copy.flags & RECORD_FLAGS_READONLY) != 0 || !sticky_over(r, &run->copy, now) ||
	    !hold_over(r, &run->copy, now)) {
		return;
	}
	hold_end(r, true, now);
	sticky_given(r, now);
	run->grant_to = r->next;
	run->copy.dmaster = r->tail != RECORD_NODE_NONE ? r->tail : r->next; /* R4 */
	if (run->copy.len > 0) {
		run->copy.flags |= RECORD_FLAG_MIGRATED_WITH_DATA;
	}
	run->owned = false;
	run->dirty = true;
	r->next = r->tail = RECORD_NODE_NONE;
	r->next_told = false;
}

static void message_send(struct rec *r, const struct run *run, struct message *m)
{
	struct record_db *db = r->db;
	const struct record_ops *ops = &db->e->ops;

	if (m->kind == MESSAGE_FORWARD) {
		db->e->stats.forwards++;
		ops->send_forward(db->priv, m->to, db->generation, m->requester, rec_key(r));
		return;
	}
	if (m->what == RECORD_RO_COPY) {
		m->copy.data = run->copy.data;
		m->copy.len = run->copy.len;
	}
	ops->send_readonly(db->priv, m->to, db->generation, m->what, m->requester, rec_key(r),
			   m->copy.exists ? &m->copy : NULL);
}

static struct message *run_next_message(struct run *run)
{
	struct message *m;

	if (dlist_empty(&run->messages)) {
		return NULL;
	}
	m = dlist_entry(dlist_first(&run->messages), struct message, link);
	dlist_remove(&m->link);
	return m;
}

/* The file is written: tell the others. A node that is refused a copy (RETRY) hears that before it gets the record. */
static void run_send(struct rec *r, struct run *run, bool call)
{
	struct record_db *db = r->db;
	struct message *m;

	while ((m = run_next_message(run)) != NULL) {
		message_send(r, run, m);
		talloc_free(m);
	}
	if (run->grant_to != RECORD_NODE_NONE) {
		db->e->stats.grants_out++;
		db->e->ops.send_grant(db->priv, run->grant_to, db->generation, rec_key(r), &run->copy);
	}
	if (call) {
		db->e->ops.send_call(db->priv, rec_lmaster_of(db, r->hash), db->generation, rec_key(r));
	}
}

/* Looked for from the front each time: who is answered may take others back. */
static struct record_call *first_waiter(const struct rec *r, bool readers_only)
{
	dlist_for_each(e, &r->waiters)
	{
		struct record_call *call = dlist_entry(e, struct record_call, link);

		if (!readers_only || call->read_only) {
			return call;
		}
	}
	return NULL;
}

static void run_answer(struct rec *r, struct run *run, bool readers_only, struct mono now)
{
	struct record_call *call;
	bool use = false, many = false;
	uint64_t who = 0;

	while ((call = first_waiter(r, readers_only)) != NULL) {
		many = many || (use && call->use);
		use = use || call->use;
		who = call->who;
		rec_answer(call, 0, &run->copy);
	}
	if (use) {
		hold_begin(r, &run->copy, who, many, now);
		sticky_seen_used(r, now);
	}
	if (use && run->arrived) {
		sticky_arrived(r, &run->copy, now);
	}
	if (use && run->copy.len == 0 && r->db->vacuum != NULL) { /* nothing may come of it */
		hint_add(r->db, rec_key(r), run->copy.rsn, now);
	}
}

/* What the engine can't write it can't promise: callers get the error, the generation ends. */
static void run_failed(struct rec *r, struct run *run, int err)
{
	struct message *m;

	while ((m = run_next_message(run)) != NULL) {
		talloc_free(m);
	}
	ro_suspect(r, run);
	while (!dlist_empty(&r->waiters)) {
		rec_answer(dlist_entry(dlist_first(&r->waiters), struct record_call, link), err, NULL);
	}
	rec_inconsistent(r->db, rec_key(r), "cannot read or write the local copy");
}

/* Local callers that can be served now. What they look for must be in the file before. */
static int run_serve(struct rec *r, struct run *run, struct mono now)
{
	const struct record_ops *ops = &r->db->e->ops;
	bool lent = (run->copy.flags & RECORD_FLAG_HAVE_DELEGATIONS) != 0;
	int ret = 0;

	if (dlist_empty(&r->waiters) || !r->db->serving || !(run->owned || ro_is_usable(r, run))) {
		return 0;
	}
	if (run->dirty) {
		ret = ops->write(r->db->priv, rec_key(r), &run->copy);
		run->dirty = false;
	}
	if (ret == 0) {
		run_answer(r, run, !run->owned || lent, now);
	}
	return ret;
}

static int run_decide(struct rec *r, struct run *run, bool *call, struct mono now)
{
	const struct record_ops *ops = &r->db->e->ops;
	int ret = ops->read(r->db->priv, rec_key(r), &run->copy);

	if (ret != 0) {
		return ret;
	}
	run->owned = run->copy.exists && run->copy.dmaster == r->db->e->config.own_pnn;
	run->flags_before = run->copy.flags;
	run_take_grant(r, run, now);
	run_create(r, run);
	ro_take_copy(r, run);
	ro_clean(r, run);
	run_take_forward(r, run);
	ret = run_serve(r, run, now);
	if (ret != 0) {
		return ret;
	}
	run_inbox(r, run);
	large_refuse(r, run);
	ro_lend(r, run, now);
	ro_revoke(r, run);
	run_give(r, run, now);
	ro_give_up(r, run, now);
	*call = run_ask(r, run);
	return run->dirty ? ops->write(r->db->priv, rec_key(r), &run->copy) : 0;
}

/* Other nodes wait for the record, or for what the copy here stands for. */
bool rec_wanted(const struct rec *r)
{
	return r->next != RECORD_NODE_NONE || !dlist_empty(&r->readers) || r->revoke;
}

/* When to look again: hold over or client seen, 0 if there is nothing to wait for. */
static void rec_schedule(struct rec *r, struct mono now)
{
	if (r->stays) {
		rec_due(r, large_next(now));
	} else if (r->pinned) {
		struct mono next = sticky_next(r, rec_wanted(r), now);

		rec_due(r, r->holding ? mono_min(r->hold_until, next) : next);
	} else if (rec_wanted(r) && r->holding) {
		struct mono poll = mono_add_us(now, HOLD_POLL_US);

		rec_due(r, mono_min(r->hold_until, poll));
	} else if (r->holding) {
		rec_due_late(r, now);
	} else {
		rec_not_due(r);
	}
}

static void rec_busy(struct rec *r, struct mono now)
{
	const struct record_config *c = &r->db->e->config;

	r->db->e->stats.lock_busy++;
	count_lock_busy(r, now);
	sticky_seen_used(r, now);
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
	       !r->have_grant && !r->have_copy && !r->recall && !rec_wanted(r) && !(r->is_lender && r->lent == NULL);
}

void rec_run(struct rec *r, struct mono now)
{
	const struct record_ops *ops = &r->db->e->ops;
	struct run run = {.grant_to = RECORD_NODE_NONE};
	bool call = false;
	int ret;

	hold_expire(r, now);
	if (nothing_to_do(r)) {
		count_lock_over(r);
		goto done;
	}
	ret = ops->trylock(r->db->priv, rec_key(r));
	if (ret == EAGAIN) {
		rec_busy(r, now);
		return;
	}
	r->retry_us = 0;
	count_lock_got(r, ret != 0, now);
	dlist_init(&run.messages);
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
	if (!r->have_copy) {
		TALLOC_FREE(r->ro_buf);
	}
done:
	if (r->holding && !mono_before(now, r->hold_until)) { /* nobody could take it yet */
		hold_end(r, false, now);
	}
	sticky_expire(r, now);
	if (rec_idle(r)) {
		rec_free(r);
		return;
	}
	rec_schedule(r, now);
}
