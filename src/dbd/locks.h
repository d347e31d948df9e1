/* Locks that clients hold for long while dbd waits for them: who they are. */
#ifndef DBD_LOCKS_H
#define DBD_LOCKS_H

#include "base/mono.h"
#include "dbd/service.h"

struct rpc_call;
struct db_copy_id; /* protocol/db.h */

/*
 * What waits is known from two sides: the record engine tells of each chain lock that it has tried in vain, and got; the pool of workers is asked which jobs have been silent.
 * When something has waited for 2 s a worker looks each second who holds locks of that file (it takes none itself). Who is met twice is named: in the log, once and
 * then each minute, in ctdb db status, and, when it is gone, once more in the log.
 */
int locks_new(TALLOC_CTX *mem, struct dbd *dbd, struct locks **locks);

/* The chain lock of key could not be had; it was had. From the record engine's trylock. */
void locks_busy(struct locks *l, struct db *db, const uint8_t *key, size_t keylen, struct mono now);
void locks_got(struct db *db, const uint8_t *key, size_t keylen);

/* Somebody who was met twice holds a lock of the file that something here waits for. */
bool locks_held(const struct db *db);

/*
 * locks_gate.c: a chain lock that the record engine has tried in vain for GATE_AFTER_US is waited for by a process (a worker of a pool of its own), as clients wait for it:
 * clients of this node that use a chain all the time cannot keep others from it. While that process has the lock, gates_open() is true, and dbd works on the chain as if
 * it were its own lock; that is within one call of the engine (R7). At most GATES_MAX at a time, and LockProcessesPerDB for a database: the others go on trying.
 */
#define GATE_AFTER_US 2000U
#define GATES_MAX     32U
struct gates;
int gates_new(TALLOC_CTX *mem, struct dbd *dbd, struct gates **gates);
void gates_want(struct gates *g, struct db *db, const uint8_t *key, size_t keylen);
bool gates_is_open(const struct gates *g, const struct db *db, const uint8_t *key, size_t keylen);
bool gates_open(const struct locks *l, const struct db *db, const uint8_t *key, size_t keylen);

/* Interface db, GET_LOCKS. */
void locks_get(void *priv, struct rpc_call *call, const struct db_copy_id *arg);

#endif
