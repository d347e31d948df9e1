/*
 * How the parts of dbd meet. Each part is a file pair; this header holds the few calls between them. src/dbd:
 *
 * db.c		databases of this node		worker.c	pool of worker processes	client.c	classic socket: framing, clients
 * control*.c	classic controls		srvid.c		message registrations		commit.c	transactions
 * traverse.c	traverses			attach.c	attach round over the members	records.c	record engine (core/record.h)
 * lane.c	links to other dbds		recovery.c	recovery (core/recovery.h)	view.c		what clusterd says
 */
#ifndef DBD_SERVICE_H
#define DBD_SERVICE_H

#include <stdbool.h>
#include <stdint.h>
#include <talloc.h>
#include <tevent.h>

#include "base/xdr.h"
#include "dbd/db.h"
#include "protocol/cluster.h"
#include "protocol/lane.h"
#include "shared/daemon.h"

struct clients;
struct srvids;
struct lane;
struct records;
struct recovery;
struct commits;
struct traverses;
struct attaches;
struct worker_pool;
struct journals;
struct vacuums;
struct locks;
struct db_vacuum_run; /* protocol/db.h */
struct classic_statistics;
struct classic_db_statistics;

/* Everything a part may need of the others. One object, made by main.c, passed to each part's _new(). */
struct dbd {
	struct daemon *d;
	struct dbs *dbs;
	struct worker_pool *workers;
	struct journals *journals;
	struct lane *lane;
	struct clients *clients;
	struct srvids *srvids;
	struct records *records;
	struct vacuums *vacuums;
	struct locks *locks;
	struct recovery *recovery;
	struct commits *commits;
	struct traverses *traverses;
	struct attaches *attaches;
	struct dlist examinations;  /* examine.c's */
	struct cluster_state *view; /* newest from clusterd; NULL before the first */
};

/* ---- view.c ---- */
/* Flags of a node as this node shows them to clients; DISCONNECTED while unknown, except for the own node. */
uint32_t view_node_flags(const struct dbd *dbd, uint32_t pnn);
uint32_t view_leader(const struct dbd *dbd); /* NODE_UNKNOWN */

/* ---- recovery.c ---- */
bool recovery_is_normal(const struct recovery *r);	     /* recovery mode NORMAL: END was seen and nothing newer has begun */
bool recovery_is_fenced(const struct recovery *r);	     /* this node is not active */
uint32_t recovery_generation(const struct recovery *r);	     /* GENERATION_NONE unless normal */
const uint32_t *recovery_slots(const struct recovery *r, uint32_t *n); /* slot map of the newest generation, n 0 before the first */
/* Members of the present generation (own node included); NULL and n 0 unless normal. Ascending. */
const uint32_t *recovery_members(const struct recovery *r, uint32_t *n);
/* Something is inconsistent or failed; asks the leader for a recovery. generation: in which it was seen; ignored unless it is the present one or the one in work. */
void recovery_want(struct recovery *r, uint32_t generation, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* The same, and no digest is trusted: all copies are looked at. */
void recovery_want_full(struct recovery *r, uint32_t generation, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* It is part of the recovery in work, or of the last one and late: nobody else makes it usable. */
bool recovery_works_on(const struct recovery *r, const struct db *db);
/* A client keeps a lock of the database's file: if a recovery is at it, that does not wait for it any more. */
void recovery_db_locked(struct recovery *r, struct db *db);
/* The database is being detached: nothing of a recovery, or of a fence, refers to it any more. */
void recovery_db_gone(struct recovery *r, struct db *db);
struct recovery_times {
	struct timeval started, finished; /* last recovery, wall clock; zero: none */
	uint32_t count;
};
const struct recovery_times *recovery_times(const struct recovery *r);

/* ---- recovery_cost.c ---- */
struct db_recovery; /* protocol/db.h */
void recovery_costs(const struct recovery *r, struct db_recovery *out); /* its text is r's */
/*
 * Asks for a recovery; fn is called once, when one that began later has ended here, with full: a full one. Child of mem; freeing it takes it back, but not the
 * wish. EAGAIN: no recovery has ended that could be followed by one; ENOMEM.
 */
struct recovery_wait;
int recovery_ask(TALLOC_CTX *mem, struct recovery *r, bool full, void (*fn)(void *priv), void *priv, struct recovery_wait **out);

/* ---- called by recovery.c when its state changes ---- */
void clients_recovery_began(struct clients *c);
void clients_recovery_ended(struct clients *c);	   /* deferred attaches go on */
void clients_disconnect_all(struct clients *c, const char *why);
/* Fence, or volatile data invalidated under them: those who have ever asked for a database. Tools that only ask how things are stay. */
void clients_disconnect_users(struct clients *c, const char *why);
void examinations_recovery_began(struct dbd *dbd); /* also when the node is fenced */
void commits_recovery_began(struct commits *c);	   /* stops accepting; running ones wait */
void commits_recovery_ended(struct commits *c);	   /* running ones answer status 2 "trans3 commit ended by recovery" */
void commits_node_lost(struct commits *c, uint32_t pnn);
void traverses_node_lost(struct traverses *t, uint32_t pnn);
void attaches_node_lost(struct attaches *a, uint32_t pnn);

/* ---- records.c: record traffic of volatile databases ---- */
/*
 * A client asks for a record (REQ_CALL). Exactly one answer: record_reply is called later or at once with status 0 and, for FETCH callids, header and data of the
 * record as it is owned here; status EIO and text on failure. Cancelled by records_cancel(token): no answer any more.
 */
typedef void (*record_reply_fn)(void *priv, int32_t status, const uint8_t *header /* 24 bytes or NULL */, const uint8_t *data, size_t len);
struct record_call; /* handle */
struct record_want {
	uint32_t client; /* id of the asking client: one that comes again at once has missed the record */
	bool use;	 /* it will look for the record in the file (callid NULL): keep it here for a moment; false: it is content with the answer */
	bool read_only;
};
struct record_call *records_call(struct records *r, struct db *db, const uint8_t *key, size_t keylen, const struct record_want *want, record_reply_fn reply,
				 void *priv);
/* The client has sent something that is no call (sends), or is sent a message: record_client_acts(). */
void records_client_acts(struct records *r, uint32_t client, bool sends);
void records_cancel(struct record_call *call);
/* SCHEDULE_FOR_DELETION: key and header as the client stored them (24 bytes, classic layout). Never fails: a hint. */
void records_schedule_deletion(struct records *r, struct db *db, const uint8_t *key, size_t keylen, const uint8_t *header);
/* Vacuuming (vacuum.c). fn is called once when the run has ended (status 0, ECANCELED: a recovery began, ETIMEDOUT), unless the request (child of mem) was freed before. EAGAIN: the database is not usable now. */
struct vacuum_request;
typedef void (*vacuum_fn)(void *priv, int status, const struct db_vacuum_run *run);
int vacuum_request_new(TALLOC_CTX *mem, struct vacuums *v, struct db *db, bool full, vacuum_fn fn, void *priv, struct vacuum_request **out);
/* This node, the location master, shall fetch the record and remove it if it is empty. false: is not location master, or too many wait. */
bool vacuum_fetch_key(struct vacuums *v, struct db *db, const uint8_t *key, size_t keylen);
struct db_vacuum_counts; /* protocol/db.h */
void vacuum_counts(struct vacuums *v, struct db *db, struct db_vacuum_counts *counts);
/* A PUSH_RECORD goes out or has come in (its payload): its key is left alone for a while, copies may be on their way. */
void vacuum_push_seen(struct vacuums *v, const uint8_t *payload, size_t len);
/* Its record traffic ends until a recovery opens it again; local calls wait for that. See record_db_close() in core/record.h. */
void records_close(struct records *r, struct db *db);
/* The database is being detached: local calls are answered with an error, the engine forgets it. */
void records_db_remove(struct records *r, struct db *db);
/* The database has its flag DB_READONLY: records are lent to nodes that only read, from now on. */
void records_set_readonly(struct db *db);
/* The same for DB_STICKY: records that are given away very often stay a while after each arrival. 0 or ENOMEM. */
int records_set_sticky(struct db *db);
/* records_stats.c: what the record engine counts about a database; keys below mem. ENOMEM. */
int records_statistics(TALLOC_CTX *mem, const struct db *db, struct classic_db_statistics *s);
void records_statistics_all(struct records *r, struct classic_statistics *sum); /* added to sum */
void records_statistics_reset(struct records *r);
/*
 * Under the chain lock, after each write to a volatile file: the copy named before as its data master, now after; COPY_NONE: there was, or is, no copy. Values shorter
 * than a header are none.
 */
#define COPY_NONE 0xFFFFFFFFU
void records_copy_changed(struct db *db, const uint8_t *key, size_t keylen, uint32_t before, uint32_t after);
uint32_t records_pending(const struct records *r, const struct db *db);
/* A new, empty database may be used from now on without a recovery: its generation was set to the present one. Any model; also called again for one that is known. */
void records_db_attached(struct records *r, struct db *db);

/* ---- lane.c ---- */
/* 0; EHOSTUNREACH. The own node is never a destination: callers act locally. proc, msg: generated lane_ types; encoded here. */
int lane_send(struct lane *l, uint32_t pnn, uint32_t proc, const uint8_t *buf, size_t len);
bool lane_is_up(const struct lane *l, uint32_t pnn);
size_t lane_queued(const struct lane *l, uint32_t pnn);
/*
 * Which node what was sent since the last call had to wait for behind LANE_HIGH bytes or more, NODE_UNKNOWN: none. Who makes others send asks
 * (client_io.c) and is held until lane_queued() is below LANE_LOW: a link that is full (256 MiB) is given up, which costs a recovery.
 */
#define LANE_HIGH (32U * 1024 * 1024)
#define LANE_LOW  (8U * 1024 * 1024)
uint32_t lane_slow_node(struct lane *l);

/* ---- receivers of lane procedures (called by lane.c; arg valid until return; from = pnn) ---- */
void srvids_on_message(struct srvids *s, uint32_t from, const struct lane_message *m);
void controls_on_control(struct clients *c, uint32_t from, const struct lane_control *m);
void controls_on_reply(struct clients *c, uint32_t from, const struct lane_control_reply *m);
void controls_node_lost(struct clients *c, uint32_t pnn); /* pending remote controls answer "node is disconnected" */
void controls_node_up(struct clients *c, uint32_t pnn);   /* what waits for the link (is the process alive?) is asked */
void controls_view_changed(struct clients *c);	 /* ... and answered if the node is no member any more */
void gateway_view_changed(struct dbd *dbd);		   /* pending interface calls to nodes that are in the view no more answer EHOSTUNREACH */
void attaches_on_attach(struct attaches *a, uint32_t from, const struct lane_attach *m);
void attaches_on_reply(struct attaches *a, uint32_t from, const struct lane_attach_reply *m);
void commits_on_update(struct commits *c, uint32_t from, const struct lane_update *m);
void commits_on_reply(struct commits *c, uint32_t from, const struct lane_update_reply *m);
void traverses_on_start(struct traverses *t, uint32_t from, const struct lane_traverse_start *m);
void traverses_on_data(struct traverses *t, uint32_t from, const struct lane_traverse_data *m);
void traverses_on_end(struct traverses *t, uint32_t from, const struct lane_traverse_end *m);
void traverses_on_kill(struct traverses *t, uint32_t from, const struct lane_traverse_id *m);
void traverses_on_credit(struct traverses *t, uint32_t from, const struct lane_traverse_id *m);

/* ---- srvid.c ---- */
/* From a client or a part of dbd: to dest (pnn, or 0xF0000001..4 as in the classic protocol), own node included where it applies. */
void srvids_send(struct srvids *s, uint32_t dest, uint64_t srvid, const uint8_t *data, size_t len);

/* ---- constructors ---- */
int clients_new(TALLOC_CTX *mem, struct dbd *dbd, struct clients **c, char **err); /* binds the socket; accepts from then on */
int srvids_new(TALLOC_CTX *mem, struct dbd *dbd, struct srvids **s);
int commits_new(TALLOC_CTX *mem, struct dbd *dbd, struct commits **c);
int traverses_new(TALLOC_CTX *mem, struct dbd *dbd, struct traverses **t);
int attaches_new(TALLOC_CTX *mem, struct dbd *dbd, struct attaches **a);
int lane_new(TALLOC_CTX *mem, struct dbd *dbd, struct lane **l, char **err);
int lane_set_nodes(struct lane *l); /* to what the daemon has; as link_mesh_set_nodes() */
int records_new(TALLOC_CTX *mem, struct dbd *dbd, struct records **r);
int recovery_new(TALLOC_CTX *mem, struct dbd *dbd, struct recovery **r);
int view_start(struct dbd *dbd); /* subscribes to clusterd */
int status_start(struct dbd *dbd); /* status.c: serves protocol/db.x on d->msg */

#endif
