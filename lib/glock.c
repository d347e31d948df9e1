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
#define LOCK_PAUSE_MIN_MS  1U
#define LOCK_PAUSE_NEXT_MS 20U /* of those whom nobody tells */
#define LOCK_PAUSE_MAX_MS  100U

/* The queue in the record: how many it takes, and how long its head may take to come when the lock is free. */
#define QUEUE_MAX      1000U
#define QUEUE_GRACE_MS 300U

#define SAMBA_MSG_HEADER_SIZE    52U
#define SAMBA_MSG_RECORD_CHANGED 4003U

static struct server_id self_id(const struct ctdb_client *c)
{
	return (struct server_id){
		.pid = (uint64_t)getpid(), .task = c->lock_id, .vnn = c->pnn, .unique = GLOCK_UNIQUE_NOT_SAMBA};
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
	struct tevent_req *req;
	struct ctdb_listener *listener; /* for the message of whoever gives the lock back */
	bool listening;
	bool pausing;                     /* a timer runs that looks again */
	bool queued;                      /* perhaps in the record */
	uint8_t me[GLOCK_WATCHER_SIZE];   /* this request in the queue: server id and a number of its own */
	uint8_t head[GLOCK_WATCHER_SIZE]; /* who was first when the lock was seen free */
	struct timeval head_until;        /* until then it is waited for */
	char holder[64];                  /* who was seen last, for the error text */
};

static uint32_t queue_find(const struct glock_lock_state *s, const struct glock *g);
static int queue_copy(TALLOC_CTX *mem, const struct glock_lock_state *s, struct glock *g, uint32_t leave_out,
		      bool append);
static int queue_store(struct ctdb_record *rec, const struct glock *g);
static int glock_lock_destructor(struct glock_lock_state *s);
static void glock_name(struct tevent_req *req);
static void glock_named(struct tevent_req *subreq);
static void glock_try(struct tevent_req *req);
static void glock_got_record(struct tevent_req *subreq);
static void glock_asked(struct tevent_req *subreq);

struct tevent_req *glock_lock_send(TALLOC_CTX *mem, struct ctdb_db *db, struct ctdb_data key)
{
	struct glock_lock_state *s;
	struct tevent_req *req = tevent_req_create(mem, &s, struct glock_lock_state);
	struct server_id self;
	uint64_t instance;

	if (req == NULL) {
		return NULL;
	}
	*s = (struct glock_lock_state){.req = req, .db = db, .retry = {.req = req, .fn = glock_try}};
	while (db->c->lock_id == 0) {
		db->c->lock_id = client_random();
	}
	self = self_id(db->c);
	instance = epoch_new();
	server_id_put(s->me, &self);
	memcpy(s->me + GLOCK_SERVER_ID_SIZE, &instance, sizeof(instance));
	s->key = data_of(talloc_memdup(s, key.data, key.len), key.len);
	if (s->key.data == NULL || !tevent_req_set_endtime(req, db->c->ev, client_endtime(db->c))) {
		tevent_req_oom(req);
		return tevent_req_post(req, db->c->ev);
	}
	talloc_set_destructor(s, glock_lock_destructor);
	if (db->c->lock_listener == NULL) {
		glock_name(req);
	} else {
		glock_try(req);
	}
	return tevent_req_is_in_progress(req) ? req : tevent_req_post(req, db->c->ev);
}

static void glock_message(void *priv, uint64_t srvid, struct ctdb_data data)
{
	(void)priv;
	(void)srvid;
	(void)data; /* nobody sends any: the srvid is a name */
}

/* The daemon knows this connection by its number before a lock has it as its holder. */
static void glock_name(struct tevent_req *req)
{
	struct glock_lock_state *s = tevent_req_data(req, struct glock_lock_state);
	struct ctdb_client *c = s->db->c;
	struct tevent_req *subreq = ctdb_listen_send(s, c, GLOCK_SRVID | c->lock_id, glock_message, NULL);

	if (!tevent_req_nomem(subreq, req)) {
		tevent_req_set_callback(subreq, glock_named, req);
	}
}

static void glock_named(struct tevent_req *subreq)
{
	struct tevent_req *req = tevent_req_callback_data(subreq, struct tevent_req);
	struct glock_lock_state *s = tevent_req_data(req, struct glock_lock_state);
	struct ctdb_listener *listener = NULL;
	int err = ctdb_listen_recv(subreq, s, &listener);

	talloc_free(subreq);
	if (tevent_req_error(req, err == 0 && s->db->c == NULL ? ENOTCONN : err)) {
		return;
	}
	if (s->db->c->lock_listener == NULL) {
		s->db->c->lock_listener = talloc_steal(s->db->c, listener);
	}
	glock_try(req);
}

/* A request that gives up leaves the queue, if that needs no waiting; else its place is lost after the grace time. */
static int glock_lock_destructor(struct glock_lock_state *s)
{
	struct ctdb_record *rec = s->queued ? record_lock_now(s, s->db, s->key) : NULL;
	struct glock g;

	if (rec == NULL) {
		return 0;
	}
	glock_parse(ctdb_record_data(rec), &g);
	if (!g.foreign && queue_find(s, &g) < g.n_watchers && queue_copy(rec, s, &g, queue_find(s, &g), false) == 0) {
		(void)queue_store(rec, &g);
	}
	talloc_free(rec);
	return 0;
}

/* The lock was given back and this request is the first in the queue: what Samba's processes tell each other. */
static void glock_woken(void *priv, uint64_t srvid, struct ctdb_data data)
{
	struct glock_lock_state *s = priv;

	if (!s->pausing || !tevent_req_is_in_progress(s->req) || data.len != SAMBA_MSG_HEADER_SIZE + 8 ||
	    memcmp(data.data + SAMBA_MSG_HEADER_SIZE, s->me + GLOCK_SERVER_ID_SIZE, 8) != 0) {
		return;
	}
	s->pausing = false;
	retry_cancel(&s->retry);
	glock_try(s->req);
}

/* Without it the request looks again from time to time, as well. */
static void glock_listening(struct tevent_req *subreq)
{
	struct tevent_req *req = tevent_req_callback_data(subreq, struct tevent_req);
	struct glock_lock_state *s = tevent_req_data(req, struct glock_lock_state);

	(void)ctdb_listen_recv(subreq, s, &s->listener);
	talloc_free(subreq);
}

static void glock_listen(struct glock_lock_state *s)
{
	struct tevent_req *subreq;

	if (s->listening) {
		return;
	}
	s->listening = true;
	subreq = ctdb_listen_send(s, s->db->c, (uint64_t)getpid(), glock_woken, s);
	if (subreq != NULL) {
		tevent_req_set_callback(subreq, glock_listening, s->req);
	}
}

/* Looks again soon if it may be the next one and nobody would tell it. */
static void glock_pause(struct glock_lock_state *s)
{
	s->pausing = true;
	if (s->queued) {
		glock_listen(s);
	}
	retry_later(&s->retry, s, s->db->c->ev, LOCK_PAUSE_MIN_MS,
		    s->listener == NULL ? LOCK_PAUSE_NEXT_MS : LOCK_PAUSE_MAX_MS);
}

static void glock_try(struct tevent_req *req)
{
	struct glock_lock_state *s = tevent_req_data(req, struct glock_lock_state);
	struct tevent_req *subreq;

	s->pausing = false;
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

/* ---- the queue: whoever waits is in the record as a watcher, first come first served ---- */

static bool is_me(const struct glock_lock_state *s, const uint8_t *watcher)
{
	return memcmp(watcher, s->me, sizeof(s->me)) == 0;
}

/* Position in the queue; n_watchers if not in it. */
static uint32_t queue_find(const struct glock_lock_state *s, const struct glock *g)
{
	uint32_t i = 0;

	while (i < g->n_watchers && !is_me(s, g->watchers + (size_t)i * GLOCK_WATCHER_SIZE)) {
		i++;
	}
	return i;
}

/* A copy of the queue without entry number leave_out, and with this request at the end if append. ENOMEM */
static int queue_copy(TALLOC_CTX *mem, const struct glock_lock_state *s, struct glock *g, uint32_t leave_out,
		      bool append)
{
	uint8_t *copy = talloc_array(mem, uint8_t, ((size_t)g->n_watchers + 1) * GLOCK_WATCHER_SIZE), *p = copy;
	uint32_t i;

	if (copy == NULL) {
		return ENOMEM;
	}
	for (i = 0; i < g->n_watchers; i++) {
		if (i != leave_out) {
			memcpy(p, g->watchers + (size_t)i * GLOCK_WATCHER_SIZE, GLOCK_WATCHER_SIZE);
			p += GLOCK_WATCHER_SIZE;
		}
	}
	if (append) {
		memcpy(p, s->me, sizeof(s->me));
		p += GLOCK_WATCHER_SIZE;
	}
	g->watchers = copy;
	g->n_watchers = (uint32_t)((size_t)(p - copy) / GLOCK_WATCHER_SIZE);
	return 0;
}

static int queue_store(struct ctdb_record *rec, const struct glock *g)
{
	struct ctdb_data data;
	int err = glock_build(rec, g, &data);

	if (err != 0) {
		return err;
	}
	return data.len == 0 ? ctdb_record_delete(rec) : ctdb_record_store(rec, data);
}

/* Puts this request into the queue. 0 also if it is there, or the queue is full: then it only looks again and again. */
static int queue_join(struct glock_lock_state *s, struct ctdb_record *rec, struct glock *g)
{
	int err;

	if (g->foreign || g->n_watchers >= QUEUE_MAX || queue_find(s, g) < g->n_watchers) {
		return 0;
	}
	s->queued = true;
	err = queue_copy(rec, s, g, UINT32_MAX, true);
	return err != 0 ? err : queue_store(rec, g);
}

/* The lock is free: is it this request's turn? A head that does not come within the grace time loses its place. */
static bool is_my_turn(TALLOC_CTX *mem, struct glock_lock_state *s, struct glock *g)
{
	struct timeval now = tevent_timeval_current();

	if (g->n_watchers == 0 || is_me(s, g->watchers)) {
		return true;
	}
	if (memcmp(s->head, g->watchers, sizeof(s->head)) != 0) {
		memcpy(s->head, g->watchers, sizeof(s->head));
		s->head_until = tevent_timeval_add(&now, 0, QUEUE_GRACE_MS * 1000);
		return false;
	}
	if (tevent_timeval_compare(&now, &s->head_until) < 0 || queue_copy(mem, s, g, 0, false) != 0) {
		return false;
	}
	return g->n_watchers == 0 || is_me(s, g->watchers);
}

static int glock_write(struct glock_lock_state *s, struct ctdb_record *rec, struct glock *g)
{
	int err = queue_copy(rec, s, g, queue_find(s, g), false);

	s->queued = false;
	g->holder = self_id(s->db->c);
	g->n_shared = 0;
	g->lock_epoch = epoch_new();
	g->data_epoch = g->data_epoch != 0 ? g->data_epoch : epoch_new();
	return err != 0 ? err : queue_store(rec, g);
}

/*
 * Takes the lock if all its holders are known to be dead and it is this request's turn. EBUSY: holder is one of whom
 * that is not known; EAGAIN: others came first. In both cases the request is in the queue then.
 */
static int glock_take(struct glock_lock_state *s, struct ctdb_record *rec, struct server_id *holder)
{
	struct glock g;
	uint32_t i, before;
	int err;

	glock_parse(ctdb_record_data(rec), &g);
	for (i = 0; glock_holder(&g, i, holder); i++) {
		if (!is_dead(s, holder)) {
			err = queue_join(s, rec, &g);
			return err != 0 ? err : EBUSY;
		}
	}
	if (g.foreign) {
		g = (struct glock){.n_watchers = 0};
	}
	before = g.n_watchers;
	if (is_my_turn(rec, s, &g)) {
		return glock_write(s, rec, &g);
	}
	err = queue_join(s, rec, &g);
	if (err == 0 && g.n_watchers < before) { /* a head was dropped, and this request was in the queue behind it */
		err = queue_store(rec, &g);
	}
	return err != 0 ? err : EAGAIN;
}

/* Its node's daemon knows whether it lives, by its number if it has one: a process id may be another's by now. */
static struct tevent_req *ask_if_alive(TALLOC_CTX *mem, struct ctdb_client *c, const struct server_id *id)
{
	struct classic_pid_srvid both = {.pid = (int32_t)id->pid};
	struct classic_i32 pid = {.value = (int32_t)id->pid};
	bool named = glock_holder_srvid(id, &both.srvid);
	struct ctdb_blob payload;
	struct tevent_req *req;
	int err = named ? classic_pid_srvid_nencode(mem, &both, &payload) : classic_i32_nencode(mem, &pid, &payload);

	if (err != 0) {
		return NULL;
	}
	req = control_send(mem, c, id->vnn, named ? CLASSIC_CONTROL_CHECK_PID_SRVID : CLASSIC_CONTROL_PROCESS_EXISTS, 0,
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

/* A process id of this node that nobody has any more needs no question. */
static bool is_gone_here(const struct ctdb_client *c, const struct server_id *id)
{
	return id->vnn == c->pnn && (id->pid > INT32_MAX || (kill((pid_t)id->pid, 0) != 0 && errno == ESRCH));
}

/* Somebody holds the lock; the record is not locked meanwhile. */
static void glock_conflict(struct tevent_req *req)
{
	struct glock_lock_state *s = tevent_req_data(req, struct glock_lock_state);
	struct ctdb_client *c = s->db->c;
	struct server_id self = self_id(c);
	struct tevent_req *subreq;
	uint64_t srvid;

	snprintf(s->holder, sizeof(s->holder), "process %llu of node %u", (unsigned long long)s->asked.pid,
		 s->asked.vnn);
	if (is_gone_here(c, &s->asked)) {
		if (remember_dead(s)) {
			glock_try(req);
		} else {
			tevent_req_oom(req);
		}
	} else if (server_id_equal(&s->asked, &self) ||
		   (s->asked.vnn == c->pnn && !glock_holder_srvid(&s->asked, &srvid))) {
		glock_pause(s);
	} else {
		subreq = ask_if_alive(s, c, &s->asked);
		if (!tevent_req_nomem(subreq, req)) {
			tevent_req_set_callback(subreq, glock_asked, req);
		}
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
	} else if (err == EAGAIN) {
		glock_pause(s);
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
		glock_pause(s);
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

/* Writes that this process holds the lock no more. first: whoever is to be told, if *watched. */
static int glock_give_back(struct ctdb_db *db, struct ctdb_record *rec, uint8_t *first, bool *watched)
{
	struct server_id self = self_id(db->c);
	struct glock g;
	struct ctdb_data data;
	int err;

	glock_parse(ctdb_record_data(rec), &g);
	if (g.foreign || !server_id_equal(&g.holder, &self)) {
		return client_fail(db->c, ENOLCK, "the lock was taken away from this process");
	}
	*watched = g.n_watchers > 0;
	if (*watched) {
		memcpy(first, g.watchers, GLOCK_WATCHER_SIZE); /* the record's bytes go when it is stored */
	}
	g.holder = (struct server_id){0};
	g.lock_epoch = epoch_new();
	err = glock_build(rec, &g, &data);
	if (err == 0) {
		err = data.len == 0 ? ctdb_record_delete(rec) : ctdb_record_store(rec, data);
	}
	return err;
}

int glock_unlock_record(struct ctdb_db *db, struct ctdb_record *rec)
{
	uint8_t first[GLOCK_WATCHER_SIZE];
	bool watched = false;
	int err = glock_give_back(db, rec, first, &watched);

	talloc_free(rec); /* before anybody is woken, or it would wait at once for the chain lock */
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
	}
	if (!tevent_req_error(req, err)) {
		tevent_req_done(req);
	}
}

int glock_unlock_recv(struct tevent_req *req)
{
	return req_simple_recv(req);
}
