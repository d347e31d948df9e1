/* Databases of the cluster. */
#ifndef CTDB_DB_H
#define CTDB_DB_H

#include <ctdb/client.h>

enum ctdb_db_model {
	CTDB_DB_VOLATILE,   /* one current copy, on the node that used the record last; gone with the cluster */
	CTDB_DB_PERSISTENT, /* on all nodes, synced to disk; changed by transactions */
	CTDB_DB_REPLICATED, /* on all nodes, not on disk; changed by transactions */
};
/* "volatile", "persistent", "replicated". */
const char *ctdb_db_model_name(enum ctdb_db_model model);

enum ctdb_db_flag {
	CTDB_DB_FLAG_PERSISTENT = 0x01,
	CTDB_DB_FLAG_READONLY = 0x02, /* read-only copies of records are given out */
	CTDB_DB_FLAG_STICKY = 0x04,
	CTDB_DB_FLAG_REPLICATED = 0x08,
};
/* Model of a database with these flags (enum ctdb_db_flag). */
enum ctdb_db_model ctdb_db_flags_model(uint32_t flags);

struct ctdb_db_entry {
	uint32_t id;
	uint32_t flags; /* enum ctdb_db_flag */
};

struct ctdb_db_list {
	uint32_t n;
	struct ctdb_db_entry *dbs;
};

/* ---- Questions to a node. id unknown there: EREMOTEIO ---- */

/* All databases of that node, in no order. */
struct tevent_req *ctdb_list_dbs_send(TALLOC_CTX *mem, struct ctdb_client *c, uint32_t node);
int ctdb_list_dbs_recv(struct tevent_req *req, TALLOC_CTX *mem, struct ctdb_db_list **list);
int ctdb_list_dbs(struct ctdb_client *c, uint32_t node, TALLOC_CTX *mem, struct ctdb_db_list **list);

/* Name as it was given to attach, "locking.tdb". */
struct tevent_req *ctdb_get_db_name_send(TALLOC_CTX *mem, struct ctdb_client *c, uint32_t node, uint32_t id);
int ctdb_get_db_name_recv(struct tevent_req *req, TALLOC_CTX *mem, char **name);
int ctdb_get_db_name(struct ctdb_client *c, uint32_t node, uint32_t id, TALLOC_CTX *mem, char **name);

/* File of the database on that node. */
struct tevent_req *ctdb_get_db_path_send(TALLOC_CTX *mem, struct ctdb_client *c, uint32_t node, uint32_t id);
int ctdb_get_db_path_recv(struct tevent_req *req, TALLOC_CTX *mem, char **path);
int ctdb_get_db_path(struct ctdb_client *c, uint32_t node, uint32_t id, TALLOC_CTX *mem, char **path);

/* "" if healthy, else the reason why not. */
struct tevent_req *ctdb_get_db_health_send(TALLOC_CTX *mem, struct ctdb_client *c, uint32_t node, uint32_t id);
int ctdb_get_db_health_recv(struct tevent_req *req, TALLOC_CTX *mem, char **reason);
int ctdb_get_db_health(struct ctdb_client *c, uint32_t node, uint32_t id, TALLOC_CTX *mem, char **reason);

/* Flags for tdb_open() with which the daemon has the file open. */
struct tevent_req *ctdb_get_db_open_flags_send(TALLOC_CTX *mem, struct ctdb_client *c, uint32_t node, uint32_t id);
int ctdb_get_db_open_flags_recv(struct tevent_req *req, int *tdb_flags);
int ctdb_get_db_open_flags(struct ctdb_client *c, uint32_t node, uint32_t id, int *tdb_flags);

/* Counts the transactions of a persistent or replicated database; 0 for others. */
struct tevent_req *ctdb_get_db_seqnum_send(TALLOC_CTX *mem, struct ctdb_client *c, uint32_t node, uint32_t id);
int ctdb_get_db_seqnum_recv(struct tevent_req *req, uint64_t *seqnum);
int ctdb_get_db_seqnum(struct ctdb_client *c, uint32_t node, uint32_t id, uint64_t *seqnum);

/*
 * Closes and forgets a volatile database on all connected nodes; its contents are gone. Free the handles first.
 * EREMOTEIO: not volatile, unknown, a recovery runs, or the tunable AllowClientDBAttach is not 0 on that node. 0:
 * ordered; the other nodes do it on their own.
 */
struct tevent_req *ctdb_detach_db_send(TALLOC_CTX *mem, struct ctdb_client *c, uint32_t node, uint32_t id);
int ctdb_detach_db_recv(struct tevent_req *req);
int ctdb_detach_db(struct ctdb_client *c, uint32_t node, uint32_t id);

/*
 * As ctdb_db_set_readonly() and ctdb_db_set_sticky() below, on one node alone and without a handle. EREMOTEIO: not
 * volatile, or unknown.
 */
struct tevent_req *ctdb_set_db_readonly_send(TALLOC_CTX *mem, struct ctdb_client *c, uint32_t node, uint32_t id);
int ctdb_set_db_readonly_recv(struct tevent_req *req);
int ctdb_set_db_readonly(struct ctdb_client *c, uint32_t node, uint32_t id);
struct tevent_req *ctdb_set_db_sticky_send(TALLOC_CTX *mem, struct ctdb_client *c, uint32_t node, uint32_t id);
int ctdb_set_db_sticky_recv(struct tevent_req *req);
int ctdb_set_db_sticky(struct ctdb_client *c, uint32_t node, uint32_t id);

/* ---- Using a database ---- */

struct ctdb_db; /* handle; talloc_free() closes it. Handles of the same database in one client share the open file */

/*
 * Attaches to a database, creating it in the whole cluster if it does not exist, and opens this node's file. While a
 * recovery runs the daemon answers when it is over. name: without directory and node number, "locking.tdb". Errors
 * also: EIO: the database is marked unhealthy; EEXIST: it exists as another model; EBUSY: another client of this
 * process has it open (one client per process and database); errors of opening the file.
 */
struct tevent_req *ctdb_db_attach_send(TALLOC_CTX *mem, struct ctdb_client *c, const char *name,
				       enum ctdb_db_model model);
int ctdb_db_attach_recv(struct tevent_req *req, TALLOC_CTX *mem, struct ctdb_db **db);
int ctdb_db_attach(struct ctdb_client *c, const char *name, enum ctdb_db_model model, TALLOC_CTX *mem,
		   struct ctdb_db **db);

/* What the handle is for. Name: valid as long as the handle; client: NULL after it was freed. */
const char *ctdb_db_name(const struct ctdb_db *db);
uint32_t ctdb_db_id(const struct ctdb_db *db);
enum ctdb_db_model ctdb_db_get_model(const struct ctdb_db *db);
struct ctdb_client *ctdb_db_client(const struct ctdb_db *db);

/*
 * Allows read-only copies of records (ctdb_record_fetch_readonly()), or the pinning of records that many nodes fight
 * for, on all connected nodes. Cannot be taken back; gone with the database. EPERM: not a volatile database. What other
 * nodes' refusals leave: set on some.
 */
struct tevent_req *ctdb_db_set_readonly_send(TALLOC_CTX *mem, struct ctdb_db *db);
int ctdb_db_set_readonly_recv(struct tevent_req *req);
int ctdb_db_set_readonly(struct ctdb_db *db);

/* The same for pinning. */
struct tevent_req *ctdb_db_set_sticky_send(TALLOC_CTX *mem, struct ctdb_db *db);
int ctdb_db_set_sticky_recv(struct tevent_req *req);
int ctdb_db_set_sticky(struct ctdb_db *db);

#endif
