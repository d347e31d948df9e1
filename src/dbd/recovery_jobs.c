/* Recovery's work on files, done by worker processes. */
#include <errno.h>
#include <string.h>

#include "dbd/locks.h"
#include "dbd/recovery_int.h"
#include "dbd/scan_filter.h"
#include "shared/log.h"

/* What is in a persistent or replicated file, as long as nothing is written. */
struct db_contents {
	struct worker_state state;
	uint64_t changes; /* of the database when it was read */
};

struct db_job {
	uint64_t changes; /* SEQNUM: when it began */
	struct dlist link;
	struct recovery *r;
	struct db *db;
	enum worker_op op;
	struct tevent_req *req;
	struct worker_job *job;
	struct mono busy; /* it is at work since, or since its last sign of life; never: it waits for others */
};

static struct db_job *job_find(struct recovery *r, const struct db *db)
{
	dlist_for_each(e, &r->jobs) {
		struct db_job *j = dlist_entry(e, struct db_job, link);

		if (j->db == db) {
			return j;
		}
	}
	return NULL;
}

static int job_destructor(struct db_job *j)
{
	dlist_remove(&j->link);
	return 0;
}

static void contents_keep(struct db *db, uint64_t changes, const struct worker_state *state)
{
	if (db->writes->running > 0 || db->writes->changes != changes) {
		return;
	}
	if (db->contents == NULL) {
		db->contents = talloc(db, struct db_contents);
	}
	if (db->contents != NULL) {
		*db->contents = (struct db_contents){*state, changes};
	}
}

static bool contents_known(const struct db *db)
{
	return db->contents != NULL && db->writes->running == 0 && db->contents->changes == db->writes->changes;
}

static void job_done(struct tevent_req *req)
{
	struct db_job *j = tevent_req_callback_data(req, struct db_job);
	struct recovery *r = j->r;
	struct db *db = j->db;
	enum worker_op op = j->op;
	struct worker_state state = {0};
	int ret = worker_job_recv(req, op == WORKER_SEQNUM ? &state : NULL);

	if (op == WORKER_SEQNUM && ret == 0) {
		contents_keep(db, j->changes, &state);
	}
	talloc_free(j);
	if (op == WORKER_SEQNUM) {
		rec_member_state_done(r->member, db, ret, state.seqnum, state.digest, db->health == NULL);
	} else {
		if (op == WORKER_REPLACE && ret == 0 && db->health != NULL) {
			log_notice("database %s: contents taken from another node, healthy again", db->name);
			(void)db_set_health(db, NULL);
		}
		rec_member_job_done(r->member, db, ret, mono_now());
	}
	recovery_kick(r);
}

static void job_fail(struct recovery *r, struct db *db, int status)
{
	talloc_free(job_find(r, db));
	rec_member_job_done(r->member, db, status, mono_now());
	recovery_kick(r);
}

static bool scan_batch(void *priv, struct worker_job *job, const uint8_t *batch, size_t len)
{
	struct db_job *j = priv;
	struct recovery *r = j->r;
	struct db *db = j->db; /* j may end below: an entry that cannot be kept stops the job */
	struct worker_scan_entry e;
	const uint8_t *key;
	bool more = true;

	(void)job;
	while (worker_scan_next(&batch, &len, &e, &key)) {
		struct rec_scan_entry entry = {.key = key,
					       .keylen = e.keylen,
					       .rsn = e.rsn,
					       .flags = e.flags,
					       .dmaster = e.dmaster,
					       .empty = e.empty != 0};

		if (records_found(db, key, e.keylen, e.flags) != 0) {
			job_fail(r, db, ENOMEM);
			return false;
		}
		more = rec_member_scan_entry(r->member, db, &entry);
	}
	recovery_kick(r);
	j = job_find(r, db);
	if (j != NULL) {
		j->busy = more ? mono_now() : MONO_NEVER;
	}
	return more;
}

static bool read_batch(void *priv, struct worker_job *job, const uint8_t *batch, size_t len)
{
	struct db_job *j = priv;

	struct recovery *r = j->r;
	struct db *db = j->db;
	bool more = rec_member_read_batch(r->member, db, batch, len);

	(void)job;
	j = job_find(r, db);
	if (j != NULL) {
		j->busy = more ? mono_now() : MONO_NEVER;
	}
	return more;
}

static int start(struct recovery *r, struct db *db, const struct worker_args *args, worker_batch_fn batch)
{
	struct db_job *j = talloc_zero(r, struct db_job);

	if (j == NULL) {
		return ENOMEM;
	}
	*j = (struct db_job){.r = r, .db = db, .op = args->op, .changes = db->writes->changes};
	dlist_add_tail(&r->jobs, &j->link);
	talloc_set_destructor(j, job_destructor);
	j->req = worker_job_send(j, r->dbd->d->ev, r->dbd->workers, db, args, batch, j, &j->job);
	if (j->req == NULL) {
		talloc_free(j);
		return ENOMEM;
	}
	tevent_req_set_callback(j->req, job_done, j);
	/* What replaces contents waits for them first. */
	j->busy = args->op != WORKER_REPLACE ? mono_now() : MONO_NEVER;
	mono_timer_set_earlier(r->patience_timer, mono_add_ms(mono_now(), recovery_patience_ms(r)));
	return 0;
}

int recovery_start_wipe(void *priv, void *db)
{
	if (freeze_wipe(priv, db)) {
		return 0;
	}
	return start(priv, db, &(struct worker_args){.op = WORKER_WIPE}, NULL);
}

/* The first that changes the file of a copy that counts; there may be nothing to scan. */
int recovery_strip(void *priv, void *db)
{
	freeze_end(priv, db);
	return records_strip(db);
}

int recovery_start_scan(void *priv, void *db, const struct rec_scan_filter *filter)
{
	struct worker_args args = {.op = WORKER_SCAN};
	int ret = 0;

	freeze_end(priv, db);
	if (filter != NULL) {
		ret = scan_filter_encode(NULL, filter, &args.input);
	}
	ret = ret == 0 ? start(priv, db, &args, scan_batch) : ret;
	talloc_free(args.input.data);
	return ret;
}

int recovery_start_state(void *priv, void *handle)
{
	struct recovery *r = priv;
	struct db *db = handle;

	if (contents_known(db)) {
		const struct worker_state *s = &db->contents->state;

		rec_member_state_done(r->member, db, 0, s->seqnum, s->digest, db->health == NULL);
		return 0;
	}
	r->contents_read++;
	return start(priv, db, &(struct worker_args){.op = WORKER_SEQNUM}, NULL);
}

int recovery_start_read(void *priv, void *db)
{
	return start(priv, db, &(struct worker_args){.op = WORKER_READ, .with_empty = true}, read_batch);
}

int recovery_start_replace(void *priv, void *db)
{
	return start(priv, db, &(struct worker_args){.op = WORKER_REPLACE}, NULL);
}

int recovery_replace_feed(void *priv, void *db, const uint8_t *records, size_t len, bool last)
{
	struct db_job *j = job_find(priv, db);

	if (j == NULL || j->op != WORKER_REPLACE) {
		return EPIPE;
	}
	(void)worker_job_feed(j->job, records, len, last); /* bounded by the credits of the sender */
	if (last) {
		j->busy = mono_now();
	}
	return 0;
}

void recovery_job_continue(void *priv, void *db)
{
	struct db_job *j = job_find(priv, db);

	if (j != NULL) {
		worker_job_continue(j->job);
		j->busy = mono_now();
	}
}

/* The end of it names this node as the one that failed; without it everybody would wait for everybody. */
static void job_give_up(struct recovery *r, struct db_job *j)
{
	struct db *db = j->db;

	log_error("database %s: its part of the recovery has not moved for %u s: does a process keep the file locked, "
		  "is its disk well?",
		  db->name, recovery_patience_ms(r) / 1000);
	talloc_free(j);
	worker_pool_renew(r->dbd->workers);
	rec_member_job_done(r->member, db, ETIMEDOUT, mono_now());
	recovery_kick(r);
}

void recovery_patience_check(void *priv)
{
	struct recovery *r = priv;
	struct mono now = mono_now();
	struct mono next = lineage_patience(r, now);
	uint32_t patience = recovery_patience_ms(r);

	next = mono_min(next, freeze_patience(r, now));
	dlist_for_each_safe(e, &r->jobs) {
		struct db_job *j = dlist_entry(e, struct db_job, link);

		/* Nobody else waits for it then. */
		if (mono_is_set(j->busy) && db_is_volatile(j->db) && locks_held(j->db)) {
			j->busy = now;
		}
		if (mono_is_set(j->busy) && !mono_before(now, mono_add_ms(j->busy, patience))) {
			job_give_up(r, j);
			mono_timer_set(r->patience_timer, now); /* the list has changed */
			return;
		}
		next = mono_min(next, mono_add_ms(mono_is_set(j->busy) ? j->busy : now, patience));
	}
	mono_timer_set(r->patience_timer, next);
}

/* One that the last recovery has ended without may still be at work; a fence that is over may still wait for its lock.
 */
void recovery_db_gone(struct recovery *r, struct db *db)
{
	rec_member_forget(r->member, db->id, db);
	talloc_free(job_find(r, db));
	freeze_forget(r, db);
}

void recovery_stop_jobs(void *priv, void *db)
{
	talloc_free(job_find(priv, db));
	freeze_stop(priv, db);
}
