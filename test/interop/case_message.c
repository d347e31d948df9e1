/* Cases: messages. */
#include "suite.h"

/* What one listener got. */
struct inbox {
	unsigned int n, wanted;
	unsigned int next; /* number that the next message must have */
	uint64_t srvid;
	bool done;
};

static void numbered(void *priv, uint64_t srvid, struct ctdb_data data)
{
	struct inbox *in = priv;

	CHECK(srvid == in->srvid, "srvid %llx", (unsigned long long)srvid);
	CHECK(number(data) == in->next, "message %lu instead of %u", number(data), in->next);
	in->next++;
	in->n++;
	in->done = in->n == in->wanted;
}

static void counted(void *priv, uint64_t srvid, struct ctdb_data data)
{
	struct inbox *in = priv;

	in->srvid = srvid;
	in->n++;
	in->done = in->n == in->wanted;
}

/* Those to one srvid; the leader's, each second, may be among what comes. */
static void counted_one(void *priv, uint64_t srvid, struct ctdb_data data)
{
	struct inbox *in = priv;

	in->n += srvid == in->srvid;
	in->done = in->n == in->wanted;
}

static void post_numbers(struct peer *from, uint32_t node, uint64_t srvid, unsigned int n)
{
	for (unsigned int i = 0; i < n; i++) {
		char text[16];

		snprintf(text, sizeof(text), "%u", i);
		CHECK_OK(from, ctdb_post_message(from->c, node, srvid, bytes(text)));
	}
}

/* Order between one sender and one receiver, on the same node and between nodes. */
static void case_message_order(const struct suite *s)
{
	for (unsigned int to = 0; to < s->n_nodes; to++) {
		struct peer *p = suite_connect(s, 0), *q = suite_connect(s, to);
		struct inbox in = {.wanted = 1000, .srvid = suite_srvid(to)};
		struct ctdb_listener *l = NULL;

		CHECK_OK(q, p_listen(q, in.srvid, numbered, &in, &l));
		post_numbers(p, to, in.srvid, in.wanted);
		if (p->ev == NULL) {
			CHECK_OK(p, ctdb_client_flush(p->c));
		} else {
			suite_settle(p); /* sent by the loop */
		}
		suite_wait(q, &in.done);
		talloc_free(q);
		talloc_free(p);
	}
}

/* Messages to groups of nodes reach the listeners of each, the sender's own node too. */
static void case_message_broadcast(const struct suite *s)
{
	static const uint32_t groups[] = {CTDB_NODES_ALL, CTDB_NODES_ACTIVE, CTDB_NODES_CONNECTED};
	struct peer *p[MAX_NODES];
	struct inbox in[MAX_NODES] = {{0}};
	struct ctdb_listener *l = NULL;

	for (unsigned int i = 0; i < s->n_nodes; i++) {
		p[i] = suite_connect(s, i);
		CHECK_OK(p[i], p_listen(p[i], suite_srvid(1), counted, &in[i], &l));
	}
	for (unsigned int g = 0; g < 3; g++) {
		for (unsigned int i = 0; i < s->n_nodes; i++) {
			in[i] = (struct inbox){.wanted = 1};
		}
		CHECK_OK(p[0], ctdb_post_message(p[0]->c, groups[g], suite_srvid(1), bytes("to all")));
		for (unsigned int i = 0; i < s->n_nodes; i++) {
			suite_wait(p[i], &in[i].done);
			CHECK(in[i].srvid == suite_srvid(1), "%llx", (unsigned long long)in[i].srvid);
		}
	}
	for (unsigned int i = 0; i < s->n_nodes; i++) {
		suite_pause(p[i], 100);
		CHECK(in[i].n == 1, "node %u got %u", i, in[i].n);
		talloc_free(p[i]);
	}
}

/* Only who registered that srvid gets it; two registrations of one client get a copy each; an ended one gets none. */
static void case_message_srvids(const struct suite *s)
{
	struct peer *p = suite_connect(s, 0), *q = suite_connect(s, 0);
	struct inbox one = {.wanted = 2}, other = {.wanted = 1}, twice = {.wanted = 1};
	struct ctdb_listener *l1 = NULL, *l2 = NULL, *l3 = NULL;

	CHECK_OK(p, p_listen(p, suite_srvid(1), counted, &one, &l1));
	CHECK_OK(p, p_listen(p, suite_srvid(1), counted, &twice, &l2));
	CHECK_OK(p, p_listen(p, suite_srvid(2), counted, &other, &l3));
	CHECK_OK(p, ctdb_post_message(p->c, CTDB_NODE_CURRENT, suite_srvid(1), bytes("1")));
	suite_wait(p, &twice.done);
	talloc_free(l2);
	CHECK_OK(p, ctdb_post_message(p->c, CTDB_NODE_CURRENT, suite_srvid(1), bytes("2")));
	suite_wait(p, &one.done);
	CHECK_OK(p, ctdb_post_message(p->c, CTDB_NODE_CURRENT, suite_srvid(3), bytes("nobody")));
	CHECK_OK(p, ctdb_post_message(p->c, CTDB_NODE_CURRENT, suite_srvid(2), bytes("3")));
	suite_wait(p, &other.done);
	CHECK(one.n == 2 && twice.n == 1 && other.n == 1, "%u %u %u", one.n, twice.n, other.n);
	talloc_free(q);
	talloc_free(p);
}

/* A registration for everything. */
static void case_message_all_srvids(const struct suite *s)
{
	struct peer *p = suite_connect(s, 0), *q = suite_connect(s, 0);
	struct inbox in = {.wanted = 1, .srvid = suite_srvid(1)}, probe = {.wanted = 1};
	struct ctdb_listener *l = NULL, *l2 = NULL;

	CHECK_OK(q, p_listen(q, CTDB_SRVID_ALL, counted_one, &in, &l));
	CHECK_OK(p, p_listen(p, suite_srvid(1), counted, &probe, &l2));
	CHECK_OK(p, ctdb_post_message(p->c, CTDB_NODE_CURRENT, suite_srvid(1), bytes("x")));
	suite_wait(p, &probe.done);
	suite_wait(q, &in.done);
	suite_pause(q, 200);
	CHECK(in.n == 1, "%u", in.n);
	talloc_free(q);
	talloc_free(p);
}

static void large_message(void *priv, uint64_t srvid, struct ctdb_data data)
{
	struct inbox *in = priv;
	size_t i;

	for (i = 0; i < data.len && data.data[i] == (uint8_t)(i * 31 + i / 7); i++) {
	}
	CHECK(data.len == 3U << 20 && i == data.len, "%zu bytes, the first %zu as sent", data.len, i);
	in->done = true;
}

static void case_message_large(const struct suite *s)
{
	struct peer *p = suite_connect(s, 0), *q = suite_connect(s, s->n_nodes - 1);
	struct inbox in = {.n = 0};
	struct ctdb_listener *l = NULL;
	size_t len = 3U << 20;
	uint8_t *buf = talloc_array(p, uint8_t, len);

	for (size_t i = 0; i < len; i++) {
		buf[i] = (uint8_t)(i * 31 + i / 7);
	}
	CHECK_OK(q, p_listen(q, suite_srvid(1), large_message, &in, &l));
	CHECK_OK(p, ctdb_post_message(p->c, q->pnn, suite_srvid(1), (struct ctdb_data){.data = buf, .len = len}));
	if (p->ev == NULL) {
		CHECK_OK(p, ctdb_client_flush(p->c));
	} else {
		suite_settle(p);
	}
	suite_wait(q, &in.done);
	talloc_free(q);
	talloc_free(p);
}

const struct suite_case message_cases[] = {
	{"message_order", 1, case_message_order},   {"message_broadcast", 1, case_message_broadcast},
	{"message_srvids", 1, case_message_srvids}, {"message_all_srvids", 1, case_message_all_srvids},
	{"message_large", 1, case_message_large},   {NULL},
};
