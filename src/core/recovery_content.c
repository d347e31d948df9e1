/* Recovery of a persistent or replicated database at a member: tell the state, send or take what differs. See
 * recovery.h, V13 and V14. */
#include <errno.h>
#include <string.h>

#include "core/recovery_private.h"

int content_begin(struct mdb *db)
{
	db->state = MDB_STATE;
	db->claims_out = talloc_zero_array(db, struct stream, db->m->n_members); /* credits of REC_CONTENT */
	db->parts_in = talloc_zero_array(db, struct part_sums, db->m->n_members);
	if (db->claims_out == NULL || db->parts_in == NULL) {
		return ENOMEM;
	}
	return db->m->ops.start_state(db->m->priv, db->handle);
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
	db->seqnum = seqnum;
	db->digest_told = digest;
	db->healthy = healthy;
	if (db->valid) {
		mdb_tell(db);
	}
	msg = (struct rec_content_state){
		.id = m->id, .db_id = db->id, .seqnum = seqnum, .digest = digest, .healthy = healthy};
	m->ops.send(m->priv, m->leader, LANE_PROC_REC_CONTENT_STATE, &msg);
}

/* ---- which databases are fetched whole: V14 ---- */

static uint32_t whole_find(const struct rec_member *m, uint32_t db_id)
{
	uint32_t i;

	for (i = 0; i < m->n_whole && m->whole[i] != db_id; i++) {
	}
	return i;
}

static bool is_whole(const struct rec_member *m, uint32_t db_id)
{
	return m->whole_all || whole_find(m, db_id) < m->n_whole;
}

static void whole_add(struct rec_member *m, uint32_t db_id)
{
	if (is_whole(m, db_id)) {
		return;
	}
	m->whole_all = m->n_whole == WHOLE_MAX;
	if (!m->whole_all) {
		m->whole[m->n_whole++] = db_id;
	}
}

static void content_prepared(struct mdb *db)
{
	struct rec_member *m = db->m;
	uint32_t i = whole_find(m, db->id);

	if (i < m->n_whole) {
		m->whole[i] = m->whole[--m->n_whole];
	}
	db->heard = MONO_NEVER;
	mdb_prepared(db);
}

/* ---- the plan ---- */

static bool is_target(const struct mdb *db, uint32_t member)
{
	for (uint32_t i = 0; i < db->n_targets; i++) {
		if (db->targets[i] == member) {
			return true;
		}
	}
	return false;
}

/* The source and all targets are members, and nobody is two of these. */
static int plan_take(struct mdb *db, const struct rec_content_plan *msg)
{
	uint32_t source = rec_member_index(db->m, msg->source);

	db->targets = talloc_array(db, uint32_t, msg->targets.n + 1);
	if (db->targets == NULL) {
		return ENOMEM;
	}
	for (uint32_t i = 0; i < msg->targets.n; i++) {
		uint32_t t = rec_member_index(db->m, msg->targets.v[i]);

		if (t == db->m->n_members || t == source || is_target(db, t)) {
			return EPROTO;
		}
		db->targets[db->n_targets++] = t;
	}
	db->source = msg->source;
	return source < db->m->n_members ? 0 : EPROTO;
}

/*
 * The lineage moves with mdb_prepared(), when the transaction that replaces the contents is on disk. Before, a copy
 * that does not count would begin to count with its old contents: if this node died in between, they could win by their
 * sequence number.
 */
static void ask(struct mdb *db, struct mono now)
{
	struct rec_member *m = db->m;
	struct rec_content_parts msg = {.id = m->id, .db_id = db->id};
	union {
		const uint64_t *c;
		uint64_t *p;
	} sums = {NULL};
	uint32_t n = 0;

	if (db->healthy && !is_whole(m, db->id)) {
		sums.c = m->ops.parts(m->priv, db->handle, &n);
	}
	if (sums.c != NULL) {
		db->by_parts = true;
		msg.sums.n = n;
		msg.sums.v = sums.p;
		m->stats.content_bytes += n * sizeof(uint64_t);
	}
	db->state = MDB_ASK;
	db->heard = now;
	mdb_ready(db);
	m->ops.send(m->priv, db->source, LANE_PROC_REC_CONTENT_PARTS, &msg);
}

static void send_if_asked(struct mdb *db);

void rec_member_on_content_plan(struct rec_member *m, uint32_t from, const struct rec_content_plan *msg,
				struct mono now)
{
	struct mdb *db = rec_member_current(m, &msg->id) ? rec_member_find(m, msg->db_id) : NULL;
	int ret;

	if (db == NULL || from != m->leader || db->state != MDB_WAIT) {
		return;
	}
	ret = plan_take(db, msg);
	if (ret != 0) {
		mdb_failed(db, ret, "cannot follow the plan for the contents");
	} else if (is_target(db, m->own_index)) {
		ask(db, now);
	} else if (msg->source == m->own_pnn && db->n_targets > 0) {
		db->state = MDB_PARTS;
		db->heard = now;
		mdb_ready(db);
		send_if_asked(db);
	} else {
		content_prepared(db);
	}
}

/* ---- source ---- */

/* The plan may have come to a target before it comes to us: what it tells is kept. */
void rec_member_on_content_parts(struct rec_member *m, uint32_t from, const struct rec_content_parts *msg,
				 struct mono now)
{
	struct mdb *db = rec_member_current(m, &msg->id) ? rec_member_find(m, msg->db_id) : NULL;
	uint32_t i = rec_member_index(m, from);
	struct part_sums *in;

	if (db == NULL || mdb_is_volatile(db) || i == m->n_members || i == m->own_index ||
	    (db->state != MDB_WAIT && db->state != MDB_PARTS && db->state != MDB_SEND) ||
	    (db->state != MDB_WAIT && !is_target(db, i))) {
		return;
	}
	in = &db->parts_in[i];
	if (in->in) {
		return;
	}
	in->in = true;
	in->n = content_parts_valid(msg->sums.n) ? msg->sums.n : 0; /* what means nothing means "everything" */
	in->v = talloc_array(db, uint64_t, in->n + 1);
	if (in->v == NULL) {
		mdb_failed(db, ENOMEM, "cannot keep sums of contents");
		return;
	}
	if (in->n > 0) {
		memcpy(in->v, msg->sums.v, in->n * sizeof(uint64_t));
	}
	if (db->state == MDB_PARTS) {
		db->heard = now;
		send_if_asked(db);
	}
}

/* What any of the targets needs: all of them get the same. */
static void make_map(struct mdb *db, struct content_map *map)
{
	uint32_t n = 0;
	const uint64_t *own = db->m->ops.parts(db->m->priv, db->handle, &n);

	*map = (struct content_map){.n = own != NULL ? n : 0};
	for (uint32_t i = 0; i < db->n_targets && map->n > 0; i++) {
		const struct part_sums *in = &db->parts_in[db->targets[i]];

		if (in->n == 0) {
			map->n = 0;
		} else {
			content_map_add(map, own, n, in->v, in->n);
		}
	}
	if (content_map_is_large(map)) {
		*map = (struct content_map){.n = 0};
	}
}

static void send_targets(struct mdb *db, enum lane_proc proc, const void *msg)
{
	for (uint32_t i = 0; i < db->n_targets; i++) {
		db->m->ops.send(db->m->priv, db->m->members[db->targets[i]], proc, msg);
	}
}

static void send_if_asked(struct mdb *db)
{
	struct rec_content_begin msg = {
		.id = db->m->id, .db_id = db->id, .seqnum = db->seqnum, .digest = db->digest_told};
	struct content_map map;
	int ret;

	for (uint32_t i = 0; i < db->n_targets; i++) {
		if (!db->parts_in[db->targets[i]].in) {
			return;
		}
	}
	make_map(db, &map);
	for (uint32_t i = 0; i < db->n_targets; i++) {
		TALLOC_FREE(db->parts_in[db->targets[i]].v);
	}
	msg.parts = map.n;
	msg.map = (struct ctdb_blob){(uint32_t)content_map_size(map.n), map.bits};
	send_targets(db, LANE_PROC_REC_CONTENT_BEGIN, &msg);
	db->state = MDB_SEND;
	ret = db->m->ops.start_read(db->m->priv, db->handle, &map);
	if (ret != 0) {
		mdb_failed(db, ret, "cannot read the contents");
	}
}

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
		db->m->stats.content_bytes += len;
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
	db->heard = MONO_NEVER; /* content_run() knows what time it is */
	mdb_ready(db);
	return !db->read_paused;
}

/* The source is done when it has sent everything: what the targets do with it they tell the leader themselves. */
void content_acked(struct mdb *db, uint32_t member, uint32_t sequence, struct mono now)
{
	struct stream *s = &db->claims_out[member];

	if (sequence == s->acked && s->acked != s->sent) {
		s->acked++;
		db->heard = db->state == MDB_SEND ? now : db->heard;
	}
	if (db->read_paused && db->state == MDB_SEND && targets_open(db)) {
		db->read_paused = false;
		db->m->ops.read_continue(db->m->priv, db->handle);
	}
}

void rec_member_read_done(struct rec_member *m, void *handle, uint64_t seqnum, uint64_t digest, uint64_t records,
			  struct mono now)
{
	struct mdb *db = rec_member_find_handle(m, handle);

	(void)now;
	if (db == NULL || !m->begun || db->state != MDB_SEND) {
		return;
	}
	m->stats.content_records += records * db->n_targets;
	if (seqnum != db->seqnum || digest != db->digest_told) {
		m->ops.contents_forget(m->priv, db->handle);
		mdb_failed(db, ECANCELED, "others have changed the file since its state was told");
		return;
	}
	content_send(db, NULL, 0, true);
	content_prepared(db);
}

/* ---- target ---- */

/* Its bits are those of the message. */
static bool begin_is_good(const struct mdb *db, const struct rec_content_begin *msg, struct content_map *map)
{
	return content_map_set(map, msg->parts, msg->map.data, msg->map.len) && (map->n == 0 || db->by_parts);
}

void rec_member_on_content_begin(struct rec_member *m, uint32_t from, const struct rec_content_begin *msg,
				 struct mono now)
{
	struct mdb *db = rec_member_current(m, &msg->id) ? rec_member_find(m, msg->db_id) : NULL;
	struct rec_replace what = {.source = from, .seqnum = msg->seqnum, .digest = msg->digest};
	int ret;

	if (db == NULL || mdb_is_volatile(db) || (db->state != MDB_ASK && db->state != MDB_REPLACE) ||
	    from != db->source) {
		return;
	}
	if (db->state != MDB_ASK || !begin_is_good(db, msg, &what.map)) {
		mdb_failed(db, EPROTO, "contents that were not asked for");
		return;
	}
	db->by_parts = what.map.n > 0;
	db->state = MDB_REPLACE;
	db->heard = now;
	ret = m->ops.start_replace(m->priv, db->handle, &what);
	if (ret != 0) {
		mdb_failed(db, ret, "cannot take the contents");
	}
}

void rec_member_on_content(struct rec_member *m, uint32_t from, const struct rec_content *msg, struct mono now)
{
	struct mdb *db = rec_member_current(m, &msg->id) ? rec_member_find(m, msg->db_id) : NULL;
	int ret;

	if (db == NULL || mdb_is_volatile(db) || (db->state != MDB_ASK && db->state != MDB_REPLACE) ||
	    from != db->source) {
		return;
	}
	db->content_len += msg->records.len;
	if (db->state == MDB_ASK || db->content_ended || msg->sequence != db->content_in ||
	    (msg->records.len == 0 && !msg->last) || db->content_len > CONTENT_MAX) {
		mdb_failed(db, EPROTO, "contents out of order");
		return;
	}
	db->content_in++;
	db->content_ended = msg->last;
	db->heard = msg->last ? MONO_NEVER : now;
	ret = m->ops.replace_feed(m->priv, db->handle, msg->records.data, msg->records.len, msg->last);
	if (ret != 0) {
		mdb_failed(db, ret, "cannot take the contents");
		return;
	}
	rec_member_ack(db, from, LANE_PROC_REC_CONTENT, msg->sequence);
}

void content_job_done(struct mdb *db)
{
	if (db->state == MDB_REPLACE && db->content_ended) {
		content_prepared(db);
	}
}

/* What this node lacks, or a file that stands still, does not come of how the contents came. */
static bool is_own_fault(int status)
{
	return status == ETIMEDOUT || status == ENOSPC || status == ENOMEM;
}

/*
 * Parts: whatever it was, a damage in the file among others, everything may help (V14). The whole contents: either this
 * node cannot store them, or they are not what their source told the leader, who knows the source.
 */
void content_job_failed(struct mdb *db, int status)
{
	if (db->state != MDB_REPLACE) {
		mdb_failed(db, status, "reading or writing the file failed");
	} else if (db->by_parts) {
		whole_add(db->m, db->id);
		db->m->ops.contents_forget(db->m->priv, db->handle);
		mdb_failed(db, is_own_fault(status) ? status : ECANCELED,
			   "its contents could not be replaced in parts, all are fetched next");
	} else if (status == EILSEQ) {
		mdb_failed(db, EREMOTEIO, "the contents that came are not what their source said");
	} else {
		mdb_failed(db, status, "its contents could not be replaced");
	}
}

/* ---- time ---- */

static bool waits_for_others(const struct mdb *db)
{
	return db->state == MDB_PARTS || db->state == MDB_ASK || (db->state == MDB_SEND && db->read_paused) ||
	       (db->state == MDB_REPLACE && !db->content_ended);
}

/* Whoever is to blame hears the same from his own part, and earlier. */
void content_run(struct mdb *db, struct mono now)
{
	struct rec_member *m = db->m;
	struct mono end;

	if (m->patience_ms == 0 || !waits_for_others(db)) {
		return;
	}
	db->heard = mono_is_set(db->heard) ? db->heard : now;
	end = mono_add_ms(db->heard, 2 * (uint64_t)m->patience_ms);
	if (!mono_before(now, end)) {
		mdb_failed(db, ECANCELED, "other members say nothing about its contents");
	} else {
		m->look = mono_min(m->look, end);
	}
}
