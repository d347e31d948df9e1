/* The same types as rpcgen and libtirpc know them. Apart, because both sides define structures of the same names. */
#ifndef GEN_TEST_RPCGEN_SIDE_H
#define GEN_TEST_RPCGEN_SIDE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Decodes buf as the type called name and encodes it again: false if libtirpc refuses, leaves bytes over, or does not
 * know the type. */
bool rpcgen_again(const char *name, const uint8_t *buf, size_t len, uint8_t *out, size_t out_size, size_t *out_len);

/* Encodes the sample: values chosen by hand, field by field (see sample.h). */
bool rpcgen_encode_sample(uint8_t *out, size_t out_size, size_t *out_len);
/* Decodes buf and compares with the sample, field by field. */
bool rpcgen_is_sample(const uint8_t *buf, size_t len);

#endif
