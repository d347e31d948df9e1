/* Bytes of the classic socket: packets in batches from it, gathered writes to it. */
#include "dbd/client.h"
#include "dbd/traverse.h"
#include "shared/rpc.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

/* What one event may read of one client: the loop then looks after the others. */
#define READ_BATCH (32U * 1024)
/* ... when the rest of one large packet is awaited. */
#define READ_LARGE (1024U * 1024)
/* After so many packets in one go a client has a rest: else one that sends without waiting for answers takes the time
 * of all others, here and on their way through other nodes. */
#define BURST       64U
#define BURST_MS    1U
#define CHUNK_SIZE  (16U * 1024)
#define WRITE_PARTS 64
#define HOLD_MS     10 /* how often it is looked whether a slow link has caught up */
/* What one client may write in one turn. */
#define WRITE_BATCH (4U * 1024 * 1024)

struct client_chunk {
	struct dlist link;
	size_t start, end, size; /* bytes [start, end) are to be sent */
	uint8_t data[];
};

/* ---- input ---- */

/* How many bytes in[] must be able to hold for the next read. The buffer grows with what has come, not with what a
 * length field claims. */
static size_t wanted_size(const struct client *c)
{
	size_t want = READ_BATCH, length;

	if (c->in_len >= 4) {
		length = peek_u32(c->in);
		if (length > want) {
			want = length;
		}
		if (want > 2 * c->in_len + READ_BATCH) {
			want = 2 * c->in_len + READ_BATCH;
		}
	}
	return want;
}

static bool make_room(struct client *c)
{
	size_t want = wanted_size(c);
	uint8_t *in;

	if (want <= c->in_size) {
		return true;
	}
	in = talloc_realloc(c, c->in, uint8_t, want);
	if (in == NULL) {
		client_disconnect(c, "no memory for a packet of %u bytes", peek_u32(c->in));
		return false;
	}
	c->in = in;
	c->in_size = want;
	return true;
}

/* True: a header that may be read on. Disconnects otherwise. */
static bool header_ok(struct client *c, const uint8_t *p, size_t have)
{
	uint32_t length = peek_u32(p), max = c->clients->dbd->d->conf->database.max_packet;

	if (length < CLASSIC_HEADER_SIZE) {
		client_disconnect(c, "malformed packet: length %u is less than the header's %u", length,
				  CLASSIC_HEADER_SIZE);
		return false;
	}
	if (length > max) {
		client_disconnect(c, "malformed packet: length %u is more than the %u of option 'max packet'", length,
				  max);
		return false;
	}
	if (have < CLASSIC_HEADER_SIZE) {
		return true;
	}
	if (peek_u32(p + 4) != CLASSIC_MAGIC) {
		client_disconnect(c, "malformed packet: magic 0x%08x instead of 0x%08x", peek_u32(p + 4),
				  CLASSIC_MAGIC);
		return false;
	}
	if (peek_u32(p + 8) != CLASSIC_VERSION) {
		client_disconnect(c, "malformed packet: protocol version %u instead of %u", peek_u32(p + 8),
				  CLASSIC_VERSION);
		return false;
	}
	return true;
}

static void process_input(struct client *c);

static bool hold_goes_on(const struct client *c)
{
	return c->held_node != NODE_UNKNOWN && lane_queued(c->clients->dbd->lane, c->held_node) >= LANE_LOW;
}

/* A link that was lost has no queue. */
static void hold_over(void *priv)
{
	struct client *c = priv;
	struct dbd *dbd = c->clients->dbd;

	if (c->dead) {
		return;
	}
	if (hold_goes_on(c) && deadline_add(c, dbd, HOLD_MS, hold_over, c) != NULL) {
		return;
	}
	c->held = false;
	process_input(c);
	if (!c->dead && !c->held) {
		TEVENT_FD_READABLE(c->fde);
	}
}

/* The next packet has to wait. */
static void hold(struct client *c, uint32_t node, uint32_t ms)
{
	if (!c->dead && !c->held && deadline_add(c, c->clients->dbd, ms, hold_over, c) != NULL) {
		c->held = true;
		c->held_node = node;
		TEVENT_FD_NOT_READABLE(c->fde);
	}
}

/* It sends faster than a link takes. */
static void hold_if_slow(struct client *c)
{
	uint32_t slow = lane_slow_node(c->clients->dbd->lane);

	if (slow != NODE_UNKNOWN) {
		hold(c, slow, HOLD_MS);
	}
}

/* Hands on every complete packet; keeps what is left at the start of the buffer. */
static void process_input(struct client *c)
{
	unsigned int n = 0;
	size_t done = 0;

	(void)lane_slow_node(c->clients->dbd->lane); /* what others sent is not its fault */

	while (!c->dead && !c->held && c->in_len - done >= 4) {
		const uint8_t *p = c->in + done;
		uint32_t length = peek_u32(p);

		if (!header_ok(c, p, c->in_len - done)) {
			return;
		}
		if (c->in_len - done < length) {
			break;
		}
		done += length;
		c->clients->count.received++;
		client_request(c, p, length);
		hold_if_slow(c);
		if (++n == BURST) {
			hold(c, NODE_UNKNOWN, BURST_MS);
		}
	}
	memmove(c->in, c->in + done, c->in_len - done);
	c->in_len -= done;
	if (c->in_len == 0 && c->in_size > READ_BATCH) {
		TALLOC_FREE(c->in);
		c->in_size = 0;
	}
}

static void read_some(struct client *c)
{
	size_t room;
	ssize_t n;

	if (!make_room(c)) {
		return;
	}
	room = c->in_size - c->in_len;
	n = recv(c->fd, c->in + c->in_len, room < READ_LARGE ? room : READ_LARGE, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
		return;
	}
	if (n <= 0) {
		client_closed(c);
		return;
	}
	c->in_len += (size_t)n;
	process_input(c);
}

/* ---- output ---- */

static struct client_chunk *chunk_new(struct client *c, size_t len)
{
	size_t size = len > CHUNK_SIZE ? len : CHUNK_SIZE;
	struct client_chunk *chunk = talloc_size(c, sizeof(*chunk) + size);

	if (chunk == NULL) {
		return NULL;
	}
	chunk->start = chunk->end = 0;
	chunk->size = size;
	dlist_add_tail(&c->out, &chunk->link);
	return chunk;
}

static uint8_t *queue_room(struct client *c, size_t len)
{
	struct client_chunk *chunk = NULL;
	uint8_t *p;

	if (!dlist_empty(&c->out)) {
		chunk = dlist_entry(c->out.prev, struct client_chunk, link);
	}
	if (chunk == NULL || chunk->size - chunk->end < len) {
		chunk = chunk_new(c, len);
	}
	if (chunk == NULL) {
		return NULL;
	}
	p = chunk->data + chunk->end;
	chunk->end += len;
	c->out_bytes += len;
	return p;
}

static void flush_handler(struct tevent_context *ev, struct tevent_immediate *im, void *priv)
{
	clients_flush(priv);
}

static void mark_dirty(struct client *c)
{
	struct clients *cs = c->clients;

	if (dlist_linked(&c->dirty)) {
		return;
	}
	if (dlist_empty(&cs->dirty)) {
		tevent_schedule_immediate(cs->flush, cs->dbd->d->ev, flush_handler, cs);
	}
	dlist_add_tail(&cs->dirty, &c->dirty);
}

uint8_t *client_packet(struct client *c, enum classic_operation op, uint32_t reqid, size_t min, size_t len)
{
	struct dbd *dbd = c->clients->dbd;
	size_t total = len > min ? len : min;
	uint8_t *p;

	if (c->dead) {
		return NULL;
	}
	total = (total + 7) & ~(size_t)7;
	if (total > UINT32_MAX || c->out_bytes + total > dbd->d->conf->database.max_queue) {
		client_disconnect(c, "it does not read: more than the %u bytes of option 'max queue' wait for it",
				  dbd->d->conf->database.max_queue);
		return NULL;
	}
	p = queue_room(c, total);
	if (p == NULL) {
		client_disconnect(c, "no memory for a packet of %zu bytes to it", total);
		return NULL;
	}
	memset(p, 0, total);
	poke_u32(p, (uint32_t)total);
	poke_u32(p + 4, CLASSIC_MAGIC);
	poke_u32(p + 8, CLASSIC_VERSION);
	poke_u32(p + 12, dbd->recovery != NULL ? recovery_generation(dbd->recovery) : GENERATION_NONE);
	poke_u32(p + 16, op);
	poke_u32(p + 24, dbd->d->pnn);
	poke_u32(p + 28, reqid);
	c->clients->count.sent++;
	c->congested = c->congested || c->out_bytes > CLIENT_HIGH;
	mark_dirty(c);
	return p;
}

static int gather(const struct client *c, struct iovec *iov)
{
	int n = 0;

	dlist_for_each(e, &c->out)
	{
		struct client_chunk *chunk = dlist_entry(e, struct client_chunk, link);

		if (n == WRITE_PARTS) {
			break;
		}
		iov[n].iov_base = chunk->data + chunk->start;
		iov[n].iov_len = chunk->end - chunk->start;
		n++;
	}
	return n;
}

static void forget_sent(struct client *c, size_t n)
{
	c->out_bytes -= n;
	while (n > 0) {
		struct client_chunk *chunk = dlist_entry(dlist_first(&c->out), struct client_chunk, link);
		size_t part = chunk->end - chunk->start;

		if (n < part) {
			chunk->start += n;
			return;
		}
		n -= part;
		dlist_remove(&chunk->link);
		talloc_free(chunk);
	}
}

/* Writes what the socket takes. The rest goes when it is writable again. */
static void write_some(struct client *c)
{
	size_t sum = 0;

	while (!dlist_empty(&c->out) && sum < WRITE_BATCH) {
		struct iovec iov[WRITE_PARTS];
		struct msghdr msg = {.msg_iov = iov, .msg_iovlen = (size_t)gather(c, iov)};
		ssize_t n = sendmsg(c->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0) {
			if (errno == EAGAIN || errno == EINTR || errno == ENOBUFS) {
				break;
			}
			client_closed(c);
			return;
		}
		sum += (size_t)n;
		forget_sent(c, (size_t)n);
	}
	if (dlist_empty(&c->out)) {
		TEVENT_FD_NOT_WRITEABLE(c->fde);
	} else {
		TEVENT_FD_WRITEABLE(c->fde);
	}
	if (c->congested && c->out_bytes < CLIENT_LOW) {
		c->congested = false;
		traverses_client_drained(c->clients->dbd->traverses, c);
	}
}

void clients_flush(struct clients *cs)
{
	struct dlist *e;

	while ((e = dlist_first(&cs->dirty)) != NULL) {
		struct client *c = dlist_entry(e, struct client, dirty);

		dlist_remove(e);
		if (!c->dead) {
			write_some(c);
		}
	}
}

static void io_handler(struct tevent_context *ev, struct tevent_fd *fde, uint16_t flags, void *priv)
{
	struct client *c = priv;

	/* Both directions in one event, output first: a client that floods us with requests still gets its answers. */
	if ((flags & TEVENT_FD_WRITE) != 0) {
		write_some(c);
	}
	if (!c->dead && (flags & TEVENT_FD_READ) != 0) {
		read_some(c);
	}
}

int client_io_start(struct client *c)
{
	dlist_init(&c->out);
	c->fde = tevent_add_fd(c->clients->dbd->d->ev, c, c->fd, TEVENT_FD_READ, io_handler, c);
	return c->fde == NULL ? ENOMEM : 0;
}

void client_io_stop(struct client *c)
{
	TALLOC_FREE(c->fde);
	if (c->fd >= 0) {
		close(c->fd);
		c->fd = -1;
	}
	dlist_remove(&c->dirty);
}
