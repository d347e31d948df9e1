/* What happens in the cluster, as one stream of events. */
#ifndef CTDB_EVENT_H
#define CTDB_EVENT_H

#include <ctdb/cluster.h>

enum ctdb_event_kind {
	CTDB_EVENT_LEADER,           /* pnn leads; CTDB_NODE_UNKNOWN: nobody is heard to */
	CTDB_EVENT_RECOVERED,        /* a recovery has ended: what is known of databases and nodes may have changed */
	CTDB_EVENT_NODE,             /* flags of pnn changed from old_flags to flags */
	CTDB_EVENT_ADDRESS_TAKEN,    /* this node has taken that public address */
	CTDB_EVENT_ADDRESS_RELEASED, /* this node has released it */
	CTDB_EVENT_LOST,             /* the connection is lost: no more will come */
};
/* "leader", "recovered", "node", "address-taken", "address-released", "lost". */
const char *ctdb_event_kind_name(enum ctdb_event_kind kind);

struct ctdb_event {
	enum ctdb_event_kind kind;
	uint32_t pnn;        /* LEADER, NODE */
	uint32_t flags;      /* NODE: enum ctdb_node_flag */
	uint32_t old_flags;  /* NODE; CTDB_NODE_DELETED for a node that was not in the list before */
	bool first;          /* NODE: how it was when the subscription began, no change */
	const char *address; /* ADDRESS_*: text, valid until the function returns */
};

/* A subscription; talloc_free() ends it. */
struct ctdb_events;
/* May free the subscription or the client, and call everything but synchronous functions. */
typedef void (*ctdb_event_fn)(void *priv, const struct ctdb_event *event);

/* Default of poll_ms. */
#define CTDB_EVENT_POLL_MS 1000U

/*
 * Events begin after _recv: first a NODE event for each node (first is true), then what changes. Leader, recoveries and
 * addresses come as messages of the daemons. Flags are looked at each poll_ms milliseconds (0: the default) and after
 * each recovery: a state that lasted for less may not be seen. Nobody is said to lead when no leader was heard for 5.5
 * s. Works with each daemon that speaks the protocol. Ends with LOST, or when freed.
 */
struct tevent_req *ctdb_events_send(TALLOC_CTX *mem, struct ctdb_client *c, uint32_t poll_ms, ctdb_event_fn fn,
				    void *priv);
int ctdb_events_recv(struct tevent_req *req, TALLOC_CTX *mem, struct ctdb_events **events);
/* Events are then told in ctdb_client_wait() and while other synchronous functions wait. */
int ctdb_events(struct ctdb_client *c, uint32_t poll_ms, ctdb_event_fn fn, void *priv, TALLOC_CTX *mem,
		struct ctdb_events **events);

#endif
