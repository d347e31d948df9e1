/* Message library: encoding of datagrams, and taking apart those that came in. */
#include "shared/msg_private.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#define MSG_SEALS       (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)
#define MSG_NAME_MAX    63
#define MSG_HEADER_TAIL 32 /* bytes of version 1 behind the nodes and names: 6 words and the id */
#define MSG_FLAGS_SIZE  4  /* what version 2 has more */

static int msg_packet_destructor(struct msg_packet *packet)
{
	dlist_remove(&packet->entry);
	if (packet->fd >= 0) {
		close(packet->fd);
	}
	return 0;
}

/*
 * Header into a new buffer with room for extra bytes behind it. Without flags it is one of version 1, which every peer
 * reads.
 */
static int msg_header_buffer(TALLOC_CTX *mem, const struct msg_header *header, size_t extra, uint8_t **data,
			     size_t *header_len)
{
	struct msg_header h = *header;
	size_t size = msg_header_size(header);
	uint8_t *buffer = talloc_array(mem, uint8_t, size + extra);
	struct xdr_out out;

	if (buffer == NULL) {
		return ENOMEM;
	}
	h.version = h.flags != 0 ? MSG_VERSION : MSG_VERSION_OLDEST;
	out = (struct xdr_out){.p = buffer, .end = buffer + size};
	msg_header_put(&out, &h);
	if (out.err != 0) {
		talloc_free(buffer);
		return out.err;
	}
	*data = buffer;
	*header_len = h.flags != 0 ? size : size - MSG_FLAGS_SIZE;
	return 0;
}

/* Where the payload begins. 0: not a header of a version that is known. */
static size_t msg_header_len(const uint8_t *data, size_t len, const char **why)
{
	struct xdr_in x = {.p = data, .end = data + len};
	uint32_t version, magic = xdr_get_u32(&x);
	unsigned i;

	*why = "bad magic number";
	if (x.err != 0 || magic != MSG_MAGIC) {
		return 0;
	}
	version = xdr_get_u32(&x);
	*why = "unknown version";
	if (x.err != 0 || version < MSG_VERSION_OLDEST || version > MSG_VERSION) {
		return 0;
	}
	*why = "header is cut short or malformed";
	(void)xdr_get_u32(&x); /* kind */
	for (i = 0; i < 2; i++) {
		uint32_t n = xdr_get_u32(&x);

		if (x.err != 0 || n > MSG_NAME_MAX || xdr_left(&x) < xdr_pad(n) + 4) {
			return 0;
		}
		x.p += xdr_pad(n) + 4; /* name and node */
	}
	size_t rest = MSG_HEADER_TAIL + (version >= 2 ? MSG_FLAGS_SIZE : 0);

	return xdr_left(&x) >= rest ? (size_t)(x.p - data) + rest : 0;
}

/* A sealed memfd with the bytes. Sealing is what lets the receiver map it without fear of it shrinking or changing. */
static int msg_memfd_new(const uint8_t *payload, size_t len, int *result)
{
	int fd = memfd_create("ctdb-msg", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	size_t done = 0;
	int err;

	if (fd < 0) {
		return errno;
	}
	while (done < len) {
		ssize_t n = write(fd, payload + done, len - done);

		if (n < 0 && errno == EINTR) {
			continue;
		}
		if (n <= 0) {
			err = n == 0 ? EIO : errno;
			close(fd);
			return err;
		}
		done += (size_t)n;
	}
	if (fcntl(fd, F_ADD_SEALS, MSG_SEALS | F_SEAL_SEAL) != 0) {
		err = errno;
		close(fd);
		return err;
	}
	*result = fd;
	return 0;
}

int msg_packet_flat(TALLOC_CTX *mem, const struct msg_header *header, const uint8_t *payload, size_t len,
		    uint8_t **data, size_t *data_len)
{
	struct msg_header flat = *header;
	size_t header_len = 0;
	int ret;

	flat.in_memfd = false;
	flat.payload_len = (uint32_t)len;
	ret = msg_header_buffer(mem, &flat, len, data, &header_len);
	if (ret != 0) {
		return ret;
	}
	if (len > 0) {
		memcpy(*data + header_len, payload, len);
	}
	*data_len = header_len + len;
	return 0;
}

/* What goes into data: everything, or the header with the payload in a memfd. */
static int msg_packet_fill(struct msg *m, struct msg_packet *packet, const struct msg_header *header,
			   const uint8_t *payload, size_t len)
{
	struct msg_header big = *header;

	if (len <= m->limits.inline_bytes) {
		return msg_packet_flat(packet, header, payload, len, &packet->data, &packet->len);
	}
	big.in_memfd = true;
	big.payload_len = (uint32_t)len;
	int ret = msg_header_buffer(packet, &big, 0, &packet->data, &packet->len);

	return ret != 0 ? ret : msg_memfd_new(payload, len, &packet->fd);
}

int msg_packet_new(struct msg *m, const struct msg_header *header, const uint8_t *payload, size_t len,
		   struct msg_packet **result)
{
	struct msg_packet *packet;
	int ret;

	if (len > m->limits.payload_bytes) {
		return EMSGSIZE;
	}
	packet = talloc_zero(m, struct msg_packet);
	if (packet == NULL) {
		return ENOMEM;
	}
	packet->fd = -1;
	talloc_set_destructor(packet, msg_packet_destructor);
	ret = msg_packet_fill(m, packet, header, payload, len);
	if (ret != 0) {
		talloc_free(packet);
		return ret;
	}
	packet->cost = packet->len + (packet->fd >= 0 ? len : 0);
	*result = packet;
	return 0;
}

static const char *msg_header_fault(const struct msg_header *h, size_t left)
{
	if (h->kind != MSG_KIND_REQUEST && h->kind != MSG_KIND_REPLY && h->kind != MSG_KIND_NOTIFY) {
		return "unknown kind";
	}
	if (!msg_endpoint_valid(h->source) || !msg_endpoint_valid(h->destination)) {
		return "bad endpoint name";
	}
	if (h->source_node >= NODE_GROUP_ALL ||
	    (h->destination_node >= NODE_GROUP_ALL && !msg_node_is_group(h->destination_node))) {
		return "bad node number";
	}
	if (msg_node_is_group(h->destination_node) && h->kind != MSG_KIND_NOTIFY) {
		return "only notifications can go to a group of nodes";
	}
	if (h->status < 0 || (h->status != 0 && h->kind != MSG_KIND_REPLY)) {
		return "bad status";
	}
	if (left != (h->in_memfd ? 0 : h->payload_len)) {
		return "length is not that of the payload";
	}
	return NULL;
}

int msg_incoming_parse(TALLOC_CTX *mem, const uint8_t *data, size_t len, struct msg_incoming *in, const char **why)
{
	size_t header_len;
	struct xdr_in x;

	*in = (struct msg_incoming){.uid = UINT32_MAX};
	header_len = msg_header_len(data, len, why);
	if (header_len == 0) {
		return EBADMSG;
	}
	x = (struct xdr_in){.p = data, .end = data + header_len};
	msg_header_get(&x, mem, &in->header);
	*why = x.err != 0 || xdr_left(&x) != 0 ? "header is cut short or malformed"
					       : msg_header_fault(&in->header, len - header_len);
	if (*why != NULL) {
		return EBADMSG;
	}
	in->payload = data + header_len;
	in->len = len - header_len;
	return 0;
}

int msg_packet_plan(const uint8_t *packet, size_t len, uint32_t version, uint32_t node, struct msg_packet_plan *plan)
{
	const char *why;
	size_t header_len = msg_header_len(packet, len, &why), destination;
	const uint32_t be_version = htobe32(version), be_node = htobe32(node);
	uint32_t word;

	if (header_len == 0 || header_len > sizeof(plan->header)) {
		return EBADMSG;
	}
	memcpy(plan->header, packet, header_len);
	plan->payload = packet + header_len;
	plan->payload_len = len - header_len;
	plan->header_len = header_len;
	plan->flags = 0;
	memcpy(&word, packet + 4, 4);
	if (be32toh(word) >= 2) {
		memcpy(&word, packet + header_len - MSG_FLAGS_SIZE, 4);
		plan->flags = be32toh(word);
		header_len -= MSG_FLAGS_SIZE;
		if (version < 2) {
			memcpy(plan->header + 4, &be_version, 4);
			plan->header_len = header_len;
		}
	}
	destination = header_len - MSG_HEADER_TAIL;
	memcpy(plan->header + destination - 4, &be_node, 4);
	return 0;
}

struct msg_mapping {
	void *address;
	size_t len;
};

static int msg_mapping_destructor(struct msg_mapping *map)
{
	munmap(map->address, map->len);
	return 0;
}

static const char *msg_memfd_fault(const struct msg *m, int fd, size_t len)
{
	struct stat st;
	int seals = fcntl(fd, F_GET_SEALS);

	if (seals < 0) {
		return "descriptor is not a memfd";
	}
	if ((seals & MSG_SEALS) != MSG_SEALS) {
		return "memfd is not sealed";
	}
	if (fstat(fd, &st) != 0 || st.st_size < 0 || (size_t)st.st_size != len) {
		return "memfd has another size than its header says";
	}
	if (len == 0 || len > m->limits.payload_bytes) {
		return "payload is empty or too large for a memfd";
	}
	return NULL;
}

int msg_incoming_map(TALLOC_CTX *mem, const struct msg *m, int fd, struct msg_incoming *in, const char **why)
{
	size_t len = in->header.payload_len;
	struct msg_mapping *map;
	void *address;

	*why = msg_memfd_fault(m, fd, len);
	if (*why != NULL) {
		return EBADMSG;
	}
	*why = "memfd cannot be mapped";
	map = talloc(mem, struct msg_mapping);
	if (map == NULL) {
		return ENOMEM;
	}
	address = mmap(NULL, len, PROT_READ, MAP_PRIVATE, fd, 0);
	if (address == MAP_FAILED) {
		talloc_free(map);
		return errno;
	}
	*map = (struct msg_mapping){.address = address, .len = len};
	talloc_set_destructor(map, msg_mapping_destructor);
	in->payload = address;
	in->len = len;
	return 0;
}
