/*
 * The table of controls: number, name, size of the payload, who acts on it. Every number that is live is here; what is
 * not is answered with -1, as dead numbers are. MISSING: no daemon acts on it, the answer is -1 and the text says why.
 */
#include "dbd/control.h"

#define ANY   CONTROL_ANY_SIZE
#define LOCAL true

#define NO_ADDRESSES "public addresses are not served yet"
#define NO_EVENTS    "event scripts are not run yet"
#define OTHERWISE    "the daemons of this cluster do this among themselves in another way"

#define ROW(number, size_, local, handler_, owner_, missing_)                                                          \
	[CLASSIC_CONTROL_##number] = {.name = #number,                                                                 \
				      .handler = (handler_),                                                           \
				      .owner = (owner_),                                                               \
				      .missing = (missing_),                                                           \
				      .size = (size_),                                                                 \
				      .local_only = (local)}
#define ENTRY(number, size, local, handler) ROW(number, size, local, handler, "db", NULL)
#define CLUSTER(number, size, handler)      ROW(number, size, false, handler, "cluster", NULL)
#define SUPER(number, size, handler)        ROW(number, size, false, handler, "super", NULL)
#define MISSING(number, size, why)          ROW(number, size, false, control_not_served, NULL, why)

static const struct control_entry table[] = {
	ENTRY(PROCESS_EXISTS, 4, false, control_process_exists),
	ENTRY(STATISTICS, 0, false, control_statistics),
	ENTRY(PING, 0, false, control_ping),
	ENTRY(GETDBPATH, 4, false, control_getdbpath),
	ENTRY(GETVNNMAP, 0, false, control_getvnnmap),
	MISSING(SETVNNMAP, ANY, "the slot map comes from recoveries alone"),
	ENTRY(GET_DEBUG, 0, false, control_get_debug),
	ENTRY(SET_DEBUG, 4, false, control_set_debug),
	ENTRY(GET_DBMAP, 0, false, control_get_dbmap),
	ENTRY(GET_RECMODE, ANY, false, control_get_recmode),
	ENTRY(SET_RECMODE, 4, false, control_set_recmode),
	ENTRY(STATISTICS_RESET, 0, false, control_statistics_reset),
	ENTRY(DB_ATTACH, ANY, false, control_db_attach),
	ENTRY(TRAVERSE_START, 16, LOCAL, control_traverse_start),
	MISSING(TRAVERSE_ALL, 24, OTHERWISE),
	MISSING(TRAVERSE_DATA, ANY, OTHERWISE),
	ENTRY(REGISTER_SRVID, ANY, LOCAL, control_register_srvid),
	ENTRY(DEREGISTER_SRVID, ANY, LOCAL, control_deregister_srvid),
	ENTRY(GET_DBNAME, 4, false, control_get_dbname),
	ENTRY(ENABLE_SEQNUM, 4, false, control_enable_seqnum),
	ENTRY(UPDATE_SEQNUM, 4, false, control_update_seqnum),
	ENTRY(DUMP_MEMORY, 0, false, control_dump_memory),
	ENTRY(GET_PID, ANY, false, control_get_pid),
	ENTRY(FREEZE, 0, false, control_freeze),
	ENTRY(GET_PNN, ANY, false, control_get_pnn),
	SUPER(SHUTDOWN, ANY, control_shutdown),
	ENTRY(TCP_CLIENT, 56, LOCAL, control_ok),
	ENTRY(TCP_ADD, 56, false, control_ok),
	ENTRY(TCP_REMOVE, 56, false, control_ok),
	ENTRY(STARTUP, 0, false, control_ok),
	ENTRY(SET_TUNABLE, ANY, false, control_set_tunable),
	ENTRY(GET_TUNABLE, ANY, false, control_get_tunable),
	ENTRY(LIST_TUNABLES, ANY, false, control_list_tunables),
	ENTRY(MODIFY_FLAGS, 12, false, control_modify_flags),
	ENTRY(GET_ALL_TUNABLES, 0, false, control_get_all_tunables),
	ENTRY(GET_TCP_TICKLE_LIST, 28, false, control_tickle_list),
	ENTRY(SET_TCP_TICKLE_LIST, ANY, false, control_tickle_list),
	ENTRY(DB_ATTACH_PERSISTENT, ANY, false, control_db_attach_persistent),
	ENTRY(UPDATE_RECORD, ANY, false, control_update_record),
	MISSING(SEND_GRATUITOUS_ARP, ANY, NO_ADDRESSES),
	ENTRY(WIPE_DATABASE, 8, false, control_wipe_database),
	ENTRY(UPTIME, ANY, false, control_uptime),
	MISSING(START_RECOVERY, ANY, OTHERWISE),
	MISSING(END_RECOVERY, ANY, OTHERWISE),
	ENTRY(RELOAD_NODES_FILE, 0, false, control_reload_nodes_file),
	ENTRY(TRY_DELETE_RECORDS, ANY, false, control_try_delete_records),
	MISSING(ADD_PUBLIC_IP, ANY, NO_ADDRESSES),
	MISSING(DEL_PUBLIC_IP, ANY, NO_ADDRESSES),
	ENTRY(GET_CAPABILITIES, ANY, false, control_get_capabilities),
	ENTRY(START_PERSISTENT_UPDATE, ANY, LOCAL, control_start_update),
	ENTRY(CANCEL_PERSISTENT_UPDATE, ANY, LOCAL, control_cancel_update),
	ENTRY(RECD_PING, 0, false, control_ok),
	ENTRY(RELEASE_IP, 32, false, control_ok),
	MISSING(TAKEOVER_IP, 32, NO_ADDRESSES),
	ENTRY(GET_PUBLIC_IPS, 0, false, control_empty_list),
	ENTRY(GET_NODEMAP, 0, false, control_get_nodemap),
	ENTRY(TRAVERSE_KILL, 16, false, control_traverse_kill),
	ENTRY(RECD_RECLOCK_LATENCY, 8, false, control_ok),
	ENTRY(GET_RECLOCK_FILE, 0, false, control_get_reclock_file),
	CLUSTER(STOP_NODE, 0, control_stop_node),
	CLUSTER(CONTINUE_NODE, 0, control_continue_node),
	CLUSTER(SET_LMASTERROLE, 4, control_set_lmasterrole),
	CLUSTER(SET_RECMASTERROLE, 4, control_set_recmasterrole),
	CLUSTER(SET_BAN_STATE, 8, control_set_ban_state),
	CLUSTER(GET_BAN_STATE, 0, control_get_ban_state),
	ENTRY(REGISTER_NOTIFY, ANY, LOCAL, control_register_notify),
	ENTRY(DEREGISTER_NOTIFY, 8, LOCAL, control_deregister_notify),
	ENTRY(TRANS3_COMMIT, ANY, LOCAL, control_trans3_commit),
	ENTRY(GET_DB_SEQNUM, 8, false, control_get_db_seqnum),
	ENTRY(DB_SET_HEALTHY, 4, false, control_db_set_healthy),
	ENTRY(DB_GET_HEALTH, 4, false, control_db_get_health),
	MISSING(GET_PUBLIC_IP_INFO, 28, NO_ADDRESSES),
	ENTRY(GET_IFACES, 0, false, control_empty_list),
	MISSING(SET_IFACE_LINK_STATE, 24, NO_ADDRESSES),
	ENTRY(TCP_ADD_DELAYED_UPDATE, 56, false, control_ok),
	ENTRY(GET_STAT_HISTORY, 0, false, control_get_stat_history),
	ENTRY(SCHEDULE_FOR_DELETION, ANY, false, control_schedule_for_deletion),
	ENTRY(SET_DB_READONLY, 4, false, control_set_db_readonly),
	ENTRY(TRAVERSE_START_EXT, 24, LOCAL, control_traverse_start_ext),
	ENTRY(GET_DB_STATISTICS, 4, false, control_get_db_statistics),
	ENTRY(SET_DB_STICKY, 4, false, control_set_db_sticky),
	MISSING(RELOAD_PUBLIC_IPS, 0, NO_ADDRESSES),
	MISSING(TRAVERSE_ALL_EXT, 32, OTHERWISE),
	MISSING(IPREALLOCATED, 0, NO_EVENTS),
	ENTRY(GET_RUNSTATE, 0, false, control_get_runstate),
	ENTRY(DB_DETACH, 4, false, control_db_detach),
	ENTRY(GET_NODES_FILE, 0, false, control_get_nodes_file),
	ENTRY(DB_FREEZE, 4, false, control_db_freeze),
	ENTRY(DB_THAW, 4, false, control_db_thaw),
	ENTRY(DB_TRANSACTION_START, 8, false, control_db_transaction_start),
	ENTRY(DB_TRANSACTION_COMMIT, 8, false, control_db_transaction_commit),
	ENTRY(DB_TRANSACTION_CANCEL, 4, false, control_db_transaction_cancel),
	ENTRY(DB_PULL, 16, false, control_db_pull),
	ENTRY(DB_PUSH_START, 16, false, control_db_push_start),
	ENTRY(DB_PUSH_CONFIRM, 4, false, control_db_push_confirm),
	ENTRY(DB_OPEN_FLAGS, 4, false, control_db_open_flags),
	ENTRY(DB_ATTACH_REPLICATED, ANY, false, control_db_attach_replicated),
	ENTRY(CHECK_PID_SRVID, 12, false, control_check_pid_srvid),
	ENTRY(TUNNEL_REGISTER, ANY, LOCAL, control_tunnel_register),
	ENTRY(TUNNEL_DEREGISTER, ANY, LOCAL, control_tunnel_deregister),
	ENTRY(VACUUM_FETCH, ANY, false, control_vacuum_fetch),
	ENTRY(DB_VACUUM, 5, false, control_db_vacuum),
	ENTRY(ECHO_DATA, ANY, false, control_echo_data),
	CLUSTER(DISABLE_NODE, 0, control_disable_node),
	CLUSTER(ENABLE_NODE, 0, control_enable_node),
	ENTRY(TCP_CLIENT_DISCONNECTED, 56, LOCAL, control_ok),
	ENTRY(TCP_CLIENT_PASSED, 56, LOCAL, control_ok),
	MISSING(START_IPREALLOCATE, 0, NO_EVENTS),
	ENTRY(PUSH_RECORD, ANY, false, control_push_record),
	CLUSTER(CLUSTER_VERDICT, 0, control_cluster_verdict),
	ENTRY(INTERFACE_CALL, ANY, LOCAL, control_interface_call),
	ENTRY(TRAVERSE_START_TOLD, 24, LOCAL, control_traverse_start_told),
};

const struct control_entry *control_lookup(uint32_t opcode)
{
	if (opcode >= sizeof(table) / sizeof(table[0]) || table[opcode].handler == NULL) {
		return NULL;
	}
	return &table[opcode];
}
