/* Many records, written straight into the file of this node. */
#include "load.h"

#include <stdlib.h>
#include <string.h>

static const char prefix[] = "load-";

void load_init(struct load *l, struct table *table, const struct group *group, uint64_t n, uint64_t size,
	       enum load_kind kind)
{
	struct ctdb_data out;

	*l = (struct load){.table = table, .group = group, .n = n, .size = size, .kind = kind};
	session_need(table->s, CTDB_NODE_CURRENT, CTDB_CONTROL_GETVNNMAP, 0, (struct ctdb_data){0}, &out);
	if (ctdb_wire_get_vnnmap(NULL, out, &l->map) != 0 || l->map->size == 0) {
		fail("the CTDB daemon knows no location masters");
	}
}

void load_end(struct load *l)
{
	TALLOC_FREE(l->map);
	table_close(l->table);
	l->table = NULL;
}

/* Different for different v, and spread over all 64 bits. */
static uint64_t mixed(uint64_t v)
{
	v += 0x9e3779b97f4a7c15ULL;
	v = (v ^ v >> 30) * 0xbf58476d1ce4e5b9ULL;
	v = (v ^ v >> 27) * 0x94d049bb133111ebULL;
	return v ^ v >> 31;
}

/* What all keys of a run begin with: the generation makes it different from what an earlier run has left. */
#define START_SIZE (sizeof(prefix) - 1 + sizeof(uint32_t))

static void start_put(const struct load *l, void *out)
{
	memcpy(out, prefix, sizeof(prefix) - 1);
	memcpy((char *)out + sizeof(prefix) - 1, &l->map->generation, sizeof(uint32_t));
}

/* No numbers as text: an old hash function of TDB, which earlier daemons use in a recovery, puts these into few chains.
 */
struct ctdb_data load_key(const struct load *l, uint64_t i, char *text)
{
	uint64_t one = mixed(i), two = mixed(~i);

	start_put(l, text);
	memcpy(text + START_SIZE, &one, sizeof(one));
	memcpy(text + START_SIZE + sizeof(one), &two, sizeof(two));
	return data_from(text, START_SIZE + sizeof(one) + sizeof(two));
}

uint32_t load_owner(const struct load *l, uint64_t i)
{
	return l->group->pnn[i % l->group->n];
}

static void write_one(const struct load *l, struct ctdb_data key, uint32_t owner, struct entry *e,
		      struct ctdb_data data)
{
	bool mine = owner == l->table->s->pnn,
	     lmaster = l->map->map[ctdb_key_hash(key.data, key.len) % l->map->size] == l->table->s->pnn;
	bool old = l->kind == LOAD_DELETED && !mine;

	if (!mine && !old && (!lmaster || l->kind == LOAD_OWNERS)) {
		return;
	}
	e->t = l->table;
	e->key = key;
	e->header = (struct ctdb_record_header){.rsn = mine  ? 2
						       : old ? 1
							     : 0,
						.dmaster = owner,
						.flags = mine || old ? CTDB_RECORD_MIGRATED_WITH_DATA : 0};
	entry_store(e, old || (mine && l->kind != LOAD_DELETED) ? data : (struct ctdb_data){0});
}

void load_write(const struct load *l)
{
	uint8_t *data = malloc(l->size);
	struct entry e = {0};

	if (data == NULL) {
		fail("out of memory");
	}
	for (uint64_t i = 0; i < l->n; i++) {
		char text[LOAD_KEY_MAX];
		struct ctdb_data key = load_key(l, i, text);

		memset(data, (int)(i & 0xff), l->size);
		write_one(l, key, load_owner(l, i), &e, data_from(data, l->size));
	}
	free(data);
	entry_free(&e);
}

struct count {
	const struct load *load;
	char start[START_SIZE];
	uint64_t n;
};

static int count_one(struct tdb_context *tdb, TDB_DATA key, TDB_DATA value, void *priv)
{
	struct count *c = priv;
	struct ctdb_record_header header;

	if (key.dsize > START_SIZE && memcmp(key.dptr, c->start, START_SIZE) == 0 &&
	    value.dsize > CTDB_WIRE_RECORD_HEADER_SIZE) {
		ctdb_wire_get_record_header(value.dptr, &header);
		c->n += header.dmaster == c->load->table->s->pnn;
	}
	return 0;
}

uint64_t load_count_owned(const struct load *l)
{
	struct count c = {.load = l};

	start_put(l, c.start);
	if (tdb_traverse_read(l->table->tdb, count_one, &c) == -1) {
		fail("%s: %s", l->table->path, tdb_errorstr(l->table->tdb));
	}
	return c.n;
}
