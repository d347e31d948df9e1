/* The verdict on a cluster: the first thing wrong of this node, its start, its recovery, the leader, the others. */
#include "verdict.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

static const struct ctdb_node *self_of(const struct facts *f)
{
	uint32_t i;

	for (i = 0; i < f->nodes->n; i++) {
		if (f->nodes->nodes[i].pnn == f->pnn) {
			return &f->nodes->nodes[i];
		}
	}
	return NULL;
}

static void since(struct verdict *v, struct timeval t, struct timeval now)
{
	long long s = (long long)now.tv_sec - (long long)t.tv_sec;
	char date[32];
	struct tm tm;

	if (t.tv_sec == 0 || localtime_r(&t.tv_sec, &tm) == NULL) {
		return;
	}
	strftime(date, sizeof(date), "%Y-%m-%d %H:%M:%S", &tm);
	if (s < 120) {
		snprintf(v->since, sizeof(v->since), "since %s (%lld s)", date, s);
	} else if (s < 7200) {
		snprintf(v->since, sizeof(v->since), "since %s (%lld min)", date, s / 60);
	} else if (s < 2 * 86400) {
		snprintf(v->since, sizeof(v->since), "since %s (%lld h)", date, s / 3600);
	} else {
		snprintf(v->since, sizeof(v->since), "since %s (%lld days)", date, s / 86400);
	}
}

static const char *why(uint32_t flags)
{
	return (flags & CTDB_NODE_DELETED) != 0        ? "removed"
	       : (flags & CTDB_NODE_DISCONNECTED) != 0 ? "disconnected"
	       : (flags & CTDB_NODE_BANNED) != 0       ? "banned"
	       : (flags & CTDB_NODE_STOPPED) != 0      ? "stopped"
	       : (flags & CTDB_NODE_DISABLED) != 0     ? "disabled"
	       : (flags & CTDB_NODE_UNHEALTHY) != 0    ? "unhealthy"
						       : "well";
}

const struct cluster_node_status *facts_node(const struct facts *f, uint32_t i)
{
	uint32_t pnn = f->nodes->nodes[i].pnn;

	return f->cluster != NULL && pnn < f->cluster->nodes.n ? &f->cluster->nodes.v[pnn] : NULL;
}

bool facts_partially(const struct facts *f, uint32_t i)
{
	const struct ctdb_node *n = &f->nodes->nodes[i];

	return n->flags == 0 && f->cluster != NULL && n->pnn < f->cluster->state.view.members.n &&
	       (f->cluster->state.view.members.v[n->pnn].flags & NODE_FLAG_PARTIAL) != 0;
}

bool facts_unreachable(const struct facts *f, uint32_t i)
{
	const struct cluster_node_status *s = facts_node(f, i);

	return s != NULL && !f->cluster->state.active && !s->reachable &&
	       (f->nodes->nodes[i].flags & CTDB_NODE_DISCONNECTED) == 0;
}

const char *facts_why(const struct facts *f, uint32_t i, char buf[FACTS_WHY_SIZE])
{
	const struct ctdb_node *n = &f->nodes->nodes[i];
	const struct cluster_node_status *s = facts_node(f, i);

	buf[0] = '\0';
	if (f->ban_s != NULL && f->ban_s[i] > 0) {
		snprintf(buf, FACTS_WHY_SIZE, "%u s left of its ban", f->ban_s[i]);
	} else if (facts_partially(f, i)) {
		snprintf(buf, FACTS_WHY_SIZE, "some of its interfaces are down");
	} else if (s == NULL || n->pnn == f->pnn ||
		   ((n->flags & CTDB_NODE_DISCONNECTED) == 0 && !facts_unreachable(f, i))) {
		return buf;
	} else if (s->differs) {
		snprintf(buf, FACTS_WHY_SIZE, "its nodes list, arbitration or dead interval is another one");
	} else if (s->barred_by != CLUSTER_NODE_NONE) {
		snprintf(buf, FACTS_WHY_SIZE, "it and node %u cannot reach each other", s->barred_by);
	} else {
		snprintf(buf, FACTS_WHY_SIZE,
			 s->reachable ? "its link is up, but it is not in the cluster" : "no link to it");
	}
	return buf;
}

/* What helps a node that is not connected. */
static void advise_disconnected(const struct facts *f, struct verdict *v, uint32_t i)
{
	const struct cluster_node_status *s = facts_node(f, i);
	uint32_t pnn = f->nodes->nodes[i].pnn;

	if (s == NULL) {
		snprintf(
			v->next, sizeof(v->next),
			"see whether node %u is up, runs ctdbd, can be reached from here, and has the same nodes file, "
			"arbitration and dead interval (the line Membership says if these differ)",
			pnn);
	} else if (s->differs) {
		snprintf(v->next, sizeof(v->next),
			 "make the nodes file and the section [cluster] of ctdb.conf on node %u the same as here, and "
			 "restart ctdbd there",
			 pnn);
	} else if (s->barred_by != CLUSTER_NODE_NONE) {
		snprintf(v->next, sizeof(v->next), "check the network between nodes %u and %u (ctdb node links)", pnn,
			 s->barred_by);
	} else if (s->reachable) {
		snprintf(v->next, sizeof(v->next), "wait; if it lasts, the log of node %u says what it waits for", pnn);
	} else {
		snprintf(v->next, sizeof(v->next),
			 "see whether node %u is up, runs ctdbd and can be reached from here (ctdb node links)", pnn);
	}
}

/* What helps node i of the list. */
static void advise(const struct facts *f, struct verdict *v, uint32_t i)
{
	uint32_t pnn = f->nodes->nodes[i].pnn, flags = f->nodes->nodes[i].flags;

	if ((flags & CTDB_NODE_DISCONNECTED) != 0) {
		advise_disconnected(f, v, i);
	} else if ((flags & CTDB_NODE_BANNED) != 0) {
		snprintf(v->next, sizeof(v->next),
			 "the log of node %u says why it was banned; it comes back when the ban ends, or now with ctdb "
			 "node unban %u",
			 pnn, pnn);
	} else if ((flags & CTDB_NODE_STOPPED) != 0) {
		snprintf(v->next, sizeof(v->next),
			 "node %u was stopped by an administrator: continue it when its work is done (ctdb node "
			 "continue %u)",
			 pnn, pnn);
	} else if ((flags & CTDB_NODE_DISABLED) != 0) {
		snprintf(v->next, sizeof(v->next),
			 "node %u was disabled by an administrator: enable it when its work is done (ctdb node enable "
			 "%u)",
			 pnn, pnn);
	} else if ((flags & CTDB_NODE_UNHEALTHY) != 0) {
		snprintf(v->next, sizeof(v->next), "a check of node %u fails: its log says which", pnn);
	} else if (facts_partially(f, i)) {
		snprintf(v->next, sizeof(v->next), "check the links of the interfaces of node %u", pnn);
	}
}

int64_t facts_since_s(const struct facts *f, uint32_t i)
{
	const struct cluster_node_status *s = facts_node(f, i);

	if (s != NULL && s->out_ms > 0) {
		return (int64_t)(s->out_ms / 1000);
	}
	if (f->since_us == NULL || f->since_us[i] == 0 || f->nodes->nodes[i].flags == 0) {
		return -1;
	}
	return (int64_t)f->uptime.now.tv_sec - (int64_t)(f->since_us[i] / 1000000);
}

/* Something lasts for s seconds; below 0: not known. */
static void since_s(const struct facts *f, struct verdict *v, int64_t s)
{
	struct timeval t = f->uptime.now;

	if (t.tv_sec != 0 && s >= 0) {
		t.tv_sec -= (time_t)s;
		since(v, t, f->uptime.now);
	}
}

/* Without a lease, whatever the last view said. */
static bool no_lease(const struct facts *f)
{
	return f->cluster != NULL && !f->cluster->state.active && f->cluster->state.reason[0] != '\0';
}

/* By the arbitration in force. */
static const char *what_it_needs(const struct facts *f)
{
	const char *method = f->cluster == NULL ? "" : f->cluster->arbitration_method;

	if (strcmp(method, "majority") == 0) {
		return ": a node without a majority stays inactive";
	}
	if (strcmp(method, "lock") == 0) {
		return ", and the cluster lock can be taken: nodes without its holder stay inactive";
	}
	if (strcmp(method, "etcd") == 0) {
		return ", and etcd: nodes without the holder of its key stay inactive";
	}
	return "";
}

static void self_is_inactive(const struct facts *f, struct verdict *v, uint32_t i)
{
	const struct cluster_node_status *s = facts_node(f, i);
	uint32_t flags = f->nodes->nodes[i].flags;
	bool itself_well = (flags & CTDB_NODE_INACTIVE & ~CTDB_NODE_DISCONNECTED) == 0;
	char why_buf[FACTS_WHY_SIZE];
	const char *more = facts_why(f, i, why_buf);

	since_s(f, v, f->inactive_us != 0 ? (int64_t)f->uptime.now.tv_sec - (int64_t)(f->inactive_us / 1000000) : -1);
	if (itself_well && no_lease(f)) {
		snprintf(v->reason, sizeof(v->reason), "this node (%u) takes no part in the cluster: %s", f->pnn,
			 f->cluster->state.reason);
	} else {
		snprintf(v->reason, sizeof(v->reason), "this node (%u) is %s%s%s and takes no part in the cluster",
			 f->pnn, why(flags), more[0] != '\0' ? ", " : "", more);
	}
	if (itself_well && s != NULL && s->barred_by != CLUSTER_NODE_NONE) {
		snprintf(v->next, sizeof(v->next), "check the network between this node and node %u (ctdb node links)",
			 s->barred_by);
	} else if (itself_well) {
		snprintf(v->next, sizeof(v->next), "see whether the other nodes run and can be reached%s",
			 what_it_needs(f));
	} else {
		advise(f, v, i);
	}
}

static bool this_node(const struct facts *f, struct verdict *v)
{
	const struct ctdb_node *self = self_of(f);

	if (self != NULL && (self->flags & CTDB_NODE_INACTIVE) == 0 &&
	    (f->runstate != CTDB_RUNSTATE_RUNNING || !no_lease(f))) {
		return false;
	}
	v->state = "INACTIVE";
	if (self == NULL) {
		snprintf(v->reason, sizeof(v->reason), "node %u is not in the list of nodes", f->pnn);
		snprintf(v->next, sizeof(v->next), "compare the nodes file with the addresses of this machine");
		return true;
	}
	self_is_inactive(f, v, (uint32_t)(self - f->nodes->nodes));
	return true;
}

static bool starting(const struct facts *f, struct verdict *v)
{
	if (f->runstate == CTDB_RUNSTATE_RUNNING) {
		return false;
	}
	v->state = f->runstate == CTDB_RUNSTATE_SHUTDOWN ? "INACTIVE" : "STARTING";
	snprintf(v->reason, sizeof(v->reason), "this node (%u) is in run state %s%s%s", f->pnn,
		 ctdb_runstate_name(f->runstate), no_lease(f) ? ": " : "", no_lease(f) ? f->cluster->state.reason : "");
	since(v, f->uptime.started, f->uptime.now);
	if (f->runstate != CTDB_RUNSTATE_SHUTDOWN) {
		snprintf(v->next, sizeof(v->next),
			 "wait; if it lasts, see that a majority of the nodes runs with the same nodes file; the log "
			 "of this "
			 "node says what it waits for");
	}
	return true;
}

static bool recovering(const struct facts *f, struct verdict *v)
{
	if (f->recmode == CTDB_RECMODE_NORMAL && f->generation != CTDB_GENERATION_INVALID) {
		return false;
	}
	v->state = "RECOVERING";
	snprintf(v->reason, sizeof(v->reason), "a recovery of the databases is going on; clients wait");
	since(v, f->uptime.recovery_started, f->uptime.now);
	if (f->has_leader) {
		snprintf(v->next, sizeof(v->next),
			 "wait; if it lasts, the log of the leader (node %u) says what it waits for", f->leader);
	}
	return true;
}

static bool leaderless(const struct facts *f, struct verdict *v)
{
	if (f->has_leader) {
		return false;
	}
	v->state = "NO LEADER";
	snprintf(v->reason, sizeof(v->reason), "no node says that it leads: changes of the cluster are not handled");
	snprintf(v->next, sizeof(v->next),
		 "look again in some seconds; if it lasts, see which nodes run and whether they reach each other");
	return true;
}

/* *ill: index of the first that is not well, or f->nodes->n. */
static void count_nodes(const struct facts *f, uint32_t *total, uint32_t *well, uint32_t *ill)
{
	*total = *well = 0;
	*ill = f->nodes->n;
	for (uint32_t i = 0; i < f->nodes->n; i++) {
		const struct ctdb_node *n = &f->nodes->nodes[i];

		if ((n->flags & CTDB_NODE_DELETED) != 0) {
			continue;
		}
		(*total)++;
		if (n->flags == 0 && !facts_partially(f, i)) {
			(*well)++;
		} else if (*ill == f->nodes->n) {
			*ill = i;
		}
	}
}

static void degraded(const struct facts *f, struct verdict *v, uint32_t total, uint32_t well, uint32_t ill)
{
	const struct ctdb_node *n = &f->nodes->nodes[ill];
	char why_buf[FACTS_WHY_SIZE], more[32] = "";
	const char *reason = facts_why(f, ill, why_buf);

	if (total - well > 1) {
		snprintf(more, sizeof(more), " (and %u more)", total - well - 1);
	}
	v->state = "DEGRADED";
	snprintf(v->reason, sizeof(v->reason), "%u of %u nodes %s well; node %u is %s%s%s%s", well, total,
		 well == 1 ? "is" : "are", n->pnn, facts_partially(f, ill) ? "partially online" : why(n->flags),
		 reason[0] != '\0' ? ": " : "", reason, more);
	if (f->cluster != NULL) {
		since_s(f, v, facts_since_s(f, ill));
	} else {
		since(v, f->uptime.recovery_finished, f->uptime.now);
	}
	advise(f, v, ill);
}

void verdict_make(const struct facts *f, struct verdict *v)
{
	uint32_t total, well, ill;

	*v = (struct verdict){.ready = false};
	if (this_node(f, v) || starting(f, v) || recovering(f, v)) {
		return;
	}
	v->ready = true;
	count_nodes(f, &total, &well, &ill);
	if (leaderless(f, v)) {
		v->ready = false;
		return;
	}
	if (ill < f->nodes->n) {
		degraded(f, v, total, well, ill);
		return;
	}
	since(v, f->uptime.recovery_finished, f->uptime.now);
	v->state = "OK";
	snprintf(v->reason, sizeof(v->reason), total == 1 ? "the only node is active" : "all %u nodes are active",
		 total);
}
