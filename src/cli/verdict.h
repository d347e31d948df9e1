/* What is to be said about a cluster: facts in, one sentence and the next step out. */
#ifndef CLI_VERDICT_H
#define CLI_VERDICT_H

#include <ctdb/ctdb.h>

#include "protocol/cluster.h"

/* What a node knows about its cluster. */
struct facts {
	const struct ctdb_nodemap *nodes;
	uint32_t pnn;
	enum ctdb_runstate runstate;
	enum ctdb_recmode recmode;
	uint32_t generation;
	bool has_leader;
	uint32_t leader;
	struct ctdb_uptime uptime;            /* zeros: not known */
	const char *membership;               /* what the membership daemon says; NULL: nothing */
	const struct cluster_status *cluster; /* all of it; NULL: an earlier daemon, or it does not run */
	const uint32_t *ban_s; /* by index in nodes: seconds left of a ban, 0: not banned or not known; may be NULL */
	/* When the flags of a node (by index in nodes) became what they are, and when this node ceased to be active:
	 * microseconds of the epoch, 0: not known; since_us may be NULL. */
	const uint64_t *since_us;
	uint64_t inactive_us;
};

struct verdict {
	const char *state; /* "OK", "DEGRADED", "RECOVERING", "STARTING", "INACTIVE", "NO LEADER" */
	bool ready;        /* this node serves */
	char reason[320];
	char since[96]; /* "" if not known */
	char next[256]; /* "" if nothing is to be done */
};

void verdict_make(const struct facts *f, struct verdict *v);

/* What clusterd says of node i of the list; NULL: nothing. */
const struct cluster_node_status *facts_node(const struct facts *f, uint32_t i);
/* Some of its interfaces for public addresses are down, but nothing else is the matter. */
bool facts_partially(const struct facts *f, uint32_t i);
/* This node is not active, so its view is an old one, and it cannot reach node i, which is well in that view. */
bool facts_unreachable(const struct facts *f, uint32_t i);
/* Seconds since node i of the list is out or has its flags; below 0: well, or not known. */
int64_t facts_since_s(const struct facts *f, uint32_t i);
/* Why it does not take part, as far as known here, else "": "its nodes list ... is another one". buf is returned. */
#define FACTS_WHY_SIZE 160
const char *facts_why(const struct facts *f, uint32_t i, char buf[FACTS_WHY_SIZE]);

#endif
