/* Stories: what they have in common. */
#include "story.h"

#include <errno.h>
#include <stdlib.h>

struct sim *story_new(uint32_t nodes, enum cluster_quorum quorum, bool bounded, uint64_t seed)
{
	struct sim_options opt = {.seed = seed,
				  .nodes = nodes,
				  .quorum = quorum,
				  .bounded = bounded,
				  .dead_ms = DEAD,
				  .heartbeat_ms = DEAD / 4,
				  .trace = getenv("TRACE") != NULL};

	return sim_new(&opt);
}

void story_up(struct sim *s)
{
	const char *why = "";

	for (uint32_t p = 0; p < s->opt.nodes; p++) {
		s->nodes[p].start_due = sim_random(s, 50 * MS);
		sim_schedule(s, s->nodes[p].start_due, SIM_START, p, 0);
	}
	sim_run(s, DEAD * MS);
	assert_string_equal(s->failure, "");
	if (!sim_converged(s, &why)) {
		fail_msg("%u nodes: not up after 1 s: %s", (unsigned)s->opt.nodes, why);
	}
}

void story_down(struct sim *s)
{
	assert_string_equal(s->failure, "");
	talloc_free(s);
}

struct mono story_local(const struct sim *s, uint32_t p)
{
	return (struct mono){sim_local(&s->nodes[p], s->now)};
}

const struct cluster_view *story_view(const struct sim *s, uint32_t p)
{
	return cluster_newest_view(s->nodes[p].c);
}

bool story_all_act(const struct sim *s, uint32_t but)
{
	for (uint32_t p = 0; p < s->opt.nodes; p++) {
		if (p != but && !sim_acts(s, &s->nodes[p])) {
			return false;
		}
	}
	return true;
}

uint64_t story_run_until(struct sim *s, uint64_t limit_ms, story_cond_fn cond, uint32_t p, bool others_act)
{
	uint64_t begin = s->now;

	while (!cond(s, p) && s->now < begin + limit_ms * MS) {
		sim_run(s, s->now + MS);
		assert_string_equal(s->failure, "");
		if (others_act && !story_all_act(s, p)) {
			fail_msg("a node that is well was fenced %.1f ms after", (double)(s->now - begin) / 1e6);
		}
	}
	return (s->now - begin) / MS;
}

bool story_left_out(const struct sim *s, uint32_t p)
{
	for (uint32_t q = 0; q < s->opt.nodes; q++) {
		const struct cluster_view *v = s->nodes[q].c == NULL ? NULL : story_view(s, q);

		if (v != NULL && (v->members.n == 0 || (v->members.v[p].flags & NODE_FLAG_DISCONNECTED) == 0)) {
			return false;
		}
	}
	return true;
}

bool story_agreed(const struct sim *s, uint32_t p)
{
	const char *why;

	return (p == NOBODY || s->nodes[p].c != NULL) && sim_converged(s, &why);
}

bool story_never(const struct sim *s, uint32_t p)
{
	return false;
}

/* ---- nodes lists ---- */

struct sim *story_up_list(uint32_t nodes, const char *text, enum cluster_quorum quorum, uint64_t seed)
{
	struct sim *s = story_new(nodes, quorum, false, seed);
	struct cluster_list list;
	char *err;

	assert_int_equal(sim_nodes_parse(NULL, s, text, &list, &err), 0);
	for (uint32_t p = 0; p < nodes; p++) {
		sim_nodes_set(s, p, p < list.n ? text : "x x x x x x x x");
		s->nodes[p].machine_up = true;
		if (p < list.n && !list.nodes[p].deleted) {
			sim_start(s, p);
		}
	}
	sim_run(s, 2 * DEAD * MS);
	assert_string_equal(s->failure, "");
	assert_int_not_equal(sim_leader(s), NOBODY);
	return s;
}

int story_change(struct sim *s, const char *text, char **why)
{
	uint32_t leader = sim_leader(s);
	int ret;

	if (leader == NOBODY) {
		return ESTALE;
	}
	s->nodes[leader].file.ended = s->nodes[leader].file.done = false;
	ret = cluster_nodes_change(s->nodes[leader].c, story_local(s, leader), s, text, false, why);
	if (ret == 0) {
		sim_schedule(s, s->now + 1, SIM_LINK, leader, (leader + 1) % s->opt.nodes); /* wakes it up */
	}
	return ret;
}
