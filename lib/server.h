/* Between the two files of the server side. */
#ifndef LIB_SERVER_H
#define LIB_SERVER_H

#include "internal.h"

#include <sys/socket.h>
#include <sys/un.h>

#include <ctdb/server.h>

struct ctdb_server {
	struct tevent_context *ev;
	struct ctdb_server_handlers h;
	void *priv;
	uint32_t pnn, generation;
	int fd;
	struct tevent_fd *fde;
	struct sockaddr_un addr;
	struct dlist conns; /* struct ctdb_server_conn */
	uint32_t n_conns;
};

struct out {
	struct dlist link;
	struct ctdb_data bytes;
	size_t sent;
};

struct ctdb_server_conn {
	struct dlist link;
	struct ctdb_server *server;
	int fd;
	struct tevent_fd *fde;
	struct tevent_immediate *end; /* closing, or going on after a pause */
	struct ucred peer;
	bool closing;
	bool paused;      /* too many requests wait: not read */
	bool *freed;      /* set when it is freed from a handler */
	struct dlist out; /* struct out */
	size_t out_bytes;
	uint8_t *in;
	size_t in_len, in_size;
	uint32_t n_requests;
	uint64_t *srvids; /* registered, each as often as it was */
	uint32_t n_srvids;
	void *priv;
};

/* ---- server.c ---- */
/* 0; ENOTCONN, EMSGSIZE, ENOMEM. */
int server_send(struct ctdb_server_conn *c, struct ctdb_wire_packet *packet);
void server_request_gone(struct ctdb_server_conn *c);

/* ---- server_request.c ---- */
/* One packet; bytes: the whole of it. The connection may be gone afterwards. */
void server_packet(struct ctdb_server_conn *c, const struct ctdb_wire_packet *packet, struct ctdb_data bytes);

#endif
