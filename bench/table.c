/* A database as Samba's processes use it. */
#include "table.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/classic_native.h"

#define HEADER CTDB_WIRE_RECORD_HEADER_SIZE

/* What stands before each value, in the order of this machine: Samba's processes copy it as it is. */
struct native_header {
	uint64_t rsn;
	uint32_t dmaster, reserved, flags, padding;
};

_Static_assert(sizeof(struct native_header) == HEADER, "a record's header has 24 bytes");

/* ---- opening ---- */

static uint32_t u32_of(struct ctdb_data d, const char *what)
{
	uint32_t v;

	if (d.len != sizeof(v)) {
		fail("the CTDB daemon's answer about %s has %zu bytes", what, d.len);
	}
	memcpy(&v, d.data, sizeof(v));
	return v;
}

struct table *table_open(struct session *s, const char *name, enum ctdb_db_model model)
{
	static const uint32_t opcodes[] = {[CTDB_DB_VOLATILE] = CTDB_CONTROL_DB_ATTACH,
					   [CTDB_DB_PERSISTENT] = CTDB_CONTROL_DB_ATTACH_PERSISTENT,
					   [CTDB_DB_REPLICATED] = CTDB_CONTROL_DB_ATTACH_REPLICATED};
	struct table *t = calloc(1, sizeof(*t));
	struct ctdb_data out;

	if (t == NULL) {
		fail("out of memory");
	}
	t->s = s;
	session_need(s, CTDB_NODE_CURRENT, opcodes[model], 0, data_from(name, strlen(name) + 1), &out);
	t->id = u32_of(out, name);
	session_need(s, CTDB_NODE_CURRENT, CTDB_CONTROL_GETDBPATH, 0, data_from(&t->id, sizeof(t->id)), &out);
	t->path = strndup((const char *)out.data, out.len);
	session_need(s, CTDB_NODE_CURRENT, CTDB_CONTROL_DB_OPEN_FLAGS, 0, data_from(&t->id, sizeof(t->id)), &out);
	t->tdb_flags = (int)u32_of(out, name);
	t->tdb = t->path == NULL ? NULL : tdb_open(t->path, 0, t->tdb_flags, O_RDWR, 0);
	if (t->tdb == NULL) {
		fail("%s: %s", t->path, strerror(errno));
	}
	return t;
}

void table_close(struct table *t)
{
	tdb_close(t->tdb);
	free(t->path);
	free(t);
}

/* ---- records ---- */

/* What tdb_parse_record() shows. Too short for a header counts as no record. */
static int parse(TDB_DATA key, TDB_DATA value, void *priv)
{
	struct entry *e = priv;
	struct native_header h;

	if (value.dsize < HEADER) {
		return 0;
	}
	e->found = true;
	memcpy(&h, value.dptr, sizeof(h));
	e->header = (struct ctdb_record_header){.rsn = h.rsn, .dmaster = h.dmaster, .flags = h.flags};
	e->len = value.dsize - HEADER;
	if (e->len > e->alloc) {
		e->alloc = 2 * e->len;
		e->data = realloc(e->data, e->alloc);
		if (e->data == NULL) {
			fail("out of memory");
		}
	}
	if (e->len > 0) {
		memcpy(e->data, value.dptr + HEADER, e->len);
	}
	return 0;
}

void entry_read(struct table *t, struct ctdb_data key, struct entry *e)
{
	e->t = t;
	e->key = key;
	e->found = false;
	e->header = (struct ctdb_record_header){0};
	e->len = 0;
	if (tdb_parse_record(t->tdb, tdb_from(key), parse, e) != 0 && tdb_error(t->tdb) != TDB_ERR_NOEXIST) {
		fail("%s: %s", t->path, tdb_errorstr(t->tdb));
	}
}

/* With the chain locked, which it is afterwards only if the record is here. */
static bool is_here(struct table *t, struct ctdb_data key, struct entry *e)
{
	entry_read(t, key, e);
	if (e->found && e->header.dmaster == t->s->pnn && (e->header.flags & CTDB_RECORD_RO_HAVE_DELEGATIONS) == 0) {
		return true;
	}
	entry_unlock(e);
	return false;
}

bool entry_lock_here(struct table *t, struct ctdb_data key, struct entry *e)
{
	if (tdb_chainlock(t->tdb, tdb_from(key)) != 0) {
		fail("%s: %s", t->path, tdb_errorstr(t->tdb));
	}
	return is_here(t, key, e);
}

bool entry_try_here(struct table *t, struct ctdb_data key, struct entry *e, bool *busy)
{
	*busy = tdb_chainlock_nonblock(t->tdb, tdb_from(key)) != 0;
	return !*busy && is_here(t, key, e);
}

unsigned int entry_lock(struct table *t, struct ctdb_data key, struct entry *e)
{
	unsigned int asked = 0;

	while (!entry_lock_here(t, key, e)) {
		session_call(t->s, t->id, key);
		asked++;
	}
	return asked;
}

void entry_unlock(struct entry *e)
{
	(void)tdb_chainunlock(e->t->tdb, tdb_from(e->key));
}

void entry_store(struct entry *e, struct ctdb_data data)
{
	struct native_header h = {.rsn = e->header.rsn, .dmaster = e->header.dmaster, .flags = e->header.flags};
	TDB_DATA parts[2] = {{.dptr = (unsigned char *)&h, .dsize = sizeof(h)}, tdb_from(data)};

	if (tdb_storev(e->t->tdb, tdb_from(e->key), parts, 2, TDB_REPLACE) != 0) {
		fail("%s: %s", e->t->path, tdb_errorstr(e->t->tdb));
	}
}

void entry_delete(struct entry *e)
{
	entry_store(e, (struct ctdb_data){0});
	table_schedule_deletion(e->t, e->key, &e->header);
}

void entry_free(struct entry *e)
{
	free(e->data);
	*e = (struct entry){0};
}

void table_schedule_deletion(struct table *t, struct ctdb_data key, const struct ctdb_record_header *header)
{
	struct classic_schedule_for_deletion p = {
		.db_id = t->id,
		.header = {.rsn = header->rsn, .dmaster = header->dmaster, .flags = header->flags},
		.key = {.data = (uint8_t *)(uintptr_t)key.data, .len = (uint32_t)key.len}};
	struct ctdb_blob out;

	if (classic_schedule_for_deletion_nencode(NULL, &p, &out) != 0) {
		fail("out of memory");
	}
	session_tell(t->s, CTDB_NODE_CURRENT, CTDB_CONTROL_SCHEDULE_FOR_DELETION, t->id, data_from(out.data, out.len));
	talloc_free(out.data);
}
