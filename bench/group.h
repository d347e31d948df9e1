/* The programs of one run, one on each node: they find and wait for each other by messages. */
#ifndef BENCH_GROUP_H
#define BENCH_GROUP_H

#include "session.h"

#define GROUP_MAX 64U

struct group {
	struct session *s; /* of the process that joined */
	uint64_t srvid;
	uint32_t self; /* this node */
	uint32_t want, phase;
	uint32_t n;              /* that were heard of, this one included */
	uint32_t pnn[GROUP_MAX]; /* ascending when group_meet() has returned */
	uint32_t reached[GROUP_MAX];
	bool all; /* have reached this one's phase */
};

/* want: how many nodes take part. Takes the session's on_message. */
void group_join(struct group *g, struct session *s, const char *name, uint32_t want);
/* Until all have called it as often as this one. Those that do not come within patience_s seconds end the process. */
void group_meet(struct group *g, uint32_t patience_s);
/* The node after this one in the ring, and this one's place in it. */
uint32_t group_next(const struct group *g);
uint32_t group_place(const struct group *g);

#endif
