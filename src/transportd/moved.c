/* transportd: nodes whose address has changed: clusterd decides. */
#include "transport.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "protocol/cluster_rpc.h"
#include "protocol/link.h"
#include "shared/log.h"
#include "shared/msg.h"

#define CLUSTER_TIMEOUT_MS 30000

/* At most as many as the links let in at a time. */
struct moved {
	struct transport *t;
	uint64_t token;
	struct rpc_client *cluster;
};

static void later(struct transport *t, uint64_t token, int err)
{
	char text[160], none[] = "";

	snprintf(text, sizeof(text), "ctdb-clusterd of this node (node %u) does not answer: %s", t->d->pnn,
		 strerror(err));
	link_moved_answer(t->mesh, token, &(struct link_list){.result = LINK_MOVED_LATER, .text = text, .nodes = none});
}

static enum link_moved_result result_of(enum cluster_moved_result result)
{
	switch (result) {
	case CLUSTER_MOVED_DONE:
		return LINK_MOVED_DONE;
	case CLUSTER_MOVED_CONNECTED:
		return LINK_MOVED_CONNECTED;
	case CLUSTER_MOVED_REFUSED:
		return LINK_MOVED_REFUSED;
	case CLUSTER_MOVED_LATER:
		break;
	}
	return LINK_MOVED_LATER;
}

static void answered(struct tevent_req *req)
{
	struct moved *m = tevent_req_callback_data(req, struct moved);
	struct transport *t = m->t;
	struct cluster_moved_answer answer;
	int ret = cluster_moved_recv(req, m, &answer);

	if (ret != 0) {
		later(t, m->token, ret);
	} else {
		link_moved_answer(t->mesh, m->token,
				  &(struct link_list){.result = result_of(answer.result),
						      .text = answer.text,
						      .nodes = answer.nodes});
	}
	talloc_free(m);
}

void moved_ask(void *priv, uint64_t token, const struct link_moved *moved)
{
	struct transport *t = priv;
	const struct msg_addr addr = {.endpoint = "cluster", .node = NODE_SELF};
	struct cluster_moved_args args = {.pnn = moved->pnn, .address = moved->address};
	struct moved *m = talloc_zero(t, struct moved);
	struct tevent_req *req = NULL;

	memcpy(args.id, moved->id, sizeof(args.id));
	if (m != NULL) {
		*m = (struct moved){.t = t, .token = token, .cluster = msg_client(m, t->d->msg, &addr)};
		req = m->cluster == NULL ? NULL
					 : cluster_moved_send(m, t->d->ev, m->cluster, &args, CLUSTER_TIMEOUT_MS);
	}
	if (req == NULL) {
		talloc_free(m);
		later(t, token, ENOMEM);
		return;
	}
	tevent_req_set_callback(req, answered, m);
}
