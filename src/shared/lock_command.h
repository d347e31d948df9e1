/* Which program holds the cluster lock, as the configuration says. */
#ifndef SHARED_LOCK_COMMAND_H
#define SHARED_LOCK_COMMAND_H

#include <talloc.h>

#include "shared/conf.h"

/*
 * With arbitration lock and etcd: the program and its arguments, below mem; else *argv is NULL. holder: who asks, for people ("node 0 (10.0.0.1)").
 * 0; or ENOENT, EACCES ...: the program, or a file that it is given, is not there or cannot be used; *err says which and what to do.
 */
int lock_command(TALLOC_CTX *mem, const struct conf *conf, const char *holder, char ***argv, char **err);

#endif
