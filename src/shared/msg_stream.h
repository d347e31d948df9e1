/* Streams: bulk transfers between endpoints, in bounded chunks with credits. Bytes on the wire: protocol/stream.x. */
#ifndef SHARED_MSG_STREAM_H
#define SHARED_MSG_STREAM_H

#include "shared/msg.h"

/*
 * One direction: a writer opens a stream to a service of an endpoint, whose reader takes what is written, in order, and says at the end
 * how it went. At most `window` bytes are written and not yet consumed; no hop ever holds more. The reader gives credit by consuming. Packets are
 * of the bulk class. Nothing is sent twice: a packet that got lost (a link that broke, a full queue) ends the stream.
 *
 * Both sides end within timeout_ms, each with an errno, whatever happens to the other one or to the link between them: ECONNRESET (its process or
 * its stream is gone, or bytes were lost), EHOSTUNREACH (no link), ETIMEDOUT (not heard of; or for timeout_ms it consumed nothing of what waits), or what
 * the other side said when it gave up. A writer that has nothing to write may take its time: it is known to be there.
 */
#define MSG_STREAM_WINDOW     (4U << 20)
#define MSG_STREAM_WINDOW_MIN (256U << 10)
#define MSG_STREAM_CHUNK      (60U << 10) /* of this implementation: below what travels inline */
#define MSG_STREAM_TIMEOUT_MS 30000
#define MSG_STREAMS_MAX       64 /* that an endpoint reads at a time; more are refused: EBUSY */

/* ---- writing ---- */
struct msg_stream;

struct msg_stream_params {
	const char *service;
	const uint8_t *argument; /* at most 4096 bytes, for the service's open() */
	size_t argument_len;
	uint32_t window;     /* 0: MSG_STREAM_WINDOW, which is the most; the reader may ask for less */
	uint32_t timeout_ms; /* 0: MSG_STREAM_TIMEOUT_MS */
};

/* ENOSYS: no such service there; EBUSY; what the service said; errors of requests. EINVAL: dst is a group, or params are wrong. */
struct tevent_req *msg_stream_open_send(TALLOC_CTX *mem, struct tevent_context *ev, struct msg *m, const struct msg_addr *dst,
					const struct msg_stream_params *params);
/* The stream belongs to mem. Freeing it before it is closed aborts it: the reader gets ECANCELED. */
int msg_stream_open_recv(struct tevent_req *req, TALLOC_CTX *mem, struct msg_stream **s);

/* Done when all is under way; waits for credit. buf must stay until then. One at a time: EBUSY. */
struct tevent_req *msg_stream_write_send(TALLOC_CTX *mem, struct tevent_context *ev, struct msg_stream *s, const uint8_t *buf, size_t len);
int msg_stream_write_recv(struct tevent_req *req);

/* Done when the reader has finished: 0, or its status. Then the stream can only be freed. */
struct tevent_req *msg_stream_close_send(TALLOC_CTX *mem, struct tevent_context *ev, struct msg_stream *s);
int msg_stream_close_recv(struct tevent_req *req);

/* The reader gets status. Pending requests end with ECANCELED. */
void msg_stream_abort(struct msg_stream *s, int status);

/* ---- reading ---- */
struct msg_stream_reader;

/* A reader lives from open() until end() with an error has returned, or msg_stream_finish(). */
struct msg_stream_ops {
	/* 0, or errno: refused. */
	int (*open)(void *priv, struct msg_stream_reader *r, const uint8_t *argument, size_t len);
	/* buf is valid until it returns. What is kept counts as not consumed. */
	void (*data)(void *priv, struct msg_stream_reader *r, const uint8_t *buf, size_t len);
	/* 0: all data was given to data(); msg_stream_finish() is owed. Else the errno that ended it: r is freed behind. */
	void (*end)(void *priv, struct msg_stream_reader *r, int status);
};

/* service: as the name of an endpoint. 0, EEXIST, EINVAL, ENOMEM. ops must stay. */
int msg_stream_serve(struct msg *m, const char *service, const struct msg_stream_ops *ops, void *priv);

void msg_stream_consumed(struct msg_stream_reader *r, size_t n);
/* Answers the writer and frees r: with 0 only after end(). Before it: aborts, the writer gets status; end() is not called. */
void msg_stream_finish(struct msg_stream_reader *r, int status);
/* r is a talloc object for the service's own data; this pointer is the service's. */
void msg_stream_reader_set(struct msg_stream_reader *r, void *data);
void *msg_stream_reader_get(const struct msg_stream_reader *r);
/* The writer. */
void msg_stream_reader_source(const struct msg_stream_reader *r, struct msg_addr *addr);

#endif
