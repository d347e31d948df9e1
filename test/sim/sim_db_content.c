/* Simulation of record engine and recovery: contents of the persistent database. See sim_db.c. Key 0 is the sequence
 * number. */
#include "base/hash.h"
#include "sim_db.h"

#define BATCH 4 /* records in a message */

struct content_record {
	uint64_t key, value;
};

static const uint8_t *key_bytes(const uint64_t *key)
{
	return (const uint8_t *)key;
}

static bool key_in(const struct content_map *map, uint64_t key)
{
	return content_map_has(map, key_bytes(&key), sizeof(key));
}

/* Of the records that are there: sums of n parts, their sum. */
static uint64_t sum_up(const struct content *c, uint64_t *sums, uint32_t n)
{
	uint64_t digest = 0;

	memset(sums, 0, n * sizeof(*sums));
	for (uint64_t k = 0; k < CONTENT_KEYS; k++) {
		uint64_t d = hash_mix64(hash_fnv1a64(hash_fnv1a64(HASH_FNV1A64, &k, sizeof(k)), &c->value[k], 8));

		if (c->value[k] != 0) {
			sums[content_hash(key_bytes(&k), sizeof(k)) % n] += d;
			digest += d;
		}
	}
	return digest;
}

static uint64_t digest_of(const struct content *c)
{
	uint64_t sums[1];

	return sum_up(c, sums, 1);
}

bool content_equal(const struct content *a, const struct content *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

/* A transaction; 0 is a record that was deleted. */
void content_commit(struct node *n)
{
	for (uint64_t i = 0; i <= rnd(3); i++) {
		n->content.value[1 + rnd(CONTENT_KEYS - 1)] = rnd(3) == 0 ? 0 : event_order;
	}
	n->content.value[0]++;
	n->content_changed = true;
	n->content_known = false;
}

/* ---- state ---- */

static void state_event(struct event *e)
{
	struct node *n = &nodes[e->node];

	if (job_alive(e)) {
		n->known = n->content;
		n->content_known = true;
		rec_member_state_done(n->member, &n->content, 0, n->known.value[0], digest_of(&n->known), true);
		poll_node(n);
	}
}

int content_start_state(void *priv, void *db)
{
	struct node *n = priv;

	if (n->content_known) {
		rec_member_state_done(n->member, db, 0, n->known.value[0], digest_of(&n->known), true);
	} else {
		job(n, db, state_event, MS);
	}
	return 0;
}

/* Sums that are not true, in some runs: those of another node's contents, which hide what differs. */
const uint64_t *content_parts(void *priv, void *db, uint32_t *count)
{
	struct node *n = priv;
	bool lies = seed % 4 == 0 && n->pnn % 2 == 0;
	const struct content *c = lies ? &nodes[(n->pnn + 1) % (uint32_t)n_nodes].content : &n->known;

	(void)db;
	*count = 4U << (n->pnn + seed) % 3;
	if (!n->content_known || (seed + n->pnn) % 7 == 0) {
		return NULL;
	}
	(void)sum_up(c, n->sums, *count);
	return n->sums;
}

void content_forget(void *priv, void *db)
{
	(void)db;
	((struct node *)priv)->content_known = false;
}

/* ---- source ---- */

static void read_event(struct event *e)
{
	struct node *n = &nodes[e->node];
	struct content_record batch[BATCH];
	size_t used = 0;

	if (!job_alive(e)) {
		return;
	}
	for (; n->read_at < CONTENT_KEYS && used < BATCH; n->read_at++) {
		uint64_t k = n->read_at;

		if (n->reading.value[k] != 0 && key_in(&n->read_map, k)) {
			batch[used++] = (struct content_record){k, n->reading.value[k]};
			stat_content_sent++;
		}
	}
	if (used == 0) {
		rec_member_read_done(n->member, &n->content, n->reading.value[0], digest_of(&n->reading), 0, mono());
	} else if (rec_member_read_batch(n->member, &n->content, (const uint8_t *)batch, used * sizeof(batch[0]))) {
		job(n, &n->content, read_event, 100 * US);
	}
	poll_node(n);
}

int content_start_read(void *priv, void *db, const struct content_map *map)
{
	struct node *n = priv;

	if (seed % 4 == 1 && rnd(20) == 0) { /* somebody writes to the file, who should not */
		n->content.value[1 + rnd(CONTENT_KEYS - 1)] = event_order;
		n->content_changed = true;
	}
	stat_contents++;
	stat_content_parts += map->n > 0;
	n->reading = n->content;
	n->read_map = *map;
	n->read_at = 0;
	job(n, db, read_event, MS);
	return 0;
}

void content_read_continue(void *priv, void *db)
{
	job(priv, db, read_event, 100 * US);
}

/* ---- target ---- */

int content_start_replace(void *priv, void *db, const struct rec_replace *what)
{
	struct node *n = priv;

	(void)db;
	n->replace = *what;
	n->incoming = (struct content){{0}};
	return 0;
}

/* What comes of it has to be what a whole transfer would have made. */
static int replace(struct node *n)
{
	const struct node *source = &nodes[n->replace.source];
	struct content result = n->content;

	for (uint64_t k = 0; k < CONTENT_KEYS; k++) {
		bool stays = bug == BUG_PARTS_KEEP && n->incoming.value[k] == 0;

		if (key_in(&n->replace.map, k) && !stays) {
			result.value[k] = n->incoming.value[k];
		} else if (n->incoming.value[k] != 0) {
			return EPROTO;
		}
	}
	if (bug != BUG_PARTS_UNCHECKED &&
	    (result.value[0] != n->replace.seqnum || digest_of(&result) != n->replace.digest)) {
		stat_content_wrong++;
		return EILSEQ;
	}
	if (bug == BUG_NO_REPLACE) {
		return 0;
	}
	if (source->dbd && !source->content_changed && bug == BUG_NONE && !content_equal(&result, &source->content)) {
		fail("node %u: contents are not those of node %u", n->pnn, source->pnn);
	}
	n->content = result;
	n->content_known = false;
	return 0;
}

static void replace_event(struct event *e)
{
	struct node *n = &nodes[e->node];

	if (job_alive(e)) {
		rec_member_job_done(n->member, &n->content, replace(n), mono());
		poll_node(n);
	}
}

int content_feed(void *priv, void *db, const uint8_t *records, size_t len, bool last)
{
	struct node *n = priv;
	struct content_record r;

	for (; len >= sizeof(r); len -= sizeof(r), records += sizeof(r)) {
		memcpy(&r, records, sizeof(r));
		n->incoming.value[r.key] = r.value;
	}
	if (last) {
		job(n, db, replace_event, MS);
	}
	return 0;
}
