/*
 * Shows what happens in the cluster, with an event loop and without ever waiting: events (leader, nodes, recoveries),
 *and messages that other programs send to the watchers of all nodes.
 *
 *	watch [SOCKET]			runs until it is interrupted
 *	watch SOCKET TEXT		says TEXT to the watchers of all nodes, and ends
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include <ctdb/ctdb.h>

#define TIMEOUT_MS 10000
#define SRVID      (CTDB_SRVID_TEST | 0x77617463) /* programs that talk to each other agree on one */

struct watch {
	struct tevent_context *ev;
	struct ctdb_client *c;
	bool stop;
	int status; /* of the program */
};

static void watch_connected(struct tevent_req *req);
static void watch_listening(struct tevent_req *req);
static void watch_subscribed(struct tevent_req *req);
static void watch_message(void *priv, uint64_t srvid, struct ctdb_data data);
static void watch_event(void *priv, const struct ctdb_event *event);

/* True if something failed: the program ends then. */
static bool failed(struct watch *w, int err, const char *what)
{
	if (err != 0) {
		fprintf(stderr, "%s: %s%s%s\n", what, strerror(err), w->c != NULL ? ": " : "",
			w->c != NULL ? ctdb_client_error(w->c) : "");
		w->stop = true;
		w->status = 1;
	}
	return err != 0;
}

/* Each step starts a request; its callback finishes it and starts the next one. */
static void next_step(struct watch *w, struct tevent_req *req, tevent_req_fn fn)
{
	if (req == NULL) {
		failed(w, ENOMEM, "watch");
	} else {
		tevent_req_set_callback(req, fn, w);
	}
}

static void watch_connected(struct tevent_req *req)
{
	struct watch *w = tevent_req_callback_data(req, struct watch);
	int err = ctdb_connect_recv(req, w, &w->c);

	talloc_free(req);
	if (!failed(w, err, "connect")) {
		next_step(w, ctdb_listen_send(w, w->c, SRVID, watch_message, w), watch_listening);
	}
}

static void watch_listening(struct tevent_req *req)
{
	struct watch *w = tevent_req_callback_data(req, struct watch);
	struct ctdb_listener *listener = NULL;
	int err = ctdb_listen_recv(req, w->c, &listener); /* lives as long as the client */

	talloc_free(req);
	if (!failed(w, err, "listen")) {
		next_step(w, ctdb_events_send(w, w->c, 0, watch_event, w), watch_subscribed);
	}
}

static void watch_subscribed(struct tevent_req *req)
{
	struct watch *w = tevent_req_callback_data(req, struct watch);
	struct ctdb_events *events = NULL;
	int err = ctdb_events_recv(req, w->c, &events);

	talloc_free(req);
	if (!failed(w, err, "events")) {
		printf("watching on node %u\n", ctdb_client_pnn(w->c));
	}
}

static void watch_message(void *priv, uint64_t srvid, struct ctdb_data data)
{
	printf("message: %.*s\n", (int)data.len, (const char *)data.data);
}

static void watch_event(void *priv, const struct ctdb_event *event)
{
	struct watch *w = priv;

	switch (event->kind) {
	case CTDB_EVENT_LEADER:
		printf("node %u leads\n", event->pnn);
		break;
	case CTDB_EVENT_NODE:
		printf("node %u: flags %#x%s\n", event->pnn, event->flags, event->first ? "" : " now");
		break;
	case CTDB_EVENT_ADDRESS_TAKEN:
	case CTDB_EVENT_ADDRESS_RELEASED:
		printf("%s: %s\n", ctdb_event_kind_name(event->kind), event->address);
		break;
	case CTDB_EVENT_LOST:
		fprintf(stderr, "the daemon has gone\n");
		w->stop = true;
		w->status = 1;
		break;
	case CTDB_EVENT_RECOVERED:
	default: /* later versions may know more */
		printf("%s\n", ctdb_event_kind_name(event->kind));
	}
}

static void interrupted(struct tevent_context *ev, struct tevent_signal *se, int signum, int count, void *info,
			void *priv)
{
	struct watch *w = priv;

	w->stop = true;
}

static int watch(const char *socket)
{
	struct watch *w = talloc_zero(NULL, struct watch);
	int status = 1;

	if (w == NULL) {
		return 1;
	}
	w->ev = tevent_context_init(w);
	if (w->ev != NULL && tevent_add_signal(w->ev, w, SIGINT, 0, interrupted, w) != NULL &&
	    tevent_add_signal(w->ev, w, SIGTERM, 0, interrupted, w) != NULL) {
		next_step(w, ctdb_connect_send(w, w->ev, socket, TIMEOUT_MS), watch_connected);
		while (!w->stop && tevent_loop_once(w->ev) == 0) {
		}
		status = w->status;
	}
	talloc_free(w->c); /* before the event loop that it uses */
	talloc_free(w);
	return status;
}

/* Not worth an event loop. */
static int say(const char *socket, const char *text)
{
	struct ctdb_client *c = NULL;
	int ret = ctdb_open(NULL, socket, TIMEOUT_MS, &c);

	if (ret == 0) {
		ret = ctdb_post_message(c, CTDB_NODES_CONNECTED, SRVID,
					(struct ctdb_data){.data = (const uint8_t *)text, .len = strlen(text)});
	}
	if (ret == 0) {
		ret = ctdb_client_flush(c);
	}
	if (ret != 0) {
		fprintf(stderr, "%s\n", strerror(ret));
	}
	talloc_free(c);
	return ret == 0 ? 0 : 1;
}

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	return argc > 2 ? say(argv[1], argv[2]) : watch(argv[1]);
}
