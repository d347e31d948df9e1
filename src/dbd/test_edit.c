/* Databases that a classic tool freezes, changes and detaches; what it is told when something gets in between. */
#include "test_fake.h"
#include "dbd/control.h"
#include "dbd/foreign.h"
#include "dbd/srvid.h"
#include "protocol/classic_native.h"

#include <unistd.h>

#define TID   0x1234U
#define SRVID 0xCE02000000000000ULL

static struct ctdb_blob words(uint32_t a, uint32_t b, uint64_t srvid, size_t len)
{
	uint8_t *p = talloc_zero_size(fake, 16);

	poke_u32(p, a);
	poke_u32(p + 4, b);
	poke_u64(p + 8, srvid);
	return (struct ctdb_blob){.len = (uint32_t)len, .data = p};
}

static struct fake_reply ask(int fd, uint32_t opcode, const struct db *db, size_t len)
{
	struct ctdb_blob b = words(db->id, len == 16 ? 0xFFFFFFFF : TID, SRVID, len);

	return fake_ask(fd, opcode, b.data, b.len);
}

static struct fake_job *newest(void)
{
	assert_true(fake->n_jobs > 0);
	return fake->jobs[fake->n_jobs - 1];
}

static bool has_job(void *priv)
{
	return fake->n_jobs == *(uint32_t *)priv;
}

/* DB_FREEZE is asked for with this request number, the worker has the lock. */
static struct fake_job *freeze(int fd, const struct db *db, uint32_t reqid)
{
	struct ctdb_blob b = words(db->id, 0, 0, 4);
	uint32_t n = fake->n_jobs + 1;
	uint8_t locked = 1;
	struct fake_job *job;

	fake_control(fd, CLASSIC_CONTROL_DB_FREEZE, CLASSIC_NODE_CURRENT, 0, 0, reqid, b.data, b.len);
	fake_until(has_job, &n);
	job = newest();
	assert_int_equal(job->op, WORKER_EDIT);
	assert_ptr_equal(job->db, db);
	assert_true(fake_silent(fd)); /* answered when it is locked */
	assert_true(job->batch(job->priv, (struct worker_job *)job, &locked, 1));
	assert_int_equal(fake_reply(fd, reqid).status, 0);
	return job;
}

static struct ctdb_blob one_record(uint32_t flags)
{
	struct rec_header h = {.rsn = 7, .dmaster = 1, .flags = flags};
	uint8_t value[REC_HEADER_SIZE + 3] = {0}, *p = talloc_zero_size(fake, 64);
	size_t len = RECBUF_HEAD + recdata_size(3, sizeof(value));

	rec_header_put(value, &h);
	memcpy(value + REC_HEADER_SIZE, "val", 3);
	poke_u32(p, 0xDEAD); /* the tool writes any number there */
	poke_u32(p + 4, 1);
	recdata_put(p + RECBUF_HEAD, 0, "key", 3, value, sizeof(value));
	return (struct ctdb_blob){.len = (uint32_t)len, .data = p};
}

static void expect_thawed(const struct db *db, uint32_t wanted)
{
	assert_false(db->frozen);
	assert_int_equal(fake->wanted, wanted);
}

static bool committing(void *priv)
{
	return ((struct fake_job *)priv)->fed_last;
}

/* What restoredb does. */
static void test_restore(void **state)
{
	struct db *db = fake_db("edit.tdb", DB_PERSISTENT);
	int fd = fake_connect();
	struct fake_job *job = freeze(fd, db, 1);
	struct ctdb_blob rec = one_record(0), b = words(db->id, TID, 0, 8);

	assert_true(db->frozen);
	assert_int_equal(db->generation, GENERATION_NONE);
	assert_int_equal(fake->closed, 1);
	assert_int_equal(ask(fd, CLASSIC_CONTROL_DB_FREEZE, db, 4).status, 0); /* it is */
	assert_int_equal(ask(fd, CLASSIC_CONTROL_DB_TRANSACTION_START, db, 8).status, 0);
	assert_int_equal(ask(fd, CLASSIC_CONTROL_WIPE_DATABASE, db, 8).status, 0);
	assert_int_equal(ask(fd, CLASSIC_CONTROL_DB_PUSH_START, db, 16).status, 0);
	srvids_deliver(fake->dbd->srvids, SRVID, rec.data, rec.len);
	srvids_deliver(fake->dbd->srvids, SRVID + 1, rec.data, rec.len);                    /* somebody else's */
	assert_int_equal(ask(fd, CLASSIC_CONTROL_DB_TRANSACTION_COMMIT, db, 8).status, -1); /* not confirmed */
	assert_int_equal(peek_u32(ask(fd, CLASSIC_CONTROL_DB_PUSH_CONFIRM, db, 4).data.data), 1);
	srvids_deliver(fake->dbd->srvids, SRVID, rec.data, rec.len); /* late */
	fake_control(fd, CLASSIC_CONTROL_DB_TRANSACTION_COMMIT, CLASSIC_NODE_CURRENT, 0, 0, 9, b.data, b.len);
	fake_until(committing, job);
	assert_true(fake_silent(fd));
	assert_int_equal(job->fed.len, 1 + 1 + rec.len - RECBUF_HEAD + 1);
	assert_int_equal(job->fed.data[0], WORKER_EDIT_WIPE);
	assert_int_equal(job->fed.data[1], WORKER_EDIT_STORE);
	assert_memory_equal(job->fed.data + 2, rec.data + RECBUF_HEAD, rec.len - RECBUF_HEAD);
	assert_int_equal(job->fed.data[job->fed.len - 1], WORKER_EDIT_COMMIT);
	fake_job_end(job, 0);
	assert_int_equal(fake_reply(fd, 9).status, 0);
	assert_true(db->frozen);
	assert_int_equal(fake->wanted, 0);
	assert_int_equal(ask(fd, CLASSIC_CONTROL_DB_THAW, db, 4).status, 0);
	expect_thawed(db, 1);
	close(fd);
}

/* Each step needs those before it. */
static void test_refusals(void **state)
{
	struct db *db = fake_db("edit.tdb", 0);
	int fd = fake_connect();
	struct ctdb_blob other = words(db->id, TID + 1, 0, 8);

	assert_int_equal(ask(fd, CLASSIC_CONTROL_DB_THAW, db, 4).status, 0); /* it is not frozen: so be it */
	assert_int_equal(ask(fd, CLASSIC_CONTROL_DB_TRANSACTION_START, db, 8).status, -1);
	assert_int_equal(ask(fd, CLASSIC_CONTROL_DB_PULL, db, 16).status, -1);
	fake->normal = false;
	assert_int_equal(ask(fd, CLASSIC_CONTROL_DB_FREEZE, db, 4).status, -1);
	fake->normal = true;
	freeze(fd, db, 1);
	assert_int_equal(ask(fd, CLASSIC_CONTROL_WIPE_DATABASE, db, 8).status, -1);
	assert_int_equal(ask(fd, CLASSIC_CONTROL_DB_PUSH_START, db, 16).status, -1);
	assert_int_equal(ask(fd, CLASSIC_CONTROL_DB_TRANSACTION_COMMIT, db, 8).status, -1);
	assert_int_equal(ask(fd, CLASSIC_CONTROL_DB_TRANSACTION_START, db, 8).status, 0);
	assert_int_equal(fake_ask(fd, CLASSIC_CONTROL_WIPE_DATABASE, other.data, 8).status, -1);
	assert_int_equal(fake_ask(fd, CLASSIC_CONTROL_DB_TRANSACTION_COMMIT, other.data, 8).status, -1);
	assert_int_equal(ask(fd, CLASSIC_CONTROL_DB_PUSH_CONFIRM, db, 4).status, -1);
	assert_int_equal(ask(fd, CLASSIC_CONTROL_DB_TRANSACTION_CANCEL, db, 4).status, 0);
	assert_int_equal(ask(fd, CLASSIC_CONTROL_DB_TRANSACTION_COMMIT, db, 8).status, -1);
	/* Thawed without a commit: the worker is stopped, nothing of it happens. */
	assert_int_equal(ask(fd, CLASSIC_CONTROL_DB_THAW, db, 4).status, 0);
	assert_null(newest());
	expect_thawed(db, 1);
	close(fd);
}

/* A recovery takes everything back; who waits is told. */
static void test_recovery_between(void **state)
{
	struct db *db = fake_db("edit.tdb", 0);
	int fd = fake_connect();
	struct fake_job *job = freeze(fd, db, 1);
	struct ctdb_blob b = words(db->id, TID, 0, 8);

	assert_int_equal(ask(fd, CLASSIC_CONTROL_DB_TRANSACTION_START, db, 8).status, 0);
	fake_control(fd, CLASSIC_CONTROL_DB_TRANSACTION_COMMIT, CLASSIC_NODE_CURRENT, 0, 0, 9, b.data, b.len);
	fake_until(committing, job);
	fake->normal = false;
	clients_recovery_began(fake->dbd->clients);
	assert_int_equal(fake_reply(fd, 9).status, -1);
	assert_null(newest());
	expect_thawed(db, 0); /* one is running already */
	close(fd);
}

static void test_worker_fails(void **state)
{
	struct db *db = fake_db("edit.tdb", 0);
	int fd = fake_connect();
	struct fake_job *job = freeze(fd, db, 1);
	struct ctdb_blob b = words(db->id, TID, 0, 8);

	assert_int_equal(ask(fd, CLASSIC_CONTROL_DB_TRANSACTION_START, db, 8).status, 0);
	fake_control(fd, CLASSIC_CONTROL_DB_TRANSACTION_COMMIT, CLASSIC_NODE_CURRENT, 0, 0, 9, b.data, b.len);
	fake_until(committing, job);
	/* It is too late to take it back. */
	assert_int_equal(ask(fd, CLASSIC_CONTROL_DB_THAW, db, 4).status, -1);
	fake_job_end(job, 28);
	assert_int_equal(fake_reply(fd, 9).status, -1);
	expect_thawed(db, 1);
	close(fd);
}

/* Records that cannot be read: nothing of it is committed. */
static void test_malformed_push(void **state)
{
	struct db *db = fake_db("edit.tdb", 0);
	int fd = fake_connect();
	struct ctdb_blob rec = one_record(0);

	freeze(fd, db, 1);
	assert_int_equal(ask(fd, CLASSIC_CONTROL_DB_TRANSACTION_START, db, 8).status, 0);
	assert_int_equal(ask(fd, CLASSIC_CONTROL_DB_PUSH_START, db, 16).status, 0);
	srvids_deliver(fake->dbd->srvids, SRVID, rec.data, rec.len - 1);
	assert_int_equal(ask(fd, CLASSIC_CONTROL_DB_PUSH_CONFIRM, db, 4).status, -1);
	assert_int_equal(ask(fd, CLASSIC_CONTROL_DB_TRANSACTION_COMMIT, db, 8).status, -1);
	assert_int_equal(ask(fd, CLASSIC_CONTROL_DB_THAW, db, 4).status, 0);
	close(fd);
}

/* From a tool on a machine of the other byte order. */
static void test_push_of_other_order(void **state)
{
	struct db *db = fake_db("edit.tdb", 0);
	int fd = fake_connect();
	struct fake_job *job = freeze(fd, db, 1);
	struct ctdb_blob rec = one_record(0), turned = one_record(0);

	assert_int_equal(foreign_turn_recbuf(turned.data, turned.len, FOREIGN_OUT), 0);
	assert_memory_not_equal(turned.data, rec.data, rec.len);
	assert_int_equal(ask(fd, CLASSIC_CONTROL_DB_TRANSACTION_START, db, 8).status, 0);
	assert_int_equal(ask(fd, CLASSIC_CONTROL_DB_PUSH_START, db, 16).status, 0);
	srvids_deliver(fake->dbd->srvids, SRVID, turned.data, turned.len);
	assert_int_equal(peek_u32(ask(fd, CLASSIC_CONTROL_DB_PUSH_CONFIRM, db, 4).data.data), 1);
	assert_int_equal(job->fed.len, 1 + rec.len - RECBUF_HEAD);
	assert_memory_equal(job->fed.data + 1, rec.data + RECBUF_HEAD, rec.len - RECBUF_HEAD);
	assert_int_equal(ask(fd, CLASSIC_CONTROL_DB_THAW, db, 4).status, 0);
	close(fd);
}

/* Confirmed when the worker has most of it, so that any amount can be pushed in portions. */
static void test_push_waits_for_the_worker(void **state)
{
	struct db *db = fake_db("edit.tdb", 0);
	int fd = fake_connect();
	struct fake_job *job = freeze(fd, db, 1);
	struct ctdb_blob rec = one_record(0), b = words(db->id, 0, 0, 4);

	assert_int_equal(ask(fd, CLASSIC_CONTROL_DB_TRANSACTION_START, db, 8).status, 0);
	assert_int_equal(ask(fd, CLASSIC_CONTROL_DB_PUSH_START, db, 16).status, 0);
	fake->queued = WORKER_FEED_LOW;
	srvids_deliver(fake->dbd->srvids, SRVID, rec.data, rec.len);
	fake->queued = 0;
	fake_control(fd, CLASSIC_CONTROL_DB_PUSH_CONFIRM, CLASSIC_NODE_CURRENT, 0, 0, 9, b.data, b.len);
	assert_true(fake_silent(fd));
	assert_int_equal(ask(fd, CLASSIC_CONTROL_DB_PUSH_CONFIRM, db, 4).status, -1);       /* twice */
	assert_int_equal(ask(fd, CLASSIC_CONTROL_DB_TRANSACTION_COMMIT, db, 8).status, -1); /* not confirmed */
	job->drain(job->drain_priv, (struct worker_job *)job);
	assert_int_equal(peek_u32(fake_reply(fd, 9).data.data), 1);
	/* Taken back while somebody waits. */
	assert_int_equal(ask(fd, CLASSIC_CONTROL_DB_PUSH_START, db, 16).status, 0);
	fake->queued = WORKER_FEED_LOW;
	srvids_deliver(fake->dbd->srvids, SRVID, rec.data, rec.len);
	fake->queued = 0;
	fake_control(fd, CLASSIC_CONTROL_DB_PUSH_CONFIRM, CLASSIC_NODE_CURRENT, 0, 0, 10, b.data, b.len);
	assert_true(fake_silent(fd));
	fake_control(fd, CLASSIC_CONTROL_DB_TRANSACTION_CANCEL, CLASSIC_NODE_CURRENT, 0, 0, 11, b.data, b.len);
	assert_int_equal(fake_reply(fd, 10).status, -1);
	assert_int_equal(fake_reply(fd, 11).status, 0);
	assert_int_equal(ask(fd, CLASSIC_CONTROL_DB_THAW, db, 4).status, 0);
	close(fd);
}

/* The client that asked has gone: the freeze stays, it belongs to no connection. A second client goes on. */
static void test_client_gone(void **state)
{
	struct db *db = fake_db("edit.tdb", 0);
	int fd = fake_connect(), other;
	struct ctdb_blob b = words(db->id, 0, 0, 4);
	uint32_t one = 1;
	uint8_t locked = 1;

	fake_control(fd, CLASSIC_CONTROL_DB_FREEZE, CLASSIC_NODE_CURRENT, 0, 0, 1, b.data, b.len);
	fake_until(has_job, &one);
	close(fd);
	fake_turns(5);
	newest()->batch(newest()->priv, (struct worker_job *)newest(), &locked, 1);
	other = fake_connect();
	assert_int_equal(ask(other, CLASSIC_CONTROL_DB_TRANSACTION_START, db, 8).status, 0);
	assert_int_equal(ask(other, CLASSIC_CONTROL_DB_THAW, db, 4).status, 0);
	close(other);
}

/* FREEZE is answered when all databases are locked. */
static void test_freeze_all(void **state)
{
	int fd = fake_connect();
	uint32_t two = 2;
	uint8_t locked = 1;

	fake_db("one.tdb", 0);
	fake_db("two.tdb", DB_PERSISTENT);
	fake_control(fd, CLASSIC_CONTROL_FREEZE, CLASSIC_NODE_CURRENT, 0, 0, 1, NULL, 0);
	fake_until(has_job, &two);
	fake->jobs[0]->batch(fake->jobs[0]->priv, (struct worker_job *)fake->jobs[0], &locked, 1);
	assert_true(fake_silent(fd));
	fake->jobs[1]->batch(fake->jobs[1]->priv, (struct worker_job *)fake->jobs[1], &locked, 1);
	assert_int_equal(fake_reply(fd, 1).status, 0);
	clients_recovery_began(fake->dbd->clients);
	close(fd);
}

/* An attach finds it, but does not open it. */
static void test_attach_of_frozen(void **state)
{
	struct db *db = fake_db("edit.tdb", 0);
	int fd = fake_connect();

	freeze(fd, db, 1);
	assert_int_equal(peek_u32(fake_ask(fd, CLASSIC_CONTROL_DB_ATTACH, "edit.tdb", 9).data.data), db->id);
	assert_int_equal(db->generation, GENERATION_NONE);
	assert_int_equal(ask(fd, CLASSIC_CONTROL_DB_THAW, db, 4).status, 0);
	/* Nor before the recovery that makes its copies equal. */
	assert_int_equal(peek_u32(fake_ask(fd, CLASSIC_CONTROL_DB_ATTACH, "edit.tdb", 9).data.data), db->id);
	assert_int_equal(db->generation, GENERATION_NONE);
	db->needs_recovery = false;
	assert_int_equal(peek_u32(fake_ask(fd, CLASSIC_CONTROL_DB_ATTACH, "edit.tdb", 9).data.data), db->id);
	assert_int_equal(db->generation, FAKE_GENERATION);
	close(fd);
}

static void test_pull(void **state)
{
	struct db *db = fake_db("edit.tdb", 0);
	int fd = fake_connect();
	struct ctdb_blob rec = one_record(0), b = words(db->id, 0, SRVID, 16), p;
	uint32_t two = 2;

	freeze(fd, db, 1);
	fake_control(fd, CLASSIC_CONTROL_REGISTER_SRVID, CLASSIC_NODE_CURRENT, 0, SRVID, 2, NULL, 0);
	assert_int_equal(fake_reply(fd, 2).status, 0);
	fake_control(fd, CLASSIC_CONTROL_DB_PULL, CLASSIC_NODE_CURRENT, 0, 0, 3, b.data, b.len);
	fake_until(has_job, &two);
	assert_int_equal(newest()->op, WORKER_READ);
	assert_true(newest()->with_empty);
	newest()->batch(newest()->priv, (struct worker_job *)newest(), rec.data + RECBUF_HEAD, rec.len - RECBUF_HEAD);
	fake_job_end(newest(), 0);
	p = fake_read(fd); /* the message is before the answer */
	assert_int_equal(peek_u32(p.data + 16), CLASSIC_REQ_MESSAGE);
	assert_int_equal(peek_u32(p.data + 40), rec.len);
	assert_int_equal(peek_u32(p.data + 44), db->id);
	assert_int_equal(peek_u32(p.data + 48), 1);
	assert_memory_equal(p.data + 52, rec.data + RECBUF_HEAD, rec.len - RECBUF_HEAD);
	assert_int_equal(peek_u32(fake_reply(fd, 3).data.data), 1);
	assert_int_equal(ask(fd, CLASSIC_CONTROL_DB_THAW, db, 4).status, 0);
	close(fd);
}

/* What was pulled before and after it is not one state. */
static void test_pull_of_two_freezes(void **state)
{
	struct db *db = fake_db("edit.tdb", 0);
	struct ctdb_blob b = words(db->id, 0, SRVID, 16);
	int fd = fake_connect();
	struct fake_job *job;
	uint32_t two = 2;

	freeze(fd, db, 1);
	fake_control(fd, CLASSIC_CONTROL_DB_PULL, CLASSIC_NODE_CURRENT, 0, 0, 3, b.data, b.len);
	fake_until(has_job, &two);
	job = newest();
	assert_int_equal(ask(fd, CLASSIC_CONTROL_DB_THAW, db, 4).status, 0);
	freeze(fd, db, 2);
	fake_job_end(job, 0);
	assert_int_equal(fake_reply(fd, 3).status, -1);
	assert_int_equal(ask(fd, CLASSIC_CONTROL_DB_THAW, db, 4).status, 0);
	close(fd);
}

/* ---- DB_DETACH ---- */

static void allow_attach(int fd, uint32_t value)
{
	struct {
		uint32_t value, len;
		char name[20];
	} arg = {value, 20, "AllowClientDBAttach"};

	assert_int_equal(fake_ask(fd, CLASSIC_CONTROL_SET_TUNABLE, &arg, sizeof(arg)).status, 0);
}

static void test_detach(void **state)
{
	struct db *db = fake_db("edit.tdb", 0), *persistent = fake_db("p.tdb", DB_PERSISTENT);
	struct classic_traverse_start start = {.db_id = db->id, .reqid = 5, .srvid = 77};
	struct lane_control m = {.opcode = CLASSIC_CONTROL_DB_DETACH};
	int fd = fake_connect();
	struct ctdb_blob b;
	uint8_t id[4];

	poke_u32(id, db->id);
	assert_int_equal(ask(fd, CLASSIC_CONTROL_DB_DETACH, db, 4).status, -1); /* clients may attach */
	allow_attach(fd, 0);
	assert_int_equal(ask(fd, CLASSIC_CONTROL_DB_DETACH, persistent, 4).status, -1);
	fake->normal = false;
	assert_int_equal(ask(fd, CLASSIC_CONTROL_DB_DETACH, db, 4).status, -1);
	fake->normal = true;
	/* A traverse of it ends, with its end mark. */
	fake_control(fd, CLASSIC_CONTROL_REGISTER_SRVID, CLASSIC_NODE_CURRENT, 0, 77, 2, NULL, 0);
	assert_int_equal(fake_reply(fd, 2).status, 0);
	assert_int_equal(classic_traverse_start_nencode(fake, &start, &b), 0);
	assert_int_equal(fake_ask(fd, CLASSIC_CONTROL_TRAVERSE_START, b.data, b.len).status, 0);
	freeze(fd, db, 3);
	fake->n_sent = 0;
	fake_control(fd, CLASSIC_CONTROL_DB_DETACH, CLASSIC_NODE_CURRENT, 0, 0, 4, id, 4);
	assert_int_equal(fake_reply(fd, 4).status, 0);
	b = fake_read(fd);
	assert_int_equal(peek_u32(b.data + 40), RECDATA_HEAD); /* the end mark */
	assert_null(db_find(fake->dbd->dbs, peek_u32(id)));
	assert_int_equal(fake->removed, 1);
	assert_int_equal(fake->forgotten, 1);
	assert_true(fake->n_sent >= 1); /* node 1 is told, and its part of the traverse ended */
	/* Whatever is asked of it now has an error for an answer. */
	assert_int_equal(fake_ask(fd, CLASSIC_CONTROL_GETDBPATH, id, 4).status, -1);
	assert_int_equal(fake_ask(fd, CLASSIC_CONTROL_DB_DETACH, id, 4).status, -1);
	/* Another daemon's is done here, and told to nobody. */
	db = fake_db("edit.tdb", 0);
	fake->n_sent = 0;
	m.data = blob_of(id, 4);
	controls_on_control(fake->dbd->clients, 1, &m);
	assert_null(db_find(fake->dbd->dbs, peek_u32(id)));
	assert_int_equal(fake->n_sent, 0);
	close(fd);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, fake_setup, fake_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_restore),
		TEST(test_refusals),
		TEST(test_recovery_between),
		TEST(test_worker_fails),
		TEST(test_malformed_push),
		TEST(test_push_of_other_order),
		TEST(test_push_waits_for_the_worker),
		TEST(test_client_gone),
		TEST(test_freeze_all),
		TEST(test_attach_of_frozen),
		TEST(test_pull),
		TEST(test_pull_of_two_freezes),
		TEST(test_detach),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
