/* The other side of the client socket: listening, connections, framing. */
#include "server.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define CONNS_MAX       1024U
#define REQUESTS_MAX    4096U
#define IN_MIN          65536U
#define ACCEPT_PAUSE_MS 100U
#define BACKLOG         100

static void conn_event(struct tevent_context *ev, struct tevent_fd *fde, uint16_t flags, void *priv);

/* ---- life of a connection ---- */

static int conn_destructor(struct ctdb_server_conn *c)
{
	if (c->freed != NULL) {
		*c->freed = true;
	}
	dlist_remove(&c->link);
	c->server->n_conns--;
	TALLOC_FREE(c->fde); /* before the descriptor */
	close(c->fd);
	c->closing = true; /* requests that go now do not answer */
	return 0;
}

static void conn_end(struct tevent_context *ev, struct tevent_immediate *im, void *priv)
{
	struct ctdb_server_conn *c = priv;

	if (c->server->h.closed != NULL) {
		c->server->h.closed(c->server->priv, c);
	}
	talloc_free(c);
}

void ctdb_server_conn_close(struct ctdb_server_conn *c)
{
	if (c->closing) {
		return;
	}
	c->closing = true;
	TALLOC_FREE(c->fde);
	tevent_schedule_immediate(c->end, c->server->ev, conn_end, c);
}

static struct ctdb_server_conn *conn_new(struct ctdb_server *s, int fd)
{
	struct ctdb_server_conn *c = talloc_zero(s, struct ctdb_server_conn);
	socklen_t len = sizeof(c->peer);

	if (c == NULL) {
		return NULL;
	}
	c->server = s;
	c->fd = fd;
	dlist_init(&c->out);
	c->end = tevent_create_immediate(c);
	c->fde = tevent_add_fd(s->ev, c, fd, TEVENT_FD_READ, conn_event, c);
	if (c->end == NULL || c->fde == NULL || getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &c->peer, &len) != 0) {
		talloc_free(c);
		return NULL;
	}
	dlist_add_tail(&s->conns, &c->link);
	s->n_conns++;
	talloc_set_destructor(c, conn_destructor);
	return c;
}

/* ---- out ---- */

/* Sends what the socket takes. */
static void out_send(struct ctdb_server_conn *c)
{
	struct dlist *e;

	while ((e = dlist_first(&c->out)) != NULL) {
		struct out *o = dlist_entry(e, struct out, link);
		ssize_t n = send(c->fd, o->bytes.data + o->sent, o->bytes.len - o->sent, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0) {
			if (errno != EAGAIN && errno != EINTR) {
				ctdb_server_conn_close(c);
				return;
			}
			TEVENT_FD_WRITEABLE(c->fde);
			return;
		}
		o->sent += (size_t)n;
		c->out_bytes -= (size_t)n;
		if (o->sent == o->bytes.len) {
			dlist_remove(e);
			talloc_free(o);
		}
	}
	TEVENT_FD_NOT_WRITEABLE(c->fde);
}

int ctdb_server_send_bytes(struct ctdb_server_conn *c, struct ctdb_data bytes)
{
	struct out *o;

	if (c->closing) {
		return ENOTCONN;
	}
	if (bytes.len == 0) {
		return 0;
	}
	if (c->out_bytes + bytes.len > QUEUE_MAX_BYTES) {
		ctdb_server_conn_close(c); /* it does not read */
		return ENOTCONN;
	}
	o = talloc_zero(c, struct out);
	if (o != NULL) {
		o->bytes = data_of(talloc_memdup(o, bytes.data, bytes.len), bytes.len);
	}
	if (o == NULL || o->bytes.data == NULL) {
		talloc_free(o);
		return ENOMEM;
	}
	dlist_add_tail(&c->out, &o->link);
	c->out_bytes += bytes.len;
	out_send(c);
	return c->closing ? ENOTCONN : 0;
}

int server_send(struct ctdb_server_conn *c, struct ctdb_wire_packet *packet)
{
	struct ctdb_data bytes;
	int err;

	if (c->closing) {
		return ENOTCONN;
	}
	packet->srcnode = c->server->pnn;
	packet->generation = c->server->generation;
	err = ctdb_wire_build(c, packet, &bytes);
	if (err == 0) {
		err = ctdb_server_send_bytes(c, bytes);
		data_free(&bytes);
	}
	return err;
}

/* ---- in ---- */

/* Handles the complete packets. False: the connection is gone or closing. */
static bool packets_in(struct ctdb_server_conn *c)
{
	bool freed = false;
	size_t at = 0, used;

	c->freed = &freed;
	while (!c->closing && c->n_requests < REQUESTS_MAX) {
		struct ctdb_wire_packet packet;
		int err = ctdb_wire_parse(c->in + at, c->in_len - at, &packet, &used);

		if (err == EAGAIN) {
			break;
		}
		if (err == 0) {
			server_packet(c, &packet, data_of(c->in + at, used));
		}
		if (freed) {
			return false;
		}
		if (err == EBADMSG) {
			ctdb_server_conn_close(c);
			break;
		}
		at += used;
	}
	c->freed = NULL;
	memmove(c->in, c->in + at, c->in_len - at);
	c->in_len -= at;
	if (!c->closing && c->n_requests >= REQUESTS_MAX) {
		c->paused = true;
		TEVENT_FD_NOT_READABLE(c->fde);
	}
	return !c->closing;
}

/* A request is answered: what waits in the buffer goes on. From the event loop, since the answer came from a handler.
 */
static void conn_resume(struct tevent_context *ev, struct tevent_immediate *im, void *priv)
{
	struct ctdb_server_conn *c = priv;

	if (!c->closing && packets_in(c) && !c->paused) {
		TEVENT_FD_READABLE(c->fde);
	}
}

void server_request_gone(struct ctdb_server_conn *c)
{
	c->n_requests--;
	if (c->paused && !c->closing) {
		c->paused = false;
		tevent_schedule_immediate(c->end, c->server->ev, conn_resume, c);
	}
}

/* Room for the packet that has begun. */
static bool in_reserve(struct ctdb_server_conn *c)
{
	size_t want = IN_MIN;
	uint32_t len;
	uint8_t *in;

	if (c->in_len >= sizeof(len)) {
		memcpy(&len, c->in, sizeof(len)); /* was checked by ctdb_wire_parse() */
		want = len > want ? len : want;
	}
	if (c->in_size >= want && c->in_size <= 16 * want) {
		return true;
	}
	in = talloc_realloc(c, c->in, uint8_t, want);
	if (in == NULL) {
		return false;
	}
	c->in = in;
	c->in_size = want;
	return true;
}

static void conn_event(struct tevent_context *ev, struct tevent_fd *fde, uint16_t flags, void *priv)
{
	struct ctdb_server_conn *c = priv;
	ssize_t n;

	if ((flags & TEVENT_FD_WRITE) != 0) {
		out_send(c);
	}
	if (c->closing || (flags & TEVENT_FD_READ) == 0) {
		return;
	}
	if (!in_reserve(c)) {
		ctdb_server_conn_close(c);
		return;
	}
	n = recv(c->fd, c->in + c->in_len, c->in_size - c->in_len, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
		return;
	}
	if (n <= 0) {
		ctdb_server_conn_close(c);
		return;
	}
	c->in_len += (size_t)n;
	(void)packets_in(c);
}

/* ---- listening ---- */

static void accept_again(struct tevent_context *ev, struct tevent_timer *te, struct timeval now, void *priv)
{
	struct ctdb_server *s = priv;

	TEVENT_FD_READABLE(s->fde);
}

/* Out of descriptors or memory: who connects waits in the kernel's queue. */
static void accept_pause(struct ctdb_server *s)
{
	if (tevent_add_timer(s->ev, s, timeout_endtime(ACCEPT_PAUSE_MS), accept_again, s) != NULL) {
		TEVENT_FD_NOT_READABLE(s->fde);
	}
}

static void accept_event(struct tevent_context *ev, struct tevent_fd *fde, uint16_t flags, void *priv)
{
	struct ctdb_server *s = priv;
	struct ctdb_server_conn *c;
	int fd = accept4(s->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd == -1) {
		if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
			accept_pause(s);
		}
		return;
	}
	c = s->n_conns < CONNS_MAX ? conn_new(s, fd) : NULL;
	if (c == NULL) {
		close(fd);
		return;
	}
	if (s->h.connected != NULL) {
		s->h.connected(s->priv, c);
	}
}

static int server_destructor(struct ctdb_server *s)
{
	struct dlist *e;

	while ((e = dlist_first(&s->conns)) != NULL) {
		talloc_free(dlist_entry(e, struct ctdb_server_conn, link));
	}
	TALLOC_FREE(s->fde);
	close(s->fd);
	unlink(s->addr.sun_path);
	return 0;
}

/* A socket that nobody listens at may go. */
static bool socket_is_dead(const struct sockaddr_un *addr)
{
	struct stat st;
	int fd, err;

	if (lstat(addr->sun_path, &st) != 0 || !S_ISSOCK(st.st_mode)) {
		return false;
	}
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd == -1) {
		return false;
	}
	err = connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) == 0 ? 0 : errno;
	close(fd);
	return err == ECONNREFUSED;
}

/* The listening socket. 0 or errno. */
static int socket_open(const struct sockaddr_un *addr, int *out)
{
	int err = 0, fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd == -1) {
		return errno;
	}
	if (bind(fd, (const struct sockaddr *)addr, sizeof(*addr)) != 0) {
		err = errno;
		if (err == EADDRINUSE && socket_is_dead(addr) && unlink(addr->sun_path) == 0) {
			err = bind(fd, (const struct sockaddr *)addr, sizeof(*addr)) == 0 ? 0 : errno;
		}
	}
	if (err == 0 && (chmod(addr->sun_path, 0700) != 0 || listen(fd, BACKLOG) != 0)) {
		err = errno;
		unlink(addr->sun_path);
	}
	if (err != 0) {
		close(fd);
		return err;
	}
	*out = fd;
	return 0;
}

int ctdb_server_listen(TALLOC_CTX *mem, struct tevent_context *ev, const char *path,
		       const struct ctdb_server_handlers *handlers, void *priv, struct ctdb_server **server)
{
	struct ctdb_server *s;
	int err;

	if (strlen(path) >= sizeof(s->addr.sun_path)) {
		return ENAMETOOLONG;
	}
	s = talloc_zero(mem, struct ctdb_server);
	if (s == NULL) {
		return ENOMEM;
	}
	s->ev = ev;
	s->h = *handlers;
	s->priv = priv;
	s->generation = CTDB_GENERATION_INVALID;
	s->addr.sun_family = AF_UNIX;
	memcpy(s->addr.sun_path, path, strlen(path) + 1);
	dlist_init(&s->conns);
	err = socket_open(&s->addr, &s->fd);
	if (err != 0) {
		talloc_free(s);
		return err;
	}
	talloc_set_destructor(s, server_destructor);
	s->fde = tevent_add_fd(ev, s, s->fd, TEVENT_FD_READ, accept_event, s);
	if (s->fde == NULL) {
		talloc_free(s);
		return ENOMEM;
	}
	*server = s;
	return 0;
}

void ctdb_server_set_identity(struct ctdb_server *s, uint32_t pnn, uint32_t generation)
{
	s->pnn = pnn;
	s->generation = generation;
}

uint32_t ctdb_server_n_conns(const struct ctdb_server *s)
{
	return s->n_conns;
}

pid_t ctdb_server_conn_pid(const struct ctdb_server_conn *c)
{
	return c->peer.pid;
}

uid_t ctdb_server_conn_uid(const struct ctdb_server_conn *c)
{
	return c->peer.uid;
}

void ctdb_server_conn_set_private(struct ctdb_server_conn *c, void *priv)
{
	c->priv = priv;
}

void *ctdb_server_conn_private(const struct ctdb_server_conn *c)
{
	return c->priv;
}
