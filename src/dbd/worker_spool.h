/* Worker program: what was read and is not sent yet; in memory, and beyond a limit in a file without a name. */
#ifndef DBD_WORKER_SPOOL_H
#define DBD_WORKER_SPOOL_H

#include <sys/types.h>

#include "dbd/worker_prog.h"

struct spool_batch;

/* From the oldest: front, file, tail. The file begins when front is full; from then on what is new goes to tail. */
struct spool_list {
	struct spool_batch *first, *last;
	size_t bytes;
};
struct spool {
	struct spool_list front, tail;
	int fd; /* 0: none */
	off_t written, sent;
	bool no_file; /* there could be none, or it is full */
};

/* Room for n bytes at the end, one record: it is never divided. NULL: no memory. */
uint8_t *spool_room(struct spool *s, size_t n);
/* Without a lock: sends what makes full batches, waits for the daemon to take it. */
void spool_send_full(struct wjob *job, struct spool *s);
/*
 * Under a lock: keeps what is in memory below some 64 MiB and does not wait for the daemon, unless the file cannot be
 * written, or would leave too little room. What the daemon has asked for is sent: it sees that the job goes on. 0 or errno.
 */
int spool_keep(struct wjob *job, struct spool *s);
int spool_send_all(struct wjob *job, struct spool *s); /* waits; 0 or errno */
void spool_free(struct spool *s);

#endif
