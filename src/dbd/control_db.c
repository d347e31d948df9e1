/* Controls about databases. */
#include "dbd/control.h"
#include "dbd/attach.h"
#include "dbd/seqnum.h"
#include "dbd/srvid.h"
#include "dbd/traverse.h"
#include "protocol/classic_native.h"
#include "shared/log.h"

#include <errno.h>

#define HEALTH_TIMEOUT_MS 2000

void control_getdbpath(struct control *ctl)
{
	struct db *db = control_db(ctl);

	if (db != NULL) {
		control_reply_text(ctl, db->path);
	}
}

void control_get_dbname(struct control *ctl)
{
	struct db *db = control_db(ctl);

	if (db != NULL) {
		control_reply_text(ctl, db->name);
	}
}

void control_db_open_flags(struct control *ctl)
{
	struct db *db = control_db(ctl);

	if (db == NULL) {
		return;
	}
	if (ctl->client != NULL) {
		ctl->client->uses_databases = true; /* it is going to open the file */
	}
	control_reply_u32(ctl, (uint32_t)db_open_flags(db));
}

void control_get_dbmap(struct control *ctl)
{
	struct classic_dbid_map map = {.dbs = {.n = dbs_count(ctl->dbd->dbs)}};
	struct ctdb_blob blob;
	uint32_t i = 0;

	map.dbs.v = talloc_zero_array(ctl, struct classic_db_id_flags, map.dbs.n);
	if (map.dbs.v == NULL && map.dbs.n > 0) {
		control_reply(ctl, -1, NULL, 0, "no memory");
		return;
	}
	dlist_for_each(e, dbs_list(ctl->dbd->dbs))
	{
		struct db *db = dlist_entry(e, struct db, link);

		map.dbs.v[i++] = (struct classic_db_id_flags){.db_id = db->id, .flags = db->flags};
	}
	control_reply_blob(ctl, classic_dbid_map_nencode(ctl, &map, &blob), &blob);
}

void control_db_get_health(struct control *ctl)
{
	struct db *db = control_db(ctl);

	if (db == NULL) {
		return;
	}
	if (db->health != NULL) {
		control_reply_text(ctl, db->health);
	} else {
		/* Nothing at all: the classic tools take even an empty text for a reason. */
		control_reply(ctl, 0, NULL, 0, NULL);
	}
}

/* False: the file of reasons is locked just now. */
static bool set_healthy(void *priv)
{
	struct control *ctl = priv;
	int rc = db_set_health(db_find(ctl->dbd->dbs, (uint32_t)ctl->srvid), NULL);

	if (rc == EAGAIN) {
		return false;
	}
	control_reply(ctl, rc == 0 ? 0 : -1, NULL, 0, rc == 0 ? NULL : strerror(rc));
	return true;
}

static void set_healthy_expired(void *priv)
{
	control_reply(priv, -1, NULL, 0, "the file of health reasons is locked");
}

void control_db_set_healthy(struct control *ctl)
{
	struct db *db = control_db(ctl);

	if (db == NULL) {
		return;
	}
	/* Only persistent ones are ever unhealthy. */
	if ((db->flags & DB_PERSISTENT) == 0) {
		control_reply(ctl, 0, NULL, 0, NULL);
		return;
	}
	ctl->srvid = db->id; /* the payload does not outlive this call */
	if (retry_start(ctl, ctl->dbd, HEALTH_TIMEOUT_MS, set_healthy, set_healthy_expired, ctl) != 0) {
		control_reply(ctl, -1, NULL, 0, "no memory");
	}
}

/* Both act on this node alone, as clients expect, and cannot be taken back. A recovery spreads them to all. */
static void set_flag(struct control *ctl, uint32_t flag)
{
	struct db *db = control_db(ctl);

	if (db == NULL) {
		return;
	}
	if (!db_is_volatile(db)) {
		control_reply(ctl, -1, NULL, 0, NULL);
		return;
	}
	if (attach_add_flags(db, flag) != 0) {
		control_reply(ctl, -1, NULL, 0, "no memory");
		return;
	}
	control_reply(ctl, 0, NULL, 0, NULL);
}

void control_set_db_readonly(struct control *ctl)
{
	set_flag(ctl, DB_READONLY);
}

void control_set_db_sticky(struct control *ctl)
{
	set_flag(ctl, DB_STICKY);
}

/* ---- DB_DETACH ---- */

static const char *detach_refusal(const struct control *ctl, const struct db *db)
{
	if (!db_is_volatile(db)) {
		return "only volatile databases can be detached";
	}
	if (tunable(ctl->clients, CLASSIC_TUNABLE_ALLOW_CLIENT_DB_ATTACH) != 0) {
		return "clients could attach it again at once: set the tunable AllowClientDBAttach to 0 on all nodes "
		       "first";
	}
	return recovery_is_normal(ctl->dbd->recovery) ? NULL : "a recovery is running";
}

/* Everything that refers to the database ends first: calls are answered with an error, traverses with their end mark.
 */
static void detach(struct clients *cs, struct db *db)
{
	struct dbd *dbd = cs->dbd;

	edits_db_gone(cs->edits, db);
	seqnums_db_gone(cs->seqnums, db);
	traverses_db_gone(dbd->traverses, db);
	attaches_db_gone(dbd->attaches, db);
	recovery_db_gone(dbd->recovery, db);
	records_db_remove(dbd->records, db);
	db_detach(db);
}

struct detach_others {
	struct clients *clients;
	struct lane_control m;
};

static void detach_at(void *priv, uint32_t pnn)
{
	const struct detach_others *o = priv;

	if (pnn != o->clients->dbd->d->pnn) {
		controls_send_oneway(o->clients, pnn, &o->m);
	}
}

/* A client's detaches everywhere, another daemon's here. */
void control_db_detach(struct control *ctl)
{
	struct detach_others others = {.clients = ctl->clients,
				       .m = {.opcode = ctl->opcode, .flags = CLASSIC_CTRL_FLAG_NOREPLY}};
	struct clients *cs = ctl->clients;
	struct db *db = control_db(ctl);
	const char *refused;

	if (db == NULL) {
		return;
	}
	refused = detach_refusal(ctl, db);
	if (refused != NULL) {
		log_notice("database %s is not detached: %s", db->name, refused);
		control_reply(ctl, -1, NULL, 0, refused);
		return;
	}
	log_notice("database %s is detached, as node %u asks", db->name, ctl->from);
	if (ctl->client != NULL) {
		others.m.data = blob_of(ctl->data, ctl->len);
		dest_for_each(cs->dbd, CLASSIC_NODE_CONNECTED, detach_at, &others);
	}
	control_reply(ctl, 0, NULL, 0, NULL);
	detach(cs, db);
}

/* ---- deletion ---- */

/* A hint that a record was deleted. Answered without a look at the file: the client holds the chain lock. */
void control_schedule_for_deletion(struct control *ctl)
{
	struct classic_schedule_for_deletion arg;
	struct db *db;
	size_t used;

	if (classic_schedule_for_deletion_nview(ctl->data, ctl->len, &arg, &used) != 0 || used != ctl->len) {
		control_reply(ctl, -1, NULL, 0, NULL);
		return;
	}
	db = control_db(ctl);
	if (db == NULL) {
		return;
	}
	if (db_is_volatile(db)) {
		records_schedule_deletion(ctl->dbd->records, db, arg.key.data, arg.key.len, ctl->data + 8);
	}
	control_reply(ctl, 0, NULL, 0, NULL);
}
