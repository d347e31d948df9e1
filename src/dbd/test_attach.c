/* Attaching databases: rounds over the members, recoveries in between, refusals. */
#include "test_fake.h"
#include "dbd/attach.h"
#include "protocol/lane_rpc.h"

#include <errno.h>
#include <unistd.h>

static void send_attach(int fd, uint32_t opcode, const char *name, uint32_t flags, uint32_t reqid)
{
	fake_control(fd, opcode, CLASSIC_NODE_CURRENT, flags, 0, reqid, name, strlen(name) + 1);
}

static bool has_sent(void *priv)
{
	return fake->n_sent == *(uint32_t *)priv;
}

static struct lane_attach sent_attach(uint32_t i)
{
	struct lane_attach m;

	assert_true(i < fake->n_sent);
	assert_int_equal(fake->sent[i].proc, LANE_PROC_ATTACH);
	assert_int_equal(fake->sent[i].to, 1);
	assert_int_equal(lane_attach_decode(fake, fake->sent[i].buf.data, fake->sent[i].buf.len, &m), 0);
	return m;
}

static void node_answers(uint64_t id, uint32_t from, uint32_t status)
{
	attaches_on_reply(fake->dbd->attaches, from, &(struct lane_attach_reply){.id = id, .status = status});
}

static void test_new_database(void **state)
{
	int fd = fake_connect(), other = fake_connect();
	struct fake_reply r;
	struct lane_attach m;
	struct db *db;
	uint32_t one = 1;

	send_attach(fd, CLASSIC_CONTROL_DB_ATTACH_PERSISTENT, "secrets.tdb", 0, 1);
	fake_until(has_sent, &one);
	m = sent_attach(0);
	assert_string_equal(m.name, "secrets.tdb");
	assert_int_equal(m.flags, DB_PERSISTENT);
	assert_int_equal(m.db_id, 0x7132C184);
	db = db_find(NULL, m.db_id);
	assert_int_equal(db->generation, FAKE_GENERATION);
	assert_int_equal(fake->attached, 1);
	/* A second client joins the round. */
	send_attach(other, CLASSIC_CONTROL_DB_ATTACH, "secrets.tdb", 0, 2);
	assert_true(fake_silent(other) && fake_silent(fd));
	assert_int_equal(fake->n_sent, 1);
	node_answers(m.id, 2, 0);
	assert_false(db->everywhere);
	node_answers(m.id, 1, 0);
	r = fake_reply(fd, 1);
	assert_int_equal(r.status, 0);
	assert_int_equal(peek_u32(r.data.data), 0x7132C184);
	assert_int_equal(fake_reply(other, 2).status, 0);
	assert_true(db->everywhere);
	/* From now on at once. */
	send_attach(fd, CLASSIC_CONTROL_DB_ATTACH, "secrets.tdb", 0, 3);
	assert_int_equal(fake_reply(fd, 3).status, 0);
	assert_int_equal(fake->n_sent, 1);
	close(fd);
	close(other);
}

static void test_refused(void **state)
{
	int fd = fake_connect();
	char zero[4] = {'a', 0, 'b', 0};
	uint8_t tunable[64] = {0};

	/* No name, no NUL, a NUL inside, too long. */
	assert_int_equal(fake_ask(fd, CLASSIC_CONTROL_DB_ATTACH, NULL, 0).status, -1);
	assert_int_equal(fake_ask(fd, CLASSIC_CONTROL_DB_ATTACH, "", 1).status, -1);
	assert_int_equal(fake_ask(fd, CLASSIC_CONTROL_DB_ATTACH, "abc", 3).status, -1);
	assert_int_equal(fake_ask(fd, CLASSIC_CONTROL_DB_ATTACH, zero, 4).status, -1);
	assert_int_equal(fake_ask(fd, CLASSIC_CONTROL_DB_ATTACH, talloc_zero_size(fake, 300), 300).status, -1);
	/* Another model. */
	fake_db("vol.tdb", 0);
	send_attach(fd, CLASSIC_CONTROL_DB_ATTACH_PERSISTENT, "vol.tdb", 0, 5);
	assert_int_equal(fake_reply(fd, 5).status, -1);
	/* What only a recovery may do. */
	send_attach(fd, CLASSIC_CONTROL_DB_ATTACH, "vol.tdb", CLASSIC_CTRL_FLAG_ATTACH_RECOVERY, 6);
	assert_int_equal(fake_reply(fd, 6).status, -1);
	fake->fenced = true;
	send_attach(fd, CLASSIC_CONTROL_DB_ATTACH, "vol.tdb", 0, 7);
	assert_int_equal(fake_reply(fd, 7).status, -1);
	fake->fenced = false;
	poke_u32(tunable + 4, 20);
	memcpy(tunable + 8, "AllowClientDBAttach", 20);
	assert_int_equal(fake_ask(fd, CLASSIC_CONTROL_SET_TUNABLE, tunable, 28).status, 0);
	send_attach(fd, CLASSIC_CONTROL_DB_ATTACH, "vol.tdb", 0, 8);
	assert_int_equal(fake_reply(fd, 8).status, -1);
	close(fd);
}

static void test_deferred(void **state)
{
	int fd = fake_connect(), gone = fake_connect();

	fake_db("one.tdb", 0);
	fake->normal = false;
	send_attach(gone, CLASSIC_CONTROL_DB_ATTACH, "one.tdb", 0, 9);
	send_attach(fd, CLASSIC_CONTROL_DB_ATTACH, "one.tdb", 0, 1);
	assert_true(fake_silent(fd));
	close(gone);
	/* Served meanwhile: the greeting. */
	assert_int_equal(fake_ask(fd, CLASSIC_CONTROL_GET_NODEMAP, NULL, 0).status, 0);
	fake->normal = true;
	clients_recovery_ended(fake->dbd->clients);
	assert_int_equal(fake_reply(fd, 1).status, 0);
	/* Not for ever. */
	fake->normal = false;
	fake->dbd->d->conf->database.attach_timeout = 30;
	send_attach(fd, CLASSIC_CONTROL_DB_ATTACH, "one.tdb", 0, 2);
	assert_int_equal(fake_reply(fd, 2).status, -1);
	clients_recovery_ended(fake->dbd->clients);
	assert_true(fake_silent(fd));
	close(fd);
}

/* The round is cut by a recovery or by a lost node: the attach goes on when it is over. */
static void test_round_cut(void **state)
{
	int fd = fake_connect();
	uint32_t n = 1;

	send_attach(fd, CLASSIC_CONTROL_DB_ATTACH, "one.tdb", 0, 1);
	fake_until(has_sent, &n);
	fake->normal = false;
	clients_recovery_began(fake->dbd->clients);
	node_answers(sent_attach(0).id, 1, 0);
	assert_true(fake_silent(fd));
	fake->normal = true;
	clients_recovery_ended(fake->dbd->clients);
	assert_int_equal(fake->n_sent, 2);
	attaches_node_lost(fake->dbd->attaches, 2);
	attaches_node_lost(fake->dbd->attaches, 1);
	node_answers(sent_attach(1).id, 1, 0);
	assert_true(fake_silent(fd));
	/* The recovery has attached it everywhere. */
	db_find(NULL, sent_attach(0).db_id)->everywhere = true;
	clients_recovery_ended(fake->dbd->clients);
	assert_int_equal(fake_reply(fd, 1).status, 0);
	assert_int_equal(fake->n_sent, 2);
	/* The link is down, the recovery not here yet. */
	fake->up[1] = false;
	send_attach(fd, CLASSIC_CONTROL_DB_ATTACH, "two.tdb", 0, 2);
	assert_true(fake_silent(fd));
	fake->flags[1] = CLASSIC_NODE_FLAG_DISCONNECTED;
	clients_recovery_ended(fake->dbd->clients);
	assert_int_equal(fake_reply(fd, 2).status, 0);
	close(fd);
}

static void test_round_fails(void **state)
{
	int fd = fake_connect();
	uint32_t n = 1;

	send_attach(fd, CLASSIC_CONTROL_DB_ATTACH, "one.tdb", 0, 1);
	fake_until(has_sent, &n);
	node_answers(sent_attach(0).id, 1, ENOSPC);
	assert_int_equal(fake_reply(fd, 1).status, -1);
	fake->dbd->d->conf->database.control_timeout = 30;
	send_attach(fd, CLASSIC_CONTROL_DB_ATTACH, "one.tdb", 0, 2);
	assert_int_equal(fake_reply(fd, 2).status, -1);
	/* The next one tries again. */
	fake->dbd->d->conf->database.control_timeout = 60000;
	n = 3;
	send_attach(fd, CLASSIC_CONTROL_DB_ATTACH, "one.tdb", 0, 3);
	fake_until(has_sent, &n);
	node_answers(sent_attach(2).id, 1, 0);
	assert_int_equal(fake_reply(fd, 3).status, 0);
	close(fd);
}

/* ---- for another node ---- */

static uint32_t sent_status(uint32_t i)
{
	struct lane_attach_reply r;

	assert_true(i < fake->n_sent);
	assert_int_equal(fake->sent[i].proc, LANE_PROC_ATTACH_REPLY);
	assert_int_equal(lane_attach_reply_decode(fake, fake->sent[i].buf.data, fake->sent[i].buf.len, &r), 0);
	return r.status;
}

/* Flags of a database travel with an attach, both ways. */
static void test_flags_travel(void **state)
{
	char name[] = "flags.tdb";
	struct lane_attach m = {.id = 4, .flags = DB_READONLY, .name = name};
	struct lane_attach_reply r;
	int fd = fake_connect();
	uint32_t n = 2;
	struct db *db;

	attaches_on_attach(fake->dbd->attaches, 1, &m);
	db = dlist_entry(dlist_first(dbs_list(NULL)), struct db, link);
	assert_int_equal(db->flags, DB_READONLY);
	assert_int_equal(attach_add_flags(db, DB_STICKY | DB_PERSISTENT | 0x10), 0);
	assert_int_equal(db->flags, DB_READONLY | DB_STICKY);
	/* A second asker hears of both. */
	m.flags = 0;
	attaches_on_attach(fake->dbd->attaches, 1, &m);
	assert_int_equal(lane_attach_reply_decode(fake, fake->sent[1].buf.data, fake->sent[1].buf.len, &r), 0);
	assert_int_equal(r.flags, DB_READONLY | DB_STICKY);
	/* And we tell ours when we ask, and take theirs. */
	send_attach(fd, CLASSIC_CONTROL_DB_ATTACH, "flags.tdb", 0, 1);
	n = 3;
	fake_until(has_sent, &n);
	assert_int_equal(sent_attach(2).flags, DB_READONLY | DB_STICKY);
	node_answers(sent_attach(2).id, 1, 0);
	assert_int_equal(fake_reply(fd, 1).status, 0);
	send_attach(fd, CLASSIC_CONTROL_DB_ATTACH, "other.tdb", 0, 2);
	n = 4;
	fake_until(has_sent, &n);
	attaches_on_reply(fake->dbd->attaches, 1,
			  &(struct lane_attach_reply){.id = sent_attach(3).id, .flags = DB_STICKY});
	assert_int_equal(fake_reply(fd, 2).status, 0);
	assert_int_equal(db_find(NULL, sent_attach(3).db_id)->flags, DB_STICKY);
	close(fd);
}

static void test_for_node(void **state)
{
	char name[] = "one.tdb";
	struct lane_attach m = {.id = 4, .flags = 0, .name = name};
	struct db *db;

	attaches_on_attach(fake->dbd->attaches, 1, &m);
	assert_int_equal(sent_status(0), 0);
	db = dlist_entry(dlist_first(dbs_list(NULL)), struct db, link);
	assert_string_equal(db->name, "one.tdb");
	assert_int_equal(db->generation, FAKE_GENERATION);
	assert_false(db->everywhere);
	m.flags = DB_PERSISTENT;
	attaches_on_attach(fake->dbd->attaches, 1, &m);
	assert_int_equal(sent_status(1), EINVAL);
}

/* The asker heard of the end of the recovery before us: it gets its answer when the database is usable here. */
static void test_for_node_behind(void **state)
{
	char name[] = "late.tdb";
	struct lane_attach m = {.id = 4, .flags = 0, .name = name};

	fake->normal = false;
	attaches_on_attach(fake->dbd->attaches, 1, &m);
	memset(name, 'x', 4);
	assert_int_equal(fake->n_sent, 0);
	assert_int_equal(dbs_count(NULL), 0);
	fake->normal = true;
	clients_recovery_ended(fake->dbd->clients);
	assert_int_equal(sent_status(0), 0);
	assert_string_equal(dlist_entry(dlist_first(dbs_list(NULL)), struct db, link)->name, "late.tdb");
	assert_int_equal(fake->attached, 1);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, fake_setup, fake_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_new_database), TEST(test_refused),  TEST(test_deferred),        TEST(test_round_cut),
		TEST(test_round_fails),  TEST(test_for_node), TEST(test_for_node_behind), TEST(test_flags_travel),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
