/* Datagrams of the message library: [how] [datagram]. Taken apart as an endpoint does, planned for a link as transportd
 * does, or delivered to an endpoint that serves an interface; or the text of an address. */
#include <talloc.h>
#include <unistd.h>

#include "fuzz.h"
#include "shared/log.h"
#include "shared/msg.h"
#include "shared/msg_private.h"

#define INTERFACE 0x7000

static struct {
	struct tevent_context *ev;
	struct msg *m;
	char dir[64];
	struct rpc_call *held;
} world;

static int held_freed(struct rpc_call **slot)
{
	world.held = NULL;
	return 0;
}

/* Procedure 1 answers, 2 fails, 3 is answered by the next packet, others are unknown. */
static int dispatch(void *priv, struct rpc_call *call, uint32_t proc, const uint8_t *buf, size_t len)
{
	(void)priv;
	if (proc == 0 || proc > 3) {
		return ENOSYS;
	}
	if (call->oneway) {
		return 0;
	}
	if (proc == 1) {
		rpc_call_reply(call, buf, len);
	} else if (proc == 2 || world.held != NULL) {
		rpc_call_fail(call, EXDEV);
	} else {
		struct rpc_call **slot = talloc(call, struct rpc_call *);

		MUST(slot != NULL);
		talloc_set_destructor(slot, held_freed);
		world.held = call;
	}
	return 0;
}

static void world_end(void)
{
	talloc_free(world.m);
	talloc_free(world.ev);
	(void)rmdir(world.dir);
}

static void world_begin(void)
{
	char *err = NULL;

	if (world.ev != NULL) {
		return;
	}
	log_set_level(LOG_LVL_ERROR);
	snprintf(world.dir, sizeof(world.dir), "/tmp/ctdb-fuzz-msg-XXXXXX");
	MUST(mkdtemp(world.dir) != NULL);
	world.ev = tevent_context_init(NULL);
	MUST(msg_open(world.ev, world.ev, world.dir, "fuzz", 1, NULL, &world.m, &err) == 0);
	MUST(msg_serve(world.m, INTERFACE, 1, dispatch, NULL) == 0);
	atexit(world_end);
}

static void parse(const uint8_t *data, size_t len)
{
	TALLOC_CTX *mem = talloc_new(NULL);
	struct msg_incoming in;
	const char *why = NULL;
	int ret = msg_incoming_parse(mem, data, len, &in, &why);

	MUST((ret == 0) == (why == NULL));
	if (ret == 0) {
		MUST(msg_endpoint_valid(in.header.source) && msg_endpoint_valid(in.header.destination));
		MUST(in.len <= len && (in.len == 0 || (in.payload >= data && in.payload + in.len <= data + len)));
	}
	talloc_free(mem);
}

static void plan(const uint8_t *data, size_t len, uint32_t version)
{
	struct msg_packet_plan p;

	if (msg_packet_plan(data, len, version, 1, &p) != 0) {
		return;
	}
	MUST(p.header_len <= sizeof(p.header) && p.payload_len <= len);
	if (p.payload_len > 0) {
		MUST(p.payload >= data && p.payload + p.payload_len <= data + len);
	}
}

static void address(const uint8_t *data, size_t len)
{
	char *text = malloc(len + 1), *again;
	struct msg_addr a, b;

	MUST(text != NULL);
	memcpy(text, data, len);
	text[len] = '\0';
	if (msg_addr_parse(text, &a) == 0) {
		again = msg_addr_text(NULL, &a);
		MUST(again != NULL && msg_addr_parse(again, &b) == 0);
		MUST(strcmp(a.endpoint, b.endpoint) == 0 && a.node == b.node);
		talloc_free(again);
	}
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_in in = {data, size};
	uint8_t how = fuzz_byte(&in);
	size_t len;
	uint8_t *copy = fuzz_take(&in, in.left, &len);

	world_begin();
	switch (how % 4) {
	case 0:
		address(copy, len);
		break;
	case 1:
		parse(copy, len);
		plan(copy, len, 1 + (how >> 2) % 2);
		break;
	default:
		(void)msg_deliver(world.m, how % 4, copy, len);
		if (world.held != NULL && (how & 0x80) != 0) {
			rpc_call_reply(world.held, copy, len);
		}
		break;
	}
	free(copy);
	return 0;
}
