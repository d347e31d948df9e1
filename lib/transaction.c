/* Transactions: changes are kept here, and written by one commit under a cluster-wide lock. */
#include <errno.h>
#include <stdio.h>

#include "base/hash.h"
#include "glock.h"
#include "local.h"
#include "protocol/classic_native.h"
#include "transaction_internal.h"

/* ---- start ---- */

struct start_state {
	struct ctdb_db *db;
	struct ctdb_transaction *t;
};

static void start_lock(struct tevent_req *req);
static void start_attached(struct tevent_req *subreq);
static void start_locked(struct tevent_req *subreq);

/* Without waiting: usually the lock record is still here and nobody has its chain. */
static int transaction_destructor(struct ctdb_transaction *t)
{
	struct ctdb_data key = data_of(t->lock_name, sizeof(t->lock_name));
	struct ctdb_record *r;

	if (!t->locked || t->uncertain || t->db->c == NULL || t->db->c->fd == -1) {
		return 0;
	}
	r = record_lock_now(t, t->locks, key);
	if (r != NULL) {
		(void)glock_unlock_record(t->locks, r);
	}
	return 0;
}

struct tevent_req *ctdb_transaction_start_send(TALLOC_CTX *mem, struct ctdb_db *db)
{
	struct start_state *s;
	struct tevent_req *req, *subreq;

	if (db->c == NULL) {
		return NULL;
	}
	req = tevent_req_create(mem, &s, struct start_state);
	if (req == NULL) {
		return NULL;
	}
	*s = (struct start_state){.db = db, .t = talloc_zero(s, struct ctdb_transaction)};
	if (tevent_req_nomem(s->t, req)) {
		return tevent_req_post(req, db->c->ev);
	}
	s->t->db = db;
	dlist_init(&s->t->changes);
	snprintf(s->t->lock_name, sizeof(s->t->lock_name), "transaction_db_0x%08x", db->file->id);
	if (db->file->model == CTDB_DB_VOLATILE) {
		tevent_req_error(req, client_fail(db->c, EPERM, "database \"%s\" is volatile: it has no transactions",
						  db->file->name));
		return tevent_req_post(req, db->c->ev);
	}
	if (db->c->locks != NULL) {
		s->t->locks = db_handle_new(s->t, db->c, db->c->locks->file);
		start_lock(req);
		return tevent_req_is_in_progress(req) ? req : tevent_req_post(req, db->c->ev);
	}
	subreq = ctdb_db_attach_send(s, db->c, GLOCK_DB, CTDB_DB_VOLATILE);
	if (tevent_req_nomem(subreq, req)) {
		return tevent_req_post(req, db->c->ev);
	}
	tevent_req_set_callback(subreq, start_attached, req);
	return req;
}

static void start_lock(struct tevent_req *req)
{
	struct start_state *s = tevent_req_data(req, struct start_state);
	struct tevent_req *subreq;

	if (tevent_req_nomem(s->t->locks, req)) {
		return;
	}
	subreq = glock_lock_send(s, s->t->locks, data_of(s->t->lock_name, sizeof(s->t->lock_name)));
	if (!tevent_req_nomem(subreq, req)) {
		tevent_req_set_callback(subreq, start_locked, req);
	}
}

static void start_attached(struct tevent_req *subreq)
{
	struct tevent_req *req = tevent_req_callback_data(subreq, struct tevent_req);
	struct start_state *s = tevent_req_data(req, struct start_state);
	int err = ctdb_db_attach_recv(subreq, s->t, &s->t->locks);

	talloc_free(subreq);
	if (tevent_req_error(req, err)) {
		return;
	}
	if (s->db->c != NULL && s->db->c->locks == NULL) {
		s->db->c->locks = db_handle_new(s->db->c, s->db->c, s->t->locks->file);
	}
	start_lock(req);
}

static void start_locked(struct tevent_req *subreq)
{
	struct tevent_req *req = tevent_req_callback_data(subreq, struct tevent_req);
	struct start_state *s = tevent_req_data(req, struct start_state);
	int err = glock_lock_recv(subreq);

	talloc_free(subreq);
	if (tevent_req_error(req, err)) {
		return;
	}
	s->t->locked = true;
	talloc_set_destructor(s->t, transaction_destructor);
	tevent_req_done(req);
}

int ctdb_transaction_start_recv(struct tevent_req *req, TALLOC_CTX *mem, struct ctdb_transaction **t)
{
	struct start_state *s = tevent_req_data(req, struct start_state);
	int err;

	if (req_failed(req, &err)) {
		return err;
	}
	*t = talloc_steal(mem, s->t);
	return 0;
}

int ctdb_transaction_start(struct ctdb_db *db, TALLOC_CTX *mem, struct ctdb_transaction **t)
{
	struct tevent_req *req = SYNC_SEND(db->c, ctdb_transaction_start_send(mem, db));
	int err = sync_run(db->c, req);

	if (err == 0) {
		err = ctdb_transaction_start_recv(req, mem, t);
		talloc_free(req);
	}
	return err;
}

/* ---- reading and changing ---- */

static struct change *change_find(struct ctdb_transaction *t, struct ctdb_data key)
{
	uint32_t hash = hash_lookup3(key.data, key.len), i;

	if (t->n_slots == 0) {
		return NULL;
	}
	for (i = hash & (t->n_slots - 1); t->slots[i] != NULL; i = (i + 1) & (t->n_slots - 1)) {
		if (t->slots[i]->hash == hash && data_equal(t->slots[i]->key, key)) {
			return t->slots[i];
		}
	}
	return NULL;
}

static void slot_take(struct change **slots, uint32_t n_slots, struct change *ch)
{
	uint32_t i = ch->hash & (n_slots - 1);

	while (slots[i] != NULL) {
		i = (i + 1) & (n_slots - 1);
	}
	slots[i] = ch;
}

/* Room for one more, half of the slots being empty at least. */
static bool slots_grow(struct ctdb_transaction *t)
{
	uint32_t n = t->n_slots == 0 ? 16 : 2 * t->n_slots;
	struct change **slots;

	if (2 * (t->n_changes + 1) <= t->n_slots) {
		return true;
	}
	slots = talloc_zero_array(t, struct change *, n);
	if (slots == NULL) {
		return false;
	}
	dlist_for_each(e, &t->changes)
	{
		slot_take(slots, n, dlist_entry(e, struct change, link));
	}
	talloc_free(t->slots);
	t->slots = slots;
	t->n_slots = n;
	return true;
}

/* Without data. NULL: out of memory, and nothing has changed. */
static struct change *change_new(struct ctdb_transaction *t, struct ctdb_data key)
{
	struct change *ch = slots_grow(t) ? talloc_zero(t, struct change) : NULL;

	if (ch == NULL) {
		return NULL;
	}
	ch->key = data_of(talloc_memdup(ch, key.data, key.len), key.len);
	if (ch->key.data == NULL && key.len > 0) {
		talloc_free(ch);
		return NULL;
	}
	ch->hash = hash_lookup3(key.data, key.len);
	dlist_add_tail(&t->changes, &ch->link);
	slot_take(t->slots, t->n_slots, ch);
	t->n_changes++;
	return ch;
}

struct transaction_fetch_state {
	bool changed; /* the data are those of a change, else the subrequest's */
	struct ctdb_data data;
};

static void transaction_fetched(struct tevent_req *subreq);

static void fetch_end(struct tevent_req *req, struct ctdb_data data)
{
	struct transaction_fetch_state *s = tevent_req_data(req, struct transaction_fetch_state);

	s->data = data_of(talloc_memdup(s, data.data, data.len), data.len);
	if (data.len == 0) {
		tevent_req_error(req, ENOENT);
	} else if (!tevent_req_nomem(s->data.data, req)) {
		tevent_req_done(req);
	}
}

struct tevent_req *ctdb_transaction_fetch_send(TALLOC_CTX *mem, struct ctdb_transaction *t, struct ctdb_data key)
{
	struct transaction_fetch_state *s;
	struct tevent_req *req, *subreq;
	struct change *ch = change_find(t, key);

	if (t->db->c == NULL) {
		return NULL;
	}
	req = tevent_req_create(mem, &s, struct transaction_fetch_state);
	if (req == NULL) {
		return NULL;
	}
	*s = (struct transaction_fetch_state){.changed = ch != NULL};
	if (ch != NULL) {
		fetch_end(req, ch->data);
		return tevent_req_post(req, t->db->c->ev);
	}
	subreq = ctdb_record_fetch_send(s, t->db, key);
	if (tevent_req_nomem(subreq, req)) {
		return tevent_req_post(req, t->db->c->ev);
	}
	tevent_req_set_callback(subreq, transaction_fetched, req);
	return req;
}

static void transaction_fetched(struct tevent_req *subreq)
{
	struct tevent_req *req = tevent_req_callback_data(subreq, struct tevent_req);
	struct transaction_fetch_state *s = tevent_req_data(req, struct transaction_fetch_state);
	int err = ctdb_record_fetch_recv(subreq, s, &s->data);

	talloc_free(subreq);
	if (!tevent_req_error(req, err)) {
		tevent_req_done(req);
	}
}

int ctdb_transaction_fetch_recv(struct tevent_req *req, TALLOC_CTX *mem, struct ctdb_data *data)
{
	struct transaction_fetch_state *s = tevent_req_data(req, struct transaction_fetch_state);
	int err;

	if (req_failed(req, &err)) {
		return err;
	}
	*data = data_of(talloc_steal(mem, s->data.data), s->data.len);
	return 0;
}

int ctdb_transaction_fetch(struct ctdb_transaction *t, struct ctdb_data key, TALLOC_CTX *mem, struct ctdb_data *data)
{
	struct tevent_req *req = SYNC_SEND(t->db->c, ctdb_transaction_fetch_send(mem, t, key));
	int err = sync_run(t->db->c, req);

	if (err == 0) {
		err = ctdb_transaction_fetch_recv(req, mem, data);
		talloc_free(req);
	}
	return err;
}

static int change_set(struct ctdb_transaction *t, struct ctdb_data key, struct ctdb_data data)
{
	struct change *ch = change_find(t, key);
	uint8_t *copy;

	if (!t->locked || t->committed) {
		return client_fail(t->db->c, EINVAL, "the transaction is over");
	}
	if (key.len > CLASSIC_KEY_MAX || data.len > CLASSIC_DATA_MAX - RECORD_HEADER_SIZE) {
		return client_fail(t->db->c, EMSGSIZE, "record too large");
	}
	copy = talloc_memdup(t, data.data, data.len);
	ch = ch != NULL || (copy == NULL && data.len > 0) ? ch : change_new(t, key);
	if (ch == NULL || (copy == NULL && data.len > 0)) {
		talloc_free(copy);
		return client_fail(t->db->c, ENOMEM, "out of memory");
	}
	copy = talloc_steal(ch, copy);
	data_free(&ch->data);
	ch->data = data_of(copy, data.len);
	return 0;
}

int ctdb_transaction_store(struct ctdb_transaction *t, struct ctdb_data key, struct ctdb_data data)
{
	if (data.len == 0) {
		return client_fail(t->db->c, EINVAL, "an empty record does not exist: delete it");
	}
	return change_set(t, key, data);
}

int ctdb_transaction_delete(struct ctdb_transaction *t, struct ctdb_data key)
{
	return change_set(t, key, (struct ctdb_data){0});
}

/* ---- cancel ---- */

struct cancel_state {
	struct ctdb_transaction *t;
};

static void cancel_unlocked(struct tevent_req *subreq);

struct tevent_req *ctdb_transaction_cancel_send(TALLOC_CTX *mem, struct ctdb_transaction *t)
{
	struct cancel_state *s;
	struct tevent_req *req, *subreq;

	if (t->db->c == NULL) {
		return NULL;
	}
	req = tevent_req_create(mem, &s, struct cancel_state);
	if (req == NULL) {
		return NULL;
	}
	s->t = t;
	if (!t->locked || t->uncertain) {
		tevent_req_error(req, client_fail(t->db->c, EINVAL, "the transaction is over"));
		return tevent_req_post(req, t->db->c->ev);
	}
	subreq = glock_unlock_send(s, t->locks, data_of(t->lock_name, sizeof(t->lock_name)));
	if (tevent_req_nomem(subreq, req)) {
		return tevent_req_post(req, t->db->c->ev);
	}
	tevent_req_set_callback(subreq, cancel_unlocked, req);
	return req;
}

static void cancel_unlocked(struct tevent_req *subreq)
{
	struct tevent_req *req = tevent_req_callback_data(subreq, struct tevent_req);
	struct cancel_state *s = tevent_req_data(req, struct cancel_state);
	int err = glock_unlock_recv(subreq);

	talloc_free(subreq);
	if (!tevent_req_error(req, err)) {
		s->t->locked = false;
		tevent_req_done(req);
	}
}

int ctdb_transaction_cancel_recv(struct tevent_req *req)
{
	return req_simple_recv(req);
}

int ctdb_transaction_cancel(struct ctdb_transaction *t)
{
	struct tevent_req *req = SYNC_SEND(t->db->c, ctdb_transaction_cancel_send(t, t));
	int err = sync_run(t->db->c, req);

	if (err == 0) {
		err = ctdb_transaction_cancel_recv(req);
		talloc_free(req);
	}
	return err;
}
