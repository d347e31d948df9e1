/* Controls that read or write single records in a file. Chain locks are only tried; what is busy is tried again. */
#include "dbd/control.h"
#include "dbd/commit.h"
#include "base/hash.h"
#include "dbd/worker.h"
#include "protocol/classic_native.h"
#include "shared/log.h"

#include <errno.h>
#include <stdlib.h>

#define PUSH_TIMEOUT_MS 10000
#define PUSHES_MAX      4096
#define TEXT_DETACHED   "the database was detached"

static const uint8_t seqnum_key[] = "__db_sequence_number__";

static uint32_t control_timeout_ms(const struct control *ctl)
{
	return ctl->dbd->d->conf->database.control_timeout;
}

/* ---- GET_DB_SEQNUM ---- */

/* Jobs that wait know the database by its id: it may be detached meanwhile. */
struct seqnum_job {
	struct control *ctl;
	uint32_t db_id;
};

static uint64_t seqnum_of(TDB_DATA value)
{
	return value.dptr != NULL && value.dsize == REC_HEADER_SIZE + 8 ? peek_u64(value.dptr + REC_HEADER_SIZE) : 0;
}

static bool try_seqnum(void *priv)
{
	struct seqnum_job *job = priv;
	TDB_DATA key = tdb_data_of(seqnum_key, sizeof(seqnum_key)), value;
	struct db *db = db_find(job->ctl->dbd->dbs, job->db_id);
	uint8_t data[8];

	if (db == NULL) {
		control_reply(job->ctl, -1, NULL, 0, TEXT_DETACHED);
		return true;
	}
	if (tdb_chainlock_read_nonblock(db->tdb, key) != 0) {
		return false;
	}
	value = tdb_fetch(db->tdb, key);
	tdb_chainunlock_read(db->tdb, key);
	poke_u64(data, seqnum_of(value));
	free(value.dptr);
	control_reply(job->ctl, 0, data, sizeof(data), NULL);
	return true;
}

static void seqnum_expired(void *priv)
{
	struct seqnum_job *job = priv;

	control_reply(job->ctl, -1, NULL, 0, "the database is locked");
}

void control_get_db_seqnum(struct control *ctl)
{
	struct db *db = control_db(ctl);
	struct seqnum_job *job;

	if (db == NULL) {
		return;
	}
	job = talloc(ctl, struct seqnum_job);
	if (job != NULL) {
		*job = (struct seqnum_job){.ctl = ctl, .db_id = db->id};
	}
	if (job == NULL || retry_start(job, ctl->dbd, control_timeout_ms(ctl), try_seqnum, seqnum_expired, job) != 0) {
		control_reply(ctl, -1, NULL, 0, "no memory");
	}
}

/* ---- UPDATE_RECORD ---- */

/* On a volatile database: one record after the other, where present. */
struct update_job {
	struct control *ctl;
	uint32_t db_id;
	uint8_t *buf;
	const uint8_t *p; /* the next record */
	size_t left;
};

static bool same(TDB_DATA old, const struct recdata *r)
{
	return old.dsize == r->datalen &&
	       memcmp(old.dptr + REC_HEADER_SIZE, r->data + REC_HEADER_SIZE, r->datalen - REC_HEADER_SIZE) == 0;
}

/* Under the chain lock. Who owns the record is not changed by this: the header keeps its dmaster. */
static int replace_present(struct db *db, const struct recdata *r)
{
	TDB_DATA key = tdb_data_of(r->key, r->keylen), old = tdb_fetch(db->tdb, key);
	struct rec_header have, new;
	uint8_t *value = NULL;
	int rc = 0;

	if (old.dptr == NULL || !rec_header_get(old.dptr, old.dsize, &have)) {
		free(old.dptr);
		return 0;
	}
	rec_header_get(r->data, r->datalen, &new);
	if (have.rsn >= new.rsn) {
		rc = same(old, r) ? 0 : EEXIST;
	} else {
		value = talloc_memdup(NULL, r->data, r->datalen);
		rc = value == NULL ? ENOMEM : 0;
	}
	if (value != NULL) {
		new.dmaster = have.dmaster;
		rec_header_put(value, &new);
		rc = tdb_store(db->tdb, key, tdb_data_of(value, r->datalen), TDB_MODIFY) == 0 ? 0 : EIO;
		talloc_free(value);
	}
	free(old.dptr);
	return rc;
}

static bool usable(const struct dbd *dbd, const struct db *db)
{
	return recovery_is_normal(dbd->recovery) && db->generation == recovery_generation(dbd->recovery);
}

static bool try_update(void *priv)
{
	struct update_job *job = priv;
	struct db *db = db_find(job->ctl->dbd->dbs, job->db_id);

	/* While a recovery runs nothing may change but by its orders; it may have begun since the last try. */
	if (db == NULL || !usable(job->ctl->dbd, db)) {
		control_reply(job->ctl, -1, NULL, 0, "the database is not usable now");
		return true;
	}
	while (job->left > 0) {
		const uint8_t *p = job->p;
		size_t left = job->left;
		struct recdata r;
		TDB_DATA key;
		int rc;

		recdata_next(&p, &left, &r);
		key = tdb_data_of(r.key, r.keylen);
		if (tdb_chainlock_nonblock(db->tdb, key) != 0) {
			return false;
		}
		rc = replace_present(db, &r);
		tdb_chainunlock(db->tdb, key);
		if (rc != 0) {
			control_reply(job->ctl, -1, NULL, 0, strerror(rc));
			return true;
		}
		job->p = p;
		job->left = left;
	}
	control_reply(job->ctl, 0, NULL, 0, NULL);
	return true;
}

static void update_expired(void *priv)
{
	struct update_job *job = priv;

	control_reply(job->ctl, -1, NULL, 0, "timeout in ctdb_persistent_lock");
}

static void update_volatile(struct control *ctl, struct db *db)
{
	struct update_job *job = talloc(ctl, struct update_job);

	if (job != NULL) {
		job->ctl = ctl;
		job->db_id = db->id;
		job->buf = talloc_memdup(job, ctl->data, ctl->len);
	}
	if (job == NULL || job->buf == NULL) {
		control_reply(ctl, -1, NULL, 0, "no memory");
		return;
	}
	job->p = job->buf + RECBUF_HEAD;
	job->left = ctl->len - RECBUF_HEAD;
	if (retry_start(job, ctl->dbd, control_timeout_ms(ctl), try_update, update_expired, job) != 0) {
		control_reply(ctl, -1, NULL, 0, "no memory");
	}
}

static void update_stored(struct tevent_req *req)
{
	struct control *ctl = tevent_req_callback_data(req, struct control);
	int rc = worker_job_recv(req, NULL);

	talloc_free(req);
	control_reply(ctl, rc == 0 ? 0 : -1, NULL, 0, rc == 0 ? NULL : strerror(rc));
}

/* The answer frees the control and with it the job. */
static void update_late(void *priv)
{
	control_reply(priv, -1, NULL, 0, "timeout in ctdb_persistent_lock");
}

static void update_persistent(struct control *ctl, struct db *db)
{
	struct worker_args args = {.op = WORKER_UPDATE, .input = blob_of(ctl->data, ctl->len)};
	struct dbd *dbd = ctl->dbd;
	struct tevent_req *req = worker_job_send(ctl, dbd->d->ev, dbd->workers, db, &args, NULL, NULL, NULL);

	if (req == NULL || deadline_add(req, dbd, control_timeout_ms(ctl), update_late, ctl) == NULL) {
		control_reply(ctl, -1, NULL, 0, "no memory");
		return;
	}
	tevent_req_set_callback(req, update_stored, ctl);
}

/* Writes on this node alone. In normal use of a persistent database that is TRANS3_COMMIT's work; this is for repair
 * and tests. */
void control_update_record(struct control *ctl)
{
	struct db *db;
	uint32_t db_id;

	if (!commit_buffer_ok(ctl->data, ctl->len, &db_id)) {
		control_reply(ctl, -1, NULL, 0, "malformed records");
		return;
	}
	db = control_db(ctl);
	if (db == NULL) {
		return;
	}
	if (!usable(ctl->dbd, db) || db->health != NULL) {
		control_reply(ctl, -1, NULL, 0, "the database is not usable now");
		return;
	}
	if (db_is_volatile(db)) {
		update_volatile(ctl, db);
	} else {
		update_persistent(ctl, db);
	}
}

/* ---- PUSH_RECORD ---- */

/* A copy that the owner of a record spreads. Not a child of its control: it is stored even if the sender goes
 * meanwhile. */
struct push {
	struct clients *clients;
	uint32_t db_id;
	uint32_t generation;
	struct rec_header header;
	uint8_t *key, *value; /* value with room for the header */
	uint32_t keylen, valuelen;
};

static int push_destructor(struct push *p)
{
	p->clients->n_pushes--;
	return 0;
}

bool pushes_pending(const struct clients *cs)
{
	return cs->n_pushes > 0;
}

static bool own_location(const struct dbd *dbd, const struct push *p)
{
	uint32_t n;
	const uint32_t *slots = recovery_slots(dbd->recovery, &n);

	return n == 0 || slots[hash_lookup3(p->key, p->keylen) % n] == dbd->d->pnn;
}

/*
 * Under the chain lock. Never over a record that this node owns, nor over a copy as new. The local dmaster stays: at
 * the location master it is the tail, which the sender may not be any more. Where the location master has nothing, the
 * record would count as its own: not stored.
 */
static int store_pushed(struct push *p, struct db *db)
{
	const struct dbd *dbd = p->clients->dbd;
	TDB_DATA key = tdb_data_of(p->key, p->keylen), old = tdb_fetch(db->tdb, key);
	struct rec_header have;
	bool present = old.dptr != NULL && rec_header_get(old.dptr, old.dsize, &have);

	free(old.dptr);
	if (present ? have.dmaster == dbd->d->pnn || have.rsn >= p->header.rsn : own_location(dbd, p)) {
		return 0;
	}
	if (present) {
		p->header.dmaster = have.dmaster;
	}
	rec_header_put(p->value, &p->header);
	if (tdb_store(db->tdb, key, tdb_data_of(p->value, p->valuelen), TDB_REPLACE) != 0) {
		return EIO;
	}
	records_copy_changed(db, p->key, p->keylen, present ? have.dmaster : COPY_NONE, p->header.dmaster);
	return 0;
}

static bool try_push(void *priv)
{
	struct push *p = priv;
	TDB_DATA key = tdb_data_of(p->key, p->keylen);
	const struct recovery *r = p->clients->dbd->recovery;
	struct db *db = db_find(p->clients->dbd->dbs, p->db_id);
	int rc;

	if (db == NULL || !recovery_is_normal(r) || recovery_generation(r) != p->generation ||
	    db->generation != p->generation) {
		talloc_free(p);
		return true;
	}
	if (tdb_chainlock_nonblock(db->tdb, key) != 0) {
		return false;
	}
	rc = store_pushed(p, db);
	tdb_chainunlock(db->tdb, key);
	if (rc != 0) {
		log_ratelimited(LOG_LVL_ERROR, 1000, "a record of %s that node %u spreads cannot be stored: %s",
				db->name, p->header.dmaster, tdb_errorstr(db->tdb));
	}
	talloc_free(p);
	return true;
}

static void push_expired(void *priv)
{
	struct push *p = priv;

	log_ratelimited(
		LOG_LVL_WARNING, 1000,
		"a record of database 0x%08x that node %u spreads is not stored: its chain was locked for %u ms",
		p->db_id, p->header.dmaster, PUSH_TIMEOUT_MS);
	talloc_free(p);
}

static struct push *push_new(struct clients *cs, struct db *db, const struct classic_push_record *arg)
{
	struct push *p;

	if (cs->n_pushes >= PUSHES_MAX) {
		return NULL;
	}
	p = talloc(cs, struct push);
	if (p == NULL) {
		return NULL;
	}
	*p = (struct push){.clients = cs,
			   .db_id = db->id,
			   .generation = arg->generation,
			   .keylen = arg->key.len,
			   .valuelen = REC_HEADER_SIZE + arg->value.len};
	p->header = (struct rec_header){.rsn = arg->header.rsn,
					.dmaster = arg->header.dmaster,
					/* a copy that nobody has given out */
					.flags = (arg->header.flags & ~(uint32_t)CLASSIC_REC_RO_FLAGS) |
						 CLASSIC_REC_MIGRATED_WITH_DATA};
	p->key = talloc_memdup(p, arg->key.data, arg->key.len);
	p->value = talloc_size(p, p->valuelen);
	if (p->key == NULL || p->value == NULL) {
		talloc_free(p);
		return NULL;
	}
	if (arg->value.len > 0) {
		memcpy(p->value + REC_HEADER_SIZE, arg->value.data, arg->value.len);
	}
	cs->n_pushes++;
	talloc_set_destructor(p, push_destructor);
	return p;
}

void control_push_record(struct control *ctl)
{
	const struct recovery *r = ctl->dbd->recovery;
	struct clients *cs = ctl->clients;
	struct classic_push_record arg;
	struct push *p;
	struct db *db;

	if (classic_push_record_nview(ctl->data, ctl->len, &arg, NULL) != 0 || arg.key.len == 0) {
		control_reply(ctl, -1, NULL, 0, NULL);
		return;
	}
	vacuum_push_seen(ctl->dbd->vacuums, ctl->data, ctl->len);
	db = db_find(ctl->dbd->dbs, arg.db_id);
	if (db == NULL || !db_is_volatile(db)) {
		control_reply(ctl, -1, NULL, 0, db == NULL ? NULL : "only records of volatile databases are pushed");
		return;
	}
	if (!recovery_is_normal(r) || arg.generation != recovery_generation(r) ||
	    arg.header.dmaster == ctl->dbd->d->pnn) {
		control_reply(ctl, 0, NULL, 0, NULL);
		return;
	}
	p = push_new(cs, db, &arg);
	if (p == NULL) {
		log_ratelimited(LOG_LVL_ERROR, 1000, "a pushed record of %s is dropped: too many wait, or no memory",
				db->name);
		control_reply(ctl, -1, NULL, 0, "no memory");
		return;
	}
	control_reply(ctl, 0, NULL, 0, NULL);
	if (retry_start(p, cs->dbd, PUSH_TIMEOUT_MS, try_push, push_expired, p) != 0) {
		talloc_free(p);
	}
}
