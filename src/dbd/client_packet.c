/* The packets that dbd sends to clients. Built in place in the client's queue, without a copy between: the layouts are
 * those of protocol/classic.x, the test compares with the generated encoder. */
#include "dbd/client.h"

/* Sizes that a packet has at least, header included. */
#define MIN_REPLY  48
#define MIN_TUNNEL 56

static void put_bytes(uint8_t *p, const void *data, size_t len)
{
	if (len > 0) {
		memcpy(p, data, len);
	}
}

void client_reply_call(struct client *c, uint32_t reqid, int32_t status, const uint8_t *header, const uint8_t *data,
		       size_t len)
{
	size_t headerlen = header != NULL ? REC_HEADER_SIZE : 0;
	uint8_t *p = client_packet(c, CLASSIC_REPLY_CALL, reqid, MIN_REPLY, 40 + headerlen + len);

	if (p == NULL) {
		return;
	}
	poke_u32(p + 32, (uint32_t)status);
	poke_u32(p + 36, (uint32_t)(headerlen + len));
	put_bytes(p + 40, header, headerlen);
	put_bytes(p + 40 + headerlen, data, len);
}

void client_reply_error(struct client *c, uint32_t reqid, int32_t status, const char *text)
{
	size_t len = strlen(text) + 1;
	uint8_t *p = client_packet(c, CLASSIC_REPLY_ERROR, reqid, MIN_REPLY, 40 + len);

	if (p == NULL) {
		return;
	}
	poke_u32(p + 32, (uint32_t)status);
	poke_u32(p + 36, (uint32_t)len);
	put_bytes(p + 40, text, len);
}

void client_reply_control(struct client *c, uint32_t reqid, int32_t status, const uint8_t *data, size_t len,
			  const char *text)
{
	size_t textlen = text != NULL ? strlen(text) : 0;
	uint8_t *p = client_packet(c, CLASSIC_REPLY_CONTROL, reqid, MIN_REPLY, 44 + len + textlen);

	if (p == NULL) {
		return;
	}
	poke_u32(p + 32, (uint32_t)status);
	poke_u32(p + 36, (uint32_t)len);
	poke_u32(p + 40, (uint32_t)textlen);
	put_bytes(p + 44, data, len);
	put_bytes(p + 44 + len, text, textlen);
}

void client_send_message(struct client *c, uint64_t srvid, const uint8_t *data, size_t len)
{
	uint8_t *p = client_packet(c, CLASSIC_REQ_MESSAGE, 0, MIN_REPLY, 44 + len);

	if (p == NULL) {
		return;
	}
	poke_u64(p + 32, srvid);
	poke_u32(p + 40, (uint32_t)len);
	put_bytes(p + 44, data, len);
	if (c->uses_databases) {
		records_client_acts(c->clients->dbd->records, c->id, false);
	}
}

void client_send_tunnel(struct client *c, uint64_t id, uint32_t flags, const uint8_t *data, size_t len)
{
	uint8_t *p = client_packet(c, CLASSIC_REQ_TUNNEL, 0, MIN_TUNNEL, 48 + len);

	if (p == NULL) {
		return;
	}
	poke_u64(p + 32, id);
	poke_u32(p + 40, flags);
	poke_u32(p + 44, (uint32_t)len);
	put_bytes(p + 48, data, len);
}
