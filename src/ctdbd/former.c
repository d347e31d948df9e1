/* Nodes that have exchanged their addresses. */
#include "former.h"

#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "shared/node_id.h"

/* "NAME.tdb.PNN" */
static bool is_database_of(const char *name, uint32_t pnn)
{
	char suffix[32];
	size_t len = strlen(name), n = (size_t)snprintf(suffix, sizeof(suffix), ".tdb.%u", pnn);

	return len > n && strcmp(name + len - n, suffix) == 0;
}

static int has_databases(TALLOC_CTX *mem, const char *path, uint32_t pnn, bool *has, char **err)
{
	DIR *dir = opendir(path);
	struct dirent *e;
	int ret = dir == NULL ? errno : 0;

	*has = false;
	while (ret == 0 && !*has) {
		errno = 0;
		e = readdir(dir);
		if (e == NULL) {
			ret = errno;
			break;
		}
		*has = is_database_of(e->d_name, pnn);
	}
	if (dir != NULL) {
		closedir(dir);
	}
	if (ret != 0) {
		*err = talloc_asprintf(mem, "%s: cannot be read: %s", path, strerror(ret));
	}
	return ret;
}

int former_check(TALLOC_CTX *mem, const struct conf *conf, const struct conf_nodes *nodes, uint32_t pnn, char **err)
{
	struct node_id id = {.pnn = pnn};
	bool has = false;
	int ret = node_id_load(mem, conf->path.db_state, &id, err);

	if (ret == ENOENT || (ret == 0 && id.pnn == pnn)) {
		return 0;
	}
	ret = ret != 0 ? ret : has_databases(mem, conf->path.db_persistent, id.pnn, &has, err);
	if (ret != 0 || !has) {
		return ret;
	}
	*err = talloc_asprintf(
		mem,
		"by its address %s this is node %u, but it was node %u when it ran last, and has databases of that "
		"one in %s: if two nodes have exchanged their addresses, give them back, or exchange their lines in "
		"the nodes file of all nodes while the cluster is stopped; if this is a copy of node %u, or is to "
		"begin "
		"as node %u without them, remove %s/node-id",
		nodes->v[pnn].text, pnn, id.pnn, conf->path.db_persistent, id.pnn, pnn, conf->path.db_state);
	return ENOTUNIQ;
}
