/* Command line of the daemon template. Private to src/shared. */
#ifndef SHARED_DAEMON_OPTIONS_H
#define SHARED_DAEMON_OPTIONS_H

#include "shared/daemon.h"
#include "shared/log.h"

struct daemon_options {
	const char *config;       /* NULL: default */
	int ready_fd, control_fd; /* -1: none */
	const char *log;          /* NULL: as configured */
	const char *level_name; /* NULL: as configured */
	enum log_level level;
	bool check;
};

/* True: go on. False: *status is the exit status (--help, --version, or an error that was printed). */
bool daemon_options_parse(int argc, char **argv, const struct daemon_ops *ops, struct daemon_options *opts,
			  int *status);

#endif
