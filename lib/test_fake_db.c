/* A stand-in for a daemon with databases. */
#include "test_fake_db.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <talloc.h>
#include <tdb.h>
#include <unistd.h>

#include "base/hash.h"
#include "local.h"
#include "protocol/classic_native.h"

#define CHECK(x)                                                                                                       \
	do {                                                                                                           \
		if (!(x)) {                                                                                            \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x);                                        \
			abort();                                                                                       \
		}                                                                                                      \
	} while (0)

static const char *const names[FAKE_DBS] = {"g_lock.tdb", FAKE_VOLATILE_NAME, FAKE_PERSISTENT_NAME};
static const uint32_t models[FAKE_DBS] = {0, 0, CLASSIC_DB_PERSISTENT};
static const int flags[FAKE_DBS] = {TDB_NOSYNC | TDB_INCOMPATIBLE_HASH | TDB_DISALLOW_NESTING,
				    TDB_NOSYNC | TDB_INCOMPATIBLE_HASH | TDB_DISALLOW_NESTING, TDB_DISALLOW_NESTING};
static const char seqnum_key[] = "__db_sequence_number__";

static uint32_t id_of(enum fake_db db)
{
	return hash_lookup3((const uint8_t *)names[db], strlen(names[db]) + 1);
}

static enum fake_db db_of(uint32_t id)
{
	enum fake_db db;

	for (db = 0; db < FAKE_DBS && id_of(db) != id; db++) {
	}
	CHECK(db < FAKE_DBS);
	return db;
}

static struct tdb_context *file_open(const struct fake_dbs *d, enum fake_db db, int open_flags)
{
	char path[160];
	struct tdb_context *tdb;

	snprintf(path, sizeof(path), "%s/%s.%u", d->dir, names[db], FAKE_PNN);
	tdb = tdb_open(path, 13, flags[db], O_RDWR | open_flags, 0600);
	CHECK(tdb != NULL);
	return tdb;
}

static TDB_DATA tdb_data(const void *p, size_t len)
{
	TDB_DATA d = {.dptr = malloc(len + 1), .dsize = len};

	CHECK(d.dptr != NULL);
	memcpy(d.dptr, p, len);
	return d;
}

static void put(struct tdb_context *tdb, TDB_DATA key, const struct classic_ltdb_header *h, const void *data,
		size_t len)
{
	TDB_DATA value = {.dptr = malloc(RECORD_HEADER_SIZE + len), .dsize = RECORD_HEADER_SIZE + len};

	local_header_put(h, value.dptr);
	if (len > 0) {
		memcpy(value.dptr + RECORD_HEADER_SIZE, data, len);
	}
	CHECK(tdb_store(tdb, key, value, TDB_REPLACE) == 0);
	free(value.dptr);
}

/* Asks the daemon: libtdb has a file open only once in a process, and the test has it. */
#define OPCODE_PUT 9998U

struct put_args {
	uint32_t db, dmaster, keylen, len;
	uint8_t bytes[512]; /* key, data */
};

void fake_dbs_put(struct ctdb_client *c, enum fake_db db, const void *key, size_t keylen, uint32_t dmaster,
		  const void *data, size_t len)
{
	struct put_args a = {.db = db, .dmaster = dmaster, .keylen = (uint32_t)keylen, .len = (uint32_t)len};
	struct ctdb_control k = {
		.node = CTDB_NODE_CURRENT, .opcode = OPCODE_PUT, .data = {.data = (uint8_t *)&a, .len = sizeof(a)}};
	struct ctdb_control_reply *reply;

	CHECK(keylen + len <= sizeof(a.bytes));
	memcpy(a.bytes, key, keylen);
	memcpy(a.bytes + keylen, data, len);
	CHECK(ctdb_control(c, &k, c, &reply) == 0 && reply->status == 0);
	talloc_free(reply);
}

static void on_put(struct fake *f, const struct fake_request *r, struct fake_dbs *d)
{
	struct put_args a;
	struct classic_ltdb_header h = {.rsn = 10};
	struct tdb_context *tdb;
	TDB_DATA k;

	memcpy(&a, r->control.data.data, sizeof(a));
	h.dmaster = a.dmaster;
	k = tdb_data(a.bytes, a.keylen);
	tdb = file_open(d, a.db, 0);
	put(tdb, k, &h, a.bytes + a.keylen, a.len);
	tdb_close(tdb);
	free(k.dptr);
	fake_reply_control(f, r, 0, NULL, 0, NULL);
}

/* ---- the daemon's side ---- */

/* Makes this node the data master, as a daemon does before it answers. */
static void migrate(struct fake_dbs *d, enum fake_db db, struct ctdb_blob key, TDB_DATA *value)
{
	struct tdb_context *tdb = file_open(d, db, 0);
	TDB_DATA k = tdb_data(key.data, key.len), old;
	struct classic_ltdb_header h = {.rsn = 0};

	CHECK(tdb_chainlock(tdb, k) == 0);
	old = tdb_fetch(tdb, k);
	if (old.dsize >= RECORD_HEADER_SIZE) {
		local_header_get(old.dptr, &h);
	}
	h.rsn += 2;
	h.dmaster = FAKE_PNN;
	put(tdb, k, &h, old.dsize > RECORD_HEADER_SIZE ? old.dptr + RECORD_HEADER_SIZE : NULL,
	    old.dsize > RECORD_HEADER_SIZE ? old.dsize - RECORD_HEADER_SIZE : 0);
	CHECK(tdb_chainunlock(tdb, k) == 0);
	tdb_close(tdb);
	free(k.dptr);
	*value = old;
}

/* The copy that the daemon gets from the data master, and stores; else the record comes here. */
static void on_readonly_call(struct fake *f, const struct fake_request *r, struct fake_dbs *d)
{
	struct tdb_context *tdb = file_open(d, db_of(r->call.db_id), 0);
	struct classic_ltdb_header h = {.rsn = 9, .dmaster = 9, .flags = CLASSIC_REC_RO_HAVE_READONLY};
	TDB_DATA k = tdb_data(r->call.key.data, r->call.key.len), v = {.dptr = NULL};

	CHECK((r->call.flags & CLASSIC_CALL_WANT_READONLY) != 0);
	d->n_readonly++;
	if (d->readonly_copies) {
		put(tdb, k, &h, "copy", 4);
	}
	tdb_close(tdb);
	if (!d->readonly_copies) {
		migrate(d, db_of(r->call.db_id), r->call.key, &v);
		free(v.dptr);
	}
	tdb = file_open(d, db_of(r->call.db_id), 0);
	v = tdb_fetch(tdb, k);
	tdb_close(tdb);
	fake_reply_call(f, r, v.dptr, d->short_header ? RECORD_HEADER_SIZE - 1 : v.dsize);
	free(v.dptr);
	free(k.dptr);
}

static bool on_call(struct fake *f, const struct fake_request *r, struct fake_dbs *d)
{
	bool fetch = r->call.callid == CLASSIC_CALLID_FETCH;
	TDB_DATA value = {.dptr = NULL};

	if (r->call.callid == CLASSIC_CALLID_FETCH_WITH_HEADER) {
		on_readonly_call(f, r, d);
		return true;
	}
	d->n_fetch += fetch;
	d->n_null += !fetch;
	if (d->silent_calls) {
		return true;
	}
	if (!d->never_migrate) {
		migrate(d, db_of(r->call.db_id), r->call.key, &value);
	}
	if (fetch && value.dsize > RECORD_HEADER_SIZE) {
		fake_reply_call(f, r, value.dptr + RECORD_HEADER_SIZE, value.dsize - RECORD_HEADER_SIZE);
	} else {
		fake_reply_call(f, r, NULL, 0);
	}
	free(value.dptr);
	return true;
}

static void commit_apply(struct fake_dbs *d, const struct classic_rec_buffer *buf)
{
	struct tdb_context *tdb = file_open(d, db_of(buf->db_id), 0);
	uint32_t i;

	CHECK(tdb_transaction_start(tdb) == 0);
	for (i = 0; i < buf->records.n; i++) {
		TDB_DATA k = tdb_data(buf->records.v[i].key.data, buf->records.v[i].key.len);
		TDB_DATA v = {.dptr = buf->records.v[i].data.data, .dsize = buf->records.v[i].data.len};

		CHECK(v.dsize >= RECORD_HEADER_SIZE);
		CHECK(tdb_store(tdb, k, v, TDB_REPLACE) == 0);
		free(k.dptr);
	}
	CHECK(tdb_transaction_commit(tdb) == 0);
	tdb_close(tdb);
}

static void bump_seqnum(struct fake_dbs *d, enum fake_db db, uint64_t by)
{
	struct tdb_context *tdb = file_open(d, db, 0);
	TDB_DATA k = tdb_data(seqnum_key, sizeof(seqnum_key)), old = tdb_fetch(tdb, k);
	struct classic_ltdb_header h = {.rsn = 5};
	uint64_t v = 0;

	if (old.dsize == RECORD_HEADER_SIZE + 8) {
		memcpy(&v, old.dptr + RECORD_HEADER_SIZE, 8);
	}
	v += by;
	put(tdb, k, &h, &v, sizeof(v));
	tdb_close(tdb);
	free(old.dptr);
	free(k.dptr);
}

static void on_commit(struct fake *f, const struct fake_request *r, struct fake_dbs *d)
{
	TALLOC_CTX *mem = talloc_new(NULL);
	struct classic_rec_buffer buf;
	int status = 0;

	CHECK(classic_rec_buffer_ndecode(mem, r->control.data.data, r->control.data.len, &buf, NULL) == 0);
	CHECK(buf.records.n >= 2 && r->control.srvid == buf.db_id);
	d->n_commits++;
	if (d->commit_failures > 0) {
		d->commit_failures--;
		status = d->commit_status;
	}
	if (d->other_commits) {
		bump_seqnum(d, db_of(buf.db_id), 2);
	} else if (status == 0 || d->commit_stores) {
		commit_apply(d, &buf);
	}
	fake_reply_control(f, r, status, NULL, 0, status == 2 ? "trans3 commit ended by recovery" : NULL);
	talloc_free(mem);
}

static void on_deletion(const struct fake_request *r, struct fake_dbs *d)
{
	struct classic_schedule_for_deletion p;

	CHECK(classic_schedule_for_deletion_nview(r->control.data.data, r->control.data.len, &p, NULL) == 0);
	CHECK(r->control.data.len == 36 + p.key.len); /* daemons refuse any other size */
	CHECK((r->control.flags & CLASSIC_CTRL_FLAG_NOREPLY) != 0 && p.header.dmaster == FAKE_PNN);
	d->deleted_db = p.db_id;
	d->deleted_keylen = p.key.len < sizeof(d->deleted_key) ? p.key.len : sizeof(d->deleted_key);
	memcpy(d->deleted_key, p.key.data, d->deleted_keylen);
	__atomic_add_fetch(&d->n_deletions, 1, __ATOMIC_SEQ_CST);
}

static bool on_question(struct fake *f, const struct fake_request *r, struct fake_dbs *d)
{
	uint32_t map[1 + 2 * FAKE_DBS] = {FAKE_DBS}, id = 0, n = sizeof(n);
	char path[160];
	enum fake_db db;

	if (r->control.data.len >= 4) {
		memcpy(&id, r->control.data.data, 4);
	}
	switch (r->control.opcode) {
	case CLASSIC_CONTROL_DB_ATTACH:
	case CLASSIC_CONTROL_DB_ATTACH_PERSISTENT:
		id = hash_lookup3(r->control.data.data, r->control.data.len);
		fake_reply_control(f, r, 0, &id, n, NULL);
		return true;
	case CLASSIC_CONTROL_GET_DBMAP:
		for (db = 0; db < FAKE_DBS; db++) {
			map[1 + 2 * db] = id_of(db);
			map[2 + 2 * db] = models[db];
		}
		fake_reply_control(f, r, 0, map, sizeof(map), NULL);
		return true;
	case CLASSIC_CONTROL_GETDBPATH:
		snprintf(path, sizeof(path), "%s/%s.%u", d->dir, names[db_of(id)], FAKE_PNN);
		fake_reply_control(f, r, 0, path, strlen(path) + 1, NULL);
		return true;
	case CLASSIC_CONTROL_DB_GET_HEALTH:
		fake_reply_control(f, r, 0, NULL, 0, NULL);
		return true;
	case CLASSIC_CONTROL_DB_OPEN_FLAGS:
		fake_reply_control(f, r, 0, &flags[db_of(id)], sizeof(int), NULL);
		return true;
	default:
		return false;
	}
}

/* Four nodes, of which one is not connected and one deleted. */
static void on_nodemap(struct fake *f, const struct fake_request *r)
{
	static const uint32_t flags_of[4] = {0, CLASSIC_NODE_FLAG_DISCONNECTED, CLASSIC_NODE_FLAG_DELETED, 0};
	uint32_t map[1 + 4 * 9] = {4}, i;

	for (i = 0; i < 4; i++) {
		map[1 + 9 * i] = i;
		map[2 + 9 * i] = flags_of[i];
	}
	fake_reply_control(f, r, 0, map, sizeof(map), NULL);
}

static void on_set_readonly(struct fake *f, const struct fake_request *r, struct fake_dbs *d)
{
	CHECK(d->n_set_readonly < 4);
	d->set_readonly_nodes[d->n_set_readonly] = r->hdr.destnode;
	d->n_set_readonly++;
	fake_reply_control(f, r, d->refusing_node != 0 && r->hdr.destnode == d->refusing_node ? -1 : 0, NULL, 0, NULL);
}

static bool on_control(struct fake *f, const struct fake_request *r, struct fake_dbs *d)
{
	switch (r->control.opcode) {
	case CLASSIC_CONTROL_GET_NODEMAP:
		on_nodemap(f, r);
		return true;
	case CLASSIC_CONTROL_SET_DB_READONLY:
	case CLASSIC_CONTROL_SET_DB_STICKY:
		on_set_readonly(f, r, d);
		return true;
	case OPCODE_PUT:
		on_put(f, r, d);
		return true;
	case CLASSIC_CONTROL_TRANS3_COMMIT:
		on_commit(f, r, d);
		return true;
	case CLASSIC_CONTROL_SCHEDULE_FOR_DELETION:
		on_deletion(r, d);
		return true;
	case CLASSIC_CONTROL_REGISTER_SRVID:
	case CLASSIC_CONTROL_DEREGISTER_SRVID:
		d->registered = r->control.srvid;
		fake_reply_control(f, r, 0, NULL, 0, NULL);
		return true;
	case CLASSIC_CONTROL_CHECK_PID_SRVID:
		CHECK(r->control.data.len == 12);
		memcpy(&d->asked_srvid, r->control.data.data + 4, 8);
		/* fall through */
	case CLASSIC_CONTROL_PROCESS_EXISTS:
		d->n_exists++;
		fake_reply_control(f, r, d->exists ? 0 : -1, NULL, 0, NULL);
		return true;
	default:
		return on_question(f, r, d);
	}
}

static bool is_any_locked(struct fake_dbs *d)
{
	struct tdb_context *tdb = file_open(d, FAKE_GLOCK, 0);
	bool locked = tdb_lockall_nonblock(tdb) != 0;

	tdb_close(tdb);
	return locked;
}

static bool on_request(struct fake *f, const struct fake_request *r, void *priv)
{
	struct fake_dbs *d = priv;

	switch (r->hdr.operation) {
	case CLASSIC_REQ_CALL:
		return on_call(f, r, d);
	case CLASSIC_REQ_CONTROL:
		return on_control(f, r, d);
	default:
		d->message_early = is_any_locked(d);
		d->message_srvid = r->message.srvid;
		d->message_node = r->hdr.destnode;
		d->message_len = r->message.data.len < sizeof(d->message) ? r->message.data.len : sizeof(d->message);
		memcpy(d->message, r->message.data.data, d->message_len);
		__atomic_add_fetch(&d->n_messages, 1, __ATOMIC_SEQ_CST);
		return true;
	}
}

struct fake_dbs *fake_dbs_new(void)
{
	struct fake_dbs *d = fake_shared(sizeof(*d));
	enum fake_db db;

	snprintf(d->dir, sizeof(d->dir), "/tmp/ctfakedbXXXXXX");
	CHECK(mkdtemp(d->dir) != NULL);
	for (db = 0; db < FAKE_DBS; db++) {
		tdb_close(file_open(d, db, O_CREAT));
	}
	return d;
}

struct fake *fake_dbs_start(struct fake_dbs *d)
{
	return fake_start(on_request, d);
}

void fake_dbs_stop(struct fake *f, struct fake_dbs *d)
{
	char path[160];
	enum fake_db db;

	fake_stop(f);
	for (db = 0; db < FAKE_DBS; db++) {
		snprintf(path, sizeof(path), "%s/%s.%u", d->dir, names[db], FAKE_PNN);
		CHECK(unlink(path) == 0);
	}
	CHECK(rmdir(d->dir) == 0);
}
