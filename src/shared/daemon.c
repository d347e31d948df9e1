/* The daemon template: from main() to the event loop, signals, readiness, stop. */
#include "shared/daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "protocol/reload_rpc.h"
#include "shared/conf_private.h"
#include "shared/daemon_options.h"
#include "shared/log.h"
#include "shared/log_sink.h"
#include "shared/msg.h"
#include "shared/stall.h"

#define FILES_WANTED 4096U /* fewer: said in the log */
#define URGENT_NICE  (-10)
#define FILES_WANTED 4096U /* with fewer it is said in the log */
#define STOP_LIMIT_S 10

struct run {
	struct daemon d; /* first: what daemons see */
	const struct daemon_ops *ops;
	struct daemon_options opts;
	bool stopping;
	bool finished;
	int status;
};

static struct run *run_of(struct daemon *d)
{
	return (struct run *)(void *)d;
}

/* To the log, and to standard error if that is another place: who starts a daemon sees why it does not run. */
static int fatal(const struct daemon_ops *ops, int ret, const char *err)
{
	if (err == NULL) {
		err = strerror(ret);
	}
	if (log_is_stderr()) {
		fprintf(stderr, "%s: %s\n", ops->name, err);
	} else {
		log_error("%s", err);
		fprintf(stderr, "%s: %s\n", ops->name, err);
	}
	return ret != 0 ? ret : EINVAL;
}

/* Descriptors 0, 1, 2 exist from here on: no file that is opened later can become standard error. */
static void standard_fds(void)
{
	int fd;

	do {
		fd = open("/dev/null", O_RDWR);
	} while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd > STDERR_FILENO) {
		close(fd);
	}
}

static int load_configuration(struct run *run)
{
	struct daemon *d = &run->d;
	char *err = NULL;
	int ret;

	ret = conf_load(run, run->opts.config, &d->conf, &err);
	if (ret == 0) {
		ret = conf_nodes_load(run, d->conf->path.nodes, &d->nodes, &err);
	}
	if (ret == 0) {
		ret = conf_nodes_self(run, d->conf, d->nodes, &d->pnn, &err);
	}
	if (ret == ENOENT && d->nodes != NULL && run->ops->moves && !run->opts.check) {
		d->lost = err;
		ret = 0;
	}
	if (ret != 0) {
		return fatal(run->ops, ret, err);
	}
	d->log_location = run->opts.log != NULL ? run->opts.log : d->conf->logging.location;
	d->log_level = run->opts.level_name;
	return 0;
}

static int start_log(struct run *run)
{
	const struct conf *conf = run->d.conf;
	char *err = NULL;
	int ret;

	ret = log_init(run, run->ops->name, run->d.log_location,
		       run->opts.level_name != NULL ? run->opts.level : conf->logging.level, &err);
	if (ret != 0) {
		return fatal(run->ops, ret, err);
	}
	log_set_node(run->d.pnn);
	return 0;
}

/* Last resort of a stop that hangs. Nothing but what a signal handler may do. */
static void stop_overdue(int sig)
{
	static const char text[] = "not stopped in time: exiting now\n";

	if (write(STDERR_FILENO, text, sizeof(text) - 1) < 0) {
		_exit(1);
	}
	_exit(1);
}

static void arm_kill_switch(const struct daemon_ops *ops)
{
	struct sigaction sa = {.sa_handler = stop_overdue};
	sigset_t set;

	if (ops->stop_limit_s == UINT_MAX) {
		return;
	}
	sigaction(SIGALRM, &sa, NULL);
	sigemptyset(&set);
	sigaddset(&set, SIGALRM);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	alarm(ops->stop_limit_s != 0 ? ops->stop_limit_s : STOP_LIMIT_S);
}

void daemon_stop(struct daemon *d, const char *reason)
{
	struct run *run = run_of(d);

	if (run->stopping) {
		return;
	}
	run->stopping = true;
	log_notice("stopping: %s", reason);
	arm_kill_switch(run->ops);
	if (run->ops->stop == NULL) {
		daemon_exit(d, 0);
		return;
	}
	run->ops->stop(d);
}

bool daemon_stopping(const struct daemon *d)
{
	return ((const struct run *)(const void *)d)->stopping;
}

void daemon_exit(struct daemon *d, int status)
{
	struct run *run = run_of(d);

	if (!run->finished) {
		run->finished = true;
		run->status = status;
	}
}

void daemon_ready(struct daemon *d)
{
	struct run *run = run_of(d);
	ssize_t n;

	log_notice("ready");
	if (run->opts.ready_fd < 0) {
		return;
	}
	do {
		n = write(run->opts.ready_fd, "R", 1);
	} while (n < 0 && errno == EINTR);
	close(run->opts.ready_fd);
	run->opts.ready_fd = -1;
}

static void stop_signal(struct tevent_context *ev, struct tevent_signal *se, int sig, int count, void *info, void *priv)
{
	daemon_stop(priv, sig == SIGINT ? "interrupted" : "terminated by signal");
}

static bool same_node(const struct conf_node *a, const struct conf_node *b)
{
	if (a->deleted != b->deleted || a->n_addrs != b->n_addrs) {
		return false;
	}
	for (uint32_t k = 0; k < a->n_addrs; k++) {
		if (strcmp(a->texts[k], b->texts[k]) != 0) {
			return false;
		}
	}
	return true;
}

static bool same_nodes(const struct conf_nodes *a, const struct conf_nodes *b)
{
	if (a->n != b->n) {
		return false;
	}
	for (uint32_t i = 0; i < a->n; i++) {
		if (!same_node(&a->v[i], &b->v[i])) {
			return false;
		}
	}
	return true;
}

/* 0; EINVAL: they stay as they were, said in the log. */
static int reload_nodes(struct run *run)
{
	struct daemon *d = &run->d;
	struct conf_nodes *fresh = NULL;
	uint32_t pnn = 0;
	char *err = NULL;
	int ret = EINVAL;

	if (conf_nodes_load(run, d->conf->path.nodes, &fresh, &err) != 0 ||
	    conf_nodes_self(run, d->conf, fresh, &pnn, &err) != 0) {
		log_error("the nodes stay as they were: %s", err);
	} else if (pnn != d->pnn) {
		log_error("the nodes stay as they were: in %s this node is now number %u, it runs as %u",
			  d->conf->path.nodes, pnn, d->pnn);
	} else if (!same_nodes(fresh, d->nodes)) {
		log_notice("%s: changed, %u nodes", d->conf->path.nodes, fresh->n);
		d->nodes = fresh;
		fresh = NULL;
		ret = 0;
	} else {
		ret = 0;
	}
	talloc_free(err);
	talloc_free(fresh);
	return ret;
}

/* clusterd has replaced the nodes file. */
static void on_reload_nodes(void *priv, struct rpc_call *call)
{
	struct run *run = priv;
	struct reload_nodes_result result;
	int ret = call->source_node == run->d.pnn && strcmp(call->source_endpoint, "cluster") == 0 ? 0 : EPERM;

	if (ret == 0 && run->stopping) {
		ret = ESHUTDOWN;
	}
	ret = ret != 0 ? ret : reload_nodes(run);
	if (ret != 0) {
		rpc_call_fail(call, ret);
		return;
	}
	if (run->ops->reload != NULL) {
		run->ops->reload(&run->d);
	}
	result.nodes = run->d.nodes->n;
	reload_nodes_reply(call, &result);
}

static int reload_serve(void *priv, struct rpc_call *call, uint32_t proc, const uint8_t *buf, size_t len)
{
	static const struct reload_server server = {.nodes = on_reload_nodes};

	return reload_dispatch(&server, priv, call, proc, buf, len);
}

static void reload_configuration(struct run *run)
{
	struct conf *fresh = NULL;
	char *err = NULL, *restart;

	if (conf_load(run, run->opts.config, &fresh, &err) != 0) {
		log_error("the configuration stays as it was: %s", err);
		talloc_free(err);
		return;
	}
	restart = conf_update(run, run->d.conf, fresh);
	if (restart != NULL) {
		log_warning("changed, but used only after a restart: %s", restart);
	}
	talloc_free(restart);
	talloc_free(fresh);
	if (run->opts.level_name == NULL) {
		log_set_level(run->d.conf->logging.level);
	}
	stall_meter_set_warning(run->d.conf->logging.stall_warning);
}

static void reload_signal(struct tevent_context *ev, struct tevent_signal *se, int sig, int count, void *info,
			  void *priv)
{
	struct run *run = priv;
	int ret = log_reopen();

	if (ret != 0) {
		log_error("the log file could not be opened again, the former one stays: %s", strerror(ret));
	} else {
		log_notice("log opened again");
	}
	if (run->stopping) {
		return;
	}
	reload_configuration(run);
	if (!run->ops->own_nodes) {
		(void)reload_nodes(run);
	}
	if (run->ops->reload != NULL) {
		run->ops->reload(&run->d);
	}
}

static void control_readable(struct tevent_context *ev, struct tevent_fd *fde, uint16_t flags, void *priv)
{
	struct run *run = priv;
	char buf[64];
	ssize_t n = read(run->opts.control_fd, buf, sizeof(buf));

	if (n > 0 || (n < 0 && (errno == EINTR || errno == EAGAIN))) {
		return;
	}
	talloc_free(fde);
	daemon_stop(&run->d, "the supervisor is gone");
}

static int start_events(struct run *run)
{
	struct daemon *d = &run->d;
	struct sigaction ignore = {.sa_handler = SIG_IGN}, dfl = {.sa_handler = SIG_DFL};

	sigaction(SIGPIPE, &ignore, NULL);
	/* who started us may have ignored it: children could not be waited for */
	sigaction(SIGCHLD, &dfl, NULL);
	d->ev = stall_context_new(run);
	if (d->ev == NULL || tevent_add_signal(d->ev, d->ev, SIGTERM, 0, stop_signal, d) == NULL ||
	    tevent_add_signal(d->ev, d->ev, SIGINT, 0, stop_signal, d) == NULL ||
	    tevent_add_signal(d->ev, d->ev, SIGHUP, 0, reload_signal, run) == NULL) {
		return ENOMEM;
	}
	stall_meter_start(d->ev, d->conf->logging.stall_warning);
	if (run->opts.control_fd >= 0) {
		(void)fcntl(run->opts.control_fd, F_SETFL, O_NONBLOCK);
		if (tevent_add_fd(d->ev, d->ev, run->opts.control_fd, TEVENT_FD_READ, control_readable, run) == NULL) {
			return ENOMEM;
		}
	}
	return 0;
}

static void raise_file_limit(void)
{
	struct rlimit r;

	if (getrlimit(RLIMIT_NOFILE, &r) != 0) {
		return;
	}
	if (r.rlim_cur < r.rlim_max) {
		r.rlim_cur = r.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &r);
	}
	if (r.rlim_max < FILES_WANTED) {
		log_warning("at most %llu files can be open: clients beyond that are not served; raise the limit "
			    "(ulimit -Hn, LimitNOFILE)",
			    (unsigned long long)r.rlim_max);
	}
}

static int make_incarnation(uint64_t *incarnation)
{
	do {
		if (getrandom(incarnation, sizeof(*incarnation), 0) != (ssize_t)sizeof(*incarnation)) {
			return errno;
		}
	} while (*incarnation == 0);
	return 0;
}

static int start(struct run *run)
{
	struct daemon *d = &run->d;
	const struct daemon_ops *ops = run->ops;
	char *err = NULL;
	int ret;

	if (ops->prepare != NULL) {
		ret = ops->prepare(d, &err);
		if (ret != 0) {
			return fatal(ops, ret, err);
		}
	}
	ret = start_log(run);
	if (ret != 0) {
		return ret;
	}
	ret = make_incarnation(&d->incarnation);
	if (ret == 0) {
		ret = start_events(run);
	}
	if (ret == 0 && ops->service != NULL) {
		ret = msg_open(run, d->ev, d->conf->path.msg_dir, ops->service, d->pnn, NULL, &d->msg, &err);
	}
	if (ret == 0 && ops->service != NULL && !ops->own_nodes) {
		ret = msg_serve(d->msg, RELOAD_INTERFACE, RELOAD_VERSION, reload_serve, run);
	}
	if (ops->urgent && setpriority(PRIO_PROCESS, 0, URGENT_NICE) != 0) {
		log_info("runs without raised priority: %s", strerror(errno));
	}
	if (ops->many_files) {
		raise_file_limit();
	}
	if (ret == 0 && ops->setup != NULL) {
		ret = ops->setup(d, &err);
	}
	if (ret != 0) {
		return fatal(ops, ret, err);
	}
	if (!ops->deferred_ready) {
		daemon_ready(d);
	}
	return 0;
}

static void loop(struct run *run)
{
	while (!run->finished) {
		if (tevent_loop_once(run->d.ev) != 0) {
			log_error("the event loop failed: %s", strerror(errno));
			run->status = 1;
			return;
		}
	}
}

int daemon_main(int argc, char **argv, const struct daemon_ops *ops)
{
	struct daemon_options opts;
	struct run *run;
	int status;

	if (!daemon_options_parse(argc, argv, ops, &opts, &status)) {
		return status;
	}
	standard_fds();
	umask(077);
	run = talloc_zero(NULL, struct run);
	if (run == NULL) {
		return fatal(ops, ENOMEM, NULL), 1;
	}
	run->ops = ops;
	run->opts = opts;
	run->d.name = ops->name;
	if (load_configuration(run) != 0) {
		run->status = 1;
	} else if (!opts.check && start(run) != 0) {
		run->status = 1;
	} else if (!opts.check) {
		loop(run);
		log_notice("stopped");
	}
	status = run->status;
	talloc_free(run);
	return status;
}
