/* What a node of the cluster can send: [how] then [connection, type][length][payload] again and again, over connections
 * whose hello was accepted. how & 1: two classes; & 2: an old node, interface version 1; & 4: bytes as they are,
 * without frame headers. */
#include "fuzz_link.h"

static bool hello(const struct fuzz_mesh *m, int fd, bool old, uint32_t link_class)
{
	static char name[] = "fuzz";
	struct link_hello h = {.magic = LINK_MAGIC,
			       .version = LINK_VERSION,
			       .mesh = name,
			       .from_pnn = 1,
			       .to_pnn = 0,
			       .incarnation = 77,
			       .interface_version = old ? 1 : LINK_INTERFACE,
			       .interface_oldest = 1,
			       .link_class = link_class,
			       .n_classes = 2,
			       .bundle = 5};
	uint8_t frame[8 + 256];
	struct ctdb_blob blob;
	size_t len;

	MUST(link_hello_encode(NULL, &h, &blob) == 0 && blob.len <= 256);
	len = fuzz_link_frame(frame, LINK_FRAME_HELLO, blob.data, blob.len);
	talloc_free(blob.data);
	return fuzz_link_write(fd, frame, len);
}

static bool send_one(int fd, struct fuzz_in *in, uint8_t how, uint8_t kind)
{
	static const uint32_t types[] = {
		LINK_FRAME_HELLO, LINK_FRAME_PING, LINK_FRAME_PONG, LINK_FRAME_REFUSED, LINK_FRAME_USE, 0, 16,
		0xffffffff};
	size_t len;
	uint8_t *payload = fuzz_take(in, fuzz_u16(in), &len), *frame = malloc(8 + len);
	bool open;

	MUST(frame != NULL);
	if ((how & 4) != 0) {
		open = fuzz_link_write(fd, payload, len);
	} else {
		open = fuzz_link_write(fd, frame, fuzz_link_frame(frame, types[kind % 8], payload, len));
	}
	free(frame);
	free(payload);
	return open;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_in in = {data, size};
	uint8_t how = fuzz_byte(&in);
	uint32_t classes = (how & 1) != 0 && (how & 2) == 0 ? 2 : 1;
	struct fuzz_mesh *m = fuzz_mesh(false, classes);
	int fd[2] = {-1, -1};
	bool open = true;

	for (uint32_t i = 0; i < classes; i++) {
		fd[i] = fuzz_link_connect(m);
		MUST(hello(m, fd[i], (how & 2) != 0, i));
	}
	MUST_COME(m->up == ((how & 2) != 0));
	while (in.left > 0 && open) {
		uint8_t kind = fuzz_byte(&in);

		open = send_one(fd[(kind >> 7) % classes], &in, how, kind);
	}
	for (uint32_t i = 0; i < classes; i++) {
		fuzz_link_close(m, fd[i]);
	}
	MUST_COME(!m->up);
	return 0;
}
