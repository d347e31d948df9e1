/* The programs of one run, one on each node. */
#include "group.h"
#include "bench.h"

#include <stdlib.h>
#include <string.h>

#define GROUP_MAGIC    0x62656e63U
#define GROUP_PAUSE_NS 50000000U /* a message gets lost if its receiver is not there yet: it is sent again */

struct hello {
	uint32_t magic, pnn, phase, unused;
};

static void look(struct group *g)
{
	uint32_t there = 0;

	for (uint32_t i = 0; i < g->n; i++) {
		there += g->reached[i] >= g->phase;
	}
	g->all = there >= g->want;
}

static void heard(void *priv, uint64_t srvid, struct ctdb_data data)
{
	struct group *g = priv;
	struct hello h;
	uint32_t i = 0;

	if (srvid != g->srvid || data.len < sizeof(h)) {
		return;
	}
	memcpy(&h, data.data, sizeof(h));
	while (i < g->n && g->pnn[i] != h.pnn) {
		i++;
	}
	if (h.magic != GROUP_MAGIC || i == GROUP_MAX) {
		return;
	}
	if (i == g->n) {
		g->pnn[g->n] = h.pnn;
		g->reached[g->n++] = 0;
	}
	g->reached[i] = h.phase > g->reached[i] ? h.phase : g->reached[i];
	look(g);
}

void group_join(struct group *g, struct session *s, const char *name, uint32_t want)
{
	*g = (struct group){.s = s, .self = s->pnn, .srvid = CTDB_SRVID_TEST | ctdb_key_hash(name, strlen(name)), .want = want, .n = 1};
	g->pnn[0] = s->pnn;
	s->on_message = heard;
	s->priv = g;
	session_register(s, g->srvid);
}

static void tell(struct group *g)
{
	struct hello h = {.magic = GROUP_MAGIC, .pnn = g->self, .phase = g->phase};

	session_post(g->s, CTDB_NODES_CONNECTED, g->srvid, (struct ctdb_data){.data = (uint8_t *)&h, .len = sizeof(h)});
}

static int compare(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

void group_meet(struct group *g, uint32_t patience_s)
{
	uint64_t end = bench_now() + patience_s * 1000000000ULL;
	uint32_t own = 0;

	g->phase++;
	while (g->pnn[own] != g->self) {
		own++;
	}
	g->reached[own] = g->phase;
	look(g);
	while (!g->all) {
		if (bench_now() > end) {
			fail("%u nodes take part, but only %u came within %u s", g->want, g->n, patience_s);
		}
		tell(g);
		(void)session_wait(g->s, &g->all, bench_now() + GROUP_PAUSE_NS);
	}
	tell(g); /* who heard nothing of this node since it waits is told now */
	if (g->n > g->want) {
		fail("more than the %u nodes that should take part do", g->want);
	}
	if (g->phase == 1) {
		qsort(g->pnn, g->n, sizeof(g->pnn[0]), compare); /* all have reached 1: the order of reached is free */
		for (uint32_t i = 0; i < g->n; i++) {
			g->reached[i] = 1;
		}
	}
}

uint32_t group_place(const struct group *g)
{
	uint32_t i = 0;

	while (g->pnn[i] != g->self) {
		i++;
	}
	return i;
}

uint32_t group_next(const struct group *g)
{
	return g->pnn[(group_place(g) + 1) % g->n];
}
