/* Payloads as bytes: times, statistics, records. */
#include "internal.h"

#include <errno.h>

#include <ctdb/wire.h>

#include "local.h"
#include "protocol/classic_native.h"

static struct timeval timeval_get(struct classic_timeval t)
{
	return (struct timeval){.tv_sec = t.sec, .tv_usec = t.usec};
}

static struct classic_timeval timeval_put(struct timeval t)
{
	return (struct classic_timeval){.sec = t.tv_sec, .usec = t.tv_usec};
}

int ctdb_wire_get_uptime(struct ctdb_data in, struct ctdb_uptime *out)
{
	struct classic_uptime wire;

	if (classic_uptime_nview(in.data, in.len, &wire, NULL) != 0) {
		return EBADMSG;
	}
	*out = (struct ctdb_uptime){
		.now = timeval_get(wire.current_time),
		.started = timeval_get(wire.start_time),
		.recovery_started = timeval_get(wire.last_recovery_started),
		.recovery_finished = timeval_get(wire.last_recovery_finished),
	};
	return 0;
}

int ctdb_wire_put_uptime(TALLOC_CTX *mem, const struct ctdb_uptime *in, struct ctdb_data *out)
{
	struct classic_uptime wire = {
		.current_time = timeval_put(in->now),
		.start_time = timeval_put(in->started),
		.last_recovery_started = timeval_put(in->recovery_started),
		.last_recovery_finished = timeval_put(in->recovery_finished),
	};
	struct ctdb_blob blob = {.len = 0};
	int err = classic_uptime_nencode(mem, &wire, &blob);

	if (err == 0) {
		*out = data_of_blob(blob);
	}
	return err;
}

/* ---- statistics ---- */

static struct ctdb_latency latency_get(const struct classic_latency *in)
{
	return (struct ctdb_latency){.n = (uint32_t)in->num, .min = in->min, .max = in->max, .total = in->total};
}

static struct classic_latency latency_put(const struct ctdb_latency *in)
{
	return (struct classic_latency){.num = (int32_t)in->n, .min = in->min, .max = in->max, .total = in->total};
}

static struct ctdb_lock_stats locks_get(const struct classic_lock_stats *in)
{
	struct ctdb_lock_stats out = {.calls = in->num_calls,
				      .current = in->num_current,
				      .pending = in->num_pending,
				      .failed = in->num_failed,
				      .latency = latency_get(&in->latency)};

	memcpy(out.buckets, in->buckets, sizeof(out.buckets));
	return out;
}

static struct classic_lock_stats locks_put(const struct ctdb_lock_stats *in)
{
	struct classic_lock_stats out = {.num_calls = in->calls,
					 .num_current = in->current,
					 .num_pending = in->pending,
					 .num_failed = in->failed,
					 .latency = latency_put(&in->latency)};

	memcpy(out.buckets, in->buckets, sizeof(out.buckets));
	return out;
}

/* Each counter once, for both directions: here, on the wire. */
#define COUNTERS(X)                                                                                                    \
	X(clients, num_clients)                                                                                        \
	X(frozen, frozen)                                                                                              \
	X(recovering, recovering)                                                                                      \
	X(client_packets_sent, client_packets_sent)                                                                    \
	X(client_packets_received, client_packets_recv)                                                                \
	X(node_packets_sent, node_packets_sent)                                                                        \
	X(node_packets_received, node_packets_recv)                                                                    \
	X(keepalive_packets_sent, keepalive_packets_sent)                                                              \
	X(keepalive_packets_received, keepalive_packets_recv)                                                          \
	X(node.req_call, node_req_call)                                                                                \
	X(node.reply_call, node_reply_call)                                                                            \
	X(node.req_dmaster, node_req_dmaster)                                                                          \
	X(node.reply_dmaster, node_reply_dmaster)                                                                      \
	X(node.reply_error, node_reply_error)                                                                          \
	X(node.req_message, node_req_message)                                                                          \
	X(node.req_control, node_req_control)                                                                          \
	X(node.reply_control, node_reply_control)                                                                      \
	X(node.req_tunnel, node_req_tunnel)                                                                            \
	X(client.req_call, client_req_call)                                                                            \
	X(client.req_message, client_req_message)                                                                      \
	X(client.req_control, client_req_control)                                                                      \
	X(client.req_tunnel, client_req_tunnel)                                                                        \
	X(timeouts.call, timeouts_call)                                                                                \
	X(timeouts.control, timeouts_control)                                                                          \
	X(timeouts.traverse, timeouts_traverse)                                                                        \
	X(total_calls, total_calls)                                                                                    \
	X(pending_calls, pending_calls)                                                                                \
	X(childwrite_calls, childwrite_calls)                                                                          \
	X(pending_childwrite_calls, pending_childwrite_calls)                                                          \
	X(memory_used, memory_used)                                                                                    \
	X(max_hop_count, max_hop_count)                                                                                \
	X(recoveries, num_recoveries)                                                                                  \
	X(readonly_delegations, total_ro_delegations)                                                                  \
	X(readonly_revokes, total_ro_revokes)

int ctdb_wire_get_statistics(TALLOC_CTX *mem, struct ctdb_data in, struct ctdb_statistics **out)
{
	struct classic_statistics wire;
	struct ctdb_statistics *s;

	if (classic_statistics_nview(in.data, in.len, &wire, NULL) != 0) {
		return EBADMSG;
	}
	s = talloc_zero(mem, struct ctdb_statistics);
	if (s == NULL) {
		return ENOMEM;
	}
#define GET(here, there) s->here = wire.there;
	COUNTERS(GET)
#undef GET
	s->cluster_lock_daemon = latency_get(&wire.reclock_daemon);
	s->cluster_lock_recovery = latency_get(&wire.reclock_recd);
	s->locks = locks_get(&wire.locks);
	memcpy(s->hop_count_buckets, wire.hop_count_buckets, sizeof(s->hop_count_buckets));
	s->call_latency = latency_get(&wire.call_latency);
	s->childwrite_latency = latency_get(&wire.childwrite_latency);
	s->started = timeval_get(wire.start_time);
	s->now = timeval_get(wire.current_time);
	*out = s;
	return 0;
}

int ctdb_wire_put_statistics(TALLOC_CTX *mem, const struct ctdb_statistics *s, struct ctdb_data *out)
{
	struct classic_statistics wire = {
		.reclock_daemon = latency_put(&s->cluster_lock_daemon),
		.reclock_recd = latency_put(&s->cluster_lock_recovery),
		.locks = locks_put(&s->locks),
		.call_latency = latency_put(&s->call_latency),
		.childwrite_latency = latency_put(&s->childwrite_latency),
		.start_time = timeval_put(s->started),
		.current_time = timeval_put(s->now),
	};
	struct ctdb_blob blob = {.len = 0};
	int err;

#define PUT(here, there) wire.there = s->here;
	COUNTERS(PUT)
#undef PUT
	memcpy(wire.hop_count_buckets, s->hop_count_buckets, sizeof(wire.hop_count_buckets));
	err = classic_statistics_nencode(mem, &wire, &blob);
	if (err == 0) {
		*out = data_of_blob(blob);
	}
	return err;
}

/* The keys stand one after the other; how long each is says its entry. */
static int hot_keys_get(const struct classic_db_statistics *wire, struct ctdb_db_statistics *s)
{
	size_t at = 0;
	uint32_t i;

	s->hot_keys = talloc_zero_array(s, struct ctdb_hot_key, CLASSIC_HOT_KEYS);
	if (s->hot_keys == NULL) {
		return ENOMEM;
	}
	for (i = 0; i < CLASSIC_HOT_KEYS && i < wire->num_hot_keys; i++) {
		uint64_t len = wire->hot_keys[i].keylen;
		struct ctdb_hot_key *k = &s->hot_keys[s->n_hot_keys];

		if (len > wire->keys.len - at) {
			return EBADMSG;
		}
		if (wire->hot_keys[i].count != 0 && len > 0) {
			k->count = wire->hot_keys[i].count;
			k->key = data_of(talloc_memdup(s->hot_keys, wire->keys.data + at, len), len);
			if (k->key.data == NULL) {
				return ENOMEM;
			}
			s->n_hot_keys++;
		}
		at += len;
	}
	return 0;
}

int ctdb_wire_get_db_statistics(TALLOC_CTX *mem, struct ctdb_data in, struct ctdb_db_statistics **out)
{
	struct classic_db_statistics wire;
	struct ctdb_db_statistics *s;
	int err;

	if (classic_db_statistics_nview(in.data, in.len, &wire, NULL) != 0) {
		return EBADMSG;
	}
	s = talloc_zero(mem, struct ctdb_db_statistics);
	if (s == NULL) {
		return ENOMEM;
	}
	s->locks = locks_get(&wire.locks);
	s->vacuum = latency_get(&wire.vacuum);
	s->readonly_delegations = wire.ro_delegations;
	s->readonly_revokes = wire.ro_revokes;
	memcpy(s->hop_count_buckets, wire.hop_count_buckets, sizeof(s->hop_count_buckets));
	err = hot_keys_get(&wire, s);
	if (err != 0) {
		talloc_free(s);
		return err;
	}
	*out = s;
	return 0;
}

/* ---- records ---- */

void ctdb_wire_put_record_header(const struct ctdb_record_header *header, uint8_t out[CTDB_WIRE_RECORD_HEADER_SIZE])
{
	struct classic_ltdb_header h = {.rsn = header->rsn, .dmaster = header->dmaster, .flags = header->flags};

	local_header_put(&h, out);
}

void ctdb_wire_get_record_header(const uint8_t in[CTDB_WIRE_RECORD_HEADER_SIZE], struct ctdb_record_header *header)
{
	struct classic_ltdb_header h;

	local_header_get(in, &h);
	*header = (struct ctdb_record_header){.rsn = h.rsn, .dmaster = h.dmaster, .flags = h.flags};
}

int ctdb_wire_get_record(struct ctdb_data in, struct ctdb_wire_record *out)
{
	struct classic_rec_data wire;

	if (classic_rec_data_nview(in.data, in.len, &wire, NULL) != 0) {
		return EBADMSG;
	}
	*out = (struct ctdb_wire_record){
		.reqid = wire.reqid, .key = data_of_blob(wire.key), .value = data_of_blob(wire.data)};
	return 0;
}

static bool record_fits(const struct ctdb_wire_record *r)
{
	return r->key.len <= CLASSIC_KEY_MAX && r->value.len <= CLASSIC_DATA_MAX;
}

static struct classic_rec_data record_put(const struct ctdb_wire_record *r)
{
	return (struct classic_rec_data){.reqid = r->reqid, .key = blob_of(r->key), .data = blob_of(r->value)};
}

int ctdb_wire_put_record(TALLOC_CTX *mem, const struct ctdb_wire_record *in, struct ctdb_data *out)
{
	struct classic_rec_data wire = record_put(in);
	struct ctdb_blob blob = {.len = 0};
	int err = record_fits(in) ? classic_rec_data_nencode(mem, &wire, &blob) : EMSGSIZE;

	if (err == 0) {
		*out = data_of_blob(blob);
	}
	return err;
}

int ctdb_wire_get_records(TALLOC_CTX *mem, struct ctdb_data in, struct ctdb_wire_records **out)
{
	struct classic_rec_buffer wire;
	struct ctdb_wire_records *list = talloc_zero(mem, struct ctdb_wire_records);
	uint32_t i;
	int err = list == NULL ? ENOMEM : classic_rec_buffer_ndecode(list, in.data, in.len, &wire, NULL);

	if (err == 0) {
		list->records = talloc_zero_array(list, struct ctdb_wire_record, wire.records.n + 1U);
		err = list->records == NULL ? ENOMEM : 0;
	}
	if (err != 0) {
		talloc_free(list);
		return err == ENOMEM ? err : EBADMSG;
	}
	list->db_id = wire.db_id;
	list->n = wire.records.n;
	for (i = 0; i < list->n; i++) {
		list->records[i] = (struct ctdb_wire_record){.reqid = wire.records.v[i].reqid,
							     .key = data_of_blob(wire.records.v[i].key),
							     .value = data_of_blob(wire.records.v[i].data)};
	}
	*out = list;
	return 0;
}

int ctdb_wire_put_records(TALLOC_CTX *mem, const struct ctdb_wire_records *in, struct ctdb_data *out)
{
	struct classic_rec_buffer wire = {.db_id = in->db_id, .records = {.n = in->n}};
	struct ctdb_blob blob = {.len = 0};
	uint32_t i;
	int err = 0;

	if (in->n > CLASSIC_RECORDS_MAX) {
		return EMSGSIZE;
	}
	wire.records.v = talloc_zero_array(mem, struct classic_rec_data, (size_t)in->n + 1);
	if (wire.records.v == NULL) {
		return ENOMEM;
	}
	for (i = 0; i < in->n && err == 0; i++) {
		err = record_fits(&in->records[i]) ? 0 : EMSGSIZE;
		wire.records.v[i] = record_put(&in->records[i]);
	}
	if (err == 0) {
		err = classic_rec_buffer_nencode(mem, &wire, &blob);
	}
	talloc_free(wire.records.v);
	if (err == 0) {
		*out = data_of_blob(blob);
	}
	return err;
}
