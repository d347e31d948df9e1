/* ctdbd: starts the daemons of a node and keeps them running. */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "background.h"
#include "former.h"
#include "moved.h"
#include "notify.h"
#include "prepare.h"
#include "protocol/super_rpc.h"
#include "shared/daemon.h"
#include "shared/log.h"
#include "shared/msg.h"
#include "shared/node_id.h"
#include "supervisor.h"

/* In the order of starting; stopped in reverse order. A further daemon is a further line in both. */
static const char *const programs_links[] = {
	"ctdb-transportd", "ctdb-clusterd", "ctdb-dbkeep", "ctdb-dbd", NULL,
};
static const char *const programs_tunnel[] = {
	"ctdb-tunneld", "ctdb-clusterd", "ctdb-dbkeep", "ctdb-dbd", NULL,
};

struct ctdbd {
	struct daemon *d;
	struct node_locks *locks;
	struct supervisor *supervisor;
	int status;
	uint32_t was_pnn; /* at its last start; UINT32_MAX: this is the first */
};

static bool interactive, foreground;

static const struct daemon_switch switches[] = {
	{'i', "interactive", &interactive,
	 "stay in the foreground and log to standard error, unless --log says otherwise"},
	{'F', "foreground", &foreground, "stay in the foreground"},
	{.name = NULL},
};

static const char *const *programs(const struct conf *conf)
{
	return conf->transport.carrier == CONF_CARRIER_TUNNEL ? programs_tunnel : programs_links;
}

/* Where daemons and scripts find things, whatever this process was given. */
static int export_environment(const struct daemon *d)
{
	if (setenv("CTDB_LIBEXEC", d->conf->path.libexec, 1) != 0 ||
	    (interactive && setenv("CTDB_INTERACTIVE", "true", 1) != 0)) {
		return errno;
	}
	return 0;
}

static int ctdbd_prepare(struct daemon *d, char **err)
{
	const struct conf *conf = d->conf;
	struct ctdbd *c = talloc_zero(d, struct ctdbd);
	int ret;

	if (c == NULL) {
		return ENOMEM;
	}
	d->priv = c;
	c->d = d;
	if (interactive && d->log_location == conf->logging.location) {
		d->log_location = "stderr";
	}
	ret = d->lost != NULL ? moved_possible(d, err) : 0;
	if (ret == 0 && !interactive && !foreground) {
		ret = background_begin();
	}
	if (ret == 0) {
		ret = prepare_directories(conf, d->log_location, d, err);
	}
	if (ret == 0) {
		ret = prepare_locks(conf, d, conf->supervisor.stop_timeout + 5000, &c->locks, err);
	}
	if (ret == 0) {
		ret = prepare_programs(conf, programs(conf), d, err);
	}
	if (ret == 0) {
		ret = prepare_keys(conf, d, err);
	}
	if (ret == 0) {
		ret = prepare_lock(conf, d, err);
	}
	if (ret == 0 && d->lost != NULL) {
		ret = moved_rejoin(d, err);
	}
	if (ret == 0) {
		ret = former_check(d, conf, d->nodes, d->pnn, err);
	}
	if (ret == 0) {
		ret = prepare_ports(conf, &d->nodes->v[d->pnn], d, err);
	}
	if (ret == 0) {
		ret = node_id_keep(d, conf->path.db_state, d->pnn, &c->was_pnn, err);
	}
	return ret == 0 ? export_environment(d) : ret;
}

static void node_up(void *priv)
{
	struct ctdbd *c = priv;
	char text[64];

	daemon_ready(c->d);
	snprintf(text, sizeof(text), "READY=1\nMAINPID=%d", (int)getpid());
	notify_send(text);
	background_done(log_is_stderr());
}

static void node_failed(void *priv, const char *text)
{
	struct ctdbd *c = priv;

	log_error("%s", text);
	if (!log_is_stderr()) {
		fprintf(stderr, "ctdbd: %s\n", text);
	}
	c->status = 1;
	daemon_stop(c->d, "the node cannot go on");
}

static void node_stopped(void *priv)
{
	struct ctdbd *c = priv;

	daemon_exit(c->d, c->status);
}

static const struct supervisor_ops supervisor_ops = {.up = node_up, .failed = node_failed, .stopped = node_stopped};

static void serve_status(void *priv, struct rpc_call *call)
{
	struct ctdbd *c = priv;
	struct super_status status;

	if (supervisor_status(c->supervisor, call, &status) != 0) {
		rpc_call_fail(call, ENOMEM);
		return;
	}
	super_get_status_reply(call, &status);
}

static void serve_shutdown(void *priv, struct rpc_call *call)
{
	struct ctdbd *c = priv;
	char reason[160];

	snprintf(reason, sizeof(reason), "asked by %s on node %u", call->source_endpoint, call->source_node);
	super_shutdown_reply(call);
	daemon_stop(c->d, reason);
}

static const struct super_server server = {.get_status = serve_status, .shutdown = serve_shutdown};

static int serve(void *priv, struct rpc_call *call, uint32_t proc, const uint8_t *buf, size_t len)
{
	return super_dispatch(&server, priv, call, proc, buf, len);
}

static void log_notices(const struct daemon *d)
{
	const struct ctdbd *c = d->priv;

	for (uint32_t i = 0; i < d->conf->n_notices; i++) {
		log_warning("%s", d->conf->notices[i]);
	}
	if (d->nodes->notice != NULL) {
		log_warning("%s", d->nodes->notice);
	}
	if (c->was_pnn != UINT32_MAX && c->was_pnn != d->pnn) {
		log_warning("by its address this is node %u, but it was node %u when it ran last: was its disk copied, "
			    "or did "
			    "two nodes exchange their addresses?",
			    d->pnn, c->was_pnn);
	}
}

/* The daemons get the file that was read; if there is none they find that out by themselves. */
static const char *config_file(const struct daemon *d)
{
	const char *path = d->conf->path.config;
	char resolved[PATH_MAX];

	return realpath(path, resolved) == NULL ? NULL : talloc_strdup(d->conf, resolved);
}

static int ctdbd_setup(struct daemon *d, char **err)
{
	struct ctdbd *c = d->priv;
	struct supervisor_config config = {
		.conf = d->conf,
		.programs = programs(d->conf),
		.lock_fd = c->locks->daemons_fd,
		.config_file = config_file(d),
		.log_location = d->log_location,
		.log_level = d->log_level,
	};
	int ret;

	log_notices(d);
	c->supervisor = supervisor_new(c, d->ev, &config, &supervisor_ops, c, err);
	if (c->supervisor == NULL) {
		return ENOMEM;
	}
	ret = msg_serve(d->msg, SUPER_INTERFACE, SUPER_VERSION, serve, c);
	if (ret == 0) {
		ret = notify_watchdog(c, d->ev);
	}
	if (ret == 0) {
		supervisor_start(c->supervisor);
	}
	return ret;
}

static void ctdbd_reload(struct daemon *d)
{
	struct ctdbd *c = d->priv;

	supervisor_signal(c->supervisor, SIGHUP);
}

static void ctdbd_stop(struct daemon *d)
{
	struct ctdbd *c = d->priv;

	notify_send("STOPPING=1");
	supervisor_stop(c->supervisor);
}

int main(int argc, char **argv)
{
	const struct daemon_ops ops = {
		.name = "ctdbd",
		.service = "super",
		.summary = "Starts the daemons of a CTDB node, restarts what dies, stops them in order.",
		.setup = ctdbd_setup,
		.reload = ctdbd_reload,
		.stop = ctdbd_stop,
		.switches = switches,
		.prepare = ctdbd_prepare,
		.moves = true,
		.deferred_ready = true,
		.stop_limit_s = UINT_MAX, /* the daemons have their limits, and each has its turn */
	};

	return daemon_main(argc, argv, &ops);
}
