/* A node that has moved: the question to one node, over a connection of its own. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "moved.h"
#include "shared/link.h"
#include "shared/node_id.h"

#define ANSWER_MAX 40000 /* a frame LIST */

struct asking {
	struct moved_ask *ask;
	int fd;
	struct mono end; /* of what is done now */
	struct link_tls *tls;
	uint8_t in[LINK_TLS_RECORD + 512];
	uint8_t answer[ANSWER_MAX];
	char *why;
	size_t room;
};

static socklen_t address_len(const struct sockaddr_storage *addr)
{
	return addr->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
}

/* 0, ETIMEDOUT, ECANCELED. */
static int wait_for(const struct asking *a, short events)
{
	struct pollfd fds[2] = {{.fd = a->ask->stop_fd, .events = POLLIN}, {.fd = a->fd, .events = events}};
	int n;

	do {
		n = poll(fds, 2, (int)mono_ms_between(mono_now(), a->end));
	} while (n < 0 && errno == EINTR);
	if (n < 0) {
		return errno;
	}
	return fds[0].revents != 0 ? ECANCELED : n == 0 ? ETIMEDOUT : 0;
}

static int begin(const struct asking *a, const struct sockaddr_storage *to)
{
	struct sockaddr_storage addr = *to;

	if (a->ask->own != NULL && bind(a->fd, (const struct sockaddr *)a->ask->own, address_len(a->ask->own)) != 0) {
		return errno;
	}
	((struct sockaddr_in *)&addr)->sin_port = htons(a->ask->port); /* the same place in sockaddr_in6 */
	return connect(a->fd, (struct sockaddr *)&addr, address_len(&addr)) == 0 ? 0 : errno;
}

static int connect_to(const struct asking *a, const struct sockaddr_storage *to)
{
	struct sockaddr_storage own = {0};
	socklen_t len = sizeof(own), err_len = sizeof(int);
	const void *raw = &((struct sockaddr_in *)&own)->sin_addr;
	int ret = begin(a, to), err = 0;

	ret = ret == EINPROGRESS ? wait_for(a, POLLOUT) : ret;
	if (ret == 0 && getsockopt(a->fd, SOL_SOCKET, SO_ERROR, &err, &err_len) == 0) {
		ret = err;
	}
	if (ret == 0 && getsockname(a->fd, (struct sockaddr *)&own, &len) != 0) {
		ret = errno;
	}
	if (ret != 0) {
		return ret;
	}
	if (own.ss_family == AF_INET6) {
		raw = &((struct sockaddr_in6 *)&own)->sin6_addr;
	}
	return inet_ntop(own.ss_family, raw, a->ask->from, sizeof(a->ask->from)) == NULL ? errno : 0;
}

/* What TLS has to say. */
static int flush(const struct asking *a)
{
	const uint8_t *data;
	size_t len;

	while ((len = link_tls_out(a->tls, &data)) > 0) {
		ssize_t n = send(a->fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT);
		int ret = n >= 0 ? 0 : errno == EAGAIN ? wait_for(a, POLLOUT) : errno == EINTR ? 0 : errno;

		if (ret != 0) {
			return ret;
		}
		link_tls_out_done(a->tls, n > 0 ? (size_t)n : 0);
	}
	return 0;
}

/* All that was read before is used up. */
static int more(struct asking *a)
{
	ssize_t n;
	int ret;

	do {
		ret = wait_for(a, POLLIN);
		n = ret == 0 ? recv(a->fd, a->in, sizeof(a->in), MSG_DONTWAIT) : 0;
	} while (n < 0 && (errno == EAGAIN || errno == EINTR));
	if (ret != 0 || n < 0) {
		return ret != 0 ? ret : errno;
	}
	if (n == 0) {
		return ECONNREFUSED;
	}
	link_tls_feed(a->tls, a->in, (size_t)n);
	return 0;
}

/* A node that does not take strangers says so in clear text, before any TLS. */
static int no_tls(struct asking *a)
{
	snprintf(a->why, a->room, "it does not speak TLS: is security = none there?");
	return EPROTO;
}

static int handshake(struct asking *a)
{
	bool first = true;
	int ret;

	for (;;) {
		ret = link_tls_handshake(a->tls, a->why, a->room);
		if (ret == EPROTO) {
			(void)flush(a);
			return ret;
		}
		if (ret == 0) {
			return flush(a);
		}
		ret = flush(a);
		ret = ret != 0 ? ret : more(a);
		if (ret != 0) {
			return ret;
		}
		if (first && !link_tls_looks_like(a->in, sizeof(a->in))) {
			return no_tls(a);
		}
		first = false;
	}
}

static int say(struct asking *a)
{
	uint8_t frame[256];
	char address[128];
	struct link_moved moved = {.magic = LINK_MAGIC, .pnn = a->ask->id->pnn, .address = address};
	struct xdr_out out = {.p = frame, .end = frame + sizeof(frame)};
	size_t taken = 0, len;
	int ret;

	snprintf(address, sizeof(address), "%s%s%s", a->ask->from, a->ask->second != NULL ? "," : "",
		 a->ask->second != NULL ? a->ask->second : "");
	memcpy(moved.id, a->ask->id->id, sizeof(moved.id));
	xdr_put_u32(&out, (uint32_t)(4 + link_moved_size(&moved)));
	xdr_put_u32(&out, LINK_FRAME_MOVED);
	link_moved_put(&out, &moved);
	if (out.err != 0) {
		return out.err;
	}
	len = (size_t)(out.p - frame);
	ret = link_tls_write(a->tls, frame, len, &taken);
	return ret != 0 ? ret : taken != len ? EPROTO : flush(a);
}

static uint32_t number(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* The whole frame into answer; *len of what follows the length. */
static int hear(struct asking *a, size_t *len)
{
	size_t have = 0;

	for (;;) {
		size_t n = 0;
		int ret = link_tls_read(a->tls, a->answer + have, sizeof(a->answer) - have, &n, a->why, a->room);

		ret = ret == EAGAIN ? more(a) : ret;
		if (ret != 0) {
			return ret == ECONNRESET ? ECONNREFUSED : ret;
		}
		have += n;
		*len = have >= 4 ? number(a->answer) : 4;
		if (*len < 4 || *len > sizeof(a->answer) - 4) {
			return EBADMSG;
		}
		if (have >= 4 + *len) {
			return 0;
		}
	}
}

static int understand(TALLOC_CTX *mem, struct asking *a, size_t len, struct link_list *list)
{
	uint32_t type = len >= 4 ? number(a->answer + 4) : 0;
	const uint8_t *data = a->answer + 8;
	struct link_refused refused;

	if (len < 4) {
		return EBADMSG;
	}
	len -= 4;
	if (type == LINK_FRAME_LIST) {
		return link_list_decode(mem, data, len, list);
	}
	if (type == LINK_FRAME_REFUSED && link_refused_decode(mem, data, len, &refused) == 0) {
		snprintf(a->why, a->room, "%s", refused.reason);
		return ECONNREFUSED;
	}
	return EBADMSG;
}

static int ask_all(TALLOC_CTX *mem, struct asking *a, const struct sockaddr_storage *to, struct link_list *list)
{
	size_t len = 0;
	int ret;

	a->end = mono_add_ms(mono_now(), MOVED_CONNECT_MS);
	ret = connect_to(a, to);
	if (ret != 0) {
		return ret;
	}
	a->tls = link_tls_new(a, a->ask->tls, true);
	if (a->tls == NULL) {
		return ENOMEM;
	}
	a->end = mono_add_ms(mono_now(), MOVED_TLS_MS);
	ret = handshake(a);
	ret = ret != 0 ? ret : say(a);
	if (ret == 0) {
		a->end = mono_add_ms(mono_now(), LINK_MOVED_MS);
		ret = hear(a, &len);
	}
	return ret != 0 ? ret : understand(mem, a, len, list);
}

int moved_ask(TALLOC_CTX *mem, struct moved_ask *ask, const struct sockaddr_storage *to, struct link_list *list,
	      char *why, size_t room)
{
	struct asking *a = talloc_zero(mem, struct asking);
	int ret;

	if (a == NULL) {
		return ENOMEM;
	}
	why[0] = '\0';
	*a = (struct asking){.ask = ask, .why = why, .room = room};
	a->fd = socket(to->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	ret = a->fd < 0 ? errno : 0;
	if (ret == 0) {
		(void)setsockopt(a->fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
		ret = ask_all(mem, a, to, list);
	}
	if (a->fd >= 0) {
		close(a->fd);
	}
	if (ret != 0 && why[0] == '\0') {
		snprintf(why, room, "%s", ret == ECONNREFUSED ? "it does not take the connection" : strerror(ret));
	}
	talloc_free(a);
	return ret;
}
