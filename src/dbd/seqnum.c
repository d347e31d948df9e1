/* Sequence numbers of TDB files: Samba caches what it has read as long as the number stays, so a change on one node
 * raises it on all. */
#include "dbd/seqnum.h"
#include "dbd/control.h"
#include "dbd/srvid.h"
#include "shared/log.h"

#include <errno.h>

/* One database whose number is watched, as long as it is attached. */
struct watched {
	struct dlist link;
	struct db *db;
	int last; /* as the other nodes know it */
};

struct seqnums {
	struct clients *clients;
	struct dlist list;
	struct deadline *timer;
};

static void check(void *priv);

static void arm(struct seqnums *s)
{
	uint32_t ms = tunable(s->clients, CLASSIC_TUNABLE_SEQNUM_INTERVAL);

	ms = ms < 10 ? 10 : ms;
	s->timer = deadline_add(s, s->clients->dbd, ms, check, s);
	if (s->timer == NULL) {
		log_error("no memory for the timer of sequence numbers: other nodes do not hear of changes any more");
	}
}

struct update {
	struct seqnums *s;
	struct lane_control m;
};

static void send_to(void *priv, uint32_t pnn)
{
	const struct update *u = priv;

	if (pnn != u->s->clients->dbd->d->pnn) {
		controls_send_oneway(u->s->clients, pnn, &u->m);
	}
}

static void tell_others(struct seqnums *s, const struct db *db)
{
	uint8_t data[4];
	struct update u = {.s = s, .m = {.opcode = CLASSIC_CONTROL_UPDATE_SEQNUM, .flags = CLASSIC_CTRL_FLAG_NOREPLY}};

	poke_u32(data, db->id);
	u.m.data = blob_of(data, sizeof(data));
	dest_for_each(s->clients->dbd, CLASSIC_NODE_ACTIVE, send_to, &u);
}

static void check(void *priv)
{
	struct seqnums *s = priv;

	s->timer = NULL;
	dlist_for_each(e, &s->list)
	{
		struct watched *w = dlist_entry(e, struct watched, link);
		int seqnum = tdb_get_seqnum(w->db->tdb);

		if (seqnum != w->last) {
			w->last = seqnum;
			tell_others(s, w->db);
		}
	}
	arm(s);
}

static struct watched *find(struct seqnums *s, const struct db *db)
{
	dlist_for_each(e, &s->list)
	{
		struct watched *w = dlist_entry(e, struct watched, link);

		if (w->db == db) {
			return w;
		}
	}
	return NULL;
}

void control_enable_seqnum(struct control *ctl)
{
	struct seqnums *s = ctl->clients->seqnums;
	struct db *db = control_db(ctl);
	struct watched *w;

	if (db == NULL) {
		return;
	}
	if (find(s, db) != NULL) {
		control_reply(ctl, 0, NULL, 0, NULL);
		return;
	}
	w = talloc(s, struct watched);
	if (w == NULL) {
		control_reply(ctl, -1, NULL, 0, "no memory");
		return;
	}
	db_enable_seqnum(db);
	db->seqnum_enabled = true;
	w->db = db;
	w->last = tdb_get_seqnum(db->tdb);
	dlist_add_tail(&s->list, &w->link);
	if (s->timer == NULL) {
		arm(s);
	}
	control_reply(ctl, 0, NULL, 0, NULL);
}

/* Another node's records changed. Our own step is not told to the others again; a change of our own clients, seen in
 * the same second, is. */
void control_update_seqnum(struct control *ctl)
{
	struct db *db = control_db(ctl);
	struct watched *w;

	if (db == NULL) {
		return;
	}
	w = find(ctl->clients->seqnums, db);
	if (w != NULL) {
		bool quiet = tdb_get_seqnum(db->tdb) == w->last;

		tdb_increment_seqnum_nonblock(db->tdb);
		if (quiet) {
			w->last++;
		}
	}
	control_reply(ctl, 0, NULL, 0, NULL);
}

void seqnums_db_gone(struct seqnums *s, const struct db *db)
{
	struct watched *w = find(s, db);

	if (w != NULL) {
		dlist_remove(&w->link);
		talloc_free(w);
	}
}

int seqnums_new(struct clients *cs, struct seqnums **out)
{
	struct seqnums *s = talloc_zero(cs, struct seqnums);

	if (s == NULL) {
		return ENOMEM;
	}
	s->clients = cs;
	dlist_init(&s->list);
	*out = s;
	return 0;
}
