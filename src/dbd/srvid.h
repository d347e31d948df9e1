/* Inside of dbd's message registrations. service.h has what the other parts use. */
#ifndef DBD_SRVID_H
#define DBD_SRVID_H

#include "dbd/client.h"

/* Registrations count: two of the same address on one connection deliver twice. ENOSPC: the client has too many. */
int srvids_register(struct srvids *s, struct client *c, uint64_t srvid);
int srvids_deregister(struct srvids *s, struct client *c, uint64_t srvid); /* ENOENT */
bool srvids_has(const struct client *c, uint64_t srvid);
void srvids_client_gone(struct srvids *s, struct client *c);

/* To the clients of this node only. */
void srvids_deliver(struct srvids *s, uint64_t srvid, const uint8_t *data, size_t len);

/* srvid_own.c: messages that the daemon itself answers. */
void srvids_own(struct dbd *dbd, uint64_t srvid, const uint8_t *data, size_t len);

/*
 * The nodes that a classic destination means: calls fn for each node of a broadcast, own included where it applies, or
 * for the one node. False: dest is no node and no broadcast.
 */
bool dest_for_each(const struct dbd *dbd, uint32_t dest, void (*fn)(void *priv, uint32_t pnn), void *priv);
bool dest_is_broadcast(uint32_t dest);

#endif
