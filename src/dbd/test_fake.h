/* The client side of one dbd in one process: real socket, real TDB files; records, recovery, lane, workers and view are
 * played by the test. */
#ifndef DBD_TEST_FAKE_H
#define DBD_TEST_FAKE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "dbd/client.h"
#include "dbd/worker.h"

#define FAKE_GENERATION 0x03A847C0U
#define FAKE_NODES      3
#define WAIT_MS         20000

/* One packet that was sent to another node. */
struct fake_sent {
	uint32_t to, proc;
	struct ctdb_blob buf;
};

/* One worker job that was started. */
struct fake_job {
	struct tevent_req *req;
	struct db *db;
	enum worker_op op;
	bool only_owned, with_empty;
	struct ctdb_blob input;
	worker_batch_fn batch;
	void *priv;
	struct ctdb_blob fed; /* all feeds, one after the other */
	bool fed_last;
	void (*drain)(void *priv, struct worker_job *job);
	void *drain_priv;
	int status;
	uint32_t continued;
};

struct fake_call {
	struct db *db;
	struct ctdb_blob key;
	bool read_only;
	record_reply_fn reply;
	void *priv;
};

struct fake {
	struct dbd *dbd;
	char *dir;
	bool normal, fenced;
	uint32_t flags[FAKE_NODES]; /* of the nodes */
	uint32_t leader;
	uint32_t slots[4];
	struct recovery_times times;
	uint32_t wanted; /* calls of recovery_want */
	bool up[FAKE_NODES];
	uint32_t n_sent;
	size_t lane_bytes; /* what lane_queued() answers */
	struct fake_sent sent[64];
	uint32_t n_jobs;
	struct fake_job *jobs[64];
	struct fake_call *call; /* the last one that waits */
	bool answer_at_once;    /* calls are answered inside records_call() */
	bool flood;             /* packets to other nodes are counted only, worker jobs do nothing */
	size_t queued; /* what worker_job_feed() answers; 0: the length */
	uint8_t header[REC_HEADER_SIZE];
	uint8_t data[64];
	size_t datalen;
	int32_t call_status;
	uint32_t cancelled, deletions, attached, closed, removed, forgotten, fetched, pushes_seen;
	bool works_on; /* recovery, on any database */
	uint32_t revokes; /* that the record engine counts */
	int vacuum_status;
	uint8_t deletion_header[REC_HEADER_SIZE];
};
extern struct fake *fake;

int fake_setup(void **state);
int fake_teardown(void **state);

/* A volatile (flags 0) or other database, open and usable. */
struct db *fake_db(const char *name, uint32_t flags);

/* Runs the event loop until cond says true; fails the test when it takes too long. */
void fake_until(bool (*cond)(void *priv), void *priv);
void fake_turns(int n); /* some turns: for "nothing happens" */

/* ---- a client, from its side ---- */
int fake_connect(void);
int fake_connect_to(struct dbd *dbd);
void fake_write(int fd, const void *data, size_t len);
/* The next packet, talloc'ed below dbd. */
struct ctdb_blob fake_read(int fd);
bool fake_eof(int fd);    /* waits until the connection is closed by dbd; discards what comes before */
bool fake_silent(int fd); /* nothing to read after some turns */

/* Sends a control with an unpadded packet, as smbd does. */
void fake_control(int fd, uint32_t opcode, uint32_t dest, uint32_t flags, uint64_t srvid, uint32_t reqid,
		  const void *data, size_t len);
struct fake_reply {
	int32_t status;
	struct ctdb_blob data;
	char *error;
};
/* Reads a packet that must be REPLY_CONTROL with this reqid. */
struct fake_reply fake_reply(int fd, uint32_t reqid);
/* Control to the own node and its reply. */
struct fake_reply fake_ask(int fd, uint32_t opcode, const void *data, size_t len);
/* Bytes of a hexadecimal text with spaces. */
struct ctdb_blob fake_hex(const char *hex);
/* The packet is these bytes. */
void fake_expect(struct ctdb_blob packet, const char *hex);

/* ---- workers ---- */
void fake_job_end(struct fake_job *job, int status); /* from the event loop */

#endif
