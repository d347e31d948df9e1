/*
 * Databases that a classic tool freezes, wipes and fills again, on all nodes at once: DB_FREEZE, DB_TRANSACTION_START,
 * WIPE_DATABASE, DB_PUSH_*, DB_TRANSACTION_COMMIT, DB_THAW, each by one control to each node.
 *
 * FREEZING -> FROZEN -> OPEN (a transaction; UNDO: back to FROZEN) -> COMMITTING -> COMMITTED; any state -> gone
 *
 * E1 From FREEZING on the record engine is closed and the database has no generation: client calls wait, transactions
 * are refused. A worker holds the file locked against all writers from FROZEN until the transaction has ended; all
 * changes are in that one transaction. E2 A recovery is asked for at the end, whatever it was: it makes the copies of
 * the nodes consistent and opens the database. A recovery that begins before ends all this: what is not committed is
 * taken back, and the tool's next step is refused. E3 A tool that vanishes in the middle is waited for EDIT_IDLE_MS.
 */
#include "dbd/control.h"
#include "dbd/foreign.h"
#include "dbd/worker.h"
#include "protocol/classic_native.h"
#include "protocol/db.h"
#include "shared/log.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define EDIT_IDLE_MS   120000
#define EDIT_QUEUE_MAX (64U * 1024 * 1024) /* pushed records that the worker has not taken yet */

enum edit_state { EDIT_FREEZING, EDIT_FROZEN, EDIT_OPEN, EDIT_COMMITTING, EDIT_COMMITTED };

struct edits {
	struct clients *clients;
	struct dlist list;
	uint32_t n_pushing;
};

struct edit {
	struct dlist link;
	struct edits *all;
	struct db *db;
	enum edit_state state;
	struct tevent_req *req;
	struct worker_job *job;
	struct dlist waiting; /* struct edit_wait: for FROZEN, COMMITTED, or that a push is taken */
	uint32_t tid;
	bool pushing, failed;
	uint64_t srvid; /* while pushing: where the records come in */
	uint32_t pushed;
	bool full; /* much of what was pushed is not in the worker's hands: confirmation waits */
	struct deadline *idle;
	uint32_t node; /* at which the tool asked, pid 0: another one */
	pid_t pid;
	char program[16];
	struct mono since;
};

/* A control that waits for n databases. Child of the control. */
struct edit_request {
	struct control *ctl;
	uint32_t n;
};

struct edit_wait {
	struct dlist link;
	struct edit_request *request;
};

static void drop(struct edit *e, const char *why);

/* ---- those who wait ---- */

static int wait_destructor(struct edit_wait *w)
{
	dlist_remove(&w->link);
	return 0;
}

static struct edit_request *request_new(struct control *ctl)
{
	struct edit_request *r = talloc_zero(ctl, struct edit_request);

	if (r == NULL) {
		control_reply(ctl, -1, NULL, 0, "no memory");
		return NULL;
	}
	r->ctl = ctl;
	return r;
}

static bool wait_for(struct edit_request *r, struct edit *e)
{
	struct edit_wait *w = talloc_zero(r, struct edit_wait);

	if (w == NULL) {
		return false;
	}
	w->request = r;
	r->n++;
	dlist_add_tail(&e->waiting, &w->link);
	talloc_set_destructor(w, wait_destructor);
	return true;
}

static void answer_waiting(struct edit *e, const char *error)
{
	struct dlist *l;

	while ((l = dlist_first(&e->waiting)) != NULL) {
		struct edit_request *r = dlist_entry(l, struct edit_wait, link)->request;

		talloc_free(dlist_entry(l, struct edit_wait, link));
		if (error != NULL) {
			control_reply(r->ctl, -1, NULL, 0, error);
		} else if (r->ctl->opcode == CLASSIC_CONTROL_DB_PUSH_CONFIRM) {
			control_reply_u32(r->ctl, e->pushed);
		} else if (--r->n == 0) {
			control_reply(r->ctl, 0, NULL, 0, NULL);
		}
	}
}

/* ---- life of an edit ---- */

static struct edit *find(const struct edits *all, const struct db *db)
{
	dlist_for_each(l, &all->list)
	{
		struct edit *e = dlist_entry(l, struct edit, link);

		if (e->db == db) {
			return e;
		}
	}
	return NULL;
}

static void stop_pushing(struct edit *e)
{
	e->all->n_pushing -= e->pushing;
	e->pushing = false;
}

static int edit_destructor(struct edit *e)
{
	stop_pushing(e);
	dlist_remove(&e->link);
	e->db->frozen = false;
	return 0;
}

static void touch(struct edit *e);

static void idle_over(void *priv)
{
	struct edit *e = priv;

	e->idle = NULL;
	if (e->state == EDIT_COMMITTING) {
		touch(e); /* it is the disk that takes so long */
		return;
	}
	drop(e, "nobody has gone on with it");
}

static void touch(struct edit *e)
{
	TALLOC_FREE(e->idle);
	e->idle = deadline_add(e, e->all->clients->dbd, EDIT_IDLE_MS, idle_over, e);
	if (e->idle == NULL) {
		log_error("database %s: no memory for the time-out of a tool that has frozen it", e->db->name);
	}
}

/* The file is as before, unless it was committed; the database comes back with a recovery. */
static void end(struct edit *e, const char *error)
{
	struct recovery *r = e->all->clients->dbd->recovery;
	struct db *db = e->db;

	answer_waiting(e, error);
	talloc_free(e);
	if (recovery_is_normal(r)) {
		recovery_want(r, recovery_generation(r), "database %s was frozen by a tool", db->name);
	}
}

static void drop(struct edit *e, const char *why)
{
	if (e->state != EDIT_COMMITTED) {
		log_warning("database %s: the freeze by a tool ends, its changes %s: %s", e->db->name,
			    e->state == EDIT_COMMITTING ? "were being stored and may be there" : "are taken back", why);
	}
	end(e, why);
}

static void edit_done(struct tevent_req *req)
{
	struct edit *e = tevent_req_callback_data(req, struct edit);
	int rc = worker_job_recv(req, NULL);

	talloc_free(req);
	e->req = NULL;
	e->job = NULL;
	if (rc != 0 || e->state != EDIT_COMMITTING) {
		drop(e, rc != 0 ? strerror(rc) : "the worker ended");
		return;
	}
	e->state = EDIT_COMMITTED;
	log_notice("database %s: changed by a tool", e->db->name);
	answer_waiting(e, NULL);
}

static bool frozen(void *priv, struct worker_job *job, const uint8_t *batch, size_t len)
{
	struct edit *e = priv;

	if (e->state == EDIT_FREEZING) {
		e->state = EDIT_FROZEN;
		log_info("database %s: frozen by a tool", e->db->name);
		answer_waiting(e, NULL);
	}
	return true;
}

/* The worker has taken most of what was pushed. */
static void pushed_drained(void *priv, struct worker_job *job)
{
	struct edit *e = priv;

	e->full = false;
	if (e->state == EDIT_OPEN && dlist_first(&e->waiting) != NULL) {
		stop_pushing(e);
		answer_waiting(e, NULL);
	}
}

/* Who asks, for people; a tool that asks in a few words has ended when they look. */
static void note_asker(struct edit *e, const struct control *ctl)
{
	char path[64];
	FILE *f;

	e->since = mono_now();
	e->node = ctl->from;
	e->pid = ctl->client != NULL ? ctl->client->pid : 0;
	snprintf(path, sizeof(path), "/proc/%u/comm", (unsigned)e->pid);
	f = e->pid != 0 ? fopen(path, "re") : NULL;
	if (f != NULL) {
		if (fgets(e->program, sizeof(e->program), f) != NULL) {
			e->program[strcspn(e->program, "\n")] = '\0';
		}
		fclose(f);
	}
}

/* NULL: no memory. */
static struct edit *start(struct edits *all, struct db *db, const struct control *ctl)
{
	struct worker_args args = {.op = WORKER_EDIT};
	struct dbd *dbd = all->clients->dbd;
	struct edit *e = talloc_zero(all, struct edit);

	if (e == NULL) {
		return NULL;
	}
	e->all = all;
	e->db = db;
	note_asker(e, ctl);
	dlist_init(&e->waiting);
	e->req = worker_job_send(e, dbd->d->ev, dbd->workers, db, &args, frozen, e, &e->job);
	if (e->req == NULL) {
		talloc_free(e);
		return NULL;
	}
	tevent_req_set_callback(e->req, edit_done, e);
	worker_job_set_drain(e->job, pushed_drained, e);
	dlist_add_tail(&all->list, &e->link);
	talloc_set_destructor(e, edit_destructor);
	db->frozen = db->needs_recovery = true;
	db->freezes++;
	db->generation = GENERATION_NONE;
	records_close(dbd->records, db);
	touch(e);
	return e;
}

void edits_recovery_began(struct edits *all)
{
	dlist_for_each_safe(l, &all->list)
	{
		drop(dlist_entry(l, struct edit, link), "a recovery has begun");
	}
}

void edits_db_gone(struct edits *all, struct db *db)
{
	struct edit *e = find(all, db);

	if (e != NULL) {
		answer_waiting(e, "the database was detached");
		talloc_free(e);
	}
}

void edits_freeze_of(const struct edits *all, const struct db *db, struct db_freeze *out)
{
	static const enum db_freeze_state states[] = {[EDIT_FREEZING] = DB_FREEZE_WAITING,
						      [EDIT_FROZEN] = DB_FREEZE_FROZEN,
						      [EDIT_OPEN] = DB_FREEZE_OPEN,
						      [EDIT_COMMITTING] = DB_FREEZE_COMMITTING,
						      [EDIT_COMMITTED] = DB_FREEZE_COMMITTED};
	static char nobody[] = "";
	struct edit *e = find(all, db);

	*out = (struct db_freeze){.state = db->needs_recovery ? DB_FREEZE_OVER : DB_FREEZE_NONE, .name = nobody};
	if (e != NULL) {
		*out = (struct db_freeze){.state = states[e->state],
					  .node = e->node,
					  .pid = (uint32_t)e->pid,
					  .name = e->program,
					  .frozen_ms = mono_ms_between(e->since, mono_now())};
	}
}

uint32_t edits_count(const struct edits *all)
{
	uint32_t n = 0;

	dlist_for_each(l, &all->list)
	{
		n++;
	}
	return n;
}

int edits_new(struct clients *cs, struct edits **out)
{
	struct edits *all = talloc_zero(cs, struct edits);

	if (all == NULL) {
		return ENOMEM;
	}
	all->clients = cs;
	dlist_init(&all->list);
	*out = all;
	return 0;
}

/* ---- freezing ---- */

static const char *freeze_refusal(const struct control *ctl)
{
	if (recovery_is_fenced(ctl->dbd->recovery)) {
		return "this node is not active: its databases are locked anyway";
	}
	return recovery_is_normal(ctl->dbd->recovery) ? NULL : "a recovery is running: try again when it has ended";
}

static bool freeze_one(struct edit_request *r, struct db *db)
{
	struct edits *all = r->ctl->clients->edits;
	struct edit *e = find(all, db);

	if (e == NULL) {
		e = start(all, db, r->ctl);
	}
	return e != NULL && (e->state != EDIT_FREEZING || wait_for(r, e));
}

static void freeze_late(void *priv)
{
	control_reply(priv, -1, NULL, 0, "processes hold records of it and do not let go");
}

/* The databases are being frozen: the answer comes when all are. */
static void freeze_answer(struct edit_request *r, bool ok)
{
	struct control *ctl = r->ctl;

	if (!ok || deadline_add(r, ctl->dbd, ctl->dbd->d->conf->database.control_timeout, freeze_late, ctl) == NULL) {
		control_reply(ctl, -1, NULL, 0, "no memory");
	} else if (r->n == 0) {
		control_reply(ctl, 0, NULL, 0, NULL);
	}
}

void control_db_freeze(struct control *ctl)
{
	struct db *db = control_db(ctl);
	const char *refused;
	struct edit_request *r;

	if (db == NULL) {
		return;
	}
	refused = freeze_refusal(ctl);
	if (refused != NULL) {
		control_reply(ctl, -1, NULL, 0, refused);
		return;
	}
	r = request_new(ctl);
	if (r != NULL) {
		freeze_answer(r, freeze_one(r, db));
	}
}

/* All databases. */
void control_freeze(struct control *ctl)
{
	const char *refused = freeze_refusal(ctl);
	struct edit_request *r;
	bool ok = true;

	if (refused != NULL) {
		control_reply(ctl, -1, NULL, 0, refused);
		return;
	}
	r = request_new(ctl);
	if (r == NULL) {
		return;
	}
	dlist_for_each(l, dbs_list(ctl->dbd->dbs))
	{
		ok = ok && freeze_one(r, dlist_entry(l, struct db, link));
	}
	freeze_answer(r, ok);
}

void control_db_thaw(struct control *ctl)
{
	struct db *db = control_db(ctl);
	struct edit *e;

	if (db == NULL) {
		return;
	}
	e = find(ctl->clients->edits, db);
	if (e != NULL && e->state == EDIT_COMMITTING) {
		control_reply(ctl, -1, NULL, 0, "its changes are being stored");
		return;
	}
	if (e != NULL) {
		end(e, "it was thawed");
	}
	control_reply(ctl, 0, NULL, 0, NULL);
}

/* ---- the transaction ---- */

/* The edit of the database that is the first word of the payload, in state want, its transaction being that of the
 * second word if has_tid. NULL: answered. */
static struct edit *edit_of(struct control *ctl, enum edit_state want, bool has_tid)
{
	static const char *const missing[] = {[EDIT_FREEZING] = "it is not frozen",
					      [EDIT_FROZEN] = "it is not frozen, or has a transaction",
					      [EDIT_OPEN] = "it has no transaction"};
	struct db *db = control_db(ctl);
	struct edit *e;

	if (db == NULL) {
		return NULL;
	}
	e = find(ctl->clients->edits, db);
	if (e == NULL || e->state != want || (has_tid && peek_u32(ctl->data + 4) != e->tid)) {
		control_reply(ctl, -1, NULL, 0,
			      e != NULL && e->state == want ? "it has another transaction" : missing[want]);
		return NULL;
	}
	touch(e);
	return e;
}

static void order(const struct edit *e, uint8_t what, bool last)
{
	(void)worker_job_feed(e->job, &what, 1, last);
}

/* A second start takes back what was done since the first. */
void control_db_transaction_start(struct control *ctl)
{
	struct db *db = control_db(ctl);
	struct edit *e;

	if (db == NULL) {
		return;
	}
	e = find(ctl->clients->edits, db);
	if (e == NULL || (e->state != EDIT_FROZEN && e->state != EDIT_OPEN)) {
		control_reply(ctl, -1, NULL, 0, "it is not frozen, or was changed already");
		return;
	}
	touch(e);
	if (e->state == EDIT_OPEN) {
		order(e, WORKER_EDIT_UNDO, false);
		answer_waiting(e, "the transaction was begun again");
	}
	stop_pushing(e);
	e->failed = false;
	e->state = EDIT_OPEN;
	e->tid = peek_u32(ctl->data + 4);
	control_reply(ctl, 0, NULL, 0, NULL);
}

/* None is open: there is nothing to take back. */
void control_db_transaction_cancel(struct control *ctl)
{
	struct db *db = control_db(ctl);
	struct edit *e;

	if (db == NULL) {
		return;
	}
	e = find(ctl->clients->edits, db);
	if (e != NULL && e->state == EDIT_OPEN) {
		touch(e);
		order(e, WORKER_EDIT_UNDO, false);
		answer_waiting(e, "the transaction was taken back");
		stop_pushing(e);
		e->failed = false;
		e->state = EDIT_FROZEN;
	}
	control_reply(ctl, 0, NULL, 0, NULL);
}

void control_db_transaction_commit(struct control *ctl)
{
	struct edit *e = edit_of(ctl, EDIT_OPEN, true);
	struct edit_request *r;

	if (e == NULL) {
		return;
	}
	if (e->failed || e->pushing) {
		control_reply(ctl, -1, NULL, 0,
			      e->failed ? "records that were pushed are missing" : "records are being pushed");
		return;
	}
	r = request_new(ctl);
	if (r == NULL) {
		return;
	}
	if (!wait_for(r, e)) {
		control_reply(ctl, -1, NULL, 0, "no memory");
		return;
	}
	e->state = EDIT_COMMITTING;
	e->db->rewritten = true;
	order(e, WORKER_EDIT_COMMIT, true);
}

void control_wipe_database(struct control *ctl)
{
	struct edit *e = edit_of(ctl, EDIT_OPEN, true);

	if (e != NULL) {
		order(e, WORKER_EDIT_WIPE, false);
		control_reply(ctl, 0, NULL, 0, NULL);
	}
}

/* ---- records that come as messages ---- */

void control_db_push_start(struct control *ctl)
{
	struct edit *e = edit_of(ctl, EDIT_OPEN, false);

	if (e == NULL) {
		return;
	}
	if (e->pushing) {
		control_reply(ctl, -1, NULL, 0, "records are being pushed already");
		return;
	}
	e->pushing = true;
	e->all->n_pushing++;
	e->pushed = 0;
	e->srvid = peek_u64(ctl->data + 8);
	control_reply(ctl, 0, NULL, 0, NULL);
}

static void confirm_later(struct control *ctl, struct edit *e)
{
	struct edit_request *r;

	if (dlist_first(&e->waiting) != NULL) {
		control_reply(ctl, -1, NULL, 0, "somebody else waits for that already");
		return;
	}
	r = request_new(ctl);
	if (r != NULL && !wait_for(r, e)) {
		control_reply(ctl, -1, NULL, 0, "no memory");
	}
}

/*
 * The number of records that came; should the worker not be able to store one of them, the commit fails. Who pushes in
 * portions, each confirmed, can push any amount: the answer waits while much is queued.
 */
void control_db_push_confirm(struct control *ctl)
{
	struct edit *e = edit_of(ctl, EDIT_OPEN, false);

	if (e == NULL) {
		return;
	}
	if (!e->pushing || e->failed) {
		control_reply(ctl, -1, NULL, 0,
			      e->failed ? "records that were pushed are missing" : "no records are being pushed");
		return;
	}
	if (e->full) {
		confirm_later(ctl, e);
		return;
	}
	stop_pushing(e);
	control_reply_u32(ctl, e->pushed);
}

/* How many bytes count records take, all well formed; 0: they are not. */
static size_t extent(const uint8_t *p, size_t left, uint32_t count)
{
	const uint8_t *begin = p;
	struct recdata r;

	while (count-- > 0) {
		if (recdata_next(&p, &left, &r) != 0 || r.keylen == 0 || r.datalen < REC_HEADER_SIZE) {
			return 0;
		}
	}
	return (size_t)(p - begin);
}

/* Bytes of the records, which begin at *p; 0: malformed, or none (*count). The database named in front is not looked
 * at: the classic tool writes a wrong one. */
static size_t records_of(const uint8_t **p, size_t len, uint32_t *count)
{
	uint32_t db_id;

	*count = 0;
	return recbuf_begin(p, &len, &db_id, count) == 0 ? extent(*p, len, *count) : 0;
}

/*
 * A copy to be fed to the worker; NULL: nothing to be stored, or e->failed. Messages are not turned on their way
 * between machines of different byte order, as nobody but their senders knows what is in them: lengths that make no
 * sense in ours are tried in the other.
 */
static uint8_t *feed_of(struct edit *e, const uint8_t *data, size_t len, size_t *bytes, uint32_t *count)
{
	const uint8_t *p = data;
	uint8_t *feed = NULL, *turned = NULL;

	*bytes = records_of(&p, len, count);
	if (*bytes == 0 && (*count > 0 || len < RECBUF_HEAD)) {
		turned = talloc_memdup(e, data, len);
		p = turned;
		if (turned != NULL && foreign_turn_recbuf(turned, len, FOREIGN_IN) == 0) {
			*bytes = records_of(&p, len, count);
		}
	}
	feed = *bytes > 0 ? talloc_size(e, *bytes + 1) : NULL;
	if (feed != NULL) {
		feed[0] = WORKER_EDIT_STORE;
		memcpy(feed + 1, p, *bytes);
	}
	e->failed = e->failed || (feed == NULL && (*count > 0 || len < RECBUF_HEAD));
	talloc_free(turned);
	return feed;
}

static void push(struct edit *e, const uint8_t *data, size_t len)
{
	size_t bytes, queued;
	uint32_t count;
	uint8_t *feed = feed_of(e, data, len, &bytes, &count);

	touch(e);
	if (feed == NULL) {
		return;
	}
	queued = worker_job_feed(e->job, feed, bytes + 1, false);
	e->failed = queued > EDIT_QUEUE_MAX;
	e->full = queued >= WORKER_FEED_LOW;
	talloc_free(feed);
	e->pushed += count;
}

void edits_on_message(struct edits *all, uint64_t srvid, const uint8_t *data, size_t len)
{
	if (all->n_pushing == 0) {
		return;
	}
	dlist_for_each_safe(l, &all->list)
	{
		struct edit *e = dlist_entry(l, struct edit, link);

		if (e->pushing && e->srvid == srvid && !e->failed) {
			push(e, data, len);
			if (e->failed) {
				log_error("database %s: records that a tool pushes are malformed, too many at once, or "
					  "there is no memory",
					  e->db->name);
			}
		}
	}
}
