/* The classic socket: packets in every shape, byte for byte what Samba's processes see. */
#include "test_fake.h"
#include "dbd/control.h"
#include "dbd/srvid.h"
#include "protocol/classic_native.h"
#include "protocol/lane_rpc.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define HEAD "42445443 01000000 "

static void send_hex(int fd, const char *hex)
{
	struct ctdb_blob b = fake_hex(hex);

	fake_write(fd, b.data, b.len);
}

/* ---- what smbd says at first, byte for byte ---- */

static void test_greeting(void **state)
{
	int fd = fake_connect();

	fake->flags[2] = CLASSIC_NODE_FLAG_DISCONNECTED;
	send_hex(fd, "3c000000 42445443 01000000 00000000 07000000 010000f0 00000000 01000000"
		     "23000000 00000000 00000000 00000000 00000000 00000000 00000000");
	fake_expect(fake_read(fd), "30000000 42445443 01000000 c047a803 08000000 00000000 00000000 01000000"
				   "00000000 00000000 00000000 00000000");
	fake->dbd->d->nodes->n = 2;
	send_hex(fd, "3c000000 42445443 01000000 00000000 07000000 010000f0 00000000 02000000"
		     "5b000000 00000000 00000000 00000000 00000000 00000000 00000000");
	fake_expect(fake_read(fd), "78000000 42445443 01000000 c047a803 08000000 00000000 00000000 02000000"
				   "00000000 4c000000 00000000 02000000 00000000 00000000 0200111b 7f004d01"
				   "00000000 00000000 00000000 00000000 00000000 01000000 00000000 0200111b"
				   "7f004d02 00000000 00000000 00000000 00000000 00000000");
	send_hex(fd, "3c000000 42445443 01000000 00000000 07000000 010000f0 00000000 03000000"
		     "17000000 00000000 efcdab89 67452301 00000000 00000000 00000000");
	fake_expect(fake_read(fd), "30000000 42445443 01000000 c047a803 08000000 00000000 00000000 03000000"
				   "00000000 00000000 00000000 00000000");
	/* DB_ATTACH g_lock.tdb, unpadded: 71 bytes. Node 1 gets to know it, and answers. */
	send_hex(fd, "47000000 42445443 01000000 00000000 07000000 010000f0 00000000 04000000"
		     "12000000 00000000 00000000 00000000 00000000 00000000 0b000000 675f6c6f"
		     "636b2e74 646200");
	assert_true(fake_silent(fd));
	assert_int_equal(fake->n_sent, 1);
	attaches_on_reply(fake->dbd->attaches, 1, &(struct lane_attach_reply){.id = 1});
	fake_expect(fake_read(fd), "30000000 42445443 01000000 c047a803 08000000 00000000 00000000 04000000"
				   "00000000 04000000 00000000 2b432a4d");
	fake->dbd->d->nodes->n = FAKE_NODES;
	close(fd);
}

static void test_tool_and_disconnected_node(void **state)
{
	int fd = fake_connect();

	/* Padded, source unknown. */
	send_hex(fd, "40000000 42445443 01000000 00000000 07000000 010000f0 ffffffff 38ffff7f"
		     "23000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000");
	fake_expect(fake_read(fd), "30000000 42445443 01000000 c047a803 08000000 00000000 00000000 38ffff7f"
				   "00000000 00000000 00000000 00000000");
	fake_control(fd, CLASSIC_CONTROL_GET_PNN, 77, 0, 0, 0x65, NULL, 0);
	fake_expect(fake_read(fd), "50000000 42445443 01000000 c047a803 08000000 00000000 00000000 65000000"
				   "ffffffff 00000000 21000000 63746462 5f636f6e 74726f6c 20746f20 64697363"
				   "6f6e6e65 63746564 206e6f64 65000000");
	close(fd);
}

/* ---- calls ---- */

static bool have_call(void *priv)
{
	return fake->call != NULL;
}

static void test_call(void **state)
{
	int fd = fake_connect();

	fake_db("g_lock.tdb", 0);
	send_hex(fd, "52000000 42445443 01000000 00000000 00000000 00000000 00000000 09000000"
		     "01000000 2b432a4d 010000ff 00000000 1a000000 00000000 7472616e 73616374"
		     "696f6e5f 64625f30 78373133 32633138 3400");
	fake_until(have_call, NULL);
	assert_int_equal(fake->call->key.len, 26);
	assert_memory_equal(fake->call->key.data, "transaction_db_0x7132c184", 26);
	assert_false(fake->call->read_only);
	fake->call->reply(fake->call->priv, 0, fake->header, NULL, 0);
	fake_expect(fake_read(fd), "30000000 42445443 01000000 c047a803 01000000 00000000 00000000 09000000"
				   "00000000 00000000 00000000 00000000");
	close(fd);
}

static void send_call(int fd, uint32_t reqid, uint32_t callid, uint32_t flags, uint32_t db_id)
{
	uint8_t p[32 + 24 + 3] = {0};

	poke_u32(p, sizeof(p));
	poke_u32(p + 4, CLASSIC_MAGIC);
	poke_u32(p + 8, CLASSIC_VERSION);
	poke_u32(p + 28, reqid);
	poke_u32(p + 32, flags);
	poke_u32(p + 36, db_id);
	poke_u32(p + 40, callid);
	poke_u32(p + 48, 3);
	memcpy(p + 56, "key", 3);
	fake_write(fd, p, sizeof(p));
}

static void test_fetch(void **state)
{
	struct db *db = fake_db("brlock.tdb", 0);
	int fd = fake_connect();
	struct ctdb_blob b;

	fake->answer_at_once = true;
	fake->header[0] = 3;
	send_call(fd, 0x69, CLASSIC_CALLID_FETCH_WITH_HEADER, 0, db->id);
	fake_expect(fake_read(fd), "40000000 42445443 01000000 c047a803 01000000 00000000 00000000 69000000"
				   "00000000 18000000 03000000 00000000 00000000 00000000 00000000 00000000");
	memcpy(fake->data, "value", 5);
	fake->datalen = 5;
	send_call(fd, 1, CLASSIC_CALLID_FETCH, 0, db->id);
	b = fake_read(fd);
	assert_int_equal(peek_u32(b.data + 36), 5);
	assert_memory_equal(b.data + 40, "value", 5);
	/* An unknown function: the record comes here, nothing else. */
	send_call(fd, 2, 0x1234, 0, db->id);
	b = fake_read(fd);
	assert_int_equal(peek_u32(b.data + 16), CLASSIC_REPLY_CALL);
	assert_int_equal(peek_u32(b.data + 32), 0);
	assert_int_equal(peek_u32(b.data + 36), 0);
	/* WANT_READONLY counts only for databases with the flag; NULL gets header and data then. */
	send_call(fd, 3, CLASSIC_CALLID_NULL, CLASSIC_CALL_WANT_READONLY, db->id);
	assert_int_equal(peek_u32(fake_read(fd).data + 36), 0);
	db->flags |= DB_READONLY;
	send_call(fd, 4, CLASSIC_CALLID_NULL, CLASSIC_CALL_WANT_READONLY, db->id);
	assert_int_equal(peek_u32(fake_read(fd).data + 36), 29);
	close(fd);
}

/* What the classic daemon left without an answer is answered: clients wait for ever. */
static void test_call_errors(void **state)
{
	struct db *persistent = fake_db("secrets.tdb", DB_PERSISTENT), *db = fake_db("locking.tdb", 0);
	int fd = fake_connect();

	send_call(fd, 5, CLASSIC_CALLID_NULL, 0, 0xABCDEF);
	assert_int_equal(peek_u32(fake_read(fd).data + 16), CLASSIC_REPLY_ERROR);
	send_call(fd, 6, CLASSIC_CALLID_NULL, 0, persistent->id);
	assert_int_equal(peek_u32(fake_read(fd).data + 16), CLASSIC_REPLY_ERROR);
	fake->answer_at_once = true;
	fake->call_status = EIO;
	send_call(fd, 7, CLASSIC_CALLID_NULL, 0, db->id);
	assert_int_equal(peek_u32(fake_read(fd).data + 16), CLASSIC_REPLY_ERROR);
	close(fd);
}

static bool one_cancelled(void *priv)
{
	return fake->cancelled == 1;
}

static void test_call_of_gone_client(void **state)
{
	struct db *db = fake_db("locking.tdb", 0);
	int fd = fake_connect();

	send_call(fd, 8, CLASSIC_CALLID_NULL, 0, db->id);
	fake_until(have_call, NULL);
	close(fd);
	fake_until(one_cancelled, NULL);
	assert_int_equal(fake->dbd->clients->count.pending_calls, 0);
}

/* ---- malformed packets: the connection ends, others live on ---- */

static const struct {
	const char *name, *hex;
} malformed[] = {
	{"length 0", "00000000"},
	{"length less than the header", "1f000000"},
	{"length beyond the limit", "01001000"},
	{"magic", "28000000 41445443 01000000 00000000 07000000 00000000 00000000 00000000"},
	{"version", "28000000 42445443 02000000 00000000 07000000 00000000 00000000 00000000"},
	{"operation 2", "20000000 " HEAD "00000000 02000000 00000000 00000000 00000000"},
	{"operation 6", "20000000 " HEAD "00000000 06000000 00000000 00000000 00000000"},
	{"operation 0xffffffff", "20000000 " HEAD "00000000 ffffffff 00000000 00000000 00000000"},
	{"control without its head", "20000000 " HEAD "00000000 07000000 00000000 00000000 00000000"},
	{"control, datalen too large", "3c000000 " HEAD "00000000 07000000 010000f0 00000000 01000000"
				       "23000000 00000000 00000000 00000000 00000000 00000000 01000000"},
	{"control, datalen that wraps", "3c000000 " HEAD "00000000 07000000 010000f0 00000000 01000000"
					"23000000 00000000 00000000 00000000 00000000 00000000 ffffffff"},
	{"call, keylen too large", "3c000000 " HEAD "00000000 00000000 00000000 00000000 01000000"
				   "00000000 2b432a4d 010000ff 00000000 05000000 00000000 61626364"},
	{"call, lengths that wrap", "3c000000 " HEAD "00000000 00000000 00000000 00000000 01000000"
				    "00000000 2b432a4d 010000ff 00000000 04000000 fcffffff 61626364"},
	{"message, datalen too large",
	 "2e000000 " HEAD "00000000 05000000 010000f0 00000000 00000000 42000000 000000ae 03000000 6869"},
	{"tunnel, datalen too large",
	 "30000000 " HEAD "00000000 0a000000 00000000 00000000 00000000 42000000 000000ae 00000000 01000000"},
};

static void test_malformed(void **state)
{
	int other = fake_connect();

	for (size_t i = 0; i < sizeof(malformed) / sizeof(malformed[0]); i++) {
		int fd = fake_connect();

		print_message("malformed: %s\n", malformed[i].name);
		send_hex(fd, malformed[i].hex);
		assert_true(fake_eof(fd));
		assert_int_equal(fake_ask(other, CLASSIC_CONTROL_GET_PNN, NULL, 0).status, 0);
		assert_int_equal(fake->dbd->clients->n, 1);
		close(fd);
	}
	close(other);
}

/* ---- mutations of good packets: whatever comes, dbd lives on and serves others ---- */

static uint32_t random_of(uint64_t *seed, uint32_t below)
{
	*seed = *seed * 6364136223846793005ULL + 1442695040888963407ULL;
	return (uint32_t)(*seed >> 33) % below;
}

static struct ctdb_blob good_packet(uint32_t kind)
{
	static const char *const packets[] = {
		"52000000 " HEAD "00000000 00000000 00000000 00000000 09000000 01000000 2b432a4d 010000ff 00000000"
		"1a000000 00000000 7472616e 73616374 696f6e5f 64625f30 78373133 32633138 3400",
		"2e000000 " HEAD "00000000 05000000 040000f0 00000000 00000000 42000000 000000ae 02000000 6869",
		"38000000 " HEAD "00000000 0a000000 00000000 00000000 00000000 00000000 ffffffff 01000000 08000000 "
		"6162636465666768",
		"6c000000 " HEAD "00000000 07000000 010000f0 00000000 01000000 72000000 00000000 00000000 00000000"
		"00000000 00000000 30000000 11111111 22222222 24000000 00000000 00000000 00000000 00000000 00000000"
		"00000000 00000000 00000000 00000000",
	};
	struct ctdb_blob b = fake_hex(packets[kind % 4]);

	/* The last one is a control of any kind: whatever its payload means there. */
	if (kind % 4 == 3) {
		poke_u32(b.data + 32, kind / 4 % 170);
	}
	return b;
}

static void test_mutations(void **state)
{
	uint64_t seed = 20260117;
	int other = fake_connect(), fd = fake_connect();

	fake->answer_at_once = true;
	fake_db("g_lock.tdb", 0);
	for (uint32_t i = 0; i < 4000; i++) {
		struct ctdb_blob b = good_packet(i);

		if (peek_u32(b.data + 32) == CLASSIC_CONTROL_SHUTDOWN && i % 4 == 3) {
			continue; /* asks another daemon */
		}
		for (uint32_t n = random_of(&seed, 4); n > 0; n--) {
			static const uint32_t values[] = {0, 1, 7, 32, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF};
			uint32_t at = 4 * random_of(&seed, b.len / 4);

			/* Length, magic and version stay: the packet shall get in. */
			if (at >= 12) {
				poke_u32(b.data + at, values[random_of(&seed, 7)]);
			}
		}
		(void)send(fd, b.data, b.len, MSG_NOSIGNAL);
		fake_turns(2);
		fake->n_sent = 0;
		fake->n_jobs = 0;
		if (fake->dbd->clients->n < 2) {
			close(fd);
			fd = fake_connect();
		}
		talloc_free(b.data);
	}
	assert_int_equal(fake_ask(other, CLASSIC_CONTROL_GET_PNN, NULL, 0).status, 0);
	close(fd);
	close(other);
}

/* A good packet before a bad one is served; nothing behind the bad one is. */
static void test_good_then_bad(void **state)
{
	int fd = fake_connect();

	send_hex(fd, "2e000000 " HEAD "00000000 05000000 01000000 00000000 00000000 42000000 000000ae 02000000 6869"
		     "1f000000 " HEAD "00000000 05000000 01000000 00000000 00000000 42000000 000000ae 02000000 6869");
	assert_true(fake_eof(fd));
	assert_int_equal(fake->n_sent, 1);
	assert_int_equal(fake->sent[0].proc, LANE_PROC_MESSAGE);
	close(fd);
}

/* Packets in pieces of every size, and many in one write. */
static void test_pieces(void **state)
{
	struct ctdb_blob one = fake_hex("3c000000 42445443 01000000 00000000 07000000 010000f0 00000000 01000000"
					"23000000 00000000 00000000 00000000 00000000 00000000 00000000");
	int fd = fake_connect();
	uint8_t *many = talloc_size(fake, 1000 * one.len);

	for (uint32_t cut = 1; cut < one.len; cut++) {
		fake_write(fd, one.data, cut);
		fake_turns(2);
		fake_write(fd, one.data + cut, one.len - cut);
		assert_int_equal(fake_reply(fd, 1).status, 0);
	}
	for (uint32_t i = 0; i < 1000; i++) {
		memcpy(many + i * one.len, one.data, one.len);
		poke_u32(many + i * one.len + 28, i);
	}
	fake_write(fd, many, 1000 * one.len);
	for (uint32_t i = 0; i < 1000; i++) {
		assert_int_equal(fake_reply(fd, i).status, 0);
	}
	close(fd);
}

static bool can_read(void *priv)
{
	char byte;

	return recv(*(int *)priv, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 1;
}

/* Who sends very much in one go does not keep the others from being served. */
static void test_burst(void **state)
{
	struct ctdb_blob one = fake_hex("3c000000 42445443 01000000 00000000 07000000 010000f0 00000000 01000000"
					"23000000 00000000 00000000 00000000 00000000 00000000 00000000");
	int many = fake_connect(), single = fake_connect();
	uint8_t *burst = talloc_size(fake, 1000 * one.len);
	uint64_t before = fake->dbd->clients->count.received;

	for (uint32_t i = 0; i < 1000; i++) {
		memcpy(burst + i * one.len, one.data, one.len);
		poke_u32(burst + i * one.len + 28, i);
	}
	assert_int_equal(write(many, burst, 1000 * one.len), 1000 * one.len);
	assert_int_equal(write(single, one.data, one.len), one.len);
	fake_until(can_read, &single);
	assert_true(fake->dbd->clients->count.received - before < 300);
	assert_int_equal(fake_reply(single, 1).status, 0);
	for (uint32_t i = 0; i < 1000; i++) {
		assert_int_equal(fake_reply(many, i).status, 0);
	}
	close(many);
	close(single);
}

static void test_large_packet(void **state)
{
	size_t len = 900 * 1024;
	uint8_t *echo = talloc_zero_size(fake, 8 + len);
	int fd = fake_connect();
	struct fake_reply r;

	poke_u32(echo + 4, (uint32_t)len);
	for (size_t i = 0; i < len; i++) {
		echo[8 + i] = (uint8_t)(i * 7);
	}
	r = fake_ask(fd, CLASSIC_CONTROL_ECHO_DATA, echo, 8 + len);
	assert_int_equal(r.status, 0);
	assert_int_equal(r.data.len, 8 + len);
	assert_memory_equal(r.data.data, echo, 8 + len);
	close(fd);
}

/* A client that asks but does not read is disconnected when its queue is full; the daemon's memory stays bounded. */
static void test_queue_limit(void **state)
{
	size_t echo = 64 * 1024, len = 60 + 8 + echo, done = 0, most = 0, sum = 0;
	uint8_t *p = talloc_zero_size(fake, len);
	int fd = fake_connect(), other = fake_connect();
	struct client *c = dlist_entry(dlist_first(&fake->dbd->clients->list), struct client, link);
	struct mono end = mono_add_ms(mono_now(), WAIT_MS);

	poke_u32(p, (uint32_t)len);
	poke_u32(p + 4, CLASSIC_MAGIC);
	poke_u32(p + 8, CLASSIC_VERSION);
	poke_u32(p + 16, CLASSIC_REQ_CONTROL);
	poke_u32(p + 20, CLASSIC_NODE_CURRENT);
	poke_u32(p + 32, CLASSIC_CONTROL_ECHO_DATA);
	poke_u32(p + 56, (uint32_t)(8 + echo));
	poke_u32(p + 64, (uint32_t)echo);
	/* Whole packets only, so that nothing but the queue ends the connection. */
	while (fake->dbd->clients->n == 2) {
		ssize_t n = send(fd, p + done, len - done, MSG_NOSIGNAL);

		assert_true(mono_before(mono_now(), end));
		if (n > 0) {
			done = (done + (size_t)n) % len;
			sum += (size_t)n;
		}
		fake_turns(1);
		if (fake->dbd->clients->n == 2 && c->out_bytes > most) {
			most = c->out_bytes;
		}
	}
	assert_true(most > 3 * 1024 * 1024 && most <= 4 * 1024 * 1024 && sum > most);
	assert_int_equal(fake_ask(other, CLASSIC_CONTROL_GET_PNN, NULL, 0).status, 0);
	close(fd);
	close(other);
}

/* ---- messages ---- */

static void send_message(int fd, uint32_t dest, uint64_t srvid, const char *text)
{
	uint8_t p[128] = {0};
	size_t len = strlen(text);

	poke_u32(p, (uint32_t)(44 + len));
	poke_u32(p + 4, CLASSIC_MAGIC);
	poke_u32(p + 8, CLASSIC_VERSION);
	poke_u32(p + 16, CLASSIC_REQ_MESSAGE);
	poke_u32(p + 20, dest);
	poke_u64(p + 32, srvid);
	poke_u32(p + 40, (uint32_t)len);
	memcpy(p + 44, text, len);
	fake_write(fd, p, 44 + len);
}

static int32_t registration(int fd, uint32_t opcode, uint64_t srvid)
{
	fake_control(fd, opcode, CLASSIC_NODE_CURRENT, 0, srvid, 1, NULL, 0);
	return fake_reply(fd, 1).status;
}

static void test_message(void **state)
{
	int fd = fake_connect(), all = fake_connect();
	uint64_t srvid = 0xAE00000000000042ULL;

	assert_int_equal(registration(fd, CLASSIC_CONTROL_REGISTER_SRVID, srvid), 0);
	assert_int_equal(registration(all, CLASSIC_CONTROL_REGISTER_SRVID, CLASSIC_SRVID_ALL), 0);
	send_hex(fd, "2e000000 42445443 01000000 00000000 05000000 010000f0 00000000 00000000"
		     "42000000 000000ae 02000000 6869");
	fake_expect(fake_read(fd), "30000000 42445443 01000000 c047a803 05000000 00000000 00000000 00000000"
				   "42000000 000000ae 02000000 68690000");
	fake_expect(fake_read(all), "30000000 42445443 01000000 c047a803 05000000 00000000 00000000 00000000"
				    "42000000 000000ae 02000000 68690000");
	/* To the address of all: once, to those who listen to it. */
	send_message(fd, CLASSIC_NODE_CURRENT, CLASSIC_SRVID_ALL, "x");
	assert_int_equal(peek_u64(fake_read(all).data + 32), CLASSIC_SRVID_ALL);
	assert_true(fake_silent(all) && fake_silent(fd));
	/* Two registrations deliver twice. */
	assert_int_equal(registration(fd, CLASSIC_CONTROL_REGISTER_SRVID, srvid), 0);
	send_message(all, 0, srvid, "y");
	(void)fake_read(fd);
	(void)fake_read(fd);
	assert_int_equal(registration(fd, CLASSIC_CONTROL_DEREGISTER_SRVID, srvid), 0);
	assert_int_equal(registration(fd, CLASSIC_CONTROL_DEREGISTER_SRVID, srvid), 0);
	assert_int_equal(registration(fd, CLASSIC_CONTROL_DEREGISTER_SRVID, srvid), ENOENT);
	send_message(all, 0, srvid, "z");
	assert_true(fake_silent(fd));
	close(fd);
	close(all);
}

static void expect_sent(uint32_t i, uint32_t to, uint64_t srvid, const char *text)
{
	struct lane_message m;

	assert_true(i < fake->n_sent);
	assert_int_equal(fake->sent[i].to, to);
	assert_int_equal(fake->sent[i].proc, LANE_PROC_MESSAGE);
	assert_int_equal(lane_message_decode(fake, fake->sent[i].buf.data, fake->sent[i].buf.len, &m), 0);
	assert_int_equal(m.srvid, srvid);
	assert_int_equal(m.data.len, strlen(text));
	assert_memory_equal(m.data.data, text, strlen(text));
}

static void test_broadcast(void **state)
{
	int fd = fake_connect();

	assert_int_equal(registration(fd, CLASSIC_CONTROL_REGISTER_SRVID, 7), 0);
	for (uint32_t dest = CLASSIC_NODE_ALL; dest <= CLASSIC_NODE_CONNECTED; dest++) {
		send_message(fd, dest, 7, "hello");
		assert_memory_equal(fake_read(fd).data + 44, "hello", 5);
	}
	assert_int_equal(fake->n_sent, 3);
	expect_sent(2, 1, 7, "hello");
	/* A stopped node is connected, not active. */
	fake->flags[1] = CLASSIC_NODE_FLAG_STOPPED;
	send_message(fd, CLASSIC_NODE_ACTIVE, 7, "a");
	send_message(fd, CLASSIC_NODE_CONNECTED, 7, "c");
	(void)fake_read(fd);
	(void)fake_read(fd);
	assert_int_equal(fake->n_sent, 4);
	expect_sent(3, 1, 7, "c");
	/* Nodes that do not exist, destinations without meaning: lost without harm. */
	send_message(fd, 200, 7, "n");
	send_message(fd, CLASSIC_NODE_MULTICAST, 7, "n");
	send_message(fd, 2, 7, "n");
	assert_true(fake_silent(fd));
	assert_int_equal(fake->n_sent, 4);
	close(fd);
}

static void test_message_from_node(void **state)
{
	uint8_t text[] = "remote";
	struct lane_message m = {.srvid = 99, .data = {.len = 6, .data = text}};
	int fd = fake_connect();

	assert_int_equal(registration(fd, CLASSIC_CONTROL_REGISTER_SRVID, 99), 0);
	srvids_on_message(fake->dbd->srvids, 1, &m);
	assert_memory_equal(fake_read(fd).data + 44, "remote", 6);
	close(fd);
}

static bool have_sent(void *priv)
{
	return fake->n_sent == *(const uint32_t *)priv;
}

/* Who floods a link that does not keep up is not read until it does, and nothing of what it says is lost. Others are
 * served. */
static void test_link_is_slow(void **state)
{
	int fd = fake_connect(), other = fake_connect();
	uint32_t one = 1, three = 3;

	fake->up[1] = true;
	fake->lane_bytes = LANE_HIGH;
	send_message(fd, 1, 7, "a");
	send_message(fd, 1, 7, "b");
	fake_until(have_sent, &one);
	send_message(fd, 1, 7, "c");
	fake->lane_bytes = LANE_LOW;
	assert_int_equal(registration(other, CLASSIC_CONTROL_REGISTER_SRVID, 99), 0);
	fake_turns(20);
	assert_int_equal(fake->n_sent, 1);
	fake->lane_bytes = LANE_LOW - 1;
	fake_until(have_sent, &three);
	for (uint32_t i = 0; i < 3; i++) {
		struct lane_message m;

		assert_int_equal(lane_message_decode(fake, fake->sent[i].buf.data, fake->sent[i].buf.len, &m), 0);
		assert_int_equal(m.data.data[0], "abc"[i]);
	}
	close(fd);
	close(other);
}

/* It goes while it is held. */
static void test_link_is_slow_and_client_goes(void **state)
{
	int fd = fake_connect(), other = fake_connect();
	uint32_t one = 1;

	fake->up[1] = true;
	fake->lane_bytes = LANE_HIGH;
	send_message(fd, 1, 7, "a");
	fake_until(have_sent, &one);
	close(fd);
	assert_int_equal(registration(other, CLASSIC_CONTROL_REGISTER_SRVID, 99), 0);
	fake->lane_bytes = 0;
	close(other);
	fake_turns(20);
}

static bool heard_of_leader(void *priv)
{
	struct ctdb_blob b = fake_read(*(int *)priv);

	return peek_u64(b.data + 32) == CLASSIC_SRVID_LEADER && peek_u32(b.data + 44) == 1;
}

static void test_leader_message(void **state)
{
	int fd = fake_connect();

	fake->leader = 1;
	assert_int_equal(registration(fd, CLASSIC_CONTROL_REGISTER_SRVID, CLASSIC_SRVID_LEADER), 0);
	fake_until(heard_of_leader, &fd);
	close(fd);
}

static void test_notify(void **state)
{
	uint8_t arg[16] = {0};
	int fd = fake_connect(), other = fake_connect();
	struct ctdb_blob b;

	poke_u64(arg, CLASSIC_SRVID_SAMBA_NOTIFY);
	poke_u32(arg + 8, 4);
	memcpy(arg + 12, "gone", 4);
	assert_int_equal(registration(other, CLASSIC_CONTROL_REGISTER_SRVID, CLASSIC_SRVID_SAMBA_NOTIFY), 0);
	assert_int_equal(fake_ask(fd, CLASSIC_CONTROL_REGISTER_NOTIFY, arg, 15).status, -1);
	assert_int_equal(fake_ask(fd, CLASSIC_CONTROL_REGISTER_NOTIFY, arg, 16).status, 0);
	assert_int_equal(fake_ask(fd, CLASSIC_CONTROL_REGISTER_NOTIFY, arg, 16).status, -1);
	assert_int_equal(fake_ask(fd, CLASSIC_CONTROL_DEREGISTER_NOTIFY, arg, 8).status, 0);
	assert_int_equal(fake_ask(fd, CLASSIC_CONTROL_DEREGISTER_NOTIFY, arg, 8).status, -1);
	assert_int_equal(fake_ask(fd, CLASSIC_CONTROL_REGISTER_NOTIFY, arg, 16).status, 0);
	close(fd);
	b = fake_read(other);
	assert_int_equal(peek_u64(b.data + 32), CLASSIC_SRVID_SAMBA_NOTIFY);
	assert_memory_equal(b.data + 44, "gone", 4);
	expect_sent(0, 1, CLASSIC_SRVID_SAMBA_NOTIFY, "gone");
	close(other);
}

/* ---- tunnels ---- */

static void send_tunnel(int fd, uint32_t dest, uint64_t id, uint32_t flags, const char *text)
{
	uint8_t p[128] = {0};
	size_t len = strlen(text);

	poke_u32(p, (uint32_t)(48 + len));
	poke_u32(p + 4, CLASSIC_MAGIC);
	poke_u32(p + 8, CLASSIC_VERSION);
	poke_u32(p + 16, CLASSIC_REQ_TUNNEL);
	poke_u32(p + 20, dest);
	poke_u64(p + 32, id);
	poke_u32(p + 40, flags);
	poke_u32(p + 44, (uint32_t)len);
	memcpy(p + 48, text, len);
	fake_write(fd, p, 48 + len);
}

static void test_tunnel(void **state)
{
	uint64_t id = CLASSIC_TUNNEL_TEST | 5;
	int fd = fake_connect(), other = fake_connect();
	struct lane_control m;
	struct ctdb_blob b;

	send_tunnel(other, 0, id, 1, "dropped");
	assert_int_equal(registration(fd, CLASSIC_CONTROL_TUNNEL_REGISTER, id), 0);
	assert_int_equal(registration(other, CLASSIC_CONTROL_TUNNEL_REGISTER, id), -1);
	assert_int_equal(registration(other, CLASSIC_CONTROL_TUNNEL_DEREGISTER, id), -1);
	send_tunnel(other, 0, id, CLASSIC_TUNNEL_FLAG_REQUEST, "local");
	b = fake_read(fd);
	assert_int_equal(b.len, 56);
	assert_int_equal(peek_u32(b.data + 16), CLASSIC_REQ_TUNNEL);
	assert_int_equal(peek_u64(b.data + 32), id);
	assert_int_equal(peek_u32(b.data + 40), CLASSIC_TUNNEL_FLAG_REQUEST);
	assert_memory_equal(b.data + 48, "local", 5);
	send_tunnel(fd, CLASSIC_NODE_CURRENT, id, 1, "refused");
	send_tunnel(fd, CLASSIC_NODE_ALL, id, 1, "refused");
	assert_true(fake_silent(fd));
	/* To another node and back: what we send is what we take. */
	send_tunnel(fd, 1, id, 3, "remote");
	assert_true(fake_silent(fd));
	assert_int_equal(fake->n_sent, 1);
	assert_int_equal(lane_control_decode(fake, fake->sent[0].buf.data, fake->sent[0].buf.len, &m), 0);
	controls_on_control(fake->dbd->clients, 1, &m);
	b = fake_read(fd);
	assert_int_equal(peek_u32(b.data + 40), 3);
	assert_memory_equal(b.data + 48, "remote", 6);
	close(fd);
	close(other);
}

/* ---- the socket ---- */

static void test_socket(void **state)
{
	struct dbd second = *fake->dbd;
	const char *path = fake->dbd->d->conf->path.socket;
	struct clients *cs;
	struct stat st;
	char *err = NULL;

	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	/* Served already. */
	assert_int_equal(clients_new(fake, &second, &cs, &err), EADDRINUSE);
	assert_non_null(strstr(err, path));
	assert_int_equal(stat(path, &st), 0);
	/* Something else is there. */
	fake->dbd->d->conf->path.socket = talloc_asprintf(fake, "%s/file", fake->dir);
	fclose(fopen(fake->dbd->d->conf->path.socket, "w"));
	assert_int_equal(clients_new(fake, &second, &cs, &err), EEXIST);
	assert_non_null(strstr(err, "file"));
	/* A directory that does not exist. */
	fake->dbd->d->conf->path.socket = talloc_asprintf(fake, "%s/none/socket", fake->dir);
	assert_int_equal(clients_new(fake, &second, &cs, &err), ENOENT);
	assert_non_null(strstr(err, "none/socket"));
}

static void test_stale_socket(void **state)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	struct dbd second = *fake->dbd;
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	struct clients *cs;
	char *err = NULL;

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/stale", fake->dir);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	close(fd);
	fake->dbd->d->conf->path.socket = talloc_strdup(fake, addr.sun_path);
	assert_int_equal(clients_new(fake, &second, &cs, &err), 0);
	fd = fake_connect_to(&second);
	close(fd);
	talloc_free(cs);
	assert_int_equal(access(addr.sun_path, F_OK), -1);
}

/* The daemon ends while requests are under way: links and view go first, as they were made last. */
static void test_end_with_requests(void **state)
{
	struct dbd *dbd = fake->dbd;
	uint8_t notify[12] = {1}, traverse[16] = {0};
	int fd = fake_connect();
	struct db *db = fake_db("locking.tdb", 0);

	assert_int_equal(fake_ask(fd, CLASSIC_CONTROL_REGISTER_NOTIFY, notify, 12).status, 0);
	poke_u32(traverse, db->id);
	assert_int_equal(fake_ask(fd, CLASSIC_CONTROL_TRAVERSE_START, traverse, 16).status, 0);
	fake_control(fd, CLASSIC_CONTROL_DB_ATTACH, CLASSIC_NODE_CURRENT, 0, 0, 1, "new.tdb", 8);
	fake_control(fd, CLASSIC_CONTROL_PING, 1, 0, 0, 2, NULL, 0);
	send_call(fd, 3, CLASSIC_CALLID_NULL, 0, db->id);
	fake_until(have_call, NULL);
	fake->n_sent = 0;
	talloc_free(dbd->clients);
	assert_int_equal(fake->n_sent, 0);
	assert_int_equal(fake->cancelled, 1);
	talloc_free(dbd->attaches);
	assert_int_equal(attaches_new(dbd, dbd, &dbd->attaches), 0);
	close(fd);
	/* For the end of the test. */
	char *err = NULL;
	assert_int_equal(clients_new(dbd, dbd, &dbd->clients, &err), 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, fake_setup, fake_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_greeting),
		TEST(test_tool_and_disconnected_node),
		TEST(test_call),
		TEST(test_fetch),
		TEST(test_call_errors),
		TEST(test_call_of_gone_client),
		TEST(test_malformed),
		TEST(test_mutations),
		TEST(test_good_then_bad),
		TEST(test_pieces),
		TEST(test_burst),
		TEST(test_large_packet),
		TEST(test_queue_limit),
		TEST(test_message),
		TEST(test_broadcast),
		TEST(test_message_from_node),
		TEST(test_link_is_slow),
		TEST(test_link_is_slow_and_client_goes),
		TEST(test_leader_message),
		TEST(test_notify),
		TEST(test_tunnel),
		TEST(test_socket),
		TEST(test_stale_socket),
		TEST(test_end_with_requests),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
