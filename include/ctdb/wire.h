/* The bytes of the client socket: packets and payloads, without a connection. For proxies, decoders, servers and tests.
 */
#ifndef CTDB_WIRE_H
#define CTDB_WIRE_H

#include <ctdb/control.h>
#include <ctdb/db.h>
#include <ctdb/ip.h>
#include <ctdb/record.h>
#include <ctdb/stats.h>

/*
 * Numbers are in the byte order of the machine, structures laid out as on x86-64. Lengths inside are checked against
 * the bytes present. Errors: EBADMSG (malformed), ENOMEM, EMSGSIZE (too large for the protocol).
 */

#define CTDB_WIRE_HEADER_SIZE 32U
#define CTDB_WIRE_PACKET_MAX  (256U * 1024 * 1024)

/* ---- packets ---- */

enum ctdb_wire_operation {
	CTDB_WIRE_REQ_CALL = 0,
	CTDB_WIRE_REPLY_CALL = 1,
	CTDB_WIRE_REPLY_ERROR = 4, /* instead of REPLY_CALL or REPLY_CONTROL */
	CTDB_WIRE_REQ_MESSAGE = 5,
	CTDB_WIRE_REQ_CONTROL = 7,
	CTDB_WIRE_REPLY_CONTROL = 8,
	CTDB_WIRE_REQ_TUNNEL = 10,
};

/* callid of a call */
#define CTDB_WIRE_CALL_NULL              0xFF000001U /* brings the record here; answer without data */
#define CTDB_WIRE_CALL_FETCH             0xFF000002U /* answer: data */
#define CTDB_WIRE_CALL_FETCH_WITH_HEADER 0xFF000003U /* answer: record header (24 bytes) and data */
/* flags of a call */
#define CTDB_WIRE_CALL_IMMEDIATE_MIGRATION 0x1U
#define CTDB_WIRE_CALL_WANT_READONLY       0x4U

struct ctdb_wire_req_call {
	uint32_t flags, db_id, callid, hopcount;
	struct ctdb_data key, calldata;
};

struct ctdb_wire_reply_call {
	int32_t status;
	struct ctdb_data data;
};

struct ctdb_wire_reply_error {
	int32_t status;
	struct ctdb_data text; /* with its NUL */
};

struct ctdb_wire_req_message {
	uint64_t srvid;
	struct ctdb_data data;
};

struct ctdb_wire_req_control {
	uint32_t opcode; /* enum ctdb_control_number */
	uint64_t srvid;
	uint32_t client_id; /* set by daemons */
	uint32_t flags;     /* CTDB_CONTROL_NOREPLY and others */
	struct ctdb_data data;
};

struct ctdb_wire_reply_control {
	int32_t status;
	struct ctdb_data data;
	struct ctdb_data error; /* text without NUL */
};

struct ctdb_wire_req_tunnel {
	uint64_t tunnel_id;
	uint32_t flags;
	struct ctdb_data data;
};

struct ctdb_wire_packet {
	uint32_t operation; /* enum ctdb_wire_operation */
	uint32_t generation, destnode, srcnode, reqid;
	union {
		struct ctdb_wire_req_call call;
		struct ctdb_wire_reply_call reply_call;
		struct ctdb_wire_reply_error error;
		struct ctdb_wire_req_message message;
		struct ctdb_wire_req_control control;
		struct ctdb_wire_reply_control reply_control;
		struct ctdb_wire_req_tunnel tunnel;
	} u;
};

/*
 * The packet at the start of buf; its data point into buf. 0: *used is its length. EAGAIN: not complete, *used is its
 * length, or CTDB_WIRE_HEADER_SIZE if that is not known yet. ENOTSUP: another operation, *used is its length (header
 * fields are set). EBADMSG: no packet; where the next one starts is not known.
 */
int ctdb_wire_parse(const uint8_t *buf, size_t len, struct ctdb_wire_packet *packet, size_t *used);
/* The whole packet, padded to a multiple of 8, below mem. EINVAL: no such operation. */
int ctdb_wire_build(TALLOC_CTX *mem, const struct ctdb_wire_packet *packet, struct ctdb_data *out);

/* ---- payloads: what controls take and answer. get: a new object below mem; put: new bytes below mem ---- */

/* Answers of GET_NODEMAP (91), GETVNNMAP (5), GET_DBMAP (9), GET_IFACES (124), GET_PUBLIC_IPS (90), GET_PUBLIC_IP_INFO
 * (123). */
int ctdb_wire_get_nodemap(TALLOC_CTX *mem, struct ctdb_data in, struct ctdb_nodemap **out);
int ctdb_wire_put_nodemap(TALLOC_CTX *mem, const struct ctdb_nodemap *in, struct ctdb_data *out);
int ctdb_wire_get_vnnmap(TALLOC_CTX *mem, struct ctdb_data in, struct ctdb_vnnmap **out);
int ctdb_wire_put_vnnmap(TALLOC_CTX *mem, const struct ctdb_vnnmap *in, struct ctdb_data *out);
int ctdb_wire_get_db_list(TALLOC_CTX *mem, struct ctdb_data in, struct ctdb_db_list **out);
int ctdb_wire_put_db_list(TALLOC_CTX *mem, const struct ctdb_db_list *in, struct ctdb_data *out);
int ctdb_wire_get_ifaces(TALLOC_CTX *mem, struct ctdb_data in, struct ctdb_iface_list **out);
int ctdb_wire_put_ifaces(TALLOC_CTX *mem, const struct ctdb_iface_list *in, struct ctdb_data *out);
int ctdb_wire_get_public_ips(TALLOC_CTX *mem, struct ctdb_data in, struct ctdb_public_ip_list **out);
int ctdb_wire_put_public_ips(TALLOC_CTX *mem, const struct ctdb_public_ip_list *in, struct ctdb_data *out);
int ctdb_wire_get_public_ip_info(TALLOC_CTX *mem, struct ctdb_data in, struct ctdb_public_ip_info **out);
int ctdb_wire_put_public_ip_info(TALLOC_CTX *mem, const struct ctdb_public_ip_info *in, struct ctdb_data *out);
/* Payload of GET_PUBLIC_IP_INFO: 28 bytes. */
int ctdb_wire_get_addr(struct ctdb_data in, union ctdb_addr *out);
int ctdb_wire_put_addr(TALLOC_CTX *mem, const union ctdb_addr *in, struct ctdb_data *out);
/* Answers of UPTIME (69), STATISTICS (1), GET_DB_STATISTICS (132). */
int ctdb_wire_get_uptime(struct ctdb_data in, struct ctdb_uptime *out);
int ctdb_wire_put_uptime(TALLOC_CTX *mem, const struct ctdb_uptime *in, struct ctdb_data *out);
int ctdb_wire_get_statistics(TALLOC_CTX *mem, struct ctdb_data in, struct ctdb_statistics **out);
int ctdb_wire_put_statistics(TALLOC_CTX *mem, const struct ctdb_statistics *in, struct ctdb_data *out);
int ctdb_wire_get_db_statistics(TALLOC_CTX *mem, struct ctdb_data in, struct ctdb_db_statistics **out);

/* ---- records ---- */

#define CTDB_WIRE_RECORD_HEADER_SIZE 24U

/* What is in front of the data in files and streams. */
void ctdb_wire_put_record_header(const struct ctdb_record_header *header, uint8_t out[CTDB_WIRE_RECORD_HEADER_SIZE]);
void ctdb_wire_get_record_header(const uint8_t in[CTDB_WIRE_RECORD_HEADER_SIZE], struct ctdb_record_header *header);

/* One record of a stream; of a traverse: a message. key and value empty: the end of the traverse. */
struct ctdb_wire_record {
	uint32_t reqid; /* traverse: the client's */
	struct ctdb_data key;
	struct ctdb_data value; /* record header and data */
};

struct ctdb_wire_records {
	uint32_t db_id;
	uint32_t n;
	struct ctdb_wire_record *records;
};

/* The length of all is in front of it. get: key and value point into in. */
int ctdb_wire_get_record(struct ctdb_data in, struct ctdb_wire_record *out);
int ctdb_wire_put_record(TALLOC_CTX *mem, const struct ctdb_wire_record *in, struct ctdb_data *out);
/* Payload of TRANS3_COMMIT (119), UPDATE_RECORD (63) and others. */
int ctdb_wire_get_records(TALLOC_CTX *mem, struct ctdb_data in,
			  struct ctdb_wire_records **out); /* keys and values are copies */
int ctdb_wire_put_records(TALLOC_CTX *mem, const struct ctdb_wire_records *in, struct ctdb_data *out);

#endif
