/* What the daemons of this node use. */
#ifndef BENCH_DAEMONS_H
#define BENCH_DAEMONS_H

#include <sys/types.h>

#include "session.h"

/* The topmost process of the daemons that answer this session. */
pid_t daemons_top(struct session *s);
/* CPU time of it and all below it, ns, those that have ended and were waited for included. */
uint64_t daemons_cpu(pid_t top);
/* Bytes that this machine has sent on all interfaces but lo; 0 if there is no other (nodes on loopback addresses). */
uint64_t network_sent(void);
/* Length of a file, and what it occupies; ends the process if there is none. */
void file_size(const char *path, uint64_t *length, uint64_t *occupied);

#endif
