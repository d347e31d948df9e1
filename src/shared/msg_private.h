/* What the parts of the message library share: the files msg*.c. For them alone. */
#ifndef SHARED_MSG_PRIVATE_H
#define SHARED_MSG_PRIVATE_H

#include <sys/stat.h>
#include <sys/un.h>

#include "base/dlist.h"
#include "base/mono.h"
#include "protocol/msg.h"
#include "shared/mono_timer.h"
#include "shared/msg.h"

#define MSG_TRANSPORT_ENDPOINT "transport"
#define MSG_SOCKET_PREFIX      "ctdb-msg/" /* abstract names of sockets that send: prefix, endpoint, a number */
#define MSG_HEADER_ROOM        512   /* an encoded msg_header is never longer (two names of 64 bytes and 17 words) */
#define MSG_BUCKETS            256   /* requests by id */
#define MSG_MAX_REQUESTS       65536 /* waiting for their reply; more: ENOBUFS */
#define MSG_MAX_CALLS          16384 /* not answered yet; more requests: ENOBUFS */
#define MSG_MAX_IDLE_DESTS     64    /* connected sockets kept for destinations with nothing queued */
#define MSG_RECEIVE_BATCH      32    /* datagrams per event, then others' turn */
#define MSG_DEFAULT_TIMEOUT_MS 30000 /* for a request with time-out 0: there is none without */
#define MSG_WATCH_MS           400   /* how often receivers of requests are looked at: are they still there */

struct msg {
	struct tevent_context *ev;
	char *dir, *endpoint;
	int dir_fd;
	uint32_t own_node;
	struct msg_limits limits;

	int fd;
	struct tevent_fd *fde;
	char *path;
	dev_t dev; /* of the socket file, to unlink no other's */
	ino_t ino;
	pid_t pid;
	uint8_t *buffer; /* one datagram */
	size_t buffer_len;
	bool closing, foreign; /* being freed; freed by a child of the process that opened it */
	bool *gone;            /* set when msg is freed while a handler runs */

	struct dlist services, calls;
	struct dlist dests; /* most recently used first */
	unsigned n_dests;
	struct dlist requests[MSG_BUCKETS];
	struct dlist deadlines; /* of requests, ascending */
	unsigned n_requests, n_calls;
	uint64_t next_id;
	struct mono_timer *timer; /* of requests */
	struct mono_timer *retry; /* of queues */
	struct mono_timer *watch; /* of those who owe replies */
	uint64_t socket_id;       /* makes names of sending sockets unique */
	struct mono opened;
	struct msg_streams *streams; /* msg_stream.c; NULL: never used */

	msg_route_fn route;
	void *route_priv;
	struct msg_stats stats;
};

/* One encoded datagram on its way out. */
struct msg_packet {
	struct dlist entry;
	uint8_t *data; /* header and payload, or only the header if fd is the payload */
	size_t len;
	int fd;      /* memfd or -1 */
	size_t cost; /* bytes counted against the queue's bound */
	uint64_t request; /* id of an own request to an endpoint of this node, else 0 */
};

/* A datagram that came in, taken apart. payload points into the buffer or a mapping. */
struct msg_incoming {
	struct msg_header header;
	const uint8_t *payload;
	size_t len;
	uint32_t uid; /* of the sender if it sent here itself, UINT32_MAX otherwise */
	int32_t pid;  /* the same, 0 otherwise */
};

struct msg_dest;

/* ---- msg.c ---- */
/* Fills a socket address for endpoint; by way of dir_fd if the plain path is too long. */
int msg_sockaddr(const struct msg *m, const char *endpoint, struct sockaddr_un *addr);
/* Whether somebody reads that socket; true if it cannot be told. */
bool msg_is_alive(const struct sockaddr_un *addr);
/* Sends to header->destination, wherever it is. 0; ENOENT, EHOSTUNREACH, ENOBUFS, EMSGSIZE, ENOMEM, EACCES; EINVAL: not a notification, to a group. */
int msg_send(struct msg *m, const struct msg_header *header, const uint8_t *payload, size_t len);
/* Answers the request with an error, as if its destination did; best effort. */
void msg_answer_error(struct msg *m, const struct msg_header *request, int status);
/* A request that is queued or was handed back could not be sent: its source is told. Nothing happens for other kinds.
 */
void msg_packet_failed(struct msg *m, const uint8_t *data, size_t len, int error);

/* ---- msg_packet.c ---- */
/* Payloads over inline_bytes go into a memfd. 0, EMSGSIZE, ENOMEM, or errno of memfd_create. */
int msg_packet_new(struct msg *m, const struct msg_header *header, const uint8_t *payload, size_t len,
		   struct msg_packet **packet);
/* Header and payload in one buffer whatever the size, as routers take it. */
int msg_packet_flat(TALLOC_CTX *mem, const struct msg_header *header, const uint8_t *payload, size_t len,
		    uint8_t **data, size_t *data_len);
/* Checks magic, version, kind, names and lengths. 0 or EBADMSG with *why, a constant text. Strings are below mem. */
int msg_incoming_parse(TALLOC_CTX *mem, const uint8_t *data, size_t len, struct msg_incoming *in, const char **why);
/* Maps the payload of a packet whose header says in_memfd. Freed with mem. EBADMSG with *why. fd stays the caller's. */
int msg_incoming_map(TALLOC_CTX *mem, const struct msg *m, int fd, struct msg_incoming *in, const char **why);

/* ---- msg_queue.c ---- */
/* Takes packet over, in any case. 0 (sent or queued), ENOENT, ENOBUFS, EMSGSIZE, EACCES, ... */
int msg_queue_send(struct msg *m, const char *endpoint, struct msg_packet *packet);
void msg_queue_retry(void *priv); /* timer */
void msg_queue_watch(void *priv); /* timer: requests whose receiver is gone are ended */
void msg_dest_owes(struct msg_dest *d, int n); /* n more requests wait for their replies from it */
/* Bytes that wait for an endpoint of this node. */
size_t msg_queue_used(const struct msg *m, const char *endpoint);
struct msgstat_info;
int msg_queue_stats(TALLOC_CTX *mem, const struct msg *m, struct msgstat_info *info); /* 0 or ENOMEM */

/* ---- msg_call.c ---- */
/* A packet for this very endpoint. */
void msg_call_receive(struct msg *m, const struct msg_incoming *in);
void msg_request_written(struct msg *m, uint64_t id, struct msg_dest *d); /* its receiver has it */
void msg_requests_lost(struct msg *m, const struct msg_dest *d);          /* and will not answer */
void msg_call_timeout(void *priv);     /* timer of requests */
void msg_call_shutdown(struct msg *m); /* ends all requests with ESHUTDOWN, cancels calls */
bool msg_request_fail(struct msg *m, const struct msg_header *request, int error); /* own request; false: not known */

/* ---- msg_stats.c ---- */
int msg_stats_serve(struct msg *m);

/* ---- msg_stream.c ---- */
unsigned msg_streams_count(const struct msg *m);
void msg_streams_shutdown(struct msg *m); /* all end with ESHUTDOWN */

#endif
