/* One daemon: start, readiness descriptor, output, exit. */
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shared/log.h"
#include "shared/proc.h"

#define LINE_MAX_BYTES 1000
#define ARGS_MAX       24
/* Lines passed on in one turn of the loop, from a daemon that prints without end. */
#define READ_BATCH 16

struct process {
	struct tevent_context *ev;
	const struct process_config *config;
	const struct process_ops *ops;
	void *priv;
	enum super_process_state state;
	struct mono since, started;
	unsigned starts;
	struct proc *proc; /* NULL: does not run */
	struct tevent_fd *ready_fde, *output_fde;
	int ready_fd, output_fd; /* valid while the events above are there */
	char line[LINE_MAX_BYTES + 1];
	size_t line_len;
	char last_line[LINE_MAX_BYTES + 1];
	char last_exit[64];
};

static const char *state_name(enum super_process_state state)
{
	switch (state) {
	case SUPER_PROCESS_STARTING:
		return "starting";
	case SUPER_PROCESS_READY:
		return "ready";
	case SUPER_PROCESS_WAITING:
		return "waiting";
	case SUPER_PROCESS_STOPPING:
		return "stopping";
	case SUPER_PROCESS_FAILED:
		return "failed";
	}
	return "?";
}

static void set_state(struct process *p, enum super_process_state state)
{
	if (p->state != state) {
		log_info("%s: %s -> %s", p->config->name, state_name(p->state), state_name(state));
	}
	p->state = state;
	p->since = mono_now();
}

struct process *process_new(TALLOC_CTX *mem, struct tevent_context *ev, const struct process_config *config,
			    const struct process_ops *ops, void *priv)
{
	struct process *p = talloc_zero(mem, struct process);

	if (p == NULL) {
		return NULL;
	}
	p->ev = ev;
	p->config = config;
	p->ops = ops;
	p->priv = priv;
	p->state = SUPER_PROCESS_WAITING;
	p->since = mono_now();
	return p;
}

/* Standard error of a daemon holds what it could not write into its log; or its log. */
static void pass_line(struct process *p)
{
	struct pollfd pfd = {.fd = STDERR_FILENO, .events = POLLOUT};

	p->line[p->line_len] = '\0';
	if (p->line_len == 0) {
		return;
	}
	memcpy(p->last_line, p->line, p->line_len + 1);
	if (!log_is_stderr()) {
		log_notice("%s says: %s", p->config->name, p->line);
	} else if (poll(&pfd, 1, 0) == 1) {
		p->line[p->line_len] = '\n';
		(void)!write(STDERR_FILENO, p->line, p->line_len + 1);
	}
	p->line_len = 0;
}

static void take_output(struct process *p, const char *buf, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (buf[i] != '\n') {
			p->line[p->line_len++] = buf[i];
		}
		if (buf[i] == '\n' || p->line_len == LINE_MAX_BYTES) {
			pass_line(p);
		}
	}
}

/* False: end of file. */
static bool read_output(struct process *p)
{
	char buf[LINE_MAX_BYTES];

	for (int i = 0; i < READ_BATCH; i++) {
		ssize_t n = read(p->output_fd, buf, sizeof(buf));

		if (n > 0) {
			take_output(p, buf, (size_t)n);
		} else if (n == 0) {
			return false;
		} else if (errno != EINTR) {
			return errno == EAGAIN;
		}
	}
	return true;
}

static void output_readable(struct tevent_context *ev, struct tevent_fd *fde, uint16_t flags, void *priv)
{
	struct process *p = priv;

	if (!read_output(p)) {
		pass_line(p);
		TALLOC_FREE(p->output_fde);
	}
}

static void ready_readable(struct tevent_context *ev, struct tevent_fd *fde, uint16_t flags, void *priv)
{
	struct process *p = priv;
	char c;
	ssize_t n = read(p->ready_fd, &c, 1);

	if (n < 0 && (errno == EINTR || errno == EAGAIN)) {
		return;
	}
	TALLOC_FREE(p->ready_fde);
	if (n == 1 && p->state == SUPER_PROCESS_STARTING) {
		set_state(p, SUPER_PROCESS_READY);
		p->ops->ready(p->priv, p);
	}
}

static void describe_exit(struct process *p, int status)
{
	if (WIFEXITED(status)) {
		snprintf(p->last_exit, sizeof(p->last_exit), "exited with status %d", WEXITSTATUS(status));
	} else {
		snprintf(p->last_exit, sizeof(p->last_exit), "killed by signal %d (%s)", WTERMSIG(status),
			 strsignal(WTERMSIG(status)));
	}
}

static void process_exited(void *priv, struct proc *proc, int status)
{
	struct process *p = priv;

	/* the exit can overtake what is still in the pipe */
	if (p->output_fde != NULL) {
		(void)read_output(p);
		pass_line(p);
	}
	TALLOC_FREE(p->output_fde);
	TALLOC_FREE(p->ready_fde);
	TALLOC_FREE(p->proc);
	describe_exit(p, status);
	p->ops->exited(p->priv, p);
}

/* The read end becomes an event of p, the write end is returned for the child. */
static int watch_pipe(struct process *p, tevent_fd_handler_t handler, struct tevent_fd **fde, int *read_fd,
		      int *write_fd)
{
	int fds[2];

	if (pipe2(fds, O_CLOEXEC) != 0) {
		return errno;
	}
	(void)fcntl(fds[0], F_SETFL, O_NONBLOCK);
	*fde = tevent_add_fd(p->ev, p, fds[0], TEVENT_FD_READ, handler, p);
	if (*fde == NULL) {
		close(fds[0]);
		close(fds[1]);
		return ENOMEM;
	}
	tevent_fd_set_auto_close(*fde);
	*read_fd = fds[0];
	*write_fd = fds[1];
	return 0;
}

static int spawn(struct process *p, int ready_fd, int output_fd)
{
	const int keep[] = {ready_fd, p->config->control_fd, p->config->lock_fd, -1};
	char *argv[ARGS_MAX + 5], ready_text[16], control_text[16];
	static char ready_option[] = "--ready-fd", control_option[] = "--control-fd";
	int n = 0;

	snprintf(ready_text, sizeof(ready_text), "%d", ready_fd);
	snprintf(control_text, sizeof(control_text), "%d", p->config->control_fd);
	while (p->config->argv[n] != NULL && n < ARGS_MAX) {
		argv[n] = p->config->argv[n];
		n++;
	}
	argv[n++] = ready_option;
	argv[n++] = ready_text;
	argv[n++] = control_option;
	argv[n++] = control_text;
	argv[n] = NULL;
	return proc_spawn_output(p, p->ev, argv, keep, output_fd, false, process_exited, p, &p->proc);
}

int process_start(struct process *p)
{
	int ready_fd = -1, output_fd = -1, ret;

	p->line_len = 0;
	p->last_line[0] = '\0';
	p->starts++;
	p->started = mono_now();
	ret = watch_pipe(p, ready_readable, &p->ready_fde, &p->ready_fd, &ready_fd);
	if (ret == 0) {
		ret = watch_pipe(p, output_readable, &p->output_fde, &p->output_fd, &output_fd);
	}
	if (ret == 0) {
		ret = spawn(p, ready_fd, output_fd);
	}
	if (ready_fd >= 0) {
		close(ready_fd);
	}
	if (output_fd >= 0) {
		close(output_fd);
	}
	if (ret != 0) {
		TALLOC_FREE(p->ready_fde);
		TALLOC_FREE(p->output_fde);
		snprintf(p->last_exit, sizeof(p->last_exit), "cannot be run: %s", strerror(ret));
		return ret;
	}
	set_state(p, SUPER_PROCESS_STARTING);
	return 0;
}

void process_terminate(struct process *p)
{
	if (p->proc != NULL) {
		set_state(p, SUPER_PROCESS_STOPPING);
		process_signal(p, SIGTERM);
	}
}

void process_kill(struct process *p)
{
	process_signal(p, SIGKILL);
}

void process_signal(struct process *p, int signal)
{
	if (p->proc != NULL) {
		(void)proc_kill(p->proc, signal);
	}
}

void process_set_waiting(struct process *p)
{
	set_state(p, SUPER_PROCESS_WAITING);
}

void process_set_failed(struct process *p)
{
	set_state(p, SUPER_PROCESS_FAILED);
}

const char *process_name(const struct process *p)
{
	return p->config->name;
}

enum super_process_state process_state(const struct process *p)
{
	return p->state;
}

bool process_running(const struct process *p)
{
	return p->proc != NULL;
}

int process_pid(const struct process *p)
{
	return p->proc != NULL ? proc_pid(p->proc) : 0;
}

unsigned process_starts(const struct process *p)
{
	return p->starts;
}

struct mono process_started(const struct process *p)
{
	return p->started;
}

struct mono process_since(const struct process *p)
{
	return p->since;
}

const char *process_last_exit(const struct process *p)
{
	return p->last_exit;
}

const char *process_last_line(const struct process *p)
{
	return p->last_line;
}
