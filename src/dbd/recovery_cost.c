/* Recovery: what it cost this node, wishes for full ones that have to be kept, and who waits for the end of one. */
#include <errno.h>
#include <string.h>
#include <sys/time.h>

#include "dbd/recovery_int.h"
#include "shared/log.h"

struct recovery_wait {
	struct dlist link;
	bool full;
	bool begun; /* a recovery has begun since */
	void (*fn)(void *priv);
	void *priv;
};

/* ---- who waits ---- */

static int wait_destructor(struct recovery_wait *w)
{
	dlist_remove(&w->link);
	return 0;
}

int recovery_ask(TALLOC_CTX *mem, struct recovery *r, bool full, void (*fn)(void *priv), void *priv,
		 struct recovery_wait **out)
{
	struct recovery_wait *w;

	if (!r->normal) {
		return EAGAIN;
	}
	w = talloc_zero(mem, struct recovery_wait);
	if (w == NULL) {
		return ENOMEM;
	}
	*w = (struct recovery_wait){.full = full, .fn = fn, .priv = priv};
	dlist_add_tail(&r->waits, &w->link);
	talloc_set_destructor(w, wait_destructor);
	(full ? recovery_want_full : recovery_want)(r, r->generation, "a tool asked for %s",
						    full ? "a full recovery" : "a recovery");
	*out = w;
	return 0;
}

/* Those whose recovery this was. From the front each time: they may take others back. */
static void waits_ended(struct recovery *r, bool full)
{
	struct dlist over;

	dlist_init(&over);
	dlist_for_each_safe(l, &r->waits)
	{
		const struct recovery_wait *w = dlist_entry(l, struct recovery_wait, link);

		if (w->begun && (full || !w->full)) {
			dlist_remove(l);
			dlist_add_tail(&over, l);
		}
	}
	while (!dlist_empty(&over)) {
		struct recovery_wait *w = dlist_entry(dlist_first(&over), struct recovery_wait, link);

		dlist_remove(&w->link);
		w->fn(w->priv);
	}
}

/* ---- wishes ---- */

/*
 * The leader may have changed, or have been started again, since it was told: whoever saw something that only a full
 * recovery puts right says so in each recovery until one of them was full. The answer to BEGIN comes after it.
 */
void recovery_cost_begun(struct recovery *r, uint32_t generation)
{
	dlist_for_each(l, &r->waits)
	{
		dlist_entry(l, struct recovery_wait, link)->begun = true;
	}
	r->wish_generation = r->full_wanted ? generation : GENERATION_NONE;
	r->wish_full = r->full_wanted;
	if (r->full_wanted) {
		recovery_wish_again(r);
	}
}

/* ---- costs ---- */

static void add(struct db_recovery_cost *sum, const struct db_recovery_cost *c)
{
	sum->ms += c->ms;
	sum->dbs += c->dbs;
	sum->slots += c->slots;
	sum->dirty += c->dirty;
	sum->scans += c->scans;
	sum->scanned += c->scanned;
	sum->claims += c->claims;
	sum->orders += c->orders;
	sum->bytes += c->bytes;
	sum->contents += c->contents;
	sum->content_records += c->content_records;
	sum->content_bytes += c->content_bytes;
}

static void log_cost(const struct db_recovery_cost *c, bool full)
{
	log_notice(
		"recovery: %u volatile databases, %llu of %llu slots claimed, %llu files read, %llu records seen, %llu "
		"claims and %llu orders sent, %llu bytes; %llu other files read, %llu records of contents sent, %llu "
		"bytes; %llu ms%s",
		c->dbs, (unsigned long long)c->dirty, (unsigned long long)c->slots, (unsigned long long)c->scans,
		(unsigned long long)c->scanned, (unsigned long long)c->claims, (unsigned long long)c->orders,
		(unsigned long long)c->bytes, (unsigned long long)c->contents, (unsigned long long)c->content_records,
		(unsigned long long)c->content_bytes, (unsigned long long)c->ms, full ? ", full" : "");
}

void recovery_cost_ended(struct recovery *r)
{
	const struct rec_stats *s = rec_member_stats(r->member);
	int64_t ms = (int64_t)(r->times.finished.tv_sec - r->times.started.tv_sec) * 1000 +
		     (r->times.finished.tv_usec - r->times.started.tv_usec) / 1000;
	struct db_recovery *costs = &r->costs;

	costs->last = (struct db_recovery_cost){.ms = ms > 0 ? (uint64_t)ms : 0,
						.dbs = s->dbs,
						.slots = s->slots,
						.dirty = s->dirty,
						.scans = s->scans,
						.scanned = s->scanned,
						.claims = s->claims,
						.orders = s->orders,
						.bytes = s->bytes,
						.contents = r->contents_read,
						.content_records = s->content_records,
						.content_bytes = s->content_bytes};
	costs->full = s->full;
	costs->count++;
	costs->full_count += s->full;
	add(&costs->total, &costs->last);
	log_cost(&costs->last, s->full);
	if (s->full && r->full_seen != r->generation) {
		r->full_wanted = r->wish_full = false;
		r->wish_generation = GENERATION_NONE;
	}
}

void recovery_cost_told(struct recovery *r)
{
	waits_ended(r, r->costs.full);
	if (r->full_wanted) { /* this one was not full: the next one */
		r->wish_generation = r->generation;
		r->wish_full = true;
		recovery_wish_again(r);
	}
}

void recovery_costs(const struct recovery *r, struct db_recovery *out)
{
	union {
		const char *c;
		char *p;
	} why = {r->full_wanted ? r->wish : ""};

	*out = r->costs;
	out->generation = recovery_generation(r);
	out->wanted = r->full_wanted;
	out->reason = why.p;
}
