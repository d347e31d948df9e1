/* Changes of the nodes list in long random histories of the simulated cluster. By hand: SIM_SEED=S [SIM_RUNS=R]
 * [TRACE=1] test_nodes_history. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "story.h"

#define MOST 8

struct history {
	struct sim *s;
	unsigned counter; /* makes each address new: no list comes twice */
	struct {
		uint64_t from, to;
	} decided[2000];
	unsigned n_decided, n_done;
	uint64_t seen[MOST];
};

/* From each list at most one other one is decided. */
static void note(struct history *h)
{
	for (uint32_t p = 0; p < h->s->opt.nodes; p++) {
		uint64_t now, before = h->seen[p];
		unsigned i;

		if (h->s->nodes[p].c == NULL) {
			h->seen[p] = 0;
			continue;
		}
		now = cluster_nodes_list(h->s->nodes[p].c)->hash;
		h->seen[p] = now;
		if (before == 0 || before == now) {
			continue;
		}
		for (i = 0; i < h->n_decided && h->decided[i].from != before; i++) {
		}
		if (i < h->n_decided && h->decided[i].to != now) {
			/* Given by hand, over several changes: not a decision. */
			continue;
		}
		if (i == h->n_decided && h->n_decided < 2000) {
			h->decided[h->n_decided].from = before;
			h->decided[h->n_decided++].to = now;
		}
	}
}

static void advance(struct history *h, uint64_t ns)
{
	struct sim *s = h->s;
	uint64_t until = s->now + ns;

	while (s->now < until && !sim_failed(s)) {
		sim_run(s, s->now + 20 * MS < until ? s->now + 20 * MS : until);
		note(h);
	}
}

/* One node less, more, or elsewhere. */
static char *other_list(struct history *h, const struct cluster_list *list, uint32_t *pnn)
{
	struct sim *s = h->s;
	char *text = talloc_strdup(s, "");

	*pnn = (uint32_t)sim_random(s, list->n + 1 < MOST ? list->n + 1 : list->n);
	for (uint32_t p = 0; p < list->n || p <= *pnn; p++) {
		const char *dash = p < list->n && list->nodes[p].deleted ? "-" : "";

		if (p == *pnn) {
			bool remove = p < list->n && !list->nodes[p].deleted && sim_random(s, 2) == 0;

			text = talloc_asprintf_append(text, "%s%sn%u", p == 0 ? "" : " ", remove ? "-" : "",
						      h->counter++);
		} else {
			text = talloc_asprintf_append(text, "%s%s%s", p == 0 ? "" : " ", dash, list->nodes[p].address);
		}
	}
	return text;
}

/* As an administrator does: the node gets the list that is in use. */
static void change_something(struct history *h)
{
	struct sim *s = h->s;
	uint32_t leader = sim_leader(s), pnn;
	char *text, *why = NULL;

	if (leader == NOBODY) {
		return;
	}
	text = other_list(h, cluster_nodes_list(s->nodes[leader].c), &pnn);
	if (story_change(s, text, &why) == 0) {
		advance(h, sim_random(s, 2) == 0 ? sim_random(s, 30 * MS) : 2000 * MS);
		if (s->nodes[leader].file.ended && s->nodes[leader].file.done) {
			h->n_done++;
			if (s->nodes[pnn].c == NULL) {
				sim_nodes_set(s, pnn, s->nodes[leader].file.text);
			}
		}
	}
	talloc_free(text);
	talloc_free(why);
}

static void start_node(struct history *h, uint32_t p)
{
	struct sim *s = h->s;
	uint32_t leader = sim_leader(s);
	const struct cluster_list *list = leader == NOBODY ? NULL : cluster_nodes_list(s->nodes[leader].c);

	if (s->nodes[p].c != NULL) {
		return;
	}
	if (list != NULL && p < list->n && !list->nodes[p].deleted && s->nodes[p].file.prepared == NULL &&
	    sim_random(s, 2) == 0) {
		sim_nodes_set(s, p, list->text);
	}
	if (s->nodes[p].file.text[0] != '?') {
		sim_start(s, p);
	}
}

static void disturb(struct history *h)
{
	struct sim *s = h->s;
	uint32_t a = (uint32_t)sim_random(s, s->opt.nodes), b = (uint32_t)sim_random(s, s->opt.nodes);

	switch (sim_random(s, 8)) {
	case 0:
		sim_crash(s, a, sim_random(s, 2) == 0);
		break;
	case 1:
		if (sim_leader(s) != NOBODY) {
			sim_crash(s, sim_leader(s), sim_random(s, 2) == 0);
		}
		break;
	case 2:
		sim_cut(s, a, b, true);
		break;
	case 3:
		for (uint32_t p = 0; p < s->opt.nodes; p++) {
			sim_cut(s, a, p, false);
		}
		break;
	case 4:
		sim_pause(s, a, sim_random(s, 1500 * MS));
		break;
	case 5:
		s->loss_permille = (uint32_t)sim_random(s, 2) * (uint32_t)sim_random(s, 200);
		s->slow_permille = (uint32_t)sim_random(s, 100);
		s->slow_ns = 300 * MS;
		break;
	case 6:
		s->write_ns = MS + sim_random(s, 50 * MS);
		break;
	default:
		start_node(h, a);
		start_node(h, b);
		break;
	}
}

static void heal(struct history *h)
{
	struct sim *s = h->s;

	s->loss_permille = s->slow_permille = 0;
	s->write_ns = MS;
	for (uint32_t a = 0; a < s->opt.nodes; a++) {
		for (uint32_t b = 0; b < s->opt.nodes; b++) {
			sim_cut(s, a, b, false);
		}
	}
	for (unsigned round = 0; round < 3; round++) {
		for (uint32_t p = 0; p < s->opt.nodes; p++) {
			s->nodes[p].machine_back = 0;
			if (s->nodes[p].file.text[0] != '?') {
				sim_start(s, p);
			}
		}
		advance(h, 15 * DEAD * MS);
	}
}

/* Nodes that were down during changes get the list by 'reload'; those that it does not reach, by hand. */
static void reload_all(struct history *h)
{
	struct sim *s = h->s;

	for (uint32_t p = 0; p < s->opt.nodes && !sim_failed(s); p++) {
		uint32_t leader = sim_leader(s);
		const struct cluster_list *list;
		char *why = NULL;

		if (leader == NOBODY) {
			return;
		}
		list = cluster_nodes_list(s->nodes[leader].c);
		if (p >= list->n || list->nodes[p].deleted || s->nodes[p].c == NULL || sim_acts(s, &s->nodes[p])) {
			continue;
		}
		s->nodes[leader].file.ended = s->nodes[leader].file.done = false;
		if (cluster_nodes_adopt(s->nodes[leader].c, story_local(s, leader), s, p, &why) == 0) {
			sim_schedule(s, s->now + 1, SIM_LINK, leader, (leader + 1) % s->opt.nodes);
			advance(h, 3 * DEAD * MS);
		}
		if (!s->nodes[leader].file.done) {
			sim_crash(s, p, false);
			sim_nodes_set(s, p, list->text);
			sim_start(s, p);
		}
	}
	advance(h, 10 * DEAD * MS);
}

static void assert_in_order(const struct history *h, uint64_t seed)
{
	const struct sim *s = h->s;
	uint32_t leader = sim_leader(s);
	const struct cluster_list *list;

	if (sim_failed(s)) {
		fail_msg("seed %u: %s", (unsigned)seed, s->failure);
	}
	if (leader == NOBODY) {
		for (uint32_t p = 0; p < s->opt.nodes; p++) {
			struct cluster *c = s->nodes[p].c;

			print_message("node %u: %s, \"%s\", next \"%s\", term %u, role %s\n", (unsigned)p,
				      s->nodes[p].file.text, c == NULL ? "not running" : cluster_nodes_list(c)->text,
				      c == NULL || cluster_nodes_prepared(c) == NULL
					      ? ""
					      : cluster_nodes_prepared(c)->to.text,
				      c == NULL ? 0 : (unsigned)cluster_term(c),
				      c == NULL ? "" : cluster_role_name(cluster_role(c)));
		}
		fail_msg("seed %u: nobody leads in the end", (unsigned)seed);
	}
	list = cluster_nodes_list(s->nodes[leader].c);
	for (uint32_t p = 0; p < list->n; p++) {
		if (list->nodes[p].deleted || s->nodes[p].c == NULL) {
			continue;
		}
		if (!sim_acts(s, &s->nodes[p]) || strcmp(s->nodes[p].file.text, list->text) != 0 ||
		    s->nodes[p].file.prepared != NULL) {
			fail_msg("seed %u: node %u has \"%s\" (prepared \"%s\"), leader %u has \"%s\"%s",
				 (unsigned)seed, (unsigned)p, s->nodes[p].file.text,
				 s->nodes[p].file.prepared != NULL ? s->nodes[p].file.prepared : "", (unsigned)leader,
				 list->text, sim_acts(s, &s->nodes[p]) ? "" : ", does not act");
		}
	}
}

static unsigned history(uint64_t seed, enum cluster_quorum quorum)
{
	struct history *h = talloc_zero(NULL, struct history);
	unsigned done;

	h->s = story_up_list(MOST, "a b c d", quorum, seed);
	for (uint32_t p = 4; p < MOST; p++) {
		sim_nodes_set(h->s, p, "?");
	}
	talloc_steal(h, h->s);
	for (unsigned i = 0; i < 60 && !sim_failed(h->s); i++) {
		if (sim_random(h->s, 3) == 0) {
			change_something(h);
		} else {
			disturb(h);
		}
		advance(h, sim_random(h->s, 1500 * MS));
	}
	heal(h);
	reload_all(h);
	reload_all(h);
	assert_in_order(h, seed);
	done = h->n_done;
	talloc_free(h);
	return done;
}

static void test_histories(void **state)
{
	const char *first = getenv("SIM_SEED"), *runs = getenv("SIM_RUNS");
	uint64_t seed = first != NULL ? strtoull(first, NULL, 10) : 1;
	uint64_t end = seed + (runs != NULL ? strtoull(runs, NULL, 10) : (first != NULL ? 1 : 300));
	unsigned done = 0, done_by_lock = 0;

	for (; seed < end; seed++) {
		done += history(seed, CLUSTER_QUORUM_MAJORITY);
		done_by_lock += seed % 3 == 0 ? history(seed, CLUSTER_QUORUM_EXTERNAL) : 0;
	}
	if (first == NULL) {
		assert_true(done > 100);
		assert_true(done_by_lock > 30);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_histories)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
