/* The nodes file and the key file: [0: nodes, 1: keys] [the file]. */
#include <talloc.h>

#include "fuzz.h"
#include "fuzz_file.h"
#include "shared/cluster_key.h"
#include "shared/conf.h"

static void check_error(int ret, const void *result, const char *err)
{
	MUST((ret == 0) == (result != NULL));
	MUST(ret == 0 || (err != NULL && err[0] != '\0'));
}

static void nodes(TALLOC_CTX *mem)
{
	struct conf_nodes *list = NULL;
	char *err = NULL;
	int ret = conf_nodes_load(mem, fuzz_path("file"), &list, &err);

	check_error(ret, list, err);
	for (uint32_t i = 0; ret == 0 && i < list->n; i++) {
		MUST(list->n <= CONF_NODES_MAX && list->v[i].text != NULL);
	}
}

/* What was read can be written, and is read again as the same. */
static void keys(TALLOC_CTX *mem)
{
	struct cluster_keys *a = NULL, *b = NULL;
	char *err = NULL;
	int ret = cluster_keys_load(mem, fuzz_path("file"), &a, &err);

	check_error(ret, a, err);
	if (ret != 0) {
		return;
	}
	MUST(a->n >= 1 && a->n <= CLUSTER_KEYS_MAX);
	MUST(cluster_keys_find(a, a->v[a->n - 1].id) == &a->v[a->n - 1]);
	MUST(cluster_keys_store(a, fuzz_path("copy"), &err) == 0);
	MUST(cluster_keys_load(mem, fuzz_path("copy"), &b, &err) == 0);
	MUST(a->n == b->n && memcmp(a->v, b->v, a->n * sizeof(a->v[0])) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_in in = {data, size};
	uint8_t what = fuzz_byte(&in);
	TALLOC_CTX *mem = talloc_new(NULL);

	fuzz_write("file", in.p, in.left);
	if ((what & 1) == 0) {
		nodes(mem);
	} else {
		keys(mem);
	}
	talloc_free(mem);
	return 0;
}
