/* A mesh of links in this process, node 0, and hand-made connections of node 1 to it. */
#ifndef TEST_FUZZ_LINK_H
#define TEST_FUZZ_LINK_H

#include "fuzz.h"
#include "protocol/link.h"
#include "shared/link.h"

struct fuzz_mesh {
	struct link_mesh *mesh;
	struct sockaddr_storage addr; /* of node 0, with port */
	bool up;
	uint64_t frames;
};

/* Made once for each of the arguments. tls: with a key; else plain. n_classes: 1 or 2. */
struct fuzz_mesh *fuzz_mesh(bool tls, uint32_t n_classes);

/* A connection from node 1. */
int fuzz_link_connect(const struct fuzz_mesh *m);
/* Bytes, in as many turns of the loop as it takes until the mesh has read them. False: the mesh has closed the
 * connection. */
bool fuzz_link_write(int fd, const uint8_t *data, size_t len);
/* Some turns of the loop, without waiting. */
void fuzz_link_turns(void);
/* Reset, and nothing is left of it in the mesh. */
void fuzz_link_close(struct fuzz_mesh *m, int fd);

/* Frame header and payload; room for 8 + len. Returns its length. */
size_t fuzz_link_frame(uint8_t *to, uint32_t type, const uint8_t *data, size_t len);

#endif
