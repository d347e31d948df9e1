/* A stand-in for the daemon, for tests. */
#include "test_fake.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <talloc.h>
#include <unistd.h>

#include "protocol/classic_native.h"

#define CHECK(x)                                                                                                       \
	do {                                                                                                           \
		if (!(x)) {                                                                                            \
			fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #x, strerror(errno));                   \
			abort();                                                                                       \
		}                                                                                                      \
	} while (0)

#define CONNECTIONS 8U

struct fake {
	char dir[64], path[96];
	int listener;
	pid_t pid;
	int fd; /* of the packet that is handled */
	int fds[CONNECTIONS];
	fake_fn fn;
	void *priv;
	struct {
		unsigned int accepted, closed; /* atomic */
	} * shared;
	TALLOC_CTX *mem;
};

static void send_all(int fd, const void *data, size_t len)
{
	const uint8_t *p = data;

	while (len > 0) {
		ssize_t n = send(fd, p, len, MSG_NOSIGNAL);

		if (n <= 0) {
			return; /* the library has given up the connection: the test sees that */
		}
		p += n;
		len -= (size_t)n;
	}
}

void fake_bytes(struct fake *f, const void *data, size_t len)
{
	send_all(f->fd, data, len);
}

void fake_packet(struct fake *f, uint32_t operation, uint32_t reqid, uint32_t length, const void *body, size_t len)
{
	struct classic_header hdr = {
		.length = length != 0 ? length : (uint32_t)(CLASSIC_HEADER_SIZE + len),
		.magic = CLASSIC_MAGIC,
		.version = CLASSIC_VERSION,
		.generation = 77,
		.operation = operation,
		.srcnode = FAKE_PNN,
		.reqid = reqid,
	};
	struct ctdb_blob head;

	CHECK(classic_header_nencode(f->mem, &hdr, &head) == 0);
	send_all(f->fd, head.data, head.len);
	send_all(f->fd, body, len);
	talloc_free(head.data);
}

static struct ctdb_blob blob(struct fake *f, const void *data, size_t len)
{
	return (struct ctdb_blob){.len = (uint32_t)len, .data = talloc_memdup(f->mem, data, len)};
}

void fake_reply_control(struct fake *f, const struct fake_request *r, int32_t status, const void *data, size_t len,
			const char *error)
{
	struct classic_reply_control p = {.status = status,
					  .data = blob(f, data, len),
					  .error = blob(f, error, error == NULL ? 0 : strlen(error))};
	struct ctdb_blob body = {.len = 0};

	CHECK(classic_reply_control_nencode(f->mem, &p, &body) == 0);
	fake_packet(f, CLASSIC_REPLY_CONTROL, r->hdr.reqid, 0, body.data, body.len);
}

void fake_reply_call(struct fake *f, const struct fake_request *r, const void *data, size_t len)
{
	struct classic_reply_call p = {.data = blob(f, data, len)};
	struct ctdb_blob body = {.len = 0};

	CHECK(classic_reply_call_nencode(f->mem, &p, &body) == 0);
	fake_packet(f, CLASSIC_REPLY_CALL, r->hdr.reqid, 0, body.data, body.len);
}

void fake_message(struct fake *f, uint64_t srvid, const void *data, size_t len)
{
	struct classic_req_message p = {.srvid = srvid, .data = blob(f, data, len)};
	struct ctdb_blob body = {.len = 0};

	CHECK(classic_req_message_nencode(f->mem, &p, &body) == 0);
	fake_packet(f, CLASSIC_REQ_MESSAGE, 0, 0, body.data, body.len);
}

void fake_hang_up(struct fake *f)
{
	shutdown(f->fd, SHUT_RDWR);
}

/* ---- the process ---- */

static bool recv_all(int fd, void *data, size_t len)
{
	uint8_t *p = data;

	while (len > 0) {
		ssize_t n = recv(fd, p, len, 0);

		if (n <= 0) {
			return false;
		}
		p += n;
		len -= (size_t)n;
	}
	return true;
}

static void decode(struct fake *f, struct fake_request *r)
{
	switch (r->hdr.operation) {
	case CLASSIC_REQ_CONTROL:
		CHECK(classic_req_control_nview(r->body, r->len, &r->control, NULL) == 0);
		break;
	case CLASSIC_REQ_CALL:
		CHECK(classic_req_call_nview(r->body, r->len, &r->call, NULL) == 0);
		break;
	case CLASSIC_REQ_MESSAGE:
		CHECK(classic_req_message_nview(r->body, r->len, &r->message, NULL) == 0);
		break;
	default:
		CHECK(!"an operation that clients send");
	}
}

/* One packet; what the library sends must always be well formed. */
static bool serve(struct fake *f)
{
	struct fake_request r = {.body = NULL};
	uint8_t head[CLASSIC_HEADER_SIZE], *body;

	if (!recv_all(f->fd, head, sizeof(head))) {
		return false;
	}
	CHECK(classic_header_nview(head, sizeof(head), &r.hdr, NULL) == 0);
	CHECK(r.hdr.magic == CLASSIC_MAGIC && r.hdr.version == CLASSIC_VERSION && r.hdr.length >= sizeof(head));
	CHECK(r.hdr.length % 8 == 0);
	r.len = r.hdr.length - sizeof(head);
	body = talloc_size(f->mem, r.len);
	if (!recv_all(f->fd, body, r.len)) {
		return false;
	}
	r.body = body;
	decode(f, &r);
	if (f->fn == NULL || !f->fn(f, &r, f->priv)) {
		if (r.hdr.operation == CLASSIC_REQ_CONTROL && (r.control.flags & CLASSIC_CTRL_FLAG_NOREPLY) == 0) {
			bool pnn = r.control.opcode == CLASSIC_CONTROL_GET_PNN;

			fake_reply_control(f, &r, pnn ? (int32_t)FAKE_PNN : -1, NULL, 0, NULL);
		}
	}
	talloc_free_children(f->mem);
	return true;
}

static void accept_one(struct fake *f)
{
	unsigned int i;
	int fd = accept(f->listener, NULL, NULL);

	CHECK(fd != -1);
	for (i = 0; i < CONNECTIONS && f->fds[i] != -1; i++) {
	}
	CHECK(i < CONNECTIONS);
	f->fds[i] = fd;
	__atomic_add_fetch(&f->shared->accepted, 1, __ATOMIC_SEQ_CST);
}

static void fake_main(struct fake *f)
{
	struct pollfd p[CONNECTIONS + 1];
	unsigned int i;

	for (;;) {
		p[CONNECTIONS] = (struct pollfd){.fd = f->listener, .events = POLLIN};
		for (i = 0; i < CONNECTIONS; i++) {
			p[i] = (struct pollfd){.fd = f->fds[i], .events = POLLIN};
		}
		CHECK(poll(p, CONNECTIONS + 1, -1) > 0);
		if (p[CONNECTIONS].revents != 0) {
			accept_one(f);
		}
		for (i = 0; i < CONNECTIONS; i++) {
			f->fd = p[i].fd;
			if (f->fd != -1 && p[i].revents != 0 && !serve(f)) {
				close(f->fd);
				f->fds[i] = -1;
				__atomic_add_fetch(&f->shared->closed, 1, __ATOMIC_SEQ_CST);
			}
		}
	}
}

void *fake_shared(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	CHECK(p != MAP_FAILED);
	return p;
}

struct fake *fake_start(fake_fn fn, void *priv)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	struct fake *f = calloc(1, sizeof(*f));
	unsigned int i;

	CHECK(f != NULL);
	snprintf(f->dir, sizeof(f->dir), "/tmp/ctfakeXXXXXX");
	CHECK(mkdtemp(f->dir) != NULL);
	snprintf(f->path, sizeof(f->path), "%s/socket", f->dir);
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", f->path);
	f->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK(f->listener != -1);
	CHECK(bind(f->listener, (struct sockaddr *)&addr, sizeof(addr)) == 0 && listen(f->listener, 5) == 0);
	for (i = 0; i < CONNECTIONS; i++) {
		f->fds[i] = -1;
	}
	f->fn = fn;
	f->priv = priv;
	f->mem = talloc_new(NULL);
	f->shared = fake_shared(sizeof(*f->shared));
	f->pid = fork();
	CHECK(f->pid != -1);
	if (f->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		fake_main(f);
		_exit(1);
	}
	close(f->listener);
	return f;
}

const char *fake_path(const struct fake *f)
{
	return f->path;
}

const char *fake_dir(const struct fake *f)
{
	return f->dir;
}

unsigned int fake_accepted(struct fake *f)
{
	return __atomic_load_n(&f->shared->accepted, __ATOMIC_SEQ_CST);
}

unsigned int fake_closed(struct fake *f)
{
	return __atomic_load_n(&f->shared->closed, __ATOMIC_SEQ_CST);
}

void fake_stop(struct fake *f)
{
	DIR *d = opendir(f->dir);
	struct dirent *e;
	int status;

	CHECK(kill(f->pid, SIGKILL) == 0 && waitpid(f->pid, &status, 0) == f->pid);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	CHECK(d != NULL);
	while ((e = readdir(d)) != NULL) {
		unlinkat(dirfd(d), e->d_name, 0);
	}
	closedir(d);
	CHECK(rmdir(f->dir) == 0);
	talloc_free(f->mem);
	free(f);
}
