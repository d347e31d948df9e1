/*
 * Message library: the way out. For each destination a connected socket (only a connected one tells when there is room
 * again) and a bounded queue of what the kernel did not take: it keeps 10 datagrams per receiver.
 */
#include "shared/msg_private.h"

#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>
#include <fcntl.h>

#include "protocol/msgstat.h"
#include "shared/log.h"

#define MSG_FLUSH_BATCH  64
#define MSG_STATS_QUEUES 256 /* bound of the list in msgstat.x */
#define MSG_RETRY_MS     10  /* the kernel lacks memory or descriptors in flight: nothing tells when that is over */

struct msg_dest {
	struct dlist entry;
	struct msg *m;
	char endpoint[64];
	int fd; /* connected, or -1 */
	struct tevent_fd *writable;
	enum { RETRY_NO, RETRY_WANTED, RETRY_NOW } retry;
	bool busy; /* being flushed: must not be freed */
	struct dlist packets;
	size_t queued;
	struct stat identity; /* of the socket file that fd is connected to */
	int owes;             /* own requests written to fd that wait for their reply */
};

static void msg_dest_wait(struct msg_dest *d, int error);

void msg_dest_owes(struct msg_dest *d, int n)
{
	d->owes += n;
	if (d->owes == 1 && n > 0) {
		mono_timer_set_earlier(d->m->watch, mono_add_ms(mono_now(), MSG_WATCH_MS));
	}
}

/* Whoever had that socket does not answer any more. */
static void msg_dest_disconnect(struct msg_dest *d)
{
	if (d->owes > 0) {
		msg_requests_lost(d->m, d);
	}
	TALLOC_FREE(d->writable);
	if (d->fd >= 0) {
		close(d->fd);
		d->fd = -1;
	}
}

static int msg_dest_destructor(struct msg_dest *d)
{
	msg_dest_disconnect(d);
	dlist_remove(&d->entry);
	d->m->n_dests--;
	return 0;
}

/* Frees what was used least recently among those with nothing queued. */
static void msg_dests_trim(struct msg *m)
{
	struct dlist *pos = m->dests.prev;

	while (m->n_dests > MSG_MAX_IDLE_DESTS && pos != &m->dests) {
		struct msg_dest *d = dlist_entry(pos, struct msg_dest, entry);

		pos = pos->prev;
		if (dlist_empty(&d->packets) && !d->busy && d->owes == 0) {
			talloc_free(d);
		}
	}
}

static struct msg_dest *msg_dest_get(struct msg *m, const char *endpoint)
{
	struct msg_dest *d;

	dlist_for_each(pos, &m->dests)
	{
		d = dlist_entry(pos, struct msg_dest, entry);
		if (strcmp(d->endpoint, endpoint) == 0) {
			dlist_remove(&d->entry);
			dlist_add_head(&m->dests, &d->entry);
			return d;
		}
	}
	msg_dests_trim(m);
	d = talloc_zero(m, struct msg_dest);
	if (d == NULL) {
		return NULL;
	}
	d->m = m;
	d->fd = -1;
	dlist_init(&d->packets);
	strcpy(d->endpoint, endpoint); /* the name was checked: at most 63 bytes */
	dlist_add_head(&m->dests, &d->entry);
	m->n_dests++;
	talloc_set_destructor(d, msg_dest_destructor);
	return d;
}

/* The receiver sees by its name which endpoint a socket belongs to. One that has no name: what it sends is refused. */
static void msg_dest_name(const struct msg_dest *d, int fd)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int n = snprintf(addr.sun_path + 1, sizeof(addr.sun_path) - 1, MSG_SOCKET_PREFIX "%s/%016llx", d->m->endpoint,
			 (unsigned long long)d->m->socket_id++);

	if (bind(fd, (struct sockaddr *)&addr, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n)) !=
	    0) {
		log_warning("endpoint %s: cannot name a socket, so %s will refuse what it sends: %s", d->m->endpoint,
			    d->endpoint, strerror(errno));
	}
}

static int msg_dest_connect(struct msg_dest *d)
{
	struct sockaddr_un addr;
	int ret = msg_sockaddr(d->m, d->endpoint, &addr);
	int size = 4 * (int)d->m->limits.inline_bytes;
	int fd;

	if (ret != 0) {
		return ret;
	}
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0) {
		return errno;
	}
	msg_dest_name(d, fd);
	/* Looked at first: if it is replaced in between, that is found out later and once too often rather than never.
	 */
	if (fstatat(d->m->dir_fd, d->endpoint, &d->identity, AT_SYMLINK_NOFOLLOW) != 0) {
		d->identity = (struct stat){.st_ino = 0};
	}
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) != 0) {
		ret = errno;
		close(fd);
		/* A socket file that a dead process left: nobody is there. */
		return ret == ECONNREFUSED ? ENOENT : ret;
	}
	/* The largest datagram must fit whatever the system's default is. */
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	d->fd = fd;
	return 0;
}

static int msg_dest_write(const struct msg_dest *d, const struct msg_packet *packet)
{
	struct iovec iov = {.iov_base = packet->data, .iov_len = packet->len};
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(sizeof(int))];
	} control = {0};
	struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1};

	if (packet->fd >= 0) {
		struct cmsghdr *c;

		mh.msg_control = control.room;
		mh.msg_controllen = sizeof(control.room);
		c = CMSG_FIRSTHDR(&mh);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &packet->fd, sizeof(int));
	}
	return sendmsg(d->fd, &mh, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0 ? 0 : errno;
}

/*
 * One attempt. EAGAIN: full. ENOENT: nobody there. A receiver that was started anew made another socket file: the old
 * connection is refused, and a new one is made once.
 */
static int msg_dest_try(struct msg_dest *d, const struct msg_packet *packet)
{
	int ret = 0;
	int attempt;

	for (attempt = 0; attempt < 2; attempt++) {
		if (d->fd < 0) {
			ret = msg_dest_connect(d);
			if (ret != 0) {
				return ret;
			}
		}
		ret = msg_dest_write(d, packet);
		if (ret != ECONNREFUSED && ret != ENOTCONN && ret != ECONNRESET && ret != EPIPE) {
			break;
		}
		msg_dest_disconnect(d);
		ret = ENOENT;
	}
	if (ret == 0) {
		d->m->stats.sent++;
		d->m->stats.sent_bytes += packet->cost;
		if (packet->request != 0) {
			msg_request_written(d->m, packet->request, d);
		}
	}
	return ret;
}

static bool msg_must_wait(int error)
{
	return error == EAGAIN || error == ENOBUFS || error == ENOMEM || error == ETOOMANYREFS;
}

/* Sends what is queued. Packets that cannot be sent at all are answered one by one: each has its own source. Returns
 * why it stopped. */
static int msg_dest_drain(struct msg_dest *d)
{
	unsigned n;

	for (n = 0; n < MSG_FLUSH_BATCH && !dlist_empty(&d->packets); n++) {
		struct msg_packet *packet = dlist_entry(dlist_first(&d->packets), struct msg_packet, entry);
		int ret = msg_dest_try(d, packet);

		if (msg_must_wait(ret)) {
			return ret;
		}
		dlist_remove(&packet->entry);
		d->queued -= packet->cost;
		if (ret != 0) {
			d->m->stats.no_endpoint++;
			msg_packet_failed(d->m, packet->data, packet->len, ret);
		}
		talloc_free(packet);
	}
	return dlist_empty(&d->packets) ? 0 : EAGAIN;
}

static void msg_dest_flush(struct msg_dest *d)
{
	int ret;

	d->busy = true;
	ret = msg_dest_drain(d);
	d->busy = false;
	if (ret != 0) {
		msg_dest_wait(d, ret);
		return;
	}
	TALLOC_FREE(d->writable);
	msg_dests_trim(d->m);
}

static void msg_dest_writable(struct tevent_context *ev, struct tevent_fd *fde, uint16_t flags, void *priv)
{
	msg_dest_flush(priv);
}

/* Goes on when there is room. Falls back on a timer where the kernel does not tell, so that nothing is stuck. */
static void msg_dest_wait(struct msg_dest *d, int error)
{
	if (error == EAGAIN && d->fd >= 0) {
		if (d->writable == NULL) {
			d->writable = tevent_add_fd(d->m->ev, d, d->fd, TEVENT_FD_READ | TEVENT_FD_WRITE,
						    msg_dest_writable, d);
		}
		if (d->writable != NULL) {
			return;
		}
	}
	TALLOC_FREE(d->writable);
	d->retry = RETRY_WANTED;
	mono_timer_set_earlier(d->m->retry, mono_add_ms(mono_now(), MSG_RETRY_MS));
}

static struct msg_dest *msg_dest_to_retry(const struct msg *m)
{
	dlist_for_each(pos, &m->dests)
	{
		struct msg_dest *d = dlist_entry(pos, struct msg_dest, entry);

		if (d->retry == RETRY_NOW) {
			return d;
		}
	}
	return NULL;
}

/* In two passes: flushing changes the list, and may ask for another retry. */
void msg_queue_retry(void *priv)
{
	struct msg *m = priv;
	struct msg_dest *d;

	dlist_for_each(pos, &m->dests)
	{
		d = dlist_entry(pos, struct msg_dest, entry);
		if (d->retry == RETRY_WANTED) {
			d->retry = RETRY_NOW;
		}
	}
	while ((d = msg_dest_to_retry(m)) != NULL) {
		d->retry = RETRY_NO;
		msg_dest_flush(d);
	}
}

/* Somebody reads the very socket that we are connected to. */
static bool msg_dest_is_there(const struct msg_dest *d)
{
	struct sockaddr_un addr;
	struct stat st;

	if (fstatat(d->m->dir_fd, d->endpoint, &st, AT_SYMLINK_NOFOLLOW) != 0) {
		return errno != ENOENT;
	}
	return st.st_ino == d->identity.st_ino && st.st_dev == d->identity.st_dev &&
	       st.st_ctim.tv_sec == d->identity.st_ctim.tv_sec && st.st_ctim.tv_nsec == d->identity.st_ctim.tv_nsec &&
	       (msg_sockaddr(d->m, d->endpoint, &addr) != 0 || msg_is_alive(&addr));
}

/* The kernel does not tell when the receiver of datagrams is gone. */
void msg_queue_watch(void *priv)
{
	struct msg *m = priv;
	bool again = false;

	dlist_for_each(pos, &m->dests)
	{
		struct msg_dest *d = dlist_entry(pos, struct msg_dest, entry);

		if (d->owes > 0 && !d->busy && !msg_dest_is_there(d)) {
			msg_dest_disconnect(d);
			if (!dlist_empty(&d->packets)) {
				msg_dest_wait(d, ENOTCONN); /* to the new one, or back to their sources */
			}
		}
		again = again || d->owes > 0;
	}
	if (again) {
		mono_timer_set_earlier(m->watch, mono_add_ms(mono_now(), MSG_WATCH_MS));
	}
}

size_t msg_queue_used(const struct msg *m, const char *endpoint)
{
	dlist_for_each(pos, &m->dests)
	{
		const struct msg_dest *d = dlist_entry(pos, struct msg_dest, entry);

		if (strcmp(d->endpoint, endpoint) == 0) {
			return d->queued;
		}
	}
	return 0;
}

int msg_queue_stats(TALLOC_CTX *mem, const struct msg *m, struct msgstat_info *info)
{
	info->queues.v = talloc_zero_array(mem, struct msgstat_queue, m->n_dests);
	if (info->queues.v == NULL) {
		return ENOMEM;
	}
	dlist_for_each(pos, &m->dests)
	{
		struct msg_dest *d = dlist_entry(pos, struct msg_dest, entry);
		struct msgstat_queue *q = &info->queues.v[info->queues.n];

		if (dlist_empty(&d->packets) || info->queues.n == MSG_STATS_QUEUES) {
			continue;
		}
		*q = (struct msgstat_queue){.endpoint = d->endpoint, .bytes = d->queued};
		dlist_for_each(p, &d->packets)
		{
			q->packets++;
		}
		info->queues.n++;
	}
	return 0;
}

static int msg_dest_append(struct msg_dest *d, struct msg_packet *packet, int error)
{
	struct msg *m = d->m;

	if (d->queued + packet->cost > m->limits.queue_bytes) {
		m->stats.dropped_full++;
		log_ratelimited(LOG_LVL_WARNING, 1000,
				"endpoint %s: %zu bytes are queued for %s, which does not read them; dropping",
				m->endpoint, d->queued, d->endpoint);
		talloc_free(packet);
		return ENOBUFS;
	}
	dlist_add_tail(&d->packets, &packet->entry);
	d->queued += packet->cost;
	if (error != 0) {
		msg_dest_wait(d, error);
	}
	return 0;
}

int msg_queue_send(struct msg *m, const char *endpoint, struct msg_packet *packet)
{
	struct msg_dest *d = msg_dest_get(m, endpoint);
	int ret;

	if (d == NULL) {
		talloc_free(packet);
		return ENOMEM;
	}
	if (!dlist_empty(&d->packets)) {
		return msg_dest_append(d, packet, 0);
	}
	ret = msg_dest_try(d, packet);
	if (msg_must_wait(ret)) {
		return msg_dest_append(d, packet, ret);
	}
	if (ret == ENOENT) {
		m->stats.no_endpoint++;
	}
	talloc_free(packet);
	return ret;
}
