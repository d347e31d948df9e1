/* The parts of transportd: route.c (packets between endpoints and links), links.c (what others ask about links). */
#ifndef TRANSPORTD_TRANSPORT_H
#define TRANSPORTD_TRANSPORT_H

#include "base/dlist.h"
#include "base/mono.h"
#include "shared/daemon.h"
#include "shared/link.h"

#define TRANSPORT_FRAME_PACKET 16 /* type of the frames that carry an encoded msg packet */

struct transport {
	struct daemon *d;
	struct link_mesh *mesh;
	struct mono *changed; /* by pnn: when its link went up or down last */
	uint32_t n_changed;
	struct dlist subscribers;
	unsigned n_subscribers;
};

/* ---- route.c ---- */
/* Listens, and takes over the endpoint's packets for other nodes. */
int route_start(struct transport *t, char **err);

/* ---- links.c ---- */
/* Serves the transport interface. */
int links_start(struct transport *t);
/* A link went up or down: subscribers are told. reason: errno when down. */
void links_changed(struct transport *t, uint32_t pnn, bool up, uint64_t incarnation, int reason);

#endif
