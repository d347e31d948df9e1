/* Controls: from a client or another node to the handler, or on to the node they are for; answers back. */
#include "base/xdr_talloc.h"
#include "dbd/control.h"
#include "dbd/foreign.h"
#include "dbd/srvid.h"
#include "protocol/lane_rpc.h"
#include "shared/log.h"

#include <errno.h>

#define TEXT_DISCONNECTED "ctdb_control to disconnected node"
#define TEXT_LOST         "node is disconnected"
#define TEXT_TIMEOUT      "ctdb_control timed out"

/* A control on its way to another node. Child of the client that waits for it. */
struct remote {
	struct dlist link;
	struct client *client;
	uint64_t id;
	uint32_t to, reqid, opcode;
	struct lane_control *again; /* asked again when the link is back, see is_about_life(); NULL: not that */
};

struct control_set {
	struct clients *clients;
	struct dlist remotes;
	uint64_t last_id;
	struct xdr_buf out; /* the message to another node that is being sent; the link copies it */
};

/* ---- answers ---- */

static void reply_to_node(const struct control *ctl, int32_t status, const void *data, size_t len, const char *text)
{
	struct lane_control_reply m = {.id = ctl->remote_id, .status = status, .data = blob_of(data, len)};
	struct xdr_buf *out = &ctl->clients->controls->out;
	struct ctdb_blob packet;
	int rc = foreign_control(NULL, FOREIGN_OUT, ctl->opcode, true, &m.data);

	m.error = (char *)(uintptr_t)(text != NULL ? text : "");
	if (rc == 0) {
		rc = lane_control_reply_encode_to(ctl->clients, out, &m, &packet);
	}
	if (m.data.data != data) {
		talloc_free(m.data.data);
	}
	if (rc != 0) {
		log_error("answer to control %u of node %u is lost: %s", ctl->opcode, ctl->from, strerror(rc));
		return;
	}
	if (lane_send(ctl->dbd->lane, ctl->from, LANE_PROC_CONTROL_REPLY, packet.data, packet.len) != 0) {
		log_debug("answer to control %u is lost: no link to node %u", ctl->opcode, ctl->from);
	}
	xdr_buf_trim(out);
}

void control_reply(struct control *ctl, int32_t status, const void *data, size_t len, const char *text)
{
	if (!ctl->no_reply) {
		if (ctl->client != NULL) {
			client_reply_control(ctl->client, ctl->reqid, status, data, len, text);
		} else {
			reply_to_node(ctl, status, data, len, text);
		}
	}
	talloc_free(ctl);
}

void control_reply_u32(struct control *ctl, uint32_t value)
{
	uint8_t data[4];

	poke_u32(data, value);
	control_reply(ctl, 0, data, sizeof(data), NULL);
}

void control_reply_text(struct control *ctl, const char *text)
{
	control_reply(ctl, 0, text, strlen(text) + 1, NULL);
}

void control_reply_blob(struct control *ctl, int rc, const struct ctdb_blob *blob)
{
	if (rc != 0) {
		control_reply(ctl, -1, NULL, 0, strerror(rc));
	} else {
		control_reply(ctl, 0, blob->data, blob->len, NULL);
	}
}

struct db *control_db(struct control *ctl)
{
	struct db *db = ctl->len >= 4 ? db_find(ctl->dbd->dbs, peek_u32(ctl->data)) : NULL;

	if (db == NULL) {
		control_reply(ctl, -1, NULL, 0, NULL);
	}
	return db;
}

/* ---- on this node ---- */

static void run(struct control *ctl)
{
	const struct control_entry *e = control_lookup(ctl->opcode);

	if (e == NULL || (e->size != CONTROL_ANY_SIZE && e->size != ctl->len)) {
		log_debug("control %u with %zu bytes is refused: %s", ctl->opcode, ctl->len,
			  e == NULL ? "not known" : "wrong size");
		control_reply(ctl, -1, NULL, 0, NULL);
		return;
	}
	if (e->local_only && ctl->client == NULL) {
		control_reply(ctl, -1, NULL, 0, NULL);
		return;
	}
	e->handler(ctl);
}

static int control_destructor(struct control *ctl)
{
	ctl->load->n--;
	ctl->load->bytes -= ctl->len;
	return 0;
}

/* What waits may keep its payload. Who asks without waiting for answers is refused at some point. */
static bool admit(struct control *ctl, struct control_load *load, uint32_t max)
{
	if (load->n >= max || load->bytes > CONTROLS_WAIT_BYTES_MAX) {
		log_ratelimited(LOG_LVL_WARNING, 10000,
				"control %u of node %u is refused: %u controls with %zu bytes of it wait already",
				ctl->opcode, ctl->from, load->n, load->bytes);
		control_reply(ctl, -1, NULL, 0, "too many controls wait here");
		return false;
	}
	ctl->load = load;
	load->n++;
	load->bytes += ctl->len;
	talloc_set_destructor(ctl, control_destructor);
	return true;
}

static void run_for_client(struct client *c, uint32_t reqid, const struct classic_req_control *r)
{
	struct control *ctl = talloc(c, struct control);

	if (ctl == NULL) {
		client_disconnect(c, "no memory for its control %u", r->opcode);
		return;
	}
	*ctl = (struct control){
		.clients = c->clients,
		.dbd = c->clients->dbd,
		.client = c,
		.from = c->clients->dbd->d->pnn,
		.reqid = reqid,
		.no_reply = (r->flags & CLASSIC_CTRL_FLAG_NOREPLY) != 0,
		.opcode = r->opcode,
		.flags = r->flags,
		.srvid = r->srvid,
		.data = r->data.data,
		.len = r->data.len,
	};
	if (admit(ctl, &c->load, CONTROLS_WAIT_MAX)) {
		run(ctl);
	}
}

void controls_on_control(struct clients *cs, uint32_t from, const struct lane_control *m)
{
	struct control *ctl = talloc(cs, struct control);

	cs->count.node_req_control++;
	if (ctl == NULL) {
		log_error("no memory for control %u of node %u", m->opcode, from);
		return;
	}
	*ctl = (struct control){
		.clients = cs,
		.dbd = cs->dbd,
		.from = from,
		.remote_id = m->id,
		.no_reply = m->id == 0,
		.opcode = m->opcode,
		.flags = m->flags,
		.srvid = m->srvid,
		.data = m->data.data,
		.len = m->data.len,
	};
	if (!admit(ctl, &cs->peers[from % LANE_NODES], CONTROLS_WAIT_PEER_MAX)) {
		return;
	}
	if (m->opcode == CONTROL_TUNNEL_PACKET) {
		control_tunnel_packet(ctl);
	} else {
		run(ctl);
	}
}

/* ---- to other nodes ---- */

static int send_control(struct clients *cs, uint32_t pnn, const struct lane_control *control)
{
	struct xdr_buf *out = &cs->controls->out;
	struct lane_control m = *control;
	struct ctdb_blob packet;
	int rc;

	if (!lane_is_up(cs->dbd->lane, pnn)) {
		return EHOSTUNREACH;
	}
	rc = foreign_control(NULL, FOREIGN_OUT, m.opcode, false, &m.data);
	if (rc == 0) {
		rc = lane_control_encode_to(cs, out, &m, &packet);
	}
	if (m.data.data != control->data.data) {
		talloc_free(m.data.data);
	}
	if (rc == 0) {
		rc = lane_send(cs->dbd->lane, pnn, LANE_PROC_CONTROL, packet.data, packet.len);
	}
	xdr_buf_trim(out);
	return rc;
}

void controls_send_oneway(struct clients *cs, uint32_t pnn, const struct lane_control *m)
{
	int rc = send_control(cs, pnn, m);

	if (rc != 0) {
		log_debug("control %u to node %u is lost: %s", m->opcode, pnn, strerror(rc));
	}
}

/*
 * Whether a process lives decides who may take over what it holds. That a link is down for a moment, or an answer late,
 * says nothing about it: as long as its node is a member, the process may go on. So such a question waits for the link
 * and is asked again; only that the cluster goes on without the node is an answer.
 */
static bool is_about_life(uint32_t opcode)
{
	return opcode == CLASSIC_CONTROL_PROCESS_EXISTS || opcode == CLASSIC_CONTROL_CHECK_PID_SRVID;
}

static bool is_member(const struct clients *cs, uint32_t pnn)
{
	return (view_node_flags(cs->dbd, pnn) & CLASSIC_NODE_FLAG_DISCONNECTED) == 0;
}

static bool waits_for_link(const struct remote *r)
{
	return r->again != NULL && is_member(r->client->clients, r->to);
}

static bool keep_question(struct remote *r, const struct lane_control *m)
{
	r->again = talloc(r, struct lane_control);
	if (r->again == NULL) {
		return false;
	}
	*r->again = *m;
	r->again->data.data = talloc_memdup(r->again, m->data.data, m->data.len);
	return r->again->data.data != NULL || m->data.len == 0;
}

void controls_node_up(struct clients *cs, uint32_t pnn)
{
	dlist_for_each(e, &cs->controls->remotes)
	{
		struct remote *r = dlist_entry(e, struct remote, link);

		if (r->to == pnn && r->again != NULL) {
			(void)send_control(cs, pnn, r->again); /* the link is down again: then at the next time */
		}
	}
}

void controls_view_changed(struct clients *cs)
{
	dlist_for_each_safe(e, &cs->controls->remotes)
	{
		struct remote *r = dlist_entry(e, struct remote, link);

		if (r->again != NULL && !is_member(cs, r->to)) {
			client_reply_control(r->client, r->reqid, -1, NULL, 0, TEXT_LOST);
			talloc_free(r);
		}
	}
}

static int remote_destructor(struct remote *r)
{
	dlist_remove(&r->link);
	r->client->n_controls--;
	return 0;
}

static bool remote_arm(struct remote *r);

static void remote_timeout(void *priv)
{
	struct remote *r = priv;

	log_warning("node %u has not answered a control of client %u (pid %d) in time", r->to, r->client->id,
		    (int)r->client->pid);
	r->client->clients->count.timeouts_control++;
	if (waits_for_link(r) && remote_arm(r)) {
		(void)send_control(r->client->clients, r->to, r->again);
		return;
	}
	client_reply_control(r->client, r->reqid, -1, NULL, 0, TEXT_TIMEOUT);
	talloc_free(r);
}

static bool remote_arm(struct remote *r)
{
	const struct dbd *dbd = r->client->clients->dbd;

	return deadline_add(r, dbd, dbd->d->conf->database.control_timeout, remote_timeout, r) != NULL;
}

static struct remote *remote_new(struct client *c, uint32_t reqid, uint32_t pnn, uint32_t opcode)
{
	struct control_set *set = c->clients->controls;
	struct remote *r = talloc_zero(c, struct remote);

	if (r == NULL) {
		return NULL;
	}
	r->client = c;
	if (!remote_arm(r)) {
		talloc_free(r);
		return NULL;
	}
	r->reqid = reqid;
	r->to = pnn;
	r->opcode = opcode;
	r->id = ++set->last_id;
	dlist_add_tail(&set->remotes, &r->link);
	c->n_controls++;
	talloc_set_destructor(r, remote_destructor);
	return r;
}

static struct lane_control lane_control_of(const struct client *c, const struct classic_req_control *r)
{
	return (struct lane_control){
		.opcode = r->opcode,
		.srvid = r->srvid,
		.client_id = c->id,
		.flags = r->flags,
		.data = r->data,
	};
}

static void forward(struct client *c, uint32_t reqid, uint32_t pnn, const struct classic_req_control *r)
{
	struct lane_control m = lane_control_of(c, r);
	struct remote *remote = NULL;
	int rc;

	if (r->opcode == CLASSIC_CONTROL_PUSH_RECORD) {
		vacuum_push_seen(c->clients->dbd->vacuums, r->data.data, r->data.len);
	}
	if ((r->flags & CLASSIC_CTRL_FLAG_NOREPLY) != 0) {
		controls_send_oneway(c->clients, pnn, &m);
		return;
	}
	if (c->n_controls >= CLIENT_CONTROLS_MAX) {
		client_reply_control(c, reqid, -1, NULL, 0, "too many controls of this client wait for other nodes");
		return;
	}
	remote = remote_new(c, reqid, pnn, r->opcode);
	if (remote == NULL) {
		client_reply_control(c, reqid, -1, NULL, 0, "no memory");
		return;
	}
	m.id = remote->id;
	if (is_about_life(r->opcode) && !keep_question(remote, &m)) {
		client_disconnect(c, "no memory for its control %u", r->opcode);
		return;
	}
	rc = send_control(c->clients, pnn, &m);
	if (rc != 0 && !waits_for_link(remote)) {
		client_reply_control(c, reqid, -1, NULL, 0, rc == EHOSTUNREACH ? TEXT_DISCONNECTED : strerror(rc));
		talloc_free(remote);
	}
}

/* ---- what a client asks ---- */

struct broadcast {
	struct client *client;
	uint32_t reqid;
	const struct classic_req_control *r;
};

static void send_to(void *priv, uint32_t pnn)
{
	const struct broadcast *b = priv;

	if (pnn == b->client->clients->dbd->d->pnn) {
		run_for_client(b->client, b->reqid, b->r);
	} else {
		forward(b->client, b->reqid, pnn, b->r);
	}
}

void controls_from_client(struct client *c, uint32_t reqid, uint32_t dest, const struct classic_req_control *r)
{
	struct broadcast b = {.client = c, .reqid = reqid, .r = r};
	bool no_reply = (r->flags & CLASSIC_CTRL_FLAG_NOREPLY) != 0;

	if (dest_is_broadcast(dest) && !no_reply) {
		client_reply_control(c, reqid, -1, NULL, 0,
				     "a control to several nodes cannot be answered: set NOREPLY");
		return;
	}
	if (!dest_for_each(c->clients->dbd, dest, send_to, &b) && !no_reply) {
		client_reply_control(c, reqid, -1, NULL, 0, TEXT_DISCONNECTED);
	}
}

/* ---- answers of other nodes ---- */

static void remote_answered(struct remote *r, const struct lane_control_reply *m)
{
	struct ctdb_blob data = m->data;
	int rc = foreign_control(r, FOREIGN_IN, r->opcode, true, &data);

	if (rc == 0) {
		client_reply_control(r->client, r->reqid, m->status, data.data, data.len, m->error);
	} else {
		client_reply_control(r->client, r->reqid, -1, NULL, 0, strerror(rc));
	}
	talloc_free(r);
}

void controls_on_reply(struct clients *cs, uint32_t from, const struct lane_control_reply *m)
{
	cs->count.node_reply_control++;
	dlist_for_each(e, &cs->controls->remotes)
	{
		struct remote *r = dlist_entry(e, struct remote, link);

		if (r->id == m->id && r->to == from) {
			remote_answered(r, m);
			return;
		}
	}
	log_debug("answer of node %u to a control that nobody waits for", from);
}

void controls_node_lost(struct clients *cs, uint32_t pnn)
{
	dlist_for_each_safe(e, &cs->controls->remotes)
	{
		struct remote *r = dlist_entry(e, struct remote, link);

		if (r->to == pnn && !waits_for_link(r)) {
			client_reply_control(r->client, r->reqid, -1, NULL, 0, TEXT_LOST);
			talloc_free(r);
		}
	}
}

int controls_new(struct clients *cs, struct control_set **out)
{
	struct control_set *set = talloc_zero(cs, struct control_set);

	if (set == NULL) {
		return ENOMEM;
	}
	set->clients = cs;
	dlist_init(&set->remotes);
	*out = set;
	return 0;
}
