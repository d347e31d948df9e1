/* Connection of a program to the CTDB daemon of its node. */
#ifndef CTDB_CLIENT_H
#define CTDB_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <talloc.h>
#include <tevent.h>

/*
 * Rules of the whole library
 *
 * Errors: functions return 0 or a positive errno value; out-parameters are set only with 0. ctdb_client_error() has
 * the text of the newest failure. Values with the same meaning everywhere:
 *
 *	ENOTCONN	the connection is lost or was never there; all that waited fails with it
 *	ETIMEDOUT	no answer within the client's time-out
 *	EREMOTEIO	the daemon refused or failed
 *	EHOSTUNREACH	that node is not connected
 *	EPROTO		the daemon sent something malformed; the connection is given up
 *	ENOBUFS		too much is queued for the daemon already
 *	EINVAL		wrong argument, or wrong kind of client
 *	ENOMEM		out of memory
 *
 * Memory: talloc. What a _recv() or synchronous function returns belongs to its argument mem. Freeing a request cancels
 * it. Requests on a database are freed before it, requests, databases and listeners before the client (if not, they
 * fail with ENOTCONN).
 *
 * Two kinds of client: ctdb_connect_send() makes one for a caller with an event loop; only _send/_recv work with it.
 * ctdb_open() makes one with an event loop of its own, for the synchronous functions, which have the same name without
 * _send/_recv. On the other kind these give EINVAL; called from inside a callback, EDEADLK. No function of the library
 * runs a nested event loop. A client of ctdb_open() must not be freed from inside a callback.
 *
 * One client, one thread. After fork() the child must not use the client, not even free it. SIGPIPE is never raised.
 */

struct ctdb_client;

/* Bytes that somebody else owns. data may be NULL if len is 0. */
struct ctdb_data {
	const uint8_t *data;
	size_t len;
};

/* Node numbers with a meaning. The plural ones only for messages, and for controls without reply. */
#define CTDB_NODE_CURRENT    0xF0000001U
#define CTDB_NODES_ALL       0xF0000002U
#define CTDB_NODES_ACTIVE    0xF0000003U
#define CTDB_NODES_CONNECTED 0xF0000004U
#define CTDB_NODE_UNKNOWN    0xFFFFFFFFU

/* Default time-out of each operation of a client, in milliseconds. */
#define CTDB_TIMEOUT_DEFAULT 10000U

/* Version of the library, "0.1.0". */
const char *ctdb_api_version(void);

/* Path used when none is given: $CTDB_SOCKET, else $CTDB_BASE/run/ctdbd.socket, else /run/ctdb/ctdbd.socket. NULL: out
 * of memory. */
char *ctdb_default_socket(TALLOC_CTX *mem);

/*
 * Connects and asks for the node number. path: NULL for the default. timeout_ms (not 0): for this and, until changed,
 * for each later operation. Errors also: those of connect(2) (ENOENT, ECONNREFUSED: no daemon; EACCES: not permitted),
 * ENAMETOOLONG.
 */
struct tevent_req *ctdb_connect_send(TALLOC_CTX *mem, struct tevent_context *ev, const char *path, uint32_t timeout_ms);
int ctdb_connect_recv(struct tevent_req *req, TALLOC_CTX *mem, struct ctdb_client **c);
int ctdb_open(TALLOC_CTX *mem, const char *path, uint32_t timeout_ms, struct ctdb_client **c);

/* Node that the client is connected to. */
uint32_t ctdb_client_pnn(const struct ctdb_client *c);
/* Time-out of operations started from now on; 0 is taken as the default. */
void ctdb_client_set_timeout(struct ctdb_client *c, uint32_t timeout_ms);
/* One line about the newest failure; "" if there was none. Valid until the next operation. */
const char *ctdb_client_error(const struct ctdb_client *c);
bool ctdb_client_is_connected(const struct ctdb_client *c);
/* fn is called once, when the connection is lost; it may free the client. */
void ctdb_client_on_lost(struct ctdb_client *c, void (*fn)(void *priv, struct ctdb_client *c), void *priv);
/*
 * Only for clients of ctdb_open(): handles what arrives (messages) until *stop is true or timeout_ms passed (0: look
 * once, do not wait). stop may be NULL. 0 when stopped, ETIMEDOUT, ENOTCONN, EINTR (a signal came).
 */
int ctdb_client_wait(struct ctdb_client *c, uint32_t timeout_ms, const bool *stop);
/* Only for clients of ctdb_open(): waits until all that was queued is in the daemon's hands. */
int ctdb_client_flush(struct ctdb_client *c);

/* ---- Controls: requests by number, for those that the library has no function for ---- */

#define CTDB_CONTROL_NOREPLY 0x1U /* in flags: no reply will come; completes when sent */

struct ctdb_control {
	uint32_t node;
	uint32_t opcode;
	uint64_t srvid;
	uint32_t flags;
	struct ctdb_data data; /* must stay valid until _send returns */
};

/* status: meaning depends on the control, below 0 failure; error: text of the daemon, "" if it gave none. */
struct ctdb_control_reply {
	int32_t status;
	struct ctdb_data data;
	const char *error;
};

/* The answer, whatever its status is, belongs to mem; 0 says only that one came. CTDB_CONTROL_NOREPLY: an empty one
 * with status 0. Errors also: EMSGSIZE. */
struct tevent_req *ctdb_control_send(TALLOC_CTX *mem, struct ctdb_client *c, const struct ctdb_control *control);
int ctdb_control_recv(struct tevent_req *req, TALLOC_CTX *mem, struct ctdb_control_reply **reply);
int ctdb_control(struct ctdb_client *c, const struct ctdb_control *control, TALLOC_CTX *mem,
		 struct ctdb_control_reply **reply);

#endif
