/* Lock records of g_lock.tdb: bytes to structure and back. */
#include "glock.h"

#include <endian.h>
#include <errno.h>

#define FOREIGN_SIZE 32U /* u32 type, 4 bytes, server id in host byte order */

static uint32_t get32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, 4);
	return le32toh(v);
}

static uint64_t get64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, 8);
	return le64toh(v);
}

static uint8_t *put32(uint8_t *p, uint32_t v)
{
	v = htole32(v);
	memcpy(p, &v, 4);
	return p + 4;
}

static uint8_t *put64(uint8_t *p, uint64_t v)
{
	v = htole64(v);
	memcpy(p, &v, 8);
	return p + 8;
}

static uint8_t *put_bytes(uint8_t *p, const uint8_t *data, size_t len)
{
	if (len > 0) {
		memcpy(p, data, len);
	}
	return p + len;
}

void server_id_get(const uint8_t in[GLOCK_SERVER_ID_SIZE], struct server_id *id)
{
	*id = (struct server_id){
		.pid = get64(in), .task = get32(in + 8), .vnn = get32(in + 12), .unique = get64(in + 16)};
}

void server_id_put(uint8_t out[GLOCK_SERVER_ID_SIZE], const struct server_id *id)
{
	put64(out, id->pid);
	put32(out + 8, id->task);
	put32(out + 12, id->vnn);
	put64(out + 16, id->unique);
}

bool server_id_equal(const struct server_id *a, const struct server_id *b)
{
	return a->pid == b->pid && a->task == b->task && a->vnn == b->vnn && a->unique == b->unique;
}

/* An array of entries of type 0 or 1; only looked at when the record is not one of Samba's. */
static bool looks_foreign(struct ctdb_data data)
{
	size_t i;

	if (data.len == 0 || data.len % FOREIGN_SIZE != 0) {
		return false;
	}
	for (i = 0; i < data.len; i += FOREIGN_SIZE) {
		if (get32(data.data + i) > 1) {
			return false;
		}
	}
	return true;
}

static bool parse_state(const uint8_t *p, size_t len, struct glock *g)
{
	uint64_t n;

	if (len < GLOCK_STATE_SIZE) {
		return true; /* unlocked */
	}
	server_id_get(p, &g->holder);
	g->lock_epoch = get64(p + 24);
	g->data_epoch = get64(p + 32);
	n = get32(p + 40);
	p += GLOCK_STATE_SIZE;
	len -= GLOCK_STATE_SIZE;
	if (n * GLOCK_SERVER_ID_SIZE > len) {
		return false;
	}
	g->n_shared = (uint32_t)n;
	g->shared = p;
	p += n * GLOCK_SERVER_ID_SIZE;
	len -= n * GLOCK_SERVER_ID_SIZE;
	g->user = data_of(p, len);
	return true;
}

void glock_parse(struct ctdb_data data, struct glock *g)
{
	uint64_t watchers;

	*g = (struct glock){.n_watchers = 0};
	if (data.len < 4) {
		return;
	}
	watchers = (uint64_t)get32(data.data) * GLOCK_WATCHER_SIZE;
	if (watchers <= data.len - 4) {
		g->n_watchers = get32(data.data);
		g->watchers = data.data + 4;
		if (parse_state(data.data + 4 + watchers, data.len - 4 - watchers, g)) {
			return;
		}
	}
	*g = (struct glock){.foreign = looks_foreign(data), .foreign_list = data};
}

bool glock_holder(const struct glock *g, uint32_t i, struct server_id *id)
{
	if (g->foreign) {
		if (i >= g->foreign_list.len / FOREIGN_SIZE) {
			return false;
		}
		server_id_get(g->foreign_list.data + (size_t)i * FOREIGN_SIZE + 8, id);
		id->unique = GLOCK_UNIQUE_NOT_SAMBA; /* that tool's numbers are nowhere registered: only the process can
							be asked for */
		id->task = 0;
		return true;
	}
	if (g->holder.pid != 0) {
		if (i == 0) {
			*id = g->holder;
			return true;
		}
		i--;
	}
	if (i >= g->n_shared) {
		return false;
	}
	server_id_get(g->shared + (size_t)i * GLOCK_SERVER_ID_SIZE, id);
	return true;
}

bool glock_holder_srvid(const struct server_id *id, uint64_t *srvid)
{
	if (id->unique != GLOCK_UNIQUE_NOT_SAMBA) {
		*srvid = id->unique;
		return true;
	}
	*srvid = GLOCK_SRVID | id->task;
	return id->task != 0;
}

int glock_build(TALLOC_CTX *mem, const struct glock *g, struct ctdb_data *data)
{
	size_t watchers = (size_t)g->n_watchers * GLOCK_WATCHER_SIZE,
	       shared = (size_t)g->n_shared * GLOCK_SERVER_ID_SIZE;
	bool locked = g->holder.pid != 0 || g->n_shared != 0 || g->user.len != 0;
	size_t len = 4 + watchers + (locked ? GLOCK_STATE_SIZE + shared + g->user.len : 0);
	uint8_t *buf, *p;

	if (!locked && g->n_watchers == 0) {
		*data = (struct ctdb_data){0};
		return 0;
	}
	buf = talloc_array(mem, uint8_t, len);
	if (buf == NULL) {
		return ENOMEM;
	}
	p = put32(buf, g->n_watchers);
	p = put_bytes(p, g->watchers, watchers);
	if (locked) {
		server_id_put(p, &g->holder);
		p = put64(p + GLOCK_SERVER_ID_SIZE, g->lock_epoch);
		p = put64(p, g->data_epoch);
		p = put32(p, g->n_shared);
		p = put_bytes(p, g->shared, shared);
		put_bytes(p, g->user.data, g->user.len);
	}
	*data = data_of(buf, len);
	return 0;
}
