/* The endpoints of this node that are told when a link goes up or down. */
#include "shared/link_watchers.h"

#include <errno.h>
#include <string.h>

#include "base/dlist.h"
#include "base/mono.h"
#include "protocol/transport_rpc.h"
#include "shared/log.h"
#include "shared/msg.h"

#define WATCHERS_MAX 64
#define WATCH_MS     20000

struct watcher {
	struct dlist entry;
	struct link_watchers *all;
	char endpoint[64];
	struct mono expires;
	struct rpc_client *client;
};

struct link_watchers {
	struct msg *m;
	uint32_t own_pnn;
	struct dlist list;
	unsigned n;
};

static int watcher_destructor(struct watcher *w)
{
	dlist_remove(&w->entry);
	w->all->n--;
	return 0;
}

static void watchers_expire(struct link_watchers *all, struct mono now)
{
	dlist_for_each_safe(pos, &all->list)
	{
		struct watcher *w = dlist_entry(pos, struct watcher, entry);

		if (mono_before(w->expires, now)) {
			log_info("endpoint %s did not renew its subscription of link changes", w->endpoint);
			talloc_free(w);
		}
	}
}

static struct watcher *watcher_find(const struct link_watchers *all, const char *endpoint)
{
	dlist_for_each(pos, &all->list)
	{
		struct watcher *w = dlist_entry(pos, struct watcher, entry);

		if (strcmp(w->endpoint, endpoint) == 0) {
			return w;
		}
	}
	return NULL;
}

static struct watcher *watcher_new(struct link_watchers *all, const char *endpoint)
{
	struct watcher *w = talloc_zero(all, struct watcher);
	struct msg_addr addr = {.node = NODE_SELF};

	if (w == NULL) {
		return NULL;
	}
	w->all = all;
	strncpy(addr.endpoint, endpoint, sizeof(addr.endpoint) - 1);
	memcpy(w->endpoint, addr.endpoint, sizeof(w->endpoint));
	w->client = msg_client(w, all->m, &addr);
	if (w->client == NULL) {
		talloc_free(w);
		return NULL;
	}
	dlist_add_tail(&all->list, &w->entry);
	all->n++;
	talloc_set_destructor(w, watcher_destructor);
	return w;
}

struct link_watchers *link_watchers_new(TALLOC_CTX *mem, struct msg *m, uint32_t own_pnn)
{
	struct link_watchers *all = talloc_zero(mem, struct link_watchers);

	if (all != NULL) {
		all->m = m;
		all->own_pnn = own_pnn;
		dlist_init(&all->list);
	}
	return all;
}

void link_watchers_tell(struct link_watchers *all, const struct link_change *change)
{
	watchers_expire(all, mono_now());
	dlist_for_each_safe(pos, &all->list)
	{
		struct watcher *w = dlist_entry(pos, struct watcher, entry);
		int ret = transport_link_changed(w->client, change);

		if (ret == ENOENT) {
			log_info("endpoint %s is gone, so is its subscription of link changes", w->endpoint);
			talloc_free(w);
		} else if (ret != 0) {
			log_warning("endpoint %s was not told that link to node %u is %s: %s", w->endpoint, change->pnn,
				    change->up ? "up" : "down", strerror(ret));
		}
	}
}

static int watch(struct link_watchers *all, const char *endpoint)
{
	struct mono now = mono_now();
	struct watcher *w;

	watchers_expire(all, now);
	w = watcher_find(all, endpoint);
	if (w == NULL && all->n >= WATCHERS_MAX) {
		return ENOSPC;
	}
	w = w != NULL ? w : watcher_new(all, endpoint);
	if (w == NULL) {
		return ENOMEM;
	}
	w->expires = mono_add_ms(now, WATCH_MS);
	return 0;
}

int link_watchers_subscribe(struct link_watchers *all, struct rpc_call *call, const struct link_subscribe_args *arg)
{
	int ret = EPERM;

	/* Other nodes have their own to ask. */
	if (call->source_node == all->own_pnn) {
		ret = msg_endpoint_valid(arg->endpoint) ? watch(all, arg->endpoint) : EINVAL;
	}
	if (ret != 0) {
		log_info("subscription of link changes for '%s' by %s@%u refused: %s", arg->endpoint,
			 call->source_endpoint, call->source_node, strerror(ret));
		rpc_call_fail(call, ret);
	}
	return ret;
}
