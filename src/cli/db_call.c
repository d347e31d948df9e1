/* Asking a node's dbd. */
#include "db_call.h"

#include <errno.h>

#define DB_INTERFACE 0x20c70005U
#define DB_VERSION   1U

int db_call(struct cli *cli, TALLOC_CTX *mem, uint32_t pnn, enum db_proc proc, const struct ctdb_blob *arg,
	    uint32_t timeout_ms, struct ctdb_data *result)
{
	struct ctdb_interface_call c = {.node = pnn,
					.endpoint = "db",
					.interface = DB_INTERFACE,
					.version = DB_VERSION,
					.procedure = (uint32_t)proc,
					.timeout_ms = timeout_ms};
	int32_t status = 0;
	int err;

	if (arg != NULL) {
		c.payload = (struct ctdb_data){.data = arg->data, .len = arg->len};
	}
	err = ctdb_interface_call(cli->c, &c, mem, &status, result);
	if (err == ENOSYS) {
		return ENOSYS;
	}
	return err != 0 ? -cli_fail_api(cli, err, "node %u cannot be asked", pnn) : status;
}

int db_call_malformed(struct cli *cli, uint32_t pnn)
{
	return -cli_fail(cli, EXIT_ERROR, "node %u gave an answer that this program does not understand", pnn);
}
