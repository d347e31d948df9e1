/* Time-outs of requests on the monotonic clock: many of them on one timer. */
#include "dbd/client.h"
#include "shared/mono_timer.h"

#include <errno.h>

struct deadline {
	struct dlist link;
	struct deadlines *all;
	struct mono when;
	void (*fn)(void *priv);
	void *priv;
};

struct deadlines {
	struct mono_timer *timer;
	struct dlist list; /* the next one first */
};

static void arm(struct deadlines *all)
{
	struct dlist *e = dlist_first(&all->list);

	mono_timer_set(all->timer, e == NULL ? MONO_NEVER : dlist_entry(e, struct deadline, link)->when);
}

/* Whatever is due at this moment; what the functions start anew comes in a later turn. */
static void fire(void *priv)
{
	struct deadlines *all = priv;
	struct mono now = mono_now();
	struct dlist *e;

	while ((e = dlist_first(&all->list)) != NULL) {
		struct deadline *d = dlist_entry(e, struct deadline, link);
		void (*fn)(void *) = d->fn;
		void *arg = d->priv;

		if (mono_before(now, d->when)) {
			break;
		}
		talloc_free(d);
		fn(arg);
	}
	arm(all);
}

static int deadline_destructor(struct deadline *d)
{
	dlist_remove(&d->link);
	return 0;
}

/* Most are of the same length, so the place is near the end. */
static void insert(struct deadlines *all, struct deadline *d)
{
	struct dlist *pos = all->list.prev;

	while (pos != &all->list && mono_before(d->when, dlist_entry(pos, struct deadline, link)->when)) {
		pos = pos->prev;
	}
	dlist_add_head(pos, &d->link);
}

struct deadline *deadline_add_us(TALLOC_CTX *mem, const struct dbd *dbd, uint64_t us, void (*fn)(void *priv),
				 void *priv)
{
	struct deadlines *all = dbd->clients->deadlines;
	struct deadline *d = talloc(mem, struct deadline);

	if (d == NULL) {
		return NULL;
	}
	*d = (struct deadline){.all = all, .when = mono_add_us(mono_now(), us), .fn = fn, .priv = priv};
	insert(all, d);
	talloc_set_destructor(d, deadline_destructor);
	mono_timer_set_earlier(all->timer, d->when);
	return d;
}

struct deadline *deadline_add(TALLOC_CTX *mem, const struct dbd *dbd, uint64_t ms, void (*fn)(void *priv), void *priv)
{
	return deadline_add_us(mem, dbd, ms * 1000, fn, priv);
}

/* Those of other parts outlive this one for a moment when the daemon ends: they are taken out of the list. */
static int deadlines_destructor(struct deadlines *all)
{
	struct dlist *e;

	while ((e = dlist_first(&all->list)) != NULL) {
		dlist_remove(e);
	}
	return 0;
}

int deadlines_new(struct clients *cs, struct deadlines **out)
{
	struct deadlines *all = talloc(cs, struct deadlines);

	if (all == NULL) {
		return ENOMEM;
	}
	dlist_init(&all->list);
	all->timer = mono_timer_new(all, cs->dbd->d->ev, fire, all);
	if (all->timer == NULL) {
		talloc_free(all);
		return errno != 0 ? errno : ENOMEM;
	}
	talloc_set_destructor(all, deadlines_destructor);
	*out = all;
	return 0;
}
