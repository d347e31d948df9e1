/* Cases: transactions on persistent and replicated databases. */
#include "suite.h"

static const enum ctdb_db_model models[] = {CTDB_DB_PERSISTENT, CTDB_DB_REPLICATED};
static const char *const names[] = {"persistent", "replicated"};

static uint64_t seqnum_of(struct peer *p, uint32_t node, struct ctdb_db *db)
{
	uint64_t n = 0;

	CHECK_OK(p, BOTH(p, ctdb_get_db_seqnum(p->c, node, ctdb_db_id(db), &n),
			 ctdb_get_db_seqnum_send(p, p->c, node, ctdb_db_id(db)), ctdb_get_db_seqnum_recv(req, &n)));
	return n;
}

/* Committed: to be seen on all nodes. A transaction sees its own changes. */
static void transaction(const struct suite *s, const char *name, enum ctdb_db_model model)
{
	struct peer *p = suite_connect(s, 0);
	struct ctdb_db *db = open_db(p, name, model);
	struct ctdb_transaction *t = NULL;
	struct ctdb_data data = {.len = 0};
	uint64_t before = seqnum_of(p, 0, db);

	CHECK_OK(p, p_start(p, db, &t));
	CHECK_ERR(p, p_read(p, t, "a", &data), ENOENT);
	CHECK_OK(p, ctdb_transaction_store(t, bytes("a"), bytes("1")));
	CHECK_OK(p, ctdb_transaction_store(t, bytes("b"), bytes("2")));
	CHECK_ERR(p, ctdb_transaction_store(t, bytes("b"), bytes("")), EINVAL);
	CHECK_OK(p, p_read(p, t, "a", &data));
	CHECK(same(data, "1"), "own change not seen");
	CHECK_ERR(p, p_fetch(p, db, "a", &data), ENOENT);
	CHECK_OK(p, p_commit(p, t));
	talloc_free(t);
	CHECK(seqnum_of(p, 0, db) == before + 1, "sequence number %llu", (unsigned long long)seqnum_of(p, 0, db));
	CHECK_OK(p, p_start(p, db, &t));
	CHECK_OK(p, ctdb_transaction_delete(t, bytes("b")));
	CHECK_OK(p, p_commit(p, t));
	talloc_free(t);
	for (unsigned int i = 0; i < s->n_nodes; i++) {
		/* One client of a process has a file open. */
		struct peer *q = i == 0 ? p : suite_connect(s, i);
		struct ctdb_db *db_q = i == 0 ? db : open_db(q, name, model);

		CHECK_OK(q, p_fetch(q, db_q, "a", &data));
		CHECK(same(data, "1"), "node %u", i);
		CHECK_ERR(q, p_fetch(q, db_q, "b", &data), ENOENT);
		CHECK(seqnum_of(p, i, db) == before + 2, "node %u: %llu", i, (unsigned long long)seqnum_of(p, i, db));
		if (q != p) {
			talloc_free(q);
		}
	}
	talloc_free(p);
}

static void case_transaction(const struct suite *s)
{
	for (unsigned int m = 0; m < 2; m++) {
		transaction(s, names[m], models[m]);
	}
}

static void case_transaction_cancel(const struct suite *s)
{
	struct peer *p = suite_connect(s, 0);

	for (unsigned int m = 0; m < 2; m++) {
		struct ctdb_db *db = open_db(p, m == 0 ? "cancel_p" : "cancel_r", models[m]);
		struct ctdb_transaction *t = NULL;
		struct ctdb_data data = {.len = 0};

		CHECK_OK(p, p_start(p, db, &t));
		CHECK_OK(p, ctdb_transaction_store(t, bytes("a"), bytes("1")));
		CHECK_OK(p, p_cancel(p, t));
		talloc_free(t);
		CHECK_ERR(p, p_fetch(p, db, "a", &data), ENOENT);
		CHECK(seqnum_of(p, 0, db) == 0, "%llu", (unsigned long long)seqnum_of(p, 0, db));
		/* Freed without commit: as if cancelled, and the next one is not kept waiting. */
		CHECK_OK(p, p_start(p, db, &t));
		CHECK_OK(p, ctdb_transaction_store(t, bytes("a"), bytes("1")));
		talloc_free(t);
		CHECK_OK(p, p_start(p, db, &t));
		CHECK_ERR(p, p_read(p, t, "a", &data), ENOENT);
		CHECK_OK(p, p_commit(p, t));
		talloc_free(t);
	}
	talloc_free(p);
}

static void case_transaction_wrong_model(const struct suite *s)
{
	struct peer *p = suite_connect(s, 0);
	struct ctdb_db *v = open_db(p, "wrong_v", CTDB_DB_VOLATILE), *q = open_db(p, "wrong_p", CTDB_DB_PERSISTENT);
	struct ctdb_transaction *t = NULL;
	struct ctdb_record *rec = NULL;

	CHECK_ERR(p, p_start(p, v, &t), EPERM);
	CHECK_ERR(p, p_lock(p, q, "key", &rec), EPERM);
	CHECK(t == NULL && rec == NULL, "a handle all the same");
	talloc_free(p);
}

#define ROUNDS 10U

static void increment_many(const struct suite *s, unsigned int arg)
{
	struct peer *p = suite_connect(s, arg % s->n_nodes);

	for (unsigned int i = 0; i < ROUNDS; i++) {
		unsigned int m = i % 2;
		struct ctdb_db *db = open_db(p, names[m], models[m]);
		struct ctdb_transaction *t = NULL;
		struct ctdb_data data = {.len = 0};
		char text[16];
		int err;

		CHECK_OK(p, p_start(p, db, &t));
		err = p_read(p, t, "counter", &data);
		CHECK(err == 0 || err == ENOENT, "%s", strerror(err));
		snprintf(text, sizeof(text), "%lu", number(data) + 1);
		CHECK_OK(p, ctdb_transaction_store(t, bytes("counter"), bytes(text)));
		CHECK_OK(p, p_commit(p, t));
		talloc_free(t);
		talloc_free(db);
	}
	talloc_free(p);
}

/* Processes on all nodes, two on the first: no increment is lost. */
static void case_transaction_contention(const struct suite *s)
{
	pid_t pid[MAX_NODES + 1];
	struct peer *p;

	for (unsigned int i = 0; i <= s->n_nodes; i++) {
		pid[i] = suite_fork(s, increment_many, i);
	}
	for (unsigned int i = 0; i <= s->n_nodes; i++) {
		suite_join(pid[i]);
	}
	p = suite_connect(s, s->n_nodes - 1);
	for (unsigned int m = 0; m < 2; m++) {
		struct ctdb_db *db = open_db(p, names[m], models[m]);
		struct ctdb_data data = {.len = 0};

		CHECK_OK(p, p_fetch(p, db, "counter", &data));
		CHECK(number(data) == ROUNDS / 2 * (s->n_nodes + 1), "%s: %lu", names[m], number(data));
	}
	talloc_free(p);
}

/* Who waits for the lock of another gives up after its time-out, and gets it when the other is done. */
static void case_transaction_waits(const struct suite *s)
{
	struct peer *p = suite_connect(s, 0), *q = suite_connect(s, s->n_nodes - 1);
	struct ctdb_db *db = open_db(p, "waits", CTDB_DB_PERSISTENT), *db_q;
	struct ctdb_transaction *t = NULL, *t_q = NULL;

	CHECK_OK(p, p_start(p, db, &t));
	db_q = s->n_nodes > 1 ? open_db(q, "waits", CTDB_DB_PERSISTENT) : NULL;
	if (db_q != NULL) {
		ctdb_client_set_timeout(q->c, 1000);
		CHECK_ERR(q, p_start(q, db_q, &t_q), ETIMEDOUT);
		ctdb_client_set_timeout(q->c, PATIENCE_MS);
	}
	CHECK_OK(p, ctdb_transaction_store(t, bytes("a"), bytes("1")));
	CHECK_OK(p, p_commit(p, t));
	talloc_free(t);
	if (db_q != NULL) {
		CHECK_OK(q, p_start(q, db_q, &t_q));
		CHECK_OK(q, p_cancel(q, t_q));
		talloc_free(t_q);
	}
	talloc_free(q);
	talloc_free(p);
}

static bool count(void *priv, struct ctdb_data key, struct ctdb_record_header header, struct ctdb_data data)
{
	unsigned int *n = priv;

	(*n)++;
	return true;
}

/* A traverse of a database that all nodes have gives each record once. */
static void case_traverse_persistent(const struct suite *s)
{
	struct peer *p = suite_connect(s, 0);

	for (unsigned int m = 0; m < 2; m++) {
		struct ctdb_db *db = open_db(p, m == 0 ? "walk_p" : "walk_r", models[m]);
		struct ctdb_transaction *t = NULL;
		unsigned int n = 0;
		uint64_t records = 0;

		CHECK_OK(p, p_start(p, db, &t));
		for (unsigned int i = 0; i < 20; i++) {
			char key[16];

			snprintf(key, sizeof(key), "key%u", i);
			CHECK_OK(p, ctdb_transaction_store(t, bytes(key), bytes("x")));
		}
		CHECK_OK(p, p_commit(p, t));
		talloc_free(t);
		CHECK_OK(p, p_traverse(p, db, count, &n, &records));
		CHECK(n == records && n == 20, "%u records", n);
	}
	talloc_free(p);
}

const struct suite_case transaction_cases[] = {
	{"transaction", 1, case_transaction},
	{"transaction_cancel", 1, case_transaction_cancel},
	{"transaction_wrong_model", 1, case_transaction_wrong_model},
	{"transaction_contention", 1, case_transaction_contention},
	{"transaction_waits", 1, case_transaction_waits},
	{"traverse_persistent", 1, case_traverse_persistent},
	{NULL},
};
