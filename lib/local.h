/* Records in this node's file. The chain lock is only ever tried: whoever calls retries with a timer. */
#ifndef LIB_LOCAL_H
#define LIB_LOCAL_H

#include "internal.h"

/* Pauses between two tries, milliseconds. */
#define LOCAL_RETRY_MIN_MS 1U
#define LOCAL_RETRY_MAX_MS 20U

struct local_record {
	bool found;                        /* a record with a header is there */
	struct classic_ltdb_header header; /* zeros if not found */
	struct ctdb_data data;             /* without header */
};

/* 0 or EAGAIN. While this process holds another record of the chain it is EAGAIN, too: libtdb would let the same
 * process in. */
int local_lock(struct db_file *f, struct ctdb_data key);
void local_unlock(struct db_file *f, struct ctdb_data key);
/* Whether a struct ctdb_record of this process holds the chain of that key. */
bool local_is_held(const struct db_file *f, struct ctdb_data key);
/* With the lock held or not (then it is taken for the moment). 0 (also if there is none), EAGAIN, ENOMEM, EIO. data
 * below mem. */
int local_read(struct db_file *f, struct ctdb_data key, bool locked, TALLOC_CTX *mem, struct local_record *rec);
/* With the lock held: shows the record as it is in the file, if there is one with a header. 0 or EIO */
int local_look(struct db_file *f, struct ctdb_data key,
	       void (*fn)(const struct classic_ltdb_header *header, struct ctdb_data data, void *priv), void *priv);
/* With the lock held. 0, EIO, ENOSPC */
int local_write(struct db_file *f, struct ctdb_data key, const struct classic_ltdb_header *header,
		struct ctdb_data data);
/* 24 bytes. */
void local_header_put(const struct classic_ltdb_header *header, uint8_t out[RECORD_HEADER_SIZE]);
/* len at least 24. */
void local_header_get(const uint8_t *in, struct classic_ltdb_header *header);

/* A locked record if that needs no waiting and no daemon; else NULL. (record.c) */
struct ctdb_record *record_lock_now(TALLOC_CTX *mem, struct ctdb_db *db, struct ctdb_data key);

struct local_lock_held {
	struct dlist link; /* in db_file.locked */
	struct ctdb_data key;
};

/* Calls fn(req) after a pause that doubles from LOCAL_RETRY_MIN_MS. A failure ends req. */
struct retry {
	unsigned int pause_ms; /* of the last time, 0 at first */
	struct tevent_req *req;
	void (*fn)(struct tevent_req *req);
	struct tevent_timer *timer; /* while it waits */
};
void retry_cancel(struct retry *r);
void retry_later(struct retry *r, TALLOC_CTX *mem, struct tevent_context *ev, unsigned int min_ms, unsigned int max_ms);

/* ---- reading with retries, for whoever wants a copy as it is in the file ---- */
struct tevent_req *local_read_send(TALLOC_CTX *mem, struct ctdb_db *db, struct ctdb_data key);
int local_read_recv(struct tevent_req *req, TALLOC_CTX *mem, struct local_record *rec);

#endif
