/* One class of packets between two nodes, as pure code: cut into pieces, sent within a window, put together again. */
#ifndef TUNNELD_FLOW_H
#define TUNNELD_FLOW_H

#include <stdbool.h>
#include <sys/uio.h>
#include <talloc.h>

#include "base/dlist.h"
#include "protocol/tunnel.h"

/* Counts are bytes since the session began. */
struct flow_out {
	struct dlist packets; /* not completely sent */
	size_t queued;	      /* bytes of them that are not sent */
	uint32_t window;
	uint64_t sent, acked;
};

struct flow_in {
	uint8_t *buffer; /* a packet of which pieces are missing, or NULL */
	uint32_t total, have, capacity;
	uint64_t received, told; /* told: the last acknowledgement */
};

enum flow_result {
	FLOW_PIECE,  /* taken, its packet is not complete */
	FLOW_PACKET, /* complete */
	FLOW_OLD,    /* was there already */
	FLOW_LOST,   /* something before it is missing */
	FLOW_BAD,    /* contradicts itself or what came before */
	FLOW_NOMEM,
};

void flow_out_init(struct flow_out *f, uint32_t window);
/* Drops everything; counts are 0. */
void flow_out_reset(struct flow_out *f);
/* Copies. mem owns the packets. 0 or ENOMEM. */
int flow_out_add(struct flow_out *f, TALLOC_CTX *mem, const struct iovec *parts, int n_parts);
/* The next piece that the window permits, valid until the next call. False: none. */
bool flow_out_next(struct flow_out *f, struct tunnel_data *piece);
/* False: so much was never sent. */
bool flow_out_acked(struct flow_out *f, uint64_t received);

void flow_in_reset(struct flow_in *f);
/* FLOW_PACKET: *data is valid until flow_in_done(), which the caller calls then. */
enum flow_result flow_in_piece(struct flow_in *f, TALLOC_CTX *mem, uint32_t max, const struct tunnel_data *d, const uint8_t **data, size_t *len);
void flow_in_done(struct flow_in *f);

#endif
