/* The table of all commands. */
#include "cli.h"

#define DB_HELP "DB is the name of a database (\"locking.tdb\") or its id in hexadecimal (0x7a19d84d).\n"
#define KEY_HELP                                                                                                       \
	"In KEY and VALUE \\xNN stands for a byte and \\\\ for a backslash; with --hex both are hexadecimal. Keys of " \
	"Samba often end in \\x00.\n"

#define LIST_HELP                                                                                                      \
	"NODES: \"all\", or numbers joined by commas; without it: this node, or that of -n. Exit status 1 if one of them does not answer.\n"
#define ORDER_HELP                                                                                                     \
	"NODE: its number, or \"local\"; it has to be connected. Nothing is done if it is so already. --timeout S (60): exit status 4 if it is not\n" \
	"completed by then; what was begun goes on.\n"

const struct command commands[] = {
	{"cluster", "status", "", 0, 0, 0, cmd_cluster_status, "Is the cluster well, and if not, what to do",
	 "The first line is the verdict: OK, DEGRADED (some nodes do not take part), RECOVERING, STARTING, INACTIVE "
	 "(this node does not take\n"
	 "part) or NO LEADER, with the reason, since when, and what to do next. In JSON: \"verdict\", \"state\", and "
	 "\"ready\": this node serves.\n"
	 "Then the nodes (who is out, since when, and why), callbacks that failed, and the arbitration.\n"
	 "Exit status 0 whenever the daemon could be asked; ctdb cluster health says it by its exit status.\n"},
	{"cluster", "health", "", 0, 0, NO_DAEMON, cmd_cluster_health, "One line and an exit status, for scripts and monitoring",
	 "Exit status 0: all is well. 1: the cluster serves, but is degraded. 2: this node does not serve. 3: not known, the daemon\n"
	 "does not answer.\n"},
	{"cluster", "view", "", 0, 0, OPT_NODE, cmd_cluster_view, "The view that a node has: what all members agree on",
	 "Term and number (the newest view counts), leader, members with flags, capabilities and incarnation.\n"},
	{"cluster", "wait", "", 0, 0, NO_DAEMON | OPT_FOR, cmd_cluster_wait, "Wait until this node is as far as that",
	 "STATE: started (the daemon answers), member (the node is in the cluster), leader (there is one), recovered (the databases are),\n"
	 "serving (all of it: Samba can be started). The daemon need not be started yet. --timeout S: 60 by default; then exit status 4 "
	 "and what it waits for.\n"},
	{"cluster", "events", "", 0, 0, OPT_COUNT, cmd_cluster_events, "What changes in the cluster, as it happens",
	 "A line for each change that this node sees from now on (JSON: one document a line): leader, node-in, node-out, flags, active, "
	 "inactive,\n"
	 "nodes, arbitration, callback. --count N: end after N. With -t: exit status 4 when that many seconds passed without one.\n"
	 "When daemons of this node are started again it waits up to 60 s for them and says so: away, back, and restarted if changes may "
	 "be missing.\n"},
	{"leader", "show", "", 0, 0, OPT_NODE, cmd_leader_show, "Which node leads, and for how long",
	 "Exit status 3 if no leader is known.\n"},
	{"leader", "resign", "", 0, 0, 0, cmd_leader_resign, "Have another node lead",
	 "The leader hands over to the next that may lead. Nothing is interrupted but for a short recovery. Ends when another one leads "
	 "(--timeout S: 30 by default).\n"},
	{"leader", "transfer", "NODE", 1, 1, 0, cmd_leader_transfer, "Have that node lead",
	 "It has to be an active member with the capability to lead (ctdb cluster view). Nothing is done if it leads already.\n"},
	{"cluster key", "create", "[FILE]", 0, 1, NO_DAEMON, cmd_key_create, "Make the key that secures the links between nodes",
	 "Writes a new random key to FILE (default: cluster.key in /etc/ctdb, or in CTDB_BASE), mode 0600. A file that exists "
	 "is never replaced.\n"
	 "Copy it to all nodes by a way that nobody can listen to. Needs no daemon.\n"},
	{"cluster key", "show-id", "", 0, 0, 0, cmd_key_show, "Which keys the nodes have, by their ids",
	 "An id tells nothing about its key. OFFERED: used to connect to others. Exit status 1 unless all nodes have the same "
	 "keys.\n"},
	{"cluster key", "rotate", "", 0, 0, OPT_RETIRE, cmd_key_rotate, "A new key on all nodes, without interruption",
	 "The key is made here, added on all nodes and, when all have confirmed that, used by all; links stay up. If a node "
	 "cannot be reached\n"
	 "nothing is lost: run it again when it can. --retire: all other keys are dropped at the end; without it they are "
	 "still accepted.\n"},
	{"cluster key", "retire", "ID", 1, 1, 0, cmd_key_retire, "Accept a former key no longer, on all nodes",
	 "All nodes have to answer, and none may use it.\n"},
	{"node", "links", "[NODE]", 0, 1, OPT_NODE, cmd_node_links, "Links to the other nodes, and their paths",
	 "For each path: address, state (active: carries packets, ready: takes over if that fails, down), number of connections, "
	 "round trip, security,\n"
	 "id of the key. UPS: how often the link came up; SWITCHES: how often a path took over. VERSION: of the protocol spoken "
	 "with that node.\n"},
	{"node", "add", "ADDR[,ADDR2]", 1, 1, OPT_DRY_RUN, cmd_node_add, "Add a node to the nodes list of all nodes",
	 "The node gets the next number. Then copy the nodes file (and cluster.key) to it and start its ctdbd. Nothing is changed unless "
	 "all members\n"
	 "of the cluster can write it. --dry-run: only says what would be done, or why not.\n"},
	{"node", "remove", "NODE", 1, 1, OPT_DRY_RUN, cmd_node_remove, "Remove a node that is down from the nodes list of all nodes",
	 "Its number stays: its line in the nodes file begins with '#' from then on. Stop its ctdbd first.\n"},
	{"node", "replace", "NODE ADDR[,ADDR2]", 2, 2, OPT_DRY_RUN, cmd_node_replace, "Give a node that is down another address, on all nodes",
	 "Also for a node that was removed: its number is used again.\n"},
	{"node", "reload", "", 0, 0, OPT_NODE | OPT_DRY_RUN, cmd_node_reload, "Make this node's nodes file that of all nodes",
	 "Differences are carried out one node at a time, removals first. A node that is kept out because its nodes file differs gets the "
	 "list as well.\n"},
	{"node", "list", "", 0, 0, OPT_NODE, cmd_node_list, "Nodes, their addresses and flags",
	 "As the node that is asked sees them.\n"},
	{"node", "status", "[NODES]", 0, 1, OPT_NODE, cmd_node_status, "What nodes say of themselves",
	 LIST_HELP "Each is asked itself: run state, whether it is active and if not why, flags, the leader it knows, its databases, what is "
		   "left of a ban.\n"},
	{"node", "ping", "[NODES]", 0, 1, OPT_NODE, cmd_node_ping, "Do nodes answer, how fast, how many clients have they", LIST_HELP},
	{"node", "capabilities", "[NODES]", 0, 1, OPT_NODE, cmd_node_capabilities, "What nodes may become: leader, location master",
	 LIST_HELP},
	{"node", "stop", "NODE", 0, 1, OPT_NODE | OPT_FORCE, cmd_node_stop, "Take a node out of the cluster until it is continued",
	 ORDER_HELP "Ends when the node is inactive and the others have recovered. The last active node needs --force.\n"},
	{"node", "continue", "NODE", 0, 1, OPT_NODE, cmd_node_continue, "Take a stopped node back",
	 ORDER_HELP "Ends when the node is active again and serves.\n"},
	{"node", "disable", "NODE", 0, 1, OPT_NODE, cmd_node_disable, "Keep a node from having public addresses",
	 ORDER_HELP "It keeps its databases and its clients.\n"},
	{"node", "enable", "NODE", 0, 1, OPT_NODE, cmd_node_enable, "Let a node have public addresses again", ORDER_HELP},
	{"node", "ban", "NODE SECONDS", 1, 2, OPT_NODE | OPT_FORCE, cmd_node_ban, "Take a node out of the cluster for some time",
	 ORDER_HELP "SECONDS: 1 to 2592000 (30 days); again: the new time counts from now. Needs --force if it is the last active node, or "
		    "more than half\n"
		    "of the nodes would be banned.\n"},
	{"node", "unban", "NODE", 0, 1, OPT_NODE, cmd_node_unban, "End the ban of a node", ORDER_HELP},
	{"db", "list", "", 0, 0, OPT_NODE, cmd_db_list, "Databases attached on a node", NULL},
	{"db", "attach", "NAME", 1, 1, OPT_MODEL, cmd_db_attach,
	 "Make a database known in the cluster; create it if need be",
	 "--model volatile (default), persistent or replicated. A database that exists as another model is an "
	 "error.\n"},
	{"db", "status", "DB", 1, 1, OPT_NODE, cmd_db_status, "Everything about one database", DB_HELP},
	{"db", "detach", "DB...", 1, 64, 0, cmd_db_detach, "Forget volatile databases on all nodes",
	 DB_HELP "Their contents are gone. The tunable AllowClientDBAttach has to be 0 on all nodes, or clients could attach them again at once.\n"},
	{"db", "dump", "DB", 1, 1, OPT_LOCAL | OPT_HEX, cmd_db_dump, "All records of a database",
	 DB_HELP "A line for each, which ctdb transaction run reads (JSON: one document a line, the last says whether all was told); streamed.\n"
		 "Records that move meanwhile may be told twice or not at all. Exit status 1 and a reason if records may be missing since a node\n"
		 "was lost, a recovery ran, or a signal came. --local: this node's file as it is, with headers.\n"},
	{"db", "seqnum", "DB", 1, 1, OPT_NODE, cmd_db_seqnum, "Sequence number of a persistent or replicated database",
	 DB_HELP "Each transaction counts.\n"},
	{"db", "check", "[DB]", 0, 1, 0, cmd_db_check, "Do the copies of all nodes fit together",
	 DB_HELP "Checks the files, and then: persistent and replicated databases have the same contents on all nodes; of volatile ones each record\n"
		 "has one owner, whose copy is the newest, and which its location master knows. Clients go on. What looks wrong is looked at again.\n"
		 "The first line is the verdict. Exit status 0: nothing is wrong; 6: something is; others: it could not be checked.\n"},
	{"db", "backup", "DB FILE", 2, 2, 0, cmd_db_backup, "Write a database to a file",
	 DB_HELP "FILE is replaced when the backup is complete; \"-\": standard output. Persistent and replicated databases: as they were at one moment.\n"
		 "The file is described in ctdb-backup(5).\n"},
	{"db", "show-backup", "FILE", 1, 1, OPT_RECORDS | OPT_HEX | NO_DAEMON, cmd_db_show_backup, "Check a backup and say what is in it",
	 "--records: its records, as ctdb db dump prints them. Needs no daemon.\n"},
	{"db", "restore", "FILE [DB]", 1, 2, 0, cmd_db_restore, "Replace the contents of a database by those of a backup, on all nodes",
	 DB_HELP "Without DB: the one that the backup is of. It is made if it does not exist. All of the file is checked before anything is\n"
		 "changed; then the database is frozen, and all nodes store the new contents, or none does. Clients wait meanwhile.\n"
		 "Backups of CTDB's own tool (64-bit machines of either byte order) are read as well.\n"},
	{"db", "wipe", "DB", 1, 1, 0, cmd_db_wipe, "Remove all records of a database, on all nodes", DB_HELP},
	{"db", "freeze", "DB", 1, 1, 0, cmd_db_freeze, "Stop all changes of a database, on all nodes",
	 DB_HELP "Clients that ask for its records wait. Ends by ctdb db thaw, by a recovery, and by itself after two minutes.\n"},
	{"db", "thaw", "DB", 1, 1, 0, cmd_db_thaw, "Let a frozen database go on", DB_HELP "A recovery opens it again; ends after that.\n"},
	{"db", "set-readonly", "DB", 1, 1, 0, cmd_db_set_readonly, "Let nodes have read-only copies of records", DB_HELP
	 "A volatile one, on all nodes; cannot be taken back. Many nodes can then read a record at once; who writes calls the copies back.\n"},
	{"db", "set-sticky", "DB", 1, 1, 0, cmd_db_set_sticky, "Keep records that many nodes fight for a while at each", DB_HELP
	 "A volatile one, on all nodes; cannot be taken back. A record that a node had to give away more than HopcountMakeSticky times within a\n"
	 "second stays there for StickyPindown ms after each arrival while it is used, for StickyDuration s (tunables).\n"},
	{"db", "hotkeys", "DB", 1, 1, OPT_NODE | OPT_HEX, cmd_db_hotkeys, "The records that nodes fight for", DB_HELP
	 "For each active node, or that of -n, the ten keys whose records came to it most often within a second, since the last\n"
	 "ctdb statistics --reset. KEY as in ctdb record.\n"},
	{"db", "statistics", "DB", 1, 1, OPT_NODE | OPT_HEX, cmd_db_statistics, "What a node counts about a database", DB_HELP},
	{"db", "vacuum", "[DB]", 0, 1, OPT_NODE | OPT_FULL, cmd_db_vacuum, "Remove deleted records from the files now",
	 DB_HELP "A volatile one; without DB: all of them. Nodes do so by themselves every few seconds (tunable VacuumInterval). --full: look at all records,\n"
		 "not just at those that are known to be deleted. All active nodes, or that of -n.\n"},
	{"db", "recover", "", 0, 0, OPT_NODE | OPT_FULL, cmd_db_recover, "Have all nodes agree anew on who owns which record",
	 "Waits for its end (--timeout S: 60 by default; then exit status 4, it goes on) and tells what it cost each node. Clients that ask for\n"
	 "records wait meanwhile. A recovery looks only at slots of which nodes say different things; --full: at all copies of all nodes.\n"},
	{"transaction", "run", "DB [FILE]", 1, 2, OPT_HEX, cmd_transaction_run, "Carry out a script in one transaction",
	 DB_HELP "FILE, or \"-\" or nothing for standard input, has a step on each line:\n"
		 "  get KEY           tell the value at the end (--hex: in hexadecimal)\n"
		 "  set KEY VALUE     write the record\n"
		 "  delete KEY        delete the record, which has to exist\n"
		 "  expect KEY VALUE  go on only if the record has that value\n"
		 "  absent KEY        go on only if there is no such record\n"
		 "A word is bare, \"quoted\" (\\xNN is a byte), or 0x and hexadecimal digits. # begins a comment line. All is done or nothing; a mistake\n"
		 "anywhere is told with its line, and nothing is begun.\n"},
	{"record", "get", "DB KEY", 2, 2, OPT_HEX, cmd_record_get, "Print the value of a record",
	 DB_HELP KEY_HELP "A record of a volatile database is brought to this node if its copy here is not the current "
			  "one. Exit status 3 if there is no such record.\n"},
	{"record", "set", "DB KEY VALUE", 3, 3, OPT_HEX, cmd_record_set, "Write a record",
	 DB_HELP KEY_HELP "VALUE \"-\": from standard input, taken as it is (with --hex: as hexadecimal). Volatile "
			  "databases: under the lock of the record;\n"
			  "others: in a transaction of its own.\n"},
	{"record", "delete", "DB KEY", 2, 2, OPT_HEX, cmd_record_delete, "Delete a record",
	 DB_HELP KEY_HELP "Exit status 3 if there is no such record.\n"},
	{"record", "info", "DB KEY", 2, 2, OPT_HEX, cmd_record_info,
	 "Where a record is: its copy on this node, its location master",
	 DB_HELP KEY_HELP "Looks at this node's file only; nothing is moved.\n"},
	{"record", "locate", "DB KEY", 2, 2, OPT_HEX, cmd_record_locate, "The copies of a record on all nodes",
	 DB_HELP KEY_HELP "ROLE: owner (the copy that counts), lmaster (its location master). Nothing is moved. Exit status 3 if no node has it.\n"},
	{"message", "send", "NODE SRVID TEXT", 3, 3, OPT_HEX, cmd_message_send, "Send a message",
	 "NODE: a node number, \"local\", or \"all\", \"active\", \"connected\". SRVID: 64-bit address, decimal or 0x. "
	 "TEXT as in ctdb record set, \"-\" for standard\n"
	 "input. There is no acknowledgement: exit status 0 means that the daemon has it.\n"},
	{"message", "listen", "SRVID", 1, 1, OPT_HEX | OPT_COUNT, cmd_message_listen,
	 "Print messages sent to an address",
	 "One line for each message as it arrives (JSON: one document a line). --count N: end after N messages. With "
	 "-t: exit status 4 when\n"
	 "that many seconds passed without one; without -t it waits until it is interrupted.\n"},
	{"message", "stats", "[ENDPOINT]", 0, 1, OPT_NODE, cmd_message_stats,
	 "Counters of the messages between daemons",
	 "All endpoints of a node, or everything about one (\"db\", \"transport\"): packets, what was dropped and why, "
	 "what waits. The counters begin when\n"
	 "the process is started. QUEUED: packets for others of its node that do not read them fast enough.\n"},
	{NULL, "status", "", 0, 0, OPT_NODE | OPT_MACHINE, cmd_old_status,
	 "As ctdb cluster status, in the form that scripts know",
	 "With more than 64 slots in the vnn map: a line \"lmaster:N slots:M\" for each location master instead of a "
	 "line for each slot.\n"},
	{NULL, "nodestatus", "[NODES]", 0, 1, OPT_NODE | OPT_MACHINE, cmd_old_nodestatus, "Flags of nodes; the exit status has them as bits",
	 "NODES: \"all\", or numbers joined by commas. Exit status: 1 disconnected, 2 unhealthy, 4 disabled, 8 banned, 32 stopped, 64 unknown.\n"},
	{NULL, "listnodes", "", 0, 0, OPT_MACHINE, cmd_old_listnodes, "Addresses of the nodes", NULL},
	{NULL, "ping", "", 0, 0, OPT_NODE | OPT_MACHINE, cmd_old_ping, "Does a node answer", NULL},
	{NULL, "getpid", "", 0, 0, OPT_NODE | OPT_MACHINE, cmd_old_getpid, "Process id of the daemon", NULL},
	{NULL, "getcapabilities", "", 0, 0, OPT_NODE | OPT_MACHINE, cmd_old_getcapabilities, "As ctdb node capabilities", NULL},
	{NULL, "setleaderrole", "on|off", 1, 1, OPT_NODE, cmd_old_setleaderrole, "May a node lead, until its ctdbd ends", NULL},
	{NULL, "setlmasterrole", "on|off", 1, 1, OPT_NODE, cmd_old_setlmasterrole, "May a node be location master, until its ctdbd ends",
	 NULL},
	{NULL, "stop", "", 0, 0, OPT_NODE, cmd_old_stop, "As ctdb node stop, of this node or that of -n", NULL},
	{NULL, "continue", "", 0, 0, OPT_NODE, cmd_old_continue, "As ctdb node continue", NULL},
	{NULL, "disable", "", 0, 0, OPT_NODE, cmd_old_disable, "As ctdb node disable", NULL},
	{NULL, "enable", "", 0, 0, OPT_NODE, cmd_old_enable, "As ctdb node enable", NULL},
	{NULL, "ban", "SECONDS", 1, 1, OPT_NODE, cmd_old_ban, "As ctdb node ban", NULL},
	{NULL, "unban", "", 0, 0, OPT_NODE, cmd_old_unban, "As ctdb node unban", NULL},
	{NULL, "reloadnodes", "", 0, 0, OPT_NODE | OPT_DRY_RUN, cmd_node_reload, "As ctdb node reload", NULL},
	{NULL, "pnn", "", 0, 0, 0, cmd_old_pnn, "Number of this node", NULL},
	{NULL, "leader", "", 0, 0, 0, cmd_old_leader, "Number of the node that leads, or UNKNOWN", NULL},
	{NULL, "runstate", "[STATE...]", 0, 16, OPT_NODE, cmd_old_runstate,
	 "Run state of the daemon; exit status 1 unless it is one of those given", NULL},
	{NULL, "uptime", "", 0, 0, OPT_NODE, cmd_old_uptime, "When the daemon was started and the last recovery was",
	 NULL},
	{NULL, "getdbmap", "", 0, 0, OPT_NODE | OPT_MACHINE, cmd_old_getdbmap,
	 "As ctdb db list, in the form that scripts know", NULL},
	{NULL, "getdbstatus", "DB", 1, 1, OPT_NODE, cmd_old_getdbstatus, "As ctdb db status", NULL},
	{NULL, "getdbseqnum", "DB", 1, 1, OPT_NODE, cmd_old_getdbseqnum, "As ctdb db seqnum", NULL},
	{NULL, "attach", "NAME [KIND]", 1, 2, 0, cmd_old_attach, "As ctdb db attach; KIND: persistent, replicated, readonly, sticky", NULL},
	{NULL, "detach", "DB...", 1, 64, 0, cmd_old_detach, "As ctdb db detach", NULL},
	{NULL, "recover", "", 0, 0, OPT_NODE, cmd_old_recover, "As ctdb db recover, silent", NULL},
	{NULL, "setdbreadonly", "DB", 1, 1, OPT_NODE, cmd_old_setdbreadonly, "As ctdb db set-readonly, on one node", NULL},
	{NULL, "setdbsticky", "DB", 1, 1, OPT_NODE, cmd_old_setdbsticky, "As ctdb db set-sticky, on one node", NULL},
	{NULL, "catdb", "DB", 1, 1, 0, cmd_old_catdb, "As ctdb db dump", NULL},
	{NULL, "cattdb", "DB", 1, 1, 0, cmd_old_cattdb, "As ctdb db dump --local", NULL},
	{NULL, "backupdb", "DB FILE", 2, 2, 0, cmd_old_backupdb, "As ctdb db backup", NULL},
	{NULL, "restoredb", "FILE [DB]", 1, 2, 0, cmd_old_restoredb, "As ctdb db restore", NULL},
	{NULL, "dumpdbbackup", "FILE", 1, 1, NO_DAEMON, cmd_old_dumpdbbackup, "As ctdb db show-backup --records", NULL},
	{NULL, "wipedb", "DB", 1, 1, 0, cmd_old_wipedb, "As ctdb db wipe", NULL},
	{NULL, "readkey", "DB KEY [readonly]", 2, 3, 0, cmd_old_readkey, "Value of a record of a volatile database; KEY may be 0xHEX", NULL},
	{NULL, "writekey", "DB KEY VALUE", 3, 3, 0, cmd_old_writekey, "Write a record of a volatile database", NULL},
	{NULL, "deletekey", "DB KEY", 2, 2, 0, cmd_old_deletekey, "Delete a record of a volatile database", NULL},
	{NULL, "pfetch", "DB KEY", 2, 2, 0, cmd_old_pfetch, "Value of a record of a persistent database", NULL},
	{NULL, "pstore", "DB KEY VALUE", 3, 3, 0, cmd_old_pstore, "Write a record of a persistent database", NULL},
	{NULL, "pdelete", "DB KEY", 2, 2, 0, cmd_old_pdelete, "Delete a record of a persistent database", NULL},
	{NULL, "ptrans", "DB [FILE]", 1, 2, 0, cmd_old_ptrans, "Many changes in one transaction: lines \"KEY\" \"VALUE\"", NULL},
	{NULL, "tfetch", "TDBFILE KEY [FILE]", 2, 3, NO_DAEMON, cmd_old_tfetch, "Value of a record of a TDB file", NULL},
	{NULL, "tstore", "TDBFILE KEY VALUE [RSN DMASTER FLAGS]", 3, 6, NO_DAEMON, cmd_old_tstore, "Write a record of a TDB file", NULL},
	{NULL, "statistics", "", 0, 0, OPT_NODE | OPT_MACHINE | OPT_HISTORY | OPT_RESET | OPT_COUNT, cmd_statistics, "What a node's daemon counts",
	 "Since its start, or the last reset. --history: the last 100 intervals (tunable StatHistoryInterval, 1 s), newest first; --count N of them.\n"
	 "--reset: all counters of the node begin at 0 again.\n"},
	{NULL, "statisticsreset", "", 0, 0, OPT_NODE, cmd_old_statisticsreset, "As ctdb statistics --reset", NULL},
	{NULL, "stats", "[COUNT]", 0, 1, OPT_NODE | OPT_MACHINE, cmd_old_stats, "As ctdb statistics --history", NULL},
	{NULL, "dbstatistics", "DB", 1, 1, OPT_NODE, cmd_old_dbstatistics, "As ctdb db statistics", NULL},
	{.run = NULL},
};
