/* What the fuzz targets share. */
#ifndef TEST_FUZZ_H
#define TEST_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What fails here is a bug. */
#define MUST(cond)                                                                                                     \
	do {                                                                                                           \
		if (!(cond)) {                                                                                         \
			fprintf(stderr, "%s:%d: must be: %s\n", __FILE__, __LINE__, #cond);                            \
			abort();                                                                                       \
		}                                                                                                      \
	} while (0)

/* The input as a stream of choices. After its end: zeros. */
struct fuzz_in {
	const uint8_t *p;
	size_t left;
};

static inline uint8_t fuzz_byte(struct fuzz_in *in)
{
	if (in->left == 0) {
		return 0;
	}
	in->left--;
	return *in->p++;
}

static inline uint16_t fuzz_u16(struct fuzz_in *in)
{
	uint16_t high = fuzz_byte(in);

	return (uint16_t)(high << 8 | fuzz_byte(in));
}

/* A heap block of exactly the next n bytes, or of what is left: reading behind it is seen. The caller frees it. */
static inline uint8_t *fuzz_take(struct fuzz_in *in, size_t n, size_t *got)
{
	uint8_t *copy;

	*got = n < in->left ? n : in->left;
	copy = malloc(*got > 0 ? *got : 1);
	MUST(copy != NULL);
	if (*got > 0) {
		memcpy(copy, in->p, *got);
	}
	in->p += *got;
	in->left -= *got;
	return copy;
}

#endif
