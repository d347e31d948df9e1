/* Tunnels and the stream of events, against a server in the same event loop. */
#include "test_world.h"

/* ---- tunnels ---- */

struct tunnel_got {
	unsigned int n;
	uint32_t flags;
	char data[16];
	size_t len;
	struct ctdb_tunnel *free_me;
	struct ctdb_client *free_client;
};

static void on_packet(void *priv, uint32_t flags, struct ctdb_data data)
{
	struct tunnel_got *got = priv;

	got->n++;
	got->flags = flags;
	got->len = data.len < sizeof(got->data) ? data.len : sizeof(got->data);
	memcpy(got->data, data.data, got->len);
	TALLOC_FREE(got->free_me);
	TALLOC_FREE(got->free_client);
}

/* The server's side: what came. */
struct tunnel_sent {
	unsigned int n;
	uint32_t destnode, flags;
	uint64_t id;
	size_t len;
};
static struct tunnel_sent sent;

static void tunnel_came(void *priv, struct ctdb_server_conn *conn, uint32_t destnode,
			const struct ctdb_wire_req_tunnel *packet)
{
	sent = (struct tunnel_sent){sent.n + 1, destnode, packet->flags, packet->tunnel_id, packet->data.len};
}

static struct world *tunnel_world(void)
{
	struct ctdb_server_handlers h = world_handlers();

	h.tunnel = tunnel_came;
	memset(&sent, 0, sizeof(sent));
	return world_new(&h);
}

#define OPEN(w, id, got, t)                                                                                            \
	RUN(w, ctdb_tunnel_open_send(w, (w)->c, id, on_packet, got), ctdb_tunnel_open_recv(req, w, t))

static void test_tunnel(void **state)
{
	struct world *w = tunnel_world();
	struct tunnel_got got = {0};
	struct ctdb_tunnel *t = NULL, *second = NULL;

	assert_int_equal(OPEN(w, CTDB_TUNNEL_TEST, &got, &t), 0);
	assert_int_equal(w->control.opcode, CLASSIC_CONTROL_TUNNEL_REGISTER);
	assert_true(w->control.srvid == CTDB_TUNNEL_TEST);
	assert_int_equal(OPEN(w, CTDB_TUNNEL_TEST, &got, &second), EEXIST);
	assert_int_equal(w->n_controls, 1);
	assert_int_equal(ctdb_tunnel_post(t, 2, CTDB_TUNNEL_FLAG_REQUEST, data_of("hello", 5)), 0);
	LOOP_UNTIL(w, sent.n == 1);
	assert_int_equal(sent.destnode, 2);
	assert_int_equal(sent.flags, CTDB_TUNNEL_FLAG_REQUEST);
	assert_true(sent.id == CTDB_TUNNEL_TEST);
	assert_int_equal(sent.len, 5);
	assert_int_equal(ctdb_tunnel_post(t, CTDB_NODE_CURRENT, 0, data_of("x", 1)), 0);
	LOOP_UNTIL(w, sent.n == 2);
	assert_int_equal(sent.destnode, WORLD_PNN);
	assert_int_equal(ctdb_tunnel_post(t, CTDB_NODES_ALL, 0, data_of("x", 1)), EINVAL);
	assert_int_equal(ctdb_server_send_tunnel(w->conn, CTDB_TUNNEL_TEST + 1, 0, data_of("not for us", 10)), 0);
	assert_int_equal(ctdb_server_send_tunnel(w->conn, CTDB_TUNNEL_TEST, 2, data_of("answer", 6)), 0);
	LOOP_UNTIL(w, got.n == 1);
	assert_int_equal(got.flags, 2);
	assert_memory_equal(got.data, "answer", 6);
	talloc_free(t);
	LOOP_UNTIL(w, w->control.opcode == CLASSIC_CONTROL_TUNNEL_DEREGISTER);
	world_free(w);
}

static void test_tunnel_taken(void **state)
{
	struct world *w = tunnel_world();
	struct tunnel_got got = {0};
	struct ctdb_tunnel *t = NULL;
	uint32_t n;

	w->status = -1;
	assert_int_equal(OPEN(w, 1, &got, &t), EEXIST);
	w->status = 0;
	assert_int_equal(RUN(w, ctdb_ping_send(w, w->c, 0), ctdb_ping_recv(req, &n)), 0);
	assert_int_equal(w->n_controls, 2); /* somebody else's was not deregistered */
	world_free(w);
}

static void test_tunnel_free_in_function(void **state)
{
	struct world *w = tunnel_world();
	struct tunnel_got got = {0};
	struct ctdb_tunnel *t = NULL;

	assert_int_equal(OPEN(w, 1, &got, &got.free_me), 0);
	assert_int_equal(ctdb_server_send_tunnel(w->conn, 1, 0, data_of("1", 1)), 0);
	assert_int_equal(ctdb_server_send_tunnel(w->conn, 1, 0, data_of("2", 1)), 0);
	LOOP_UNTIL(w, w->control.opcode == CLASSIC_CONTROL_TUNNEL_DEREGISTER);
	assert_int_equal(got.n, 1);
	assert_int_equal(OPEN(w, 1, &got, &t), 0);
	got.free_client = w->c;
	w->c = NULL;
	assert_int_equal(ctdb_server_send_tunnel(w->conn, 1, 0, data_of("3", 1)), 0);
	LOOP_UNTIL(w, w->closed == 1);
	assert_int_equal(ctdb_tunnel_post(t, 0, 0, data_of("x", 1)), ENOTCONN);
	talloc_free(t);
	world_free(w);
}

/* ---- events ---- */

struct seen {
	struct ctdb_event events[64];
	char address[32];
	unsigned int n, by_kind[CTDB_EVENT_LOST + 1];
	struct ctdb_events *free_me;
	enum ctdb_event_kind free_at;
};

static void on_event(void *priv, const struct ctdb_event *event)
{
	struct seen *s = priv;

	if (s->n < 64) {
		s->events[s->n] = *event;
	}
	s->n++;
	s->by_kind[event->kind]++;
	if (event->address != NULL) {
		snprintf(s->address, sizeof(s->address), "%s", event->address);
	}
	if (s->free_me != NULL && event->kind == s->free_at) {
		TALLOC_FREE(s->free_me);
	}
}

static const struct ctdb_event *newest(const struct seen *s)
{
	return &s->events[s->n - 1];
}

static struct ctdb_node nodes[3] = {{.pnn = 0}, {.pnn = 1}, {.pnn = 2}};
static uint32_t n_nodes;

static void event_server(struct world *w, struct ctdb_server_request *req, const struct ctdb_wire_req_control *k)
{
	struct ctdb_nodemap map = {.n = n_nodes, .nodes = nodes};
	struct ctdb_data data = {0};

	if (k->opcode == CLASSIC_CONTROL_GET_NODEMAP) {
		assert_int_equal(ctdb_wire_put_nodemap(req, &map, &data), 0);
	} else {
		assert_int_equal(k->opcode, CLASSIC_CONTROL_REGISTER_SRVID);
		assert_int_equal(ctdb_server_conn_register(ctdb_server_request_conn(req), k->srvid), 0);
	}
	ctdb_server_reply_control(req, 0, data, NULL);
}

static struct world *event_world(struct seen *s, uint32_t poll_ms, struct ctdb_events **events)
{
	struct ctdb_server_handlers h = world_handlers();
	struct world *w = world_new(&h);

	n_nodes = 2;
	memset(s, 0, sizeof(*s));
	nodes[0].flags = nodes[1].flags = nodes[2].flags = 0;
	nodes[1].flags = CTDB_NODE_UNHEALTHY;
	w->extra = event_server;
	assert_int_equal(RUN(w, ctdb_events_send(w, w->c, poll_ms, on_event, s), ctdb_events_recv(req, w, events)), 0);
	return w;
}

static void publish_u32(struct world *w, uint64_t srvid, uint32_t v)
{
	assert_int_equal(ctdb_server_publish(w->server, srvid, data_of(&v, sizeof(v))), 1);
}

static void test_events(void **state)
{
	struct ctdb_events *events = NULL;
	struct seen s;
	struct world *w = event_world(&s, 5, &events);

	LOOP_UNTIL(w, s.n == 2);
	assert_true(s.events[0].kind == CTDB_EVENT_NODE && s.events[0].first && s.events[0].flags == 0);
	assert_true(s.events[1].first && s.events[1].pnn == 1 && s.events[1].flags == CTDB_NODE_UNHEALTHY);
	nodes[0].flags = CTDB_NODE_BANNED;
	LOOP_UNTIL(w, s.n == 3);
	assert_true(newest(&s)->pnn == 0 && !newest(&s)->first && newest(&s)->old_flags == 0 &&
		    newest(&s)->flags == CTDB_NODE_BANNED);
	n_nodes = 3;
	LOOP_UNTIL(w, s.n == 4);
	assert_true(newest(&s)->pnn == 2 && newest(&s)->old_flags == CTDB_NODE_DELETED && newest(&s)->flags == 0);
	publish_u32(w, CTDB_SRVID_LEADER, 1);
	LOOP_UNTIL(w, s.n == 5);
	assert_true(newest(&s)->kind == CTDB_EVENT_LEADER && newest(&s)->pnn == 1);
	publish_u32(w, CTDB_SRVID_LEADER, 1); /* no change */
	publish_u32(w, CTDB_SRVID_LEADER, CTDB_NODE_UNKNOWN);
	LOOP_UNTIL(w, s.n == 6);
	assert_int_equal(newest(&s)->pnn, CTDB_NODE_UNKNOWN);
	assert_int_equal(ctdb_server_publish(w->server, CTDB_SRVID_TAKE_IP, data_of("10.0.0.7", 9)), 1);
	LOOP_UNTIL(w, s.n == 7);
	assert_int_equal(newest(&s)->kind, CTDB_EVENT_ADDRESS_TAKEN);
	assert_string_equal(s.address, "10.0.0.7");
	assert_int_equal(ctdb_server_publish(w->server, CTDB_SRVID_RELEASE_IP, data_of("not ended", 9)), 1);
	assert_int_equal(ctdb_server_publish(w->server, CTDB_SRVID_RELEASE_IP, data_of("10.0.0.8", 9)), 1);
	LOOP_UNTIL(w, s.n == 8);
	assert_int_equal(newest(&s)->kind, CTDB_EVENT_ADDRESS_RELEASED);
	assert_string_equal(s.address, "10.0.0.8");
	ctdb_server_conn_close(w->conn);
	LOOP_UNTIL(w, s.n == 9);
	assert_int_equal(newest(&s)->kind, CTDB_EVENT_LOST);
	talloc_free(events);
	world_free(w);
}

/* A recovery has the flags looked at at once. */
static void test_events_recovered(void **state)
{
	struct ctdb_events *events = NULL;
	struct seen s;
	struct world *w = event_world(&s, 3600 * 1000, &events);

	LOOP_UNTIL(w, s.n == 2);
	nodes[1].flags = 0;
	assert_int_equal(ctdb_server_publish(w->server, CTDB_SRVID_RECONFIGURE, (struct ctdb_data){0}), 1);
	LOOP_UNTIL(w, s.n == 4);
	assert_int_equal(s.events[2].kind, CTDB_EVENT_RECOVERED);
	assert_true(s.events[3].kind == CTDB_EVENT_NODE && s.events[3].pnn == 1);
	talloc_free(events);
	world_free(w);
}

static void test_events_silent_leader(void **state)
{
	struct ctdb_events *events = NULL;
	struct seen s;
	struct world *w = event_world(&s, 50, &events);

	publish_u32(w, CTDB_SRVID_LEADER, 0);
	LOOP_UNTIL(w, s.by_kind[CTDB_EVENT_LEADER] == 2);
	assert_int_equal(newest(&s)->pnn, CTDB_NODE_UNKNOWN);
	talloc_free(events);
	world_free(w);
}

/* Freed from its function at each kind of event; and the client before the subscription. */
static void test_events_free(void **state)
{
	enum ctdb_event_kind kind;
	struct ctdb_events *events = NULL;
	struct seen s;
	struct world *w;

	for (kind = CTDB_EVENT_LEADER; kind <= CTDB_EVENT_LOST; kind++) {
		w = event_world(&s, 5, &events);
		s.free_me = events;
		s.free_at = kind;
		if (kind != CTDB_EVENT_NODE) {
			publish_u32(w, CTDB_SRVID_LEADER, 1);
			(void)ctdb_server_publish(w->server, CTDB_SRVID_RECONFIGURE, (struct ctdb_data){0});
			(void)ctdb_server_publish(w->server, CTDB_SRVID_TAKE_IP, data_of("1.1.1.1", 8));
			(void)ctdb_server_publish(w->server, CTDB_SRVID_RELEASE_IP, data_of("1.1.1.1", 8));
		}
		if (kind == CTDB_EVENT_LOST) {
			ctdb_server_conn_close(w->conn);
		}
		LOOP_UNTIL(w, s.free_me == NULL);
		world_free(w);
	}
	w = event_world(&s, 5, &events);
	LOOP_UNTIL(w, s.n >= 2);
	TALLOC_FREE(w->c);
	LOOP_UNTIL(w, w->closed == 1);
	talloc_free(events);
	world_free(w);
}

static void test_event_names(void **state)
{
	assert_string_equal(ctdb_event_kind_name(CTDB_EVENT_LEADER), "leader");
	assert_string_equal(ctdb_event_kind_name(CTDB_EVENT_LOST), "lost");
	assert_string_equal(ctdb_event_kind_name((enum ctdb_event_kind)99), "unknown");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tunnel),
		cmocka_unit_test(test_tunnel_taken),
		cmocka_unit_test(test_tunnel_free_in_function),
		cmocka_unit_test(test_events),
		cmocka_unit_test(test_events_recovered),
		cmocka_unit_test(test_events_silent_leader),
		cmocka_unit_test(test_events_free),
		cmocka_unit_test(test_event_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
