/* Between the files of the API suite: connections to the nodes, checks, and each operation in its two forms. */
#ifndef TEST_INTEROP_SUITE_H
#define TEST_INTEROP_SUITE_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <ctdb/ctdb.h>

/* How long anything may take that is no error: a recovery of the old daemon included. */
#define PATIENCE_MS 60000U
#define MAX_NODES   8

/* The nodes under test, and which form of the functions the case uses. */
struct suite {
	unsigned int n_nodes;
	const char *sockets[MAX_NODES];
	bool async;
	bool old; /* Debian's ctdbd: only for the differences that test_api.py lists */
};

/* A connection to one node. ev: NULL for a client of ctdb_open(), which has the synchronous functions. */
struct peer {
	struct tevent_context *ev;
	struct ctdb_client *c;
	uint32_t pnn;
};

/* Ends the program with a message unless cond holds. */
#define CHECK(cond, ...)                                                                                               \
	do {                                                                                                           \
		if (!(cond)) {                                                                                         \
			suite_fail(__FILE__, __LINE__, #cond, __VA_ARGS__);                                            \
		}                                                                                                      \
	} while (0)
#define CHECK_OK(p, call)                                                                                              \
	do {                                                                                                           \
		int check_err_ = (call);                                                                               \
		CHECK(check_err_ == 0, #call ": %s (%s)", strerror(check_err_), ctdb_client_error((p)->c));            \
	} while (0)
#define CHECK_ERR(p, call, expected)                                                                                   \
	do {                                                                                                           \
		int check_err_ = (call);                                                                               \
		CHECK(check_err_ == (expected), #call ": %s (%s), not %s", strerror(check_err_),                       \
		      ctdb_client_error((p)->c), strerror(expected));                                                  \
	} while (0)
void suite_fail(const char *file, int line, const char *cond, const char *fmt, ...)
	__attribute__((format(printf, 4, 5), noreturn));

/* A node is connected to, in the form that the suite runs in; freed by the caller. */
struct peer *suite_connect(const struct suite *s, unsigned int node);
struct peer *suite_connect_as(const struct suite *s, unsigned int node, bool async);
/* Handles what arrives until *stop, or fails the case after PATIENCE_MS. */
void suite_wait(struct peer *p, const bool *stop);
/* Handles what arrives for that long. */
void suite_pause(struct peer *p, uint32_t ms);
/* Until the node has read all that was posted, and what it had sent before that has come. */
void suite_settle(struct peer *p);
/* Until req is finished. */
void suite_finish(struct peer *p, struct tevent_req *req);
/* A child process that ran fn(s, arg); it is successful if fn returns. */
pid_t suite_fork(const struct suite *s, void (*fn)(const struct suite *s, unsigned int arg), unsigned int arg);
/* Fails the case unless that child was successful. */
void suite_join(pid_t pid);
struct ctdb_data bytes(const char *text);
bool same(struct ctdb_data d, const char *text);
uint64_t suite_srvid(unsigned int n); /* of this run */
void suite_begin(void);               /* makes this run differ from all others */

/*
 * Each operation by the synchronous function or by its _send and _recv, as the connection is. "req" is the request for
 * the _recv expression.
 */
#define BOTH(p, sync_call, send_call, recv_call)                                                                       \
	({                                                                                                             \
		int both_err_;                                                                                         \
		if ((p)->ev == NULL) {                                                                                 \
			both_err_ = (sync_call);                                                                       \
		} else {                                                                                               \
			struct tevent_req *req = (send_call);                                                          \
			suite_finish((p), req);                                                                        \
			both_err_ = (recv_call);                                                                       \
			talloc_free(req);                                                                              \
		}                                                                                                      \
		both_err_;                                                                                             \
	})

int p_attach(struct peer *p, const char *name, enum ctdb_db_model model, struct ctdb_db **db);
int p_lock(struct peer *p, struct ctdb_db *db, const char *key, struct ctdb_record **rec);
int p_fetch(struct peer *p, struct ctdb_db *db, const char *key, struct ctdb_data *data);
int p_peek(struct peer *p, struct ctdb_db *db, const char *key, struct ctdb_record_header *h, struct ctdb_data *data);
int p_traverse(struct peer *p, struct ctdb_db *db, ctdb_traverse_fn fn, void *priv, uint64_t *n);
int p_start(struct peer *p, struct ctdb_db *db, struct ctdb_transaction **t);
int p_read(struct peer *p, struct ctdb_transaction *t, const char *key, struct ctdb_data *data);
int p_commit(struct peer *p, struct ctdb_transaction *t);
int p_cancel(struct peer *p, struct ctdb_transaction *t);
int p_listen(struct peer *p, uint64_t srvid, ctdb_message_fn fn, void *priv, struct ctdb_listener **l);
int p_control(struct peer *p, const struct ctdb_control *k, struct ctdb_control_reply **reply);

/* A database of this run of the case: name with the process number, so that nothing is in it. The same from a child. */
struct ctdb_db *open_db(struct peer *p, const char *name, enum ctdb_db_model model);
/* A record gets this text, by lock, store, unlock. */
void put(struct peer *p, struct ctdb_db *db, const char *key, const char *text);
/* A record or a transaction's record as a number; 0 if there is none. */
unsigned long number(struct ctdb_data d);

/* A case, listed in api_suite.c. nodes: how many it needs. */
struct suite_case {
	const char *name;
	unsigned int nodes;
	void (*run)(const struct suite *s);
};
extern const struct suite_case cluster_cases[], record_cases[], message_cases[], transaction_cases[], node_cases[],
	event_cases[], error_cases[];

#endif
