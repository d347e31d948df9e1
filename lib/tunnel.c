/* Tunnels: one end a node, packets pass the daemons unseen. */
#include "internal.h"

#include <errno.h>

#include <ctdb/tunnel.h>

#include "protocol/classic_native.h"

struct ctdb_tunnel {
	struct dlist link;
	struct ctdb_client *c; /* NULL when the client was freed */
	bool active;           /* the daemon has confirmed it */
	bool refused;
	uint64_t id;
	ctdb_tunnel_fn fn;
	void *priv;
};

void tunnels_dispatch(struct ctdb_client *c, const struct classic_req_tunnel *packet)
{
	dlist_for_each(e, &c->tunnels)
	{
		struct ctdb_tunnel *t = dlist_entry(e, struct ctdb_tunnel, link);

		if (t->active && t->id == packet->tunnel_id) {
			t->fn(t->priv, packet->flags, data_of_blob(packet->data));
			return; /* there is one only; it may be gone now, and the client with it */
		}
	}
}

void tunnels_orphan(struct ctdb_client *c)
{
	dlist_for_each_safe(e, &c->tunnels)
	{
		dlist_entry(e, struct ctdb_tunnel, link)->c = NULL;
		dlist_remove(e);
	}
}

static int tunnel_destructor(struct ctdb_tunnel *t)
{
	if (t->c == NULL) {
		return 0;
	}
	dlist_remove(&t->link);
	if (!t->refused && t->c->fd != -1) { /* also if the answer did not come: it may have been yes */
		(void)control_post(t->c, CLASSIC_CONTROL_TUNNEL_DEREGISTER, t->id, (struct ctdb_data){0});
	}
	return 0;
}

static int taken(struct ctdb_tunnel *t, const char *who)
{
	t->refused = true;
	return client_fail(t->c, EEXIST, "%s has the tunnel 0x%llx", who, (unsigned long long)t->id);
}

static bool id_in_use(struct ctdb_client *c, uint64_t id)
{
	dlist_for_each(e, &c->tunnels)
	{
		if (dlist_entry(e, struct ctdb_tunnel, link)->id == id) {
			return true;
		}
	}
	return false;
}

struct tunnel_open_state {
	struct ctdb_tunnel *t;
};

static void tunnel_open_done(struct tevent_req *subreq);

struct tevent_req *ctdb_tunnel_open_send(TALLOC_CTX *mem, struct ctdb_client *c, uint64_t id, ctdb_tunnel_fn fn,
					 void *priv)
{
	struct tunnel_open_state *s;
	struct tevent_req *req = tevent_req_create(mem, &s, struct tunnel_open_state), *subreq;
	bool own = id_in_use(c, id);

	if (req == NULL) {
		return NULL;
	}
	s->t = talloc_zero(s, struct ctdb_tunnel);
	if (tevent_req_nomem(s->t, req)) {
		return tevent_req_post(req, c->ev);
	}
	*s->t = (struct ctdb_tunnel){.c = c, .id = id, .fn = fn, .priv = priv};
	dlist_add_tail(&c->tunnels, &s->t->link);
	talloc_set_destructor(s->t, tunnel_destructor);
	if (own) {
		tevent_req_error(req, taken(s->t, "this client"));
		return tevent_req_post(req, c->ev);
	}
	subreq = control_send(s, c, CTDB_NODE_CURRENT, CLASSIC_CONTROL_TUNNEL_REGISTER, id, (struct ctdb_data){0});
	if (tevent_req_nomem(subreq, req)) {
		return tevent_req_post(req, c->ev);
	}
	tevent_req_set_callback(subreq, tunnel_open_done, req);
	return req;
}

static void tunnel_open_done(struct tevent_req *subreq)
{
	struct tevent_req *req = tevent_req_callback_data(subreq, struct tevent_req);
	struct tunnel_open_state *s = tevent_req_data(req, struct tunnel_open_state);
	int err = control_done_recv(subreq);

	talloc_free(subreq);
	if (err == EREMOTEIO) {
		err = taken(s->t, "another program of this node");
	}
	if (!tevent_req_error(req, err)) {
		s->t->active = true;
		tevent_req_done(req);
	}
}

int ctdb_tunnel_open_recv(struct tevent_req *req, TALLOC_CTX *mem, struct ctdb_tunnel **tunnel)
{
	struct tunnel_open_state *s = tevent_req_data(req, struct tunnel_open_state);
	int err;

	if (req_failed(req, &err)) {
		return err;
	}
	*tunnel = talloc_steal(mem, s->t);
	return 0;
}

int ctdb_tunnel_open(struct ctdb_client *c, uint64_t id, ctdb_tunnel_fn fn, void *priv, TALLOC_CTX *mem,
		     struct ctdb_tunnel **tunnel)
{
	SYNC_RETURN(c, ctdb_tunnel_open_send(mem, c, id, fn, priv), ctdb_tunnel_open_recv(req, mem, tunnel));
}

int ctdb_tunnel_post(struct ctdb_tunnel *t, uint32_t node, uint32_t flags, struct ctdb_data data)
{
	struct classic_req_tunnel p = {.tunnel_id = t->id, .flags = flags, .data = blob_of(data)};
	struct ctdb_client *c = t->c;
	struct ctdb_blob body = {.len = 0};
	int err;

	if (c == NULL) {
		return ENOTCONN;
	}
	node = node == CTDB_NODE_CURRENT ? c->pnn : node;
	if (node >= CTDB_NODE_CURRENT) {
		return client_fail(c, EINVAL, "a packet of a tunnel goes to one node");
	}
	err = data.len > CLASSIC_DATA_MAX ? EMSGSIZE : classic_req_tunnel_nencode(c, &p, &body);
	if (err != 0) {
		return client_fail(c, err, "packet of a tunnel: %s", err == EMSGSIZE ? "too large" : strerror(err));
	}
	err = client_queue(c, CLASSIC_REQ_TUNNEL, node, 0, &body);
	talloc_free(body.data);
	return err;
}
