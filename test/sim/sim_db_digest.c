/*
 * Simulation of record engine and recovery: digests of slots. When all members are PREPARED, who owns what must be what
 * claims of all copies would have led to; and what a node tells must be true of its file. See sim_db.c.
 */
#include "sim_db.h"

uint32_t file_dmaster(const struct node *n, int key)
{
	return n->file[key].exists ? n->file[key].dmaster : SLOT_DIGEST_NONE;
}

void file_changed(struct node *n, int key, uint32_t before)
{
	struct record_key k = key_of(key);

	if (bug == BUG_SKIP_DIGEST && rnd(30) == 0) {
		return;
	}
	slot_digest_change(n->digest, k.p, k.len, before, file_dmaster(n, key));
}

/* The copies as they go into this recovery. The sums must be true of them, if they are known. */
void digest_check_told(struct node *n, const struct recovery_id *id)
{
	struct slot_digest *again = slot_digest_new(n->mem);

	memcpy(n->told_file, n->file, sizeof(n->file));
	n->told_id = *id;
	if (!slot_digest_known(n->digest, SLOTS) || bug != BUG_NONE) {
		talloc_free(again); /* bugs are to be found by what they do */
		return;
	}
	slot_digest_reset(again, SLOTS);
	for (int k = 0; k < n_keys; k++) {
		slot_digest_change(again, key_of(k).p, key_of(k).len, SLOT_DIGEST_NONE, file_dmaster(n, k));
	}
	for (uint32_t s = 0; s < SLOTS; s++) {
		for (uint32_t d = 0; d < MAX_NODES; d++) {
			if (slot_digest_sum(again, s, d) != slot_digest_sum(n->digest, s, d)) {
				fail("node %u: the sum of slot %u and node %u is not that of the file", n->pnn, s, d);
			}
		}
	}
	talloc_free(again);
}

static bool better(const struct file_record *a, uint32_t a_node, const struct file_record *b, uint32_t b_node)
{
	bool a_owns = a->dmaster == a_node, b_owns = b->dmaster == b_node;

	if (a_owns != b_owns) {
		return a_owns;
	}
	if (a->rsn != b->rsn) {
		return a->rsn > b->rsn;
	}
	return !a_owns && (a->value == 0) != (b->value == 0) ? b->value == 0 : a_node < b_node;
}

static void check_key(int k, const uint32_t *members, uint32_t n, uint32_t lmaster)
{
	const struct file_record *best = NULL;
	uint32_t owner = 0;
	bool more = false;

	for (uint32_t i = 0; i < n; i++) {
		const struct file_record *f = &nodes[members[i]].told_file[k];

		if (f->exists && (best == NULL || better(f, members[i], best, owner))) {
			best = f;
			owner = members[i];
		}
		more = more || (f->exists && (f->rsn > 0 || f->value != 0 || f->dmaster == members[i]));
	}
	/* Pointers that former location masters were left with (W3) may stay. */
	if (best == NULL || (!more && !nodes[lmaster].file[k].exists)) {
		return;
	}
	for (uint32_t i = 0; i < n; i++) {
		const struct file_record *f = &nodes[members[i]].file[k];

		if ((f->exists && f->dmaster == members[i]) != (members[i] == owner)) {
			fail("recovered: key %d: %s %u, a full recovery had made %u its owner", k,
			     members[i] == owner ? "nothing of" : "owned by", members[i], owner);
		}
	}
	if (nodes[lmaster].file[k].dmaster != owner || !nodes[lmaster].file[k].exists) {
		fail("recovered: key %d: its location master %u does not name %u", k, lmaster, owner);
	}
	if (nodes[owner].file[k].rsn != best->rsn + (best->dmaster != owner)) {
		fail("recovered: key %d: node %u has not the copy that was chosen", k, owner);
	}
}

/* The last member to be PREPARED: no client is served yet. */
void digest_check_prepared(struct node *n, const struct recovery_id *id, const uint32_t *slots)
{
	uint32_t members[MAX_NODES], count = 0;

	n->prepared_id = *id;
	for (uint32_t i = 0; i < (uint32_t)n_nodes; i++) {
		if (rec_member_has(n->member, i)) {
			if (!nodes[i].dbd || recovery_id_cmp(&nodes[i].prepared_id, id) != 0 ||
			    recovery_id_cmp(&nodes[i].told_id, id) != 0 ||
			    recovery_id_cmp(rec_member_id(nodes[i].member), id) != 0) {
				return;
			}
			members[count++] = i;
		}
	}
	stat_compared++;
	for (int k = 0; k < n_keys; k++) {
		check_key(k, members, count, slotmap_lmaster(slots, SLOTS, key_of(k).p, key_of(k).len));
	}
}
