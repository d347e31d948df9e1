/* Process runner: starts programs, captures what they print, ends them with their whole group. */
#ifndef SHARED_PROC_H
#define SHARED_PROC_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <talloc.h>
#include <tevent.h>

#include "base/xdr.h"

/*
 * proc_run: runs argv[0] to its end. Own process group, close-on-exec for everything but 0, 1, 2 (0 from /dev/null), signals reset. After
 * timeout_ms: SIGTERM to the group, 2 s later SIGKILL; result ETIMEDOUT. SIGKILL when this process dies. Output (1 and 2 together) beyond max_output bytes is cut.
 */
struct tevent_req *proc_run_send(TALLOC_CTX *mem, struct tevent_context *ev, char *const argv[], char *const envp[], uint32_t timeout_ms,
				 size_t max_output);
/* 0 and *wait_status as of waitpid(); ENOENT etc. if it could not be started; ETIMEDOUT: *output is what it printed until then.
 * output may be NULL. */
int proc_run_recv(struct tevent_req *req, TALLOC_CTX *mem, int *wait_status, struct ctdb_blob *output);

/*
 * A child that runs on: proc_spawn. exited is called once with waitpid()'s status, unless the handle was freed before; freeing the handle
 * sends SIGKILL to a child that still runs. keep_fds: descriptors that the child inherits under the same numbers, ended by -1. The child dies
 * with its parent (PR_SET_PDEATHSIG) if die_with_parent.
 */
struct proc;
int proc_spawn(TALLOC_CTX *mem, struct tevent_context *ev, char *const argv[], const int *keep_fds, bool die_with_parent,
	       void (*exited)(void *priv, struct proc *p, int wait_status), void *priv, struct proc **p);
/*
 * The same for who must not wait until the program runs (on a busy machine a time slice of somebody else's): a thread starts it. argv is copied. keep_fd alone is
 * inherited; it belongs to the request from now on, and is closed here when the child has it, or if none comes. Freeing the request ends the child. Starts happen one
 * after another. A child that is stopped before it runs the program is killed after PROC_START_PATIENCE_MS: ETIMEDOUT, and the next start begins.
 */
#define PROC_START_PATIENCE_MS 10000U
void proc_start_set_patience(uint32_t ms); /* for tests */
struct tevent_req *proc_spawn_send(TALLOC_CTX *mem, struct tevent_context *ev, char *const argv[], int keep_fd, bool die_with_parent);
/* 0 and *p, or as proc_spawn(). exited is called from the event loop only. */
int proc_spawn_recv(struct tevent_req *req, TALLOC_CTX *mem, void (*exited)(void *priv, struct proc *p, int wait_status), void *priv, struct proc **p);
/* The same, with descriptor output_fd (-1: as this process) as the child's standard output and error. */
int proc_spawn_output(TALLOC_CTX *mem, struct tevent_context *ev, char *const argv[], const int *keep_fds, int output_fd, bool die_with_parent,
		      void (*exited)(void *priv, struct proc *p, int wait_status), void *priv, struct proc **p);
/*
 * A program with helpers of its own: its process group is ours to signal until the handle is freed, also after it exited; freeing the handle sends SIGKILL to
 * what is left of the group. output_fd and error_fd become its 1 and 2. death_signal is sent to it (alone) when this process dies.
 */
int proc_spawn_group(TALLOC_CTX *mem, struct tevent_context *ev, char *const argv[], int output_fd, int error_fd, int death_signal,
		     void (*exited)(void *priv, struct proc *p, int wait_status), void *priv, struct proc **p);
int proc_kill_group(struct proc *p, int signal); /* of proc_spawn_group() */
pid_t proc_pid(const struct proc *p); /* -1 after it exited */
int proc_kill(struct proc *p, int signal);

#endif
