/* The classic socket: accepts clients and ends them. */
#include "dbd/client.h"
#include "dbd/attach.h"
#include "dbd/control.h"
#include "dbd/seqnum.h"
#include "dbd/srvid.h"
#include "shared/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG         100
#define ACCEPT_BATCH    16
#define ACCEPT_PAUSE_MS 100

/* ---- one client ---- */

static void bury_handler(struct tevent_context *ev, struct tevent_immediate *im, void *priv)
{
	struct clients *cs = priv;
	struct dlist *e;

	while ((e = dlist_first(&cs->dying)) != NULL) {
		talloc_free(dlist_entry(e, struct client, link));
	}
}

/* From here on the client is silent; it is freed when nobody works on it any more: after this event. */
static void die(struct client *c)
{
	struct clients *cs = c->clients;

	c->dead = true;
	client_io_stop(c);
	dlist_remove(&c->link);
	cs->n--;
	if (dlist_empty(&cs->dying)) {
		tevent_schedule_immediate(cs->bury, cs->dbd->d->ev, bury_handler, cs);
	}
	dlist_add_tail(&cs->dying, &c->link);
}

void client_disconnect(struct client *c, const char *fmt, ...)
{
	va_list ap;
	char *why;

	if (c->dead) {
		return;
	}
	va_start(ap, fmt);
	why = talloc_vasprintf(c, fmt, ap);
	va_end(ap);
	log_warning("client %u (pid %d) is disconnected: %s", c->id, (int)c->pid, why != NULL ? why : "no memory");
	die(c);
}

void client_closed(struct client *c)
{
	if (c->dead) {
		return;
	}
	log_debug("client %u (pid %d) has closed its connection", c->id, (int)c->pid);
	die(c);
}

static int client_destructor(struct client *c)
{
	client_io_stop(c);
	if (!c->dead) {
		c->dead = true;
		c->clients->n--;
	}
	dlist_remove(&c->link);
	srvids_client_gone(c->clients->dbd->srvids, c);
	if (!c->clients->closing) {
		client_fire_notifies(c);
		client_updates_lost(c);
	}
	return 0;
}

/* Wraps around after 2^32 connections; an id in use is skipped. */
static uint32_t new_id(struct clients *cs)
{
	for (;;) {
		bool used = false;

		cs->last_id++;
		dlist_for_each(e, &cs->list)
		{
			used = used || dlist_entry(e, struct client, link)->id == cs->last_id;
		}
		if (cs->last_id != 0 && !used) {
			return cs->last_id;
		}
	}
}

struct client *client_new(struct clients *cs, int fd, pid_t pid)
{
	struct client *c = talloc_zero(cs, struct client);

	if (c == NULL) {
		return NULL;
	}
	c->clients = cs;
	c->fd = fd;
	c->pid = pid;
	dlist_init(&c->registrations);
	dlist_init(&c->notifies);
	if (client_io_start(c) != 0) {
		talloc_free(c);
		return NULL;
	}
	c->id = new_id(cs);
	dlist_add_tail(&cs->list, &c->link);
	cs->n++;
	talloc_set_destructor(c, client_destructor);
	log_debug("client %u (pid %d) has connected", c->id, (int)pid);
	return c;
}

/* ---- accepting ---- */

static void accept_again(void *priv)
{
	struct clients *cs = priv;

	cs->accept_pause = NULL;
	TEVENT_FD_READABLE(cs->fde);
}

/* Out of descriptors or memory: those who wait keep waiting in the kernel's queue for a moment. */
static void pause_accepting(struct clients *cs, int error)
{
	log_ratelimited(LOG_LVL_ERROR, 10000, "cannot accept a client on %s: %s; trying again", cs->path,
			strerror(error));
	TEVENT_FD_NOT_READABLE(cs->fde);
	if (cs->accept_pause == NULL) {
		cs->accept_pause = deadline_add(cs, cs->dbd, ACCEPT_PAUSE_MS, accept_again, cs);
	}
	if (cs->accept_pause == NULL) {
		TEVENT_FD_READABLE(cs->fde);
	}
}

static void accept_one(struct clients *cs, int fd)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) != 0) {
		log_error("cannot ask who connected to %s: %s", cs->path, strerror(errno));
		close(fd);
		return;
	}
	if (client_new(cs, fd, cred.pid) == NULL) {
		log_error("no memory for a client (pid %d)", (int)cred.pid);
		close(fd);
	}
}

static void accept_handler(struct tevent_context *ev, struct tevent_fd *fde, uint16_t flags, void *priv)
{
	struct clients *cs = priv;

	for (int i = 0; i < ACCEPT_BATCH; i++) {
		int fd = accept4(cs->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd >= 0) {
			accept_one(cs, fd);
			continue;
		}
		if (errno == EAGAIN) {
			return;
		}
		if (errno == EINTR || errno == ECONNABORTED) {
			continue;
		}
		pause_accepting(cs, errno);
		return;
	}
}

/* ---- the socket ---- */

/* 0 nothing is there (any more); EADDRINUSE somebody answers; EEXIST something that is no socket. */
static int remove_stale(const struct sockaddr_un *addr)
{
	struct stat st;
	int fd, rc;

	if (lstat(addr->sun_path, &st) != 0) {
		return errno == ENOENT ? 0 : errno;
	}
	if (!S_ISSOCK(st.st_mode)) {
		return EEXIST;
	}
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0) {
		return errno;
	}
	rc = connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) == 0 ? 0 : errno;
	close(fd);
	if (rc == 0 || rc == EAGAIN || rc == EINPROGRESS) {
		return EADDRINUSE;
	}
	if (unlink(addr->sun_path) != 0 && errno != ENOENT) {
		return errno;
	}
	return 0;
}

static int bind_socket(struct clients *cs, const struct sockaddr_un *addr)
{
	cs->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (cs->fd < 0) {
		return errno;
	}
	if (bind(cs->fd, (const struct sockaddr *)addr, sizeof(*addr)) != 0) {
		return errno;
	}
	cs->path = talloc_strdup(cs, addr->sun_path);
	if (cs->path == NULL) {
		return ENOMEM;
	}
	if (chmod(addr->sun_path, 0700) != 0 || listen(cs->fd, BACKLOG) != 0) {
		return errno;
	}
	return 0;
}

static int open_socket(struct clients *cs, const char *path, char **err)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int rc;

	if (strlen(path) >= sizeof(addr.sun_path)) {
		*err = talloc_asprintf(cs,
				       "client socket %s: the path is longer than %zu characters; "
				       "choose a shorter run directory",
				       path, sizeof(addr.sun_path) - 1);
		return ENAMETOOLONG;
	}
	memcpy(addr.sun_path, path, strlen(path) + 1);
	rc = remove_stale(&addr);
	if (rc == EADDRINUSE) {
		*err = talloc_asprintf(cs, "client socket %s: another process serves it; is a ctdbd running?", path);
		return rc;
	}
	if (rc == EEXIST) {
		*err = talloc_asprintf(cs, "client socket %s: this file is in the way and is no socket; remove it",
				       path);
		return rc;
	}
	if (rc == 0) {
		rc = bind_socket(cs, &addr);
	}
	if (rc != 0) {
		*err = talloc_asprintf(cs, "client socket %s: %s", path, strerror(rc));
	}
	return rc;
}

static int clients_destructor(struct clients *cs)
{
	cs->closing = true;
	if (cs->path != NULL) {
		unlink(cs->path);
	}
	if (cs->fd >= 0) {
		TALLOC_FREE(cs->fde);
		close(cs->fd);
	}
	return 0;
}

/* ---- once a second ---- */

/* Who leads, to whoever wants to know: each node tells its own clients, from its own view. */
static void tell_leader(struct clients *cs)
{
	uint8_t data[4];

	poke_u32(data, view_leader(cs->dbd));
	srvids_deliver(cs->dbd->srvids, CLASSIC_SRVID_LEADER, data, sizeof(data));
}

static void each_second(void *priv)
{
	struct clients *cs = priv;

	if (deadline_add(cs, cs->dbd, 1000, each_second, cs) == NULL) {
		log_error("no memory for the timer of leader messages: they stop");
	}
	tell_leader(cs);
	stat_history_tick(cs->history, tunable(cs, CLASSIC_TUNABLE_STAT_HISTORY_INTERVAL));
}

/* ---- what recovery tells ---- */

void clients_recovery_began(struct clients *cs)
{
	edits_recovery_began(cs->edits);
	if (cs->dbd->attaches != NULL) {
		attaches_recovery_began(cs->dbd->attaches);
	}
}

void clients_recovery_ended(struct clients *cs)
{
	cs->was_normal = true;
	if (cs->dbd->attaches != NULL) {
		attaches_recovery_ended(cs->dbd->attaches);
	}
}

void clients_disconnect_users(struct clients *cs, const char *why)
{
	dlist_for_each_safe(e, &cs->list)
	{
		struct client *c = dlist_entry(e, struct client, link);

		if (c->uses_databases) {
			client_disconnect(c, "%s", why);
		}
	}
}

void clients_disconnect_all(struct clients *cs, const char *why)
{
	dlist_for_each_safe(e, &cs->list)
	{
		client_disconnect(dlist_entry(e, struct client, link), "%s", why);
	}
}

/* ---- constructor ---- */

static int start_parts(struct clients *cs)
{
	int rc = deadlines_new(cs, &cs->deadlines);

	if (rc == 0) {
		rc = controls_new(cs, &cs->controls);
	}
	if (rc == 0) {
		rc = tunables_new(cs, &cs->tunables);
	}
	if (rc == 0) {
		rc = stat_history_new(cs, &cs->history);
	}
	if (rc == 0) {
		rc = seqnums_new(cs, &cs->seqnums);
	}
	if (rc == 0) {
		rc = edits_new(cs, &cs->edits);
	}
	return rc;
}

static int start_events(struct clients *cs)
{
	struct tevent_context *ev = cs->dbd->d->ev;

	cs->bury = tevent_create_immediate(cs);
	cs->flush = tevent_create_immediate(cs);
	cs->fde = tevent_add_fd(ev, cs, cs->fd, TEVENT_FD_READ, accept_handler, cs);
	if (cs->bury == NULL || cs->flush == NULL || cs->fde == NULL) {
		return ENOMEM;
	}
	/* The parts that the tick needs are there before the loop runs. */
	return deadline_add_us(cs, cs->dbd, 0, each_second, cs) == NULL ? ENOMEM : 0;
}

int clients_new(TALLOC_CTX *mem, struct dbd *dbd, struct clients **out, char **err)
{
	struct clients *cs = talloc_zero(mem, struct clients);
	char *text = NULL;
	int rc;

	if (cs == NULL) {
		*err = talloc_strdup(mem, "no memory for the client socket");
		return ENOMEM;
	}
	cs->dbd = dbd;
	dbd->clients = cs;
	cs->fd = -1;
	dlist_init(&cs->list);
	dlist_init(&cs->dying);
	dlist_init(&cs->dirty);
	dlist_init(&cs->tunnels);
	dlist_init(&cs->gateway);
	gettimeofday(&cs->started, NULL);
	talloc_set_destructor(cs, clients_destructor);
	rc = open_socket(cs, dbd->d->conf->path.socket, &text);
	if (rc == 0) {
		rc = start_parts(cs);
	}
	if (rc == 0) {
		rc = start_events(cs);
	}
	if (rc != 0) {
		*err = text != NULL ? talloc_steal(mem, text) : talloc_asprintf(mem, "client socket: %s", strerror(rc));
		dbd->clients = NULL;
		talloc_free(cs);
		return rc;
	}
	*out = cs;
	return 0;
}
