/* Message library: every endpoint tells about its messages (protocol/msgstat.x). */
#include "shared/msg_private.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "protocol/msgstat_rpc.h"

#define MSG_STATS_NAMES 1024 /* bound of the list in msgstat.x */

static uint32_t msg_list_length(const struct dlist *list)
{
	uint32_t n = 0;

	dlist_for_each(pos, list)
	{
		n++;
	}
	return n;
}

static void msg_stats_get(void *priv, struct rpc_call *call)
{
	struct msg *m = priv;
	const struct msg_stats *s = &m->stats;
	struct msgstat_info info = {
		.endpoint = m->endpoint,
		.pnn = m->own_node,
		.pid = (uint32_t)m->pid,
		.open_ms = (mono_now().ns - m->opened.ns) / 1000000,
		.sent = s->sent,
		.received = s->received,
		.sent_bytes = s->sent_bytes,
		.received_bytes = s->received_bytes,
		.dropped_full = s->dropped_full,
		.dropped_malformed = s->dropped_malformed,
		.no_endpoint = s->no_endpoint,
		.timeouts = s->timeouts,
		.unreachable = s->unreachable,
		.group_empty = s->group_empty,
		.peer_lost = s->peer_lost,
		.requests = m->n_requests,
		.calls = msg_list_length(&m->calls) - 1, /* without this one */
		.streams = msg_streams_count(m),
		.queue_limit = m->limits.queue_bytes,
	};

	if (msg_queue_stats(call, m, &info) != 0) {
		rpc_call_fail(call, ENOMEM);
		return;
	}
	msgstat_get_reply(call, &info);
}

static int msg_name_compare(const void *a, const void *b)
{
	return strcmp(((const struct msgstat_name *)a)->endpoint, ((const struct msgstat_name *)b)->endpoint);
}

/* Names of sockets in the directory. 0 or errno. */
static int msg_names_read(TALLOC_CTX *mem, DIR *dir, struct msgstat_names *names)
{
	const struct dirent *e;

	names->names.v = talloc_zero_array(mem, struct msgstat_name, MSG_STATS_NAMES);
	if (names->names.v == NULL) {
		return ENOMEM;
	}
	while (names->names.n < MSG_STATS_NAMES && (e = readdir(dir)) != NULL) {
		if (!msg_endpoint_valid(e->d_name)) {
			continue;
		}
		char *name = talloc_strdup(names->names.v, e->d_name);

		if (name == NULL) {
			return ENOMEM;
		}
		names->names.v[names->names.n++].endpoint = name;
	}
	qsort(names->names.v, names->names.n, sizeof(names->names.v[0]), msg_name_compare);
	return 0;
}

static void msg_stats_endpoints(void *priv, struct rpc_call *call)
{
	struct msg *m = priv;
	struct msgstat_names names = {.names = {.n = 0}};
	int fd = openat(m->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), ret;
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;

	if (dir == NULL) {
		ret = errno;
		if (fd >= 0) {
			close(fd);
		}
	} else {
		ret = msg_names_read(call, dir, &names);
		closedir(dir);
	}
	if (ret != 0) {
		rpc_call_fail(call, ret);
		return;
	}
	msgstat_endpoints_reply(call, &names);
}

static int msg_stats_dispatch(void *priv, struct rpc_call *call, uint32_t proc, const uint8_t *buf, size_t len)
{
	static const struct msgstat_server server = {.get = msg_stats_get, .endpoints = msg_stats_endpoints};

	return msgstat_dispatch(&server, priv, call, proc, buf, len);
}

int msg_stats_serve(struct msg *m)
{
	return msg_serve(m, MSGSTAT_INTERFACE, MSGSTAT_VERSION, msg_stats_dispatch, m);
}
