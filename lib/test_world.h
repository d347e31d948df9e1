/* A client and a server of the library in one event loop: the server answers what the test says and keeps what came. */
#ifndef LIB_TEST_WORLD_H
#define LIB_TEST_WORLD_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <ctdb/ctdb.h>

#include "internal.h"

#define WORLD_PNN   3U
#define PATIENCE_MS 20000U

struct world {
	struct tevent_context *ev;
	char dir[64], path[96];
	struct ctdb_server *server;
	struct ctdb_client *c;
	struct ctdb_server_conn *conn; /* of the newest client */
	unsigned int connected, closed;
	/* Of the newest control but GET_PNN. */
	struct ctdb_wire_req_control control;
	uint32_t destnode;
	uint8_t data[256];
	size_t len;
	unsigned int n_controls;
	/* What controls get. */
	int32_t status;
	struct ctdb_data answer;
	const char *error;
	bool silent;                      /* no answer: kept in held */
	struct ctdb_server_request *held; /* the newest of those */
	void (*extra)(struct world *w, struct ctdb_server_request *req, const struct ctdb_wire_req_control *k);
};

/* Each needs some of them. */
static inline void world_get_pnn(void *priv, struct ctdb_server_request *req, const struct ctdb_wire_req_control *k)
{
	ctdb_server_reply_control(req, WORLD_PNN, (struct ctdb_data){0}, NULL);
}

static inline void world_control(void *priv, struct ctdb_server_request *req, const struct ctdb_wire_req_control *k)
{
	struct world *w = priv;

	w->control = *k;
	w->destnode = ctdb_server_request_packet(req)->destnode;
	w->len = k->data.len < sizeof(w->data) ? k->data.len : sizeof(w->data);
	if (w->len > 0) {
		memcpy(w->data, k->data.data, w->len);
	}
	w->n_controls++;
	if (w->extra != NULL) {
		w->extra(w, req, k);
	} else if (w->silent) {
		w->held = req;
	} else {
		ctdb_server_reply_control(req, w->status, w->answer, w->error);
	}
}

static inline void world_connected(void *priv, struct ctdb_server_conn *conn)
{
	struct world *w = priv;

	w->connected++;
	w->conn = conn;
}

static inline void world_closed(void *priv, struct ctdb_server_conn *conn)
{
	((struct world *)priv)->closed++;
}

/* Waits for the end of req, which its _recv then takes. */
static inline struct tevent_req *run(struct world *w, struct tevent_req *req)
{
	assert_non_null(req);
	assert_true(tevent_req_poll(req, w->ev));
	return req;
}

#define RUN(w, send, recv)                                                                                             \
	({                                                                                                             \
		struct tevent_req *req = run(w, send);                                                                 \
		int run_err = (recv);                                                                                  \
                                                                                                                       \
		talloc_free(req);                                                                                      \
		run_err;                                                                                               \
	})

#define LOOP_UNTIL(w, condition)                                                                                       \
	while (!(condition)) {                                                                                         \
		assert_int_equal(tevent_loop_once((w)->ev), 0);                                                        \
	}

/* Only GET_PNN is answered by the table; handlers may be changed before. */
static inline struct ctdb_server_handlers world_handlers(void)
{
	static const struct ctdb_server_control controls[] = {{CLASSIC_CONTROL_GET_PNN, world_get_pnn}};

	return (struct ctdb_server_handlers){.connected = world_connected,
					     .closed = world_closed,
					     .controls = controls,
					     .n_controls = 1,
					     .control = world_control};
}

static inline struct ctdb_client *world_connect(struct world *w, uint32_t timeout_ms)
{
	struct ctdb_client *c = NULL;

	assert_int_equal(RUN(w, ctdb_connect_send(w, w->ev, w->path, timeout_ms), ctdb_connect_recv(req, w, &c)), 0);
	return c;
}

static inline struct world *world_new(const struct ctdb_server_handlers *handlers)
{
	struct world *w = talloc_zero(NULL, struct world);

	w->ev = tevent_context_init(w);
	snprintf(w->dir, sizeof(w->dir), "/tmp/ctworldXXXXXX");
	assert_non_null(mkdtemp(w->dir));
	snprintf(w->path, sizeof(w->path), "%s/socket", w->dir);
	assert_int_equal(ctdb_server_listen(w, w->ev, w->path, handlers, w, &w->server), 0);
	ctdb_server_set_identity(w->server, WORLD_PNN, 17);
	w->c = world_connect(w, PATIENCE_MS);
	return w;
}

static inline void world_free(struct world *w)
{
	char dir[64];

	memcpy(dir, w->dir, sizeof(dir));
	talloc_free(w->c);
	talloc_free(w->server);
	talloc_free(w);
	assert_int_equal(rmdir(dir), 0); /* the socket went with the server */
}

#endif
