/* A mesh of links in this process, node 0, and hand-made connections of node 1 to it. */
#ifndef TEST_FUZZ_LINK_H
#define TEST_FUZZ_LINK_H

#include <unistd.h>

#include "fuzz.h"
#include "protocol/link.h"
#include "shared/link.h"

struct fuzz_mesh {
	struct link_mesh *mesh;
	struct sockaddr_storage addr; /* of node 0, with port */
	bool up;
	uint64_t frames;
	/* with TLS: as link_ops.moved; NULL: such questions are never answered */
	void (*moved)(struct fuzz_mesh *m, uint64_t token, const struct link_moved *moved);
	void *priv; /* the target's */
};

#define FUZZ_STRANGER 10 /* first of many hosts that no node is */

/* What all keys are made of here. */
struct cluster_keys fuzz_link_keys(void);
/* 127.64.0.0/10, of this process alone: 1 node 0, 2 node 1. */
struct sockaddr_in fuzz_link_host(uint32_t host);

/* Made once for each of the arguments. tls: with a key; else plain. n_classes: 1 or 2. */
struct fuzz_mesh *fuzz_mesh(bool tls, uint32_t n_classes);

/* A connection from node 1. */
int fuzz_link_connect(const struct fuzz_mesh *m);
/* From any host; strangers always get in. */
int fuzz_link_connect_from(const struct fuzz_mesh *m, uint32_t host);
/* Bytes, in as many turns of the loop as it takes until the mesh has read them. False: the mesh has closed the
 * connection. */
bool fuzz_link_write(int fd, const uint8_t *data, size_t len);
/* Some turns of the loop, without waiting. */
void fuzz_link_turns(void);
#define FUZZ_WAITS 3000 /* of a millisecond */
/* Such turns until it is true: what a machine sends to itself is not always there at once. */
#define MUST_COME(condition)                                                                                           \
	do {                                                                                                           \
		for (int i_ = 0; i_ < FUZZ_WAITS && !(condition); i_++) {                                              \
			usleep(1000);                                                                                  \
			fuzz_link_turns();                                                                             \
		}                                                                                                      \
		MUST(condition);                                                                                       \
	} while (0)
/* Reset, and nothing is left of it in the mesh. */
void fuzz_link_close(struct fuzz_mesh *m, int fd);
/* No connection is waiting to be up, or to be answered. */
bool fuzz_link_idle(const struct fuzz_mesh *m);

/* Frame header and payload; room for 8 + len. Returns its length. */
size_t fuzz_link_frame(uint8_t *to, uint32_t type, const uint8_t *data, size_t len);

#endif
