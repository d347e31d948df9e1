/* Tests of links over two paths: peers of version 1, nodes with other addresses or classes, changes of the nodes list.
 */
#include "test_link_scene.h"

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

/* ---- addresses ---- */

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
		cmocka_unit_test(test_version_1),       cmocka_unit_test(test_upgrade),
		cmocka_unit_test(test_cross_addresses), cmocka_unit_test(test_one_address),
		cmocka_unit_test(test_classes_differ),  cmocka_unit_test(test_address_missing),
		cmocka_unit_test(test_set_nodes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
