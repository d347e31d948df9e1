/* Recovery's work on files, done by worker processes. */
#include <errno.h>
#include <string.h>

#include "dbd/locks.h"
#include "dbd/recovery_int.h"
#include "dbd/scan_filter.h"
#include "shared/log.h"

/* What is in a persistent or replicated file, as long as nothing is written. */
struct db_contents {
	struct worker_state state; /* sums: below this */
	uint64_t changes;          /* of the database when it was read */
};

struct db_job {
	uint64_t changes; /* SEQNUM: when it began */
	struct dlist link;
	struct recovery *r;
	struct db *db;
	enum worker_op op;
	struct tevent_req *req;
	struct worker_job *job;
	uint32_t source; /* REPLACE; and what has to come of it */
	uint64_t seqnum, digest;
	bool by_parts;
	struct mono busy; /* it is at work since, or since its last sign of life; never: it waits for others */
};

static struct db_job *job_find(struct recovery *r, const struct db *db)
{
	dlist_for_each(e, &r->jobs)
	{
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
	struct db_contents *c;

	TALLOC_FREE(db->contents);
	if (db->writes->running > 0 || db->writes->changes != changes) {
		return;
	}
	c = talloc(db, struct db_contents);
	if (c == NULL) {
		return;
	}
	*c = (struct db_contents){*state, changes};
	if (c->state.sums != NULL) {
		c->state.sums = talloc_memdup(c, state->sums, state->n_sums * sizeof(uint64_t));
		c->state.n_sums = c->state.sums != NULL ? state->n_sums : 0;
	}
	db->contents = c;
}

static bool contents_known(const struct db *db)
{
	return db->contents != NULL && db->writes->running == 0 && db->contents->changes == db->writes->changes;
}

static void say_differs(const struct db_job *j, const struct worker_state *got)
{
	log_write(j->by_parts ? LOG_LVL_NOTICE : LOG_LVL_ERROR,
		  "database %s: with what came from node %u it has sequence number %llu and digest %016llx, "
		  "that node said %llu and %016llx: nothing is stored",
		  j->db->name, j->source, (unsigned long long)got->seqnum, (unsigned long long)got->digest,
		  (unsigned long long)j->seqnum, (unsigned long long)j->digest);
}

static void replaced(struct db *db)
{
	if (db->health != NULL) {
		log_notice("database %s: contents taken from another node, healthy again", db->name);
		(void)db_set_health(db, NULL);
	}
}

static void job_done(struct tevent_req *req)
{
	struct db_job *j = tevent_req_callback_data(req, struct db_job);
	struct recovery *r = j->r;
	struct db *db = j->db;
	enum worker_op op = j->op;
	struct worker_state state = {0};
	int ret = worker_job_recv(req, &state);

	if (op == WORKER_SEQNUM && ret == 0) {
		contents_keep(db, j->changes, &state);
	} else if (op == WORKER_REPLACE && ret == EILSEQ) {
		say_differs(j, &state);
	}
	talloc_free(j);
	if (op == WORKER_SEQNUM) {
		rec_member_state_done(r->member, db, ret, state.seqnum, state.digest, db->health == NULL);
	} else if (op == WORKER_READ && ret == 0) {
		rec_member_read_done(r->member, db, state.seqnum, state.digest, state.records, mono_now());
	} else {
		if (op == WORKER_REPLACE && ret == 0) {
			replaced(db);
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
	if (!more) {
		recovery_kick(r); /* it watches what others say from now on */
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

const uint64_t *recovery_parts(void *priv, void *handle, uint32_t *n)
{
	const struct db *db = handle;

	(void)priv;
	*n = contents_known(db) ? db->contents->state.n_sums : 0;
	return *n > 0 ? db->contents->state.sums : NULL;
}

void recovery_contents_forget(void *priv, void *handle)
{
	struct db *db = handle;

	(void)priv;
	TALLOC_FREE(db->contents);
}

static struct ctdb_blob map_bytes(const struct content_map *map)
{
	union {
		const uint8_t *c;
		uint8_t *p;
	} bits = {map->bits};

	return (struct ctdb_blob){(uint32_t)content_map_size(map->n), bits.p};
}

int recovery_start_read(void *priv, void *db, const struct content_map *map)
{
	struct worker_args args = {
		.op = WORKER_READ, .with_empty = true, .with_state = true, .parts = map->n, .input = map_bytes(map)};

	return start(priv, db, &args, read_batch);
}

int recovery_start_replace(void *priv, void *db, const struct rec_replace *what)
{
	struct worker_args args = {.op = WORKER_REPLACE,
				   .parts = what->map.n,
				   .input = map_bytes(&what->map),
				   .check = true,
				   .seqnum = what->seqnum,
				   .digest = what->digest};
	int ret = start(priv, db, &args, NULL);
	struct db_job *j = ret == 0 ? job_find(priv, db) : NULL;

	if (j != NULL) {
		j->source = what->source;
		j->seqnum = what->seqnum;
		j->digest = what->digest;
		j->by_parts = what->map.n > 0;
	}
	return ret;
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
	dlist_for_each_safe(e, &r->jobs)
	{
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
