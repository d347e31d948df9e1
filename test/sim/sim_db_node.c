/* Simulation of record engine and recovery: a node's dbd, glue as in src/dbd. See sim_db.c. */
#include "sim_db.h"

static void poll_event(struct event *e)
{
	struct node *n = &nodes[e->node];

	if (n->poll_at == e->t) {
		n->poll_at = 0;
	}
	if (n->dbd && n->incarnation == e->incarnation) {
		poll_node(n);
	}
}

void poll_node(struct node *n)
{
	struct mono next = record_engine_timers(n->engine, mono());
	struct mono when;

	next = mono_min(next, rec_member_run(n->member, mono()));
	if (rec_leader_wants_restart(n->leader, &when)) {
		if (when.ns <= now_ns) {
			n->lead_wanted = true;
			lead(n);
		} else {
			next = mono_min(next, when);
		}
	}
	if (next.ns != 0 && (n->poll_at == 0 || next.ns < n->poll_at)) {
		uint64_t t = next.ns > now_ns ? next.ns : now_ns + 1;
		struct event *e = at(t, poll_event, (int)n->pnn, 0);

		e->incarnation = n->incarnation;
		n->poll_at = t;
	}
}

bool in_view(uint32_t pnn)
{
	for (uint32_t i = 0; i < view.n; i++) {
		if (view.members[i] == pnn) {
			return true;
		}
	}
	return false;
}

/* The leader's dbd: does what is need a recovery? */
void lead(struct node *n)
{
	uint32_t slots[SLOTS];
	bool same = !n->lead_wanted && n->n_led == view.n && n->led_term == view.term;

	if (!n->dbd || view.leader != n->pnn || n->expelled || n->fenced || now_ns < n->not_before) {
		return;
	}
	for (uint32_t i = 0; i < view.n; i++) {
		if (!nodes[view.members[i]].dbd || !link_is_up(n->pnn, view.members[i])) {
			return; /* wait for it */
		}
		same = same && n->led_breaks[i] == link_breaks[n->pnn][view.members[i]];
		same = same && n->led_members[i] == view.members[i] &&
		       n->led_incarnations[i] == nodes[view.members[i]].incarnation;
	}
	if (same) {
		return;
	}
	n->lead_wanted = false;
	n->n_led = view.n;
	n->led_term = view.term;
	for (uint32_t i = 0; i < view.n; i++) {
		n->led_members[i] = view.members[i];
		n->led_incarnations[i] = nodes[view.members[i]].incarnation;
		n->led_breaks[i] = link_breaks[n->pnn][view.members[i]];
	}
	slotmap_compute(slots, SLOTS, have_slots ? slots_now : NULL, view.members, view.n);
	memcpy(slots_now, slots, sizeof(slots));
	have_slots = true;
	stat_recoveries++;
	if (rnd(30) == 0) {
		rec_leader_set_full(n->leader);
	}
	TRACE("node %u begins recovery, view %" PRIu64 ".%" PRIu64 ", %u members", n->pnn, view.term, view.number,
	      view.n);
	rec_leader_start(n->leader, view.term, view.number, 2 + (uint32_t)rnd(0x7ffffff0), view.members, view.n, slots,
			 SLOTS, mono());
	poll_node(n);
}

/* ---- wishes: what was lost can only be seen at its ends ---- */

static void wish_event(struct event *e);

void wish(struct node *n)
{
	struct rec_wanted m = {.generation = n->rejoin ? 1 : n->wish_generation};
	struct event *e;

	if (!n->dbd || n->expelled || n->fenced ||
	    (!n->rejoin && (n->wish_generation == 0 || n->wish_generation != rec_member_generation(n->member)))) {
		return;
	}
	m.reason = talloc_strdup(n->mem, "");
	send_any(n, view.leader, LANE_PROC_REC_WANTED, &m);
	if (n->wish_at <= now_ns) {
		n->wish_at = now_ns + 20 * MS;
		e = at(n->wish_at, wish_event, (int)n->pnn, 0);
		e->incarnation = n->incarnation;
	}
}

static void wish_event(struct event *e)
{
	if (nodes[e->node].incarnation == e->incarnation) {
		wish(&nodes[e->node]);
	}
}

static void on_wanted(struct node *n, uint32_t generation)
{
	bool ours = rec_member_is_normal(n->member) && generation == rec_member_generation(n->member);

	if (view.leader == n->pnn && (ours || generation == 1 || generation == rec_leader_generation(n->leader))) {
		n->lead_wanted = true;
		n->not_before = now_ns + 5 * MS;
	}
}

static void leader_done(void *priv, const struct recovery_id *id, uint32_t generation)
{
	(void)priv;
	(void)id;
	TRACE("recovery done, generation %u", generation);
}

static void note(void *priv, const char *text)
{
	TRACE("node %u: %s", ((struct node *)priv)->pnn, text);
}

static int m_list_dbs(void *priv, TALLOC_CTX *mem, struct rec_db_state **dbs, uint32_t *count)
{
	struct node *n = priv;

	*dbs = talloc_zero_array(mem, struct rec_db_state, 2);
	*count = 2;
	for (uint32_t i = 0; i < 2; i++) {
		(*dbs)[i] = (struct rec_db_state){.db_id = i + 1,
						  .flags = i == 0 ? 0 : DB_PERSISTENT,
						  .changed = n->lineage[i].changed,
						  .told = {n->lineage[i].n_told, n->lineage[i].told}};
		if (bug == BUG_NO_LINEAGE) {
			(*dbs)[i].changed = (struct recovery_id){0};
		}
		(*dbs)[i].name = talloc_asprintf(*dbs, "db%u.tdb", i);
	}
	return 0;
}

static int m_may_begin(void *priv, const struct rec_begin *m)
{
	struct node *n = priv;

	if (n->expelled || n->fenced || m->leader != view.leader || m->id.term != view.term) {
		return EAGAIN;
	}
	for (uint32_t i = 0; i < m->members.n; i++) {
		if (!nodes[m->members.v[i]].dbd || !link_is_up(n->pnn, m->members.v[i])) {
			return EAGAIN;
		}
	}
	return 0;
}

static void m_begun(void *priv, const struct rec_begin *m)
{
	struct node *n = priv;

	(void)m;
	n->generation = 0;
	n->content_changed = false;
	n->wish_generation = 0;
	n->rejoin = false;
	if (bug != BUG_SERVE_ALWAYS) {
		record_db_close(n->db);
	}
	for (int k = 0; k < n_keys && bug == BUG_STRIP_OWNER; k++) {
		n->file[k].flags &= n->file[k].dmaster == n->pnn ? ~RECORD_FLAGS_READONLY : ~0U;
	}
}

static void *m_find_db(void *priv, const struct rec_db_plan *plan)
{
	struct node *n = priv;

	return plan->db_id == 1 ? (void *)&n->file : (void *)&n->content;
}

static struct slot_digest *m_digest(void *priv, void *db, bool *changed)
{
	(void)db;
	*changed = *changed || (seed % 16 == 0 && rnd(10) == 0); /* a tool was at work */
	return ((struct node *)priv)->digest;
}

static void m_invalidated(void *priv, void *db)
{
	struct node *n = priv;

	if (db == &n->file) {
		clients_kill(n);
	}
}

static int db_no(const struct node *n, const void *db)
{
	return db == (const void *)&n->file ? 0 : 1;
}

void job(struct node *n, void *db, void (*fn)(struct event *), uint64_t after)
{
	struct event *e = at(now_ns + 10 * US + rnd(after), fn, (int)n->pnn, db_no(n, db));

	e->incarnation = n->incarnation;
	e->epoch = n->job_epoch[db_no(n, db)];
}

bool job_alive(const struct event *e)
{
	const struct node *n = &nodes[e->node];

	return n->dbd && n->incarnation == e->incarnation && n->job_epoch[e->a] == e->epoch;
}

static void wipe_event(struct event *e)
{
	struct node *n = &nodes[e->node];

	if (!job_alive(e)) {
		return;
	}
	for (int k = 0; k < n_keys && bug != BUG_KEEP_STALE; k++) {
		n->file[k] = (struct file_record){.locked_by = -1};
	}
	if (bug == BUG_KEPT_WIPED) {
		uint32_t n_slots;
		const uint32_t *slots = rec_member_slots(n->member, &n_slots);

		slot_digest_prepared(n->digest, slots, n_slots, n->pnn);
	}
	rec_member_job_done(n->member, &n->file, 0, mono());
	poll_node(n);
}

static int m_start_wipe(void *priv, void *db)
{
	job(priv, db, wipe_event, 2 * MS);
	return 0;
}

static void scan_event(struct event *e)
{
	struct node *n = &nodes[e->node];
	struct file_record *f;

	if (!job_alive(e)) {
		return;
	}
	if (n->scan_at == n_keys) {
		rec_member_job_done(n->member, &n->file, 0, mono());
		poll_node(n);
		return;
	}
	f = &n->file[n->scan_at];
	if (f->exists && bug != BUG_FORGET_COPIES) {
		record_db_found(n->db, key_of(n->scan_at), f->flags);
	}
	if (f->locked_by >= 0) { /* a scan waits for the lock of a chain */
		job(n, &n->file, scan_event, 100 * US);
		return;
	}
	if (f->exists && (!n->filtered || rec_filter_passes(&n->filter, key_of(n->scan_at).p, 2, f->dmaster))) {
		struct record_key key = key_of(n->scan_at);
		struct rec_scan_entry entry = {.key = key.p,
					       .keylen = key.len,
					       .rsn = f->rsn,
					       .flags = f->flags,
					       .dmaster = f->dmaster,
					       .empty = f->value == 0};

		n->scan_paused = !rec_member_scan_entry(n->member, &n->file, &entry);
	}
	n->scan_at++;
	if (!n->scan_paused) {
		job(n, &n->file, scan_event, 200 * US);
	}
	poll_node(n);
}

static int m_start_scan(void *priv, void *db, const struct rec_scan_filter *filter)
{
	struct node *n = priv;

	stat_scans++;
	n->filtered = filter != NULL;
	if (filter != NULL) {
		static const uint8_t none[SLOTS / 8];

		n->filter = *filter;
		if (bug == BUG_FORGET_DEAD) {
			n->filter.unowned = n->filter.gone = none;
		}
	}

	n->scan_at = 0;
	n->scan_paused = false;
	job(n, db, scan_event, MS);
	return 0;
}

static void m_scan_continue(void *priv, void *db)
{
	((struct node *)priv)->scan_paused = false;
	job(priv, db, scan_event, 100 * US);
}

static int m_strip(void *priv, void *db)
{
	struct node *n = priv;

	(void)db;
	return bug == BUG_NO_STRIP || bug == BUG_STRIP_LATE ? 0 : record_db_strip(n->db);
}

static void m_stop_jobs(void *priv, void *db)
{
	struct node *n = priv;

	n->job_epoch[db_no(n, db)]++;
}

static int m_apply(void *priv, void *db, enum rec_apply what, const uint8_t *key, size_t keylen, uint64_t rsn,
		   uint32_t owner)
{
	struct node *n = priv;
	struct file_record *f = &n->file[key_index((struct record_key){key, keylen})];
	uint32_t before;

	(void)db;
	if (f->locked_by >= 0) {
		return EAGAIN;
	}
	if (what != REC_APPLY_POINT && (!f->exists || f->rsn != rsn)) {
		fail("node %u: order for a copy that is not there", n->pnn);
	}
	if (what == REC_APPLY_POINT && f->exists && f->dmaster == n->pnn) {
		fail("node %u: pointer over an owned record", n->pnn);
	}
	TRACE("node %u: %s key %d rsn %" PRIu64 " owner %u", n->pnn,
	      what == REC_APPLY_ADOPT    ? "adopts"
	      : what == REC_APPLY_DEMOTE ? "gives up"
					 : "points at",
	      key_index((struct record_key){key, keylen}), f->rsn, owner);
	if (bug == BUG_NO_POINTER && what == REC_APPLY_POINT) {
		return 0;
	}
	if (what != REC_APPLY_POINT) {
		f->flags &= ~RECORD_FLAGS_READONLY;
	}
	before = file_dmaster(n, (int)(f - n->file));
	f->exists = true;
	f->dmaster = what == REC_APPLY_ADOPT ? n->pnn : owner;
	f->rsn += what == REC_APPLY_ADOPT;
	file_changed(n, (int)(f - n->file), before);
	return 0;
}

static void m_lineage_tell(void *priv, void *db, const struct recovery_id *id, const struct recovery_id *base)
{
	rec_lineage_tell(&((struct node *)priv)->lineage[db_no(priv, db)], id, base);
	if (db_no(priv, db) == 0) {
		digest_check_told(priv, id);
	}
}

static void m_lineage_change(void *priv, void *db, const struct recovery_id *id)
{
	((struct node *)priv)->lineage[db_no(priv, db)].changed = *id;
}

static void m_prepared(void *priv, void *db, const struct recovery_id *id, uint32_t generation, const uint32_t *slots,
		       uint32_t n_slots)
{
	struct node *n = priv;

	stat_slots += db == &n->file ? rec_member_stats(n->member)->slots : 0;
	stat_dirty += db == &n->file ? rec_member_stats(n->member)->dirty : 0;
	TRACE("node %u: database %d prepared", n->pnn, db_no(n, db));
	if (db == &n->file) {
		while (bug == BUG_STRIP_LATE && record_db_strip(n->db) == EINPROGRESS) {
		}
		if (bug == BUG_KEPT_ALWAYS) {
			uint32_t mine[SLOTS];

			for (int i = 0; i < SLOTS; i++) {
				mine[i] = n->pnn;
			}
			slot_digest_prepared(n->digest, mine, SLOTS, n->pnn);
		}
		digest_check_prepared(n, id, slots);
		record_db_open(n->db, generation, slots, n_slots);
		if (bug == BUG_SERVE_EARLY) {
			record_db_serve(n->db, mono());
		}
	}
}

static void settled(struct node *n)
{
	uint32_t all = n->n_members;

	vacuum_db_start(n->db, n->members, all - (bug == BUG_VAC_SKIP_MEMBER && n->members[all - 1] != n->pnn), mono());
}

/* V4 */
static void check_prepared(const struct node *n, const void *db, const struct recovery_id *id)
{
	for (uint32_t i = 0; db == &n->file && i < (uint32_t)n_nodes; i++) {
		if (rec_member_has(n->member, i) && recovery_id_cmp(&nodes[i].prepared_id, id) < 0) {
			fail("node %u: COMMIT, and node %u is not prepared", n->pnn, i);
		}
	}
}

static void m_committed(void *priv, void *db, const struct recovery_id *id, uint32_t generation)
{
	struct node *n = priv;

	check_prepared(n, db, id);
	n->committed[db_no(n, db)] = *id;
	TRACE("node %u: database %d committed", n->pnn, db_no(n, db));
	if (db == &n->file) {
		n->generation = generation;
		n->stale = false;
		record_db_serve(n->db, mono());
		if (n->late && rec_member_is_normal(n->member)) {
			stat_late_committed++;
			settled(n);
		}
		if (!n->clients_running) {
			clients_start(n);
		}
	}
}

static void ended_without(struct node *n, const struct recovery_id *id, uint32_t generation)
{
	uint32_t n_slots;
	const uint32_t *slots = rec_member_slots(n->member, &n_slots);

	TRACE("node %u: the volatile database is late", n->pnn);
	stat_late++;
	if (recovery_id_cmp(&late_id, id) < 0 && n->wish_generation == 0) {
		fail("node %u: END without the volatile database, and nobody said that it is late", n->pnn);
	}
	if (n->generation != 0) {
		fail("node %u: the volatile database is late, and served", n->pnn);
	}
	if (bug == BUG_LATE_SERVED) {
		record_db_open(n->db, generation, slots, n_slots);
		record_db_serve(n->db, mono());
	}
}

static void m_ended(void *priv, const struct recovery_id *id, uint32_t generation, const uint32_t *members,
		    uint32_t n_members)
{
	struct node *n = priv;

	n->late = recovery_id_cmp(&n->committed[0], id) != 0;
	n->n_members = n_members;
	memcpy(n->members, members, n_members * sizeof(*members));
	/* What a broken link has lost is known; another recovery follows. */
	if (recovery_id_cmp(&n->committed[1], id) != 0 && n->wish_generation == 0) {
		fail("node %u: END, and the persistent database is not committed", n->pnn);
	}
	if (recovery_id_cmp(&n->committed[1], id) == 0) {
		rec_lineage_end(&n->lineage[1], id);
	}
	if (!n->late) {
		rec_lineage_end(&n->lineage[0], id);
		settled(n);
	} else {
		ended_without(n, id, generation);
	}
	for (uint32_t i = 0; i < n_members; i++) {
		struct node *o = &nodes[members[i]];

		if (!o->content_changed && !n->content_changed &&
		    recovery_id_cmp(&o->committed[1], &n->committed[1]) == 0 &&
		    !content_equal(&o->content, &n->content) && o->dbd &&
		    recovery_id_cmp(rec_member_id(o->member), id) == 0) {
			fail("after recovery, persistent contents of %u and %u differ", n->pnn, o->pnn);
		}
	}
}

/* Slices end anywhere. */
static bool m_enough(void *priv)
{
	(void)priv;
	return rnd(4) == 0;
}

static const struct rec_leader_ops leader_ops = {send_any, leader_done, note, NULL};
static const struct rec_member_ops member_ops = {.send = send_any,
						 .list_dbs = m_list_dbs,
						 .may_begin = m_may_begin,
						 .begun = m_begun,
						 .find_db = m_find_db,
						 .digest = m_digest,
						 .invalidated = m_invalidated,
						 .start_wipe = m_start_wipe,
						 .start_scan = m_start_scan,
						 .scan_continue = m_scan_continue,
						 .strip = m_strip,
						 .start_state = content_start_state,
						 .parts = content_parts,
						 .contents_forget = content_forget,
						 .start_read = content_start_read,
						 .read_continue = content_read_continue,
						 .start_replace = content_start_replace,
						 .replace_feed = content_feed,
						 .stop_jobs = m_stop_jobs,
						 .apply = m_apply,
						 .lineage_tell = m_lineage_tell,
						 .lineage_change = m_lineage_change,
						 .prepared = m_prepared,
						 .committed = m_committed,
						 .ended = m_ended,
						 .note = note,
						 .enough = m_enough};

static void on_readonly_call(struct node *n, uint32_t from, enum record_ro what, const struct lane_call *m)
{
	record_on_readonly(n->db, from, m->generation, what, m->requester, (struct record_key){m->key.data, m->key.len},
			   NULL, mono());
}

static void on_readonly_copy(struct node *n, uint32_t from, enum record_ro what, const struct lane_grant *m)
{
	struct record_copy c = {
		.exists = true, .rsn = m->rsn, .flags = m->flags, .data = m->data.data, .len = m->data.len};

	record_on_readonly(n->db, from, m->generation, what, 0, (struct record_key){m->key.data, m->key.len}, &c,
			   mono());
}

#define DELIVER(PROC, type, ...)                                                                                       \
	case LANE_PROC_##PROC: {                                                                                       \
		struct type m;                                                                                         \
		if (type##_decode(tmp, e->buf, e->len, &m) != 0) {                                                     \
			fail("cannot decode %u", e->proc);                                                             \
		}                                                                                                      \
		__VA_ARGS__;                                                                                           \
		break;                                                                                                 \
	}

void deliver(struct event *e)
{
	struct node *n = &nodes[e->node];
	uint32_t from = (uint32_t)e->a;
	TALLOC_CTX *tmp;

	/* The connection was between these two runs of dbd. */
	if (!n->dbd || n->incarnation != e->incarnation || !nodes[from].dbd ||
	    nodes[from].incarnation != e->incarnation2 || n->expelled || nodes[from].expelled ||
	    e->breaks != link_breaks[from][n->pnn]) {
		return;
	}
	tmp = talloc_new(NULL);
	switch ((int)e->proc) {
		DELIVER(CALL, lane_call,
			record_on_call(n->db, from, m.generation, (struct record_key){m.key.data, m.key.len}, mono()));
		DELIVER(FORWARD, lane_call,
			record_on_forward(n->db, from, m.generation, m.requester,
					  (struct record_key){m.key.data, m.key.len}, mono()));
		DELIVER(GRANT, lane_grant, {
			struct record_copy c = {
				.exists = true, .rsn = m.rsn, .flags = m.flags, .data = m.data.data, .len = m.data.len};

			record_on_grant(n->db, from, m.generation, (struct record_key){m.key.data, m.key.len}, &c,
					mono());
		});
		DELIVER(VACUUM, lane_vacuum, vacuum_on_message(n, from, &m));
		DELIVER(VACUUM_ANSWER, lane_vacuum_answer, vacuum_on_reply(n, from, &m));
		DELIVER(RO_CALL, lane_call, on_readonly_call(n, from, RECORD_RO_CALL, &m));
		DELIVER(RO_FORWARD, lane_call, on_readonly_call(n, from, RECORD_RO_FORWARD, &m));
		DELIVER(RO_REVOKED, lane_call, on_readonly_call(n, from, RECORD_RO_REVOKED, &m));
		DELIVER(RO_RETRY, lane_call, on_readonly_call(n, from, RECORD_RO_RETRY, &m));
		DELIVER(TOO_LARGE, lane_call, on_readonly_call(n, from, RECORD_TOO_LARGE, &m));
		DELIVER(RO_COPY, lane_grant, on_readonly_copy(n, from, RECORD_RO_COPY, &m));
		DELIVER(RO_REVOKE, lane_grant, on_readonly_copy(n, from, RECORD_RO_REVOKE, &m));
		DELIVER(REC_BEGIN, rec_begin, rec_member_on_begin(n->member, from, &m, mono()));
		DELIVER(REC_BEGIN_REPLY, rec_begin_reply, rec_leader_on_begin_reply(n->leader, from, &m, mono()));
		DELIVER(REC_PLAN, rec_plan, rec_member_on_plan(n->member, from, &m, mono()));
		DELIVER(REC_CLAIMS, rec_claims, rec_member_on_claims(n->member, from, &m, mono()));
		DELIVER(REC_DIGESTS, rec_digests, rec_member_on_digests(n->member, from, &m, mono()));
		DELIVER(REC_WANT, rec_want, rec_member_on_want(n->member, from, &m, mono()));
		DELIVER(REC_ACK, rec_ack, rec_member_on_ack(n->member, from, &m, mono()));
		DELIVER(REC_ORDERS, rec_orders, rec_member_on_orders(n->member, from, &m, mono()));
		DELIVER(REC_CONTENT_STATE, rec_content_state, rec_leader_on_content_state(n->leader, from, &m, mono()));
		DELIVER(REC_CONTENT_PLAN, rec_content_plan, rec_member_on_content_plan(n->member, from, &m, mono()));
		DELIVER(REC_CONTENT_PARTS, rec_content_parts, rec_member_on_content_parts(n->member, from, &m, mono()));
		DELIVER(REC_CONTENT_BEGIN, rec_content_begin, rec_member_on_content_begin(n->member, from, &m, mono()));
		DELIVER(REC_CONTENT, rec_content, rec_member_on_content(n->member, from, &m, mono()));
		DELIVER(REC_DB_PREPARED, rec_db, rec_leader_on_prepared(n->leader, from, &m, mono()));
		DELIVER(REC_DB_COMMIT, rec_db, {
			if (bug != BUG_LATE_LOST || !rec_member_is_normal(n->member)) {
				rec_member_on_commit(n->member, from, &m, mono());
			}
		});
		DELIVER(REC_END, rec_end, rec_member_on_end(n->member, from, &m, mono()));
		DELIVER(REC_WANTED, rec_wanted, on_wanted(n, m.generation));
	default:
		fail("unknown message %u", e->proc);
	}
	talloc_free(tmp);
	poll_node(n);
	if (n->generation != 0 && bug != BUG_STRIP_OWNER) {
		check_readonly(n);
	}
}

void dbd_start(struct node *n)
{
	struct record_config config = {.own_pnn = n->pnn,
				       .hold_min_us = 500,
				       .hold_max_us = 20000,
				       .retry_min_us = 200,
				       .retry_max_us = 5000,
				       .max_hints = 100,
				       .max_readonly = seed % 6 == 1 ? 2 : 100,
				       .max_data = SIM_MAX_DATA};
	static const struct vacuum_config vacuum_config = {
		.max_candidates = 12, .slice_keys = 2, .slice_pause_us = 50, .max_pulls = 3, .answer_ms = 300};

	n->mem = talloc_new(NULL);
	n->incarnation = ++event_order;
	n->engine = record_engine_new(n->mem, &config, &record_ops, n);
	vacuum_enable(n->engine, &vacuum_config, &vacuum_ops);
	vacuum_set_times(n->engine, 20, 5, 2000);
	n->vac_epoch++;
	n->db = record_db_new(n->engine, n);
	if (seed % 7 != 2 || n->pnn % 2 == 0) {
		record_db_set_readonly(n->db);
	}
	sticky_start(n);
	n->member = rec_member_new(n->mem, n->pnn, &member_ops, n);
	n->leader = rec_leader_new(n->mem, n->pnn, &leader_ops, n);
	n->digest = slot_digest_new(n->mem);
	if (bug == BUG_DIGEST_STALE || n->fresh) {
		slot_digest_reset(n->digest, 0);
	}
	n->fresh = false;
	n->dbd = true;
	n->generation = 0;
	n->poll_at = n->wish_at = n->not_before = 0;
	n->n_led = n->wish_generation = 0;
	n->rejoin = n->fenced = n->content_known = false;
}

void dbd_kill(struct node *n)
{
	clients_kill(n);
	n->dbd = false;
	n->generation = 0;
	TALLOC_FREE(n->mem);
	n->engine = NULL;
}
