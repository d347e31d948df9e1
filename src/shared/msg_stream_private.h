/* What the two sides of streams share: msg_stream.c (writers), msg_stream_reader.c. For them alone. */
#ifndef SHARED_MSG_STREAM_PRIVATE_H
#define SHARED_MSG_STREAM_PRIVATE_H

#include "protocol/stream_rpc.h"
#include "shared/msg_private.h"
#include "shared/msg_stream.h"

/* The streams of an endpoint. */
struct msg_streams {
	struct msg *m;
	struct dlist services, readers, writers;
	unsigned n_readers;
};

/* Made at the first use. NULL: no memory. */
struct msg_streams *msg_streams_get(struct msg *m);

/* ---- msg_stream.c: packets to a writer ---- */
void stream_writer_credit(void *priv, struct rpc_call *call, const struct stream_credit *arg);
void stream_writer_abort(struct msg_streams *all, const struct rpc_call *call, const struct stream_abort *arg);
void stream_writers_shutdown(struct msg_streams *all);

/* ---- msg_stream_reader.c: packets to a reader ---- */
void stream_reader_open(void *priv, struct rpc_call *call, const struct stream_open_args *arg);
void stream_reader_data(void *priv, struct rpc_call *call, const struct stream_data *arg);
void stream_reader_end(void *priv, struct rpc_call *call, const struct stream_end_args *arg);
void stream_reader_probe(void *priv, struct rpc_call *call, const struct stream_probe_args *arg);
void stream_reader_abort(struct msg_streams *all, const struct rpc_call *call, const struct stream_abort *arg);
void stream_readers_shutdown(struct msg_streams *all);

#endif
