/* Recovery, the leader's side: gathers states, plans, waits, commits. See recovery.h. */
#include <errno.h>
#include <string.h>

#include "base/dlist.h"
#include "core/recovery.h"

/* A member that does not answer BEGIN for this long: try again (the view decides whether it is still a member). */
#define BEGIN_TIMEOUT_MS  10000
#define RETRY_MS          30
#define RETRY_DOUBLED_MAX 5
#define LDB_BUCKETS       256U

enum leader_state { LEADER_IDLE, LEADER_BEGIN, LEADER_RUN, LEADER_LATE /* END was sent, databases are late */ };
enum ldb_state { LDB_WAIT_STATES, LDB_WAIT_PREPARED, LDB_COMMITTED };

/* A database of the union. */
struct ldb {
	struct dlist link;
	struct ldb *same_bucket;
	uint32_t id, flags, more; /* the model; what any member's copy has of the other flags */
	char *name;
	enum ldb_state state;
	bool late; /* END does not wait for it */
	struct recovery_id base;
	const struct rec_db_state *
		*states;                   /* by member index; NULL: it does not have it. Only while the plan is made */
	bool *valid;                       /* by member index */
	bool *prepared;                    /* by member index */
	struct rec_content_state *content; /* by member index; id zero: not yet told */
	uint32_t source;                   /* of the contents, when they are planned */
};

struct rec_leader {
	uint32_t own_pnn;
	struct rec_leader_ops ops;
	void *priv;
	enum leader_state state;
	struct recovery_id id;
	uint32_t generation;
	uint32_t attempt_floor; /* attempts of this view up to here are used */
	struct mono deadline;   /* of LEADER_BEGIN */
	bool restart;
	struct mono restart_at;
	unsigned restarts; /* of this view, one after the other */
	TALLOC_CTX *run;   /* everything of one recovery */
	uint32_t *members, n_members;
	uint32_t *slots, n_slots;
	struct rec_begin_reply **replies; /* by member index, NULL: not yet */
	struct dlist dbs;
	struct ldb *by_id[LDB_BUCKETS];
	uint32_t n_open, n_late; /* databases that are not committed; of these the late ones */
	bool full;               /* until a recovery with it has ended */
	bool full_next;          /* wanted when the plan of the one in work was out: for the next */
};

struct rec_leader *rec_leader_new(TALLOC_CTX *mem, uint32_t own_pnn, const struct rec_leader_ops *ops, void *priv)
{
	struct rec_leader *l = talloc_zero(mem, struct rec_leader);

	if (l != NULL) {
		l->own_pnn = own_pnn;
		l->ops = *ops;
		l->priv = priv;
		dlist_init(&l->dbs);
	}
	return l;
}

static bool model_is_volatile(uint32_t flags)
{
	return (flags & (DB_PERSISTENT | DB_REPLICATED)) == 0;
}

/* n_members if it is not one. */
static uint32_t member_index(const struct rec_leader *l, uint32_t pnn)
{
	uint32_t i;

	for (i = 0; i < l->n_members && l->members[i] != pnn; i++) {
	}
	return i;
}

static void send_all(struct rec_leader *l, enum lane_proc proc, const void *msg)
{
	for (uint32_t i = 0; i < l->n_members; i++) {
		l->ops.send(l->priv, l->members[i], proc, msg);
	}
}

void rec_leader_stop(struct rec_leader *l)
{
	TALLOC_FREE(l->run);
	dlist_init(&l->dbs);
	memset(l->by_id, 0, sizeof(l->by_id));
	l->n_open = l->n_late = 0;
	l->n_members = 0;
	l->members = NULL;
	l->state = LEADER_IDLE;
	l->restart = false;
}

bool rec_leader_set_full(struct rec_leader *l)
{
	l->full = true;
	l->full_next = l->full_next || l->state == LEADER_RUN;
	return l->state == LEADER_BEGIN;
}

bool rec_leader_running(const struct rec_leader *l)
{
	return l->state == LEADER_BEGIN || l->state == LEADER_RUN;
}

uint32_t rec_leader_generation(const struct rec_leader *l)
{
	return rec_leader_running(l) ? l->generation : 0;
}

bool rec_leader_wants_restart(const struct rec_leader *l, struct mono *when)
{
	if (l->restart) {
		*when = l->restart_at;
		return true;
	}
	if (l->state == LEADER_BEGIN) {
		*when = l->deadline;
		return true;
	}
	return false;
}

static void want_restart(struct rec_leader *l, const char *why, struct mono now)
{
	if (!l->restart) {
		l->ops.note(l->priv, why);
		l->restart = true;
		l->restart_at = mono_add_ms(
			now, (uint64_t)RETRY_MS << (l->restarts < RETRY_DOUBLED_MAX ? l->restarts : RETRY_DOUBLED_MAX));
		l->restarts++;
	}
}

static void blame(struct rec_leader *l, uint32_t node, int status, const char *text)
{
	if (l->ops.culprit != NULL) {
		l->ops.culprit(l->priv, node, status, text);
	}
}

/* Answers to BEGIN do not depend on other nodes: who has not given one is to blame. */
static void blame_silent(struct rec_leader *l, struct mono now)
{
	if (l->state != LEADER_BEGIN || l->restart || mono_before(now, l->deadline)) {
		return;
	}
	for (uint32_t i = 0; i < l->n_members; i++) {
		if (l->replies[i] == NULL) {
			blame(l, l->members[i], ETIMEDOUT, "it does not answer when a recovery begins");
		}
	}
}

int rec_leader_start(struct rec_leader *l, uint64_t term, uint64_t number, uint32_t generation, const uint32_t *members,
		     uint32_t n_members, const uint32_t *slots, uint32_t n_slots, struct mono now)
{
	bool same_view = l->id.term == term && l->id.number == number;
	struct rec_begin msg;

	blame_silent(l, now);
	rec_leader_stop(l);
	if (!same_view) {
		l->attempt_floor = 0;
		l->restarts = 0;
	} else if (l->attempt_floor < l->id.attempt) {
		l->attempt_floor = l->id.attempt;
	}
	l->id = (struct recovery_id){.term = term, .number = number, .attempt = l->attempt_floor + 1};
	l->generation = generation;
	l->run = talloc_new(l);
	l->members = talloc_memdup(l->run, members, n_members * sizeof(*members));
	l->slots = talloc_memdup(l->run, slots, n_slots * sizeof(*slots));
	l->replies = talloc_zero_array(l->run, struct rec_begin_reply *, n_members);
	if (l->run == NULL || l->members == NULL || l->slots == NULL || l->replies == NULL) {
		rec_leader_stop(l);
		return ENOMEM;
	}
	l->n_members = n_members;
	l->n_slots = n_slots;
	l->state = LEADER_BEGIN;
	l->full_next = false;
	l->deadline = mono_add_ms(now, BEGIN_TIMEOUT_MS);
	msg = (struct rec_begin){.id = l->id,
				 .generation = generation,
				 .leader = l->own_pnn,
				 .members = {n_members, l->members},
				 .slots = {n_slots, l->slots}};
	send_all(l, LANE_PROC_REC_BEGIN, &msg);
	return 0;
}

/* ---- BEGIN replies: the union of databases, their bases ---- */

static struct ldb *ldb_find(const struct rec_leader *l, uint32_t id)
{
	struct ldb *db = l->by_id[id % LDB_BUCKETS];

	while (db != NULL && db->id != id) {
		db = db->same_bucket;
	}
	return db;
}

static struct ldb *ldb_new(struct rec_leader *l, const struct rec_db_state *s)
{
	struct ldb *db = talloc_zero(l->run, struct ldb);

	if (db == NULL) {
		return NULL;
	}
	db->id = s->db_id;
	db->flags = s->flags & (DB_PERSISTENT | DB_REPLICATED);
	db->name = talloc_strdup(db, s->name);
	db->states = talloc_zero_array(db, const struct rec_db_state *, l->n_members);
	db->valid = talloc_zero_array(db, bool, l->n_members);
	db->prepared = talloc_zero_array(db, bool, l->n_members);
	db->content = talloc_zero_array(db, struct rec_content_state, l->n_members);
	if (db->name == NULL || db->states == NULL || db->valid == NULL || db->prepared == NULL ||
	    db->content == NULL) {
		talloc_free(db);
		return NULL;
	}
	dlist_add_tail(&l->dbs, &db->link);
	db->same_bucket = l->by_id[db->id % LDB_BUCKETS];
	l->by_id[db->id % LDB_BUCKETS] = db;
	l->n_open++;
	return db;
}

/* Two databases with one id: the one that came first stays; the other is named and left out of this recovery. */
static bool check_same(struct rec_leader *l, const struct ldb *db, const struct rec_db_state *s, uint32_t node)
{
	uint32_t model = s->flags & (DB_PERSISTENT | DB_REPLICATED);
	bool same = strcmp(db->name, s->name) == 0 && db->flags == model;

	if (!same) {
		char *text = talloc_asprintf(l->run,
					     "database 0x%08x is \"%s\" (model flags %u) elsewhere but \"%s\" (%u) on "
					     "node %u: that copy is ignored",
					     db->id, db->name, db->flags, s->name, model, node);

		l->ops.note(l->priv, text != NULL ? text : "database id used for two databases");
	}
	return same;
}

static bool has_told(const struct rec_db_state *s, const struct recovery_id *id)
{
	for (uint32_t i = 0; i < s->told.n; i++) {
		if (recovery_id_cmp(&s->told.v[i], id) == 0) {
			return true;
		}
	}
	return false;
}

/* V5. No base: nothing was ever recovered, all copies count. */
static void ldb_base(struct rec_leader *l, struct ldb *db)
{
	for (uint32_t i = 0; i < l->n_members; i++) {
		const struct rec_db_state *s = db->states[i];

		if (s != NULL && recovery_id_cmp(&s->changed, &db->base) > 0) {
			db->base = s->changed;
		}
	}
	for (uint32_t i = 0; i < l->n_members; i++) {
		const struct rec_db_state *s = db->states[i];

		db->valid[i] = s != NULL && (recovery_id_is_zero(&db->base) || has_told(s, &db->base));
	}
}

static int make_union(struct rec_leader *l)
{
	for (uint32_t i = 0; i < l->n_members; i++) {
		const struct rec_begin_reply *r = l->replies[i];

		for (uint32_t k = 0; k < r->dbs.n; k++) {
			struct ldb *db = ldb_find(l, r->dbs.v[k].db_id);

			if (db == NULL) {
				db = ldb_new(l, &r->dbs.v[k]);
			}
			if (db == NULL) {
				return ENOMEM;
			}
			if (check_same(l, db, &r->dbs.v[k], l->members[i]) && db->states[i] == NULL) {
				db->states[i] = &r->dbs.v[k];
				db->more |= model_is_volatile(db->flags) ? r->dbs.v[k].flags & (DB_READONLY | DB_STICKY)
									 : 0;
			}
		}
	}
	return 0;
}

static int plan_fill(struct rec_leader *l, TALLOC_CTX *mem, struct ldb *db, struct rec_db_plan *plan)
{
	*plan = (struct rec_db_plan){
		.db_id = db->id, .flags = db->flags | db->more, .name = db->name, .base = db->base};
	plan->valid.v = talloc_array(mem, uint32_t, l->n_members);
	if (plan->valid.v == NULL) {
		return ENOMEM;
	}
	for (uint32_t i = 0; i < l->n_members; i++) {
		if (db->valid[i]) {
			plan->valid.v[plan->valid.n++] = l->members[i];
		}
	}
	return 0;
}

/* V12. Late ones are committed when they are prepared. */
static void finish(struct rec_leader *l)
{
	struct rec_end end = {.id = l->id};
	struct recovery_id id = l->id;
	uint32_t generation = l->generation;
	bool late = l->n_late > 0, ended = l->state == LEADER_LATE;

	if (l->n_open > l->n_late) {
		return;
	}
	if (!ended) {
		l->restarts = 0;
		l->full = l->full && (late || l->full_next);
		l->full_next = false;
		send_all(l, LANE_PROC_REC_END, &end);
	}
	if (late) {
		l->state = LEADER_LATE;
	} else {
		rec_leader_stop(l);
	}
	if (!ended) {
		l->ops.done(l->priv, &id, generation);
	}
}

static int send_plan(struct rec_leader *l)
{
	struct rec_plan plan = {.id = l->id, .full = l->full};
	uint32_t n = 0;
	int ret = make_union(l);

	dlist_for_each(e, &l->dbs)
	{
		n++;
	}
	plan.dbs.v = talloc_array(l->run, struct rec_db_plan, n > 0 ? n : 1);
	if (ret != 0 || plan.dbs.v == NULL) {
		return ENOMEM;
	}
	dlist_for_each(e, &l->dbs)
	{
		struct ldb *db = dlist_entry(e, struct ldb, link);

		ldb_base(l, db);
		db->state = model_is_volatile(db->flags) ? LDB_WAIT_PREPARED : LDB_WAIT_STATES;
		if (plan_fill(l, plan.dbs.v, db, &plan.dbs.v[plan.dbs.n++]) != 0) {
			return ENOMEM;
		}
	}
	l->state = LEADER_RUN;
	send_all(l, LANE_PROC_REC_PLAN, &plan);
	talloc_free(plan.dbs.v);
	return 0;
}

static int copy_reply(struct rec_leader *l, uint32_t member, const struct rec_begin_reply *m)
{
	struct rec_begin_reply *r = talloc_zero(l->run, struct rec_begin_reply);
	struct ctdb_blob buf = {0};
	int ret;

	if (r == NULL) {
		return ENOMEM;
	}
	ret = rec_begin_reply_encode(r, m, &buf);
	if (ret == 0) {
		ret = rec_begin_reply_decode(r, buf.data, buf.len, r);
	}
	l->replies[member] = ret == 0 ? r : NULL;
	return ret;
}

void rec_leader_on_begin_reply(struct rec_leader *l, uint32_t from, const struct rec_begin_reply *m, struct mono now)
{
	uint32_t i = member_index(l, from);

	if (l->state != LEADER_BEGIN || recovery_id_cmp(&m->id, &l->id) != 0 || i == l->n_members) {
		return;
	}
	if (m->status != 0) {
		char *text;

		/* A leader whose dbd was restarted does not remember its attempts: go on above what the member has
		 * seen. */
		if (m->newest.term == l->id.term && m->newest.number == l->id.number &&
		    m->newest.attempt > l->attempt_floor) {
			l->attempt_floor = m->newest.attempt;
		}
		text = talloc_asprintf(l->run, "node %u cannot take part yet (%s): beginning again", from,
				       m->status == EAGAIN   ? "it does not see the same view and members yet"
				       : m->status == ESTALE ? "it knows a later attempt"
							     : strerror((int)m->status));

		blame(l, from, (int)m->status, text != NULL ? text : "it is not ready for a recovery");
		want_restart(l, text != NULL ? text : "a node is not ready for a recovery", now);
		return;
	}
	if (l->replies[i] != NULL) {
		return;
	}
	if (copy_reply(l, i, m) != 0) {
		want_restart(l, "out of memory", now);
		return;
	}
	for (i = 0; i < l->n_members; i++) {
		if (l->replies[i] == NULL) {
			return;
		}
	}
	if (send_plan(l) != 0) {
		want_restart(l, "out of memory", now);
		return;
	}
	finish(l); /* there may be no database at all */
}

/* ---- persistent and replicated: whose contents count ---- */

static uint32_t same_content(const struct rec_leader *l, const struct ldb *db, uint32_t member)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < l->n_members; i++) {
		n += db->content[i].seqnum == db->content[member].seqnum &&
		     db->content[i].digest == db->content[member].digest;
	}
	return n;
}

/*
 * Is a's copy a better source than b's? Healthy before damaged (which was replaced by an empty one), members of the
 * base before others, then sequence number, then majority; ties: b.
 */
static bool better_source(const struct rec_leader *l, const struct ldb *db, uint32_t a, uint32_t b)
{
	if (db->content[a].healthy != db->content[b].healthy) {
		return db->content[a].healthy;
	}
	if (db->valid[a] != db->valid[b]) {
		return db->valid[a];
	}
	if (db->content[a].seqnum != db->content[b].seqnum) {
		return db->content[a].seqnum > db->content[b].seqnum;
	}
	return same_content(l, db, a) > same_content(l, db, b);
}

static void content_plan(struct rec_leader *l, struct ldb *db)
{
	struct rec_content_plan plan = {.id = l->id, .db_id = db->id};
	uint32_t targets[256];
	uint32_t best = 0;

	for (uint32_t i = 1; i < l->n_members; i++) {
		if (better_source(l, db, i, best)) {
			best = i;
		}
	}
	plan.source = db->source = l->members[best];
	plan.targets.v = targets;
	for (uint32_t i = 0; i < l->n_members; i++) {
		const struct rec_content_state *c = &db->content[i];

		if (c->seqnum == db->content[best].seqnum && c->digest == db->content[best].digest &&
		    c->healthy == db->content[best].healthy) {
			continue;
		}
		if (c->seqnum == db->content[best].seqnum && c->healthy) {
			char *text = talloc_asprintf(l->run,
						     "database %s: nodes %u and %u have sequence number %llu but "
						     "different contents; node %u's count",
						     db->name, plan.source, l->members[i],
						     (unsigned long long)c->seqnum, plan.source);

			l->ops.note(l->priv, text != NULL ? text : "contents differ");
		}
		targets[plan.targets.n++] = l->members[i];
	}
	db->state = LDB_WAIT_PREPARED;
	send_all(l, LANE_PROC_REC_CONTENT_PLAN, &plan);
}

void rec_leader_on_content_state(struct rec_leader *l, uint32_t from, const struct rec_content_state *m,
				 struct mono now)
{
	uint32_t i = member_index(l, from);
	struct ldb *db;

	(void)now;
	if (l->state != LEADER_RUN || recovery_id_cmp(&m->id, &l->id) != 0 || i == l->n_members) {
		return;
	}
	db = ldb_find(l, m->db_id);
	if (db == NULL || db->state != LDB_WAIT_STATES) {
		return;
	}
	db->content[i] = *m;
	for (i = 0; i < l->n_members; i++) {
		if (recovery_id_is_zero(&db->content[i].id)) {
			return;
		}
	}
	content_plan(l, db);
}

void rec_leader_on_prepared(struct rec_leader *l, uint32_t from, const struct rec_db *m, struct mono now)
{
	uint32_t i = member_index(l, from);
	struct rec_db commit;
	struct ldb *db;

	if ((l->state != LEADER_RUN && l->state != LEADER_LATE) || recovery_id_cmp(&m->id, &l->id) != 0 ||
	    i == l->n_members) {
		return;
	}
	db = ldb_find(l, m->db_id);
	if (db == NULL || db->state == LDB_COMMITTED) {
		return;
	}
	if (m->status == EINPROGRESS && model_is_volatile(db->flags)) {
		l->n_late += !db->late;
		db->late = true;
		finish(l);
		return;
	}
	if (m->status != 0) {
		bool by_source =
			m->status == EREMOTEIO && !model_is_volatile(db->flags) && db->state != LDB_WAIT_STATES;
		char *text = by_source ? talloc_asprintf(l->run,
							 "database %s: what node %u sent to node %u is not what it had "
							 "told: look at it there with 'ctdb db check'",
							 db->name, db->source, from)
				       : talloc_asprintf(l->run, "recovery of database %s failed on node %u: %s",
							 db->name, from, strerror((int)m->status));

		blame(l, by_source ? db->source : from, (int)m->status,
		      text != NULL ? text : "recovery of a database failed there");
		want_restart(l, text != NULL ? text : "recovery of a database failed on a node", now);
		return;
	}
	db->prepared[i] = true;
	for (i = 0; i < l->n_members; i++) {
		if (!db->prepared[i]) {
			return;
		}
	}
	db->state = LDB_COMMITTED;
	l->n_open--;
	l->n_late -= db->late;
	commit = (struct rec_db){.id = l->id, .db_id = db->id};
	send_all(l, LANE_PROC_REC_DB_COMMIT, &commit);
	finish(l);
}

/* ---- status ---- */

static char *waiting_members(char *text, const struct rec_leader *l, const struct ldb *db)
{
	for (uint32_t i = 0; i < l->n_members; i++) {
		bool waits = db == NULL                     ? l->replies[i] == NULL
			     : db->state == LDB_WAIT_STATES ? recovery_id_is_zero(&db->content[i].id)
							    : !db->prepared[i];

		if (waits) {
			text = talloc_asprintf_append(text, " %u", l->members[i]);
		}
	}
	return text;
}

const char *rec_leader_waiting_for(TALLOC_CTX *mem, const struct rec_leader *l)
{
	char *text;

	if (l->state == LEADER_BEGIN) {
		return waiting_members(talloc_strdup(mem, "answers of nodes"), l, NULL);
	}
	dlist_for_each(e, &l->dbs)
	{
		const struct ldb *db = dlist_entry(e, struct ldb, link);

		if (db->state != LDB_COMMITTED) {
			text = talloc_asprintf(mem, "database %s on nodes", db->name);
			return waiting_members(text, l, db);
		}
	}
	return talloc_strdup(mem, "");
}
