/* Public addresses: which there are, where they are, on which interfaces. */
#ifndef CTDB_IP_H
#define CTDB_IP_H

#include <ctdb/cluster.h>

/* node: the node to ask; CTDB_NODE_CURRENT for the one connected to. Errors as in client.h. Interfaces:
 * ctdb_get_ifaces(). */

struct ctdb_public_ip {
	union ctdb_addr addr; /* port 0 */
	uint32_t pnn;         /* where that node believes it to be; CTDB_NODE_UNKNOWN: nowhere */
};

struct ctdb_public_ip_list {
	uint32_t n;
	struct ctdb_public_ip *ips; /* in no order */
};

/* The addresses that are configured on that node, which may differ between nodes. available: only those that it could
 * host now. */
struct tevent_req *ctdb_get_public_ips_send(TALLOC_CTX *mem, struct ctdb_client *c, uint32_t node, bool available);
int ctdb_get_public_ips_recv(struct tevent_req *req, TALLOC_CTX *mem, struct ctdb_public_ip_list **list);
int ctdb_get_public_ips(struct ctdb_client *c, uint32_t node, bool available, TALLOC_CTX *mem,
			struct ctdb_public_ip_list **list);

struct ctdb_public_ip_info {
	struct ctdb_public_ip ip;
	const struct ctdb_iface *active; /* that the address is on, among those below; NULL: not on this node */
	uint32_t n_ifaces;
	struct ctdb_iface *ifaces; /* that it may be put on */
};

/* ENOENT: no public address of that node. The port of addr does not matter. */
struct tevent_req *ctdb_get_public_ip_info_send(TALLOC_CTX *mem, struct ctdb_client *c, uint32_t node,
						const union ctdb_addr *addr);
int ctdb_get_public_ip_info_recv(struct tevent_req *req, TALLOC_CTX *mem, struct ctdb_public_ip_info **info);
int ctdb_get_public_ip_info(struct ctdb_client *c, uint32_t node, const union ctdb_addr *addr, TALLOC_CTX *mem,
			    struct ctdb_public_ip_info **info);

#define CTDB_ADDR_TEXT_MAX 64U

/* "10.0.0.1", "fd00::1": numbers only, no names. EINVAL: not an address. */
int ctdb_addr_parse(const char *text, union ctdb_addr *addr);
/* Writes the address without port into buf and returns buf; "?" if the family is neither IPv4 nor IPv6. */
const char *ctdb_addr_format(const union ctdb_addr *addr, char buf[CTDB_ADDR_TEXT_MAX]);
/* Family and address are equal; port and unused bytes do not matter. */
bool ctdb_addr_equal(const union ctdb_addr *a, const union ctdb_addr *b);

#endif
