/* ctdb-transportd: links to the other nodes, and the way of packets over them. */
#include "transport.h"

#include <errno.h>
#include <string.h>

#include "shared/log.h"

static int transportd_setup(struct daemon *d, char **err)
{
	struct transport *t = talloc_zero(d, struct transport);
	int ret;

	if (t == NULL) {
		return ENOMEM;
	}
	t->d = d;
	d->priv = t;
	ret = links_start(t);
	ret = ret != 0 ? ret : keys_start(t, err);
	return ret != 0 ? ret : route_start(t, err);
}

static void transportd_reload(struct daemon *d)
{
	struct transport *t = d->priv;
	int ret = link_mesh_set_nodes(t->mesh, d->nodes);

	if (ret != 0) {
		log_error("the nodes list of the links stays as it was: %s",
			  ret == EINVAL ? "the own address cannot be changed without a restart" : strerror(ret));
	}
	keys_reload(t);
}

int main(int argc, char **argv)
{
	const struct daemon_ops ops = {
		.name = "ctdb-transportd",
		.service = "transport",
		.summary = "keeps the links to the other nodes and carries packets over them",
		.setup = transportd_setup,
		.urgent = true,
		.many_files = true,
		.reload = transportd_reload,
	};

	return daemon_main(argc, argv, &ops);
}
