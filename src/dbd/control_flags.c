/* Controls about what a node says of itself: stopped, banned, disabled, its capabilities. clusterd of this node keeps
 * that. */
#include "dbd/control.h"
#include "protocol/classic_native.h"
#include "protocol/cluster_rpc.h"
#include "shared/log.h"
#include "shared/msg.h"

#include <errno.h>

#define TIMEOUT_MS 5000

static struct rpc_client *clusterd_of(struct control *ctl)
{
	struct msg_addr cluster = {.endpoint = "cluster", .node = NODE_SELF};

	return msg_client(ctl, ctl->dbd->d->msg, &cluster);
}

static void wait_for(struct control *ctl, struct tevent_req *req, tevent_req_fn done)
{
	if (req == NULL) {
		control_reply(ctl, -1, NULL, 0, "no memory");
		return;
	}
	tevent_req_set_callback(req, done, ctl);
}

static void answer(struct control *ctl, int rc)
{
	control_reply(ctl, rc == 0 ? 0 : -1, NULL, 0, rc == 0 ? NULL : strerror(rc));
}

/* ---- flags ---- */

static void flags_set(struct tevent_req *req)
{
	struct control *ctl = tevent_req_callback_data(req, struct control);
	struct cluster_own own;

	answer(ctl, cluster_set_own_flags_recv(req, ctl, &own));
}

static void change(struct control *ctl, const struct cluster_flags_args *arg)
{
	struct rpc_client *clusterd = clusterd_of(ctl);

	wait_for(ctl,
		 clusterd == NULL ? NULL : cluster_set_own_flags_send(ctl, ctl->dbd->d->ev, clusterd, arg, TIMEOUT_MS),
		 flags_set);
}

void control_stop_node(struct control *ctl)
{
	change(ctl, &(struct cluster_flags_args){.set = NODE_FLAG_STOPPED});
}

void control_continue_node(struct control *ctl)
{
	change(ctl, &(struct cluster_flags_args){.clear = NODE_FLAG_STOPPED});
}

void control_disable_node(struct control *ctl)
{
	change(ctl, &(struct cluster_flags_args){.set = NODE_FLAG_DISABLED});
}

void control_enable_node(struct control *ctl)
{
	change(ctl, &(struct cluster_flags_args){.clear = NODE_FLAG_DISABLED});
}

void control_set_ban_state(struct control *ctl)
{
	uint32_t pnn = peek_u32(ctl->data), seconds = peek_u32(ctl->data + 4);

	if (pnn != ctl->dbd->d->pnn) {
		control_reply(ctl, -1, NULL, 0, "a ban is set at the node that is to be banned");
	} else if (seconds == 0) {
		change(ctl, &(struct cluster_flags_args){.clear = NODE_FLAG_BANNED});
	} else if (tunable(ctl->clients, CLASSIC_TUNABLE_ENABLE_BANS) == 0) {
		log_warning("this node is not banned: tunable EnableBans is 0");
		control_reply(ctl, 0, NULL, 0, NULL);
	} else {
		change(ctl, &(struct cluster_flags_args){.set = NODE_FLAG_BANNED, .ban_seconds = seconds});
	}
}

static void ban_told(struct tevent_req *req)
{
	struct control *ctl = tevent_req_callback_data(req, struct control);
	struct classic_ban_state state = {0};
	struct cluster_own own;
	struct ctdb_blob blob;
	int rc = cluster_get_own_recv(req, ctl, &own);

	if (rc != 0) {
		answer(ctl, rc);
		return;
	}
	if (own.ban_seconds > 0) {
		state = (struct classic_ban_state){.pnn = ctl->dbd->d->pnn, .time = own.ban_seconds};
	}
	control_reply_blob(ctl, classic_ban_state_nencode(ctl, &state, &blob), &blob);
}

void control_get_ban_state(struct control *ctl)
{
	struct rpc_client *clusterd = clusterd_of(ctl);

	wait_for(ctl, clusterd == NULL ? NULL : cluster_get_own_send(ctl, ctl->dbd->d->ev, clusterd, TIMEOUT_MS),
		 ban_told);
}

/* ---- capabilities ---- */

static void capabilities_set(struct tevent_req *req)
{
	struct control *ctl = tevent_req_callback_data(req, struct control);
	struct cluster_own own;

	answer(ctl, cluster_set_own_capabilities_recv(req, ctl, &own));
}

static void set_role(struct control *ctl, uint32_t capability)
{
	bool on = peek_u32(ctl->data) != 0;
	struct cluster_capabilities_args arg = {.set = on ? capability : 0, .clear = on ? 0 : capability};
	struct rpc_client *clusterd = clusterd_of(ctl);

	wait_for(ctl,
		 clusterd == NULL ? NULL
				  : cluster_set_own_capabilities_send(ctl, ctl->dbd->d->ev, clusterd, &arg, TIMEOUT_MS),
		 capabilities_set);
}

void control_set_lmasterrole(struct control *ctl)
{
	set_role(ctl, NODE_CAP_LMASTER);
}

void control_set_recmasterrole(struct control *ctl)
{
	set_role(ctl, NODE_CAP_LEADER);
}
