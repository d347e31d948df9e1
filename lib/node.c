/* Looking after a node: one control each. */
#include "internal.h"

#include <errno.h>

#include "protocol/classic_native.h"

#define NO_DATA ((struct ctdb_data){0})

static struct tevent_req *plain_send(TALLOC_CTX *mem, struct ctdb_client *c, uint32_t node, uint32_t opcode)
{
	return control_send(mem, c, node, opcode, 0, NO_DATA);
}

static struct tevent_req *u32_send(TALLOC_CTX *mem, struct ctdb_client *c, uint32_t node, uint32_t opcode, uint32_t v)
{
	return control_send(mem, c, node, opcode, 0, data_of(&v, sizeof(v)));
}

/* ---- liveness ---- */

struct tevent_req *ctdb_ping_send(TALLOC_CTX *mem, struct ctdb_client *c, uint32_t node)
{
	return plain_send(mem, c, node, CLASSIC_CONTROL_PING);
}

int ctdb_ping_recv(struct tevent_req *req, uint32_t *n_clients)
{
	int32_t status;
	int err = control_status_recv(req, &status);

	if (err == 0) {
		*n_clients = (uint32_t)status;
	}
	return err;
}

int ctdb_ping(struct ctdb_client *c, uint32_t node, uint32_t *n_clients)
{
	SYNC_RETURN(c, ctdb_ping_send(c, c, node), ctdb_ping_recv(req, n_clients));
}

/* Status -1 without a word is the answer no. */
static int exists_recv(struct tevent_req *req, bool *exists)
{
	int32_t status;
	int err = control_status_recv(req, &status);

	if (err == 0 || err == EREMOTEIO) {
		*exists = err == 0;
		return 0;
	}
	return err;
}

struct tevent_req *ctdb_process_exists_send(TALLOC_CTX *mem, struct ctdb_client *c, uint32_t node, pid_t pid)
{
	return u32_send(mem, c, node, CLASSIC_CONTROL_PROCESS_EXISTS, (uint32_t)pid);
}

int ctdb_process_exists_recv(struct tevent_req *req, bool *exists)
{
	return exists_recv(req, exists);
}

int ctdb_process_exists(struct ctdb_client *c, uint32_t node, pid_t pid, bool *exists)
{
	SYNC_RETURN(c, ctdb_process_exists_send(c, c, node, pid), exists_recv(req, exists));
}

struct tevent_req *ctdb_pid_srvid_exists_send(TALLOC_CTX *mem, struct ctdb_client *c, uint32_t node, pid_t pid,
					      uint64_t srvid)
{
	struct classic_pid_srvid p = {.pid = pid, .srvid = srvid};
	struct ctdb_blob payload;
	struct tevent_req *req;

	if (classic_pid_srvid_nencode(mem, &p, &payload) != 0) {
		return NULL;
	}
	req = control_send(mem, c, node, CLASSIC_CONTROL_CHECK_PID_SRVID, 0, data_of_blob(payload));
	talloc_free(payload.data);
	return req;
}

int ctdb_pid_srvid_exists_recv(struct tevent_req *req, bool *exists)
{
	return exists_recv(req, exists);
}

int ctdb_pid_srvid_exists(struct ctdb_client *c, uint32_t node, pid_t pid, uint64_t srvid, bool *exists)
{
	SYNC_RETURN(c, ctdb_pid_srvid_exists_send(c, c, node, pid, srvid), exists_recv(req, exists));
}

struct tevent_req *ctdb_get_capabilities_send(TALLOC_CTX *mem, struct ctdb_client *c, uint32_t node)
{
	return plain_send(mem, c, node, CLASSIC_CONTROL_GET_CAPABILITIES);
}

int ctdb_get_capabilities_recv(struct tevent_req *req, uint32_t *capabilities)
{
	return control_u32_recv(req, capabilities);
}

int ctdb_get_capabilities(struct ctdb_client *c, uint32_t node, uint32_t *capabilities)
{
	SYNC_RETURN(c, ctdb_get_capabilities_send(c, c, node), control_u32_recv(req, capabilities));
}

/* ---- flags ---- */

/* The three forms of a control that carries nothing and is answered with nothing. */
#define PLAIN_CONTROL(name, opcode)                                                                                    \
	struct tevent_req *ctdb_##name##_send(TALLOC_CTX *mem, struct ctdb_client *c, uint32_t node)                   \
	{                                                                                                              \
		return plain_send(mem, c, node, opcode);                                                               \
	}                                                                                                              \
                                                                                                                       \
	int ctdb_##name##_recv(struct tevent_req *req)                                                                 \
	{                                                                                                              \
		return control_done_recv(req);                                                                         \
	}                                                                                                              \
                                                                                                                       \
	int ctdb_##name(struct ctdb_client *c, uint32_t node)                                                          \
	{                                                                                                              \
		SYNC_RETURN(c, ctdb_##name##_send(c, c, node), control_done_recv(req));                                \
	}

PLAIN_CONTROL(stop_node, CLASSIC_CONTROL_STOP_NODE)
PLAIN_CONTROL(continue_node, CLASSIC_CONTROL_CONTINUE_NODE)
PLAIN_CONTROL(disable_node, CLASSIC_CONTROL_DISABLE_NODE)
PLAIN_CONTROL(enable_node, CLASSIC_CONTROL_ENABLE_NODE)

/* ---- ban ---- */

/* The control carries the number of the node that it is sent to. */
struct tevent_req *ctdb_ban_node_send(TALLOC_CTX *mem, struct ctdb_client *c, uint32_t node, uint32_t seconds)
{
	uint32_t args[2] = {node == CTDB_NODE_CURRENT ? c->pnn : node, seconds};

	return control_send(mem, c, node, CLASSIC_CONTROL_SET_BAN_STATE, 0, data_of(args, sizeof(args)));
}

int ctdb_ban_node_recv(struct tevent_req *req)
{
	return control_done_recv(req);
}

int ctdb_ban_node(struct ctdb_client *c, uint32_t node, uint32_t seconds)
{
	SYNC_RETURN(c, ctdb_ban_node_send(c, c, node, seconds), control_done_recv(req));
}

struct tevent_req *ctdb_get_ban_state_send(TALLOC_CTX *mem, struct ctdb_client *c, uint32_t node)
{
	return plain_send(mem, c, node, CLASSIC_CONTROL_GET_BAN_STATE);
}

int ctdb_get_ban_state_recv(struct tevent_req *req, uint32_t *seconds)
{
	struct ctdb_blob data = {.len = 0};
	struct classic_ban_state ban;
	int err = control_recv(req, &data);

	if (err != 0) {
		return err;
	}
	if (classic_ban_state_nview(data.data, data.len, &ban, NULL) != 0) {
		return control_malformed(req);
	}
	*seconds = ban.time;
	return 0;
}

int ctdb_get_ban_state(struct ctdb_client *c, uint32_t node, uint32_t *seconds)
{
	SYNC_RETURN(c, ctdb_get_ban_state_send(c, c, node), ctdb_get_ban_state_recv(req, seconds));
}

/* ---- the end ---- */

struct tevent_req *ctdb_shutdown_node_send(TALLOC_CTX *mem, struct ctdb_client *c, uint32_t node)
{
	return plain_send(mem, c, node, CLASSIC_CONTROL_SHUTDOWN);
}

/* No answer is the rule: the connection ends, or the own daemon says that the other one is gone now (not: that it was
 * already). */
int ctdb_shutdown_node_recv(struct tevent_req *req)
{
	static const char was_gone[] = "to disconnected node";
	struct ctdb_client *c = request_client(req);
	int err = control_done_recv(req);

	if (err == EHOSTUNREACH && c != NULL && strstr(c->error, was_gone) == NULL) {
		return 0;
	}
	return err == ENOTCONN && request_was_sent(req) ? 0 : err;
}

int ctdb_shutdown_node(struct ctdb_client *c, uint32_t node)
{
	SYNC_RETURN(c, ctdb_shutdown_node_send(c, c, node), ctdb_shutdown_node_recv(req));
}

/* ---- log level ---- */

struct tevent_req *ctdb_get_debug_level_send(TALLOC_CTX *mem, struct ctdb_client *c, uint32_t node)
{
	return plain_send(mem, c, node, CLASSIC_CONTROL_GET_DEBUG);
}

int ctdb_get_debug_level_recv(struct tevent_req *req, int32_t *level)
{
	uint32_t v;
	int err = control_u32_recv(req, &v);

	if (err == 0) {
		*level = (int32_t)v;
	}
	return err;
}

int ctdb_get_debug_level(struct ctdb_client *c, uint32_t node, int32_t *level)
{
	SYNC_RETURN(c, ctdb_get_debug_level_send(c, c, node), ctdb_get_debug_level_recv(req, level));
}

struct tevent_req *ctdb_set_debug_level_send(TALLOC_CTX *mem, struct ctdb_client *c, uint32_t node, int32_t level)
{
	return u32_send(mem, c, node, CLASSIC_CONTROL_SET_DEBUG, (uint32_t)level);
}

int ctdb_set_debug_level_recv(struct tevent_req *req)
{
	return control_done_recv(req);
}

int ctdb_set_debug_level(struct ctdb_client *c, uint32_t node, int32_t level)
{
	SYNC_RETURN(c, ctdb_set_debug_level_send(c, c, node, level), control_done_recv(req));
}
