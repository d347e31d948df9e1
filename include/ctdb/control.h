/* Numbers of the controls: what clients ask daemons. */
#ifndef CTDB_CONTROL_H
#define CTDB_CONTROL_H

#include <stdint.h>

/*
 * Payload -> data of the answer (status, where it is not just 0 or -1). Structures as in ctdb/wire.h and the
 * description of the protocol; a text has its NUL. Those above 511 are of this project alone: others answer -1.
 */
enum ctdb_control_number {
	CTDB_CONTROL_PROCESS_EXISTS = 0, /* i32 pid -> (0 exists, -1 not) */
	CTDB_CONTROL_STATISTICS = 1,     /* -> statistics 488 bytes */
	CTDB_CONTROL_PING = 3,           /* -> (status = number of clients) */
	CTDB_CONTROL_GETDBPATH = 4,      /* u32 db_id -> path string with NUL */
	CTDB_CONTROL_GETVNNMAP = 5,      /* -> vnn_map */
	CTDB_CONTROL_SETVNNMAP = 6,      /* vnn_map */
	CTDB_CONTROL_GET_DEBUG = 7,      /* -> i32 level */
	CTDB_CONTROL_SET_DEBUG = 8,      /* i32 level */
	CTDB_CONTROL_GET_DBMAP = 9,      /* -> dbid_map */
	CTDB_CONTROL_GET_RECMODE = 15,   /* -> (status 0 normal, 1 recovery active) */
	CTDB_CONTROL_SET_RECMODE = 16,   /* u32 mode */
	CTDB_CONTROL_STATISTICS_RESET = 17,
	CTDB_CONTROL_DB_ATTACH = 18,        /* name with NUL -> u32 db_id */
	CTDB_CONTROL_TRAVERSE_START = 20,   /* traverse_start 16 -> then messages */
	CTDB_CONTROL_TRAVERSE_ALL = 21,     /* traverse_all 24 */
	CTDB_CONTROL_TRAVERSE_DATA = 22,    /* rec_data -> (sent NOREPLY) */
	CTDB_CONTROL_REGISTER_SRVID = 23,   /* (srvid in the packet) */
	CTDB_CONTROL_DEREGISTER_SRVID = 24, /* (srvid in the packet) -> (2 if not registered) */
	CTDB_CONTROL_GET_DBNAME = 25,       /* u32 db_id -> name with NUL */
	CTDB_CONTROL_ENABLE_SEQNUM = 26,    /* u32 db_id */
	CTDB_CONTROL_UPDATE_SEQNUM = 27,    /* u32 db_id */
	CTDB_CONTROL_DUMP_MEMORY = 29,      /* -> text, no NUL */
	CTDB_CONTROL_GET_PID = 30,          /* -> (status = pid of the daemon) */
	CTDB_CONTROL_FREEZE = 33,
	CTDB_CONTROL_GET_PNN = 35,    /* -> (status = pnn) */
	CTDB_CONTROL_SHUTDOWN = 36,   /* -> none as a rule; connection closes */
	CTDB_CONTROL_TCP_CLIENT = 44, /* connection 56 */
	CTDB_CONTROL_TCP_ADD = 45,    /* connection 56 */
	CTDB_CONTROL_TCP_REMOVE = 46, /* connection 56 */
	CTDB_CONTROL_STARTUP = 47,
	CTDB_CONTROL_SET_TUNABLE = 48,          /* tunable -> (1 = obsolete tunable) */
	CTDB_CONTROL_GET_TUNABLE = 49,          /* u32 length, name with NUL -> u32 value (-22 = unknown) */
	CTDB_CONTROL_LIST_TUNABLES = 50,        /* -> u32 length, string */
	CTDB_CONTROL_MODIFY_FLAGS = 52,         /* node_flag_change 12 */
	CTDB_CONTROL_GET_ALL_TUNABLES = 53,     /* -> tunable_list 248 */
	CTDB_CONTROL_GET_TCP_TICKLE_LIST = 55,  /* sock_addr 28 -> tickle_list (1 = not a public address) */
	CTDB_CONTROL_SET_TCP_TICKLE_LIST = 56,  /* tickle_list -> (1 = not a public address) */
	CTDB_CONTROL_DB_ATTACH_PERSISTENT = 61, /* name with NUL -> u32 db_id */
	CTDB_CONTROL_UPDATE_RECORD = 63,        /* rec_buffer */
	CTDB_CONTROL_SEND_GRATUITOUS_ARP = 64,  /* addr_info */
	CTDB_CONTROL_WIPE_DATABASE = 67,        /* transdb 8 */
	CTDB_CONTROL_UPTIME = 69,               /* -> uptime 64 */
	CTDB_CONTROL_START_RECOVERY = 70,
	CTDB_CONTROL_END_RECOVERY = 71,
	CTDB_CONTROL_RELOAD_NODES_FILE = 72,
	CTDB_CONTROL_TRY_DELETE_RECORDS = 74,       /* rec_buffer -> rec_buffer of what was not deleted */
	CTDB_CONTROL_ADD_PUBLIC_IP = 77,            /* addr_info */
	CTDB_CONTROL_DEL_PUBLIC_IP = 78,            /* addr_info */
	CTDB_CONTROL_GET_CAPABILITIES = 80,         /* -> u32 mask */
	CTDB_CONTROL_START_PERSISTENT_UPDATE = 81,  /* any */
	CTDB_CONTROL_CANCEL_PERSISTENT_UPDATE = 82, /* any */
	CTDB_CONTROL_RECD_PING = 87,
	CTDB_CONTROL_RELEASE_IP = 88,           /* public_ip 32 */
	CTDB_CONTROL_TAKEOVER_IP = 89,          /* public_ip 32 */
	CTDB_CONTROL_GET_PUBLIC_IPS = 90,       /* (flag 0x10000) -> public_ip_list */
	CTDB_CONTROL_GET_NODEMAP = 91,          /* -> node_map */
	CTDB_CONTROL_TRAVERSE_KILL = 97,        /* traverse_start 16 */
	CTDB_CONTROL_RECD_RECLOCK_LATENCY = 98, /* double seconds */
	CTDB_CONTROL_GET_RECLOCK_FILE = 99,     /* -> string with NUL, or empty */
	CTDB_CONTROL_STOP_NODE = 101,
	CTDB_CONTROL_CONTINUE_NODE = 102,
	CTDB_CONTROL_SET_LMASTERROLE = 104,   /* u32 0/1 */
	CTDB_CONTROL_SET_RECMASTERROLE = 105, /* u32 0/1 */
	CTDB_CONTROL_SET_BAN_STATE = 109,     /* ban_state 8 */
	CTDB_CONTROL_GET_BAN_STATE = 110,     /* -> ban_state 8 */
	CTDB_CONTROL_REGISTER_NOTIFY = 114,   /* notify_data -> (-1 if srvid already registered) */
	CTDB_CONTROL_DEREGISTER_NOTIFY = 115, /* u64 srvid -> (-1 if not registered) */
	CTDB_CONTROL_TRANS3_COMMIT = 119,  /* rec_buffer -> (0 stored on all; 1 timed out; 2 ended by a recovery; -1) */
	CTDB_CONTROL_GET_DB_SEQNUM = 120,  /* u32 db_id, u32 padding -> u64 */
	CTDB_CONTROL_DB_SET_HEALTHY = 121, /* u32 db_id */
	CTDB_CONTROL_DB_GET_HEALTH = 122,  /* u32 db_id -> reason string with NUL, empty = healthy */
	CTDB_CONTROL_GET_PUBLIC_IP_INFO = 123,     /* sock_addr 28 -> public_ip_info */
	CTDB_CONTROL_GET_IFACES = 124,             /* -> iface_list */
	CTDB_CONTROL_SET_IFACE_LINK_STATE = 125,   /* iface 24 */
	CTDB_CONTROL_TCP_ADD_DELAYED_UPDATE = 126, /* connection 56 */
	CTDB_CONTROL_GET_STAT_HISTORY = 127,       /* -> statistics_list */
	CTDB_CONTROL_SCHEDULE_FOR_DELETION = 128,  /* schedule_for_deletion */
	CTDB_CONTROL_SET_DB_READONLY = 129,        /* u32 db_id */
	CTDB_CONTROL_TRAVERSE_START_EXT = 131,     /* traverse_start_ext 24 -> then messages */
	CTDB_CONTROL_GET_DB_STATISTICS = 132,      /* u32 db_id -> db_statistics */
	CTDB_CONTROL_SET_DB_STICKY = 133,          /* u32 db_id */
	CTDB_CONTROL_RELOAD_PUBLIC_IPS = 134,
	CTDB_CONTROL_TRAVERSE_ALL_EXT = 135, /* traverse_all_ext 32 */
	CTDB_CONTROL_IPREALLOCATED = 137,
	CTDB_CONTROL_GET_RUNSTATE = 138,          /* -> u32 */
	CTDB_CONTROL_DB_DETACH = 139,             /* u32 db_id */
	CTDB_CONTROL_GET_NODES_FILE = 140,        /* -> node_map */
	CTDB_CONTROL_DB_FREEZE = 141,             /* u32 db_id */
	CTDB_CONTROL_DB_THAW = 142,               /* u32 db_id */
	CTDB_CONTROL_DB_TRANSACTION_START = 143,  /* transdb 8 */
	CTDB_CONTROL_DB_TRANSACTION_COMMIT = 144, /* transdb 8 */
	CTDB_CONTROL_DB_TRANSACTION_CANCEL = 145, /* u32 db_id */
	CTDB_CONTROL_DB_PULL = 146,               /* pulldb_ext 16 -> u32 number of records; data as messages */
	CTDB_CONTROL_DB_PUSH_START = 147,         /* pulldb_ext 16 */
	CTDB_CONTROL_DB_PUSH_CONFIRM = 148,       /* u32 db_id -> u32 number of records */
	CTDB_CONTROL_DB_OPEN_FLAGS = 149,         /* u32 db_id -> i32 TDB flags */
	CTDB_CONTROL_DB_ATTACH_REPLICATED = 150,  /* name with NUL -> u32 db_id */
	CTDB_CONTROL_CHECK_PID_SRVID = 151,       /* i32 pid, u64 srvid (12 bytes, no padding) -> (0 exists, -1 not) */
	CTDB_CONTROL_TUNNEL_REGISTER = 152,       /* (srvid in the packet = tunnel id) -> (-1 if taken) */
	CTDB_CONTROL_TUNNEL_DEREGISTER = 153,     /* (srvid in the packet) -> (-1 if not mine) */
	CTDB_CONTROL_VACUUM_FETCH = 154,          /* rec_buffer -> (sent NOREPLY) */
	CTDB_CONTROL_DB_VACUUM = 155,             /* u32 db_id, u8 full run (5 bytes) */
	CTDB_CONTROL_ECHO_DATA = 156,             /* u32 timeout, u32 length, bytes -> the same bytes */
	CTDB_CONTROL_DISABLE_NODE = 157,
	CTDB_CONTROL_ENABLE_NODE = 158,
	CTDB_CONTROL_TCP_CLIENT_DISCONNECTED = 159, /* connection 56 */
	CTDB_CONTROL_TCP_CLIENT_PASSED = 160,       /* connection 56 */
	CTDB_CONTROL_START_IPREALLOCATE = 161,
	CTDB_CONTROL_PUSH_RECORD = 162,     /* push_record -> (sent NOREPLY) */
	CTDB_CONTROL_CLUSTER_VERDICT = 512, /* -> text with NUL: what clusterd says of the cluster */
	CTDB_CONTROL_INTERFACE_CALL = 513,  /* interface_call -> interface_reply (-1: not served) */
	CTDB_CONTROL_TRAVERSE_START_TOLD =
		514, /* traverse_start_ext 24 -> then messages; the last says how it ended */
};

/* "GET_PNN"; "unknown". */
const char *ctdb_control_name(uint32_t opcode);

#endif
