/* ctdb-dbd: the databases of a node. */
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>

#include <tdb.h>

#include "dbd/journal.h"
#include "dbd/locks.h"
#include "dbd/service.h"
#include "dbd/srvid.h"
#include "dbd/worker.h"
#include "protocol/classic.h"
#include "shared/log.h"

#define WORKERS 4U

static int part_failed(const char *part, int ret, char **err, TALLOC_CTX *mem)
{
	if (*err == NULL) {
		*err = talloc_asprintf(mem, "%s: %s", part, strerror(ret));
	}
	return ret;
}

/* The order matters: links bring packets for all other parts, the client socket comes last. */
static int start_parts(struct dbd *dbd, char **err)
{
	struct daemon *d = dbd->d;
	char *worker = talloc_asprintf(dbd, "%s/ctdb-db-worker", d->conf->path.libexec);
	int ret = dbs_open(dbd, d, &dbd->dbs, err);

	if (ret != 0) {
		return part_failed("databases", ret, err, d);
	}
	ret = worker_pool_new(dbd, d->ev, worker, WORKERS, &dbd->workers, err);
	if (ret != 0) {
		return part_failed("workers", ret, err, d);
	}
	ret = journals_new(dbd, dbd->dbs, dbd->workers, &dbd->journals);
	ret = ret != 0 ? ret : srvids_new(dbd, dbd, &dbd->srvids);
	ret = ret != 0 ? ret : commits_new(dbd, dbd, &dbd->commits);
	ret = ret != 0 ? ret : traverses_new(dbd, dbd, &dbd->traverses);
	ret = ret != 0 ? ret : attaches_new(dbd, dbd, &dbd->attaches);
	ret = ret != 0 ? ret : locks_new(dbd, dbd, &dbd->locks);
	ret = ret != 0 ? ret : records_new(dbd, dbd, &dbd->records);
	ret = ret != 0 ? ret : recovery_new(dbd, dbd, &dbd->recovery);
	if (ret != 0) {
		return part_failed("start", ret, err, d);
	}
	ret = clients_new(dbd, dbd, &dbd->clients, err);
	if (ret != 0) {
		return part_failed("client socket", ret, err, d);
	}
	ret = lane_new(dbd, dbd, &dbd->lane, err);
	if (ret != 0) {
		return part_failed("links to other nodes", ret, err, d);
	}
	return 0;
}

static int setup(struct daemon *d, char **err)
{
	struct dbd *dbd = talloc_zero(d, struct dbd);
	int ret = ENOMEM;

	if (dbd == NULL) {
		return part_failed("start", ret, err, d);
	}
	dbd->d = d;
	d->priv = dbd;
	ret = start_parts(dbd, err);
	if (ret != 0) {
		return ret;
	}
	ret = status_start(dbd);
	ret = ret != 0 ? ret : view_start(dbd);
	return ret != 0 ? part_failed("endpoint", ret, err, d) : 0;
}

static void reload(struct daemon *d)
{
	struct dbd *dbd = d->priv;
	int ret = lane_set_nodes(dbd->lane);

	if (ret != 0) {
		log_error("the nodes list of the links stays as it was: %s",
			  ret == EINVAL ? "the own address cannot be changed without a restart" : strerror(ret));
	}
	srvids_deliver(dbd->srvids, CLASSIC_SRVID_RELOAD_NODES, NULL, 0);
}

static void journals_stopped(void *priv)
{
	daemon_exit(priv, 0);
}

static void stop(struct daemon *d)
{
	struct dbd *dbd = d->priv;

	journals_stop(dbd->journals, journals_stopped, d);
}

/*
 * libtdb tries robust mutexes in a child that it forks, once, and remembers the result. Here the child inherits
 * nothing: one that outlived us a moment would keep our endpoint from the next of us.
 */
static int prepare(struct daemon *d, char **err)
{
	(void)tdb_runtime_check_for_robust_mutexes();
	return 0;
}

int main(int argc, char **argv)
{
	static const struct daemon_ops ops = {
		.name = "ctdb-dbd",
		.service = "db",
		.summary = "clustered databases of a ctdb-ng node",
		.prepare = prepare,
		.setup = setup,
		.urgent = true,
		.many_files = true,
		.reload = reload,
		.stop = stop,
	};

	return daemon_main(argc, argv, &ops);
}
