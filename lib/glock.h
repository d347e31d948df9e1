/* Cluster-wide locks that processes of Samba and of this library exclude each other with: records of g_lock.tdb. */
#ifndef LIB_GLOCK_H
#define LIB_GLOCK_H

#include "internal.h"

#define GLOCK_DB               "g_lock.tdb"
#define GLOCK_UNIQUE_NOT_SAMBA 0xFFFFFFFFFFFFFFFFULL
#define GLOCK_SRVID            0xC7DB10C000000000ULL /* | task: registered by a connection that holds locks */
#define GLOCK_SERVER_ID_SIZE   24U
#define GLOCK_WATCHER_SIZE     32U
#define GLOCK_STATE_SIZE       44U /* holder, two epochs, number of shared holders */
#define GLOCK_MAX              (16U * 1024 * 1024)

/*
 * Who holds a lock. A process id is used again: after a restart of its node at the latest. Processes of Samba have a
 * number of their own (unique) that they register as a srvid; but on its own node Samba looks that up in files of its
 * own. So connections of this library say they are no process of Samba, which makes Samba ask for the process alone,
 * and have their number in task: registered, too, and asked for by this library.
 */
struct server_id {
	uint64_t pid; /* 0: nobody */
	uint32_t task, vnn;
	uint64_t unique;
};

/*
 * A lock record: u32 n, n watchers (server id, u64 instance), then holder, lock epoch, data epoch, u32 n, n shared
 * holders, user data. All little endian. The pointers are into the record. foreign: the record is a list of holders as
 * the classic ctdb tool writes it.
 */
struct glock {
	uint32_t n_watchers, n_shared;
	const uint8_t *watchers, *shared;
	struct server_id holder;
	uint64_t lock_epoch, data_epoch;
	struct ctdb_data user;
	bool foreign;
	struct ctdb_data foreign_list;
};

bool server_id_equal(const struct server_id *a, const struct server_id *b);
void server_id_get(const uint8_t in[GLOCK_SERVER_ID_SIZE], struct server_id *id);
void server_id_put(uint8_t out[GLOCK_SERVER_ID_SIZE], const struct server_id *id);

/* Never fails: what cannot be a lock of Samba is foreign if it looks like one of the classic tool, else unlocked, as
 * Samba takes it. */
void glock_parse(struct ctdb_data data, struct glock *g);
/* The bytes, below mem; only watchers if nothing else is left, and empty if not even these. ENOMEM. */
int glock_build(TALLOC_CTX *mem, const struct glock *g, struct ctdb_data *data);
/* The i-th holder, exclusive or shared (or of a foreign list); false when there are no more. */
bool glock_holder(const struct glock *g, uint32_t i, struct server_id *id);
/* The srvid by which the daemon of its node knows that this very process lives; false: only its process id is known. */
bool glock_holder_srvid(const struct server_id *id, uint64_t *srvid);

/* Takes the lock exclusively for this process; waits for living holders with random pauses, drops dead ones. ETIMEDOUT:
 * somebody keeps it. */
struct tevent_req *glock_lock_send(TALLOC_CTX *mem, struct ctdb_db *db, struct ctdb_data key);
int glock_lock_recv(struct tevent_req *req);
/* Gives it back and wakes the first process of Samba that waits. */
struct tevent_req *glock_unlock_send(TALLOC_CTX *mem, struct ctdb_db *db, struct ctdb_data key);
int glock_unlock_recv(struct tevent_req *req);
/* The same with the record locked by the caller; frees it: who is woken finds it unlocked. */
int glock_unlock_record(struct ctdb_db *db, struct ctdb_record *rec);

#endif
