/* Worker program: the state of a database: sequence number and digests of its records. */
#ifndef DBD_WORKER_STATE_H
#define DBD_WORKER_STATE_H

#include "core/content_parts.h"
#include "dbd/recdata.h"
#include "dbd/worker_prog.h"

/* Zeros at first. */
struct wstate {
	uint64_t seqnum, digest;
	uint64_t records;	   /* non-empty ones */
	uint64_t all;		   /* empty ones, too */
	uint64_t sums[LANE_PARTS]; /* of LANE_PARTS parts */
};

void wstate_add(struct wstate *s, TDB_DATA key, TDB_DATA data, const struct rec_header *h);
/* All records. The caller keeps others from writing. 0 or errno. */
int wstate_read(struct wjob *job, struct wstate *s);

#endif
