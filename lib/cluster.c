/* Questions about nodes and the cluster: one control each. */
#include "internal.h"

#include <errno.h>

#include "base/hash.h"
#include "protocol/classic_native.h"

#define NO_DATA ((struct ctdb_data){0})

/* ---- node map ---- */

struct tevent_req *ctdb_get_nodemap_send(TALLOC_CTX *mem, struct ctdb_client *c, uint32_t node)
{
	return control_send(mem, c, node, CLASSIC_CONTROL_GET_NODEMAP, 0, NO_DATA);
}

static int nodemap_new(TALLOC_CTX *mem, const struct classic_node_map *in, struct ctdb_nodemap **out)
{
	struct ctdb_nodemap *map = talloc_zero(mem, struct ctdb_nodemap);
	uint32_t i;

	if (map != NULL) {
		map->nodes = talloc_zero_array(map, struct ctdb_node, in->nodes.n);
	}
	if (map == NULL || map->nodes == NULL) {
		talloc_free(map);
		return ENOMEM;
	}
	for (i = 0; i < in->nodes.n; i++) {
		const struct classic_node_and_flags *n = &in->nodes.v[i];

		map->nodes[i].pnn = n->pnn;
		map->nodes[i].flags = n->flags;
		memcpy(&map->nodes[i].addr, n->addr.addr, sizeof(n->addr.addr));
	}
	map->n = in->nodes.n;
	*out = map;
	return 0;
}

int ctdb_get_nodemap_recv(struct tevent_req *req, TALLOC_CTX *mem, struct ctdb_nodemap **map)
{
	struct ctdb_blob data = {.len = 0};
	struct classic_node_map in;
	int err = control_recv(req, &data);

	if (err != 0) {
		return err;
	}
	if (classic_node_map_ndecode(req, data.data, data.len, &in, NULL) != 0) {
		return control_malformed(req);
	}
	return nodemap_new(mem, &in, map);
}

int ctdb_get_nodemap(struct ctdb_client *c, uint32_t node, TALLOC_CTX *mem, struct ctdb_nodemap **map)
{
	struct tevent_req *req = SYNC_SEND(c, ctdb_get_nodemap_send(mem, c, node));
	int err = sync_run(c, req);

	if (err == 0) {
		err = ctdb_get_nodemap_recv(req, mem, map);
		talloc_free(req);
	}
	return err;
}

/* ---- vnn map ---- */

uint32_t ctdb_key_hash(const void *key, size_t len)
{
	return hash_lookup3(key, len);
}

struct tevent_req *ctdb_get_vnnmap_send(TALLOC_CTX *mem, struct ctdb_client *c, uint32_t node)
{
	return control_send(mem, c, node, CLASSIC_CONTROL_GETVNNMAP, 0, NO_DATA);
}

int ctdb_get_vnnmap_recv(struct tevent_req *req, TALLOC_CTX *mem, struct ctdb_vnnmap **out)
{
	struct ctdb_blob data = {.len = 0};
	struct classic_vnn_map in;
	struct ctdb_vnnmap *map;
	int err = control_recv(req, &data);

	if (err != 0) {
		return err;
	}
	map = talloc_zero(mem, struct ctdb_vnnmap);
	if (map == NULL) {
		return ENOMEM;
	}
	if (classic_vnn_map_ndecode(map, data.data, data.len, &in, NULL) != 0) {
		talloc_free(map);
		return control_malformed(req);
	}
	*map = (struct ctdb_vnnmap){.generation = in.generation, .size = in.map.n, .map = in.map.v};
	*out = map;
	return 0;
}

int ctdb_get_vnnmap(struct ctdb_client *c, uint32_t node, TALLOC_CTX *mem, struct ctdb_vnnmap **map)
{
	struct tevent_req *req = SYNC_SEND(c, ctdb_get_vnnmap_send(mem, c, node));
	int err = sync_run(c, req);

	if (err == 0) {
		err = ctdb_get_vnnmap_recv(req, mem, map);
		talloc_free(req);
	}
	return err;
}

/* ---- recovery mode, run state, pid ---- */

struct tevent_req *ctdb_get_recmode_send(TALLOC_CTX *mem, struct ctdb_client *c, uint32_t node)
{
	return control_send(mem, c, node, CLASSIC_CONTROL_GET_RECMODE, 0, NO_DATA);
}

int ctdb_get_recmode_recv(struct tevent_req *req, enum ctdb_recmode *mode)
{
	int32_t status;
	int err = control_status_recv(req, &status);

	if (err == 0) {
		*mode = status == 0 ? CTDB_RECMODE_NORMAL : CTDB_RECMODE_ACTIVE;
	}
	return err;
}

int ctdb_get_recmode(struct ctdb_client *c, uint32_t node, enum ctdb_recmode *mode)
{
	struct tevent_req *req = SYNC_SEND(c, ctdb_get_recmode_send(c, c, node));
	int err = sync_run(c, req);

	if (err == 0) {
		err = ctdb_get_recmode_recv(req, mode);
		talloc_free(req);
	}
	return err;
}

const char *ctdb_runstate_name(enum ctdb_runstate state)
{
	static const char *const names[] = {"UNKNOWN", "INIT",    "SETUP",   "FIRST_RECOVERY",
					    "STARTUP", "RUNNING", "SHUTDOWN"};

	return (unsigned int)state < sizeof(names) / sizeof(names[0]) ? names[state] : names[0];
}

struct tevent_req *ctdb_get_runstate_send(TALLOC_CTX *mem, struct ctdb_client *c, uint32_t node)
{
	return control_send(mem, c, node, CLASSIC_CONTROL_GET_RUNSTATE, 0, NO_DATA);
}

int ctdb_get_runstate_recv(struct tevent_req *req, enum ctdb_runstate *state)
{
	uint32_t v;
	int err = control_u32_recv(req, &v);

	if (err == 0) {
		*state = v <= CTDB_RUNSTATE_SHUTDOWN ? (enum ctdb_runstate)v : CTDB_RUNSTATE_UNKNOWN;
	}
	return err;
}

int ctdb_get_runstate(struct ctdb_client *c, uint32_t node, enum ctdb_runstate *state)
{
	struct tevent_req *req = SYNC_SEND(c, ctdb_get_runstate_send(c, c, node));
	int err = sync_run(c, req);

	if (err == 0) {
		err = ctdb_get_runstate_recv(req, state);
		talloc_free(req);
	}
	return err;
}

struct tevent_req *ctdb_get_verdict_send(TALLOC_CTX *mem, struct ctdb_client *c, uint32_t node)
{
	return control_send(mem, c, node, CLASSIC_CONTROL_CLUSTER_VERDICT, 0, NO_DATA);
}

int ctdb_get_verdict_recv(struct tevent_req *req, TALLOC_CTX *mem, char **text)
{
	struct ctdb_blob data = {.len = 0};
	int err = control_recv(req, &data);

	if (err != 0) {
		return err;
	}
	if (data.len == 0 || data.data[data.len - 1] != '\0') {
		return control_malformed(req);
	}
	*text = talloc_strdup(mem, (const char *)data.data);
	return *text != NULL ? 0 : ENOMEM;
}

int ctdb_get_verdict(struct ctdb_client *c, uint32_t node, TALLOC_CTX *mem, char **text)
{
	struct tevent_req *req = SYNC_SEND(c, ctdb_get_verdict_send(mem, c, node));
	int err = sync_run(c, req);

	if (err == 0) {
		err = ctdb_get_verdict_recv(req, mem, text);
		talloc_free(req);
	}
	return err;
}

struct tevent_req *ctdb_get_pid_send(TALLOC_CTX *mem, struct ctdb_client *c, uint32_t node)
{
	return control_send(mem, c, node, CLASSIC_CONTROL_GET_PID, 0, NO_DATA);
}

int ctdb_get_pid_recv(struct tevent_req *req, pid_t *pid)
{
	int32_t status;
	int err = control_status_recv(req, &status);

	if (err == 0) {
		*pid = status;
	}
	return err;
}

int ctdb_get_pid(struct ctdb_client *c, uint32_t node, pid_t *pid)
{
	struct tevent_req *req = SYNC_SEND(c, ctdb_get_pid_send(c, c, node));
	int err = sync_run(c, req);

	if (err == 0) {
		err = ctdb_get_pid_recv(req, pid);
		talloc_free(req);
	}
	return err;
}

/* ---- uptime ---- */

static struct timeval timeval_of(struct classic_timeval t)
{
	return (struct timeval){.tv_sec = t.sec, .tv_usec = t.usec};
}

struct tevent_req *ctdb_get_uptime_send(TALLOC_CTX *mem, struct ctdb_client *c, uint32_t node)
{
	return control_send(mem, c, node, CLASSIC_CONTROL_UPTIME, 0, NO_DATA);
}

int ctdb_get_uptime_recv(struct tevent_req *req, struct ctdb_uptime *uptime)
{
	struct ctdb_blob data = {.len = 0};
	struct classic_uptime in;
	int err = control_recv(req, &data);

	if (err != 0) {
		return err;
	}
	if (classic_uptime_nview(data.data, data.len, &in, NULL) != 0) {
		return control_malformed(req);
	}
	uptime->now = timeval_of(in.current_time);
	uptime->started = timeval_of(in.start_time);
	uptime->recovery_started = timeval_of(in.last_recovery_started);
	uptime->recovery_finished = timeval_of(in.last_recovery_finished);
	return 0;
}

int ctdb_get_uptime(struct ctdb_client *c, uint32_t node, struct ctdb_uptime *uptime)
{
	struct tevent_req *req = SYNC_SEND(c, ctdb_get_uptime_send(c, c, node));
	int err = sync_run(c, req);

	if (err == 0) {
		err = ctdb_get_uptime_recv(req, uptime);
		talloc_free(req);
	}
	return err;
}

/* ---- interfaces ---- */

struct tevent_req *ctdb_get_ifaces_send(TALLOC_CTX *mem, struct ctdb_client *c, uint32_t node)
{
	return control_send(mem, c, node, CLASSIC_CONTROL_GET_IFACES, 0, NO_DATA);
}

int ctdb_get_ifaces_recv(struct tevent_req *req, TALLOC_CTX *mem, struct ctdb_iface_list **out)
{
	struct ctdb_blob data = {.len = 0};
	struct classic_iface_list in;
	struct ctdb_iface_list *list;
	uint32_t i;
	int err = control_recv(req, &data);

	if (err != 0) {
		return err;
	}
	if (classic_iface_list_ndecode(req, data.data, data.len, &in, NULL) != 0) {
		return control_malformed(req);
	}
	list = talloc_zero(mem, struct ctdb_iface_list);
	if (list != NULL) {
		list->ifaces = talloc_zero_array(list, struct ctdb_iface, in.ifaces.n);
	}
	if (list == NULL || list->ifaces == NULL) {
		talloc_free(list);
		return ENOMEM;
	}
	for (i = 0; i < in.ifaces.n; i++) {
		snprintf(list->ifaces[i].name, sizeof(list->ifaces[i].name), "%s", in.ifaces.v[i].name);
		list->ifaces[i].up = in.ifaces.v[i].link_state == 1;
		list->ifaces[i].references = in.ifaces.v[i].references;
	}
	list->n = in.ifaces.n;
	*out = list;
	return 0;
}

int ctdb_get_ifaces(struct ctdb_client *c, uint32_t node, TALLOC_CTX *mem, struct ctdb_iface_list **list)
{
	struct tevent_req *req = SYNC_SEND(c, ctdb_get_ifaces_send(mem, c, node));
	int err = sync_run(c, req);

	if (err == 0) {
		err = ctdb_get_ifaces_recv(req, mem, list);
		talloc_free(req);
	}
	return err;
}
