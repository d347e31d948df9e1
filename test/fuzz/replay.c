/* Runs a fuzz target without libFuzzer, over the files and directories named on the command line. */
#include <dirent.h>
#include <errno.h>
#include <sys/stat.h>

#include "fuzz.h"

#define INPUT_BYTES_MAX (4U << 20)

static int run_file(const char *path)
{
	FILE *f = fopen(path, "rb");
	uint8_t *buf = malloc(INPUT_BYTES_MAX), *exact;
	size_t n;

	if (f == NULL || buf == NULL) {
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
		exit(2);
	}
	n = fread(buf, 1, INPUT_BYTES_MAX, f);
	fclose(f);
	exact = malloc(n > 0 ? n : 1);
	MUST(exact != NULL);
	memcpy(exact, buf, n);
	free(buf);
	/* The name of what does not come back is the last one. */
	printf("%s\n", path);
	fflush(stdout);
	LLVMFuzzerTestOneInput(exact, n);
	free(exact);
	return 1;
}

static int run_path(const char *path)
{
	struct stat st;
	struct dirent **names;
	int n, files = 0;

	if (stat(path, &st) != 0) {
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
		exit(2);
	}
	if (!S_ISDIR(st.st_mode)) {
		return run_file(path);
	}
	n = scandir(path, &names, NULL, alphasort);
	for (int i = 0; i < n; i++) {
		char file[4096];

		snprintf(file, sizeof(file), "%s/%s", path, names[i]->d_name);
		if (names[i]->d_name[0] != '.') {
			files += run_file(file);
		}
		free(names[i]);
	}
	free(n >= 0 ? names : NULL);
	return files;
}

int main(int argc, char **argv)
{
	int files = 0;

	for (int i = 1; i < argc; i++) {
		files += run_path(argv[i]);
	}
	if (files == 0) {
		fprintf(stderr, "usage: %s FILE|DIRECTORY... (with at least one input)\n", argv[0]);
		return 2;
	}
	return 0;
}
