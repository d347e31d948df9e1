/* Tests of links between meshes of one process: up, down, order, bounds, fairness. */
#include "test_link_util.h"

static void test_up(void **state)
{
	struct cluster *c = util_cluster(3);
	struct link_stats stats;

	for (uint32_t i = 0; i < 3; i++) {
		util_start(c, i);
	}
	for (uint32_t i = 0; i < 3; i++) {
		for (uint32_t j = 0; j < 3; j++) {
			WAIT_FOR(c, i == j || link_is_up(c->node[i].mesh, j));
			assert_int_equal(c->node[i].ups[j], i == j ? 0 : 1);
			assert_int_equal(link_incarnation(c->node[i].mesh, j), i == j ? 0 : 1000 + j);
		}
	}
	/* heartbeats measure the way there and back */
	WAIT_FOR(c, (link_stats(c->node[2].mesh, 0, &stats), stats.rtt_us > 0));
	assert_true(stats.up);
	assert_int_equal(stats.ups, 1);
	assert_true(stats.rtt_max_us >= stats.rtt_us);
	assert_true(stats.bytes_in > 0 && stats.bytes_out > 0);
	talloc_free(c);
}

static void test_refusals(void **state)
{
	struct cluster *c = util_cluster(3);
	struct node *n;
	uint8_t *big;
	struct iovec part = {.iov_base = NULL, .iov_len = 0};

	c->node[0].config.max_frame = 1000;
	util_start(c, 0);
	util_start(c, 1);
	n = &c->node[0];
	assert_int_equal(util_send(n, 1, "x", 1), EHOSTUNREACH); /* not up yet */
	WAIT_FOR(c, link_is_up(n->mesh, 1));
	big = talloc_zero_size(c, 1000);
	assert_int_equal(util_send(n, 0, "x", 1), EHOSTUNREACH);   /* itself */
	assert_int_equal(util_send(n, 2, "x", 1), EHOSTUNREACH);   /* not running */
	assert_int_equal(util_send(n, 999, "x", 1), EHOSTUNREACH); /* not configured */
	assert_int_equal(util_send(n, 1, big, 997), EMSGSIZE);
	assert_int_equal(util_send(n, 1, big, 996), 0);
	assert_int_equal(link_send(n->mesh, 1, 15, &part, 1), EINVAL);  /* the link's own types */
	assert_int_equal(link_send(n->mesh, 1, TYPE_DATA, NULL, 0), 0); /* a frame without payload */
	WAIT_FOR(c, c->node[1].frames[0] == 2);
	assert_int_equal(link_queued(n->mesh, 1), 0);
	assert_int_equal(link_queued(n->mesh, 0), 0);
	talloc_free(c);
}

/* ---- order and integrity ---- */

#define STREAM_FRAMES 100000

struct stream {
	uint64_t sent, received;
	uint64_t refused;
	uint8_t *buffer;
};

/* Sizes from nothing to 2 MiB, mostly small. */
static size_t stream_size(uint64_t seq)
{
	uint64_t r = (seq + 1) * 0x9e3779b97f4a7c15ULL;

	r ^= r >> 29;
	if (seq % 20000 == 7) {
		return (2U << 20) - r % 1000;
	}
	if (seq % 1000 == 3) {
		return 30000 + r % 100000;
	}
	return r % 400;
}

static void stream_fill(uint8_t *p, uint64_t seq, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		p[i] = (uint8_t)(seq * 131 + i * 7 + (i >> 8));
	}
}

static void stream_push(struct node *n, uint32_t to)
{
	struct stream *s = n->priv;

	while (s->sent < STREAM_FRAMES) {
		size_t len = stream_size(s->sent);
		struct iovec parts[3];
		int ret;

		stream_fill(s->buffer, s->sent, len);
		parts[0] = (struct iovec){.iov_base = &s->sent, .iov_len = 8};
		parts[1] = (struct iovec){.iov_base = s->buffer, .iov_len = len / 3};
		parts[2] = (struct iovec){.iov_base = s->buffer + len / 3, .iov_len = len - len / 3};
		ret = link_send(n->mesh, to, 100, parts, 3);
		if (ret == ENOBUFS) {
			s->refused++;
			return;
		}
		assert_int_equal(ret, 0);
		s->sent++;
	}
}

static void stream_take(struct node *n, uint32_t from, uint32_t type, const uint8_t *data, size_t len)
{
	static uint8_t want[(2U << 20)];
	struct stream *s = n->priv;
	uint64_t seq;

	assert_int_equal(type, 100);
	assert_true(len >= 8);
	memcpy(&seq, data, 8);
	assert_int_equal(seq, s->received);
	assert_int_equal(len - 8, stream_size(seq));
	stream_fill(want, seq, len - 8);
	assert_int_equal(memcmp(want, data + 8, len - 8), 0);
	s->received++;
}

static void test_order(void **state)
{
	struct cluster *c = util_cluster(2);
	struct stream s[2] = {{0}};
	struct link_stats stats;

	for (uint32_t i = 0; i < 2; i++) {
		c->node[i].config.queue_bytes = 3U << 20;
		s[i].buffer = talloc_size(c, 2U << 20);
		c->node[i].priv = &s[i];
		c->node[i].on_frame = stream_take;
		c->node[i].on_drained = stream_push;
		util_start(c, i);
	}
	WAIT_FOR(c, link_is_up(c->node[0].mesh, 1) && link_is_up(c->node[1].mesh, 0));
	stream_push(&c->node[0], 1);
	stream_push(&c->node[1], 0);
	while (s[0].received < STREAM_FRAMES || s[1].received < STREAM_FRAMES) {
		uint64_t before = s[0].received + s[1].received;

		WAIT_FOR(c, s[0].received + s[1].received != before);
	}
	assert_true(s[0].refused > 0 && s[1].refused > 0);
	assert_int_equal(c->node[0].downs[1] + c->node[1].downs[0], 0);
	link_stats(c->node[0].mesh, 1, &stats);
	assert_int_equal(stats.frames_in, STREAM_FRAMES);
	assert_int_equal(stats.frames_out, STREAM_FRAMES);
	talloc_free(c);
}

/* ---- bounds ---- */

static void test_queue_full(void **state)
{
	struct cluster *c = util_cluster(2);
	struct node *n = &c->node[0];
	uint8_t data[1000] = {0};
	uint64_t sent = 0;
	int ret;

	n->config.queue_bytes = 100000;
	util_start(c, 0);
	util_start(c, 1);
	WAIT_FOR(c, link_is_up(n->mesh, 1) && link_is_up(c->node[1].mesh, 0));
	while ((ret = util_send(n, 1, data, sizeof(data))) == 0) {
		sent++;
	}
	assert_int_equal(ret, ENOBUFS);
	assert_true(sent >= 90 && sent <= 100);
	assert_true(link_queued(n->mesh, 1) <= 100000);
	assert_int_equal(n->drained[1], 0);
	WAIT_FOR(c, n->drained[1] == 1);
	assert_true(link_queued(n->mesh, 1) < 25000);
	WAIT_FOR(c, c->node[1].frames[0] == sent);

	/* looking at a queue over its half is enough to be told */
	while (link_queued(n->mesh, 1) <= 50000) {
		assert_int_equal(util_send(n, 1, data, sizeof(data)), 0);
	}
	WAIT_FOR(c, n->drained[1] == 2);

	/* a single frame larger than the queue goes when the queue is empty */
	uint8_t *big = talloc_zero_size(c, 300000);

	assert_int_equal(util_send(n, 1, big, 300000), 0);
	assert_int_equal(util_send(n, 1, data, 1), ENOBUFS);
	WAIT_FOR(c, n->drained[1] == 3);
	talloc_free(c);
}

/* A peer that reads nothing: what is queued stays bounded, and the link ends when it is silent. */
static void test_peer_reads_nothing(void **state)
{
	struct cluster *c = util_cluster(2);
	struct node *n = &c->node[0];
	uint8_t *data = talloc_zero_size(c, 60000);
	int fd;

	n->config.queue_bytes = 1U << 20;
	n->config.dead_ms = 500;
	util_start(c, 0);
	fd = raw_peer(c, 1, 0);
	while (link_is_up(n->mesh, 1)) {
		while (util_send(n, 1, data, 60000) == 0) {
		}
		assert_true(link_queued(n->mesh, 1) <= (1U << 20));
		util_turn(c->ev);
	}
	assert_int_equal(n->downs[1], 1);
	assert_int_equal(n->reason[1], ETIMEDOUT);
	assert_int_equal(link_queued(n->mesh, 1), 0);
	close(fd);
	talloc_free(c);
}

/* ---- ends and beginnings ---- */

static void test_new_incarnation(void **state)
{
	struct cluster *c = util_cluster(2);

	for (uint32_t killed = 0; killed < 2; killed++) {
		struct node *survivor = &c->node[1 - killed];

		if (killed == 0) {
			util_start(c, 0);
			util_start(c, 1);
		}
		WAIT_FOR(c, link_is_up(c->node[0].mesh, 1) && link_is_up(c->node[1].mesh, 0));
		unsigned downs = survivor->downs[killed];

		util_stop(c, killed);
		WAIT_FOR(c, survivor->downs[killed] == downs + 1);
		assert_int_equal(survivor->reason[killed], ECONNRESET);
		assert_int_equal(link_incarnation(survivor->mesh, killed), 0);
		assert_int_equal(util_send(survivor, killed, "x", 1), EHOSTUNREACH);
		c->node[killed].config.incarnation += 5000;
		util_start(c, killed);
		WAIT_FOR(c, link_is_up(survivor->mesh, killed));
		assert_int_equal(survivor->incarnation[killed], 6000 + killed);
	}
	talloc_free(c);
}

static void test_drop(void **state)
{
	struct cluster *c = util_cluster(2);

	util_start(c, 0);
	util_start(c, 1);
	for (uint32_t i = 0; i < 2; i++) {
		uint32_t other = 1 - i;

		WAIT_FOR(c, link_is_up(c->node[i].mesh, other) && link_is_up(c->node[other].mesh, i));
		unsigned downs = c->node[i].downs[other];

		link_drop(c->node[i].mesh, other);
		assert_false(link_is_up(c->node[i].mesh, other));
		assert_int_equal(c->node[i].downs[other], downs); /* who drops it knows */
		WAIT_FOR(c, c->node[other].downs[i] == 1);
		WAIT_FOR(c, c->node[i].ups[other] == 2 + i);
	}
	talloc_free(c);
}

static void drop_on_frame(struct node *n, uint32_t from, uint32_t type, const uint8_t *data, size_t len)
{
	link_drop(n->mesh, from);
}

/* Frames behind the one whose handler dropped the connection are not delivered any more. */
static void test_drop_in_handler(void **state)
{
	struct cluster *c = util_cluster(2);

	c->node[0].on_frame = drop_on_frame;
	util_start(c, 0);
	util_start(c, 1);
	WAIT_FOR(c, link_is_up(c->node[1].mesh, 0) && link_is_up(c->node[0].mesh, 1));
	for (int i = 0; i < 50; i++) {
		assert_int_equal(util_send(&c->node[1], 0, "x", 1), 0);
	}
	WAIT_FOR(c, c->node[1].downs[0] == 1);
	assert_int_equal(c->node[0].frames[1], 1);
	WAIT_FOR(c, c->node[0].ups[1] == 2);
	talloc_free(c);
}

static void test_set_nodes(void **state)
{
	struct cluster *c = util_cluster(3);
	struct conf_nodes *fewer = util_nodes(c, 2), *same = util_nodes(c, 3), *other = util_nodes(c, 3);
	struct node *n = &c->node[1];

	for (uint32_t i = 0; i < 3; i++) {
		util_start(c, i);
	}
	WAIT_FOR(c, link_is_up(n->mesh, 0) && link_is_up(n->mesh, 2) && link_is_up(c->node[2].mesh, 1));
	assert_int_equal(link_mesh_set_nodes(n->mesh, same), 0);
	assert_int_equal(n->downs[0] + n->downs[2], 0);
	assert_int_equal(link_mesh_set_nodes(n->mesh, fewer), 0);
	assert_int_equal(n->downs[2], 1);
	assert_int_equal(n->reason[2], EHOSTDOWN);
	assert_int_equal(n->downs[0], 0);
	assert_false(link_is_up(n->mesh, 2));
	WAIT_FOR(c, c->node[2].downs[1] == 1);
	assert_int_equal(link_mesh_set_nodes(n->mesh, same), 0);
	WAIT_FOR(c, n->ups[2] == 2);
	assert_int_equal(n->ups[0], 1);
	/* own address cannot change */
	util_node_addr(other, 1, 0, "127.0.0.11");
	assert_int_equal(link_mesh_set_nodes(n->mesh, other), EINVAL);
	assert_true(link_is_up(n->mesh, 0) && link_is_up(n->mesh, 2));
	/* deleted: the same as not there */
	same->v[0].deleted = true;
	assert_int_equal(link_mesh_set_nodes(n->mesh, same), 0);
	assert_int_equal(n->downs[0], 1);
	talloc_free(c);
}

static void shrink_on_frame(struct node *n, uint32_t from, uint32_t type, const uint8_t *data, size_t len)
{
	assert_int_equal(link_mesh_set_nodes(n->mesh, n->priv), 0);
}

static void test_node_removed_in_handler(void **state)
{
	struct cluster *c = util_cluster(2);

	c->node[0].on_frame = shrink_on_frame;
	c->node[0].priv = util_nodes(c, 1);
	util_start(c, 0);
	util_start(c, 1);
	WAIT_FOR(c, link_is_up(c->node[1].mesh, 0) && link_is_up(c->node[0].mesh, 1));
	for (int i = 0; i < 10; i++) {
		assert_int_equal(util_send(&c->node[1], 0, "x", 1), 0);
	}
	WAIT_FOR(c, c->node[1].downs[0] == 1);
	assert_int_equal(c->node[0].frames[1], 1);
	assert_int_equal(c->node[0].downs[1], 1);
	talloc_free(c);
}

static void test_address_errors(void **state)
{
	struct cluster *c = util_cluster(2);
	struct link_config config;
	struct link_mesh *mesh = NULL;
	char *err = NULL, *name;

	util_start(c, 0);
	config = c->node[0].config;
	name = talloc_asprintf(c, "127.0.0.11:%u", config.port);
	assert_int_equal(link_mesh_new(c, c->ev, &config, c->list, &util_ops, &c->node[0], &mesh, &err), EADDRINUSE);
	assert_non_null(strstr(err, name));
	TALLOC_FREE(err);
	/* 192.0.2.1 is for documentation: no host has it */
	util_node_addr(c->list, 1, 0, "192.0.2.1");
	config.own_pnn = 1;
	assert_int_equal(link_mesh_new(c, c->ev, &config, c->list, &util_ops, &c->node[1], &mesh, &err), EADDRNOTAVAIL);
	assert_non_null(strstr(err, "192.0.2.1"));
	assert_null(mesh);
	TALLOC_FREE(err);
	config.own_pnn = 7;
	assert_int_equal(link_mesh_new(c, c->ev, &config, c->list, &util_ops, &c->node[1], &mesh, &err), EINVAL);
	assert_non_null(err);
	talloc_free(c);
}

/* ---- silence ---- */

static void test_silent_peer(void **state)
{
	struct cluster *c = util_cluster(3);
	struct node *n = &c->node[0];
	int fd;

	n->config.dead_ms = 300;
	n->config.heartbeat_ms = 50;
	c->node[1].config.heartbeat_ms = 50;
	util_start(c, 0);
	util_start(c, 1);
	WAIT_FOR(c, link_is_up(n->mesh, 1));
	fd = raw_peer(c, 2, 0); /* says hello, and nothing any more */
	WAIT_FOR(c, n->downs[2] == 1);
	assert_int_equal(n->reason[2], ETIMEDOUT);
	WAIT_FOR(c, raw_closed(fd));
	close(fd);
	/* it comes back as if nothing had been */
	fd = raw_peer(c, 2, 0);
	assert_true(link_is_up(n->mesh, 2));
	close(fd);
	WAIT_FOR(c, n->downs[2] == 2);
	assert_int_equal(n->reason[2], ECONNRESET);
	talloc_free(c);
}

/* Who was stalled itself must not take the others for dead. */
static void test_own_stall(void **state)
{
	struct cluster *c = util_cluster(2);
	struct node *n = &c->node[0];
	struct link_stats stats;
	uint64_t out;
	int fd;

	n->config.dead_ms = 1000;
	n->config.heartbeat_ms = 100;
	util_start(c, 0);
	fd = raw_peer(c, 1, 0);
	link_stats(n->mesh, 1, &stats);
	out = stats.bytes_out;
	usleep(1700000);
	/* the timer ran when the next ping is out, and the link is still there although nothing was received */
	WAIT_FOR(c, (link_stats(n->mesh, 1, &stats), stats.bytes_out > out));
	assert_int_equal(n->downs[1], 0);
	WAIT_FOR(c, n->downs[1] == 1); /* but not for ever */
	assert_int_equal(n->reason[1], ETIMEDOUT);
	close(fd);
	talloc_free(c);
}

static void test_replaced(void **state)
{
	struct cluster *c = util_cluster(2);
	struct node *n = &c->node[0];
	struct link_hello hello = raw_hello(1, 0);
	uint8_t frame[256];
	int first, second;

	util_start(c, 0);
	first = raw_peer(c, 1, 0);
	/* an invalid hello from the same address changes nothing for the connection that is up */
	second = raw_connect(c, 12, 0);
	hello.to_pnn = 5;
	raw_write(second, frame, raw_hello_frame(frame, &hello));
	WAIT_FOR(c, raw_closed(second));
	close(second);
	assert_true(link_is_up(n->mesh, 1));
	assert_int_equal(n->downs[1], 0);
	/* a valid one replaces it */
	second = raw_peer(c, 1, 0);
	assert_int_equal(n->downs[1], 1);
	assert_int_equal(n->reason[1], ECONNRESET);
	assert_int_equal(n->ups[1], 2);
	WAIT_FOR(c, raw_closed(first));
	assert_false(raw_closed(second));
	close(first);
	close(second);
	talloc_free(c);
}

/* ---- fairness ---- */

static void echo(struct node *n, uint32_t from, uint32_t type, const uint8_t *data, size_t len)
{
	if (from == 1) {
		assert_int_equal(util_send(n, 1, data, len), 0);
	}
}

/* One peer sends as much as it can; another one's questions are answered meanwhile. */
static void test_no_starvation(void **state)
{
	struct cluster *c = util_cluster(3);
	struct node *n = &c->node[0];
	static uint8_t flood[1U << 20];
	size_t pos = 0;
	int fd;

	n->on_frame = echo;
	n->config.heartbeat_ms = 20;
	util_start(c, 0);
	util_start(c, 1);
	WAIT_FOR(c, link_is_up(c->node[1].mesh, 0));
	fd = raw_peer(c, 2, 0);
	for (size_t i = 0; i + 64 <= sizeof(flood); i += 64) {
		raw_frame(flood + i, TYPE_DATA, "00000000000000000000000000000000000000000000000000000000", 56);
	}
	for (unsigned asked = 0; asked < 200; asked++) {
		uint64_t before = c->node[1].frames[0];

		assert_int_equal(util_send(&c->node[1], 0, "question", 8), 0);
		while (c->node[1].frames[0] == before) {
			ssize_t k = send(fd, flood + pos, sizeof(flood) - pos, MSG_NOSIGNAL);

			pos = k > 0 ? (pos + (size_t)k) % sizeof(flood) : pos;
			util_turn(c->ev);
		}
	}
	assert_true(n->frames[2] > 10000); /* it was served as well */
	assert_int_equal(n->downs[1] + n->downs[2], 0);
	close(fd);
	talloc_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_up),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_queue_full),
		cmocka_unit_test(test_peer_reads_nothing),
		cmocka_unit_test(test_new_incarnation),
		cmocka_unit_test(test_drop),
		cmocka_unit_test(test_drop_in_handler),
		cmocka_unit_test(test_set_nodes),
		cmocka_unit_test(test_node_removed_in_handler),
		cmocka_unit_test(test_address_errors),
		cmocka_unit_test(test_silent_peer),
		cmocka_unit_test(test_own_stall),
		cmocka_unit_test(test_replaced),
		cmocka_unit_test(test_no_starvation),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
