/* Messages: who listens to which address, and the way there. */
#include "dbd/srvid.h"
#include "dbd/control.h"
#include "protocol/lane_rpc.h"
#include "shared/log.h"

#include <errno.h>

#define BUCKETS 4096U

/* One registration. Child of the client. */
struct registration {
	struct dlist link;   /* bucket */
	struct dlist client; /* client's list */
	struct client *owner;
	uint64_t srvid;
};

struct srvids {
	struct dbd *dbd;
	struct dlist bucket[BUCKETS];
};

static struct dlist *bucket_of(struct srvids *s, uint64_t srvid)
{
	/* Fibonacci hashing: pids and the cluster's numbers in the top bits spread well. */
	return &s->bucket[(srvid * 0x9E3779B97F4A7C15ULL) >> 52];
}

int srvids_register(struct srvids *s, struct client *c, uint64_t srvid)
{
	struct registration *r;

	if (c->n_registrations >= CLIENT_REGISTRATIONS_MAX) {
		return ENOSPC;
	}
	r = talloc(c, struct registration);
	if (r == NULL) {
		return ENOMEM;
	}
	r->owner = c;
	r->srvid = srvid;
	dlist_add_tail(bucket_of(s, srvid), &r->link);
	dlist_add_tail(&c->registrations, &r->client);
	c->n_registrations++;
	return 0;
}

static struct registration *find(const struct client *c, uint64_t srvid)
{
	dlist_for_each(e, &c->registrations)
	{
		struct registration *r = dlist_entry(e, struct registration, client);

		if (r->srvid == srvid) {
			return r;
		}
	}
	return NULL;
}

static void forget(struct registration *r)
{
	r->owner->n_registrations--;
	dlist_remove(&r->link);
	dlist_remove(&r->client);
	talloc_free(r);
}

int srvids_deregister(struct srvids *s, struct client *c, uint64_t srvid)
{
	struct registration *r = find(c, srvid);

	if (r == NULL) {
		return ENOENT;
	}
	forget(r);
	return 0;
}

bool srvids_has(const struct client *c, uint64_t srvid)
{
	return find(c, srvid) != NULL;
}

void srvids_client_gone(struct srvids *s, struct client *c)
{
	struct dlist *e;

	while ((e = dlist_first(&c->registrations)) != NULL) {
		forget(dlist_entry(e, struct registration, client));
	}
}

/* ---- delivery ---- */

/* Clients only queue here: nothing is freed, no list changes. */
static void deliver_to(struct dlist *bucket, uint64_t registered, uint64_t srvid, const uint8_t *data, size_t len)
{
	dlist_for_each(e, bucket)
	{
		struct registration *r = dlist_entry(e, struct registration, link);

		if (r->srvid == registered) {
			client_send_message(r->owner, srvid, data, len);
		}
	}
}

void srvids_deliver(struct srvids *s, uint64_t srvid, const uint8_t *data, size_t len)
{
	if (s->dbd->clients != NULL && !s->dbd->clients->closing) {
		edits_on_message(s->dbd->clients->edits, srvid, data, len);
		srvids_own(s->dbd, srvid, data, len);
	}
	deliver_to(bucket_of(s, srvid), srvid, srvid, data, len);
	if (srvid != CLASSIC_SRVID_ALL) {
		deliver_to(bucket_of(s, CLASSIC_SRVID_ALL), CLASSIC_SRVID_ALL, srvid, data, len);
	}
}

/* ---- destinations ---- */

bool dest_is_broadcast(uint32_t dest)
{
	return dest == CLASSIC_NODE_ALL || dest == CLASSIC_NODE_ACTIVE || dest == CLASSIC_NODE_CONNECTED;
}

static bool belongs(const struct dbd *dbd, uint32_t dest, uint32_t pnn)
{
	if (dbd->d->nodes->v[pnn].deleted) {
		return false;
	}
	if (dest == CLASSIC_NODE_ALL) {
		return true;
	}
	if (dest == CLASSIC_NODE_ACTIVE) {
		return (view_node_flags(dbd, pnn) & CLASSIC_NODE_FLAGS_INACTIVE) == 0;
	}
	return (view_node_flags(dbd, pnn) & (CLASSIC_NODE_FLAG_DISCONNECTED | CLASSIC_NODE_FLAG_DELETED)) == 0;
}

bool dest_for_each(const struct dbd *dbd, uint32_t dest, void (*fn)(void *priv, uint32_t pnn), void *priv)
{
	if (dest == CLASSIC_NODE_CURRENT) {
		fn(priv, dbd->d->pnn);
		return true;
	}
	if (dest < dbd->d->nodes->n) {
		fn(priv, dest);
		return true;
	}
	if (!dest_is_broadcast(dest)) {
		return false;
	}
	for (uint32_t pnn = 0; pnn < dbd->d->nodes->n; pnn++) {
		if (belongs(dbd, dest, pnn)) {
			fn(priv, pnn);
		}
	}
	return true;
}

/* ---- sending ---- */

struct outgoing {
	struct srvids *s;
	struct lane_message m;
	struct ctdb_blob packet; /* encoded when the first other node needs it */
};

static void send_to(void *priv, uint32_t pnn)
{
	struct outgoing *o = priv;
	struct dbd *dbd = o->s->dbd;

	if (pnn == dbd->d->pnn) {
		srvids_deliver(o->s, o->m.srvid, o->m.data.data, o->m.data.len);
		return;
	}
	if (!lane_is_up(dbd->lane, pnn)) {
		return;
	}
	if (o->packet.data == NULL && lane_message_encode(o->s, &o->m, &o->packet) != 0) {
		log_ratelimited(LOG_LVL_ERROR, 1000,
				"message of %u bytes to srvid 0x%016llx is lost: no memory, or too large",
				o->m.data.len, (unsigned long long)o->m.srvid);
		return;
	}
	if (lane_send(dbd->lane, pnn, LANE_PROC_MESSAGE, o->packet.data, o->packet.len) != 0) {
		log_ratelimited(LOG_LVL_INFO, 1000, "message to node %u is lost: no link to it", pnn);
	}
}

void srvids_send(struct srvids *s, uint32_t dest, uint64_t srvid, const uint8_t *data, size_t len)
{
	struct outgoing o = {.s = s, .m = {.srvid = srvid}};

	o.m.data = blob_of(data, len);
	if (!dest_for_each(s->dbd, dest, send_to, &o)) {
		log_debug("message to srvid 0x%016llx is lost: there is no node 0x%x", (unsigned long long)srvid, dest);
	}
	talloc_free(o.packet.data);
}

void srvids_on_message(struct srvids *s, uint32_t from, const struct lane_message *m)
{
	if (s->dbd->clients != NULL) {
		s->dbd->clients->count.node_req_message++;
	}
	srvids_deliver(s, m->srvid, m->data.data, m->data.len);
}

int srvids_new(TALLOC_CTX *mem, struct dbd *dbd, struct srvids **out)
{
	struct srvids *s = talloc(mem, struct srvids);

	if (s == NULL) {
		return ENOMEM;
	}
	s->dbd = dbd;
	for (uint32_t i = 0; i < BUCKETS; i++) {
		dlist_init(&s->bucket[i]);
	}
	*out = s;
	return 0;
}
