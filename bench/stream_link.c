/* ctdb-bench stream: two nodes of a mesh with the classes control and bulk. */
#include "bench.h"
#include "stream.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shared/link.h"
#include "shared/log.h"

#define QUEUE     (4U << 20) /* of a peer and class; drained() comes below a quarter */
#define PING_US   2000
#define LIMIT_S   300
#define MAX_FRAME (1U << 20)

enum frame { FRAME_DATA = 16, FRAME_PING, FRAME_PONG, FRAME_DONE };

struct node {
	const struct stream_args *args;
	struct tevent_context *ev;
	struct link_mesh *mesh;
	uint32_t peer;
	bool up, done, failed;
	uint64_t bytes, begin, end;
	uint8_t *chunk;
	double *rtts;
	size_t n_rtts;
};

/* ---- both ---- */

static void send_small(struct node *n, uint32_t type, const void *data, size_t len)
{
	struct iovec part = {.iov_base = (void *)(uintptr_t)data, .iov_len = len};

	if (link_send(n->mesh, n->peer, type, &part, 1) != 0) {
		n->failed = true;
	}
}

static void on_down(void *priv, uint32_t pnn, int reason)
{
	struct node *n = priv;

	if (!n->done) {
		fprintf(stderr, "ctdb-bench stream: the link broke: %s\n", strerror(reason));
		n->failed = true;
	}
}

static void set_addr(struct conf_nodes *nodes, uint32_t pnn)
{
	struct conf_node *node = &nodes->v[pnn];
	struct sockaddr_in *in = (struct sockaddr_in *)(void *)&node->addr;

	in->sin_family = AF_INET;
	in->sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + pnn);
	node->text = talloc_asprintf(nodes, "127.0.0.%u", 2 + pnn);
	node->n_addrs = 1;
	node->addrs[0] = node->addr;
	node->texts[0] = node->text;
}

static int node_begin(struct node *n, const struct link_ops *ops, uint32_t own, uint16_t port)
{
	struct cluster_keys keys = {.n = 1};
	struct link_config config = {.name = "bench",
				     .port = port,
				     .own_pnn = own,
				     .incarnation = 1,
				     .interface_version = LINK_INTERFACE,
				     .n_classes = LINK_CLASSES,
				     .heartbeat_ms = 250,
				     .dead_ms = 1000,
				     .reconnect_ms = 20,
				     .max_frame = MAX_FRAME + 16,
				     .queue_bytes = QUEUE};
	struct conf_nodes *nodes;
	char *err = NULL;

	log_set_level(LOG_LVL_ERROR);
	n->ev = tevent_context_init(NULL);
	nodes = talloc_zero(n->ev, struct conf_nodes);
	nodes->n = 2;
	nodes->v = talloc_zero_array(nodes, struct conf_node, 2);
	set_addr(nodes, 0);
	set_addr(nodes, 1);
	memset(keys.v[0].secret, 'k', sizeof(keys.v[0].secret));
	memset(keys.v[0].id, '1', sizeof(keys.v[0].id) - 1);
	config.keys = n->args->plain ? NULL : &keys;
	n->peer = 1 - own;
	if (link_mesh_new(n->ev, n->ev, &config, nodes, ops, n, &n->mesh, &err) != 0) {
		fprintf(stderr, "ctdb-bench stream: %s\n", err);
		return 1;
	}
	return 0;
}

/* Until done or failed. */
static int node_run(struct node *n)
{
	uint64_t limit = bench_now() + LIMIT_S * UINT64_C(1000000000);

	while (!n->done && !n->failed) {
		if (tevent_loop_once(n->ev) != 0) {
			return 1;
		}
		if (bench_now() > limit) {
			fprintf(stderr, "ctdb-bench stream: not done within %u s\n", LIMIT_S);
			return 1;
		}
	}
	return n->failed ? 1 : 0;
}

/* ---- receiver: node 0 ---- */

static void receiver_up(void *priv, uint32_t pnn, uint64_t incarnation)
{
}

static void receiver_down(void *priv, uint32_t pnn, int reason)
{
	struct node *n = priv;

	/* The sender goes when it has heard that all is here. */
	n->failed = n->bytes < n->args->bytes;
	n->done = true;
}

static void receiver_frame(void *priv, uint32_t pnn, uint32_t type, const uint8_t *data, size_t len)
{
	struct node *n = priv;

	if (type == FRAME_PING) {
		send_small(n, FRAME_PONG, data, len);
		return;
	}
	n->bytes += len;
	if (n->bytes >= n->args->bytes) {
		send_small(n, FRAME_DONE, NULL, 0);
	}
}

int stream_link_receiver(const struct stream_args *args, uint16_t port, int ready)
{
	static const struct link_ops ops = {.up = receiver_up, .down = receiver_down, .frame = receiver_frame};
	struct node n = {.args = args};
	int ret = node_begin(&n, &ops, 0, port);

	if (ret == 0 && write(ready, "R", 1) != 1) {
		ret = 1;
	}
	return ret != 0 ? ret : node_run(&n);
}

/* ---- sender: node 1 ---- */

/* Up to a little more than half of the queue. */
static void sender_fill(struct node *n)
{
	while (!n->failed && n->bytes < n->args->bytes &&
	       link_queued_class(n->mesh, n->peer, LINK_CLASS_BULK) <= QUEUE / 2) {
		uint64_t left = n->args->bytes - n->bytes;
		struct iovec part = {.iov_base = n->chunk, .iov_len = left < n->args->chunk ? left : n->args->chunk};

		if (link_send_class(n->mesh, n->peer, LINK_CLASS_BULK, FRAME_DATA, &part, 1) != 0) {
			n->failed = true;
		}
		n->bytes += part.iov_len;
	}
}

static void sender_ping(struct tevent_context *ev, struct tevent_timer *te, struct timeval now, void *priv)
{
	struct node *n = priv;
	uint64_t stamp = bench_now();

	send_small(n, FRAME_PING, &stamp, sizeof(stamp));
	if (!n->done && tevent_add_timer(ev, n->ev, tevent_timeval_current_ofs(0, PING_US), sender_ping, n) == NULL) {
		n->failed = true;
	}
}

static void sender_up(void *priv, uint32_t pnn, uint64_t incarnation)
{
	struct node *n = priv;

	n->begin = bench_now();
	sender_ping(n->ev, NULL, tevent_timeval_zero(), n);
	sender_fill(n);
}

static void sender_drained(void *priv, uint32_t pnn)
{
	sender_fill(priv);
}

static void sender_frame(void *priv, uint32_t pnn, uint32_t type, const uint8_t *data, size_t len)
{
	struct node *n = priv;
	uint64_t stamp;

	if (type == FRAME_DONE) {
		n->end = bench_now();
		n->done = true;
	} else if (type == FRAME_PONG && len == sizeof(stamp) && n->n_rtts < STREAM_RTTS) {
		memcpy(&stamp, data, sizeof(stamp));
		n->rtts[n->n_rtts++] = (double)(bench_now() - stamp) / 1000;
	}
}

int stream_link_sender(const struct stream_args *args, uint16_t port, int ready, struct stream_report *report)
{
	static const struct link_ops ops = {
		.up = sender_up, .down = on_down, .frame = sender_frame, .drained = sender_drained};
	struct node n = {.args = args, .chunk = calloc(1, args->chunk), .rtts = calloc(STREAM_RTTS, sizeof(double))};
	char byte;

	if (n.chunk == NULL || n.rtts == NULL || read(ready, &byte, 1) != 1 || node_begin(&n, &ops, 1, port) != 0 ||
	    node_run(&n) != 0 || n.n_rtts == 0) {
		return 1;
	}
	report->seconds = (double)(n.end - n.begin) / 1e9;
	report->rtts = n.n_rtts;
	report->rtt_p50 = bench_percentile(n.rtts, n.n_rtts, 50);
	report->rtt_p99 = bench_percentile(n.rtts, n.n_rtts, 99);
	report->rtt_max = bench_percentile(n.rtts, n.n_rtts, 100);
	return 0;
}
