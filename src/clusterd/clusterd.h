/* ctdb-clusterd: its parts around the pure core (core/cluster.h). */
#ifndef CLUSTERD_CLUSTERD_H
#define CLUSTERD_CLUSTERD_H

#include <stdbool.h>
#include <stdint.h>
#include <talloc.h>
#include <tevent.h>

#include "base/dlist.h"
#include "core/cluster.h"
#include "protocol/cluster_rpc.h"
#include "shared/daemon.h"
#include "shared/mono_timer.h"

struct term_file;
struct links;
struct own;
struct arbiter;
struct changes;
struct nodes;
struct events;
struct callbacks;
struct resigning;
struct identity;

/* The daemon's state; top of it is struct daemon. */
struct clusterd {
	struct daemon *d;
	struct cluster *core;
	struct cluster_ops ops; /* of the core */
	struct mono_timer *timer;
	struct term_file *term_file;
	struct tevent_req *writing;
	struct links *links;
	struct own *own;
	struct arbiter *arbiter; /* NULL: none outside */
	struct mono_timer *leave_timer; /* NULL: not stopping */
	struct changes *changes;
	struct nodes *nodes;
	struct events *events;
	struct callbacks *callbacks;
	struct resigning *resigning;
	struct identity *identity;
	struct rpc_client **peers; /* by pnn; NULL: this node and deleted ones */
	struct dlist subscribers;
	struct dlist waiting; /* SUBSCRIBE calls that wait until there is something to say */
	unsigned n_subscribers, n_waiting;
	bool changed; /* subscribers are to be told after this input */
	bool told_active; /* what they were told of this node last */
	struct mono lease_told;
};

/* After each input to the core: tells subscribers, arms the timer. */
void clusterd_after(struct clusterd *cd);

/* ---- peers.c: packets from and to the clusterds of other nodes ---- */
int peers_start(struct clusterd *cd);
int peers_set(struct clusterd *cd); /* to the nodes list as it is now. 0 or ENOMEM */
void peers_send(struct clusterd *cd, uint32_t pnn, const struct cluster_msg *msg);
void peers_fill(struct cluster_server *server); /* the handlers of what other nodes send */

/* ---- subscribers.c: daemons and tools of this node ---- */
void subscribers_start(struct clusterd *cd);
void subscribers_fill(struct cluster_server *server);
void subscribers_tell(struct clusterd *cd);
void subscribers_tell_lease(struct clusterd *cd, struct mono until);

/*
 * ---- own.c: what this node says of itself ----
 * Flags and capabilities that were set by request, in RUN/cluster-own.PNN: they outlive this daemon, but not its ctdbd.
 */
/* Before the core exists: changes config to what was set before a restart. 0 or ENOMEM. */
int own_start(struct clusterd *cd, struct cluster_config *config);
void own_fill(struct cluster_server *server);

/* ---- bans.c: nodes that keep the cluster from going on ---- */
void bans_fill(struct cluster_server *server);
/* As core op ban: priv is the clusterd. */
void bans_carry_out(void *priv, uint32_t pnn, uint32_t seconds, const char *reason);

/* ---- arbiter.c: the helper that holds the cluster lock ---- */
/* With arbitration lock or etcd; else nothing. Before the core exists: fills its part of config. 0 or errno and *err. */
int arbiter_start(struct clusterd *cd, struct cluster_config *config, char **err);
/* As core ops arbiter and arbiter_holds. */
void arbiter_want(struct arbiter *a, bool want);
bool arbiter_holds(const struct arbiter *a);
/* At the stop of the daemon: ends the helper if there is one; whether there is none. a may be NULL. */
void arbiter_end(struct arbiter *a);
bool arbiter_idle(const struct arbiter *a);

/* ---- links.c: what transportd says ---- */
int links_start(struct clusterd *cd);

/*
 * ---- changes.c: what changed since it was last looked at: events and callbacks ----
 * In an election in which no lease ends the leader changes once, from the former to the next.
 */
int changes_start(struct clusterd *cd);
/* After each input; changed: the view or whether this node acts. */
void changes_look(struct clusterd *cd, bool changed);
#define CHANGES_FLAGS_SIZE 96
/* "banned,stopped", "ok" */
const char *changes_flag_names(uint32_t flags, char buf[CHANGES_FLAGS_SIZE]);

/* ---- events.c: the last 256 events, for who asks or waits for them (64 at most, EAGAIN) ---- */
int events_start(struct clusterd *cd);
void events_fill(struct cluster_server *server);
void events_add(struct clusterd *cd, enum cluster_event_kind kind, uint32_t node, uint32_t flags, const char *fmt, ...)
	__attribute__((format(printf, 5, 6)));

/*
 * ---- callbacks.c: ETC/callbacks/cluster/EVENT.d, run by ctdb-callbacks (src/callbacks/main.c says which programs and how) ----
 *   active-changed NEW OLD            lists of pnns "0,1,2"; "none": there are none, or this node cannot know
 *   leader-changed NEW OLD            pnn or "none"
 *   node-flags-changed PNN NEW OLD    "ok", or words joined by commas: disconnected unhealthy disabled banned deleted stopped partially-online
 * Environment: PATH, CTDB_BASE, CTDB_SOCKET, CTDB_EVENT, CTDB_PNN (this node), CTDB_VIEW (TERM.NUMBER), CTDB_SELF_ACTIVE and CTDB_SELF_LEADER (yes, no).
 * Time-out of each program: option callback timeout. A failure is logged, is an event, and is kept for GET_CALLBACKS until the next run. When clusterd was
 * started again they run with OLD as if nothing had been known before.
 */
int callbacks_start(struct clusterd *cd);
void callbacks_fill(struct cluster_server *server);
void callbacks_active(struct clusterd *cd, const char *list);
void callbacks_leader(struct clusterd *cd, uint32_t leader);
void callbacks_flags(struct clusterd *cd, uint32_t pnn, uint32_t flags);

/* ---- leader.c: the leader stands down on request ---- */
int leader_start(struct clusterd *cd);
void leader_fill(struct cluster_server *server);
void leader_look(struct clusterd *cd); /* after each input: who waits is answered when another one leads */

/* ---- nodes.c: the nodes list at run time ---- */
extern const struct cluster_nodes_ops nodes_ops;
/* Before the core exists: the list, and a change that was under way, into config. */
int nodes_start(struct clusterd *cd, struct cluster_config *config, char **err);
void nodes_watch(struct clusterd *cd); /* the core exists */
void nodes_look(struct clusterd *cd); /* after each input */
void nodes_fill(struct cluster_server *server);
bool nodes_differ(const struct clusterd *cd, const struct conf_nodes *nodes); /* from the list in use */

/* ---- identity.c: who is who (shared/node_id.h) ---- */
int identity_start(struct clusterd *cd, char **err);
/* Of this node; empty: it has none. */
struct ctdb_blob identity_own(const struct clusterd *cd);
/* What node pnn said of itself. */
void identity_heard(struct clusterd *cd, uint32_t pnn, const struct ctdb_blob *id);
/* NULL: this is how the node is known, or nothing is known of it and need not be. Else why not, for people, below mem. */
char *identity_against(const struct clusterd *cd, TALLOC_CTX *mem, uint32_t pnn, const struct ctdb_blob *id, bool must_know);
void identity_fill(struct cluster_server *server);

/*
 * ---- term_file.c: what the core must not forget ----
 * DIR/cluster-term.PNN (synced, replaced atomically, by a thread) and RUN/cluster-promise.PNN (written in place, not synced: it need not survive the
 * machine, whose restart takes longer than any promise lasts, or is waited for here).
 */
/* Reads both, and makes this start's incarnation: higher than every former one. A file that is damaged or unreadable: errno and *err naming it and what to do. */
int term_file_open(TALLOC_CTX *mem, const struct daemon *d, struct term_file **f, struct cluster_durable *durable,
		   struct cluster_promise *promise, uint64_t *incarnation, char **err);
/* One at a time. Freeing the request does not stop the thread: the file is whole either way. */
struct tevent_req *term_file_write_send(TALLOC_CTX *mem, struct tevent_context *ev, struct term_file *f,
					const struct cluster_durable *durable);
int term_file_write_recv(struct tevent_req *req);                                  /* 0 or errno */
int term_file_promise(struct term_file *f, const struct cluster_promise *promise); /* 0 or errno */

#endif
