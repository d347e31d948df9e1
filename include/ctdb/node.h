/* Looking after a node: liveness, flags, ban, log level, tunables. */
#ifndef CTDB_NODE_H
#define CTDB_NODE_H

#include <sys/types.h>

#include <ctdb/client.h>

/* node: the node to ask; CTDB_NODE_CURRENT for the one connected to. Errors as in client.h. */

/* How many clients that node's daemon has, its own helpers included. */
struct tevent_req *ctdb_ping_send(TALLOC_CTX *mem, struct ctdb_client *c, uint32_t node);
int ctdb_ping_recv(struct tevent_req *req, uint32_t *n_clients);
int ctdb_ping(struct ctdb_client *c, uint32_t node, uint32_t *n_clients);

/* Whether a process that runs on that node is a client of its daemon. An inactive node says no, and ends the
 * connections of that process. */
struct tevent_req *ctdb_process_exists_send(TALLOC_CTX *mem, struct ctdb_client *c, uint32_t node, pid_t pid);
int ctdb_process_exists_recv(struct tevent_req *req, bool *exists);
int ctdb_process_exists(struct ctdb_client *c, uint32_t node, pid_t pid, bool *exists);

/* Whether that process has registered srvid. */
struct tevent_req *ctdb_pid_srvid_exists_send(TALLOC_CTX *mem, struct ctdb_client *c, uint32_t node, pid_t pid,
					      uint64_t srvid);
int ctdb_pid_srvid_exists_recv(struct tevent_req *req, bool *exists);
int ctdb_pid_srvid_exists(struct ctdb_client *c, uint32_t node, pid_t pid, uint64_t srvid, bool *exists);

enum ctdb_capability {
	CTDB_CAP_LEADER = 0x1,  /* may lead */
	CTDB_CAP_LMASTER = 0x2, /* may be location master */
	CTDB_CAP_PARALLEL_RECOVERY = 0x10000,
	CTDB_CAP_FRAGMENTED_CONTROLS = 0x20000,
};

/* What that node is configured to do. */
struct tevent_req *ctdb_get_capabilities_send(TALLOC_CTX *mem, struct ctdb_client *c, uint32_t node);
int ctdb_get_capabilities_recv(struct tevent_req *req, uint32_t *capabilities); /* enum ctdb_capability */
int ctdb_get_capabilities(struct ctdb_client *c, uint32_t node, uint32_t *capabilities);

/* ---- flags: 0 when that node has taken the order; whoever must know that it is carried out looks at the node map ----
 */

/* Takes the node out of the cluster until it is continued: no databases, no public addresses. */
struct tevent_req *ctdb_stop_node_send(TALLOC_CTX *mem, struct ctdb_client *c, uint32_t node);
int ctdb_stop_node_recv(struct tevent_req *req);
int ctdb_stop_node(struct ctdb_client *c, uint32_t node);

/* Ends the stop. */
struct tevent_req *ctdb_continue_node_send(TALLOC_CTX *mem, struct ctdb_client *c, uint32_t node);
int ctdb_continue_node_recv(struct tevent_req *req);
int ctdb_continue_node(struct ctdb_client *c, uint32_t node);

/* The node keeps its databases but gives its public addresses to others. */
struct tevent_req *ctdb_disable_node_send(TALLOC_CTX *mem, struct ctdb_client *c, uint32_t node);
int ctdb_disable_node_recv(struct tevent_req *req);
int ctdb_disable_node(struct ctdb_client *c, uint32_t node);

/* Ends that: the node may get public addresses again. */
struct tevent_req *ctdb_enable_node_send(TALLOC_CTX *mem, struct ctdb_client *c, uint32_t node);
int ctdb_enable_node_recv(struct tevent_req *req);
int ctdb_enable_node(struct ctdb_client *c, uint32_t node);

/* As stopping, for that many seconds. 0 seconds: ends the ban. Where bans are switched off (tunable EnableBans) nothing
 * happens. */
struct tevent_req *ctdb_ban_node_send(TALLOC_CTX *mem, struct ctdb_client *c, uint32_t node, uint32_t seconds);
int ctdb_ban_node_recv(struct tevent_req *req);
int ctdb_ban_node(struct ctdb_client *c, uint32_t node, uint32_t seconds);

/* Seconds for which the node was banned; 0: it is not. */
struct tevent_req *ctdb_get_ban_state_send(TALLOC_CTX *mem, struct ctdb_client *c, uint32_t node);
int ctdb_get_ban_state_recv(struct tevent_req *req, uint32_t *seconds);
int ctdb_get_ban_state(struct ctdb_client *c, uint32_t node, uint32_t *seconds);

/* Ends the daemons of that node. 0 when it has said yes or is gone. The own node: the connection is lost afterwards. */
struct tevent_req *ctdb_shutdown_node_send(TALLOC_CTX *mem, struct ctdb_client *c, uint32_t node);
int ctdb_shutdown_node_recv(struct tevent_req *req);
int ctdb_shutdown_node(struct ctdb_client *c, uint32_t node);

/* ---- log level: 0 error, 1 warning, 3 notice, 5 info, 10 debug ---- */

/* Of that node's daemon. */
struct tevent_req *ctdb_get_debug_level_send(TALLOC_CTX *mem, struct ctdb_client *c, uint32_t node);
int ctdb_get_debug_level_recv(struct tevent_req *req, int32_t *level);
int ctdb_get_debug_level(struct ctdb_client *c, uint32_t node, int32_t *level);

/* Until the daemon ends. */
struct tevent_req *ctdb_set_debug_level_send(TALLOC_CTX *mem, struct ctdb_client *c, uint32_t node, int32_t level);
int ctdb_set_debug_level_recv(struct tevent_req *req);
int ctdb_set_debug_level(struct ctdb_client *c, uint32_t node, int32_t level);

/* ---- tunables: numbers with a name, case ignored. ENOENT: that node's daemon knows no such tunable ---- */

/* The value in use; its unit depends on the tunable. */
struct tevent_req *ctdb_get_tunable_send(TALLOC_CTX *mem, struct ctdb_client *c, uint32_t node, const char *name);
int ctdb_get_tunable_recv(struct tevent_req *req, uint32_t *value);
int ctdb_get_tunable(struct ctdb_client *c, uint32_t node, const char *name, uint32_t *value);

/* *obsolete (may be NULL): that version of the daemon stores it, and uses it for nothing. */
struct tevent_req *ctdb_set_tunable_send(TALLOC_CTX *mem, struct ctdb_client *c, uint32_t node, const char *name,
					 uint32_t value);
int ctdb_set_tunable_recv(struct tevent_req *req, bool *obsolete);
int ctdb_set_tunable(struct ctdb_client *c, uint32_t node, const char *name, uint32_t value, bool *obsolete);

struct ctdb_tunable_list {
	uint32_t n;
	char **names;
};

/* Names of all tunables, without obsolete ones; names belong to the list. */
struct tevent_req *ctdb_list_tunables_send(TALLOC_CTX *mem, struct ctdb_client *c, uint32_t node);
int ctdb_list_tunables_recv(struct tevent_req *req, TALLOC_CTX *mem, struct ctdb_tunable_list **list);
int ctdb_list_tunables(struct ctdb_client *c, uint32_t node, TALLOC_CTX *mem, struct ctdb_tunable_list **list);

#endif
