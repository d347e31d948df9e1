/* What the parts of the link library share: link.c, link_conn.c, link_hello.c, link_out.c. For them alone. */
#ifndef SHARED_LINK_PRIVATE_H
#define SHARED_LINK_PRIVATE_H

#include "base/dlist.h"
#include "base/mono.h"
#include "protocol/link.h"
#include "shared/link.h"
#include "shared/mono_timer.h"

#define LINK_HEADER           8  /* length and type before the payload of a frame */
#define LINK_USER_TYPE        16 /* first frame type that is not the link's own */
#define LINK_INTERFACE_OLDEST 1  /* lowest interface version spoken */

#define LINK_NEW_MAX          64   /* incoming connections without a valid hello; the oldest gives way */
#define LINK_NEW_PER_PEER     8    /* of one source address */
#define LINK_NEW_MS           5000 /* for its hello */
#define LINK_NEW_BUFFER       1024 /* bytes of it read before it is known; longest hello */
#define LINK_ACCEPT_BATCH     16   /* per event */
#define LINK_RECONNECT_MAX_MS 1000
#define LINK_BUFFER           (64U << 10)  /* read buffer of a connection unless a frame is larger */
#define LINK_BUFFER_KEEP      (1U << 20)   /* a buffer over this is given back when empty */
#define LINK_READ_MAX         (256U << 10) /* per event */
#define LINK_CHUNK            (64U << 10)  /* piece of the write queue; frames over half of it get one of their own */
#define LINK_WRITE_MAX        (1U << 20)   /* per event */

enum link_conn_state {
	LINK_CONN_CONNECTING, /* outgoing: TCP handshake */
	LINK_CONN_HELLO,      /* waiting for the hello of the other side */
	LINK_CONN_UP,
	LINK_CONN_CLOSED, /* ended while one of its frames is handled: freed by its reader */
};

struct link_peer;

struct link_conn {
	struct dlist entry; /* in mesh->new until it is up */
	struct dlist dirty; /* in mesh->dirty: has something to write, nobody waits for writability */
	struct link_mesh *mesh;
	struct link_peer *peer; /* whose address it has; its hello must agree */
	enum link_conn_state state;
	bool outgoing, reading;
	int fd;
	struct tevent_fd *fde;
	struct mono deadline; /* to be up */
	struct mono up_since, received;

	uint8_t *buffer; /* [start, end) is not yet handled */
	size_t capacity, start, end;

	struct dlist chunks; /* to be written */
	struct link_chunk *spare;
	size_t queued;
};

/* A node of the nodes list, except the own one. */
struct link_peer {
	struct link_mesh *mesh;
	uint32_t pnn;
	struct sockaddr_storage addr;
	char *text;
	struct link_conn *conn; /* up, or NULL */
	struct link_conn *out;  /* being made by us, or NULL */
	struct mono connect_at;
	uint32_t wait_ms;
	bool congested; /* drained() is owed */
	uint64_t incarnation;
	char last_failure[128]; /* of connecting: logged again only if it changes */
	struct link_stats stats;
};

struct link_mesh {
	struct tevent_context *ev;
	struct link_config config;
	uint32_t reconnect_max_ms;
	const struct link_ops *ops;
	void *priv;
	struct sockaddr_storage addr; /* own, with port */
	struct link_peer **peers;     /* by pnn; NULL: deleted or own */
	uint32_t n_peers;
	int listen_fd;
	struct tevent_fd *listen_fde;
	struct mono accept_again; /* when out of descriptors */
	struct dlist new;         /* connections that are not up, oldest first */
	unsigned n_new;           /* incoming ones among them */
	struct dlist dirty;
	struct tevent_immediate *flush;
	bool flush_scheduled;
	struct mono_timer *timer;
	struct mono wake; /* what the timer is set to */
	struct mono next_heartbeat;
	unsigned busy; /* callbacks may be running: the mesh must not be freed now */
};

/* ---- link.c ---- */
void link_wake_at(struct link_mesh *mesh, struct mono when); /* timer fires then, or earlier */
struct link_peer *link_peer_by_addr(const struct link_mesh *mesh, const struct sockaddr_storage *addr);

/* ---- link_conn.c ---- */
void link_accept(struct link_mesh *mesh);
void link_connect(struct link_peer *peer);
/*
 * Every connection ends here, whatever happened. reason: errno for down(); why: for the log. Calls down() last if it
 * was up and told is set. conn is gone afterwards, unless it is reading: then its state is LINK_CONN_CLOSED.
 */
void link_conn_end(struct link_conn *conn, bool told, int reason, const char *why);
/* Its hello was valid. Calls up(); conn may be closed afterwards. */
void link_conn_up(struct link_conn *conn, uint64_t incarnation);
void link_address_text(const struct sockaddr_storage *addr, char text[64]);

/* ---- link_hello.c ---- */
int link_hello_queue(struct link_conn *conn);
/* The first frame. May end conn. */
void link_hello_frame(struct link_conn *conn, uint32_t type, const uint8_t *data, size_t len);
/* The link's own frames once it is up. May end conn. */
void link_own_frame(struct link_conn *conn, uint32_t type, const uint8_t *data, size_t len);
void link_ping_queue(struct link_conn *conn, uint32_t type, uint64_t stamp);

/* ---- link_out.c ---- */
/* Copies a frame to the queue and has it written at the end of this turn. 0 or ENOMEM. */
int link_out_append(struct link_conn *conn, uint32_t type, const struct iovec *parts, int n_parts, size_t len);
/* Writes what the kernel takes. May end conn, or call drained(). */
void link_out_flush(struct link_conn *conn);
void link_out_flush_all(struct tevent_context *ev, struct tevent_immediate *im, void *priv);

#endif
