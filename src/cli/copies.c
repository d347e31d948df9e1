/* Asking nodes for their copies. */
#include "copies.h"
#include "db_call.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define EXAMINE_MS    600000U
#define LOCATE_MS     10000U
#define LOOK_AGAIN_MS 50U

static int map_read(struct cli *cli, TALLOC_CTX *mem, struct copies_map *map)
{
	struct ctdb_nodemap *nodes = NULL;
	struct ctdb_vnnmap *vnnmap = NULL;
	int err = ctdb_get_nodemap(cli->c, CTDB_NODE_CURRENT, mem, &nodes);

	err = err != 0 ? err : ctdb_get_vnnmap(cli->c, CTDB_NODE_CURRENT, mem, &vnnmap);
	if (err != 0) {
		return err;
	}
	*map = (struct copies_map){.generation = vnnmap->generation, .vnnmap = vnnmap};
	for (uint32_t i = 0; i < nodes->n && map->n < COPIES_NODES_MAX; i++) {
		if ((nodes->nodes[i].flags & CTDB_NODE_INACTIVE) == 0) {
			map->pnn[map->n++] = nodes->nodes[i].pnn;
		}
	}
	return 0;
}

int copies_map_get(struct cli *cli, TALLOC_CTX *mem, struct copies_map *map)
{
	/* A recovery is over in a moment as a rule. */
	for (uint32_t waited = 0;; waited += LOOK_AGAIN_MS) {
		int err = map_read(cli, mem, map);

		if (err != 0) {
			return cli_fail_api(cli, err, "cannot list nodes");
		}
		if (map->n > 0 && map->vnnmap->size > 0 && map->generation != CTDB_GENERATION_INVALID) {
			return 0;
		}
		if (waited >= cli->opt.timeout_ms) {
			return cli_fail(cli, EXIT_ERROR,
					"no node is active, or a recovery runs: see ctdb cluster status");
		}
		usleep(LOOK_AGAIN_MS * 1000);
	}
}

static int call(struct cli *cli, TALLOC_CTX *mem, uint32_t pnn, enum db_proc proc, const struct ctdb_blob *arg,
		uint32_t timeout_ms, struct ctdb_data *result)
{
	int status =
		db_call(cli, mem, pnn, proc, arg, cli->opt.timeout_given ? cli->opt.timeout_ms : timeout_ms, result);

	if (status == ENOSYS) {
		return -cli_fail(cli, EXIT_ERROR, "the daemon of node %u cannot tell of its copies", pnn);
	}
	if (status > 0 && status != ENOENT && status != EAGAIN) {
		return -cli_fail(cli, status == ETIMEDOUT ? EXIT_TIMEOUT : EXIT_ERROR, "node %u cannot be asked: %s",
				 pnn, strerror(status));
	}
	return status;
}

int copies_examine(struct cli *cli, TALLOC_CTX *mem, uint32_t pnn, uint32_t db_id, struct db_examination *out)
{
	const struct db_copy_id arg = {.db_id = db_id};
	struct ctdb_data result = {.len = 0};
	struct ctdb_blob blob;
	int ret = db_copy_id_encode(mem, &arg, &blob) != 0
			  ? -cli_fail(cli, EXIT_ERROR, "out of memory")
			  : call(cli, mem, pnn, DB_PROC_EXAMINE, &blob, EXAMINE_MS, &result);

	if (ret != 0) {
		return ret;
	}
	return db_examination_decode(mem, result.data, result.len, out) != 0 ? db_call_malformed(cli, pnn) : 0;
}

int copies_scan(struct cli *cli, TALLOC_CTX *mem, uint32_t pnn, const struct db_scan_args *args,
		struct db_scan_page *out)
{
	struct ctdb_data result = {.len = 0};
	struct ctdb_blob blob;
	int ret = db_scan_args_encode(mem, args, &blob) != 0
			  ? -cli_fail(cli, EXIT_ERROR, "out of memory")
			  : call(cli, mem, pnn, DB_PROC_SCAN, &blob, EXAMINE_MS, &result);

	if (ret != 0) {
		return ret;
	}
	return db_scan_page_decode(mem, result.data, result.len, out) != 0 ? db_call_malformed(cli, pnn) : 0;
}

int copies_locate(struct cli *cli, uint32_t pnn, uint32_t db_id, struct ctdb_data key, struct copy *out,
		  uint32_t *generation)
{
	TALLOC_CTX *mem = talloc_new(cli->c);
	const struct db_locate_args arg = {.db_id = db_id,
					   .key = {.data = (uint8_t *)(uintptr_t)key.data, .len = (uint32_t)key.len}};
	struct ctdb_data result = {.len = 0};
	struct db_location at;
	struct ctdb_blob blob;
	int ret = db_locate_args_encode(mem, &arg, &blob) != 0
			  ? -cli_fail(cli, EXIT_ERROR, "out of memory")
			  : call(cli, mem, pnn, DB_PROC_LOCATE, &blob, LOCATE_MS, &result);

	if (ret == 0 && db_location_decode(mem, result.data, result.len, &at) != 0) {
		ret = db_call_malformed(cli, pnn);
	}
	if (ret == 0) {
		*out = (struct copy){.found = at.found,
				     .empty = at.copy.empty,
				     .rsn = at.copy.rsn,
				     .dmaster = at.copy.dmaster,
				     .flags = at.copy.flags,
				     .size = at.size};
		*generation = at.generation;
	}
	talloc_free(mem);
	return ret;
}

uint32_t copies_lmaster(const struct copies_map *map, struct ctdb_data key)
{
	return map->vnnmap->map[ctdb_key_hash(key.data, key.len) % map->vnnmap->size];
}

/* ---- the rules ---- */

static const char *problem_of_lmaster(const struct copies_map *map, const struct copy *copies, uint32_t lmaster,
				      uint32_t owner, char *buf, size_t len)
{
	for (uint32_t i = 0; i < map->n; i++) {
		if (map->pnn[i] != lmaster || lmaster == owner) {
			continue;
		}
		if (!copies[i].found) {
			snprintf(buf, len, "node %u owns it, its location master %u does not know it", owner, lmaster);
			return buf;
		}
		if (copies[i].dmaster != owner) {
			snprintf(buf, len, "node %u owns it, its location master %u says node %u", owner, lmaster,
				 copies[i].dmaster);
			return buf;
		}
	}
	return NULL;
}

const char *copies_problem(const struct copies_map *map, const struct copy *copies, uint32_t lmaster, char *buf,
			   size_t len)
{
	uint32_t owner = UINT32_MAX, n_copies = 0;
	uint64_t rsn = 0;

	for (uint32_t i = 0; i < map->n; i++) {
		/* The pointer of a former location master may outlive the record: vacuuming removes it. */
		n_copies += copies[i].found && (copies[i].rsn > 0 || map->pnn[i] == lmaster);
		if (!copies[i].found || copies[i].dmaster != map->pnn[i]) {
			continue;
		}
		if (owner != UINT32_MAX) {
			snprintf(buf, len, "nodes %u and %u both own it", owner, map->pnn[i]);
			return buf;
		}
		owner = map->pnn[i];
		rsn = copies[i].rsn;
	}
	if (n_copies == 0) {
		return NULL; /* it is gone */
	}
	if (owner == UINT32_MAX) {
		return "no node owns it";
	}
	for (uint32_t i = 0; i < map->n; i++) {
		if (copies[i].found && copies[i].rsn > rsn) {
			snprintf(buf, len, "node %u owns it with rsn %llu, node %u has rsn %llu", owner,
				 (unsigned long long)rsn, map->pnn[i], (unsigned long long)copies[i].rsn);
			return buf;
		}
	}
	return problem_of_lmaster(map, copies, lmaster, owner, buf, len);
}
