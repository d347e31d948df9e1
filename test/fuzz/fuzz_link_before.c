/* What anybody can send who is not authenticated: [how] [bytes]. To a mesh with TLS (how & 1) or a plain one; as they
 * are, or (how & 2) as the payload of a frame whose header is right. */
#include "fuzz_link.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_in in = {data, size};
	uint8_t how = fuzz_byte(&in);
	struct fuzz_mesh *m = fuzz_mesh((how & 1) != 0, 1 + (how >> 2) % 2);
	int fd = fuzz_link_connect(m);
	bool open = true;

	/* In pieces (how & 8), so that a frame or record comes bit by bit. */
	while (in.left > 0 && open) {
		size_t len;
		uint8_t *piece = fuzz_take(&in, (how & 8) != 0 ? 1U + fuzz_byte(&in) % 64 : in.left, &len);
		uint8_t framed[8 + 65536];

		if ((how & 2) != 0 && len <= 65536) {
			open = fuzz_link_write(fd, framed, fuzz_link_frame(framed, LINK_FRAME_HELLO, piece, len));
		} else {
			open = fuzz_link_write(fd, piece, len);
		}
		free(piece);
	}
	fuzz_link_close(m, fd);
	MUST_COME(!m->up);
	return 0;
}
