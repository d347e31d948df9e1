/* For tests: asks a running ctdbd for its status, or to shut down. Usage: test_super_client MSG_DIR status|shutdown */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "protocol/super_rpc.h"
#include "shared/msg.h"

#define TIMEOUT_MS 20000

static int print_status(TALLOC_CTX *mem, struct tevent_context *ev, struct rpc_client *client)
{
	struct tevent_req *req = super_get_status_send(mem, ev, client, TIMEOUT_MS);
	struct super_status status;
	int ret;

	if (req == NULL || !tevent_req_poll(req, ev)) {
		return 1;
	}
	ret = super_get_status_recv(req, mem, &status);
	if (ret != 0) {
		fprintf(stderr, "%s\n", strerror(ret));
		return 1;
	}
	printf("version %s\n", status.version);
	for (uint32_t i = 0; i < status.processes.n; i++) {
		const struct super_process *p = &status.processes.v[i];

		printf("%s\t%d\t%d\t%u\t%s\n", p->name, p->state, p->pid, p->restarts, p->last_exit);
	}
	return 0;
}

static int request_shutdown(TALLOC_CTX *mem, struct tevent_context *ev, struct rpc_client *client)
{
	struct tevent_req *req = super_shutdown_send(mem, ev, client, TIMEOUT_MS);
	int ret;

	if (req == NULL || !tevent_req_poll(req, ev)) {
		return 1;
	}
	ret = super_shutdown_recv(req);
	if (ret != 0) {
		fprintf(stderr, "%s\n", strerror(ret));
	}
	return ret != 0;
}

int main(int argc, char **argv)
{
	struct msg_addr dst = {.endpoint = "super", .node = NODE_SELF};
	TALLOC_CTX *mem = talloc_new(NULL);
	struct tevent_context *ev = tevent_context_init(mem);
	struct rpc_client *client;
	struct msg *m = NULL;
	char own[32], *err = NULL;
	int ret;

	if (argc != 3 || ev == NULL) {
		return 2;
	}
	snprintf(own, sizeof(own), "cli.%d", (int)getpid());
	if (msg_open(mem, ev, argv[1], own, 0, NULL, &m, &err) != 0) {
		fprintf(stderr, "%s\n", err);
		return 1;
	}
	client = msg_client(mem, m, &dst);
	if (client == NULL) {
		return 1;
	}
	ret = strcmp(argv[2], "status") == 0 ? print_status(mem, ev, client) : request_shutdown(mem, ev, client);
	talloc_free(mem);
	return ret;
}
