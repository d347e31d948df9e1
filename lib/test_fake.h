/* A stand-in for the daemon, for tests: a process that answers packets as the test says, also wrongly. */
#ifndef LIB_TEST_FAKE_H
#define LIB_TEST_FAKE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/classic.h"

#define FAKE_PNN 3U

/* One packet from the library. body: behind the header. */
struct fake_request {
	struct classic_header hdr;
	const uint8_t *body;
	size_t len;
	struct classic_req_control control; /* of REQ_CONTROL */
	struct classic_req_call call;       /* of REQ_CALL */
	struct classic_req_message message; /* of REQ_MESSAGE */
};

struct fake;
/* Runs in the process of the fake daemon: what it shall share with the test is from fake_shared(). True: handled. What
 * it leaves alone gets the usual answer (GET_PNN: FAKE_PNN; else status -1). */
typedef bool (*fake_fn)(struct fake *f, const struct fake_request *r, void *priv);

/* Listens at a socket in a directory of its own. Aborts the test program if that fails. */
struct fake *fake_start(fake_fn fn, void *priv);
const char *fake_path(const struct fake *f);
const char *fake_dir(const struct fake *f);
/* How many connections were accepted, and how many of them were ended by the library. */
unsigned int fake_accepted(struct fake *f);
unsigned int fake_closed(struct fake *f);
/* Ends the process, removes the directory; aborts the test program if the process had already ended by itself. */
void fake_stop(struct fake *f);
/* Zeroed memory that both see; lives until the test program ends. */
void *fake_shared(size_t size);

/* ---- from inside fake_fn ---- */
void fake_reply_control(struct fake *f, const struct fake_request *r, int32_t status, const void *data, size_t len,
			const char *error);
void fake_reply_call(struct fake *f, const struct fake_request *r, const void *data, size_t len);
void fake_message(struct fake *f, uint64_t srvid, const void *data, size_t len);
/* A packet with this header and body, length computed unless given (not 0). */
void fake_packet(struct fake *f, uint32_t operation, uint32_t reqid, uint32_t length, const void *body, size_t len);
/* Bytes as they are. */
void fake_bytes(struct fake *f, const void *data, size_t len);
/* Ends the connection. */
void fake_hang_up(struct fake *f);

#endif
