/* Between the files of libctdbapi; nothing of it is exported. */
#ifndef LIB_INTERNAL_H
#define LIB_INTERNAL_H

#include <sys/types.h>

#include <ctdb/ctdb.h>

#include "base/dlist.h"
#include "base/xdr.h"
#include "protocol/classic.h"

/* Bounds: on what one client keeps, and on what is believed of the daemon. */
#define PACKET_MAX      (256U * 1024 * 1024)
#define QUEUE_MAX_BYTES (128U * 1024 * 1024)
#define PENDING_MAX     65536U
#define PENDING_BUCKETS 256U

struct ctdb_client {
	struct tevent_context *ev;
	struct tevent_context *sync_ev; /* own loop (equal to ev), or NULL: the caller's loop */
	bool in_sync;                   /* a synchronous function waits */
	int fd;                         /* -1: lost */
	int lost;                       /* errno that pending requests got when it was lost; ENOTCONN for later ones */
	struct tevent_fd *fde;
	uint32_t pnn; /* CTDB_NODE_UNKNOWN until the daemon told it */
	uint32_t timeout_ms;
	uint32_t next_reqid;
	uint32_t n_pending;
	struct dlist pending[PENDING_BUCKETS]; /* requests that wait, by reqid */
	struct dlist ops;                      /* struct op: all that exist */
	struct dlist listeners;
	struct dlist *next_listener; /* where the running dispatch goes on; moved by listeners that are freed */
	struct dlist tunnels;        /* struct ctdb_tunnel */
	struct dlist dbs;            /* struct ctdb_db: the handles */
	struct ctdb_db *locks;       /* g_lock.tdb, kept open after the first transaction */
	uint32_t lock_id;            /* this connection among the holders of its locks; 0: none was asked for yet */
	struct ctdb_listener *lock_listener; /* by which the daemon knows lock_id */
	struct dlist files;                  /* struct db_file: the open files */
	struct dlist out;                    /* struct out_packet */
	size_t out_bytes;
	uint8_t *in; /* received, not yet complete */
	size_t in_len, in_size;
	bool *freed; /* set when the client is freed during dispatch */
	void (*on_lost)(void *priv, struct ctdb_client *c);
	void *on_lost_priv;
	char error[512];
};

/* ---- client.c ---- */
/* Records the text of a failure and returns err. c may be NULL. */
int client_fail(struct ctdb_client *c, int err, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* Header and body as one packet into the queue. 0; ENOTCONN, ENOBUFS, ENOMEM. */
int client_queue(struct ctdb_client *c, uint32_t operation, uint32_t destnode, uint32_t reqid,
		 const struct ctdb_blob *body);
/* The connection is over: everything pending fails with err (EPROTO, ENOTCONN). May free the client. */
void client_lost(struct ctdb_client *c, int err, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* When an operation that starts now times out. */
struct timeval client_endtime(const struct ctdb_client *c);
struct timeval timeout_endtime(uint32_t timeout_ms);
/* A client on a connected socket, without node number. It owns fd. */
struct ctdb_client *client_new(TALLOC_CTX *mem, struct tevent_context *ev, int fd, uint32_t timeout_ms);

/* Not secret: for pauses, and numbers that differ between processes. */
uint32_t client_random(void);

/* ---- sync.c ---- */
/* Whether synchronous functions may be used: 0, EINVAL, EDEADLK. */
int sync_check(struct ctdb_client *c);
/* Waits for req. 0: finished, in whatever way: call its _recv; else frees it. req NULL: the error of sync_check(), or
 * ENOMEM. */
int sync_run(struct ctdb_client *c, struct tevent_req *req);
/* NULL when sync_check() fails, so that nothing is sent. */
#define SYNC_SEND(c, send) (sync_check(c) == 0 ? (send) : NULL)

/* Body of a synchronous function: sends, waits, receives from req. */
#define SYNC_RETURN(c, send, recv)                                                                                     \
	struct tevent_req *req = SYNC_SEND(c, send);                                                                   \
	int err = sync_run(c, req);                                                                                    \
                                                                                                                       \
	if (err == 0) {                                                                                                \
		err = (recv);                                                                                          \
		talloc_free(req);                                                                                      \
	}                                                                                                              \
	return err

/* Whether a finished request failed, and with which errno. */
bool req_failed(struct tevent_req *req, int *err);
int req_simple_recv(struct tevent_req *req); /* 0 or errno */

/* ---- request.c: requests that wait for a reply ---- */
/* What must learn that the client is lost or freed: embedded in the state of a tevent_req that waits for nothing else
 * which would tell it. */
struct op {
	struct dlist link;
	struct ctdb_client *c; /* NULL when the client was freed */
	struct tevent_req *req;
};
void op_begin(struct op *op, struct ctdb_client *c, struct tevent_req *req);
void op_end(struct op *op);                    /* from the destructor of the state */
void ops_fail(struct ctdb_client *c, int err); /* their callbacks run later, from the event loop */
void ops_orphan(struct ctdb_client *c);

struct request {
	uint32_t operation, destnode;
	struct ctdb_blob body;
	int err;             /* not 0: the body could not be made; the request fails with it */
	bool no_reply;       /* finished when it is queued */
	uint32_t timeout_ms; /* 0: the client's */
	const char *what;    /* for error texts */
};
struct tevent_req *request_send(TALLOC_CTX *mem, struct ctdb_client *c, const struct request *r);
/* Body of the reply, which stays in req. */
int request_recv(struct tevent_req *req, struct ctdb_blob *body);
struct ctdb_client *request_client(struct tevent_req *req);
bool request_was_sent(struct tevent_req *req); /* it did not fail before it was queued */
const char *request_what(struct tevent_req *req);
/* 0 or EPROTO: the body is not what the protocol says */
int request_reply(struct ctdb_client *c, const struct classic_header *hdr, const uint8_t *body, size_t len);

/* REQ_CALL: brings a record here. recv: data of the answer, below mem. */
struct tevent_req *call_send(TALLOC_CTX *mem, struct ctdb_client *c, uint32_t db_id, uint32_t callid, uint32_t flags,
			     struct ctdb_data key);
int call_recv(struct tevent_req *req, TALLOC_CTX *mem, struct ctdb_data *data);

/* ---- wire.c ---- */
/* Header and body as one packet below mem; length, magic and version are set here. */
int wire_frame(TALLOC_CTX *mem, struct classic_header *hdr, const struct ctdb_blob *body, struct ctdb_blob *out);

/* ---- control.c ---- */
/* A control whose answer is status 0 and data. */
struct tevent_req *control_send(TALLOC_CTX *mem, struct ctdb_client *c, uint32_t node, uint32_t opcode, uint64_t srvid,
				struct ctdb_data data);
struct tevent_req *control_timeout_send(TALLOC_CTX *mem, struct ctdb_client *c, uint32_t node, uint32_t opcode,
					struct ctdb_data data, uint32_t timeout_ms);
struct tevent_req *control_db_send(TALLOC_CTX *mem, struct ctdb_client *c, uint32_t node, uint32_t opcode,
				   uint32_t db_id);
int control_recv(struct tevent_req *req, struct ctdb_blob *data); /* points into req */
int control_status_recv(struct tevent_req *req, int32_t *status); /* for controls whose status is the result */
int control_done_recv(struct tevent_req *req);                    /* for those without data: 0 or errno */
int control_u32_recv(struct tevent_req *req, uint32_t *value);
int control_text_recv(struct tevent_req *req, TALLOC_CTX *mem, char **text);
/* A control that nobody answers. 0, ENOTCONN, ENOBUFS, ENOMEM */
int control_post(struct ctdb_client *c, uint32_t opcode, uint64_t srvid, struct ctdb_data data);
/* Whether the daemon gave a reason: those that do not know a control give none. */
bool control_has_error(struct tevent_req *req);
/* What a reply's bytes of the wrong form give. */
int control_malformed(struct tevent_req *req);
/* err of a function that decodes: EBADMSG becomes the above. */
int control_decoded(struct tevent_req *req, int err);

/* ---- message.c ---- */
void listeners_dispatch(struct ctdb_client *c, uint64_t srvid, struct ctdb_data data);
void listeners_orphan(struct ctdb_client *c);

/* ---- tunnel.c ---- */
/* May free the client. */
void tunnels_dispatch(struct ctdb_client *c, const struct classic_req_tunnel *packet);
void tunnels_orphan(struct ctdb_client *c);

/* ---- db.c ---- */
#define RECORD_HEADER_SIZE 24U
struct db_file {             /* shared by the handles of one database */
	struct dlist link;   /* in client->files while there is a client */
	struct dlist locked; /* struct ctdb_record */
	unsigned int n_users;
	uint32_t id;
	enum ctdb_db_model model;
	int tdb_flags;
	struct tdb_context *tdb;
	char *name;
};
struct ctdb_db {
	struct ctdb_client *c; /* NULL when the client was freed */
	struct dlist link;     /* in client's list of handles */
	struct db_file *file;
};

struct db_file *db_file_find(struct ctdb_client *c, uint32_t id);
int db_file_open(struct ctdb_client *c, uint32_t id, const char *name, enum ctdb_db_model model, const char *path,
		 int tdb_flags, struct db_file **file);
struct ctdb_db *db_handle_new(TALLOC_CTX *mem, struct ctdb_client *c, struct db_file *f);

static inline struct ctdb_data data_of(const void *p, size_t len)
{
	return (struct ctdb_data){.data = p, .len = len};
}

/* Generated structures have blobs without const; they are only read when encoded. */
static inline struct ctdb_blob blob_of(struct ctdb_data d)
{
	union {
		const uint8_t *in;
		uint8_t *out;
	} u = {.in = d.data};

	return (struct ctdb_blob){.len = (uint32_t)d.len, .data = u.out};
}

/* The same for texts. */
static inline char *string_of(const char *text)
{
	union {
		const char *in;
		char *out;
	} u = {.in = text};

	return u.out;
}

static inline struct ctdb_data data_of_blob(struct ctdb_blob b)
{
	return (struct ctdb_data){.data = b.data, .len = b.len};
}

static inline void data_free(struct ctdb_data *d)
{
	talloc_free(blob_of(*d).data);
	*d = (struct ctdb_data){0};
}

static inline bool data_equal(struct ctdb_data a, struct ctdb_data b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

#endif
