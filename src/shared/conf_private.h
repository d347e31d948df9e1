/* Configuration: what the daemon template needs and daemons do not. Private to src/shared. */
#ifndef SHARED_CONF_PRIVATE_H
#define SHARED_CONF_PRIVATE_H

#include "shared/conf.h"

/*
 * Takes over from fresh into conf what SIGHUP may change. Returns the names of what differs and takes a restart
 * ("[cluster] dead interval, ..."), talloc'ed below mem, or NULL if there is nothing.
 */
char *conf_update(TALLOC_CTX *mem, struct conf *conf, const struct conf *fresh);

#endif
