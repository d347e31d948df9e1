/* One child process: vfork and exec (a fork would copy the page tables of a large daemon), a pidfd to wait and to
 * signal. */
#include "shared/proc_child.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

struct child {
	pid_t pid;
	int pidfd;
	bool hold;
	bool dead;   /* exit was seen */
	bool reaped; /* pid is free for others */
	child_exited_fn exited;
	void *priv;
	struct tevent_fd *fde;
	struct child **ref; /* the owner's pointer to this; NULL once released */
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

/* Runs in the child, on the parent's memory: changes nothing but *err, calls nothing that allocates or locks. */
static void __attribute__((noreturn))
child_exec(const struct child_config *config, int null_fd, pid_t parent, volatile int *err)
{
	setpgid(0, 0);
	if (config->die_with_parent) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent) {
			_exit(127);
		}
	}
	reset_signals();
	if (dup2(null_fd, STDIN_FILENO) < 0 ||
	    (config->output_fd >= 0 &&
	     (dup2(config->output_fd, STDOUT_FILENO) < 0 || dup2(config->output_fd, STDERR_FILENO) < 0))) {
		*err = errno;
		_exit(127);
	}
	close_range(3, ~0U, CLOSE_RANGE_CLOEXEC);
	for (const int *fd = config->keep_fds; fd != NULL && *fd >= 0; fd++) {
		if (fcntl(*fd, F_SETFD, 0) != 0) {
			*err = errno;
			_exit(127);
		}
	}
	execvpe(config->argv[0], config->argv, config->envp != NULL ? config->envp : environ);
	*err = errno;
	_exit(127);
}

/* Apart, so that no local variable of a caller lives across vfork(). */
static __attribute__((noinline)) pid_t child_vfork(const struct child_config *config, int null_fd, volatile int *err)
{
	pid_t parent = getpid();
	sigset_t all, saved;
	pid_t pid;

	/* No handler of ours may run in the child on our memory. */
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &saved);
	pid = vfork();
	if (pid == 0) {
		child_exec(config, null_fd, parent, err);
	}
	if (pid < 0) {
		*err = errno;
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
	if (!c->reaped) {
		(void)reap(c->pid, &status, WNOHANG);
	}
	close(c->pidfd);
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

static void child_readable(struct tevent_context *ev, struct tevent_fd *fde, uint16_t flags, void *priv)
{
	struct child *c = priv;
	siginfo_t info = {0};
	int ret;

	ret = waitid(P_PIDFD, (id_t)c->pidfd, &info, WEXITED | WNOHANG | (c->hold ? WNOWAIT : 0));
	if (ret == 0 && info.si_pid == 0) {
		return;
	}
	if (ret != 0) {
		/* somebody else reaped it: a bug, but not one to spin on */
		c->reaped = true;
		info.si_code = CLD_KILLED;
		info.si_status = SIGKILL;
	}
	c->dead = true;
	c->reaped = c->reaped || !c->hold;
	TALLOC_FREE(c->fde);
	if (c->exited == NULL) {
		talloc_free(c);
		return;
	}
	c->exited(c->priv, status_of(&info));
}

static int child_wrap(struct tevent_context *ev, pid_t pid, struct child **child)
{
	struct child *c = talloc_zero(ev, struct child);
	int ret;

	if (c == NULL) {
		return ENOMEM;
	}
	c->pid = pid;
	c->pidfd = pidfd_open(pid, 0);
	if (c->pidfd < 0) {
		ret = errno;
		talloc_free(c);
		return ret;
	}
	talloc_set_destructor(c, child_destructor);
	c->fde = tevent_add_fd(ev, c, c->pidfd, TEVENT_FD_READ, child_readable, c);
	if (c->fde == NULL) {
		c->reaped = true;
		talloc_free(c);
		return ENOMEM;
	}
	*child = c;
	return 0;
}

int child_start(struct tevent_context *ev, const struct child_config *config, bool hold, child_exited_fn exited,
		void *priv, struct child **child)
{
	volatile int err = 0;
	int null_fd, ret, status;
	pid_t pid;

	null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null_fd < 0) {
		return errno;
	}
	pid = child_vfork(config, null_fd, &err);
	close(null_fd);
	if (pid < 0) {
		return err;
	}
	ret = err != 0 ? err : child_wrap(ev, pid, child);
	if (ret != 0) {
		kill(pid, SIGKILL);
		(void)reap(pid, &status, 0);
		return ret;
	}
	(*child)->ref = child;
	(*child)->hold = hold;
	(*child)->exited = exited;
	(*child)->priv = priv;
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
	if (c->dead) {
		return ESRCH;
	}
	return pidfd_send_signal(c->pidfd, signal, NULL, 0) == 0 ? 0 : errno;
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
