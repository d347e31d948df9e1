/* What is to be said about a cluster: facts in, one sentence and the next step out. */
#ifndef CLI_VERDICT_H
#define CLI_VERDICT_H

#include <ctdb/ctdb.h>

/* What a node knows about its cluster. */
struct facts {
	const struct ctdb_nodemap *nodes;
	uint32_t pnn;
	enum ctdb_runstate runstate;
	enum ctdb_recmode recmode;
	uint32_t generation;
	bool has_leader;
	uint32_t leader;
	struct ctdb_uptime uptime; /* zeros: not known */
	const char *membership;	   /* what the membership daemon says; NULL: nothing */
};

struct verdict {
	const char *state; /* "OK", "DEGRADED", "RECOVERING", "STARTING", "INACTIVE", "NO LEADER" */
	bool ready;        /* this node serves */
	char reason[256];
	char since[96]; /* "" if not known */
	char next[256]; /* "" if nothing is to be done */
};

void verdict_make(const struct facts *f, struct verdict *v);

#endif
