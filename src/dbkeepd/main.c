/* ctdb-dbkeep: holds volatile databases open while no dbd runs, so that they are not emptied when it is started again.
 */
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>

#include <tdb.h>

#include "keep.h"
#include "protocol/dbkeep_rpc.h"
#include "shared/daemon.h"
#include "shared/log.h"
#include "shared/msg.h"

static void on_keep(void *priv, struct rpc_call *call, const struct dbkeep_file *arg)
{
	struct keep *keep = talloc_get_type_abort(priv, struct keep);
	int error = keep_file(keep, arg);

	if (error != 0) {
		log_warning("%s: cannot be kept: %s", arg->path, strerror(error));
		rpc_call_fail(call, error);
		return;
	}
	dbkeep_keep_reply(call);
}

static void on_drop(void *priv, struct rpc_call *call, const struct dbkeep_path *arg)
{
	struct keep *keep = talloc_get_type_abort(priv, struct keep);
	int error = keep_drop(keep, arg->path);

	if (error != 0) {
		rpc_call_fail(call, error);
		return;
	}
	dbkeep_drop_reply(call);
}

static void on_list(void *priv, struct rpc_call *call)
{
	struct keep *keep = talloc_get_type_abort(priv, struct keep);
	struct dbkeep_files files;
	int error = keep_list(keep, call, &files);

	if (error != 0) {
		rpc_call_fail(call, error);
		return;
	}
	dbkeep_list_reply(call, &files);
}

static const struct dbkeep_server server = {.keep = on_keep, .drop = on_drop, .list = on_list};

static int dispatch(void *priv, struct rpc_call *call, uint32_t proc, const uint8_t *buf, size_t len)
{
	return dbkeep_dispatch(&server, priv, call, proc, buf, len);
}

static int setup(struct daemon *d, char **err)
{
	struct keep *keep;
	int error = keep_new(d, d->conf->path.db_volatile, &keep);

	if (error == 0) {
		error = msg_serve(d->msg, DBKEEP_INTERFACE, DBKEEP_VERSION, dispatch, keep);
	}
	if (error != 0) {
		*err = talloc_asprintf(d, "cannot serve: %s", strerror(error));
	}
	return error;
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
		.name = "ctdb-dbkeep",
		.service = "dbkeep",
		.summary = "keeps the files of volatile databases open while ctdb-dbd is started again",
		.prepare = prepare,
		.setup = setup,
		.many_files = true,
	};

	return daemon_main(argc, argv, &ops);
}
