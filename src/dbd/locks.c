/* Locks that clients hold for long while dbd waits for them: who they are. */
#include "dbd/locks.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "dbd/holders.h"
#include "dbd/records.h"
#include "dbd/worker.h"
#include "protocol/db_rpc.h"
#include "shared/log.h"
#include "shared/mono_timer.h"

#define LOOK_MS       1000U
#define WAITED_MS     2000U
#define FORGET_MS     15000U /* a lock that nobody has tried for so long is not waited for */
#define LOG_AGAIN_MS  60000U
#define BUSY_MAX      32U /* keys remembered for a database; what is held for long stays in vain longest */
#define JOBS_MAX      4U  /* databases looked at side by side */
#define KEY_SHOWN_MAX 64U

struct locks {
	struct dbd *dbd;
	struct mono_timer *timer;
	struct gates *gates;
	unsigned jobs;
};

/* A key whose chain lock was tried in vain. */
struct busy_key {
	struct dlist link;
	struct mono since, last;
	size_t len;
	uint8_t key[];
};

struct holder {
	struct dlist link;
	struct holder_entry e;
	struct mono since; /* met first */
	struct mono met, logged;
	unsigned times;
	bool gone; /* while the newest answer is compared */
};

/* Of one database; below it. */
struct lock_watch {
	struct locks *locks;
	struct db *db;
	struct dlist busy;
	unsigned n_busy;
	struct dlist holders;
	struct tevent_req *req; /* a worker looks */
	bool worker_waits;      /* when that began */
	struct holder_entry found[HOLDERS_MAX];
	unsigned n_found;
};

/* ---- what waits ---- */

static struct lock_watch *watch_get(struct locks *l, struct db *db)
{
	struct lock_watch *w = db->locks;

	if (w != NULL) {
		return w;
	}
	w = talloc_zero(db, struct lock_watch);
	if (w != NULL) {
		w->locks = l;
		w->db = db;
		dlist_init(&w->busy);
		dlist_init(&w->holders);
		db->locks = w;
	}
	return w;
}

static struct busy_key *busy_find(const struct lock_watch *w, const uint8_t *key, size_t keylen)
{
	dlist_for_each(e, &w->busy)
	{
		struct busy_key *b = dlist_entry(e, struct busy_key, link);

		if (b->len == keylen && memcmp(b->key, key, keylen) == 0) {
			return b;
		}
	}
	return NULL;
}

static void busy_drop(struct lock_watch *w, struct busy_key *b)
{
	dlist_remove(&b->link);
	w->n_busy--;
	talloc_free(b);
}

void locks_busy(struct locks *l, struct db *db, const uint8_t *key, size_t keylen, struct mono now)
{
	struct lock_watch *w = watch_get(l, db);
	struct busy_key *b = w != NULL ? busy_find(w, key, keylen) : NULL;

	if (b == NULL && w != NULL && w->n_busy < BUSY_MAX) {
		b = talloc_size(w, sizeof(*b) + keylen);
		if (b == NULL) {
			return;
		}
		talloc_set_name_const(b, "struct busy_key");
		*b = (struct busy_key){.since = now, .len = keylen};
		memcpy(b->key, key, keylen);
		dlist_add_tail(&w->busy, &b->link);
		w->n_busy++;
	}
	if (b == NULL) {
		return;
	}
	b->last = now;
	if (mono_us_between(b->since, now) >= GATE_AFTER_US && records_waits(db, key, keylen)) {
		gates_want(l->gates, db, key, keylen);
	}
}

bool gates_open(const struct locks *l, const struct db *db, const uint8_t *key, size_t keylen)
{
	return l->gates != NULL && gates_is_open(l->gates, db, key, keylen);
}

void locks_got(struct db *db, const uint8_t *key, size_t keylen)
{
	struct lock_watch *w = db->locks;
	struct busy_key *b = w != NULL && w->n_busy > 0 ? busy_find(w, key, keylen) : NULL;

	if (b != NULL) {
		busy_drop(w, b);
	}
}

static void busy_forget(struct lock_watch *w, struct mono now)
{
	dlist_for_each_safe(e, &w->busy)
	{
		struct busy_key *b = dlist_entry(e, struct busy_key, link);

		if (mono_ms_between(b->last, now) >= FORGET_MS) {
			busy_drop(w, b);
		}
	}
}

static bool busy_long(const struct busy_key *b, struct mono now)
{
	return mono_ms_between(b->since, now) >= WAITED_MS;
}

static bool worker_waits(const struct locks *l, const struct db *db, struct mono now)
{
	struct mono since = worker_pool_silent_since(l->dbd->workers, db->id);

	return mono_is_set(since) && mono_ms_between(since, now) >= WAITED_MS;
}

static bool key_waits(const struct lock_watch *w, struct mono now)
{
	dlist_for_each(e, &w->busy)
	{
		if (busy_long(dlist_entry(e, struct busy_key, link), now)) {
			return true;
		}
	}
	return false;
}

/* ---- who holds ---- */

static uint32_t chain_of(const struct db *db, const struct busy_key *b)
{
	union {
		const uint8_t *c;
		uint8_t *p;
	} u = {b->key};
	TDB_DATA key = {.dptr = u.p, .dsize = b->len};

	return tdb_jenkins_hash(&key) % (unsigned)tdb_hash_size(db->tdb);
}

/* The record that somebody waits for behind this lock, if it is one chain's. */
static const struct busy_key *key_behind(const struct lock_watch *w, const struct holder_entry *e, struct mono now)
{
	dlist_for_each(l, &w->busy)
	{
		const struct busy_key *b = dlist_entry(l, struct busy_key, link);

		if (e->lock == HOLDER_CHAIN && busy_long(b, now) && chain_of(w->db, b) == e->chain) {
			return b;
		}
	}
	return NULL;
}

/* What a worker waits for is not known: anything may be it. */
static bool matters(const struct lock_watch *w, const struct holder_entry *e, struct mono now)
{
	return w->worker_waits || e->lock == HOLDER_WHOLE || e->lock == HOLDER_TRANSACTION ||
	       key_behind(w, e, now) != NULL;
}

static bool holder_named(const struct holder *h)
{
	return h->times > 1;
}

static void key_text(char *text, size_t size, const struct busy_key *b)
{
	size_t at = 0;

	for (size_t i = 0; i < b->len && i < KEY_SHOWN_MAX && at + 5 < size; i++) {
		uint8_t c = b->key[i];
		bool plain = c > ' ' && c < 0x7f && c != '\\' && c != '"';

		at += (size_t)snprintf(text + at, size - at, plain ? "%c" : "\\x%02x", c);
	}
	snprintf(text + at, size - at, "%s", b->len > KEY_SHOWN_MAX ? "..." : "");
}

static void lock_text(char *text, size_t size, const struct lock_watch *w, const struct holder_entry *e,
		      struct mono now)
{
	const struct busy_key *b = key_behind(w, e, now);
	char key[KEY_SHOWN_MAX * 4 + 8];

	if (b != NULL) {
		key_text(key, sizeof(key), b);
		snprintf(text, size, "hash chain %u (record \"%s\")", e->chain, key);
	} else if (e->lock == HOLDER_CHAIN) {
		snprintf(text, size, "hash chain %u", e->chain);
	} else {
		snprintf(text, size, "%s",
			 e->lock == HOLDER_WHOLE       ? "the whole file"
			 : e->lock == HOLDER_FREE_LIST ? "the list of free space"
						       : "the file for a transaction");
	}
}

static void who_text(char *text, size_t size, const struct holder_entry *e)
{
	if (e->pid != 0) {
		snprintf(text, size, "process %u (%.*s%s)", e->pid, HOLDER_NAME_LEN, e->name,
			 e->stopped ? ", stopped" : "");
	} else {
		snprintf(text, size, "a process of another container (thread %u there)", e->thread);
	}
}

static void holder_log(const struct lock_watch *w, struct holder *h, struct mono now)
{
	char who[80], lock[KEY_SHOWN_MAX * 4 + 64];

	if (mono_is_set(h->logged) && mono_ms_between(h->logged, now) < LOG_AGAIN_MS) {
		return;
	}
	h->logged = now;
	who_text(who, sizeof(who), &h->e);
	lock_text(lock, sizeof(lock), w, &h->e, now);
	log_warning("database %s: %s has kept %s locked for %" PRIu64 " s while %s waits for it; only this database "
		    "waits. Let that process go on, or end it",
		    w->db->name, who, lock, mono_ms_between(h->since, now) / 1000,
		    w->worker_waits ? "a worker of ctdb-dbd" : "a request for a record");
}

static void holder_drop(struct lock_watch *w, struct holder *h, struct mono now)
{
	char who[80];

	if (mono_is_set(h->logged)) {
		who_text(who, sizeof(who), &h->e);
		log_notice("database %s: %s is not in the way any more, after %" PRIu64 " s", w->db->name, who,
			   mono_ms_between(h->since, now) / 1000);
	}
	dlist_remove(&h->link);
	talloc_free(h);
}

static struct holder *holder_find(const struct lock_watch *w, const struct holder_entry *e)
{
	dlist_for_each(l, &w->holders)
	{
		struct holder *h = dlist_entry(l, struct holder, link);

		if (h->e.pid == e->pid && h->e.thread == e->thread && h->e.lock == e->lock && h->e.chain == e->chain) {
			return h;
		}
	}
	return NULL;
}

static void holder_met(struct lock_watch *w, const struct holder_entry *e, struct mono now)
{
	struct holder *h = holder_find(w, e);

	if (h == NULL) {
		h = talloc_zero(w, struct holder);
		if (h == NULL) {
			return;
		}
		h->since = now;
		dlist_add_tail(&w->holders, &h->link);
	}
	h->e = *e;
	h->met = now;
	h->times++;
	h->gone = false;
}

bool locks_held(const struct db *db)
{
	const struct lock_watch *w = db->locks;

	if (w != NULL) {
		dlist_for_each(l, &w->holders)
		{
			if (holder_named(dlist_entry(l, struct holder, link))) {
				return true;
			}
		}
	}
	return false;
}

static void holders_compare(struct lock_watch *w, struct mono now)
{
	dlist_for_each(l, &w->holders)
	{
		dlist_entry(l, struct holder, link)->gone = true;
	}
	for (unsigned i = 0; i < w->n_found; i++) {
		if (matters(w, &w->found[i], now)) {
			holder_met(w, &w->found[i], now);
		}
	}
	dlist_for_each_safe(l, &w->holders)
	{
		struct holder *h = dlist_entry(l, struct holder, link);

		if (h->gone) {
			holder_drop(w, h, now);
		} else if (holder_named(h)) {
			holder_log(w, h, now);
		}
	}
	if (locks_held(w->db)) {
		recovery_db_locked(w->locks->dbd->recovery, w->db);
	}
}

/* ---- looking ---- */

static bool on_found(void *priv, struct worker_job *job, const uint8_t *batch, size_t len)
{
	struct lock_watch *w = priv;
	unsigned n = (unsigned)(len / sizeof(w->found[0]));

	w->n_found = n < HOLDERS_MAX ? n : HOLDERS_MAX;
	memcpy(w->found, batch, w->n_found * sizeof(w->found[0]));
	return true;
}

static void look_done(struct tevent_req *req)
{
	struct lock_watch *w = tevent_req_callback_data(req, struct lock_watch);
	int ret = worker_job_recv(req, NULL);

	TALLOC_FREE(w->req);
	if (ret == 0) {
		holders_compare(w, mono_now());
	} else {
		log_ratelimited(LOG_LVL_NOTICE, 10000, "database %s: it cannot be found out who holds its locks: %s",
				w->db->name, strerror(ret));
	}
}

static void look(struct lock_watch *w, bool for_worker)
{
	struct worker_args args = {.op = WORKER_HOLDERS};
	struct dbd *dbd = w->locks->dbd;

	w->worker_waits = for_worker;
	w->n_found = 0;
	w->req = worker_job_send(w, dbd->d->ev, dbd->workers, w->db, &args, on_found, w, NULL);
	if (w->req != NULL) {
		tevent_req_set_callback(w->req, look_done, w);
	}
}

static void watch_db(struct locks *l, struct db *db, struct mono now)
{
	struct lock_watch *w = db->locks;
	bool for_worker = worker_waits(l, db, now);

	if (w != NULL) {
		busy_forget(w, now);
	}
	if (for_worker || (w != NULL && key_waits(w, now))) {
		w = watch_get(l, db);
		if (w != NULL && w->req == NULL && l->jobs < JOBS_MAX) {
			look(w, for_worker);
		}
	} else if (w != NULL && w->req == NULL && !dlist_empty(&w->holders)) {
		w->n_found = 0;
		holders_compare(w, now);
	}
	l->jobs += w != NULL && w->req != NULL ? 1 : 0;
}

static void watch_all(void *priv)
{
	struct locks *l = talloc_get_type_abort(priv, struct locks);
	struct mono now = mono_now();

	l->jobs = 0; /* counted anew: databases may have been detached */
	dlist_for_each(e, dbs_list(l->dbd->dbs))
	{
		watch_db(l, dlist_entry(e, struct db, link), now);
	}
	mono_timer_set(l->timer, mono_add_ms(now, LOOK_MS));
}

int locks_new(TALLOC_CTX *mem, struct dbd *dbd, struct locks **out)
{
	struct locks *l = talloc_zero(mem, struct locks);

	if (l == NULL) {
		return ENOMEM;
	}
	l->dbd = dbd;
	l->timer = mono_timer_new(l, dbd->d->ev, watch_all, l);
	if (l->timer == NULL || gates_new(l, dbd, &l->gates) != 0) {
		talloc_free(l);
		return ENOMEM;
	}
	mono_timer_set(l->timer, mono_add_ms(mono_now(), LOOK_MS));
	*out = l;
	return 0;
}

/* ---- for tools ---- */

static void fill_lock(const struct lock_watch *w, const struct holder *h, TALLOC_CTX *mem, struct db_lock *out,
		      struct mono now)
{
	const struct busy_key *b = key_behind(w, &h->e, now);
	char text[KEY_SHOWN_MAX * 4 + 64];

	lock_text(text, sizeof(text), w, &h->e, now);
	*out = (struct db_lock){
		.pid = h->e.pid,
		.thread = h->e.thread,
		.name = talloc_strndup(mem, h->e.name, HOLDER_NAME_LEN),
		.stopped = h->e.stopped,
		.chain = h->e.lock == HOLDER_CHAIN ? h->e.chain : UINT32_MAX,
		.what = talloc_strdup(mem, text),
		.waiting = talloc_strdup(mem, w->worker_waits ? "worker" : "record"),
		.held_ms = mono_ms_between(h->since, now),
	};
	if (b != NULL) {
		out->key = (struct ctdb_blob){(uint32_t)b->len, talloc_memdup(mem, b->key, b->len)};
		out->key.len = out->key.data != NULL ? out->key.len : 0;
	}
}

void locks_get(void *priv, struct rpc_call *call, const struct db_copy_id *arg)
{
	struct dbd *dbd = priv;
	struct db *db = db_find(dbd->dbs, arg->db_id);
	struct db_locks reply = {.locks = {.n = 0}};
	struct lock_watch *w = db != NULL ? db->locks : NULL;

	if (db == NULL) {
		rpc_call_fail(call, ENOENT);
		return;
	}
	reply.locks.v = talloc_zero_array(call, struct db_lock, DB_LOCKS_MAX);
	if (reply.locks.v == NULL) {
		rpc_call_fail(call, ENOMEM);
		return;
	}
	if (w != NULL) {
		dlist_for_each(l, &w->holders)
		{
			const struct holder *h = dlist_entry(l, struct holder, link);

			if (holder_named(h) && reply.locks.n < DB_LOCKS_MAX) {
				fill_lock(w, h, reply.locks.v, &reply.locks.v[reply.locks.n++], mono_now());
			}
		}
	}
	db_get_locks_reply(call, &reply);
}
