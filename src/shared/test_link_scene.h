/* For tests of links over two paths: node 1 reaches each address of node 0 through a relay that can fall silent or
 * close. */
#ifndef SHARED_TEST_LINK_SCENE_H
#define SHARED_TEST_LINK_SCENE_H

#include "test_link_util.h"

#include "base/dlist.h"

/* ---- a relay: the network of one path ---- */

#define RELAY_BUFFER 65536

struct relay {
	struct cluster *c;
	int listen_fd;
	struct sockaddr_in from, to; /* connections go on from the one to the other */
	bool closed, paused;
	struct dlist pipes;
	struct tevent_fd *fde;
};

/* One direction of a relayed connection. */
struct pipe_end {
	int fd;
	struct tevent_fd *fde;
	uint8_t data[RELAY_BUFFER];
	size_t len;
};

struct relayed {
	struct dlist entry;
	struct relay *r;
	struct pipe_end end[2]; /* data: read from fd, for the other one */
};

static inline struct sockaddr_in address(const struct cluster *c, unsigned net, unsigned host, bool port)
{
	return (struct sockaddr_in){.sin_family = AF_INET,
				    .sin_addr.s_addr = htonl(0x7f000000U + net * 256 + host),
				    .sin_port = htons(port ? c->port : 0)};
}

static inline int relayed_destructor(struct relayed *p)
{
	dlist_remove(&p->entry);
	for (int i = 0; i < 2; i++) {
		TALLOC_FREE(p->end[i].fde);
		close(p->end[i].fd);
	}
	return 0;
}

static inline void relay_event(struct tevent_context *ev, struct tevent_fd *fde, uint16_t flags, void *priv)
{
	struct relayed *p = priv;

	for (int i = 0; i < 2; i++) {
		struct pipe_end *a = &p->end[i], *b = &p->end[1 - i];
		ssize_t n = -1;

		errno = EAGAIN;
		if (a->len == 0) {
			n = recv(a->fd, a->data, sizeof(a->data), MSG_DONTWAIT);
			a->len = n > 0 ? (size_t)n : 0;
		}
		if (n == 0 || (n < 0 && errno != EAGAIN)) {
			talloc_free(p);
			return;
		}
		n = a->len > 0 ? send(b->fd, a->data, a->len, MSG_DONTWAIT | MSG_NOSIGNAL) : 0;
		if (n > 0) {
			a->len -= (size_t)n;
			memmove(a->data, a->data + n, a->len);
		}
		tevent_fd_set_flags(b->fde, (b->len == 0 ? TEVENT_FD_READ : 0) | (a->len > 0 ? TEVENT_FD_WRITE : 0));
		tevent_fd_set_flags(a->fde, (a->len == 0 ? TEVENT_FD_READ : 0) | (b->len > 0 ? TEVENT_FD_WRITE : 0));
	}
}

static inline void relay_flags(struct relay *r)
{
	dlist_for_each(pos, &r->pipes)
	{
		struct relayed *p = dlist_entry(pos, struct relayed, entry);

		for (int i = 0; i < 2; i++) {
			tevent_fd_set_flags(p->end[i].fde, r->paused ? 0 : TEVENT_FD_READ | TEVENT_FD_WRITE);
		}
	}
	tevent_fd_set_flags(r->fde, r->paused ? 0 : TEVENT_FD_READ);
}

static inline void relay_accept(struct tevent_context *ev, struct tevent_fd *fde, uint16_t flags, void *priv)
{
	struct relay *r = priv;
	struct relayed *p;
	int fd = accept4(r->listen_fd, NULL, NULL, SOCK_CLOEXEC);
	int on = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0 && on >= 0);
	if (r->closed || bind(on, (struct sockaddr *)&r->from, sizeof(r->from)) != 0 ||
	    connect(on, (struct sockaddr *)&r->to, sizeof(r->to)) != 0) {
		close(fd);
		close(on);
		return;
	}
	p = talloc_zero(r, struct relayed);
	p->r = r;
	p->end[0].fd = fd;
	p->end[1].fd = on;
	for (int i = 0; i < 2; i++) {
		p->end[i].fde = tevent_add_fd(r->c->ev, p, p->end[i].fd, TEVENT_FD_READ, relay_event, p);
	}
	dlist_add_tail(&r->pipes, &p->entry);
	talloc_set_destructor(p, relayed_destructor);
}

static inline int relay_destructor(struct relay *r)
{
	while (!dlist_empty(&r->pipes)) {
		talloc_free(dlist_entry(dlist_first(&r->pipes), struct relayed, entry));
	}
	TALLOC_FREE(r->fde);
	close(r->listen_fd);
	return 0;
}

/* What node 1 takes for address number path of node 0: 127.0.(2 + path).11. */
static inline struct relay *relay_start(struct cluster *c, unsigned path)
{
	struct relay *r = talloc_zero(c, struct relay);
	struct sockaddr_in own = address(c, 2 + path, 11, true);
	int on = 1;

	r->c = c;
	r->from = address(c, path, 12, false);
	r->to = address(c, path, 11, true);
	dlist_init(&r->pipes);
	r->listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	setsockopt(r->listen_fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	assert_int_equal(bind(r->listen_fd, (struct sockaddr *)&own, sizeof(own)), 0);
	assert_int_equal(listen(r->listen_fd, 10), 0);
	r->fde = tevent_add_fd(c->ev, r, r->listen_fd, TEVENT_FD_READ, relay_accept, r);
	talloc_set_destructor(r, relay_destructor);
	return r;
}

static inline void relay_close(struct relay *r)
{
	r->closed = true;
	while (!dlist_empty(&r->pipes)) {
		talloc_free(dlist_entry(dlist_first(&r->pipes), struct relayed, entry));
	}
}

static inline void relay_pause(struct relay *r, bool paused)
{
	r->paused = paused;
	relay_flags(r);
}

/* ---- two nodes with two relayed paths ---- */

struct scene {
	struct cluster *c;
	struct relay *relay[2];
	struct node *n[2];
};

/* Node 0 listens; node 1, which connects, is not started yet. */
static inline struct scene scene_new(uint32_t dead_ms, bool tls)
{
	struct scene s = {.c = util_cluster(2)};
	struct conf_nodes *behind;
	char text[32];

	s.c->list = util_nodes_paths(s.c, 2, 2);
	behind = util_nodes_paths(s.c, 2, 2);
	util_key(s.c->keys, 0);
	for (unsigned i = 0; i < 2; i++) {
		snprintf(text, sizeof(text), "127.0.%u.11", 2 + i);
		util_node_addr(behind, 0, i, text);
		s.n[i] = &s.c->node[i];
		s.n[i]->config.n_classes = LINK_CLASSES;
		s.n[i]->config.heartbeat_ms = 50;
		s.n[i]->config.dead_ms = dead_ms;
		s.n[i]->config.keys = tls ? s.c->keys : NULL;
	}
	s.n[1]->list = behind;
	util_start(s.c, 0);
	for (unsigned i = 0; i < 2; i++) {
		s.relay[i] = relay_start(s.c, i);
	}
	return s;
}

static inline bool ready(const struct node *n, uint32_t pnn, unsigned path)
{
	struct link_stats stats;

	link_stats(n->mesh, pnn, &stats);
	return stats.path[path].up;
}

static inline bool active(const struct node *n, uint32_t pnn, unsigned path)
{
	struct link_stats stats;

	link_stats(n->mesh, pnn, &stats);
	return stats.up && stats.path[path].active;
}

static inline bool both_ready(const struct scene *s)
{
	return ready(s->n[0], 1, 0) && ready(s->n[0], 1, 1) && ready(s->n[1], 0, 0) && ready(s->n[1], 0, 1);
}

static inline bool both_active(const struct scene *s, unsigned path)
{
	return active(s->n[0], 1, path) && active(s->n[1], 0, path);
}

static inline struct scene scene_up(uint32_t dead_ms, bool tls)
{
	struct scene s = scene_new(dead_ms, tls);

	util_start(s.c, 1);
	WAIT_FOR(s.c, both_ready(&s) && both_active(&s, 0));
	return s;
}

static inline void expect_flow(const struct scene *s)
{
	for (uint32_t i = 0; i < 2; i++) {
		uint64_t before = s->n[1 - i]->frames[i];
		struct iovec part = {.iov_base = (void *)(uintptr_t) "flow", .iov_len = 4};

		assert_int_equal(link_send_class(s->n[i]->mesh, 1 - i, LINK_CLASS_CONTROL, TYPE_DATA, &part, 1), 0);
		assert_int_equal(link_send_class(s->n[i]->mesh, 1 - i, LINK_CLASS_BULK, TYPE_DATA, &part, 1), 0);
		WAIT_FOR(s->c, s->n[1 - i]->frames[i] == before + 2);
	}
}

#endif
