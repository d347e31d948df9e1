/*
 * Transactions on persistent and replicated databases: TRANS3_COMMIT.
 *
 * The client's dbd coordinates: it sends the whole buffer to the other members of the generation (UPDATE) and applies
 * it itself, at the same time; each does it as one TDB transaction in a worker. All well: the client gets 0. Anything
 * else: the copies may differ now, so a recovery is asked for; it makes them equal again, and at its end the client
 * gets 2 and looks at the sequence number, whether the transaction is there or not.
 *
 * C1 A client is told 0 only if every member of the generation has stored the transaction.
 * C2 A commit that may have been stored anywhere is answered only with 0, or after a recovery.
 * C3 One commit at a time for a database on this node, and for a client.
 * C4 A member applies an UPDATE only in the generation in which it was sent. One that comes while the member is still
 * in the recovery that makes that generation waits for its end. C5 A commit is a barrier: it is answered after the
 * records that were pushed before it (PUSH_RECORD) are stored.
 */
#include "dbd/commit.h"
#include "dbd/foreign.h"
#include "dbd/worker.h"
#include "protocol/lane_rpc.h"
#include "shared/log.h"

#include <errno.h>
#include <stdarg.h>

#define STATUS_RECOVERED 2
#define PUSH_BARRIER_MS  5000
#define HELD_MAX         256
#define HELD_BYTES_MAX   (64U * 1024 * 1024) /* and the last one */
#define TEXT_RECOVERED   "trans3 commit ended by recovery"

/* A commit that this node coordinates. Not a child of its control: it goes on when the client has gone. */
struct commit {
	struct dlist link;
	struct commits *commits;
	struct commit_watch *watch; /* NULL: the client has gone */
	struct db *db;
	uint64_t id;
	uint32_t generation;
	bool waits_for[LANE_NODES];
	uint32_t n_waiting; /* other nodes, and one for the own worker */
	bool failed;        /* only a recovery ends it now */
	struct deadline *deadline;
};

/* Child of the control: tells the commit that the client has gone. */
struct commit_watch {
	struct commit *commit;
	struct control *ctl;
};

/* An UPDATE of another node that is being stored. */
struct update {
	struct commits *commits;
	uint32_t from;
	uint64_t id;
	char *db_name;
};

/* An UPDATE of another node that came before the end of the recovery. */
struct held {
	struct dlist link;
	uint32_t from;
	struct lane_update m;
};

struct commits {
	struct dbd *dbd;
	struct dlist list;
	struct dlist held;
	uint32_t n_held;
	size_t held_bytes;
	uint64_t last_id;
};

/* ---- end of a commit ---- */

static int commit_destructor(struct commit *c)
{
	dlist_remove(&c->link);
	c->db->commit = NULL;
	if (c->watch != NULL) {
		c->watch->commit = NULL;
	}
	return 0;
}

static int watch_destructor(struct commit_watch *w)
{
	if (w->ctl->client != NULL) {
		w->ctl->client->commit = NULL;
	}
	if (w->commit != NULL) {
		w->commit->watch = NULL;
	}
	return 0;
}

static void finish(struct commit *c, int32_t status, const char *text)
{
	struct control *ctl = c->watch != NULL ? c->watch->ctl : NULL;

	talloc_free(c);
	if (ctl != NULL) {
		control_reply(ctl, status, NULL, 0, text);
	}
}

/* ---- failure ---- */

static void still_failed(void *priv);

/* Asks again while no recovery comes: the request may have been lost with a leader. */
static void ask_for_recovery(struct commit *c, const char *why)
{
	struct dbd *dbd = c->commits->dbd;

	recovery_want(dbd->recovery, c->generation, "transaction on %s: %s", c->db->name, why);
	TALLOC_FREE(c->deadline);
	c->deadline = deadline_add(c, dbd, dbd->d->conf->database.control_timeout, still_failed, c);
	if (c->deadline == NULL) {
		log_error("no memory for a timer: recovery is not asked for again if it does not come");
	}
}

static void still_failed(void *priv)
{
	struct commit *c = priv;

	c->deadline = NULL;
	if (recovery_is_normal(c->commits->dbd->recovery)) {
		ask_for_recovery(c, "failed, and no recovery has come yet");
	}
}

static void fail(struct commit *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void fail(struct commit *c, const char *fmt, ...)
{
	va_list ap;
	char *why;

	if (c->failed) {
		return;
	}
	c->failed = true;
	va_start(ap, fmt);
	why = talloc_vasprintf(c, fmt, ap);
	va_end(ap);
	ask_for_recovery(c, why != NULL ? why : "failed");
	talloc_free(why);
}

static void commit_timeout(void *priv)
{
	struct commit *c = priv;

	c->deadline = NULL;
	fail(c, "no answer in time from %u members", c->n_waiting);
}

/* ---- progress ---- */

static void one_done(struct commit *c)
{
	c->n_waiting--;
	if (c->n_waiting == 0 && !c->failed) {
		finish(c, 0, NULL);
	}
}

static bool own_pushed(void *priv)
{
	struct commit *c = priv;

	if (pushes_pending(c->commits->dbd->clients)) {
		return false;
	}
	one_done(c);
	return true;
}

static void own_expired(void *priv)
{
	fail(priv, "records pushed before it are not stored here: their chains are locked");
}

static void own_done(struct tevent_req *req)
{
	struct commit *c = tevent_req_callback_data(req, struct commit);
	int rc = worker_job_recv(req, NULL);

	talloc_free(req);
	if (rc == 0) {
		rc = retry_start(c, c->commits->dbd, PUSH_BARRIER_MS, own_pushed, own_expired, c);
	}
	if (rc != 0) {
		fail(c, "not stored here: %s", strerror(rc));
	}
}

void commits_on_reply(struct commits *cs, uint32_t from, const struct lane_update_reply *m)
{
	dlist_for_each(e, &cs->list)
	{
		struct commit *c = dlist_entry(e, struct commit, link);

		if (c->id != m->id || from >= LANE_NODES || !c->waits_for[from]) {
			continue;
		}
		c->waits_for[from] = false;
		if (m->status != 0) {
			fail(c, "not stored at node %u: %s", from, strerror((int)m->status));
		} else {
			one_done(c);
		}
		return;
	}
}

void commits_node_lost(struct commits *cs, uint32_t pnn)
{
	dlist_for_each_safe(e, &cs->list)
	{
		struct commit *c = dlist_entry(e, struct commit, link);

		if (pnn < LANE_NODES && c->waits_for[pnn]) {
			fail(c, "node %u was lost", pnn);
		}
	}
}

void commits_recovery_began(struct commits *cs)
{
	dlist_for_each(e, &cs->list)
	{
		struct commit *c = dlist_entry(e, struct commit, link);

		/* Answers of the former generation count no more: the recovery decides. Its end may be far: no
		 * time-out. */
		c->failed = true;
		TALLOC_FREE(c->deadline);
	}
}

static void update_held(struct commits *cs);

void commits_recovery_ended(struct commits *cs)
{
	dlist_for_each_safe(e, &cs->list)
	{
		struct commit *c = dlist_entry(e, struct commit, link);

		if (c->failed) {
			finish(c, STATUS_RECOVERED, TEXT_RECOVERED);
		}
	}
	update_held(cs);
}

/* ---- start of a commit ---- */

/* Why this request is refused, before anything was done; NULL: go on. */
static const char *refusal(const struct control *ctl, const struct db *db)
{
	const struct recovery *r = ctl->dbd->recovery;

	if (db_is_volatile(db)) {
		return "this database has no transactions";
	}
	if (db->health != NULL) {
		return "this database is damaged";
	}
	if (ctl->len > LANE_DATA_MAX) { /* no recovery would help it */
		return "this transaction is larger than 64 MiB, the most that can be sent to another node";
	}
	if (recovery_is_fenced(r) || !recovery_is_normal(r) || db->generation != recovery_generation(r)) {
		return "a recovery is running";
	}
	if (db->commit != NULL || ctl->client->commit != NULL) {
		return "another transaction is being committed";
	}
	return NULL;
}

static struct commit *commit_new(struct control *ctl, struct db *db)
{
	struct commits *cs = ctl->dbd->commits;
	struct commit *c = talloc_zero(cs, struct commit);
	struct commit_watch *w = talloc(ctl, struct commit_watch);

	if (c == NULL || w == NULL) {
		talloc_free(c);
		talloc_free(w);
		return NULL;
	}
	*w = (struct commit_watch){.commit = c, .ctl = ctl};
	c->commits = cs;
	c->watch = w;
	c->db = db;
	c->id = ++cs->last_id;
	c->generation = recovery_generation(ctl->dbd->recovery);
	db->commit = c;
	ctl->client->commit = c;
	dlist_add_tail(&cs->list, &c->link);
	talloc_set_destructor(c, commit_destructor);
	talloc_set_destructor(w, watch_destructor);
	return c;
}

/* The own worker's job comes first: if it cannot even start, nothing has happened anywhere. */
static int start_own(struct commit *c, struct ctdb_blob records)
{
	struct dbd *dbd = c->commits->dbd;
	struct worker_args args = {.op = WORKER_UPDATE, .input = records};
	struct tevent_req *req = worker_job_send(c, dbd->d->ev, dbd->workers, c->db, &args, NULL, NULL, NULL);

	if (req == NULL) {
		return ENOMEM;
	}
	tevent_req_set_callback(req, own_done, c);
	c->n_waiting++;
	return 0;
}

static void send_others(struct commit *c, const struct ctdb_blob *packet)
{
	struct dbd *dbd = c->commits->dbd;
	uint32_t n;
	const uint32_t *members = recovery_members(dbd->recovery, &n);

	for (uint32_t i = 0; i < n; i++) {
		if (members[i] == dbd->d->pnn) {
			continue;
		}
		if (members[i] >= LANE_NODES ||
		    lane_send(dbd->lane, members[i], LANE_PROC_UPDATE, packet->data, packet->len) != 0) {
			fail(c, "no link to node %u", members[i]);
			return;
		}
		c->waits_for[members[i]] = true;
		c->n_waiting++;
	}
}

static void start(struct control *ctl, struct db *db)
{
	struct dbd *dbd = ctl->dbd;
	struct ctdb_blob records = blob_of(ctl->data, ctl->len), packet;
	struct commit *c = commit_new(ctl, db);
	struct lane_update m;
	int rc = ENOMEM;

	if (c != NULL) {
		m = (struct lane_update){.id = c->id, .db_id = db->id, .generation = c->generation, .records = records};
		rc = foreign_recbuf(c, FOREIGN_OUT, &m.records);
	}
	if (rc == 0) {
		rc = lane_update_encode(c, &m, &packet);
	}
	if (rc == 0) {
		c->deadline = deadline_add(c, dbd, dbd->d->conf->database.control_timeout, commit_timeout, c);
		rc = c->deadline == NULL ? ENOMEM : start_own(c, records);
	}
	if (rc != 0) {
		talloc_free(c);
		control_reply(ctl, -1, NULL, 0, strerror(rc));
		return;
	}
	send_others(c, &packet);
	talloc_free(packet.data);
}

bool commit_buffer_ok(const uint8_t *buf, size_t len, uint32_t *db_id)
{
	struct recdata r;
	uint32_t count;

	if (recbuf_begin(&buf, &len, db_id, &count) != 0 || count == 0) {
		return false;
	}
	for (uint32_t i = 0; i < count; i++) {
		if (recdata_next(&buf, &len, &r) != 0 || r.keylen == 0 || r.datalen < REC_HEADER_SIZE) {
			return false;
		}
	}
	return len == 0;
}

void control_trans3_commit(struct control *ctl)
{
	const char *refused;
	struct db *db;
	uint32_t db_id;

	if (!commit_buffer_ok(ctl->data, ctl->len, &db_id)) {
		log_warning("transaction of client %u (pid %d) is refused: its buffer is malformed", ctl->client->id,
			    (int)ctl->client->pid);
		control_reply(ctl, -1, NULL, 0, "malformed records");
		return;
	}
	db = control_db(ctl);
	if (db == NULL) {
		return;
	}
	refused = refusal(ctl, db);
	if (refused != NULL) {
		control_reply(ctl, -1, NULL, 0, refused);
		return;
	}
	start(ctl, db);
}

/* ---- the member's part ---- */

static void answer(struct commits *cs, uint32_t to, uint64_t id, int status)
{
	struct lane_update_reply m = {.id = id, .status = (uint32_t)status};
	struct ctdb_blob packet;

	if (lane_update_reply_encode(cs, &m, &packet) != 0) {
		log_error("no memory for the answer to a transaction of node %u", to);
		return;
	}
	/* Without a link the coordinator has lost us as well, and a recovery decides. */
	(void)lane_send(cs->dbd->lane, to, LANE_PROC_UPDATE_REPLY, packet.data, packet.len);
	talloc_free(packet.data);
}

static void update_finish(struct update *u, int rc)
{
	if (rc != 0) {
		log_error("transaction of node %u on %s is not stored: %s", u->from, u->db_name, strerror(rc));
	}
	answer(u->commits, u->from, u->id, rc);
	talloc_free(u);
}

static bool update_pushed(void *priv)
{
	struct update *u = priv;

	if (pushes_pending(u->commits->dbd->clients)) {
		return false;
	}
	update_finish(u, 0);
	return true;
}

static void update_expired(void *priv)
{
	update_finish(priv, ETIMEDOUT);
}

static void update_done(struct tevent_req *req)
{
	struct update *u = tevent_req_callback_data(req, struct update);
	int rc = worker_job_recv(req, NULL);

	talloc_free(req);
	if (rc == 0) {
		rc = retry_start(u, u->commits->dbd, PUSH_BARRIER_MS, update_pushed, update_expired, u);
	}
	if (rc != 0) {
		update_finish(u, rc);
	}
}

static int update_start(struct commits *cs, uint32_t from, const struct lane_update *m, struct db *db)
{
	struct worker_args args = {.op = WORKER_UPDATE, .input = m->records};
	struct update *u = talloc(cs, struct update);
	struct tevent_req *req = NULL;

	if (u == NULL) {
		return ENOMEM;
	}
	*u = (struct update){.commits = cs, .from = from, .id = m->id, .db_name = db->name};
	req = worker_job_send(u, cs->dbd->d->ev, cs->dbd->workers, db, &args, NULL, NULL, NULL);
	if (req == NULL) {
		talloc_free(u);
		return ENOMEM;
	}
	tevent_req_set_callback(req, update_done, u);
	return 0;
}

static int update_check(const struct commits *cs, const struct lane_update *m, const struct db *db)
{
	const struct recovery *r = cs->dbd->recovery;
	uint32_t db_id;

	if (db == NULL || db_is_volatile(db)) {
		return ENOENT;
	}
	if (recovery_is_fenced(r) || m->generation != recovery_generation(r) || db->generation != m->generation) {
		return ESTALE;
	}
	if (db->health != NULL) {
		return EIO;
	}
	return commit_buffer_ok(m->records.data, m->records.len, &db_id) && db_id == m->db_id ? 0 : EBADMSG;
}

static void update(struct commits *cs, uint32_t from, const struct lane_update *m)
{
	struct db *db = db_find(cs->dbd->dbs, m->db_id);
	int rc = update_check(cs, m, db);

	if (rc == 0) {
		rc = update_start(cs, from, m, db);
	}
	if (rc != 0) {
		log_warning("transaction of node %u on database 0x%08x is refused: %s", from, m->db_id, strerror(rc));
		answer(cs, from, m->id, rc);
	}
}

static int hold(struct commits *cs, uint32_t from, const struct lane_update *m)
{
	struct held *h;

	if (cs->n_held >= HELD_MAX || cs->held_bytes > HELD_BYTES_MAX) {
		return ENOBUFS;
	}
	h = talloc(cs, struct held);
	if (h == NULL) {
		return ENOMEM;
	}
	h->from = from;
	h->m = *m;
	h->m.records.data = talloc_memdup(h, m->records.data, m->records.len);
	if (h->m.records.data == NULL) {
		talloc_free(h);
		return ENOMEM;
	}
	dlist_add_tail(&cs->held, &h->link);
	cs->n_held++;
	cs->held_bytes += h->m.records.len;
	return 0;
}

static void update_held(struct commits *cs)
{
	struct dlist *e;

	while ((e = dlist_first(&cs->held)) != NULL) {
		struct held *h = dlist_entry(e, struct held, link);

		dlist_remove(e);
		cs->n_held--;
		cs->held_bytes -= h->m.records.len;
		update(cs, h->from, &h->m);
		talloc_free(h);
	}
}

void commits_on_update(struct commits *cs, uint32_t from, const struct lane_update *m)
{
	int rc;

	if (recovery_is_normal(cs->dbd->recovery)) {
		update(cs, from, m);
		return;
	}
	/* The coordinator may have heard of the end of the recovery before us. */
	rc = hold(cs, from, m);
	if (rc != 0) {
		answer(cs, from, m->id, rc);
	}
}

int commits_new(TALLOC_CTX *mem, struct dbd *dbd, struct commits **out)
{
	struct commits *cs = talloc_zero(mem, struct commits);

	if (cs == NULL) {
		return ENOMEM;
	}
	cs->dbd = dbd;
	dlist_init(&cs->list);
	dlist_init(&cs->held);
	*out = cs;
	return 0;
}
