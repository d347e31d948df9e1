/* Configuration: ctdb.conf plus conf.d, strict, one declaration of all options; the nodes file; the paths. */
#ifndef SHARED_CONF_H
#define SHARED_CONF_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <talloc.h>

#include "shared/log.h"

#define CONF_NODE_ADDRS 2 /* paths between two nodes */

enum conf_security { CONF_SECURITY_TLS, CONF_SECURITY_NONE };
enum conf_carrier { CONF_CARRIER_LINKS, CONF_CARRIER_TUNNEL };

enum conf_arbitration { CONF_ARBITRATION_MAJORITY, CONF_ARBITRATION_NONE, CONF_ARBITRATION_LOCK, CONF_ARBITRATION_ETCD };

/*
 * Where things are. Base directory B: environment CTDB_BASE if set, then etc = B, run = B/run, var = B/var; else /etc/ctdb,
 * /run/ctdb, /var/lib/ctdb. Options in ctdb.conf override single paths. CTDB_BASE=/etc/ctdb, which existing set-ups export for their
 * scripts, means the same as unset.
 */
struct conf_paths {
	char *etc, *run, *var;
	char *config;	     /* etc/ctdb.conf */
	char *nodes;	     /* etc/nodes, or [cluster] nodes file */
	char *socket;	     /* run/ctdbd.socket: classic client socket */
	char *msg_dir;	     /* run/msg: datagram endpoints */
	char *libexec;	     /* directory of the daemons: environment CTDB_LIBEXEC; else where this program is, if they are; else as installed */
	char *db_volatile, *db_persistent, *db_state;
};

/* All options, defaults filled in. Milliseconds unless said. See conf.c's table for section, name, range and default of each. */
struct conf {
	struct conf_paths path;
	struct {
		char *node_address;	      /* NULL: the first nodes entry found on an interface */
		enum conf_arbitration arbitration; /* majority; lock if only a cluster lock is given */
		uint32_t heartbeat_interval;  /* 250, 20..10000 */
		uint32_t dead_interval;	      /* 1000, 100..60000, at least 3 heartbeats */
		uint32_t callback_timeout;    /* 30000: of each program */
		bool leader_capability;	      /* true */
		bool lmaster_capability;      /* true */
		char *cluster_lock;	      /* NULL; path of the lock file, or "!COMMAND ARGUMENTS" */
		uint32_t lock_timeout;	      /* 10000: the arbitrator has to answer within this time */
		char *etcd_endpoints;	      /* NULL; "[http[s]://]host:port,..." */
		char *etcd_key;		      /* /ctdb/lock */
		uint32_t etcd_ttl;	      /* 5000, whole seconds */
		char *etcd_ca, *etcd_cert, *etcd_cert_key, *etcd_user; /* paths; NULL */
	} cluster;
	struct {
		uint16_t port;	  /* transportd, 4379 */
		uint16_t db_port; /* the databases' own lane, 4380 */
		enum conf_security security; /* tls */
		char *key_file;	  /* etc/cluster.key */
		enum conf_carrier carrier; /* links; tunnel: through an existing ctdbd */
		char *tunnel_socket; /* its client socket; NULL: /run/ctdb/ctdbd.socket */
		uint32_t interface_version; /* 2; 1: talk as the version before did */
	} transport;
	struct {
		bool tdb_mutexes;      /* true */
		bool volatile_in_memory; /* false; then path.db_volatile is below the run directory unless given */
		uint32_t hash_size;    /* 100001 chains */
		uint32_t transaction_hash_size; /* 10007; of databases with transactions, which copy the heads of all chains */
		bool journal;	       /* true; of persistent databases that are written often */
		uint32_t slots;	       /* 1024 */
		uint32_t attach_timeout; /* 120000 */
		uint32_t control_timeout; /* 60000 */
		uint32_t max_packet;   /* bytes, 64 MiB: largest packet accepted from a client */
		uint32_t max_queue;    /* bytes, 256 MiB: queued for one client before it is disconnected */
	} database;
	struct {
		char *location; /* file:/var/log/ctdb/log.ctdb; with CTDB_BASE: file:B/log.ctdb */
		enum log_level level; /* NOTICE */
		uint32_t stall_warning; /* 100: a handler longer than this is logged */
	} logging;
	struct {
		uint32_t ready_timeout; /* 30000: a daemon that is not ready by then has failed */
		uint32_t stop_timeout;	/* 10000: then it is killed */
		uint32_t restart_delay; /* 200: pause before starting again what died soon after its start; doubles each time */
		uint32_t restart_delay_limit; /* 10000 */
		uint32_t restart_short_life; /* 10000: what dies within this time of its start died soon */
		uint32_t restart_attempts; /* 10: so many such deaths in a row: given up, the node stops */
	} supervisor;
	/* What the user should know about the files ("FILE:LINE: ..."), for instance options that have no effect. ctdbd logs them. */
	char **notices;
	uint32_t n_notices;
};

/* Loads path (NULL: the default) and conf.d/ *.conf beside it. A missing default file is an empty one. 0 or errno; *err is
 * "FILE:LINE: what is wrong and what to do". Unknown section or option, bad value, duplicate option in one file: error. */
int conf_load(TALLOC_CTX *mem, const char *path, struct conf **conf, char **err);

/* One line of the nodes file. */
struct conf_node {
	bool deleted;		      /* starts with '#': the pnn stays; 0.0.0.0 if what follows is no address */
	struct sockaddr_storage addr; /* port 0 */
	char *text;		      /* addr as text in canonical form */
	uint32_t n_addrs;	      /* 1, or 2 with a second address as back-up path */
	struct sockaddr_storage addrs[CONF_NODE_ADDRS]; /* [0] is addr */
	char *texts[CONF_NODE_ADDRS];
};

/* Deleted ones included. */
#define CONF_NODES_MAX 256

struct conf_nodes {
	uint32_t n;
	struct conf_node *v; /* index = pnn */
	char *notice;	     /* NULL, or what the user should know: a comment takes a pnn as a deleted node does */
};

/* Reads and checks the nodes file: unparsable, duplicate or no address is an error naming file and line. */
int conf_nodes_load(TALLOC_CTX *mem, const char *path, struct conf_nodes **nodes, char **err);
/* The two halves of it; name stands in messages for the file. */
int conf_nodes_text(TALLOC_CTX *mem, const char *path, char **text, char **err);
int conf_nodes_parse(TALLOC_CTX *mem, const char *name, const char *text, struct conf_nodes **nodes, char **err);

/* Which entry am I: conf->cluster.node_address, or the only entry that is on a local interface. ENOENT none, ENOTUNIQ several; *err
 * names the file and what to do. */
int conf_nodes_self(TALLOC_CTX *mem, const struct conf *conf, const struct conf_nodes *nodes, uint32_t *pnn, char **err);

#endif
