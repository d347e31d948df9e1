/* Simulated cluster: what is to happen, in the order of time. A binary heap. */
#include "cluster_sim.h"

#include <stdio.h>
#include <stdlib.h>

static bool earlier(const struct sim_event *a, const struct sim_event *b)
{
	return a->at < b->at || (a->at == b->at && a->order < b->order);
}

static void make_room(struct sim *s)
{
	if (talloc_array_length(s->heap) > s->n_heap) {
		return;
	}
	s->heap = talloc_realloc(s, s->heap, struct sim_event, s->n_heap * 2 + 64);
	if (s->heap == NULL) {
		fprintf(stderr, "out of memory\n");
		abort();
	}
}

void sim_push(struct sim *s, struct sim_event e)
{
	uint32_t i;

	make_room(s);
	e.order = s->order++;
	for (i = s->n_heap++; i > 0 && earlier(&e, &s->heap[(i - 1) / 2]); i = (i - 1) / 2) {
		s->heap[i] = s->heap[(i - 1) / 2];
	}
	s->heap[i] = e;
}

struct sim_event sim_pop(struct sim *s)
{
	struct sim_event first = s->heap[0], last = s->heap[--s->n_heap];
	uint32_t i = 0, child;

	for (; (child = 2 * i + 1) < s->n_heap; i = child) {
		if (child + 1 < s->n_heap && earlier(&s->heap[child + 1], &s->heap[child])) {
			child++;
		}
		if (!earlier(&s->heap[child], &last)) {
			break;
		}
		s->heap[i] = s->heap[child];
	}
	s->heap[i] = last;
	return first;
}

void sim_schedule(struct sim *s, uint64_t at, enum sim_event_kind kind, uint32_t node, uint32_t peer)
{
	uint64_t tag = kind == SIM_NODES_WRITTEN ? s->nodes[node].incarnation : 0;

	sim_push(s, (struct sim_event){.at = at, .kind = kind, .node = node, .peer = peer, .tag = tag});
}
