/* A transaction, between transaction.c and commit.c. */
#ifndef LIB_TRANSACTION_INTERNAL_H
#define LIB_TRANSACTION_INTERNAL_H

#include "internal.h"

#define LOCK_NAME_SIZE 26U /* "transaction_db_0x01234567" and NUL */

struct change {
	struct dlist link; /* in the order of the first change of each key */
	struct ctdb_data key;
	uint32_t hash;
	struct ctdb_data data; /* empty: deleted */
};

struct ctdb_transaction {
	struct ctdb_db *db;
	struct ctdb_db *locks; /* g_lock.tdb */
	char lock_name[LOCK_NAME_SIZE];
	bool locked;
	bool committed; /* the commit was tried */
	bool uncertain; /* and it is not known what became of it: the lock is kept until this process ends */
	struct dlist changes;
	uint32_t n_changes, n_slots; /* n_slots: 0 or a power of two, more than n_changes */
	struct change **slots;       /* by key: open addressing */
};

#endif
