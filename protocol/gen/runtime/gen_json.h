/* What the generated JSON and text functions share. */
#ifndef PROTOCOL_GEN_JSON_H
#define PROTOCOL_GEN_JSON_H

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/xdr.h"

/* Strings come from the network: what is not UTF-8 is shown with '?' for the bytes that are not ASCII. */
static inline json_t *gen_json_string(const char *s)
{
	json_t *j = json_string(s != NULL ? s : "");
	char *copy;

	if (j != NULL) {
		return j;
	}
	copy = strdup(s);
	if (copy == NULL) {
		return NULL;
	}
	for (char *p = copy; *p != '\0'; p++) {
		if ((unsigned char)*p >= 0x80) {
			*p = '?';
		}
	}
	j = json_string(copy);
	free(copy);
	return j;
}

static inline json_t *gen_json_hex(const uint8_t *data, size_t len)
{
	static const char digits[] = "0123456789abcdef";
	char *s = malloc(2 * len + 1);
	json_t *j;

	if (s == NULL) {
		return NULL;
	}
	for (size_t i = 0; i < len; i++) {
		s[2 * i] = digits[data[i] >> 4];
		s[2 * i + 1] = digits[data[i] & 15];
	}
	j = json_stringn(s, 2 * len);
	free(s);
	return j;
}

/* JSON integers have 63 bits here; a number beyond is a string of digits. */
static inline json_t *gen_json_u64(uint64_t v)
{
	char s[24];

	if (v <= INT64_MAX) {
		return json_integer((json_int_t)v);
	}
	snprintf(s, sizeof(s), "%" PRIu64, v);
	return json_string(s);
}

static inline json_t *gen_json_double(double v)
{
	return isfinite(v) ? json_real(v) : json_null();
}

/* name: of the value, "unknown" if it has none: then the number is shown. */
static inline json_t *gen_json_enum(const char *name, int v)
{
	return strcmp(name, "unknown") != 0 ? json_string(name) : json_integer(v);
}

static inline void gen_print_indent(FILE *f, int indent)
{
	fprintf(f, "%*s", indent * 2, "");
}

/* One line, whatever is in s. */
static inline void gen_print_string(FILE *f, const char *s)
{
	fputc('"', f);
	for (; s != NULL && *s != '\0'; s++) {
		if (*s == '"' || *s == '\\') {
			fprintf(f, "\\%c", *s);
		} else if ((unsigned char)*s < 0x20 || (unsigned char)*s == 0x7f) {
			fprintf(f, "\\x%02x", (unsigned char)*s);
		} else {
			fputc(*s, f);
		}
	}
	fputs("\"\n", f);
}

/* At most 64 bytes, then their number. */
static inline void gen_print_hex(FILE *f, const uint8_t *data, size_t len)
{
	size_t shown = len <= 64 ? len : 64;

	for (size_t i = 0; i < shown; i++) {
		fprintf(f, "%02x", data[i]);
	}
	if (shown < len) {
		fprintf(f, "... (%zu bytes)", len);
	}
	fputc('\n', f);
}

#endif
