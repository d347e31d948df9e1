/* Inside of the pool: worker.c (jobs, order, who runs what), worker_proc.c (one process and its socket). */
#ifndef DBD_WORKER_INT_H
#define DBD_WORKER_INT_H

#include "base/mono.h"
#include "dbd/worker.h"
#include "protocol/worker.h"

struct worker;
struct db_lane;
struct out_chunk;

enum worker_job_state {
	WORKER_JOB_QUEUED,  /* in db_lane->jobs (ordered) and, if it may run now, in pool->runnable */
	WORKER_JOB_RUNNING, /* job->worker set */
	WORKER_JOB_ENDED
};

struct worker_job {
	struct tevent_req *req;
	struct worker_pool *pool;
	uint64_t id;
	enum worker_job_state state;
	uint32_t op, db_id;
	struct mono heard; /* at work since, or a batch came; never: it holds the file, as it was told to */
	struct db_lane *lane; /* NULL: not ordered */
	struct dlist in_lane; /* ordered: in lane->jobs until it has ended */
	struct dlist in_runnable;
	struct db_writes *writes; /* the database's, while this job may change it; else NULL */
	struct mono queued_at;
	struct out_chunk *start; /* until it is given to a worker */
	struct worker *worker;
	worker_batch_fn batch;
	void *batch_priv;
	bool paused;
	bool continued;     /* worker_job_continue() was called from within batch() */
	struct dlist feeds; /* struct out_chunk: not given to a worker yet */
	size_t feed_bytes;  /* not written to the socket yet */
	bool feed_ended;
	void (*drain)(void *priv, struct worker_job *job);
	void *drain_priv;
	struct worker_state result;
};

/* One frame on its way to a worker. */
struct out_chunk {
	struct dlist link;
	size_t len, done;
	size_t feed_len; /* of that, bytes that count in job->feed_bytes */
	uint8_t data[];
};
/* out is set up for payload bytes; NULL: out of memory. */
struct out_chunk *out_chunk_new(TALLOC_CTX *mem, enum worker_frame type, size_t payload, struct xdr_out *out);

/* ---- worker.c, called by worker_proc.c ---- */
/* The job's last word; status 0 or errno. A worker that it still has is ended. */
void worker_job_end(struct worker_job *job, int status);
void worker_pool_worker_started(struct worker_pool *pool, struct worker *w);
void worker_pool_start_failed(struct worker_pool *pool, int error);
void worker_pool_worker_idle(struct worker_pool *pool, struct worker *w);
void worker_pool_worker_gone(struct worker_pool *pool);
bool worker_pool_has_surplus(const struct worker_pool *pool); /* more processes than its size */
void worker_job_fed(struct worker_job *job, size_t bytes);

/* ---- worker_proc.c ---- */
struct worker_owner {
	struct tevent_context *ev;
	struct worker_pool *pool;
	const char *program;
};
/*
 * Starts a process, which takes a moment: the pool hears worker_pool_worker_started() or, when nothing is left of it, worker_pool_start_failed(), from the event
 * loop. It is a talloc child of mem; freeing it kills it without a word to the pool. 0 or errno.
 */
int worker_start_process(TALLOC_CTX *mem, const struct worker_owner *owner);
void worker_give(struct worker *w, struct worker_job *job);  /* w is idle */
void worker_send(struct worker *w, struct out_chunk *chunk); /* takes chunk */
void worker_resume(struct worker *w);                        /* the job is no longer paused */
/* The job is cancelled: the process ends. */
void worker_abandon(struct worker *w);
struct dlist *worker_link(struct worker *w); /* for the pool's lists */
struct worker *worker_of_link(struct dlist *e);
struct worker_job *worker_current(const struct worker *w);
void worker_end_when_idle(struct worker *w, unsigned seconds); /* unless it gets a job until then, or is no surplus */

#endif
