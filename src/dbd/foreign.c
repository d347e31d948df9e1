/* Native structures on their way between nodes: byte order. Layouts: generated from protocol/classic.x. */
#include "dbd/foreign.h"

#include <errno.h>
#include <string.h>

#include "dbd/recdata.h"
#include "protocol/classic_turn.h"

static const char seqnum_key[] = "__db_sequence_number__";

static enum turn_dir turn_dir(enum foreign_dir dir)
{
	return dir == FOREIGN_OUT ? TURN_FROM_HOST : TURN_TO_HOST;
}

/* ---- records ---- */

/* The value of the sequence number record, whose bytes are in host order else. */
static void turn_seqnums(const uint8_t *p, size_t len, enum turn_dir dir)
{
	struct recdata r;

	while (recdata_next(&p, &len, &r) == 0) {
		if (r.datalen == REC_HEADER_SIZE + 8 && r.keylen == sizeof(seqnum_key) &&
		    memcmp(r.key, seqnum_key, r.keylen) == 0) {
			(void)classic_u64_turn((uint8_t *)(uintptr_t)r.data + REC_HEADER_SIZE, 8, dir, NULL);
		}
	}
}

/* Bytes that hold records from offset head on. Which record is which can be read in host order only. */
static int turn_records(turn_fn turn, size_t head, uint8_t *p, size_t len, enum turn_dir dir, size_t *used)
{
	int rc;

	head = head < len ? head : len;
	if (dir == TURN_FROM_HOST) {
		turn_seqnums(p + head, len - head, dir);
	}
	rc = turn(p, len, dir, used);
	if (dir == TURN_TO_HOST) {
		turn_seqnums(p + head, len - head, dir);
	}
	return rc;
}

static int recdata_turn(uint8_t *p, size_t len, enum turn_dir dir, size_t *used)
{
	return turn_records(classic_rec_list_turn, 0, p, len, dir, used);
}

static int recbuf_turn(uint8_t *p, size_t len, enum turn_dir dir, size_t *used)
{
	return turn_records(classic_rec_buffer_turn, RECBUF_HEAD, p, len, dir, used);
}

int foreign_turn_recdata(uint8_t *p, size_t len, enum foreign_dir dir)
{
	return recdata_turn(p, len, turn_dir(dir), NULL);
}

int foreign_turn_recbuf(uint8_t *p, size_t len, enum foreign_dir dir)
{
	return recbuf_turn(p, len, turn_dir(dir), NULL);
}

/* ---- controls ---- */

struct control_form {
	turn_fn request, reply;
};

#define NONE    NULL /* no bytes, a text, or bytes that mean something to others only */
#define T(type) classic_##type##_turn

/* What each control carries, and what its answer. */
#define CONTROLS(X)                                                                                                    \
	X(PROCESS_EXISTS, T(i32), NONE)                                                                                \
	X(STATISTICS, NONE, T(statistics))                                                                             \
	X(PING, NONE, NONE)                                                                                            \
	X(GETDBPATH, T(u32), NONE)                                                                                     \
	X(GETVNNMAP, NONE, T(vnn_map))                                                                                 \
	X(SETVNNMAP, T(vnn_map), NONE)                                                                                 \
	X(GET_DEBUG, NONE, T(i32))                                                                                     \
	X(SET_DEBUG, T(i32), NONE)                                                                                     \
	X(GET_DBMAP, NONE, T(dbid_map))                                                                                \
	X(GET_RECMODE, NONE, NONE)                                                                                     \
	X(SET_RECMODE, T(u32), NONE)                                                                                   \
	X(STATISTICS_RESET, NONE, NONE)                                                                                \
	X(DB_ATTACH, NONE, T(u32))                                                                                     \
	X(TRAVERSE_START, T(traverse_start), NONE)                                                                     \
	X(TRAVERSE_ALL, T(traverse_all), NONE)                                                                         \
	X(TRAVERSE_DATA, recdata_turn, NONE)                                                                           \
	X(REGISTER_SRVID, NONE, NONE)                                                                                  \
	X(DEREGISTER_SRVID, NONE, NONE)                                                                                \
	X(GET_DBNAME, T(u32), NONE)                                                                                    \
	X(ENABLE_SEQNUM, T(u32), NONE)                                                                                 \
	X(UPDATE_SEQNUM, T(u32), NONE)                                                                                 \
	X(DUMP_MEMORY, NONE, NONE)                                                                                     \
	X(GET_PID, NONE, NONE)                                                                                         \
	X(FREEZE, NONE, NONE)                                                                                          \
	X(GET_PNN, NONE, NONE)                                                                                         \
	X(SHUTDOWN, NONE, NONE)                                                                                        \
	X(TCP_CLIENT, T(connection), NONE)                                                                             \
	X(TCP_ADD, T(connection), NONE)                                                                                \
	X(TCP_REMOVE, T(connection), NONE)                                                                             \
	X(STARTUP, NONE, NONE)                                                                                         \
	X(SET_TUNABLE, T(tunable), NONE)                                                                               \
	X(GET_TUNABLE, T(tunable_name), T(u32))                                                                        \
	X(LIST_TUNABLES, NONE, T(tunable_name))                                                                        \
	X(MODIFY_FLAGS, T(node_flag_change), NONE)                                                                     \
	X(GET_ALL_TUNABLES, NONE, T(tunable_list))                                                                     \
	X(GET_TCP_TICKLE_LIST, T(sock_addr), T(tickle_list))                                                           \
	X(SET_TCP_TICKLE_LIST, T(tickle_list), NONE)                                                                   \
	X(DB_ATTACH_PERSISTENT, NONE, T(u32))                                                                          \
	X(UPDATE_RECORD, recbuf_turn, NONE)                                                                            \
	X(SEND_GRATUITOUS_ARP, T(addr_info), NONE)                                                                     \
	X(WIPE_DATABASE, T(transdb), NONE)                                                                             \
	X(UPTIME, NONE, T(uptime))                                                                                     \
	X(START_RECOVERY, NONE, NONE)                                                                                  \
	X(END_RECOVERY, NONE, NONE)                                                                                    \
	X(RELOAD_NODES_FILE, NONE, NONE)                                                                               \
	X(TRY_DELETE_RECORDS, recbuf_turn, recbuf_turn)                                                                \
	X(ADD_PUBLIC_IP, T(addr_info), NONE)                                                                           \
	X(DEL_PUBLIC_IP, T(addr_info), NONE)                                                                           \
	X(GET_CAPABILITIES, NONE, T(u32))                                                                              \
	X(START_PERSISTENT_UPDATE, NONE, NONE)                                                                         \
	X(CANCEL_PERSISTENT_UPDATE, NONE, NONE)                                                                        \
	X(RECD_PING, NONE, NONE)                                                                                       \
	X(RELEASE_IP, T(public_ip), NONE)                                                                              \
	X(TAKEOVER_IP, T(public_ip), NONE)                                                                             \
	X(GET_PUBLIC_IPS, NONE, T(public_ip_list))                                                                     \
	X(GET_NODEMAP, NONE, T(node_map))                                                                              \
	X(TRAVERSE_KILL, T(traverse_start), NONE)                                                                      \
	X(RECD_RECLOCK_LATENCY, T(double), NONE)                                                                       \
	X(GET_RECLOCK_FILE, NONE, NONE)                                                                                \
	X(STOP_NODE, NONE, NONE)                                                                                       \
	X(CONTINUE_NODE, NONE, NONE)                                                                                   \
	X(SET_LMASTERROLE, T(u32), NONE)                                                                               \
	X(SET_RECMASTERROLE, T(u32), NONE)                                                                             \
	X(SET_BAN_STATE, T(ban_state), NONE)                                                                           \
	X(GET_BAN_STATE, NONE, T(ban_state))                                                                           \
	X(REGISTER_NOTIFY, T(notify_data), NONE)                                                                       \
	X(DEREGISTER_NOTIFY, T(u64), NONE)                                                                             \
	X(TRANS3_COMMIT, recbuf_turn, NONE)                                                                            \
	X(GET_DB_SEQNUM, T(db_seqnum_args), T(u64))                                                                    \
	X(DB_SET_HEALTHY, T(u32), NONE)                                                                                \
	X(DB_GET_HEALTH, T(u32), NONE)                                                                                 \
	X(GET_PUBLIC_IP_INFO, T(sock_addr), T(public_ip_info))                                                         \
	X(GET_IFACES, NONE, T(iface_list))                                                                             \
	X(SET_IFACE_LINK_STATE, T(iface), NONE)                                                                        \
	X(TCP_ADD_DELAYED_UPDATE, T(connection), NONE)                                                                 \
	X(GET_STAT_HISTORY, NONE, T(statistics_list))                                                                  \
	X(SCHEDULE_FOR_DELETION, T(schedule_for_deletion), NONE)                                                       \
	X(SET_DB_READONLY, T(u32), NONE)                                                                               \
	X(TRAVERSE_START_EXT, T(traverse_start_ext), NONE)                                                             \
	X(GET_DB_STATISTICS, T(u32), T(db_statistics))                                                                 \
	X(SET_DB_STICKY, T(u32), NONE)                                                                                 \
	X(RELOAD_PUBLIC_IPS, NONE, NONE)                                                                               \
	X(TRAVERSE_ALL_EXT, T(traverse_all_ext), NONE)                                                                 \
	X(IPREALLOCATED, NONE, NONE)                                                                                   \
	X(GET_RUNSTATE, NONE, T(u32))                                                                                  \
	X(DB_DETACH, T(u32), NONE)                                                                                     \
	X(GET_NODES_FILE, NONE, T(node_map))                                                                           \
	X(DB_FREEZE, T(u32), NONE)                                                                                     \
	X(DB_THAW, T(u32), NONE)                                                                                       \
	X(DB_TRANSACTION_START, T(transdb), NONE)                                                                      \
	X(DB_TRANSACTION_COMMIT, T(transdb), NONE)                                                                     \
	X(DB_TRANSACTION_CANCEL, T(u32), NONE)                                                                         \
	X(DB_PULL, T(pulldb_ext), T(u32))                                                                              \
	X(DB_PUSH_START, T(pulldb_ext), NONE)                                                                          \
	X(DB_PUSH_CONFIRM, T(u32), T(u32))                                                                             \
	X(DB_OPEN_FLAGS, T(u32), T(i32))                                                                               \
	X(DB_ATTACH_REPLICATED, NONE, T(u32))                                                                          \
	X(CHECK_PID_SRVID, T(pid_srvid), NONE)                                                                         \
	X(TUNNEL_REGISTER, NONE, NONE)                                                                                 \
	X(TUNNEL_DEREGISTER, NONE, NONE)                                                                               \
	X(VACUUM_FETCH, recbuf_turn, NONE)                                                                             \
	X(DB_VACUUM, T(db_vacuum), NONE)                                                                               \
	X(ECHO_DATA, T(echo_data), T(echo_data))                                                                       \
	X(DISABLE_NODE, NONE, NONE)                                                                                    \
	X(ENABLE_NODE, NONE, NONE)                                                                                     \
	X(TCP_CLIENT_DISCONNECTED, T(connection), NONE)                                                                \
	X(TCP_CLIENT_PASSED, T(connection), NONE)                                                                      \
	X(START_IPREALLOCATE, NONE, NONE)                                                                              \
	X(PUSH_RECORD, T(push_record), NONE)                                                                           \
	X(CLUSTER_VERDICT, NONE, NONE)                                                                                 \
	X(INTERFACE_CALL, T(interface_call), T(interface_reply))                                                       \
	X(TRAVERSE_START_TOLD, T(traverse_start_ext), NONE)

#define AS_CASE(number, request_, reply_)                                                                              \
	case CLASSIC_CONTROL_##number:                                                                                 \
		return (struct control_form){.request = (request_), .reply = (reply_)};

/* A control that classic.x declares and that is not in the list is an error here. */
#pragma GCC diagnostic push
#pragma GCC diagnostic error "-Wswitch"
static struct control_form control_form(enum classic_control control)
{
	switch (control) {
		CONTROLS(AS_CASE)
	}
	return (struct control_form){NULL, NULL};
}
#pragma GCC diagnostic pop

static turn_fn control_turn(uint32_t opcode, bool reply)
{
	struct control_form form = control_form((enum classic_control)opcode);

	return reply ? form.reply : form.request;
}

size_t foreign_turn_control(uint8_t *p, size_t len, enum foreign_dir dir, uint32_t opcode, bool reply)
{
	turn_fn turn = control_turn(opcode, reply);
	size_t used = 0;

	if (turn != NULL) {
		(void)turn(p, len, turn_dir(dir), &used);
	}
	return used;
}

/* ---- copies ---- */

/* may_be_cut: what does not fit its structure is for others to refuse. */
static int turn_copy(TALLOC_CTX *mem, struct ctdb_blob *bytes, turn_fn turn, enum foreign_dir dir, bool may_be_cut)
{
	uint8_t *p;
	int rc;

	if (!FOREIGN_HOST || bytes->len == 0 || turn == NULL) {
		return 0;
	}
	p = talloc_memdup(mem, bytes->data, bytes->len);
	if (p == NULL) {
		return ENOMEM;
	}
	rc = turn(p, bytes->len, turn_dir(dir), NULL);
	if (rc != 0 && !may_be_cut) {
		talloc_free(p);
		return rc;
	}
	bytes->data = p;
	return 0;
}

int foreign_recdata(TALLOC_CTX *mem, enum foreign_dir dir, struct ctdb_blob *bytes)
{
	return turn_copy(mem, bytes, recdata_turn, dir, false);
}

int foreign_recbuf(TALLOC_CTX *mem, enum foreign_dir dir, struct ctdb_blob *bytes)
{
	return turn_copy(mem, bytes, recbuf_turn, dir, false);
}

int foreign_control(TALLOC_CTX *mem, enum foreign_dir dir, uint32_t opcode, bool reply, struct ctdb_blob *bytes)
{
	return turn_copy(mem, bytes, control_turn(opcode, reply), dir, true);
}
