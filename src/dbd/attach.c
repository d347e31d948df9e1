/*
 * Attaching databases. A client is answered when every member of the generation has the database: whatever node its
 * processes go to, the database is there. While a recovery runs, or this node is not yet in normal use, attaches wait
 * for its end.
 */
#include "dbd/attach.h"
#include "dbd/control.h"
#include "protocol/lane_rpc.h"
#include "shared/log.h"
#include "shared/mono_timer.h"

#include <errno.h>

#define NAME_MAX_LEN 200
#define HELD_MAX     LANE_DBS

/* Telling the members of one new database. */
struct round {
	struct dlist link;
	struct attaches *attaches;
	uint64_t id;
	struct db *db;
	bool waits_for[LANE_NODES];
	uint32_t n_waiting;
	struct dlist attaches_waiting; /* struct attach, member link */
};

/* One client's request. Child of its control; in the list of a round, or in attaches->deferred. */
struct attach {
	struct dlist link;
	struct attaches *attaches;
	struct control *ctl;
	char *name;
	uint32_t flags;
};

/* Another node's request that came before the end of a recovery. */
struct held {
	struct dlist link;
	uint32_t from;
	struct lane_attach m;
};

struct attaches {
	struct dbd *dbd;
	struct dlist rounds;
	struct dlist deferred;
	struct dlist again; /* were deferred: their turn has come, after held */
	struct dlist held;
	uint32_t n_held;
	struct mono_timer *go_on;
	bool made; /* a file, which takes milliseconds */
	uint64_t last_id;
};

static void try_attach(struct attach *at);

/* ---- rounds ---- */

/* Ends a round; its clients go on to the list of those who wait for the end of a recovery, or are answered. */
static void round_done(struct round *r)
{
	struct dlist *e;

	dlist_remove(&r->link);
	r->db->everywhere = true;
	while ((e = dlist_first(&r->attaches_waiting)) != NULL) {
		struct attach *at = dlist_entry(e, struct attach, link);

		control_reply_u32(at->ctl, r->db->id);
	}
	talloc_free(r);
}

static void round_failed(struct round *r, uint32_t pnn, const char *why)
{
	struct dlist *e;

	log_error("database %s cannot be attached at node %u: %s", r->db->name, pnn, why);
	dlist_remove(&r->link);
	while ((e = dlist_first(&r->attaches_waiting)) != NULL) {
		struct attach *at = dlist_entry(e, struct attach, link);

		control_reply(at->ctl, -1, NULL, 0, why);
	}
	talloc_free(r);
}

/* A recovery is coming, or is here, that attaches the database everywhere: the clients wait for its end. */
static void round_deferred(struct round *r)
{
	struct dlist *e;

	dlist_remove(&r->link);
	while ((e = dlist_first(&r->attaches_waiting)) != NULL) {
		dlist_remove(e);
		dlist_add_tail(&r->attaches->deferred, e);
	}
	talloc_free(r);
}

static void round_timeout(void *priv)
{
	struct round *r = priv;
	uint32_t pnn = 0;

	while (pnn < LANE_NODES && !r->waits_for[pnn]) {
		pnn++;
	}
	round_failed(r, pnn, "no answer in time");
}

static struct round *round_find(struct attaches *a, const struct db *db)
{
	dlist_for_each(e, &a->rounds)
	{
		struct round *r = dlist_entry(e, struct round, link);

		if (r->db == db) {
			return r;
		}
	}
	return NULL;
}

static struct round *round_new(struct attaches *a, struct db *db)
{
	uint32_t ms = a->dbd->d->conf->database.control_timeout;
	struct round *r = talloc_zero(a, struct round);

	if (r == NULL) {
		return NULL;
	}
	if (deadline_add(r, a->dbd, ms, round_timeout, r) == NULL) {
		talloc_free(r);
		return NULL;
	}
	r->attaches = a;
	r->db = db;
	r->id = ++a->last_id;
	dlist_init(&r->attaches_waiting);
	dlist_add_tail(&a->rounds, &r->link);
	return r;
}

/* EHOSTUNREACH: a member is not linked just now. */
static int round_send(struct round *r)
{
	struct dbd *dbd = r->attaches->dbd;
	struct lane_attach m = {.id = r->id, .db_id = r->db->id, .flags = r->db->flags, .name = r->db->name};
	struct ctdb_blob packet;
	uint32_t n;
	const uint32_t *members = recovery_members(dbd->recovery, &n);
	int rc = lane_attach_encode(r, &m, &packet);

	for (uint32_t i = 0; i < n && rc == 0; i++) {
		if (members[i] == dbd->d->pnn || members[i] >= LANE_NODES) {
			continue;
		}
		rc = lane_send(dbd->lane, members[i], LANE_PROC_ATTACH, packet.data, packet.len);
		if (rc == 0) {
			r->waits_for[members[i]] = true;
			r->n_waiting++;
		}
	}
	return rc;
}

/* The database is attached here: at joins the round that tells the others, or starts it. */
static void join_round(struct attach *at, struct db *db)
{
	struct round *r = round_find(at->attaches, db);
	int rc = 0;

	if (r != NULL) {
		dlist_add_tail(&r->attaches_waiting, &at->link);
		return;
	}
	r = round_new(at->attaches, db);
	if (r == NULL) {
		control_reply(at->ctl, -1, NULL, 0, "no memory");
		return;
	}
	dlist_add_tail(&r->attaches_waiting, &at->link);
	rc = round_send(r);
	if (rc == EHOSTUNREACH) {
		round_deferred(r);
	} else if (rc != 0) {
		round_failed(r, at->attaches->dbd->d->pnn, strerror(rc));
	} else if (r->n_waiting == 0) {
		round_done(r);
	}
}

/* ---- attaching on this node ---- */

int attach_add_flags(struct db *db, uint32_t flags)
{
	flags &= db_is_volatile(db) ? (DB_READONLY | DB_STICKY) & ~db->flags : 0;
	if ((flags & DB_STICKY) != 0 && records_set_sticky(db) != 0) {
		return ENOMEM;
	}
	db_set_flag(db, flags);
	if ((flags & DB_STICKY) != 0) {
		log_info("database %s: records may be sticky", db->name);
	}
	if ((flags & DB_READONLY) != 0) {
		records_set_readonly(db);
		log_info("database %s: read-only copies are possible", db->name);
	}
	return 0;
}

/*
 * A database that was not part of the last recovery is empty: it can be used in the generation that is. (One attached
 * while a recovery runs stays unusable until it is asked for again: its attach comes again when that recovery has
 * ended. One that is late in the last recovery becomes usable with it.)
 */
static int attach_here(struct dbd *dbd, const char *name, uint32_t flags, struct db **db, char **err)
{
	bool created;
	int rc = db_attach(dbd->dbs, name, flags, db, &created, err);

	if (rc == 0 && (*db)->generation == GENERATION_NONE && !(*db)->needs_recovery &&
	    recovery_is_normal(dbd->recovery) && !recovery_works_on(dbd->recovery, *db)) {
		(*db)->generation = recovery_generation(dbd->recovery);
		records_db_attached(dbd->records, *db);
	}
	if (rc == 0 && created) {
		dbd->attaches->made = true;
		log_info("database %s (0x%08x) is attached%s", (*db)->name, (*db)->id,
			 db_is_volatile(*db)                   ? ""
			 : ((*db)->flags & DB_PERSISTENT) != 0 ? ", persistent"
							       : ", replicated");
	}
	return rc;
}

static void try_attach(struct attach *at)
{
	struct dbd *dbd = at->attaches->dbd;
	char *err = NULL;
	struct db *db;
	int rc = attach_here(dbd, at->name, at->flags, &db, &err);

	if (rc != 0) {
		log_error("client (node %u) cannot attach database %s: %s", at->ctl->from, at->name,
			  err != NULL ? err : strerror(rc));
		control_reply(at->ctl, -1, NULL, 0, err != NULL ? err : strerror(rc));
		talloc_free(err);
		return;
	}
	if (db->everywhere) {
		control_reply_u32(at->ctl, db->id);
		return;
	}
	join_round(at, db);
}

/* ---- the controls ---- */

static int attach_destructor(struct attach *at)
{
	dlist_remove(&at->link);
	return 0;
}

static void attach_timeout(void *priv)
{
	struct attach *at = priv;

	log_warning("attach of database %s is refused: no recovery has ended in time", at->name);
	control_reply(at->ctl, -1, NULL, 0, "the databases are not usable: recovery has not ended in time");
}

/* The name as the client wrote it: with one NUL, at its end. NULL: answered. */
static const char *name_of(struct control *ctl)
{
	const char *name = (const char *)ctl->data;

	if (ctl->len < 2 || ctl->len > NAME_MAX_LEN + 1 || memchr(name, '\0', ctl->len) != name + ctl->len - 1) {
		control_reply(ctl, -1, NULL, 0, "a database name has 1 to 200 characters and ends with a NUL");
		return NULL;
	}
	return name;
}

/* What refuses an attach whatever its name is. NULL: nothing. */
static const char *refusal(const struct control *ctl)
{
	const struct recovery *r = ctl->dbd->recovery;

	if (tunable(ctl->clients, CLASSIC_TUNABLE_ALLOW_CLIENT_DB_ATTACH) == 0) {
		return "tunable AllowClientDBAttach is 0";
	}
	if (ctl->client != NULL && recovery_is_fenced(r)) {
		return "this node is not active";
	}
	if (ctl->client != NULL && (ctl->flags & CLASSIC_CTRL_FLAG_ATTACH_RECOVERY) != 0 && recovery_is_normal(r)) {
		return "no recovery is running";
	}
	return NULL;
}

static struct attach *attach_new(struct control *ctl, const char *name, uint32_t flags)
{
	uint32_t ms = ctl->dbd->d->conf->database.attach_timeout;
	struct attach *at = talloc_zero(ctl, struct attach);

	if (at == NULL) {
		return NULL;
	}
	at->attaches = ctl->dbd->attaches;
	at->ctl = ctl;
	at->flags = flags;
	at->name = talloc_strdup(at, name);
	if (at->name == NULL || deadline_add(at, ctl->dbd, ms, attach_timeout, at) == NULL) {
		talloc_free(at);
		return NULL;
	}
	talloc_set_destructor(at, attach_destructor);
	return at;
}

static void attach(struct control *ctl, uint32_t flags)
{
	const char *name = name_of(ctl), *refused;
	struct attach *at;

	if (name == NULL) {
		return;
	}
	if (ctl->client != NULL) {
		ctl->client->uses_databases = true;
	}
	refused = refusal(ctl);
	if (refused != NULL) {
		control_reply(ctl, -1, NULL, 0, refused);
		return;
	}
	at = attach_new(ctl, name, flags);
	if (at == NULL) {
		control_reply(ctl, -1, NULL, 0, "no memory");
		return;
	}
	if (recovery_is_normal(ctl->dbd->recovery)) {
		try_attach(at);
	} else {
		dlist_add_tail(&at->attaches->deferred, &at->link);
	}
}

void control_db_attach(struct control *ctl)
{
	attach(ctl, 0);
}

void control_db_attach_persistent(struct control *ctl)
{
	attach(ctl, DB_PERSISTENT);
}

void control_db_attach_replicated(struct control *ctl)
{
	attach(ctl, DB_REPLICATED);
}

/* ---- from other nodes ---- */

static void attach_for_node(struct attaches *a, uint32_t from, const struct lane_attach *m)
{
	struct lane_attach_reply reply = {.id = m->id};
	struct ctdb_blob packet;
	char *err = NULL;
	struct db *db;
	int rc = attach_here(a->dbd, m->name, m->flags & (DB_PERSISTENT | DB_REPLICATED), &db, &err);

	rc = rc == 0 ? attach_add_flags(db, m->flags) : rc;
	if (rc != 0) {
		log_error("node %u asks for database %s, it cannot be attached here: %s", from, m->name,
			  err != NULL ? err : strerror(rc));
		talloc_free(err);
	}
	reply.status = (uint32_t)rc;
	reply.flags = rc == 0 ? db->flags : 0;
	if (lane_attach_reply_encode(a, &reply, &packet) != 0) {
		log_error("no memory for the answer to node %u about database %s", from, m->name);
		return;
	}
	/* Without a link the asker has lost us as well, and knows. */
	(void)lane_send(a->dbd->lane, from, LANE_PROC_ATTACH_REPLY, packet.data, packet.len);
	talloc_free(packet.data);
}

/*
 * Before the end of a recovery the database could not be made usable here, while the asker, who may have heard of the
 * end before us, would begin to use it when we say that it is attached: the request waits for the end. If there is no
 * room, the asker waits for its time-out.
 */
void attaches_on_attach(struct attaches *a, uint32_t from, const struct lane_attach *m)
{
	struct held *h;

	if (recovery_is_normal(a->dbd->recovery)) {
		attach_for_node(a, from, m);
		return;
	}
	h = a->n_held < HELD_MAX ? talloc(a, struct held) : NULL;
	if (h != NULL) {
		*h = (struct held){.from = from, .m = *m};
		h->m.name = talloc_strdup(h, m->name);
	}
	if (h == NULL || h->m.name == NULL) {
		log_error("request of node %u to attach %s is dropped: too many wait for the end of the recovery", from,
			  m->name);
		talloc_free(h);
		return;
	}
	dlist_add_tail(&a->held, &h->link);
	a->n_held++;
}

/* The first one. */
static void attach_held(struct attaches *a)
{
	struct held *h = dlist_entry(dlist_first(&a->held), struct held, link);

	dlist_remove(&h->link);
	a->n_held--;
	attach_for_node(a, h->from, &h->m);
	talloc_free(h);
}

static void move_all(struct dlist *from, struct dlist *to)
{
	struct dlist *e;

	while ((e = dlist_first(from)) != NULL) {
		dlist_remove(e);
		dlist_add_tail(to, e);
	}
}

void attaches_on_reply(struct attaches *a, uint32_t from, const struct lane_attach_reply *m)
{
	dlist_for_each(e, &a->rounds)
	{
		struct round *r = dlist_entry(e, struct round, link);

		if (r->id != m->id || from >= LANE_NODES || !r->waits_for[from]) {
			continue;
		}
		r->waits_for[from] = false;
		r->n_waiting--;
		if (m->status != 0) {
			round_failed(r, from, strerror((int)m->status));
		} else if (attach_add_flags(r->db, m->flags) != 0) {
			round_failed(r, a->dbd->d->pnn, "no memory");
		} else if (r->n_waiting == 0) {
			round_done(r);
		}
		return;
	}
}

void attaches_db_gone(struct attaches *a, const struct db *db)
{
	struct round *r = round_find(a, db);

	if (r != NULL) {
		round_failed(r, a->dbd->d->pnn, "it is being detached");
	}
}

void attaches_node_lost(struct attaches *a, uint32_t pnn)
{
	dlist_for_each_safe(e, &a->rounds)
	{
		struct round *r = dlist_entry(e, struct round, link);

		if (pnn < LANE_NODES && r->waits_for[pnn]) {
			round_deferred(r);
		}
	}
}

void attaches_recovery_began(struct attaches *a)
{
	dlist_for_each_safe(e, &a->rounds)
	{
		round_deferred(dlist_entry(e, struct round, link));
	}
	move_all(&a->again, &a->deferred);
}

/* Files are made in turns of the event loop of their own: after the start of a node there may be hundreds. */
static void go_on(void *priv)
{
	struct attaches *a = priv;
	struct dlist *e;

	a->made = false;
	while (!a->made && recovery_is_normal(a->dbd->recovery)) {
		if (!dlist_empty(&a->held)) {
			attach_held(a);
		} else if ((e = dlist_first(&a->again)) != NULL) {
			dlist_remove(e);
			try_attach(dlist_entry(e, struct attach, link));
		} else {
			return;
		}
	}
	if (a->made) {
		mono_timer_set(a->go_on, mono_now());
	}
}

/* What fails now and is deferred again waits for the next recovery. */
void attaches_recovery_ended(struct attaches *a)
{
	move_all(&a->deferred, &a->again);
	go_on(a);
}

static void unlink_all(struct dlist *list)
{
	while (!dlist_empty(list)) {
		dlist_remove(dlist_first(list));
	}
}

/* Requests belong to their controls and may be freed behind. */
static int attaches_destructor(struct attaches *a)
{
	dlist_for_each(pos, &a->rounds)
	{
		unlink_all(&dlist_entry(pos, struct round, link)->attaches_waiting);
	}
	unlink_all(&a->deferred);
	unlink_all(&a->again);
	return 0;
}

int attaches_new(TALLOC_CTX *mem, struct dbd *dbd, struct attaches **out)
{
	struct attaches *a = talloc_zero(mem, struct attaches);

	if (a == NULL) {
		return ENOMEM;
	}
	a->dbd = dbd;
	dlist_init(&a->rounds);
	dlist_init(&a->deferred);
	dlist_init(&a->again);
	dlist_init(&a->held);
	a->go_on = mono_timer_new(a, dbd->d->ev, go_on, a);
	if (a->go_on == NULL) {
		talloc_free(a);
		return ENOMEM;
	}
	talloc_set_destructor(a, attaches_destructor);
	*out = a;
	return 0;
}
