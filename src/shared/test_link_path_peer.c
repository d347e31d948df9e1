/* Tests of links over two paths: what the peer may not do, and a node that is forgotten in the middle of it. */
#include "test_link_scene.h"

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_use_first_on_either), cmocka_unit_test(test_use_wrong),
		cmocka_unit_test(test_versions_mixed),      cmocka_unit_test(test_use_late),
		cmocka_unit_test(test_bundle_wrong),        cmocka_unit_test(test_forgotten_in_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
