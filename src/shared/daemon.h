/* The daemon template: a daemon's main() fills a struct daemon_ops and calls daemon_main(). */
#ifndef SHARED_DAEMON_H
#define SHARED_DAEMON_H

#include <stdbool.h>
#include <stdint.h>
#include <talloc.h>
#include <tevent.h>

#include "base/mono.h"
#include "shared/conf.h"

struct msg;

/* What a running daemon has at hand. Embedded nowhere: the template allocates it, top of the daemon's talloc tree. */
struct daemon {
	const char *name; /* "ctdb-dbd" */
	struct tevent_context *ev;
	struct conf *conf;
	struct conf_nodes *nodes;
	uint32_t pnn;	  /* own node */
	struct msg *msg;  /* the daemon's endpoint; NULL if ops->service is NULL */
	uint64_t incarnation; /* random, never 0: tells this run of the daemon from any other */
	void *priv;	  /* the daemon's own state */
	/* NULL, or in prepare() with ops->moves why no line of the nodes list is this node: then pnn is to be found, or *err is this text. */
	char *lost;
	const char *log_location, *log_level; /* in use; log_level NULL: as configured. prepare() may change them */
};

/* A switch of one program alone. */
struct daemon_switch {
	char letter;	  /* 0: none */
	const char *name; /* NULL: end of the list */
	bool *given;
	const char *help;
};

struct daemon_ops {
	const char *name;    /* program name for logs: "ctdb-clusterd" */
	const char *service; /* endpoint service: "cluster"; NULL for none */
	const char *summary; /* one line for --help */
	/* Starts everything; 0, or errno with *err saying what failed and what to do: the program then exits 1, nothing half-started. */
	int (*setup)(struct daemon *d, char **err);
	/* Configuration was reloaded (SIGHUP), d->conf is new; may be NULL. */
	void (*reload)(struct daemon *d);
	/* Stop in order; call daemon_exit() when done. Killed after 10 s. NULL: exit at once. */
	void (*stop)(struct daemon *d);

	/* What few daemons need; all may be left out. */
	const struct daemon_switch *switches;
	/* Configuration and nodes are known, nothing else is done yet: no log, no event context, no endpoint. May fork. As setup(). */
	int (*prepare)(struct daemon *d, char **err);
	bool deferred_ready;   /* ready is not when setup() returns, but when the daemon calls daemon_ready() */
	unsigned stop_limit_s; /* instead of the 10 s; UINT_MAX: none */
	/*
	 * Others decide by our silence: run before what is not so urgent, by a nice value of -10. Refused (in a container, as another user): said in the log, no more.
	 * Not inherited by programs that the daemon starts.
	 */
	bool urgent;
	/* Has a descriptor for each client, database or peer: raises the soft limit of descriptors (mostly 1024) to the hard one. Its programs inherit that. */
	bool many_files;
	bool moves; /* prepare() deals with an address that is in no line of the nodes list */
	bool own_nodes; /* d->nodes is the daemon's own business: neither SIGHUP nor clusterd's word changes it */
};

/*
 * Options of every daemon: --config FILE, --ready-fd N (one byte 'R' is written when setup is done and the daemon serves, then
 * closed), --control-fd N (end of file there means the supervisor is gone: stop in order), --log LOCATION, --log-level LEVEL,
 * --check (only checks the configuration: 0 good, 1 not), --version, --help. Does: options, conf_load, nodes, log, event context, signals (TERM and INT stop, HUP reload and reopen
 * log, PIPE ignored), umask 077, endpoint, setup, readiness, loop. Returns main()'s exit status.
 */
int daemon_main(int argc, char **argv, const struct daemon_ops *ops);

void daemon_exit(struct daemon *d, int status);

/* Stops in order, as SIGTERM does; a second call changes nothing. reason is for the log: "asked by ..." */
void daemon_stop(struct daemon *d, const char *reason);
bool daemon_stopping(const struct daemon *d);

/* With deferred_ready: the daemon serves from now on. */
void daemon_ready(struct daemon *d);

/*
 * SIGHUP: d->conf is the same object; what may change at run time (conf_options.c says which) has new values, for the rest a warning says that a
 * restart is needed. d->nodes is another object if the nodes file changed, and the former one stays valid. Errors: the former values stay.
 * The same for the nodes alone when clusterd says that the nodes file was replaced (protocol/reload.x).
 */

/*
 * Stall meter: run time of every event handler, by source. Each handler over the warning limit is logged with its name. Kept:
 * count, maximum, and buckets of powers of two microseconds.
 */
struct stall_stats {
	uint64_t handlers;
	uint64_t max_us;
	char max_where[64];
	uint64_t bucket[32]; /* bucket[i]: run time in [2^i, 2^(i+1)) us, bucket[0] also 0 */
};
void stall_meter_start(struct tevent_context *ev, uint32_t warning_ms);
const struct stall_stats *stall_meter_stats(void);

#endif
