/* What the files of the ctdb tool share: options, the table of commands, errors and exit codes. */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include <ctdb/ctdb.h>

#include "output.h"

/* Exit codes; documented in ctdb(1). */
enum exit_code {
	EXIT_OK = 0,
	EXIT_ERROR = 1,
	EXIT_USAGE = 2,
	EXIT_NOT_FOUND = 3,
	EXIT_TIMEOUT = 4,
	EXIT_NO_DAEMON = 5, /* cannot connect, or connection lost */
	EXIT_WRONG = 6,     /* db check: something is wrong with a database */
};

/* Options beside the global ones; a command accepts those in its mask. */
enum option_flag {
	OPT_NODE = 0x01,    /* -n */
	OPT_MACHINE = 0x02, /* -X, -x, -Y */
	OPT_HEX = 0x04,
	OPT_COUNT = 0x08,
	OPT_MODEL = 0x10,
	OPT_FOR = 0x20,
	OPT_FORCE = 0x40,
	OPT_LOCAL = 0x100,
	OPT_HISTORY = 0x200,
	OPT_RESET = 0x400,
	OPT_RECORDS = 0x800,
	OPT_FULL = 0x1000,
	OPT_DRY_RUN = 0x10000000,
	OPT_RETIRE = 0x20000000,
	NO_DAEMON = 0x40000000, /* no option: the command runs without a connection */
};

struct options {
	const struct output_ops *format;
	const char *socket; /* NULL: default */
	uint32_t timeout_ms;
	bool timeout_given;
	uint32_t node;
	bool machine;
	const char *separator;
	bool hex, retire, dry_run;
	bool force;
	bool local, history, reset, records, full;
	const char *goal; /* --for */
	uint64_t count;   /* 0: no limit */
	enum ctdb_db_model model;
	unsigned int given; /* enum option_flag: which of those with a flag were given */
	bool help, version;
};

struct command;

/* One run of the program. */
struct cli {
	struct options opt;
	const struct command *cmd;
	struct output out;
	struct ctdb_client *c; /* connected before the command runs, unless it needs no daemon */
	void *owned[8];        /* freed at the end: arguments as bytes */
	unsigned int n_owned;
	bool printed;     /* the command printed its own output: no document at the end */
	char error[1024]; /* of cli_fail() */
};

struct command {
	const char *object; /* one word or two; NULL: an old form, one word */
	const char *verb;
	const char *args; /* "DB KEY" */
	int min_args, max_args;
	unsigned int options; /* enum option_flag */
	int (*run)(struct cli *cli, char **argv, int argc);
	const char *summary; /* one line */
	const char *help;    /* more lines, or NULL */
};

/* The table ends with run NULL. */
extern const struct command commands[];

/* ---- main.c ---- */
/* Records the error text and returns code. Texts name the thing and say what to do. */
int cli_fail(struct cli *cli, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* The same for an errno of the library: its text, and the exit code that fits. what: "record set", "database \"x\"". */
int cli_fail_api(struct cli *cli, int err, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Memory of malloc() that lives until the program ends. */
void cli_own(struct cli *cli, void *memory);

/* ---- options.c ---- */
/* Reads options; *argc, *argv are what is left. 0, or EXIT_USAGE with a text. Options that take no part in the command
 * are refused later. */
int options_parse(struct cli *cli, int *argc, char ***argv);

/* ---- help.c ---- */
void help_overview(FILE *f);
void help_command(FILE *f, const struct command *cmd);
/* "ctdb db attach NAME [--model MODEL]", cut off if it does not fit. Returns line. */
const char *help_usage(char *line, size_t size, const struct command *c);
/* The verbs of an object ("db", "cluster key"), or of everything if there is no argument. false: no such object. */
bool help_object(FILE *f, char **argv, int argc);
/* What the flags stand for: the name of the first one; all, as a line of usage has them. */
const char *option_first(unsigned int flags);
void options_usage(FILE *f, unsigned int flags);
/* Finds the command; *used: how many words it took. NULL with a text in cli->error. */
const struct command *command_find(struct cli *cli, char **argv, int argc, int *used);

/* ---- cmd_*.c ---- */
int cmd_cluster_status(struct cli *cli, char **argv, int argc);
int cmd_cluster_health(struct cli *cli, char **argv, int argc);
int cmd_cluster_view(struct cli *cli, char **argv, int argc);
int cmd_cluster_wait(struct cli *cli, char **argv, int argc);
int cmd_cluster_events(struct cli *cli, char **argv, int argc);
int cmd_leader_show(struct cli *cli, char **argv, int argc);
int cmd_leader_resign(struct cli *cli, char **argv, int argc);
int cmd_leader_transfer(struct cli *cli, char **argv, int argc);
int cmd_node_status(struct cli *cli, char **argv, int argc);
int cmd_node_ping(struct cli *cli, char **argv, int argc);
int cmd_node_capabilities(struct cli *cli, char **argv, int argc);
int cmd_node_stop(struct cli *cli, char **argv, int argc);
int cmd_node_continue(struct cli *cli, char **argv, int argc);
int cmd_node_disable(struct cli *cli, char **argv, int argc);
int cmd_node_enable(struct cli *cli, char **argv, int argc);
int cmd_node_ban(struct cli *cli, char **argv, int argc);
int cmd_node_unban(struct cli *cli, char **argv, int argc);
int cmd_key_create(struct cli *cli, char **argv, int argc);
int cmd_key_show(struct cli *cli, char **argv, int argc);
int cmd_key_rotate(struct cli *cli, char **argv, int argc);
int cmd_key_retire(struct cli *cli, char **argv, int argc);
int cmd_node_add(struct cli *cli, char **argv, int argc);
int cmd_node_remove(struct cli *cli, char **argv, int argc);
int cmd_node_replace(struct cli *cli, char **argv, int argc);
int cmd_node_reload(struct cli *cli, char **argv, int argc);
int cmd_node_links(struct cli *cli, char **argv, int argc);
int cmd_node_list(struct cli *cli, char **argv, int argc);
int cmd_db_list(struct cli *cli, char **argv, int argc);
int cmd_db_attach(struct cli *cli, char **argv, int argc);
int cmd_db_status(struct cli *cli, char **argv, int argc);
int cmd_record_get(struct cli *cli, char **argv, int argc);
int cmd_record_set(struct cli *cli, char **argv, int argc);
int cmd_record_delete(struct cli *cli, char **argv, int argc);
int cmd_record_info(struct cli *cli, char **argv, int argc);
int cmd_record_locate(struct cli *cli, char **argv, int argc);
int cmd_db_detach(struct cli *cli, char **argv, int argc);
int cmd_db_dump(struct cli *cli, char **argv, int argc);
int cmd_db_seqnum(struct cli *cli, char **argv, int argc);
int cmd_db_freeze(struct cli *cli, char **argv, int argc);
int cmd_db_thaw(struct cli *cli, char **argv, int argc);
int cmd_db_wipe(struct cli *cli, char **argv, int argc);
int cmd_db_backup(struct cli *cli, char **argv, int argc);
int cmd_db_restore(struct cli *cli, char **argv, int argc);
int cmd_db_show_backup(struct cli *cli, char **argv, int argc);
int cmd_db_check(struct cli *cli, char **argv, int argc);
int cmd_db_vacuum(struct cli *cli, char **argv, int argc);
int cmd_db_recover(struct cli *cli, char **argv, int argc);
int cmd_db_hotkeys(struct cli *cli, char **argv, int argc);
int cmd_db_set_readonly(struct cli *cli, char **argv, int argc);
int cmd_db_set_sticky(struct cli *cli, char **argv, int argc);
int cmd_db_statistics(struct cli *cli, char **argv, int argc);
int cmd_transaction_run(struct cli *cli, char **argv, int argc);
int cmd_statistics(struct cli *cli, char **argv, int argc);
int cmd_message_send(struct cli *cli, char **argv, int argc);
int cmd_message_listen(struct cli *cli, char **argv, int argc);
int cmd_message_stats(struct cli *cli, char **argv, int argc);
int cmd_old_status(struct cli *cli, char **argv, int argc);
int cmd_old_pnn(struct cli *cli, char **argv, int argc);
int cmd_old_nodestatus(struct cli *cli, char **argv, int argc);
int cmd_old_listnodes(struct cli *cli, char **argv, int argc);
int cmd_old_ping(struct cli *cli, char **argv, int argc);
int cmd_old_getpid(struct cli *cli, char **argv, int argc);
int cmd_old_getcapabilities(struct cli *cli, char **argv, int argc);
int cmd_old_setleaderrole(struct cli *cli, char **argv, int argc);
int cmd_old_setlmasterrole(struct cli *cli, char **argv, int argc);
int cmd_old_stop(struct cli *cli, char **argv, int argc);
int cmd_old_continue(struct cli *cli, char **argv, int argc);
int cmd_old_disable(struct cli *cli, char **argv, int argc);
int cmd_old_enable(struct cli *cli, char **argv, int argc);
int cmd_old_ban(struct cli *cli, char **argv, int argc);
int cmd_old_unban(struct cli *cli, char **argv, int argc);
int cmd_old_leader(struct cli *cli, char **argv, int argc);
int cmd_old_runstate(struct cli *cli, char **argv, int argc);
int cmd_old_uptime(struct cli *cli, char **argv, int argc);
int cmd_old_getdbmap(struct cli *cli, char **argv, int argc);
int cmd_old_attach(struct cli *cli, char **argv, int argc);
int cmd_old_detach(struct cli *cli, char **argv, int argc);
int cmd_old_getdbstatus(struct cli *cli, char **argv, int argc);
int cmd_old_getdbseqnum(struct cli *cli, char **argv, int argc);
int cmd_old_recover(struct cli *cli, char **argv, int argc);
int cmd_old_setdbreadonly(struct cli *cli, char **argv, int argc);
int cmd_old_setdbsticky(struct cli *cli, char **argv, int argc);
int cmd_old_catdb(struct cli *cli, char **argv, int argc);
int cmd_old_cattdb(struct cli *cli, char **argv, int argc);
int cmd_old_wipedb(struct cli *cli, char **argv, int argc);
int cmd_old_backupdb(struct cli *cli, char **argv, int argc);
int cmd_old_restoredb(struct cli *cli, char **argv, int argc);
int cmd_old_dumpdbbackup(struct cli *cli, char **argv, int argc);
int cmd_old_readkey(struct cli *cli, char **argv, int argc);
int cmd_old_writekey(struct cli *cli, char **argv, int argc);
int cmd_old_deletekey(struct cli *cli, char **argv, int argc);
int cmd_old_pfetch(struct cli *cli, char **argv, int argc);
int cmd_old_pstore(struct cli *cli, char **argv, int argc);
int cmd_old_pdelete(struct cli *cli, char **argv, int argc);
int cmd_old_ptrans(struct cli *cli, char **argv, int argc);
int cmd_old_tfetch(struct cli *cli, char **argv, int argc);
int cmd_old_tstore(struct cli *cli, char **argv, int argc);
int cmd_old_statisticsreset(struct cli *cli, char **argv, int argc);
int cmd_old_stats(struct cli *cli, char **argv, int argc);
int cmd_old_dbstatistics(struct cli *cli, char **argv, int argc);

/* ---- cmd_link.c ---- */
/* A warning if links are not secured; in JSON "security" as well, null if the daemon cannot tell. */
void links_print_security(struct cli *cli);

/* ---- db_find.c ---- */
struct db_info {
	uint32_t id, flags;
	char *name; /* NULL if only the id was asked for and found */
};
/* A database of a node by name or 0x id. 0 or exit code. */
int db_find(struct cli *cli, uint32_t node, const char *name, struct db_info *db);
/* What it returns if there is none of that name (old forms: also for other errors). */
int db_not_found(const struct cli *cli);
/* Looks like an id: no database is made of that name. */
bool db_is_id(const char *name);
/* Known or attachable; opened on this node. 0 or exit code. */
int db_open(struct cli *cli, const char *name, struct ctdb_db **db);

/* ---- nodes.c ---- */
/* Address as text in a static buffer. */
const char *node_address(const struct ctdb_node *n);
/* Flag words in the order that scripts know, joined by '|'; "OK" for none. With unknown: "UNKNOWN" instead of the
 * flags. Static buffer. */
const char *node_flags_text(uint32_t flags, bool unknown, bool partially);
/* The same words as an array; empty for none. */
json_t *node_flags_json(uint32_t flags);
/* Whether an interface of a node without flags is down. */
bool node_is_partially_online(struct cli *cli, const struct ctdb_node *n);

#endif
