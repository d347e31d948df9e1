/* Cases: databases and records. */
#include "suite.h"

#include <sys/stat.h>

static const enum ctdb_db_model models[] = {CTDB_DB_VOLATILE, CTDB_DB_PERSISTENT, CTDB_DB_REPLICATED};

/* What the daemon says about a database fits to the handle. */
static void check_db(struct peer *p, uint32_t node, struct ctdb_db *db)
{
	struct ctdb_db_list *list = NULL;
	char *name = NULL, *path = NULL, *health = NULL;
	uint32_t id = ctdb_db_id(db), flags = 0, found = 0;
	struct stat st;

	CHECK_OK(p, BOTH(p, ctdb_list_dbs(p->c, node, p, &list), ctdb_list_dbs_send(p, p->c, node),
			 ctdb_list_dbs_recv(req, p, &list)));
	for (uint32_t i = 0; i < list->n; i++) {
		flags = list->dbs[i].id == id ? list->dbs[i].flags : flags;
		found += list->dbs[i].id == id;
	}
	CHECK(found == 1 && ctdb_db_flags_model(flags) == ctdb_db_get_model(db), "node %u: %u times, flags %#x", node,
	      found, flags);
	CHECK_OK(p, BOTH(p, ctdb_get_db_name(p->c, node, id, p, &name), ctdb_get_db_name_send(p, p->c, node, id),
			 ctdb_get_db_name_recv(req, p, &name)));
	CHECK(strcmp(name, ctdb_db_name(db)) == 0, "%s", name);
	CHECK_OK(p, BOTH(p, ctdb_get_db_path(p->c, node, id, p, &path), ctdb_get_db_path_send(p, p->c, node, id),
			 ctdb_get_db_path_recv(req, p, &path)));
	CHECK(stat(path, &st) == 0 && S_ISREG(st.st_mode), "%s", path);
	CHECK_OK(p, BOTH(p, ctdb_get_db_health(p->c, node, id, p, &health), ctdb_get_db_health_send(p, p->c, node, id),
			 ctdb_get_db_health_recv(req, p, &health)));
	CHECK(health[0] == '\0', "%s", health);
}

static void case_attach(const struct suite *s)
{
	static const char *const names[] = {"attach_v", "attach_p", "attach_r"};
	struct peer *p = suite_connect(s, 0);

	for (unsigned int m = 0; m < 3; m++) {
		struct ctdb_db *db = open_db(p, names[m], models[m]), *again = open_db(p, names[m], models[m]);
		uint64_t seqnum = 99;

		CHECK(ctdb_db_get_model(db) == models[m] && ctdb_db_id(db) == ctdb_db_id(again), "model %u", m);
		CHECK(ctdb_db_client(db) == p->c, "client");
		for (unsigned int i = 0; i < s->n_nodes; i++) {
			check_db(p, i, db);
		}
		CHECK_OK(p, BOTH(p, ctdb_get_db_seqnum(p->c, CTDB_NODE_CURRENT, ctdb_db_id(db), &seqnum),
				 ctdb_get_db_seqnum_send(p, p->c, CTDB_NODE_CURRENT, ctdb_db_id(db)),
				 ctdb_get_db_seqnum_recv(req, &seqnum)));
		CHECK(seqnum == 0, "new, but sequence number %llu", (unsigned long long)seqnum);
		talloc_free(again);
		talloc_free(db);
	}
	CHECK(strcmp(ctdb_db_model_name(CTDB_DB_PERSISTENT), "persistent") == 0, "name");
	talloc_free(p);
}

static void case_attach_other_model(const struct suite *s)
{
	struct peer *p = suite_connect(s, 0);
	struct ctdb_db *db = open_db(p, "model", CTDB_DB_PERSISTENT), *other = NULL;
	char *name = talloc_strdup(p, ctdb_db_name(db));

	talloc_free(db);
	CHECK_ERR(p, p_attach(p, name, CTDB_DB_VOLATILE, &other), EEXIST);
	CHECK(strstr(ctdb_client_error(p->c), name) != NULL, "%s", ctdb_client_error(p->c));
	CHECK(other == NULL, "a handle all the same");
	talloc_free(p);
}

static void case_record(const struct suite *s)
{
	struct peer *p = suite_connect(s, 0);
	struct ctdb_db *db = open_db(p, "record", CTDB_DB_VOLATILE);
	struct ctdb_record *rec = NULL;
	struct ctdb_record_header h;
	struct ctdb_data data = {.len = 0};

	CHECK_ERR(p, p_fetch(p, db, "key", &data), ENOENT);
	CHECK_OK(p, p_lock(p, db, "key", &rec));
	CHECK(same(ctdb_record_key(rec), "key") && ctdb_record_data(rec).len == 0, "not empty");
	CHECK(ctdb_record_header(rec).dmaster == 0, "dmaster %u", ctdb_record_header(rec).dmaster);
	CHECK_ERR(p, ctdb_record_store(rec, bytes("")), EINVAL);
	CHECK_OK(p, ctdb_record_store(rec, bytes("one")));
	CHECK(same(ctdb_record_data(rec), "one"), "stored, but not to be seen");
	talloc_free(rec);
	CHECK_OK(p, p_fetch(p, db, "key", &data));
	CHECK(same(data, "one"), "%zu bytes", data.len);
	CHECK_OK(p, p_peek(p, db, "key", &h, &data));
	CHECK(h.dmaster == 0 && same(data, "one"), "dmaster %u", h.dmaster);
	CHECK_OK(p, p_lock(p, db, "key", &rec));
	CHECK_OK(p, ctdb_record_delete(rec));
	talloc_free(rec);
	CHECK_ERR(p, p_fetch(p, db, "key", &data), ENOENT);
	put(p, db, "key", "two");
	CHECK_OK(p, p_fetch(p, db, "key", &data));
	CHECK(same(data, "two"), "%zu bytes", data.len);
	talloc_free(p);
}

static void case_record_large(const struct suite *s)
{
	/* One client of a process has a file open. */
	bool alone = s->n_nodes == 1;
	struct peer *p = suite_connect(s, 0), *q = alone ? p : suite_connect(s, s->n_nodes - 1);
	struct ctdb_db *db = open_db(p, "large", CTDB_DB_VOLATILE);
	struct ctdb_db *db_q = alone ? db : open_db(q, "large", CTDB_DB_VOLATILE);
	struct ctdb_record *rec = NULL;
	struct ctdb_data data = {.len = 0};
	size_t len = 3U << 20;
	uint8_t *buf = talloc_array(p, uint8_t, len);

	for (size_t i = 0; i < len; i++) {
		buf[i] = (uint8_t)(i * 7 + i / 251);
	}
	CHECK_OK(p, p_lock(p, db, "large", &rec));
	CHECK_OK(p, ctdb_record_store(rec, (struct ctdb_data){.data = buf, .len = len}));
	talloc_free(rec);
	CHECK_OK(q, p_fetch(q, db_q, "large", &data));
	CHECK(data.len == len && memcmp(data.data, buf, len) == 0, "%zu bytes", data.len);
	if (!alone) {
		talloc_free(q);
	}
	talloc_free(p);
}

static void case_record_moves(const struct suite *s)
{
	struct peer *p[MAX_NODES];
	struct ctdb_db *db[MAX_NODES];
	uint64_t rsn = 0;

	for (unsigned int i = 0; i < s->n_nodes; i++) {
		p[i] = suite_connect(s, i);
		db[i] = open_db(p[i], "moves", CTDB_DB_VOLATILE);
	}
	for (unsigned int turn = 0; turn < 30; turn++) {
		unsigned int i = turn % s->n_nodes;
		struct ctdb_record *rec = NULL;
		struct ctdb_record_header h;
		char text[16];

		CHECK_OK(p[i], p_lock(p[i], db[i], "key", &rec));
		h = ctdb_record_header(rec);
		CHECK(h.dmaster == i, "locked on node %u, dmaster %u", i, h.dmaster);
		CHECK(turn == 0 || h.rsn >= rsn, "rsn %llu after %llu", (unsigned long long)h.rsn,
		      (unsigned long long)rsn);
		rsn = h.rsn;
		CHECK(number(ctdb_record_data(rec)) == turn, "%lu in turn %u", number(ctdb_record_data(rec)), turn);
		snprintf(text, sizeof(text), "%u", turn + 1);
		CHECK_OK(p[i], ctdb_record_store(rec, bytes(text)));
		talloc_free(rec);
	}
	for (unsigned int i = 0; i < s->n_nodes; i++) {
		talloc_free(p[i]);
	}
}

#define ROUNDS 200U

static void increment_many(const struct suite *s, unsigned int node)
{
	struct peer *p = suite_connect(s, node);
	struct ctdb_db *db = open_db(p, "contention", CTDB_DB_VOLATILE);

	for (unsigned int i = 0; i < ROUNDS; i++) {
		struct ctdb_record *rec = NULL;
		char text[16];

		CHECK_OK(p, p_lock(p, db, "counter", &rec));
		snprintf(text, sizeof(text), "%lu", number(ctdb_record_data(rec)) + 1);
		CHECK_OK(p, ctdb_record_store(rec, bytes(text)));
		talloc_free(rec);
	}
	talloc_free(p);
}

/* Processes on all nodes (two on the first) change one record. */
static void case_contention(const struct suite *s)
{
	pid_t pid[MAX_NODES + 1];
	struct peer *p;
	struct ctdb_db *db;
	struct ctdb_data data = {.len = 0};

	for (unsigned int i = 0; i <= s->n_nodes; i++) {
		pid[i] = suite_fork(s, increment_many, i % s->n_nodes);
	}
	for (unsigned int i = 0; i <= s->n_nodes; i++) {
		suite_join(pid[i]);
	}
	p = suite_connect(s, 0);
	db = open_db(p, "contention", CTDB_DB_VOLATILE);
	CHECK_OK(p, p_fetch(p, db, "counter", &data));
	CHECK(number(data) == ROUNDS * (s->n_nodes + 1), "%lu of %u increments", number(data),
	      ROUNDS * (s->n_nodes + 1));
	talloc_free(p);
}

/* Reading from elsewhere sees what was written last. */
static void case_fetch_elsewhere(const struct suite *s)
{
	struct peer *p = suite_connect(s, 0), *q = suite_connect(s, 1);
	struct ctdb_db *db = open_db(p, "fetch", CTDB_DB_VOLATILE), *db_q = open_db(q, "fetch", CTDB_DB_VOLATILE);
	struct ctdb_data data = {.len = 0};

	for (unsigned int i = 0; i < 20; i++) {
		char text[16];

		snprintf(text, sizeof(text), "%u", i);
		put(p, db, "key", text);
		CHECK_OK(q, p_fetch(q, db_q, "key", &data));
		CHECK(number(data) == i, "%lu in turn %u", number(data), i);
		CHECK_OK(p, p_fetch(p, db, "key", &data));
		CHECK(number(data) == i, "%lu in turn %u", number(data), i);
	}
	CHECK_ERR(q, p_fetch(q, db_q, "another key", &data), ENOENT);
	talloc_free(q);
	talloc_free(p);
}

/* An unlocked record is free for the next at once; a locked one is not to be had. */
static void case_unlock(const struct suite *s)
{
	struct peer *p = suite_connect(s, 0), *q = suite_connect(s, 1);
	struct ctdb_db *db = open_db(p, "unlock", CTDB_DB_VOLATILE), *db_q = open_db(q, "unlock", CTDB_DB_VOLATILE);
	struct ctdb_record *rec = NULL, *other = NULL;

	CHECK_OK(p, p_lock(p, db, "key", &rec));
	ctdb_client_set_timeout(q->c, 500);
	CHECK_ERR(q, p_lock(q, db_q, "key", &other), ETIMEDOUT);
	ctdb_client_set_timeout(q->c, PATIENCE_MS);
	CHECK_OK(q, p_lock(q, db_q, "other key", &other));
	talloc_free(other);
	talloc_free(rec);
	CHECK_OK(q, p_lock(q, db_q, "key", &other));
	talloc_free(other);
	talloc_free(q);
	talloc_free(p);
}

struct seen {
	unsigned int n, stop_after;
	unsigned long sum;
};

static bool add(void *priv, struct ctdb_data key, struct ctdb_record_header header, struct ctdb_data data)
{
	struct seen *seen = priv;

	CHECK(key.len > 0 && data.len > 0, "an empty record");
	seen->n++;
	seen->sum += number(data);
	return seen->n != seen->stop_after;
}

/* Records that live on different nodes; deleted ones are left out. */
static void case_traverse(const struct suite *s)
{
	struct peer *p[MAX_NODES];
	struct ctdb_db *db[MAX_NODES];
	struct ctdb_record *rec = NULL;
	struct seen seen = {0}, two = {.stop_after = 2};
	uint64_t n = 0;

	for (unsigned int i = 0; i < s->n_nodes; i++) {
		p[i] = suite_connect(s, i);
		db[i] = open_db(p[i], "traverse", CTDB_DB_VOLATILE);
	}
	for (unsigned int k = 1; k <= 60; k++) {
		char key[16], text[16];

		snprintf(key, sizeof(key), "key%u", k);
		snprintf(text, sizeof(text), "%u", k);
		put(p[k % s->n_nodes], db[k % s->n_nodes], key, text);
	}
	CHECK_OK(p[0], p_lock(p[0], db[0], "key60", &rec));
	CHECK_OK(p[0], ctdb_record_delete(rec));
	talloc_free(rec);
	CHECK_OK(p[0], p_traverse(p[0], db[0], add, &seen, &n));
	CHECK(n == 59 && seen.n == 59 && seen.sum == 59 * 60 / 2, "%u records, sum %lu", seen.n, seen.sum);
	CHECK_OK(p[0], p_traverse(p[0], db[0], add, &two, &n));
	CHECK(two.n == 2, "%u records after the wish to stop", two.n);
	for (unsigned int i = 0; i < s->n_nodes; i++) {
		talloc_free(p[i]);
	}
}

/* A database with read-only copies: they are current, and the next writer takes them back. */
static void case_readonly(const struct suite *s)
{
	struct peer *p = suite_connect(s, 0), *q = suite_connect(s, 1);
	struct ctdb_db *db = open_db(p, "readonly", CTDB_DB_VOLATILE), *db_q = open_db(q, "readonly", CTDB_DB_VOLATILE);
	struct ctdb_record_header h;
	struct ctdb_data data = {.len = 0};

	CHECK_OK(p,
		 BOTH(p, ctdb_db_set_readonly(db), ctdb_db_set_readonly_send(p, db), ctdb_db_set_readonly_recv(req)));
	for (unsigned int i = 0; i < 10; i++) {
		char text[16];

		snprintf(text, sizeof(text), "%u", i);
		put(p, db, "key", text);
		for (unsigned int again = 0; again < 2; again++) {
			CHECK_OK(q, BOTH(q, ctdb_record_fetch_readonly(db_q, bytes("key"), q, &h, &data),
					 ctdb_record_fetch_readonly_send(q, db_q, bytes("key")),
					 ctdb_record_fetch_readonly_recv(req, q, &h, &data)));
			CHECK(number(data) == i, "%lu in turn %u", number(data), i);
			CHECK((h.flags & CTDB_RECORD_RO_HAVE_READONLY) != 0, "flags %#x", h.flags);
			CHECK(h.dmaster == 0, "flags %#x, dmaster %u", h.flags, h.dmaster);
		}
	}
	CHECK_ERR(q,
		  BOTH(q, ctdb_record_fetch_readonly(db_q, bytes("none"), q, &h, &data),
		       ctdb_record_fetch_readonly_send(q, db_q, bytes("none")),
		       ctdb_record_fetch_readonly_recv(req, q, &h, &data)),
		  ENOENT);
	talloc_free(q);
	talloc_free(p);
}

/* Records of this node's file, current or not. */
static void case_traverse_local(const struct suite *s)
{
	struct peer *p = suite_connect(s, 0);
	struct ctdb_db *db = open_db(p, "local", CTDB_DB_VOLATILE);
	struct seen seen = {0};
	uint64_t n = 0;

	for (unsigned int k = 1; k <= 30; k++) {
		char key[16], text[16];

		snprintf(key, sizeof(key), "key%u", k);
		snprintf(text, sizeof(text), "%u", k);
		put(p, db, key, text);
	}
	CHECK_OK(p, BOTH(p, ctdb_traverse_local(db, add, &seen, &n), ctdb_traverse_local_send(p, db, add, &seen),
			 ctdb_traverse_local_recv(req, &n)));
	CHECK(n == 30 && seen.n == 30 && seen.sum == 30 * 31 / 2, "%u records, sum %lu", seen.n, seen.sum);
	talloc_free(p);
}

/* Whoever detaches forgets the contents. */
static void case_detach(const struct suite *s)
{
	struct peer *p = suite_connect(s, 0);
	struct ctdb_db *db = open_db(p, "detach", CTDB_DB_VOLATILE);
	uint32_t id = ctdb_db_id(db), allowed = 0;
	char *name = NULL;
	int err;

	put(p, db, "key", "value");
	talloc_free(db);
	CHECK_ERR(p,
		  BOTH(p, ctdb_detach_db(p->c, 0, id), ctdb_detach_db_send(p, p->c, 0, id), ctdb_detach_db_recv(req)),
		  EREMOTEIO);
	CHECK_OK(p,
		 BOTH(p, ctdb_get_tunable(p->c, 0, "AllowClientDBAttach", &allowed),
		      ctdb_get_tunable_send(p, p->c, 0, "AllowClientDBAttach"), ctdb_get_tunable_recv(req, &allowed)));
	CHECK(allowed == 1, "%u", allowed);
	for (unsigned int i = 0; i < s->n_nodes; i++) {
		CHECK_OK(p, BOTH(p, ctdb_set_tunable(p->c, i, "AllowClientDBAttach", 0, NULL),
				 ctdb_set_tunable_send(p, p->c, i, "AllowClientDBAttach", 0),
				 ctdb_set_tunable_recv(req, NULL)));
	}
	err = BOTH(p, ctdb_detach_db(p->c, 0, id), ctdb_detach_db_send(p, p->c, 0, id), ctdb_detach_db_recv(req));
	for (unsigned int i = 0; i < s->n_nodes; i++) {
		CHECK_OK(p, BOTH(p, ctdb_set_tunable(p->c, i, "AllowClientDBAttach", 1, NULL),
				 ctdb_set_tunable_send(p, p->c, i, "AllowClientDBAttach", 1),
				 ctdb_set_tunable_recv(req, NULL)));
	}
	CHECK(err == 0, "%s (%s)", strerror(err), ctdb_client_error(p->c));
	CHECK_ERR(p,
		  BOTH(p, ctdb_get_db_name(p->c, 0, id, p, &name), ctdb_get_db_name_send(p, p->c, 0, id),
		       ctdb_get_db_name_recv(req, p, &name)),
		  EREMOTEIO);
	talloc_free(p);
}

struct many {
	struct peer *p;
	unsigned int left;
	bool done;
};

static void many_locked(struct tevent_req *req)
{
	struct many *m = tevent_req_callback_data_void(req);
	struct ctdb_record *rec = NULL;
	char text[16];

	CHECK_OK(m->p, ctdb_record_lock_recv(req, m->p, &rec));
	talloc_free(req);
	snprintf(text, sizeof(text), "%lu", number(ctdb_record_data(rec)) + 1);
	CHECK_OK(m->p, ctdb_record_store(rec, bytes(text)));
	talloc_free(rec);
	m->done = --m->left == 0;
}

/* Many requests at once on one connection, four for each key: each gets its answer. */
static void case_many_at_once(const struct suite *s)
{
	struct peer *p = suite_connect_as(s, 0, true);
	struct ctdb_db *db = open_db(p, "many", CTDB_DB_VOLATILE);
	struct many m = {.p = p, .left = 200};
	struct ctdb_data data = {.len = 0};
	char key[16];

	for (unsigned int i = 0; i < 200; i++) {
		struct tevent_req *req;

		snprintf(key, sizeof(key), "key%u", i % 50);
		req = ctdb_record_lock_send(p, db, bytes(key));
		CHECK(req != NULL, "out of memory");
		tevent_req_set_callback(req, many_locked, &m);
	}
	suite_wait(p, &m.done);
	for (unsigned int i = 0; i < 50; i++) {
		snprintf(key, sizeof(key), "key%u", i);
		CHECK_OK(p, p_fetch(p, db, key, &data));
		CHECK(number(data) == 4, "%s: %lu", key, number(data));
	}
	talloc_free(p);
}

const struct suite_case record_cases[] = {
	{"attach", 1, case_attach},
	{"attach_other_model", 1, case_attach_other_model},
	{"record", 1, case_record},
	{"record_large", 1, case_record_large},
	{"record_moves", 1, case_record_moves},
	{"contention", 1, case_contention},
	{"fetch_elsewhere", 2, case_fetch_elsewhere},
	{"unlock", 2, case_unlock},
	{"traverse", 1, case_traverse},
	{"readonly", 2, case_readonly},
	{"traverse_local", 1, case_traverse_local},
	{"detach", 1, case_detach},
	{"many_at_once", 1, case_many_at_once},
	{NULL},
};
