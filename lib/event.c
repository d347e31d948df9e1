/* Events: messages of the daemons, and looking at the node map from time to time. */
#include "internal.h"

#include <errno.h>

#include <ctdb/event.h>

#include "protocol/classic_native.h"

/* Leaders say so each second; those who follow them give up after 5 s. */
#define LEADER_SILENT_MS 5500U
#define LISTENERS        4U

struct ctdb_events {
	struct op op;
	struct tevent_req *watch; /* never done; fails when the connection is lost */
	bool started;
	uint32_t poll_ms;
	ctdb_event_fn fn;
	void *priv;
	struct ctdb_listener *listeners[LISTENERS];
	bool leader_told;
	uint32_t leader;
	struct tevent_timer *leader_timer, *poll_timer;
	struct tevent_req *poll;
	bool poll_again; /* when the one that runs is done */
	struct ctdb_nodemap *nodes;
	bool *freed; /* set when the subscription is freed from its function */
};

struct watch_state {
	char unused;
};

static void on_leader(void *priv, uint64_t srvid, struct ctdb_data data);
static void on_reconfigure(void *priv, uint64_t srvid, struct ctdb_data data);
static void on_address(void *priv, uint64_t srvid, struct ctdb_data data);
static void poll_start(struct ctdb_events *e);

static const struct {
	uint64_t srvid;
	ctdb_message_fn fn;
} sources[LISTENERS] = {
	{CTDB_SRVID_LEADER, on_leader},
	{CTDB_SRVID_RECONFIGURE, on_reconfigure},
	{CTDB_SRVID_RELEASE_IP, on_address},
	{CTDB_SRVID_TAKE_IP, on_address},
};

const char *ctdb_event_kind_name(enum ctdb_event_kind kind)
{
	static const char *const names[] = {"leader", "recovered", "node", "address-taken", "address-released", "lost"};

	return (unsigned int)kind < sizeof(names) / sizeof(names[0]) ? names[kind] : "unknown";
}

/* False: the subscription is gone, or no more may come. */
static bool tell(struct ctdb_events *e, const struct ctdb_event *event)
{
	bool freed = false, *outer = e->freed;

	e->freed = &freed;
	e->fn(e->priv, event);
	if (freed) {
		if (outer != NULL) {
			*outer = true;
		}
		return false;
	}
	e->freed = outer;
	return e->op.c != NULL && e->op.c->fd != -1;
}

/* ---- who leads ---- */

static void tell_leader(struct ctdb_events *e, uint32_t pnn)
{
	if (!e->leader_told || e->leader != pnn) {
		e->leader_told = true;
		e->leader = pnn;
		(void)tell(e, &(struct ctdb_event){.kind = CTDB_EVENT_LEADER, .pnn = pnn});
	}
}

static void leader_silent(struct tevent_context *ev, struct tevent_timer *te, struct timeval now, void *priv)
{
	struct ctdb_events *e = priv;

	e->leader_timer = NULL;
	tell_leader(e, CTDB_NODE_UNKNOWN);
}

/* Without memory for the timer the silence of a leader is not told: nothing else suffers. */
static void leader_wait(struct ctdb_events *e)
{
	TALLOC_FREE(e->leader_timer);
	e->leader_timer = tevent_add_timer(e->op.c->ev, e, timeout_endtime(LEADER_SILENT_MS), leader_silent, e);
}

static void on_leader(void *priv, uint64_t srvid, struct ctdb_data data)
{
	struct ctdb_events *e = priv;
	struct classic_u32 v;

	if (e->started && classic_u32_nview(data.data, data.len, &v, NULL) == 0) {
		leader_wait(e);
		tell_leader(e, v.value);
	}
}

/* ---- flags of the nodes ---- */

static const struct ctdb_node *node_find(const struct ctdb_nodemap *map, uint32_t pnn)
{
	uint32_t i;

	for (i = 0; map != NULL && i < map->n; i++) {
		if (map->nodes[i].pnn == pnn) {
			return &map->nodes[i];
		}
	}
	return NULL;
}

/* Takes over map. False as tell(). */
static bool nodes_compare(struct ctdb_events *e, struct ctdb_nodemap *map)
{
	struct ctdb_nodemap *old = e->nodes;
	bool first = old == NULL, more = true;
	uint32_t i;

	e->nodes = talloc_steal(e, map);
	for (i = 0; more && i < map->n; i++) {
		const struct ctdb_node *n = &map->nodes[i], *was = node_find(old, n->pnn);
		uint32_t old_flags = was != NULL ? was->flags : CTDB_NODE_DELETED;

		if (first || was == NULL || old_flags != n->flags) {
			more = tell(e, &(struct ctdb_event){.kind = CTDB_EVENT_NODE,
							    .pnn = n->pnn,
							    .flags = n->flags,
							    .old_flags = old_flags,
							    .first = first});
		}
	}
	if (more) {
		talloc_free(old); /* else it went, or goes, with the subscription */
	}
	return more;
}

static void poll_due(struct tevent_context *ev, struct tevent_timer *te, struct timeval now, void *priv)
{
	struct ctdb_events *e = priv;

	e->poll_timer = NULL;
	poll_start(e);
}

static void poll_later(struct ctdb_events *e, uint32_t ms)
{
	TALLOC_FREE(e->poll_timer);
	e->poll_timer = tevent_add_timer(e->op.c->ev, e, timeout_endtime(ms), poll_due, e);
	if (e->poll_timer == NULL) {
		tevent_req_defer_callback(e->watch, e->op.c->ev);
		tevent_req_oom(e->watch);
	}
}

static void poll_done(struct tevent_req *subreq)
{
	struct ctdb_events *e = tevent_req_callback_data(subreq, struct ctdb_events);
	struct ctdb_nodemap *map = NULL;
	int err = ctdb_get_nodemap_recv(subreq, e, &map);

	TALLOC_FREE(e->poll);
	if (e->op.c == NULL || e->op.c->fd == -1) {
		return; /* the watch tells it */
	}
	if (err == 0 && !nodes_compare(e, map)) {
		return;
	}
	poll_later(e, e->poll_again ? 0 : e->poll_ms);
	e->poll_again = false;
}

static void poll_start(struct ctdb_events *e)
{
	if (e->op.c == NULL || e->op.c->fd == -1) {
		return;
	}
	if (e->poll != NULL) {
		e->poll_again = true;
		return;
	}
	TALLOC_FREE(e->poll_timer);
	e->poll = ctdb_get_nodemap_send(e, e->op.c, CTDB_NODE_CURRENT);
	if (e->poll == NULL) {
		poll_later(e, e->poll_ms);
		return;
	}
	tevent_req_set_callback(e->poll, poll_done, e);
}

static void on_reconfigure(void *priv, uint64_t srvid, struct ctdb_data data)
{
	struct ctdb_events *e = priv;

	if (e->started && tell(e, &(struct ctdb_event){.kind = CTDB_EVENT_RECOVERED})) {
		poll_start(e);
	}
}

/* ---- addresses ---- */

static void on_address(void *priv, uint64_t srvid, struct ctdb_data data)
{
	struct ctdb_events *e = priv;

	if (e->started && data.len > 0 && data.data[data.len - 1] == '\0') {
		(void)tell(e, &(struct ctdb_event){.kind = srvid == CTDB_SRVID_TAKE_IP ? CTDB_EVENT_ADDRESS_TAKEN
										       : CTDB_EVENT_ADDRESS_RELEASED,
						   .address = (const char *)data.data});
	}
}

/* ---- the subscription ---- */

static void watch_failed(struct tevent_req *watch)
{
	struct ctdb_events *e = tevent_req_callback_data(watch, struct ctdb_events);

	TALLOC_FREE(e->leader_timer);
	TALLOC_FREE(e->poll_timer);
	if (e->started) {
		(void)tell(e, &(struct ctdb_event){.kind = CTDB_EVENT_LOST});
	}
}

static int events_destructor(struct ctdb_events *e)
{
	if (e->freed != NULL) {
		*e->freed = true;
	}
	op_end(&e->op);
	return 0;
}

static struct ctdb_events *events_new(TALLOC_CTX *mem, struct ctdb_client *c)
{
	struct ctdb_events *e = talloc_zero(mem, struct ctdb_events);
	struct watch_state *state;

	if (e == NULL) {
		return NULL;
	}
	e->watch = tevent_req_create(e, &state, struct watch_state);
	if (e->watch == NULL) {
		talloc_free(e);
		return NULL;
	}
	op_begin(&e->op, c, e->watch);
	talloc_set_destructor(e, events_destructor);
	tevent_req_set_callback(e->watch, watch_failed, e);
	return e;
}

struct events_state {
	struct ctdb_events *e;
	unsigned int n_listening;
};

static void events_listening(struct tevent_req *subreq);

static bool events_listen(struct tevent_req *req)
{
	struct events_state *s = tevent_req_data(req, struct events_state);
	struct ctdb_events *e = s->e;
	struct tevent_req *subreq =
		ctdb_listen_send(s, e->op.c, sources[s->n_listening].srvid, sources[s->n_listening].fn, e);

	if (tevent_req_nomem(subreq, req)) {
		return false;
	}
	tevent_req_set_callback(subreq, events_listening, req);
	return true;
}

struct tevent_req *ctdb_events_send(TALLOC_CTX *mem, struct ctdb_client *c, uint32_t poll_ms, ctdb_event_fn fn,
				    void *priv)
{
	struct events_state *s;
	struct tevent_req *req = tevent_req_create(mem, &s, struct events_state);

	if (req == NULL) {
		return NULL;
	}
	*s = (struct events_state){.e = events_new(s, c)};
	if (tevent_req_nomem(s->e, req)) {
		return tevent_req_post(req, c->ev);
	}
	s->e->poll_ms = poll_ms != 0 ? poll_ms : CTDB_EVENT_POLL_MS;
	s->e->fn = fn;
	s->e->priv = priv;
	return events_listen(req) ? req : tevent_req_post(req, c->ev);
}

static void events_listening(struct tevent_req *subreq)
{
	struct tevent_req *req = tevent_req_callback_data(subreq, struct tevent_req);
	struct events_state *s = tevent_req_data(req, struct events_state);
	int err = ctdb_listen_recv(subreq, s->e, &s->e->listeners[s->n_listening]);

	talloc_free(subreq);
	if (tevent_req_error(req, err)) {
		return;
	}
	s->n_listening++;
	if (s->n_listening == LISTENERS) {
		tevent_req_done(req);
	} else {
		(void)events_listen(req);
	}
}

int ctdb_events_recv(struct tevent_req *req, TALLOC_CTX *mem, struct ctdb_events **events)
{
	struct events_state *s = tevent_req_data(req, struct events_state);
	struct ctdb_events *e = s->e;
	int err;

	if (req_failed(req, &err)) {
		return err;
	}
	if (e->op.c == NULL || e->op.c->fd == -1) {
		return ENOTCONN;
	}
	e->started = true;
	leader_wait(e);
	poll_start(e);
	*events = talloc_steal(mem, e);
	s->e = NULL;
	return 0;
}

int ctdb_events(struct ctdb_client *c, uint32_t poll_ms, ctdb_event_fn fn, void *priv, TALLOC_CTX *mem,
		struct ctdb_events **events)
{
	SYNC_RETURN(c, ctdb_events_send(mem, c, poll_ms, fn, priv), ctdb_events_recv(req, mem, events));
}
