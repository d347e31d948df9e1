/* Messages: sending, registrations, and who leads (which is told by message). */
#include "internal.h"

#include <errno.h>

#include "protocol/classic_native.h"

struct ctdb_listener {
	struct dlist link;
	struct ctdb_client *c; /* NULL when the client was freed */
	bool active;           /* the daemon has confirmed it */
	uint64_t srvid;
	ctdb_message_fn fn;
	void *priv;
};

int ctdb_post_message(struct ctdb_client *c, uint32_t node, uint64_t srvid, struct ctdb_data data)
{
	struct classic_req_message p = {.srvid = srvid, .data = blob_of(data)};
	struct ctdb_blob body = {.len = 0};
	int err = data.len > CLASSIC_DATA_MAX ? EMSGSIZE : classic_req_message_nencode(c, &p, &body);

	if (err != 0) {
		return client_fail(c, err, "message to 0x%llx: %s", (unsigned long long)srvid,
				   err == EMSGSIZE ? "too large" : strerror(err));
	}
	err = client_queue(c, CLASSIC_REQ_MESSAGE, node, 0, &body);
	talloc_free(body.data);
	return err;
}

/* ---- registrations ---- */

void listeners_dispatch(struct ctdb_client *c, uint64_t srvid, struct ctdb_data data)
{
	bool *freed = c->freed; /* packets_in() owns it and lives longer than this */
	struct dlist *e;

	for (e = c->listeners.next; e != &c->listeners; e = c->next_listener) {
		struct ctdb_listener *l = dlist_entry(e, struct ctdb_listener, link);

		c->next_listener = e->next;
		if (!l->active || (l->srvid != srvid && l->srvid != CTDB_SRVID_ALL)) {
			continue;
		}
		l->fn(l->priv, srvid, data);
		if (*freed) {
			return;
		}
	}
	c->next_listener = NULL;
}

void listeners_orphan(struct ctdb_client *c)
{
	dlist_for_each_safe(e, &c->listeners)
	{
		dlist_entry(e, struct ctdb_listener, link)->c = NULL;
		dlist_remove(e);
	}
}

static bool srvid_in_use(struct ctdb_client *c, uint64_t srvid)
{
	dlist_for_each(e, &c->listeners)
	{
		if (dlist_entry(e, struct ctdb_listener, link)->srvid == srvid) {
			return true;
		}
	}
	return false;
}

static int listener_destructor(struct ctdb_listener *l)
{
	if (l->c == NULL) {
		return 0;
	}
	if (l->c->next_listener == &l->link) {
		l->c->next_listener = l->link.next;
	}
	dlist_remove(&l->link);
	if (l->c->fd != -1 && !srvid_in_use(l->c, l->srvid)) {
		(void)control_post(l->c, CLASSIC_CONTROL_DEREGISTER_SRVID, l->srvid, (struct ctdb_data){0});
	}
	return 0;
}

struct listen_state {
	struct ctdb_listener *l;
};

static void listen_done(struct tevent_req *subreq);

/*
 * The daemon sends one copy for each registration of a connection, so one registration serves all listeners of a srvid.
 * Listeners after the first only ask something harmless: its answer comes after that of the registration.
 */
struct tevent_req *ctdb_listen_send(TALLOC_CTX *mem, struct ctdb_client *c, uint64_t srvid, ctdb_message_fn fn,
				    void *priv)
{
	struct listen_state *s;
	struct tevent_req *req = tevent_req_create(mem, &s, struct listen_state), *subreq;
	bool first = !srvid_in_use(c, srvid);

	if (req == NULL) {
		return NULL;
	}
	s->l = talloc_zero(s, struct ctdb_listener);
	if (tevent_req_nomem(s->l, req)) {
		return tevent_req_post(req, c->ev);
	}
	*s->l = (struct ctdb_listener){.c = c, .srvid = srvid, .fn = fn, .priv = priv};
	dlist_add_tail(&c->listeners, &s->l->link);
	talloc_set_destructor(s->l, listener_destructor);
	subreq = control_send(s, c, CTDB_NODE_CURRENT, first ? CLASSIC_CONTROL_REGISTER_SRVID : CLASSIC_CONTROL_GET_PNN,
			      first ? srvid : 0, (struct ctdb_data){0});
	if (tevent_req_nomem(subreq, req)) {
		return tevent_req_post(req, c->ev);
	}
	tevent_req_set_callback(subreq, listen_done, req);
	return req;
}

static void listen_done(struct tevent_req *subreq)
{
	struct tevent_req *req = tevent_req_callback_data(subreq, struct tevent_req);
	struct listen_state *s = tevent_req_data(req, struct listen_state);
	int32_t status;
	int err = control_status_recv(subreq, &status);

	talloc_free(subreq);
	if (tevent_req_error(req, err)) {
		return;
	}
	s->l->active = true;
	tevent_req_done(req);
}

int ctdb_listen_recv(struct tevent_req *req, TALLOC_CTX *mem, struct ctdb_listener **listener)
{
	struct listen_state *s = tevent_req_data(req, struct listen_state);
	int err;

	if (req_failed(req, &err)) {
		return err;
	}
	*listener = talloc_steal(mem, s->l);
	return 0;
}

int ctdb_listen(struct ctdb_client *c, uint64_t srvid, ctdb_message_fn fn, void *priv, TALLOC_CTX *mem,
		struct ctdb_listener **listener)
{
	struct tevent_req *req = SYNC_SEND(c, ctdb_listen_send(mem, c, srvid, fn, priv));
	int err = sync_run(c, req);

	if (err == 0) {
		err = ctdb_listen_recv(req, mem, listener);
		talloc_free(req);
	}
	return err;
}

/* ---- the leader ---- */

struct leader_state {
	struct op op;
	struct ctdb_listener *l;
	uint32_t pnn;
};

static int leader_destructor(struct leader_state *s)
{
	op_end(&s->op);
	return 0;
}

static void leader_listening(struct tevent_req *subreq);
static void leader_heard(void *priv, uint64_t srvid, struct ctdb_data data);

struct tevent_req *ctdb_get_leader_send(TALLOC_CTX *mem, struct ctdb_client *c)
{
	struct leader_state *s;
	struct tevent_req *req = tevent_req_create(mem, &s, struct leader_state), *subreq;

	if (req == NULL) {
		return NULL;
	}
	*s = (struct leader_state){.pnn = CTDB_NODE_UNKNOWN};
	subreq = ctdb_listen_send(s, c, CTDB_SRVID_LEADER, leader_heard, s);
	if (tevent_req_nomem(subreq, req) || !tevent_req_set_endtime(req, c->ev, client_endtime(c))) {
		return tevent_req_post(req, c->ev);
	}
	tevent_req_set_callback(subreq, leader_listening, req);
	return req;
}

static void leader_listening(struct tevent_req *subreq)
{
	struct tevent_req *req = tevent_req_callback_data(subreq, struct tevent_req);
	struct leader_state *s = tevent_req_data(req, struct leader_state);
	int err = ctdb_listen_recv(subreq, s, &s->l);

	talloc_free(subreq);
	if (tevent_req_error(req, err)) {
		return;
	}
	op_begin(&s->op, s->l->c, req);
	talloc_set_destructor(s, leader_destructor);
}

/* "Nobody, an election is under way" is no answer yet. */
static void leader_heard(void *priv, uint64_t srvid, struct ctdb_data data)
{
	struct leader_state *s = priv;
	struct classic_u32 v;

	if (classic_u32_nview(data.data, data.len, &v, NULL) != 0 || v.value == CTDB_NODE_UNKNOWN ||
	    !tevent_req_is_in_progress(s->op.req)) {
		return;
	}
	s->pnn = v.value;
	tevent_req_done(s->op.req);
}

int ctdb_get_leader_recv(struct tevent_req *req, uint32_t *pnn)
{
	struct leader_state *s = tevent_req_data(req, struct leader_state);
	int err;

	if (req_failed(req, &err)) {
		return err == ETIMEDOUT ? client_fail(s->op.c, err, "no node says that it leads the cluster") : err;
	}
	*pnn = s->pnn;
	return 0;
}

int ctdb_get_leader(struct ctdb_client *c, uint32_t *pnn)
{
	struct tevent_req *req = SYNC_SEND(c, ctdb_get_leader_send(c, c));
	int err = sync_run(c, req);

	if (err == 0) {
		err = ctdb_get_leader_recv(req, pnn);
		talloc_free(req);
	}
	return err;
}
