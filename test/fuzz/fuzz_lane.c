/* What another dbd sends: [procedure] [length] [argument], again and again. Arguments are decoded, encoded again and
 * compared; those of the client side are also given to it, those about records to a record engine. */
#include "fuzz_dbd.h"
#include "fuzz_engine.h"

#include "base/xdr_talloc.h"
#include "dbd/foreign.h"
#include "protocol/lane_rpc.h"
#include "protocol/lane_table.h"

struct feed {
	uint32_t from;
	struct xdr_buf buf;
	const uint8_t *frame;
	size_t len;
	struct fuzz_engine *engine;
};

/* What was decoded is what was sent: the same bytes, but for a tail that a newer version may have added. */
#define SAME(type)                                                                                                     \
	static void same_##type(struct feed *f, const struct type *m)                                                  \
	{                                                                                                              \
		struct ctdb_blob out;                                                                                  \
                                                                                                                       \
		MUST(type##_encode_to(NULL, &f->buf, m, &out) == 0);                                                   \
		MUST(out.len <= f->len && memcmp(out.data, f->frame, out.len) == 0);                                   \
	}

#define ON(name, type, ...)                                                                                            \
	static void on_##name(void *priv, struct rpc_call *call, const struct type *m)                                 \
	{                                                                                                              \
		struct feed *f = priv;                                                                                 \
                                                                                                                       \
		same_##type(f, m);                                                                                     \
		__VA_ARGS__;                                                                                           \
	}

SAME(lane_call)
SAME(lane_grant)
SAME(lane_message)
SAME(lane_control)
SAME(lane_control_reply)
SAME(lane_attach)
SAME(lane_attach_reply)
SAME(lane_update)
SAME(lane_update_reply)
SAME(lane_traverse_start)
SAME(lane_traverse_data)
SAME(lane_traverse_end)
SAME(lane_traverse_id)
SAME(rec_begin)
SAME(rec_begin_reply)
SAME(rec_plan)
SAME(rec_claims)
SAME(rec_ack)
SAME(rec_orders)
SAME(rec_content_state)
SAME(rec_content_plan)
SAME(rec_content_parts)
SAME(rec_content_begin)
SAME(rec_content)
SAME(rec_db)
SAME(rec_end)
SAME(rec_wanted)

/* A machine of the other byte order turns what it sends and gets: twice is as if never, whatever the bytes. */
static void turn_twice(const struct lane_control *m)
{
	uint8_t *copy = talloc_memdup(NULL, m->data.data, m->data.len);

	MUST(copy != NULL || m->data.len == 0);
	for (int reply = 0; reply <= 1 && m->data.len > 0; reply++) {
		size_t used = foreign_turn_control(copy, m->data.len, FOREIGN_OUT, m->opcode, reply);

		MUST(used <= m->data.len);
		MUST(foreign_turn_control(copy, m->data.len, FOREIGN_IN, m->opcode, reply) == used);
		MUST(memcmp(copy, m->data.data, m->data.len) == 0);
	}
	talloc_free(copy);
}

ON(call, lane_call, fuzz_engine_call(f->engine, f->from, LANE_PROC_CALL, m))
ON(forward, lane_call, fuzz_engine_call(f->engine, f->from, LANE_PROC_FORWARD, m))
ON(grant, lane_grant, fuzz_engine_copy(f->engine, f->from, LANE_PROC_GRANT, m))
ON(ro_call, lane_call, fuzz_engine_call(f->engine, f->from, LANE_PROC_RO_CALL, m))
ON(ro_forward, lane_call, fuzz_engine_call(f->engine, f->from, LANE_PROC_RO_FORWARD, m))
ON(ro_copy, lane_grant, fuzz_engine_copy(f->engine, f->from, LANE_PROC_RO_COPY, m))
ON(ro_revoke, lane_grant, fuzz_engine_copy(f->engine, f->from, LANE_PROC_RO_REVOKE, m))
ON(ro_revoked, lane_call, fuzz_engine_call(f->engine, f->from, LANE_PROC_RO_REVOKED, m))
ON(ro_retry, lane_call, fuzz_engine_call(f->engine, f->from, LANE_PROC_RO_RETRY, m))
ON(too_large, lane_call, fuzz_engine_call(f->engine, f->from, LANE_PROC_TOO_LARGE, m))
ON(message, lane_message, srvids_on_message(fake->dbd->srvids, f->from, m))
ON(control, lane_control, turn_twice(m); controls_on_control(fake->dbd->clients, f->from, m))
ON(control_reply, lane_control_reply, controls_on_reply(fake->dbd->clients, f->from, m))
ON(attach, lane_attach, attaches_on_attach(fake->dbd->attaches, f->from, m))
ON(attach_reply, lane_attach_reply, attaches_on_reply(fake->dbd->attaches, f->from, m))
ON(update, lane_update, commits_on_update(fake->dbd->commits, f->from, m))
ON(update_reply, lane_update_reply, commits_on_reply(fake->dbd->commits, f->from, m))
ON(traverse_start, lane_traverse_start, traverses_on_start(fake->dbd->traverses, f->from, m))
ON(traverse_data, lane_traverse_data, traverses_on_data(fake->dbd->traverses, f->from, m))
ON(traverse_end, lane_traverse_end, traverses_on_end(fake->dbd->traverses, f->from, m))
ON(traverse_kill, lane_traverse_id, traverses_on_kill(fake->dbd->traverses, f->from, m))
ON(traverse_credit, lane_traverse_id, traverses_on_credit(fake->dbd->traverses, f->from, m))
ON(rec_begin, rec_begin, (void)0)
ON(rec_begin_reply, rec_begin_reply, (void)0)
ON(rec_plan, rec_plan, (void)0)
ON(rec_claims, rec_claims, (void)0)
ON(rec_ack, rec_ack, (void)0)
ON(rec_orders, rec_orders, (void)0)
ON(rec_content_state, rec_content_state, (void)0)
ON(rec_content_plan, rec_content_plan, (void)0)
ON(rec_content_parts, rec_content_parts, (void)0)
ON(rec_content_begin, rec_content_begin, (void)0)
ON(rec_content, rec_content, (void)0)
ON(rec_db_any, rec_db, (void)0)
ON(rec_end, rec_end, (void)0)
ON(rec_wanted, rec_wanted, (void)0)

static const struct lane_server server = {
	.call = on_call,
	.forward = on_forward,
	.grant = on_grant,
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
	.rec_ack = on_rec_ack,
	.rec_orders = on_rec_orders,
	.rec_content_state = on_rec_content_state,
	.rec_content_plan = on_rec_content_plan,
	.rec_content_parts = on_rec_content_parts,
	.rec_content_begin = on_rec_content_begin,
	.rec_content = on_rec_content,
	.rec_db_prepared = on_rec_db_any,
	.rec_db_commit = on_rec_db_any,
	.rec_end = on_rec_end,
	.rec_wanted = on_rec_wanted,
};

static void frame(struct feed *f, struct fuzz_in *in)
{
	uint8_t proc = fuzz_byte(in);
	size_t len;
	uint8_t *copy = fuzz_take(in, fuzz_u16(in), &len);
	struct rpc_call call = {
		.source_node = f->from, .source_endpoint = "db", .source_uid = UINT32_MAX, .oneway = true};
	int ret;

	f->frame = copy;
	f->len = len;
	ret = lane_dispatch(&server, f, &call, proc, copy, len);
	MUST(ret == 0 || ret == EBADMSG || ret == ENOSYS);
	free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_in in = {data, size};
	uint8_t how = fuzz_byte(&in);
	struct feed f = {.from = how & 1 ? 2 : 1};
	int fd = fuzz_dbd_begin();

	f.engine = fuzz_engine_new(how);
	fake->normal = (how & 2) == 0;
	fake->up[1] = true;
	while (in.left > 0 && fake->n_jobs < 32 && fake->n_sent < 32) {
		frame(&f, &in);
		if ((how & 4) != 0) {
			fuzz_dbd_finish_work(&in);
		}
	}
	if ((how & 8) != 0) {
		commits_node_lost(fake->dbd->commits, f.from);
		traverses_node_lost(fake->dbd->traverses, f.from);
		attaches_node_lost(fake->dbd->attaches, f.from);
		controls_node_lost(fake->dbd->clients, f.from);
	}
	fuzz_dbd_finish_work(&in);
	fuzz_engine_end(f.engine);
	fuzz_dbd_end(fd);
	talloc_free(f.buf.data);
	return 0;
}
