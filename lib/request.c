/* Requests that wait for a reply: matched by number, failed together when the connection ends. */
#include "internal.h"

#include <errno.h>

#include <tevent.h>

#include "protocol/classic_native.h"

struct request_state {
	struct op op;
	struct dlist link; /* in client->pending while it waits */
	const char *what;
	uint32_t reqid;
	uint32_t operation; /* of the request */
	uint32_t timeout_ms;
	bool sent; /* handed to the connection */
	struct ctdb_blob reply;
};

bool req_failed(struct tevent_req *req, int *err)
{
	enum tevent_req_state state;
	uint64_t error;

	if (!tevent_req_is_error(req, &state, &error)) {
		return false;
	}
	if (state == TEVENT_REQ_TIMED_OUT) {
		*err = ETIMEDOUT;
	} else {
		*err = state == TEVENT_REQ_USER_ERROR ? (int)error : ENOMEM;
	}
	return true;
}

int req_simple_recv(struct tevent_req *req)
{
	int err = 0;

	(void)req_failed(req, &err);
	return err;
}

void op_begin(struct op *op, struct ctdb_client *c, struct tevent_req *req)
{
	op->c = c;
	op->req = req;
	dlist_add_tail(&c->ops, &op->link);
}

void op_end(struct op *op)
{
	dlist_remove(&op->link);
}

void ops_fail(struct ctdb_client *c, int err)
{
	dlist_for_each(e, &c->ops)
	{
		struct tevent_req *req = dlist_entry(e, struct op, link)->req;

		if (tevent_req_is_in_progress(req)) {
			tevent_req_defer_callback(req, c->ev);
			tevent_req_error(req, err);
		}
	}
}

void ops_orphan(struct ctdb_client *c)
{
	dlist_for_each_safe(e, &c->ops)
	{
		dlist_entry(e, struct op, link)->c = NULL;
		dlist_remove(e);
	}
}

static struct dlist *bucket(struct ctdb_client *c, uint32_t reqid)
{
	return &c->pending[reqid % PENDING_BUCKETS];
}

static struct request_state *request_find(struct ctdb_client *c, uint32_t reqid)
{
	dlist_for_each(e, bucket(c, reqid))
	{
		struct request_state *s = dlist_entry(e, struct request_state, link);

		if (s->reqid == reqid) {
			return s;
		}
	}
	return NULL;
}

static void request_unlink(struct request_state *s)
{
	if (dlist_linked(&s->link)) {
		dlist_remove(&s->link);
		s->op.c->n_pending--;
	}
}

static void request_cleanup(struct tevent_req *req, enum tevent_req_state state)
{
	request_unlink(tevent_req_data(req, struct request_state));
}

/* Freed while it waits: the reply will find nobody. */
static int request_destructor(struct request_state *s)
{
	request_unlink(s);
	op_end(&s->op);
	return 0;
}

/* Numbers are used again only when all 2^32 were; one that still waits is skipped. 0 is never used. */
static uint32_t reqid_new(struct ctdb_client *c)
{
	do {
		c->next_reqid++;
	} while (c->next_reqid == 0 || request_find(c, c->next_reqid) != NULL);
	return c->next_reqid;
}

/* 0 and a reqid; or why the request cannot be sent. */
static int request_queue(struct ctdb_client *c, const struct request *r, uint32_t *reqid)
{
	if (r->err != 0) {
		return client_fail(c, r->err, "%s: %s", r->what,
				   r->err == EMSGSIZE ? "too large for one packet" : strerror(r->err));
	}
	if (c->n_pending >= PENDING_MAX) {
		return client_fail(c, ENOBUFS, "%u requests are waiting for the CTDB daemon already", c->n_pending);
	}
	*reqid = reqid_new(c);
	return client_queue(c, r->operation, r->destnode, *reqid, &r->body);
}

struct tevent_req *request_send(TALLOC_CTX *mem, struct ctdb_client *c, const struct request *r)
{
	struct request_state *s;
	struct tevent_req *req = tevent_req_create(mem, &s, struct request_state);

	if (req == NULL) {
		return NULL;
	}
	*s = (struct request_state){.what = r->what,
				    .operation = r->operation,
				    .timeout_ms = r->timeout_ms != 0 ? r->timeout_ms : c->timeout_ms};
	op_begin(&s->op, c, req);
	talloc_set_destructor(s, request_destructor);
	if (tevent_req_error(req, request_queue(c, r, &s->reqid))) {
		return tevent_req_post(req, c->ev);
	}
	s->sent = true;
	if (r->no_reply) {
		tevent_req_done(req);
		return tevent_req_post(req, c->ev);
	}
	if (!tevent_req_set_endtime(req, c->ev, timeout_endtime(s->timeout_ms))) {
		return tevent_req_post(req, c->ev);
	}
	dlist_add_tail(bucket(c, s->reqid), &s->link);
	c->n_pending++;
	tevent_req_set_cleanup_fn(req, request_cleanup);
	return req;
}

static bool reply_fits(uint32_t request, uint32_t reply)
{
	switch (reply) {
	case CLASSIC_REPLY_CALL:
		return request == CLASSIC_REQ_CALL;
	case CLASSIC_REPLY_CONTROL:
		return request == CLASSIC_REQ_CONTROL;
	default:
		return true;
	}
}

/* REPLY_ERROR stands for either kind. */
static int error_reply(struct ctdb_client *c, struct tevent_req *req, const uint8_t *body, size_t len)
{
	struct request_state *s = tevent_req_data(req, struct request_state);
	struct classic_reply_error e;

	if (classic_reply_error_nview(body, len, &e, NULL) != 0) {
		return EPROTO;
	}
	client_fail(c, EREMOTEIO, "%s: the CTDB daemon answers: %.*s", s->what,
		    (int)strnlen((const char *)e.text.data, e.text.len),
		    e.text.len > 0 ? (const char *)e.text.data : "");
	tevent_req_error(req, EREMOTEIO);
	return 0;
}

int request_reply(struct ctdb_client *c, const struct classic_header *hdr, const uint8_t *body, size_t len)
{
	struct request_state *s = request_find(c, hdr->reqid);
	struct tevent_req *req;
	int err = 0;

	if (s == NULL || !reply_fits(s->operation, hdr->operation)) {
		return s == NULL ? 0 : EPROTO; /* unknown number: the request was given up */
	}
	req = s->op.req;
	s->reply.data = talloc_memdup(s, body, len);
	s->reply.len = (uint32_t)len;
	if (hdr->operation == CLASSIC_REPLY_ERROR) {
		err = error_reply(c, req, body, len);
	} else if (!tevent_req_nomem(s->reply.data, req)) {
		tevent_req_done(req);
	}
	return err;
}

int request_recv(struct tevent_req *req, struct ctdb_blob *body)
{
	struct request_state *s = tevent_req_data(req, struct request_state);
	int err;

	if (req_failed(req, &err)) {
		if (err == ETIMEDOUT) {
			client_fail(s->op.c, err, "%s: no answer of the CTDB daemon within %u ms", s->what,
				    s->timeout_ms);
		}
		return err;
	}
	*body = s->reply;
	return 0;
}

struct ctdb_client *request_client(struct tevent_req *req)
{
	struct request_state *s = tevent_req_data(req, struct request_state);

	return s->op.c;
}

bool request_was_sent(struct tevent_req *req)
{
	struct request_state *s = tevent_req_data(req, struct request_state);

	return s->sent;
}

const char *request_what(struct tevent_req *req)
{
	struct request_state *s = tevent_req_data(req, struct request_state);

	return s->what;
}
