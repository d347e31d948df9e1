/* A stand-in for a daemon with databases: real TDB files, records that migrate here when called for, transactions. */
#ifndef LIB_TEST_FAKE_DB_H
#define LIB_TEST_FAKE_DB_H

#include <ctdb/client.h>

#include "test_fake.h"

#define FAKE_DBS 3U
/* Index in the arrays below, and attached as that model. */
enum fake_db { FAKE_GLOCK, FAKE_VOLATILE, FAKE_PERSISTENT };
#define FAKE_VOLATILE_NAME   "v.tdb"
#define FAKE_PERSISTENT_NAME "p.tdb"

/* From fake_shared(): what the daemon shall do, and what it saw. */
struct fake_dbs {
	char dir[96];                 /* of the files; set by fake_dbs_new() */
	unsigned int n_null, n_fetch; /* calls */
	unsigned int n_readonly;      /* calls that want the header, and a read-only copy if possible */
	bool readonly_copies;         /* they get one */
	bool short_header;            /* they get an answer that is too short */
	unsigned int n_set_readonly;  /* SET_DB_READONLY, by node */
	uint32_t set_readonly_nodes[4];
	uint32_t refusing_node; /* answers it with -1, if not 0 */
	bool never_migrate;     /* calls are answered, but the record does not come */
	bool silent_calls;
	unsigned int n_commits;
	int commit_status;            /* of the next commits ... */
	unsigned int commit_failures; /* ... this many */
	bool commit_stores;           /* a commit that is answered with commit_status was nevertheless done */
	bool other_commits;           /* somebody else's commit instead: the sequence number jumps by 2 */
	unsigned int n_deletions;     /* SCHEDULE_FOR_DELETION */
	uint32_t deleted_db;
	uint8_t deleted_key[64];
	size_t deleted_keylen;
	unsigned int n_exists; /* PROCESS_EXISTS, CHECK_PID_SRVID */
	uint64_t registered;   /* the last srvid that a client registered, or took back */
	uint64_t asked_srvid;  /* of the last CHECK_PID_SRVID */
	bool exists;
	unsigned int n_messages;
	uint64_t message_srvid;
	uint32_t message_node;
	uint8_t message[128];
	size_t message_len;
	bool message_early; /* it came while its sender still had a record of the locks locked */
};

struct fake_dbs *fake_dbs_new(void);
/* Creates the files and runs the daemon. */
struct fake *fake_dbs_start(struct fake_dbs *d);
void fake_dbs_stop(struct fake *f, struct fake_dbs *d);
/* Has the daemon write a record into a file. */
void fake_dbs_put(struct ctdb_client *c, enum fake_db db, const void *key, size_t keylen, uint32_t dmaster,
		  const void *data, size_t len);

#endif
