/*
 * The fence on files. A node that may not act disconnects its clients, but a process that has not noticed yet could go
 * on using records that it finds owned in the file. So each volatile file is locked as a whole until a recovery takes
 * the node back: then it is emptied before it is let go if others went on meanwhile.
 */
#include <errno.h>
#include <string.h>

#include "dbd/locks.h"
#include "dbd/recovery_int.h"
#include "shared/log.h"

struct freeze {
	struct dlist link;
	struct recovery *r;
	struct db *db;
	struct tevent_req *req;
	struct worker_job *job;
	bool ended;  /* told to let go */
	bool again;  /* and wanted again meanwhile */
	bool wiping; /* a recovery waits for the end */
	struct mono wiping_since;
};

static int freeze_destructor(struct freeze *f)
{
	dlist_remove(&f->link);
	return 0;
}

static struct freeze *freeze_find(const struct recovery *r, const struct db *db)
{
	dlist_for_each(e, &r->freezes)
	{
		struct freeze *f = dlist_entry(e, struct freeze, link);

		if (f->db == db) {
			return f;
		}
	}
	return NULL;
}

static void freeze_one(struct recovery *r, struct db *db);

static void freeze_done(struct tevent_req *req)
{
	struct freeze *f = tevent_req_callback_data(req, struct freeze);
	struct recovery *r = f->r;
	struct db *db = f->db;
	bool wiping = f->wiping, again = f->again;
	int ret = worker_job_recv(req, NULL);

	talloc_free(f);
	if (again && r->fenced) {
		freeze_one(r, db);
	} else if (ret != 0 && !wiping) {
		log_warning("database %s: is not locked any more while this node may not act: %s", db->name,
			    strerror(ret));
	}
	if (wiping) {
		rec_member_job_done(r->member, db, ret, mono_now());
		recovery_kick(r);
	}
}

static bool frozen(void *priv, struct worker_job *job, const uint8_t *batch, size_t len)
{
	struct freeze *f = priv;

	(void)job;
	(void)batch;
	(void)len;
	log_debug("database %s: locked while this node may not act", f->db->name);
	return true;
}

static void freeze_one(struct recovery *r, struct db *db)
{
	struct worker_args args = {.op = WORKER_FREEZE};
	struct freeze *f = talloc_zero(r, struct freeze);

	if (f == NULL) {
		log_error("database %s: cannot be locked: out of memory", db->name);
		return;
	}
	*f = (struct freeze){.r = r, .db = db};
	dlist_add_tail(&r->freezes, &f->link);
	talloc_set_destructor(f, freeze_destructor);
	f->req = worker_job_send(f, r->dbd->d->ev, r->dbd->workers, db, &args, frozen, f, &f->job);
	if (f->req == NULL) {
		log_error("database %s: cannot be locked: out of memory", db->name);
		talloc_free(f);
		return;
	}
	tevent_req_set_callback(f->req, freeze_done, f);
}

void freeze_all(struct recovery *r)
{
	dlist_for_each(e, dbs_list(r->dbd->dbs))
	{
		struct db *db = dlist_entry(e, struct db, link);
		struct freeze *f = freeze_find(r, db);

		if (f != NULL) {
			f->again = f->ended; /* its worker may have let go already */
		} else if (db_is_volatile(db)) {
			freeze_one(r, db);
		}
	}
}

void freeze_end(struct recovery *r, struct db *db)
{
	struct freeze *f = freeze_find(r, db);

	if (f != NULL && !f->wiping && !f->ended) {
		f->ended = true;
		(void)worker_job_feed(f->job, NULL, 0, true);
	}
}

bool freeze_wipe(struct recovery *r, struct db *db)
{
	static const uint8_t wipe = 1;
	struct freeze *f = freeze_find(r, db);

	/* One that was told to let go does not hear of a wipe. */
	if (f == NULL || f->wiping || f->ended) {
		return false;
	}
	f->wiping = true;
	f->wiping_since = mono_now();
	mono_timer_set_earlier(r->patience_timer, mono_add_ms(f->wiping_since, recovery_patience_ms(r)));
	(void)worker_job_feed(f->job, &wipe, sizeof(wipe), true);
	return true;
}

struct mono freeze_patience(struct recovery *r, struct mono now)
{
	struct mono next = MONO_NEVER;

	dlist_for_each(e, &r->freezes)
	{
		struct freeze *f = dlist_entry(e, struct freeze, link);
		struct mono end = mono_add_ms(f->wiping_since, recovery_patience_ms(r));
		struct db *db = f->db;

		if (!f->wiping) {
			continue;
		}
		if (locks_held(db)) { /* nobody else waits for it then */
			f->wiping_since = now;
			end = mono_add_ms(now, recovery_patience_ms(r));
		}
		if (mono_before(now, end)) {
			next = mono_min(next, end);
			continue;
		}
		log_error("database %s: emptying its file has not come to an end for %u s", db->name,
			  recovery_patience_ms(r) / 1000);
		talloc_free(f);
		rec_member_job_done(r->member, db, ETIMEDOUT, now);
		recovery_kick(r);
		return now; /* the list has changed */
	}
	return next;
}

void freeze_forget(struct recovery *r, const struct db *db)
{
	talloc_free(freeze_find(r, db));
}

void freeze_stop(struct recovery *r, struct db *db)
{
	struct freeze *f = freeze_find(r, db);

	/* Killed in the middle of the wipe: the next recovery wipes again, this copy does not count until then. */
	if (f != NULL && f->wiping) {
		talloc_free(f);
	}
}
