/* The table of controls: number, name, handler, size of the payload. What is not here is answered with -1. */
#include "dbd/control.h"

#define ANY   CONTROL_ANY_SIZE
#define LOCAL true

#define ENTRY(number, size_, local, handler_)                                                                          \
	[CLASSIC_CONTROL_##number] = {.name = #number, .handler = (handler_), .size = (size_), .local_only = (local)}

static const struct control_entry table[] = {
	ENTRY(PROCESS_EXISTS, 4, false, control_process_exists),
	ENTRY(STATISTICS, 0, false, control_statistics),
	ENTRY(PING, 0, false, control_ping),
	ENTRY(GETDBPATH, 4, false, control_getdbpath),
	ENTRY(GETVNNMAP, 0, false, control_getvnnmap),
	ENTRY(GET_DEBUG, 0, false, control_get_debug),
	ENTRY(SET_DEBUG, 4, false, control_set_debug),
	ENTRY(GET_DBMAP, 0, false, control_get_dbmap),
	ENTRY(GET_RECMODE, ANY, false, control_get_recmode),
	ENTRY(SET_RECMODE, 4, false, control_set_recmode),
	ENTRY(STATISTICS_RESET, 0, false, control_statistics_reset),
	ENTRY(DB_ATTACH, ANY, false, control_db_attach),
	ENTRY(TRAVERSE_START, 16, LOCAL, control_traverse_start),
	ENTRY(REGISTER_SRVID, ANY, LOCAL, control_register_srvid),
	ENTRY(DEREGISTER_SRVID, ANY, LOCAL, control_deregister_srvid),
	ENTRY(GET_DBNAME, 4, false, control_get_dbname),
	ENTRY(ENABLE_SEQNUM, 4, false, control_enable_seqnum),
	ENTRY(UPDATE_SEQNUM, 4, false, control_update_seqnum),
	ENTRY(DUMP_MEMORY, 0, false, control_dump_memory),
	ENTRY(GET_PID, ANY, false, control_get_pid),
	ENTRY(GET_PNN, ANY, false, control_get_pnn),
	ENTRY(SHUTDOWN, ANY, false, control_shutdown),
	/* There are no public addresses here yet: connections to them need no keeping, the lists are empty. */
	ENTRY(TCP_CLIENT, 56, LOCAL, control_ok),
	ENTRY(TCP_ADD, 56, false, control_ok),
	ENTRY(TCP_REMOVE, 56, false, control_ok),
	ENTRY(SET_TUNABLE, ANY, false, control_set_tunable),
	ENTRY(GET_TUNABLE, ANY, false, control_get_tunable),
	ENTRY(LIST_TUNABLES, ANY, false, control_list_tunables),
	ENTRY(GET_ALL_TUNABLES, 0, false, control_get_all_tunables),
	ENTRY(GET_TCP_TICKLE_LIST, 28, false, control_tickle_list),
	ENTRY(SET_TCP_TICKLE_LIST, ANY, false, control_tickle_list),
	ENTRY(DB_ATTACH_PERSISTENT, ANY, false, control_db_attach_persistent),
	ENTRY(UPDATE_RECORD, ANY, false, control_update_record),
	ENTRY(UPTIME, ANY, false, control_uptime),
	ENTRY(GET_CAPABILITIES, ANY, false, control_get_capabilities),
	ENTRY(RECD_PING, 0, false, control_ok),
	ENTRY(GET_PUBLIC_IPS, 0, false, control_empty_list),
	ENTRY(GET_NODEMAP, 0, false, control_get_nodemap),
	ENTRY(GET_RECLOCK_FILE, 0, false, control_get_reclock_file),
	ENTRY(STOP_NODE, 0, false, control_not_served),
	ENTRY(CONTINUE_NODE, 0, false, control_not_served),
	ENTRY(GET_BAN_STATE, 0, false, control_get_ban_state),
	ENTRY(REGISTER_NOTIFY, ANY, LOCAL, control_register_notify),
	ENTRY(DEREGISTER_NOTIFY, 8, LOCAL, control_deregister_notify),
	ENTRY(TRANS3_COMMIT, ANY, LOCAL, control_trans3_commit),
	ENTRY(GET_DB_SEQNUM, 8, false, control_get_db_seqnum),
	ENTRY(DB_SET_HEALTHY, 4, false, control_db_set_healthy),
	ENTRY(DB_GET_HEALTH, 4, false, control_db_get_health),
	ENTRY(GET_IFACES, 0, false, control_empty_list),
	ENTRY(TCP_ADD_DELAYED_UPDATE, 56, false, control_ok),
	ENTRY(GET_STAT_HISTORY, 0, false, control_get_stat_history),
	ENTRY(SCHEDULE_FOR_DELETION, ANY, false, control_schedule_for_deletion),
	ENTRY(SET_DB_READONLY, 4, false, control_set_db_readonly),
	ENTRY(TRAVERSE_START_EXT, 24, LOCAL, control_traverse_start_ext),
	ENTRY(GET_DB_STATISTICS, 4, false, control_get_db_statistics),
	ENTRY(SET_DB_STICKY, 4, false, control_set_db_sticky),
	ENTRY(GET_RUNSTATE, 0, false, control_get_runstate),
	ENTRY(DB_DETACH, 4, false, control_db_detach),
	ENTRY(GET_NODES_FILE, 0, false, control_get_nodes_file),
	ENTRY(DB_OPEN_FLAGS, 4, false, control_db_open_flags),
	ENTRY(DB_ATTACH_REPLICATED, ANY, false, control_db_attach_replicated),
	ENTRY(CHECK_PID_SRVID, 12, false, control_check_pid_srvid),
	ENTRY(TUNNEL_REGISTER, ANY, LOCAL, control_tunnel_register),
	ENTRY(TUNNEL_DEREGISTER, ANY, LOCAL, control_tunnel_deregister),
	ENTRY(ECHO_DATA, ANY, false, control_echo_data),
	ENTRY(DISABLE_NODE, 0, false, control_not_served),
	ENTRY(ENABLE_NODE, 0, false, control_not_served),
	ENTRY(TCP_CLIENT_DISCONNECTED, 56, LOCAL, control_ok),
	ENTRY(TCP_CLIENT_PASSED, 56, LOCAL, control_ok),
	ENTRY(PUSH_RECORD, ANY, false, control_push_record),
	ENTRY(CLUSTER_VERDICT, 0, false, control_cluster_verdict),
	ENTRY(INTERFACE_CALL, ANY, LOCAL, control_interface_call),
};

const struct control_entry *control_lookup(uint32_t opcode)
{
	if (opcode >= sizeof(table) / sizeof(table[0]) || table[opcode].handler == NULL) {
		return NULL;
	}
	return &table[opcode];
}
