/* One daemon as the supervisor sees it: started, its readiness and output watched, its exit reported. No policy. */
#ifndef CTDBD_PROCESS_H
#define CTDBD_PROCESS_H

#include <stdbool.h>
#include <talloc.h>
#include <tevent.h>

#include "base/mono.h"
#include "protocol/super.h"

struct process;

struct process_ops {
	void (*ready)(void *priv, struct process *p);
	/* It ended, whatever the state was. The state is unchanged yet. */
	void (*exited)(void *priv, struct process *p);
};

struct process_config {
	const char *name;        /* program and name in logs: "ctdb-dbd" */
	char *const *argv;       /* without the descriptors' options, which are added */
	int control_fd, lock_fd; /* inherited */
};

/* Not started: state WAITING. config is kept by reference. NULL: no memory. */
struct process *process_new(TALLOC_CTX *mem, struct tevent_context *ev, const struct process_config *config,
			    const struct process_ops *ops, void *priv);

/* 0: state STARTING; or errno. */
int process_start(struct process *p);

/* SIGTERM and state STOPPING, or SIGKILL. Nothing if it does not run. */
void process_terminate(struct process *p);
void process_kill(struct process *p);
void process_signal(struct process *p, int signal);

/* Changes of state that are the supervisor's decision. Each logs "old -> new". */
void process_set_waiting(struct process *p);
void process_set_failed(struct process *p);

const char *process_name(const struct process *p);
enum super_process_state process_state(const struct process *p);
bool process_running(const struct process *p);
int process_pid(const struct process *p); /* 0: does not run */
unsigned process_starts(const struct process *p);
struct mono process_started(const struct process *p);   /* last start */
struct mono process_since(const struct process *p);     /* in this state */
const char *process_last_exit(const struct process *p); /* "exited with status 1", or "" */
const char *process_last_line(const struct process *p); /* of its standard error in this run, or "" */

#endif
