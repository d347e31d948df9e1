/* Messages, registrations, the leader, traverses: what comes without being the answer to a request. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "internal.h"
#include "protocol/classic_native.h"
#include "test_fake.h"

#define PATIENCE_MS 20000U
#define SHORT_MS    200U
#define SRVID       (CTDB_SRVID_TEST | 7)
#define OPCODE_SEND 9999U /* the fake daemon sends a message to the srvid of the control */

/* What the fake daemon saw, and what a traverse shall give. */
struct seen {
	unsigned int registered, deregistered;
	enum { END, NO_END, MALFORMED, OTHER_REQID, REFUSED, HANG_UP } traverse;
};

static void send_record(struct fake *f, const struct classic_traverse_start_ext *t, uint32_t reqid, const char *key,
			size_t keylen, const char *data, size_t datalen)
{
	uint8_t bytes[256] = {0};
	uint32_t head[4] = {(uint32_t)(16 + keylen + datalen), reqid, (uint32_t)keylen, (uint32_t)datalen};

	memcpy(bytes, head, sizeof(head));
	memcpy(bytes + 16, key, keylen);
	memcpy(bytes + 16 + keylen, data, datalen);
	fake_message(f, t->srvid, bytes, 16 + keylen + datalen);
}

static void send_records(struct fake *f, const struct classic_traverse_start_ext *t, const struct seen *seen)
{
	char value[RECORD_HEADER_SIZE + 5] = {9}; /* rsn 9 */

	memcpy(value + RECORD_HEADER_SIZE, "hello", 5);
	send_record(f, t, t->reqid, "k1", 2, value, sizeof(value));
	send_record(f, t, t->reqid, "empty", 5, value, RECORD_HEADER_SIZE);
	send_record(f, t, t->reqid, "k2", 2, value, sizeof(value));
	switch (seen->traverse) {
	case MALFORMED:
		fake_message(f, t->srvid, "\xFF\xFF\xFF\xFF\0\0\0\0\xFF\xFF\xFF\xFF\0\0\0\0", 16);
		break;
	case OTHER_REQID:
		send_record(f, t, t->reqid + 1, "", 0, "", 0);
		send_record(f, t, t->reqid, "", 0, "", 0);
		break;
	case HANG_UP:
		fake_hang_up(f);
		break;
	case END:
		send_record(f, t, t->reqid, "", 0, "", 0);
		break;
	case NO_END:
	case REFUSED:
	default:
		break;
	}
}

static bool serve_messages(struct fake *f, const struct fake_request *r, void *priv)
{
	struct seen *seen = priv;
	struct classic_traverse_start_ext t;

	if (r->hdr.operation == CLASSIC_REQ_MESSAGE) {
		fake_message(f, r->message.srvid, r->message.data.data, r->message.data.len);
		return true;
	}
	switch (r->control.opcode) {
	case CLASSIC_CONTROL_REGISTER_SRVID:
		seen->registered++;
		break;
	case CLASSIC_CONTROL_DEREGISTER_SRVID:
		seen->deregistered++;
		return true;
	case OPCODE_SEND:
		fake_message(f, r->control.srvid, r->control.data.data, r->control.data.len);
		break;
	case CLASSIC_CONTROL_TRAVERSE_START_EXT:
		if (seen->traverse == REFUSED) {
			return false;
		}
		fake_reply_control(f, r, 0, NULL, 0, NULL);
		if (classic_traverse_start_ext_nview(r->control.data.data, r->control.data.len, &t, NULL) == 0 &&
		    r->control.data.len == 24) { /* daemons refuse any other size */
			send_records(f, &t, seen);
		}
		return true;
	default:
		return false;
	}
	fake_reply_control(f, r, 0, NULL, 0, NULL);
	return true;
}

struct setup {
	struct seen *seen;
	struct fake *f;
	struct ctdb_client *c;
};

static void begin(struct setup *s)
{
	s->seen = fake_shared(sizeof(*s->seen));
	s->f = fake_start(serve_messages, s->seen);
	assert_int_equal(ctdb_open(NULL, fake_path(s->f), PATIENCE_MS, &s->c), 0);
}

static void end(struct setup *s)
{
	talloc_free(s->c);
	fake_stop(s->f);
}

struct inbox {
	unsigned int n;
	uint64_t srvid;
	char text[64];
	struct ctdb_listener **free_this; /* freed from inside the callback */
	struct ctdb_client *sync;         /* a synchronous function is tried on it */
	int sync_err;
	bool stop;
};

static void receive(void *priv, uint64_t srvid, struct ctdb_data data)
{
	struct inbox *in = priv;
	pid_t pid;

	in->n++;
	in->srvid = srvid;
	memcpy(in->text, data.data, data.len < sizeof(in->text) ? data.len : sizeof(in->text));
	if (in->free_this != NULL) {
		TALLOC_FREE(*in->free_this);
	}
	if (in->sync != NULL) {
		in->sync_err = ctdb_get_pid(in->sync, CTDB_NODE_CURRENT, &pid);
	}
	in->stop = true;
}

static void deliver(struct setup *s, uint64_t srvid, const char *text)
{
	struct ctdb_control k = {.node = CTDB_NODE_CURRENT,
				 .opcode = OPCODE_SEND,
				 .srvid = srvid,
				 .data = data_of(text, strlen(text) + 1)};
	struct ctdb_control_reply *reply = NULL;

	assert_int_equal(ctdb_control(s->c, &k, s->c, &reply), 0); /* the message comes before the answer */
	talloc_free(reply);
}

static void test_listen(void **state)
{
	struct setup s;
	struct inbox in = {.n = 0}, all = {.n = 0};
	struct ctdb_listener *l = NULL, *la = NULL;

	begin(&s);
	assert_int_equal(ctdb_listen(s.c, SRVID, receive, &in, s.c, &l), 0);
	deliver(&s, SRVID, "one");
	assert_int_equal(in.n, 1);
	assert_true(in.srvid == SRVID);
	assert_string_equal(in.text, "one");
	deliver(&s, SRVID + 1, "not for us");
	assert_int_equal(in.n, 1);
	assert_int_equal(ctdb_listen(s.c, CTDB_SRVID_ALL, receive, &all, s.c, &la), 0);
	deliver(&s, SRVID + 1, "any");
	assert_int_equal(all.n, 1);
	talloc_free(l);
	deliver(&s, SRVID, "two");
	assert_int_equal(in.n, 1);
	assert_int_equal(all.n, 2);
	assert_int_equal(s.seen->deregistered, 1);
	end(&s);
}

/* One registration at the daemon, however many listen: it would send a copy for each. */
static void test_listen_twice(void **state)
{
	struct setup s;
	struct inbox a = {.n = 0}, b = {.n = 0};
	struct ctdb_listener *la = NULL, *lb = NULL;

	begin(&s);
	assert_int_equal(ctdb_listen(s.c, SRVID, receive, &a, s.c, &la), 0);
	assert_int_equal(ctdb_listen(s.c, SRVID, receive, &b, s.c, &lb), 0);
	assert_int_equal(s.seen->registered, 1);
	deliver(&s, SRVID, "x");
	assert_int_equal(a.n, 1);
	assert_int_equal(b.n, 1);
	talloc_free(la);
	deliver(&s, SRVID, "y");
	assert_int_equal(a.n, 1);
	assert_int_equal(b.n, 2);
	assert_int_equal(s.seen->deregistered, 0);
	talloc_free(lb);
	deliver(&s, SRVID, "z");
	assert_int_equal(s.seen->deregistered, 1);
	end(&s);
}

/* Each of two callbacks frees the other: one of them runs, nothing breaks. */
static void test_free_in_callback(void **state)
{
	struct setup s;
	struct inbox a = {.n = 0}, b = {.n = 0};
	struct ctdb_listener *la = NULL, *lb = NULL;

	begin(&s);
	assert_int_equal(ctdb_listen(s.c, SRVID, receive, &a, s.c, &la), 0);
	assert_int_equal(ctdb_listen(s.c, SRVID, receive, &b, s.c, &lb), 0);
	a.free_this = &lb;
	b.free_this = &la;
	deliver(&s, SRVID, "x");
	assert_int_equal(a.n + b.n, 1);
	a.free_this = &la;
	b.free_this = &lb;
	deliver(&s, SRVID, "y");
	assert_int_equal(a.n + b.n, 2);
	assert_null(la);
	assert_null(lb);
	end(&s);
}

static void test_sync_in_callback(void **state)
{
	struct setup s;
	struct inbox in = {.n = 0};
	struct ctdb_listener *l = NULL;

	begin(&s);
	in.sync = s.c;
	assert_int_equal(ctdb_listen(s.c, SRVID, receive, &in, s.c, &l), 0);
	deliver(&s, SRVID, "x");
	assert_int_equal(in.sync_err, EDEADLK);
	end(&s);
}

static void test_post_and_wait(void **state)
{
	struct setup s;
	int i;
	struct inbox in = {.n = 0};
	struct ctdb_listener *l = NULL;

	begin(&s);
	assert_int_equal(ctdb_listen(s.c, SRVID, receive, &in, s.c, &l), 0);
	assert_int_equal(ctdb_client_wait(s.c, 0, &in.stop), ETIMEDOUT);
	assert_int_equal(ctdb_post_message(s.c, CTDB_NODES_ALL, SRVID, data_of("echo", 5)), 0);
	assert_int_equal(ctdb_client_wait(s.c, PATIENCE_MS, &in.stop), 0);
	assert_string_equal(in.text, "echo");
	in.stop = false;
	assert_int_equal(ctdb_post_message(s.c, CTDB_NODES_ALL, SRVID, data_of("more", 5)), 0);
	for (i = 0; i < 2000 && ctdb_client_wait(s.c, 0, &in.stop) == ETIMEDOUT; i++) {
		usleep(10000);
	}
	assert_string_equal(in.text, "more");
	end(&s);
}

/* A client that is freed from inside a callback of its own (with the caller's event loop). */
static void free_client(void *priv, uint64_t srvid, struct ctdb_data data)
{
	struct ctdb_client **c = priv;

	TALLOC_FREE(*c);
}

static void test_client_freed_in_callback(void **state)
{
	struct tevent_context *ev = tevent_context_init(NULL);
	struct seen *seen = fake_shared(sizeof(*seen));
	struct fake *f = fake_start(serve_messages, seen);
	struct ctdb_client *c = NULL;
	struct ctdb_listener *l = NULL;
	struct tevent_req *req = ctdb_connect_send(ev, ev, fake_path(f), PATIENCE_MS);

	assert_true(tevent_req_poll(req, ev));
	assert_int_equal(ctdb_connect_recv(req, ev, &c), 0);
	req = ctdb_listen_send(ev, c, SRVID, free_client, &c);
	assert_true(tevent_req_poll(req, ev));
	assert_int_equal(ctdb_listen_recv(req, ev, &l), 0);
	assert_int_equal(ctdb_post_message(c, CTDB_NODES_ALL, SRVID, data_of("x", 1)), 0);
	assert_int_equal(ctdb_post_message(c, CTDB_NODES_ALL, SRVID, data_of("y", 1)), 0);
	while (c != NULL) {
		assert_int_equal(tevent_loop_once(ev), 0);
	}
	talloc_free(l);
	talloc_free(ev);
	fake_stop(f);
}

/* ---- the leader ---- */

static bool leader(struct fake *f, const struct fake_request *r, void *priv)
{
	static const uint32_t nobody = CTDB_NODE_UNKNOWN, two = 2;
	bool *silent = priv;

	if (r->hdr.operation != CLASSIC_REQ_CONTROL || r->control.opcode != CLASSIC_CONTROL_REGISTER_SRVID) {
		return false;
	}
	fake_reply_control(f, r, 0, NULL, 0, NULL);
	fake_message(f, CTDB_SRVID_LEADER, &nobody, sizeof(nobody)); /* an election is under way */
	fake_message(f, CTDB_SRVID_LEADER, &two, 3);                 /* too short */
	if (!*silent) {
		fake_message(f, CTDB_SRVID_LEADER, &two, sizeof(two));
	}
	return true;
}

static void test_leader(void **state)
{
	bool *silent = fake_shared(sizeof(*silent));
	struct fake *f = fake_start(leader, silent);
	struct ctdb_client *c = NULL;
	uint32_t pnn = 77;

	assert_int_equal(ctdb_open(NULL, fake_path(f), PATIENCE_MS, &c), 0);
	assert_int_equal(ctdb_get_leader(c, &pnn), 0);
	assert_int_equal(pnn, 2);
	*silent = true;
	ctdb_client_set_timeout(c, SHORT_MS);
	assert_int_equal(ctdb_get_leader(c, &pnn), ETIMEDOUT);
	talloc_free(c);
	fake_stop(f);
}

/* ---- traverse ---- */

struct walk {
	unsigned int n, stop_after;
	uint64_t rsn;
	char keys[64], data[64];
};

static bool walk(void *priv, struct ctdb_data key, struct ctdb_record_header header, struct ctdb_data data)
{
	struct walk *w = priv;

	w->n++;
	w->rsn = header.rsn;
	strncat(w->keys, (const char *)key.data, key.len);
	snprintf(w->data, sizeof(w->data), "%.*s", (int)data.len, (const char *)data.data);
	return w->n != w->stop_after;
}

/* A handle without a file: a traverse does not look into it. */
static int traverse(struct setup *s, struct walk *w, uint64_t *n)
{
	struct db_file file = {.id = 5, .model = CTDB_DB_VOLATILE, .name = (char[]){"t.tdb"}};
	struct ctdb_db db = {.c = s->c, .file = &file};
	struct tevent_req *req = ctdb_traverse_send(s->c, &db, walk, w);
	int err = sync_run(s->c, req);

	assert_int_equal(err, 0);
	err = ctdb_traverse_recv(req, n);
	talloc_free(req);
	return err;
}

static void test_traverse(void **state)
{
	struct setup s;
	struct walk w = {.n = 0}, stopped = {.stop_after = 1}, other = {.n = 0};
	uint64_t n = 0;

	begin(&s);
	assert_int_equal(traverse(&s, &w, &n), 0);
	assert_int_equal(n, 2); /* the empty one does not exist */
	assert_string_equal(w.keys, "k1k2");
	assert_string_equal(w.data, "hello");
	assert_int_equal(w.rsn, 9);
	assert_int_equal(traverse(&s, &stopped, &n), 0);
	assert_int_equal(n, 1);
	s.seen->traverse = OTHER_REQID;
	assert_int_equal(traverse(&s, &other, &n), 0);
	assert_int_equal(n, 2);
	end(&s);
}

static void test_traverse_failures(void **state)
{
	struct setup s;
	struct walk w = {.n = 0};
	uint64_t n = 0;

	begin(&s);
	s.seen->traverse = MALFORMED;
	assert_int_equal(traverse(&s, &w, &n), EPROTO);
	s.seen->traverse = REFUSED;
	assert_int_equal(traverse(&s, &w, &n), EREMOTEIO);
	s.seen->traverse = NO_END;
	ctdb_client_set_timeout(s.c, SHORT_MS);
	assert_int_equal(traverse(&s, &w, &n), ETIMEDOUT);
	ctdb_client_set_timeout(s.c, PATIENCE_MS);
	s.seen->traverse = HANG_UP;
	assert_int_equal(traverse(&s, &w, &n), ENOTCONN);
	end(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_listen),
		cmocka_unit_test(test_listen_twice),
		cmocka_unit_test(test_free_in_callback),
		cmocka_unit_test(test_sync_in_callback),
		cmocka_unit_test(test_post_and_wait),
		cmocka_unit_test(test_client_freed_in_callback),
		cmocka_unit_test(test_leader),
		cmocka_unit_test(test_traverse),
		cmocka_unit_test(test_traverse_failures),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
