/* Controls about the nodes list: what changes it is clusterd. */
#include "dbd/control.h"
#include "dbd/srvid.h"
#include "protocol/classic.h"
#include "protocol/cluster_rpc.h"
#include "shared/log.h"
#include "shared/msg.h"

#include <string.h>

#define RELOAD_TIMEOUT_MS 120000

static bool same_node(const struct conf_node *a, const struct conf_node *b)
{
	if (a->deleted || b->deleted) {
		return a->deleted && b->deleted;
	}
	for (uint32_t k = 0; k < a->n_addrs && k < b->n_addrs; k++) {
		if (strcmp(a->texts[k], b->texts[k]) != 0) {
			return false;
		}
	}
	return a->n_addrs == b->n_addrs;
}

static bool same_nodes(const struct conf_nodes *a, const struct conf_nodes *b)
{
	bool same = a->n == b->n;

	for (uint32_t pnn = 0; same && pnn < a->n; pnn++) {
		same = same_node(&a->v[pnn], &b->v[pnn]);
	}
	return same;
}

static void reloaded(struct tevent_req *req)
{
	struct control *ctl = tevent_req_callback_data(req, struct control);
	struct cluster_nodes_change res;
	int rc = cluster_change_nodes_recv(req, ctl, &res);

	if (rc != 0) {
		control_reply(ctl, -1, NULL, 0, strerror(rc));
	} else {
		control_reply(ctl, res.done ? 0 : -1, NULL, 0, res.done ? NULL : res.text);
	}
}

/*
 * A tool that has copied a new file to all nodes sends this to each of them: the first one makes all nodes use it, the
 * others wait for that or find that there is nothing to do.
 */
void control_reload_nodes_file(struct control *ctl)
{
	const struct cluster_nodes_change_args arg = {.op = CLUSTER_NODES_RELOAD, .pnn = CLUSTER_NODE_NONE};
	struct daemon *d = ctl->dbd->d;
	struct msg_addr addr = {.endpoint = "cluster", .node = NODE_SELF};
	struct rpc_client *clusterd;
	struct tevent_req *req;
	struct conf_nodes *nodes;
	char *err = NULL;

	if (conf_nodes_load(ctl, d->conf->path.nodes, &nodes, &err) != 0) {
		control_reply(ctl, -1, NULL, 0, err);
		return;
	}
	if (same_nodes(nodes, d->nodes)) {
		srvids_deliver(ctl->dbd->srvids, CLASSIC_SRVID_RELOAD_NODES, NULL, 0);
		control_reply(ctl, 0, NULL, 0, NULL);
		return;
	}
	clusterd = msg_client(ctl, d->msg, &addr);
	req = clusterd == NULL ? NULL : cluster_change_nodes_send(ctl, d->ev, clusterd, &arg, RELOAD_TIMEOUT_MS);
	if (req == NULL) {
		control_reply(ctl, -1, NULL, 0, "no memory");
		return;
	}
	tevent_req_set_callback(req, reloaded, ctl);
}
