/* Before anything is started: directories, locks, and whether it can work at all. Nothing here runs in the event loop;
 * it may wait. */
#ifndef CTDBD_PREPARE_H
#define CTDBD_PREPARE_H

#include <talloc.h>

#include "shared/conf.h"

/*
 * Locks of the node, released and the pid file removed when freed. pid_fd: run/ctdbd.pid, locked by the running ctdbd.
 * daemons_fd: run/ctdbd.lock, inherited by all daemons, so locked as long as one of them lives.
 */
struct node_locks {
	int pid_fd, daemons_fd;
	char *pid_path;
};

/* Makes run (0755), run/msg (0700), the database directories (0700) and the directory of a log file, unless they are there. 0 or
 * errno, *err. */
int prepare_directories(const struct conf *conf, const char *log_location, TALLOC_CTX *mem, char **err);

/* EBUSY: another ctdbd runs (its pid in *err), or daemons of a killed one do not end within wait_ms. */
int prepare_locks(const struct conf *conf, TALLOC_CTX *mem, unsigned wait_ms, struct node_locks **locks, char **err);

/* Each program is there and executable. names ends with NULL. */
int prepare_programs(const struct conf *conf, const char *const *names, TALLOC_CTX *mem, char **err);

/* The key file is there and good, if links need it. */
int prepare_keys(const struct conf *conf, TALLOC_CTX *mem, char **err);

/* The program that holds the cluster lock is there, if one is needed, and the files that it is given. */
int prepare_lock(const struct conf *conf, TALLOC_CTX *mem, char **err);

/* The own addresses are on this machine and the ports are free. */
int prepare_ports(const struct conf *conf, const struct conf_node *self, TALLOC_CTX *mem, char **err);

#endif
