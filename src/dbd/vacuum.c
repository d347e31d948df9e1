/* Vacuuming of volatile databases: the rules of core/vacuum.h on links, workers and tunables. */
#include <errno.h>
#include <string.h>

#include "base/hash.h"
#include "dbd/control.h"
#include "dbd/lane.h"
#include "dbd/records.h"
#include "dbd/vacuum.h"
#include "dbd/worker.h"
#include "protocol/classic_native.h"
#include "protocol/db.h"
#include "shared/log.h"

#define CANDIDATES_MAX 10000U
#define SLICE_KEYS     64U
#define SLICE_PAUSE_US 1000U
#define PULLS_MAX      64U
#define ANSWER_MS      10000U
#define SECONDS_MAX    4000000U
/* A pushed record waits at most 10 s for its chain lock where it goes; a packet that is twice as long under way is lost
 * with its link. */
#define PUSH_S     30U
#define PUSH_SLOTS 65536U

struct scan {
	struct vacuums *v;
	uint32_t db_id;
	struct tevent_req *req;
	struct worker_job *job;
};

struct vacuum_request {
	struct dlist link;
	uint32_t db_id;
	uint64_t ticket;
	vacuum_fn fn;
	void *priv;
};

struct vacuums {
	struct dbd *dbd;
	struct record_engine *engine;
	struct scan *scan; /* one run at a time, so one scan */
	struct dlist requests;
	uint32_t *pushed; /* by hash of the key: second of the last push; NULL: none yet */
};

static struct vacuums *vacuums_of(const struct db *db)
{
	return records_owner(record_db_engine_priv(db->records))->vacuums;
}

/* ---- messages ---- */

/* What is lost is waited for in vain, and tried again by the next run; a link that is down means a recovery. */
static void sent(const struct db *db, uint32_t node, int ret)
{
	if (ret != 0) {
		log_debug("database %s: vacuuming cannot reach node %u: %s", db->name, node, strerror(ret));
	}
}

static void op_send_keys(void *priv, uint32_t node, struct lane_vacuum *m)
{
	struct db *db = priv;

	m->db_id = db->id;
	sent(db, node, lane_post(vacuums_of(db)->dbd->lane, node, LANE_PROC_VACUUM, m));
}

static void op_send_answer(void *priv, uint32_t node, struct lane_vacuum_answer *m)
{
	struct db *db = priv;

	m->db_id = db->id;
	sent(db, node, lane_post(vacuums_of(db)->dbd->lane, node, LANE_PROC_VACUUM_ANSWER, m));
}

static struct db *db_for(const struct vacuums *v, uint32_t db_id)
{
	struct db *db = db_find(v->dbd->dbs, db_id);

	return db != NULL && db->records != NULL ? db : NULL;
}

void vacuums_on_keys(struct vacuums *v, uint32_t from, const struct lane_vacuum *m)
{
	struct db *db = db_for(v, m->db_id);

	if (db != NULL) {
		vacuum_on_keys(db->records, from, m);
		records_kick(v->dbd->records);
	}
}

void vacuums_on_answer(struct vacuums *v, uint32_t from, const struct lane_vacuum_answer *m)
{
	struct db *db = db_for(v, m->db_id);

	if (db != NULL) {
		vacuum_on_answer(db->records, from, m, mono_now());
		records_kick(v->dbd->records);
	}
}

/* ---- pushed records (W8) ---- */

static uint32_t push_slot(const struct db *db, struct record_key key)
{
	return (hash_lookup3(key.p, key.len) ^ db->id) % PUSH_SLOTS;
}

static uint32_t second_now(void)
{
	return (uint32_t)(mono_now().ns / MONO_NS_PER_S);
}

static bool op_pinned(void *priv, struct record_key key)
{
	struct db *db = priv;
	const struct vacuums *v = vacuums_of(db);
	uint32_t when = v->pushed != NULL ? v->pushed[push_slot(db, key)] : 0;

	return when != 0 && second_now() - when <= PUSH_S;
}

void vacuum_push_seen(struct vacuums *v, const uint8_t *payload, size_t len)
{
	struct classic_push_record arg;
	struct db *db;

	if (classic_push_record_nview(payload, len, &arg, NULL) != 0) {
		return;
	}
	db = db_for(v, arg.db_id);
	if (db != NULL && v->pushed == NULL) {
		v->pushed = talloc_zero_array(v, uint32_t, PUSH_SLOTS);
	}
	if (db != NULL && v->pushed != NULL) {
		v->pushed[push_slot(db, (struct record_key){arg.key.data, arg.key.len})] = second_now();
	}
}

/* ---- full scans ---- */

static bool scan_batch(void *priv, struct worker_job *job, const uint8_t *batch, size_t len)
{
	struct scan *s = priv;
	struct db *db = db_for(s->v, s->db_id);
	struct worker_scan_entry e;
	const uint8_t *key;
	bool more = true;

	(void)job;
	while (db != NULL && worker_scan_next(&batch, &len, &e, &key)) {
		more = vacuum_scan_entry(db->records, (struct record_key){key, e.keylen}, e.rsn, e.dmaster,
					 e.empty != 0);
	}
	records_kick(s->v->dbd->records);
	return more;
}

static void scan_done(struct tevent_req *req)
{
	struct scan *s = tevent_req_callback_data(req, struct scan);
	struct vacuums *v = s->v;
	struct db *db = db_for(v, s->db_id);
	int ret = worker_job_recv(req, NULL);

	v->scan = NULL;
	talloc_free(s);
	if (ret != 0) {
		log_warning("database %s: cannot be looked through for deleted records: %s",
			    db != NULL ? db->name : "(detached)", strerror(ret));
	}
	if (db != NULL) {
		vacuum_scan_done(db->records, ret);
		records_kick(v->dbd->records);
	}
}

static int op_scan_start(void *priv)
{
	static const struct worker_args args = {.op = WORKER_SCAN};
	struct db *db = priv;
	struct vacuums *v = vacuums_of(db);
	struct scan *s = talloc_zero(v, struct scan);

	if (s == NULL) {
		return ENOMEM;
	}
	*s = (struct scan){.v = v, .db_id = db->id};
	s->req = worker_job_send(s, v->dbd->d->ev, v->dbd->workers, db, &args, scan_batch, s, &s->job);
	if (s->req == NULL) {
		talloc_free(s);
		return ENOMEM;
	}
	tevent_req_set_callback(s->req, scan_done, s);
	talloc_free(v->scan);
	v->scan = s;
	return 0;
}

static void op_scan_continue(void *priv)
{
	struct scan *s = vacuums_of(priv)->scan;

	if (s != NULL) {
		worker_job_continue(s->job);
	}
}

static void op_scan_stop(void *priv)
{
	TALLOC_FREE(vacuums_of(priv)->scan);
}

/* ---- runs ---- */

static int request_destructor(struct vacuum_request *q)
{
	dlist_remove(&q->link);
	return 0;
}

int vacuum_request_new(TALLOC_CTX *mem, struct vacuums *v, struct db *db, bool full, vacuum_fn fn, void *priv,
		       struct vacuum_request **out)
{
	struct vacuum_request *q;
	uint64_t ticket;
	int ret;

	if (db->records == NULL) {
		return EINVAL;
	}
	q = talloc_zero(mem, struct vacuum_request);
	if (q == NULL) {
		return ENOMEM;
	}
	ret = vacuum_db_run(db->records, full, &ticket);
	if (ret != 0) {
		talloc_free(q);
		return ret;
	}
	*q = (struct vacuum_request){.db_id = db->id, .ticket = ticket, .fn = fn, .priv = priv};
	dlist_add_tail(&v->requests, &q->link);
	talloc_set_destructor(q, request_destructor);
	*out = q;
	records_kick(v->dbd->records);
	return 0;
}

static struct vacuum_request *request_find(const struct vacuums *v, uint32_t db_id, uint64_t ticket)
{
	dlist_for_each(e, &v->requests)
	{
		struct vacuum_request *q = dlist_entry(e, struct vacuum_request, link);

		if (q->db_id == db_id && q->ticket == ticket) {
			return q;
		}
	}
	return NULL;
}

/* Answers may free anything that hangs on who asked. */
static void requests_answer(struct vacuums *v, uint32_t db_id, const struct vacuum_result *result)
{
	const struct db_vacuum_run run = {.removed = result->removed,
					  .told = result->fetched,
					  .kept = result->kept,
					  .scanned = result->scanned,
					  .ms = result->ms};
	struct vacuum_request *q;

	while (result->ticket != 0 && (q = request_find(v, db_id, result->ticket)) != NULL) {
		vacuum_fn fn = q->fn;
		void *priv = q->priv;

		talloc_free(q);
		fn(priv, result->status, &run);
	}
}

static void op_ended(void *priv, const struct vacuum_result *r)
{
	struct db *db = priv;

	if (r->status == ETIMEDOUT) {
		log_warning("database %s: vacuuming was given up after %llu ms: a member does not answer, or there is "
			    "too much to do; the rest comes with the next run",
			    db->name, (unsigned long long)r->ms);
	} else if (r->full || r->removed > 0 || r->ticket != 0) {
		log_info("database %s: vacuumed%s in %llu ms: %llu records removed, %llu told to other nodes, %llu in "
			 "use%s%s",
			 db->name, r->full ? " in full" : "", (unsigned long long)r->ms, (unsigned long long)r->removed,
			 (unsigned long long)r->fetched, (unsigned long long)r->kept, r->status != 0 ? ": " : "",
			 r->status != 0 ? strerror(r->status) : "");
	}
	requests_answer(vacuums_of(db), db->id, r);
}

static uint32_t seconds_as_ms(const struct clients *cs, enum classic_tunable_index i)
{
	uint32_t s = tunable(cs, i);

	return (s < SECONDS_MAX ? s : SECONDS_MAX) * 1000;
}

void vacuums_times(struct vacuums *v)
{
	const struct clients *cs = v->dbd->clients;

	if (cs != NULL) {
		vacuum_set_times(v->engine, seconds_as_ms(cs, CLASSIC_TUNABLE_VACUUM_INTERVAL),
				 tunable(cs, CLASSIC_TUNABLE_VACUUM_FAST_PATH_COUNT),
				 seconds_as_ms(cs, CLASSIC_TUNABLE_VACUUM_MAX_RUN_TIME));
	}
}

void vacuums_start(struct vacuums *v, struct db *db)
{
	uint32_t n;
	const uint32_t *members = recovery_members(v->dbd->recovery, &n);
	int ret;

	vacuums_times(v);
	ret = members == NULL ? 0 : vacuum_db_start(db->records, members, n, mono_now());
	if (ret != 0) {
		log_error("database %s: is not vacuumed: %s", db->name, strerror(ret));
	}
}

bool vacuum_fetch_key(struct vacuums *v, struct db *db, const uint8_t *key, size_t keylen)
{
	bool taken = db->records != NULL && vacuum_fetch(db->records, (struct record_key){key, keylen});

	records_kick(v->dbd->records);
	return taken;
}

void vacuum_counts(struct vacuums *v, struct db *db, struct db_vacuum_counts *counts)
{
	const struct vacuum_stats *s = db->records != NULL ? vacuum_db_stats(db->records) : NULL;

	(void)v;
	if (s == NULL) {
		return;
	}
	*counts = (struct db_vacuum_counts){
		.candidates = vacuum_db_candidates(db->records),
		.runs = s->runs,
		.full_runs = s->full_runs,
		.failed_runs = s->failed_runs,
		.removed = s->removed,
		.removed_at_once = s->removed_at_once,
		.tombstones = s->tombstones,
		.dropped = s->dropped,
		.refused = s->refused,
		.pulled = s->pulled,
		.orphans = s->orphans,
		.lost = s->lost,
		.ms = s->ms,
		.ms_min = s->ms_min,
		.ms_max = s->ms_max,
	};
}

int vacuums_new(TALLOC_CTX *mem, struct dbd *dbd, struct record_engine *engine, struct vacuums **out)
{
	static const struct vacuum_ops ops = {.send_keys = op_send_keys,
					      .send_answer = op_send_answer,
					      .pinned = op_pinned,
					      .scan_start = op_scan_start,
					      .scan_continue = op_scan_continue,
					      .scan_stop = op_scan_stop,
					      .ended = op_ended};
	static const struct vacuum_config config = {.max_candidates = CANDIDATES_MAX,
						    .slice_keys = SLICE_KEYS,
						    .slice_pause_us = SLICE_PAUSE_US,
						    .max_pulls = PULLS_MAX,
						    .answer_ms = ANSWER_MS};
	struct vacuums *v = talloc_zero(mem, struct vacuums);

	if (v == NULL) {
		return ENOMEM;
	}
	v->dbd = dbd;
	v->engine = engine;
	dlist_init(&v->requests);
	*out = v;
	return vacuum_enable(engine, &config, &ops);
}
