/* Traverses: order, flow, the end mark, whoever goes away in between. */
#include "test_fake.h"
#include "dbd/traverse.h"
#include "protocol/classic_native.h"
#include "protocol/lane_rpc.h"

#include <errno.h>
#include <unistd.h>

#define SRVID 0xBE00000000001234ULL

static void start(int fd, const struct db *db, uint32_t reqid)
{
	uint8_t arg[16];

	if (fake->n_jobs == 0) {
		fake_control(fd, CLASSIC_CONTROL_REGISTER_SRVID, CLASSIC_NODE_CURRENT, 0, SRVID, 1, NULL, 0);
		assert_int_equal(fake_reply(fd, 1).status, 0);
	}
	poke_u32(arg, db->id);
	poke_u32(arg + 4, 0x77);
	poke_u64(arg + 8, SRVID);
	fake_control(fd, CLASSIC_CONTROL_TRAVERSE_START, CLASSIC_NODE_CURRENT, 0, 0, reqid, arg, 16);
	assert_int_equal(fake_reply(fd, reqid).status, 0);
}

/* A batch of n records "k" with datalen bytes each. */
static struct ctdb_blob batch(uint32_t n, uint32_t datalen)
{
	struct ctdb_blob b = {.data = talloc_zero_size(fake, n * recdata_size(1, datalen))};
	uint8_t *data = talloc_zero_size(fake, datalen), *p = b.data;

	for (uint32_t i = 0; i < n; i++) {
		p = recdata_put(p, 0, "k", 1, data, datalen);
	}
	b.len = (uint32_t)(p - b.data);
	return b;
}

static bool own_batch(uint32_t job, struct ctdb_blob b)
{
	struct fake_job *j = fake->jobs[job];

	return j->batch(j->priv, (struct worker_job *)j, b.data, b.len);
}

/* The next message's record; its length. Each has the client's number. */
static uint32_t next_record(int fd)
{
	struct ctdb_blob m = fake_read(fd);
	uint32_t len = peek_u32(m.data + 40);

	assert_int_equal(peek_u32(m.data + 16), CLASSIC_REQ_MESSAGE);
	assert_int_equal(peek_u64(m.data + 32), SRVID);
	assert_int_equal(peek_u32(m.data + 44), len);
	assert_int_equal(peek_u32(m.data + 48), 0x77);
	return len;
}

static void node_data(uint64_t id, uint32_t from, struct ctdb_blob b)
{
	traverses_on_data(fake->dbd->traverses, from, &(struct lane_traverse_data){.id = id, .records = b});
}

static void node_end(uint64_t id, uint32_t from, uint32_t status)
{
	traverses_on_end(fake->dbd->traverses, from, &(struct lane_traverse_end){.id = id, .status = status});
}

static uint64_t sent_id(uint32_t i, uint32_t proc)
{
	struct lane_traverse_id m;

	assert_true(i < fake->n_sent);
	assert_int_equal(fake->sent[i].proc, proc);
	assert_int_equal(fake->sent[i].to, 1);
	assert_int_equal(lane_traverse_id_decode(fake, fake->sent[i].buf.data, fake->sent[i].buf.len, &m), 0);
	return m.id;
}

static void test_volatile(void **state)
{
	struct db *db = fake_db("locking.tdb", 0);
	int fd = fake_connect();
	struct lane_traverse_start m;

	start(fd, db, 5);
	assert_int_equal(fake->n_jobs, 1);
	assert_int_equal(fake->jobs[0]->op, WORKER_READ);
	assert_true(fake->jobs[0]->only_owned);
	assert_false(fake->jobs[0]->with_empty);
	assert_int_equal(fake->sent[0].proc, LANE_PROC_TRAVERSE_START);
	assert_int_equal(lane_traverse_start_decode(fake, fake->sent[0].buf.data, fake->sent[0].buf.len, &m), 0);
	assert_int_equal(m.db_id, db->id);
	assert_true(own_batch(0, batch(2, 30)));
	node_data(m.id, 1, batch(1, 40));
	assert_int_equal(sent_id(1, LANE_PROC_TRAVERSE_CREDIT), m.id);
	/* From a node that was not asked, and for another traverse. */
	node_data(m.id, 2, batch(1, 50));
	node_data(m.id + 1, 1, batch(1, 50));
	assert_int_equal(next_record(fd), 47);
	assert_int_equal(next_record(fd), 47);
	assert_int_equal(next_record(fd), 57);
	fake_job_end(fake->jobs[0], 0);
	node_data(m.id, 1, batch(1, 41));
	assert_int_equal(next_record(fd), 58);
	assert_true(fake_silent(fd));
	node_end(m.id, 1, 0);
	assert_int_equal(next_record(fd), 16);
	assert_true(fake_silent(fd));
	close(fd);
}

static void test_persistent(void **state)
{
	struct db *db = fake_db("secrets.tdb", DB_PERSISTENT);
	int fd = fake_connect();

	start(fd, db, 5);
	assert_int_equal(fake->n_sent, 0);
	assert_false(fake->jobs[0]->only_owned);
	assert_true(fake->jobs[0]->with_empty);
	own_batch(0, batch(1, 24));
	fake_job_end(fake->jobs[0], 0);
	assert_int_equal(next_record(fd), 41);
	assert_int_equal(next_record(fd), 16);
	close(fd);
}

static void test_failures_end(void **state)
{
	struct db *db = fake_db("locking.tdb", 0);
	int fd = fake_connect();

	/* Errors everywhere: the end mark comes all the same. */
	start(fd, db, 5);
	node_end(1, 1, EIO);
	fake_job_end(fake->jobs[0], EPIPE);
	assert_int_equal(next_record(fd), 16);
	/* The node is lost. */
	start(fd, db, 6);
	fake_job_end(fake->jobs[1], 0);
	traverses_node_lost(fake->dbd->traverses, 1);
	assert_int_equal(next_record(fd), 16);
	/* Malformed records of a node are left out. */
	start(fd, db, 7);
	node_data(3, 1, fake_hex("ffffffff 00000000 01000000 01000000"));
	node_data(3, 1, fake_hex("10000000 00000000 00000000 00000000"));
	node_end(3, 1, 0);
	fake_job_end(fake->jobs[2], 0);
	assert_int_equal(next_record(fd), 16);
	assert_true(fake_silent(fd));
	close(fd);
}

static void test_no_progress(void **state)
{
	struct db *db = fake_db("locking.tdb", 0);
	uint8_t tunable[64] = {1};
	int fd = fake_connect();

	poke_u32(tunable + 4, 16);
	memcpy(tunable + 8, "TraverseTimeout", 16);
	assert_int_equal(fake_ask(fd, CLASSIC_CONTROL_SET_TUNABLE, tunable, 24).status, 0);
	start(fd, db, 5);
	assert_int_equal(next_record(fd), 16);
	assert_int_equal(sent_id(1, LANE_PROC_TRAVERSE_KILL), 1);
	assert_null(fake->jobs[0]);
	assert_int_equal(fake->dbd->clients->count.timeouts_traverse, 1);
	close(fd);
}

static bool job_gone(void *priv)
{
	return fake->jobs[0] == NULL;
}

static void test_client_gone(void **state)
{
	struct db *db = fake_db("locking.tdb", 0);
	int fd = fake_connect();

	start(fd, db, 5);
	close(fd);
	fake_until(job_gone, NULL);
	assert_int_equal(sent_id(1, LANE_PROC_TRAVERSE_KILL), 1);
	/* Late records of the node. */
	node_data(1, 1, batch(1, 24));
	node_end(1, 1, 0);
}

/* A client that does not read is not sent more than a little beyond the mark, and goes on when it reads. */
static void test_flow(void **state)
{
	struct db *db = fake_db("locking.tdb", 0);
	struct ctdb_blob b = batch(60, 1000);
	uint32_t own = 0, sent = 0, got = 0;
	int fd = fake_connect();

	start(fd, db, 5);
	do {
		own++;
		assert_true(own < 1000);
		fake_turns(1);
	} while (own_batch(0, b));
	assert_int_equal(fake->jobs[0]->continued, 0);
	sent = fake->n_sent;
	node_data(1, 1, b);
	assert_int_equal(fake->n_sent, sent);
	while (fake->jobs[0]->continued == 0) {
		assert_int_equal(next_record(fd), 1017);
		got++;
	}
	assert_int_equal(fake->jobs[0]->continued, 1);
	assert_int_equal(fake->n_sent, sent + 1);
	assert_int_equal(sent_id(sent, LANE_PROC_TRAVERSE_CREDIT), 1);
	fake_job_end(fake->jobs[0], 0);
	node_end(1, 1, 0);
	for (; got < (own + 1) * 60; got++) {
		assert_int_equal(next_record(fd), 1017);
	}
	assert_int_equal(next_record(fd), 16);
	close(fd);
}

static void test_refused(void **state)
{
	struct db *db = fake_db("secrets.tdb", DB_PERSISTENT);
	uint8_t arg[24] = {0};
	int fd = fake_connect();

	assert_int_equal(fake_ask(fd, CLASSIC_CONTROL_TRAVERSE_START, arg, 16).status, -1);
	poke_u32(arg, db->id);
	db_set_health(db, "damaged");
	assert_int_equal(fake_ask(fd, CLASSIC_CONTROL_TRAVERSE_START, arg, 16).status, -1);
	db_set_health(db, NULL);
	arg[16] = 1;
	assert_int_equal(fake_ask(fd, CLASSIC_CONTROL_TRAVERSE_START_EXT, arg, 24).status, 0);
	close(fd);
}

/* ---- the part for another node ---- */

static void test_part(void **state)
{
	struct db *db = fake_db("locking.tdb", 0);
	struct lane_traverse_start m = {.id = 9, .db_id = db->id, .with_empty = true};
	struct lane_traverse_id id = {.id = 9};
	struct lane_traverse_end end;
	struct lane_traverse_data data;
	struct ctdb_blob b = batch(3, 30);
	struct traverses *t = fake->dbd->traverses;

	traverses_on_start(t, 1, &m);
	assert_true(fake->jobs[0]->only_owned && fake->jobs[0]->with_empty);
	/* Four without being asked, then it waits. */
	assert_true(own_batch(0, b) && own_batch(0, b) && own_batch(0, b));
	assert_false(own_batch(0, b));
	assert_int_equal(fake->n_sent, 4);
	assert_int_equal(lane_traverse_data_decode(fake, fake->sent[3].buf.data, fake->sent[3].buf.len, &data), 0);
	assert_int_equal(data.id, 9);
	assert_int_equal(data.records.len, b.len);
	assert_memory_equal(data.records.data, b.data, b.len);
	traverses_on_credit(t, 2, &id);
	assert_int_equal(fake->jobs[0]->continued, 0);
	traverses_on_credit(t, 1, &id);
	assert_int_equal(fake->jobs[0]->continued, 1);
	assert_false(own_batch(0, b));
	fake_job_end(fake->jobs[0], EIO);
	assert_int_equal(fake->sent[5].proc, LANE_PROC_TRAVERSE_END);
	assert_int_equal(lane_traverse_end_decode(fake, fake->sent[5].buf.data, fake->sent[5].buf.len, &end), 0);
	assert_int_equal(end.status, EIO);
	assert_null(fake->jobs[0]);
	/* Stopped: by the asker, by a lost link; a database that is not here. */
	traverses_on_start(t, 1, &m);
	traverses_on_kill(t, 1, &id);
	assert_null(fake->jobs[1]);
	traverses_on_start(t, 1, &m);
	traverses_node_lost(t, 1);
	assert_null(fake->jobs[2]);
	m.db_id++;
	traverses_on_start(t, 1, &m);
	assert_int_equal(lane_traverse_end_decode(fake, fake->sent[6].buf.data, fake->sent[6].buf.len, &end), 0);
	assert_int_equal(end.status, ENOENT);
}

/* What the end mark of TRAVERSE_START_TOLD says. */
static void expect_end(int fd, int status, const char *text)
{
	struct ctdb_blob m = fake_read(fd);
	struct classic_traverse_end end;
	struct recdata r;
	const uint8_t *p = m.data + 44;
	size_t left = peek_u32(m.data + 40);

	assert_int_equal(recdata_next(&p, &left, &r), 0);
	assert_int_equal(r.reqid, 0x77);
	assert_int_equal(r.keylen, 0);
	assert_int_equal(classic_traverse_end_ndecode(fake, r.data, r.datalen, &end, NULL), 0);
	assert_int_equal(end.status, status);
	assert_string_equal(end.text, text);
}

static struct fake_reply start_told(int fd, const struct db *db, uint32_t reqid)
{
	uint8_t arg[24] = {0};

	poke_u32(arg, db->id);
	poke_u32(arg + 4, 0x77);
	poke_u64(arg + 8, SRVID);
	fake_control(fd, CLASSIC_CONTROL_TRAVERSE_START_TOLD, CLASSIC_NODE_CURRENT, 0, 0, reqid, arg, sizeof(arg));
	return fake_reply(fd, reqid);
}

/* A client that asks for it is told how the traverse ended; the first reason counts. */
static void test_told(void **state)
{
	struct db *db = fake_db("locking.tdb", 0);
	int fd = fake_connect();

	start(fd, db, 4); /* registers the address */
	node_end(1, 1, 0);
	fake_job_end(fake->jobs[0], 0);
	assert_int_equal(next_record(fd), 16);
	assert_int_equal(start_told(fd, db, 5).status, 0);
	own_batch(1, batch(1, 30));
	fake_job_end(fake->jobs[1], 0);
	node_end(2, 1, 0);
	assert_int_equal(next_record(fd), 47);
	expect_end(fd, 0, "");
	assert_int_equal(start_told(fd, db, 6).status, 0);
	fake_job_end(fake->jobs[2], 0);
	traverses_node_lost(fake->dbd->traverses, 1);
	expect_end(fd, ECONNRESET, "node 1 was lost");
	assert_int_equal(start_told(fd, db, 7).status, 0);
	node_end(4, 1, ETIMEDOUT);
	fake_job_end(fake->jobs[3], EPIPE);
	expect_end(fd, ETIMEDOUT, "node 1: Connection timed out");
	/* A recovery gives records to others: those may have been seen twice or not at all. */
	assert_int_equal(start_told(fd, db, 8).status, 0);
	fake->normal = false;
	node_end(5, 1, 0);
	fake_job_end(fake->jobs[4], 0);
	expect_end(fd, ESTALE, "a recovery ran meanwhile");
	assert_int_equal(start_told(fd, db, 9).status, -1);
	fake->normal = true;
	fake->fenced = true;
	assert_int_equal(start_told(fd, db, 10).status, -1);
	close(fd);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, fake_setup, fake_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_volatile),    TEST(test_persistent),  TEST(test_failures_end),
		TEST(test_no_progress), TEST(test_client_gone), TEST(test_flow),
		TEST(test_refused),     TEST(test_part),        TEST(test_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
