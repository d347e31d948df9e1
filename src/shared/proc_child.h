/* One child process: start, wait, signal. Private to src/shared; proc.c makes the two public forms of it. */
#ifndef SHARED_PROC_CHILD_H
#define SHARED_PROC_CHILD_H

#include <stdbool.h>
#include <sys/types.h>
#include <talloc.h>
#include <tevent.h>

struct child_config {
	char *const *argv;    /* argv[0] is looked up in PATH if it has no '/' */
	char *const *envp;    /* NULL: as this process */
	const int *keep_fds;  /* NULL, or ended by -1 */
	int output_fd;        /* becomes 1 and 2; -1: as this process */
	int error_fd;         /* becomes 2 instead; 0: none */
	bool die_with_parent; /* death_signal when this process dies */
	int death_signal;     /* 0: SIGKILL */
};

struct child;

/* The child died. With hold it stays a zombie (its pid and group cannot be used again) until child_free(). */
typedef void (*child_exited_fn)(void *priv, int wait_status);

/*
 * Starts it in a process group of its own: 0 is /dev/null, every other descriptor is closed, signals are reset. 0, or
 * errno: ENOENT, EACCES... of the program. The child belongs to ev: it is reaped whatever becomes of the caller. *child
 * must stay where it is until child_release(); it becomes NULL if ev is freed first (the child is then killed).
 */
int child_start(struct tevent_context *ev, const struct child_config *config, bool hold, child_exited_fn exited,
		void *priv, struct child **child);

/*
 * The two halves of it, for a caller whom the start shall not keep waiting. launch may run in any thread that lasts as
 * long as the child (die_with_parent means the thread): no talloc, no event loop. adopt, in the event loop's thread,
 * takes what launch has started; on error the child is killed and reaped.
 */
int child_launch(const struct child_config *config, pid_t *pid);
int child_adopt(struct tevent_context *ev, pid_t pid, bool hold, child_exited_fn exited, void *priv,
		struct child **child);
void child_disown(pid_t pid); /* kills and reaps a child that nobody adopts */

/* proc.c: the public form of child_adopt(). */
struct proc;
int proc_adopt(TALLOC_CTX *mem, struct tevent_context *ev, pid_t pid,
	       void (*exited)(void *priv, struct proc *p, int wait_status), void *priv, struct proc **p);

pid_t child_pid(const struct child *c);
bool child_exited(const struct child *c);
int child_kill(struct child *c, int signal);       /* the process; ESRCH if it exited */
int child_kill_group(struct child *c, int signal); /* only while it is not reaped: always safe with hold */

/* The caller is done with it: no more callbacks. Freed at once if it exited, else when it does. */
void child_release(struct child *c);

#endif
