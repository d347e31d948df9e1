/* Those on this node who want to know: subscriptions of the state, questions of tools. */
#include "clusterd.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "shared/file_replace.h"
#include "shared/log.h"
#include "shared/msg.h"

#define SUBSCRIBERS_MAX 64
#define SUBSCRIPTION_MS 20000

struct subscriber {
	struct dlist entry;
	struct clusterd *cd;
	char endpoint[64];
	struct mono expires;
	struct rpc_client *client;
};

/* A SUBSCRIBE call that is answered when the core has something to say: at the latest one dead interval after start. */
struct waiting {
	struct dlist entry;
	struct clusterd *cd;
	struct rpc_call *call;
};

static int subscriber_destructor(struct subscriber *s)
{
	dlist_remove(&s->entry);
	s->cd->n_subscribers--;
	return 0;
}

static void expire(struct clusterd *cd, struct mono now)
{
	dlist_for_each_safe(pos, &cd->subscribers)
	{
		struct subscriber *s = dlist_entry(pos, struct subscriber, entry);

		if (mono_before(s->expires, now)) {
			log_info("endpoint %s did not renew its subscription of the cluster's state", s->endpoint);
			talloc_free(s);
		}
	}
}

static struct subscriber *find(struct clusterd *cd, const char *endpoint)
{
	dlist_for_each(pos, &cd->subscribers)
	{
		struct subscriber *s = dlist_entry(pos, struct subscriber, entry);

		if (strcmp(s->endpoint, endpoint) == 0) {
			return s;
		}
	}
	return NULL;
}

static struct subscriber *subscriber_new(struct clusterd *cd, const char *endpoint)
{
	struct subscriber *s = talloc_zero(cd, struct subscriber);
	struct msg_addr addr = {.node = NODE_SELF};

	if (s == NULL) {
		return NULL;
	}
	strncpy(addr.endpoint, endpoint, sizeof(addr.endpoint) - 1);
	memcpy(s->endpoint, addr.endpoint, sizeof(s->endpoint));
	s->cd = cd;
	s->client = msg_client(s, cd->d->msg, &addr);
	if (s->client == NULL) {
		talloc_free(s);
		return NULL;
	}
	dlist_add_tail(&cd->subscribers, &s->entry);
	cd->n_subscribers++;
	talloc_set_destructor(s, subscriber_destructor);
	return s;
}

/* ---- over a restart ---- */

/*
 * The list is kept in the run directory, so that after a restart subscribers hear of their lease at once: with the next
 * renewal of their subscription it could be over.
 */
static char *list_path(TALLOC_CTX *mem, const struct clusterd *cd)
{
	return talloc_asprintf(mem, "%s/cluster-subscribers.%u", cd->d->conf->path.run, (unsigned)cd->d->pnn);
}

static int list_write(const struct clusterd *cd, const char *path)
{
	char text[SUBSCRIBERS_MAX * (sizeof(((struct subscriber *)0)->endpoint) + 1)];
	size_t len = 0;

	dlist_for_each(pos, &cd->subscribers)
	{
		const struct subscriber *s = dlist_entry(pos, struct subscriber, entry);

		len += (size_t)snprintf(text + len, sizeof(text) - len, "%s\n", s->endpoint);
	}
	return file_replace(path, text, len, 0600, 0);
}

static void list_save(struct clusterd *cd)
{
	char *path = list_path(cd, cd);
	int ret = path == NULL ? ENOMEM : list_write(cd, path);

	if (ret != 0) {
		log_ratelimited(LOG_LVL_WARNING, 10000, "the list of subscribers in %s cannot be written: %s",
				cd->d->conf->path.run, strerror(ret));
	}
	talloc_free(path);
}

static void list_load(struct clusterd *cd)
{
	char *path = list_path(cd, cd);
	FILE *f = path == NULL ? NULL : fopen(path, "re");
	char endpoint[64];

	while (f != NULL && cd->n_subscribers < SUBSCRIBERS_MAX && fscanf(f, "%63s", endpoint) == 1) {
		struct subscriber *s = NULL;

		/* a damaged file only costs time: subscribers renew */
		if (msg_endpoint_valid(endpoint) && find(cd, endpoint) == NULL) {
			s = subscriber_new(cd, endpoint);
		}
		if (s != NULL) {
			s->expires = mono_add_ms(mono_now(), SUBSCRIPTION_MS);
		}
	}
	if (f != NULL) {
		fclose(f);
	}
	talloc_free(path);
}

void subscribers_start(struct clusterd *cd)
{
	dlist_init(&cd->subscribers);
	dlist_init(&cd->waiting);
	list_load(cd);
}

static int subscribe_endpoint(struct clusterd *cd, const char *endpoint)
{
	struct mono now = mono_now();
	struct subscriber *s;

	expire(cd, now);
	s = find(cd, endpoint);
	if (s == NULL) {
		if (cd->n_subscribers >= SUBSCRIBERS_MAX) {
			log_ratelimited(LOG_LVL_WARNING, 10000,
					"%u subscriptions of the cluster's state: %s is refused", cd->n_subscribers,
					endpoint);
			return ENOSPC;
		}
		s = subscriber_new(cd, endpoint);
		if (s != NULL) {
			list_save(cd);
		}
	}
	if (s == NULL) {
		return ENOMEM;
	}
	s->expires = mono_add_ms(now, SUBSCRIPTION_MS);
	return 0;
}

static int waiting_destructor(struct waiting *w)
{
	dlist_remove(&w->entry);
	w->cd->n_waiting--;
	return 0;
}

static int wait_for_state(struct clusterd *cd, struct rpc_call *call)
{
	struct waiting *w;

	if (cd->n_waiting >= SUBSCRIBERS_MAX) {
		return EAGAIN;
	}
	/* Below the call: gone with it. */
	w = talloc_zero(call, struct waiting);
	if (w == NULL) {
		return ENOMEM;
	}
	w->cd = cd;
	w->call = call;
	dlist_add_tail(&cd->waiting, &w->entry);
	cd->n_waiting++;
	talloc_set_destructor(w, waiting_destructor);
	return 0;
}

static void on_subscribe(void *priv, struct rpc_call *call, const struct subscribe_args *arg)
{
	struct clusterd *cd = priv;
	struct cluster_state state;
	int ret;

	if (call->source_node != cd->d->pnn) {
		rpc_call_fail(call, EPERM); /* other nodes have their own clusterd to ask */
		return;
	}
	ret = !msg_endpoint_valid(arg->endpoint) ? EINVAL : subscribe_endpoint(cd, arg->endpoint);
	if (ret == 0 && !cluster_settled(cd->core)) {
		ret = wait_for_state(cd, call);
		if (ret == 0) {
			return;
		}
	}
	if (ret != 0) {
		rpc_call_fail(call, ret);
		return;
	}
	cluster_tell_state(cd->core, mono_now(), &state);
	cluster_subscribe_reply(call, &state);
}

static void on_get_state(void *priv, struct rpc_call *call)
{
	struct clusterd *cd = priv;
	struct cluster_state state;

	cluster_tell_state(cd->core, mono_now(), &state);
	cluster_get_state_reply(call, &state);
}

static void on_get_status(void *priv, struct rpc_call *call)
{
	struct clusterd *cd = priv;
	struct cluster_status status;

	cluster_tell_status(cd->core, mono_now(), call, &status);
	cluster_get_status_reply(call, &status);
}

void subscribers_fill(struct cluster_server *server)
{
	server->subscribe = on_subscribe;
	server->get_state = on_get_state;
	server->get_status = on_get_status;
}

/* true: the subscriber is gone */
static bool told(struct subscriber *s, int ret)
{
	if (ret == ENOENT || ret == ECONNREFUSED) {
		log_info("endpoint %s is gone, so is its subscription of the cluster's state", s->endpoint);
		talloc_free(s);
		return true;
	}
	if (ret != 0) {
		/* It learns the state with the next renewal, and stops acting when its lease ends. */
		log_ratelimited(LOG_LVL_WARNING, 1000, "endpoint %s was not told the cluster's state: %s", s->endpoint,
				strerror(ret));
	}
	return false;
}

void subscribers_tell(struct clusterd *cd)
{
	struct cluster_state state;

	/* Just after the start nothing is known yet: a state told now would stop the others for nothing. */
	if (!cluster_settled(cd->core)) {
		return;
	}
	cluster_tell_state(cd->core, mono_now(), &state);
	cd->told_active = state.active;
	dlist_for_each_safe(pos, &cd->waiting)
	{
		struct waiting *w = dlist_entry(pos, struct waiting, entry);

		cluster_subscribe_reply(w->call, &state);
	}
	dlist_for_each_safe(pos2, &cd->subscribers)
	{
		struct subscriber *s = dlist_entry(pos2, struct subscriber, entry);

		told(s, cluster_state_changed(s->client, &state));
	}
}

void subscribers_tell_lease(struct clusterd *cd, struct mono until)
{
	struct cluster_lease lease = {.until = until.ns};

	dlist_for_each_safe(pos, &cd->subscribers)
	{
		struct subscriber *s = dlist_entry(pos, struct subscriber, entry);

		told(s, cluster_lease(s->client, &lease));
	}
}
