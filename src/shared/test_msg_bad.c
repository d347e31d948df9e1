/* Tests of messages against what is wrong: datagrams, descriptors, senders. Each is dropped and counted; the server
 * goes on. */
#include "test_msg_util.h"

struct scene {
	struct world *w;
	struct server s;
	struct msg *m;
	struct rpc_client *c;
	uint64_t bad; /* expected */
};

static void scene_start(struct scene *sc)
{
	*sc = (struct scene){.w = world_new()};
	server_start(sc->w, &sc->s, "db", NULL);
	sc->m = world_open(sc->w, "cli.1", NULL);
	sc->c = client_to(sc->m, sc->m, "db", 0);
	expect_echo(sc->w, sc->c);
}

static unsigned open_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	while (readdir(d) != NULL) {
		n++;
	}
	closedir(d);
	return n;
}

/* The server serves, has counted what was bad, and nothing else. */
static void scene_check(struct scene *sc)
{
	expect_echo(sc->w, sc->c);
	assert_int_equal(msg_stats(sc->s.m)->dropped_malformed, sc->bad);
}

static void scene_end(struct scene *sc)
{
	scene_check(sc);
	world_free(sc->w);
}

static void send_bad(struct scene *sc, const void *data, size_t len, const int *fds, unsigned n_fds)
{
	raw_send(sc->w, "db", data, len, fds, n_fds);
	sc->bad++;
	WAIT_FOR(sc->w, msg_stats(sc->s.m)->dropped_malformed == sc->bad);
}

static void test_truncated(void **state)
{
	struct scene sc;
	struct msg_header h = raw_header("cli.2", "db");
	uint8_t packet[600];
	size_t len = raw_packet(packet, &h, "0123456789", 10);

	scene_start(&sc);
	for (size_t cut = 0; cut < len; cut++) {
		send_bad(&sc, packet, cut, NULL, 0);
	}
	packet[len] = 0;
	send_bad(&sc, packet, len + 1, NULL, 0); /* more than the header says */
	scene_end(&sc);
}

static void send_bad_header(struct scene *sc, struct msg_header h)
{
	uint8_t packet[600];

	send_bad(sc, packet, raw_packet(packet, &h, "x", 1), NULL, 0);
}

static void test_bad_headers(void **state)
{
	struct scene sc;
	const struct msg_header good = raw_header("cli.2", "db");
	struct msg_header h;
	uint8_t packet[600];

	scene_start(&sc);
	h = good;
	h.magic = 1;
	send_bad_header(&sc, h);
	h = good;
	h.version = 3;
	send_bad_header(&sc, h);
	h = good;
	h.source = (char[]){"../../etc/passwd"};
	send_bad_header(&sc, h);
	h = good;
	h.source = (char[]){""};
	send_bad_header(&sc, h);
	h = good;
	h.destination = (char[]){"cluster"};
	send_bad_header(&sc, h);
	h = good;
	h.destination_node = 1;
	send_bad_header(&sc, h);
	h = good;
	h.destination_node = NODE_SELF;
	send_bad_header(&sc, h);
	h = good;
	h.source_node = NODE_UNKNOWN;
	send_bad_header(&sc, h);
	h = good;
	h.destination_node = NODE_GROUP_ALL; /* a request to a group */
	send_bad_header(&sc, h);
	h = good;
	h.destination_node = NODE_GROUP_ACTIVE + 1;
	h.kind = MSG_KIND_NOTIFY;
	send_bad_header(&sc, h);
	h = good;
	h.source = (char[]){"cli.1"}; /* another one's name */
	send_bad_header(&sc, h);
	h = good;
	h.source_node = 1; /* another node's */
	send_bad_header(&sc, h);
	h = good;
	h.status = 5;
	send_bad_header(&sc, h);
	h = good;
	h.kind = MSG_KIND_REPLY;
	h.status = -5;
	send_bad_header(&sc, h);
	h = good;
	size_t len = raw_packet(packet, &h, NULL, 0);

	for (uint32_t kind = 0; kind < 6; kind++) {
		if (kind < MSG_KIND_REQUEST || kind > MSG_KIND_NOTIFY) {
			packet[11] = (uint8_t)kind;
			send_bad(&sc, packet, len, NULL, 0);
		}
	}
	scene_end(&sc);
}

static int sealed_memfd(size_t size, int seals)
{
	int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	if (seals != 0) {
		assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
	}
	return fd;
}

static void test_bad_memfds(void **state)
{
	const int all = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
	struct scene sc;
	struct msg_header h = raw_header("cli.2", "db"), without = h;
	uint8_t packet[600], plain[600];
	size_t len, plain_len = raw_packet(plain, &without, "x", 1);
	unsigned before;
	int fds[8], pipes[2];

	h.in_memfd = true;
	h.payload_len = 100000;
	len = raw_packet(packet, &h, NULL, 0);
	scene_start(&sc);
	before = open_fds();
	send_bad(&sc, packet, len, NULL, 0); /* none */
	const int seals[] = {0, F_SEAL_SHRINK, F_SEAL_SHRINK | F_SEAL_GROW, F_SEAL_WRITE | F_SEAL_GROW};

	for (size_t i = 0; i < 4; i++) {
		fds[0] = sealed_memfd(100000, seals[i]);
		send_bad(&sc, packet, len, fds, 1);
		close(fds[0]);
	}
	const size_t sizes[] = {0, 1, 99999, 100001};

	for (size_t i = 0; i < 4; i++) {
		fds[0] = sealed_memfd(sizes[i], all);
		send_bad(&sc, packet, len, fds, 1);
		close(fds[0]);
	}
	assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
	send_bad(&sc, packet, len, pipes, 1);
	send_bad(&sc, packet, len, pipes, 2);
	send_bad(&sc, plain, plain_len, pipes, 1); /* a packet that has no memfd */
	for (unsigned i = 0; i < 8; i++) {
		fds[i] = pipes[0];
	}
	send_bad(&sc, plain, plain_len, fds, 8); /* more than there is room for */
	close(pipes[0]);
	close(pipes[1]);
	/* larger than any payload may be */
	h.payload_len = (64U << 20) + 1;
	fds[0] = sealed_memfd(h.payload_len, all);
	send_bad(&sc, packet, raw_packet(packet, &h, NULL, 0), fds, 1);
	close(fds[0]);
	assert_int_equal(open_fds(), before); /* none was kept */
	scene_end(&sc);
}

static void test_too_long(void **state)
{
	struct scene sc;
	static uint8_t packet[80000], payload[70000];
	struct msg_header h = raw_header("cli.2", "db");
	size_t len = raw_packet(packet, &h, payload, sizeof(payload));

	scene_start(&sc);
	send_bad(&sc, packet, len, NULL, 0);
	scene_end(&sc);
}

static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* Valid packets with bytes changed: whatever they are now, the server still serves and nothing leaks. */
static void test_random(void **state)
{
	struct scene sc;
	const char *given = getenv("TEST_SEED");
	uint64_t rnd = given != NULL ? strtoull(given, NULL, 0) : 20261121;
	struct msg_header h = raw_header("cli.1", "db");
	uint8_t packet[600];
	unsigned before;

	raw_sender = "cli.1";
	print_message("TEST_SEED=%llu\n", (unsigned long long)rnd);
	scene_start(&sc);
	before = open_fds();
	for (unsigned i = 0; i < 3000; i++) {
		size_t len = raw_packet(packet, &h, "payload!", 8);

		for (unsigned n = 1 + next_random(&rnd) % 4; n > 0; n--) {
			packet[next_random(&rnd) % len] = (uint8_t)next_random(&rnd);
		}
		raw_send(sc.w, "db", packet, len, NULL, 0);
	}
	expect_echo(sc.w, sc.c);
	assert_true(msg_stats(sc.s.m)->dropped_malformed > 1000);
	raw_sender = "cli.2";
	sc.bad = msg_stats(sc.s.m)->dropped_malformed;
	assert_int_equal(open_fds(), before);
	while (sc.s.n_held > 0) {
		talloc_free(sc.s.held[--sc.s.n_held]);
	}
	scene_end(&sc);
}

/* A reply counts only from where the request went. */
static void test_reply_from_elsewhere(void **state)
{
	struct world *w = world_new();
	struct msg *m = world_open(w, "cli.1", NULL);
	struct rpc_client *c = client_to(m, m, "raw", 0);
	int fd = raw_bind(w, "raw");
	struct tevent_req *req = ask(w, c, PROC_ECHO, NULL, 0, 60000);
	uint8_t packet[600];
	struct msg_header h, r;
	struct ctdb_blob result;
	ssize_t n = -1;

	WAIT_FOR(w, (n = recv(fd, packet, sizeof(packet), 0)) > 0);
	assert_int_equal(msg_header_decode(w, packet, (size_t)n, &h), 0);
	r = h;
	r.kind = MSG_KIND_REPLY;
	r.source = h.destination;
	r.destination = h.source;
	r.source = (char[]){"other"};
	raw_sender = "other";
	raw_send(w, "cli.1", packet, raw_packet(packet, &r, "wrong", 5), NULL, 0);
	r.source = h.destination;
	r.source_node = 5;
	raw_sender = "transport";
	raw_send(w, "cli.1", packet, raw_packet(packet, &r, "wrong", 5), NULL, 0);
	r.source_node = 0;
	raw_sender = "raw";
	r.id++;
	raw_send(w, "cli.1", packet, raw_packet(packet, &r, "wrong", 5), NULL, 0);
	WAIT_FOR(w, msg_stats(m)->received == 3);
	assert_true(tevent_req_is_in_progress(req));
	r.id--;
	raw_send(w, "cli.1", packet, raw_packet(packet, &r, "right", 5), NULL, 0);
	assert_int_equal(answer(w, c, req, &result), 0);
	assert_memory_equal(result.data, "right", 5);
	raw_unbind(w, "raw", fd);
	raw_sender = "cli.2";
	world_free(w);
}

/* Somebody who is neither root nor this user. The socket's mode keeps him out; here it is opened to see that this is
 * not the only door. */
static void test_foreign_user(void **state)
{
	struct scene sc;
	struct msg_header h = raw_header("cli.2", "db");
	struct sockaddr_un addr;
	uint8_t packet[600];
	size_t len = raw_packet(packet, &h, "x", 1);
	int status = 0;
	pid_t pid;

	if (geteuid() != 0) {
		skip(); /* only root can become somebody else */
	}
	scene_start(&sc);
	addr = raw_addr(sc.w, "db");
	for (unsigned open = 0; open < 2; open++) {
		if (open == 1) {
			assert_int_equal(chmod(addr.sun_path, 0666), 0);
			assert_int_equal(chmod(sc.w->dir, 0755), 0);
		}
		pid = fork();
		if (pid == 0) {
			int fd = socket(AF_UNIX, SOCK_DGRAM, 0);

			if (setresgid(65534, 65534, 65534) != 0 || setresuid(65534, 65534, 65534) != 0) {
				_exit(100);
			}
			_exit(sendto(fd, packet, len, 0, (struct sockaddr *)&addr, sizeof(addr)) == (ssize_t)len
				      ? 0
				      : errno);
		}
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFEXITED(status));
		assert_int_equal(WEXITSTATUS(status), open == 1 ? 0 : EACCES);
	}
	sc.bad = 1;
	WAIT_FOR(sc.w, msg_stats(sc.s.m)->dropped_malformed == 1);
	scene_end(&sc);
}

/* ---- a flood of requests ---- */

#define FLOOD 40000U

static struct rpc_call *flood_calls[FLOOD];
static unsigned flood_kept;

static int flood_keep(void *priv, struct rpc_call *call, uint32_t proc, const uint8_t *buf, size_t len)
{
	assert_true(flood_kept < FLOOD);
	flood_calls[flood_kept++] = call;
	return 0;
}

/* Who asks more than can be kept is told so; then there is room again. */
static void test_flood(void **state)
{
	const struct msg_limits limits = {.queue_bytes = 64U << 20};
	struct world *w = world_new();
	struct msg *server = world_open(w, "db", &limits), *m = world_open(w, "cli.1", &limits);
	const struct msg_addr addr = {.endpoint = "db", .node = NODE_SELF};
	struct rpc_client *c = msg_client(w, m, &addr);
	struct tevent_req **reqs = talloc_array(w, struct tevent_req *, FLOOD);
	unsigned done = 0, refused = 0;

	flood_kept = 0;
	assert_int_equal(msg_serve(server, TEST_INTERFACE, 1, flood_keep, NULL), 0);
	for (uint32_t i = 0; i < FLOOD; i++) {
		reqs[i] = c->request_send(w, w->ev, c, TEST_INTERFACE, 1, PROC_HOLD, NULL, 0, 600000);
		assert_non_null(reqs[i]);
	}
	for (uint32_t i = 0; i < FLOOD; i++) {
		WAIT_FOR(w, !tevent_req_is_in_progress(reqs[i]) || i < flood_kept);
	}
	for (uint32_t i = 0; i < FLOOD; i++) {
		struct ctdb_blob result;

		if (tevent_req_is_in_progress(reqs[i])) {
			continue;
		}
		done++;
		refused += c->request_recv(reqs[i], w, &result) == ENOBUFS;
	}
	assert_true(flood_kept > 0 && flood_kept < FLOOD);
	assert_int_equal(refused, done);
	assert_int_equal(refused + flood_kept, FLOOD);
	rpc_call_reply(flood_calls[0], NULL, 0);
	WAIT_FOR(w, !tevent_req_is_in_progress(reqs[0]));
	done = flood_kept;
	(void)c->request_send(w, w->ev, c, TEST_INTERFACE, 1, PROC_HOLD, NULL, 0, 600000);
	WAIT_FOR(w, flood_kept == done + 1);
	talloc_free(m);
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_truncated),  cmocka_unit_test(test_bad_headers),
		cmocka_unit_test(test_bad_memfds), cmocka_unit_test(test_too_long),
		cmocka_unit_test(test_random),     cmocka_unit_test(test_reply_from_elsewhere),
		cmocka_unit_test(test_flood),      cmocka_unit_test(test_foreign_user),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
