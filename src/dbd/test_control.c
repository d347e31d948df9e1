/* Controls: sizes, the way to other nodes and back, what each tells. */
#include "test_fake.h"
#include "dbd/control.h"
#include "dbd/recdata.h"
#include "dbd/srvid.h"
#include "base/hash.h"
#include "protocol/classic_native.h"
#include "protocol/lane_rpc.h"

#include <errno.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- sizes and permissions ---- */

/* Every number from 0 to 200 with every payload of 0 to 64 bytes is answered exactly once, whatever is in it. */
static void test_every_number_and_size(void **state)
{
	uint8_t junk[64];
	int fd = fake_connect();

	memset(junk, 0xA5, sizeof(junk));
	for (uint32_t opcode = 0; opcode <= 200; opcode++) {
		const struct control_entry *e = control_lookup(opcode);

		if (e != NULL && e->owner != NULL && strcmp(e->owner, "db") != 0) {
			continue; /* asks another daemon */
		}
		for (size_t len = 0; len <= sizeof(junk); len++) {
			struct fake_reply r = fake_ask(fd, opcode, junk, len);

			if (e == NULL || (e->size != CONTROL_ANY_SIZE && e->size != len)) {
				assert_int_equal(r.status, -1);
				assert_int_equal(r.data.len, 0);
			}
		}
	}
	assert_true(fake_silent(fd));
	close(fd);
}

/* From another node, what acts on the connection it came from is refused. */
static void test_local_only(void **state)
{
	static const uint32_t local[] = {20, 23, 24, 44, 114, 115, 119, 131, 152, 153, 159, 160};
	uint8_t payload[64] = {0};

	for (size_t i = 0; i < sizeof(local) / sizeof(local[0]); i++) {
		const struct control_entry *e = control_lookup(local[i]);
		struct lane_control m = {.id = 10 + i, .opcode = local[i], .data = {.len = 12, .data = payload}};
		struct lane_control_reply r;

		assert_non_null(e);
		assert_true(e->local_only);
		m.data.len = e->size == CONTROL_ANY_SIZE ? 12 : e->size;
		controls_on_control(fake->dbd->clients, 1, &m);
		assert_int_equal(fake->n_sent, i + 1);
		assert_int_equal(lane_control_reply_decode(fake, fake->sent[i].buf.data, fake->sent[i].buf.len, &r), 0);
		assert_int_equal(r.id, 10 + i);
		assert_int_equal(r.status, -1);
	}
}

static void test_no_reply(void **state)
{
	int fd = fake_connect();

	fake_control(fd, CLASSIC_CONTROL_PING, CLASSIC_NODE_CURRENT, CLASSIC_CTRL_FLAG_NOREPLY, 0, 1, NULL, 0);
	fake_control(fd, 2, CLASSIC_NODE_CURRENT, CLASSIC_CTRL_FLAG_NOREPLY, 0, 2, NULL, 0);
	fake_control(fd, CLASSIC_CONTROL_PING, 150, CLASSIC_CTRL_FLAG_NOREPLY, 0, 3, NULL, 0);
	assert_true(fake_silent(fd));
	close(fd);
}

/* ---- other nodes ---- */

static struct lane_control sent_control(uint32_t i)
{
	struct lane_control m;

	assert_true(i < fake->n_sent);
	assert_int_equal(fake->sent[i].proc, LANE_PROC_CONTROL);
	assert_int_equal(lane_control_decode(fake, fake->sent[i].buf.data, fake->sent[i].buf.len, &m), 0);
	return m;
}

static bool sent_one(void *priv)
{
	return fake->n_sent == *(uint32_t *)priv;
}

static void test_remote(void **state)
{
	uint8_t pid[4] = {1, 2, 3, 4}, answer[] = "data";
	struct lane_control_reply r = {.status = -22, .data = {.len = 4, .data = answer}};
	int fd = fake_connect();
	struct fake_reply reply;
	struct lane_control m;
	uint32_t one = 1;

	r.error = talloc_strdup(fake, "text");
	fake_control(fd, CLASSIC_CONTROL_PROCESS_EXISTS, 1, 0x10000, 77, 5, pid, 4);
	fake_until(sent_one, &one);
	m = sent_control(0);
	assert_int_equal(m.opcode, CLASSIC_CONTROL_PROCESS_EXISTS);
	assert_int_equal(m.flags, 0x10000);
	assert_int_equal(m.srvid, 77);
	assert_int_not_equal(m.client_id, 0);
	assert_memory_equal(m.data.data, pid, 4);
	/* An answer of another node than the one asked, and one to another question, are none. */
	r.id = m.id;
	controls_on_reply(fake->dbd->clients, 2, &r);
	r.id = m.id + 1;
	controls_on_reply(fake->dbd->clients, 1, &r);
	assert_true(fake_silent(fd));
	r.id = m.id;
	controls_on_reply(fake->dbd->clients, 1, &r);
	reply = fake_reply(fd, 5);
	assert_int_equal(reply.status, -22);
	assert_memory_equal(reply.data.data, "data", 4);
	assert_string_equal(reply.error, "text");
	/* A second one is not passed on. */
	controls_on_reply(fake->dbd->clients, 1, &r);
	assert_true(fake_silent(fd));
	close(fd);
}

/* Another node that does not answer: what waits for it is bounded for each client. */
static void test_remote_bounded(void **state)
{
	int fd = fake_connect();
	struct fake_reply reply;
	uint32_t i, one = 1;

	for (i = 0; i < CLIENT_CONTROLS_MAX; i++) {
		fake_control(fd, CLASSIC_CONTROL_PING, 1, 0, 0, i, NULL, 0);
		fake_until(sent_one, &one);
		talloc_free(fake->sent[0].buf.data);
		fake->n_sent = 0;
	}
	fake_control(fd, CLASSIC_CONTROL_PING, 1, 0, 0, i, NULL, 0);
	reply = fake_reply(fd, i);
	assert_int_equal(reply.status, -1);
	assert_string_equal(reply.error, "too many controls of this client wait for other nodes");
	close(fd);
}

/*
 * Whoever asks whether a process of a member lives takes over what it holds if not. A link that is down for a moment is
 * no answer.
 */
static void test_alive_waits_for_link(void **state)
{
	uint8_t pid[4] = {1, 2, 3, 4};
	struct lane_control_reply r = {.status = 0, .error = talloc_strdup(fake, "")};
	int fd = fake_connect();
	struct fake_reply reply;
	uint32_t n = 1;

	fake->up[1] = false;
	fake_control(fd, CLASSIC_CONTROL_PROCESS_EXISTS, 1, 0, 0, 5, pid, 4);
	assert_true(fake_silent(fd));
	fake->up[1] = true;
	controls_node_up(fake->dbd->clients, 1);
	assert_int_equal(fake->n_sent, n);
	/* Asked, and lost with the link. */
	controls_node_lost(fake->dbd->clients, 1);
	assert_true(fake_silent(fd));
	controls_node_up(fake->dbd->clients, 2);
	controls_view_changed(fake->dbd->clients);
	controls_node_up(fake->dbd->clients, 1);
	assert_int_equal(fake->n_sent, 2);
	assert_memory_equal(sent_control(1).data.data, pid, 4);
	r.id = sent_control(1).id;
	controls_on_reply(fake->dbd->clients, 1, &r);
	assert_int_equal(fake_reply(fd, 5).status, 0);
	controls_node_up(fake->dbd->clients, 1);
	assert_int_equal(fake->n_sent, 2);
	/* The cluster goes on without the node: that is an answer. */
	fake->up[1] = false;
	fake_control(fd, CLASSIC_CONTROL_PROCESS_EXISTS, 1, 0, 0, 6, pid, 4);
	assert_true(fake_silent(fd));
	fake->flags[1] = CLASSIC_NODE_FLAG_DISCONNECTED;
	controls_view_changed(fake->dbd->clients);
	reply = fake_reply(fd, 6);
	assert_int_equal(reply.status, -1);
	assert_string_equal(reply.error, "node is disconnected");
	fake_control(fd, CLASSIC_CONTROL_PROCESS_EXISTS, 1, 0, 0, 7, pid, 4);
	assert_int_equal(fake_reply(fd, 7).status, -1);
	close(fd);
}

static void test_remote_failures(void **state)
{
	int fd = fake_connect();
	struct fake_reply reply;
	uint32_t n = 1;

	fake_control(fd, CLASSIC_CONTROL_PING, 2, 0, 0, 6, NULL, 0);
	reply = fake_reply(fd, 6);
	assert_int_equal(reply.status, -1);
	assert_string_equal(reply.error, "ctdb_control to disconnected node");
	fake_control(fd, CLASSIC_CONTROL_PING, 1, 0, 0, 7, NULL, 0);
	fake_until(sent_one, &n);
	controls_node_lost(fake->dbd->clients, 2);
	assert_true(fake_silent(fd));
	controls_node_lost(fake->dbd->clients, 1);
	reply = fake_reply(fd, 7);
	assert_int_equal(reply.status, -1);
	assert_string_equal(reply.error, "node is disconnected");
	fake->dbd->d->conf->database.control_timeout = 30;
	fake_control(fd, CLASSIC_CONTROL_PING, 1, 0, 0, 8, NULL, 0);
	reply = fake_reply(fd, 8);
	assert_int_equal(reply.status, -1);
	assert_string_equal(reply.error, "ctdb_control timed out");
	assert_int_equal(fake->dbd->clients->count.timeouts_control, 1);
	close(fd);
}

static void test_broadcast(void **state)
{
	int fd = fake_connect();
	uint32_t one = 1;
	struct fake_reply reply;
	uint8_t id[4];

	fake_control(fd, CLASSIC_CONTROL_PING, CLASSIC_NODE_ALL, 0, 0, 9, NULL, 0);
	reply = fake_reply(fd, 9);
	assert_int_equal(reply.status, -1);
	assert_non_null(strstr(reply.error, "NOREPLY"));
	assert_int_equal(fake->n_sent, 0);
	/* With NOREPLY it is done here and goes to the others; their answer is not wanted. */
	poke_u32(id, fake_db("sticky.tdb", 0)->id);
	fake_control(fd, CLASSIC_CONTROL_SET_DB_STICKY, CLASSIC_NODE_CONNECTED, CLASSIC_CTRL_FLAG_NOREPLY, 0, 10, id,
		     4);
	fake_until(sent_one, &one);
	assert_int_equal(sent_control(0).id, 0);
	assert_true((db_find(NULL, peek_u32(id))->flags & DB_STICKY) != 0);
	assert_true(fake_silent(fd));
	close(fd);
}

static void test_from_node(void **state)
{
	struct lane_control m = {.id = 3, .opcode = CLASSIC_CONTROL_GET_PNN};
	struct lane_control_reply r;

	controls_on_control(fake->dbd->clients, 1, &m);
	assert_int_equal(fake->n_sent, 1);
	assert_int_equal(fake->sent[0].to, 1);
	assert_int_equal(lane_control_reply_decode(fake, fake->sent[0].buf.data, fake->sent[0].buf.len, &r), 0);
	assert_int_equal(r.id, 3);
	assert_int_equal(r.status, 0);
	m.id = 0;
	controls_on_control(fake->dbd->clients, 1, &m);
	assert_int_equal(fake->n_sent, 1);
}

/* ---- identity ---- */

static void test_identity(void **state)
{
	int fd = fake_connect();
	struct classic_uptime up;
	struct fake_reply r;

	fake->times = (struct recovery_times){.started = {.tv_sec = 100}, .finished = {.tv_sec = 101, .tv_usec = 5}};
	assert_int_equal(fake_ask(fd, CLASSIC_CONTROL_GET_PID, NULL, 0).status, getpid());
	assert_int_equal(fake_ask(fd, CLASSIC_CONTROL_PING, NULL, 0).status, 1);
	r = fake_ask(fd, CLASSIC_CONTROL_UPTIME, NULL, 0);
	assert_int_equal(r.data.len, 64);
	assert_int_equal(classic_uptime_nview(r.data.data, r.data.len, &up, NULL), 0);
	assert_int_equal(up.last_recovery_started.sec, 100);
	assert_int_equal(up.last_recovery_finished.usec, 5);
	assert_true(up.current_time.sec >= up.start_time.sec && up.start_time.sec > 1000000);
	assert_int_equal(peek_u32(fake_ask(fd, CLASSIC_CONTROL_GET_CAPABILITIES, NULL, 0).data.data), 0x30000);
	assert_int_equal(peek_u32(fake_ask(fd, CLASSIC_CONTROL_GET_RUNSTATE, NULL, 0).data.data),
			 CLASSIC_RUNSTATE_RUNNING);
	fake->normal = false;
	assert_int_equal(peek_u32(fake_ask(fd, CLASSIC_CONTROL_GET_RUNSTATE, NULL, 0).data.data),
			 CLASSIC_RUNSTATE_FIRST_RECOVERY);
	close(fd);
}

static void test_process_exists(void **state)
{
	uint8_t arg[12];
	int fd = fake_connect();
	pid_t child;

	poke_u32(arg, (uint32_t)getpid());
	assert_int_equal(fake_ask(fd, CLASSIC_CONTROL_PROCESS_EXISTS, arg, 4).status, 0);
	poke_u32(arg, 1);
	assert_int_equal(fake_ask(fd, CLASSIC_CONTROL_PROCESS_EXISTS, arg, 4).status, -1);
	poke_u32(arg, 0);
	assert_int_equal(fake_ask(fd, CLASSIC_CONTROL_PROCESS_EXISTS, arg, 4).status, -1);
	/* A process that has gone although its connection is still there. */
	child = fork();
	if (child == 0) {
		_exit(0);
	}
	waitpid(child, NULL, 0);
	dlist_entry(dlist_first(&fake->dbd->clients->list), struct client, link)->pid = child;
	poke_u32(arg, (uint32_t)child);
	assert_int_equal(fake_ask(fd, CLASSIC_CONTROL_PROCESS_EXISTS, arg, 4).status, -1);
	/* With an address. */
	dlist_entry(dlist_first(&fake->dbd->clients->list), struct client, link)->pid = getpid();
	fake_control(fd, CLASSIC_CONTROL_REGISTER_SRVID, CLASSIC_NODE_CURRENT, 0, 0xABCDEF0123ULL, 1, NULL, 0);
	assert_int_equal(fake_reply(fd, 1).status, 0);
	poke_u32(arg, (uint32_t)getpid());
	poke_u64(arg + 4, 0xABCDEF0123ULL);
	assert_int_equal(fake_ask(fd, CLASSIC_CONTROL_CHECK_PID_SRVID, arg, 12).status, 0);
	poke_u64(arg + 4, 0xABCDEF0124ULL);
	assert_int_equal(fake_ask(fd, CLASSIC_CONTROL_CHECK_PID_SRVID, arg, 12).status, -1);
	/* A stopped node frees what its clients hold: it disconnects who is asked about. */
	fake->flags[0] = CLASSIC_NODE_FLAG_STOPPED;
	fake_control(fd, CLASSIC_CONTROL_PROCESS_EXISTS, CLASSIC_NODE_CURRENT, 0, 0, 2, arg, 4);
	assert_true(fake_eof(fd));
	close(fd);
	fake->flags[0] = 0;
	fd = fake_connect();
	fake_control(fd, CLASSIC_CONTROL_REGISTER_SRVID, CLASSIC_NODE_CURRENT, 0, 0xABCDEF0123ULL, 1, NULL, 0);
	assert_int_equal(fake_reply(fd, 1).status, 0);
	fake->flags[0] = CLASSIC_NODE_FLAG_STOPPED;
	poke_u64(arg + 4, 0xABCDEF0123ULL);
	fake_control(fd, CLASSIC_CONTROL_CHECK_PID_SRVID, CLASSIC_NODE_CURRENT, 0, 0, 2, arg, 12);
	assert_true(fake_eof(fd));
	close(fd);
}

/* ---- state ---- */

static void test_cluster_state(void **state)
{
	int fd = fake_connect();
	struct classic_vnn_map map;
	struct classic_node_map nodes;
	struct fake_reply r;
	uint8_t mode[4];
	FILE *f;

	r = fake_ask(fd, CLASSIC_CONTROL_GETVNNMAP, NULL, 0);
	assert_int_equal(classic_vnn_map_ndecode(fake, r.data.data, r.data.len, &map, NULL), 0);
	assert_int_equal(map.generation, FAKE_GENERATION);
	assert_int_equal(map.map.n, 4);
	assert_int_equal(map.map.v[1], 1);
	assert_int_equal(fake_ask(fd, CLASSIC_CONTROL_GET_RECMODE, NULL, 0).status, CLASSIC_RECMODE_NORMAL);
	poke_u32(mode, CLASSIC_RECMODE_ACTIVE);
	/* Answered when the recovery has begun: the tool asks for the mode next. */
	fake_control(fd, CLASSIC_CONTROL_SET_RECMODE, CLASSIC_NODE_CURRENT, 0, 0, 7, mode, 4);
	assert_true(fake_silent(fd));
	assert_int_equal(fake->wanted, 1);
	fake->normal = false;
	assert_int_equal(fake_reply(fd, 7).status, 0);
	assert_int_equal(fake_ask(fd, CLASSIC_CONTROL_GET_RECMODE, NULL, 0).status, CLASSIC_RECMODE_ACTIVE);
	poke_u32(mode, CLASSIC_RECMODE_NORMAL);
	assert_int_equal(fake_ask(fd, CLASSIC_CONTROL_SET_RECMODE, mode, 4).status, -1);
	assert_int_equal(peek_u32(fake_ask(fd, CLASSIC_CONTROL_GETVNNMAP, NULL, 0).data.data), GENERATION_NONE);
	/* A deleted node keeps its number and loses its address. */
	fake->dbd->d->nodes->v[1].deleted = true;
	r = fake_ask(fd, CLASSIC_CONTROL_GET_NODEMAP, NULL, 0);
	assert_int_equal(classic_node_map_ndecode(fake, r.data.data, r.data.len, &nodes, NULL), 0);
	assert_int_equal(nodes.nodes.n, FAKE_NODES);
	assert_int_equal(nodes.nodes.v[1].flags, CLASSIC_NODE_FLAG_DELETED);
	assert_int_equal(peek_u32(nodes.nodes.v[1].addr.addr + 4), 0);
	assert_int_equal(nodes.nodes.v[2].flags, CLASSIC_NODE_FLAG_DISCONNECTED);
	/* The file, as it is now. */
	assert_int_equal(fake_ask(fd, CLASSIC_CONTROL_GET_NODES_FILE, NULL, 0).status, -1);
	f = fopen(fake->dbd->d->conf->path.nodes, "w");
	fprintf(f, "10.0.0.1\n#10.0.0.2\n");
	fclose(f);
	r = fake_ask(fd, CLASSIC_CONTROL_GET_NODES_FILE, NULL, 0);
	assert_int_equal(classic_node_map_ndecode(fake, r.data.data, r.data.len, &nodes, NULL), 0);
	assert_int_equal(nodes.nodes.n, 2);
	assert_int_equal(nodes.nodes.v[1].flags, CLASSIC_NODE_FLAG_DELETED);
	close(fd);
}

/* ---- databases ---- */

static void test_databases(void **state)
{
	struct db *db = fake_db("one.tdb", 0), *p = fake_db("two.tdb", DB_PERSISTENT);
	int fd = fake_connect();
	struct classic_dbid_map map;
	struct fake_reply r;
	uint8_t id[8] = {0}, pid[4], none[4] = {0};

	poke_u32(id, db->id);
	poke_u32(pid, p->id);
	assert_string_equal((char *)fake_ask(fd, CLASSIC_CONTROL_GETDBPATH, id, 4).data.data, db->path);
	r = fake_ask(fd, CLASSIC_CONTROL_GET_DBNAME, id, 4);
	assert_int_equal(r.data.len, 8);
	assert_string_equal((char *)r.data.data, "one.tdb");
	assert_int_equal(peek_u32(fake_ask(fd, CLASSIC_CONTROL_DB_OPEN_FLAGS, pid, 4).data.data), 0x400);
	assert_int_equal(fake_ask(fd, CLASSIC_CONTROL_GETDBPATH, none, 4).status, -1);
	r = fake_ask(fd, CLASSIC_CONTROL_GET_DBMAP, NULL, 0);
	assert_int_equal(classic_dbid_map_ndecode(fake, r.data.data, r.data.len, &map, NULL), 0);
	assert_int_equal(map.dbs.n, 2);
	assert_int_equal(map.dbs.v[0].db_id, p->id);
	assert_int_equal(map.dbs.v[0].flags, DB_PERSISTENT);
	assert_int_equal(r.data.len, 20);
	assert_int_equal(fake_ask(fd, CLASSIC_CONTROL_SET_DB_READONLY, id, 4).status, 0);
	assert_int_equal(fake_ask(fd, CLASSIC_CONTROL_SET_DB_READONLY, pid, 4).status, -1);
	assert_int_equal(db->flags, DB_READONLY);
	assert_int_equal(fake_ask(fd, CLASSIC_CONTROL_DB_DETACH, id, 4).status, -1);
	db_set_health(p, "broken");
	assert_string_equal((char *)fake_ask(fd, CLASSIC_CONTROL_DB_GET_HEALTH, pid, 4).data.data, "broken");
	assert_int_equal(fake_ask(fd, CLASSIC_CONTROL_DB_SET_HEALTHY, pid, 4).status, 0);
	r = fake_ask(fd, CLASSIC_CONTROL_DB_GET_HEALTH, pid, 4);
	assert_int_equal(r.status, 0);
	assert_int_equal(r.data.len, 0);
	close(fd);
}

static void test_schedule_for_deletion(void **state)
{
	struct ctdb_blob b = fake_hex("2b432a4d 00000000 03000000 00000000 00000000 00000000 00000000 00000000"
				      "1a000000 7472616e 73616374 696f6e5f 64625f30 78303664 66663134 3200");
	int fd = fake_connect();

	assert_int_equal(fake_ask(fd, CLASSIC_CONTROL_SCHEDULE_FOR_DELETION, b.data, b.len).status, -1);
	fake_db("g_lock.tdb", 0);
	assert_int_equal(fake_ask(fd, CLASSIC_CONTROL_SCHEDULE_FOR_DELETION, b.data, b.len).status, 0);
	assert_int_equal(fake->deletions, 1);
	assert_int_equal(peek_u64(fake->deletion_header), 3);
	/* Padding counted in, or a byte missing. */
	assert_int_equal(fake_ask(fd, CLASSIC_CONTROL_SCHEDULE_FOR_DELETION, b.data, b.len + 2).status, -1);
	assert_int_equal(fake_ask(fd, CLASSIC_CONTROL_SCHEDULE_FOR_DELETION, b.data, b.len - 1).status, -1);
	assert_int_equal(fake->deletions, 1);
	close(fd);
}

/* ---- records that another node found empty ---- */

static uint8_t *put_record(uint8_t *p, const char *key, uint64_t rsn, uint32_t dmaster, const char *data)
{
	struct rec_header h = {.rsn = rsn, .dmaster = dmaster};
	uint8_t value[REC_HEADER_SIZE + 8] = {0};

	rec_header_put(value, &h);
	memcpy(value + REC_HEADER_SIZE, data, strlen(data));
	return recdata_put(p, 0, key, (uint32_t)strlen(key), value, REC_HEADER_SIZE + (uint32_t)strlen(data));
}

static void store_copy(struct db *db, const char *key, uint64_t rsn, uint32_t dmaster, const char *data)
{
	uint8_t buf[128];
	size_t head = 16 + strlen(key);

	(void)put_record(buf, key, rsn, dmaster, data);
	assert_int_equal(tdb_store(db->tdb, tdb_data_of(key, strlen(key)),
				   tdb_data_of(buf + head, REC_HEADER_SIZE + strlen(data)), 0),
			 0);
}

/* Asks to delete these keys, empty and with rsn 5. What comes back, and what is there afterwards, is what was kept. */
static void try_delete(int fd, struct db *db, const char *keys, const char *kept)
{
	uint8_t buf[512] = {0}, *end = buf + RECBUF_HEAD;
	struct fake_reply r;
	const uint8_t *p;
	uint32_t id, count;
	size_t left;

	poke_u32(buf, db->id);
	poke_u32(buf + 4, (uint32_t)strlen(keys));
	for (const char *k = keys; *k != '\0'; k++) {
		char key[] = {*k, '\0'};

		end = put_record(end, key, 5, 1, "");
	}
	r = fake_ask(fd, CLASSIC_CONTROL_TRY_DELETE_RECORDS, buf, (size_t)(end - buf));
	assert_int_equal(r.status, 0);
	assert_int_equal(recbuf_check(r.data.data, r.data.len, &id, &count), 0);
	assert_int_equal(id, db->id);
	assert_int_equal(count, strlen(kept));
	p = r.data.data;
	left = r.data.len;
	assert_int_equal(recbuf_begin(&p, &left, &id, &count), 0);
	for (const char *k = kept; *k != '\0'; k++) {
		struct recdata rec;

		assert_int_equal(recdata_next(&p, &left, &rec), 0);
		assert_int_equal(rec.key[0], *k);
	}
	for (const char *k = keys; *k != '\0'; k++) {
		assert_int_equal(tdb_exists(db->tdb, tdb_data_of(k, 1)), strchr(kept, *k) != NULL);
	}
}

/* Every condition is looked at again; each record of the request counts, the last one too. */
static void test_try_delete(void **state)
{
	struct db *db = fake_db("vacuum.tdb", 0);
	int fd = fake_connect();

	for (uint32_t i = 0; i < 4; i++) {
		fake->slots[i] = 1;
	}
	store_copy(db, "a", 5, 1, "");     /* as told */
	store_copy(db, "b", 5, 0, "");     /* owned here */
	store_copy(db, "c", 6, 1, "");     /* newer */
	store_copy(db, "d", 5, 1, "used"); /* not empty */
	store_copy(db, "e", 4, 1, "");     /* older */
	try_delete(fd, db, "abcde", "bcd");
	store_copy(db, "a", 5, 1, "");
	try_delete(fd, db, "ad", "d");
	/* The location master keeps its entry. */
	store_copy(db, "a", 5, 1, "");
	for (uint32_t i = 0; i < 4; i++) {
		fake->slots[i] = 0;
	}
	try_delete(fd, db, "a", "a");
	close(fd);
}

/* A run on request is answered when it is over; records to be fetched, and pushed ones, are told to vacuuming. */
static void test_vacuum(void **state)
{
	struct db *db = fake_db("vacuum2.tdb", 0), *other = fake_db("kept.tdb", DB_PERSISTENT);
	uint8_t arg[5] = {0}, buf[256] = {0}, *end = buf + RECBUF_HEAD;
	struct classic_db_statistics stats;
	struct ctdb_blob blob;
	int fd = fake_connect();

	poke_u32(arg, db->id);
	assert_int_equal(fake_ask(fd, CLASSIC_CONTROL_DB_VACUUM, arg, 5).status, 0);
	assert_int_equal(fake_ask(fd, CLASSIC_CONTROL_DB_VACUUM, arg, 4).status, -1);
	fake->vacuum_status = EAGAIN;
	assert_int_equal(fake_ask(fd, CLASSIC_CONTROL_DB_VACUUM, arg, 5).status, -1);
	fake->vacuum_status = ETIMEDOUT;
	assert_non_null(strstr(fake_ask(fd, CLASSIC_CONTROL_DB_VACUUM, arg, 5).error, "too long"));
	fake->vacuum_status = 0;
	blob = fake_ask(fd, CLASSIC_CONTROL_GET_DB_STATISTICS, arg, 4).data;
	assert_int_equal(classic_db_statistics_nview(blob.data, blob.len, &stats, NULL), 0);
	assert_true(stats.vacuum.num == 3 && stats.vacuum.min == 0.5 && stats.vacuum.max == 3 &&
		    stats.vacuum.total == 4.5);
	poke_u32(arg, other->id);
	assert_int_equal(fake_ask(fd, CLASSIC_CONTROL_DB_VACUUM, arg, 5).status, -1);
	poke_u32(buf, db->id);
	poke_u32(buf + 4, 2);
	end = put_record(put_record(end, "a", 5, 1, ""), "b", 5, 1, "");
	assert_int_equal(fake_ask(fd, CLASSIC_CONTROL_VACUUM_FETCH, buf, (size_t)(end - buf)).status, 0);
	assert_int_equal(fake->fetched, 2);
	assert_int_equal(fake_ask(fd, CLASSIC_CONTROL_VACUUM_FETCH, buf, (size_t)(end - buf) - 1).status, -1);
	assert_int_equal(fake->fetched, 2);
	close(fd);
}

/* ---- sequence numbers ---- */

static void test_seqnum(void **state)
{
	struct db *db = fake_db("locking.tdb", 0);
	struct lane_control m = {.opcode = CLASSIC_CONTROL_UPDATE_SEQNUM};
	int fd = fake_connect(), before;
	uint8_t id[4], value[24] = {0};
	uint32_t n = 1;

	poke_u32(id, db->id);
	assert_int_equal(fake_ask(fd, CLASSIC_CONTROL_ENABLE_SEQNUM, id, 4).status, 0);
	assert_int_equal(fake_ask(fd, CLASSIC_CONTROL_ENABLE_SEQNUM, id, 4).status, 0);
	assert_true(db->seqnum_enabled);
	/* Another node's change raises ours, and is not told on. */
	m.data = blob_of(id, 4);
	before = tdb_get_seqnum(db->tdb);
	controls_on_control(fake->dbd->clients, 1, &m);
	assert_int_equal(tdb_get_seqnum(db->tdb), before + 1);
	/* Our own is told to the active nodes, once: had the first been told too, it would be the second here. */
	assert_int_equal(tdb_store(db->tdb, tdb_data_of("k", 1), tdb_data_of(value, 24), TDB_REPLACE), 0);
	fake_until(sent_one, &n);
	assert_int_equal(sent_control(0).opcode, CLASSIC_CONTROL_UPDATE_SEQNUM);
	assert_int_equal(fake->sent[0].to, 1);
	assert_int_equal(peek_u32(sent_control(0).data.data), db->id);
	close(fd);
}

static void test_db_seqnum(void **state)
{
	struct db *db = fake_db("secrets.tdb", DB_PERSISTENT);
	int fd = fake_connect();
	uint8_t id[8] = {0}, value[32] = {0};

	poke_u32(id, db->id);
	assert_int_equal(peek_u64(fake_ask(fd, CLASSIC_CONTROL_GET_DB_SEQNUM, id, 8).data.data), 0);
	poke_u64(value + 24, 0x123456789AULL);
	assert_int_equal(tdb_store(db->tdb, tdb_data_of("__db_sequence_number__", 23), tdb_data_of(value, 32), 0), 0);
	assert_int_equal(peek_u64(fake_ask(fd, CLASSIC_CONTROL_GET_DB_SEQNUM, id, 8).data.data), 0x123456789AULL);
	assert_int_equal(fake_ask(fd, CLASSIC_CONTROL_GET_DB_SEQNUM, id, 4).status, -1);
	close(fd);
}

/* ---- tunables ---- */

static struct fake_reply tunable_ask(int fd, uint32_t opcode, const char *name, uint32_t value)
{
	struct classic_tunable arg = {.value = value, .name = talloc_strdup(fake, name)};
	struct ctdb_blob b;
	uint32_t skip = opcode == CLASSIC_CONTROL_GET_TUNABLE ? 4 : 0;

	assert_int_equal(classic_tunable_nencode(fake, &arg, &b), 0);
	return fake_ask(fd, opcode, b.data + skip, b.len - skip);
}

static void test_tunables(void **state)
{
	int fd = fake_connect();
	struct fake_reply r = fake_ask(fd, CLASSIC_CONTROL_LIST_TUNABLES, NULL, 0);

	assert_int_equal(r.data.len, 823);
	assert_int_equal(peek_u32(r.data.data), 819);
	assert_memory_equal(r.data.data + 4, ":SeqnumInterval:ControlTimeout:", 31);
	assert_string_equal((char *)r.data.data + 823 - 20, ":AllowMixedVersions");
	assert_int_equal(peek_u32(tunable_ask(fd, CLASSIC_CONTROL_GET_TUNABLE, "vacuuminterval", 0).data.data), 10);
	assert_int_equal(tunable_ask(fd, CLASSIC_CONTROL_GET_TUNABLE, "NoSuchThing", 0).status, -EINVAL);
	assert_int_equal(tunable_ask(fd, CLASSIC_CONTROL_SET_TUNABLE, "NoSuchThing", 1).status, -1);
	assert_int_equal(tunable_ask(fd, CLASSIC_CONTROL_SET_TUNABLE, "MaxRedirectCount", 1).status, 1);
	assert_int_equal(tunable_ask(fd, CLASSIC_CONTROL_SET_TUNABLE, "QUEUEBUFFERSIZE", 4242).status, 0);
	assert_int_equal(peek_u32(tunable_ask(fd, CLASSIC_CONTROL_GET_TUNABLE, "QueueBufferSize", 0).data.data), 4242);
	r = fake_ask(fd, CLASSIC_CONTROL_GET_ALL_TUNABLES, NULL, 0);
	assert_int_equal(r.data.len, 248);
	assert_int_equal(peek_u32(r.data.data + 236), 4242);
	assert_int_equal(peek_u32(r.data.data + 68), 100001);
	close(fd);
}

/* ---- statistics ---- */

static void test_statistics(void **state)
{
	int fd = fake_connect();
	struct classic_db_statistics d;
	struct classic_statistics s;
	struct fake_reply r;
	uint8_t id[4];

	fake->revokes = 5;
	(void)fake_ask(fd, CLASSIC_CONTROL_PING, NULL, 0);
	r = fake_ask(fd, CLASSIC_CONTROL_STATISTICS, NULL, 0);
	assert_int_equal(r.data.len, 488);
	assert_int_equal(classic_statistics_nview(r.data.data, r.data.len, &s, NULL), 0);
	assert_int_equal(s.num_clients, 1);
	assert_int_equal(s.client_req_control, 2);
	assert_int_equal(s.total_ro_revokes, 5);
	assert_int_equal(fake_ask(fd, CLASSIC_CONTROL_STATISTICS_RESET, NULL, 0).status, 0);
	r = fake_ask(fd, CLASSIC_CONTROL_STATISTICS, NULL, 0);
	assert_int_equal(classic_statistics_nview(r.data.data, r.data.len, &s, NULL), 0);
	assert_int_equal(s.client_req_control, 1);
	assert_int_equal(s.total_ro_revokes, 0);
	assert_int_equal(fake_ask(fd, CLASSIC_CONTROL_GET_STAT_HISTORY, NULL, 0).data.len, 48808);
	poke_u32(id, fake_db("x.tdb", 0)->id);
	r = fake_ask(fd, CLASSIC_CONTROL_GET_DB_STATISTICS, id, 4);
	assert_int_equal(r.data.len, 464 + 3);
	assert_int_equal(classic_db_statistics_nview(r.data.data, r.data.len, &d, NULL), 0);
	assert_true(d.num_hot_keys == 10 && d.hot_keys[0].count == 0 && d.hot_keys[9].count == 7);
	assert_true(d.hot_keys[9].keylen == 3 && d.keys.len == 3 && memcmp(d.keys.data, "abc", 3) == 0);
	assert_true(fake_ask(fd, CLASSIC_CONTROL_DUMP_MEMORY, NULL, 0).data.len > 0);
	close(fd);
}

static void test_empty_answers(void **state)
{
	uint8_t conn[56] = {2};
	int fd = fake_connect();

	assert_int_equal(peek_u32(fake_ask(fd, CLASSIC_CONTROL_GET_PUBLIC_IPS, NULL, 0).data.data), 0);
	assert_int_equal(peek_u32(fake_ask(fd, CLASSIC_CONTROL_GET_IFACES, NULL, 0).data.data), 0);
	assert_int_equal(fake_ask(fd, CLASSIC_CONTROL_TCP_CLIENT, conn, 56).status, 0);
	assert_int_equal(fake_ask(fd, CLASSIC_CONTROL_GET_TCP_TICKLE_LIST, conn, 28).status, 1);
	assert_int_equal(fake_ask(fd, CLASSIC_CONTROL_GET_PUBLIC_IP_INFO, conn, 28).status, -1);
	assert_int_equal(fake_ask(fd, CLASSIC_CONTROL_GET_RECLOCK_FILE, NULL, 0).data.len, 0);
	close(fd);
}

/* Who does not wait for answers is refused at some point, a client and a node. What is answered counts no more. */
static void test_too_many_wait(void **state)
{
	struct clients *cs = fake->dbd->clients;
	struct lane_control m = {.id = 3, .opcode = CLASSIC_CONTROL_GET_PNN};
	struct lane_control_reply r;
	int fd = fake_connect();
	struct control_load *load;

	assert_int_equal(fake_ask(fd, CLASSIC_CONTROL_GET_PNN, NULL, 0).status, 0);
	load = &dlist_entry(dlist_first(&cs->list), struct client, link)->load;
	assert_int_equal(load->n + load->bytes, 0);
	load->n = CONTROLS_WAIT_MAX;
	assert_int_equal(fake_ask(fd, CLASSIC_CONTROL_GET_PNN, NULL, 0).status, -1);
	assert_int_equal(load->n, CONTROLS_WAIT_MAX);
	*load = (struct control_load){.bytes = (size_t)CONTROLS_WAIT_BYTES_MAX + 1};
	assert_int_equal(fake_ask(fd, CLASSIC_CONTROL_GET_PNN, NULL, 0).status, -1);
	*load = (struct control_load){0};
	assert_int_equal(fake_ask(fd, CLASSIC_CONTROL_GET_PNN, NULL, 0).status, 0);

	cs->peers[1].n = CONTROLS_WAIT_PEER_MAX;
	controls_on_control(cs, 1, &m);
	assert_int_equal(lane_control_reply_decode(fake, fake->sent[0].buf.data, fake->sent[0].buf.len, &r), 0);
	assert_int_equal(r.status, -1);
	cs->peers[1].n = 0;
	controls_on_control(cs, 1, &m);
	assert_int_equal(lane_control_reply_decode(fake, fake->sent[1].buf.data, fake->sent[1].buf.len, &r), 0);
	assert_int_equal(r.status, 0);
	assert_int_equal(cs->peers[1].n + cs->peers[1].bytes, 0);
	close(fd);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, fake_setup, fake_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_every_number_and_size),
		TEST(test_local_only),
		TEST(test_too_many_wait),
		TEST(test_no_reply),
		TEST(test_remote),
		TEST(test_remote_bounded),
		TEST(test_alive_waits_for_link),
		TEST(test_remote_failures),
		TEST(test_broadcast),
		TEST(test_from_node),
		TEST(test_identity),
		TEST(test_process_exists),
		TEST(test_cluster_state),
		TEST(test_databases),
		TEST(test_schedule_for_deletion),
		TEST(test_try_delete),
		TEST(test_vacuum),
		TEST(test_seqnum),
		TEST(test_db_seqnum),
		TEST(test_tunables),
		TEST(test_statistics),
		TEST(test_empty_answers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
