/* Journals of persistent databases, the daemon's part: when they begin and end. */
#include "dbd/journal.h"

#include <errno.h>
#include <string.h>

#include "dbd/db_int.h"
#include "shared/log.h"
#include "shared/mono_timer.h"

#define WINDOW_MS  10000U
#define IDLE_MS    10000U
#define TICK_MS    2500U
#define REFUSED_MS 60000U /* until the next try when there could be none */
#define STOP_MS    5000U

struct journals {
	struct dbs *dbs;
	struct worker_pool *pool;
	struct mono_timer *timer;
	struct dlist endings; /* struct ending */
	void (*done)(void *priv);
	void *done_priv;
};

/* A SETTLE under way. */
struct ending {
	struct dlist link;
	struct journals *js;
	struct db *db;
};

/* ---- counting ---- */

uint32_t journal_count_update(const struct db *db)
{
	struct db_writes *w = db->writes;
	struct mono now = mono_now();

	if (w == NULL || (db->flags & DB_PERSISTENT) == 0 || !db->dbs->d->conf->database.journal ||
	    db->dbs->no_journals) {
		return 0;
	}
	if (!mono_is_set(w->window) || mono_ms_between(w->window, now) > WINDOW_MS) {
		w->window = now;
		w->updates = 0;
	}
	w->updates++;
	w->updated = now;
	w->journal = true;
	return mono_before(now, w->no_journal_until) ? 1 : w->updates;
}

void journal_update_ended(struct db_writes *w, const struct worker_state *state)
{
	w->journal = state->journal;
	if (state->no_journal) {
		w->no_journal_until = mono_add_ms(mono_now(), REFUSED_MS);
	}
}

/* ---- ending ---- */

static int ending_destructor(struct ending *e)
{
	dlist_remove(&e->link);
	return 0;
}

/* Without a sync of the file nobody knows what is on the disk. */
static void failed(struct db *db, int error)
{
	char *reason = talloc_asprintf(db, JOURNAL_UNSYNCED ": %s; its journal is kept, the next start builds it again",
				       strerror(error));

	log_error("database %s: %s", db->name, reason != NULL ? reason : strerror(error));
	if (reason != NULL) {
		(void)db_set_health(db, reason);
	}
	talloc_free(reason);
	db->writes->journal = false;
}

static void stopped(struct journals *js)
{
	void (*done)(void *priv) = js->done;

	js->done = NULL;
	if (done != NULL) {
		done(js->done_priv);
	}
}

static void ended(struct tevent_req *req)
{
	struct ending *e = tevent_req_callback_data(req, struct ending);
	struct journals *js = e->js;
	int error = worker_job_recv(req, NULL);

	if (error == 0) {
		e->db->writes->journal = e->db->writes->running > 0;
	} else if (error == EIO || error == EROFS || error == ENOSPC) {
		failed(e->db, error);
	}
	talloc_free(e);
	if (js->done != NULL && dlist_empty(&js->endings)) {
		stopped(js);
	}
}

static bool is_ending(const struct journals *js, const struct db *db)
{
	dlist_for_each(l, &js->endings)
	{
		if (dlist_entry(l, struct ending, link)->db == db) {
			return true;
		}
	}
	return false;
}

/* Persistent databases are never detached: db outlives it. */
static void end(struct journals *js, struct db *db)
{
	struct worker_args args = {.op = WORKER_SETTLE};
	struct ending *e = talloc(js, struct ending);
	struct tevent_req *req;

	if (e == NULL) {
		return;
	}
	*e = (struct ending){.js = js, .db = db};
	dlist_add_tail(&js->endings, &e->link);
	talloc_set_destructor(e, ending_destructor);
	req = worker_job_send(e, db->dbs->d->ev, js->pool, db, &args, NULL, NULL, NULL);
	if (req == NULL) {
		talloc_free(e);
		return;
	}
	tevent_req_set_callback(req, ended, e);
}

static void end_all(struct journals *js, bool only_idle)
{
	struct mono now = mono_now();

	dlist_for_each(l, dbs_list(js->dbs))
	{
		struct db *db = dlist_entry(l, struct db, link);
		bool idle = db->writes->running == 0 && mono_ms_between(db->writes->updated, now) >= IDLE_MS;

		if (db->writes->journal && (idle || !only_idle) && !is_ending(js, db)) {
			end(js, db);
		}
	}
}

static void tick(void *priv)
{
	struct journals *js = talloc_get_type_abort(priv, struct journals);

	if (js->done != NULL) {
		log_warning("journals of persistent databases are not ended in time: the next start does it");
		stopped(js);
		return;
	}
	end_all(js, true);
	mono_timer_set(js->timer, mono_add_ms(mono_now(), TICK_MS));
}

void journals_stop(struct journals *js, void (*done)(void *priv), void *priv)
{
	js->dbs->no_journals = true;
	js->done = done;
	js->done_priv = priv;
	end_all(js, false);
	if (dlist_empty(&js->endings)) {
		stopped(js);
		return;
	}
	mono_timer_set(js->timer, mono_add_ms(mono_now(), STOP_MS));
}

int journals_new(TALLOC_CTX *mem, struct dbs *dbs, struct worker_pool *pool, struct journals **result)
{
	struct journals *js = talloc_zero(mem, struct journals);

	if (js == NULL) {
		return ENOMEM;
	}
	js->dbs = dbs;
	js->pool = pool;
	dlist_init(&js->endings);
	js->timer = mono_timer_new(js, dbs->d->ev, tick, js);
	if (js->timer == NULL) {
		talloc_free(js);
		return ENOMEM;
	}
	mono_timer_set(js->timer, mono_add_ms(mono_now(), TICK_MS));
	*result = js;
	return 0;
}
