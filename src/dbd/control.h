/* Inside of dbd's controls: one request, how it is answered, the handlers by subject. */
#ifndef DBD_CONTROL_H
#define DBD_CONTROL_H

#include "dbd/client.h"

/* dbd's own, between nodes only: a tunnel packet. Beyond what a client can name. */
#define CONTROL_TUNNEL_PACKET 0x80000001U

/*
 * One control that was asked of this node. A talloc object: child of its client, or of struct clients if another node
 * asks. The handler gets it and answers it exactly once, by control_reply(), at once or later. It is freed unanswered
 * when the client has gone: what the handler hangs below it must cancel itself then.
 */
struct control {
	struct clients *clients;
	struct dbd *dbd;
	struct client *client; /* NULL: another node asks */
	uint32_t from;         /* that node, or the own */
	uint64_t remote_id;    /* to be told in the reply to from */
	uint32_t reqid;        /* to be told in the reply to client */
	bool no_reply;
	uint32_t opcode, flags;
	uint64_t srvid;
	const uint8_t *data; /* valid until the handler returns */
	size_t len;
	struct control_load *load; /* where it counts */
};

/* Answers and frees ctl. text may be NULL. */
void control_reply(struct control *ctl, int32_t status, const void *data, size_t len, const char *text);
void control_reply_u32(struct control *ctl, uint32_t value);    /* status 0 and a u32 */
void control_reply_text(struct control *ctl, const char *text); /* status 0 and a string with its NUL */
void control_reply_blob(struct control *ctl, int rc, const struct ctdb_blob *blob); /* status 0 and blob; rc != 0: -1 */
/* The database whose id is the first u32 of the payload; NULL: answered with -1. */
struct db *control_db(struct control *ctl);

/* ---- control.c ---- */
int controls_new(struct clients *cs, struct control_set **set);
void controls_from_client(struct client *c, uint32_t reqid, uint32_t dest, const struct classic_req_control *r);
/* To another node, nobody waits for the answer. Lost if there is no link. */
void controls_send_oneway(struct clients *cs, uint32_t pnn, const struct lane_control *m);

/* ---- control_table.c ---- */
#define CONTROL_ANY_SIZE 0xFFFFFFFFU

struct control_entry {
	const char *name;
	void (*handler)(struct control *ctl);
	const char *owner;   /* endpoint of the daemon that acts on it; NULL: none */
	const char *missing; /* why not */
	uint32_t size;   /* of the payload, exactly; CONTROL_ANY_SIZE: the handler checks */
	bool local_only; /* acts on the connection it came from */
};
const struct control_entry *control_lookup(uint32_t opcode); /* NULL unknown or dead */

typedef void control_handler(struct control *ctl);

/* ---- control_node.c ---- */
control_handler control_process_exists, control_ping, control_getvnnmap, control_get_debug, control_set_debug,
	control_get_recmode, control_set_recmode, control_dump_memory, control_get_pid, control_get_pnn,
	control_shutdown, control_cluster_verdict, control_uptime, control_get_capabilities, control_get_nodemap, control_get_reclock_file,
	control_get_runstate, control_get_nodes_file, control_reload_nodes_file, control_modify_flags, control_check_pid_srvid, control_echo_data,
	control_ok, control_not_served;
/* ---- gateway.c ---- */
#define GATEWAY_PENDING_MAX 64U /* requests of one client that wait for their answer */
control_handler control_interface_call;
/* ---- control_flags.c: what a node says of itself; clusterd keeps it ---- */
control_handler control_stop_node, control_continue_node, control_disable_node, control_enable_node, control_set_ban_state, control_get_ban_state,
	control_set_lmasterrole, control_set_recmasterrole;
/* ---- control_edit.c ---- */
control_handler control_freeze, control_db_freeze, control_db_thaw, control_db_transaction_start, control_db_transaction_commit,
	control_db_transaction_cancel, control_wipe_database, control_db_push_start, control_db_push_confirm;
int edits_new(struct clients *cs, struct edits **out);
void edits_recovery_began(struct edits *all);
void edits_db_gone(struct edits *all, struct db *db);
struct db_freeze; /* protocol/db.h; its name lives as long as the freeze */
void edits_freeze_of(const struct edits *all, const struct db *db, struct db_freeze *out);
uint32_t edits_count(const struct edits *all); /* frozen databases */
/* A message for this node: records that are being pushed, if it has their address. */
void edits_on_message(struct edits *all, uint64_t srvid, const uint8_t *data, size_t len);
/* ---- control_pull.c ---- */
control_handler control_db_pull;
/* ---- control_message.c ---- */
control_handler control_register_srvid, control_deregister_srvid, control_register_notify, control_deregister_notify;
void client_fire_notifies(struct client *c);
/* ---- control_ip.c ---- */
control_handler control_empty_list, control_tickle_list;
/* ---- client_tunnel.c ---- */
control_handler control_tunnel_register, control_tunnel_deregister, control_tunnel_packet;
/* ---- control_db.c ---- */
control_handler control_getdbpath, control_get_dbmap, control_get_dbname, control_db_set_healthy, control_db_get_health,
	control_set_db_readonly, control_set_db_sticky, control_db_open_flags, control_db_detach,
	control_schedule_for_deletion;
/* ---- control_record.c ---- */
control_handler control_get_db_seqnum, control_update_record, control_push_record;
/* ---- control_vacuum.c ---- */
control_handler control_try_delete_records, control_vacuum_fetch, control_db_vacuum;
struct rpc_call;
struct db_vacuum_args;
struct db_copy_id;
/* Of the interface "db". priv: struct dbd. */
void vacuum_tool_run(void *priv, struct rpc_call *call, const struct db_vacuum_args *arg);
void vacuum_tool_counts(void *priv, struct rpc_call *call, const struct db_copy_id *arg);
/* ---- control_message.c ---- */
control_handler control_start_update, control_cancel_update;
void client_updates_lost(struct client *c); /* it has gone in the middle of an update: a recovery */
/* A pushed record waits for its chain lock. */
bool pushes_pending(const struct clients *cs);
/* ---- attach.c ---- */
control_handler control_db_attach, control_db_attach_persistent, control_db_attach_replicated;
/* ---- commit.c ---- */
control_handler control_trans3_commit;
/* ---- traverse.c ---- */
control_handler control_traverse_start, control_traverse_start_ext, control_traverse_start_told, control_traverse_kill;
/* ---- seqnum.c ---- */
control_handler control_enable_seqnum, control_update_seqnum;

/* ---- control_tunable.c ---- */
int tunables_new(struct clients *cs, struct tunables **t);
uint32_t tunable(const struct clients *cs, enum classic_tunable_index i);
control_handler control_set_tunable, control_get_tunable, control_list_tunables, control_get_all_tunables;

/* ---- control_stats.c ---- */
int stat_history_new(struct clients *cs, struct stat_history **h);
/* Each second; takes a moment down each interval_s of them. */
void stat_history_tick(struct stat_history *h, uint32_t interval_s);
control_handler control_statistics, control_statistics_reset, control_get_stat_history, control_get_db_statistics;

/* ---- control_retry.c ---- */
/*
 * Work that needs a chain lock which somebody may hold: fn is called at once and then again every few milliseconds
 * until it says true, or until the time is over: then expired() is called. Neither is called after the handle was
 * freed. Talloc child of mem. ENOMEM: nothing was called.
 */
struct retry;
typedef bool (*retry_fn)(void *priv);
int retry_start(TALLOC_CTX *mem, const struct dbd *dbd, uint32_t timeout_ms, retry_fn fn, void (*expired)(void *priv),
		void *priv);

#endif
