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

/* A run of fields of fixed size that is checked once has at most so many bytes. */
#define XDR_RUN_MAX 256

/*
 * Reader. err is sticky: the first error stays (EBADMSG; ENOMEM from xdr_talloc.h); after it every get returns zeros
 * and reads nothing. view: blobs point into the input instead of being copied. [room, room_end): where copies of blobs
 * and strings go as long as it lasts; then, and when it is NULL, they are talloc'ed.
 */
struct xdr_in {
	const uint8_t *p, *end;
	int err;
	bool view;
	uint8_t *room, *room_end;
};

/* Writer into a caller's buffer that was sized by NAME_size(). err is sticky. Overrun sets it to ENOSPC and writes
 * nothing. */
struct xdr_out {
	uint8_t *p, *end;
	int err;
};

/* A buffer that encoders use again and again, for messages that are copied on at once. Zeroed: empty. */
struct xdr_buf {
	uint8_t *data; /* talloc'ed below the first user's mem */
	size_t size;
};

#define XDR_BUF_KEEP (256U * 1024) /* what xdr_buf_trim() leaves */

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

static inline uint32_t xdr_load_u32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return be32toh(v);
}

static inline uint64_t xdr_load_u64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return be64toh(v);
}

static inline void xdr_store_u32(uint8_t *p, uint32_t v)
{
	uint32_t be = htobe32(v);

	memcpy(p, &be, sizeof(be));
}

static inline void xdr_store_u64(uint8_t *p, uint64_t v)
{
	uint64_t be = htobe64(v);

	memcpy(p, &be, sizeof(be));
}

/* The next n <= XDR_RUN_MAX bytes, consumed; zeros with err set when fewer are left. */
static inline const uint8_t *xdr_take(struct xdr_in *in, size_t n)
{
	static const uint8_t zeros[XDR_RUN_MAX];
	const uint8_t *p = in->p;

	if (!xdr_has(in, n)) {
		return zeros;
	}
	in->p += n;
	return p;
}

/* Room for n bytes, consumed; NULL with err set. */
static inline uint8_t *xdr_reserve(struct xdr_out *out, size_t n)
{
	uint8_t *p = out->p;

	if (!xdr_room(out, n)) {
		return NULL;
	}
	out->p += n;
	return p;
}

/* XDR bool: anything but 0 and 1 is malformed. */
static inline bool xdr_load_bool(struct xdr_in *in, const uint8_t *p)
{
	uint32_t v = xdr_load_u32(p);

	if (v > 1) {
		in->err = EBADMSG;
	}
	return v == 1;
}

static inline uint32_t xdr_get_u32(struct xdr_in *in)
{
	return xdr_load_u32(xdr_take(in, 4));
}

static inline uint64_t xdr_get_u64(struct xdr_in *in)
{
	return xdr_load_u64(xdr_take(in, 8));
}

static inline bool xdr_get_bool(struct xdr_in *in)
{
	return xdr_load_bool(in, xdr_take(in, 4));
}

/* n is 1 to 3. */
static inline bool xdr_zero_padding(const uint8_t *p, size_t n)
{
	return p[0] == 0 && (n < 2 || p[1] == 0) && (n < 3 || p[2] == 0);
}

/* Points to n bytes inside the input (padding consumed, must be zero), or NULL with err set. */
static inline const uint8_t *xdr_get_bytes(struct xdr_in *in, size_t n)
{
	const uint8_t *p = in->p;
	size_t padded = xdr_pad(n);

	if (!xdr_has(in, n) || !xdr_has(in, padded)) {
		return NULL;
	}
	if (padded != n && !xdr_zero_padding(p + n, padded - n)) {
		in->err = EBADMSG;
		return NULL;
	}
	in->p += padded;
	return p;
}

static inline void xdr_put_u32(struct xdr_out *out, uint32_t v)
{
	uint8_t *p = xdr_reserve(out, 4);

	if (p != NULL) {
		xdr_store_u32(p, v);
	}
}

static inline void xdr_put_u64(struct xdr_out *out, uint64_t v)
{
	uint8_t *p = xdr_reserve(out, 8);

	if (p != NULL) {
		xdr_store_u64(p, v);
	}
}

static inline void xdr_put_bool(struct xdr_out *out, bool v)
{
	xdr_put_u32(out, v ? 1 : 0);
}

/* n bytes followed by zero padding to a multiple of 4. */
static inline void xdr_put_bytes(struct xdr_out *out, const void *data, size_t n)
{
	size_t padded = xdr_pad(n);
	uint8_t *p = xdr_reserve(out, padded);

	if (p == NULL || n == 0) {
		return;
	}
	xdr_store_u32(p + padded - 4, 0);
	memcpy(p, data, n);
}

#endif
