/* Copying and comparing bytes of which there may be none: then their address may be NULL, which memcpy() and memcmp() do not allow. */
#ifndef BASE_BYTES_H
#define BASE_BYTES_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <talloc.h>

static inline void bytes_copy(void *to, const void *from, size_t n)
{
	if (n > 0) {
		memcpy(to, from, n);
	}
}

static inline bool bytes_same(const void *a, const void *b, size_t n)
{
	return n == 0 || memcmp(a, b, n) == 0;
}

/* Never NULL but for want of memory. */
static inline uint8_t *bytes_dup(TALLOC_CTX *mem, const void *from, size_t n)
{
	uint8_t *copy = talloc_size(mem, n > 0 ? n : 1);

	if (copy != NULL) {
		bytes_copy(copy, from, n);
	}
	return copy;
}

#endif
