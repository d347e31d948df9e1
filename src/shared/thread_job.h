/* A function in a thread of its own, for what takes as long as the disk wants. */
#ifndef SHARED_THREAD_JOB_H
#define SHARED_THREAD_JOB_H

#include <talloc.h>
#include <tevent.h>

/*
 * Runs in the thread. arg is all that it may use: nobody else changes it meanwhile. No talloc, no logging, no tevent,
 * no exit; all signals are blocked. 0 or errno. The end of the process does not wait for it: what it does must bear
 * being cut off anywhere.
 */
typedef int (*thread_job_fn)(void *arg);
/* Frees arg (malloc'ed), in this thread or in that one: the same rules. */
typedef void (*thread_job_free_fn)(void *arg);

/*
 * One detached thread per request: the caller bounds how many there are. arg belongs to the request from now on, also
 * if NULL is returned. It is freed when both have let go of it, the function by its end and the request by being freed;
 * so after the end and until then the caller may look in it for results. NULL for arg is a request that fails with
 * ENOMEM, so the result of an allocation can be handed over as it is.
 *
 * The request ends when the function has ended, in a later turn of the loop; it has no time limit. Freeing it earlier
 * is allowed, but stops nothing: the function runs to its end and nobody hears of it. Who then starts the next one has
 * both running, in no order.
 */
struct tevent_req *thread_job_send(TALLOC_CTX *mem, struct tevent_context *ev, thread_job_fn fn, void *arg,
				   thread_job_free_fn free_arg);
/*
 * A line: its jobs run one after another, in the order they were sent, in one thread. So what must not overtake each
 * other goes through one line, and what belongs to the thread that made it (a child that dies with its parent) lasts as
 * long as the line. The thread starts with the first job. Freeing the line ends the thread, after the jobs that it has.
 */
struct thread_line;
struct thread_line *thread_line_new(TALLOC_CTX *mem); /* NULL: no memory */
/* As thread_job_send(). A request that was freed before the line has come to it is not left out. */
struct tevent_req *thread_line_job_send(TALLOC_CTX *mem, struct tevent_context *ev, struct thread_line *line,
					thread_job_fn fn, void *arg, thread_job_free_fn free_arg);

/* What the function has returned; or, and then it has not been called, ENOMEM, EMFILE, EAGAIN ...: no thread could be
 * started. */
int thread_job_recv(struct tevent_req *req);

#endif
