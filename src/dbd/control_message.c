/* Controls about messages: addresses that a client listens to, messages that tell of its end. */
#include "dbd/control.h"
#include "dbd/srvid.h"
#include "protocol/classic_native.h"

#include <errno.h>

#define NOTIFIES_MAX 1024

/* A message that goes out when the client's connection ends. Child of the client. */
struct notify {
	struct dlist link;
	uint64_t srvid;
	size_t len;
	uint8_t data[];
};

void control_register_srvid(struct control *ctl)
{
	int rc = srvids_register(ctl->dbd->srvids, ctl->client, ctl->srvid);

	control_reply(ctl, rc == 0 ? 0 : -1, NULL, 0, rc == 0 ? NULL : strerror(rc));
}

void control_deregister_srvid(struct control *ctl)
{
	int rc = srvids_deregister(ctl->dbd->srvids, ctl->client, ctl->srvid);

	control_reply(ctl, rc, NULL, 0, NULL);
}

static struct notify *find(const struct client *c, uint64_t srvid, uint32_t *n)
{
	*n = 0;
	dlist_for_each(e, &c->notifies)
	{
		struct notify *t = dlist_entry(e, struct notify, link);

		if (t->srvid == srvid) {
			return t;
		}
		(*n)++;
	}
	return NULL;
}

void control_register_notify(struct control *ctl)
{
	struct classic_notify_data arg;
	struct notify *t;
	size_t used;
	uint32_t n;

	if (classic_notify_data_nview(ctl->data, ctl->len, &arg, &used) != 0 || used != ctl->len ||
	    find(ctl->client, arg.srvid, &n) != NULL || n >= NOTIFIES_MAX) {
		control_reply(ctl, -1, NULL, 0, NULL);
		return;
	}
	t = talloc_size(ctl->client, sizeof(*t) + arg.data.len);
	if (t == NULL) {
		control_reply(ctl, -1, NULL, 0, "no memory");
		return;
	}
	t->srvid = arg.srvid;
	t->len = arg.data.len;
	if (t->len > 0) {
		memcpy(t->data, arg.data.data, t->len);
	}
	dlist_add_tail(&ctl->client->notifies, &t->link);
	control_reply(ctl, 0, NULL, 0, NULL);
}

void control_deregister_notify(struct control *ctl)
{
	uint32_t n;
	struct notify *t = find(ctl->client, peek_u64(ctl->data), &n);

	if (t == NULL) {
		control_reply(ctl, -1, NULL, 0, NULL);
		return;
	}
	dlist_remove(&t->link);
	talloc_free(t);
	control_reply(ctl, 0, NULL, 0, NULL);
}

void client_fire_notifies(struct client *c)
{
	struct dlist *e;

	while ((e = dlist_first(&c->notifies)) != NULL) {
		struct notify *t = dlist_entry(e, struct notify, link);

		dlist_remove(e);
		srvids_send(c->clients->dbd->srvids, CLASSIC_NODE_CONNECTED, t->srvid, t->data, t->len);
		talloc_free(t);
	}
}

/* ---- updates in the way of old clients: only counted ---- */

void control_start_update(struct control *ctl)
{
	ctl->client->n_updates++;
	control_reply(ctl, 0, NULL, 0, NULL);
}

void control_cancel_update(struct control *ctl)
{
	if (ctl->client->n_updates > 0) {
		ctl->client->n_updates--;
	}
	control_reply(ctl, 0, NULL, 0, NULL);
}

void client_updates_lost(struct client *c)
{
	struct recovery *r = c->clients->dbd->recovery;

	if (c->n_updates > 0 && recovery_is_normal(r)) {
		recovery_want(r, recovery_generation(r), "client %u (pid %d) has gone in the middle of an update",
			      c->id, (int)c->pid);
	}
}
