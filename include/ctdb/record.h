/* Records: reading, and changing those of volatile databases. */
#ifndef CTDB_RECORD_H
#define CTDB_RECORD_H

#include <ctdb/db.h>

enum ctdb_record_flag {
	CTDB_RECORD_MIGRATED_WITH_DATA = 0x00010000,
	CTDB_RECORD_RO_HAVE_DELEGATIONS = 0x01000000, /* other nodes hold read-only copies */
	CTDB_RECORD_RO_HAVE_READONLY = 0x02000000,    /* this is a read-only copy */
	CTDB_RECORD_RO_REVOKING = 0x04000000,
	CTDB_RECORD_RO_REVOKE_COMPLETE = 0x08000000,
};

struct ctdb_record_header {
	uint64_t rsn;     /* larger is newer, between copies of different nodes */
	uint32_t dmaster; /* node whose copy is current */
	uint32_t flags;   /* enum ctdb_record_flag and others */
};

struct ctdb_record; /* a locked record; talloc_free() unlocks it */

/*
 * Locks a record of a volatile database, after the daemon brought it to this node if need be. Nobody else in the
 * cluster can change it until it is freed: hold it shortly, and do not wait for records of other databases meanwhile. A
 * record that does not exist is locked as an empty one. The time-out is for all attempts. Errors also: EPERM: not a
 * volatile database; ETIMEDOUT also if another process keeps the lock.
 */
struct tevent_req *ctdb_record_lock_send(TALLOC_CTX *mem, struct ctdb_db *db, struct ctdb_data key);
int ctdb_record_lock_recv(struct tevent_req *req, TALLOC_CTX *mem, struct ctdb_record **rec);
int ctdb_record_lock(struct ctdb_db *db, struct ctdb_data key, TALLOC_CTX *mem, struct ctdb_record **rec);

/* Valid until the record is freed or stored. Empty data: the record does not exist. */
struct ctdb_data ctdb_record_key(const struct ctdb_record *rec);
struct ctdb_data ctdb_record_data(const struct ctdb_record *rec);
struct ctdb_record_header ctdb_record_header(const struct ctdb_record *rec);
/* Writes at once, no daemon involved. Not empty (EINVAL): that is ctdb_record_delete(). Errors also: EIO, ENOSPC from
 * the file. */
int ctdb_record_store(struct ctdb_record *rec, struct ctdb_data data);
/* Empties the record and tells the daemon, which removes it from all nodes some time later. */
int ctdb_record_delete(struct ctdb_record *rec);

/*
 * Reads without locking; any model. Volatile: the local copy if it is current, else the daemon fetches the record.
 * ENOENT: no such record. data belongs to mem.
 */
struct tevent_req *ctdb_record_fetch_send(TALLOC_CTX *mem, struct ctdb_db *db, struct ctdb_data key);
int ctdb_record_fetch_recv(struct tevent_req *req, TALLOC_CTX *mem, struct ctdb_data *data);
int ctdb_record_fetch(struct ctdb_db *db, struct ctdb_data key, TALLOC_CTX *mem, struct ctdb_data *data);

/*
 * The same, but a copy that only may be read is enough: the record stays where it is, and others can have copies as
 * well, until somebody locks it for writing. On a database without the flag for that (ctdb_db_set_readonly()), or with
 * daemons that have no read-only copies, the record comes here as with ctdb_record_fetch(). *header (may be NULL): of
 * the copy; CTDB_RECORD_RO_HAVE_READONLY says that it is such a copy.
 */
struct tevent_req *ctdb_record_fetch_readonly_send(TALLOC_CTX *mem, struct ctdb_db *db, struct ctdb_data key);
int ctdb_record_fetch_readonly_recv(struct tevent_req *req, TALLOC_CTX *mem, struct ctdb_record_header *header,
				    struct ctdb_data *data);
int ctdb_record_fetch_readonly(struct ctdb_db *db, struct ctdb_data key, TALLOC_CTX *mem,
			       struct ctdb_record_header *header, struct ctdb_data *data);

/* This node's copy as it is in the file, current or not; the daemon is not asked. ENOENT: none. For those who look
 * after a cluster. */
struct tevent_req *ctdb_record_peek_send(TALLOC_CTX *mem, struct ctdb_db *db, struct ctdb_data key);
int ctdb_record_peek_recv(struct tevent_req *req, TALLOC_CTX *mem, struct ctdb_record_header *header,
			  struct ctdb_data *data);
int ctdb_record_peek(struct ctdb_db *db, struct ctdb_data key, TALLOC_CTX *mem, struct ctdb_record_header *header,
		     struct ctdb_data *data);

/*
 * All non-empty records in the cluster, in no order. Of a persistent or replicated database: this node's, as they were
 * at one moment. Of a volatile one each active node walks its file once and tells what it owns when it comes by: what
 * does not move is told once; what moves from node to node meanwhile at most once by each node, so twice (the higher
 * rsn is newer) or not at all. fn gets each record; returning false ends the traverse without error. The time-out is
 * for the time between two records. When a node needs longer than the daemon's own limit the traverse ends early
 * without a sign: do not use it to prove absence.
 */
typedef bool (*ctdb_traverse_fn)(void *priv, struct ctdb_data key, struct ctdb_record_header header,
				 struct ctdb_data data);
struct tevent_req *ctdb_traverse_send(TALLOC_CTX *mem, struct ctdb_db *db, ctdb_traverse_fn fn, void *priv);
int ctdb_traverse_recv(struct tevent_req *req, uint64_t *n_records);
int ctdb_traverse(struct ctdb_db *db, ctdb_traverse_fn fn, void *priv, uint64_t *n_records);

/*
 * All records of this node's file as they are, also those that are empty or not current, without the daemon; any model.
 * fn may not free the request, the database or the client; returning false ends it without error. Looks at some hundred
 * chains of the file each turn of the event loop, and waits for chains that other processes hold locked meanwhile (as a
 * rule microseconds). What is changed meanwhile may be seen or not. Errors also: EIO: the file is damaged.
 */
struct tevent_req *ctdb_traverse_local_send(TALLOC_CTX *mem, struct ctdb_db *db, ctdb_traverse_fn fn, void *priv);
int ctdb_traverse_local_recv(struct tevent_req *req, uint64_t *n_records);
int ctdb_traverse_local(struct ctdb_db *db, ctdb_traverse_fn fn, void *priv, uint64_t *n_records);

#endif
