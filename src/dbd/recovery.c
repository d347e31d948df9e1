/* Recovery: the member's side on real files, links and clients, and what the other parts of dbd are told. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/time.h>

#include "dbd/recovery_int.h"
#include "protocol/classic.h"
#include "shared/log.h"

#define SRVID_RECONFIGURE 0xF200000000000000ULL
#define DEST_CONNECTED    0xF0000004U
/* Of the member's work, then others have their turn. */
#define SLICE_US 2000

_Static_assert(DBS_MAX == LANE_DBS, "a recovery names all databases");

/* ---- what the other parts ask ---- */

bool recovery_is_normal(const struct recovery *r)
{
	return r->normal;
}

bool recovery_is_fenced(const struct recovery *r)
{
	return r->fenced;
}

uint32_t recovery_generation(const struct recovery *r)
{
	return r->normal ? r->generation : GENERATION_NONE;
}

const uint32_t *recovery_slots(const struct recovery *r, uint32_t *n)
{
	*n = r->n_slots;
	return r->slots;
}

const uint32_t *recovery_members(const struct recovery *r, uint32_t *n)
{
	*n = r->normal ? r->n_members : 0;
	return r->normal ? r->members : NULL;
}

const struct recovery_times *recovery_times(const struct recovery *r)
{
	return &r->times;
}

bool recovery_is_leader(const struct recovery *r)
{
	return view_leader(r->dbd) == r->dbd->d->pnn && r->dbd->view != NULL && r->dbd->view->active;
}

/* ---- member's ops ---- */

static void op_send(void *priv, uint32_t node, enum lane_proc proc, const void *msg)
{
	struct recovery *r = priv;
	int ret = lineage_hold(r, node, proc, msg);

	if (ret == 0) {
		return;
	}
	ret = ret == ENOENT ? lane_post(r->dbd->lane, node, proc, msg) : ret;

	if (ret == EHOSTUNREACH) {
		log_debug("recovery: %s to node %u: %s", lane_proc_name(proc), node, strerror(ret));
	} else if (ret != 0) {
		log_ratelimited(LOG_LVL_ERROR, 1000, "recovery: %s to node %u cannot be sent: %s", lane_proc_name(proc),
				node, strerror(ret));
	}
}

static int op_list_dbs(void *priv, TALLOC_CTX *mem, struct rec_db_state **states, uint32_t *n)
{
	struct recovery *r = priv;
	struct rec_db_state *v = talloc_zero_array(mem, struct rec_db_state, dbs_count(r->dbd->dbs) + 1);

	*n = 0;
	if (v == NULL) {
		return ENOMEM;
	}
	dlist_for_each(e, dbs_list(r->dbd->dbs))
	{
		struct db *db = dlist_entry(e, struct db, link);

		if (lineage_attach(r, db) != 0) {
			return ENOMEM;
		}
		v[(*n)++] = (struct rec_db_state){.db_id = db->id,
						  .flags = db->flags,
						  .name = db->name,
						  .changed = db->lineage->changed,
						  .told = {db->lineage->n_told, db->lineage->told}};
	}
	*states = v;
	return 0;
}

static int op_may_begin(void *priv, const struct rec_begin *m)
{
	struct recovery *r = priv;
	const struct cluster_state *s = r->dbd->view;

	if (s == NULL || !s->active || s->view.leader != m->leader || s->view.term != m->id.term ||
	    r->dbd->clients == NULL) {
		return EAGAIN;
	}
	for (uint32_t i = 0; i < m->members.n; i++) {
		if (m->members.v[i] != r->dbd->d->pnn && !lane_is_up(r->dbd->lane, m->members.v[i])) {
			return EAGAIN;
		}
	}
	return 0;
}

/* No database serves until it is committed again. */
static void close_all(struct recovery *r)
{
	bool was_normal = r->normal;

	r->normal = false;
	examinations_recovery_began(r->dbd);
	dlist_for_each(e, dbs_list(r->dbd->dbs))
	{
		struct db *db = dlist_entry(e, struct db, link);

		db->generation = GENERATION_NONE;
		db->everywhere = false;
		records_close(r->dbd->records, db);
	}
	if (was_normal && r->dbd->clients != NULL) {
		clients_recovery_began(r->dbd->clients);
		commits_recovery_began(r->dbd->commits);
	}
}

static void op_begun(void *priv, const struct rec_begin *m)
{
	struct recovery *r = priv;

	log_notice("recovery %llu.%llu.%u begins: leader node %u, %u members", (unsigned long long)m->id.term,
		   (unsigned long long)m->id.number, m->id.attempt, m->leader, m->members.n);
	if (!r->working) { /* else: another attempt */
		gettimeofday(&r->times.started, NULL);
		r->working = true;
	}
	r->contents_read = 0;
	r->rejoin = false;
	recovery_cost_begun(r, m->generation);
	close_all(r);
}

static void *op_find_db(void *priv, const struct rec_db_plan *plan)
{
	struct recovery *r = priv;
	struct db *db = NULL;
	bool created = false;
	char *err = NULL;
	uint32_t model = plan->flags & (DB_PERSISTENT | DB_REPLICATED);
	int ret = db_attach(r->dbd->dbs, plan->name, model, &db, &created, &err);

	if (ret == 0 && (db->id != plan->db_id || (db->flags & (DB_PERSISTENT | DB_REPLICATED)) != model)) {
		ret = EEXIST;
	}
	ret = ret == 0 ? lineage_attach(r, db) : ret;
	if (ret == 0) {
		ret = attach_add_flags(db, plan->flags);
	}
	if (ret != 0) {
		log_error("recovery: cannot attach database %s: %s", plan->name, err != NULL ? err : strerror(ret));
		talloc_free(err);
		return NULL;
	}
	return db;
}

static struct slot_digest *op_digest(void *priv, void *handle, bool *changed)
{
	struct db *db = handle;

	(void)priv;
	*changed = *changed || db->rewritten;
	return db->digest;
}

static void op_invalidated(void *priv, void *handle)
{
	struct recovery *r = priv;
	struct db *db = handle;

	/* A copy that never was part of anything has had no users. */
	if (!recovery_id_is_zero(&db->lineage->changed)) {
		log_warning(
			"database %s: this node was out of the cluster, its records are invalid: disconnecting clients",
			db->name);
		clients_disconnect_users(r->dbd->clients,
					 "this node was out of the cluster and its records are no longer valid");
	}
}

static int op_apply(void *priv, void *db, enum rec_apply what, const uint8_t *key, size_t keylen, uint64_t rsn,
		    uint32_t owner)
{
	return records_apply(((struct recovery *)priv)->dbd->records, db, what, key, keylen, rsn, owner);
}

static void op_lineage_tell(void *priv, void *handle, const struct recovery_id *id, const struct recovery_id *base)
{
	struct db *db = handle;

	rec_lineage_tell(db->lineage, id, base);
	lineage_save(priv, db);
}

static void op_lineage_change(void *priv, void *handle, const struct recovery_id *id)
{
	struct db *db = handle;

	db->lineage->changed = *id;
	lineage_save(priv, db);
}

static void op_prepared(void *priv, void *handle, const struct recovery_id *id, uint32_t generation,
			const uint32_t *slots, uint32_t n_slots)
{
	struct recovery *r = priv;
	struct db *db = handle;
	int ret = records_open(r->dbd->records, db, generation, slots, n_slots);

	(void)id;
	if (ret != 0) {
		log_error("database %s: cannot be opened for generation %u: %s", db->name, generation, strerror(ret));
	}
}

static void op_committed(void *priv, void *handle, const struct recovery_id *id, uint32_t generation)
{
	struct recovery *r = priv;
	struct db *db = handle;

	(void)id;
	db->generation = generation;
	db->everywhere = true;
	db->rewritten = false;
	db->needs_recovery = false;
	records_serve(r->dbd->records, db);
	if (r->normal) { /* it was late */
		log_notice("database %s: its part of the recovery has ended, too", db->name);
		records_settled(r->dbd->records, db);
	}
}

bool recovery_works_on(const struct recovery *r, const struct db *db)
{
	return rec_member_works_on(r->member, db->id);
}

void recovery_db_locked(struct recovery *r, struct db *db)
{
	rec_member_late(r->member, db);
}

static int copy_members(struct recovery *r, const uint32_t *members, uint32_t n)
{
	uint32_t *copy = talloc_memdup(r, members, n * sizeof(*members));

	if (copy == NULL) {
		return ENOMEM;
	}
	talloc_free(r->members);
	r->members = copy;
	r->n_members = n;
	return 0;
}

static void op_ended(void *priv, const struct recovery_id *id, uint32_t generation, const uint32_t *members,
		     uint32_t n_members)
{
	struct recovery *r = priv;
	const uint32_t *slots;
	uint32_t n_slots;

	slots = rec_member_slots(r->member, &n_slots);
	talloc_free(r->slots);
	r->slots = talloc_memdup(r, slots, n_slots * sizeof(*slots));
	r->n_slots = r->slots != NULL ? n_slots : 0;
	if (r->slots == NULL || copy_members(r, members, n_members) != 0) {
		log_error("recovery: out of memory");
		return;
	}
	r->id = *id;
	r->generation = generation;
	r->normal = r->ever_normal = true;
	r->working = false;
	dlist_for_each(e, dbs_list(r->dbd->dbs))
	{
		struct db *db = dlist_entry(e, struct db, link);

		if (db->lineage != NULL && db->generation == generation) {
			rec_lineage_end(db->lineage, id);
			records_settled(r->dbd->records, db);
		}
	}
	lineage_save(r, NULL);
	gettimeofday(&r->times.finished, NULL);
	r->times.count++;
	log_notice("recovery %llu.%llu.%u ended: generation %u, %u members", (unsigned long long)id->term,
		   (unsigned long long)id->number, id->attempt, generation, n_members);
	recovery_cost_ended(r);
	commits_recovery_ended(r->dbd->commits);
	clients_recovery_ended(r->dbd->clients);
	if (recovery_is_leader(r)) {
		srvids_send(r->dbd->srvids, DEST_CONNECTED, SRVID_RECONFIGURE, NULL, 0);
	}
	recovery_cost_told(r);
}

static bool op_enough(void *priv)
{
	const struct recovery *r = priv;

	return mono_us_between(r->slice_began, mono_now()) >= SLICE_US;
}

static void op_note(void *priv, const char *text)
{
	(void)priv;
	log_notice("recovery: %s", text);
}

static void op_done(void *priv, const struct recovery_id *id, uint32_t generation)
{
	struct recovery *r = priv;

	(void)id;
	(void)generation;
	r->trying_since = MONO_NEVER;
	recovery_lead(r); /* what changed meanwhile */
}

static const struct rec_member_ops member_ops = {
	.send = op_send,
	.list_dbs = op_list_dbs,
	.may_begin = op_may_begin,
	.begun = op_begun,
	.find_db = op_find_db,
	.digest = op_digest,
	.invalidated = op_invalidated,
	.start_wipe = recovery_start_wipe,
	.start_scan = recovery_start_scan,
	.scan_continue = recovery_job_continue,
	.strip = recovery_strip,
	.start_state = recovery_start_state,
	.parts = recovery_parts,
	.contents_forget = recovery_contents_forget,
	.start_read = recovery_start_read,
	.read_continue = recovery_job_continue,
	.start_replace = recovery_start_replace,
	.replace_feed = recovery_replace_feed,
	.stop_jobs = recovery_stop_jobs,
	.apply = op_apply,
	.lineage_tell = op_lineage_tell,
	.lineage_change = op_lineage_change,
	.prepared = op_prepared,
	.committed = op_committed,
	.ended = op_ended,
	.note = op_note,
	.enough = op_enough,
};

static void op_culprit(void *priv, uint32_t node, int status, const char *text)
{
	recovery_blame(priv, node, status, text);
}

static const struct rec_leader_ops leader_ops = {
	.send = op_send, .done = op_done, .note = op_note, .culprit = op_culprit};

/* ---- messages and time ---- */

static void run(struct recovery *r)
{
	struct mono now = mono_now();
	struct mono next;

	rec_member_set_patience(r->member, recovery_patience_ms(r));
	r->slice_began = now;
	next = rec_member_run(r->member, now);
	mono_timer_set(r->member_timer, next);
}

static void timer_fired(void *priv)
{
	run(priv);
}

/* By its descriptor, which has its turn as all others have; immediate events would come before any of them. */
void recovery_kick(struct recovery *r)
{
	mono_timer_set_earlier(r->member_timer, mono_now());
}

static void on_wanted(struct recovery *r, uint32_t from, const struct rec_wanted *m)
{
	/*
	 * No generation: a node that was fenced for a moment is back; its clusterd may have told nobody. The generation
	 * in work: what two members had on its way to each other is lost, which only they can see; they would wait for
	 * it for ever, and so would we, as we would for a node that was fenced meanwhile.
	 */
	bool rejoin = m->generation == GENERATION_NONE;
	bool leads = recovery_is_leader(r);
	/* That which was begun a moment ago, for the wish of another node as a rule, does what is wanted. */
	bool begun = rec_leader_running(r->leader) && !m->full;
	bool ours = (r->normal && m->generation == r->generation && !begun) ||
		    (m->generation != 0 && m->generation == rec_leader_generation(r->leader));

	if ((ours || rejoin) && leads && m->full && rec_leader_set_full(r->leader)) {
		return; /* the one that has begun will be full */
	}
	if ((ours || rejoin) && leads && !r->wanted) {
		if (from != r->dbd->d->pnn) {
			log_notice("recovery: wanted by node %u: %s", from, m->reason);
		}
		r->wanted = true;
		recovery_lead(r);
	}
}

void recovery_on_message(struct recovery *r, uint32_t from, enum lane_proc proc, const void *msg)
{
	struct mono now = mono_now();

	switch ((int)proc) {
	case LANE_PROC_REC_BEGIN:
		rec_member_on_begin(r->member, from, msg, now);
		break;
	case LANE_PROC_REC_BEGIN_REPLY:
		rec_leader_on_begin_reply(r->leader, from, msg, now);
		break;
	case LANE_PROC_REC_PLAN:
		rec_member_on_plan(r->member, from, msg, now);
		break;
	case LANE_PROC_REC_CLAIMS:
		rec_member_on_claims(r->member, from, msg, now);
		break;
	case LANE_PROC_REC_DIGESTS:
		rec_member_on_digests(r->member, from, msg, now);
		break;
	case LANE_PROC_REC_WANT:
		rec_member_on_want(r->member, from, msg, now);
		break;
	case LANE_PROC_REC_ACK:
		rec_member_on_ack(r->member, from, msg, now);
		break;
	case LANE_PROC_REC_ORDERS:
		rec_member_on_orders(r->member, from, msg, now);
		break;
	case LANE_PROC_REC_CONTENT_STATE:
		rec_leader_on_content_state(r->leader, from, msg, now);
		break;
	case LANE_PROC_REC_CONTENT_PLAN:
		rec_member_on_content_plan(r->member, from, msg, now);
		break;
	case LANE_PROC_REC_CONTENT_PARTS:
		rec_member_on_content_parts(r->member, from, msg, now);
		break;
	case LANE_PROC_REC_CONTENT_BEGIN:
		rec_member_on_content_begin(r->member, from, msg, now);
		break;
	case LANE_PROC_REC_CONTENT:
		rec_member_on_content(r->member, from, msg, now);
		break;
	case LANE_PROC_REC_DB_PREPARED:
		rec_leader_on_prepared(r->leader, from, msg, now);
		break;
	case LANE_PROC_REC_DB_COMMIT:
		rec_member_on_commit(r->member, from, msg, now);
		break;
	case LANE_PROC_REC_END:
		rec_member_on_end(r->member, from, msg, now);
		break;
	case LANE_PROC_REC_WANTED:
		on_wanted(r, from, msg);
		break;
	default:
		break;
	}
	recovery_lead(r);
	recovery_kick(r);
}

/* ---- view and links ---- */

static void fence(struct recovery *r, const char *why)
{
	log_warning("this node is not active (%s): databases are closed, clients disconnected",
		    why[0] != '\0' ? why : "no reason given");
	r->fenced = true;
	r->working = false;
	r->rejoin = false;
	rec_member_abandon(r->member);
	lineage_forget_held(r);
	rec_leader_stop(r->leader);
	r->led = (struct led){0};
	close_all(r);
	clients_disconnect_users(r->dbd->clients, "this node is not active");
	freeze_all(r);
}

void recovery_view_changed(struct recovery *r)
{
	const struct cluster_state *s = r->dbd->view;

	if (s->active) {
		if (r->fenced) {
			log_notice("this node is active again");
			r->rejoin = true;
			snprintf(r->wish, sizeof(r->wish), "this node was not active for a while");
		}
		r->fenced = false;
	} else if (!r->fenced && (r->ever_normal || rec_member_generation(r->member) != 0)) {
		fence(r, s->reason);
	}
	if (!recovery_is_leader(r) && rec_leader_running(r->leader)) {
		rec_leader_stop(r->leader);
	}
	if (!recovery_is_leader(r)) {
		r->led = (struct led){0};
		r->trying_since = MONO_NEVER;
	}
	recovery_lead(r);
	recovery_wish_again(r);
}

void recovery_link_changed(struct recovery *r, uint32_t pnn, bool up)
{
	/* What was on its way between two members is lost, also in the middle of a recovery. */
	if (!up && rec_member_has(r->member, pnn)) {
		recovery_want(r, rec_member_generation(r->member), "link to dbd of node %u was interrupted", pnn);
	}
	recovery_lead(r);
	recovery_wish_again(r);
}

/* ---- start ---- */

void records_db_attached(struct records *records, struct db *db)
{
	struct recovery *r = records_owner(records)->recovery;

	if (lineage_attach(r, db) != 0) {
		log_error("database %s: out of memory", db->name);
		return;
	}
	if (!r->normal || db->generation != r->generation || !recovery_id_is_zero(&db->lineage->changed)) {
		return;
	}
	rec_lineage_end(db->lineage, &r->id);
	lineage_save(r, db);
	if (db->digest != NULL && slot_digest_known(db->digest, r->n_slots)) {
		slot_digest_prepared(db->digest, r->slots, r->n_slots, r->dbd->d->pnn);
	}
	if (records_open(records, db, r->generation, r->slots, r->n_slots) == 0) {
		records_serve(records, db);
		records_settled(records, db);
	}
}

static void lead_timer_fired(void *priv)
{
	recovery_lead(priv);
	recovery_wish_again(priv);
}

int recovery_new(TALLOC_CTX *mem, struct dbd *dbd, struct recovery **out)
{
	struct recovery *r = talloc_zero(mem, struct recovery);

	if (r == NULL) {
		return ENOMEM;
	}
	r->dbd = dbd;
	dlist_init(&r->jobs);
	dlist_init(&r->freezes);
	dlist_init(&r->waits);
	dlist_init(&r->lineage_held);
	r->generation = r->wish_generation = GENERATION_NONE;
	r->member = rec_member_new(r, dbd->d->pnn, &member_ops, r);
	r->leader = rec_leader_new(r, dbd->d->pnn, &leader_ops, r);
	r->member_timer = mono_timer_new(r, dbd->d->ev, timer_fired, r);
	r->lead_timer = mono_timer_new(r, dbd->d->ev, lead_timer_fired, r);
	r->patience_timer = mono_timer_new(r, dbd->d->ev, recovery_patience_check, r);
	if (r->member == NULL || r->leader == NULL || r->member_timer == NULL || r->lead_timer == NULL ||
	    r->patience_timer == NULL) {
		talloc_free(r);
		return ENOMEM;
	}
	(void)lineage_load(r); /* without one every copy is fetched again */
	*out = r;
	return 0;
}
