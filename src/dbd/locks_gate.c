/* Chain locks that clients keep busy: a process waits for them in dbd's place. */
#include <errno.h>
#include <string.h>

#include "dbd/control.h"
#include "dbd/locks.h"
#include "dbd/records.h"
#include "dbd/worker.h"
#include "protocol/classic.h"
#include "shared/log.h"

#define PROCESSES 1U /* that are kept; more while several locks are waited for */

struct gates {
	struct dbd *dbd;
	struct worker_pool *pool;
	struct dlist list; /* struct gate */
	unsigned n;
	const struct gate *open; /* the process has its lock, and dbd is at work behind it */
};

/* One key; below its database. */
struct gate {
	struct dlist link;
	struct gates *gates;
	struct db *db;
	struct tevent_req *req;
	struct worker_job *job;
	size_t len;
	uint8_t key[];
};

static uint32_t chain_of(const struct db *db, const uint8_t *key, size_t len)
{
	union {
		const uint8_t *c;
		uint8_t *p;
	} u = {key};
	TDB_DATA d = {.dptr = u.p, .dsize = len};

	return tdb_jenkins_hash(&d) % (unsigned)tdb_hash_size(db->tdb);
}

bool gates_is_open(const struct gates *g, const struct db *db, const uint8_t *key, size_t keylen)
{
	const struct gate *o = g->open;

	return o != NULL && o->db == db && chain_of(db, key, keylen) == chain_of(db, o->key, o->len);
}

static int gate_destructor(struct gate *t)
{
	dlist_remove(&t->link);
	t->gates->n--;
	return 0;
}

/* The process has the lock. Whatever is done, it is told to let go. */
static bool locked(void *priv, struct worker_job *job, const uint8_t *batch, size_t len)
{
	struct gate *t = priv;
	struct gates *g = t->gates;

	g->open = t;
	records_retry(g->dbd->records, t->db, t->key, t->len);
	g->open = NULL;
	(void)worker_job_feed(job, NULL, 0, true);
	return true;
}

static void ended(struct tevent_req *req)
{
	struct gate *t = tevent_req_callback_data(req, struct gate);
	int ret = worker_job_recv(req, NULL);

	/* The engine has gone on trying. */
	if (ret != 0) {
		log_ratelimited(LOG_LVL_NOTICE, 10000, "database %s: waiting for a lock: %s", t->db->name,
				strerror(ret));
	}
	talloc_free(t);
}

static bool may_begin(const struct gates *g, const struct db *db, const uint8_t *key, size_t keylen)
{
	const struct clients *cs = g->dbd->clients;
	uint32_t limit = cs != NULL ? tunable(cs, CLASSIC_TUNABLE_LOCK_PROCESSES_PER_DB) : 0;
	uint32_t n = 0;

	dlist_for_each(e, &g->list)
	{
		const struct gate *t = dlist_entry(e, struct gate, link);

		if (t->db == db && t->len == keylen && memcmp(t->key, key, keylen) == 0) {
			return false;
		}
		n += t->db == db ? 1 : 0;
	}
	return n < limit && g->n < GATES_MAX;
}

void gates_want(struct gates *g, struct db *db, const uint8_t *key, size_t keylen)
{
	struct worker_args args = {.op = WORKER_LOCK};
	struct gate *t;

	if (!may_begin(g, db, key, keylen)) {
		return;
	}
	t = talloc_size(db, sizeof(*t) + keylen);
	if (t == NULL) {
		return;
	}
	talloc_set_name_const(t, "struct gate");
	*t = (struct gate){.gates = g, .db = db, .len = keylen};
	memcpy(t->key, key, keylen);
	dlist_add_tail(&g->list, &t->link);
	g->n++;
	talloc_set_destructor(t, gate_destructor);
	args.input = (struct ctdb_blob){(uint32_t)keylen, t->key};
	t->req = worker_job_send(t, g->dbd->d->ev, g->pool, db, &args, locked, t, &t->job);
	if (t->req == NULL) {
		talloc_free(t);
		return;
	}
	tevent_req_set_callback(t->req, ended, t);
}

int gates_new(TALLOC_CTX *mem, struct dbd *dbd, struct gates **out)
{
	struct gates *g = talloc_zero(mem, struct gates);
	char *program = g != NULL ? talloc_asprintf(g, "%s/ctdb-db-worker", dbd->d->conf->path.libexec) : NULL;
	char *err = NULL;
	int ret = program == NULL ? ENOMEM : worker_pool_new(g, dbd->d->ev, program, PROCESSES, &g->pool, &err);

	if (ret != 0) {
		talloc_free(err);
		talloc_free(g);
		return ret;
	}
	g->dbd = dbd;
	dlist_init(&g->list);
	*out = g;
	return 0;
}
