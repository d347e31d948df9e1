/* Packets between clusterds. */
#include "clusterd.h"

#include <errno.h>
#include <string.h>

#include "shared/log.h"
#include "shared/msg.h"

#define ENDPOINT "cluster"

int peers_set(struct clusterd *cd)
{
	const struct conf_nodes *nodes = cd->d->nodes;
	struct msg_addr addr = {.endpoint = ENDPOINT};

	if (cd->peers == NULL) {
		/* Not moved when the list grows. */
		cd->peers = talloc_zero_array(cd, struct rpc_client *, NODES_MAX);
	}
	if (cd->peers == NULL) {
		return ENOMEM;
	}
	for (uint32_t p = 0; p < nodes->n; p++) {
		if (p == cd->d->pnn || nodes->v[p].deleted) {
			/* Stays below cd->peers: a request that is under way needs it until its end. */
			cd->peers[p] = NULL;
			continue;
		}
		if (cd->peers[p] != NULL) {
			continue;
		}
		addr.node = p;
		cd->peers[p] = msg_client(cd->peers, cd->d->msg, &addr);
		if (cd->peers[p] == NULL) {
			return ENOMEM;
		}
	}
	return 0;
}

int peers_start(struct clusterd *cd)
{
	return peers_set(cd);
}

void peers_send(struct clusterd *cd, uint32_t pnn, const struct cluster_msg *msg)
{
	struct rpc_client *peer = cd->peers[pnn];
	struct cluster_hello hello;
	int ret = EINVAL;

	if (peer == NULL) {
		return; /* no memory for it */
	}
	switch (msg->kind) {
	case CLUSTER_MSG_HELLO:
		hello = msg->u.hello;
		hello.id = identity_own(cd);
		ret = cluster_hello(peer, &hello);
		break;
	case CLUSTER_MSG_VOTE_REQUEST:
		ret = cluster_vote_request(peer, &msg->u.vote_request);
		break;
	case CLUSTER_MSG_VOTE_REPLY:
		ret = cluster_vote_reply(peer, &msg->u.vote_reply);
		break;
	case CLUSTER_MSG_LEASE_GRANT:
		ret = cluster_lease_grant(peer, &msg->u.lease_grant);
		break;
	case CLUSTER_MSG_LEASE_ACK:
		ret = cluster_lease_ack(peer, &msg->u.lease_ack);
		break;
	case CLUSTER_MSG_HANDOVER:
		ret = cluster_handover(peer, &msg->u.handover);
		break;
	case CLUSTER_MSG_NODES_STEP:
		ret = cluster_nodes_step(peer, &msg->u.nodes_step);
		break;
	case CLUSTER_MSG_NODES_ANSWER:
		ret = cluster_nodes_answer(peer, &msg->u.nodes_answer);
		break;
	}
	/* The core expects losses. ENOENT: transportd is being started again. */
	if (ret != 0 && ret != EHOSTUNREACH && ret != ENOENT && ret != ECONNREFUSED) {
		log_ratelimited(LOG_LVL_WARNING, 10000, "packet to ctdb-clusterd of node %u was not sent: %s", pnn,
				strerror(ret));
	}
}

static bool from_peer(const struct clusterd *cd, const struct rpc_call *call)
{
	return strcmp(call->source_endpoint, ENDPOINT) == 0 && call->source_node < cd->d->nodes->n &&
	       call->source_node != cd->d->pnn;
}

static void received(struct clusterd *cd, const struct rpc_call *call, const struct cluster_msg *msg)
{
	if (!from_peer(cd, call)) {
		log_ratelimited(LOG_LVL_WARNING, 10000, "packet of an election from %s of node %u: dropped",
				call->source_endpoint, call->source_node);
		return;
	}
	cluster_message(cd->core, mono_now(), call->source_node, msg);
	clusterd_after(cd);
}

static void on_hello(void *priv, struct rpc_call *call, const struct cluster_hello *arg)
{
	if (from_peer(priv, call)) {
		identity_heard(priv, call->source_node, &arg->id);
	}
	received(priv, call, &(struct cluster_msg){.kind = CLUSTER_MSG_HELLO, .u.hello = *arg});
}

static void on_vote_request(void *priv, struct rpc_call *call, const struct vote_request *arg)
{
	received(priv, call, &(struct cluster_msg){.kind = CLUSTER_MSG_VOTE_REQUEST, .u.vote_request = *arg});
}

static void on_vote_reply(void *priv, struct rpc_call *call, const struct vote_reply *arg)
{
	received(priv, call, &(struct cluster_msg){.kind = CLUSTER_MSG_VOTE_REPLY, .u.vote_reply = *arg});
}

static void on_lease_grant(void *priv, struct rpc_call *call, const struct lease_grant *arg)
{
	received(priv, call, &(struct cluster_msg){.kind = CLUSTER_MSG_LEASE_GRANT, .u.lease_grant = *arg});
}

static void on_lease_ack(void *priv, struct rpc_call *call, const struct lease_ack *arg)
{
	received(priv, call, &(struct cluster_msg){.kind = CLUSTER_MSG_LEASE_ACK, .u.lease_ack = *arg});
}

static void on_handover(void *priv, struct rpc_call *call, const struct cluster_handover *arg)
{
	received(priv, call, &(struct cluster_msg){.kind = CLUSTER_MSG_HANDOVER, .u.handover = *arg});
}

static void on_nodes_step(void *priv, struct rpc_call *call, const struct cluster_nodes_step *arg)
{
	received(priv, call, &(struct cluster_msg){.kind = CLUSTER_MSG_NODES_STEP, .u.nodes_step = *arg});
}

static void on_nodes_answer(void *priv, struct rpc_call *call, const struct cluster_nodes_answer *arg)
{
	received(priv, call, &(struct cluster_msg){.kind = CLUSTER_MSG_NODES_ANSWER, .u.nodes_answer = *arg});
}

void peers_fill(struct cluster_server *server)
{
	server->nodes_step = on_nodes_step;
	server->nodes_answer = on_nodes_answer;
	server->hello = on_hello;
	server->vote_request = on_vote_request;
	server->vote_reply = on_vote_reply;
	server->lease_grant = on_lease_grant;
	server->lease_ack = on_lease_ack;
	server->handover = on_handover;
}
