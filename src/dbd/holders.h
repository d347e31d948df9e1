/* Who holds locks of a file: what a worker finds out for dbd. */
#ifndef DBD_HOLDERS_H
#define DBD_HOLDERS_H

#include <stdint.h>

/* Which lock. Another process waits for one of its kind, and for WHOLE and TRANSACTION. */
enum holder_lock {
	HOLDER_CHAIN,	    /* records whose keys have this hash: one chain of the file */
	HOLDER_FREE_LIST,   /* who makes a record longer, or a new one */
	HOLDER_WHOLE,	    /* all chains */
	HOLDER_TRANSACTION, /* a transaction is open: nobody else can begin one */
};

#define HOLDER_NAME_LEN 16
#define HOLDERS_MAX	256U /* in one answer */

/* The batch of WORKER_HOLDERS is an array of these. */
struct holder_entry {
	uint32_t pid;	 /* 0: a process that is not to be seen from here (another container) */
	uint32_t thread; /* that has the mutex; 0: not known */
	uint32_t lock;	 /* enum holder_lock */
	uint32_t chain;	 /* of CHAIN */
	uint32_t stopped;
	char name[HOLDER_NAME_LEN]; /* of the program, ended by NUL */
};

#endif
