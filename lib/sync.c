/* Synchronous functions: the client's own event loop runs until the request is finished. */
#include "internal.h"

#include <errno.h>
#include <poll.h>

int sync_check(struct ctdb_client *c)
{
	if (c == NULL) {
		return ENOTCONN;
	}
	if (c->sync_ev == NULL) {
		return client_fail(c, EINVAL,
				   "synchronous function on a client that belongs to the caller's event loop");
	}
	if (c->in_sync) {
		return client_fail(c, EDEADLK, "synchronous function called from a callback");
	}
	return 0;
}

int sync_run(struct ctdb_client *c, struct tevent_req *req)
{
	bool ok;

	if (req == NULL) {
		int err = sync_check(c);

		return err != 0 ? err : ENOMEM;
	}
	c->in_sync = true;
	ok = tevent_req_poll(req, c->sync_ev);
	c->in_sync = false;
	if (!ok) {
		int err = errno;

		talloc_free(req);
		return client_fail(c, err != 0 ? err : EIO, "event loop: %s", strerror(err));
	}
	return 0;
}

static void wait_timeout(struct tevent_context *ev, struct tevent_timer *te, struct timeval now, void *priv)
{
	*(bool *)priv = true;
}

static bool always(const struct ctdb_client *c)
{
	return true;
}

static bool out_waiting(const struct ctdb_client *c)
{
	return !dlist_empty(&c->out);
}

/* Runs the loop while more() and *stop is false. 0, ETIMEDOUT, ENOTCONN. */
static int loop(struct ctdb_client *c, uint32_t timeout_ms, bool (*more)(const struct ctdb_client *c), const bool *stop)
{
	bool timeout = false;
	struct tevent_timer *te;
	int err = sync_check(c);

	if (err != 0) {
		return err;
	}
	te = tevent_add_timer(c->sync_ev, c, tevent_timeval_current_ofs(timeout_ms / 1000, (timeout_ms % 1000) * 1000),
			      wait_timeout, &timeout);
	if (te == NULL) {
		return client_fail(c, ENOMEM, "out of memory");
	}
	c->in_sync = true;
	while (err == 0 && !timeout && more(c) && !(stop != NULL && *stop)) {
		if (c->fd == -1) {
			err = ENOTCONN;
		} else if (tevent_loop_once(c->sync_ev) != 0) {
			err = client_fail(c, errno != 0 ? errno : EIO, "event loop: %s", strerror(errno));
		}
	}
	c->in_sync = false;
	if (timeout) {
		return ETIMEDOUT;
	}
	talloc_free(te);
	return err;
}

static bool readable(const struct ctdb_client *c)
{
	struct pollfd p = {.fd = c->fd, .events = POLLIN};

	return poll(&p, 1, 0) == 1;
}

/* Without waiting: a timer that is due would come before what has arrived. */
int ctdb_client_wait(struct ctdb_client *c, uint32_t timeout_ms, const bool *stop)
{
	int err = loop(c, timeout_ms != 0 ? timeout_ms : c->timeout_ms, timeout_ms != 0 ? always : readable, stop);

	if (err == 0 && c->fd == -1) {
		return ENOTCONN;
	}
	return err == 0 && !(stop != NULL && *stop) ? ETIMEDOUT : err;
}

int ctdb_client_flush(struct ctdb_client *c)
{
	int err = loop(c, c->timeout_ms, out_waiting, NULL);

	if (err == ETIMEDOUT) {
		return client_fail(c, err, "the CTDB daemon does not read what is sent to it");
	}
	return err == 0 && c->fd == -1 ? ENOTCONN : err;
}
