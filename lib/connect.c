/* Connecting to the daemon, and its first question: which node is this. */
#include "internal.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* The daemon's queue of new connections may be full for a moment. */
#define CONNECT_RETRY_MS 10U

struct connect_state {
	struct tevent_context *ev;
	struct sockaddr_un addr;
	uint32_t timeout_ms;
	struct ctdb_client *c;
};

static void connect_try(struct tevent_req *req);
static void connect_retry(struct tevent_context *ev, struct tevent_timer *te, struct timeval now, void *priv);
static void connect_pnn_done(struct tevent_req *subreq);

struct tevent_req *ctdb_connect_send(TALLOC_CTX *mem, struct tevent_context *ev, const char *path, uint32_t timeout_ms)
{
	struct connect_state *s;
	struct tevent_req *req = tevent_req_create(mem, &s, struct connect_state);

	if (req == NULL) {
		return NULL;
	}
	*s = (struct connect_state){.ev = ev, .timeout_ms = timeout_ms != 0 ? timeout_ms : CTDB_TIMEOUT_DEFAULT};
	path = path != NULL ? path : ctdb_default_socket(s);
	if (tevent_req_nomem(path, req)) {
		return tevent_req_post(req, ev);
	}
	if (strlen(path) >= sizeof(s->addr.sun_path)) {
		tevent_req_error(req, ENAMETOOLONG);
		return tevent_req_post(req, ev);
	}
	s->addr.sun_family = AF_UNIX;
	memcpy(s->addr.sun_path, path, strlen(path) + 1);
	if (tevent_req_set_endtime(req, ev,
				   tevent_timeval_current_ofs(s->timeout_ms / 1000, (s->timeout_ms % 1000) * 1000))) {
		connect_try(req);
	}
	return tevent_req_is_in_progress(req) ? req : tevent_req_post(req, ev);
}

static void connect_try(struct tevent_req *req)
{
	struct connect_state *s = tevent_req_data(req, struct connect_state);
	struct ctdb_control get_pnn = {.node = CTDB_NODE_CURRENT, .opcode = CLASSIC_CONTROL_GET_PNN};
	struct tevent_req *subreq;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), err;

	if (fd == -1) {
		tevent_req_error(req, errno);
		return;
	}
	if (connect(fd, (const struct sockaddr *)&s->addr, sizeof(s->addr)) != 0) {
		err = errno;
		close(fd);
		if (err != EAGAIN) {
			tevent_req_error(req, err);
		} else if (tevent_add_timer(s->ev, s, tevent_timeval_current_ofs(0, CONNECT_RETRY_MS * 1000),
					    connect_retry, req) == NULL) {
			tevent_req_oom(req);
		}
		return;
	}
	s->c = client_new(s, s->ev, fd, s->timeout_ms);
	if (s->c == NULL) {
		close(fd);
		tevent_req_oom(req);
		return;
	}
	subreq = ctdb_control_send(s, s->c, &get_pnn);
	if (!tevent_req_nomem(subreq, req)) {
		tevent_req_set_callback(subreq, connect_pnn_done, req);
	}
}

static void connect_retry(struct tevent_context *ev, struct tevent_timer *te, struct timeval now, void *priv)
{
	connect_try(priv);
}

static void connect_pnn_done(struct tevent_req *subreq)
{
	struct tevent_req *req = tevent_req_callback_data(subreq, struct tevent_req);
	struct connect_state *s = tevent_req_data(req, struct connect_state);
	int32_t status = -1;
	int err = control_status_recv(subreq, &status);

	talloc_free(subreq);
	if (tevent_req_error(req, err)) {
		return;
	}
	if (status < 0) {
		tevent_req_error(req, EPROTO);
		return;
	}
	s->c->pnn = (uint32_t)status;
	tevent_req_done(req);
}

int ctdb_connect_recv(struct tevent_req *req, TALLOC_CTX *mem, struct ctdb_client **c)
{
	struct connect_state *s = tevent_req_data(req, struct connect_state);
	int err;

	if (req_failed(req, &err)) {
		return err;
	}
	*c = talloc_steal(mem, s->c);
	return 0;
}

int ctdb_open(TALLOC_CTX *mem, const char *path, uint32_t timeout_ms, struct ctdb_client **c)
{
	struct tevent_context *ev = tevent_context_init(mem);
	struct tevent_req *req;
	struct ctdb_client *client = NULL;
	int err;

	if (ev == NULL) {
		return ENOMEM;
	}
	req = ctdb_connect_send(ev, ev, path, timeout_ms);
	if (req == NULL || !tevent_req_poll(req, ev)) {
		err = ENOMEM;
	} else {
		err = ctdb_connect_recv(req, mem, &client);
	}
	talloc_free(req);
	if (err != 0) {
		talloc_free(ev);
		return err;
	}
	client->sync_ev = talloc_steal(client, ev);
	*c = client;
	return 0;
}
