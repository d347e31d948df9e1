/* Transactions on persistent and replicated databases. */
#ifndef CTDB_TRANSACTION_H
#define CTDB_TRANSACTION_H

#include <ctdb/record.h>

/*
 * One at a time per database in the whole cluster, Samba's own transactions included (the lock is a record in
 * g_lock.tdb, in Samba's format). All changes are on all nodes or on none, also if nodes die meanwhile. One of the same
 * process on the same database waits for the other, too: finish it first.
 */
struct ctdb_transaction;

/* Waits for the lock, looking again with random pauses. Errors also: EPERM: a volatile database; ETIMEDOUT: somebody
 * keeps the lock. */
struct tevent_req *ctdb_transaction_start_send(TALLOC_CTX *mem, struct ctdb_db *db);
int ctdb_transaction_start_recv(struct tevent_req *req, TALLOC_CTX *mem, struct ctdb_transaction **t);
int ctdb_transaction_start(struct ctdb_db *db, TALLOC_CTX *mem, struct ctdb_transaction **t);

/* What the record will be with the changes so far. ENOENT: no such record. */
struct tevent_req *ctdb_transaction_fetch_send(TALLOC_CTX *mem, struct ctdb_transaction *t, struct ctdb_data key);
int ctdb_transaction_fetch_recv(struct tevent_req *req, TALLOC_CTX *mem, struct ctdb_data *data);
int ctdb_transaction_fetch(struct ctdb_transaction *t, struct ctdb_data key, TALLOC_CTX *mem, struct ctdb_data *data);
/* Kept in memory until the commit. What makes no difference then is left out. Empty data is EINVAL: that is
 * ctdb_transaction_delete(). */
int ctdb_transaction_store(struct ctdb_transaction *t, struct ctdb_data key, struct ctdb_data data);
int ctdb_transaction_delete(struct ctdb_transaction *t, struct ctdb_data key);

/*
 * Writes all changes and gives the lock back. The transaction must not be used afterwards but to free it. 0: stored on
 * all active nodes. Errors also: ECANCELED: something else than this transaction changed the database, nothing of it
 * was stored; ETIMEDOUT, ENOTCONN: as a rule not known whether it was stored, see ctdb_transaction_uncertain().
 */
struct tevent_req *ctdb_transaction_commit_send(TALLOC_CTX *mem, struct ctdb_transaction *t);
int ctdb_transaction_commit_recv(struct tevent_req *req);
int ctdb_transaction_commit(struct ctdb_transaction *t);

/* After a commit that failed: whether it is not known if it was stored, whatever the error is. */
bool ctdb_transaction_uncertain(const struct ctdb_transaction *t);

/* Forgets the changes and gives the lock back. Freeing does that as well if it can without waiting; else the lock ends
 * with the process or its connection. */
struct tevent_req *ctdb_transaction_cancel_send(TALLOC_CTX *mem, struct ctdb_transaction *t);
int ctdb_transaction_cancel_recv(struct tevent_req *req);
int ctdb_transaction_cancel(struct ctdb_transaction *t);

#endif
