/* Transactions: what a buffer must be, who answers when, what is held back; records that are updated or pushed. */
#include "test_fake.h"
#include "dbd/commit.h"
#include "protocol/classic_native.h"
#include "protocol/lane_rpc.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

/* The first transaction on database 0x06DFF142: k1 = v1 and the sequence number. */
#define BUFFER                                                                                                         \
	"42f1df06 02000000 2c000000 00000000 02000000 1a000000 6b310100 00000000"                                      \
	"00000000 00000000 00000000 00000000 00007631 47000000 00000000 17000000"                                      \
	"20000000 5f5f6462 5f736571 75656e63 655f6e75 6d626572 5f5f0001 00000000"                                      \
	"00000000 00000000 00000000 00000000 00000001 00000000 000000"

static struct ctdb_blob buffer_for(const struct db *db)
{
	struct ctdb_blob b = fake_hex(BUFFER);

	poke_u32(b.data, db->id);
	return b;
}

/* ---- the parser ---- */

static void test_buffer(void **state)
{
	struct ctdb_blob b = fake_hex(BUFFER);
	uint32_t id;

	assert_int_equal(b.len, 123);
	assert_true(commit_buffer_ok(b.data, b.len, &id));
	assert_int_equal(id, 0x06DFF142);
	/* Cut anywhere. In memory of that size exactly, so that a reader beyond it is seen by the tools for that. */
	for (uint32_t len = 0; len < b.len; len++) {
		uint8_t *cut = malloc(len > 0 ? len : 1);

		memcpy(cut, b.data, len);
		assert_false(commit_buffer_ok(cut, len, &id));
		free(cut);
	}
	/* Every length field wrong in every way that matters. */
	static const uint32_t fields[] = {4, 8, 16, 20, 52, 60, 64};
	static const uint32_t values[] = {0, 1, 3, 15, 0x7FFFFFFF, 0x80000000, 0xFFFFFFF0, 0xFFFFFFFF};

	for (size_t f = 0; f < sizeof(fields) / sizeof(fields[0]); f++) {
		for (size_t v = 0; v < sizeof(values) / sizeof(values[0]); v++) {
			struct ctdb_blob bad = fake_hex(BUFFER);

			poke_u32(bad.data + fields[f], values[v]);
			assert_false(commit_buffer_ok(bad.data, bad.len, &id));
		}
	}
	/* A record whose data has no room for the header. */
	b = fake_hex("42f1df06 01000000 13000000 00000000 02000000 01000000 6b3100");
	assert_false(commit_buffer_ok(b.data, b.len, &id));
	/* Something behind the last record. */
	b = fake_hex(BUFFER "00");
	assert_false(commit_buffer_ok(b.data, b.len, &id));
}

/* ---- the coordinator ---- */

static bool job_started(void *priv)
{
	return fake->n_jobs == *(uint32_t *)priv;
}

static void send_commit(int fd, const struct ctdb_blob *b, uint32_t reqid, uint32_t jobs)
{
	fake_control(fd, CLASSIC_CONTROL_TRANS3_COMMIT, CLASSIC_NODE_CURRENT, 0, 0, reqid, b->data, b->len);
	fake_until(job_started, &jobs);
}

static struct lane_update sent_update(uint32_t i)
{
	struct lane_update m;

	assert_true(i < fake->n_sent);
	assert_int_equal(fake->sent[i].proc, LANE_PROC_UPDATE);
	assert_int_equal(fake->sent[i].to, 1);
	assert_int_equal(lane_update_decode(fake, fake->sent[i].buf.data, fake->sent[i].buf.len, &m), 0);
	return m;
}

static void node_answers(uint64_t id, uint32_t from, uint32_t status)
{
	commits_on_reply(fake->dbd->commits, from, &(struct lane_update_reply){.id = id, .status = status});
}

static void test_commit(void **state)
{
	struct db *db = fake_db("secrets.tdb", DB_PERSISTENT);
	struct ctdb_blob b = buffer_for(db);
	int fd = fake_connect();
	struct lane_update m;

	send_commit(fd, &b, 5, 1);
	assert_int_equal(fake->jobs[0]->op, WORKER_UPDATE);
	assert_int_equal(fake->jobs[0]->input.len, b.len);
	assert_memory_equal(fake->jobs[0]->input.data, b.data, b.len);
	m = sent_update(0);
	assert_int_equal(m.generation, FAKE_GENERATION);
	assert_int_equal(m.db_id, db->id);
	assert_memory_equal(m.records.data, b.data, b.len);
	/* Not before both have it, whoever is first; strangers do not count. */
	node_answers(m.id, 2, 0);
	node_answers(m.id + 1, 1, 0);
	node_answers(m.id, 1, 0);
	node_answers(m.id, 1, 0);
	assert_true(fake_silent(fd));
	fake_job_end(fake->jobs[0], 0);
	assert_int_equal(fake_reply(fd, 5).status, 0);
	/* And the next one, the other way round. */
	send_commit(fd, &b, 6, 2);
	fake_job_end(fake->jobs[1], 0);
	assert_true(fake_silent(fd));
	node_answers(sent_update(1).id, 1, 0);
	assert_int_equal(fake_reply(fd, 6).status, 0);
	assert_int_equal(fake->wanted, 0);
	close(fd);
}

static void test_refused(void **state)
{
	struct db *db = fake_db("secrets.tdb", DB_PERSISTENT), *vol = fake_db("locking.tdb", 0);
	struct db *other_db = fake_db("registry.tdb", DB_REPLICATED);
	struct ctdb_blob b = buffer_for(db), v = buffer_for(vol), o = buffer_for(other_db);
	int fd = fake_connect(), other = fake_connect();

	assert_int_equal(fake_ask(fd, CLASSIC_CONTROL_TRANS3_COMMIT, v.data, v.len).status, -1);
	assert_int_equal(fake_ask(fd, CLASSIC_CONTROL_TRANS3_COMMIT, b.data, b.len - 1).status, -1);
	poke_u32(v.data, 0x12345);
	assert_int_equal(fake_ask(fd, CLASSIC_CONTROL_TRANS3_COMMIT, v.data, v.len).status, -1);
	fake->normal = false;
	assert_int_equal(fake_ask(fd, CLASSIC_CONTROL_TRANS3_COMMIT, b.data, b.len).status, -1);
	fake->normal = true;
	db->generation = 5;
	assert_int_equal(fake_ask(fd, CLASSIC_CONTROL_TRANS3_COMMIT, b.data, b.len).status, -1);
	db->generation = FAKE_GENERATION;
	db_set_health(db, "damaged");
	assert_int_equal(fake_ask(fd, CLASSIC_CONTROL_TRANS3_COMMIT, b.data, b.len).status, -1);
	db_set_health(db, NULL);
	assert_int_equal(fake->n_jobs, 0);
	/* One at a time for a database, and for a client. */
	send_commit(fd, &b, 9, 1);
	assert_int_equal(fake_ask(other, CLASSIC_CONTROL_TRANS3_COMMIT, b.data, b.len).status, -1);
	assert_int_equal(fake_ask(fd, CLASSIC_CONTROL_TRANS3_COMMIT, o.data, o.len).status, -1);
	send_commit(other, &o, 10, 2);
	assert_int_equal(fake->n_sent, 2);
	close(fd);
	close(other);
}

static void expect_failure(int fd, uint32_t reqid)
{
	struct fake_reply r;

	assert_true(fake->wanted > 0);
	assert_true(fake_silent(fd));
	fake->normal = false;
	commits_recovery_began(fake->dbd->commits);
	assert_true(fake_silent(fd));
	fake->normal = true;
	commits_recovery_ended(fake->dbd->commits);
	r = fake_reply(fd, reqid);
	assert_int_equal(r.status, 2);
	assert_string_equal(r.error, "trans3 commit ended by recovery");
}

static void test_failures(void **state)
{
	struct db *db = fake_db("secrets.tdb", DB_PERSISTENT);
	struct ctdb_blob b = buffer_for(db);
	int fd = fake_connect();

	/* The other node says no. */
	send_commit(fd, &b, 1, 1);
	node_answers(sent_update(0).id, 1, EEXIST);
	fake_job_end(fake->jobs[0], 0);
	expect_failure(fd, 1);
	/* Our own worker says no. */
	fake->wanted = 0;
	send_commit(fd, &b, 2, 2);
	fake_job_end(fake->jobs[1], EIO);
	node_answers(sent_update(1).id, 1, 0);
	fake_turns(3);
	expect_failure(fd, 2);
	/* The other node is lost. */
	fake->wanted = 0;
	send_commit(fd, &b, 3, 3);
	commits_node_lost(fake->dbd->commits, 2);
	assert_int_equal(fake->wanted, 0);
	commits_node_lost(fake->dbd->commits, 1);
	expect_failure(fd, 3);
	/* It cannot be reached at all. */
	fake->wanted = 0;
	fake->up[1] = false;
	send_commit(fd, &b, 4, 4);
	expect_failure(fd, 4);
	fake->up[1] = true;
	/* A recovery comes from elsewhere; all have stored it, but only the recovery's end tells. */
	fake->wanted = 1;
	send_commit(fd, &b, 5, 5);
	fake->normal = false;
	commits_recovery_began(fake->dbd->commits);
	node_answers(sent_update(3).id, 1, 0);
	fake_job_end(fake->jobs[4], 0);
	fake_turns(3);
	expect_failure(fd, 5);
	/* The client may try again. */
	send_commit(fd, &b, 6, 6);
	fake_job_end(fake->jobs[5], 0);
	node_answers(sent_update(4).id, 1, 0);
	assert_int_equal(fake_reply(fd, 6).status, 0);
	close(fd);
}

static bool wanted_thrice(void *priv)
{
	return fake->wanted >= 3;
}

static void test_timeout(void **state)
{
	struct db *db = fake_db("secrets.tdb", DB_PERSISTENT);
	struct ctdb_blob b = buffer_for(db);
	int fd = fake_connect();

	fake->dbd->d->conf->database.control_timeout = 30;
	send_commit(fd, &b, 1, 1);
	/* Asked for again as long as none comes. */
	fake_until(wanted_thrice, NULL);
	expect_failure(fd, 1);
	close(fd);
}

static bool no_clients(void *priv)
{
	return fake->dbd->clients->n == 0;
}

/* The client dies: the transaction goes on to its end, and the database is free for the next. */
static void test_client_gone(void **state)
{
	struct db *db = fake_db("secrets.tdb", DB_PERSISTENT);
	struct ctdb_blob b = buffer_for(db);
	int fd = fake_connect();

	send_commit(fd, &b, 1, 1);
	close(fd);
	fake_until(no_clients, NULL);
	fake_turns(3);
	fd = fake_connect();
	assert_int_equal(fake_ask(fd, CLASSIC_CONTROL_TRANS3_COMMIT, b.data, b.len).status, -1);
	fake_job_end(fake->jobs[0], 0);
	node_answers(sent_update(0).id, 1, 0);
	fake_turns(3);
	assert_null(db->commit);
	send_commit(fd, &b, 2, 2);
	fake_job_end(fake->jobs[1], 0);
	node_answers(sent_update(1).id, 1, 0);
	assert_int_equal(fake_reply(fd, 2).status, 0);
	close(fd);
}

/* ---- the member ---- */

static uint32_t sent_status(uint32_t i, uint64_t id)
{
	struct lane_update_reply r;

	assert_true(i < fake->n_sent);
	assert_int_equal(fake->sent[i].proc, LANE_PROC_UPDATE_REPLY);
	assert_int_equal(lane_update_reply_decode(fake, fake->sent[i].buf.data, fake->sent[i].buf.len, &r), 0);
	assert_int_equal(r.id, id);
	return r.status;
}

static bool has_sent(void *priv)
{
	return fake->n_sent == *(uint32_t *)priv;
}

static void test_member(void **state)
{
	struct db *db = fake_db("secrets.tdb", DB_PERSISTENT), *vol = fake_db("locking.tdb", 0);
	struct lane_update m = {.id = 7, .db_id = db->id, .generation = FAKE_GENERATION, .records = buffer_for(db)};
	uint32_t n = 1;

	commits_on_update(fake->dbd->commits, 1, &m);
	assert_int_equal(fake->n_jobs, 1);
	fake_job_end(fake->jobs[0], EEXIST);
	fake_until(has_sent, &n);
	assert_int_equal(sent_status(0, 7), EEXIST);
	m.generation++;
	commits_on_update(fake->dbd->commits, 1, &m);
	assert_int_equal(sent_status(1, 7), ESTALE);
	m.generation--;
	m.db_id = vol->id;
	commits_on_update(fake->dbd->commits, 1, &m);
	assert_int_equal(sent_status(2, 7), ENOENT);
	m.db_id = db->id;
	m.records.len--;
	commits_on_update(fake->dbd->commits, 1, &m);
	assert_int_equal(sent_status(3, 7), EBADMSG);
	m.records = buffer_for(vol);
	commits_on_update(fake->dbd->commits, 1, &m);
	assert_int_equal(sent_status(4, 7), EBADMSG);
	assert_int_equal(fake->n_jobs, 1);
}

/* The coordinator heard of the end of the recovery before us: its update waits. One of another generation is refused
 * then. */
static void test_member_behind(void **state)
{
	struct db *db = fake_db("secrets.tdb", DB_PERSISTENT);
	struct lane_update m = {.id = 7, .db_id = db->id, .generation = FAKE_GENERATION, .records = buffer_for(db)};
	struct lane_update old = {.id = 8, .db_id = db->id, .generation = 77, .records = buffer_for(db)};

	fake->normal = false;
	commits_on_update(fake->dbd->commits, 1, &m);
	commits_on_update(fake->dbd->commits, 1, &old);
	fake_turns(3);
	assert_int_equal(fake->n_jobs + fake->n_sent, 0);
	fake->normal = true;
	commits_recovery_ended(fake->dbd->commits);
	assert_int_equal(fake->n_jobs, 1);
	assert_int_equal(sent_status(0, 8), ESTALE);
}

/* What waits for the end of a recovery has a bound. */
static void test_member_behind_is_bounded(void **state)
{
	struct db *db = fake_db("secrets.tdb", DB_PERSISTENT);
	struct lane_update m = {.db_id = db->id, .generation = FAKE_GENERATION, .records = buffer_for(db)};

	fake->normal = false;
	for (m.id = 1; m.id <= 256; m.id++) {
		commits_on_update(fake->dbd->commits, 1, &m);
	}
	assert_int_equal(fake->n_sent, 0);
	commits_on_update(fake->dbd->commits, 1, &m);
	assert_int_equal(sent_status(0, 257), ENOBUFS);
}

static void test_member_behind_is_bounded_in_bytes(void **state)
{
	struct db *db = fake_db("secrets.tdb", DB_PERSISTENT);
	struct lane_update large = {.db_id = db->id, .generation = FAKE_GENERATION};

	fake->normal = false;
	large.records = (struct ctdb_blob){.data = talloc_zero_size(fake, 30U << 20), .len = 30U << 20};
	for (large.id = 1000; large.id < 1003; large.id++) { /* the last one passes 64 MiB */
		commits_on_update(fake->dbd->commits, 1, &large);
	}
	assert_int_equal(fake->n_sent, 0);
	commits_on_update(fake->dbd->commits, 1, &large);
	assert_int_equal(sent_status(0, 1003), ENOBUFS);
	fake->normal = true;
	commits_recovery_ended(fake->dbd->commits);
	assert_int_equal(sent_status(1, 1000), EBADMSG); /* it is looked at only now */
	assert_int_equal(fake->n_sent, 4);
	fake->normal = false;
	commits_on_update(fake->dbd->commits, 1, &large);
	assert_int_equal(fake->n_sent, 4);
}

/* ---- UPDATE_RECORD ---- */

/* Key "k", header {rsn, dmaster}, data; in a rec_buffer. */
static struct ctdb_blob one_record(const struct db *db, uint64_t rsn, uint32_t dmaster, const char *data)
{
	uint8_t value[128];
	struct ctdb_blob b = {.data = talloc_zero_size(fake, 256)};
	uint8_t *p = b.data + 8;

	rec_header_put(value, &(struct rec_header){.rsn = rsn, .dmaster = dmaster});
	memcpy(value + REC_HEADER_SIZE, data, strlen(data));
	poke_u32(b.data, db->id);
	poke_u32(b.data + 4, 1);
	p = recdata_put(p, 0, "k", 1, value, (uint32_t)(REC_HEADER_SIZE + strlen(data)));
	b.len = (uint32_t)(p - b.data);
	return b;
}

static void store(struct db *db, uint64_t rsn, uint32_t dmaster, const char *data)
{
	struct ctdb_blob b = one_record(db, rsn, dmaster, data);

	assert_int_equal(tdb_store(db->tdb, tdb_data_of("k", 1), tdb_data_of(b.data + 25, b.len - 25), 0), 0);
}

static void expect(struct db *db, uint64_t rsn, uint32_t dmaster, const char *data)
{
	TDB_DATA v = tdb_fetch(db->tdb, tdb_data_of("k", 1));
	struct rec_header h;

	assert_non_null(v.dptr);
	assert_true(rec_header_get(v.dptr, v.dsize, &h));
	assert_int_equal(h.rsn, rsn);
	assert_int_equal(h.dmaster, dmaster);
	assert_int_equal(v.dsize, REC_HEADER_SIZE + strlen(data));
	assert_memory_equal(v.dptr + REC_HEADER_SIZE, data, strlen(data));
	free(v.dptr);
}

static int32_t update_record(int fd, struct ctdb_blob b)
{
	return fake_ask(fd, CLASSIC_CONTROL_UPDATE_RECORD, b.data, b.len).status;
}

static void test_update_record(void **state)
{
	struct db *db = fake_db("locking.tdb", 0), *p = fake_db("secrets.tdb", DB_PERSISTENT);
	struct ctdb_blob b;
	struct fake_reply r;
	int fd = fake_connect();
	uint32_t one = 1;

	/* Only where present. */
	assert_int_equal(update_record(fd, one_record(db, 5, 0, "new")), 0);
	assert_null(tdb_fetch(db->tdb, tdb_data_of("k", 1)).dptr);
	store(db, 7, 0, "old");
	assert_int_equal(update_record(fd, one_record(db, 7, 0, "new")), -1);
	assert_int_equal(update_record(fd, one_record(db, 7, 0, "old")), 0);
	expect(db, 7, 0, "old");
	/* Newer: taken; who owns the record stays. */
	assert_int_equal(update_record(fd, one_record(db, 8, 2, "new")), 0);
	expect(db, 8, 0, "new");
	/* Persistent: by the worker. */
	b = one_record(p, 1, 0, "x");
	fake_control(fd, CLASSIC_CONTROL_UPDATE_RECORD, CLASSIC_NODE_CURRENT, 0, 0, 3, b.data, b.len);
	fake_until(job_started, &one);
	assert_int_equal(fake->jobs[0]->op, WORKER_UPDATE);
	fake_job_end(fake->jobs[0], 0);
	assert_int_equal(fake_reply(fd, 3).status, 0);
	/* Not waited for without end. */
	fake->dbd->d->conf->database.control_timeout = 30;
	r = fake_ask(fd, CLASSIC_CONTROL_UPDATE_RECORD, b.data, b.len);
	assert_int_equal(r.status, -1);
	assert_string_equal(r.error, "timeout in ctdb_persistent_lock");
	fake->normal = false;
	assert_int_equal(update_record(fd, b), -1);
	close(fd);
}

/* ---- locks that others hold ---- */

/* A process that holds the chain lock of key "k" until its pipe is closed. Returns the pipe's end. */
static int hold_lock(struct db *db, pid_t *pid)
{
	int to[2], from[2];
	char byte;

	assert_int_equal(pipe2(to, O_CLOEXEC) + pipe2(from, O_CLOEXEC), 0);
	*pid = fork();
	if (*pid == 0) {
		struct tdb_context *tdb;

		close(to[1]);
		tdb_reopen(db->tdb);
		tdb = db->tdb;
		if (tdb_chainlock(tdb, tdb_data_of("k", 1)) != 0 || write(from[1], "x", 1) != 1) {
			_exit(1);
		}
		_exit(read(to[0], &byte, 1) == 0 ? 0 : 1);
	}
	close(to[0]);
	close(from[1]);
	assert_int_equal(read(from[0], &byte, 1), 1);
	close(from[0]);
	return to[1];
}

static void release_lock(int pipe_fd, pid_t pid)
{
	int status;

	close(pipe_fd);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void test_update_waits_for_lock(void **state)
{
	struct db *db = fake_db("locking.tdb", 0);
	struct ctdb_blob b = one_record(db, 9, 0, "later");
	int fd = fake_connect(), lock;
	pid_t pid;

	store(db, 7, 0, "old");
	lock = hold_lock(db, &pid);
	fake_control(fd, CLASSIC_CONTROL_UPDATE_RECORD, CLASSIC_NODE_CURRENT, 0, 0, 3, b.data, b.len);
	assert_true(fake_silent(fd));
	/* Others are served meanwhile. */
	assert_int_equal(fake_ask(fd, CLASSIC_CONTROL_GET_PNN, NULL, 0).status, 0);
	release_lock(lock, pid);
	assert_int_equal(fake_reply(fd, 3).status, 0);
	expect(db, 9, 0, "later");
	/* Not for ever. */
	fake->dbd->d->conf->database.control_timeout = 30;
	lock = hold_lock(db, &pid);
	assert_int_equal(update_record(fd, b), -1);
	release_lock(lock, pid);
	close(fd);
}

/* ---- PUSH_RECORD ---- */

static int32_t push(int fd, const struct db *db, uint32_t generation, uint64_t rsn, uint32_t dmaster, const char *data)
{
	struct classic_push_record arg = {.generation = generation,
					  .db_id = db->id,
					  .header = {.rsn = rsn, .dmaster = dmaster, .flags = 1 | CLASSIC_REC_RO_FLAGS},
					  .key = blob_of("k", 1),
					  .value = blob_of(data, strlen(data))};
	struct ctdb_blob b;

	assert_int_equal(classic_push_record_nencode(fake, &arg, &b), 0);
	return fake_ask(fd, CLASSIC_CONTROL_PUSH_RECORD, b.data, b.len).status;
}

static uint32_t flags_of(const struct db *db)
{
	TDB_DATA v = tdb_fetch(db->tdb, tdb_data_of("k", 1));
	struct rec_header h;

	assert_true(v.dptr != NULL && rec_header_get(v.dptr, v.dsize, &h));
	free(v.dptr);
	return h.flags;
}

static void test_push(void **state)
{
	struct db *db = fake_db("locking.tdb", 0), *p = fake_db("secrets.tdb", DB_PERSISTENT);
	int fd = fake_connect();

	/* Location master is this node, and has nothing: it would own what it stores. */
	for (uint32_t i = 0; i < 4; i++) {
		fake->slots[i] = 0;
	}
	assert_int_equal(push(fd, db, FAKE_GENERATION, 5, 1, "pushed"), 0);
	assert_null(tdb_fetch(db->tdb, tdb_data_of("k", 1)).dptr);
	for (uint32_t i = 0; i < 4; i++) {
		fake->slots[i] = 1;
	}
	assert_int_equal(push(fd, db, FAKE_GENERATION, 5, 1, "pushed"), 0);
	expect(db, 5, 1, "pushed");
	assert_int_equal(flags_of(db) & CLASSIC_REC_RO_FLAGS, 0);
	/* Older, equal, another generation, own: nothing changes. */
	assert_int_equal(push(fd, db, FAKE_GENERATION, 4, 1, "older"), 0);
	assert_int_equal(push(fd, db, FAKE_GENERATION, 5, 1, "equal"), 0);
	assert_int_equal(push(fd, db, 99, 6, 1, "foreign"), 0);
	assert_int_equal(push(fd, db, FAKE_GENERATION, 6, 0, "own"), 0);
	expect(db, 5, 1, "pushed");
	/* Newer: stored; the local idea of the owner stays. */
	assert_int_equal(push(fd, db, FAKE_GENERATION, 6, 2, "newer"), 0);
	expect(db, 6, 1, "newer");
	/* Never over a record that is owned here. */
	store(db, 2, 0, "mine");
	assert_int_equal(push(fd, db, FAKE_GENERATION, 100, 1, "theirs"), 0);
	expect(db, 2, 0, "mine");
	assert_int_equal(push(fd, p, FAKE_GENERATION, 1, 1, "x"), -1);
	/* In a recovery: not at all. */
	fake->normal = false;
	assert_int_equal(push(fd, db, FAKE_GENERATION, 100, 1, "x"), 0);
	assert_int_equal(fake->dbd->clients->n_pushes, 0);
	close(fd);
}

/* A commit is answered after what was pushed before it is stored. */
static void test_push_before_commit(void **state)
{
	struct db *db = fake_db("locking.tdb", 0), *p = fake_db("secrets.tdb", DB_PERSISTENT);
	struct ctdb_blob b = buffer_for(p);
	int fd = fake_connect(), lock;
	pid_t pid;

	store(db, 1, 1, "old");
	lock = hold_lock(db, &pid);
	assert_int_equal(push(fd, db, FAKE_GENERATION, 2, 1, "new"), 0);
	send_commit(fd, &b, 3, 1);
	fake_job_end(fake->jobs[0], 0);
	node_answers(sent_update(0).id, 1, 0);
	assert_true(fake_silent(fd));
	release_lock(lock, pid);
	assert_int_equal(fake_reply(fd, 3).status, 0);
	expect(db, 2, 1, "new");
	close(fd);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, fake_setup, fake_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_buffer),
		TEST(test_commit),
		TEST(test_refused),
		TEST(test_failures),
		TEST(test_timeout),
		TEST(test_client_gone),
		TEST(test_member),
		TEST(test_member_behind),
		TEST(test_member_behind_is_bounded),
		TEST(test_member_behind_is_bounded_in_bytes),
		TEST(test_update_record),
		TEST(test_update_waits_for_lock),
		TEST(test_push),
		TEST(test_push_before_commit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
