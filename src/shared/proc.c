/* Process runner: proc_run (to the end, with output) and proc_spawn (runs on), both on proc_child.c. */
#include "shared/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "shared/mono_timer.h"
#include "shared/proc_child.h"

#define KILL_AFTER_MS 2000
/* What is read in one turn of the loop from a program that prints without end. */
#define READ_BATCH (64 * 1024)

struct proc_run_state {
	struct child *child;
	struct mono_timer *timer;
	struct tevent_fd *fde; /* of the pipe; NULL after its end */
	int pipe_fd;
	bool timed_out;
	int status;
	size_t max_output;
	struct ctdb_blob output;
};

static void proc_run_cleanup(struct tevent_req *req, enum tevent_req_state req_state);
static void proc_run_readable(struct tevent_context *ev, struct tevent_fd *fde, uint16_t flags, void *priv);
static void proc_run_timeout(void *priv);
static void proc_run_exited(void *priv, int wait_status);

static int proc_run_start(struct tevent_req *req, struct proc_run_state *state, struct tevent_context *ev,
			  char *const argv[], char *const envp[])
{
	/* Nobody would end it at its time. */
	struct child_config config = {.argv = argv, .envp = envp, .die_with_parent = true};
	int fds[2], ret;

	if (pipe2(fds, O_CLOEXEC) != 0) {
		return errno;
	}
	(void)fcntl(fds[0], F_SETFL, O_NONBLOCK);
	config.output_fd = fds[1];
	state->fde = tevent_add_fd(ev, state, fds[0], TEVENT_FD_READ, proc_run_readable, req);
	if (state->fde == NULL) {
		close(fds[0]);
		close(fds[1]);
		return ENOMEM;
	}
	tevent_fd_set_auto_close(state->fde);
	state->pipe_fd = fds[0];
	/* held: the group is signalled only while its leader is not reaped, so never somebody else's */
	ret = child_start(ev, &config, true, proc_run_exited, req, &state->child);
	close(fds[1]);
	return ret;
}

struct tevent_req *proc_run_send(TALLOC_CTX *mem, struct tevent_context *ev, char *const argv[], char *const envp[],
				 uint32_t timeout_ms, size_t max_output)
{
	struct proc_run_state *state;
	struct tevent_req *req = tevent_req_create(mem, &state, struct proc_run_state);
	int ret;

	if (req == NULL) {
		return NULL;
	}
	state->max_output = max_output;
	tevent_req_set_cleanup_fn(req, proc_run_cleanup);
	state->timer = mono_timer_new(state, ev, proc_run_timeout, req);
	ret = state->timer == NULL ? errno : proc_run_start(req, state, ev, argv, envp);
	if (tevent_req_error(req, (uint64_t)ret)) {
		return tevent_req_post(req, ev);
	}
	mono_timer_set(state->timer, mono_add_ms(mono_now(), timeout_ms));
	return req;
}

/* Done, failed or freed by the caller. */
static void proc_run_cleanup(struct tevent_req *req, enum tevent_req_state req_state)
{
	struct proc_run_state *state = tevent_req_data(req, struct proc_run_state);

	TALLOC_FREE(state->fde);
	TALLOC_FREE(state->timer);
	if (state->child == NULL) {
		return;
	}
	if (!child_exited(state->child) || state->timed_out) {
		child_kill_group(state->child, SIGKILL);
	}
	child_release(state->child);
	state->child = NULL;
}

static bool proc_run_keep(struct proc_run_state *state, const uint8_t *buf, size_t len)
{
	struct ctdb_blob *out = &state->output;
	size_t room = state->max_output - out->len;

	len = len < room ? len : room;
	if (len == 0) {
		return true;
	}
	out->data = talloc_realloc(state, out->data, uint8_t, out->len + len);
	if (out->data == NULL) {
		return false;
	}
	memcpy(out->data + out->len, buf, len);
	out->len += (uint32_t)len;
	return true;
}

/* Reads what is there, a bounded batch. True: more may come; false: the end, or an error. */
static bool proc_run_read(struct proc_run_state *state)
{
	uint8_t buf[4096];

	for (size_t total = 0; total < READ_BATCH; total += sizeof(buf)) {
		ssize_t n = read(state->pipe_fd, buf, sizeof(buf));

		if (n < 0 && errno == EINTR) {
			continue;
		}
		if (n < 0) {
			return errno == EAGAIN;
		}
		if (n == 0 || !proc_run_keep(state, buf, (size_t)n)) {
			return false;
		}
	}
	return true;
}

static void proc_run_readable(struct tevent_context *ev, struct tevent_fd *fde, uint16_t flags, void *priv)
{
	struct tevent_req *req = priv;
	struct proc_run_state *state = tevent_req_data(req, struct proc_run_state);

	if (!proc_run_read(state)) {
		TALLOC_FREE(state->fde);
	}
}

static void proc_run_timeout(void *priv)
{
	struct tevent_req *req = priv;
	struct proc_run_state *state = tevent_req_data(req, struct proc_run_state);

	if (state->timed_out) {
		child_kill_group(state->child, SIGKILL);
		return;
	}
	state->timed_out = true;
	child_kill_group(state->child, SIGTERM);
	mono_timer_set(state->timer, mono_add_ms(mono_now(), KILL_AFTER_MS));
}

/* The exit can overtake what is still in the pipe: read that first. Others that hold the pipe are not waited for. */
static void proc_run_exited(void *priv, int wait_status)
{
	struct tevent_req *req = priv;
	struct proc_run_state *state = tevent_req_data(req, struct proc_run_state);

	state->status = wait_status;
	if (state->fde != NULL) {
		(void)proc_run_read(state);
	}
	if (state->timed_out) {
		tevent_req_error(req, ETIMEDOUT);
		return;
	}
	tevent_req_done(req);
}

int proc_run_recv(struct tevent_req *req, TALLOC_CTX *mem, int *wait_status, struct ctdb_blob *output)
{
	struct proc_run_state *state = tevent_req_data(req, struct proc_run_state);
	enum tevent_req_state req_state;
	uint64_t error = 0;
	int ret = 0;

	if (tevent_req_is_error(req, &req_state, &error)) {
		ret = req_state == TEVENT_REQ_USER_ERROR ? (int)error : ENOMEM;
	} else {
		*wait_status = state->status;
	}
	if (output != NULL && (ret == 0 || ret == ETIMEDOUT)) {
		*output = (struct ctdb_blob){state->output.len, talloc_move(mem, &state->output.data)};
	}
	tevent_req_received(req);
	return ret;
}

struct proc {
	struct child *child;
	bool group; /* the child stays a zombie until this is freed */
	void (*exited)(void *priv, struct proc *p, int wait_status);
	void *priv;
};

static int proc_destructor(struct proc *p)
{
	if (p->child != NULL) {
		(void)(p->group ? child_kill_group(p->child, SIGKILL) : child_kill(p->child, SIGKILL));
		child_release(p->child);
	}
	return 0;
}

static void proc_exited(void *priv, int wait_status)
{
	struct proc *p = priv;
	struct child *c = p->child;

	if (!p->group) {
		p->child = NULL;
		child_release(c);
	}
	p->exited(p->priv, p, wait_status);
}

static int proc_start(TALLOC_CTX *mem, struct tevent_context *ev, const struct child_config *config, bool group,
		      void (*exited)(void *priv, struct proc *p, int wait_status), void *priv, struct proc **p)
{
	struct proc *n = talloc_zero(mem, struct proc);
	int ret;

	if (n == NULL) {
		return ENOMEM;
	}
	n->exited = exited;
	n->priv = priv;
	n->group = group;
	ret = child_start(ev, config, group, proc_exited, n, &n->child);
	if (ret != 0) {
		talloc_free(n);
		return ret;
	}
	talloc_set_destructor(n, proc_destructor);
	*p = n;
	return 0;
}

int proc_adopt(TALLOC_CTX *mem, struct tevent_context *ev, pid_t pid,
	       void (*exited)(void *priv, struct proc *p, int wait_status), void *priv, struct proc **p)
{
	struct proc *n = talloc_zero(mem, struct proc);
	int ret;

	if (n == NULL) {
		child_disown(pid);
		return ENOMEM;
	}
	n->exited = exited;
	n->priv = priv;
	ret = child_adopt(ev, pid, false, proc_exited, n, &n->child);
	if (ret != 0) {
		talloc_free(n);
		return ret;
	}
	talloc_set_destructor(n, proc_destructor);
	*p = n;
	return 0;
}

int proc_spawn_output(TALLOC_CTX *mem, struct tevent_context *ev, char *const argv[], const int *keep_fds,
		      int output_fd, bool die_with_parent, void (*exited)(void *priv, struct proc *p, int wait_status),
		      void *priv, struct proc **p)
{
	struct child_config config = {
		.argv = argv,
		.keep_fds = keep_fds,
		.output_fd = output_fd,
		.die_with_parent = die_with_parent,
	};

	return proc_start(mem, ev, &config, false, exited, priv, p);
}

int proc_spawn_group(TALLOC_CTX *mem, struct tevent_context *ev, char *const argv[], int output_fd, int error_fd,
		     int death_signal, void (*exited)(void *priv, struct proc *p, int wait_status), void *priv,
		     struct proc **p)
{
	const struct child_config config = {
		.argv = argv,
		.output_fd = output_fd,
		.error_fd = error_fd,
		.die_with_parent = true,
		.death_signal = death_signal,
	};

	return proc_start(mem, ev, &config, true, exited, priv, p);
}

int proc_kill_group(struct proc *p, int signal)
{
	return p->child == NULL ? ESRCH : child_kill_group(p->child, signal);
}

int proc_spawn(TALLOC_CTX *mem, struct tevent_context *ev, char *const argv[], const int *keep_fds,
	       bool die_with_parent, void (*exited)(void *priv, struct proc *p, int wait_status), void *priv,
	       struct proc **p)
{
	return proc_spawn_output(mem, ev, argv, keep_fds, -1, die_with_parent, exited, priv, p);
}

pid_t proc_pid(const struct proc *p)
{
	return p->child == NULL || child_exited(p->child) ? -1 : child_pid(p->child);
}

int proc_kill(struct proc *p, int signal)
{
	return p->child == NULL ? ESRCH : child_kill(p->child, signal);
}
