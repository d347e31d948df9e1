/* Inside of dbd: the TDB's own sequence numbers, raised on all nodes when one changes. */
#ifndef DBD_SEQNUM_H
#define DBD_SEQNUM_H

#include "dbd/client.h"

/* The database is being detached. */
void seqnums_db_gone(struct seqnums *s, const struct db *db);

int seqnums_new(struct clients *cs, struct seqnums **s);

#endif
