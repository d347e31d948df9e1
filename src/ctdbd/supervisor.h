/* What to do about the daemons: start in order, restart, give up, stop in reverse order. */
#ifndef CTDBD_SUPERVISOR_H
#define CTDBD_SUPERVISOR_H

#include <stdbool.h>
#include <talloc.h>
#include <tevent.h>

#include "protocol/super.h"
#include "shared/conf.h"

/*
 * Phases: STARTING -> RUNNING -> STOPPING -> STOPPED, never back; from STARTING also straight to STOPPING.
 *
 * STARTING: each daemon is started when the former one is ready. Any death, and a daemon that is not ready in time, is
 * a failure. RUNNING: what dies is started again: at once if it had lived for a while, else after a pause that doubles
 * with each early death in a row. Too many of them are a failure. STOPPING: the last one gets SIGTERM; when it is gone
 * the one before it, and so on. What does not go is killed.
 */
struct supervisor;

struct supervisor_ops {
	/* All daemons are ready for the first time. */
	void (*up)(void *priv);
	/* It cannot go on; text says why. The owner calls supervisor_stop(). */
	void (*failed)(void *priv, const char *text);
	/* After supervisor_stop(): no daemon runs any more. */
	void (*stopped)(void *priv);
};

struct supervisor_config {
	const struct conf *conf;
	const char *const *programs;          /* in the order of starting; ends with NULL */
	int lock_fd;                          /* inherited by all */
	const char *config_file;              /* NULL: the default */
	const char *log_location, *log_level; /* log_level NULL: as configured */
};

/* config need not live on; what it points to must. NULL with *err. */
struct supervisor *supervisor_new(TALLOC_CTX *mem, struct tevent_context *ev, const struct supervisor_config *config,
				  const struct supervisor_ops *ops, void *priv, char **err);

/* Starts the first. May call failed() before it returns. */
void supervisor_start(struct supervisor *s);
/* A second call changes nothing. May call stopped() before it returns. */
void supervisor_stop(struct supervisor *s);
void supervisor_signal(struct supervisor *s, int signal); /* to all that run */

/* Allocated below mem. 0 or ENOMEM. */
int supervisor_status(const struct supervisor *s, TALLOC_CTX *mem, struct super_status *status);

#endif
