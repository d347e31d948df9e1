/* Bytes as text and back: names of things typed by people, contents of records. */
#ifndef CLI_TEXT_H
#define CLI_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Bytes in memory of malloc(). data is NULL only if nothing was read. */
struct bytes {
	uint8_t *data;
	size_t len;
};

/* "\xNN" is one byte, "\\" a backslash; everything else stands for itself. 0, EINVAL (a backslash with something else),
 * ENOMEM. */
int text_unescape(const char *text, struct bytes *out);
/* Hexadecimal digits in pairs, white space between pairs allowed. 0, EINVAL, ENOMEM. */
int text_unhex(const char *text, struct bytes *out);
/* A file to its end, at most max bytes. 0, EFBIG, ENOMEM, or why it could not be read. */
int text_read(FILE *f, size_t max, struct bytes *out);
/* Printable ASCII as it is, the rest as text_unescape() reads it. To be freed; NULL: out of memory. */
char *text_escape(const uint8_t *data, size_t len);
/* The same in quotes; a quote inside has a backslash. */
char *text_quote(const uint8_t *data, size_t len);
char *text_hex(const uint8_t *data, size_t len);
/* Lines for people that others have a part in: what a terminal would act on becomes '?'. */
void text_make_printable(char *text);

/* Whole numbers, decimal or 0x; false if there is anything else in text or it is larger than max. */
bool text_number(const char *text, uint64_t max, uint64_t *value);
/* Seconds, perhaps with a fraction, above 0 and up to 30 days; in milliseconds. */
bool text_seconds(const char *text, uint32_t *ms);
/* A moment in local time, "2026-11-21 16:05:09" with separator '-'; "?" if there is no such year. */
#define TEXT_TIME_MAX 40U
const char *text_time(uint64_t seconds, char separator, char buf[TEXT_TIME_MAX]);
/* How many characters have to be changed, added or taken away; for suggestions. */
size_t text_distance(const char *a, const char *b);

#endif
