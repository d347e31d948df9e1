/* ctdb-clusterd: carries out the cluster core: packets, timer, files, subscribers. */
#include "clusterd.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "shared/log.h"
#include "shared/mono_timer.h"
#include "shared/msg.h"

#define LEAVE_MS 50 /* for the farewell to be sent; then for each look whether the lock's helper has ended */

/* ---- what the core asks for ---- */

static void on_send(void *priv, uint32_t pnn, const struct cluster_msg *msg)
{
	peers_send(priv, pnn, msg);
}

static void persist_done(struct tevent_req *req)
{
	struct clusterd *cd = tevent_req_callback_data(req, struct clusterd);
	int ret = term_file_write_recv(req);

	TALLOC_FREE(cd->writing);
	if (ret != 0) {
		log_error("the term file cannot be written: %s: check its file system", strerror(ret));
	}
	cluster_persisted(cd->core, mono_now(), ret == 0);
	clusterd_after(cd);
}

/* Answers later in any case, as the core needs it. */
static void persist_failed(struct tevent_context *ev, struct tevent_immediate *im, void *priv)
{
	struct clusterd *cd = priv;

	talloc_free(im);
	log_error("out of memory: the term file cannot be written");
	cluster_persisted(cd->core, mono_now(), false);
	clusterd_after(cd);
}

static void on_persist(void *priv, const struct cluster_durable *durable)
{
	struct clusterd *cd = priv;
	struct tevent_immediate *im;

	cd->writing = term_file_write_send(cd, cd->d->ev, cd->term_file, durable);
	if (cd->writing != NULL) {
		tevent_req_set_callback(cd->writing, persist_done, cd);
		return;
	}
	im = tevent_create_immediate(cd);
	if (im != NULL) {
		tevent_schedule_immediate(im, cd->d->ev, persist_failed, cd);
	}
}

static void on_promise(void *priv, const struct cluster_promise *promise)
{
	struct clusterd *cd = priv;
	int ret = term_file_promise(cd->term_file, promise);

	if (ret != 0) {
		log_ratelimited(LOG_LVL_ERROR, 10000, "the promise file in %s cannot be written: %s",
				cd->d->conf->path.run, strerror(ret));
	}
}

static void on_changed(void *priv)
{
	struct clusterd *cd = priv;

	cd->changed = true;
}

static void on_lease(void *priv, struct mono until)
{
	struct clusterd *cd = priv;

	cd->lease_told = until;
}

static void on_event(void *priv, bool important, const char *text)
{
	log_write(important ? LOG_LVL_NOTICE : LOG_LVL_INFO, "%s", text);
}

static void on_arbiter(void *priv, bool want)
{
	struct clusterd *cd = priv;

	arbiter_want(cd->arbiter, want);
}

static bool on_arbiter_holds(void *priv)
{
	struct clusterd *cd = priv;

	return arbiter_holds(cd->arbiter);
}

static uint64_t on_wall_ms(void *priv)
{
	struct timespec ts = {0};

	(void)clock_gettime(CLOCK_REALTIME, &ts);
	return ts.tv_sec < 0 ? 0 : (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static const struct cluster_ops core_ops = {
	.send = on_send,
	.persist = on_persist,
	.promise = on_promise,
	.changed = on_changed,
	.lease = on_lease,
	.ban = bans_carry_out,
	.event = on_event,
	.arbiter = on_arbiter,
	.arbiter_holds = on_arbiter_holds,
	.wall_ms = on_wall_ms,
};

void clusterd_after(struct clusterd *cd)
{
	struct mono lease = cd->lease_told;
	bool changed;

	/* Read a moment after the core was: a lease may have ended, or what was told when one had ended is true no more. */
	if (cluster_settled(cd->core) && cluster_is_active(cd->core, mono_now()) != cd->told_active) {
		cd->changed = true;
	}
	changed = cd->changed;
	cd->lease_told = MONO_NEVER;
	if (cd->changed || (cd->n_waiting > 0 && cluster_settled(cd->core))) {
		cd->changed = false;
		subscribers_tell(cd);
	} else if (mono_is_set(lease)) {
		subscribers_tell_lease(cd, lease);
	}
	changes_look(cd, changed);
	nodes_look(cd);
	leader_look(cd);
	mono_timer_set(cd->timer, cluster_wakeup(cd->core));
	if (cd->leave_timer != NULL && cluster_left(cd->core)) {
		mono_timer_set_earlier(cd->leave_timer, mono_add_ms(mono_now(), LEAVE_MS));
	}
}

static void tick(void *priv)
{
	struct clusterd *cd = priv;

	cluster_tick(cd->core, mono_now());
	clusterd_after(cd);
}

/* ---- start ---- */

static int core_start(struct clusterd *cd, char **err)
{
	const struct daemon *d = cd->d;
	const struct conf *conf = d->conf;
	struct cluster_config config = {
		.pnn = d->pnn,
		.quorum = conf->cluster.arbitration == CONF_ARBITRATION_NONE ? CLUSTER_QUORUM_NONE
									     : CLUSTER_QUORUM_MAJORITY,
		.heartbeat_ms = conf->cluster.heartbeat_interval,
		.dead_ms = conf->cluster.dead_interval,
		.capabilities = (conf->cluster.leader_capability ? NODE_CAP_LEADER : 0U) |
				(conf->cluster.lmaster_capability ? NODE_CAP_LMASTER : 0U),
		.seed = mono_now().ns ^ d->incarnation,
	};
	int ret;

	_Static_assert(CONF_NODES_MAX <= NODES_MAX, "all nodes of the file have room");
	ret = term_file_open(cd, d, &cd->term_file, &config.durable, &config.promise, &config.incarnation, err);
	if (ret != 0) {
		return ret;
	}
	ret = nodes_start(cd, &config, err);
	if (ret != 0) {
		return ret;
	}
	ret = own_start(cd, &config);
	if (ret == 0) {
		ret = arbiter_start(cd, &config, err);
	}
	if (ret != 0) {
		return ret;
	}
	cd->ops = core_ops;
	cd->ops.nodes = nodes_ops;
	cd->core = cluster_new(cd, &config, &cd->ops, cd, mono_now());
	if (cd->core == NULL) {
		return ENOMEM;
	}
	nodes_watch(cd);
	return 0;
}

static int dispatch(void *priv, struct rpc_call *call, uint32_t proc, const uint8_t *buf, size_t len)
{
	static struct cluster_server server;

	if (server.hello == NULL) {
		peers_fill(&server);
		subscribers_fill(&server);
		own_fill(&server);
		events_fill(&server);
		callbacks_fill(&server);
		leader_fill(&server);
		bans_fill(&server);
		nodes_fill(&server);
		identity_fill(&server);
	}
	return cluster_dispatch(&server, priv, call, proc, buf, len);
}

static int clusterd_setup(struct daemon *d, char **err)
{
	enum conf_arbitration arbitration = d->conf->cluster.arbitration;
	struct clusterd *cd = talloc_zero(d, struct clusterd);
	int ret;

	if (cd == NULL) {
		return ENOMEM;
	}
	cd->d = d;
	d->priv = cd;
	subscribers_start(cd);
	ret = changes_start(cd);
	ret = ret != 0 ? ret : events_start(cd);
	ret = ret != 0 ? ret : callbacks_start(cd);
	ret = ret != 0 ? ret : leader_start(cd);
	ret = ret != 0 ? ret : peers_start(cd);
	ret = ret != 0 ? ret : identity_start(cd, err);
	if (ret == 0) {
		cd->timer = mono_timer_new(cd, d->ev, tick, cd);
		ret = cd->timer == NULL ? ENOMEM : core_start(cd, err);
	}
	if (ret == 0) {
		ret = msg_serve(d->msg, CLUSTER_INTERFACE, CLUSTER_VERSION, dispatch, cd);
	}
	if (ret == 0) {
		ret = links_start(cd);
	}
	if (ret != 0) {
		return ret;
	}
	if (arbitration == CONF_ARBITRATION_NONE) {
		log_warning("arbitration = none: when the network splits, each side goes on alone (split brain)");
	}
	clusterd_after(cd);
	return 0;
}

/* The list in use changes by agreement only: see nodes.c. */
static void clusterd_reload(struct daemon *d)
{
	struct clusterd *cd = d->priv;
	struct conf_nodes *nodes;
	char *err = NULL;

	if (conf_nodes_load(cd, d->conf->path.nodes, &nodes, &err) != 0) {
		log_error("the nodes stay as they were: %s", err);
		talloc_free(err);
		return;
	}
	if (nodes_differ(cd, nodes)) {
		log_warning("%s was changed: 'ctdb node reload' makes it the list of all nodes", d->conf->path.nodes);
	}
	talloc_free(nodes);
}

/* The lock's helper ends first: it gives the lock back. */
static void leave_done(void *priv)
{
	struct clusterd *cd = priv;

	arbiter_end(cd->arbiter);
	if (!arbiter_idle(cd->arbiter)) {
		mono_timer_set(cd->leave_timer, mono_add_ms(mono_now(), LEAVE_MS));
		return;
	}
	daemon_exit(cd->d, 0);
}

static void clusterd_stop(struct daemon *d)
{
	struct clusterd *cd = d->priv;

	cd->leave_timer = mono_timer_new(cd, d->ev, leave_done, cd);
	cluster_leave(cd->core, mono_now());
	clusterd_after(cd);
	if (cd->leave_timer == NULL) {
		daemon_exit(d, 0);
	}
}

int main(int argc, char **argv)
{
	const struct daemon_ops ops = {
		.name = "ctdb-clusterd",
		.service = "cluster",
		.summary = "decides who is in the cluster and who leads it",
		.setup = clusterd_setup,
		.urgent = true,
		.own_nodes = true,
		.reload = clusterd_reload,
		.stop = clusterd_stop,
	};

	return daemon_main(argc, argv, &ops);
}
