/* What transportd says about the links, kept up to date over its restarts. */
#include "clusterd.h"

#include <errno.h>
#include <string.h>

#include "protocol/transport_rpc.h"
#include "shared/log.h"
#include "shared/msg.h"

#define RENEW_MS   1000 /* a transportd that was started again has forgotten the subscription */
#define RETRY_MS   50   /* no transportd */
#define TIMEOUT_MS 2000 /* of a request */

struct links {
	struct clusterd *cd;
	struct rpc_client *transport;
	struct mono_timer *timer;
	bool lost; /* logged that it does not answer */
};

static void all_down(struct clusterd *cd)
{
	for (uint32_t p = 0; p < cd->d->nodes->n; p++) {
		cluster_link(cd->core, mono_now(), p, false);
	}
	clusterd_after(cd);
}

static void subscribe_done(struct tevent_req *req)
{
	struct links *l = tevent_req_callback_data(req, struct links);
	TALLOC_CTX *answer = talloc_new(l);
	struct links_info info;
	int ret = transport_subscribe_recv(req, answer, &info);

	TALLOC_FREE(req);
	if (ret != 0) {
		if (!l->lost) {
			log_warning("ctdb-transportd does not answer: %s: asking again", strerror(ret));
			l->lost = true;
		}
		talloc_free(answer);
		all_down(l->cd);
		mono_timer_set(l->timer, mono_add_ms(mono_now(), RETRY_MS));
		return;
	}
	l->lost = false;
	for (uint32_t i = 0; i < info.links.n; i++) {
		cluster_link(l->cd->core, mono_now(), info.links.v[i].pnn, info.links.v[i].up);
	}
	talloc_free(answer);
	clusterd_after(l->cd);
	mono_timer_set(l->timer, mono_add_ms(mono_now(), RENEW_MS));
}

static void subscribe(void *priv)
{
	struct links *l = priv;
	char endpoint[] = "cluster";
	struct link_subscribe_args args = {.endpoint = endpoint};
	struct tevent_req *req = transport_subscribe_send(l, l->cd->d->ev, l->transport, &args, TIMEOUT_MS);

	if (req == NULL) {
		mono_timer_set(l->timer, mono_add_ms(mono_now(), RETRY_MS));
		return;
	}
	tevent_req_set_callback(req, subscribe_done, l);
}

static void on_link_changed(void *priv, struct rpc_call *call, const struct link_change *arg)
{
	struct clusterd *cd = priv;

	if (call->source_node != cd->d->pnn || strcmp(call->source_endpoint, "transport") != 0) {
		return;
	}
	cluster_link(cd->core, mono_now(), arg->pnn, arg->up);
	clusterd_after(cd);
}

static int dispatch(void *priv, struct rpc_call *call, uint32_t proc, const uint8_t *buf, size_t len)
{
	static const struct transport_server server = {.link_changed = on_link_changed};

	return transport_dispatch(&server, priv, call, proc, buf, len);
}

int links_start(struct clusterd *cd)
{
	struct links *l = talloc_zero(cd, struct links);
	struct msg_addr addr = {.endpoint = "transport", .node = NODE_SELF};

	if (l == NULL) {
		return ENOMEM;
	}
	l->cd = cd;
	l->transport = msg_client(l, cd->d->msg, &addr);
	l->timer = mono_timer_new(l, cd->d->ev, subscribe, l);
	if (l->transport == NULL || l->timer == NULL) {
		return ENOMEM;
	}
	cd->links = l;
	mono_timer_set(l->timer, mono_now());
	return msg_serve(cd->d->msg, TRANSPORT_INTERFACE, TRANSPORT_VERSION, dispatch, cd);
}
