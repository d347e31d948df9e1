/* The other side of the client socket: for stand-ins of a daemon in tests, and for proxies. */
#ifndef CTDB_SERVER_H
#define CTDB_SERVER_H

#include <sys/types.h>
#include <tevent.h>

#include <ctdb/wire.h>

/*
 * A server listens at a Unix socket and gives what clients send to functions, all in the caller's event loop. Bounds:
 * 1024 connections (more are closed at once), 4096 unanswered requests a connection (then it is not read until one is
 * answered), 128 MiB waiting for a client that does not read (then it is closed). A malformed packet closes the
 * connection; an unknown operation is skipped.
 */
struct ctdb_server;
/* One client. It and all that hangs below it (talloc) is freed when the connection ends. */
struct ctdb_server_conn;
/* One request, to be answered once by a reply function, now or later. It belongs to its connection: what a handler
 * needs until the answer is allocated below it, so that it goes with it. Freed unanswered: the client gets a failure.
 */
struct ctdb_server_request;

/* control is valid until the request is answered. For a control without reply (CTDB_CONTROL_NOREPLY) the reply sends
 * nothing. */
typedef void (*ctdb_server_control_fn)(void *priv, struct ctdb_server_request *req,
				       const struct ctdb_wire_req_control *control);

struct ctdb_server_control {
	uint32_t opcode;
	ctdb_server_control_fn fn;
};

/* Functions; each may be NULL. They may close connections and, but for closed, free the server. */
struct ctdb_server_handlers {
	void (*connected)(void *priv, struct ctdb_server_conn *conn);
	/* The connection is about to be freed: nothing can be sent any more. Not called when the server is freed. */
	void (*closed)(void *priv, struct ctdb_server_conn *conn);
	/* Which control: looked up in this table first. */
	const struct ctdb_server_control *controls;
	size_t n_controls;
	/* The other controls. NULL: status -1. REGISTER_SRVID and DEREGISTER_SRVID come here, or to the table, only if
	 * there is an entry for them: without, the server keeps the registrations itself. */
	ctdb_server_control_fn control;
	/* NULL: answered with an error. call is valid until the request is answered. */
	void (*call)(void *priv, struct ctdb_server_request *req, const struct ctdb_wire_req_call *call);
	/* Valid until the function returns. NULL: dropped. */
	void (*message)(void *priv, struct ctdb_server_conn *conn, uint32_t destnode,
			const struct ctdb_wire_req_message *message);
	void (*tunnel)(void *priv, struct ctdb_server_conn *conn, uint32_t destnode,
		       const struct ctdb_wire_req_tunnel *packet);
};

/*
 * Listens at path, mode 0700; a socket left there by a dead server is replaced. handlers is copied, but not its table.
 * talloc_free() ends all and removes the socket. Errors: EADDRINUSE: somebody listens there, or it is no socket;
 * ENAMETOOLONG; those of bind(2).
 */
int ctdb_server_listen(TALLOC_CTX *mem, struct tevent_context *ev, const char *path,
		       const struct ctdb_server_handlers *handlers, void *priv, struct ctdb_server **server);
/* What stands in the headers of what is sent: own node number and generation. At first 0 and CTDB_GENERATION_INVALID.
 */
void ctdb_server_set_identity(struct ctdb_server *server, uint32_t pnn, uint32_t generation);
uint32_t ctdb_server_n_conns(const struct ctdb_server *server);

/* ---- requests ---- */

/* Who sent it. */
struct ctdb_server_conn *ctdb_server_request_conn(const struct ctdb_server_request *req);
/* Header and contents as they came. */
const struct ctdb_wire_packet *ctdb_server_request_packet(const struct ctdb_server_request *req);
/* Answers, and frees req. error: text, NULL for none. What cannot be sent closes the connection. */
void ctdb_server_reply_control(struct ctdb_server_request *req, int32_t status, struct ctdb_data data,
			       const char *error);
void ctdb_server_reply_call(struct ctdb_server_request *req, int32_t status, struct ctdb_data data);
/* Instead of either. */
void ctdb_server_reply_error(struct ctdb_server_request *req, int32_t status, const char *text);

/* ---- connections ---- */

/* Process and user that connected. */
pid_t ctdb_server_conn_pid(const struct ctdb_server_conn *conn);
uid_t ctdb_server_conn_uid(const struct ctdb_server_conn *conn);
void ctdb_server_conn_set_private(struct ctdb_server_conn *conn, void *priv);
void *ctdb_server_conn_private(const struct ctdb_server_conn *conn);
/* Ends it as soon as the event loop runs; what was sent before goes out if the socket takes it. */
void ctdb_server_conn_close(struct ctdb_server_conn *conn);

/* Registrations: a message to srvid goes to connections that have it, once for each time it was registered. ENOMEM. */
int ctdb_server_conn_register(struct ctdb_server_conn *conn, uint64_t srvid);
/* Takes one back. ENOENT. */
int ctdb_server_conn_deregister(struct ctdb_server_conn *conn, uint64_t srvid);

/* ---- what nobody asked for. 0; ENOTCONN: that client is gone; EMSGSIZE, ENOMEM ---- */

/* To that client, whether it registered srvid or opened the tunnel or not; data is copied. */
int ctdb_server_send_message(struct ctdb_server_conn *conn, uint64_t srvid, struct ctdb_data data);
int ctdb_server_send_tunnel(struct ctdb_server_conn *conn, uint64_t tunnel_id, uint32_t flags, struct ctdb_data data);
/* Bytes as they are: for tests of clients with malformed packets. */
int ctdb_server_send_bytes(struct ctdb_server_conn *conn, struct ctdb_data bytes);
/* To all connections that registered srvid, or CTDB_SRVID_ALL. How many got it. */
uint32_t ctdb_server_publish(struct ctdb_server *server, uint64_t srvid, struct ctdb_data data);

#endif
