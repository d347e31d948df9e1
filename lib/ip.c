/* Questions about public addresses. */
#include "internal.h"

#include <errno.h>

#include <ctdb/wire.h>

struct tevent_req *ctdb_get_public_ips_send(TALLOC_CTX *mem, struct ctdb_client *c, uint32_t node, bool available)
{
	struct ctdb_control k = {
		.node = node,
		.opcode = CLASSIC_CONTROL_GET_PUBLIC_IPS,
		.flags = available ? CLASSIC_PUBLIC_IP_FLAGS_ONLY_AVAILABLE : 0,
	};

	return ctdb_control_send(mem, c, &k);
}

int ctdb_get_public_ips_recv(struct tevent_req *req, TALLOC_CTX *mem, struct ctdb_public_ip_list **list)
{
	struct ctdb_blob data = {.len = 0};
	int err = control_recv(req, &data);

	return err != 0 ? err : control_decoded(req, ctdb_wire_get_public_ips(mem, data_of_blob(data), list));
}

int ctdb_get_public_ips(struct ctdb_client *c, uint32_t node, bool available, TALLOC_CTX *mem,
			struct ctdb_public_ip_list **list)
{
	SYNC_RETURN(c, ctdb_get_public_ips_send(mem, c, node, available), ctdb_get_public_ips_recv(req, mem, list));
}

struct tevent_req *ctdb_get_public_ip_info_send(TALLOC_CTX *mem, struct ctdb_client *c, uint32_t node,
						const union ctdb_addr *addr)
{
	struct tevent_req *req;
	struct ctdb_data payload;

	if (ctdb_wire_put_addr(mem, addr, &payload) != 0) {
		return NULL;
	}
	req = control_send(mem, c, node, CLASSIC_CONTROL_GET_PUBLIC_IP_INFO, 0, payload);
	data_free(&payload);
	return req;
}

int ctdb_get_public_ip_info_recv(struct tevent_req *req, TALLOC_CTX *mem, struct ctdb_public_ip_info **info)
{
	struct ctdb_blob data = {.len = 0};
	int err = control_recv(req, &data);

	if (err == EREMOTEIO) { /* refused without a reason */
		return client_fail(request_client(req), ENOENT, "this is not a public address of that node");
	}
	return err != 0 ? err : control_decoded(req, ctdb_wire_get_public_ip_info(mem, data_of_blob(data), info));
}

int ctdb_get_public_ip_info(struct ctdb_client *c, uint32_t node, const union ctdb_addr *addr, TALLOC_CTX *mem,
			    struct ctdb_public_ip_info **info)
{
	SYNC_RETURN(c, ctdb_get_public_ip_info_send(mem, c, node, addr), ctdb_get_public_ip_info_recv(req, mem, info));
}
