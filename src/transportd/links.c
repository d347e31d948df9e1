/* transportd: tells others how the links are. */
#include "transport.h"

#include <errno.h>
#include <string.h>

#include "protocol/transport_rpc.h"
#include "shared/log.h"
#include "shared/msg.h"

#define SUBSCRIBERS_MAX 64
#define SUBSCRIPTION_MS 20000 /* renewed every 5 s by who still wants it */

/* An endpoint of this node that gets LINK_CHANGED. */
struct subscriber {
	struct dlist entry;
	struct transport *t;
	char endpoint[64];
	struct mono expires;
	struct rpc_client *client;
};

static int subscriber_destructor(struct subscriber *s)
{
	dlist_remove(&s->entry);
	s->t->n_subscribers--;
	return 0;
}

static void subscribers_expire(struct transport *t, struct mono now)
{
	dlist_for_each_safe(pos, &t->subscribers)
	{
		struct subscriber *s = dlist_entry(pos, struct subscriber, entry);

		if (mono_before(s->expires, now)) {
			log_info("endpoint %s did not renew its subscription of link changes", s->endpoint);
			talloc_free(s);
		}
	}
}

static struct subscriber *subscriber_find(struct transport *t, const char *endpoint)
{
	dlist_for_each(pos, &t->subscribers)
	{
		struct subscriber *s = dlist_entry(pos, struct subscriber, entry);

		if (strcmp(s->endpoint, endpoint) == 0) {
			return s;
		}
	}
	return NULL;
}

static struct subscriber *subscriber_new(struct transport *t, const char *endpoint)
{
	struct subscriber *s = talloc_zero(t, struct subscriber);
	struct msg_addr addr = {.node = NODE_SELF};

	if (s == NULL) {
		return NULL;
	}
	s->t = t;
	strncpy(addr.endpoint, endpoint, sizeof(addr.endpoint) - 1);
	memcpy(s->endpoint, addr.endpoint, sizeof(s->endpoint));
	s->client = msg_client(s, t->d->msg, &addr);
	if (s->client == NULL) {
		talloc_free(s);
		return NULL;
	}
	dlist_add_tail(&t->subscribers, &s->entry);
	t->n_subscribers++;
	talloc_set_destructor(s, subscriber_destructor);
	return s;
}

/* Who misses one of these learns it with the next renewal of the subscription: its answer holds all links. */
static void subscribers_tell(struct transport *t, const struct link_change *change)
{
	dlist_for_each_safe(pos, &t->subscribers)
	{
		struct subscriber *s = dlist_entry(pos, struct subscriber, entry);
		int ret = transport_link_changed(s->client, change);

		if (ret == ENOENT) {
			log_info("endpoint %s is gone, so is its subscription of link changes", s->endpoint);
			talloc_free(s);
		} else if (ret != 0) {
			log_warning("endpoint %s was not told that link to node %u is %s: %s", s->endpoint, change->pnn,
				    change->up ? "up" : "down", strerror(ret));
		}
	}
}

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
	struct mono now = mono_now();

	if (changed_at(t, pnn, now) != 0) {
		log_error("out of memory: the time of a link's change is not kept");
	}
	subscribers_expire(t, now);
	subscribers_tell(t, &change);
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

static int links_subscribe_endpoint(struct transport *t, const char *endpoint)
{
	struct mono now = mono_now();
	struct subscriber *s;

	subscribers_expire(t, now);
	s = subscriber_find(t, endpoint);
	if (s == NULL) {
		if (t->n_subscribers >= SUBSCRIBERS_MAX) {
			return ENOSPC;
		}
		s = subscriber_new(t, endpoint);
	}
	if (s == NULL) {
		return ENOMEM;
	}
	s->expires = mono_add_ms(now, SUBSCRIPTION_MS);
	return 0;
}

static void links_subscribe(void *priv, struct rpc_call *call, const struct link_subscribe_args *arg)
{
	struct transport *t = priv;
	int ret = EPERM;

	/* Other nodes have their own transportd to ask. */
	if (call->source_node == t->d->pnn) {
		ret = msg_endpoint_valid(arg->endpoint) ? links_subscribe_endpoint(t, arg->endpoint) : EINVAL;
	}
	if (ret != 0) {
		log_info("subscription of link changes for '%s' by %s@%u refused: %s", arg->endpoint,
			 call->source_endpoint, call->source_node, strerror(ret));
		rpc_call_fail(call, ret);
		return;
	}
	links_get(t, call);
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
	return msg_serve(t->d->msg, TRANSPORT_INTERFACE, TRANSPORT_VERSION, links_dispatch, t);
}
