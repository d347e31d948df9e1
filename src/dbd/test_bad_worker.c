/* For tests: a worker that breaks the protocol, in the way that the environment's TEST_BAD_WORKER names. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/xdr.h"

static void put(int fd, uint32_t len, uint32_t type, const uint32_t *words, size_t n)
{
	uint8_t buf[256];
	struct xdr_out out = {.p = buf, .end = buf + sizeof(buf)};
	size_t i;

	xdr_put_u32(&out, len);
	xdr_put_u32(&out, type);
	for (i = 0; i < n; i++) {
		xdr_put_u32(&out, words[i]);
	}
	if (write(fd, buf, (size_t)(out.p - buf)) < 0) {
		_exit(3);
	}
}

int main(int argc, char **argv)
{
	const char *how = getenv("TEST_BAD_WORKER");
	int fd = argc == 3 ? atoi(argv[2]) : -1;
	uint8_t first;

	if (how == NULL || read(fd, &first, 1) != 1) {
		return 2;
	}
	if (strcmp(how, "short") == 0) {
		put(fd, 3, 16, NULL, 0);
	} else if (strcmp(how, "long") == 0) {
		put(fd, 0xFFFFFFFF, 16, NULL, 0);
	} else if (strcmp(how, "unknown") == 0) {
		put(fd, 4, 99, NULL, 0);
	} else if (strcmp(how, "other job") == 0) {
		put(fd, 4 + 36, 17, (const uint32_t[]){0, 999, 0, 0, 0, 0, 0, 0, 0}, 9);
	} else if (strcmp(how, "other batch") == 0) {
		put(fd, 4 + 12, 16, (const uint32_t[]){0, 999, 0}, 3);
	} else if (strcmp(how, "cut batch") == 0) {
		put(fd, 4 + 12, 16, (const uint32_t[]){0, 1, 1000}, 3);
	} else if (strcmp(how, "cut done") == 0) {
		put(fd, 4 + 8, 17, (const uint32_t[]){0, 1}, 2);
	} else if (strcmp(how, "cut log") == 0) {
		put(fd, 4 + 4, 18, (const uint32_t[]){0}, 1);
	} else if (strcmp(how, "exit") == 0) {
		return 0;
	} else if (strcmp(how, "half a frame") == 0) {
		put(fd, 1000, 16, NULL, 0);
		return 0;
	}
	for (;;) {
		pause();
	}
}
