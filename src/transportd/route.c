/* transportd: packets from local endpoints onto links, and from links to local endpoints. */
#include "transport.h"

#include <errno.h>
#include <string.h>

#include "protocol/msg.h"
#include "shared/active_nodes.h"
#include "shared/log.h"
#include "shared/msg.h"

#define ROUTE_MAX_FRAME    ((64U << 20) + 1024) /* the largest payload of a packet, its header, the type */
#define ROUTE_QUEUE        ROUTE_MAX_FRAME      /* for each node */
#define ROUTE_RECONNECT_MS 50

static int route_to(struct transport *t, uint32_t node, const uint8_t *packet, size_t len)
{
	uint32_t version = link_peer_version(t->mesh, node);
	struct msg_packet_plan plan;
	enum link_class link_class;
	struct iovec parts[2];
	int ret = version == 0 ? EHOSTUNREACH : msg_packet_plan(packet, len, version, node, &plan);

	if (ret != 0) {
		return ret;
	}
	parts[0] = (struct iovec){.iov_base = plan.header, .iov_len = plan.header_len};
	parts[1] = (struct iovec){.iov_base = (void *)(uintptr_t)plan.payload, .iov_len = plan.payload_len};
	link_class = (plan.flags & MSG_FLAG_BULK) != 0 ? LINK_CLASS_BULK : LINK_CLASS_CONTROL;
	return link_send_class(t->mesh, node, link_class, TRANSPORT_FRAME_PACKET, parts, 2);
}

static void route_to_node(void *priv, uint32_t node, const uint8_t *packet, size_t len)
{
	struct transport *t = priv;
	int ret = route_to(t, node, packet, len);

	if (ret == 0) {
		return;
	}
	if (ret == EHOSTUNREACH) {
		log_debug("packet for node %u dropped: its link is down", node);
	} else {
		log_ratelimited(LOG_LVL_WARNING, 1000, "packet of %zu bytes for node %u dropped: %s", len, node,
				strerror(ret));
	}
	msg_undeliverable(t->d->msg, packet, len, ret);
}

static bool route_group_has(void *priv, uint32_t group, uint32_t pnn)
{
	const struct transport *t = priv;

	if (pnn >= t->d->nodes->n || t->d->nodes->v[pnn].deleted) {
		return false;
	}
	switch (group) {
	case NODE_GROUP_ALL:
		return true;
	case NODE_GROUP_CONNECTED:
		return pnn == t->d->pnn || link_is_up(t->mesh, pnn);
	case NODE_GROUP_ACTIVE:
		return active_nodes_has(t->active, pnn);
	default:
		return false;
	}
}

static void route_out(void *priv, uint32_t node, const uint8_t *packet, size_t len)
{
	static const struct msg_group_ops ops = {.has = route_group_has, .send = route_to_node};
	const struct transport *t = priv;

	if (msg_node_is_group(node)) {
		msg_to_group(t->d->msg, node, t->d->nodes->n, &ops, priv, packet, len);
	} else {
		route_to_node(priv, node, packet, len);
	}
}

static void route_in(void *priv, uint32_t pnn, uint32_t type, const uint8_t *data, size_t len)
{
	struct transport *t = priv;

	if (type != TRANSPORT_FRAME_PACKET) {
		log_ratelimited(LOG_LVL_WARNING, 1000, "ignoring a frame of unknown type %u from node %u", type, pnn);
		return;
	}
	/* What cannot be delivered was logged, counted and answered there. */
	(void)msg_deliver(t->d->msg, pnn, data, len);
}

static void route_up(void *priv, uint32_t pnn, uint64_t incarnation)
{
	links_changed(priv, pnn, true, incarnation, 0);
}

static void route_down(void *priv, uint32_t pnn, int reason)
{
	links_changed(priv, pnn, false, 0, reason);
}

int route_start(struct transport *t, char **err)
{
	static const struct link_ops ops = {.up = route_up, .down = route_down, .frame = route_in, .moved = moved_ask},
				     ops_1 = {.up = route_up, .down = route_down, .frame = route_in};
	const struct conf *conf = t->d->conf;
	const struct link_config config = {
		.name = "transport",
		.port = conf->transport.port,
		.own_pnn = t->d->pnn,
		.incarnation = t->d->incarnation,
		.interface_version =
			conf->transport.interface_version != 0 ? conf->transport.interface_version : LINK_INTERFACE,
		.n_classes = LINK_CLASSES,
		.keys = t->keys,
		.heartbeat_ms = conf->cluster.heartbeat_interval,
		.dead_ms = conf->cluster.dead_interval,
		.reconnect_ms = ROUTE_RECONNECT_MS,
		.max_frame = ROUTE_MAX_FRAME,
		.queue_bytes = ROUTE_QUEUE,
	};
	int ret = link_mesh_new(t, t->d->ev, &config, t->d->nodes, config.interface_version > 1 ? &ops : &ops_1, t,
				&t->mesh, err);

	ret = ret == 0 ? active_nodes_new(t, t->d, "transport", &t->active) : ret;
	if (ret == 0) {
		msg_set_router(t->d->msg, route_out, t);
	}
	return ret;
}
