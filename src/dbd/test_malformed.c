/* Malformed input at the client socket: every declared structure, damaged in every way that has ever gone wrong, to
 * every control and every operation. */
#include "test_fake.h"
#include "dbd/control.h"
#include "protocol/classic_table.h"
#include "shared/msg.h"

#include <errno.h>
#include <unistd.h>

#define PAYLOAD_MAX 2048U /* of a valid structure that is damaged */
#define WORDS_MAX   16U   /* of its first words are damaged */
#define CUTS_MAX    80U

/* Counts and lengths: too small, off by one, beyond what is there, and such that a multiplication by the size of an
 * element (4 to 56) overflows. */
static const uint32_t bad_words[] = {0,          1,          2,          0x7FFFFFFF, 0x80000000, 0xFFFFFFFF,
				     0xFFFFFFFE, 0xFFFFFFF0, 0xFFFFFFE8, 0x40000000, 0x40000001, 0x20000000,
				     0x20000001, 0x10000001, 0x0AAAAAAB, 0x071C71C8, 0x04924925, 0x04000001};

static uint32_t volatile_id, persistent_id;

/* ---- sending without a wait for the answers ---- */

static struct {
	int fd;
	uint8_t buf[256 * 1024];
	size_t len;
	uint64_t packets;
} out;

static void flush(void)
{
	fake_write(out.fd, out.buf, out.len);
	out.len = 0;
}

static uint8_t *packet(uint32_t op, size_t body)
{
	uint8_t *p;

	if (out.len + 32 + body > sizeof(out.buf)) {
		flush();
	}
	p = out.buf + out.len;
	memset(p, 0, 32 + body);
	poke_u32(p, (uint32_t)(32 + body));
	poke_u32(p + 4, CLASSIC_MAGIC);
	poke_u32(p + 8, CLASSIC_VERSION);
	poke_u32(p + 16, op);
	poke_u32(p + 20, CLASSIC_NODE_CURRENT);
	out.len += 32 + body;
	out.packets++;
	return p + 32;
}

static void put_control(uint32_t opcode, const uint8_t *data, size_t len)
{
	uint8_t *p = packet(CLASSIC_REQ_CONTROL, 28 + len);

	poke_u32(p, opcode);
	poke_u32(p + 20, CLASSIC_CTRL_FLAG_NOREPLY);
	poke_u32(p + 24, (uint32_t)len);
	memcpy(p + 28, data, len);
}

static void put_message(uint64_t srvid, const uint8_t *data, size_t len)
{
	uint8_t *p = packet(CLASSIC_REQ_MESSAGE, 12 + len);

	poke_u64(p, srvid);
	poke_u32(p + 8, (uint32_t)len);
	memcpy(p + 12, data, len);
}

/* ---- the world ---- */

/* Some may have been detached or frozen by what came. */
static void make_databases(void)
{
	volatile_id = fake_db("malformed_v.tdb", 0)->id;
	persistent_id = fake_db("malformed_p.tdb", DB_PERSISTENT)->id;
}

static int setup(void **state)
{
	struct daemon *d;
	char *err = NULL, *dir;

	assert_int_equal(fake_setup(state), 0);
	fake->flood = fake->answer_at_once = true;
	d = fake->dbd->d;
	dir = talloc_asprintf(fake, "%s/msg", fake->dir);
	assert_int_equal(msg_open(d, d->ev, dir, "db", d->pnn, NULL, &d->msg, &err), 0);
	make_databases();
	out.fd = fake_connect();
	out.len = 0;
	return 0;
}

static int teardown(void **state)
{
	close(out.fd);
	clients_disconnect_all(fake->dbd->clients, "end of test");
	fake_turns(3);
	return fake_teardown(state);
}

/* Everything that was sent is worked off, the connection lives, and a valid request is answered. */
static void expect_alive(void)
{
	int fd;

	flush();
	(void)fake_ask(out.fd, CLASSIC_CONTROL_PING, NULL, 0); /* fails the test if the connection was closed */
	fd = fake_connect();
	assert_int_equal(fake_ask(fd, CLASSIC_CONTROL_GET_PNN, NULL, 0).status, fake->dbd->d->pnn);
	close(fd);
}

/* ---- damage ---- */

typedef void (*use_fn)(const uint8_t *data, size_t len);

static void word_at(uint8_t *p, size_t len, size_t at, use_fn use)
{
	uint32_t good = peek_u32(p + at);

	for (size_t i = 0; i < sizeof(bad_words) / sizeof(bad_words[0]); i++) {
		poke_u32(p + at, bad_words[i]);
		use(p, len);
	}
	for (uint32_t around = 0; around < 3; around++) {
		poke_u32(p + at, good + around - 1);
		use(p, len);
		poke_u32(p + at, (uint32_t)len + around - 1);
		use(p, len);
	}
	poke_u32(p + at, good);
}

/* p has room for one byte more than len. */
static void damage(uint8_t *p, size_t len, use_fn use)
{
	use(p, len);
	for (size_t at = 0; at + 4 <= len && at < 4 * WORDS_MAX; at += 4) {
		word_at(p, len, at, use);
	}
	for (size_t cut = 0; cut < len && cut < CUTS_MAX; cut++) {
		use(p, cut);
		use(p, len - cut - 1);
	}
	p[len] = 0xA5;
	use(p, len + 1);
	if (len > 0) { /* the terminator, if the last is one */
		p[len - 1] ^= 0xFF;
		use(p, len);
		p[len - 1] ^= 0xFF;
	}
}

/* ---- every structure to every control ---- */

/* What would end the test, or fill its log. */
static bool left_out(uint32_t opcode)
{
	return opcode == CLASSIC_CONTROL_SHUTDOWN || opcode == CLASSIC_CONTROL_SET_DEBUG ||
	       opcode == CLASSIC_CONTROL_DUMP_MEMORY;
}

static void to_all_controls(const uint8_t *data, size_t len)
{
	static const uint64_t own[] = {CLASSIC_SRVID_TAKEOVER_RUN, CLASSIC_SRVID_DISABLE_TAKEOVER_RUNS,
				       CLASSIC_SRVID_DISABLE_RECOVERIES};

	for (uint32_t opcode = 0; opcode <= CLASSIC_CONTROL_TRAVERSE_START_TOLD; opcode++) {
		const struct control_entry *e = control_lookup(opcode);

		if (e != NULL && !left_out(opcode) && (e->size == CONTROL_ANY_SIZE || e->size == len)) {
			put_control(opcode, data, len);
		}
	}
	for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++) {
		put_message(own[i], data, len);
	}
}

/* A valid one of moderate size; NULL: there was none. */
static uint8_t *valid(const struct gen_type *t, uint64_t *seed, TALLOC_CTX *mem, size_t *len)
{
	for (int i = 0; i < 20; i++) {
		void *v = talloc_zero_size(mem, t->size);
		struct ctdb_blob b;
		uint8_t *copy;

		t->random(seed, v, v);
		if (t->nencode(mem, v, &b) != 0 || b.len > PAYLOAD_MAX) {
			continue;
		}
		copy = talloc_size(mem, b.len + 1);
		memcpy(copy, b.data, b.len);
		*len = b.len;
		return copy;
	}
	return NULL;
}

/* Words that get the value past the first checks: ids of databases, the generation. */
static void aim(uint8_t *p, size_t len, uint32_t first, uint32_t second)
{
	if (len >= 4) {
		poke_u32(p, first);
	}
	if (len >= 8 && second != 0) {
		poke_u32(p + 4, second);
	}
}

static void one_type(const struct gen_type *t, uint64_t *seed)
{
	static const uint32_t generation = FAKE_GENERATION, no_word = 0;
	const uint32_t *const words[][2] = {
		{&volatile_id, &no_word}, {&persistent_id, &no_word}, {&generation, &volatile_id /* PUSH_RECORD */}};
	TALLOC_CTX *mem = talloc_new(fake);
	size_t len = 0;
	uint8_t *p = valid(t, seed, mem, &len);

	assert_non_null(p);
	damage(p, len, to_all_controls);
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		expect_alive();
		make_databases();
		aim(p, len, *words[i][0], *words[i][1]);
		damage(p, len, to_all_controls);
	}
	talloc_free(mem);
	expect_alive();
	make_databases();
}

static void test_structures(void **state)
{
	struct {
		uint32_t value, len;
		char name[20];
	} attach = {0, 20, "AllowClientDBAttach"};
	uint64_t seed = 20260801;
	unsigned n = 0;

	for (const struct gen_type *t = classic_types; t->name != NULL; t++) {
		if (t->nencode == NULL) {
			continue;
		}
		/* The databases that random names make are somebody else's test. */
		assert_int_equal(fake_ask(out.fd, CLASSIC_CONTROL_SET_TUNABLE, &attach, sizeof(attach)).status, 0);
		one_type(t, &seed);
		n++;
	}
	assert_true(n >= 60);
	assert_true(out.packets > 100000);
}

/* ---- every operation ---- */

/* The packet as it is, on a connection of its own: closed, answered or waited for, all are right; the daemon goes on.
 */
static void as_packet(const uint8_t *data, size_t len)
{
	int fd = fake_connect();

	fake_write(fd, data, len);
	fake_turns(1);
	close(fd);
}

static size_t operation(uint8_t *p, uint32_t op)
{
	static const uint8_t call[] = {1, 0, 0, 0, 0, 0, 0, 0, 2, 0,   0,   0xFF, 0,   0,  0,
				       0, 3, 0, 0, 0, 2, 0, 0, 0, 'k', 'e', 'y',  'd', 'a'};
	static const uint8_t message[] = {0x42, 0, 0, 0, 0, 0, 0, 0xAE, 3, 0, 0, 0, 'a', 'b', 'c'};
	static const uint8_t control[] = {23,   0, 0, 0, 0, 0, 0, 0, 0x42, 0, 0, 0, 0, 0, 0,
					  0xAE, 0, 0, 0, 0, 0, 0, 0, 0,    2, 0, 0, 0, 1, 2};
	static const uint8_t tunnel[] = {0x42, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 3, 0, 0, 0, 'a', 'b', 'c'};
	const uint8_t *body = op == CLASSIC_REQ_CALL      ? call
			      : op == CLASSIC_REQ_MESSAGE ? message
			      : op == CLASSIC_REQ_CONTROL ? control
							  : tunnel;
	size_t len = op == CLASSIC_REQ_CALL      ? sizeof(call)
		     : op == CLASSIC_REQ_MESSAGE ? sizeof(message)
		     : op == CLASSIC_REQ_CONTROL ? sizeof(control)
						 : sizeof(tunnel);

	memset(p, 0, 32);
	poke_u32(p, (uint32_t)(32 + len));
	poke_u32(p + 4, CLASSIC_MAGIC);
	poke_u32(p + 8, CLASSIC_VERSION);
	poke_u32(p + 16, op);
	poke_u32(p + 28, 7);
	memcpy(p + 32, body, len);
	if (op == CLASSIC_REQ_CALL) {
		poke_u32(p + 36, volatile_id);
	}
	return 32 + len;
}

static void test_operations(void **state)
{
	static const uint32_t ops[] = {CLASSIC_REQ_CALL, CLASSIC_REQ_MESSAGE, CLASSIC_REQ_CONTROL, CLASSIC_REQ_TUNNEL};
	uint8_t p[256];

	for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++) {
		damage(p, operation(p, ops[i]), as_packet);
		expect_alive();
	}
}

/* A length field that announces more than is allowed is refused at once: nothing is allocated for it. */
static void test_huge_packet(void **state)
{
	static const uint32_t lengths[] = {0x7FFFFFFF, 0xFFFFFFFF, 1024 * 1024 + 1};
	uint8_t p[256];

	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		int fd = fake_connect();

		(void)operation(p, CLASSIC_REQ_CONTROL);
		poke_u32(p, lengths[i]);
		fake_write(fd, p, 32);
		assert_true(fake_eof(fd));
		close(fd);
	}
	expect_alive();
}

/* Keys of no bytes: refused where a record is meant, never a crash. */
static void test_empty_key(void **state)
{
	uint8_t *p = packet(CLASSIC_REQ_CALL, 24);

	poke_u32(p + 4, volatile_id);
	poke_u32(p + 8, CLASSIC_CALLID_FETCH);
	flush();
	assert_int_equal(peek_u32(fake_read(out.fd).data + 28), 0);
	expect_alive();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_structures, setup, teardown),
		cmocka_unit_test_setup_teardown(test_operations, setup, teardown),
		cmocka_unit_test_setup_teardown(test_huge_packet, setup, teardown),
		cmocka_unit_test_setup_teardown(test_empty_key, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
