/* Packets as bytes. */
#include "internal.h"

#include <errno.h>

#include <ctdb/wire.h>

#include "protocol/classic_native.h"

/* ---- reading ---- */

static int parse_request(const uint8_t *body, size_t len, struct ctdb_wire_packet *p)
{
	struct classic_req_call call;
	struct classic_req_message message;
	struct classic_req_control control;
	struct classic_req_tunnel tunnel;
	int err;

	switch (p->operation) {
	case CLASSIC_REQ_CALL:
		err = classic_req_call_nview(body, len, &call, NULL);
		p->u.call = (struct ctdb_wire_req_call){.flags = call.flags,
							.db_id = call.db_id,
							.callid = call.callid,
							.hopcount = call.hopcount,
							.key = data_of_blob(call.key),
							.calldata = data_of_blob(call.calldata)};
		return err;
	case CLASSIC_REQ_MESSAGE:
		err = classic_req_message_nview(body, len, &message, NULL);
		p->u.message =
			(struct ctdb_wire_req_message){.srvid = message.srvid, .data = data_of_blob(message.data)};
		return err;
	case CLASSIC_REQ_CONTROL:
		err = classic_req_control_nview(body, len, &control, NULL);
		p->u.control = (struct ctdb_wire_req_control){.opcode = control.opcode,
							      .srvid = control.srvid,
							      .client_id = control.client_id,
							      .flags = control.flags,
							      .data = data_of_blob(control.data)};
		return err;
	default:
		err = classic_req_tunnel_nview(body, len, &tunnel, NULL);
		p->u.tunnel = (struct ctdb_wire_req_tunnel){
			.tunnel_id = tunnel.tunnel_id, .flags = tunnel.flags, .data = data_of_blob(tunnel.data)};
		return err;
	}
}

static int parse_reply(const uint8_t *body, size_t len, struct ctdb_wire_packet *p)
{
	struct classic_reply_call call;
	struct classic_reply_error error;
	struct classic_reply_control control;
	int err;

	switch (p->operation) {
	case CLASSIC_REPLY_CALL:
		err = classic_reply_call_nview(body, len, &call, NULL);
		p->u.reply_call = (struct ctdb_wire_reply_call){.status = call.status, .data = data_of_blob(call.data)};
		return err;
	case CLASSIC_REPLY_ERROR:
		err = classic_reply_error_nview(body, len, &error, NULL);
		p->u.error = (struct ctdb_wire_reply_error){.status = error.status, .text = data_of_blob(error.text)};
		return err;
	default:
		err = classic_reply_control_nview(body, len, &control, NULL);
		p->u.reply_control = (struct ctdb_wire_reply_control){.status = control.status,
								      .data = data_of_blob(control.data),
								      .error = data_of_blob(control.error)};
		return err;
	}
}

/* 0, ENOTSUP or EBADMSG. */
static int parse_body(const uint8_t *body, size_t len, struct ctdb_wire_packet *p)
{
	switch (p->operation) {
	case CLASSIC_REQ_CALL:
	case CLASSIC_REQ_MESSAGE:
	case CLASSIC_REQ_CONTROL:
	case CLASSIC_REQ_TUNNEL:
		return parse_request(body, len, p);
	case CLASSIC_REPLY_CALL:
	case CLASSIC_REPLY_ERROR:
	case CLASSIC_REPLY_CONTROL:
		return parse_reply(body, len, p);
	default:
		return ENOTSUP;
	}
}

int ctdb_wire_parse(const uint8_t *buf, size_t len, struct ctdb_wire_packet *packet, size_t *used)
{
	struct ctdb_wire_packet p = {.operation = 0};
	struct classic_header hdr;
	uint32_t length = CLASSIC_HEADER_SIZE;
	int err;

	if (len >= sizeof(length)) {
		memcpy(&length, buf, sizeof(length));
		if (length < CLASSIC_HEADER_SIZE || length > CTDB_WIRE_PACKET_MAX) {
			return EBADMSG;
		}
	}
	if (len < length) {
		*used = length;
		return EAGAIN;
	}
	if (classic_header_nview(buf, length, &hdr, NULL) != 0 || hdr.magic != CLASSIC_MAGIC ||
	    hdr.version != CLASSIC_VERSION) {
		return EBADMSG;
	}
	p = (struct ctdb_wire_packet){.operation = hdr.operation,
				      .generation = hdr.generation,
				      .destnode = hdr.destnode,
				      .srcnode = hdr.srcnode,
				      .reqid = hdr.reqid};
	err = parse_body(buf + CLASSIC_HEADER_SIZE, length - CLASSIC_HEADER_SIZE, &p);
	if (err != 0 && err != ENOTSUP) {
		return EBADMSG;
	}
	*packet = p;
	*used = length;
	return err;
}

/* ---- writing ---- */

static int build_request(TALLOC_CTX *mem, const struct ctdb_wire_packet *p, struct ctdb_blob *body)
{
	const struct ctdb_wire_req_call *k = &p->u.call;
	const struct ctdb_wire_req_control *l = &p->u.control;
	struct classic_req_call call = {
		.flags = k->flags, .db_id = k->db_id, .callid = k->callid, .hopcount = k->hopcount};
	struct classic_req_control control = {
		.opcode = l->opcode, .srvid = l->srvid, .client_id = l->client_id, .flags = l->flags};
	struct classic_req_message message = {.srvid = p->u.message.srvid};
	struct classic_req_tunnel tunnel = {.tunnel_id = p->u.tunnel.tunnel_id, .flags = p->u.tunnel.flags};

	switch (p->operation) {
	case CLASSIC_REQ_CALL:
		call.key = blob_of(k->key);
		call.calldata = blob_of(k->calldata);
		return classic_req_call_nencode(mem, &call, body);
	case CLASSIC_REQ_MESSAGE:
		message.data = blob_of(p->u.message.data);
		return classic_req_message_nencode(mem, &message, body);
	case CLASSIC_REQ_CONTROL:
		control.data = blob_of(l->data);
		return classic_req_control_nencode(mem, &control, body);
	default:
		tunnel.data = blob_of(p->u.tunnel.data);
		return classic_req_tunnel_nencode(mem, &tunnel, body);
	}
}

static int build_reply(TALLOC_CTX *mem, const struct ctdb_wire_packet *p, struct ctdb_blob *body)
{
	struct classic_reply_call call = {.status = p->u.reply_call.status};
	struct classic_reply_error error = {.status = p->u.error.status};
	struct classic_reply_control control = {.status = p->u.reply_control.status};

	switch (p->operation) {
	case CLASSIC_REPLY_CALL:
		call.data = blob_of(p->u.reply_call.data);
		return classic_reply_call_nencode(mem, &call, body);
	case CLASSIC_REPLY_ERROR:
		error.text = blob_of(p->u.error.text);
		return classic_reply_error_nencode(mem, &error, body);
	default:
		control.data = blob_of(p->u.reply_control.data);
		control.error = blob_of(p->u.reply_control.error);
		return classic_reply_control_nencode(mem, &control, body);
	}
}

/* What would not fit a length of 32 bits must not reach the encoder. */
static bool lengths_fit(const struct ctdb_wire_packet *p)
{
	switch (p->operation) {
	case CLASSIC_REQ_CALL:
		return p->u.call.key.len <= CLASSIC_KEY_MAX && p->u.call.calldata.len <= CLASSIC_DATA_MAX;
	case CLASSIC_REPLY_CALL:
		return p->u.reply_call.data.len <= CLASSIC_DATA_MAX;
	case CLASSIC_REPLY_ERROR:
		return p->u.error.text.len <= CLASSIC_DATA_MAX;
	case CLASSIC_REQ_MESSAGE:
		return p->u.message.data.len <= CLASSIC_DATA_MAX;
	case CLASSIC_REQ_CONTROL:
		return p->u.control.data.len <= CLASSIC_DATA_MAX;
	case CLASSIC_REPLY_CONTROL:
		return p->u.reply_control.data.len <= CLASSIC_DATA_MAX &&
		       p->u.reply_control.error.len <= CLASSIC_DATA_MAX;
	default:
		return p->u.tunnel.data.len <= CLASSIC_DATA_MAX;
	}
}

static int build_body(TALLOC_CTX *mem, const struct ctdb_wire_packet *p, struct ctdb_blob *body)
{
	switch (p->operation) {
	case CLASSIC_REQ_CALL:
	case CLASSIC_REQ_MESSAGE:
	case CLASSIC_REQ_CONTROL:
	case CLASSIC_REQ_TUNNEL:
		return lengths_fit(p) ? build_request(mem, p, body) : EMSGSIZE;
	case CLASSIC_REPLY_CALL:
	case CLASSIC_REPLY_ERROR:
	case CLASSIC_REPLY_CONTROL:
		return lengths_fit(p) ? build_reply(mem, p, body) : EMSGSIZE;
	default:
		return EINVAL;
	}
}

int wire_frame(TALLOC_CTX *mem, struct classic_header *hdr, const struct ctdb_blob *body, struct ctdb_blob *out)
{
	/* A multiple of 8, as links between classic daemons demand. */
	size_t len = (CLASSIC_HEADER_SIZE + (size_t)body->len + 7) & ~(size_t)7;
	struct ctdb_blob head;
	uint8_t *p = talloc_zero_array(mem, uint8_t, len);

	if (p == NULL) {
		return ENOMEM;
	}
	hdr->length = (uint32_t)len;
	hdr->magic = CLASSIC_MAGIC;
	hdr->version = CLASSIC_VERSION;
	if (classic_header_nencode(p, hdr, &head) != 0) {
		talloc_free(p);
		return ENOMEM;
	}
	memcpy(p, head.data, head.len);
	if (body->len > 0) {
		memcpy(p + CLASSIC_HEADER_SIZE, body->data, body->len);
	}
	talloc_free(head.data);
	*out = (struct ctdb_blob){.len = (uint32_t)len, .data = p};
	return 0;
}

int ctdb_wire_build(TALLOC_CTX *mem, const struct ctdb_wire_packet *packet, struct ctdb_data *out)
{
	struct classic_header hdr = {.generation = packet->generation,
				     .operation = packet->operation,
				     .destnode = packet->destnode,
				     .srcnode = packet->srcnode,
				     .reqid = packet->reqid};
	struct ctdb_blob body = {.len = 0}, whole;
	int err = build_body(mem, packet, &body);

	if (err != 0) {
		return err;
	}
	err = wire_frame(mem, &hdr, &body, &whole);
	talloc_free(body.data);
	if (err == 0) {
		*out = data_of_blob(whole);
	}
	return err;
}
