/* For tests of links: several meshes in one process, on addresses 127.0.0.11 and up, and hand-made peers. */
#ifndef SHARED_TEST_LINK_UTIL_H
#define SHARED_TEST_LINK_UTIL_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mono.h"
#include "protocol/link.h"
#include "shared/link.h"

#define NODES_MAX     16
#define WAIT_LIMIT_MS 60000 /* far beyond what is needed, also under valgrind */
#define TYPE_DATA     16

struct cluster;

struct node {
	struct cluster *c;
	uint32_t pnn;
	struct link_config config;
	struct link_mesh *mesh;
	const struct conf_nodes *list; /* NULL: the cluster's */
	unsigned ups[NODES_MAX], downs[NODES_MAX];
	int reason[NODES_MAX];
	uint64_t incarnation[NODES_MAX];
	uint64_t frames[NODES_MAX];
	unsigned drained[NODES_MAX];
	void (*on_frame)(struct node *n, uint32_t from, uint32_t type, const uint8_t *data, size_t len);
	void (*on_drained)(struct node *n, uint32_t pnn);
	void (*on_down)(struct node *n, uint32_t pnn);
	void (*on_moved)(struct node *n, uint64_t token, const struct link_moved *moved);
	const struct link_ops *ops; /* NULL: util_ops */
	void *priv;
};

struct cluster {
	struct tevent_context *ev;
	struct conf_nodes *list;
	struct cluster_keys *keys; /* for those who want some */
	uint16_t port;
	struct node node[NODES_MAX];
};

static inline void util_up(void *priv, uint32_t pnn, uint64_t incarnation)
{
	struct node *n = priv;

	n->ups[pnn]++;
	n->incarnation[pnn] = incarnation;
}

static inline void util_down(void *priv, uint32_t pnn, int reason)
{
	struct node *n = priv;

	n->downs[pnn]++;
	n->reason[pnn] = reason;
	if (n->on_down != NULL) {
		n->on_down(n, pnn);
	}
}

static inline void util_frame(void *priv, uint32_t pnn, uint32_t type, const uint8_t *data, size_t len)
{
	struct node *n = priv;

	n->frames[pnn]++;
	if (n->on_frame != NULL) {
		n->on_frame(n, pnn, type, data, len);
	}
}

static inline void util_drained(void *priv, uint32_t pnn)
{
	struct node *n = priv;

	n->drained[pnn]++;
	if (n->on_drained != NULL) {
		n->on_drained(n, pnn);
	}
}

static inline void util_moved(void *priv, uint64_t token, const struct link_moved *moved)
{
	struct node *n = priv;

	n->on_moved(n, token, moved);
}

static const struct link_ops util_ops = {
	.up = util_up, .down = util_down, .frame = util_frame, .drained = util_drained};

static inline void util_node_addr(struct conf_nodes *list, uint32_t pnn, uint32_t i, const char *text)
{
	struct conf_node *node = &list->v[pnn];
	struct sockaddr_in *in = (struct sockaddr_in *)(void *)&node->addrs[i];

	node->texts[i] = talloc_strdup(list, text);
	in->sin_family = AF_INET;
	assert_int_equal(inet_pton(AF_INET, text, &in->sin_addr), 1);
	node->n_addrs = node->n_addrs > i ? node->n_addrs : i + 1;
	if (i == 0) {
		node->addr = node->addrs[0];
		node->text = node->texts[0];
	}
}

/* Node i has addresses 127.0.0.(11 + i) and, of n_addrs 2, 127.0.1.(11 + i). */
static inline struct conf_nodes *util_nodes_paths(TALLOC_CTX *mem, uint32_t n, uint32_t n_addrs)
{
	struct conf_nodes *list = talloc_zero(mem, struct conf_nodes);

	list->n = n;
	list->v = talloc_zero_array(list, struct conf_node, n);
	for (uint32_t i = 0; i < n; i++) {
		for (uint32_t k = 0; k < n_addrs; k++) {
			char text[32];

			snprintf(text, sizeof(text), "127.0.%u.%u", k, 11 + i);
			util_node_addr(list, i, k, text);
		}
	}
	return list;
}

static inline struct conf_nodes *util_nodes(TALLOC_CTX *mem, uint32_t n)
{
	return util_nodes_paths(mem, n, 1);
}

/* A cluster of n configured nodes, none of them started. */
static inline struct cluster *util_cluster(uint32_t n)
{
	struct cluster *c = talloc_zero(NULL, struct cluster);

	c->ev = tevent_context_init(c);
	c->list = util_nodes(c, n);
	c->keys = talloc_zero(c, struct cluster_keys);
	for (uint32_t i = 0; i < n; i++) {
		struct node *node = &c->node[i];

		node->c = c;
		node->pnn = i;
		node->config = (struct link_config){
			.name = "test",
			.own_pnn = i,
			.incarnation = 1000 + i,
			.interface_version = LINK_INTERFACE,
			.heartbeat_ms = 100,
			.dead_ms = 20000,
			.reconnect_ms = 20,
			.max_frame = 8U << 20,
			.queue_bytes = 16U << 20,
		};
	}
	return c;
}

static inline void util_start(struct cluster *c, uint32_t pnn)
{
	struct node *node = &c->node[pnn];
	char *err = NULL;
	int ret = EADDRINUSE;

	/* The first mesh finds a free port; all nodes have the same one. */
	for (int i = 0; i < 100 && ret == EADDRINUSE; i++) {
		if (c->port == 0) {
			node->config.port = (uint16_t)(20000 + (mono_now().ns / 1000 + (unsigned)getpid() * 7) % 12000);
		} else {
			node->config.port = c->port;
		}
		ret = link_mesh_new(c, c->ev, &node->config, node->list != NULL ? node->list : c->list, node->ops != NULL ? node->ops : &util_ops, node,
				    &node->mesh, &err);
		if (ret != 0 && c->port != 0) {
			usleep(20000);
		}
	}
	if (ret != 0) {
		fail_msg("%s", err);
	}
	c->port = node->config.port;
}

static inline void util_stop(struct cluster *c, uint32_t pnn)
{
	TALLOC_FREE(c->node[pnn].mesh);
}

static inline void util_wake(struct tevent_context *ev, struct tevent_timer *te, struct timeval now, void *priv)
{
	*(bool *)priv = true;
}

/* One turn of the loop, 10 ms at most if there is nothing to do. */
static inline void util_turn(struct tevent_context *ev)
{
	bool fired = false;
	struct tevent_timer *te = tevent_add_timer(ev, ev, tevent_timeval_current_ofs(0, 10000), util_wake, &fired);

	assert_int_equal(tevent_loop_once(ev), 0);
	if (!fired) {
		talloc_free(te);
	}
}

#define WAIT_FOR(c, condition)                                                                                         \
	do {                                                                                                           \
		struct mono limit_ = mono_add_ms(mono_now(), WAIT_LIMIT_MS);                                           \
		while (!(condition)) {                                                                                 \
			if (mono_before(limit_, mono_now())) {                                                         \
				fail_msg("line %d: never came true: %s", __LINE__, #condition);                        \
			}                                                                                              \
			util_turn((c)->ev);                                                                            \
		}                                                                                                      \
	} while (0)

static inline void util_run_ms(struct cluster *c, unsigned ms)
{
	struct mono end = mono_add_ms(mono_now(), ms);

	while (mono_before(mono_now(), end)) {
		util_turn(c->ev);
	}
}

static inline int util_send(struct node *n, uint32_t to, const void *data, size_t len)
{
	struct iovec part = {.iov_base = (void *)(uintptr_t)data, .iov_len = len};

	return link_send(n->mesh, to, TYPE_DATA, &part, 1);
}

/* Adds key number n. */
static inline void util_key(struct cluster_keys *keys, unsigned n)
{
	struct cluster_key *key = &keys->v[keys->n++];

	memset(key->secret, 'a' + (int)n, sizeof(key->secret));
	snprintf(key->id, sizeof(key->id), "%016x", 0x1000 + n);
}

/* Lines of a log that hold text. */
static inline unsigned util_log_lines(const char *path, const char *text)
{
	char line[1024];
	unsigned n = 0;
	FILE *f = fopen(path, "r");

	assert_non_null(f);
	while (fgets(line, sizeof(line), f) != NULL) {
		n += strstr(line, text) != NULL;
	}
	fclose(f);
	return n;
}

/* ---- hand-made peers ---- */

/* Connects from 127.0.0.<host> to node to. Non-blocking from then on. */
static inline int raw_connect_path(const struct cluster *c, unsigned path, unsigned host, uint32_t to)
{
	uint32_t net = 0x7f000000U + path * 256U;
	struct sockaddr_in own = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(net + host)};
	struct sockaddr_in dst = {
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(net + 11 + to), .sin_port = htons(c->port)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&own, sizeof(own)), 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&dst, sizeof(dst)), 0);
	assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
	return fd;
}

static inline int raw_connect(const struct cluster *c, unsigned host, uint32_t to)
{
	return raw_connect_path(c, 0, host, to);
}

static inline size_t raw_frame(uint8_t *to, uint32_t type, const void *data, size_t len)
{
	struct xdr_out out = {.p = to, .end = to + 8};

	xdr_put_u32(&out, (uint32_t)(len + 4));
	xdr_put_u32(&out, type);
	if (len > 0) {
		memcpy(to + 8, data, len);
	}
	return len + 8;
}

static inline struct link_hello raw_hello(uint32_t from, uint32_t to)
{
	static char mesh[] = "test";

	return (struct link_hello){.magic = LINK_MAGIC,
				   .version = LINK_VERSION,
				   .mesh = mesh,
				   .from_pnn = from,
				   .to_pnn = to,
				   .incarnation = 77,
				   .interface_version = 1, /* one connection, no frame USE */
				   .interface_oldest = 1};
}

static inline size_t raw_hello_frame(uint8_t *to, const struct link_hello *hello)
{
	struct ctdb_blob blob;
	size_t n;

	assert_int_equal(link_hello_encode(NULL, hello, &blob), 0);
	n = raw_frame(to, LINK_FRAME_HELLO, blob.data, blob.len);
	talloc_free(blob.data);
	return n;
}

/* The kernel takes these few bytes, or the connection is gone already. */
static inline void raw_write(int fd, const void *data, size_t len)
{
	ssize_t n = send(fd, data, len, MSG_NOSIGNAL);

	if (n < 0) {
		assert_true(errno == EPIPE || errno == ECONNRESET);
	} else {
		assert_int_equal(n, len);
	}
}

/* Reads what is there: true when the other side has closed. */
static inline bool raw_closed(int fd)
{
	char buf[4096];
	ssize_t n;

	do {
		n = recv(fd, buf, sizeof(buf), 0);
	} while (n > 0);
	return n == 0 || (errno != EAGAIN && errno != EINTR);
}

/* A node that is only a socket: says hello as node from (its address included) to node to, and the link is up. */
static inline int raw_peer(struct cluster *c, uint32_t from, uint32_t to)
{
	uint8_t frame[256];
	struct link_hello hello = raw_hello(from, to);
	int fd = raw_connect(c, 11 + from, to);
	unsigned ups = c->node[to].ups[from];

	raw_write(fd, frame, raw_hello_frame(frame, &hello));
	WAIT_FOR(c, c->node[to].ups[from] == ups + 1);
	return fd;
}

#endif
