/*
 * A fake daemon: says on a client socket what a text file says (fake_state.h), for tests of tools without a cluster.
 *
 *	fake_ctdbd SOCKET STATE
 *
 * The file is read again when it has changed and somebody connects. Each line on standard output is something that
 *came: "ready", "control NAME NODE LENGTH", "message NODE SRVID TEXT". It ends when standard input does.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include <ctdb/ctdb.h>

#include "fake_state.h"

#define LEADER_MS 200U

struct fake {
	struct tevent_context *ev;
	struct ctdb_server *server;
	const char *path;
	struct timespec changed;
	struct fake_state s;
	bool stop;
};

typedef struct ctdb_server_request request;
typedef const struct ctdb_wire_req_control control;

/* ---- answers ---- */

static struct ctdb_data bytes(const void *p, size_t len)
{
	return (struct ctdb_data){.data = p, .len = len};
}

static struct ctdb_data text(const char *s)
{
	return bytes(s, strlen(s) + 1);
}

static void status(request *r, int32_t v)
{
	ctdb_server_reply_control(r, v, (struct ctdb_data){0}, NULL);
}

static void answer(request *r, struct ctdb_data data)
{
	ctdb_server_reply_control(r, 0, data, NULL);
}

/* What an encoder made, or could not. */
static void encoded(request *r, int err, struct ctdb_data data)
{
	if (err != 0) {
		fprintf(stderr, "fake_ctdbd: cannot encode: %s\n", strerror(err));
		exit(1);
	}
	answer(r, data);
}

static uint32_t u32_of(control *k)
{
	uint32_t v = 0;

	memcpy(&v, k->data.data, k->data.len < sizeof(v) ? k->data.len : sizeof(v));
	return v;
}

/* Which node is meant. */
static uint32_t node_of(const struct fake *f, const request *r)
{
	uint32_t node = ctdb_server_request_packet(r)->destnode;

	return node == CTDB_NODE_CURRENT ? f->s.pnn : node;
}

/* ---- node and cluster ---- */

static void on_pnn(struct fake *f, request *r, control *k)
{
	status(r, (int32_t)node_of(f, r));
}

static void on_nodemap(struct fake *f, request *r, control *k)
{
	struct ctdb_nodemap map = {.n = f->s.n_nodes, .nodes = f->s.nodes};
	struct ctdb_data out = {0};

	encoded(r, ctdb_wire_put_nodemap(r, &map, &out), out);
}

static void on_vnnmap(struct fake *f, request *r, control *k)
{
	struct ctdb_vnnmap map = {.generation = f->s.generation, .size = f->s.n_slots, .map = f->s.slots};
	struct ctdb_data out = {0};

	encoded(r, ctdb_wire_put_vnnmap(r, &map, &out), out);
}

static void on_recmode(struct fake *f, request *r, control *k)
{
	status(r, f->s.recmode);
}

static void on_runstate(struct fake *f, request *r, control *k)
{
	uint32_t v = f->s.runstate;

	answer(r, bytes(&v, sizeof(v)));
}

static void on_uptime(struct fake *f, request *r, control *k)
{
	struct ctdb_data out = {0};

	encoded(r, ctdb_wire_put_uptime(r, &f->s.uptime, &out), out);
}

static void on_statistics(struct fake *f, request *r, control *k)
{
	struct ctdb_statistics s = {.clients = ctdb_server_n_conns(f->server), .started = f->s.uptime.started};
	struct ctdb_data out = {0};

	encoded(r, ctdb_wire_put_statistics(r, &s, &out), out);
}

static void on_verdict(struct fake *f, request *r, control *k)
{
	if (f->s.verdict[0] == '\0') {
		status(r, -1);
	} else {
		answer(r, text(f->s.verdict));
	}
}

static void on_ping(struct fake *f, request *r, control *k)
{
	status(r, (int32_t)ctdb_server_n_conns(f->server));
}

static void on_pid(struct fake *f, request *r, control *k)
{
	status(r, (int32_t)getpid());
}

static void on_capabilities(struct fake *f, request *r, control *k)
{
	answer(r, bytes(&f->s.capabilities, sizeof(f->s.capabilities)));
}

static void on_get_debug(struct fake *f, request *r, control *k)
{
	answer(r, bytes(&f->s.debug, sizeof(f->s.debug)));
}

static void on_set_debug(struct fake *f, request *r, control *k)
{
	f->s.debug = (int32_t)u32_of(k);
	status(r, 0);
}

static void exists(struct fake *f, request *r, int32_t pid, const uint64_t *srvid)
{
	uint32_t i;

	for (i = 0; i < f->s.n_processes; i++) {
		if (f->s.processes[i].pid == pid && (srvid == NULL || f->s.processes[i].srvid == *srvid)) {
			status(r, 0);
			return;
		}
	}
	status(r, -1);
}

static void on_process_exists(struct fake *f, request *r, control *k)
{
	exists(f, r, (int32_t)u32_of(k), NULL);
}

static void on_pid_srvid(struct fake *f, request *r, control *k)
{
	uint64_t srvid;

	if (k->data.len != 12) {
		status(r, -1);
		return;
	}
	memcpy(&srvid, k->data.data + 4, sizeof(srvid));
	exists(f, r, (int32_t)u32_of(k), &srvid);
}

/* ---- flags ---- */

static struct ctdb_node *node_find(struct fake *f, uint32_t pnn)
{
	return pnn < f->s.n_nodes ? &f->s.nodes[pnn] : NULL;
}

static void set_flag(struct fake *f, request *r, uint32_t flag, bool on)
{
	struct ctdb_node *n = node_find(f, node_of(f, r));

	if (n == NULL) {
		status(r, -1);
		return;
	}
	n->flags = on ? n->flags | flag : n->flags & ~flag;
	status(r, 0);
}

static void on_stop(struct fake *f, request *r, control *k)
{
	set_flag(f, r, CTDB_NODE_STOPPED, true);
}

static void on_continue(struct fake *f, request *r, control *k)
{
	set_flag(f, r, CTDB_NODE_STOPPED, false);
}

static void on_disable(struct fake *f, request *r, control *k)
{
	set_flag(f, r, CTDB_NODE_DISABLED, true);
}

static void on_enable(struct fake *f, request *r, control *k)
{
	set_flag(f, r, CTDB_NODE_DISABLED, false);
}

static void on_set_ban(struct fake *f, request *r, control *k)
{
	uint32_t args[2];

	if (k->data.len != sizeof(args) || (memcpy(args, k->data.data, sizeof(args)), args[0] != node_of(f, r))) {
		status(r, -1);
		return;
	}
	f->s.ban_seconds = args[1];
	set_flag(f, r, CTDB_NODE_BANNED, args[1] != 0);
}

static void on_get_ban(struct fake *f, request *r, control *k)
{
	uint32_t ban[2] = {f->s.ban_seconds != 0 ? node_of(f, r) : 0, f->s.ban_seconds};

	answer(r, bytes(ban, sizeof(ban)));
}

static void on_shutdown(struct fake *f, request *r, control *k)
{
	ctdb_server_conn_close(ctdb_server_request_conn(r));
}

/* ---- addresses ---- */

static void on_ifaces(struct fake *f, request *r, control *k)
{
	struct ctdb_iface ifaces[STATE_MAX];
	struct ctdb_iface_list list = {.ifaces = ifaces};
	struct ctdb_data out = {0};
	uint32_t i;

	for (i = 0; i < f->s.n_ifaces; i++) {
		if (f->s.ifaces[i].pnn == node_of(f, r)) {
			ifaces[list.n++] = f->s.ifaces[i].iface;
		}
	}
	encoded(r, ctdb_wire_put_ifaces(r, &list, &out), out);
}

static void on_public_ips(struct fake *f, request *r, control *k)
{
	struct ctdb_public_ip ips[STATE_MAX];
	struct ctdb_public_ip_list list = {.n = f->s.n_ips, .ips = ips};
	struct ctdb_data out = {0};
	uint32_t i;

	for (i = 0; i < f->s.n_ips; i++) {
		ips[i] = f->s.ips[i].ip;
	}
	encoded(r, ctdb_wire_put_public_ips(r, &list, &out), out);
}

static void ip_info(request *r, const struct fake_ip *p)
{
	struct ctdb_iface ifaces[4] = {{.up = true}};
	struct ctdb_public_ip_info info = {.ip = p->ip, .n_ifaces = p->n_ifaces, .ifaces = ifaces};
	struct ctdb_data out = {0};
	uint32_t i;

	for (i = 0; i < p->n_ifaces; i++) {
		ifaces[i].up = true;
		snprintf(ifaces[i].name, sizeof(ifaces[i].name), "%s", p->ifaces[i]);
	}
	info.active = p->active < p->n_ifaces ? &ifaces[p->active] : NULL;
	encoded(r, ctdb_wire_put_public_ip_info(r, &info, &out), out);
}

static void on_ip_info(struct fake *f, request *r, control *k)
{
	union ctdb_addr addr;
	uint32_t i;

	for (i = 0; i < f->s.n_ips && ctdb_wire_get_addr(k->data, &addr) == 0; i++) {
		if (ctdb_addr_equal(&addr, &f->s.ips[i].ip.addr)) {
			ip_info(r, &f->s.ips[i]);
			return;
		}
	}
	status(r, -1);
}

/* ---- databases ---- */

static void on_dbmap(struct fake *f, request *r, control *k)
{
	struct ctdb_db_entry dbs[STATE_MAX];
	struct ctdb_db_list list = {.n = f->s.n_dbs, .dbs = dbs};
	struct ctdb_data out = {0};
	uint32_t i;

	for (i = 0; i < f->s.n_dbs; i++) {
		dbs[i] = f->s.dbs[i].entry;
	}
	encoded(r, ctdb_wire_put_db_list(r, &list, &out), out);
}

/* The database that the payload begins with the number of. NULL: answered. */
static struct fake_db *db_of(struct fake *f, request *r, control *k)
{
	uint32_t i;

	for (i = 0; i < f->s.n_dbs; i++) {
		if (k->data.len >= 4 && f->s.dbs[i].entry.id == u32_of(k)) {
			return &f->s.dbs[i];
		}
	}
	status(r, -1);
	return NULL;
}

static void on_db_name(struct fake *f, request *r, control *k)
{
	struct fake_db *d = db_of(f, r, k);

	if (d != NULL) {
		answer(r, text(d->name));
	}
}

static void on_db_path(struct fake *f, request *r, control *k)
{
	struct fake_db *d = db_of(f, r, k);
	char path[256];

	if (d != NULL) {
		snprintf(path, sizeof(path), "/var/lib/ctdb/%s.%u", d->name, node_of(f, r));
		answer(r, text(path));
	}
}

static void on_db_health(struct fake *f, request *r, control *k)
{
	struct fake_db *d = db_of(f, r, k);

	if (d != NULL) {
		answer(r, d->reason[0] != '\0' ? text(d->reason) : (struct ctdb_data){0});
	}
}

static void on_db_seqnum(struct fake *f, request *r, control *k)
{
	struct fake_db *d = db_of(f, r, k);

	if (d != NULL) {
		answer(r, bytes(&d->seqnum, sizeof(d->seqnum)));
	}
}

static void on_db_open_flags(struct fake *f, request *r, control *k)
{
	int32_t flags = 0x1C41;

	if (db_of(f, r, k) != NULL) {
		answer(r, bytes(&flags, sizeof(flags)));
	}
}

static void on_db_readonly(struct fake *f, request *r, control *k)
{
	struct fake_db *d = db_of(f, r, k);

	if (d != NULL) {
		d->entry.flags |= CTDB_DB_FLAG_READONLY;
		status(r, 0);
	}
}

/* ---- tunables: the name stands behind `skip` bytes and its length ---- */

static struct fake_tunable *tunable_of(struct fake *f, control *k, size_t skip)
{
	uint32_t i, len;

	if (k->data.len < skip + 4) {
		return NULL;
	}
	memcpy(&len, k->data.data + skip, sizeof(len));
	if (len == 0 || len != k->data.len - skip - 4 || k->data.data[k->data.len - 1] != '\0') {
		return NULL;
	}
	for (i = 0; i < f->s.n_tunables; i++) {
		if (strcasecmp(f->s.tunables[i].name, (const char *)k->data.data + skip + 4) == 0) {
			return &f->s.tunables[i];
		}
	}
	return NULL;
}

static void on_get_tunable(struct fake *f, request *r, control *k)
{
	struct fake_tunable *t = tunable_of(f, k, 0);

	if (t == NULL) {
		status(r, -22);
	} else {
		answer(r, bytes(&t->value, sizeof(t->value)));
	}
}

static void on_set_tunable(struct fake *f, request *r, control *k)
{
	struct fake_tunable *t = tunable_of(f, k, 4);

	if (t == NULL) {
		status(r, -1);
		return;
	}
	t->value = u32_of(k);
	status(r, 0);
}

static void on_list_tunables(struct fake *f, request *r, control *k)
{
	char list[4 + 65 * STATE_MAX + 1] = {0};
	uint32_t i, len;
	size_t at = 4;

	for (i = 0; i < f->s.n_tunables; i++) {
		at += (size_t)snprintf(list + at, sizeof(list) - at, ":%s", f->s.tunables[i].name);
	}
	len = (uint32_t)(at - 4 + 1);
	memcpy(list, &len, sizeof(len));
	answer(r, bytes(list, at + 1));
}

/* ---- what comes ---- */

static void tell_leader(struct fake *f)
{
	if (f->s.leader != CTDB_NODE_UNKNOWN) {
		(void)ctdb_server_publish(f->server, CTDB_SRVID_LEADER, bytes(&f->s.leader, sizeof(f->s.leader)));
	}
}

static void on_register(struct fake *f, request *r, control *k)
{
	status(r, ctdb_server_conn_register(ctdb_server_request_conn(r), k->srvid) == 0 ? 0 : -1);
	tell_leader(f);
}

static void on_deregister(struct fake *f, request *r, control *k)
{
	status(r, ctdb_server_conn_deregister(ctdb_server_request_conn(r), k->srvid));
}

static const struct {
	uint32_t opcode;
	void (*fn)(struct fake *f, request *r, control *k);
} table[] = {
	{CTDB_CONTROL_PROCESS_EXISTS, on_process_exists},
	{CTDB_CONTROL_STATISTICS, on_statistics},
	{CTDB_CONTROL_PING, on_ping},
	{CTDB_CONTROL_GETDBPATH, on_db_path},
	{CTDB_CONTROL_GETVNNMAP, on_vnnmap},
	{CTDB_CONTROL_GET_DEBUG, on_get_debug},
	{CTDB_CONTROL_SET_DEBUG, on_set_debug},
	{CTDB_CONTROL_GET_DBMAP, on_dbmap},
	{CTDB_CONTROL_GET_RECMODE, on_recmode},
	{CTDB_CONTROL_REGISTER_SRVID, on_register},
	{CTDB_CONTROL_DEREGISTER_SRVID, on_deregister},
	{CTDB_CONTROL_GET_DBNAME, on_db_name},
	{CTDB_CONTROL_GET_PID, on_pid},
	{CTDB_CONTROL_GET_PNN, on_pnn},
	{CTDB_CONTROL_SHUTDOWN, on_shutdown},
	{CTDB_CONTROL_SET_TUNABLE, on_set_tunable},
	{CTDB_CONTROL_GET_TUNABLE, on_get_tunable},
	{CTDB_CONTROL_LIST_TUNABLES, on_list_tunables},
	{CTDB_CONTROL_UPTIME, on_uptime},
	{CTDB_CONTROL_GET_CAPABILITIES, on_capabilities},
	{CTDB_CONTROL_GET_PUBLIC_IPS, on_public_ips},
	{CTDB_CONTROL_GET_NODEMAP, on_nodemap},
	{CTDB_CONTROL_STOP_NODE, on_stop},
	{CTDB_CONTROL_CONTINUE_NODE, on_continue},
	{CTDB_CONTROL_SET_BAN_STATE, on_set_ban},
	{CTDB_CONTROL_GET_BAN_STATE, on_get_ban},
	{CTDB_CONTROL_GET_DB_SEQNUM, on_db_seqnum},
	{CTDB_CONTROL_DB_GET_HEALTH, on_db_health},
	{CTDB_CONTROL_GET_PUBLIC_IP_INFO, on_ip_info},
	{CTDB_CONTROL_GET_IFACES, on_ifaces},
	{CTDB_CONTROL_SET_DB_READONLY, on_db_readonly},
	{CTDB_CONTROL_GET_RUNSTATE, on_runstate},
	{CTDB_CONTROL_DB_OPEN_FLAGS, on_db_open_flags},
	{CTDB_CONTROL_CHECK_PID_SRVID, on_pid_srvid},
	{CTDB_CONTROL_DISABLE_NODE, on_disable},
	{CTDB_CONTROL_ENABLE_NODE, on_enable},
	{CTDB_CONTROL_CLUSTER_VERDICT, on_verdict},
};

/* True: it is done for. */
static bool fault(struct fake *f, request *r, control *k)
{
	uint32_t i;

	for (i = 0; i < f->s.n_faults; i++) {
		const struct fake_fault *t = &f->s.faults[i];

		if (t->opcode != k->opcode) {
			continue;
		}
		if (t->kind == FAKE_REFUSE) {
			ctdb_server_reply_control(r, -1, (struct ctdb_data){0}, t->text[0] != '\0' ? t->text : NULL);
		} else if (t->kind == FAKE_GARBAGE) {
			answer(r, bytes("???", 3));
		}
		return true;
	}
	return false;
}

static void on_control(void *priv, request *r, control *k)
{
	struct fake *f = priv;
	struct ctdb_node *n = node_find(f, node_of(f, r));
	size_t i;

	printf("control %s %u %zu\n", ctdb_control_name(k->opcode), node_of(f, r), k->data.len);
	if (fault(f, r, k)) {
		return;
	}
	if (node_of(f, r) != f->s.pnn && (n == NULL || (n->flags & CTDB_NODE_DISCONNECTED) != 0)) {
		ctdb_server_reply_control(r, -1, (struct ctdb_data){0}, "ctdb_control to disconnected node");
		return;
	}
	for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		if (table[i].opcode == k->opcode) {
			table[i].fn(f, r, k);
			return;
		}
	}
	status(r, -1);
}

static void on_message(void *priv, struct ctdb_server_conn *conn, uint32_t destnode,
		       const struct ctdb_wire_req_message *m)
{
	struct fake *f = priv;

	printf("message %u 0x%" PRIx64 " %.*s\n", destnode, m->srvid, (int)m->data.len, (const char *)m->data.data);
	if (destnode == f->s.pnn || destnode >= CTDB_NODE_CURRENT) {
		(void)ctdb_server_publish(f->server, m->srvid, m->data);
	}
}

/* ---- the state ---- */

static void state_load(struct fake *f)
{
	struct stat st;
	char error[512];

	if (stat(f->path, &st) == 0 && st.st_mtim.tv_sec == f->changed.tv_sec &&
	    st.st_mtim.tv_nsec == f->changed.tv_nsec) {
		return;
	}
	if (!fake_state_read(f->path, &f->s, error, sizeof(error))) {
		fprintf(stderr, "%s\n", error);
		exit(1);
	}
	f->changed = st.st_mtim;
	ctdb_server_set_identity(f->server, f->s.pnn, f->s.generation);
}

static void on_connected(void *priv, struct ctdb_server_conn *conn)
{
	state_load(priv);
}

static void leader_timer(struct tevent_context *ev, struct tevent_timer *te, struct timeval now, void *priv)
{
	struct fake *f = priv;

	if (te != NULL) {
		tell_leader(f);
	}
	if (tevent_add_timer(ev, f->server, tevent_timeval_current_ofs(0, LEADER_MS * 1000), leader_timer, f) == NULL) {
		exit(1);
	}
}

static void on_stdin(struct tevent_context *ev, struct tevent_fd *fde, uint16_t flags, void *priv)
{
	char buf[64];

	if (read(STDIN_FILENO, buf, sizeof(buf)) <= 0) {
		*(bool *)priv = true;
	}
}

int main(int argc, char **argv)
{
	static struct fake f;
	struct ctdb_server_handlers h = {.connected = on_connected, .control = on_control, .message = on_message};
	const struct ctdb_server_control own[] = {{CTDB_CONTROL_REGISTER_SRVID, on_control},
						  {CTDB_CONTROL_DEREGISTER_SRVID, on_control}};
	int err;

	if (argc != 3) {
		fprintf(stderr, "Usage: fake_ctdbd SOCKET STATE\n");
		return 2;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	f.ev = tevent_context_init(NULL);
	f.path = argv[2];
	h.controls = own;
	h.n_controls = 2;
	err = f.ev == NULL ? ENOMEM : ctdb_server_listen(f.ev, f.ev, argv[1], &h, &f, &f.server);
	if (err != 0) {
		fprintf(stderr, "fake_ctdbd: %s: %s\n", argv[1], strerror(err));
		return 1;
	}
	state_load(&f);
	leader_timer(f.ev, NULL, (struct timeval){0}, &f);
	if (tevent_add_fd(f.ev, f.ev, STDIN_FILENO, TEVENT_FD_READ, on_stdin, &f.stop) == NULL) {
		return 1;
	}
	puts("ready");
	while (!f.stop && tevent_loop_once(f.ev) == 0) {
	}
	talloc_free(f.ev);
	return 0;
}
