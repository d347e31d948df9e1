/* What a client writes to dbd's socket: [choices] [0: bytes as they are; else: packets whose header is completed].
 * Everything of the client side runs: packets, calls, messages, controls with their payloads, transactions, traverses,
 * attaches. */
#include "fuzz_dbd.h"

#include <sys/socket.h>

#include "protocol/classic.h"

#define HEADER 32

static void write_all(int fd, const uint8_t *p, size_t len)
{
	while (len > 0 && fake->dbd->clients->n > 0) {
		ssize_t n = send(fd, p, len, MSG_NOSIGNAL);

		if (n <= 0) {
			/* Full, or closed by dbd. */
			fuzz_dbd_read(fd);
			if (n < 0 && errno != EAGAIN) {
				return;
			}
			continue;
		}
		p += n;
		len -= (size_t)n;
	}
}

/* [operation] [destination] [length] [body]: with the magic and lengths that a fuzzer need not find. */
static void packet(int fd, struct fuzz_in *in)
{
	static const uint32_t operations[] = {CLASSIC_REQ_CALL, CLASSIC_REQ_MESSAGE, CLASSIC_REQ_CONTROL,
					      CLASSIC_REQ_TUNNEL};
	static const uint32_t destinations[] = {
		CLASSIC_NODE_CURRENT, 0, 1, 2, CLASSIC_NODE_ALL, CLASSIC_NODE_ACTIVE, CLASSIC_NODE_CONNECTED,
		CLASSIC_NODE_UNKNOWN};
	uint32_t op = operations[fuzz_byte(in) % 4], dest = destinations[fuzz_byte(in) % 8];
	size_t len;
	uint8_t *body = fuzz_take(in, fuzz_u16(in) & 0x7ff, &len), *p = calloc(1, HEADER + len);

	MUST(p != NULL);
	poke_u32(p, (uint32_t)(HEADER + len));
	poke_u32(p + 4, CLASSIC_MAGIC);
	poke_u32(p + 8, CLASSIC_VERSION);
	poke_u32(p + 16, op);
	poke_u32(p + 20, dest);
	poke_u32(p + 28, 7);
	memcpy(p + HEADER, body, len);
	write_all(fd, p, HEADER + len);
	free(body);
	free(p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_in in = {data, size};
	uint8_t how = fuzz_byte(&in);
	int fd = fuzz_dbd_begin();

	fake->answer_at_once = (how & 1) != 0;
	fake->normal = (how & 2) == 0;
	fake->up[1] = (how & 4) == 0;
	if ((how & 8) != 0) {
		write_all(fd, in.p, in.left);
		in.left = 0;
	}
	while (in.left > 0 && fake->dbd->clients->n > 0 && fake->n_jobs < 32 && fake->n_sent < 32) {
		packet(fd, &in);
		fuzz_dbd_read(fd);
		if ((how & 16) != 0) {
			fuzz_dbd_finish_work(&in);
		}
	}
	fuzz_dbd_read(fd);
	fuzz_dbd_finish_work(&in);
	fuzz_dbd_end(fd);
	return 0;
}
