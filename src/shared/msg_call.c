/* Message library: requests and their replies, calls and their answers. */
#include "shared/msg_private.h"

#include "shared/log.h"

/* ---- client side: requests that wait for a reply ---- */

struct msg_client_state {
	struct msg *m;
	char endpoint[64];
	uint32_t node;
	uint32_t flags;
};

struct msg_request_state {
	struct tevent_req *req;
	struct msg *m;
	struct dlist by_id, by_deadline;
	struct mono deadline;
	uint64_t id;
	char endpoint[64]; /* that the reply must come from */
	uint32_t node;
	struct msg_dest *dest; /* of this node, has it and owes the reply; else NULL */
	struct ctdb_blob result;
};

static int msg_request_destructor(struct msg_request_state *state)
{
	if (dlist_linked(&state->by_id)) {
		if (state->dest != NULL) {
			msg_dest_owes(state->dest, -1);
			state->dest = NULL;
		}
		dlist_remove(&state->by_id);
		dlist_remove(&state->by_deadline);
		state->m->n_requests--;
	}
	return 0;
}

static void msg_request_end(struct msg_request_state *state, int error)
{
	msg_request_destructor(state);
	if (error != 0) {
		tevent_req_error(state->req, (uint64_t)error);
	} else {
		tevent_req_done(state->req);
	}
}

/* Deadlines are kept ascending; most requests have the same time-out, so the place is at or near the end. */
static void msg_request_add(struct msg *m, struct msg_request_state *state, uint32_t timeout_ms)
{
	struct dlist *pos = &m->deadlines;

	state->deadline = mono_add_ms(mono_now(), timeout_ms != 0 ? timeout_ms : MSG_DEFAULT_TIMEOUT_MS);
	while (pos->prev != &m->deadlines &&
	       mono_before(state->deadline, dlist_entry(pos->prev, struct msg_request_state, by_deadline)->deadline)) {
		pos = pos->prev;
	}
	dlist_insert_before(pos, &state->by_deadline);
	dlist_add_tail(&m->requests[state->id % MSG_BUCKETS], &state->by_id);
	m->n_requests++;
	mono_timer_set_earlier(m->timer, state->deadline);
}

void msg_call_timeout(void *priv)
{
	struct msg *m = priv;
	struct mono now = mono_now();
	bool gone = false;
	bool *outer = m->gone;

	m->gone = &gone;
	while (!gone && !dlist_empty(&m->deadlines)) {
		struct msg_request_state *state =
			dlist_entry(dlist_first(&m->deadlines), struct msg_request_state, by_deadline);

		if (mono_before(now, state->deadline)) {
			mono_timer_set(m->timer, state->deadline);
			break;
		}
		m->stats.timeouts++;
		msg_request_end(state, ETIMEDOUT);
	}
	if (!gone) {
		m->gone = outer;
	} else if (outer != NULL) {
		*outer = true;
	}
}

static struct msg_request_state *msg_request_find(const struct msg *m, uint64_t id, const char *endpoint, uint32_t node)
{
	const struct dlist *bucket = &m->requests[id % MSG_BUCKETS];

	dlist_for_each(pos, bucket)
	{
		struct msg_request_state *state = dlist_entry(pos, struct msg_request_state, by_id);

		if (state->id == id && state->node == node && strcmp(state->endpoint, endpoint) == 0) {
			return state;
		}
	}
	return NULL;
}

void msg_request_written(struct msg *m, uint64_t id, struct msg_dest *d)
{
	const struct dlist *bucket = &m->requests[id % MSG_BUCKETS];

	dlist_for_each(pos, bucket)
	{
		struct msg_request_state *state = dlist_entry(pos, struct msg_request_state, by_id);

		if (state->id == id && state->dest == NULL) {
			state->dest = d;
			msg_dest_owes(d, 1);
			return;
		}
	}
}

void msg_requests_lost(struct msg *m, const struct msg_dest *d)
{
	dlist_for_each_safe(pos, &m->deadlines)
	{
		struct msg_request_state *state = dlist_entry(pos, struct msg_request_state, by_deadline);

		if (state->dest == d) {
			m->stats.peer_lost++;
			tevent_req_defer_callback(state->req, m->ev);
			msg_request_end(state, ECONNRESET);
		}
	}
}

bool msg_request_fail(struct msg *m, const struct msg_header *request, int error)
{
	struct msg_request_state *state =
		msg_request_find(m, request->id, request->destination, request->destination_node);

	if (state == NULL) {
		return false;
	}
	/* Found out in the middle of something else: its owner is told in the next turn. */
	tevent_req_defer_callback(state->req, m->ev);
	msg_request_end(state, error);
	return true;
}

static void msg_reply_receive(struct msg *m, const struct msg_incoming *in)
{
	struct msg_request_state *state = msg_request_find(m, in->header.id, in->header.source, in->header.source_node);

	if (in->header.id == 0 && in->header.status == EHOSTUNREACH &&
	    strcmp(in->header.source, MSG_TRANSPORT_ENDPOINT) == 0) {
		m->stats.group_empty++;
		return;
	}
	if (state == NULL) {
		log_debug("endpoint %s: reply from %s@%u to a request that ended before", m->endpoint,
			  in->header.source, in->header.source_node);
		return;
	}
	if (in->header.status == 0 && in->len > 0) {
		state->result.data = talloc_memdup(state, in->payload, in->len);
		if (state->result.data == NULL) {
			msg_request_end(state, ENOMEM);
			return;
		}
		state->result.len = (uint32_t)in->len;
	}
	msg_request_end(state, in->header.status);
}

static void msg_client_header(const struct msg_client_state *c, enum msg_kind kind, uint32_t interface,
			      uint32_t version, uint32_t proc, struct msg_header *header)
{
	*header = (struct msg_header){
		.magic = MSG_MAGIC,
		.version = MSG_VERSION,
		.kind = kind,
		.source = c->m->endpoint,
		.source_node = c->m->own_node,
		.destination_node = c->node,
		.interface = interface,
		.interface_version = version,
		.procedure = proc,
		.flags = c->flags,
	};
}

static int msg_request_start(struct msg_request_state *state, struct msg_client_state *c, uint32_t interface,
			     uint32_t version, uint32_t proc, const uint8_t *buf, size_t len, uint32_t timeout_ms)
{
	struct msg *m = c->m;
	struct msg_header header;

	if (msg_node_is_group(c->node)) {
		return EINVAL;
	}
	if (m->n_requests >= MSG_MAX_REQUESTS) {
		return ENOBUFS;
	}
	state->m = m;
	m->next_id += m->next_id == 0; /* 0 is no request's */
	state->id = m->next_id++;
	memcpy(state->endpoint, c->endpoint, sizeof(state->endpoint));
	state->node = c->node;
	msg_client_header(c, MSG_KIND_REQUEST, interface, version, proc, &header);
	header.destination = state->endpoint;
	header.id = state->id;
	msg_request_add(m, state, timeout_ms);
	talloc_set_destructor(state, msg_request_destructor);
	int ret = msg_send(m, &header, buf, len);

	if (ret != 0) {
		msg_request_destructor(state);
	}
	return ret;
}

static struct tevent_req *msg_request_send(TALLOC_CTX *mem, struct tevent_context *ev, struct rpc_client *c,
					   uint32_t interface, uint32_t version, uint32_t proc, const uint8_t *buf,
					   size_t len, uint32_t timeout_ms)
{
	struct msg_request_state *state;
	struct tevent_req *req = tevent_req_create(mem, &state, struct msg_request_state);
	int ret;

	if (req == NULL) {
		return NULL;
	}
	state->req = req;
	ret = msg_request_start(state, c->carrier, interface, version, proc, buf, len, timeout_ms);
	if (!tevent_req_is_in_progress(req)) {
		/* A router failed it while it was handed over. */
		return tevent_req_post(req, ev);
	}
	if (ret != 0) {
		tevent_req_error(req, (uint64_t)ret);
		return tevent_req_post(req, ev);
	}
	return req;
}

static int msg_request_recv(struct tevent_req *req, TALLOC_CTX *mem, struct ctdb_blob *result)
{
	struct msg_request_state *state = tevent_req_data(req, struct msg_request_state);
	enum tevent_req_state how;
	uint64_t err = 0;
	int ret = 0;

	if (tevent_req_is_error(req, &how, &err)) {
		ret = how == TEVENT_REQ_USER_ERROR ? (int)err : how == TEVENT_REQ_TIMED_OUT ? ETIMEDOUT : ENOMEM;
	} else {
		*result = state->result;
		talloc_steal(mem, state->result.data);
	}
	tevent_req_received(req);
	return ret;
}

static int msg_notify(struct rpc_client *client, uint32_t interface, uint32_t version, uint32_t proc,
		      const uint8_t *buf, size_t len)
{
	struct msg_client_state *c = client->carrier;
	struct msg_header header;

	msg_client_header(c, MSG_KIND_NOTIFY, interface, version, proc, &header);
	header.destination = c->endpoint;
	return msg_send(c->m, &header, buf, len);
}

static struct rpc_client *msg_client_new(TALLOC_CTX *mem, struct msg *m, const struct msg_addr *dst, uint32_t flags)
{
	struct rpc_client *client = talloc_zero(mem, struct rpc_client);
	struct msg_client_state *c;

	if (client == NULL) {
		return NULL;
	}
	c = talloc_zero(client, struct msg_client_state);
	if (c == NULL) {
		talloc_free(client);
		return NULL;
	}
	c->m = m;
	memcpy(c->endpoint, dst->endpoint, sizeof(c->endpoint));
	c->endpoint[sizeof(c->endpoint) - 1] = '\0';
	c->node = dst->node == NODE_SELF ? m->own_node : dst->node;
	c->flags = flags;
	*client = (struct rpc_client){
		.request_send = msg_request_send,
		.request_recv = msg_request_recv,
		.notify = msg_notify,
		.carrier = c,
	};
	return client;
}

struct rpc_client *msg_client(TALLOC_CTX *mem, struct msg *m, const struct msg_addr *dst)
{
	return msg_client_new(mem, m, dst, 0);
}

struct rpc_client *msg_client_bulk(TALLOC_CTX *mem, struct msg *m, const struct msg_addr *dst)
{
	return msg_client_new(mem, m, dst, MSG_FLAG_BULK);
}

/* ---- server side: calls that wait for their answer ---- */

struct msg_service {
	struct dlist entry;
	uint32_t interface;
	rpc_dispatch_fn dispatch;
	void *priv;
};

struct msg_call {
	struct rpc_call call; /* first: what handlers get */
	struct dlist entry;
	struct msg *m;
	bool answered;
	bool *freed;
	struct msg_header request; /* strings are children of this object */
};

static struct msg_service *msg_service_find(const struct msg *m, uint32_t interface)
{
	dlist_for_each(pos, &m->services)
	{
		struct msg_service *s = dlist_entry(pos, struct msg_service, entry);

		if (s->interface == interface) {
			return s;
		}
	}
	return NULL;
}

int msg_serve(struct msg *m, uint32_t interface, uint32_t version, rpc_dispatch_fn dispatch, void *priv)
{
	struct msg_service *s;

	if (msg_service_find(m, interface) != NULL) {
		return EEXIST;
	}
	s = talloc_zero(m, struct msg_service);
	if (s == NULL) {
		return ENOMEM;
	}
	/* version is not compared: a newer client's additions are unknown procedures (ENOSYS) or trailing fields. */
	s->interface = interface;
	s->dispatch = dispatch;
	s->priv = priv;
	dlist_add_tail(&m->services, &s->entry);
	return 0;
}

/* The request turned round. */
static void msg_reply_header(const struct msg_header *request, int status, struct msg_header *header)
{
	*header = (struct msg_header){
		.magic = MSG_MAGIC,
		.version = MSG_VERSION,
		.kind = MSG_KIND_REPLY,
		.source = request->destination,
		.source_node = request->destination_node,
		.destination = request->source,
		.destination_node = request->source_node,
		.interface = request->interface,
		.interface_version = request->interface_version,
		.procedure = request->procedure,
		.id = request->id,
		.status = status,
		.flags = request->flags & MSG_FLAG_BULK,
	};
}

void msg_answer_error(struct msg *m, const struct msg_header *request, int status)
{
	struct msg_header header;
	int ret;

	msg_reply_header(request, status, &header);
	ret = msg_send(m, &header, NULL, 0);
	if (ret != 0) {
		log_debug("endpoint %s: error reply to %s@%u is lost: %s", m->endpoint, header.destination,
			  header.destination_node, strerror(ret));
	}
}

static void msg_call_answer(struct rpc_call *call, int32_t status, const uint8_t *buf, size_t len)
{
	struct msg_call *mc = call->carrier;
	struct msg_header header;
	int ret;

	if (mc->answered || mc->request.kind != MSG_KIND_REQUEST) {
		return;
	}
	mc->answered = true;
	msg_reply_header(&mc->request, status, &header);
	ret = msg_send(mc->m, &header, buf, status == 0 ? len : 0);
	if (ret == EMSGSIZE || ret == ENOMEM) {
		msg_answer_error(mc->m, &mc->request, ret);
	}
	if (ret != 0) {
		log_ratelimited(LOG_LVL_INFO, 1000, "endpoint %s: reply to %s@%u could not be sent: %s",
				mc->m->endpoint, call->source_endpoint, call->source_node, strerror(ret));
	}
}

static int msg_call_destructor(struct msg_call *mc)
{
	if (mc->freed != NULL) {
		*mc->freed = true;
	}
	msg_call_answer(&mc->call, ECANCELED, NULL, 0);
	dlist_remove(&mc->entry);
	mc->m->n_calls--;
	return 0;
}

static struct msg_call *msg_call_new(struct msg *m, const struct msg_incoming *in)
{
	struct msg_call *mc = talloc_zero(m, struct msg_call);

	if (mc == NULL) {
		return NULL;
	}
	talloc_set_name_const(mc, "struct rpc_call");
	mc->m = m;
	mc->request = in->header;
	mc->request.source = talloc_strdup(mc, in->header.source);
	mc->request.destination = talloc_strdup(mc, in->header.destination);
	if (mc->request.source == NULL || mc->request.destination == NULL) {
		talloc_free(mc);
		return NULL;
	}
	mc->call = (struct rpc_call){
		.source_node = in->header.source_node,
		.source_endpoint = mc->request.source,
		.source_uid = in->uid,
		.source_pid = in->pid,
		.oneway = in->header.kind == MSG_KIND_NOTIFY,
		.answer = msg_call_answer,
		.carrier = mc,
	};
	dlist_add_tail(&m->calls, &mc->entry);
	m->n_calls++;
	talloc_set_destructor(mc, msg_call_destructor);
	return mc;
}

/* A refused call is still ours: the dispatcher keeps only what it handed to a handler. */
static void msg_call_refused(struct msg *m, struct msg_call *mc, int ret)
{
	if (mc->request.kind == MSG_KIND_REQUEST) {
		msg_call_answer(&mc->call, ret, NULL, 0);
	} else {
		log_ratelimited(LOG_LVL_WARNING, 1000,
				"endpoint %s: dropping notification %u of interface 0x%x from %s@%u: %s", m->endpoint,
				mc->request.procedure, mc->request.interface, mc->request.source,
				mc->request.source_node, strerror(ret));
	}
	talloc_free(mc);
}

static void msg_dispatch(struct msg *m, const struct msg_service *s, const struct msg_incoming *in)
{
	struct msg_call *mc = msg_call_new(m, in);
	bool freed = false;
	int ret;

	if (mc == NULL) {
		if (in->header.kind == MSG_KIND_REQUEST) {
			msg_answer_error(m, &in->header, ENOMEM);
		}
		return;
	}
	mc->freed = &freed;
	ret = s->dispatch(s->priv, &mc->call, in->header.procedure, in->payload, in->len);
	if (freed) {
		return; /* answered, or the whole endpoint is gone */
	}
	mc->freed = NULL;
	if (ret != 0) {
		msg_call_refused(m, mc, ret);
	} else if (in->header.kind == MSG_KIND_NOTIFY) {
		talloc_free(mc);
	}
}

void msg_call_receive(struct msg *m, const struct msg_incoming *in)
{
	const struct msg_service *s;

	if (m->closing) {
		if (in->header.kind == MSG_KIND_REQUEST) {
			msg_answer_error(m, &in->header, ECANCELED);
		}
		return;
	}
	if (in->header.kind == MSG_KIND_REPLY) {
		msg_reply_receive(m, in);
		return;
	}
	s = msg_service_find(m, in->header.interface);
	if (s != NULL && in->header.kind == MSG_KIND_REQUEST && m->n_calls >= MSG_MAX_CALLS) {
		log_ratelimited(LOG_LVL_WARNING, 1000,
				"endpoint %s: %u requests wait for their answer; refusing those of %s@%u", m->endpoint,
				m->n_calls, in->header.source, in->header.source_node);
		msg_answer_error(m, &in->header, ENOBUFS);
	} else if (s != NULL) {
		msg_dispatch(m, s, in);
	} else if (in->header.kind == MSG_KIND_REQUEST) {
		msg_answer_error(m, &in->header, ENOSYS);
	}
}

/* Calls are answered ECANCELED, so that nobody waits for a process that is gone; requests end in the next turn of the
 * loop. */
void msg_call_shutdown(struct msg *m)
{
	while (!dlist_empty(&m->calls)) {
		talloc_free(dlist_entry(dlist_first(&m->calls), struct msg_call, entry));
	}
	while (!dlist_empty(&m->deadlines)) {
		struct msg_request_state *state =
			dlist_entry(dlist_first(&m->deadlines), struct msg_request_state, by_deadline);

		tevent_req_defer_callback(state->req, m->ev);
		msg_request_end(state, ESHUTDOWN);
	}
}
