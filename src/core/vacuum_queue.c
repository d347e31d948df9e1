/* Vacuuming: candidates by key, and batches of them. */
#include "core/vacuum_private.h"

#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "base/hash.h"

struct record_key cand_key(const struct cand *c)
{
	return (struct record_key){c->key, c->keylen};
}

static struct cand **cand_place(struct vacuum *v, struct record_key key, uint32_t hash)
{
	struct cand **p = &v->buckets[hash & (v->n_buckets - 1)];

	while (*p != NULL &&
	       ((*p)->hash != hash || (*p)->keylen != key.len || !bytes_same((*p)->key, key.p, key.len))) {
		p = &(*p)->hash_next;
	}
	return p;
}

struct cand *cand_get(struct vacuum *v, struct record_key key, bool *made)
{
	uint32_t hash = hash_lookup3(key.p, key.len);
	struct cand **p = cand_place(v, key, hash);
	struct cand *c = *p;

	*made = false;
	if (c != NULL) {
		return c;
	}
	if (v->n_cands >= vacuum_engine_of(v)->config.max_candidates) {
		return NULL;
	}
	c = talloc_size(v, sizeof(*c) + key.len);
	if (c == NULL) {
		return NULL;
	}
	*c = (struct cand){.v = v, .state = CAND_BATCH, .hash = hash, .keylen = key.len};
	bytes_copy(c->key, key.p, key.len);
	*p = c;
	v->n_cands++;
	*made = true;
	return c;
}

/* Out of the list of its state. */
static void cand_take(struct cand *c)
{
	dlist_remove(&c->link);
	c->v->n_ready -= c->state == CAND_READY;
	c->v->n_pulls -= c->state == CAND_PULL;
	c->state = CAND_BATCH;
}

void cand_move(struct cand *c, enum cand_state state)
{
	struct vacuum *v = c->v;

	cand_take(c);
	c->state = state;
	switch (state) {
	case CAND_READY:
		v->n_ready++;
		dlist_add_tail(&v->ready, &c->link);
		break;
	case CAND_LATER:
		dlist_add_tail(&v->later, &c->link);
		break;
	case CAND_FETCH:
		dlist_add_tail(&v->fetch, &c->link);
		break;
	case CAND_PULL:
		v->n_pulls++;
		dlist_add_tail(&v->pulls, &c->link);
		break;
	case CAND_BATCH:
		break;
	}
}

void cand_free(struct cand *c)
{
	struct cand **p = cand_place(c->v, cand_key(c), c->hash);

	cand_take(c);
	*p = c->hash_next;
	c->v->n_cands--;
	talloc_free(c);
}

void cand_leave(struct cand *c, bool ok)
{
	if (c->again) {
		c->again = false;
		c->tries = 0;
		cand_move(c, CAND_LATER);
	} else if (ok || ++c->tries >= VACUUM_TRIES) {
		cand_free(c);
	} else {
		c->v->result.kept++;
		cand_move(c, CAND_LATER);
	}
}

/* ---- batches ---- */

static struct vbatch *batch_filling(struct vacuum *v, enum vacuum_step step, uint32_t dest)
{
	struct vbatch *b;

	dlist_for_each(l, &v->filling)
	{
		b = dlist_entry(l, struct vbatch, link);
		if (b->step == step && b->dest == dest) {
			return b;
		}
	}
	b = talloc_zero(v, struct vbatch);
	if (b != NULL) {
		b->step = step;
		b->dest = dest;
		dlist_add_tail(&v->filling, &b->link);
	}
	return b;
}

static void batch_fill(struct vacuum *v, struct vbatch *b)
{
	dlist_remove(&b->link);
	dlist_add_tail(&v->filled, &b->link);
}

int batch_add(struct vacuum *v, struct cand *c, enum vacuum_step step, uint32_t dest)
{
	struct vbatch *b = batch_filling(v, step, dest);

	if (b == NULL) {
		return ENOMEM;
	}
	cand_move(c, CAND_BATCH);
	b->v[b->n++] = c;
	b->bytes += (uint32_t)c->keylen + 16;
	if (b->n == VACUUM_BATCH_KEYS || b->bytes >= VACUUM_BATCH_BYTES) {
		batch_fill(v, b);
	}
	return 0;
}

void batches_filled(struct vacuum *v)
{
	while (!dlist_empty(&v->filling)) {
		batch_fill(v, dlist_entry(dlist_first(&v->filling), struct vbatch, link));
	}
}

void batch_free(struct vbatch *b, bool ok)
{
	for (uint32_t i = b->at; i < b->n; i++) {
		cand_leave(b->v[i], ok && !b->no[i]);
	}
	dlist_remove(&b->link);
	talloc_free(b);
}

struct vbatch *batch_first(struct vacuum *v)
{
	struct dlist *l = dlist_first(&v->filled);

	return l != NULL ? dlist_entry(l, struct vbatch, link) : NULL;
}
