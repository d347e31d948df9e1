/* The gateway: requests to interfaces of daemons, carried by one control of our own daemons. */
#include "internal.h"

#include <errno.h>

#include "protocol/classic_native.h"

/* How much later than the endpoint's time-out the daemon's own answer may come. */
#define GRACE_MS 2000U
/* The daemon adds its own headers around it. */
#define PAYLOAD_MAX  (CLASSIC_DATA_MAX - 4096U)
#define ENDPOINT_MAX 63U

struct interface_state {
	struct ctdb_client *c; /* only used while a subrequest exists, which fails when the client is freed */
	char *what;
	int32_t status;
	struct ctdb_data result;
};

static void interface_done(struct tevent_req *subreq);

static struct tevent_req *interface_control_send(TALLOC_CTX *mem, struct ctdb_client *c,
						 const struct ctdb_interface_call *call)
{
	uint32_t timeout_ms = call->timeout_ms != 0 ? call->timeout_ms : c->timeout_ms;
	struct classic_interface_call p = {
		.interface = call->interface,
		.version = call->version,
		.procedure = call->procedure,
		.timeout_ms = timeout_ms,
		.node = call->node == CTDB_NODE_CURRENT ? c->pnn : call->node,
		.endpoint = talloc_strdup(mem, call->endpoint),
		.payload = blob_of(call->payload),
	};
	struct ctdb_blob data;
	struct tevent_req *req;

	if (p.endpoint == NULL || classic_interface_call_nencode(mem, &p, &data) != 0) {
		return NULL;
	}
	req = control_timeout_send(mem, c, CTDB_NODE_CURRENT, CLASSIC_CONTROL_INTERFACE_CALL, data_of_blob(data),
				   timeout_ms < UINT32_MAX - GRACE_MS ? timeout_ms + GRACE_MS : timeout_ms);
	talloc_free(data.data);
	return req;
}

struct tevent_req *ctdb_interface_call_send(TALLOC_CTX *mem, struct ctdb_client *c,
					    const struct ctdb_interface_call *call)
{
	struct interface_state *s;
	struct tevent_req *req = tevent_req_create(mem, &s, struct interface_state), *subreq;
	size_t len = strlen(call->endpoint);

	if (req == NULL) {
		return NULL;
	}
	*s = (struct interface_state){.c = c};
	if (len == 0 || len > ENDPOINT_MAX) {
		tevent_req_error(req,
				 client_fail(c, EINVAL, "\"%s\" cannot be the name of an endpoint", call->endpoint));
		return tevent_req_post(req, c->ev);
	}
	if (call->payload.len > PAYLOAD_MAX) {
		tevent_req_error(req,
				 client_fail(c, EMSGSIZE, "request to %s: too large for one packet", call->endpoint));
		return tevent_req_post(req, c->ev);
	}
	s->what = talloc_asprintf(s, "%s@%u: procedure %u of interface 0x%x", call->endpoint,
				  call->node == CTDB_NODE_CURRENT ? c->pnn : call->node, call->procedure,
				  call->interface);
	subreq = interface_control_send(s, c, call);
	if (s->what == NULL || subreq == NULL) {
		tevent_req_oom(req);
		return tevent_req_post(req, c->ev);
	}
	tevent_req_set_callback(subreq, interface_done, req);
	return req;
}

static int interface_answer(struct interface_state *s, struct tevent_req *subreq)
{
	struct ctdb_blob data = {.len = 0};
	struct classic_interface_reply res;
	int err = control_recv(subreq, &data);

	if (err == EREMOTEIO && !control_has_error(subreq)) {
		return client_fail(s->c, ENOSYS,
				   "%s: the CTDB daemon of this node cannot pass requests on to other daemons",
				   s->what);
	}
	if (err != 0) {
		return err;
	}
	if (classic_interface_reply_ndecode(s, data.data, data.len, &res, NULL) != 0 || res.status < 0) {
		return control_malformed(subreq);
	}
	s->status = res.status;
	if (res.status != 0) {
		client_fail(s->c, res.status, "%s: %s", s->what, strerror(res.status));
	} else {
		s->result = data_of_blob(res.result);
	}
	return 0;
}

static void interface_done(struct tevent_req *subreq)
{
	struct tevent_req *req = tevent_req_callback_data(subreq, struct tevent_req);
	struct interface_state *s = tevent_req_data(req, struct interface_state);
	int err;

	s->c = request_client(subreq);
	err = interface_answer(s, subreq);
	talloc_free(subreq);
	if (!tevent_req_error(req, err)) {
		tevent_req_done(req);
	}
}

int ctdb_interface_call_recv(struct tevent_req *req, TALLOC_CTX *mem, int32_t *status, struct ctdb_data *result)
{
	struct interface_state *s = tevent_req_data(req, struct interface_state);
	uint8_t *copy = NULL;
	int err;

	if (req_failed(req, &err)) {
		return err;
	}
	if (s->result.len > 0) {
		copy = talloc_memdup(mem, s->result.data, s->result.len);
		if (copy == NULL) {
			return ENOMEM;
		}
	}
	*status = s->status;
	*result = data_of(copy, s->result.len);
	return 0;
}

int ctdb_interface_call(struct ctdb_client *c, const struct ctdb_interface_call *call, TALLOC_CTX *mem, int32_t *status,
			struct ctdb_data *result)
{
	SYNC_RETURN(c, ctdb_interface_call_send(mem, c, call), ctdb_interface_call_recv(req, mem, status, result));
}
