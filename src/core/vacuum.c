/* Vacuuming: runs. See vacuum.h for the rules. */
#include "core/vacuum_private.h"

#include <errno.h>

#include "base/hash.h"

#define BUCKETS 4096U
/* More batches are not made before those have gone. */
#define FILLED_MAX 4U
/* Of the interval: pause before a full run that is due early. */
#define EARLY_PART 4U

static const struct vacuum_config *config_of(const struct vacuum *v)
{
	return &v->db->e->vacuum->config;
}

/* ---- steps at the location master ---- */

enum look { LOOK_GONE, LOOK_BUSY, LOOK_TOMBSTONE, LOOK_FETCH };

static bool never_left(const struct record_copy *c)
{
	return c->rsn == RSN_CREATED && (c->flags & RECORD_FLAG_MIGRATED_WITH_DATA) == 0;
}

/* Empty at another node than its location master: who owns it tells, and who has nothing but a pointer. */
static enum look look_elsewhere(struct cand *c, const struct record_copy *copy, bool owned)
{
	if (owned) {
		c->rsn = copy->rsn > 0 ? copy->rsn : 1;
	} else {
		c->rsn = 0;
	}
	return owned || copy->rsn == 0 ? LOOK_FETCH : LOOK_GONE;
}

static enum look look_locked(struct cand *c)
{
	struct vacuum *v = c->v;
	struct record_db *db = v->db;
	struct record_copy copy;
	bool owned;

	if (db->e->ops.read(db->priv, cand_key(c), &copy) != 0 || !copy.exists || copy.len > 0 ||
	    (copy.flags & RECORD_FLAGS_READONLY) != 0) {
		return LOOK_GONE;
	}
	owned = copy.dmaster == db->e->config.own_pnn;
	if (!rec_is_lmaster(db, c->hash)) {
		return look_elsewhere(c, &copy, owned);
	}
	if (!owned) {
		return LOOK_GONE;
	}
	if (vacuum_is_pinned(v, cand_key(c))) {
		return LOOK_BUSY;
	}
	if (never_left(&copy)) {
		if (db->e->ops.remove(db->priv, cand_key(c)) == 0) {
			v->stats.removed_at_once++;
			v->result.removed++;
		}
		return LOOK_GONE;
	}
	c->rsn = copy.rsn;
	return LOOK_TOMBSTONE;
}

static enum look look(struct cand *c)
{
	struct record_db *db = c->v->db;
	struct rec *r;
	enum look l;
	int ret;

	r = rec_find(db, cand_key(c), c->hash);
	if (r != NULL) {
		ro_recall(r); /* if it is lent: free when we come again */
		return LOOK_BUSY;
	}
	ret = db->e->ops.trylock(db->priv, cand_key(c));
	if (ret != 0) {
		return ret == EAGAIN ? LOOK_BUSY : LOOK_GONE;
	}
	l = look_locked(c);
	db->e->ops.unlock(db->priv, cand_key(c));
	return l;
}

static void cand_run(struct cand *c)
{
	struct vacuum *v = c->v;
	enum look l = look(c);
	int ret = 0;

	c->again = false;
	if (l == LOOK_TOMBSTONE) {
		ret = batch_add(v, c, VACUUM_TOMBSTONE, RECORD_NODE_NONE);
	} else if (l == LOOK_FETCH) {
		ret = batch_add(v, c, VACUUM_FETCH, rec_lmaster_of(v->db, c->hash));
	}
	if (ret != 0 || l == LOOK_BUSY || l == LOOK_GONE) {
		cand_leave(c, l == LOOK_GONE);
	}
}

/* REMOVE: all members said ok twice. Still what it was? (Lessons H-026, H-027.) */
static bool remove_locked(struct cand *c)
{
	struct record_db *db = c->v->db;
	struct record_copy copy;

	return db->e->ops.read(db->priv, cand_key(c), &copy) == 0 && copy.exists && copy.len == 0 &&
	       copy.dmaster == db->e->config.own_pnn && copy.rsn == c->rsn &&
	       (copy.flags & RECORD_FLAGS_READONLY) == 0 && !vacuum_is_pinned(c->v, cand_key(c)) &&
	       db->e->ops.remove(db->priv, cand_key(c)) == 0;
}

static bool remove_one(struct cand *c)
{
	struct record_db *db = c->v->db;
	bool removed;

	if (rec_find(db, cand_key(c), c->hash) != NULL || db->e->ops.trylock(db->priv, cand_key(c)) != 0) {
		return false;
	}
	removed = remove_locked(c);
	db->e->ops.unlock(db->priv, cand_key(c));
	c->v->stats.removed += removed;
	c->v->result.removed += removed;
	return removed;
}

static uint32_t remove_slice(struct vacuum *v, uint32_t budget)
{
	struct vbatch *b = v->removing;

	while (b != NULL && budget > 0) {
		if (b->at == b->n) {
			v->removing = NULL;
			batch_free(b, true);
			return budget;
		}
		if (!b->no[b->at]) {
			b->no[b->at] = !remove_one(b->v[b->at]);
			budget--;
		}
		cand_leave(b->v[b->at], !b->no[b->at]);
		b->at++;
	}
	return budget;
}

/* ---- batches under way ---- */

/* Those that somebody said no to leave; the others go on. */
static void batch_strip(struct vbatch *b)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < b->n; i++) {
		if (b->no[i]) {
			b->no[i] = false;
			cand_leave(b->v[i], false);
		} else {
			b->v[n++] = b->v[i];
		}
	}
	b->n = n;
}

/* All have answered. */
static void batch_answered(struct vacuum *v)
{
	struct vbatch *b = v->out;

	v->out = NULL;
	switch (b->step) {
	case VACUUM_TOMBSTONE:
		batch_strip(b);
		if (b->n == 0) {
			batch_free(b, true);
			return;
		}
		b->step = VACUUM_DROP;
		dlist_add_head(&v->filled, &b->link);
		return;
	case VACUUM_DROP:
		v->removing = b;
		return;
	case VACUUM_FETCH:
		for (uint32_t i = 0; i < b->n; i++) {
			v->result.fetched += !b->no[i];
		}
		batch_free(b, true);
		return;
	}
}

static void batch_post(struct vacuum *v, const struct vbatch *b, uint32_t node)
{
	struct lane_vacuum_key keys[VACUUM_BATCH_KEYS];
	struct lane_vacuum m = {.generation = v->db->generation, .id = b->id, .step = b->step, .keys = {b->n, keys}};

	for (uint32_t i = 0; i < b->n; i++) {
		struct cand *c = b->v[i];

		keys[i] = (struct lane_vacuum_key){.rsn = c->rsn, .key = {(uint32_t)c->keylen, c->key}};
	}
	vacuum_engine_of(v)->ops.send_keys(v->db->priv, node, &m);
}

static void batch_send(struct vacuum *v, struct mono now)
{
	struct vbatch *b = batch_first(v);
	uint32_t own = v->db->e->config.own_pnn;

	dlist_remove(&b->link);
	v->out = b;
	b->id = ++v->last_id;
	b->deadline = mono_add_ms(now, config_of(v)->answer_ms);
	b->n_waits = 0;
	for (uint32_t i = 0; i < v->n_members; i++) {
		b->waits[i] = b->step == VACUUM_FETCH ? v->members[i] == b->dest : v->members[i] != own;
		b->n_waits += b->waits[i];
	}
	if (b->n_waits == 0) {
		batch_answered(v);
		return;
	}
	for (uint32_t i = 0; i < v->n_members; i++) {
		if (b->waits[i]) {
			batch_post(v, b, v->members[i]);
		}
	}
}

void vacuum_on_answer(struct record_db *db, uint32_t from, const struct lane_vacuum_answer *m, struct mono now)
{
	struct vacuum *v = db->vacuum;
	struct vbatch *b = v != NULL ? v->out : NULL;

	(void)now;
	if (b == NULL || !db->serving || m->generation != db->generation || m->id != b->id) {
		return;
	}
	for (uint32_t i = 0; i < v->n_members; i++) {
		if (v->members[i] != from || !b->waits[i]) {
			continue;
		}
		for (uint32_t k = 0; k < b->n; k++) {
			b->no[k] = b->no[k] || k >= m->ok.len || m->ok.data[k] != 1;
		}
		b->waits[i] = false;
		if (--b->n_waits == 0) {
			batch_answered(v);
		}
		return;
	}
}

/* ---- runs ---- */

static void later_is_now(struct vacuum *v)
{
	while (!dlist_empty(&v->later)) {
		struct cand *c = dlist_entry(dlist_first(&v->later), struct cand, link);
		enum cand_state state = c->busy ? CAND_FETCH : CAND_READY;

		c->busy = false;
		cand_move(c, state);
	}
}

/* Much to do: not to be put off until the next run by itself. When candidates were lost, after a pause: full runs cost.
 */
static struct mono run_early(const struct vacuum *v)
{
	const struct vacuum_engine *e = vacuum_engine_of(v);

	if (v->n_ready >= e->config.max_candidates / 4) {
		return (struct mono){1};
	}
	return v->full_due ? mono_add_ms(v->ended, e->interval_ms / EARLY_PART + 1) : MONO_NEVER;
}

/* When one is due. */
static struct mono run_when(const struct vacuum *v)
{
	const struct vacuum_engine *e = vacuum_engine_of(v);

	if (v->running || e->running != NULL || !v->db->serving || v->n_members == 0) {
		return MONO_NEVER;
	}
	if (v->asked) {
		return (struct mono){1};
	}
	return e->interval_ms > 0 ? mono_min(v->next_run, run_early(v)) : MONO_NEVER;
}

static bool run_due(const struct vacuum *v, struct mono now)
{
	struct mono when = run_when(v);

	return mono_is_set(when) && !mono_before(now, when);
}

static bool full_run_due(const struct vacuum *v)
{
	const struct vacuum_engine *e = vacuum_engine_of(v);

	return v->asked ? v->asked_full : v->full_due || (e->fast_runs > 0 && v->fast_runs >= e->fast_runs);
}

static void run_scan(struct vacuum *v)
{
	v->result.full = true;
	v->full_due = false;
	v->fast_runs = 0;
	v->result.status = vacuum_engine_of(v)->ops.scan_start(v->db->priv);
	v->scanning = v->result.status == 0;
	v->scan_paused = false;
	v->stats.full_runs++;
}

static void run_begin(struct vacuum *v, struct mono now)
{
	struct vacuum_engine *e = v->db->e->vacuum;
	bool full = full_run_due(v);

	e->running = v;
	v->running = true;
	v->started = now;
	v->result = (struct vacuum_result){.ticket = v->asked ? v->ticket : 0};
	v->stats.runs++;
	if (!v->asked) {
		v->next_run = mono_add_ms(now, e->interval_ms);
		v->fast_runs++;
	}
	v->asked = v->asked_full = false;
	later_is_now(v);
	if (full) {
		run_scan(v);
	}
}

static void batches_undo(struct vacuum *v)
{
	batches_filled(v);
	while (batch_first(v) != NULL) {
		batch_free(batch_first(v), false);
	}
	if (v->out != NULL) {
		batch_free(v->out, false);
	}
	if (v->removing != NULL) {
		batch_free(v->removing, false);
	}
	v->out = v->removing = NULL;
}

static void tell_ended(struct vacuum *v)
{
	const struct vacuum_ops *ops = &vacuum_engine_of(v)->ops;

	v->stats.failed_runs += v->result.status != 0;
	if (ops->ended != NULL) {
		ops->ended(v->db->priv, &v->result);
	}
}

static void count_time(struct vacuum *v, uint64_t ms)
{
	v->result.ms = ms;
	v->stats.ms += ms;
	v->stats.ms_min = v->stats.runs == 1 || ms < v->stats.ms_min ? ms : v->stats.ms_min;
	v->stats.ms_max = ms > v->stats.ms_max ? ms : v->stats.ms_max;
}

static void run_end(struct vacuum *v, int status, struct mono now)
{
	if (status != 0) {
		v->result.status = status;
	}
	if (v->scanning) {
		vacuum_engine_of(v)->ops.scan_stop(v->db->priv);
		v->scanning = false;
	}
	batches_undo(v);
	v->full_due = v->full_due || (v->result.full && v->result.status != 0);
	count_time(v, mono_ms_between(v->started, now));
	v->running = false;
	v->ended = now;
	v->db->e->vacuum->running = NULL;
	tell_ended(v);
}

static bool batches_empty(const struct vacuum *v)
{
	return dlist_empty(&v->filling) && dlist_empty(&v->filled) && v->out == NULL && v->removing == NULL;
}

/* What waits too long. true: the run is over. */
static bool run_late(struct vacuum *v, struct mono now)
{
	uint32_t max = vacuum_engine_of(v)->max_run_ms;

	if (v->out != NULL && !mono_before(now, v->out->deadline)) {
		if (v->out->step != VACUUM_FETCH) {
			run_end(v, ETIMEDOUT, now);
			return true;
		}
		/* One node's fault: the others' part goes on (lesson H-039). */
		v->result.status = ETIMEDOUT;
		batch_free(v->out, false);
		v->out = NULL;
	}
	if (max > 0 && !mono_before(now, mono_add_ms(v->started, max))) {
		run_end(v, ETIMEDOUT, now);
		return true;
	}
	return false;
}

static uint32_t n_filled(const struct vacuum *v)
{
	uint32_t n = 0;

	dlist_for_each(l, &v->filled)
	{
		n++;
	}
	return n;
}

static uint32_t look_slice(struct vacuum *v, uint32_t budget)
{
	while (budget > 0 && !dlist_empty(&v->ready) && n_filled(v) < FILLED_MAX) {
		cand_run(dlist_entry(dlist_first(&v->ready), struct cand, link));
		budget--;
	}
	return budget;
}

static void run_scan_on(struct vacuum *v)
{
	bool stuck = dlist_empty(&v->ready) && batches_empty(v);

	if (v->scanning && v->scan_paused && (stuck || v->n_cands < config_of(v)->max_candidates / 4)) {
		v->scan_paused = false;
		vacuum_engine_of(v)->ops.scan_continue(v->db->priv);
	}
}

static uint32_t run_slice(struct vacuum *v, uint32_t budget, struct mono now)
{
	if (run_due(v, now)) {
		run_begin(v, now);
	}
	if (!v->running || run_late(v, now)) {
		return budget;
	}
	budget = remove_slice(v, budget);
	budget = look_slice(v, budget);
	if (dlist_empty(&v->ready) && (!v->scanning || v->scan_paused)) {
		batches_filled(v);
	}
	if (v->out == NULL && v->removing == NULL && batch_first(v) != NULL) {
		batch_send(v, now);
	}
	run_scan_on(v);
	if (!v->scanning && dlist_empty(&v->ready) && batches_empty(v)) {
		run_end(v, 0, now);
	}
	return budget;
}

void vacuum_slice(struct record_db *db, struct mono now)
{
	struct vacuum *v = db->vacuum;
	uint32_t budget, all;

	if (v == NULL || !db->open || mono_before(now, v->not_before)) {
		return;
	}
	budget = all = config_of(v)->slice_keys;
	budget = inbound_slice(v, budget);
	if (db->serving) {
		budget = fetch_slice(v, budget, now);
		budget = run_slice(v, budget, now);
	}
	if (budget < all) {
		v->not_before = mono_add_us(now, config_of(v)->slice_pause_us);
	}
}

/* Something can be done at once. */
static bool run_has_work(const struct vacuum *v)
{
	if (!v->running) {
		return false;
	}
	if (v->removing != NULL || (v->out == NULL && !dlist_empty(&v->filled))) {
		return true;
	}
	if (!dlist_empty(&v->ready)) {
		return n_filled(v) < FILLED_MAX;
	}
	return v->out == NULL && (!v->scanning || v->scan_paused);
}

static struct mono run_next(const struct vacuum *v)
{
	const struct vacuum_engine *e = vacuum_engine_of(v);
	struct mono late = v->out != NULL ? v->out->deadline : MONO_NEVER;

	if (!v->running) {
		return run_when(v);
	}
	return e->max_run_ms == 0 ? late : mono_min(late, mono_add_ms(v->started, e->max_run_ms));
}

struct mono vacuum_next(const struct record_db *db)
{
	const struct vacuum *v = db->vacuum;

	if (v == NULL || !db->open) {
		return MONO_NEVER;
	}
	if (!dlist_empty(&v->inbound) || fetch_possible(v) || (db->serving && run_has_work(v))) {
		return mono_is_set(v->not_before) ? v->not_before : (struct mono){1};
	}
	return db->serving ? run_next(v) : MONO_NEVER;
}

/* ---- the world outside ---- */

int vacuum_enable(struct record_engine *e, const struct vacuum_config *config, const struct vacuum_ops *ops)
{
	e->vacuum = talloc_zero(e, struct vacuum_engine);
	if (e->vacuum == NULL) {
		return ENOMEM;
	}
	e->vacuum->config = *config;
	e->vacuum->ops = *ops;
	return 0;
}

void vacuum_set_times(struct record_engine *e, uint32_t interval_ms, uint32_t fast_runs, uint32_t max_run_ms)
{
	if (e->vacuum != NULL) {
		e->vacuum->interval_ms = interval_ms;
		e->vacuum->fast_runs = fast_runs;
		e->vacuum->max_run_ms = max_run_ms;
	}
}

int vacuum_db_new(struct record_db *db)
{
	struct vacuum *v;

	if (db->e->vacuum == NULL) {
		return 0;
	}
	v = talloc_zero(db, struct vacuum);
	if (v == NULL) {
		return ENOMEM;
	}
	v->db = db;
	v->n_buckets = BUCKETS;
	v->buckets = talloc_zero_array(v, struct cand *, v->n_buckets);
	if (v->buckets == NULL) {
		talloc_free(v);
		return ENOMEM;
	}
	dlist_init(&v->ready);
	dlist_init(&v->later);
	dlist_init(&v->fetch);
	dlist_init(&v->pulls);
	dlist_init(&v->filling);
	dlist_init(&v->filled);
	dlist_init(&v->inbound);
	db->vacuum = v;
	return 0;
}

int vacuum_db_start(struct record_db *db, const uint32_t *members, uint32_t n, struct mono now)
{
	struct vacuum *v = db->vacuum;

	if (v == NULL) {
		return 0;
	}
	if (n > LANE_NODES) {
		return EINVAL;
	}
	for (uint32_t i = 0; i < n; i++) {
		v->members[i] = members[i];
	}
	v->n_members = n;
	v->next_run = mono_add_ms(now, vacuum_engine_of(v)->interval_ms);
	return 0;
}

void vacuum_close(struct record_db *db)
{
	struct vacuum *v = db->vacuum;

	if (v == NULL) {
		return;
	}
	inbound_close(v);
	if (v->running) {
		run_end(v, ECANCELED, v->started);
	}
	if (v->asked) {
		v->result = (struct vacuum_result){.status = ECANCELED, .ticket = v->ticket, .full = v->asked_full};
		v->asked = v->asked_full = false;
		tell_ended(v);
	}
	v->n_members = 0;
	v->not_before = MONO_NEVER;
}

int vacuum_db_run(struct record_db *db, bool full, uint64_t *ticket)
{
	struct vacuum *v = db->vacuum;

	if (v == NULL || !db->serving || v->n_members == 0) {
		return EAGAIN;
	}
	if (!v->asked) {
		v->asked = true;
		v->ticket++;
	}
	v->asked_full = v->asked_full || full;
	*ticket = v->ticket;
	return 0;
}

bool vacuum_full_due(struct record_db *db)
{
	if (db->vacuum == NULL || db->vacuum->full_due) {
		return false;
	}
	db->vacuum->full_due = true;
	return true;
}

void vacuum_candidate(struct record_db *db, struct record_key key)
{
	struct vacuum *v = db->vacuum;
	struct cand *c;
	bool made;

	if (v == NULL) {
		return;
	}
	c = cand_get(v, key, &made);
	if (c == NULL) {
		v->stats.lost++;
		v->full_due = true;
	} else if (made) {
		cand_move(c, CAND_READY);
	} else {
		c->again = true;
	}
}

/* ---- full scans ---- */

bool vacuum_scan_entry(struct record_db *db, struct record_key key, uint64_t rsn, uint32_t dmaster, bool empty)
{
	struct vacuum *v = db->vacuum;
	bool pointer;

	if (v == NULL || !v->scanning) {
		return true;
	}
	v->result.scanned++;
	pointer = empty && rsn == 0 && dmaster != db->e->config.own_pnn &&
		  rec_lmaster_of(db, hash_lookup3(key.p, key.len)) != db->e->config.own_pnn;
	if (empty && (pointer || dmaster == db->e->config.own_pnn)) {
		vacuum_candidate(db, key);
	}
	/* What is on its way from the scan still has to fit. */
	v->scan_paused = v->n_cands >= config_of(v)->max_candidates / 2;
	return !v->scan_paused;
}

void vacuum_scan_done(struct record_db *db, int status)
{
	struct vacuum *v = db->vacuum;

	if (v == NULL || !v->scanning) {
		return;
	}
	v->scanning = v->scan_paused = false;
	if (status != 0) {
		v->result.status = status;
	}
}

/* ---- figures ---- */

const struct vacuum_stats *vacuum_db_stats(const struct record_db *db)
{
	return db->vacuum != NULL ? &db->vacuum->stats : NULL;
}

uint32_t vacuum_db_candidates(const struct record_db *db)
{
	return db->vacuum != NULL ? db->vacuum->n_cands : 0;
}

bool vacuum_db_running(const struct record_db *db)
{
	return db->vacuum != NULL && db->vacuum->running;
}
