/* Cases: tunnels and the stream of events. */
#include "suite.h"

/* ---- tunnels ---- */

struct end {
	struct peer *p;
	struct ctdb_tunnel *t;
	unsigned int n, wanted;
	uint32_t flags;
	bool done;
};

static void numbered(void *priv, uint32_t flags, struct ctdb_data data)
{
	struct end *e = priv;

	CHECK(number(data) == e->n, "packet %lu instead of %u", number(data), e->n);
	e->flags = flags;
	e->n++;
	e->done = e->n == e->wanted;
}

static int tunnel_open(struct end *e, uint64_t id)
{
	return BOTH(e->p, ctdb_tunnel_open(e->p->c, id, numbered, e, e->p, &e->t),
		    ctdb_tunnel_open_send(e->p, e->p->c, id, numbered, e), ctdb_tunnel_open_recv(req, e->p, &e->t));
}

static void post(struct end *from, uint32_t node, uint32_t flags, unsigned int n)
{
	for (unsigned int i = 0; i < n; i++) {
		char text[16];

		snprintf(text, sizeof(text), "%u", i);
		CHECK_OK(from->p, ctdb_tunnel_post(from->t, node, flags, bytes(text)));
	}
	if (from->p->ev == NULL) {
		CHECK_OK(from->p, ctdb_client_flush(from->p->c));
	} else {
		suite_settle(from->p);
	}
}

/* Both directions, in order; one end a node. */
static void case_tunnel(const struct suite *s)
{
	uint64_t id = CTDB_TUNNEL_TEST | (uint32_t)getpid();
	struct end a = {.p = suite_connect(s, 0), .wanted = 100}, b = {.p = suite_connect(s, 1), .wanted = 200};
	struct end second = {.p = suite_connect(s, 1)};

	CHECK_OK(a.p, tunnel_open(&a, id));
	CHECK_OK(b.p, tunnel_open(&b, id));
	CHECK_ERR(second.p, tunnel_open(&second, id), EEXIST);
	post(&a, 1, CTDB_TUNNEL_FLAG_REQUEST, b.wanted);
	suite_wait(b.p, &b.done);
	CHECK(b.flags == CTDB_TUNNEL_FLAG_REQUEST, "flags %#x", b.flags);
	post(&b, 0, CTDB_TUNNEL_FLAG_REPLY, a.wanted);
	suite_wait(a.p, &a.done);
	CHECK(a.flags == CTDB_TUNNEL_FLAG_REPLY, "flags %#x", a.flags);
	CHECK_ERR(a.p, ctdb_tunnel_post(a.t, CTDB_NODES_ALL, 0, bytes("0")), EINVAL);
	/* Its end makes the place free. */
	talloc_free(b.t);
	suite_settle(b.p);
	CHECK_OK(second.p, tunnel_open(&second, id));
	talloc_free(second.p);
	talloc_free(b.p);
	talloc_free(a.p);
}

/* ---- events ---- */

struct log {
	unsigned int nodes_seen; /* bits, of the first look */
	unsigned int n_nodes;
	uint32_t leader;
	uint32_t watched; /* node whose flags are waited for */
	uint32_t wanted;  /* bits that must be set, or (0) clear */
	bool have_leader, have_nodes, have_flags, recovered, lost;
};

static void event(void *priv, const struct ctdb_event *e)
{
	struct log *log = priv;

	CHECK(ctdb_event_kind_name(e->kind)[0] != '\0', "kind %d", e->kind);
	switch (e->kind) {
	case CTDB_EVENT_LEADER:
		log->leader = e->pnn;
		log->have_leader = e->pnn != CTDB_NODE_UNKNOWN;
		break;
	case CTDB_EVENT_RECOVERED:
		log->recovered = true;
		break;
	case CTDB_EVENT_NODE:
		if (e->first) {
			log->nodes_seen |= 1U << e->pnn;
			log->have_nodes = log->nodes_seen == (1U << log->n_nodes) - 1;
		} else if (e->pnn == log->watched) {
			log->have_flags = log->wanted != 0 ? (e->flags & log->wanted) != 0 : e->flags == 0;
		}
		break;
	case CTDB_EVENT_LOST:
		log->lost = true;
		break;
	case CTDB_EVENT_ADDRESS_TAKEN:
	case CTDB_EVENT_ADDRESS_RELEASED:
		CHECK(false, "an address, %s, though none is configured", e->address);
	}
}

static void subscribe(struct peer *p, struct log *log)
{
	struct ctdb_events *events = NULL;

	CHECK_OK(p, BOTH(p, ctdb_events(p->c, 200, event, log, p, &events), ctdb_events_send(p, p->c, 200, event, log),
			 ctdb_events_recv(req, p, &events)));
}

static void case_events(const struct suite *s)
{
	struct peer *p = suite_connect(s, 0);
	struct log log = {.watched = CTDB_NODE_UNKNOWN, .n_nodes = s->n_nodes};

	subscribe(p, &log);
	suite_wait(p, &log.have_leader);
	suite_wait(p, &log.have_nodes);
	suite_pause(p, 500);
	CHECK(log.nodes_seen == (1U << s->n_nodes) - 1, "nodes %#x", log.nodes_seen);
	CHECK(log.leader < s->n_nodes, "leader %u", log.leader);
	talloc_free(p);
}

/* A node that is stopped and continued: both are told, and the recovery that each brings. */
static void case_events_stop(const struct suite *s)
{
	uint32_t node = s->n_nodes - 1;
	struct peer *p = suite_connect(s, 0);
	struct log log = {.watched = node, .wanted = CTDB_NODE_STOPPED};

	subscribe(p, &log);
	CHECK_OK(p, BOTH(p, ctdb_stop_node(p->c, node), ctdb_stop_node_send(p, p->c, node), ctdb_stop_node_recv(req)));
	suite_wait(p, &log.have_flags);
	suite_wait(p, &log.recovered);
	log = (struct log){.watched = node, .wanted = 0};
	CHECK_OK(p, BOTH(p, ctdb_continue_node(p->c, node), ctdb_continue_node_send(p, p->c, node),
			 ctdb_continue_node_recv(req)));
	suite_wait(p, &log.have_flags);
	suite_wait(p, &log.recovered);
	talloc_free(p);
}

const struct suite_case event_cases[] = {
	{"tunnel", 2, case_tunnel},
	{"events", 1, case_events},
	{"events_stop", 3, case_events_stop},
	{NULL},
};
