/* Rings of relays that do nothing. */
#include "relay.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <talloc.h>
#include <time.h>
#include <unistd.h>

#define RELAY_PORT      4399U
#define RELAY_PATIENCE  (30 * 1000000000ULL)
#define RELAY_PAUSE_NS  10000000U
#define RELAY_END_MS    10000 /* a relay without a packet for so long ends; its parent ends it before */
#define RELAY_BUFFER    (64U * 1024U)
#define RELAY_FRAME_LEN 128U /* as a packet of a ring: headers, key or number, a little data */

enum relay_kind { RELAY_MESSAGE, RELAY_CALL, RELAY_FORWARD, RELAY_GRANT };

/* Places in the ring, not node numbers. */
struct relay_frame {
	uint32_t kind;
	uint32_t to, requester;
	uint32_t maker;
	uint64_t sent; /* of MESSAGE, by the clock of its maker's node */
	uint8_t rest[RELAY_FRAME_LEN - 24];
};
_Static_assert(sizeof(struct relay_frame) == RELAY_FRAME_LEN, "frame");

struct relay_end {
	int fd;
	size_t have;
	uint8_t in[RELAY_BUFFER];
};

struct relay {
	uint32_t n, self;
	uint32_t tail;            /* at the location master: whose the record is */
	struct relay_end *client; /* the daemon's end */
	struct relay_end *peers[GROUP_MAX];
};

/* The client's end, made before the client and the relay are. */
static int client_end = -1;
static pid_t relay_pid;

/* ---- sockets ---- */

static void write_all(int fd, const void *data, size_t len)
{
	const uint8_t *p = data;

	while (len > 0) {
		ssize_t n = send(fd, p, len, MSG_NOSIGNAL);

		if (n < 0 && errno != EINTR) {
			_exit(0); /* the other side has ended: so does the run */
		}
		p += n > 0 ? n : 0;
		len -= n > 0 ? (size_t)n : 0;
	}
}

static struct relay_end *end_new(int fd)
{
	struct relay_end *e = calloc(1, sizeof(*e));

	if (e == NULL) {
		fail("out of memory");
	}
	e->fd = fd;
	return e;
}

static int tcp_socket(const union ctdb_addr *addr)
{
	int fd = socket(addr->sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

	if (fd == -1 || setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) != 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) != 0) {
		fail("a TCP socket: %s", strerror(errno));
	}
	return fd;
}

static union ctdb_addr relay_address(const struct ctdb_nodemap *map, uint32_t pnn)
{
	union ctdb_addr addr = {0};

	for (uint32_t i = 0; i < map->n; i++) {
		if (map->nodes[i].pnn == pnn) {
			addr = map->nodes[i].addr;
		}
	}
	if (addr.sa.sa_family == AF_INET) {
		addr.in.sin_port = htons(RELAY_PORT);
	} else if (addr.sa.sa_family == AF_INET6) {
		addr.in6.sin6_port = htons(RELAY_PORT);
	} else {
		fail("the daemon does not say which address node %u has", pnn);
	}
	return addr;
}

static socklen_t address_len(const union ctdb_addr *addr)
{
	return addr->sa.sa_family == AF_INET ? sizeof(addr->in) : sizeof(addr->in6);
}

static int relay_listen(const union ctdb_addr *addr)
{
	int fd = tcp_socket(addr);

	if (bind(fd, &addr->sa, address_len(addr)) != 0 || listen(fd, GROUP_MAX) != 0) {
		fail("listening on TCP port %u of this node: %s", RELAY_PORT, strerror(errno));
	}
	return fd;
}

static int relay_connect(const union ctdb_addr *addr, uint32_t pnn)
{
	uint64_t end = bench_now() + RELAY_PATIENCE;

	for (;;) {
		int fd = tcp_socket(addr);

		if (connect(fd, &addr->sa, address_len(addr)) == 0) {
			return fd;
		}
		if (bench_now() > end) {
			fail("no relay answers on node %u, TCP port %u: %s", pnn, RELAY_PORT, strerror(errno));
		}
		close(fd);
		sleep_until(bench_now() + RELAY_PAUSE_NS);
	}
}

/* To those before this one in the ring; those behind it connect, and say who they are. */
static void relay_mesh(struct relay *r, const struct group *g, const struct ctdb_nodemap *map, int listener)
{
	for (uint32_t i = 0; i < r->self; i++) {
		union ctdb_addr addr = relay_address(map, g->pnn[i]);

		r->peers[i] = end_new(relay_connect(&addr, g->pnn[i]));
		write_all(r->peers[i]->fd, &r->self, sizeof(r->self));
	}
	for (uint32_t i = r->self + 1; i < r->n; i++) {
		int fd = accept(listener, NULL, NULL), one = 1;
		uint32_t place;

		if (fd == -1 || recv(fd, &place, sizeof(place), MSG_WAITALL) != sizeof(place) || place >= r->n ||
		    r->peers[place] != NULL) {
			fail("somebody who is no relay connected to TCP port %u", RELAY_PORT);
		}
		(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		r->peers[place] = end_new(fd);
	}
	close(listener);
}

/* ---- relaying ---- */

static void relay_frame(struct relay *r, struct relay_frame *f)
{
	if (f->kind == RELAY_CALL && r->self == 0) {
		f->kind = RELAY_FORWARD;
		f->to = r->tail;
		r->tail = f->requester;
	}
	if (f->kind == RELAY_FORWARD && f->to == r->self) {
		f->kind = RELAY_GRANT;
		f->to = f->requester;
	}
	write_all(f->to == r->self ? r->client->fd : r->peers[f->to]->fd, f, sizeof(*f));
}

static void relay_read(struct relay *r, struct relay_end *e)
{
	ssize_t n = recv(e->fd, e->in + e->have, sizeof(e->in) - e->have, MSG_DONTWAIT);
	size_t used = 0;

	if (n == 0 || (n < 0 && errno != EAGAIN)) {
		_exit(0);
	}
	e->have += n > 0 ? (size_t)n : 0;
	while (e->have - used >= RELAY_FRAME_LEN) {
		struct relay_frame f;

		memcpy(&f, e->in + used, sizeof(f));
		used += sizeof(f);
		if (f.to >= r->n || f.requester >= r->n) {
			fail("a packet that no relay sends came to TCP port %u", RELAY_PORT);
		}
		relay_frame(r, &f);
	}
	e->have -= used;
	memmove(e->in, e->in + used, e->have);
}

static void relay_main(void *priv)
{
	struct relay *r = priv;
	int ep = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event ev;

	close(client_end);
	r->peers[r->self] = r->client;
	for (uint32_t i = 0; i < r->n; i++) {
		ev = (struct epoll_event){.events = EPOLLIN, .data.ptr = r->peers[i]};
		if (ep == -1 || epoll_ctl(ep, EPOLL_CTL_ADD, r->peers[i]->fd, &ev) != 0) {
			fail("epoll: %s", strerror(errno));
		}
	}
	while (epoll_wait(ep, &ev, 1, RELAY_END_MS) > 0) {
		relay_read(r, ev.data.ptr);
	}
}

static void relay_begin(struct crew *crew)
{
	struct relay *r = calloc(1, sizeof(*r));
	struct ctdb_nodemap *map;
	struct ctdb_data reply;
	union ctdb_addr own;
	int pair[2], listener;

	if (crew->clients != 1) {
		fail("--relay has one client on each node");
	}
	if (crew->work == &relay_fetch_work && *(const uint64_t *)crew->priv != 1) {
		fail("--relay has one record: --tokens is 1");
	}
	session_need(crew->s, CTDB_NODE_CURRENT, CTDB_CONTROL_GET_NODEMAP, 0, (struct ctdb_data){0}, &reply);
	if (r == NULL || ctdb_wire_get_nodemap(NULL, reply, &map) != 0) {
		fail("the daemon's list of nodes cannot be read");
	}
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) {
		fail("a pair of sockets: %s", strerror(errno));
	}
	r->n = crew->group.n;
	r->self = group_place(&crew->group);
	r->client = end_new(pair[0]);
	own = relay_address(map, crew->s->pnn);
	listener = relay_listen(&own);
	relay_mesh(r, &crew->group, map, listener);
	talloc_free(map);
	client_end = pair[1];
	relay_pid = process_start(relay_main, r);
	close(pair[0]);
}

static void relay_end(struct crew *crew, json_t *result)
{
	close(client_end);
	process_wait(relay_pid);
	json_object_set_new(result, "relay", json_true());
}

/* ---- the client ---- */

static void nothing(struct member *m)
{
}

/* false: the time is over. */
static bool frame_wait(const struct member *m, struct relay_frame *f)
{
	struct timespec t;
	fd_set set;
	uint64_t now = bench_now(), end = crew_end(m);

	FD_ZERO(&set);
	FD_SET(client_end, &set);
	t = (struct timespec){.tv_sec = now < end ? (time_t)((end - now) / 1000000000U) : 0,
			      .tv_nsec = now < end ? (long)((end - now) % 1000000000U) : 0};
	return pselect(client_end + 1, &set, NULL, NULL, &t, NULL) == 1 &&
	       recv(client_end, f, sizeof(*f), MSG_WAITALL) == sizeof(*f);
}

static struct relay_frame frame_to(const struct member *m, enum relay_kind kind, uint32_t ahead)
{
	const struct group *g = &m->crew->group;
	uint32_t self = group_place(g);

	return (struct relay_frame){
		.kind = kind, .to = (self + ahead) % g->n, .requester = self, .maker = self, .sent = bench_now()};
}

static void relay_message_run(struct member *m)
{
	uint64_t tokens = *(const uint64_t *)m->crew->priv;
	uint32_t self = group_place(&m->crew->group);
	struct relay_frame f;

	for (uint64_t i = self; i < tokens; i += m->crew->group.n) {
		f = frame_to(m, RELAY_MESSAGE, 1);
		write_all(client_end, &f, sizeof(f));
	}
	while (crew_goes_on(m) && frame_wait(m, &f)) {
		bool counted = bench_now() >= m->crew->times[0];

		m->count->all++;
		m->count->operations += counted;
		if (f.maker == self) {
			if (counted) {
				hist_add(&m->count->latency, bench_now() - f.sent);
			}
			f.sent = bench_now();
		}
		f.to = (self + 1) % m->crew->group.n;
		write_all(client_end, &f, sizeof(f));
	}
}

static void relay_fetch_run(struct member *m)
{
	struct relay_frame f;
	bool turn = group_place(&m->crew->group) == 0;

	while (crew_goes_on(m) && (turn || frame_wait(m, &f))) {
		uint64_t began = bench_now();

		turn = false;
		f = frame_to(m, RELAY_CALL, 0);
		f.to = 0;
		write_all(client_end, &f, sizeof(f));
		if (!frame_wait(m, &f)) {
			break;
		}
		crew_count(m, began);
		f = frame_to(m, RELAY_MESSAGE, 1);
		write_all(client_end, &f, sizeof(f));
	}
}

const struct crew_work relay_message_work = {.name = "message-ring",
					     .operation = "message received",
					     .latency = "once round the ring",
					     .begin = relay_begin,
					     .prepare = nothing,
					     .run = relay_message_run,
					     .end = relay_end};
const struct crew_work relay_fetch_work = {.name = "fetch-ring",
					   .operation = "record locked and stored",
					   .latency = "locking",
					   .begin = relay_begin,
					   .prepare = nothing,
					   .run = relay_fetch_run,
					   .end = relay_end};
