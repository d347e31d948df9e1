/* Helpers of the API suite. */
#include "suite.h"

#include <stdarg.h>
#include <sys/wait.h>

void suite_fail(const char *file, int line, const char *cond, const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "%s:%d: %s is not so: ", file, line, cond);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	exit(1);
}

struct peer *suite_connect_as(const struct suite *s, unsigned int node, bool async)
{
	struct peer *p = talloc_zero(NULL, struct peer);
	int err;

	CHECK(p != NULL && node < s->n_nodes, "node %u", node);
	if (!async) {
		err = ctdb_open(p, s->sockets[node], PATIENCE_MS, &p->c);
	} else {
		struct tevent_req *req;

		p->ev = tevent_context_init(p);
		req = ctdb_connect_send(p, p->ev, s->sockets[node], PATIENCE_MS);
		suite_finish(p, req);
		err = ctdb_connect_recv(req, p, &p->c);
		talloc_free(req);
	}
	CHECK(err == 0, "%s: %s", s->sockets[node], strerror(err));
	p->pnn = ctdb_client_pnn(p->c);
	return p;
}

struct peer *suite_connect(const struct suite *s, unsigned int node)
{
	return suite_connect_as(s, node, s->async);
}

static void passed(struct tevent_context *ev, struct tevent_timer *te, struct timeval now, void *priv)
{
	*(bool *)priv = true;
}

/* true: stopped, false: the time is over. */
static bool run_loop(struct peer *p, uint32_t ms, const bool *stop)
{
	bool over = false;
	struct tevent_timer *te =
		tevent_add_timer(p->ev, p, tevent_timeval_current_ofs(ms / 1000, (ms % 1000) * 1000), passed, &over);

	while (!over && !(stop != NULL && *stop)) {
		CHECK(tevent_loop_once(p->ev) == 0, "%s", strerror(errno));
	}
	if (!over) {
		talloc_free(te);
	}
	return !over;
}

void suite_wait(struct peer *p, const bool *stop)
{
	if (p->ev == NULL) {
		CHECK_OK(p, ctdb_client_wait(p->c, PATIENCE_MS, stop));
	} else {
		CHECK(run_loop(p, PATIENCE_MS, stop), "nothing came within %u ms", PATIENCE_MS);
	}
}

void suite_pause(struct peer *p, uint32_t ms)
{
	if (p->ev == NULL) {
		CHECK_ERR(p, ctdb_client_wait(p->c, ms, NULL), ETIMEDOUT);
	} else {
		run_loop(p, ms, NULL);
	}
}

void suite_settle(struct peer *p)
{
	uint32_t n = 0;

	CHECK_OK(p, BOTH(p, ctdb_ping(p->c, p->pnn, &n), ctdb_ping_send(p, p->c, p->pnn), ctdb_ping_recv(req, &n)));
}

void suite_finish(struct peer *p, struct tevent_req *req)
{
	CHECK(req != NULL, "out of memory");
	CHECK(tevent_req_poll(req, p->ev), "%s", strerror(errno));
}

pid_t suite_fork(const struct suite *s, void (*fn)(const struct suite *s, unsigned int arg), unsigned int arg)
{
	pid_t pid;

	fflush(NULL);
	pid = fork();
	CHECK(pid >= 0, "fork: %s", strerror(errno));
	if (pid == 0) {
		fn(s, arg);
		fflush(NULL);
		_exit(0);
	}
	return pid;
}

void suite_join(pid_t pid)
{
	int status = 0;

	CHECK(waitpid(pid, &status, 0) == pid, "%s", strerror(errno));
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0, "process %d ended with status %#x", (int)pid,
	      (unsigned int)status);
}

struct ctdb_data bytes(const char *text)
{
	return (struct ctdb_data){.data = (const uint8_t *)text, .len = strlen(text)};
}

bool same(struct ctdb_data d, const char *text)
{
	return d.len == strlen(text) && (d.len == 0 || memcmp(d.data, text, d.len) == 0);
}

static unsigned int run_number;

void suite_begin(void)
{
	run_number = (unsigned int)getpid();
}

uint64_t suite_srvid(unsigned int n)
{
	return CTDB_SRVID_TEST | ((uint64_t)run_number << 16) | n;
}

struct ctdb_db *open_db(struct peer *p, const char *name, enum ctdb_db_model model)
{
	struct ctdb_db *db = NULL;
	char *full = talloc_asprintf(p, "%s_%u.tdb", name, run_number);

	CHECK_OK(p, p_attach(p, full, model, &db));
	return db;
}

/* ---- operations in both forms ---- */

int p_attach(struct peer *p, const char *name, enum ctdb_db_model model, struct ctdb_db **db)
{
	return BOTH(p, ctdb_db_attach(p->c, name, model, p, db), ctdb_db_attach_send(p, p->c, name, model),
		    ctdb_db_attach_recv(req, p, db));
}

int p_lock(struct peer *p, struct ctdb_db *db, const char *key, struct ctdb_record **rec)
{
	return BOTH(p, ctdb_record_lock(db, bytes(key), p, rec), ctdb_record_lock_send(p, db, bytes(key)),
		    ctdb_record_lock_recv(req, p, rec));
}

int p_fetch(struct peer *p, struct ctdb_db *db, const char *key, struct ctdb_data *data)
{
	return BOTH(p, ctdb_record_fetch(db, bytes(key), p, data), ctdb_record_fetch_send(p, db, bytes(key)),
		    ctdb_record_fetch_recv(req, p, data));
}

int p_peek(struct peer *p, struct ctdb_db *db, const char *key, struct ctdb_record_header *h, struct ctdb_data *data)
{
	return BOTH(p, ctdb_record_peek(db, bytes(key), p, h, data), ctdb_record_peek_send(p, db, bytes(key)),
		    ctdb_record_peek_recv(req, p, h, data));
}

int p_traverse(struct peer *p, struct ctdb_db *db, ctdb_traverse_fn fn, void *priv, uint64_t *n)
{
	return BOTH(p, ctdb_traverse(db, fn, priv, n), ctdb_traverse_send(p, db, fn, priv), ctdb_traverse_recv(req, n));
}

int p_start(struct peer *p, struct ctdb_db *db, struct ctdb_transaction **t)
{
	return BOTH(p, ctdb_transaction_start(db, p, t), ctdb_transaction_start_send(p, db),
		    ctdb_transaction_start_recv(req, p, t));
}

int p_read(struct peer *p, struct ctdb_transaction *t, const char *key, struct ctdb_data *data)
{
	return BOTH(p, ctdb_transaction_fetch(t, bytes(key), p, data), ctdb_transaction_fetch_send(p, t, bytes(key)),
		    ctdb_transaction_fetch_recv(req, p, data));
}

int p_commit(struct peer *p, struct ctdb_transaction *t)
{
	return BOTH(p, ctdb_transaction_commit(t), ctdb_transaction_commit_send(p, t),
		    ctdb_transaction_commit_recv(req));
}

int p_cancel(struct peer *p, struct ctdb_transaction *t)
{
	return BOTH(p, ctdb_transaction_cancel(t), ctdb_transaction_cancel_send(p, t),
		    ctdb_transaction_cancel_recv(req));
}

int p_listen(struct peer *p, uint64_t srvid, ctdb_message_fn fn, void *priv, struct ctdb_listener **l)
{
	return BOTH(p, ctdb_listen(p->c, srvid, fn, priv, p, l), ctdb_listen_send(p, p->c, srvid, fn, priv),
		    ctdb_listen_recv(req, p, l));
}

int p_control(struct peer *p, const struct ctdb_control *k, struct ctdb_control_reply **reply)
{
	return BOTH(p, ctdb_control(p->c, k, p, reply), ctdb_control_send(p, p->c, k),
		    ctdb_control_recv(req, p, reply));
}

void put(struct peer *p, struct ctdb_db *db, const char *key, const char *text)
{
	struct ctdb_record *rec = NULL;

	CHECK_OK(p, p_lock(p, db, key, &rec));
	CHECK_OK(p, ctdb_record_store(rec, bytes(text)));
	talloc_free(rec);
}

unsigned long number(struct ctdb_data d)
{
	char text[32] = "0";

	CHECK(d.len < sizeof(text), "%zu bytes are no number", d.len);
	if (d.len > 0) {
		memcpy(text, d.data, d.len);
		text[d.len] = '\0';
	}
	return strtoul(text, NULL, 10);
}
