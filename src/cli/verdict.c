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

/* What helps a node with these flags. */
static void advise(struct verdict *v, uint32_t pnn, uint32_t flags)
{
	if ((flags & CTDB_NODE_DISCONNECTED) != 0) {
		snprintf(
			v->next, sizeof(v->next),
			"see whether node %u is up, runs ctdbd, can be reached from here, and has the same nodes file, "
			"arbitration and dead interval (the line Membership says if these differ)",
			pnn);
	} else if ((flags & CTDB_NODE_BANNED) != 0) {
		snprintf(v->next, sizeof(v->next),
			 "the log of node %u says why it was banned; it comes back when the ban ends", pnn);
	} else if ((flags & CTDB_NODE_STOPPED) != 0) {
		snprintf(v->next, sizeof(v->next),
			 "node %u was stopped by an administrator: continue it when its work is done", pnn);
	} else if ((flags & CTDB_NODE_DISABLED) != 0) {
		snprintf(v->next, sizeof(v->next),
			 "node %u was disabled by an administrator: enable it when its work is done", pnn);
	} else if ((flags & CTDB_NODE_UNHEALTHY) != 0) {
		snprintf(v->next, sizeof(v->next), "a check of node %u fails: its log says which", pnn);
	}
}

static bool this_node(const struct facts *f, struct verdict *v)
{
	const struct ctdb_node *self = self_of(f);

	if (self != NULL && (self->flags & CTDB_NODE_INACTIVE) == 0) {
		return false;
	}
	v->state = "INACTIVE";
	if (self == NULL) {
		snprintf(v->reason, sizeof(v->reason), "node %u is not in the list of nodes", f->pnn);
		snprintf(v->next, sizeof(v->next), "compare the nodes file with the addresses of this machine");
		return true;
	}
	snprintf(v->reason, sizeof(v->reason), "this node (%u) is %s and takes no part in the cluster", f->pnn,
		 why(self->flags));
	if ((self->flags & CTDB_NODE_DISCONNECTED) != 0) {
		snprintf(
			v->next, sizeof(v->next),
			"see whether the other nodes run and can be reached: a node without a majority stays inactive");
	} else {
		advise(v, f->pnn, self->flags);
	}
	return true;
}

static bool starting(const struct facts *f, struct verdict *v)
{
	if (f->runstate == CTDB_RUNSTATE_RUNNING) {
		return false;
	}
	v->state = f->runstate == CTDB_RUNSTATE_SHUTDOWN ? "INACTIVE" : "STARTING";
	snprintf(v->reason, sizeof(v->reason), "this node (%u) is in run state %s", f->pnn,
		 ctdb_runstate_name(f->runstate));
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

static void count_nodes(const struct facts *f, uint32_t *total, uint32_t *well, const struct ctdb_node **first_ill)
{
	uint32_t i;

	*total = *well = 0;
	*first_ill = NULL;
	for (i = 0; i < f->nodes->n; i++) {
		const struct ctdb_node *n = &f->nodes->nodes[i];

		if ((n->flags & CTDB_NODE_DELETED) != 0) {
			continue;
		}
		(*total)++;
		if (n->flags == 0) {
			(*well)++;
		} else if (*first_ill == NULL) {
			*first_ill = n;
		}
	}
}

void verdict_make(const struct facts *f, struct verdict *v)
{
	const struct ctdb_node *ill;
	uint32_t total, well;

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
	since(v, f->uptime.recovery_finished, f->uptime.now);
	if (ill == NULL) {
		v->state = "OK";
		snprintf(v->reason, sizeof(v->reason),
			 total == 1 ? "the only node is active" : "all %u nodes are active", total);
		return;
	}
	v->state = "DEGRADED";
	snprintf(v->reason, sizeof(v->reason), "%u of %u nodes %s well; node %u is %s", well, total,
		 well == 1 ? "is" : "are", ill->pnn, why(ill->flags));
	advise(v, ill->pnn, ill->flags);
}
