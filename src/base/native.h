/* Native structures (host byte order, C alignment) in unaligned byte buffers: bounded reader and writer for generated
 * code. */
#ifndef BASE_NATIVE_H
#define BASE_NATIVE_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <talloc.h>

#include "base/xdr.h"

/*
 * Reader. err is sticky: 0, EBADMSG or ENOMEM. view: blobs point into the input instead of being copied. [room,
 * room_end): where copies of blobs and strings go as long as it lasts; then, and when it is NULL, they are talloc'ed.
 */
struct native_in {
	const uint8_t *start, *p, *end;
	bool view;
	int err;
	uint8_t *room, *room_end;
};

/* Writer into a zeroed buffer that was sized by NAME_nsize(). err is sticky: 0, EMSGSIZE, EINVAL or ENOSPC. */
struct native_out {
	uint8_t *start, *p, *end;
	int err;
};

static inline void native_in_fail(struct native_in *in, int err)
{
	if (in->err == 0) {
		in->err = err;
	}
}

static inline void native_out_fail(struct native_out *out, int err)
{
	if (out->err == 0) {
		out->err = err;
	}
}

static inline struct native_in native_in_over(const uint8_t *buf, size_t len, bool view)
{
	return (struct native_in){.start = buf, .p = buf, .end = len > 0 ? buf + len : buf, .view = view};
}

static inline size_t native_left(const struct native_in *in)
{
	return (size_t)(in->end - in->p);
}

/* The next n bytes, consumed; NULL with err set when fewer are left. Unaligned. */
static inline const uint8_t *native_take(struct native_in *in, size_t n)
{
	const uint8_t *p = in->p;

	if (in->err == 0 && native_left(in) < n) {
		in->err = EBADMSG;
	}
	if (in->err != 0) {
		return NULL;
	}
	in->p = n > 0 ? p + n : p; /* p may be NULL when there is nothing */
	return p;
}

/* Room for n bytes, consumed; NULL with err set. */
static inline uint8_t *native_room(struct native_out *out, size_t n)
{
	uint8_t *p = out->p;

	if (out->err == 0 && (size_t)(out->end - out->p) < n) {
		out->err = ENOSPC;
	}
	if (out->err != 0) {
		return NULL;
	}
	out->p += n;
	return p;
}

static inline uint16_t native_load16(const uint8_t *p)
{
	uint16_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static inline uint32_t native_load32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static inline uint64_t native_load64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static inline double native_load_double(const uint8_t *p)
{
	double v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static inline void native_store16(uint8_t *p, uint16_t v)
{
	memcpy(p, &v, sizeof(v));
}

static inline void native_store32(uint8_t *p, uint32_t v)
{
	memcpy(p, &v, sizeof(v));
}

static inline void native_store64(uint8_t *p, uint64_t v)
{
	memcpy(p, &v, sizeof(v));
}

static inline void native_store_double(uint8_t *p, double v)
{
	memcpy(p, &v, sizeof(v));
}

/* u32 at the reader's position: a length that stands in place. 0 with err set. */
static inline uint32_t native_get_length(struct native_in *in)
{
	const uint8_t *p = native_take(in, 4);

	return p != NULL ? native_load32(p) : 0;
}

static inline void native_put_length(struct native_out *out, size_t v)
{
	uint8_t *p = native_room(out, 4);

	if (p != NULL) {
		native_store32(p, (uint32_t)v);
	}
}

/* Consumes padding up to a multiple of align bytes from the start of the structure. */
static inline void native_skip_align(struct native_in *in, size_t align)
{
	native_take(in, (size_t)(in->start - in->p) & (align - 1));
}

static inline void native_room_align(struct native_out *out, size_t align)
{
	native_room(out, (size_t)(out->start - out->p) & (align - 1));
}

/* n bytes for a copy: in the reader's room, or below mem when that is used up. NULL with err set. */
static inline uint8_t *native_copy_room(struct native_in *in, TALLOC_CTX *mem, size_t n)
{
	uint8_t *p = in->room;

	if (p == NULL || (size_t)(in->room_end - p) < n) {
		p = talloc_size(mem, n);
		if (p == NULL) {
			native_in_fail(in, ENOMEM);
		}
		return p;
	}
	in->room += n;
	return p;
}

static inline char *native_copy_string(struct native_in *in, TALLOC_CTX *mem, const uint8_t *p, size_t n)
{
	char *s = (char *)native_copy_room(in, mem, n + 1);

	if (s != NULL) {
		if (n > 0) {
			memcpy(s, p, n);
		}
		s[n] = '\0';
	}
	return s;
}

static inline void native_get_blob(struct native_in *in, TALLOC_CTX *mem, size_t len, uint32_t max,
				   struct ctdb_blob *blob)
{
	const uint8_t *p;

	*blob = (struct ctdb_blob){0};
	if (len > max) {
		native_in_fail(in, EBADMSG);
	}
	p = native_take(in, len);
	if (p == NULL || len == 0) {
		return;
	}
	if (in->view) {
		*blob = (struct ctdb_blob){(uint32_t)len, (uint8_t *)(uintptr_t)p};
		return;
	}
	blob->data = native_copy_room(in, mem, len);
	if (blob->data != NULL) {
		memcpy(blob->data, p, len);
		blob->len = (uint32_t)len;
	}
}

/* len bytes, with their NUL unless nonul; length 0 is the empty string either way. A NUL elsewhere, or a missing one,
 * is malformed. */
static inline char *native_get_string(struct native_in *in, TALLOC_CTX *mem, size_t len, uint32_t max, bool nonul)
{
	const uint8_t *p = native_take(in, len);
	size_t n = len;

	if (p != NULL && !nonul && len > 0) {
		n = len - 1;
		if (p[n] != 0) {
			in->err = EBADMSG;
		}
	}
	if (n > max || (p != NULL && memchr(p, 0, n) != NULL)) {
		native_in_fail(in, EBADMSG);
	}
	if (in->err != 0) {
		return NULL;
	}
	return native_copy_string(in, mem, p, n);
}

/* char[n] with a NUL somewhere; what follows the NUL is ignored. */
static inline char *native_get_chars(struct native_in *in, TALLOC_CTX *mem, const uint8_t *p, size_t n, uint32_t max)
{
	size_t len = strnlen((const char *)p, n);

	if (len == n || len > max) {
		native_in_fail(in, EBADMSG);
		return NULL;
	}
	return native_copy_string(in, mem, p, len);
}

/* Zeroed array for n elements that take at least min_size bytes each: checked against the bytes present before it is
 * allocated. */
static inline void *native_get_array(struct native_in *in, TALLOC_CTX *mem, size_t size, uint32_t n, uint32_t max,
				     size_t min_size)
{
	void *v;

	if (n > max || n > native_left(in) / min_size) {
		native_in_fail(in, EBADMSG);
	}
	if (in->err != 0 || n == 0) {
		return NULL;
	}
	v = talloc_zero_size(mem, size * n);
	if (v == NULL) {
		in->err = ENOMEM;
	}
	return v;
}

/* Room for one more element behind n (arrays without a count); existing children stay. NULL with err set: v stays as it
 * is. */
static inline void *native_grow_array(struct native_in *in, TALLOC_CTX *mem, void *v, size_t size, uint32_t n,
				      uint32_t max)
{
	size_t room = n < 8 ? 8 : (size_t)n * 2;

	if (n >= max) {
		native_in_fail(in, EBADMSG);
		return NULL;
	}
	if (n != 0 && (n < 8 || (n & (n - 1)) != 0)) {
		return v;
	}
	v = talloc_realloc_size(mem, v, size * room);
	if (v == NULL) {
		native_in_fail(in, ENOMEM);
	}
	return v;
}

static inline size_t native_string_size(const char *s)
{
	return (s != NULL ? strlen(s) : 0) + 1;
}

static inline void native_out_bound(struct native_out *out, size_t n, size_t max)
{
	if (n > max) {
		native_out_fail(out, EMSGSIZE);
	}
}

static inline void native_put_bytes(struct native_out *out, const void *data, size_t len, size_t max)
{
	uint8_t *p;

	native_out_bound(out, len, max);
	if (len > 0 && data == NULL) {
		native_out_fail(out, EINVAL);
	}
	p = native_room(out, len);
	if (p != NULL && len > 0) {
		memcpy(p, data, len);
	}
}

static inline void native_put_chars(struct native_out *out, uint8_t *p, size_t n, const char *s, uint32_t max)
{
	size_t len = s != NULL ? strlen(s) : 0;

	if (len >= n || len > max) {
		native_out_fail(out, EMSGSIZE);
	} else if (len > 0) {
		memcpy(p, s, len);
	}
}

#endif
