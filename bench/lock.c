/* Locks in g_lock.tdb as Samba's processes take them. */
#include "lock.h"
#include "bench.h"

#include <endian.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/*
 * A record: u32 n, n watchers (server id 24 bytes, u64 instance), server id of the holder, u64 lock epoch, u64 data
 * epoch, u32 number of shared holders, these, user data; little endian.
 *
 * Lock: free (or its holder is dead): write oneself as holder. Held: ask whether the holder lives, become a watcher,
 * wait for the message of who gives it back, at most 5 to 10 s; then look again; one stays a watcher until one has the
 * lock. Unlock: take oneself out, delete the record if nothing is left, unlock it, send a message to the first watcher.
 */
#define ID_SIZE      24U
#define WATCHER_SIZE 32U
#define STATE_SIZE   44U
#define UNIQUE_NONE  0xFFFFFFFFFFFFFFFFULL /* not a process of Samba: found by its number alone */

#define MESSAGE_HEADER  52U
#define MESSAGE_CHANGED 4003U

#define LOOK_MIN_MS 5000U
#define LOOK_MAX_MS 10000U

static void id_put(uint8_t out[ID_SIZE], uint64_t pid, uint32_t vnn)
{
	uint64_t pid_le = htole64(pid), unique = htole64(UNIQUE_NONE);
	uint32_t task = 0, vnn_le = htole32(vnn);

	memcpy(out, &pid_le, 8);
	memcpy(out + 8, &task, 4);
	memcpy(out + 12, &vnn_le, 4);
	memcpy(out + 16, &unique, 8);
}

static uint64_t id_pid(const uint8_t *id)
{
	uint64_t pid;

	memcpy(&pid, id, 8);
	return le64toh(pid);
}

static uint32_t id_vnn(const uint8_t *id)
{
	uint32_t vnn;

	memcpy(&vnn, id + 12, 4);
	return le32toh(vnn);
}

/* ---- the record ---- */

/* Parts of e->data; state has STATE_SIZE bytes, zeros if there are none. */
struct lock_state {
	uint32_t n_watchers;
	const uint8_t *watchers;
	uint8_t state[STATE_SIZE];
};

static void state_get(const struct entry *e, struct lock_state *l)
{
	size_t rest;
	uint32_t n = 0;

	*l = (struct lock_state){0};
	if (e->len < 4) {
		return;
	}
	memcpy(&n, e->data, 4);
	n = le32toh(n);
	if (n > (e->len - 4) / WATCHER_SIZE) {
		fail("a lock record in %s is damaged, or not Samba's", LOCK_DB);
	}
	l->n_watchers = n;
	l->watchers = e->data + 4;
	rest = e->len - 4 - (size_t)n * WATCHER_SIZE;
	if (rest >= STATE_SIZE) {
		memcpy(l->state, l->watchers + (size_t)n * WATCHER_SIZE, STATE_SIZE);
	}
}

/* Stores it, with watcher number leave_out missing, and one more (NULL: none) at the end. */
static void state_store(struct entry *e, const struct lock_state *l, uint32_t leave_out, const uint8_t *more)
{
	uint32_t n = l->n_watchers - (leave_out < l->n_watchers) + (more != NULL), n_le = htole32(n);
	size_t size = 4 + (size_t)n * WATCHER_SIZE + STATE_SIZE;
	uint8_t *out = malloc(size), *p = out + 4;

	if (out == NULL) {
		fail("out of memory");
	}
	memcpy(out, &n_le, 4);
	for (uint32_t i = 0; i < l->n_watchers; i++) {
		if (i != leave_out) {
			memcpy(p, l->watchers + (size_t)i * WATCHER_SIZE, WATCHER_SIZE);
			p += WATCHER_SIZE;
		}
	}
	if (more != NULL) {
		memcpy(p, more, WATCHER_SIZE);
		p += WATCHER_SIZE;
	}
	memcpy(p, l->state, STATE_SIZE);
	entry_store(e, data_from(out, size));
	free(out);
}

static uint32_t watcher_find(const struct lock_state *l, const uint8_t *me)
{
	uint32_t i = 0;

	while (i < l->n_watchers && memcmp(l->watchers + (size_t)i * WATCHER_SIZE, me, WATCHER_SIZE) != 0) {
		i++;
	}
	return i;
}

/* ---- locking ---- */

static void woken(void *priv, uint64_t srvid, struct ctdb_data data)
{
	struct locker *l = priv;
	uint64_t instance = htole64(l->instance);

	if (data.len == MESSAGE_HEADER + 8 && memcmp(data.data + MESSAGE_HEADER, &instance, 8) == 0) {
		l->woken = true;
	}
}

void locker_open(struct locker *l, struct session *s)
{
	*l = (struct locker){.table = table_open(s, LOCK_DB, CTDB_DB_VOLATILE)};
	s->on_message = woken;
	s->priv = l;
	session_register(s, (uint64_t)getpid());
}

/* While the record is locked, as Samba does it. */
static bool holder_lives(struct session *s, const uint8_t *id)
{
	int32_t pid = (int32_t)id_pid(id);

	if (id_vnn(id) == s->pnn) {
		return kill(pid, 0) == 0 || errno != ESRCH;
	}
	return session_ask(s, id_vnn(id), CTDB_CONTROL_PROCESS_EXISTS, 0, data_from(&pid, sizeof(pid)), NULL) == 0;
}

static void epoch_set(struct lock_state *state)
{
	uint64_t epoch = (uint64_t)random() << 32 | (uint64_t)random();

	memcpy(state->state + ID_SIZE, &epoch, sizeof(epoch));
}

/* true: it is locked. me: this wait as a watcher. */
static bool try_lock(struct locker *l, struct ctdb_data key, const uint8_t *me, struct entry *e)
{
	struct lock_state state;
	uint32_t place;
	bool held;

	entry_lock(l->table, key, e);
	state_get(e, &state);
	place = watcher_find(&state, me);
	held = id_pid(state.state) != 0 && holder_lives(l->table->s, state.state);
	if (!held) {
		memcpy(state.state, me, ID_SIZE);
		epoch_set(&state);
		state_store(e, &state, place, NULL);
	} else if (place == state.n_watchers) {
		state_store(e, &state, UINT32_MAX, me);
	}
	entry_unlock(e);
	return !held;
}

void locker_lock(struct locker *l, struct ctdb_data key)
{
	struct entry e = {0};
	uint8_t me[WATCHER_SIZE];
	uint64_t instance = htole64(++l->instance);

	id_put(me, (uint64_t)getpid(), l->table->s->pnn);
	memcpy(me + ID_SIZE, &instance, 8);
	l->woken = false;
	while (!try_lock(l, key, me, &e)) {
		uint64_t ms = LOOK_MIN_MS + (uint64_t)random() % (LOOK_MAX_MS - LOOK_MIN_MS);

		l->waits++;
		if (!session_wait(l->table->s, &l->woken, bench_now() + ms * 1000000U)) {
			l->looks++;
		}
		l->woken = false;
	}
	entry_free(&e);
}

/* ---- giving back ---- */

static void wake(struct session *s, const uint8_t *watcher)
{
	uint8_t message[MESSAGE_HEADER + 8];
	uint32_t type = htole32(MESSAGE_CHANGED);

	memcpy(message, watcher, ID_SIZE);
	id_put(message + ID_SIZE, (uint64_t)getpid(), s->pnn);
	memcpy(message + 48, &type, 4);
	memcpy(message + MESSAGE_HEADER, watcher + ID_SIZE, 8);
	session_post(s, id_vnn(watcher), id_pid(watcher), data_from(message, sizeof(message)));
}

void locker_unlock(struct locker *l, struct ctdb_data key)
{
	struct entry e = {0};
	struct lock_state state;
	uint8_t first[WATCHER_SIZE];

	entry_lock(l->table, key, &e);
	state_get(&e, &state);
	if (id_pid(state.state) != (uint64_t)getpid() || id_vnn(state.state) != l->table->s->pnn) {
		fail("a lock was taken away from its holder");
	}
	memset(state.state, 0, ID_SIZE);
	epoch_set(&state);
	if (state.n_watchers > 0) {
		memcpy(first, state.watchers, WATCHER_SIZE);
		state_store(&e, &state, UINT32_MAX, NULL);
	} else {
		entry_delete(&e);
	}
	entry_unlock(&e);
	if (state.n_watchers > 0) {
		wake(l->table->s, first);
	}
	entry_free(&e);
}
