/* transportd: everything about links, for people. */
#include "transport.h"

#include <errno.h>
#include <string.h>

static char *text(const char *s)
{
	return (char *)(uintptr_t)s;
}

static int fill_paths(TALLOC_CTX *mem, const struct link_stats *s, struct link_status *out)
{
	uint32_t connections = out->interface_version >= 2 ? LINK_CLASSES : 1;

	out->paths.n = s->n_paths;
	out->paths.v = talloc_zero_array(mem, struct link_path_status, s->n_paths);
	if (out->paths.v == NULL) {
		return ENOMEM;
	}
	for (uint32_t i = 0; i < s->n_paths; i++) {
		const struct link_path_stats *p = &s->path[i];

		out->paths.v[i] = (struct link_path_status){
			.address = text(p->address),
			.up = p->up,
			.active = p->active,
			.connections = p->up ? connections : 0,
			.rtt_us = p->rtt_us,
			.security = text(p->security),
			.key_id = text(p->key_id),
		};
	}
	return 0;
}

static int fill_link(TALLOC_CTX *mem, const struct transport *t, uint32_t pnn, struct mono now, struct link_status *out)
{
	struct link_stats *s = talloc_zero(mem, struct link_stats); /* the answer points into it */

	if (s == NULL) {
		return ENOMEM;
	}
	link_stats(t->mesh, pnn, s);
	*out = (struct link_status){
		.pnn = pnn,
		.up = s->up,
		.interface_version = link_peer_version(t->mesh, pnn),
		.ups = s->ups,
		.switches = s->switches,
		.frames_in = s->frames_in,
		.frames_out = s->frames_out,
		.bytes_in = s->bytes_in,
		.bytes_out = s->bytes_out,
		.rtt_max_us = s->rtt_max_us,
		.queued = link_queued(t->mesh, pnn),
	};
	if (pnn < t->n_changed && mono_is_set(t->changed[pnn])) {
		out->since_ms = mono_ms_between(t->changed[pnn], now);
	}
	return fill_paths(mem, s, out);
}

void status_get(void *priv, struct rpc_call *call)
{
	const struct transport *t = priv;
	const struct conf *conf = t->d->conf;
	const struct conf_nodes *nodes = t->d->nodes;
	struct links_status status = {
		.carrier = text("links"),
		.security = text(t->keys != NULL ? "tls" : "none"),
		.interface_version = conf->transport.interface_version,
		.heartbeat_ms = conf->cluster.heartbeat_interval,
		.dead_ms = conf->cluster.dead_interval,
	};
	struct mono now = mono_now();
	int ret = 0;

	status.links.v = talloc_zero_array(call, struct link_status, nodes->n);
	if (status.links.v == NULL) {
		ret = ENOMEM;
	}
	for (uint32_t pnn = 0; ret == 0 && pnn < nodes->n; pnn++) {
		if (pnn != t->d->pnn && !nodes->v[pnn].deleted) {
			ret = fill_link(status.links.v, t, pnn, now, &status.links.v[status.links.n++]);
		}
	}
	if (ret != 0) {
		rpc_call_fail(call, ret);
		return;
	}
	transport_get_status_reply(call, &status);
}
