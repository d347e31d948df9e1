/* Tunnels: one client of a node is the end of a tunnel id; packets to it from clients of any node. */
#include "dbd/client.h"
#include "dbd/control.h"
#include "shared/log.h"

/* A registered tunnel id. Child of the client. */
struct tunnel {
	struct dlist link;
	struct client *client;
	uint64_t id;
};

static struct tunnel *find(const struct clients *cs, uint64_t id)
{
	dlist_for_each(e, &cs->tunnels)
	{
		struct tunnel *t = dlist_entry(e, struct tunnel, link);

		if (t->id == id && !t->client->dead) {
			return t;
		}
	}
	return NULL;
}

static int tunnel_destructor(struct tunnel *t)
{
	dlist_remove(&t->link);
	return 0;
}

void control_tunnel_register(struct control *ctl)
{
	struct tunnel *t;

	if (find(ctl->clients, ctl->srvid) != NULL) {
		control_reply(ctl, -1, NULL, 0, NULL);
		return;
	}
	t = talloc(ctl->client, struct tunnel);
	if (t == NULL) {
		control_reply(ctl, -1, NULL, 0, "no memory");
		return;
	}
	t->client = ctl->client;
	t->id = ctl->srvid;
	dlist_add_tail(&ctl->clients->tunnels, &t->link);
	talloc_set_destructor(t, tunnel_destructor);
	control_reply(ctl, 0, NULL, 0, NULL);
}

void control_tunnel_deregister(struct control *ctl)
{
	struct tunnel *t = find(ctl->clients, ctl->srvid);

	if (t == NULL || t->client != ctl->client) {
		control_reply(ctl, -1, NULL, 0, NULL);
		return;
	}
	talloc_free(t);
	control_reply(ctl, 0, NULL, 0, NULL);
}

static void deliver(const struct clients *cs, uint64_t id, uint32_t flags, const uint8_t *data, size_t len)
{
	struct tunnel *t = find(cs, id);

	if (t == NULL) {
		log_debug("tunnel packet dropped: nobody has registered tunnel 0x%016llx here", (unsigned long long)id);
		return;
	}
	client_send_tunnel(t->client, id, flags, data, len);
}

/* Packets to another node travel as a control of dbd's own, so that they keep their order with what the client sends
 * besides. */
void control_tunnel_packet(struct control *ctl)
{
	ctl->clients->count.node_req_tunnel++;
	deliver(ctl->clients, ctl->srvid, ctl->flags, ctl->data, ctl->len);
	control_reply(ctl, 0, NULL, 0, NULL);
}

void tunnel_from_client(struct client *c, uint32_t dest, const struct classic_req_tunnel *t)
{
	struct dbd *dbd = c->clients->dbd;
	struct lane_control m = {.opcode = CONTROL_TUNNEL_PACKET, .srvid = t->tunnel_id, .flags = t->flags};

	if (dest >= dbd->d->nodes->n || find(c->clients, t->tunnel_id) == NULL) {
		log_debug(
			"tunnel packet of client %u to node 0x%x dropped: no such node, or tunnel not registered here",
			c->id, dest);
		return;
	}
	if (dest == dbd->d->pnn) {
		deliver(c->clients, t->tunnel_id, t->flags, t->data.data, t->data.len);
		return;
	}
	m.data = t->data;
	controls_send_oneway(c->clients, dest, &m);
}
