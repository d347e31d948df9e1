/* The pool of worker processes: jobs, their order, who runs what. */
#include "dbd/worker_int.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "dbd/db_int.h"
#include "dbd/journal.h"
#include "shared/log.h"
#include "shared/mono_timer.h"

#define PATIENCE_MS    50
#define SURPLUS_IDLE_S 10
#define STARTS_MAX     8 /* under way */

/* Ordered jobs of one database: the first is runnable or running, the others wait behind it. */
struct db_lane {
	struct dlist link;
	uint32_t db_id;
	struct dlist jobs;
};

struct worker_pool {
	struct worker_owner owner;
	unsigned n;         /* processes that run side by side */
	unsigned processes; /* that exist, those that are being started included */
	unsigned starting;
	unsigned step; /* how many were started when jobs had waited, last time: doubled while that is not enough */
	struct dlist idle, busy; /* struct worker */
	struct dlist runnable;   /* struct worker_job */
	struct dlist lanes;      /* struct db_lane with jobs */
	unsigned jobs;           /* in all states but ended */
	uint64_t last_id;
	struct tevent_immediate *kick;
	struct mono_timer *patience;
	bool waiting; /* patience is armed */
};

static void pool_run(struct worker_pool *pool);
static void pool_impatient(void *priv);

static void pool_kicked(struct tevent_context *ev, struct tevent_immediate *im, void *priv)
{
	pool_run(talloc_get_type_abort(priv, struct worker_pool));
}

static void pool_kick(struct worker_pool *pool)
{
	tevent_schedule_immediate(pool->kick, pool->owner.ev, pool_kicked, pool);
}

/* Requests belong to their callers, who may free them later. */
static void job_orphan(struct worker_job *job)
{
	struct tevent_context *ev = job->pool->owner.ev;

	job->state = WORKER_JOB_ENDED;
	job->pool = NULL;
	job->lane = NULL;
	job->worker = NULL;
	dlist_remove(&job->in_runnable);
	dlist_remove(&job->in_lane);
	tevent_req_defer_callback(job->req, ev);
	tevent_req_error(job->req, ECANCELED);
}

static int pool_destructor(struct worker_pool *pool)
{
	dlist_for_each_safe(e, &pool->busy)
	{
		job_orphan(worker_current(worker_of_link(e)));
	}
	dlist_for_each_safe(r, &pool->runnable)
	{
		job_orphan(dlist_entry(r, struct worker_job, in_runnable));
	}
	dlist_for_each_safe(l, &pool->lanes)
	{
		struct db_lane *lane = dlist_entry(l, struct db_lane, link);

		dlist_for_each_safe(j, &lane->jobs)
		{
			job_orphan(dlist_entry(j, struct worker_job, in_lane));
		}
	}
	return 0;
}

int worker_pool_new(TALLOC_CTX *mem, struct tevent_context *ev, const char *program, unsigned n,
		    struct worker_pool **pool, char **err)
{
	struct worker_pool *p;

	if (access(program, X_OK) != 0) {
		int error = errno;

		*err = talloc_asprintf(mem, "%s: cannot be executed: %s; is the installation complete?", program,
				       strerror(error));
		return error;
	}
	p = talloc_zero(mem, struct worker_pool);
	if (p == NULL) {
		return ENOMEM;
	}
	p->owner = (struct worker_owner){.ev = ev, .pool = p, .program = talloc_strdup(p, program)};
	p->n = n > 0 ? n : 1;
	p->kick = tevent_create_immediate(p);
	p->patience = mono_timer_new(p, ev, pool_impatient, p);
	dlist_init(&p->idle);
	dlist_init(&p->busy);
	dlist_init(&p->runnable);
	dlist_init(&p->lanes);
	if (p->owner.program == NULL || p->kick == NULL || p->patience == NULL) {
		talloc_free(p);
		return ENOMEM;
	}
	talloc_set_destructor(p, pool_destructor);
	*pool = p;
	return 0;
}

/* ---- order within a database ---- */

static struct db_lane *lane_find(struct worker_pool *pool, uint32_t db_id)
{
	dlist_for_each(e, &pool->lanes)
	{
		struct db_lane *lane = dlist_entry(e, struct db_lane, link);

		if (lane->db_id == db_id) {
			return lane;
		}
	}
	return NULL;
}

static struct db_lane *lane_get(struct worker_pool *pool, uint32_t db_id)
{
	struct db_lane *lane = lane_find(pool, db_id);

	if (lane != NULL) {
		return lane;
	}
	lane = talloc_zero(pool, struct db_lane);
	if (lane != NULL) {
		lane->db_id = db_id;
		dlist_init(&lane->jobs);
		dlist_add_tail(&pool->lanes, &lane->link);
	}
	return lane;
}

static void make_runnable(struct worker_pool *pool, struct worker_job *job)
{
	job->queued_at = mono_now();
	dlist_add_tail(&pool->runnable, &job->in_runnable);
	pool_kick(pool);
}

static void lane_leave(struct worker_pool *pool, struct worker_job *job)
{
	struct db_lane *lane = job->lane;
	bool first = dlist_first(&lane->jobs) == &job->in_lane;

	dlist_remove(&job->in_lane);
	job->lane = NULL;
	if (dlist_empty(&lane->jobs)) {
		dlist_remove(&lane->link);
		talloc_free(lane);
	} else if (first) {
		make_runnable(pool, dlist_entry(dlist_first(&lane->jobs), struct worker_job, in_lane));
	}
}

/* ---- who runs what ---- */

static struct worker *pool_take_idle(struct worker_pool *pool)
{
	struct dlist *e = dlist_first(&pool->idle);

	if (e == NULL) {
		return NULL;
	}
	dlist_remove(e);
	return worker_of_link(e);
}

static void pool_give(struct worker_pool *pool, struct worker *w, struct worker_job *job)
{
	dlist_remove(&job->in_runnable);
	dlist_add_tail(&pool->busy, worker_link(w));
	job->state = WORKER_JOB_RUNNING;
	job->heard = mono_now();
	worker_give(w, job);
}

/* Those that run will come to the jobs that wait; without any they would wait for ever, for starts that fail in turn.
 */
static void pool_cannot_start(struct worker_pool *pool, int error)
{
	log_ratelimited(LOG_LVL_ERROR, 1000, "%s: no worker process can be started: %s", pool->owner.program,
			strerror(error));
	if (pool->processes == pool->starting && !dlist_empty(&pool->runnable)) {
		worker_job_end(dlist_entry(dlist_first(&pool->runnable), struct worker_job, in_runnable), error);
		pool_kick(pool);
	}
}

static bool pool_start_one(struct worker_pool *pool)
{
	int error = worker_start_process(pool, &pool->owner);

	if (error != 0) {
		pool_cannot_start(pool, error);
		return false;
	}
	pool->processes++;
	pool->starting++;
	return true;
}

static void pool_start(struct worker_pool *pool, unsigned wanted)
{
	while (wanted > 0 && pool->starting < STARTS_MAX && pool->processes < WORKER_PROCESSES_MAX &&
	       pool_start_one(pool)) {
		wanted--;
	}
}

/* Up to max. */
static unsigned pool_waiting(const struct worker_pool *pool, unsigned max)
{
	unsigned n = 0;

	dlist_for_each(e, &pool->runnable)
	{
		if (n == max) {
			break;
		}
		n++;
	}
	return n;
}

static unsigned at_most(unsigned a, unsigned b)
{
	return a < b ? a : b;
}

/* Those that were asked for last time are there, and jobs still wait: others hold what the processes wait for. */
static void pool_impatient(void *priv)
{
	struct worker_pool *pool = talloc_get_type_abort(priv, struct worker_pool);
	struct worker_job *job;

	pool->waiting = false;
	if (!dlist_empty(&pool->runnable) && pool->starting == 0) {
		job = dlist_entry(dlist_first(&pool->runnable), struct worker_job, in_runnable);
		if (mono_ms_between(job->queued_at, mono_now()) >= PATIENCE_MS) {
			pool->step = pool->step == 0 ? 1 : at_most(2 * pool->step, STARTS_MAX);
			pool_start(pool, at_most(pool->step, pool_waiting(pool, STARTS_MAX)));
		}
	}
	pool_run(pool);
}

/* Up to the size of the pool there is a process for each job, and one more, so that the next job need not wait. */
static void pool_fill(struct worker_pool *pool, bool gave)
{
	unsigned room = pool->n > pool->processes ? pool->n - pool->processes : 0;
	unsigned waiting = pool_waiting(pool, STARTS_MAX);
	unsigned spare = gave && dlist_empty(&pool->idle) ? 1 : 0;

	if (waiting + spare > pool->starting) {
		pool_start(pool, at_most(room, waiting + spare - pool->starting));
	}
}

static void pool_run(struct worker_pool *pool)
{
	bool gave = false;

	while (!dlist_empty(&pool->runnable)) {
		struct worker *w = pool_take_idle(pool);

		if (w == NULL) {
			break;
		}
		pool_give(pool, w, dlist_entry(dlist_first(&pool->runnable), struct worker_job, in_runnable));
		gave = true;
	}
	pool_fill(pool, gave);
	if (dlist_empty(&pool->runnable)) {
		pool->step = 0;
	} else if (!pool->waiting) {
		pool->waiting = true;
		mono_timer_set(pool->patience, mono_add_ms(mono_now(), PATIENCE_MS));
	}
}

/* The job that waits longest gets it at once: a program that ends by itself costs one job each time, no more. */
void worker_pool_worker_started(struct worker_pool *pool, struct worker *w)
{
	pool->starting--;
	worker_pool_worker_idle(pool, w);
	pool_run(pool);
}

void worker_pool_start_failed(struct worker_pool *pool, int error)
{
	pool->starting--;
	pool->processes--;
	if (error == ETIMEDOUT) { /* it was stopped: the next one need not be */
		pool_kick(pool);
		return;
	}
	pool_cannot_start(pool, error);
}

bool worker_pool_has_surplus(const struct worker_pool *pool)
{
	return pool->processes > pool->n;
}

void worker_pool_worker_idle(struct worker_pool *pool, struct worker *w)
{
	dlist_remove(worker_link(w));
	dlist_add_head(&pool->idle,
		       worker_link(w)); /* the one whose files are open and whose pages are warm comes first */
	if (worker_pool_has_surplus(pool)) {
		worker_end_when_idle(w, SURPLUS_IDLE_S);
	}
	pool_kick(pool);
}

void worker_pool_worker_gone(struct worker_pool *pool)
{
	pool->processes--;
	pool_kick(pool);
}

void worker_pool_renew(struct worker_pool *pool)
{
	struct dlist *e;

	while ((e = dlist_first(&pool->idle)) != NULL) {
		worker_abandon(worker_of_link(e));
	}
}

struct mono worker_pool_silent_since(const struct worker_pool *pool, uint32_t db_id)
{
	struct mono since = MONO_NEVER;

	dlist_for_each(e, &pool->busy)
	{
		const struct worker_job *job = worker_current(worker_of_link(e));

		if (job != NULL && job->db_id == db_id && job->op != WORKER_HOLDERS && !job->paused) {
			since = mono_min(since, job->heard);
		}
	}
	return since;
}

/* ---- jobs ---- */

/* Out of all lists; a process that works on it is ended. */
static void job_leave(struct worker_job *job)
{
	struct worker_pool *pool = job->pool;
	struct worker *w = job->worker;

	if (job->state == WORKER_JOB_ENDED) {
		return;
	}
	job->state = WORKER_JOB_ENDED;
	job->worker = NULL;
	dlist_remove(&job->in_runnable);
	pool->jobs--;
	if (job->writes != NULL) {
		job->writes->changes++;
		job->writes->running--;
	}
	if (w != NULL) {
		worker_abandon(w);
	}
	if (job->lane != NULL) {
		lane_leave(pool, job);
	}
}

static void job_cleanup(struct tevent_req *req, enum tevent_req_state state)
{
	job_leave(tevent_req_data(req, struct worker_job));
}

void worker_job_end(struct worker_job *job, int status)
{
	struct tevent_req *req = job->req;

	if (job->op == WORKER_UPDATE && job->writes != NULL && status != EPIPE) {
		journal_update_ended(job->writes, &job->result);
	}
	job_leave(job);
	tevent_req_defer_callback(req, job->pool->owner.ev);
	if (status != 0) {
		tevent_req_error(req, (uint64_t)status);
	} else {
		tevent_req_done(req);
	}
}

static bool op_is_ordered(enum worker_op op)
{
	return op == WORKER_SEQNUM || op == WORKER_UPDATE || op == WORKER_REPLACE || op == WORKER_WIPE ||
	       op == WORKER_SETTLE;
}

static bool op_writes(enum worker_op op)
{
	return op == WORKER_UPDATE || op == WORKER_REPLACE || op == WORKER_WIPE || op == WORKER_EDIT;
}

static int encode_start(struct worker_job *job, const struct db *db, const struct worker_args *args)
{
	struct worker_start start = {
		.job = job->id,
		.op = args->op,
		.db_id = db->id,
		.db_flags = db->flags,
		.tdb_flags = (uint32_t)db_open_flags(db),
		.own_pnn = db->dbs->d->pnn,
		.only_owned = args->only_owned,
		.part = args->part,
		.parts = args->parts,
		.chain = args->chain,
		.updates = args->op == WORKER_UPDATE ? journal_count_update(db) : 0,
		.with_empty = args->with_empty,
		.with_state = args->with_state,
		.check = args->check,
		.seqnum = args->seqnum,
		.digest = args->digest,
		.path = db->path,
		.input = args->input,
	};
	struct xdr_out out;

	if (args->input.len > WORKER_DATA_MAX) {
		return EMSGSIZE;
	}
	job->start = out_chunk_new(job, WORKER_FRAME_START, worker_start_size(&start), &out);
	if (job->start == NULL) {
		return ENOMEM;
	}
	worker_start_put(&out, &start);
	return out.err;
}

static int job_enqueue(struct worker_job *job, const struct db *db, const struct worker_args *args)
{
	struct worker_pool *pool = job->pool;
	int error;

	if (pool->jobs >= WORKER_JOBS_MAX) {
		return ENOBUFS;
	}
	error = encode_start(job, db, args);
	if (error != 0) {
		return error;
	}
	if (op_writes(args->op) && db->writes != NULL) {
		job->writes = talloc_reference(job, db->writes);
		if (job->writes == NULL) {
			return ENOMEM;
		}
	}
	if (op_is_ordered(args->op)) {
		job->lane = lane_get(pool, db->id);
		if (job->lane == NULL) {
			return ENOMEM;
		}
		dlist_add_tail(&job->lane->jobs, &job->in_lane);
	}
	if (job->writes != NULL) {
		job->writes->changes++;
		job->writes->running++;
	}
	pool->jobs++;
	job->state = WORKER_JOB_QUEUED;
	tevent_req_set_cleanup_fn(job->req, job_cleanup);
	if (job->lane == NULL || dlist_first(&job->lane->jobs) == &job->in_lane) {
		make_runnable(pool, job);
	}
	return 0;
}

struct tevent_req *worker_job_send(TALLOC_CTX *mem, struct tevent_context *ev, struct worker_pool *pool, struct db *db,
				   const struct worker_args *args, worker_batch_fn batch, void *priv,
				   struct worker_job **result)
{
	struct worker_job *job;
	struct tevent_req *req = tevent_req_create(mem, &job, struct worker_job);
	int error;

	if (req == NULL) {
		return NULL;
	}
	*job = (struct worker_job){
		.req = req,
		.pool = pool,
		.id = ++pool->last_id,
		.state = WORKER_JOB_ENDED,
		.op = args->op,
		.db_id = db->id,
		.batch = batch,
		.batch_priv = priv,
	};
	dlist_init(&job->feeds);
	if (result != NULL) {
		*result = job;
	}
	error = job_enqueue(job, db, args);
	if (error != 0) {
		tevent_req_error(req, (uint64_t)error);
		return tevent_req_post(req, ev);
	}
	return req;
}

int worker_job_recv(struct tevent_req *req, struct worker_state *state)
{
	struct worker_job *job = tevent_req_data(req, struct worker_job);
	enum tevent_req_state s;
	uint64_t error;
	int result = 0;

	if (tevent_req_is_error(req, &s, &error)) {
		result = s == TEVENT_REQ_USER_ERROR ? (int)error : s == TEVENT_REQ_TIMED_OUT ? ETIMEDOUT : ENOMEM;
	}
	if (state != NULL && (result == 0 || result == EILSEQ)) {
		*state = job->result;
		(void)talloc_steal(req, state->sums);
	}
	tevent_req_received(req);
	return result;
}

void worker_job_continue(struct worker_job *job)
{
	job->continued = true;
	if (job->state == WORKER_JOB_RUNNING && job->paused) {
		job->paused = false;
		worker_resume(job->worker);
	}
}

bool worker_scan_next(const uint8_t **p, size_t *left, struct worker_scan_entry *e, const uint8_t **key)
{
	size_t n;

	if (*left < sizeof(*e)) {
		return false;
	}
	memcpy(e, *p, sizeof(*e));
	n = (sizeof(*e) + (size_t)e->keylen + 7) & ~(size_t)7;
	if (n > *left) {
		return false;
	}
	*key = *p + sizeof(*e);
	*p += n;
	*left -= n;
	return true;
}

/* ---- input of REPLACE ---- */

void worker_job_set_drain(struct worker_job *job, void (*fn)(void *priv, struct worker_job *job), void *priv)
{
	job->drain = fn;
	job->drain_priv = priv;
}

void worker_job_fed(struct worker_job *job, size_t bytes)
{
	bool above = job->feed_bytes >= WORKER_FEED_LOW;

	job->feed_bytes -= bytes;
	if (above && job->feed_bytes < WORKER_FEED_LOW && job->drain != NULL) {
		job->drain(job->drain_priv, job);
	}
}

static bool op_is_fed(uint32_t op)
{
	return op == WORKER_REPLACE || op == WORKER_FREEZE || op == WORKER_EDIT || op == WORKER_LOCK;
}

size_t worker_job_feed(struct worker_job *job, const uint8_t *rec_data, size_t len, bool last)
{
	union {
		const uint8_t *in;
		uint8_t *out;
	} u = {.in = rec_data};
	struct worker_feed feed = {.job = job->id, .last = last, .records = {.len = (uint32_t)len, .data = u.out}};
	struct out_chunk *c;
	struct xdr_out out;

	if (job->state == WORKER_JOB_ENDED || job->feed_ended || !op_is_fed(job->op) || (len == 0 && !last)) {
		return job->state == WORKER_JOB_ENDED ? 0 : job->feed_bytes;
	}
	c = len > WORKER_DATA_MAX ? NULL : out_chunk_new(job, WORKER_FRAME_FEED, worker_feed_size(&feed), &out);
	if (c == NULL) {
		worker_job_end(job, len > WORKER_DATA_MAX ? EMSGSIZE : ENOMEM);
		return 0;
	}
	worker_feed_put(&out, &feed);
	c->feed_len = c->len;
	job->feed_bytes += c->feed_len;
	job->feed_ended = last;
	if (job->worker != NULL) {
		worker_send(job->worker, c);
	} else {
		dlist_add_tail(&job->feeds, &c->link);
	}
	return job->feed_bytes;
}
