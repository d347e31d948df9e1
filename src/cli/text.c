/* Bytes as text and back. */
#include "text.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9') {
		return c - '0';
	}
	c = (char)(c | 0x20);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int hex_pair(const char *p)
{
	int high = hex_digit(p[0]), low = high < 0 ? -1 : hex_digit(p[1]);

	return low < 0 ? -1 : high << 4 | low;
}

/* The byte at *p, which is moved behind it; -1: not an escape sequence. */
static int unescape_one(const char **p)
{
	const char *s = *p;
	int v;

	if (s[0] != '\\') {
		*p = s + 1;
		return (unsigned char)s[0];
	}
	if (s[1] == '\\') {
		*p = s + 2;
		return '\\';
	}
	v = s[1] == 'x' ? hex_pair(s + 2) : -1;
	*p = s + 4;
	return v;
}

int text_unescape(const char *text, struct bytes *out)
{
	uint8_t *data = malloc(strlen(text) + 1);
	size_t len = 0;

	if (data == NULL) {
		return ENOMEM;
	}
	while (*text != '\0') {
		int v = unescape_one(&text);

		if (v < 0) {
			free(data);
			return EINVAL;
		}
		data[len++] = (uint8_t)v;
	}
	*out = (struct bytes){.data = data, .len = len};
	return 0;
}

int text_unhex(const char *text, struct bytes *out)
{
	uint8_t *data = malloc(strlen(text) / 2 + 1);
	size_t len = 0;

	if (data == NULL) {
		return ENOMEM;
	}
	for (;;) {
		int v;

		while (isspace((unsigned char)*text)) {
			text++;
		}
		if (*text == '\0') {
			break;
		}
		v = hex_pair(text);
		if (v < 0) {
			free(data);
			return EINVAL;
		}
		data[len++] = (uint8_t)v;
		text += 2;
	}
	*out = (struct bytes){.data = data, .len = len};
	return 0;
}

int text_read(FILE *f, size_t max, struct bytes *out)
{
	uint8_t *data = NULL, *more;
	size_t len = 0, size = 0;
	int err = 0;

	while (err == 0 && !feof(f)) {
		if (len == size) {
			size = size == 0 ? 65536 : 2 * size;
			more = realloc(data, size + 1);
			if (more == NULL) {
				err = ENOMEM;
				break;
			}
			data = more;
		}
		errno = 0;
		len += fread(data + len, 1, size - len, f);
		if (ferror(f)) {
			err = errno != 0 ? errno : EIO;
		} else if (len > max) {
			err = EFBIG;
		}
	}
	if (err != 0) {
		free(data);
		return err;
	}
	data[len] = '\0'; /* so that it can be read as text, too */
	*out = (struct bytes){.data = data, .len = len};
	return 0;
}

char *text_escape(const uint8_t *data, size_t len)
{
	static const char digits[] = "0123456789abcdef";
	char *text = malloc(4 * len + 1), *p = text;
	size_t i;

	if (text == NULL) {
		return NULL;
	}
	for (i = 0; i < len; i++) {
		if (data[i] == '\\') {
			*p++ = '\\';
			*p++ = '\\';
		} else if (data[i] >= 0x20 && data[i] < 0x7F) {
			*p++ = (char)data[i];
		} else {
			*p++ = '\\';
			*p++ = 'x';
			*p++ = digits[data[i] >> 4];
			*p++ = digits[data[i] & 15];
		}
	}
	*p = '\0';
	return text;
}

void text_make_printable(char *text)
{
	for (; *text != '\0'; text++) {
		if (((unsigned char)*text < 0x20 && *text != '\n' && *text != '\t') || *text == 0x7F) {
			*text = '?';
		}
	}
}

char *text_hex(const uint8_t *data, size_t len)
{
	char *text = malloc(2 * len + 1);
	size_t i;

	if (text == NULL) {
		return NULL;
	}
	text[0] = '\0';
	for (i = 0; i < len; i++) {
		snprintf(text + 2 * i, 3, "%02x", data[i]);
	}
	return text;
}

bool text_number(const char *text, uint64_t max, uint64_t *value)
{
	char *end;
	unsigned long long v;

	if (!isdigit((unsigned char)text[0])) {
		return false;
	}
	errno = 0;
	v = strtoull(text, &end, text[0] == '0' && (text[1] | 0x20) == 'x' ? 16 : 10);
	if (errno != 0 || *end != '\0' || v > max) {
		return false;
	}
	*value = v;
	return true;
}

bool text_seconds(const char *text, uint32_t *ms)
{
	char *end;
	double v;

	if (!isdigit((unsigned char)text[0]) && text[0] != '.') {
		return false;
	}
	errno = 0;
	v = strtod(text, &end);
	if (errno != 0 || *end != '\0' || !(v >= 0.001) || v > 30.0 * 86400) {
		return false;
	}
	*ms = (uint32_t)(v * 1000);
	return true;
}

size_t text_distance(const char *a, const char *b)
{
	size_t row[128], i, j, n = strlen(b);

	if (n >= sizeof(row) / sizeof(row[0]) || strlen(a) >= sizeof(row) / sizeof(row[0])) {
		return SIZE_MAX;
	}
	for (j = 0; j <= n; j++) {
		row[j] = j;
	}
	for (i = 1; a[i - 1] != '\0'; i++) {
		size_t diagonal = row[0];

		row[0] = i;
		for (j = 1; j <= n; j++) {
			size_t change = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1),
			       best = row[j] < row[j - 1] ? row[j] + 1 : row[j - 1] + 1;

			diagonal = row[j];
			row[j] = best < change ? best : change;
		}
	}
	return row[n];
}

char *text_quote(const uint8_t *data, size_t len)
{
	char *inner = text_escape(data, len), *text, *p;
	size_t i, quotes = 0;

	if (inner == NULL) {
		return NULL;
	}
	for (i = 0; inner[i] != '\0'; i++) {
		quotes += inner[i] == '"';
	}
	text = malloc(i + quotes + 3);
	p = text;
	if (text != NULL) {
		*p++ = '"';
		for (i = 0; inner[i] != '\0'; i++) {
			if (inner[i] == '"') {
				*p++ = '\\';
			}
			*p++ = inner[i];
		}
		*p++ = '"';
		*p = '\0';
	}
	free(inner);
	return text;
}

const char *text_time(uint64_t seconds, char separator, char buf[TEXT_TIME_MAX])
{
	time_t t = (time_t)seconds;
	struct tm tm;

	/* Numbers that a file says may be any; time_t may have 32 bits. */
	if (t < 0 || (uint64_t)t != seconds || localtime_r(&t, &tm) == NULL) {
		return strcpy(buf, "?");
	}
	snprintf(buf, TEXT_TIME_MAX, "%lld%c%02d%c%02d %02d:%02d:%02d", tm.tm_year + 1900LL, separator, tm.tm_mon + 1,
		 separator, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec);
	return buf;
}
