/* XDR (RFC 4506) primitives for generated code: bounded reader and writer over a byte buffer. */
#ifndef BASE_XDR_H
#define BASE_XDR_H

#include <endian.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* Variable-length bytes. data may be NULL when len is 0. */
struct ctdb_blob {
	uint32_t len;
	uint8_t *data;
};

/* Reader. err is sticky: the first error stays (EBADMSG; ENOMEM from xdr_talloc.h); after it every get returns zeros
 * and reads nothing. */
struct xdr_in {
	const uint8_t *p, *end;
	int err;
};

/* Writer into a caller's buffer that was sized by NAME_size(). err is sticky. Overrun sets it to ENOSPC and writes
 * nothing. */
struct xdr_out {
	uint8_t *p, *end;
	int err;
};

static inline size_t xdr_pad(size_t n)
{
	return (n + 3) & ~(size_t)3;
}

static inline size_t xdr_left(const struct xdr_in *in)
{
	return (size_t)(in->end - in->p);
}

static inline bool xdr_has(struct xdr_in *in, size_t n)
{
	if (in->err == 0 && xdr_left(in) < n) {
		in->err = EBADMSG;
	}
	return in->err == 0;
}

static inline bool xdr_room(struct xdr_out *out, size_t n)
{
	if (out->err == 0 && (size_t)(out->end - out->p) < n) {
		out->err = ENOSPC;
	}
	return out->err == 0;
}

static inline uint32_t xdr_get_u32(struct xdr_in *in)
{
	uint32_t v;

	if (!xdr_has(in, 4)) {
		return 0;
	}
	memcpy(&v, in->p, 4);
	in->p += 4;
	return be32toh(v);
}

static inline uint64_t xdr_get_u64(struct xdr_in *in)
{
	uint64_t v;

	if (!xdr_has(in, 8)) {
		return 0;
	}
	memcpy(&v, in->p, 8);
	in->p += 8;
	return be64toh(v);
}

/* XDR bool: anything but 0 and 1 is malformed. */
static inline bool xdr_get_bool(struct xdr_in *in)
{
	uint32_t v = xdr_get_u32(in);

	if (v > 1) {
		in->err = EBADMSG;
	}
	return v == 1;
}

/* Points to n bytes inside the input (padding consumed, must be zero), or NULL with err set. */
static inline const uint8_t *xdr_get_bytes(struct xdr_in *in, size_t n)
{
	const uint8_t *p = in->p;
	size_t i;

	if (!xdr_has(in, n) || !xdr_has(in, xdr_pad(n))) {
		return NULL;
	}
	for (i = n; i < xdr_pad(n); i++) {
		if (p[i] != 0) {
			in->err = EBADMSG;
			return NULL;
		}
	}
	in->p += xdr_pad(n);
	return p;
}

static inline void xdr_put_u32(struct xdr_out *out, uint32_t v)
{
	uint32_t be = htobe32(v);

	if (!xdr_room(out, 4)) {
		return;
	}
	memcpy(out->p, &be, 4);
	out->p += 4;
}

static inline void xdr_put_u64(struct xdr_out *out, uint64_t v)
{
	uint64_t be = htobe64(v);

	if (!xdr_room(out, 8)) {
		return;
	}
	memcpy(out->p, &be, 8);
	out->p += 8;
}

static inline void xdr_put_bool(struct xdr_out *out, bool v)
{
	xdr_put_u32(out, v ? 1 : 0);
}

/* n bytes followed by zero padding to a multiple of 4. */
static inline void xdr_put_bytes(struct xdr_out *out, const void *data, size_t n)
{
	size_t padded = xdr_pad(n);

	if (!xdr_room(out, padded)) {
		return;
	}
	if (n > 0) {
		memcpy(out->p, data, n);
	}
	memset(out->p + n, 0, padded - n);
	out->p += padded;
}

#endif
