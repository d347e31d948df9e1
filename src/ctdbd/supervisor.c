/* What to do about the daemons; see supervisor.h for the phases. */
#include "supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "base/mono.h"
#include "ctdb_ng_version.h"
#include "process.h"
#include "shared/log.h"
#include "shared/mono_timer.h"

/* Before a daemon that had lived long is started again: not zero, so that nothing can ever spin. */
#define RESTART_AT_ONCE_MS 10
#define ARGS_MAX           8

enum phase { PHASE_STARTING, PHASE_RUNNING, PHASE_STOPPING, PHASE_STOPPED };

/* A place in the order of starting. */
struct unit {
	struct supervisor *s;
	unsigned index;
	struct process *process;
	struct process_config config;
	char *argv[ARGS_MAX];
	/* by the process's state: STARTING not ready in time, WAITING time to start, STOPPING time to kill */
	struct mono_timer *timer;
	unsigned early_deaths; /* in a row */
};

struct supervisor {
	struct tevent_context *ev;
	const struct conf *conf;
	const struct supervisor_ops *ops;
	void *priv;
	enum phase phase;
	bool failed;
	struct mono began;
	int control_read, control_write; /* closed by the kernel if this process dies: then the daemons stop */
	unsigned n;
	struct unit *units;
};

static void unit_ready(void *priv, struct process *p);
static void unit_exited(void *priv, struct process *p);
static void unit_timer(void *priv);

static const struct process_ops unit_ops = {.ready = unit_ready, .exited = unit_exited};

static void set_phase(struct supervisor *s, enum phase phase)
{
	static const char *const names[] = {"starting", "running", "stopping", "stopped"};

	if (phase > s->phase) {
		log_info("node: %s -> %s", names[s->phase], names[phase]);
		s->phase = phase;
	}
}

static void fail(struct supervisor *s, char *text)
{
	if (!s->failed && s->phase < PHASE_STOPPING) {
		s->failed = true;
		s->ops->failed(s->priv, text != NULL ? text : "no memory");
	}
	talloc_free(text);
}

static void set_timer(struct unit *u, uint64_t ms)
{
	mono_timer_set(u->timer, mono_add_ms(mono_now(), ms));
}

static int unit_start(struct unit *u)
{
	int ret = process_start(u->process);

	if (ret == 0) {
		set_timer(u, u->s->conf->supervisor.ready_timeout);
	}
	return ret;
}

/* "ctdb-dbd exited with status 1: its last words" */
static char *obituary(const struct unit *u, const char *when)
{
	const char *line = process_last_line(u->process);

	return talloc_asprintf(u->s, "%s %s%s%s%s", process_name(u->process), process_last_exit(u->process), when,
			       line[0] != '\0' ? ": " : "", line);
}

static void start_unit_of_node(struct unit *u)
{
	if (unit_start(u) != 0) {
		fail(u->s, obituary(u, ""));
	}
}

static void unit_ready(void *priv, struct process *p)
{
	struct unit *u = priv;
	struct supervisor *s = u->s;

	mono_timer_set(u->timer, MONO_NEVER);
	log_notice("%s is ready (pid %d)", process_name(p), process_pid(p));
	if (s->phase != PHASE_STARTING) {
		return;
	}
	if (u->index + 1 < s->n) {
		start_unit_of_node(&s->units[u->index + 1]);
		return;
	}
	set_phase(s, PHASE_RUNNING);
	s->ops->up(s->priv);
}

static uint32_t restart_pause(const struct conf *conf, unsigned early_deaths)
{
	uint64_t ms = conf->supervisor.restart_delay;

	if (early_deaths == 0) {
		return RESTART_AT_ONCE_MS;
	}
	while (--early_deaths > 0 && ms < conf->supervisor.restart_delay_limit) {
		ms *= 2;
	}
	return ms < conf->supervisor.restart_delay_limit ? (uint32_t)ms : conf->supervisor.restart_delay_limit;
}

static void restart_later(struct unit *u)
{
	struct supervisor *s = u->s;
	const struct conf *conf = s->conf;
	bool early = process_state(u->process) != SUPER_PROCESS_READY ||
		     mono_ms_between(process_started(u->process), mono_now()) < conf->supervisor.restart_short_life;
	uint32_t pause;

	u->early_deaths = early ? u->early_deaths + 1 : 0;
	if (u->early_deaths >= conf->supervisor.restart_attempts) {
		process_set_failed(u->process);
		fail(s,
		     talloc_asprintf(
			     s,
			     "%s died %u times in a row soon after its start (last: %s%s%s): given up, the node stops",
			     process_name(u->process), u->early_deaths, process_last_exit(u->process),
			     process_last_line(u->process)[0] != '\0' ? ": " : "", process_last_line(u->process)));
		return;
	}
	pause = restart_pause(conf, u->early_deaths);
	log_error("%s %s: starting it again in %u ms", process_name(u->process), process_last_exit(u->process), pause);
	process_set_waiting(u->process);
	set_timer(u, pause);
}

static void stop_next(struct supervisor *s)
{
	for (unsigned i = s->n; i-- > 0;) {
		struct unit *u = &s->units[i];

		mono_timer_set(u->timer, MONO_NEVER);
		if (process_running(u->process)) {
			process_terminate(u->process);
			set_timer(u, s->conf->supervisor.stop_timeout);
			return;
		}
	}
	set_phase(s, PHASE_STOPPED);
	s->ops->stopped(s->priv);
}

static void unit_exited(void *priv, struct process *p)
{
	struct unit *u = priv;

	mono_timer_set(u->timer, MONO_NEVER);
	switch (u->s->phase) {
	case PHASE_STARTING:
		process_set_failed(p);
		fail(u->s, obituary(u, " while the node was starting"));
		return;
	case PHASE_RUNNING:
		restart_later(u);
		return;
	case PHASE_STOPPING: {
		/* only the exit of the one whose turn it is brings the next one's turn */
		bool its_turn = process_state(p) == SUPER_PROCESS_STOPPING;

		log_info("%s %s", process_name(p), process_last_exit(p));
		process_set_waiting(p);
		if (its_turn) {
			stop_next(u->s);
		}
		return;
	}
	case PHASE_STOPPED:
		return;
	}
}

static void not_ready_in_time(struct unit *u)
{
	struct supervisor *s = u->s;
	const char *line = process_last_line(u->process);
	char *text = talloc_asprintf(s, "%s is not ready after %u ms%s%s", process_name(u->process),
				     s->conf->supervisor.ready_timeout, line[0] != '\0' ? ": " : "", line);

	if (s->phase == PHASE_STARTING) {
		fail(s, text);
		return;
	}
	log_error("%s: killing it", text != NULL ? text : process_name(u->process));
	talloc_free(text);
	process_kill(u->process);
}

static void restart_now(struct unit *u)
{
	if (u->s->phase == PHASE_RUNNING && unit_start(u) != 0) {
		restart_later(u);
	}
}

static void unit_timer(void *priv)
{
	struct unit *u = priv;

	switch (process_state(u->process)) {
	case SUPER_PROCESS_STARTING:
		not_ready_in_time(u);
		return;
	case SUPER_PROCESS_WAITING:
		restart_now(u);
		return;
	case SUPER_PROCESS_STOPPING:
		log_error("%s has not stopped after %u ms: killing it", process_name(u->process),
			  u->s->conf->supervisor.stop_timeout);
		process_kill(u->process);
		return;
	case SUPER_PROCESS_READY:
	case SUPER_PROCESS_FAILED:
		return;
	}
}

static int unit_init(struct unit *u, const struct supervisor_config *config, const char *program)
{
	struct supervisor *s = u->s;
	unsigned n = 0;

	u->argv[n++] = talloc_asprintf(s->units, "%s/%s", config->conf->path.libexec, program);
	if (config->config_file != NULL) {
		u->argv[n++] = talloc_strdup(s->units, "--config");
		u->argv[n++] = talloc_strdup(s->units, config->config_file);
	}
	u->argv[n++] = talloc_strdup(s->units, "--log");
	u->argv[n++] = talloc_strdup(s->units, config->log_location);
	if (config->log_level != NULL) {
		u->argv[n++] = talloc_strdup(s->units, "--log-level");
		u->argv[n++] = talloc_strdup(s->units, config->log_level);
	}
	for (unsigned i = 0; i < n; i++) {
		if (u->argv[i] == NULL) {
			return ENOMEM;
		}
	}
	u->config = (struct process_config){
		.name = program,
		.argv = u->argv,
		.control_fd = s->control_read,
		.lock_fd = config->lock_fd,
	};
	u->process = process_new(s->units, s->ev, &u->config, &unit_ops, u);
	u->timer = mono_timer_new(s->units, s->ev, unit_timer, u);
	return u->process == NULL || u->timer == NULL ? ENOMEM : 0;
}

static int supervisor_destructor(struct supervisor *s)
{
	if (s->control_read >= 0) {
		close(s->control_read);
		close(s->control_write);
	}
	return 0;
}

static int supervisor_init(struct supervisor *s, const struct supervisor_config *config)
{
	int fds[2], ret = 0;

	s->control_read = s->control_write = -1;
	talloc_set_destructor(s, supervisor_destructor);
	if (pipe2(fds, O_CLOEXEC) != 0) {
		return errno;
	}
	s->control_read = fds[0];
	s->control_write = fds[1];
	while (config->programs[s->n] != NULL) {
		s->n++;
	}
	s->units = talloc_zero_array(s, struct unit, s->n);
	if (s->units == NULL) {
		return ENOMEM;
	}
	for (unsigned i = 0; ret == 0 && i < s->n; i++) {
		s->units[i].s = s;
		s->units[i].index = i;
		ret = unit_init(&s->units[i], config, config->programs[i]);
	}
	return ret;
}

struct supervisor *supervisor_new(TALLOC_CTX *mem, struct tevent_context *ev, const struct supervisor_config *config,
				  const struct supervisor_ops *ops, void *priv, char **err)
{
	struct supervisor *s = talloc_zero(mem, struct supervisor);
	int ret = ENOMEM;

	if (s != NULL) {
		s->ev = ev;
		s->conf = config->conf;
		s->ops = ops;
		s->priv = priv;
		s->began = mono_now();
		ret = supervisor_init(s, config);
	}
	if (ret != 0) {
		*err = talloc_asprintf(mem, "cannot prepare the start of the daemons: %s", strerror(ret));
		talloc_free(s);
		return NULL;
	}
	return s;
}

void supervisor_start(struct supervisor *s)
{
	start_unit_of_node(&s->units[0]);
}

void supervisor_stop(struct supervisor *s)
{
	if (s->phase < PHASE_STOPPING) {
		set_phase(s, PHASE_STOPPING);
		stop_next(s);
	}
}

void supervisor_signal(struct supervisor *s, int signal)
{
	for (unsigned i = 0; i < s->n; i++) {
		process_signal(s->units[i].process, signal);
	}
}

int supervisor_status(const struct supervisor *s, TALLOC_CTX *mem, struct super_status *status)
{
	struct mono now = mono_now();

	*status = (struct super_status){
		.version = talloc_strdup(mem, CTDB_NG_VERSION),
		.uptime_ms = mono_ms_between(s->began, now),
	};
	status->processes.v = talloc_zero_array(mem, struct super_process, s->n);
	if (status->version == NULL || status->processes.v == NULL) {
		return ENOMEM;
	}
	status->processes.n = s->n;
	for (unsigned i = 0; i < s->n; i++) {
		const struct process *p = s->units[i].process;

		status->processes.v[i] = (struct super_process){
			.name = talloc_strdup(mem, process_name(p)),
			.state = process_state(p),
			.pid = process_pid(p),
			.restarts = process_starts(p) > 0 ? process_starts(p) - 1 : 0,
			.since_ms = mono_ms_between(process_since(p), now),
			.last_exit = talloc_strdup(mem, process_last_exit(p)),
		};
		if (status->processes.v[i].name == NULL || status->processes.v[i].last_exit == NULL) {
			return ENOMEM;
		}
	}
	return 0;
}
