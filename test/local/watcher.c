/*
 * Watches what clusterd tells the daemons of its node, and prints it, one line each: watcher DIRECTORY ENDPOINT PNN.
 * Times are CLOCK_MONOTONIC, ns. state NOW TERM NUMBER LEADER ACTIVE UNTIL MEMBERS     members of the view: pnn,pnn or
 * -; a leader nobody knows is -1 lease NOW UNTIL                                        extended, nothing else changed
 * It waits for the endpoints as long as they are not there. Commands on standard input: "leader on", "leader off" (this
 * node's capability), each answered by "done ERRNO".
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "protocol/cluster_rpc.h"
#include "shared/log.h"
#include "shared/mono_timer.h"
#include "shared/msg.h"

#define ASK_MS   500
#define AGAIN_MS 10
#define RENEW_MS 2000

struct watcher {
	struct tevent_context *ev;
	struct msg *m;
	struct rpc_client *clusterd;
	struct mono_timer *timer;
	char *endpoint;
	uint32_t pnn;
};

static void told(const struct cluster_state *s)
{
	const char *sep = "";

	printf("state %" PRIu64 " %" PRIu64 " %" PRIu64 " %d %d %" PRIu64 " ", mono_now().ns, s->view.term,
	       s->view.number, (int)s->view.leader, s->active, s->lease_until);
	for (uint32_t i = 0; i < s->view.members.n; i++) {
		if ((s->view.members.v[i].flags & (NODE_FLAG_DISCONNECTED | NODE_FLAG_DELETED)) == 0) {
			printf("%s%u", sep, (unsigned)s->view.members.v[i].pnn);
			sep = ",";
		}
	}
	printf("%s\n", *sep == '\0' ? "-" : "");
}

static bool from_clusterd(const struct watcher *w, const struct rpc_call *call)
{
	return strcmp(call->source_endpoint, "cluster") == 0 && call->source_node == w->pnn;
}

static void on_state(void *priv, struct rpc_call *call, const struct cluster_state *s)
{
	if (from_clusterd(priv, call)) {
		told(s);
	}
}

static void on_lease(void *priv, struct rpc_call *call, const struct cluster_lease *lease)
{
	if (from_clusterd(priv, call)) {
		printf("lease %" PRIu64 " %" PRIu64 "\n", mono_now().ns, lease->until);
	}
}

static int dispatch(void *priv, struct rpc_call *call, uint32_t proc, const uint8_t *buf, size_t len)
{
	static const struct cluster_server server = {.state_changed = on_state, .lease = on_lease};

	return cluster_dispatch(&server, priv, call, proc, buf, len);
}

static void asked(struct tevent_req *req)
{
	struct watcher *w = tevent_req_callback_data(req, struct watcher);
	TALLOC_CTX *tmp = talloc_new(w);
	struct cluster_state s;
	int ret = cluster_subscribe_recv(req, tmp, &s);

	talloc_free(req);
	if (ret == 0) {
		told(&s);
	}
	talloc_free(tmp);
	mono_timer_set(w->timer, mono_add_ms(mono_now(), ret == 0 ? RENEW_MS : AGAIN_MS));
}

static void ask(void *priv)
{
	struct watcher *w = priv;
	struct subscribe_args args = {.endpoint = w->endpoint};
	struct tevent_req *req = cluster_subscribe_send(w, w->ev, w->clusterd, &args, ASK_MS);

	if (req == NULL) {
		exit(1);
	}
	tevent_req_set_callback(req, asked, w);
}

/* ---- commands ---- */

static void changed(struct tevent_req *req)
{
	struct watcher *w = tevent_req_callback_data(req, struct watcher);
	struct cluster_own own;

	printf("done %d\n", cluster_set_own_capabilities_recv(req, w, &own));
	talloc_free(req);
}

static void command(struct watcher *w, const char *line)
{
	struct cluster_capabilities_args args = {0};
	struct tevent_req *req;

	if (strcmp(line, "leader on") == 0) {
		args.set = NODE_CAP_LEADER;
	} else if (strcmp(line, "leader off") == 0) {
		args.clear = NODE_CAP_LEADER;
	} else {
		fprintf(stderr, "bad command: %s\n", line);
		exit(2);
	}
	req = cluster_set_own_capabilities_send(w, w->ev, w->clusterd, &args, 10000);
	if (req == NULL) {
		exit(1);
	}
	tevent_req_set_callback(req, changed, w);
}

static void readable(struct tevent_context *ev, struct tevent_fd *fde, uint16_t flags, void *priv)
{
	static char buffer[256];
	static size_t used;
	struct watcher *w = priv;
	ssize_t n = read(STDIN_FILENO, buffer + used, sizeof(buffer) - used);
	char *end;

	if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
		return;
	}
	if (n <= 0) {
		talloc_free(w->m); /* takes the socket along */
		exit(0);
	}
	used += (size_t)n;
	while ((end = memchr(buffer, '\n', used)) != NULL) {
		size_t len = (size_t)(end - buffer) + 1;

		*end = '\0';
		command(w, buffer);
		memmove(buffer, buffer + len, used - len);
		used -= len;
	}
}

/* clusterd has to be there first: a node that is starting still mounts directories over others. End of standard input
 * ends us also before. */
static int open_endpoint(struct watcher *w, const char *directory, char **err)
{
	char *socket = talloc_asprintf(w, "%s/cluster", directory);
	char c;

	while (socket != NULL && access(socket, F_OK) != 0) {
		if (read(STDIN_FILENO, &c, 1) == 0) {
			exit(0);
		}
		usleep(AGAIN_MS * 1000);
	}
	return msg_open(w, w->ev, directory, w->endpoint, w->pnn, NULL, &w->m, err);
}

int main(int argc, char **argv)
{
	const struct msg_addr addr = {.endpoint = "cluster", .node = NODE_SELF};
	struct watcher *w;
	char *err = NULL;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc != 4 || log_init(NULL, "watcher", "stderr", LOG_LVL_WARNING, &err) != 0) {
		fprintf(stderr, "usage: watcher DIRECTORY ENDPOINT PNN\n");
		return 2;
	}
	(void)setpriority(PRIO_PROCESS, 0, -10); /* as the daemons that are told this */
	w = talloc_zero(NULL, struct watcher);
	w->ev = tevent_context_init(w);
	w->endpoint = argv[2];
	w->pnn = (uint32_t)strtoul(argv[3], NULL, 10);
	if (w->ev == NULL || fcntl(STDIN_FILENO, F_SETFL, O_NONBLOCK) != 0) {
		return 1;
	}
	if (open_endpoint(w, argv[1], &err) != 0) {
		fprintf(stderr, "%s\n", err);
		return 1;
	}
	w->clusterd = msg_client(w, w->m, &addr);
	w->timer = mono_timer_new(w, w->ev, ask, w);
	if (w->clusterd == NULL || w->timer == NULL ||
	    msg_serve(w->m, CLUSTER_INTERFACE, CLUSTER_VERSION, dispatch, w) != 0 ||
	    tevent_add_fd(w->ev, w->ev, STDIN_FILENO, TEVENT_FD_READ, readable, w) == NULL) {
		return 1;
	}
	ask(w);
	return tevent_loop_wait(w->ev) == 0 ? 0 : 1;
}
