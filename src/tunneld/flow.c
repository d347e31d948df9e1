/* One class of packets between two nodes: cut into pieces, sent within a window, put together again. */
#include "flow.h"

#include <errno.h>
#include <string.h>

struct out_packet {
	struct dlist entry;
	uint32_t len, sent;
	uint8_t data[];
};

/* ---- out ---- */

void flow_out_init(struct flow_out *f, uint32_t window)
{
	*f = (struct flow_out){.window = window};
	dlist_init(&f->packets);
}

static void out_packet_free(struct out_packet *p)
{
	dlist_remove(&p->entry);
	talloc_free(p);
}

void flow_out_reset(struct flow_out *f)
{
	dlist_for_each_safe(pos, &f->packets)
	{
		out_packet_free(dlist_entry(pos, struct out_packet, entry));
	}
	flow_out_init(f, f->window);
}

int flow_out_add(struct flow_out *f, TALLOC_CTX *mem, const struct iovec *parts, int n_parts)
{
	struct out_packet *p;
	size_t len = 0;

	for (int i = 0; i < n_parts; i++) {
		len += parts[i].iov_len;
	}
	p = talloc_size(mem, sizeof(*p) + len);
	if (p == NULL) {
		return ENOMEM;
	}
	*p = (struct out_packet){.len = 0};
	for (int i = 0; i < n_parts; i++) {
		memcpy(p->data + p->len, parts[i].iov_base, parts[i].iov_len);
		p->len += (uint32_t)parts[i].iov_len;
	}
	dlist_add_tail(&f->packets, &p->entry);
	f->queued += len;
	return 0;
}

bool flow_out_next(struct flow_out *f, struct tunnel_data *piece)
{
	struct out_packet *p;
	uint64_t in_flight = f->sent - f->acked;
	uint32_t len;

	/* the first one was sent completely; it stayed because its last piece was the caller's */
	if (!dlist_empty(&f->packets)) {
		p = dlist_entry(dlist_first(&f->packets), struct out_packet, entry);
		if (p->sent == p->len) {
			out_packet_free(p);
		}
	}
	if (dlist_empty(&f->packets)) {
		return false;
	}
	p = dlist_entry(dlist_first(&f->packets), struct out_packet, entry);
	len = p->len - p->sent > TUNNEL_PIECE_MAX ? TUNNEL_PIECE_MAX : p->len - p->sent;
	if (in_flight + len > f->window) {
		return false;
	}
	*piece = (struct tunnel_data){
		.total = p->len, .offset = p->sent, .position = f->sent, .piece = {len, p->data + p->sent}};
	p->sent += len;
	f->sent += len;
	f->queued -= len;
	return true;
}

bool flow_out_acked(struct flow_out *f, uint64_t received)
{
	if (received > f->sent) {
		return false;
	}
	if (received > f->acked) {
		f->acked = received;
	}
	return true;
}

/* ---- in ---- */

void flow_in_reset(struct flow_in *f)
{
	talloc_free(f->buffer);
	*f = (struct flow_in){0};
}

void flow_in_done(struct flow_in *f)
{
	TALLOC_FREE(f->buffer);
	f->total = f->have = f->capacity = 0;
}

/* A liar who announces 64 MiB gets what it sent so far, doubled. */
static bool flow_in_room(struct flow_in *f, TALLOC_CTX *mem, uint32_t need)
{
	uint32_t capacity = f->capacity > 0 ? f->capacity : TUNNEL_PIECE_MAX;
	uint8_t *buffer;

	if (need <= f->capacity) {
		return true;
	}
	while (capacity < need) {
		capacity *= 2;
	}
	capacity = capacity > f->total ? f->total : capacity;
	buffer = talloc_realloc_size(mem, f->buffer, capacity);
	if (buffer == NULL) {
		return false;
	}
	f->buffer = buffer;
	f->capacity = capacity;
	return true;
}

static bool flow_in_fits(const struct flow_in *f, uint32_t max, const struct tunnel_data *d)
{
	if (d->piece.len == 0 || d->total > max || d->offset > d->total || d->piece.len > d->total - d->offset) {
		return false;
	}
	return d->offset == f->have && (f->have == 0 || d->total == f->total);
}

enum flow_result flow_in_piece(struct flow_in *f, TALLOC_CTX *mem, uint32_t max, const struct tunnel_data *d,
			       const uint8_t **data, size_t *len)
{
	if (d->position != f->received) {
		return d->position < f->received ? FLOW_OLD : FLOW_LOST;
	}
	if (!flow_in_fits(f, max, d)) {
		return FLOW_BAD;
	}
	*len = d->total;
	if (d->piece.len == d->total) {
		f->received += d->piece.len;
		*data = d->piece.data;
		return FLOW_PACKET;
	}
	f->total = d->total;
	if (!flow_in_room(f, mem, f->have + d->piece.len)) {
		return FLOW_NOMEM;
	}
	memcpy(f->buffer + f->have, d->piece.data, d->piece.len);
	f->have += d->piece.len;
	f->received += d->piece.len;
	*data = f->buffer;
	return f->have == f->total ? FLOW_PACKET : FLOW_PIECE;
}
