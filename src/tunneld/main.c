/* ctdb-tunneld: does what ctdb-transportd does, through an existing ctdbd. */
#include <errno.h>
#include <string.h>

#include "shared/active_nodes.h"
#include "shared/log.h"
#include "tunneld.h"

static int tunneld_setup(struct daemon *d, char **err)
{
	struct tunneld *t = talloc_zero(d, struct tunneld);
	int ret;

	if (t == NULL) {
		return ENOMEM;
	}
	t->d = d;
	d->priv = t;
	ret = links_start(t);
	if (ret == 0) {
		ret = active_nodes_new(t, d, "transport", &t->active);
	}
	return ret != 0 ? ret : route_start(t, err);
}

static void tunneld_reload(struct daemon *d)
{
	int ret = route_set_nodes(d->priv);

	if (ret != 0) {
		log_error("the nodes list of the links stays as it was: %s", strerror(ret));
	}
}

static void tunneld_stop(struct daemon *d)
{
	route_stop(d->priv);
	daemon_exit(d, 0);
}

int main(int argc, char **argv)
{
	const struct daemon_ops ops = {
		.name = "ctdb-tunneld",
		.service = "transport",
		.summary = "carries packets to the other nodes through an existing ctdbd",
		.setup = tunneld_setup,
		.urgent = true,
		.reload = tunneld_reload,
		.stop = tunneld_stop,
	};

	return daemon_main(argc, argv, &ops);
}
