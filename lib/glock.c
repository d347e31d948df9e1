/* Taking and giving back the locks of g_lock.tdb. */
#include "glock.h"

#include <endian.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "local.h"
#include "protocol/classic_native.h"

/* Pauses while somebody holds the lock. */
#define LOCK_PAUSE_MIN_MS 5U
#define LOCK_PAUSE_MAX_MS 250U

#define SAMBA_MSG_HEADER_SIZE    52U
#define SAMBA_MSG_RECORD_CHANGED 4003U

static struct server_id self_id(const struct ctdb_client *c)
{
	return (struct server_id){.pid = (uint64_t)getpid(), .vnn = c->pnn, .unique = GLOCK_UNIQUE_NOT_SAMBA};
}

static uint64_t epoch_new(void)
{
	return ((uint64_t)client_random() << 32) | client_random();
}

/* ---- locking ---- */

struct glock_lock_state {
	struct ctdb_db *db;
	struct ctdb_data key;
	struct retry retry;
	struct server_id asked; /* whether this one lives */
	uint32_t n_dead;
	struct server_id *dead;
	char holder[64]; /* who was seen last, for the error text */
};

static void glock_try(struct tevent_req *req);
static void glock_got_record(struct tevent_req *subreq);
static void glock_asked(struct tevent_req *subreq);

struct tevent_req *glock_lock_send(TALLOC_CTX *mem, struct ctdb_db *db, struct ctdb_data key)
{
	struct glock_lock_state *s;
	struct tevent_req *req = tevent_req_create(mem, &s, struct glock_lock_state);

	if (req == NULL) {
		return NULL;
	}
	*s = (struct glock_lock_state){.db = db, .retry = {.req = req, .fn = glock_try}};
	s->key = data_of(talloc_memdup(s, key.data, key.len), key.len);
	if (s->key.data == NULL || !tevent_req_set_endtime(req, db->c->ev, client_endtime(db->c))) {
		tevent_req_oom(req);
		return tevent_req_post(req, db->c->ev);
	}
	glock_try(req);
	return tevent_req_is_in_progress(req) ? req : tevent_req_post(req, db->c->ev);
}

static void glock_try(struct tevent_req *req)
{
	struct glock_lock_state *s = tevent_req_data(req, struct glock_lock_state);
	struct tevent_req *subreq;

	if (s->db->c == NULL) {
		tevent_req_error(req, ENOTCONN);
		return;
	}
	subreq = ctdb_record_lock_send(s, s->db, s->key);
	if (!tevent_req_nomem(subreq, req)) {
		tevent_req_set_callback(subreq, glock_got_record, req);
	}
}

static bool is_dead(const struct glock_lock_state *s, const struct server_id *id)
{
	uint32_t i;

	for (i = 0; i < s->n_dead; i++) {
		if (server_id_equal(&s->dead[i], id)) {
			return true;
		}
	}
	return false;
}

/* Takes the lock if all its holders are known to be dead; else tells one of whom that is not known. EBUSY. */
static int glock_take(struct glock_lock_state *s, struct ctdb_record *rec, struct server_id *holder)
{
	struct glock g;
	struct ctdb_data data;
	uint32_t i;
	int err;

	glock_parse(ctdb_record_data(rec), &g);
	for (i = 0; glock_holder(&g, i, holder); i++) {
		if (!is_dead(s, holder)) {
			return EBUSY;
		}
	}
	if (g.foreign) {
		g = (struct glock){.n_watchers = 0};
	}
	g.holder = self_id(s->db->c);
	g.n_shared = 0;
	g.lock_epoch = epoch_new();
	g.data_epoch = g.data_epoch != 0 ? g.data_epoch : epoch_new();
	err = glock_build(rec, &g, &data);
	return err != 0 ? err : ctdb_record_store(rec, data);
}

/* On this node the kernel knows; the unique id cannot be checked from here, a process id that was used again makes us
 * wait. */
static struct tevent_req *ask_if_alive(TALLOC_CTX *mem, struct ctdb_client *c, const struct server_id *id)
{
	struct classic_pid_srvid both = {.pid = (int32_t)id->pid, .srvid = id->unique};
	struct classic_i32 pid = {.value = (int32_t)id->pid};
	bool samba = id->unique != GLOCK_UNIQUE_NOT_SAMBA;
	struct ctdb_blob payload;
	struct tevent_req *req;
	int err = samba ? classic_pid_srvid_nencode(mem, &both, &payload) : classic_i32_nencode(mem, &pid, &payload);

	if (err != 0) {
		return NULL;
	}
	req = control_send(mem, c, id->vnn, samba ? CLASSIC_CONTROL_CHECK_PID_SRVID : CLASSIC_CONTROL_PROCESS_EXISTS, 0,
			   data_of_blob(payload));
	talloc_free(payload.data);
	return req;
}

static bool remember_dead(struct glock_lock_state *s)
{
	struct server_id *dead = talloc_realloc(s, s->dead, struct server_id, s->n_dead + 1);

	if (dead == NULL) {
		return false;
	}
	s->dead = dead;
	s->dead[s->n_dead++] = s->asked;
	return true;
}

/* Somebody holds the lock; the record is not locked meanwhile. */
static void glock_conflict(struct tevent_req *req)
{
	struct glock_lock_state *s = tevent_req_data(req, struct glock_lock_state);
	struct tevent_req *subreq;

	snprintf(s->holder, sizeof(s->holder), "process %llu of node %u", (unsigned long long)s->asked.pid,
		 s->asked.vnn);
	if (s->asked.vnn != s->db->c->pnn) {
		subreq = ask_if_alive(s, s->db->c, &s->asked);
		if (!tevent_req_nomem(subreq, req)) {
			tevent_req_set_callback(subreq, glock_asked, req);
		}
	} else if (s->asked.pid <= INT32_MAX && (kill((pid_t)s->asked.pid, 0) == 0 || errno != ESRCH)) {
		retry_later(&s->retry, s, s->db->c->ev, LOCK_PAUSE_MIN_MS, LOCK_PAUSE_MAX_MS);
	} else if (!remember_dead(s)) {
		tevent_req_oom(req);
	} else {
		glock_try(req);
	}
}

static void glock_got_record(struct tevent_req *subreq)
{
	struct tevent_req *req = tevent_req_callback_data(subreq, struct tevent_req);
	struct glock_lock_state *s = tevent_req_data(req, struct glock_lock_state);
	struct ctdb_record *rec = NULL;
	int err = ctdb_record_lock_recv(subreq, s, &rec);

	talloc_free(subreq);
	if (tevent_req_error(req, err)) {
		return;
	}
	err = glock_take(s, rec, &s->asked);
	talloc_free(rec);
	if (err == EBUSY) {
		glock_conflict(req);
	} else if (!tevent_req_error(req, err)) {
		tevent_req_done(req);
	}
}

/* Refused means: no such process there. A node that is not connected has none either: its part in the cluster is over.
 */
static void glock_asked(struct tevent_req *subreq)
{
	struct tevent_req *req = tevent_req_callback_data(subreq, struct tevent_req);
	struct glock_lock_state *s = tevent_req_data(req, struct glock_lock_state);
	int32_t status;
	int err = control_status_recv(subreq, &status);

	talloc_free(subreq);
	if (err == 0 || err == ETIMEDOUT) {
		retry_later(&s->retry, s, s->db->c->ev, LOCK_PAUSE_MIN_MS, LOCK_PAUSE_MAX_MS);
	} else if (err != EREMOTEIO && err != EHOSTUNREACH) {
		tevent_req_error(req, err);
	} else if (!remember_dead(s)) {
		tevent_req_oom(req);
	} else {
		glock_try(req);
	}
}

int glock_lock_recv(struct tevent_req *req)
{
	struct glock_lock_state *s = tevent_req_data(req, struct glock_lock_state);
	int err;

	if (req_failed(req, &err)) {
		if (err == ETIMEDOUT && s->holder[0] != '\0') {
			client_fail(s->db->c, err, "lock %.*s is held by %s", (int)s->key.len,
				    (const char *)s->key.data, s->holder);
		}
		return err;
	}
	return 0;
}

/* ---- giving back ---- */

/* The message by which a process of Samba learns that the record it watches has changed. */
static void wake(struct ctdb_client *c, const uint8_t *watcher)
{
	uint8_t msg[SAMBA_MSG_HEADER_SIZE + 8];
	struct server_id to, from = self_id(c);
	uint32_t type = htole32(SAMBA_MSG_RECORD_CHANGED);

	server_id_get(watcher, &to);
	server_id_put(msg, &to);
	server_id_put(msg + 24, &from);
	memcpy(msg + 48, &type, 4);
	memcpy(msg + 52, watcher + GLOCK_SERVER_ID_SIZE, 8); /* its instance */
	(void)ctdb_post_message(c, to.vnn, to.pid,
				data_of(msg, sizeof(msg))); /* it looks by itself, too, some seconds later */
}

int glock_unlock_record(struct ctdb_db *db, struct ctdb_record *rec)
{
	struct server_id self = self_id(db->c);
	uint8_t first[GLOCK_WATCHER_SIZE];
	struct glock g;
	struct ctdb_data data;
	bool watched;
	int err;

	glock_parse(ctdb_record_data(rec), &g);
	if (g.foreign || !server_id_equal(&g.holder, &self)) {
		return client_fail(db->c, ENOLCK, "the lock was taken away from this process");
	}
	watched = g.n_watchers > 0;
	if (watched) {
		memcpy(first, g.watchers, sizeof(first)); /* the record's bytes go when it is stored */
	}
	g.holder = (struct server_id){0};
	g.lock_epoch = epoch_new();
	err = glock_build(rec, &g, &data);
	if (err == 0) {
		err = data.len == 0 ? ctdb_record_delete(rec) : ctdb_record_store(rec, data);
	}
	if (err == 0 && watched) {
		wake(db->c, first);
	}
	return err;
}

struct glock_unlock_state {
	struct ctdb_db *db;
};

static void glock_unlock_locked(struct tevent_req *subreq);

struct tevent_req *glock_unlock_send(TALLOC_CTX *mem, struct ctdb_db *db, struct ctdb_data key)
{
	struct glock_unlock_state *s;
	struct tevent_req *req = tevent_req_create(mem, &s, struct glock_unlock_state), *subreq;

	if (req == NULL) {
		return NULL;
	}
	s->db = db;
	subreq = ctdb_record_lock_send(s, db, key);
	if (tevent_req_nomem(subreq, req)) {
		return tevent_req_post(req, db->c->ev);
	}
	tevent_req_set_callback(subreq, glock_unlock_locked, req);
	return req;
}

static void glock_unlock_locked(struct tevent_req *subreq)
{
	struct tevent_req *req = tevent_req_callback_data(subreq, struct tevent_req);
	struct glock_unlock_state *s = tevent_req_data(req, struct glock_unlock_state);
	struct ctdb_record *rec = NULL;
	int err = ctdb_record_lock_recv(subreq, s, &rec);

	talloc_free(subreq);
	if (err == 0) {
		err = glock_unlock_record(s->db, rec);
		talloc_free(rec);
	}
	if (!tevent_req_error(req, err)) {
		tevent_req_done(req);
	}
}

int glock_unlock_recv(struct tevent_req *req)
{
	return req_simple_recv(req);
}
