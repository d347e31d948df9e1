/* Recovery of a persistent or replicated database at a member: tell the state, send or take the contents. See
 * recovery.h. */
#include <errno.h>

#include "core/recovery_private.h"

int content_begin(struct mdb *db)
{
	db->state = MDB_STATE;
	db->claims_out = talloc_zero_array(db, struct stream, db->m->n_members); /* credits of REC_CONTENT */
	return db->claims_out != NULL ? db->m->ops.start_state(db->m->priv, db->handle) : ENOMEM;
}

void rec_member_state_done(struct rec_member *m, void *handle, int status, uint64_t seqnum, uint64_t digest,
			   bool healthy)
{
	struct mdb *db = rec_member_find_handle(m, handle);
	struct rec_content_state msg;

	if (db == NULL || !m->begun || db->state != MDB_STATE) {
		return;
	}
	if (status != 0) {
		mdb_failed(db, status, "cannot read the sequence number");
		return;
	}
	db->state = MDB_WAIT;
	if (db->valid) {
		mdb_tell(db);
	}
	msg = (struct rec_content_state){
		.id = m->id, .db_id = db->id, .seqnum = seqnum, .digest = digest, .healthy = healthy};
	m->ops.send(m->priv, m->leader, LANE_PROC_REC_CONTENT_STATE, &msg);
}

static int send_begin(struct mdb *db, const struct rec_content_plan *msg)
{
	db->targets = talloc_array(db, uint32_t, msg->targets.n);
	if (db->targets == NULL) {
		return ENOMEM;
	}
	for (uint32_t i = 0; i < msg->targets.n; i++) {
		uint32_t t = rec_member_index(db->m, msg->targets.v[i]);

		if (t == db->m->n_members || t == db->m->own_index) {
			return EPROTO;
		}
		db->targets[db->n_targets++] = t;
	}
	db->state = MDB_SEND;
	return db->m->ops.start_read(db->m->priv, db->handle);
}

/* The source got the plan before us and is quick: kept until ours comes. */
static void early_content(struct mdb *db, uint32_t from, const struct rec_content *msg)
{
	struct ctdb_blob buf = {0};
	struct early *e;

	if (db->n_early++ >= STREAM_WINDOW) {
		mdb_failed(db, EPROTO, "contents without a plan");
		return;
	}
	e = talloc_zero(db, struct early);
	if (e == NULL || rec_content_encode(e, msg, &buf) != 0) {
		talloc_free(e);
		mdb_failed(db, ENOMEM, "cannot keep contents that came early");
		return;
	}
	e->from = from;
	e->buf = buf;
	dlist_add_tail(&db->early, &e->link);
}

static void take_early(struct mdb *db, struct mono now)
{
	while (!dlist_empty(&db->early)) {
		struct early *e = dlist_entry(dlist_first(&db->early), struct early, link);
		struct rec_content msg;

		dlist_remove(&e->link);
		if (rec_content_decode(e, e->buf.data, e->buf.len, &msg) == 0) {
			rec_member_on_content(db->m, e->from, &msg, now);
		}
		talloc_free(e);
	}
}

void rec_member_on_content_plan(struct rec_member *m, uint32_t from, const struct rec_content_plan *msg,
				struct mono now)
{
	struct mdb *db = rec_member_current(m, &msg->id) ? rec_member_find(m, msg->db_id) : NULL;
	bool target = false;
	int ret;

	if (db == NULL || from != m->leader || db->state != MDB_WAIT) {
		return;
	}
	for (uint32_t i = 0; i < msg->targets.n; i++) {
		target = target || msg->targets.v[i] == m->own_pnn;
	}
	db->source = msg->source;
	if (target) {
		/*
		 * The lineage moves with mdb_prepared(), when the transaction that replaces the contents is on disk.
		 * Before, a copy that does not count would begin to count with its old contents: if this node died in
		 * between, they could win by their sequence number.
		 */
		db->state = MDB_REPLACE;
		ret = m->ops.start_replace(m->priv, db->handle);
		if (ret == 0) {
			take_early(db, now);
		}
	} else if (msg->source == m->own_pnn && msg->targets.n > 0) {
		ret = send_begin(db, msg);
	} else {
		mdb_prepared(db);
		return;
	}
	if (ret != 0) {
		mdb_failed(db, ret, "cannot copy the contents");
	}
}

/* ---- source ---- */

static bool targets_open(const struct mdb *db)
{
	for (uint32_t i = 0; i < db->n_targets; i++) {
		const struct stream *s = &db->claims_out[db->targets[i]];

		if (s->sent - s->acked >= STREAM_WINDOW) {
			return false;
		}
	}
	return true;
}

static void content_send(struct mdb *db, const uint8_t *records, size_t len, bool last)
{
	struct rec_content msg = {.id = db->m->id, .db_id = db->id, .last = last};
	union {
		const uint8_t *c;
		uint8_t *p;
	} data = {records};

	msg.records = (struct ctdb_blob){(uint32_t)len, data.p};
	for (uint32_t i = 0; i < db->n_targets; i++) {
		msg.sequence = db->claims_out[db->targets[i]].sent++;
		db->m->ops.send(db->m->priv, db->m->members[db->targets[i]], LANE_PROC_REC_CONTENT, &msg);
	}
}

bool rec_member_read_batch(struct rec_member *m, void *handle, const uint8_t *records, size_t len)
{
	struct mdb *db = rec_member_find_handle(m, handle);

	if (db == NULL || db->state != MDB_SEND) {
		return true;
	}
	content_send(db, records, len, false);
	db->read_paused = !targets_open(db);
	return !db->read_paused;
}

/* The source is done when it has sent everything: what the targets do with it they tell the leader themselves. */
void content_acked(struct mdb *db, uint32_t member, uint32_t sequence)
{
	struct stream *s = &db->claims_out[member];

	if (sequence == s->acked && s->acked != s->sent) {
		s->acked++;
	}
	if (db->read_paused && db->state == MDB_SEND && targets_open(db)) {
		db->read_paused = false;
		db->m->ops.read_continue(db->m->priv, db->handle);
	}
}

void content_job_done(struct mdb *db)
{
	if (db->state == MDB_SEND) {
		content_send(db, NULL, 0, true);
		mdb_prepared(db);
	} else if (db->state == MDB_REPLACE && db->content_ended) {
		mdb_prepared(db);
	}
}

/* ---- target ---- */

void rec_member_on_content(struct rec_member *m, uint32_t from, const struct rec_content *msg, struct mono now)
{
	struct mdb *db = rec_member_current(m, &msg->id) ? rec_member_find(m, msg->db_id) : NULL;
	int ret;

	(void)now;
	if (db != NULL && db->state == MDB_WAIT) {
		early_content(db, from, msg);
		return;
	}
	if (db == NULL || mdb_is_volatile(db) || db->state != MDB_REPLACE || from != db->source) {
		return;
	}
	if (db->content_ended || msg->sequence != db->content_in) {
		mdb_failed(db, EPROTO, "contents out of order");
		return;
	}
	db->content_in++;
	db->content_ended = msg->last;
	ret = m->ops.replace_feed(m->priv, db->handle, msg->records.data, msg->records.len, msg->last);
	if (ret != 0) {
		mdb_failed(db, ret, "cannot take the contents");
		return;
	}
	rec_member_ack(db, from, LANE_PROC_REC_CONTENT, msg->sequence);
}
