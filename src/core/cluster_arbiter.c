/* The cluster lock in the cluster core: who holds it leads. */
#include <stdio.h>

#include "core/cluster_internal.h"

void cluster_arbiter_answered(struct cluster *c, struct mono now, enum cluster_arbiter_answer answer, struct mono until,
			      const char *text)
{
	snprintf(c->arbiter.text, sizeof(c->arbiter.text), "%s", text == NULL ? "" : text);
}

bool cluster_arbiter_busy(const struct cluster *c)
{
	return false;
}
