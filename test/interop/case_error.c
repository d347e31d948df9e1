/* Cases: what can go wrong, and how it is told. */
#include "suite.h"

#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>

static void case_no_daemon(const struct suite *s)
{
	struct ctdb_client *c = NULL;
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	char long_path[200];
	int fd, err;

	CHECK(ctdb_open(NULL, "/nonexistent/ctdbd.socket", 1000, &c) == ENOENT && c == NULL, "connected");
	memset(long_path, 'x', sizeof(long_path));
	long_path[0] = '/';
	long_path[sizeof(long_path) - 1] = '\0';
	CHECK(ctdb_open(NULL, long_path, 1000, &c) == ENAMETOOLONG && c == NULL, "connected");
	/* A socket that nobody listens on any more. */
	snprintf(sun.sun_path, sizeof(sun.sun_path), "/tmp/ctdb_api_suite.%d", (int)getpid());
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	CHECK(fd >= 0 && bind(fd, (struct sockaddr *)&sun, sizeof(sun)) == 0, "%s", strerror(errno));
	close(fd);
	err = ctdb_open(NULL, sun.sun_path, 1000, &c);
	unlink(sun.sun_path);
	CHECK(err == ECONNREFUSED && c == NULL, "%s", strerror(err));
}

static void case_unknown_database(const struct suite *s)
{
	struct peer *p = suite_connect(s, 0);
	char *text = NULL;
	uint64_t n;

	CHECK_ERR(p,
		  BOTH(p, ctdb_get_db_name(p->c, 0, 0x12345678, p, &text),
		       ctdb_get_db_name_send(p, p->c, 0, 0x12345678), ctdb_get_db_name_recv(req, p, &text)),
		  EREMOTEIO);
	CHECK_ERR(p,
		  BOTH(p, ctdb_get_db_path(p->c, 0, 0x12345678, p, &text),
		       ctdb_get_db_path_send(p, p->c, 0, 0x12345678), ctdb_get_db_path_recv(req, p, &text)),
		  EREMOTEIO);
	CHECK_ERR(p,
		  BOTH(p, ctdb_get_db_seqnum(p->c, 0, 0x12345678, &n), ctdb_get_db_seqnum_send(p, p->c, 0, 0x12345678),
		       ctdb_get_db_seqnum_recv(req, &n)),
		  EREMOTEIO);
	CHECK(text == NULL && ctdb_client_error(p->c)[0] != '\0', "no text");
	CHECK(ctdb_client_is_connected(p->c), "the connection is lost");
	talloc_free(p);
}

static void case_unknown_control(const struct suite *s)
{
	struct peer *p = suite_connect(s, 0);
	struct ctdb_control k = {.node = CTDB_NODE_CURRENT, .opcode = 999};
	struct ctdb_control_reply *r = NULL;

	CHECK_OK(p, p_control(p, &k, &r));
	CHECK(r->status < 0, "status %d", r->status);
	talloc_free(p);
}

/* Functions of the wrong kind of client. */
static void case_wrong_kind(const struct suite *s)
{
	struct peer *p = suite_connect_as(s, 0, true);
	struct ctdb_nodemap *map = NULL;
	struct ctdb_db *db = NULL;

	CHECK_ERR(p, ctdb_get_nodemap(p->c, 0, p, &map), EINVAL);
	CHECK_ERR(p, ctdb_db_attach(p->c, "x.tdb", CTDB_DB_VOLATILE, p, &db), EINVAL);
	CHECK_ERR(p, ctdb_client_wait(p->c, 1, NULL), EINVAL);
	CHECK(map == NULL && db == NULL, "a result all the same");
	CHECK_OK(p, p_attach(p, "wrong_kind.tdb", CTDB_DB_VOLATILE, &db));
	talloc_free(p);
}

static void case_timeout(const struct suite *s)
{
	unsigned int node = s->n_nodes - 1;
	struct peer *p = suite_connect(s, node);
	struct ctdb_nodemap *map = NULL;
	pid_t pid = 0;
	int err;

	CHECK_OK(p, BOTH(p, ctdb_get_pid(p->c, node, &pid), ctdb_get_pid_send(p, p->c, node),
			 ctdb_get_pid_recv(req, &pid)));
	CHECK(kill(pid, SIGSTOP) == 0, "%s", strerror(errno));
	ctdb_client_set_timeout(p->c, 200);
	err = BOTH(p, ctdb_get_nodemap(p->c, node, p, &map), ctdb_get_nodemap_send(p, p->c, node),
		   ctdb_get_nodemap_recv(req, p, &map));
	kill(pid, SIGCONT);
	CHECK(err == ETIMEDOUT && map == NULL, "%s", strerror(err));
	/* The late answer disturbs nothing. */
	ctdb_client_set_timeout(p->c, PATIENCE_MS);
	CHECK_OK(p, BOTH(p, ctdb_get_nodemap(p->c, node, p, &map), ctdb_get_nodemap_send(p, p->c, node),
			 ctdb_get_nodemap_recv(req, p, &map)));
	CHECK(map->n == s->n_nodes, "%u", map->n);
	talloc_free(p);
}

static void lost(void *priv, struct ctdb_client *c)
{
	*(bool *)priv = true;
}

/* The daemon dies while requests wait: each ends with an error, and nothing that needs it works afterwards. */
static void case_daemon_killed(const struct suite *s)
{
	unsigned int node = s->n_nodes - 1;
	struct peer *p = suite_connect(s, node), *a = suite_connect_as(s, node, true);
	struct ctdb_db *db = open_db(p, "killed", CTDB_DB_VOLATILE);
	struct tevent_req *reqs[10];
	struct ctdb_data data = {.len = 0};
	struct ctdb_nodemap *map = NULL;
	bool is_lost = false;
	pid_t pid = 0;

	put(p, db, "key", "value");
	ctdb_client_on_lost(a->c, lost, &is_lost);
	CHECK_OK(p, BOTH(p, ctdb_get_pid(p->c, node, &pid), ctdb_get_pid_send(p, p->c, node),
			 ctdb_get_pid_recv(req, &pid)));
	CHECK(kill(pid, SIGSTOP) == 0, "%s", strerror(errno));
	for (unsigned int i = 0; i < 10; i++) {
		reqs[i] = ctdb_get_nodemap_send(a, a->c, CTDB_NODE_CURRENT);
		CHECK(reqs[i] != NULL, "out of memory");
	}
	suite_pause(a, 100);
	CHECK(kill(pid, SIGKILL) == 0, "%s", strerror(errno));
	for (unsigned int i = 0; i < 10; i++) {
		suite_finish(a, reqs[i]);
		CHECK_ERR(a, ctdb_get_nodemap_recv(reqs[i], a, &map), ENOTCONN);
		talloc_free(reqs[i]);
	}
	suite_wait(a, &is_lost);
	CHECK(!ctdb_client_is_connected(a->c), "still connected");
	CHECK_ERR(p,
		  BOTH(p, ctdb_get_nodemap(p->c, node, p, &map), ctdb_get_nodemap_send(p, p->c, node),
		       ctdb_get_nodemap_recv(req, p, &map)),
		  ENOTCONN);
	CHECK_ERR(p, p_fetch(p, db, "another key", &data), ENOTCONN);
	CHECK_ERR(p, ctdb_post_message(p->c, CTDB_NODE_CURRENT, suite_srvid(1), bytes("x")), ENOTCONN);
	CHECK(!ctdb_client_is_connected(p->c), "still connected");
	talloc_free(a);
	talloc_free(p);
}

static pid_t daemon_pid(struct peer *p)
{
	pid_t pid = 0;

	CHECK_OK(p, BOTH(p, ctdb_get_pid(p->c, p->pnn, &pid), ctdb_get_pid_send(p, p->c, p->pnn),
			 ctdb_get_pid_recv(req, &pid)));
	return pid;
}

/* The daemon dies with a commit on its way. The others go on, and agree whether it is there: both records or none. */
static void case_killed_in_commit(const struct suite *s)
{
	struct peer *a = suite_connect_as(s, s->n_nodes - 1, true), *p = suite_connect(s, 0), *q = suite_connect(s, 1);
	struct ctdb_db *db = open_db(a, "commit", CTDB_DB_PERSISTENT), *db_p = open_db(p, "commit", CTDB_DB_PERSISTENT);
	struct ctdb_db *db_q = open_db(q, "commit", CTDB_DB_PERSISTENT);
	struct ctdb_transaction *t = NULL;
	struct ctdb_data data = {.len = 0};
	struct tevent_req *req;
	pid_t pid = daemon_pid(a);
	int first, second;

	CHECK_OK(a, p_start(a, db, &t));
	CHECK_OK(a, ctdb_transaction_store(t, bytes("a"), bytes("1")));
	CHECK_OK(a, ctdb_transaction_store(t, bytes("b"), bytes("1")));
	CHECK(kill(pid, SIGSTOP) == 0, "%s", strerror(errno));
	req = ctdb_transaction_commit_send(a, t);
	suite_pause(a, 100);
	CHECK(kill(pid, SIGKILL) == 0, "%s", strerror(errno));
	suite_finish(a, req);
	CHECK_ERR(a, ctdb_transaction_commit_recv(req), ENOTCONN);
	/* The lock of the dead is no obstacle. */
	CHECK_OK(p, p_start(p, db_p, &t));
	first = p_read(p, t, "a", &data);
	second = p_read(p, t, "b", &data);
	CHECK((first == 0 || first == ENOENT) && first == second, "a: %s, b: %s", strerror(first), strerror(second));
	CHECK_OK(p, ctdb_transaction_store(t, bytes("c"), bytes("1")));
	CHECK_OK(p, p_commit(p, t));
	talloc_free(t);
	CHECK_OK(q, p_fetch(q, db_q, "c", &data));
	CHECK_ERR(q, p_fetch(q, db_q, "a", &data), first);
	talloc_free(q);
	talloc_free(p);
	talloc_free(a);
}

const struct suite_case error_cases[] = {
	{"no_daemon", 1, case_no_daemon},
	{"unknown_database", 1, case_unknown_database},
	{"unknown_control", 1, case_unknown_control},
	{"wrong_kind", 1, case_wrong_kind},
	{"timeout", 1, case_timeout},
	{"daemon_killed", 1, case_daemon_killed},
	{"killed_in_commit", 3, case_killed_in_commit},
	{NULL},
};
