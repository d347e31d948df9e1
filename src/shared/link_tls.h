/* Links: TLS of one connection, as a filter: bytes of the network in, bytes for the network out. No I/O of its own. */
#ifndef SHARED_LINK_TLS_H
#define SHARED_LINK_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <talloc.h>

#include "shared/cluster_key.h"

/*
 * TLS 1.3 only, with an external pre-shared key and an ephemeral key exchange (X25519, P-256), AES-128-GCM or CHACHA20-POLY1305. No
 * certificates, no tickets, no resumption, no early data: each session's keys are its own. The identity is the key's id: who accepts looks it
 * up among the keys of the mesh; an unknown one is given a random key, so that it fails as a wrong key does.
 *
 * Network input is lent with link_tls_feed(); handshake and read take from it until they say EAGAIN, when all of it is used. Network output
 * gathers in a buffer of its own, at most LINK_TLS_OUT and one record, that the caller empties.
 */
#define LINK_TLS_RECORD 16384
#define LINK_TLS_OUT	(128U << 10)

struct link_tls_mesh;
struct link_tls;

/* Of a mesh. keys are copied. 0, ENOMEM, EINVAL no keys. Must live as long as its connections. */
int link_tls_mesh_new(TALLOC_CTX *mem, const struct cluster_keys *keys, struct link_tls_mesh **result);
int link_tls_mesh_set_keys(struct link_tls_mesh *mesh, const struct cluster_keys *keys);

/* NULL: no memory. */
struct link_tls *link_tls_new(TALLOC_CTX *mem, struct link_tls_mesh *mesh, bool outgoing);
/* Whether bytes can be the beginning of what such a peer sends first. */
bool link_tls_looks_like(const uint8_t *data, size_t len);

/* data must stay until it is used up, or is forgotten with len 0. */
void link_tls_feed(struct link_tls *tls, const uint8_t *data, size_t len);
/* 0 done; EAGAIN more input is needed; EPROTO: failed, why says it (there may be an alert to send). */
int link_tls_handshake(struct link_tls *tls, char *why, size_t room);
/* 0 and *n > 0; EAGAIN; ECONNRESET closed in an orderly way; EBADMSG and why. */
int link_tls_read(struct link_tls *tls, uint8_t *data, size_t room, size_t *n, char *why, size_t why_room);
/* Takes up to a record. 0 and *taken > 0; ENOBUFS: empty the output first; EPROTO: the session is broken, or out of memory. */
int link_tls_write(struct link_tls *tls, const uint8_t *data, size_t len, size_t *taken);

/* Output that waits; link_tls_out_done() removes what was sent. */
size_t link_tls_out(const struct link_tls *tls, const uint8_t **data);
void link_tls_out_done(struct link_tls *tls, size_t n);

/* Id of the key in use; "" before the handshake. */
const char *link_tls_key_id(const struct link_tls *tls);

#endif
