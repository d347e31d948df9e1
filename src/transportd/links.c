/* transportd: tells others how the links are. */
#include "transport.h"

#include <errno.h>
#include <string.h>

#include "protocol/transport_rpc.h"
#include "shared/active_nodes.h"
#include "shared/link_watchers.h"
#include "shared/log.h"
#include "shared/msg.h"

static int changed_at(struct transport *t, uint32_t pnn, struct mono now)
{
	if (pnn >= t->n_changed) {
		struct mono *changed = talloc_realloc(t, t->changed, struct mono, pnn + 1);

		if (changed == NULL) {
			return ENOMEM;
		}
		memset(changed + t->n_changed, 0, (pnn + 1 - t->n_changed) * sizeof(*changed));
		t->changed = changed;
		t->n_changed = pnn + 1;
	}
	t->changed[pnn] = now;
	return 0;
}

void links_changed(struct transport *t, uint32_t pnn, bool up, uint64_t incarnation, int reason)
{
	const struct link_change change = {
		.pnn = pnn, .up = up, .incarnation = incarnation, .reason = (uint32_t)reason};
	if (changed_at(t, pnn, mono_now()) != 0) {
		log_error("out of memory: the time of a link's change is not kept");
	}
	link_watchers_tell(t->watchers, &change);
}

static void link_info_fill(const struct transport *t, uint32_t pnn, struct mono now, struct link_info *info)
{
	struct link_stats stats;

	link_stats(t->mesh, pnn, &stats);
	*info = (struct link_info){
		.pnn = pnn,
		.address = t->d->nodes->v[pnn].text,
		.up = stats.up,
		.rtt_us = stats.rtt_us,
		.rtt_max_us = stats.rtt_max_us,
		.bytes_in = stats.bytes_in,
		.bytes_out = stats.bytes_out,
		.ups = stats.ups,
	};
	if (pnn < t->n_changed && mono_is_set(t->changed[pnn])) {
		info->since_ms = mono_ms_between(t->changed[pnn], now);
	}
}

/* All nodes of the list but this one and the deleted ones. Below mem. */
static int links_list(TALLOC_CTX *mem, const struct transport *t, struct links_info *list)
{
	const struct conf_nodes *nodes = t->d->nodes;
	struct mono now = mono_now();
	uint32_t pnn;

	list->links.n = 0;
	list->links.v = talloc_array(mem, struct link_info, nodes->n);
	if (list->links.v == NULL) {
		return ENOMEM;
	}
	for (pnn = 0; pnn < nodes->n; pnn++) {
		if (pnn != t->d->pnn && !nodes->v[pnn].deleted) {
			link_info_fill(t, pnn, now, &list->links.v[list->links.n++]);
		}
	}
	return 0;
}

static void links_get(void *priv, struct rpc_call *call)
{
	struct links_info list;
	int ret = links_list(call, priv, &list);

	if (ret != 0) {
		rpc_call_fail(call, ret);
		return;
	}
	transport_get_links_reply(call, &list);
}

static void links_subscribe(void *priv, struct rpc_call *call, const struct link_subscribe_args *arg)
{
	struct transport *t = priv;

	if (call->source_node == t->d->pnn && strcmp(call->source_endpoint, "cluster") == 0) {
		active_nodes_clusterd_there(t->active);
	}
	if (link_watchers_subscribe(t->watchers, call, arg) == 0) {
		links_get(t, call);
	}
}

static int links_dispatch(void *priv, struct rpc_call *call, uint32_t proc, const uint8_t *buf, size_t len)
{
	static const struct transport_server server = {
		.get_links = links_get,
		.subscribe = links_subscribe,
		.get_status = status_get,
		.key_list = keys_list,
		.key_add = keys_add,
		.key_use = keys_use,
		.key_drop = keys_drop,
		.key_rotate = rotate_start,
		.key_retire = rotate_retire,
	};

	return transport_dispatch(&server, priv, call, proc, buf, len);
}

int links_start(struct transport *t)
{
	t->watchers = link_watchers_new(t, t->d->msg, t->d->pnn);
	if (t->watchers == NULL) {
		return ENOMEM;
	}
	return msg_serve(t->d->msg, TRANSPORT_INTERFACE, TRANSPORT_VERSION, links_dispatch, t);
}
