/* Message library: endpoints. What they are and how they share the work: shared/msg.h, shared/msg_private.h. */
#include "shared/msg_private.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "shared/log.h"

#define MSG_DEFAULT_QUEUE   (8U << 20)
#define MSG_DEFAULT_INLINE  (64U << 10)
#define MSG_DEFAULT_PAYLOAD (64U << 20)
#define MSG_MAX_FDS         4   /* taken from one datagram, to be closed; it should have one at most */
#define MSG_LOCK_TRIES      500 /* of 2 ms */

/* ---- names ---- */

int msg_sockaddr(const struct msg *m, const char *endpoint, struct sockaddr_un *addr)
{
	size_t room = sizeof(addr->sun_path);
	int n;

	*addr = (struct sockaddr_un){.sun_family = AF_UNIX};
	n = snprintf(addr->sun_path, room, "%s/%s", m->dir, endpoint);
	if (n > 0 && (size_t)n < room) {
		return 0;
	}
	n = snprintf(addr->sun_path, room, "/proc/self/fd/%d/%s", m->dir_fd, endpoint);
	return n > 0 && (size_t)n < room ? 0 : ENAMETOOLONG;
}

/* ---- sending ---- */

static int msg_send_routed(struct msg *m, const struct msg_header *header, const uint8_t *payload, size_t len)
{
	uint8_t *data = NULL;
	size_t data_len = 0;
	int ret;

	if (len > m->limits.payload_bytes) {
		return EMSGSIZE;
	}
	ret = msg_packet_flat(m, header, payload, len, &data, &data_len);
	if (ret == 0) {
		m->route(m->route_priv, header->destination_node, data, data_len);
		talloc_free(data);
	}
	return ret;
}

static bool msg_can_go_to(const struct msg_header *header)
{
	return header->destination_node < NODE_GROUP_ALL ||
	       (msg_node_is_group(header->destination_node) && header->kind == MSG_KIND_NOTIFY);
}

int msg_send(struct msg *m, const struct msg_header *header, const uint8_t *payload, size_t len)
{
	bool here = header->destination_node == m->own_node;
	struct msg_packet *packet = NULL;
	int ret;

	if (m->foreign) {
		return ESHUTDOWN;
	}
	if (!msg_endpoint_valid(header->destination) || !msg_can_go_to(header)) {
		return EINVAL;
	}
	if (!here && m->route != NULL) {
		return msg_send_routed(m, header, payload, len);
	}
	ret = msg_packet_new(m, header, payload, len, &packet);
	if (ret != 0) {
		return ret;
	}
	if (here && header->kind == MSG_KIND_REQUEST && header->source_node == m->own_node &&
	    strcmp(header->source, m->endpoint) == 0) {
		packet->request = header->id;
	}
	ret = msg_queue_send(m, here ? header->destination : MSG_TRANSPORT_ENDPOINT, packet);
	return !here && ret == ENOENT ? EHOSTUNREACH : ret;
}

void msg_packet_failed(struct msg *m, const uint8_t *data, size_t len, int error)
{
	TALLOC_CTX *tmp = talloc_new(m);
	struct msg_incoming in;
	const char *why;

	if (tmp != NULL && msg_incoming_parse(tmp, data, len, &in, &why) == 0 && in.header.kind == MSG_KIND_REQUEST) {
		if (error == ENOENT && in.header.destination_node != m->own_node) {
			error = EHOSTUNREACH; /* the endpoint that is missing is transport */
		}
		if (in.header.source_node != m->own_node || strcmp(in.header.source, m->endpoint) != 0) {
			msg_answer_error(m, &in.header, error);
		} else {
			msg_request_fail(m, &in.header, error);
		}
	}
	talloc_free(tmp);
}

/* ---- receiving ---- */

/* What recvmsg() told beside the bytes. */
struct msg_ancillary {
	bool have_cred;
	struct ucred cred;
	int fds[MSG_MAX_FDS];
	unsigned n_fds;
	char sender[64]; /* endpoint whose socket sent it, "" if it does not say */
};

/* Name of the socket that sent: of an endpoint itself, or one of those with which an endpoint sends (msg_queue.c). */
static void msg_sender_name(const struct sockaddr_un *from, socklen_t len, char name[64])
{
	size_t room = sizeof(from->sun_path), n;
	char path[sizeof(from->sun_path) + 1] = {0};
	const char *start;

	name[0] = '\0';
	if (len <= offsetof(struct sockaddr_un, sun_path) || len > offsetof(struct sockaddr_un, sun_path) + room) {
		return;
	}
	memcpy(path, from->sun_path, len - offsetof(struct sockaddr_un, sun_path));
	if (path[0] != '\0') {
		start = strrchr(path, '/');
		start = start != NULL ? start + 1 : path;
	} else if (strncmp(path + 1, MSG_SOCKET_PREFIX, strlen(MSG_SOCKET_PREFIX)) == 0) {
		start = path + 1 + strlen(MSG_SOCKET_PREFIX);
	} else {
		return;
	}
	n = strcspn(start, "/");
	if (n < 64) {
		memcpy(name, start, n);
		name[n] = '\0';
	}
}

/* An endpoint speaks for itself only; transport also hands on what came from elsewhere. */
static const char *msg_sender_fault(const struct msg *m, const struct msg_header *h, const char *sender)
{
	if (strcmp(sender, MSG_TRANSPORT_ENDPOINT) == 0) {
		return NULL;
	}
	if (h->source_node != m->own_node) {
		return "it claims to be from another node, and transport did not send it";
	}
	return strcmp(sender, h->source) == 0 ? NULL : "it was not sent by the endpoint that it names as its source";
}

static void msg_malformed(struct msg *m, const struct msg_ancillary *a, const char *why)
{
	m->stats.dropped_malformed++;
	log_ratelimited(LOG_LVL_WARNING, 1000, "endpoint %s: dropping malformed datagram from process %d, uid %d: %s",
			m->endpoint, (int)a->cred.pid, (int)a->cred.uid, why);
}

static void msg_ancillary_read(struct msghdr *mh, struct msg_ancillary *a)
{
	struct cmsghdr *c;

	*a = (struct msg_ancillary){.n_fds = 0};
	for (c = CMSG_FIRSTHDR(mh); c != NULL; c = CMSG_NXTHDR(mh, c)) {
		if (c->cmsg_level != SOL_SOCKET) {
			continue;
		}
		if (c->cmsg_type == SCM_CREDENTIALS && c->cmsg_len == CMSG_LEN(sizeof(a->cred))) {
			memcpy(&a->cred, CMSG_DATA(c), sizeof(a->cred));
			a->have_cred = true;
		} else if (c->cmsg_type == SCM_RIGHTS) {
			a->n_fds = (unsigned)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
			memcpy(a->fds, CMSG_DATA(c), a->n_fds * sizeof(int));
		}
	}
}

/* Hands on to the router, or to the endpoint's own services. */
static void msg_incoming_take(struct msg *m, const struct msg_incoming *in, const struct msg_ancillary *a)
{
	uint8_t *data = NULL;
	size_t len = 0;

	if (in->header.destination_node == m->own_node) {
		if (strcmp(in->header.destination, m->endpoint) != 0) {
			msg_malformed(m, a, "it is for another endpoint");
		} else {
			msg_call_receive(m, in);
		}
	} else if (m->closing) {
		msg_packet_failed(m, m->buffer, m->buffer_len, EHOSTUNREACH);
	} else if (m->route == NULL) {
		msg_malformed(m, a, "it is for another node");
	} else if (in->header.source_node != m->own_node) {
		msg_malformed(m, a, "it neither comes from this node nor is for it");
	} else if (msg_packet_flat(m, &in->header, in->payload, in->len, &data, &len) == 0) {
		talloc_steal(in->header.source, data); /* freed with what was received */
		m->route(m->route_priv, in->header.destination_node, data, len);
	} else {
		msg_packet_failed(m, m->buffer, m->buffer_len, ENOMEM);
	}
}

static void msg_datagram(struct msg *m, TALLOC_CTX *tmp, size_t len, const struct msg_ancillary *a)
{
	struct msg_incoming in;
	const char *why = NULL;

	if (msg_incoming_parse(tmp, m->buffer, len, &in, &why) != 0) {
		msg_malformed(m, a, why);
		return;
	}
	why = msg_sender_fault(m, &in.header, a->sender);
	if (why != NULL) {
		msg_malformed(m, a, why);
		return;
	}
	if (in.header.in_memfd != (a->n_fds == 1)) {
		msg_malformed(m, a, "number of descriptors is not as its header says");
		return;
	}
	if (in.header.in_memfd && msg_incoming_map(tmp, m, a->fds[0], &in, &why) != 0) {
		msg_malformed(m, a, why);
		return;
	}
	m->stats.received++;
	m->stats.received_bytes += len + (in.header.in_memfd ? in.len : 0);
	/* What transport hands on here itself (the own node is in a group) has its credentials, not the sender's. */
	if (in.header.source_node == m->own_node && strcmp(a->sender, in.header.source) == 0) {
		in.uid = a->cred.uid;
		in.pid = (int32_t)a->cred.pid;
	}
	msg_incoming_take(m, &in, a);
}

/* One datagram. False: no more. m may be gone afterwards. */
static bool msg_receive(struct msg *m)
{
	struct iovec iov = {.iov_base = m->buffer, .iov_len = m->buffer_len};
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(sizeof(struct ucred)) + CMSG_SPACE(sizeof(int) * MSG_MAX_FDS)];
	} control;
	struct sockaddr_un from;
	struct msghdr mh = {.msg_name = &from,
			    .msg_namelen = sizeof(from),
			    .msg_iov = &iov,
			    .msg_iovlen = 1,
			    .msg_control = control.room,
			    .msg_controllen = sizeof(control.room)};
	struct msg_ancillary a;
	TALLOC_CTX *tmp;
	ssize_t n = recvmsg(m->fd, &mh, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	unsigned i;

	if (n < 0) {
		return errno == EINTR;
	}
	msg_ancillary_read(&mh, &a);
	msg_sender_name(&from, mh.msg_namelen, a.sender);
	tmp = talloc_new(NULL);
	if (tmp == NULL) {
		msg_malformed(m, &a, "out of memory");
	} else if (!a.have_cred || (a.cred.uid != 0 && a.cred.uid != geteuid())) {
		msg_malformed(m, &a, "sender is neither root nor this user");
	} else if ((mh.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0) {
		msg_malformed(m, &a, "it is too long or its descriptors did not arrive");
	} else {
		msg_datagram(m, tmp, (size_t)n, &a);
	}
	talloc_free(tmp);
	for (i = 0; i < a.n_fds; i++) {
		close(a.fds[i]);
	}
	return true;
}

static void msg_readable(struct tevent_context *ev, struct tevent_fd *fde, uint16_t flags, void *priv)
{
	struct msg *m = priv;
	bool gone = false;
	unsigned n;

	m->gone = &gone;
	for (n = 0; n < MSG_RECEIVE_BATCH; n++) {
		bool more = msg_receive(m);

		if (gone) {
			return;
		}
		if (!more) {
			break;
		}
	}
	m->gone = NULL;
}

/* ---- for transportd ---- */

void msg_set_router(struct msg *m, msg_route_fn route, void *priv)
{
	m->route = route;
	m->route_priv = priv;
}

/* Forwards to an endpoint of this node, or takes it if the endpoint is the own one. */
static int msg_deliver_incoming(struct msg *m, const struct msg_incoming *in)
{
	int ret;

	if (strcmp(in->header.destination, m->endpoint) == 0) {
		m->stats.received++;
		m->stats.received_bytes += in->len;
		msg_call_receive(m, in);
		return 0;
	}
	ret = msg_send(m, &in->header, in->payload, in->len);
	if (ret != 0 && in->header.kind == MSG_KIND_REQUEST) {
		msg_answer_error(m, &in->header, ret);
	}
	return ret;
}

int msg_deliver(struct msg *m, uint32_t from_node, const uint8_t *packet, size_t len)
{
	TALLOC_CTX *tmp = talloc_new(NULL);
	struct msg_incoming in;
	const char *why = NULL;
	int ret;

	if (tmp == NULL) {
		return ENOMEM;
	}
	ret = msg_incoming_parse(tmp, packet, len, &in, &why);
	if (ret == 0 && (in.header.source_node != from_node || in.header.destination_node != m->own_node)) {
		why = "source or destination node is not that of its link";
		ret = EBADMSG;
	} else if (ret == 0 && in.header.in_memfd) {
		why = "it claims a memfd";
		ret = EBADMSG;
	}
	if (ret != 0) {
		m->stats.dropped_malformed++;
		log_ratelimited(LOG_LVL_WARNING, 1000, "endpoint %s: dropping malformed packet from node %u: %s",
				m->endpoint, from_node, why);
	} else {
		ret = msg_deliver_incoming(m, &in);
	}
	talloc_free(tmp);
	return ret;
}

static void msg_group_own_copy(struct msg *m, const uint8_t *packet, size_t len)
{
	struct msg_packet_plan plan;
	uint8_t *copy;

	if (msg_packet_plan(packet, len, MSG_VERSION, m->own_node, &plan) != 0) {
		return;
	}
	copy = talloc_array(m, uint8_t, plan.header_len + plan.payload_len);
	if (copy == NULL) {
		msg_undeliverable(m, packet, len, ENOMEM);
		return;
	}
	memcpy(copy, plan.header, plan.header_len);
	memcpy(copy + plan.header_len, plan.payload, plan.payload_len);
	(void)msg_deliver(m, m->own_node, copy, plan.header_len + plan.payload_len);
	talloc_free(copy);
}

void msg_to_group(struct msg *m, uint32_t group, uint32_t n_nodes, const struct msg_group_ops *ops, void *priv,
		  const uint8_t *packet, size_t len)
{
	bool anybody = false;
	uint32_t pnn;

	for (pnn = 0; pnn < n_nodes; pnn++) {
		if (!ops->has(priv, group, pnn)) {
			continue;
		}
		anybody = true;
		if (pnn == m->own_node) {
			msg_group_own_copy(m, packet, len);
		} else {
			ops->send(priv, pnn, packet, len);
		}
	}
	if (!anybody) {
		msg_group_empty(m, packet, len);
	}
}

void msg_undeliverable(struct msg *m, const uint8_t *packet, size_t len, int error)
{
	if (error == EHOSTUNREACH) {
		m->stats.unreachable++;
	} else if (error == ENOBUFS) {
		m->stats.dropped_full++;
	}
	msg_packet_failed(m, packet, len, error);
}

void msg_group_empty(struct msg *m, const uint8_t *packet, size_t len)
{
	TALLOC_CTX *tmp = talloc_new(NULL);
	struct msg_incoming in;
	const char *why;

	if (tmp != NULL && msg_incoming_parse(tmp, packet, len, &in, &why) == 0) {
		if (strcmp(in.header.source, m->endpoint) == 0) {
			m->stats.group_empty++;
		} else {
			/* A reply to no request: nothing else has the id 0. */
			in.header.destination = m->endpoint;
			in.header.destination_node = m->own_node;
			in.header.id = 0;
			msg_answer_error(m, &in.header, EHOSTUNREACH);
		}
	}
	talloc_free(tmp);
}

const struct msg_stats *msg_stats(const struct msg *m)
{
	return &m->stats;
}

/* ---- opening and closing ---- */

static void msg_unlink(const struct msg *m)
{
	struct stat st;

	/* Not the socket of a successor. */
	if (m->path != NULL && fstatat(m->dir_fd, m->endpoint, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_dev == m->dev &&
	    st.st_ino == m->ino) {
		(void)unlinkat(m->dir_fd, m->endpoint, 0);
	}
}

/* Requests that are in the kernel's queue are told that nobody will work on them. */
static void msg_drain(struct msg *m)
{
	unsigned n;

	for (n = 0; n < 2 * MSG_RECEIVE_BATCH && msg_receive(m); n++) {
	}
}

static int msg_destructor(struct msg *m)
{
	if (m->gone != NULL) {
		*m->gone = true;
	}
	m->closing = true;
	m->foreign = m->pid != getpid(); /* a child's copy of us: the socket and what waits for us is the parent's */
	if (!m->foreign) {
		msg_unlink(m);
	}
	msg_streams_shutdown(m);
	msg_call_shutdown(m);
	if (!m->foreign && m->fde != NULL) {
		/* From here on senders are told: nothing can come in behind what is drained. */
		(void)shutdown(m->fd, SHUT_RD);
		msg_drain(m);
	}
	TALLOC_FREE(m->fde);
	if (m->fd >= 0) {
		close(m->fd);
	}
	if (m->dir_fd >= 0) {
		close(m->dir_fd);
	}
	return 0;
}

/*
 * Serialises those who bind: two that both find a stale socket would otherwise remove each other's new one. Held for a
 * few system calls only; if somebody holds it for a second, something is wrong.
 */
static int msg_dir_lock(int dir_fd)
{
	const struct timespec pause = {.tv_nsec = 2000000};
	unsigned i;

	for (i = 0; i < MSG_LOCK_TRIES; i++) {
		if (flock(dir_fd, LOCK_EX | LOCK_NB) == 0) {
			return 0;
		}
		if (errno != EWOULDBLOCK) {
			return errno;
		}
		nanosleep(&pause, NULL);
	}
	return ETIMEDOUT;
}

bool msg_is_alive(const struct sockaddr_un *addr)
{
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	bool alive = true; /* also if we cannot tell: rather refuse than steal */

	if (fd >= 0) {
		alive = connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) == 0 ||
			(errno != ECONNREFUSED && errno != ENOENT);
		close(fd);
	}
	return alive;
}

static int msg_bind_locked(struct msg *m, const struct sockaddr_un *addr)
{
	struct stat st;

	if (bind(m->fd, (const struct sockaddr *)addr, sizeof(*addr)) != 0) {
		if (errno != EADDRINUSE) {
			return errno;
		}
		if (fstatat(m->dir_fd, m->endpoint, &st, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISSOCK(st.st_mode)) {
			return EEXIST;
		}
		if (msg_is_alive(addr)) {
			return EADDRINUSE;
		}
		if (unlinkat(m->dir_fd, m->endpoint, 0) != 0 && errno != ENOENT) {
			return errno;
		}
		if (bind(m->fd, (const struct sockaddr *)addr, sizeof(*addr)) != 0) {
			return errno;
		}
	}
	if (fstatat(m->dir_fd, m->endpoint, &st, AT_SYMLINK_NOFOLLOW) != 0) {
		return errno;
	}
	m->dev = st.st_dev;
	m->ino = st.st_ino;
	m->pid = getpid();
	return 0;
}

static int msg_bind(struct msg *m)
{
	int on = 1;
	struct sockaddr_un addr;
	int ret = msg_sockaddr(m, m->endpoint, &addr);

	if (ret != 0) {
		return ret;
	}
	m->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (m->fd < 0) {
		return errno;
	}
	/* The mode of the socket file comes from the descriptor's, so there is no moment in which others may write. */
	if (fchmod(m->fd, 0600) != 0 || setsockopt(m->fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) != 0) {
		return errno;
	}
	ret = msg_dir_lock(m->dir_fd);
	if (ret != 0) {
		return ret;
	}
	ret = msg_bind_locked(m, &addr);
	flock(m->dir_fd, LOCK_UN);
	if (ret == 0) {
		m->path = talloc_asprintf(m, "%s/%s", m->dir, m->endpoint);
	}
	return ret;
}

static int msg_open_dir(struct msg *m)
{
	if (mkdir(m->dir, 0700) != 0 && errno != EEXIST) {
		return errno;
	}
	m->dir_fd = open(m->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return m->dir_fd < 0 ? errno : 0;
}

static void msg_set_limits(struct msg *m, const struct msg_limits *limits)
{
	m->limits = (struct msg_limits){MSG_DEFAULT_QUEUE, MSG_DEFAULT_INLINE, MSG_DEFAULT_PAYLOAD};
	if (limits != NULL) {
		m->limits.queue_bytes = limits->queue_bytes != 0 ? limits->queue_bytes : MSG_DEFAULT_QUEUE;
		m->limits.inline_bytes = limits->inline_bytes != 0 ? limits->inline_bytes : MSG_DEFAULT_INLINE;
		m->limits.payload_bytes = limits->payload_bytes != 0 ? limits->payload_bytes : MSG_DEFAULT_PAYLOAD;
	}
}

static struct msg *msg_alloc(TALLOC_CTX *mem, struct tevent_context *ev, const char *dir, const char *endpoint,
			     uint32_t own_node, const struct msg_limits *limits)
{
	struct msg *m = talloc_zero(mem, struct msg);
	unsigned i;

	if (m == NULL) {
		return NULL;
	}
	m->ev = ev;
	m->fd = m->dir_fd = -1;
	m->own_node = own_node;
	dlist_init(&m->services);
	dlist_init(&m->calls);
	dlist_init(&m->dests);
	dlist_init(&m->deadlines);
	for (i = 0; i < MSG_BUCKETS; i++) {
		dlist_init(&m->requests[i]);
	}
	msg_set_limits(m, limits);
	talloc_set_destructor(m, msg_destructor);
	/* Numbers start anywhere: a reply to a former run of this endpoint must not fit a request of this one. */
	if (getrandom(&m->next_id, sizeof(m->next_id), 0) != (ssize_t)sizeof(m->next_id)) {
		m->next_id = mono_now().ns << 20;
	}
	m->socket_id = ~m->next_id;
	m->opened = mono_now();
	m->buffer_len = m->limits.inline_bytes + MSG_HEADER_ROOM;
	m->buffer = talloc_array(m, uint8_t, m->buffer_len);
	m->dir = talloc_strdup(m, dir);
	m->endpoint = talloc_strdup(m, endpoint);
	m->timer = mono_timer_new(m, ev, msg_call_timeout, m);
	m->retry = mono_timer_new(m, ev, msg_queue_retry, m);
	m->watch = mono_timer_new(m, ev, msg_queue_watch, m);
	if (m->buffer == NULL || m->dir == NULL || m->endpoint == NULL || m->timer == NULL || m->retry == NULL ||
	    m->watch == NULL) {
		TALLOC_FREE(m);
	}
	return m;
}

static char *msg_open_error(TALLOC_CTX *mem, const char *dir, const char *endpoint, int ret)
{
	if (ret == EADDRINUSE) {
		return talloc_asprintf(mem, "%s/%s: another process has this endpoint; stop it first", dir, endpoint);
	}
	if (ret == EEXIST) {
		return talloc_asprintf(mem, "%s/%s: exists and is not a socket; remove it", dir, endpoint);
	}
	if (ret == EINVAL) {
		return talloc_asprintf(
			mem, "endpoint '%s': bad name, want service[.instance] of a-z, 0-9 and -, at most 31 each",
			endpoint);
	}
	return talloc_asprintf(mem, "%s/%s: cannot open this endpoint: %s", dir, endpoint, strerror(ret));
}

int msg_open(TALLOC_CTX *mem, struct tevent_context *ev, const char *msg_dir, const char *endpoint, uint32_t own_node,
	     const struct msg_limits *limits, struct msg **result, char **err)
{
	struct msg *m = NULL;
	int ret = EINVAL;

	if (msg_endpoint_valid(endpoint)) {
		m = msg_alloc(mem, ev, msg_dir, endpoint, own_node, limits);
		ret = m == NULL ? ENOMEM : msg_open_dir(m);
	}
	if (ret == 0) {
		ret = msg_bind(m);
	}
	if (ret == 0) {
		m->fde = tevent_add_fd(ev, m, m->fd, TEVENT_FD_READ, msg_readable, m);
		ret = m->fde == NULL ? ENOMEM : msg_stats_serve(m);
	}
	if (ret != 0) {
		talloc_free(m);
		*err = msg_open_error(mem, msg_dir, endpoint, ret);
		return ret;
	}
	*result = m;
	return 0;
}
