/* The parts of tunneld: route.c (packets between endpoints and sessions) and links.c (what others ask about links). */
#ifndef TUNNELD_TUNNELD_H
#define TUNNELD_TUNNELD_H

#include "base/dlist.h"
#include "base/mono.h"
#include "old.h"
#include "session.h"
#include "shared/daemon.h"
#include "shared/mono_timer.h"

#define TUNNELD_OLDEST 1 /* interface version: the same numbers as those of links, which say what a packet's header looks like */

/* A node of the nodes list, except the own one. */
struct tunnel_peer {
	struct session *session;
	char *address;	      /* as in the nodes list */
	struct mono changed;  /* went up or down last */
	uint64_t packets_in, packets_out;
};

struct active_nodes;
struct link_watchers;

struct tunneld {
	struct daemon *d;
	struct old_daemon *old;
	bool attached, tunnel; /* the existing daemon can be used; by tunnel */
	struct tunnel_peer **peers; /* by pnn; NULL: deleted or own */
	uint32_t n_peers;
	struct mono_timer *timer;
	struct mono wake; /* what the timer is set to */
	struct link_watchers *watchers; /* endpoints that want to know */
	struct active_nodes *active;
};

/* ---- route.c ---- */
/* Begins to look for the existing daemon, and takes over the endpoint's packets for other nodes. */
int route_start(struct tunneld *t, char **err);
/* A changed nodes list: touches only what differs. */
int route_set_nodes(struct tunneld *t);
/* Tells the peers that we stop. */
void route_stop(struct tunneld *t);
struct tunnel_peer *route_peer(const struct tunneld *t, uint32_t pnn); /* NULL: none */

/* ---- links.c ---- */
/* Serves the transport interface. */
int links_start(struct tunneld *t);
/* A link went up or down: subscribers are told. reason: errno when down. */
void links_changed(struct tunneld *t, uint32_t pnn, bool up, uint64_t incarnation, int reason);

#endif
