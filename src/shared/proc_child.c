/* One child process: vfork and exec (a fork would copy the page tables of a large daemon), reaped by SIGCHLD. */
#include "shared/proc_child.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

struct child {
	pid_t pid; /* 0: not started */
	bool hold;
	bool dead;   /* exit was seen */
	bool reaped; /* pid is free for others */
	child_exited_fn exited;
	void *priv;
	struct tevent_signal *se;            /* of SIGCHLD, each child has its own; NULL once dead */
	struct tevent_immediate *first_look; /* of one that was adopted */
	struct child **ref;                  /* the owner's pointer to this; NULL once released */
};

static void reset_signals(void)
{
	struct sigaction dfl = {.sa_handler = SIG_DFL};
	sigset_t none;

	for (int sig = 1; sig < NSIG; sig++) {
		(void)sigaction(sig, &dfl, NULL); /* fails for KILL, STOP and those of libc */
	}
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

static void __attribute__((noreturn)) child_fail(int err_fd)
{
	int err = errno;

	(void)!write(err_fd, &err, sizeof(err));
	_exit(127);
}

/*
 * Runs in the child, on the parent's memory: changes nothing, calls nothing that allocates or locks. err_fd is a pipe
 * that exec closes: what went wrong goes there. (Not into memory: where vfork() is but a fork(), as under valgrind,
 * that would be the child's own.)
 */
static void __attribute__((noreturn))
child_exec(const struct child_config *config, int null_fd, pid_t parent, int err_fd)
{
	setpgid(0, 0);
	if (config->die_with_parent) {
		prctl(PR_SET_PDEATHSIG, config->death_signal != 0 ? config->death_signal : SIGKILL);
		if (getppid() != parent) {
			_exit(127);
		}
	}
	reset_signals();
	if (dup2(null_fd, STDIN_FILENO) < 0 ||
	    (config->output_fd >= 0 &&
	     (dup2(config->output_fd, STDOUT_FILENO) < 0 || dup2(config->output_fd, STDERR_FILENO) < 0)) ||
	    (config->error_fd > 0 && dup2(config->error_fd, STDERR_FILENO) < 0)) {
		child_fail(err_fd);
	}
	close_range(3, ~0U, CLOSE_RANGE_CLOEXEC);
	for (const int *fd = config->keep_fds; fd != NULL && *fd >= 0; fd++) {
		if (fcntl(*fd, F_SETFD, 0) != 0) {
			child_fail(err_fd);
		}
	}
	if (getpriority(PRIO_PROCESS, 0) < 0) {
		(void)setpriority(PRIO_PROCESS, 0, 0); /* a daemon's raised priority is for itself */
	}
	execvpe(config->argv[0], config->argv, config->envp != NULL ? config->envp : environ);
	child_fail(err_fd);
}

/* Apart, so that no local variable of a caller lives across vfork(). -1 with errno set. */
static __attribute__((noinline)) pid_t child_vfork(const struct child_config *config, int null_fd, int err_fd)
{
	pid_t parent = getpid();
	sigset_t all, saved;
	pid_t pid;

	/* No handler of ours may run in the child on our memory. */
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &saved);
	pid = vfork();
	if (pid == 0) {
		child_exec(config, null_fd, parent, err_fd);
	}
	sigprocmask(SIG_SETMASK, &saved, NULL);
	return pid;
}

static int reap(pid_t pid, int *status, int flags)
{
	pid_t ret;

	do {
		ret = waitpid(pid, status, flags);
	} while (ret < 0 && errno == EINTR);
	return ret == pid ? 0 : ret == 0 ? EAGAIN : errno;
}

/* Done with, or the event context ends before its owner let go: then nobody would end or reap it. */
static int child_destructor(struct child *c)
{
	int status;

	if (c->ref != NULL) {
		(void)child_kill(c, SIGKILL);
		*c->ref = NULL;
	}
	if (c->pid > 0 && !c->reaped) {
		(void)reap(c->pid, &status, WNOHANG);
	}
	return 0;
}

static int status_of(const siginfo_t *info)
{
	switch (info->si_code) {
	case CLD_EXITED:
		return W_EXITCODE(info->si_status, 0);
	case CLD_DUMPED:
		return W_EXITCODE(0, info->si_status) | WCOREFLAG;
	default:
		return W_EXITCODE(0, info->si_status);
	}
}

/* Has it died? Ends with a call of exited() then. */
static void child_look(struct child *c)
{
	siginfo_t info = {0};
	int ret;

	ret = waitid(P_PID, (id_t)c->pid, &info, WEXITED | WNOHANG | (c->hold ? WNOWAIT : 0));
	if (ret == 0 && info.si_pid == 0) {
		return;
	}
	if (ret != 0) {
		/* somebody else reaped it: a bug, but not one to wait for ever about */
		c->reaped = true;
		info.si_code = CLD_KILLED;
		info.si_status = SIGKILL;
	}
	c->dead = true;
	c->reaped = c->reaped || !c->hold;
	TALLOC_FREE(c->se);
	TALLOC_FREE(c->first_look);
	if (c->exited == NULL) {
		talloc_free(c);
		return;
	}
	c->exited(c->priv, status_of(&info));
}

/* Some child died, or several: is it this one? */
static void child_signalled(struct tevent_context *ev, struct tevent_signal *se, int sig, int count, void *siginfo,
			    void *priv)
{
	child_look(priv);
}

static void child_first_look(struct tevent_context *ev, struct tevent_immediate *im, void *priv)
{
	child_look(priv);
}

/* 0 and the pid of a child that runs the program, or errno. */
static int launch(const struct child_config *config, int null_fd, pid_t *pid)
{
	int fds[2], err = 0, status;
	ssize_t n;

	if (pipe2(fds, O_CLOEXEC) != 0) {
		return errno;
	}
	*pid = child_vfork(config, null_fd, fds[1]);
	if (*pid < 0) {
		err = errno;
	}
	close(fds[1]);
	while (*pid > 0 && (n = read(fds[0], &err, sizeof(err))) < 0 && errno == EINTR) {
		continue;
	}
	close(fds[0]);
	if (err != 0 && *pid > 0) {
		(void)reap(*pid, &status, 0);
	}
	return err;
}

int child_launch(const struct child_config *config, pid_t *pid)
{
	int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	int ret;

	if (null_fd < 0) {
		return errno;
	}
	ret = launch(config, null_fd, pid);
	close(null_fd);
	return ret;
}

void child_disown(pid_t pid)
{
	int status;

	(void)kill(pid, SIGKILL);
	(void)reap(pid, &status, 0);
}

/* Signals of its death are heard from here on. */
static struct child *child_new(struct tevent_context *ev, bool hold, child_exited_fn exited, void *priv)
{
	struct child *c = talloc_zero(ev, struct child);

	if (c == NULL) {
		return NULL;
	}
	*c = (struct child){.hold = hold, .exited = exited, .priv = priv};
	c->se = tevent_add_signal(ev, c, SIGCHLD, SA_NOCLDSTOP, child_signalled, c);
	if (c->se == NULL) {
		talloc_free(c);
		return NULL;
	}
	return c;
}

static void child_begin(struct child *c, pid_t pid, struct child **child)
{
	c->pid = pid;
	c->ref = child;
	talloc_set_destructor(c, child_destructor);
	*child = c;
}

int child_start(struct tevent_context *ev, const struct child_config *config, bool hold, child_exited_fn exited,
		void *priv, struct child **child)
{
	struct child *c = child_new(ev, hold, exited, priv); /* before it starts: its death is not missed */
	pid_t pid = 0;
	int ret;

	if (c == NULL) {
		return ENOMEM;
	}
	ret = child_launch(config, &pid);
	if (ret != 0) {
		talloc_free(c);
		return ret;
	}
	child_begin(c, pid, child);
	return 0;
}

int child_adopt(struct tevent_context *ev, pid_t pid, bool hold, child_exited_fn exited, void *priv,
		struct child **child)
{
	struct child *c = child_new(ev, hold, exited, priv);

	if (c != NULL) {
		c->first_look = tevent_create_immediate(c);
	}
	if (c == NULL || c->first_look == NULL) {
		talloc_free(c);
		child_disown(pid);
		return ENOMEM;
	}
	child_begin(c, pid, child);
	/* It may be dead already. */
	tevent_schedule_immediate(c->first_look, ev, child_first_look, c);
	return 0;
}

pid_t child_pid(const struct child *c)
{
	return c->pid;
}

bool child_exited(const struct child *c)
{
	return c->dead;
}

int child_kill(struct child *c, int signal)
{
	/* its pid cannot be another one's before it was reaped here */
	if (c->dead) {
		return ESRCH;
	}
	return kill(c->pid, signal) == 0 ? 0 : errno;
}

int child_kill_group(struct child *c, int signal)
{
	if (c->reaped) {
		return ESRCH;
	}
	return kill(-c->pid, signal) == 0 ? 0 : errno;
}

void child_release(struct child *c)
{
	c->exited = NULL;
	c->hold = false;
	c->ref = NULL;
	if (c->dead) {
		talloc_free(c);
	}
}
