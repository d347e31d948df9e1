/* ctdb.conf: the input is the file, or, from a line "%%" on, one in conf.d. */
#include <talloc.h>
#include <unistd.h>

#include "fuzz.h"
#include "fuzz_file.h"
#include "shared/conf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *second = memmem(data, size, "\n%%\n", 4);
	size_t first_len = second != NULL ? (size_t)(second - data) + 1 : size;
	TALLOC_CTX *mem = talloc_new(NULL);
	struct conf *conf = NULL;
	char *err = NULL;
	int ret;

	setenv("CTDB_BASE", fuzz_dir(), 1);
	fuzz_write("ctdb.conf", data, first_len);
	if (second != NULL) {
		fuzz_write("conf.d/one.conf", second + 4, size - first_len - 3);
	} else {
		fuzz_remove("conf.d/one.conf");
	}
	ret = conf_load(mem, NULL, &conf, &err);
	MUST((ret == 0) == (conf != NULL) && (ret == 0) == (err == NULL));
	if (ret != 0) {
		MUST(strchr(err, '\n') == NULL && err[0] != '\0');
	} else {
		MUST(conf->cluster.dead_interval >= 3 * conf->cluster.heartbeat_interval && conf->path.nodes != NULL);
	}
	talloc_free(mem);
	return 0;
}
