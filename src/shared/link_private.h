/* What the parts of the link library share: link.c and link_*.c. For them alone. */
#ifndef SHARED_LINK_PRIVATE_H
#define SHARED_LINK_PRIVATE_H

#include <errno.h>
#include <string.h>

#include "base/dlist.h"
#include "base/mono.h"
#include "protocol/link.h"
#include "shared/link.h"
#include "shared/link_tls.h"
#include "shared/mono_timer.h"

#define LINK_HEADER           8  /* length and type before the payload of a frame */
#define LINK_USER_TYPE        16 /* first frame type that is not the link's own */
#define LINK_INTERFACE_PATHS  2  /* first interface version with more than one connection */

#define LINK_NEW_MAX          64   /* incoming connections without a valid hello; the oldest gives way */
#define LINK_NEW_PER_PEER     8    /* of one source address */
#define LINK_NEW_MS           5000 /* for TLS handshake and hello */
#define LINK_NEW_BUFFER       1024 /* longest hello */
#define LINK_NEW_READ         2048 /* per event before the hello */
#define LINK_NEW_BYTES        8192 /* of the network before the hello */
#define LINK_ACCEPT_BATCH     16   /* per event */
#define LINK_RECONNECT_MAX_MS 1000
#define LINK_SWITCH_PAUSE_MS  20	   /* after a path was closed, not silent: the others may be just about to be */
#define LINK_BUFFER           (64U << 10)  /* read buffer of a connection unless a frame is larger */
#define LINK_BUFFER_KEEP      (1U << 20)   /* a buffer over this is given back when empty */
#define LINK_READ_MAX         (128U << 10) /* per event */
#define LINK_CHUNK            (64U << 10)  /* piece of the write queue, a multiple of a TLS record */
#define LINK_SPARE_MAX        32	   /* chunks that a mesh keeps for later */
#define LINK_WRITE_MAX        (256U << 10) /* per event */

enum link_conn_state {
	LINK_CONN_CONNECTING, /* outgoing: TCP handshake */
	LINK_CONN_TLS,	      /* TLS handshake */
	LINK_CONN_HELLO,      /* waiting for the hello of the other side */
	LINK_CONN_UP,
	LINK_CONN_CLOSED, /* ended while it is served: freed by who serves it */
};

/* A node that has moved. */
enum link_asked {
	LINK_ASKED_NOTHING,
	LINK_ASKED_WAITING, /* for the answer */
	LINK_ASKED_ANSWERED,
};

struct link_peer;
struct link_path;

struct link_conn {
	struct dlist entry; /* in mesh->new until it is up */
	struct dlist dirty; /* in mesh->dirty: has something to write, nobody waits for writability */
	struct link_mesh *mesh;
	struct link_path *path; /* whose addresses it has; its hello must agree */
	uint32_t link_class;	/* of an incoming one: known with its hello, as the next */
	uint64_t bundle;
	enum link_conn_state state;
	bool outgoing, serving;
	struct link_peer *stranger; /* NULL: the address is that of a node */
	enum link_asked asked;
	uint64_t token; /* of the question */
	bool used;      /* USE was sent or received: frames of the user may pass */
	bool congested; /* drained() is owed */
	int fd;
	struct tevent_fd *fde;
	struct mono deadline; /* to be up */
	struct mono up_since, received;
	size_t new_bytes; /* read before it was up */
	uint64_t rtt_us;
	struct link_tls *tls; /* NULL: none, or nothing has arrived yet */

	uint8_t *buffer; /* [start, end) is not yet handled */
	size_t capacity, start, end;

	struct dlist chunks; /* to be written */
	size_t queued;
};

/* A way to a node: our address and its address. link_path.c. */
struct link_path {
	struct link_peer *peer;
	uint32_t index;
	uint32_t own; /* which of our addresses */
	struct sockaddr_storage addr;
	char *text;
	struct link_conn *conn[LINK_CLASSES]; /* up, or NULL */
	struct link_conn *out;		      /* being made by us, or NULL */
	uint32_t version, n_classes;	      /* agreed on by the control connection */
	uint64_t bundle;		      /* of these connections */
	struct mono connect_at;
	uint32_t wait_ms;
	char last_failure[160]; /* of connecting: logged again only if it changes */
};

/* A node of the nodes list, except the own one. */
struct link_peer {
	struct link_mesh *mesh;
	uint32_t pnn;
	struct link_path *path[LINK_PATHS];
	uint32_t n_paths;
	struct link_path *active; /* NULL: the link is down */
	uint32_t last_active;	  /* path that was it last, or LINK_PATHS */
	uint64_t generation;	  /* of the last USE */
	struct mono choose_at;	  /* no path is chosen before */
	struct mono settle_at;	  /* no other path than 0 is chosen before */
	uint64_t incarnation;	  /* of the last valid hello */
	struct link_stats stats;
};

struct link_mesh {
	struct tevent_context *ev;
	struct link_config config;
	uint32_t reconnect_max_ms;
	const struct link_ops *ops;
	void *priv;
	uint32_t n_addrs;
	struct sockaddr_storage addrs[LINK_PATHS]; /* own, with port */
	struct tevent_fd *listen_fde[LINK_PATHS];
	int listen_fd[LINK_PATHS];
	struct link_peer **peers; /* by pnn; NULL: deleted or own */
	uint32_t n_peers;
	struct link_tls_mesh *tls; /* NULL: security = none */
	uint8_t *scratch;	   /* LINK_READ_MAX bytes: what was just read of a TLS connection */
	struct mono accept_again;  /* when out of descriptors */
	struct dlist new;	   /* connections that are not up, oldest first */
	unsigned n_new;		   /* incoming ones among them */
	struct mono strangers_until; /* so many have come in the second before */
	unsigned strangers;
	uint64_t tokens;
	struct dlist dirty;
	struct dlist spare; /* chunks */
	unsigned n_spare;
	uint64_t bundles; /* begun by us */
	struct tevent_immediate *flush;
	bool flush_scheduled;
	struct mono_timer *timer;
	struct mono wake; /* what the timer is set to */
	struct mono next_heartbeat;
	unsigned busy; /* callbacks may be running: the mesh must not be freed now */
};

/* ---- link.c ---- */
struct link_peer *link_peer(const struct link_mesh *mesh, uint32_t pnn); /* or NULL */

/* ---- link_peer.c ---- */
bool link_same_address(const struct sockaddr_storage *a, const struct sockaddr_storage *b);
struct link_path *link_path_by_addr(const struct link_mesh *mesh, uint32_t own, const struct sockaddr_storage *addr);
void link_wake_at(struct link_mesh *mesh, struct mono when); /* timer fires then, or earlier */
void link_tick(void *priv);

/* ---- link_path.c ---- */
bool link_connects(const struct link_peer *peer); /* we do, they listen */
bool link_path_ready(const struct link_path *path);
bool link_path_wants_connection(const struct link_path *path, struct mono now);
/* A hello of conn was valid: it joins its path. May end connections and call down() and up(); conn may be closed afterwards. */
void link_path_join(struct link_conn *conn, const struct link_hello *hello);
/* Ends the connections of a path; one that is served now stays in memory, closed. down() comes last if it was active and told is set: peer may
 * be gone then. */
void link_path_end(struct link_path *path, bool told, int reason);
/* The connecting side takes a ready path into use if none is. Calls up() last. */
void link_peer_choose(struct link_peer *peer, struct mono now);
struct mono link_peer_choose_at(const struct link_peer *peer); /* when to call it again, or MONO_NEVER */
void link_use_frame(struct link_conn *conn, uint64_t generation);
/* Leaves the active path if it is silent and another one is not. Calls down() last. */
void link_peer_check_silent(struct link_peer *peer, struct mono now);
struct mono link_peer_silent_at(const struct link_peer *peer, struct mono now);

/* ---- link_conn.c ---- */
void link_accept(struct link_mesh *mesh, uint32_t own);
void link_connect(struct link_path *path);
void link_connect_later(struct link_path *path);
/*
 * Every connection ends here, whatever happened; with it its path, unless it came in and had no valid hello. reason: errno for down(); why: for
 * the log. Calls down() last if its path was active and told is set. conn is gone afterwards, unless it is served: then it is
 * LINK_CONN_CLOSED.
 */
void link_conn_end(struct link_conn *conn, bool told, int reason, const char *why);
void link_conn_close(struct link_conn *conn); /* alone, without a word */
bool link_hung_up(const struct link_conn *conn);    /* the other side has closed it */
bool link_has_unread(const struct link_conn *conn); /* something has arrived */
void link_address_text(const struct sockaddr_storage *addr, char text[64]);

/* ---- link_in.c ---- */
void link_conn_read(struct link_conn *conn);
void link_tls_begin(struct link_conn *conn); /* the connecting side speaks first. May end conn. */

/* ---- link_hello.c ---- */
int link_hello_queue(struct link_conn *conn);
/* The first frame. May end conn. */
void link_hello_frame(struct link_conn *conn, uint32_t type, const uint8_t *data, size_t len);
/* Tells the other side why, in one attempt that is not waited for. Without TLS. */
void link_refuse(struct link_conn *conn, const char *why);
/* The link's own frames once it is up. May end conn. */
void link_own_frame(struct link_conn *conn, uint32_t type, const uint8_t *data, size_t len);
void link_ping_queue(struct link_conn *conn, uint32_t type, uint64_t stamp);
int link_use_queue(struct link_conn *conn, uint64_t generation);

/* ---- link_stranger.c ---- */
/* For a connection from an unknown address; below its peer, which becomes the connection's. NULL: refused. */
struct link_path *link_stranger_path(struct link_mesh *mesh, uint32_t own, const struct sockaddr_storage *addr);
void link_moved_frame(struct link_conn *conn, const uint8_t *data, size_t len); /* may end conn */

/* ---- link_out.c ---- */
/* Copies a frame to the queue and has it written at the end of this turn. 0 or ENOMEM. */
int link_out_append(struct link_conn *conn, uint32_t type, const struct iovec *parts, int n_parts, size_t len);
void link_out_schedule(struct link_conn *conn);
/* Writes what the kernel takes. May end conn, or call drained(). */
void link_out_flush(struct link_conn *conn);
void link_out_flush_all(struct tevent_context *ev, struct tevent_immediate *im, void *priv);
void link_out_release(struct link_conn *conn); /* gives its chunks back */

#endif
