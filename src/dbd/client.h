/* Inside of the classic client side of dbd: clients, their queues, what hangs on them. Only for client*.c, control*.c,
 * srvid.c, attach.c, commit.c, traverse.c, seqnum.c and status.c. */
#ifndef DBD_CLIENT_H
#define DBD_CLIENT_H

#include <sys/types.h>

#include "base/dlist.h"
#include "base/mono.h"
#include "dbd/service.h"
#include "dbd/recdata.h"
#include "protocol/classic.h"

#define CLIENT_REGISTRATIONS_MAX 65536U /* of message addresses, of one connection */
#define CLIENT_CALLS_MAX         65536U /* calls of one connection that wait for their answer */
#define CLIENT_CONTROLS_MAX      4096U  /* controls of one connection that wait for other nodes */
/* Controls that are not answered yet, of one connection, or of one other node. */
#define CONTROLS_WAIT_MAX       4096U
#define CONTROLS_WAIT_PEER_MAX  65536U
#define CONTROLS_WAIT_BYTES_MAX (256U * 1024 * 1024) /* and the last one */

struct client_chunk;
struct control_set;  /* control.c */
struct deadlines;    /* client_deadline.c */
struct seqnums;      /* seqnum.c */
struct edits;        /* control_edit.c */
struct tunables;     /* control_tunable.c */
struct stat_history; /* control_stats.c */
struct tunnel;       /* client_tunnel.c */

/* What GET_STATISTICS tells and we count ourselves. */
struct client_counters {
	uint32_t sent, received; /* packets */
	uint32_t req_call, req_message, req_control, req_tunnel;
	uint32_t node_req_message, node_req_control, node_reply_control, node_req_tunnel, node_sent, node_received;
	uint32_t total_calls, pending_calls;
	uint32_t timeouts_control, timeouts_traverse;
	uint32_t call_latency_n;
	double call_latency_min, call_latency_max, call_latency_total; /* seconds */
};

struct control_load {
	uint32_t n;
	size_t bytes;
};

struct clients {
	struct dbd *dbd;
	int fd;
	char *path;
	struct tevent_fd *fde;
	struct deadline *accept_pause;
	struct dlist list;  /* struct client, member link: living ones */
	struct dlist dying; /* disconnected, freed by the immediate below */
	struct dlist dirty; /* struct client, member dirty: have output to write at the end of this turn */
	struct tevent_immediate *bury, *flush;
	uint32_t n;
	uint32_t last_id;
	struct timeval started; /* wall clock */
	struct client_counters count;
	struct control_set *controls;
	struct seqnums *seqnums;
	struct edits *edits;
	struct tunables *tunables;
	struct stat_history *history;
	struct dlist gateway; /* gateway.c: requests to daemons that wait for their answer */
	struct dlist tunnels; /* registered tunnel ids of this node */
	struct deadlines *deadlines;
	struct control_load peers[LANE_NODES]; /* controls of other nodes that wait here */
	uint32_t n_pushes; /* pushed records that are not stored yet (control_record.c) */
	bool closing;      /* being freed: the parts that were made later are gone, nothing is sent any more */
	bool was_normal;   /* a recovery has ended since start */
};

/* One connection. A talloc parent of everything that shall end with it. */
struct client {
	struct dlist link, dirty;
	struct clients *clients;
	uint32_t id; /* never 0 */
	pid_t pid;   /* of the process that connected */
	int fd;
	bool dead; /* no packets in or out any more; freed soon */
	struct tevent_fd *fde;
	/* Input: bytes [0, in_len) of in. */
	uint8_t *in;
	size_t in_len, in_size;
	bool held;	    /* nothing is read: the link to that node has to catch up first */
	uint32_t held_node;
	/* Output. */
	struct dlist out; /* struct client_chunk */
	size_t out_bytes;
	bool congested;             /* was above CLIENT_HIGH; traverses hold back until it is below CLIENT_LOW */
	struct dlist registrations; /* srvid.c */
	uint32_t n_registrations;
	struct dlist notifies; /* control_message.c: messages to send when it goes */
	uint32_t n_calls;
	uint32_t n_controls; /* that wait for other nodes */
	struct control_load load; /* controls that wait here */
	uint32_t n_gateway; /* gateway.c: requests to daemons that wait for their answer */
	uint32_t n_updates; /* START_PERSISTENT_UPDATE that were not cancelled */
	bool uses_databases; /* it has asked for one: it may hold records */
	void *commit; /* commit.c: the one that runs for this client */
};

#define CLIENT_HIGH (1024U * 1024)
#define CLIENT_LOW  (256U * 1024)

/* ---- client.c ---- */
/* Closes soon, with one log line; nothing is sent or received from now on. why NULL: the client closed, no line but
 * debug. */
void client_disconnect(struct client *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Same, by end of file. */
void client_closed(struct client *c);
/* Takes a connected socket (also for tests). */
struct client *client_new(struct clients *cs, int fd, pid_t pid);

/* ---- client_deadline.c ---- */
/* A time-out. Talloc child of mem: freeing it cancels it. It is freed before fn is called. NULL: no memory. */
struct deadline;
struct deadline *deadline_add(TALLOC_CTX *mem, const struct dbd *dbd, uint64_t ms, void (*fn)(void *priv), void *priv);
struct deadline *deadline_add_us(TALLOC_CTX *mem, const struct dbd *dbd, uint64_t us, void (*fn)(void *priv),
				 void *priv);
int deadlines_new(struct clients *cs, struct deadlines **all);

/* ---- client_io.c ---- */
int client_io_start(struct client *c);
void client_io_stop(struct client *c); /* closes the descriptor */
void clients_flush(struct clients *cs);

/*
 * Room for one packet at the end of the client's queue, zeroed, header filled in: length is raised to min and to a
 * multiple of 8. NULL if the client is dead, or dies now because its queue is full. The bytes after the header are the
 * caller's to fill, before the next call.
 */
uint8_t *client_packet(struct client *c, enum classic_operation op, uint32_t reqid, size_t min, size_t len);

/* ---- client_packet.c: the packets that dbd sends to clients ---- */
void client_reply_call(struct client *c, uint32_t reqid, int32_t status, const uint8_t *header, const uint8_t *data,
		       size_t len);
void client_reply_error(struct client *c, uint32_t reqid, int32_t status, const char *text);
void client_reply_control(struct client *c, uint32_t reqid, int32_t status, const uint8_t *data, size_t len,
			  const char *text);
void client_send_message(struct client *c, uint64_t srvid, const uint8_t *data, size_t len);
void client_send_tunnel(struct client *c, uint64_t id, uint32_t flags, const uint8_t *data, size_t len);

/* ---- client_request.c: one packet of a client, complete, header checked. On a malformed inside it disconnects the
 * client ---- */
void client_request(struct client *c, const uint8_t *packet, size_t len);

/* ---- client_call.c ---- */
void client_call(struct client *c, uint32_t reqid, const struct classic_req_call *r);

/* ---- client_tunnel.c ---- */
void tunnel_from_client(struct client *c, uint32_t dest, const struct classic_req_tunnel *t);

/* ---- helpers ---- */
/* For encoders, which take blobs that they only read. */
static inline struct ctdb_blob blob_of(const void *data, size_t len)
{
	return (struct ctdb_blob){.len = (uint32_t)len, .data = (uint8_t *)(uintptr_t)data};
}

static inline TDB_DATA tdb_data_of(const void *data, size_t len)
{
	return (TDB_DATA){.dptr = (unsigned char *)(uintptr_t)data, .dsize = len};
}

static inline uint32_t peek_u32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static inline uint64_t peek_u64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static inline void poke_u32(uint8_t *p, uint32_t v)
{
	memcpy(p, &v, sizeof(v));
}

static inline void poke_u64(uint8_t *p, uint64_t v)
{
	memcpy(p, &v, sizeof(v));
}

#endif
