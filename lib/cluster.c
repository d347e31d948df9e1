/* Questions about nodes and the cluster: one control each. */
#include "internal.h"

#include <errno.h>

#include <ctdb/wire.h>

#include "base/hash.h"

#define NO_DATA ((struct ctdb_data){0})

/* ---- node map ---- */

struct tevent_req *ctdb_get_nodemap_send(TALLOC_CTX *mem, struct ctdb_client *c, uint32_t node)
{
	return control_send(mem, c, node, CLASSIC_CONTROL_GET_NODEMAP, 0, NO_DATA);
}

int ctdb_get_nodemap_recv(struct tevent_req *req, TALLOC_CTX *mem, struct ctdb_nodemap **map)
{
	struct ctdb_blob data = {.len = 0};
	int err = control_recv(req, &data);

	return err != 0 ? err : control_decoded(req, ctdb_wire_get_nodemap(mem, data_of_blob(data), map));
}

int ctdb_get_nodemap(struct ctdb_client *c, uint32_t node, TALLOC_CTX *mem, struct ctdb_nodemap **map)
{
	SYNC_RETURN(c, ctdb_get_nodemap_send(mem, c, node), ctdb_get_nodemap_recv(req, mem, map));
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

int ctdb_get_vnnmap_recv(struct tevent_req *req, TALLOC_CTX *mem, struct ctdb_vnnmap **map)
{
	struct ctdb_blob data = {.len = 0};
	int err = control_recv(req, &data);

	return err != 0 ? err : control_decoded(req, ctdb_wire_get_vnnmap(mem, data_of_blob(data), map));
}

int ctdb_get_vnnmap(struct ctdb_client *c, uint32_t node, TALLOC_CTX *mem, struct ctdb_vnnmap **map)
{
	SYNC_RETURN(c, ctdb_get_vnnmap_send(mem, c, node), ctdb_get_vnnmap_recv(req, mem, map));
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
	SYNC_RETURN(c, ctdb_get_recmode_send(c, c, node), ctdb_get_recmode_recv(req, mode));
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
	SYNC_RETURN(c, ctdb_get_runstate_send(c, c, node), ctdb_get_runstate_recv(req, state));
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
	SYNC_RETURN(c, ctdb_get_verdict_send(mem, c, node), ctdb_get_verdict_recv(req, mem, text));
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
	SYNC_RETURN(c, ctdb_get_pid_send(c, c, node), ctdb_get_pid_recv(req, pid));
}

/* ---- uptime ---- */

struct tevent_req *ctdb_get_uptime_send(TALLOC_CTX *mem, struct ctdb_client *c, uint32_t node)
{
	return control_send(mem, c, node, CLASSIC_CONTROL_UPTIME, 0, NO_DATA);
}

int ctdb_get_uptime_recv(struct tevent_req *req, struct ctdb_uptime *uptime)
{
	struct ctdb_blob data = {.len = 0};
	int err = control_recv(req, &data);

	return err != 0 ? err : control_decoded(req, ctdb_wire_get_uptime(data_of_blob(data), uptime));
}

int ctdb_get_uptime(struct ctdb_client *c, uint32_t node, struct ctdb_uptime *uptime)
{
	SYNC_RETURN(c, ctdb_get_uptime_send(c, c, node), ctdb_get_uptime_recv(req, uptime));
}

/* ---- interfaces ---- */

struct tevent_req *ctdb_get_ifaces_send(TALLOC_CTX *mem, struct ctdb_client *c, uint32_t node)
{
	return control_send(mem, c, node, CLASSIC_CONTROL_GET_IFACES, 0, NO_DATA);
}

int ctdb_get_ifaces_recv(struct tevent_req *req, TALLOC_CTX *mem, struct ctdb_iface_list **list)
{
	struct ctdb_blob data = {.len = 0};
	int err = control_recv(req, &data);

	return err != 0 ? err : control_decoded(req, ctdb_wire_get_ifaces(mem, data_of_blob(data), list));
}

int ctdb_get_ifaces(struct ctdb_client *c, uint32_t node, TALLOC_CTX *mem, struct ctdb_iface_list **list)
{
	SYNC_RETURN(c, ctdb_get_ifaces_send(mem, c, node), ctdb_get_ifaces_recv(req, mem, list));
}
