/* The other side of the client socket: requests and their answers, messages. */
#include "server.h"

#include <errno.h>

/* Of one connection. */
#define SRVIDS_MAX 65536U

struct ctdb_server_request {
	struct ctdb_server_conn *conn;
	struct ctdb_wire_packet packet; /* points into bytes */
	struct ctdb_data bytes;
	bool answered;
};

/* ---- requests ---- */

static bool wants_reply(const struct ctdb_server_request *r)
{
	return r->packet.operation != CTDB_WIRE_REQ_CONTROL || (r->packet.u.control.flags & CTDB_CONTROL_NOREPLY) == 0;
}

static void reply(struct ctdb_server_request *r, struct ctdb_wire_packet *packet)
{
	r->answered = true;
	packet->reqid = r->packet.reqid;
	if (wants_reply(r)) {
		int err = server_send(r->conn, packet);

		if (err != 0 && err != ENOTCONN) {
			ctdb_server_conn_close(r->conn); /* an answer that is missing would be waited for */
		}
	}
}

static void reply_failure(struct ctdb_server_request *r)
{
	static const char text[] = "not served";
	struct ctdb_wire_packet p = {.operation = CTDB_WIRE_REPLY_ERROR};

	if (r->packet.operation == CTDB_WIRE_REQ_CONTROL) {
		p.operation = CTDB_WIRE_REPLY_CONTROL;
		p.u.reply_control.status = -1;
	} else {
		p.u.error = (struct ctdb_wire_reply_error){.status = -1, .text = data_of(text, sizeof(text))};
	}
	reply(r, &p);
}

static int request_destructor(struct ctdb_server_request *r)
{
	if (!r->answered && !r->conn->closing) {
		reply_failure(r);
	}
	server_request_gone(r->conn);
	return 0;
}

/* Owns a copy of the packet, because answers may come later. NULL: out of memory, the connection is closed. */
static struct ctdb_server_request *request_new(struct ctdb_server_conn *c, struct ctdb_data bytes)
{
	struct ctdb_server_request *r = talloc_zero(c, struct ctdb_server_request);
	size_t used;

	if (r != NULL) {
		r->conn = c;
		r->bytes = data_of(talloc_memdup(r, bytes.data, bytes.len), bytes.len);
	}
	if (r == NULL || r->bytes.data == NULL ||
	    ctdb_wire_parse(r->bytes.data, r->bytes.len, &r->packet, &used) != 0) {
		talloc_free(r);
		ctdb_server_conn_close(c);
		return NULL;
	}
	c->n_requests++;
	talloc_set_destructor(r, request_destructor);
	return r;
}

struct ctdb_server_conn *ctdb_server_request_conn(const struct ctdb_server_request *r)
{
	return r->conn;
}

const struct ctdb_wire_packet *ctdb_server_request_packet(const struct ctdb_server_request *r)
{
	return &r->packet;
}

void ctdb_server_reply_control(struct ctdb_server_request *r, int32_t status, struct ctdb_data data, const char *error)
{
	struct ctdb_wire_packet p = {
		.operation = CTDB_WIRE_REPLY_CONTROL,
		.u.reply_control = {.status = status,
				    .data = data,
				    .error = data_of(error, error == NULL ? 0 : strlen(error))},
	};

	reply(r, &p);
	talloc_free(r);
}

void ctdb_server_reply_call(struct ctdb_server_request *r, int32_t status, struct ctdb_data data)
{
	struct ctdb_wire_packet p = {.operation = CTDB_WIRE_REPLY_CALL,
				     .u.reply_call = {.status = status, .data = data}};

	reply(r, &p);
	talloc_free(r);
}

void ctdb_server_reply_error(struct ctdb_server_request *r, int32_t status, const char *text)
{
	struct ctdb_wire_packet p = {.operation = CTDB_WIRE_REPLY_ERROR,
				     .u.error = {.status = status, .text = data_of(text, strlen(text) + 1)}};

	reply(r, &p);
	talloc_free(r);
}

/* ---- registrations and messages ---- */

int ctdb_server_conn_register(struct ctdb_server_conn *c, uint64_t srvid)
{
	uint64_t *srvids;

	if (c->n_srvids >= SRVIDS_MAX) {
		return ENOMEM;
	}
	srvids = talloc_realloc(c, c->srvids, uint64_t, c->n_srvids + 1);
	if (srvids == NULL) {
		return ENOMEM;
	}
	c->srvids = srvids;
	c->srvids[c->n_srvids++] = srvid;
	return 0;
}

int ctdb_server_conn_deregister(struct ctdb_server_conn *c, uint64_t srvid)
{
	uint32_t i;

	for (i = 0; i < c->n_srvids; i++) {
		if (c->srvids[i] == srvid) {
			c->srvids[i] = c->srvids[--c->n_srvids];
			return 0;
		}
	}
	return ENOENT;
}

int ctdb_server_send_message(struct ctdb_server_conn *c, uint64_t srvid, struct ctdb_data data)
{
	struct ctdb_wire_packet p = {.operation = CTDB_WIRE_REQ_MESSAGE, .u.message = {.srvid = srvid, .data = data}};

	return server_send(c, &p);
}

int ctdb_server_send_tunnel(struct ctdb_server_conn *c, uint64_t tunnel_id, uint32_t flags, struct ctdb_data data)
{
	struct ctdb_wire_packet p = {.operation = CTDB_WIRE_REQ_TUNNEL,
				     .u.tunnel = {.tunnel_id = tunnel_id, .flags = flags, .data = data}};

	return server_send(c, &p);
}

uint32_t ctdb_server_publish(struct ctdb_server *s, uint64_t srvid, struct ctdb_data data)
{
	uint32_t i, n = 0;

	/* Sending frees no connection: those that fail are freed by the event loop. */
	dlist_for_each(e, &s->conns)
	{
		struct ctdb_server_conn *c = dlist_entry(e, struct ctdb_server_conn, link);

		for (i = 0; i < c->n_srvids; i++) {
			if ((c->srvids[i] == srvid || c->srvids[i] == CTDB_SRVID_ALL) &&
			    ctdb_server_send_message(c, srvid, data) == 0) {
				n++;
			}
		}
	}
	return n;
}

/* ---- what came ---- */

static ctdb_server_control_fn control_lookup(const struct ctdb_server_handlers *h, uint32_t opcode)
{
	size_t i;

	for (i = 0; i < h->n_controls; i++) {
		if (h->controls[i].opcode == opcode) {
			return h->controls[i].fn;
		}
	}
	return NULL;
}

/* What the server does itself. True: done. */
static bool registration(struct ctdb_server_request *r)
{
	const struct ctdb_wire_req_control *k = &r->packet.u.control;
	int32_t status;

	switch (k->opcode) {
	case CLASSIC_CONTROL_REGISTER_SRVID:
		status = ctdb_server_conn_register(r->conn, k->srvid) == 0 ? 0 : -1;
		break;
	case CLASSIC_CONTROL_DEREGISTER_SRVID:
		status = ctdb_server_conn_deregister(r->conn, k->srvid); /* clients know ENOENT as 2 */
		break;
	default:
		return false;
	}
	ctdb_server_reply_control(r, status, (struct ctdb_data){0}, NULL);
	return true;
}

static void control_in(struct ctdb_server *s, struct ctdb_server_request *r)
{
	const struct ctdb_wire_req_control *k = &r->packet.u.control;
	ctdb_server_control_fn fn = control_lookup(&s->h, k->opcode);

	if (fn == NULL && registration(r)) {
		return;
	}
	fn = fn != NULL ? fn : s->h.control;
	if (fn != NULL) {
		fn(s->priv, r, k);
	} else {
		talloc_free(r);
	}
}

void server_packet(struct ctdb_server_conn *c, const struct ctdb_wire_packet *packet, struct ctdb_data bytes)
{
	struct ctdb_server *s = c->server;
	struct ctdb_server_request *r;

	switch (packet->operation) {
	case CTDB_WIRE_REQ_MESSAGE:
		if (s->h.message != NULL) {
			s->h.message(s->priv, c, packet->destnode, &packet->u.message);
		}
		return;
	case CTDB_WIRE_REQ_TUNNEL:
		if (s->h.tunnel != NULL) {
			s->h.tunnel(s->priv, c, packet->destnode, &packet->u.tunnel);
		}
		return;
	case CTDB_WIRE_REQ_CONTROL:
	case CTDB_WIRE_REQ_CALL:
		break;
	default:
		return; /* an answer to nothing */
	}
	r = request_new(c, bytes);
	if (r == NULL) {
		return;
	}
	if (packet->operation == CTDB_WIRE_REQ_CONTROL) {
		control_in(s, r);
	} else if (s->h.call != NULL) {
		s->h.call(s->priv, r, &r->packet.u.call);
	} else {
		talloc_free(r);
	}
}
