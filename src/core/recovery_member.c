/* Recovery, a member's side: follows BEGIN, PLAN, COMMIT, END and leads each database through its steps. See
 * recovery.h. */
#include <errno.h>
#include <string.h>

#include "core/recovery_private.h"

static void lists_init(struct rec_member *m)
{
	dlist_init(&m->dbs);
	dlist_init(&m->ready);
	dlist_init(&m->waiting);
	dlist_init(&m->early);
	memset(m->by_id, 0, sizeof(m->by_id));
	memset(m->by_handle, 0, sizeof(m->by_handle));
}

struct rec_member *rec_member_new(TALLOC_CTX *mem, uint32_t own_pnn, const struct rec_member_ops *ops, void *priv)
{
	struct rec_member *m = talloc_zero(mem, struct rec_member);

	if (m != NULL) {
		m->own_pnn = own_pnn;
		m->ops = *ops;
		m->priv = priv;
		m->leader = CLAIM_NODE_NONE;
		lists_init(m);
	}
	return m;
}

void rec_member_set_patience(struct rec_member *m, uint32_t ms)
{
	m->patience_ms = ms;
}

uint32_t rec_member_index(const struct rec_member *m, uint32_t pnn)
{
	uint32_t i;

	for (i = 0; i < m->n_members && m->members[i] != pnn; i++) {
	}
	return i;
}

static uint32_t handle_bucket(const void *handle)
{
	return (uint32_t)((uintptr_t)handle / 64 % MDB_BUCKETS);
}

struct mdb *rec_member_find(const struct rec_member *m, uint32_t db_id)
{
	struct mdb *db = m->by_id[db_id % MDB_BUCKETS];

	while (db != NULL && db->id != db_id) {
		db = db->same_id;
	}
	return db;
}

struct mdb *rec_member_find_handle(const struct rec_member *m, const void *handle)
{
	struct mdb *db = m->by_handle[handle_bucket(handle)];

	while (db != NULL && db->handle != handle) {
		db = db->same_handle;
	}
	return db;
}

static void mdb_set_handle(struct mdb *db, void *handle)
{
	struct mdb **bucket = &db->m->by_handle[handle_bucket(handle)];

	db->handle = handle;
	db->same_handle = *bucket;
	*bucket = db;
}

static void mdb_drop_handle(struct mdb *db)
{
	struct mdb **p = &db->m->by_handle[handle_bucket(db->handle)];

	while (*p != NULL && *p != db) {
		p = &(*p)->same_handle;
	}
	if (*p == db) {
		*p = db->same_handle;
	}
	db->handle = NULL;
}

void mdb_ready(struct mdb *db)
{
	dlist_remove(&db->due);
	dlist_add_tail(&db->m->ready, &db->due);
}

void mdb_retry(struct mdb *db, struct mono now)
{
	dlist_remove(&db->due);
	dlist_add_tail(&db->m->waiting, &db->due);
	db->m->retry = mono_min(db->m->retry, mono_add_ms(now, APPLY_RETRY_MS));
}

bool rec_member_slice_over(const struct rec_member *m)
{
	return m->steps >= SLICE_STEPS || (m->ops.enough != NULL && m->ops.enough(m->priv));
}

bool rec_member_current(const struct rec_member *m, const struct recovery_id *id)
{
	return m->begun && m->planned && recovery_id_cmp(id, &m->id) == 0;
}

const struct recovery_id *rec_member_id(const struct rec_member *m)
{
	return &m->id;
}

const uint32_t *rec_member_slots(const struct rec_member *m, uint32_t *n)
{
	*n = m->n_slots;
	return m->slots;
}

uint32_t rec_member_generation(const struct rec_member *m)
{
	return m->begun ? m->generation : 0;
}

bool rec_member_is_full(const struct rec_member *m)
{
	return m->begun && m->planned && m->full;
}

bool rec_member_has(const struct rec_member *m, uint32_t pnn)
{
	return m->begun && rec_member_index(m, pnn) < m->n_members;
}

bool rec_member_is_normal(const struct rec_member *m)
{
	return m->normal;
}

/* Leaves whatever recovery was going on (V8). */
static void drop_run(struct rec_member *m)
{
	dlist_for_each(e, &m->dbs)
	{
		struct mdb *db = dlist_entry(e, struct mdb, link);

		if (db->handle != NULL) {
			m->ops.stop_jobs(m->priv, db->handle);
			digest_stop(db);
		}
	}
	lists_init(m);
	TALLOC_FREE(m->run);
	m->members = m->slots = NULL;
	m->n_members = m->n_slots = 0;
	m->begun = m->planned = m->normal = false;
	m->retry = m->look = MONO_NEVER;
}

void rec_member_abandon(struct rec_member *m)
{
	drop_run(m);
}

void rec_member_ack(struct mdb *db, uint32_t to, enum lane_proc what, uint32_t sequence)
{
	struct rec_ack ack = {.id = db->m->id, .db_id = db->id, .what = what, .sequence = sequence};

	db->m->ops.send(db->m->priv, to, LANE_PROC_REC_ACK, &ack);
}

void mdb_failed(struct mdb *db, int status, const char *what)
{
	struct rec_db msg = {.id = db->m->id, .db_id = db->id, .status = (uint32_t)(status != 0 ? status : EIO)};
	char *text = talloc_asprintf(db, "database %s: %s: %s", db->name, what, strerror(status));

	db->m->ops.note(db->m->priv, text != NULL ? text : what);
	if (db->handle != NULL) {
		db->m->ops.stop_jobs(db->m->priv, db->handle);
		digest_stop(db);
	}
	db->state = MDB_IDLE;
	db->m->ops.send(db->m->priv, db->m->leader, LANE_PROC_REC_DB_PREPARED, &msg);
}

/*
 * Full: recoveries that were abandoned one after the other must not push out the one that decides what counts. That is
 * the base, as long as nobody changes anything, and never older than what this copy was changed by.
 */
void rec_lineage_tell(struct rec_lineage *l, const struct recovery_id *id, const struct recovery_id *base)
{
	if (l->n_told >= LANE_LINEAGE) {
		uint32_t i = 0;

		while (i < LANE_LINEAGE - 1 &&
		       (recovery_id_cmp(&l->told[i], base) == 0 || recovery_id_cmp(&l->told[i], &l->changed) == 0)) {
			i++;
		}
		memmove(&l->told[i], &l->told[i + 1], (LANE_LINEAGE - 1 - i) * sizeof(l->told[0]));
		l->n_told = LANE_LINEAGE - 1;
	}
	l->told[l->n_told++] = *id;
}

void rec_lineage_end(struct rec_lineage *l, const struct recovery_id *id)
{
	*l = (struct rec_lineage){.changed = *id, .told = {*id}, .n_told = 1};
}

void mdb_tell(struct mdb *db)
{
	if (!db->told) {
		db->told = true;
		db->m->ops.lineage_tell(db->m->priv, db->handle, &db->m->id, &db->base);
	}
}

void mdb_change(struct mdb *db)
{
	if (!db->changed) {
		db->changed = true;
		db->m->ops.lineage_change(db->m->priv, db->handle, &db->m->id);
	}
}

void mdb_prepared(struct mdb *db)
{
	struct rec_member *m = db->m;
	struct rec_db msg = {.id = m->id, .db_id = db->id};

	mdb_tell(db);
	mdb_change(db);
	db->state = MDB_PREPARED;
	TALLOC_FREE(db->claims);
	if (db->digest != NULL) {
		slot_digest_prepared(db->digest, m->slots, m->n_slots, m->own_pnn);
	}
	m->ops.prepared(m->priv, db->handle, &m->id, m->generation, m->slots, m->n_slots);
	m->ops.send(m->priv, m->leader, LANE_PROC_REC_DB_PREPARED, &msg);
}

/* ---- BEGIN ---- */

static int begin_copy(struct rec_member *m, const struct rec_begin *msg)
{
	m->run = talloc_new(m);
	if (m->run == NULL) {
		return ENOMEM;
	}
	m->members = talloc_memdup(m->run, msg->members.v, msg->members.n * sizeof(uint32_t));
	m->slots = talloc_memdup(m->run, msg->slots.v, msg->slots.n * sizeof(uint32_t));
	m->n_early = talloc_zero_array(m->run, uint32_t, msg->members.n);
	if (m->members == NULL || m->slots == NULL || m->n_early == NULL) {
		return ENOMEM;
	}
	m->n_members = msg->members.n;
	m->n_slots = msg->slots.n;
	m->own_index = rec_member_index(m, m->own_pnn);
	return m->own_index < m->n_members ? 0 : EINVAL;
}

/* A map that names nodes outside the recovery, or a malformed list, would send records nowhere. */
static int begin_check(const struct rec_begin *msg)
{
	if (msg->members.n == 0 || msg->members.n > LANE_NODES || msg->slots.n == 0 || msg->generation <= 1) {
		return EINVAL;
	}
	for (uint32_t i = 0; i < msg->members.n; i++) {
		if (msg->members.v[i] >= LANE_NODES || (i > 0 && msg->members.v[i] <= msg->members.v[i - 1])) {
			return EINVAL;
		}
	}
	for (uint32_t s = 0; s < msg->slots.n; s++) {
		uint32_t i;

		for (i = 0; i < msg->members.n && msg->members.v[i] != msg->slots.v[s]; i++) {
		}
		if (i == msg->members.n) {
			return EINVAL;
		}
	}
	return 0;
}

static void begin_reply(struct rec_member *m, uint32_t to, const struct recovery_id *id, int status)
{
	struct rec_begin_reply reply = {.id = *id, .status = (uint32_t)status, .newest = m->id};
	TALLOC_CTX *tmp = talloc_new(m);

	if (status == 0) {
		reply.status = (uint32_t)m->ops.list_dbs(m->priv, tmp, &reply.dbs.v, &reply.dbs.n);
	}
	m->ops.send(m->priv, to, LANE_PROC_REC_BEGIN_REPLY, &reply);
	talloc_free(tmp);
}

void rec_member_on_begin(struct rec_member *m, uint32_t from, const struct rec_begin *msg, struct mono now)
{
	int ret = begin_check(msg);

	(void)now;
	if (ret == 0 && (from != msg->leader || recovery_id_cmp(&msg->id, &m->id) <= 0)) {
		ret = ESTALE; /* V1 */
	}
	if (ret == 0) {
		ret = m->ops.may_begin(m->priv, msg);
	}
	if (ret != 0) {
		begin_reply(m, from, &msg->id, ret);
		return;
	}
	drop_run(m);
	m->id = msg->id;
	m->leader = from;
	m->generation = msg->generation;
	ret = begin_copy(m, msg);
	m->begun = ret == 0;
	m->ops.begun(m->priv, msg);
	begin_reply(m, from, &msg->id, ret);
}

/* ---- PLAN ---- */

static struct mdb *mdb_new(struct rec_member *m, const struct rec_db_plan *plan)
{
	struct mdb *db = talloc_zero(m->run, struct mdb);

	if (db == NULL) {
		return NULL;
	}
	db->m = m;
	db->id = plan->db_id;
	db->flags = plan->flags;
	db->base = plan->base;
	db->name = talloc_strdup(db, plan->name);
	dlist_init(&db->todo);
	for (uint32_t i = 0; i < plan->valid.n; i++) {
		db->valid = db->valid || plan->valid.v[i] == m->own_pnn;
	}
	if (db->name == NULL) {
		talloc_free(db);
		return NULL;
	}
	db->state = MDB_NEW;
	db->same_id = m->by_id[db->id % MDB_BUCKETS];
	m->by_id[db->id % MDB_BUCKETS] = db;
	dlist_add_tail(&m->dbs, &db->link);
	mdb_ready(db);
	return db;
}

/* A database that is missing is made now, which takes milliseconds: each has a turn of its own. */
static void mdb_begin(struct mdb *db)
{
	struct rec_db_plan plan = {.db_id = db->id, .flags = db->flags, .name = db->name, .base = db->base};
	void *handle = db->m->ops.find_db(db->m->priv, &plan);
	int ret;

	db->m->steps += STEPS_BEGIN;
	if (handle == NULL) {
		mdb_failed(db, EIO, "cannot attach");
		return;
	}
	mdb_set_handle(db, handle);
	ret = mdb_is_volatile(db) ? volatile_begin(db) : content_begin(db);
	if (ret != 0) {
		mdb_failed(db, ret, "cannot start");
	}
}

/* true: more to do at once */
static bool mdb_run(struct mdb *db, struct mono now)
{
	enum mdb_state before = db->state;

	if (before == MDB_NEW) {
		mdb_begin(db);
	} else if (!mdb_is_volatile(db)) {
		content_run(db, now);
	}
	return mdb_is_volatile(db) && (volatile_run(db, now) || db->state != before);
}

static void plan_failed(struct rec_member *m, const struct rec_db_plan *plan)
{
	struct rec_db msg = {.id = m->id, .db_id = plan->db_id, .status = ENOMEM};

	m->ops.note(m->priv, "out of memory");
	m->ops.send(m->priv, m->leader, LANE_PROC_REC_DB_PREPARED, &msg);
}

void rec_member_on_plan(struct rec_member *m, uint32_t from, const struct rec_plan *msg, struct mono now)
{
	if (!m->begun || m->planned || from != m->leader || recovery_id_cmp(&msg->id, &m->id) != 0) {
		return;
	}
	m->planned = true;
	m->full = msg->full;
	m->stats = (struct rec_stats){.full = msg->full,
				      .content_records = m->ended ? 0 : m->stats.content_records,
				      .content_bytes = m->ended ? 0 : m->stats.content_bytes};
	m->ended = false;
	(void)now;
	for (uint32_t i = 0; i < msg->dbs.n; i++) {
		const struct rec_db_plan *plan = &msg->dbs.v[i];

		if (rec_member_find(m, plan->db_id) == NULL && mdb_new(m, plan) == NULL) {
			plan_failed(m, plan);
		}
	}
}

const struct rec_stats *rec_member_stats(const struct rec_member *m)
{
	return &m->stats;
}

/* ---- jobs and acknowledgements ---- */

void rec_member_job_done(struct rec_member *m, void *handle, int status, struct mono now)
{
	struct mdb *db = rec_member_find_handle(m, handle);

	(void)now;
	if (db == NULL || !m->begun) {
		return;
	}
	mdb_ready(db);
	if (status != 0 && !mdb_is_volatile(db)) {
		content_job_failed(db, status);
	} else if (status != 0) {
		mdb_failed(db, status, "reading or writing the file failed");
	} else if (mdb_is_volatile(db)) {
		volatile_job_done(db);
	} else {
		content_job_done(db);
	}
}

void rec_member_on_ack(struct rec_member *m, uint32_t from, const struct rec_ack *msg, struct mono now)
{
	struct mdb *db = rec_member_current(m, &msg->id) ? rec_member_find(m, msg->db_id) : NULL;
	uint32_t i = rec_member_index(m, from);

	if (db == NULL || i == m->n_members || db->state == MDB_IDLE || db->state == MDB_NEW) {
		return;
	}
	mdb_ready(db);
	if (msg->what == LANE_PROC_REC_CONTENT && !mdb_is_volatile(db)) {
		content_acked(db, i, msg->sequence, now);
	} else if (mdb_is_volatile(db) && (msg->what == LANE_PROC_REC_CLAIMS || msg->what == LANE_PROC_REC_ORDERS)) {
		volatile_acked(db, i, (enum lane_proc)msg->what, msg->sequence);
	}
}

void rec_member_late(struct rec_member *m, void *handle)
{
	struct mdb *db = m->begun ? rec_member_find_handle(m, handle) : NULL;
	struct rec_db msg = {.id = m->id, .status = EINPROGRESS};

	if (db == NULL || db->late || !mdb_is_volatile(db) || db->state == MDB_IDLE || db->state == MDB_PREPARED ||
	    db->state == MDB_COMMITTED) {
		return;
	}
	db->late = true;
	msg.db_id = db->id;
	m->ops.send(m->priv, m->leader, LANE_PROC_REC_DB_PREPARED, &msg);
}

void rec_member_forget(struct rec_member *m, uint32_t db_id, void *handle)
{
	struct mdb *db = rec_member_find(m, db_id);

	if (db == NULL || (db->handle != handle && db->state != MDB_NEW)) {
		return;
	}
	if (db->state != MDB_IDLE && db->state != MDB_COMMITTED) {
		mdb_failed(db, ECANCELED, "it was detached");
	}
	mdb_drop_handle(db);
}

bool rec_member_works_on(const struct rec_member *m, uint32_t db_id)
{
	const struct mdb *db = m->begun ? rec_member_find(m, db_id) : NULL;

	return db != NULL && db->state != MDB_COMMITTED;
}

/* ---- COMMIT and END ---- */

void rec_member_on_commit(struct rec_member *m, uint32_t from, const struct rec_db *msg, struct mono now)
{
	struct mdb *db = rec_member_current(m, &msg->id) ? rec_member_find(m, msg->db_id) : NULL;

	(void)now;
	if (db == NULL || from != m->leader || db->state != MDB_PREPARED) {
		return;
	}
	db->state = MDB_COMMITTED;
	m->ops.committed(m->priv, db->handle, &m->id, m->generation);
}

void rec_member_on_end(struct rec_member *m, uint32_t from, const struct rec_end *msg, struct mono now)
{
	(void)now;
	if (!rec_member_current(m, &msg->id) || from != m->leader || m->normal) {
		return;
	}
	m->normal = m->ended = true;
	m->n_whole = 0; /* of databases that are detached */
	m->whole_all = false;
	m->ops.ended(m->priv, &m->id, m->generation, m->members, m->n_members);
}

static void retry_due(struct rec_member *m, struct mono now)
{
	if (!mono_is_set(m->retry) || mono_before(now, m->retry)) {
		return;
	}
	m->retry = MONO_NEVER;
	while (!dlist_empty(&m->waiting)) {
		mdb_ready(dlist_entry(dlist_first(&m->waiting), struct mdb, due));
	}
}

/* Whose contents wait for others: each of them knows how long. */
static void contents_due(struct rec_member *m, struct mono now)
{
	if (!mono_is_set(m->look) || mono_before(now, m->look)) {
		return;
	}
	m->look = MONO_NEVER;
	dlist_for_each(e, &m->dbs)
	{
		struct mdb *db = dlist_entry(e, struct mdb, link);

		if (!mdb_is_volatile(db) && db->state != MDB_NEW) {
			mdb_ready(db);
		}
	}
}

struct mono rec_member_run(struct rec_member *m, struct mono now)
{
	if (!m->begun) {
		return MONO_NEVER;
	}
	m->steps = 0;
	retry_due(m, now);
	if (m->planned) {
		digests_take_early(m, now);
	}
	contents_due(m, now);
	while (!dlist_empty(&m->ready)) {
		struct mdb *db = dlist_entry(dlist_first(&m->ready), struct mdb, due);

		dlist_remove(&db->due);
		m->steps++;
		if (mdb_run(db, now)) {
			mdb_ready(db); /* behind the others */
		}
		if (rec_member_slice_over(m)) {
			break;
		}
	}
	return !dlist_empty(&m->ready) || (m->planned && !dlist_empty(&m->early)) ? now : mono_min(m->retry, m->look);
}
