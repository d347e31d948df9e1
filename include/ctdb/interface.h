/* Requests to the interfaces of the cluster's daemons, on any node: for tools that are made from the interface files.
 */
#ifndef CTDB_INTERFACE_H
#define CTDB_INTERFACE_H

#include <ctdb/client.h>

/*
 * The daemon that the client is connected to passes the request on as a message to "endpoint" (without node:
 * "transport", "cluster", "db", "super") on that node and returns the answer. Earlier daemons cannot: ENOSYS.
 */
struct ctdb_interface_call {
	uint32_t node;        /* pnn, or CTDB_NODE_CURRENT */
	const char *endpoint; /* up to 63 characters */
	uint32_t interface;   /* program number of the interface file */
	uint32_t version;
	uint32_t procedure;
	struct ctdb_data
		payload;     /* the encoded argument, up to 64 MiB less a page; must stay valid until _send returns */
	uint32_t timeout_ms; /* for the answer of the endpoint, at most 10 minutes; 0: the client's time-out */
};

/*
 * 0: *status is the answer of the other side, or why it could not be asked: 0, or an errno value (ENOENT: no such
 * endpoint, EHOSTUNREACH: no link to the node, ETIMEDOUT: no answer in time, ENOSYS: no such interface or procedure, or
 * an error of the procedure), whose text ctdb_client_error() has. *result: the encoded result, below mem; empty if
 * *status is not 0. Errors also: ENOSYS: the daemon on this node has no gateway; EREMOTEIO: also too many calls (64) of
 * this client that wait; EMSGSIZE.
 */
struct tevent_req *ctdb_interface_call_send(TALLOC_CTX *mem, struct ctdb_client *c,
					    const struct ctdb_interface_call *call);
int ctdb_interface_call_recv(struct tevent_req *req, TALLOC_CTX *mem, int32_t *status, struct ctdb_data *result);
int ctdb_interface_call(struct ctdb_client *c, const struct ctdb_interface_call *call, TALLOC_CTX *mem, int32_t *status,
			struct ctdb_data *result);

#endif
