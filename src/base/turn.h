/* Byte order of native structures: turning them round in place, as generated code does it (protocol/gen, part "turn").
 */
#ifndef BASE_TURN_H
#define BASE_TURN_H

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

/* Which of the two orders is that of this machine: before, or afterwards. Only then lengths can be read. */
enum turn_dir { TURN_FROM_HOST, TURN_TO_HOST };

/* A generated NAME_turn(): 0, or EBADMSG: the bytes end inside the structure, or its lengths do not fit. What is there
 * has been turned then, and the other direction turns just that back. *used (may be NULL): bytes of the structure. */
typedef int (*turn_fn)(uint8_t *buf, size_t len, enum turn_dir dir, size_t *used);

/* A walk through len bytes, which need not be aligned. err is sticky: 0 or EBADMSG; at then stays at the end. */
struct turn {
	uint8_t *buf;
	size_t len, at;
	enum turn_dir dir;
	int err;
};

static inline size_t turn_left(const struct turn *t)
{
	return t->len - t->at;
}

/* Moves on by n bytes; returns where they begin. If fewer are left, err is set, and what is there may still be turned.
 */
static inline size_t turn_take(struct turn *t, size_t n)
{
	size_t at = t->at;

	if (n > turn_left(t)) {
		t->err = EBADMSG;
	}
	t->at = t->err == 0 ? at + n : t->len;
	return at;
}

/* Up to a multiple of align bytes from the start of the buffer. */
static inline void turn_align(struct turn *t, size_t align)
{
	turn_take(t, ((size_t)0 - t->at) & (align - 1));
}

static inline uint8_t *turn_here(struct turn *t, size_t at, size_t n)
{
	if (at > t->len || t->len - at < n) {
		t->err = EBADMSG;
		return NULL;
	}
	return t->buf + at;
}

/* An integer or double of n bytes. */
static inline void turn_number(struct turn *t, size_t at, size_t n)
{
	uint8_t *p = turn_here(t, at, n);

	for (size_t i = 0; p != NULL && i < n / 2; i++) {
		uint8_t byte = p[i];

		p[i] = p[n - 1 - i];
		p[n - 1 - i] = byte;
	}
}

/* A u32, turned; its value. 0 with err set. */
static inline uint32_t turn_length(struct turn *t, size_t at)
{
	const uint8_t *p = turn_here(t, at, 4);
	uint32_t before = 0, after = 0;

	if (p != NULL) {
		memcpy(&before, p, 4);
		turn_number(t, at, 4);
		memcpy(&after, p, 4);
	}
	return t->dir == TURN_FROM_HOST ? before : after;
}

/* A sockaddr_in or sockaddr_in6: family, and the scope of an IPv6 address. Port, flow and address are in network order
 * everywhere. */
static inline void turn_sockaddr(struct turn *t, size_t at)
{
	const uint8_t *p = turn_here(t, at, 2);
	uint16_t before, after;

	if (p == NULL) {
		return;
	}
	memcpy(&before, p, 2);
	turn_number(t, at, 2);
	memcpy(&after, p, 2);
	if ((t->dir == TURN_FROM_HOST ? before : after) == AF_INET6) {
		turn_number(t, at + 24, 4);
	}
}

#endif
