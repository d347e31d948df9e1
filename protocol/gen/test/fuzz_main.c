/* Runs a fuzz target without libFuzzer: random inputs, or the files named on the command line (to look at what a fuzzer
 * found). */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "protocol/gen_test.h"

#define INPUTS    30000
#define MAX_INPUT (1024 * 1024)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int run_file(const char *path)
{
	uint8_t *buf = malloc(MAX_INPUT);
	FILE *f = fopen(path, "rb");
	size_t n;

	if (f == NULL || buf == NULL) {
		perror(path);
		free(buf);
		return 1;
	}
	n = fread(buf, 1, MAX_INPUT, f);
	fclose(f);
	LLVMFuzzerTestOneInput(buf, n);
	free(buf);
	return 0;
}

/* Mostly zeros with small numbers in them: random bytes alone never get past a length. */
static void run_random(uint64_t *rnd)
{
	size_t len = gen_random_below(rnd, 200);
	uint8_t *buf = malloc(len + 1);

	if (buf == NULL) {
		abort();
	}
	memset(buf, 0, len + 1);
	buf[0] = (uint8_t)gen_random(rnd);
	for (uint32_t n = gen_random_below(rnd, 12); n > 0 && len > 0; n--) {
		buf[1 + gen_random_below(rnd, (uint32_t)len)] =
			(uint8_t)(gen_random_below(rnd, 4) == 0 ? gen_random(rnd) : gen_random_below(rnd, 20));
	}
	LLVMFuzzerTestOneInput(buf, len + 1);
	free(buf);
}

int main(int argc, char **argv)
{
	uint64_t rnd = 1;
	int err = 0;

	for (int i = 1; i < argc; i++) {
		err |= run_file(argv[i]);
	}
	for (int i = 0; argc == 1 && i < INPUTS; i++) {
		run_random(&rnd);
	}
	return err;
}
