/* Tests of links over two paths: which one is used, how another takes over, what the peer may not do; version 1 peers.
 */
#include "test_link_util.h"

#include "base/dlist.h"
#include "shared/log.h"

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

static struct sockaddr_in address(const struct cluster *c, unsigned net, unsigned host, bool port)
{
	return (struct sockaddr_in){.sin_family = AF_INET,
				    .sin_addr.s_addr = htonl(0x7f000000U + net * 256 + host),
				    .sin_port = htons(port ? c->port : 0)};
}

static int relayed_destructor(struct relayed *p)
{
	dlist_remove(&p->entry);
	for (int i = 0; i < 2; i++) {
		TALLOC_FREE(p->end[i].fde);
		close(p->end[i].fd);
	}
	return 0;
}

static void relay_event(struct tevent_context *ev, struct tevent_fd *fde, uint16_t flags, void *priv)
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

static void relay_flags(struct relay *r)
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

static void relay_accept(struct tevent_context *ev, struct tevent_fd *fde, uint16_t flags, void *priv)
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

static int relay_destructor(struct relay *r)
{
	while (!dlist_empty(&r->pipes)) {
		talloc_free(dlist_entry(dlist_first(&r->pipes), struct relayed, entry));
	}
	TALLOC_FREE(r->fde);
	close(r->listen_fd);
	return 0;
}

/* What node 1 takes for address number path of node 0: 127.0.(2 + path).11. */
static struct relay *relay_start(struct cluster *c, unsigned path)
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

static void relay_close(struct relay *r)
{
	r->closed = true;
	while (!dlist_empty(&r->pipes)) {
		talloc_free(dlist_entry(dlist_first(&r->pipes), struct relayed, entry));
	}
}

static void relay_pause(struct relay *r, bool paused)
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
static struct scene scene_new(uint32_t dead_ms, bool tls)
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

static bool ready(const struct node *n, uint32_t pnn, unsigned path)
{
	struct link_stats stats;

	link_stats(n->mesh, pnn, &stats);
	return stats.path[path].up;
}

static bool active(const struct node *n, uint32_t pnn, unsigned path)
{
	struct link_stats stats;

	link_stats(n->mesh, pnn, &stats);
	return stats.up && stats.path[path].active;
}

static bool both_ready(const struct scene *s)
{
	return ready(s->n[0], 1, 0) && ready(s->n[0], 1, 1) && ready(s->n[1], 0, 0) && ready(s->n[1], 0, 1);
}

static bool both_active(const struct scene *s, unsigned path)
{
	return active(s->n[0], 1, path) && active(s->n[1], 0, path);
}

static struct scene scene_up(uint32_t dead_ms, bool tls)
{
	struct scene s = scene_new(dead_ms, tls);

	util_start(s.c, 1);
	WAIT_FOR(s.c, both_ready(&s) && both_active(&s, 0));
	return s;
}

static void expect_flow(const struct scene *s)
{
	for (uint32_t i = 0; i < 2; i++) {
		uint64_t before = s->n[1 - i]->frames[i];
		struct iovec part = {.iov_base = (void *)(uintptr_t) "flow", .iov_len = 4};

		assert_int_equal(link_send_class(s->n[i]->mesh, 1 - i, LINK_CLASS_CONTROL, TYPE_DATA, &part, 1), 0);
		assert_int_equal(link_send_class(s->n[i]->mesh, 1 - i, LINK_CLASS_BULK, TYPE_DATA, &part, 1), 0);
		WAIT_FOR(s->c, s->n[1 - i]->frames[i] == before + 2);
	}
}

static void test_standby(void **state)
{
	struct scene s = scene_up(20000, false);
	struct link_stats stats;

	expect_flow(&s);
	link_stats(s.n[1]->mesh, 0, &stats);
	assert_int_equal(stats.n_paths, 2);
	assert_string_equal(stats.path[0].address, "127.0.2.11");
	assert_string_equal(stats.path[1].address, "127.0.3.11");
	assert_string_equal(stats.path[1].security, "none");
	assert_true(stats.path[0].active && !stats.path[1].active);
	assert_int_equal(stats.switches, 0);
	/* the standby is known to work */
	WAIT_FOR(s.c, (link_stats(s.n[1]->mesh, 0, &stats), stats.path[1].rtt_us > 0));
	WAIT_FOR(s.c, (link_stats(s.n[0]->mesh, 1, &stats), stats.path[1].rtt_us > 0));
	assert_int_equal(s.n[0]->ups[1], 1);
	assert_int_equal(s.n[1]->ups[0], 1);
	/* the standby may come and go: nobody notices */
	relay_close(s.relay[1]);
	WAIT_FOR(s.c, !ready(s.n[0], 1, 1) && !ready(s.n[1], 0, 1));
	s.relay[1]->closed = false;
	WAIT_FOR(s.c, both_ready(&s));
	assert_int_equal(s.n[0]->downs[1] + s.n[1]->downs[0], 0);
	talloc_free(s.c);
}

/* The link goes on over the other path; each side is told once that frames may be lost. */
static void expect_switch(struct scene *s, unsigned to)
{
	unsigned downs[2] = {s->n[0]->downs[1], s->n[1]->downs[0]};
	struct link_stats stats;
	uint64_t switches;

	link_stats(s->n[1]->mesh, 0, &stats);
	switches = stats.switches;
	WAIT_FOR(s->c, both_active(s, to) && s->n[0]->downs[1] == downs[0] + 1 && s->n[1]->downs[0] == downs[1] + 1);
	assert_int_equal(s->n[0]->ups[1], downs[0] + 2);
	assert_int_equal(s->n[1]->ups[0], downs[1] + 2);
	link_stats(s->n[1]->mesh, 0, &stats);
	assert_int_equal(stats.switches, switches + 1);
	expect_flow(s);
	assert_int_equal(s->n[0]->downs[1], downs[0] + 1);
	assert_int_equal(s->n[1]->downs[0], downs[1] + 1);
}

/* Silence is enough: nothing closes the first path. */
static void silent_takeover(bool tls)
{
	struct scene s = scene_up(3000, tls);
	char log[64], *err = NULL;

	snprintf(log, sizeof(log), "/tmp/test_link_path.%d.log", (int)getpid());
	unlink(log);
	assert_int_equal(log_init(s.c, "test", talloc_asprintf(s.c, "file:%s", log), LOG_LVL_NOTICE, &err), 0);
	relay_pause(s.relay[0], true);
	expect_switch(&s, 1);
	/* not after the dead interval, but because there is another one */
	assert_true(util_log_lines(log, "for 1500 ms, but path 1 is alive") >= 1);
	assert_int_equal(util_log_lines(log, "nothing was heard for 3000 ms"), 0);
	unlink(log);
	assert_int_equal(log_init(s.c, "test", "stderr", LOG_LVL_NOTICE, &err), 0);
	assert_int_equal(s.n[1]->reason[0], ETIMEDOUT);
	assert_int_equal(s.n[0]->reason[1], ETIMEDOUT);
	/* it comes back as standby, and the link stays where it is */
	relay_pause(s.relay[0], false);
	WAIT_FOR(s.c, both_ready(&s));
	util_run_ms(s.c, 300);
	assert_true(both_active(&s, 1));
	relay_pause(s.relay[1], true);
	expect_switch(&s, 0);
	talloc_free(s.c);
}

static void test_silent(void **state)
{
	silent_takeover(false);
}

static void test_silent_tls(void **state)
{
	silent_takeover(true);
}

static void test_closed(void **state)
{
	struct scene s = scene_up(20000, true);

	for (unsigned round = 0; round < 4; round++) {
		relay_close(s.relay[round % 2]);
		expect_switch(&s, 1 - round % 2);
		assert_int_equal(s.n[1]->reason[0], ECONNRESET);
		s.relay[round % 2]->closed = false;
		WAIT_FOR(s.c, both_ready(&s));
	}
	talloc_free(s.c);
}

/* One connection of the active path is enough. */
static void test_one_connection_lost(void **state)
{
	struct scene s = scene_up(20000, false);

	/* control is connected first, bulk second */
	talloc_free(dlist_entry(s.relay[0]->pipes.prev, struct relayed, entry));
	expect_switch(&s, 1);
	WAIT_FOR(s.c, both_ready(&s));
	talloc_free(dlist_entry(s.relay[1]->pipes.next, struct relayed, entry));
	expect_switch(&s, 0);
	talloc_free(s.c);
}

/* No other path: the link is down, and comes back on whichever is there first. */
static void test_all_lost(void **state)
{
	struct scene s = scene_up(20000, false);

	relay_close(s.relay[1]);
	WAIT_FOR(s.c, !ready(s.n[1], 0, 1));
	relay_close(s.relay[0]);
	WAIT_FOR(s.c, !link_is_up(s.n[0]->mesh, 1) && !link_is_up(s.n[1]->mesh, 0));
	assert_int_equal(util_send(s.n[0], 1, "x", 1), EHOSTUNREACH);
	s.relay[1]->closed = false;
	WAIT_FOR(s.c, both_active(&s, 1));
	expect_flow(&s);
	assert_int_equal(s.n[0]->downs[1], 1);
	assert_int_equal(s.n[1]->downs[0], 1);
	talloc_free(s.c);
}

static void test_first_path_missing(void **state)
{
	struct scene s = scene_new(20000, true);

	s.relay[0]->closed = true;
	util_start(s.c, 1);
	WAIT_FOR(s.c, both_active(&s, 1));
	expect_flow(&s);
	s.relay[0]->closed = false;
	WAIT_FOR(s.c, both_ready(&s));
	assert_true(both_active(&s, 1));
	assert_int_equal(s.n[0]->ups[1], 1);
	talloc_free(s.c);
}

/* A daemon that ends closes all its connections: that is one loss, not a take-over and another loss. */
static void test_restart(void **state)
{
	struct scene s = scene_up(20000, false);

	for (unsigned killed = 0; killed < 2; killed++) {
		struct node *left = s.n[1 - killed];
		unsigned downs = left->downs[killed], ups = left->ups[killed];

		util_stop(s.c, killed);
		WAIT_FOR(s.c, left->downs[killed] == downs + 1);
		util_run_ms(s.c, 100);
		assert_int_equal(left->ups[killed], ups);
		s.c->node[killed].config.incarnation += 10;
		util_start(s.c, killed);
		WAIT_FOR(s.c, both_active(&s, 0) || both_active(&s, 1));
		assert_int_equal(left->ups[killed], ups + 1);
		assert_int_equal(left->incarnation[killed], s.c->node[killed].config.incarnation);
		WAIT_FOR(s.c, both_ready(&s));
	}
	talloc_free(s.c);
}

/* ---- order across switches ---- */

/* A frame says in which period of its sender it was sent, and its number there. */
struct tagged {
	uint32_t period, number;
};

struct flow {
	struct tagged next[LINK_CLASSES], last[LINK_CLASSES];
	uint64_t taken;
	uint32_t seen_up[LINK_CLASSES]; /* period of the receiver in which the last one came */
};

static void flow_push(struct node *n, uint32_t to)
{
	struct flow *f = n->priv;

	for (uint32_t k = 0; k < LINK_CLASSES; k++) {
		if (f->next[k].period != n->ups[to]) {
			f->next[k] = (struct tagged){.period = n->ups[to]};
		}
		for (unsigned i = 0; i < 20; i++) {
			static uint8_t fill[70000];
			struct iovec parts[2] = {
				{.iov_base = &f->next[k], .iov_len = sizeof(f->next[k])},
				{.iov_base = fill,
				 .iov_len = (f->next[k].number * 7919U) % (k == 1 ? sizeof(fill) : 500)}};

			if (link_send_class(n->mesh, to, (enum link_class)k, TYPE_DATA + k, parts, 2) != 0) {
				break;
			}
			f->next[k].number++;
		}
	}
}

static void flow_take(struct node *n, uint32_t from, uint32_t type, const uint8_t *data, size_t len)
{
	struct flow *f = n->priv;
	uint32_t k = type - TYPE_DATA;
	struct tagged t;

	assert_true(k < LINK_CLASSES && len >= sizeof(t));
	memcpy(&t, data, sizeof(t));
	if (t.period == f->last[k].period) {
		assert_int_equal(t.number, f->last[k].number + 1); /* none missing, none twice, within a period */
		assert_int_equal(n->ups[from], f->seen_up[k]);     /* a period there is a period here */
	} else {
		assert_true(t.period > f->last[k].period);
		assert_int_equal(t.number, 0);
		assert_true(n->ups[from] > f->seen_up[k]);
	}
	f->last[k] = t;
	f->seen_up[k] = n->ups[from];
	f->taken++;
}

static void order_across_switches(bool tls, bool silent)
{
	struct scene s = scene_up(silent ? 800 : 20000, tls);
	struct flow f[2];

	memset(f, 0, sizeof(f));
	for (uint32_t i = 0; i < 2; i++) {
		s.n[i]->priv = &f[i];
		s.n[i]->on_frame = flow_take;
	}
	for (unsigned round = 0; round < 6; round++) {
		unsigned from = round % 2;
		uint64_t before[2] = {f[0].taken, f[1].taken};

		while (f[0].taken < before[0] + 2000 || f[1].taken < before[1] + 2000) {
			flow_push(s.n[0], 1);
			flow_push(s.n[1], 0);
			util_turn(s.c->ev);
		}
		if (silent) {
			relay_pause(s.relay[from], true);
		} else {
			relay_close(s.relay[from]);
		}
		while (!both_active(&s, 1 - from)) {
			flow_push(s.n[0], 1);
			flow_push(s.n[1], 0);
			util_turn(s.c->ev);
		}
		s.relay[from]->closed = false;
		relay_pause(s.relay[from], false);
		WAIT_FOR(s.c, both_ready(&s));
	}
	talloc_free(s.c);
}

static void test_order_closed(void **state)
{
	order_across_switches(false, false);
	order_across_switches(true, false);
}

static void test_order_silent(void **state)
{
	order_across_switches(true, true);
}

/* ---- version 1 ---- */

/* Node old speaks version 1: one connection carries all, in order, whoever connects, and paths are not asked for. */
static void version_1(uint32_t old)
{
	struct cluster *c = util_cluster(2);
	struct iovec part = {.iov_base = (void *)(uintptr_t) "x", .iov_len = 1};
	struct link_stats stats;

	c->list = util_nodes_paths(c, 2, 2);
	for (uint32_t i = 0; i < 2; i++) {
		c->node[i].config.n_classes = LINK_CLASSES;
		c->node[i].config.heartbeat_ms = 50;
	}
	c->node[old].config.interface_version = 1;
	util_start(c, 0);
	util_start(c, 1);
	WAIT_FOR(c, link_is_up(c->node[0].mesh, 1) && link_is_up(c->node[1].mesh, 0));
	for (uint32_t i = 0; i < 2; i++) {
		assert_int_equal(link_peer_version(c->node[i].mesh, 1 - i), 1);
		for (unsigned k = 0; k < 10; k++) {
			assert_int_equal(
				link_send_class(c->node[i].mesh, 1 - i, (enum link_class)(k % 2), TYPE_DATA, &part, 1),
				0);
		}
		assert_true(link_queued_class(c->node[i].mesh, 1 - i, LINK_CLASS_BULK) > 0);
		WAIT_FOR(c, c->node[1 - i].frames[i] == 10);
	}
	util_run_ms(c, 500);
	link_stats(c->node[1 - old].mesh, old, &stats);
	assert_true(stats.path[0].active && !stats.path[1].up);
	assert_int_equal(c->node[0].ups[1], 1);
	assert_int_equal(c->node[1].ups[0], 1);
	assert_int_equal(c->node[0].downs[1] + c->node[1].downs[0], 0);
	talloc_free(c);
}

static void test_version_1(void **state)
{
	version_1(0);
	version_1(1);
}

/* An upgrade: the old daemon goes, the new one comes, and the link is what both can. */
static void test_upgrade(void **state)
{
	struct scene s = scene_new(20000, true);

	s.n[0]->config.interface_version = 2;
	util_stop(s.c, 0);
	s.n[0]->config.interface_version = 1;
	util_start(s.c, 0);
	util_start(s.c, 1);
	WAIT_FOR(s.c, link_is_up(s.n[1]->mesh, 0));
	assert_int_equal(link_peer_version(s.n[1]->mesh, 0), 1);
	util_stop(s.c, 0);
	s.n[0]->config.interface_version = 2;
	s.n[0]->config.incarnation++;
	util_start(s.c, 0);
	WAIT_FOR(s.c, both_ready(&s) && (both_active(&s, 0) || both_active(&s, 1)));
	assert_int_equal(link_peer_version(s.n[1]->mesh, 0), 2);
	expect_flow(&s);
	talloc_free(s.c);
}

/* ---- a peer that does it wrong ---- */

/* Node 0 runs; the test is node 1, which connects, with all its connections. */
struct raw {
	struct cluster *c;
	struct node *n;
	int fd[LINK_PATHS][LINK_CLASSES];
};

static struct raw raw_new(void)
{
	struct raw r = {.c = util_cluster(2)};

	r.c->list = util_nodes_paths(r.c, 2, 2);
	r.n = &r.c->node[0];
	r.n->config.n_classes = LINK_CLASSES;
	r.n->config.dead_ms = 60000;
	util_start(r.c, 0);
	for (unsigned i = 0; i < LINK_PATHS; i++) {
		r.fd[i][0] = r.fd[i][1] = -1;
	}
	return r;
}

static int raw_class(struct raw *r, uint32_t path, uint32_t class, uint64_t bundle)
{
	struct link_hello hello = raw_hello(1, 0);
	uint8_t frame[256];
	int fd = raw_connect_path(r->c, path, 12, 0);

	hello.interface_version = 2;
	hello.path = path;
	hello.link_class = class;
	hello.n_classes = LINK_CLASSES;
	hello.bundle = bundle;
	raw_write(fd, frame, raw_hello_frame(frame, &hello));
	return fd;
}

/* Waits for the answer to a hello. */
static bool raw_answered(struct raw *r, int fd)
{
	uint8_t data[512];
	ssize_t n = -1;

	WAIT_FOR(r->c, (n = recv(fd, data, sizeof(data), 0)) >= 0 || errno != EAGAIN);
	return n > 8 && data[7] == LINK_FRAME_HELLO;
}

static void raw_path(struct raw *r, uint32_t path, uint64_t bundle)
{
	for (uint32_t k = 0; k < LINK_CLASSES; k++) {
		if (r->fd[path][k] >= 0) {
			close(r->fd[path][k]);
		}
		r->fd[path][k] = raw_class(r, path, k, bundle);
		assert_true(raw_answered(r, r->fd[path][k]));
	}
	WAIT_FOR(r->c, ready(r->n, 1, path));
}

static void raw_use(struct raw *r, int fd, uint64_t generation)
{
	uint8_t frame[32], number[8];
	struct xdr_out out = {.p = number, .end = number + 8};

	xdr_put_u64(&out, generation);
	raw_write(fd, frame, raw_frame(frame, LINK_FRAME_USE, number, 8));
}

static void raw_data(int fd, const char *text)
{
	uint8_t frame[64];

	raw_write(fd, frame, raw_frame(frame, TYPE_DATA, text, strlen(text)));
}

static void raw_end(struct raw *r)
{
	for (unsigned i = 0; i < LINK_PATHS; i++) {
		for (unsigned k = 0; k < LINK_CLASSES; k++) {
			if (r->fd[i][k] >= 0) {
				close(r->fd[i][k]);
			}
		}
	}
	talloc_free(r->c);
}

/* The path is closed, and nothing came up or was delivered. */
static void raw_rejected(struct raw *r, uint32_t path)
{
	WAIT_FOR(r->c, raw_closed(r->fd[path][0]) && raw_closed(r->fd[path][1]));
	assert_false(ready(r->n, 1, path));
}

static void test_use_first_on_either(void **state)
{
	for (unsigned first = 0; first < LINK_CLASSES; first++) {
		struct raw r = raw_new();

		raw_path(&r, 0, 7);
		util_run_ms(r.c, 50);
		assert_int_equal(r.n->ups[1], 0); /* not before USE */
		raw_use(&r, r.fd[0][first], 5);
		raw_data(r.fd[0][first], "a");
		WAIT_FOR(r.c, r.n->ups[1] == 1 && r.n->frames[1] == 1);
		raw_use(&r, r.fd[0][1 - first], 5);
		raw_data(r.fd[0][1 - first], "b");
		WAIT_FOR(r.c, r.n->frames[1] == 2);
		assert_int_equal(r.n->ups[1], 1);
		assert_int_equal(r.n->downs[1], 0);
		raw_end(&r);
	}
}

static void test_use_wrong(void **state)
{
	struct raw r = raw_new();
	uint8_t frame[32];

	raw_path(&r, 0, 1);
	raw_data(r.fd[0][0], "frame before USE");
	raw_rejected(&r, 0);
	raw_path(&r, 0, 2);
	raw_data(r.fd[0][1], "frame before USE");
	raw_rejected(&r, 0);
	raw_path(&r, 0, 3);
	raw_use(&r, r.fd[0][0], 0); /* no generation */
	raw_rejected(&r, 0);
	raw_path(&r, 0, 4);
	raw_write(r.fd[0][0], frame, raw_frame(frame, LINK_FRAME_USE, "short", 5));
	raw_rejected(&r, 0);
	/* before the path is complete */
	close(r.fd[0][1]);
	close(r.fd[0][0]);
	r.fd[0][1] = -1;
	r.fd[0][0] = raw_class(&r, 0, 0, 5);
	assert_true(raw_answered(&r, r.fd[0][0]));
	raw_use(&r, r.fd[0][0], 5);
	WAIT_FOR(r.c, raw_closed(r.fd[0][0]));
	assert_int_equal(r.n->ups[1] + r.n->frames[1], 0);
	/* another generation on the path that is active */
	raw_path(&r, 0, 6);
	raw_use(&r, r.fd[0][0], 10);
	WAIT_FOR(r.c, r.n->ups[1] == 1);
	raw_use(&r, r.fd[0][1], 11);
	raw_rejected(&r, 0);
	assert_int_equal(r.n->reason[1], EBADMSG);
	raw_end(&r);
}

/* One run of a daemon speaks one version: what says another one on a second path must not disturb the first. */
static void test_versions_mixed(void **state)
{
	struct raw r = raw_new();
	struct link_hello hello = raw_hello(1, 0);
	uint8_t frame[256];
	uint32_t path;

	raw_path(&r, 1, 1);
	raw_use(&r, r.fd[1][0], 10);
	WAIT_FOR(r.c, r.c->node[0].ups[1] == 1);
	for (path = 0; path < LINK_PATHS; path++) {
		int fd = raw_connect_path(r.c, path, 12, 0);

		hello.path = path;
		raw_write(fd, frame, raw_hello_frame(frame, &hello));
		WAIT_FOR(r.c, raw_closed(fd));
		close(fd);
	}
	raw_data(r.fd[1][0], "still there");
	WAIT_FOR(r.c, r.c->node[0].frames[1] == 1);
	assert_int_equal(r.c->node[0].ups[1], 1);
	assert_int_equal(r.c->node[0].downs[1], 0);
	raw_end(&r);
}

/* USE moves the link; what comes later over the path that was left is never delivered, nor followed. */
static void test_use_late(void **state)
{
	struct raw r = raw_new();

	raw_path(&r, 0, 1);
	raw_path(&r, 1, 2);
	raw_use(&r, r.fd[0][0], 10);
	raw_data(r.fd[0][0], "one");
	WAIT_FOR(r.c, r.n->frames[1] == 1);
	raw_use(&r, r.fd[1][0], 11);
	raw_use(&r, r.fd[1][1], 11);
	WAIT_FOR(r.c, r.n->ups[1] == 2 && r.n->downs[1] == 1);
	raw_data(r.fd[0][0], "late");
	raw_use(&r, r.fd[0][1], 10);
	raw_data(r.fd[0][1], "late");
	raw_rejected(&r, 0);
	assert_true(active(r.n, 1, 1));
	/* a USE that was sent before that one and comes now */
	raw_path(&r, 0, 3);
	raw_use(&r, r.fd[0][0], 9);
	raw_data(r.fd[0][0], "late");
	raw_rejected(&r, 0);
	raw_path(&r, 0, 4);
	raw_use(&r, r.fd[0][1], 11);
	raw_rejected(&r, 0);
	assert_true(active(r.n, 1, 1));
	raw_data(r.fd[1][1], "two");
	WAIT_FOR(r.c, r.n->frames[1] == 2);
	assert_int_equal(r.n->ups[1], 2);
	assert_int_equal(r.n->downs[1], 1);
	raw_end(&r);
}

static void test_bundle_wrong(void **state)
{
	struct raw r = raw_new();
	int fd;

	/* bulk without control, of another bundle, of a class that does not exist, twice, and a path that is not that
	 * of the addresses */
	fd = raw_class(&r, 0, 1, 7);
	assert_false(raw_answered(&r, fd));
	close(fd);
	r.fd[0][0] = raw_class(&r, 0, 0, 7);
	assert_true(raw_answered(&r, r.fd[0][0]));
	fd = raw_class(&r, 0, 1, 8);
	assert_false(raw_answered(&r, fd));
	close(fd);
	raw_path(&r, 0, 7);
	for (unsigned i = 0; i < 4; i++) {
		static const uint32_t class[] = {1, 2, 1, UINT32_MAX};
		static const uint64_t bundle[] = {8, 7, 7, 7};

		fd = raw_class(&r, 0, class[i], bundle[i]);
		assert_false(raw_answered(&r, fd));
		close(fd);
	}
	assert_true(ready(r.n, 1, 0));
	struct link_hello hello = raw_hello(1, 0);
	uint8_t frame[256];

	hello.interface_version = 2;
	hello.path = 1;
	fd = raw_connect_path(r.c, 0, 12, 0);
	raw_write(fd, frame, raw_hello_frame(frame, &hello));
	assert_false(raw_answered(&r, fd));
	close(fd);
	/* a new control connection replaces the path; the next incarnation replaces everything */
	raw_use(&r, r.fd[0][0], 3);
	WAIT_FOR(r.c, r.n->ups[1] == 1);
	fd = raw_class(&r, 0, 0, 9);
	assert_true(raw_answered(&r, fd));
	assert_int_equal(r.n->downs[1], 1);
	raw_rejected(&r, 0);
	close(fd);
	raw_end(&r);
}

/* What it does is allowed in each of the callbacks. */
static void forget_all(struct node *n, uint32_t pnn)
{
	n->on_down = NULL;
	assert_int_equal(link_mesh_set_nodes(n->mesh, n->priv), 0);
}

/* The nodes list changes in down(), in the middle of a change of the path, a replacement, a new incarnation, silence.
 */
static void test_forgotten_in_down(void **state)
{
	for (unsigned how = 0; how < 5; how++) {
		struct raw r = raw_new();
		int fd = -1;

		r.n->priv = util_nodes_paths(r.c, 1, 2);
		raw_path(&r, 0, 1);
		raw_path(&r, 1, 2);
		raw_use(&r, r.fd[0][0], 10);
		WAIT_FOR(r.c, r.n->ups[1] == 1);
		r.n->on_down = forget_all;
		if (how == 0) {
			raw_use(&r, r.fd[1][1], 11);
		} else if (how == 1) {
			fd = raw_class(&r, 0, 0, 9);
		} else if (how == 2) {
			struct link_hello hello = raw_hello(1, 0);
			uint8_t frame[256];

			hello.incarnation++;
			fd = raw_connect_path(r.c, 0, 12, 0);
			raw_write(fd, frame, raw_hello_frame(frame, &hello));
		} else if (how == 3) {
			raw_data(r.fd[1][0], "not in use");
			raw_use(&r, r.fd[0][0], 12);
		} else {
			close(r.fd[0][1]);
			r.fd[0][1] = -1;
		}
		WAIT_FOR(r.c, r.n->on_down == NULL);
		WAIT_FOR(r.c, raw_closed(r.fd[0][0]) && raw_closed(r.fd[1][0]) && raw_closed(r.fd[1][1]));
		WAIT_FOR(r.c, fd < 0 || raw_closed(fd));
		assert_int_equal(r.n->downs[1], 1);
		assert_int_equal(r.n->ups[1], 1);
		assert_false(link_is_up(r.n->mesh, 1));
		if (fd >= 0) {
			close(fd);
		}
		raw_end(&r);
	}
}

static void test_cross_addresses(void **state)
{
	struct cluster *c = util_cluster(2);
	struct sockaddr_in own, dst;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	c->list = util_nodes_paths(c, 2, 2);
	util_start(c, 0);
	own = address(c, 0, 12, false);
	dst = address(c, 1, 11, true);
	assert_int_equal(bind(fd, (struct sockaddr *)&own, sizeof(own)), 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&dst, sizeof(dst)), 0);
	assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
	WAIT_FOR(c, raw_closed(fd));
	close(fd);
	talloc_free(c);
}

/* A node with one address and one with two: it is used in both paths. */
static void test_one_address(void **state)
{
	for (uint32_t single = 0; single < 2; single++) {
		struct cluster *c = util_cluster(2);

		c->list = util_nodes_paths(c, 2, 2);
		c->list->v[single].n_addrs = 1;
		for (uint32_t i = 0; i < 2; i++) {
			c->node[i].config.n_classes = LINK_CLASSES;
			c->node[i].config.heartbeat_ms = 50;
			util_start(c, i);
		}
		WAIT_FOR(c, ready(&c->node[0], 1, 0) && ready(&c->node[0], 1, 1) && ready(&c->node[1], 0, 1));
		WAIT_FOR(c, active(&c->node[0], 1, 0) && active(&c->node[1], 0, 0));
		assert_int_equal(c->node[0].downs[1] + c->node[1].downs[0], 0);
		talloc_free(c);
	}
}

/* One side has one class only: it counts. */
static void test_classes_differ(void **state)
{
	for (uint32_t single = 0; single < 2; single++) {
		struct cluster *c = util_cluster(2);
		struct iovec part = {.iov_base = (void *)(uintptr_t) "x", .iov_len = 1};

		for (uint32_t i = 0; i < 2; i++) {
			c->node[i].config.n_classes = i == single ? 1 : 2;
			util_start(c, i);
		}
		WAIT_FOR(c, link_is_up(c->node[0].mesh, 1) && link_is_up(c->node[1].mesh, 0));
		for (uint32_t i = 0; i < 2; i++) {
			assert_int_equal(link_send_class(c->node[i].mesh, 1 - i, LINK_CLASS_BULK, TYPE_DATA, &part, 1),
					 0);
			WAIT_FOR(c, c->node[1 - i].frames[i] == 1);
		}
		assert_int_equal(c->node[0].downs[1] + c->node[1].downs[0], 0);
		talloc_free(c);
	}
}

/* A second address that no interface has yet does not keep the node from starting. */
static void test_address_missing(void **state)
{
	struct cluster *c = util_cluster(2);

	c->list = util_nodes_paths(c, 2, 2);
	util_node_addr(c->list, 1, 1, "192.0.2.1");
	util_start(c, 0);
	util_start(c, 1);
	WAIT_FOR(c, active(&c->node[0], 1, 0) && active(&c->node[1], 0, 0));
	assert_false(ready(&c->node[1], 0, 1));
	talloc_free(c);
}

static void test_set_nodes(void **state)
{
	struct scene s = scene_up(20000, false);
	struct conf_nodes *same = util_nodes_paths(s.c, 2, 2), *fewer = util_nodes_paths(s.c, 2, 2),
			  *own = util_nodes_paths(s.c, 2, 2);

	assert_int_equal(link_mesh_set_nodes(s.n[0]->mesh, same), 0);
	assert_int_equal(s.n[0]->downs[1], 0);
	own->v[0].n_addrs = 1;
	assert_int_equal(link_mesh_set_nodes(s.n[0]->mesh, own), EINVAL);
	util_node_addr(fewer, 1, 1, "127.0.1.99");
	assert_int_equal(link_mesh_set_nodes(s.n[0]->mesh, fewer), 0);
	assert_int_equal(s.n[0]->downs[1], 1);
	assert_int_equal(s.n[0]->reason[1], EHOSTDOWN);
	WAIT_FOR(s.c, both_active(&s, 0)); /* its first address is as it was */
	assert_false(ready(s.n[0], 1, 1));
	talloc_free(s.c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_standby),
		cmocka_unit_test(test_silent),
		cmocka_unit_test(test_silent_tls),
		cmocka_unit_test(test_closed),
		cmocka_unit_test(test_one_connection_lost),
		cmocka_unit_test(test_all_lost),
		cmocka_unit_test(test_first_path_missing),
		cmocka_unit_test(test_restart),
		cmocka_unit_test(test_order_closed),
		cmocka_unit_test(test_order_silent),
		cmocka_unit_test(test_version_1),
		cmocka_unit_test(test_upgrade),
		cmocka_unit_test(test_use_first_on_either),
		cmocka_unit_test(test_use_wrong),
		cmocka_unit_test(test_versions_mixed),
		cmocka_unit_test(test_use_late),
		cmocka_unit_test(test_bundle_wrong),
		cmocka_unit_test(test_forgotten_in_down),
		cmocka_unit_test(test_cross_addresses),
		cmocka_unit_test(test_one_address),
		cmocka_unit_test(test_classes_differ),
		cmocka_unit_test(test_address_missing),
		cmocka_unit_test(test_set_nodes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
