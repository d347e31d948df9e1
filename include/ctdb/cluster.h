/* What a node knows about the cluster. */
#ifndef CTDB_CLUSTER_H
#define CTDB_CLUSTER_H

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <ctdb/client.h>

/* node: the node to ask; CTDB_NODE_CURRENT for the one connected to. Errors as in client.h. */

enum ctdb_node_flag {
	CTDB_NODE_DISCONNECTED = 0x01, /* no working link to it */
	CTDB_NODE_UNHEALTHY = 0x02,    /* failed monitoring */
	CTDB_NODE_DISABLED = 0x04,     /* by the administrator */
	CTDB_NODE_BANNED = 0x08,
	CTDB_NODE_DELETED = 0x10, /* removed from the nodes file, its number kept */
	CTDB_NODE_STOPPED = 0x20, /* by the administrator */
};
#define CTDB_NODE_INACTIVE 0x39U /* mask: takes no part in databases */

/* As the kernel takes it: family in host order, address and port in network order. */
union ctdb_addr {
	struct sockaddr sa;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
};

struct ctdb_node {
	uint32_t pnn;
	uint32_t flags;       /* enum ctdb_node_flag */
	union ctdb_addr addr; /* sa.sa_family 0: unknown */
};

struct ctdb_nodemap {
	uint32_t n;
	struct ctdb_node *nodes; /* ascending pnn, deleted ones included */
};

/* The nodes as that node sees them. */
struct tevent_req *ctdb_get_nodemap_send(TALLOC_CTX *mem, struct ctdb_client *c, uint32_t node);
int ctdb_get_nodemap_recv(struct tevent_req *req, TALLOC_CTX *mem, struct ctdb_nodemap **map);
int ctdb_get_nodemap(struct ctdb_client *c, uint32_t node, TALLOC_CTX *mem, struct ctdb_nodemap **map);

#define CTDB_GENERATION_INVALID 1U

/* Location master of a key: map[hash(key) % size]. */
struct ctdb_vnnmap {
	uint32_t generation;
	uint32_t size;
	uint32_t *map; /* pnn, may repeat */
};

/* The map of that node's databases; generation CTDB_GENERATION_INVALID while it has none. */
struct tevent_req *ctdb_get_vnnmap_send(TALLOC_CTX *mem, struct ctdb_client *c, uint32_t node);
int ctdb_get_vnnmap_recv(struct tevent_req *req, TALLOC_CTX *mem, struct ctdb_vnnmap **map);
int ctdb_get_vnnmap(struct ctdb_client *c, uint32_t node, TALLOC_CTX *mem, struct ctdb_vnnmap **map);
/* The hash that the whole cluster uses. */
uint32_t ctdb_key_hash(const void *key, size_t len);

enum ctdb_recmode { CTDB_RECMODE_NORMAL = 0, CTDB_RECMODE_ACTIVE = 1 };

/* Whether a recovery runs there: requests about databases wait for its end. */
struct tevent_req *ctdb_get_recmode_send(TALLOC_CTX *mem, struct ctdb_client *c, uint32_t node);
int ctdb_get_recmode_recv(struct tevent_req *req, enum ctdb_recmode *mode);
int ctdb_get_recmode(struct ctdb_client *c, uint32_t node, enum ctdb_recmode *mode);

enum ctdb_runstate {
	CTDB_RUNSTATE_UNKNOWN = 0,
	CTDB_RUNSTATE_INIT = 1,
	CTDB_RUNSTATE_SETUP = 2,
	CTDB_RUNSTATE_FIRST_RECOVERY = 3,
	CTDB_RUNSTATE_STARTUP = 4,
	CTDB_RUNSTATE_RUNNING = 5,
	CTDB_RUNSTATE_SHUTDOWN = 6,
};
/* "RUNNING"; "UNKNOWN" for other values. */
const char *ctdb_runstate_name(enum ctdb_runstate state);

/* How far that node's daemon is with its start or end; clients are served in CTDB_RUNSTATE_RUNNING. */
struct tevent_req *ctdb_get_runstate_send(TALLOC_CTX *mem, struct ctdb_client *c, uint32_t node);
int ctdb_get_runstate_recv(struct tevent_req *req, enum ctdb_runstate *state);
int ctdb_get_runstate(struct ctdb_client *c, uint32_t node, enum ctdb_runstate *state);

/* Wall clock of that node. A recovery that never was: zero. */
struct ctdb_uptime {
	struct timeval now, started, recovery_started, recovery_finished;
};

/* Since when that node's daemon runs, and its newest recovery. */
struct tevent_req *ctdb_get_uptime_send(TALLOC_CTX *mem, struct ctdb_client *c, uint32_t node);
int ctdb_get_uptime_recv(struct tevent_req *req, struct ctdb_uptime *uptime);
int ctdb_get_uptime(struct ctdb_client *c, uint32_t node, struct ctdb_uptime *uptime);

/* One line of that node's membership daemon: what is the matter with the cluster. Earlier daemons have none:
 * EREMOTEIO. */
struct tevent_req *ctdb_get_verdict_send(TALLOC_CTX *mem, struct ctdb_client *c, uint32_t node);
int ctdb_get_verdict_recv(struct tevent_req *req, TALLOC_CTX *mem, char **text);
int ctdb_get_verdict(struct ctdb_client *c, uint32_t node, TALLOC_CTX *mem, char **text);

/* Process id of the daemon that answers clients there. */
struct tevent_req *ctdb_get_pid_send(TALLOC_CTX *mem, struct ctdb_client *c, uint32_t node);
int ctdb_get_pid_recv(struct tevent_req *req, pid_t *pid);
int ctdb_get_pid(struct ctdb_client *c, uint32_t node, pid_t *pid);

/* Interfaces that a node watches for public addresses. */
struct ctdb_iface {
	char name[17];
	bool up;
	uint32_t references; /* public addresses on it */
};

struct ctdb_iface_list {
	uint32_t n;
	struct ctdb_iface *ifaces;
};

/* Empty if no public addresses are configured there. */
struct tevent_req *ctdb_get_ifaces_send(TALLOC_CTX *mem, struct ctdb_client *c, uint32_t node);
int ctdb_get_ifaces_recv(struct tevent_req *req, TALLOC_CTX *mem, struct ctdb_iface_list **list);
int ctdb_get_ifaces(struct ctdb_client *c, uint32_t node, TALLOC_CTX *mem, struct ctdb_iface_list **list);

/* Waits for what the leader says each second. ETIMEDOUT: nobody leads as far as this node hears. */
struct tevent_req *ctdb_get_leader_send(TALLOC_CTX *mem, struct ctdb_client *c);
int ctdb_get_leader_recv(struct tevent_req *req, uint32_t *pnn);
int ctdb_get_leader(struct ctdb_client *c, uint32_t *pnn);

/* Where this machine's key of the cluster is unless ctdb.conf says otherwise; below mem. NULL: no memory. */
char *ctdb_cluster_key_path(TALLOC_CTX *mem);
/* Makes a file with a new random key, mode 0600; it is to be copied to all nodes. Needs no daemon. 0; EEXIST: there is
 * a file already, which is left alone; or another errno. */
int ctdb_cluster_key_create(const char *path);

#endif
