/* The way of a client of the classic socket to every daemon's interface, on any node: control INTERFACE_CALL. */
#include "dbd/control.h"
#include "protocol/classic_native.h"
#include "shared/msg.h"

#include <errno.h>
#include <stdio.h>

#define TIMEOUT_MAX_MS 600000U

/* One request under way. Child of its control: when the client goes, both go and the request is cancelled. */
struct gateway_call {
	struct dlist link; /* clients.gateway */
	struct control *ctl;
	struct rpc_client *client;
	struct tevent_req *req;
	uint32_t node;
	bool member; /* the node was in the cluster when it was asked */
};

static int call_destructor(struct gateway_call *call)
{
	dlist_remove(&call->link);
	call->ctl->client->n_gateway--;
	return 0;
}

static void reply(struct control *ctl, int status, const struct ctdb_blob *result)
{
	struct classic_interface_reply r = {.status = status};
	struct ctdb_blob blob;

	if (status == 0 && result != NULL) {
		r.result = *result;
	}
	control_reply_blob(ctl, classic_interface_reply_nencode(ctl, &r, &blob), &blob);
}

static void answered(struct tevent_req *req)
{
	struct gateway_call *call = tevent_req_callback_data(req, struct gateway_call);
	struct ctdb_blob result = {0};
	int rc = call->client->request_recv(req, call, &result);

	TALLOC_FREE(call->req);
	reply(call->ctl, rc, &result);
}

static bool is_member(const struct dbd *dbd, uint32_t pnn)
{
	return pnn == dbd->d->pnn || (view_node_flags(dbd, pnn) & CLASSIC_NODE_FLAG_DISCONNECTED) == 0;
}

/* A node that the cluster has lost will not answer what it was asked: the rest of a long time-out would be waited for
 * in vain. */
void gateway_view_changed(struct dbd *dbd)
{
	dlist_for_each_safe(e, &dbd->clients->gateway)
	{
		struct gateway_call *call = dlist_entry(e, struct gateway_call, link);

		if (call->req != NULL && call->member && !is_member(dbd, call->node)) {
			TALLOC_FREE(call->req);
			reply(call->ctl, EHOSTUNREACH, NULL);
		}
	}
}

/* 0, or errno. */
static int destination(const struct classic_interface_call *arg, struct msg_addr *dst)
{
	/* A view of the packet: its text ends with the length. */
	int n = snprintf(dst->endpoint, sizeof(dst->endpoint), "%s", arg->endpoint);

	if (n < 0 || (size_t)n >= sizeof(dst->endpoint) || !msg_endpoint_valid(dst->endpoint)) {
		return EINVAL;
	}
	dst->node = arg->node == CLASSIC_NODE_CURRENT ? NODE_SELF : arg->node;
	return 0;
}

static struct gateway_call *call_new(struct control *ctl, const struct msg_addr *dst)
{
	struct gateway_call *call = talloc(ctl, struct gateway_call);

	if (call == NULL) {
		return NULL;
	}
	*call = (struct gateway_call){.ctl = ctl,
				      .client = msg_client(call, ctl->dbd->d->msg, dst),
				      .node = dst->node == NODE_SELF ? ctl->dbd->d->pnn : dst->node};
	call->member = is_member(ctl->dbd, call->node);
	dlist_add_tail(&ctl->dbd->clients->gateway, &call->link);
	ctl->client->n_gateway++;
	talloc_set_destructor(call, call_destructor);
	return call;
}

static void start(struct control *ctl, const struct classic_interface_call *arg, const struct msg_addr *dst)
{
	uint32_t timeout = arg->timeout_ms < TIMEOUT_MAX_MS ? arg->timeout_ms : TIMEOUT_MAX_MS;
	struct gateway_call *call = call_new(ctl, dst);
	struct tevent_req *req = NULL;

	if (call != NULL && call->client != NULL) {
		req = call->client->request_send(call, ctl->dbd->d->ev, call->client, arg->interface, arg->version,
						 arg->procedure, arg->payload.data, arg->payload.len, timeout);
	}
	if (req == NULL) {
		reply(ctl, ENOMEM, NULL);
		return;
	}
	call->req = req;
	tevent_req_set_callback(req, answered, call);
}

void control_interface_call(struct control *ctl)
{
	struct classic_interface_call arg;
	struct msg_addr dst;
	size_t used;
	int rc;

	if (classic_interface_call_ndecode(ctl, ctl->data, ctl->len, &arg, &used) != 0 || used != ctl->len) {
		control_reply(ctl, -1, NULL, 0, "malformed interface call");
		return;
	}
	if (ctl->client->n_gateway >= GATEWAY_PENDING_MAX) {
		control_reply(ctl, -1, NULL, 0, "too many interface calls of this client wait for their answer");
		return;
	}
	rc = destination(&arg, &dst);
	if (rc != 0) {
		reply(ctl, rc, NULL);
		return;
	}
	start(ctl, &arg, &dst);
}
