/* What a client asks: one complete packet, taken apart and handed to its part. */
#include "dbd/client.h"
#include "dbd/control.h"
#include "dbd/srvid.h"
#include "protocol/classic_native.h"

/* The structure of the operation, behind the header. */
static const uint8_t *body(const uint8_t *packet)
{
	return packet + CLASSIC_HEADER_SIZE;
}

static void malformed(struct client *c, const char *what)
{
	client_disconnect(c, "malformed packet: a length inside %s goes beyond the packet or its bound", what);
}

static void request_call(struct client *c, const uint8_t *packet, size_t len)
{
	struct classic_req_call call;

	if (classic_req_call_nview(body(packet), len - CLASSIC_HEADER_SIZE, &call, NULL) != 0) {
		malformed(c, "REQ_CALL");
		return;
	}
	c->clients->count.req_call++;
	client_call(c, peek_u32(packet + 28), &call);
}

static void request_message(struct client *c, const uint8_t *packet, size_t len)
{
	struct classic_req_message m;

	if (classic_req_message_nview(body(packet), len - CLASSIC_HEADER_SIZE, &m, NULL) != 0) {
		malformed(c, "REQ_MESSAGE");
		return;
	}
	c->clients->count.req_message++;
	srvids_send(c->clients->dbd->srvids, peek_u32(packet + 20), m.srvid, m.data.data, m.data.len);
}

static void request_control(struct client *c, const uint8_t *packet, size_t len)
{
	struct classic_req_control r;

	if (classic_req_control_nview(body(packet), len - CLASSIC_HEADER_SIZE, &r, NULL) != 0) {
		malformed(c, "REQ_CONTROL");
		return;
	}
	c->clients->count.req_control++;
	controls_from_client(c, peek_u32(packet + 28), peek_u32(packet + 20), &r);
}

static void request_tunnel(struct client *c, const uint8_t *packet, size_t len)
{
	struct classic_req_tunnel t;

	if (classic_req_tunnel_nview(body(packet), len - CLASSIC_HEADER_SIZE, &t, NULL) != 0) {
		malformed(c, "REQ_TUNNEL");
		return;
	}
	c->clients->count.req_tunnel++;
	tunnel_from_client(c, peek_u32(packet + 20), &t);
}

void client_request(struct client *c, const uint8_t *packet, size_t len)
{
	uint32_t op = peek_u32(packet + 16);

	if (op != CLASSIC_REQ_CALL && c->uses_databases) {
		records_client_acts(c->clients->dbd->records, c->id, true);
	}
	switch (op) {
	case CLASSIC_REQ_CALL:
		request_call(c, packet, len);
		break;
	case CLASSIC_REQ_MESSAGE:
		request_message(c, packet, len);
		break;
	case CLASSIC_REQ_CONTROL:
		request_control(c, packet, len);
		break;
	case CLASSIC_REQ_TUNNEL:
		request_tunnel(c, packet, len);
		break;
	default:
		client_disconnect(c, "malformed packet: operation %u is none that a client may ask for", op);
		break;
	}
}
