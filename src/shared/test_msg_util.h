/* For tests of messages: endpoints in a directory of their own, a server with a few procedures, raw datagrams. */
#ifndef SHARED_TEST_MSG_UTIL_H
#define SHARED_TEST_MSG_UTIL_H

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mono.h"
#include "protocol/msg.h"
#include "shared/log.h"
#include "shared/msg.h"

#define WAIT_LIMIT_MS  60000
#define TEST_INTERFACE 0x7000
#define PROC_ECHO      1
#define PROC_HOLD      2 /* answered when the test says so */
#define PROC_FORGET    3 /* freed without an answer */
#define PROC_STATUS    4 /* fails with EXDEV */
#define PROC_BAD       5 /* refused by the dispatcher: EBADMSG */
#define PROC_BIG       6 /* answers as many bytes as the argument says */
#define PROC_COUNT     7 /* a notification: must come in order */
#define HELD_MAX       2000

struct world {
	struct tevent_context *ev;
	char dir[64];
};

/* A server and what it has seen. */
struct server {
	struct msg *m;
	struct rpc_call *held[HELD_MAX];
	unsigned n_held;
	uint64_t counted; /* notifications, each with the next number */
	uint32_t source_node, source_uid;
	int32_t source_pid;
	char source_endpoint[64];
	bool oneway;
};

static inline struct world *world_new(void)
{
	struct world *w = talloc_zero(NULL, struct world);
	char *err = NULL;

	assert_int_equal(log_init(w, "test", "stderr", LOG_LVL_ERROR, &err), 0);
	w->ev = tevent_context_init(w);
	strcpy(w->dir, "/tmp/test_msg.XXXXXX");
	assert_non_null(mkdtemp(w->dir));
	return w;
}

static inline unsigned world_files(const struct world *w)
{
	DIR *d = opendir(w->dir);
	const struct dirent *e;
	unsigned n = 0;

	assert_non_null(d);
	while ((e = readdir(d)) != NULL) {
		n += e->d_name[0] != '.';
	}
	closedir(d);
	return n;
}

static inline void world_free(struct world *w)
{
	char dir[64];

	memcpy(dir, w->dir, sizeof(dir));
	talloc_free(w);
	assert_int_equal(rmdir(dir), 0); /* nothing is left behind */
}

static inline struct msg *world_open(struct world *w, const char *endpoint, const struct msg_limits *limits)
{
	struct msg *m = NULL;
	char *err = NULL;

	if (msg_open(w, w->ev, w->dir, endpoint, 0, limits, &m, &err) != 0) {
		fail_msg("%s", err);
	}
	return m;
}

static inline void util_wake(struct tevent_context *ev, struct tevent_timer *te, struct timeval now, void *priv)
{
	*(bool *)priv = true;
}

static inline void util_turn(struct tevent_context *ev)
{
	bool fired = false;
	struct tevent_timer *te = tevent_add_timer(ev, ev, tevent_timeval_current_ofs(0, 10000), util_wake, &fired);

	assert_int_equal(tevent_loop_once(ev), 0);
	if (!fired) {
		talloc_free(te);
	}
}

#define WAIT_FOR(w, condition)                                                                                         \
	do {                                                                                                           \
		struct mono limit_ = mono_add_ms(mono_now(), WAIT_LIMIT_MS);                                           \
		while (!(condition)) {                                                                                 \
			if (mono_before(limit_, mono_now())) {                                                         \
				fail_msg("line %d: never came true: %s", __LINE__, #condition);                        \
			}                                                                                              \
			util_turn((w)->ev);                                                                            \
		}                                                                                                      \
	} while (0)

static inline void server_big(struct rpc_call *call, const uint8_t *buf, size_t len)
{
	uint32_t size = 0;
	uint8_t *data;

	assert_int_equal(len, 4);
	memcpy(&size, buf, 4);
	data = talloc_size(NULL, size);
	memset(data, 0x5a, size);
	rpc_call_reply(call, data, size);
	talloc_free(data);
}

static inline int server_dispatch(void *priv, struct rpc_call *call, uint32_t proc, const uint8_t *buf, size_t len)
{
	struct server *s = priv;
	uint64_t number = 0;

	s->source_node = call->source_node;
	s->source_uid = call->source_uid;
	s->source_pid = call->source_pid;
	s->oneway = call->oneway;
	snprintf(s->source_endpoint, sizeof(s->source_endpoint), "%s", call->source_endpoint);
	switch (proc) {
	case PROC_ECHO:
		rpc_call_reply(call, buf, len);
		return 0;
	case PROC_HOLD:
		assert_true(s->n_held < HELD_MAX);
		s->held[s->n_held++] = call;
		return 0;
	case PROC_FORGET:
		talloc_free(call);
		return 0;
	case PROC_STATUS:
		rpc_call_fail(call, EXDEV);
		return 0;
	case PROC_BAD:
		return EBADMSG;
	case PROC_BIG:
		server_big(call, buf, len);
		return 0;
	case PROC_COUNT:
		assert_true(len >= 8);
		memcpy(&number, buf, 8);
		assert_int_equal(number, s->counted);
		s->counted++;
		return 0;
	default:
		return ENOSYS;
	}
}

static inline void server_start(struct world *w, struct server *s, const char *endpoint,
				const struct msg_limits *limits)
{
	s->m = world_open(w, endpoint, limits);
	assert_int_equal(msg_serve(s->m, TEST_INTERFACE, 1, server_dispatch, s), 0);
}

static inline struct rpc_client *client_to(TALLOC_CTX *mem, struct msg *m, const char *endpoint, uint32_t node)
{
	struct msg_addr addr = {.node = node};

	snprintf(addr.endpoint, sizeof(addr.endpoint), "%s", endpoint);
	return msg_client(mem, m, &addr);
}

static inline struct tevent_req *ask(struct world *w, struct rpc_client *c, uint32_t proc, const void *buf, size_t len,
				     uint32_t timeout_ms)
{
	struct tevent_req *req = c->request_send(w, w->ev, c, TEST_INTERFACE, 1, proc, buf, len, timeout_ms);

	assert_non_null(req);
	return req;
}

/* Waits for the answer. *result is below w. */
static inline int answer(struct world *w, struct rpc_client *c, struct tevent_req *req, struct ctdb_blob *result)
{
	struct ctdb_blob blob = {0};
	int ret;

	WAIT_FOR(w, !tevent_req_is_in_progress(req));
	ret = c->request_recv(req, w, &blob);
	talloc_free(req);
	if (result != NULL) {
		*result = blob;
	} else {
		talloc_free(blob.data);
	}
	return ret;
}

static inline int call(struct world *w, struct rpc_client *c, uint32_t proc, const void *buf, size_t len,
		       struct ctdb_blob *result)
{
	return answer(w, c, ask(w, c, proc, buf, len, 30000), result);
}

static inline void expect_echo(struct world *w, struct rpc_client *c)
{
	struct ctdb_blob result;

	assert_int_equal(call(w, c, PROC_ECHO, "hello", 5, &result), 0);
	assert_int_equal(result.len, 5);
	assert_memory_equal(result.data, "hello", 5);
	talloc_free(result.data);
}

static inline int count_number(struct rpc_client *c, uint64_t number, size_t extra)
{
	uint8_t *buf = talloc_zero_size(NULL, 8 + extra);
	int ret;

	memcpy(buf, &number, 8);
	ret = c->notify(c, TEST_INTERFACE, 1, PROC_COUNT, buf, 8 + extra);
	talloc_free(buf);
	return ret;
}

/* ---- datagrams made by hand ---- */

static inline struct sockaddr_un raw_addr(const struct world *w, const char *name)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};

	assert_true((size_t)snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/%s", w->dir, name) <
		    sizeof(addr.sun_path));
	return addr;
}

/* A socket with that name, which nobody reads unless the test does. */
static inline int raw_bind(const struct world *w, const char *name)
{
	struct sockaddr_un addr = raw_addr(w, name);
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	return fd;
}

static inline void raw_unbind(const struct world *w, const char *name, int fd)
{
	struct sockaddr_un addr = raw_addr(w, name);

	close(fd);
	unlink(addr.sun_path);
}

static inline struct msg_header raw_header(const char *source, const char *destination)
{
	return (struct msg_header){.magic = MSG_MAGIC,
				   .version = 1,
				   .kind = MSG_KIND_REQUEST,
				   .source = (char *)(uintptr_t)source,
				   .destination = (char *)(uintptr_t)destination,
				   .interface = TEST_INTERFACE,
				   .interface_version = 1,
				   .procedure = PROC_ECHO,
				   .id = 4711};
}

static inline size_t raw_packet(uint8_t *to, struct msg_header *header, const void *payload, size_t len)
{
	struct ctdb_blob blob;
	size_t n;

	if (!header->in_memfd) {
		header->payload_len = (uint32_t)len;
	}
	assert_int_equal(msg_header_encode(NULL, header, &blob), 0);
	blob.len -= header->version == 1 ? 4 : 0; /* it has no flags */
	memcpy(to, blob.data, blob.len);
	if (len > 0) {
		memcpy(to + blob.len, payload, len);
	}
	n = blob.len + len;
	talloc_free(blob.data);
	return n;
}

/* The endpoint that raw_send() sends as. */
static const char *raw_sender = "cli.2";

/* Sends with up to 4 descriptors; waits for room by letting the loop run. */
static inline void raw_send(struct world *w, const char *to, const void *data, size_t len, const int *fds,
			    unsigned n_fds)
{
	struct sockaddr_un addr = raw_addr(w, to);
	struct iovec iov = {.iov_base = (void *)(uintptr_t)data, .iov_len = len};
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(sizeof(int) * 8)];
	} control;
	struct msghdr mh = {.msg_name = &addr, .msg_namelen = sizeof(addr), .msg_iov = &iov, .msg_iovlen = 1};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	ssize_t n = -1;

	if (raw_sender != NULL) {
		struct sockaddr_un self = {.sun_family = AF_UNIX};
		int used = snprintf(self.sun_path + 1, sizeof(self.sun_path) - 1, "ctdb-msg/%s/test%d", raw_sender, (int)getpid());

		assert_int_equal(bind(fd, (struct sockaddr *)&self, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + used)), 0);
	}
	memset(&control, 0, sizeof(control));
	if (n_fds > 0) {
		struct cmsghdr *c;

		mh.msg_control = control.room;
		mh.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
		c = CMSG_FIRSTHDR(&mh);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
		memcpy(CMSG_DATA(c), fds, sizeof(int) * n_fds);
	}
	WAIT_FOR(w, (n = sendmsg(fd, &mh, 0)) >= 0 || errno != EAGAIN);
	assert_int_equal(n, len);
	close(fd);
}

#endif
