/* The parts of transportd: packets (route.c), what others ask about links (links.c, status.c), the keys (keys.c, rotate.c). */
#ifndef TRANSPORTD_TRANSPORT_H
#define TRANSPORTD_TRANSPORT_H

#include "base/dlist.h"
#include "base/mono.h"
#include "protocol/transport_rpc.h"
#include "shared/cluster_key.h"
#include "shared/daemon.h"
#include "shared/link.h"

#define TRANSPORT_FRAME_PACKET 16 /* type of the frames that carry an encoded msg packet */

struct rotation;
struct link_moved;
struct active_nodes;
struct link_watchers;

struct transport {
	struct daemon *d;
	struct link_mesh *mesh;
	struct mono *changed; /* by pnn: when its link went up or down last */
	uint32_t n_changed;
	struct link_watchers *watchers; /* endpoints that want to know */

	struct cluster_keys *keys;  /* NULL: security none */
	char pending[17];	    /* id of the key that a rotation added and that is not offered yet; "" if there is none */
	char *pending_path;	    /* file that keeps it over restarts */
	struct active_nodes *active;
	struct key_change *change;  /* in work, or NULL */
	struct rotation *rotation;  /* that this node leads, or NULL */
};

/* ---- route.c ---- */
/* Listens, and takes over the endpoint's packets for other nodes. */
int route_start(struct transport *t, char **err);

/* ---- links.c ---- */
/* Serves the transport interface. */
int links_start(struct transport *t);
/* A link went up or down: subscribers are told. reason: errno when down. */
void links_changed(struct transport *t, uint32_t pnn, bool up, uint64_t incarnation, int reason);

/* ---- moved.c: as link_ops.moved: priv is the struct transport. ---- */
void moved_ask(void *priv, uint64_t token, const struct link_moved *moved);

/* ---- status.c ---- */
void status_get(void *priv, struct rpc_call *call);

/* ---- keys.c: the keys of this node. A change is on disk and in use by transportd and dbd before it is answered. ---- */
/* Reads the key file if security is tls. Before route_start(). */
int keys_start(struct transport *t, char **err);
/* The key file may have been changed by hand: what cannot be read changes nothing and is logged. */
void keys_reload(struct transport *t);
void keys_list(void *priv, struct rpc_call *call);
void keys_add(void *priv, struct rpc_call *call, const struct key_add_args *arg);
void keys_use(void *priv, struct rpc_call *call, const struct key_id *arg);
void keys_drop(void *priv, struct rpc_call *call, const struct key_id *arg);

/* ---- key_file.c: writing keys without waiting for the disk. ---- */
/* Writes the key file and, unless pending is NULL, the pending file ("": removes it). The parts are copied. */
struct tevent_req *key_file_write_send(TALLOC_CTX *mem, struct tevent_context *ev, const struct cluster_keys *keys, const char *path,
				       const char *pending, const char *pending_path);
int key_file_write_recv(struct tevent_req *req);
/* "" if there is none. */
void key_file_pending(const char *path, char pending[17]);

/* ---- rotate.c: changes on all nodes, led by the one that was asked. ---- */
void rotate_start(void *priv, struct rpc_call *call, const struct key_rotate_args *arg);
void rotate_retire(void *priv, struct rpc_call *call, const struct key_id *arg);

#endif
