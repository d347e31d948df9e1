/* Tests of links with TLS: keys, right and wrong; who does not speak it; silence, garbage, floods before the hello. */
#include "test_link_util.h"

#include "shared/link_tls.h"
#include "shared/log.h"

static char log_path[64], key_log[64];

/* Nodes that have key 0, none of them started; one log for all. */
static struct cluster *scene(uint32_t n)
{
	struct cluster *c = util_cluster(n);
	char *err = NULL;

	snprintf(log_path, sizeof(log_path), "/tmp/test_link_tls.%d.log", (int)getpid());
	unlink(log_path);
	assert_int_equal(log_init(c, "test", talloc_asprintf(c, "file:%s", log_path), LOG_LVL_NOTICE, &err), 0);
	util_key(c->keys, 0);
	for (uint32_t i = 0; i < n; i++) {
		c->node[i].config.keys = c->keys;
		c->node[i].config.n_classes = LINK_CLASSES;
	}
	return c;
}

static void scene_end(struct cluster *c)
{
	unlink(log_path);
	talloc_free(c);
}

static bool linked(struct cluster *c, uint32_t a, uint32_t b)
{
	return link_is_up(c->node[a].mesh, b) && link_is_up(c->node[b].mesh, a);
}

/* Open descriptors of this process: what is refused must not keep one. */
static unsigned open_fds(void)
{
	unsigned n = 0;

	for (int fd = 0; fd < 1024; fd++) {
		n += fcntl(fd, F_GETFD) >= 0;
	}
	return n;
}

/* ---- keys ---- */

static void test_up(void **state)
{
	struct cluster *c = scene(3);
	struct link_stats stats;

	for (uint32_t i = 0; i < 3; i++) {
		util_start(c, i);
	}
	for (uint32_t i = 0; i < 3; i++) {
		for (uint32_t j = 0; j < 3; j++) {
			WAIT_FOR(c, i == j || linked(c, i, j));
		}
	}
	link_stats(c->node[0].mesh, 2, &stats);
	assert_int_equal(stats.n_paths, 1);
	assert_string_equal(stats.path[0].address, "127.0.0.13");
	assert_string_equal(stats.path[0].security, "tls");
	assert_string_equal(stats.path[0].key_id, c->keys->v[0].id);
	assert_true(stats.path[0].up && stats.path[0].active);
	assert_int_equal(link_peer_version(c->node[0].mesh, 2), LINK_INTERFACE);
	WAIT_FOR(c, (link_stats(c->node[0].mesh, 2, &stats), stats.rtt_us > 0));
	scene_end(c);
}

static void test_wrong_key(void **state)
{
	struct cluster *c = scene(3);
	struct cluster_keys *other = talloc_zero(c, struct cluster_keys);
	struct link_stats stats;
	struct mono begin;
	unsigned fds, refusals;

	util_key(other, 1);
	c->node[2].config.keys = other;
	c->node[2].config.reconnect_ms = 5;
	util_start(c, 0);
	util_start(c, 1);
	WAIT_FOR(c, linked(c, 0, 1));
	begin = mono_now();
	util_start(c, 2);
	fds = open_fds();
	WAIT_FOR(c, util_log_lines(log_path, "is our key 0000000000001001 in its key file?") == 2 &&
			    util_log_lines(log_path, "wrong key: it offers key 0000000000001001") >= 1);
	util_run_ms(c, 1500); /* many attempts */
	assert_int_equal(c->node[0].ups[2] + c->node[1].ups[2] + c->node[2].ups[0] + c->node[2].ups[1], 0);
	/* who listens: the reason, once in 10 s; who connects: once for each node */
	refusals = util_log_lines(log_path, "wrong key: it offers key 0000000000001001, which is not in the key file");
	assert_in_range(refusals, 1, 1 + mono_ms_between(begin, mono_now()) / 10000);
	assert_int_equal(util_log_lines(log_path, "is our key 0000000000001001 in its key file?"), 2);
	link_stats(c->node[2].mesh, 0, &stats);
	assert_string_equal(stats.path[0].security, "");
	assert_string_equal(stats.path[0].key_id, "");
	assert_true(open_fds() <= fds + 4); /* attempts that are under way */
	assert_true(linked(c, 0, 1));
	assert_int_equal(c->node[0].ups[1], 1);
	scene_end(c);
}

/* The id of a key that exists, but not its bytes. */
static void test_wrong_secret(void **state)
{
	struct cluster *c = scene(2);
	struct cluster_keys *other = talloc_zero(c, struct cluster_keys);

	util_key(other, 0);
	other->v[0].secret[31] ^= 1;
	c->node[1].config.keys = other;
	util_start(c, 0);
	util_start(c, 1);
	WAIT_FOR(c, util_log_lines(log_path, "is our key 0000000000001000 in its key file?") == 1);
	util_run_ms(c, 200);
	assert_int_equal(c->node[0].ups[1] + c->node[1].ups[0], 0);
	scene_end(c);
}

/* Links stay while keys come and go; new ones are made with what is valid then. */
static void test_rotation(void **state)
{
	struct cluster *c = scene(2);
	struct cluster_keys *both = talloc_zero(c, struct cluster_keys), *fresh = talloc_zero(c, struct cluster_keys);
	struct link_stats stats;

	util_key(fresh, 5);
	util_key(both, 0);
	util_key(both, 5);
	util_start(c, 0);
	util_start(c, 1);
	WAIT_FOR(c, linked(c, 0, 1));
	assert_int_equal(link_mesh_set_keys(c->node[0].mesh, NULL), EINVAL);
	/* one knows the new key and offers the old one; then the new one; then the old one is gone */
	assert_int_equal(link_mesh_set_keys(c->node[0].mesh, both), 0);
	assert_int_equal(link_mesh_set_keys(c->node[1].mesh, both), 0);
	assert_int_equal(cluster_keys_find(both, fresh->v[0].id) != NULL, true);
	assert_int_equal(link_mesh_set_keys(c->node[1].mesh, fresh), 0);
	util_run_ms(c, 300);
	assert_int_equal(c->node[0].downs[1] + c->node[1].downs[0], 0);
	assert_int_equal(util_send(&c->node[0], 1, "old", 3), 0);
	WAIT_FOR(c, c->node[1].frames[0] == 1);
	link_drop(c->node[1].mesh, 0);
	WAIT_FOR(c, linked(c, 0, 1) && c->node[0].ups[1] == 2);
	link_stats(c->node[0].mesh, 1, &stats);
	assert_string_equal(stats.path[0].key_id, fresh->v[0].id);
	/* retired here as well: an old key would be refused now */
	assert_int_equal(link_mesh_set_keys(c->node[0].mesh, fresh), 0);
	assert_int_equal(link_mesh_set_keys(c->node[1].mesh, c->keys), 0);
	link_drop(c->node[1].mesh, 0);
	WAIT_FOR(c, util_log_lines(log_path, "is our key 0000000000001000 in its key file?") == 1);
	assert_false(linked(c, 0, 1));
	scene_end(c);
}

static void test_no_keys_to_set(void **state)
{
	struct cluster *c = scene(2);

	c->node[0].config.keys = NULL;
	util_start(c, 0);
	assert_int_equal(link_mesh_set_keys(c->node[0].mesh, c->keys), EINVAL);
	scene_end(c);
}

/* ---- one side without TLS ---- */

static void test_plain_connects(void **state)
{
	struct cluster *c = scene(2);

	c->node[1].config.keys = NULL;
	util_start(c, 0);
	util_start(c, 1);
	WAIT_FOR(c, util_log_lines(log_path, "it does not speak TLS: is security = none there?") == 1);
	WAIT_FOR(c, util_log_lines(log_path, "refused by it: TLS is needed here") == 1);
	util_run_ms(c, 300);
	assert_int_equal(util_log_lines(log_path, "refused by it: TLS is needed here"), 1);
	assert_int_equal(c->node[0].ups[1] + c->node[1].ups[0], 0);
	scene_end(c);
}

static void test_plain_listens(void **state)
{
	struct cluster *c = scene(2);

	c->node[0].config.keys = NULL;
	util_start(c, 0);
	util_start(c, 1);
	WAIT_FOR(c, util_log_lines(log_path, "it speaks TLS, this node does not: is security = none here only?") == 1);
	WAIT_FOR(c, util_log_lines(log_path, "it does not speak TLS: is security = none there?") == 1);
	util_run_ms(c, 300);
	assert_int_equal(util_log_lines(log_path, "it does not speak TLS"), 1);
	assert_int_equal(c->node[0].ups[1] + c->node[1].ups[0], 0);
	scene_end(c);
}

/* ---- before authentication ---- */

/* Neither silence nor a byte now and then, in a handshake that begins well, holds a connection for longer than the 5 s.
 */
static void test_slow(void **state)
{
	struct cluster *c = scene(4);
	struct link_tls_mesh *keys;
	struct link_tls *tls;
	const uint8_t *hello;
	char why[200];
	struct mono begin, next;
	size_t len, sent = 0;
	int silent, slow;

	util_start(c, 0);
	begin = next = mono_now();
	silent = raw_connect(c, 13, 0);
	slow = raw_connect(c, 14, 0);
	assert_int_equal(link_tls_mesh_new(c, c->keys, &keys), 0);
	tls = link_tls_new(c, keys, true);
	assert_int_equal(link_tls_handshake(tls, why, sizeof(why)), EAGAIN);
	len = link_tls_out(tls, &hello);
	while (!raw_closed(slow)) {
		if (!mono_before(mono_now(), next) && sent < len) {
			raw_write(slow, hello + sent, 1);
			sent++;
			next = mono_add_ms(next, 100);
		}
		util_turn(c->ev);
		assert_true(mono_ms_between(begin, mono_now()) < WAIT_LIMIT_MS);
	}
	assert_true(sent < len); /* it was the time that was over */
	WAIT_FOR(c, raw_closed(silent));
	assert_true(mono_ms_between(begin, mono_now()) >= 4500);
	close(silent);
	close(slow);
	assert_int_equal(c->node[0].ups[2] + c->node[0].ups[3], 0);
	talloc_free(tls);
	scene_end(c);
}

static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* Garbage, garbage in a record, a client hello with bytes changed. */
static void test_garbage(void **state)
{
	struct cluster *c = scene(3);
	const char *given = getenv("TEST_SEED");
	uint64_t rnd = given != NULL ? strtoull(given, NULL, 0) : 20261121;
	struct link_tls_mesh *keys;
	uint8_t data[600];
	char why[200];

	print_message("TEST_SEED=%llu\n", (unsigned long long)rnd);
	assert_int_equal(link_tls_mesh_new(c, c->keys, &keys), 0);
	util_start(c, 0);
	util_start(c, 1);
	WAIT_FOR(c, linked(c, 0, 1));
	for (unsigned round = 0; round < 200; round++) {
		struct link_tls *tls = link_tls_new(c, keys, true);
		const uint8_t *hello;
		int fd = raw_connect(c, 13, 0);
		size_t len;

		assert_int_equal(link_tls_handshake(tls, why, sizeof(why)), EAGAIN);
		len = link_tls_out(tls, &hello);
		assert_true(len < sizeof(data));
		memcpy(data, hello, len);
		for (unsigned i = round % 3 == 0 ? 1 : 0; i < len && round % 3 < 2; i++) {
			data[i] = i < 5 && round % 3 == 0 ? data[i] : (uint8_t)next_random(&rnd);
		}
		data[next_random(&rnd) % len] ^= (uint8_t)(1 + next_random(&rnd) % 255);
		raw_write(fd, data, len);
		util_turn(c->ev);
		shutdown(fd, SHUT_WR);
		WAIT_FOR(c, raw_closed(fd));
		close(fd);
		talloc_free(tls);
	}
	assert_int_equal(c->node[0].ups[2], 0);
	assert_true(linked(c, 0, 1));
	assert_int_equal(c->node[0].ups[1], 1);
	scene_end(c);
}

static unsigned count_open(const int *fds, unsigned n)
{
	unsigned open = 0;

	for (unsigned i = 0; i < n; i++) {
		open += !raw_closed(fds[i]);
	}
	return open;
}

/* At most 64 unauthenticated connections, 8 of an address; a node gets in all the same. */
static void test_flood(void **state)
{
	struct cluster *c = scene(14);
	uint8_t start[5] = {0x16, 3, 1, 2, 0}; /* a record that never comes */
	int fds[100];
	unsigned n = 0;

	util_start(c, 0);
	for (unsigned i = 0; i < 12; i++) {
		fds[n] = raw_connect(c, 13, 0);
		raw_write(fds[n++], start, sizeof(start));
	}
	WAIT_FOR(c, count_open(fds, n) == 8);
	for (unsigned host = 14; host < 24; host++) {
		for (unsigned i = 0; i < 8; i++) {
			fds[n] = raw_connect(c, host, 0);
			raw_write(fds[n++], start, sizeof(start));
		}
		util_turn(c->ev);
	}
	WAIT_FOR(c, count_open(fds, n) <= 64);
	util_start(c, 1);
	WAIT_FOR(c, linked(c, 0, 1));
	for (unsigned i = 0; i < n; i++) {
		close(fds[i]);
	}
	scene_end(c);
}

/* ---- a hand-made peer with a key ---- */

struct tls_peer {
	int fd;
	struct link_tls *tls;
	uint8_t in[8192];
};

static void peer_push(struct tls_peer *p)
{
	const uint8_t *data;
	size_t len = link_tls_out(p->tls, &data);

	raw_write(p->fd, data, len);
	link_tls_out_done(p->tls, len);
}

static void peer_start(struct cluster *c, struct tls_peer *p, uint32_t from, uint32_t to)
{
	struct link_tls_mesh *keys;
	char why[200] = "";
	int ret;

	assert_int_equal(link_tls_mesh_new(c, c->keys, &keys), 0);
	p->tls = link_tls_new(c, keys, true);
	p->fd = raw_connect(c, 11 + from, to);
	while ((ret = link_tls_handshake(p->tls, why, sizeof(why))) == EAGAIN) {
		ssize_t n = -1;

		peer_push(p);
		WAIT_FOR(c, (n = recv(p->fd, p->in, sizeof(p->in), 0)) > 0);
		link_tls_feed(p->tls, p->in, (size_t)n);
	}
	assert_int_equal(ret, 0);
	peer_push(p);
}

static void peer_write(struct tls_peer *p, const void *data, size_t len)
{
	const uint8_t *from = data;

	while (len > 0) {
		size_t taken = 0;

		assert_int_equal(link_tls_write(p->tls, from, len, &taken), 0);
		from += taken;
		len -= taken;
	}
	peer_push(p);
}

static void peer_hello(struct cluster *c, struct tls_peer *p, uint32_t from, uint32_t to)
{
	struct link_hello hello = raw_hello(from, to);
	uint8_t frame[256];
	unsigned ups = c->node[to].ups[from];

	peer_start(c, p, from, to);
	peer_write(p, frame, raw_hello_frame(frame, &hello));
	WAIT_FOR(c, c->node[to].ups[from] == ups + 1);
}

/* Bad frames inside TLS are what they are without; bad TLS is the end as well. */
static void test_bad_after_hello(void **state)
{
	struct cluster *c = scene(3);
	struct tls_peer p;
	uint8_t junk[64] = {0x17, 3, 3, 0, 32};
	uint8_t frame[64];
	struct xdr_out out;

	util_start(c, 0);
	for (unsigned i = 0; i < 4; i++) {
		peer_hello(c, &p, 2, 0);
		out = (struct xdr_out){.p = frame, .end = frame + sizeof(frame)};
		if (i == 0) {
			xdr_put_u32(&out, c->node[0].config.max_frame + 1);
			peer_write(&p, frame, 4);
		} else if (i == 1) {
			peer_write(&p, frame, raw_frame(frame, LINK_FRAME_PING, "short", 5));
		} else if (i == 2) {
			raw_write(p.fd, junk, 37); /* a record that nobody encrypted */
		} else {
			raw_write(p.fd, "plain", 5);
		}
		WAIT_FOR(c, c->node[0].downs[2] == i + 1);
		assert_int_equal(c->node[0].reason[2], EBADMSG);
		WAIT_FOR(c, raw_closed(p.fd));
		close(p.fd);
		talloc_free(p.tls);
	}
	assert_int_equal(c->node[0].frames[2], 0);
	scene_end(c);
}

/* Who has a key may still not send what it likes: not before its hello, and not one that is too long. */
static void test_no_hello(void **state)
{
	struct cluster *c = scene(3);
	struct tls_peer p;
	uint8_t frame[64], *big = talloc_zero_size(c, 20000);

	util_start(c, 0);
	peer_start(c, &p, 2, 0);
	peer_write(&p, frame, raw_frame(frame, TYPE_DATA, "x", 1));
	WAIT_FOR(c, raw_closed(p.fd));
	close(p.fd);
	peer_start(c, &p, 2, 0);
	raw_frame(big, LINK_FRAME_HELLO, NULL, 0);
	big[2] = 3; /* 772 bytes that do not end before the record does */
	peer_write(&p, big, 16000);
	WAIT_FOR(c, raw_closed(p.fd));
	close(p.fd);
	assert_int_equal(c->node[0].ups[2], 0);
	scene_end(c);
}

/* A refusal is told inside TLS. */
static void test_refused(void **state)
{
	struct cluster *c = scene(2);
	static const char other[] = "other";

	c->node[1].config.name = other;
	util_start(c, 0);
	util_start(c, 1);
	WAIT_FOR(c, util_log_lines(log_path, "refused by it: it belongs to mesh 'other', this is 'test'") == 1);
	util_run_ms(c, 200);
	assert_int_equal(c->node[0].ups[1] + c->node[1].ups[0], 0);
	scene_end(c);
}

/* Closed at every byte of what a good peer sends. */
static void test_cut(void **state)
{
	struct cluster *c = scene(3);
	struct link_hello hello = raw_hello(2, 0);
	struct link_tls_mesh *keys;
	uint8_t frame[256];
	const uint8_t *data;
	char why[200];
	size_t taken, frame_len = raw_hello_frame(frame, &hello), len = 1;

	assert_int_equal(link_tls_mesh_new(c, c->keys, &keys), 0);
	util_start(c, 0);
	for (size_t cut = 0; cut < len; cut += 7) {
		struct tls_peer p;

		p.tls = link_tls_new(c, keys, true);
		p.fd = raw_connect(c, 13, 0);
		assert_int_equal(link_tls_handshake(p.tls, why, sizeof(why)), EAGAIN);
		if (cut % 2 == 0) {
			len = link_tls_out(p.tls, &data);
			raw_write(p.fd, data, cut < len ? cut : len);
			len *= 2;
		} else {
			close(p.fd);
			talloc_free(p.tls);
			peer_start(c, &p, 2, 0);
			assert_int_equal(link_tls_write(p.tls, frame, frame_len, &taken), 0);
			size_t rest = link_tls_out(p.tls, &data);

			raw_write(p.fd, data, cut < rest ? cut : rest - 1);
		}
		shutdown(p.fd, SHUT_WR);
		WAIT_FOR(c, raw_closed(p.fd));
		close(p.fd);
		talloc_free(p.tls);
	}
	assert_int_equal(c->node[0].ups[2], 0);
	scene_end(c);
}

/* ---- data ---- */

#define FRAMES 20000

struct stream {
	uint64_t sent[LINK_CLASSES], received[LINK_CLASSES];
	uint8_t *buffer;
};

static size_t frame_size(uint64_t seq)
{
	return seq % 500 == 17 ? 300000 + seq % 1000 : seq % 37 == 5 ? 16384 + seq % 5 - 10 : seq * 7 % 900;
}

static void stream_push(struct node *n, uint32_t to)
{
	struct stream *s = n->priv;

	for (uint32_t k = 0; k < LINK_CLASSES; k++) {
		int ret = 0;

		while (s->sent[k] < FRAMES && ret == 0) {
			struct iovec parts[2] = {{.iov_base = &s->sent[k], .iov_len = 8},
						 {.iov_base = s->buffer, .iov_len = frame_size(s->sent[k])}};

			memset(s->buffer, (int)(s->sent[k] % 251), parts[1].iov_len);
			ret = link_send_class(n->mesh, to, (enum link_class)k, TYPE_DATA + k, parts, 2);
			s->sent[k] += ret == 0;
			assert_true(ret == 0 || ret == ENOBUFS);
		}
	}
}

static void stream_take(struct node *n, uint32_t from, uint32_t type, const uint8_t *data, size_t len)
{
	struct stream *s = n->priv;
	uint32_t k = type - TYPE_DATA;
	uint64_t seq;

	assert_true(k < LINK_CLASSES && len >= 8);
	memcpy(&seq, data, 8);
	assert_int_equal(seq, s->received[k]);
	assert_int_equal(len - 8, frame_size(seq));
	for (size_t i = 8; i < len; i++) {
		if (data[i] != seq % 251) {
			fail_msg("frame %llu, byte %zu", (unsigned long long)seq, i);
		}
	}
	s->received[k]++;
}

static bool stream_done(const struct stream *s)
{
	return s->received[0] == FRAMES && s->received[1] == FRAMES;
}

static uint64_t stream_count(const struct stream s[2])
{
	return s[0].received[0] + s[0].received[1] + s[1].received[0] + s[1].received[1];
}

/* Both ways and in both classes at once, sizes around records and chunks, with full queues. */
static void test_data(void **state)
{
	struct cluster *c = scene(2);
	struct stream s[2] = {{.buffer = NULL}, {.buffer = NULL}};

	for (uint32_t i = 0; i < 2; i++) {
		c->node[i].config.queue_bytes = 2U << 20;
		s[i].buffer = talloc_size(c, 1U << 20);
		c->node[i].priv = &s[i];
		c->node[i].on_frame = stream_take;
		c->node[i].on_drained = stream_push;
		util_start(c, i);
	}
	WAIT_FOR(c, linked(c, 0, 1));
	stream_push(&c->node[0], 1);
	stream_push(&c->node[1], 0);
	while (!stream_done(&s[0]) || !stream_done(&s[1])) {
		uint64_t before = stream_count(s);

		WAIT_FOR(c, stream_count(s) != before);
	}
	assert_int_equal(c->node[0].downs[1] + c->node[1].downs[0], 0);
	scene_end(c);
}

struct bulk {
	uint64_t left, received;
	unsigned asked, answered;
	uint8_t *buffer;
};

#define BULK_FRAME (256U << 10)

static void bulk_push(struct node *n, uint32_t to)
{
	struct bulk *b = n->priv;

	while (b->left > 0) {
		struct iovec part = {.iov_base = b->buffer, .iov_len = BULK_FRAME};

		if (link_send_class(n->mesh, to, LINK_CLASS_BULK, TYPE_DATA, &part, 1) != 0) {
			return;
		}
		b->left -= BULK_FRAME;
	}
}

static void bulk_take(struct node *n, uint32_t from, uint32_t type, const uint8_t *data, size_t len)
{
	struct bulk *b = n->priv;
	struct iovec part = {.iov_base = (void *)(uintptr_t)data, .iov_len = len};

	if (type == TYPE_DATA) {
		b->received += len;
	} else if (from == 1) {
		assert_int_equal(link_send(n->mesh, from, type, &part, 1), 0); /* the answer */
	} else {
		b->answered++;
	}
}

/* 64 MiB of bulk, and questions on the control connection that are answered before it has ended. */
static void test_bulk(void **state)
{
	struct cluster *c = scene(2);
	struct bulk b[2] = {{.left = 0}, {.left = 0}};
	struct link_stats stats;
	struct iovec part = {.iov_base = (void *)(uintptr_t) "?", .iov_len = 1};

	for (uint32_t i = 0; i < 2; i++) {
		b[i].buffer = talloc_zero_size(c, BULK_FRAME);
		c->node[i].config.queue_bytes = 4U << 20;
		c->node[i].config.heartbeat_ms = 20;
		c->node[i].priv = &b[i];
		c->node[i].on_frame = bulk_take;
		c->node[i].on_drained = bulk_push;
		util_start(c, i);
	}
	WAIT_FOR(c, linked(c, 0, 1));
	b[1].left = 64U << 20;
	bulk_push(&c->node[1], 0);
	while (b[0].received < 64U << 20) {
		if (b[1].asked == b[1].answered) {
			assert_int_equal(link_send(c->node[1].mesh, 0, TYPE_DATA + 1, &part, 1), 0);
			b[1].asked++;
		}
		util_turn(c->ev);
	}
	assert_true(b[1].answered >= 5); /* all together would be 1 if they went behind the bulk */
	WAIT_FOR(c, b[1].answered == b[1].asked);
	WAIT_FOR(c, (link_stats(c->node[1].mesh, 0, &stats), stats.rtt_us > 0));
	scene_end(c);
}

/* The environment does not make TLS write down its secrets: sessions of all the other tests had the chance. */
static void test_no_key_log(void **state)
{
	assert_int_equal(unlink(key_log), -1);
	assert_int_equal(errno, ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_up),
		cmocka_unit_test(test_wrong_key),
		cmocka_unit_test(test_wrong_secret),
		cmocka_unit_test(test_rotation),
		cmocka_unit_test(test_no_keys_to_set),
		cmocka_unit_test(test_plain_connects),
		cmocka_unit_test(test_plain_listens),
		cmocka_unit_test(test_slow),
		cmocka_unit_test(test_garbage),
		cmocka_unit_test(test_flood),
		cmocka_unit_test(test_bad_after_hello),
		cmocka_unit_test(test_no_hello),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_cut),
		cmocka_unit_test(test_data),
		cmocka_unit_test(test_bulk),
		cmocka_unit_test(test_no_key_log),
	};

	snprintf(key_log, sizeof(key_log), "/tmp/test_link_tls.%d.keys", (int)getpid());
	unlink(key_log);
	setenv("SSLKEYLOGFILE", key_log, 1); /* GnuTLS looks at it once */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
