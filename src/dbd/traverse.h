/* Inside of dbd's traverses. service.h has what the other parts use. */
#ifndef DBD_TRAVERSE_H
#define DBD_TRAVERSE_H

#include "dbd/client.h"

/* The client has read most of what waited for it: its traverses go on. */
void traverses_client_drained(struct traverses *t, struct client *c);

/* The database is being detached: its traverses end. */
void traverses_db_gone(struct traverses *t, const struct db *db);

#endif
