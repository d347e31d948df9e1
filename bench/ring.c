/* ctdb-bench message-ring, fetch-ring: what goes round the nodes. */
#include "relay.h"
#include "table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RING_DB      "bench_ring.tdb"
#define RING_SRVID   (CTDB_SRVID_TEST | 0x72690000ULL)
#define RING_FETCHES (CTDB_SRVID_TEST | 0x66650000ULL)
#define RING_DATA    100U

/* Each client of a node is part of a ring of its own, with the client of the same number on the other nodes. */
struct token {
	uint64_t sent; /* bench_now() of the node that made it */
	uint32_t maker, number;
};

struct ring {
	uint64_t tokens; /* in each ring */
	uint32_t next;   /* node */
	uint64_t srvid;
	bool here;        /* fetch-ring: it is this node's turn */
	uint32_t waiting; /* fetch-ring: turns that came */
	struct table *table;
	char key[32];
};

static void ring_prepare(struct member *m, uint64_t base, void (*on_message)(void *, uint64_t, struct ctdb_data))
{
	struct ring *ring = calloc(1, sizeof(*ring));

	if (ring == NULL) {
		fail("out of memory");
	}
	ring->tokens = *(const uint64_t *)m->crew->priv;
	ring->next = group_next(&m->crew->group);
	ring->srvid = base + m->index;
	snprintf(ring->key, sizeof(ring->key), "ring-%u", m->index);
	m->priv = ring;
	m->s->on_message = on_message;
	m->s->priv = m;
	session_register(m->s, ring->srvid);
}

/* Which tokens of each ring start here: spread over the nodes. */
static bool token_starts_here(const struct member *m, uint64_t number)
{
	return number % m->crew->group.n == group_place(&m->crew->group);
}

/* ---- message-ring ---- */

static void message_pass(struct member *m, struct ctdb_data data)
{
	const struct ring *ring = m->priv;

	session_post(m->s, ring->next, ring->srvid, data);
}

static void message_came(void *priv, uint64_t srvid, struct ctdb_data data)
{
	struct member *m = priv;
	struct token token;
	bool counted;

	if (data.len != sizeof(token)) {
		return;
	}
	memcpy(&token, data.data, sizeof(token));
	counted = bench_now() >= m->crew->times[0] && crew_goes_on(m);
	m->count->all++;
	m->count->operations += counted;
	if (token.maker == m->s->pnn) {
		if (counted) {
			hist_add(&m->count->latency, bench_now() - token.sent);
		}
		token.sent = bench_now();
	}
	message_pass(m, data_from(&token, sizeof(token)));
}

static void message_prepare(struct member *m)
{
	ring_prepare(m, RING_SRVID, message_came);
}

static void message_run(struct member *m)
{
	const struct ring *ring = m->priv;

	for (uint32_t i = 0; i < ring->tokens; i++) {
		if (token_starts_here(m, i)) {
			struct token token = {.sent = bench_now(), .maker = m->s->pnn, .number = i};

			message_pass(m, data_from(&token, sizeof(token)));
		}
	}
	(void)session_wait(m->s, NULL, crew_end(m));
}

/* ---- fetch-ring ---- */

static void turn_came(void *priv, uint64_t srvid, struct ctdb_data data)
{
	struct member *m = priv;
	struct ring *ring = m->priv;

	ring->waiting++;
	ring->here = true;
}

static void fetch_prepare(struct member *m)
{
	struct ring *ring;

	ring_prepare(m, RING_FETCHES, turn_came);
	ring = m->priv;
	ring->table = table_open(m->s, RING_DB, CTDB_DB_VOLATILE);
}

/* Brings the record here, changes it, and says so to the next node. */
static void fetch_once(struct member *m, struct entry *e)
{
	struct ring *ring = m->priv;
	uint8_t data[RING_DATA] = {0};
	uint64_t began = bench_now();

	entry_lock(ring->table, data_from(ring->key, strlen(ring->key)), e);
	if (e->len == sizeof(data)) {
		memcpy(data, e->data, sizeof(data));
	}
	data[m->s->pnn % sizeof(data)]++;
	entry_store(e, data_from(data, sizeof(data)));
	entry_unlock(e);
	crew_count(m, began);
	session_post(m->s, ring->next, ring->srvid, (struct ctdb_data){0});
}

static void fetch_run(struct member *m)
{
	struct ring *ring = m->priv;
	struct entry e = {0};

	for (uint32_t i = 0; i < ring->tokens; i++) {
		ring->waiting += token_starts_here(m, i);
	}
	while (crew_goes_on(m)) {
		if (ring->waiting > 0) {
			ring->waiting--;
			fetch_once(m, &e);
		} else {
			ring->here = false;
			(void)session_wait(m->s, &ring->here, crew_end(m));
		}
	}
	entry_free(&e);
}

/* ---- commands ---- */

static int ring_command(int argc, char **argv, const struct crew_work *work, const struct crew_work *relay,
			uint64_t tokens)
{
	struct crew crew = {.work = work, .nodes = 1, .clients = 1, .ms = 5000, .priv = &tokens};
	bool relayed = false;
	const struct bench_option options[] = {
		CREW_OPTIONS(crew),
		{.name = "--tokens", .value = &tokens, .low = 1, .high = 1000},
		{.name = "--relay", .flag = &relayed},
	};

	bench_options(argc, argv, options, sizeof(options) / sizeof(options[0]));
	if (relayed) {
		crew.work = relay;
	}
	return crew_run(&crew);
}

int bench_message_ring(int argc, char **argv)
{
	static const struct crew_work work = {.name = "message-ring",
					      .operation = "message received",
					      .latency = "once round the ring",
					      .prepare = message_prepare,
					      .run = message_run};

	return ring_command(argc, argv, &work, &relay_message_work, 3);
}

int bench_fetch_ring(int argc, char **argv)
{
	static const struct crew_work work = {.name = "fetch-ring",
					      .operation = "record locked and stored",
					      .latency = "locking",
					      .prepare = fetch_prepare,
					      .run = fetch_run};

	return ring_command(argc, argv, &work, &relay_fetch_work, 1);
}
