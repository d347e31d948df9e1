/* What dbd tells other daemons and the command line about itself: interface "db". */
#include "dbd/client.h"
#include "dbd/control.h"
#include "dbd/examine.h"
#include "dbd/locks.h"
#include "protocol/db_rpc.h"
#include "shared/log.h"
#include "shared/msg.h"

#include <errno.h>
#include <stdio.h>

#define RECOVER_MS 600000U

static uint64_t ms_since(struct timeval tv)
{
	struct timeval now;
	int64_t ms;

	gettimeofday(&now, NULL);
	ms = (int64_t)(now.tv_sec - tv.tv_sec) * 1000 + (now.tv_usec - tv.tv_usec) / 1000;
	return ms > 0 ? (uint64_t)ms : 0;
}

static uint32_t duration_ms(const struct recovery_times *t)
{
	int64_t ms = (int64_t)(t->finished.tv_sec - t->started.tv_sec) * 1000 +
		     (t->finished.tv_usec - t->started.tv_usec) / 1000;

	return ms > 0 ? (uint32_t)ms : 0;
}

static void fill_db(struct dbd *dbd, struct db *db, struct db_entry *info)
{
	*info = (struct db_entry){
		.db_id = db->id,
		.name = db->name,
		.flags = db->flags,
		.generation = db->generation,
		.path = db->path,
		.health = db->health != NULL ? db->health : (char *)(uintptr_t) "",
		.pending_calls = db_is_volatile(db) ? records_pending(dbd->records, db) : 0,
	};
}

/* The state and why. */
static void fill_state(const struct dbd *dbd, struct db_status *s)
{
	const char *reason = "";

	if (recovery_is_fenced(dbd->recovery)) {
		s->state = DB_RECOVERY_FENCED;
		reason = dbd->view != NULL && dbd->view->reason != NULL ? dbd->view->reason : "this node is not active";
	} else if (recovery_is_normal(dbd->recovery)) {
		s->state = DB_RECOVERY_NORMAL;
	} else if (dbd->view == NULL) {
		s->state = DB_RECOVERY_WAITING;
		reason = "clusterd has not told its view yet";
	} else if (view_leader(dbd) == NODE_UNKNOWN) {
		s->state = DB_RECOVERY_WAITING;
		reason = "no leader is known";
	} else {
		s->state = DB_RECOVERY_RUNNING;
		reason = "a recovery is running";
	}
	s->reason = (char *)(uintptr_t)reason;
}

static void get_status(void *priv, struct rpc_call *call)
{
	struct dbd *dbd = priv;
	const struct recovery_times *times = recovery_times(dbd->recovery);
	struct db_status s = {.generation = recovery_generation(dbd->recovery), .recoveries = times->count};
	uint32_t i = 0;

	fill_state(dbd, &s);
	s.clients = dbd->clients != NULL ? dbd->clients->n : 0;
	s.last_recovery_ms = duration_ms(times);
	s.since_ms = ms_since(recovery_is_normal(dbd->recovery) ? times->finished : times->started);
	s.dbs.n = dbs_count(dbd->dbs);
	s.dbs.v = talloc_zero_array(call, struct db_entry, s.dbs.n);
	if (s.dbs.v == NULL && s.dbs.n > 0) {
		rpc_call_fail(call, ENOMEM);
		return;
	}
	dlist_for_each(e, dbs_list(dbd->dbs))
	{
		fill_db(dbd, dlist_entry(e, struct db, link), &s.dbs.v[i++]);
	}
	db_get_status_reply(call, &s);
}

static void get_stalls(void *priv, struct rpc_call *call)
{
	const struct stall_stats *stats = stall_meter_stats();
	struct db_stalls s = {.handlers = stats->handlers, .max_us = stats->max_us};
	char where[sizeof(stats->max_where)];

	snprintf(where, sizeof(where), "%s", stats->max_where);
	s.max_where = where;
	memcpy(s.buckets, stats->bucket, sizeof(s.buckets));
	db_get_stalls_reply(call, &s);
}

/* ---- recoveries ---- */

struct recovering {
	struct dbd *dbd;
	struct rpc_call *call;
};

static void recovery_reply(struct dbd *dbd, struct rpc_call *call,
			   void (*reply)(struct rpc_call *, const struct db_recovery *))
{
	struct db_recovery out;

	recovery_costs(dbd->recovery, &out);
	reply(call, &out);
}

static void recovered(void *priv)
{
	const struct recovering *w = priv;

	recovery_reply(w->dbd, w->call, db_recover_reply);
}

static void recover_late(void *priv)
{
	rpc_call_fail(priv, ETIMEDOUT);
}

static void recover(void *priv, struct rpc_call *call, const struct db_recover_args *arg)
{
	struct recovering *w = talloc(call, struct recovering);
	struct recovery_wait *wait;
	struct dbd *dbd = priv;
	int rc = ENOMEM;

	if (w != NULL && deadline_add(call, dbd, RECOVER_MS, recover_late, call) != NULL) {
		*w = (struct recovering){dbd, call};
		rc = recovery_ask(w, dbd->recovery, arg->full, recovered, w, &wait);
	}
	if (rc != 0) {
		rpc_call_fail(call, rc);
	}
}

static void get_recovery(void *priv, struct rpc_call *call)
{
	recovery_reply(priv, call, db_get_recovery_reply);
}

static void get_freeze(void *priv, struct rpc_call *call, const struct db_copy_id *m)
{
	struct dbd *dbd = priv;
	const struct db *db = db_find(dbd->dbs, m->db_id);
	struct db_freeze reply;

	if (db == NULL || dbd->clients == NULL) {
		rpc_call_fail(call, ENOENT);
		return;
	}
	edits_freeze_of(dbd->clients->edits, db, &reply);
	db_get_freeze_reply(call, &reply);
}

static const struct db_server server = {
	.get_status = get_status,
	.get_stalls = get_stalls,
	.examine = examine_file,
	.scan = examine_scan,
	.locate = examine_locate,
	.vacuum = vacuum_tool_run,
	.get_vacuum = vacuum_tool_counts,
	.recover = recover,
	.get_recovery = get_recovery,
	.get_locks = locks_get,
	.get_freeze = get_freeze,
};

static int dispatch(void *priv, struct rpc_call *call, uint32_t proc, const uint8_t *buf, size_t len)
{
	return db_dispatch(&server, priv, call, proc, buf, len);
}

int status_start(struct dbd *dbd)
{
	return msg_serve(dbd->d->msg, DB_INTERFACE, DB_VERSION, dispatch, dbd);
}
