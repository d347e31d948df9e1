/* The client side of a dbd in this process, for the targets that feed it: see fuzz_dbd.c. */
#ifndef TEST_FUZZ_DBD_H
#define TEST_FUZZ_DBD_H

#include "fuzz.h"
#include "test_fake.h"

/* The dbd that inputs are given to: a new one now and then, since what they leave behind adds up. It has the volatile
 * database "vol.tdb", the persistent "pers.tdb" and one connected client. Returns the client's socket. */
int fuzz_dbd_begin(void);
/* Turns of the event loop until dbd has read all that was written to the client's socket. */
void fuzz_dbd_read(int fd);
/* Ends jobs of workers and the record call that waits, each with status 0 or an error. */
void fuzz_dbd_finish_work(struct fuzz_in *in);
/* The client goes. */
void fuzz_dbd_end(int fd);

#endif
