/* Read-only copies of records (delegations): the record engine's messages on the links, and what recovery does with
 * them. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/record.h"
#include "dbd/lane.h"
#include "dbd/records.h"
#include "shared/log.h"

#define KEY_SHOWN 32U /* bytes, in the log */

static const struct {
	enum record_ro what;
	enum lane_proc proc;
} procs[] = {
	{RECORD_RO_CALL, LANE_PROC_RO_CALL},       {RECORD_RO_FORWARD, LANE_PROC_RO_FORWARD},
	{RECORD_RO_COPY, LANE_PROC_RO_COPY},       {RECORD_RO_REVOKE, LANE_PROC_RO_REVOKE},
	{RECORD_RO_REVOKED, LANE_PROC_RO_REVOKED}, {RECORD_RO_RETRY, LANE_PROC_RO_RETRY},
	{RECORD_TOO_LARGE, LANE_PROC_TOO_LARGE},
};

static struct ctdb_blob blob_of(const uint8_t *p, size_t len)
{
	union {
		const uint8_t *c;
		uint8_t *p;
	} u = {p};

	return (struct ctdb_blob){(uint32_t)len, u.p};
}

static enum lane_proc proc_of(enum record_ro what)
{
	size_t i;

	for (i = 0; procs[i].what != what; i++) {
	}
	return procs[i].proc;
}

/* copy: NULL: of another node's record, which has said it. */
static void say_too_large(const struct db *db, uint32_t node, struct record_key key, const struct record_copy *copy)
{
	char text[2 * KEY_SHOWN + 1] = "";

	if (copy == NULL) {
		return;
	}
	for (size_t i = 0; i < key.len && i < KEY_SHOWN; i++) {
		snprintf(text + 2 * i, 3, "%02x", key.p[i]);
	}
	log_ratelimited(
		LOG_LVL_ERROR, 1000,
		"database %s: the record with key 0x%s%s (%zu bytes) has %zu bytes, and no more than %u can be sent: "
		"it stays here, and who asks for it on node %u or others gets an error until it is smaller",
		db->name, text, key.len > KEY_SHOWN ? "..." : "", key.len, copy->len, LANE_DATA_MAX, node);
}

void records_send_readonly(void *priv, uint32_t node, uint32_t generation, enum record_ro what, uint32_t requester,
			   struct record_key key, const struct record_copy *copy)
{
	struct db *db = priv;
	struct dbd *dbd = records_owner(record_db_engine_priv(db->records));
	struct lane_call call = {.db_id = db->id, .generation = generation, .requester = requester};
	struct lane_grant grant = {.db_id = db->id, .generation = generation};
	const void *msg = &call;
	int ret;

	call.key = grant.key = blob_of(key.p, key.len);
	if (what == RECORD_TOO_LARGE) {
		say_too_large(db, node, key, copy);
	} else if (copy != NULL) {
		grant.rsn = copy->rsn;
		grant.flags = copy->flags;
		grant.data = blob_of(copy->data, copy->len);
		msg = &grant;
	}
	ret = lane_post(dbd->lane, node, proc_of(what), msg);
	if (ret != 0) { /* somebody would wait for it for ever */
		recovery_want(dbd->recovery, generation,
			      "database %s: a message about a record could not be sent to node %u: %s", db->name, node,
			      strerror(ret));
	}
}

static struct db *db_of(struct records *r, uint32_t db_id)
{
	struct db *db = db_find(records_owner(r)->dbs, db_id);

	return db != NULL && db->records != NULL ? db : NULL;
}

void records_on_ro_call(struct records *r, uint32_t from, enum record_ro what, const struct lane_call *m)
{
	struct db *db = db_of(r, m->db_id);

	if (db != NULL) {
		record_on_readonly(db->records, from, m->generation, what, m->requester,
				   (struct record_key){m->key.data, m->key.len}, NULL, mono_now());
		records_kick(r);
	}
}

void records_on_ro_copy(struct records *r, uint32_t from, enum record_ro what, const struct lane_grant *m)
{
	struct db *db = db_of(r, m->db_id);
	struct record_copy copy = {
		.exists = true, .rsn = m->rsn, .flags = m->flags, .data = m->data.data, .len = m->data.len};

	if (db != NULL) {
		record_on_readonly(db->records, from, m->generation, what, RECORD_NODE_NONE,
				   (struct record_key){m->key.data, m->key.len}, &copy, mono_now());
		records_kick(r);
	}
}

void records_set_readonly(struct db *db)
{
	if (db->records != NULL) {
		record_db_set_readonly(db->records);
	}
}

int records_strip(struct db *db)
{
	return db->records != NULL ? record_db_strip(db->records) : 0;
}

int records_found(struct db *db, const uint8_t *key, size_t keylen, uint32_t flags)
{
	if (db->records == NULL || (flags & RECORD_FLAGS_READONLY) == 0) {
		return 0;
	}
	return record_db_found(db->records, (struct record_key){key, keylen}, flags);
}
