/* The databases' own lane: links to the other dbds, and what goes over them. */
#include "dbd/lane.h"

#include <errno.h>
#include <string.h>

#include "base/xdr_talloc.h"
#include "dbd/foreign.h"
#include "dbd/vacuum.h"
#include "protocol/transport_rpc.h"
#include "shared/link.h"
#include "shared/log.h"
#include "shared/msg.h"

/* Frame types below 16 are the link's own. */
#define LANE_FRAME_BASE  16U
#define LANE_QUEUE_BYTES (256U * 1024U * 1024U)
#define LANE_FRAME_MAX   (LANE_DATA_MAX + LANE_KEY_MAX + 4096U)

struct lane {
	struct dbd *dbd;
	struct link_mesh *mesh;
	struct xdr_buf out; /* the message that is being sent; the link copies it */
	uint64_t breaks[LANE_NODES];
	uint32_t slow; /* lane_slow_node() */
};

/* A message to ourselves. */
struct own_message {
	struct lane *lane;
	uint32_t proc;
	struct ctdb_blob buf;
};

/* ---- receiving ---- */

#define ON(name, type, ...)                                                                                            \
	static void on_##name(void *priv, struct rpc_call *call, const struct type *m)                                 \
	{                                                                                                              \
		struct dbd *dbd = ((struct lane *)priv)->dbd;                                                          \
		uint32_t from = call->source_node;                                                                     \
                                                                                                                       \
		__VA_ARGS__;                                                                                           \
	}

ON(call, lane_call, records_on_call(dbd->records, from, m))
ON(forward, lane_call, records_on_forward(dbd->records, from, m))
ON(grant, lane_grant, records_on_grant(dbd->records, from, m))
ON(vacuum, lane_vacuum, vacuums_on_keys(dbd->vacuums, from, m))
ON(vacuum_answer, lane_vacuum_answer, vacuums_on_answer(dbd->vacuums, from, m))
ON(ro_call, lane_call, records_on_ro_call(dbd->records, from, RECORD_RO_CALL, m))
ON(ro_forward, lane_call, records_on_ro_call(dbd->records, from, RECORD_RO_FORWARD, m))
ON(ro_copy, lane_grant, records_on_ro_copy(dbd->records, from, RECORD_RO_COPY, m))
ON(ro_revoke, lane_grant, records_on_ro_copy(dbd->records, from, RECORD_RO_REVOKE, m))
ON(ro_revoked, lane_call, records_on_ro_call(dbd->records, from, RECORD_RO_REVOKED, m))
ON(ro_retry, lane_call, records_on_ro_call(dbd->records, from, RECORD_RO_RETRY, m))
ON(too_large, lane_call, records_on_ro_call(dbd->records, from, RECORD_TOO_LARGE, m))
ON(message, lane_message, srvids_on_message(dbd->srvids, from, m))
/* With native structures inside: in the byte order of this machine from here on. */
#define ON_TURNED(name, type, bytes, turn, ...)                                                                        \
	static void on_##name(void *priv, struct rpc_call *call, const struct type *arg)                               \
	{                                                                                                              \
		struct dbd *dbd = ((struct lane *)priv)->dbd;                                                          \
		uint32_t from = call->source_node;                                                                     \
		struct type turned = *arg, *m = &turned;                                                               \
		struct ctdb_blob *b = &turned.bytes;                                                                   \
		uint8_t *before = b->data;                                                                             \
		int rc = turn;                                                                                         \
                                                                                                                       \
		if (rc != 0) {                                                                                         \
			log_error("lane: %s of node %u is lost: %s", #name, from, strerror(rc));                       \
			return;                                                                                        \
		}                                                                                                      \
		__VA_ARGS__;                                                                                           \
		if (b->data != before) {                                                                               \
			talloc_free(b->data);                                                                          \
		}                                                                                                      \
	}

ON_TURNED(control, lane_control, data, foreign_control(NULL, FOREIGN_IN, turned.opcode, false, b),
	  controls_on_control(dbd->clients, from, m))
ON(control_reply, lane_control_reply, controls_on_reply(dbd->clients, from, m))
ON(attach, lane_attach, attaches_on_attach(dbd->attaches, from, m))
ON(attach_reply, lane_attach_reply, attaches_on_reply(dbd->attaches, from, m))
ON_TURNED(update, lane_update, records, foreign_recbuf(NULL, FOREIGN_IN, b), commits_on_update(dbd->commits, from, m))
ON(update_reply, lane_update_reply, commits_on_reply(dbd->commits, from, m))
ON(traverse_start, lane_traverse_start, traverses_on_start(dbd->traverses, from, m))
ON_TURNED(traverse_data, lane_traverse_data, records, foreign_recdata(NULL, FOREIGN_IN, b),
	  traverses_on_data(dbd->traverses, from, m))
ON(traverse_end, lane_traverse_end, traverses_on_end(dbd->traverses, from, m))
ON(traverse_kill, lane_traverse_id, traverses_on_kill(dbd->traverses, from, m))
ON(traverse_credit, lane_traverse_id, traverses_on_credit(dbd->traverses, from, m))
ON(rec_begin, rec_begin, recovery_on_message(dbd->recovery, from, LANE_PROC_REC_BEGIN, m))
ON(rec_begin_reply, rec_begin_reply, recovery_on_message(dbd->recovery, from, LANE_PROC_REC_BEGIN_REPLY, m))
ON(rec_plan, rec_plan, recovery_on_message(dbd->recovery, from, LANE_PROC_REC_PLAN, m))
ON(rec_claims, rec_claims, recovery_on_message(dbd->recovery, from, LANE_PROC_REC_CLAIMS, m))
ON(rec_digests, rec_digests, recovery_on_message(dbd->recovery, from, LANE_PROC_REC_DIGESTS, m))
ON(rec_want, rec_want, recovery_on_message(dbd->recovery, from, LANE_PROC_REC_WANT, m))
ON(rec_ack, rec_ack, recovery_on_message(dbd->recovery, from, LANE_PROC_REC_ACK, m))
ON(rec_orders, rec_orders, recovery_on_message(dbd->recovery, from, LANE_PROC_REC_ORDERS, m))
ON(rec_content_state, rec_content_state, recovery_on_message(dbd->recovery, from, LANE_PROC_REC_CONTENT_STATE, m))
ON(rec_content_plan, rec_content_plan, recovery_on_message(dbd->recovery, from, LANE_PROC_REC_CONTENT_PLAN, m))
ON(rec_content_parts, rec_content_parts, recovery_on_message(dbd->recovery, from, LANE_PROC_REC_CONTENT_PARTS, m))
ON(rec_content_begin, rec_content_begin, recovery_on_message(dbd->recovery, from, LANE_PROC_REC_CONTENT_BEGIN, m))
ON_TURNED(rec_content, rec_content, records, foreign_recdata(NULL, FOREIGN_IN, b),
	  recovery_on_message(dbd->recovery, from, LANE_PROC_REC_CONTENT, m))
ON(rec_db_prepared, rec_db, recovery_on_message(dbd->recovery, from, LANE_PROC_REC_DB_PREPARED, m))
ON(rec_db_commit, rec_db, recovery_on_message(dbd->recovery, from, LANE_PROC_REC_DB_COMMIT, m))
ON(rec_end, rec_end, recovery_on_message(dbd->recovery, from, LANE_PROC_REC_END, m))
ON(rec_wanted, rec_wanted, recovery_on_message(dbd->recovery, from, LANE_PROC_REC_WANTED, m))

static const struct lane_server server = {
	.call = on_call,
	.forward = on_forward,
	.grant = on_grant,
	.vacuum = on_vacuum,
	.vacuum_answer = on_vacuum_answer,
	.ro_call = on_ro_call,
	.ro_forward = on_ro_forward,
	.ro_copy = on_ro_copy,
	.ro_revoke = on_ro_revoke,
	.ro_revoked = on_ro_revoked,
	.ro_retry = on_ro_retry,
	.too_large = on_too_large,
	.message = on_message,
	.control = on_control,
	.control_reply = on_control_reply,
	.attach = on_attach,
	.attach_reply = on_attach_reply,
	.update = on_update,
	.update_reply = on_update_reply,
	.traverse_start = on_traverse_start,
	.traverse_data = on_traverse_data,
	.traverse_end = on_traverse_end,
	.traverse_kill = on_traverse_kill,
	.traverse_credit = on_traverse_credit,
	.rec_begin = on_rec_begin,
	.rec_begin_reply = on_rec_begin_reply,
	.rec_plan = on_rec_plan,
	.rec_claims = on_rec_claims,
	.rec_digests = on_rec_digests,
	.rec_want = on_rec_want,
	.rec_ack = on_rec_ack,
	.rec_orders = on_rec_orders,
	.rec_content_state = on_rec_content_state,
	.rec_content_plan = on_rec_content_plan,
	.rec_content_parts = on_rec_content_parts,
	.rec_content_begin = on_rec_content_begin,
	.rec_content = on_rec_content,
	.rec_db_prepared = on_rec_db_prepared,
	.rec_db_commit = on_rec_db_commit,
	.rec_end = on_rec_end,
	.rec_wanted = on_rec_wanted,
};

static void node_lost(struct lane *l, uint32_t pnn);

static void handle(struct lane *l, uint32_t from, uint32_t proc, const uint8_t *data, size_t len)
{
	/* All procedures are one-way: no handler keeps it. */
	struct rpc_call call = {.source_node = from, .source_endpoint = "db", .source_uid = UINT32_MAX, .oneway = true};
	int ret = lane_dispatch(&server, l, &call, proc, data, len);

	if (ret != 0) {
		log_warning("lane: malformed %s (procedure %u, %zu bytes) from node %u: closing the link",
			    lane_proc_name(proc), proc, len, from);
		link_drop(l->mesh, from);
		node_lost(l, from);
	}
}

static void frame(void *priv, uint32_t pnn, uint32_t type, const uint8_t *data, size_t len)
{
	handle(priv, pnn, type - LANE_FRAME_BASE, data, len);
}

static void up(void *priv, uint32_t pnn, uint64_t incarnation)
{
	struct lane *l = priv;

	log_info("lane: link to dbd of node %u is up", pnn);
	recovery_link_changed(l->dbd->recovery, pnn, true);
	controls_node_up(l->dbd->clients, pnn);
}

/* What was on its way is lost. Everybody who waits for that node must know before anything new is sent to it. */
static void node_lost(struct lane *l, uint32_t pnn)
{
	if (pnn < LANE_NODES) {
		l->breaks[pnn]++;
	}
	commits_node_lost(l->dbd->commits, pnn);
	traverses_node_lost(l->dbd->traverses, pnn);
	attaches_node_lost(l->dbd->attaches, pnn);
	controls_node_lost(l->dbd->clients, pnn);
	recovery_link_changed(l->dbd->recovery, pnn, false);
}

static void down(void *priv, uint32_t pnn, int reason)
{
	log_info("lane: link to dbd of node %u is down: %s", pnn, strerror(reason));
	node_lost(priv, pnn);
}

/* ---- sending ---- */

/* A node that was given up in the middle of something: whoever sends must be done before he is told. */
struct lost_node {
	struct lane *lane;
	uint32_t pnn;
};

static void lost_deliver(struct tevent_context *ev, struct tevent_immediate *im, void *priv)
{
	struct lost_node *n = priv;

	(void)ev;
	(void)im;
	node_lost(n->lane, n->pnn);
	talloc_free(n);
}

/* The link can only come up again by an event of its socket: immediate events come before. */
static void node_lost_soon(struct lane *l, uint32_t pnn)
{
	struct lost_node *n = talloc(l, struct lost_node);
	struct tevent_immediate *im = n != NULL ? tevent_create_immediate(n) : NULL;

	if (im == NULL) {
		talloc_free(n);
		node_lost(l, pnn);
		return;
	}
	*n = (struct lost_node){.lane = l, .pnn = pnn};
	tevent_schedule_immediate(im, l->dbd->d->ev, lost_deliver, n);
}

int lane_send(struct lane *l, uint32_t pnn, uint32_t proc, const uint8_t *buf, size_t len)
{
	union {
		const uint8_t *c;
		void *p;
	} base = {buf};
	struct iovec part = {.iov_base = base.p, .iov_len = len};
	int ret = link_send(l->mesh, pnn, LANE_FRAME_BASE + proc, &part, 1);

	/* A peer that takes nothing for so long is as good as gone; dropping single frames would break the order
	 * everybody relies on. */
	if (ret == ENOBUFS) {
		log_error("lane: %zu bytes wait for node %u and it does not take them: closing the link",
			  link_queued(l->mesh, pnn), pnn);
		link_drop(l->mesh, pnn);
		node_lost_soon(l, pnn);
		ret = EHOSTUNREACH;
	} else if (ret == 0 && link_queued(l->mesh, pnn) >= LANE_HIGH) {
		l->slow = pnn;
	}
	return ret;
}

static void own_deliver(struct tevent_context *ev, struct tevent_immediate *im, void *priv)
{
	struct own_message *o = priv;
	struct lane *l = o->lane;

	(void)ev;
	(void)im;
	handle(l, l->dbd->d->pnn, o->proc, o->buf.data, o->buf.len);
	talloc_free(o);
}

static int own_post(struct lane *l, uint32_t proc, const struct ctdb_blob *buf)
{
	struct own_message *o = talloc_zero(l, struct own_message);
	struct tevent_immediate *im = o != NULL ? tevent_create_immediate(o) : NULL;

	if (im != NULL) {
		o->buf = (struct ctdb_blob){buf->len, talloc_memdup(o, buf->data, buf->len)};
	}
	if (im == NULL || o->buf.data == NULL) {
		talloc_free(o);
		return ENOMEM;
	}
	o->lane = l;
	o->proc = proc;
	tevent_schedule_immediate(im, l->dbd->d->ev, own_deliver, o);
	return 0;
}

#define ENCODE(PROC, type)                                                                                             \
	case LANE_PROC_##PROC:                                                                                         \
		return type##_encode_to(l, &l->out, msg, buf)

static int encode_content(struct lane *l, const struct rec_content *content, struct ctdb_blob *buf)
{
	struct rec_content m = *content;
	int ret = foreign_recdata(l, FOREIGN_OUT, &m.records);

	if (ret == 0) {
		ret = rec_content_encode_to(l, &l->out, &m, buf);
	}
	if (m.records.data != content->records.data) {
		talloc_free(m.records.data);
	}
	return ret;
}

static int encode(struct lane *l, enum lane_proc proc, const void *msg, struct ctdb_blob *buf)
{
	switch (proc) {
		ENCODE(CALL, lane_call);
		ENCODE(FORWARD, lane_call);
		ENCODE(GRANT, lane_grant);
		ENCODE(RO_CALL, lane_call);
		ENCODE(RO_FORWARD, lane_call);
		ENCODE(RO_COPY, lane_grant);
		ENCODE(RO_REVOKE, lane_grant);
		ENCODE(RO_REVOKED, lane_call);
		ENCODE(RO_RETRY, lane_call);
		ENCODE(TOO_LARGE, lane_call);
		ENCODE(MESSAGE, lane_message);
		ENCODE(CONTROL, lane_control);
		ENCODE(CONTROL_REPLY, lane_control_reply);
		ENCODE(ATTACH, lane_attach);
		ENCODE(ATTACH_REPLY, lane_attach_reply);
		ENCODE(UPDATE, lane_update);
		ENCODE(UPDATE_REPLY, lane_update_reply);
		ENCODE(TRAVERSE_START, lane_traverse_start);
		ENCODE(TRAVERSE_DATA, lane_traverse_data);
		ENCODE(TRAVERSE_END, lane_traverse_end);
		ENCODE(TRAVERSE_KILL, lane_traverse_id);
		ENCODE(TRAVERSE_CREDIT, lane_traverse_id);
		ENCODE(VACUUM, lane_vacuum);
		ENCODE(VACUUM_ANSWER, lane_vacuum_answer);
		ENCODE(REC_BEGIN, rec_begin);
		ENCODE(REC_BEGIN_REPLY, rec_begin_reply);
		ENCODE(REC_PLAN, rec_plan);
		ENCODE(REC_CLAIMS, rec_claims);
		ENCODE(REC_DIGESTS, rec_digests);
		ENCODE(REC_WANT, rec_want);
		ENCODE(REC_ACK, rec_ack);
		ENCODE(REC_ORDERS, rec_orders);
		ENCODE(REC_CONTENT_STATE, rec_content_state);
		ENCODE(REC_CONTENT_PLAN, rec_content_plan);
		ENCODE(REC_CONTENT_PARTS, rec_content_parts);
		ENCODE(REC_CONTENT_BEGIN, rec_content_begin);
	case LANE_PROC_REC_CONTENT:
		return encode_content(l, msg, buf);
		ENCODE(REC_DB_PREPARED, rec_db);
		ENCODE(REC_DB_COMMIT, rec_db);
		ENCODE(REC_END, rec_end);
		ENCODE(REC_WANTED, rec_wanted);
	}
	return EINVAL;
}

int lane_post(struct lane *l, uint32_t pnn, enum lane_proc proc, const void *msg)
{
	struct ctdb_blob buf = {0};
	int ret = encode(l, proc, msg, &buf);

	if (ret == 0) {
		ret = pnn == l->dbd->d->pnn ? own_post(l, proc, &buf) : lane_send(l, pnn, proc, buf.data, buf.len);
	}
	xdr_buf_trim(&l->out);
	return ret;
}

/* ---- state ---- */

bool lane_is_up(const struct lane *l, uint32_t pnn)
{
	return link_is_up(l->mesh, pnn);
}

size_t lane_queued(const struct lane *l, uint32_t pnn)
{
	return link_queued(l->mesh, pnn);
}

uint32_t lane_slow_node(struct lane *l)
{
	uint32_t pnn = l->slow;

	l->slow = NODE_UNKNOWN;
	return pnn;
}

uint64_t lane_incarnation(const struct lane *l, uint32_t pnn)
{
	return pnn == l->dbd->d->pnn ? l->dbd->d->incarnation : link_incarnation(l->mesh, pnn);
}

uint64_t lane_breaks(const struct lane *l, uint32_t pnn)
{
	return pnn < LANE_NODES ? l->breaks[pnn] : 0;
}

int lane_set_nodes(struct lane *l)
{
	return link_mesh_set_nodes(l->mesh, l->dbd->d->nodes);
}

/* ---- keys ---- */

/* *keys NULL: the links are not secured. */
static int keys_load(TALLOC_CTX *mem, const struct dbd *dbd, struct cluster_keys **keys, char **err)
{
	*keys = NULL;
	if (dbd->d->conf->transport.security == CONF_SECURITY_NONE) {
		return 0;
	}
	return cluster_keys_load(mem, dbd->d->conf->transport.key_file, keys, err);
}

/* From transportd, which has changed the file. */
static void on_keys_changed(void *priv, struct rpc_call *call)
{
	struct lane *l = priv;
	struct cluster_keys *keys;
	char *err = NULL;
	int ret = call->source_node == l->dbd->d->pnn ? keys_load(call, l->dbd, &keys, &err) : EPERM;

	if (ret == 0 && keys != NULL) {
		ret = link_mesh_set_keys(l->mesh, keys);
	}
	if (ret != 0) {
		log_error("lane: the keys stay as they were: %s", err != NULL ? err : strerror(ret));
		rpc_call_fail(call, ret);
		return;
	}
	transport_keys_changed_reply(call);
}

static int keys_dispatch(void *priv, struct rpc_call *call, uint32_t proc, const uint8_t *buf, size_t len)
{
	static const struct transport_server keys_server = {.keys_changed = on_keys_changed};

	return transport_dispatch(&keys_server, priv, call, proc, buf, len);
}

static int mesh_start(struct lane *l, struct link_config *config, char **err)
{
	static const struct link_ops ops = {.up = up, .down = down, .frame = frame};
	struct daemon *d = l->dbd->d;
	struct cluster_keys *keys;
	int ret = keys_load(l, l->dbd, &keys, err);

	if (ret != 0) {
		return ret;
	}
	config->keys = keys;
	ret = link_mesh_new(l, d->ev, config, d->nodes, &ops, l, &l->mesh, err);
	talloc_free(keys);
	return ret != 0 ? ret : msg_serve(d->msg, TRANSPORT_INTERFACE, TRANSPORT_VERSION, keys_dispatch, l);
}

int lane_new(TALLOC_CTX *mem, struct dbd *dbd, struct lane **lane, char **err)
{
	struct lane *l = talloc_zero(mem, struct lane);
	struct link_config config = {
		.name = "db",
		.port = dbd->d->conf->transport.db_port,
		.own_pnn = dbd->d->pnn,
		.incarnation = dbd->d->incarnation,
		.interface_version = dbd->d->conf->transport.interface_version != 0
					     ? dbd->d->conf->transport.interface_version
					     : LINK_INTERFACE,
		.n_classes = 1, /* the order between all frames matters */
		.heartbeat_ms = dbd->d->conf->cluster.heartbeat_interval,
		.dead_ms = dbd->d->conf->cluster.dead_interval,
		.reconnect_ms = 50,
		.max_frame = LANE_FRAME_MAX,
		.queue_bytes = LANE_QUEUE_BYTES,
	};
	int ret;

	if (l == NULL) {
		return ENOMEM;
	}
	l->slow = NODE_UNKNOWN;
	l->dbd = dbd;
	l->slow = NODE_UNKNOWN;
	ret = mesh_start(l, &config, err);
	if (ret != 0) {
		talloc_free(l);
		return ret;
	}
	*lane = l;
	return 0;
}
