/* What changed since it was last looked at: told as events, and to callbacks. The one place that compares. */
#include "clusterd.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* What was told last. */
struct changes {
	bool known; /* anything was told yet */
	bool active;
	uint32_t leader;
	uint32_t n;
	bool in[NODES_MAX];
	uint32_t flags[NODES_MAX];
	char *list; /* active nodes */
};

#define SHOWN_FLAGS (~(uint32_t)NODE_FLAG_DISCONNECTED)

static bool node_in(const struct view_member *m)
{
	return (m->flags & (NODE_FLAG_DISCONNECTED | NODE_FLAG_DELETED)) == 0;
}

static bool node_active(const struct view_member *m)
{
	return node_in(m) && (m->flags & (NODE_FLAG_BANNED | NODE_FLAG_STOPPED)) == 0;
}

/* "0,2": active nodes; "none": there are none, or this node cannot know. */
static char *active_list(TALLOC_CTX *mem, const struct cluster_view *view, bool known)
{
	char *list = NULL;

	for (uint32_t p = 0; known && p < view->members.n; p++) {
		if (node_active(&view->members.v[p])) {
			list = list == NULL ? talloc_asprintf(mem, "%u", (unsigned)p)
					    : talloc_asprintf_append(list, ",%u", (unsigned)p);
		}
	}
	return list != NULL ? list : talloc_strdup(mem, "none");
}

const char *changes_flag_names(uint32_t flags, char buf[CHANGES_FLAGS_SIZE])
{
	static const struct {
		uint32_t flag;
		const char *name;
	} names[] = {
		{NODE_FLAG_DISCONNECTED, "disconnected"}, {NODE_FLAG_UNHEALTHY, "unhealthy"},
		{NODE_FLAG_DISABLED, "disabled"},         {NODE_FLAG_BANNED, "banned"},
		{NODE_FLAG_DELETED, "deleted"},           {NODE_FLAG_STOPPED, "stopped"},
		{NODE_FLAG_PARTIAL, "partially-online"},
	};
	size_t len = 0;

	snprintf(buf, CHANGES_FLAGS_SIZE, "ok");
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if ((flags & names[i].flag) != 0) {
			len += (size_t)snprintf(buf + len, CHANGES_FLAGS_SIZE - len, "%s%s", len > 0 ? "," : "",
						names[i].name);
		}
	}
	return buf;
}

static void tell_leader(struct clusterd *cd, struct changes *ch, uint32_t leader)
{
	if (leader == ch->leader) {
		return;
	}
	if (leader == CLUSTER_NODE_NONE) {
		events_add(cd, CLUSTER_EVENT_LEADER, leader, 0, "no leader is known");
	} else {
		events_add(cd, CLUSTER_EVENT_LEADER, leader, 0, "node %u leads", (unsigned)leader);
	}
	callbacks_leader(cd, leader);
	ch->leader = leader;
}

static void tell_node(struct clusterd *cd, struct changes *ch, const struct view_member *m)
{
	char now[CHANGES_FLAGS_SIZE], before[CHANGES_FLAGS_SIZE];
	uint32_t p = m->pnn;
	bool in = node_in(m);

	if (ch->in[p] != in) {
		events_add(cd, in ? CLUSTER_EVENT_NODE_IN : CLUSTER_EVENT_NODE_OUT, p, m->flags, "node %u is %s",
			   (unsigned)p, in ? "in the cluster" : "out of the cluster");
	}
	if (((ch->flags[p] ^ m->flags) & SHOWN_FLAGS) != 0 && ch->known) {
		events_add(cd, CLUSTER_EVENT_FLAGS, p, m->flags, "node %u: %s, was %s", (unsigned)p,
			   changes_flag_names(m->flags, now), changes_flag_names(ch->flags[p], before));
	}
	if (ch->flags[p] != m->flags) {
		callbacks_flags(cd, p, m->flags);
	}
	ch->in[p] = in;
	ch->flags[p] = m->flags;
}

static void tell_nodes(struct clusterd *cd, struct changes *ch, const struct cluster_view *view)
{
	for (uint32_t p = ch->n; p < view->members.n; p++) {
		ch->in[p] = false;
		ch->flags[p] = NODE_FLAG_DISCONNECTED;
	}
	ch->n = view->members.n;
	for (uint32_t p = 0; p < view->members.n; p++) {
		tell_node(cd, ch, &view->members.v[p]);
	}
}

static void tell_active(struct clusterd *cd, struct changes *ch, const struct cluster_state *state)
{
	if (state->active != ch->active) {
		events_add(cd, state->active ? CLUSTER_EVENT_ACTIVE : CLUSTER_EVENT_INACTIVE, cd->d->pnn, 0,
			   "this node %s%s",
			   state->active ? "is active" : "is not active: ", state->active ? "" : state->reason);
	}
	ch->active = state->active;
}

static void tell_list(struct clusterd *cd, struct changes *ch, const struct cluster_view *view, bool known)
{
	char *list = active_list(ch, view, known);

	if (list == NULL || (ch->known && strcmp(list, ch->list) == 0)) {
		talloc_free(list);
		return;
	}
	callbacks_active(cd, list);
	talloc_free(ch->list);
	ch->list = list;
}

void changes_look(struct clusterd *cd, bool changed)
{
	struct changes *ch = cd->changes;
	struct mono now = mono_now();
	uint32_t leader = cluster_leader(cd->core, now);
	struct cluster_state state;

	if (!cluster_settled(cd->core) || (ch->known && !changed && leader == ch->leader)) {
		return;
	}
	cluster_tell_state(cd->core, now, &state);
	/* Between a leader and the next one the leases of the former go on: no news yet. */
	if (leader == CLUSTER_NODE_NONE && state.active) {
		leader = ch->leader;
	}
	tell_leader(cd, ch, leader);
	tell_active(cd, ch, &state);
	tell_nodes(cd, ch, &state.view);
	tell_list(cd, ch, &state.view, leader != CLUSTER_NODE_NONE);
	ch->known = true;
}

int changes_start(struct clusterd *cd)
{
	struct changes *ch = talloc_zero(cd, struct changes);

	if (ch == NULL) {
		return ENOMEM;
	}
	ch->leader = CLUSTER_NODE_NONE;
	ch->list = talloc_strdup(ch, "none");
	cd->changes = ch;
	return ch->list == NULL ? ENOMEM : 0;
}
