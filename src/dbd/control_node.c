/* Controls about this node and the cluster as it sees it. */
#include "dbd/control.h"
#include "dbd/srvid.h"
#include "protocol/classic_native.h"
#include "protocol/cluster_rpc.h"
#include "protocol/super_rpc.h"
#include "shared/log.h"
#include "shared/msg.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define SUPER_TIMEOUT_MS   5000
#define CLUSTER_TIMEOUT_MS 2000
#define RECMODE_TIMEOUT_MS 5000

void control_ok(struct control *ctl)
{
	control_reply(ctl, 0, NULL, 0, NULL);
}

void control_not_served(struct control *ctl)
{
	control_reply(ctl, -1, NULL, 0, control_lookup(ctl->opcode)->missing);
}

/* ---- identity and liveness ---- */

static bool alive(pid_t pid)
{
	return kill(pid, 0) == 0 || errno == EPERM;
}

/* A node that does not take part frees what its clients hold elsewhere: they are disconnected, and so do not exist. */
static bool inactive_kills(struct control *ctl, struct client *c)
{
	uint32_t flags = view_node_flags(ctl->dbd, ctl->dbd->d->pnn);

	if ((flags & (CLASSIC_NODE_FLAG_BANNED | CLASSIC_NODE_FLAG_STOPPED)) == 0) {
		return false;
	}
	client_disconnect(c, "this node is banned or stopped, and another asks whether the process holds locks");
	return true;
}

/* srvid: that it has registered; NULL: whatever it has. */
static void tell_if_alive(struct control *ctl, pid_t pid, const uint64_t *srvid)
{
	bool found = false;

	dlist_for_each_safe(e, &ctl->clients->list)
	{
		struct client *c = dlist_entry(e, struct client, link);

		if (c->pid == pid && (srvid == NULL || srvids_has(c, *srvid)) && !inactive_kills(ctl, c)) {
			found = true;
		}
	}
	control_reply(ctl, found && pid > 0 && alive(pid) ? 0 : -1, NULL, 0, NULL);
}

void control_process_exists(struct control *ctl)
{
	tell_if_alive(ctl, (pid_t)peek_u32(ctl->data), NULL);
}

void control_check_pid_srvid(struct control *ctl)
{
	uint64_t srvid = peek_u64(ctl->data + 4);

	tell_if_alive(ctl, (pid_t)peek_u32(ctl->data), &srvid);
}

void control_ping(struct control *ctl)
{
	control_reply(ctl, (int32_t)ctl->clients->n, NULL, 0, NULL);
}

void control_get_pid(struct control *ctl)
{
	control_reply(ctl, (int32_t)getpid(), NULL, 0, NULL);
}

void control_get_pnn(struct control *ctl)
{
	control_reply(ctl, (int32_t)ctl->dbd->d->pnn, NULL, 0, NULL);
}

static struct classic_timeval time_of(struct timeval tv)
{
	return (struct classic_timeval){.sec = tv.tv_sec, .usec = tv.tv_usec};
}

void control_uptime(struct control *ctl)
{
	const struct recovery_times *times = recovery_times(ctl->dbd->recovery);
	struct classic_uptime up = {.start_time = time_of(ctl->clients->started)};
	struct ctdb_blob blob;
	struct timeval now;

	gettimeofday(&now, NULL);
	up.current_time = time_of(now);
	up.last_recovery_started = time_of(times->started);
	up.last_recovery_finished = time_of(times->finished);
	control_reply_blob(ctl, classic_uptime_nencode(ctl, &up, &blob), &blob);
}

void control_get_runstate(struct control *ctl)
{
	bool running = ctl->clients->was_normal || recovery_is_normal(ctl->dbd->recovery);

	control_reply_u32(ctl, running ? CLASSIC_RUNSTATE_RUNNING : CLASSIC_RUNSTATE_FIRST_RECOVERY);
}

/* u32 time-out, u32 length, bytes: the same bytes come back, at once. */
void control_echo_data(struct control *ctl)
{
	struct classic_echo_data arg;
	size_t used;

	if (classic_echo_data_nview(ctl->data, ctl->len, &arg, &used) != 0 || used != ctl->len) {
		control_reply(ctl, -1, NULL, 0, NULL);
		return;
	}
	control_reply(ctl, 0, ctl->data, ctl->len, NULL);
}

/* ---- shutdown ---- */

static void shutdown_asked(struct tevent_req *req)
{
	struct control *ctl = tevent_req_callback_data(req, struct control);
	int rc = super_shutdown_recv(req);

	talloc_free(req);
	if (rc != 0) {
		log_error("cannot shut down: the supervisor says: %s", strerror(rc));
	}
	control_reply(ctl, rc == 0 ? 0 : -1, NULL, 0, rc == 0 ? NULL : strerror(rc));
}

void control_shutdown(struct control *ctl)
{
	struct msg_addr super = {.endpoint = "super", .node = NODE_SELF};
	struct daemon *d = ctl->dbd->d;
	struct rpc_client *client = msg_client(ctl, d->msg, &super);
	struct tevent_req *req = NULL;

	log_notice("a client asks this node to stop (control SHUTDOWN)");
	if (client != NULL) {
		req = super_shutdown_send(ctl, d->ev, client, SUPER_TIMEOUT_MS);
	}
	if (req == NULL) {
		control_reply(ctl, -1, NULL, 0, "no memory");
		return;
	}
	tevent_req_set_callback(req, shutdown_asked, ctl);
}

/* ---- state of the cluster ---- */

static void verdict_told(struct tevent_req *req)
{
	struct control *ctl = tevent_req_callback_data(req, struct control);
	struct cluster_status status;
	int rc = cluster_get_status_recv(req, ctl, &status);

	talloc_free(req);
	if (rc != 0) {
		control_reply(ctl, -1, NULL, 0, "ctdb-clusterd does not answer");
		return;
	}
	control_reply_text(ctl, status.verdict);
}

void control_cluster_verdict(struct control *ctl)
{
	struct msg_addr cluster = {.endpoint = "cluster", .node = NODE_SELF};
	struct daemon *d = ctl->dbd->d;
	struct rpc_client *client = msg_client(ctl, d->msg, &cluster);
	struct tevent_req *req = NULL;

	if (client != NULL) {
		req = cluster_get_status_send(ctl, d->ev, client, CLUSTER_TIMEOUT_MS);
	}
	if (req == NULL) {
		control_reply(ctl, -1, NULL, 0, "no memory");
		return;
	}
	tevent_req_set_callback(req, verdict_told, ctl);
}

void control_getvnnmap(struct control *ctl)
{
	struct classic_vnn_map map = {.generation = recovery_generation(ctl->dbd->recovery)};
	const uint32_t *slots = recovery_slots(ctl->dbd->recovery, &map.map.n);
	struct ctdb_blob blob;

	/* Encoders only read. */
	map.map.v = (uint32_t *)(uintptr_t)slots;
	control_reply_blob(ctl, classic_vnn_map_nencode(ctl, &map, &blob), &blob);
}

void control_get_recmode(struct control *ctl)
{
	int32_t mode = recovery_is_normal(ctl->dbd->recovery) ? CLASSIC_RECMODE_NORMAL : CLASSIC_RECMODE_ACTIVE;

	control_reply(ctl, mode, NULL, 0, NULL);
}

/* A recovery was asked for by SET_RECMODE. Child of its control. */
struct recmode_wait {
	struct control *ctl;
	uint32_t generation;
};

/* The tool asks for the mode next, and must not find that nothing has happened yet. */
static bool recovery_seen(void *priv)
{
	struct recmode_wait *w = priv;
	struct recovery *r = w->ctl->dbd->recovery;

	if (recovery_is_normal(r) && recovery_generation(r) == w->generation) {
		return false;
	}
	control_reply(w->ctl, 0, NULL, 0, NULL);
	return true;
}

static void recovery_not_seen(void *priv)
{
	struct recmode_wait *w = priv;

	control_reply(w->ctl, -1, NULL, 0, "the leader has not begun a recovery");
}

static void ask_for_recovery(struct control *ctl)
{
	struct recovery *r = ctl->dbd->recovery;
	struct recmode_wait *w = talloc(ctl, struct recmode_wait);

	if (w == NULL) {
		control_reply(ctl, -1, NULL, 0, "no memory");
		return;
	}
	*w = (struct recmode_wait){.ctl = ctl, .generation = recovery_generation(r)};
	recovery_want(r, w->generation, "a client of node %u asks for it", ctl->from);
	if (retry_start(w, ctl->dbd, RECMODE_TIMEOUT_MS, recovery_seen, recovery_not_seen, w) != 0) {
		control_reply(ctl, -1, NULL, 0, "no memory");
	}
}

/* 1 asks for a recovery. 0 is the business of the recovery itself: right only if it is the case already. */
void control_set_recmode(struct control *ctl)
{
	uint32_t mode = peek_u32(ctl->data);
	bool normal = recovery_is_normal(ctl->dbd->recovery);

	if (mode == CLASSIC_RECMODE_ACTIVE && normal) {
		ask_for_recovery(ctl);
	} else if (mode == (normal ? CLASSIC_RECMODE_NORMAL : CLASSIC_RECMODE_ACTIVE)) {
		control_reply(ctl, 0, NULL, 0, NULL);
	} else {
		control_reply(ctl, -1, NULL, 0,
			      mode == CLASSIC_RECMODE_NORMAL ? "only the leader ends a recovery"
							     : "recovery modes are 0 and 1");
	}
}

void control_get_capabilities(struct control *ctl)
{
	const struct cluster_state *view = ctl->dbd->view;
	const struct conf *conf = ctl->dbd->d->conf;
	uint32_t caps = CLASSIC_CAP_PARALLEL_RECOVERY | CLASSIC_CAP_FRAGMENTED_CONTROLS;
	uint32_t pnn = ctl->dbd->d->pnn;

	if (view != NULL && pnn < view->view.members.n) {
		caps |= view->view.members.v[pnn].capabilities & (NODE_CAP_LEADER | NODE_CAP_LMASTER);
	} else {
		caps |= (conf->cluster.leader_capability ? CLASSIC_CAP_RECMASTER : 0) |
			(conf->cluster.lmaster_capability ? CLASSIC_CAP_LMASTER : 0);
	}
	control_reply_u32(ctl, caps);
}

static void put_node(struct classic_node_and_flags *out, const struct conf_node *node, uint32_t pnn, uint32_t flags,
		     uint16_t port)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(port)};
	struct sockaddr_in6 in6;

	*out = (struct classic_node_and_flags){.pnn = pnn, .flags = flags};
	if (node->deleted) {
		out->flags |= CLASSIC_NODE_FLAG_DELETED;
	} else if (node->addr.ss_family == AF_INET6) {
		memcpy(&in6, &node->addr, sizeof(in6));
		in6.sin6_port = htons(port);
		memcpy(out->addr.addr, &in6, sizeof(in6));
		return;
	} else {
		memcpy(&in, &node->addr, sizeof(in));
		in.sin_port = htons(port);
	}
	memcpy(out->addr.addr, &in, sizeof(in));
}

static void reply_nodes(struct control *ctl, const struct conf_nodes *nodes, bool with_flags)
{
	struct classic_node_map map = {.nodes = {.n = nodes->n}};
	uint16_t port = ctl->dbd->d->conf->transport.port;
	struct ctdb_blob blob;

	map.nodes.v = talloc_zero_array(ctl, struct classic_node_and_flags, nodes->n);
	if (map.nodes.v == NULL) {
		control_reply(ctl, -1, NULL, 0, "no memory");
		return;
	}
	for (uint32_t pnn = 0; pnn < nodes->n; pnn++) {
		put_node(&map.nodes.v[pnn], &nodes->v[pnn], pnn, with_flags ? view_node_flags(ctl->dbd, pnn) : 0, port);
	}
	control_reply_blob(ctl, classic_node_map_nencode(ctl, &map, &blob), &blob);
}

void control_get_nodemap(struct control *ctl)
{
	reply_nodes(ctl, ctl->dbd->d->nodes, true);
}

/* What the file says now, not what the node runs with. */
void control_get_nodes_file(struct control *ctl)
{
	struct conf_nodes *nodes;
	char *err = NULL;

	if (conf_nodes_load(ctl, ctl->dbd->d->conf->path.nodes, &nodes, &err) != 0) {
		control_reply(ctl, -1, NULL, 0, err);
		return;
	}
	reply_nodes(ctl, nodes, false);
}

void control_get_reclock_file(struct control *ctl)
{
	const char *lock = ctl->dbd->d->conf->cluster.cluster_lock;

	control_reply(ctl, 0, lock, lock == NULL ? 0 : strlen(lock) + 1, NULL);
}

/* Each node says its own flags, and the view tells them to all: what others say of them counts for nothing. */
void control_modify_flags(struct control *ctl)
{
	bool exists = peek_u32(ctl->data) < ctl->dbd->d->nodes->n;

	control_reply(ctl, exists ? 0 : -1, NULL, 0, exists ? NULL : "there is no such node");
}

/* ---- debugging ---- */

/* Levels of the classic tools: 0 ERROR, 1 WARNING, 3 NOTICE, 5 INFO, 10 DEBUG; those between belong to the next lower.
 */
static const int32_t debug_levels[] = {
	[LOG_LVL_ERROR] = 0, [LOG_LVL_WARNING] = 1, [LOG_LVL_NOTICE] = 3, [LOG_LVL_INFO] = 5, [LOG_LVL_DEBUG] = 10};

void control_get_debug(struct control *ctl)
{
	control_reply_u32(ctl, (uint32_t)debug_levels[log_get_level()]);
}

void control_set_debug(struct control *ctl)
{
	int32_t level = (int32_t)peek_u32(ctl->data);
	char text[16];
	enum log_level l;

	snprintf(text, sizeof(text), "%d", level);
	if (!log_level_parse(text, &l)) {
		control_reply(ctl, -1, NULL, 0, "log levels are 0 (ERROR) to 10 (DEBUG)");
		return;
	}
	log_set_level(l);
	log_notice("log level is now %d", debug_levels[l]);
	control_reply(ctl, 0, NULL, 0, NULL);
}

/* Sizes of the big parts; the whole tree could be millions of lines. */
void control_dump_memory(struct control *ctl)
{
	char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);

	if (f == NULL) {
		control_reply(ctl, -1, NULL, 0, "no memory");
		return;
	}
	talloc_report_depth_file(ctl->dbd->d, 0, 2, f);
	fclose(f);
	control_reply(ctl, 0, text, len, NULL);
	free(text);
}
