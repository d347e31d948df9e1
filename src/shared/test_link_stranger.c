/* Tests of links: nodes that come from an unknown address and say that they have moved; and others that come from
 * there. */
#include "test_link_util.h"

#include "shared/link_tls.h"
#include "shared/log.h"

#define STRANGER 99 /* 127.0.0.99 is in no list */

static char log_path[64];

static const struct link_ops moved_ops = {
	.up = util_up, .down = util_down, .frame = util_frame, .drained = util_drained, .moved = util_moved};

/* What the user of node 0 was told. */
static struct {
	unsigned n;
	uint64_t token;
	uint32_t pnn;
	uint8_t id[16];
	char address[128];
	bool at_once; /* answer from within */
} got;

static char list_text[] = "127.0.0.11\n127.0.0.12\n127.0.0.99\n", none[] = "", why_text[] = "because";

static void on_moved(struct node *n, uint64_t token, const struct link_moved *moved)
{
	got.n++;
	got.token = token;
	got.pnn = moved->pnn;
	memcpy(got.id, moved->id, sizeof(got.id));
	snprintf(got.address, sizeof(got.address), "%s", moved->address);
	if (got.at_once) {
		link_moved_answer(n->mesh, token,
				  &(struct link_list){.result = LINK_MOVED_REFUSED, .text = why_text, .nodes = none});
	}
}

/* Nodes 0 and 1 with keys; node 0 takes strangers. */
static struct cluster *scene(void)
{
	struct cluster *c = util_cluster(3);
	char *err = NULL;

	memset(&got, 0, sizeof(got));
	snprintf(log_path, sizeof(log_path), "/tmp/test_link_stranger.%d.log", (int)getpid());
	unlink(log_path);
	assert_int_equal(log_init(c, "test", talloc_asprintf(c, "file:%s", log_path), LOG_LVL_NOTICE, &err), 0);
	util_key(c->keys, 0);
	for (uint32_t i = 0; i < 3; i++) {
		c->node[i].config.keys = c->keys;
		c->node[i].config.n_classes = LINK_CLASSES;
	}
	c->node[0].ops = &moved_ops;
	c->node[0].on_moved = on_moved;
	util_start(c, 0);
	return c;
}

static void scene_end(struct cluster *c)
{
	unlink(log_path);
	talloc_free(c);
}

/* ---- who comes ---- */

struct stranger {
	int fd;
	struct link_tls *tls;
	uint8_t in[8192];
	uint8_t answer[40000];
};

static void stranger_push(struct stranger *s)
{
	const uint8_t *data;
	size_t len = link_tls_out(s->tls, &data);

	raw_write(s->fd, data, len);
	link_tls_out_done(s->tls, len);
}

static struct stranger *stranger_new(struct cluster *c, unsigned host)
{
	struct stranger *s = talloc_zero(c, struct stranger);
	struct link_tls_mesh *keys;
	char why[200] = "";
	int ret;

	assert_int_equal(link_tls_mesh_new(s, c->keys, &keys), 0);
	s->tls = link_tls_new(s, keys, true);
	s->fd = raw_connect(c, host, 0);
	while ((ret = link_tls_handshake(s->tls, why, sizeof(why))) == EAGAIN) {
		ssize_t n = -1;

		stranger_push(s);
		WAIT_FOR(c, (n = recv(s->fd, s->in, sizeof(s->in), 0)) > 0);
		link_tls_feed(s->tls, s->in, (size_t)n);
	}
	assert_int_equal(ret, 0);
	stranger_push(s);
	return s;
}

static void stranger_write(struct stranger *s, const void *data, size_t len)
{
	size_t taken = 0;

	assert_int_equal(link_tls_write(s->tls, data, len, &taken), 0);
	assert_int_equal(taken, len);
	stranger_push(s);
}

static void stranger_end(struct stranger *s)
{
	close(s->fd);
	talloc_free(s);
}

static size_t moved_frame(uint8_t frame[512], uint32_t magic, const char *address)
{
	struct link_moved moved = {.magic = magic, .pnn = 2, .id = {1, 2, 3}, .address = (char *)(uintptr_t)address};
	struct ctdb_blob blob;
	size_t n;

	assert_int_equal(link_moved_encode(NULL, &moved, &blob), 0);
	n = raw_frame(frame, LINK_FRAME_MOVED, blob.data, blob.len);
	talloc_free(blob.data);
	return n;
}

static void stranger_ask(struct stranger *s, const char *address)
{
	uint8_t frame[512];

	stranger_write(s, frame, moved_frame(frame, LINK_MAGIC, address));
}

/* One turn; bytes of the answer so far. */
static size_t stranger_read(struct stranger *s, size_t have)
{
	ssize_t n = recv(s->fd, s->in, sizeof(s->in), 0);
	char why[200];
	size_t more = 0;

	if (n <= 0) {
		return have;
	}
	link_tls_feed(s->tls, s->in, (size_t)n);
	while (link_tls_read(s->tls, s->answer + have, sizeof(s->answer) - have, &more, why, sizeof(why)) == 0) {
		have += more;
	}
	return have;
}

static void stranger_hear(struct cluster *c, struct stranger *s, struct link_list *list)
{
	size_t have = 0;
	uint32_t len;

	WAIT_FOR(c, (have = stranger_read(s, have)) >= 4 &&
			    have >= 4 + (size_t)(len = (uint32_t)s->answer[0] << 24 | (uint32_t)s->answer[1] << 16 |
						       (uint32_t)s->answer[2] << 8 | s->answer[3]));
	assert_int_equal(have, 4 + len);
	assert_int_equal(s->answer[7], LINK_FRAME_LIST);
	assert_int_equal(link_list_decode(s, s->answer + 8, len - 4, list), 0);
}

static bool closed(struct stranger *s)
{
	return raw_closed(s->fd);
}

/* ---- tests ---- */

static void test_answered(void **state)
{
	struct cluster *c = scene();
	struct stranger *s = stranger_new(c, STRANGER);
	struct link_list list;

	util_start(c, 1);
	stranger_ask(s, "127.0.0.99");
	WAIT_FOR(c, got.n == 1);
	assert_int_equal(got.pnn, 2);
	assert_int_equal(got.id[2], 3);
	assert_string_equal(got.address, "127.0.0.99");
	/* a token that nobody has, and one that has its answer, do nothing */
	link_moved_answer(c->node[0].mesh, got.token + 1, &(struct link_list){.text = none, .nodes = none});
	link_moved_answer(c->node[0].mesh, got.token,
			  &(struct link_list){.result = LINK_MOVED_DONE, .text = none, .nodes = list_text});
	link_moved_answer(c->node[0].mesh, got.token,
			  &(struct link_list){.result = LINK_MOVED_LATER, .text = none, .nodes = none});
	stranger_hear(c, s, &list);
	assert_int_equal(list.result, LINK_MOVED_DONE);
	assert_string_equal(list.nodes, list_text);
	stranger_end(s);
	WAIT_FOR(c, link_is_up(c->node[0].mesh, 1) && link_is_up(c->node[1].mesh, 0));
	assert_int_equal(c->node[0].downs[1], 0);
	assert_int_equal(c->node[0].ups[2], 0);
	assert_int_equal(util_log_lines(log_path, "127.0.0.99"), 0); /* nothing to complain about */
	scene_end(c);
}

/* From within the callback; from an address of the list; and to who is gone. */
static void test_answered_otherwise(void **state)
{
	struct cluster *c = scene();
	struct stranger *s = stranger_new(c, STRANGER);
	struct link_list list;

	got.at_once = true;
	stranger_ask(s, "10.1.2.3,127.0.0.99");
	stranger_hear(c, s, &list);
	assert_int_equal(list.result, LINK_MOVED_REFUSED);
	assert_string_equal(list.text, "because");
	stranger_end(s);
	s = stranger_new(c, 13);
	stranger_ask(s, "127.0.0.13");
	stranger_hear(c, s, &list);
	assert_int_equal(got.n, 2);
	stranger_end(s);
	got.at_once = false;
	s = stranger_new(c, STRANGER);
	stranger_ask(s, "127.0.0.99");
	WAIT_FOR(c, got.n == 3);
	stranger_end(s);
	util_run_ms(c, 50);
	link_moved_answer(c->node[0].mesh, got.token, &(struct link_list){.text = none, .nodes = none});
	util_run_ms(c, 50);
	scene_end(c);
}

/* What is not the address that it comes from is told so; the user never hears of it. */
static void test_address_checked(void **state)
{
	static const char *const bad[] = {"127.0.0.98",   "",
					  "#127.0.0.99",  "127.0.0.99\n127.0.0.98",
					  "name",         "127.0.0.99,127.0.0.99",
					  " 127.0.0.99",  "127.0.0.99\n",
					  "\n127.0.0.99", "127.0.0.99\t127.0.0.98"};
	struct cluster *c = scene();

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct stranger *s = stranger_new(c, STRANGER);
		struct link_list list;

		stranger_ask(s, bad[i]);
		stranger_hear(c, s, &list);
		assert_int_equal(list.result, LINK_MOVED_REFUSED);
		assert_true(i > 0 || strstr(list.text, "127.0.0.99, but says that its address is 127.0.0.98") != NULL);
		stranger_end(s);
		util_run_ms(c, 150); /* not too many in a second */
	}
	assert_int_equal(got.n, 0);
	scene_end(c);
}

/* Anything but one good frame MOVED ends it. */
static void test_malformed(void **state)
{
	struct cluster *c = scene();
	struct link_hello hello = raw_hello(2, 0);
	uint8_t frame[512];

	for (unsigned i = 0; i < 8; i++) {
		struct stranger *s = stranger_new(c, STRANGER);
		size_t len = moved_frame(frame, LINK_MAGIC, "127.0.0.99");

		switch (i) {
		case 0:
			stranger_write(s, frame, raw_hello_frame(frame, &hello));
			break;
		case 1:
			stranger_write(s, frame, moved_frame(frame, LINK_MAGIC + 1, "127.0.0.99"));
			break;
		case 2:
			stranger_write(s, frame, raw_frame(frame, LINK_FRAME_MOVED, NULL, 0));
			break;
		case 3:
			frame[3] -= 1; /* cut off */
			stranger_write(s, frame, len - 1);
			break;
		case 4:
			stranger_write(s, frame, raw_frame(frame, TYPE_DATA, "x", 1));
			break;
		case 5:
			stranger_write(s, "\x7f\xff\xff\xff", 4);
			break;
		case 6:
			stranger_write(s, frame, raw_frame(frame, LINK_FRAME_LIST, "x", 1));
			break;
		default:
			stranger_write(s, frame, len);
			WAIT_FOR(c, got.n == 1);
			stranger_write(s, frame, len); /* once more */
			break;
		}
		WAIT_FOR(c, closed(s));
		stranger_end(s);
		util_run_ms(c, 150);
	}
	assert_int_equal(got.n, 1);
	assert_int_equal(c->node[0].ups[2], 0);
	assert_true(util_log_lines(log_path,
				   "connection from 127.0.0.99 closed: not the address of another node, and ") > 0);
	scene_end(c);
}

/* A wrong key is no key; and who does not want strangers takes none, TLS or not. */
static void test_refused(void **state)
{
	struct cluster *c = scene();
	struct cluster_keys *other = talloc_zero(c, struct cluster_keys);
	struct link_tls_mesh *keys;
	struct link_tls *tls;
	const uint8_t *data;
	char why[200];
	size_t len;
	int fd;

	util_key(other, 1);
	assert_int_equal(link_tls_mesh_new(c, other, &keys), 0);
	tls = link_tls_new(c, keys, true);
	fd = raw_connect(c, STRANGER, 0);
	assert_int_equal(link_tls_handshake(tls, why, sizeof(why)), EAGAIN);
	len = link_tls_out(tls, &data);
	raw_write(fd, data, len);
	/* it goes on as far as it lasts, and that is not far */
	WAIT_FOR(c, raw_closed(fd));
	close(fd);
	fd = raw_connect(c, STRANGER, 0);
	raw_write(fd, "GET / HTTP/1.1\r\n", 16);
	WAIT_FOR(c, raw_closed(fd));
	close(fd);
	util_start(c, 1);
	fd = raw_connect(c, STRANGER, 1);
	WAIT_FOR(c, raw_closed(fd));
	close(fd);
	c->node[2].config.keys = NULL;
	c->node[2].ops = &moved_ops;
	util_start(c, 2);
	fd = raw_connect(c, STRANGER, 2);
	WAIT_FOR(c, raw_closed(fd));
	close(fd);
	assert_int_equal(
		util_log_lines(log_path, "connection from 127.0.0.99 refused: not the address of another node"), 1);
	assert_int_equal(got.n, 0);
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

/* At most LINK_STRANGERS at a time: one more gives up, not those that are there, and nodes are not kept out. */
static void test_flood(void **state)
{
	struct cluster *c = scene();
	struct stranger *s;
	int fds[40];

	for (unsigned i = 0; i < 40; i++) {
		fds[i] = raw_connect(c, STRANGER - i, 0);
	}
	WAIT_FOR(c, count_open(fds, 40) <= LINK_STRANGERS);
	assert_int_equal(count_open(fds, 40), LINK_STRANGERS);
	for (unsigned i = 0; i < LINK_STRANGERS; i++) {
		assert_false(raw_closed(fds[i]));
	}
	util_start(c, 1);
	WAIT_FOR(c, link_is_up(c->node[0].mesh, 1) && link_is_up(c->node[1].mesh, 0));
	/* they say nothing: it ends by time */
	WAIT_FOR(c, raw_closed(fds[0]) && raw_closed(fds[3]));
	for (unsigned i = 0; i < 40; i++) {
		close(fds[i]);
	}
	/* the next one gets in */
	s = stranger_new(c, STRANGER);
	stranger_ask(s, "127.0.0.99");
	WAIT_FOR(c, got.n == 1);
	stranger_end(s);
	scene_end(c);
}

/* The list changes, or the mesh ends, while a question waits. */
static void test_list_changes(void **state)
{
	struct cluster *c = scene();
	struct stranger *s = stranger_new(c, STRANGER), *old;
	struct conf_nodes *list = util_nodes(c, 3);
	struct link_list answer;

	stranger_ask(s, "127.0.0.99");
	WAIT_FOR(c, got.n == 1);
	list->v[2].n_addrs = 0;
	util_node_addr(list, 2, 0, "127.0.0.99");
	assert_int_equal(link_mesh_set_nodes(c->node[0].mesh, list), 0);
	link_moved_answer(c->node[0].mesh, got.token,
			  &(struct link_list){.result = LINK_MOVED_DONE, .text = none, .nodes = list_text});
	stranger_hear(c, s, &answer);
	assert_int_equal(answer.result, LINK_MOVED_DONE);
	stranger_end(s);
	s = stranger_new(c, 13); /* its former address is a stranger's now */
	stranger_ask(s, "127.0.0.13");
	WAIT_FOR(c, got.n == 2);
	old = s;
	util_stop(c, 0);
	WAIT_FOR(c, closed(old));
	stranger_end(old);
	scene_end(c);
}

int main(void)
{
	/* the first one looks for a line of which there is one in ten seconds */
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_malformed),
		cmocka_unit_test(test_answered),
		cmocka_unit_test(test_answered_otherwise),
		cmocka_unit_test(test_address_checked),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_flood),
		cmocka_unit_test(test_list_changes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
