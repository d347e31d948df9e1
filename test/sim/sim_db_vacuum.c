/* Simulation of record engine and recovery: vacuuming, and what must be true when records are removed. See sim_db.c. */
#include "sim_db.h"

/* ---- messages ---- */

static void v_send_keys(void *priv, uint32_t node, struct lane_vacuum *m)
{
	struct node *n = priv;

	if (node == n->pnn) {
		fail("node %u sends keys to itself", node);
	}
	if (m->step == VACUUM_DROP && n->vac_drop_id != m->id) {
		n->vac_drop_id = m->id;
		n->vac_drops = n->vac_drop_left = 0;
		for (uint32_t i = 0; i < m->keys.n; i++) {
			struct record_key key = {m->keys.v[i].key.data, m->keys.v[i].key.len};

			n->vac_drop[n->vac_drops++] = key_index(key);
		}
	}
	n->vac_drop_left += m->step == VACUUM_DROP;
	send_any(n, node, LANE_PROC_VACUUM, m);
}

void vacuum_on_reply(struct node *n, uint32_t from, const struct lane_vacuum_answer *m)
{
	if (bug == BUG_VAC_NO_RECHECK && m->id == n->vac_drop_id && --n->vac_drop_left == 0) {
		for (int i = 0; i < n->vac_drops; i++) {
			struct file_record *f = &n->file[n->vac_drop[i]];

			*f = f->locked_by < 0 ? (struct file_record){.locked_by = -1} : *f;
		}
	}
	vacuum_on_answer(n->db, from, m, mono());
}

static void v_send_answer(void *priv, uint32_t node, struct lane_vacuum_answer *m)
{
	if (bug == BUG_VAC_IGNORE_NO) {
		memset(m->ok.data, 1, m->ok.len);
	}
	send_any(priv, node, LANE_PROC_VACUUM_ANSWER, m);
}

static void check_dropped(const struct node *n, int key);

/* The protocol of old: one step, members remove any copy that is not theirs. */
static void one_step(struct node *n, uint32_t from, const struct lane_vacuum *m)
{
	uint8_t ok[VACUUM_BATCH_KEYS];
	struct lane_vacuum_answer a = {.generation = m->generation, .id = m->id, .ok = {m->keys.n, ok}};

	for (uint32_t i = 0; i < m->keys.n; i++) {
		struct file_record *f =
			&n->file[key_index((struct record_key){m->keys.v[i].key.data, m->keys.v[i].key.len})];

		ok[i] = 1;
		if (m->step == VACUUM_DROP && f->exists && f->locked_by < 0) {
			ok[i] = f->dmaster != n->pnn && f->rsn <= m->keys.v[i].rsn;
			if (ok[i]) {
				check_dropped(n, (int)(f - n->file));
				*f = (struct file_record){.locked_by = -1};
			}
		}
	}
	v_send_answer(n, from, &a);
}

void vacuum_on_message(struct node *n, uint32_t from, const struct lane_vacuum *m)
{
	if (bug == BUG_VAC_ONE_STEP && m->step != VACUUM_FETCH && m->generation == rec_member_generation(n->member)) {
		one_step(n, from, m);
	} else {
		vacuum_on_keys(n->db, from, m);
	}
}

/* ---- full scans ---- */

static void vac_scan_event(struct event *e)
{
	struct node *n = &nodes[e->node];
	struct file_record *f;
	bool more = true;

	if (!n->dbd || n->incarnation != e->incarnation || n->vac_epoch != e->epoch) {
		return;
	}
	if (n->vac_scan_at == n_keys) {
		vacuum_scan_done(n->db, 0);
		poll_node(n);
		return;
	}
	f = &n->file[n->vac_scan_at++];
	if (f->exists) {
		more = vacuum_scan_entry(n->db, key_of(n->vac_scan_at - 1), f->rsn, f->dmaster, f->value == 0);
	}
	if (more) {
		struct event *next = at(now_ns + rnd(100 * US), vac_scan_event, e->node, 0);

		next->incarnation = e->incarnation;
		next->epoch = e->epoch;
	}
	poll_node(n);
}

static void v_scan_continue(void *priv)
{
	struct node *n = priv;
	struct event *e = at(now_ns + rnd(100 * US), vac_scan_event, (int)n->pnn, 0);

	e->incarnation = n->incarnation;
	e->epoch = n->vac_epoch;
}

static int v_scan_start(void *priv)
{
	struct node *n = priv;

	n->vac_scan_at = 0;
	n->vac_epoch++;
	v_scan_continue(priv);
	return 0;
}

static void v_scan_stop(void *priv)
{
	((struct node *)priv)->vac_epoch++;
}

static void v_ended(void *priv, const struct vacuum_result *result)
{
	struct node *n = priv;

	n->vac_ended = n->vac_ended || result->ticket != 0;
	n->vac_result = *result;
	TRACE("node %u: vacuum run ends: status %d, %" PRIu64 " removed, %" PRIu64 " told, %" PRIu64 " kept", n->pnn,
	      result->status, result->removed, result->fetched, result->kept);
}

const struct vacuum_ops vacuum_ops = {.send_keys = v_send_keys,
				      .send_answer = v_send_answer,
				      .scan_start = v_scan_start,
				      .scan_continue = v_scan_continue,
				      .scan_stop = v_scan_stop,
				      .ended = v_ended};

/* ---- runs ---- */

void vacuum_event(struct event *e)
{
	struct node *n = &nodes[rnd((uint64_t)n_nodes)];
	uint64_t ticket;

	(void)e;
	if (quiet_phase) {
		return;
	}
	if (n->dbd) {
		(void)vacuum_db_run(n->db, rnd(2) == 0, &ticket);
		poll_node(n);
	}
	at(now_ns + rnd(5 * MS), vacuum_event, 0, 0);
}

void vacuum_all(void)
{
	uint64_t ticket;

	for (int i = 0; i < n_nodes; i++) {
		nodes[i].vac_ended = false;
		if (vacuum_db_run(nodes[i].db, true, &ticket) != 0) {
			fail("node %d does not vacuum", i);
		}
		poll_node(&nodes[i]);
	}
	run_until(now_ns + S);
	for (int i = 0; i < n_nodes; i++) {
		if (!nodes[i].vac_ended) {
			fail("vacuuming of node %d does not end", i);
		}
		if (nodes[i].vac_result.status != 0) {
			fail("vacuuming of node %d: status %d", i, nodes[i].vac_result.status);
		}
		stat_orphans += vacuum_db_stats(nodes[i].db)->orphans;
	}
}

/* ---- what must be true ---- */

static bool is_member(const struct node *n, int i)
{
	return i != (int)n->pnn && nodes[i].power && nodes[i].dbd && !nodes[i].expelled &&
	       rec_member_has(n->member, (uint32_t)i);
}

/* W2: without this copy, may one become the newest that should not? */
static void check_dropped(const struct node *n, int key)
{
	const struct file_record *f = &n->file[key];

	for (int i = 0; i < n_nodes; i++) {
		const struct file_record *o = &nodes[i].file[key];

		if (is_member(n, i) && i != (int)f->dmaster && o->exists && o->value != 0 && o->rsn < f->rsn) {
			fail("node %u drops key %d, rsn %" PRIu64 "; node %d has a value with rsn %" PRIu64, n->pnn,
			     key, f->rsn, i, o->rsn);
		}
	}
}

/* W3: who removes a record as its location master and owner is the last to have it. Pointers may be left. */
void vacuum_check_removed(struct node *n, int key)
{
	const struct file_record *f = &n->file[key];

	if (f->locked_by >= 0) {
		fail("node %u removes key %d under its user", n->pnn, key);
	}
	if (f->dmaster != n->pnn) {
		check_dropped(n, key);
		return;
	}
	if (f->value != 0) {
		fail("node %u removes key %d with a value", n->pnn, key);
	}
	for (int i = 0; i < n_nodes; i++) {
		const struct file_record *o = &nodes[i].file[key];

		if (is_member(n, i) && o->exists && (o->value != 0 || o->rsn > 0)) {
			fail("node %u removes key %d, node %d has rsn %" PRIu64, n->pnn, key, i, o->rsn);
		}
	}
	stat_removed++;
	gone[key] = true;
	if (truth[key] != 0 && !lost[key]) {
		fail("node %u removes key %d, last written %" PRIu64, n->pnn, key, truth[key]);
	}
	truth[key] = 0;
	lost[key] = false;
}

static bool lives(int k)
{
	for (int i = 0; i < n_nodes; i++) {
		const struct file_record *f = &nodes[i].file[k];

		if (f->exists && f->dmaster == (uint32_t)i && f->value != 0) {
			return true;
		}
	}
	return false;
}

/* E-3: nothing that is deleted is left in any file. */
void vacuum_check_clean(void)
{
	for (int i = 0; i < n_nodes; i++) {
		for (int k = 0; k < n_keys; k++) {
			const struct file_record *f = &nodes[i].file[k];

			/* An empty copy of a record that lives elsewhere is none. */
			if (f->exists && f->value == 0 && !lives(k)) {
				fail("node %d: empty record of key %d, rsn %" PRIu64 ", data master %u, after two full "
				     "runs everywhere",
				     i, k, f->rsn, f->dmaster);
			}
			if (f->exists && !lives(k)) {
				fail("node %d: copy of key %d, which nobody owns", i, k);
			}
			if (f->exists && f->value != 0 && gone[k]) {
				fail("node %d: key %d was removed and is back", i, k);
			}
		}
	}
}
