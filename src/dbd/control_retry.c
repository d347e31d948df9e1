/* Trying again what found a chain lock taken: the daemon never waits for one. */
#include "dbd/control.h"

#include <errno.h>

#define FIRST_US 200
#define LAST_US  5000

struct retry {
	const struct dbd *dbd;
	retry_fn fn;
	void (*expired)(void *priv);
	void *priv;
	struct mono deadline;
	uint32_t pause_us;
};

static bool arm(struct retry *r);

static void again(void *priv)
{
	struct retry *r = priv;
	void (*expired)(void *) = r->expired;
	void *owner = r->priv;

	/* fn may free its owner, and with it this. So nothing of r is touched after fn has said true. */
	if (r->fn(owner)) {
		return;
	}
	if (mono_before(r->deadline, mono_now()) || !arm(r)) {
		talloc_free(r);
		expired(owner);
	}
}

static bool arm(struct retry *r)
{
	r->pause_us = r->pause_us * 2 < LAST_US ? r->pause_us * 2 : LAST_US;
	return deadline_add_us(r, r->dbd, r->pause_us, again, r) != NULL;
}

int retry_start(TALLOC_CTX *mem, const struct dbd *dbd, uint32_t timeout_ms, retry_fn fn, void (*expired)(void *priv),
		void *priv)
{
	struct retry *r = talloc(mem, struct retry);

	if (r == NULL) {
		return ENOMEM;
	}
	*r = (struct retry){
		.dbd = dbd,
		.fn = fn,
		.expired = expired,
		.priv = priv,
		.deadline = mono_add_ms(mono_now(), timeout_ms),
		.pause_us = FIRST_US / 2,
	};
	if (!fn(priv)) {
		if (!arm(r)) {
			talloc_free(r);
			expired(priv);
		}
	}
	return 0;
}
