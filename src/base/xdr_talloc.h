/* XDR fields that need memory: bytes, strings, counted arrays. For generated code. */
#ifndef BASE_XDR_TALLOC_H
#define BASE_XDR_TALLOC_H

#include <talloc.h>

#include "base/xdr.h"

/* How deep a recursive type may nest: input must not decide how much stack is used. */
#define XDR_DEPTH_MAX 256

static inline struct xdr_in xdr_in_over(const uint8_t *buf, size_t len)
{
	return (struct xdr_in){.p = buf, .end = len > 0 ? buf + len : buf};
}

static inline void xdr_in_fail(struct xdr_in *in, int err)
{
	if (in->err == 0) {
		in->err = err;
	}
}

static inline void xdr_out_fail(struct xdr_out *out, int err)
{
	if (out->err == 0) {
		out->err = err;
	}
}

static inline size_t xdr_string_size(const char *s)
{
	return 4 + (s != NULL ? xdr_pad(strlen(s)) : 0);
}

/* Points into the input; *len is at most max. */
static inline const uint8_t *xdr_get_counted(struct xdr_in *in, uint32_t max, uint32_t *len)
{
	*len = xdr_get_u32(in);
	if (*len > max) {
		xdr_in_fail(in, EBADMSG);
	}
	return in->err == 0 ? xdr_get_bytes(in, *len) : NULL;
}

/* n bytes for a copy: in the reader's room, or below mem when that is used up. NULL: no memory, err is not set. */
static inline uint8_t *xdr_copy_room(struct xdr_in *in, TALLOC_CTX *mem, size_t n)
{
	uint8_t *p = in->room;

	if (p == NULL || (size_t)(in->room_end - p) < n) {
		return talloc_size(mem, n);
	}
	in->room += n;
	return p;
}

/* A view's blob points into the input, else it is a copy. */
static inline void xdr_get_blob(struct xdr_in *in, TALLOC_CTX *mem, uint32_t max, struct ctdb_blob *blob)
{
	uint32_t len;
	const uint8_t *p = xdr_get_counted(in, max, &len);

	*blob = (struct ctdb_blob){0};
	if (in->err != 0 || len == 0) {
		return;
	}
	if (in->view) {
		*blob = (struct ctdb_blob){len, (uint8_t *)(uintptr_t)p};
		return;
	}
	blob->data = xdr_copy_room(in, mem, len);
	if (blob->data == NULL) {
		in->err = ENOMEM;
		return;
	}
	blob->len = len;
	memcpy(blob->data, p, len);
}

/* A NUL inside is malformed: the C string would not be what was sent. */
static inline char *xdr_get_string(struct xdr_in *in, TALLOC_CTX *mem, uint32_t max)
{
	uint32_t len;
	const uint8_t *p = xdr_get_counted(in, max, &len);
	char *s;

	if (in->err != 0) {
		return NULL;
	}
	if (memchr(p, 0, len) != NULL) {
		in->err = EBADMSG;
		return NULL;
	}
	s = (char *)xdr_copy_room(in, mem, (size_t)len + 1);
	if (s == NULL) {
		in->err = ENOMEM;
		return NULL;
	}
	memcpy(s, p, len);
	s[len] = '\0';
	return s;
}

static inline char *xdr_empty_string(struct xdr_in *in, TALLOC_CTX *mem)
{
	char *s = (char *)xdr_copy_room(in, mem, 1);

	if (s == NULL) {
		xdr_in_fail(in, ENOMEM);
		return NULL;
	}
	*s = '\0';
	return s;
}

/* Padding of an opaque[n] that is part of a run of fields; n bytes at p, then 1 to 3 of padding. */
static inline void xdr_check_padding(struct xdr_in *in, const uint8_t *p, size_t n)
{
	if (!xdr_zero_padding(p + n, xdr_pad(n) - n)) {
		xdr_in_fail(in, EBADMSG);
	}
}

/* opaque[n]: zeros with err set. */
static inline void xdr_get_fixed(struct xdr_in *in, uint8_t *to, size_t n)
{
	const uint8_t *p = xdr_get_bytes(in, n);

	if (p != NULL) {
		memcpy(to, p, n);
	} else {
		memset(to, 0, n);
	}
}

/* Number of elements, checked against its bound and against the bytes present: each element takes at least min_size of
 * them. */
static inline uint32_t xdr_get_count(struct xdr_in *in, uint32_t max, size_t min_size)
{
	uint32_t n = xdr_get_u32(in);

	if (n > max || n > xdr_left(in) / min_size) {
		xdr_in_fail(in, EBADMSG);
	}
	return in->err == 0 ? n : 0;
}

/* Zeroed array of n elements; NULL when n is 0 or with err set. */
static inline void *xdr_get_array(struct xdr_in *in, TALLOC_CTX *mem, size_t size, uint32_t n)
{
	void *v;

	if (in->err != 0 || n == 0) {
		return NULL;
	}
	v = talloc_zero_size(mem, size * n);
	if (v == NULL) {
		in->err = ENOMEM;
	}
	return v;
}

static inline double xdr_load_double(const uint8_t *p)
{
	uint64_t bits = xdr_load_u64(p);
	double v;

	memcpy(&v, &bits, sizeof(v));
	return v;
}

static inline void xdr_store_double(uint8_t *p, double v)
{
	uint64_t bits;

	memcpy(&bits, &v, sizeof(bits));
	xdr_store_u64(p, bits);
}

static inline double xdr_get_double(struct xdr_in *in)
{
	return xdr_load_double(xdr_take(in, 8));
}

static inline void xdr_put_double(struct xdr_out *out, double v)
{
	uint8_t *p = xdr_reserve(out, 8);

	if (p != NULL) {
		xdr_store_double(p, v);
	}
}

static inline void xdr_put_count(struct xdr_out *out, uint32_t n, uint32_t max)
{
	if (n > max) {
		xdr_out_fail(out, EMSGSIZE);
	}
	xdr_put_u32(out, n);
}

static inline void xdr_put_blob(struct xdr_out *out, const struct ctdb_blob *blob, uint32_t max)
{
	if (blob->len > 0 && blob->data == NULL) {
		xdr_out_fail(out, EINVAL);
	}
	xdr_put_count(out, blob->len, max);
	xdr_put_bytes(out, blob->data, blob->len);
}

/* At least n bytes; what was in it is lost. NULL: no memory, the buffer is empty then. */
static inline uint8_t *xdr_buf_room(TALLOC_CTX *mem, struct xdr_buf *buf, size_t n)
{
	size_t size = 1024;

	if (n <= buf->size) {
		return buf->data;
	}
	while (size < n) {
		size *= 2;
	}
	talloc_free(buf->data);
	buf->data = talloc_size(mem, size);
	buf->size = buf->data != NULL ? size : 0;
	return buf->data;
}

/* After a large message. */
static inline void xdr_buf_trim(struct xdr_buf *buf)
{
	if (buf->size > XDR_BUF_KEEP) {
		TALLOC_FREE(buf->data);
		buf->size = 0;
	}
}

/* NULL is the empty string. */
static inline void xdr_put_string(struct xdr_out *out, const char *s, uint32_t max)
{
	size_t len = s != NULL ? strlen(s) : 0;

	if (len > max) {
		xdr_out_fail(out, EMSGSIZE);
		return;
	}
	xdr_put_u32(out, (uint32_t)len);
	xdr_put_bytes(out, s, len);
}

#endif
