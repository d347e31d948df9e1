/* One connection to the daemon of a node, used as Samba's processes use theirs: one request at a time, blocking. Works
 * with any daemon that speaks the classic protocol. What fails ends the process with a message. */
#ifndef BENCH_SESSION_H
#define BENCH_SESSION_H

#include <stdnoreturn.h>

#include <ctdb/ctdb.h>

/* Prints "ctdb-bench COMMAND: text" and ends the process with status 1. */
noreturn void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Which command it is, for fail(). */
void fail_set_command(const char *name);

struct session {
	int fd;
	uint32_t pnn, reqid;
	uint8_t *in; /* bytes read, the first used ones are of a packet that was looked at */
	size_t in_len, in_alloc, used;
	/* A message came: data is valid until it returns. May send, but not ask. */
	void (*on_message)(void *priv, uint64_t srvid, struct ctdb_data data);
	void *priv;
};

/* Connects and asks for the node number. path: NULL for the default. */
struct session *session_open(const char *path);
void session_close(struct session *s);

/* Asks a node. status and data (may be NULL; valid until the next function of the session) are of the reply. */
int32_t session_ask(struct session *s, uint32_t node, uint32_t opcode, uint64_t srvid, struct ctdb_data in,
		    struct ctdb_data *out);
/* The same; a status other than 0 ends the process. */
void session_need(struct session *s, uint32_t node, uint32_t opcode, uint64_t srvid, struct ctdb_data in,
		  struct ctdb_data *out);
/* A control that nobody answers. */
void session_tell(struct session *s, uint32_t node, uint32_t opcode, uint64_t srvid, struct ctdb_data in);
/* REQ_CALL: brings the record to this node, and waits for it. */
void session_call(struct session *s, uint32_t db_id, struct ctdb_data key);
/* The same without waiting: the number that session_reply_to() gives. */
uint32_t session_call_begin(struct session *s, uint32_t db_id, struct ctdb_data key);
/* The number of the next request that is answered, until deadline (bench_now()); 0: none. */
uint32_t session_reply_to(struct session *s, uint64_t deadline);

void session_post(struct session *s, uint32_t node, uint64_t srvid, struct ctdb_data data);
void session_register(struct session *s, uint64_t srvid);
/* Handles what arrives until *stop (may be NULL) is true or the deadline is over; false: it is over. */
bool session_wait(struct session *s, const bool *stop, uint64_t deadline);

#endif
