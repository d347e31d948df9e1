/* Questions for counters. */
#include "internal.h"

#include <ctdb/wire.h>

struct tevent_req *ctdb_get_statistics_send(TALLOC_CTX *mem, struct ctdb_client *c, uint32_t node)
{
	return control_send(mem, c, node, CLASSIC_CONTROL_STATISTICS, 0, (struct ctdb_data){0});
}

int ctdb_get_statistics_recv(struct tevent_req *req, TALLOC_CTX *mem, struct ctdb_statistics **stats)
{
	struct ctdb_blob data = {.len = 0};
	int err = control_recv(req, &data);

	return err != 0 ? err : control_decoded(req, ctdb_wire_get_statistics(mem, data_of_blob(data), stats));
}

int ctdb_get_statistics(struct ctdb_client *c, uint32_t node, TALLOC_CTX *mem, struct ctdb_statistics **stats)
{
	SYNC_RETURN(c, ctdb_get_statistics_send(mem, c, node), ctdb_get_statistics_recv(req, mem, stats));
}

struct tevent_req *ctdb_reset_statistics_send(TALLOC_CTX *mem, struct ctdb_client *c, uint32_t node)
{
	return control_send(mem, c, node, CLASSIC_CONTROL_STATISTICS_RESET, 0, (struct ctdb_data){0});
}

int ctdb_reset_statistics_recv(struct tevent_req *req)
{
	return control_done_recv(req);
}

int ctdb_reset_statistics(struct ctdb_client *c, uint32_t node)
{
	SYNC_RETURN(c, ctdb_reset_statistics_send(c, c, node), control_done_recv(req));
}

struct tevent_req *ctdb_get_db_statistics_send(TALLOC_CTX *mem, struct ctdb_client *c, uint32_t node, uint32_t id)
{
	return control_db_send(mem, c, node, CLASSIC_CONTROL_GET_DB_STATISTICS, id);
}

int ctdb_get_db_statistics_recv(struct tevent_req *req, TALLOC_CTX *mem, struct ctdb_db_statistics **stats)
{
	struct ctdb_blob data = {.len = 0};
	int err = control_recv(req, &data);

	return err != 0 ? err : control_decoded(req, ctdb_wire_get_db_statistics(mem, data_of_blob(data), stats));
}

int ctdb_get_db_statistics(struct ctdb_client *c, uint32_t node, uint32_t id, TALLOC_CTX *mem,
			   struct ctdb_db_statistics **stats)
{
	SYNC_RETURN(c, ctdb_get_db_statistics_send(mem, c, node, id), ctdb_get_db_statistics_recv(req, mem, stats));
}
