/* Which records a scan shall find: four numbers, members, three maps. */
#include "dbd/scan_filter.h"

#include <errno.h>
#include <string.h>

#define NUMBERS 4

int scan_filter_encode(TALLOC_CTX *mem, const struct rec_scan_filter *f, struct ctdb_blob *out)
{
	uint32_t head[NUMBERS] = {f->n_slots, f->map_bytes, f->own_pnn, f->n_members};
	size_t members = f->n_members * sizeof(uint32_t);
	uint8_t *p;

	out->len = (uint32_t)(sizeof(head) + members + (size_t)f->map_bytes * 3);
	out->data = p = talloc_size(mem, out->len);
	if (p == NULL) {
		return ENOMEM;
	}
	memcpy(p, head, sizeof(head));
	memcpy(p += sizeof(head), f->members, members);
	memcpy(p += members, f->all, f->map_bytes);
	memcpy(p += f->map_bytes, f->unowned, f->map_bytes);
	memcpy(p + f->map_bytes, f->gone, f->map_bytes);
	return 0;
}

int scan_filter_decode(TALLOC_CTX *mem, const struct ctdb_blob *in, struct rec_scan_filter *f)
{
	uint32_t head[NUMBERS];
	const uint8_t *p = in->data;
	size_t members;

	if (in->len < sizeof(head)) {
		return EBADMSG;
	}
	memcpy(head, p, sizeof(head));
	*f = (struct rec_scan_filter){
		.n_slots = head[0], .map_bytes = head[1], .own_pnn = head[2], .n_members = head[3]};
	members = (size_t)f->n_members * sizeof(uint32_t);
	if (f->n_slots == 0 || f->n_slots > LANE_SLOTS || f->map_bytes != (f->n_slots + 7) / 8 ||
	    f->n_members > LANE_NODES || in->len != sizeof(head) + members + (size_t)f->map_bytes * 3) {
		return EBADMSG;
	}
	f->members = talloc_memdup(mem, p + sizeof(head), members);
	if (f->members == NULL) {
		return ENOMEM;
	}
	f->all = p + sizeof(head) + members;
	f->unowned = f->all + f->map_bytes;
	f->gone = f->unowned + f->map_bytes;
	return 0;
}
