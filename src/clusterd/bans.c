/* Nodes that keep the cluster from going on: daemons of this node report them, the leader bans them. */
#include "clusterd.h"

#include <errno.h>
#include <string.h>

#include "shared/log.h"

/* The core counts on, so a ban that was not told comes again. */
#define TIMEOUT_MS 5000
#define BAN_MAX    (30U * 24 * 3600)

struct order {
	struct clusterd *cd;
	uint32_t pnn;
};

static void told(struct tevent_req *req)
{
	struct order *o = tevent_req_callback_data(req, struct order);
	struct cluster_own own;
	int ret = cluster_set_own_flags_recv(req, o, &own);

	if (ret != 0) {
		log_error("node %u could not be told that it is banned: %s; it is told again if it goes on to fail",
			  o->pnn, strerror(ret));
	}
	talloc_free(o);
}

void bans_carry_out(void *priv, uint32_t pnn, uint32_t seconds, const char *reason)
{
	struct clusterd *cd = priv;
	struct order *o = talloc_zero(cd, struct order);
	struct cluster_flags_args args = {
		.set = NODE_FLAG_BANNED, .ban_seconds = seconds, .reason = (char *)(uintptr_t)reason};
	struct tevent_req *req = NULL;

	if (o != NULL && cd->peers[pnn] != NULL) {
		o->cd = cd;
		o->pnn = pnn;
		req = cluster_set_own_flags_send(o, cd->d->ev, cd->peers[pnn], &args, TIMEOUT_MS);
	}
	if (req == NULL) {
		log_error("out of memory: node %u is not told that it is banned", pnn);
		talloc_free(o);
		return;
	}
	tevent_req_set_callback(req, told, o);
}

static void on_culprit(void *priv, struct rpc_call *call, const struct cluster_culprit_args *arg)
{
	struct clusterd *cd = priv;
	int ret = call->source_node == cd->d->pnn ? 0 : EPERM;

	if (ret == 0 && arg->ban_seconds > BAN_MAX) {
		ret = EINVAL;
	}
	if (ret == 0) {
		if (arg->ban_seconds > 0) {
			cluster_set_ban(cd->core, arg->ban_seconds);
		}
		ret = cluster_culprit(cd->core, mono_now(), arg->pnn, arg->credits, arg->reason);
	}
	if (ret != 0) {
		rpc_call_fail(call, ret);
		return;
	}
	cluster_culprit_reply(call);
	clusterd_after(cd);
}

void bans_fill(struct cluster_server *server)
{
	server->culprit = on_culprit;
}
