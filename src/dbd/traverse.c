/*
 * Traverses: all records of a database to one client, as messages. Of volatile databases each active node walks its own
 * file and sends what it owns; of others the copy of this node is complete. A worker does the walking.
 *
 * Flow: a worker pauses after a batch until it is asked for more; another node may have TRAVERSE_WINDOW batches under
 * way, each CREDIT allows one more. While much waits for the client (it is congested) nothing is asked for. So a
 * traverse holds a few batches in memory, however large the database is.
 *
 * Of volatile databases nothing is locked between two chains or nodes. What does not move is told once. What moves is
 * told by each node that owns it at the moment when it reads the chain: twice, if it goes to where the walk has still
 * to come by; not at all, if it goes to where the walk is past it, or is under way. No status says so. Of others the
 * file is read under its lock: as it was at one moment.
 *
 * T1 The reply to TRAVERSE_START is in the client's queue before the first record.
 * T2 The end mark comes last, once, whatever happens: also after a failure or a time-out. What is missing, and why,
 * says the log, and the end mark of a traverse that TRAVERSE_START_TOLD began: classic clients cannot tell. Nothing is
 * missing: all parts came to their end, and no recovery (which may give records to others) began meanwhile. T3 When the
 * client has gone the others are told to stop (KILL); a node that loses the link to the client's node stops by itself.
 */
#include "dbd/traverse.h"
#include "dbd/control.h"
#include "dbd/foreign.h"
#include "dbd/srvid.h"
#include "dbd/worker.h"
#include "protocol/classic_native.h"
#include "protocol/lane_rpc.h"
#include "shared/log.h"

#include <errno.h>

#define TRAVERSE_WINDOW 4
/* A client that has not read for so long while its traverse waits will not do so any more. */
#define STUCK_MS       600000
#define PER_CLIENT_MAX 64

/* A traverse that a client of this node started. Child of the client. */
struct traverse {
	struct dlist link;
	struct traverses *all;
	struct client *client;
	struct db *db;
	uint64_t id, srvid;
	uint32_t reqid;
	bool told; /* the client wants to know how it ended */
	int status;
	char *why;
	uint32_t generation;    /* at the begin */
	struct tevent_req *own; /* NULL: has ended */
	struct worker_job *job;
	bool own_paused;
	bool waits_for[LANE_NODES];
	uint8_t owed[LANE_NODES]; /* credits held back */
	uint32_t n_waiting;       /* nodes, own included */
	struct deadline *deadline;
	struct mono paused_since; /* the client is congested */
};

/* The part that this node does for another one's client. */
struct part {
	struct dlist link;
	struct traverses *all;
	uint32_t to;
	uint64_t id;
	struct worker_job *job;
	uint32_t credits;
	bool paused;
	struct deadline *deadline;
	int error; /* what could not be sent */
};

struct traverses {
	struct dbd *dbd;
	struct dlist list;
	struct dlist parts;
	uint64_t last_id;
};

static int send_id(struct traverses *all, uint32_t to, uint32_t proc, uint64_t id)
{
	struct lane_traverse_id m = {.id = id};
	struct ctdb_blob packet;
	int rc = lane_traverse_id_encode(all, &m, &packet);

	if (rc == 0) {
		rc = lane_send(all->dbd->lane, to, proc, packet.data, packet.len);
		talloc_free(packet.data);
	}
	return rc;
}

/* ---- records to the client ---- */

/* One message a record, with the client's reqid in it. Each arrives at whoever listens to the address. */
static int deliver_one(const struct traverse *t, const uint8_t *record, size_t len, uint32_t reqid)
{
	uint8_t *copy = NULL;

	if (reqid != t->reqid) {
		copy = talloc_memdup(NULL, record, len);
		if (copy == NULL) {
			return ENOMEM;
		}
		poke_u32(copy + 4, t->reqid);
		record = copy;
	}
	srvids_deliver(t->all->dbd->srvids, t->srvid, record, len);
	talloc_free(copy);
	return 0;
}

static int deliver(const struct traverse *t, const uint8_t *records, size_t len)
{
	struct recdata r;
	int rc;

	for (;;) {
		const uint8_t *start = records;

		rc = recdata_next(&records, &len, &r);
		if (rc == ENOENT) {
			return 0;
		}
		if (rc != 0 || r.keylen + r.datalen == 0) {
			return EBADMSG;
		}
		rc = deliver_one(t, start, (size_t)(records - start), r.reqid);
		if (rc != 0) {
			return rc;
		}
	}
}

/* Some records may not have reached the client. The first reason counts. */
static void __attribute__((format(printf, 3, 4))) missing(struct traverse *t, int status, const char *fmt, ...)
{
	char text[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	log_error("traverse of %s for client %u (pid %d): records may be missing: %s", t->db->name, t->client->id,
		  (int)t->client->pid, text);
	if (t->status == 0) {
		t->status = status != 0 ? status : EIO;
		t->why = talloc_strdup(t, text);
	}
}

static void end_mark_told(struct traverse *t)
{
	struct classic_traverse_end end = {.status = (uint32_t)t->status, .text = t->why};
	struct ctdb_blob blob;
	uint8_t *mark = NULL;

	if (classic_traverse_end_nencode(t, &end, &blob) == 0) {
		mark = talloc_size(t, recdata_size(0, blob.len));
	}
	if (mark == NULL) {
		log_error("traverse of %s: no memory for its end", t->db->name);
		return; /* the client's time-out ends it */
	}
	recdata_put(mark, t->reqid, NULL, 0, blob.data, blob.len);
	srvids_deliver(t->all->dbd->srvids, t->srvid, mark, recdata_size(0, blob.len));
}

static void end_mark(struct traverse *t)
{
	uint8_t mark[RECDATA_HEAD];

	if (t->told) {
		end_mark_told(t);
		return;
	}
	recdata_put(mark, t->reqid, NULL, 0, NULL, 0);
	srvids_deliver(t->all->dbd->srvids, t->srvid, mark, sizeof(mark));
}

/* ---- life of a traverse ---- */

static int traverse_destructor(struct traverse *t)
{
	dlist_remove(&t->link);
	for (uint32_t pnn = 0; pnn < LANE_NODES && !t->client->clients->closing; pnn++) {
		if (t->waits_for[pnn]) {
			(void)send_id(t->all, pnn, LANE_PROC_TRAVERSE_KILL, t->id);
		}
	}
	return 0;
}

static void node_done(struct traverse *t)
{
	t->n_waiting--;
	if (t->n_waiting > 0) {
		return;
	}
	if (t->told && t->status == 0 && recovery_generation(t->all->dbd->recovery) != t->generation) {
		missing(t, ESTALE, "a recovery ran meanwhile");
	}
	end_mark(t);
	talloc_free(t);
}

static void no_progress(void *priv);

/* Something came: the time-out starts anew. */
static void progress(struct traverse *t)
{
	uint32_t s = tunable(t->client->clients, CLASSIC_TUNABLE_TRAVERSE_TIMEOUT);

	TALLOC_FREE(t->deadline);
	t->deadline = deadline_add(t, t->all->dbd, (uint64_t)(s > 0 ? s : 1) * 1000, no_progress, t);
	if (t->deadline == NULL) {
		log_error("no memory for the time-out of a traverse of %s", t->db->name);
	}
}

static void no_progress(void *priv)
{
	struct traverse *t = priv;

	t->deadline = NULL;
	if (t->client->congested) {
		if (!mono_is_set(t->paused_since)) {
			t->paused_since = mono_now();
		}
		if (mono_ms_between(t->paused_since, mono_now()) > STUCK_MS) {
			client_disconnect(t->client, "it does not read the records of its traverse of %s", t->db->name);
		}
		progress(t);
		return;
	}
	missing(t, ETIMEDOUT, "nothing came from %u nodes in time", t->n_waiting);
	t->client->clients->count.timeouts_traverse++;
	end_mark(t);
	talloc_free(t);
}

/* ---- own file ---- */

static bool own_batch(void *priv, struct worker_job *job, const uint8_t *batch, size_t len)
{
	struct traverse *t = priv;

	t->job = job;
	progress(t);
	if (deliver(t, batch, len) != 0) {
		missing(t, EIO, "own records are malformed, or no memory");
	}
	t->own_paused = t->client->congested || t->client->dead;
	return !t->own_paused;
}

static void own_done(struct tevent_req *req)
{
	struct traverse *t = tevent_req_callback_data(req, struct traverse);
	int rc = worker_job_recv(req, NULL);

	t->own = NULL;
	t->job = NULL;
	t->own_paused = false;
	talloc_free(req);
	if (rc != 0) {
		missing(t, rc, "this node's file: %s", strerror(rc));
	}
	node_done(t);
}

static int start_own(struct traverse *t, bool with_empty)
{
	struct dbd *dbd = t->all->dbd;
	bool is_volatile = db_is_volatile(t->db);
	struct worker_args args = {
		.op = WORKER_READ, .only_owned = is_volatile, .with_empty = with_empty || !is_volatile};

	t->own = worker_job_send(t, dbd->d->ev, dbd->workers, t->db, &args, own_batch, t, &t->job);
	if (t->own == NULL) {
		return ENOMEM;
	}
	tevent_req_set_callback(t->own, own_done, t);
	t->n_waiting++;
	return 0;
}

/* ---- other nodes ---- */

struct start_args {
	struct traverse *t;
	struct ctdb_blob packet;
};

static void start_at(void *priv, uint32_t pnn)
{
	struct start_args *a = priv;
	struct traverse *t = a->t;
	int rc;

	if (pnn == t->all->dbd->d->pnn || pnn >= LANE_NODES) {
		return;
	}
	rc = lane_send(t->all->dbd->lane, pnn, LANE_PROC_TRAVERSE_START, a->packet.data, a->packet.len);
	if (rc != 0) {
		missing(t, rc, "node %u cannot be asked: %s", pnn, strerror(rc));
		return;
	}
	t->waits_for[pnn] = true;
	t->n_waiting++;
}

static int start_others(struct traverse *t, bool with_empty)
{
	struct lane_traverse_start m = {.id = t->id, .db_id = t->db->id, .with_empty = with_empty};
	struct start_args a = {.t = t};
	int rc;

	if (!db_is_volatile(t->db)) {
		return 0;
	}
	rc = lane_traverse_start_encode(t, &m, &a.packet);
	if (rc == 0) {
		dest_for_each(t->all->dbd, CLASSIC_NODE_ACTIVE, start_at, &a);
		talloc_free(a.packet.data);
	}
	return rc;
}

static struct traverse *find(struct traverses *all, uint64_t id, uint32_t from)
{
	dlist_for_each(e, &all->list)
	{
		struct traverse *t = dlist_entry(e, struct traverse, link);

		if (t->id == id && from < LANE_NODES && t->waits_for[from]) {
			return t;
		}
	}
	return NULL;
}

void traverses_on_data(struct traverses *all, uint32_t from, const struct lane_traverse_data *m)
{
	struct traverse *t = find(all, m->id, from);

	if (t == NULL) {
		return;
	}
	progress(t);
	if (deliver(t, m->records.data, m->records.len) != 0) {
		missing(t, EIO, "records of node %u are malformed, or no memory", from);
	}
	if (t->client->congested || t->client->dead) {
		t->owed[from]++;
	} else {
		(void)send_id(all, from, LANE_PROC_TRAVERSE_CREDIT, t->id);
	}
}

void traverses_on_end(struct traverses *all, uint32_t from, const struct lane_traverse_end *m)
{
	struct traverse *t = find(all, m->id, from);

	if (t == NULL) {
		return;
	}
	if (m->status != 0) {
		missing(t, (int)m->status, "node %u: %s", from, strerror((int)m->status));
	}
	t->waits_for[from] = false;
	node_done(t);
}

void traverses_client_drained(struct traverses *all, struct client *c)
{
	dlist_for_each(e, &all->list)
	{
		struct traverse *t = dlist_entry(e, struct traverse, link);

		if (t->client != c) {
			continue;
		}
		t->paused_since = MONO_NEVER;
		progress(t);
		for (uint32_t pnn = 0; pnn < LANE_NODES; pnn++) {
			for (; t->owed[pnn] > 0; t->owed[pnn]--) {
				(void)send_id(all, pnn, LANE_PROC_TRAVERSE_CREDIT, t->id);
			}
		}
		if (t->own_paused && t->job != NULL) {
			t->own_paused = false;
			worker_job_continue(t->job);
		}
	}
}

void traverses_node_lost(struct traverses *all, uint32_t pnn)
{
	dlist_for_each_safe(e, &all->parts)
	{
		struct part *p = dlist_entry(e, struct part, link);

		if (p->to == pnn) {
			talloc_free(p);
		}
	}
	dlist_for_each_safe(f, &all->list)
	{
		struct traverse *t = dlist_entry(f, struct traverse, link);

		if (pnn < LANE_NODES && t->waits_for[pnn]) {
			missing(t, ECONNRESET, "node %u was lost", pnn);
			t->waits_for[pnn] = false;
			node_done(t);
		}
	}
}

void traverses_db_gone(struct traverses *all, const struct db *db)
{
	dlist_for_each_safe(e, &all->list)
	{
		struct traverse *t = dlist_entry(e, struct traverse, link);

		if (t->db == db) {
			missing(t, ENOENT, "the database was detached");
			end_mark(t);
			talloc_free(t);
		}
	}
}

/* ---- the part for another node ---- */

static int part_destructor(struct part *p)
{
	dlist_remove(&p->link);
	return 0;
}

static void send_end(struct traverses *all, uint32_t to, uint64_t id, int status)
{
	struct lane_traverse_end m = {.id = id, .status = (uint32_t)status};
	struct ctdb_blob packet;

	if (lane_traverse_end_encode(all, &m, &packet) != 0) {
		log_error("no memory for the end of a traverse for node %u", to);
		return;
	}
	(void)lane_send(all->dbd->lane, to, LANE_PROC_TRAVERSE_END, packet.data, packet.len);
	talloc_free(packet.data);
}

static void part_stuck(void *priv)
{
	struct part *p = priv;

	log_warning("traverse for node %u is given up: it asks for no more records", p->to);
	send_end(p->all, p->to, p->id, ETIMEDOUT);
	talloc_free(p);
}

static void part_alive(struct part *p)
{
	TALLOC_FREE(p->deadline);
	p->deadline = deadline_add(p, p->all->dbd, STUCK_MS + 60000, part_stuck, p);
}

static bool part_batch(void *priv, struct worker_job *job, const uint8_t *batch, size_t len)
{
	struct part *p = priv;
	struct lane_traverse_data m = {.id = p->id, .records = blob_of(batch, len)};
	struct ctdb_blob packet;
	int rc = foreign_recdata(p, FOREIGN_OUT, &m.records);

	p->job = job;
	part_alive(p);
	if (rc == 0) {
		rc = lane_traverse_data_encode(p, &m, &packet);
	}
	if (m.records.data != batch) {
		talloc_free(m.records.data);
	}
	if (rc == 0) {
		rc = lane_send(p->all->dbd->lane, p->to, LANE_PROC_TRAVERSE_DATA, packet.data, packet.len);
		talloc_free(packet.data);
	}
	if (rc != 0) {
		log_ratelimited(LOG_LVL_ERROR, 1000, "traverse for node %u: records are lost: %s", p->to, strerror(rc));
		p->error = rc;
	} else if (p->credits > 0) {
		p->credits--;
	}
	p->paused = p->credits == 0;
	return !p->paused;
}

static void part_done(struct tevent_req *req)
{
	struct part *p = tevent_req_callback_data(req, struct part);
	int rc = worker_job_recv(req, NULL);

	send_end(p->all, p->to, p->id, rc != 0 ? rc : p->error);
	talloc_free(p);
}

static int part_start(struct traverses *all, uint32_t from, const struct lane_traverse_start *m, struct db *db)
{
	struct worker_args args = {.op = WORKER_READ, .only_owned = true, .with_empty = m->with_empty};
	struct part *p = talloc_zero(all, struct part);
	struct tevent_req *req = NULL;

	if (p == NULL) {
		return ENOMEM;
	}
	p->all = all;
	p->to = from;
	p->id = m->id;
	p->credits = TRAVERSE_WINDOW;
	req = worker_job_send(p, all->dbd->d->ev, all->dbd->workers, db, &args, part_batch, p, &p->job);
	if (req == NULL) {
		talloc_free(p);
		return ENOMEM;
	}
	tevent_req_set_callback(req, part_done, p);
	part_alive(p);
	dlist_add_tail(&all->parts, &p->link);
	talloc_set_destructor(p, part_destructor);
	return 0;
}

void traverses_on_start(struct traverses *all, uint32_t from, const struct lane_traverse_start *m)
{
	struct db *db = db_find(all->dbd->dbs, m->db_id);
	int rc = ENOENT;

	if (db != NULL && db_is_volatile(db)) {
		rc = part_start(all, from, m, db);
	}
	if (rc != 0) {
		send_end(all, from, m->id, rc);
	}
}

static struct part *find_part(struct traverses *all, uint32_t from, uint64_t id)
{
	dlist_for_each(e, &all->parts)
	{
		struct part *p = dlist_entry(e, struct part, link);

		if (p->to == from && p->id == id) {
			return p;
		}
	}
	return NULL;
}

void traverses_on_kill(struct traverses *all, uint32_t from, const struct lane_traverse_id *m)
{
	talloc_free(find_part(all, from, m->id));
}

void traverses_on_credit(struct traverses *all, uint32_t from, const struct lane_traverse_id *m)
{
	struct part *p = find_part(all, from, m->id);

	if (p == NULL) {
		return;
	}
	part_alive(p);
	if (p->credits < TRAVERSE_WINDOW) {
		p->credits++;
	}
	if (p->paused && p->job != NULL) {
		p->paused = false;
		worker_job_continue(p->job);
	}
}

/* ---- the controls ---- */

static uint32_t count_of(const struct traverses *all, const struct client *c)
{
	uint32_t n = 0;

	dlist_for_each(e, &all->list)
	{
		n += dlist_entry(e, struct traverse, link)->client == c;
	}
	return n;
}

static struct traverse *traverse_new(struct control *ctl, struct db *db, const struct classic_traverse_start *arg)
{
	struct traverses *all = ctl->dbd->traverses;
	struct traverse *t;

	if (count_of(all, ctl->client) >= PER_CLIENT_MAX) {
		return NULL;
	}
	t = talloc_zero(ctl->client, struct traverse);
	if (t == NULL) {
		return NULL;
	}
	t->all = all;
	t->client = ctl->client;
	t->db = db;
	t->id = ++all->last_id;
	t->srvid = arg->srvid;
	t->reqid = arg->reqid;
	dlist_add_tail(&all->list, &t->link);
	talloc_set_destructor(t, traverse_destructor);
	return t;
}

static const char *refusal(const struct control *ctl, const struct db *db, bool told)
{
	if (db->health != NULL && tunable(ctl->clients, CLASSIC_TUNABLE_ALLOW_UNHEALTHY_DB_READ) == 0) {
		return "this database is damaged";
	}
	if (told && recovery_is_fenced(ctl->dbd->recovery)) {
		return "this node is not active: it does not know all records";
	}
	return told && !recovery_is_normal(ctl->dbd->recovery) ? "a recovery is running" : NULL;
}

static void traverse(struct control *ctl, const struct classic_traverse_start *arg, bool with_empty, bool told)
{
	struct db *db = control_db(ctl);
	const char *refused;
	struct traverse *t;

	if (db == NULL) {
		return;
	}
	refused = refusal(ctl, db, told);
	if (refused != NULL) {
		control_reply(ctl, -1, NULL, 0, refused);
		return;
	}
	t = traverse_new(ctl, db, arg);
	if (t != NULL) {
		t->told = told;
		t->generation = recovery_generation(ctl->dbd->recovery);
	}
	if (t == NULL || start_own(t, with_empty) != 0 || start_others(t, with_empty) != 0) {
		talloc_free(t);
		control_reply(ctl, -1, NULL, 0, "no memory, or too many traverses");
		return;
	}
	/* Records come from the event loop only: this reply is before them. */
	progress(t);
	control_reply(ctl, 0, NULL, 0, NULL);
}

void control_traverse_start(struct control *ctl)
{
	struct classic_traverse_start arg;

	if (classic_traverse_start_nview(ctl->data, ctl->len, &arg, NULL) != 0) {
		control_reply(ctl, -1, NULL, 0, NULL);
		return;
	}
	traverse(ctl, &arg, false, false);
}

static void traverse_ext(struct control *ctl, bool told)
{
	struct classic_traverse_start_ext arg;
	struct classic_traverse_start start;

	if (classic_traverse_start_ext_nview(ctl->data, ctl->len, &arg, NULL) != 0) {
		control_reply(ctl, -1, NULL, 0, NULL);
		return;
	}
	start = (struct classic_traverse_start){.db_id = arg.db_id, .reqid = arg.reqid, .srvid = arg.srvid};
	traverse(ctl, &start, arg.withemptyrecords, told);
}

void control_traverse_start_ext(struct control *ctl)
{
	traverse_ext(ctl, false);
}

void control_traverse_start_told(struct control *ctl)
{
	traverse_ext(ctl, true);
}

/* Ends what was started here with this address and request number: the client gets its end mark. */
void control_traverse_kill(struct control *ctl)
{
	struct classic_traverse_start arg;
	struct db *db = control_db(ctl);

	if (db == NULL) {
		return;
	}
	(void)classic_traverse_start_nview(ctl->data, ctl->len, &arg, NULL); /* the size is right: it cannot fail */
	dlist_for_each_safe(e, &ctl->dbd->traverses->list)
	{
		struct traverse *t = dlist_entry(e, struct traverse, link);

		if (t->db == db && t->srvid == arg.srvid && t->reqid == arg.reqid) {
			t->status = t->status != 0 ? t->status : ECANCELED;
			end_mark(t);
			talloc_free(t);
		}
	}
	control_reply(ctl, 0, NULL, 0, NULL);
}

int traverses_new(TALLOC_CTX *mem, struct dbd *dbd, struct traverses **out)
{
	struct traverses *all = talloc_zero(mem, struct traverses);

	if (all == NULL) {
		return ENOMEM;
	}
	all->dbd = dbd;
	dlist_init(&all->list);
	dlist_init(&all->parts);
	*out = all;
	return 0;
}
